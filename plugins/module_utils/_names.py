# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of the mail world: domains, DKIM selectors, addresses, reverse names. Pure functions."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Union

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown

_LDH = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_OWNER = re.compile(r"^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
#: Zones below in-addr.arpa of less than 256 addresses have a slash by custom (RFC 2317 section 4).
_CLASSLESS = re.compile(r"^[a-z0-9_]([a-z0-9_/-]{0,61}[a-z0-9_])?\Z")
_OCTET = r"(?:0|[1-9][0-9]{0,2})"
#: What an address may consist of: Python's ipaddress reads a zone identifier, which is any text, and numbers as well.
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:]{2,39}(?:\.[0-9]{1,3}){0,3}\Z")
#: The name of an interface, or its number.
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z")
_LENGTH = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
#: Of digits that one number of 64 bits can have. Python's int and float read digits of all scripts, underscores and white space too.
_DIGITS = re.compile(r"[0-9]{1,19}\Z")
_WHOLE = re.compile(r"-?[0-9]{1,19}\Z")
_DECIMAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?\Z")
_DOT_ATOM = re.compile(r"^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")

# The documentation ranges (RFC 5737, RFC 3849) are left out: test networks use them as public ones.
_NOT_PUBLIC = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network, RFC 791 section 3.2"),
        ("10.0.0.0/8", "private, RFC 1918"),
        ("100.64.0.0/10", "shared behind a carrier's NAT, RFC 6598"),
        ("127.0.0.0/8", "loopback, RFC 1122 section 3.2.1.3"),
        ("169.254.0.0/16", "link-local, RFC 3927"),
        ("172.16.0.0/12", "private, RFC 1918"),
        ("192.0.0.0/24", "protocol assignments, RFC 6890"),
        ("192.168.0.0/16", "private, RFC 1918"),
        ("198.18.0.0/15", "benchmarks, RFC 2544"),
        ("224.0.0.0/4", "multicast, RFC 5771"),
        ("240.0.0.0/4", "reserved, RFC 1112"),
        ("::/127", "unspecified or loopback, RFC 4291 section 2.5"),
        ("64:ff9b:1::/48", "local translation, RFC 8215"),
        ("100::/64", "discard, RFC 6666"),
        ("fc00::/7", "unique local, RFC 4193"),
        ("fe80::/10", "link-local, RFC 4291 section 2.5.6"),
        ("fec0::/10", "site-local, RFC 3879"),
        ("ff00::/8", "multicast, RFC 4291 section 2.7"),
    )
)


def _labels(option: str, value: str, pattern: re.Pattern[str], rule: str) -> str:
    if not isinstance(value, str):
        raise MailError(f"{option} {shown(value)} must be a string, not {type(value).__name__}")
    name = value[:-1] if value.endswith(".") and value != "." else value
    if not name.isascii():
        raise MailError(f"{option} {shown(value)} is not ASCII: write the A-label form, xn--... (RFC 5890 section 2.3.2.1)")
    name = name.lower()
    if not name:
        raise MailError(f"{option} must not be empty")
    if len(name) > 253:
        raise MailError(f"{option} {shown(value)} is longer than 253 characters (RFC 1035 section 2.3.4)")
    for label in name.split("."):
        if not pattern.match(label):
            raise MailError(f"{option} {shown(value)} has a bad label {shown(label)}: {rule}")
    return name


def domain_name(value: str, option: str = "domain") -> str:
    """Return a host or mail domain in canonical form: lower case, no trailing dot, at least two labels.

    :raises MailError: not letters, digits and hyphens, too long, or a single label (RFC 1035 section 2.3.1,
        RFC 1123 section 2.1, RFC 5321 section 2.3.5)
    """
    name = _labels(option, value, _LDH, "letters, digits and inner hyphens only (RFC 1123 section 2.1)")
    if "." not in name:
        raise MailError(f"{option} {shown(value)} must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)")
    if re.fullmatch("[0-9]+", name.rsplit(".", 1)[1]):
        raise MailError(f"{option} {shown(value)} must not end in a number: that is an address, not a name (RFC 1123 section 2.1)")
    return name


def owner_name(value: str, option: str = "name") -> str:
    """Return a DNS owner name in canonical form; underscore labels (RFC 8552) and a leading ``*`` are allowed.

    So is a slash below in-addr.arpa, as in ``0/25.2.0.192.in-addr.arpa`` (RFC 2317).

    :raises MailError: a label that no record of this collection may have
    """
    if isinstance(value, str) and value.startswith("*.") and not value.startswith("*.*"):
        name = "*." + owner_name(value[2:], option)
        if len(name) > 253:
            raise MailError(f"{option} {shown(value)} is longer than 253 characters (RFC 1035 section 2.3.4)")
        return name
    if isinstance(value, str) and value.lower().rstrip(".").endswith(".in-addr.arpa"):
        return _labels(option, value, _CLASSLESS, "letters, digits, underscores and inner hyphens and slashes only (RFC 2317 section 4)")
    return _labels(option, value, _OWNER, "letters, digits, underscores and inner hyphens only (RFC 1035 section 2.3.1, RFC 8552)")


def host_name(value: str, option: str = "name") -> str:
    """Return the name of a server in canonical form: a :func:`domain_name` that its system can bear.

    :raises MailError: longer than Linux lets a host's name be, which is also as much as smtpd takes for one
    """
    name = domain_name(value, option)
    if len(name) > 64:
        raise MailError(f"{option} {shown(value)} is longer than the 64 octets that the name of a host has at most (gethostname(2))")
    return name


def inside(name: str, zone: str) -> bool:
    """Whether a name is at or below the head of a zone, both in canonical form; every name is in the root, ``.``."""
    return zone == "." or name == zone or name.endswith("." + zone)


def selector(value: str, option: str = "selector") -> str:
    """Return the DKIM selector of a key, which may exist already, in canonical form; it may have several labels.

    RFC 6376 section 3.1 has no underscore in a selector, yet such keys are published (``default_1807``), and verifiers look their
    records up as any other name: a key that signs with one need not change. See :func:`new_selector`.

    :raises MailError: a label that no record of this collection may have
    """
    return _labels(option, value, _OWNER, "letters, digits, underscores and inner hyphens only (RFC 6376 section 3.1, RFC 8552)")


def new_selector(value: str, option: str = "selector") -> str:
    """Return the DKIM selector of a key that is yet to be made in canonical form; it may have several labels.

    :raises MailError: a label that is not letters, digits and hyphens (RFC 6376 section 3.1)
    """
    return _labels(option, value, _LDH, "letters, digits and inner hyphens only (RFC 6376 section 3.1)")


def split_address(value: str, option: str = "address") -> tuple[str, str]:
    """Return (local part, domain) of a mailbox address, both lower case.

    Quoted local parts are refused: no table format of the MTAs here can carry them faithfully.

    :raises MailError: not a dot-atom local part, ``@`` and a domain (RFC 5321 section 4.1.2)
    """
    if not isinstance(value, str) or value.count("@") != 1:
        raise MailError(f"{option} {shown(value)} is not an address of the form user@domain (RFC 5321 section 4.1.2)")
    local, domain = value.split("@")
    if not local.isascii():  # looked at before it becomes lower case: that would make a k of the Kelvin sign
        raise MailError(f"{option} {shown(value)} has a local part that is not ASCII, for which no MTA here is set up (RFC 6531)")
    local = local.lower()
    if len(local) > 64:
        raise MailError(f"{option} {shown(value)} has a local part longer than 64 octets (RFC 5321 section 4.5.3.1.1)")
    if not _DOT_ATOM.match(local):
        raise MailError(f"{option} {shown(value)} has a local part that is not a dot-atom (RFC 5322 section 3.2.3)")
    domain = domain_name(domain, f"{option} {shown(value)}: domain")
    if len(local) + len(domain) > 253:
        raise MailError(f"{option} {shown(value)} is longer than the 254 octets that fit between < and > (RFC 5321 section 4.5.3.1.3)")
    return local, domain


def address(value: str, option: str = "address") -> str:
    """Return a mailbox address in canonical form, lower case. See :func:`split_address`."""
    return "@".join(split_address(value, option))


Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def ip_address(value: str, option: str = "address") -> Address:
    """Return an IP address; an IPv4-mapped IPv6 address becomes IPv4.

    :raises MailError: not an IPv4 or IPv6 address, or one with a zone identifier
    """
    if isinstance(value, str) and "%" in value:
        raise MailError(f"{option} {shown(value)} has a zone identifier; only addresses of global meaning can be used")
    parsed = exact_address(value)
    if parsed is None:
        raise MailError(f"{option} {shown(value)} is not an IPv4 or IPv6 address")
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else parsed


def exact_address(value: Any) -> Address | None:
    """Return an address of exactly one of the text forms of RFC 4291 section 2.2 and RFC 1123 section 2.1, None for all else."""
    if not isinstance(value, str) or not (_IPV4.match(value) or _IPV6.match(value)):
        return None
    try:
        return ipaddress.ip_address(str(value))
    except ValueError:
        return None


def is_ip_address(value: Any) -> bool:
    """Whether a value is an IPv4 or IPv6 address, without a zone identifier."""
    return exact_address(value) is not None


def is_socket_address(value: Any) -> bool:
    """Whether a socket can be connected to an address: also to a link-local one with the zone that it is in (RFC 4007 section 11.2)."""
    address, percent, zone = value.partition("%") if isinstance(value, str) else ("", "", "")
    return is_ip_address(address) and (not percent or (":" in address and bool(_ZONE.match(zone))))


def cidr(value: Any) -> tuple[Address, int] | None:
    """Return the address and the length of the prefix of a network in CIDR form, or of one address; None for all else."""
    text, slash, length = value.partition("/") if isinstance(value, str) else ("", "", "")
    parsed = exact_address(text)
    if parsed is None or (slash and not (_LENGTH.match(length) and int(length) <= parsed.max_prefixlen)):
        return None
    return parsed, int(length) if slash else parsed.max_prefixlen


def ip_network(value: str, option: str = "network", strict: bool = True) -> Network:
    """Return a network; one of IPv4-mapped addresses becomes one of IPv4.

    :param strict: whether bits behind the prefix are an error; else they are left out
    :raises MailError: not a network in CIDR form, nor one address
    """
    known = cidr(value)
    if known is None:
        raise MailError(f"{option} {shown(value)} is not an IPv4 or IPv6 address or network in CIDR form (RFC 4632 section 3.1)")
    address, prefix = known
    net = ipaddress.ip_network((address, prefix), strict=False)
    if strict and net.network_address != address:
        raise MailError(f"{option} {shown(value)} has host bits set: the network is {net} (RFC 4632 section 3.1)")
    mapped = net.network_address.ipv4_mapped if isinstance(net, ipaddress.IPv6Network) else None
    return ipaddress.ip_network((mapped, prefix - 96)) if mapped is not None and prefix >= 96 else net


def whole_number(value: Any, option: str, low: int, high: int) -> int:
    """Return a whole number, also from text that is nothing but its decimal digits, as variables of an INI inventory are.

    :raises MailError: not one, or outside of its range
    """
    parsed = int(value) if isinstance(value, str) and _WHOLE.match(value) else value
    if isinstance(parsed, bool) or not isinstance(parsed, int) or not low <= parsed <= high:
        raise MailError(f"{option} {shown(value)} must be a whole number from {low} to {high}")
    return int(parsed)


def decimal(text: str, option: str, high: int) -> int:
    """Return a number of a DNS record from its text, as a zone file has it: no sign, and zeros before it mean nothing.

    :param high: below 10**19
    :raises MailError: not one, or above that
    """
    digits = text.lstrip("0") or text[:1]
    if not _DIGITS.match(digits) or int(digits) > high:
        raise MailError(f"{option} {shown(text)} is not a number from 0 to {high}")
    return int(digits)


def number(value: Any, option: str, low: float, high: float) -> float:
    """Return a finite number, also from text that is nothing but its decimal digits.

    :raises MailError: not one, or outside of its range
    """
    parsed = float(value) if isinstance(value, str) and _DECIMAL.match(value) else value
    if isinstance(parsed, bool) or not isinstance(parsed, (int, float)) or not low <= parsed <= high:
        raise MailError(f"{option} {shown(value)} must be a number from {low:g} to {high:g}")
    return parsed


def reverse_name(value: str, option: str = "address") -> str:
    """Return the name whose PTR record names this address, without a trailing dot.

    Under in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5).
    """
    return ip_address(value, option).reverse_pointer


def not_public(address: str) -> str:
    """Why an address cannot be a public mail server's, with the source; empty if it can."""
    parsed = ip_address(address)
    return next((why for network, why in _NOT_PUBLIC if parsed.version == network.version and parsed in network), "")


def without_detail(address: str, delimiters: str) -> str:
    """Return an address without the detail that its owner put behind a delimiter (RFC 5233), as every MTA here cuts it: from the first of
    these characters on, unless nothing is before it.

    :param address: in canonical form; ``@domain`` stays as it is
    """
    local, at, domain = address.rpartition("@")
    cut = min((place for character in delimiters if (place := local.find(character)) >= 0), default=0)
    return f"{local[:cut] or local}{at}{domain}"
