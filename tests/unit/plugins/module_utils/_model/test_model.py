# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import datetime

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._constants import ROLE_NAMES
from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import rules as mailman
from ansible_collections.postmaster.mail.plugins.module_utils._model import certificates, delivery, destinations, queue, routes, users
from ansible_collections.postmaster.mail.plugins.module_utils._model import dns as dns_model
from ansible_collections.postmaster.mail.plugins.module_utils._model import filter as mail_filter
from ansible_collections.postmaster.mail.plugins.module_utils._model import limits as limits_model
from ansible_collections.postmaster.mail.plugins.module_utils._model import lists as lists_model
from ansible_collections.postmaster.mail.plugins.module_utils._model import model as mail_model
from ansible_collections.postmaster.mail.plugins.module_utils._model import sizing as sizing_model
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns as dns_records
from ansible_collections.postmaster.mail.plugins.module_utils._services import dovecot
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model

HASH = "$2b$12$" + "a" * 53
LONG = ".".join(letter * 60 for letter in "abcd") + ".example"
DELIMITERS = "must be one or several of '+', '-', '_' and '.', each once"
TEXT = "must be a text of 1 to 200 printable characters of ASCII (RFC 5321 section 4.2)"
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
    model = mail_model.normalise(given())
    assert model["fqdn"] == "mail.example.org"
    assert model["addresses"] == {"ipv4": ["198.51.100.25"], "ipv6": ["2001:db8::25"]}
    assert model["mta"] == "postfix"
    assert model["postmaster"] == "me@example.org"
    assert model["users"]["me@example.org"] == {
        "password_hash": HASH, "quota": 0, "senders": [], "allow": [], "block": [], "locked": "", "limit": None
    }  # fmt: skip
    assert model["limits"] == {"hour": 0, "day": 300, "lock": 900}
    assert model["domains"]["example.org"]["dmarc"]["rua"] == ["postmaster@example.org"]
    assert model["aliases"]["abuse@example.org"] == ["me@example.org"]
    assert model["filter"] == {
        "enabled": True, "reject": 15.0, "junk": 6.0, "greylist": 4.0, "dnsbls": True, "trusted": [], "dmarc": "junk", "arc_sealers": [],
        "blocked_extensions": sorted(mail_filter.BLOCKED_EXTENSIONS),
        "antivirus": False, "forwarded_junk": "refuse", "arc_seal": False,
        "allow": {"addresses": [], "domains": [], "networks": []}, "block": {"addresses": [], "domains": [], "networks": []},
    }


@pytest.mark.parametrize("variables", [
    {}, {"domains": {"example.org": {"spf": {"terms": ["mx"]}, "txt": {"_x": ["text"]}}, "mail.example.org": {}}},
    {"dns": RFC2136, "filter": {"trusted": ["198.51.100.0/24"]}, "slow_destinations": {}, "postmaster": "me@example.org"},
    {"host_senders": {"backup": ["@example.org"]}, "aliases": {"all@example.org": ["me@example.org"]}},
])  # fmt: skip
@pytest.mark.parametrize("addresses", [[], ["198.51.100.26"], ["2001:db8::26", "198.51.100.25"], None, "198.51.100.27"])
def test_nothing_else_depends_on_the_addresses(variables, addresses):
    """The roles of the MTAs take other ones than the rest, and the model of thousands of users is not made again for that."""
    whole = given(**variables)
    made = mail_model.with_addresses(mail_model.normalise(whole), addresses)
    assert made == mail_model.normalise({**whole, "addresses": addresses})


def test_other_addresses_are_checked_as_any():
    errors = []
    wrong = ["10.0.0.1", "x"]
    for make in (lambda: mail_model.with_addresses({}, wrong), lambda: mail_model.normalise(given(addresses=wrong))):
        with pytest.raises(MailError) as error:
            make()
        errors.append(error.value.rules)
    assert errors[0] == errors[1] and len(errors[0]) == 2


def test_a_role_alone_passes_only_what_it_has():
    assert mail_model.normalise({"domains": {"example.org": {}}})["users"] == {}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"domain": {}}, "mail_domain is not a variable of this collection (did you mean domains?)"),
        ({"mta": "exim"}, "mail_mta 'exim' is unknown; it is one of postfix, opensmtpd"),
        ({"domains": {"example.org": {}, "example.com": {"parked": True, "catch_all": "me@example.org"}}},
         "mail_domains['example.com'].catch_all has no meaning: a parked domain neither sends nor takes mail"),
        ({"domains": {"example.org": {}, "mail.example.org": {"parked": True}}},
         "mail_domains['mail.example.org'].parked: it is the name of this server, which sends, and a parked domain neither sends nor takes "
         "mail"),
        ({"domains": {"example.org": {}, "example.com": {"parked": "yes"}}},
         "mail_domains['example.com'].parked must be true or false, not 'yes'"),
        ({"domains": {"example.org": {}, "example.com": {"parked": True, "txt": "v=spf1 mx -all"}}},
         "mail_domains['example.com'].txt holds 'v=spf1 mx -all' for example.com, where mail_domains['example.com'].parked makes a record: "
         "take it out"),
        ({"fqdn": "mail"}, "mail_fqdn 'mail' must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"),
        ({"fqdn": "a" * 53 + ".example.org"}, f"mail_fqdn '{'a' * 53}.example.org' is longer than the 64 octets that the name of a host "
         "has at most (gethostname(2))"),
        ({"addresses": "10.1.2.3"}, "mail_addresses '10.1.2.3' is not public (private, RFC 1918): other mail servers cannot reach it. "
         "Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"),
        ({"addresses": ["x"]}, "mail_addresses 'x' is not an IPv4 or IPv6 address"),
        ({"domains": {"example.org": {"dkmi": {}}}},
         "mail_domains['example.org'] has no key 'dkmi' (did you mean 'dkim'?); "
         "it knows dkim, mx, spf, dmarc, catch_all, alias_of, txt, mta_sts, tls_rpt, parked"),
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
        ({"users": user(locked="yes")}, "mail_users['me@example.org'].locked 'yes' is unknown; it is one of sending, login, all, true for "
         "all, or false"),
        ({"users": user(locked=1)}, "mail_users['me@example.org'].locked 1 is unknown; it is one of sending, login, all, true for all, or "
         "false"),
        ({"users": user(senders=["me@example.net"])}, "mail_users['me@example.org'].senders 'me@example.net' is in a domain "
         "that mail_domains does not declare: it could not be signed"),
        ({"users": {}}, "mail_postmaster is needed where mail_users has no user: every domain has a postmaster (RFC 5321 section 4.5.1)"),
        ({"postmaster": "boss@example.org"}, "mail_postmaster 'boss@example.org' is neither a user nor an alias"),
        ({"aliases": {"a@example.net": "me@example.org"}},
         "mail_aliases['a@example.net'] is in a domain that mail_domains does not declare"),
        ({"users": user(block=["192.0.2.0/24"])}, "mail_users['me@example.org'].block '192.0.2.0/24' is a network, which is for the "
         "whole server to say: mail_filter.trusted and .block"),
        ({"users": user(allow="@Shop.example", block=["shop.example"])},
         "mail_users['me@example.org'] has 'shop.example' in allow and in block"),
        ({"aliases": {"a@example.org": {"to": "me@example.org", "from": "everybody"}}},
         "mail_aliases['a@example.org'].from 'everybody' is unknown; it is one of any, users, members"),
        ({"aliases": {"a@example.org": {"from": "users"}}}, "mail_aliases['a@example.org'] leads to no address"),
        ({"aliases": {"a@example.org": {"to": "me@example.org", "form": "users"}}},
         "mail_aliases['a@example.org'] has no key 'form' (did you mean 'from'?); it knows to, from, send_as, discard, refuse"),
        ({"aliases": {"abuse@example.org": {"to": "me@example.org", "from": "users"}}},
         "mail_aliases['abuse@example.org'].from 'users': strangers write to role addresses (RFC 2142; RFC 5321 section 4.5.1)"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.net"}}},
         "mail_domains['example.net'].alias_of 'example.net' is the domain itself"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "Elsewhere.example."}}},
         "mail_domains['example.net'].alias_of 'elsewhere.example' is not in mail_domains. To send all mail of example.net there, unknown "
         "names included, is what its catch_all is for"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}, "example.com": {"alias_of": "example.net"}}},
         "mail_domains['example.com'].alias_of 'example.net' is an alias itself: name 'example.org'"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.com"}, "example.com": {"parked": True}}},
         "mail_domains['example.net'].alias_of 'example.com' is parked: it takes no mail"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org", "catch_all": "me@example.org"}}},
         "mail_domains['example.net'].catch_all has no meaning beside alias_of: example.net has the catch-all of example.org"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}},
          "users": {**user(), "you@example.net": {"password_hash": HASH}}},
         "mail_users['you@example.net'] is in a domain that has the addresses of another one, mail_domains['example.net'].alias_of: "
         "declare 'you@example.org'"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}}, "aliases": {"a@example.net": "me@example.org"}},
         "mail_aliases['a@example.net'] is in a domain that has the addresses of another one, mail_domains['example.net'].alias_of: "
         "declare 'a@example.org'"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}}, "aliases": {"a@example.org": "a@example.net"}},
         "mail_aliases and mail_domains['example.net'].alias_of have a loop: a@example.net -> a@example.net"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": "example.org"}}, "aliases": {"a@example.org": "b@example.net"}},
         "mail_aliases['a@example.org'] leads to 'b@example.net', which is neither a user nor an alias"),
        ({"domains": {"example.org": {}, "example.net": {"alias_of": 7}}},
         "mail_domains['example.net'].alias_of 7 must be a string, not int"),
        ({"recipient_delimiter": ""}, "mail_recipient_delimiter '' " + DELIMITERS),
        ({"recipient_delimiter": "="}, "mail_recipient_delimiter '=' " + DELIMITERS),
        ({"recipient_delimiter": "++"}, "mail_recipient_delimiter '++' " + DELIMITERS),
        ({"recipient_delimiter": "+\n"}, "mail_recipient_delimiter '+\\n' " + DELIMITERS),
        ({"recipient_delimiter": ["+"]}, "mail_recipient_delimiter ['+'] " + DELIMITERS),
        ({"recipient_delimiter": None}, "mail_recipient_delimiter None " + DELIMITERS),
        ({"recipient_delimiter": "+-", "users": {**user(), "anna-maria@example.org": {"password_hash": HASH}}},
         "mail_users['anna-maria@example.org'] has a '-': what follows it is a detail of the user before it (RFC 5233), not a user"),
        ({"recipient_delimiter": "-", "host_senders": {"www": "a-b@example.org"}},
         "mail_host_senders['www'] 'a-b@example.org' has a '-': what follows is a detail (RFC 5233), allowed with the address before it"),
        ({"recipient_delimiter": "-", "aliases": {"a@example.org": "b+x@example.org", "b@example.org": "me@example.org"}},
         "mail_aliases['a@example.org'] leads to 'b+x@example.org', which is neither a user nor an alias"),
        ({"aliases": {"a@example.org": {"refuse": ""}}}, "mail_aliases['a@example.org'].refuse '' " + TEXT),
        ({"aliases": {"a@example.org": {"refuse": "a\nb"}}}, "mail_aliases['a@example.org'].refuse 'a\\nb' " + TEXT),
        ({"aliases": {"a@example.org": {"refuse": "caf\u00e9"}}}, "mail_aliases['a@example.org'].refuse 'caf\u00e9' " + TEXT),
        ({"aliases": {"a@example.org": {"refuse": "550 no"}}},
         "mail_aliases['a@example.org'].refuse '550 no' begins with a code: the answer begins with 550 5.2.1 by itself"),
        ({"aliases": {"a@example.org": {"discard": 1}}}, "mail_aliases['a@example.org'].discard must be true or false, not 1"),
        ({"aliases": {"a@example.org": {"discard": False}}}, "mail_aliases['a@example.org'] leads to no address"),
        ({"aliases": {"a@example.org": {"discard": True, "to": "me@example.org"}}},
         "mail_aliases['a@example.org'].to has no meaning beside discard: nobody gets this mail"),
        ({"aliases": {"a@example.org": {"discard": True, "refuse": "no"}}},
         "mail_aliases['a@example.org'].refuse has no meaning beside discard: nobody gets this mail"),
        ({"aliases": {"a@example.org": {"refuse": "no", "from": "users"}}},
         "mail_aliases['a@example.org'].from has no meaning beside refuse: nobody gets this mail"),
        ({"aliases": {"abuse@example.org": {"discard": True}}},
         "mail_aliases['abuse@example.org']: role addresses take mail (RFC 2142; RFC 5321 section 4.5.1)"),
        ({"aliases": {"a@example.org": {"discard": True}, "b@example.org": ["a+x@example.org", "me@example.org"]}},
         "mail_aliases['b@example.org'] leads to 'a+x@example.org', which takes no mail (mail_aliases)"),
        ({"aliases": {"a@example.org": {"refuse": "no"}}, "domains": {"example.org": {"catch_all": "a@example.org"}}},
         "mail_domains['example.org'].catch_all leads to 'a@example.org', which takes no mail (mail_aliases)"),
        ({"aliases": {"a@example.org": {"refuse": "no"}, "A@Example.org": "me@example.org"}},
         "mail_aliases['A@Example.org'] is declared twice (addresses are compared without case)"),
        ({"aliases": {"a@example.org": {"to": "me@example.org", "send_as": "yes"}}},
         "mail_aliases['a@example.org'].send_as must be true or false, not 'yes'"),
        ({"users": user(senders=["@example.com"])},
         "mail_users['me@example.org'].senders '@example.com' is in a domain that mail_domains does not declare: it could not be signed"),
        ({"aliases": {"a@example.org": {"to": "me@example.com", "from": "members"}}},
         "mail_aliases['a@example.org'].from 'members' lets nobody write to it: it leads to no user of this server"),
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
        ({"slow_destinations": {"a": {"mx": []}}}, "mail_slow_destinations['a'] names no domain, neither in domains nor in mx"),
        ({"slow_destinations": {"a": {"mx": "mx.example.net"}, "b": {"mx": ["example.com", "Mx.example.net"]}}},
         "mail_slow_destinations['b'].mx 'Mx.example.net' is in mail_slow_destinations['a'] as well"),
        ({"outbound": {"warm_up": "1.12.2026"}}, "mail_outbound.warm_up '1.12.2026' is not a day such as 2026-11-29"),
        ({"outbound": {"warm_up": True}}, "mail_outbound.warm_up True is not a day such as 2026-11-29"),
        ({"outbound": {"tls_exceptions": {"partner.example": "may"}}},
         "mail_outbound.tls_exceptions['partner.example'] 'may' is unknown; it is one of opportunistic, none"),
        ({"outbound": {"tls_exceptions": {"partner.example": "none", "Partner.example": "none"}}},
         "mail_outbound.tls_exceptions has 'Partner.example' twice (names are compared without case)"),
        ({"queue": {"warn_after": "90m"}}, "mail_queue.warn_after '90m' must be a time such as '4h' or '1d': 1h to 100d; false for never"),
        ({"queue": {"warn_after": 4}}, "mail_queue.warn_after 4 must be a time such as '4h' or '1d': 1h to 100d; false for never"),
        ({"queue": {"lifetime": "36h"}}, "mail_queue.lifetime '36h' must be a time such as '5d' or '120h': whole days, 1d to 100d"),
        ({"queue": {"lifetime": "101d"}}, "mail_queue.lifetime '101d' must be a time such as '5d' or '120h': whole days, 1d to 100d"),
        ({"queue": {"bounce_lifetime": "0d"}},
         "mail_queue.bounce_lifetime '0d' must be a time such as '5d' or '120h': whole days, 1d to 100d"),
        ({"queue": {"lifetime": "1d", "warn_after": "24h"}},
         "mail_queue.warn_after '24h' must be below mail_queue.lifetime '1d': mail is returned by then"),
        ({"queue": {"lifetme": "1d"}},
         "mail_queue has no key 'lifetme' (did you mean 'lifetime'?); it knows lifetime, bounce_lifetime, warn_after"),
        ({"dns": {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "k"}},
         "mail_dns.key_secret is needed by mail_dns.backend 'rfc2136'"),
        ({"certificates": {"ca": f"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{PRIVATE}"}}, "mail_certificates.ca holds "
         "a private key, and what is written from it can be read by everyone: take the key out of it"),
        ({"domains": {"example.org": {"txt": {"mail._domainkey": PRIVATE}}}}, "mail_domains['example.org'].txt['mail._domainkey'] holds a "
         "private key, and what is written from it can be read by everyone: take the key out of it"),
        ({"certificates": {"method": "acme-dns"}}, "mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' "
         "to answer the challenge (RFC 8555 section 8.4)"),
        ({"filter": {"dmarc": "quarantine"}}, "mail_filter.dmarc 'quarantine' is unknown; it is one of junk, reject, score"),
        ({"sizing": {"dovecot_imap_sesions": 5}}, "mail_sizing has no key 'dovecot_imap_sesions' (did you mean 'dovecot_imap_sessions'?); "
         "it knows " + ", ".join(sizing_model.FIGURES)),
        ({"sizing": {"unbound_threads": 0}}, "mail_sizing.unbound_threads 0 must be a whole number from 1 to 64"),
        ({"sizing": {"unbound_threads": "2"}}, "mail_sizing.unbound_threads '2' must be a whole number from 1 to 64"),
        ({"sizing": {"mta_filter_seconds": 30, "rspamd_proxy_seconds": 30}}, "mail_sizing.rspamd_proxy_seconds 30 must be below "
         "mail_sizing.mta_filter_seconds 30: who waits gives up before the answer comes"),
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
        ({"filter": {"antivirus": "clamav"}}, "mail_filter.antivirus must be true or false, not 'clamav'"),
        ({"filter": {"trusted": "198.51.100.1/24"}},
         "mail_filter.trusted '198.51.100.1/24' has host bits set: the network is 198.51.100.0/24 (RFC 4632 section 3.1)"),
    ],
)
def test_broken_rules_name_variable_value_and_rule(changes, text):
    with pytest.raises(MailError) as error:
        checked_model({**given(), **changes})
    assert str(error.value) == f"one rule is broken:\n- {text}"


def test_all_broken_rules_are_reported_together():
    with pytest.raises(MailError) as error:
        checked_model(given(mta="exim", user={}, filter={"junk": 99}))
    assert str(error.value).startswith("3 rules are broken:\n- ")


def test_what_is_wrong_with_records_and_their_publication_is_told_together():
    with pytest.raises(MailError) as error:
        checked_model(
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
    "domains": ("example.org", ("dkim", "spf", "dmarc", "catch_all", "txt", "mta_sts", "parked")),
    "users": ("me@example.org", ("password_hash", "quota", "senders", "locked", "limit")),
    "aliases": ("a@example.org", ()),
    "slow_destinations": ("slow", ("domains", "mx", "connections", "delay")),
    "outbound": (None, destinations.OUTBOUND_KEYS),
    "routes": (None, routes.ROUTE_KEYS),
    "dns": (None, tuple(dns_model.DNS_KEYS)),
    "refusals": (None, ("addresses", "postfix", "opensmtpd")),
    "host_senders": ("www-data", ()),
    "queue": (None, queue.QUEUE_KEYS),
    "sizing": (None, tuple(sizing_model.FIGURES)),
    "limits": (None, limits_model.KEYS),
    "lists": ("news@example.org", lists_model.KEYS),
    "certificates": (None, tuple(certificates.CERTIFICATE_KEYS)),
    "filter": (None, ("reject", "junk", "greylist", "dnsbls", "trusted", "dmarc", "arc_sealers")),
}
_DOMAIN = {"dkim": ("selector", "bits"), "spf": ("all", "terms", "drop"),
           "dmarc": ("policy", "subdomain_policy", "rua", "ruf", "adkim", "aspf")}


def _places():
    """Every place in which somebody could write a value: functions from the value to the variables."""
    for name in (*mail_model.KNOWN, *mail_model.NOT_BUILT, "nonsense", 5):
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
    for key in routes.HOST_KEYS:
        yield f"routes.hosts.{key}", lambda value, key=key: {"routes": {"hosts": {"isp": {"host": "smtp.isp.example", key: value}}}}
    for key in ("to", "from"):
        yield f"routes.{key}.domain", lambda value, key=key: {"routes": {key: {"example.com": value}}}
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
    model = mail_model.normalise(given(domains={"example.org": {"txt": {label: value}}}))
    assert model["domains"]["example.org"]["txt"] == {owner: [value]}
    wanted = dns_plan.wanted_records(
        [{"name": label, "zone": "example.org", "type": "TXT", "values": [value], "ttl": 60, "state": "exact", "owned_prefix": None}]
    )
    assert [item.name for item in wanted] == [owner]


def test_a_record_of_ones_own_in_place_of_ours():
    domain = {"spf": False, "dmarc": False, "txt": {"@": "v=spf1 -all", "_dmarc": "v=DMARC1; p=none"}}
    assert mail_model.normalise(given(domains={"example.org": domain}))["domains"]["example.org"]["txt"] == {
        "example.org": ["v=spf1 -all"], "_dmarc.example.org": ["v=DMARC1; p=none"]
    }  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_a_wrongly_typed_value_is_told_and_never_a_traceback(place):
    values = [[], {}, None, 5, "x", True, 1.5, "9" * 5000, b"x", float("nan"), [[]], [{}], [None], {"x": 1}, {1: 2}, {"x": {"y": {}}}]
    for value in values:
        for os_family in ("", "OpenBSD"):
            with contextlib.suppress(MailError):
                checked_model({**given(), **_PLACES[place](value)}, os_family)


@pytest.mark.parametrize("prefix", ["$2a$", "$2y$", "$2b$"])
def test_bcrypt_forms_become_one(prefix):
    model = mail_model.normalise(given(users={"me@example.org": {"password_hash": prefix + HASH[4:]}}))
    assert model["users"]["me@example.org"]["password_hash"] == HASH


@pytest.mark.parametrize("behind", ["\n", " \r\n"])
def test_white_space_behind_a_hash_does_not_reach_the_passwd_file(behind):
    model = mail_model.normalise(given(users=user(password_hash=HASH + behind, quota=7)))
    assert dovecot.passwd_file(model["users"], "2.4") == f"me@example.org:{{BLF-CRYPT}}{HASH}::::::userdb_quota_storage_size=7B\n"
    with pytest.raises(MailError, match="is not a bcrypt hash"):
        mail_model.normalise(given(users=user(password_hash=f"{HASH}{behind}x")))


@pytest.mark.parametrize("value", ["", None, "secret", "$6$salt$hash", "$2x$12$" + "a" * 53, "$2b$12$" + "a" * 52, "$2b$03$" + "a" * 53])
def test_other_hashes_are_refused_and_not_shown(value):
    with pytest.raises(MailError) as error:
        mail_model.normalise(given(users={"me@example.org": {"password_hash": value}}))
    assert "mail_users['me@example.org'].password_hash is not a bcrypt hash" in str(error.value)
    assert not value or value not in str(error.value)


def test_too_many_spf_lookups_are_found_before_anything_changes():
    terms = [f"include:spf{number}.example.net" for number in range(11)]
    with pytest.raises(MailError, match="RFC 7208"):
        mail_model.normalise(given(domains={"example.org": {"spf": {"terms": terms}}}))


@pytest.mark.parametrize(("text", "expected"), [(0, 0), (5, 5), ("500M", 500 * 1024**2), ("2 GiB", 2 * 1024**3), ("1k", 1024), ("7", 7)])
def test_sizes(text, expected):
    assert users.size(text, "quota") == expected


LISTS = [mailman.MailingList("we/ird+news", "lists.test")]


def test_the_tables_of_mailman_harden_are_taken_and_none_is_not_empty_ones():
    refusals = mailman.refused(LISTS, LISTS, mailman.commands(mailman.COMMANDS, []))
    tables = {"postfix": mailman.postfix_table(refusals), "opensmtpd": mailman.opensmtpd_table(refusals)}
    assert mail_model.normalise(given(refusals={"addresses": mailman.refused_addresses(refusals), **tables}))["refusals"] == tables
    empty = {"postfix": mailman.postfix_table([]), "opensmtpd": mailman.opensmtpd_table([])}
    assert mail_model.normalise(given(refusals={"addresses": [], **empty}))["refusals"] == empty
    assert mail_model.normalise(given())["refusals"] == mail_model.normalise(given(refusals={}))["refusals"] == {}


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
        mail_model.normalise(given(refusals=tables))
    assert error.value.rules == (message,)


def test_sizes_that_are_set_are_in_the_model_and_no_others():
    assert mail_model.normalise(given(sizing={"unbound_threads": 2}))["sizing"] == {"unbound_threads": 2}
    assert mail_model.normalise(given())["sizing"] == {}


def test_programs_of_this_host_are_granted_addresses_and_domains():
    granted = {"Debian-exim": [], "www-data": "Shop@Example.org", "list": ["@Lists.example.org", "news@example.com", "@lists.example.org"]}
    assert mail_model.normalise(given(host_senders=granted))["host_senders"] == {
        "debian-exim": [], "list": ["@lists.example.org", "news@example.com"], "www-data": ["shop@example.org"],
    }
    assert mail_model.normalise(given())["host_senders"] == {}


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
        mail_model.normalise(given(host_senders=granted))
    assert error.value.rules == (message,)


def test_who_of_this_host_may_send_as_whom():
    model = mail_model.normalise(given(
        domains={"example.org": {}, "mail.example.org": {}},
        users={**user(senders=["abuse@example.org"]), "noc@example.org": {"password_hash": HASH},
               "you@mail.example.org": {"password_hash": HASH}},
        host_senders={"www-data": ["me@example.org", "noc@example.org", "@example.com"], "list": "@example.com"},
    ))  # fmt: skip
    found = delivery.delivery(model)["host_senders"]
    # A role address is everybody's, unless it is a user's; a user's address at the server's name is no account's.
    assert found["abuse@example.org"] == found["postmaster@mail.example.org"] == ["*"]
    assert found["noc@example.org"] == ["www-data"]
    assert found["you@mail.example.org"] == []
    assert found["me@example.org"] == ["www-data"]
    assert found["@example.com"] == ["list", "www-data"]
    assert not {"root@mail.example.org", "mailer-daemon@mail.example.org", "you@example.org"} & set(found)


def test_slow_destinations_have_a_default_and_can_be_none():
    default = mail_model.normalise(given())["slow_destinations"]
    assert default["orange"] == {"domains": ["orange.fr", "wanadoo.fr"], "mx": ["orange.fr"], "connections": 2, "delay": 1}
    assert default["microsoft"]["mx"] == ["mx.microsoft", "protection.outlook.com"]
    hosted = {"hosts": {"mx": "MX.example.net."}}
    assert mail_model.normalise(given(slow_destinations=hosted))["slow_destinations"] == {
        "hosts": {"domains": [], "mx": ["mx.example.net"], "connections": 1, "delay": 1}
    }
    assert mail_model.normalise(given(slow_destinations={}))["slow_destinations"] == {}


def test_how_mail_leaves():
    assert mail_model.normalise(given())["outbound"] == {"warm_up": "", "tls_exceptions": {}}
    made = {"warm_up": datetime.date(2026, 12, 1), "tls_exceptions": {"Partner.Example": "none", "a.example": "opportunistic"}}
    assert mail_model.normalise(given(outbound=made))["outbound"] == {
        "warm_up": "2026-12-01", "tls_exceptions": {"a.example": "opportunistic", "partner.example": "none"}
    }
    assert mail_model.normalise(given(outbound={"warm_up": "2026-12-01"}))["outbound"]["warm_up"] == "2026-12-01"


def test_how_long_mail_waits():
    assert mail_model.normalise(given())["queue"] == {"lifetime": 5, "bounce_lifetime": None, "warn_after": 4}
    times = {"lifetime": "72h", "bounce_lifetime": "1d", "warn_after": False}
    assert mail_model.normalise(given(queue=times))["queue"] == {"lifetime": 3, "bounce_lifetime": 1, "warn_after": 0}


def test_a_user_of_the_role_name_is_not_hidden_by_the_role_alias():
    model = mail_model.normalise(given(users={**user(), "abuse@example.org": {"password_hash": HASH}}))
    assert "abuse@example.org" not in model["aliases"]


def test_where_a_domain_has_the_name_of_the_host_the_mail_of_the_host_reaches_the_postmaster():
    named = {"fqdn": "example.org", "users": {**user(), "you@example.org": {"password_hash": HASH}}}
    assert "root@example.org" not in mail_model.normalise(given())["aliases"]
    aliases = delivery.delivery(mail_model.normalise(given(**named)))["aliases"]
    assert aliases["root@example.org"] == aliases["mailer-daemon@example.org"] == ["me@example.org"]
    model = mail_model.normalise(given(**named, domains={"example.org": {"catch_all": "you@example.org"}, "example.net": {}}))
    assert model["aliases"]["root@example.org"] == ["me@example.org"]
    assert not [name for name in model["aliases"] if name.startswith(("root@", "mailer-daemon@")) and not name.endswith("@example.org")]
    model = mail_model.normalise(given(**named, aliases={"root@example.org": "you@example.org"}))
    assert model["aliases"]["root@example.org"] == ["you@example.org"]
    model = mail_model.normalise(given(fqdn="example.org", users={**user(), "root@example.org": {"password_hash": HASH}}))
    assert "root@example.org" not in model["aliases"]


def test_a_postmaster_who_is_the_host_itself_is_a_loop():
    with pytest.raises(MailError) as error:
        mail_model.normalise(given(fqdn="example.org", postmaster="root@example.org"))
    assert error.value.rules == ("mail_postmaster has a loop: root@example.org -> root@example.org",)


def test_a_copy_kept_at_home_is_no_loop():
    model = mail_model.normalise(given(aliases={"me@example.org": ["me@example.org", "me@example.net"]}))
    assert model["aliases"]["me@example.org"] == ["me@example.org", "me@example.net"]


def test_an_alias_is_closed_to_strangers_and_its_members_are_the_users_it_leads_to():
    model = mail_model.normalise(given(users={**user(), "you@example.org": {"password_hash": HASH}}, aliases={
        "all@example.org": {"to": ["me@example.org"], "from": "users"},
        "open@example.org": {"to": "me@example.org"},
        "Board@example.org": {"to": ["group@example.org", "me+board@example.org", "out@example.com"], "from": "members"},
        "group@example.org": ["board2@example.org", "you@example.org"],
        "board2@example.org": {"to": "me@example.org", "from": "any"},
    }))  # fmt: skip
    assert model["aliases"]["open@example.org"] == ["me@example.org"]
    assert model["closed"] == {"all@example.org": "users", "board@example.org": "members"}
    assert delivery.writers(model) == {"all@example.org": ["*"], "board@example.org": ["me@example.org", "you@example.org"]}


def test_users_allow_and_block_addresses_and_domains():
    model = mail_model.normalise(given(users=user(allow=["Pal@Example.com", "@shop.example"], block="ads.shop.example")))
    assert model["users"]["me@example.org"]["allow"] == ["pal@example.com", "@shop.example"]
    assert model["users"]["me@example.org"]["block"] == ["@ads.shop.example"]


def test_whoever_a_catch_all_leads_to_is_a_member():
    model = mail_model.normalise(given(
        domains={"example.org": {}, "example.net": {"catch_all": "me@example.org"}},
        aliases={"all@example.org": {"to": "anything@example.net", "from": "members"}},
    ))  # fmt: skip
    assert delivery.writers(model) == {"all@example.org": ["me@example.org"]}


def test_which_addresses_lead_to_other_servers():
    """Through aliases, details and catch-alls; the most exact name counts, so what does not lead out is named below what does."""
    model = mail_model.normalise(given(
        domains={"example.org": {}, "example.net": {"catch_all": "chain@example.org"}, "twin.example": {"alias_of": "example.net"}},
        users={**user(), "you@example.net": {"password_hash": HASH}},
        aliases={
            "out@example.org": "x@example.com", "chain@example.org": ["step+detail@example.org"], "step@example.org": "out@example.org",
            "both@example.org": ["me@example.org", "y@example.com"], "team@example.org": "me@example.org",
            "you@example.org": "you@example.net",
            "none@example.net": {"discard": True}, "caught@example.org": "anything@example.net",
            "host@example.org": "root@mail.example.org",
        },
    ))  # fmt: skip
    found = delivery.leading_out(model, delivery.delivery(model))
    roles = {f"{name}@{domain}": "here" for name in ROLE_NAMES for domain in ("example.net", "twin.example")}
    assert found == {
        "@example.net": "elsewhere", "@twin.example": "elsewhere", "out@example.org": "elsewhere", "chain@example.org": "elsewhere",
        "step@example.org": "elsewhere", "caught@example.org": "elsewhere", "both@example.org": "both",
        "you@example.net": "here", "you@twin.example": "here", "none@example.net": "here", "none@twin.example": "here", **roles,
    }  # fmt: skip
    assert list(found) == sorted(found)
    assert delivery.junk_keeper(model) == "me@example.org"


def test_a_postmaster_elsewhere_leads_all_role_addresses_out():
    model = mail_model.normalise(given(postmaster="boss@example.com", users={**user(), "a@example.org": {"password_hash": HASH}}))
    found = delivery.leading_out(model, delivery.delivery(model))
    assert found["postmaster@example.org"] == found["root@mail.example.org"] == found["postmaster"] == "elsewhere"
    assert delivery.junk_keeper(model) == "a@example.org"  # whoever is the first


def test_ten_thousand_aliases_in_a_chain_are_walked_without_recursion():
    aliases = {f"a{number}@example.org": f"a{number + 1}@example.org" for number in range(10000)}
    aliases["a10000@example.org"] = "me@example.org"
    assert len(mail_model.normalise(given(aliases=aliases))["aliases"]) == 10001 + len(ROLE_NAMES)


def test_delivery_tables():
    model = mail_model.normalise(
        given(
            domains={"example.org": {"catch_all": "me@example.org"}, "example.net": {}},
            users={**user(senders=["news@example.net"]), "you@example.org": {"password_hash": HASH}},
            aliases={"info@example.org": ["you@example.org", "out@example.com"]},
        )
    )
    tables = delivery.delivery(model)
    assert tables["domains"] == ["example.net", "example.org"]
    assert tables["mailboxes"] == ["me@example.org", "you@example.org"]
    assert tables["aliases"]["@example.org"] == ["me@example.org"]
    assert tables["aliases"]["you@example.org"] == ["you@example.org"]
    assert tables["senders"]["news@example.net"] == ["me@example.org"]
    assert tables["senders"]["info@example.org"] == ["you@example.org"]
    assert "you@example.org" in tables["senders"] and tables["senders"]["you@example.org"] == ["you@example.org"]
    assert tables["system"]["postmaster"] == ["me@example.org"]


def test_who_receives_the_mail_of_an_address_may_send_from_it():
    model = mail_model.normalise(given(
        domains={"example.org": {}, "example.net": {"catch_all": "boss@example.org"}, "example.com": {}},
        users={**user(senders=["@example.com"]), **{f"{name}@example.org": {"password_hash": HASH} for name in ("you", "boss", "abuse")}},
        aliases={
            "sales@example.org": "shop@example.org", "shop@example.org": ["me+shop@example.org", "out@elsewhere.example"],
            "news+list@example.org": "you@example.org", "out@example.net": "out@elsewhere.example", "deal@example.net": "you@example.org",
            "info@example.com": "you@example.org", "all@example.org": {"to": ["you@example.org", "sales@example.org"], "send_as": False},
            "away@example.org": "out@elsewhere.example",
        },
    ))  # fmt: skip
    found = delivery.delivery(model)["senders"]
    me, you, boss = "me@example.org", "you@example.org", "boss@example.org"
    assert {name: found.pop(name) for name in (
        me, "sales@example.org", "shop@example.org", "news+list@example.org", "@example.net", "deal@example.net", "out@example.net",
        "@example.com", "info@example.com", "all@example.org", "postmaster@example.org", "abuse@example.org", "noc@example.net",
    ) if name in found} == {
        me: [me], "sales@example.org": [me], "shop@example.org": [me], "news+list@example.org": [you], "@example.net": [boss],
        # That nobody receives it here does not make it one that nobody has.
        "deal@example.net": [you], "out@example.net": [],
        # Who is granted the whole domain has what is somebody else's as well.
        "@example.com": [me], "info@example.com": [me, you],
        # The first user is the postmaster, and an account of that name is its own.
        "postmaster@example.org": [me], "abuse@example.org": ["abuse@example.org"], "noc@example.net": [me],
    }  # fmt: skip
    assert not {"all@example.org", "away@example.org"} & found.keys()


def test_each_delimiter_begins_a_detail():
    model = mail_model.normalise(given(
        recipient_delimiter="-.", aliases={"a@example.org": "me-x.y@example.org", "b@example.org": "a.b-c@example.org"},
    ))  # fmt: skip
    assert delivery.members(model, "b@example.org") == ["me@example.org"]
    assert delivery.members(model, "b+x@example.org") == []
    assert mail_model.normalise(given())["recipient_delimiter"] == "+"
    aliases = {"one@example.org": ["me-x@example.org"]}
    assert "userdb_user=me@example.org" in dovecot.alias_file(model["users"], aliases, "2.4", "+-")
    assert dovecot.alias_file(model["users"], aliases, "2.4", "+") == ""


def test_the_postmaster_takes_mail():
    with pytest.raises(MailError) as error:
        checked_model(given(users={**user(), "you@example.org": {"password_hash": HASH}}, aliases={"me@example.org": {"refuse": "no"}}))
    assert "mail_postmaster 'me@example.org' takes no mail (mail_aliases)" in error.value.rules
    model = checked_model(given(
        users={**user(), "you@example.org": {"password_hash": HASH}}, aliases={"me@example.org": {"refuse": "no"}},
        postmaster="you@example.org",
    ))  # fmt: skip
    assert model["no_mail"] == {"me@example.org": "no"}


def test_what_nobody_gets_is_below_no_catch_all():
    model = mail_model.normalise(given(
        fqdn="example.net", domains={"example.org": {"catch_all": "me@example.org"}, "example.net": {"alias_of": "example.org"}},
        users={**user(), "robot@example.org": {"password_hash": HASH}},
        aliases={"robot@example.org": {"refuse": "No human reads this"}, "noreply@example.org": {"discard": True},
                 "root@example.org": {"discard": True}, "robot+me@example.org": "me@example.org"},
    ))  # fmt: skip
    tables = delivery.delivery(model)
    assert tables["no_mail"] == {
        "noreply@example.net": "", "noreply@example.org": "", "robot@example.net": "No human reads this",
        "robot@example.org": "No human reads this", "root@example.org": "",
    }  # fmt: skip
    assert tables["mailboxes"] == ["me@example.org"]
    assert not tables["no_mail"].keys() & tables["aliases"].keys()
    assert tables["aliases"]["root@example.net"] == ["me@example.org"]
    reached = {name: delivery.members(model, name) for name in ("robot@example.org", "robot+x@example.net", "noreply@example.org")}
    assert list(reached.values()) == [[], [], []]
    assert delivery.members(model, "robot+me@example.net") == ["me@example.org"]
    # A robot sends as itself; nobody does as what is discarded.
    for domain in ("example.org", "example.net"):
        assert tables["senders"][f"robot@{domain}"] == ["robot@example.org"]
        assert tables["senders"][f"noreply@{domain}"] == []
    # None of them has a quota that a catch-all's mailbox would have.
    lines = dovecot.alias_file(model["users"], delivery.recipients(tables, model["fqdn"]), "2.4").splitlines()
    assert "=noreply@example.org:::::::" in lines


def test_a_domain_that_is_another_one_has_its_names_and_no_others():
    model = mail_model.normalise(given(
        fqdn="example.net",
        domains={"example.org": {"catch_all": "you@example.org"}, "example.net": {"alias_of": "Example.org."},
                 "example.com": {"alias_of": "example.org"}},
        users={**user(senders=["news@example.org", "only@example.com"]), "you@example.org": {"password_hash": HASH},
               "noc@example.org": {"password_hash": HASH}},
        aliases={"all@example.org": {"to": ["me@example.net", "you@example.org"], "from": "members", "send_as": False}},
        postmaster="you@example.com", host_senders={"www": "shop@example.org"},
    ))  # fmt: skip
    tables = delivery.delivery(model)
    names = {name.partition("@")[0] for name in (*model["users"], *model["aliases"]) if name.endswith("@example.org")}
    assert names == {"me", "you", "noc", "all", *ROLE_NAMES}
    for domain, more in (("example.net", {"root", "mailer-daemon", ""}), ("example.com", {""})):
        there = {name.partition("@")[0]: to for name, to in tables["aliases"].items() if name.endswith(f"@{domain}")}
        assert there.keys() == names | more
        assert {name: there[name] for name in names} == {
            **{name: [f"{name}@example.org"] for name in ("me", "you", "noc")},
            **{name: ["you@example.com"] for name in ROLE_NAMES if name != "noc"}, "all": ["me@example.net", "you@example.org"],
        }  # fmt: skip
        assert there[""] == ["you@example.org"]
        assert model["closed"][f"all@{domain}"] == "members"
        assert delivery.writers(model)[f"all@{domain}"] == ["me@example.org", "you@example.org"]
        for name in (*names, "news", ""):
            assert tables["senders"].get(f"{name}@{domain}") == tables["senders"].get(f"{name}@example.org")
        assert tables["host_senders"][f"shop@{domain}"] == ["www"]
        # A user's, and not that of all programs.
        assert tables["host_senders"].get(f"noc@{domain}", []) == []
    assert tables["senders"]["news@example.net"] == ["me@example.org", "you@example.org"]
    assert tables["senders"]["only@example.com"] == ["me@example.org", "you@example.org"]
    assert "only@example.net" not in tables["senders"]
    assert delivery.members(model, "me+x@example.net") == ["me@example.org"]
    assert tables["mailboxes"] == ["me@example.org", "noc@example.org", "you@example.org"]
    # Its records are as those of any domain.
    found = {record["name"] for record in dns_records.records(model, {})}
    assert {"example.com", "_dmarc.example.com", "example.net", "_dmarc.example.net"} <= found


@pytest.mark.parametrize(
    ("more", "said", "own"), [(0, {}, True), (1, {}, False), (1, {"send_as": True}, True), (0, {"send_as": False}, False)]
)
def test_a_list_of_many_is_not_sent_from_unless_that_is_said(more, said, own):
    people = [f"u{number}@example.org" for number in range(delivery.MOST_OWNERS + more)]
    half = {"half@example.org": people[5:]}
    model = mail_model.normalise(given(
        users={name: {"password_hash": HASH} for name in people},
        aliases={"all@example.org": {"to": [*people[:6], "half@example.org", "out@elsewhere.example"], **said}, **half},
    ))  # fmt: skip
    found = delivery.owners(model)
    assert found.get("all@example.org", []) == (sorted(people) if own else [])
    assert found["half@example.org"] == sorted(people[5:])


def test_records_of_a_domain():
    key = {"name": "s1._domainkey.example.org", "value": "v=DKIM1; p=AA=="}
    records = dns_records.records(mail_model.normalise(given()), {"example.org": key})
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
    assert dns_records.signing({"example.org": key}, seen) == ({"example.org": {"selector": "s1", "path": "/k"}} if signs else {})


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
    assert dns_records.signing({"example.org": key}, seen, "2026-11-22") == ({"example.org": signs} if signs else {})


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
    records = dns_records.records(mail_model.normalise(given()), {"example.org": key}, today)
    about = [(record["name"], record["values"], record["state"]) for record in records if "_domainkey" in record["name"]]
    kept = [(NEW["name"], [NEW["value"]], "exact")]
    assert about == kept + ([(OLD["name"], [OLD["value"]], "absent")] if withdrawn else [])
    text = f'; no longer used, remove it: {OLD["name"]}. 3600 IN TXT "{OLD["value"]}"\n'
    assert (text in dns_records.report(records)) is withdrawn


def test_a_day_that_is_none_is_told():
    key = {**NEW, "in_use": True, "since": "soon", "others": [OLD]}
    with pytest.raises(MailError) as error:
        dns_records.records(mail_model.normalise(given()), {"example.org": key}, "2026-11-22")
    assert str(error.value) == "days 'soon' and '2026-11-22' must be of the form 2026-11-22"


def test_the_report_is_zone_file_text():
    records = dns_records.records(mail_model.normalise(given()))
    text = dns_records.report(records)
    assert "; MX\nexample.org. 3600 IN MX 10 mail.example.org.\n" in text
    assert '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"' in text


def test_on_openbsd_the_mta_is_its_own_unless_another_is_chosen():
    assert mail_model.normalise(given(), "OpenBSD")["mta"] == "opensmtpd"
    assert mail_model.normalise(given(mta="postfix"), "OpenBSD")["mta"] == "postfix"
    assert mail_model.normalise(given(mta="postfix"), "Debian")["mta"] == "postfix"


def test_acme_dns_is_refused_on_openbsd_before_anything_is_changed():
    dns = {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "mail", "key_secret": "c2VjcmV0"}
    wanted = given(certificates={"method": "acme-dns"}, dns=dns)
    assert mail_model.normalise(wanted, "Debian")["certificates"]["method"] == "acme-dns"
    with pytest.raises(MailError) as error:
        mail_model.normalise(wanted, "OpenBSD")
    assert "mail_certificates.method 'acme-dns' cannot be had on OpenBSD" in str(error.value)


@pytest.mark.parametrize("printed", ["{}", "{{BLF-CRYPT}}{}", "{{blf-crypt}}{}", "me:{}", "me@example.org:{}", "{}\n"])
def test_a_hash_is_taken_as_tools_print_it(printed):
    """bcrypt; doveadm pw -s BLF-CRYPT; htpasswd -nB."""
    model = mail_model.normalise(given(users=user(password_hash=printed.format("$2y$05$" + "a" * 53))))
    assert model["users"]["me@example.org"]["password_hash"] == "$2b$05$" + "a" * 53


@pytest.mark.parametrize("printed", ["{{SHA512-CRYPT}}{}", ":{}", "a b:{}", "a\n:{}", "a:b:{}", "{{BLF-CRYPT}}me:{}", "x{}", "{}:"])
def test_other_words_before_a_hash_are_refused(printed):
    with pytest.raises(MailError, match=r"password_hash is not a bcrypt hash"):
        mail_model.normalise(given(users=user(password_hash=printed.format("$2y$05$" + "a" * 53))))


def test_reports_may_go_to_a_uri():
    model = mail_model.normalise(given(domains={"example.org": {"dmarc": {"rua": ["mailto:dmarc@example.org", "https://example.net/r"]}}}))
    assert model["domains"]["example.org"]["dmarc"]["rua"] == ["dmarc@example.org", "https://example.net/r"]
    text = next(record["values"][0] for record in dns_records.records(model) if record["name"] == "_dmarc.example.org")
    assert text == "v=DMARC1; p=quarantine; rua=mailto:dmarc@example.org,https://example.net/r"


def test_openbsd_cannot_answer_by_dns():
    assert "HTTP" in certificates.impossible("OpenBSD", "acme-dns")
    assert not certificates.impossible("OpenBSD", "acme-http") and not certificates.impossible("Debian", "acme-dns")


@pytest.mark.parametrize(("value", "found"), [(False, []), ([], []), (["EXE", ".exe", "settingcontent-ms"], ["exe", "settingcontent-ms"])])
def test_extensions_that_are_refused(value, found):
    assert mail_model.normalise({"filter": {"blocked_extensions": value}})["filter"]["blocked_extensions"] == found


@pytest.mark.parametrize("value", ["a.exe", "*", "", "x" * 21, 'e"]'])
def test_an_extension_has_no_dot_in_it(value):
    with pytest.raises(MailError) as caught:
        mail_model.normalise({"filter": {"blocked_extensions": [value]}})
    assert "mail_filter.blocked_extensions" in str(caught.value) and "is not what a file's name ends with, such as exe" in str(caught.value)


def test_who_is_allowed_and_blocked():
    filters = mail_model.normalise({"filter": {
        "allow": ["Friend@Example.com", "example.net", "@example.edu"],
        "block": ["foe@example.com", "192.0.2.0/24", "2001:db8::/32", "example.info"],
    }})["filter"]  # fmt: skip
    assert filters["allow"] == {"addresses": ["friend@example.com"], "domains": ["example.edu", "example.net"], "networks": []}
    assert filters["block"] == {
        "addresses": ["foe@example.com"], "domains": ["example.info"], "networks": ["192.0.2.0/24", "2001:db8::/32"],
    }


@pytest.mark.parametrize(("given_filter", "text"), [
    ({"allow": ["192.0.2.0/24"]}, "mail_filter.allow '192.0.2.0/24' is a network, which mail_filter.trusted is for"),
    ({"block": ["a b@example.com"]}, "mail_filter.block"),
    ({"block": ["x#y@example.com"]}, "mail_filter.block 'x#y@example.com' cannot have '#' in it: Rspamd's maps could not carry it"),
    ({"block": ["192.0.2.300"]}, "mail_filter.block"),
    ({"allow": ["*@example.com"]}, "mail_filter.allow '*@example.com' is an address like any other"),
    ({"allow": "ex ample"}, "mail_filter.allow"),
])
def test_whoever_cannot_be_listed_is_named(given_filter, text):
    with pytest.raises(MailError) as caught:
        mail_model.normalise({"filter": given_filter})
    assert text in str(caught.value)


@pytest.mark.parametrize("option, value, text", [
    ("forwarded_junk", "drop", "mail_filter.forwarded_junk 'drop' is unknown; it is one of refuse, keep"),
    ("arc_seal", "yes", "mail_filter.arc_seal must be true or false, not 'yes'"),
])  # fmt: skip
def test_what_becomes_of_forwarded_mail_is_named(option, value, text):
    with pytest.raises(MailError) as error:
        mail_model.normalise(given(filter={option: value}))
    assert error.value.rules == (text,)
