# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Postfix is given: the values of main.cf and master.cf, and the texts of its tables. Pure functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._constants import REFUSED, SRS_SUFFIX
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts, lists
from ansible_collections.postmaster.mail.plugins.module_utils._model import routes as mail_routes
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import (
    SRS_DAYS,
    delivery,
    forwards,
    junk_keeper,
    srs_key,
    taken,
    writers,
)
from ansible_collections.postmaster.mail.plugins.module_utils._services import limits, locks, relays

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
    fqdn = model["fqdn"]
    if fqdn not in model["domains"] and any(fqdn.endswith(f".{domain}") for domain in model["domains"]):
        return fqdn
    domains = {name: model["domains"][name] for name in taken(model["domains"])}
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
            if len(domain) + len(SRS_SUFFIX) + 1 > _LONGEST_DOMAIN:
                raise MailError(f"alias {shown(name)} leads to {shown(target)}: its domain is longer than the "
                                f"{_LONGEST_DOMAIN - len(SRS_SUFFIX) - 1} "
                                "octets that Postfix can forward to with SRS")
            found[name].append(f"{target}.{SRS_SUFFIX}")
    return found


def login_senders(host_senders: Mapping[str, Iterable[str]], fqdn: str) -> list[dict[str, str]]:
    """Return the lines of local_login_sender_maps, first match first: ``pattern``, a regular expression of POSIX for the name of an
    account, and ``senders``.

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

    :param networks: in that notation or without the brackets; ``!`` before one takes it out of those behind it
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


def _forwarding(model: Mapping[str, Any], day: int) -> dict[str, str]:
    """Return what rewrites senders: ``domain``, ``suffix`` and ``suffix_pattern`` of marked recipients, and regular expressions of POSIX,
    ``pattern`` for all that looks like an address made here, ``made`` for what may have been, and ``made_before`` for what an earlier
    release may have made up to this day.

    :param model: what :func:`_model.normalise` returns
    :param day: today as days since 1970
    """
    domain = srs_domain(model)
    back, digit = _quoted(domain), "[A-Za-z0-9+/]"
    former, days = f"[-+=]{digit}{{{FORMER_HASH_LENGTH}}}", "|".join(stamps(day))
    return {
        "domain": domain,
        "pattern": f"^(SRS[01][-+=].*@{back})$",
        "made": f"^(SRS[01][-+=]{digit}{{{HASH_LENGTH}}}=.*@{back})$",
        # An address that was rewritten twice has the stamp of the first time, behind that one's hash.
        "made_before": f"^(SRS(0{former}|1{former}=[^=@]+=[-+=][^=@]+)=({days})=.*@{back})$",
        "suffix": SRS_SUFFIX,
        "suffix_pattern": rf"^(.*)\.{_quoted(SRS_SUFFIX)}$",
    }


def outbound(model: Mapping[str, Any], today: str) -> dict[str, Any]:
    """Return ``outbound``, parameters of main.cf about how mail leaves, ``slow`` and ``by_mx``, as for :func:`values`.

    :param today: of the form 2026-11-29
    """
    least = limits.warm_up_delay(model["outbound"]["warm_up"], today)
    parameters = {}
    if least:
        # Of IPv6, providers ask for more.
        parameters = {"smtp_address_preference": "ipv4",
                      **{f"{transport}_destination_rate_delay": f"{least}s" for transport in ("smtp", "relay")}}
    if model["outbound"]["tls_exceptions"]:
        parameters["smtp_tls_policy_maps"] = "texthash:$config_directory/tables/tls_policy"
    routes = model["routes"]
    if routes["default"]:
        parameters["default_transport"] = _transport(routes, routes["default"])
    if routes["from"]:
        parameters["sender_dependent_default_transport_maps"] = "texthash:$config_directory/tables/senders_transport"
    slow = {name: {**options, "delay": max(least, options["delay"])} for name, options in model["slow_destinations"].items()}
    # Whoever's mail goes to a smarthost anyway need not be looked up.
    by_mx = not routes["default"] and any(options["mx"] for options in slow.values())
    return {"outbound": parameters, "slow": slow, "by_mx": by_mx}


def _next_hops(routes: Mapping[str, Any], way: Iterable[str]) -> str:
    """Return smarthosts in the order in which they are tried (transport(5)); brackets say that no MX is looked up."""
    hosts = [routes["hosts"][name] for name in way]
    return ",".join(f"[{host['host']}]:{host['port']}" for host in hosts)


def _transport(routes: Mapping[str, Any], way: list[str]) -> str:
    """Return the transport of mail that goes a way, with its next hops; without smarthosts the usual one."""
    return f"route-{mail_routes.way_name(way)}:{_next_hops(routes, way)}" if way else "smtp:"


def transports(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the domains that have a transport of their own: those with a route, and slow destinations where mail goes there directly.

    :param model: what :func:`_model.normalise` returns
    """
    routes = model["routes"]
    slow = {domain: f"slow-{name}:" for name, options in model["slow_destinations"].items() for domain in options["domains"]}
    direct = {domain: slow.get(domain, _transport(routes, [])) for domain, way in routes["to"].items() if not way}
    usual = {} if routes["default"] else slow
    return {**usual, **direct, **{domain: _transport(routes, way) for domain, way in routes["to"].items() if way}}


def routes_of(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the services of master.cf for smarthosts, by name, and the parameters that are theirs alone.

    :param model: what :func:`_model.normalise` returns
    """
    routes = model["routes"]
    found = {}
    for name, way in mail_routes.ways(routes).items():
        hosts = [routes["hosts"][host] for host in way]
        place = f"texthash:$config_directory/routes/{name}"
        found[f"route-{name}"] = [
            # Verified for the name of the smarthost itself, not of what DNS or DANE say.
            "smtp_tls_security_level=secure",
            "smtp_tls_secure_cert_match=nexthop",
            f"smtp_tls_policy_maps={f'{place}.tls' if any(host['ca'] for host in hosts) else ''}",
            *(["smtp_tls_wrappermode=yes"] if hosts[0]["port"] == mail_routes.IMPLICIT_TLS else []),
            *([
                "smtp_sasl_auth_enable=yes",
                "smtp_sasl_mechanism_filter=plain,login",
                "smtp_sasl_security_options=noanonymous",
                "smtp_sasl_tls_security_options=noanonymous",
                f"smtp_sasl_password_maps={place}.passwords",
            ] if any(host["user"] for host in hosts) else []),
            # The next one is asked when one does not answer.
            "smtp_connect_timeout=5s",
            "smtp_helo_timeout=30s",
        ]
    return found


def _authority(name: str, host: Mapping[str, Any]) -> str:
    """Return the file of the authority that a smarthost's certificate is verified with."""
    return f"/etc/postfix/routes/{name}.pem" if "-----BEGIN " in host["ca"] else str(host["ca"])


def _route_files(routes: Mapping[str, Any], head: str) -> dict[str, str]:
    """Return the files of smarthosts that are in use, by their names."""
    files = {}
    for name, way in mail_routes.ways(routes).items():
        hosts = {host: routes["hosts"][host] for host in way}
        if any(host["user"] for host in hosts.values()):
            logins = [f"{_next_hops(routes, [name])} {host['user']}:{host['password']}" for name, host in hosts.items() if host["user"]]
            files[f"{name}.passwords"] = "".join(f"{line}\n" for line in (head, *logins))
        with_ca = {name: host for name, host in hosts.items() if host["ca"]}
        if with_ca:
            lines = [f"{_next_hops(routes, [name])} secure match=nexthop tafile={_authority(name, host)}" for name, host in with_ca.items()]
            files[f"{name}.tls"] = "".join(f"{line}\n" for line in (head, *lines))
        files |= {f"{name}.pem": host["ca"].rstrip("\n") + "\n" for name, host in with_ca.items() if "-----BEGIN " in host["ca"]}
    return files


def closed(model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the restriction classes of aliases that are closed to strangers, by name: ``logins``, the logins that may write to them, empty
    for whoever has logged in, and ``aliases``.

    :param model: what :func:`_model.normalise` returns
    """
    found: dict[str, dict[str, Any]] = {}
    numbers: dict[tuple[str, ...], int] = {}
    for alias, logins in writers(model).items():
        number = numbers.setdefault(tuple(logins), len(numbers) + 1)
        name = "closed_users" if logins == ["*"] else f"closed_{number}"
        found.setdefault(name, {"logins": [] if logins == ["*"] else logins, "aliases": []})["aliases"].append(alias)
    return found


def queue(given: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters of main.cf about how long mail waits.

    :param given: ``queue`` of the model
    """
    return {
        "maximal_queue_lifetime": f"{given['lifetime']}d",
        "bounce_queue_lifetime": f"{given['bounce_lifetime'] or given['lifetime']}d",
        "delay_warning_time": f"{given['warn_after']}h",
    }


def _sessions(users: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the table by which a session of submission ends when the password is changed by which it began: each login to a digest of the
    password's hash, which tells nothing of either, and each of these digests to ``session_current``.

    A process of smtpd looks for the first in the table as it was when the process began, and for the second in that of today.
    """
    hashes = {user: options["password_hash"] for user, options in sorted(users.items())}
    digests = {user: hashlib.sha256(f"{user}:{text}".encode()).hexdigest()[:32] for user, text in hashes.items()}
    return [
        "# Login to a digest of its password's hash, and the digests of today's.",
        *(f"{user} {digest}" for user, digest in digests.items()),
        *(f"{digest} session_current" for digest in digests.values()),
    ]


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what main.cf and master.cf are printed from.

    :param given: ``model``; ``today``, of the form 2026-11-29; and as in the role's variables ``srs``, ``srs_key`` and ``trusted_networks``
    :returns: ``domains`` of users, ``recipient_delimiter``, ``trusted``, see :func:`trusted`, ``srs_domain``, that of
        rewritten senders, empty where none is rewritten, ``queue``, see :func:`queue`, ``client_limits`` and ``outbound``,
        parameters, ``slow``, slow destinations with the delay that each has today, ``by_mx``, whether some are known by their MX,
        ``routes``, see :func:`routes_of`, ``closed``, see :func:`closed`, ``relays``, the restriction classes of hosts that relay, and
        ``relay_refusal``, the answer to such a host that sends as somebody else
    :raises MailError: a value that breaks a rule
    """
    model = given["model"]
    if given.get("srs_key"):
        srs_key(given["srs_key"], "postfix_srs_key")
    if model["filter"]["forwarded_junk"] == "keep" and not given["srs"] and forwards(model):
        raise MailError("mail_filter.forwarded_junk 'keep' needs postfix_srs: spam is taken out where senders of forwarded mail are "
                        "rewritten; without that, have it be 'refuse'")
    return {
        "domains": taken(model["domains"]),
        "recipient_delimiter": model["recipient_delimiter"],
        "trusted": trusted(given.get("trusted_networks", ())),
        "srs_domain": srs_domain(model) if given["srs"] and forwards(model) else "",
        "queue": queue(model["queue"]),
        **outbound(model, given.get("today", "")),
        "routes": routes_of(model),
        "client_limits": limits.postfix(model["filter"]["trusted"]),
        "closed": closed(model),
        "backup": model["backup"],
        "relays": [f"relay_{name}" for name in relays.of_hosts(model)],
        "relay_refusal": relays.REFUSED,
    }


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables, path below /etc to text.

    :param given: ``model``; ``day``, today as days since 1970; ``managed``, the first line of each; as in the role's variables ``srs``
        and ``hide_submitter``; ``claims``, whether headers that a filter writes are taken out, since there is none; and ``srs_before``,
        whether an earlier release rewrote senders on this host
    :returns: those of features that are off are not in it
    :raises MailError: an alias that cannot be marked as forwarded
    """
    model = given["model"]
    delivered = delivery(model)
    no_mail, system, mailboxes = delivered["no_mail"], delivered["system"], [*delivered["mailboxes"], *delivered["lists"]]
    # What nobody receives keeps its name: no catch-all takes it, and the filter is asked about it as about any.
    aliases = users_aliases = {**delivered["aliases"], **{name: [name] for name in no_mail}}
    if model["backup"]:
        aliases, mailboxes = {}, sorted({*mailboxes, *aliases})
    srs = _forwarding(model, given.get("day", 0)) if given["srs"] and forwards(model) else None
    if srs:
        local = sorted({*delivered["domains"], model["fqdn"]})
        aliases, system = forwarded(aliases, local), forwarded(system, local)
    routes = model["routes"]
    lines = {
        "aliases": _lists(aliases),
        "host_senders": [
            "# Account of this host to the envelope senders that its programs may use with sendmail.",
            *(f"/{line['pattern']}/ {line['senders']}" for line in login_senders(delivered["host_senders"], model["fqdn"])),
        ],
        "mailboxes": [f"{address} mailbox" for address in mailboxes],
        "no_mail": [
            "# Addresses that refuse mail.", *(f"{name} 550 {REFUSED} {text}" for name, text in no_mail.items() if text)
        ],
        "senders": _lists({address: logins or ["-"] for address, logins in delivered["senders"].items()}),
        "sessions": _sessions(model["users"]),
        "system": _lists(system),
        "transport": [
            *([f".{srs['suffix']} forward:unix:private/forwarded"] if srs else []),
            *(f"{domain} relay:{','.join(f'[{name}]' for name in names)}" for domain, names in hosts.primaries(model).items()),
            *(f"{domain} {transport}" for domain, transport in transports(model).items()),
            *(f"{name} lmtp:[{lists.LMTP_HOST}]:{lists.LMTP_PORT}" for name in ([] if model["backup"] else delivered["lists"])),
            # What programs of this host send is not refused before it is in the queue.
            *(f"{name} {f'error:{REFUSED} {text}' if text else 'discard:discarded'}" for name, text in no_mail.items()),
        ],
    }
    if routes["from"]:
        lines["senders_transport"] = [f"@{domain} {_transport(routes, way)}" for domain, way in routes["from"].items()]
    by_mx = [f"mx {host} slow-{name}" for name, options in model["slow_destinations"].items() for host in options["mx"]]
    if by_mx and not routes["default"]:
        own = sorted({*delivered["domains"], model["fqdn"]})
        lines["mx_transport"] = ["# Domains of this server, and those of MX hosts with their transports.",
                                 *(f"own {domain}" for domain in own), *by_mx]
    if model["outbound"]["tls_exceptions"]:
        levels = {"opportunistic": "may", "none": "none"}
        lines["tls_policy"] = [f"{domain} {levels[what]}" for domain, what in model["outbound"]["tls_exceptions"].items()]
    classes = closed(model)
    if classes:
        lines["closed"] = ["# Aliases that strangers may not write to, to the classes of main.cf that tell who may.",
                           *(f"{alias} {name}" for name, options in classes.items() for alias in options["aliases"])]
    for name, options in classes.items():
        if options["logins"]:
            lines[name] = [
                f"# Logins that may write to {', '.join(options['aliases'])}.", *(f"{login} permit" for login in options["logins"])
            ]
    for name, relay in relays.of_hosts(model).items():
        patterns = [relays.NULL_SENDER["postfix"], *map(relays.sender, relay["domains"])]
        lines[f"relay_{name}"] = ["# Envelope senders of this relay to anybody.", *(f":{pattern}: permit" for pattern in patterns)]
    if relays.of_hosts(model):
        lines["relays"] = ["# Hosts to the classes of main.cf that tell what they may send.",
                           *(f"{network} {name}" for network, name in relays.hosts_table(model, "relay_").items())]
    if given.get("claims"):
        lines["claims"] = [
            "# What others claim to have found, and what Dovecot's send-for-script tells a filter.",
            "/^(Authentication-Results|X-Spam|X-R?Spamd?-[^:]*|X-Postmaster-Mail-Script)[[:space:]]*:/ IGNORE",
        ]
    if not model["filter"]["enabled"]:
        local = [f"/^To: .*@{_quoted(domain)}>?$/ DUNNO" for domain in sorted({*delivered["domains"], model["fqdn"]})]
        lines["reports"] = ["# Of reports about mail, those to others than users of this server.", *local,
                            "/^To: / DISCARD its sender is not proven"]
    if given.get("hide_submitter"):
        name = _quoted(model["fqdn"])
        lines["submission_headers"] = [
            "# Whence a user submitted a message is nobody else's business; the rest of the trace stays.",
            rf"/^Received: from .*[[:space:]]by ({name}) \(Postfix\) with (ESMTPS?A id [[:alnum:]]+)(.*)$/ "
            "REPLACE Received: by $1 (Postfix) with $2$3",
        ]
    if srs:
        lines |= {
            "srs_before": [
                "# Senders with a shorter hash, which an earlier release made until the day of this file. They are asked about for as "
                "long as a bounce",
                "# may take; then this file says nothing any more.",
                *([f"%{srs['made_before']}% $1"] if given.get("srs_before") else []),
            ],
            "srs_bounces": ["/^<>$/ srs_bounce"],
            "forwarded_junk": [
                "# What the filter took for spam is not forwarded: others here have it, or the postmaster gets it.",
                "/^X-Rspamd-Kept: here$/ DISCARD spam is not forwarded",
                *([f"/^X-Spam: Yes$/ REDIRECT {keeper.replace('$', '$$')}"] if (keeper := junk_keeper(model)) else []),
            ],
            "srs_forward": [f"/^(.*)$/ $1.{srs['suffix']}"],
            "srs_greeting": ["/^LHLO (.*)$/ EHLO $1"],
            "srs_recipients": [f"/{srs['suffix_pattern']}/ $1"],
            "srs_returns": ["# What looks like a sender that was made here.", f"%{srs['pattern']}% srs_return"],
            "srs_senders": [
                "# What may be a sender that was made here is asked about; nothing with a shorter hash is.", f"%{srs['made']}% $1"
            ],
            "user_aliases": [
                "# For mail of users who have logged in: what they send to an alias leaves as their own.", *_lists(users_aliases)
            ],
        }
    head = f"# {given.get('managed') or 'Ansible managed'}"
    texts = {name: "".join(f"{line}\n" for line in (head, *entries)) for name, entries in sorted(lines.items())}
    texts["refused"] = model["refusals"].get("postfix") or ""
    # With the filter, that asks.
    locked = {} if model["filter"]["enabled"] else locks.files(model["users"], given.get("managed", ""))
    return {
        **{f"postfix/locks/{name}": text for name, text in locked.items() if name == "sending"},
        **{f"postfix/tables/{name}": text for name, text in texts.items()},
        **{f"postfix/routes/{name}": text for name, text in _route_files(routes, head).items()},
    }


def _lists(entries: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the lines of a table whose right sides are lists of addresses."""
    return [f"{name} {', '.join(addresses)}" for name, addresses in entries.items()]


def _quoted(domain: str) -> str:
    return domain.replace(".", "\\.")
