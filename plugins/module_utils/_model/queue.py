# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_queue`` means: how long mail waits, and when its sender is warned."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

QUEUE_KEYS = ("lifetime", "bounce_lifetime", "warn_after")

#: RFC 5321 section 4.5.4.1 asks for four to five days at least before mail is given up.
LIFETIME = 5
#: Of a backup MX: a server may be away over a holiday.
BACKUP_LIFETIME = 10
#: The longest that Postfix knows, in days.
_LONGEST = 100
WARN_AFTER = 4

_HOURS = {"h": 1, "d": 24}


def read_queue(problems: Problems, given: Any, backup: bool = False) -> dict[str, Any]:
    """Check the times. Reports name hours of a warning and days of a lifetime, so both are whole.

    :returns: ``lifetime`` and ``bounce_lifetime`` in days, the latter None where nothing is said; ``warn_after`` in hours, 0 for never
    """
    options = problems.mapping(given, "mail_queue", QUEUE_KEYS)
    usual = f"{BACKUP_LIFETIME if backup else LIFETIME}d"
    warn_after, bounces = options.get("warn_after", f"{WARN_AFTER}h"), options.get("bounce_lifetime")
    found: dict[str, Any] = {
        "lifetime": _time(problems, options.get("lifetime", usual), "mail_queue.lifetime", "d", _LONGEST),
        "bounce_lifetime": None if bounces is None else _time(problems, bounces, "mail_queue.bounce_lifetime", "d", _LONGEST),
        "warn_after": 0 if warn_after is False else _time(problems, warn_after, "mail_queue.warn_after", "h", _LONGEST * 24),
    }
    if found["warn_after"] >= found["lifetime"] * 24:
        problems.add(f"mail_queue.warn_after {shown(warn_after)} must be below mail_queue.lifetime "
                     f"{shown(options.get('lifetime', usual))}: mail is returned by then")
    return found


def _time(problems: Problems, value: Any, where: str, unit: str, most: int) -> int:
    """Return a time in hours or days; the least in place of another value."""
    match = re.fullmatch(r"([0-9]{1,5})([hd])", value, re.ASCII) if isinstance(value, str) else None
    hours = int(match[1]) * _HOURS[match[2]] if match else 0
    if hours % _HOURS[unit] or not 1 <= hours // _HOURS[unit] <= most:
        words = {"h": f"'4h' or '1d': 1h to {most // 24}d; false for never", "d": f"'5d' or '120h': whole days, 1d to {most}d"}[unit]
        problems.add(f"{where} {shown(value)} must be a time such as {words}")
        return 1
    return hours // _HOURS[unit]
