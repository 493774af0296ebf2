# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MTA-STS: the policy file and the record that announces it (RFC 8461). Pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

MODES = ("enforce", "testing", "none")
MAX_AGE_MOST = 31557600  # one year, RFC 8461 section 3.2


def name(domain: str) -> str:
    """Return the name of the record, without a trailing dot (RFC 8461 section 3.1)."""
    return f"_mta-sts.{_names.domain_name(domain)}"


def _pattern(value: str) -> str:
    if isinstance(value, str) and value.startswith("*."):
        return "*." + _names.domain_name(value[2:], "mx")
    return _names.domain_name(value, "mx")


def matches(host: str, patterns: Iterable[str]) -> bool:
    """Whether an MX host is one that the policy names; ``*`` stands for exactly one label (RFC 8461 section 4.1)."""
    host = _names.domain_name(host, "host")
    above = host.partition(".")[2]
    return any(pattern in (host, f"*.{above}") for pattern in map(_pattern, patterns))


def policy(mx: Iterable[str], mode: str = "testing", max_age: int = 604800) -> str:
    """Return the text of ``/.well-known/mta-sts.txt``, lines ended by CRLF (RFC 8461 section 3.2).

    :param mx: hosts or patterns such as ``*.example.net``, in order of preference; may be empty with mode ``none``
    :param max_age: seconds that senders remember it
    :raises MailError: a mode, host or age that is none
    """
    if isinstance(mx, (str, bytes, Mapping)) or not isinstance(mx, Iterable):
        raise MailError(f"mx {shown(mx)} must be a list of strings")
    if mode not in MODES:
        raise MailError(f"mode {shown(mode)} must be one of: {', '.join(MODES)} (RFC 8461 section 3.2)")
    if isinstance(max_age, bool) or not isinstance(max_age, int) or not 0 <= max_age <= MAX_AGE_MOST:
        raise MailError(f"max_age {shown(max_age)} must be a number of seconds from 0 to {MAX_AGE_MOST} (RFC 8461 section 3.2)")
    hosts = list(dict.fromkeys(_pattern(value) for value in mx))
    if not hosts and mode != "none":
        raise MailError(f"mx must name at least one host when mode is {mode} (RFC 8461 section 3.2)")
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in hosts), f"max_age: {max_age}"]
    return "".join(line + "\r\n" for line in lines)


def record(policy_text: str) -> str:
    """Return the value of the record for a policy: its ``id`` is made of the policy, so it changes when that does (section 3.1)."""
    if not isinstance(policy_text, str) or (policy_text.splitlines() or [""])[0].strip() != "version: STSv1":
        raise MailError("policy must be the text of an MTA-STS policy, which begins with 'version: STSv1' (RFC 8461 section 3.2)")
    bad = next((line for line in policy_text.splitlines() if not line.isascii()), None)
    if bad is not None:
        raise MailError(f"policy has the line {shown(bad)}, which is not ASCII: write A-labels, xn--... (RFC 8461 section 3.2)")
    # Line ends do not count: a web server or an editor may change them and the policy stays the same.
    canonical = "\n".join(line.strip() for line in policy_text.splitlines() if line.strip())
    return f"v=STSv1; id={hashlib.sha256(canonical.encode('ascii')).hexdigest()[:32]};"
