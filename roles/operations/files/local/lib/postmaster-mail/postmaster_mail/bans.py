# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is banned since somebody guesses passwords there: what fail2ban, pf and the guard of the role protection report. Pure functions."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import time
from collections.abc import Iterable
from typing import Any, Union

from postmaster_mail.events import Event
from postmaster_mail.logs import Line
from postmaster_mail.text import Failure, moment, printable, table

_Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

#: What lists who is banned, and what lets a network in again.
COMMANDS = {
    "fail2ban": (["fail2ban-client", "get", "postmaster-mail", "banip", "--with-time"],
                 ["fail2ban-client", "set", "postmaster-mail", "unbanip"]),
    "pf": (["pfctl", "-a", "mail", "-t", "banned", "-T", "show", "-v"], ["pfctl", "-q", "-a", "mail", "-t", "banned", "-T", "delete"]),
    "nft": (["nft", "--json", "list", "table", "inet", "postmaster_mail"], ["nft", "delete", "element", "inet", "postmaster_mail"]),
}  # fmt: skip

_FAIL2BAN = re.compile(r"(?P<network>[0-9a-fA-F.:/]+)\s+(?P<since>[0-9-]{10} [0-9:]{8}) \+ -?[0-9]+ = (?P<until>[0-9-]{10} [0-9:]{8})\s*")
_CLEARED = re.compile(r"\s+Cleared:\s+[A-Z][a-z]{2} (?P<since>[A-Z][a-z]{2} +[0-9]+ [0-9:]{8} [0-9]{4})\s*")
#: Behind the names stands nothing: they are what somebody gave.
_GUESSES = re.compile(
    r"guesses from (?P<network>[0-9a-f.:/]+): (?P<count>[0-9]+) wrong passwords within [0-9]+ s for (?P<names>.*)", re.DOTALL
)


@dataclasses.dataclass
class Ban:
    """``since`` and ``until`` are in seconds since 1970, 0 where that is not known; ``why`` is what the guard has reported."""

    network: str
    since: float
    until: float
    why: str = ""

    def public(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def event(line: Line) -> Event | None:
    """Return what the guard reports: ``guesses`` with ``network``, ``count`` and ``names``, or None."""
    found = _GUESSES.fullmatch(line.text)
    try:
        return Event(line.time, "guesses", "", "", {**found.groupdict(), "network": str(_network(found["network"]))}) if found else None
    except ValueError:
        return None


def listed(kind: str, text: str) -> list[Ban]:
    """Return who is banned, the latest first.

    :param kind: a key of :data:`COMMANDS`, and ``text`` what its first command prints
    """
    if kind == "nft":
        return sorted(_of_nft(text), key=lambda ban: (-ban.since, ban.network))
    found: list[Ban] = []
    for line in text.splitlines():
        match = _FAIL2BAN.fullmatch(line) if kind == "fail2ban" else None
        cleared = _CLEARED.fullmatch(line) if kind == "pf" else None
        if match:
            since, until = (_moment(match[name], "%Y-%m-%d %H:%M:%S") for name in ("since", "until"))
            found.append(Ban(str(_network(match["network"])), since, until))
        elif cleared and found:
            found[-1].since = _moment(cleared["since"], "%b %d %H:%M:%S %Y")
        elif kind == "pf" and re.fullmatch(r"\s*[0-9a-fA-F.:]+(/[0-9]+)?\s*", line):
            found.append(Ban(str(_network(line.strip())), 0, 0))
    return sorted(found, key=lambda ban: (-ban.since, ban.network))


def _of_nft(text: str) -> Iterable[Ban]:
    """Yield the elements of the sets of a table as nft(8) prints them: each has the seconds that it lasts and that are left."""
    for one in json.loads(text)["nftables"]:
        for element in one.get("set", {}).get("elem", ()):
            value, until = element["elem"]["val"], time.time() + element["elem"]["expires"]
            network = f"{value['prefix']['addr']}/{value['prefix']['len']}" if isinstance(value, dict) else value
            yield Ban(str(_network(network)), until - element["elem"]["timeout"], until)


def lifting(kind: str, network: str) -> list[str]:
    """Return the command that lets a network in again."""
    words = [f"banned{_network(network).version}", f"{{ {named(network)} }}"] if kind == "nft" else [named(network)]
    return [*COMMANDS[kind][1], *words]


def _moment(text: str, form: str) -> float:
    return time.mktime((*time.strptime(text, form)[:8], -1))


def _network(text: str) -> _Network:
    return ipaddress.ip_network(text.strip(), strict=False)


def explained(bans: Iterable[Ban], events: Iterable[Event]) -> None:
    """Add to each ban what the guard has reported last."""
    reasons = {event.data["network"]: f"{event.data['count']} wrong passwords, for {event.data['names']}"
               for event in events if event.kind == "guesses"}  # fmt: skip
    for ban in bans:
        ban.why = reasons.get(ban.network, "")


def meant(bans: Iterable[Ban], what: str) -> list[Ban]:
    """Return the bans that keep an address, or any of a network, out.

    :raises Failure: it is neither
    """
    try:
        wanted = _network(what)
    except ValueError:
        raise Failure(f"{printable(what, 60)!r} is neither an address nor a network") from None
    return [ban for ban in bans if _network(ban.network).version == wanted.version and _network(ban.network).overlaps(wanted)]


def named(network: str) -> str:
    """Return a network as fail2ban and pf are told it: one address alone has no number behind it."""
    found = _network(network)
    return str(found.network_address) if found.prefixlen == found.max_prefixlen else str(found)


def lines(bans: Iterable[Ban]) -> list[str]:
    """Return a table of bans."""
    rows = [(named(ban.network), moment(ban.since) if ban.since else "", moment(ban.until) if ban.until else "", printable(ban.why, 200))
            for ban in bans]  # fmt: skip
    return table(("BANNED", "SINCE", "UNTIL", "BECAUSE"), rows) if rows else ["Nobody is banned"]
