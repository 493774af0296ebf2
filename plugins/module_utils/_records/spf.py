# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SPF records: parse, build, extend, and count what they cost a receiver (RFC 7208). Pure functions."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

# RFC 7208 section 4.6.4. A receiver stops with permerror past any of them.
LOOKUPS_MOST, VOID_MOST, MX_MOST = 10, 2, 10
# RFC 7208 section 3.4: all TXT values of a name, with the name, should stay within one UDP answer of old.
OCTETS_GOOD = 450

_COUNTED = ("include", "a", "mx", "ptr", "exists", "redirect")
_MECHANISMS = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")
_MECHANISM = re.compile(r"^([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)((?:[:/].*)?)\Z", re.IGNORECASE | re.ASCII)
_MODIFIER = re.compile(r"^([a-z][a-z0-9_.-]*)=(.*)\Z", re.IGNORECASE | re.ASCII)
_CIDR4 = re.compile(r"^(0|[1-9][0-9]?)\Z")
_CIDR6 = re.compile(r"^(0|[1-9][0-9]{0,2})\Z")
_MACRO = re.compile(r"%(?:\{[slodiphcrtv](?:[1-9][0-9]*)?r?[.+,/_=-]*\}|%|_|-)", re.IGNORECASE | re.ASCII)
_MACRO_LAST = re.compile(r"%\{[^}]*\}\Z")
_EXP_ONLY = re.compile(r"%\{[crt]", re.IGNORECASE | re.ASCII)
_TOP_LABEL = re.compile(r"\.(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])\.?\Z", re.IGNORECASE | re.ASCII)

Network = _names.Network
Answers = Mapping[str, Mapping[str, Sequence[str]]]


class Term(NamedTuple):
    """One term of a record."""

    name: str  # mechanism or modifier, lower case
    qualifier: str  # "+", "-", "~", "?"; empty for a modifier
    target: str  # domain-spec, address or macro-string; empty if there is none
    network: Network | None  # of ip4 and ip6
    text: str  # as written, or canonical when made here

    @property
    def is_modifier(self) -> bool:
        return not self.qualifier

    @property
    def same_as(self) -> tuple:
        """What two terms have in common that mean the same."""
        if self.network is not None:
            return (self.name, self.qualifier, str(self.network))
        return (self.name, self.qualifier, self.text.lower().lstrip("+-~?"))


def _macro_string(value: str, what: str) -> None:
    rest = _MACRO.sub("", value)
    if "%" in rest:
        raise MailError(f"{what} has a '%' that begins no macro (RFC 7208 section 7.1)")
    if any(not "!" <= char <= "~" for char in rest):
        raise MailError(f"{what} has a character that is not visible ASCII (RFC 7208 section 7.1)")
    if _EXP_ONLY.search(value):
        raise MailError(f"{what} uses a macro letter that only explanation texts may use (RFC 7208 section 7.2)")


def _domain_spec(value: str, what: str) -> str:
    if not value:
        raise MailError(f"{what} needs a domain (RFC 7208 section 4.6.1)")
    _macro_string(value, what)
    if not _MACRO_LAST.search(value) and not _TOP_LABEL.search(value):
        raise MailError(f"{what} must end in a domain's last label or in a macro (RFC 7208 section 7.1)")
    return value


def _address(name: str, value: str, what: str) -> Network:
    version, width, section = (4, 32, "5.6") if name == "ip4" else (6, 128, "5.6")
    _text, slash, length = value.partition("/")
    pattern = _CIDR4 if version == 4 else _CIDR6
    if slash and (not pattern.match(length) or int(length) > width):
        raise MailError(f"{what} has a prefix length {length!r} that is not between 0 and {width} (RFC 7208 section {section})")
    known = _names.cidr(value)
    if known is None or known[0].version != version:
        raise MailError(f"{what} does not hold an IPv{version} address (RFC 7208 section {section})")
    return ipaddress.ip_network(known, strict=False)


def term(text: str, option: str = "term") -> Term:
    """Return one term of a record, taken apart.

    :raises MailError: receivers would answer permerror for it (RFC 7208 section 4.6.1)
    """
    if not isinstance(text, str):
        raise MailError(f"{option} {shown(text)} must be a string, not {type(text).__name__}")
    what = f"{option} {shown(text)}"
    modifier = _MODIFIER.match(text)
    if modifier:
        name, value = modifier.group(1).lower(), modifier.group(2)
        if name in ("redirect", "exp"):
            _domain_spec(value, what)
        else:
            _macro_string(value, what)
        return Term(name, "", value, None, text)
    mechanism = _MECHANISM.match(text)
    if not mechanism:
        head = re.match(r"[+?~-]?([A-Za-z0-9_.-]{0,20})", text)[1]  # type: ignore[index]
        near = difflib.get_close_matches(head.lower(), _MECHANISMS, n=1, cutoff=0.75) if head.lower() not in _MECHANISMS else []
        meant = f": did you mean {near[0]!r}?" if near else ""
        raise MailError(f"{what} is neither a mechanism nor a modifier of SPF{meant} (RFC 7208 section 4.6.1)")
    qualifier, name, rest = mechanism.group(1) or "+", mechanism.group(2).lower(), mechanism.group(3)
    network, target = None, ""
    if name == "all":
        if rest:
            raise MailError(f"{what} must stand alone (RFC 7208 section 5.1)")
    elif name in ("ip4", "ip6"):
        if not rest.startswith(":"):
            raise MailError(f"{what} needs an address (RFC 7208 section 5.6)")
        target = rest[1:]
        network = _address(name, target, what)
    elif name in ("include", "exists"):
        if not rest.startswith(":"):
            raise MailError(f"{what} needs a domain (RFC 7208 section {'5.2' if name == 'include' else '5.7'})")
        target = _domain_spec(rest[1:], what)
    elif name == "ptr":
        if rest and not rest.startswith(":"):
            raise MailError(f"{what} takes a domain and no prefix length (RFC 7208 section 5.5)")
        target = _domain_spec(rest[1:], what) if rest else ""
    else:
        section = "5.3" if name == "a" else "5.4"
        # domain-spec may itself hold a "/", so the prefix lengths are taken from the end
        match = re.match(r"^(?::(.*?))?(?:/([0-9]+))?(?://([0-9]+))?\Z", rest)
        if not match:
            raise MailError(f"{what} is not a domain with optional prefix lengths (RFC 7208 section {section})")
        target, four, six = match.groups()
        if target is not None:
            _domain_spec(target, what)
        if four is not None and (not _CIDR4.match(four) or int(four) > 32):
            raise MailError(f"{what} has a prefix length {four!r} that is not between 0 and 32 (RFC 7208 section {section})")
        if six is not None and (not _CIDR6.match(six) or int(six) > 128):
            raise MailError(f"{what} has a prefix length {six!r} that is not between 0 and 128 (RFC 7208 section {section})")
        target = target or ""
    return Term(name, qualifier, target, network, text)


def is_record(value: str) -> bool:
    """Whether a TXT value is an SPF record by its version section (RFC 7208 section 4.5)."""
    return value.lower() == "v=spf1" or value.lower().startswith("v=spf1 ")


def parse(record: str) -> list[Term]:
    """Return the terms of a record, in order.

    :raises MailError: not SPF, or a record that is permerror as a whole (RFC 7208 section 4.6)
    """
    if not isinstance(record, str) or not is_record(record):
        raise MailError(f"SPF record {shown(record)} must begin with 'v=spf1' and a space (RFC 7208 section 4.5)")
    terms = [term(text, "SPF record: term") for text in record[6:].split(" ") if text]
    for name in ("redirect", "exp"):
        if sum(1 for item in terms if item.is_modifier and item.name == name) > 1:
            raise MailError(f"SPF record {shown(record)} has {name}= more than once (RFC 7208 section 6)")
    return terms


def _evaluated(terms: Iterable[Term]) -> list[Term]:
    """The terms that a receiver may come to: nothing after ``all``, and no redirect beside it (RFC 7208 section 5.1)."""
    terms = list(terms)
    reached = []
    for item in terms:
        if item.is_modifier:
            continue
        reached.append(item)
        if item.name == "all":
            return reached
    return reached + [item for item in terms if item.is_modifier and item.name == "redirect"]


def _known(answers: Answers) -> dict[str, dict[str, list[str]]]:
    rule = "must map names to record types to lists of strings"
    if not isinstance(answers, Mapping):
        raise MailError(f"answers {answers!r} {rule}")
    known: dict[str, dict[str, list[str]]] = {}
    for name, kinds in answers.items():
        if not isinstance(name, str) or not isinstance(kinds, Mapping):
            raise MailError(f"answers {rule}, and {name!r} has {kinds!r}")
        mine = known[name.lower().rstrip(".")] = {}
        for kind, answer in kinds.items():
            texts = isinstance(answer, Sequence) and not isinstance(answer, (str, bytes)) and all(isinstance(text, str) for text in answer)
            if not isinstance(kind, str) or not texts:
                raise MailError(f"answers {rule}, and {name!r} has {kind!r}: {answer!r}")
            mine[kind.upper()] = list(answer)
    return known


def count(record: str, domain: str = "", answers: Answers | None = None) -> dict:
    """Return what a record can cost a receiver at most: ``lookups``, ``void_lookups`` and ``unknown``.

    :param domain: where the record stands; ``a`` and ``mx`` without a name ask for it
    :param answers: what DNS says, name (lower case, no trailing dot) to type (``TXT``, ``MX``, ``A``, ``AAAA``) to values (of MX
        the host alone). A name that is there and lacks a type has no such records: asking for it is a void look-up. A name
        that is absent is not followed; it is counted by its own term only and listed in ``unknown``.
    :raises MailError: a record that is permerror whatever it costs: an include of a domain without a record or of itself,
        more than ten MX of one name
    """
    if not isinstance(domain, str):
        raise MailError(f"domain {shown(domain)} must be a string, not {type(domain).__name__}")
    known = _known({} if answers is None else answers)
    unknown: list[str] = []
    # A receiver asks for A or AAAA by the family of the client, so voids are counted for both and the worse one tells.
    totals = {"lookups": 0, "A": 0, "AAAA": 0}

    def asked(name: str, kind: str) -> list[str] | None:
        if name not in known:
            if name not in unknown:
                unknown.append(name)
            return None
        values = known[name].get(kind, [])
        if not values:
            for family in ("A", "AAAA"):
                if kind in (family, "TXT", "MX"):
                    totals[family] += 1
        return values

    def walk(text: str, at: str, path: tuple[str, ...]) -> None:
        for item in _evaluated(parse(text)):
            if item.name not in _COUNTED:
                continue
            totals["lookups"] += 1
            name = (item.target or at).lower().rstrip(".")
            if not name or item.name == "ptr":
                continue
            if "%" in name:
                unknown.append(name)
            elif item.name in ("a", "exists"):
                # exists always asks for an A record, whatever the client's family (RFC 7208 section 5.7)
                asked(name, "A")
                if item.name == "a":
                    asked(name, "AAAA")
                elif name in known and not known[name].get("A"):
                    totals["AAAA"] += 1
            elif item.name == "mx":
                hosts = asked(name, "MX") or []
                if len(hosts) > MX_MOST:
                    raise MailError(
                        f"SPF record {shown(record)}: {name} has {len(hosts)} MX hosts, more than {MX_MOST} (RFC 7208 section 4.6.4)"
                    )
                for host in hosts:
                    host = host.lower().rstrip(".")
                    asked(host, "A")
                    asked(host, "AAAA")
            else:
                if name in path:
                    raise MailError(f"SPF record {shown(record)} leads back to {name} by {shown(item.text)} (RFC 7208 section 4.6.4)")
                texts = asked(name, "TXT")
                if texts is None:
                    continue
                records = [value for value in texts if is_record(value)]
                if len(records) != 1:
                    section = "5.2" if item.name == "include" else "6.1"
                    raise MailError(
                        f"SPF record {shown(record)}: {shown(item.text)} needs one SPF record at {name},"
                        f" which has {len(records)} (RFC 7208 section {section})"
                    )
                walk(records[0], name, (*path, name))

    start = domain.lower().rstrip(".")
    walk(record, start, (start,) if start else ())
    return {"lookups": totals["lookups"], "void_lookups": max(totals["A"], totals["AAAA"]), "unknown": unknown}


def check(record: str, domain: str = "", answers: Answers | None = None) -> dict:
    """Return :func:`count`'s result for a record that receivers will evaluate to the end.

    :raises MailError: more than ten look-ups, more than two void ones, or a record that :func:`count` refuses
    """
    cost = count(record, domain, answers)
    if cost["lookups"] > LOOKUPS_MOST:
        raise MailError(
            f"SPF record {shown(record)} needs {cost['lookups']} DNS look-ups;"
            f" receivers stop with permerror after {LOOKUPS_MOST} (RFC 7208 section 4.6.4)"
        )
    if cost["void_lookups"] > VOID_MOST:
        raise MailError(
            f"SPF record {shown(record)} needs {cost['void_lookups']} look-ups without an answer;"
            f" receivers stop with permerror after {VOID_MOST} (RFC 7208 section 4.6.4)"
        )
    return cost


def advice(record: str, domain: str = "") -> list[str]:
    """Return what is allowed and unwise in a record, each as a sentence."""
    warnings = []
    terms = parse(record)
    ends = [item for item in terms if item.name == "all"]
    if any(item.name == "ptr" for item in terms):
        warnings.append("ptr should not be published: it is slow and some receivers ignore it (RFC 7208 section 5.5)")
    if any(item.qualifier == "+" for item in ends):
        warnings.append("+all lets every host in the world send as this domain")
    if not ends and not any(item.name == "redirect" for item in terms):
        warnings.append("neither all nor redirect ends the record, so that unknown senders are neutral (RFC 7208 section 4.7)")
    if ends and terms[terms.index(ends[0]) + 1 :] and any(not item.is_modifier for item in terms[terms.index(ends[0]) + 1 :]):
        warnings.append("mechanisms after all are never evaluated (RFC 7208 section 5.1)")
    if len(record) + len(domain) > OCTETS_GOOD:
        warnings.append(f"the record has {len(record)} octets; with its name it should stay within {OCTETS_GOOD} (RFC 7208 section 3.4)")
    return warnings


def _address_terms(addresses: Iterable[str]) -> list[Term]:
    """Both families, IPv4 first, in order of address, without what a wider network already covers."""
    networks: set[Network] = set()
    for value in addresses:
        networks.add(_names.ip_network(value, "addresses", strict=False))

    def inside_another(net: Network) -> bool:
        return any(net != other and net.version == other.version and net.subnet_of(other) for other in networks)

    outermost = [net for net in networks if not inside_another(net)]
    outermost.sort(key=lambda net: (net.version, net))
    return [_network_term(net) for net in outermost]


def _network_term(net: Network) -> Term:
    name = f"ip{net.version}"
    target = str(net.network_address) if net.prefixlen == net.max_prefixlen else str(net)
    return Term(name, "+", target, net, f"{name}:{target}")


def _covered(new: Term, terms: Iterable[Term]) -> bool:
    """Whether a pass for this network stands there already, before anything that could decide otherwise."""
    for item in terms:
        if item.is_modifier:
            continue
        if item.network is None or item.network.version != new.network.version:
            if item.qualifier == "+" and item.name != "all":
                continue
            if item.network is None:
                return False
            continue
        if item.qualifier == "+" and new.network.subnet_of(item.network):
            return True
        if item.qualifier != "+" and item.network.overlaps(new.network):
            return False
    return False


def dropped(old: str, new: str) -> list[str]:
    """Return the terms of a record by which others may send (RFC 7208 sections 5 and 6.1) and that its replacement has not.

    A bare ``mx`` is not among them: who replaces the SPF record of a domain here has set its MX, too. A record that is permerror lets
    nobody send.
    """
    try:
        before, after = _evaluated(parse(old)), _evaluated(parse(new))
    except MailError:
        return []
    remaining = {item.same_as for item in after}
    return [
        item.text
        for item in before
        if (item.qualifier == "+" or item.name == "redirect")
        and item.name != "all"
        and (item.name, item.target) != ("mx", "")
        and item.same_as not in remaining
        and not (item.network is not None and _covered(item, after))
    ]


def replaced(name: str, removed: Iterable[str], values: Iterable[str]) -> list[str]:
    """Return a warning for each SPF record that is replaced by one that lets fewer hosts send.

    :param removed: the values that public DNS has and that go, of any kind
    :param values: the values in their place
    """
    warnings = []
    for new in filter(is_record, values):
        for old in filter(is_record, removed):
            terms = dropped(old, new)
            if terms:
                listed = ", ".join(shown(text) for text in terms)
                warnings.append(
                    f"{name}: the SPF record {shown(old)} is replaced by one without {listed}: mail of this domain that is sent by these "
                    f"fails SPF then (RFC 7208 section 8.4). If they are to go on sending, add them to the domain's spf.terms in "
                    f"mail_domains"
                )
    return warnings


def undeclared(name: str, removed: Iterable[str], values: Iterable[str], may_drop: Iterable[str]) -> list[str]:
    """Return a sentence for each SPF record whose replacement takes others' right to send away, and nobody has said that it should.

    :param removed: the values that public DNS has and that go, of any kind
    :param values: the values in their place
    :param may_drop: terms that may go, as they stand in the old record
    """
    declared = {term(text, "may_drop").same_as for text in may_drop}
    found = []
    for new in filter(is_record, values):
        for old in filter(is_record, removed):
            terms = [text for text in dropped(old, new) if term(text).same_as not in declared]
            if terms:
                listed = ", ".join(shown(text) for text in terms)
                found.append(
                    f"{name}: the SPF record {shown(old)} lets others send, by {listed}; {shown(new)}, which is to replace it, does not. "
                    f"Add those that are to go on sending to the domain's spf.terms in mail_domains, and the others to its spf.drop"
                )
    return found


def _meant(name: str) -> str:
    """Return what somebody has meant who wrote a modifier of this name, with what follows it; empty for one that may be meant."""
    known = {**dict.fromkeys(_MECHANISMS, ":"), "redirect": "=", "exp": "="}
    if known.get(name) == "=":
        return ""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return near[0] + known[near[0]] if near else ""


def build(
    addresses: Iterable[str] = (), terms: Iterable[str] = (), all_term: str | None = None, existing: str | None = None, domain: str = ""
) -> str:
    """Return one record that lets these addresses of both families send.

    :param addresses: IPv4 and IPv6 addresses and networks, in any order
    :param terms: further mechanisms and modifiers, kept in their order
    :param all_term: how the record ends: ``-all``, ``~all``, ``?all``, or the empty string for no ``all`` (with ``redirect=``). None
        means ``~all`` for a new record without ``redirect=``, and an existing record's own end otherwise
    :param existing: a published record to extend: all of its terms stay, in their order; addresses that it does not let
        pass yet come first, so that nothing before them can decide otherwise, and new terms come before its ``all``
    :param domain: where the record stands, to find one that includes itself
    :raises MailError: a term that is none, a contradiction, or more than ten look-ups (RFC 7208)
    """
    for option, value in (("addresses", addresses), ("terms", terms)):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise MailError(f"{option} {shown(value)} must be a list of strings")
    old = parse(existing) if existing is not None else []
    parsed = [term(text, "terms") for text in terms]
    for item in parsed:
        # Readers ignore modifiers that they do not know (RFC 7208 section 6); so would nobody see the mistake.
        meant = _meant(item.name) if item.is_modifier else ""
        if meant:
            raise MailError(f"terms {shown(item.text)} is a modifier that no receiver knows: did you mean {meant!r}? (RFC 7208 section "
                            f"{'6' if meant.endswith('=') else '4.6.1'})")
        if item.is_modifier and item.name == "v":
            raise MailError(f"terms {shown(item.text)} begins a record, which the other terms are added to (RFC 7208 section 4.5)")
        if item.name == "all":
            raise MailError(f"terms {shown(item.text)}: say how the record ends with the option all")
    # Our own ip4 and ip6 terms join the addresses, so that both come out merged and sorted.
    plain = [item for item in parsed if item.network is not None and item.qualifier == "+"]
    others = [item for item in parsed if item not in plain]
    fresh = [item for item in _address_terms([*addresses, *(str(item.network) for item in plain)]) if not _covered(item, old)]

    ends = [item for item in old if item.name == "all"]
    seen = {item.same_as for item in old}
    added = []
    for item in others:
        if item.same_as not in seen:
            seen.add(item.same_as)
            added.append(item)
    redirect = next((item for item in [*old, *added] if item.is_modifier and item.name == "redirect"), None)
    if all_term is None:
        end = ends[0].text if ends else "" if redirect or existing is not None else "~all"
    elif all_term == "":
        end = ""
    else:
        try:
            known = term(all_term, "all")
        except MailError:
            known = None
        if known is None or known.name != "all":
            raise MailError(f"all {shown(all_term)} must be one of: -all, ~all, ?all, or empty (RFC 7208 section 5.1)")
        if known.qualifier == "+":
            raise MailError(f"all {shown(all_term)} would let every host send as this domain (RFC 7208 section 5.1)")
        end = all_term
    new_redirect = redirect is not None and redirect in added
    if redirect and end and (all_term or new_redirect):
        raise MailError(f"all {end!r} switches {redirect.text!r} off: use one of the two (RFC 7208 section 6.1)")

    before = [item for item in old if item.name != "all"]
    after: list[Term] = []
    if ends:
        place = old.index(ends[0])
        before, after = old[:place], [item for item in old[place + 1 :] if item.name != "all"]
    mechanisms = [item.text for item in added if not item.is_modifier]
    modifiers = [item.text for item in added if item.is_modifier]
    # Modifiers may stand anywhere and by custom stand last (RFC 7208 section 4.6.1).
    trailing: list[Term] = []
    if not ends:
        while before and before[-1].is_modifier:
            trailing.insert(0, before.pop())
    parts = ["v=spf1", *(item.text for item in fresh), *(item.text for item in before), *mechanisms]
    parts += [end] if end else []
    parts += [item.text for item in [*trailing, *after]] + modifiers
    made = " ".join(parts)
    parse(made)  # redirect= and exp= once each, over old and new
    check(made, domain)
    return made
