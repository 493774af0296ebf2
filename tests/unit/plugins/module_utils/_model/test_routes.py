# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import routes
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
HOSTS = {
    "isp": {"host": "SMTP.isp.example.", "user": "me", "password": "s3cret: of us", "spf": "include:spf.isp.example"},
    "spare": {"host": "relay.example", "port": 465, "ca": PEM, "spf": ["ip4:192.0.2.1", "include:spf.relay.example"]},
}


def model(given, **others):
    return normalise({"fqdn": "mail.example.org", "domains": {"example.org": {}, "shop.example": {}}, "routes": given, **others})


def read(**given):
    return model(given)["routes"]


def test_nothing_said_is_direct():
    assert read() == {"hosts": {}, "default": [], "to": {}, "from": {}}
    assert routes.ways(read(hosts=HOSTS)) == {} and not routes.authenticates(read(hosts=HOSTS))


def test_routes():
    found = read(hosts=HOSTS, default="isp", to={"Partner.example": "direct", "orange.fr": ["spare", "isp"]},
                 **{"from": {"shop.example": "spare"}})
    assert found["hosts"]["isp"] == {"host": "smtp.isp.example", "port": 587, "user": "me", "password": "s3cret: of us", "ca": "",
                                     "spf": ["include:spf.isp.example"]}  # fmt: skip
    assert (found["default"], found["to"]) == (["isp"], {"orange.fr": ["spare", "isp"], "partner.example": []})
    assert found["from"] == {"shop.example": ["spare"]}
    assert routes.ways(found) == {"isp": ["isp"], "spare": ["spare"], "spare-isp": ["spare", "isp"]}
    assert routes.falls_back(found) and not routes.falls_back({**found, "to": {}})
    assert routes.authenticates(found) and not routes.authenticates({**found, "default": [], "to": {}})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"hosts": {"My-ISP": {"host": "a.example"}}},
         "mail_routes.hosts['My-ISP'] names a smarthost: a letter, then at most 19 letters and digits, all lower case, and not 'direct'"),
        ({"hosts": {"isp": {}}},
         "mail_routes.hosts['isp'].host is missing: the name of the smarthost, which its certificate is verified for"),
        ({"hosts": {"isp": {"host": None}}},
         "mail_routes.hosts['isp'].host is missing: the name of the smarthost, which its certificate is verified for"),
        ({"hosts": {"isp": {"host": "192.0.2.1"}}},
         "mail_routes.hosts['isp'].host '192.0.2.1' is an address: a certificate is verified for a name"),
        ({"hosts": {"isp": {"host": "a.example", "port": 26}}},
         "mail_routes.hosts['isp'].port 26 is unknown; it is one of 25, 465, 587, 2525, and 465 is the one on which TLS begins at once "
         "(RFC 8314)"),
        ({"hosts": {"isp": {"host": "a.example", "user": "me"}}},
         "mail_routes.hosts['isp'] has user and no password: a smarthost is told both or none"),
        ({"hosts": {"isp": {"host": "a.example", "user": "me:x", "password": "y"}}},
         "mail_routes.hosts['isp'].user 'me:x' has a ':', which ends the name in the tables of an MTA"),
        ({"hosts": {"isp": {"host": "a.example", "user": "me", "password": 12345}}},
         "mail_routes.hosts['isp'].password must be a string, not int: write it in quotation marks"),
        ({"hosts": {"isp": {"host": "a.example", "user": "me", "password": "y" * 501}}},
         "mail_routes.hosts['isp'].password is longer than 500 octets"),
        ({"hosts": {"isp": {"host": "a.example", "ca": "relative.pem"}}},
         "mail_routes.hosts['isp'].ca must be PEM text (RFC 7468 section 2) or the absolute path of a file on the host"),
        ({"hosts": {"isp": {"host": "a.example", "ca": PEM + KEY}}},
         "mail_routes.hosts['isp'].ca holds a private key, and what is written from it can be read by everyone: take the key out of it"),
        ({"hosts": {"isp": {"host": "a.example", "spf": "includes:x.example"}}},
         "mail_routes.hosts['isp'].spf 'includes:x.example' is neither a mechanism nor a modifier of SPF: did you mean 'include'? "
         "(RFC 7208 section 4.6.1)"),
        ({"hosts": HOSTS, "default": "ips"}, "mail_routes.default 'ips' is none of mail_routes.hosts (did you mean 'isp'?)"),
        ({"hosts": HOSTS, "default": []},
         "mail_routes.default names no smarthost: write 'direct' for mail that is to go to its destination by itself"),
        ({"hosts": HOSTS, "default": ["isp", "direct"]}, "mail_routes.default has 'direct' beside smarthosts: it stands alone"),
        ({"hosts": HOSTS, "default": ["isp", "isp"]}, "mail_routes.default names a smarthost twice"),
        ({"hosts": {name: {"host": "a.example"} for name in "ab"}, "default": ["a", "b"]},
         "mail_routes.default has two smarthosts with one host and port"),
        ({"hosts": HOSTS, "to": {"Example.org": "isp"}},
         "mail_routes.to['Example.org'] is a domain of this server: its mail is delivered here"),
        ({"hosts": HOSTS, "from": {"a.example": "isp", "A.example": "isp"}},
         "mail_routes.from['A.example'] is declared twice (names are compared without case)"),
        ({"hosts": HOSTS, "defaults": "isp"},
         "mail_routes has no key 'defaults' (did you mean 'default'?); it knows hosts, default, to, from"),
        ({"hosts": {"isp": {"host": "a.example", "spf": "redirect=x.example"}, "b": {"host": "b.example", "spf": "redirect=y.example"}}},
         "mail_domains['example.org'].spf with what mail_routes.hosts adds: "),
    ],
)  # fmt: skip
def test_broken_rules_name_variable_value_and_rule(given, text):
    with pytest.raises(MailError) as error:
        read(**given)
    assert error.value.rules[0].startswith(text) and (text.endswith(": ") or error.value.rules == (text,)), error.value.rules


@pytest.mark.parametrize("password", [" leading", "trailing ", "two\nlines", "tab\there", "caf\u00e9", "nul\0", "half\udc80"])
def test_a_password_that_no_table_carries_is_refused_and_not_told(password):
    with pytest.raises(MailError) as error:
        read(hosts={"isp": {"host": "a.example", "user": "me", "password": password}})
    assert error.value.rules == (
        "mail_routes.hosts['isp'].password has a space at its beginning or end, or a character that is not visible ASCII, which the tables "
        "of an MTA cannot carry",
    )


def test_what_an_mta_cannot_do_is_refused_with_what_to_use_instead():
    mixed = model({"hosts": HOSTS, "to": {"orange.fr": ["isp", "spare"]}})
    (said,) = routes.refusals(mixed, "postfix", "Debian")
    assert said == ("mail_routes.to['orange.fr'] has smarthosts on port 465 and on others: Postfix begins TLS at once with all of a route "
                    "or with none. Give isp, spare one port, 465 or 587; most providers have both")
    (said,) = routes.refusals(mixed, "opensmtpd", "Debian")
    assert said == ("mail_routes.to['orange.fr'] has smarthosts with several authorities: smtpd verifies all of one action with the "
                    "same. Give isp, spare PEM text as ca, or the same path, or none; or use mail_mta: postfix")
    alone = model({"hosts": HOSTS, "default": "isp"})
    assert not list(routes.refusals(alone, "postfix", "Debian")) and not list(routes.refusals(alone, "opensmtpd", "OpenBSD"))
    (said,) = routes.refusals(alone, "postfix", "OpenBSD")
    assert said.endswith("Use mail_mta: opensmtpd")
    (said,) = routes.refusals(model({"hosts": HOSTS, "from": {"shop.example": "isp"}}), "postfix", "Debian")
    assert said.startswith("mail_routes.from cannot be had beside mail_slow_destinations") and "mail_slow_destinations: {}" in said
    for given, others in (({"default": "spare"}, {}), ({}, {"slow_destinations": {}})):
        both = model({"hosts": HOSTS, "from": {"shop.example": "isp"}, **given}, **others)
        assert not list(routes.refusals(both, "postfix", "Debian"))


def test_smarthosts_send_for_the_domains_whose_mail_they_get():
    of_default = read(hosts=HOSTS, default="isp")
    # Declared as a spare: no record changes when mail is routed to it.
    assert routes.spf_terms(of_default, "example.org") == ["include:spf.isp.example", "ip4:192.0.2.1", "include:spf.relay.example"]
    of_sender = read(hosts=HOSTS, default="isp", **{"from": {"shop.example": ["spare"]}})
    assert routes.spf_terms(of_sender, "example.org") == ["include:spf.isp.example"]
    assert routes.spf_terms(of_sender, "shop.example") == ["include:spf.isp.example", "ip4:192.0.2.1", "include:spf.relay.example"]
