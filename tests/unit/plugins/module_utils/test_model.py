# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _delivery, _dns_plan, _dovecot, _mailman, _model, _records
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

HASH = "$2b$12$" + "a" * 53
LONG = ".".join(letter * 60 for letter in "abcd") + ".example"
PRIVATE = "-----BEGIN RSA PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END RSA PRIVATE KEY-----\n"
RFC2136 = {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "mail", "key_secret": "c2VjcmV0"}


def given(**changes):
    base = {
        "fqdn": "Mail.Example.org.",
        "addresses": ["198.51.100.25", "2001:db8::25"],
        "domains": {"Example.org": None},
        "users": {"Me@example.org": {"password_hash": HASH}},
    }
    return {**base, **changes}


def user(**options):
    return {"me@example.org": {"password_hash": HASH, **options}}


def test_ten_lines_make_a_whole_model():
    model = _model.normalise(given())
    assert model["fqdn"] == "mail.example.org"
    assert model["addresses"] == {"ipv4": ["198.51.100.25"], "ipv6": ["2001:db8::25"]}
    assert model["mta"] == "postfix"
    assert model["postmaster"] == "me@example.org"
    assert model["users"]["me@example.org"] == {"password_hash": HASH, "quota": 0, "senders": []}
    assert model["domains"]["example.org"]["dmarc"]["rua"] == ["postmaster@example.org"]
    assert model["aliases"]["abuse@example.org"] == ["me@example.org"]
    assert model["filter"] == {
        "reject": 15.0, "junk": 6.0, "greylist": 4.0, "dnsbls": True, "trusted": [], "dmarc": "junk", "arc_sealers": [],
    }


def test_a_role_alone_passes_only_what_it_has():
    assert _model.normalise({"domains": {"example.org": {}}})["users"] == {}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"domain": {}}, "mail_domain is not a variable of this collection (did you mean domains?)"),
        ({"mta": "exim"}, "mail_mta 'exim' is unknown; it is one of postfix, opensmtpd"),
        ({"routes": {}}, "mail_routes (smarthosts and routes) is not built yet in this release: take it out"),
        ({"fqdn": "mail"}, "mail_fqdn 'mail' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
        ({"addresses": "10.1.2.3"}, "mail_addresses '10.1.2.3' is not public (private, RFC 1918): other mail servers cannot reach it. "
         "Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"),
        ({"addresses": ["x"]}, "mail_addresses 'x' is not an IPv4 or IPv6 address"),
        ({"domains": {"example.org": {"dkmi": {}}}},
         "mail_domains['example.org'] has no key 'dkmi' (did you mean 'dkim'?); "
         "it knows dkim, spf, dmarc, catch_all, txt, mta_sts, tls_rpt"),
        ({"domains": {"example.org": {"mta_sts": True}}},
         "mail_domains['example.org'].mta_sts is not built yet in this release: take it out"),
        ({"domains": {"example.org": {"catch_all": "nobody@example.org"}}},
         "mail_domains['example.org'].catch_all leads to 'nobody@example.org', which is neither a user nor an alias"),
        ({"domains": {"example.org": {"txt": {"@": "v=spf1 -all"}}}},
         "mail_domains['example.org'].txt holds 'v=spf1 -all' for example.org, where mail_domains['example.org'].spf makes a record: "
         "use mail_domains['example.org'].spf, or set it to false to publish your own"),
        ({"domains": {"example.org": {"txt": {"_dmarc.news": "v = DMARC1; p=none"}}, "news.example.org": {}}},
         "mail_domains['example.org'].txt holds 'v = DMARC1; p=none' for _dmarc.news.example.org, where "
         "mail_domains['news.example.org'].dmarc makes a record: "
         "use mail_domains['news.example.org'].dmarc, or set it to false to publish your own"),
        ({"domains": {"example.org": {"dkim": {"selector": "s1"}, "txt": {"s1._domainkey": "k=rsa; p=AAAA"}}}},
         "mail_domains['example.org'].txt holds 'k=rsa; p=AAAA' for s1._domainkey.example.org, where mail_domains['example.org'].dkim "
         "makes a record: use mail_domains['example.org'].dkim, or set it to false to publish your own"),
        ({"domains": {"example.org": {"txt": {"www.example.net": "a"}}}},
         "mail_domains['example.org'].txt: name 'www.example.net' is outside of zone 'example.org'; "
         "a name of several labels is absolute: write it in full"),
        ({"domains": {"example.org": {"txt": {"www": "a", "www.example.org.": "b"}}}},
         "mail_domains['example.org'].txt['www.example.org.'] is declared twice (www.example.org)"),
        ({"users": {"me@example.net": {"password_hash": HASH}}, "postmaster": "a@b.test"},
         "mail_users['me@example.net'] is in a domain that mail_domains does not declare"),
        ({"users": {"me+x@example.org": {"password_hash": HASH}}},
         "mail_users['me+x@example.org'] has a '+': what follows it is a detail of the user before it (RFC 5233), not a user"),
        ({"users": {"o'brien@example.org": {"password_hash": HASH}}},
         "mail_users[\"o'brien@example.org\"] names a directory, so it may have only a-z, 0-9, '.', '_' and '-' before the @"),
        ({"users": user(quota="lots")}, "mail_users['me@example.org'].quota 'lots' is not a size such as 500M or 2G "
         "(powers of 1024; 0 for no limit)"),
        ({"users": user(senders=["me@example.net"])}, "mail_users['me@example.org'].senders 'me@example.net' is in a domain "
         "that mail_domains does not declare: it could not be signed"),
        ({"users": {}}, "mail_postmaster is needed where mail_users has no user: every domain has a postmaster (RFC 5321 section 4.5.1)"),
        ({"postmaster": "boss@example.org"}, "mail_postmaster 'boss@example.org' is neither a user nor an alias"),
        ({"aliases": {"a@example.net": "me@example.org"}},
         "mail_aliases['a@example.net'] is in a domain that mail_domains does not declare"),
        ({"aliases": {"a@example.org": "gone@example.org"}},
         "mail_aliases['a@example.org'] leads to 'gone@example.org', which is neither a user nor an alias"),
        ({"aliases": {"a@example.org": []}}, "mail_aliases['a@example.org'] leads to no address"),
        ({"aliases": {"me@example.org": "you@example.net"}}, "mail_aliases['me@example.org'] hides the mailbox of the same name: "
         "name me@example.org among its targets to keep a copy, or remove the user"),
        ({"aliases": {"a@example.org": "b@example.org", "b@example.org": "c+x@example.org", "c@example.org": "a@example.org"}},
         "mail_aliases has a loop: a@example.org -> b@example.org -> c@example.org -> a@example.org"),
        ({"aliases": {"a@example.org": "a@example.org"}}, "mail_aliases has a loop: a@example.org -> a@example.org"),
        ({"slow_destinations": {"Slow": {"domains": "example.com"}}},
         "mail_slow_destinations['Slow'] names a transport: a letter, then at most 19 letters and digits, all lower case"),
        ({"slow_destinations": {"a": {"domains": "example.com"}, "b": {"domains": ["example.net", "Example.com"]}}},
         "mail_slow_destinations['b'].domains 'Example.com' is in mail_slow_destinations['a'] as well"),
        ({"slow_destinations": {"a": {"domains": "example.com", "delay": -1}}},
         "mail_slow_destinations['a'].delay -1 must be a whole number from 0 to 3600"),
        ({"dns": {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "k"}},
         "mail_dns.key_secret is needed by mail_dns.backend 'rfc2136'"),
        ({"certificates": {"ca": f"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{PRIVATE}"}}, "mail_certificates.ca holds "
         "a private key, and what is written from it can be read by everyone: take the key out of it"),
        ({"domains": {"example.org": {"txt": {"mail._domainkey": PRIVATE}}}}, "mail_domains['example.org'].txt['mail._domainkey'] holds a "
         "private key, and what is written from it can be read by everyone: take the key out of it"),
        ({"certificates": {"method": "acme-dns"}}, "mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' "
         "to answer the challenge (RFC 8555 section 8.4)"),
        ({"filter": {"dmarc": "quarantine"}}, "mail_filter.dmarc 'quarantine' is unknown; it is one of junk, reject, score"),
        ({"filter": {"dmarc": False}}, "mail_filter.dmarc False is unknown; it is one of junk, reject, score"),
        ({"filter": {"arc_sealers": "google"}},
         "mail_filter.arc_sealers 'google' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
        ({"filter": {"arc_sealers": ["google.com"], "dmarc": "score"}}, "mail_filter.arc_sealers says whose seals excuse a failure of "
         "DMARC, and mail_filter.dmarc 'score' has no use for it"),
        ({"filter": {"junk": 20}}, "mail_filter.junk 20 must be below mail_filter.reject 15: nothing would land in Junk"),
        ({"addresses": "198.18.0.1"}, "mail_addresses '198.18.0.1' is not public (benchmarks, RFC 2544): other mail servers "
         "cannot reach it. Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"),
        ({"domains": {"example.org": {"txt": {"a": "\u00e9"}}}}, "mail_domains['example.org'].txt['a'] '\u00e9' is not ASCII, "
         "and no rule says how a TXT record would encode it (RFC 1035 section 3.3.14)"),
        ({"domains": {"example.org": {"txt": "a" * 70000}}}, "mail_domains['example.org'].txt['@'] of 70000 octets does not fit "
         "a TXT record of 65535 octets (RFC 1035 section 3.2.1)"),
        ({"domains": {"example.org": {"txt": ""}}}, "mail_domains['example.org'].txt['@']: TXT value '': a TXT value must not be empty"),
        ({"domains": {"example.org": {"txt": "a\n"}}},
         "mail_domains['example.org'].txt['@']: TXT value 'a\\n': a TXT value must not contain the control character '\\n'"),
        ({"domains": {"example.org": {"txt": {"a": None}}}}, "mail_domains['example.org'].txt['a'] names no value"),
        ({"domains": {"example.org": {"txt": ["a" * 40000, "b" * 40000]}}}, "mail_domains: example.org TXT: 80430 octets of records "
         "do not fit into one DNS message of 65535 (RFC 1035 section 4.2.2)"),
        ({"domains": {"example.org": {"txt": {"_smtp._tls": ["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:c@b.test"]}}}},
         "mail_domains: _smtp._tls.example.org: there would be 2 TLS-RPT values, and one is the rule (RFC 8460 section 3): "
         "'v=TLSRPTv1; rua=mailto:a@b.test'; 'v=TLSRPTv1; rua=mailto:c@b.test'"),
        ({"domains": {"example.org": {}, LONG: {"dkim": False, "dmarc": {"rua": "me@example.org"}}}},
         f"mail_domains[{LONG!r}].dmarc: name '_dmarc.{LONG}' is longer than 253 characters (RFC 1035 section 2.3.4)"),
        ({"domains": {"example.org": {}, LONG: {"dmarc": False}}},
         f"mail_domains[{LONG!r}].dkim: selector 's20261128-0a1b2c3d' and domain {LONG!r} make a name longer than 253 characters "
         "(RFC 1035 section 2.3.4)"),
        ({"domains": {"example.org": {"spf": {"terms": ["include:Example.org"]}}}}, "mail_domains['example.org'].spf: SPF record "
         "'v=spf1 include:Example.org ~all' leads back to example.org by 'include:Example.org' (RFC 7208 section 4.6.4)"),
        ({"dns": {**RFC2136, "key_name": "bad name"}}, "mail_dns.key_name 'bad name' has a bad label 'bad name': "
         "letters, digits, underscores and inner hyphens only (RFC 1035 section 2.3.1, RFC 8552)"),
        ({"dns": {**RFC2136, "key_secret": "not base64 !!"}},
         "mail_dns.key_secret is not base64: give the secret as it stands in the key file, without quotation marks"),
        ({"dns": {**RFC2136, "server": ["198.51.100.2"]}}, "mail_dns.server must be a string, not list"),
        ({"dns": {**RFC2136, "server": "ns 1"}}, "mail_dns.server 'ns 1' has a bad label 'ns 1': "
         "letters, digits, underscores and inner hyphens only (RFC 1035 section 2.3.1, RFC 8552)"),
        ({"dns": {"backend": "zone_file", "zone_file": "zones/{zone}"}}, "mail_dns.zone_file 'zones/{zone}' must be an absolute path"),
        ({"domains": {"example.org": {"catch_all": "a@example.org"}}, "aliases": {"a@example.org": "b@example.org"}},
         "mail_aliases and mail_domains['example.org'].catch_all have a loop: a@example.org -> b@example.org -> a@example.org"),
        ({"domains": {"example.org": {"catch_all": "a+x@example.org"}}, "aliases": {"a@example.org": "b+y@example.org"}},
         "mail_aliases and mail_domains['example.org'].catch_all have a loop: a@example.org -> b@example.org -> a@example.org"),
        ({"domains": {"example.org": {"catch_all": "a@example.org"}, "example.net": {"catch_all": "b@example.net"}},
          "aliases": {"a@example.org": "c@example.net", "b@example.net": "c@example.org"}},
         "mail_aliases and mail_domains['example.net'].catch_all and mail_domains['example.org'].catch_all have a loop: "
         "a@example.org -> c@example.net -> b@example.net -> c@example.org -> a@example.org"),
        ({"domains": {"example.org": {"catch_all": "noc@example.org"}}, "postmaster": "x@example.org"},
         "mail_domains['example.org'].catch_all and mail_postmaster have a loop: x@example.org -> noc@example.org -> x@example.org"),
        ({"postmaster": "noc@example.org"}, "mail_postmaster has a loop: noc@example.org -> noc@example.org"),
        ({"mta": ["postfix"]}, "mail_mta ['postfix'] is unknown; it is one of postfix, opensmtpd"),
        ({"postmaster": []}, "mail_postmaster [] is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ({"certificates": {"method": {}}},
         "mail_certificates.method {} is unknown; it is one of acme-http, acme-dns, files, self-signed"),
        ({"users": user(quota="9" * 5000)}, f"mail_users['me@example.org'].quota '{'9' * 297}...' is not a size such as 500M or 2G "
         "(powers of 1024; 0 for no limit)"),
        ({"users": user(quota="9999999T")}, "mail_users['me@example.org'].quota '9999999T' is not a size such as 500M or 2G "
         "(powers of 1024; 0 for no limit)"),
        ({5: {}}, "mail_5 is not a variable of this collection"),
        ({"filter": {"trusted": "198.51.100.1/24"}},
         "mail_filter.trusted '198.51.100.1/24' has host bits set: the network is 198.51.100.0/24 (RFC 4632 section 3.1)"),
    ],
)
def test_broken_rules_name_variable_value_and_rule(changes, text):
    with pytest.raises(MailError) as error:
        _model.normalise({**given(), **changes})
    assert str(error.value) == f"one rule is broken:\n- {text}"


def test_all_broken_rules_are_reported_together():
    with pytest.raises(MailError) as error:
        _model.normalise(given(mta="exim", user={}, filter={"junk": 99}))
    assert str(error.value).startswith("3 rules are broken:\n- ")


def test_what_is_wrong_with_records_and_their_publication_is_told_together():
    with pytest.raises(MailError) as error:
        _model.normalise(
            given(
                domains={"example.org": {"txt": {"a": ["\u00e9", ""]}, "spf": {"terms": ["include:example.org"]}}},
                dns={**RFC2136, "key_name": "bad name", "key_secret": "!"},
            )
        )
    assert [rule.split(" ")[0].rstrip(":") for rule in error.value.rules] == [
        "mail_domains['example.org'].txt['a']",
        "mail_domains['example.org'].txt['a']",
        "mail_domains['example.org'].spf",
        "mail_dns.key_name",
        "mail_dns.key_secret",
    ]


_NESTED = {
    "domains": ("example.org", ("dkim", "spf", "dmarc", "catch_all", "txt", "mta_sts")),
    "users": ("me@example.org", ("password_hash", "quota", "senders", "limit")),
    "aliases": ("a@example.org", ()),
    "slow_destinations": ("slow", ("domains", "connections", "delay")),
    "dns": (None, tuple(_model.DNS_KEYS)),
    "refusals": (None, ("addresses", "postfix", "opensmtpd")),
    "host_senders": ("www-data", ()),
    "certificates": (None, tuple(_model.CERTIFICATE_KEYS)),
    "filter": (None, ("reject", "junk", "greylist", "dnsbls", "trusted", "dmarc", "arc_sealers")),
}
_DOMAIN = {"dkim": ("selector", "bits"), "spf": ("all", "terms"), "dmarc": ("policy", "subdomain_policy", "rua", "ruf", "adkim", "aspf")}


def _places():
    """Every place in which somebody could write a value: functions from the value to the variables."""
    for name in (*_model.KNOWN, *_model.NOT_BUILT, "nonsense", 5):
        yield str(name), lambda value, name=name: {name: value}
    for name, (key, options) in _NESTED.items():
        if key is not None:
            yield f"{name}.{key}", lambda value, name=name, key=key: {name: {key: value}}
        for option in options:
            yield (
                f"{name}.{option}",
                lambda value, name=name, key=key, option=option: {name: {option: value} if key is None else {key: {option: value}}},
            )
    for option, inner in _DOMAIN.items():
        for key in inner:
            yield f"domains.{option}.{key}", lambda value, option=option, key=key: {"domains": {"example.org": {option: {key: value}}}}
    yield "domains.txt.a", lambda value: {"domains": {"example.org": {"txt": {"a": value}}}}


_PLACES = dict(_places())


@pytest.mark.parametrize(
    ("label", "value", "owner"),
    [
        ("www.example.org", "a", "www.example.org"),
        ("www.example.org.", "a", "www.example.org"),
        ("www", "a", "www.example.org"),
        ("example.com._report._dmarc", "v=DMARC1", "example.com._report._dmarc.example.org"),
        ("news", "v=spf1 ip4:192.0.2.1 -all", "news.example.org"),
        ("_dmarc.news", "v=DMARC1; p=none", "_dmarc.news.example.org"),
        ("s1._domainkey", "v=DKIM1; k=rsa; p=AAAA", "s1._domainkey.example.org"),
        ("*", "v=spf1 -all", "*.example.org"),
        ("*._report._dmarc", "v=DMARC1", "*._report._dmarc.example.org"),
    ],
)
def test_free_texts_stand_where_dns_records_would_put_them(label, value, owner):
    model = _model.normalise(given(domains={"example.org": {"txt": {label: value}}}))
    assert model["domains"]["example.org"]["txt"] == {owner: [value]}
    wanted = _dns_plan.wanted_records(
        [{"name": label, "zone": "example.org", "type": "TXT", "values": [value], "ttl": 60, "state": "exact", "owned_prefix": None}]
    )
    assert [item.name for item in wanted] == [owner]


def test_a_record_of_ones_own_in_place_of_ours():
    domain = {"spf": False, "dmarc": False, "txt": {"@": "v=spf1 -all", "_dmarc": "v=DMARC1; p=none"}}
    assert _model.normalise(given(domains={"example.org": domain}))["domains"]["example.org"]["txt"] == {
        "example.org": ["v=spf1 -all"], "_dmarc.example.org": ["v=DMARC1; p=none"]
    }  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_a_wrongly_typed_value_is_told_and_never_a_traceback(place):
    values = [[], {}, None, 5, "x", True, 1.5, "9" * 5000, b"x", float("nan"), [[]], [{}], [None], {"x": 1}, {1: 2}, {"x": {"y": {}}}]
    for value in values:
        for os_family in ("", "OpenBSD"):
            with contextlib.suppress(MailError):
                _model.normalise({**given(), **_PLACES[place](value)}, os_family)


@pytest.mark.parametrize("prefix", ["$2a$", "$2y$", "$2b$"])
def test_bcrypt_forms_become_one(prefix):
    model = _model.normalise(given(users={"me@example.org": {"password_hash": prefix + HASH[4:]}}))
    assert model["users"]["me@example.org"]["password_hash"] == HASH


@pytest.mark.parametrize("behind", ["\n", " \r\n"])
def test_white_space_behind_a_hash_does_not_reach_the_passwd_file(behind):
    model = _model.normalise(given(users=user(password_hash=HASH + behind, quota=7)))
    assert _dovecot.passwd_file(model["users"], "2.4") == f"me@example.org:{{BLF-CRYPT}}{HASH}::::::userdb_quota_storage_size=7B\n"
    with pytest.raises(MailError, match="is not a bcrypt hash"):
        _model.normalise(given(users=user(password_hash=f"{HASH}{behind}x")))


@pytest.mark.parametrize("value", ["", None, "secret", "$6$salt$hash", "$2x$12$" + "a" * 53, "$2b$12$" + "a" * 52, "$2b$03$" + "a" * 53])
def test_other_hashes_are_refused_and_not_shown(value):
    with pytest.raises(MailError) as error:
        _model.normalise(given(users={"me@example.org": {"password_hash": value}}))
    assert "mail_users['me@example.org'].password_hash is not a bcrypt hash" in str(error.value)
    assert not value or value not in str(error.value)


def test_too_many_spf_lookups_are_found_before_anything_changes():
    terms = [f"include:spf{number}.example.net" for number in range(11)]
    with pytest.raises(MailError, match="RFC 7208"):
        _model.normalise(given(domains={"example.org": {"spf": {"terms": terms}}}))


@pytest.mark.parametrize(("text", "expected"), [(0, 0), (5, 5), ("500M", 500 * 1024**2), ("2 GiB", 2 * 1024**3), ("1k", 1024), ("7", 7)])
def test_sizes(text, expected):
    assert _model.size(text, "quota") == expected


LISTS = [_mailman.MailingList("we/ird+news", "lists.test")]


def test_the_tables_of_mailman_harden_are_taken_and_none_is_not_empty_ones():
    refusals = _mailman.refused(LISTS, LISTS, _mailman.commands(_mailman.COMMANDS, []))
    tables = {"postfix": _mailman.postfix_table(refusals), "opensmtpd": _mailman.opensmtpd_table(refusals)}
    assert _model.normalise(given(refusals={"addresses": _mailman.refused_addresses(refusals), **tables}))["refusals"] == tables
    empty = {"postfix": _mailman.postfix_table([]), "opensmtpd": _mailman.opensmtpd_table([])}
    assert _model.normalise(given(refusals={"addresses": [], **empty}))["refusals"] == empty
    assert _model.normalise(given())["refusals"] == _model.normalise(given(refusals={}))["refusals"] == {}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (["a@b.test"], "mail_refusals must be a dictionary, not list"),
        ({"postfix": ""}, "mail_refusals.opensmtpd None is not the table that mailman_harden returns as refusals.opensmtpd"),
        ({"opensmtpd": "", "postfix": ""}, "mail_refusals.opensmtpd '' is not the table that mailman_harden returns as refusals.opensmtpd"),
        ({"opensmtpd": "^$", "postfix": "/^a$/ OK\n"},
         "mail_refusals.postfix '/^a$/ OK\\n' is not the table that mailman_harden returns as refusals.postfix"),
        ({"opensmtpd": "/^a$/ 550 5.7.1 No\n", "postfix": ""},
         "mail_refusals.opensmtpd '/^a$/ 550 5.7.1 No\\n' is not the table that mailman_harden returns as refusals.opensmtpd"),
        ({"opensmtpd": "^$", "postfix": "", "exim": ""},
         "mail_refusals has no key 'exim'; it knows addresses, postfix, opensmtpd"),
    ],
)  # fmt: skip
def test_tables_that_no_mta_could_read(tables, message):
    with pytest.raises(MailError) as error:
        _model.normalise(given(refusals=tables))
    assert error.value.rules == (message,)


def test_programs_of_this_host_are_granted_addresses_and_domains():
    granted = {"Debian-exim": [], "www-data": "Shop@Example.org", "list": ["@Lists.example.org", "news@example.com", "@lists.example.org"]}
    assert _model.normalise(given(host_senders=granted))["host_senders"] == {
        "debian-exim": [], "list": ["@lists.example.org", "news@example.com"], "www-data": ["shop@example.org"],
    }
    assert _model.normalise(given())["host_senders"] == {}


@pytest.mark.parametrize(
    ("granted", "message"),
    [
        ("www-data", "mail_host_senders must be a dictionary, not str"),
        ({"0": "a@example.org"},
         "mail_host_senders['0'] names an account of the host: a letter or '_', then at most 31 letters, digits, '.', '_' and '-'"),
        ({"a b": []},
         "mail_host_senders['a b'] names an account of the host: a letter or '_', then at most 31 letters, digits, '.', '_' and '-'"),
        ({"\u017f": []},
         "mail_host_senders['\u017f'] names an account of the host: a letter or '_', then at most 31 letters, digits, '.', '_' and '-'"),
        ({"*": "a@example.org"},
         "mail_host_senders['*'] names an account of the host: a letter or '_', then at most 31 letters, digits, '.', '_' and '-'"),
        ({"list": [], "List": []}, "mail_host_senders['List'] is declared twice (names are compared without case)"),
        ({"www": "shop"}, "mail_host_senders['www'] 'shop' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ({"www": "@shop"}, "mail_host_senders['www'] 'shop' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
        ({"www": "*"}, "mail_host_senders['www'] '*' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
        ({"www": "a+b@example.org"}, "mail_host_senders['www'] 'a+b@example.org' has a '+': what follows is a detail (RFC 5233), "
         "allowed with the address before it"),
        ({"www": 5}, "mail_host_senders['www'] must be a string or a list of strings, not int"),
    ],
)  # fmt: skip
def test_what_no_program_can_be_granted(granted, message):
    with pytest.raises(MailError) as error:
        _model.normalise(given(host_senders=granted))
    assert error.value.rules == (message,)


def test_who_of_this_host_may_send_as_whom():
    model = _model.normalise(given(
        domains={"example.org": {}, "mail.example.org": {}},
        users={**user(senders=["abuse@example.org"]), "noc@example.org": {"password_hash": HASH},
               "you@mail.example.org": {"password_hash": HASH}},
        host_senders={"www-data": ["me@example.org", "noc@example.org", "@example.com"], "list": "@example.com"},
    ))  # fmt: skip
    found = _delivery.delivery(model)["host_senders"]
    # A role address is everybody's, unless it is a user's; a user's address at the server's name is no account's.
    assert found["abuse@example.org"] == found["postmaster@mail.example.org"] == ["*"]
    assert found["noc@example.org"] == ["www-data"]
    assert found["you@mail.example.org"] == []
    assert found["me@example.org"] == ["www-data"]
    assert found["@example.com"] == ["list", "www-data"]
    assert not {"root@mail.example.org", "mailer-daemon@mail.example.org", "you@example.org"} & set(found)


def test_slow_destinations_have_a_default_and_can_be_none():
    default = _model.normalise(given())["slow_destinations"]
    assert default["orange"] == {"domains": ["orange.fr", "wanadoo.fr"], "connections": 2, "delay": 1}
    assert _model.normalise(given(slow_destinations={}))["slow_destinations"] == {}


def test_a_user_of_the_role_name_is_not_hidden_by_the_role_alias():
    model = _model.normalise(given(users={**user(), "abuse@example.org": {"password_hash": HASH}}))
    assert "abuse@example.org" not in model["aliases"]


def test_where_a_domain_has_the_name_of_the_host_the_mail_of_the_host_reaches_the_postmaster():
    named = {"fqdn": "example.org", "users": {**user(), "you@example.org": {"password_hash": HASH}}}
    assert "root@example.org" not in _model.normalise(given())["aliases"]
    aliases = _delivery.delivery(_model.normalise(given(**named)))["aliases"]
    assert aliases["root@example.org"] == aliases["mailer-daemon@example.org"] == ["me@example.org"]
    model = _model.normalise(given(**named, domains={"example.org": {"catch_all": "you@example.org"}, "example.net": {}}))
    assert model["aliases"]["root@example.org"] == ["me@example.org"]
    assert not [name for name in model["aliases"] if name.startswith(("root@", "mailer-daemon@")) and not name.endswith("@example.org")]
    model = _model.normalise(given(**named, aliases={"root@example.org": "you@example.org"}))
    assert model["aliases"]["root@example.org"] == ["you@example.org"]
    model = _model.normalise(given(fqdn="example.org", users={**user(), "root@example.org": {"password_hash": HASH}}))
    assert "root@example.org" not in model["aliases"]


def test_a_postmaster_who_is_the_host_itself_is_a_loop():
    with pytest.raises(MailError) as error:
        _model.normalise(given(fqdn="example.org", postmaster="root@example.org"))
    assert error.value.rules == ("mail_postmaster has a loop: root@example.org -> root@example.org",)


def test_a_copy_kept_at_home_is_no_loop():
    model = _model.normalise(given(aliases={"me@example.org": ["me@example.org", "me@example.net"]}))
    assert model["aliases"]["me@example.org"] == ["me@example.org", "me@example.net"]


def test_ten_thousand_aliases_in_a_chain_are_walked_without_recursion():
    aliases = {f"a{number}@example.org": f"a{number + 1}@example.org" for number in range(10000)}
    aliases["a10000@example.org"] = "me@example.org"
    assert len(_model.normalise(given(aliases=aliases))["aliases"]) == 10001 + len(_model.ROLE_NAMES)


def test_delivery_tables():
    model = _model.normalise(
        given(
            domains={"example.org": {"catch_all": "me@example.org"}, "example.net": {}},
            users={**user(senders=["news@example.net"]), "you@example.org": {"password_hash": HASH}},
            aliases={"info@example.org": ["you@example.org", "out@example.com"]},
        )
    )
    tables = _delivery.delivery(model)
    assert tables["domains"] == ["example.net", "example.org"]
    assert tables["mailboxes"] == ["me@example.org", "you@example.org"]
    assert tables["aliases"]["@example.org"] == ["me@example.org"]
    assert tables["aliases"]["you@example.org"] == ["you@example.org"]
    assert tables["senders"]["news@example.net"] == ["me@example.org"]
    assert tables["senders"]["info@example.org"] == ["you@example.org"]
    assert "you@example.org" in tables["senders"] and tables["senders"]["you@example.org"] == ["you@example.org"]
    assert tables["logins"]["you@example.org"] == ["info@example.org", "you@example.org"]
    assert tables["system"]["postmaster"] == ["me@example.org"]


def test_records_of_a_domain():
    key = {"name": "s1._domainkey.example.org", "value": "v=DKIM1; p=AA=="}
    records = _records.plan(_model.normalise(given()), {"example.org": key})
    assert [(record["name"], record["type"], record["values"]) for record in records] == [
        ("example.org", "MX", ["10 mail.example.org."]),
        ("example.org", "TXT", ["v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 ~all"]),
        ("s1._domainkey.example.org", "TXT", ["v=DKIM1; p=AA=="]),
        ("_dmarc.example.org", "TXT", ["v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"]),
        ("mail.example.org", "TXT", ["v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 -all"]),
    ]


@pytest.mark.parametrize(
    ("served", "in_use", "signs"), [(True, False, True), (False, True, True), (False, False, False), (None, False, False)]
)
def test_a_key_signs_once_its_record_is_seen_and_goes_on(served, in_use, signs):
    key = {"name": "s1._domainkey.example.org", "selector": "s1", "path": "/k", "value": "v", "in_use": in_use}
    seen = [{"name": "s1._domainkey.example.org.", "type": "TXT", "served": served}]
    assert _records.signing({"example.org": key}, seen) == ({"example.org": {"selector": "s1", "path": "/k"}} if signs else {})


OLD = {"selector": "s0", "path": "/o", "name": "s0._domainkey.example.org", "value": "v=DKIM1; p=OLD"}
NEW = {"selector": "s1", "path": "/k", "name": "s1._domainkey.example.org", "value": "v=DKIM1; p=NEW"}


@pytest.mark.parametrize(
    ("new", "old", "served", "signs"),
    [
        # A new selector is asked for: the old key signs on until the world sees the new one, from that day on the new one does.
        ({}, {"in_use": True, "since": "2026-01-01"}, False, {"selector": "s0", "path": "/o", "since": "2026-01-01"}),
        ({}, {"in_use": True, "since": None}, False, {"selector": "s0", "path": "/o"}),
        ({}, {"in_use": True, "since": "2026-01-01"}, True, {"selector": "s1", "path": "/k", "since": "2026-11-22"}),
        ({"in_use": True, "since": "2026-11-20"}, {}, True, {"selector": "s1", "path": "/k", "since": "2026-11-20"}),
        ({"in_use": True, "since": None}, {}, True, {"selector": "s1", "path": "/k"}),
        # An old key that never signed here does not begin to.
        ({}, {"in_use": False}, False, None),
    ],
)
def test_rotation_never_signs_ahead_of_the_dns_and_never_stops_to_sign(new, old, served, signs):
    key = {**NEW, "in_use": False, **new, "others": [{**OLD, "in_use": False, **old}]}
    seen = [{"name": NEW["name"], "type": "TXT", "served": served}, {"name": OLD["name"], "type": "TXT", "served": True}]
    assert _records.signing({"example.org": key}, seen, "2026-11-22") == ({"example.org": signs} if signs else {})


@pytest.mark.parametrize(
    ("state", "today", "withdrawn"),
    [
        ({"in_use": True, "since": "2026-11-15"}, "2026-11-22", False),  # the seventh day is part of the overlap
        ({"in_use": True, "since": "2026-11-14"}, "2026-11-22", True),
        ({"in_use": False, "since": None}, "2026-11-22", False),
        ({"in_use": True, "since": None}, "2026-11-22", False),  # began to sign before this was noted
        ({"in_use": True, "since": "2026-01-01"}, None, False),
    ],
)
def test_the_record_of_an_old_key_stays_for_a_week_and_is_then_withdrawn(state, today, withdrawn):
    key = {**NEW, **state, "others": [OLD]}
    records = _records.plan(_model.normalise(given()), {"example.org": key}, today)
    about = [(record["name"], record["values"], record["state"]) for record in records if "_domainkey" in record["name"]]
    kept = [(NEW["name"], [NEW["value"]], "exact")]
    assert about == kept + ([(OLD["name"], [OLD["value"]], "absent")] if withdrawn else [])
    text = f'; no longer used, remove it: {OLD["name"]}. 3600 IN TXT "{OLD["value"]}"\n'
    assert (text in _records.report(records)) is withdrawn


def test_a_day_that_is_none_is_told():
    key = {**NEW, "in_use": True, "since": "soon", "others": [OLD]}
    with pytest.raises(MailError) as error:
        _records.plan(_model.normalise(given()), {"example.org": key}, "2026-11-22")
    assert str(error.value) == "days 'soon' and '2026-11-22' must be of the form 2026-11-22"


def test_the_report_is_zone_file_text():
    records = _records.plan(_model.normalise(given()))
    text = _records.report(records)
    assert "; MX\nexample.org. 3600 IN MX 10 mail.example.org.\n" in text
    assert '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"' in text


def test_on_openbsd_the_mta_is_its_own_unless_another_is_chosen():
    assert _model.normalise(given(), "OpenBSD")["mta"] == "opensmtpd"
    assert _model.normalise(given(mta="postfix"), "OpenBSD")["mta"] == "postfix"
    assert _model.normalise(given(mta="postfix"), "Debian")["mta"] == "postfix"


def test_acme_dns_is_refused_on_openbsd_before_anything_is_changed():
    dns = {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "mail", "key_secret": "c2VjcmV0"}
    wanted = given(certificates={"method": "acme-dns"}, dns=dns)
    assert _model.normalise(wanted, "Debian")["certificates"]["method"] == "acme-dns"
    with pytest.raises(MailError) as error:
        _model.normalise(wanted, "OpenBSD")
    assert "mail_certificates.method 'acme-dns' cannot be had on OpenBSD" in str(error.value)


@pytest.mark.parametrize("printed", ["{}", "{{BLF-CRYPT}}{}", "{{blf-crypt}}{}", "me:{}", "me@example.org:{}", "{}\n"])
def test_a_hash_is_taken_as_tools_print_it(printed):
    """bcrypt; doveadm pw -s BLF-CRYPT; htpasswd -nB."""
    model = _model.normalise(given(users=user(password_hash=printed.format("$2y$05$" + "a" * 53))))
    assert model["users"]["me@example.org"]["password_hash"] == "$2b$05$" + "a" * 53


@pytest.mark.parametrize("printed", ["{{SHA512-CRYPT}}{}", ":{}", "a b:{}", "a\n:{}", "a:b:{}", "{{BLF-CRYPT}}me:{}", "x{}", "{}:"])
def test_other_words_before_a_hash_are_refused(printed):
    with pytest.raises(MailError, match=r"password_hash is not a bcrypt hash"):
        _model.normalise(given(users=user(password_hash=printed.format("$2y$05$" + "a" * 53))))


def test_reports_may_go_to_a_uri():
    model = _model.normalise(given(domains={"example.org": {"dmarc": {"rua": ["mailto:dmarc@example.org", "https://example.net/r"]}}}))
    assert model["domains"]["example.org"]["dmarc"]["rua"] == ["dmarc@example.org", "https://example.net/r"]
    text = next(record["values"][0] for record in _records.plan(model) if record["name"] == "_dmarc.example.org")
    assert text == "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org,https://example.net/r"
