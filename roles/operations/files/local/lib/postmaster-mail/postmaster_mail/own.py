# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this program itself logs of what it has done. Pure functions."""

from __future__ import annotations

import re

from postmaster_mail.events import Event
from postmaster_mail.logs import Line

_QUEUE = re.compile(r"queue: (?P<queue>[0-9A-Za-z]{6,20}) is (?P<state>on hold|released|deleted) \(by (?P<by>[^()]*)\)")


def event(line: Line) -> Event | None:
    """Return what a line reports, or None."""
    found = _QUEUE.fullmatch(line.text)
    if not found:
        return None
    state = {"on hold": "held", "released": "released", "deleted": "deleted"}[found["state"]]
    return Event(line.time, "state", "", found["queue"], {"state": state, "by": found["by"]})
