# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""To how many recipients accounts may send, what counts, and who has reached that (postmaster-mail-limits.lua). Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from postmaster_mail.text import count, moment

_EVENT = re.compile(r"(?P<kind>limit|lock) (?P<account>\S+) (?P<time>[0-9]+) (?P<window>hour|day) (?P<recipients>[0-9]+) (?P<limit>[0-9]+)")
_WITHIN = {"hour": "an hour", "day": "24 hours"}
#: Addresses of log-ins that a notice names.
_ADDRESSES = 20


class Limit(NamedTuple):
    """Recipients within an hour and within a day, and asked for within a day before the account is locked; 0 is no limit."""

    hour: int
    day: int
    lock: int


class Event(NamedTuple):
    """An account has reached a limit (``limit``), or has gone on until it is to be locked (``lock``), at a ``time``: within a ``window``,
    hour or day, it has sent to, or has asked for, so many ``recipients``, of the ``limit``. ``text`` is the event as the filter has it."""

    kind: str
    account: str
    time: float
    window: str
    recipients: int
    limit: int
    text: str


class Used(NamedTuple):
    """Recipients that count for the hour and for the day."""

    hour: int
    day: int


def limits(text: str) -> dict[str, Limit]:
    """Return account to limit, ``*`` being all others, of the map that Rspamd has."""
    found = {}
    for line in text.splitlines():
        one = re.fullmatch(r"([^#\s]\S*) ([0-9]+) ([0-9]+) ([0-9]+)", line)
        if one:
            found[one[1]] = Limit(int(one[2]), int(one[3]), int(one[4]))
    return found


def of(known: Mapping[str, Limit], account: str) -> Limit | None:
    """Return the limit of an account, or None where it is not known."""
    return known.get(account) or known.get("*")


def events(texts: Iterable[str]) -> list[Event]:
    """Return the events that the filter has for the postmaster."""
    found = []
    for text in texts:
        one = _EVENT.fullmatch(text)
        if one:
            numbers = int(one["recipients"]), int(one["limit"])
            found.append(Event(one["kind"], one["account"], float(one["time"]), one["window"], *numbers, text))
    return found


def shown(limit: Limit | None, used: Used | None) -> str:
    """Return what is used of a limit, for a table."""
    if limit is None or used is None:
        return "?"
    parts = [f"{used.hour} of {limit.hour} in 1 h"] if limit.hour else []
    parts.append(f"{used.day} of {limit.day}" if limit.day else f"{used.day}, no limit")
    return ", ".join(parts)


def reached(limit: Mapping[str, int] | None, used: Mapping[str, int] | None) -> bool:
    """Tell whether nothing is left of a limit, as JSON has both."""
    return bool(limit and used and any(limit[window] and used[window] >= limit[window] for window in _WITHIN))


def public(value: Limit | Used | None) -> dict[str, int] | None:
    """Return a limit, or what is used of it, as JSON has it."""
    return value._asdict() if value else None


def notice(found: Sequence[Event], known: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return subject and lines of the message about events, of which there is one at least.

    :param known: account to what the log knows of it, see :class:`accounts.Usage`; where it knows nothing, it is not named
    """
    by_account: dict[str, list[Event]] = {}
    for event in found:
        by_account.setdefault(event.account, []).append(event)
    locked = [account for account, those in by_account.items() if any(one.kind == "lock" for one in those)]
    subject = "is locked for sending" if locked else "has reached its sending limit"
    if len(by_account) > 1:
        subject = f"{count(len(by_account), 'account')} have reached their sending limits"
        subject += f", {len(locked)} of them locked" if locked else ""
    else:
        subject = f"{next(iter(by_account))} {subject}"
    lines: list[str] = []
    for account, those in by_account.items():
        lines += [""] if lines else []
        for event in those:
            recipients = count(event.recipients, "recipient")
            if event.kind == "limit":
                lines.append(f"{moment(event.time)}: {account} has sent to {recipients} within {_WITHIN[event.window]}, of {event.limit} "
                             "that it may. What more it sends is refused for now, with the moment from which on it is taken.")  # fmt: skip
            else:
                lines.append(f"{moment(event.time)}: {account} has asked for {recipients} within {_WITHIN[event.window]}, more than "
                             f"{event.limit}, and is locked for sending until you unlock it. What it had sent and still waits in the queue "
                             "is on hold.")  # fmt: skip
        usage = known.get(account)
        if usage and usage.addresses:
            more = len(usage.addresses) - _ADDRESSES
            lines.append(f"Since yesterday it has logged in from {', '.join(sorted(usage.addresses)[:_ADDRESSES])}"
                         + (f" and {more} more" if more > 0 else ""))  # fmt: skip
    one = next(iter(by_account)) if len(by_account) == 1 else "ADDRESS"
    lines += [
        "",
        "If somebody else sends with its password, freeze it, and follow the page on stolen accounts in docs/operations.md:",
        f"    postmaster-mail lock {one}",
        f"    postmaster-mail accounts {one}",
        "If it was its owner, let it begin anew, and raise its limit in the inventory (mail_users, limit) where it needs more each day:",
        f"    postmaster-mail unlock {one}",
    ]
    return subject, lines
