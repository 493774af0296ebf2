# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MTA-STS, TLS-RPT and TLSA records; TLSA against openssl's reading of the same certificates."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import mta_sts, tls_rpt, tlsa


def openssl(*argv, given=None):
    return subprocess.run(["openssl", *map(str, argv)], input=given, capture_output=True, check=True).stdout


@pytest.fixture(scope="module", params=["rsa:2048", "ec", "ed25519"])
def certificate(request, tmp_path_factory):
    """A certificate of openssl's making, as a path."""
    directory = tmp_path_factory.mktemp("certificate")
    options = ["-newkey", request.param] + (["-pkeyopt", "ec_paramgen_curve:P-256"] if request.param == "ec" else [])
    options += ["-subj", "/CN=mail.example.org", "-addext", "subjectAltName=DNS:mail.example.org", "-days", 30]
    openssl("req", "-x509", "-nodes", *options, "-keyout", directory / "key", "-out", directory / "certificate")
    return directory / "certificate"


def test_tlsa_is_what_openssl_says(certificate):
    pem = certificate.read_text()
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
    spki = openssl("pkey", "-pubin", "-outform", "DER", given=public)
    whole = openssl("x509", "-in", certificate, "-outform", "DER")
    assert tlsa.record(pem) == "3 1 1 " + hashlib.sha256(spki).hexdigest()
    assert tlsa.record(public.decode()) == tlsa.record(pem)
    assert tlsa.record(pem, 2, 0, 1) == "2 0 1 " + hashlib.sha256(whole).hexdigest()
    assert tlsa.record(pem, 3, 1, 2) == "3 1 2 " + hashlib.sha512(spki).hexdigest()
    assert tlsa.record(pem, 3, 0, 0) == "3 0 0 " + whole.hex()
    assert tlsa.record("text before\n" + pem + pem[:200]) == tlsa.record(pem)


def test_a_private_key_is_refused_and_not_shown(certificate):
    key = (certificate.parent / "key").read_text()
    with pytest.raises(MailError) as error:
        tlsa.record(key)
    assert str(error.value) == "certificate is a PRIVATE KEY in PEM form; a CERTIFICATE or PUBLIC KEY is needed (RFC 7468)"


REFUSED = [
    (lambda: tlsa.record("x", 1), "usage 1 must be one of: 2, 3 (RFC 7672 section 3.1)"),
    (lambda: tlsa.record("x", 3, 2), "selector 2 must be one of: 0, 1 (RFC 6698 section 2.1)"),
    (lambda: tlsa.record("x", 3, 1, 3), "matching 3 must be one of: 0, 1, 2 (RFC 6698 section 2.1)"),
    (lambda: tlsa.record("x"), "certificate has no PEM block (RFC 7468)"),
    (lambda: tlsa.record("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"),
     "certificate has a PEM block that is not base64 (RFC 7468)"),
    (lambda: tlsa.record("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"),
     "certificate is not an X.509 certificate (RFC 5280 section 4.1)"),
    (lambda: tlsa.name("mail.example.org", 0), "port 0 must be a number from 1 to 65535"),
    (lambda: tlsa.name("mail.example.org", 25, "smtp"), "protocol 'smtp' must be one of: tcp, udp, sctp (RFC 6698 section 3)"),
    (lambda: mta_sts.policy([], "enforce"), "mx must name at least one host when mode is enforce (RFC 8461 section 3.2)"),
    (lambda: mta_sts.policy(["a.example.org"], "on"), "mode 'on' must be one of: enforce, testing, none (RFC 8461 section 3.2)"),
    (lambda: mta_sts.policy(["a.example.org"], max_age=31557601),
     "max_age 31557601 must be a number of seconds from 0 to 31557600 (RFC 8461 section 3.2)"),
    (lambda: mta_sts.policy(["a.*.example.org"]),
     "mx 'a.*.example.org' has a bad label '*': letters, digits and inner hyphens only (RFC 1123 section 2.1)"),
    (lambda: mta_sts.policy(None), "mx None must be a list of strings"),
    (lambda: tls_rpt.build(None), "rua None must be a list of strings"),
    (lambda: mta_sts.policy("a.example.org"), "mx 'a.example.org' must be a list of strings"),
    (lambda: mta_sts.record("mode: none"),
     "policy must be the text of an MTA-STS policy, which begins with 'version: STSv1' (RFC 8461 section 3.2)"),
    (lambda: mta_sts.record(""),
     "policy must be the text of an MTA-STS policy, which begins with 'version: STSv1' (RFC 8461 section 3.2)"),
    (lambda: mta_sts.record("version: STSv1\nmx: é.example\n"),
     "policy has the line 'mx: é.example', which is not ASCII: write A-labels, xn--... (RFC 8461 section 3.2)"),
    (lambda: tls_rpt.build([]), "rua must name at least one address or URI (RFC 8460 section 3)"),
    (lambda: tls_rpt.build(["ftp://example.org"]),
     "rua 'ftp://example.org' is not an address of the form user@domain (RFC 5321 section 4.1.2)"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refusals(call, text):
    with pytest.raises(MailError) as error:
        call()
    assert str(error.value) == text


def test_names():
    assert tlsa.name("Mail.Example.org") == "_25._tcp.mail.example.org"
    assert tls_rpt.name("example.org") == "_smtp._tls.example.org"
    assert mta_sts.name("example.org") == "_mta-sts.example.org"


def test_tls_rpt():
    assert tls_rpt.build(["a@example.org", "https://example.net/r"]) == "v=TLSRPTv1; rua=mailto:a@example.org,https://example.net/r"


def test_the_policy_and_its_id():
    policy = mta_sts.policy(["Mail.example.org", "*.example.net", "mail.example.org"], "enforce", 86400)
    assert policy == "version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.example.net\r\nmax_age: 86400\r\n"
    record = mta_sts.record(policy)
    assert record.startswith("v=STSv1; id=") and record.endswith(";") and record[12:-1].isalnum() and len(record[12:-1]) <= 32
    assert mta_sts.record(policy.replace("\r\n", "\n")) == record
    assert mta_sts.record(policy.replace("86400", "86401")) != record
    assert mta_sts.policy([], "none") == "version: STSv1\r\nmode: none\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(("host", "found"), [
    ("mail.example.org", True), ("MAIL.example.org.", True), ("a.example.net", True), ("example.net", False), ("a.b.example.net", False),
    ("x.example.org", False),
])
def test_which_hosts_a_policy_names(host, found):
    assert mta_sts.matches(host, ["mail.example.org", "*.example.net"]) == found
