# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of the record types that this collection publishes: text in, wire out, and what counts as equal. Pure functions."""

from __future__ import annotations

import functools
import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Callable

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import decimal, domain_name, exact_address, owner_name

TYPES = ("A", "AAAA", "MX", "TXT", "CNAME", "SRV", "TLSA", "CAA", "PTR")
CODES = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "TLSA": 52, "CAA": 257}

# Where the name stands in the data of a type: octets before it. Names compare without case (RFC 1035 section 2.3.3).
_NAME_AT = {"CNAME": 0, "PTR": 0, "MX": 2, "SRV": 6}
_TLSA_OCTETS = {1: 32, 2: 64}
# What needs no escape in a name's presentation form.
_PLAIN = re.compile(rb"[A-Za-z0-9_*/-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_STRING = 255
MAX_RDATA = 65535
MAX_MESSAGE = 65535


@dataclass(frozen=True)
class Rdata:
    """The data of one record.

    ``wire`` is exact (RFC 1035 section 3.3), ``key`` is what counts when two are compared: the joined octets of TXT, so
    that another splitting is the same value, and names without case.
    """

    type: str
    wire: bytes

    @functools.cached_property
    def key(self) -> bytes:
        if self.type == "TXT":
            return b"".join(self.strings)
        if self.type in _NAME_AT:
            at = _NAME_AT[self.type]
            return self.wire[:at] + self.wire[at:].lower()
        if self.type == "CAA":  # the tag compares without case (RFC 8659 section 4.1)
            end = 2 + self.wire[1]
            return self.wire[:2] + self.wire[2:end].lower() + self.wire[end:]
        return self.wire

    @property
    def strings(self) -> list[bytes]:
        """The character-strings of a TXT record."""
        strings, at = [], 0
        while at < len(self.wire):
            end = at + 1 + self.wire[at]
            strings.append(self.wire[at + 1 : end])
            at = end
        return strings

    @property
    def text(self) -> str:
        """The value as people write it in a playbook: TXT joined and unquoted, names with their final dot."""
        if self.type == "TXT":
            joined = b"".join(self.strings)
            try:
                return joined.decode("utf-8")
            except UnicodeDecodeError:
                return joined.decode("ascii", "backslashreplace")
        return self.zone_text

    @property
    def zone_text(self) -> str:
        """The value as it stands in a zone file (RFC 1035 section 5.1)."""
        return _TO_TEXT[self.type](self.wire)


def quote(string: bytes) -> str:
    """Return one character-string in quotes, with ``"``, ``\\`` and everything that is not printable ASCII escaped."""
    out = []
    for octet in string:
        if octet in (0x22, 0x5C):
            out.append("\\" + chr(octet))
        elif 0x20 <= octet < 0x7F:
            out.append(chr(octet))
        else:
            out.append(f"\\{octet:03d}")
    return '"' + "".join(out) + '"'


def split_strings(value: bytes) -> list[bytes]:
    """Return the value as character-strings of at most 255 octets each (RFC 1035 section 3.3)."""
    return [value[at : at + MAX_STRING] for at in range(0, len(value), MAX_STRING)] or [b""]


def txt_wire(strings: list[bytes]) -> bytes:
    return b"".join(bytes((len(string),)) + string for string in strings)


def name_wire(name: str) -> bytes:
    """Return an absolute name (final dot optional, ``.`` the root) in wire form, uncompressed.

    Understands the escapes of zone files, ``\\.`` and ``\\DDD``.

    :raises MailError: an empty label, one over 63 octets, or a name over 255 (RFC 1035 section 2.3.4)
    """
    wire = b""
    for label in labels(name):
        if len(label) > 63:
            raise MailError(f"name {shown(name)} has a label longer than 63 octets (RFC 1035 section 2.3.4)")
        wire += bytes((len(label),)) + label
    if len(wire) > 254:
        raise MailError(f"name {shown(name)} is longer than 255 octets (RFC 1035 section 2.3.4)")
    return wire + b"\0"


def labels(name: str) -> list[bytes]:
    """Return the labels of an absolute name in presentation form; none for the root."""
    if name in (".", ""):
        return []
    if "\\" not in name and ".." not in name and name[0] != "." and name.isascii():
        return name.removesuffix(".").encode("ascii").split(b".")
    parts, label, at = [], bytearray(), 0
    while at < len(name):
        char = name[at]
        if char == "\\":
            digits = name[at + 1 : at + 4]
            if re.fullmatch(r"[0-9]{3}", digits) and int(digits) < 256:
                label.append(int(digits))
                at += 4
                continue
            at += 1
            if at >= len(name):
                raise MailError(f"name {shown(name)} ends in a backslash (RFC 1035 section 5.1)")
            label.append(ord(name[at]) & 0xFF)
        elif char == ".":
            if not label:
                raise MailError(f"name {shown(name)} has an empty label (RFC 1035 section 2.3.4)")
            parts.append(bytes(label))
            label = bytearray()
        else:
            label.append(ord(char) & 0xFF)
        at += 1
    if label:
        parts.append(bytes(label))
    return parts


def name_text(wire: bytes) -> str:
    """Return a name in presentation form from its wire form, with the final dot."""
    parts, at = [], 0
    while at < len(wire) and wire[at]:
        parts.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    if not _PLAIN.fullmatch(b"".join(parts)):
        parts = [b"".join(bytes((o,)) if _PLAIN.fullmatch(bytes((o,))) else b"\\%03d" % o for o in label) for label in parts]
    return b".".join(parts).decode("ascii") + "."


def _fields(rtype: str, value: str, form: str) -> list[str]:
    parts = value.split()
    if len(parts) != len(form.split()):
        raise MailError(f"a {rtype} value has the form '{form}'")
    return parts


def _host(text: str, what: str) -> bytes:
    # Values carry no origin: a bare label would mean one thing in a zone file and another here.
    return name_wire("." if text == "." else domain_name(text, what))


def _a(value: str, _encoding: str) -> bytes:
    address = exact_address(value)
    if not isinstance(address, ipaddress.IPv4Address):
        raise MailError("an A value is one IPv4 address (RFC 1035 section 3.4.1)")
    return address.packed


def _aaaa(value: str, _encoding: str) -> bytes:
    address = exact_address(value)
    if "%" in value:
        raise MailError("an AAAA value has no zone identifier (RFC 3596 section 2.2)")
    if not isinstance(address, ipaddress.IPv6Address):
        raise MailError("an AAAA value is one IPv6 address (RFC 3596 section 2.2)")
    if address.ipv4_mapped:
        raise MailError("an IPv4-mapped address does not belong in an AAAA record: write an A record")
    return address.packed


def _mx(value: str, _encoding: str) -> bytes:
    preference, host = _fields("MX", value, "PREFERENCE HOST")
    number = decimal(preference, "MX preference", 65535)
    if host == "." and number != 0:
        raise MailError("the null MX is '0 .' (RFC 7505 section 3)")
    return struct.pack("!H", number) + _host(host, "MX host")


def _txt(value: str, encoding: str) -> bytes:
    if not value:
        raise MailError("a TXT value must not be empty")
    if encoding == "ascii" and not value.isascii():
        bad = next(char for char in value if not char.isascii())
        raise MailError(f"{shown(bad)} is not ASCII, and DNS has no rule for what octets it would be: set txt_encoding=utf-8 to choose one")
    if len(value) > 1 and value[0] == value[-1] == '"':
        raise MailError("the value is in quotation marks, which would be published: write it plain, it is quoted and split where needed")
    control = _CONTROL.search(value)
    if control:
        raise MailError(f"a TXT value must not contain the control character {shown(control[0])}")
    try:
        octets = value.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MailError(f"{shown(value[exc.start])} is half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)") from exc
    size = len(octets) + (len(octets) + MAX_STRING - 1) // MAX_STRING
    if size > MAX_RDATA:
        raise MailError(f"{len(octets)} octets need {size} octets of record data, and a record holds {MAX_RDATA} (RFC 1035 section 3.2.1)")
    return txt_wire(split_strings(octets))


def _cname(value: str, _encoding: str) -> bytes:
    target = owner_name(value, "CNAME target")
    if "." not in target:
        raise MailError("a CNAME target must be fully qualified")
    return name_wire(target)


def _ptr(value: str, _encoding: str) -> bytes:
    return name_wire(domain_name(value, "PTR host"))


def _srv(value: str, _encoding: str) -> bytes:
    parts = _fields("SRV", value, "PRIORITY WEIGHT PORT TARGET")
    numbers = [decimal(text, f"SRV {what}", 65535) for text, what in zip(parts, ("priority", "weight", "port"))]
    return struct.pack("!HHH", *numbers) + _host(parts[3], "SRV target")


def _tlsa(value: str, _encoding: str) -> bytes:
    parts = value.split(None, 3)
    if len(parts) != 4:
        raise MailError("a TLSA value has the form 'USAGE SELECTOR MATCHING-TYPE HEX'")
    usage = decimal(parts[0], "TLSA usage", 3)
    part = decimal(parts[1], "TLSA selector", 1)
    matching = decimal(parts[2], "TLSA matching type", 2)
    text = "".join(parts[3].split())
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", text):
        raise MailError("TLSA data must be hexadecimal (RFC 6698 section 2.2)")
    data = bytes.fromhex(text)
    if matching in _TLSA_OCTETS and len(data) != _TLSA_OCTETS[matching]:
        raise MailError(f"TLSA data of matching type {matching} has {_TLSA_OCTETS[matching]} octets, not {len(data)} (RFC 6698)")
    return bytes((usage, part, matching)) + data


def _caa(value: str, _encoding: str) -> bytes:
    parts = value.split(None, 2)
    if len(parts) != 3:
        raise MailError("a CAA value has the form 'FLAGS TAG VALUE'")
    flags = decimal(parts[0], "CAA flags", 255)
    tag = parts[1]
    if not re.fullmatch(r"[A-Za-z0-9]{1,255}", tag):
        raise MailError(f"CAA tag {shown(tag)} must be letters and digits (RFC 8659 section 4.1)")
    text = parts[2]
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text.isascii() or '"' in text:
        raise MailError("a CAA value is ASCII without inner quotation marks (RFC 8659 section 4.1)")
    return bytes((flags, len(tag))) + tag.encode() + text.encode()


_FROM_TEXT: dict[str, Callable[[str, str], bytes]] = {
    "A": _a, "AAAA": _aaaa, "MX": _mx, "TXT": _txt, "CNAME": _cname, "SRV": _srv, "TLSA": _tlsa, "CAA": _caa, "PTR": _ptr,
}  # fmt: skip

_TO_TEXT: dict[str, Callable[[bytes], str]] = {
    "A": lambda wire: str(ipaddress.IPv4Address(wire)),
    "AAAA": lambda wire: str(ipaddress.IPv6Address(wire)),
    "MX": lambda wire: f"{struct.unpack('!H', wire[:2])[0]} {name_text(wire[2:])}",
    "TXT": lambda wire: " ".join(quote(string) for string in Rdata("TXT", wire).strings),
    "CNAME": name_text,
    "PTR": name_text,
    "SRV": lambda wire: "{} {} {} {}".format(*struct.unpack("!HHH", wire[:6]), name_text(wire[6:])),
    "TLSA": lambda wire: f"{wire[0]} {wire[1]} {wire[2]} {wire[3:].hex()}",
    "CAA": lambda wire: f"{wire[0]} {wire[2 : 2 + wire[1]].decode('ascii', 'replace')} {quote(wire[2 + wire[1] :])}",
}


def from_text(rtype: str, value: str, encoding: str = "ascii") -> Rdata:
    """Return the data of a value as people write it in a playbook.

    TXT is plain text, joined and unquoted. Names are absolute, with or without their final dot. ``encoding`` is ``ascii``
    (anything else is refused) or ``utf-8``.

    :raises MailError: the value is not one of this type; the text names type and value
    """
    if rtype not in _FROM_TEXT:
        raise MailError(f"type {shown(rtype)} is not one of {', '.join(TYPES)}")
    if not isinstance(value, str):
        raise MailError(f"{rtype} value {shown(value)} must be a string, not {type(value).__name__}")
    # White space of other scripts would separate fields here, and nowhere else.
    if rtype != "TXT" and not re.fullmatch(r"[\t\n\r -~]*", value):
        raise MailError(f"{rtype} value {shown(value)} has a character that is not visible ASCII (RFC 1035 section 5.1)")
    try:
        return Rdata(rtype, _FROM_TEXT[rtype](value if rtype == "TXT" else value.strip(), encoding))
    except MailError as exc:
        raise MailError(f"{rtype} value {shown(value, 80)}: {exc}") from exc
