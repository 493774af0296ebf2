# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DMARC records: what is written and what is read."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import dmarc

BUILT = [
    # arguments, the record
    ({}, "v=DMARC1; p=none"),
    ({"policy": "reject"}, "v=DMARC1; p=reject"),
    ({"policy": "quarantine", "rua": ["me@example.org"]}, "v=DMARC1; p=quarantine; rua=mailto:me@example.org"),
    ({"rua": ["mailto:A@example.org", "a@EXAMPLE.org", "https://example.net/dmarc"]},
     "v=DMARC1; p=none; rua=mailto:a@example.org,https://example.net/dmarc"),
    ({"rua": ["a!b@example.org"]}, "v=DMARC1; p=none; rua=mailto:a%21b@example.org"),
    ({"rua": ["mailto:a%21b@example.org"]}, "v=DMARC1; p=none; rua=mailto:a%21b@example.org"),
    ({"rua": ["https://example.net/a,b;c!d"]}, "v=DMARC1; p=none; rua=https://example.net/a%2Cb%3Bc%21d"),
    ({"policy": "reject", "subdomain_policy": "none", "nonexistent_policy": "reject"}, "v=DMARC1; p=reject; sp=none; np=reject"),
    ({"adkim": "s", "aspf": "s"}, "v=DMARC1; p=none; adkim=s; aspf=s"),
    ({"adkim": "r", "aspf": "r", "public_suffix": "u", "percent": 100, "testing": False}, "v=DMARC1; p=none"),
    ({"policy": "reject", "testing": True, "public_suffix": "n"}, "v=DMARC1; p=reject; t=y; psd=n"),
    ({"policy": "quarantine", "percent": 20}, "v=DMARC1; p=quarantine; pct=20"),
    ({"ruf": ["f@example.org"], "failure_options": ["1", "d", "1"]}, "v=DMARC1; p=none; ruf=mailto:f@example.org; fo=1:d"),
    ({"ruf": ["f@example.org"], "failure_options": ["0"]}, "v=DMARC1; p=none; ruf=mailto:f@example.org"),
]


@pytest.mark.parametrize(("arguments", "record"), BUILT, ids=[row[1] for row in BUILT])
def test_build_and_read_back(arguments, record):
    assert dmarc.build(**arguments) == record
    found = dmarc.parse(record)
    assert found["policy"] == arguments.get("policy", "none")
    assert found["subdomain_policy"] == arguments.get("subdomain_policy")
    assert found["adkim"] == arguments.get("adkim", "r") and found["testing"] == arguments.get("testing", False)
    assert found["warnings"] == (["pct= is historic and means nothing to readers of RFC 9989"] if "pct=" in record else [])


REFUSED = [
    ({"policy": "deny"}, "policy 'deny' must be one of: none, quarantine, reject (RFC 9989 section 4.7)"),
    ({"subdomain_policy": ""}, "subdomain_policy '' must be one of: none, quarantine, reject (RFC 9989 section 4.7)"),
    ({"nonexistent_policy": "x"}, "nonexistent_policy 'x' must be one of: none, quarantine, reject (RFC 9989 section 4.7)"),
    ({"adkim": "strict"}, "adkim 'strict' must be one of: r, s (RFC 9989 section 4.7)"),
    ({"public_suffix": "yes"}, "public_suffix 'yes' must be one of: y, n, u (RFC 9989 section 4.7)"),
    ({"percent": 101}, "percent 101 must be a number from 0 to 100 (RFC 7489 section 6.3)"),
    ({"percent": True}, "percent True must be a number from 0 to 100 (RFC 7489 section 6.3)"),
    ({"testing": "no"}, "testing 'no' must be true or false"),
    ({"rua": None}, "rua None must be a list of strings"),
    ({"failure_options": None}, "failure_options None must be a list of strings"),
    ({"rua": "me@example.org"}, "rua 'me@example.org' must be a list of strings"),
    ({"rua": ["example.org"]}, "rua 'example.org' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
    ({"ruf": ["https:///x"]}, "ruf 'https:///x' is not a URI with a host (RFC 3986)"),
    ({"failure_options": ["1"]}, "failure_options ['1'] mean nothing without ruf (RFC 9989 section 4.7)"),
    ({"failure_options": ["x"], "ruf": ["f@example.org"]}, "failure_options 'x' must be one of: 0, 1, d, s (RFC 9989 section 4.7)"),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED)
def test_refusals(arguments, text):
    with pytest.raises(MailError) as error:
        dmarc.build(**arguments)
    assert str(error.value) == text


PARSED = [
    # record, what is told, warnings
    ("v=DMARC1", {"policy": "none"}, []),
    ("v = DMARC1 ;p=REJECT;sp=none;", {"policy": "reject", "subdomain_policy": "none"}, []),
    ("v=DMARC1; rua=mailto:a@b.example; p=reject", {"policy": "reject"},
     ["p= does not follow v= at once, which readers of RFC 7489 demand (section 6.4)"]),
    ("v=DMARC1; p=block; sp=reject; rua=mailto:a@b.example", {"policy": "none", "subdomain_policy": None},
     ["p=block is none of: none, quarantine, reject"]),
    ("v=DMARC1; p=reject; adkim=x; fo=1:q; unknown=1", {"adkim": "r", "failure_options": ["1"]}, ["adkim=x is none of: r, s"]),
    ("v=DMARC1; p=none; pct=²", {"percent": None}, ["pct= is historic and means nothing to readers of RFC 9989"]),
    ("v=DMARC1; p=none; pct=50; ri=3600; rf=afrf", {"percent": 50},
     [f"{tag}= is historic and means nothing to readers of RFC 9989" for tag in ("pct", "rf", "ri")]),
]


@pytest.mark.parametrize(("record", "told", "warnings"), PARSED)
def test_parse(record, told, warnings):
    found = dmarc.parse(record)
    assert {name: found[name] for name in told} == told and found["warnings"] == warnings


@pytest.mark.parametrize(("record", "text"), [
    ("v=dmarc1; p=none", "DMARC record 'v=dmarc1; p=none' must begin with v=DMARC1 (RFC 9989 section 4.7)"),
    ("p=none; v=DMARC1", "DMARC record 'p=none; v=DMARC1' must begin with v=DMARC1 (RFC 9989 section 4.7)"),
    ("v=DMARC10", "DMARC record 'v=DMARC10' must begin with v=DMARC1 (RFC 9989 section 4.7)"),
    ("v=DMARC1; p=block", "DMARC record 'v=DMARC1; p=block' has a bad p= and no rua= with a URI, so it is ignored (RFC 9989 section "
                          "4.10.1)"),
    ("v=DMARC1; p=none; p=none", "DMARC record has the tag 'p' twice, which makes all of it invalid (RFC 6376 section 3.2)"),
])
def test_parse_errors(record, text):
    with pytest.raises(MailError) as error:
        dmarc.parse(record)
    assert str(error.value) == text


def test_who_must_authorise_reports():
    assert dmarc.name("Example.org") == "_dmarc.example.org"
    assert dmarc.report_name("blue.example.com", "red.example.net") == "blue.example.com._report._dmarc.red.example.net"
    destinations = ["a@mail.example.org", "b@reports.example.net", "mailto:c@reports.example.net", "https://example.com/x", "d@example.org"]
    assert dmarc.external_domains("mail.example.org", destinations) == ["reports.example.net"]


def test_a_destination_may_be_given_as_a_uri():
    for text in ("dmarc@example.org", "mailto:dmarc@example.org", "MAILTO:DMARC@Example.org"):
        assert dmarc.destination(text) == "dmarc@example.org"
    assert dmarc.destination("mailto:a%2Cb@example.org".replace("%2C", "%26")) == "a&b@example.org"
    assert dmarc.destination("https://example.org/dmarc?x=1") == "https://example.org/dmarc?x=1"


def test_a_bad_policy_is_saved_by_a_valid_uri_alone():
    for rua in ("foo", "foo, bar", "mailto:", "ftp://example.org/x", "dmarc@example.org", "mailto:a@b@c"):
        with pytest.raises(MailError) as error:
            dmarc.parse(f"v=DMARC1; p=bad; rua={rua}")
        assert str(error.value).endswith("has a bad p= and no rua= with a URI, so it is ignored (RFC 9989 section 4.10.1)")
    for rua in ("mailto:dmarc@example.org", "foo, mailto:dmarc@example.org!10m"):
        assert dmarc.parse(f"v=DMARC1; p=bad; rua={rua}")["policy"] == "none"


def test_what_a_replaced_record_allowed():
    new = "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"
    assert dmarc.replaced("_dmarc.example.org", ["v=DMARC1; p=none; rua=mailto:a@reports.example", "x=1"], [new]) == [
        "_dmarc.example.org: the DMARC record 'v=DMARC1; p=none; rua=mailto:a@reports.example' is replaced: the policy 'none' becomes "
        "'quarantine'; rua no longer names 'mailto:a@reports.example'. Mail of this domain that others send fails it unless they sign as "
        "this domain, or are in its SPF record and use its envelope sender (RFC 9989 section 4.4)"
    ]
    strict = dmarc.replaced("_dmarc.example.org", ["v=DMARC1; p=none"], ["v=DMARC1; p=none; adkim=s; aspf=s"])
    assert "alignment with DKIM 'r' becomes 's'; alignment with SPF 'r' becomes 's'" in strict[0]
    for old in ("v=DMARC1; p=reject", "v=DMARC1; p=quarantine; adkim=s", new, "v=DMARC1; p=nonsense", "y"):
        assert dmarc.replaced("_dmarc.example.org", [old], [new]) == []
    assert dmarc.replaced("_dmarc.example.org", ["v=DMARC1; p=none"], ["y"]) == []
