# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Rspamd is given: the values of its configuration, the texts of its maps, and the keys to sign with. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts
from ansible_collections.postmaster.mail.plugins.module_utils._model import lists as mail_lists
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import delivery, leading_out, leads_out, taken
from ansible_collections.postmaster.mail.plugins.module_utils._model.limits import KEYS
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name
from ansible_collections.postmaster.mail.plugins.module_utils._services import locks, relays
from ansible_collections.postmaster.mail.plugins.module_utils._services.signing import host_signer, signing  # noqa: F401  the role's own

_MODULE = re.compile(r"^[a-z][a-z0-9_]*\Z")

#: Modules that the role configures itself, and the variable that switches each.
_OWN = {
    "dkim_signing": "rspamd_signing",
    "greylist": "rspamd_filter.greylist",
    "milter_headers": "no variable: Junk is filed by its headers",
    "rbl": "rspamd_filter.dnsbls",
    "settings": "no variable: it keeps our own users' mail from being delayed",
}

#: Seals are verified where mail_filter.arc_sealers names some, or where some are made; that of a stranger's is no opinion of ours.
_ARC_FILE = "rspamd/local.d/arc.conf"
_ARC_VERIFIES = "# Ansible managed\nenabled = true;\nsign_local = false;\nsign_authenticated = false;\nsign_inbound = false;\n"
#: What is sealed, and with which key, local.d/postmaster-mail-forward.lua knows.
_ARC_SEALS = "sign_condition = \"return function(task) return rspamd_plugins['postmaster_mail'].seal(task) end\";\n"


def dnsbls(given: Sequence[Any], option: str = "dnsbls") -> list[dict[str, Any]]:
    """Return the DNSBLs to add: ``name`` of the rule, ``zone``, ``symbol`` and ``score`` of a listed address.

    :param given: zones, or dictionaries with ``zone`` and ``score`` (default 3)
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


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Rspamd's configuration is printed from.

    :param given: ``model``; ``dnsbls``, as the role's variable
    :returns: ``reject``, ``junk``, ``greylist`` (or None), ``trusted``, ``rbl`` (whether DNSBLs are asked at all), ``dmarc``,
        ``arc_sealers``, ``forwarded_junk``, ``forwards``, whether mail of an address goes on to another server, ``seal``, whether that is
        sealed, ``blocked_extensions``, ``author``, whether a user allows any sender,
        ``lists``, the addresses that Mailman sends lists from, ``commands``, those at which it answers whoever writes,
        ``relays``, whether hosts send through this server, ``accounts``, whether anybody does,
        ``backups``, the addresses of those who take mail for this host while it is away,
        ``hosted``, the domains of users, ``recipient_delimiter``, ``domains``, these and the server's name, see :func:`own_domains`,
        ``here``, those of these whose mail is taken here, and
        ``dnsbls``, see :func:`dnsbls`
    :raises MailError: a value that breaks a rule
    """
    model = given["model"]
    thresholds = model["filter"]
    lists = dnsbls(given.get("dnsbls") or (), "rspamd_dnsbls")
    forwards = leads_out(model)  # each use of these values makes them again
    return {
        "reject": thresholds["reject"],
        "junk": thresholds["junk"],
        "greylist": thresholds["greylist"],
        "trusted": sorted(thresholds["trusted"]),
        "rbl": bool(thresholds["dnsbls"]),
        "dnsbls": lists if thresholds["dnsbls"] else [],
        "dmarc": thresholds["dmarc"],
        "arc_sealers": thresholds["arc_sealers"],
        "forwarded_junk": thresholds["forwarded_junk"],
        "forwards": forwards,
        "seal": forwards and _seals(model),
        "blocked_extensions": thresholds["blocked_extensions"],
        "author": any(options["allow"] for options in model["users"].values()),
        "domains": own_domains([*model["domains"], *([model["fqdn"]] if model["fqdn"] else [])]),
        "here": own_domains([*taken(model["domains"]), *([model["fqdn"]] if model["fqdn"] else [])]),
        "hosted": sorted(model["domains"]),
        "recipient_delimiter": model["recipient_delimiter"],
        "backups": hosts.backups(model),
        "lists": [address.replace("@", "-bounces@") for address in sorted(model["lists"])],
        "commands": mail_lists.commands(model),
        "relays": bool(relays.of_hosts(model)),
        "accounts": bool(model["users"] or relays.of_hosts(model)),
    }


def _seals(model: Mapping[str, Any]) -> bool:
    """A backup MX passes mail on as it came, to the server that forwards it."""
    return bool(model["filter"]["arc_seal"]) and not model["backup"]


def limits(model: Mapping[str, Any]) -> dict[str, str]:
    """Return account to recipients within an hour, within a day, and asked for before it is locked, 0 for no limit; ``*`` is all others."""
    own = {name: options["limit"] for kind in ("users", "relays") for name, options in sorted(model[kind].items()) if options["limit"]}
    return {name: " ".join(str(limit[key]) for key in KEYS) for name, limit in {"*": model["limits"], **own}.items()}


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the maps of who may send as whom and to how many, who is locked, and the files that switch modules, path below /etc to text.

    :param given: ``model``; ``managed``, the first line of each map; ``disabled_modules``, as the role's variable
    :raises MailError: a name that is no module's, or one that has a variable of its own
    """
    delivered = delivery(given["model"])
    maps = {
        "host-senders": {address: " ".join(accounts) or "-" for address, accounts in delivered["host_senders"].items()},
        "senders": {address: " ".join(logins) or "-" for address, logins in delivered["senders"].items()},
        "limits": limits(given["model"]),
    }
    head = f"# {given.get('managed') or 'Ansible managed'}\n"
    files = module_files(given.get("disabled_modules") or (), "rspamd_disabled_modules")
    if relays.of_hosts(given["model"]):
        maps["relays"] = relays.hosts_table(given["model"])
    forwards = leads_out(given["model"])
    if forwards:
        maps["leading-out"] = leading_out(given["model"], delivered)
    seals = forwards and _seals(given["model"])
    if seals or given["model"]["filter"]["arc_sealers"]:
        files[_ARC_FILE] = _ARC_VERIFIES + (_ARC_SEALS if seals else "")
    allow, block = given["model"]["filter"]["allow"], given["model"]["filter"]["block"]
    lists = {
        "allowed": [*allow["addresses"], *(f"@{name}" for name in allow["domains"])],
        "blocked": [*block["addresses"], *(f"@{name}" for name in block["domains"])],
        "blocked-networks": block["networks"],
    }
    for name, values in lists.items():
        files[f"rspamd/local.d/maps.d/postmaster-mail-{name}.map"] = head + "".join(f"{value}\n" for value in values)
    for name, text in locks.files(given["model"]["users"], given.get("managed", "")).items():
        files[f"rspamd/local.d/maps.d/postmaster-mail-locks/{name}"] = text
    for name, entries in maps.items():
        text = head + "".join(f"{key} {value}\n" for key, value in entries.items())
        files[f"rspamd/local.d/maps.d/postmaster-mail-{name}.map"] = text
    return files
