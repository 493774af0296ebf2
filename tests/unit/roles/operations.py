# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program postmaster-mail, as a test imports it, and logs of real hosts for it to read."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[3] / "roles/operations/files/local/lib/postmaster-mail"
sys.path.insert(0, str(LIBRARY))

from postmaster_mail import cli, host, logs

LOGS = Path(__file__).with_name("logs")


def lines(name: str) -> list[logs.Line]:
    """Return the daemons' lines of a log."""
    return list(logs.of_syslog((LOGS / name).read_text(encoding="utf-8").splitlines(), 1796000000))


def clock(zone: str = "UTC", now: float | None = None):
    """Return a fixture for every test of a file: its clocks are of a time zone, and that of the command shows ``now``."""

    @pytest.fixture(autouse=True)
    def _clock(monkeypatch):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        if now is not None:
            monkeypatch.setattr(cli, "time", argparse.Namespace(time=lambda: now))
        yield
        monkeypatch.undo()
        time.tzset()

    return _clock


class Host(host.Host):
    """One whose commands are functions and whose log is given."""

    def __init__(self, mta: str = "postfix", log: list[logs.Line] | None = None) -> None:
        super().__init__(host.Settings(fqdn="mail.example.org", mta=mta))
        self.log = log or []
        self.answers: dict[str, object] = {}
        self.ran: list[tuple[list[str], str]] = []
        self.notes: list[str] = []

    def lines(self, since):
        return (line for line in self.log if line.time >= since)

    def settle(self):
        pass

    def note(self, words):
        self.notes.append(words)

    def _done(self, argv, stdin, accepted):
        self.ran.append((list(argv), stdin))
        answer = next(answer for start, answer in self.answers.items() if " ".join(argv).startswith(start))
        stdout, stderr, status = answer(list(argv), stdin) if callable(answer) else (answer, "", 0)
        if status not in accepted:
            raise host.Failure(f"{argv[0]} ended with {status}: {stderr}")
        return host.subprocess.CompletedProcess(argv, status, stdout, stderr)
