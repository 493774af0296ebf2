# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``mail_slow_destinations`` and ``mail_outbound`` mean: to whom mail leaves slowly, and how it leaves."""

from __future__ import annotations

import datetime
import re
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown
from ansible_collections.postmaster.mail.plugins.module_utils._model.problems import Problems

#: Providers that defer or block senders who come too fast or over too many connections, and what they bear: ``domains`` of their own, and
#: ``mx``, the domains of the hosts that receive mail for these and for those who have their domain there. The numbers of Orange are its
#: own (postmaster.orange.fr: two connections, 100 messages each); the others publish none, and these are careful.
SLOW_DESTINATIONS: dict[str, dict[str, Any]] = {
    "orange": {"domains": ["orange.fr", "wanadoo.fr"], "mx": ["orange.fr"], "connections": 2, "delay": 1},
    "sfr": {
        "domains": ["sfr.fr", "neuf.fr", "cegetel.net", "club-internet.fr", "numericable.fr", "noos.fr", "modulonet.fr"],
        "mx": ["sfr.fr"],
        "connections": 1,
        "delay": 1,
    },
    "free": {"domains": ["free.fr", "aliceadsl.fr"], "mx": ["free.fr"], "connections": 1, "delay": 2},
    "google": {"domains": ["gmail.com", "googlemail.com"], "mx": ["google.com", "googlemail.com"], "connections": 5, "delay": 0},
    "laposte": {"domains": ["laposte.net"], "mx": ["laposte.net"], "connections": 2, "delay": 1},
    "microsoft": {
        "domains": ["outlook.com", "hotmail.com", "live.com", "msn.com", "outlook.fr", "hotmail.fr", "live.fr", "hotmail.co.uk",
                    "live.co.uk", "outlook.de", "hotmail.de", "live.de", "outlook.es", "hotmail.es", "outlook.it", "hotmail.it"],
        "mx": ["protection.outlook.com", "mx.microsoft"],
        "connections": 5,
        "delay": 0,
    },
    "yahoo": {
        "domains": ["yahoo.com", "yahoo.fr", "yahoo.co.uk", "yahoo.de", "yahoo.it", "yahoo.es", "ymail.com", "rocketmail.com", "aol.com"],
        "mx": ["yahoodns.net"],
        "connections": 2,
        "delay": 1,
    },
    "icloud": {"domains": ["icloud.com", "me.com", "mac.com"], "mx": ["mail.icloud.com"], "connections": 2, "delay": 1},
}

#: What is excused of a domain: DANE (RFC 7672), with ``opportunistic``, or TLS itself, with ``none``.
TLS_EXCEPTIONS = ("opportunistic", "none")
OUTBOUND_KEYS = ("warm_up", "tls_exceptions")


def read_slow_destinations(problems: Problems, given: Any) -> dict[str, dict[str, Any]]:
    if given is None:
        given = SLOW_DESTINATIONS
    found: dict[str, dict[str, Any]] = {}
    taken: dict[tuple[str, str], str] = {}
    for name, value in problems.mapping(given, "mail_slow_destinations").items():
        where = f"mail_slow_destinations[{shown(name)}]"
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]{0,19}", name):
            problems.add(f"{where} names a transport: a letter, then at most 19 letters and digits, all lower case")
        options = problems.mapping(value, where, ("domains", "mx", "connections", "delay"))
        names: dict[str, list[str]] = {"domains": [], "mx": []}
        for key, listed in names.items():
            for text in problems.strings(options.get(key), f"{where}.{key}"):
                domain = problems.attempt(_names.domain_name, text, f"{where}.{key}")
                if (key, domain) in taken:
                    problems.add(f"{where}.{key} {shown(text)} is in mail_slow_destinations[{shown(taken[key, domain])}] as well")
                elif domain:
                    taken[key, domain] = name
                    listed.append(domain)
        if not any(names.values()):
            problems.add(f"{where} names no domain, neither in domains nor in mx")
        found[str(name)] = {
            "domains": sorted(names["domains"]),
            "mx": sorted(names["mx"]),
            "connections": problems.integer(options.get("connections", 1), f"{where}.connections", 1, 20),
            "delay": problems.integer(options.get("delay", 1), f"{where}.delay", 0, 3600),
        }
    return dict(sorted(found.items()))


def read_outbound(problems: Problems, given: Any) -> dict[str, Any]:
    """Check how mail leaves.

    :returns: ``warm_up``, the day on which the address began to send, of the form 2026-11-29, or an empty string; ``tls_exceptions``,
        domain to one of :data:`TLS_EXCEPTIONS`
    """
    options = problems.mapping(given, "mail_outbound", OUTBOUND_KEYS)
    found: dict[str, Any] = {"warm_up": "", "tls_exceptions": {}}
    day = options.get("warm_up")
    if day is not None:
        try:
            # YAML makes a date of it.
            found["warm_up"] = (day if type(day) is datetime.date else datetime.date.fromisoformat(day)).isoformat()
        except (TypeError, ValueError):
            problems.add(f"mail_outbound.warm_up {shown(day)} is not a day such as 2026-11-29")
    for name, value in problems.mapping(options.get("tls_exceptions"), "mail_outbound.tls_exceptions").items():
        domain = problems.attempt(_names.domain_name, name, "mail_outbound.tls_exceptions")
        if domain in found["tls_exceptions"]:
            problems.add(f"mail_outbound.tls_exceptions has {shown(name)} twice (names are compared without case)")
        elif domain:
            found["tls_exceptions"][domain] = problems.choice(value, f"mail_outbound.tls_exceptions[{shown(name)}]", TLS_EXCEPTIONS)
    found["tls_exceptions"] = dict(sorted(found["tls_exceptions"].items()))
    return found
