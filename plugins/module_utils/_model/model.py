# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ``mail_*`` variables mean: one pure function that checks them all at once and fills in every default.

The names in this file are the variables' names without ``mail_``. Roles pass what they have (a role that is used
alone passes only its own variables), the site passes everything, and both get the same shape back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._model import (
    certificates,
    destinations,
    dns,
    domains,
    hosts,
    light,
    limits,
    lists,
    mailboxes,
    mta,
    relays,
    routes,
    sinks,
    sizing,
    users,
)
from ansible_collections.postmaster.mail.plugins.module_utils._model import filter as mail_filter
from ansible_collections.postmaster.mail.plugins.module_utils._model import queue as mail_queue
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import taken
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems, nearest

#: Names that the plan of the collection knows and this release does not build yet: refused, never ignored.
NOT_BUILT: dict[str, str] = {}
KNOWN = (
    "fqdn", "addresses", "mta", "domains", "users", "aliases", "postmaster", "dns", "certificates", "filter", "slow_destinations",
    "refusals", "host_senders", "recipient_delimiter", "queue", "outbound", "routes", "mailboxes", "sizing", "limits",
    "mx_preference", "lists", "lists_web", "relays",
)  # fmt: skip


def normalise(
    given: Mapping[str, Any], os_family: str = "", peers: Iterable[Mapping[str, Any]] = (), backup: bool = False
) -> dict[str, Any]:
    """Check the variables and return the model: every key present, every name canonical, every default filled in.

    :param given: variables without their ``mail_`` prefix; what is absent takes its default
    :param os_family: the host's, as in Ansible's facts: some defaults depend on it, and not everything can be had everywhere
    :param peers: the other hosts of the inventory, as written: ``name`` (the inventory's), ``fqdn``, and ``domains``, those that have a
        name which is here, too, or the very object of ``given`` for the same; of a host with such domains, also ``addresses``,
        ``routes``, ``dns`` and ``mx_preference``, where it has them; ``backup``, where it is one
    :param backup: whether this host is a backup MX, which takes mail for its domains and delivers it to the others
    :returns: ``fqdn``, ``addresses`` by family, ``mta``, ``postmaster``, ``domains``, ``parked`` (names that neither send nor take mail, to
        their ``txt`` and ``mx``), ``preference`` (in MX records), ``peers`` (see :func:`_hosts.of_peer`), ``backup``,
        ``users`` (quota in bytes, 0 for none;
        ``locked``, see :data:`_users.LOCKS`; ``limit``, see :func:`_limits.read_limit`), ``limits`` (see :func:`_limits.read_limits`),
        ``aliases`` (role addresses included, and those of domains that are another one), ``closed`` (those among them that strangers may
        not write to, to ``users`` or ``members``, whoever may), ``send_as`` (alias to whether all who receive its mail may send from it,
        where that is said), ``no_mail`` (address that nobody receives to the text by which its mail is refused, empty where it is
        discarded; a user's own does not keep it from sending), ``recipient_delimiter`` (the characters each of which begins a detail),
        ``dns``, ``certificates``, ``filter``, ``slow_destinations``
        (provider to ``domains``, ``mx``, ``connections`` at once and ``delay`` in seconds between messages), ``refusals`` (MTA to table),
        ``host_senders`` (account of the host to addresses and ``@domain`` that its programs may send as), ``queue``
        (see :func:`_queue.read_queue`), ``outbound`` (see :func:`_destinations.read_outbound`), ``routes`` (see
        :func:`_routes.read_routes`), ``relays`` (see :func:`_relays.read_relays`), ``lists`` (see
        :func:`_lists.read_lists`; their commands that are not taken by mail are in ``no_mail``), ``lists_web``
        (see :func:`_lists.read_web`; a name of the certificate as well), ``mailboxes`` (see :func:`_mailboxes.read_mailboxes`),
        ``sizing`` (name of a size to its value, of those that are set)
    :raises MailError: with one line for every rule that is broken, each naming variable, value and rule
    """
    problems = Problems()
    for name in given:
        if name in NOT_BUILT:
            problems.add(f"mail_{name} ({NOT_BUILT[name]}) is not built yet in this release: take it out")
        elif name not in KNOWN:
            problems.add(f"mail_{name} is not a variable of this collection{nearest(name, KNOWN).replace(chr(39), '')}")
    parked: dict[str, dict[str, Any]] = {}
    model: dict[str, Any] = {
        "fqdn": problems.attempt(_names.host_name, given["fqdn"], "mail_fqdn") if "fqdn" in given else None,
        "addresses": domains.read_addresses(problems, given.get("addresses")),
        "mta": problems.choice(given.get("mta", mta.usual(os_family)), "mail_mta", mta.NAMES),
        "domains": domains.read_domains(problems, given.get("domains"), parked),
        "parked": parked,
        "backup": backup,
    }
    domains.check_alias_of(problems, model["domains"], parked)
    domains.check_managed_names(problems, model["domains"], parked)
    model["limits"] = limits.read_limits(problems, given.get("limits"))
    delimiter = model["recipient_delimiter"] = users.read_delimiter(problems, given.get("recipient_delimiter", "+"))
    model["users"] = users.read_users(problems, given.get("users"), model["domains"], model["limits"], delimiter, os_family)
    postmaster = given.get("postmaster")
    if postmaster not in (None, ""):
        postmaster = problems.attempt(sinks.postmaster_address, postmaster, "mail_postmaster")
    elif model["users"]:
        postmaster = next(iter(model["users"]))
    elif model["domains"] and "users" in given:
        problems.add("mail_postmaster is needed where mail_users has no user: every domain has a postmaster (RFC 5321 section 4.5.1)")
    model["postmaster"] = postmaster or None
    model.update(users.read_aliases(problems, given.get("aliases"), model))
    aliases = model["aliases"]
    model["aliases"] = {**aliases, **users.role_aliases(model, aliases)}
    copied = users.alias_domains(model)
    for domain, catch_all in copied.pop("catch_all").items():
        model["domains"][domain]["catch_all"] = catch_all
    model.update({key: {**model[key], **entries} for key, entries in copied.items()})
    model["lists_web"] = lists.read_web(problems, given.get("lists_web"), given.get("lists"), model)
    model["lists"] = lists.read_lists(problems, given.get("lists"), model, os_family, "users" in given)
    if backup:
        model["lists_web"] = ""  # it has no Mailman
    model["no_mail"] = {**model["no_mail"], **lists.refused(model["lists"])}
    domains.check_parked(problems, model)
    if "users" in given:
        users.check_targets(problems, model, aliases)
        users.check_members(problems, model)
    model["dns"] = dns.read_dns(problems, given.get("dns"))
    model["certificates"] = certificates.read_certificates(problems, given.get("certificates"), model["dns"], os_family)
    if model["lists_web"] not in ("", model["fqdn"], *model["certificates"]["names"]):
        model["certificates"]["names"].append(model["lists_web"])
    model["filter"] = mail_filter.read_filter(problems, given.get("filter"), os_family)
    model["slow_destinations"] = destinations.read_slow_destinations(problems, given.get("slow_destinations"))
    model["refusals"] = mail_filter.read_refusals(problems, given.get("refusals"))
    model["host_senders"] = users.read_host_senders(problems, given.get("host_senders"), delimiter)
    model["queue"] = mail_queue.read_queue(problems, given.get("queue"), backup)
    model["outbound"] = destinations.read_outbound(problems, given.get("outbound"))
    model["routes"] = routes.read_routes(problems, given.get("routes"), {*taken(model["domains"]), model["fqdn"]})
    model["preference"] = hosts.read_preference(problems, given.get("mx_preference"), backup)
    model["peers"] = [_read_peer(problems, model, given.get("domains"), peer) for peer in peers]
    hosts.check_records(problems, model)
    model["relays"] = relays.read_relays(problems, given.get("relays"), model)
    lists.check_peers(problems, model)
    model["mailboxes"] = mailboxes.read_mailboxes(problems, given.get("mailboxes"), os_family)
    model["sizing"] = sizing.read_sizing(problems, given.get("sizing"))
    if not model["filter"]["enabled"]:
        light.check(problems, given, model)
    problems.raise_broken()
    return model


def _read_peer(problems: Problems, model: Mapping[str, Any], written: Any, peer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what another host means for this one.

    :param written: ``domains`` of this host
    """
    own = Problems()
    same = peer["domains"] is written
    parked: dict[str, dict[str, Any]] = {}
    theirs = model["domains"] if same else domains.read_domains(own, peer["domains"], parked)
    fqdn = own.attempt(_names.host_name, peer["fqdn"], "mail_fqdn")
    read = {
        "name": peer["name"],
        "fqdn": fqdn,
        "same": same,
        "backup": bool(peer.get("backup")),
        "domains": theirs,
        "parked": model["parked"] if same else parked,
        "addresses": domains.read_addresses(own, peer.get("addresses")),
        "preference": hosts.read_preference(own, peer.get("mx_preference"), bool(peer.get("backup"))),
        "routes": routes.read_routes(own, peer.get("routes"), {*taken(theirs), fqdn}),
        "ttl": dns.read_ttl(own, peer.get("dns")),
    }
    return hosts.of_peer(problems, model, read, own)


def with_addresses(model: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return the model that :func:`normalise` makes of the same variables with other addresses, which nothing else depends on.

    :param given: what ``mail_addresses`` would be
    :raises MailError: as :func:`normalise`
    """
    problems = Problems()
    addresses = domains.read_addresses(problems, given)
    problems.raise_broken()
    return {**model, "addresses": addresses}
