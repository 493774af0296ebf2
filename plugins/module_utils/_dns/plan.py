# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted of DNS, what is there, and what has to change. Pure functions, shared by every backend."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import MAX_TTL, Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import inside, owner_name
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim_tags, dmarc, spf

STATES = ("present", "exact", "absent")

# A name may carry one TXT value of each of these versions: two are an error or void for those who read them. (Not where a
# domain takes another's reports: several values there are as good as one, RFC 9990, "Verifying External Destinations".)
_ONE_OF_A_KIND = (
    (b"v=spf1", "SPF", "RFC 7208 section 4.5"),
    (b"v=DMARC1", "DMARC", "RFC 9989 section 4.10"),
    (b"v=DKIM1", "DKIM", "RFC 6376 section 3.6.2.2"),
    (b"v=STSv1", "MTA-STS", "RFC 8461 section 3.1"),
    (b"v=TLSRPTv1", "TLS-RPT", "RFC 8460 section 3"),
)
# Room that is kept in a message for its header, zone section, TSIG and EDNS.
_MESSAGE_ROOM = 1024


@dataclass(frozen=True)
class Wanted:
    """One item of the batch: what shall be true of a type at a name. ``name`` is absolute, without its final dot."""

    label: str
    name: str
    zone: str | None
    type: str
    values: tuple[Rdata, ...]
    ttl: int
    state: str
    prefix: bytes | None = None
    #: Terms that an SPF record may lose, or hosts that MX records may; others are an error. With None they are only warned of.
    may_drop: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.type

    def owns(self, value: Rdata) -> bool:
        return owned(value.key, self.prefix)

    def agreed(self, rrset: RRset) -> Wanted:
        """Return the item with what is there in place of what is wanted (or not wanted), where both publish the same DKIM key."""
        if self.type != "TXT" or len(self.values) != 1 or "._domainkey." not in self.name:
            return self
        there = [value for value in rrset.values if self.owns(value)]
        if len(there) == 1 and there[0].key == self.values[0].key:
            return self
        same = len(there) == 1 and same_dkim_key(self.values[0].key, there[0].key)
        return replace(self, values=(there[0],)) if same else self


def tsig_secret(value: str, option: str = "tsig_secret") -> bytes:
    """Return the octets of a TSIG secret (RFC 8945).

    :raises MailError: not base64, or empty; the secret is not in the text
    """
    try:
        octets = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not octets:
        raise MailError(f"{option} is not base64: give the secret as it stands in the key file, without quotation marks")
    return octets


def owned(value: bytes, prefix: bytes | None) -> bool:
    """Whether a TXT value is one of those that ``owned_prefix`` names.

    A version tag without its separator (``v=spf1``, ``v=DMARC1``) is matched as a version section: followed by a space,
    a semicolon or nothing, so that ``v=spf1`` does not own ``v=spf10`` (RFC 7208 section 4.5). Any other prefix is
    compared octet by octet.
    """
    if prefix is None:
        return True
    if not re.fullmatch(rb"v=[A-Za-z0-9]+", prefix):
        return value.startswith(prefix)
    if prefix.lower() == b"v=spf1":  # the version is a literal of ABNF: no case (RFC 7208 section 4.5, RFC 5234 section 2.3)
        return value[:6].lower() == b"v=spf1" and value[6:7] in (b"", b" ")
    if prefix == b"v=DMARC1" and dmarc.is_record(value.decode("latin-1")):  # "v = DMARC1" is one, too (RFC 9989 section 4.8)
        return True
    return value.startswith(prefix) and value[len(prefix) : len(prefix) + 1] in (b"", b" ", b";", b"\t")


def same_dkim_key(ours: bytes, there: bytes) -> bool:
    """Whether a record that is there publishes the key of the wanted one for our signatures, in its maker's own words.

    opendkim-genkey, say, writes ``h=sha256`` between. A record that says it is only a test (``t=y``), is not for mail
    (``s=``) or not for SHA-256 (``h=``) is another one (RFC 6376 section 3.6.1).
    """
    try:
        mine, other = (dkim_tags.parse(value.decode("ascii")) for value in (ours, there))
    except (MailError, UnicodeDecodeError):
        return False
    return (
        bool(mine["public_key"])
        and all(mine[what] == other[what] for what in ("algorithm", "public_key"))
        and ("y" in mine["flags"]) == ("y" in other["flags"])
        and (not other["hashes"] or "sha256" in other["hashes"])
        and bool({"*", "email"} & set(other["services"]))
        and not mine["hashes"]
        and not mine["notes"]
        and mine["flags"] in ([], other["flags"])
    )


def absolute_name(name: str, zone: str | None) -> str:
    """Return the absolute owner name, canonical and without its final dot.

    ``@`` is the zone itself, ``*`` the wildcard below it. A name with a final dot, or inside the zone, is absolute. Another
    name is relative to the zone if it ends in a label with an underscore, as no whole name does (``s1._domainkey``,
    ``example.com._report._dmarc``), or has at most one label after those (``mail``, ``_25._tcp.mail``); anything longer could
    as well be a name of another zone, and is refused.

    :raises MailError: a relative name without a zone, a name outside the zone
    """
    if name == "@":
        if zone is None:
            raise MailError("name '@' is the zone itself: give the zone")
        return zone
    if name == "*" and zone is not None:
        return owner_name(f"*.{zone}")
    full = owner_name(name)
    dotted = name.endswith(".")
    if zone is None:
        if "." not in full:
            raise MailError(f"name {name!r} is relative: give the zone, or the whole name")
        return full
    if inside(full, zone):
        return full
    if not dotted:
        rest = full.split(".")
        if rest[-1].startswith("_"):
            return owner_name(f"{full}.{zone}")
        while rest and (rest[0].startswith("_") or rest[0] == "*"):
            rest.pop(0)
        if "_domainkey" in rest:  # a selector may have several labels
            rest = rest[rest.index("_domainkey") + 1 :]
        if len(rest) <= 1:
            return owner_name(f"{full}.{zone}")
    raise MailError(f"name {name!r} is outside of zone {zone!r}; a name of several labels is absolute: write it in full")


def wanted_records(items: Iterable[Mapping[str, Any]], encoding: str = "ascii") -> list[Wanted]:
    """Check a batch as the user wrote it and return it in canonical form; nothing is asked of anyone.

    Each item has ``name``, ``zone`` (or None), ``type``, ``values``, ``ttl``, ``state`` and ``owned_prefix`` (or None), and may have
    ``may_drop``.

    :raises MailError: the first item that breaks a rule; the text begins with its place in the list
    """
    batch = []
    for at, item in enumerate(items):
        label = f"records[{at}] ({item['type']} {item['name']})"
        try:
            batch.append(_wanted(label, item, encoding))
        except MailError as exc:
            raise MailError(f"{label}: {exc}") from exc
    return batch


def _wanted(label: str, item: Mapping[str, Any], encoding: str) -> Wanted:
    zone = None if item["zone"] is None else owner_name(item["zone"], "zone")
    name = absolute_name(item["name"], zone)
    rtype, state, ttl = item["type"], item["state"], item["ttl"]
    if rtype not in rdata.TYPES:
        raise MailError(f"type {rtype!r} is not one of {', '.join(rdata.TYPES)}")
    if state not in STATES:
        raise MailError(f"state {state!r} is not one of {', '.join(STATES)}")
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 <= ttl <= MAX_TTL:
        raise MailError(f"ttl {ttl!r} is not a number of seconds from 0 to {MAX_TTL} (RFC 2181 section 8)")
    prefix = item["owned_prefix"]
    if prefix is not None and rtype != "TXT":
        raise MailError(f"owned_prefix is for TXT records, not for {rtype}")
    if prefix == "":
        raise MailError("owned_prefix must not be empty: state=exact replaces every value")
    try:
        octets = None if prefix is None else prefix.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MailError(f"owned_prefix {prefix!r} has half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)") from exc
    values = tuple({value.key: value for value in (rdata.from_text(rtype, text, encoding) for text in item["values"])}.values())
    if not values and state != "absent":
        raise MailError(f"values must not be empty with state={state}; state=absent removes every value")
    may_drop = item.get("may_drop")
    if may_drop is not None and rtype not in ("TXT", "MX"):
        raise MailError(f"may_drop is for SPF records, which are TXT, and for MX, not for {rtype}")
    for text in may_drop or ():
        spf.term(text, "may_drop") if rtype == "TXT" else owner_name(text, "may_drop")
    desired = Wanted(label, name, zone, rtype, values, ttl, state, octets, None if may_drop is None else tuple(may_drop))
    for value in values:
        if not desired.owns(value):
            raise MailError(f"value {_short(value)} does not begin with owned_prefix {prefix!r}, so the next run could not find it again")
    return desired


def in_zones(batch: Iterable[Wanted], zones: Mapping[str, str]) -> list[Wanted]:
    """Return the batch with the zone of each name filled in, and check what depends on it.

    :raises MailError: a CNAME at the head of its zone, where SOA and NS stand (RFC 1034 section 3.6.2)
    """
    placed = []
    for item in batch:
        zone = item.zone or zones[item.name]
        if not inside(item.name, zone):
            raise MailError(f"{item.label}: name {item.name!r} is outside of zone {zone!r}")
        if item.type == "CNAME" and item.name == zone and item.state != "absent":
            raise MailError(f"{item.label}: a CNAME cannot stand at the head of zone {zone!r}, beside SOA and NS (RFC 1034 section 3.6.2)")
        placed.append(replace(item, zone=zone))
    return placed


def check_batch(batch: Iterable[Wanted]) -> None:
    """Check the items of a batch against each other, before anything is asked of anyone.

    :raises MailError: two items that contradict each other, or data that may not stand together
    """
    groups: dict[tuple[str, str], list[Wanted]] = {}
    for item in batch:
        groups.setdefault(item.key, []).append(item)
    data: dict[str, set[str]] = {}
    for (name, rtype), items in groups.items():
        after = apply(items, RRset())
        if after.values:
            data.setdefault(name, set()).add(rtype)
    for name, types in data.items():
        if "CNAME" in types and len(types) > 1:
            others = ", ".join(sorted(types - {"CNAME"}))
            raise MailError(f"{name}: a CNAME stands alone at its name, and the batch also has {others} there (RFC 1034 section 3.6.2)")


def apply(items: list[Wanted], before: RRset) -> RRset:
    """Return what the RRset becomes when every item of the batch for it holds.

    Values that stay keep their own splitting; a value that is there twice, split in two ways, becomes one.

    :raises MailError: items that contradict each other, TTLs that differ, values that may not stand together, or an RRset
        that no message could carry
    """
    name, rtype = items[0].key
    left = list(before.values)
    items = [item.agreed(before) for item in items]
    for item in items:
        mine = {value.key for value in item.values}
        if item.state == "absent":
            left = [value for value in left if not (item.owns(value) and (not mine or value.key in mine))]
            continue
        if item.state == "exact" or item.prefix is not None:
            left = [value for value in left if value.key in mine or not item.owns(value)]
        seen = set()
        for value in list(left):
            if value.key in mine:
                if value.key in seen:
                    left.remove(value)
                seen.add(value.key)
        left += [value for value in item.values if value.key not in seen]
    ttls = {item.ttl for item in items if item.state != "absent"}
    if len(ttls) > 1:
        raise MailError(f"{name} {rtype}: the records of one type at one name have one TTL, not {_list(ttls)} (RFC 2181 section 5.2)")
    untouched = not ttls and len(left) == len(before.values)
    after = before if untouched else RRset(tuple(left), (ttls.pop() if ttls else before.ttl) if left else None)
    for item in items if len(items) > 1 else ():
        if not holds(item, after):
            others = ", ".join(other.label for other in items if other is not item)
            raise MailError(f"{item.label} contradicts {others}: they cannot hold together")
    _may_stand_together(name, rtype, items, after)
    return after


def _may_stand_together(name: str, rtype: str, items: list[Wanted], after: RRset) -> None:
    if rtype == "CNAME" and len(after.values) > 1:
        raise MailError(
            f"{name}: a name has one CNAME, and there would be {len(after.values)}: {_list(after.texts)} (RFC 2181 section 10.1); "
            "state=exact replaces the other one"
        )
    mine = {value.key for item in items if item.state != "absent" for value in item.values}
    if rtype == "MX" and len(after.values) > 1 and b"\0\0\0" in after.keys:
        raise MailError(f"{name}: the null MX '0 .' stands alone (RFC 7505 section 3)")
    if rtype == "TXT" and len(after.values) > 1:
        for version, what, rule in _ONE_OF_A_KIND:
            if what == "DMARC" and "._report._dmarc." in name:
                continue
            # A selector has one value, whatever its tags: v= is not needed.
            key = what == "DKIM" and "._domainkey." in name
            same = [value for value in after.values if key or owned(value.key, version)]
            if len(same) > 1 and any(value.key in mine for value in same):
                how = "state=exact" if key else f"owned_prefix={version.decode()}"
                hint = f"; {how} replaces the other one" if any(value.key not in mine for value in same) else ""
                words = "; ".join(_short(value) for value in same)
                raise MailError(f"{name}: there would be {len(same)} {what} values, and one is the rule ({rule}): {words}{hint}")
    octets = sum(len(name) + 12 + len(value.wire) for value in after.values)
    if octets > rdata.MAX_MESSAGE - _MESSAGE_ROOM:
        raise MailError(
            f"{name} {rtype}: {octets} octets of records do not fit into one DNS message of {rdata.MAX_MESSAGE} (RFC 1035 section 4.2.2)"
        )


def holds(item: Wanted, rrset: RRset) -> bool:
    """Whether an RRset keeps what the item asks; the TTL does not count."""
    item = item.agreed(rrset)
    mine, there = {value.key for value in item.values}, rrset.keys
    owned_there = [value.key for value in rrset.values if item.owns(value)]
    if item.state == "absent":
        return not any(key in mine for key in owned_there) if mine else not owned_there
    if any(there[key] != 1 for key in mine):
        return False
    if item.state == "exact" or item.prefix is not None:
        return all(key in mine for key in owned_there)
    return True


def missing(item: Wanted, rrset: RRset) -> tuple[list[str], list[str]]:
    """Return (values that are wanted and not there, values that are there and must go), as text."""
    item = item.agreed(rrset)
    mine, there = {value.key for value in item.values}, rrset.keys
    if item.state == "absent":
        return [], sorted(value.text for value in rrset.values if item.owns(value) and (not mine or value.key in mine))
    lacking = sorted(value.text for value in item.values if not there[value.key])
    extra = [value.text for value in rrset.values if value.key in mine and there[value.key] > 1]
    if item.state == "exact" or item.prefix is not None:
        extra += [value.text for value in rrset.values if item.owns(value) and value.key not in mine]
    return lacking, sorted(extra)


def plan(batch: list[Wanted], rrsets: Mapping[tuple[str, str], RRset], others: Mapping[str, set[str]]) -> list[Change]:
    """Return what becomes of each RRset of the batch, in the order of the batch, unchanged ones included.

    ``rrsets`` has what is there, RRsets of CNAME included; ``others`` has, for names that shall get a CNAME, the types that
    are there besides.

    :raises MailError: as :func:`apply`, or a CNAME beside other data
    """
    groups: dict[tuple[str, str], list[Wanted]] = {}
    for item in batch:
        groups.setdefault(item.key, []).append(item)
    changes = []
    for (name, rtype), items in groups.items():
        zone = items[0].zone
        before = rrsets.get((name, rtype), RRset())
        changes.append(Change(zone, name, rtype, before, apply(items, before)))
    after = {change.key: change.after for change in changes}
    for change in changes:
        if not change.after.values:
            continue
        if change.type == "CNAME":
            emptied = {rtype for rtype in rdata.TYPES if not after.get((change.name, rtype), change.after).values}
            left = others.get(change.name, set()) - {"CNAME"} - emptied
            if left:
                raise MailError(f"{change.name}: a CNAME stands alone at its name, and there is {_list(left)} (RFC 1034 section 3.6.2)")
        else:
            alias = after.get((change.name, "CNAME"), rrsets.get((change.name, "CNAME"), RRset()))
            if alias.values:
                raise MailError(
                    f"{change.name}: there is a CNAME to {alias.texts[0]}, and nothing stands beside a CNAME (RFC 1034 section 3.6.2): "
                    f"a server would drop the {change.type} silently (RFC 2136 section 3.4.2.2)"
                )
    return changes


def aliases(batch: Iterable[Wanted], rrsets: Mapping[tuple[str, str], RRset]) -> dict[tuple[str, str], str]:
    """Return (name, type) -> target for what is wanted at a name that is an alias, and that this batch leaves one."""
    batch = list(batch)
    moved = {item.name for item in batch if item.type == "CNAME"}
    there = {item.key: rrsets.get((item.name, "CNAME"), RRset()) for item in batch if item.name not in moved}
    return {key: rdata.name_text(rrset.values[0].wire).lower().rstrip(".") for key, rrset in there.items() if rrset.values}


def behind_alias(items: Sequence[Wanted], target: str, there: RRset | MailError) -> str | None:
    """Return why records are not in order at a name that is an alias; None if what is behind it keeps them all.

    Nothing stands beside a CNAME (RFC 1034 section 3.6.2), so nothing can be published there.
    """
    name, rtype = items[0].key
    head = f"{name} {rtype}: there is a CNAME to {target}., "
    if isinstance(there, MailError):
        return f"{head}and what is there is not known: {there}"
    broken = [item for item in items if not holds(item, there)]
    if not broken:
        return None
    values = "; ".join(_short(value) for item in broken if item.state != "absent" for value in item.values)
    way = f"publish {values} there" if values else "remove that there"
    words = "; ".join(_short(value) for value in there.values) or f"no {rtype}"
    return f"{head}where there is {words}: {way}, remove the CNAME, or do without the record"


def octets(change: Change) -> int:
    """An upper bound of what a change takes in an UPDATE message: prerequisites, deletion, additions, uncompressed."""
    head = len(change.name) + 12
    values = list(change.before.values) + list(change.after.values)
    return 2 * head + sum(head + len(value.wire) for value in values)


def told_once(errors: Mapping[str, str]) -> list[str]:
    """What went wrong in which zones: zones that fail in the same way share one text.

    :param errors: zone to a text that begins with ``zone 'NAME': ``
    """
    zones: dict[str, list[str]] = {}
    for zone, text in errors.items():
        zones.setdefault(text.removeprefix(f"zone {zone!r}: "), []).append(repr(zone))
    return [f"zone{'s' if len(named) > 1 else ''} {', '.join(named)}: {words}" for words, named in zones.items()]


def messages(changes: Iterable[Change]) -> list[list[Change]]:
    """Split the changes of one zone into as few UPDATE messages as fit; a name is never split over two.

    :raises MailError: one name alone does not fit
    """
    names: dict[str, list[Change]] = {}
    for change in changes:
        names.setdefault(change.name, []).append(change)
    parts: list[list[Change]] = []
    room = 0
    for name, group in names.items():
        size = sum(octets(change) for change in group)
        if size > rdata.MAX_MESSAGE - _MESSAGE_ROOM:
            raise MailError(
                f"{name}: the update would take {size} octets, and a DNS message holds {rdata.MAX_MESSAGE} (RFC 1035 section 4.2.2): "
                "remove the old values first"
            )
        if not parts or size > room:
            parts.append([])
            room = rdata.MAX_MESSAGE - _MESSAGE_ROOM
        parts[-1] += group
        room -= size
    return parts


def zone_lines(name: str, rtype: str, rrset: RRset) -> list[str]:
    """Return an RRset as lines of a zone file, sorted."""
    return sorted(f"{name}. {rrset.ttl} IN {rtype} {value.zone_text}" for value in rrset.values)


def diff(changes: Iterable[Change]) -> dict[str, str]:
    """Return the RRsets that change, as they were and as they become, in Ansible's form of a diff."""
    changed = sorted((change for change in changes if change.changed), key=lambda change: (change.zone, change.name, change.type))
    sides: dict[str, list[str]] = {"before": [], "after": []}
    for change in changed:
        sides["before"] += zone_lines(change.name, change.type, change.before)
        sides["after"] += zone_lines(change.name, change.type, change.after)
    return {side: "".join(line + "\n" for line in lines) for side, lines in sides.items()}


def _short(value: Rdata) -> str:
    text = value.text
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values))
