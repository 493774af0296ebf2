# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import rdata
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

SHA256 = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("rtype", "value", "text", "zone_text"),
    [
        ("A", "192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("AAAA", "2001:DB8:0::1", "2001:db8::1", "2001:db8::1"),
        ("MX", "10 mail.example.org", "10 mail.example.org.", "10 mail.example.org."),
        ("MX", " 10  Mail.Example.org. ", "10 mail.example.org.", "10 mail.example.org."),
        ("MX", "0 .", "0 .", "0 ."),
        ("TXT", "v=spf1 -all", "v=spf1 -all", '"v=spf1 -all"'),
        ("TXT", 'a "b" \\ ;', 'a "b" \\ ;', '"a \\"b\\" \\\\ ;"'),
        ("TXT", " spaces stay ", " spaces stay ", '" spaces stay "'),
        ("TXT", "x" * 255, "x" * 255, '"' + "x" * 255 + '"'),
        ("TXT", "x" * 256, "x" * 256, '"' + "x" * 255 + '" "x"'),
        ("CNAME", "a._domainkey.example.net", "a._domainkey.example.net.", "a._domainkey.example.net."),
        ("SRV", "0 1 465 mail.example.org", "0 1 465 mail.example.org.", "0 1 465 mail.example.org."),
        ("SRV", "0 0 0 .", "0 0 0 .", "0 0 0 ."),
        ("TLSA", f"3 1 1 {SHA256.upper()}", f"3 1 1 {SHA256}", f"3 1 1 {SHA256}"),
        ("TLSA", f"3 1 1 {SHA256[:32]} {SHA256[32:]}", f"3 1 1 {SHA256}", f"3 1 1 {SHA256}"),
        ("TLSA", "3 0 0 30", "3 0 0 30", "3 0 0 30"),
        ("CAA", "0 issue letsencrypt.org", '0 issue "letsencrypt.org"', '0 issue "letsencrypt.org"'),
        ("CAA", '128 issue "ca.example; a=b"', '128 issue "ca.example; a=b"', '128 issue "ca.example; a=b"'),
        ("PTR", "mail.example.org", "mail.example.org.", "mail.example.org."),
    ],
)
def test_values(rtype, value, text, zone_text):
    made = rdata.from_text(rtype, value)
    assert (made.text, made.zone_text) == (text, zone_text)
    # An independent library reads the same from the wire, and the same wire from the text.
    code = dns.rdatatype.from_text(rtype)
    theirs = dns.rdata.from_wire(dns.rdataclass.IN, code, made.wire, 0, len(made.wire))
    assert theirs == dns.rdata.from_text(dns.rdataclass.IN, code, zone_text)
    assert theirs.to_wire() == made.wire
    assert rdata.from_text(rtype, made.text) == made


@pytest.mark.parametrize(
    ("rtype", "value", "message"),
    [
        ("A", "2001:db8::1", "A value '2001:db8::1': an A value is one IPv4 address (RFC 1035 section 3.4.1)"),
        ("A", "192.0.2.01", "A value '192.0.2.01': an A value is one IPv4 address (RFC 1035 section 3.4.1)"),
        ("AAAA", "192.0.2.1", "AAAA value '192.0.2.1': an AAAA value is one IPv6 address (RFC 3596 section 2.2)"),
        ("AAAA", "fe80::1%eth0", "AAAA value 'fe80::1%eth0': an AAAA value has no zone identifier (RFC 3596 section 2.2)"),
        (
            "AAAA",
            "::ffff:192.0.2.1",
            "AAAA value '::ffff:192.0.2.1': an IPv4-mapped address does not belong in an AAAA record: write an A record",
        ),
        ("MX", "mail.example.org", "MX value 'mail.example.org': a MX value has the form 'PREFERENCE HOST'"),
        ("MX", "65536 mail.example.org", "MX value '65536 mail.example.org': MX preference '65536' is not a number from 0 to 65535"),
        ("MX", "10 .", "MX value '10 .': the null MX is '0 .' (RFC 7505 section 3)"),
        (
            "MX",
            "10 mail",
            "MX value '10 mail': MX host 'mail' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)",
        ),
        (
            "MX",
            "10 192.0.2.1",
            "MX value '10 192.0.2.1': MX host '192.0.2.1' must not end in a number: that is an address, not a name (RFC 1123 section 2.1)",
        ),
        ("TXT", "", "TXT value '': a TXT value must not be empty"),
        (
            "TXT",
            "grüße",
            "TXT value 'grüße': 'ü' is not ASCII, and DNS has no rule for what octets it would be: set txt_encoding=utf-8 to choose one",
        ),
        (
            "TXT",
            '"v=spf1 -all"',
            "TXT value '\"v=spf1 -all\"': the value is in quotation marks, which would be published: write it plain, "
            "it is quoted and split where needed",
        ),
        ("TXT", "a\nb", "TXT value 'a\\nb': a TXT value must not contain the control character '\\n'"),
        (
            "TXT",
            "x" * 65280,
            f"TXT value '{'x' * 77}...': 65280 octets need 65536 octets of record data, and a record holds 65535 (RFC 1035 section 3.2.1)",
        ),
        ("CNAME", "mail", "CNAME value 'mail': a CNAME target must be fully qualified"),
        ("SRV", "0 1 mail.example.org", "SRV value '0 1 mail.example.org': a SRV value has the form 'PRIORITY WEIGHT PORT TARGET'"),
        ("SRV", "0 1 x mail.example.org", "SRV value '0 1 x mail.example.org': SRV port 'x' is not a number from 0 to 65535"),
        ("TLSA", "3 1 1", "TLSA value '3 1 1': a TLSA value has the form 'USAGE SELECTOR MATCHING-TYPE HEX'"),
        ("TLSA", "4 1 1 ab", "TLSA value '4 1 1 ab': TLSA usage '4' is not a number from 0 to 3"),
        ("TLSA", "3 1 1 ab", "TLSA value '3 1 1 ab': TLSA data of matching type 1 has 32 octets, not 1 (RFC 6698)"),
        ("TLSA", "3 1 0 xyz", "TLSA value '3 1 0 xyz': TLSA data must be hexadecimal (RFC 6698 section 2.2)"),
        ("CAA", "0 issue", "CAA value '0 issue': a CAA value has the form 'FLAGS TAG VALUE'"),
        ("CAA", "256 issue x", "CAA value '256 issue x': CAA flags '256' is not a number from 0 to 255"),
        ("CAA", "0 is-sue x", "CAA value '0 is-sue x': CAA tag 'is-sue' must be letters and digits (RFC 8659 section 4.1)"),
        ("PTR", "mail_1.example.org", None),
        ("NS", "ns1.example.org", "type 'NS' is not one of A, AAAA, MX, TXT, CNAME, SRV, TLSA, CAA, PTR"),
        ("TXT", 5, "TXT value 5 must be a string, not int"),
    ],
)
def test_values_that_are_none(rtype, value, message):
    with pytest.raises(MailError) as caught:
        rdata.from_text(rtype, value)
    if message is None:  # the rule of another file; only that it is applied
        assert str(caught.value).startswith(f"{rtype} value {value!r}: ")
    else:
        assert str(caught.value) == message


def test_half_of_a_surrogate_pair_is_no_utf8():
    with pytest.raises(MailError) as caught:
        rdata.from_text("TXT", "a\ud800", "utf-8")
    assert str(caught.value) == (
        "TXT value 'a\\ud800': '\\ud800' is half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)"
    )


def test_utf8_by_choice():
    made = rdata.from_text("TXT", "grüße", "utf-8")
    assert made.strings == ["grüße".encode()]
    assert made.text == "grüße"
    assert made.zone_text == '"gr\\195\\188\\195\\159e"'


@pytest.mark.parametrize(
    ("rtype", "one", "other", "same"),
    [
        ("TXT", b"\x03abc", b"\x01a\x02bc", True),
        ("TXT", b"\x03abc", b"\x03ABC", False),
        ("MX", b"\x00\x0a\x04MAIL\x00", b"\x00\x0a\x04mail\x00", True),
        ("MX", b"\x00\x0a\x04mail\x00", b"\x00\x0b\x04mail\x00", False),
        ("SRV", b"AAAAAA\x01a\x00", b"aaaaaa\x01a\x00", False),
        ("CAA", b"\x00\x05ISSUEca", b"\x00\x05issueca", True),
        ("CAA", b"\x00\x05issueCA", b"\x00\x05issueca", False),
    ],
)
def test_what_counts_as_equal(rtype, one, other, same):
    assert (rdata.Rdata(rtype, one).key == rdata.Rdata(rtype, other).key) is same


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        (".", b"\0"),
        ("example.org", b"\x07example\x03org\0"),
        ("example.org.", b"\x07example\x03org\0"),
        (r"a\.b.org", b"\x03a.b\x03org\0"),
        (r"a\046b.org", b"\x03a.b\x03org\0"),
    ],
)
def test_names(name, wire):
    assert rdata.name_wire(name) == wire
    assert rdata.name_wire(rdata.name_text(wire)) == wire


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".org", ".".join(["x" * 63] * 4), "a\\"])
def test_names_that_are_none(name):
    with pytest.raises(MailError):
        rdata.name_wire(name)
