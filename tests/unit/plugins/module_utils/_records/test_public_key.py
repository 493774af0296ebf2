# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What openssl writes is read as it is; anything else is refused, whatever the library would take it for."""

from __future__ import annotations

import base64
import builtins
import hashlib
import random
import subprocess

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim, dkim_tags, public_key, tlsa

KINDS = {
    "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"),
    "pss": ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:1024"),
    "ed25519": ("-algorithm", "ED25519"),
    "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
}


def openssl(*args: str, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def keys() -> dict[str, bytes]:
    """Private keys in PEM."""
    return {kind: openssl("genpkey", *args) for kind, args in KINDS.items()}


def spki(key: bytes) -> bytes:
    return openssl("pkey", "-pubout", "-outform", "DER", data=key)


def refused(function, *args) -> str:
    with pytest.raises(MailError) as error:
        function(*args)
    return str(error.value)


def test_facts(keys):
    assert public_key.facts(spki(keys["rsa"]), "x") == ("rsa", 1024)
    assert public_key.facts(spki(keys["ed25519"]), "x") == ("ed25519", 256)
    assert refused(public_key.facts, spki(keys["ec"]), "x") == "x is neither an RSA nor an Ed25519 public key"
    why = "x is an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2)"
    assert refused(public_key.facts, spki(keys["pss"]), "x") == why


def test_a_key_without_what_belongs_around_it(keys):
    whole = spki(keys["rsa"])
    alone = openssl("rsa", "-RSAPublicKey_out", "-outform", "DER", data=keys["rsa"])
    for octets in (alone, whole + b"\0", b"", b"\x30\0"):
        text = "x is cut short" if not octets else "x is not a SubjectPublicKeyInfo (RFC 5280 section 4.1)"
        assert refused(public_key.facts, octets, "x") == text
    for end in range(1, len(whole)):
        assert refused(public_key.facts, whole[:end], "x") == "x is cut short"


def test_private_keys(keys):
    for kind, plain in (("rsa", True), ("pss", False)):
        assert public_key.is_plain_rsa(openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", data=keys[kind])) is plain


@pytest.fixture(scope="module")
def certificates(keys, tmp_path_factory) -> dict[str, bytes]:
    """Certificates in DER."""
    path = tmp_path_factory.mktemp("keys") / "key"
    made = {}
    for kind, key in keys.items():
        path.write_bytes(key)
        made[kind] = openssl("req", "-x509", "-new", "-key", str(path), "-subj", "/CN=mail.example.org", "-days", "2", "-outform", "DER")
    return made


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "ec"])
def test_the_key_of_a_certificate(keys, certificates, kind):
    assert public_key.of_certificate(certificates[kind], "x") == spki(keys[kind])
    public_key.check(spki(keys[kind]), "x")


def test_a_certificate_whose_key_the_library_writes_in_another_way(certificates):
    """Never another key's digest: the whole certificate can be published instead."""
    pem = openssl("x509", "-inform", "DER", data=certificates["pss"]).decode()
    text = "certificate has a public key of an algorithm or form that the library cryptography cannot write as it is there"
    assert refused(tlsa.record, pem) == text
    assert tlsa.record(pem, 3, 0, 1) == f"3 0 1 {hashlib.sha256(certificates['pss']).hexdigest()}"


def test_damage_is_always_an_error_of_ours(keys, certificates):
    chance = random.Random(1)
    for function, whole in ((public_key.facts, spki(keys["rsa"])), (public_key.of_certificate, certificates["ec"])):
        for _turn in range(2000):
            octets = bytearray(whole)
            for _count in range(chance.randrange(1, 4)):
                octets[chance.randrange(len(octets))] = chance.randrange(256)
            try:
                found = function(bytes(octets), "x")
            except MailError as exc:
                assert str(exc).startswith("x ")
            else:
                assert found[0] == "rsa" if function is public_key.facts else found in bytes(octets)


def test_without_the_library(monkeypatch, keys):
    """Only what looks into an RSA key needs it."""
    load = builtins.__import__

    def without(name, *args, **named):
        if name.partition(".")[0] == "cryptography":
            raise ImportError(name)
        return load(name, *args, **named)

    octets = spki(keys["rsa"])
    record = dkim.record(base64.b64encode(octets).decode())
    monkeypatch.setattr(builtins, "__import__", without)
    assert "cryptography >= 38" in refused(public_key.facts, octets, "x")
    assert "cryptography >= 38" in refused(dkim.parse, record)
    assert dkim_tags.parse(record)["public_key"] == record.partition("p=")[2]
