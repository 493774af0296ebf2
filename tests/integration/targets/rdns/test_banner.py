# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server announces on its SMTP port, over both families."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager

import pytest
from server import Server

NAME = "mail.example.test"
RECORDS = {
    "1.0.0.127.in-addr.arpa": {"PTR": [f"{NAME}."]},
    "1" + ".0" * 31 + ".ip6.arpa": {"PTR": [f"{NAME}."]},
    NAME: {"A": ["127.0.0.1"], "AAAA": ["::1"]},
}


@contextmanager
def mail_server(banner, replies, address="127.0.0.1", log=None):
    """Sends the banner, then answers each line with the reply to its verb; a reply of None closes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(banner)
            for line in self.rfile:
                if log is not None:
                    log.append(line.decode().strip())
                reply = replies.get(line.split()[0].decode().upper(), b"500 what?\r\n")
                if reply is None:
                    return
                self.wfile.write(reply)

    class TCPServer(socketserver.ThreadingTCPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        daemon_threads = True

    with TCPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def announced(verify, port, address="127.0.0.1", **options):
    with Server(RECORDS) as dns:
        result = verify(addresses=[address], check_banner=True, smtp_port=port,
                        nameservers=["127.0.0.1"], nameserver_port=dns.port, **options)  # fmt: skip
    return {entry["check"]: (entry["status"], entry["found"]) for entry in result["checks"] if entry["check"] in ("banner", "ehlo")}


QUIT = {"QUIT": b"221 bye\r\n"}
GOOD = {"EHLO": b"250-mail.example.test greets you\r\n250-PIPELINING\r\n250 SIZE\r\n", **QUIT}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_server_that_announces_its_name(verify, address):
    log = []
    try:
        with mail_server(b"220-Mail.Example.test. ESMTP\r\n220 no spam\r\n", GOOD, address, log) as port:
            found = announced(verify, port, address, hostname=NAME)
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert found == {"banner": ("pass", "220 Mail.Example.test. ESMTP"), "ehlo": ("pass", f"250 {NAME} greets you")}
    assert log == ["EHLO [127.0.0.1]" if address == "127.0.0.1" else "EHLO [IPv6:::1]", "QUIT"]


def test_without_hostname_the_ptr_record_is_the_measure(verify):
    with mail_server(b"220 mail.example.test ESMTP\r\n", {"EHLO": b"250 localhost\r\n", **QUIT}) as port:
        assert announced(verify, port) == {"banner": ("pass", f"220 {NAME} ESMTP"), "ehlo": ("fail", "250 localhost")}


def test_a_server_that_knows_only_helo(verify):
    with mail_server(b"220 mail.example.test\r\n", {"EHLO": b"502 what?\r\n", "HELO": b"250 mail.example.test\r\n", **QUIT}) as port:
        assert announced(verify, port) == {"banner": ("pass", f"220 {NAME}"), "ehlo": ("pass", f"250 {NAME}")}


@pytest.mark.parametrize(
    ("banner", "replies", "expected"),
    [
        (b"554 mail.example.test no service\r\n", QUIT,
         {"banner": ("fail", "554 mail.example.test no service"), "ehlo": ("unknown", "no answer")}),
        (b"SSH-2.0-OpenSSH\r\n", {}, dict.fromkeys(("banner", "ehlo"), ("fail", "not an SMTP reply: 'SSH-2.0-OpenSSH'"))),
        (b"220 mail.example.test\r\n", {"EHLO": None},
         {"banner": ("pass", f"220 {NAME}"), "ehlo": ("fail", "the server closed the connection without a word")}),
        (b"220 mail.example.test\r\n", {"EHLO": b""},
         {"banner": ("pass", f"220 {NAME}"), "ehlo": ("fail", "no answer on port PORT within 2 s")}),
        (b"", {}, dict.fromkeys(("banner", "ehlo"), ("unknown", "no answer on port PORT within 2 s"))),
        (b"220 " + b"x" * 100000 + b"\r\n", {},
         dict.fromkeys(("banner", "ehlo"), ("fail", "a reply with a line of more than 4096 octets"))),
        (b"220-more\r\n" * 200, {}, dict.fromkeys(("banner", "ehlo"), ("fail", "a reply of more than 100 lines"))),
    ],
)  # fmt: skip
def test_servers_that_misbehave(verify, banner, replies, expected):
    with mail_server(banner, replies) as port:
        found = announced(verify, port, lifetime=2)
    assert found == {check: (status, words.replace("PORT", str(port))) for check, (status, words) in expected.items()}


def test_nothing_listens(verify):
    with mail_server(b"", {}) as port:
        pass
    assert announced(verify, port) == dict.fromkeys(("banner", "ehlo"), ("fail", f"nothing listens on port {port}"))
