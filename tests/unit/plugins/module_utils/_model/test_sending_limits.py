# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""To how many recipients an account may send."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.limits import KEYS, read_limit, read_limits
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems


def limits(given, usual=None):
    """Return the three numbers of all accounts, or of one with its own."""
    problems = Problems()
    found = read_limits(problems, given) if usual is None else read_limit(problems, given, "limit", dict(zip(KEYS, usual)))
    problems.raise_broken()
    return tuple(found[key] for key in KEYS) if found else found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, (0, 300, 900)),
        ({"hour": 50}, (50, 300, 900)),
        ({"day": 100}, (0, 100, 300)),
        ({"lock": False}, (0, 300, 0)),
        ({"lock": 301}, (0, 300, 301)),
        ({"day": False}, (0, 0, 0)),
        ({"day": 0, "hour": 40}, (40, 0, 0)),
    ],
)
def test_what_is_not_said_has_a_default(given, found):
    assert limits(given) == found


@pytest.mark.parametrize(
    ("given", "usual", "found"),
    [
        (None, (0, 300, 900), None),
        (1000, (0, 300, 900), (0, 1000, 3000)),
        (1000, (50, 300, 400), (50, 1000, 3000)),
        (1000, (0, 300, 0), (0, 1000, 0)),
        (False, (50, 300, 900), (0, 0, 0)),
        (0, (50, 300, 900), (50, 0, 0)),
        ({"hour": False}, (50, 300, 400), (0, 300, 400)),
        ({"lock": 5000}, (50, 300, 400), (50, 300, 5000)),
        ({"day": 20}, (50, 300, 900), (50, 20, 60)),
    ],
)
def test_a_user_has_those_of_all_but_for_its_own(given, usual, found):
    assert limits(given, usual) == found


@pytest.mark.parametrize(
    ("given", "usual", "rules"),
    [
        ({"days": 3}, None, ["mail_limits has no key 'days' (did you mean 'day'?); it knows hour, day, lock"]),
        ([], None, ["mail_limits must be a dictionary, not list"]),
        ({"day": "300"}, None, ["mail_limits.day '300' must be a whole number of recipients up to 10000000, or false for no limit"]),
        ({"hour": True}, None, ["mail_limits.hour True must be a whole number of recipients up to 10000000, or false for no limit"]),
        ({"day": -1}, None, ["mail_limits.day -1 must be a whole number of recipients up to 10000000, or false for no limit"]),
        ({"hour": 40, "day": 30}, None, ["mail_limits.hour 40 is more than mail_limits.day 30: it would never be reached"]),
        ({"lock": 300}, None, ["mail_limits.lock 300 must be more than the 300 recipients of a day, which are refused for now before "
                               "anybody is locked"]),
        ({"day": 0, "lock": 9}, None, ["mail_limits.lock 9 counts the recipients of a day, and mail_limits.day sets no limit"]),
        (True, (0, 300, 900), ["limit.day True must be a whole number of recipients up to 10000000, or false for no limit"]),
        ("1k", (0, 300, 900), ["limit.day '1k' must be a whole number of recipients up to 10000000, or false for no limit"]),
        ({"lock": 200}, (0, 300, 900), ["limit.lock 200 must be more than the 300 recipients of a day, which are refused for now before "
                                        "anybody is locked"]),
    ],
)  # fmt: skip
def test_what_could_not_hold_is_refused(given, usual, rules):
    with pytest.raises(MailError) as error:
        limits(given, usual)
    assert list(error.value.rules) == rules
