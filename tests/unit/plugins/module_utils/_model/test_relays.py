# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import delivery
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns, opensmtpd, postfix, relays, rspamd

HASH = "$2b$12$" + "a" * 53
BASE = {
    "fqdn": "mail.example.org",
    "addresses": ["198.51.100.25", "2001:db8:100::25"],
    "domains": {"example.org": {}, "shop.example": {}, "twin.example": {"alias_of": "shop.example"}, "old.example": {"parked": True},
                "plain.example": {"dkim": False}},
    "users": {"me@example.org": {"password_hash": HASH}},
}
SCANNER = {"hosts": ["192.0.2.7", "2001:DB8:5::/64"], "domains": ["Shop.Example."], "limit": 50}
OLD = {"login": "Me@Example.org", "domains": "example.org"}


def model(given, **others):
    return normalise({**BASE, "relays": given, **others})


def rules(given, **others):
    with pytest.raises(MailError) as caught:
        model(given, **others)
    return list(caught.value.rules)


def test_relays():
    found = model({"scanner": SCANNER, "old-qmail": OLD})["relays"]
    assert found == {
        "old-qmail": {"hosts": [], "login": "me@example.org", "domains": ["example.org"], "limit": None},
        "scanner": {"hosts": ["192.0.2.7/32", "2001:db8:5::/64"], "login": "", "domains": ["shop.example"],
                    "limit": {"hour": 0, "day": 50, "lock": 150}},
    }
    assert normalise(BASE)["relays"] == {}


def test_a_relay_owns_all_addresses_of_its_domains_and_of_those_that_are_one_of_them():
    senders = delivery(model({"scanner": SCANNER, "old-qmail": OLD}, aliases={"sales@shop.example": "me@example.org"}))["senders"]
    assert senders["@shop.example"] == senders["@twin.example"] == senders["postmaster@twin.example"][1:] == ["scanner"]
    assert senders["sales@shop.example"] == ["me@example.org", "scanner"]
    assert senders["@example.org"] == ["me@example.org"]


@pytest.mark.parametrize(
    ("name", "given", "rule"),
    [
        ("Scanner", SCANNER, "mail_relays['Scanner'] names a relay: a letter, then at most 19 letters, digits and hyphens, all lower case"),
        ("a", {**SCANNER, "host": "x"},
         "mail_relays['a'] has no key 'host' (did you mean 'hosts'?); it knows hosts, login, domains, limit"),
        ("a", {"domains": "example.org"}, "mail_relays['a'] needs hosts, addresses or networks, or login, a user of mail_users, and one of "
                                          "the two"),
        ("a", {**OLD, "hosts": "192.0.2.1"}, "mail_relays['a'] needs hosts, addresses or networks, or login, a user of mail_users, and one "
                                             "of the two"),
        ("a", {**OLD, "login": "m@example.org"}, "mail_relays['a'].login 'm@example.org' is none of mail_users (did you mean "
                                                 "'me@example.org'?): declare it there, with a password_hash"),
        ("a", {**OLD, "limit": 5}, "mail_relays['a'].limit has no meaning beside login: write mail_users['me@example.org'].limit"),
        ("a", {"hosts": "192.0.2.1"}, "mail_relays['a'].domains is missing: those of mail_domains that it sends as, which are signed for "
                                      "it"),
        ("a", {**OLD, "domains": "shops.example"},
         "mail_relays['a'].domains 'shops.example' is none of mail_domains (did you mean 'shop.example'?): declare it there, as "
         "'shops.example: {}', and it has a key and records"),
        ("a", {**OLD, "domains": "old.example"}, "mail_relays['a'].domains 'old.example' is parked, and sends nothing: take "
                                                 "mail_domains['old.example'].parked out"),
        ("a", {**OLD, "domains": "plain.example"}, "mail_relays['a'].domains 'plain.example' is not signed, since "
                                                   "mail_domains['plain.example'].dkim is false: take that out"),
        ("a", {**SCANNER, "limit": -1},
         "mail_relays['a'].limit.day -1 must be a whole number of recipients up to 10000000, or false for no limit"),
    ],
)  # fmt: skip
def test_what_is_refused(name, given, rule):
    assert rules({name: given}) == [rule]


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("scanner.example", "is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("192.0.2.7/24", "has host bits set: the network is 192.0.2.0/24 (RFC 4632 section 3.1)"),
        *((wide, f"is wider than /{least}, and everybody in it may send in the name of the domains: name the hosts, or their own networks; "
           "who is elsewhere logs in") for wide, least in
          (("0.0.0.0/0", 16), ("::ffff:0:0/96", 16), ("10.0.0.0/8", 16), ("::/0", 48), ("2001:db8::/32", 48))),
        ("127.0.0.1", "is this host itself: its programs send as mail_host_senders says"),
        ("::1", "is this host itself: its programs send as mail_host_senders says"),
        ("0.0.0.0", "is no address of a host"),
        ("224.0.0.1", "is a multicast address, from which nothing comes"),
        ("fe80::1", "is a link-local address, which any neighbour can take: give the host another one"),
        ("::ffff:198.51.100.25",
         "has an address of this server, 198.51.100.25: what it takes from strangers would be signed"),
        ("198.51.100.0/24", "has an address of this server, 198.51.100.25: what it takes from strangers would be signed"),
    ],
)
def test_hosts_that_are_refused(host, rule):
    assert rules({"a": {**SCANNER, "hosts": ["192.0.2.1", host]}}) == [f"mail_relays['a'].hosts '{host}' {rule}"]


def test_a_host_is_of_one_relay():
    assert rules({"a": SCANNER, "b": {**SCANNER, "hosts": "192.0.2.0/28"}}) == [
        "mail_relays['b'].hosts '192.0.2.0/28' overlaps '192.0.2.7/32' of mail_relays['a']: a host is of one relay, which may have several "
        "domains"]
    assert rules({"a": {**SCANNER, "hosts": ["192.0.2.7", "192.0.2.0/28"]}}) == [
        "mail_relays['a'].hosts '192.0.2.0/28' overlaps '192.0.2.7/32', which is there as well: name the wider one"]


def test_no_relay_is_another_host_of_the_inventory():
    peer = {"name": "mx2", "fqdn": "mx2.example.org", "domains": BASE["domains"], "addresses": ["192.0.2.7"], "backup": True}
    with pytest.raises(MailError) as caught:
        normalise({**BASE, "relays": {"a": SCANNER}}, peers=[peer])
    assert list(caught.value.rules) == ["mail_relays['a'].hosts '192.0.2.7' has an address of host mx2.example.org, 192.0.2.7: what it "
                                        "takes from strangers would be signed"]


@pytest.mark.parametrize(
    ("sender", "taken"),
    [
        ("scanner@shop.example", True), ("Scanner+x@SHOP.example", True), ("a.b=c@shop.example", True),
        ("x@sub.shop.example", False), ("x@shop.example.net", False), ("x@shopxexample", False), ("x@y@shop.example", False),
        ('"x y"@shop.example', False), ("@shop.example", False), ("@shop.example:x@a.example", False), ("x%shop.example@a.example", False),
        ("shop.example!x@a.example", False), ("x:y@shop.example", False), ("", False),
    ],
)  # fmt: skip
def test_senders_are_plain_addresses_of_the_very_domain(sender, taken):
    assert bool(re.search(relays.sender("shop.example"), sender, re.IGNORECASE)) == taken


def test_postfix_has_a_class_for_each_relay():
    given = {"model": model({"scanner": SCANNER, "old-qmail": OLD}), "srs": False}
    assert postfix.values(given)["relays"] == ["relay_scanner"]
    texts = postfix.tables({**given, "managed": "x", "hide_submitter": False})
    assert texts["postfix/tables/relays"].splitlines()[2:] == ["192.0.2.7/32 relay_scanner", "2001:db8:5::/64 relay_scanner"]
    assert texts["postfix/tables/relay_scanner"].splitlines()[2:] == [
        ":^<>$: permit", *(f":{relays.sender(domain)}: permit" for domain in ("shop.example", "twin.example"))]
    nobody = {**given, "model": model({"old-qmail": OLD})}
    assert not postfix.values(nobody)["relays"] and not [name for name in postfix.tables(nobody) if "relay" in name]


def test_opensmtpd_has_rules_for_each_relay():
    routes = {"hosts": {"isp": {"host": "smtp.isp.example"}}, "from": {"shop.example": "isp", "example.org": "isp"}}
    given = model({"scanner": SCANNER, "old-qmail": OLD}, routes=routes, slow_destinations={})
    (found,) = opensmtpd.relaying(given)
    assert (found["name"], found["hosts"]) == ("relay-scanner", ['"192.0.2.7/32"', '"2001:db8:5::/64"'])
    assert found["senders"][-1] == '"(?i)^@$"' and len(found["senders"]) == 3
    assert found["from"] == {"route-isp": [f'"(?i){relays.sender("shop.example")}"']}
    texts = opensmtpd.tables({"model": given, "owner": "vmail"})
    assert texts["smtpd/tables/relays"] == "192.0.2.7/32 scanner\n2001:db8:5::/64 scanner\n"
    assert "smtpd/tables/relays" not in opensmtpd.tables({"model": model({}), "owner": "vmail"})


def test_rspamd_knows_relays_as_accounts():
    given = {"model": model({"scanner": SCANNER, "old-qmail": OLD}), "managed": "x"}
    maps = {name.rpartition("/")[2]: text for name, text in rspamd.tables(given).items()}
    assert maps["postmaster-mail-relays.map"] == "# x\n192.0.2.7/32 scanner\n2001:db8:5::/64 scanner\n"
    assert "\nscanner 0 50 150\n" in maps["postmaster-mail-limits.map"]
    assert rspamd.values(given)["relays"] and rspamd.values({"model": normalise({**BASE, "users": {}, "postmaster": "x@y.example",
                                                                                 "relays": {"scanner": SCANNER}})})["accounts"]
    without = {"model": model({"old-qmail": OLD})}
    assert not rspamd.values(without)["relays"] and not [name for name in rspamd.tables(without) if "relays" in name]


AWAY = {**BASE, "domains": {**BASE["domains"], "away.example": {"mx": False}}}


def test_a_domain_whose_mail_is_taken_elsewhere_is_signed_and_sent_for_alone():
    found = normalise({**AWAY, "relays": {"old": {**OLD, "domains": "away.example"}}, "aliases": {"x@example.org": "you@away.example"},
                       "routes": {"hosts": {"isp": {"host": "smtp.isp.example"}}, "to": {"away.example": "isp"}}})  # fmt: skip
    delivered = delivery(found)
    assert "away.example" not in delivered["domains"] and not [name for name in delivered["aliases"] if name.endswith("@away.example")]
    assert delivered["senders"]["@away.example"] == ["me@example.org"]
    assert delivered["senders"].get("x@example.org") is None  # who gets its mail is elsewhere
    given = {"model": found, "srs": True, "managed": "x", "hide_submitter": False}
    assert "away.example" not in postfix.values(given)["domains"] and found["routes"]["to"] == {"away.example": ["isp"]}
    assert "x@example.org you@away.example.srs.invalid" in postfix.tables(given)["postfix/tables/aliases"]
    assert "away.example" not in opensmtpd.tables({"model": found, "owner": "vmail"})["smtpd/tables/domains"]
    values = rspamd.values({"model": found})
    assert "away.example" in values["domains"] and "away.example" in values["hosted"] and "away.example" not in values["here"]
    keys = {"away.example": {"name": "s._domainkey.away.example", "value": "v=DKIM1; k=rsa; p=AAAA", "selector": "s", "path": "/x"}}
    kinds = {(record["name"], record["type"]) for record in dns.records(found, keys) if record["name"].endswith("away.example")}
    assert kinds == {("away.example", "TXT"), ("_dmarc.away.example", "TXT"), ("s._domainkey.away.example", "TXT")}


def test_a_backup_mx_takes_no_mail_for_it():
    peer = {"name": "mail", "fqdn": "mail.example.com", "domains": AWAY["domains"], "addresses": ["192.0.2.9"]}
    found = normalise({**AWAY, "fqdn": "mx2.example.com"}, peers=[peer], backup=True)
    assert hosts.primaries(found).keys() == {"example.org", "shop.example", "twin.example", "plain.example"}
    assert "away.example" not in postfix.tables({"model": found, "srs": False})["postfix/tables/transport"]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"domains": {"example.org": {}, "away.example": {"mx": False, "catch_all": "me@example.org"}}},
         "mail_domains['away.example'].catch_all has no meaning beside mx: false, by which others take the mail of away.example"),
        ({"domains": {"example.org": {}, "away.example": {"mx": False, "alias_of": "example.org"}}},
         "mail_domains['away.example'].alias_of has no meaning beside mx: false, by which others take the mail of away.example"),
        ({"domains": {"example.org": {}, "away.example": {"mx": False}, "twin.example": {"alias_of": "away.example"}}},
         "mail_domains['twin.example'].alias_of 'away.example' has no addresses here: others take its mail (mx: false)"),
        ({"domains": {"example.org": {}, "away.example": {"mx": False, "parked": True}}},
         "mail_domains['away.example'].mx false has no meaning: a parked domain takes no mail, here or elsewhere"),
        ({"domains": {**AWAY["domains"], "mail.example.org": {"mx": False}}},
         "mail_domains['mail.example.org'].mx false: it is the name of this server, whose own mail is taken here"),
        ({"users": {**BASE["users"], "x@away.example": {"password_hash": HASH}}},
         "mail_users['x@away.example'] is in a domain whose mail is taken elsewhere, mail_domains['away.example'].mx: it would get none"),
        ({"aliases": {"x@away.example": "me@example.org"}},
         "mail_aliases['x@away.example'] is in a domain whose mail is taken elsewhere, mail_domains['away.example'].mx: it would get none"),
        ({"lists": {"x@away.example": {"owners": ["me@example.org"]}}},
         "mail_lists['x@away.example'] is in a domain whose mail is taken elsewhere, mail_domains['away.example'].mx: it would get none"),
    ],
)
def test_it_has_no_address_here(given, rule):
    with pytest.raises(MailError) as caught:
        normalise({**AWAY, **given})
    assert list(caught.value.rules) == [rule]
