# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise

USUAL = {"quota_warnings": [95, 80], "junk_days": 60, "trash_days": 0, "pop3": False, "shared": False, "full_text_search": False,
         "full_days": 0}


def test_without_a_word_users_are_warned_and_junk_goes_after_two_months():
    assert normalise({})["mailboxes"] == USUAL


@pytest.mark.parametrize(("given", "found"), [
    ({"quota_warnings": False, "junk_days": False}, {"quota_warnings": [], "junk_days": 0}),
    ({"quota_warnings": [], "trash_days": 30}, {"quota_warnings": [], "trash_days": 30}),
    ({"quota_warnings": [50, 99, 75]}, {"quota_warnings": [99, 75, 50]}),
    ({"full_days": 3}, {"full_days": 3}),
    ({"full_days": False}, {}),
    (None, {}),
    ({"pop3": True}, {"pop3": True}),
    ({"shared": True, "full_text_search": True}, {"shared": True, "full_text_search": True}),
])
def test_each_can_be_said(given, found):
    assert normalise({"mailboxes": given})["mailboxes"] == {**USUAL, **found}


@pytest.mark.parametrize(("given", "rule"), [
    ({"junk": 3}, "mail_mailboxes has no key 'junk' (did you mean 'junk_days'?); it knows "
     "quota_warnings, junk_days, trash_days, pop3, shared, full_text_search, full_days"),
    ({"junk_days": -1}, "mail_mailboxes.junk_days -1 must be a whole number from 0 to 3660"),
    ({"junk_days": True}, "mail_mailboxes.junk_days True must be a whole number from 0 to 3660"),
    ({"trash_days": "30"}, "mail_mailboxes.trash_days '30' must be a whole number from 0 to 3660"),
    ({"full_days": 31}, "mail_mailboxes.full_days 31 must be a whole number from 0 to 30"),
    ({"full_days": True}, "mail_mailboxes.full_days True must be a whole number from 0 to 30"),
    ({"quota_warnings": 80}, "mail_mailboxes.quota_warnings must be a list of percentages, or false, not int"),
    ({"quota_warnings": "80"}, "mail_mailboxes.quota_warnings must be a list of percentages, or false, not str"),
    ({"quota_warnings": [100]}, "mail_mailboxes.quota_warnings 100 must be a whole number from 1 to 99"),
    ({"quota_warnings": [80, 80]}, "mail_mailboxes.quota_warnings has 80 twice"),
    ({"pop3": "yes"}, "mail_mailboxes.pop3 must be true or false, not 'yes'"),
    ("yes", "mail_mailboxes must be a dictionary, not str"),
])
def test_a_rule_that_is_broken_is_named(given, rule):
    with pytest.raises(MailError) as caught:
        normalise({"mailboxes": given})
    assert rule in caught.value.rules


def test_what_a_system_does_not_have_is_refused():
    with pytest.raises(MailError) as caught:
        normalise({"mailboxes": {"full_text_search": True}}, "OpenBSD")
    assert list(caught.value.rules) == [
        "mail_mailboxes.full_text_search cannot be had on OpenBSD: no package of an index for Dovecot has been seen at work there"
    ]
    assert normalise({"mailboxes": {"full_text_search": False}}, "OpenBSD")["mailboxes"] == USUAL
