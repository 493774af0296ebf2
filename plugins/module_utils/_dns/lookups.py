# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many DNS questions to recursive name servers, each with a typed outcome, inside an event loop (I/O).

dnspython's own resolver asks one question per call and turns failures into exceptions that do not tell a lame server
from a truncated answer. Here hundreds of questions are under way, a question that follows from an answer is asked at once, and
each outcome says what happened. It knows nothing of mail.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Client, Exchange, Server, Unreachable, system_nameservers
from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import INCONCLUSIVE, LookupOutcome, Question
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.wire import Record, Reply
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

_CNAME_LIMIT = 8
# A question is sent again after this many seconds of silence, to the next name server if there is one.
_RETRY = 1.5


class Lookups:
    """Asks the given name servers; to be made, used and closed inside one running event loop.

    :param nameservers: addresses of either family; by default those of this host
    :param port: their port
    :param timeout: seconds that one question may take, over all name servers and repetitions
    :param lifetime: seconds from now after which every question still open ends as ``timeout``
    :raises MailError: a name server that is not an address, no name servers at all, or times that are not positive
    """

    def __init__(self, nameservers: Sequence[str] | None = None, port: int = 53, timeout: float = 5.0, lifetime: float = 20.0) -> None:
        for server in nameservers or ():
            if not _names.is_socket_address(server):
                raise MailError(f"nameservers {shown(server)} is not an IPv4 or IPv6 address")
        for option, seconds in (("timeout", timeout), ("lifetime", lifetime)):
            if seconds <= 0:
                raise MailError(f"{option} {seconds} must be more than 0 seconds")
        if not 0 < port < 65536:
            raise MailError(f"nameserver_port {port} is not a port number from 1 to 65535")
        if not nameservers:
            nameservers = system_nameservers("this host has no name servers to ask ({}); give them with the option nameservers")
        if not nameservers:
            raise MailError("this host has no name servers to ask; give them with the option nameservers")
        self.servers = [Server(address, port) for address in dict.fromkeys(nameservers)]
        self.timeout = timeout
        self.lifetime = lifetime
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + lifetime
        self._client = Client(self._loop, deadline=self.deadline)
        self._tasks: dict[Question, asyncio.Task[LookupOutcome]] = {}

    @property
    def sent(self) -> int:
        """How many questions have gone out so far, repetitions not counted."""
        return self._client.sent

    def close(self) -> None:
        self._client.close()

    async def ask(self, name: str, rdtype: str) -> LookupOutcome:
        """The outcome of one question. The same question twice is sent once."""
        question = (name.lower().rstrip(".") or ".", rdtype.upper())
        if question not in self._tasks:
            self._tasks[question] = self._loop.create_task(self._follow(*question))
        return await asyncio.shield(self._tasks[question])

    async def _follow(self, name: str, rdtype: str) -> LookupOutcome:
        """Ask, and ask on where an authoritative server leaves the rest of a CNAME chain to the client."""
        aliases: list[str] = []
        target = name
        while True:
            outcome = await self._one(target, rdtype)
            aliases.extend(outcome.aliases)
            if outcome.status != "cname":
                break
            target = aliases[-1]
            if len(aliases) > _CNAME_LIMIT or target in [name, *aliases[:-1]]:
                outcome = LookupOutcome(name, rdtype, "loop", server=outcome.server)
                break
        return LookupOutcome(name, rdtype, outcome.status, outcome.values, tuple(aliases), outcome.server, outcome.tcp, outcome.detail)

    async def _one(self, name: str, rdtype: str) -> LookupOutcome:
        try:
            lookup = _Lookup(name, rdtype, self)
        except ValueError as exc:
            return LookupOutcome(name, rdtype, "malformed", detail=str(exc))
        self._client.start(lookup)
        await lookup.ended
        return lookup.outcome()


class _Lookup(Exchange):
    """One question to recursive name servers, with what each of them made of it."""

    def __init__(self, name: str, rdtype: str, lookups: Lookups) -> None:
        again = min(_RETRY, lookups.timeout / 3)
        super().__init__(name, rdtype, lookups.servers, again, seconds=lookups.timeout, recurse=True)
        self.owner = dns_wire.plain(self.section[:-4])
        self._lookups = lookups
        self._loop = asyncio.get_running_loop()
        self._outcomes: dict[Server, LookupOutcome] = {}
        self._decided: LookupOutcome | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def replied(self, server: Server, reply: Reply, tcp: bool) -> bool:
        outcome = _outcome(reply, self, server.address, tcp)
        if outcome.conclusive or outcome.status == "cname":
            self._decided = outcome
            return True
        self._outcomes[server] = outcome
        return False

    def failed(self, server: Server, status: str, error: Unreachable) -> None:
        detail = error.reason
        if status == "truncated":
            detail = f"truncated over UDP; TCP: {error.reason}"
        elif status == "timeout":
            detail = f"silent for {max(0.0, self._loop.time() - self.started):.3g} s"
            if self._loop.time() >= self._lookups.deadline:
                detail += f", then the lifetime of {self._lookups.lifetime:g} s was used up"
            if self.strays:
                detail += "; answers with a wrong id or question were ignored"
        self._outcomes[server] = LookupOutcome(self.name, self.type, status, server=server.address, detail=detail)

    def done(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> LookupOutcome:
        """What came of it: what decided it, or the most telling of what the name servers did."""
        if self._decided is not None:
            return self._decided
        outcomes = self._outcomes.values()
        worst = min(outcomes, key=lambda outcome: INCONCLUSIVE.index(outcome.status))
        detail = "; ".join(f"{outcome.server}: {outcome.detail or outcome.status.upper()}" for outcome in outcomes)
        return LookupOutcome(self.name, self.type, worst.status, server=worst.server, tcp=worst.tcp, detail=detail)


def _outcome(reply: Reply, lookup: _Lookup, server: str, tcp: bool) -> LookupOutcome:
    """Read one whole response to the question; status ``cname`` means that the chain goes on elsewhere.

    :raises ValueError: data that is none of its type
    """

    def end(status: str, values: tuple[str, ...] = (), detail: str = "") -> LookupOutcome:
        return LookupOutcome(lookup.name, lookup.type, status, values, tuple(aliases), server, tcp, detail)

    aliases: list[str] = []
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        status = {"SERVFAIL": "servfail", "REFUSED": "refused", "FORMERR": "formerr", "NOTIMP": "formerr"}
        return end(status.get(reply.rcode, "error"), detail=reply.rcode)
    if reply.answer:
        sets: dict[tuple[str, str], list[Record]] = {}
        for record in reply.answer:
            sets.setdefault((record.name, record.type), []).append(record)
        owner = lookup.owner
        while (owner, lookup.type) not in sets and (owner, "CNAME") in sets:
            owner = sets[owner, "CNAME"][0].target
            if owner in aliases or len(aliases) >= _CNAME_LIMIT:
                return end("loop")
            aliases.append(owner)
        if (owner, lookup.type) in sets:
            return end("ok", tuple(sorted({_value(record) for record in sets[owner, lookup.type]})))
    if reply.rcode == "NXDOMAIN":
        return end("nxdomain")
    authority = {record.type for record in reply.authority}
    referral = "NS" in authority and "SOA" not in authority
    if aliases and "SOA" not in authority:
        return end("cname")
    if not reply.authoritative and (referral or not reply.flags & dns_wire.RA):
        return end("lame", detail="a referral instead of an answer" if referral else "neither authoritative nor recursive, and no answer")
    return end("nodata")


def _value(record: Record) -> str:
    """One value as :class:`LookupOutcome` documents it."""
    if record.type == "A":
        return str(ipaddress.IPv4Address(record.wire))
    if record.type == "AAAA":
        return str(ipaddress.IPv6Address(record.wire))
    if record.type == "MX":
        return f"{int.from_bytes(record.wire[:2], 'big')} {dns_wire.plain(record.wire[2:])}"
    if record.type == "TXT":
        return b"".join(Rdata("TXT", record.wire).strings).decode("utf-8", "backslashreplace")
    return record.target
