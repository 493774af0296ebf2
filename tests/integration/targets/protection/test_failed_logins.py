# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom fail2ban bans, by the filter of the role protection: journals with genuine and with forged entries, read by fail2ban-regex."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path

import jinja2
import pytest

FILTER = Path(__file__).resolve().parents[4] / "roles/protection/templates/etc/fail2ban/filter.d/postmaster-mail.conf.j2"
ATTACKER, VICTIM = "198.51.100.4", "198.51.100.7"


def guesses(network, names="'me@example.org'"):
    """Return what the guard of log-ins says of who guesses."""
    return f"guesses from {network}: 6 wrong passwords within 600 s for {names}"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Return the path of the filter."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)
    path = tmp_path_factory.mktemp("filter") / "postmaster-mail.conf"
    path.write_text(environment.from_string(FILTER.read_text(encoding="utf-8")).render(ansible_managed="x"))
    return path


@pytest.fixture
def counted(rendered, tmp_path):
    """Return a function that puts entries into a journal and returns what fail2ban counts there."""

    def judge(*messages, **fields):
        entry = {"_HOSTNAME": "mail.example.org", "_SYSTEMD_UNIT": "postmaster-mail-login-guard.service", "_UID": "61234", "_PID": "12",
                 "SYSLOG_PID": "12", "SYSLOG_IDENTIFIER": "postmaster-mail-login-guard", "_BOOT_ID": "bb3f6b99cb414319be8cb743a4bb428e",
                 **fields}
        text = b""
        for number, message in enumerate(messages):
            text += f"__REALTIME_TIMESTAMP={1795949067018170 + number}\n__MONOTONIC_TIMESTAMP={1694090092 + number}\n".encode()
            for name, value in {**entry, "MESSAGE": message}.items():
                octets = value if isinstance(value, bytes) else value.encode()
                text += name.encode() + b"\n" + struct.pack("<Q", len(octets)) + octets + b"\n"
            text += b"\n"
        journal = Path(tempfile.mkdtemp(prefix="journal-", dir=tmp_path))
        (tmp_path / "export").write_bytes(text)
        subprocess.run(["/lib/systemd/systemd-journal-remote", "-o", journal / "x.journal", tmp_path / "export"], check=True,
                       capture_output=True)
        done = subprocess.run(["fail2ban-regex", "-o", "<ip>", f"systemd-journal[journalpath={journal}]", rendered],
                              capture_output=True, text=True, check=False)
        assert not re.search("error|Traceback", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
        return done.stdout.split()

    return judge


@pytest.mark.parametrize(
    ("network", "client"),
    [(f"{ATTACKER}/32", ATTACKER), ("2001:db8::/64", "2001:db8::/64"), ("2001:db8:0:1::/64", "2001:db8:0:1::/64"),
     ("2001:db8:100:20::/64", "2001:db8:100:20::/64")],
)
def test_who_guesses_is_banned(counted, network, client):
    assert counted(guesses(network)) == [client]


LINES = [guesses(f"{VICTIM}/32"), guesses("2001:db8::/64"), f"', guesses from {VICTIM}/32: x", f"guesses from {VICTIM}/32: ",
         f"mail.example.org postmaster-mail-login-guard[12]: {guesses(VICTIM + '/32')}",
         f"\nmail.example.org postmaster-mail-login-guard[12]: {guesses(VICTIM + '/32')}",
         f"\\nmail.example.org postmaster-mail-login-guard[12]: {guesses(VICTIM + '/32')}",
         f"é\u2028mail.example.org postmaster-mail-login-guard[12]: {guesses(VICTIM + '/32')}"]
# What the daemons say of a text that a stranger, or a user, has chosen.
DOVECOT = [
    "auth: plain(?,198.51.100.4,<JpdkVG9iUuvGM2QI>): Username character disallowed by auth_username_chars: 0x28 (username: {})",
    "auth(?,198.51.100.4,sasl:plain)<JpdkVG9iUuvGM2QI>: plain: Username character disallowed by auth_username_chars: 0x28 (username: {})",
    "auth: users-64({},198.51.100.4,<JpdkVG9iUuvGM2QI>): unknown user",
    "auth({},198.51.100.4,sasl:plain)<JpdkVG9iUuvGM2QI>: users-64: unknown user",
    "auth: passwd-file({}): unknown user",
    "auth-worker(123): users-64({}): unknown user",
    "imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<{}>, method=PLAIN, rip=198.51.100.4, lip=::1",
    "imap-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{}>, method=PLAIN",
    "managesieve-login: Login aborted: Connection closed (auth failed, 1 attempts in 2 secs) (auth_failed): user=<{}>, method=PLAIN",
    "imap(me@example.org)<12><JpdkVG9iUuvGM2QI>: Disconnected: {} in=0 out=422",
    "imap(me@example.org)<12><JpdkVG9iUuvGM2QI>: Mailbox {}: Opened mail UID=1",
    "lmtp(me@example.org)<12><JpdkVG9iUuvGM2QI>: sieve: msgid=<{}>: stored mail into mailbox 'INBOX'",
    "lmtp(me@example.org)<12><JpdkVG9iUuvGM2QI>: sieve: DEBUG: {}",
    "lmtp(me@example.org)<12><JpdkVG9iUuvGM2QI>: copy from INBOX: box=Junk, uid=1, msgid={}, size=1",
    "quota-status: {}",
    "{}: stored mail",
    "stats: {}",
    "stats: Warning: {}",
    'stats: {{"event":"auth_passdb_request_finished","fields":{{"user":"{}","remote_ip":"198.51.100.4","passdb":"users-64"}}}}',
]
SMTPD = [
    '7b631df5dec309ce smtp failed-command command="{}" result="501 5.1.3 Recipient address syntax error"',
    "7b631df5dec309ce smtp authentication user={} result=permfail",
    "7b631df5dec309ce smtp envelope evpid=9fc447512d43fb2c from=<{}> to=<me@example.org>",
    "postmaster: message 1234abcd is deferred: {}",
    "postmaster: a message of '{}' is deferred: x",
    "postmaster: {}",
    "info: {}",
]


GUARD = ["a request is not understood: {}", "a report is not understood: {}"]


@pytest.mark.parametrize("said", DOVECOT)
def test_a_text_of_a_stranger_in_a_line_of_dovecot_bans_nobody(counted, said):
    lines = [said.format(line) for line in LINES]
    assert counted(*lines, _SYSTEMD_UNIT="dovecot.service", SYSLOG_IDENTIFIER="dovecot", _UID="0") == []


@pytest.mark.parametrize("said", SMTPD)
def test_a_text_of_a_stranger_in_a_line_of_opensmtpd_bans_nobody(counted, said):
    lines = [said.format(line) for line in LINES]
    assert counted(*lines, _SYSTEMD_UNIT="opensmtpd.service", SYSLOG_IDENTIFIER="smtpd", _UID="107") == []


@pytest.mark.parametrize("said", GUARD)
def test_a_text_of_another_program_in_a_line_of_the_guard_bans_nobody(counted, said):
    assert counted(*[said.format(line) for line in LINES]) == []


@pytest.mark.parametrize("line", LINES)
def test_a_user_name_in_a_genuine_line_bans_only_who_gave_it(counted, line):
    assert counted(guesses(f"{ATTACKER}/32", repr(line))) == [ATTACKER]


@pytest.mark.parametrize(
    "fields",
    [
        # logger(1), a cron job, a service of a user's own systemd, and a user where there is no logind
        {"_SYSTEMD_UNIT": "session-4.scope", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "cron.service", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "user@1000.service", "_SYSTEMD_USER_UNIT": "postmaster-mail-login-guard.service", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "ssh.service", "_UID": "1000"},
        # Daemons that clients talk to, and what Dovecot starts for a user
        {"_SYSTEMD_UNIT": "postfix@-.service"},
        {"_SYSTEMD_UNIT": "dovecot.service", "_UID": "0"},
        {"_SYSTEMD_UNIT": "dovecot.service", "_UID": "5000"},
        {"_SYSTEMD_UNIT": "opensmtpd.service"},
        # Another program of the same service
        {"SYSLOG_IDENTIFIER": "python3"},
    ],
)
def test_who_claims_to_be_the_guard_is_not_believed(counted, fields):
    assert counted(*LINES, **fields) == []


@pytest.mark.parametrize(
    "network", [VICTIM, f"{VICTIM}/3", f"{VICTIM}/24", "unknown/32", "/32", "fe80::1%eth0/64", f"x {VICTIM}/32", "2001:db8::7"])
def test_what_is_no_whole_line_of_ours_bans_nobody(counted, network):
    assert counted(guesses(network)) == []
    assert counted(f" {guesses(VICTIM + '/32')}", guesses(f"{VICTIM}/32")[1:]) == []
