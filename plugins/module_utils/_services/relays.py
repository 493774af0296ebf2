# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts that relay through this server, as the MTAs and Rspamd are to be given them. Who logs in is an owner of addresses, and no more
(``_model/delivery.py``). Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import domain_copies, relay_domains

#: Local parts as everybody writes them (RFC 5322 section 3.2.3), in an extended regular expression of POSIX.
_LOCAL = "[a-z0-9!#$%&'*+/=?^_`{|}~.-]+"
#: The null sender (RFC 5321 section 4.5.5): an old mail server has bounces to send. Whose they are, Rspamd reads in From.
NULL_SENDER = {"postfix": "^<>$", "opensmtpd": "^@$"}

REFUSED = "550 5.7.1 This host may send to other servers as addresses of its domains alone (mail_relays)"


def of_hosts(model: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return relay to its ``hosts`` and ``domains``, of those that are known by their addresses.

    :param model: what :func:`_model.normalise` returns
    """
    copies = domain_copies(model)
    return {
        name: {"hosts": relay["hosts"], "domains": relay_domains(relay, copies)}
        for name, relay in model.get("relays", {}).items() if relay["hosts"]
    }


def sender(domain: str) -> str:
    """Return a regular expression of envelope senders in a domain, to be compared without case: no subdomains, no routes."""
    return f"^{_LOCAL}@{domain.replace('.', '[.]')}$"


def hosts_table(model: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return network to the name of its relay.

    :param prefix: of these names
    """
    return {network: f"{prefix}{name}" for name, relay in of_hosts(model).items() for network in relay["hosts"]}
