# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which domains are signed with which keys, whatever signs. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._model import sinks
from ansible_collections.postmaster.mail.plugins.module_utils._names import domain_name, selector


def signing(given: Mapping[str, Any] | None, option: str = "signing") -> list[dict[str, Any]]:
    """Return which domains are signed with which keys: ``domain`` and ``selectors``, a list of ``selector`` and ``path``.

    :param given: domain to a dictionary with ``selector`` and ``path``, or to a list of them for one signature each; further
        keys are ignored
    :raises MailError: a name, a selector (RFC 6376 section 3.1) or a path that is not one; two signatures with one selector
    """
    found: dict[str, list[dict[str, str]]] = {}
    for key, value in (given or {}).items():
        domain = domain_name(key, option)
        if domain in found:
            raise MailError(f"{option} has {shown(domain)} twice (names are compared without case)")
        keys = []
        for entry in value if isinstance(value, (list, tuple)) else [value]:
            if not isinstance(entry, Mapping) or not {"selector", "path"} <= set(entry):
                raise MailError(f"{option} {shown(key)} must have a selector and the path of a key")
            path = sinks.path(entry["path"], f"{option} {shown(key)}: path", "key")
            # The day on which it began to sign is only carried along, for the next run to know.
            since = {"since": entry["since"]} if entry.get("since") else {}
            keys.append({"selector": selector(entry["selector"], f"{option} {shown(key)}: selector"), "path": path, **since})
        if len({entry["selector"] for entry in keys}) < len(keys):
            raise MailError(f"{option} {shown(key)} has a selector twice: each key needs its own (RFC 8463 section 9)")
        if keys:
            found[domain] = keys
    return [{"domain": domain, "selectors": found[domain]} for domain in sorted(found)]


def host_signer(fqdn: str | None, given: Sequence[Mapping[str, Any]]) -> str:
    """Return the domain whose key signs what is from addresses at the server's name, such as reports of the MTA: that which the name lies
    below, since DMARC takes the one for the other (RFC 9989 section 3.2.10); empty where the name has a key, or there is none.

    :param given: what :func:`signing` returns
    """
    domains = {entry["domain"] for entry in given}
    above = [name for name in domains if fqdn and fqdn.endswith(f".{name}")]
    return "" if fqdn in domains else max(above, key=len, default="")
