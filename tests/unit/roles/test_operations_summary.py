# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail summary: the day of real hosts' logs, and the message to the postmaster."""

from __future__ import annotations

import email
import email.policy

import pytest
from operations import Host, clock, lines
from postmaster_mail import accounts, bans, cli, summary, trace, waiting
from postmaster_mail.text import Failure

NOW = 1795985000
PASSWD = "me@example.org:x::::::\nsmall@example.org:x::::::userdb_quota_storage_size=1048576B\n"
USED = """Username\tQuota name\tType\tValue\tLimit\t%
me@example.org\tUser quota\tSTORAGE\t99999\t-\t0
small@example.org\tUser quota\tSTORAGE\t1000\t1024\t97
small@example.org\tUser quota\tMESSAGE\t7\t-\t0
"""


_clock = clock(now=NOW)


@pytest.fixture
def host(tmp_path):
    (tmp_path / "users").write_text(PASSWD)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/sending").write_text("small@example.org\n")
    found = Host(log=lines("postfix-3.10.log"))
    given = {"users": str(tmp_path / "users"), "locks": str(tmp_path / "locks"), "inventory_locks": str(tmp_path / "none")}
    found.settings = found.settings.__class__(**{**found.settings.__dict__, **given})
    found.answers = {"doveadm -f tab quota get -A": USED, "postqueue -j": "", "fail2ban-client": lambda *_: ("", "no such file", 255),
                     "sendmail": ""}  # fmt: skip
    found.disks = lambda: {"/": (100 << 30, 50 << 30), "/var/vmail": (100 << 30, 5 << 30)}
    return found


def run(host, *arguments):
    options = cli._parsed(["summary", *arguments])
    return options.function(host, options)


def counted(log):
    counts = summary.Counts()
    accounts.usage(counts.watch(trace.events(lines(log))), [])
    return counts


def test_verdicts_of_the_filter_are_counted_once_a_message():
    counts = counted("opensmtpd-7.6.log")
    filtered = [event.data for event in trace.events(lines("opensmtpd-7.6.log")) if event.kind == "filtered"]
    outside = [data for data in filtered if not data["user"] and data["address"] not in ("127.0.0.1", "::1", "")]
    assert counts.received + counts.refused + counts.later == len(outside) > 0
    assert counts.sent == sum(data["action"] in ("no action", "greylist", "add header") for data in filtered if data["user"])


@pytest.mark.parametrize("log", ["postfix-3.10.log", "opensmtpd-7.6.log"])
def test_refusals_and_deliveries_of_both_mtas(log):
    counts, events = counted(log), list(trace.events(lines(log)))
    assert sum(counts.refusals.values()) == sum(event.kind == "refused" for event in events) > 0
    assert counts.failed == sum(event.kind == "login-failed" for event in events)
    deliveries = [event.data for event in events if event.kind == "delivery" and not event.data["next"]]
    assert counts.returned == sum(data["status"] in ("bounced", "expired") for data in deliveries)
    assert counts.left <= sum(data["status"] == "sent" and not data["lmtp"] for data in deliveries)


def test_what_needs_a_look_comes_first(host):
    answer = run(host, "--since", "1d")
    assert answer.lines[:6] == [
        "From 2026-11-28 20:43:20 to 2026-11-29 20:43:20",
        "",
        "To look at:",
        "- /var/vmail is nearly full: 5.0 GiB of 100 GiB are free",
        "- small@example.org's mailbox is nearly full: 1000 KiB of 1.0 MiB",
        "- small@example.org is locked (sending)",
    ]
    assert answer.lines[answer.lines.index("Who sent most") + 2].split() == ["me@example.org", "2", "2", "0"]
    assert answer.public["locked"] == {"small@example.org": "sending"}


def test_a_day_on_which_nothing_needs_a_look():
    said = summary.lines(summary.Counts(), NOW - 86400, NOW, [], [], [], {}, {"/": (100, 50)})
    assert said[2] == "Nothing to look at."
    assert said[-1] == "       0  failed log-ins, 0 addresses are banned"


def test_what_waits_is_held_and_is_banned():
    queue = [waiting.Waiting("a", "me@example.org", (("x@slow.test", "Connection timed out"),), NOW - 5 * 3600, 10, "waiting"),
             waiting.Waiting("b", "me@example.org", (("y@slow.test", ""),), NOW - 60, 10, "held")]  # fmt: skip
    ban = bans.Ban("192.0.2.1/32", NOW, 0, "6 wrong passwords, for 'a\x1b'")
    said = summary.lines(summary.Counts(), NOW - 86400, NOW, queue, [], [ban], {}, {})
    assert said[3:5] == [
        "- mail to slow.test waits since 2026-11-29 15:43:20, 2 messages: the other host cannot be reached",
        "- 1 message is on hold in the queue",
    ]
    assert said[-1] == "192.0.2.1: 6 wrong passwords, for 'a?'"


def test_it_is_sent_to_the_postmaster(host):
    assert run(host, "--mail").lines == ["The summary is sent to the postmaster"]
    argv, text = next((argv, stdin) for argv, stdin in host.ran if argv[0] == "sendmail")
    assert argv == ["sendmail", "-i", "-f", "postmaster@mail.example.org", "postmaster"]
    message = email.message_from_string(text, policy=email.policy.default)
    assert (message["To"], message["Auto-Submitted"]) == ("postmaster@mail.example.org", "auto-generated")
    assert message["Subject"] == "mail.example.org: mail of the last day"
    assert "sent by users" in message.get_content()


def test_a_host_without_sendmail_says_so(host):
    host.answers["sendmail"] = lambda *_: ("", "no", 75)
    with pytest.raises(Failure, match="sendmail ended with 75"):
        run(host, "--mail")


def test_without_a_filter_the_lines_of_the_mta_are_counted(host):
    with_filter = run(host, "--since", "1d").public
    host.settings = host.settings.__class__(**{**host.settings.__dict__, "controller": ""})
    found = run(host, "--since", "1d").public
    known = accounts.usage(trace.events(lines("postfix-3.10.log")), ["me@example.org", "small@example.org"])
    assert found["sent"] == sum(one.sent for one in known.values()) > 0
    assert found["received"] > 0
    assert found.keys() == with_filter.keys() and "begun" not in found


@pytest.mark.parametrize("arguments", [["why", "x"], ["learn", "spam", "x"], ["allow", "a@example.org"], ["block"], ["enforce-limits"]])
def test_without_a_filter_what_is_for_it_says_so(host, arguments, monkeypatch, capsys):
    settings = host.settings.__class__(**{**host.settings.__dict__, "controller": ""})
    monkeypatch.setattr(cli.Settings, "read", classmethod(lambda cls: settings))
    monkeypatch.setattr(cli, "Host", lambda _settings: host)
    host.settings = settings
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said == f"postmaster-mail: {arguments[0]} is for the filter, which this host does not have (mail_filter: false)\n"
