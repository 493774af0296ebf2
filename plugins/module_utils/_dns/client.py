# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one client for DNS questions, many at once: UDP in one loop, TCP pipelined over few connections (I/O).

What the answers mean is decided elsewhere. The layers, from the ground:

- :class:`Client` sends :class:`Exchange` objects, each one question to one or several servers, and reads what comes back.
- :class:`Stream` is TCP: also for what is not a question, such as updates.
- :func:`ask` puts questions to authoritative servers, :class:`Resolver` to recursive ones; for callers without an event loop.
  ``_dns.lookups`` is for those who have one, and gives each question a typed outcome.

What it withstands: lost, late, truncated and forged answers (several source ports for each server, random ids, the question compared,
RFC 5452), servers that do not know EDNS, ICMP errors, servers that are silent, slow, or never end. Everything ends in bounded time.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import ipaddress
import math
import os
import selectors
import socket
import struct
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import RRset
from ansible_collections.postmaster.mail.plugins.module_utils._dns.wire import Reply
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import inside

try:
    import dns.exception
    import dns.resolver
except ImportError:
    HAS_DNSPYTHON = False
    DNSPYTHON_TRACEBACK: str | None = traceback.format_exc()
else:
    HAS_DNSPYTHON = True
    DNSPYTHON_TRACEBACK = None

# Questions that one authoritative server is asked before its answers are awaited. BIND drops updates past 100 (update-quota).
WINDOW = 50
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM, errno.ENETDOWN}
_MAX_THREADS = 16
# Sockets in all, for each server, and for each where a window is kept: with one random source port each, a forged answer has to guess
# port and id (RFC 5452), and 200 stay far below the usual limit of 1024 open files.
_MAX_SOCKETS, _SOCKETS, _WINDOW_SOCKETS = 200, 64, 8
# A name server's socket holds some 250 questions, then drops what comes: so only this many go out in one go, and the rest
# follow at this distance in seconds. A thousand questions are on their way within a tenth of a second; BIND loses none of them.
_BURST = 128
_PACE = 0.0001
_ROUND = 0.05  # seconds between two looks at what is overdue
_BATCH = 8  # truncated answers that one connection is asked for where no window is kept
_LATE, _NOT_OURS = "no answer in time", "an answer that is not ours"
_COLLECT = 0.01  # seconds in which truncated answers are collected for one connection


class Unreachable(MailError):
    """A server that does not answer; ``unknown`` is true if this host has no way to ask it at all, ``reason`` is why, without its name."""

    def __init__(self, text: str, unknown: bool = False, reason: str = "") -> None:
        super().__init__(text)
        self.unknown = unknown
        self.reason = reason or text


@dataclass(frozen=True)
class Server:
    """A name server: an address of either family, an IPv6 one perhaps with its zone, and a port."""

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


# Exchanges: what is asked, and when that is over.


class Exchange:
    """One question under way, at one server after the other until a reply decides it.

    :param servers: in the order in which they are asked
    :param again: seconds of silence after which the question is sent again, to the next server if there is one
    :param tries: how often each server is asked at most; one that stays silent on all tries is given up for all its questions
    :param seconds: how long all of it may take from the first sending on
    :raises MailError: a name that DNS cannot carry
    """

    def __init__(
        self, name: str, rtype: str, servers: Sequence[Server], again: float, tries: float = math.inf, seconds: float = math.inf,
        recurse: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.type = rtype
        self.servers = tuple(servers)
        self.again = again
        self.tries = tries
        self.seconds = seconds
        self.recurse = recurse
        self.section = dns_wire.question(name, rtype)
        #: Packets that came for it and answered something else.
        self.strays = 0
        self.started = math.inf
        self.until = math.inf
        self.overdue = math.inf
        self.peers: list[_Peer] = []
        self.settled: set[_Peer] = set()
        self.asked: dict[_Peer, int] = {}
        self.plain: set[_Peer] = set()  # asked without EDNS
        self.sent: list[tuple[_Port, int]] = []
        self.peer: _Peer | None = None
        self.over_tcp = False
        self.over = False

    def answered_by(self, packet: bytes) -> bool:
        """Whether a packet with the right id is an answer to this question, in any case of letters (RFC 4343)."""
        if not packet[2] & 0x80:
            return False
        if packet[4:6] == b"\0\0":
            # An error such as FORMERR may come without the question, and so may what has no room for it.
            return bool(packet[3] & 0x0F or packet[2] & 0x02)
        # Lengths are below the capital letters, and a type that is in their range folds alike on both sides.
        section = packet[12 : 12 + len(self.section)]
        return packet[4:6] == b"\0\1" and (section == self.section or section.lower() == self.section.lower())

    def replied(self, server: Server, reply: Reply, tcp: bool) -> bool:
        """Take a server's reply, and return whether it decides the question; if not, another server is asked.

        :raises ValueError: it is no answer after all
        """
        raise NotImplementedError  # each kind of exchange has its own

    def failed(self, server: Server, status: str, error: Unreachable) -> None:
        """Take note that a server did not reply: ``status`` is ``timeout``, ``unreachable``, or ``truncated`` where TCP failed."""
        raise NotImplementedError  # each kind of exchange has its own

    def done(self) -> None:
        """Every server has replied or failed, or the time is over."""


class _Direct(Exchange):
    """A :class:`Question` to its one server; whatever that replies is the reply."""

    def __init__(self, question: Question, again: float, tries: int) -> None:
        super().__init__(question.name, question.type, [question.server], again, tries, recurse=question.recurse)
        self.question = question

    def replied(self, server: Server, reply: Reply, tcp: bool) -> bool:
        self.question.reply = reply
        return True

    def failed(self, server: Server, status: str, error: Unreachable) -> None:
        self.question.error = error


class _Recursive(Exchange):
    """A question to recursive resolvers, of which one is enough. SERVFAIL and REFUSED are no reply."""

    def __init__(self, name: str, rtype: str, servers: Sequence[Server], again: float, tries: int = 3) -> None:
        super().__init__(name, rtype, servers, again, tries, recurse=True)
        self.result: Reply | Unreachable | None = None

    def replied(self, server: Server, reply: Reply, tcp: bool) -> bool:
        if reply.rcode in ("NOERROR", "NXDOMAIN"):
            self.result = reply
            return True
        self.result = Unreachable(f"resolver {server} answers {reply.rcode} for {self.name} {self.type}")
        return False

    def failed(self, server: Server, status: str, error: Unreachable) -> None:
        # That there is no way to this one says nothing about what another one could not answer.
        if self.result is None or not error.unknown:
            self.result = error


# The client.


class Loop:
    """The few calls of an event loop that a client makes, with the meaning that they have in asyncio.

    For callers without such a loop: asyncio's import alone takes as long as a thousand answers.
    """

    time = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self.add_reader(self._wake.fileno(), self._awake)

    def call_at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, call, args))

    def call_later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        self.call_at(self.time() + seconds, call, *args)

    def call_soon_threadsafe(self, call: Callable[..., None], *args: Any) -> None:
        """Call from another thread; a loop that is closed does not (OSError)."""
        self._posted.append((call, args))
        self._waker.send(b"\0")

    def add_reader(self, handle: int, call: Callable[[], None]) -> None:
        self._selector.register(handle, selectors.EVENT_READ, call)

    def remove_reader(self, handle: int) -> None:
        self._selector.unregister(handle)

    def _awake(self) -> None:
        self._wake.recv(4096)
        while self._posted:
            call, args = self._posted.popleft()
            call(*args)

    def run(self, busy: Callable[[], bool]) -> None:
        """Call what is due for as long as there is something to do; what a call raises, this raises."""
        while busy():
            rest = self._timers[0][0] - self.time() if self._timers else None
            for key, _events in self._selector.select(None if rest is None else max(0.0, rest)):
                key.data()
            while self._timers and self._timers[0][0] <= self.time():
                _when, _count, call, args = heapq.heappop(self._timers)
                call(*args)

    def close(self) -> None:
        self._selector.close()
        self._wake.close()
        self._waker.close()


class _Port:
    """One connected UDP socket to one server, with any number of questions under way."""

    def __init__(self, client: Client, peer: _Peer) -> None:
        self._client = client
        self._peer = peer
        self._socket = socket.socket(peer.server.family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((peer.server.address, peer.server.port))
            if not peer.ports and peer.server.family == socket.AF_INET6:
                # A source address of no global meaning reaches a global server only if somebody translates it.
                source = ipaddress.ip_address(self._socket.getsockname()[0])
                peer.weak_route = not source.is_global and ipaddress.ip_address(peer.server.address).is_global
        except OSError:
            self._socket.close()
            raise
        self.waiting: dict[int, Exchange] = {}
        client.loop.add_reader(self._socket.fileno(), self._readable)

    def send(self, packet: bytes) -> None:
        # A full buffer loses the packet, as the network might; it is sent again.
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._socket.send(packet)

    def _readable(self) -> None:
        while True:
            try:
                packet = self._socket.recv(65535)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                # An ICMP error names no question: all that are under way to this server hear of it.
                self._client.lose(self._peer, _unreachable(self._peer.server, exc), "unreachable")
                return
            if len(packet) < 12:
                continue
            exchange = self.waiting.get(int.from_bytes(packet[:2], "big"))
            if exchange is not None:
                self._client.receive(exchange, self._peer, packet)
                continue
            # An answer with an id that nobody waits for: forged, or far too late (RFC 5452 section 9.1).
            for other in self.waiting.values():
                other.strays += 1

    def close(self) -> None:
        self._client.loop.remove_reader(self._socket.fileno())
        self._socket.close()


class _Peer:
    """One server, and what is on its way there."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ports: list[_Port] = []
        self.turn = 0
        self.queue: deque[Exchange] = deque()
        self.flying: set[Exchange] = set()
        self.truncated: list[Exchange] = []
        self.connections = 0
        self.slot = 0.0
        self.paused = False
        self.edns = True
        #: Whether it has ever answered; and whether it was silent instead, so that others are asked first.
        self.heard = False
        self.quiet = False
        self.weak_route = False


class Client:
    """Carries exchanges out, in an event loop: asyncio's or a :class:`Loop`.

    :param window: questions that one server is asked before its answers are awaited
    :param sockets: UDP sockets for each server
    :param deadline: of the loop's clock; every exchange still under way is over then
    """

    def __init__(self, loop: Any, window: float = math.inf, sockets: int = _SOCKETS, deadline: float = math.inf) -> None:
        self.loop = loop
        self._window = window
        self._sockets = sockets
        self._deadline = deadline
        #: How many questions have gone out so far, repetitions not counted.
        self.sent = 0
        self._peers: dict[Server, _Peer] = {}
        self._active: dict[Exchange, None] = {}
        self._entropy = b""
        self._sweeping = False
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Give up what is under way."""
        # The loop may go on, and call what waits for its turn or for an answer over TCP.
        for exchange in self._active:
            exchange.over = True
        self._active.clear()
        for peer in self._peers.values():
            peer.queue.clear()
            peer.truncated.clear()
            for port in peer.ports:
                port.close()
        self._peers.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return bool(self._active)

    def start(self, exchange: Exchange) -> None:
        """Start an exchange; its ``done`` is called when it is over."""
        self._active[exchange] = None
        exchange.peers = [self._peer(server) for server in exchange.servers]
        if not self._sweeping:
            self._sweeping = True
            self.loop.call_later(_ROUND, self._sweep)
        self._send_to(exchange, self._choose(exchange))

    # Sending.

    def _peer(self, server: Server) -> _Peer:
        peer = self._peers.get(server)
        if peer is None:
            peer = self._peers[server] = _Peer(server)
        return peer

    def _choose(self, exchange: Exchange) -> _Peer | None:
        """Return the next server to ask, if possible one that is not known to be silent; None if every one is settled."""
        left = [peer for peer in exchange.peers if peer not in exchange.settled] if exchange.settled else exchange.peers
        if len(left) < 2:
            return left[0] if left else None
        if exchange.peer in left:  # it has had its turn
            at = left.index(exchange.peer) + 1
            left = left[at:] + left[:at]
        return next((peer for peer in left if not peer.quiet), left[0])

    def _send_to(self, exchange: Exchange, peer: _Peer | None) -> None:
        if peer is None:
            self._finish(exchange)
            return
        if exchange.peer is not None:
            self._leave(exchange)
        exchange.peer, exchange.overdue = peer, math.inf
        # What was asked before does not wait behind what was not.
        (peer.queue.appendleft if exchange.sent else peer.queue.append)(exchange)
        self._pump(peer)

    def _leave(self, exchange: Exchange) -> None:
        """Make room at the server where an exchange is under way."""
        peer = exchange.peer
        if peer is not None and exchange in peer.flying:
            peer.flying.remove(exchange)
            if peer.queue and not peer.paused:
                # Once all that has arrived is read: one burst costs less than as many single packets.
                peer.paused = True
                self.loop.call_later(0, self._resume, peer)

    def _pump(self, peer: _Peer) -> None:
        while peer.queue and len(peer.flying) < self._window and not peer.paused:
            if self._window == math.inf:  # a window is a pace of its own
                now = self.loop.time()
                slot = max(peer.slot + _PACE, now - _BURST * _PACE)
                if slot > now:
                    peer.paused = True
                    self.loop.call_at(slot, self._resume, peer)
                    return
                peer.slot = slot
            exchange = peer.queue.popleft()
            if exchange.over or exchange.peer is not peer:
                continue
            self._transmit(exchange, peer)

    def _resume(self, peer: _Peer) -> None:
        peer.paused = False
        self._pump(peer)

    def _transmit(self, exchange: Exchange, peer: _Peer) -> None:
        now = self.loop.time()
        if exchange.started == math.inf:
            self.sent += 1
            exchange.started = now
            exchange.until = min(now + exchange.seconds, self._deadline)
        exchange.overdue = now + exchange.again
        exchange.asked[peer] = exchange.asked.get(peer, 0) + 1
        if not peer.edns:
            exchange.plain.add(peer)
        peer.flying.add(exchange)
        try:
            if len(peer.ports) < self._sockets:
                peer.ports.append(_Port(self, peer))
                port = peer.ports[-1]
            else:
                port = peer.ports[peer.turn % len(peer.ports)]
                peer.turn += 1
            number = self._number(port)
            port.waiting[number] = exchange
            exchange.sent.append((port, number))
            port.send(dns_wire.message(number, exchange.section, exchange.recurse, peer.edns))
        except OSError as exc:
            self.lose(peer, _unreachable(peer.server, exc), "unreachable")

    def _number(self, port: _Port) -> int:
        """Return an id that nobody can guess and that nothing else waits for."""
        while True:
            if len(self._entropy) < 2:
                self._entropy = os.urandom(512)
            number, self._entropy = int.from_bytes(self._entropy[:2], "big"), self._entropy[2:]
            if number not in port.waiting:
                return number

    # Receiving.

    def receive(self, exchange: Exchange, peer: _Peer, packet: bytes) -> None:
        """Take a packet with the id of an exchange."""
        if exchange.over_tcp or peer in exchange.settled:
            return
        try:
            reply = dns_wire.reply(packet) if exchange.answered_by(packet) else None
        except ValueError:
            reply = None
        if reply is None:
            exchange.strays += 1
            return
        peer.heard, peer.quiet = True, False
        if reply.truncated:
            # Only the header of a truncated answer can be relied on (RFC 2181 section 9): have it whole over TCP.
            self._leave(exchange)
            exchange.peer = peer
            exchange.over_tcp = True
            exchange.overdue = math.inf
            peer.truncated.append(exchange)
            if len(peer.truncated) == 1:
                self.loop.call_later(_COLLECT, self._connect, peer)
        elif reply.rcode == "FORMERR" and peer not in exchange.plain:
            # An old server: once more, and from now on, without EDNS (RFC 6891 section 7).
            peer.edns = False
            _forget(exchange, peer)
            self._send_to(exchange, peer)
        else:
            self._take(exchange, peer, reply, False)

    def _take(self, exchange: Exchange, peer: _Peer, reply: Reply, tcp: bool) -> None:
        try:
            decided = exchange.replied(peer.server, reply, tcp)
        except ValueError:
            exchange.strays += 1
            if tcp:
                self._settle(exchange, peer, "truncated", Unreachable(f"{peer.server} answers over TCP what is no answer"))
            return
        exchange.settled.add(peer)
        if decided:
            self._finish(exchange)
        else:
            self._send_to(exchange, self._choose(exchange))

    # TCP, in threads: few servers need it.

    def _connect(self, peer: _Peer) -> None:
        """Ask over TCP what was truncated: in one go where a window is kept, else several times at once, so that none waits for long."""
        narrow = self._window < math.inf
        batch = [exchange for exchange in peer.truncated if not exchange.over]
        if not batch or peer.connections >= (1 if narrow else _MAX_THREADS):
            peer.truncated = batch
            return
        size = len(batch) if narrow else _BATCH
        batch, peer.truncated = batch[:size], batch[size:]
        peer.connections += 1
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=_MAX_THREADS)
        seconds = max(min(exchange.again * exchange.tries, exchange.until - self.loop.time()) for exchange in batch)
        wires = [dns_wire.message(int.from_bytes(os.urandom(2), "big"), one.section, one.recurse, peer.edns) for one in batch]
        answers: list[bytes | None] = [None] * len(batch)

        def exchange_all() -> None:
            with Stream(peer.server, seconds) as stream:
                stream.exchange(wires, replies=answers, limit=math.inf if narrow else seconds)

        def ended(future: Future[None]) -> None:
            with contextlib.suppress(RuntimeError, OSError):  # everything is over, and the loop closed
                self.loop.call_soon_threadsafe(self._connected, peer, batch, answers, future)

        self._pool.submit(exchange_all).add_done_callback(ended)
        if peer.truncated:
            self._connect(peer)

    def _connected(self, peer: _Peer, batch: Sequence[Exchange], answers: Sequence[bytes | None], future: Future[None]) -> None:
        peer.connections -= 1
        failure = future.exception()
        if failure is not None and not isinstance(failure, Unreachable):
            raise failure
        for exchange, wire in zip(batch, answers):
            if exchange.over:
                continue
            exchange.over_tcp = False
            if wire is None:
                self._settle(exchange, peer, "truncated", failure)
                continue
            try:
                reply = _read_reply(exchange, peer.server, wire)
            except Unreachable as exc:
                self._settle(exchange, peer, "truncated", exc)
            else:
                self._take(exchange, peer, reply, True)
        if peer.truncated:
            self._connect(peer)

    # The end.

    def _sweep(self) -> None:
        """Repeat or end what is overdue."""
        now = self.loop.time()
        timed = self._deadline < math.inf
        for exchange in list(self._active) if timed else [one for peer in self._peers.values() for one in peer.flying]:
            if exchange.over:
                continue
            if now >= min(exchange.until, self._deadline):
                self._expire(exchange)
            elif now >= exchange.overdue:
                self._repeat(exchange)
        self._sweeping = bool(self._active)
        if self._sweeping:
            self.loop.call_later(_ROUND, self._sweep)

    def _repeat(self, exchange: Exchange) -> None:
        peer = exchange.peer
        if not peer.heard and not peer.quiet:
            peer.quiet = True
            # What waits for its turn there need not wait, if there is another server.
            for other in list(peer.queue):
                following = self._choose(other)
                if following is not peer and following is not None:
                    peer.queue.remove(other)
                    self._send_to(other, following)
        if exchange.asked[peer] >= exchange.tries:
            error = _silent(exchange, peer)
            if peer.heard:
                self._settle(exchange, peer, "timeout", error)
            else:
                self.lose(peer, error, "timeout")
        else:
            self._send_to(exchange, self._choose(exchange))

    def lose(self, peer: _Peer, error: Unreachable, status: str) -> None:
        """Give up a server for everything that is under way to it."""
        lost = [*peer.flying, *peer.queue]
        peer.flying.clear()
        peer.queue.clear()
        for exchange in lost:
            if not exchange.over and exchange.peer is peer:
                self._settle(exchange, peer, status, error)

    def _settle(self, exchange: Exchange, peer: _Peer, status: str, error: Unreachable) -> None:
        """Let an exchange go on without a server."""
        exchange.settled.add(peer)
        exchange.failed(peer.server, status, error)
        self._send_to(exchange, self._choose(exchange))

    def _expire(self, exchange: Exchange) -> None:
        for peer in exchange.peers:
            if peer in exchange.settled:
                continue
            if exchange.over_tcp and peer is exchange.peer:
                exchange.failed(peer.server, "truncated", Unreachable(f"{peer.server} does not answer over TCP in time", reason=_LATE))
            else:
                exchange.failed(peer.server, "timeout", _silent(exchange, peer))
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        exchange.over = True
        del self._active[exchange]
        for port, number in exchange.sent:
            port.waiting.pop(number, None)
        self._leave(exchange)
        exchange.done()


def _forget(exchange: Exchange, peer: _Peer) -> None:
    """Expect no more answers of a server to what it was asked."""
    for port, number in exchange.sent:
        if port in peer.ports:
            port.waiting.pop(number, None)


def _silent(exchange: Exchange, peer: _Peer) -> Unreachable:
    return Unreachable(f"{peer.server} does not answer (asked {exchange.asked.get(peer, 0)} times)", peer.weak_route)


def _unreachable(server: Server, exc: OSError) -> Unreachable:
    return Unreachable(f"{server}: {exc.strerror}", exc.errno in _NO_ROUTE, exc.strerror or str(exc))


def _read_reply(exchange: Exchange, server: Server, wire: bytes) -> Reply:
    """Return the reply that came over TCP.

    :raises Unreachable: it is none, or to another question
    """
    try:
        reply = dns_wire.reply(wire)
    except ValueError as exc:
        raise Unreachable(f"{server} sends what is not a DNS message: {exc}") from exc
    if not exchange.answered_by(wire):
        raise Unreachable(f"{server} answers another question over TCP", reason=_NOT_OURS)
    return reply


class Stream:
    """A TCP connection to one server over which messages are pipelined (RFC 7766 section 6.2.1.1); reopened when needed."""

    def __init__(self, server: Server, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._strays = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def exchange(
        self,
        queries: Sequence[bytes],
        window: int = WINDOW,
        repeat: bool = True,
        replies: list[bytes | None] | None = None,
        limit: float = math.inf,
    ) -> list[bytes | None]:
        """Send all messages and return the replies as octets, in the order of the messages.

        A server may close the connection whenever it likes; what it left unanswered is then sent again over a new one, if
        ``repeat``; without, the replies that are missing are None.

        :param window: messages that are under way at once
        :param replies: the list to fill and return, one None for each message: what it holds stays where an error ends the rest
        :param limit: seconds for all of it; ``timeout`` is only for each silence
        :raises Unreachable: no connection, silence, or a connection closed again and again without a single reply
        """
        replies = [None] * len(queries) if replies is None else replies
        deadline = time.monotonic() + limit
        left = list(range(len(queries)))
        while left:
            # Message identifiers are only 16 bits and random; the ones under way at once must differ.
            turn = list({queries[at][:2]: at for at in reversed(left)}.values())[::-1]
            before = len(left)
            try:
                self._turn(queries, turn, replies, window, deadline)
            except EOFError as exc:
                self.close()
                if not repeat:
                    return replies
                if before == sum(replies[at] is None for at in left):
                    raise Unreachable(
                        f"{self.server} closes the TCP connection without an answer", reason=self._reason("the connection ended early")
                    ) from exc
            except OSError as exc:
                self.close()
                if isinstance(exc, socket.timeout):
                    raise Unreachable(
                        f"{self.server} does not answer over TCP within {self.timeout:g} s", reason=self._reason(_LATE)
                    ) from exc
                reason = exc.strerror or str(exc)
                raise Unreachable(f"{self.server} over TCP: {reason}", exc.errno in _NO_ROUTE, reason) from exc
            left = [at for at in left if replies[at] is None]
        return replies

    def _reason(self, reason: str) -> str:
        return _NOT_OURS if self._strays else reason

    def _turn(self, queries: Sequence[bytes], turn: list[int], replies: list[bytes | None], window: int, deadline: float) -> None:
        flying: dict[bytes, int] = {}
        waiting = deque(turn)
        if self._socket is None:
            self._socket = socket.create_connection((self.server.address, self.server.port), timeout=self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What nobody waits for does not prolong the wait.
        until = min(time.monotonic() + self.timeout, deadline)
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
            if at is None:
                self._strays += 1
            else:
                replies[at] = wire
                until = min(time.monotonic() + self.timeout, deadline)

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


# Questions, for callers without an event loop.


def ask(questions: Sequence[Question], timeout: float = 2.0, tries: int = 3) -> None:
    """Ask everything at the same time, each server its own questions; an answer that is truncated is asked for again over TCP.

    :param timeout: seconds until a question is sent again
    :param tries: how often it is sent; a server that stays silent on all tries is given up for all its questions
    """
    servers: dict[Server, list[_Direct]] = {}
    for question in questions:
        question.reply = question.error = None
        servers.setdefault(question.server, []).append(_Direct(question, timeout, tries))
    groups = list(servers.values())
    for start in range(0, len(groups), _MAX_SOCKETS):
        _converse([exchange for group in groups[start : start + _MAX_SOCKETS] for exchange in group])


def _converse(exchanges: Sequence[Exchange]) -> None:
    """Carry exchanges out, at most :data:`WINDOW` at each server at once."""
    if not exchanges:
        return
    servers = {server for exchange in exchanges for server in exchange.servers}

    loop = Loop()
    client = Client(loop, WINDOW, max(1, min(_WINDOW_SOCKETS, _MAX_SOCKETS // len(servers))))
    try:
        for exchange in exchanges:
            client.start(exchange)
        loop.run(lambda: client.busy)
    finally:
        client.close()
        loop.close()


def system_nameservers(problem: str) -> list[str]:
    """Return the addresses of the name servers of this host.

    :param problem: what to raise where there are none, with ``{}`` in the place of the reason
    :raises MailError: there is no resolver configuration
    """
    try:
        nameservers = dns.resolver.Resolver().nameservers
    except (dns.exception.DNSException, OSError) as exc:
        raise MailError(problem.format(exc)) from exc
    return [str(getattr(server, "address", server)) for server in nameservers]


def rrset_of(reply: Reply, name: str, rtype: str) -> RRset:
    """Return the records of this type at this very name in the answer section (an alias is not followed)."""
    records = [record for record in reply.answer if record.name == name and record.type == rtype]
    return RRset(tuple(Rdata(rtype, record.wire) for record in records), records[0].ttl if records else None)


def rrset_behind(reply: Reply, name: str, rtype: str) -> RRset:
    """Return the records of this type where the aliases in the answer section lead from this name."""
    aliases = {record.name: record.target for record in reply.answer if record.type == "CNAME"}
    while name in aliases:
        name = aliases.pop(name)
    return rrset_of(reply, name, rtype)


class Resolver:
    """Recursive resolvers, asked many things at once; the next one is asked what the first did not answer.

    :param nameservers: addresses; by default those of this host
    :param timeout: seconds until a question is sent again
    :raises MailError: this host has no resolver
    """

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53, timeout: float = 2.0) -> None:
        self.system = not nameservers
        self.timeout = timeout
        if not nameservers:
            known = system_nameservers("no resolver is configured on this host (/etc/resolv.conf): {}; set nameservers")
            nameservers = [address for address in known if _names.is_socket_address(address)]
        self.servers = [Server(address, port) for address in nameservers]

    def ask(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Reply | Unreachable]:
        """Return (name, type) -> reply, or the :class:`Unreachable` that stands for it. SERVFAIL and REFUSED are no reply."""
        pairs = list(dict.fromkeys(pairs))
        if not self.servers:
            return {pair: Unreachable("no resolver is configured") for pair in pairs}
        exchanges = [_Recursive(name, rtype, self.servers, self.timeout) for name, rtype in pairs]
        _converse(exchanges)
        return {(exchange.name, exchange.type): exchange.result for exchange in exchanges}

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
        addresses: dict[str, list[str | Unreachable]] = {}
        for host in hosts:
            addresses[host] = []
            for rtype in ("A", "AAAA"):
                reply = replies[host, rtype]
                if isinstance(reply, Unreachable):
                    addresses[host].append(reply)
                else:
                    addresses[host] += [Rdata(rtype, record.wire).text for record in reply.answer if record.type == rtype]
        return addresses

    def zones(self, names: Iterable[str]) -> dict[str, str | Unreachable]:
        """Return name -> the zone that it is in, by the closest SOA record; the root and top-level domains do not count."""
        zones: dict[str, str | Unreachable] = {}
        asked = {name: name for name in names}
        while asked:
            replies = self.ask([(at, "SOA") for at in asked.values()])
            further = {}
            for name, at in asked.items():
                zone = zone_in(replies[at, "SOA"], at)
                if isinstance(zone, Unreachable):
                    zones[name] = zone
                elif zone is None and "." in at:
                    further[name] = at.split(".", 1)[1]
                elif zone is None or "." not in zone:
                    zones[name] = Unreachable(
                        f"the zone of {name!r} was not found: the closest SOA record is that of {zone or '.'!r}, "
                        "so the domain is not delegated yet, or this resolver cannot see it; give the zone if you know it"
                    )
                else:
                    zones[name] = zone
            asked = further
        return zones


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
    usable = [address for address in addresses if isinstance(address, str)]
    if not usable and addresses:
        raise MailError(f"the address of {whose} is not known: {addresses[0]}")
    if not usable:
        raise MailError(f"{whose} has no address")
    return usable


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
