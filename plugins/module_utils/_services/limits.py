# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one client may do in a minute, and how slowly a new address sends, whichever the MTA; what a client may do at once is one of the
sizes. Pure functions."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

#: An office behind one address, or the largest of providers, does less; one client that does this much leaves room for others.
#: Log-ins are not limited by client, since an office has many: who guesses is banned (role protection).
CLIENT_LIMITS = {
    "connection-rate": 1200,
    "message-rate": 1200,
    "recipient-rate": 6000,
}

#: How often in a minute one wrong password of one account is verified, from one client: a telephone with an old one tries for ever, and a
#: password is slow to verify. Beyond that it is wrong without a look; where it has become the right one, until the next minute.
WRONG_PASSWORD_RATE = 10

_POSTFIX = {
    "connection-rate": "smtpd_client_connection_rate_limit",
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
    most = {**CLIENT_LIMITS, "wrong-password-rate": WRONG_PASSWORD_RATE}
    options = [option for name, number in most.items() for option in (f"--{name}", str(number))]
    return options + [option for network in trusted for option in ("--trusted", network)]


#: How many messages a new address sends in an hour to one provider or other domain, in each week after its first day; then any number.
WARM_UP = (20, 40, 80, 160, 320)


def warm_up_delay(since: str, today: str) -> int:
    """Return the seconds between two messages to one destination while an address is new; 0 when it is not.

    :param since: the day on which it began, or begins, to send, of the form 2026-11-29; empty for long ago
    :param today: of the same form
    """
    if not since:
        return 0
    week = max(0, (datetime.date.fromisoformat(today) - datetime.date.fromisoformat(since)).days // 7)
    return -(-3600 // WARM_UP[week]) if week < len(WARM_UP) else 0
