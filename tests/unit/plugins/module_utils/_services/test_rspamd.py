# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services.rspamd import (
    dnsbls,
    host_signer,
    module_files,
    own_domains,
    signing,
    tables,
    values,
)

KEY = {"selector": "s1", "path": "/var/lib/postmaster-mail/dkim/example.org.s1.key"}

HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"


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


def test_values():
    found = values({"model": normalise({}), "dnsbls": ["dnsbl.test"]})
    assert (found["reject"], found["junk"], found["greylist"], found["trusted"], found["rbl"]) == (15.0, 6.0, 4.0, [], True)
    assert [entry["zone"] for entry in found["dnsbls"]] == ["dnsbl.test"]


def test_nobody_else_writes_our_domains_in_from():
    model = normalise({"fqdn": "Mail.example.org", "domains": {"Example.ORG": {}, "example.net": {}}})
    found = values({"model": model})
    assert (found["domains"], found["dmarc"]) == (["example.net", "example.org", "mail.example.org"], "junk")
    assert found["hosted"] == ["example.net", "example.org"]
    # A role alone may know neither, and only the inventory's word for the host.
    assert own_domains(["testhost"]) == values({"model": normalise({})})["domains"] == []


def test_seals_are_verified_where_somebody_is_trusted_with_them():
    given = {"model": normalise({"filter": {"arc_sealers": ["Google.com.", "example.net"]}}), "disabled_modules": ["arc", "neural"]}
    assert values(given)["arc_sealers"] == ["example.net", "google.com"]
    found = tables(given)
    assert "enabled = true" in found["rspamd/local.d/arc.conf"]
    assert "enabled = false" in found["rspamd/local.d/neural.conf"]
    assert "enabled = false" in tables({**given, "model": normalise({})})["rspamd/local.d/arc.conf"]


def test_maps_of_who_may_send_as_whom():
    hashed = {"password_hash": HASH}
    users = {"me@example.org": {**hashed, "senders": ["sales@example.org"]}, "daemon@mail.example.org": hashed}
    model = normalise({
        "fqdn": "mail.example.org", "domains": {"example.org": {}, "mail.example.org": {}}, "users": users,
        "host_senders": {"www-data": "shop@example.org"},
    })  # fmt: skip
    found = tables({"model": model, "managed": "Ours"})
    maps = ("allowed.map", "blocked-networks.map", "blocked.map", "host-senders.map", "limits.map", "locks/login", "locks/sending",
            "senders.map")  # fmt: skip
    assert sorted(found) == [f"rspamd/local.d/maps.d/postmaster-mail-{name}" for name in maps]
    senders = found["rspamd/local.d/maps.d/postmaster-mail-senders.map"].splitlines()
    assert senders[0] == "# Ours"
    assert {"me@example.org me@example.org", "sales@example.org me@example.org", "abuse@example.org me@example.org"} < set(senders)
    accounts = dict(line.split(" ", 1) for line in found["rspamd/local.d/maps.d/postmaster-mail-host-senders.map"].splitlines()[1:])
    assert (accounts["shop@example.org"], accounts["postmaster@example.org"], accounts["daemon@mail.example.org"]) == ("www-data", "*", "-")


def test_a_map_has_what_each_account_may_send():
    users = {
        "me@example.org": {"password_hash": HASH},
        "shop@example.org": {"password_hash": HASH, "limit": 5000},
        "news@example.org": {"password_hash": HASH, "limit": {"hour": False, "day": 2000, "lock": False}},
        "all@example.org": {"password_hash": HASH, "limit": False},
    }
    model = normalise({"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": users, "limits": {"hour": 100}})
    assert tables({"model": model})["rspamd/local.d/maps.d/postmaster-mail-limits.map"].splitlines()[1:] == [
        "* 100 300 900",
        "all@example.org 0 0 0",
        "news@example.org 0 2000 0",
        "shop@example.org 100 5000 15000",
    ]


def test_without_dnsbls_none_is_asked():
    found = values({"model": normalise({"filter": {"dnsbls": False, "greylist": False}}), "dnsbls": ["dnsbl.test"]})
    assert (found["rbl"], found["dnsbls"], found["greylist"]) == (False, [], None)


@pytest.mark.parametrize(("lists", "author"), [({}, False), ({"block": "example.com"}, False), ({"allow": "example.com"}, True)])
def test_who_the_author_is_matters_where_a_user_allows_somebody(lists, author):
    users = {"me@example.org": {"password_hash": HASH, **lists}}
    model = normalise({"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": users})
    assert values({"model": model})["author"] is author


FORWARDS = {
    "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": HASH}}, "aliases": {"out@example.org": "x@example.com"},
}  # fmt: skip


def test_filter_knows_which_addresses_lead_out():
    model = normalise(FORWARDS)
    assert (values({"model": model})["forwards"], values({"model": normalise({})})["forwards"]) == (True, False)
    made = tables({"model": model})["rspamd/local.d/maps.d/postmaster-mail-leading-out.map"]
    assert made == "# Ansible managed\nout@example.org elsewhere\n"
    assert not [path for path in tables({"model": normalise({})}) if "leading-out" in path]


@pytest.mark.parametrize(("given", "backup", "seals"), [
    ({}, False, False), ({"arc_seal": True}, False, True), ({"arc_seal": True}, True, False),
])  # fmt: skip
def test_what_is_forwarded_is_sealed_where_that_is_asked_for(given, backup, seals):
    model = {**normalise({**FORWARDS, "filter": given}), "backup": backup}
    assert values({"model": model})["seal"] == seals
    assert ("sign_condition" in tables({"model": model}).get("rspamd/local.d/arc.conf", "")) == seals
    assert not values({"model": {**normalise({"filter": given}), "backup": backup}})["seal"]  # nothing is forwarded


@pytest.mark.parametrize(("fqdn", "domains", "signer"), [
    ("mail.example.org", ["example.org", "a.test"], "example.org"),
    ("mail.lab.example.org", ["example.org", "lab.example.org"], "lab.example.org"),
    ("mail.example.org", ["mail.example.org", "example.org"], ""), ("mailexample.org", ["example.org"], ""), ("mail.example.org", [], ""),
    (None, ["example.org"], ""),
])  # fmt: skip
def test_reports_are_signed_by_the_domain_that_the_name_of_the_server_lies_below(fqdn, domains, signer):
    assert host_signer(fqdn, signing(dict.fromkeys(domains, KEY))) == signer
