# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wait as dns_wait
from ansible_collections.postmaster.mail.plugins.module_utils._dns import wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Server, Unreachable
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import from_text
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import RRset

NAME, ZONE = "s1._domainkey.example.org", "example.org"
IPV4, IPV6, OTHER = "192.0.2.1", "2001:db8::1", "192.0.2.2"
AA = wire.QR | wire.AA
SILENT, NO_ROUTE = Unreachable("does not answer"), Unreachable("Network is unreachable", unknown=True)


def wanted(state="exact", values=("a",)):
    item = {"name": NAME, "zone": ZONE, "type": "TXT", "values": list(values), "ttl": 60, "state": state, "owned_prefix": None}
    return dns_plan.in_zones(dns_plan.wanted_records([item]), {})


def reply(*values, flags=AA, alias=None):
    records = [wire.Record(NAME, "TXT", 60, from_text("TXT", value).wire) for value in values]
    if alias:
        records = [wire.Record(NAME, "CNAME", 60, from_text("CNAME", alias).wire)]
    return wire.Reply(1, flags, (NAME, "TXT"), tuple(records), ())


@pytest.fixture
def answers(monkeypatch):
    """What each address answers: a list that is used up, its last one again and again."""
    given = {}

    def ask(questions, _timeout):
        for question in questions:
            answer = given[question.server.address]
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
            question.reply, question.error = (None, answer) if isinstance(answer, Unreachable) else (answer, None)

    monkeypatch.setattr(dns_client, "ask", ask)
    monkeypatch.setattr(dns_wait.time, "sleep", lambda _seconds: None)
    return given


def servers(*addresses):
    return [dns_wait.Authority(ZONE, f"ns{at}.example.org", Server(address)) for at, address in enumerate(addresses)]


@pytest.mark.parametrize(
    ("first", "second", "statuses", "served"),
    [
        (reply("a"), reply("a"), ["ok", "ok"], True),
        (reply("a"), NO_ROUTE, ["ok", "unknown"], True),
        (NO_ROUTE, NO_ROUTE, ["unknown", "unknown"], False),
        (reply("a"), SILENT, ["ok", "unreachable"], False),
        (reply("a"), reply(), ["ok", "stale"], False),
        (reply("a"), reply("a", "b"), ["ok", "stale"], False),
        (reply("a"), reply("a", flags=wire.QR), ["ok", "unreachable"], False),
        (reply("a"), reply(flags=AA | 5), ["ok", "unreachable"], False),
        (reply("a"), reply(flags=AA | 3), ["ok", "stale"], False),
        (reply("a"), reply(alias="x.example.net"), ["ok", "stale"], False),
    ],
)
def test_one_look(answers, first, second, statuses, served):
    answers.update({IPV4: [first], IPV6: [second]})
    there = servers(IPV4, IPV6)
    dns_wait.look(wanted(), there)
    assert [entry.status for entry in there] == statuses
    assert dns_wait.served(wanted()[0], dns_wait.by_zone(there)) is served


@pytest.mark.parametrize(
    ("behind", "status", "reason"),
    [
        (("a",), "ok", ""),
        (("b",), "stale", f"{NAME} TXT: lacks 'a', still has 'b', there is a CNAME to x.example.net."),
        ((), "stale", f"{NAME} TXT: lacks 'a', there is a CNAME to x.example.net."),
        (SILENT, "unreachable", f"{NAME} TXT: there is a CNAME to x.example.net., which is not known: does not answer"),
    ],
)
@pytest.mark.parametrize("flags", [AA, AA | 2, AA | 3])
def test_an_alias_is_followed(answers, behind, status, reason, flags):
    answers[IPV4] = [reply(alias="x.example.net", flags=flags)]
    there = servers(IPV4)
    found = behind if isinstance(behind, Unreachable) else RRset(tuple(from_text("TXT", value) for value in behind), 60)
    dns_wait.look(wanted(), there, behind=lambda pairs: dict.fromkeys(pairs, found))
    assert (there[0].status, there[0].reason) == (status, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(), f"{NAME} TXT: lacks 'a'"),
        (reply("a", "b"), f"{NAME} TXT: still has 'b'"),
        (reply("b"), f"{NAME} TXT: lacks 'a', still has 'b'"),
        (reply(alias="x.example.net"), f"{NAME} TXT: lacks 'a', there is a CNAME to x.example.net."),
        (reply(flags=AA | 5), f"answers REFUSED for {NAME} TXT: it does not serve the zone"),
        (reply(flags=wire.QR), f"answers without authority for {NAME} TXT: a lame delegation (RFC 1912 section 2.8)"),
        (SILENT, "does not answer"),
    ],
)
def test_reasons(answers, answer, reason):
    answers[IPV4] = [answer]
    there = servers(IPV4)
    dns_wait.look(wanted(), there)
    assert there[0].reason == reason


def test_waiting_until_the_last_one_has_it(answers):
    answers.update({IPV4: [reply("a")], OTHER: [reply(), SILENT, reply("b"), reply("a")], IPV6: [NO_ROUTE]})
    there = servers(IPV4, OTHER, IPV6)
    assert dns_wait.wait(wanted(), there, 60) is True
    assert [entry.status for entry in there] == ["ok", "ok", "unknown"]


def test_where_nobody_can_be_asked_there_is_nothing_to_wait_for(answers):
    answers[IPV6] = [NO_ROUTE]
    assert dns_wait.wait(wanted(), servers(IPV6), 10**6) is False
    assert dns_wait.wait(wanted(), [dns_wait.Authority(ZONE, None, None, "unreachable", "not delegated")], 10**6) is False


class Resolver:
    """Answers for the name servers of each zone, and for the addresses of them: lists that are used up."""

    def __init__(self, *answers, addresses=()):
        self.answers = list(answers)
        self.hosts = list(addresses)

    def ask(self, pairs):
        return {pair: self.answers.pop(0) for pair in pairs}

    def addresses(self, hosts):
        return {host: self.hosts.pop(0) if self.hosts else [IPV4] for host in hosts}


SERVFAIL = Unreachable("resolver 192.0.2.53 answers SERVFAIL for example.org NS")
DELEGATED = wire.Reply(1, AA, (ZONE, "NS"), (wire.Record(ZONE, "NS", 60, from_text("CNAME", "ns1.example.org").wire),), ())
LOST = "the name servers of the zone are not known: resolver 192.0.2.53 answers SERVFAIL for example.org NS"


def test_name_servers_that_cannot_be_looked_up_at_first_are_looked_up_again(answers):
    answers[IPV4] = [reply(), reply("a")]
    resolver = Resolver(SERVFAIL, SERVFAIL, DELEGATED)
    there = dns_wait.authorities(resolver, [ZONE])
    assert [(entry.status, entry.reason, entry.lost) for entry in there] == [("unknown", LOST, True)]
    assert dns_wait.wait(wanted(), there, 60, again=lambda zones: dns_wait.authorities(resolver, zones)) is True
    assert [(entry.host, entry.status) for entry in there] == [("ns1.example.org", "ok")]
    assert resolver.answers == []


def test_the_time_is_over_though_name_servers_are_not_known(answers):
    resolver = Resolver(SERVFAIL)
    there = dns_wait.authorities(resolver, [ZONE])
    assert dns_wait.wait(wanted(), there, 0, again=lambda zones: dns_wait.authorities(resolver, zones)) is False
    assert [entry.reason for entry in there] == [LOST]


NO_A, NO_AAAA = (Unreachable(f"resolver 192.0.2.53 answers SERVFAIL for ns1.example.org {rtype}") for rtype in ("A", "AAAA"))


@pytest.mark.parametrize("failed", [[NO_A, NO_AAAA], [IPV4, NO_AAAA], [NO_A, IPV6]])
def test_an_address_that_cannot_be_looked_up_at_first_is_looked_up_again(answers, failed):
    answers.update({IPV4: [reply("a")], IPV6: [reply("a")]})
    resolver = Resolver(DELEGATED, DELEGATED, DELEGATED, addresses=[failed, failed, [IPV4, IPV6]])
    there = dns_wait.authorities(resolver, [ZONE])
    reasons = [f"an address of name server 'ns1.example.org' is not known: {why}" for why in failed if isinstance(why, Unreachable)]
    assert [(entry.status, entry.reason) for entry in there if entry.lost] == [("unreachable", reason) for reason in reasons]
    dns_wait.look(wanted(), there)
    assert dns_wait.served(wanted()[0], dns_wait.by_zone(there)) is False
    assert dns_wait.wait(wanted(), there, 60, again=lambda zones: dns_wait.authorities(resolver, zones)) is True
    assert [(entry.server.address, entry.status) for entry in there] == [(IPV4, "ok"), (IPV6, "ok")]
    assert resolver.answers == []


def test_the_time_is_over_though_an_address_is_not_known(answers):
    answers[IPV4] = [reply("a")]
    resolver = Resolver(DELEGATED, addresses=[[IPV4, NO_AAAA]])
    there = dns_wait.authorities(resolver, [ZONE])
    assert dns_wait.wait(wanted(), there, 0, again=lambda zones: dns_wait.authorities(resolver, zones)) is False
    assert [entry.status for entry in there] == ["ok", "unreachable"]


def test_a_resolver_to_which_there_is_no_route_is_not_waited_for(answers):
    resolver = Resolver(NO_ROUTE)
    there = dns_wait.authorities(resolver, [ZONE])
    assert dns_wait.wait(wanted(), there, 10**6, again=lambda zones: dns_wait.authorities(resolver, zones)) is False


def test_the_servers_of_other_zones_keep_their_place(answers):
    answers[IPV4] = [reply("a")]
    other = dns_wait.Authority("example.net", None, None, "unreachable", "not delegated")
    resolver = Resolver(SERVFAIL, DELEGATED)
    there = [*dns_wait.authorities(resolver, [ZONE]), other]
    assert dns_wait.wait(wanted(), there, 60, again=lambda zones: dns_wait.authorities(resolver, zones)) is True
    assert [(entry.zone, entry.status) for entry in there] == [(ZONE, "ok"), ("example.net", "unreachable")]


def test_what_was_there_and_is_gone_when_the_rest_comes_is_not_served(answers):
    answers[IPV4] = [reply("a"), reply("b"), reply("a", "b")]
    batch, authorities = wanted("present", ["a"]) + wanted("present", ["b"]), servers(IPV4)
    zones = dns_wait.by_zone(authorities)
    for expected in ([True, False], [False, True], [True, True]):
        dns_wait.look(batch, authorities)
        assert [dns_wait.served(item, zones) for item in batch] == expected
    assert authorities[0].status == "ok"


def test_removal(answers):
    answers[IPV4] = [reply("a"), reply()]
    assert dns_wait.wait(wanted("absent", ()), servers(IPV4), 60) is True


def test_thousands_of_records_take_no_longer_than_they_are(monkeypatch):
    """What a server still lacks was looked for among all records, for each answer."""
    items = [{"name": f"n{at}.{ZONE}", "zone": ZONE, "type": "TXT", "values": ["a"], "ttl": 60, "state": "exact", "owned_prefix": None}
             for at in range(4000)]  # fmt: skip
    batch = dns_plan.in_zones(dns_plan.wanted_records(items), {})
    compared = 0

    def ask(questions, _timeout):
        for question in questions:
            record = wire.Record(question.name, "TXT", 60, from_text("TXT", "a").wire)
            question.reply, question.error = wire.Reply(1, AA, (question.name, "TXT"), (record,), ()), None

    class Key(type(batch[0])):
        @property
        def key(self):
            nonlocal compared
            compared += 1
            return super().key

    monkeypatch.setattr(dns_client, "ask", ask)
    there = servers(IPV4)
    dns_wait.look([Key(**{name: getattr(item, name) for name in item.__dataclass_fields__}) for item in batch], there)
    assert there[0].status == "ok" and len(there[0].found) == 4000
    assert compared <= 5 * len(batch)
