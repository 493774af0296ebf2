# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter's verdicts, as our own line of JSON in Rspamd's log has them (postmaster-mail-log.lua). Pure functions."""

from __future__ import annotations

import json
import re
from typing import Any

from postmaster_mail.events import Event
from postmaster_mail.logs import Line

#: What Rspamd itself puts before it: the process, the task, the module, and the place in it.
_VERDICT = re.compile(r"(?:\(\S+\) )?<[0-9a-z]+>; lua; postmaster-mail-log\.lua:[0-9]+: verdict (?P<json>\{.*\})")
_TEXTS = ("queue", "id", "ip", "user", "from", "action", "reply")


def event(line: Line) -> Event | None:
    """Return the verdict that a line of Rspamd's is, or None.

    Its data are ``message_id``, ``sender``, ``to`` (recipients, at most so many as the line had room for), ``recipients`` (their number),
    ``user``, ``address``, ``action``, ``reply``, ``score``, ``reject``, ``junk`` and ``greylist`` (the scores from which on that happens, 0
    for never), ``size``, ``symbols`` (those that counted, as (name, score, options)) and ``others`` (names).
    """
    found = _VERDICT.fullmatch(line.text)
    if not found:
        return None
    try:
        given = json.loads(found["json"])
    except ValueError:
        return None
    if not isinstance(given, dict) or any(not isinstance(given.get(name), str) for name in _TEXTS):
        return None
    message_id = given["id"] if given["id"] != "undef" else ""
    return Event(line.time, "filtered", "", given["queue"], {
        "message_id": f"<{message_id}>" if message_id else "",
        "sender": given["from"],
        "to": _strings(given.get("to")),
        "recipients": int(_number(given.get("recipients"))),
        "user": given["user"],
        "address": given["ip"],
        "action": given["action"],
        "reply": given["reply"],
        "score": _number(given.get("score")),
        "reject": _number(given.get("reject")),
        "junk": _number(given.get("junk")),
        "greylist": _number(given.get("greylist")),
        "size": int(_number(given.get("size"))),
        "symbols": [(str(one[0]), _number(one[1]), _strings(one[2]))
                    for one in _list(given.get("symbols")) if isinstance(one, list) and len(one) == 3],
        "others": _strings(given.get("others")),
    })  # fmt: skip


def _list(value: Any) -> list[Any]:
    # UCL writes an empty list as an empty object.
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    return [one for one in _list(value) if isinstance(one, str)]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
