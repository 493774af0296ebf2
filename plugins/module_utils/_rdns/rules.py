# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must agree about a mail server's addresses and names, and what follows from the answers. Pure functions.

The order of work: :func:`plan` checks the options; :func:`first_questions`, :func:`follow_ups` and :func:`open_reasons` say what to ask;
:func:`judge` turns the answers into checks, :func:`failing` and :func:`report` choose and word those that fail a task.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import Answers, LookupOutcome, Question, answer
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name, ip_address, not_public, reverse_name
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import dnsbl

STATUSES = ("pass", "warn", "fail", "unknown")
CHECKS = (
    "public", "ptr", "alias", "forward", "hostname", "helo", "generic", "families", "mx", "banner", "ehlo", "dnsbl_zone", "dnsbl",
)  # fmt: skip
# What can be named in fail_on.
FAIL_ON = ("fail", "warn", "unknown", *CHECKS)

# PTR and MX targets beyond these are not followed: a misconfigured or hostile zone must not multiply the questions.
_MAX_NAMES = 10

# Whole words that receivers' own lists take for a dial-up or otherwise assigned-by-pool address.
_DYNAMIC_WORDS = frozenset(
    (
        "adsl", "broadband", "catv", "cpe", "dhcp", "dial", "dialin", "dialup", "dsl", "dyn", "dynamic", "dynamicip", "dynip", "ftth",
        "gprs", "hsdpa", "kabel", "lte", "modem", "nat", "pool", "pools", "ppp", "pppoe", "residential", "sdsl", "unallocated",
        "unassigned", "unused", "vdsl", "wimax", "xdsl",
    )
)  # fmt: skip
# A name that begins with one of these says of an address only that it is somebody's.
_ASSIGNED_WORDS = frozenset(("static", "staticip"))
#: Below the zones of countries.
_SECOND_LEVELS = frozenset(
    (
        "ac", "co", "com", "edu", "firm", "gen", "go", "gob", "gov", "gv", "id", "in", "ind", "info", "ltd", "me", "mil", "muni", "ne",
        "net", "nom", "or", "org", "plc", "sch", "school", "web",
    )
)  # fmt: skip
# Names that hosters give to every machine until its owner sets another.
_HOSTER_LABEL = re.compile(r"(?:vps|vmi|kvm|vserver)-?(?:[0-9]{4,}|[0-9a-f]{8})")
_HOSTER_SUFFIXES = (
    "amazonaws.com", "clients.your-server.de", "cloudapp.azure.com", "cloudapp.net", "contaboserver.net", "googleusercontent.com",
    "hstgr.cloud", "instances.scw.cloud", "ip.linodeusercontent.com", "kimsufi.com", "members.linode.com", "poneytelecom.eu",
    "startdedicated.com", "startdedicated.de", "stratoserver.net", "vps.ovh.ca", "vps.ovh.net", "vps.ovh.us", "vultrusercontent.com",
)  # fmt: skip


@dataclass(frozen=True)
class LookupPlan:
    """The options, checked and in canonical form."""

    addresses: tuple[str, ...]
    hostname: str
    domains: tuple[str, ...]
    check_banner: bool
    dnsbls: tuple[str, ...]


@dataclass(frozen=True)
class Greeting:
    """What a mail server said on port 25.

    :ivar status: ``ok``, ``refused`` (nothing listens), ``timeout``, ``unreachable`` or ``broken`` (no SMTP spoken)
    :ivar banner_code: reply code of the greeting, 0 if there was none
    :ivar banner: text of the greeting without the code
    :ivar ehlo_code: reply code of the answer to EHLO (HELO where EHLO was not understood), 0 if there was none
    :ivar ehlo: first line of that answer without the code
    :ivar detail: what went wrong, for a person
    """

    status: str
    banner_code: int = 0
    banner: str = ""
    ehlo_code: int = 0
    ehlo: str = ""
    detail: str = ""


def plan(
    addresses: Sequence[str],
    hostname: str | None = None,
    domains: Sequence[str] = (),
    check_banner: bool = False,
    dnsbls: Sequence[str] = (),
) -> LookupPlan:
    """Check the options and bring them into canonical form, without repetitions.

    :raises MailError: no address, a bad address, name or list
    """
    if not addresses:
        raise MailError("addresses must not be empty: there is nothing to look at")
    return LookupPlan(
        tuple(dict.fromkeys(str(ip_address(value, "addresses")) for value in addresses)),
        domain_name(hostname, "hostname") if hostname else "",
        tuple(dict.fromkeys(domain_name(value, "domains") for value in domains)),
        check_banner,
        tuple(dict.fromkeys(dnsbl.zone_name(value, "dnsbls") for value in dnsbls)),
    )


def fail_on(values: Sequence[str]) -> tuple[str, ...]:
    """Check the option of that name.

    :raises MailError: neither a status that can fail a task nor the name of a check
    """
    for value in values:
        if value not in FAIL_ON:
            raise MailError(f"fail_on {value!r} is neither a status nor a check; known are: {', '.join(FAIL_ON)}")
    return tuple(values)


# ---- what to ask

def first_questions(plan: LookupPlan) -> list[Question]:
    """The questions that need no answer first."""
    questions = [(reverse_name(address), "PTR") for address in plan.addresses]
    if plan.hostname:
        questions += _address_questions(plan.hostname)
    questions += [(domain, "MX") for domain in plan.domains]
    questions += dnsbl.questions(_listable(plan), plan.dnsbls)
    return list(dict.fromkeys(questions))


def follow_ups(plan: LookupPlan, outcome: LookupOutcome) -> list[Question]:
    """The questions that arise from one answer."""
    if outcome.rdtype == "PTR" and outcome.status == "ok":
        return [question for name in outcome.values[:_MAX_NAMES] for question in _address_questions(name)]
    if outcome.rdtype == "MX" and outcome.status == "ok":
        return [question for name in _exchanges(outcome)[:_MAX_NAMES] for question in _address_questions(name)]
    if outcome.rdtype == "MX" and outcome.status == "nodata":
        return _address_questions(outcome.name)  # the implicit MX, RFC 5321 section 5.1
    if outcome.rdtype == "A" and outcome.status == "ok":
        return dnsbl.follow_ups(plan.dnsbls, outcome)
    return []


def open_reasons(plan: LookupPlan, answers: Answers) -> list[Question]:
    """The questions that can be asked beside those that slow lists have not answered, instead of after them."""
    return dnsbl.open_reasons(_listable(plan), plan.dnsbls, answers)


def _listable(plan: LookupPlan) -> list[str]:
    return [address for address in plan.addresses if not not_public(address)]


def _address_questions(name: str) -> list[Question]:
    return [(name, "A"), (name, "AAAA")]


def _exchanges(outcome: LookupOutcome) -> list[str]:
    """The hosts of an MX answer, the preferred ones first; no host for a null MX (RFC 7505)."""
    pairs = sorted((int(value.split(" ")[0]), value.split(" ")[1]) for value in outcome.values)
    return list(dict.fromkeys(name for _preference, name in pairs if name not in (".", "")))


# ---- what follows

def judge(plan: LookupPlan, answers: Answers, greetings: Mapping[str, Greeting]) -> list[dict[str, Any]]:
    """All checks, in the order of the addresses and then of :data:`CHECKS`.

    :param answers: outcome of every question of :func:`first_questions`, :func:`follow_ups` and :func:`open_reasons`
    :param greetings: per address, if the plan says so
    :returns: dictionaries of ``check``, ``subject``, ``address``, ``status``, ``expected``, ``found``, ``values``, ``advice``
    """
    checks: list[dict[str, Any]] = []
    for address in plan.addresses:
        checks.append(_public(address))
        checks += _names(plan, address, answers)
        checks += [_mx(plan, address, domain, answers) for domain in plan.domains]
        if plan.check_banner:
            checks += _announced(plan, address, answers, greetings[address])
    if plan.hostname:
        checks.append(_helo(plan, answers))
    checks.append(_families(plan, answers))
    return checks + _lists(plan, answers)


def check(
    name: str, subject: str, status: str, expected: str, found: str, advice: str = "", values: Iterable[str] = (), **more: Any
) -> dict[str, Any]:
    """One check as the module returns it; one that passes needs no advice, and what others sent stays on one line of some length."""

    def shown(text: str) -> str:
        return "".join(letter if letter.isprintable() else "?" for letter in text[:1000])

    return {
        "check": name, "subject": subject, "address": "", "status": status, "expected": expected, "found": shown(found),
        "values": [shown(value) if isinstance(value, str) else value for value in values],
        "advice": "" if status == "pass" else shown(advice), **more,
    }  # fmt: skip


def _public(address: str) -> dict[str, Any]:
    why = not_public(address)
    return check(
        "public", address, "fail" if why else "pass", "an address that the whole internet can reach",
        f"{address} is not public ({why})" if why else "public",
        "give the address that other mail servers see; behind NAT that is the address of the gateway", address=address,
    )  # fmt: skip


def _ptr_names(address: str, answers: Answers) -> tuple[LookupOutcome, list[str]]:
    outcome = answer(answers, reverse_name(address), "PTR")
    return outcome, [name for name in outcome.values if name] if outcome.status == "ok" else []


def _names(plan: LookupPlan, address: str, answers: Answers) -> list[dict[str, Any]]:
    """The checks of the PTR record and of what it leads to."""
    outcome, names = _ptr_names(address, answers)
    owner = reverse_name(address)
    ask = f"have the provider of {address} set its reverse name " + (
        f"to {plan.hostname} ({owner}. PTR {plan.hostname}.)" if plan.hostname else f"({owner}. PTR) to the name that the server announces"
    )

    def result(name: str, status: str, expected: str, found: str, advice: str) -> dict[str, Any]:
        return check(name, address, status, expected, found, advice, names, address=address)

    if not outcome.conclusive:
        follow = "see the check ptr of this address"
        checks = [
            result("ptr", "unknown", "one PTR record", outcome.words, outcome.advice),
            result("alias", "unknown", "a name that is no alias", "the name is not known", follow),
            result("forward", "unknown", f"a name that resolves to {address}", "the name is not known", follow),
            result("generic", "unknown", "a name of the server's own", "the name is not known", follow),
        ]
        if plan.hostname:
            checks.insert(3, result("hostname", "unknown", plan.hostname, "the name is not known", follow))
        return checks
    if not names:
        checks = [
            result("ptr", "fail", "one PTR record", f"none: {outcome.words}", ask),
            result("forward", "fail", f"a name that resolves to {address}", "there is no name to resolve", "set the reverse name first"),
        ]
        if plan.hostname:
            checks.append(result("hostname", "fail", plan.hostname, "no reverse name", "set the reverse name first"))
        return checks
    one = len(names) == 1
    found = names[0] if one else f"{len(names)} names: {', '.join(names)}"
    followed = names[:_MAX_NAMES]
    checks = [
        result("ptr", "pass" if one else "warn", "one PTR record", found, f"keep one PTR record; receivers pick any of several. {ask}"),
        _alias(address, followed, answers, result),
        _forward(address, followed, answers, result),
    ]
    if plan.hostname:
        status = "pass" if names == [plan.hostname] else "warn" if plan.hostname in names else "fail"
        checks.append(result("hostname", status, plan.hostname, found, f"{ask}, or announce the name that the PTR record gives"))
    generic = [f"{name} {why}" for name in names for why in [looks_generic(name, plan.addresses)] if why]
    checks.append(
        result("generic", "warn" if generic else "pass", "a name of the server's own", "; ".join(generic) or found,
               f"receivers take such names for home connections and unowned machines; {ask}")
    )  # fmt: skip
    return checks


def _alias(address: str, names: list[str], answers: Answers, result: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """PTR data must be a canonical name (RFC 1912 section 2.1, RFC 2181 section 10.2); CNAMEs before it are RFC 2317's."""
    expected = "a name that is no alias"
    outcomes = [answer(answers, *question) for name in names for question in _address_questions(name)]
    for outcome in outcomes:
        if outcome.aliases:
            return result(
                "alias", "fail", expected, f"{outcome.name} is a CNAME for {outcome.aliases[-1]}",
                f"give {outcome.name} address records of its own (RFC 1912 section 2.1)",
            )  # fmt: skip
    # A CNAME would have shown in either type's answer.
    for name in names:
        both = [answer(answers, *question) for question in _address_questions(name)]
        if not any(outcome.conclusive for outcome in both):
            return result("alias", "unknown", expected, both[0].words, both[0].advice)
    return result("alias", "pass", expected, ", ".join(names), "")


def _forward(address: str, names: list[str], answers: Answers, result: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The name has to resolve back to the address: forward-confirmed reverse DNS."""
    rdtype = _rdtype(address)
    expected = f"{rdtype} {address}"
    outcomes = [answer(answers, name, rdtype) for name in names]
    wrong = [outcome for outcome in outcomes if outcome.conclusive and address not in outcome.values]
    open_ = [outcome for outcome in outcomes if not outcome.conclusive]
    if wrong:
        found = "; ".join(f"{o.name} has {rdtype} {', '.join(o.values)}" if o.values else o.words for o in wrong)
        return result("forward", "fail", expected, found, f"publish {wrong[0].name}. {rdtype} {address}, or correct the PTR record")
    if open_:
        return result("forward", "unknown", expected, open_[0].words, open_[0].advice)
    return result("forward", "pass", expected, "; ".join(f"{o.name} has {rdtype} {', '.join(o.values)}" for o in outcomes), "")


def _rdtype(address: str) -> str:
    return "AAAA" if ":" in address else "A"


def _known_addresses(name: str, answers: Answers) -> tuple[list[str], list[LookupOutcome]]:
    """(addresses of a name, the outcomes that leave its addresses open)."""
    outcomes = [answer(answers, *question) for question in _address_questions(name)]
    addresses = [value for outcome in outcomes if outcome.status == "ok" for value in outcome.values]
    return addresses, [outcome for outcome in outcomes if not outcome.conclusive]


def _helo(plan: LookupPlan, answers: Answers) -> dict[str, Any]:
    """The HELO name must resolve to an address (RFC 5321 section 2.3.5), and should to all of the server's own."""
    addresses, open_ = _known_addresses(plan.hostname, answers)
    expected = f"resolves to {', '.join(plan.addresses)}"

    def result(status: str, words: str, advice: str) -> dict[str, Any]:
        return check("helo", plan.hostname, status, expected, words, advice, addresses)

    missing = [address for address in plan.addresses if address not in addresses]
    publish = "; ".join(f"publish {plan.hostname}. {_rdtype(address)} {address}" for address in missing)
    if open_ and missing:
        return result("unknown", open_[0].words, open_[0].advice)
    if not addresses:
        outcome = answer(answers, plan.hostname, "A")
        return result("fail", f"no address: {outcome.words}", publish)
    if missing:
        return result("fail" if len(missing) == len(plan.addresses) else "warn", ", ".join(addresses), publish)
    return result("pass", ", ".join(addresses), "")


def _families(plan: LookupPlan, answers: Answers) -> dict[str, Any]:
    """IPv4 and IPv6 have to tell the same story: one name, and all of the name's addresses among those looked at."""
    names: dict[int, set[str]] = {4: set(), 6: set()}
    open_ptrs: list[LookupOutcome] = []
    for address in plan.addresses:
        outcome, ptr_names = _ptr_names(address, answers)
        names[6 if ":" in address else 4].update(ptr_names)
        if not outcome.conclusive:
            open_ptrs.append(outcome)
    subject = plan.hostname or ", ".join(plan.addresses)
    expected = "one name for all addresses, and no further addresses of that name"
    every = sorted(names[4] | names[6])
    if plan.hostname and plan.hostname not in every:
        every.append(plan.hostname)

    def result(status: str, found: str, advice: str) -> dict[str, Any]:
        return check("families", subject, status, expected, found, advice, every)

    both = {6 if ":" in address else 4 for address in plan.addresses} == {4, 6}
    # A family that has no name at all is the check ptr's affair, and disagrees as well.
    if both and names[4] != names[6] and not open_ptrs:
        words = " and ".join(f"IPv{family} has {', '.join(sorted(its)) or 'no name'}" for family, its in sorted(names.items()))
        return result("warn", words, "set the same reverse name for the IPv4 and the IPv6 address")
    open_ = list(open_ptrs)
    extra: list[str] = []
    for name in every[:_MAX_NAMES]:
        addresses, unknown = _known_addresses(name, answers)
        open_ += unknown
        extra += [f"{name} also has {value}" for value in addresses if value not in plan.addresses]
    if extra:
        advice = "add these addresses to the option addresses and give them the same reverse name, or take the records out"
        return result("warn", "; ".join(extra), advice)
    if open_:
        return result("unknown", open_[0].words, open_[0].advice)
    if not every:
        return result("unknown", "no names at all", "see the check ptr")
    return result("pass", ", ".join(every), "")


def _mx(plan: LookupPlan, address: str, domain: str, answers: Answers) -> dict[str, Any]:
    """An MX host of the domain has to have this address; it must not be an alias (RFC 2181 section 10.3)."""
    outcome = answer(answers, domain, "MX")
    values = list(outcome.values)
    host = plan.hostname or "the name of the server"
    publish = f"publish {domain}. MX 10 {host}."

    def result(status: str, found: str, advice: str) -> dict[str, Any]:
        return check("mx", f"{domain} to {address}", status, f"an MX host with {_rdtype(address)} {address}", found, advice, values,
                     address=address, domain=domain)  # fmt: skip

    if not outcome.conclusive:
        return result("unknown", outcome.words, outcome.advice)
    if outcome.status == "nxdomain":
        return result("fail", outcome.words, f"register or delegate {domain}, then {publish}")
    names = _exchanges(outcome) if outcome.status == "ok" else [domain]
    if not names:
        return result("fail", "a null MX: the domain accepts no mail (RFC 7505)", publish)
    targets = {name: answer(answers, name, _rdtype(address)) for name in names[:_MAX_NAMES]}
    leading = [name for name, target in targets.items() if address in target.values]
    if leading and outcome.status == "nodata":
        return result("warn", f"no MX record; {domain} itself has {address} (RFC 5321 section 5.1)", publish)
    if outcome.status == "nodata":
        return result("fail", outcome.words, publish)
    aliased = [name for name in leading if targets[name].aliases]
    if leading and len(aliased) == len(leading):
        name = aliased[0]
        advice = f"name the host itself, or give {name} address records (RFC 2181 section 10.3)"
        return result("fail", f"{name} is a CNAME for {targets[name].aliases[-1]}", advice)
    if leading:
        return result("pass", f"MX {', '.join(leading)}", "")
    open_ = [target for target in targets.values() if not target.conclusive]
    if open_:
        return result("unknown", open_[0].words, open_[0].advice)
    listing = "; ".join(f"{name} has {', '.join(target.values) or 'none'}" for name, target in targets.items())
    return result("fail", f"MX {listing}", f"{publish}, or publish {names[0]}. {_rdtype(address)} {address}")


def _announced(plan: LookupPlan, address: str, answers: Answers, greeting: Greeting) -> list[dict[str, Any]]:
    """The names in the greeting (RFC 5321 section 4.2) and in the answer to EHLO (section 4.1.1.1)."""
    names = _ptr_names(address, answers)[1]
    accepted = [plan.hostname] if plan.hostname else names
    expected = ", ".join(accepted) or "the name of the PTR record"

    def result(name: str, status: str, found: str, advice: str, values: Iterable[str] = ()) -> dict[str, Any]:
        return check(name, address, status, expected, found, advice, values, address=address)

    if greeting.status == "refused":
        advice = "start the mail server, and let it listen on this address"
        return [result(name, "fail", greeting.detail, advice) for name in ("banner", "ehlo")]
    if greeting.status in ("timeout", "unreachable"):
        advice = "look from a host whose provider lets port 25 out, or open port 25 of the server"
        return [result(name, "unknown", greeting.detail, advice) for name in ("banner", "ehlo")]
    checks = []
    banner = ("banner", greeting.banner_code, 220, greeting.banner)
    for name, code, good, text in (banner, ("ehlo", greeting.ehlo_code, 250, greeting.ehlo)):
        line = f"{code} {text}".strip()
        word = (text.split() or [""])[0]
        announced = word.lower().rstrip(".")
        if not code:
            status = "fail" if greeting.status == "broken" else "unknown"
            checks.append(result(name, status, greeting.detail or "no answer", "see what answers on that port"))
        elif code != good:
            checks.append(result(name, "fail", line, "the server turned us away; see its log for the reason"))
        elif not accepted:
            checks.append(result(name, "unknown", line, "give hostname, or set a PTR record to compare with", [announced]))
        elif announced in accepted:
            checks.append(result(name, "pass", line, "", [announced]))
        else:
            advice = f"announce {expected}: in Postfix myhostname and smtpd_banner, in OpenSMTPD the hostname of listen"
            checks.append(result(name, "fail", line, advice, [announced]))
    return checks


def _lists(plan: LookupPlan, answers: Answers) -> list[dict[str, Any]]:
    """The checks of the DNSBLs: first of each list itself, then of each address on it."""
    checks = []
    for zone in plan.dnsbls:
        verdict = dnsbl.judge_zone(zone, plan.addresses, answers)
        checks.append(
            check("dnsbl_zone", zone, verdict.status, verdict.expected, verdict.found, verdict.advice, verdict.codes,
                  zone=zone, reason="", delisting="")
        )  # fmt: skip
    for address in plan.addresses:
        for zone in plan.dnsbls:
            why = not_public(address)
            verdict = dnsbl.not_asked(f"not asked: {address} is not public") if why else dnsbl.judge(zone, address, answers)
            checks.append(
                check("dnsbl", f"{address} at {zone}", verdict.status, verdict.expected, verdict.found, verdict.advice, verdict.codes,
                      address=address, zone=zone, reason=verdict.reason, delisting=verdict.delisting)
            )  # fmt: skip
    return checks


# ---- names that look dynamic or generic

def looks_generic(name: str, addresses: Sequence[str]) -> str:
    """Why a name looks like one that a provider gave to an address, in words; empty if it does not.

    Two of the octets of an IPv4 address are enough, in either order, plain or padded to three digits, in one run or
    apart (neighbours that are both below 10 are not: ``mx1-2`` counts machines); so are an address in hexadecimal or as
    one number, and for IPv6 three of its groups, half of its digits or its digits in reverse.
    """
    name = name.lower()
    labels = name.split(".")
    # Names are given out below co.uk, com.br and their like as they are below org.
    zone = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS else 2
    host = ".".join(labels[:-zone]) if len(labels) > zone else ""
    for address in addresses:
        ip = ipaddress.ip_address(address)
        if ip.version == 4 and _carries_ipv4(name, host, ip.packed):
            return f"carries the digits of {address}"
        if ip.version == 6 and _carries_ipv6(name, ip.packed.hex()):
            return f"carries the digits of {address}"
    for suffix in _HOSTER_SUFFIXES:
        if name.endswith("." + suffix):
            return f"is a name that the hoster gives to every machine (*.{suffix})"
    if host and _HOSTER_LABEL.fullmatch(labels[0]):
        return "is a name that a hoster gives to every machine (a kind and a number)"
    word = next((word for word in re.split(r"[^a-z]+", host) if word in _DYNAMIC_WORDS), "")
    if word:
        return f"has the word {word!r} of dynamic addresses"
    word = next((word for word in re.split(r"[^a-z]+", labels[0] if host else "") if word in _ASSIGNED_WORDS), "")
    return f"has the word {word!r} of addresses that nobody named" if word else ""


def _carries_ipv4(name: str, host: str, octets: bytes) -> bool:
    numbers = [str(octet) for octet in octets]
    padded = [f"{octet:03d}" for octet in octets]
    hexed = [f"{octet:02x}" for octet in octets]
    for order in (1, -1):
        # Neighbouring octets, one separator between: 198-51, 51.100, 100x25, 025_100
        run = numbers[::order]
        for window in (*zip(run, run[1:]), *zip(run, run[1:], run[2:])):
            pattern = "[-._x]".join(f"0{{0,2}}{number}" for number in window)
            if (len(window) > 2 or max(map(len, window)) > 1) and re.search(rf"(?<!\d){pattern}(?!\d)", name):
                return True
        # In one run: 198051100025, 1985110025, c6336419, c6-33-64-19
        if "".join(padded[::order]) in name or re.search(rf"(?<!\d){''.join(numbers[::order])}(?!\d)", name):
            return True
        if re.search(rf"(?<![0-9a-f]){'[-._]?'.join(hexed[::order])}(?![0-9a-f])", name):
            return True
        # The last two octets alone, padded into one run: pool100025
        if re.search(rf"(?<!\d){''.join(padded[2:][::order])}(?!\d)", host):
            return True
    if re.search(rf"(?<!\d){int.from_bytes(octets, 'big')}(?!\d)", name):
        return True
    # Octets of two or three digits apart from each other: host25.net100
    groups = [group.lstrip("0") for group in re.findall(r"\d+", host)]
    return sum(1 for number in set(numbers) if len(number) > 1 and number in groups) >= 2


def _carries_ipv6(name: str, digits: str) -> bool:
    groups = [digits[start : start + 4] for start in range(0, 32, 4)]
    short = [group.lstrip("0") or "0" for group in groups]
    for order in (1, -1):
        for start in range(6):
            window = list(zip(groups[::order], short[::order]))[start : start + 3]
            if sum(1 for _group, plain in window if plain != "0") < 2:
                continue
            pattern = "[-._x]".join(f"0*{plain}" if plain != "0" else "0+" for _group, plain in window)
            if re.search(rf"(?<![0-9a-f]){pattern}(?![0-9a-f])", name):
                return True
    # The shortened form, as in 2001-db8--25
    for separator in "-_x":
        compressed = str(ipaddress.IPv6Address(int(digits, 16))).replace(":", separator)
        if re.search(rf"(?<![0-9a-f]){re.escape(compressed)}(?![0-9a-f])", name):
            return True
    run = re.sub(r"[-._]", "", name)
    halves = [digits[:16], digits[16:]]
    halves += [half[::-1] for half in halves]
    return any(half in run for half in halves if half.strip("0"))


# ---- the result

def summary(checks: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many checks have each status."""
    counts = dict.fromkeys(STATUSES, 0)
    for entry in checks:
        counts[entry["status"]] += 1
    return counts


def failing(checks: Iterable[Mapping[str, Any]], reasons: Sequence[str]) -> list[Mapping[str, Any]]:
    """The checks that fail a task: those with a status named, and those named that do not pass."""
    return [entry for entry in checks if entry["status"] in reasons or (entry["check"] in reasons and entry["status"] != "pass")]


#: The checks that an address is known by the name that the server announces.
_REVERSE = ("ptr", "alias", "forward", "hostname")


def unready(checks: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the IPv6 addresses whose reverse name does not verify, where those of IPv4 do: mail can leave by these alone meanwhile.

    What could not be told is neither.
    """
    found: dict[str, bool] = {}
    for entry in checks:
        if entry["check"] in _REVERSE:
            found[entry["address"]] = found.get(entry["address"], False) or entry["status"] == "fail"
    ipv4 = [failed for address, failed in found.items() if ":" not in address]
    return [address for address, failed in found.items() if ":" in address and failed] if ipv4 and not any(ipv4) else []


def report(checks: Sequence[Mapping[str, Any]]) -> str:
    """One line for each check."""
    lines = [f"{entry['check']} {entry['subject']}: {entry['status']}: expected {entry['expected']}; found {entry['found']}. "
             f"To do: {entry['advice']}." for entry in checks]  # fmt: skip
    return "\n".join(lines)
