# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few parts of DER (X.690) and PEM (RFC 7468) that DKIM and TLSA records are made of. Pure functions."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

INTEGER, BIT_STRING, OID, SEQUENCE, VERSION = 0x02, 0x03, 0x06, 0x30, 0xA0
OID_RSA = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1, RFC 8017
OID_RSA_PSS = bytes.fromhex("2a864886f70d01010a")  # 1.2.840.113549.1.1.10, RFC 4055
OID_ED25519 = bytes.fromhex("2b6570")  # 1.3.101.112, RFC 8410

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)-----END \1-----", re.DOTALL)


class Node(NamedTuple):
    """One value of DER: its tag, its content, and itself as encoded."""

    tag: int
    content: bytes
    encoded: bytes


def nodes(data: bytes, what: str) -> list[Node]:
    """Return the values that stand one after the other in ``data``.

    :raises MailError: ``data`` is not DER; the text begins with ``what``
    """
    found, at = [], 0
    while at < len(data):
        start = at
        if at + 2 > len(data):
            raise MailError(f"{what} is cut short")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            width = length & 0x7F
            if width not in (1, 2, 3, 4) or at + width > len(data):
                raise MailError(f"{what} is not DER")
            length = int.from_bytes(data[at : at + width], "big")
            at += width
        if at + length > len(data):
            raise MailError(f"{what} is cut short")
        found.append(Node(tag, data[at : at + length], data[start : at + length]))
        at += length
    return found


def inside(data: bytes, what: str) -> list[Node]:
    """Return the members of the one SEQUENCE that ``data`` is."""
    outer = nodes(data, what)
    if len(outer) != 1 or outer[0].tag != SEQUENCE:
        raise MailError(f"{what} is not one ASN.1 SEQUENCE")
    return nodes(outer[0].content, what)


def public_key_facts(spki: bytes, what: str) -> tuple[str, int, bytes]:
    """Return algorithm (``rsa``, ``ed25519``), bits and the key itself of a SubjectPublicKeyInfo (RFC 5280 section 4.1)."""
    members = inside(spki, what)
    if len(members) != 2 or members[0].tag != SEQUENCE or members[1].tag != BIT_STRING or members[1].content[:1] != b"\0":
        raise MailError(f"{what} is not a SubjectPublicKeyInfo (RFC 5280 section 4.1)")
    algorithm = nodes(members[0].content, what)
    key = members[1].content[1:]
    if algorithm and algorithm[0].tag == OID and algorithm[0].content == OID_RSA:
        return "rsa", rsa_bits(key, what), key
    if algorithm and algorithm[0].tag == OID and algorithm[0].content == OID_ED25519 and len(key) == 32:
        return "ed25519", 256, key
    if algorithm and algorithm[0].tag == OID and algorithm[0].content == OID_RSA_PSS:
        raise MailError(f"{what} is an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2)")
    raise MailError(f"{what} is neither an RSA nor an Ed25519 public key")


def private_key_algorithm(pkcs8: bytes, what: str) -> bytes:
    """Return the object identifier of the algorithm that a PrivateKeyInfo says its key is for (RFC 5208 section 5)."""
    members = inside(pkcs8, what)
    algorithm = nodes(members[1].content, what) if len(members) > 2 and members[1].tag == SEQUENCE else []
    if not algorithm or algorithm[0].tag != OID:
        raise MailError(f"{what} is not a PrivateKeyInfo (RFC 5208 section 5)")
    return algorithm[0].content


def rsa_bits(key: bytes, what: str) -> int:
    """Return the length of the modulus of an RSAPublicKey (RFC 8017 appendix A.1.1)."""
    members = inside(key, what)
    if len(members) != 2 or any(member.tag != INTEGER for member in members):
        raise MailError(f"{what} is not an RSAPublicKey (RFC 8017 appendix A.1.1)")
    return int.from_bytes(members[0].content, "big").bit_length()


def certificate_public_key(certificate: bytes, what: str) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate, as encoded there (RFC 5280 section 4.1)."""
    outer = inside(certificate, what)
    if len(outer) != 3 or outer[0].tag != SEQUENCE:
        raise MailError(f"{what} is not an X.509 certificate (RFC 5280 section 4.1)")
    members = nodes(outer[0].content, what)
    # version is optional; then serial, signature, issuer, validity, subject and the key
    position = 6 if members and members[0].tag == VERSION else 5
    if len(members) <= position or members[position].tag != SEQUENCE:
        raise MailError(f"{what} is not an X.509 certificate (RFC 5280 section 4.1)")
    spki = members[position].encoded
    if len(inside(spki, what)) != 2:
        raise MailError(f"{what} is not an X.509 certificate (RFC 5280 section 4.1)")
    return spki


def pem(text: str, what: str) -> tuple[str, bytes]:
    """Return label and content of the first PEM block of a text (RFC 7468).

    :raises MailError: no block, or one that is not base64; the block is not quoted, because it may be a private key
    """
    match = _PEM.search(text)
    if not match:
        raise MailError(f"{what} has no PEM block (RFC 7468)")
    try:
        return match.group(1), base64.b64decode("".join(match.group(2).split()), validate=True)
    except (binascii.Error, ValueError):
        raise MailError(f"{what} has a PEM block that is not base64 (RFC 7468)") from None
