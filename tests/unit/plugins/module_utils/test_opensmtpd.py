# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _opensmtpd
from ansible_collections.postmaster.mail.plugins.module_utils._delivery import delivery
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import normalise

HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"
CHECKS = {"rdns": "disconnect", "fcrdns": "junk", "dynamic": "junk"}


def model(**given):
    values = {
        "fqdn": "mail.example.org",
        "domains": {"example.org": {}},
        "users": {"me@example.org": {"password_hash": HASH, "senders": ["sales@example.org"]}, "you@example.org": {"password_hash": HASH}},
        "aliases": {"sales@example.org": ["me@example.org"]},
        "slow_destinations": {},
        **given,
    }
    return normalise(values)


def files(**given):
    made = model(**given)
    return _opensmtpd.files(made, delivery(made), "vmail")


def entries(text):
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_a_mailbox_leads_to_the_user_that_delivers_and_an_alias_to_its_targets():
    found = entries(files()["aliases"])
    assert found["me@example.org"] == "vmail"
    assert found["sales@example.org"] == "me@example.org"
    assert found["abuse@example.org"] == "me@example.org"


def test_bare_names_belong_to_the_server_and_not_to_every_domain():
    found = entries(files()["aliases"])
    assert found["root@mail.example.org"] == found["root@localhost"] == found["postmaster@mail.example.org"] == "me@example.org"
    assert "root@example.org" not in found
    assert [name for name in found if "@" not in name] == []


def test_a_server_named_like_its_domain_keeps_the_mailboxes_of_that_domain():
    found = entries(files(fqdn="example.org")["aliases"])
    assert found["me@example.org"] == "vmail"
    assert found["root@example.org"] == found["mailer-daemon@example.org"] == "me@example.org"


def test_an_alias_that_keeps_a_copy_ends_in_the_mailbox():
    found = entries(files(aliases={"me@example.org": ["me@example.org", "you@example.org"]})["aliases"])
    assert found["me@example.org"] == "vmail, you@example.org"


def test_a_catch_all_leaves_the_mailboxes_alone():
    found = entries(files(domains={"example.org": {"catch_all": ["you@example.org"]}})["aliases"])
    assert found["@example.org"] == "you@example.org"
    assert found["me@example.org"] == found["you@example.org"] == "vmail"


def test_recipients_are_all_that_have_somewhere_to_go():
    made = files()
    assert made["recipients"].split() == list(entries(made["aliases"]))


def test_domains_are_ours_and_this_host():
    assert files()["domains"] == "example.org\nlocalhost\nmail.example.org\n"


def test_logins_may_send_as_themselves_their_senders_and_the_aliases_they_receive():
    made = files()
    assert entries(made["credentials"]) == {"me@example.org": HASH, "you@example.org": HASH}
    senders = {name: value.split(", ") for name, value in entries(made["logins"]).items()}
    assert senders["you@example.org"] == ["you@example.org"]
    assert {"me@example.org", "sales@example.org", "abuse@example.org"} <= set(senders["me@example.org"])


def test_an_apostrophe_begins_no_quotation():
    found = entries(files(aliases={"o'b@example.org": ["o'brien@example.com", "me@example.org"]})["aliases"])
    assert found["o'b@example.org"] == r"o\'brien@example.com, me@example.org"


def test_an_alias_of_more_addresses_than_smtpd_reads_is_refused():
    targets = [f"somebody.with.a.long.name{number:03}@example.com" for number in range(48)]
    assert len(entries(files(aliases={"all@example.org": targets})["aliases"])["all@example.org"]) == 2014
    with pytest.raises(MailError) as error:
        files(aliases={"all@example.org": [*targets, "a.longer.name.at.the.very.end@example.com"]})
    assert str(error.value) == (
        "alias 'all@example.org' leads to 49 addresses of 2057 characters; OpenSMTPD reads 2047. "
        "Spread them over further aliases, which this one leads to"
    )


def test_checks_in_order():
    assert _opensmtpd.checks(CHECKS, ["x"], ["y"]) == [
        {"name": "trusted", "match": "src <trusted>", "decision": "bypass"},
        {"name": "rdns", "match": "!rdns", "decision": 'disconnect "450 4.7.25 Reverse DNS validation failed"'},
        {"name": "fcrdns", "match": "!fcrdns", "decision": "junk"},
        {"name": "static", "match": "rdns regex <static-names>", "decision": "bypass"},
        {"name": "dynamic", "match": "rdns regex <dynamic-names>", "decision": "junk"},
    ]


@pytest.mark.parametrize(
    "given, static, dynamic, names",
    [
        ({**CHECKS, "rdns": "off", "fcrdns": "off"}, ["x"], ["y"], ["trusted", "static", "dynamic"]),
        ({**CHECKS, "dynamic": "off"}, ["x"], ["y"], ["trusted", "rdns", "fcrdns"]),
        (CHECKS, ["x"], [], ["trusted", "rdns", "fcrdns"]),
        (CHECKS, [], ["y"], ["trusted", "rdns", "fcrdns", "dynamic"]),
    ],
)
def test_checks_that_are_off_are_left_out(given, static, dynamic, names):
    assert [check["name"] for check in _opensmtpd.checks(given, static, dynamic)] == names


def test_an_unknown_decision_is_refused():
    with pytest.raises(MailError) as error:
        _opensmtpd.checks({**CHECKS, "fcrdns": "reject"}, [], [])
    assert str(error.value) == "opensmtpd_fcrdns 'reject' is unknown; it is one of disconnect, junk, off"


def test_patterns_are_quoted_and_compared_without_case():
    assert _opensmtpd.patterns([r"(^|[-.])dyn\.", "[0-9]{3}"], "names") == [r'"(?i)(^|[-.])dyn\."', '"(?i)[0-9]{3}"']


@pytest.mark.parametrize(
    "pattern, text",
    [
        ("(a", "names '(a' is not a regular expression: missing ), unterminated subpattern at position 0"),
        ("a*", "names 'a*' matches everything"),
        (r"\d+", r"names '\\d+': '\\d' is not for extended regular expressions of POSIX"),
        ("(?:a)", "names '(?:a)': '(?' is not for extended regular expressions of POSIX"),
        ("a+?b", "names 'a+?b': '+?' is not for extended regular expressions of POSIX"),
        ("x[.-]", "names 'x[.-]': '[.' is not for extended regular expressions of POSIX"),
        (3, "names 3 is not a string"),
        ('a"b', "names '(?i)a\"b' cannot be a string of smtpd.conf: it has a quotation mark, a line break or a last backslash"),
    ],
)
def test_patterns_that_would_never_match_or_always_are_refused(pattern, text):
    with pytest.raises(MailError) as error:
        _opensmtpd.patterns([pattern], "names")
    assert str(error.value) == text


def test_slow_destinations_send_one_after_another_where_there_is_a_delay():
    slow = {
        "b": {"domains": ["b.test"], "connections": 2, "delay": 0},
        "a": {"domains": ["z.test", "a.test"], "connections": 2, "delay": 3},
    }
    assert _opensmtpd.limits(slow) == [
        f'for domain "{domain}" {limit}'
        for domain, connections, delay in (("a.test", 1, 3), ("b.test", 2, 0), ("z.test", 1, 3))
        for limit in (f"max-conn-per-domain {connections}", f"max-conn-per-host {connections}", f"session-transaction-delay {delay}")
    ]


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "found", "without_ipv6"),
    [
        (["198.51.100.9"], ["2001:db8::25"], [], []),
        (["198.51.100.9"], [], [], []),
        ([], ["2001:db8::25"], [], []),
        ([], [], [], []),
        # Behind NAT, where nothing of 198.51.100.25 is the host's, also with native IPv6.
        (["198.51.100.25"], ["2001:db8::25"], [], []),
        (["198.51.100.25"], [], [], []),
        # The system would choose another one.
        (["198.51.100.10"], ["2001:db8::25"], ["198.51.100.10", "2001:db8::25"], ["198.51.100.10"]),
        (["198.51.100.9"], ["2001:db8::26"], ["198.51.100.9", "2001:db8::26"], ["198.51.100.9"]),
        (["198.51.100.25"], ["2001:db8::26"], ["0.0.0.0", "2001:db8::26"], ["0.0.0.0"]),
        (["198.51.100.10"], ["2001:db8::1"], ["198.51.100.10", "::"], ["198.51.100.10"]),
        (["198.51.100.10", "198.51.100.9"], [], ["198.51.100.10"], ["198.51.100.10"]),
        ([], ["2001:db8::26"], ["2001:db8::26"], []),
    ],
)
def test_mail_leaves_from_declared_addresses_also_behind_nat(ipv4, ipv6, found, without_ipv6):
    declared = {"ipv4": ipv4, "ipv6": ipv6}
    own = ["198.51.100.9", "198.51.100.10", "2001:db8::25", "2001:db8::26"]
    usual = {"ipv4": "198.51.100.9", "ipv6": "2001:db8::25"}
    assert _opensmtpd.sources(declared, own, usual, True) == found
    assert _opensmtpd.sources(declared, own, usual, False) == without_ipv6


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "found"),
    [(["198.51.100.25"], ["2001:db8::25"], []), (["198.51.100.25"], [], ["inet4"]), ([], ["2001:db8::25"], ["inet6"]), ([], [], [])],
)
def test_mail_leaves_over_declared_families_only(ipv4, ipv6, found):
    assert _opensmtpd.families({"ipv4": ipv4, "ipv6": ipv6}) == found


@pytest.mark.parametrize(
    ("given", "written"),
    # smtpd has no word for never, and 4 hours of its own where nothing is said: 68 years are the most that it can count.
    [([], ["24855d"]), (["4h"], ["4h"]), (["90s", "30m", "4h", "2d"], ["90s", "30m", "4h", "2d"])],
)
def test_senders_are_told_of_a_delay_only_where_that_is_asked_for(given, written):
    made = model()
    values = {"model": made, "delivery": delivery(made), "owner": "vmail", **CHECKS}
    assert _opensmtpd.plan({**values, "warn_intervals": given})["warnings"] == written


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["1h"] * 5, "has 5 times; smtpd keeps 4 and forgets the rest"),
        (["4"], "'4' is not a number from 1 to 99999 and one of the letters s, m, h and d"),
        (["0h"], "'0h' is not a number from 1 to 99999 and one of the letters s, m, h and d"),
        (["1h", "4h # never"], "'4h # never' is not a number from 1 to 99999 and one of the letters s, m, h and d"),
        (["24856d"], "'24856d' is longer than smtpd can count, 24855d"),
    ],
)
def test_times_that_smtpd_would_not_read_are_refused(given, text):
    with pytest.raises(MailError) as error:
        _opensmtpd.warnings(given)
    assert str(error.value) == f"opensmtpd_warn_intervals {text}"


def test_plan():
    made = model(filter={"trusted": ["2001:db8::/32"]}, addresses=["198.51.100.9"])
    found = _opensmtpd.plan(
        {
            "model": made, "delivery": delivery(made), "owner": "vmail", **CHECKS,
            "static_names": ["^mail"], "dynamic_names": ["dsl"], "own_addresses": ["10.0.0.5", "198.51.100.9"],
            "usual_addresses": {"ipv4": "10.0.0.5", "ipv6": ""}, "binds_ipv6": False,
        }
    )
    assert set(found["files"]) == {"aliases", "credentials", "domains", "logins", "recipients"}
    assert found["trusted"] == ['"127.0.0.0/8"', '"::1"', '"2001:db8::/32"']
    assert found["sources"] == ['"198.51.100.9"']
    assert (found["static"], found["dynamic"]) == (['"(?i)^mail"'], ['"(?i)dsl"'])
    assert [check["name"] for check in found["checks"]] == ["trusted", "rdns", "fcrdns", "static", "dynamic"]
    assert found["limits"] == ["inet4"]


@pytest.mark.parametrize("key", ["short", 'quotation"marks"in-it', "back\\slash-and-more"])
def test_a_key_that_smtpd_could_not_read_is_refused_and_not_told(key):
    made = model()
    with pytest.raises(MailError) as error:
        _opensmtpd.plan({"model": made, "delivery": delivery(made), "owner": "vmail", **CHECKS, "srs_key": key})
    assert str(error.value) == "opensmtpd_srs_key must be at least 16 letters, digits and characters of ._~+/=-"
