# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import delivery
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import postfix

#: 2026-11-29, which is written as JS.
DAY = 20786
HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"


def model(**given):
    return normalise({
        "fqdn": "mail.example.org",
        "domains": {"example.org": {}},
        "users": {"me@example.org": {"password_hash": HASH}, "you@example.org": {"password_hash": HASH}},
        "aliases": {"away@example.org": ["bob@example.com"]},
        **given,
    })  # fmt: skip


def tables(srs=True, **given):
    made = postfix.tables({"model": model(**given), "srs": srs, "day": DAY, "srs_before": True, "managed": "Ours"})
    return {path.removeprefix("postfix/tables/"): text for path, text in made.items()}


def entries(text):
    """The lines of a table of addresses, name to addresses."""
    return {name: targets.split(", ") for name, targets in (line.split(" ", 1) for line in text.splitlines() if line[0] != "#")}


def aliases(**given):
    return entries(tables(**given)["aliases"])


def pattern(name):
    """The regular expression of a table that has one."""
    line = tables()[name].splitlines()[-1]
    return line[1 : line.rindex(line[0])]


def sessions(**users):
    lines = tables(users={f"{name}@example.org": {"password_hash": value} for name, value in users.items()})["sessions"].splitlines()
    return dict(line.split(" ") for line in lines if line[0] != "#")


def test_a_session_ends_when_its_password_is_changed_or_its_user_has_left():
    other = HASH.replace("zz", "zy")
    before, after = sessions(me=HASH, you=HASH, she=HASH), sessions(me=other, you=HASH)
    current = {user: after.get(before[f"{user}@example.org"]) for user in ("me", "you", "she")}
    assert current == {"me": None, "you": "session_current", "she": None}
    # Postfix reads keys in lower case, and the hash is nobody's business.
    assert "".join(after) == "".join(after).lower() and HASH[7:] not in tables()["sessions"]


def test_a_target_elsewhere_is_marked_and_one_here_is_not():
    found = aliases(aliases={"away@example.org": ["bob+list@example.com", "me@example.org", "root@mail.example.org"]})
    assert found["away@example.org"] == ["bob+list@example.com.srs.invalid", "me@example.org", "root@mail.example.org"]


def test_a_subdomain_of_ours_is_elsewhere():
    found = aliases(aliases={"away@example.org": ["x@lists.example.org"]})
    assert found["away@example.org"] == ["x@lists.example.org.srs.invalid"]


def test_a_catch_all_and_a_postmaster_elsewhere_are_marked():
    made = tables(domains={"example.org": {"catch_all": ["bob@example.com"]}}, aliases={}, postmaster="bob@example.com")
    found, system = entries(made["aliases"]), entries(made["system"])
    assert found["@example.org"] == ["bob@example.com.srs.invalid"]
    assert found["me@example.org"] == ["me@example.org"]
    assert system["root"] == found["abuse@example.org"] == ["bob@example.com.srs.invalid"]


def test_a_server_named_like_its_domain_keeps_its_own_mail():
    found = aliases(fqdn="example.org", domains={"example.org": {}})
    assert found["root@example.org"] == found["mailer-daemon@example.org"] == ["me@example.org"]
    found = aliases(fqdn="example.org", postmaster="bob@example.com")
    assert found["root@example.org"] == ["bob@example.com.srs.invalid"]


@pytest.mark.parametrize("given", [{"aliases": {"team@example.org": ["me@example.org"]}}, {"srs": False}], ids=["nothing elsewhere", "off"])
def test_where_no_sender_is_rewritten_the_tables_are_the_common_ones(given):
    made = tables(**given)
    assert not [name for name in made if name.startswith("srs_")] and "user_aliases" not in made
    assert "invalid" not in made["aliases"] + made["transport"]
    srs = given.pop("srs", True)
    assert postfix.values({"model": model(**given), "srs": srs})["srs_domain"] == ""


def test_features_that_are_off_have_no_table():
    made = postfix.tables({"model": model(), "srs": True, "day": DAY, "hide_submitter": True, "claims": True})
    assert {"postfix/tables/claims", "postfix/tables/submission_headers", "postfix/tables/srs_before"} < set(made)
    assert not {"claims", "submission_headers"} & set(tables())
    assert made["postfix/tables/srs_before"].splitlines()[-1].startswith("# may take")
    assert made["postfix/tables/refused"] == ""
    refusals = {"postfix": "/^x$/ 550 5.1.1 no", "opensmtpd": "^x$\n"}
    assert tables(refusals=refusals)["refused"] == "/^x$/ 550 5.1.1 no"


@pytest.mark.parametrize(
    ("fqdn", "domains", "expected"),
    [
        ("mail.example.org", {"example.net": {}, "example.org": {}}, "mail.example.org"),
        ("mail.example.org", {"example.org": {"catch_all": ["me@example.org"]}}, "mail.example.org"),
        ("example.org", {"example.net": {}, "example.org": {}}, "example.org"),
        ("example.org", {"example.net": {}, "example.org": {"catch_all": ["me@example.org"]}}, "example.net"),
        ("mail.provider.test", {"example.org": {}}, "example.org"),
        ("mail.provider.test", {"example.org": {"catch_all": ["me@example.org"]}}, "example.org"),
    ],
    ids=["the server's name", "below a catch-all", "named like a domain", "a catch-all of its own", "a name without SPF", "no other"],
)
def test_senders_get_a_domain_that_has_an_spf_record_of_ours(fqdn, domains, expected):
    made = model(fqdn=fqdn, domains={"example.org": {}, **domains})
    assert postfix.values({"model": made, "srs": True})["srs_domain"] == expected


def test_a_server_without_domains_rewrites_to_its_own_name():
    assert postfix.srs_domain({"fqdn": "mail.example.org", "domains": {}}) == "mail.example.org"


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("SRS0=AbCd=JL=example.com=bob@mail.example.org", True),
        ("srs1=abcd=example.com==x=y=example.net=z@mail.example.org", True),
        ("SRS0+AbCd=JL=example.com=bob@mail.example.org", True),
        ("SRS0=AbCd=JL=example.com=bob@mailXexample.org", False),
        ("SRS0=AbCd=JL=example.com=bob@example.org", False),
        ("SRS0=AbCd=JL=example.com=bob@mail.example.org.example.net", False),
        ("x-SRS0=AbCd=JL=example.com=bob@mail.example.org", False),
        ("srs0user@mail.example.org", False),
    ],
)
def test_only_what_looks_like_a_sender_of_ours_is_asked_about(address, ours):
    # Postfix compares without case.
    assert bool(re.search(pattern("srs_returns"), address, re.IGNORECASE)) is ours


@pytest.mark.parametrize(
    ("address", "made", "before"),
    [
        ("SRS0=AbCd+/12=JS=example.com=bob", True, False),
        ("srs1=abcd1234=example.com==x=y=example.net=z", True, False),
        ("SRS0=AbCd=JS=example.com=bob", False, True),
        ("SRS0+a/+d=JS=example.com=bob", False, True),
        ("srs0=abcd=i5=example.com=bob", False, True),
        # Younger than the end of the short ones, and too old.
        ("SRS0=AbCd=JT=example.com=bob", False, False),
        ("SRS0=AbCd=I4=example.com=bob", False, False),
        ("SRS1=AbCd=first.test==x123=JS=example.net=z", False, True),
        ("SRS1=AbCd=first.test=-x=JS=example.net=z", False, True),
        ("SRS1=AbCd=first.test==x123=JT=example.net=z", False, False),
        ("SRS1=AbCd=first.test==x123=JT=JS=z", False, False),
        ("SRS1=AbCd=JS=x", False, False),
        ("SRS0=AbC=JS=example.com=bob", False, False),
        ("SRS0=AbCdE=JS=example.com=bob", False, False),
        ("SRS0=AbCdEfG=JS=example.com=bob", False, False),
        ("SRS0=AbCdEfGhI=JS=example.com=bob", False, False),
        ("SRS0==JS=example.com=bob", False, False),
        ("SRS0=", False, False),
        ("x-SRS0=AbCd+/12=JS=example.com=bob", False, False),
    ],
)
def test_a_short_hash_counts_only_up_to_the_day_of_the_change(address, made, before):
    patterns = [pattern("srs_senders"), pattern("srs_before")]
    for domain, there in (("mail.example.org", True), ("mailXexample.org", False), ("example.org", False)):
        found = [bool(re.search(known, f"{address}@{domain}", re.IGNORECASE)) for known in patterns]
        assert found == [made and there, before and there]


def test_the_days_of_the_short_ones():
    days = postfix.stamps(DAY)
    assert (days[0], days[-1], len(days)) == ("I5", "JS", 22)
    assert postfix.stamps(1024 * 20 + 2)[-4:] == ["77", "AA", "AB", "AC"]


@pytest.mark.parametrize(
    ("recipient", "restored"),
    [
        ("bob@example.com.srs.invalid", "bob@example.com"),
        ("bob@srs.invalid.example.com", None),
        ("bob@example.com", None),
        ("bob@example.com.srs-invalid", None),
    ],
)
def test_the_mark_is_taken_off_again(recipient, restored):
    found = re.search(pattern("srs_recipients"), recipient)
    assert (found and found[1]) == restored


def test_a_domain_that_is_too_long_to_be_marked_is_named():
    domain = ".".join(["a" * 60] * 4)
    with pytest.raises(MailError) as error:
        tables(aliases={"away@example.org": [f"bob@{domain}"]})
    assert str(error.value) == (
        f"alias 'away@example.org' leads to 'bob@{domain}': its domain is longer than the 241 octets that Postfix can forward to with SRS"
    )


@pytest.mark.parametrize("key", ["short", "with spaces in the middle of it", 'a "quotation mark" in it'])
def test_a_key_that_cannot_be_written_is_refused(key):
    with pytest.raises(MailError) as error:
        postfix.values({"model": model(), "srs": True, "srs_key": key})
    assert str(error.value) == "postfix_srs_key must be at least 16 letters, digits and characters of ._~+/=-"


def senders_of(account, **given):
    """What postdrop reads for an account: the first line that matches, with what it captured."""
    for line in tables(**given)["host_senders"].splitlines()[2:]:
        known, senders = line[1:].split("/ ", 1)
        if match := re.search(known, account):
            return re.sub(r"\$1", lambda _found: match[1], senders).split(", ")
    return []


def test_an_account_sends_as_itself_as_a_role_and_as_it_is_granted():
    host_senders = {"www-data": ["shop@example.org", "@lists.example.org"]}
    usual = senders_of("nobody", host_senders=host_senders)
    assert usual[:2] == ["nobody", "nobody@mail.example.org"]
    assert {"postmaster@example.org", "abuse@mail.example.org", "abuse"} < set(usual)
    assert not {"me@example.org", "shop@example.org", "root", "root@mail.example.org", "<>", "*"} & set(usual)
    granted = senders_of("www-data", host_senders=host_senders)
    assert granted[:2] == ["www-data", "www-data@mail.example.org"]
    assert set(granted) - set(usual) == {"www-data", "www-data@mail.example.org", "shop@example.org", "@lists.example.org"}
    assert set(senders_of("root")) - set(usual) == {"root", "root@mail.example.org", "<>"}
    assert senders_of("www-data2", host_senders=host_senders)[:2] == ["www-data2", "www-data2@mail.example.org"]


def test_a_number_without_a_name_sends_as_nobody():
    assert senders_of("uid:4711") == []


def test_an_account_is_not_the_user_of_the_same_name():
    users = {"me@example.org": {"password_hash": HASH}, "daemon@example.org": {"password_hash": HASH}}
    given = {"fqdn": "example.org", "users": users, "aliases": {}}
    assert not {"daemon", "daemon@example.org"} & set(senders_of("daemon", **given))
    assert senders_of("bin", **given)[:2] == ["bin", "bin@example.org"]
    assert {"root", "root@example.org", "<>"} < set(senders_of("root", **given))
    assert "daemon@example.org" in senders_of("daemon", **given, host_senders={"daemon": "daemon@example.org"})


def test_trusted_networks_are_in_postfix_notation():
    found = postfix.trusted(["127.0.0.0/8", "[::1]/128", "::1", "!192.0.2.7", "192.0.2.0/24", "!2001:DB8::1", "[2001:db8::]/32"])
    assert found == ["127.0.0.0/8", "[::1]/128", "[::1]/128", "!192.0.2.7/32", "192.0.2.0/24", "![2001:db8::1]/128", "[2001:db8::]/32"]


@pytest.mark.parametrize(
    ("network", "rule"),
    [
        ("192.0.2.1/24", "'192.0.2.1/24' has host bits set: the network is 192.0.2.0/24 (RFC 4632 section 3.1)"),
        ("/etc/networks", "'/etc/networks' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("[::1%\nx = y]/128", "'::1%\\nx = y/128' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("192.0.2.0/24\nx = y", "'192.0.2.0/24\\nx = y' is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
        ("0.0.0.0/0", "'0.0.0.0/0' is all the world: with it, this server is an open relay"),
        (7, "7 is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)"),
    ],
)
def test_trusted_networks_refused(network, rule):
    with pytest.raises(MailError) as error:
        postfix.trusted([network])
    assert str(error.value) == f"postfix_trusted_networks {rule}"


def test_a_dollar_sign_in_a_sender_is_one():
    """The line is of a regexp_table(5), where $1 is what the pattern has captured."""
    granted = {"www-data": ["$1@example.org"]}
    lines = postfix.login_senders(delivery(model(host_senders=granted))["host_senders"], "mail.example.org")
    assert next(line["senders"] for line in lines if line["pattern"] == "^www-data$").endswith("$$1@example.org")
    assert lines[-1]["senders"].startswith("$1, $1@mail.example.org")


def test_how_mail_leaves():
    slow = {"google": {"domains": ["gmail.com"], "mx": ["google.com"], "delay": 0}, "orange": {"domains": ["orange.fr"], "delay": 300}}
    exceptions = {"a.example": "opportunistic", "b.example": "none"}
    made = model(outbound={"warm_up": "2026-12-01", "tls_exceptions": exceptions}, slow_destinations=slow)
    found = postfix.values({"model": made, "srs": True, "today": "2026-12-02"})
    assert found["outbound"] == {
        "smtp_address_preference": "ipv4", "smtp_destination_rate_delay": "180s", "relay_destination_rate_delay": "180s",
        "smtp_tls_policy_maps": "texthash:$config_directory/tables/tls_policy",
    }
    assert {name: options["delay"] for name, options in found["slow"].items()} == {"google": 180, "orange": 300}
    later = postfix.values({"model": model(slow_destinations=slow), "srs": True, "today": "2026-12-02"})
    assert (later["outbound"], later["slow"]["google"]["delay"], later["by_mx"]) == ({}, 0, True)
    assert postfix.values({"model": model(slow_destinations={"a": {"domains": "a.example"}}), "srs": True})["by_mx"] is False


def test_tables_of_how_mail_leaves():
    found = tables(outbound={"tls_exceptions": {"b.example": "none", "a.example": "opportunistic"}},
                   slow_destinations={"google": {"mx": ["google.com", "mx.google.example"]}})
    assert found["tls_policy"].splitlines()[1:] == ["a.example may", "b.example none"]
    assert found["mx_transport"].splitlines()[2:] == [
        "own example.org", "own mail.example.org", "mx google.com slow-google", "mx mx.google.example slow-google"
    ]
    assert not {"tls_policy", "mx_transport"} & set(tables(slow_destinations={}))


def test_aliases_that_are_closed_to_strangers():
    given = {"aliases": {
        "all@example.org": {"to": ["me@example.org", "you@example.org"], "from": "users"},
        "board@example.org": {"to": ["me@example.org", "bob@example.com"], "from": "members"},
        "chair@example.org": {"to": "me@example.org", "from": "members"},
        "staff@example.org": {"to": ["me@example.org", "you@example.org"], "from": "members"},
    }}  # fmt: skip
    found = tables(**given)
    assert entries(found["closed"]) == {
        "all@example.org": ["closed_users"], "board@example.org": ["closed_2"], "chair@example.org": ["closed_2"],
        "staff@example.org": ["closed_3"],
    }
    assert entries(found["closed_2"]) == {"me@example.org": ["permit"]}
    assert entries(found["closed_3"]) == {"me@example.org": ["permit"], "you@example.org": ["permit"]}
    assert "closed_users" not in found
    classes = postfix.values({"model": model(**given), "srs": False})["closed"]
    assert {name: options["logins"] for name, options in classes.items()} == {
        "closed_users": [], "closed_2": ["me@example.org"], "closed_3": ["me@example.org", "you@example.org"],
    }


def test_without_such_aliases_nothing_is_said_of_them():
    assert not [name for name in tables() if name.startswith("closed")]
    assert postfix.values({"model": model(), "srs": False})["closed"] == {}


PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SMARTHOSTS = {
    "isp": {"host": "smtp.isp.example", "user": "me", "password": "s3cret: of us"},
    "spare": {"host": "relay.example", "ca": PEM},
    "late": {"host": "smtps.isp.example", "port": 465, "ca": "/etc/ssl/isp.pem"},
}
SLOW = {"orange": {"domains": ["orange.fr", "wanadoo.fr"], "mx": ["orange.fr"]}}


def routed(**given):
    return model(routes={"hosts": SMARTHOSTS, **given}, slow_destinations=SLOW)


def made(**given):
    found = postfix.tables({"model": routed(**given), "srs": True, "day": DAY, "managed": "Ours"})
    return {path.removeprefix("postfix/"): text.removeprefix("# Ours\n") for path, text in found.items()}


def test_a_default_route_takes_all_that_has_no_other():
    found = postfix.values({"model": routed(default=["isp", "spare"]), "srs": True, "today": "2026-12-01"})
    assert found["outbound"] == {"default_transport": "route-isp-spare:[smtp.isp.example]:587,[relay.example]:587"}
    assert not found["by_mx"]
    files = made(default=["isp", "spare"], to={"wanadoo.fr": "direct", "other.example": "direct", "far.example": "late"})
    assert files["tables/transport"].splitlines() == [
        f".{postfix.SRS_SUFFIX} forward:unix:private/forwarded",
        "other.example smtp:",
        "wanadoo.fr slow-orange:",
        "far.example route-late:[smtps.isp.example]:465",
    ]
    assert "tables/mx_transport" not in files and "tables/senders_transport" not in files
    assert files["routes/isp-spare.passwords"] == "[smtp.isp.example]:587 me:s3cret: of us\n"
    assert files["routes/isp-spare.tls"] == "[relay.example]:587 secure match=nexthop tafile=/etc/postfix/routes/spare.pem\n"
    assert files["routes/spare.pem"] == PEM
    assert files["routes/late.tls"] == "[smtps.isp.example]:465 secure match=nexthop tafile=/etc/ssl/isp.pem\n"
    assert {name for name in files if name.startswith("routes/")} == {
        "routes/isp-spare.passwords", "routes/isp-spare.tls", "routes/spare.pem", "routes/late.tls"
    }  # fmt: skip


def test_routes_by_recipient_leave_slow_destinations_to_the_others():
    files = made(to={"orange.fr": "isp"})
    assert files["tables/transport"].splitlines()[1:] == ["orange.fr route-isp:[smtp.isp.example]:587", "wanadoo.fr slow-orange:"]
    assert "mx orange.fr slow-orange" in files["tables/mx_transport"]
    found = postfix.values({"model": routed(to={"orange.fr": "isp"}), "srs": True, "today": "2026-12-01"})
    assert found["by_mx"] and found["outbound"] == {}


def test_routes_by_sender():
    files = made(**{"from": {"example.org": "isp", "mail.example.org": "direct"}}, default="spare")
    assert files["tables/senders_transport"] == "@example.org route-isp:[smtp.isp.example]:587\n@mail.example.org smtp:\n"
    found = postfix.values({"model": routed(**{"from": {"example.org": "isp"}}), "srs": True, "today": "2026-12-01"})
    assert found["outbound"] == {"sender_dependent_default_transport_maps": "texthash:$config_directory/tables/senders_transport"}


def test_smarthosts_are_verified_and_asked_for_one_after_the_other():
    made = routed(default=["isp", "spare"], to={"a.example": "late"})
    found = postfix.values({"model": made, "srs": True, "today": "2026-12-01"})["routes"]
    assert list(found) == ["route-isp-spare", "route-late"]
    for options in found.values():
        assert {"smtp_tls_security_level=secure", "smtp_tls_secure_cert_match=nexthop", "smtp_connect_timeout=5s"} <= set(options)
    assert "smtp_sasl_password_maps=texthash:$config_directory/routes/isp-spare.passwords" in found["route-isp-spare"]
    assert "smtp_tls_wrappermode=yes" in found["route-late"] and "smtp_sasl_auth_enable=yes" not in found["route-late"]
    assert "s3cret" not in str(postfix.values({"model": routed(default="isp"), "srs": True, "today": "2026-12-01"}))


def test_what_nobody_gets_keeps_its_name_and_goes_nowhere():
    made = tables(
        domains={"example.org": {"catch_all": "me@example.org"}},
        aliases={"no@example.org": {"discard": True}, "you@example.org": {"refuse": "Write to us: me"},
                 "away@example.org": "bob@example.com"},
    )
    for name in ("aliases", "user_aliases"):
        found = entries(made[name])
        assert (found["no@example.org"], found["you@example.org"]) == (["no@example.org"], ["you@example.org"])
    assert made["mailboxes"].split("\n")[1:-1] == ["me@example.org mailbox"]
    assert made["no_mail"].split("\n")[1:-1] == ["# Addresses that refuse mail.", "you@example.org 550 5.2.1 Write to us: me"]
    lines = made["transport"].splitlines()
    assert {"no@example.org discard:discarded", "you@example.org error:5.2.1 Write to us: me"} < set(lines)


def test_a_backup_mx_knows_all_recipients_and_leads_none_of_them_elsewhere():
    """What an alias leads to is the server's business: it would be done twice."""
    primary = {"name": "mx1", "fqdn": "mx1.example.org", "addresses": ["198.51.100.1"], "domains": {"example.org": {}}}
    given = {
        "fqdn": "mx2.example.org", "domains": {"example.org": {"catch_all": ["me@example.org"]}}, "postmaster": "me@example.org",
        "users": {"me@example.org": {"password_hash": HASH}}, "aliases": {"away@example.org": ["bob@example.com"]},
    }  # fmt: skip
    model = normalise(given, "Debian", [primary], backup=True)
    made = postfix.tables({"model": model, "srs": True, "day": DAY, "managed": "Ours"})
    assert entries(made["postfix/tables/aliases"]) == {}
    known = entries(made["postfix/tables/mailboxes"]).keys()
    assert {"me@example.org", "away@example.org", "postmaster@example.org", "@example.org"} <= known
    assert entries(made["postfix/tables/transport"])["example.org"] == ["relay:[mx1.example.org]"]
    assert not any("srs" in name for name in made)
    found = postfix.values({"model": model, "srs": True, "today": "2026-11-29"})
    assert (found["backup"], found["queue"]["maximal_queue_lifetime"], found["srs_domain"]) == (True, "10d", "")


def test_spam_that_would_be_forwarded_stays_here():
    assert tables()["forwarded_junk"].splitlines()[2:] == [
        "/^X-Rspamd-Kept: here$/ DISCARD spam is not forwarded", "/^X-Spam: Yes$/ REDIRECT me@example.org",
    ]
    assert "forwarded_junk" not in tables(aliases={})
    keep = {"forwarded_junk": "keep"}
    assert postfix.values({"model": model(filter=keep, aliases={}), "srs": False})["srs_domain"] == ""
    with pytest.raises(MailError) as error:
        postfix.values({"model": model(filter=keep), "srs": False})
    assert str(error.value) == ("mail_filter.forwarded_junk 'keep' needs postfix_srs: spam is taken out where senders of forwarded mail "
                                "are rewritten; without that, have it be 'refuse'")


def test_without_a_filter_reports_go_to_our_own_domains_alone_and_postfix_asks_who_is_locked():
    users = {"me@example.org": {"password_hash": HASH}, "left@example.org": {"password_hash": HASH, "locked": "sending"}}
    made = tables(filter=False, aliases={}, users=users)
    assert made["reports"].splitlines()[1:] == [
        "# Of reports about mail, those to others than users of this server.",
        r"/^To: .*@example\.org>?$/ DUNNO",
        r"/^To: .*@mail\.example\.org>?$/ DUNNO",
        "/^To: / DISCARD its sender is not proven",
    ]
    assert made["postfix/locks/sending"] == "# Ours\nleft@example.org\n"
    assert not {"reports", "postfix/locks/sending"} & tables().keys()
