# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our reading of DNS messages against dnspython's."""

from __future__ import annotations

import random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire as dns_wire

LINES = (
    ("example.org.", "TXT", '"v=spf1 mx -all"'),
    ("example.org.", "TXT", '"a" "b\\"c"'),
    ("Example.ORG.", "MX", "10 mail.example.org."),
    ("mail.example.org.", "A", "192.0.2.1"),
    ("mail.example.org.", "AAAA", "2001:db8::1"),
    ("www.example.org.", "CNAME", "mail.example.org."),
    ("_submissions._tcp.example.org.", "SRV", "0 1 465 mail.example.org."),
    ("_25._tcp.mail.example.org.", "TLSA", "3 1 1 " + "ab" * 32),
    ("example.org.", "CAA", '0 issue "ca.example"'),
    ("1.2.0.192.in-addr.arpa.", "PTR", "mail.example.org."),
    ("example.org.", "HTTPS", "1 . alpn=h2"),
)
SOA = ("example.org.", "SOA", "ns1.example.org. hostmaster.example.org. 1 2 3 4 5")
NS = ("example.org.", "NS", "ns1.example.org.")


def message(answer=LINES, authority=(SOA, NS), name="example.org", rtype="TXT"):
    made = dns.message.make_response(dns.message.make_query(name, rtype, use_edns=0))
    made.flags |= dns.flags.AA
    for section, records in ((made.answer, answer), (made.authority, authority)):
        section.extend(dns.rrset.from_text(owner, 60, "IN", kind, text) for owner, kind, text in records)
    made.additional.append(dns.rrset.from_text("ns1.example.org.", 60, "IN", "A", "192.0.2.53"))
    return made


def test_an_answer_as_dnspython_writes_it():
    made = message()
    read = dns_wire.reply(made.to_wire())
    assert (read.id, read.question, read.rcode) == (made.id, ("example.org", "TXT"), "NOERROR")
    assert (read.authoritative, read.truncated) == (True, False)
    heads = [(f"{record.name}.", record.type, record.ttl) for record in read.answer]
    assert heads == [(owner.lower(), kind, 60) for owner, kind, _text in LINES]
    assert [record.wire for record in read.answer] == [rrset[0].to_wire() for rrset in made.answer]
    assert [(record.name, record.type, record.target) for record in read.authority] == [
        ("example.org", "SOA", "ns1.example.org"),
        ("example.org", "NS", "ns1.example.org"),
    ]


@pytest.mark.parametrize("code", range(11))
def test_rcodes(code):
    made = message((), ())
    made.set_rcode(code)
    assert dns_wire.reply(made.to_wire()).rcode == dns.rcode.to_text(code)


def test_of_a_truncated_answer_only_the_question_is_read():
    made = message()
    made.flags |= dns.flags.TC
    read = dns_wire.reply(made.to_wire()[:60])
    assert (read.truncated, read.question, read.answer) == (True, ("example.org", "TXT"), ())


@pytest.mark.parametrize(
    ("recurse", "edns", "flags", "payload"), [(False, False, 0, 0), (True, False, dns.flags.RD, 0), (False, True, 0, 1232)]
)
def test_a_question_as_dnspython_reads_it(recurse, edns, flags, payload):
    read = dns.message.from_wire(dns_wire.query(4711, "s1._domainkey.example.org", "TXT", recurse, edns))
    assert (read.id, read.flags, read.payload) == (4711, flags, payload)
    assert [question.to_text() for question in read.question] == ["s1._domainkey.example.org. IN TXT"]


@pytest.mark.parametrize(
    ("ident", "name", "rtype", "expected"),
    [(0, "example.org", "TXT", True), (1, "example.org", "TXT", False), (0, "example.net", "TXT", False), (0, "example.org", "A", False)],
)
def test_whether_it_answers_the_question(ident, name, rtype, expected):
    made = message()
    assert dns_wire.reply(made.to_wire()).answers(made.id ^ ident, name, rtype) is expected
    assert not dns_wire.reply(dns.message.make_query("example.org", "TXT", id=7).to_wire()).answers(7, "example.org", "TXT")


def test_damage_is_a_value_error_and_ends():
    wire = message().to_wire()
    read = dns_wire.reply(wire)
    for size in range(len(wire)):
        try:
            short = dns_wire.reply(wire[:size])
        except ValueError:
            continue
        assert (short.answer, short.authority) == (read.answer, read.authority)  # only what we do not read is gone
    dice = random.Random(1)
    for _ in range(5000):
        damaged = bytearray(wire)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            dns_wire.reply(bytes(damaged))
        except ValueError:
            continue


HEAD = b"\0\1\x84\0\0\1\0\1\0\0\0\0"


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"", "the message ends too early"),
        (HEAD + b"\xc0\x0c", "a compressed name points forward"),
        (HEAD + b"\xc0\xff", "a compressed name points forward"),
        (HEAD + b"\x40a\0\0\1\0\1", "a label has an unknown form"),
        (HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", "a name is too long"),
        (HEAD + b"\0\0\1\0\1" + b"\0\0\1\0\1\0\0\0\0\0\4\1\2", "the message ends too early"),
        (HEAD + b"\0\0\5\0\1" + b"\0\0\5\0\1\0\0\0\0\0\1\1a\0", "a name is longer than its record"),
    ],
)
def test_damage(wire, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dns_wire.reply(wire)
