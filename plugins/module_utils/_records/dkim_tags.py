# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a DKIM key record says (RFC 6376 section 3.6.1), without a look into its key, which needs a library. Pure functions."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._records.tags import tag_list

ALGORITHMS = ("rsa", "ed25519")

_FLAG = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\Z")


def _unquoted_printable(text: str) -> str:
    raw = re.sub(r"=([0-9A-Fa-f]{2})", lambda match: chr(int(match.group(1), 16)), text)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def check_algorithm(algorithm: str) -> None:
    """Refuse what is not the name of an algorithm as ``k=`` has it.

    :raises MailError: another one than those of RFC 6376 and RFC 8463
    """
    if algorithm not in ALGORITHMS:
        raise MailError(f"algorithm {shown(algorithm)} must be one of: {', '.join(ALGORITHMS)} (RFC 6376 section 3.3, RFC 8463 section 3)")


def key_octets(public_key: str, algorithm: str, option: str) -> bytes:
    """Return what stands in ``p=``: for ``rsa`` whatever is base64, for ``ed25519`` the 32 octets of a key (RFC 8463 section 4).

    :param option: how the errors begin
    :raises MailError: not base64, or not of that length
    """
    check_algorithm(algorithm)
    if not isinstance(public_key, str):
        raise MailError(f"{option} {shown(public_key)} must be a string, not {type(public_key).__name__}")
    try:
        octets = base64.b64decode("".join(public_key.split()), validate=True)
    except (binascii.Error, ValueError):
        raise MailError(f"{option} is not base64 (RFC 6376 section 3.6.1)") from None
    if algorithm == "ed25519" and len(octets) != 32:
        raise MailError(f"{option} has {len(octets)} octets; an Ed25519 key has 32 and no ASN.1 around it (RFC 8463 section 4)")
    return octets


def parse(value: str) -> dict[str, Any]:
    """Return what a key record says, in the words of this collection's options.

    Keys: ``algorithm``, ``public_key`` (canonical base64), ``revoked``, ``flags``, ``notes``, ``hashes``, ``services``.
    Unknown tags and flags are ignored, as readers must.

    :raises MailError: readers would discard or ignore this record (RFC 6376 section 3.6.1)
    """
    what = "DKIM record"
    tags = tag_list(value, what)
    if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != "DKIM1"):
        raise MailError(f"{what} must begin with v=DKIM1 when it has v= at all (RFC 6376 section 3.6.1)")
    if "p" not in tags:
        raise MailError(f"{what} has no p= (RFC 6376 section 3.6.1)")
    algorithm = tags.get("k", "rsa")
    if algorithm not in ALGORITHMS:
        raise MailError(f"{what} has k={algorithm}, which readers ignore (RFC 6376 section 3.6.1)")
    key = key_octets(tags["p"], algorithm, f"{what}: p=") if tags["p"] else b""

    def split(tag: str, default: str) -> list[str]:
        return [part.strip() for part in tags.get(tag, default).split(":") if _FLAG.match(part.strip()) or part.strip() == "*"]

    return {
        "algorithm": algorithm,
        "public_key": base64.b64encode(key).decode("ascii"),
        "revoked": not tags["p"],
        "flags": split("t", ""),
        "notes": _unquoted_printable(tags.get("n", "")),
        "hashes": split("h", ""),
        "services": split("s", "*"),
    }
