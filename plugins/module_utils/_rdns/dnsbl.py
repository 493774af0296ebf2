# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS lists of addresses (RFC 5782): names, known lists, what an answer means, where to ask for removal. Pure functions.

The one rule above all: an address is listed, or not listed, only if the list answers as a list must. A list counts in a
run if its own test entries behave (section 5); codes that mean a refusal, addresses outside 127.0.0.0/8, failures and
silence leave the question open.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import Answers, LookupOutcome, Question, answer
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name, ip_address


@dataclass(frozen=True)
class Facts:
    """What is known of a list. Codes are pairs of pattern (``127.0.0.2``, ``127.0.0.10-12``, ``127.0.*.3``) and meaning.

    :ivar title: its operator's name for it
    :ivar kind: ``addresses``, or ``domains`` for a list that cannot be asked about addresses
    :ivar closed: when and how it ended; such a list is not asked
    :ivar errors: codes by which it refuses to answer, besides 127.255.255.0/24
    :ivar good: codes that speak for the address
    :ivar neutral: codes that say nothing against it
    :ivar notes: what codes mean, for a person
    :ivar ranges: whether it lists whole networks for their neighbours' sake, which an owner of one address cannot mend
    :ivar delisting: page to ask for removal; ``{subject}`` stands for the address
    :ivar access: what it demands of those who ask
    """

    title: str
    kind: str = "addresses"
    closed: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    good: tuple[tuple[str, str], ...] = ()
    neutral: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    ranges: bool = False
    delisting: str = ""
    access: str = ""


_SPAMHAUS = "https://check.spamhaus.org/listed/?searchterm={subject}"
_UCEPROTECT = "https://www.uceprotect.net/en/rblcheck.php"
_SPAMHAUS_NOTES = (
    ("127.0.0.2", "SBL: seen sending or supporting spam"),
    ("127.0.0.3", "CSS: low-reputation sender"),
    ("127.0.0.4-7", "XBL: infected or hijacked host"),
    ("127.0.0.9", "DROP: hijacked or rogue network"),
    ("127.0.0.10", "PBL: the provider says that this range sends no mail directly"),
    ("127.0.0.11", "PBL: Spamhaus says that this range sends no mail directly"),
    ("127.0.0.20", "AuthBL: used with stolen passwords"),
    ("127.0.0.30", "BCL: botnet controller"),
)
_SORBS = "decommissioned on 2024-06-05"
_REGISTERED = "the resolver's address has to be registered"
_TOO_OFTEN = "asked too often, or through an open resolver"

_ZEN = Facts("Spamhaus ZEN", notes=_SPAMHAUS_NOTES, delisting=_SPAMHAUS, access="ask through a resolver of your own, or with a DQS key")

# Zone -> facts. A zone below one of these with a key in front, as in KEY.zen.dq.spamhaus.net, is found as well.
KNOWN: dict[str, Facts] = {
    "zen.spamhaus.org": _ZEN,
    "zen.dq.spamhaus.net": _ZEN,
    "sbl.spamhaus.org": Facts("Spamhaus SBL", notes=_SPAMHAUS_NOTES, delisting=_SPAMHAUS, access=_ZEN.access),
    "xbl.spamhaus.org": Facts("Spamhaus XBL", notes=_SPAMHAUS_NOTES, delisting=_SPAMHAUS, access=_ZEN.access),
    "pbl.spamhaus.org": Facts("Spamhaus PBL", notes=_SPAMHAUS_NOTES, delisting=_SPAMHAUS, access=_ZEN.access),
    "authbl.dq.spamhaus.net": Facts("Spamhaus AuthBL", notes=_SPAMHAUS_NOTES, delisting=_SPAMHAUS, access=_ZEN.access),
    "dbl.spamhaus.org": Facts("Spamhaus DBL", kind="domains", delisting=_SPAMHAUS),
    "dbl.dq.spamhaus.net": Facts("Spamhaus DBL", kind="domains", delisting=_SPAMHAUS, access=_ZEN.access),
    "zrd.dq.spamhaus.net": Facts("Spamhaus ZRD", kind="domains", delisting=_SPAMHAUS, access=_ZEN.access),
    "bl.spamcop.net": Facts("SpamCop", delisting="https://www.spamcop.net/w3m?action=checkblock&ip={subject}",
                            notes=(("127.0.0.2", "reported for spam; expires about 24 hours after the last report"),)),
    "b.barracudacentral.org": Facts("Barracuda", delisting="https://www.barracudacentral.org/rbl/removal-request",
                                    access=_REGISTERED),
    "bl.mailspike.net": Facts("Mailspike", delisting="https://mailspike.org/iplookup.html"),
    "rep.mailspike.net": Facts(
        "Mailspike reputation",
        good=(("127.0.0.17-20", "good reputation"),),
        neutral=(("127.0.0.13-16", "neutral reputation"),),
        notes=(("127.0.0.10-12", "bad reputation"),),
        delisting="https://mailspike.org/iplookup.html",
    ),
    "wl.mailspike.net": Facts("Mailspike allow list", good=(("127.0.0.*", "good reputation"),)),
    "bl.spameatingmonkey.net": Facts("Spam Eating Monkey", delisting="https://spameatingmonkey.com/services"),
    "bl.ipv6.spameatingmonkey.net": Facts("Spam Eating Monkey, IPv6", delisting="https://spameatingmonkey.com/services"),
    "list.dnswl.org": Facts(
        "DNSWL",
        errors=(("127.0.0.255", _TOO_OFTEN), ("127.0.10.*", _TOO_OFTEN)),
        good=(("127.0.*.0", "trust: none"), ("127.0.*.1", "trust: low"), ("127.0.*.2", "trust: medium"), ("127.0.*.3", "trust: high")),
    ),
    "hostkarma.junkemailfilter.com": Facts(
        "Hostkarma",
        good=(("127.0.0.1", "white"),),
        neutral=(("127.0.0.3", "yellow: mixed sender"), ("127.0.0.5", "no spam seen")),
        notes=(("127.0.0.2", "black"), ("127.0.0.4", "brown: mostly spam")),
    ),
    "bl.blocklist.de": Facts("blocklist.de", notes=(("127.0.0.*", "reported for attacks"),), delisting="https://www.blocklist.de/en/delist.html"),
    "bip.virusfree.cz": Facts("VirusFree BIP"),
    "psbl.surriel.com": Facts("PSBL", delisting="https://psbl.org/remove"),
    "dnsbl.dronebl.org": Facts("DroneBL", delisting="https://dronebl.org/lookup?ip={subject}"),
    "dnsbl-1.uceprotect.net": Facts("UCEPROTECT level 1", delisting=_UCEPROTECT),
    "dnsbl-2.uceprotect.net": Facts("UCEPROTECT level 2", delisting=_UCEPROTECT, ranges=True),
    "dnsbl-3.uceprotect.net": Facts("UCEPROTECT level 3", delisting=_UCEPROTECT, ranges=True),
    "ips.backscatterer.org": Facts("Backscatterer", delisting="http://www.backscatterer.org/?target=test",
                                   notes=(("127.0.0.2", "seen sending backscatter; expires after 4 weeks"),)),
    "all.spamrats.com": Facts("SpamRATS", delisting="https://www.spamrats.com/removal.php"),
    "combined.mail.abusix.zone": Facts(
        "Abusix Mail Intelligence", delisting="https://lookup.abusix.com/search?q={subject}", access="needs a key in the zone's name"
    ),
    "score.senderscore.com": Facts("Sender Score", delisting="https://senderscore.org", access=_REGISTERED,
                                   good=(("127.0.4.80-100", "score of 80 or more"),), neutral=(("127.0.4.70-79", "score of 70 to 79"),),
                                   notes=(("127.0.4.0-69", "score below 70"),)),
    "bl.score.senderscore.com": Facts("Sender Score RPBL", delisting="https://senderscore.org", access=_REGISTERED),
    "multi.surbl.org": Facts("SURBL", kind="domains", delisting="https://surbl.org/surbl-analysis"),
    "multi.uribl.com": Facts("URIBL", kind="domains", delisting="https://admin.uribl.com"),
    "ebl.msbl.org": Facts("MSBL EBL (hashes of mail addresses)", kind="domains"),
    # Closed lists. Some answer every question with an address, as if all the world were listed.
    "sorbs.net": Facts("SORBS", closed=_SORBS),
    "ix.dnsbl.manitu.net": Facts("NiXSpam", closed="closed on 2025-01-16"),
    "ubl.unsubscore.com": Facts("LashBack UBL", closed="offline"),
    "dnsbl.inps.de": Facts("inps.de", closed="closed in 2020"),
    "cbl.abuseat.org": Facts("CBL", closed="part of Spamhaus XBL now"),
    "ahbl.org": Facts("AHBL", closed="closed in 2015, answers for every address"),
    "njabl.org": Facts("NJABL", closed="closed in 2013"),
    "rfc-ignorant.org": Facts("RFC-Ignorant", closed="closed in 2012"),
    "ordb.org": Facts("ORDB", closed="closed in 2006, answers for every address"),
    "list.dsbl.org": Facts("DSBL", closed="closed in 2008"),
    "emailbasura.org": Facts("Email Basura", closed="closed"),
    "megarbl.net": Facts("MegaRBL", closed="closed"),
    "msrbl.net": Facts("MSRBL", closed="closed"),
    "spamcannibal.org": Facts("SpamCannibal", closed="closed in 2018, answers for every address"),
}  # fmt: skip

# Lists of addresses that answer without a contract, are widely used, and list single addresses for what these did.
DEFAULT_DNSBLS: tuple[str, ...] = (
    "zen.spamhaus.org",
    "bl.spamcop.net",
    "bl.mailspike.net",
    "psbl.surriel.com",
    "dnsbl.dronebl.org",
    "bl.blocklist.de",
    "ips.backscatterer.org",
    "bl.spameatingmonkey.net",
    "bl.ipv6.spameatingmonkey.net",
)

_REFUSALS = (
    ("127.255.255.252", "the zone's name is mistyped"),
    ("127.255.255.254", "it refuses questions through a public or nameless resolver"),
    ("127.255.255.255", "it refuses this resolver for asking too much, or because it is not registered"),
    ("127.255.255.*", "it refuses to answer"),
)
_ASK_OTHERWISE = "ask through a resolver of your own (option nameservers), or get access from the list's operator"


@dataclass(frozen=True)
class Verdict:
    """What a list says. Statuses are those of a check; ``unknown`` whenever the list does not answer as it must."""

    status: str
    expected: str
    found: str
    advice: str = ""
    codes: tuple[str, ...] = ()
    reason: str = ""
    delisting: str = ""


def zone_name(value: str, option: str = "zone") -> str:
    """A list's zone in canonical form.

    :raises MailError: not a domain name of at least two labels
    """
    return domain_name(value, option)


def facts(zone: str) -> Facts:
    """What is known of the list, or of the one that it is a part of; nothing but its name otherwise."""
    name = zone
    while name:
        if name in KNOWN and (name == zone or KNOWN[name].closed or KNOWN[name].access):
            return KNOWN[name]
        name = name.partition(".")[2]
    return Facts(zone)


def secret_labels(value: str) -> set[str]:
    """The access key in a zone's name, which must not be shown: as written, which may be no name at all, and as it is asked."""
    name = value.strip().rstrip(".")
    for base in ("dq.spamhaus.net", "mail.abusix.zone"):
        if name.lower().endswith("." + base):
            *key, _list = name[: -len(base) - 1].split(".")
            written = {word for label in key for word in (label, label.lower())} - {""}
            return written | {repr(word)[1:-1] for word in written}  # as an error quotes it
    return set()


def query_name(address: str, zone: str) -> str:
    """The name to ask: reversed octets or nibbles in front of the zone (RFC 5782 sections 2.1 and 2.4)."""
    return f"{_reversed(ip_address(address))}.{zone}"


def _reversed(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return ".".join(reversed(str(address).split("."))) if address.version == 4 else ".".join(reversed(address.packed.hex()))


def test_names(zone: str, version: int) -> tuple[str, str]:
    """(name that must be listed, name that must not) in one family (RFC 5782 section 5)."""
    # These mapped addresses are meant as IPv6, so no normalising to IPv4 here.
    entries = ("127.0.0.2", "127.0.0.1") if version == 4 else ("::ffff:7f00:2", "::ffff:7f00:1")
    listed, unlisted = (f"{_reversed(ipaddress.ip_address(entry))}.{zone}" for entry in entries)
    return listed, unlisted


def _asked(zone: str) -> bool:
    known = facts(zone)
    return not known.closed and known.kind == "addresses"


def _versions(addresses: Sequence[str]) -> list[int]:
    return sorted({ip_address(address).version for address in addresses})


def questions(addresses: Sequence[str], zones: Sequence[str]) -> list[Question]:
    """What to ask about the addresses at those lists that can be asked, test entries of their families first."""
    asked = [zone for zone in zones if _asked(zone)]
    tests = [(name, "A") for zone in asked for version in _versions(addresses) for name in test_names(zone, version)]
    return tests + [(query_name(address, zone), "A") for address in addresses for zone in asked]


def follow_ups(zones: Sequence[str], outcome: LookupOutcome) -> list[Question]:
    """The TXT record of an address that a list has something to say about (RFC 5782 section 2.1)."""
    zone = next((zone for zone in zones if outcome.name.endswith("." + zone)), None)
    if zone is None or outcome.name in (*test_names(zone, 4), *test_names(zone, 6)):
        return []
    return [(outcome.name, "TXT")]


def open_reasons(addresses: Sequence[str], zones: Sequence[str], answers: Answers) -> list[Question]:
    """The TXT records of the addresses at those lists that have not answered yet."""
    names = [query_name(address, zone) for address in addresses for zone in zones if _asked(zone)]
    return [(name, "TXT") for name in names if (name, "A") not in answers]


def judge_zone(zone: str, addresses: Sequence[str], answers: Answers) -> Verdict:
    """Whether a list can be believed in this run, for each family asked."""
    expected = "127.0.0.2 listed and 127.0.0.1 not (RFC 5782 section 5)"
    known = facts(zone)
    if known.closed:
        return Verdict("warn", expected, f"{known.title}: {known.closed}; it was not asked", f"take {zone} out of dnsbls")
    if known.kind != "addresses":
        return Verdict("warn", expected, f"{known.title} lists no addresses; it was not asked", f"take {zone} out of dnsbls")
    failures = []
    codes: list[str] = []
    for version in _versions(addresses):
        problem, advice, values = _distrust(zone, version, answers)
        codes += values
        if problem:
            failures.append((f"IPv{version}: {problem}", advice))
    if failures:
        return Verdict("unknown", expected, "; ".join(words for words, _advice in failures), failures[0][1], tuple(codes))
    return Verdict("pass", expected, "the test entries behave", codes=tuple(codes))


def _distrust(zone: str, version: int, answers: Answers) -> tuple[str, str, tuple[str, ...]]:
    """(why a list cannot be believed in one family, advice, codes of the test entry); empty words if it can."""
    listed, unlisted = (answer(answers, name, "A") for name in test_names(zone, version))
    entries = ("127.0.0.2", "127.0.0.1") if version == 4 else ("::FFFF:7F00:2", "::FFFF:7F00:1")
    gone = f"the list may be closed or mistyped: look at its site, and take {zone} out of dnsbls if so"
    for outcome in (listed, unlisted):
        if not outcome.conclusive:
            return f"its test entries cannot be asked: {outcome.words}", outcome.advice, ()
        refused = _refusal(zone, outcome.values)
        if refused:
            return refused, _ASK_OTHERWISE, outcome.values
        if outcome.status == "ok" and not _are_codes(outcome.values):
            return f"it answers {', '.join(outcome.values)}, no code of a list: the zone is parked", gone, outcome.values
    if listed.status != "ok":
        advice = gone if version == 4 else f"{zone} may list no IPv6 addresses: leave it out for them"
        return f"its test entry {entries[0]} is not listed", advice, ()
    if unlisted.status == "ok":
        return f"it lists {entries[1]}, which nothing may list: it answers for every address", gone, unlisted.values
    return "", "", listed.values


def _are_codes(values: Sequence[str]) -> bool:
    return all(value.startswith("127.") for value in values)


def _matches(pattern: str, code: str) -> bool:
    for part, octet in zip(pattern.split("."), code.split(".")):
        low, dash, high = part.partition("-")
        if part != "*" and not (int(low) <= int(octet) <= int(high if dash else low)):
            return False
    return True


def _meaning(table: Sequence[tuple[str, str]], code: str) -> str:
    return next((words for pattern, words in table if _matches(pattern, code)), "")


def _refusal(zone: str, values: Sequence[str]) -> str:
    """Why an answer is a refusal and not a listing; empty if it is none."""
    for value in values:
        words = _meaning(facts(zone).errors, value) or _meaning(_REFUSALS, value)
        if words:
            return f"{value}: {words}"
    return ""


def not_asked(why: str) -> Verdict:
    """The verdict of a list that was not asked."""
    return Verdict("unknown", "not listed", why, "see the other checks of this address and of this list")


def judge(zone: str, address: str, answers: Answers) -> Verdict:
    """What a list says of an address.

    ``fail``: listed. ``warn``: listed for its neighbours' sake. ``pass``: not listed, or well spoken of. Else ``unknown``.
    """
    expected = "not listed"
    known = facts(zone)
    if not _asked(zone):
        return not_asked(f"not asked: {known.title} {'is closed' if known.closed else 'lists no addresses'}")
    outcome = answer(answers, query_name(address, zone), "A")
    if not outcome.conclusive:
        return Verdict("unknown", expected, outcome.words, outcome.advice)
    codes = outcome.values
    refused = _refusal(zone, codes)
    if refused:
        return Verdict("unknown", expected, refused, _ASK_OTHERWISE, codes)
    if not _are_codes(codes):
        return Verdict("unknown", expected, f"it answers {', '.join(codes)}, no code of a list: the zone is parked",
                       f"take {zone} out of dnsbls", codes)  # fmt: skip
    problem, advice, _codes = _distrust(zone, ip_address(address).version, answers)
    if problem:
        return Verdict("unknown", expected, f"the list cannot be believed now: {problem}", advice, codes)
    if outcome.status != "ok":
        return Verdict("pass", expected, "not listed")
    text = answer(answers, outcome.name, "TXT")
    reason = "; ".join(text.values) if text.status == "ok" else ""
    bad = [code for code in codes if not _meaning(known.good, code) and not _meaning(known.neutral, code)]
    listing = ", ".join(f"{code} ({words})" if words else code for code in codes
                     for words in [_meaning(known.good, code) or _meaning(known.neutral, code) or _meaning(known.notes, code)])  # fmt: skip
    if not bad:
        return Verdict("pass", expected, f"not listed as bad: {listing}", codes=codes, reason=reason)
    page = known.delisting.replace("{subject}", address)
    advice = "stop what caused it, then ask for removal" + (f" at {page}" if page else f" from the operator of {zone}")
    if known.ranges:
        advice = "it lists whole networks; only the provider can mend that, and few receivers refuse mail for it"
    found = f"listed: {listing}" + (f": {reason}" if reason else "")
    return Verdict("warn" if known.ranges else "fail", expected, found, advice, codes, reason, page)
