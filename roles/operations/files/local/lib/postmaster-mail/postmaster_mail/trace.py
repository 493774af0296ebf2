# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way of a message through this host: what several daemons report, joined. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from postmaster_mail import bans, dovecot, opensmtpd, own, postfix, rspamd
from postmaster_mail.events import Event
from postmaster_mail.logs import Line
from postmaster_mail.text import Failure, count, duration, moment, printable, size
from postmaster_mail.words import meaning

_PARSERS: dict[str, Callable[[Line], Event | None]] = {
    "postfix": postfix.event,
    "smtpd": opensmtpd.event,
    "rspamd": rspamd.event,
    "dovecot": dovecot.event,
    "dovecot-learn": dovecot.event,
    "send-for-script": dovecot.event,
    "postmaster-mail": own.event,
    "postmaster-mail-login-guard": bans.event,
}

#: What Dovecot does with a message, in words.
_MAILBOX = {
    "stored": ("deliver", "{user}: stored in the folder {target}"),
    "forwarded": ("script", "{user}'s Sieve script redirects it to {target}"),
    "vacation": ("script", "{user}'s Sieve script answers {target}"),
    "notified": ("script", "{user}'s Sieve script notifies {target}"),
    "discarded": ("discard", "{user}'s Sieve script discards it"),
    "failed": ("fail", "{user}: {target}"),
}
_NOTICES = {
    "non-delivery": "the sender is told that it cannot be delivered",
    "delay": "the sender is told that it waits",
    "delivery": "the sender is told that it was delivered",
}
#: At the end of an address that goes on to another server, as Postfix has it here.
_FORWARDED = ".srs.invalid"
#: What Rspamd's actions are for a message.
ACTIONS = {
    "no action": "passes",
    "greylist": "is greylisted",
    "add header": "is marked as junk",
    "rewrite subject": "is marked as junk in its subject",
    "soft reject": "is refused for now",
    "reject": "is refused",
}
_OUTCOMES = {"delivered": "delivered to", "sent": "sent to", "scripted": "handled by the Sieve script of"}
#: States after which a message is not in the queue any more.
_ENDS = ("removed", "cancelled", "deleted")
_STATES = {
    "expired": ("expire", "it waited for too long, and nobody tries any more"),
    "held": ("hold", "put on hold until it is released"),
    "released": ("release", "released from hold"),
    "requeued": ("requeue", "queued anew"),
    "cancelled": ("cancel", "not accepted: nothing of it is kept"),
    "deleted": ("delete", "deleted from the queue"),
}


@dataclasses.dataclass
class Selector:
    """What is looked for: exactly one or two of an address, without case, a Message-ID and a queue id are not empty."""

    address: str = ""
    message_id: str = ""
    queue: str = ""

    @classmethod
    def of(cls, text: str) -> Selector:
        """Return what somebody asks for. What has an @ and no angle brackets may be an address and a Message-ID.

        :raises Failure: it is neither an address, nor a Message-ID, nor a queue id
        """
        plain = text.strip()
        if re.fullmatch(r"<[^<>]+>", plain):
            return cls(message_id=plain)
        if re.fullmatch(rf"{postfix.QUEUE_ID}|{opensmtpd.QUEUE_ID}", plain):
            return cls(queue=opensmtpd.message_of(plain))
        if re.fullmatch(r"[^\s<>]*@[^\s<>@]+", plain):
            return cls(address=plain.lower(), message_id=f"<{plain}>")
        raise Failure(
            f"{printable(text, 60)!r} is neither an address (me@example.org, or @example.org for all of a domain), nor a Message-ID, nor a "
            "queue id"
        )

    def is_address(self, address: str) -> bool:
        """Whether an address is meant; a detail behind a plus does not matter where none was asked for."""
        if not self.address or not address:
            return False
        found = address.lower()
        if self.address.startswith("@"):
            return found.endswith(self.address)
        return self.address in (found, re.sub(r"\+[^@]*@", "@", found))

    def meant_by(self, event: Event) -> bool:
        """Whether an event tells by itself that it is about what is looked for."""
        data = event.data
        if self.queue and event.queue == self.queue:
            return True
        if self.message_id and data.get("message_id") == self.message_id:
            return True
        names = [data.get(name) or "" for name in ("sender", "recipient", "original", "user")]
        return any(self.is_address(name) for name in (*names, *data.get("to", ())) if isinstance(name, str))


@dataclasses.dataclass
class Hop:
    """One line of a trace: ``step`` is one word, ``text`` says it, ``why`` gives the reason in plain words."""

    time: float
    queue: str
    step: str
    text: str
    why: str = ""
    times: int = 1
    last: float = 0.0

    def public(self) -> dict[str, Any]:
        return {"time": self.time, "queue_id": self.queue, "step": self.step, "text": self.text, "reason": self.why,
                "times": self.times, "last_time": self.last or self.time}  # fmt: skip


@dataclasses.dataclass
class Connection:
    """What is known of a client at a moment."""

    time: float
    data: dict[str, Any]
    protocol: str = ""
    user: str = ""


@dataclasses.dataclass
class Passage:
    """A message in the queue, from its acceptance on, or what was refused before there was one."""

    queue: str
    time: float
    connection: Connection | None = None
    events: list[Event] = dataclasses.field(default_factory=list)

    def first(self, kind: str) -> dict[str, Any]:
        return next((event.data for event in self.events if event.kind == kind), {})


def events(lines: Iterable[Line]) -> Iterator[Event]:
    """Yield what the lines of all daemons report."""
    for line in lines:
        parse = _PARSERS.get(line.program.partition("/")[0])
        found = parse(line) if parse else None
        if found:
            yield found


def _wanted(read: Callable[[], Iterable[Line]], selector: Selector) -> tuple[set[str], set[str]]:
    """Return the queue ids, and the Message-IDs, of all passages of what is looked for."""
    found: set[str] = set()
    links: dict[str, set[str]] = {}
    ids: dict[str, str] = {}
    for event in events(read()):
        if event.queue and event.data.get("message_id"):
            ids.setdefault(event.queue, event.data["message_id"])
        if event.queue and selector.meant_by(event):
            found.add(event.queue)
        if event.queue and event.data.get("next"):
            links.setdefault(event.queue, set()).add(event.data["next"])
            links.setdefault(event.data["next"], set()).add(event.queue)
    if selector.queue in found and ids.get(selector.queue):
        # The same message may have been tried before, and come by again.
        found |= {queue for queue, message_id in ids.items() if message_id == ids[selector.queue]}
    pending = list(found)
    while pending:
        more = links.get(pending.pop(), set()) - found
        found |= more
        pending += more
    return found, {ids[queue] for queue in found if queue in ids}


def passages(read: Callable[[], Iterable[Line]], selector: Selector) -> tuple[list[Passage], list[Event]]:
    """Return the passages of what is looked for, and what Dovecot did with it.

    :param read: returns the lines of the daemons, oldest first; it is called twice, so that only what is looked for is kept in memory
    """
    queues, ids = _wanted(read, selector)
    found: dict[str, Passage] = {}
    refused: dict[str, Passage] = {}
    connections: dict[str, Connection] = {}
    mailbox: list[Event] = []
    everything: list[Passage] = []
    for event in events(read()):
        if event.session and event.kind in ("connected", "encrypted", "login", "disconnected"):
            _connection(connections, event)
            if event.kind == "disconnected":
                refused.pop(event.session, None)
            continue
        if event.kind in ("mailbox", "script"):
            if selector.meant_by(event) or event.data.get("message_id") in ids or selector.is_address(event.data.get("to") or ""):
                mailbox.append(event)
            continue
        if event.queue in queues:
            passage = found.get(event.queue)
            if passage is None:
                passage = found[event.queue] = Passage(event.queue, event.time)
                everything.append(passage)
            passage.connection = passage.connection or connections.get(event.session)
            passage.events.append(event)
        elif not event.queue and event.kind in ("refused", "login-failed") and selector.meant_by(event):
            passage = refused.get(event.session)
            if passage is None:
                passage = refused[event.session] = Passage("", event.time, connections.get(event.session))
                everything.append(passage)
            passage.events.append(event)
    return everything, mailbox


def _connection(connections: dict[str, Connection], event: Event) -> None:
    if event.kind == "connected":
        connections[event.session] = Connection(event.time, event.data)
    elif event.kind == "disconnected":
        connections.pop(event.session, None)
    elif event.session in connections:
        # Whoever holds it as it was keeps that.
        known = connections[event.session]
        connections[event.session] = dataclasses.replace(
            known, protocol=event.data.get("protocol", known.protocol), user=event.data.get("user", known.user)
        )


def _by(code_or_reply: str) -> str:
    return f"“{printable(code_or_reply, 300)}”"


def _client(passage: Passage) -> str:
    accepted = passage.first("accepted") or passage.first("refused") or passage.first("login-failed")
    if accepted.get("uid") is not None:
        return f"from a program of this host, run by {'root' if accepted['uid'] == 0 else 'the account ' + str(accepted['uid'])}"
    filtered = passage.first("filtered")
    known = passage.connection.data if passage.connection else {}
    name = known.get("name") or accepted.get("name") or ""
    address = known.get("address") or accepted.get("address") or filtered.get("address") or ""
    user = accepted.get("user") or (passage.connection.user if passage.connection else "") or filtered.get("user") or ""
    if not name and not address:
        return "written by this host itself"
    if address == "local":
        return "from a program of this host"
    service = known.get("service") or accepted.get("service") or ""
    parts = [f"from {name} [{address}]".replace("  ", " ") if address else f"from {name}"]
    parts += [f"logged in as {user}"] if user else []
    parts += [f"at {service}"] if service else []
    if passage.connection:
        parts.append(passage.connection.protocol or "not encrypted")
    return ", ".join(parts)


def hops(passage: Passage) -> Iterator[Hop]:
    """Yield the hops of a passage, those of a message that is tried again and again as one."""
    began = passage.connection.time if passage.connection else passage.time
    yield Hop(began, passage.queue, "connect", _client(passage))
    # smtpd tells of it in two lines.
    envelope = passage.first("queued") or {**passage.first("envelope"), **passage.first("accepted")}
    if envelope.get("size") is not None and "sender" in envelope:
        of = f"from <{envelope['sender']}> to {count(envelope['recipients'], 'recipient')}, {size(envelope['size'])}"
        yield Hop(passage.time, passage.queue, "accept", of + _identity(passage))
    tries: dict[tuple[str, ...], Hop] = {}
    # Who did it is known from what this program logs; postsuper(1) reports it once more.
    mine = {event.data["state"]: event.time for event in passage.events if event.data.get("by")}
    for event in passage.events:
        state = event.data.get("state", "")
        if state in mine and not event.data.get("by") and abs(event.time - mine[state]) < 60:
            continue
        if state == "cancelled" and passage.first("refused"):
            continue
        for hop in _hops_of(event):
            key = (hop.step, hop.text, hop.why)
            if hop.step == "defer" and key in tries:
                tries[key].times += 1
                tries[key].last = event.time
                continue
            tries[key] = hop
            yield hop


def _identity(passage: Passage) -> str:
    message_id = passage.first("identified").get("message_id") or passage.first("filtered").get("message_id") or ""
    return f", Message-ID {message_id}" if message_id else ""


def _hops_of(event: Event) -> Iterator[Hop]:
    data = event.data
    at = (event.time, event.queue)
    if event.kind == "filtered":
        yield Hop(*at, "filter", verdict(data), meaning("", data["reply"]) if data["reply"] else "")
    elif event.kind == "refused":
        step = {"hold": "hold", "milter-hold": "hold", "discard": "discard"}.get(data.get("kind", ""), "refuse")
        of = f"<{data['sender']}>" if data["sender"] or data["recipient"] else ""
        whom = f"<{data['recipient']}>: " if data["recipient"] else f"{of}: " if of else ""
        yield Hop(*at, step, whom + _by(data["reply"]), meaning("", data["reply"]))
    elif event.kind == "login-failed":
        yield Hop(*at, "login", f"a log-in as {data['user'] or 'nobody'} failed")
    elif event.kind == "attempt":
        yield Hop(*at, "attempt", f"{data['host']}: {_by(data['reply'])}", meaning("", data["reply"]))
    elif event.kind == "delivery":
        yield _delivery(event)
    elif event.kind == "notice":
        yield Hop(*at, "notice", f"{_NOTICES.get(data['about'], 'the sender is told')}, by {data['next']}")
    elif event.kind == "state" and data["state"] in _STATES:
        step, text = _STATES[data["state"]]
        yield Hop(*at, step, text + (f", by {data['by']}" if data.get("by") else ""))


def _delivery(event: Event) -> Hop:
    data = event.data
    reply, original = data["reply"], data["original"]
    # What the role postfix marks is forwarded: nobody has such an address.
    whom = data["recipient"].removesuffix(_FORWARDED)
    whom += f" (as {original})" if original and not original.endswith(_FORWARDED) else ""
    if data["status"] == "sent" and data["next"]:
        return Hop(event.time, event.queue, "forward", f"{whom}: goes on as {data['next']}")
    if data["status"] == "sent" and data["lmtp"]:
        return Hop(event.time, event.queue, "deliver", f"{whom}: handed to the mailbox server")
    step = {"sent": "send", "deferred": "defer", "bounced": "bounce", "expired": "expire"}.get(data["status"], data["status"])
    by = "" if data["relay"] in ("none", "", "local") else f" by {data['relay']}"
    took = f" after {duration(data['delay'])}" if data["status"] == "sent" and data["delay"] >= 60 else ""
    why = meaning(data["code"], reply) if data["status"] != "sent" else ""
    return Hop(event.time, event.queue, step, f"{whom}{by}{took}: {_by(reply)}", why)


def verdict(data: dict[str, Any]) -> str:
    """Return the filter's verdict in one line: what it does, the score, and what weighed most."""
    heavy = ", ".join(f"{name} {score:+.1f}" for name, score, _options in data["symbols"][:4])
    of = f" of {data['reject']:g}" if data["reject"] else ""
    said = f" {_by(data['reply'])}" if data["reply"] else ""
    return f"{ACTIONS.get(data['action'], data['action'])}{said}, score {data['score']:g}{of}" + (f": {heavy}" if heavy else "")


@dataclasses.dataclass
class Message:
    """All that belongs together: the passages of one message, those that it went on as here, and notices about it."""

    passages: list[Passage]
    mailbox: list[Event]

    def hops(self) -> list[Hop]:
        """Return all hops in the order of time."""
        reported = {event.data["user"] for event in self.mailbox if event.kind == "mailbox"}
        found = []
        for passage in self.passages:
            # Dovecot reports itself what it did with what it was handed.
            rest = [event for event in passage.events if not (event.data.get("lmtp") and _bare(event.data["recipient"]) in reported)]
            found += list(hops(dataclasses.replace(passage, events=rest)))
        found += [_of_mailbox(event) for event in self.mailbox]
        return sorted(found, key=lambda hop: hop.time)

    @property
    def message_id(self) -> str:
        return next((event.data["message_id"] for passage in self.passages for event in passage.events if event.data.get("message_id")), "")

    @property
    def sender(self) -> str | None:
        """The envelope sender; None if it was not seen."""
        for passage in self.passages:
            for event in passage.events:
                if event.kind in ("queued", "filtered", "refused", "envelope"):
                    return str(event.data["sender"])
        return None

    def outcomes(self) -> dict[str, str]:
        """Return recipient → what came of it: delivered, scripted (a Sieve script has disposed of it), sent, deferred, bounced, expired,
        refused, or waiting."""
        found: dict[str, str] = {}
        for passage in self.passages:
            # smtpd removes what is held, and takes it up again when it is released.
            states = [event.data["state"] for event in passage.events if event.kind == "state"]
            over = bool(states) and states[-1] in _ENDS
            accepted = passage.first("queued") or passage.first("envelope")
            for event in passage.events:
                data = event.data
                if event.kind == "filtered":
                    outcome = "refused" if not accepted else "" if over else "waiting"
                    found.update((recipient, outcome) for recipient in data["to"] if outcome and recipient not in found)
                elif event.kind == "envelope" and not over:
                    found.setdefault(data["recipient"], "waiting")
                elif event.kind == "refused" and data.get("kind") in ("reject", "milter-reject") and data["recipient"]:
                    found[data["recipient"]] = "refused"
                elif event.kind == "delivery" and not data["next"]:
                    local = data["lmtp"] or data["relay"].startswith("/")
                    found.pop(data["original"], None)
                    found[data["recipient"]] = self._kept(data["recipient"]) if data["status"] == "sent" and local else data["status"]
                elif event.kind == "delivery":
                    found.pop(data["original"], None)
        return found

    def _kept(self, recipient: str) -> str:
        actions = {event.data["action"] for event in self.mailbox if event.kind == "mailbox" and event.data["user"] == _bare(recipient)}
        return "delivered" if not actions or "stored" in actions else "scripted"


def _of_mailbox(event: Event) -> Hop:
    data = event.data
    if event.kind == "script":
        whose = f"{data['user']}'s Sieve script to {data['to']}" if data["to"] else str(data["user"])
        return Hop(event.time, "", "script", f"{whose}: {data['what']}: {_by(data['reason'])}", meaning("", data["reason"]))
    step, text = _MAILBOX[data["action"]]
    return Hop(event.time, "", step, text.format(user=data["user"], target=printable(data["target"], 200)))


def messages(found: list[Passage], mailbox: list[Event]) -> list[Message]:
    """Return what belongs together, in the order of time."""
    groups: list[Message] = []
    by_key: dict[str, Message] = {}
    for passage in found:
        keys = _keys(passage)
        known = next((by_key[key] for key in keys if key in by_key), None)
        if known is None:
            known = Message([], [])
            groups.append(known)
        known.passages.append(passage)
        by_key.update(dict.fromkeys(keys, known))
    handed = [(event, by_key[passage.queue]) for passage in found for event in passage.events if event.data.get("lmtp") and passage.queue]
    users: dict[str, Message] = {}
    for event in mailbox:
        if event.kind == "mailbox":
            group = next((message for delivery, message in handed if _same_delivery(event, delivery)), None) or by_key.get(
                event.data["message_id"]
            )
            if group is None:
                group = Message([], [])
                groups.append(group)
                by_key[event.data["message_id"]] = group
            users[event.data["user"]] = group
        else:
            # It is logged while the message is delivered.
            group = users.get(event.data["user"])
            if group is None or event.time - max(one.time for one in group.mailbox) > 300:
                group = Message([], [])
                groups.append(group)
        group.mailbox.append(event)
    return sorted(groups, key=lambda group: group.hops()[0].time)


def _bare(address: str) -> str:
    return re.sub(r"\+[^@]*@", "@", address.lower())


def _same_delivery(event: Event, delivery: Event) -> bool:
    """Whether Dovecot's report is of what the MTA has handed over. Postfix logs Dovecot's session; smtpd logs no Message-ID either, but
    waits until Dovecot has answered."""
    if event.session == delivery.data["lmtp"]:
        return True
    same = _bare(event.data["user"]) == _bare(delivery.data["recipient"])
    return delivery.data["lmtp"] == opensmtpd.LMTP and same and abs(event.time - delivery.time) < 1


def _keys(passage: Passage) -> list[str]:
    """Return what a passage has in common with others of the same message: its queue id, those that it goes on as, and its Message-ID."""
    keys = [passage.queue] if passage.queue else []
    for event in passage.events:
        keys += [event.data[name] for name in ("next", "message_id") if event.data.get(name)]
    return keys


def report(groups: list[Message]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what was found, as JSON has it, and as lines."""
    public: list[dict[str, Any]] = []
    lines: list[str] = []
    for group in groups:
        steps, outcomes = group.hops(), group.outcomes()
        public.append({
            "message_id": group.message_id,
            "sender": group.sender,
            "recipients": outcomes,
            "hops": [hop.public() for hop in steps],
        })  # fmt: skip
        lines += ([""] if lines else []) + [printable(_head(group, outcomes), 400)]
        lines += [_line(hop) for hop in steps]
    return public, lines


def _head(group: Message, outcomes: dict[str, str]) -> str:
    if not group.passages and not group.message_id and not group.mailbox:
        return "?"
    name = group.message_id or next((event.data["message_id"] for event in group.mailbox if event.kind == "mailbox"), "")
    sender = f" from <{group.sender}>" if group.sender is not None else ""
    by_outcome: dict[str, list[str]] = {}
    for recipient, outcome in outcomes.items():
        by_outcome.setdefault(outcome, []).append(recipient)
    ends = []
    for outcome, recipients in by_outcome.items():
        more = f" and {len(recipients) - 3} more" if len(recipients) > 3 else ""
        ends.append(f"{_OUTCOMES.get(outcome, f'{outcome} for')} {', '.join(recipients[:3])}{more}")
    accepted = next((passage.queue for passage in group.passages if passage.first("accepted")), "")
    what = f"Message {name or accepted}" if name or accepted else "Not accepted" if group.passages else "Mailbox"
    return what + sender + (": " + "; ".join(ends) if ends else "")


def _line(hop: Hop) -> str:
    again = f" ({hop.times} times, last {moment(hop.last)})" if hop.times > 1 else ""
    why = f"  -- {hop.why}" if hop.why else ""
    return f"  {moment(hop.time)}  {hop.step:8} {hop.queue:15}  {hop.text}{again}{why}"
