# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MX records: the hosts that are in them, and those that nobody has declared. Pure functions (RFC 5321 section 5.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown

#: Of a domain that takes no mail (RFC 7505 section 3).
NULL = "0 ."


def values(hosts: Mapping[str, int]) -> list[str]:
    """Return the values for hosts and their preferences, the first to be asked first."""
    return [f"{preference} {host}." for preference, host in sorted((preference, host) for host, preference in hosts.items())]


def host(value: str) -> str:
    """Return the host that a value names, in lower case and without the final dot; empty for the null MX."""
    return value.split()[-1].lower().rstrip(".")


def undeclared(name: str, removed: Iterable[str], may_drop: Iterable[str]) -> list[str]:
    """Return a sentence if an MX RRset loses hosts that nobody has said it may.

    :param removed: the values that public DNS has and that go
    :param may_drop: the hosts that may go
    """
    declared = {*(text.lower().rstrip(".") for text in may_drop), ""}
    strangers = sorted({value for value in removed if host(value) not in declared})
    if not strangers:
        return []
    listed = ", ".join(shown(value) for value in strangers)
    named = shown(host(strangers[0]))
    return [
        f"{name}: the MX records have {listed}, which the inventory does not declare. Add to the domain's mx in mail_domains, with its "
        f"preference, what is to go on taking mail ({named}: 20), and with false what is not ({named}: false)"
    ]
