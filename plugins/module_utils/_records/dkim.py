# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DKIM key records: names, tags and public keys (RFC 6376, RFC 8301, RFC 8463). Pure functions."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim_tags, txt
from ansible_collections.postmaster.mail.plugins.module_utils._records import public_key as keys

# RFC 8301 section 3.2: signers use at least 1024 bits, should use 2048; verifiers read up to 4096.
BITS_LEAST, BITS_GOOD, BITS_MOST = 1024, 2048, 4096

# How a private key may stand in its file: which signer reads which is told in the module dkim_keypair.
FORMATS = {"rsa": ("pkcs8", "pkcs1"), "ed25519": ("seed", "pkcs8")}



def name(selector: str, domain: str) -> str:
    """Return the name of the key record, without a trailing dot (RFC 6376 section 3.6.2.1).

    :raises MailError: a selector or domain that is none, or a name longer than DNS can carry
    """
    owner = f"{_names.selector(selector)}._domainkey.{_names.domain_name(domain)}"
    if len(owner) > 253:
        raise MailError(f"selector {shown(selector)} and domain {shown(domain)} make a name longer than 253 characters (RFC 1035 "
                        f"section 2.3.4)")
    return owner


def selector(beginning: str, fingerprint: str) -> str:
    """Return the selector of a new key: a beginning such as the day, and part of the key's digest.

    So no other key ever has it, on this host or another one: verifiers that have the record of one key in their cache would fail the
    signatures of the other (RFC 6376 section 3.1).

    :param fingerprint: SHA-256 of the public key as SubjectPublicKeyInfo, hexadecimal
    :raises MailError: the beginning leaves no room for it
    """
    return _names.selector(f"{beginning}-{fingerprint[:8]}")


def check_bits(bits: int, option: str = "bits") -> str | None:
    """Return a warning for an RSA key that is short, None for a good one.

    :raises MailError: shorter than 1024 bits or longer than 4096 (RFC 8301 section 3.2)
    """
    if bits < BITS_LEAST:
        raise MailError(f"{option} {bits} is below {BITS_LEAST}: every verifier must refuse such a key (RFC 8301 section 3.2)")
    if bits > BITS_MOST:
        raise MailError(f"{option} {bits} is above {BITS_MOST}: verifiers need not read such a key (RFC 8301 section 3.2)")
    if bits < BITS_GOOD:
        return f"{option} {bits} is below {BITS_GOOD}, which signers should use at least (RFC 8301 section 3.2)"
    return None


def _quoted_printable(text: str, option: str) -> str:
    """Return text as a qp-section (RFC 2045 section 6.7), with ``;`` encoded because it would end the tag."""
    if not isinstance(text, str):
        raise MailError(f"{option} {shown(text)} must be a string, not {type(text).__name__}")
    try:
        octets = text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise MailError(f"{option} {shown(text)} has half of a surrogate pair, which no UTF-8 holds (RFC 3629 section 3)") from exc
    out = "".join(
        chr(octet) if (0x21 <= octet <= 0x7E or octet == 0x20) and octet not in b"=;" else f"={octet:02X}" for octet in octets
    )
    # White space at the ends is not part of a tag's value (RFC 6376 section 3.2).
    head = len(out) - len(out.lstrip(" "))
    out = "=20" * head + out[head:]
    tail = len(out) - len(out.rstrip(" "))
    return out[: len(out) - tail] + "=20" * tail


def public_key_facts(public_key: str, algorithm: str = "rsa", option: str = "public_key") -> tuple[str, int]:
    """Return the public key in canonical base64 and its bits.

    :param public_key: what stands in ``p=``: the SubjectPublicKeyInfo of an RSA key (every implementation's reading; see
        RFC 6376 erratum 3017), or the 32 octets of an Ed25519 key (RFC 8463 section 4)
    :raises MailError: not base64, not such a key, or of the other algorithm
    """
    data = dkim_tags.key_octets(public_key, algorithm, option)
    canonical = base64.b64encode(data).decode("ascii")
    if algorithm == "ed25519":
        return canonical, 256
    actual, bits = keys.facts(data, option)
    if actual != "rsa":
        raise MailError(f"{option} is not an RSA key, but algorithm says rsa (RFC 6376 section 3.6.1)")
    return canonical, bits


def record(public_key: str, algorithm: str = "rsa", flags: Sequence[str] = (), notes: str | None = None) -> str:
    """Return the value of the key record (RFC 6376 section 3.6.1).

    :param public_key: base64, see :func:`public_key_facts`; the empty string revokes the key
    :param flags: ``y`` (testing) and ``s`` (no subdomains in ``i=``)
    :param notes: text for administrators, any Unicode
    :raises MailError: a flag or key that is none, or an RSA key outside of 1024 to 4096 bits
    """
    tags = ["v=DKIM1"]
    dkim_tags.check_algorithm(algorithm)
    tags.append(f"k={algorithm}")
    if isinstance(flags, (str, bytes, Mapping)) or not isinstance(flags, Iterable):
        raise MailError(f"flags {shown(flags)} must be a list of strings")
    known = []
    for flag in flags:
        if flag not in ("y", "s"):
            raise MailError(f"flags {shown(flag)} must be one of: y, s (RFC 6376 section 3.6.1)")
        if flag not in known:
            known.append(flag)
    if known:
        tags.append("t=" + ":".join(known))
    if notes:
        tags.append("n=" + _quoted_printable(notes, "notes"))
    key = ""
    if public_key != "":
        key, bits = public_key_facts(public_key, algorithm)
        if algorithm == "rsa":
            check_bits(bits, "public_key bits")
    tags.append("p=" + key)
    return "; ".join(tags)


def parse(value: str) -> dict:
    """Return what a key record says, as :func:`_records.dkim_tags.parse` does, with the ``bits`` of its key (0 when revoked).

    :raises MailError: readers would discard or ignore this record (RFC 6376 section 3.6.1)
    """
    parsed = dkim_tags.parse(value)
    bits = 0 if parsed["revoked"] else public_key_facts(parsed["public_key"], parsed["algorithm"], "DKIM record: p=")[1]
    return {**parsed, "bits": bits}


class KeyFacts(NamedTuple):
    """What may be told about a private key."""

    algorithm: str
    bits: int
    public_key: str  # as in p=
    fingerprint: str  # SHA-256 of the SubjectPublicKeyInfo, hexadecimal
    format: str  # pkcs8, pkcs1, seed; spki of a public key alone


class Signer(NamedTuple):
    """The key that an earlier signer's configuration signs for a domain with."""

    selector: str
    keyfile: str


def check_wanted(algorithm: str, bits: int | None, form: str | None) -> str | None:
    """Check what a new key shall be; return a warning or None.

    :raises MailError: a combination that no signer or verifier takes
    """
    dkim_tags.check_algorithm(algorithm)
    if form is not None and form not in FORMATS[algorithm]:
        raise MailError(f"format {shown(form)} is not one for {algorithm} keys: use one of: {', '.join(FORMATS[algorithm])}")
    return check_bits(bits, "bits") if algorithm == "rsa" and bits is not None else None


def decide(key: KeyFacts | None, algorithm: str, bits: int, form: str | None, regenerate: str) -> tuple[str, list[str]]:
    """Return what happens to a key file, ``create``, ``keep``, ``replace`` or ``encode``, and warnings about a key that is kept.

    :param key: the key that is there, None if there is none
    :param form: the wanted format; None takes a key as it is
    :param regenerate: ``never``, ``mismatch`` or ``always``
    :raises MailError: a key that is kept and that verifiers refuse (RFC 8301 section 3.2)
    """
    if key is None:
        return "create", []
    if regenerate == "always":
        return "replace", []
    same = key.algorithm == algorithm and (algorithm != "rsa" or key.bits == bits)
    if not same and regenerate == "mismatch":
        return "replace", []
    warnings = []
    if key.algorithm == "rsa":
        short = check_bits(key.bits, "existing key: bits")
        if short:
            warnings.append(short + "; a new key needs a new selector, or regenerate: mismatch")
    if key.algorithm != algorithm:
        warnings.append(f"existing key: algorithm is {key.algorithm}, not {algorithm}; it is kept")
    elif not same and not warnings:
        warnings.append(f"existing key: bits {key.bits}, not {bits}; it is kept")
    if form is not None and form != key.format and key.algorithm == algorithm:
        if regenerate == "mismatch":
            return "encode", warnings
        warnings.append(f"existing key: format is {key.format}, not {form}; it is kept")
    return "keep", warnings


def published(selector: str | None, domain: str, facts: KeyFacts | None, flags: Sequence[str] = (), notes: str | None = None) -> dict:
    """Return the record of a key in all its forms; of a key that does not exist yet (None) just its name and type, or with no
    selector yet just its type."""
    owner = None if selector is None else name(selector, domain)
    if facts is None:
        return {"name": owner, "type": "TXT", "value": None, "strings": [], "zone_line": None}
    value = record(facts.public_key, facts.algorithm, flags, notes)
    return {"name": owner, "type": "TXT", "value": value, "strings": txt.strings(value), "zone_line": txt.zone_line(owner, value)}
