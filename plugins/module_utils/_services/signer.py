# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What signs mail on a host without the filter is given: keys and who signs with them, for OpenDKIM. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._services import signing


def keys(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which domains are signed with which keys, as :func:`_signing.signing` does.

    :param given: ``signing``, as the role's variable, and ``keys``, domain to key, as ``postmaster.mail.dkim_keyring`` returns them
    :raises MailError: a key that no signer but Rspamd signs with (RFC 8463)
    """
    found = signing.signing(given["signing"], "signer_signing")
    ed25519 = {key["path"]: domain for domain, key in (given.get("keys") or {}).items() if "k=ed25519" in (key.get("value") or "")}
    for entry in found:
        for key in entry["selectors"]:
            if key["path"] in ed25519:
                raise MailError(f"mail_domains[{shown(entry['domain'])}] signs with {key['path']}, an Ed25519 key (RFC 8463), which cannot "
                                "be had with mail_filter false: OpenDKIM and filter-dkimsign sign with RSA keys. Move it away, so that an "
                                "RSA key is made, or have mail_filter be a dictionary, such as {}")
    return found


def tables(given: Mapping[str, Any]) -> dict[str, str]:
    """Return OpenDKIM's tables (opendkim.conf(5)), path below /etc to text: KeyTable, and SigningTable, in which a line is that of an
    author's domain and all that match sign.

    :param given: as for :func:`keys`; ``fqdn``, the server's name, whose reports a domain above it signs; ``managed``, the first line
    :raises MailError: as :func:`keys`
    """
    head = f"# {given.get('managed') or 'Ansible managed'}\n"
    found = keys(given)
    names = {entry["domain"]: [entry["domain"]] for entry in found}
    above = signing.host_signer(given["fqdn"], found)
    if above:
        names[above].append(given["fqdn"])
    table, authors = head, head
    for entry in found:
        for key in entry["selectors"]:
            name = f"{key['selector']}._domainkey.{entry['domain']}"
            table += f"{name} {entry['domain']}:{key['selector']}:{key['path']}\n"
            authors += "".join(f"*@{author} {name}\n" for author in names[entry["domain"]])
    return {"opendkim/keys": table, "opendkim/signing": authors}
