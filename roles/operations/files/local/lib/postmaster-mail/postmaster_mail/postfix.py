# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Postfix logs (3.5 to 3.11), and what ``postqueue -j`` prints. Pure functions."""

from __future__ import annotations

import json
import re
from typing import Any

from postmaster_mail.events import ADDRESS, Event, unquoted
from postmaster_mail.logs import Line
from postmaster_mail.waiting import Waiting

#: Long queue ids have no vowels, short ones are hexadecimal: no word is one.
QUEUE_ID = r"(?:[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]+|[0-9A-F]{6,20})"
_CLIENT = r"(?P<name>[^\s\[\]]+)\[(?P<address>[0-9a-fA-F.:]+|unknown)\]"

_CONNECT = re.compile(rf"connect from {_CLIENT}")
_ENCRYPTED = re.compile(rf"\S+ TLS connection established from {_CLIENT}: (?P<protocol>\S+) with cipher ")
_LOST = re.compile(
    rf"(?:NOQUEUE: |{QUEUE_ID}: )?(?P<how>lost connection|timeout|too many errors) after (?P<after>\S+)(?: \(.*\))? from {_CLIENT}"
)
_LOGIN_FAILED = re.compile(rf"warning: {_CLIENT}: SASL \S+ authentication failed: .*?(?:, sasl_username=(?P<user>.*))?")
_ACCEPTED = re.compile(
    rf"(?P<queue>{QUEUE_ID}): client={_CLIENT}(?:, orig_queue_id=\S+)?(?:, orig_client=\S+)?"
    r"(?:, sasl_method=[^\s,]+, sasl_username=(?P<user>\S+))?.*"
)
_REFUSED = re.compile(
    rf"(?:NOQUEUE|(?P<queue>{QUEUE_ID})): (?P<kind>reject|milter-reject|discard|hold|milter-hold): (?P<command>[A-Z-]+) "
    rf"from {_CLIENT}: (?P<rest>.*)"
)
_BY_CONTENT = re.compile(rf"{QUEUE_ID}: (?P<kind>reject|discard|hold): (?P<reply>(?:mime-|nested-)?(?:header|body) .*)")
#: Where the text of a refusal ends. What comes before may quote the client, what comes behind is the client's greeting.
_TAIL = re.compile(
    rf";(?: from=<(?P<sender>{ADDRESS})>)?(?: to=<(?P<recipient>{ADDRESS})>)? proto=E?SMTP(?: helo=<(?P<helo>.*?)>)?"
    r"(?: sasl_method=\S+ sasl_username=(?P<user>\S+))?\Z"
)
_FROM = re.compile(rf"from=<(?P<sender>{ADDRESS})>, size=(?P<size>[0-9]+), nrcpt=(?P<recipients>[0-9]+) \(queue active\)")
_EXPIRED = re.compile(rf"from=<{ADDRESS}>, status=expired, returned to sender|from=<{ADDRESS}>, status=force-expired, returned to sender")
_PICKUP = re.compile(r"uid=(?P<uid>[0-9]+) from=<(?P<sender>.*)>")
_NOTICE = re.compile(
    rf"(?:sender|postmaster) (?P<about>non-delivery|delay|delivery status) notification(?: \(.*\))?: (?P<next>{QUEUE_ID})"
)
_DELIVERY = re.compile(
    rf"to=<(?P<recipient>{ADDRESS})>, (?:orig_to=<(?P<original>{ADDRESS})>, )?relay=(?P<relay>[^,\s]+), (?:conn_use=[0-9]+, )?"
    r"delay=(?P<delay>[0-9.e+-]+), delays=[0-9.e+/-]+, dsn=(?P<code>[0-9.]+), status=(?P<status>[a-z]+)(?: \((?P<reply>.*)\))?"
)
_ATTEMPT = re.compile(r"host (?P<host>\S+) (?:said: (?P<reply>.*)|refused to talk to me: (?P<greeting>.*))")
_HERE = re.compile(rf"250 2\.0\.0 Ok: queued as (?P<queued>{QUEUE_ID})|forwarded as (?P<forwarded>{QUEUE_ID})")
_SAVED = re.compile(rf"250 2\.0\.0 <{ADDRESS}> (?P<lmtp>\S+) Saved")
_STATES = {
    "removed": "removed",
    "removed (canceled)": "cancelled",
    "placed on hold": "held",
    "released from hold": "released",
    "requeued": "requeued",
    "expired": "expired",
}
_MESSAGE = re.compile(rf"(?P<queue>{QUEUE_ID}): (?P<rest>.*)", re.DOTALL)


def event(line: Line) -> Event | None:
    """Return what a line of Postfix reports, or None."""
    parts = line.program.split("/")
    agent = parts[-1]
    session = f"{line.program}[{line.pid}]"
    if agent == "smtpd":
        return _smtpd(line, session, parts[1] if len(parts) > 2 else "smtp")
    match = _MESSAGE.fullmatch(line.text)
    if not match:
        return None
    queue, rest = match["queue"], match["rest"]
    if agent == "cleanup":
        return _cleanup(line, queue, rest)

    def made(kind: str, **data: Any) -> Event:
        return Event(line.time, kind, "", queue, data)

    if rest in _STATES:
        return made("state", state=_STATES[rest])
    if found := _DELIVERY.fullmatch(rest):
        return made("delivery", **_delivery(found))
    if found := _FROM.fullmatch(rest):
        return made("queued", sender=found["sender"], size=int(found["size"]), recipients=int(found["recipients"]))
    if found := _NOTICE.fullmatch(rest):
        return made("notice", about=found["about"].partition(" ")[0], next=found["next"])
    if found := _PICKUP.fullmatch(rest):
        return made("accepted", uid=int(found["uid"]), name="", address="", user="", service="sendmail")
    if _EXPIRED.fullmatch(rest):
        return made("state", state="expired")
    if found := _ATTEMPT.fullmatch(rest):
        return made("attempt", host=found["host"], reply=found["reply"] or found["greeting"])
    return None


def _smtpd(line: Line, session: str, service: str) -> Event | None:
    text = line.text
    if found := _CONNECT.fullmatch(text):
        return Event(line.time, "connected", session, "", {"name": found["name"], "address": found["address"], "service": service})
    if found := _ENCRYPTED.match(text):
        return Event(line.time, "encrypted", session, "", {"protocol": found["protocol"]})
    if found := _ACCEPTED.fullmatch(text):
        data = {"name": found["name"], "address": found["address"], "user": found["user"] or "", "uid": None, "service": service}
        return Event(line.time, "accepted", session, found["queue"], data)
    if found := _REFUSED.fullmatch(text):
        return Event(line.time, "refused", session, found["queue"] or "", _refusal(found))
    if text.startswith("disconnect from "):
        return Event(line.time, "disconnected", session, "", {})
    if found := _LOST.fullmatch(text):
        return Event(line.time, "lost", session, "", {"how": found["how"], "after": found["after"]})
    if found := _LOGIN_FAILED.fullmatch(text):
        data = {"user": found["user"] or "", "name": found["name"], "address": found["address"]}
        return Event(line.time, "login-failed", session, "", data)
    return None


def _cleanup(line: Line, queue: str, rest: str) -> Event | None:
    if rest.startswith("message-id="):
        return Event(line.time, "identified", "", queue, {"message_id": rest[len("message-id=") :].strip()})
    if rest in _STATES:
        return Event(line.time, "state", "", queue, {"state": _STATES[rest]})
    if found := _REFUSED.fullmatch(line.text):
        return Event(line.time, "refused", "", queue, _refusal(found))
    if found := _BY_CONTENT.fullmatch(line.text):
        data = {"command": "", "reply": found["reply"], "kind": found["kind"], "sender": "", "recipient": "", "user": ""}
        return Event(line.time, "refused", "", queue, data)
    return None


def _refusal(found: re.Match[str]) -> dict[str, Any]:
    """The reply may quote an address or a greeting of the client's, unquoted, and then it must be the one that the tail has."""
    rest = found["rest"]
    tails = [tail for tail in (_TAIL.match(rest, place.start()) for place in re.finditer(";", rest)) if tail]
    quoting = [tail for tail in tails if rest[: tail.start()].find(">: ") < 0 or _quotes(rest[: tail.start()], tail)]
    tail = (quoting or tails or [None])[0]
    groups: dict[str, str | None] = tail.groupdict() if tail else {}
    return {
        "kind": found["kind"],
        "command": found["command"],
        "reply": rest[: tail.start()] if tail else rest,
        "name": found["name"],
        "address": found["address"],
        "sender": groups.get("sender") or "",
        "recipient": groups.get("recipient") or "",
        "user": groups.get("user") or "",
    }


def _quotes(reply: str, tail: re.Match[str]) -> bool:
    known = [unquoted(tail["recipient"] or ""), unquoted(tail["sender"] or ""), tail["helo"] or ""]
    quoted = re.match(r"[0-9]{3} [0-9.]+ <", reply)
    return not quoted or any(reply[quoted.end() :].startswith(f"{text}>: ") for text in known)


def _delivery(found: re.Match[str]) -> dict[str, Any]:
    reply = found["reply"] or ""
    # Only what goes through a socket of Postfix's own, or by local(8), goes on here: another server may name any queue id.
    here = _HERE.fullmatch(reply) if "[private/" in found["relay"] or found["relay"] == "local" else None
    saved = _SAVED.fullmatch(reply)
    return {
        "recipient": found["recipient"],
        "original": found["original"] or "",
        "relay": found["relay"],
        "code": found["code"],
        "status": found["status"],
        "reply": reply,
        "next": (here["queued"] or here["forwarded"]) if here else "",
        "lmtp": saved["lmtp"] if saved and "[/" in found["relay"] else "",
        "delay": float(found["delay"]),
    }


def waiting(listing: str) -> list[Waiting]:
    """Return what ``postqueue -j`` prints.

    :raises ValueError: another text
    """
    found = []
    for line in listing.splitlines():
        message = json.loads(line)
        recipients = tuple((str(one["address"]), str(one.get("delay_reason", ""))) for one in message["recipients"])
        state = {"hold": "held", "active": "active"}.get(message["queue_name"], "waiting")
        found.append(Waiting(str(message["queue_id"]), str(message["sender"]).replace("MAILER-DAEMON", ""), recipients,
                             int(message["arrival_time"]), int(message["message_size"]), state))  # fmt: skip
    return found
