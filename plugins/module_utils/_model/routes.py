# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_routes`` means: which mail leaves through which smarthosts, and which goes to its destination by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems, kind, nearest
from ansible_collections.postmaster.mail.plugins.module_utils._records import spf

ROUTE_KEYS = ("hosts", "default", "to", "from")
HOST_KEYS = ("host", "port", "user", "password", "ca", "spf")
#: By its MX, as without a route.
DIRECT = "direct"
#: The port on which TLS begins at once (RFC 8314 section 3.3); on the others it begins with STARTTLS (RFC 3207).
IMPLICIT_TLS = 465
PORTS = (25, IMPLICIT_TLS, 587, 2525)
#: Octets of a user's name or password: both together are one line of a table, which OpenSMTPD reads up to 2047 of.
_LONGEST = 500
_MOST_HOSTS = 5

_NAME = re.compile(r"[a-z][a-z0-9]{0,19}\Z")


def read_routes(problems: Problems, given: Any, local: set[str]) -> dict[str, Any]:
    """Check which mail leaves through smarthosts.

    :param local: the domains that are delivered here, and the server's name
    :returns: ``hosts``, smarthost to ``host``, ``port``, ``user`` and ``password`` (empty for none), ``ca`` (PEM text or a path; empty for
        the system's authorities) and ``spf`` (terms); ``default``, ``to`` and ``from`` (domain to the same), the smarthosts in the order
        in which they are tried; an empty list is direct
    """
    options = problems.mapping(given, "mail_routes", ROUTE_KEYS)
    hosts: dict[str, dict[str, Any]] = {}
    for name, value in problems.mapping(options.get("hosts"), "mail_routes.hosts").items():
        where = f"mail_routes.hosts[{shown(name)}]"
        if not isinstance(name, str) or not _NAME.match(name) or name == DIRECT:
            problems.add(f"{where} names a smarthost: a letter, then at most 19 letters and digits, all lower case, and not '{DIRECT}'")
        hosts[str(name)] = _read_host(problems, value, where)
    found: dict[str, Any] = {"hosts": dict(sorted(hosts.items())), "to": {}, "from": {}}
    found["default"] = _way(problems, options.get("default", DIRECT), "mail_routes.default", hosts)
    for key in ("to", "from"):
        for name, value in problems.mapping(options.get(key), f"mail_routes.{key}").items():
            where = f"mail_routes.{key}[{shown(name)}]"
            domain = problems.attempt(_names.domain_name, name, f"mail_routes.{key}")
            way = _way(problems, value, where, hosts)
            if domain in found[key]:
                problems.add(f"{where} is declared twice (names are compared without case)")
            elif key == "to" and domain in local:
                problems.add(f"{where} is a domain of this server: its mail is delivered here")
            elif domain:
                found[key][domain] = way
        found[key] = dict(sorted(found[key].items()))
    return found


def _read_host(problems: Problems, given: Any, where: str) -> dict[str, Any]:
    options = problems.mapping(given, where, HOST_KEYS)
    if options.get("host") is None:
        problems.add(f"{where}.host is missing: the name of the smarthost, which its certificate is verified for")
    elif _names.is_ip_address(options["host"]):
        problems.add(f"{where}.host {shown(options['host'])} is an address: a certificate is verified for a name")
        options["host"] = None
    port = options.get("port", 587)
    if isinstance(port, bool) or port not in PORTS:
        problems.add(f"{where}.port {shown(port)} is unknown; it is one of {', '.join(map(str, PORTS))}, and {IMPLICIT_TLS} is the one on "
                     "which TLS begins at once (RFC 8314)")
        port = 587
    user, password = (_login(problems, options.get(key), f"{where}.{key}", key) for key in ("user", "password"))
    if bool(options.get("user")) != bool(options.get("password")):
        alone = "user and no password" if options.get("user") else "password and no user"
        problems.add(f"{where} has {alone}: a smarthost is told both or none")
    ca = options.get("ca")
    if ca is not None:
        ca = problems.attempt(sinks.pem_or_path, ca, f"{where}.ca")
        if ca and "-----BEGIN " in ca:
            ca = problems.attempt(_secret_text.without_private_key, ca, f"{where}.ca")
        elif ca:
            ca = problems.attempt(sinks.path, ca, f"{where}.ca")
    terms = problems.strings(options.get("spf"), f"{where}.spf")
    return {
        "host": problems.attempt(_names.host_name, options["host"], f"{where}.host") if options.get("host") is not None else None,
        "port": port,
        "user": user,
        "password": password,
        "ca": ca or "",
        "spf": [text for text in terms if problems.attempt(_spf_term, text, f"{where}.spf")],
    }


def _spf_term(text: str, option: str) -> str:
    spf.term(text, option)
    return text


def _login(problems: Problems, value: Any, where: str, key: str) -> str:
    """Return a name or password for PLAIN (RFC 4616 section 2). What is wrong with a password is told without it."""
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        problems.add(f"{where} must be a string, not {kind(value)}: write it in quotation marks")
        return ""
    words = f"{where} {shown(value)}" if key == "user" else where
    if len(value.encode("utf-8", "replace")) > _LONGEST:
        problems.add(f"{where} is longer than {_LONGEST} octets")
    elif not value.isprintable() or value != value.strip() or not value.isascii():
        problems.add(f"{words} has a space at its beginning or end, or a character that is not visible ASCII, which the tables of an MTA "
                     "cannot carry")
    elif key == "user" and ":" in value:
        problems.add(f"{words} has a ':', which ends the name in the tables of an MTA")
    else:
        return str(value)
    return ""


def _way(problems: Problems, given: Any, where: str, hosts: Mapping[str, Any]) -> list[str]:
    """Return the smarthosts of one route, in order; none for direct."""
    names = problems.strings(given, where)
    if not names and (given is None or given == []):
        problems.add(f"{where} names no smarthost: write '{DIRECT}' for mail that is to go to its destination by itself")
    for name in names:
        if name != DIRECT and name not in hosts:
            problems.add(f"{where} {shown(name)} is none of mail_routes.hosts{nearest(name, [*hosts, DIRECT])}")
    if DIRECT in names:
        if len(names) > 1:
            problems.add(f"{where} has '{DIRECT}' beside smarthosts: it stands alone")
        return []
    if len(set(names)) < len(names):
        problems.add(f"{where} names a smarthost twice")
    elif len(names) > _MOST_HOSTS:
        problems.add(f"{where} names {len(names)} smarthosts, more than {_MOST_HOSTS}")
    places = [(hosts[name]["host"], hosts[name]["port"]) for name in names if name in hosts]
    if len(set(places)) < len(places) and len(set(names)) == len(names):
        problems.add(f"{where} has two smarthosts with one host and port")
    return names


def ways(routes: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the lists of smarthosts that are in use, by a name for each, in the order of these names.

    :param routes: ``routes`` of the model
    """
    return dict(sorted((way_name(way), way) for way in (routes["default"], *routes["to"].values(), *routes["from"].values()) if way))


def way_name(way: list[str]) -> str:
    """Return the name of a list of smarthosts: theirs, which have no hyphen."""
    return "-".join(way)


def authenticates(routes: Mapping[str, Any]) -> bool:
    """Tell whether a smarthost that is in use asks for a password.

    :param routes: ``routes`` of the model
    """
    return any(routes["hosts"][name]["user"] for way in ways(routes).values() for name in way)


def falls_back(routes: Mapping[str, Any]) -> bool:
    """Tell whether a route has several smarthosts.

    :param routes: ``routes`` of the model
    """
    return any(len(way) > 1 for way in ways(routes).values())


def spf_terms(routes: Mapping[str, Any], domain: str) -> list[str]:
    """Return the terms by which smarthosts may send for a domain: those of all that are declared, so that no record changes where mail is
    re-routed, but of one that only mail of some senders goes to, for these.

    :param routes: ``routes`` of the model
    """
    senders: dict[str, set[str]] = {}
    for sender, way in routes["from"].items():
        for name in way:
            senders.setdefault(name, set()).add(sender)
    for name in (*routes["default"], *(name for way in routes["to"].values() for name in way)):
        senders.pop(name, None)
    found = [term for name, host in routes["hosts"].items() if domain in senders.get(name, {domain}) for term in host["spf"]]
    return list(dict.fromkeys(found))


def refusals(model: Mapping[str, Any], mta: str, os_family: str) -> Iterator[str]:
    """Yield one line for each route that an MTA cannot have, with what to use instead.

    :param model: what :func:`_model.normalise` returns
    :param mta: its name
    """
    routes = model["routes"]
    places = [("mail_routes.default", routes["default"])]
    places += [(f"mail_routes.{key}[{shown(domain)}]", way) for key in ("to", "from") for domain, way in routes[key].items()]
    for where, way in places:
        yield from _REFUSALS[mta](routes, where, way)
    if mta == "postfix":
        if os_family == "OpenBSD" and authenticates(routes):
            yield ("mail_routes has a smarthost with a password: OpenBSD's package of Postfix cannot log in anywhere, since it is built "
                   "without Cyrus SASL. Use mail_mta: opensmtpd")
        if routes["from"] and not routes["default"] and model["slow_destinations"]:
            yield ("mail_routes.from cannot be had beside mail_slow_destinations: Postfix looks for the transport of a recipient first, so "
                   f"mail from {next(iter(routes['from']))} to such a domain would go there by itself. Set mail_slow_destinations: {{}} "
                   "and all other mail leaves at full speed, or use mail_mta: opensmtpd")


def _refused_by_postfix(routes: Mapping[str, Any], where: str, way: list[str]) -> Iterator[str]:
    ports = {name: routes["hosts"][name]["port"] for name in way}
    if 0 < sum(port == IMPLICIT_TLS for port in ports.values()) < len(ports):
        yield (f"{where} has smarthosts on port {IMPLICIT_TLS} and on others: Postfix begins TLS at once with all of a route or with none. "
               f"Give {', '.join(ports)} one port, {IMPLICIT_TLS} or 587; most providers have both")


def _refused_by_opensmtpd(routes: Mapping[str, Any], where: str, way: list[str]) -> Iterator[str]:
    authorities = {name: routes["hosts"][name]["ca"] for name in way}
    if len(set(authorities.values())) > 1 and not all(_is_pem(ca) for ca in authorities.values()):
        yield (f"{where} has smarthosts with several authorities: smtpd verifies all of one action with the same. Give {', '.join(way)} "
               "PEM text as ca, or the same path, or none; or use mail_mta: postfix")


def _is_pem(ca: str) -> bool:
    return "-----BEGIN " in ca


def authority(routes: Mapping[str, Any], way: list[str]) -> tuple[str, str]:
    """Return PEM text of those who may certify the smarthosts of a route, or the path of a file with it; both are empty for the system's.

    :param routes: ``routes`` of the model
    """
    found = list(dict.fromkeys(routes["hosts"][name]["ca"] for name in way))
    if all(_is_pem(ca) for ca in found):
        return "".join(f"{ca.rstrip(chr(10))}\n" for ca in found), ""
    return "", found[0]


_REFUSALS = {"postfix": _refused_by_postfix, "opensmtpd": _refused_by_opensmtpd}
