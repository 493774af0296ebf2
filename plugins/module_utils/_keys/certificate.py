# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates and their keys, as PEM text: what a pair is good for, and how a stand-in is made."""

from __future__ import annotations

import datetime
import re
import traceback
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    CRYPTOGRAPHY_ERROR = None
except ImportError:
    CRYPTOGRAPHY_ERROR = traceback.format_exc()

#: Marks what this collection made itself, so that nobody's own self-signed certificate is ever remade.
_STAND_IN = "postmaster.mail stand-in"
_DAY = datetime.timedelta(days=1)
_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----.*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)


def _not_after(certificate: Any) -> datetime.datetime:
    """The end of validity in UTC, without a zone: cryptography 38 has no other form, 50 warns of this one."""
    aware = getattr(certificate, "not_valid_after_utc", None)
    return aware.replace(tzinfo=None) if aware is not None else certificate.not_valid_after


def load_key(text: bytes, where: str) -> Any:
    """Return the private key in PEM.

    :raises MailError: not a key, or an encrypted one, which no service could read at its start
    """
    try:
        return serialization.load_pem_private_key(text, password=None)
    except TypeError as exc:
        raise MailError(f"{where} holds an encrypted private key; services cannot ask for its passphrase") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise MailError(f"{where} holds no private key in PEM") from exc


def load_leaf(text: bytes, where: str) -> Any:
    """Return the first certificate of a chain in PEM.

    :raises MailError: there is none
    """
    try:
        return x509.load_pem_x509_certificate(text)
    except ValueError as exc:
        raise MailError(f"{where} holds no certificate in PEM") from exc


def only_key(text: bytes, where: str) -> bytes:
    """Return the private key of a PEM file that may hold certificates as well, and nothing else of it.

    :raises MailError: there are several private keys
    """
    keys = [match.group() for match in _PRIVATE_KEY.finditer(text)]
    if len(keys) > 1:
        raise MailError(f"{where} holds {len(keys)} private keys, not one")
    return keys[0] + b"\n" if keys else text


def only_certificates(text: bytes, where: str) -> bytes:
    """Return the certificates of a PEM file that may hold a private key as well, written anew: everybody may read a chain.

    :raises MailError: there is none, or one that cannot be read
    """
    certificates = [load_leaf(match.group(), where) for match in _CERTIFICATE.finditer(text)]
    if not certificates:
        raise MailError(f"{where} holds no certificate in PEM")
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def gap(text: bytes, where: str) -> str:
    """Return what clients would miss in a chain, in words; empty if it is whole up to what they have themselves.

    A server sends each certificate's issuer behind it, without the root (RFC 8446 section 4.4.2). Whether a single certificate was issued
    by a root is not known here.
    """
    chain = [load_leaf(match.group(), where) for match in _CERTIFICATE.finditer(text)]
    for number, (certificate, following) in enumerate(zip(chain, chain[1:]), 2):
        if certificate.issuer != following.subject:
            return (
                f"{where}: certificate {number} is that of {following.subject.rfc4514_string()!r}, and the one before it was issued by "
                f"{certificate.issuer.rfc4514_string()!r} (RFC 8446 section 4.4.2)"
            )
    if len(chain) == 1 and chain[0].issuer != chain[0].subject:
        return (
            f"{where} has no intermediate certificate: the one in it was issued by {chain[0].issuer.rfc4514_string()!r}, and unless that "
            "is a root which everybody has, other servers and mail programs do not trust it; append the certificates that came with it"
        )
    return ""


def names(certificate: Any) -> list[str]:
    """Return the DNS names of a certificate (RFC 5280 section 4.2.1.6), lower case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)]


def covers(certificate: Any, name: str) -> bool:
    """Whether a certificate names a host; a wildcard stands for exactly one leftmost label (RFC 9525 section 6.3)."""
    return any(covered in (name, "*." + name.partition(".")[2]) for covered in names(certificate))


def matches(key: Any, certificate: Any) -> bool:
    """Whether the certificate is that of the key."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def is_stand_in(certificate: Any) -> bool:
    """Whether this collection made the certificate itself."""
    organizations = certificate.issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return any(attribute.value == _STAND_IN for attribute in organizations)


def new_key() -> Any:
    """Return a new RSA key of 2048 bits: every mail server that speaks TLS can check it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_text(key: Any) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def stand_in(key: Any, hosts: list[str], days: int = 3650) -> bytes:
    """Return a self-signed certificate in PEM, for services to start with until a real one exists."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64]), x509.NameAttribute(NameOID.ORGANIZATION_NAME, _STAND_IN)]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _DAY)
        .not_valid_after(_now() + days * _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def facts(certificate: Any, hosts: list[str]) -> dict[str, Any]:
    """What a run wants to know of a certificate: names, stand-in or not, end, fingerprint."""
    end = _not_after(certificate)
    return {
        "names": names(certificate),
        "missing_names": [name for name in hosts if not covers(certificate, name)],
        "stand_in": is_stand_in(certificate),
        "not_after": end.isoformat() + "Z",
        "days_left": (end - _now()).days,
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def check_pair(key: Any, certificate: Any, hosts: list[str], where: str) -> None:
    """Refuse a pair that a service could not use.

    :raises MailError: key and certificate do not belong together, the certificate has ended, or a name is missing
    """
    if not matches(key, certificate):
        raise MailError(f"{where}: the private key is not that of the certificate")
    if _not_after(certificate) <= _now():
        raise MailError(f"{where}: the certificate ended at {_not_after(certificate).isoformat()}Z")
    missing = [name for name in hosts if not covers(certificate, name)]
    if missing:
        named = ", ".join(names(certificate)) or "nothing"
        raise MailError(f"{where}: the certificate does not name {', '.join(missing)}; it names {named}")


def _renewal(text: str) -> dict[str, str]:
    """Return certbot's ``[renewalparams]``: plain ``name = value`` lines."""
    params, section = {}, ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "renewalparams" and "=" in line and not line.startswith("#"):
            name, _equals, value = line.partition("=")
            params[name.strip()] = value.strip()
    return params


def lineage(renewal: str | None, issued: bytes | None, chain: bytes | None, authenticator: str, server: str | None) -> str:
    """Return how a certificate that certbot keeps stands to the one in place.

    ``none``: there is none. ``other``: it was issued by another authority, or is renewed by another challenge, or not at all;
    certbot takes that over only when it issues anew. ``waiting``: it is not the one in place. ``in place``: it is.
    How exactly port 80 is answered is left as it was, unless a web server's root is asked for.

    :param renewal: text of certbot's renewal configuration
    :param issued: the chain that certbot keeps; ``chain`` is the one in place
    """
    if renewal is None or issued is None:
        return "none"
    params = _renewal(renewal)
    current = params.get("authenticator", "")
    exact = authenticator == "webroot" or authenticator.startswith("dns-")
    same = current == authenticator if exact else not current.startswith("dns-")
    if not same or (server and params.get("server") != server) or params.get("autorenew") == "False":
        return "other"
    return "in place" if issued == chain else "waiting"
