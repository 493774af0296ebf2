# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions and answers in wire form (RFC 1035 section 4). Pure functions.

Only what the modules look at is read: header, question, answer and authority section. That is several times faster than
dnspython's whole message, which counts when thousands are read; signatures are left to dnspython.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata

QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
RCODES = (
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"
)  # fmt: skip
CODES = {
    **rdata.CODES,
    "NS": 2, "SOA": 6, "HINFO": 13, "LOC": 29, "NAPTR": 35, "DNAME": 39, "OPT": 41, "DS": 43, "SSHFP": 44, "SVCB": 64, "HTTPS": 65
}  # fmt: skip
_NAMES = {code: rtype for rtype, code in CODES.items()}
# Octets before the name in the data of types whose name may be compressed; what follows the name in SOA is not read.
_NAME_AT = {"NS": 0, "CNAME": 0, "PTR": 0, "SOA": 0, "MX": 2, "SRV": 6}
UDP_PAYLOAD = 1232  # no fragmentation on any path (DNS flag day 2020)
_OPT = b"\0" + struct.pack("!HHIH", CODES["OPT"], UDP_PAYLOAD, 0, 0)


@dataclass(frozen=True)
class Record:
    """A record of an answer. ``name`` is lower case and without its final dot, ``wire`` the data with names uncompressed."""

    name: str
    type: str
    ttl: int
    wire: bytes

    @property
    def target(self) -> str:
        """The name in the data of NS, SOA (the primary server), CNAME and PTR records."""
        return plain(self.wire)


@dataclass(frozen=True)
class Reply:
    """An answer. ``question`` is (name, type), or None if the server did not repeat it."""

    id: int
    flags: int
    question: tuple[str, str] | None
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]

    @property
    def rcode(self) -> str:
        code = self.flags & 0xF
        return RCODES[code] if code < len(RCODES) else f"RCODE{code}"

    @property
    def authoritative(self) -> bool:
        return bool(self.flags & AA)

    @property
    def truncated(self) -> bool:
        return bool(self.flags & TC)

    def answers(self, ident: int, name: str, rtype: str) -> bool:
        """Whether this is an answer to that question."""
        return bool(self.flags & QR) and self.id == ident and self.question == (name, rtype)


@functools.lru_cache(maxsize=4096)
def plain(wire: bytes) -> str:
    """Return a name in presentation form, lower case, without its final dot; the root is '.'."""
    text = rdata.name_text(wire).lower()
    return text if text == "." else text[:-1]


def query(ident: int, name: str, rtype: str, recurse: bool = False, edns: bool = False) -> bytes:
    """Return a question in wire form; with EDNS it offers to receive more than 512 octets (RFC 6891 section 6.1)."""
    return message(ident, question(name, rtype), recurse, edns)


def question(name: str, rtype: str) -> bytes:
    """Return the question section.

    :raises MailError: a name that DNS cannot carry
    """
    return rdata.name_wire(name) + struct.pack("!HH", CODES[rtype], 1)


def message(ident: int, section: bytes, recurse: bool, edns: bool) -> bytes:
    """Return a question in wire form around its question section, which may be sent often."""
    head = struct.pack("!HHHHHH", ident, RD if recurse else 0, 1, 0, 0, int(edns))
    return head + section + (_OPT if edns else b"")


def reply(wire: bytes) -> Reply:
    """Read an answer; of a truncated one, its header and question.

    :raises ValueError: the octets are not a DNS message
    """
    try:
        ident, flags, questions, answers, authorities, _additional = struct.unpack_from("!HHHHHH", wire)
        at, question = 12, None
        for _ in range(questions):
            name, at = _name(wire, at)
            (code,) = struct.unpack_from("!H", wire, at)
            question = plain(name), _NAMES.get(code, f"TYPE{code}")
            at += 4
        if flags & TC:
            return Reply(ident, flags, question, (), ())
        answer, at = _records(wire, at, answers)
        authority, at = _records(wire, at, authorities)
    except (struct.error, IndexError) as exc:
        raise ValueError("the message ends too early") from exc
    return Reply(ident, flags, question, answer, authority)


def _records(wire: bytes, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    records = []
    for _ in range(count):
        name, at = _name(wire, at)
        code, rclass, ttl, size = struct.unpack_from("!HHIH", wire, at)
        at += 10
        if at + size > len(wire):
            raise ValueError("the message ends too early")
        rtype = _NAMES.get(code, f"TYPE{code}")
        data = wire[at : at + size]
        if rtype in _NAME_AT:
            skip = _NAME_AT[rtype]
            target, end = _name(wire, at + skip)
            if end > at + size:
                raise ValueError("a name is longer than its record")
            data = data[:skip] + target
        if rclass == 1:
            # A TTL with its highest bit set means 0 (RFC 2181 section 8).
            records.append(Record(plain(name), rtype, ttl if ttl < 2**31 else 0, data))
        at += size
    return tuple(records), at


def _name(wire: bytes, at: int) -> tuple[bytes, int]:
    """Return (the uncompressed name, where it ends). Pointers only go back, so that there is an end (RFC 1035 section 4.1.4)."""
    out, end, lowest = bytearray(), -1, at
    while True:
        size = wire[at]
        if size >= 0xC0:
            target = (size & 0x3F) << 8 | wire[at + 1]
            end = at + 2 if end < 0 else end
            if target >= lowest:
                raise ValueError("a compressed name points forward")
            at = lowest = target
        elif size > 63:
            raise ValueError("a label has an unknown form")
        else:
            out += wire[at : at + 1 + size]
            at += 1 + size
            if at > len(wire) or len(out) > 255:
                raise ValueError("a name is too long")
            if size == 0:
                return bytes(out), at if end < 0 else end
