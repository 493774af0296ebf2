# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Editing the text of a zone file (RFC 1035 section 5) so that only the lines concerned are touched. Pure functions.

Text is a string of which each character is one octet (read it as Latin-1): what is not touched then comes out as it was.
The result of an edit is parsed again and compared with what it was to become; a file in which that fails is refused.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import MAX_TTL, Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import decimal, inside

_CLASSES = {"IN", "CH", "HS", "CS"}
_TTL = re.compile(r"([0-9]+[wdhmsWDHMS])+|[0-9]+")
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_SIGNED = {"RRSIG", "NSEC", "NSEC3", "SIG", "NXT"}
_NUMBERS = {f"TYPE{code}": rtype for rtype, code in rdata.CODES.items()}
_INCLUDE_DEPTH = 8
#: Stands for what $GENERATE puts in place of a dollar sign; no host name has such an octet.
_ANY_NUMBER = "\\000"


@dataclass(frozen=True)
class Token:
    """A word of the file: raw text (escapes and quotation marks kept) and where it stands."""

    raw: str
    start: int
    end: int

    @property
    def quoted(self) -> bool:
        return self.raw.startswith('"')


@dataclass
class Line:
    """One entry, which parentheses may stretch over several lines of text: ``text[start:end]``, its line ends included."""

    number: int
    start: int
    end: int
    blank: bool
    tokens: list[Token]
    opened: int | None
    closed: int | None


@dataclass
class Entry:
    """One resource record of the file."""

    line: Line
    source: str | None
    origin: str
    owner: str
    owner_token: Token | None
    ttl: int | None
    ttl_token: Token | None
    default_ttl: int | None
    class_token: Token | None
    type_token: Token
    type: str
    data: list[Token]
    value: Rdata | tuple[str, ...]

    @property
    def identity(self) -> tuple[str, str, int | None, bytes | tuple[str, ...]]:
        return self.owner, self.type, self.ttl, self.value.key if isinstance(self.value, Rdata) else self.value


@dataclass(frozen=True)
class Generated:
    """A $GENERATE line: the names of its records, and their type. What it makes is the server's own affair (it is BIND's extension)."""

    number: int
    owners: re.Pattern[str]
    type: str


@dataclass
class ZoneFile:
    """A parsed file: records in their order, and what matters for editing."""

    zone: str
    text: str
    entries: list[Entry] = field(default_factory=list)
    generated: list[Generated] = field(default_factory=list)
    origin: str = ""
    default_ttl: int | None = None
    included: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def by_owner(self) -> dict[str, list[Entry]]:
        """Name -> its records, in their order. Made once, when the file is parsed: it is asked for every item of a batch."""
        records: dict[str, list[Entry]] = {}
        for entry in self.entries:
            records.setdefault(entry.owner, []).append(entry)
        return records

    def at(self, name: str) -> list[Entry]:
        """Return the records of all types at a name."""
        return self.by_owner.get(name, [])

    def of(self, name: str, rtype: str) -> list[Entry]:
        """Return the records of one type at a name."""
        return [entry for entry in self.at(name) if entry.type == rtype]

    def rrset(self, name: str, rtype: str) -> RRset:
        entries = self.of(name, rtype)
        ttls = {entry.ttl or 0 for entry in entries}
        return RRset(tuple(entry.value for entry in entries), min(ttls, default=None), len(ttls) > 1)

    def types(self, name: str) -> set[str]:
        return {entry.type for entry in self.at(name)}

    @functools.cached_property
    def cuts(self) -> dict[str, list[tuple[int, Entry]]]:
        """Name -> the records there that take names out of this zone (delegations, aliases of whole trees), and their places."""
        cuts: dict[str, list[tuple[int, Entry]]] = {}
        for at, entry in enumerate(self.entries):
            if entry.type == "DNAME" or (entry.type == "NS" and entry.owner != self.zone):
                cuts.setdefault(entry.owner, []).append((at, entry))
        return cuts

    @property
    def soa(self) -> Entry:
        return next(entry for entry in self.entries if entry.type == "SOA")


# Words and lines.


def lines(text: str) -> list[Line]:
    """Return the entries and directives of a file as words.

    :raises MailError: an open quotation mark or parenthesis, or a carriage return that ends no line, with its line
    """
    lone = re.search(r"\r(?!\n)", text)
    if lone:
        number = text.count("\n", 0, lone.start()) + 1
        raise MailError(f"line {number}: a carriage return without a line feed: servers differ in whether it ends the line")
    entries: list[Line] = []
    at, number, size = 0, 1, len(text)
    while at < size:
        line = Line(number, at, at, text[at] in " \t", [], None, None)
        depth = 0
        while at < size:
            char = text[at]
            if char == "\n":
                number += 1
                at += 1
                if depth == 0:
                    break
            elif char == ";":
                while at < size and text[at] != "\n":
                    at += 1
            elif char == "(":
                depth += 1
                line.opened = at if line.opened is None else line.opened
                at += 1
            elif char == ")":
                depth -= 1
                if depth < 0:
                    raise MailError(f"line {number}: ')' without '('")
                at += 1
                line.closed = at
            elif char in " \t\r":
                at += 1
            else:
                end = _word_end(text, at, number)
                line.tokens.append(Token(text[at:end], at, end))
                at = end
        if depth:
            raise MailError(f"line {line.number}: '(' is never closed")
        line.end = at
        if line.tokens:
            entries.append(line)
    return entries


def _word_end(text: str, at: int, number: int) -> int:
    quoted = text[at] == '"'
    at += quoted
    while at < len(text):
        char = text[at]
        if char == "\\":
            if at + 1 >= len(text) or text[at + 1] in "\r\n":
                raise MailError(f"line {number}: a backslash at the end of the line")
            at += 2
            continue
        if quoted and char == "\n":
            break
        if quoted and char == '"':
            return at + 1
        if not quoted and char in ' \t\r\n();"':
            return at
        at += 1
    if quoted:
        raise MailError(f"line {number}: a quotation mark is not closed on its line")
    return at


def _octets(token: Token) -> bytes:
    """Return the octets of a character-string."""
    raw = token.raw[1:-1] if token.quoted else token.raw
    out, at = bytearray(), 0
    while at < len(raw):
        if raw[at] != "\\":
            out.append(ord(raw[at]))
            at += 1
        elif re.fullmatch(r"[0-9]{3}", raw[at + 1 : at + 4]):
            if int(raw[at + 1 : at + 4]) > 255:
                raise MailError(f"{raw[at : at + 4]} is no octet")
            out.append(int(raw[at + 1 : at + 4]))
            at += 4
        else:
            out.append(ord(raw[at + 1]))
            at += 2
    return bytes(out)


def _name(raw: str, origin: str) -> str:
    """Return a name absolute, lower case, without its final dot (the root is '.')."""
    return _name_as_written(raw, origin).lower()


def _name_as_written(raw: str, origin: str) -> str:
    """Return a name as :func:`_name` does, in the case of the file."""
    if raw == "@":
        return origin
    if raw != "." and not re.search(r"(?<!\\)(\\\\)*\.$", raw):
        raw = raw + "." + (origin if origin != "." else "")
    text = rdata.name_text(rdata.name_wire(raw))
    return text if text == "." else text[:-1]


def ttl_seconds(text: str) -> int:
    """Return a TTL in seconds from ``3600`` or BIND's ``1h30m``.

    :raises MailError: it is no time, or one that no record holds (RFC 2181 section 8)
    """
    if not _TTL.fullmatch(text):
        raise MailError(f"{shown(text)} is not a time")
    pairs = re.findall(r"([0-9]+)([wdhms]?)", text.lower())
    seconds = sum(decimal(number, "TTL", MAX_TTL) * _UNITS.get(unit, 1) for number, unit in pairs)
    if seconds > MAX_TTL:
        raise MailError(f"TTL {shown(text)} is more than {MAX_TTL} seconds (RFC 2181 section 8)")
    return seconds


# Records.


def includes(text: str) -> list[str]:
    """Return the names of the files that a file includes, as written there."""
    return [_octets(line.tokens[1]).decode("latin-1") for line in lines(text) if _directive(line) == "$INCLUDE" and len(line.tokens) > 1]


def _directive(line: Line) -> str | None:
    return line.tokens[0].raw.upper() if not line.blank and line.tokens[0].raw.startswith("$") else None


def parse(text: str, zone: str, included: Mapping[str, str] | None = None) -> ZoneFile:
    """Return the records of a zone file.

    ``included`` has the texts of the files that :func:`includes` names, at any depth.

    :raises MailError: what is not understood, with its line
    """
    file = ZoneFile(zone, text, included=included or {})
    state = _State(origin=zone)
    _parse(file, state, text, None, file.included, 0)
    file.origin, file.default_ttl = state.origin, state.default_ttl
    soas = [entry for entry in file.entries if entry.type == "SOA"]
    if len(soas) != 1 or soas[0].owner != zone:
        other = f"; it has that of {soas[0].owner!r}" if soas else ""
        raise MailError(f"the file has no SOA record of zone {zone!r}{other}")
    if any(entry.type in _SIGNED for entry in file.entries):
        raise MailError("the file is the output of a signer (it has RRSIG or NSEC records): edit the unsigned one")
    return file


@dataclass
class _State:
    """``default_ttl`` holds for records without a TTL; ``declared_ttl`` is the same where a $TTL line says so."""

    origin: str
    default_ttl: int | None = None
    declared_ttl: int | None = None
    last_ttl: int | None = None
    owner: str | None = None
    owner_as_written: str | None = None
    owner_ttls: dict[str, int | None] = field(default_factory=dict)


def _parse(file: ZoneFile, state: _State, text: str, source: str | None, included: Mapping[str, str], depth: int) -> None:
    for line in lines(text):
        where = f"line {line.number}" + (f" of {source}" if source else "")
        try:
            word = _directive(line)
            if word is None:
                file.entries.append(_entry(line, state, source))
            elif word == "$INCLUDE":
                _include(file, state, line, included, depth)
            elif source is not None and word == "$TTL":
                raise MailError("$TTL in an included file: servers differ in what it means for the rest of the including one")
            else:
                _obey(file, state, line, word)
        except MailError as exc:
            raise MailError(f"{where}: {exc}") from exc


def _obey(file: ZoneFile, state: _State, line: Line, word: str) -> None:
    words = [token.raw for token in line.tokens]
    if word in ("$ORIGIN", "$TTL") and len(words) != 2:
        raise MailError(f"{word} takes one word")
    if word == "$ORIGIN":
        state.origin = _name(words[1], state.origin)
    elif word == "$TTL":
        state.default_ttl = state.declared_ttl = ttl_seconds(words[1])
    elif word == "$GENERATE" and len(words) >= 5:
        file.generated.append(_generate(line, state))
    else:
        raise MailError(f"directive {words[0]} is not understood")


def _generate(line: Line, state: _State) -> Generated:
    """Read ``$GENERATE RANGE OWNER [TTL] [CLASS] TYPE DATA``, as far as it says which names have records, and what follows inherits."""
    rest = [token.raw for token in line.tokens[3:]]
    while rest and (_TTL.fullmatch(rest[0]) or _is_class(rest[0])):
        word = rest.pop(0)
        if not _is_class(word):
            state.last_ttl = ttl_seconds(word)
    if not rest:
        raise MailError("$GENERATE has no record type")
    return Generated(line.number, _generated_owners(line.tokens[2].raw, state.origin), rest[0].upper())


def _generated_owners(raw: str, origin: str) -> re.Pattern[str]:
    """Return a pattern of the names that the owner of a $GENERATE line can become: a number, in some base and width, for each ``$``."""
    parts, at = [], 0
    for mark in re.finditer(r"\\[0-9]{3}|\\.|\$\$|\$(\{[^}]*\})?", raw):
        parts.append(raw[at : mark.start()])
        at = mark.end()
        escaped = mark[0].startswith("\\") or mark[0] == "$$"
        # BIND takes $$ for a dollar sign.
        parts.append(("\\$" if mark[0][-1] == "$" else mark[0]) if escaped else _ANY_NUMBER)
    name = _name("".join([*parts, raw[at:]]), origin)
    number = re.escape(_name(_ANY_NUMBER, "."))
    return re.compile(re.escape(name).replace(number, "[0-9a-f.-]+"))


def _include(file: ZoneFile, state: _State, line: Line, included: Mapping[str, str], depth: int) -> None:
    if not 2 <= len(line.tokens) <= 3:
        raise MailError("$INCLUDE takes a file and an origin")
    path = _octets(line.tokens[1]).decode("latin-1")
    if depth >= _INCLUDE_DEPTH:
        raise MailError(f"$INCLUDE goes deeper than {_INCLUDE_DEPTH} files")
    if path not in included:
        raise MailError(f"the included file {path!r} cannot be read, so what it has is not known")
    origin = _name(line.tokens[2].raw, state.origin) if len(line.tokens) == 3 else state.origin
    inner = _State(origin, state.default_ttl, state.declared_ttl, state.last_ttl, state.owner, state.owner_as_written)
    _parse(file, inner, included[path], path, included, depth + 1)
    # Origin and owner are the including file's again (RFC 1035 section 5.1).
    state.last_ttl, state.default_ttl = inner.last_ttl, inner.default_ttl


def _entry(line: Line, state: _State, source: str | None) -> Entry:
    tokens = list(line.tokens)
    owner_token = None if line.blank else tokens.pop(0)
    if owner_token is not None:
        # BIND takes an owner in quotation marks, and nothing else of a name.
        owner = _name_as_written(owner_token.raw[1:-1] if owner_token.quoted else owner_token.raw, state.origin)
        if owner != state.owner_as_written:
            state.owner, state.owner_as_written, state.owner_ttls = owner.lower(), owner, {}
    if state.owner is None:
        raise MailError("the first record has no name")
    ttl_token = class_token = None
    while tokens and not tokens[0].quoted:
        if ttl_token is None and _TTL.fullmatch(tokens[0].raw):
            ttl_token = tokens.pop(0)
        elif class_token is None and _is_class(tokens[0].raw):
            class_token = tokens.pop(0)
        else:
            break
    if class_token is not None and class_token.raw.upper() not in ("IN", "CLASS1"):
        raise MailError(f"class {class_token.raw} is not understood")
    if not tokens or tokens[0].quoted or not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", tokens[0].raw):
        raise MailError("there is no record type")
    type_token = tokens.pop(0)
    rtype = _NUMBERS.get(type_token.raw.upper(), type_token.raw.upper())
    value = _value(rtype, tokens, state.origin)
    ttl = state.default_ttl if state.default_ttl is not None else state.last_ttl
    if ttl_token is not None:
        ttl = ttl_seconds(ttl_token.raw)
        # Where lines of one RRset differ, one behind the other, BIND goes on with the TTL of the first.
        state.last_ttl = state.owner_ttls.get(rtype, ttl)
    elif ttl is None and rtype == "SOA" and len(tokens) == 7:
        ttl = state.default_ttl = ttl_seconds(tokens[6].raw)  # the way of BIND: the SOA minimum, as if by $TTL
    state.owner_ttls.setdefault(rtype, ttl)
    words = (class_token, type_token, rtype, tokens, value)
    return Entry(line, source, state.origin, state.owner, owner_token, ttl, ttl_token, state.declared_ttl, *words)


def _is_class(word: str) -> bool:
    return word.upper() in _CLASSES or bool(re.fullmatch(r"CLASS[0-9]+", word.upper()))


def _value(rtype: str, tokens: Sequence[Token], origin: str) -> Rdata | tuple[str, ...]:
    """Return the data of a record. What a server takes is taken, also where this collection would not publish it."""
    raws = [token.raw for token in tokens]
    if rtype not in rdata.CODES:
        return tuple(raws)
    if raws[:1] == ["\\#"]:  # RFC 3597
        text = "".join(raws[2:])
        if len(raws) < 2 or not re.fullmatch(r"([0-9A-Fa-f]{2})*", text) or len(text) // 2 != decimal(raws[1], "length", rdata.MAX_RDATA):
            raise MailError(f"{rtype} data in the generic form is damaged (RFC 3597 section 5)")
        return Rdata(rtype, bytes.fromhex(text))
    if rtype == "TXT":
        strings = [_octets(token) for token in tokens]
        if not strings or any(len(string) > rdata.MAX_STRING for string in strings):
            raise MailError("a TXT record has one or more strings of at most 255 octets (RFC 1035 section 3.3)")
        return Rdata(rtype, rdata.txt_wire(strings))
    try:
        return Rdata(rtype, _WIRES[rtype](tokens, raws, origin))
    except (MailError, ValueError, IndexError) as exc:
        words = f": {exc}" if isinstance(exc, MailError) else ""
        raise MailError(f"the {rtype} record is damaged{words}") from exc


def _name_after_numbers(count: int) -> Callable[[Sequence[Token], Sequence[str], str], bytes]:
    def wire(_tokens: Sequence[Token], raws: Sequence[str], origin: str) -> bytes:
        if len(raws) != count + 1:
            raise MailError(f"it has {count + 1} words")
        numbers = b"".join(decimal(raw, "number", 65535).to_bytes(2, "big") for raw in raws[:-1])
        return numbers + rdata.name_wire(_name(raws[-1], origin))

    return wire


def _ipv4(_tokens: Sequence[Token], raws: Sequence[str], _origin: str) -> bytes:
    (text,) = raws
    return ipaddress.IPv4Address(text).packed


def _ipv6(_tokens: Sequence[Token], raws: Sequence[str], _origin: str) -> bytes:
    (text,) = raws
    if "%" in text:  # Python would take a zone identifier, with anything behind it
        raise MailError(f"address {shown(text)} has a zone identifier")
    return ipaddress.IPv6Address(text).packed


def _tlsa(_tokens: Sequence[Token], raws: Sequence[str], _origin: str) -> bytes:
    return bytes(decimal(raw, "number", 255) for raw in raws[:3]) + bytes.fromhex("".join(raws[3:]))


def _caa(tokens: Sequence[Token], raws: Sequence[str], _origin: str) -> bytes:
    flags, tag, _text = raws
    if not re.fullmatch(r"[A-Za-z0-9]{1,255}", tag):
        raise MailError(f"tag {shown(tag)} must be letters and digits (RFC 8659 section 4.1)")
    return bytes((decimal(flags, "flags", 255), len(tag))) + tag.encode("ascii") + _octets(tokens[2])


_WIRES: dict[str, Callable[[Sequence[Token], Sequence[str], str], bytes]] = {
    "A": _ipv4,
    "AAAA": _ipv6,
    "CNAME": _name_after_numbers(0),
    "PTR": _name_after_numbers(0),
    "MX": _name_after_numbers(1),
    "SRV": _name_after_numbers(3),
    "TLSA": _tlsa,
    "CAA": _caa,
}


# Serial.


def next_serial(serial: int, today: int) -> int:
    """Return the serial that follows: YYYYMMDDnn where the old one is of that form, else one more (RFC 1982).

    ``today`` is the date as the number YYYYMMDD.
    """
    date = serial // 100
    year, month, day = date // 10000, date // 100 % 100, date % 100
    if 1980 <= year <= today // 10000 + 1 and 1 <= month <= 12 and 1 <= day <= 31:
        return max(serial + 1, today * 100 + 1)
    return (serial + 1) % 2**32 or 1


# Editing.


def check_authority(file: ZoneFile, name: str) -> None:
    """Refuse a name whose records this file does not show.

    :raises MailError: the name is delegated, or may come out of $GENERATE
    """
    labels = name.split(".")
    above = [".".join(labels[at:]) for at in range(1, len(labels))]
    cuts = [cut for owner in above for cut in file.cuts.get(owner, ())]
    cuts += [cut for cut in file.cuts.get(name, ()) if cut[1].type == "NS"]
    if cuts:
        _at, entry = min(cuts, key=lambda cut: cut[0])
        raise MailError(f"line {entry.line.number}: {entry.owner!r} has {entry.type} records, so {name!r} is not in zone {file.zone!r}")
    if not file.generated:
        return
    for line in file.generated:
        if line.owners.fullmatch(name):
            raise MailError(f"line {line.number}: {name!r} may come out of this $GENERATE line, which cannot be edited")
        if line.type in ("NS", "DNAME"):
            owner = next((owner for owner in above if owner != file.zone and line.owners.fullmatch(owner)), None)
            if owner is not None:
                raise MailError(
                    f"line {line.number}: {owner!r} may have {line.type} records by this $GENERATE line, "
                    f"and {name!r} would then not be in zone {file.zone!r}"
                )


def behind(files: Mapping[str, ZoneFile], name: str, rtype: str) -> RRset | None:
    """Return the records of this type where the aliases in these files, by zone, lead from this name; None if that is outside of them."""
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        zone = max((zone for zone in files if inside(name, zone)), key=len, default=None)
        if zone is None:
            return None
        try:
            check_authority(files[zone], name)
        except MailError:
            return None
        alias = files[zone].rrset(name, "CNAME")
        if not alias.values:
            return files[zone].rrset(name, rtype)
        name = rdata.name_text(alias.values[0].wire).lower().rstrip(".")
    return RRset()


def _check_source(file: ZoneFile, name: str, rtype: str) -> None:
    """Refuse to change a record that stands in another file."""
    for entry in file.at(name):
        if entry.source is not None and rtype in (entry.type, "CNAME"):
            raise MailError(f"{rtype} at {name} stands in the included file {entry.source!r}, line {entry.line.number}: edit it there")


def edit(file: ZoneFile, changes: Sequence[Change], today: int) -> str:
    """Return the text of the file with these changes made and its serial raised.

    :raises MailError: it cannot be done by touching only the lines of these records
    """
    changes = [change for change in changes if change.changed]
    if not changes:
        return file.text
    work = _Edits(file)
    for change in changes:
        check_authority(file, change.name)
        _check_source(file, change.name, change.type)
        work.rrset(change)
    work.hand_on_owners()
    work.serial(today)
    text = work.text()
    _verify(file, changes, text, work)
    return text


class _Edits:
    def __init__(self, file: ZoneFile) -> None:
        self.file = file
        self.newline = "\r\n" if "\r\n" in file.text else "\n"
        self.spans: list[tuple[int, int, str]] = []
        self.removed: set[int] = set()
        self.new_serial = 0

    def rrset(self, change: Change) -> None:
        after = {value.key: value for value in change.after.values}
        staying: dict[bytes, Entry] = {}
        old: list[Entry] = []
        for entry in self.file.of(change.name, change.type):
            key = entry.value.key
            if key in after and key not in staying:
                staying[key] = entry
            else:
                old.append(entry)
        new = [value for key, value in after.items() if key not in staying]
        for entry in staying.values():
            self._ttl(entry, change.after.ttl)
        replaced = list(zip(old, new))
        for entry, value in replaced:
            self._data(entry, value)
            self._ttl(entry, change.after.ttl)
        for entry in old[len(new) :]:
            self.removed.add(entry.line.start)
            self.spans.append((entry.line.start, entry.line.end, ""))
        if len(new) > len(old):
            stay = [*staying.values(), *(entry for entry, _value in replaced)]
            self._insert(change, new[len(old) :], stay)

    def _ttl(self, entry: Entry, ttl: int | None) -> None:
        if entry.ttl == ttl:
            return
        if entry.ttl_token is not None:
            self.spans.append((entry.ttl_token.start, entry.ttl_token.end, str(ttl)))
        else:
            at = min(token.start for token in (entry.class_token, entry.type_token) if token is not None)
            self.spans.append((at, at, f"{ttl} "))

    def _data(self, entry: Entry, value: Rdata) -> None:
        line = entry.line
        start, end = entry.data[0].start, entry.data[-1].end
        if line.opened is not None:
            if line.opened < entry.type_token.end:
                raise MailError(f"line {line.number}: the parenthesis stands before the record type; write the record on one line")
            start, end = min(start, line.opened), max(end, line.closed or 0)
        self.spans.append((start, end, value.zone_text))
        if entry.type_token.raw.upper().startswith("TYPE"):
            self.spans.append((entry.type_token.start, entry.type_token.end, entry.type))

    def _insert(self, change: Change, values: Sequence[Rdata], stay: Sequence[Entry]) -> None:
        mine = [entry for entry in self.file.at(change.name) if entry.source is None]
        near = list(stay) or mine
        if near:
            after = max(near, key=lambda entry: entry.line.start)
            at, origin, default = after.line.end, after.origin, after.default_ttl
        else:
            at, origin, default = len(self.file.text), self.file.origin, self.file.default_ttl
        owner = _relative(change.name, origin)
        ttl = "" if default == change.after.ttl else f"{change.after.ttl}\t"
        text = "".join(f"{owner}\t{ttl}IN\t{change.type}\t{value.zone_text}{self.newline}" for value in values)
        if at and not self.file.text[:at].endswith("\n"):
            text = self.newline + text
        self.spans.append((at, at, text))

    def hand_on_owners(self) -> None:
        """A line without a name takes the name of the line before; if that one goes, the name moves to it."""
        carried: Entry | None = None
        for entry in self.file.entries:
            if entry.source is not None:
                continue
            if entry.line.start in self.removed:
                carried = entry if entry.owner_token is not None else carried
                continue
            if carried is not None and entry.owner_token is None:
                name = carried.owner_token.raw if carried.origin == entry.origin else carried.owner + "."
                self.spans.append((entry.line.start, entry.line.start, name))
            carried = None

    def serial(self, today: int) -> None:
        soa = self.file.soa
        if soa.source is not None:
            raise MailError(f"the SOA record stands in the included file {soa.source!r}, so the serial cannot be raised")
        if len(soa.data) != 7:
            raise MailError(f"line {soa.line.number}: the SOA record has no serial number that can be raised")
        try:
            serial = decimal(soa.data[2].raw, "SOA serial", 2**32 - 1)
        except MailError as exc:
            raise MailError(f"line {soa.line.number}: {exc}") from exc
        self.new_serial = next_serial(serial, today)
        self.spans.append((soa.data[2].start, soa.data[2].end, str(self.new_serial)))

    def text(self) -> str:
        out, at = [], 0
        # What is inserted at a place comes before what is replaced from there on.
        for start, end, new in sorted(self.spans, key=lambda span: (span[0], span[1])):
            out += [self.file.text[at:start], new]
            at = end
        return "".join([*out, self.file.text[at:]])


def _relative(name: str, origin: str) -> str:
    if name == origin:
        return "@"
    if origin != "." and name.endswith("." + origin):
        return name[: -len(origin) - 1]
    return name + "."


def _verify(file: ZoneFile, changes: Sequence[Change], text: str, work: _Edits) -> None:
    """Parse what came out: every record concerned as wanted, every other one as before."""
    try:
        again = parse(text, file.zone, file.included)
    except MailError as exc:
        raise MailError(f"the file cannot be edited safely: with the change made, {exc}") from exc
    wrong = _unmeant(file, again, changes)
    if wrong:
        hint = "; without a $TTL line a record takes the TTL of the one before it: add one" if file.default_ttl is None else ""
        raise MailError(f"the file cannot be edited safely: {wrong[1]} at {wrong[0]} would change, too{hint}")
    if int(again.soa.data[2].raw) != work.new_serial:
        raise MailError("the file cannot be edited safely: its serial does not come out right")


def _unmeant(before: ZoneFile | None, after: ZoneFile, changes: Sequence[Change]) -> tuple[str, str] | None:
    """Return name and type of what is not as these changes would have it; None if all is. Without ``before`` only they are looked at."""
    concerned = {change.key for change in changes}
    want: Counter[Any] = Counter()
    for change in changes:
        want.update((change.name, change.type, change.after.ttl, key) for key in change.after.keys.elements())
    if before is not None:
        want.update(entry.identity for entry in before.entries if (entry.owner, entry.type) not in concerned and entry.type != "SOA")
    there = Counter(
        entry.identity
        for entry in after.entries
        if entry.type != "SOA" and (before is not None or (entry.owner, entry.type) in concerned)
    )
    wrong = next(iter((want - there) or (there - want)), None)
    return None if wrong is None else wrong[:2]


def confirm(zone: str, printed: str, printed_before: str | None, changes: Sequence[Change], program: str) -> None:
    """Compare what a name server's own program reads in the new file with what was meant.

    :param printed: the new zone as it prints it, and ``printed_before`` the old one; None if it does not read that
    :raises MailError: a record is another one for that program
    """
    try:
        after = parse(printed, zone)
        before = None if printed_before is None else parse(printed_before, zone)
    except MailError as exc:
        raise MailError(f"what {program} prints of the zone is not understood: {exc}") from exc
    wrong = _unmeant(before, after, [change for change in changes if change.changed])
    if wrong:
        lines = "; ".join(sorted(f"{entry.ttl} {entry.type} {_shown(entry)}" for entry in after.of(*wrong))) or "nothing"
        raise MailError(f"as {program} reads the new file, {wrong[1]} at {wrong[0]} is not what was meant: {lines[:200]}")


def _shown(entry: Entry) -> str:
    return entry.value.zone_text if isinstance(entry.value, Rdata) else " ".join(entry.value)
