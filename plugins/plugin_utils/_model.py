# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model of an inventory on the controller: checked together with what is made of it, and in the form that tasks hand on."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts, routes
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import forwards
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dns, locks

#: What does not grow with the number of domains and users.
_SMALL = (
    "fqdn", "addresses", "mta", "postmaster", "dns", "certificates", "filter", "slow_destinations", "refusals", "queue", "outbound",
    "mailboxes", "recipient_delimiter", "lists_web",
)  # fmt: skip


def checked_model(
    given: Mapping[str, Any], os_family: str = "", peers: Iterable[Mapping[str, Any]] = (), backup: bool = False
) -> dict[str, Any]:
    """Return the model of ``mail_*`` variables, whose records can stand in DNS together.

    :param given: variables without their ``mail_`` prefix
    :param os_family: the host's, as in Ansible's facts
    :param peers: the other hosts of the inventory, see :func:`_model.normalise`
    :param backup: whether this host is a backup MX
    :raises MailError: with one line for every rule that is broken
    """
    model = normalise(given, os_family, peers, backup)
    dns.check_added_values(model)
    return model


def packed(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model in the form in which tasks hand it on.

    Ansible makes each entry of a dictionary ready for whoever looks at it, which takes half a second for 5,000 users, in each task. A text
    costs nothing until it is read.

    :returns: what conditions read, by the names that it has in the model; ``has_lists``, whether Mailman has lists
        on this host; ``catch_all``, whether a domain has one; ``forwards``, whether
        mail goes on to other servers; ``authenticates``, whether a smarthost asks for a password; ``falls_back``, whether a
        route has several smarthosts; ``locked``, the accounts that may not log in; ``sharing``, the other hosts that serve a domain
        of this one; ``web_named``, whether the web interface of lists has a name of its own; and ``text``, the whole as JSON
    """
    return {
        **{name: model[name] for name in _SMALL},
        "has_lists": bool(model["lists"]) and not model["backup"],
        "catch_all": any(options["catch_all"] for options in model["domains"].values()),
        "forwards": forwards(model),
        "authenticates": routes.authenticates(model["routes"]),
        "falls_back": routes.falls_back(model["routes"]),
        "locked": locks.locked(model["users"], "login"),
        "sharing": hosts.sharing(model),
        "web_named": bool(dns.web_addresses(model)),
        "text": json.dumps(model),
    }


@functools.lru_cache(maxsize=4)
def unpacked(text: str) -> dict[str, Any]:
    """Return the model that :func:`packed` has as ``text``. It is shared: whoever changes it changes it for others.

    :raises MailError: another text
    """
    try:
        model = json.loads(text)
    except ValueError as exc:
        raise MailError(f"model is not the text of one: {exc}") from exc
    if not isinstance(model, dict):
        raise MailError("model is not the text of one")
    return model
