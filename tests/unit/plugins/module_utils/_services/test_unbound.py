# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._services.unbound import forwarder, root_addresses, trust_anchor, values

DS = ". IN DS 20375 13 2 53FC9002F94B83F0194D967C7598F32F65483D581E13FDD6DEB94EC6197940DE"
DIGESTS = "SHA-1 (1) has 40, SHA-256 (2) 64, SHA-384 (4) 96 (RFC 8624 section 3.3)"
HINTS = """
.        3600000 IN NS   ns.test. ; the one
ns.test. 3600000 IN A    198.51.100.2
ns.test. 3600000    AAAA 2001:DB8:100::2
; old.test. 3600000 A 198.51.100.9
"""


@pytest.mark.parametrize(
    "hints, addresses",
    [
        ([], []),
        ("", []),
        (HINTS, ["198.51.100.2", "2001:db8:100::2"]),
        ([{"name": "ns.test", "addresses": ["198.51.100.2", "2001:DB8:100::2"]}], ["198.51.100.2", "2001:db8:100::2"]),
        ([{"name": "a.test", "addresses": ["198.51.100.2"]}, {"name": "b.test", "addresses": ["198.51.100.2"]}], ["198.51.100.2"]),
    ],
)
def test_root_addresses(hints, addresses):
    assert root_addresses(hints) == addresses


@pytest.mark.parametrize(
    "hints, text",
    [
        (". IN NS ns.test.", "root_hints gives no address of a root name server"),
        ([{"name": "ns.test"}], "root_hints {'name': 'ns.test'} must be a dictionary with name and addresses, a list"),
        ([{"addresses": ["ns.test"]}], "root_hints 'ns.test' is not an IPv4 or IPv6 address"),
        ({"ns.test": []}, "root_hints must be a list of dictionaries or the text of a hints file, not dict"),
    ],
)
def test_root_addresses_refused(hints, text):
    with pytest.raises(MailError) as error:
        root_addresses(hints)
    assert str(error.value) == text


@pytest.mark.parametrize(
    "value, line",
    [
        (DS, DS),
        (f". 3600 IN DS 1 13 2 ( {'53FC' * 8}\n {'9002' * 8} ) ; KSK", f". 3600 IN DS 1 13 2 {'53FC' * 8} {'9002' * 8}"),
        ("example.org. DNSKEY 257 3 13 di2U SP8=", "example.org. DNSKEY 257 3 13 di2U SP8="),
    ],
)
def test_trust_anchor(value, line):
    assert trust_anchor(value) == line


@pytest.mark.parametrize("value", ["", "20375 13 2 53FC", '. IN DS 1 13 2 53FC"\nserver:', ". IN TXT x", None, ". IN DNSKEY 257 4 13 AAAA"])
def test_trust_anchor_refused(value):
    with pytest.raises(MailError) as error:
        trust_anchor(value)
    assert str(error.value) == f"trust_anchors {value!r} is not a DS or DNSKEY record in zone file form (RFC 4034 sections 2.2 and 5.3)"


@pytest.mark.parametrize(
    "value, text",
    [
        (". IN DS 1 99 2 " + "ab" * 32, "has the algorithm 99, which Unbound does not validate (RFC 8624 section 3.1)"),
        (". IN DNSKEY 257 3 1 AAAA", "has the algorithm 1, which Unbound does not validate (RFC 8624 section 3.1)"),
        (". IN DS 1 13 2 53FC", f"has a digest of type 2 and 4 digits: {DIGESTS}"),
        (". IN DS 1 13 9 53FC", f"has a digest of type 9 and 4 digits: {DIGESTS}"),
        (". IN DNSKEY 257 3 13 di2USP8x==", "has a public key that is not base64 (RFC 4034 section 2.2)"),
    ],
)
def test_trust_anchor_that_validates_nothing(value, text):
    with pytest.raises(MailError) as error:
        trust_anchor(value)
    assert str(error.value) == f"trust_anchors {value!r} {text}"


@pytest.mark.parametrize(
    "value, way",
    [
        ("example.org", "it is looked up like any other anyway: take it out"),
        ("mail.test", "name 'test', which it is in"),
        ("1.10.in-addr.arpa", "name '10.in-addr.arpa', which it is in"),
    ],
)
def test_ordinary_zones_are_zones_that_unbound_answers_by_itself(value, way):
    with pytest.raises(MailError) as error:
        values({"ordinary_zones": ["test", value]})
    assert str(error.value) == (
        f"resolver_ordinary_zones {value!r} is no zone that Unbound answers by itself (local-zone in unbound.conf(5), RFC 6303): {way}"
    )
    zones = ["Test.", "8.b.d.0.1.0.0.2.ip6.arpa", "31.172.in-addr.arpa"]
    assert values({"ordinary_zones": zones})["ordinary_zones"] == ["31.172.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "test"]


def test_a_forwarder_on_this_host():
    assert values({"forwarders": ["127.0.0.1@5353"]})["asks_localhost"] is True
    assert values({"forwarders": ["198.51.100.2"]})["asks_localhost"] is False
    for value in ("127.0.0.1", "::1@53"):
        with pytest.raises(MailError) as error:
            values({"forwarders": [value]})
        assert str(error.value) == f"resolver_forwarders {value!r} is this resolver itself: name another port, or another host"


@pytest.mark.parametrize(
    "value, text",
    [
        ("198.51.100.2", "198.51.100.2"),
        ("2001:DB8::1@5353", "2001:db8::1@5353"),
        ("198.51.100.2#DNS.example.org", "198.51.100.2#dns.example.org"),
        ("198.51.100.2@853#dns.example.org", "198.51.100.2@853#dns.example.org"),
    ],
)
def test_forwarder(value, text):
    assert forwarder(value) == text


@pytest.mark.parametrize(
    "value, text",
    [
        ("dns.example.org", "forwarders 'dns.example.org' is not of the form ADDRESS[@PORT][#NAME FOR TLS]"),
        ("198.51.100.2@0", "forwarders '198.51.100.2@0' has a port that is not from 1 to 65535"),
        ("198.51.100.999", "forwarders '198.51.100.999' is not an IPv4 or IPv6 address"),
    ],
)
def test_forwarder_refused(value, text):
    with pytest.raises(MailError) as error:
        forwarder(value)
    assert str(error.value) == text


def test_plan_of_nothing():
    assert values({}) == {
        "root_addresses": [],
        "trust_anchors": [],
        "forwarders": [],
        "forwarders_tls": False,
        "asks_localhost": False,
        "ordinary_zones": [],
    }


def test_plan_over_tls_has_its_port():
    found = values({"forwarders": ["198.51.100.2#dns.example.org", "2001:db8::1@8853#dns.example.org"]})
    assert found["forwarders"] == ["198.51.100.2@853#dns.example.org", "2001:db8::1@8853#dns.example.org"]
    assert found["forwarders_tls"] is True


@pytest.mark.parametrize(
    "given, text",
    [
        (
            {"root_hints": HINTS},
            "resolver_root_hints needs resolver_trust_anchors: a private root is not signed with the public root's key",
        ),
        (
            {"root_hints": HINTS, "trust_anchors": [DS], "forwarders": ["198.51.100.3"]},
            "resolver_root_hints and resolver_forwarders exclude each other: either ask the root or somebody else",
        ),
        (
            {"forwarders": ["198.51.100.2#dns.example.org", "198.51.100.3"]},
            "resolver_forwarders: either all have a name for TLS after '#' or none has",
        ),
    ],
)
def test_plan_refused(given, text):
    with pytest.raises(MailError) as error:
        values(given)
    assert str(error.value) == text
