# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the C(mail_*) variables mean: one pure function that checks them all at once and fills in every default.

The names in this file are the variables' names without C(mail_). Roles pass what they have (a role that is used
alone passes only its own variables), the site passes everything, and both get the same shape back.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _spf, _system
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: RFC 2142 sections 4 and 5; postmaster is demanded by RFC 5321 section 4.5.1.
ROLE_NAMES = ("postmaster", "abuse", "hostmaster", "webmaster", "security", "noc")

MTAS = ("postfix", "opensmtpd")
CERTIFICATE_METHODS = ("acme-http", "acme-dns", "files", "self-signed")
DNS_BACKENDS = ("report", "rfc2136", "zone_file")

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

#: Addresses that no other mail server can reach. Documentation prefixes are not among them: the tests live there.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fc00::/7",
        "fe80::/10",
        "ff00::/8",
    )
)

_BCRYPT = re.compile(r"^\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}\Z")
#: A user's local part is the name of a directory.
_DIRECTORY = re.compile(r"^[a-z0-9][a-z0-9._-]*\Z")
_SIZE = re.compile(r"^([0-9]+) ?([KMGT]?)i?B?\Z", re.IGNORECASE)


class _Problems:
    """Collects the rules that are broken, so that a user sees all of them in one run."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, text: str) -> None:
        if text not in self.found:
            self.found.append(text)

    def attempt(self, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        try:
            return function(*arguments)
        except MailError as exc:
            self.add(str(exc))
            return default

    def mapping(self, value: Any, where: str, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a dictionary with known keys; C(None) counts as empty, so that C(example.org:) alone is enough."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.add(f"{where} must be a dictionary, not {_kind(value)}")
            return {}
        if keys is None:
            return dict(value)
        for key in value:
            if key not in keys:
                self.add(f"{where} has no key {key!r}{_nearest(str(key), keys)}; it knows {', '.join(keys)}")
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

    def choice(self, value: Any, where: str, choices: Sequence[str]) -> Any:
        if value not in choices:
            self.add(f"{where} {value!r} is unknown{_nearest(str(value), choices)}; it is one of {', '.join(choices)}")
        return value

    def boolean(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            self.add(f"{where} must be true or false, not {value!r}")
        return bool(value)

    def number(self, value: Any, where: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.add(f"{where} {value!r} must be a number from {low:g} to {high:g}")
            return low
        return value

    def integer(self, value: Any, where: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.add(f"{where} {value!r} must be a whole number from {low} to {high}")
            return low
        return int(value)


def _kind(value: Any) -> str:
    return type(value).__name__.replace("_AnsibleTagged", "").lower()


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def size(value: Any, option: str) -> int:
    """Return a size in bytes from a number of bytes or a text such as C(500M) or C(2 GiB); powers of 1024.

    :raises MailError: neither
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return int(value)
    match = _SIZE.match(value.strip()) if isinstance(value, str) else None
    if not match:
        raise MailError(f"{option} {value!r} is not a size such as 500M or 2G (powers of 1024; 0 for no limit)")
    return int(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")


def password_hash(value: Any, option: str) -> str:
    """Return a bcrypt hash in the C($2b$) form, the only one that every MTA, Dovecot and system here accepts.

    C($2y$) and C($2a$) name the same function in today's libraries and are rewritten. White space at the end, such as a
    block of YAML or a vault leaves there, does not count. The value is never in the error.

    :raises MailError: not a bcrypt hash
    """
    text = value.rstrip() if isinstance(value, str) else ""
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
        if any(address.version == network.version and address in network for network in _NOT_PUBLIC):
            problems.add(
                f"mail_addresses {text!r} is private: other mail servers cannot reach it. "
                "Set mail_addresses to the addresses that the world sees (behind NAT: the router's)"
            )
        family = found[f"ipv{address.version}"]
        if str(address) not in family:
            family.append(str(address))
    return found


def _spf_options(problems: _Problems, given: Any, where: str) -> dict[str, Any]:
    options = problems.mapping(given, where, ("all", "terms"))
    result = {"all": options.get("all"), "terms": problems.strings(options.get("terms"), f"{where}.terms")}
    if result["all"] is not None:
        problems.choice(result["all"], f"{where}.all", ("-all", "~all", "?all"))
    try:
        _spf.build(terms=result["terms"], all_term=result["all"])
    except MailError as exc:
        problems.add(f"{where}: {exc}")
    return result


def _dkim_options(problems: _Problems, given: Any, where: str) -> dict[str, Any]:
    if isinstance(given, bool):
        return {"enabled": given, "selector": None, "bits": 2048}
    options = problems.mapping(given, where, ("selector", "bits"))
    selector = options.get("selector")
    return {
        "enabled": True,
        "selector": None if selector is None else problems.attempt(_names.selector, selector, f"{where}.selector"),
        "bits": problems.integer(options.get("bits", 2048), f"{where}.bits", 1024, 4096),
    }


def _dmarc_options(problems: _Problems, given: Any, where: str, domain: str) -> dict[str, Any] | None:
    if given is False:
        return None
    options = problems.mapping(
        {} if given is True else given, where, ("policy", "subdomain_policy", "rua", "ruf", "adkim", "aspf")
    )
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
        result[tag] = [problems.attempt(_names.address, value, f"{where}.{tag}", default=value) for value in values]
    return result


def _domains(problems: _Problems, given: Any) -> dict[str, dict[str, Any]]:
    keys = ("dkim", "spf", "dmarc", "catch_all", "txt", "mta_sts", "tls_rpt")
    domains: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_domains").items():
        name = problems.attempt(_names.domain_name, key, "mail_domains")
        if name is None:
            continue
        where = f"mail_domains[{key!r}]"
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
            owner = name if label == "@" else problems.attempt(_names.owner_name, f"{label}.{name}", f"{where}.txt")
            texts = problems.strings(values, f"{where}.txt[{label!r}]")
            for text in texts:
                if re.match(r"(?i)v=(spf1( |\Z)|dkim1\b|dmarc1\b)", text):
                    problems.add(f"{where}.txt[{label!r}] holds {text.split(';')[0].split()[0]!r}: use spf, dkim or dmarc for it")
            if owner:
                records[owner] = texts
        domains[name] = {
            "dkim": _dkim_options(problems, options.get("dkim"), f"{where}.dkim"),
            "spf": None if options.get("spf") is False else _spf_options(problems, options.get("spf"), f"{where}.spf"),
            "dmarc": _dmarc_options(problems, options.get("dmarc"), f"{where}.dmarc", name),
            "catch_all": [
                address
                for text in problems.strings(options.get("catch_all"), f"{where}.catch_all")
                if (address := problems.attempt(_names.address, text, f"{where}.catch_all"))
            ],
            "txt": records,
        }
    return domains


def _users(problems: _Problems, given: Any, domains: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    users: dict[str, dict[str, Any]] = {}
    for key, value in problems.mapping(given, "mail_users").items():
        name = problems.attempt(_names.address, key, "mail_users")
        if name is None:
            continue
        where = f"mail_users[{key!r}]"
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
                    if (address := problems.attempt(_names.address, text, f"{where}.senders"))
                }
            ),
        }
        for sender in users[name]["senders"]:
            if sender.split("@")[1] not in domains:
                problems.add(f"{where}.senders {sender!r} is in a domain that mail_domains does not declare: it could not be signed")
    return users


def _without_detail(address: str) -> str:
    local, _at, domain = address.partition("@")
    return f"{local.split('+')[0]}@{domain}"


def _aliases(problems: _Problems, given: Any, model: Mapping[str, Any]) -> dict[str, list[str]]:
    domains, users = model["domains"], model["users"]
    aliases: dict[str, list[str]] = {}
    for key, value in problems.mapping(given, "mail_aliases").items():
        name = problems.attempt(_names.address, key, "mail_aliases")
        if name is None:
            continue
        where = f"mail_aliases[{key!r}]"
        if name.split("@")[1] not in domains:
            problems.add(f"{where} is in a domain that mail_domains does not declare")
        targets = []
        for text in problems.strings(value, where):
            target = problems.attempt(_names.address, text, where)
            if target and target not in targets:
                targets.append(target)
        if not targets:
            problems.add(f"{where} leads to no address")
        if name in aliases:
            problems.add(f"{where} is declared twice (addresses are compared without case)")
        if name in users and name not in targets:
            problems.add(f"{where} hides the mailbox of the same name: name {name} among its targets to keep a copy, or remove the user")
        aliases[name] = targets
    if model["postmaster"]:
        for domain in domains:
            for role in ROLE_NAMES:
                name = f"{role}@{domain}"
                if name not in users and name not in aliases:
                    aliases[name] = [model["postmaster"]]
    return aliases


def _check_targets(problems: _Problems, model: Mapping[str, Any]) -> None:
    """Find aliases, catch-alls and a postmaster that lead nowhere, and aliases that lead to themselves."""
    domains, users, aliases = model["domains"], model["users"], model["aliases"]

    def exists(target: str, catch_all: bool = True) -> bool:
        domain = target.split("@")[1]
        if domain not in domains or any(name in users or name in aliases for name in (target, _without_detail(target))):
            return True
        return catch_all and bool(domains[domain]["catch_all"])

    wanted = [(f"mail_aliases[{name!r}]", targets, True) for name, targets in aliases.items()]
    # A catch-all that leads to an address which only a catch-all would take is a loop.
    wanted += [(f"mail_domains[{name!r}].catch_all", domain["catch_all"], False) for name, domain in domains.items()]
    for where, targets, catch_all in wanted:
        for target in targets:
            if not exists(target, catch_all) and target != model["postmaster"]:
                problems.add(f"{where} leads to {target!r}, which is neither a user nor an alias")
    if model["postmaster"] and not exists(model["postmaster"]):
        problems.add(f"mail_postmaster {model['postmaster']!r} is neither a user nor an alias")

    def following(name: str) -> list[str]:
        """The aliases that mail to an alias visits next; an alias that keeps a copy ends in its own mailbox."""
        found = []
        for target in aliases.get(name, ()):
            after = target if target in aliases else _without_detail(target)
            if after in aliases and not (after == name and name in users):
                found.append(after)
        return found

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
                problems.add(f"mail_aliases has a loop: {' -> '.join(loop)}")
            elif after not in state:
                state[after] = "open"
                stack.append((after, iter(following(after))))


def _slow_destinations(problems: _Problems, given: Any) -> dict[str, dict[str, Any]]:
    if given is None:
        given = SLOW_DESTINATIONS
    found: dict[str, dict[str, Any]] = {}
    taken: dict[str, str] = {}
    for name, value in problems.mapping(given, "mail_slow_destinations").items():
        where = f"mail_slow_destinations[{name!r}]"
        if not re.fullmatch(r"[a-z][a-z0-9]{0,19}", str(name)):
            problems.add(f"{where} names a transport: a letter, then at most 19 letters and digits, all lower case")
        options = problems.mapping(value, where, ("domains", "connections", "delay"))
        domains = []
        for text in problems.strings(options.get("domains"), f"{where}.domains"):
            domain = problems.attempt(_names.domain_name, text, f"{where}.domains")
            if domain in taken:
                problems.add(f"{where}.domains {text!r} is in mail_slow_destinations[{taken[domain]!r}] as well")
            elif domain:
                taken[domain] = name
                domains.append(domain)
        if not domains:
            problems.add(f"{where}.domains names no domain")
        found[name] = {
            "domains": sorted(domains),
            "connections": problems.integer(options.get("connections", 1), f"{where}.connections", 1, 20),
            "delay": problems.integer(options.get("delay", 1), f"{where}.delay", 0, 3600),
        }
    return dict(sorted(found.items()))


def _dns(problems: _Problems, given: Any) -> dict[str, Any]:
    keys = "backend server port key_name key_algorithm key_secret zone_file zone_host reload ttl nameservers wait"
    options = problems.mapping(given, "mail_dns", keys.split())
    result = {
        "backend": problems.choice(options.get("backend", "report"), "mail_dns.backend", DNS_BACKENDS),
        "server": options.get("server"),
        "port": problems.integer(options.get("port", 53), "mail_dns.port", 1, 65535),
        "key_name": options.get("key_name"),
        "key_algorithm": problems.choice(
            options.get("key_algorithm", "hmac-sha256"),
            "mail_dns.key_algorithm",
            ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"),
        ),
        "key_secret": options.get("key_secret"),
        "zone_file": options.get("zone_file"),
        "zone_host": options.get("zone_host"),
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
        if not result[key]:
            problems.add(f"mail_dns.{key} is needed by mail_dns.backend {result['backend']!r}")
    return result


def _certificates(problems: _Problems, given: Any, dns: Mapping[str, Any], os_family: str) -> dict[str, Any]:
    options = problems.mapping(given, "mail_certificates", ("method", "email", "directory", "ca", "names", "key", "chain"))
    result = {
        "method": problems.choice(options.get("method", "acme-http"), "mail_certificates.method", CERTIFICATE_METHODS),
        "email": options.get("email"),
        "directory": options.get("directory"),
        "ca": options.get("ca"),
        "names": [
            name
            for text in problems.strings(options.get("names"), "mail_certificates.names")
            if (name := problems.attempt(_names.domain_name, text, "mail_certificates.names"))
        ],
        "key": options.get("key"),
        "chain": options.get("chain"),
    }
    if result["method"] == "files":
        for key in ("key", "chain"):
            if not result[key]:
                problems.add(f"mail_certificates.{key} is needed by mail_certificates.method 'files'")
    if result["method"] == "acme-dns" and dns["backend"] != "rfc2136":
        problems.add("mail_certificates.method 'acme-dns' needs mail_dns.backend 'rfc2136' to answer the challenge (RFC 8555 section 8.4)")
    reason = _system.impossible(os_family, result["method"])
    if reason:
        problems.add(
            f"mail_certificates.method {result['method']!r} cannot be had on {os_family}: {reason}; use acme-http, files or self-signed"
        )
    return result


def _filter(problems: _Problems, given: Any) -> dict[str, Any]:
    options = problems.mapping(given, "mail_filter", ("reject", "junk", "greylist", "dnsbls", "trusted"))
    greylist = options.get("greylist", 4)
    result: dict[str, Any] = {
        "reject": float(problems.number(options.get("reject", 15), "mail_filter.reject", 1, 1000)),
        "junk": float(problems.number(options.get("junk", 6), "mail_filter.junk", 1, 1000)),
        "greylist": None if greylist in (None, False) else float(problems.number(greylist, "mail_filter.greylist", 0, 1000)),
        "dnsbls": problems.boolean(options.get("dnsbls", True), "mail_filter.dnsbls"),
        "trusted": [],
    }
    for text in problems.strings(options.get("trusted"), "mail_filter.trusted"):
        try:
            result["trusted"].append(str(ipaddress.ip_network(text)))
        except ValueError as exc:
            problems.add(f"mail_filter.trusted {text!r} is not a network in CIDR form: {exc}")
    if result["junk"] >= result["reject"]:
        limit = f"mail_filter.reject {result['reject']:g}"
        problems.add(f"mail_filter.junk {result['junk']:g} must be below {limit}: nothing would land in Junk")
    if result["greylist"] is not None and result["greylist"] >= result["reject"]:
        problems.add(f"mail_filter.greylist {result['greylist']:g} must be below mail_filter.reject {result['reject']:g}")
    return result


KNOWN = ("fqdn", "addresses", "mta", "domains", "users", "aliases", "postmaster", "dns", "certificates", "filter", "slow_destinations")


def normalise(given: Mapping[str, Any], os_family: str = "") -> dict[str, Any]:
    """Check the variables and return the model: every key present, every name canonical, every default filled in.

    :param given: variables without their C(mail_) prefix; what is absent takes its default
    :param os_family: the host's, as in Ansible's facts: some defaults depend on it, and not everything can be had everywhere
    :returns: C(fqdn), C(addresses) by family, C(mta), C(postmaster), C(domains), C(users) (quota in bytes, 0 for none),
        C(aliases) (role addresses included), C(dns), C(certificates), C(filter), C(slow_destinations)
        (provider to C(domains), C(connections) at once and C(delay) in seconds between messages)
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
    users = model["users"] = _users(problems, given.get("users"), model["domains"])
    postmaster = given.get("postmaster")
    if postmaster:
        postmaster = problems.attempt(_names.address, postmaster, "mail_postmaster")
    elif users:
        postmaster = next(iter(users))
    elif model["domains"] and "users" in given:
        problems.add("mail_postmaster is needed where mail_users has no user: every domain has a postmaster (RFC 5321 section 4.5.1)")
    model["postmaster"] = postmaster or None
    model["aliases"] = _aliases(problems, given.get("aliases"), model)
    if "users" in given:
        _check_targets(problems, model)
    model["dns"] = _dns(problems, given.get("dns"))
    model["certificates"] = _certificates(problems, given.get("certificates"), model["dns"], os_family)
    model["filter"] = _filter(problems, given.get("filter"))
    model["slow_destinations"] = _slow_destinations(problems, given.get("slow_destinations"))
    if problems.found:
        count = len(problems.found)
        raise MailError(
            ("one rule is broken:\n- " if count == 1 else f"{count} rules are broken:\n- ") + "\n- ".join(problems.found), problems.found
        )
    return model
