# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import difflib

import dns.rdatatype
import dns.zone
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import zone_file
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

TODAY = 20261122

ZONE = """\
; the zone of the example
$TTL 1h
$ORIGIN example.org.
@   IN  SOA ns1 hostmaster (
        2026010203  ; serial
        7200 3600   ; refresh, retry
        2w          ; expire
        300 )
        IN  NS  ns1
        IN  NS  ns2.example.net.
        IN  MX  10 mail         ; the only one
        IN  TXT "v=spf1 mx -all"        ; SPF; with a semicolon
        IN  TXT "site-verification=abc;def" "ghi"
ns1     300 IN A 192.0.2.1
mail        A       192.0.2.25
            AAAA    2001:db8::25
; DKIM
s1._domainkey  IN TXT ( "v=DKIM1; k=rsa; "   ; first
                        "p=AAAA" ) ; last
old     TXT one
        TXT two
www     CNAME mail
$ORIGIN sub.example.org.
host    A 192.0.2.77
child   NS ns.child
"""


def item(name, rtype="TXT", values=(), ttl=3600, state="present", owned_prefix=None):
    given = {"ttl": ttl, "state": state, "owned_prefix": owned_prefix}
    return {"name": name, "zone": "example.org", "type": rtype, "values": list(values), **given}


def change(text, *items, zone="example.org", included=None, today=TODAY):
    file = zone_file.parse(text, zone, included)
    batch = dns_plan.in_zones(dns_plan.wanted_records(items), {})
    found = {wanted.key: file.rrset(*wanted.key) for wanted in batch}
    found.update({(wanted.name, "CNAME"): file.rrset(wanted.name, "CNAME") for wanted in batch})
    return zone_file.edit(file, dns_plan.plan(batch, found, {wanted.name: file.types(wanted.name) for wanted in batch}), today)


def touched(before, after):
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


SERIAL = ["-        2026010203  ; serial", "+        2026112201  ; serial"]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param([item("@", values=["v=spf1 mx -all"], owned_prefix="v=spf1")], [], id="nothing to do"),
        pytest.param([item("s1._domainkey", values=["v=DKIM1; k=rsa; p=AAAA"], state="exact")], [], id="other splitting is no change"),
        pytest.param([item("@", "MX", ["10 MAIL.example.org"], state="exact")], [], id="names have no case"),
        pytest.param(
            [item("@", values=["v=spf1 mx ~all"], owned_prefix="v=spf1")],
            [
                *SERIAL,
                '-        IN  TXT "v=spf1 mx -all"        ; SPF; with a semicolon',
                '+        IN  TXT "v=spf1 mx ~all"        ; SPF; with a semicolon',
            ],
            id="a value is replaced in its place, comment kept",
        ),
        pytest.param(
            [item("s1._domainkey", values=["v=DKIM1; k=rsa; p=BBBB"], state="exact")],
            [
                *SERIAL,
                '-s1._domainkey  IN TXT ( "v=DKIM1; k=rsa; "   ; first',
                '-                        "p=AAAA" ) ; last',
                '+s1._domainkey  IN TXT "v=DKIM1; k=rsa; p=BBBB" ; last',
            ],
            id="over several lines",
        ),
        pytest.param(
            [item("_dmarc", values=["v=DMARC1; p=none"])],
            [*SERIAL, '+_dmarc.example.org.\tIN\tTXT\t"v=DMARC1; p=none"'],
            id="a new name goes to the end, absolute under another origin",
        ),
        pytest.param(
            [item("new.sub.example.org", "A", ["192.0.2.78"], ttl=60)],
            [*SERIAL, "+new\t60\tIN\tA\t192.0.2.78"],
            id="relative to the origin in force",
        ),
        pytest.param(
            [item("mail", values=["text"])],
            [*SERIAL, '+mail\tIN\tTXT\t"text"'],
            id="another type goes behind its name",
        ),
        pytest.param(
            [item("@", "MX", ["20 mail2.example.org"])],
            [*SERIAL, "+@\tIN\tMX\t20 mail2.example.org."],
            id="another value goes behind the others",
        ),
        pytest.param(
            [item("mail", "A", ["192.0.2.25"], ttl=60)],
            [*SERIAL, "-mail        A       192.0.2.25", "+mail        60 A       192.0.2.25"],
            id="TTL put in",
        ),
        pytest.param(
            [item("ns1", "A", ["192.0.2.1"], ttl=600)],
            [*SERIAL, "-ns1     300 IN A 192.0.2.1", "+ns1     600 IN A 192.0.2.1"],
            id="TTL replaced",
        ),
        pytest.param(
            [item("mail", "A", state="absent")],
            [
                *SERIAL,
                "-mail        A       192.0.2.25",
                "-            AAAA    2001:db8::25",
                "+mail            AAAA    2001:db8::25",
            ],
            id="the name moves to the next line",
        ),
        pytest.param(
            [item("old", values=["three"], state="exact")],
            [*SERIAL, "-old     TXT one", "-        TXT two", '+old     TXT "three"'],
            id="two become one",
        ),
        pytest.param([item("old", state="absent")], [*SERIAL, "-old     TXT one", "-        TXT two"], id="all of a name go"),
        pytest.param(
            [item("www", "CNAME", state="absent"), item("www", "A", ["192.0.2.80"])],
            [*SERIAL, "-www     CNAME mail", "+www\tIN\tA\t192.0.2.80"],
            id="an alias gives way to an address",
        ),
    ],
)
def test_only_the_lines_concerned_are_touched(items, expected):
    after = change(ZONE, *items)
    assert touched(ZONE, after) == expected
    assert change(after, *items) == after


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param(
            [item("www", values=["x"])],
            "www.example.org: there is a CNAME to mail.example.org., and nothing stands beside a CNAME (RFC 1034 section 3.6.2): "
            "a server would drop the TXT silently (RFC 2136 section 3.4.2.2)",
            id="beside a CNAME",
        ),
        pytest.param(
            [item("mail", "CNAME", ["other.example.org"])],
            "mail.example.org: a CNAME stands alone at its name, and there is A, AAAA (RFC 1034 section 3.6.2)",
            id="a CNAME beside others",
        ),
        pytest.param(
            [item("x.child.sub.example.org", values=["x"])],
            "line 25: 'child.sub.example.org' has NS records, so 'x.child.sub.example.org' is not in zone 'example.org'",
            id="delegated",
        ),
    ],
)
def test_what_cannot_stand_there(items, message):
    with pytest.raises(MailError) as caught:
        change(ZONE, *items)
    assert str(caught.value) == message


def test_crlf_and_octets_and_missing_last_newline_stay():
    text = "$TTL 60\r\n@ SOA a b 5 1 1 1 1\r\n@ NS ns.example.net.\r\n; gr\xc3\xbc\xdfe \xff\r\nx TXT a"
    after = change(text, item("y", values=["b"], ttl=60))
    assert after == text.replace(" 5 1", " 6 1") + '\r\ny\tIN\tTXT\t"b"\r\n'


def test_an_independent_parser_agrees():
    items = [
        item("@", values=["v=spf1 mx ~all"], owned_prefix="v=spf1"),
        item("s1._domainkey", values=["v=DKIM1; k=rsa; p=" + "B" * 700], state="exact"),
        item("quote", values=['a "quoted" \\ text; more']),
        item("mail", "A", state="absent"),
        item("_25._tcp.mail", "TLSA", ["3 1 1 " + "ab" * 32]),
        item("@", "CAA", ["0 issue letsencrypt.org"]),
        item("_submissions._tcp", "SRV", ["0 1 465 mail.example.org"]),
    ]
    old, new = (dns.zone.from_text(text, "example.org", relativize=False) for text in (ZONE, change(ZONE, *items)))
    origin = old.origin

    def records(zone):
        found = {(str(name), dns.rdatatype.to_text(rdata.rdtype), ttl, str(rdata)) for name, ttl, rdata in zone.iterate_rdatas()}
        return {record for record in found if record[1] != "SOA"}

    long = "v=DKIM1; k=rsa; p=" + "B" * 700
    assert records(old) - records(new) == {
        ("example.org.", "TXT", 3600, '"v=spf1 mx -all"'),
        ("s1._domainkey.example.org.", "TXT", 3600, '"v=DKIM1; k=rsa; " "p=AAAA"'),
        ("mail.example.org.", "A", 3600, "192.0.2.25"),
    }
    assert records(new) - records(old) == {
        ("example.org.", "TXT", 3600, '"v=spf1 mx ~all"'),
        ("s1._domainkey.example.org.", "TXT", 3600, f'"{long[:255]}" "{long[255:510]}" "{long[510:]}"'),
        ("quote.example.org.", "TXT", 3600, '"a \\"quoted\\" \\\\ text; more"'),
        ("_25._tcp.mail.example.org.", "TLSA", 3600, "3 1 1 " + "ab" * 32),
        ("example.org.", "CAA", 3600, '0 issue "letsencrypt.org"'),
        ("_submissions._tcp.example.org.", "SRV", 3600, "0 1 465 mail.example.org."),
    }
    serials = [zone.find_rdataset(origin, "SOA")[0].serial for zone in (old, new)]
    assert serials == [2026010203, 2026112201]


@pytest.mark.parametrize(
    ("serial", "expected"),
    [
        (2026010203, 2026112201),
        (2026112200, 2026112201),
        (2026112201, 2026112202),
        (2026112299, 2026112300),
        (2026123107, 2026123108),
        (1, 2),
        (41, 42),
        (1700000000, 1700000001),
        (4294967295, 1),
        (4294967294, 4294967295),
        (2026130101, 2026130102),
    ],
)
def test_next_serial(serial, expected):
    assert zone_file.next_serial(serial, TODAY) == expected


HEAD = "$TTL 60\n@ SOA a b 5 1 1 1 1\n@ NS ns.example.net.\n"


@pytest.mark.parametrize(
    ("text", "items", "included", "message"),
    [
        (HEAD + 'x TXT "open\n', [item("y", values=["b"])], {}, "line 4: a quotation mark is not closed on its line"),
        (HEAD + "x TXT ( a\n", [item("y", values=["b"])], {}, "line 4: '(' is never closed"),
        (HEAD + "x TXT a )\n", [item("y", values=["b"])], {}, "line 4: ')' without '('"),
        (HEAD + "$FOO bar\n", [item("y", values=["b"])], {}, "line 4: directive $FOO is not understood"),
        (HEAD + "x CH TXT a\n", [item("y", values=["b"])], {}, "line 4: class CH is not understood"),
        ("$TTL 60\nx TXT a\n", [item("y", values=["b"])], {}, "the file has no SOA record of zone 'example.org'"),
        (
            HEAD.replace("@ SOA", "example.net. SOA"),
            [item("y", values=["b"])],
            {},
            "the file has no SOA record of zone 'example.org'; it has that of 'example.net'",
        ),
        (
            HEAD + "x RRSIG A 8 2 60 2 1 1 example.org. AAAA\n",
            [item("y", values=["b"])],
            {},
            "the file is the output of a signer (it has RRSIG or NSEC records): edit the unsigned one",
        ),
        (
            HEAD + "$INCLUDE more\n",
            [item("y", values=["b"])],
            {},
            "line 4: the included file 'more' cannot be read, so what it has is not known",
        ),
        (
            HEAD + "$INCLUDE more\n",
            [item("y", values=["b"])],
            {"more": "\n\ny TXT a\n"},
            "TXT at y.example.org stands in the included file 'more', line 3: edit it there",
        ),
        (
            HEAD + "$INCLUDE more\n",
            [item("y", values=["b"])],
            {"more": "$TTL 5\n"},
            "line 4: line 1 of more: $TTL in an included file: servers differ in what it means for the rest of the including one",
        ),
        (
            HEAD + "$GENERATE 1-9 host-$ A 192.0.2.$\n",
            [item("host-3", "A", ["192.0.2.99"], state="exact")],
            {},
            "line 4: 'host-3.example.org' may come out of this $GENERATE line, which cannot be edited",
        ),
        (
            "@ 60 SOA a b 5 1 1 1 1\n@ NS ns.example.net.\nx 90 TXT a\ny TXT b\n",
            [item("x", state="absent")],
            {},
            "the file cannot be edited safely: TXT at y.example.org would change, too; "
            "without a $TTL line a record takes the TTL of the one before it: add one",
        ),
        (
            HEAD + "x ( TXT a )\n",
            [item("x", values=["b"], state="exact", ttl=60)],
            {},
            "line 4: the parenthesis stands before the record type; write the record on one line",
        ),
        *[
            (HEAD + f"{line}\n", [item("y", values=["b"])], {}, f"line 4: {why}")
            for line, why in (
                ("x MX ten mail", "the MX record is damaged: number 'ten' is not a number from 0 to 65535"),
                ("x MX \xb2 mail", "the MX record is damaged: number '\xb2' is not a number from 0 to 65535"),
                ("x CAA x issue y", "the CAA record is damaged: flags 'x' is not a number from 0 to 255"),
                ("x CAA 0 issue", "the CAA record is damaged"),
                ("x TLSA 3 1 256 ab", "the TLSA record is damaged: number '256' is not a number from 0 to 255"),
                ("x TLSA 3 1 1 abc", "the TLSA record is damaged"),
                ("x A 192.0.2.256", "the A record is damaged"),
                ("x AAAA 2001:db8::1%eth0", "the AAAA record is damaged: address '2001:db8::1%eth0' has a zone identifier"),
                ("x TYPE16 \\# \xb2 0161", "length '\xb2' is not a number from 0 to 65535"),
                ("$TTL 1e3", "'1e3' is not a time"),
                ("x 3000000000 TXT a", "TTL '3000000000' is not a number from 0 to 2147483647"),
                ("x 9999w TXT a", "TTL '9999w' is more than 2147483647 seconds (RFC 2181 section 8)"),
                ("x TXT a\rz TXT b", "a carriage return without a line feed: servers differ in whether it ends the line"),
                ("$GENERATE 1-3 x$ 60", "directive $GENERATE is not understood"),
                ("$GENERATE 1-3 x$ 60 IN", "$GENERATE has no record type"),
            )
        ],
        (
            "$TTL 60\n@ SOA a b \xb2 1 1 1 1\n@ NS ns.example.net.\n",
            [item("y", values=["b"])],
            {},
            "line 2: SOA serial '\xb2' is not a number from 0 to 4294967295",
        ),
    ],
)
def test_what_cannot_be_edited_is_refused(text, items, included, message):
    with pytest.raises(MailError) as caught:
        change(text, *items, included=included)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("line", "name", "message"),
    [
        ("host-$ A 192.0.2.$", "host-3", "'host-3.example.org' may come out of this $GENERATE line, which cannot be edited"),
        ("@ TXT x$", "@", "'example.org' may come out of this $GENERATE line, which cannot be edited"),
        ("fix TXT x$", "fix", "'fix.example.org' may come out of this $GENERATE line, which cannot be edited"),
        (r"\$$ TXT x", None, None),
        (r"\104${0,3,d} TXT x", "h001", "'h001.example.org' may come out of this $GENERATE line, which cannot be edited"),
        ("H${-4,2,X}.w TXT x", "h0a.w.example.org", "'h0a.w.example.org' may come out of this $GENERATE line, which cannot be edited"),
        ("n${0,7,n} TXT x", "n1.2.3.0.example.org", "'n1.2.3.0.example.org' may come out of this $GENERATE line, which cannot be edited"),
        ("s$ 60 IN NS ns.example.net.", "mail.s2.example.org",
         "'s2.example.org' may have NS records by this $GENERATE line, and 'mail.s2.example.org' would then not be in zone 'example.org'"),
        ("s$ DNAME example.net.", "b.s2.example.org",
         "'s2.example.org' may have DNAME records by this $GENERATE line, and 'b.s2.example.org' would then not be in zone 'example.org'"),
        ("s$ A 192.0.2.$", "mail.s2.example.org", None),
        ("host-$ A 192.0.2.$", "host-x", None),
    ],
)  # fmt: skip
def test_a_name_that_generate_may_make_is_not_known(line, name, message):
    file = zone_file.parse(HEAD + f"$GENERATE 1-9 {line}\n", "example.org")
    owner = "$1.example.org" if name is None else dns_plan.absolute_name(name, "example.org")
    if message is None:
        assert zone_file.check_authority(file, owner) is None
        return
    with pytest.raises(MailError) as caught:
        zone_file.check_authority(file, owner)
    assert str(caught.value) == f"line 4: {message}"


@pytest.mark.parametrize(
    ("text", "ttls"),
    [
        ("@ SOA a b 5 1 1 1 7\n@ NS n.\nx 90 TXT a\ny TXT b\n", {"x": 90, "y": 7}),  # the SOA minimum, for the whole file
        ("@ SOA a b 5 1 1 1 7\n@ NS n.\n$TTL 30\ny TXT b\n", {"y": 30}),
        ("@ 50 SOA a b 5 1 1 1 7\n@ NS n.\nx 90 TXT a\ny TXT b\n", {"x": 90, "y": 90}),  # that of the line before
        ("@ 50 SOA a b 5 1 1 1 7\n@ NS n.\n$GENERATE 1-2 g$ 77 A 192.0.2.$\ny TXT b\n", {"y": 77}),
        ("@ 50 SOA a b 5 1 1 1 7\n@ NS n.\n$GENERATE 1-2 g$ IN 1m A 192.0.2.$\ny TXT b\n", {"y": 60}),
        ("@ 50 SOA a b 5 1 1 1 7\n@ NS n.\nx 60 TXT a\nx 70 TXT b\ny TXT c\n", {"x": 60, "y": 60}),
        ('$TTL 50\n@ SOA a b 5 1 1 1 7\n@ NS n.\n"x" TXT a\n"y.example.org." 60 TXT b\n', {"x": 50, "y": 60}),
    ],
)
def test_times_to_live_are_those_of_bind(text, ttls):
    file = zone_file.parse(text, "example.org")
    assert {name: file.rrset(f"{name}.example.org", "TXT").ttl for name in ttls} == ttls


def test_lines_of_one_rrset_with_several_times_to_live_get_one():
    text = HEAD + "x 300 TXT a\nz TXT c\nx 400 TXT b\n"
    wanted = item("x", values=["a", "b"], ttl=300)
    assert touched(text, change(text, wanted))[2:] == ["-x 400 TXT b", "+x 300 TXT b"]
    assert change(text, item("x", values=["d"], state="absent")) == text
    assert touched(text, change(text, item("x", values=["a"], state="absent")))[2:] == ["-x 300 TXT a", "-x 400 TXT b", "+x 300 TXT b"]


@pytest.mark.parametrize("line", ["_1._tcp TLSA 255 255 255 abcd", "m AAAA ::ffff:192.0.2.1", "m MX 5 .", 'c CAA 1 x "a\\"b"'])
def test_records_that_we_would_not_publish_do_not_block_others(line):
    text = HEAD + f"{line}\n"
    assert touched(text, change(text, item("y", values=["b"], ttl=60)))[2:] == ['+y\tIN\tTXT\t"b"']


def test_what_a_servers_own_program_reads_is_compared_with_what_was_meant():
    file = zone_file.parse(HEAD + "x TXT a\nz TXT c\n", "example.org")
    batch = dns_plan.in_zones(dns_plan.wanted_records([item("x", values=["b"], state="exact", ttl=60)]), {})
    changes = dns_plan.plan(batch, {("x.example.org", "TXT"): file.rrset("x.example.org", "TXT")}, {})
    before, after = HEAD + "x TXT a\nz TXT c\n", HEAD + "x TXT b\nz TXT c\n"
    assert zone_file.confirm("example.org", after, before, changes, "checker") is None
    for printed, printed_before, message in (
        (before, before, "as checker reads the new file, TXT at x.example.org is not what was meant: 60 TXT \"a\""),
        (HEAD + "x TXT b\n", before, "as checker reads the new file, TXT at z.example.org is not what was meant: nothing"),
        (HEAD + "x 61 TXT b\n", None, "as checker reads the new file, TXT at x.example.org is not what was meant: 61 TXT \"b\""),
        ("garbage", before, "what checker prints of the zone is not understood: line 1: there is no record type"),
    ):
        with pytest.raises(MailError) as caught:
            zone_file.confirm("example.org", printed, printed_before, changes, "checker")
        assert str(caught.value) == message


def test_records_around_includes_and_generate_lines_can_be_edited():
    text = HEAD + "$GENERATE 1-9 host-$ A 192.0.2.$\n$INCLUDE more\nx TXT a\n"
    after = change(text, item("x", values=["b"], state="exact", ttl=60), included={"more": "z TXT a\n"})
    assert touched(text, after) == ["-@ SOA a b 5 1 1 1 1", "+@ SOA a b 6 1 1 1 1", "-x TXT a", '+x TXT "b"']


@pytest.mark.parametrize(
    ("line", "name", "rtype", "values", "ttl"),
    [
        ("x 1h30m IN TXT a", "x.example.org", "TXT", ["a"], 5400),
        ("x IN 90 TXT a", "x.example.org", "TXT", ["a"], 90),
        ("X.Example.ORG. txt a", "x.example.org", "TXT", ["a"], 60),
        ('x TXT "a;b" c', "x.example.org", "TXT", ["a;bc"], 60),
        (r'x TXT "a\"b\\c\065"', "x.example.org", "TXT", ['a"b\\cA'], 60),
        (r"x TYPE16 \# 2 0161", "x.example.org", "TXT", ["a"], 60),
        (r"x TXT \# 4 03616263", "x.example.org", "TXT", ["abc"], 60),
        ("x SRV 0 1 465 mail", "x.example.org", "SRV", ["0 1 465 mail.example.org."], 60),
        ("x TLSA 3 1 1 (" + "ab" * 16 + " " + "CD" * 16 + ")", "x.example.org", "TLSA", ["3 1 1 " + "ab" * 16 + "cd" * 16], 60),
        ('x CAA 0 issue "ca.example; a=b"', "x.example.org", "CAA", ['0 issue "ca.example; a=b"'], 60),
        ("300 A 192.0.2.1", "300.example.org", "A", ["192.0.2.1"], 60),
    ],
)
def test_reading(line, name, rtype, values, ttl):
    rrset = zone_file.parse(HEAD + line + "\n", "example.org").rrset(name, rtype)
    assert (rrset.texts, rrset.ttl) == (values, ttl)


def test_a_classless_reverse_zone():
    zone = "0/25.2.0.192.in-addr.arpa"
    text = "$TTL 1h\n@ IN SOA ns1.example.org. host.example.org. 2026010203 7200 3600 2w 300\n@ IN NS ns1.example.org.\n"
    wanted = {**item("25", "PTR", ["mail.example.org"]), "zone": zone}
    after = change(text, wanted, zone=zone)
    assert touched(text, after)[-1].split() == ["+25", "IN", "PTR", "mail.example.org."]
    assert change(after, wanted, zone=zone) == after
