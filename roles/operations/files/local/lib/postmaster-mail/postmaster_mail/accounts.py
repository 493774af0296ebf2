# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The accounts of this server: who they are, what they send, when they logged in. Pure functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from postmaster_mail import limits
from postmaster_mail.events import Event
from postmaster_mail.limits import Limit, Used
from postmaster_mail.text import duration, size, table

#: A user's own quota, as Dovecot 2.3 and 2.4 have it in the passwd-file.
_QUOTA = re.compile(r"\buserdb_quota_(?:rule=\*:bytes=|storage_size=)(?P<octets>[0-9]+)B?\b")

#: How the list of accounts can be sorted.
SORTS = ("sent", "refused", "failed", "login", "name")


@dataclasses.dataclass
class Usage:
    """What an account has done since some time: messages ``sent``, to how many ``recipients``, and ``refused`` of it; ``failed`` log-ins;
    the ``last`` log-in, as time, service and address, and the ``addresses`` of all."""

    sent: int = 0
    recipients: int = 0
    refused: int = 0
    failed: int = 0
    last: tuple[float, str, str] = (0.0, "", "")
    addresses: set[str] = dataclasses.field(default_factory=set)

    def login(self, time: float, service: str, address: str) -> None:
        self.last = max(self.last, (time, service, address))
        if address:
            self.addresses.add(address)


def users(passwd: str) -> dict[str, int]:
    """Return account → its own quota in octets, 0 for none, of a passwd-file of Dovecot's."""
    found = {}
    for line in passwd.splitlines():
        name, _colon, rest = line.partition(":")
        if name and _colon and not name.startswith("#"):
            quota = _QUOTA.search(rest)
            found[name.lower()] = int(quota["octets"]) if quota else 0
    return found


def relays(table: str) -> set[str]:
    """Return the names of the relays of Rspamd's map of hosts that relay."""
    return {line.split()[1] for line in table.splitlines() if not line.startswith("#") and len(line.split()) == 2}


def usage(events: Iterable[Event], known: Iterable[str]) -> dict[str, Usage]:
    """Return account → what it did.

    :param known: the accounts; what others are called is what somebody has tried
    """
    found = {name: Usage() for name in known}
    nobody = Usage()
    sessions: dict[str, tuple[str, str]] = {}
    senders: dict[str, str] = {}

    def of(name: str) -> Usage:
        return found.get(name.lower(), nobody)

    for event in events:
        data = event.data
        if event.kind == "connected":
            sessions[event.session] = ("", data["address"])
        elif event.kind == "disconnected":
            sessions.pop(event.session, None)
        elif event.kind == "login":
            address = sessions.get(event.session, ("", ""))[1]
            sessions[event.session] = (data["user"], address)
            of(data["user"]).login(event.time, "submission", address)
        elif event.kind == "login-failed":
            of(data["user"]).failed += 1
        elif event.kind == "mailbox-login":
            of(data["user"]).login(event.time, data["service"], data["address"])
        elif event.kind == "accepted":
            # Postfix names the user in this line; smtpd's session has logged in before.
            user = data["user"] or sessions.get(event.session, ("", ""))[0]
            if not user:
                continue
            if data["user"]:
                of(user).login(event.time, "submission", data["address"])
            if "recipients" in data:
                of(user).sent += 1
                of(user).recipients += data["recipients"]
            else:
                senders[event.queue] = user
        elif event.kind == "queued" and event.queue in senders:
            # It is queued again each time that it is tried.
            user = senders.pop(event.queue)
            of(user).sent += 1
            of(user).recipients += data["recipients"]
        elif event.kind == "refused":
            user = data["user"] or senders.pop(event.queue, "") or sessions.get(event.session, ("", ""))[0]
            if user:
                of(user).refused += 1
    return found


def messages_of(events: Iterable[Event], account: str) -> set[str]:
    """Return the queue ids of what an account has sent after a log-in."""
    found: set[str] = set()
    sessions: set[str] = set()
    for event in events:
        user = str(event.data.get("user") or "").lower()
        if event.kind == "login":
            (sessions.add if user == account else sessions.discard)(event.session)
        elif event.kind in ("connected", "disconnected"):
            sessions.discard(event.session)
        # Postfix names the user in this line; smtpd's session has logged in before.
        elif event.kind == "accepted" and (user == account or (not user and event.session in sessions)):
            found.add(event.queue)
    return found


def public(
    name: str, quota: int, used: int | None, done: Usage, lock: Mapping[str, str], limit: Limit | None = None, counted: Used | None = None
) -> dict[str, Any]:
    """Return an account as JSON has it.

    :param used: octets, None if that is not known
    :param limit: to how many recipients it may send, and ``counted``, what counts for that; None if that is not known
    :param lock: the level that it is locked at by the ``command`` and by the ``inventory``, empty for none, and together (``level``)
    """
    time, service, address = done.last
    return {
        "account": name,
        "lock": dict(lock),
        "sent": done.sent,
        "recipients": done.recipients,
        "limit": limits.public(limit),
        "counted": limits.public(counted),
        "refused": done.refused,
        "failed_logins": done.failed,
        "quota": quota,
        "used": used,
        "last_login": {"time": time, "service": service, "address": address} if time else None,
        "addresses": sorted(done.addresses),
    }


def ordered(found: Mapping[str, Usage], by: str) -> list[str]:
    """Return the names of accounts, in the order of one of ``SORTS``: the largest number, or the latest time, first."""
    keys = {
        "sent": lambda name: (-found[name].recipients, -found[name].sent, name),
        "refused": lambda name: (-found[name].refused, name),
        "failed": lambda name: (-found[name].failed, name),
        "login": lambda name: (-found[name].last[0], name),
        "name": lambda name: (name,),
    }
    return sorted(found, key=keys[by])


def lines(accounts: Iterable[Mapping[str, Any]], now: float) -> list[str]:
    """Return a table of accounts, as :func:`public` has them."""
    rows = []
    for one in accounts:
        last = one["last_login"]
        quota = "" if one["used"] is None else size(one["used"])
        if one["quota"]:
            quota += f" of {size(one['quota'])}" + (f" ({100 * one['used'] // one['quota']} %)" if one["used"] is not None else "")
        when = f"{duration(now - last['time'])} ago, {last['service']} from {last['address']}" if last else "-"
        limit, counted = (kind(**one[name]) if one[name] else None for kind, name in ((limits.Limit, "limit"), (limits.Used, "counted")))
        rows.append((one["account"], one["lock"]["level"], one["sent"], one["recipients"], limits.shown(limit, counted), one["refused"],
                     one["failed_logins"], len(one["addresses"]) or "", quota, when))  # fmt: skip
    head = ("ACCOUNT", "LOCKED", "SENT", "TO", "LIMIT", "REFUSED", "FAILED", "FROM", "QUOTA", "LAST LOG-IN")
    return table(head, rows, right=(2, 3, 5, 6, 7))
