# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that close early, never end, or send what a terminal would obey: every look ends, and shows text. On loopback only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import signal
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks, report, runner
from ansible_collections.postmaster.mail.plugins.module_utils._checks.session import Server
from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._host import redis
from ansible_collections.postmaster.mail.plugins.module_utils._io.bounded import Bounded, Lines, TooMuch, printable
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns
from ansible_collections.postmaster.mail.plugins.module_utils._rdns.greet import greet

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe"


@pytest.fixture(autouse=True)
def end() -> Iterator[None]:
    """What does not end is an error of its own."""

    def over(*_ignored: object) -> None:
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Start a server that treats each connection by a function; return its port."""
    sockets: list[socket.socket] = []

    def start(treat: Callable[[socket.socket], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        sockets.append(listener)

        def one(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                sockets.append(connection)
                treat(connection)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def forever(octets: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    waiting = threading.Event()

    def treat(connection: socket.socket) -> None:
        while True:
            connection.sendall(octets)
            if pause:
                waiting.wait(pause)

    return treat


def says(first: bytes, then: Callable[[socket.socket], None] | None = None) -> Callable[[socket.socket], None]:
    def treat(connection: socket.socket) -> None:
        connection.sendall(first)
        if then:
            then(connection)

    return treat


def echo(connection: socket.socket) -> None:
    """Speaks SMTP badly: says back what it hears, as an error."""
    connection.sendall(b"220 mail.example.org\r\n")
    for line in connection.makefile("rb"):
        said = line.strip()
        if said.upper().startswith(b"EHLO"):
            connection.sendall(b"250 mail.example.org\r\n")
        else:
            connection.sendall(b"500 5.5.2 unknown: " + said + b"\r\n")


HOSTILE = {
    "closes at once": lambda connection: None,
    "closes within a line": says(b"220"),
    "closes after a greeting": says(b"220 mail.example.org\r\n"),
    "closes after IMAP's greeting": says(b"* OK [CAPABILITY IMAP4rev1] x\r\n"),
    "closes within ManageSieve's capabilities": says(b'"IMPLEMENTATION" "x"\r\n"SIEVE" "fileinto"\r\n'),
    "a line without end": forever(b"220 " + b"x" * 65536),
    "a reply without end": forever(b"220-x\r\n" * 1000),
    "IMAP's lines without end": says(b"* OK x\r\n", forever(b"* 1 EXISTS\r\n" * 1000)),
    "a literal of IMAP's without end": says(b"* OK x\r\n", forever(b"* LIST {999999999999}\r\n" + b"x" * 65536)),
    "ManageSieve's lines without end": forever(b'"SIEVE" "x"\r\n' * 1000),
    "an octet now and then": forever(b"2", 0.02),
    "a line now and then": forever(b"220-x\r\n", 0.02),
    "nothing at all": forever(b"", 1),
    "what a terminal obeys": says(f"220 {ESCAPES}\r\n".encode(), forever(f"550 {ESCAPES}\r\n".encode(), 0.05)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_every_promise_ends(listen, monkeypatch, kind):
    port = listen(HOSTILE[kind])
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, *more, **named: connect((address[0], port), *more, **named))
    server = Server(
        fqdn="mail.example.org", addresses={"ipv4": ["127.0.0.1"], "ipv6": []}, domains=["example.org"],
        accounts=[("me@example.org", "one-secret"), ("you@example.org", "two-secret")], nameservers=["127.0.0.1"], timeout=0.1,
    )  # fmt: skip
    for result in checks.registry.run(server):
        # What refuses everything keeps what it is to refuse.
        assert result.status != "pass" or result.check == "old-tls" or kind == "what a terminal obeys", result
        assert result.evidence.isprintable() and len(result.evidence) <= 1000 + 10 * len(ESCAPES), result


def answers(greeting: bytes, replies: dict[bytes, bytes]) -> Callable[[socket.socket], None]:
    """Speak a protocol of lines; an answer may hold {tag}, the first word of what is answered."""

    def treat(connection: socket.socket) -> None:
        connection.sendall(greeting)
        for line in connection.makefile("rb"):
            for word, reply in replies.items():
                if word in line.upper():
                    connection.sendall(reply.replace(b"{tag}", line.split()[0]))
                    break

    return treat


GOOD = {
    587: answers(b"220 mail.example.org\r\n", {b"EHLO": b"250 mail.example.org\r\n", b"AUTH": b"530 TLS\r\n", b"MAIL": b"530 TLS\r\n"}),
    143: answers(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", {
        b"CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n{tag} OK done\r\n",
        b"LOGIN": b"{tag} NO no\r\n",
        b"LOGOUT": b"* BYE\r\n{tag} OK done\r\n",
    }),
    4190: says(b'"SASL" ""\r\nOK\r\n'),
}  # fmt: skip
#: What one of the ports does instead, and what is said of it.
ODD = {
    "nothing odd": (0, None, "530 TLS"),
    "4190 closes at once": (4190, HOSTILE["closes at once"], "port 4190 closed the connection at its start, before it said OK"),
    "4190 closes early": (
        4190, HOSTILE["closes within ManageSieve's capabilities"], "port 4190 closed the connection at its start, before it said OK"),
    "4190 never ends": (4190, HOSTILE["ManageSieve's lines without end"], "the answer is longer than 65536 octets"),
    "4190 sends a long line": (4190, HOSTILE["a line without end"], "a line is longer than 8192 octets"),
    "4190 sends a line now and then": (4190, HOSTILE["a line now and then"], "the answer has no end"),
    "143 never ends": (143, HOSTILE["IMAP's lines without end"], "the answer"),
    "143 sends an endless literal": (143, HOSTILE["a literal of IMAP's without end"], "of 999999999999 octets is too long"),
    "143 sends a line now and then": (
        143, says(b"* OK x\r\n", forever(b"* 1 EXISTS\r\n", 0.02)), "the answer has no end"),
    "587 never ends": (587, HOSTILE["a reply without end"], "the answer is longer than 65536 octets"),
    "587 sends a line now and then": (587, HOSTILE["a line now and then"], "the answer has no end"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_one_port_is_hostile(listen, monkeypatch, odd):
    port, treat, said = ODD[odd]
    there = {number: listen(treat if number == port else good) for number, good in GOOD.items()}
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda to, *more, **named: connect((to[0], there[to[1]]), *more, **named))
    server = Server(fqdn="mail.example.org", addresses={"ipv4": ["127.0.0.1"]}, domains=["example.org"], timeout=1)
    [result] = checks.registry.run(server, ["no-auth-in-the-clear"])
    assert said in result.evidence and result.status == ("fail" if port else "pass"), result


def test_a_password_that_the_server_repeats_is_in_no_report(listen, monkeypatch):
    port = listen(echo)
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda address, *more, **named: connect((address[0], port), *more, **named))
    registry = runner.CheckRegistry()

    @registry.check("login")
    def login(server: Server) -> str:
        """It lets users in."""
        with server.smtp(587) as session:
            session.login(*server.account())
        return "in"

    server = Server(fqdn="mail.example.org", addresses={"ipv4": ["127.0.0.1"]}, domains=[], accounts=[("me@example.org", "top-secret")],
                    timeout=5)  # fmt: skip
    [result] = registry.run(server)
    assert result.status == "fail" and "unknown: AUTH PLAIN ********" in result.evidence
    page = report.page("x", [result])
    for secret in ("top-secret", base64.b64encode(b"\0me@example.org\0top-secret").decode()):
        assert secret not in page


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_look_at_a_greeting_ends(listen, kind):
    greeting = asyncio.run(greet("127.0.0.1", listen(HOSTILE[kind]), 1, 0.5))
    said = f"{greeting.banner} {greeting.ehlo} {greeting.detail}"
    check = rdns.check("banner", "x", "fail", "y", said, greeting.banner, [greeting.banner])
    for text in (check["found"], check["advice"], *check["values"]):
        assert text.isprintable() and len(text) <= 1000


def stream_of(message: Callable[[bytes], bytes], count: int) -> Callable[[socket.socket], None]:
    def treat(connection: socket.socket) -> None:
        query = connection.recv(65535)[2:]
        for _number in itertools.count() if count < 0 else range(count):
            wire = message(query)
            connection.sendall(struct.pack("!H", len(wire)) + wire)

    return treat


@pytest.mark.parametrize("kind", ["strays", "an octet now and then"])
def test_a_name_server_that_never_ends(listen, kind):
    stray = stream_of(lambda query: bytes([query[0] ^ 1]) + query[1:], -1)
    port = listen(stray if kind == "strays" else forever(b"\xff", 0.02))
    with dns_client.Stream(dns_client.Server("127.0.0.1", port), 0.3) as stream, pytest.raises(dns_client.Unreachable) as caught:
        stream.exchange([dns_wire.query(7, "example.org", "TXT")])
    assert "does not answer over TCP within 0.3 s" in str(caught.value)


@pytest.mark.parametrize("answer", [b"$99999999999\r\n", b"$x\r\n", b"+" + b"x" * (1 << 21)])
def test_a_store_whose_answer_has_no_end(tmp_path, answer):
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:
            connection.recv(100)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    with listener, redis.Client(path, 5) as client:
        try:
            assert len(client.ask("PING")) <= redis.ANSWER
        except MailError as exc:
            assert "was answered with '$" in str(exc) and "more than 1048576 octets" in str(exc)


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def test_lines_end_where_the_connection_does():
    near, far = pair()
    with near:
        far.sendall(b"one\r\ntwo")
        far.close()
        lines = Lines(near, 5)
        assert [lines.line() for _count in range(4)] == [b"one\r\n", b"two", b"", b""]


def test_bounds_count_anew_for_each_answer():
    near, far = pair()
    with near, far:
        raw = Bounded(near, 5, 10)
        for octets in (b"0123456789", b"abcdefghij"):
            far.sendall(octets + b"x")
            raw.begin()
            assert bytes(raw.read(100)) in (octets, b"x" + octets[:9])
        far.sendall(b"y" * 50)
        raw.begin()
        with pytest.raises(TooMuch, match="the answer is longer than 10 octets"):
            while raw.read(100):
                pass
        near.settimeout(3)
        assert near.gettimeout() == 3


@pytest.mark.parametrize(("text", "shown"), [
    ("250 mail.example.org ESMTP Grüße", "250 mail.example.org ESMTP Grüße"),
    ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
    ("one\r\ntwo\ttab\0", "one\\r\\ntwo\\ttab\\x00"),
    ("\x9b2J\u202egnp\u2066", "\\x9b2J\\u202egnp\\u2066"),
    ("\udce4", "\\udce4"),
    ("x" * 5000, "x" * 999 + "…"),
])  # fmt: skip
def test_what_is_shown_of_a_text(text, shown):
    assert printable(text) == shown


def test_a_report_is_written_for_its_owner_and_through_no_link(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "report.html"
    victim.write_text("mine")
    target.symlink_to(victim)
    report.write_page(str(target), "<html>")
    assert victim.read_text() == "mine" and target.read_text() == "<html>" and not target.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "victim"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: has links of another user's")
@pytest.mark.parametrize("where", ["sticky", "foreign"])
def test_a_report_behind_a_link_that_another_has_placed(tmp_path: Path, where):
    folder, victim = tmp_path / "tmp", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    folder.chmod(0o1777 if where == "sticky" else 0o755)
    (folder / "reports").symlink_to(victim)
    os.chown(folder / "reports", 65534, 65534, follow_symlinks=False)
    if where == "foreign":
        os.chown(folder, 65534, 65534)
    with pytest.raises(MailError, match=r"is a symbolic link in a directory that (others|nobody) can change; it is not followed"):
        report.write_page(str(folder / "reports/report.html"), "<html>")
    assert list(victim.iterdir()) == []
