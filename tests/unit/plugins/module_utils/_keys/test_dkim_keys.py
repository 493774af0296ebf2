# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key files are found without a look at all others, and damage in one is found without a test for primes."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkim

FILES = [
    "Example.ORG.s1.key", "example.org.S2.key", "example.org.sub.s1.key", "example.org.s1.key.bak", "example.orgs.s1.key",
    ".example.org.s1.key",
    "s1.example.org", "s2.EXAMPLE.org", "s1.sub.example.org", "s1.myexample.org", ".s1.example.org",
    "dkim-s1-example.org.pem", "DKIM-s2-example.org.pem", "dkim-s3-Example.org.pem", "[s1]example.org-s1", "[s1]example.org-s2",
    "example.org/s1.private", "EXAMPLE.ORG/s2.private", "example.org/.s3.private", "example.org/sub/s4.private", "other.org/s5.private",
    "example.org/dkim.pem",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(("template", "selector", "found"), [
    ("{domain}.{selector}.key", None, ["Example.ORG.s1.key", "example.org.S2.key"]),
    ("{selector}.{domain}", None, ["s1.example.org", "s2.EXAMPLE.org"]),
    ("dkim-{selector}-{domain}.pem", None, ["dkim-s1-example.org.pem", "dkim-s3-Example.org.pem"]),
    ("[{selector}]{domain}-{selector}", None, ["[s1]example.org-s1"]),
    (".{domain}.{selector}.key", None, [".example.org.s1.key"]),
    ("{domain}/{selector}.private", None, ["EXAMPLE.ORG/s2.private", "example.org/s1.private"]),
    ("{domain}/sub/{selector}.private", None, ["example.org/sub/s4.private"]),
    ("{domain}/dkim.pem", "s1", ["example.org/dkim.pem"]),
    ("{domain}/nothing.pem", "s1", []),
    ("nowhere/{domain}.{selector}", None, []),
])  # fmt: skip
@pytest.mark.parametrize("absolute", [True, False])
def test_where_the_keys_of_a_domain_are_found(folder, template, selector, found, absolute):
    above = f"{folder}/"
    where = ("", dkim.Place(above + template, selector, None)) if absolute else (above, dkim.Place(template, selector, None))
    search = dkim.Search(*where, ["example.org", "sub.example.org"], dkim.Names())
    assert sorted(candidate.path.removeprefix(above) for candidate in search.candidates("example.org", None).keys) == found


@pytest.mark.parametrize(("template", "name"), [("{domain}.{selector}.key", "{}.{}.key"), ("{selector}.{domain}", "{1}.{0}"),
                                                ("{domain}/{selector}.private", "{}/{}.private")])  # fmt: skip
def test_no_directory_is_read_twice_and_no_name_looked_at_by_all(tmp_path, monkeypatch, template, name):
    domains = ["example.org", *(f"d{number}.example.org" for number in range(300))]
    for domain in domains:
        path = tmp_path / name.format(domain, "s1")
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    read, looked_at = [], []
    monkeypatch.setattr(os, "listdir", lambda path, real=os.listdir: read.append(path) or real(path))
    monkeypatch.setattr(dkim.Names, "like", lambda *args, real=dkim.Names.like: (found := real(*args), looked_at.extend(found))[0])
    search = dkim.Search(f"{tmp_path}/", dkim.Place(template, None, None), domains, dkim.Names())
    for domain in domains:
        found = search.candidates(domain, None)
        assert [key.path for key in found.keys] == [str(tmp_path / name.format(domain, "s1"))]
        assert found.others == {}
    assert sorted(read) == sorted({str(path) + "/" for path in (tmp_path, *tmp_path.iterdir()) if path.is_dir()})
    # Those of the domain above all others end as theirs do.
    assert len(looked_at) <= 3 * len(domains)


def pkcs1(values: list[int], folder: Path) -> bytes:
    """An RSAPrivateKey (RFC 8017 appendix A.1.2) of these numbers, which no library would write."""
    lines = ["asn1=SEQUENCE:key", "[key]", *(f"n{at}=INTEGER:{value}" for at, value in enumerate([0, *values]))]
    (folder / "conf").write_text("\n".join(lines) + "\n")
    openssl("asn1parse", "-genconf", str(folder / "conf"), "-noout", "-out", str(folder / "der"))
    text = base64.encodebytes((folder / "der").read_bytes())
    return b"-----BEGIN RSA PRIVATE KEY-----\n" + text + b"-----END RSA PRIVATE KEY-----\n"


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def prime(bits: int) -> int:
    return int(openssl("prime", "-generate", "-bits", str(bits)))


def numbers(p: int, q: int) -> list[int]:
    """What belongs to two factors by the rules of RFC 8017 section 3.2, also where they are no primes."""
    e = 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    return [p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p)]


#: Prints what comes of each file, and whether the library's test was off for it, and is off afterwards.
READ = """
import sys
from ansible_collections.postmaster.mail.plugins.module_utils._keys import dkim
switches = getattr(dkim.openssl, "backend", None)
load, states = dkim.serialization.load_pem_private_key, set()
def recorded(*args, **kwargs):
    states.add(kwargs.get("unsafe_skip_rsa_key_validation", getattr(switches, "_rsa_skip_check_key", False)))
    return load(*args, **kwargs)
dkim.serialization.load_pem_private_key = recorded
for path in sys.argv[1:]:
    try:
        print(dkim.read(path).facts.bits)
    except dkim.MailError as exc:
        print(str(exc).replace(repr(path), "PATH"))
print(states, getattr(switches, "_rsa_skip_check_key", False))
"""


@pytest.mark.parametrize("python", [sys.executable, "/usr/bin/python3"])
def test_damage_is_found_without_the_test_for_primes(tmp_path, python):
    """With the library of this environment, and with Debian's own, which on Debian 12 is the oldest that is supported."""
    done = subprocess.run([python, "-c", "import cryptography"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"{python} has no cryptography")
    p, q = prime(512), prime(512)
    good = numbers(p, q)
    keys = {"good": good, "composite": numbers(prime(256) * prime(256), q), "p one": [*good[:3], 1, *good[4:]]}
    for at, name in enumerate(("n", "e", "d", "p", "q", "dp", "dq", "qinv")):
        keys[f"{name} altered"] = [*good[:at], good[at] ^ 4, *good[at + 1 :]]
        keys[f"{name} zero"] = [*good[:at], 0, *good[at + 1 :]]
    for name, values in keys.items():
        (tmp_path / name).write_bytes(pkcs1(values, tmp_path))
    (tmp_path / "encrypted").write_text(openssl("rsa", "-in", str(tmp_path / "good"), "-aes128", "-passout", "pass:x"))
    names = [*keys, "encrypted"]
    done = subprocess.run([python, "-c", READ, *(str(tmp_path / name) for name in names)], capture_output=True, text=True, check=True)
    *said, state = done.stdout.splitlines()
    wrong = dict.fromkeys(keys, "path PATH holds a damaged private key")
    encrypted = "path PATH holds an encrypted private key; signers need it without a passphrase"
    assert dict(zip(names, said)) == {**wrong, "good": "1024", "encrypted": encrypted}
    assert state == "{True} False"
