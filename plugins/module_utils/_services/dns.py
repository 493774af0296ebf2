# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DNS records that make a server's mail credible: one plan for every domain, from the model and the DKIM keys.

Where several hosts serve a domain, each plans what all of them need, but for the DKIM keys, of which each has its own.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import plan as dns_plan
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts, routes
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim, dmarc, mx, spf, txt

#: How many days the record of a key stays after another has begun to sign: mail that waits in a queue, or is forwarded late,
#: is still verified with it (RFC 6376 section 3.1, RFC 5321 section 4.5.4.1).
OVERLAP_DAYS = 7


def _over(since: str | None, today: str | None) -> bool:
    """Tell whether what signs since this day has done so for longer than the overlap."""
    if not since or not today:
        return False
    try:
        return (datetime.date.fromisoformat(today) - datetime.date.fromisoformat(since)).days > OVERLAP_DAYS
    except (TypeError, ValueError) as exc:
        raise MailError(f"days {since!r} and {today!r} must be of the form 2026-11-22") from exc


def records(
    model: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]] | None = None, today: str | None = None
) -> list[dict[str, Any]]:
    """Return the records of all domains, in the form that the module ``dns_records`` takes.

    :param model: what :func:`_model.normalise` returns; ``fqdn`` and ``addresses`` are used
    :param keys: domain to the key that ``postmaster.mail.dkim_keyring`` returned: ``name`` and ``value``. A domain whose
        key is not known yet (the key is made in the run that check mode foretells) has no DKIM record in the plan. The records
        of its ``others`` are withdrawn once it has signed since ``since`` for longer than :data:`OVERLAP_DAYS`.
    :param today: the day, as 2026-11-22; without it nothing is withdrawn
    :returns: a list of ``name`` (absolute, no trailing dot), ``type``, ``values`` (presentation text; TXT as joined text),
        ``ttl`` in seconds, ``state``, and ``owned_prefix`` and ``may_drop`` where they apply
    """
    ttl = model["dns"]["ttl"]
    servers = hosts.servers(model)
    own = tuple(address for family in model["addresses"].values() for address in family)
    # Hosts of ours that serve a domain no more are taken out; who else takes mail for it is known to whoever entered that.
    known = [model["fqdn"], *(peer["fqdn"] for peer in model["peers"])]

    @functools.cache
    def spf_text(addresses: tuple[str, ...], terms: tuple[str, ...], all_term: str | None, domain: str) -> str:
        return spf.build(addresses=addresses, terms=terms, all_term=all_term, domain=domain)

    plan: list[dict[str, Any]] = []

    def add(
        name: str, kind: str, values: list[str], state: str = "exact", owned_prefix: str | None = None, may_drop: list[str] | None = None
    ) -> None:
        record: dict[str, Any] = {"name": name, "type": kind, "values": values, "ttl": ttl, "state": state}
        if may_drop is not None:
            record["may_drop"] = may_drop
        if owned_prefix:
            record["owned_prefix"] = owned_prefix
        plan.append(record)

    for domain, options in model["domains"].items():
        serving = servers[domain]
        exchanges = {**{server["fqdn"]: server["preference"] for server in serving}, **options["mx"]["hosts"]}
        if not options["mx"]["elsewhere"]:
            add(domain, "MX", mx.values(exchanges), may_drop=[host for host in (*known, *options["mx"]["drop"]) if host not in exchanges])
        if options["spf"] is not None:
            terms = hosts.spf_terms(options["spf"], serving, domain)
            addresses = tuple(address for server in serving for address in server["addresses"])
            # Without terms, which may name the domain itself, it is the same for all.
            text = spf_text(addresses, terms, options["spf"]["all"], domain if terms else "")
            add(domain, "TXT", [text], "present", "v=spf1", options["spf"]["drop"])
        key = (keys or {}).get(domain)
        if options["dkim"]["enabled"] and key and key.get("value"):
            add(key["name"], "TXT", [key["value"]])
            if key.get("in_use") and _over(key.get("since"), today):
                for other in key.get("others", ()):
                    add(other["name"], "TXT", [other["value"]], "absent")
        if options["dmarc"] is not None:
            text = dmarc.build(**options["dmarc"])
            add(dmarc.name(domain), "TXT", [text], "present", "v=DMARC1")
        for owner, texts in options["txt"].items():
            add(owner, "TXT", list(texts), "present")
    # The greeting's own name: bounces have no envelope sender, so SPF judges the HELO name (RFC 7208 section 2.3).
    fqdn = model["fqdn"]
    if fqdn not in model["domains"] and any(fqdn.endswith(f".{domain}") for domain in model["domains"]):
        # Forwarded mail has a sender there, and takes the same routes.
        add(fqdn, "TXT", [spf_text(own, tuple(routes.spf_terms(model["routes"], fqdn)), "-all", fqdn)], "present", "v=spf1")
    for kind, values in web_addresses(model).items():
        add(model["lists_web"], kind, values)
    for name, options in model["parked"].items():
        add(name, "MX", [mx.NULL], may_drop=[*known, *options["mx"]["drop"]])
        add(name, "TXT", [spf.build(all_term="-all")], "present", "v=spf1", [])
        add(dmarc.name(name), "TXT", [dmarc.build(policy="reject")], "present", "v=DMARC1")
        for owner, texts in options["txt"].items():
            add(owner, "TXT", list(texts), "present")
    return plan


def web_addresses(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the address records of the lists' web interface, by type: those of the server, unless it is reached by the server's own name.

    :param model: what :func:`_model.normalise` returns
    """
    if model["lists_web"] in ("", model["fqdn"]):
        return {}
    return {kind: list(values) for kind, family in (("A", "ipv4"), ("AAAA", "ipv6")) if (values := model["addresses"][family])}


def web_records(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return those records as :func:`records` has them, for whoever needs the name before all others are published."""
    ttl, name = model["dns"]["ttl"], model["lists_web"]
    return [{"name": name, "type": kind, "values": values, "ttl": ttl, "state": "exact"} for kind, values in web_addresses(model).items()]


def check_added_values(model: Mapping[str, Any]) -> None:
    """Find what only all records together show: some that may not stand at one name, or that no message could carry.

    That can only be where somebody adds values of their own.

    :param model: what :func:`_model.normalise` returns
    :raises MailError: as :func:`_model.normalise` does, with one line for the rule that is broken
    """
    owners = {owner for options in model["domains"].values() for owner in options["txt"]}
    if not owners or not model["fqdn"]:
        return
    domains = {name: options for name, options in model["domains"].items() if options["txt"] or name in owners}
    no_zone = {"zone": None, "owned_prefix": None}
    problems = Problems()

    def check() -> None:
        shared = [{**no_zone, **record} for record in records({**model, "domains": domains}) if record["name"] in owners]
        dns_plan.check_batch(dns_plan.wanted_records(shared))

    problems.within("mail_domains", check)
    problems.raise_broken()


def signing(keys: Mapping[str, Mapping[str, Any]], seen: list[Mapping[str, Any]], today: str | None = None) -> dict[str, dict[str, str]]:
    """Return the keys that may sign: domain to ``selector``, ``path`` and ``since``, the day on which it began, where it is known.

    A key begins to sign once every authoritative server of its domain serves its record, and a key that already signs goes
    on while its record merely cannot be seen: a name server that is down is no reason to send unsigned mail. Until a new key may
    sign, the old one does.

    :param keys: domain to key, as ``postmaster.mail.dkim_keyring`` returns them; ``in_use`` says that it signs already
    :param seen: the records as ``postmaster.mail.dns_records`` found them, with ``name``, ``type`` and ``served``
    """
    served = {record["name"].rstrip(".").lower() for record in seen if record["type"] == "TXT" and record["served"]}
    found = {}
    for domain, wanted in sorted(keys.items()):
        may = [key for key in (wanted, *wanted.get("others", ())) if key.get("in_use") or (key is wanted and key["name"] in served)]
        for key in may[:1]:
            since = key.get("since") if key.get("in_use") else today
            found[domain] = {"selector": key["selector"], "path": key["path"], **({"since": since} if since else {})}
    return found


def of_new_keys(plan: Iterable[Mapping[str, Any]], keys: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the records of keys that do not sign yet.

    :param plan: what :func:`records` returns
    :param keys: domain to key, as ``postmaster.mail.dkim_keyring`` returns them
    """
    names = {key["name"] for key in keys.values() if key.get("value") and not key.get("in_use")}
    return [record for record in plan if record["name"] in names]


def unserved(seen: Iterable[Mapping[str, Any]], plan: Callable[[], Iterable[Mapping[str, Any]]]) -> str:
    """Return the records at names where not all of them are served, as :func:`report` writes them; empty for none.

    :param seen: the records as ``postmaster.mail.dns_records`` found them, with ``name`` and ``served``
    :param plan: returns what :func:`records` does; called only if something is not served
    """
    names = {record["name"].removesuffix(".") for record in seen if not record["served"]}
    missing = [record for record in plan() if record["name"] in names] if names else []
    return report(missing) if missing else ""


def reused(keys: Mapping[str, Mapping[str, Any]], missing: list[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with keys that do not sign yet and have the selector of another key: one sentence each.

    Verifiers keep the other one's record for its TTL, and would fail all that the new key signs (RFC 6376 section 3.1).

    :param keys: domain to key, as ``postmaster.mail.dkim_keyring`` returns them
    :param missing: what ``postmaster.mail.dns_records`` returns by that name; ``remove`` has what the name servers have beside ours
    """
    served: dict[str, list[Mapping[str, Any]]] = {}
    for record in missing:
        if record["type"] == "TXT" and record.get("remove"):
            served.setdefault(record["name"].rstrip(".").lower(), []).append(record)
    found = []
    for domain, key in sorted(keys.items()):
        if key.get("in_use") or not key.get("value"):
            continue
        mine = dkim.parse(key["value"])["public_key"]
        values = [value for record in served.get(key["name"].lower(), ()) for value in record["remove"]]
        if any(_other_key(value, mine) for value in values):
            found.append(
                f"The DKIM key of {domain} in {key['path']} has the selector {key['selector']!r}, and public DNS serves another key at "
                f"{key['name']}: verifiers may keep that for its TTL, and would fail every signature (RFC 6376 section 3.1). "
                f"Name a selector that the domain has never had in mail_domains[{domain!r}].dkim.selector, or restore the other key to "
                "that path; or take its record out of DNS, and run again when its TTL is over."
            )
    return found


def _other_key(value: str, mine: str) -> bool:
    """Whether a TXT value is the record of another key, of a revoked one, or of one that this collection does not know to read."""
    with contextlib.suppress(MailError):
        return dkim.parse(value)["public_key"] != mine
    return bool(re.search(r"(?:^|;)\s*p\s*=", value))


_PURPOSES = {
    "v=spf1": "SPF: who may send",
    "v=DKIM1": "DKIM: the key of signatures",
    "v=DMARC1": "DMARC: what to do with forgeries",
}


def _purpose(record: Mapping[str, Any]) -> str:
    if record["type"] != "TXT":
        return record["type"]
    return next((purpose for mark, purpose in _PURPOSES.items() if record["values"][0].startswith(mark)), "TXT")


def report(records: list[Mapping[str, Any]]) -> str:
    """Return the records as zone-file lines with a comment each, for a registrar's form or a zone kept by hand."""
    lines = []
    for record in records:
        lines.append(f"; {_purpose(record)}")
        absent = record.get("state") == "absent"
        for value in record["values"]:
            text = txt.presentation(value) if record["type"] == "TXT" else value
            lines.append(f"{'; no longer used, remove it: ' if absent else ''}{record['name']}. {record['ttl']} IN {record['type']} {text}")
    return "\n".join(lines) + "\n"
