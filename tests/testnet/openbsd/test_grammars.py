# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parsers of acme-client.conf, httpd.conf, pf.conf and crontab take what the real ones take, and refuse the rest by line."""

from __future__ import annotations

import pytest
from simulated import acme_client, cron, httpd, pf
from simulated.common import Refusal

SERVER = """server "mail.example.org" {
    listen on * port 80
    location "/.well-known/acme-challenge/*" {
        root "/acme"
        request strip 2
    }
    location * {
        block return 302 "https://$HTTP_HOST$REQUEST_URI"
    }
}
"""
ACME = """authority le {
    api url "https://acme.example/dir"
    account key "/etc/acme/le.pem"
    contact "mailto:postmaster@example.org"
}
domain mail.example.org {
    alternative names { a.example.org b.example.org }
    domain key "/etc/ssl/private/mail.key" ecdsa
    domain full chain certificate "/etc/ssl/mail.pem"
    sign with le
    challengedir "/var/www/acme"
}
"""
RULES = r"""table <bruteforce> persist
ports = "{ smtp submission submissions imaps pop3s sieve }"
block in quick from <bruteforce>
pass in on egress proto tcp to port $ports \
    keep state (max-src-conn 50, max-src-conn-rate 30/10, overload <bruteforce> flush global)
anchor "mail"
load anchor "mail" from "/etc/pf.mail.conf"
pass in on egress inet proto tcp to port smtp divert-to 127.0.0.1 port 8025
set skip on { lo0 lo }
block return in on ! lo0 proto { tcp, udp } to port 6000:6010
match out on egress inet from !(egress:network) to any nat-to (egress:0)
"""


def complaint(parse, *arguments: str) -> str:
    with pytest.raises(Refusal) as found:
        parse(*arguments)
    return str(found.value)


# httpd.conf

def test_httpd_serves_the_challenge_and_redirects_the_rest() -> None:
    server = httpd.parse(SERVER, "httpd.conf").servers[0]
    host = "mail.example.org"
    assert httpd.answer(server, "/.well-known/acme-challenge/token", host) == (200, "", "/acme/token")
    assert httpd.answer(server, "/a/b", host, "c=d") == (302, "https://mail.example.org/a/b?c=d", "")
    # No way out of the directory, however it is written.
    for path in ("/.well-known/acme-challenge/../../x", "/.well-known/acme-challenge/%2e%2e/%2e%2e/x"):
        assert httpd.answer(server, path, host)[0] == 302


def test_httpd_takes_the_first_server_that_fits() -> None:
    servers = httpd.parse(SERVER + SERVER.replace("mail.", "mta-sts."), "httpd.conf").servers
    assert [httpd.choose(servers, 80, host).name for host in ("mta-sts.example.org:80", "mail.example.org", "other")] == [
        "mta-sts.example.org", "mail.example.org", "mail.example.org"]
    assert httpd.choose(servers, 443, "mail.example.org") is None


@pytest.mark.parametrize(("old", "new", "words"), [
    ("    listen on * port 80\n", "    listen on * port 80\n    listen on :: port 80\n", ':1: server "mail.example.org" defined twice'),
    ("    listen on * port 80\n", "", ':1: server "mail.example.org": no listen statement'),
    ("port 80", "port smpt", ":2: unknown port smpt"),
    ("port 80\n", 'port 80 root "/x"\n', ":2: syntax error"),
    ("request strip 2", "request strip two", ":5: syntax error"),
    ("request strip 2", "rewrite /x", ":5: syntax error"),
    ('root "/acme"', 'root "/acme', ":4: syntax error"),
    ("block return 302", "return 302", ":8: syntax error"),
    ("server", "vhost", ":1: syntax error"),
    ("    }\n}\n", "    }\n", ":10: syntax error")])
def test_httpd_refuses(old: str, new: str, words: str) -> None:
    assert SERVER.count(old) >= 1
    assert complaint(httpd.parse, SERVER.replace(old, new, 1), "/etc/httpd.conf").startswith("/etc/httpd.conf" + words)


# acme-client.conf

def test_acme_client_reads_its_configuration() -> None:
    authorities, domains = acme_client.parse(ACME, "acme-client.conf", "7.9")
    found = domains["mail.example.org"]
    assert (authorities["le"].api, found.alternatives, found.key_type, found.authority) == (
        "https://acme.example/dir", ["a.example.org", "b.example.org"], "ecdsa", "le")


@pytest.mark.parametrize(("old", "new", "words"), [
    ("sign with le", "sign with other", ":10: sign with: unknown authority"),
    ("sign with le", "challenge dns-01", ":10: syntax error"),
    ("sign with le", 'sign with le\n    sign with le', ":11: duplicate sign with"),
    ("    challengedir", '    renewal 30\n    challengedir', ":11: syntax error"),
    ('domain key "/etc', 'domain key "etc', ":8: not an absolute path"),
    ("contact", "eab", ":4: syntax error"),
    ('dir"\n', 'dir"; insecure\n', ":2: syntax error"),
    ("ecdsa", "ed25519", ":8: syntax error"),
    ("authority", "authoritee", ":1: syntax error")])
def test_acme_client_refuses(old: str, new: str, words: str) -> None:
    assert old in ACME
    assert complaint(acme_client.parse, ACME.replace(old, new, 1), "/etc/acme-client.conf", "7.9") == "/etc/acme-client.conf" + words


def test_acme_client_knows_profiles_and_plain_http_since_7_8() -> None:
    text = ACME.replace("    sign with le", '    profile "shortlived"\n    sign with le')
    assert acme_client.parse(text, "x", "7.8")[1]["mail.example.org"].profile == "shortlived"
    assert complaint(acme_client.parse, text, "x", "7.7") == "x:10: syntax error"
    plain = ACME.replace("https://", "http://")
    assert "must use https" in complaint(acme_client.parse, plain, "x", "7.9")
    assert acme_client.parse(plain.replace("    contact", "    insecure\n    contact"), "x", "7.9")[0]["le"].insecure


# pf.conf

def test_pf_reads_rules_tables_and_anchors() -> None:
    found = pf.parse(RULES, "pf.conf")
    assert (found.anchors, found.points, list(found.tables), found.used) == (
        {"mail": "/etc/pf.mail.conf"}, ["mail"], ["bruteforce"], {"bruteforce"})
    assert len(found.rules) == 6


@pytest.mark.parametrize(("line", "words"), [
    ("allow all", "syntax error"), ("pass in proto tcp to port smpt", "unknown port smpt"), ("pass proto tcpp", "unknown protocol tcpp"),
    ("pass in on egress proto tcp ports 25", "syntax error"), ("table bruteforce persist", "syntax error"),
    ("pass keep state (overload <a> flush)", "'overload' requires 'max-src-conn' or 'max-src-conn-rate'"),
    ("pass keep state (max-src-connection 3)", "syntax error"), ("pass keep state (max-src-conn-rate 30)", "syntax error"),
    ("set skip lo", "syntax error"), ("set block-policy refuse", "syntax error"),
    ("pass from 300.1.1.1", "could not parse host specification: 300.1.1.1"),
    ("pass to port $unknown", "macro 'unknown' not defined"),
    ("pass to port 70000", "illegal port value 70000"), ("pass quick in", "syntax error"),
    ("pass in proto tcp to port { 25", "syntax error"),
    ("load anchor mail", "syntax error"), ("ct state established accept", "syntax error")])
def test_pf_refuses(line: str, words: str) -> None:
    found = complaint(pf.parse, f"block return\n{line}\n", "/etc/pf.conf").splitlines()
    assert found[0].partition(": ")[2] == words
    assert found[0].startswith("/etc/pf.conf:")
    assert found[1] == "pfctl: Syntax error in config file: pf rules not loaded"


# crontab

@pytest.mark.parametrize("line", ["~ * * * * acme-client x", "0~10 3 * * 1-5 -ns /bin/sh /etc/daily", "*/5 * * * * true", "@daily -n true",
                                  "1,31 */2 1 jan sun x", "PATH=/bin:/usr/bin", "# nothing", ""])
def test_crontab_takes(line: str) -> None:
    cron.parse(line + "\n")


@pytest.mark.parametrize(("line", "words"), [
    ("61 * * * * x", "bad minute"), ("* 24 * * * x", "bad hour"), ("* * 0 * * x", "bad day-of-month"), ("* * * 13 * x", "bad month"),
    ("* * * * 8 x", "bad day-of-week"), ("* * * * *", "bad command"), ("~~ * * * * x", "bad minute"), ("*/0 * * * * x", "bad minute"),
    ("* * * * * -x y", "bad option"), ("@sometimes x", "bad time specifier"), ("9-3 * * * * x", "bad minute")])
def test_crontab_refuses(line: str, words: str) -> None:
    assert complaint(cron.parse, f"# one\n{line}\n") == f'"{words}" in line 2'


def test_a_random_minute_is_one_minute_of_the_hour() -> None:
    minutes = {next(iter(when[0])) for _ in range(200) for when, _flags, _command in cron.parse("10~12 * * * * x")}
    assert minutes == {10, 11, 12}
