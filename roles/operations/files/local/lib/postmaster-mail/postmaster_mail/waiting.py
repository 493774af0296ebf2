# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What waits in a queue: chosen, grouped and shown. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from postmaster_mail.text import count, duration, moment, size, table
from postmaster_mail.words import meaning

#: Ages that people think in, in seconds.
_AGES = ((3600, "up to 1 hour"), (4 * 3600, "up to 4 hours"), (86400, "up to 1 day"), (2 * 86400, "up to 2 days"))
_OLDER = "more than 2 days"


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A message in the queue.

    ``recipients`` are those that it waits for, each with the reason, which may be empty; ``arrived`` is in seconds since 1970, ``size`` in
    octets (0 if it is not known); ``state`` is ``waiting``, ``active`` (being delivered) or ``held``.
    """

    id: str
    sender: str
    recipients: tuple[tuple[str, str], ...]
    arrived: int
    size: int
    state: str

    def public(self) -> dict[str, Any]:
        recipients = [{"address": address, "reason": reason} for address, reason in self.recipients]
        return {**dataclasses.asdict(self), "recipients": recipients}


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which messages are meant; what is empty does not matter, but of what is not, all must be true.

    ``ids`` are queue ids, ``sender`` and ``recipient`` an address without case or ``@domain``, ``reason`` a part of the reason, without
    case, ``older`` an age in seconds, and ``held`` whether only what is on hold is meant.
    """

    ids: tuple[str, ...] = ()
    sender: str = ""
    recipient: str = ""
    reason: str = ""
    older: float = 0
    held: bool = False
    everything: bool = False

    @property
    def empty(self) -> bool:
        return self == Choice()

    def of(self, messages: Iterable[Waiting], now: float) -> list[Waiting]:
        """Return those that are meant."""
        return [message for message in messages if self._meant(message, now)]

    def _meant(self, message: Waiting, now: float) -> bool:
        def same(wanted: str, address: str) -> bool:
            return address.lower().endswith(wanted.lower()) if wanted.startswith("@") else address.lower() == wanted.lower()

        return (
            (not self.ids or message.id in self.ids)
            and (not self.sender or same(self.sender, message.sender) or (self.sender == "<>" and not message.sender))
            and (not self.recipient or any(same(self.recipient, address) for address, _reason in message.recipients))
            and (not self.reason or any(self.reason.lower() in f"{why} {plain(why)}".lower() for _address, why in message.recipients))
            and now - message.arrived >= self.older
            and (not self.held or message.state == "held")
        )


def plain(reason: str) -> str:
    """Return a reason in plain words, the same for all messages that wait for it."""
    if not reason:
        return "not tried yet"
    words = meaning("", reason)
    if words:
        return words
    # What differs between messages and hosts is left out.
    said = re.sub(r"<[^<>]*>|\[[^\[\]]*\]", "", re.sub(r"\bhost \S+ said: ", "", reason))
    return " ".join(re.sub(r"[0-9A-Za-z]*[0-9][0-9A-Za-z.:-]*", "", said).split())[:100] or "another reason"


def _why(message: Waiting, reason: str) -> str:
    return "on hold" if message.state == "held" else plain(reason)


def _age(age: float) -> str:
    return next((name for most, name in _AGES if age <= most), _OLDER)


#: How the queue can be grouped: name to a function of a message, one of its recipients, the reason and the time, which returns the group.
GROUPS: dict[str, Callable[[Waiting, str, str, float], str]] = {
    "destination": lambda _message, address, _reason, _now: address.rpartition("@")[2].lower(),
    "age": lambda message, _address, _reason, now: _age(now - message.arrived),
    "reason": lambda message, _address, reason, _now: _why(message, reason),
    "sender": lambda message, _address, _reason, _now: message.sender.lower() or "<>",
}


def grouped(messages: Sequence[Waiting], by: str, now: float) -> list[dict[str, Any]]:
    """Return groups, the largest first, or the youngest: ``name``, ``messages`` (their number), ``held`` (of them), ``size``, ``oldest``
    and ``reason``, the most frequent one.

    :param by: a key of ``GROUPS``
    """
    found: dict[str, dict[str, Waiting]] = {}
    reasons: dict[str, Counter[str]] = {}
    for message in messages:
        for address, reason in message.recipients:
            name = GROUPS[by](message, address, reason, now)
            found.setdefault(name, {})[message.id] = message
            reasons.setdefault(name, Counter())[_why(message, reason)] += 1
    groups: list[dict[str, Any]] = [
        {
            "name": name,
            "messages": len(members),
            "held": sum(message.state == "held" for message in members.values()),
            "size": sum(message.size for message in members.values()),
            "oldest": min(message.arrived for message in members.values()),
            "reason": reasons[name].most_common(1)[0][0],
        }
        for name, members in found.items()
    ]
    ages = [name for _most, name in _AGES]
    return sorted(groups, key=lambda group: (ages.index(group["name"]) if by == "age" and group["name"] in ages else len(ages),
                                             -group["messages"], group["name"]))  # fmt: skip


def overview(messages: Sequence[Waiting], by: str, now: float) -> list[str]:
    """Return lines that show the queue as a whole."""
    if not messages:
        return ["Nothing waits"]
    held = sum(message.state == "held" for message in messages)
    oldest = duration(now - min(message.arrived for message in messages))
    lines = [f"{count(len(messages), 'message')}, {size(sum(message.size for message in messages))}, the oldest {oldest} old"
             + (f", {held} on hold" if held else ""), ""]
    rows = [(group["name"], group["messages"], group["held"] or "", size(group["size"]), duration(now - group["oldest"]), group["reason"])
            for group in grouped(messages, by, now)]
    return lines + table((by.upper(), "MESSAGES", "HELD", "SIZE", "OLDEST", "MOST WAIT BECAUSE"), rows, right=(1, 2, 3, 4))


def listing(messages: Sequence[Waiting], now: float) -> list[str]:
    """Return lines that show each message, the oldest first."""
    lines = []
    for message in sorted(messages, key=lambda one: (one.arrived, one.id)):
        lines.append(f"{message.id}  {moment(message.arrived)} ({duration(now - message.arrived)}), {size(message.size)}, {message.state}, "
                     f"from <{message.sender}>")
        reasons: dict[str, list[str]] = {}
        for address, reason in message.recipients:
            reasons.setdefault(reason, []).append(address)
        for reason, addresses in reasons.items():
            more = f" and {len(addresses) - 5} more" if len(addresses) > 5 else ""
            why = f": {plain(reason)} ({reason})" if reason else ""
            lines.append(f"    to {', '.join(addresses[:5])}{more}{why}")
    return lines or ["Nothing waits"]
