# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The DNS records that make a server's mail credible: one plan for every domain, from the model and the DKIM keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _dmarc, _spf, _txt


def plan(model: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return the records of all domains, in the form that the module C(dns_records) takes.

    :param model: what :func:`_model.normalise` returns; C(fqdn) and C(addresses) are used
    :param keys: domain to the key that M(postmaster.mail.dkim_keyring) returned: C(name) and C(value). A domain whose
        key is not known yet (the key is made in the run that check mode foretells) has no DKIM record in the plan.
    :returns: a list of C(name) (absolute, no trailing dot), C(type), C(values) (presentation text; TXT as joined text),
        C(ttl) in seconds, C(state), C(owned_prefix) (or none), and C(purpose), a word for people
    """
    ttl = model["dns"]["ttl"]
    addresses = [address for family in model["addresses"].values() for address in family]
    records: list[dict[str, Any]] = []

    def add(purpose: str, name: str, kind: str, values: list[str], state: str = "exact", owned_prefix: str | None = None) -> None:
        record: dict[str, Any] = {"purpose": purpose, "name": name, "type": kind, "values": values, "ttl": ttl, "state": state}
        if owned_prefix:
            record["owned_prefix"] = owned_prefix
        records.append(record)

    for domain, options in model["domains"].items():
        add("MX", domain, "MX", [f"10 {model['fqdn']}."])
        if options["spf"] is not None:
            text = _spf.build(addresses=addresses, terms=options["spf"]["terms"], all_term=options["spf"]["all"])
            add("SPF", domain, "TXT", [text], "present", "v=spf1")
        key = (keys or {}).get(domain)
        if options["dkim"]["enabled"] and key and key.get("value"):
            add("DKIM", key["name"], "TXT", [key["value"]])
        if options["dmarc"] is not None:
            text = _dmarc.build(**options["dmarc"])
            add("DMARC", _dmarc.name(domain), "TXT", [text], "present", "v=DMARC1")
        for owner, texts in options["txt"].items():
            add("TXT", owner, "TXT", list(texts), "present")
    # The greeting's own name: bounces have no envelope sender, so SPF judges the HELO name (RFC 7208 section 2.3).
    fqdn = model["fqdn"]
    if fqdn not in model["domains"] and any(fqdn.endswith(f".{domain}") for domain in model["domains"]):
        text = _spf.build(addresses=addresses, all_term="-all")
        add("SPF of the greeting", fqdn, "TXT", [text], "present", "v=spf1")
    return records


def report(records: list[Mapping[str, Any]]) -> str:
    """Return the records as zone-file lines with a comment each, for a registrar's form or a zone kept by hand."""
    lines = []
    for record in records:
        lines.append(f"; {record['purpose']}")
        for value in record["values"]:
            text = _txt.presentation(value) if record["type"] == "TXT" else value
            lines.append(f"{record['name']}. {record['ttl']} IN {record['type']} {text}")
    return "\n".join(lines) + "\n"
