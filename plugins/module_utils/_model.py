# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the C(mail_*) variables mean: one pure function that checks them all at once and fills in every default.

The names in this file are the variables' names without C(mail_). Roles pass what they have (a role that is used
alone passes only its own variables), the site passes everything, and both get the same shape back.
"""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import (
    _dkim,
    _dmarc,
    _dns_plan,
    _dns_rdata,
    _names,
    _records,
    _secret_text,
    _sinks,
    _spf,
    _system,
    _txt,
)
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, bounded, shown

#: RFC 2142 sections 4 and 5; postmaster is demanded by RFC 5321 section 4.5.1.
ROLE_NAMES = ("postmaster", "abuse", "hostmaster", "webmaster", "security", "noc")
#: Of the host itself: who its programs write to, and who its bounces are from.
HOST_NAMES = ("mailer-daemon", "root")

MTAS = ("postfix", "opensmtpd")
CERTIFICATE_METHODS = ("acme-http", "acme-dns", "files", "self-signed")
CERTIFICATE_KEYS = ("method", "email", "directory", "ca", "names", "key", "chain")
#: What becomes of mail that is not from its author's domain: the first is the default.
DMARC_ACTIONS = ("junk", "reject", "score")
DNS_BACKENDS = ("report", "rfc2136", "zone_file")
DNS_KEYS = (
    "backend", "server", "port", "key_name", "key_algorithm", "key_secret", "zone_file", "zone_host", "reload", "ttl",
    "nameservers", "wait",
)  # fmt: skip

#: Names that the plan of the collection knows and this release does not build yet: refused, never ignored.
NOT_BUILT = {
    "routes": "smarthosts and routes",
    "limits": "sending limits",
    "lists": "Mailman",
}

#: Providers that defer or block senders who come too fast or over too many connections, and what they bear. The numbers
#: of Orange are its own (postmaster.orange.fr: two connections, 100 messages each); the others publish none, and these are careful.
SLOW_DESTINATIONS: dict[str, dict[str, Any]] = {
    "orange": {"domains": ["orange.fr", "wanadoo.fr"], "connections": 2, "delay": 1},
    "sfr": {
        "domains": ["sfr.fr", "neuf.fr", "cegetel.net", "club-internet.fr", "numericable.fr", "noos.fr", "modulonet.fr"],
        "connections": 1,
        "delay": 1,
    },
    "free": {"domains": ["free.fr", "aliceadsl.fr"], "connections": 1, "delay": 2},
    "laposte": {"domains": ["laposte.net"], "connections": 2, "delay": 1},
    "yahoo": {
        "domains": ["yahoo.com", "yahoo.fr", "yahoo.co.uk", "yahoo.de", "yahoo.it", "yahoo.es", "ymail.com", "rocketmail.com", "aol.com"],
        "connections": 2,
        "delay": 1,
    },
    "icloud": {"domains": ["icloud.com", "me.com", "mac.com"], "connections": 2, "delay": 1},
}

_BCRYPT = re.compile(r"^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}\Z")
#: What tools print before a hash: doveadm pw, htpasswd -nB.
_PRINTED = re.compile(r"\A(?:\{(?:BLF-CRYPT|CRYPT)\}|[^:\s{}$]{1,255}:)(?=\$2)", re.IGNORECASE | re.ASCII)
#: A user's local part is the name of a directory.
_DIRECTORY = re.compile(r"^[a-z0-9][a-z0-9._-]*\Z")
#: An account of the host (useradd(8)).
_ACCOUNT = re.compile(r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
#: A line of the table that each MTA reads: regexp_table(5), and table(5), which must not be empty.
REFUSALS = {"postfix": r"/\^\S+\$/ 5[0-9]{2} 5\.[0-9]+\.[0-9]+ [ -~]+", "opensmtpd": r"\^\S*\$"}
_SIZE = re.compile(r"^([0-9]{1,19}) ?([KMGT]?)i?B?[ \t\r\n]*\Z", re.IGNORECASE | re.ASCII)
#: What the counters of quotas hold.
_SIZE_MOST = 2**63 - 1
#: Selectors that the collection makes are a day and part of the key's digest; as long as any of them.
_SELECTOR = "s20261128-0a1b2c3d"


class _Problems:
    """Collects the rules that are broken, so that a user sees all of them in one run."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, text: str) -> None:
        text = bounded(text)
        if text not in self.found:
            self.found.append(text)

    def attempt(self, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        try:
            return function(*arguments)
        except MailError as exc:
            self.add(str(exc))
            return default

    def within(self, where: str, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        """Like C(attempt), for a function whose errors do not name the variable."""
        try:
            return function(*arguments)
        except MailError as exc:
            self.add(f"{where}: {exc}")
            return default

    def mapping(self, value: Any, where: str, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a dictionary with known keys; C(None) counts as empty, so that C(example.org:) alone is enough."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.add(f"{where} must be a dictionary, not {_kind(value)}")
            return {}
        if keys is None:
            # A number is a label of DNS as well.
            known = {key: entry for key, entry in value.items() if isinstance(key, str) or (type(key) is int and 0 <= key < 2**63)}
            for key in value:
                if key not in known:
                    self.add(f"{where} has the key {shown(key)}, which is not a string")
            return known
        for key in value:
            if key not in keys:
                self.add(f"{where} has no key {shown(key)}{_nearest(key, keys)}; it knows {', '.join(keys)}")
        return {key: value[key] for key in value if key in keys}

    def strings(self, value: Any, where: str) -> list[str]:
        """Return a list of strings; one string counts as a list of one."""
        if value is None:
            return []
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence) or not all(isinstance(item, str) for item in values):
            self.add(f"{where} must be a string or a list of strings, not {_kind(value)}")
            return []
        return [str(item) for item in values]

    def text(self, value: Any, where: str) -> str | None:
        """Return a string; the empty one counts as none."""
        if value is not None and not isinstance(value, str):
            self.add(f"{where} must be a string, not {_kind(value)}")
            return None
        return str(value) if value else None

    def choice(self, value: Any, where: str, choices: Sequence[str]) -> str:
        """Return one of the choices: the first one in place of a value that is none of them."""
        if not isinstance(value, str) or value not in choices:
            self.add(f"{where} {shown(value)} is unknown{_nearest(value, choices)}; it is one of {', '.join(choices)}")
            return choices[0]
        return value

    def boolean(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            self.add(f"{where} must be true or false, not {shown(value)}")
        return bool(value)

    def number(self, value: Any, where: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.add(f"{where} {shown(value)} must be a number from {low:g} to {high:g}")
            return low
        return value

    def integer(self, value: Any, where: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.add(f"{where} {shown(value)} must be a whole number from {low} to {high}")
            return low
        return int(value)


def _kind(value: Any) -> str:
    return type(value).__name__.replace("_AnsibleTagged", "").lower()


def _nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) and len(name) < 100 else []
    return f" (did you mean {shown(near[0])}?)" if near else ""


def _address_for(kind: str) -> Callable[[str, str], str]:
    """Return a function that returns an address in canonical form, one that all sinks of its kind carry.

    :param kind: C(name), C(target), C(postmaster) or C(contact), see :data:`_sinks._REACHES`
    """

    def checked(value: str, option: str) -> str:
        address = _names.address(value, option)
        local, _at, domain = address.partition("@")
        if local == "*":
            raise MailError(
                f"{option} {shown(value)} is an address like any other, since '*' stands for nothing else there: "
                f"mail to all names of a domain is mail_domains[{domain!r}].catch_all"
            )
        return _sinks.carried(kind, address, option)

    return checked


_name, _target, _postmaster, _contact = map(_address_for, ("name", "target", "postmaster", "contact"))


def size(value: Any, option: str) -> int:
    """Return a size in bytes from a number of bytes or a text such as C(500M) or C(2 GiB); powers of 1024.

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


def password_hash(value: Any, option: str) -> str:
    """Return a bcrypt hash in the C($2b$) form, the only one that every MTA, Dovecot and system here accepts.

    What C(doveadm pw) prints before it, C({BLF-CRYPT}), and the user's name that C(htpasswd -nB) prints, do not count.

    C($2y$) and C($2a$) name the same function in today's libraries and are rewritten. White space at the end, such as a
    block of YAML or a vault leaves there, does not count. The value is never in the error.

    :raises MailError: not a bcrypt hash
    """
    text = _PRINTED.sub("", value).rstrip(" \t\r\n") if isinstance(value, str) else ""
    if not _BCRYPT.match(text):
        raise MailError(
            f"{option} is not a bcrypt hash ($2b$, two digits of cost, 53 characters). Make one with: "
            "python3 -c 'import bcrypt,getpass; print(bcrypt.hashpw(getpass.getpass().encode(), bcrypt.gensalt(12)).decode())'"
        )
    return "$2b$" + text[4:]


def _addresses(problems: _Problems, given: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for text in problems.strings(given, "mail_addresses"):
        address = problems.attempt(_names.ip_address, text, "mail_addresses")
        if address is None:
            continue
        why = _names.not_public(str(address))
        if why:
            problems.add(
                f"mail_addresses {shown(text)} is not public ({why}): other mail servers cannot reach it. "
                "Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"
            )
        family = found[f"ipv{address.version}"]
        if str(address) not in family:
            family.append(str(address))
    return found


def _spf_options(problems: _Problems, given: Any, where: str, domain: str) -> dict[str, Any]:
    options = problems.mapping(given, where, ("all", "terms"))
    end: Any = options.get("all")
    if end is not None and problems.choice(end, f"{where}.all", ("-all", "~all", "?all")) != end:
        end = None
    result = {"all": end, "terms": problems.strings(options.get("terms"), f"{where}.terms")}
    problems.within(where, _spf.build, (), result["terms"], result["all"], None, domain)
    return result


def _dkim_options(problems: _Problems, given: Any, where: str, domain: str) -> dict[str, Any]:
    if given is False:
        return {"enabled": False, "selector": None, "bits": 2048}
    options = problems.mapping({} if given is True else given, where, ("selector", "bits"))
    selector = options.get("selector")
    if selector is not None:
        selector = problems.attempt(_names.selector, selector, f"{where}.selector")
    problems.within(where, _dkim.name, selector or _SELECTOR, domain)
    return {"enabled": True, "selector": selector, "bits": problems.integer(options.get("bits", 2048), f"{where}.bits", 1024, 4096)}


def _dmarc_options(problems: _Problems, given: Any, where: str, domain: str) -> dict[str, Any] | None:
    if given is False:
        return None
    options = problems.mapping(
        {} if given is True else given, where, ("policy", "subdomain_policy", "rua", "ruf", "adkim", "aspf")
    )
    problems.attempt(_names.owner_name, _dmarc.name(domain), f"{where}: name")
    policies = ("none", "quarantine", "reject")
    subdomain = options.get("subdomain_policy")
    result: dict[str, Any] = {
        "policy": problems.choice(options.get("policy", "quarantine"), f"{where}.policy", policies),
        "subdomain_policy": None if subdomain is None else problems.choice(subdomain, f"{where}.subdomain_policy", policies),
        "adkim": problems.choice(options.get("adkim", "r"), f"{where}.adkim", ("r", "s")),
        "aspf": problems.choice(options.get("aspf", "r"), f"{where}.aspf", ("r", "s")),
    }
    for tag, default in (("rua", [f"postmaster@{domain}"]), ("ruf", [])):
        values = problems.strings(options.get(tag, default), f"{where}.{tag}")
        result[tag] = [problems.attempt(_dmarc.destination, value, f"{where}.{tag}", default=value) for value in values]
    return result


def _domains(problems: _Problems, given: Any) -> dict[str, dict[str, Any]]:
    keys = ("dkim", "spf", "dmarc", "catch_all", "txt", "mta_sts", "tls_rpt")
    domains: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_domains").items():
        name = problems.attempt(_names.domain_name, key, "mail_domains")
        if name is None:
            continue
        where = f"mail_domains[{shown(key)}]"
        if name in domains:
            problems.add(f"{where} is declared twice (names are compared without case)")
        options = problems.mapping(value, where, keys)
        for later in ("mta_sts", "tls_rpt"):
            if later in options:
                problems.add(f"{where}.{later} is not built yet in this release: take it out")
        txt = options.get("txt")
        if isinstance(txt, (str, list)):
            txt = {"@": txt}
        records: dict[str, list[str]] = {}
        for label, values in problems.mapping(txt, f"{where}.txt").items():
            owner = problems.within(f"{where}.txt", _dns_plan.absolute_name, str(label), name)
            texts = problems.strings(values, f"{where}.txt[{shown(label)}]")
            if not texts:
                problems.add(f"{where}.txt[{shown(label)}] names no value")
            for text in texts:
                if problems.attempt(_secret_text.without_private_key, text, f"{where}.txt[{shown(label)}]") is None:
                    continue
                if problems.attempt(_txt.strings, text, f"{where}.txt[{shown(label)}]"):
                    problems.within(f"{where}.txt[{shown(label)}]", _dns_rdata.from_text, "TXT", text)
            if owner in records:
                problems.add(f"{where}.txt[{shown(label)}] is declared twice ({owner})")
            elif owner:
                records[owner] = texts
        domains[name] = {
            "dkim": _dkim_options(problems, options.get("dkim"), f"{where}.dkim", name),
            "spf": None if options.get("spf") is False else _spf_options(problems, options.get("spf"), f"{where}.spf", name),
            "dmarc": _dmarc_options(problems, options.get("dmarc"), f"{where}.dmarc", name),
            "catch_all": [
                address
                for text in problems.strings(options.get("catch_all"), f"{where}.catch_all")
                if (address := problems.attempt(_target, text, f"{where}.catch_all"))
            ],
            "txt": records,
        }
    return domains


def _check_managed_names(problems: _Problems, domains: Mapping[str, Mapping[str, Any]]) -> None:
    """Find free TXT values at names where a domain of ours has a record of that kind made for it."""
    managed: dict[str, tuple[bytes, str]] = {}
    for name, options in domains.items():
        where = f"mail_domains[{name!r}]"
        if options["spf"] is not None:
            managed[name] = (b"v=spf1", f"{where}.spf")
        if options["dmarc"] is not None:
            managed[_dmarc.name(name)] = (b"v=DMARC1", f"{where}.dmarc")
        if options["dkim"]["enabled"] and options["dkim"]["selector"]:
            managed[_dkim.name(options["dkim"]["selector"], name)] = (b"", f"{where}.dkim")
    for name, options in domains.items():
        for owner in options["txt"].keys() & managed.keys():
            version, option = managed[owner]
            for text in options["txt"][owner]:
                if _dns_plan.owned(text.encode("utf-8", "replace"), version):
                    problems.add(
                        f"mail_domains[{name!r}].txt holds {shown(text)} for {owner}, where {option} makes a record: "
                        f"use {option}, or set it to false to publish your own"
                    )


def _users(problems: _Problems, given: Any, domains: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    users: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_users").items():
        name = problems.attempt(_names.address, key, "mail_users")
        if name is None:
            continue
        where = f"mail_users[{shown(key)}]"
        if name in users:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        if "+" in name.split("@")[0]:
            problems.add(f"{where} has a '+': what follows it is a detail of the user before it (RFC 5233), not a user")
        elif not _DIRECTORY.match(name.split("@")[0]):
            problems.add(f"{where} names a directory, so it may have only a-z, 0-9, '.', '_' and '-' before the @")
        if name.split("@")[1] not in domains:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        options = problems.mapping(value, where, ("password_hash", "quota", "senders", "limit"))
        if "limit" in options:
            problems.add(f"{where}.limit is not built yet in this release: take it out")
        users[name] = {
            "password_hash": problems.attempt(password_hash, options.get("password_hash"), f"{where}.password_hash", default=""),
            "quota": problems.attempt(size, options.get("quota", 0), f"{where}.quota", default=0),
            "senders": sorted(
                {
                    address
                    for text in problems.strings(options.get("senders"), f"{where}.senders")
                    if (address := problems.attempt(_name, text, f"{where}.senders"))
                }
            ),
        }
        for sender in users[name]["senders"]:
            if sender.split("@")[1] not in domains:
                problems.add(f"{where}.senders {shown(sender)} is in a domain that mail_domains does not declare: it could not be signed")
    return users


def _without_detail(address: str) -> str:
    local, _at, domain = address.partition("@")
    return f"{local.split('+')[0]}@{domain}"


def _aliases(problems: _Problems, given: Any, model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the aliases that are given; see C(_role_aliases) for the others."""
    domains, users = model["domains"], model["users"]
    aliases: dict[str, list[str]] = {}
    for key, value in problems.mapping(given, "mail_aliases").items():
        name = problems.attempt(_name, key, "mail_aliases")
        if name is None:
            continue
        where = f"mail_aliases[{shown(key)}]"
        if name.split("@")[1] not in domains:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        targets = []
        texts = problems.strings(value, where)
        for text in texts:
            target = problems.attempt(_target, text, where)
            if target and target not in targets:
                targets.append(target)
        if not texts:
            problems.add(f"{where} leads to no address")
        if name in aliases:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        if name in users and name not in targets:
            problems.add(f"{where} hides the mailbox of the same name: name {name} among its targets to keep a copy, or remove the user")
        aliases[name] = targets
    return aliases


def _role_aliases(model: Mapping[str, Any], aliases: Container[str]) -> dict[str, list[str]]:
    """Return the role addresses that are neither users nor aliases, and those of the host where a domain has its name: they lead to the
    postmaster."""
    if not model["postmaster"]:
        return {}
    names = [
        f"{role}@{domain}" for domain in model["domains"] for role in (*ROLE_NAMES, *(HOST_NAMES if domain == model["fqdn"] else ()))
    ]
    return {name: [model["postmaster"]] for name in names if name not in model["users"] and name not in aliases}


def _check_targets(problems: _Problems, model: Mapping[str, Any], given: Container[str]) -> None:
    """Find aliases, catch-alls and a postmaster that lead nowhere, and aliases that lead to themselves, catch-alls on the way included.

    :param given: the names of C(mail_aliases); the others are the role addresses, which lead to the postmaster
    """
    domains, users, aliases = model["domains"], model["users"], model["aliases"]

    def exists(target: str, catch_all: bool = True) -> bool:
        domain = target.split("@")[1]
        if domain not in domains or any(name in users or name in aliases for name in (target, _without_detail(target))):
            return True
        return catch_all and bool(domains[domain]["catch_all"])

    wanted = [(f"mail_aliases[{shown(name)}]", targets, True) for name, targets in aliases.items()]
    # A catch-all that leads to an address which only a catch-all would take is a loop.
    wanted += [(f"mail_domains[{shown(name)}].catch_all", domain["catch_all"], False) for name, domain in domains.items()]
    for where, targets, catch_all in wanted:
        for target in targets:
            if not exists(target, catch_all) and target != model["postmaster"]:
                problems.add(f"{where} leads to {shown(target)}, which is neither a user nor an alias")
    if model["postmaster"] and not exists(model["postmaster"]):
        problems.add(f"mail_postmaster {shown(model['postmaster'])} is neither a user nor an alias")

    def caught(target: str) -> bool:
        """Whether only a catch-all takes an address."""
        domain = target.split("@")[1]
        return domain in domains and bool(domains[domain]["catch_all"]) and not exists(target, False)

    def following(name: str) -> list[str]:
        """What mail to an alias visits next, aliases and what a catch-all takes; an alias that keeps a copy ends in its own mailbox."""
        found = []
        for target in aliases[name] if name in aliases else domains[name.split("@")[1]]["catch_all"]:
            after = target if target in aliases else _without_detail(target)
            # What leads from one catch-all straight to another one was found above.
            if (after in aliases and not (after == name and name in users)) or (name in aliases and caught(target)):
                found.append(after)
        return found

    def variables(loop: Sequence[str]) -> str:
        names = [
            f"mail_domains[{name.split('@')[1]!r}].catch_all"
            if name not in aliases
            else "mail_postmaster"
            if name.split("@")[0] in (*ROLE_NAMES, *HOST_NAMES) and name not in given
            else "mail_aliases"
            for name in loop
        ]
        names = sorted(set(names))
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


def _slow_destinations(problems: _Problems, given: Any) -> dict[str, dict[str, Any]]:
    if given is None:
        given = SLOW_DESTINATIONS
    found: dict[str, dict[str, Any]] = {}
    taken: dict[str, str] = {}
    for name, value in problems.mapping(given, "mail_slow_destinations").items():
        where = f"mail_slow_destinations[{shown(name)}]"
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]{0,19}", name):
            problems.add(f"{where} names a transport: a letter, then at most 19 letters and digits, all lower case")
        options = problems.mapping(value, where, ("domains", "connections", "delay"))
        domains = []
        for text in problems.strings(options.get("domains"), f"{where}.domains"):
            domain = problems.attempt(_names.domain_name, text, f"{where}.domains")
            if domain in taken:
                problems.add(f"{where}.domains {shown(text)} is in mail_slow_destinations[{shown(taken[domain])}] as well")
            elif domain:
                taken[domain] = name
                domains.append(domain)
        if not domains:
            problems.add(f"{where}.domains names no domain")
        found[str(name)] = {
            "domains": sorted(domains),
            "connections": problems.integer(options.get("connections", 1), f"{where}.connections", 1, 20),
            "delay": problems.integer(options.get("delay", 1), f"{where}.delay", 0, 3600),
        }
    return dict(sorted(found.items()))


def _dns(problems: _Problems, given: Any) -> dict[str, Any]:
    options = problems.mapping(given, "mail_dns", DNS_KEYS)
    result = {
        "backend": problems.choice(options.get("backend", "report"), "mail_dns.backend", DNS_BACKENDS),
        "server": problems.text(options.get("server"), "mail_dns.server"),
        "port": problems.integer(options.get("port", 53), "mail_dns.port", 1, 65535),
        "key_name": problems.text(options.get("key_name"), "mail_dns.key_name"),
        "key_algorithm": problems.choice(
            options.get("key_algorithm", "hmac-sha256"),
            "mail_dns.key_algorithm",
            ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"),
        ),
        "key_secret": problems.text(options.get("key_secret"), "mail_dns.key_secret"),
        "zone_file": problems.text(options.get("zone_file"), "mail_dns.zone_file"),
        "zone_host": problems.text(options.get("zone_host"), "mail_dns.zone_host"),
        "reload": problems.strings(options.get("reload"), "mail_dns.reload"),
        "ttl": problems.integer(options.get("ttl", 3600), "mail_dns.ttl", 60, 604800),
        "nameservers": [
            str(address)
            for text in problems.strings(options.get("nameservers"), "mail_dns.nameservers")
            if (address := problems.attempt(_names.ip_address, text, "mail_dns.nameservers"))
        ],
        "wait": problems.integer(options.get("wait", 120), "mail_dns.wait", 0, 3600),
    }
    needed = {"rfc2136": ("server", "key_name", "key_secret"), "zone_file": ("zone_file",)}.get(result["backend"], ())
    for key in needed:
        if not options.get(key):
            problems.add(f"mail_dns.{key} is needed by mail_dns.backend {shown(result['backend'])}")
    if result["server"]:
        result["server"] = problems.attempt(_host, result["server"], "mail_dns.server")
    if result["key_name"]:
        result["key_name"] = problems.attempt(_names.owner_name, result["key_name"], "mail_dns.key_name")
    if result["key_secret"]:
        # Written into a file, where white space within it would be the end of the line.
        octets = problems.attempt(_dns_plan.tsig_secret, result["key_secret"], "mail_dns.key_secret", default=b"")
        result["key_secret"] = base64.b64encode(octets).decode("ascii")
    if result["zone_file"]:
        problems.attempt(_sinks.file_name, result["zone_file"], "mail_dns.zone_file")
    if result["zone_host"]:
        problems.attempt(_sinks.host_name, result["zone_host"], "mail_dns.zone_host")
    for word in result["reload"]:
        problems.attempt(_sinks.one_line, word, "mail_dns.reload")
    if result["reload"] and not result["reload"][0]:
        problems.add("mail_dns.reload begins with an empty text, which is no command")
    return result


def _host(value: str, option: str) -> str:
    """Return the name or the address of a host.

    :raises MailError: neither
    """
    if _names.is_ip_address(value):
        return str(_names.ip_address(value, option))
    return _names.owner_name(value, option)


def _certificates(problems: _Problems, given: Any, dns: Mapping[str, Any], os_family: str) -> dict[str, Any]:
    options = problems.mapping(given, "mail_certificates", CERTIFICATE_KEYS)
    result = {
        "method": problems.choice(options.get("method", "acme-http"), "mail_certificates.method", CERTIFICATE_METHODS),
        "email": problems.text(options.get("email"), "mail_certificates.email"),
        "directory": problems.text(options.get("directory"), "mail_certificates.directory"),
        "ca": problems.attempt(
            _secret_text.without_private_key, problems.text(options.get("ca"), "mail_certificates.ca") or "", "mail_certificates.ca"
        )
        or None,
        "names": [
            name
            for text in problems.strings(options.get("names"), "mail_certificates.names")
            if (name := problems.attempt(_names.domain_name, text, "mail_certificates.names"))
        ],
        "key": problems.text(options.get("key"), "mail_certificates.key"),
        "chain": problems.text(options.get("chain"), "mail_certificates.chain"),
    }
    checks = {
        "email": _contact, "directory": _sinks.url, "ca": _sinks.pem, "key": _sinks.pem_or_path, "chain": _sinks.pem_or_path,
    }  # fmt: skip
    for key, check in checks.items():
        if result[key]:
            result[key] = problems.attempt(check, result[key], f"mail_certificates.{key}")
    if result["method"] == "files":
        for key in ("key", "chain"):
            if not options.get(key):
                problems.add(f"mail_certificates.{key} is needed by mail_certificates.method 'files'")
    if result["method"] == "acme-dns" and dns["backend"] != "rfc2136":
        problems.add("mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' to answer the challenge (RFC 8555 section 8.4)")
    reason = _system.impossible(os_family, result["method"])
    if reason:
        problems.add(
            f"mail_certificates.method {shown(result['method'])} cannot be had on {os_family}: {reason}; use acme-http, files or "
            f"self-signed"
        )
    return result


def _filter(problems: _Problems, given: Any) -> dict[str, Any]:
    options = problems.mapping(given, "mail_filter", ("reject", "junk", "greylist", "dnsbls", "trusted", "dmarc", "arc_sealers"))
    greylist = options.get("greylist", 4)
    result: dict[str, Any] = {
        "reject": float(problems.number(options.get("reject", 15), "mail_filter.reject", 1, 1000)),
        "junk": float(problems.number(options.get("junk", 6), "mail_filter.junk", 1, 1000)),
        "greylist": None if greylist in (None, False) else float(problems.number(greylist, "mail_filter.greylist", 0, 1000)),
        "dnsbls": problems.boolean(options.get("dnsbls", True), "mail_filter.dnsbls"),
        "trusted": [],
        "dmarc": problems.choice(options.get("dmarc", DMARC_ACTIONS[0]), "mail_filter.dmarc", DMARC_ACTIONS),
        "arc_sealers": sorted({
            domain for text in problems.strings(options.get("arc_sealers"), "mail_filter.arc_sealers")
            if (domain := problems.attempt(_names.domain_name, text, "mail_filter.arc_sealers"))
        }),
    }
    if result["dmarc"] == "score" and result["arc_sealers"]:
        problems.add("mail_filter.arc_sealers says whose seals excuse a failure of DMARC, and mail_filter.dmarc 'score' has no use for it")
    for text in problems.strings(options.get("trusted"), "mail_filter.trusted"):
        network = problems.attempt(_names.ip_network, text, "mail_filter.trusted")
        if network is not None and str(network) not in result["trusted"]:
            result["trusted"].append(str(network))
    if result["junk"] >= result["reject"]:
        limit = f"mail_filter.reject {result['reject']:g}"
        problems.add(f"mail_filter.junk {result['junk']:g} must be below {limit}: nothing would land in Junk")
    if result["greylist"] is not None and result["greylist"] >= result["reject"]:
        problems.add(f"mail_filter.greylist {result['greylist']:g} must be below mail_filter.reject {result['reject']:g}")
    return result


def _check_records(problems: _Problems, model: Mapping[str, Any]) -> None:
    """Find what only all records together show: some that may not stand at one name, or that no message could carry.

    That can only be where somebody adds values of their own.
    """
    owners = {owner for options in model["domains"].values() for owner in options["txt"]}
    domains = {name: options for name, options in model["domains"].items() if options["txt"] or name in owners}
    no_zone = {"zone": None, "owned_prefix": None}

    def check() -> None:
        records = [{**no_zone, **record} for record in _records.plan({**model, "domains": domains}) if record["name"] in owners]
        _dns_plan.check_batch(_dns_plan.wanted_records(records))

    if owners:
        problems.within("mail_domains", check)


def _refusals(problems: _Problems, given: Any) -> dict[str, str]:
    """Check the tables that mailman_harden returns; no table at all is an empty dictionary."""
    options = problems.mapping(given, "mail_refusals", ("addresses", *REFUSALS))
    found = {mta: options.get(mta) for mta in REFUSALS if options}
    for mta, text in found.items():
        lines = text.splitlines() if isinstance(text, str) else [""]
        if not all(re.fullmatch(REFUSALS[mta], line) for line in lines) or (mta == "opensmtpd" and not lines):
            problems.add(f"mail_refusals.{mta} {shown(text)} is not the table that mailman_harden returns as refusals.{mta}")
            found[mta] = ""
    return found


def _host_senders(problems: _Problems, given: Any) -> dict[str, list[str]]:
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
            if text.startswith("@"):
                domain = problems.attempt(_names.domain_name, text[1:], where)
                address = f"@{domain}" if domain else None
            else:
                address = problems.attempt(_name, text, where)
            if address and "+" in address:
                problems.add(f"{where} {shown(text)} has a '+': what follows is a detail (RFC 5233), allowed with the address before it")
            elif address:
                addresses.add(address)
        # Mail compares accounts as it does addresses.
        found[name.lower()] = sorted(addresses)
    return dict(sorted(found.items()))


KNOWN = (
    "fqdn", "addresses", "mta", "domains", "users", "aliases", "postmaster", "dns", "certificates", "filter", "slow_destinations",
    "refusals", "host_senders",
)  # fmt: skip


def normalise(given: Mapping[str, Any], os_family: str = "") -> dict[str, Any]:
    """Check the variables and return the model: every key present, every name canonical, every default filled in.

    :param given: variables without their C(mail_) prefix; what is absent takes its default
    :param os_family: the host's, as in Ansible's facts: some defaults depend on it, and not everything can be had everywhere
    :returns: C(fqdn), C(addresses) by family, C(mta), C(postmaster), C(domains), C(users) (quota in bytes, 0 for none),
        C(aliases) (role addresses included), C(dns), C(certificates), C(filter), C(slow_destinations)
        (provider to C(domains), C(connections) at once and C(delay) in seconds between messages), C(refusals) (MTA to table),
        C(host_senders) (account of the host to addresses and C(@domain) that its programs may send as)
    :raises MailError: with one line for every rule that is broken, each naming variable, value and rule
    """
    problems = _Problems()
    for name in given:
        if name in NOT_BUILT:
            problems.add(f"mail_{name} ({NOT_BUILT[name]}) is not built yet in this release: take it out")
        elif name not in KNOWN:
            problems.add(f"mail_{name} is not a variable of this collection{_nearest(name, KNOWN).replace(chr(39), '')}")
    model: dict[str, Any] = {
        "fqdn": problems.attempt(_names.domain_name, given["fqdn"], "mail_fqdn") if "fqdn" in given else None,
        "addresses": _addresses(problems, given.get("addresses")),
        "mta": problems.choice(given.get("mta", _system.usual_mta(os_family)), "mail_mta", MTAS),
        "domains": _domains(problems, given.get("domains")),
    }
    _check_managed_names(problems, model["domains"])
    users = model["users"] = _users(problems, given.get("users"), model["domains"])
    postmaster = given.get("postmaster")
    if postmaster not in (None, ""):
        postmaster = problems.attempt(_postmaster, postmaster, "mail_postmaster")
    elif users:
        postmaster = next(iter(users))
    elif model["domains"] and "users" in given:
        problems.add("mail_postmaster is needed where mail_users has no user: every domain has a postmaster (RFC 5321 section 4.5.1)")
    model["postmaster"] = postmaster or None
    aliases = _aliases(problems, given.get("aliases"), model)
    model["aliases"] = {**aliases, **_role_aliases(model, aliases)}
    if "users" in given:
        _check_targets(problems, model, aliases)
    model["dns"] = _dns(problems, given.get("dns"))
    model["certificates"] = _certificates(problems, given.get("certificates"), model["dns"], os_family)
    model["filter"] = _filter(problems, given.get("filter"))
    model["slow_destinations"] = _slow_destinations(problems, given.get("slow_destinations"))
    model["refusals"] = _refusals(problems, given.get("refusals"))
    model["host_senders"] = _host_senders(problems, given.get("host_senders"))
    if model["fqdn"] and not problems.found:
        _check_records(problems, model)
    if problems.found:
        count = len(problems.found)
        raise MailError(
            ("one rule is broken:\n- " if count == 1 else f"{count} rules are broken:\n- ") + "\n- ".join(problems.found), problems.found
        )
    return model
