# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DKIM records: what is written, what dkimpy reads of it, and what is refused."""

from __future__ import annotations

import base64

import dkim
import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim as dkim_record

# The Ed25519 key of RFC 8463 appendix A.2 and the RSA key, of 1024 bits, beside it.
ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
RSA1024 = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/"
    "e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)
RSA512 = "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAMDRgLgXV3Hh8wcGRB3rsMYkmgy3gtnYzbeSXYqDgFVMIKR+0LW5LCkP7pSfDYYKBDmZ5Ks9lwqxTiUo3q/QWN8CAwEAAQ=="

RECORDS = [
    # arguments, the record
    ((ED25519, "ed25519"), f"v=DKIM1; k=ed25519; p={ED25519}"),
    ((RSA1024,), f"v=DKIM1; k=rsa; p={RSA1024}"),
    ((RSA1024[:64] + "\n  " + RSA1024[64:],), f"v=DKIM1; k=rsa; p={RSA1024}"),
    (("",), "v=DKIM1; k=rsa; p="),
    ((RSA1024, "rsa", ["y", "s", "y"]), f"v=DKIM1; k=rsa; t=y:s; p={RSA1024}"),
    ((ED25519, "ed25519", (), "ask me; 1=1"), f"v=DKIM1; k=ed25519; n=ask me=3B 1=3D1; p={ED25519}"),
    ((ED25519, "ed25519", (), " é "), f"v=DKIM1; k=ed25519; n==20=C3=A9=20; p={ED25519}"),
]


@pytest.mark.parametrize(("arguments", "value"), RECORDS)
def test_record_and_back(arguments, value):
    assert dkim_record.record(*arguments) == value
    key, algorithm, flags, notes = (*arguments, *("", "rsa", (), "")[len(arguments) :])
    found = dkim_record.parse(value)
    assert found["public_key"] == "".join(key.split()) and found["algorithm"] == algorithm and found["revoked"] == (not key)
    assert found["flags"] == list(dict.fromkeys(flags)) and found["notes"] == notes
    assert found["bits"] == (0 if not key else 256 if algorithm == "ed25519" else 1024)


@pytest.mark.parametrize(("arguments", "value"), [row for row in RECORDS if row[0][0]])
def test_dkimpy_reads_the_key(arguments, value):
    algorithm = arguments[1] if len(arguments) > 1 else "rsa"
    _key, bits, found, _seqtlsrpt = dkim.evaluate_pk(b"x", value.encode())
    assert (bits, found) == (256 if algorithm == "ed25519" else 1024, algorithm.encode())


PARSED = [
    # value, what is told beside the key
    (f"p={RSA1024}", {"algorithm": "rsa", "flags": [], "services": ["*"], "hashes": []}),
    (f"v=DKIM1;k=rsa;h=sha256:sha1;s=email:tlsrpt;t=s : y;p={RSA1024};", {
        "algorithm": "rsa", "flags": ["s", "y"], "services": ["email", "tlsrpt"], "hashes": ["sha256", "sha1"],
    }),
    (f" v = DKIM1 ; x_new = 7 ; p = {RSA1024} ", {"algorithm": "rsa"}),
]


@pytest.mark.parametrize(("value", "told"), PARSED)
def test_parse(value, told):
    found = dkim_record.parse(value)
    assert {name: found[name] for name in told} == told and found["bits"] == 1024


BROKEN = [
    ("k=rsa; v=DKIM1; p=", "DKIM record must begin with v=DKIM1 when it has v= at all (RFC 6376 section 3.6.1)"),
    ("v=DKIM2; p=", "DKIM record must begin with v=DKIM1 when it has v= at all (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; k=rsa", "DKIM record has no p= (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; p=; p=", "DKIM record has the tag 'p' twice, which makes all of it invalid (RFC 6376 section 3.2)"),
    ("v=DKIM1; hello; p=", "DKIM record has 'hello', which is not a tag=value (RFC 6376 section 3.2)"),
    ("v=DKIM1; k=dsa; p=", "DKIM record has k=dsa, which readers ignore (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; p=%%%", "DKIM record: p= is not base64 (RFC 6376 section 3.6.1)"),
    ("v=DKIM1; p=AAAA", "DKIM record: p= is not a SubjectPublicKeyInfo (RFC 5280 section 4.1)"),
    (f"v=DKIM1; p={ED25519}", "DKIM record: p= is cut short"),
    (f"v=DKIM1; p={RSA1024[:100]}", "DKIM record: p= is cut short"),
    (f"v=DKIM1; k=ed25519; p={RSA1024}",
     "DKIM record: p= has 162 octets; an Ed25519 key has 32 and no ASN.1 around it (RFC 8463 section 4)"),
]


@pytest.mark.parametrize(("value", "text"), BROKEN)
def test_parse_errors(value, text):
    with pytest.raises(MailError) as error:
        dkim_record.parse(value)
    assert str(error.value) == text


REFUSED = [
    (lambda: dkim_record.record(RSA1024, "dsa"), "algorithm 'dsa' must be one of: rsa, ed25519 (RFC 6376 section 3.3, RFC 8463 section 3)"),
    (lambda: dkim_record.record(RSA1024, "rsa", ["z"]), "flags 'z' must be one of: y, s (RFC 6376 section 3.6.1)"),
    (lambda: dkim_record.record(RSA1024, "rsa", None), "flags None must be a list of strings"),
    (lambda: dkim_record.record(RSA1024, "rsa", "y"), "flags 'y' must be a list of strings"),
    (lambda: dkim_record.record(RSA512), "public_key bits 512 is below 1024: every verifier must refuse such a key (RFC 8301 section 3.2)"),
    (lambda: dkim_record.record(base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(32)).decode()),
     "public_key is not an RSA key, but algorithm says rsa (RFC 6376 section 3.6.1)"),
    (lambda: dkim_record.name("x" * 63 + "." + "y" * 63, "z" * 63 + "." + "w" * 60 + ".org"),
     f"selector '{'x' * 63}.{'y' * 63}' and domain '{'z' * 63}.{'w' * 60}.org' make a name longer"
     " than 253 characters (RFC 1035 section 2.3.4)"),
    (lambda: dkim_record.check_wanted("rsa", 1023, None),
     "bits 1023 is below 1024: every verifier must refuse such a key (RFC 8301 section 3.2)"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refusals(call, text):
    with pytest.raises(MailError) as error:
        call()
    assert str(error.value) == text


@pytest.mark.parametrize(("bits", "warned"), [(1024, True), (2047, True), (2048, False), (4096, False)])
def test_short_keys_are_warned_of(bits, warned):
    assert bool(dkim_record.check_bits(bits)) == warned


def test_names():
    assert dkim_record.name("S1.2026", "Example.ORG.") == "s1.2026._domainkey.example.org"


RSA = dkim_record.KeyFacts("rsa", 2048, "", "", "pkcs8")
DECIDED = [
    # the key found, algorithm, bits, format, regenerate, what happens
    (None, "rsa", 2048, None, "never", "create"),
    (RSA, "rsa", 2048, None, "never", "keep"),
    (RSA, "rsa", 4096, None, "never", "keep"),
    (RSA, "rsa", 4096, None, "mismatch", "replace"),
    (RSA, "ed25519", 2048, None, "mismatch", "replace"),
    (RSA, "ed25519", 2048, "seed", "never", "keep"),
    (RSA, "rsa", 2048, "pkcs1", "never", "keep"),
    (RSA, "rsa", 2048, "pkcs1", "mismatch", "encode"),
    (RSA, "rsa", 2048, "pkcs8", "mismatch", "keep"),
    (RSA, "rsa", 2048, None, "always", "replace"),
    (RSA._replace(algorithm="ed25519", bits=256), "ed25519", 2048, None, "mismatch", "keep"),
    (RSA._replace(bits=512), "rsa", 2048, None, "mismatch", "replace"),
]


@pytest.mark.parametrize(("found", "algorithm", "bits", "form", "regenerate", "action"), DECIDED)
def test_decide(found, algorithm, bits, form, regenerate, action):
    assert dkim_record.decide(found, algorithm, bits, form, regenerate)[0] == action
