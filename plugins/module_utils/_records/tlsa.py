# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TLSA records for SMTP (RFC 6698, RFC 7671, RFC 7672). Pure functions."""

from __future__ import annotations

import hashlib

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._records import public_key


def name(host: str, port: int = 25, protocol: str = "tcp") -> str:
    """Return the name of the record, without a trailing dot (RFC 6698 section 3)."""
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise MailError(f"port {shown(port)} must be a number from 1 to 65535")
    if protocol not in ("tcp", "udp", "sctp"):
        raise MailError(f"protocol {shown(protocol)} must be one of: tcp, udp, sctp (RFC 6698 section 3)")
    return f"_{port}._{protocol}.{_names.domain_name(host, 'host')}"


def record(pem: str, usage: int = 3, selector: int = 1, matching: int = 1) -> str:
    """Return the data of a TLSA record: ``3 1 1 <hex>`` for the public key of a certificate (RFC 7672 section 3.1.1).

    :param pem: a certificate, or a public key (then ``selector`` must be 1); of a chain the first certificate counts
    :param usage: 3 (DANE-EE) or 2 (DANE-TA); 0 and 1 are not usable for SMTP (RFC 7672 section 3.1.3)
    :param selector: 1 the public key, 0 the whole certificate
    :param matching: 1 SHA-256, 2 SHA-512, 0 the data itself
    :raises MailError: a number that is none, or text that is neither certificate nor public key
    """
    for option, value, allowed in (("usage", usage, (2, 3)), ("selector", selector, (0, 1)), ("matching", matching, (0, 1, 2))):
        if isinstance(value, bool) or value not in allowed:
            section = "RFC 7672 section 3.1" if option == "usage" else "RFC 6698 section 2.1"
            raise MailError(f"{option} {shown(value)} must be one of: {', '.join(map(str, allowed))} ({section})")
    if not isinstance(pem, str):
        raise MailError(f"certificate must be a string in PEM form, not {type(pem).__name__}")
    label, data = public_key.pem(pem, "certificate")
    if label == "PUBLIC KEY":
        if selector != 1:
            raise MailError(f"selector {selector} needs the whole certificate, and this is a public key alone (RFC 6698 section 2.1.2)")
        public_key.check(data, "public key")
    elif label in ("CERTIFICATE", "TRUSTED CERTIFICATE"):
        if selector == 1:
            data = public_key.of_certificate(data, "certificate")
        else:
            public_key.check_certificate(data, "certificate")
    else:
        raise MailError(f"certificate is a {label} in PEM form; a CERTIFICATE or PUBLIC KEY is needed (RFC 7468)")
    if matching == 1:
        data = hashlib.sha256(data).digest()
    elif matching == 2:
        data = hashlib.sha512(data).digest()
    return f"{usage} {selector} {matching} {data.hex()}"
