# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Postfix's tables are printed from where they differ from the common ones: forwarded mail, limits of clients. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _limits, _names
from ansible_collections.postmaster.mail.plugins.module_utils._delivery import SRS_DAYS, srs_key
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

#: What the domain of a forwarded recipient ends in on its way through this host. No such domain exists (RFC 6761 section 6.4),
#: so nothing is ever sent there by mistake.
SUFFIX = "srs.invalid"

#: How many characters of a hash make an address of ours; case does not count, so each is worth a little more than five bits. With that of
#: an earlier release, which are read until none of them is young enough, one in two million guesses is right.
HASH_LENGTH = 8
FORMER_HASH_LENGTH = 4
#: The day of an address, modulo 1024, in these digits (RFC 4648 section 6).
_STAMPS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

# RFC 1035 section 2.3.4.
_LONGEST_DOMAIN = 253


def srs_domain(model: Mapping[str, Any]) -> str:
    """Return the domain of rewritten senders: one with an SPF record of ours and, if there is one, without a catch-all.

    The server's own name is best. It tells nothing of whose mail is forwarded, and leads back to this very host.

    :param model: what :func:`_model.normalise` returns
    """
    fqdn, domains = model["fqdn"], model["domains"]
    if fqdn not in domains and any(fqdn.endswith(f".{domain}") for domain in domains):
        return fqdn
    candidates = sorted(domains, key=lambda domain: domain != fqdn) or [fqdn]
    return next((domain for domain in candidates if not domains.get(domain, {}).get("catch_all")), candidates[0])


def forwarded(aliases: Mapping[str, Iterable[str]], local: Iterable[str]) -> dict[str, list[str]]:
    """Return a table of aliases in which every target that is elsewhere is marked as forwarded.

    :param aliases: name to addresses
    :param local: the domains that end here
    :raises MailError: a domain that is too long to be marked
    """
    here = set(local)
    found = {}
    for name, targets in aliases.items():
        found[name] = []
        for target in targets:
            domain = target.rpartition("@")[2]
            if domain in here:
                found[name].append(target)
                continue
            if len(domain) + len(SUFFIX) + 1 > _LONGEST_DOMAIN:
                raise MailError(f"alias {shown(name)} leads to {shown(target)}: its domain is longer than the "
                                f"{_LONGEST_DOMAIN - len(SUFFIX) - 1} "
                                "octets that Postfix can forward to with SRS")
            found[name].append(f"{target}.{SUFFIX}")
    return found


def login_senders(host_senders: Mapping[str, Iterable[str]], fqdn: str) -> list[dict[str, str]]:
    """Return the lines of local_login_sender_maps, first match first: C(pattern), a regular expression of POSIX for the name of an
    account, and C(senders).

    An address at the server's name is that of the account with its name, unless it is a user's. It is compared as sendmail was told it,
    and that is the bare name where nothing is said.

    :param host_senders: as :func:`_delivery.host_senders` returns it
    :param fqdn: the server's name
    """
    everybody = [name for address, accounts in host_senders.items() if "*" in accounts
                 for name in ([address.partition("@")[0]] if address.endswith(f"@{fqdn}") else []) + [address]]
    granted: dict[str, list[str]] = {"root": ["<>"]}
    for address, accounts in host_senders.items():
        for account in accounts:
            if account != "*":
                granted.setdefault(account, []).append(address)
    # Of these nobody has an address of the same name.
    for address, accounts in host_senders.items():
        local, _at, domain = address.rpartition("@")
        if not accounts and domain == fqdn:
            granted.setdefault(local, [])
    lines = []
    for account, addresses in sorted(granted.items()):
        own = f"{account}@{fqdn}"
        own_names = [account, own] if host_senders.get(own, [account]) else []
        lines.append({"pattern": f"^{_quoted(account)}$", "senders": _result(dict.fromkeys([*own_names, *everybody, *addresses]))})
    return [*lines, {"pattern": "^([a-z_][a-z0-9_.-]*)$", "senders": ", ".join(["$1", f"$1@{fqdn}", _result(everybody)])}]


def _result(addresses: Iterable[str]) -> str:
    """Return addresses as the right side of a line of regexp_table(5), where a dollar sign begins what was matched."""
    return ", ".join(addresses).replace("$", "$$")


def stamps(day: int) -> list[str]:
    """Return how the days are written on which an address was made that is still good on this one.

    :param day: days since 1970
    """
    return [_STAMPS[number % 1024 // 32] + _STAMPS[number % 32] for number in range(day - SRS_DAYS, day + 1)]


def trusted(networks: Iterable[str]) -> list[str]:
    """Return networks in Postfix's notation, in which an IPv6 address stands in brackets.

    :param networks: in that notation or without the brackets; C(!) before one takes it out of those behind it
    :raises MailError: another text, such as the name of a file or table; bits behind the prefix, which Postfix refuses; all the world
    """
    found = []
    for text in networks:
        option = "postfix_trusted_networks"
        excluded = "!" if isinstance(text, str) and text.startswith("!") else ""
        plain = re.sub(r"\A\[([^][]*)\](/[0-9]+)?\Z", r"\1\2", text.removeprefix("!")) if isinstance(text, str) else text
        net = _names.ip_network(plain, option)
        if not net.prefixlen and not excluded:
            raise MailError(f"{option} {shown(text)} is all the world: with it, this server is an open relay")
        found.append(f"{excluded}[{net.network_address}]/{net.prefixlen}" if net.version == 6 else f"{excluded}{net}")
    return found


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Postfix's tables are printed from.

    :param given: C(model), C(delivery), and as in the role's variables C(srs), C(srs_key) and C(trusted_networks); C(day), today as days
        since 1970
    :returns: C(trusted), see :func:`trusted`, C(login_senders), see :func:`login_senders`, C(aliases) and C(system), as in C(delivery) but
        with marked targets, and
        C(srs): None where nothing is forwarded or senders stay as they are, else C(domain), C(suffix), C(suffix_pattern),
        and regular expressions of POSIX: C(pattern) for all that looks like an address made here, C(made) for what may have been,
        C(made_before) for what an earlier release may have made up to this day; C(client_limits), parameters
    :raises MailError: a value that breaks a rule
    """
    model, tables = given["model"], given["delivery"]
    if given.get("srs_key"):
        srs_key(given["srs_key"], "postfix_srs_key")
    aliases, system, srs = dict(tables["aliases"]), dict(tables["system"]), None
    if given["srs"]:
        here = sorted({*tables["domains"], model["fqdn"]})
        marked = forwarded(aliases, here), forwarded(system, here)
        if marked != (aliases, system):
            aliases, system = marked
            domain = srs_domain(model)
            back, digit = _quoted(domain), "[A-Za-z0-9+/]"
            former, days = f"[-+=]{digit}{{{FORMER_HASH_LENGTH}}}", "|".join(stamps(given.get("day", 0)))
            srs = {
                "domain": domain,
                "pattern": f"^(SRS[01][-+=].*@{back})$",
                "made": f"^(SRS[01][-+=]{digit}{{{HASH_LENGTH}}}=.*@{back})$",
                # An address that was rewritten twice has the stamp of the first time, behind that one's hash.
                "made_before": f"^(SRS(0{former}|1{former}=[^=@]+=[-+=][^=@]+)=({days})=.*@{back})$",
                "suffix": SUFFIX,
                "suffix_pattern": rf"^(.*)\.{_quoted(SUFFIX)}$",
            }
    return {
        "trusted": trusted(given.get("trusted_networks", ())),
        "aliases": aliases,
        "system": system,
        "srs": srs,
        "login_senders": login_senders(tables["host_senders"], model["fqdn"]),
        "client_limits": _limits.postfix(model["filter"]["trusted"]),
    }


def _quoted(domain: str) -> str:
    return domain.replace(".", "\\.")
