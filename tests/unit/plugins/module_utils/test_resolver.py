# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._resolver import forwarder, plan, root_addresses, trust_anchor

DS = ". IN DS 20375 13 2 53FC9002F94B83F0194D967C7598F32F65483D581E13FDD6DEB94EC6197940DE"
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
        (". 3600 IN DS 1 13 2 ( 53FC\n 9002 ) ; KSK", ". 3600 IN DS 1 13 2 53FC 9002"),
        ("example.org. DNSKEY 257 3 13 di2USP8x==", "example.org. DNSKEY 257 3 13 di2USP8x=="),
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
    assert plan({}) == {
        "root_addresses": [],
        "trust_anchors": [],
        "forwarders": [],
        "forwarders_tls": False,
        "ordinary_zones": [],
    }


def test_plan_over_tls_has_its_port():
    found = plan({"forwarders": ["198.51.100.2#dns.example.org", "2001:db8::1@8853#dns.example.org"]})
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
        plan(given)
    assert str(error.value) == text
