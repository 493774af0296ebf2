# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _postfix
from ansible_collections.postmaster.mail.plugins.module_utils._delivery import delivery
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import normalise

#: 2026-11-29, which is written as JS.
DAY = 20786
HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"


def plan(srs=True, srs_key="", **given):
    values = {
        "fqdn": "mail.example.org",
        "domains": {"example.org": {}},
        "users": {"me@example.org": {"password_hash": HASH}, "you@example.org": {"password_hash": HASH}},
        "aliases": {"away@example.org": ["bob@example.com"]},
        **given,
    }
    model = normalise(values)
    return _postfix.plan({"model": model, "delivery": delivery(model), "srs": srs, "srs_key": srs_key, "day": DAY})


def test_a_target_elsewhere_is_marked_and_one_here_is_not():
    aliases = {"away@example.org": ["bob+list@example.com", "me@example.org", "root@mail.example.org"]}
    assert plan(aliases=aliases)["aliases"]["away@example.org"] == [
        "bob+list@example.com.srs.invalid", "me@example.org", "root@mail.example.org",
    ]


def test_a_subdomain_of_ours_is_elsewhere():
    found = plan(aliases={"away@example.org": ["x@lists.example.org"]})
    assert found["aliases"]["away@example.org"] == ["x@lists.example.org.srs.invalid"]


def test_a_catch_all_and_a_postmaster_elsewhere_are_marked():
    found = plan(domains={"example.org": {"catch_all": ["bob@example.com"]}}, aliases={}, postmaster="bob@example.com")
    assert found["aliases"]["@example.org"] == ["bob@example.com.srs.invalid"]
    assert found["aliases"]["me@example.org"] == ["me@example.org"]
    assert found["system"]["root"] == found["aliases"]["abuse@example.org"] == ["bob@example.com.srs.invalid"]


def test_a_server_named_like_its_domain_keeps_its_own_mail():
    found = plan(fqdn="example.org", domains={"example.org": {}})["aliases"]
    assert found["root@example.org"] == found["mailer-daemon@example.org"] == ["me@example.org"]
    found = plan(fqdn="example.org", postmaster="bob@example.com")["aliases"]
    assert found["root@example.org"] == ["bob@example.com.srs.invalid"]


@pytest.mark.parametrize("given", [{"aliases": {"team@example.org": ["me@example.org"]}}, {"srs": False}], ids=["nothing elsewhere", "off"])
def test_where_no_sender_is_rewritten_the_tables_are_the_common_ones(given):
    found = plan(**given)
    assert found["srs"] is None
    assert not [target for targets in found["aliases"].values() for target in targets if "invalid" in target]


@pytest.mark.parametrize(
    ("fqdn", "domains", "expected"),
    [
        ("mail.example.org", {"example.net": {}, "example.org": {}}, "mail.example.org"),
        ("mail.example.org", {"example.org": {"catch_all": ["me@example.org"]}}, "mail.example.org"),
        ("example.org", {"example.net": {}, "example.org": {}}, "example.org"),
        ("example.org", {"example.net": {}, "example.org": {"catch_all": ["me@example.org"]}}, "example.net"),
        ("mail.provider.test", {"example.org": {}}, "example.org"),
        ("mail.provider.test", {"example.org": {"catch_all": ["me@example.org"]}}, "example.org"),
    ],
    ids=["the server's name", "below a catch-all", "named like a domain", "a catch-all of its own", "a name without SPF", "no other"],
)
def test_senders_get_a_domain_that_has_an_spf_record_of_ours(fqdn, domains, expected):
    assert plan(fqdn=fqdn, domains={"example.org": {}, **domains})["srs"]["domain"] == expected


def test_a_server_without_domains_rewrites_to_its_own_name():
    assert _postfix.srs_domain({"fqdn": "mail.example.org", "domains": {}}) == "mail.example.org"


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("SRS0=AbCd=JL=example.com=bob@mail.example.org", True),
        ("srs1=abcd=example.com==x=y=example.net=z@mail.example.org", True),
        ("SRS0+AbCd=JL=example.com=bob@mail.example.org", True),
        ("SRS0=AbCd=JL=example.com=bob@mailXexample.org", False),
        ("SRS0=AbCd=JL=example.com=bob@example.org", False),
        ("SRS0=AbCd=JL=example.com=bob@mail.example.org.example.net", False),
        ("x-SRS0=AbCd=JL=example.com=bob@mail.example.org", False),
        ("srs0user@mail.example.org", False),
    ],
)
def test_only_what_looks_like_a_sender_of_ours_is_asked_about(address, ours):
    # Postfix compares without case.
    assert bool(re.search(plan()["srs"]["pattern"], address, re.IGNORECASE)) is ours


@pytest.mark.parametrize(
    ("address", "made", "before"),
    [
        ("SRS0=AbCd+/12=JS=example.com=bob", True, False),
        ("srs1=abcd1234=example.com==x=y=example.net=z", True, False),
        ("SRS0=AbCd=JS=example.com=bob", False, True),
        ("SRS0+a/+d=JS=example.com=bob", False, True),
        ("srs0=abcd=i5=example.com=bob", False, True),
        # Younger than the end of the short ones, and too old.
        ("SRS0=AbCd=JT=example.com=bob", False, False),
        ("SRS0=AbCd=I4=example.com=bob", False, False),
        ("SRS1=AbCd=first.test==x123=JS=example.net=z", False, True),
        ("SRS1=AbCd=first.test=-x=JS=example.net=z", False, True),
        ("SRS1=AbCd=first.test==x123=JT=example.net=z", False, False),
        ("SRS1=AbCd=first.test==x123=JT=JS=z", False, False),
        ("SRS1=AbCd=JS=x", False, False),
        ("SRS0=AbC=JS=example.com=bob", False, False),
        ("SRS0=AbCdE=JS=example.com=bob", False, False),
        ("SRS0=AbCdEfG=JS=example.com=bob", False, False),
        ("SRS0=AbCdEfGhI=JS=example.com=bob", False, False),
        ("SRS0==JS=example.com=bob", False, False),
        ("SRS0=", False, False),
        ("x-SRS0=AbCd+/12=JS=example.com=bob", False, False),
    ],
)
def test_a_short_hash_counts_only_up_to_the_day_of_the_change(address, made, before):
    srs = plan()["srs"]
    for domain, there in (("mail.example.org", True), ("mailXexample.org", False), ("example.org", False)):
        found = [bool(re.search(srs[name], f"{address}@{domain}", re.IGNORECASE)) for name in ("made", "made_before")]
        assert found == [made and there, before and there]


def test_the_days_of_the_short_ones():
    days = _postfix.stamps(DAY)
    assert (days[0], days[-1], len(days)) == ("I5", "JS", 22)
    assert _postfix.stamps(1024 * 20 + 2)[-4:] == ["77", "AA", "AB", "AC"]


@pytest.mark.parametrize(
    ("recipient", "restored"),
    [
        ("bob@example.com.srs.invalid", "bob@example.com"),
        ("bob@srs.invalid.example.com", None),
        ("bob@example.com", None),
        ("bob@example.com.srs-invalid", None),
    ],
)
def test_the_mark_is_taken_off_again(recipient, restored):
    found = re.search(plan()["srs"]["suffix_pattern"], recipient)
    assert (found and found[1]) == restored


def test_a_domain_that_is_too_long_to_be_marked_is_named():
    domain = ".".join(["a" * 60] * 4)
    with pytest.raises(MailError) as error:
        plan(aliases={"away@example.org": [f"bob@{domain}"]})
    assert str(error.value) == (
        f"alias 'away@example.org' leads to 'bob@{domain}': its domain is longer than the 241 octets that Postfix can forward to with SRS"
    )


@pytest.mark.parametrize("key", ["short", "with spaces in the middle of it", 'a "quotation mark" in it'])
def test_a_key_that_cannot_be_written_is_refused(key):
    with pytest.raises(MailError) as error:
        plan(srs_key=key)
    assert str(error.value) == "postfix_srs_key must be at least 16 letters, digits and characters of ._~+/=-"


def senders_of(account, **given):
    """What postdrop reads for an account: the first line that matches, with what it captured."""
    for line in plan(**given)["login_senders"]:
        if match := re.search(line["pattern"], account):
            return re.sub(r"\$1", lambda _found: match[1], line["senders"]).split(", ")
    return []


def test_an_account_sends_as_itself_as_a_role_and_as_it_is_granted():
    host_senders = {"www-data": ["shop@example.org", "@lists.example.org"]}
    usual = senders_of("nobody", host_senders=host_senders)
    assert usual[:2] == ["nobody", "nobody@mail.example.org"]
    assert {"postmaster@example.org", "abuse@mail.example.org", "abuse"} < set(usual)
    assert not {"me@example.org", "shop@example.org", "root", "root@mail.example.org", "<>", "*"} & set(usual)
    granted = senders_of("www-data", host_senders=host_senders)
    assert granted[:2] == ["www-data", "www-data@mail.example.org"]
    assert set(granted) - set(usual) == {"www-data", "www-data@mail.example.org", "shop@example.org", "@lists.example.org"}
    assert set(senders_of("root")) - set(usual) == {"root", "root@mail.example.org", "<>"}
    assert senders_of("www-data2", host_senders=host_senders)[:2] == ["www-data2", "www-data2@mail.example.org"]


def test_a_number_without_a_name_sends_as_nobody():
    assert senders_of("uid:4711") == []


def test_an_account_is_not_the_user_of_the_same_name():
    users = {"me@example.org": {"password_hash": HASH}, "daemon@example.org": {"password_hash": HASH}}
    given = {"fqdn": "example.org", "users": users, "aliases": {}}
    assert not {"daemon", "daemon@example.org"} & set(senders_of("daemon", **given))
    assert senders_of("bin", **given)[:2] == ["bin", "bin@example.org"]
    assert {"root", "root@example.org", "<>"} < set(senders_of("root", **given))
    assert "daemon@example.org" in senders_of("daemon", **given, host_senders={"daemon": "daemon@example.org"})


def test_trusted_networks_are_in_postfix_notation():
    found = _postfix.trusted(["127.0.0.0/8", "[::1]/128", "::1", "!192.0.2.7", "192.0.2.0/24", "!2001:DB8::1", "[2001:db8::]/32"])
    assert found == ["127.0.0.0/8", "[::1]/128", "[::1]/128", "!192.0.2.7/32", "192.0.2.0/24", "![2001:db8::1]/128", "[2001:db8::]/32"]


@pytest.mark.parametrize(
    ("network", "rule"),
    [
        ("192.0.2.1/24", "'192.0.2.1/24' has host bits set: the network is 192.0.2.0/24 (RFC 4632 section 3.1)"),
        ("/etc/networks", "'/etc/networks' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("[::1%\nx = y]/128", "'::1%\\nx = y/128' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("192.0.2.0/24\nx = y", "'192.0.2.0/24\\nx = y' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("0.0.0.0/0", "'0.0.0.0/0' is all the world: with it, this server is an open relay"),
        (7, "7 is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
    ],
)
def test_trusted_networks_refused(network, rule):
    with pytest.raises(MailError) as error:
        _postfix.trusted([network])
    assert str(error.value) == f"postfix_trusted_networks {rule}"


def test_a_dollar_sign_in_a_sender_is_one():
    """The line is of a regexp_table(5), where $1 is what the pattern has captured."""
    lines = plan(host_senders={"www-data": ["$1@example.org"]})["login_senders"]
    assert next(line["senders"] for line in lines if line["pattern"] == "^www-data$").endswith("$$1@example.org")
    assert lines[-1]["senders"].startswith("$1, $1@mail.example.org")
