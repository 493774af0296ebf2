# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers that misbehave on purpose: the ways in which a question may go wrong."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
import time

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import update as dns_update
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Question, Resolver, Server, Stream, Unreachable
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import from_text
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

KEY = dns_update.Key("mail-update", "hmac-sha256", b"secret")
KEYRING = {dns.name.from_text(KEY.name): dns.tsig.Key(KEY.name + ".", KEY.secret, KEY.algorithm)}


def answer(query, truncated=False):
    """Answer TXT with the first label of the name."""
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.AA
    if truncated:
        reply.flags |= dns.flags.TC
    elif query.opcode() == dns.opcode.QUERY:
        name = query.question[0].name
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "TXT", name.labels[0].decode()))
    return reply.to_wire()


class Fake:
    """A server on one port for both transports; each is a function that does with the socket what it wants."""

    def __init__(self, udp=None, tcp=None):
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.server = Server("127.0.0.1", self.port)
        self.threads = [
            threading.Thread(target=self._run, args=(function, end), daemon=True) for function, end in ((udp, self.udp), (tcp, self.tcp))
        ]

    def _run(self, function, end):
        with contextlib.suppress(OSError, EOFError, dns.message.ShortHeader):  # the last is an empty read at shutdown
            while function is not None:
                function(end)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        for end in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()


def receive(connection):
    def exactly(size):
        data = b""
        while len(data) < size:
            more = connection.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    return dns.message.from_wire(exactly(struct.unpack("!H", exactly(2))[0]), keyring=KEYRING)


def send(connection, wire):
    connection.sendall(struct.pack("!H", len(wire)) + wire)


def questions(fake, count=1):
    return [Question(fake.server, f"n{at}.example.org", "TXT") for at in range(count)]


def queries(count):
    return [dns_wire.query(at, f"n{at}.example.org", "TXT") for at in range(count)]


def texts(asked):
    return [dns_client.rrset_of(question.reply, question.name, "TXT").texts for question in asked]


def expected(count):
    return [[f"n{at}"] for at in range(count)]


def honest(end):
    wire, peer = end.recvfrom(65535)
    end.sendto(answer(dns.message.from_wire(wire)), peer)


def test_many_questions():
    with Fake(udp=honest) as fake:
        asked = questions(fake, 300)
        dns_client.ask(asked)
        assert texts(asked) == expected(300)


def test_a_lost_datagram_is_sent_again():
    seen = set()

    def lossy(end):
        wire, peer = end.recvfrom(65535)
        name = dns.message.from_wire(wire).question[0].name
        if name in seen:
            end.sendto(answer(dns.message.from_wire(wire)), peer)
        seen.add(name)

    with Fake(udp=lossy) as fake:
        asked = questions(fake, 20)
        dns_client.ask(asked, timeout=0.2)
        assert texts(asked) == expected(20)


def test_answers_to_something_else_are_ignored():
    def noisy(end):
        wire, peer = end.recvfrom(65535)
        query = dns.message.from_wire(wire)
        other = dns.message.make_query("other.example.org", "TXT", id=query.id)
        for noise in (b"", b"short", wire[:2] + b"\xff" * 30, answer(other)):
            end.sendto(noise, peer)
        end.sendto(answer(query), peer)

    with Fake(udp=noisy) as fake:
        asked = questions(fake)
        dns_client.ask(asked)
        assert texts(asked) == expected(1)


def test_a_truncated_answer_is_asked_over_tcp():
    def short(end):
        wire, peer = end.recvfrom(65535)
        end.sendto(answer(dns.message.from_wire(wire), truncated=True), peer)

    def serve(end):
        connection, _peer = end.accept()
        with connection, contextlib.suppress(EOFError):
            while True:
                send(connection, answer(receive(connection)))

    with Fake(udp=short, tcp=serve) as fake:
        asked = questions(fake, 5)
        dns_client.ask(asked)
        assert texts(asked) == expected(5)


def short(end):
    wire, peer = end.recvfrom(65535)
    end.sendto(answer(dns.message.from_wire(wire), truncated=True), peer)


def test_what_comes_before_tcp_fails_is_kept():
    """The connection answers three questions of five, and hangs."""

    def serve(end):
        connection, _peer = end.accept()
        with connection, contextlib.suppress(EOFError):
            for _count in range(3):
                send(connection, answer(receive(connection)))
            while True:
                receive(connection)

    with Fake(udp=short, tcp=serve) as fake:
        asked = questions(fake, 5)
        dns_client.ask(asked, timeout=0.1, tries=2)
    assert sorted(texts([question for question in asked if question.reply])) == expected(5)[:3]
    assert {str(question.error) for question in asked if not question.reply} == {
        f"127.0.0.1 port {fake.port} does not answer over TCP within 0.2 s"
    }


def test_a_client_that_is_closed_takes_no_more_answers():
    asked, go_on = threading.Event(), threading.Event()

    def udp(end):
        wire, peer = end.recvfrom(65535)
        end.sendto(answer(dns.message.from_wire(wire), truncated=True), peer)

    def tcp(end):
        with end.accept()[0] as connection:
            query = receive(connection)
            asked.set()
            assert go_on.wait(5)
            send(connection, answer(query))
            connection.recv(1)

    with Fake(udp, tcp) as fake:
        loop = dns_client.Loop()
        client = dns_client.Client(loop, window=1, sockets=1)
        first, second = (dns_client._Direct(question, 1.0, 3) for question in questions(fake, 2))
        client.start(first)
        client.start(second)
        loop.run(lambda: not asked.is_set())
        client.close()
        go_on.set()
        waited = []
        loop.call_later(0.3, waited.append, True)
        loop.run(lambda: not waited)
        loop.close()
        assert not client.busy
        assert first.question.reply is second.question.reply is None


def test_an_answer_to_something_else_over_tcp():
    def serve(end):
        connection, _peer = end.accept()
        with connection, contextlib.suppress(EOFError):
            while True:
                query = receive(connection)
                send(connection, answer(dns.message.make_query("other.example.org", "TXT", id=query.id)))

    with Fake(udp=short, tcp=serve) as fake:
        asked = questions(fake)
        dns_client.ask(asked)
    assert asked[0].reply is None
    assert str(asked[0].error) == f"127.0.0.1 port {fake.port} answers another question over TCP"


def test_a_server_that_does_not_know_edns():
    """All are asked with it at first, and each again without."""

    def old(end):
        wire, peer = end.recvfrom(65535)
        query = dns.message.from_wire(wire)
        if query.edns < 0:
            end.sendto(answer(query), peer)
            return
        header = struct.pack("!HHHHHH", query.id, 0x8001, 0, 0, 0, 0)  # FORMERR, and nothing else
        end.sendto(header, peer)

    with Fake(udp=old) as fake:
        asked = questions(fake, 60)
        dns_client.ask(asked)
        assert texts(asked) == expected(60)


def test_questions_leave_from_many_ports():
    ports = set()

    def notes(end):
        wire, peer = end.recvfrom(65535)
        end.sendto(answer(dns.message.from_wire(wire)), peer)
        ports.add(peer[1])

    with Fake(udp=notes) as fake:
        dns_client.ask(questions(fake, 300))
    assert len(ports) == 8


def test_a_silent_resolver_costs_its_silence_once():
    with Fake(udp=lambda end: end.recvfrom(65535)) as silent, Fake(udp=honest) as fake:
        resolver = Resolver(["127.0.0.1"], timeout=0.2)
        resolver.servers = [silent.server, fake.server]
        start = time.monotonic()
        rrsets = resolver.behind((f"n{at}.example.org", "TXT") for at in range(500))
        taken = time.monotonic() - start
    assert [rrset.texts for rrset in rrsets.values()] == expected(500)
    assert taken < 2, "not once for each window of questions"


def test_silence():
    with Fake(udp=lambda end: end.recvfrom(65535)) as fake:
        asked = questions(fake, 100)
        dns_client.ask(asked, timeout=0.1, tries=2)
        assert {str(question.error) for question in asked} == {f"127.0.0.1 port {fake.port} does not answer (asked 2 times)"}
        assert not any(question.error.unknown for question in asked)


def test_nobody_there():
    with Fake() as fake:
        pass
    asked = questions(fake, 3)
    dns_client.ask(asked)
    assert {str(question.error) for question in asked} == {f"127.0.0.1 port {fake.port}: Connection refused"}
    assert not any(question.error.unknown for question in asked)


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_no_route_is_unknown_and_costs_no_time(monkeypatch, code):
    def connect(self, _address):
        raise OSError(code, "no way")

    monkeypatch.setattr(dns_client.socket, "socket", type("Socket", (socket.socket,), {"connect": connect}))
    asked = [Question(Server("2001:db8::1"), "n.example.org", "TXT")]
    dns_client.ask(asked)
    assert (str(asked[0].error), asked[0].error.unknown) == ("2001:db8::1: no way", True)


def ipv4_only(end):
    """A resolver that fails to look up IPv6 addresses."""
    wire, peer = end.recvfrom(65535)
    reply = dns.message.make_response(dns.message.from_wire(wire))
    if reply.question[0].rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", "192.0.2.1"))
    else:
        reply.set_rcode(dns.rcode.SERVFAIL)
    end.sendto(reply.to_wire(), peer)


def test_a_failure_takes_the_place_of_the_addresses_of_its_family():
    with Fake(udp=ipv4_only) as fake:
        found = Resolver(["127.0.0.1"], fake.port).addresses(["ns1.example.org"])["ns1.example.org"]
    reason = f"resolver 127.0.0.1 port {fake.port} answers SERVFAIL for ns1.example.org AAAA"
    assert [str(address) for address in found] == ["192.0.2.1", reason]
    assert dns_client.known(found, "server 'ns1.example.org'") == ["192.0.2.1"]
    for addresses, words in ((found[1:], f"the address of server 'ns1' is not known: {reason}"), ([], "server 'ns1' has no address")):
        with pytest.raises(MailError) as error:
            dns_client.known(addresses, "server 'ns1'")
        assert str(error.value) == words


def test_a_resolver_without_a_route_does_not_hide_what_another_one_says(monkeypatch):
    class Socket(socket.socket):
        def connect(self, address):
            if ":" in address[0]:
                raise OSError(errno.ENETUNREACH, "no way")
            super().connect(address)

    with Fake(udp=ipv4_only) as fake:
        monkeypatch.setattr(dns_client.socket, "socket", Socket)
        for servers in (["127.0.0.1", "2001:db8::1"], ["2001:db8::1", "127.0.0.1"]):
            found = Resolver(servers, fake.port).ask([("n.example.org", "AAAA")])["n.example.org", "AAAA"]
            assert (str(found), found.unknown) == (f"resolver 127.0.0.1 port {fake.port} answers SERVFAIL for n.example.org AAAA", False)


def one_each(end):
    connection, _peer = end.accept()
    with connection:
        send(connection, answer(receive(connection)))


def backwards(end):
    connection, _peer = end.accept()
    with connection, contextlib.suppress(EOFError):
        while True:
            batch = [receive(connection) for _ in range(10)]
            for query in reversed(batch):
                send(connection, answer(query))


@pytest.mark.parametrize("tcp", [one_each, backwards])
def test_tcp(tcp):
    with Fake(tcp=tcp) as fake, Stream(fake.server, 5) as stream:
        replies = [dns_wire.reply(wire) for wire in stream.exchange(queries(30))]
    assert [dns_client.rrset_of(reply, f"n{at}.example.org", "TXT").texts for at, reply in enumerate(replies)] == expected(30)


def slam(end):
    connection, _peer = end.accept()
    with connection:
        receive(connection)


def hang(end):
    connection, _peer = end.accept()
    with connection, contextlib.suppress(EOFError):
        while True:
            receive(connection)


@pytest.mark.parametrize(
    ("tcp", "message"),
    [(slam, "{} closes the TCP connection without an answer"), (hang, "{} does not answer over TCP within 0.3 s")],
)
def test_tcp_without_answers(tcp, message):
    with Fake(tcp=tcp) as fake, Stream(fake.server, 0.3) as stream:
        with pytest.raises(Unreachable) as caught:
            stream.exchange(queries(2))
        stream.close()
        assert str(caught.value) == message.format(fake.server)



def change(name="n0.example.org", value="n0"):
    return Change("example.org", name, "TXT", RRset(), RRset((from_text("TXT", value),), 60))


def refuse(rcode):
    def serve(end):
        connection, _peer = end.accept()
        with connection, contextlib.suppress(EOFError):
            while True:
                query = receive(connection)
                reply = dns.message.Message(id=query.id)
                reply.flags = dns.flags.QR | dns.opcode.to_flags(query.opcode())
                reply.set_rcode(rcode)
                send(connection, reply.to_wire())

    return serve


@pytest.mark.parametrize(
    ("rcode", "words"),
    [
        (
            dns.rcode.NOTAUTH,
            "NOTAUTH without a signature to a request signed with key 'mail-update' (hmac-sha256). Knot answers so when it does not "
            "know the key (BADKEY), when the secret differs (BADSIG), when its ACL does not let the key update this zone, or when it does "
            "not have the zone: check tsig_name, tsig_secret and tsig_algorithm, the ACL (action: update) and the zone",
        ),
        (
            dns.rcode.NOERROR,
            "without a signature to a request signed with key 'mail-update' (hmac-sha256), which proves nothing (RFC 8945 section 5.4.1)",
        ),
    ],
)
def test_an_unsigned_answer_to_a_signed_update(rcode, words):
    with Fake(tcp=refuse(rcode)) as fake:
        sent, errors = dns_update.Primary(fake.server, KEY, 2).write({"example.org": [change()]})
    assert sent == {"example.org": 0}
    assert errors == {"example.org": f"zone 'example.org': server 127.0.0.1 port {fake.port} answers {words}"}


@pytest.mark.parametrize(("value", "fine"), [("n0", True), ("other", False)])
def test_an_update_whose_answer_is_lost_is_read_again(value, fine):
    def serve(end):
        connection, _peer = end.accept()
        with connection, contextlib.suppress(EOFError):
            while True:
                query = receive(connection)
                if query.opcode() == dns.opcode.UPDATE:
                    return
                send(connection, answer(query))

    with Fake(tcp=serve) as fake:
        _sent, errors = dns_update.Primary(fake.server, None, 2).write({"example.org": [change(value=value)]})
        assert bool(errors) is not fine


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("SERVFAIL", "SERVFAIL: it failed by itself, for example because it cannot write the zone's journal; its log has the reason"),
        ("NOTIMP", "NOTIMP: it does not do dynamic updates (RFC 2136)"),
        ("FORMERR", "FORMERR: it does not understand the message"),
        ("BADTRUNC", "BADTRUNC to key 'mail-update' (hmac-sha256): it wants longer signatures (RFC 8945 section 5.2.2.1)"),
        ("BADVERS", "BADVERS"),
    ],
)
def test_explain(code, words):
    assert dns_update.explain(code, "192.0.2.1", "example.org", KEY) == f"zone 'example.org': server 192.0.2.1 answers {words}"


def test_a_key_does_not_show_its_secret():
    assert "secret" not in repr(KEY)
