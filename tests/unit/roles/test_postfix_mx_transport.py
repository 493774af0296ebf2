# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that tells Postfix the transport of a domain by its MX, also spoken to as Postfix does; answers are dnspython's."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from program import load

PROGRAM = Path(__file__).resolve().parents[3] / "roles/postfix/files/mx_transport.py"
MX = load(PROGRAM)
TABLE = {"google.com": "slow-google", "protection.outlook.com": "slow-microsoft"}


def response(question: bytes, *records: str, rcode=dns.rcode.NOERROR, flags=0) -> bytes:
    made = dns.message.make_response(dns.message.from_wire(question))
    made.use_edns(False)
    made.set_rcode(rcode)
    made.flags |= flags
    for record in records:
        made.answer.append(dns.rrset.from_text(*record.split(" ", 4)))
    return made.to_wire()


def test_a_question_is_one_that_others_read():
    asked = dns.message.from_wire(MX.question(513, "mail.example.org"))
    assert (asked.id, str(asked.question[0]), asked.payload) == (513, "mail.example.org. IN MX", 4096)
    assert asked.flags == dns.flags.RD


@pytest.mark.parametrize("domain", ["a..b", "x" * 64 + ".example", ".".join(["abcdefg"] * 33), ""])
def test_what_is_no_name_is_not_asked_about(domain):
    with pytest.raises(MX.NoAnswer):
        MX.question(1, domain)


def test_hosts_come_in_order_and_an_alias_before_them_does_not_count():
    asked = MX.question(7, "shop.example")
    found = response(asked, "shop.example. 60 IN CNAME brand.example.", "brand.example. 60 IN MX 20 alt1.aspmx.l.google.com.",
                     "brand.example. 60 IN MX 5 ASPMX.L.GOOGLE.com.")
    assert MX.hosts(found, 7) == ["aspmx.l.google.com", "alt1.aspmx.l.google.com"]
    assert MX.hosts(response(asked), 7) == MX.hosts(response(asked, rcode=dns.rcode.NXDOMAIN), 7) == []


def test_what_is_no_answer_is_none():
    asked = MX.question(7, "shop.example")
    good = response(asked, "shop.example. 60 IN MX 5 aspmx.l.google.com.")
    bad = [b"", b"\0\7", asked, good[:-3], response(asked, rcode=dns.rcode.SERVFAIL), response(asked, flags=dns.flags.TC)]
    loop = good[:-2] + bytes([0xC0, len(good) - 2])
    for message in [*bad, loop]:
        with pytest.raises(MX.NoAnswer):
            MX.hosts(message, 7)
    with pytest.raises(MX.NoAnswer):
        MX.hosts(good, 8)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("transport hosted.example", "OK slow-google:"),
        ("transport Hosted.Example", "OK slow-google:"),
        ("transport corp.example", "OK slow-microsoft:"),
        ("transport other.example", "NOTFOUND "),
        ("transport me+x@hosted.example", "OK slow-google:"),
        ('transport "a@b"@other.example', "NOTFOUND "),
        ("transport me@[192.0.2.1]", "NOTFOUND "),
        ("transport .hosted.example", "NOTFOUND "),
        ("transport [192.0.2.1]", "NOTFOUND "),
        ("transport *", "NOTFOUND "),
        ("transport ", "NOTFOUND "),
        # Ours, and what DNS says nothing about.
        ("transport own.example", "NOTFOUND "),
        ("transport silent.example", "NOTFOUND "),
        ("aliases x", "PERM no map 'aliases'"),
    ],
)
def test_answers(request_, answer):
    known = {"hosted.example": ["mx.elsewhere.example", "aspmx.l.google.com"], "corp.example": ["corp-example.mail.protection.outlook.com"],
             "other.example": ["mx.notgoogle.com", "google.com.evil.example"], "own.example": ["aspmx.l.google.com"]}

    def look(domain):
        if domain not in known:
            raise MX.NoAnswer("timed out")
        return known[domain]

    assert MX.Transports({"own.example"}, TABLE, look).answer(request_) == answer


def test_an_answer_is_kept_for_a_while_and_silence_is_not():
    now, asked = [0.0], []

    def look(domain):
        asked.append(domain)
        if domain == "silent.example":
            raise MX.NoAnswer("timed out")
        return ["aspmx.l.google.com"]

    found = MX.Transports(set(), TABLE, look, lambda: now[0])
    for _ in range(2):
        assert (found.of_domain("hosted.example"), found.of_domain("silent.example")) == ("slow-google", "")
    assert asked == ["hosted.example", "silent.example", "silent.example"]
    now[0] += MX.KEPT
    assert found.of_domain("hosted.example") == "slow-google" and asked[-1] == "hosted.example"


def test_a_name_server_is_asked_again_and_the_next_one_after_it():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve():
            for number in range(2):
                message, client = server.recvfrom(4096)
                server.sendto(response(message, "a.example. 60 IN MX 5 aspmx.l.google.com.") if number else b"nonsense", client)

        thread = threading.Thread(target=serve)
        thread.start()
        assert MX.ask(["127.0.0.1"], "a.example", server.getsockname()[1]) == ["aspmx.l.google.com"]
        thread.join()
        port = server.getsockname()[1]
    with pytest.raises(MX.NoAnswer):
        MX.ask(["127.0.0.1"], "a.example", port)


def test_name_servers_of_the_system(tmp_path):
    text = "# nameserver 192.0.2.1\nnameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver x\nnameserver\n"
    (tmp_path / "resolv.conf").write_text(text)
    assert MX.nameservers(str(tmp_path / "resolv.conf")) == ["127.0.0.1", "fe80::1%eth0"]
    assert MX.nameservers(str(tmp_path / "absent")) == ["127.0.0.1"]


def test_as_postfix_speaks_to_it(tmp_path):
    (tmp_path / "table").write_text("# Ansible managed\nown example.org\nmx google.com slow-google\n")
    requests = ["transport me@example.org", "transport example.org", "transport .org"]
    given = b"".join(b"%d:%s," % (len(text), text.encode()) for text in requests)
    done = subprocess.run([sys.executable, "-IS", str(PROGRAM), "--table", str(tmp_path / "table")], input=given, capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"9:NOTFOUND ," * 3, b"", 0)
    done = subprocess.run([sys.executable, "-IS", str(PROGRAM), "--table", str(tmp_path / "absent")], input=given, capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"9:NOTFOUND ," * 3, b"", 0)
