# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SPF records: built, extended and counted, beside pyspf's judgement of the same records."""

from __future__ import annotations

import ipaddress

import pytest
import spf as pyspf

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import spf

V4, V6 = "198.51.100.25", "2001:db8::25"


def judged(monkeypatch, record, address, answers=None, domain="example.org"):
    """What pyspf, with these DNS answers, says of a message from this address."""
    world = {domain: {"TXT": [record]}, **(answers or {})}

    def lookup(name, qtype, *_args, **_options):
        name = name.rstrip(".").lower()
        values = world.get(name, {}).get(qtype, [])
        if qtype == "MX":
            return [((name, qtype), (10, value)) for value in values]
        if qtype == "TXT":
            return [((name, qtype), (value.encode(),)) for value in values]
        if qtype == "AAAA":
            return [((name, qtype), ipaddress.ip_address(value).packed) for value in values]
        return [((name, qtype), value) for value in values]

    monkeypatch.setattr(pyspf, "DNSLookup", lookup)
    return pyspf.check2(i=address, s=f"me@{domain}", h="mail.example.org")[0]


BUILT = [
    # addresses, terms, all, the record
    ([], [], None, "v=spf1 ~all"),
    ([], [], "-all", "v=spf1 -all"),
    ([V4], [], None, "v=spf1 ip4:198.51.100.25 ~all"),
    ([V6], [], "?all", "v=spf1 ip6:2001:db8::25 ?all"),
    ([V6, V4], [], None, "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 ~all"),
    ([V4, V4, "198.51.100.9"], [], None, "v=spf1 ip4:198.51.100.9 ip4:198.51.100.25 ~all"),
    ([V4, "198.51.100.0/24"], [], None, "v=spf1 ip4:198.51.100.0/24 ~all"),
    (["198.51.100.25/24"], [], None, "v=spf1 ip4:198.51.100.0/24 ~all"),
    (["2001:DB8:0::25"], [], None, "v=spf1 ip6:2001:db8::25 ~all"),
    (["::ffff:198.51.100.25"], [], None, "v=spf1 ip4:198.51.100.25 ~all"),
    ([V4], ["mx", "include:_spf.example.net"], "-all", "v=spf1 ip4:198.51.100.25 mx include:_spf.example.net -all"),
    ([V4], ["mx", "mx", "+MX"], None, "v=spf1 ip4:198.51.100.25 mx ~all"),
    ([V4], ["ip4:198.51.100.0/28", "ip6:2001:db8::/64", "a"], None,
     "v=spf1 ip4:198.51.100.0/28 ip4:198.51.100.25 ip6:2001:db8::/64 a ~all"),
    ([V4], ["-ip4:198.51.100.99"], None, "v=spf1 ip4:198.51.100.25 -ip4:198.51.100.99 ~all"),
    ([V4], ["exp=why.example.org", "a"], None, "v=spf1 ip4:198.51.100.25 a ~all exp=why.example.org"),
    ([V4], ["redirect=example.net"], None, "v=spf1 ip4:198.51.100.25 redirect=example.net"),
    ([V4], ["redirect=example.net"], "", "v=spf1 ip4:198.51.100.25 redirect=example.net"),
    ([V4], ["exists:%{i}._spf.%{d2}"], None, "v=spf1 ip4:198.51.100.25 exists:%{i}._spf.%{d2} ~all"),
]


@pytest.mark.parametrize(("addresses", "terms", "end", "record"), BUILT, ids=[row[3][7:] for row in BUILT])
def test_build(addresses, terms, end, record):
    assert spf.build(addresses, terms, end) == record


@pytest.mark.parametrize(("addresses", "record"), [(row[0], row[3]) for row in BUILT if row[0]])
def test_pyspf_lets_the_addresses_pass(monkeypatch, addresses, record):
    for address in addresses:
        found = ipaddress.ip_interface(address).ip
        assert judged(monkeypatch, record, str(getattr(found, "ipv4_mapped", None) or found)) == "pass"


EXTENDED = [
    # existing, addresses, terms, all, the record
    ("v=spf1 mx ~all", [V4], [], None, "v=spf1 ip4:198.51.100.25 mx ~all"),
    ("v=spf1 ip4:198.51.100.25 -all", [V4], [], None, "v=spf1 ip4:198.51.100.25 -all"),
    ("v=spf1 ip4:198.51.100.0/24 -all", [V4, V6], [], None, "v=spf1 ip6:2001:db8::25 ip4:198.51.100.0/24 -all"),
    ("v=spf1 a ip4:198.51.100.0/24 -all", [V4], [], None, "v=spf1 a ip4:198.51.100.0/24 -all"),
    ("v=spf1 -ip4:198.51.100.0/24 ip4:198.51.0.0/16 -all", [V4], [], None,
     "v=spf1 ip4:198.51.100.25 -ip4:198.51.100.0/24 ip4:198.51.0.0/16 -all"),
    ("v=spf1 ?a ip4:198.51.100.0/24 -all", [V4], [], None, "v=spf1 ip4:198.51.100.25 ?a ip4:198.51.100.0/24 -all"),
    ("v=spf1 mx -all", [V4], ["include:_spf.example.net"], None, "v=spf1 ip4:198.51.100.25 mx include:_spf.example.net -all"),
    ("v=spf1 MX include:_spf.example.net -all", [], ["mx", "include:_SPF.example.net"], None, "v=spf1 MX include:_spf.example.net -all"),
    ("v=spf1 mx ?all exp=why.example.org", [V4], [], "-all", "v=spf1 ip4:198.51.100.25 mx -all exp=why.example.org"),
    ("V=SPF1 mx  ~all", [], [], None, "v=spf1 mx ~all"),
    ("v=spf1 mx", [V4], [], None, "v=spf1 ip4:198.51.100.25 mx"),
    ("v=spf1 mx", [V4], [], "-all", "v=spf1 ip4:198.51.100.25 mx -all"),
    ("v=spf1 a redirect=example.net", [V4], ["mx"], None, "v=spf1 ip4:198.51.100.25 a mx redirect=example.net"),
    ("v=spf1 ra=postmaster mx rp=100 ~all", [V4], [], None, "v=spf1 ip4:198.51.100.25 ra=postmaster mx rp=100 ~all"),
    ("v=spf1 mx ~all a", [V4], [], None, "v=spf1 ip4:198.51.100.25 mx ~all a"),
    ("v=spf1", [V4], [], None, "v=spf1 ip4:198.51.100.25"),
]


@pytest.mark.parametrize(("existing", "addresses", "terms", "end", "record"), EXTENDED)
def test_extend(existing, addresses, terms, end, record):
    made = spf.build(addresses, terms, end, existing)
    assert made == record
    assert spf.build(addresses, terms, end, made) == made
    kept = {item.same_as for item in spf.parse(existing) if item.name != "all"}
    assert kept <= {item.same_as for item in spf.parse(made)}


@pytest.mark.parametrize(("addresses", "record"), [(row[1], row[4]) for row in EXTENDED])
def test_pyspf_lets_the_added_addresses_pass(monkeypatch, addresses, record):
    others = {"example.org": {"TXT": [record], "MX": ["mx.example.org"], "A": ["198.51.100.77"]}}
    others["mx.example.org"] = {"A": ["198.51.100.78"]}
    for address in addresses:
        assert judged(monkeypatch, record, address, others) == "pass"


BROKEN = [
    # arguments, the whole text
    ({"addresses": ["x"]}, "addresses 'x' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
    ({"addresses": None}, "addresses None must be a list of strings"),
    ({"terms": None}, "terms None must be a list of strings"),
    ({"domain": None}, "domain None must be a string, not NoneType"),
    ({"addresses": "198.51.100.25"}, "addresses '198.51.100.25' must be a list of strings"),
    ({"terms": ["incude:x.org"]}, "terms 'incude:x.org' is neither a mechanism nor a modifier of SPF: did you mean 'include'? (RFC 7208 "
                                  "section 4.6.1)"),
    ({"terms": [7]}, "terms 7 must be a string, not int"),
    ({"terms": ["-all"]}, "terms '-all': say how the record ends with the option all"),
    ({"all_term": "+all"}, "all '+all' would let every host send as this domain (RFC 7208 section 5.1)"),
    ({"all_term": "all"}, "all 'all' would let every host send as this domain (RFC 7208 section 5.1)"),
    ({"all_term": "none"}, "all 'none' must be one of: -all, ~all, ?all, or empty (RFC 7208 section 5.1)"),
    ({"terms": ["redirect=a.org"], "all_term": "-all"},
     "all '-all' switches 'redirect=a.org' off: use one of the two (RFC 7208 section 6.1)"),
    ({"terms": ["redirect=a.org"], "existing": "v=spf1 -all"},
     "all '-all' switches 'redirect=a.org' off: use one of the two (RFC 7208 section 6.1)"),
    ({"terms": ["redirect=a.org", "redirect=b.org"]},
     "SPF record 'v=spf1 redirect=a.org redirect=b.org' has redirect= more than once (RFC 7208 section 6)"),
    ({"terms": ["ip4:198.51.100.256"]}, "terms 'ip4:198.51.100.256' does not hold an IPv4 address (RFC 7208 section 5.6)"),
    ({"terms": ["ip4:2001:db8::1"]}, "terms 'ip4:2001:db8::1' does not hold an IPv4 address (RFC 7208 section 5.6)"),
    ({"terms": ["ip4"]}, "terms 'ip4' needs an address (RFC 7208 section 5.6)"),
    ({"terms": ["ip4:198.51.100.0/33"]},
     "terms 'ip4:198.51.100.0/33' has a prefix length '33' that is not between 0 and 32 (RFC 7208 section 5.6)"),
    ({"terms": ["ip4:198.51.100.0/255.255.255.0"]},
     "terms 'ip4:198.51.100.0/255.255.255.0' has a prefix length '255.255.255.0' that is not between 0 and 32 (RFC 7208 section 5.6)"),
    ({"terms": ["a/33"]}, "terms 'a/33' has a prefix length '33' that is not between 0 and 32 (RFC 7208 section 5.3)"),
    ({"terms": ["mx//129"]}, "terms 'mx//129' has a prefix length '129' that is not between 0 and 128 (RFC 7208 section 5.4)"),
    ({"terms": ["include"]}, "terms 'include' needs a domain (RFC 7208 section 5.2)"),
    ({"terms": ["include:"]}, "terms 'include:' needs a domain (RFC 7208 section 4.6.1)"),
    ({"terms": ["include:localhost"]}, "terms 'include:localhost' must end in a domain's last label or in a macro (RFC 7208 section 7.1)"),
    ({"terms": ["include:198.51.100.25"]},
     "terms 'include:198.51.100.25' must end in a domain's last label or in a macro (RFC 7208 section 7.1)"),
    ({"terms": ["exists:%{x}.example.org"]}, "terms 'exists:%{x}.example.org' has a '%' that begins no macro (RFC 7208 section 7.1)"),
    ({"terms": ["exists:%{t}.example.org"]},
     "terms 'exists:%{t}.example.org' uses a macro letter that only explanation texts may use (RFC 7208 section 7.2)"),
    ({"terms": ["x=%{r}"]}, "terms 'x=%{r}' uses a macro letter that only explanation texts may use (RFC 7208 section 7.2)"),
    ({"terms": ["mx\n"]}, "terms 'mx\\n' is neither a mechanism nor a modifier of SPF (RFC 7208 section 4.6.1)"),
    ({"terms": ["include:example.org."], "domain": "Example.org"}, "SPF record 'v=spf1 include:example.org. ~all' leads back to "
     "example.org by 'include:example.org.' (RFC 7208 section 4.6.4)"),
    ({"terms": ["include:é.example.org"]},
     "terms 'include:é.example.org' has a character that is not visible ASCII (RFC 7208 section 7.1)"),
    ({"terms": ["ptr/24"]}, "terms 'ptr/24' takes a domain and no prefix length (RFC 7208 section 5.5)"),
    ({"existing": "v=spf10 -all"}, "SPF record 'v=spf10 -all' must begin with 'v=spf1' and a space (RFC 7208 section 4.5)"),
    ({"existing": "v=spf1 all:x.org"}, "SPF record: term 'all:x.org' must stand alone (RFC 7208 section 5.1)"),
    ({"terms": [f"include:{letter}.org" for letter in "abcdefghijk"]},
     "SPF record 'v=spf1 include:a.org include:b.org include:c.org include:d.org include:e.org include:f.org include:g.org include:h.org"
     " include:i.org include:j.org include:k.org ~all'"
     " needs 11 DNS look-ups; receivers stop with permerror after 10 (RFC 7208 section 4.6.4)"),
]


@pytest.mark.parametrize(("arguments", "text"), BROKEN, ids=[row[1][:50] for row in BROKEN])
def test_errors(arguments, text):
    with pytest.raises(MailError) as error:
        spf.build(**arguments)
    assert str(error.value) == text


@pytest.mark.parametrize("text", [
    "incude:x.org", "ip4:198.51.100.256", "ip4", "ip4:198.51.100.0/33", "a/33", "mx//129", "include", "include:", "exists:%{x}.example.org",
    "ptr/24", "all:x.org", "ip6:198.51.100.1", "x=%{c}", "x=%{r}", "x=%{t}",
])
def test_pyspf_finds_the_same_terms_broken(monkeypatch, text):
    with pytest.raises(MailError):
        spf.parse(f"v=spf1 {text} -all")
    assert judged(monkeypatch, f"v=spf1 {text} -all", V4) == "permerror"


COUNTED = [
    # record, what it needs
    ("v=spf1 -all", 0),
    ("v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 exp=why.example.org -all", 0),
    ("v=spf1 a mx ptr include:a.org exists:b.org -all", 5),
    ("v=spf1 a a:b.org/24 mx//64 redirect=c.org", 4),
    ("v=spf1 a -all redirect=c.org", 1),
    ("v=spf1 -all a mx", 0),
]


@pytest.mark.parametrize(("record", "lookups"), COUNTED)
def test_count_of_a_record_alone(record, lookups):
    assert spf.count(record)["lookups"] == lookups


def includes(count):
    return " ".join(f"include:i{number}.example.net" for number in range(count))


PLAIN = {f"i{number}.example.net": {"TXT": ["v=spf1 -all"]} for number in range(12)}
WORLDS = [
    # record, answers, look-ups, void ones, the error's beginning or None; pyspf must agree
    pytest.param(f"v=spf1 {includes(10)} -all", PLAIN, 10, 0, None, id="ten"),
    pytest.param(f"v=spf1 {includes(11)} -all", PLAIN, 11, 0, "needs 11 DNS look-ups", id="eleven"),
    pytest.param("v=spf1 include:a.example.net -all", {"a.example.net": {"TXT": [f"v=spf1 {includes(9)} -all"]}, **PLAIN}, 10, 0, None,
                 id="nested ten"),
    pytest.param("v=spf1 include:a.example.net -all", {"a.example.net": {"TXT": [f"v=spf1 {includes(10)} -all"]}, **PLAIN},
                 11, 0, "needs 11 DNS look-ups", id="nested eleven"),
    pytest.param("v=spf1 redirect=a.example.net", {"a.example.net": {"TXT": [f"v=spf1 {includes(10)} -all"]}, **PLAIN},
                 11, 0, "needs 11 DNS look-ups", id="redirected eleven"),
    pytest.param("v=spf1 a:n1.example.net a:n2.example.net -all", {"n1.example.net": {}, "n2.example.net": {}}, 2, 2, None, id="two void"),
    pytest.param("v=spf1 a:n1.example.net a:n2.example.net mx:n3.example.net -all",
                 {"n1.example.net": {}, "n2.example.net": {}, "n3.example.net": {}},
                 3, 3, "needs 3 look-ups without an answer", id="three void"),
    pytest.param("v=spf1 mx -all", {"example.org": {"MX": [f"m{n}.example.org" for n in range(10)]},
                                    **{f"m{n}.example.org": {"A": ["198.51.100.1"], "AAAA": ["2001:db8::1"]} for n in range(10)}},
                 1, 0, None, id="ten MX"),
    pytest.param("v=spf1 include:none.example.net -all", {"none.example.net": {"TXT": ["hello"]}}, None, None,
                 "'include:none.example.net' needs one SPF record at none.example.net, which has 0", id="include of none"),
    pytest.param("v=spf1 include:two.example.net -all", {"two.example.net": {"TXT": ["v=spf1 -all", "v=spf1 a -all"]}}, None, None,
                 "'include:two.example.net' needs one SPF record at two.example.net, which has 2", id="include of two"),
    pytest.param("v=spf1 include:a.example.net -all", {"a.example.net": {"TXT": ["v=spf1 include:a.example.net -all"]}}, None, None,
                 "leads back to a.example.net by 'include:a.example.net'", id="loop"),
]


@pytest.mark.parametrize(("record", "answers", "lookups", "void", "error"), WORLDS)
def test_count_with_answers_and_pyspf(monkeypatch, record, answers, lookups, void, error):
    world = {**answers, "example.org": {"TXT": [record], **answers.get("example.org", {})}}
    if lookups is not None:
        assert spf.count(record, "example.org", world) == {"lookups": lookups, "void_lookups": void, "unknown": []}
    if error:
        with pytest.raises(MailError) as found:
            spf.check(record, "example.org", world)
        assert error in str(found.value)
    else:
        spf.check(record, "example.org", world)
    assert (judged(monkeypatch, record, "203.0.113.9", world) == "permerror") == bool(error)


def test_eleven_mx_hosts_are_too_many():
    world = {"example.org": {"MX": [f"m{number}.example.org" for number in range(11)]}}
    with pytest.raises(MailError, match=r"example\.org has 11 MX hosts, more than 10 \(RFC 7208 section 4\.6\.4\)"):
        spf.count("v=spf1 mx -all", "example.org", world)


def test_names_without_answers_are_listed_and_voids_are_of_the_worse_family():
    world = {"four.example.org": {"A": ["198.51.100.1"]}, "six.example.org": {"AAAA": ["2001:db8::1"]}}
    found = spf.count("v=spf1 a:four.example.org a:six.example.org a:four.example.org include:x.org exists:%{i}.y.org -all", answers=world)
    assert found == {"lookups": 5, "void_lookups": 2, "unknown": ["x.org", "%{i}.y.org"]}


ADVICE = [
    ("v=spf1 ip4:198.51.100.25 -all", []),
    ("v=spf1 ptr -all", ["ptr should not be published: it is slow and some receivers ignore it (RFC 7208 section 5.5)"]),
    ("v=spf1 +all", ["+all lets every host in the world send as this domain"]),
    ("v=spf1 mx", ["neither all nor redirect ends the record, so that unknown senders are neutral (RFC 7208 section 4.7)"]),
    ("v=spf1 -all mx", ["mechanisms after all are never evaluated (RFC 7208 section 5.1)"]),
    ("v=spf1 " + "ip4:198.51.100.25 " * 30 + "-all",
     ["the record has 551 octets; with its name it should stay within 450 (RFC 7208 section 3.4)"]),
]


@pytest.mark.parametrize(("record", "sentences"), ADVICE, ids=[row[0][:30] for row in ADVICE])
def test_advice(record, sentences):
    assert spf.advice(record) == sentences


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("include=spf.example.net", "terms 'include=spf.example.net' is a modifier that no receiver knows: did you mean 'include:'? "
                                    "(RFC 7208 section 4.6.1)"),
        ("ip4=198.51.100.7", "terms 'ip4=198.51.100.7' is a modifier that no receiver knows: did you mean 'ip4:'? (RFC 7208 section "
                             "4.6.1)"),
        ("MX=example.net", "terms 'MX=example.net' is a modifier that no receiver knows: did you mean 'mx:'? (RFC 7208 section 4.6.1)"),
        ("inlcude=example.net", "terms 'inlcude=example.net' is a modifier that no receiver knows: did you mean 'include:'? (RFC 7208 "
         "section 4.6.1)"),
        ("ipv4=198.51.100.7", "terms 'ipv4=198.51.100.7' is a modifier that no receiver knows: did you mean 'ip4:'? (RFC 7208 section "
         "4.6.1)"),
        ("v=spf1", "terms 'v=spf1' begins a record, which the other terms are added to (RFC 7208 section 4.5)"),
        ("redirct=example.net", "terms 'redirct=example.net' is a modifier that no receiver knows: did you mean 'redirect='? (RFC 7208 "
                                "section 6)"),
        ("inlcude:example.net", "terms 'inlcude:example.net' is neither a mechanism nor a modifier of SPF: did you mean 'include'? (RFC "
                                "7208 section 4.6.1)"),
        ("exi\u017fts:example.net", "terms 'exi\u017fts:example.net' is neither a mechanism nor a modifier of SPF (RFC 7208 section "
                                    "4.6.1)"),
        ("\u0131nclude:example.net", "terms '\u0131nclude:example.net' is neither a mechanism nor a modifier of SPF (RFC 7208 section "
                                     "4.6.1)"),
        ("ip6:2001:db8::1%eth0", "terms 'ip6:2001:db8::1%eth0' does not hold an IPv6 address (RFC 7208 section 5.6)"),
    ],
)
def test_terms_that_no_receiver_reads_as_they_are_meant(text, rule):
    with pytest.raises(MailError) as error:
        spf.build(["198.51.100.25"], [text])
    assert str(error.value) == rule


def test_what_is_published_may_have_modifiers_that_nobody_knows():
    assert spf.build(["198.51.100.25"], ["future=x"], existing="v=spf1 include=old.example -all").endswith(
        "include=old.example -all future=x")


@pytest.mark.parametrize("value", ["fe80::1%eth0 +all", 1, True, 3.0, None, "198.51.100.7/255.255.255.0"])
def test_addresses_that_are_none(value):
    with pytest.raises(MailError, match="is not an IPv4 or IPv6 address or network in CIDR form"):
        spf.build([value])


OURS = "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 include:spf.kept.example ~all"


@pytest.mark.parametrize(
    ("old", "terms"),
    [
        ("v=spf1 include:_spf.google.com include:SPF.kept.example mx ~all", ["include:_spf.google.com"]),
        ("v=spf1 ip4:198.51.100.25 ip4:192.0.2.0/24 +a a:www.example.org mx:mx.example.net -all",
         ["ip4:192.0.2.0/24", "+a", "a:www.example.org", "mx:mx.example.net"]),
        ("v=spf1 redirect=_spf.example.net", ["redirect=_spf.example.net"]),
        ("v=spf1 exists:%{i}.spf.example.net ?include:maybe.example -ip4:192.0.2.1 all", ["exists:%{i}.spf.example.net"]),
        ("v=spf1 ip6:2001:db8::25/128 mx -all", []),
        # What no receiver comes to, or reads, lets nobody send.
        ("v=spf1 -all include:late.example redirect=late.example", []),
        ("v=spf1 include:a.example include:", []),
        ("google-site-verification=abc", []),
    ],
)  # fmt: skip
def test_what_a_new_record_lets_send_no_more(old, terms):
    assert spf.dropped(old, OURS) == terms
    assert [all(repr(text) in warning for text in terms) for warning in spf.replaced("example.org", [old], [OURS])] == [True] * bool(terms)


def test_a_replaced_record_is_told_in_words():
    assert spf.replaced("example.org", ["v=spf1 include:a.example -all", "x=1"], ["v=spf1 mx -all", "y"]) == [
        "example.org: the SPF record 'v=spf1 include:a.example -all' is replaced by one without 'include:a.example': mail of this domain "
        "that is sent by these fails SPF then (RFC 7208 section 8.4). If they are to go on sending, add them to the domain's spf.terms in "
        "mail_domains"
    ]
    # Nothing is replaced by what is no SPF record.
    assert spf.replaced("example.org", ["v=spf1 include:a.example -all"], ["y"]) == []


def test_senders_of_a_replaced_record_that_nobody_has_declared():
    old = "v=spf1 a include:_spf.Example.net ip4:192.0.2.7 mx -all"
    assert spf.undeclared("example.org", [old, "x=1"], [OURS], ["A", "include:_spf.example.net", "ip4:192.0.2.7/32"]) == []
    assert spf.undeclared("example.org", [old], [OURS], ["a"]) == [
        f"example.org: the SPF record {old!r} lets others send, by 'include:_spf.Example.net', 'ip4:192.0.2.7'; {OURS!r}, which is to "
        "replace it, does not. Add those that are to go on sending to the domain's spf.terms in mail_domains, and the others to its "
        "spf.drop"
    ]
    assert spf.undeclared("example.org", ["v=spf1 mx -all"], [OURS], []) == spf.undeclared("example.org", [old], ["y"], []) == []
