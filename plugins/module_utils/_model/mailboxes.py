# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_mailboxes`` means: what happens in the mailboxes of all users by itself."""

from __future__ import annotations

from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems, kind

MAILBOX_KEYS = ("quota_warnings", "junk_days", "trash_days", "pop3", "shared", "full_text_search", "full_days")
#: Ten years.
_LONGEST = 3660
#: No sender tries longer than that.
_LONGEST_FULL = 30


def _warnings(problems: Problems, given: Any) -> list[int]:
    """Return the percentages of a quota at which its user is warned, the highest first, as Dovecot wants them."""
    where = "mail_mailboxes.quota_warnings"
    if given is False:
        return []
    if not isinstance(given, (list, tuple)):
        problems.add(f"{where} must be a list of percentages, or false, not {kind(given)}")
        return []
    found = [problems.integer(value, where, 1, 99) for value in given]
    for value in sorted(set(found)):
        if found.count(value) > 1:
            problems.add(f"{where} has {shown(value)} twice")
    return sorted(set(found), reverse=True)


def _days(problems: Problems, given: Any, where: str, longest: int = _LONGEST) -> int:
    """Return a number of days, 0 for never."""
    return 0 if given is False else problems.integer(given, where, 0, longest)


def read_mailboxes(problems: Problems, given: Any, os_family: str = "") -> dict[str, Any]:
    """Return ``quota_warnings``, in percent, ``junk_days`` and ``trash_days``, 0 for never, and whether there are ``pop3``, ``shared``
    mailboxes and ``full_text_search``; and the ``full_days`` for which mail to a full mailbox is deferred, 0 for none.

    :param os_family: the host's, as in Ansible's facts: not everything can be had everywhere
    """
    options = problems.mapping(given, "mail_mailboxes", MAILBOX_KEYS)
    if os_family == "OpenBSD" and options.get("full_text_search"):
        rule = "cannot be had on OpenBSD: no package of an index for Dovecot has been seen at work there"
        problems.add(f"mail_mailboxes.full_text_search {rule}")
    return {
        "quota_warnings": _warnings(problems, options.get("quota_warnings", [80, 95])),
        "junk_days": _days(problems, options.get("junk_days", 60), "mail_mailboxes.junk_days"),
        "trash_days": _days(problems, options.get("trash_days", 0), "mail_mailboxes.trash_days"),
        "full_days": _days(problems, options.get("full_days", 0), "mail_mailboxes.full_days", _LONGEST_FULL),
        **{name: problems.boolean(options.get(name, False), f"mail_mailboxes.{name}") for name in ("pop3", "shared", "full_text_search")},
    }
