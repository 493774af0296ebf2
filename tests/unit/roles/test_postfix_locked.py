# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is locked for sending, as Postfix asks on a host without the filter (SMTPD_POLICY_README)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/postfix/files/etc/postfix/locked"
LOCKED = "action=550 5.7.1 This account is locked for sending; its postmaster knows why"


def asked(*users, files):
    """The answers about messages of one connection."""
    text = "".join(f"request=smtpd_access_policy\nsasl_username={user}\nsender=a@example.org\n\n" for user in users)
    done = subprocess.run(["sh", PROGRAM, *map(str, files)], input=text, capture_output=True, text=True, timeout=30)
    return done.stdout.split("\n\n")[:-1]


@pytest.fixture
def files(tmp_path):
    found = [tmp_path / "inventory", tmp_path / "command"]
    found[0].write_text("# Ansible managed\nleft@example.org\n")
    found[1].write_text("# Accounts\n")
    return found


def test_who_is_in_a_file_sends_nothing_and_others_do(files):
    answers = asked("me@example.org", "left@example.org", "LEFT@example.org", "eft@example.org", "left@example.or.", "me@example.org",
                    files=files)
    assert answers == ["action=DUNNO", LOCKED, LOCKED, "action=DUNNO", "action=DUNNO", "action=DUNNO"]


def test_a_lock_holds_in_a_connection_that_is_open(files):
    with subprocess.Popen(["sh", PROGRAM, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for locked, answer in (("", "action=DUNNO"), ("me@example.org\n", LOCKED), ("", "action=DUNNO")):
            files[1].write_text(locked)
            process.stdin.write("sasl_username=me@example.org\n\n")
            process.stdin.flush()
            assert [process.stdout.readline().rstrip(), process.stdout.readline()] == [answer, "\n"]
        process.stdin.close()


def test_where_nobody_can_tell_it_waits(files):
    files[1].unlink()
    assert asked("me@example.org", files=files) == ["action=450 4.7.1 Nobody can tell whether this account is locked - try again later"]
