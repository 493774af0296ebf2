# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of dkimproxy.out(8), which signed mail before: which key signs for which domain. Pure functions."""

from __future__ import annotations

import re

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim

#: Short names in the parentheses after a kind of signature.
_ALIASES = {"key": "keyfile", "s": "selector", "d": "domain"}


def options(text: str) -> dict[str, list[str]]:
    """Return option to its values, of which only ``signature`` may have several. Dashes in names are underscores."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.match(r"\s*(?:--)?([A-Za-z][\w-]*)(?:\s*[=:]\s*|\s+)(.*?)\s*$", line)
        if match and match[2]:
            values.setdefault(match[1].replace("-", "_").lower(), []).append(match[2])
    return values


def sender_map(text: str) -> str | None:
    """Return the path of the map from senders to signatures, if the configuration names one."""
    return options(text).get("sender_map", [None])[-1]


def _signatures(text: str) -> list[str]:
    """Split at commas, but not at those in parentheses."""
    return [piece.strip() for piece in re.findall(r"(?:[^,(]|\([^)]*\)?)+", text) if piece.strip()]


def _signature(text: str, what: str) -> dict[str, str] | None:
    """Return the options of a DKIM signature; None for one of another kind (DomainKeys)."""
    match = re.match(r"(\w+)\s*(?:\((.*)\))?$", text.strip())
    if not match:
        raise MailError(f"{what}: signature {text!r} is not of the form dkim or dkim(key=..., s=..., d=...)")
    if match[1] != "dkim":
        return None
    pairs = [pair.partition("=") for pair in re.split(r",\s*", match[2] or "") if pair.strip()]
    return {_ALIASES.get(name.strip(), name.strip()): value.strip() for name, _equals, value in pairs}


def _lines(text: str) -> list[tuple[str, str]]:
    """Return the entries of a map; a line that begins with white space goes on with the one before it."""
    joined: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and joined:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line.strip())
    return [(entry.split(None, 1)[0], entry.split(None, 1)[1]) for entry in joined if len(entry.split(None, 1)) == 2]


def signers(text: str, what: str, senders: str = "") -> dict[str, dkim.Signer]:
    """Return which key signs for which domain, in canonical form. The first signature of a domain counts.

    :param text: the configuration
    :param what: its name, for errors
    :param senders: the map that :func:`sender_map` names; its entries win over the signatures for everybody
    :raises MailError: a domain, selector or path that is none, or a signature that says less than it needs
    """
    settings = options(text)
    common = {name: settings[name][-1] for name in ("keyfile", "selector") if name in settings}
    for name in ("keyfile", "selector", "domain"):
        if len(set(settings.get(name, []))) > 1:
            raise MailError(f"{what}: {name} is there twice, with different values")
    keys: dict[str, dkim.Signer] = {}

    def add(domain: str, signature: dict[str, str]) -> None:
        values = {**common, **signature}
        for name in ("selector", "keyfile"):
            if not values.get(name):
                raise MailError(f"{what}: the signature for {domain} has no {name}")
        if not values["keyfile"].startswith("/"):
            raise MailError(f"{what}: keyfile {values['keyfile']!r} must be an absolute path")
        signer = dkim.Signer(_names.selector(values["selector"], f"{what}: selector"), values["keyfile"])
        keys.setdefault(_names.domain_name(domain, f"{what}: domain"), signer)

    for sender, value in _lines(senders):
        domain = sender.rpartition("@")[2].lstrip(".")
        for piece in _signatures(value):
            signature = _signature(piece, what)
            if signature is not None and "." in signature.get("domain", domain):
                add(signature.get("domain", domain), signature)
    # Without a signature and without a map, dkimproxy makes one of DKIM.
    for piece in settings.get("signature", [] if "sender_map" in settings else ["dkim"]):
        signature = _signature(piece, what)
        if signature is not None:
            for domain in (signature.get("domain") or settings.get("domain", [""])[-1]).split(","):
                if domain.strip():
                    add(domain.strip(), signature)
    return keys
