# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ufw, firewalld and nftables say of the TCP ports that they let in. Pure functions of their output."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

#: A line of ``ufw status``: where to, what is done, where from. Columns are apart by two spaces or more.
_UFW_RULE = re.compile(r"(?P<to>\S.*?) {2,}(?P<action>(?:ALLOW|DENY|REJECT|LIMIT)(?: (?:IN|OUT|FWD))?) {2,}(?P<source>\S.*?)\s*")
#: Verdicts of a rule of nftables that may keep a packet out, by themselves or in another chain.
_VERDICTS = {"drop", "reject", "jump", "goto"}
#: The tables of fail2ban and of our guard of log-ins, which only keep out whom they ban.
_BANS = ("f2b-table", "postmaster_mail")

NFTABLES_NOTE = "by hand: a ruleset of nftables looks at what comes in: see that it lets the ports below pass"


def at_work(printed: Callable[..., str | None]) -> str:
    """Return the firewall that is at work: ``ufw``, ``firewalld``, ``nftables``, which is any other ruleset that may keep out what comes
    in, or ``none``.

    :param printed: takes the words of a command, and returns what it prints; None if it is not installed, or fails
    :raises ValueError, KeyError, TypeError: what nft prints cannot be read
    """
    if ufw_active(printed("ufw", "status") or ""):
        return "ufw"
    if printed("firewall-cmd", "--state") is not None:
        return "firewalld"
    ruleset = printed("nft", "-j", "list", "ruleset")
    return "nftables" if ruleset and nftables_filters_input(ruleset) else "none"


class UfwRule(NamedTuple):
    """One rule of ufw for TCP ports: the first and the last of each range, and whether everybody is let in."""

    ports: tuple[tuple[int, int], ...]
    open: bool


class Plan(NamedTuple):
    """The ports to open, and notes about those that somebody has to open by hand."""

    ports: list[int]
    notes: list[str]


def ufw_active(status: str) -> bool:
    """Whether ufw filters, by its answer to ``ufw status``."""
    return re.search(r"(?m)^Status: active\s*$", status) is not None


def ufw_rules(status: str) -> list[UfwRule]:
    """Return the rules for numbered TCP ports that ``ufw status`` lists; those for an application, an interface alone or UDP are none."""
    rules = []
    for line in status.splitlines():
        rule = _UFW_RULE.fullmatch(line)
        to = re.match(r"([0-9:,]+)(?:/tcp)?(?: |\Z)", rule["to"]) if rule else None
        if rule and to and not rule["action"].endswith(("OUT", "FWD")):
            everybody = rule["action"].startswith("ALLOW") and re.match(r"Anywhere( |\Z)", rule["source"]) is not None
            rules.append(UfwRule(tuple(_ranges(to[1].split(","), ":")), everybody))
    return rules


def ufw_plan(status: str, ports: Iterable[int]) -> Plan:
    """Return what to open in ufw. A rule that somebody made for a port stays."""
    rules = ufw_rules(status)
    missing, notes = [], []
    for port in ports:
        own = [rule.open for rule in rules if _within(port, rule.ports)]
        if not own:
            missing.append(port)
        elif not any(own):
            notes.append(f"by hand: ufw has a rule for {port}, which does not let everybody in")
    return Plan(missing, notes)


def firewalld_plan(listed: str, ports: Iterable[int]) -> Plan:
    """Return what to open in firewalld, by its answer to ``firewall-cmd --list-ports``, such as ``25/tcp 1000-2000/tcp``."""
    given = _ranges([word[: -len("/tcp")] for word in listed.split() if word.endswith("/tcp")], "-")
    return Plan([port for port in ports if not _within(port, given)], [])


def nftables_filters_input(ruleset: str) -> bool:
    """Whether a ruleset may keep out what comes in, by the answer to ``nft -j list ruleset``. That of who bans does not count.

    :raises ValueError: it is not JSON as libnftables-json(5) has it
    """
    entries = json.loads(ruleset)["nftables"]
    inputs = {}
    for chain in (entry["chain"] for entry in entries if "chain" in entry):
        if chain.get("hook") == "input" and chain["table"] not in _BANS:
            inputs[chain["family"], chain["table"], chain["name"]] = chain.get("policy")
    if "drop" in inputs.values():
        return True
    return any(
        (rule["family"], rule["table"], rule["chain"]) in inputs and _keeps_out(rule.get("expr", []))
        for rule in (entry["rule"] for entry in entries if "rule" in entry)
    )


def _keeps_out(expression: Any) -> bool:
    """Whether a part of a rule has a verdict that may keep a packet out. A map by name may have any."""
    if isinstance(expression, Mapping):
        named_map = isinstance(expression.get("vmap"), Mapping) and isinstance(expression["vmap"].get("data"), str)
        return named_map or not _VERDICTS.isdisjoint(expression) or any(_keeps_out(value) for value in expression.values())
    return isinstance(expression, list) and any(_keeps_out(value) for value in expression)


def _ranges(words: Iterable[str], mark: str) -> list[tuple[int, int]]:
    """Return the first and the last port of ``25`` and of ``1000-2000``."""
    found = []
    for word in words:
        first, _mark, last = word.partition(mark)
        if first.isdigit() and (last or first).isdigit():
            found.append((int(first), int(last or first)))
    return found


def _within(port: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= port <= last for first, last in ranges)
