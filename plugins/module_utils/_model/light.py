# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The light profile, ``mail_filter: false``: what a host without Rspamd and its store cannot have is refused, by name. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: How each rule ends: what is to be done where the thing is needed.
_INSTEAD = "Take it out, or have mail_filter be a dictionary, such as {}"

#: Sizes of services that a host without the filter does not have, by how their names begin.
_SIZES = ("rspamd_", "store_")


def check(problems: Problems, given: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuse what needs the filter, on a host without one.

    :param given: the variables as written, without their prefix
    :param model: all of it that :func:`_model.normalise` has read
    """

    def refuse(what: str, why: str, instead: str = _INSTEAD) -> None:
        problems.add(f"{what} cannot be had with mail_filter false: {why}. {instead}")

    counts = "recipients are counted by the filter, in its store"
    if given.get("limits"):
        refuse("mail_limits", counts)
    for user, options in model["users"].items():
        where = f"mail_users[{shown(user)}]"
        if options["limit"] and any(options["limit"].values()):
            refuse(f"{where}.limit", counts)
        if options["allow"]:
            refuse(f"{where}.allow", "without a filter no mail is taken for junk, so there is none to take out of it")
    if model["lists"]:
        refuse(f"mail_lists[{shown(next(iter(model['lists'])))}]",
               "the filter signs what lists send, and refuses forged commands to them")
    if model["relays"]:
        refuse(f"mail_relays[{shown(next(iter(model['relays'])))}]",
               "the filter signs what hosts and accounts of others send, and asks as whom they may")
    for where, target in _leading_out(model):
        refuse(f"{where} {shown(target)}, an address of another server,",
               "spam would be forwarded in this server's name, and reports of what is refused there would go to forged senders",
               "Have it lead to a mailbox here, whose user can redirect mail by a Sieve script, or have mail_filter be a dictionary, "
               "such as {}")
    for name in model["sizing"]:
        if name.startswith(_SIZES):
            refuse(f"mail_sizing.{name}", "it is the size of a service of the filter")
    if model["backup"]:
        refuse("A backup MX (group mail_relays)", "it has to refuse what its primary would refuse",
               "Have the host's mail_filter be a dictionary, such as {}, as its primary's is")


def _leading_out(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the variables that lead mail to other servers, with the addresses."""
    local = {*model["domains"], model["fqdn"]}
    places = [(f"mail_aliases[{shown(name)}]", targets) for name, targets in model["aliases"].items()]
    places += [(f"mail_domains[{shown(name)}].catch_all", options["catch_all"]) for name, options in model["domains"].items()]
    if model["postmaster"] and model["postmaster"].rpartition("@")[2] not in local:
        # What it stands for, the role addresses among the aliases, is no news then.
        yield "mail_postmaster", model["postmaster"]
    for where, targets in places:
        for target in targets:
            if target.rpartition("@")[2] not in local and target != model["postmaster"]:
                yield where, target


def refusals(model: Mapping[str, Any], mta: str, os_family: str) -> Iterator[str]:
    """Yield one line for each thing that an MTA cannot have on a host without the filter, with what to use instead.

    :param model: what :func:`_model.normalise` returns
    :param mta: its name
    """
    if model["filter"]["enabled"]:
        return
    if os_family == "OpenBSD":
        yield ("mail_filter false cannot be had on OpenBSD in this release: what signs without Rspamd has not been seen at work there. "
               "Have mail_filter be a dictionary, such as {}")
    if mta == "opensmtpd":
        signed = sorted(name for name, options in model["domains"].items() if options["dkim"]["enabled"])
        if len(signed) > 1:
            yield (f"mail_domains has {len(signed)} domains with DKIM, such as {signed[0]} and {signed[1]}, which cannot be had with "
                   "mail_filter false: filter-dkimsign signs all mail with one key, in the name of its domain. Use mail_mta: postfix, "
                   "whose signer knows one for each, or set dkim: false for all but one, or have mail_filter be a dictionary, such as {}")
        if model["host_senders"]:
            yield ("mail_host_senders cannot be had with mail_filter false: OpenSMTPD has the filter ask as whom programs of this host may "
                   "send. Take it out, by which they may send as anybody, use mail_mta: postfix, or have mail_filter be a dictionary, such "
                   "as {}")


def unused(role: str, own: Iterable[str]) -> Iterator[str]:
    """Yield one line for each variable that is set for a service which a host without the filter does not have.

    :param role: whose variables they are
    :param own: those that are set
    """
    if role == "rspamd":
        for name in own:
            if name != "rspamd_filter":
                yield f"{name} cannot be had with mail_filter false: the host has no Rspamd. {_INSTEAD}"
