# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened in a day, for a postmaster who reads one message about it. Pure functions."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from postmaster_mail.bans import Ban, named
from postmaster_mail.events import Event
from postmaster_mail.limits import reached
from postmaster_mail.text import count, duration, moment, printable, size, table
from postmaster_mail.waiting import Waiting, grouped, plain

#: Rspamd's actions by which a message is marked, refused for good, and refused for now.
_JUNK, _REFUSED, _LATER = ("add header", "rewrite subject"), ("reject",), ("soft reject",)
#: How much of a disk or mailbox is worth a line, in percent.
NEARLY_FULL = 90


@dataclasses.dataclass
class Counts:
    """What was counted: messages of others that were ``received``, ``junk`` of these, ``refused`` and asked to come ``later`` by the
    filter; messages that users have ``sent``, and deliveries that ``left`` or were ``returned``; ``refusals`` of all daemons by reason;
    log-ins that ``failed``, and ``guesses`` that banned somebody."""

    received: int = 0
    junk: int = 0
    refused: int = 0
    later: int = 0
    sent: int = 0
    left: int = 0
    returned: int = 0
    failed: int = 0
    guesses: int = 0
    refusals: Counter[str] = dataclasses.field(default_factory=Counter)
    #: Messages of other hosts that the MTA began to take, whoever sent them.
    begun: int = 0
    #: Connection to the address of its client, which OpenSMTPD does not say again.
    clients: dict[str, str] = dataclasses.field(default_factory=dict)

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events as they are, and count them."""
        for event in events:
            self._count(event)
            yield event

    def without_filter(self, sent: int) -> None:
        """Have the log of the MTA alone counted, on a host whose filter does not say what was taken.

        :param sent: how many messages all accounts have sent
        """
        self.sent, self.received = sent, max(0, self.begun - sent)

    def _count(self, event: Event) -> None:
        data = event.data
        if event.kind == "filtered" and data["user"]:
            self.sent += data["action"] not in (*_REFUSED, *_LATER)
        elif event.kind == "filtered" and _from_outside(data["address"]):
            self.received += data["action"] not in (*_REFUSED, *_LATER)
            self.junk += data["action"] in _JUNK
            self.refused += data["action"] in _REFUSED
            self.later += data["action"] in _LATER
        elif event.kind == "connected":
            self.clients[event.session] = data["address"]
        elif event.kind == "disconnected":
            self.clients.pop(event.session, None)
        elif event.kind == "accepted":
            self.begun += _from_outside(data.get("address") or self.clients.get(event.session, ""))
        elif event.kind == "delivery" and not data["next"]:
            self.left += data["status"] == "sent" and not data["lmtp"] and not data["relay"].startswith("/")
            self.returned += data["status"] in ("bounced", "expired")
        elif event.kind == "refused":
            self.refusals[plain(data["reply"])] += 1
        elif event.kind == "login-failed":
            self.failed += 1
        elif event.kind == "guesses":
            self.guesses += 1


def _from_outside(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def public(counts: Counts) -> dict[str, Any]:
    """Return the counts as JSON has them."""
    found = {**dataclasses.asdict(counts), "refusals": dict(counts.refusals.most_common())}
    return {name: value for name, value in found.items() if name not in ("begun", "clients")}


def lines(
    counts: Counts, since: float, now: float, waiting: Sequence[Waiting], accounts: Sequence[Mapping[str, Any]], bans: Sequence[Ban],
    locked: Mapping[str, str], disks: Mapping[str, tuple[int, int]],
) -> list[str]:  # fmt: skip
    """Return the day in lines: first what may need somebody, then the figures.

    :param accounts: as :func:`accounts.public` has them, those that sent most first
    :param locked: account to level
    :param disks: directory to octets of its file system, and those of them that are free
    """
    needs = []
    for path, (total, free) in sorted(disks.items()):
        if total and 100 * (total - free) >= NEARLY_FULL * total:
            needs.append(f"{path} is nearly full: {size(free)} of {size(total)} are free")
    for group in grouped(waiting, "destination", now):
        if now - group["oldest"] > 4 * 3600 and group["name"]:
            messages = count(group["messages"], "message")
            needs.append(f"mail to {group['name']} waits since {moment(group['oldest'])}, {messages}: {group['reason']}")
    for one in accounts:
        if one["quota"] and (one["used"] or 0) * 100 >= NEARLY_FULL * one["quota"]:
            needs.append(f"{one['account']}'s mailbox is nearly full: {size(one['used'])} of {size(one['quota'])}")
        if reached(one["limit"], one["counted"]):
            needs.append(f"{one['account']} has reached its sending limit: {one['counted']['day']} recipients within a day")
    needs += [f"{account} is locked ({level})" for account, level in sorted(locked.items())]
    held = [message for message in waiting if message.state == "held"]
    needs += [f"{count(len(held), 'message is', 'messages are')} on hold in the queue"] if held else []
    found = [f"From {moment(since)} to {moment(now)}", ""]
    found += ["To look at:", *(f"- {printable(need, 200)}" for need in needs)] if needs else ["Nothing to look at."]
    oldest = f", the oldest {duration(now - min(message.arrived for message in waiting))} old" if waiting else ""
    rows = [
        ("received from others", counts.received, f"{counts.junk} of them junk"),
        ("refused by the filter", counts.refused, f"{counts.later} more were asked to come again"),
        ("sent by users", counts.sent, ""),
        ("gone to other servers", counts.left, f"{counts.returned} returned to their senders"),
        ("in the queue", len(waiting), oldest.removeprefix(", ")),
        ("failed log-ins", counts.failed, f"{count(len(bans), 'address is', 'addresses are')} banned"),
    ]
    found += ["", *(f"{number:>8}  {what}{', ' + more if more else ''}" for what, number, more in rows)]
    if counts.refusals:
        found += ["", "Most was refused because"]
        found += [f"{number:>8}  {printable(reason, 120)}" for reason, number in counts.refusals.most_common(5)]
    senders = [one for one in accounts if one["sent"]][:5]
    if senders:
        found += ["", "Who sent most", *table(("ACCOUNT", "MESSAGES", "RECIPIENTS", "REFUSED"),
                  [(one["account"], one["sent"], one["recipients"], one["refused"]) for one in senders], right=(1, 2, 3))]  # fmt: skip
    if bans:
        unknown = "for a reason that the log does not have"
        found += ["", "Who is banned", *(f"{named(ban.network)}: {printable(ban.why or unknown, 200)}" for ban in bans)]
    return found
