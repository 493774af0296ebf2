# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""crontab(1) and cron(8): OpenBSD's crontab(5) with `~`, `-n` and `-s`, kept below /var/cron/tabs, run every minute."""

from __future__ import annotations

import os
import pwd
import random
import re
import subprocess
import sys
import time

from simulated.common import PATH, Refusal, at, detach, getopt, title, write

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = ({}, {}, {}, {name: n for n, name in enumerate(_MONTHS, 1)}, {name: n for n, name in enumerate(_DAYS)})
_SPECIAL = {"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0", "@daily": "0 0 * * *",
            "@midnight": "0 0 * * *", "@hourly": "0 * * * *"}
_USAGE = "usage: crontab [-u user] file\n       crontab [-e | -l | -r] [-u user]"


def _values(text: str, field: int) -> set[int]:
    """Return what a field means; ~ is a random value, chosen when the table is read."""
    low, high = _RANGES[field]
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\*|[0-9a-z]*)(?:([-~])([0-9a-z]*))?(?:/(\d+))?", part.lower())
        if not match or (match[1] == "" and match[2] != "~"):
            raise ValueError(f"bad {_FIELDS[field]}")

        def number(word: str, otherwise: int) -> int:
            if word == "":
                return otherwise
            value = _NAMES[field].get(word, int(word) if word.isdigit() else -1)
            if not low <= value <= high:
                raise ValueError(f"bad {_FIELDS[field]}")
            return value

        step = int(match[4] or 1)
        if not step:
            raise ValueError(f"bad {_FIELDS[field]}")
        if match[1] == "*":
            if match[2]:
                raise ValueError(f"bad {_FIELDS[field]}")
            found |= set(range(low, high + 1, step))
            continue
        first = number(match[1], low)
        last = number(match[3], high) if match[2] else (high if match[4] else first)
        if first > last or (match[2] == "-" and match[3] == ""):
            raise ValueError(f"bad {_FIELDS[field]}")
        if match[2] == "~":
            start = random.randint(first, min(last, first + step - 1) if match[4] else last)
            found |= set(range(start, last + 1, step)) if match[4] else {start}
        else:
            found |= set(range(first, last + 1, step))
    return found


def parse(text: str) -> list[tuple[list[set[int]], str, str]]:
    """Return a table's jobs: when, flags, command; a bad line is refused with its number."""
    jobs = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#") or re.match(r"^[\"']?[A-Za-z_][A-Za-z0-9_]*[\"']?\s*=", line):
            continue
        try:
            if line.startswith("@"):
                word, _space, rest = line.partition(" ")
                if word == "@reboot":
                    continue
                if word not in _SPECIAL:
                    raise ValueError("bad time specifier")
                line = f"{_SPECIAL[word]} {rest.strip()}"
            words = line.split(None, 5)
            if len(words) < 5:
                raise ValueError(f"bad {_FIELDS[max(len(words) - 1, 0)]}")
            when = [_values(words[field], field) for field in range(5)]
            command = words[5].strip() if len(words) > 5 else ""
            flags = ""
            while match := re.match(r"-([nqs]+)\s+", command):
                flags += match[1]
                command = command[match.end():]
            if not command:
                raise ValueError("bad command")
            if command.startswith("-"):
                raise ValueError("bad option")
            jobs.append((when, flags, command))
        except ValueError as exc:
            raise Refusal(f'"{exc}" in line {number}') from None
    return jobs


def crontab(argv: list[str]) -> int:
    """Install, list or remove a table."""
    options, names = getopt(argv, "elru:", _USAGE)
    user = options.get("u", [pwd.getpwuid(os.getuid()).pw_name])[-1]
    if "u" in options and os.getuid():
        raise Refusal("crontab: must be privileged to use -u")
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise Refusal(f"crontab: unknown user {user}") from None
    verbs = set(options) & {"e", "l", "r"}
    if len(verbs) > 1 or (verbs and names) or (not verbs and len(names) != 1):
        raise Refusal(_USAGE)
    path = f"/var/cron/tabs/{user}"
    table = at(path)
    if "e" in verbs:
        raise Refusal("crontab: -e: not simulated")
    if "l" in verbs or "r" in verbs:
        if not table.exists():
            raise Refusal(f"crontab: no crontab for {user}")
        if "r" in verbs:
            table.unlink()
        else:
            print(table.read_text(encoding="utf-8"), end="")
        return 0
    text = sys.stdin.read() if names[0] == "-" else _operand(names[0])
    try:
        parse(text)
    except Refusal as exc:
        raise Refusal(f"crontab: {names[0]}: {exc}\ncrontab: errors in crontab file, unable to install") from None
    entry = pwd.getpwnam(user)
    write(path, text, 0o600, (entry.pw_uid, 66))
    return 0


def _operand(name: str) -> str:
    try:
        with open(name, encoding="utf-8") as handle:
            return handle.read()
    except OSError as exc:
        raise Refusal(f"crontab: {name}: {exc.strerror}") from None


def due(when: list[set[int]], now: time.struct_time) -> bool:
    """Tell whether a job runs in this minute; day of month and of week are alternatives when both are limited."""
    minute, hour, day, month, weekday = when
    today = (now.tm_wday + 1) % 7
    by_day, by_weekday = now.tm_mday in day, today in weekday or (today == 0 and 7 in weekday)
    every_day, every_weekday = len(day) == 31, len(weekday) >= 7
    right_day = (by_day and by_weekday) if every_day or every_weekday else (by_day or by_weekday)
    return now.tm_min in minute and now.tm_hour in hour and now.tm_mon in month and right_day


def cron(_argv: list[str]) -> int:
    """Run all tables' jobs, every minute."""
    detach()
    title("cron: running")
    read: dict[str, tuple[float, list]] = {}
    running: dict[tuple[str, str], subprocess.Popen] = {}
    while True:
        time.sleep(60 - time.time() % 60)
        now = time.localtime()
        for path in sorted(at("/var/cron/tabs").iterdir()):
            stamp = path.stat().st_mtime
            if read.get(path.name, (0, []))[0] != stamp:
                try:
                    read[path.name] = (stamp, parse(path.read_text(encoding="utf-8")))
                except Refusal:
                    continue
            for when, flags, command in read[path.name][1]:
                old = running.get((path.name, command))
                if old:
                    old.poll()
                if not due(when, now) or ("s" in flags and old and old.returncode is None):
                    continue
                entry = pwd.getpwnam(path.name)
                environment = {"PATH": PATH.split(":/usr/X11R6")[0], "HOME": entry.pw_dir, "LOGNAME": path.name, "SHELL": "/bin/sh"}
                running[path.name, command] = subprocess.Popen(["/bin/sh", "-c", command.split("%")[0]], env=environment, user=entry.pw_uid,
                                                               group=entry.pw_gid, cwd="/", stdin=subprocess.DEVNULL)
