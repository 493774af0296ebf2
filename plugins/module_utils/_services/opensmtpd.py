# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenSMTPD is given: the values of smtpd.conf, and the texts of its tables. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from warnings import catch_warnings, simplefilter

from ansible_collections.postmaster.mail.plugins.module_utils._constants import REFUSED
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts as mail_hosts
from ansible_collections.postmaster.mail.plugins.module_utils._model import lists as mail_lists
from ansible_collections.postmaster.mail.plugins.module_utils._model import routes as mail_routes
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import SRS_DAYS, delivery, srs_key, writers
from ansible_collections.postmaster.mail.plugins.module_utils._model.passwords import scheme_of
from ansible_collections.postmaster.mail.plugins.module_utils._services import limits, locks
from ansible_collections.postmaster.mail.plugins.module_utils._services import relays as mail_relays

#: This host itself: never judged by its name.
_LOCAL = ("127.0.0.0/8", "::1")

#: By family, an address that leaves the choice to the system.
_ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}
_FAMILIES = {"ipv4": "inet4", "ipv6": "inet6"}

#: What may become of a client for its name: it is refused for now, its mail is junk, or Rspamd alone counts it.
DECISIONS = ("disconnect", "junk", "score")

_CLASSES = ("alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit")
#: Of the right side of an alias: LINE_MAX, and the end of a string of C.
_LONGEST_LINE = 2047
#: The longest time that smtpd can count. It warns after 4 hours where nothing is said, and has no word for never.
_NEVER = "24855d"
#: How many days smtpd tries to deliver a report of its own, which is not to be changed (queue_bounce of its queue.c).
_BOUNCE_DAYS = 7

#: An address that no mail is for (RFC 6761 section 6.4): a table must not be empty.
_NOBODY = "nobody@discarded.invalid"

# RFC 7372 section 3.3. Temporary: names may be mended.
_REFUSED = "450 4.7.25 Reverse DNS validation failed"


def _targets(name: str, targets: Iterable[str], mailboxes: set[str], owner: str) -> str:
    """Return the right side of an alias; an address that leads to itself is its mailbox."""
    # An apostrophe would begin a quotation, in which commas separate nothing.
    values = [owner if target == name and target in mailboxes else target.replace("'", "\\'") for target in targets]
    text = ", ".join(values)
    if len(text) > _LONGEST_LINE:
        raise MailError(
            f"alias {shown(name)} leads to {len(values)} addresses of {len(text)} characters; OpenSMTPD reads {_LONGEST_LINE}. "
            "Spread them over further aliases, which this one leads to"
        )
    return text


def aliases(tables: Mapping[str, Any], fqdn: str, owner: str) -> dict[str, str]:
    """Return the table of all recipients: a full address, or ``@domain``, to where its mail goes.

    :param tables: what :func:`_delivery.delivery` returns
    :param fqdn: the server's name, which bare local names belong to
    :param owner: the system user that delivers; a mailbox leads to it
    :raises MailError: more addresses than OpenSMTPD reads
    """
    mailboxes = set(tables["mailboxes"])
    found = {name: _targets(name, targets, mailboxes, owner) for name, targets in tables["aliases"].items()}
    for mailbox in mailboxes:
        found.setdefault(mailbox, owner)
    for name, targets in tables["system"].items():
        for domain in (fqdn, "localhost"):
            found.setdefault(f"{name}@{domain}", _targets(name, targets, mailboxes, owner))
    return dict(sorted(found.items()))


def _table(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def _credentials(users: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the hash of each user, of which smtpd has crypt(3) alone verify the password.

    :raises MailError: one that only Dovecot knows
    """
    for user, options in users.items():
        if options["password_hash"].startswith("{"):
            scheme = scheme_of(options["password_hash"])
            raise MailError(
                f"mail_users[{shown(user)}].password_hash is a {{{scheme}}}, which only Dovecot can verify, and OpenSMTPD does not ask it: "
                "have mail_mta be postfix, or set this user another password, with a bcrypt hash"
            )
    return {user: options["password_hash"] for user, options in sorted(users.items())}


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the file tables, path below the directory of smtpd.conf to text.

    :param given: ``model``; ``owner``, the system user that delivers; and ``etc``, the directory of smtpd.conf
    :raises MailError: an alias of more addresses than OpenSMTPD reads, or a password's hash that it cannot verify
    """
    model = given["model"]
    delivered = delivery(model)
    fqdn = model["fqdn"]
    known = aliases(delivered, fqdn, given["owner"])
    lists = delivered["lists"]
    texts = {
        "aliases": _table(known),
        "credentials": _table(_credentials(model["users"])),
        "discarded": "".join(f"{name}\n" for name, text in delivered["no_mail"].items() if not text) or f"{_NOBODY}\n",
        "domains": "".join(f"{name}\n" for name in sorted({*delivered["domains"], fqdn, "localhost"})),
        # The filter's, as owners are.
        "no_mail": _table({name: f"550 {REFUSED} {text}" for name, text in delivered["no_mail"].items() if text}),
        # Whoever is not in it is refused as unknown; smtpd's own word for an address without an alias is a failed expansion.
        "recipients": "".join(f"{name}\n" for name in (*known, *(lists if model["backup"] else ()))),
        # A table must not be empty.
        "refused": model["refusals"].get("opensmtpd") or "^$\n",
        "owners": _table({address: ", ".join(logins) or "-" for address, logins in delivered["senders"].items()}),
    }
    if lists and not model["backup"]:
        texts["lists"] = "".join(f"{name}\n" for name in lists)
    routes = model["routes"]
    if mail_routes.authenticates(routes):
        texts["smarthosts"] = _table({name: f"{host['user']}:{host['password']}" for name, host in _smarthosts(routes) if host["user"]})
    if mail_relays.of_hosts(model):
        # The filter's, which says why such a host may not send to others.
        texts["relays"] = _table(mail_relays.hosts_table(model))
    closed = writers(model)
    if closed:
        # The filter's, as owners are.
        texts["closed"] = _table({alias: ", ".join(logins) for alias, logins in closed.items()})
    return {
        **{f"smtpd/tables/{name}": text for name, text in texts.items()},
        # These are the filter's alone, which reads them at each message.
        **{f"smtpd/locks/{name}": text for name, text in locks.files(model["users"]).items()},
        **_route_files(routes, given.get("etc", "/etc")),
    }


def _route_files(given: Mapping[str, Any], etc: str) -> dict[str, str]:
    """Return the files of routes: who may certify their smarthosts, and these, of each where there are several."""
    files = {}
    for name, way in mail_routes.ways(given).items():
        text, _path = mail_routes.authority(given, way)
        if text:
            files[f"smtpd/routes/{name}.pem"] = text
        if len(way) > 1:
            file = _authority(given, way, etc)
            lines = [" ".join(filter(None, (url(given["hosts"][host], host), file))) for host in way]
            files[f"smtpd/routes/{name}.hosts"] = "".join(f"{line}\n" for line in lines)
    return files


def _authority(given: Mapping[str, Any], way: list[str], etc: str) -> str:
    """Return the file of those who may certify the smarthosts of a route, or nothing."""
    text, path = mail_routes.authority(given, way)
    return f"{etc}/smtpd/routes/{mail_routes.way_name(way)}.pem" if text else path


def _smarthosts(routes: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the smarthosts that are in use, by their names."""
    return [(name, routes["hosts"][name]) for way in mail_routes.ways(routes).values() for name in way]


def url(host: Mapping[str, Any], name: str) -> str:
    """Return a smarthost as smtpd knows it. With these schemes it verifies the certificate, for the name of the host."""
    scheme = "smtps" if host["port"] == mail_routes.IMPLICIT_TLS else "smtp+tls"
    return f"{scheme}://{f'{name}@' if host['user'] else ''}{host['host']}:{host['port']}"


def _relay(given: Mapping[str, Any], way: list[str], etc: str) -> str:
    """Return what an action of smtpd.conf says of a way, behind ``relay``."""
    if not way:
        return ""
    name, hosts = mail_routes.way_name(way), [given["hosts"][host] for host in way]
    words = [f"host <hosts-{name}>" if len(way) > 1 else f'host "{url(hosts[0], name)}"']
    if any(host["user"] for host in hosts):
        words.append("auth <smarthosts>")
    if _authority(given, way, etc):
        words.append(f'ca "{name}"')
    return " ".join(words)


def _macro(way: str) -> str:
    """Return the macro of smtpd.conf, which has no hyphens, for the file of a route's authorities. Its value has quotation marks: no word
    of smtpd.conf begins with a slash."""
    return f"{way.replace('-', '_')}_ca"


def routes(given: Mapping[str, Any], etc: str) -> dict[str, Any]:
    """Return what smtpd.conf says of routes: ``authorities``, route to ``macro`` and ``file`` of those who may certify its smarthosts;
    ``staged``, the macros whose file is one of ours, as smtpd is told another one to check; ``hosts``, table to the file of the smarthosts
    that a program of ours chooses from; ``default``, what follows ``relay`` for mail without another route;
    ``actions``, name to what follows ``relay`` in further ones; ``to`` and ``from``, action to domains.

    :param given: ``routes`` of the model
    :param etc: the directory of smtpd.conf
    """
    ways = mail_routes.ways(given)
    found: dict[str, Any] = {
        "authorities": {name: {"macro": _macro(name), "file": file} for name, way in ways.items() if (file := _authority(given, way, etc))},
        "staged": [f'{_macro(name)}="{{stage}}/smtpd/routes/{name}.pem"'
                   for name, way in ways.items() if mail_routes.authority(given, way)[0]],
        "hosts": {f"hosts-{name}": f"{etc}/smtpd/routes/{name}.hosts" for name, way in ways.items() if len(way) > 1},
        "default": _relay(given, given["default"], etc),
        "actions": {}, "to": {}, "from": {},
    }  # fmt: skip
    for key in ("to", "from"):
        for domain, way in given[key].items():
            action = f"route-{mail_routes.way_name(way)}" if way else "direct"
            found["actions"][action] = _relay(given, way, etc)
            found[key].setdefault(action, []).append(domain)
    return found


def unlimited(given: Mapping[str, Any]) -> list[str]:
    """Return what follows ``mta limit`` for smarthosts while an address is new: their own addresses are not.

    :param given: ``routes`` of the model
    """
    hosts = sorted({host["host"] for _name, host in _smarthosts(given)})
    # As smtpd has them where nothing is said (limit.c).
    usual = ("max-conn-per-domain 100", "session-mail-max 100", "conn-delay-domain 0")
    return [f'for domain "{host}" {limit}' for host in hosts for limit in usual]


#: Octets of a string that smtpd's parser has room for, with some to spare.
_STRING_OCTETS = 8000


def string(value: str, option: str) -> str:
    """Return a quoted string of smtpd.conf(5).

    :raises MailError: text that cannot be quoted, or is too long
    """
    sinks.one_line(value, option)
    if len(value.encode()) > _STRING_OCTETS:
        raise MailError(f"{option} {shown(value)} is longer than {_STRING_OCTETS} octets, more than a string of smtpd.conf can be")
    if '"' in value or value.endswith("\\"):
        raise MailError(f"{option} {shown(value)} cannot be a string of smtpd.conf: it has a quotation mark or a last backslash")
    return f'"{value}"'


def patterns(given: Sequence[str], option: str) -> list[str]:
    """Return regular expressions, compared without case, as strings of smtpd.conf.

    :raises MailError: one that is no regular expression, or that every name would match
    """
    found = []
    for pattern in given:
        if not isinstance(pattern, str):
            raise MailError(f"{option} {shown(pattern)} is not a string")
        # smtpd says nothing of a pattern that regex(3) cannot read, and nothing matches it.
        unknown = next((name for name in re.findall(r"\[:([^]:]*):\]", pattern) if name not in _CLASSES), None)
        if unknown is not None:
            raise MailError(f"{option} {shown(pattern)}: [:{unknown}:] is not a class of characters of POSIX; it has {', '.join(_CLASSES)}")
        foreign = re.search(r"\\[a-zA-Z]|\(\?|[*+?}]\?|\[[.=](?!\])", pattern)
        if foreign:
            raise MailError(f"{option} {shown(pattern)}: {shown(foreign[0])} is not for extended regular expressions of POSIX")
        try:
            with catch_warnings():
                simplefilter("ignore", FutureWarning)  # of what may come to mean something else to Python
                # Python has no classes with names.
                matches_nothing = re.compile(re.sub(r"\[:[a-z]+:\]", "a", pattern)).search("")
        except (re.error, OverflowError, RecursionError) as exc:
            raise MailError(f"{option} {shown(pattern)} is not a regular expression: {exc}") from exc
        if matches_nothing:
            raise MailError(f"{option} {shown(pattern)} matches everything")
        found.append(string(f"(?i){pattern}", option))
    return found


def checks(given: Mapping[str, str], static: Sequence[str], dynamic: Sequence[str]) -> list[dict[str, str]]:
    """Return smtpd's own filters on the name of a client at connect, in order: ``name``, ``match`` and ``decision``.

    :param given: ``dynamic`` (what becomes of a name like those that providers give to everybody), one of :data:`DECISIONS`
    :param static: whether there are patterns of names that are never dynamic
    :param dynamic: whether there are patterns of dynamic names
    """
    decision = given["dynamic"]
    if decision == "score" or not dynamic:
        return []
    found = [{"name": "trusted", "match": "src <trusted>", "decision": "bypass"}]
    if static:
        found.append({"name": "static", "match": "rdns regex <static-names>", "decision": "bypass"})
    decision = f'disconnect "{_REFUSED}"' if decision == "disconnect" else decision
    return [*found, {"name": "dynamic", "match": "rdns regex <dynamic-names>", "decision": decision}]


def names(given: Mapping[str, str]) -> list[str]:
    """Return options of our filter about clients without a name. smtpd's own filters take a resolver that does not answer for none.

    :param given: ``rdns`` (no name), ``fcrdns`` (a name that does not lead back) and ``dynamic`` to one of :data:`DECISIONS`
    :raises MailError: an unknown decision
    """
    for check in ("rdns", "fcrdns", "dynamic"):
        if given[check] not in DECISIONS:
            raise MailError(f"opensmtpd_{check} {shown(given[check])} is unknown; it is one of {', '.join(DECISIONS)}")
    return [option for check in ("rdns", "fcrdns") for option in (f"--{check}", given[check])]


def sources(declared: Mapping[str, Sequence[str]], own: Sequence[str], usual: Mapping[str, str], binds_ipv6: bool) -> list[str]:
    """Return the addresses that mail has to be bound to, of each declared family the first that the host has; none where the system
    chooses these by itself, or where the host has none, because a router does.

    smtpd asks its list for one source after the other, for all mail together, so a list of both families costs attempts in vain.

    :param declared: the server's public addresses, as the model has them
    :param own: those of the host itself
    :param usual: by family the one that the system chooses
    :param binds_ipv6: whether this smtpd can read an IPv6 address as a source; otherwise, where mail has to be bound, IPv6 is left out
    """
    found = {family: next((address for address in addresses if address in own), "") for family, addresses in declared.items() if addresses}
    if all(address in ("", usual.get(family)) for family, address in found.items()):
        return []
    return [address or _ANY[family] for family, address in found.items() if family == "ipv4" or binds_ipv6]


def families(declared: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what follows ``mta limit``: mail leaves over no family without a declared address, since no reverse DNS would vouch for it."""
    found = [family for family, addresses in declared.items() if addresses]
    return [_FAMILIES[found[0]]] if len(found) == 1 else []


def warm_up(declared: Mapping[str, Sequence[str]], least: int) -> list[str]:
    """Return what follows ``mta limit`` while an address is new: each message has a connection of its own, and each of these waits. smtpd
    knows no preference among families; providers ask more of IPv6, so mail leaves over IPv4 alone where there is an address of it.

    :param declared: addresses by family, as the model has them
    :param least: seconds between two messages; 0 where the address is not new
    """
    if not least:
        return families(declared)
    family = [_FAMILIES["ipv4"]] if declared.get("ipv4") else families(declared)
    return [*family, "max-conn-per-domain 1", "session-mail-max 1", f"conn-delay-domain {least}"]


def slow_destinations(slow: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what follows ``mta limit`` for destinations that want to be sent to slowly.

    The delay is one within a session, so with a delay there is one session. A limit is of a domain; that domains of one
    provider share the connections is by the hosts that they have in common.

    :param slow: provider to ``domains``, ``connections`` and ``delay``, as the model has them
    """
    found = []
    of_domain = {domain: options for options in slow.values() for domain in options["domains"]}
    for domain, options in sorted(of_domain.items()):
        connections = 1 if options["delay"] else options["connections"]
        for limit in (f"max-conn-per-domain {connections}", f"max-conn-per-host {connections}",
                      f"session-transaction-delay {options['delay']}"):
            found.append(f'for domain "{domain}" {limit}')
    return found


def queue(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what follows ``queue ttl`` and ``bounce warn-interval``, as ``lifetime`` and ``warn_after``.

    :param given: ``queue`` of the model
    :raises MailError: a lifetime of reports that smtpd does not have
    """
    if given["bounce_lifetime"] not in (None, _BOUNCE_DAYS):
        raise MailError(f"mail_queue.bounce_lifetime '{given['bounce_lifetime']}d' cannot be had: OpenSMTPD tries to deliver its reports "
                        f"for '{_BOUNCE_DAYS}d'")
    return {"lifetime": f"{given['lifetime']}d", "warn_after": f"{given['warn_after']}h" if given["warn_after"] else _NEVER}


def delimiter(given: str) -> str:
    """Return what begins a detail of an address, as a string of smtpd.conf.

    :param given: ``recipient_delimiter`` of the model
    :raises MailError: more than one character, which smtpd does not know
    """
    if len(given) > 1:
        raise MailError(f"mail_recipient_delimiter {shown(given)} has {len(given)} characters, and OpenSMTPD knows one (smtpd.conf(5), "
                        "smtp sub-addr-delim): name one of them, or have mail_mta be postfix")
    return f'"{given}"'


def primaries(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return where a backup MX delivers to, for each set of servers: ``name``, ``servers``, the words behind ``host``, and ``domains``."""
    found: dict[tuple[str, ...], list[str]] = {}
    for domain, names in mail_hosts.primaries(model).items():
        found.setdefault(tuple(names), []).append(domain)
    return [
        {"name": f"primary-{number}", "servers": [f'"smtp://{name}"' for name in names], "domains": [f'"{domain}"' for domain in domains]}
        for number, (names, domains) in enumerate(found.items(), 1)
    ]


def relaying(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the hosts that send through this server: ``name``, ``hosts``, ``senders``, regular expressions of envelope senders, and
    ``from``, action to those of them that have a route by sender. All are quoted strings."""
    by_sender = routes(model["routes"], "")["from"]
    return [
        {
            "name": f"relay-{name}",
            "hosts": [f'"{host}"' for host in relay["hosts"]],
            "senders": _senders(relay["domains"], mail_relays.NULL_SENDER["opensmtpd"]),
            "from": {action: _senders(own) for action, domains in by_sender.items()
                     if (own := [domain for domain in relay["domains"] if domain in domains])},
        }
        for name, relay in mail_relays.of_hosts(model).items()
    ]


def _senders(domains: Iterable[str], *more: str) -> list[str]:
    return [f'"(?i){pattern}"' for pattern in (*map(mail_relays.sender, domains), *more)]


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what smtpd.conf is printed from.

    :param given: ``model``; ``today``, of the form 2026-11-29; as in the role's variables ``rdns``, ``fcrdns``, ``dynamic``,
        ``static_names``, ``dynamic_names`` and ``srs_key``; ``own_addresses``, those that the host itself has, ``usual_addresses``, by
        family the one that the system sends from, ``binds_ipv6``, as for :func:`sources`, ``ipv4_only``, whether the reverse name of
        IPv6 does not verify, and ``etc``, the directory of smtpd.conf
    :returns: ``trusted``, ``static``, ``dynamic``, ``sources`` and ``delimiter`` (quoted strings), ``checks``, ``limits``, ``srs_days``,
        ``queue``, see :func:`queue`, ``routes``, see :func:`routes`, ``primaries``, see
        :func:`primaries`, ``relays``, see :func:`relaying`, ``lists``, where Mailman takes the mail of mailing lists, or
        nothing, ``closed``, whether there are aliases that
        strangers may not write to, and ``client_limits`` and ``names``, options of our filter
    :raises MailError: a value that breaks a rule
    """
    if given.get("srs_key"):
        srs_key(given["srs_key"], "opensmtpd_srs_key")
    if given["model"]["filter"]["forwarded_junk"] == "keep":
        raise MailError("mail_filter.forwarded_junk 'keep' cannot be had: OpenSMTPD sends a message that it has taken to all of its "
                        "recipients. Have it be 'refuse', or have mail_mta be postfix")
    trusted = (*_LOCAL, *given["model"]["filter"]["trusted"])
    relays = relaying(given["model"])
    dynamic = patterns(given.get("dynamic_names") or (), "opensmtpd_dynamic_names")
    static = patterns(given.get("static_names") or (), "opensmtpd_static_names")
    addresses = {**given["model"]["addresses"], **({"ipv6": []} if given.get("ipv4_only") else {})}
    if given.get("ipv4_only") and not addresses["ipv4"]:
        addresses["ipv4"] = [""]  # whichever the system takes
    least = limits.warm_up_delay(given["model"]["outbound"]["warm_up"], given.get("today", ""))
    bound = sources(addresses, given.get("own_addresses") or (), given.get("usual_addresses") or {}, given.get("binds_ipv6", True))
    return {
        "trusted": [*(f'"{network}"' for network in trusted), *(host for relay in relays for host in relay["hosts"])],
        "client_limits": limits.opensmtpd(trusted),
        "static": static,
        "dynamic": dynamic,
        "delimiter": delimiter(given["model"]["recipient_delimiter"]),
        "sources": [f'"{address}"' for address in bound],
        "names": names(given),
        "checks": checks(given, static, dynamic),
        # First the one for all: those for a domain begin as a copy of it.
        "limits": warm_up(addresses, least) + slow_destinations(given["model"]["slow_destinations"])
        + (unlimited(given["model"]["routes"]) if least else []),
        "routes": routes(given["model"]["routes"], given.get("etc", "/etc")),
        "srs_days": SRS_DAYS,
        "queue": queue(given["model"]["queue"]),
        "closed": bool(given["model"]["closed"]),
        "lists": f"lmtp://{mail_lists.LMTP_HOST}:{mail_lists.LMTP_PORT}"
        if given["model"]["lists"] and not given["model"]["backup"] else "",
        "primaries": primaries(given["model"]),
        "relays": relays,
    }
