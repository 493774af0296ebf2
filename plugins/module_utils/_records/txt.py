# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT values: their strings of at most 255 octets and their text in a zone file. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import owner_name

# RFC 1035 section 3.3: one length octet before each character-string, and 16 bits of length before the data of a record.
STRING_OCTETS = 255
RDATA_OCTETS = 65535


def _ascii(value: str, option: str) -> str:
    if not isinstance(value, str):
        raise MailError(f"{option} {shown(value)} must be a string, not {type(value).__name__}")
    if not value.isascii():
        raise MailError(f"{option} {shown(value)} is not ASCII, and no rule says how a TXT record would encode it (RFC 1035 section "
                        f"3.3.14)")
    return value


def strings(value: str, option: str = "value") -> list[str]:
    """Return the strings that carry a TXT value: each of at most 255 octets, joined by readers with nothing between.

    An empty value is one empty string, because a TXT record has at least one.

    :raises MailError: not ASCII, or too long for one record (RFC 1035 sections 3.3 and 3.3.14)
    """
    text = _ascii(value, option)
    parts = [text[start : start + STRING_OCTETS] for start in range(0, len(text), STRING_OCTETS)] or [""]
    if len(text) + len(parts) > RDATA_OCTETS:
        raise MailError(f"{option} of {len(text)} octets does not fit a TXT record of {RDATA_OCTETS} octets (RFC 1035 section 3.2.1)")
    return parts


def quoted(text: str) -> str:
    """Return one string as a zone file has it: in quotes, with ``"``, ``\\`` and what cannot be printed escaped."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            out.append(f"\\{ord(char):03d}")
    return '"' + "".join(out) + '"'


def presentation(value: str | Sequence[str], option: str = "value") -> str:
    """Return the data of a TXT record as a zone file has it: ``"..." "..."`` (RFC 1035 section 5.1).

    :param value: the whole value, which is split here, or the strings themselves
    """
    parts = strings(value, option) if isinstance(value, str) else [_ascii(part, option) for part in value]
    for part in parts:
        if len(part) > STRING_OCTETS:
            raise MailError(f"{option} has a string of {len(part)} octets; one string holds at most {STRING_OCTETS} (RFC 1035 section 3.3)")
    return " ".join(quoted(part) for part in parts)


def zone_line(name: str, value: str | Sequence[str], ttl: int | None = None) -> str:
    """Return a whole line for a zone file, with an absolute name, that BIND and NSD read alike."""
    middle = "" if ttl is None else f"{ttl} "
    return f"{owner_name(name)}. {middle}IN TXT {presentation(value)}"
