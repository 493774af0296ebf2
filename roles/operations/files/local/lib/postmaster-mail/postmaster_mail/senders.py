# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Senders that are always taken, or never: addresses, ``@domain`` for one and what is below it, and networks. The filter reads lists of the
inventory's and of this command's. Pure functions."""

from __future__ import annotations

import ipaddress
import re

from postmaster_mail.text import Failure, printable

#: What is done with senders, and the files that it is kept in: the first of addresses and domains, the second of networks.
FILES = {"allow": ("allowed", ""), "block": ("blocked", "blocked-networks")}

HEAD = "Senders of which postmaster-mail allow and block have taken note, one a line."

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"


def entry(action: str, what: str) -> tuple[str, str]:
    """Return the file and the line for a sender.

    :param action: ``allow`` or ``block``
    :param what: an address, a domain (with or without ``@``), or for ``block`` a network
    :raises Failure: it is none of these
    """
    senders, networks = FILES[action]
    text = what.strip()
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        network = None
        if re.fullmatch(r"[0-9a-fA-F:.]+/[0-9]{1,3}", text):
            raise Failure(f"{printable(text, 60)!r} is no network: has it bits behind its prefix?") from None
    if network and not networks:
        raise Failure(f"{network} is a network: mail_filter.trusted of the inventory is for those")
    if network:
        if not network.prefixlen:
            raise Failure(f"{network} is all the world")
        return networks, str(network)
    local, _at, name = text.rpartition("@")
    try:
        domain = name.lower().rstrip(".").encode("idna").decode("ascii")
    except UnicodeError:
        domain = ""
    if not re.fullmatch(rf"{_LABEL}(?:\.{_LABEL})*", domain) or len(domain) > 253 or (action == "allow" and "." not in domain):
        raise Failure(f"{printable(text, 60)!r} is neither an address, nor a domain" + (", nor a network" if networks else ""))
    if local and (not re.fullmatch(r"[!-?A-~]+", local) or local.startswith("#")):
        raise Failure(f"{printable(text, 60)!r} is no address: before the @ there are characters that none has without quotation marks")
    return senders, f"{local.lower()}@{domain}"
