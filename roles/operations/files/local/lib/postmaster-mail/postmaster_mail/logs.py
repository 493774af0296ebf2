# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of the mail daemons, from the systemd journal or from a file of syslogd. Pure functions.

The journal knows which unit and account a line is from, so only lines of the daemons themselves count: any program of the host can
call itself ``postfix/smtpd``. A file of syslogd does not know that.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Line(NamedTuple):
    """``time`` in seconds since 1970, ``program`` as it calls itself, such as ``postfix/smtpd``, ``pid``, and ``text``."""

    time: float
    program: str
    pid: str
    text: str


class Source(NamedTuple):
    """Whose lines count: those of a ``unit`` (any, if empty) and an account (``uid``; any, if empty) whose ``programs`` match."""

    unit: str
    uid: str
    programs: str


#: Dovecot logs through a process of root's. What Sieve scripts start runs as the owner of all mail. postsuper(1) and this program belong
#: to whoever logged in, who is root.
SOURCES = (
    Source("postfix.service", "", r"postfix/.+"),
    Source("postfix@-.service", "", r"postfix/.+"),
    Source("opensmtpd.service", "", r"smtpd"),
    Source("dovecot.service", "0", r"dovecot"),
    Source("dovecot.service", "", r"send-for-script|dovecot-learn"),
    Source("rspamd.service", "", r"rspamd"),
    Source("postmaster-mail-login-guard.service", "", r"postmaster-mail-login-guard"),
    Source("", "0", r"postfix/postsuper|postmaster-mail"),
)

_FIELDS = ("MESSAGE", "SYSLOG_IDENTIFIER", "_PID", "_UID", "_SYSTEMD_UNIT")

#: ``Nov 29 20:25:36 host program[pid]: text``, or with a time of RFC 3339.
_SYSLOG = re.compile(
    r"(?:(?P<short>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8})|(?P<long>[0-9-]{10}T[0-9:]{8})(?P<part>\.[0-9]+)?(?P<zone>Z|[+-][0-9:]{5}))"
    r" \S+ (?P<program>[^\s:\[]+)(?:\[(?P<pid>[0-9]+)\])?: (?P<text>.*)"
)
_SYSLOG_PROGRAMS = re.compile("|".join(dict.fromkeys(source.programs for source in SOURCES)))


def journal_command(since: float) -> list[str]:
    """Return the command that prints the daemons' lines of the journal, oldest first, as :func:`of_journal` reads them."""
    matches: list[str] = []
    for source in SOURCES:
        terms = [f"_SYSTEMD_UNIT={source.unit}"] if source.unit else [f"SYSLOG_IDENTIFIER={name}" for name in source.programs.split("|")]
        terms += [f"_UID={source.uid}"] if source.uid else []
        matches += (["+"] if matches else []) + terms
    # Without --all a long line would be null.
    return ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--output-fields={','.join(_FIELDS)}",
            f"--since=@{since:.6f}", *matches]  # fmt: skip


def of_journal(entries: Iterable[str]) -> Iterator[Line]:
    """Yield the lines of daemons, of what ``journalctl --output=json`` prints."""
    for entry in entries:
        try:
            fields = json.loads(entry)
            moment = int(fields["__REALTIME_TIMESTAMP"]) / 1e6
        except (ValueError, TypeError, KeyError):
            continue
        program, text = fields.get("SYSLOG_IDENTIFIER"), fields.get("MESSAGE")
        # What is not UTF-8, or has control characters, is a list of octets.
        if isinstance(text, list):
            text = bytes(octet for octet in text if isinstance(octet, int) and 0 <= octet < 256).decode("utf-8", "replace")
        if isinstance(program, str) and isinstance(text, str) and _trusted(program, fields):
            yield Line(moment, program, str(fields.get("_PID", "")), text)


def _trusted(program: str, fields: dict[str, object]) -> bool:
    unit, uid = fields.get("_SYSTEMD_UNIT"), fields.get("_UID")
    return any(source.unit in ("", unit) and source.uid in ("", uid) and re.fullmatch(source.programs, program) for source in SOURCES)


def of_syslog(lines: Iterable[str], until: float) -> Iterator[Line]:
    """Yield the lines of daemons, of a file of syslogd.

    :param until: when the file was written last, as seconds since 1970: the usual time of a line has no year
    """
    year = time.localtime(until).tm_year
    moments: dict[str, float] = {}
    for line in lines:
        match = _SYSLOG.match(line.rstrip("\n"))
        if not match or not _SYSLOG_PROGRAMS.fullmatch(match["program"]):
            continue
        stamp = match["short"] or match["long"] + match["zone"]
        if stamp not in moments:
            # Most lines have the same time as the one before.
            moments.clear()
            try:
                moments[stamp] = _short(match["short"], year, until) if match["short"] else _long(match["long"], match["zone"])
            except (ValueError, OverflowError):
                continue
        yield Line(moments[stamp] + float(match["part"] or 0), match["program"], match["pid"] or "", match["text"])


def _short(stamp: str, year: int, until: float) -> float:
    """A day that would be in the future was last year."""
    found = 0.0
    for candidate in (year, year - 1):
        found = time.mktime((*time.strptime(f"{candidate} {stamp}", "%Y %b %d %H:%M:%S")[:8], -1))
        if found <= until + 86400:
            break
    return found


def _long(stamp: str, zone: str) -> float:
    offset = 0 if zone == "Z" else int(zone[0] + "1") * (int(zone[1:3]) * 3600 + int(zone[-2:]) * 60)
    return calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) - offset
