# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenSMTPD's configuration is printed from: its tables, who may connect, slow destinations. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from warnings import catch_warnings, simplefilter

from ansible_collections.postmaster.mail.plugins.module_utils import _limits
from ansible_collections.postmaster.mail.plugins.module_utils._delivery import SRS_DAYS, srs_key
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

#: This host itself: never judged by its name.
_LOCAL = ("127.0.0.0/8", "::1")

#: By family, an address that leaves the choice to the system.
_ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}
_FAMILIES = {"ipv4": "inet4", "ipv6": "inet6"}

#: What may become of a connection: refused at once, marked as junk, or nothing.
DECISIONS = ("disconnect", "junk", "off")

_MOST_WARNINGS = 4
_CLASSES = ("alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit")
#: Of the right side of an alias: LINE_MAX, and the end of a string of C.
_LONGEST_LINE = 2047
#: The longest time that smtpd can count. It warns after 4 hours where nothing is said, and has no word for never.
_NEVER = "24855d"

# RFC 7372 section 3.3. Temporary, since smtpd cannot tell a name that is missing from a resolver that does not answer.
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
    """Return the table of all recipients: a full address, or C(@domain), to where its mail goes.

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


def files(model: Mapping[str, Any], tables: Mapping[str, Any], owner: str) -> dict[str, str]:
    """Return the file tables, name to text.

    :param model: what :func:`_model.normalise` returns
    :param tables: what :func:`_delivery.delivery` returns for it
    :param owner: the system user that delivers
    :raises MailError: an alias of more addresses than OpenSMTPD reads
    """
    fqdn = model["fqdn"]
    known = aliases(tables, fqdn, owner)
    return {
        "aliases": _table(known),
        "credentials": _table({user: options["password_hash"] for user, options in sorted(model["users"].items())}),
        "domains": "".join(f"{name}\n" for name in sorted({*tables["domains"], fqdn, "localhost"})),
        "logins": _table({login: ", ".join(addresses) for login, addresses in sorted(tables["logins"].items())}),
        # Whoever is not in it is refused as unknown; smtpd's own word for an address without an alias is a failed expansion.
        "recipients": "".join(f"{name}\n" for name in known),
    }


def string(value: str, option: str) -> str:
    """Return a quoted string of smtpd.conf(5).

    :raises MailError: text that cannot be quoted
    """
    if re.search(r'["\n\r\0]', value) or value.endswith("\\"):
        raise MailError(f"{option} {shown(value)} cannot be a string of smtpd.conf: it has a quotation mark, a line break or a last "
                        f"backslash")
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
    """Return the filters on the name of a client at connect, in order: C(name), C(match) and C(decision).

    :param given: C(rdns) (no name), C(fcrdns) (a name that does not lead back) and C(dynamic) (a name like those that
        providers give to everybody) to one of L(DECISIONS)
    :param static: whether there are patterns of names that are never dynamic
    :param dynamic: whether there are patterns of dynamic names
    :raises MailError: an unknown decision
    """
    found = [{"name": "trusted", "match": "src <trusted>", "decision": "bypass"}]
    for check, match in (("rdns", "!rdns"), ("fcrdns", "!fcrdns"), ("dynamic", "rdns regex <dynamic-names>")):
        decision = given[check]
        if decision not in DECISIONS:
            raise MailError(f"opensmtpd_{check} {shown(decision)} is unknown; it is one of {', '.join(DECISIONS)}")
        if decision == "off" or (check == "dynamic" and not dynamic):
            continue
        if check == "dynamic" and static:
            found.append({"name": "static", "match": "rdns regex <static-names>", "decision": "bypass"})
        found.append({"name": check, "match": match, "decision": f'disconnect "{_REFUSED}"' if decision == "disconnect" else decision})
    return found


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
    """Return what follows C(mta limit) so that mail leaves over no family without a declared address: no reverse DNS would vouch for it."""
    found = [family for family, addresses in declared.items() if addresses]
    return [_FAMILIES[found[0]]] if len(found) == 1 else []


def limits(slow: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what follows C(mta limit) for destinations that want to be sent to slowly.

    The delay is one within a session, so with a delay there is one session. A limit is of a domain; that domains of one
    provider share the connections is by the hosts that they have in common.

    :param slow: provider to C(domains), C(connections) and C(delay), as the model has them
    """
    found = []
    of_domain = {domain: options for options in slow.values() for domain in options["domains"]}
    for domain, options in sorted(of_domain.items()):
        connections = 1 if options["delay"] else options["connections"]
        for limit in (f"max-conn-per-domain {connections}", f"max-conn-per-host {connections}",
                      f"session-transaction-delay {options['delay']}"):
            found.append(f'for domain "{domain}" {limit}')
    return found


def warnings(intervals: Sequence[str]) -> list[str]:
    """Return what follows C(bounce warn-interval): the times in the queue after which the sender is told.

    :param intervals: at most four of them, such as C(4h); none means that nobody is ever told
    :raises MailError: a time that smtpd does not read, or more than it keeps
    """
    if len(intervals) > _MOST_WARNINGS:
        raise MailError(f"opensmtpd_warn_intervals has {len(intervals)} times; smtpd keeps {_MOST_WARNINGS} and forgets the rest")
    for interval in intervals:
        if not isinstance(interval, str) or not re.fullmatch(r"0*[1-9][0-9]{0,4}[smhd]", interval, re.ASCII):
            raise MailError(f"opensmtpd_warn_intervals {shown(interval)} is not a number from 1 to 99999 and one of the letters s, m, h "
                            f"and d")
        if interval[-1] == "d" and int(interval[:-1]) > int(_NEVER[:-1]):
            raise MailError(f"opensmtpd_warn_intervals {shown(interval)} is longer than smtpd can count, {_NEVER}")
    return list(intervals) or [_NEVER]


def plan(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that OpenSMTPD's configuration is printed from.

    :param given: C(model), C(delivery), C(owner), and as in the role's variables C(rdns), C(fcrdns), C(dynamic),
        C(static_names), C(dynamic_names), C(srs_key) and C(warn_intervals); C(own_addresses), those that the host itself has,
        C(usual_addresses), by family the one that the system sends from, and C(binds_ipv6), as for :func:`sources`
    :returns: C(files) (name of a table to its text), C(trusted), C(static), C(dynamic) and C(sources) (quoted
        strings), C(checks), C(limits), C(srs_days), C(warnings), and C(client_limits), options of our filter
    :raises MailError: a value that breaks a rule
    """
    if given.get("srs_key"):
        srs_key(given["srs_key"], "opensmtpd_srs_key")
    trusted = (*_LOCAL, *given["model"]["filter"]["trusted"])
    dynamic = patterns(given.get("dynamic_names") or (), "opensmtpd_dynamic_names")
    static = patterns(given.get("static_names") or (), "opensmtpd_static_names")
    addresses = given["model"]["addresses"]
    bound = sources(addresses, given.get("own_addresses") or (), given.get("usual_addresses") or {}, given.get("binds_ipv6", True))
    return {
        "files": files(given["model"], given["delivery"], given["owner"]),
        "trusted": [f'"{network}"' for network in trusted],
        "client_limits": _limits.opensmtpd(trusted),
        "static": static,
        "dynamic": dynamic,
        "sources": [f'"{address}"' for address in bound],
        "checks": checks(given, static, dynamic),
        # First the one for all: those for a domain begin as a copy of it.
        "limits": families(addresses) + limits(given["model"]["slow_destinations"]),
        "srs_days": SRS_DAYS,
        "warnings": warnings(given.get("warn_intervals") or ()),
    }
