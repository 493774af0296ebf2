# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What people read: text of strangers made harmless, moments, durations, sizes and tables. Pure functions."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence

#: Unicode categories of what does not stand for itself on a terminal: controls, formats such as those that turn the direction of writing,
#: lone surrogates, and the two separators that end a line.
_NOT_SHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Failure(Exception):
    """What a command reports to whoever called it, as one sentence."""


def printable(text: object, most: int = 0) -> str:
    """Return text that a terminal can be given, whoever wrote it: what does not stand for itself becomes a question mark.

    :param most: how many characters there may be; the rest becomes ``...``, 0 for any number
    """
    safe = "".join("?" if unicodedata.category(letter) in _NOT_SHOWN else letter for letter in str(text))
    return safe if not most or len(safe) <= most else safe[: max(most - 3, 0)] + "..."


def moment(seconds: float) -> str:
    """Return a time as this host's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def since(value: str, now: float) -> float:
    """Return the beginning of a search, as seconds since 1970.

    :param value: how long ago, as ``90m``, ``12h``, ``3d`` or ``2w``; ``today``, ``yesterday``; a day, ``2026-11-29``; or a moment,
        ``2026-11-29 20:15`` (seconds may follow, and ``T`` may stand for the space), on this host's clock
    :raises Failure: another text, or a moment that has not come yet
    """
    found = -1.0
    ago = re.fullmatch(r"([0-9]{1,6})([smhdw])", value)
    if ago:
        found = now - int(ago[1]) * _UNITS[ago[2]]
    elif value in ("today", "yesterday"):
        day = time.localtime(now)
        found = time.mktime((day.tm_year, day.tm_mon, day.tm_mday - (value == "yesterday"), 0, 0, 0, 0, 0, -1))
    else:
        for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
            try:
                found = time.mktime((*time.strptime(value.replace("T", " "), form)[:8], -1))
            except (ValueError, OverflowError):
                continue
    if found < 0:
        raise Failure(
            f"--since {printable(value, 40)!r} is neither how long ago (90m, 12h, 3d, 2w), nor today or yesterday, nor a moment such as "
            "2026-11-29 or '2026-11-29 20:15'"
        )
    if found > now:
        raise Failure(f"--since {printable(value, 40)!r} has not come yet: it is {moment(now)} here")
    return found


def duration(seconds: float) -> str:
    """Return a time span in its largest unit and the one below, such as ``2 d 3 h``."""
    left = max(int(seconds), 0)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    first = next((number for number, (_letter, unit) in enumerate(units) if left >= unit), 3)
    parts = []
    for letter, unit in units[first : first + 2]:
        if left >= unit or not parts:
            parts.append(f"{left // unit} {letter}")
        left %= unit
    return " ".join(parts)


def size(octets: float) -> str:
    """Return a number of octets in powers of 1024, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 10 else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number and what is counted, such as ``1 message`` and ``2 messages``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return lines with columns of one width each; the last one is as wide as it likes.

    :param right: numbers of the columns that are flush right
    """
    cells = [list(head), *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        padded = [cell.rjust(widths[column]) if column in right else cell.ljust(widths[column]) for column, cell in enumerate(row)]
        lines.append("  ".join(padded).rstrip())
    return lines
