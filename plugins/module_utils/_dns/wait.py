# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every authoritative server of a zone serves, asked directly, over both families. This is I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import Question, Resolver, Server, Unreachable
from ansible_collections.postmaster.mail.plugins.module_utils._dns.plan import Wanted, holds, missing
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import RRset

#: What is behind an alias: (name, type) -> its records, or why they are not known; see :meth:`Resolver.behind`.
Behind = Callable[[Iterable[tuple[str, str]]], Mapping[tuple[str, str], "RRset | Unreachable"]]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


@dataclass(eq=False)
class Authority:
    """One address of one authoritative server of a zone, and how it stands with the records wanted there."""

    zone: str | None
    host: str | None
    server: Server | None
    status: str = "unknown"
    reason: str = ""
    lost: bool = False  # the look-up of the zone's servers, or of an address of this one, failed, and may not the next time
    left: dict[tuple[str, str], list[Wanted]] = field(default_factory=dict)
    found: dict[tuple[str, str], RRset] = field(default_factory=dict)
    lacking: dict[tuple[str, str], list[Wanted]] = field(default_factory=dict)  # of what is found, the items that it does not keep

    def __str__(self) -> str:
        return f"{self.zone} at {self.host or 'no server'}" + (f" ({self.server})" if self.server else "")

    def result(self) -> dict[str, Any]:
        family = None if self.server is None else ("ipv6" if ":" in self.server.address else "ipv4")
        return {
            "zone": self.zone,
            "server": self.host,
            "address": None if self.server is None else self.server.address,
            "family": family,
            "status": self.status,
            "reason": self.reason,
        }


def authorities(resolver: Resolver, zones: Iterable[str], port: int = 53) -> list[Authority]:
    """Return one entry for each address of each name server of each zone; one without an address says why."""
    zones = list(dict.fromkeys(zones))
    replies = resolver.ask((zone, "NS") for zone in zones)
    hosts: dict[str, list[str]] = {}
    entries: list[Authority] = []
    for zone in zones:
        reply = replies[zone, "NS"]
        if isinstance(reply, Unreachable):
            reason = f"the name servers of the zone are not known: {reply}"
            entries.append(Authority(zone, None, None, "unknown", reason, lost=not reply.unknown))
            continue
        names = [record.target for record in reply.answer if record.type == "NS"]
        hosts[zone] = sorted(names)
        if not names:
            entries.append(Authority(zone, None, None, "unreachable", "the zone has no NS records: it is not delegated"))
    addresses = resolver.addresses(host for names in hosts.values() for host in names)
    for zone, names in hosts.items():
        for host in names:
            for address in addresses[host]:
                if isinstance(address, Unreachable):
                    reason = f"an address of name server {host!r} is not known: {address}"
                    entries.append(Authority(zone, host, None, "unreachable", reason, lost=True))
                else:
                    entries.append(Authority(zone, host, Server(address, port)))
            if not addresses[host]:
                entries.append(Authority(zone, host, None, "unreachable", f"name server {host!r} has no address"))
    return entries


def look(batch: Sequence[Wanted], servers: Sequence[Authority], timeout: float = 2.0, behind: Behind | None = None) -> None:
    """Ask each server for what it has not shown yet and set its status.

    Where it has an alias, what stands behind that counts: whoever asks for the name gets it.
    """
    questions: dict[Question, Authority] = {}
    zones: dict[str | None, dict[tuple[str, str], list[Wanted]]] = {}
    for item in batch:
        zones.setdefault(item.zone, {}).setdefault(item.key, []).append(item)
    for authority in servers:
        if authority.server is None or authority.status == "ok":
            continue
        groups = zones.get(authority.zone, {})
        authority.left = {key: group for key, group in groups.items() if not all(_seen(item, authority) for item in group)}
        for name, rtype in authority.left:
            questions[Question(authority.server, name, rtype)] = authority
        authority.status, authority.reason = "ok", ""
    dns_client.ask(list(questions), timeout)
    targets = {question: target for question in questions if (target := _alias(question))}
    rrsets = behind(dict.fromkeys(targets.values())) if behind is not None and targets else {}
    for question, authority in questions.items():
        target = targets.get(question)
        _judge(question, authority, target, rrsets.get(target, RRset()))


def _seen(item: Wanted, authority: Authority) -> bool:
    return item.key in authority.found and item not in authority.lacking[item.key]


def _alias(question: Question) -> tuple[str, str] | None:
    """Return name and type that an alias in the answer leads to; None if there is none."""
    if question.reply is None or question.type == "CNAME":
        return None
    target = next((record.target for record in question.reply.answer if record.type == "CNAME" and record.name == question.name), None)
    return None if target is None else (target, question.type)


def _judge(question: Question, authority: Authority, alias: tuple[str, str] | None, behind: RRset | Unreachable) -> None:
    key = (question.name, question.type)
    authority.found.pop(key, None)
    if question.error is not None:
        _set(authority, "unknown" if question.error.unknown else "unreachable", str(question.error))
        return
    code = question.reply.rcode
    # At an alias the code is about what is behind it (RFC 6604 section 3).
    if code not in ("NOERROR", "NXDOMAIN") and alias is None:
        _set(authority, "unreachable", f"answers {code} for {question.name} {question.type}: it does not serve the zone")
        return
    if not question.reply.authoritative:
        reason = f"answers without authority for {question.name} {question.type}: a lame delegation (RFC 1912 section 2.8)"
        _set(authority, "unreachable", reason)
        return
    if isinstance(behind, Unreachable):
        _set(authority, "unreachable", f"{question.name} {question.type}: there is a CNAME to {alias[0]}., which is not known: {behind}")
        return
    there = behind if alias else dns_client.rrset_of(question.reply, question.name, question.type)
    authority.found[key] = there
    authority.lacking[key] = [item for item in authority.left[key] if not holds(item, there)]
    for item in authority.lacking[key]:
        lacking, extra = missing(item, there)
        words = [f"lacks {_short(lacking)}"] if lacking else []
        words += [f"still has {_short(extra)}"] if extra else []
        words += [f"there is a CNAME to {alias[0]}."] if alias else []
        _set(authority, "stale", f"{question.name} {question.type}: {', '.join(words)}")


def _set(authority: Authority, status: str, reason: str) -> None:
    # The first trouble is told; one that is known to be about the road outweighs one about a record.
    order = ("ok", "stale", "unreachable", "unknown")
    if order.index(status) > order.index(authority.status):
        authority.status, authority.reason = status, reason


def _short(values: list[str]) -> str:
    text = values[0] if len(values[0]) <= 60 else values[0][:57] + "..."
    return repr(text) + (f" and {len(values) - 1} more" if len(values) > 1 else "")


def served(item: Wanted, servers: Mapping[str | None, Sequence[Authority]]) -> bool:
    """Whether every authoritative server that this host can ask keeps what the item wants, and at least one was asked.

    ``servers`` are those of each zone, see :func:`by_zone`.
    """
    mine = [authority for authority in servers.get(item.zone, ()) if authority.status != "unknown"]
    return bool(mine) and all(_seen(item, authority) for authority in mine)


def by_zone(servers: Iterable[Authority]) -> dict[str | None, list[Authority]]:
    zones: dict[str | None, list[Authority]] = {}
    for authority in servers:
        zones.setdefault(authority.zone, []).append(authority)
    return zones


def wait(
    batch: Sequence[Wanted],
    servers: list[Authority],
    timeout: float,
    question_timeout: float = 2.0,
    again: Callable[[list[str | None]], Iterable[Authority]] | None = None,
    behind: Behind | None = None,
) -> bool:
    """Look until every server of every zone is ``ok`` or ``unknown``, or the time is over; return whether it came true.

    :param again: looks up the servers of zones with a look-up that failed; they take their place in ``servers``
    :param behind: looks up what is behind aliases
    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    zones = by_zone(servers)
    while True:
        look(batch, servers, question_timeout, behind)
        if all(served(item, zones) for item in batch):
            return True
        left = deadline - time.monotonic()
        lost = list(dict.fromkeys(authority.zone for authority in servers if authority.lost and again is not None))
        waiting = any(authority.server is not None and authority.status in ("stale", "unreachable") for authority in servers)
        if left <= 0 or not (waiting or lost):
            return False
        time.sleep(min(pause, left))
        if lost:
            anew = by_zone(again(lost))
            servers[:] = [authority for zone, mine in zones.items() for authority in anew.get(zone, mine)]
            zones = by_zone(servers)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
