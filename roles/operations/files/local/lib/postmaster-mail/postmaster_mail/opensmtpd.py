# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenSMTPD logs (6.8 to 7.9), and what ``smtpctl show queue`` prints. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from postmaster_mail.events import Event
from postmaster_mail.logs import Line
from postmaster_mail.waiting import Waiting

#: Of a message, or of one of its envelopes, which begins with that of the message.
QUEUE_ID = r"[0-9a-f]{8}(?:[0-9a-f]{8})?"

#: Instead of Dovecot's session, which smtpd does not log.
LMTP = "mda"

#: smtpd takes no other local parts than these (smtpd's util.c, valid_localpart), so an address ends where it seems to.
_ADDRESS = r"[^<>\"\s]*"
_LINE = re.compile(r"(?P<session>[0-9a-f]{16}) (?P<side>smtp|mta|mda) (?P<rest>.*)", re.DOTALL)
_CONNECTED = re.compile(r"connected address=(?P<address>\S+) host=(?P<name>\S*)")
_ENCRYPTED = re.compile(r"(?:tls )?(?:starttls )?ciphers=\"?(?P<protocol>[^:\s]+):.*|tls ciphers=(?P<other>\S+)")
_LOGIN = re.compile(r"authentication user=(?P<user>.*) result=(?P<result>ok|permfail|tempfail)", re.DOTALL)
_MESSAGE = re.compile(r"message msgid=(?P<queue>[0-9a-f]{8}) size=(?P<size>[0-9]+) nrcpt=(?P<recipients>[0-9]+) proto=\S+")
_ENVELOPE = re.compile(rf"envelope evpid=(?P<evpid>[0-9a-f]{{16}}) from=<(?P<sender>{_ADDRESS})> to=<(?P<recipient>{_ADDRESS})>")
#: The command is the client's; what it was answered begins at the last mark.
_FAILED = re.compile(r'failed-command command="(?P<command>.*)" result="(?P<reply>.*)"', re.DOTALL)
_DISCONNECTED = re.compile(r'disconnected reason="?(?P<reason>.*?)"?')
_DELIVERY = re.compile(
    rf"delivery evpid=(?P<evpid>[0-9a-f]{{16}}) from=<{_ADDRESS}> to=<(?P<recipient>{_ADDRESS})> (?:rcpt=<(?P<original>{_ADDRESS})> )?"
    r"(?:user=\S+ |source=\"[^\"]*\" relay=\"(?P<relay>[^\"]*)\" )delay=(?P<delay>[0-9a-z]+) "
    r"result=\"?(?P<result>Ok|TempFail|PermFail|Expire)\"? stat=(?P<stat>.*)",
    re.DOTALL,
)
_QUEUE = re.compile(
    rf"(?:delivery|relay): (?P<prefix>Remove|Expire) for (?P<evpid>[0-9a-f]{{16}}): from=<{_ADDRESS}>, "
    rf"to=<(?P<recipient>{_ADDRESS})>, .*",
    re.DOTALL,
)
_STATUS = {"Ok": "sent", "TempFail": "deferred", "PermFail": "bounced", "Expire": "expired"}
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def message_of(queue_id: str) -> str:
    """Return the id of the message that an envelope belongs to; another id stays."""
    return queue_id[:8] if re.fullmatch(r"[0-9a-f]{16}", queue_id) else queue_id


def event(line: Line) -> Event | None:
    """Return what a line of smtpd reports, or None."""
    match = _LINE.fullmatch(line.text)
    if not match:
        return _of_queue(line)
    session, side, rest = match.groups()
    if side != "smtp":
        found = _DELIVERY.fullmatch(rest)
        return Event(line.time, "delivery", "", found["evpid"][:8], _delivery(found, side)) if found else None

    def made(kind: str, queue: str = "", **data: Any) -> Event:
        return Event(line.time, kind, session, queue, data)

    if found := _CONNECTED.fullmatch(rest):
        return made("connected", name=found["name"].strip("<>"), address=found["address"].strip("[]"), service="")
    if found := _MESSAGE.fullmatch(rest):
        return made("accepted", found["queue"], size=int(found["size"]), recipients=int(found["recipients"]), uid=None, user="")
    if found := _ENVELOPE.fullmatch(rest):
        return made("envelope", found["evpid"][:8], sender=found["sender"], recipient=found["recipient"])
    if found := _ENCRYPTED.fullmatch(rest):
        return made("encrypted", protocol=(found["protocol"] or found["other"]).partition(":")[0])
    if found := _LOGIN.fullmatch(rest):
        return made("login" if found["result"] == "ok" else "login-failed", user=found["user"])
    if found := _FAILED.fullmatch(rest):
        return Event(line.time, "refused", session, "", _refusal(found))
    if _DISCONNECTED.fullmatch(rest):
        return made("disconnected")
    return None


def _of_queue(line: Line) -> Event | None:
    found = _QUEUE.fullmatch(line.text)
    if not found:
        return None
    state = {"Remove": "removed", "Expire": "expired"}[found["prefix"]]
    return Event(line.time, "state", "", found["evpid"][:8], {"state": state, "recipient": found["recipient"]})


def _refusal(found: re.Match[str]) -> dict[str, Any]:
    command = found["command"]
    address = re.match(r"(?:MAIL FROM|RCPT TO): ?<(?P<address>[^<>]*)>", command, re.IGNORECASE)
    what = command.partition(" ")[0].upper()
    return {
        "kind": "reject",
        "command": what,
        "reply": found["reply"],
        "sender": address["address"] if address and what == "MAIL" else "",
        "recipient": address["address"] if address and what == "RCPT" else "",
        "user": "",
    }


def _seconds(text: str) -> float:
    """Return a span as smtpd writes it: ``1d2h3m4s``."""
    return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", text)))


def _delivery(found: re.Match[str], side: str) -> dict[str, Any]:
    stat = found["stat"]
    reply = stat[1:-1] if stat[:1] == '"' == stat[-1:] and len(stat) > 1 else stat
    original = found["original"] or ""
    code = re.match(r"[0-9]{3} ([245]\.[0-9]{1,3}\.[0-9]{1,3})\b", reply)
    return {
        "recipient": found["recipient"],
        "original": original if original not in ("-", found["recipient"]) else "",
        "relay": found["relay"] or "",
        "code": code[1] if code else "",
        "status": _STATUS[found["result"]],
        "reply": reply,
        "next": "",
        # The only agent of delivery here speaks LMTP.
        "lmtp": LMTP if side == "mda" and found["result"] == "Ok" else "",
        "delay": _seconds(found["delay"]),
    }


#: Id, address family, agent, flags, sender, recipient as addressed, recipient after expansion, times of arrival, end and last try, tries,
#: what it does at present, seconds, reason. Local parts may have the separator in them, but no @.
_LISTED = re.compile(
    r"(?P<evpid>[0-9a-f]{16})\|[a-z0-9?]+\|(?P<agent>[a-z?]+)\|(?P<flags>[a-z,]*)\|(?P<sender>[^@]*@[^@|]*)\|(?P<recipient>[^@]*@[^@|]*)\|"
    r"(?P<target>[^@]*@[^@|]*)\|(?P<arrived>[0-9]+)\|[0-9]+\|[0-9]+\|[0-9]+\|(?P<doing>[a-z]+)\|-?[0-9]*\|(?P<reason>.*)"
)


def waiting(listing: str, sizes: Mapping[str, int]) -> list[Waiting]:
    """Return what ``smtpctl show queue`` prints, message by message.

    :param sizes: id of a message to its octets
    :raises ValueError: another text
    """
    found: dict[str, list[dict[str, str]]] = {}
    for line in listing.splitlines():
        match = _LISTED.fullmatch(line)
        if not match:
            raise ValueError(f"unknown line of smtpctl: {line[:80]!r}")
        found.setdefault(match["evpid"][:8], []).append(match.groupdict())
    messages = []
    for number, envelopes in found.items():
        states = ["active" if one["doing"] == "inflight" else "held" if "suspend" in one["flags"] else "waiting" for one in envelopes]
        sender = envelopes[0]["sender"]
        recipients = tuple((_waits_for(one), one["reason"]) for one in envelopes)
        state = next(state for state in ("active", "waiting", "held") if state in states)
        messages.append(Waiting(number, "" if sender == "@" else sender, recipients, min(int(one["arrived"]) for one in envelopes),
                                sizes.get(number, 0), state))  # fmt: skip
    return messages


def _waits_for(envelope: Mapping[str, str]) -> str:
    # A bounce that is not written yet goes to the sender.
    if envelope["agent"] == "bounce":
        return envelope["sender"]
    return envelope["target"] if envelope["target"] != "@" else envelope["recipient"]


def envelope(data: bytes) -> dict[str, str]:
    """Return the fields of an envelope file (smtpd's envelope.c, version 3).

    :raises ValueError: it is encrypted, of another version, or not whole
    """
    fields = dict(line.partition(":")[::2] for line in data.decode("utf-8", "surrogateescape").splitlines())
    fields = {key: value.strip() for key, value in fields.items()}
    if fields.get("version") != "3" or not {"sender", "rcpt", "dest", "ctime"} <= set(fields) or not fields["ctime"].isdigit():
        raise ValueError("it is encrypted, damaged or of another version")
    return fields


def held(number: str, envelopes: Sequence[Mapping[str, str]], octets: int) -> Waiting:
    """Return a message whose envelopes lie aside.

    :param envelopes: as :func:`envelope` returns them
    """
    sender = envelopes[0]["sender"]
    recipients = tuple((one["dest"] if one["dest"] != "@" else one["rcpt"], one.get("errorline", "")) for one in envelopes)
    return Waiting(number, "" if sender == "@" else sender, recipients, min(int(one["ctime"]) for one in envelopes), octets, "held")
