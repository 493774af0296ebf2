# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading from and writing to a primary name server: DNS UPDATE (RFC 2136) with TSIG (RFC 8945). This is I/O."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Server, Stream, Unreachable, rrset_of
from ansible_collections.postmaster.mail.plugins.module_utils._dns.plan import messages, tsig_secret
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import TYPES, Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._dns.wire import Reply
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import inside, owner_name

try:
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rdata
    import dns.rdataclass
    import dns.rdatatype
    import dns.tsig
    import dns.update
except ImportError:  # reported by the modules through ``client.HAS_DNSPYTHON``
    pass

# Updates under way at one server: each is a write to its disk, and BIND drops those past update-quota (100).
UPDATE_WINDOW = 20
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")
# What may stand at a name besides the types of this collection.
_OTHER_TYPES = ("NS", "DS", "SSHFP", "SVCB", "HTTPS", "NAPTR", "DNAME", "LOC", "HINFO")


@dataclass(frozen=True)
class Key:
    """A TSIG key; its secret is shown nowhere."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


def tsig_key(name: str, algorithm: str, secret: str) -> Key:
    """Return the key of the options ``tsig_name``, ``tsig_algorithm`` and ``tsig_secret``.

    :raises MailError: a name that is none, a secret that is not base64; the secret is not in the text
    """
    return Key(owner_name(name, "tsig_name"), algorithm, tsig_secret(secret))


def explain(code: str, server: str, zone: str, key: Key | None) -> str:
    """Return what an error answer of a primary means and what to check. Pure.

    ``code`` is an rcode or TSIG error by its name (RFC 2136 section 2.2, RFC 8945 section 3), with ``UNSIGNED-`` before it
    if a signed request got an answer without a signature.
    """
    with_key = f"key {key.name!r} ({key.algorithm})" if key else "no key"
    head = f"zone {zone!r}: server {server} answers "
    if code.startswith("UNSIGNED-"):
        plain = code[len("UNSIGNED-") :]
        if plain == "NOERROR":
            return f"{head}without a signature to a request signed with {with_key}, which proves nothing (RFC 8945 section 5.4.1)"
        return (
            f"{head}{plain} without a signature to a request signed with {with_key}. Knot answers so when it does not know the key "
            "(BADKEY), when the secret differs (BADSIG), when its ACL does not let the key update this zone, or when it does not have the "
            "zone: check tsig_name, tsig_secret and tsig_algorithm, the ACL (action: update) and the zone"
        )
    access = "and what the key may do" if key else "and set tsig_name and tsig_secret if it wants a signature"
    words = {
        "REFUSED": f"REFUSED to an update with {with_key}: its policy does not allow it; check allow-update or update-policy of "
        f"the zone, {access}. BIND also refuses an MX or SRV record whose host is in the zone and has no address there (check-integrity)",
        "NOTAUTH": f"NOTAUTH to an update with {with_key}: it is not a primary server of this zone, or does not accept updates "
        f"for it so signed; check server, zone, {access}",
        "NOTZONE": "NOTZONE: a name of the update is not inside the zone that the server has there; check zone",
        "BADSIG": f"BADSIG to {with_key}: it knows the key by name, and the signature does not verify; check tsig_secret",
        "BADKEY": f"BADKEY to {with_key}: it does not know a key of this name and algorithm; check tsig_name and tsig_algorithm. "
        "Knot answers so, too, when its ACL does not let the key update this zone (action: update)",
        "BADTIME": f"BADTIME to {with_key}: the clocks of this host and the server differ by more than the fudge of 300 s "
        "(RFC 8945 section 5.2.3); check the time of both",
        "BADTRUNC": f"BADTRUNC to {with_key}: it wants longer signatures (RFC 8945 section 5.2.2.1)",
        "SERVFAIL": "SERVFAIL: it failed by itself, for example because it cannot write the zone's journal; its log has the reason",
        "FORMERR": "FORMERR: it does not understand the message",
        "NOTIMP": "NOTIMP: it does not do dynamic updates (RFC 2136)",
    }
    if code in ("NXRRSET", "YXRRSET", "NXDOMAIN", "YXDOMAIN"):
        return (
            f"{head}{code}: somebody changed these records between our reading and our writing (RFC 2136 section 3.2); "
            "nothing of this message was written; run again to see what is there now"
        )
    return head + words.get(code, f"{code}")


class Primary:
    """One primary server: reads over one TCP connection, writes over another."""

    def __init__(self, server: Server, key: Key | None, timeout: float, sign_queries: bool = False) -> None:
        self.server = server
        self.key = key
        self.timeout = timeout
        self.sign_queries = sign_queries and key is not None

    def __str__(self) -> str:
        return str(self.server)

    def _sign(self, message: Any) -> None:
        key = dns.tsig.Key(self.key.name + ".", self.key.secret, self.key.algorithm)
        message.use_tsig({key.name: key}, key.name)

    def _parse(self, message: Any, wire: bytes) -> tuple[str, Reply | None]:
        """Return (what the answer says, the answer or None). ``message`` is the signed one that it answers, or None."""
        try:
            reply = dns_wire.reply(wire)
        except ValueError as exc:
            raise Unreachable(f"{self.server} sends what is not a DNS message: {exc}") from exc
        if message is None:
            return reply.rcode, reply
        try:
            signed = dns.message.from_wire(wire, keyring=message.keyring, request_mac=message.mac, ignore_trailing=True).had_tsig
        except (dns.tsig.PeerBadSignature, dns.tsig.BadSignature):
            return "BADSIG", None
        except (dns.tsig.PeerBadKey, dns.tsig.BadKey, dns.message.UnknownTSIGKey):
            return "BADKEY", None
        except (dns.tsig.PeerBadTime, dns.tsig.BadTime):
            return "BADTIME", None
        except dns.tsig.PeerBadTruncation:
            return "BADTRUNC", None
        except (dns.exception.DNSException, ValueError):
            signed = False  # dnspython 2.9 refuses an answer without a signature so, 2.3 passes it on
        # An unsigned success proves nothing, an unsigned error is what Knot sends for every trouble with the key.
        return (reply.rcode, reply) if signed else (f"UNSIGNED-{reply.rcode}", None)

    def ask(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, Reply | None]]:
        """Return (name, type) -> (rcode, reply). Signed if so asked, or if the server refuses to answer unsigned questions.

        :raises Unreachable: the server does not answer
        """
        pairs = list(dict.fromkeys(pairs))
        answers = self._ask(pairs, self.sign_queries)
        refused = [pair for pair in pairs if answers[pair][0] == "REFUSED"]
        if refused and self.key is not None and not self.sign_queries:
            again = self._ask(refused, True)
            if any(code in ("NOERROR", "NXDOMAIN") for code, _reply in again.values()):
                self.sign_queries = True
            answers.update({pair: answer for pair, answer in again.items() if not answer[0].startswith("UNSIGNED-")})
        return answers

    def _ask(self, pairs: list[tuple[str, str]], signed: bool) -> dict[tuple[str, str], tuple[str, Reply | None]]:
        queries, wires = [], []
        for name, rtype in pairs:
            query = None
            if signed:
                query = dns.message.make_query(name + ".", rtype)
                query.flags &= ~dns.flags.RD
                self._sign(query)
            queries.append(query)
            wires.append(dns_wire.query(random.getrandbits(16), name, rtype) if query is None else query.to_wire())
        with Stream(self.server, self.timeout) as stream:
            replies = stream.exchange(wires)
        return {pair: self._parse(query, wire) for pair, query, wire in zip(pairs, queries, replies)}

    def zones(self, names: Iterable[str]) -> dict[str, str]:
        """Return name -> zone as this server has them.

        :raises MailError: it has no zone for a name
        """
        names = list(dict.fromkeys(names))
        answers = self.ask((name, "SOA") for name in names)
        zones = {}
        for name in names:
            code, reply = answers[name, "SOA"]
            if code not in ("NOERROR", "NXDOMAIN") or not reply.authoritative:
                raise MailError(
                    f"server {self.server} is not authoritative for {name!r} (it answers {code}): check server, or give the zone"
                )
            # At an alias the answer is about its target; its zone is then its parent's.
            zone = dns_client.zone_in(reply, name)
            zones[name] = next(iter(self.zones([name.split(".", 1)[1]]).values())) if zone is None else zone
        return zones

    def read(self, zones: Mapping[tuple[str, str], str]) -> tuple[dict[tuple[str, str], RRset], dict[str, set[str]]]:
        """Return (RRsets by name and type, aliases included; for names of a CNAME question, the other types there).

        ``zones`` maps (name, type) to the zone of the name.

        :raises MailError: the server does not answer with authority
        """
        pairs = dict(zones)
        for (name, rtype), zone in zones.items():
            if rtype == "CNAME":
                pairs.update({(name, other): zone for other in (*TYPES, *_OTHER_TYPES)})
        answers = self.ask(pairs)
        rrsets: dict[tuple[str, str], RRset] = {}
        others: dict[str, set[str]] = {}
        for (name, rtype), zone in pairs.items():
            reply = self._authoritative(*answers[name, rtype], name, zone)
            rrset, alias = rrset_of(reply, name, rtype), rrset_of(reply, name, "CNAME")
            if (name, rtype) in zones:
                rrsets[name, rtype] = rrset
            if rrset.values and rtype != "CNAME":
                others.setdefault(name, set()).add(rtype)
            if alias.values:
                rrsets[name, "CNAME"] = alias
        self._drop_wildcards(rrsets, others, pairs)
        return rrsets, others

    def _authoritative(self, code: str, reply: Any, name: str, zone: str) -> Any:
        if code not in ("NOERROR", "NXDOMAIN"):
            if code == "REFUSED":
                raise MailError(
                    f"zone {zone!r}: server {self.server} answers REFUSED when asked for {name!r}: it does not have the zone, "
                    "or does not let this host read it; check server and zone"
                )
            if code == "NOTAUTH":
                raise MailError(f"zone {zone!r}: server {self.server} answers NOTAUTH when asked for {name!r}: it does not have the zone")
            raise MailError(explain(code, str(self.server), zone, self.key))
        cut = [record.name for record in reply.authority if record.type == "NS" and record.name != zone and inside(record.name, zone)]
        if not reply.authoritative:
            if cut:
                raise MailError(
                    f"zone {zone!r}: {name!r} is not in this zone: {cut[0]!r} is delegated to other servers; "
                    f"give the zone {cut[0]!r} and its server"
                )
            raise MailError(
                f"zone {zone!r}: server {self.server} answers for {name!r} without authority: it is no authoritative server of the zone"
            )
        owner = dns_client.zone_in(reply, name)
        if owner is not None and owner != zone and not any(record.type == "CNAME" for record in reply.answer):
            raise MailError(f"zone {zone!r}: on server {self.server}, {name!r} is in zone {owner!r}")
        return reply

    def _drop_wildcards(
        self, rrsets: dict[tuple[str, str], RRset], others: dict[str, set[str]], pairs: Mapping[tuple[str, str], str]
    ) -> None:
        """Take out what was only made up from a wildcard (RFC 4592), and does not exist at the name itself."""
        filled = [key for key, rrset in rrsets.items() if rrset.values and not key[0].startswith("*.")]
        zones = {name: zone for (name, _type), zone in pairs.items()}
        stars: dict[tuple[str, str], set[tuple[str, str]]] = {}
        for name, rtype in filled:
            for star in _stars(name, zones[name]):
                stars.setdefault((star, rtype), set()).add((name, rtype))
        answers = self.ask(stars)
        doubtful = set()
        for (star, rtype), keys in stars.items():
            reply = answers[star, rtype][1]
            there = rrset_of(reply, star, rtype) if reply is not None else RRset()
            doubtful |= {key for key in keys if there.values and there.keys == rrsets[key].keys}
        if not doubtful:
            return
        probes = [(zones[name], [(name, rtype)]) for name, rtype in sorted(doubtful)]
        updates = [self._message(zone, exists=keys) for zone, keys in probes]
        for (zone, keys), (code, _reply) in zip(probes, self._exchange(updates)):
            if code == "NXRRSET":
                del rrsets[keys[0]]
                others.pop(keys[0][0], None)
            elif code != "NOERROR":
                raise MailError(explain(code, str(self.server), zone, self.key))

    def _message(self, zone: str, changes: Sequence[Change] = (), exists: Sequence[tuple[str, str]] = (), dry: bool = False) -> Any:
        """Return the UPDATE: prerequisites that nothing changed since it was read, and, unless ``dry``, the changes."""
        update = dns.update.UpdateMessage(zone + ".")
        if self.key is not None:
            self._sign(update)
        for name, rtype in exists:
            update.present(dns.name.from_text(name), rtype)
        free: set[str] = set()
        keys = {change.key for change in changes}
        gone = {change.name for change in changes if change.before.values}
        for change in changes:
            name = dns.name.from_text(change.name)
            if change.before.values:
                update.present(name, *(_rdata(value) for value in change.before.values))
            elif change.type == "CNAME" and change.name not in gone:
                if change.name not in free:
                    update.absent(name)  # a CNAME is ignored where anything else is: ask that the name be free
                    free.add(change.name)
            else:
                update.absent(name, change.type)
                if change.type != "CNAME" and (change.name, "CNAME") not in keys:
                    update.absent(name, "CNAME")
        for change in () if dry else sorted(changes, key=lambda change: bool(change.after.values)):
            name = dns.name.from_text(change.name)
            if change.before.values:
                update.delete(name, change.type)
            if change.after.values:
                update.add(name, change.after.ttl, *(_rdata(value) for value in change.after.values))
        return update

    def _exchange(self, updates: list[Any]) -> list[tuple[str, Reply | None]]:
        with Stream(self.server, self.timeout) as stream:
            wires = stream.exchange([update.to_wire(max_size=65535) for update in updates], window=UPDATE_WINDOW, repeat=False)
        signed = [update if self.key is not None else None for update in updates]
        return [("LOST", None) if wire is None else self._parse(update, wire) for update, wire in zip(signed, wires)]

    def probe(self, zones: Mapping[str, Sequence[Change]]) -> dict[str, str]:
        """Ask whether updates would be let in: the prerequisites alone, with nothing to update. Return zone -> error."""
        turns = {zone: messages(changes)[0] for zone, changes in zones.items() if changes}
        answers = self._exchange([self._message(zone, changes, dry=True) for zone, changes in turns.items()])
        return {
            zone: explain(code, str(self.server), zone, self.key)
            for zone, (code, _reply) in zip(turns, answers)
            if code not in ("NOERROR", "LOST")
        }

    def write(self, zones: Mapping[str, Sequence[Change]]) -> tuple[dict[str, int], dict[str, str]]:
        """Send the changes of each zone, in one atomic message if they fit; then read again what was written.

        :returns: (zone -> number of messages that were accepted, zone -> error)
        """
        turns = {zone: messages(changes) for zone, changes in zones.items() if changes}
        sent = dict.fromkeys(turns, 0)
        errors: dict[str, str] = {}
        for turn in range(max((len(parts) for parts in turns.values()), default=0)):
            now = [zone for zone, parts in turns.items() if len(parts) > turn and zone not in errors]
            try:
                answers = self._exchange([self._message(zone, turns[zone][turn]) for zone in now])
            except Unreachable as exc:
                errors.update({zone: f"zone {zone!r}: {exc}; whether the update was made is not known" for zone in now})
                break
            for zone, (code, _reply) in zip(now, answers):
                if code in ("NOERROR", "LOST"):
                    sent[zone] += 1
                    continue
                errors[zone] = explain(code, str(self.server), zone, self.key)
                if turn:
                    errors[zone] += f"; {turn} of its {len(turns[zone])} messages had been accepted before"
        self._read_again({zone: [change for part in turns[zone][: sent[zone]] for change in part] for zone in turns}, errors)
        return sent, errors

    def _read_again(self, zones: Mapping[str, Sequence[Change]], errors: dict[str, str]) -> None:
        written = {change.key: (zone, change) for zone, changes in zones.items() if zone not in errors for change in changes}
        answers = self.ask(written)
        for (name, rtype), (zone, change) in written.items():
            code, reply = answers[name, rtype]
            if reply is None or code not in ("NOERROR", "NXDOMAIN"):
                errors.setdefault(zone, f"zone {zone!r}: server {self.server} accepted the update, and answers {code} when read again")
                continue
            there, alias = rrset_of(reply, name, rtype), rrset_of(reply, name, "CNAME")
            if rtype != "CNAME" and alias.values and change.after.values:
                why = f"there is a CNAME to {alias.texts[0]}, beside which other data is dropped silently (RFC 2136 section 3.4.2.2)"
            elif self._as_written(change, there):
                continue
            elif there.keys == change.after.keys:
                why = f"its TTL is {there.ttl}, not {change.after.ttl}: the server has a limit of its own"
            else:
                why = f"there is {'; '.join(there.texts) or 'nothing'}: the server ignored the change, or somebody else was faster"
            errors.setdefault(zone, f"zone {zone!r}: server {self.server} accepted the update, but, read again, at {name} {rtype} {why}")

    def _as_written(self, change: Change, there: RRset) -> bool:
        if there.keys == change.after.keys and there.ttl == change.after.ttl:
            return True
        if change.after.values:
            return False
        # What was removed may still be answered out of a wildcard.
        rtype = change.type
        answers = self.ask((star, rtype) for star in _stars(change.name, change.zone))
        replies = {star: reply for (star, _type), (_code, reply) in answers.items() if reply is not None}
        return any(rrset_of(reply, star, rtype).keys == there.keys for star, reply in replies.items())


def _stars(name: str, zone: str) -> list[str]:
    """Return the wildcards that can answer for a name: one at each level below the zone's head."""
    stars, rest = [], name
    while rest != zone and "." in rest:
        rest = rest.split(".", 1)[1]
        stars.append("*." + rest)
    return stars


def _rdata(value: Rdata) -> Any:
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.from_text(value.type), value.wire, 0, len(value.wire))
