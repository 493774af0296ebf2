# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import LookupOutcome
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns

V4, V6 = "198.51.100.25", "2001:db8:100::25"
HOST = "mail.example.org"


def reverse(address):
    return ipaddress.ip_address(address).reverse_pointer


def world(*entries):
    """Answers from tuples of name, type, status or list of values, and aliases."""
    answers = {}
    for name, rdtype, what, *aliases in entries:
        status, values = ("ok", tuple(what)) if isinstance(what, list) else (what, ())
        answers[name, rdtype] = LookupOutcome(name, rdtype, status, values, tuple(aliases))
    return answers


GOOD = world(
    (reverse(V4), "PTR", [HOST]),
    (reverse(V6), "PTR", [HOST]),
    (HOST, "A", [V4]),
    (HOST, "AAAA", [V6]),
    ("example.org", "MX", [f"10 {HOST}"]),
)


def judged(check, changes=(), addresses=(V4,), hostname=HOST, domains=(), greetings=None, subject=None):
    """The checks of that name, as (status, found)."""
    plan = rdns.plan(addresses, hostname, domains, greetings is not None)
    checks = rdns.judge(plan, {**GOOD, **world(*changes)}, greetings or {})
    found = [(entry["status"], entry["found"]) for entry in checks if entry["check"] == check and subject in (None, entry["subject"])]
    assert len(found) == 1, checks
    return found[0]


# ---- options

def test_a_plan_is_canonical_and_without_repetitions():
    addresses = ["198.51.100.25", "::ffff:198.51.100.25", "2001:DB8::0"]
    plan = rdns.plan(addresses, "Mail.Example.org.", ["B.test", "b.test."], True, ["Zen.Spamhaus.org"])
    assert plan == rdns.LookupPlan(("198.51.100.25", "2001:db8::"), "mail.example.org", ("b.test",), True, ("zen.spamhaus.org",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"addresses": []}, "addresses must not be empty: there is nothing to look at"),
        ({"addresses": ["fe80::1%eth0"]}, "addresses 'fe80::1%eth0' has a zone identifier; only addresses of global meaning can be used"),
        ({"addresses": [V4], "domains": ["exämple.org"]},
         "domains 'exämple.org' is not ASCII: write the A-label form, xn--... (RFC 5890 section 2.3.2.1)"),
        ({"addresses": [V4], "hostname": "mail_1.example.org"},
         "hostname 'mail_1.example.org' has a bad label 'mail_1': letters, digits and inner hyphens only (RFC 1123 section 2.1)"),
    ],
)  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(MailError) as error:
        rdns.plan(**options)
    assert str(error.value) == message


def test_what_can_fail_a_task():
    assert rdns.fail_on(["fail", "ptr"]) == ("fail", "ptr")
    with pytest.raises(MailError) as error:
        rdns.fail_on(["pass"])
    assert str(error.value) == (
        "fail_on 'pass' is neither a status nor a check; known are: fail, warn, unknown, public, ptr, alias, forward, hostname, "
        "helo, generic, families, mx, banner, ehlo, dnsbl_zone, dnsbl"
    )


# ---- what to ask

def test_the_questions_that_come_first_and_those_that_follow():
    plan = rdns.plan([V4], HOST, ["example.org"])
    assert rdns.first_questions(plan) == [("25.100.51.198.in-addr.arpa", "PTR"), (HOST, "A"), (HOST, "AAAA"), ("example.org", "MX")]
    assert rdns.follow_ups(plan, LookupOutcome(reverse(V4), "PTR", "ok", (HOST,))) == [(HOST, "A"), (HOST, "AAAA")]
    assert rdns.follow_ups(plan, LookupOutcome("example.org", "MX", "ok", ("20 b.test", "10 a.test"))) == [
        ("a.test", "A"), ("a.test", "AAAA"), ("b.test", "A"), ("b.test", "AAAA"),
    ]  # fmt: skip
    assert rdns.follow_ups(plan, LookupOutcome("example.org", "MX", "nodata")) == [("example.org", "A"), ("example.org", "AAAA")]
    assert rdns.follow_ups(plan, LookupOutcome("example.org", "MX", "ok", ("0 .",))) == []
    assert rdns.follow_ups(plan, LookupOutcome("example.org", "MX", "servfail")) == []
    assert rdns.follow_ups(plan, LookupOutcome(HOST, "A", "ok", (V4,))) == []


def test_a_zone_with_many_names_cannot_multiply_the_questions():
    plan = rdns.plan([V4])
    assert len(rdns.follow_ups(plan, LookupOutcome(reverse(V4), "PTR", "ok", tuple(f"n{n}.test" for n in range(500))))) == 20


def test_lists_are_not_asked_about_addresses_that_are_not_public():
    plan = rdns.plan(["10.0.0.1"], dnsbls=["bl.test"])
    assert rdns.first_questions(plan) == [("1.0.0.10.in-addr.arpa", "PTR")]


# ---- checks

@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("198.51.100.25", ""), ("192.0.2.1", ""), ("203.0.113.1", ""), ("2001:db8::25", ""), ("8.8.8.8", ""), ("2606:4700::1", ""),
        ("10.1.2.3", "private, RFC 1918"), ("172.31.0.1", "private, RFC 1918"), ("172.32.0.1", ""), ("192.168.1.1", "private, RFC 1918"),
        ("127.0.0.1", "loopback, RFC 1122 section 3.2.1.3"), ("169.254.1.1", "link-local, RFC 3927"),
        ("192.0.0.1", "protocol assignments, RFC 6890"), ("198.19.255.255", "benchmarks, RFC 2544"), ("fec0::1", "site-local, RFC 3879"),
        ("100.64.0.1", "shared behind a carrier's NAT, RFC 6598"), ("224.0.0.1", "multicast, RFC 5771"),
        ("::1", "unspecified or loopback, RFC 4291 section 2.5"), ("fd00::1", "unique local, RFC 4193"),
        ("fe80::1", "link-local, RFC 4291 section 2.5.6"), ("ff02::1", "multicast, RFC 4291 section 2.7"),
    ],
)  # fmt: skip
def test_public_addresses(address, why):
    assert rdns.not_public(address) == why
    status, found = judged("public", addresses=[address], hostname=None)
    assert (status, found) == (("fail", f"{address} is not public ({why})") if why else ("pass", "public"))


@pytest.mark.parametrize(
    ("ptr", "ptr_check", "forward", "hostname"),
    [
        ([HOST], ("pass", HOST), ("pass", f"{HOST} has A {V4}"), ("pass", HOST)),
        (["b.test", HOST], ("warn", f"2 names: b.test, {HOST}"), ("fail", "b.test has A 198.51.100.7"),
         ("warn", f"2 names: b.test, {HOST}")),
        (["b.test"], ("pass", "b.test"), ("fail", "b.test has A 198.51.100.7"), ("fail", "b.test")),
        (["none.test"], ("pass", "none.test"), ("fail", "A of none.test: the name does not exist (NXDOMAIN)"), ("fail", "none.test")),
        (["slow.test"], ("pass", "slow.test"), ("unknown", "A of slow.test: no answer in time"), ("fail", "slow.test")),
        ("nxdomain", ("fail", f"none: PTR of {reverse(V4)}: the name does not exist (NXDOMAIN)"),
         ("fail", "there is no name to resolve"), ("fail", "no reverse name")),
        ("nodata", ("fail", f"none: PTR of {reverse(V4)}: the name has no such record"),
         ("fail", "there is no name to resolve"), ("fail", "no reverse name")),
        ("servfail", ("unknown", f"PTR of {reverse(V4)}: the name server failed (SERVFAIL)"),
         ("unknown", "the name is not known"), ("unknown", "the name is not known")),
        ("refused", ("unknown", f"PTR of {reverse(V4)}: the name server refused to answer (REFUSED)"),
         ("unknown", "the name is not known"), ("unknown", "the name is not known")),
        ("truncated", ("unknown", f"PTR of {reverse(V4)}: the answer was truncated and could not be had over TCP"),
         ("unknown", "the name is not known"), ("unknown", "the name is not known")),
    ],
)  # fmt: skip
def test_reverse_and_forward(ptr, ptr_check, forward, hostname):
    changes = [
        (reverse(V4), "PTR", ptr), ("b.test", "A", ["198.51.100.7"]), ("b.test", "AAAA", "nodata"), ("none.test", "A", "nxdomain"),
        ("none.test", "AAAA", "nxdomain"), ("slow.test", "A", "timeout"), ("slow.test", "AAAA", "timeout"),
    ]  # fmt: skip
    assert judged("ptr", changes) == ptr_check
    assert judged("forward", changes) == forward
    assert judged("hostname", changes) == hostname


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], ("pass", HOST)),
        ([(HOST, "A", [V4], "real.test"), (HOST, "AAAA", "nodata", "real.test")], ("fail", f"{HOST} is a CNAME for real.test")),
        ([(HOST, "A", "timeout")], ("pass", HOST)),
        ([(HOST, "A", "timeout"), (HOST, "AAAA", "servfail")], ("unknown", f"A of {HOST}: no answer in time")),
        # RFC 2317: aliases on the way to the PTR record are how classless delegation works.
        ([(reverse(V4), "PTR", [HOST], "25.0/25.100.51.198.in-addr.arpa")], ("pass", HOST)),
        ([(reverse(V4), "PTR", "timeout")], ("unknown", "the name is not known")),
    ],
)
def test_alias(changes, expected):
    assert judged("alias", changes) == expected


@pytest.mark.parametrize(
    ("addresses", "changes", "expected"),
    [
        ([V4, V6], [], ("pass", f"{V4}, {V6}")),
        ([V4, V6], [(HOST, "AAAA", "nodata")], ("warn", V4)),
        ([V4, V6], [(HOST, "AAAA", "timeout")], ("unknown", f"AAAA of {HOST}: no answer in time")),
        ([V4], [(HOST, "AAAA", "timeout")], ("pass", V4)),
        ([V4], [(HOST, "A", ["198.51.100.7"]), (HOST, "AAAA", "nodata")], ("fail", "198.51.100.7")),
        ([V4], [(HOST, "A", "nxdomain"), (HOST, "AAAA", "nxdomain")],
         ("fail", f"no address: A of {HOST}: the name does not exist (NXDOMAIN)")),
        # RFC 5321 section 2.3.5 lets a HELO name be an alias.
        ([V4], [(HOST, "A", [V4], "real.test")], ("pass", f"{V4}, {V6}")),
    ],
)
def test_helo(addresses, changes, expected):
    assert judged("helo", changes, addresses) == expected


@pytest.mark.parametrize(
    ("addresses", "changes", "expected"),
    [
        ([V4, V6], [], ("pass", HOST)),
        ([V4], [(HOST, "AAAA", "nodata")], ("pass", HOST)),
        ([V4], [], ("warn", f"{HOST} also has {V6}")),
        ([V4, V6], [(reverse(V6), "PTR", ["six.test"])], ("warn", f"IPv4 has {HOST} and IPv6 has six.test")),
        ([V4, V6], [(reverse(V6), "PTR", "nxdomain")], ("warn", f"IPv4 has {HOST} and IPv6 has no name")),
        ([V4, V6], [(reverse(V6), "PTR", "refused")], ("unknown", f"PTR of {reverse(V6)}: the name server refused to answer (REFUSED)")),
        ([V4, V6], [(HOST, "AAAA", "lame")],
         ("unknown", f"AAAA of {HOST}: the name server neither knows the zone nor looks further (lame)")),
    ],
)
def test_families(addresses, changes, expected):
    assert judged("families", changes, addresses) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], ("pass", f"MX {HOST}")),
        ([("example.org", "MX", ["20 mx.other.test", f"30 {HOST}"]), ("mx.other.test", "A", ["198.51.100.9"])], ("pass", f"MX {HOST}")),
        ([("example.org", "MX", ["10 mx.other.test"]), ("mx.other.test", "A", ["198.51.100.9"])],
         ("fail", "MX mx.other.test has 198.51.100.9")),
        ([("example.org", "MX", ["10 mx.other.test"]), ("mx.other.test", "A", "servfail")],
         ("unknown", "A of mx.other.test: the name server failed (SERVFAIL)")),
        ([("example.org", "MX", ["10 mx.other.test"]), ("mx.other.test", "A", "nxdomain")], ("fail", "MX mx.other.test has none")),
        ([("example.org", "MX", ["0 ."])], ("fail", "a null MX: the domain accepts no mail (RFC 7505)")),
        ([("example.org", "MX", "nxdomain")], ("fail", "MX of example.org: the name does not exist (NXDOMAIN)")),
        ([("example.org", "MX", "timeout")], ("unknown", "MX of example.org: no answer in time")),
        ([("example.org", "MX", "nodata"), ("example.org", "A", [V4])],
         ("warn", f"no MX record; example.org itself has {V4} (RFC 5321 section 5.1)")),
        ([("example.org", "MX", "nodata"), ("example.org", "A", ["198.51.100.9"])],
         ("fail", "MX of example.org: the name has no such record")),
        ([("example.org", "MX", ["10 mx.example.org"]), ("mx.example.org", "A", [V4], HOST)],
         ("fail", f"mx.example.org is a CNAME for {HOST}")),
        ([("example.org", "MX", ["10 mx.example.org", f"20 {HOST}"]), ("mx.example.org", "A", [V4], HOST)],
         ("pass", f"MX mx.example.org, {HOST}")),
    ],
)  # fmt: skip
def test_mx(changes, expected):
    assert judged("mx", changes, domains=["example.org"]) == expected


def test_every_domain_has_to_lead_to_every_address():
    assert judged("mx", [(HOST, "AAAA", "nodata")], [V4, V6], domains=["example.org"], subject=f"example.org to {V4}")[0] == "pass"
    assert judged("mx", [(HOST, "AAAA", "nodata")], [V4, V6], domains=["example.org"], subject=f"example.org to {V6}")[0] == "fail"


@pytest.mark.parametrize(
    ("greeting", "hostname", "banner", "ehlo"),
    [
        (rdns.Greeting("ok", 220, f"{HOST} ESMTP Postfix", 250, HOST), HOST, ("pass", f"220 {HOST} ESMTP Postfix"),
         ("pass", f"250 {HOST}")),
        (rdns.Greeting("ok", 220, "MAIL.Example.ORG. ESMTP", 250, f"{HOST} Hello"), None,
         ("pass", "220 MAIL.Example.ORG. ESMTP"), ("pass", f"250 {HOST} Hello")),
        (rdns.Greeting("ok", 220, "localhost ESMTP", 250, "localhost"), HOST, ("fail", "220 localhost ESMTP"), ("fail", "250 localhost")),
        (rdns.Greeting("ok", 220, "*****", 250, HOST), HOST, ("fail", "220 *****"), ("pass", f"250 {HOST}")),
        (rdns.Greeting("ok", 220, "", 250, ""), HOST, ("fail", "220"), ("fail", "250")),
        (rdns.Greeting("ok", 554, f"{HOST} no"), HOST, ("fail", f"554 {HOST} no"), ("unknown", "no answer")),
        (rdns.Greeting("ok", 220, HOST, 502, "no"), HOST, ("pass", f"220 {HOST}"), ("fail", "502 no")),
        (rdns.Greeting("refused", detail="nothing listens on port 25"), HOST,
         ("fail", "nothing listens on port 25"), ("fail", "nothing listens on port 25")),
        (rdns.Greeting("timeout", detail="late"), HOST, ("unknown", "late"), ("unknown", "late")),
        (rdns.Greeting("unreachable", detail="no route"), HOST, ("unknown", "no route"), ("unknown", "no route")),
        (rdns.Greeting("broken", detail="not an SMTP reply: 'SSH'"), HOST,
         ("fail", "not an SMTP reply: 'SSH'"), ("fail", "not an SMTP reply: 'SSH'")),
    ],
)  # fmt: skip
def test_what_the_server_announces(greeting, hostname, banner, ehlo):
    assert judged("banner", hostname=hostname, greetings={V4: greeting}) == banner
    assert judged("ehlo", hostname=hostname, greetings={V4: greeting}) == ehlo


def test_a_greeting_without_any_name_to_compare_with_is_unknown():
    greeting = rdns.Greeting("ok", 220, HOST, 250, HOST)
    assert judged("banner", [(reverse(V4), "PTR", "nxdomain")], hostname=None, greetings={V4: greeting}) == ("unknown", f"220 {HOST}")


# ---- names that look generic

@pytest.mark.parametrize(
    "name",
    [
        # the whole address, either way round, any separator, padded or not
        "198-51-100-25.example.net", "ip-198-51-100-25.example.net", "25.100.51.198.example.net", "static.25.100.51.198.clients.example.de",
        "host198x51x100x25.example.net", "198_51_100_25.example.net", "198-051-100-025.example.net", "025-100-051-198.example.net",
        "198051100025.example.net", "p025100051198.example.net", "h1985110025.example.net", "ec2-198-51-100-25.compute-1.amazonaws.com",
        # hexadecimal and one number
        "c6336419.example.net", "c6-33-64-19.example.net", "196433c6.example.net", "3325256729.example.net",
        # a part of it
        "100-25.pool.example.net", "25-100.example.net", "ns3012345.ip-198-51-100.eu", "198-51.cust.100-25.example.net",
        "host25.net100.example.net", "h100025.example.net",
        # words
        "dyn.example.net", "dhcp-17.example.net", "pool3.example.net", "mail.adsl.example.net", "ppp7.example.net", "cpe1.example.net",
        "static.example.net", "static-ip.example.net", "host-static7.example.net",
        # hosters
        "vps-1a2b3c4d.vps.ovh.net", "vps12345.ovh.net", "vmi12345.contaboserver.net", "li123-45.members.linode.com",
    ],
)  # fmt: skip
def test_generic_ipv4_names(name):
    assert rdns.looks_generic(name, [V4]), name


@pytest.mark.parametrize(
    "name",
    [
        "mail.example.org", "mx25.example.org", "mx1.example.org", "smtp-100.example.org", "mail198.example.org", "a25b.example.org",
        "mail.pool.org", "pool.org", "mx.dyn.com", "static.org", "mail.static.org",
        "vps.example.org", "vps1.example.org", "mail51.example.org", "host1985110.example.org",
        "carpool.example.org", "dynamo.example.org", "mail-2.1.example.org", "x1981.51.example.org", "mail.net25.org",
        "deadc6336419beef.example.org", "server-251.100.example.org", "mx.adslfabrik.example",
    ],
)  # fmt: skip
def test_own_names(name):
    assert rdns.looks_generic(name, [V4]) == "", name


def test_names_below_the_zones_of_a_country():
    for name in ("mail.dynamic-systems.co.uk", "mail.pool.com.br", "mx.dsl.net.nz", "mail.dyn.org.uk"):
        assert rdns.looks_generic(name, [V4]) == "", name
    for name in ("mail.dynamic.example.co.uk", "pool1.example.com.br"):
        assert rdns.looks_generic(name, [V4]), name


def test_small_octets_are_no_evidence_apart_from_each_other():
    assert rdns.looks_generic("mx1.mail2.example.org", ["1.2.1.2"]) == ""


@pytest.mark.parametrize(
    ("name", "address", "generic"),
    [
        ("mx1-2.example.org", "198.1.2.3", False), ("mx2-1.example.org", "198.1.2.3", False), ("mx0-0.example.org", "192.0.0.25", False),
        ("mail0-1.example.org", "203.0.1.7", False), ("mx1-2.mail.example.org", "1.2.1.2", False),
        ("h1-2-3.example.org", "198.1.2.3", True), ("h3-2-1.example.org", "198.1.2.3", True), ("h198-1.example.org", "198.1.2.3", True),
        ("h0-25.example.org", "192.0.0.25", True), ("h2-10.example.org", "198.51.2.10", True), ("h1-2-1.example.org", "1.2.1.2", True),
    ],
)  # fmt: skip
def test_two_neighbours_below_ten_count_machines(name, address, generic):
    assert bool(rdns.looks_generic(name, [address])) is generic


@pytest.mark.parametrize(
    "name",
    [
        "2001-db8-100--25.example.net", "20010db8010000000000000000000025.example.net",
        "2001-0db8-0100-0000-0000-0000-0000-0025.example.net",
        "2001-db8-100-0-0-0-0-25.example.net", f"{'.'.join('20010db801000000')}.example.net",
        f"{'.'.join('5200000000000000')}.rev.example.net",
        "h-2001-db8-100.example.net", "0000000000000025.example.net", "dynamic.example.net", "2001.db8.100.example.net",
        "5200000000000000.example.net",
    ],
)  # fmt: skip
def test_generic_ipv6_names(name):
    assert rdns.looks_generic(name, [V6]), name


@pytest.mark.parametrize("name", ["mail.example.org", "mx25.example.org", "db8.example.org", "mail.100.example.org",
"mx-0-0-0.example.org"])
def test_own_names_on_ipv6(name):
    assert rdns.looks_generic(name, [V6]) == "", name


def test_the_reason_is_told_and_either_family_counts():
    assert rdns.looks_generic("ip-198-51-100-25.example.net", [V6, V4]) == f"carries the digits of {V4}"
    assert rdns.looks_generic("a.vps.ovh.net", [V4]) == "is a name that the hoster gives to every machine (*.vps.ovh.net)"
    assert rdns.looks_generic("vps12345.ovh.net", [V4]) == "is a name that a hoster gives to every machine (a kind and a number)"
    assert rdns.looks_generic("pool1.example.net", [V4]) == "has the word 'pool' of dynamic addresses"
    assert rdns.looks_generic("static.isp.net", [V4]) == "has the word 'static' of addresses that nobody named"
    assert judged("generic", [(reverse(V4), "PTR", ["pool1.example.net"])]) == (
        "warn", "pool1.example.net has the word 'pool' of dynamic addresses",
    )  # fmt: skip


# ---- the result

CHECKS = [
    {"check": "ptr", "subject": V4, "status": "pass", "expected": "one PTR record", "found": HOST, "advice": ""},
    {"check": "forward", "subject": V4, "status": "unknown", "expected": f"A {V4}", "found": "no answer", "advice": "ask again"},
    {"check": "generic", "subject": V4, "status": "warn", "expected": "a name of its own", "found": "pool1", "advice": "rename it"},
    {"check": "mx", "subject": "example.org", "status": "fail", "expected": "an MX", "found": "none", "advice": "publish one"},
]


@pytest.mark.parametrize(
    ("fail_on", "failing"),
    [
        ([], []),
        (["fail"], ["mx"]),
        (["fail", "warn"], ["generic", "mx"]),
        (["unknown"], ["forward"]),
        (["ptr"], []),
        (["ptr", "forward"], ["forward"]),
        (["generic"], ["generic"]),
        (["generic", "fail"], ["generic", "mx"]),
    ],
)
def test_what_fails_the_task(fail_on, failing):
    assert [entry["check"] for entry in rdns.failing(CHECKS, fail_on)] == failing


def test_summary_and_report():
    assert rdns.summary(CHECKS) == {"pass": 1, "warn": 1, "fail": 1, "unknown": 1}
    assert rdns.report(CHECKS[2:]) == (
        f"generic {V4}: warn: expected a name of its own; found pool1. To do: rename it.\n"
        "mx example.org: fail: expected an MX; found none. To do: publish one."
    )


def test_every_check_that_does_not_pass_has_advice_and_no_other_has():
    plan = rdns.plan([V4, V6, "10.0.0.1"], HOST, ["example.org"], True, ["zen.spamhaus.org", "dnsbl.sorbs.net", "multi.surbl.org"])
    for answers in ({}, GOOD, {key: LookupOutcome(*key, "nxdomain") for key in GOOD}):
        greetings = dict.fromkeys(plan.addresses, rdns.Greeting("timeout", detail="late"))
        for entry in rdns.judge(plan, answers, greetings):
            assert entry["check"] in rdns.CHECKS
            assert entry["status"] in rdns.STATUSES
            assert bool(entry["advice"]) == (entry["status"] != "pass"), entry
            assert entry["expected"] and entry["found"], entry
            assert "\n" not in entry["found"] + entry["advice"]


def _reverse(**statuses):
    addresses = {"v4": "198.51.100.25", "v6": "2001:db8::25", "other": "2001:db8::26"}
    return [{"check": check, "address": addresses[name], "status": status}
            for name, found in statuses.items() for check, status in found.items()]


@pytest.mark.parametrize(
    ("statuses", "unready"),
    [
        ({"v4": {"ptr": "pass"}, "v6": {"ptr": "fail"}}, ["2001:db8::25"]),
        ({"v4": {"ptr": "warn", "generic": "fail"}, "v6": {"ptr": "pass", "forward": "fail"}, "other": {"ptr": "pass"}}, ["2001:db8::25"]),
        ({"v4": {"ptr": "pass"}, "v6": {"ptr": "unknown"}, "other": {"ptr": "pass", "generic": "fail"}}, []),
        # Then neither is better.
        ({"v4": {"ptr": "pass", "hostname": "fail"}, "v6": {"ptr": "fail"}}, []),
        ({"v6": {"ptr": "fail"}}, []),
    ],
)
def test_ipv6_whose_reverse_name_does_not_verify(statuses, unready):
    assert rdns.unready(_reverse(**statuses)) == unready
