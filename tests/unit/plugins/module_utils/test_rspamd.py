# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._rspamd import dnsbls, module_files, plan, signing

KEY = {"selector": "s1", "path": "/var/lib/postmaster-mail/dkim/example.org.s1.key"}


def test_dnsbls():
    assert dnsbls(["DNSBL.test.", {"zone": "bl.example.org", "score": 1.5}]) == [
        {"name": "postmaster_bl_example_org", "zone": "bl.example.org", "symbol": "RBL_BL_EXAMPLE_ORG", "score": 1.5},
        {"name": "postmaster_dnsbl_test", "zone": "dnsbl.test", "symbol": "RBL_DNSBL_TEST", "score": 3.0},
    ]


@pytest.mark.parametrize(
    "given, text",
    [
        ([3], "dnsbls 3 must be a zone or a dictionary with zone and score"),
        ([{"score": 3}], "dnsbls {'score': 3} must be a zone or a dictionary with zone and score"),
        ([{"zone": "a.test", "weight": 3}], "dnsbls {'zone': 'a.test', 'weight': 3} must be a zone or a dictionary with zone and score"),
        ([{"zone": "a.test", "score": "three"}], "dnsbls 'a.test': score 'three' must be a number from -1000 to 1000"),
        (["a-b.test", "a.b.test"], "dnsbls has 'a.b.test' and 'a-b.test', which Rspamd could not tell apart"),
        (["test"], "dnsbls 'test' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
    ],
)
def test_dnsbls_refused(given, text):
    with pytest.raises(MailError) as error:
        dnsbls(given)
    assert str(error.value) == text


@pytest.mark.parametrize(
    "given, table",
    [
        (None, []),
        ({}, []),
        ({"Example.ORG": {**KEY, "bits": 2048}}, [{"domain": "example.org", "selectors": [KEY]}]),
        (
            {"example.org": [KEY, {"selector": "e1", "path": "/k"}], "a.test": KEY},
            [{"domain": "a.test", "selectors": [KEY]}, {"domain": "example.org", "selectors": [KEY, {"selector": "e1", "path": "/k"}]}],
        ),
        ({"example.org": []}, []),
        (
            {"example.org": {**KEY, "since": "2026-11-22"}, "a.test": {**KEY, "since": None}},
            [{"domain": "a.test", "selectors": [KEY]}, {"domain": "example.org", "selectors": [{**KEY, "since": "2026-11-22"}]}],
        ),
    ],
)
def test_signing(given, table):
    assert signing(given) == table


@pytest.mark.parametrize(
    "given, text",
    [
        ({"example.org": "s1"}, "signing 'example.org' must have a selector and the path of a key"),
        ({"example.org": {"selector": "s1"}}, "signing 'example.org' must have a selector and the path of a key"),
        (
            {"example.org": {"selector": "s1", "path": "keys/$domain"}},
            "signing 'example.org': path 'keys/$domain' must be an absolute path",
        ),
        (
            {"example.org": {"selector": "s1", "path": "/keys/$domain"}},
            "signing 'example.org': path '/keys/$domain' cannot have '$' in it: Rspamd's configuration could not carry it, "
            "since '$' begins a variable in a path",
        ),
        (
            {"example.org": {"selector": "-x", "path": "/k"}},
            "signing 'example.org': selector '-x' has a bad label '-x': letters, digits, underscores and inner hyphens only "
            "(RFC 6376 section 3.1, RFC 8552)",
        ),
        ({"example.org": [KEY, KEY]}, "signing 'example.org' has a selector twice: each key needs its own (RFC 8463 section 9)"),
        ({"example.org": KEY, "EXAMPLE.org": KEY}, "signing has 'example.org' twice (names are compared without case)"),
    ],
)
def test_signing_refused(given, text):
    with pytest.raises(MailError) as error:
        signing(given)
    assert str(error.value) == text


def test_module_files():
    assert module_files(["arc"]) == {"rspamd/local.d/arc.conf": "# Ansible managed\nenabled = false;\n"}


@pytest.mark.parametrize(
    "name, text",
    [
        ("../x", "disabled_modules '../x' is not the name of a module"),
        ("rbl", "disabled_modules 'rbl': this module has its own switch (rspamd_filter.dnsbls)"),
    ],
)
def test_module_files_refused(name, text):
    with pytest.raises(MailError) as error:
        module_files([name])
    assert str(error.value) == text


def test_plan():
    found = plan({"filter": normalise({})["filter"], "dnsbls": ["dnsbl.test"], "disabled_modules": ["arc"], "signing": {"a.test": KEY}})
    assert (found["reject"], found["junk"], found["greylist"], found["trusted"], found["rbl"]) == (15.0, 6.0, 4.0, [], True)
    assert [entry["zone"] for entry in found["dnsbls"]] == ["dnsbl.test"]
    assert [entry["domain"] for entry in found["signing"]] == ["a.test"]
    assert list(found["module_files"]) == ["rspamd/local.d/arc.conf"]


def test_nobody_else_writes_our_domains_in_from():
    model = normalise({"domains": {"Example.ORG": {}, "example.net": {}}})
    found = plan({"filter": model["filter"], "domains": [*model["domains"], "Mail.example.org"]})
    assert (found["domains"], found["dmarc"]) == (["example.net", "example.org", "mail.example.org"], "junk")
    # A role alone may know neither, and only the inventory's word for the host.
    assert plan({"filter": model["filter"], "domains": ["testhost"]})["domains"] == []


def test_seals_are_verified_where_somebody_is_trusted_with_them():
    model = normalise({"filter": {"arc_sealers": ["Google.com.", "example.net"]}})
    found = plan({"filter": model["filter"], "disabled_modules": ["arc", "neural"]})
    assert found["arc_sealers"] == ["example.net", "google.com"]
    assert "enabled = true" in found["module_files"]["rspamd/local.d/arc.conf"]
    assert "enabled = false" in found["module_files"]["rspamd/local.d/neural.conf"]


def test_plan_without_dnsbls_asks_none():
    found = plan({"filter": normalise({"filter": {"dnsbls": False, "greylist": False}})["filter"], "dnsbls": ["dnsbl.test"]})
    assert (found["rbl"], found["dnsbls"], found["greylist"]) == (False, [], None)
