# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a local resolver's variables mean: root hints, trust anchors, forwarders. Pure functions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._names import ip_address, owner_name

_OWNER = r"(?P<owner>\.|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)"
_DS = re.compile(rf"^{_OWNER}(?: [0-9]+)?(?: IN)? DS [0-9]+ (?P<algorithm>[0-9]{{1,3}}) (?P<digest>[0-9]{{1,3}}) (?P<data>[0-9A-Fa-f ]+)\Z")
_DNSKEY = re.compile(rf"^{_OWNER}(?: [0-9]+)?(?: IN)? DNSKEY [0-9]+ 3 (?P<algorithm>[0-9]{{1,3}}) (?P<data>[A-Za-z0-9+/= ]+)\Z")
_BASE64 = re.compile(r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
#: What Unbound validates: algorithms, and digest types with the hexadecimal digits of each (RFC 8624 sections 3.1 and 3.3).
_ALGORITHMS = {5, 7, 8, 10, 13, 14, 15, 16}
_DIGESTS = {1: 40, 2: 64, 4: 96}
#: The zones that Unbound answers by itself (local-zone in unbound.conf(5): RFC 6303, RFC 6761, RFC 7686, RFC 8375, RFC 9462, RFC 9665).
LOCAL_ZONES = frozenset(
    [
        "localhost", "test", "invalid", "onion", "home.arpa", "resolver.arpa", "service.arpa",
        *(
            f"{net}.in-addr.arpa"
            for net in (
                "0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203", "255.255.255.255",
                *(f"{number}.172" for number in range(16, 32)), *(f"{number}.100" for number in range(64, 128)),
            )
        ),
        *(
            f"{net}.ip6.arpa"
            for net in ("0." * 31 + "0", "1." + "0." * 30 + "0", "d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2")
        ),
    ]
)  # fmt: skip
_ADDRESS_RECORD = re.compile(r"(?aim)^\s*\S+(?:\s+[0-9]+)?(?:\s+IN)?\s+(?:A|AAAA)\s+(\S+)")
_FORWARDER = re.compile(r"^(?P<address>[0-9A-Fa-f:.]+)(?:@(?P<port>[0-9]{1,5}))?(?:#(?P<name>.+))?\Z")


def root_addresses(hints: Any, option: str = "root_hints") -> list[str]:
    """Return the addresses of the root's name servers, in the order given.

    :param hints: a list of dictionaries with ``name`` and ``addresses``, or the text of a hints file (RFC 1035 section 5)
    :raises MailError: hints that give no address, or something that is not one
    """
    if not hints:
        return []
    found: list[str] = []
    if isinstance(hints, str):
        found = _ADDRESS_RECORD.findall(re.sub(r";.*", "", hints))
    elif isinstance(hints, Iterable) and not isinstance(hints, Mapping):
        for hint in hints:
            if not isinstance(hint, Mapping) or not isinstance(hint.get("addresses"), (list, tuple)):
                raise MailError(f"{option} {shown(hint)} must be a dictionary with name and addresses, a list")
            found += hint["addresses"]
    else:
        raise MailError(f"{option} must be a list of dictionaries or the text of a hints file, not {type(hints).__name__}")
    addresses = list(dict.fromkeys(str(ip_address(text, option)) for text in found))
    if not addresses:
        raise MailError(f"{option} gives no address of a root name server")
    return addresses


def trust_anchor(value: str, option: str = "trust_anchors") -> str:
    """Return a trust anchor on one line, with single spaces.

    :raises MailError: not a DS or DNSKEY record in zone file form (RFC 4034 sections 2.2 and 5.3), or one that Unbound passes over
    """
    line = " ".join(re.sub(r";.*", "", value).replace("(", " ").replace(")", " ").split()) if isinstance(value, str) else ""
    ds, key = _DS.match(line), _DNSKEY.match(line)
    found = ds or key
    if not found:
        raise MailError(f"{option} {shown(value)} is not a DS or DNSKEY record in zone file form (RFC 4034 sections 2.2 and 5.3)")
    if int(found["algorithm"]) not in _ALGORITHMS:
        number = found["algorithm"]
        raise MailError(f"{option} {shown(value)} has the algorithm {number}, which Unbound does not validate (RFC 8624 section 3.1)")
    data = found["data"].replace(" ", "")
    if ds and _DIGESTS.get(int(ds["digest"])) != len(data):
        raise MailError(
            f"{option} {shown(value)} has a digest of type {ds['digest']} and {len(data)} digits: "
            "SHA-1 (1) has 40, SHA-256 (2) 64, SHA-384 (4) 96 (RFC 8624 section 3.3)"
        )
    if key and not _BASE64.match(data):
        raise MailError(f"{option} {shown(value)} has a public key that is not base64 (RFC 4034 section 2.2)")
    return line


def ordinary_zone(value: str, option: str = "ordinary_zones") -> str:
    """Return the name of one of :data:`LOCAL_ZONES`.

    :raises MailError: Unbound does not answer for it by itself, so there is nothing to switch off
    """
    zone = owner_name(value, option)
    if zone in LOCAL_ZONES:
        return zone
    above = next((known for known in LOCAL_ZONES if zone.endswith(f".{known}")), None)
    way = f"name {above!r}, which it is in" if above else "it is looked up like any other anyway: take it out"
    raise MailError(f"{option} {shown(value)} is no zone that Unbound answers by itself (local-zone in unbound.conf(5), RFC 6303): {way}")


def forwarder(value: str, option: str = "forwarders") -> str:
    """Return ``ADDRESS[@PORT][#NAME]`` with the address in canonical form.

    :raises MailError: an address, a port or a name for TLS that is not one
    """
    match = _FORWARDER.match(value) if isinstance(value, str) else None
    if not match:
        raise MailError(f"{option} {shown(value)} is not of the form ADDRESS[@PORT][#NAME FOR TLS]")
    text = str(ip_address(match["address"], option))
    if match["port"]:
        if not 0 < int(match["port"]) < 65536:
            raise MailError(f"{option} {shown(value)} has a port that is not from 1 to 65535")
        text += f"@{int(match['port'])}"
    if match["name"]:
        text += f"#{owner_name(match['name'], option)}"
    if _is_loopback(text) and (match["port"] or "53") == "53":
        raise MailError(f"{option} {shown(value)} is this resolver itself: name another port, or another host")
    return text


def _is_loopback(text: str) -> bool:
    return ipaddress.ip_address(re.split("[@#]", text)[0]).is_loopback


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the resolver's configuration is printed from.

    :param given: ``root_hints``, ``trust_anchors``, ``forwarders`` and ``ordinary_zones``, as the role's variables
    :returns: ``root_addresses``, ``trust_anchors``, ``forwarders``, ``ordinary_zones``: lists of strings; ``forwarders_tls``, whether they
        are asked over TLS; ``asks_localhost``, whether one of those to ask is on this host
    :raises MailError: a value that is not of its kind, or values that contradict each other
    """
    names = {name: f"resolver_{name}" for name in ("root_hints", "trust_anchors", "forwarders", "ordinary_zones")}
    root = root_addresses(given.get("root_hints"), names["root_hints"])
    anchors = [trust_anchor(line, names["trust_anchors"]) for line in given.get("trust_anchors") or ()]
    forwarders = [forwarder(text, names["forwarders"]) for text in given.get("forwarders") or ()]
    if root and not anchors:
        raise MailError("resolver_root_hints needs resolver_trust_anchors: a private root is not signed with the public root's key")
    if root and forwarders:
        raise MailError("resolver_root_hints and resolver_forwarders exclude each other: either ask the root or somebody else")
    tls = [text for text in forwarders if "#" in text]
    if tls and len(tls) < len(forwarders):
        raise MailError("resolver_forwarders: either all have a name for TLS after '#' or none has")
    return {
        "root_addresses": root,
        "trust_anchors": anchors,
        "forwarders": [text if "@" in text or "#" not in text else text.replace("#", "@853#", 1) for text in forwarders],
        "forwarders_tls": bool(tls),
        "asks_localhost": any(_is_loopback(text) for text in (*root, *forwarders)),
        "ordinary_zones": sorted({ordinary_zone(zone, names["ordinary_zones"]) for zone in given.get("ordinary_zones") or ()}),
    }
