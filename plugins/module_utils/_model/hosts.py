# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the other hosts of an inventory mean for this one: those that serve a domain are planned together.

One RRset is made of what all of them need, and each of them computes the same one, so no run undoes what another has published.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import routes
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems
from ansible_collections.postmaster.mail.plugins.module_utils._records import spf

#: In MX records, where nothing is said.
PREFERENCE, BACKUP_PREFERENCE = 10, 20

#: What one record is made of, and so has to be the same on all hosts.
_SAME = ("mx", "spf", "dmarc")


def read_preference(problems: Problems, given: Any, backup: bool) -> int:
    usual = BACKUP_PREFERENCE if backup else PREFERENCE
    return usual if given in (None, "") else problems.integer(given, "mail_mx_preference", 0, 65535)


def of_peer(problems: Problems, model: Mapping[str, Any], peer: Mapping[str, Any], own: Problems) -> dict[str, Any]:
    """Return what records are made of that another host of the inventory has as well, checked against this one.

    :param model: ``fqdn``, ``preference``, ``domains``, ``parked`` and ``dns`` of this host are read
    :param peer: ``name`` (the inventory's), ``fqdn``, ``domains`` and ``parked`` as in a model, as far as they have names that are here as
        well, ``same``, whether they are those of this host, ``backup``, whether it is one, and as in a model ``addresses``, ``preference``,
        ``routes`` and ``ttl``
    :param own: the rules that the other host breaks
    :returns: ``fqdn``; ``backup``; ``domains``, those of this host's that it serves, or None for all; and, unless there are none,
        ``addresses`` (one list), ``preference`` and ``routes``, of which it has only what SPF records are made of
    """
    name, fqdn = peer["name"], peer["fqdn"]
    shared = [domain for domain in peer["domains"] if domain in model["domains"]]
    found: dict[str, Any] = {"fqdn": fqdn, "backup": peer["backup"], "domains": None if peer["same"] and shared else shared}
    if shared:
        ways = peer["routes"]
        found["addresses"] = [address for family in peer["addresses"].values() for address in family]
        found["preference"] = peer["preference"]
        found["routes"] = {**ways, "hosts": {host: {"spf": options["spf"]} for host, options in ways["hosts"].items()}}
        if not found["addresses"] and not own.found:
            own.add(f"mail_addresses is needed: {_and_more(shared)} of both, and the SPF record has the addresses of all hosts, "
                    "also in a run that does not reach them")
    ttl = model["dns"]["ttl"]
    if peer["ttl"] != ttl and (shared or peer["parked"].keys() & model["parked"].keys()):
        own.add(f"mail_dns.ttl {peer['ttl']} is not {ttl}, as here: the records of one type at one name have one TTL (RFC 2181 "
                "section 5.2)")
    for line in own.found:
        problems.add(f"{line} (host {name})")
    if fqdn and fqdn == model["fqdn"]:
        problems.add(f"mail_fqdn {shown(fqdn)} is that of host {name} as well: a name leads to one server")
    if not own.found:
        _check_shared(problems, model, peer, shared)
        _check_names(problems, model, peer)
    return found


def _check_shared(problems: Problems, model: Mapping[str, Any], peer: Mapping[str, Any], shared: Sequence[str]) -> None:
    """Find what two hosts say of one record and cannot both have."""
    name = peer["name"]
    for domain in shared:
        ours, other = model["domains"][domain], peer["domains"][domain]
        for option in () if peer["same"] else _SAME:
            if ours[option] != other[option]:
                problems.add(f"mail_domains[{domain!r}].{option} is another one on host {name}, which serves the domain as well: "
                             "there is one record for all hosts, so all have to say the same")
        selector = ours["dkim"]["selector"]
        if selector and selector == other["dkim"]["selector"]:
            problems.add(f"mail_domains[{domain!r}].dkim.selector {selector!r} is that of host {name} as well, and each host has a key "
                         "of its own: leave it out, and new keys have selectors of their own; a key that exists keeps the one of its file")


def _check_names(problems: Problems, model: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    """Find names of which one host publishes that they send or take mail, and the other something else."""
    name, fqdn = peer["name"], peer["fqdn"]
    for domain in sorted(model["parked"].keys() & peer["domains"].keys()):
        problems.add(f"mail_domains[{domain!r}].parked: host {name} serves it, and a parked domain neither sends nor takes mail")
    for domain in sorted(peer["parked"].keys() & model["domains"].keys()):
        problems.add(f"mail_domains[{domain!r}] is parked on host {name}, and a parked domain neither sends nor takes mail")
    _check_name(problems, fqdn, f"host {name}", peer, "this host", model)
    _check_name(problems, model["fqdn"], "this host", model, f"host {name}", peer)
    for domain, options in {**model["domains"], **model["parked"]}.items():
        if any(map(spf.is_record, options["txt"].get(fqdn, ()))):
            problems.add(f"mail_domains[{domain!r}].txt holds an SPF record for {fqdn}, the name of host {name}, which has one of its "
                         "own: take it out")


def _check_name(
    problems: Problems, fqdn: str | None, whose: str, own: Mapping[str, Any], where: str, other: Mapping[str, Any]
) -> None:
    """Find the name of a host among the domains of another one."""
    if fqdn in other["parked"]:
        problems.add(f"mail_domains[{fqdn!r}].parked on {where}: it is the name of {whose}, which sends")
    elif fqdn in other["domains"] and fqdn not in own["domains"]:
        problems.add(f"mail_domains[{fqdn!r}] is a domain of {where} and the name of {whose}, whose SPF record would be another one: "
                     "declare it on both")


def _and_more(names: Sequence[str]) -> str:
    return f"{names[0]} is a domain" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are domains"


def sharing(model: Mapping[str, Any]) -> list[str]:
    """Return the names of the other hosts that serve a domain of this one."""
    return [peer["fqdn"] for peer in model["peers"] if peer["domains"] != []]


def servers(model: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the hosts that serve each domain of this one, itself included: ``fqdn``, ``addresses``, ``preference`` and ``routes``.

    They are in the order of preference and name, which is the same on all of them.
    """
    itself = {
        "fqdn": model["fqdn"], "preference": model["preference"], "routes": model["routes"], "backup": model["backup"],
        "addresses": [address for family in model["addresses"].values() for address in family],
    }  # fmt: skip
    of_all = [itself, *(peer for peer in model["peers"] if peer["domains"] is None)]
    of_all.sort(key=_order)
    more: dict[str, list[dict[str, Any]]] = {}
    for peer in model["peers"]:
        for domain in peer["domains"] or ():
            more.setdefault(domain, []).append(peer)
    return {domain: sorted([*of_all, *more[domain]], key=_order) if domain in more else of_all for domain in model["domains"]}


def _order(server: Mapping[str, Any]) -> tuple[int, str]:
    return server["preference"], server["fqdn"] or ""


def primaries(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return where a backup MX delivers the mail of each domain: its servers that are no backup, the first to be tried first.

    :returns: empty for a host that is no backup
    """
    if not model["backup"]:
        return {}
    return {domain: [host["fqdn"] for host in hosts if not host["backup"]] for domain, hosts in servers(model).items()
            if not model["domains"][domain]["mx"]["elsewhere"]}


def backups(model: Mapping[str, Any]) -> list[str]:
    """Return the addresses of the hosts that take mail for this one while it is away."""
    if model["backup"]:
        return []
    return [address for peer in model["peers"] if peer["backup"] and peer["domains"] != [] for address in peer["addresses"]]


def spf_terms(options: Mapping[str, Any], hosts: Iterable[Mapping[str, Any]], domain: str) -> tuple[str, ...]:
    """Return the terms of a domain's SPF record: its own, and those of the smarthosts of all its hosts.

    :param options: ``spf`` of the domain
    :param hosts: those of :func:`servers`
    """
    return tuple(dict.fromkeys([*options["terms"], *(term for host in hosts for term in routes.spf_terms(host["routes"], domain))]))


def check_records(problems: Problems, model: Mapping[str, Any]) -> None:
    """Find SPF records that the terms of smarthosts would break, and hosts of ours that are to be in no MX records."""
    for domain, names in primaries(model).items():
        if not names:
            problems.add(f"mail_domains[{domain!r}] has no server in the group mail_servers, to which this backup MX could deliver mail")
    known = {model["fqdn"], *(peer["fqdn"] for peer in model["peers"])}
    for domain, hosts in servers(model).items():
        options = model["domains"][domain]
        if options["spf"] is not None:
            terms = spf_terms(options["spf"], hosts, domain)
            if len(terms) > len(options["spf"]["terms"]):
                where = f"mail_domains[{domain!r}].spf with what mail_routes.hosts adds"
                problems.within(where, spf.build, (), terms, options["spf"]["all"], None, domain)
        for host in options["mx"]["drop"]:
            if host in known:
                problems.add(f"mail_domains[{domain!r}].mx[{host!r}] is a host of the inventory, which is in the MX records while it "
                             "serves the domain, and not otherwise: take that out")
