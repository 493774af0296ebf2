# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What differs between systems and is more than a name: default addresses, how packages are named."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any


def host_addresses(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the address that the host sends from by default, by family, ``ipv4`` and ``ipv6``; empty where it has none.

    Where the gateway is link-local (RFC 4861 section 6.3.4), OpenBSD's ``route`` says that IPv6 goes out from a link-local address,
    and so do Ansible's facts. What reaches the world then is a global address of that interface, or of another one.

    :param facts: ``ansible_facts``: ``default_ipv4``, ``default_ipv6``, ``all_ipv6_addresses`` and those of interfaces
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


def missing_packages(specs: Iterable[str], installed: Mapping[str, str]) -> list[str]:
    """Return those of the packages that are not installed, as the package manager is asked for them.

    :param specs: names, also with what picks one of several: ``rspamd--``, ``redis%bsd``, ``postfix--%stable``, or a version to be
        had, ``opensmtpd=7.4.*``
    :param installed: name → version, as the module host_info returns them
    """
    return [spec for spec in specs if not _is_installed(spec, installed)]


def _is_installed(spec: str, installed: Mapping[str, str]) -> bool:
    name, _equals, version = spec.partition("=")
    stem = re.split(r"--|%", name, maxsplit=1)[0]
    return stem in installed and fnmatch.fnmatchcase(installed[stem], version or "*")
