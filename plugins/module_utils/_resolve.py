# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many DNS questions at once, each with a typed outcome (I/O).

dnspython's own resolver asks one question per call and turns failures into exceptions that do not tell a lame server
from a truncated answer. This one keeps hundreds of questions under way over a few sockets and says for each what
happened. It knows nothing of mail.

.. code-block:: python

    outcomes = resolve([("example.org", "MX"), ("25.100.51.198.in-addr.arpa", "PTR")], nameservers=["198.51.100.2"])
    outcomes[("example.org", "MX")].status      # ok, nxdomain, nodata, servfail, refused, timeout, ...
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import random
import socket
import traceback
from collections import deque
from collections.abc import Iterable, Sequence

from ansible_collections.postmaster.mail.plugins.module_utils import _dns_wire, _names
from ansible_collections.postmaster.mail.plugins.module_utils._dns_rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns_wire import Record, Reply
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._outcome import INCONCLUSIVE, Outcome, Question

try:
    import dns.exception
    import dns.resolver
except ImportError:
    HAS_DNSPYTHON = False
    DNSPYTHON_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    HAS_DNSPYTHON = True
    DNSPYTHON_IMPORT_ERROR = None

# Sockets per name server: with one random source port each, a forged answer has to guess port and id (RFC 5452), and
# 64 stay far below the usual limit of 1024 open files.
_SOCKETS = 64
_CNAME_LIMIT = 8
# A question is sent again after this many seconds of silence, to the next name server if there is one.
_RETRY = 1.5
# A name server's socket holds some 250 questions, then drops what comes: so only this many go out in one go, and the rest
# follow at this distance in seconds. A thousand questions are on their way within a tenth of a second; BIND loses none of them.
_BURST = 128
_PACE = 0.0001


def system_nameservers() -> list[str]:
    """The name servers of this host's resolv.conf.

    :raises MailError: there are none
    """
    try:
        found = dns.resolver.Resolver().nameservers
    except (dns.exception.DNSException, OSError) as exc:
        raise MailError(f"this host has no name servers to ask ({exc}); give them with the option nameservers") from exc
    return [str(getattr(server, "address", server)) for server in found]


class _Port:
    """One connected UDP socket to one name server, with any number of questions under way."""

    def __init__(self, server: str, port: int, loop: asyncio.AbstractEventLoop) -> None:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        self._loop = loop
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((server, port))
        except OSError:
            self._socket.close()
            raise
        self.waiting: dict[int, _Asking] = {}
        loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, wire: bytes) -> None:
        # A full buffer loses the packet, as the network might; it is sent again.
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._socket.send(wire)

    def _readable(self) -> None:
        while True:
            try:
                data = self._socket.recv(65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                # An ICMP error names no question: all of this socket's questions hear of it.
                for asking in list(self.waiting.values()):
                    asking.deliver(self, exc)
                return
            if len(data) < 12:
                continue
            asking = self.waiting.get(int.from_bytes(data[:2], "big"))
            if asking is None:
                # An answer with an id that nobody waits for: forged, or far too late (RFC 5452 section 9.1).
                for other in self.waiting.values():
                    other.strays += 1
                continue
            asking.deliver(self, data)

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


class _Asking:
    """One question under way: collects what arrives for it, from whichever socket."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[_Port, bytes | OSError]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self.sent: dict[tuple[_Port, int], str] = {}
        self.plain: set[str] = set()
        self.strays = 0

    def deliver(self, port: _Port, what: bytes | OSError) -> None:
        self._arrived.append((port, what))
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def next(self, until: float) -> tuple[_Port, bytes | OSError] | None:
        """What arrived next, or None at that time of the loop's clock."""
        while not self._arrived:
            if self._loop.time() >= until:
                return None
            self._wake = self._loop.create_future()
            timer = self._loop.call_at(until, self._rouse)
            try:
                await self._wake
            finally:
                timer.cancel()
                self._wake = None
        return self._arrived.popleft()


class Resolver:
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
        self.nameservers = list(dict.fromkeys(nameservers or system_nameservers()))
        if not self.nameservers:
            raise MailError("this host has no name servers to ask; give them with the option nameservers")
        self.port = port
        self.timeout = timeout
        self.lifetime = lifetime
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + lifetime
        #: How many questions have gone out so far, repetitions not counted.
        self.sent = 0
        self._ports: dict[tuple[str, int], _Port] = {}
        self._asked: dict[Question, asyncio.Task[Outcome]] = {}
        self._turn = 0
        self._random = random.SystemRandom()
        self._no_edns: set[str] = set()
        self._slot = 0.0

    def close(self) -> None:
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    async def ask(self, name: str, rdtype: str) -> Outcome:
        """The outcome of one question. The same question twice is sent once."""
        question = (name.lower().rstrip(".") or ".", rdtype.upper())
        if question not in self._asked:
            self._asked[question] = self._loop.create_task(self._follow(*question))
        return await asyncio.shield(self._asked[question])

    async def _follow(self, name: str, rdtype: str) -> Outcome:
        """Ask, and ask on where an authoritative server leaves the rest of a CNAME chain to the client."""
        aliases: list[str] = []
        target = name
        while True:
            found = await self._exchange(target, rdtype)
            aliases.extend(found.aliases)
            if found.status != "cname":
                break
            target = aliases[-1]
            if len(aliases) > _CNAME_LIMIT or target in [name, *aliases[:-1]]:
                found = Outcome(name, rdtype, "loop", server=found.server)
                break
        return Outcome(name, rdtype, found.status, found.values, tuple(aliases), found.server, found.tcp, found.detail)

    async def _exchange(self, name: str, rdtype: str) -> Outcome:
        try:
            question = _Wire(name, rdtype)
        except ValueError as exc:
            return Outcome(name, rdtype, "malformed", detail=str(exc))
        now = self._loop.time()
        self._slot = max(self._slot + _PACE, now - _BURST * _PACE)
        if self._slot > now:
            await asyncio.sleep(self._slot - now)
        asking = _Asking(self._loop)
        verdicts: dict[str, Outcome] = {}
        self.sent += 1
        started = self._loop.time()
        until = min(started + self.timeout, self.deadline)
        turn = 0
        try:
            while True:
                left = [server for server in self.nameservers if server not in verdicts]
                if not left or self._loop.time() >= until:
                    break
                server = left[turn % len(left)]
                turn += 1
                try:
                    self._send(asking, server, question)
                except OSError as exc:
                    verdicts[server] = Outcome(name, rdtype, "unreachable", server=server, detail=_reason(exc))
                    continue
                again = min(until, self._loop.time() + min(_RETRY, self.timeout / 3))
                while True:
                    arrived = await asking.next(again)
                    if arrived is None:
                        break
                    port, what = arrived
                    who = next(at for (sent, _id), at in asking.sent.items() if sent is port)
                    verdict = await self._read(asking, who, what, question, until)
                    if verdict is None:
                        continue
                    if verdict.conclusive or verdict.status == "cname":
                        return verdict
                    if verdict.status == "formerr" and who not in asking.plain:
                        # An old server: once more, and from now on, without EDNS (RFC 6891 section 7).
                        asking.plain.add(who)
                        self._no_edns.add(who)
                    else:
                        verdicts[who] = verdict
                    break
        finally:
            for port, number in asking.sent:
                port.waiting.pop(number, None)
        seconds = self._loop.time() - started
        for server in self.nameservers:
            if server not in verdicts:
                detail = f"silent for {seconds:.3g} s"
                if until >= self.deadline:
                    detail += f", then the lifetime of {self.lifetime:g} s was used up"
                if asking.strays:
                    detail += "; answers with a wrong id or question were ignored"
                verdicts[server] = Outcome(name, rdtype, "timeout", server=server, detail=detail)
        worst = min(verdicts.values(), key=lambda verdict: INCONCLUSIVE.index(verdict.status))
        said = "; ".join(f"{verdict.server}: {verdict.detail or verdict.status.upper()}" for verdict in verdicts.values())
        return Outcome(name, rdtype, worst.status, server=worst.server, tcp=worst.tcp, detail=said)

    def _send(self, asking: _Asking, server: str, question: _Wire) -> None:
        self._turn += 1
        key = (server, self._turn % _SOCKETS)
        port = self._ports.get(key)
        if port is None:
            port = self._ports[key] = _Port(server, self.port, self._loop)
        while True:
            number = self._random.getrandbits(16)
            if number not in port.waiting:
                break
        port.waiting[number] = asking
        asking.sent[port, number] = server
        port.send(question.packet(number, server not in self._no_edns))

    async def _read(self, asking: _Asking, server: str, what: bytes | OSError, question: _Wire, until: float) -> Outcome | None:
        """What one packet says; None if it is no answer to this question."""
        name, rdtype = question.name, question.rdtype
        if isinstance(what, OSError):
            return Outcome(name, rdtype, "unreachable", server=server, detail=_reason(what))
        truncated = bool(what[2] & 0x02)
        if truncated:
            # Only the header of a truncated answer can be relied on (RFC 2181 section 9): have it whole over TCP.
            try:
                what = await asyncio.wait_for(self._tcp(server, question), until - self._loop.time())
            except (OSError, EOFError, asyncio.TimeoutError) as exc:
                return Outcome(name, rdtype, "truncated", server=server, detail=f"truncated over UDP; TCP: {_reason(exc)}")
        if not question.answered_by(what):
            asking.strays += 1
            return None
        try:
            return _outcome(_dns_wire.reply(what), question, server, truncated)
        except ValueError:
            asking.strays += 1
            return None

    async def _tcp(self, server: str, question: _Wire) -> bytes:
        number = self._random.getrandbits(16)
        wire = question.packet(number, server not in self._no_edns)
        reader, writer = await asyncio.open_connection(server, self.port)
        try:
            writer.write(len(wire).to_bytes(2, "big") + wire)
            await writer.drain()
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.close()
        if len(data) < 12 or int.from_bytes(data[:2], "big") != number:
            raise OSError(errno.EPROTO, "an answer that is not ours")
        return data


class _Wire:
    """A question as octets (RFC 1035 section 4.1), made once and sent as often as needed.

    :raises ValueError: a name that DNS cannot carry
    """

    def __init__(self, name: str, rdtype: str) -> None:
        self.name, self.rdtype = name, rdtype
        self._question = _dns_wire.question(name, rdtype)
        self.owner = _dns_wire.plain(self._question[:-4])

    def packet(self, number: int, edns: bool) -> bytes:
        """The query with that id."""
        return _dns_wire.message(number, self._question, recurse=True, edns=edns)

    def answered_by(self, packet: bytes) -> bool:
        """Whether a packet with the right id is an answer to this question, in any case of letters (RFC 4343)."""
        if not packet[2] & 0x80:
            return False
        if packet[4:6] == b"\0\0":
            return packet[3] & 0x0F != 0  # an error such as FORMERR may come without the question
        # Lengths are below the capital letters, and a type that is in their range folds alike on both sides.
        return packet[4:6] == b"\0\1" and packet[12 : 12 + len(self._question)].lower() == self._question.lower()


def _outcome(reply: Reply, question: _Wire, server: str, tcp: bool) -> Outcome:
    """Read one whole response to the question; status ``cname`` means that the chain goes on elsewhere.

    :raises ValueError: data that is none of its type
    """

    def end(status: str, values: tuple[str, ...] = (), detail: str = "") -> Outcome:
        return Outcome(question.name, question.rdtype, status, values, tuple(aliases), server, tcp, detail)

    aliases: list[str] = []
    if reply.rcode not in ("NOERROR", "NXDOMAIN"):
        status = {"SERVFAIL": "servfail", "REFUSED": "refused", "FORMERR": "formerr", "NOTIMP": "formerr"}
        return end(status.get(reply.rcode, "error"), detail=reply.rcode)
    if reply.answer:
        sets: dict[tuple[str, str], list[Record]] = {}
        for record in reply.answer:
            sets.setdefault((record.name, record.type), []).append(record)
        owner = question.owner
        while (owner, question.rdtype) not in sets and (owner, "CNAME") in sets:
            owner = sets[owner, "CNAME"][0].target
            if owner in aliases or len(aliases) >= _CNAME_LIMIT:
                return end("loop")
            aliases.append(owner)
        if (owner, question.rdtype) in sets:
            return end("ok", tuple(sorted({_value(record) for record in sets[owner, question.rdtype]})))
    if reply.rcode == "NXDOMAIN":
        return end("nxdomain")
    authority = {record.type for record in reply.authority}
    referral = "NS" in authority and "SOA" not in authority
    if aliases and "SOA" not in authority:
        return end("cname")
    if not reply.authoritative and (referral or not reply.flags & _dns_wire.RA):
        return end("lame", detail="a referral instead of an answer" if referral else "neither authoritative nor recursive, and no answer")
    return end("nodata")


def _value(record: Record) -> str:
    """One value as :class:`Outcome` documents it."""
    if record.type == "A":
        return str(ipaddress.IPv4Address(record.wire))
    if record.type == "AAAA":
        return str(ipaddress.IPv6Address(record.wire))
    if record.type == "MX":
        return f"{int.from_bytes(record.wire[:2], 'big')} {_dns_wire.plain(record.wire[2:])}"
    if record.type == "TXT":
        return b"".join(Rdata("TXT", record.wire).strings).decode("utf-8", "backslashreplace")
    return record.target


def _reason(exc: BaseException) -> str:
    if isinstance(exc, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(exc, EOFError):
        return "the connection ended early"
    return (exc.strerror or str(exc)) if isinstance(exc, OSError) else str(exc)


def resolve(
    questions: Iterable[Question], nameservers: Sequence[str] | None = None, port: int = 53, timeout: float = 5.0, lifetime: float = 20.0
) -> dict[Question, Outcome]:
    """Ask all questions at once and wait for all outcomes; for callers without an event loop. See :class:`Resolver`."""

    async def work() -> dict[Question, Outcome]:
        resolver = Resolver(nameservers, port, timeout, lifetime)
        try:
            wanted = list(dict.fromkeys(questions))
            return dict(zip(wanted, await asyncio.gather(*(resolver.ask(*question) for question in wanted))))
        finally:
            resolver.close()

    return asyncio.run(work())
