# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one client may do, at once and in a minute, whichever the MTA. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: How many bits of an IPv6 address are one client: whoever has one address has all of its /64 (RFC 6177 section 2).
IPV6_PREFIX = 64

#: An office behind one address, or the largest of providers, does less; one client that does this much leaves room for others.
CLIENT_LIMITS = {
    "connections": 50,
    "connection-rate": 1200,
    "auth-rate": 60,
    "message-rate": 1200,
    "recipient-rate": 6000,
}

_POSTFIX = {
    "connections": "smtpd_client_connection_count_limit",
    "connection-rate": "smtpd_client_connection_rate_limit",
    "auth-rate": "smtpd_client_auth_rate_limit",
    "message-rate": "smtpd_client_message_rate_limit",
    "recipient-rate": "smtpd_client_recipient_rate_limit",
}


def postfix(trusted: Iterable[str]) -> dict[str, Any]:
    """Return parameters of main.cf.

    :param trusted: networks without limits, beside those that may relay
    """
    exceptions = [f"[{network.partition('/')[0]}]/{network.partition('/')[2]}" if ":" in network else network for network in trusted]
    return {
        **{_POSTFIX[name]: most for name, most in CLIENT_LIMITS.items()},
        "smtpd_client_event_limit_exceptions": ", ".join(["$mynetworks", *exceptions]),
    }


def opensmtpd(trusted: Iterable[str]) -> list[str]:
    """Return options of our filter.

    :param trusted: networks without limits
    """
    options = [option for name, most in CLIENT_LIMITS.items() for option in (f"--{name}", str(most))]
    return options + [option for network in trusted for option in ("--trusted", network)]
