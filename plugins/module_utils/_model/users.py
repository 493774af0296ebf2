# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_users``, ``mail_aliases`` and ``mail_host_senders`` mean: who has a mailbox, where mail goes, and who sends as whom."""

from __future__ import annotations

import functools
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._constants import HOST_NAMES, ROLE_NAMES
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import domain_copies, elsewhere, list_addresses, members
from ansible_collections.postmaster.mail.plugins.module_utils._model.filter import read_senders
from ansible_collections.postmaster.mail.plugins.module_utils._model.limits import read_limit
from ansible_collections.postmaster.mail.plugins.module_utils._model.passwords import password_hash
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: A user's local part is the name of a directory.
_DIRECTORY = re.compile(r"^[a-z0-9][a-z0-9._-]*\Z")
#: An account of the host (useradd(8)).
_ACCOUNT = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
#: Of what may separate a detail, these mean nothing else in addresses: '=' is in rewritten senders (SRS), and '%' and '!' are routes.
_DELIMITERS = re.compile(r"^[-+_.]{1,4}\Z")
#: What fits into a line of an answer, with its codes.
_REPLY = re.compile(r"^[!-~](?:[ -~]{0,198}[!-~])?\Z")
_SIZE = re.compile(r"^([0-9]{1,19}) ?([KMGT]?)i?B?[ \t\r\n]*\Z", re.IGNORECASE | re.ASCII)
#: What ``locked`` may be: nobody is, whoever logs in sends nothing, nobody logs in, or both.
LOCKS = ("", "sending", "login", "all")
#: What the counters of quotas hold.
_SIZE_MOST = 2**63 - 1

#: Who may write to an alias: anybody, who has logged in as a user of this server, or only those users that it leads to.
WRITERS = ("any", "users", "members")


def size(value: Any, option: str) -> int:
    """Return a size in bytes from a number of bytes or a text such as ``500M`` or ``2 GiB``; powers of 1024.

    :raises MailError: neither, or more than 63 bits can count
    """
    match = _SIZE.match(value) if isinstance(value, str) else None
    found = -1
    if isinstance(value, int) and not isinstance(value, bool):
        found = int(value)
    elif match:
        found = int(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")
    if not 0 <= found <= _SIZE_MOST:
        raise MailError(f"{option} {shown(value)} is not a size such as 500M or 2G (powers of 1024; 0 for no limit)")
    return found


def read_delimiter(problems: Problems, given: Any) -> str:
    """Return the characters each of which begins a detail of an address (RFC 5233)."""
    if not isinstance(given, str) or not _DELIMITERS.match(given) or len(set(given)) < len(given):
        problems.add(f"mail_recipient_delimiter {shown(given)} must be one or several of '+', '-', '_' and '.', each once")
        return "+"
    return str(given)


def lock(value: Any, option: str) -> str:
    """Return one of :data:`LOCKS`; true stands for ``all``, and false for none.

    :raises MailError: another value
    """
    found = {True: "all", False: ""}.get(value, value) if isinstance(value, (bool, str)) else value
    if not isinstance(found, str) or found not in LOCKS:
        raise MailError(f"{option} {shown(value)} is unknown; it is one of {', '.join(LOCKS[1:])}, true for all, or false")
    return str(found)


def read_users(
    problems: Problems, given: Any, domains: Mapping[str, Any], limits: Mapping[str, int], delimiter: str, os_family: str = ""
) -> dict[str, dict[str, Any]]:
    users: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_users").items():
        name = problems.attempt(_names.address, key, "mail_users")
        if name is None:
            continue
        where = f"mail_users[{shown(key)}]"
        if name in users:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        if cut := next((character for character in name.split("@")[0] if character in delimiter), ""):
            problems.add(f"{where} has a {cut!r}: what follows it is a detail of the user before it (RFC 5233), not a user")
        elif not _DIRECTORY.match(name.split("@")[0]):
            problems.add(f"{where} names a directory, so it may have only a-z, 0-9, '.', '_' and '-' before the @")
        problems.attempt(sinks.carried, "mailbox", name, "mail_users")
        if name.split("@")[1] not in domains:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        _of_its_own(problems, where, name, domains)
        options = problems.mapping(value, where, ("password_hash", "quota", "senders", "allow", "block", "locked", "limit"))
        users[name] = {
            "password_hash": problems.attempt(
                functools.partial(password_hash, os_family=os_family), options.get("password_hash"), f"{where}.password_hash", default=""
            ),
            "quota": problems.attempt(size, options.get("quota", 0), f"{where}.quota", default=0),
            "senders": sorted(
                {
                    address
                    for text in problems.strings(options.get("senders"), f"{where}.senders")
                    if (address := _sender(problems, text, f"{where}.senders"))
                }
            ),
            **_lists(problems, options, where),
            "locked": problems.attempt(lock, options.get("locked", False), f"{where}.locked", default=""),
            "limit": read_limit(problems, options.get("limit"), f"{where}.limit", limits),
        }
        for sender in users[name]["senders"]:
            if sender.split("@")[1] not in domains:
                problems.add(f"{where}.senders {shown(sender)} is in a domain that mail_domains does not declare: it could not be signed")
    return users


def _lists(problems: Problems, options: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """Return whose mail is never, and always, junk for one user: ``allow`` and ``block``, addresses and ``@domain``."""
    found = {}
    for key in ("allow", "block"):
        senders = read_senders(problems, options.get(key), f"{where}.{key}")
        for network in senders["networks"]:
            rule = "is a network, which is for the whole server to say: mail_filter.trusted and .block"
            problems.add(f"{where}.{key} {shown(network)} {rule}")
        found[key] = [*senders["addresses"], *(f"@{domain}" for domain in senders["domains"])]
    for sender in found["allow"]:
        if sender in found["block"]:
            problems.add(f"{where} has {shown(sender.removeprefix('@'))} in allow and in block")
    return found


def _of_its_own(problems: Problems, where: str, address: str, domains: Mapping[str, Any]) -> None:
    """Refuse an address in a domain that has none here, or those of another one."""
    local, _at, domain = address.partition("@")
    if domain in domains and elsewhere(domains[domain]):
        problems.add(f"{where} is in a domain whose mail is taken elsewhere, mail_domains[{domain!r}].mx: it would get none")
    other = domains.get(domain, {}).get("alias_of")
    if other:
        problems.add(f"{where} is in a domain that has the addresses of another one, mail_domains[{domain!r}].alias_of: "
                     f"declare {shown(f'{local}@{other}')}")


def _sender(problems: Problems, text: str, where: str) -> str | None:
    """Return an address that is sent from, or ``@domain`` for all of a domain."""
    if text.startswith("@"):
        domain = problems.attempt(_names.domain_name, text[1:], where)
        return f"@{domain}" if domain else None
    found: str | None = problems.attempt(sinks.name_address, text, where)
    return found


def read_aliases(problems: Problems, given: Any, model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what is said of aliases, by keys of the model: ``aliases``, those that are given, see :func:`role_aliases` for the others;
    ``closed``, those which are closed to strangers, to who may write to them, ``users`` or ``members``; ``send_as``, those of which it
    is said whether all who receive their mail may send from them; and ``no_mail``, addresses that nobody receives, to the text by which
    their mail is refused, or an empty one where it is discarded."""
    domains, users = model["domains"], model["users"]
    aliases: dict[str, list[str]] = {}
    closed: dict[str, str] = {}
    send_as: dict[str, bool] = {}
    no_mail: dict[str, str] = {}
    for key, value in problems.mapping(given, "mail_aliases").items():
        name = problems.attempt(sinks.name_address, key, "mail_aliases")
        if name is None:
            continue
        where = f"mail_aliases[{shown(key)}]"
        if name.split("@")[1] not in domains:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        _of_its_own(problems, where, name, domains)
        if name in aliases or name in no_mail:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        writers = WRITERS[0]
        if isinstance(value, Mapping):
            options = problems.mapping(value, where, ("to", "from", "send_as", "discard", "refuse"))
            text = _of_no_mail(problems, options, where)
            if text is not None:
                no_mail[name] = text
                if name.split("@")[0] in ROLE_NAMES:
                    problems.add(f"{where}: role addresses take mail (RFC 2142; RFC 5321 section 4.5.1)")
                continue
            writers = problems.choice(options.get("from", writers), f"{where}.from", WRITERS)
            if "send_as" in options:
                send_as[name] = problems.boolean(options["send_as"], f"{where}.send_as")
            value = options.get("to")
        targets = []
        texts = problems.strings(value, where)
        for text in texts:
            target = problems.attempt(sinks.target_address, text, where)
            if target and target not in targets:
                targets.append(target)
        if not texts:
            problems.add(f"{where} leads to no address")
        if name in users and name not in targets:
            problems.add(f"{where} hides the mailbox of the same name: name {name} among its targets to keep a copy, or remove the user")
        aliases[name] = targets
        if writers != WRITERS[0]:
            closed[name] = writers
            if name.split("@")[0] in ROLE_NAMES:
                problems.add(f"{where}.from {shown(writers)}: strangers write to role addresses (RFC 2142; RFC 5321 section 4.5.1)")
    return {"aliases": aliases, "closed": closed, "send_as": send_as, "no_mail": no_mail}


def _of_no_mail(problems: Problems, options: Mapping[str, Any], where: str) -> str | None:
    """Return the text by which an address refuses mail, empty where it discards that, or None for an alias that takes mail."""
    discard = problems.boolean(options.get("discard", False), f"{where}.discard")
    refuse = options.get("refuse")
    if not discard and refuse is None:
        return None
    kind = "discard" if discard else "refuse"
    for other in options.keys() - {kind}:
        problems.add(f"{where}.{other} has no meaning beside {kind}: nobody gets this mail")
    return "" if refuse is None else problems.attempt(refusal, refuse, f"{where}.refuse", default="")


def refusal(value: Any, option: str) -> str:
    """Return a text that SMTP can answer with.

    :raises MailError: not a line of ASCII (RFC 5321 section 4.2) that fits (section 4.5.3.1.5), or with a code of its own
    """
    if not isinstance(value, str) or not _REPLY.match(value):
        raise MailError(f"{option} {shown(value)} must be a text of 1 to 200 printable characters of ASCII (RFC 5321 section 4.2)")
    if re.match(r"[245](\d\d|\.\d{1,3}\.\d{1,3})( |\Z)", value):
        raise MailError(f"{option} {shown(value)} begins with a code: the answer begins with 550 5.2.1 by itself")
    return str(value)


def role_aliases(model: Mapping[str, Any], aliases: Container[str]) -> dict[str, list[str]]:
    """Return the role addresses that are neither users nor aliases, and those of the host where a domain has its name: they lead to the
    postmaster."""
    if not model["postmaster"]:
        return {}
    no_mail = model["no_mail"]
    names = [
        f"{role}@{domain}"
        for domain, options in model["domains"].items() if not elsewhere(options)
        for role in (*(() if options["alias_of"] else ROLE_NAMES), *(HOST_NAMES if domain == model["fqdn"] else ()))
    ]
    return {name: [model["postmaster"]] for name in names if name not in model["users"] and name not in aliases and name not in no_mail}


def alias_domains(model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what domains that are another one get of it, by keys of the model: an alias for each of its names, none for any other, and
    what is said of those names; and ``catch_all``, domain to addresses.

    An alias leads where the other one does: its name may be one that no MTA here takes for an address on the right side.
    """
    found: dict[str, dict[str, Any]] = {"aliases": {}, "closed": {}, "send_as": {}, "no_mail": {}, "catch_all": {}}
    copies = domain_copies(model)
    for name in (*model["users"], *model["aliases"], *model["no_mail"]):
        local, _at, domain = name.partition("@")
        for copy in copies.get(domain, ()):
            again = f"{local}@{copy}"
            if again in model["aliases"]:
                continue  # the host's own names lead to the postmaster
            if name in model["no_mail"]:
                found["no_mail"][again] = model["no_mail"][name]
            else:
                found["aliases"][again] = [name] if name in model["users"] else list(model["aliases"][name])
                found["closed"].update({again: model["closed"][name]} if name in model["closed"] else {})
                found["send_as"].update({again: model["send_as"][name]} if name in model["send_as"] else {})
    for domain, names in copies.items():
        found["catch_all"].update({copy: list(model["domains"][domain]["catch_all"]) for copy in names})
    return found


def check_targets(problems: Problems, model: Mapping[str, Any], given: Container[str]) -> None:
    """Find aliases, catch-alls and a postmaster that lead nowhere, and aliases that lead to themselves, catch-alls on the way included.

    :param given: the names of ``mail_aliases``; the others are the role addresses, which lead to the postmaster
    """
    domains, users, aliases, no_mail = model["domains"], model["users"], model["aliases"], model["no_mail"]

    def copied(name: str) -> bool:
        return bool(domains.get(name.split("@")[1], {}).get("alias_of"))

    own = {*users, *aliases, *no_mail, *list_addresses(model)}

    def known(target: str) -> str:
        """The most exact name that an address has, or nothing."""
        return next((name for name in (target, _names.without_detail(target, model["recipient_delimiter"])) if name in own), "")

    def exists(target: str, catch_all: bool = True) -> bool:
        domain = target.split("@")[1]
        if domain not in domains or elsewhere(domains[domain]) or known(target):
            return True
        return catch_all and bool(domains[domain]["catch_all"])

    wanted = [(f"mail_aliases[{shown(name)}]", targets, True) for name, targets in aliases.items() if not copied(name)]
    # A catch-all that leads to an address which only a catch-all would take is a loop.
    wanted += [(f"mail_domains[{shown(name)}].catch_all", domain["catch_all"], False) for name, domain in domains.items()
               if not domain["alias_of"]]
    for where, targets, catch_all in wanted:
        for target in targets:
            if known(target) in no_mail:
                problems.add(f"{where} leads to {shown(target)}, which takes no mail (mail_aliases)")
            elif not exists(target, catch_all) and target != model["postmaster"]:
                problems.add(f"{where} leads to {shown(target)}, which is neither a user nor an alias")
    if model["postmaster"] and known(model["postmaster"]) in no_mail:
        problems.add(f"mail_postmaster {shown(model['postmaster'])} takes no mail (mail_aliases)")
    elif model["postmaster"] and not exists(model["postmaster"]):
        problems.add(f"mail_postmaster {shown(model['postmaster'])} is neither a user nor an alias")

    def caught(target: str) -> bool:
        """Whether only a catch-all takes an address."""
        domain = target.split("@")[1]
        return domain in domains and bool(domains[domain]["catch_all"]) and not exists(target, False)

    def following(name: str) -> list[str]:
        """What mail to an alias visits next, aliases and what a catch-all takes; an alias that keeps a copy ends in its own mailbox."""
        found = []
        for target in aliases[name] if name in aliases else domains[name.split("@")[1]]["catch_all"]:
            after = target if target in aliases else _names.without_detail(target, model["recipient_delimiter"])
            # What leads from one catch-all straight to another one was found above.
            if (after in aliases and not (after == name and name in users)) or (name in aliases and caught(target)):
                found.append(after)
        return found

    def variable(name: str) -> str:
        local, _at, domain = name.partition("@")
        if name not in aliases:
            return f"mail_domains[{domain!r}].catch_all"
        return "mail_postmaster" if local in (*ROLE_NAMES, *HOST_NAMES) and name not in given else "mail_aliases"

    def variables(loop: Sequence[str]) -> str:
        copies = {f"mail_domains[{name.split('@')[1]!r}].alias_of" for name in loop if copied(name)}
        names = sorted({variable(name) for name in loop} | copies)
        return f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'} a loop"

    state: dict[str, str] = {}
    for start in aliases:
        stack = [(start, iter(following(start)))]
        if start in state:
            continue
        state[start] = "open"
        while stack:
            name, rest = stack[-1]
            after = next(rest, None)
            if after is None:
                state[name] = "done"
                stack.pop()
            elif state.get(after) == "open":
                path = [entry[0] for entry in stack]
                loop = [*path[path.index(after) :], after]
                problems.add(f"{variables(loop)}: {' -> '.join(loop)}")
            elif after not in state:
                state[after] = "open"
                stack.append((after, iter(following(after))))


def check_members(problems: Problems, model: Mapping[str, Any]) -> None:
    """Find aliases that nobody could write to."""
    for name, who in model["closed"].items():
        if model["domains"].get(name.partition("@")[2], {}).get("alias_of"):
            continue  # it is said of the alias that this one has its name from
        if who == "members" and not members(model, name):
            problems.add(f"mail_aliases[{shown(name)}].from 'members' lets nobody write to it: it leads to no user of this server")


def read_host_senders(problems: Problems, given: Any, delimiter: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in problems.mapping(given, "mail_host_senders").items():
        where = f"mail_host_senders[{shown(name)}]"
        if not isinstance(name, str) or not _ACCOUNT.match(name):
            problems.add(f"{where} names an account of the host: a letter or '_', then at most 31 letters, digits, '.', '_' and '-'")
            continue
        if name.lower() in found:
            problems.add(f"{where} is declared twice (names are compared without case)")
        addresses = set()
        for text in problems.strings(value, where):
            address = _sender(problems, text, where)
            local = address.rpartition("@")[0] if address else ""
            if address and _names.without_detail(address, delimiter) != address:
                cut = next(character for character in local[1:] if character in delimiter)
                rule = "what follows is a detail (RFC 5233), allowed with the address before it"
                problems.add(f"{where} {shown(text)} has a {cut!r}: {rule}")
            elif address:
                addresses.add(address)
        # Mail compares accounts as it does addresses.
        found[name.lower()] = sorted(addresses)
    return dict(sorted(found.items()))
