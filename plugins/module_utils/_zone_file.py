# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Editing the text of a zone file (RFC 1035 section 5) so that only the lines concerned are touched. Pure functions.

Text is a string of which each character is one octet (read it as Latin-1): what is not touched then comes out as it was.
The result of an edit is parsed again and compared with what it was to become; a file in which that fails is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils import _dns_rdata as rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import Change, RRset, inside
from ansible_collections.postmaster.mail.plugins.module_utils._dns_rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

_CLASSES = {"IN", "CH", "HS", "CS"}
_TTL = re.compile(r"([0-9]+[wdhms])+|[0-9]+", re.IGNORECASE)
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_SIGNED = {"RRSIG", "NSEC", "NSEC3", "SIG", "NXT"}
_NUMBERS = {f"TYPE{code}": rtype for rtype, code in rdata.CODES.items()}
_INCLUDE_DEPTH = 8


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


@dataclass
class ZoneFile:
    """A parsed file: records in their order, and what matters for editing."""

    zone: str
    text: str
    entries: list[Entry] = field(default_factory=list)
    generated: list[tuple[int, re.Pattern[str]]] = field(default_factory=list)
    origin: str = ""
    default_ttl: int | None = None
    included: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str, rtype: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.owner == name and entry.type == rtype]

    def rrset(self, name: str, rtype: str) -> RRset:
        found = self.of(name, rtype)
        return RRset(tuple(entry.value for entry in found), min(entry.ttl or 0 for entry in found) if found else None)

    def types(self, name: str) -> set[str]:
        return {entry.type for entry in self.entries if entry.owner == name}

    @property
    def soa(self) -> Entry:
        return next(entry for entry in self.entries if entry.type == "SOA")


# Words and lines.


def lines(text: str) -> list[Line]:
    """Return the entries and directives of a file as words.

    :raises MailError: an open quotation mark or parenthesis, with its line
    """
    found: list[Line] = []
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
            found.append(line)
    return found


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
    if raw == "@":
        return origin
    if raw != "." and not re.search(r"(?<!\\)(\\\\)*\.$", raw):
        raw = raw + "." + (origin if origin != "." else "")
    text = rdata.name_text(rdata.name_wire(raw)).lower()
    return text if text == "." else text[:-1]


def ttl_seconds(text: str) -> int:
    """Return a TTL in seconds from ``3600`` or BIND's ``1h30m``."""
    if text.isdigit():
        return int(text)
    return sum(int(number) * _UNITS[unit.lower()] for number, unit in re.findall(r"([0-9]+)([wdhms])", text, re.IGNORECASE))


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
    found = ZoneFile(zone, text, included=included or {})
    state = _State(origin=zone)
    _parse(found, state, text, None, found.included, 0)
    found.origin, found.default_ttl = state.origin, state.default_ttl
    soas = [entry for entry in found.entries if entry.type == "SOA"]
    if len(soas) != 1 or soas[0].owner != zone:
        other = f"; it has that of {soas[0].owner!r}" if soas else ""
        raise MailError(f"the file has no SOA record of zone {zone!r}{other}")
    if any(entry.type in _SIGNED for entry in found.entries):
        raise MailError("the file is the output of a signer (it has RRSIG or NSEC records): edit the unsigned one")
    return found


@dataclass
class _State:
    origin: str
    default_ttl: int | None = None
    last_ttl: int | None = None
    owner: str | None = None


def _parse(found: ZoneFile, state: _State, text: str, source: str | None, included: Mapping[str, str], depth: int) -> None:
    for line in lines(text):
        where = f"line {line.number}" + (f" of {source}" if source else "")
        try:
            word = _directive(line)
            if word is None:
                found.entries.append(_entry(line, state, source))
            elif word == "$INCLUDE":
                _include(found, state, line, included, depth)
            elif source is not None and word == "$TTL":
                raise MailError("$TTL in an included file: servers differ in what it means for the rest of the including one")
            else:
                _obey(found, state, line, word)
        except MailError as exc:
            raise MailError(f"{where}: {exc}") from exc


def _obey(found: ZoneFile, state: _State, line: Line, word: str) -> None:
    words = [token.raw for token in line.tokens]
    if word in ("$ORIGIN", "$TTL") and len(words) != 2:
        raise MailError(f"{word} takes one word")
    if word == "$ORIGIN":
        state.origin = _name(words[1], state.origin)
    elif word == "$TTL":
        if not _TTL.fullmatch(words[1]):
            raise MailError(f"$TTL {words[1]!r} is not a time")
        state.default_ttl = ttl_seconds(words[1])
    elif word == "$GENERATE" and len(words) >= 4:
        left = re.sub(r"\$(\{[^}]*\})?", "\0", words[2])
        if not left.endswith("."):
            left = f"{left}.{state.origin}"
        pattern = re.escape(left.rstrip(".").lower()).replace("\0", "[0-9a-f.]+")
        found.generated.append((line.number, re.compile(pattern)))
    else:
        raise MailError(f"directive {words[0]} is not understood")


def _include(found: ZoneFile, state: _State, line: Line, included: Mapping[str, str], depth: int) -> None:
    if not 2 <= len(line.tokens) <= 3:
        raise MailError("$INCLUDE takes a file and an origin")
    path = _octets(line.tokens[1]).decode("latin-1")
    if depth >= _INCLUDE_DEPTH:
        raise MailError(f"$INCLUDE goes deeper than {_INCLUDE_DEPTH} files")
    if path not in included:
        raise MailError(f"the included file {path!r} cannot be read, so what it has is not known")
    origin = _name(line.tokens[2].raw, state.origin) if len(line.tokens) == 3 else state.origin
    inner = _State(origin, state.default_ttl, state.last_ttl, state.owner)
    _parse(found, inner, included[path], path, included, depth + 1)
    # Origin and owner are the including file's again (RFC 1035 section 5.1).
    state.last_ttl = inner.last_ttl


def _entry(line: Line, state: _State, source: str | None) -> Entry:
    tokens = list(line.tokens)
    owner_token = None if line.blank else tokens.pop(0)
    if owner_token is not None:
        state.owner = _name(owner_token.raw, state.origin)
    if state.owner is None:
        raise MailError("the first record has no name")
    ttl_token = class_token = None
    while tokens and not tokens[0].quoted:
        if ttl_token is None and _TTL.fullmatch(tokens[0].raw):
            ttl_token = tokens.pop(0)
        elif class_token is None and (tokens[0].raw.upper() in _CLASSES or re.fullmatch(r"CLASS[0-9]+", tokens[0].raw.upper())):
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
        ttl = state.last_ttl = ttl_seconds(ttl_token.raw)
    elif ttl is None and rtype == "SOA" and len(tokens) == 7:
        ttl = state.last_ttl = ttl_seconds(tokens[6].raw)  # the way of BIND: the SOA minimum
    words = (class_token, type_token, rtype, tokens, value)
    return Entry(line, source, state.origin, state.owner, owner_token, ttl, ttl_token, state.default_ttl, *words)


def _value(rtype: str, tokens: Sequence[Token], origin: str) -> Rdata | tuple[str, ...]:
    if rtype not in rdata.CODES:
        return tuple(token.raw for token in tokens)
    raws = [token.raw for token in tokens]
    if raws[:1] == ["\\#"]:  # RFC 3597
        text = "".join(raws[2:])
        if len(raws) < 2 or not re.fullmatch(r"([0-9A-Fa-f]{2})*", text) or len(text) // 2 != int(raws[1]):
            raise MailError(f"{rtype} data in the generic form is damaged (RFC 3597 section 5)")
        return Rdata(rtype, bytes.fromhex(text))
    if rtype == "TXT":
        strings = [_octets(token) for token in tokens]
        if not strings or any(len(string) > rdata.MAX_STRING for string in strings):
            raise MailError("a TXT record has one or more strings of at most 255 octets (RFC 1035 section 3.3)")
        return Rdata(rtype, rdata.txt_wire(strings))
    if rtype in ("CNAME", "PTR", "MX", "SRV"):
        want = {"CNAME": 1, "PTR": 1, "MX": 2, "SRV": 4}[rtype]
        if len(raws) != want or not all(raw.isdigit() and int(raw) < 65536 for raw in raws[:-1]):
            raise MailError(f"the {rtype} record is damaged")
        name = _name(raws[-1], origin)
        return Rdata(rtype, b"".join(int(raw).to_bytes(2, "big") for raw in raws[:-1]) + rdata.name_wire(name))
    if rtype == "CAA" and len(tokens) == 3:
        return Rdata(rtype, bytes((int(raws[0]), len(raws[1]))) + raws[1].encode() + _octets(tokens[2]))
    return rdata.from_text(rtype, " ".join(raws))


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


def check(file: ZoneFile, name: str, rtype: str) -> None:
    """Refuse a record that this file does not decide about.

    :raises MailError: the name is delegated, comes out of $GENERATE, or the records stand in an included file
    """
    for entry in file.entries:
        cut = entry.type == "NS" and entry.owner != file.zone and inside(name, entry.owner)
        if cut or (entry.type == "DNAME" and name.endswith("." + entry.owner)):
            raise MailError(f"line {entry.line.number}: {entry.owner!r} has {entry.type} records, so {name!r} is not in zone {file.zone!r}")
        if entry.source is not None and entry.owner == name and rtype in (entry.type, "CNAME"):
            raise MailError(f"{rtype} at {name} stands in the included file {entry.source!r}, line {entry.line.number}: edit it there")
    for number, pattern in file.generated:
        if pattern.fullmatch(name):
            raise MailError(f"line {number}: {name!r} may come out of this $GENERATE line, which cannot be edited")


def edit(file: ZoneFile, changes: Sequence[Change], today: int) -> str:
    """Return the text of the file with these changes made and its serial raised.

    :raises MailError: it cannot be done by touching only the lines of these records
    """
    changes = [change for change in changes if change.changed]
    if not changes:
        return file.text
    work = _Edits(file)
    for change in changes:
        check(file, change.name, change.type)
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
        wanted = {value.key: value for value in change.after.values}
        kept: dict[bytes, Entry] = {}
        old: list[Entry] = []
        for entry in self.file.of(change.name, change.type):
            key = entry.value.key
            if key in wanted and key not in kept:
                kept[key] = entry
            else:
                old.append(entry)
        new = [value for key, value in wanted.items() if key not in kept]
        for entry in kept.values():
            self._ttl(entry, change.after.ttl)
        replaced = list(zip(old, new))
        for entry, value in replaced:
            self._data(entry, value)
            self._ttl(entry, change.after.ttl)
        for entry in old[len(new) :]:
            self.removed.add(entry.line.start)
            self.spans.append((entry.line.start, entry.line.end, ""))
        if len(new) > len(old):
            stay = [*kept.values(), *(entry for entry, _value in replaced)]
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
        mine = [entry for entry in self.file.entries if entry.owner == change.name and entry.source is None]
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
        if len(soa.data) != 7 or not soa.data[2].raw.isdigit():
            raise MailError(f"line {soa.line.number}: the SOA record has no serial number that can be raised")
        self.new_serial = next_serial(int(soa.data[2].raw), today)
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
    concerned = {change.key for change in changes}
    want = Counter(entry.identity for entry in file.entries if (entry.owner, entry.type) not in concerned and entry.type != "SOA")
    for change in changes:
        want.update((change.name, change.type, change.after.ttl, key) for key in change.after.keys)
    try:
        again = parse(text, file.zone, file.included)
    except MailError as exc:
        raise MailError(f"the file cannot be edited safely: with the change made, {exc}") from exc
    there = Counter(entry.identity for entry in again.entries if entry.type != "SOA")
    if want != there:
        wrong = next(iter((want - there) or (there - want)))
        hint = "; without a $TTL line a record takes the TTL of the one before it: add one" if file.default_ttl is None else ""
        raise MailError(f"the file cannot be edited safely: {wrong[1]} at {wrong[0]} would change, too{hint}")
    if int(again.soa.data[2].raw) != work.new_serial:
        raise MailError("the file cannot be edited safely: its serial does not come out right")

