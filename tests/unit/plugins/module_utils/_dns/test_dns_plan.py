# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rdata import Rdata, from_text, txt_wire
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change, RRset
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

ZONE = "example.org"
SPF, SPF2, VERIFY = "v=spf1 mx -all", "v=spf1 a -all", "site-verification=abc"


def item(name="@", values=(), rtype="TXT", zone=ZONE, **given):
    defaults = {"ttl": 3600, "state": "present", "owned_prefix": None}
    return {"name": name, "zone": zone, "type": rtype, "values": list(values), **defaults, **given}


def rrset(*values, rtype="TXT", ttl=3600):
    return RRset(tuple(from_text(rtype, value) for value in values), ttl if values else None)


def batch(*items, encoding="ascii"):
    wanted = dns_plan.wanted_records(items, encoding)
    dns_plan.check_batch(wanted)
    return dns_plan.in_zones(wanted, {})


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("@", ZONE, ZONE),
        ("example.org", ZONE, ZONE),
        ("Example.ORG.", ZONE, ZONE),
        ("mail", ZONE, "mail.example.org"),
        ("mail.example.org", ZONE, "mail.example.org"),
        ("_dmarc", ZONE, "_dmarc.example.org"),
        ("s1._domainkey", ZONE, "s1._domainkey.example.org"),
        ("2026.a._domainkey", ZONE, "2026.a._domainkey.example.org"),
        ("_25._tcp.mail", ZONE, "_25._tcp.mail.example.org"),
        ("*", None, None),
        ("*.example.org", ZONE, "*.example.org"),
        ("mail.example.org", None, "mail.example.org"),
        ("25.100.51.198.in-addr.arpa", None, "25.100.51.198.in-addr.arpa"),
        ("25.0/25.100.51.198.in-addr.arpa", None, "25.0/25.100.51.198.in-addr.arpa"),
        ("25", "0/25.100.51.198.in-addr.arpa", "25.0/25.100.51.198.in-addr.arpa"),
        ("@", "0/25.100.51.198.in-addr.arpa", "0/25.100.51.198.in-addr.arpa"),
    ],
)
def test_absolute_name(name, zone, expected):
    if expected is None:
        with pytest.raises(MailError):
            dns_plan.absolute_name(name, zone)
    else:
        assert dns_plan.absolute_name(name, zone) == expected


OUTSIDE = "name {!r} is outside of zone 'example.org'; a name of several labels is absolute: write it in full"


@pytest.mark.parametrize(
    ("name", "zone", "message"),
    [
        ("mail.example.net", ZONE, OUTSIDE.format("mail.example.net")),
        ("_dmarc.example.net", ZONE, OUTSIDE.format("_dmarc.example.net")),
        ("s1._domainkey.example.net", ZONE, OUTSIDE.format("s1._domainkey.example.net")),
        ("mail.", ZONE, OUTSIDE.format("mail.")),
        ("notexample.org", ZONE, OUTSIDE.format("notexample.org")),
        ("@", None, "name '@' is the zone itself: give the zone"),
        ("mail", None, "name 'mail' is relative: give the zone, or the whole name"),
    ],
)
def test_names_without_a_place(name, zone, message):
    with pytest.raises(MailError) as caught:
        dns_plan.absolute_name(name, zone)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "prefix", "expected"),
    [
        (b"v=spf1 -all", b"v=spf1", True),
        (b"v=spf1", b"v=spf1", True),
        (b"V=SPF1 -all", b"v=spf1", True),
        (b"v=spf10 -all", b"v=spf1", False),
        (b"v=spf1;", b"v=spf1", False),
        (b"v=DMARC1; p=none", b"v=DMARC1", True),
        (b"v=DMARC1 ; p=none", b"v=DMARC1", True),
        (b"v=DMARC12", b"v=DMARC1", False),
        (b"site-verification=abc", b"site-verification=", True),
        (b"site-verification", b"site-verification=", False),
        (b"anything", None, True),
    ],
)
def test_owned(value, prefix, expected):
    assert dns_plan.owned(value, prefix) is expected


@pytest.mark.parametrize(
    ("items", "before", "after", "ttl"),
    [
        pytest.param([item(values=["a"])], [], ["a"], 3600, id="created"),
        pytest.param([item(values=["a"])], ["a"], ["a"], 3600, id="there"),
        pytest.param([item(values=["b"])], ["a"], ["a", "b"], 3600, id="present adds"),
        pytest.param([item(values=["b"], state="exact")], ["a"], ["b"], 3600, id="exact replaces"),
        pytest.param([item(values=["b", "a"], state="exact")], ["a", "b"], ["a", "b"], 3600, id="order does not count"),
        pytest.param([item(values=["a"], state="absent")], ["a", "b"], ["b"], 3600, id="absent takes one"),
        pytest.param([item(values=["a"], state="absent", ttl=60)], ["a", "b"], ["b"], 3600, id="absent leaves the TTL"),
        pytest.param([item(state="absent")], ["a", "b"], [], None, id="absent takes all"),
        pytest.param([item(values=[SPF], owned_prefix="v=spf1")], [SPF2, VERIFY], [VERIFY, SPF], 3600, id="owned replaces its own"),
        pytest.param([item(values=[SPF], owned_prefix="v=spf1", state="exact")], [SPF2, VERIFY], [VERIFY, SPF], 3600, id="owned, exact"),
        pytest.param([item(owned_prefix="v=spf1", state="absent")], [SPF2, VERIFY], [VERIFY], 3600, id="owned, absent"),
        pytest.param([item(values=["a"], ttl=60)], ["a", "b"], ["a", "b"], 60, id="one TTL for all"),
        pytest.param(
            [item(values=[SPF], owned_prefix="v=spf1"), item(values=[VERIFY])], [SPF2], [SPF, VERIFY], 3600, id="two items of one name"
        ),
    ],
)
def test_apply(items, before, after, ttl):
    result = dns_plan.apply(batch(*items), rrset(*before))
    assert (result.texts, result.ttl) == (sorted(after), ttl)
    assert dns_plan.apply(batch(*items), result) == result
    assert all(dns_plan.holds(wanted, result) for wanted in batch(*items))


def test_what_stays_keeps_its_splitting():
    there = RRset((Rdata("TXT", txt_wire([b"a", b"bc"])),), 3600)
    assert dns_plan.apply(batch(item(values=["abc"], state="exact")), there) == there


def test_one_value_in_two_splittings_becomes_one():
    there = RRset((Rdata("TXT", txt_wire([b"a", b"bc"])), Rdata("TXT", txt_wire([b"abc"]))), 3600)
    assert not dns_plan.holds(batch(item(values=["abc"]))[0], there)
    assert dns_plan.apply(batch(item(values=["abc"])), there) == RRset(there.values[:1], 3600)


def both(first, second):
    return f"records[{first}] (TXT @) contradicts records[{second}] (TXT @): they cannot hold together"


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param(
            [item(values=[SPF, SPF2])],
            "example.org: there would be 2 SPF values, and one is the rule (RFC 7208 section 4.5): 'v=spf1 mx -all'; 'v=spf1 a -all'",
            id="two SPF values",
        ),
        pytest.param([item(values=["a"]), item(values=["a"], state="absent")], both(0, 1), id="there and not there"),
        pytest.param([item(values=["a"], state="exact"), item(values=["b"])], both(0, 1), id="only this, and that"),
        pytest.param(
            [item(values=["a"]), item(values=["b"], ttl=60)],
            "example.org TXT: the records of one type at one name have one TTL, not 60, 3600 (RFC 2181 section 5.2)",
            id="two TTLs",
        ),
        pytest.param(
            [item("www", ["mail.example.org"], "CNAME"), item("www", ["a"])],
            "www.example.org: a CNAME stands alone at its name, and the batch also has TXT there (RFC 1034 section 3.6.2)",
            id="CNAME beside others",
        ),
        pytest.param(
            [item("www", ["a.example.org", "b.example.org"], "CNAME")],
            "www.example.org: a name has one CNAME, and there would be 2: a.example.org., b.example.org. (RFC 2181 section 10.1); "
            "state=exact replaces the other one",
            id="two CNAMEs",
        ),
        pytest.param(
            [item("@", ["mail.example.org"], "CNAME")],
            "records[0] (CNAME @): a CNAME cannot stand at the head of zone 'example.org', beside SOA and NS (RFC 1034 section 3.6.2)",
            id="CNAME at the head",
        ),
        pytest.param(
            [item("@", ["0 .", "10 mail.example.org"], "MX")],
            "example.org: the null MX '0 .' stands alone (RFC 7505 section 3)",
            id="null MX",
        ),
        pytest.param(
            [item(values=["a"], ttl=-1)],
            "records[0] (TXT @): ttl -1 is not a number of seconds from 0 to 2147483647 (RFC 2181 section 8)",
            id="TTL",
        ),
        pytest.param(
            [item(values=["a"], ttl=2**31)],
            "records[0] (TXT @): ttl 2147483648 is not a number of seconds from 0 to 2147483647 (RFC 2181 section 8)",
            id="TTL too large",
        ),
        pytest.param(
            [item()], "records[0] (TXT @): values must not be empty with state=present; state=absent removes every value", id="no values"
        ),
        pytest.param(
            [item("@", ["192.0.2.1"], "A", owned_prefix="192")],
            "records[0] (A @): owned_prefix is for TXT records, not for A",
            id="owned A",
        ),
        pytest.param(
            [item(values=["a"], owned_prefix="")],
            "records[0] (TXT @): owned_prefix must not be empty: state=exact replaces every value",
            id="empty prefix",
        ),
        pytest.param(
            [item(values=["a"]), item(values=["a"], owned_prefix="v=spf1")],
            "records[1] (TXT @): value 'a' does not begin with owned_prefix 'v=spf1', so the next run could not find it again",
            id="not owned",
        ),
        pytest.param(
            [item("a", ["b"]), item("mail.example.net", ["a"])],
            "records[1] (TXT mail.example.net): " + OUTSIDE.format("mail.example.net"),
            id="outside",
        ),
        pytest.param(
            [item(values=[char * 60000 for char in "ab"])],
            "example.org TXT: 120518 octets of records do not fit into one DNS message of 65535 (RFC 1035 section 4.2.2)",
            id="too much for a message",
        ),
    ],
)
def test_faults_of_a_batch(items, message):
    with pytest.raises(MailError) as caught:
        batch(*items)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("version", "what", "rule"),
    [
        ("v=spf1", "SPF", "RFC 7208 section 4.5"),
        ("v=DMARC1", "DMARC", "RFC 9989 section 4.10"),
        ("v=DKIM1", "DKIM", "RFC 6376 section 3.6.2.2"),
        ("v=STSv1", "MTA-STS", "RFC 8461 section 3.1"),
        ("v=TLSRPTv1", "TLS-RPT", "RFC 8460 section 3"),
    ],
)
def test_a_second_one_beside_what_is_there(version, what, rule):
    with pytest.raises(MailError) as caught:
        dns_plan.plan(batch(item(values=[f"{version} new"])), {(ZONE, "TXT"): rrset(f"{version} old")}, {})
    assert str(caught.value) == (
        f"example.org: there would be 2 {what} values, and one is the rule ({rule}): '{version} old'; '{version} new'; "
        f"owned_prefix={version} replaces the other one"
    )


def test_a_classless_reverse_zone_has_a_slash_in_its_name():
    zone = "0/25.2.0.192.in-addr.arpa"
    one = batch(item("25", ["mail.example.org"], "PTR", f"{zone.upper()}."))[0]
    assert (one.name, one.zone) == (f"25.{zone}", zone)
    alias = batch(item("25", [f"25.{zone}"], "CNAME", "2.0.192.in-addr.arpa"))[0]
    assert alias.values[0].text == f"25.{zone}."
    with pytest.raises(MailError) as caught:
        batch(item("25", ["mail.example.org"], "PTR", "0/.2.0.192.in-addr.arpa"))
    assert str(caught.value) == (
        "records[0] (PTR 25): zone '0/.2.0.192.in-addr.arpa' has a bad label '0/': letters, digits, underscores and inner hyphens "
        "and slashes only (RFC 2317 section 4)"
    )


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("s1._domainkey", ["v=DKIM1; p=", "k=rsa; p=AA"], "s1._domainkey.example.org: there would be 2 DKIM values, and one is the rule "
         "(RFC 6376 section 3.6.2.2): 'v=DKIM1; p='; 'k=rsa; p=AA'"),
        ("_dmarc", ["v = DMARC1; p=none", "v=DMARC1"], "_dmarc.example.org: there would be 2 DMARC values, and one is the rule "
         "(RFC 9989 section 4.10): 'v = DMARC1; p=none'; 'v=DMARC1'"),
    ],
)  # fmt: skip
def test_two_values_that_readers_take_for_the_same(name, values, message):
    with pytest.raises(MailError) as caught:
        batch(item(name, values))
    assert str(caught.value) == message


def test_a_second_key_record_is_refused_whatever_its_tags():
    name = "s1._domainkey.example.org"
    with pytest.raises(MailError) as caught:
        dns_plan.plan(batch(item(name, ["v=DKIM1; p="])), {(name, "TXT"): rrset("k=rsa; p=AA")}, {})
    assert str(caught.value) == (
        f"{name}: there would be 2 DKIM values, and one is the rule (RFC 6376 section 3.6.2.2): 'k=rsa; p=AA'; 'v=DKIM1; p='; "
        "state=exact replaces the other one"
    )


def test_a_dmarc_record_with_spaces_is_replaced():
    there = rrset("v = DMARC1; p=none", VERIFY)
    wanted = batch(item("_dmarc", ["v=DMARC1; p=reject"], owned_prefix="v=DMARC1"))
    assert dns_plan.apply(wanted, there).texts == [VERIFY, "v=DMARC1; p=reject"]


def test_several_may_authorise_reports():
    values = ["v=DMARC1", "v=DMARC1; rua=mailto:a@example.org"]
    assert dns_plan.apply(batch(item("example.net._report._dmarc.example.org", values)), rrset()).texts == values


def test_two_of_somebody_else_are_not_our_business():
    there = rrset(SPF, SPF2)
    assert dns_plan.apply(batch(item(values=[VERIFY])), there).texts == sorted([SPF, SPF2, VERIFY])


@pytest.mark.parametrize(
    ("before", "after", "values_changed", "ttl_changed"),
    [
        (rrset("a"), rrset("a"), False, False),
        (rrset("a"), rrset("a", ttl=60), False, True),
        (rrset("a"), rrset("b"), True, False),
        (rrset(), rrset("b", ttl=60), True, False),
        (rrset("a"), rrset(), True, False),
        (rrset(), rrset(), False, False),
    ],
)
def test_what_is_a_change(before, after, values_changed, ttl_changed):
    change = Change(ZONE, ZONE, "TXT", before, after)
    assert (change.values_changed, change.ttl_changed, change.changed) == (values_changed, ttl_changed, values_changed or ttl_changed)


def test_cname_and_others_that_make_room():
    swap = batch(item("www", ["mail.example.org"], "CNAME"), item("www", rtype="A", state="absent"))
    found = {("www.example.org", "A"): rrset("192.0.2.1", rtype="A")}
    assert [change.changed for change in dns_plan.plan(swap, found, {"www.example.org": {"A"}})] == [True, True]
    with pytest.raises(MailError, match=r"^www\.example\.org: a CNAME stands alone at its name, and there is AAAA \(RFC 1034"):
        dns_plan.plan(swap, found, {"www.example.org": {"A", "AAAA"}})


def test_messages_are_as_few_as_fit_and_never_split_a_name():
    names = [f"n{at}" for at in range(40)]
    changes = dns_plan.plan(batch(*(item(name, ["x" * 4000]) for name in names)), {}, {})
    parts = dns_plan.messages(changes)
    assert [change for part in parts for change in part] == changes
    assert [len(part) for part in parts] == [15, 15, 10]
    assert len(dns_plan.messages(changes[:15])) == 1
    assert dns_plan.messages([]) == []


def test_an_update_of_one_name_that_does_not_fit():
    found = {(ZONE, "TXT"): rrset("a" * 40000)}
    changes = dns_plan.plan(batch(item(values=["b" * 40000], state="exact")), found, {})
    with pytest.raises(MailError) as caught:
        dns_plan.messages(changes)
    assert str(caught.value) == (
        "example.org: the update would take 80406 octets, and a DNS message holds 65535 (RFC 1035 section 4.2.2): "
        "remove the old values first"
    )


def test_diff_shows_what_changes_and_nothing_else():
    found = {(ZONE, "TXT"): rrset(SPF2, VERIFY), ("a.example.org", "TXT"): rrset("same")}
    changes = dns_plan.plan(batch(item(values=[SPF], owned_prefix="v=spf1"), item("a", ["same"])), found, {})
    assert dns_plan.diff(changes) == {
        "before": 'example.org. 3600 IN TXT "site-verification=abc"\nexample.org. 3600 IN TXT "v=spf1 a -all"\n',
        "after": 'example.org. 3600 IN TXT "site-verification=abc"\nexample.org. 3600 IN TXT "v=spf1 mx -all"\n',
    }


@pytest.mark.parametrize(
    ("wanted", "there", "lacking", "extra"),
    [
        (item(values=["a", "b"]), ["b", "c"], ["a"], []),
        (item(values=["a", "b"], state="exact"), ["b", "c"], ["a"], ["c"]),
        (item(values=["a"], state="absent"), ["a", "b"], [], ["a"]),
        (item(state="absent"), ["a", "b"], [], ["a", "b"]),
        (item(values=[SPF], owned_prefix="v=spf1"), [SPF2, VERIFY], [SPF], [SPF2]),
    ],
)
def test_missing(wanted, there, lacking, extra):
    assert dns_plan.missing(batch(wanted)[0], rrset(*there)) == (lacking, extra)


KEY = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDfmumbXShQ8TD++I6nM4f8TM7OZ24CQ+KkW9GoNXEiqtCV9avwQuPb4sRrTyMWltJYrl70LGeBFsHnI0LJaRwWxj7X6W5NBn2MxpzN/OOCDnJNse5YYyp1Nb/LopwT0ZQbmU/D0pPGMWiFBSMxYS5VNm1FrrdOsnnHiLGJXx5V1QIDAQAB"  # noqa: E501  one string, as opendkim-genkey made it
OURS = f"v=DKIM1; k=rsa; p={KEY}"


@pytest.mark.parametrize(
    ("there", "wanted", "stays"),
    [
        (f"v=DKIM1; h=sha256; k=rsa; p={KEY}", OURS, True),  # opendkim-genkey's words
        (f"v=DKIM1; h=sha256; k=rsa; s=email; t=s; p={KEY[:100]} {KEY[100:]}", OURS, True),
        (f"p={KEY}", OURS, False),  # without a version: not one of those that the prefix names
        (f"v=DKIM1;p={KEY}", OURS, True),  # RSA is the default
        (f"v=DKIM1; h=sha1; p={KEY}", OURS, False),  # our signatures use SHA-256
        (f"v=DKIM1; t=y; p={KEY}", OURS, False),  # only a test: readers treat its mail as unsigned
        (f"v=DKIM1; s=tlsrpt; p={KEY}", OURS, False),  # not for mail
        ("v=DKIM1; p=", OURS, False),  # revoked
        (f"v=DKIM1; p={KEY.replace('3', '4')}", OURS, False),
        (f"v=DKIM1; k=rsa; k=rsa; p={KEY}", OURS, False),  # readers would discard it
        (f"v=DKIM1; k=rsa; t=s; p={KEY}", f"v=DKIM1; k=rsa; t=s; n=ours; p={KEY}", False),  # notes are asked for
        (f"v=DKIM1; k=rsa; p={KEY}", f"v=DKIM1; k=rsa; t=s; p={KEY}", False),  # a flag is asked for
    ],
)
def test_a_record_of_the_same_dkim_key_stays_as_its_maker_wrote_it(there, wanted, stays):
    for state in ("present", "exact"):
        [one] = batch(item("s1._domainkey", [wanted], state=state, owned_prefix="v=DKIM1"))
        before = rrset(there)
        if there.startswith("v="):
            after = dns_plan.apply([one], before)
            assert after.texts == [there if stays else wanted]
            assert dns_plan.holds(one, after)
        assert dns_plan.holds(one, before) is stays
        assert (dns_plan.missing(one, before) == ([], [])) is stays


def test_a_record_that_is_to_go_goes_as_its_maker_wrote_it():
    [one] = batch(item("s1._domainkey", [OURS], state="absent"))
    hand = f"k=rsa; p={KEY}"
    assert not dns_plan.holds(one, rrset(hand)) and dns_plan.missing(one, rrset(hand)) == ([], [rrset(hand).texts[0]])
    assert dns_plan.apply([one], rrset(hand)).texts == []
    other = f"k=rsa; p={KEY.replace('3', '4')}"
    assert dns_plan.holds(one, rrset(other)) and dns_plan.apply([one], rrset(other)).texts == [other]


def test_other_names_are_not_compared_as_dkim_keys():
    [one] = batch(item("@", [OURS], state="exact"))
    assert dns_plan.apply([one], rrset(f"v=DKIM1; h=sha256; p={KEY}")).texts == [OURS]


def test_zones_that_fail_in_the_same_way_share_one_text():
    words = {"a.test": "server x answers BADSIG", "b.test": "server x answers REFUSED", "c.test": "server x answers BADSIG"}
    assert dns_plan.told_once({zone: f"zone {zone!r}: {text}" for zone, text in words.items()}) == [
        "zones 'a.test', 'c.test': server x answers BADSIG",
        "zone 'b.test': server x answers REFUSED",
    ]
    assert dns_plan.told_once({}) == []
