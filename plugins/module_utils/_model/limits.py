# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_limits`` and ``mail_users.X.limit`` mean: to how many recipients an account may send. What one client may do in a minute is
no variable (``_services/limits.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: Recipients within an hour and within a day, past which there is a 4xx, and recipients asked for within a day, past which the account is
#: locked for sending. 0 is no limit.
KEYS = ("hour", "day", "lock")
#: More than a person writes to, and little for a thief.
DAY = 300
#: How many times the recipients of a day an account may ask for before it is locked, where nothing else is said: who sends a circular by
#: mistake asks for some more, a thief for thousands.
LOCK_TIMES = 3
_MOST = 10_000_000


def read_limits(problems: Problems, given: Any) -> dict[str, int]:
    """Return ``mail_limits``, with each of :data:`KEYS`."""
    return _read(problems, given, "mail_limits", {"hour": 0, "day": DAY, "lock": None})


def read_limit(problems: Problems, given: Any, where: str, usual: Mapping[str, int]) -> dict[str, int] | None:
    """Return a user's own limits, with each of :data:`KEYS`; None where those of all hold.

    :param given: a number, recipients within a day; false for no limit at all; or a dictionary as ``mail_limits`` is
    :param usual: those of all
    """
    if given is None:
        return None
    if given is False:
        return dict.fromkeys(KEYS, 0)
    options = given if isinstance(given, Mapping) else {"day": given}
    # A lock of all is no measure for who may send more; that nobody is locked is said of all.
    return _read(problems, options, where, {**usual, **({"lock": None} if usual["lock"] and "day" in options else {})})


def _read(problems: Problems, given: Any, where: str, usual: Mapping[str, Any]) -> dict[str, int]:
    options = problems.mapping(given, where, KEYS)
    found = {key: _number(problems, options[key], f"{where}.{key}") if key in options else usual[key] for key in KEYS}
    if found["lock"] is None:
        found["lock"] = LOCK_TIMES * found["day"]
    elif "lock" not in options and not found["day"]:
        found["lock"] = 0
    if {"hour", "day"} <= set(options) and 0 < found["day"] < found["hour"]:
        problems.add(f"{where}.hour {shown(found['hour'])} is more than {where}.day {shown(found['day'])}: it would never be reached")
    if "lock" in options and found["lock"] and not found["day"]:
        problems.add(f"{where}.lock {shown(found['lock'])} counts the recipients of a day, and {where}.day sets no limit")
    elif found["lock"] and found["lock"] <= found["day"]:
        problems.add(f"{where}.lock {shown(found['lock'])} must be more than the {shown(found['day'])} recipients of a day, which are "
                     "refused for now before anybody is locked")  # fmt: skip
    return found


def _number(problems: Problems, value: Any, where: str) -> int:
    """Return a number of recipients; false stands for 0, which is no limit."""
    if value is False:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        problems.add(f"{where} {shown(value)} must be a whole number of recipients up to {_MOST}, or false for no limit")
        return 0
    return int(value)
