# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many questions to many name servers at once: UDP in one loop, TCP pipelined over one connection per server.

This is I/O. What the answers mean is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import random
import selectors
import socket
import struct
import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.postmaster.mail.plugins.module_utils import _dns_wire, _names
from ansible_collections.postmaster.mail.plugins.module_utils._dns_plan import RRset, inside
from ansible_collections.postmaster.mail.plugins.module_utils._dns_rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns_wire import Reply
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

try:
    import dns.exception
    import dns.resolver
except ImportError:
    HAS_DNSPYTHON = False
    DNSPYTHON_TRACEBACK: str | None = traceback.format_exc()
else:
    HAS_DNSPYTHON = True
    DNSPYTHON_TRACEBACK = None

# Questions that one server is asked before its answers are awaited. BIND drops updates past 100 (update-quota).
WINDOW = 50
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM, errno.ENETDOWN}
_MAX_THREADS = 16
_MAX_SOCKETS = 200
_ROUND = 0.05  # seconds


class Unreachable(MailError):
    """A server that does not answer; ``unknown`` is true if this host has no way to ask it at all."""

    def __init__(self, text: str, unknown: bool = False) -> None:
        super().__init__(text)
        self.unknown = unknown


@dataclass(frozen=True)
class Server:
    address: str
    port: int = 53

    @property
    def family(self) -> int:
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET

    def __str__(self) -> str:
        return self.address if self.port == 53 else f"{self.address} port {self.port}"


@dataclass(eq=False)
class Question:
    """One question to one server and what came of it: exactly one of ``reply`` and ``error`` in the end."""

    server: Server
    name: str
    type: str
    recurse: bool = False
    reply: Reply | None = None
    error: Unreachable | None = None
    tries: int = field(default=0, repr=False)

    def wire(self, ident: int, edns: bool = False) -> bytes:
        return _dns_wire.query(ident, self.name, self.type, self.recurse, edns)


class _Channel:
    """The UDP socket to one server, with the questions that wait for it."""

    def __init__(self, server: Server, questions: Iterable[Question]) -> None:
        self.server = server
        self.queue = deque(questions)
        self.flying: dict[int, tuple[Question, float]] = {}
        self.socket: socket.socket | None = None
        self.weak_route = False

    def open(self) -> None:
        self.socket = socket.socket(self.server.family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((self.server.address, self.server.port))
        # A source address of no global meaning reaches a global server only if somebody translates it.
        source = ipaddress.ip_address(self.socket.getsockname()[0])
        target = ipaddress.ip_address(self.server.address)
        self.weak_route = source.version == 6 and not source.is_global and target.is_global

    def fail(self, text: str, unknown: bool = False) -> None:
        for question in [*self.queue, *(entry[0] for entry in self.flying.values())]:
            question.error = Unreachable(text, unknown)
        self.queue.clear()
        self.flying.clear()

    @property
    def busy(self) -> bool:
        return bool(self.queue or self.flying)


def ask(questions: Sequence[Question], timeout: float = 2.0, tries: int = 3) -> None:
    """Ask everything over UDP at the same time; an answer that is truncated is asked again over TCP.

    :param timeout: seconds until a question is sent again
    :param tries: how often it is sent; a server that stays silent on all tries is given up for all its questions
    """
    servers: dict[Server, list[Question]] = {}
    for question in questions:
        question.reply = question.error = None
        question.tries = 0
        servers.setdefault(question.server, []).append(question)
    channels = [_Channel(server, group) for server, group in servers.items()]
    for start in range(0, len(channels), _MAX_SOCKETS):
        _converse(channels[start : start + _MAX_SOCKETS], timeout, tries)
    truncated = [question for question in questions if question.reply is not None and question.reply.truncated]
    if truncated:
        ask_tcp(truncated, timeout * tries)


def _converse(channels: Sequence[_Channel], timeout: float, tries: int) -> None:
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for channel in channels:
            try:
                channel.open()
            except OSError as exc:
                channel.fail(f"{channel.server}: {exc.strerror}", unknown=exc.errno in _NO_ROUTE)
                continue
            finally:
                if channel.socket is not None:
                    stack.callback(channel.socket.close)
            selector.register(channel.socket, selectors.EVENT_READ, channel)
        heard: set[Server] = set()
        next_round = 0.0
        while any(channel.busy for channel in channels):
            now = time.monotonic()
            if now >= next_round:
                # All of them are looked through only now and then; in between, those that were heard from go on.
                for channel in channels:
                    _expire(channel, now, tries, channel.server in heard)
                    _send(channel, now, timeout)
                next_round = now + _ROUND
            for ready, _events in selector.select(max(0.0, next_round - time.monotonic())):
                if _receive(ready.data):
                    heard.add(ready.data.server)
                _send(ready.data, time.monotonic(), timeout)


def _expire(channel: _Channel, now: float, tries: int, heard: bool) -> None:
    for key, (question, deadline) in list(channel.flying.items()):
        if deadline > now or key not in channel.flying:
            continue
        del channel.flying[key]
        if question.tries < tries:
            channel.queue.appendleft(question)
            continue
        question.error = Unreachable(f"{channel.server} does not answer (asked {tries} times)", channel.weak_route)
        if not heard:
            channel.fail(f"{channel.server} does not answer (asked {tries} times)", channel.weak_route)


def _send(channel: _Channel, now: float, timeout: float) -> None:
    while channel.queue and len(channel.flying) < WINDOW:
        question = channel.queue[0]
        ident = random.getrandbits(16)
        if ident in channel.flying:
            continue
        try:
            channel.socket.send(question.wire(ident, edns=True))
        except BlockingIOError:
            return
        except OSError as exc:
            channel.fail(f"{channel.server}: {exc.strerror}", unknown=exc.errno in _NO_ROUTE)
            return
        channel.queue.popleft()
        question.tries += 1
        channel.flying[ident] = (question, now + timeout)


def _receive(channel: _Channel) -> bool:
    heard = False
    while True:
        try:
            wire = channel.socket.recv(65535)
        except BlockingIOError:
            return heard
        except OSError as exc:
            channel.fail(f"{channel.server}: {exc.strerror}", unknown=exc.errno in _NO_ROUTE)
            return heard
        entry = channel.flying.get(struct.unpack("!H", wire[:2])[0]) if len(wire) >= 12 else None
        if entry is None:
            continue
        question = entry[0]
        try:
            reply = _dns_wire.reply(wire)
        except ValueError:
            continue
        if not reply.answers(reply.id, question.name, question.type):
            continue
        heard = True
        question.reply = reply
        del channel.flying[reply.id]


class Stream:
    """A TCP connection to one server over which messages are pipelined (RFC 7766 section 6.2.1.1); reopened when needed."""

    def __init__(self, server: Server, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def exchange(self, queries: Sequence[bytes], window: int = WINDOW, repeat: bool = True) -> list[bytes | None]:
        """Send all messages and return the replies as octets, in the order of the messages.

        A server may close the connection whenever it likes; what it left unanswered is then sent again over a new one, if
        ``repeat``; without, the replies that are missing are None.

        :raises Unreachable: no connection, silence, or a connection closed again and again without a single reply
        """
        replies: list[bytes | None] = [None] * len(queries)
        left = list(range(len(queries)))
        while left:
            # Message identifiers are only 16 bits and random; the ones under way at once must differ.
            turn = list({queries[at][:2]: at for at in reversed(left)}.values())[::-1]
            before = len(left)
            try:
                self._turn(queries, turn, replies, window)
            except EOFError as exc:
                self.close()
                if not repeat:
                    return replies
                if before == sum(replies[at] is None for at in left):
                    raise Unreachable(f"{self.server} closes the TCP connection without an answer") from exc
            except OSError as exc:
                self.close()
                if isinstance(exc, socket.timeout):
                    raise Unreachable(f"{self.server} does not answer over TCP within {self.timeout:g} s") from exc
                raise Unreachable(f"{self.server} over TCP: {exc.strerror or exc}", unknown=exc.errno in _NO_ROUTE) from exc
            left = [at for at in left if replies[at] is None]
        return replies

    def _turn(self, queries: Sequence[bytes], turn: list[int], replies: list[bytes | None], window: int) -> None:
        flying: dict[bytes, int] = {}
        waiting = deque(turn)
        if self._socket is None:
            self._socket = socket.create_connection((self.server.address, self.server.port), timeout=self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What nobody waits for does not prolong the wait.
        until = time.monotonic() + self.timeout
        while waiting or flying:
            bulk = b""
            while waiting and len(flying) < window:
                at = waiting.popleft()
                wire = queries[at]
                flying[wire[:2]] = at
                bulk += struct.pack("!H", len(wire)) + wire
            if bulk:
                try:
                    self._socket.settimeout(self.timeout)
                    self._socket.sendall(bulk)
                except (BrokenPipeError, ConnectionResetError) as exc:
                    raise EOFError from exc
            wire = self._read(until)
            at = flying.pop(wire[:2], None) if len(wire) >= 12 else None
            if at is not None:
                replies[at] = wire
                until = time.monotonic() + self.timeout

    def _read(self, until: float) -> bytes:
        while True:
            if len(self._buffer) >= 2:
                size = struct.unpack("!H", self._buffer[:2])[0]
                if len(self._buffer) >= 2 + size:
                    wire, self._buffer = self._buffer[2 : 2 + size], self._buffer[2 + size :]
                    return wire
            rest = until - time.monotonic()
            if rest <= 0:
                raise socket.timeout
            try:
                self._socket.settimeout(rest)
                more = self._socket.recv(1 << 18)
            except ConnectionResetError as exc:
                raise EOFError from exc
            if not more:
                raise EOFError
            self._buffer += more


def ask_tcp(questions: Sequence[Question], timeout: float = 5.0) -> None:
    """Ask everything over TCP, each server in a thread of its own."""
    servers: dict[Server, list[Question]] = {}
    for question in questions:
        question.reply = question.error = None
        servers.setdefault(question.server, []).append(question)

    def one(server: Server, group: list[Question]) -> None:
        with Stream(server, timeout) as stream:
            queries = [question.wire(random.getrandbits(16)) for question in group]
            try:
                wires = stream.exchange(queries)
            except Unreachable as exc:
                for question in group:
                    question.error = exc
                return
            for question, wire in zip(group, wires):
                try:
                    question.reply = _dns_wire.reply(wire)
                except ValueError as exc:
                    question.error = Unreachable(f"{server} sends what is not a DNS message: {exc}")

    if servers:
        with ThreadPoolExecutor(max_workers=min(len(servers), _MAX_THREADS)) as pool:
            for done in [pool.submit(one, server, group) for server, group in servers.items()]:
                done.result()


def rrset_of(reply: Reply, name: str, rtype: str) -> RRset:
    """Return the records of this type at this very name in the answer section (an alias is not followed)."""
    found = [record for record in reply.answer if record.name == name and record.type == rtype]
    return RRset(tuple(Rdata(rtype, record.wire) for record in found), found[0].ttl if found else None)


def rrset_behind(reply: Reply, name: str, rtype: str) -> RRset:
    """Return the records of this type where the aliases in the answer section lead from this name."""
    aliases = {record.name: record.target for record in reply.answer if record.type == "CNAME"}
    while name in aliases:
        name = aliases.pop(name)
    return rrset_of(reply, name, rtype)


class Resolver:
    """Recursive resolvers, asked many things at once; the second is asked what the first did not answer."""

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53, timeout: float = 2.0) -> None:
        self.system = not nameservers
        self.timeout = timeout
        if nameservers:
            self.servers = [Server(address, port) for address in nameservers]
        else:
            try:
                config = dns.resolver.Resolver()
            except dns.exception.DNSException as exc:
                raise MailError(f"no resolver is configured on this host (/etc/resolv.conf): {exc}; set nameservers") from exc
            self.servers = [Server(str(address), port) for address in config.nameservers if _names.is_socket_address(str(address))]

    def ask(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Reply | Unreachable]:
        """Return (name, type) -> reply, or the :class:`Unreachable` that stands for it. SERVFAIL and REFUSED are no reply."""
        wanted = list(dict.fromkeys(pairs))
        found: dict[tuple[str, str], Reply | Unreachable] = {}
        left = wanted
        for server in self.servers:
            questions = [Question(server, name, rtype, recurse=True) for name, rtype in left]
            ask(questions, self.timeout)
            for question in questions:
                key = (question.name, question.type)
                if question.error is not None:
                    # That there is no way to this one says nothing about what another one could not answer.
                    if not question.error.unknown or key not in found:
                        found[key] = question.error
                elif question.reply.rcode in ("NOERROR", "NXDOMAIN"):
                    found[key] = question.reply
                else:
                    found[key] = Unreachable(f"resolver {server} answers {question.reply.rcode} for {question.name} {question.type}")
            left = [key for key in left if isinstance(found[key], Unreachable)]
            if not left:
                break
        if not self.servers:
            return {key: Unreachable("no resolver is configured") for key in wanted}
        return found

    def behind(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], RRset | Unreachable]:
        """Return (name, type) -> its records, aliases followed, or the reason why they are not known."""
        return {
            key: reply if isinstance(reply, Unreachable) else rrset_behind(reply, *key) for key, reply in self.ask(pairs).items()
        }

    def addresses(self, hosts: Iterable[str]) -> dict[str, list[str | Unreachable]]:
        """Return host -> its addresses, IPv4 first; an alias is followed by the resolver.

        In place of the addresses of a family whose look-up failed there is the reason.
        """
        hosts = list(dict.fromkeys(hosts))
        replies = self.ask([(host, rtype) for host in hosts for rtype in ("A", "AAAA")])
        found: dict[str, list[str | Unreachable]] = {}
        for host in hosts:
            found[host] = []
            for rtype in ("A", "AAAA"):
                reply = replies[host, rtype]
                if isinstance(reply, Unreachable):
                    found[host].append(reply)
                else:
                    found[host] += [Rdata(rtype, record.wire).text for record in reply.answer if record.type == rtype]
        return found

    def zones(self, names: Iterable[str]) -> dict[str, str | Unreachable]:
        """Return name -> the zone that it is in, by the closest SOA record; the root and top-level domains do not count."""
        found: dict[str, str | Unreachable] = {}
        asked = {name: name for name in names}
        while asked:
            replies = self.ask([(at, "SOA") for at in asked.values()])
            further = {}
            for name, at in asked.items():
                zone = zone_in(replies[at, "SOA"], at)
                if isinstance(zone, Unreachable):
                    found[name] = zone
                elif zone is None and "." in at:
                    further[name] = at.split(".", 1)[1]
                elif zone is None or "." not in zone:
                    found[name] = Unreachable(
                        f"the zone of {name!r} was not found: the closest SOA record is that of {zone or '.'!r}, "
                        "so the domain is not delegated yet, or this resolver cannot see it; give the zone if you know it"
                    )
                else:
                    found[name] = zone
            asked = further
        return found


def zone_in(reply: Reply | Unreachable, name: str) -> str | Unreachable | None:
    """Return the zone that an answer to a SOA question tells, None if it does not tell."""
    if isinstance(reply, Unreachable):
        return reply
    for record in reply.answer:
        if record.type == "SOA" and record.name == name:
            return record.name
        if record.type == "CNAME" and record.name == name:
            return None  # the SOA in the authority section is that of the alias's target
    return next((record.name for record in reply.authority if record.type == "SOA" and inside(name, record.name)), None)


def known(addresses: Sequence[str | Unreachable], whose: str) -> list[str]:
    """Return the addresses without the failures, see :meth:`Resolver.addresses`.

    :raises MailError: there are none
    """
    found = [address for address in addresses if isinstance(address, str)]
    if not found and addresses:
        raise MailError(f"the address of {whose} is not known: {addresses[0]}")
    if not found:
        raise MailError(f"{whose} has no address")
    return found


def host_addresses(host: str, resolver: Resolver | None) -> list[str]:
    """Return the addresses of a host name or the address itself, through the given resolvers or else the system.

    :raises MailError: no address
    """
    if _names.is_socket_address(host):
        return [host]
    if resolver is not None and not resolver.system:
        return known(resolver.addresses([host])[host], f"server {host!r}")
    try:
        return list(dict.fromkeys(info[4][0] for info in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)))
    except OSError as exc:
        raise MailError(f"server {host!r} has no address: {exc.strerror or exc}") from exc
