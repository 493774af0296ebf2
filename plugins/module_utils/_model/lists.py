# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``mail_lists``: the mailing lists of this host, which Mailman 3 has."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._constants import HOST_NAMES, ROLE_NAMES
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

KEYS = ("owners", "style", "posts", "description", "commands", "archive")
#: Who may post where nothing is said, by style. The first style is that of a list of which nothing is said.
STYLES = {"discussion": "members", "announce": "owners", "private": "members"}
POSTS = ("members", "owners", "anyone")
#: Who reads the archive of a list, where there is a web interface: its members, whoever comes by, or nobody, since there is none. The
#: first is that of a list of which nothing is said.
ARCHIVES = ("private", "public", "never")

#: What Mailman 3 has behind the name of a list, in its own addresses.
SUFFIXES = ("bounces", "confirm", "join", "leave", "owner", "request", "subscribe", "unsubscribe")
#: Of these, the ones by which a stranger makes Mailman write to somebody else; those that are not taken are refused.
COMMANDS = ("join", "leave", "request", "subscribe", "unsubscribe")
#: The one that Mailman writes into List-Unsubscribe.
USUAL_COMMANDS = ("leave",)
REFUSAL = "Commands by mail are not taken here; write to the owner of the list"

#: The account of the host that Mailman runs as.
ACCOUNT = "list"
#: Where it takes mail by LMTP.
LMTP_HOST, LMTP_PORT = "127.0.0.1", 8024
#: Where it hands posts to the archive, on the loopback address as well.
ARCHIVER_PORT = 8025
#: Mailman has no package here; the reason is its own.
_NO_PACKAGE = {"OpenBSD": "OpenBSD has no package of Mailman 3: have the lists on a host with Debian"}

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")


def read_lists(problems: Problems, given: Any, model: Mapping[str, Any], os_family: str, of_users: bool) -> dict[str, dict[str, Any]]:
    """Return the lists that are declared, by address: ``owners``, ``style``, ``posts``, ``description``, ``commands``, the suffixes of
    commands that are taken by mail, ``confirm`` not among them, and ``archive``, of :data:`ARCHIVES`, or None without a web interface.

    :param model: ``domains``, ``users``, ``aliases``, ``no_mail``, ``lists_web`` and ``recipient_delimiter`` of what
        :func:`_model.normalise` returns
    :param of_users: whether the users are known, among whom owners may be
    """
    found: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_lists").items():
        address = problems.attempt(_list_address, key, "mail_lists")
        if address is None:
            continue
        where = f"mail_lists[{shown(key)}]"
        local, _at, domain = address.partition("@")
        if domain not in model["domains"]:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        elif model["domains"][domain]["mx"]["elsewhere"]:
            problems.add(f"{where} is in a domain whose mail is taken elsewhere, mail_domains[{domain!r}].mx: it would get none")
        elif model["domains"][domain]["alias_of"]:
            problems.add(f"{where} is in a domain that has the addresses of another one, mail_domains[{domain!r}].alias_of: "
                         f"declare {shown(local + '@' + model['domains'][domain]['alias_of'])}")
        if local in (*ROLE_NAMES, *HOST_NAMES):
            problems.add(f"{where}: role addresses reach a human (RFC 2142; RFC 5321 section 4.5.1)")
            continue
        if address in found:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        found[address] = _options(problems, value, where, bool(model["lists_web"]))
    _check_addresses(problems, found, model)
    if of_users:
        _check_owners(problems, found, model)
    if found:
        if "+" not in model["recipient_delimiter"] or "-" in model["recipient_delimiter"]:
            problems.add(f"mail_recipient_delimiter {shown(model['recipient_delimiter'])} must have a '+' and no '-' where mail_lists has "
                         "lists: Mailman writes LIST-bounces+MEMBER, and LIST-anything must not be taken for LIST")
        if os_family in _NO_PACKAGE:
            problems.add(f"mail_lists cannot be had: {_NO_PACKAGE[os_family]}")
    return found


def _list_address(value: Any, option: str) -> str:
    """Return the posting address of a list.

    :raises MailError: none that Mailman (listname_chars) and the tables of the MTAs can have
    """
    address: str = sinks.name_address(value, option)
    local = address.partition("@")[0]
    if not _NAME.match(local):
        raise MailError(f"{option} {shown(value)}: the name of a list has letters, digits, '.', '_' and '-', and begins with one of the "
                        "former (Mailman, listname_chars)")
    _names.split_address(f"{local}-unsubscribe@{address.partition('@')[2]}", f"{option} {shown(value)}: its longest address,")
    return address


def _options(problems: Problems, value: Any, where: str, with_web: bool) -> dict[str, Any]:
    options = problems.mapping(value, where, KEYS)
    style = problems.choice(options.get("style", next(iter(STYLES))), f"{where}.style", tuple(STYLES))
    texts = problems.strings(options.get("owners"), f"{where}.owners")
    if not texts:
        problems.add(f"{where}.owners is needed: mail to LIST-owner has to reach a human (RFC 2142 section 6)")
    owners = [owner for text in texts if (owner := problems.attempt(sinks.target_address, text, f"{where}.owners"))]
    description = problems.text(options.get("description"), f"{where}.description") or ""
    if description:
        problems.attempt(sinks.one_line, description, f"{where}.description")
    if len(description) > 200:
        problems.add(f"{where}.description {shown(description)} is longer than the 200 characters that fit a line of a header")
    commands = problems.strings(options.get("commands", list(USUAL_COMMANDS)), f"{where}.commands")
    for command in commands:
        if command not in COMMANDS:
            problems.add(f"{where}.commands {shown(command)} is unknown; it is of {', '.join(COMMANDS)}")
    if "archive" in options and not with_web:
        problems.add(f"{where}.archive needs mail_lists_web, the name of the web interface: without it there is no archive to read")
    return {
        "owners": list(dict.fromkeys(owners)),
        "style": style,
        "posts": problems.choice(options.get("posts", STYLES[style]), f"{where}.posts", POSTS),
        "description": description,
        "commands": [command for command in COMMANDS if command in commands],
        "archive": problems.choice(options.get("archive", ARCHIVES[0]), f"{where}.archive", ARCHIVES) if with_web else None,
    }


def read_web(problems: Problems, given: Any, lists: Any, model: Mapping[str, Any]) -> str:
    """Return the name under which archives and web interface are reached, by HTTPS; empty for none.

    :param given: ``lists_web``
    :param lists: ``lists``, as written
    :param model: ``fqdn``, ``domains`` and ``parked`` of what :func:`_model.normalise` returns
    """
    if given in (None, ""):
        return ""
    name = problems.attempt(_names.host_name, given, "mail_lists_web")
    if name is None:
        return ""
    where = f"mail_lists_web {shown(name)}"
    if not lists:
        problems.add(f"{where} is the web interface of mailing lists, and mail_lists has none: take it out, and what it made is disabled "
                     "while there are lists still")
    if name in model["parked"]:
        problems.add(f"{where} is parked (mail_domains[{name!r}]), and a parked name leads nowhere")
    below = any(name == domain or name.endswith(f".{domain}") for domain in model["domains"])
    if model["fqdn"] and name != model["fqdn"] and not below:
        problems.add(f"{where} is neither mail_fqdn nor in a domain of mail_domains: its address records are published like theirs")
    return str(name)


def _check_addresses(problems: Problems, lists: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]) -> None:
    """Find addresses of lists that something else has."""
    others = {"mail_users": model["users"], "mail_aliases": {**model["aliases"], **model["no_mail"]}}
    for address in lists:
        where = f"mail_lists[{shown(address)}]"
        for name in all_addresses(address):
            whose = [variable for variable, names in others.items() if name in names]
            if name in lists and name != address:
                whose.append("mail_lists")
            if whose:
                problems.add(f"{where} has the address {shown(name)}, which {whose[0]} declares: every list has LIST and "
                             f"LIST-{', LIST-'.join(SUFFIXES)}")


def _check_owners(problems: Problems, lists: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]) -> None:
    """Find owners that are nobody."""
    own = {name for address in lists for name in all_addresses(address)}
    here = {domain for domain, options in model["domains"].items() if not options["mx"]["elsewhere"]}
    for address in lists:
        where = f"mail_lists[{shown(address)}]"
        for owner in lists[address]["owners"]:
            plain, domain = _names.without_detail(owner, model["recipient_delimiter"]), owner.partition("@")[2]
            if owner in own or plain in own:
                problems.add(f"{where}.owners {shown(owner)} is an address of a list, and an owner is a human")
            elif {owner, plain} & model["no_mail"].keys():
                problems.add(f"{where}.owners {shown(owner)} takes no mail (mail_aliases)")
            elif domain in here and not _exists(owner, plain, domain, model):
                problems.add(f"{where}.owners {shown(owner)} is neither a user nor an alias")


def _exists(owner: str, plain: str, domain: str, model: Mapping[str, Any]) -> bool:
    names: tuple[Container[str], ...] = (model["users"], model["aliases"])
    return any(name in known for name in (owner, plain) for known in names) or bool(model["domains"][domain]["catch_all"])


def check_peers(problems: Problems, model: Mapping[str, Any]) -> None:
    """Find lists whose mail another host would take as well, which knows nothing of their members, and a name that is another host's."""
    for peer in model["peers"]:
        if model["lists_web"] and model["lists_web"] == peer["fqdn"]:
            problems.add(f"mail_lists_web {shown(peer['fqdn'])} is the name of another host: a name leads to one server")
    for address in model["lists"]:
        domain = address.partition("@")[2]
        for peer in model["peers"]:
            serves = peer["domains"] is None or domain in peer["domains"]
            if serves and not peer["backup"] and not model["backup"]:
                problems.add(f"mail_lists[{shown(address)}]: host {peer['fqdn']} takes mail for {domain} as well, and Mailman is on one "
                             "host: give lists a domain of their own, which one host serves")


def all_addresses(address: str) -> Iterator[str]:
    """Yield the address of a list, and those that Mailman has for it."""
    local, _at, domain = address.partition("@")
    yield address
    for suffix in SUFFIXES:
        yield f"{local}-{suffix}@{domain}"


def has(lists: Container[str], address: str) -> bool:
    """Tell whether an address is a list's, or one that Mailman has for it."""
    local, _at, domain = address.rpartition("@")
    name, _hyphen, suffix = local.rpartition("-")
    return address in lists or (suffix in SUFFIXES and f"{name}@{domain}" in lists)


def refused(lists: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the addresses of lists that take no mail, to the text by which it is refused.

    :param lists: what :func:`read_lists` returns
    """
    found = {}
    for address, options in lists.items():
        local, _at, domain = address.partition("@")
        for command in COMMANDS:
            if command not in options["commands"]:
                found[f"{local}-{command}@{domain}"] = REFUSAL
    return found


def commands(model: Mapping[str, Any]) -> list[str]:
    """Return the addresses at which Mailman answers whoever a message claims to be from, sorted: those of commands that are taken.

    :param model: what :func:`_model.normalise` returns
    """
    found = []
    for address, options in model["lists"].items():
        local, _at, domain = address.partition("@")
        found += [f"{local}-{command}@{domain}" for command in (*options["commands"], *(("confirm",) if options["commands"] else ()))]
    return sorted(found)
