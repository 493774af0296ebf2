# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import opensmtpd

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
    made = opensmtpd.tables({"model": model(**given), "owner": "vmail"})
    return {path.removeprefix("smtpd/tables/"): text for path, text in made.items()}


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
    senders = {name: value.split(", ") for name, value in entries(made["owners"]).items()}
    assert senders["you@example.org"] == ["you@example.org"]
    for name in ("me@example.org", "sales@example.org", "abuse@example.org"):
        assert senders[name] == ["me@example.org"]
    made = files(domains={"example.org": {"catch_all": "you@example.org"}}, aliases={"out@example.org": "out@example.com"})
    assert (entries(made["owners"])["@example.org"], entries(made["owners"])["out@example.org"]) == ("you@example.org", "-")


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
    assert opensmtpd.checks({"dynamic": "junk"}, ["x"], ["y"]) == [
        {"name": "trusted", "match": "src <trusted>", "decision": "bypass"},
        {"name": "static", "match": "rdns regex <static-names>", "decision": "bypass"},
        {"name": "dynamic", "match": "rdns regex <dynamic-names>", "decision": "junk"},
    ]
    refused = opensmtpd.checks({"dynamic": "disconnect"}, [], ["y"])
    assert [check["name"] for check in refused] == ["trusted", "dynamic"]
    assert refused[1]["decision"] == 'disconnect "450 4.7.25 Reverse DNS validation failed"'
    assert opensmtpd.checks({"dynamic": "score"}, ["x"], ["y"]) == opensmtpd.checks({"dynamic": "junk"}, ["x"], []) == []


def test_names_that_do_not_lead_back_are_the_filters():
    assert opensmtpd.names(CHECKS) == ["--rdns", "disconnect", "--fcrdns", "junk"]


def test_an_unknown_decision_is_refused():
    with pytest.raises(MailError) as error:
        opensmtpd.names({**CHECKS, "fcrdns": "off"})
    assert str(error.value) == "opensmtpd_fcrdns 'off' is unknown; it is one of disconnect, junk, score"


def test_patterns_are_quoted_and_compared_without_case():
    assert opensmtpd.patterns([r"(^|[-.])dyn\.", "[0-9]{3}"], "names") == [r'"(?i)(^|[-.])dyn\."', '"(?i)[0-9]{3}"']


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
        ("a" * 7997, f"names {shown('(?i)' + 'a' * 7997)} is longer than 8000 octets, more than a string of smtpd.conf can be"),
        ("a\ud800", "names '(?i)a\\ud800' has half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)"),
        ('a"b', "names '(?i)a\"b' cannot be a string of smtpd.conf: it has a quotation mark or a last backslash"),
    ],
)
def test_patterns_that_would_never_match_or_always_are_refused(pattern, text):
    with pytest.raises(MailError) as error:
        opensmtpd.patterns([pattern], "names")
    assert str(error.value) == text


def test_slow_destinations_send_one_after_another_where_there_is_a_delay():
    slow = {
        "b": {"domains": ["b.test"], "connections": 2, "delay": 0},
        "a": {"domains": ["z.test", "a.test"], "connections": 2, "delay": 3},
    }
    assert opensmtpd.slow_destinations(slow) == [
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
    assert opensmtpd.sources(declared, own, usual, True) == found
    assert opensmtpd.sources(declared, own, usual, False) == without_ipv6


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "found"),
    [(["198.51.100.25"], ["2001:db8::25"], []), (["198.51.100.25"], [], ["inet4"]), ([], ["2001:db8::25"], ["inet6"]), ([], [], [])],
)
def test_mail_leaves_over_declared_families_only(ipv4, ipv6, found):
    assert opensmtpd.families({"ipv4": ipv4, "ipv6": ipv6}) == found


@pytest.mark.parametrize(
    ("given", "lifetime", "warn_after"),
    [
        ({}, "5d", "4h"),
        ({"lifetime": "3d", "warn_after": "1d", "bounce_lifetime": "7d"}, "3d", "24h"),
        # smtpd has no word for never, and 4 hours of its own where nothing is said: 68 years are the most that it can count.
        ({"warn_after": False}, "5d", "24855d"),
    ],
)
def test_how_long_mail_waits(given, lifetime, warn_after):
    found = opensmtpd.values({"model": model(queue=given), **CHECKS})["queue"]
    assert found == {"lifetime": lifetime, "warn_after": warn_after}


def test_a_lifetime_of_reports_that_smtpd_does_not_have():
    with pytest.raises(MailError) as error:
        opensmtpd.values({"model": model(queue={"bounce_lifetime": "1d"}), **CHECKS})
    assert str(error.value) == "mail_queue.bounce_lifetime '1d' cannot be had: OpenSMTPD tries to deliver its reports for '7d'"


def test_values():
    made = model(filter={"trusted": ["2001:db8::/32"]}, addresses=["198.51.100.9"])
    found = opensmtpd.values(
        {
            "model": made, **CHECKS,
            "static_names": ["^mail"], "dynamic_names": ["dsl"], "own_addresses": ["10.0.0.5", "198.51.100.9"],
            "usual_addresses": {"ipv4": "10.0.0.5", "ipv6": ""}, "binds_ipv6": False,
        }
    )
    assert found["trusted"] == ['"127.0.0.0/8"', '"::1"', '"2001:db8::/32"']
    assert found["sources"] == ['"198.51.100.9"']
    assert (found["static"], found["dynamic"]) == (['"(?i)^mail"'], ['"(?i)dsl"'])
    assert [check["name"] for check in found["checks"]] == ["trusted", "static", "dynamic"]
    assert found["limits"] == ["inet4"]


def test_what_nobody_gets_is_no_recipient():
    made = files(
        domains={"example.org": {"catch_all": "me@example.org"}, "example.com": {"alias_of": "example.org"}},
        aliases={"no@example.org": {"discard": True}, "you@example.org": {"refuse": "Write to me"}},
    )
    assert made["discarded"] == "no@example.com\nno@example.org\n"
    assert entries(made["no_mail"]) == {f"you@example.{domain}": "550 5.2.1 Write to me" for domain in ("com", "org")}
    for domain in ("com", "org"):
        assert not {f"no@example.{domain}", f"you@example.{domain}"} & {*made["recipients"].split(), *entries(made["aliases"])}
    # Not the catch-all's, and the user's all the same.
    assert (entries(made["owners"])["no@example.org"], entries(made["owners"])["you@example.com"]) == ("-", "you@example.org")
    assert files()["discarded"] == "nobody@discarded.invalid\n"


def test_smtpd_knows_one_delimiter():
    values = {"rdns": "score", "fcrdns": "score", "dynamic": "score"}
    assert opensmtpd.values({"model": model(recipient_delimiter="-"), **values})["delimiter"] == '"-"'
    with pytest.raises(MailError) as error:
        opensmtpd.values({"model": model(recipient_delimiter="+-"), **values})
    assert str(error.value) == (
        "mail_recipient_delimiter '+-' has 2 characters, and OpenSMTPD knows one (smtpd.conf(5), smtp sub-addr-delim): name one of them, "
        "or have mail_mta be postfix"
    )


def test_tables():
    made = opensmtpd.tables({"model": model(), "owner": "vmail"})
    names = ("aliases", "credentials", "discarded", "domains", "no_mail", "owners", "recipients", "refused")
    assert set(made) == {f"smtpd/tables/{name}" for name in names} | {"smtpd/locks/login", "smtpd/locks/sending"}
    # table(5) must not be empty.
    assert made["smtpd/tables/refused"] == "^$\n"
    refusals = {"postfix": "/^x$/ 550 5.1.1 no", "opensmtpd": "^x$\n"}
    assert opensmtpd.tables({"model": model(refusals=refusals), "owner": "vmail"})["smtpd/tables/refused"] == "^x$\n"


def test_aliases_that_are_closed_to_strangers():
    found = files(aliases={
        "all@example.org": {"to": ["me@example.org"], "from": "users"},
        "board@example.org": {"to": ["me@example.org", "you@example.org"], "from": "members"},
    })  # fmt: skip
    assert found["closed"] == "all@example.org *\nboard@example.org me@example.org, you@example.org\n"


@pytest.mark.parametrize("key", ["short", 'quotation"marks"in-it', "back\\slash-and-more"])
def test_a_key_that_smtpd_could_not_read_is_refused_and_not_told(key):
    made = model()
    with pytest.raises(MailError) as error:
        opensmtpd.values({"model": made, **CHECKS, "srs_key": key})
    assert str(error.value) == "opensmtpd_srs_key must be at least 16 letters, digits and characters of ._~+/=-"


@pytest.mark.parametrize(
    ("today", "addresses", "found"),
    [
        ("2026-11-30", ["198.51.100.9", "2001:db8::25"], ["inet4", "max-conn-per-domain 1", "session-mail-max 1", "conn-delay-domain 180"]),
        ("2026-12-08", ["2001:db8::25"], ["inet6", "max-conn-per-domain 1", "session-mail-max 1", "conn-delay-domain 90"]),
        ("2027-01-05", ["198.51.100.9", "2001:db8::25"], []),
    ],
)
def test_a_new_address_sends_slowly(today, addresses, found):
    made = model(outbound={"warm_up": "2026-12-01"}, addresses=addresses)
    assert opensmtpd.values({"model": made, **CHECKS, "today": today})["limits"] == found


PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SMARTHOSTS = {
    "isp": {"host": "smtp.isp.example", "user": "me", "password": "s3cret: of us"},
    "spare": {"host": "relay.example", "ca": PEM},
    "late": {"host": "smtps.isp.example", "port": 465, "ca": "/etc/ssl/isp.pem", "user": "you", "password": "other"},
}


def test_routes():
    made = model(outbound={"warm_up": "2026-12-01"}, routes={
        "hosts": SMARTHOSTS, "default": "isp", "to": {"b.example": "spare", "a.example": "spare", "c.example": "direct"},
        "from": {"example.org": "late"},
    })  # fmt: skip
    found = opensmtpd.values({"model": made, **CHECKS, "etc": "/etc/mail", "today": "2026-12-02"})
    assert found["routes"] == {
        "authorities": {"late": {"macro": "late_ca", "file": "/etc/ssl/isp.pem"},
                        "spare": {"macro": "spare_ca", "file": "/etc/mail/smtpd/routes/spare.pem"}},
        "staged": ['spare_ca="{stage}/smtpd/routes/spare.pem"'],
        "hosts": {},
        "default": 'host "smtp+tls://isp@smtp.isp.example:587" auth <smarthosts>',
        "actions": {
            "direct": "",
            "route-late": 'host "smtps://late@smtps.isp.example:465" auth <smarthosts> ca "late"',
            "route-spare": 'host "smtp+tls://relay.example:587" ca "spare"',
        },
        "to": {"route-spare": ["a.example", "b.example"], "direct": ["c.example"]},
        "from": {"route-late": ["example.org"]},
    }
    # What a new address may do is not for a smarthost, whose own is not new.
    assert 'for domain "smtp.isp.example" conn-delay-domain 0' in found["limits"]
    files = opensmtpd.tables({"model": made, "owner": "vmail"})
    assert files["smtpd/tables/smarthosts"] == "isp me:s3cret: of us\nlate you:other\n"
    assert files["smtpd/routes/spare.pem"] == PEM and "smtpd/routes/late.pem" not in files
    assert "s3cret" not in str(found)


def test_mail_leaves_by_ipv4_alone_while_the_reverse_name_of_ipv6_does_not_verify():
    for addresses in (["198.51.100.9", "2001:db8::25"], []):
        made = model(addresses=addresses)
        found = opensmtpd.values({"model": made, **CHECKS, "ipv4_only": True, "own_addresses": addresses, "usual_addresses": {}})
        assert found["limits"][0] == "inet4" and "2001:db8::25" not in str(found["sources"])
        assert opensmtpd.values({"model": made, **CHECKS})["limits"][:1] == []


def test_several_smarthosts_of_a_route():
    other = PEM.replace("AAAA", "BBBB")
    hosts = {"isp": {**SMARTHOSTS["isp"], "ca": other}, "spare": SMARTHOSTS["spare"], "plain": {"host": "plain.example", "port": 465}}
    hosts["more"] = {"host": "more.example"}
    made = model(routes={"hosts": hosts, "default": ["isp", "spare"], "to": {"a.example": ["plain", "more"]}})
    found = opensmtpd.values({"model": made, **CHECKS, "etc": "/etc/mail", "today": "2026-12-02"})["routes"]
    assert found["default"] == 'host <hosts-isp-spare> auth <smarthosts> ca "isp-spare"'
    assert found["actions"] == {"route-plain-more": "host <hosts-plain-more>"}
    assert found["hosts"] == {"hosts-isp-spare": "/etc/mail/smtpd/routes/isp-spare.hosts",
                              "hosts-plain-more": "/etc/mail/smtpd/routes/plain-more.hosts"}
    assert found["staged"] == ['isp_spare_ca="{stage}/smtpd/routes/isp-spare.pem"']
    files = opensmtpd.tables({"model": made, "owner": "vmail", "etc": "/etc/mail"})
    assert files["smtpd/routes/isp-spare.hosts"] == (
        "smtp+tls://isp@smtp.isp.example:587 /etc/mail/smtpd/routes/isp-spare.pem\n"
        "smtp+tls://relay.example:587 /etc/mail/smtpd/routes/isp-spare.pem\n"
    )
    assert files["smtpd/routes/plain-more.hosts"] == "smtps://plain.example:465\nsmtp+tls://more.example:587\n"
    assert files["smtpd/routes/isp-spare.pem"] == other + PEM


def test_a_backup_mx_delivers_each_domain_to_its_servers():
    domains = {"example.org": {}, "example.net": {}}
    peers = [{"name": name, "fqdn": f"{name}.example.org", "addresses": ["198.51.100.1"], "domains": served}
             for name, served in (("mx1", domains), ("mx3", {"example.net": {}}))]
    own = {"fqdn": "mx2.example.org", "addresses": ["198.51.100.2"], "domains": domains}
    assert opensmtpd.primaries(normalise(own, "Debian", peers, True)) == [
        {"name": "primary-1", "servers": ['"smtp://mx1.example.org"'], "domains": ['"example.org"']},
        {"name": "primary-2", "servers": ['"smtp://mx1.example.org"', '"smtp://mx3.example.org"'], "domains": ['"example.net"']},
    ]
    assert opensmtpd.primaries(model()) == []


def test_smtpd_keeps_no_spam_that_it_would_forward():
    with pytest.raises(MailError) as error:
        opensmtpd.values({"model": model(filter={"forwarded_junk": "keep"}), **CHECKS})
    assert str(error.value) == ("mail_filter.forwarded_junk 'keep' cannot be had: OpenSMTPD sends a message that it has taken to all of "
                                "its recipients. Have it be 'refuse', or have mail_mta be postfix")
