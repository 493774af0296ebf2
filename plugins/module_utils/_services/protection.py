# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is never banned, as the guard of log-ins, fail2ban, nftables and pf are to be given it. Pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._services import limits


def _collapsed(networks: Sequence[Any]) -> list[str]:
    """Return networks as nft reads them, none within another, which it would refuse."""
    return [str(one.network_address if one.prefixlen == one.max_prefixlen else one) for one in ipaddress.collapse_addresses(networks)]


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return who is never banned, and what the guard is told beside it.

    :param given: ``trusted``, addresses and networks, as in the role's variable
    :returns: ``trusted`` (all, in canonical form), ``ipv4`` and ``ipv6`` (the same by family, none within another; never empty, as a
        set of nft must not be), and ``wrong_password_rate``, how often in a minute one wrong password is verified
    :raises MailError: what is neither an address nor a network
    """
    trusted = [_names.ip_network(value, "protection_trusted") for value in given["trusted"]]
    by_family: dict[int, list[Any]] = {4: [], 6: []}
    for one in trusted:
        by_family[one.version].append(one)
    return {
        "trusted": list(dict.fromkeys(_collapsed([one])[0] for one in trusted)),
        "ipv4": _collapsed(by_family[4]) or ["127.0.0.1"],
        "ipv6": _collapsed(by_family[6]) or ["::1"],
        "wrong_password_rate": limits.WRONG_PASSWORD_RATE,
    }
