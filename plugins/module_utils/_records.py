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
        C(ttl) in seconds, C(state), and C(owned_prefix) where it applies
    """
    ttl = model["dns"]["ttl"]
    addresses = [address for family in model["addresses"].values() for address in family]
    records: list[dict[str, Any]] = []

    def add(name: str, kind: str, values: list[str], state: str = "exact", owned_prefix: str | None = None) -> None:
        record: dict[str, Any] = {"name": name, "type": kind, "values": values, "ttl": ttl, "state": state}
        if owned_prefix:
            record["owned_prefix"] = owned_prefix
        records.append(record)

    for domain, options in model["domains"].items():
        add(domain, "MX", [f"10 {model['fqdn']}."])
        if options["spf"] is not None:
            text = _spf.build(addresses=addresses, terms=options["spf"]["terms"], all_term=options["spf"]["all"])
            add(domain, "TXT", [text], "present", "v=spf1")
        key = (keys or {}).get(domain)
        if options["dkim"]["enabled"] and key and key.get("value"):
            add(key["name"], "TXT", [key["value"]])
        if options["dmarc"] is not None:
            text = _dmarc.build(**options["dmarc"])
            add(_dmarc.name(domain), "TXT", [text], "present", "v=DMARC1")
        for owner, texts in options["txt"].items():
            add(owner, "TXT", list(texts), "present")
    # The greeting's own name: bounces have no envelope sender, so SPF judges the HELO name (RFC 7208 section 2.3).
    fqdn = model["fqdn"]
    if fqdn not in model["domains"] and any(fqdn.endswith(f".{domain}") for domain in model["domains"]):
        text = _spf.build(addresses=addresses, all_term="-all")
        add(fqdn, "TXT", [text], "present", "v=spf1")
    return records


def signing(keys: Mapping[str, Mapping[str, Any]], seen: list[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the keys that may sign: domain to C(selector) and C(path).

    A key begins to sign once every authoritative server of its domain serves its record, and a key that already signs goes
    on while its record merely cannot be seen: a name server that is down is no reason to send unsigned mail.

    :param keys: domain to key, as M(postmaster.mail.dkim_keyring) returns them; C(in_use) says that it signs already
    :param seen: the records as M(postmaster.mail.dns_records) found them, with C(name), C(type) and C(served)
    """
    served = {record["name"].rstrip(".").lower() for record in seen if record["type"] == "TXT" and record["served"]}
    return {
        domain: {"selector": key["selector"], "path": key["path"]}
        for domain, key in sorted(keys.items())
        if key["name"] in served or key.get("in_use")
    }


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
        for value in record["values"]:
            text = _txt.presentation(value) if record["type"] == "TXT" else value
            lines.append(f"{record['name']}. {record['ttl']} IN {record['type']} {text}")
    return "\n".join(lines) + "\n"
