# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts of one domain: what one of them plans, the others do not undo; what would be undone is refused."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import RRset
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns

ONE = {"fqdn": "mail.example.org", "addresses": ["198.51.100.25"], "domains": {"example.org": {}}}
TWO = {"fqdn": "mail2.example.org", "addresses": ["198.51.100.26", "2001:db8::26"], "domains": {"example.org": {}}}


def models(*inventories):
    """Each host's model among the others."""
    named = [{"name": inventory["fqdn"], **inventory} for inventory in inventories]
    return [normalise(own, "Debian", [other for place, other in enumerate(named) if place != at]) for at, own in enumerate(inventories)]


def broken(*inventories):
    """The rules that the first host's run reports."""
    try:
        models(*inventories)
    except MailError as exc:
        return list(exc.rules)
    return []


def published(model, name, kind):
    return [record["values"] for record in dns.records(model) if (record["name"], record["type"]) == (name, kind)]


def test_each_of_two_servers_plans_for_both():
    for model in models(ONE, TWO):
        assert published(model, "example.org", "MX") == [["10 mail.example.org.", "10 mail2.example.org."]]
        assert published(model, "example.org", "TXT") == [["v=spf1 ip4:198.51.100.25 ip4:198.51.100.26 ip6:2001:db8::26 ~all"]]
    # Who sends a bounce is one host alone.
    one, two = models(ONE, TWO)
    assert published(one, "mail.example.org", "TXT") == [["v=spf1 ip4:198.51.100.25 -all"]]
    assert published(two, "mail2.example.org", "TXT") == [["v=spf1 ip4:198.51.100.26 ip6:2001:db8::26 -all"]]


def test_preferences_are_by_host_and_by_domain():
    second = {**TWO, "mx_preference": 20}
    for model in models(ONE, second):
        assert published(model, "example.org", "MX") == [["10 mail.example.org.", "20 mail2.example.org."]]
    domains = {"example.org": {"mx": {"Mail2.example.org.": 5, "mx.isp.example": 30}}}
    for model in models({**ONE, "domains": domains}, {**second, "domains": domains}):
        assert published(model, "example.org", "MX") == [["5 mail2.example.org.", "10 mail.example.org.", "30 mx.isp.example."]]


def test_a_server_alone_has_the_records_that_it_always_had():
    assert published(normalise(ONE), "example.org", "MX") == [["10 mail.example.org."]]
    elsewhere = {**TWO, "domains": {}}
    assert published(models(ONE, elsewhere)[0], "example.org", "MX") == [["10 mail.example.org."]]


def test_smarthosts_of_all_servers_may_send():
    isp = {"host": "smtp.isp.example", "spf": "include:isp.example", "user": "u", "password": "s3cret"}
    ways = {"hosts": {"isp": isp}, "default": "isp"}
    for model in models(ONE, {**TWO, "routes": ways}):
        assert published(model, "example.org", "TXT")[0][0].endswith(" include:isp.example ~all")
    # In one order, whichever of them writes it.
    another = {"hosts": {"spare": {"host": "relay.example", "spf": "include:relay.example"}}, "default": "spare"}
    for model in models({**ONE, "routes": another}, {**TWO, "routes": ways}):
        assert published(model, "example.org", "TXT")[0][0].endswith(" include:relay.example include:isp.example ~all")
    assert "s3cret" not in repr(models(ONE, {**TWO, "routes": ways})[0]["peers"])
    many = {"hosts": {f"isp{at}": {"host": f"smtp{at}.isp.example", "spf": [f"include:{at}.isp.example"]} for at in range(11)}}
    (rule,) = broken(ONE, {**TWO, "routes": many})
    assert rule.startswith("mail_domains['example.org'].spf with what mail_routes.hosts adds: SPF record ")
    assert "needs 11 DNS look-ups" in rule


def domain(**options):
    return {"domains": {"example.org": options}}


@pytest.mark.parametrize(("first", "second", "rule"), [
    ({}, {"addresses": []}, "mail_addresses is needed: example.org is a domain of both, and the SPF record has the addresses of all "
     "hosts, also in a run that does not reach them (host mail2.example.org)"),
    ({}, {"addresses": ["10.0.0.1"]}, "mail_addresses '10.0.0.1' is not public (private, RFC 1918): other mail servers cannot reach it. "
     "Set mail_addresses to the addresses that the world sees (behind NAT: the router's) (host mail2.example.org)"),
    ({}, {"mx_preference": 65536}, "mail_mx_preference 65536 must be a whole number from 0 to 65535 (host mail2.example.org)"),
    ({}, {"dns": {"ttl": 60}}, "mail_dns.ttl 60 is not 3600, as here: the records of one type at one name have one TTL (RFC 2181 section "
     "5.2) (host mail2.example.org)"),
    ({}, {"fqdn": "mail.example.org"}, "mail_fqdn 'mail.example.org' is that of host mail.example.org as well: a name leads to one server"),
    (domain(spf={"all": "-all"}), {}, "mail_domains['example.org'].spf is another one on host mail2.example.org, which serves the domain "
     "as well: there is one record for all hosts, so all have to say the same"),
    ({}, domain(dmarc=False), "mail_domains['example.org'].dmarc is another one on host mail2.example.org, which serves the domain as "
     "well: there is one record for all hosts, so all have to say the same"),
    ({}, domain(mx={"mx.isp.example": 20}), "mail_domains['example.org'].mx is another one on host mail2.example.org, which serves the "
     "domain as well: there is one record for all hosts, so all have to say the same"),
    (domain(dkim={"selector": "mail"}), domain(dkim={"selector": "MAIL", "bits": 3072}), "mail_domains['example.org'].dkim.selector "
     "'mail' is that of host mail2.example.org as well, and each host has a key of its own: leave it out, and new keys have selectors "
     "of their own; a key that exists keeps the one of its file"),
    (domain(parked=True), {}, "mail_domains['example.org'].parked: host mail2.example.org serves it, and a parked domain neither sends "
     "nor takes mail"),
    ({}, domain(parked=True), "mail_domains['example.org'] is parked on host mail2.example.org, and a parked domain neither sends nor "
     "takes mail"),
    ({"domains": {"mail2.example.org": {}}}, {}, "mail_domains['mail2.example.org'] is a domain of this host and the name of host "
     "mail2.example.org, whose SPF record would be another one: declare it on both"),
    ({}, {"domains": {"mail.example.org": {}}}, "mail_domains['mail.example.org'] is a domain of host mail2.example.org and the name of "
     "this host, whose SPF record would be another one: declare it on both"),
    ({"domains": {"mail2.example.org": {"parked": True}}}, {}, "mail_domains['mail2.example.org'].parked on this host: it is the name of "
     "host mail2.example.org, which sends"),
    ({}, {"domains": {"mail.example.org": {"parked": True}}}, "mail_domains['mail.example.org'].parked on host mail2.example.org: it is "
     "the name of this host, which sends"),
    (domain(txt={"mail2": "v=spf1 -all"}), {}, "mail_domains['example.org'].txt holds an SPF record for mail2.example.org, the name of "
     "host mail2.example.org, which has one of its own: take it out"),
    (domain(mx={"mail2.example.org": False}), domain(mx={"mail2.example.org": False}),
     "mail_domains['example.org'].mx['mail2.example.org'] is a host of the inventory, which is in the MX records while it serves the "
     "domain, and not otherwise: take that out"),
    ({}, {"domains": {"example.org": {"spf": {"trems": []}}}}, "mail_domains['example.org'].spf has no key 'trems' (did you mean "
     "'terms'?); it knows all, terms, drop (host mail2.example.org)"),
])  # fmt: skip
def test_what_the_hosts_would_undo_is_refused_by_name(first, second, rule):
    assert broken({**ONE, **first}, {**TWO, **second}) == [rule]


def test_one_selector_in_a_variable_of_the_group_is_that_of_both():
    """Such a dictionary is not read again for the other host."""
    shared = domain(dkim={"selector": "mail"})
    assert len(broken({**ONE, **shared}, {**TWO, **shared})) == 1
    signs_elsewhere = {**TWO, "domains": {"example.org": {"dkim": False}}}
    assert broken({**ONE, **shared}, signs_elsewhere) == []


@pytest.mark.parametrize(("mx", "rule"), [
    ({"mx.test": True}, "mail_domains['example.org'].mx['mx.test'] True must be a preference from 0 to 65535 (RFC 5321 section 5.1), or "
     "false for one that is to be in the MX records no more"),
    ({"mx.test": "20"}, "mail_domains['example.org'].mx['mx.test'] '20' must be a preference from 0 to 65535 (RFC 5321 section 5.1), or "
     "false for one that is to be in the MX records no more"),
    ({"mx.test": 1, "MX.test.": False}, "mail_domains['example.org'].mx['MX.test.'] is declared twice (names are compared without case)"),
    ({"192.0.2.1": 20}, "mail_domains['example.org'].mx '192.0.2.1' must not end in a number: that is an address, not a name (RFC 1123 "
     "section 2.1)"),
    (["mx.test"], "mail_domains['example.org'].mx must be a dictionary, not list"),
])
def test_an_mx_is_a_name_and_a_preference(mx, rule):
    assert broken({**ONE, **domain(mx=mx)}) == [rule]


def test_a_parked_domain_may_lose_an_mx_and_has_none():
    (rule,) = broken({**ONE, "domains": {"example.org": {}, "www.example.org": {"parked": True, "mx": {"mx.test": 20}}}})
    assert rule.startswith("mail_domains['www.example.org'].mx['mx.test'] has no meaning: a parked domain takes no mail; false ")
    model = normalise({**ONE, "domains": {"example.org": {}, "www.example.org": {"parked": True, "mx": {"mx.test": False}}}})
    (record,) = (record for record in dns.records(model) if (record["name"], record["type"]) == ("www.example.org", "MX"))
    assert (record["values"], record["may_drop"]) == (["0 ."], ["mail.example.org", "mx.test"])


def test_hosts_of_the_inventory_that_serve_a_domain_no_more_may_go():
    model, _other = models(ONE, {**TWO, "domains": {}})
    (record,) = (record for record in dns.records(model) if record["type"] == "MX")
    assert record["may_drop"] == ["mail2.example.org"]


def test_many_hosts_with_many_domains_take_no_longer_than_they_are():
    """Ten hosts with a group's thousand domains, whose options were read once: ten times a thousand, and not their square."""
    domains = {f"d{number}.example.org": {} for number in range(1000)}
    peers = [{"name": f"mail{number}", "fqdn": f"mail{number}.example.net", "addresses": [f"198.51.100.{number}"], "domains": domains}
             for number in range(2, 11)]
    own = {"fqdn": "mail1.example.net", "addresses": ["198.51.100.1"], "domains": domains}
    alone, among = [], []
    for _again in range(3):
        for others, times in (((), alone), (peers, among)):
            start = time.process_time()
            model = normalise(own, "Debian", others)
            dns.records(model)
            times.append(time.process_time() - start)
    assert min(among) < 3 * min(alone)
    assert len(hosts.servers(model)["d1.example.org"]) == 10


# ---- backup MX

def backup(own, *others):
    """The model of a backup MX among others."""
    return normalise(own, "Debian", [{"name": other["fqdn"], **other} for other in others], backup=True)


def test_a_backup_mx_is_asked_last_and_waits_longer():
    model = backup(TWO, ONE)
    assert published(model, "example.org", "MX") == [["10 mail.example.org.", "20 mail2.example.org."]]
    assert (model["queue"]["lifetime"], backup({**TWO, "queue": {"lifetime": "3d"}}, ONE)["queue"]["lifetime"]) == (10, 3)
    server = normalise(ONE, "Debian", [{"name": "mail2", **TWO, "backup": True}])
    assert dns.records(server)[0] == dns.records(model)[0]
    assert (server["queue"]["lifetime"], hosts.backups(server)) == (5, ["198.51.100.26", "2001:db8::26"])
    assert hosts.primaries(server) == {} and hosts.backups(model) == []


def test_a_backup_mx_delivers_to_the_servers_of_each_domain_in_order():
    domains = {"example.org": {}, "example.net": {}}
    first, third = {**ONE, "mx_preference": 15}, {"fqdn": "mail3.example.org", "addresses": ["198.51.100.27"], "domains": domains}
    model = backup({**TWO, "domains": domains}, first, third, {**TWO, "fqdn": "mail4.example.org", "backup": True})
    assert hosts.primaries(model) == {"example.org": ["mail3.example.org", "mail.example.org"], "example.net": ["mail3.example.org"]}


def test_a_backup_mx_without_a_server_is_refused():
    with pytest.raises(MailError) as error:
        backup(TWO, {**ONE, "domains": {}}, {**ONE, "fqdn": "mail3.example.org", "backup": True})
    assert list(error.value.rules) == [
        "mail_domains['example.org'] has no server in the group mail_servers, to which this backup MX could deliver mail"
    ]


# ---- whatever the inventory: refused, or stable in any order

NAMES = ["example.org", "example.net", "mail.example.org", "mail2.example.org", "Mail3.example.org."]
OPTIONS = st.fixed_dictionaries({}, optional={
    "mx": st.dictionaries(st.sampled_from(["mx.isp.example", "mail2.example.org", "MAIL.example.org"]), st.sampled_from([5, 20, False]),
        max_size=2),
    "spf": st.sampled_from([False, {"all": "-all"}, {"terms": ["include:a.example", "ip4:192.0.2.1"]}]),
    "dmarc": st.sampled_from([False, {"policy": "reject"}]),
    "dkim": st.sampled_from([False, {"selector": "s1"}]),
})
DOMAINS = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.just({}), st.just({}), OPTIONS, st.just({"parked": True})), max_size=3)
HOST = st.fixed_dictionaries({"domains": DOMAINS}, optional={
    "mx_preference": st.sampled_from([5, 10, 20]), "dns": st.sampled_from([{}, {"ttl": 3600}, {"ttl": 60}]),
    "routes": st.sampled_from([{}, {"hosts": {"isp": {"host": "smtp.isp.example", "spf": "include:isp.example"}}, "default": "isp"}]),
})
ADDRESSES = [["198.51.100.25"], ["2001:db8::26", "198.51.100.26"], ["198.51.100.2"]]


def test_what_is_not_refused_is_stable_whichever_host_runs_last():
    counts = {"refused": 0, "shared": 0}

    @settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(HOST, min_size=2, max_size=3), st.booleans())
    def run(drawn, alike):
        if alike:  # as with a group's variable
            drawn = [{**host, "domains": drawn[0]["domains"], "dns": {}} for host in drawn]
        names = ("mail.example.org", "mail2.example.org", "mail3.example.org")
        inventories = [{**host, "fqdn": name, "addresses": own} for host, name, own in zip(drawn, names, ADDRESSES)]
        try:
            made = models(*inventories)
            plans = [dns_plan.in_zones(dns_plan.wanted_records(
                [{"zone": "example.org" if "example.org" in record["name"] else "example.net", "owned_prefix": None, **record}
                 for record in dns.records(model)]), {}) for model in made]
        except MailError as exc:
            assert all(rule.startswith("mail_") for rule in exc.rules), exc.rules
            counts["refused"] += 1
            return
        counts["shared"] += any(hosts.sharing(model) for model in made)
        for order in itertools.permutations(plans):
            there: dict = {}
            for again in range(2):
                for batch in order:
                    changes = dns_plan.plan(batch, there, {})
                    if again:
                        assert not [change for change in changes if change.changed]
                    there.update({change.key: change.after for change in changes})
        assert RRset() not in there.values()

    run()
    assert min(counts.values()) > 30, counts


def test_what_a_domain_of_another_host_is_an_alias_of_may_be_there_alone():
    # Of the other host only those domains are read that are here as well.
    peer = {"name": "two", **TWO, "domains": {"example.org": {"alias_of": "example.net"}}}
    model = normalise(ONE, "Debian", [peer])
    assert published(model, "example.org", "MX") == [["10 mail.example.org.", "10 mail2.example.org."]]
