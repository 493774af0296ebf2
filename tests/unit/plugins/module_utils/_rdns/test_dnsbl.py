# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import CONCLUSIVE, INCONCLUSIVE, LookupOutcome
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import dnsbl

V4, V6 = "198.51.100.25", "2001:db8:100::25"
ZEN = "zen.spamhaus.org"


def answers(zone=ZEN, address=V4, code="nxdomain", listed=("127.0.0.2",), unlisted="nxdomain", text=None):
    """The answers of one list; a status, or the codes."""
    version = 6 if ":" in address else 4
    names = (*dnsbl.test_names(zone, version), dnsbl.query_name(address, zone))
    found = {}
    for name, what in zip(names, (listed, unlisted, code)):
        status, values = (what, ()) if isinstance(what, str) else ("ok", tuple(what))
        found[name, "A"] = LookupOutcome(name, "A", status, values)
    if text is not None:
        found[names[2], "TXT"] = LookupOutcome(names[2], "TXT", "ok", (text,))
    return found


def test_names_of_both_families():
    assert dnsbl.query_name("192.0.2.99", "bad.example.com") == "99.2.0.192.bad.example.com"
    assert dnsbl.query_name("::ffff:192.0.2.99", "bad.example.com") == "99.2.0.192.bad.example.com"
    # RFC 5782 section 2.4
    assert dnsbl.query_name("2001:db8:1:2:3:4:567:89ab", "ugly.example.com") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com"
    )


def test_the_test_entries_of_both_families():
    assert dnsbl.test_names("bl.test", 4) == ("2.0.0.127.bl.test", "1.0.0.127.bl.test")
    zeros = ".".join("0" * 20)
    assert dnsbl.test_names("bl.test", 6) == (
        f"2.0.0.0.0.0.f.7.f.f.f.f.{zeros}.bl.test",
        f"1.0.0.0.0.0.f.7.f.f.f.f.{zeros}.bl.test",
    )


def test_only_lists_of_addresses_that_exist_are_asked_and_only_in_the_families_at_hand():
    zones = [ZEN, "dnsbl.sorbs.net", "multi.surbl.org"]
    assert dnsbl.questions([V4], zones) == [
        ("2.0.0.127.zen.spamhaus.org", "A"), ("1.0.0.127.zen.spamhaus.org", "A"), ("25.100.51.198.zen.spamhaus.org", "A"),
    ]  # fmt: skip
    assert len(dnsbl.questions([V4, V6], zones)) == 6
    assert dnsbl.questions([], zones) == []


def test_the_reason_is_asked_of_addresses_and_not_of_test_entries():
    assert dnsbl.follow_ups([ZEN], LookupOutcome(f"25.100.51.198.{ZEN}", "A", "ok", ("127.0.0.2",))) == [(f"25.100.51.198.{ZEN}", "TXT")]
    assert dnsbl.follow_ups([ZEN], LookupOutcome(f"2.0.0.127.{ZEN}", "A", "ok", ("127.0.0.2",))) == []
    assert dnsbl.follow_ups([ZEN], LookupOutcome("mail.example.org", "A", "ok", (V4,))) == []


def test_a_reason_is_asked_early_only_where_the_list_has_not_answered():
    asked = ("25.100.51.198.slow.test", "A"), ("25.100.51.198.soon.test", "A")
    answers = {asked[1]: LookupOutcome(*asked[1], "nxdomain")}
    assert dnsbl.open_reasons([V4], ["slow.test", "soon.test", "dnsbl.sorbs.net"], answers) == [(asked[0][0], "TXT")]


@pytest.mark.parametrize(
    ("zone", "code", "status", "found"),
    [
        (ZEN, "nxdomain", "pass", "not listed"),
        (ZEN, "nodata", "pass", "not listed"),
        (ZEN, ["127.0.0.2"], "fail", "listed: 127.0.0.2 (SBL: seen sending or supporting spam)"),
        (ZEN, ["127.0.0.10", "127.0.0.2"], "fail",
         "listed: 127.0.0.10 (PBL: the provider says that this range sends no mail directly), "
         "127.0.0.2 (SBL: seen sending or supporting spam)"),
        (ZEN, ["127.0.0.77"], "fail", "listed: 127.0.0.77"),
        (ZEN, ["127.255.255.252"], "unknown", "127.255.255.252: the zone's name is mistyped"),
        (ZEN, ["127.255.255.254"], "unknown", "127.255.255.254: it refuses questions through a public or nameless resolver"),
        (ZEN, ["127.255.255.255"], "unknown",
         "127.255.255.255: it refuses this resolver for asking too much, or because it is not registered"),
        (ZEN, ["127.0.0.2", "127.255.255.254"], "unknown", "127.255.255.254: it refuses questions through a public or nameless resolver"),
        (ZEN, ["203.0.113.7"], "unknown", "it answers 203.0.113.7, no code of a list: the zone is parked"),
        (ZEN, "servfail", "unknown", f"A of 25.100.51.198.{ZEN}: the name server failed (SERVFAIL)"),
        (ZEN, "timeout", "unknown", f"A of 25.100.51.198.{ZEN}: no answer in time"),
        (ZEN, "refused", "unknown", f"A of 25.100.51.198.{ZEN}: the name server refused to answer (REFUSED)"),
        ("bl.unheard-of.test", ["127.0.0.2"], "fail", "listed: 127.0.0.2"),
        ("list.dnswl.org", ["127.0.5.2"], "pass", "not listed as bad: 127.0.5.2 (trust: medium)"),
        ("list.dnswl.org", ["127.0.0.255"], "unknown", "127.0.0.255: asked too often, or through an open resolver"),
        ("list.dnswl.org", ["127.0.10.3"], "unknown", "127.0.10.3: asked too often, or through an open resolver"),
        ("rep.mailspike.net", ["127.0.0.11"], "fail", "listed: 127.0.0.11 (bad reputation)"),
        ("rep.mailspike.net", ["127.0.0.14"], "pass", "not listed as bad: 127.0.0.14 (neutral reputation)"),
        ("rep.mailspike.net", ["127.0.0.19"], "pass", "not listed as bad: 127.0.0.19 (good reputation)"),
        ("hostkarma.junkemailfilter.com", ["127.0.0.1"], "pass", "not listed as bad: 127.0.0.1 (white)"),
        ("hostkarma.junkemailfilter.com", ["127.0.0.2"], "fail", "listed: 127.0.0.2 (black)"),
        ("score.senderscore.com", ["127.0.4.97"], "pass", "not listed as bad: 127.0.4.97 (score of 80 or more)"),
        ("score.senderscore.com", ["127.0.4.12"], "fail", "listed: 127.0.4.12 (score below 70)"),
        ("dnsbl-2.uceprotect.net", ["127.0.0.2"], "warn", "listed: 127.0.0.2"),
        ("key.zen.dq.spamhaus.net", ["127.0.0.4"], "fail", "listed: 127.0.0.4 (XBL: infected or hijacked host)"),
    ],
)  # fmt: skip
def test_what_an_answer_means(zone, code, status, found):
    verdict = dnsbl.judge(zone, V4, answers(zone, code=code))
    assert (verdict.status, verdict.found) == (status, found)


@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize("code", [["127.0.0.2"], "nxdomain"])
@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ({"listed": "nxdomain"}, "its test entry {listed} is not listed"),
        ({"listed": "servfail"}, "its test entries cannot be asked: A of {name}: the name server failed (SERVFAIL)"),
        ({"listed": "timeout"}, "its test entries cannot be asked: A of {name}: no answer in time"),
        ({"unlisted": ["127.0.0.2"]}, "it lists {unlisted}, which nothing may list: it answers for every address"),
        ({"listed": ["203.0.113.7"], "unlisted": ["203.0.113.7"]}, "it answers 203.0.113.7, no code of a list: the zone is parked"),
        ({"listed": ["127.255.255.254"]}, "127.255.255.254: it refuses questions through a public or nameless resolver"),
        ({"unlisted": ["127.255.255.255"]},
         "127.255.255.255: it refuses this resolver for asking too much, or because it is not registered"),
    ],
)  # fmt: skip
def test_a_list_whose_test_entries_do_not_behave_says_neither_listed_nor_clean(address, code, tests, why):
    found = answers(address=address, code=code, **tests)
    version = 6 if ":" in address else 4
    listed, unlisted = ("127.0.0.2", "127.0.0.1") if version == 4 else ("::FFFF:7F00:2", "::FFFF:7F00:1")
    why = why.format(listed=listed, unlisted=unlisted, name=dnsbl.test_names(ZEN, version)[0])
    verdict = dnsbl.judge(ZEN, address, found)
    assert (verdict.status, verdict.found) == ("unknown", f"the list cannot be believed now: {why}")
    zone = dnsbl.judge_zone(ZEN, [address], found)
    assert (zone.status, zone.found) == ("unknown", f"IPv{version}: {why}")
    assert verdict.advice and zone.advice


@pytest.mark.parametrize("status", INCONCLUSIVE)
def test_no_failure_is_ever_listed_or_clean(status):
    assert dnsbl.judge(ZEN, V4, answers(code=status)).status == "unknown"
    assert status not in CONCLUSIVE


def test_a_list_that_behaves_in_one_family_only():
    both = {**answers(), **answers(address=V6, listed="nxdomain")}
    assert dnsbl.judge(ZEN, V4, both).status == "pass"
    assert dnsbl.judge(ZEN, V6, both).status == "unknown"
    verdict = dnsbl.judge_zone(ZEN, [V4, V6], both)
    assert (verdict.status, verdict.found) == ("unknown", "IPv6: its test entry ::FFFF:7F00:2 is not listed")
    assert verdict.advice == f"{ZEN} may list no IPv6 addresses: leave it out for them"


def test_a_listing_carries_its_reason_and_the_page_for_removal():
    verdict = dnsbl.judge(ZEN, V4, answers(code=["127.0.0.3"], text="https://www.spamhaus.org/query/ip/198.51.100.25"))
    assert verdict.reason == "https://www.spamhaus.org/query/ip/198.51.100.25"
    assert verdict.delisting == "https://check.spamhaus.org/listed/?searchterm=198.51.100.25"
    assert verdict.codes == ("127.0.0.3",)
    assert verdict.found == "listed: 127.0.0.3 (CSS: low-reputation sender): https://www.spamhaus.org/query/ip/198.51.100.25"
    assert verdict.advice == f"stop what caused it, then ask for removal at {verdict.delisting}"


def test_a_reason_that_cannot_be_had_changes_nothing():
    found = answers(code=["127.0.0.3"])
    name = dnsbl.query_name(V4, ZEN)
    found[name, "TXT"] = LookupOutcome(name, "TXT", "timeout")
    assert (dnsbl.judge(ZEN, V4, found).status, dnsbl.judge(ZEN, V4, found).reason) == ("fail", "")


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ("dnsbl.sorbs.net", "SORBS: decommissioned on 2024-06-05; it was not asked"),
        ("ix.dnsbl.manitu.net", "NiXSpam: closed on 2025-01-16; it was not asked"),
        ("multi.surbl.org", "SURBL lists no addresses; it was not asked"),
    ],
)
def test_lists_that_are_not_asked(zone, found):
    verdict = dnsbl.judge_zone(zone, [V4], {})
    assert (verdict.status, verdict.found, verdict.advice) == ("warn", found, f"take {zone} out of dnsbls")
    assert dnsbl.judge(zone, V4, {}).status == "unknown"


@pytest.mark.parametrize(
    ("zone", "secrets"),
    [
        ("abcdef0123456789.zen.dq.spamhaus.net", {"abcdef0123456789"}),
        ("abcdef0123456789.combined.mail.abusix.zone", {"abcdef0123456789"}),
        ("ABCdef.zen.DQ.spamhaus.net.", {"ABCdef", "abcdef"}),
        ("ab_c!.zen.dq.spamhaus.net", {"ab_c!"}),
        ("a\\b.zen.dq.spamhaus.net", {"a\\b", "a\\\\b"}),
        ("abc..def.zen.dq.spamhaus.net", {"abc", "def"}),
        ("zen.dq.spamhaus.net", set()),
        ("zen.spamhaus.org", set()),
        ("bl.test", set()),
    ],
)
def test_keys_in_zone_names(zone, secrets):
    assert dnsbl.secret_labels(zone) == secrets


@pytest.mark.parametrize(
    ("pattern", "code", "matches"),
    [
        ("127.0.0.2", "127.0.0.2", True), ("127.0.0.2", "127.0.0.20", False), ("127.0.0.10-12", "127.0.0.11", True),
        ("127.0.0.10-12", "127.0.0.13", False), ("127.0.*.3", "127.0.9.3", True), ("127.0.*.3", "127.0.9.2", False),
    ],
)  # fmt: skip
def test_patterns(pattern, code, matches):
    assert dnsbl._matches(pattern, code) is matches


def test_the_lists_that_are_known():
    for zone, facts in dnsbl.KNOWN.items():
        assert domain_name(zone) == zone
        assert facts.kind in ("addresses", "domains")
        assert not facts.delisting or facts.delisting.startswith(("https://", "http://"))
    for zone in dnsbl.DEFAULT_DNSBLS:
        assert dnsbl.facts(zone).kind == "addresses"
        assert not dnsbl.facts(zone).closed
        assert not dnsbl.facts(zone).ranges
