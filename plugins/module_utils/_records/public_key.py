# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys and certificates as DKIM and TLSA records need them: PEM (RFC 7468) and DER (X.690). Pure functions.

The library is imported when the first key is read: most who import this read none.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)-----END \1-----", re.DOTALL)
_OID_RSA = bytes.fromhex("06092a864886f70d010101")  # 1.2.840.113549.1.1.1, RFC 8017
_OID_RSA_PSS = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10, RFC 4055
#: Octets in which the algorithm of a key stands, and no octet of an RSA key's numbers: before them are, in the shortest form, 24 octets
#: of a SubjectPublicKeyInfo and 32 of a PrivateKeyInfo.
_SPKI_HEAD, _PKCS8_HEAD = 24, 32


def _library() -> Any:
    """Return the modules of cryptography.

    :raises MailError: it is not installed
    """
    try:
        from cryptography import exceptions, x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    except ImportError as exc:
        from ansible.module_utils.basic import missing_required_lib

        raise MailError(missing_required_lib("cryptography >= 38")) from exc
    return exceptions, x509, serialization, ed25519, rsa


def _encoded(key: Any) -> bytes:
    _exceptions, _x509, serialization, _ed25519, _rsa = _library()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _cut_short(data: bytes) -> bool:
    """Whether a value of DER ends before its length says (X.690 section 8.1.3)."""
    if len(data) < 2 or data[1] < 0x80:
        return len(data) < 2 or len(data) < 2 + data[1]
    width = data[1] & 0x7F
    return len(data) < 2 + width + int.from_bytes(data[2 : 2 + width], "big")


def _wrong(data: bytes, what: str, form: str) -> str:
    return f"{what} is cut short" if _cut_short(data) else f"{what} is not {form} (RFC 5280 section 4.1)"


def facts(spki: bytes, what: str) -> tuple[str, int]:
    """Return algorithm (``rsa``, ``ed25519``) and bits of a SubjectPublicKeyInfo in DER (RFC 5280 section 4.1).

    :param what: how the errors begin
    :raises MailError: something else, or a key that DKIM cannot use
    """
    exceptions, _x509, serialization, ed25519, rsa = _library()
    try:
        key = serialization.load_der_public_key(spki)
    except exceptions.UnsupportedAlgorithm:
        key = None
    except (ValueError, TypeError):
        raise MailError(_wrong(spki, what, "a SubjectPublicKeyInfo")) from None
    if isinstance(key, rsa.RSAPublicKey) and _OID_RSA_PSS in spki[:_SPKI_HEAD]:
        # The library takes it as any RSA key.
        raise MailError(f"{what} is an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2)")
    if not isinstance(key, (rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        raise MailError(f"{what} is neither an RSA nor an Ed25519 public key")
    if _encoded(key) != spki:  # the library also takes an RSAPublicKey alone, and some versions what follows the key
        raise MailError(f"{what} is not a SubjectPublicKeyInfo (RFC 5280 section 4.1)")
    return ("rsa", key.key_size) if isinstance(key, rsa.RSAPublicKey) else ("ed25519", 256)


def is_plain_rsa(pkcs8: bytes) -> bool:
    """Whether a PrivateKeyInfo in DER that the library takes for an RSA key is for all signatures of RSA, not for RSASSA-PSS alone."""
    return _OID_RSA in pkcs8[:_PKCS8_HEAD]


def check(spki: bytes, what: str) -> None:
    """Check that a public key of any algorithm is one SubjectPublicKeyInfo in DER (RFC 5280 section 4.1).

    :raises MailError: it is not, or of an algorithm that the library does not know
    """
    exceptions, _x509, serialization, _ed25519, _rsa = _library()
    try:
        same = _encoded(serialization.load_der_public_key(spki)) == spki
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        same = False
    if not same:
        raise MailError(_wrong(spki, what, "a SubjectPublicKeyInfo"))


def check_certificate(certificate: bytes, what: str) -> Any:
    """Return the certificate that is in DER, as the library has it.

    :raises MailError: it is none
    """
    exceptions, x509, _serialization, _ed25519, _rsa = _library()
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm, x509.InvalidVersion):
        raise MailError(_wrong(certificate, what, "an X.509 certificate")) from None


def of_certificate(certificate: bytes, what: str) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate in DER, octet by octet as it stands there (RFC 5280 section 4.1).

    :raises MailError: no certificate, or a key that the library cannot write as it is written there, such as one for RSASSA-PSS alone
    """
    loaded = check_certificate(certificate, what)
    exceptions, _x509, _serialization, _ed25519, _rsa = _library()
    try:
        spki = _encoded(loaded.public_key())
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        spki = None
    if spki is None or spki not in loaded.tbs_certificate_bytes:
        raise MailError(f"{what} has a public key of an algorithm or form that the library cryptography cannot write as it is there")
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
