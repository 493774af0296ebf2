# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rspamd's controller, through the socket of those who may teach it: what its symbols mean, what it thinks of a message, and learning."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from postmaster_mail.limits import Used
from postmaster_mail.text import Failure, printable

#: Seconds that a scan may take; what asks other hosts takes some.
_PATIENCE = 90

#: What Rspamd answers to a message that it has learnt, or knew to be of that kind.
_LEARNT, _KNOWN = (200, 204), (208,)


class _Connection(http.client.HTTPConnection):
    """HTTP through a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _ask(path: str, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    """Return status and answer, JSON where it is some.

    :raises Failure: Rspamd does not answer
    """
    connection = _Connection(path)
    try:
        connection.request(method, url, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as exc:
        raise Failure(f"Rspamd does not answer at {path}: {exc}") from exc
    finally:
        connection.close()
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, text.decode("utf-8", "replace")


def descriptions(path: str) -> dict[str, str]:
    """Return symbol → what it means, in Rspamd's words.

    :param path: the controller's socket
    :raises Failure: it does not answer
    """
    status, groups = _ask(path, "GET", "/symbols")
    if status != 200 or not isinstance(groups, list):
        raise Failure(f"Rspamd answers {status} when it is asked for its symbols: {printable(groups, 200)}")
    rules = [rule for group in groups if isinstance(group, dict) for rule in group.get("rules") or [] if isinstance(rule, dict)]
    return {str(rule["symbol"]): str(rule.get("description") or "") for rule in rules if "symbol" in rule}


def scan(path: str, message: bytes) -> dict[str, Any]:
    """Return the verdict on a message, as :func:`rspamd.event` has them. Where it came from is not known to Rspamd.

    :raises Failure: Rspamd does not answer, or not with a verdict
    """
    status, found = _ask(path, "POST", "/checkv2", message, {"Content-Type": "message/rfc822"})
    if status != 200 or not isinstance(found, dict) or not isinstance(found.get("symbols"), dict):
        raise Failure(f"Rspamd answers {status} when it is asked about a message: {printable(found, 200)}")
    limits = found.get("thresholds") or {}
    symbols = [(str(name), float(one.get("score") or 0), [str(option) for option in one.get("options") or []])
               for name, one in found["symbols"].items()]  # fmt: skip
    message_id = found.get("message-id", "undef")
    return {
        "message_id": f"<{message_id}>" if message_id != "undef" else "",
        "action": str(found.get("action", "")),
        "reply": str((found.get("messages") or {}).get("smtp_message", "")),
        "score": float(found.get("score") or 0),
        "reject": float(limits.get("reject") or found.get("required_score") or 0),
        "junk": float(limits.get("add header") or 0),
        "greylist": float(limits.get("greylist") or 0),
        "symbols": sorted((one for one in symbols if one[1]), key=lambda one: (-abs(one[1]), one[0])),
        "others": sorted(name for name, score, _options in symbols if not score),
    }


def limits(path: str) -> tuple[dict[str, Used], list[str]]:
    """Return account to what counts for its limits, of those of which something does, and the events that nobody has reported yet.

    :raises Failure: Rspamd, or its store, does not answer
    """
    found = _limits(path, "limits")
    counted, events = found.get("counted"), found.get("events")
    # UCL writes an empty list as an empty object.
    rows, texts = (value if isinstance(value, list) else [] for value in (counted, events))
    try:
        used = {str(name): Used(int(hour), int(day)) for name, hour, day in zip(rows[::3], rows[1::3], rows[2::3])}
    except ValueError as exc:
        raise Failure(f"Rspamd's answer about limits is not understood: {printable(exc, 200)}") from exc
    return used, [str(text) for text in texts]


def forget_sent(path: str, account: str) -> None:
    """Have nothing count of what an account has sent.

    :raises Failure: Rspamd, or its store, does not answer
    """
    _limits(path, "limits_reset", {"Account": account})


def forget_event(path: str, event: str) -> None:
    """Take an event from those that nobody has reported.

    :raises Failure: Rspamd, or its store, does not answer
    """
    _limits(path, "limits_done", {"Event": event})


def _limits(path: str, name: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    # It takes no empty question.
    status, answer = _ask(path, "POST", f"/plugins/postmaster_mail/{name}", b"?", headers)
    if status != 200 or not isinstance(answer, dict):
        raise Failure(f"Rspamd answers {status} when it is asked about limits: {printable(answer, 200)}")
    return answer


def learn(path: str, kind: str, message: bytes) -> str:
    """Teach a message; return ``learnt`` or ``known``.

    :param kind: ``spam`` or ``ham``
    :raises Failure: Rspamd does not learn it, with its reason
    """
    status, answer = _ask(path, "POST", f"/learn{kind}", message, {"Content-Type": "message/rfc822"})
    if status in _LEARNT:
        return "learnt"
    if status in _KNOWN:
        return "known"
    reason = answer.get("error") if isinstance(answer, dict) else answer
    raise Failure(f"Rspamd answers {status}: {printable(reason, 200)}")
