# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the common model and the roles' variables may hold so that every file carries it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import model as mail_model
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks

ROOT = Path(__file__).resolve().parents[5]
HASH = "$2b$12$" + "a" * 53
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
RFC2136 = {"backend": "rfc2136", "server": "198.51.100.2", "key_name": "mail", "key_secret": "c2VjcmV0"}


def options():
    """Every role's options: role, name, option."""
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            for name, option in entry.get("options", {}).items():
                yield path.parents[1].name, name, option


def rules(**given):
    base = {"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": HASH}}}
    try:
        mail_model.normalise({**base, **given})
    except MailError as exc:
        return list(exc.rules)
    return []


COMMENT = "a line that begins with '#' is a comment, and white space ends a key (postmap(1))"
PROGRAM = "what begins with '|' is a program and with '/' a file (aliases(5))"
OPTION = "it refuses addresses that begin with '-', which a program could take for an option (postconf(5), allow_min_user)"
SRS = "the rewriting of senders could not carry it, since mail to such a name is taken for a bounce to a rewritten sender (SRS)"
ROUTE = "it refuses strangers' mail to a name with '!' or '%', a route to another host (postconf(5), allow_untrusted_routing)"


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"postmaster": "|cmd@elsewhere.example"},
         f"mail_postmaster '|cmd@elsewhere.example' cannot have '|' at its beginning: Postfix's local delivery could not carry it, "
         f"since {PROGRAM}"),
        ({"postmaster": "/tmp/x@elsewhere.example"},
         f"mail_postmaster '/tmp/x@elsewhere.example' cannot have '/' at its beginning: Postfix's local delivery could not carry it, "
         f"since {PROGRAM}"),
        ({"postmaster": "a%b@elsewhere.example"},
         "mail_postmaster 'a%b@elsewhere.example' cannot have '%' in it: Dovecot's settings could not carry it, since '%' begins a "
         "variable"),
        ({"aliases": {"#1@example.org": "me@example.org"}},
         f"mail_aliases '#1@example.org' cannot have '#' at its beginning: Postfix's tables could not carry it, since {COMMENT}"),
        ({"aliases": {"a#1@example.org": "me@example.org"}},
         "mail_aliases 'a#1@example.org' cannot have '#' in it: Rspamd's maps could not carry it, since '/' begins a regular expression, "
         "'#' a comment wherever it stands, and white space separates"),
        ({"aliases": {"/a@example.org": "me@example.org"}},
         "mail_aliases '/a@example.org' cannot have '/' at its beginning: Rspamd's maps could not carry it, since '/' begins a regular "
         "expression, '#' a comment wherever it stands, and white space separates"),
        ({"aliases": {"a!b@example.org": "me@example.org"}},
         f"mail_aliases 'a!b@example.org' cannot have '!' in it: Postfix could not carry it, since {ROUTE}"),
        ({"aliases": {"SRS0=x@example.org": "me@example.org"}},
         f"mail_aliases 'srs0=x@example.org' cannot have 'srs0=' at its beginning: {SRS}"),
        ({"aliases": {"srs1+x@example.org": "me@example.org"}},
         f"mail_aliases 'srs1+x@example.org' cannot have 'srs1+' at its beginning: {SRS}"),
        ({"users": {"srs0-x@example.org": {"password_hash": HASH}}},
         f"mail_users 'srs0-x@example.org' cannot have 'srs0-' at its beginning: {SRS}"),
        ({"aliases": {"a@example.org": "-rf@elsewhere.example"}},
         f"mail_aliases['a@example.org'] '-rf@elsewhere.example' cannot have '-' at its beginning: Postfix could not carry it, since "
         f"{OPTION}"),
        ({"aliases": {"a@example.org": "|a@elsewhere.example"}},
         f"mail_aliases['a@example.org'] '|a@elsewhere.example' cannot have '|' at its beginning: Postfix's local delivery could not "
         f"carry it, "
         f"since {PROGRAM}"),
        ({"domains": {"example.org": {"catch_all": "/a@elsewhere.example"}}},
         "mail_domains['example.org'].catch_all '/a@elsewhere.example' cannot have '/' at its beginning: Postfix's local delivery could "
         "not "
         f"carry it, since {PROGRAM}"),
        ({"users": {"me@example.org": {"password_hash": HASH, "senders": ["a%b@example.org"]}}},
         f"mail_users['me@example.org'].senders 'a%b@example.org' cannot have '%' in it: Postfix could not carry it, since {ROUTE}"),
        ({"aliases": {"*@example.org": "me@example.org"}},
         "mail_aliases '*@example.org' is an address like any other, since '*' stands for nothing else there: mail to all names of a "
         "domain "
         "is mail_domains['example.org'].catch_all"),
        ({"certificates": {"email": 'me@example.org"\n}'}},
         "mail_certificates.email 'me@example.org\"\\n}': domain 'example.org\"\\n}' has a bad label 'org\"\\n}': letters, digits and "
         "inner "
         "hyphens only (RFC 1123 section 2.1)"),
        ({"certificates": {"email": "me?x@example.org"}},
         "mail_certificates.email 'me?x@example.org' cannot have '?' in it: an account of ACME could not carry it, since its contact is "
         "a mailto "
         "URI, in which '?', '#' and '%' mean something else (RFC 8555 section 7.3, RFC 6068 section 2)"),
        ({"certificates": {"directory": 'https://acme.example/"\nx'}},
         "mail_certificates.directory 'https://acme.example/\"\\nx' has the control character '\\n', which no file that it is written "
         "to could carry"),
        ({"certificates": {"directory": 'https://acme.example/"x'}},
         "mail_certificates.directory 'https://acme.example/\"x' cannot have '\"' in it: acme-client's configuration could not carry "
         "it, since "
         "a quotation mark ends a string (acme-client.conf(5))"),
        ({"certificates": {"directory": "http://acme.example/"}},
         "mail_certificates.directory 'http://acme.example/' is not a URL of the form https://HOST[:PORT]/PATH (RFC 8555 section 6.1, "
         "RFC 3986)"),
        ({"certificates": {"ca": "/etc/ca.pem"}}, "mail_certificates.ca must be PEM text, which has -----BEGIN and -----END lines (RFC "
                                                  "7468 section 2)"),
        ({"certificates": {"ca": PEM + "\0" + PEM}},
         "mail_certificates.ca must be PEM text, which has -----BEGIN and -----END lines (RFC 7468 section 2)"),
        ({"certificates": {"method": "files", "key": "key\0", "chain": PEM}},
         "mail_certificates.key must be PEM text (RFC 7468 section 2) or the absolute path of a file on the host"),
        ({"certificates": {"method": "files", "key": "/etc/a.key", "chain": "/etc/a\n.pem"}},
         "mail_certificates.chain must be PEM text (RFC 7468 section 2) or the absolute path of a file on the host"),
        ({"dns": {**RFC2136, "server": "::1%\ndns_rfc2136_port = 1"}},
         "mail_dns.server '::1%\\ndns_rfc2136_port = 1' has a bad label '::1%\\ndns_rfc2136_port = 1': letters, digits, underscores and "
         "inner "
         "hyphens only (RFC 1035 section 2.3.1, RFC 8552)"),
        ({"dns": {"backend": "zone_file", "zone_file": "/etc/a\0b"}},
         "mail_dns.zone_file '/etc/a\\x00b' has the control character '\\x00', which no file that it is written to could carry"),
        ({"dns": {"backend": "zone_file", "zone_file": "etc/zone"}}, "mail_dns.zone_file 'etc/zone' must be an absolute path"),
        ({"dns": {"zone_host": "ns1 x"}}, "mail_dns.zone_host 'ns1 x' is not the name of a host of the inventory"),
        ({"dns": {"reload": ["rndc", "reload\n"]}},
         "mail_dns.reload 'reload\\n' has the control character '\\n', which no file that it is written to could carry"),
        ({"dns": {"reload": [""]}}, "mail_dns.reload begins with an empty text, which is no command"),
        ({"filter": {"trusted": ['2001:db8::1%" }\nmatch from any for any action "send" #']}},
         "mail_filter.trusted '2001:db8::1%\" }\\nmatch from any for any action \"send\" #' is not an IPv4 or IPv6 address or network "
         "in CIDR form "
         "(RFC 4632 section 3.1)"),
        ({"domains": {"example.org": {}, 3.5: {}}}, "mail_domains has the key 3.5, which is not a string"),
        ({"domains": {"example.org": {"spf": {"terms": ["ip6:2001:db8::1%eth0"]}}}},
         "mail_domains['example.org'].spf: terms 'ip6:2001:db8::1%eth0' does not hold an IPv6 address (RFC 7208 section 5.6)"),
        ({"domains": {"example.org": {"spf": {"terms": ["exi\u017fts:example.net"]}}}},
         "mail_domains['example.org'].spf: terms 'exi\u017fts:example.net' is neither a mechanism nor a modifier of SPF (RFC 7208 "
         "section 4.6.1)"),
        ({"users": {"me@example.org": {"password_hash": HASH, "quota": "1\u212a"}}},
         "mail_users['me@example.org'].quota '1\u212a' is not a size such as 500M or 2G (powers of 1024; 0 for no limit)"),
    ],
)  # fmt: skip
def test_what_a_sink_cannot_carry_is_refused(given, rule):
    assert rules(**given) == [rule]


@pytest.mark.parametrize("local", ["a&b", "a=b", "o'brien", "a{b}", "a$b", "a/b", "a|b", "a~b", "a^b", "a`b", "a?b", "a*b", "a_b", "a+b",
    "a.b", "x--", "`", "$1", "srs0", "srs2-x", "xsrs0=y"])
def test_what_all_sinks_carry_is_lawful(local):
    assert rules(aliases={f"{local}@example.org": [f"{local}@elsewhere.example", "me@example.org"]}) == []


@pytest.mark.parametrize("local", ["a!b", "a%b", "a#b", "#b", "a'b", "srs0=x"])
def test_what_only_a_name_of_ours_cannot_have_is_lawful_elsewhere(local):
    assert rules(aliases={"b@example.org": f"{local}@elsewhere.example"}) == []


def test_a_secret_is_on_one_line():
    dns = {**RFC2136, "key_secret": " c2Vj\n cmV0\n", "server": "NS1.Example.org."}
    model = mail_model.normalise({"fqdn": "mail.example.org", "dns": dns})
    assert (model["dns"]["key_secret"], model["dns"]["server"]) == ("c2VjcmV0", "ns1.example.org")


def test_a_value_of_100_kilobytes_is_not_repeated():
    long = "x" * 100_000
    for given in ({"fqdn": long}, {"domains": {long: {}}}, {"users": {long: {}}}, {"users": {f"{long}@example.org": {}}},
        {"aliases": {long: long}},
                  {"domains": {"example.org": {"txt": {long: long + "\0"}, "catch_all": long, "spf": {"terms": [f"ip4:{long}"]}, "dkim": {
                      "selector": long},
                                               "dmarc": {"rua": long, "policy": long}}}},
                  {"dns": {"server": long, "zone_file": long, "key_name": long, long: 1}}, {"certificates": {"directory": long,
                      "email": long,
                      "method": long}},
                  {"filter": {"trusted": long, "reject": long}}, {"slow_destinations": {long: {"domains": long}}},
                      {"refusals": {"postfix": long}},
                  {"mta": long}, {"postmaster": long}, {long: 1}):  # fmt: skip
        found = rules(**given)
        assert found and max(map(len, found)) <= 2000, given.keys()


# Variables that stand for one that all roles share (checked by the model), and those that a plan is made of.
SHARED = {
    "fqdn", "addresses", "domains", "users", "aliases", "postmaster", "filter", "slow_destinations", "refusals", "host_senders", "queue",
    "outbound", "routes", "mailboxes", "sizing", "limits", "options", "dns", "publish", "mx_preference",
    "recipient_delimiter", "lists", "lists_web", "relays",
}  # fmt: skip
PLANNED = {
    "dns_keys", "opensmtpd_dynamic_names", "opensmtpd_dynamic_names_more", "opensmtpd_static_names", "opensmtpd_srs_key",
    "postfix_srs_key", "postfix_trusted_networks", "resolver_root_hints", "resolver_trust_anchors", "resolver_forwarders",
    "resolver_ordinary_zones", "rspamd_dnsbls", "rspamd_disabled_modules", "rspamd_signing", "signer_keys", "signer_signing",
}  # fmt: skip


@pytest.mark.parametrize(("role", "name", "option"), list(options()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_variable_of_a_role_has_its_check(role, name, option):
    if role == "mta_switch":
        return  # its variables are given by the other roles
    known = (
        name.partition("_")[2] in SHARED or name in PLANNED or name in sinks.VARIABLES or name in sinks.FREE
        or option["type"] == "bool" or "choices" in option
    )  # fmt: skip
    assert known, f"{name}: add it to _sinks.VARIABLES, by the files that it is written to"


def test_no_check_is_of_a_variable_that_does_not_exist():
    names = {name for _role, name, _option in options()}
    assert {*sinks.VARIABLES, *sinks.FREE, *PLANNED} <= names


def checked(name, value):
    every = {name: option for _role, name, option in options()}
    return sinks.variable_errors(every, {name: value})


def test_every_default_is_lawful():
    for path in sorted(ROOT.glob("roles/*/defaults/main.yml")):
        for name, value in yaml.safe_load(path.read_text()).items():
            if "{{" not in str(value):
                assert checked(name, value) == []


HOSTILE = ["\n", "a\nb", "a\0", "\x7f", "a\u2028b", "\udc80"]


@pytest.mark.parametrize("name", sorted(sinks.VARIABLES))
@pytest.mark.parametrize("text", HOSTILE)
def test_no_variable_holds_a_control_character(name, text):
    kind = {name: option for _role, name, option in options()}[name]["type"]
    value = {"list": [text], "dict": {"X-Spam" if name == "dovecot_junk_headers" else 25: text}}.get(kind, text)
    assert len(checked(name, value)) == 1, value


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("postfix_tls_key", "/etc/ssl/$x.key", "postfix_tls_key '/etc/ssl/$x.key' cannot have '$' in it: Postfix's main.cf could not "
                                               "carry it, since "
         "white space and commas separate words there, '$' begins the name of a parameter, and braces group (postconf(5))"),
        ("dovecot_mail_home", "/var/a#b", "dovecot_mail_home '/var/a#b' cannot have '#' in it: Dovecot's settings could not carry it, "
                                          "since '#' begins "
         "a comment, '$' and '%' a variable, and quotation marks a string"),
        ("dovecot_mail_home", "var/vmail", "dovecot_mail_home 'var/vmail' must be an absolute path"),
        *(("dovecot_mail_home", long, f"dovecot_mail_home {shown(long)} is longer than a path can be: 1023 octets, and 255 between two "
           "slashes (pathconf(2))") for long in ("/" + "\u00e9" * 128, "/a" * 512)),
        ("protection_trusted", ["::1%\" }"], "protection_trusted '::1%\" }' is not an IPv4 or IPv6 address or network in CIDR form (RFC "
                                             "4632 section 3.1)"),
        ("rspamd_nameservers", ["127.0.0.1;"], "rspamd_nameservers '127.0.0.1;' is not an IPv4 or IPv6 address"),
        ("certificate_services", ["dovecot; rm -rf /"], "certificate_services 'dovecot; rm -rf /' is not the name of a service "
                                                        "(systemd.unit(5), rc.d(8))"),
        ("postfix_message_size_limit", "1_000", "postfix_message_size_limit '1_000' must be a whole number from 0 to 9223372036854775807"),
        ("postfix_message_size_limit", True, "postfix_message_size_limit True must be a whole number from 0 to 9223372036854775807"),
        ("rspamd_bayes_expire_days", float("inf"), "rspamd_bayes_expire_days inf must be a whole number from 1 to 36500"),
        ("postfix_hide_submitter", "false", "postfix_hide_submitter 'false' must be true or false, without quotation marks; in an INI "
                                            "inventory True or False"),
        ("dovecot_mail_user", "vmail\ngroup = root", "dovecot_mail_user 'vmail\\ngroup = root' is not the name of an account: a-z, 0-9, "
                                                     "'_' and '-', at most "
         "31 of them, and first a letter or '_'"),
        ("dovecot_junk_headers", {"X Spam": "Yes"}, "dovecot_junk_headers 'X Spam' is not the name of a header field (RFC 5322 section "
                                                    "2.2)"),
        ("protection_ports", {"25; pass": "mail"}, "protection_ports '25; pass' must be a whole number from 1 to 65535"),
        ("postfix_settings", {"a\nb": "c"}, "postfix_settings 'a\\nb' is not the name of a parameter (postconf(5))"),
        ("postfix_settings", {"a": "c\nb = d"}, "postfix_settings['a'] 'c\\nb = d' has the control character '\\n', which no file that "
                                                "it is written to "
         "could carry"),
        ("postfix_settings", {"a": True}, "postfix_settings['a'] True must be a string or a number, such as 'yes' in quotation marks "
                                          "(postconf(5))"),
        ("dovecot_submission", "127.0.0.1:25 --x", "dovecot_submission '127.0.0.1:25 --x' is not of the form HOST:PORT"),
    ],
)  # fmt: skip
def test_variables_of_roles_are_refused(name, value, rule):
    assert checked(name, value) == [rule]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("postfix_settings", {"smtpd_client_restrictions": "permit_mynetworks,\n  reject_unknown_client_hostname\n",
         "default_process_limit": 50}),
        ("postfix_milter", "inet:127.0.0.1:11332, unix:/run/other.sock"),
        ("postfix_delivery", "lmtp:unix:{dovecot}/mta-lmtp"),
        ("postfix_message_size_limit", "52428800"),
        ("protection_ports", {"25": "mail", 465: "submission"}),
        ("rspamd_nameservers", ["127.0.0.1:5353", "[::1]:53", "2001:db8::1"]),
        ("dovecot_junk_headers", {"X-Spam": 'Yes "quoted" \\*'}),
        ("certificate_webroot", ""),
        ("opensmtpd_settings", "anything\nat all\n"),
    ],
)
def test_variables_of_roles_that_are_lawful(name, value):
    assert checked(name, value) == []
