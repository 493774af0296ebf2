# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which address goes where, and who may send as whom: the tables that every MTA here writes in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._constants import HOST_NAMES, ROLE_NAMES
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import lists

#: How many days a bounce of forwarded mail may take to come back. PostSRSd has no option for it.
SRS_DAYS = 21
#: How many users an address may reach that all of them may send from; a longer list is one that is written to, not from.
MOST_OWNERS = 10


def srs_key(value: str, option: str) -> str:
    """Return a secret of the Sender Rewriting Scheme that every MTA here can read from its file.

    :raises MailError: too short, or with characters that would have to be quoted
    """
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", value):
        raise MailError(f"{option} must be at least 16 letters, digits and characters of ._~+/=-")
    return value


def elsewhere(options: Mapping[str, Any]) -> bool:
    """Tell whether others alone take the mail of a domain, which this server only sends for.

    :param options: of ``domains`` of the model
    """
    return bool(options["mx"]["elsewhere"])


def taken(domains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the domains whose mail is taken here, sorted.

    :param domains: as the model has them
    """
    return sorted(name for name, options in domains.items() if not elsewhere(options))


def delivery(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables of one server, sorted, so that equal inventories give equal files.

    :param model: what :func:`_model.normalise` returns
    :returns: ``domains`` (list), ``mailboxes`` (list of addresses), ``aliases`` (address or ``@domain`` to a list of
        addresses), ``lists`` (addresses whose mail Mailman gets), ``no_mail`` (address to the text by which its mail is refused, empty
        where it is discarded; it is in neither of the former), ``recipient_delimiter`` (as in the model), ``senders`` (see :func:`owners`)
        and ``system`` (bare local names, such as the ``postmaster`` of RFC 5321 section 4.5.1, to a list of addresses)
    """
    users, postmaster = [user for user in model["users"] if user not in model["no_mail"]], model["postmaster"]
    aliases = {name: list(targets) for name, targets in model["aliases"].items()}
    caught = {f"@{domain}": list(options["catch_all"]) for domain, options in model["domains"].items() if options["catch_all"]}
    aliases.update(caught)
    of_lists = list_addresses(model)
    # A catch-all is asked before the mailboxes; each mailbox must therefore name itself to keep its mail.
    aliases.update({
        name: [name] for name in (*users, *of_lists) if f"@{name.rpartition('@')[2]}" in caught and name not in aliases
    })
    senders = owners(model)
    system = {}
    if postmaster:
        system = {name: [postmaster] for name in (*ROLE_NAMES, *HOST_NAMES)}
    return {
        "domains": taken(model["domains"]),
        "mailboxes": sorted(users),
        "lists": of_lists,
        "aliases": dict(sorted(aliases.items())),
        "no_mail": dict(sorted(model["no_mail"].items())),
        "recipient_delimiter": model["recipient_delimiter"],
        "senders": senders,
        "system": dict(sorted(system.items())),
        "host_senders": host_senders(model, [name for name, logins in senders.items() if logins and name[0] != "@"]),
    }


def list_addresses(model: Mapping[str, Any]) -> list[str]:
    """Return the addresses of mailing lists that take mail, sorted.

    :param model: what :func:`_model.normalise` returns
    """
    names = (name for address in model.get("lists", ()) for name in lists.all_addresses(address))
    return sorted(name for name in names if name not in model["no_mail"])


def domain_copies(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the domains that others are, to these others (``alias_of``)."""
    found: dict[str, list[str]] = {}
    for name, options in model["domains"].items():
        other = model["domains"].get(options["alias_of"])
        if other and not other["alias_of"]:
            found.setdefault(options["alias_of"], []).append(name)
    return found


def _with_copies(address: str, copies: Mapping[str, Iterable[str]]) -> list[str]:
    """Return an address, or ``@domain``, and the same in domains that are its own."""
    local, _at, domain = address.rpartition("@")
    return [address, *(f"{local}@{copy}" for copy in copies.get(domain, ()))]


def relay_domains(relay: Mapping[str, Any], copies: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the domains that a relay sends as, with those that are one of them.

    :param relay: one of ``relays`` of the model
    :param copies: as :func:`domain_copies` returns them, once for all relays
    """
    return sorted({name for domain in relay["domains"] for name in (domain, *copies.get(domain, ()))})


def owners(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return who may send as whom: whoever receives the mail of an address may answer from it, and whoever is granted it,
    a relay by its name or login.

    The most exact name counts: the address, then the address without its detail, then ``@domain``, which is all addresses of a domain
    that nobody has.

    :param model: what :func:`_model.normalise` returns
    :returns: address or ``@domain`` to logins, both sorted; an empty list is an address that is nobody's, though ``@domain`` is somebody's
    """
    users, aliases, copies = model["users"], model["aliases"], domain_copies(model)
    granted: dict[str, set[str]] = {}
    for user, options in users.items():
        for sender in (user, *options["senders"]):
            for name in _with_copies(sender, copies):
                granted.setdefault(name, set()).add(user)
    for name, relay in model.get("relays", {}).items():
        for domain in relay_domains(relay, copies):
            granted.setdefault(f"@{domain}", set()).add(relay["login"] or name)
    caught = [f"@{domain}" for domain, options in model["domains"].items() if options["catch_all"]]
    found = {}
    for name in {*granted, *aliases, *caught, *model["no_mail"], *list_addresses(model)}:
        receivers = members(model, name)
        if not model["send_as"].get(name, len(receivers) <= MOST_OWNERS):
            receivers = []
        # Who is granted a domain is granted its named addresses as well; who receives the rest of it is not.
        found[name] = {*receivers, *granted.get(name, ()), *granted.get(f"@{name.rpartition('@')[2]}", ())}
    return {
        name: sorted(logins) for name, logins in sorted(found.items()) if logins or f"@{name.rpartition('@')[2]}" in found
    }


def writers(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the aliases that are closed to strangers, sorted, to the logins that may write to them; ``*`` is whoever has logged in.

    :param model: what :func:`_model.normalise` returns
    """
    return {name: ["*"] if who == "users" else members(model, name) for name, who in sorted(model["closed"].items())}


def members(model: Mapping[str, Any], alias: str) -> list[str]:
    """Return the users whose mailboxes an alias leads to, also by way of other aliases, sorted.

    :param model: ``users``, ``aliases``, ``no_mail``, ``domains`` and ``recipient_delimiter`` of what :func:`_model.normalise` returns
    """
    return sorted(_ends(model, [alias])[0])


def _ends(model: Mapping[str, Any], names: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the users whose mailboxes names lead to, and the addresses of other servers, through all aliases and catch-alls."""
    users, aliases, no_mail = model["users"], model["aliases"], model["no_mail"]
    here: set[str] = set()
    away: set[str] = set()
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        plain, domain = _names.without_detail(name, model["recipient_delimiter"]), name.rpartition("@")[2]
        known = next((known for known in (name, plain) if known in aliases or known in no_mail), "")
        if name not in seen and known:
            seen.add(name)
            waiting += () if known in no_mail else aliases[known]
        elif plain in users:
            here.add(plain)
        elif name not in seen and not lists.has(model.get("lists", {}), plain):
            seen.add(name)
            if domain in model["domains"] and not elsewhere(model["domains"][domain]):
                waiting += model["domains"][domain]["catch_all"]
            elif domain == model.get("fqdn"):
                # Of the host itself there are the role addresses, which are the postmaster's.
                local = name.partition("@")[0].lower()
                waiting += [model["postmaster"]] if local in (*ROLE_NAMES, *HOST_NAMES) and model["postmaster"] else []
            else:
                away.add(name)
    return here, away


def leading_out(model: Mapping[str, Any], delivered: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses whose mail goes on to other servers, through all aliases and catch-alls, also on a backup MX of theirs.

    The most exact name counts: the address, then the address without its detail, then ``@domain``.

    :param model: what :func:`_model.normalise` returns
    :param delivered: what :func:`delivery` returns of it
    :returns: address, ``@domain`` or bare name to ``elsewhere``, to ``both``, where a mailbox of this server gets it as well, or to
        ``here``, an address that does not lead out though its ``@domain`` does; sorted
    """
    found = {}
    for name, targets in recipients(delivered, model["fqdn"]).items():
        here, away = _ends(model, targets)
        found[name] = "here" if not away else "both" if here else "elsewhere"
    out = {name for name, where in found.items() if where != "here"}
    return {name: where for name, where in sorted(found.items()) if name in out or f"@{name.rpartition('@')[2]}" in out}


def junk_keeper(model: Mapping[str, Any]) -> str:
    """Return whose folder for junk has what is not forwarded and has no mailbox here: the postmaster's, or the first user's; empty where
    there is no user.

    :param model: what :func:`_model.normalise` returns
    """
    return next(iter([*members(model, model["postmaster"] or ""), *sorted(model["users"])]), "")


def forwards(model: Mapping[str, Any]) -> bool:
    """Tell whether mail of an alias, a catch-all or a role address goes on to another server.

    :param model: what :func:`_model.normalise` returns
    """
    # All mail of a backup MX goes to the servers of its domain, and these do what aliases say.
    return not model.get("backup") and leads_out(model)


def leads_out(model: Mapping[str, Any]) -> bool:
    """Tell whether an alias, a catch-all or a role address leads to another server, whichever server of ours sends its mail there.

    :param model: what :func:`_model.normalise` returns
    """
    local = {*taken(model["domains"]), model["fqdn"]}
    targets = [address for addresses in model["aliases"].values() for address in addresses]
    targets += [address for options in model["domains"].values() for address in options["catch_all"]]
    targets += [model["postmaster"]] if model["postmaster"] else []
    return any(address.rpartition("@")[2] not in local for address in targets)


def host_senders(model: Mapping[str, Any], owned: Iterable[str]) -> dict[str, list[str]]:
    """Return what programs of this host may send as, beside ``ACCOUNT@FQDN``: the role addresses, and what is granted.

    :param model: what :func:`_model.normalise` returns
    :param owned: the addresses that users send from
    :returns: address or ``@domain`` to the accounts that may send as it; ``*`` is all of them, and an empty list says that an address at
        the server's name is a user's and not that of an account
    """
    fqdn, copies = model["fqdn"], domain_copies(model)
    users = {name for user in model["users"] for name in _with_copies(user, copies)}
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
            for name in _with_copies(address, copies):
                found.setdefault(name, set()).add(account)
    for address in model.get("lists", ()):
        for name in lists.all_addresses(address):
            found.setdefault(name, set()).add(lists.ACCOUNT)
    return {address: sorted(accounts) for address, accounts in sorted(found.items())}


def recipients(tables: Mapping[str, Any], fqdn: str | None) -> dict[str, list[str]]:
    """Return all names that mail is taken for and that are no mailboxes: aliases, catch-alls, and the names of this host.

    :param tables: what :func:`delivery` returns
    :param fqdn: the server's name, which bare local names belong to
    :returns: address, ``@domain`` or bare name to a list of addresses, empty for an address whose mail nobody receives
    """
    found = {**tables["aliases"], **{name: [] for name in tables["no_mail"]}}
    for name, targets in tables["system"].items():
        for known in (name, f"{name}@localhost", *([f"{name}@{fqdn}"] if fqdn else [])):
            found.setdefault(known, targets)
    return found
