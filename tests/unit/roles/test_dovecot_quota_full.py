# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script by which the role dovecot keeps since when mailboxes are full, and how mail for them is answered until when."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/dovecot/files/etc/dovecot/bin/quota-full"
DAY = 86400
USER = "a@b.example"
REFUSED = "full:::::::userdb_full=5 userdb_quota_exceeded_message=5\n"


def call(notes: Path, event: str, user: str = USER) -> int:
    # Dovecot adds the value of a flag that nobody sets.
    return subprocess.run([SCRIPT, notes, "3", event, user, ""], timeout=30, check=False).returncode


@pytest.fixture
def notes(tmp_path):
    return tmp_path / "full"


def test_who_was_not_known_to_be_full_is_so_from_now_on(notes):
    begun = time.time()
    assert call(notes, "full") == 0
    assert [path.name for path in notes.iterdir()] == [USER]
    assert (notes / USER).read_text() == ""
    assert (notes / USER).stat().st_mtime >= begun - 1
    # Dovecot's authentication reads the notes, and nobody lists them.
    assert (notes.stat().st_mode & 0o777, (notes / USER).stat().st_mode & 0o777) == (0o711, 0o644)


@pytest.mark.parametrize(("age", "text"), [(DAY, ""), (3 * DAY - 120, ""), (3 * DAY + 60, REFUSED), (90 * DAY, REFUSED)])
def test_mail_is_refused_after_days(notes, age, text):
    call(notes, "full")
    since = int(time.time()) - age
    os.utime(notes / USER, (since, since))
    assert call(notes, "full") == 0
    assert (notes / USER).read_text() == text
    # And from then on, with every further question.
    assert call(notes, "full") == 0
    assert (notes / USER).read_text() == text
    if not text:
        assert (notes / USER).stat().st_mtime == since


def test_with_room_nothing_is_kept(notes):
    assert call(notes, "room") == 0
    assert not notes.exists()
    call(notes, "full")
    call(notes, "full", "b@b.example")
    assert call(notes, "room") == 0
    assert [path.name for path in notes.iterdir()] == ["b@b.example"]


@pytest.mark.parametrize("user", ["", "../a@b.example", "/a@b.example", "a/b@b.example", ".", ".."])
@pytest.mark.parametrize("event", ["full", "room"])
def test_what_is_no_mailbox_is_refused(notes, event, user):
    notes.mkdir()
    (notes.parent / "a@b.example").write_text("")
    assert call(notes, event, user) == 64
    assert list(notes.iterdir()) == []
    assert (notes.parent / "a@b.example").exists()
