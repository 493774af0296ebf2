# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Rspamd's configuration is printed from: thresholds, DNSBLs, modules, DKIM signing. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _sinks
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name, selector

_MODULE = re.compile(r"^[a-z][a-z0-9_]*\Z")

#: Modules that the role configures itself, and the variable that switches each.
_OWN = {
    "dkim_signing": "rspamd_signing",
    "greylist": "rspamd_filter.greylist",
    "milter_headers": "no variable: Junk is filed by its headers",
    "rbl": "rspamd_filter.dnsbls",
    "settings": "no variable: it keeps our own users' mail from being delayed",
}

#: Seals are verified where mail_filter.arc_sealers names some, and none is made: that of a stranger's is no opinion of ours.
_ARC_FILE = "rspamd/local.d/arc.conf"
_ARC_VERIFIES = "# Ansible managed\nenabled = true;\nsign_local = false;\nsign_authenticated = false;\nsign_inbound = false;\n"


def dnsbls(given: Sequence[Any], option: str = "dnsbls") -> list[dict[str, Any]]:
    """Return the DNSBLs to add: C(name) of the rule, C(zone), C(symbol) and C(score) of a listed address.

    :param given: zones, or dictionaries with C(zone) and C(score) (default 3)
    :raises MailError: a zone that is not a domain, a score that is not a number, a zone given twice
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in given:
        options = {"zone": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping) or not set(options) <= {"zone", "score"} or "zone" not in options:
            raise MailError(f"{option} {shown(entry)} must be a zone or a dictionary with zone and score")
        zone = domain_name(options["zone"], option)
        score = _names.number(options.get("score", 3), f"{option} {shown(zone)}: score", -1000, 1000)
        name = re.sub(r"[^a-z0-9]", "_", zone)
        if name in found:
            raise MailError(f"{option} has {shown(zone)} and {shown(found[name]['zone'])}, which Rspamd could not tell apart")
        found[name] = {"name": f"postmaster_{name}", "zone": zone, "symbol": f"RBL_{name.upper()}", "score": float(score)}
    return [found[name] for name in sorted(found)]


def signing(given: Mapping[str, Any] | None, option: str = "signing") -> list[dict[str, Any]]:
    """Return which domains are signed with which keys: C(domain) and C(selectors), a list of C(selector) and C(path).

    :param given: domain to a dictionary with C(selector) and C(path), or to a list of them for one signature each; further
        keys are ignored
    :raises MailError: a name, a selector (RFC 6376 section 3.1) or a path that is not one; two signatures with one selector
    """
    found: dict[str, list[dict[str, str]]] = {}
    for key, value in (given or {}).items():
        domain = domain_name(key, option)
        if domain in found:
            raise MailError(f"{option} has {shown(domain)} twice (names are compared without case)")
        keys = []
        for entry in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(entry, Mapping) or not {"selector", "path"} <= set(entry):
                raise MailError(f"{option} {shown(key)} must have a selector and the path of a key")
            path = _sinks.path(entry["path"], f"{option} {shown(key)}: path", "key")
            # The day on which it began to sign is only carried along, for the next run to know.
            since = {"since": entry["since"]} if entry.get("since") else {}
            keys.append({"selector": selector(entry["selector"], f"{option} {shown(key)}: selector"), "path": path, **since})
        if len({entry["selector"] for entry in keys}) < len(keys):
            raise MailError(f"{option} {shown(key)} has a selector twice: each key needs its own (RFC 8463 section 9)")
        if keys:
            found[domain] = keys
    return [{"domain": domain, "selectors": found[domain]} for domain in sorted(found)]


def module_files(given: Sequence[str], option: str = "disabled_modules") -> dict[str, str]:
    """Return the files, path below /etc to text, that switch modules off.

    :raises MailError: a name that is no module's, or one that has a variable of its own
    """
    files = {}
    for name in given:
        if not isinstance(name, str) or not _MODULE.match(name):
            raise MailError(f"{option} {shown(name)} is not the name of a module")
        if name in _OWN:
            raise MailError(f"{option} {shown(name)}: this module has its own switch ({_OWN[name]})")
        files[f"rspamd/local.d/{name}.conf"] = "# Ansible managed\nenabled = false;\n"
    return files


def own_domains(given: Sequence[str]) -> list[str]:
    """Return the domains that only we may write in From: those of the mail and the server's name.

    :param given: of these, a name without a dot is one that no address outside of a host has
    """
    return sorted({domain_name(name, "rspamd_domains") for name in given if "." in name})


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that Rspamd's configuration is printed from.

    :param given: C(filter), as the model has it; C(dnsbls), C(disabled_modules) and C(signing), as the role's variables; C(domains), those
        of the mail and the server's name
    :returns: C(reject), C(junk), C(greylist) (or None), C(trusted), C(rbl) (whether DNSBLs are asked at all), C(dmarc), C(arc_sealers),
        C(domains), and what :func:`dnsbls`, :func:`signing` and :func:`module_files` return
    :raises MailError: a value that breaks a rule
    """
    thresholds = given["filter"]
    files = module_files(given.get("disabled_modules") or (), "rspamd_disabled_modules")
    if thresholds["arc_sealers"]:
        files[_ARC_FILE] = _ARC_VERIFIES
    lists = dnsbls(given.get("dnsbls") or (), "rspamd_dnsbls")
    return {
        "reject": thresholds["reject"],
        "junk": thresholds["junk"],
        "greylist": thresholds["greylist"],
        "trusted": sorted(thresholds["trusted"]),
        "rbl": bool(thresholds["dnsbls"]),
        "dnsbls": lists if thresholds["dnsbls"] else [],
        "signing": signing(given.get("signing"), "rspamd_signing"),
        "dmarc": thresholds["dmarc"],
        "arc_sealers": thresholds["arc_sealers"],
        "domains": own_domains(given.get("domains") or ()),
        "module_files": files,
    }
