# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a declared list is in Mailman 3: its style, its settings, and what holds spam back. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import changes, coerce3, profile

#: Style of a declared list to the one that Mailman begins a list with.
STYLES = {"announce": "legacy-announce", "discussion": "legacy-default", "private": "private-default"}

#: What the filter has marked as spam waits for a moderator: nobody is answered, and no member gets it.
SPAM = {"header": "x-spam", "pattern": "^yes", "action": "hold"}

#: Who may post, to what becomes of posts of members and of others. Owners may always, which Mailman has to be told of each.
_ACTIONS = {"members": ("defer", "hold"), "owners": ("hold", "hold"), "anyone": ("defer", "defer")}

#: Rewrites From of these authors as if their domains asked for that; Mailman has it since 3.3.10.
_DMARC = "dmarc_addresses"
_POSTERS = "accept_these_nonmembers"
#: Of these, what somebody has added stays.
_ADDED_TO = (_DMARC, _POSTERS)


def settings(options: Mapping[str, Any], domains: Iterable[str], unenforced: bool, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a declared list, hardened as ``mailman_harden`` does with its profile ``quiet``.

    Whoever writes from a domain of this host is always rewritten: it signs for no address in From but those of who sends, and what the
    author's own signature says of the text does not survive a list.

    :param options: ``owners``, ``style``, ``posts``, ``description`` and ``commands`` and ``archive``, as in the model
    :param domains: the mail domains of this host
    :param unenforced: whether one of them has a DMARC policy that does not have Mailman rewrite From
    :param current: the settings that the list has: a Mailman that cannot rewrite From for some authors does so for all where it has to
    """
    members, others = _ACTIONS[options["posts"]]
    own: dict[str, Any] = {
        _POSTERS: list(options["owners"]),
        "advertised": options["style"] != "private",
        "allow_list_posts": options["posts"] != "owners",
        "archive_policy": options["archive"],
        "autorespond_requests": "none" if options["commands"] else None,
        "default_member_action": members,
        "default_nonmember_action": others,
        "description": options["description"] or None,
        "dmarc_mitigate_unconditionally": unenforced and _DMARC not in current,
    }
    if _DMARC in current:
        own[_DMARC] = [f"^.*@{re.escape(domain)}$" for domain in sorted(domains)]
    quiet = profile("quiet", 3, {})
    return {**quiet, **{name: value for name, value in own.items() if value is not None}}


def differences(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs: setting to what it was and is to be. Addresses are added to those there are."""
    added = {
        name: [*current[name], *(entry for entry in value if entry not in current[name])]
        for name, value in wanted.items()
        if name in _ADDED_TO and isinstance(current.get(name), list)
    }
    return changes({**wanted, **added}, current, coerce3)


def missing(declared: Iterable[str], present: Iterable[str]) -> list[str]:
    """Return the addresses that are declared and not there, compared without case, in their order."""
    known = {address.lower() for address in present}
    return [address for address in declared if address.lower() not in known]


def holds_spam(matches: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a list has what is marked as spam wait.

    :param matches: ``header-matches`` of the list, as Mailman returns them
    """
    return any(str(match.get("header", "")).lower() == SPAM["header"] and match.get("pattern") == SPAM["pattern"] for match in matches)
