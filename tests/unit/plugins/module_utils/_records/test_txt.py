# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The strings of TXT values and their text in a zone file, as dnspython reads them back."""

from __future__ import annotations

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.zone
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import txt

EVERY_ASCII = "".join(map(chr, range(128)))


@pytest.mark.parametrize(("octets", "sizes"), [(0, [0]), (1, [1]), (255, [255]), (256, [255, 1]), (510, [255, 255]), (511, [255, 255, 1])])
def test_strings(octets, sizes):
    parts = txt.strings("x" * octets)
    assert [len(part) for part in parts] == sizes
    assert "".join(parts) == "x" * octets


@pytest.mark.parametrize("value", [
    "", "v=spf1 -all", 'a "quoted" \\ value; v=1', " spaces  at both ends ", "\t\n\x7f", EVERY_ASCII, EVERY_ASCII * 5, "(x) ; $TTL @",
])
def test_a_zone_file_gives_the_value_back(value):
    parsed = dns.rdata.from_text("IN", "TXT", txt.presentation(value))
    assert b"".join(parsed.strings) == value.encode()
    text = f"@ 300 IN SOA ns hostmaster 1 1 1 1 1\n@ 300 IN NS ns\n{txt.zone_line('a_b.example.org', value, 300)}\n"
    zone = dns.zone.from_text(text, "example.org", check_origin=False)
    assert next(iter(zone.find_rdataset("a_b", "TXT"))) == parsed


def test_a_line():
    assert txt.zone_line("A.example.org.", ["x", 'y"'], 60) == 'a.example.org. 60 IN TXT "x" "y\\""'
    assert txt.zone_line("*.example.org", "x") == '*.example.org. IN TXT "x"'


@pytest.mark.parametrize(("call", "text"), [
    (lambda: txt.strings("é"), "value 'é' is not ASCII, and no rule says how a TXT record would encode it (RFC 1035 section 3.3.14)"),
    (lambda: txt.strings(1), "value 1 must be a string, not int"),
    (lambda: txt.strings("x" * 65535), "value of 65535 octets does not fit a TXT record of 65535 octets (RFC 1035 section 3.2.1)"),
    (lambda: txt.presentation(["x" * 256]), "value has a string of 256 octets; one string holds at most 255 (RFC 1035 section 3.3)"),
])
def test_errors(call, text):
    with pytest.raises(MailError) as error:
        call()
    assert str(error.value) == text


def test_the_longest_value_that_fits():
    value = "x" * (65535 - 257)
    assert len(dns.rdtypes.ANY.TXT.TXT("IN", "TXT", [part.encode() for part in txt.strings(value)]).to_wire()) <= 65535
