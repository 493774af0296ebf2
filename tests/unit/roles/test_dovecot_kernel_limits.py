# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script by which the role dovecot raises limits of the kernel, with a sysctl(8) of the test's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/dovecot/files/raise-kernel-limits.sh"
SYSCTL = """#!/bin/sh
case $1 in
  -n) case $2 in fs.inotify.max_user_instances) echo 128 ;; *) echo 65536 ;; esac ;;
  -w) case $2 in fs.inotify.max_user_instances=404) exit 1 ;; esac; echo "$2" ;;
esac
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "sysctl").write_text(SYSCTL)
    (tmp_path / "sysctl").chmod(0o755)

    def call(text: str | None) -> tuple[int, str]:
        file = tmp_path / "20-postmaster-mail.conf"
        if text is not None:
            file.write_text(text)
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["sh", SCRIPT, file], capture_output=True, text=True, env=path, timeout=30)
        return done.returncode, done.stdout + done.stderr

    return call


def test_a_limit_is_raised_and_never_lowered(run):
    text = "# Ansible managed\n\nfs.inotify.max_user_instances = {}\nfs.inotify.max_user_watches = {}\n"
    assert run(text.format(2004, 65536)) == (0, "fs.inotify.max_user_instances=2004\n")
    assert run(text.format(128, 70000)) == (0, "fs.inotify.max_user_watches=70000\n")
    assert run(text.format(100, 8192)) == (0, "")


def test_no_file_is_no_limit_and_a_refusal_is_an_error(run):
    assert run(None) == (0, "")
    assert run("fs.inotify.max_user_instances = 404\n") == (1, "")


def test_a_limit_that_a_container_cannot_change_is_reported(run):
    words = "fs.inotify.max_user_of_nobody is the machine's own: raise it there to 70000\n"
    assert run("fs.inotify.max_user_of_nobody = 70000\n") == (0, words)
