# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between systems and is more than a name: which MTA is usual, what can be had there, how packages are named."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

#: The MTA of a system that brings one along; everywhere else Postfix.
_OWN_MTA = {"OpenBSD": "opensmtpd"}

#: What cannot be had on a system, and why.
_WITHOUT = {
    ("OpenBSD", "acme-dns"): "acme-client(1) answers challenges over HTTP alone",
}


def usual_mta(os_family: str) -> str:
    """Return the MTA that a host of this family gets where the inventory says nothing."""
    return _OWN_MTA.get(os_family, "postfix")


def impossible(os_family: str, choice: str) -> str:
    """Return why a method of getting certificates cannot be had on a system; empty where it can."""
    return _WITHOUT.get((os_family, choice), "")


def host_addresses(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the address that the host sends from by default, by family, C(ipv4) and C(ipv6); empty where it has none.

    Where the gateway is link-local (RFC 4861 section 6.3.4), OpenBSD's C(route) says that IPv6 goes out from a link-local address,
    and so do Ansible's facts. What reaches the world then is a global address of that interface, or of another one.

    :param facts: C(ansible_facts): C(default_ipv4), C(default_ipv6), C(all_ipv6_addresses) and those of interfaces
    """
    usual = facts.get("default_ipv6") or {}
    interface = facts.get(str(usual.get("interface", "")).replace("-", "_").replace(".", "_")) or {}
    entries = interface.get("ipv6", ()) if isinstance(interface, Mapping) else ()
    candidates = [usual.get("address"), *(entry.get("address") for entry in entries)]
    # Without a default route there is no way out, whatever addresses there are.
    candidates += (facts.get("all_ipv6_addresses") or ()) if usual.get("address") else ()
    ipv6 = next((address for address in candidates if address and not is_link_local(address)), "")
    return {"ipv4": (facts.get("default_ipv4") or {}).get("address") or "", "ipv6": ipv6}


def is_link_local(address: str) -> bool:
    """Tell whether an IPv6 address, with or without its zone identifier, holds on one link only (RFC 4291 section 2.5.6)."""
    try:
        return ipaddress.IPv6Address(str(address).partition("%")[0]).is_link_local
    except ValueError:
        return False


def stem(spec: str) -> str:
    """Return the name of a package without what picks one of several: C(rspamd--), C(redis%bsd), C(opensmtpd=7.4.*)."""
    return re.split(r"--|[%=]", spec, maxsplit=1)[0]


def missing_packages(wanted: Iterable[str], installed: Mapping[str, Any]) -> list[str]:
    """Return those of the packages, as a package manager is asked for them, that the host does not have.

    :param installed: C(ansible_facts.packages). What pkg_info says of a package with a flavour, such as C(postfix-3.11.1-sasl2), it splits
        at the last hyphen; C(--) asks for the one without, but another flavour of it serves as well.
    """
    missing = [spec for spec in wanted if stem(spec) not in installed]
    if not missing:
        # Nearly always; and Ansible makes hundreds of entries ready for whoever looks at them all.
        return []
    flavoured = set()
    for name, entries in installed.items():
        if any(entry.get("source") == "pkg_info" for entry in entries):
            flavoured.add(re.sub(r"-[0-9][^-]*$", "", name))
    return [spec for spec in missing if stem(spec) not in flavoured]
