# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_relays`` means: which hosts and accounts send through this server to anybody, as addresses of which of its domains."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.limits import read_limit
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems, nearest

RELAY_KEYS = ("hosts", "login", "domains", "limit")
#: The network of one site, by version: everybody within it is trusted with the domains.
WIDEST = {4: 16, 6: 48}

#: It is the name of an account among the logins, which have an '@'.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")


def read_relays(problems: Problems, given: Any, model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Check who relays through this server.

    :param model: ``domains``, ``parked``, ``users``, ``limits``, ``addresses`` and ``peers`` are read
    :returns: relay to ``hosts``, networks in canonical form, or ``login``, a user (the other is empty); ``domains``; and ``limit``, see
        :func:`_limits.read_limit`
    """
    found: dict[str, dict[str, Any]] = {}
    taken: list[tuple[Any, str]] = []
    for name, value in problems.mapping(given, "mail_relays").items():
        where = f"mail_relays[{shown(name)}]"
        if not isinstance(name, str) or not _NAME.match(name):
            problems.add(f"{where} names a relay: a letter, then at most 19 letters, digits and hyphens, all lower case")
        options = problems.mapping(value, where, RELAY_KEYS)
        networks = [network for text in problems.strings(options.get("hosts"), f"{where}.hosts")
                    if (network := problems.attempt(_host, text, f"{where}.hosts", model))]
        for network in networks:
            other = next((one for one in taken if one[0].version == network.version and one[0].overlaps(network)), None)
            if other and other[1] != where:
                problems.add(f"{where}.hosts '{network}' overlaps '{other[0]}' of {other[1]}: a host is of one relay, which may have "
                             "several domains")
            elif other and other[0] != network:
                problems.add(f"{where}.hosts '{network}' overlaps '{other[0]}', which is there as well: name the wider one")
            taken.append((network, where))
        found[str(name)] = {
            "hosts": sorted({str(network) for network in networks}),
            "login": _login(problems, options, where, model["users"]),
            "domains": sorted(set(_domains(problems, options.get("domains"), where, model))),
            "limit": read_limit(problems, options.get("limit"), f"{where}.limit", model["limits"]),
        }
    return dict(sorted(found.items()))


def _host(text: str, option: str, model: Mapping[str, Any]) -> Any:
    """Return the network of a host, or of several.

    :raises MailError: not a network in CIDR form; one that others than a site's own hosts are in, or this host or another of the inventory
    """
    network = _names.ip_network(text, option)
    if network.prefixlen < (least := WIDEST[network.version]):
        raise MailError(f"{option} {shown(text)} is wider than /{least}, and everybody in it may send in the name of the domains: name the "
                        "hosts, or their own networks; who is elsewhere logs in")
    for kind, rule in {
        "is_loopback": "is this host itself: its programs send as mail_host_senders says",
        "is_unspecified": "is no address of a host",
        "is_multicast": "is a multicast address, from which nothing comes",
        "is_link_local": "is a link-local address, which any neighbour can take: give the host another one",
    }.items():
        if getattr(network, kind):
            raise MailError(f"{option} {shown(text)} {rule}")
    own = [address for family in model["addresses"].values() for address in family]
    for whose, addresses in [("this server", own), *((f"host {peer['fqdn']}", peer.get("addresses", ())) for peer in model["peers"])]:
        for address in map(ipaddress.ip_address, addresses):
            if address in network:
                raise MailError(f"{option} {shown(text)} has an address of {whose}, {address}: what it takes from strangers would be "
                                "signed")
    return network


def _login(problems: Problems, options: Mapping[str, Any], where: str, users: Mapping[str, Any]) -> str:
    login = problems.text(options.get("login"), f"{where}.login")
    if (login is None) == (not options.get("hosts")):
        problems.add(f"{where} needs hosts, addresses or networks, or login, a user of mail_users, and one of the two")
    if login is None:
        return ""
    name = str(problems.attempt(_names.address, login, f"{where}.login", default=""))
    if name and name not in users:
        problems.add(f"{where}.login {shown(name)} is none of mail_users{nearest(name, list(users))}: declare it there, with a "
                     "password_hash")
    if options.get("limit") is not None:
        problems.add(f"{where}.limit has no meaning beside login: write mail_users[{shown(name)}].limit")
    return name


def _domains(problems: Problems, given: Any, where: str, model: Mapping[str, Any]) -> Iterator[str]:
    texts = problems.strings(given, f"{where}.domains")
    if not texts:
        problems.add(f"{where}.domains is missing: those of mail_domains that it sends as, which are signed for it")
    for text in texts:
        domain = problems.attempt(_names.domain_name, text, f"{where}.domains")
        if domain is None:
            continue
        options = model["domains"].get(domain)
        if domain in model["parked"]:
            problems.add(f"{where}.domains {shown(text)} is parked, and sends nothing: take mail_domains[{domain!r}].parked out")
        elif options is None:
            problems.add(f"{where}.domains {shown(text)} is none of mail_domains{nearest(domain, list(model['domains']))}: declare it "
                         f"there, as '{domain}: {{}}', and it has a key and records")
        elif not options["dkim"]["enabled"]:
            problems.add(f"{where}.domains {shown(text)} is not signed, since mail_domains[{domain!r}].dkim is false: take that out")
        else:
            yield domain
