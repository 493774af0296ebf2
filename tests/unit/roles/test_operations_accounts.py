# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail accounts: who sends, who logs in, of the logs of real hosts."""

from __future__ import annotations

import argparse

import pytest
from operations import Host, clock, lines
from postmaster_mail import accounts, cli, logs, trace
from postmaster_mail.text import Failure

#: As the role dovecot writes it, for both versions.
PASSWD = """\
me@example.org:{BLF-CRYPT}$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi::::::
small@example.org:{BLF-CRYPT}$2b$05$xkQoDVPq6tcpa6wvylKkgecprnAYY5yJrp9cTaxq6lR0Up6DonStC::::::userdb_quota_storage_size=1048576B
old@example.org:{BLF-CRYPT}$2b$05$xkQoDVPq6tcpa6wvylKkgecprnAYY5yJrp9cTaxq6lR0Up6DonStC::::::userdb_quota_rule=*:bytes=2097152
"""
NOW = 1795985000


_clock = clock()


def used(log, *names):
    return accounts.usage(trace.events(lines(log)), names)


def test_users_and_their_quotas():
    assert accounts.users(PASSWD) == {"me@example.org": 0, "small@example.org": 1 << 20, "old@example.org": 2 << 20}
    assert accounts.users("# none\n\nbroken\n") == {}


def test_what_was_submitted_to_postfix():
    found = used("postfix-3.10.log", "me@example.org", "you@example.org")
    me = found["me@example.org"]
    assert (me.sent, me.recipients, me.addresses) == (2, 2, {"198.51.100.1", "2001:db8:100::1"})
    assert me.last[1:] == ("submission", "2001:db8:100::1")
    assert found["you@example.org"].sent == 0


def test_what_was_submitted_to_opensmtpd():
    found = used("opensmtpd-7.6.log", "me@lab-a.test")
    me = found["me@lab-a.test"]
    assert (me.sent, me.recipients, me.refused, me.failed) == (1, 1, 4, 0)
    assert me.last[1:] == ("submission", "198.51.100.1")


@pytest.mark.parametrize(
    "text",
    [
        "imap-login: Login: user=<Me@example.org>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=3088, TLS, session=<9uqV0XFh>",
        "imap-login: Logged in: user=<me@example.org>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=5460, TLS, session=<wwExG3Bh>",
    ],
)
def test_log_ins_to_the_mailbox_of_both_versions_of_dovecot(text):
    found = accounts.usage(trace.events([logs.Line(5.0, "dovecot", "1", text)]), ["me@example.org"])
    assert found["me@example.org"].last == (5.0, "imap", "192.0.2.7")


def test_failed_log_ins_of_accounts_alone():
    text = "warning: x[192.0.2.1]: SASL PLAIN authentication failed: (reason unavailable), sasl_username="
    tried = [logs.Line(1.0, "postfix/submission/smtpd", "1", text + name)
             for name in ("me@example.org", "nobody@example.org", "ME@example.org")]  # fmt: skip
    found = accounts.usage(trace.events(tried), ["me@example.org"])
    assert {name: one.failed for name, one in found.items()} == {"me@example.org": 2}


def test_orders():
    found = {"a": accounts.Usage(sent=5, recipients=5), "b": accounts.Usage(sent=1, recipients=90),
             "c": accounts.Usage(refused=2, failed=1), "d": accounts.Usage(last=(9.0, "imap", ""))}  # fmt: skip
    assert {by: "".join(accounts.ordered(found, by)) for by in accounts.SORTS} == {
        "sent": "bacd", "refused": "cabd", "failed": "cabd", "login": "dabc", "name": "abcd"}  # fmt: skip


def asked(tmp_path, monkeypatch, *arguments):
    """Return the answer of the command on a host with these accounts."""
    users = tmp_path / "users"
    users.write_text(PASSWD)
    host = Host(log=lines("postfix-3.10.log"))
    host.settings = host.settings.__class__(**{**host.settings.__dict__, "users": str(users)})
    host.answers = {
        "doveadm -f tab quota get": "Username\tQuota name\tType\tValue\tLimit\t%\nsmall@example.org\tUser quota\tSTORAGE\t512\t1024\t50\n"
        "small@example.org\tUser quota\tMESSAGE\t7\t-\t0\n",
    }
    monkeypatch.setattr(cli, "time", argparse.Namespace(time=lambda: NOW))
    return host, cli._accounts(host, cli._parsed(["accounts", *arguments]))


def test_who_sends_most(tmp_path, monkeypatch):
    _host, answer = asked(tmp_path, monkeypatch, "--since", "1d")
    assert answer.lines[0] == "Since 2026-11-28 20:43:20:"
    assert answer.lines[2].split() == ["ACCOUNT", "LOCKED", "SENT", "TO", "LIMIT", "REFUSED", "FAILED", "FROM", "QUOTA", "LAST", "LOG-IN"]
    assert [line.split()[0] for line in answer.lines[3:]] == ["me@example.org", "old@example.org", "small@example.org"]
    assert answer.lines[3].endswith("10 min 34 s ago, submission from 2001:db8:100::1")
    small = next(one for one in answer.public["accounts"] if one["account"] == "small@example.org")
    assert (small["quota"], small["used"]) == (1048576, 524288)
    assert "512 KiB of 1.0 MiB (50 %)" in answer.lines[5]


def test_one_account(tmp_path, monkeypatch):
    host, answer = asked(tmp_path, monkeypatch, "small@example.org")
    assert [one["account"] for one in answer.public["accounts"]] == ["small@example.org"]
    assert host.ran[-1][0] == ["doveadm", "-f", "tab", "quota", "get", "-u", "small@example.org"]
    with pytest.raises(Failure, match=r"nobody@example\.org is no account of this server"):
        asked(tmp_path, monkeypatch, "nobody@example.org")


def test_few_of_many(tmp_path, monkeypatch):
    host, answer = asked(tmp_path, monkeypatch, "--limit", "1")
    assert len(answer.public["accounts"]) == 1
    assert answer.lines[-1] == "2 more accounts are not shown: --limit 0 shows all"
    # Of those that are not shown nobody is asked.
    assert [argv[-1] for argv, _stdin in host.ran] == ["me@example.org"]


def test_relays_are_accounts_without_a_mailbox(tmp_path):
    one = Host()
    (tmp_path / "users").write_text("me@example.org:{BLF-CRYPT}x::::::\n")
    (tmp_path / "relays").write_text("# Ansible managed\n192.0.2.7/32 scanner\n2001:db8:5::/64 scanner\n192.0.2.8/32 old-qmail\n")
    places = {name: str(tmp_path / name) for name in ("users", "relays")}
    one.settings = one.settings.__class__(fqdn="mail.example.org", mta="postfix", **places)
    assert one.accounts() == {"me@example.org": 0, "scanner": 0, "old-qmail": 0}
    (tmp_path / "relays").unlink()
    assert one.accounts() == {"me@example.org": 0}
