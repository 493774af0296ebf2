# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DMARC records (RFC 9989, with the order that readers of RFC 7489 expect). Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._records.tags import tag_list

POLICIES = ("none", "quarantine", "reject")
ALIGNMENTS = ("r", "s")
FAILURE_OPTIONS = ("0", "1", "d", "s")

# RFC 9989 section 4.7: tags that were taken out and that a reader may still find.
HISTORIC = ("pct", "rf", "ri")

_VERSION = re.compile(r"^v[ \t]*=[ \t]*DMARC1[ \t]*(;|\Z)")
_URI = re.compile(r"^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[!-~]*)?\Z")


def name(domain: str) -> str:
    """Return the name of the record, without a trailing dot (RFC 9989 section 4.7)."""
    return f"_dmarc.{_names.domain_name(domain)}"


def report_name(domain: str, destination: str) -> str:
    """Return the name where another domain says that it takes the reports for this one; its TXT value is ``v=DMARC1``.

    RFC 9990, "Verifying External Destinations".
    """
    return f"{_names.domain_name(domain)}._report._dmarc.{_names.domain_name(destination, 'destination')}"


def report_uri(value: str, option: str = "rua") -> str:
    """Return where reports go, as a URI: an address becomes ``mailto:``; ``,`` ``!`` and ``;`` are percent-encoded.

    :raises MailError: neither a mail address nor a mailto: or https: URI (RFC 9989 section 4.7)
    """
    if not isinstance(value, str):
        raise MailError(f"{option} {shown(value)} must be a string, not {type(value).__name__}")
    if value.lower().startswith("https:"):
        uri = quote(value, safe="%/:?#[]@$&'()*+=~._-")
        if not _URI.match(uri):
            raise MailError(f"{option} {shown(value)} is not a URI with a host (RFC 3986)")
        return uri
    local, domain = _names.split_address(unquote(value[7:]) if value.lower().startswith("mailto:") else value, option)
    return "mailto:" + quote(local, safe="$&'*+=~._-") + "@" + domain


def destination(value: str, option: str = "rua") -> str:
    """Return where reports go as people write it: a mail address, without the ``mailto:`` it may be given with, or an ``https:`` URI.

    :raises MailError: see :func:`report_uri`
    """
    uri = report_uri(value, option)
    return unquote(uri[len("mailto:") :]) if uri.startswith("mailto:") else uri


def _is_report_uri(value: str) -> bool:
    """Whether a reader can send a report there; the size that RFC 7489 allowed behind it does not count."""
    try:
        report_uri(re.sub(r"![0-9]+[kmgt]?\Z", "", value, flags=re.IGNORECASE | re.ASCII) if ":" in value else "")
    except MailError:
        return False
    return True


def external_domains(domain: str, destinations: Iterable[str]) -> list[str]:
    """Return the domains among the destinations that must authorise reports about this one (see :func:`report_name`).

    A domain above or below is taken as the same organisation, which needs no authorisation. What the organisational domain
    really is, only DNS says (RFC 9989 section 4.10).
    """
    own = _names.domain_name(domain)
    domains: list[str] = []
    for value in destinations:
        uri = report_uri(value)
        if not uri.startswith("mailto:"):
            continue
        other = uri.rsplit("@", 1)[1]
        if other != own and not other.endswith("." + own) and not own.endswith("." + other) and other not in domains:
            domains.append(other)
    return domains


def _choice(option: str, value: object, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise MailError(f"{option} {shown(value)} must be one of: {', '.join(allowed)} (RFC 9989 section 4.7)")
    return str(value)


def _strings(option: str, values: Iterable[str]) -> Iterable[str]:
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise MailError(f"{option} {shown(values)} must be a list of strings")
    return values


def _uris(option: str, values: Iterable[str]) -> str:
    uris: list[str] = []
    for value in _strings(option, values):
        uri = report_uri(value, option)
        if uri not in uris:
            uris.append(uri)
    return ",".join(uris)


def build(
    policy: str = "none",
    subdomain_policy: str | None = None,
    nonexistent_policy: str | None = None,
    rua: Iterable[str] = (),
    ruf: Iterable[str] = (),
    adkim: str = "r",
    aspf: str = "r",
    failure_options: Iterable[str] = (),
    testing: bool = False,
    public_suffix: str | None = None,
    percent: int | None = None,
) -> str:
    """Return the value of a DMARC record: ``v`` first, ``p`` right after it, and nothing that is a default.

    :param rua: where aggregate reports go: mail addresses or URIs
    :param ruf: where failure reports go
    :param failure_options: ``0``, ``1``, ``d``, ``s``; they mean something with ``ruf`` only
    :param testing: ``t=y``, ask receivers to act one level more mildly
    :param public_suffix: ``psd``: ``y``, ``n`` (this is an organisational domain), ``u``
    :param percent: the historic ``pct``, for receivers of before RFC 9989; 100 says nothing and is left out
    :raises MailError: a value that is none
    """
    tags = ["v=DMARC1", "p=" + _choice("policy", policy, POLICIES)]
    if subdomain_policy is not None:
        tags.append("sp=" + _choice("subdomain_policy", subdomain_policy, POLICIES))
    if nonexistent_policy is not None:
        tags.append("np=" + _choice("nonexistent_policy", nonexistent_policy, POLICIES))
    if percent is not None:
        if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
            raise MailError(f"percent {shown(percent)} must be a number from 0 to 100 (RFC 7489 section 6.3)")
        if percent != 100:
            tags.append(f"pct={percent}")
    if not isinstance(testing, bool):
        raise MailError(f"testing {shown(testing)} must be true or false")
    if testing:
        tags.append("t=y")
    if public_suffix is not None and _choice("public_suffix", public_suffix, ("y", "n", "u")) != "u":
        tags.append(f"psd={public_suffix}")
    for tag, value in (("adkim", adkim), ("aspf", aspf)):
        if _choice(tag, value, ALIGNMENTS) != "r":
            tags.append(f"{tag}={value}")
    for tag, values in (("rua", rua), ("ruf", ruf)):
        uris = _uris(tag, values)
        if uris:
            tags.append(f"{tag}={uris}")
    options = [_choice("failure_options", value, FAILURE_OPTIONS) for value in _strings("failure_options", failure_options)]
    if options:
        if not any(tag.startswith("ruf=") for tag in tags):
            raise MailError(f"failure_options {shown(options)} mean nothing without ruf (RFC 9989 section 4.7)")
        if options != ["0"]:
            tags.append("fo=" + ":".join(dict.fromkeys(options)))
    return "; ".join(tags)


def replaced(name: str, removed: Iterable[str], values: Iterable[str]) -> list[str]:
    """Return a warning for each DMARC record that is replaced by one that is stricter, or that sends its reports elsewhere.

    :param removed: the values that public DNS has and that go, of any kind
    :param values: the values in their place
    """
    warnings = []
    for new in filter(is_record, values):
        for old in filter(is_record, removed):
            try:
                before, after = parse(old), parse(new)
            except MailError:
                continue
            said = [
                f"{what} {before[key]!r} becomes {after[key]!r}"
                for what, key, levels in (("the policy", "policy", POLICIES), ("alignment with DKIM", "adkim", ALIGNMENTS),
                                          ("alignment with SPF", "aspf", ALIGNMENTS))
                if levels.index(after[key]) > levels.index(before[key])
            ]
            said += [f"{tag} no longer names {', '.join(map(shown, lost))}" for tag in ("rua", "ruf")
                     if (lost := [uri for uri in before[tag] if uri not in after[tag]])]
            if said:
                warnings.append(
                    f"{name}: the DMARC record {shown(old)} is replaced: {'; '.join(said)}. Mail of this domain that others send fails it "
                    "unless they sign as this domain, or are in its SPF record and use its envelope sender (RFC 9989 section 4.4)"
                )
    return warnings


def is_record(value: str) -> bool:
    """Whether a TXT value is a DMARC record by its version (RFC 9989 section 4.8)."""
    return bool(_VERSION.match(value))


def parse(value: str) -> dict:
    """Return what a record says, defaults filled in, in the words of :func:`build`'s options, and ``warnings``.

    :raises MailError: readers would ignore the record: the version is not first, or a policy is none and no ``rua`` saves it
    """
    if not isinstance(value, str) or not is_record(value):
        raise MailError(f"DMARC record {shown(value)} must begin with v=DMARC1 (RFC 9989 section 4.7)")
    tags = tag_list(value, "DMARC record")
    warnings = [f"{tag}= is historic and means nothing to readers of RFC 9989" for tag in HISTORIC if tag in tags]
    order = list(tags)
    if "p" in tags and order[1] != "p":
        warnings.append("p= does not follow v= at once, which readers of RFC 7489 demand (section 6.4)")

    def uris(tag: str) -> list[str]:
        return [uri.strip() for uri in tags.get(tag, "").split(",") if uri.strip()]

    def valid(tag: str, allowed: tuple[str, ...], default: str | None) -> str | None:
        value = tags.get(tag)
        if value is None:
            return default
        if value.lower() in allowed:
            return value.lower()
        warnings.append(f"{tag}={value} is none of: {', '.join(allowed)}")
        return default

    policies = {tag: valid(tag, POLICIES, None) for tag in ("p", "sp", "np")}
    broken = [tag for tag in policies if tag in tags and policies[tag] is None]
    if broken and not any(map(_is_report_uri, uris("rua"))):
        raise MailError(f"DMARC record {shown(value)} has a bad {broken[0]}= and no rua= with a URI, so it is ignored (RFC 9989 section "
                        f"4.10.1)")
    if broken:
        policies = {"p": "none", "sp": None, "np": None}
    percent = tags.get("pct", "")
    return {
        "policy": policies["p"] or "none",
        "subdomain_policy": policies["sp"],
        "nonexistent_policy": policies["np"],
        "rua": uris("rua"),
        "ruf": uris("ruf"),
        "adkim": valid("adkim", ALIGNMENTS, "r"),
        "aspf": valid("aspf", ALIGNMENTS, "r"),
        "failure_options": [option for option in (part.strip() for part in tags.get("fo", "").split(":")) if option in FAILURE_OPTIONS],
        "testing": valid("t", ("y", "n"), "n") == "y",
        "public_suffix": valid("psd", ("y", "n", "u"), "u"),
        "percent": int(percent) if re.fullmatch("[0-9]{1,3}", percent) and int(percent) <= 100 else None,
        "warnings": warnings,
    }
