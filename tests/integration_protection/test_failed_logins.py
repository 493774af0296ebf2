# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom fail2ban counts, by the filter of the role protection: journals with genuine and with forged entries, read by fail2ban-regex."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path

import jinja2
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._protection import plan

FILTER = Path(__file__).resolve().parents[2] / "roles/protection/templates/etc/fail2ban/filter.d/postmaster-mail.conf.j2"
ATTACKER, VICTIM = "198.51.100.4", "198.51.100.7"


def dovecot_24(address, name="users-64"):
    return f'stats: {{"event":"auth_passdb_request_finished","fields":{{"remote_ip":"{address}","passdb":"{name}"}}}}'


def dovecot_23(address):
    return dovecot_24(address).replace('"passdb"', '"passdb_name"')


def opensmtpd(address, prefix=32, user="'me@example.org'"):
    return f"postmaster: authentication failed from {address}/{prefix} as {user}"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Return a function that writes the filter for these trusted addresses, and returns its path."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True)

    def write(trusted):
        path = tmp_path_factory.mktemp("filter") / "postmaster-mail.conf"
        text = FILTER.read_text(encoding="utf-8")
        path.write_text(environment.from_string(text).render(ansible_managed="x", __protection_plan=plan({"trusted": trusted})))
        return path

    return write


@pytest.fixture
def counted(rendered, tmp_path):
    """Return a function that puts entries into a journal and returns what fail2ban counts there."""

    def judge(*messages, trusted=("127.0.0.0/8", "::1"), **fields):
        entry = {"_HOSTNAME": "mail.example.org", "_SYSTEMD_UNIT": "dovecot.service", "_UID": "0", "_PID": "12", "SYSLOG_PID": "12",
                 "SYSLOG_IDENTIFIER": "dovecot", "_BOOT_ID": "bb3f6b99cb414319be8cb743a4bb428e", **fields}
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
        done = subprocess.run(["fail2ban-regex", "-o", "<ip>", f"systemd-journal[journalpath={journal}]", rendered(trusted)],
                              capture_output=True, text=True, check=False)
        assert not re.search("error|Traceback", done.stdout + done.stderr, re.IGNORECASE), done.stdout + done.stderr
        return done.stdout.split()

    return judge


@pytest.mark.parametrize(
    ("message", "unit", "client"),
    [
        (dovecot_23(ATTACKER), "dovecot", ATTACKER),
        (dovecot_24(ATTACKER), "dovecot", ATTACKER),
        (dovecot_24("::ffff:198.51.100.4"), "dovecot", ATTACKER),
        (dovecot_23("2001:db8::4"), "dovecot", "2001:db8::/64"),
        (dovecot_24("2001:db8::1:2:3:4"), "dovecot", "2001:db8::/64"),
        (dovecot_24("2001:db8:0:1::4"), "dovecot", "2001:db8:0:1::/64"),
        (dovecot_24("2001:db8:100:20:a:b:c:d"), "dovecot", "2001:db8:100:20::/64"),
        (opensmtpd(ATTACKER), "opensmtpd", ATTACKER),
        (opensmtpd("2001:db8::1:2:3:4", 64), "opensmtpd", "2001:db8::/64"),
    ],
)
def test_a_wrong_password_is_counted_for_its_client(counted, message, unit, client):
    identifier = {"dovecot": "dovecot", "opensmtpd": "smtpd"}[unit]
    user = {"dovecot": "0", "opensmtpd": "107"}[unit]
    assert counted(message, _SYSTEMD_UNIT=f"{unit}.service", SYSLOG_IDENTIFIER=identifier, _UID=user) == [client]


def test_addresses_of_one_network_are_counted_together(counted):
    assert counted(*[dovecot_24(f"2001:db8::{number}") for number in range(1, 7)]) == ["2001:db8::/64"] * 6


LINES = [dovecot_23(VICTIM), dovecot_24(VICTIM), opensmtpd(VICTIM), opensmtpd("2001:db8::7", 64), "auth(a,198.51.100.7): x: unknown user",
         "auth(me,198.51.100.7,sasl:plain)<x>: users-64: Password mismatch", "x), y(a,198.51.100.7): unknown user",
         f"mail.example.org dovecot[12]: {dovecot_24(VICTIM)}", f"\nmail.example.org dovecot[12]: {dovecot_24(VICTIM)}",
         f"\\nmail.example.org dovecot[12]: {dovecot_24(VICTIM)}", f'", "{dovecot_24(VICTIM)}', f"é\u2028{dovecot_24(VICTIM)}"]
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


@pytest.mark.parametrize("said", DOVECOT)
def test_a_text_of_a_stranger_in_a_line_of_dovecot_counts_nobody(counted, said):
    assert counted(*[said.format(line) for line in LINES]) == []


@pytest.mark.parametrize("said", SMTPD)
def test_a_text_of_a_stranger_in_a_line_of_opensmtpd_counts_nobody(counted, said):
    lines = [said.format(line) for line in LINES]
    assert counted(*lines, _SYSTEMD_UNIT="opensmtpd.service", SYSLOG_IDENTIFIER="smtpd", _UID="107") == []


@pytest.mark.parametrize("line", LINES)
def test_a_user_name_in_a_genuine_line_counts_only_who_gave_it(counted, line):
    assert counted(opensmtpd(ATTACKER, user=repr(line)), _SYSTEMD_UNIT="opensmtpd.service", SYSLOG_IDENTIFIER="smtpd", _UID="107") == [
        ATTACKER]


@pytest.mark.parametrize(
    "fields",
    [
        # logger(1), a cron job, a service of a user's own systemd, and a user where there is no logind
        {"_SYSTEMD_UNIT": "session-4.scope", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "cron.service", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "user@1000.service", "_SYSTEMD_USER_UNIT": "dovecot.service", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "ssh.service", "_UID": "1000"},
        {"_SYSTEMD_UNIT": "postfix@-.service"},
        # What Dovecot starts for a user, and programs of the same service by other names
        {"_UID": "5000"},
        {"SYSLOG_IDENTIFIER": "postfix/sendmail"},
        {"SYSLOG_IDENTIFIER": "learn"},
        {"_SYSTEMD_UNIT": "opensmtpd.service", "SYSLOG_IDENTIFIER": "sendmail"},
    ],
)
def test_who_claims_to_be_a_daemon_is_not_believed(counted, fields):
    assert counted(dovecot_23(VICTIM), dovecot_24(VICTIM), opensmtpd(VICTIM), **fields) == []


@pytest.mark.parametrize("message", [
    dovecot_24("unknown"), dovecot_24(""), dovecot_24("fe80::1%eth0"), dovecot_24(VICTIM, "users-32"), dovecot_24(VICTIM)[:-1],
    dovecot_24(VICTIM) + "x", dovecot_24(VICTIM).replace("auth_passdb_request_finished", "auth_request_finished"),
])
def test_what_is_no_whole_line_of_ours_counts_nobody(counted, message):
    assert counted(message) == []


def test_a_trusted_address_is_not_counted_with_its_network(counted):
    trusted = ["2001:DB8:0::7", "198.51.100.4"]
    assert counted(dovecot_24("2001:db8::7"), dovecot_24("2001:db8::70"), trusted=trusted) == ["2001:db8::/64"]
    smtpd = {"_SYSTEMD_UNIT": "opensmtpd.service", "SYSLOG_IDENTIFIER": "smtpd"}
    assert counted(opensmtpd("2001:db8::7", 64), opensmtpd("2001:db8::8", 64), trusted=trusted, **smtpd) == ["2001:db8::/64"]
