# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What postmaster-mail prints, and how it reads times and lines of logs."""

from __future__ import annotations

import json
import os

import pytest
from operations import LIBRARY, clock
from postmaster_mail import logs, text, words

# A host in Central Europe, where clocks are changed.
_clock = clock("Europe/Berlin")


NOW = 1795984076  # 2026-11-29 21:27:56 there


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("J\u00f6rg \u4e2d", "J\u00f6rg \u4e2d"),
        ("\x1b[2J\x1b]0;owned\x07", "?[2J?]0;owned?"),
        ("a\r\nb\tc", "a??b?c"),
        ("\x9b31m", "?31m"),  # the one-octet form of ESC [
        ("invoice\u202efdp.exe", "invoice?fdp.exe"),
        ("a\u200bb\u2028c\ud800", "a?b?c?"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_printed(given, shown):
    assert text.printable(given) == shown


def test_long_text_is_cut():
    assert text.printable("x" * 20, 10) == "xxxxxxx..."


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("90m", NOW - 5400),
        ("12h", NOW - 12 * 3600),
        ("3d", NOW - 3 * 86400),
        ("2w", NOW - 14 * 86400),
        ("today", 1795906800),
        ("yesterday", 1795820400),
        ("2026-11-29", 1795906800),
        ("2026-11-29 20:15", 1795979700),
        ("2026-11-29T20:15:30", 1795979730),
        ("2026-07-01", 1782856800),  # in summer
    ],
)
def test_a_beginning_is_understood(given, expected):
    assert text.since(given, NOW) == expected


@pytest.mark.parametrize("given", ["", "3", "three days", "29.11.2026", "-1d", "2026-13-01", "3d; reboot"])
def test_another_beginning_is_refused_with_what_it_may_be(given):
    with pytest.raises(text.Failure) as error:
        text.since(given, NOW)
    assert str(error.value) == (
        f"--since {given!r} is neither how long ago (90m, 12h, 3d, 2w), nor today or yesterday, nor a moment such as 2026-11-29 or "
        "'2026-11-29 20:15'"
    )


def test_a_beginning_in_the_future_is_refused():
    with pytest.raises(text.Failure) as error:
        text.since("2027-01-01", NOW)
    assert str(error.value) == "--since '2027-01-01' has not come yet: it is 2026-11-29 21:27:56 here"


def test_spans_sizes_and_numbers():
    assert [text.duration(span) for span in (0, 59, 61, 7322, 100000)] == ["0 s", "59 s", "1 min 1 s", "2 h 2 min", "1 d 3 h"]
    assert [text.size(octets) for octets in (0, 1023, 1536, 20 * 1024, 3 << 30, 5 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "20 KiB", "3.0 GiB", "5.0 TiB"]  # fmt: skip
    assert [text.count(number, "message") for number in (0, 1, 2)] == ["0 messages", "1 message", "2 messages"]
    assert text.count(2, "message is", "messages are") == "2 messages are"


def test_a_table_has_columns_and_nothing_that_a_terminal_obeys():
    assert text.table(("WHO", "N", "WHY"), [("a\x1b", 10, "x"), ("bcde", 2, "long reason")], right=(1,)) == [
        "WHO    N  WHY", "a?    10  x", "bcde   2  long reason"]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "reply", "expected"),
    [
        ("5.1.1", "550 5.1.1 <x@example.net>: No such person", "there is no such mailbox"),
        ("4.2.2", "452 4.2.2 <a@example.org> Mailbox is full", "the mailbox is full"),
        ("", "550 5.7.25 no PTR", "the address that it comes from has no name in DNS that leads back to it"),
        ("", "554 5.7.1 <x@y.test>: Relay access denied", "relaying is for those who have logged in, and the address is not one of ours"),
        ("", "4.7.1 Try again later", "greylisted: its sender was never seen before, and tries again in some minutes"),
        ("4.4.1", "connect to mail.example.net[192.0.2.1]:25: Connection refused", "the other host does not take connections"),
        ("", "what nobody knows", ""),
        ("2.0.0", "250 2.0.0 Ok", ""),
    ],
)
def test_codes_and_replies_in_plain_words(code, reply, expected):
    assert words.meaning(code, reply) == expected


def entry(**fields):
    return json.dumps({"__REALTIME_TIMESTAMP": str(NOW * 1000000 + 250000), "_PID": "7", "_UID": "0", **fields})


OURS = {"MESSAGE": "connect from a[192.0.2.1]", "SYSLOG_IDENTIFIER": "postfix/smtpd", "_SYSTEMD_UNIT": "postfix.service", "_UID": "999"}


def test_a_line_of_the_journal():
    assert list(logs.of_journal([entry(**OURS)])) == [logs.Line(NOW + 0.25, "postfix/smtpd", "7", "connect from a[192.0.2.1]")]


@pytest.mark.parametrize(
    "forged",
    [
        {"_SYSTEMD_UNIT": "user@1000.service"},
        {"_SYSTEMD_UNIT": "postfix.service.evil"},
        {"_SYSTEMD_UNIT": None},
        {"SYSLOG_IDENTIFIER": "sshd"},
        {"SYSLOG_IDENTIFIER": "dovecot", "_SYSTEMD_UNIT": "dovecot.service", "_UID": "5000"},  # a user's Sieve program
        {"SYSLOG_IDENTIFIER": "postmaster-mail", "_SYSTEMD_UNIT": "session-2.scope", "_UID": "1000"},
        {"SYSLOG_IDENTIFIER": "postfix/postsuper", "_SYSTEMD_UNIT": "session-2.scope", "_UID": "1000"},
        {"SYSLOG_IDENTIFIER": "postmaster-mail.x", "_SYSTEMD_UNIT": "session-2.scope", "_UID": "0"},
    ],
)
def test_a_line_that_only_claims_to_be_of_a_daemon_does_not_count(forged):
    assert list(logs.of_journal([entry(**{**OURS, **forged})])) == []


def test_octets_that_are_no_text_and_lines_that_are_no_entries():
    octets = [*"a \x1b\u00fc\n".encode(), 0xFF, 300, "x"]
    found = list(logs.of_journal(["", "nonsense", "[]", "{}", entry(**{**OURS, "MESSAGE": None}), entry(**{**OURS, "MESSAGE": octets})]))
    assert [line.text for line in found] == ["a \x1b\u00fc\n\ufffd"]


def test_the_command_asks_for_the_units_of_the_daemons_and_the_accounts_that_they_log_with():
    command = logs.journal_command(1.5)
    matches = " ".join(command[command.index("--since=@1.500000") + 1 :])
    assert matches == (
        "_SYSTEMD_UNIT=postfix.service + _SYSTEMD_UNIT=postfix@-.service + _SYSTEMD_UNIT=opensmtpd.service + "
        "_SYSTEMD_UNIT=dovecot.service _UID=0 + _SYSTEMD_UNIT=dovecot.service + _SYSTEMD_UNIT=rspamd.service + "
        "_SYSTEMD_UNIT=postmaster-mail-login-guard.service + "
        "SYSLOG_IDENTIFIER=postfix/postsuper SYSLOG_IDENTIFIER=postmaster-mail _UID=0"
    )


def test_lines_of_syslogd_of_both_forms_and_of_last_year():
    text = [
        "Nov 29 21:27:50 mail postfix/smtpd[41]: connect from a[192.0.2.1]",
        "Dec 31 23:59:59 mail dovecot: imap: x",
        "Jul  1 12:00:00 mail smtpd[2]: summer",
        "2026-11-29T20:27:51.123456Z mail rspamd[3]: one",
        "2026-11-29T21:27:51+01:00 mail smtpd[3]: two",
        "Nov 29 21:27:50 mail last message repeated 2 times",
        "Nov 29 21:27:50 mail sshd[1]: x",
        "Nov 31 21:27:50 mail smtpd[1]: no such day",
        "",
    ]
    found = list(logs.of_syslog(text, NOW))
    assert found == [
        logs.Line(NOW - 6, "postfix/smtpd", "41", "connect from a[192.0.2.1]"),
        logs.Line(1767221999, "dovecot", "", "imap: x"),
        logs.Line(1782900000, "smtpd", "2", "summer"),
        logs.Line(NOW - 5 + 0.123456, "rspamd", "3", "one"),
        logs.Line(NOW - 5, "smtpd", "3", "two"),
    ]


def test_the_program_runs_with_the_standard_library_alone():
    """Isolated, as its first line says, and without the modules of this environment."""
    modules = sorted(path.stem for path in (LIBRARY / "postmaster_mail").glob("*.py"))
    program = f"import sys; sys.path[:] = [{str(LIBRARY)!r}] + [path for path in sys.path if '-packages' not in path]\n"
    program += "".join(f"import postmaster_mail.{name}\n" for name in modules)
    assert os.spawnv(os.P_WAIT, "/usr/bin/python3", ["python3", "-ISB", "-c", program]) == 0
