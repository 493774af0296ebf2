# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address goes where, and who may send as whom: the tables that every MTA here writes in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import HOST_NAMES, ROLE_NAMES

#: How many days a bounce of forwarded mail may take to come back. PostSRSd has no option for it.
SRS_DAYS = 21


def srs_key(value: str, option: str) -> str:
    """Return a secret of the Sender Rewriting Scheme that every MTA here can read from its file.

    :raises MailError: too short, or with characters that would have to be quoted
    """
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", value):
        raise MailError(f"{option} must be at least 16 letters, digits and characters of ._~+/=-")
    return value


def delivery(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of one server, sorted, so that equal inventories give equal files.

    :param model: what :func:`_model.normalise` returns
    :returns: C(domains) (list), C(mailboxes) (list of addresses), C(aliases) (address or C(@domain) to a list of
        addresses), C(senders) (address to the list of logins that may send as it), C(logins) (the same the other way round),
        and C(system) (bare local names, such as the C(postmaster) of RFC 5321 section 4.5.1, to a list of addresses)
    """
    users, postmaster = model["users"], model["postmaster"]
    aliases = {name: list(targets) for name, targets in model["aliases"].items()}
    for domain, options in model["domains"].items():
        if options["catch_all"]:
            aliases[f"@{domain}"] = list(options["catch_all"])
            # A catch-all is asked before the mailboxes; each mailbox must therefore name itself to keep its mail.
            for user in users:
                if user.endswith(f"@{domain}"):
                    aliases.setdefault(user, [user])
    senders: dict[str, set[str]] = {}
    for user, options in users.items():
        for sender in (user, *options["senders"]):
            senders.setdefault(sender, set()).add(user)
    # Whoever receives the mail of an address may answer from it.
    for name, targets in model["aliases"].items():
        for target in targets:
            if target in users:
                senders.setdefault(name, set()).add(target)
    logins: dict[str, list[str]] = {user: [] for user in sorted(users)}
    for sender, owners in sorted(senders.items()):
        for owner in owners:
            logins[owner].append(sender)
    system = {}
    if postmaster:
        system = {name: [postmaster] for name in (*ROLE_NAMES, *HOST_NAMES)}
    return {
        "domains": sorted(model["domains"]),
        "mailboxes": sorted(users),
        "aliases": dict(sorted(aliases.items())),
        "senders": {name: sorted(logins) for name, logins in sorted(senders.items())},
        "logins": logins,
        "system": dict(sorted(system.items())),
        "host_senders": host_senders(model, senders),
    }


def host_senders(model: Mapping[str, Any], owned: Iterable[str]) -> dict[str, list[str]]:
    """Return what programs of this host may send as, beside C(ACCOUNT@FQDN): the role addresses, and what is granted.

    :param model: what :func:`_model.normalise` returns
    :param owned: the addresses that users send from
    :returns: address or C(@domain) to the accounts that may send as it; C(*) is all of them, and an empty list says that an address at
        the server's name is a user's and not that of an account
    """
    fqdn, users = model["fqdn"], model["users"]
    domains = {*model["domains"], *([fqdn] if fqdn else [])}
    found: dict[str, set[str]] = {f"{name}@{domain}": {"*"} for domain in domains for name in ROLE_NAMES}
    for address in owned:
        local, _at, domain = address.partition("@")
        if domain == fqdn and (address in users or local not in (*ROLE_NAMES, *HOST_NAMES)):
            found[address] = set()
        elif address in users:
            found.pop(address, None)
    for account, addresses in model["host_senders"].items():
        for address in addresses:
            found.setdefault(address, set()).add(account)
    return {address: sorted(accounts) for address, accounts in sorted(found.items())}


def recipients(tables: Mapping[str, Any], fqdn: str | None) -> dict[str, list[str]]:
    """Return all names that mail is taken for and that are no mailboxes: aliases, catch-alls, and the names of this host.

    :param tables: what :func:`delivery` returns
    :param fqdn: the server's name, which bare local names belong to
    :returns: address, C(@domain) or bare name to a list of addresses
    """
    found = dict(tables["aliases"])
    for name, targets in tables["system"].items():
        for known in (name, f"{name}@localhost", *([f"{name}@{fqdn}"] if fqdn else [])):
            found.setdefault(known, targets)
    return found
