# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dkim_keypair: what it makes, adopts and refuses, judged by openssl, OpenDKIM, dkimpy and the zone checkers."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
from pathlib import Path

import dkim
import pytest
from dkim_runner import Runner

run = Runner()

MESSAGE = b"From: me@example.org\r\nTo: you@example.net\r\nSubject: hello\r\n\r\nhello\r\n"


def command(*argv, **options):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=True, **options).stdout


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed here")


# dkimpy's Ed25519 half.
needs_nacl = pytest.mark.skipif(importlib.util.find_spec("nacl") is None, reason="PyNaCl is not installed here")
DKIMSIGN = shutil.which("filter-dkimsign", path="/usr/libexec/opensmtpd:/usr/local/libexec/smtpd")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Private keys of openssl's making, by name; making them is slow, so once."""
    directory = tmp_path_factory.mktemp("made")
    for bits in (512, 1024, 2048):
        command("openssl", "genrsa", "-out", directory / f"rsa{bits}", bits)
    command("openssl", "rsa", "-traditional", "-in", directory / "rsa2048", "-out", directory / "rsa2048-pkcs1")
    command("openssl", "genpkey", "-algorithm", "ed25519", "-out", directory / "ed25519")
    command("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", directory / "ec")
    command("openssl", "genpkey", "-algorithm", "x25519", "-out", directory / "x25519")
    command("openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", directory / "pss")
    command("openssl", "genrsa", "-aes128", "-passout", "pass:x", "-out", directory / "encrypted", 1024)
    command("openssl", "genrsa", "-traditional", "-aes128", "-passout", "pass:x", "-out", directory / "encrypted-pkcs1", 1024)
    command("openssl", "rsa", "-in", directory / "rsa1024", "-pubout", "-out", directory / "public")
    return directory


@pytest.fixture
def arguments(tmp_path):
    return {"path": str(tmp_path / "a key.pem"), "domain": "example.org", "selector": "s1"}


def adopted(made, arguments, name):
    """Put one of the keys in place, with a mode of its own; return its octets."""
    shutil.copyfile(made / name, arguments["path"])
    os.chmod(arguments["path"], 0o600)
    return Path(arguments["path"]).read_bytes()


def unseen(result, path):
    """No line of the private key is in what the module wrote; the modulus is public, and stands in the first half."""
    lines = Path(path).read_text().splitlines()
    for line in lines[len(lines) // 2 :] if len(lines) > 5 else lines:
        assert line.startswith("-----") or line not in result.text


def sign(path, algorithm, selector=b"s1"):
    return dkim.sign(MESSAGE, selector, b"example.org", Path(path).read_bytes(), signature_algorithm=algorithm)


def verifies(signature, record):
    asked = []

    def dns(name, timeout=5):
        asked.append(name)
        return record["value"].encode()

    return dkim.verify(signature + MESSAGE, dnsfunc=dns) and asked == [(record["name"] + ".").encode()]


def test_check_make_check_again_undo(arguments):
    path = Path(arguments["path"])
    arguments["public_path"] = str(path) + ".pub"
    before = run("dkim_keypair", arguments, check=True)
    assert before["changed"] and not path.exists()
    assert before["record"] == {"name": "s1._domainkey.example.org", "type": "TXT", "value": None, "strings": [], "zone_line": None}
    first = run("dkim_keypair", arguments)
    assert first["changed"] and "warnings" not in first
    assert (first["algorithm"], first["bits"], first["format"]) == ("rsa", 2048, "pkcs8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(os.listdir(path.parent)) == [path.name, path.name + ".pub"]
    unseen(first, path)
    content, moment = path.read_bytes(), path.stat().st_mtime_ns
    again = run("dkim_keypair", arguments, check=True), run("dkim_keypair", arguments)
    for result in again:
        assert not result["changed"]
        assert result["record"] == first["record"]
        assert result["diff"][0]["before"] == result["diff"][0]["after"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, moment)
    gone = {"path": arguments["path"], "public_path": arguments["public_path"], "state": "absent"}
    assert run("dkim_keypair", gone, check=True)["changed"] and path.exists()
    assert run("dkim_keypair", gone)["changed"]
    assert os.listdir(path.parent) == []
    assert not run("dkim_keypair", gone)["changed"]


def test_the_record_is_openssls_public_key(arguments):
    result = run("dkim_keypair", {**arguments, "public_path": arguments["path"] + ".pub"})
    command("openssl", "pkey", "-in", arguments["path"], "-pubout", "-outform", "DER", "-out", arguments["path"] + ".der")
    der = Path(arguments["path"] + ".der").read_bytes()
    assert result["record"]["value"] == "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode()
    assert result["fingerprint"] == hashlib.sha256(der).hexdigest()
    assert Path(arguments["path"] + ".pub").read_text() == command("openssl", "pkey", "-in", arguments["path"], "-pubout")
    assert "".join(result["record"]["strings"]) == result["record"]["value"]
    assert [len(part) <= 255 for part in result["record"]["strings"]] == [True, True]


@pytest.mark.parametrize(("algorithm", "form", "bits"), [
    ("rsa", "pkcs8", 1024), ("rsa", "pkcs1", 2048), ("rsa", "pkcs8", 4096), pytest.param("ed25519", "seed", 256, marks=needs_nacl),
])
def test_dkimpy_signs_and_verifies(arguments, algorithm, form, bits):
    result = run("dkim_keypair", {**arguments, "algorithm": algorithm, "format": form, "bits": max(bits, 1024)})
    assert (result["bits"], result["format"]) == (bits, form)
    assert verifies(sign(arguments["path"], f"{algorithm}-sha256".encode()), result["record"])
    unseen(result, arguments["path"])


@pytest.mark.parametrize("form", ["seed", "pkcs8"])
def test_openssl_derives_the_same_ed25519_public_key(arguments, form):
    result = run("dkim_keypair", {**arguments, "algorithm": "ed25519", "format": form})
    path = Path(arguments["path"])
    der = arguments["path"] + ".der"
    if form == "seed":
        # RFC 8410 section 7 around the seed
        Path(der).write_bytes(bytes.fromhex("302e020100300506032b657004220420") + base64.b64decode(path.read_bytes()))
    else:
        command("openssl", "pkey", "-in", path, "-outform", "DER", "-out", der)
    command("openssl", "pkey", "-inform", "DER", "-in", der, "-pubout", "-outform", "DER", "-out", der + ".pub")
    assert base64.b64encode(Path(der + ".pub").read_bytes()[-32:]).decode() == result["public_key"]


@pytest.mark.skipif(DKIMSIGN is None, reason="filter-dkimsign is not installed here")
@pytest.mark.parametrize(("algorithm", "form"), [("rsa", "pkcs1"), ("rsa", "pkcs8"), pytest.param("ed25519", "pkcs8", marks=needs_nacl)])
def test_filter_dkimsign_signs_what_dkimpy_verifies(arguments, algorithm, form):
    """One message through the filter's own protocol (smtpd-filters(7)), as OpenSMTPD would send it."""
    record = run("dkim_keypair", {**arguments, "algorithm": algorithm, "format": form})["record"]
    report, data = "report|0.6|1576146008.0|smtp-in|", "filter|0.6|1576146008.0|smtp-in|data-line|7641df9771b4ed00|1ef1c203cc576e5d|"
    lines = ["config|ready", report + "link-connect|7641df9771b4ed00|x|pass|198.51.100.1:1|198.51.100.2:25"]
    lines += [report + "tx-begin|7641df9771b4ed00|1ef1c203", *(data + line for line in [*MESSAGE.decode().splitlines(), "."])]
    wanted = ["-a", f"{algorithm}-sha256", "-d", "example.org", "-s", "s1", "-k", arguments["path"]]
    answers = command(DKIMSIGN, *wanted, input="\n".join(lines) + "\n").splitlines()
    signed = [answer.split("|", 3)[3] for answer in answers if answer.startswith("filter-dataline|")]
    assert signed[0].startswith("DKIM-Signature:") and signed[-1] == "."
    assert dkim.verify("".join(line + "\r\n" for line in signed[:-1]).encode(), dnsfunc=lambda name, timeout=5: record["value"].encode())


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
@pytest.mark.parametrize("checker", [pytest.param(name, marks=needs(name)) for name in ("named-checkzone", "nsd-checkzone")])
def test_zone_checkers_read_the_line(arguments, tmp_path, checker, algorithm):
    record = run("dkim_keypair", {**arguments, "algorithm": algorithm, "notes": 'a "b"; \\c é', "flags": ["s"]})["record"]
    zone = tmp_path / "zone"
    zone.write_text("$TTL 300\n@ IN SOA ns hostmaster 1 1 1 1 1\n@ IN NS ns\nns IN A 198.51.100.2\n" + record["zone_line"] + "\n")
    if checker == "named-checkzone":
        command("named-checkzone", "-D", "-o", tmp_path / "out", "example.org", zone)
        line = next(line for line in (tmp_path / "out").read_text().splitlines() if "TXT" in line)
    else:
        line = next(line for line in command("nsd-checkzone", "-p", "example.org", zone).splitlines() if "TXT" in line)
    rdata = line.partition("TXT")[2].strip()
    assert rdata == record["zone_line"].partition(" IN TXT ")[2]


@needs("opendkim-testkey")
@pytest.mark.parametrize(("form", "selector"), [("pkcs1", "s1"), ("pkcs8", "s1"), ("pkcs8", "default_1807")])
def test_opendkim_finds_key_and_record_agree(made, arguments, tmp_path, form, selector):
    """OpenDKIM asks libunbound, whose configuration holds the record itself."""
    run("dkim_keypair", {**arguments, "format": form})
    record = run("dkim_keypair", {**arguments, "format": form, "selector": selector})["record"]  # of a key that exists
    resolver = tmp_path / "unbound.conf"
    resolver.write_text(f"server:\n  local-zone: example.org. static\n  local-data: '{record['zone_line']}'\n")
    config = tmp_path / "opendkim.conf"
    config.write_text(f"ResolverConfiguration {resolver}\n")
    check = ["opendkim-testkey", "-x", config, "-d", "example.org", "-s", selector, "-k"]
    command(*check, arguments["path"])
    with pytest.raises(subprocess.CalledProcessError) as other:
        command(*check, made / "rsa2048")
    assert other.value.returncode == os.EX_DATAERR


@pytest.mark.parametrize(("name", "algorithm", "bits", "form", "warnings"), [
    ("rsa2048", "rsa", 2048, "pkcs8", []),
    ("rsa2048-pkcs1", "rsa", 2048, "pkcs1", []),
    ("rsa1024", "rsa", 1024, "pkcs8", [
        "existing key: bits 1024 is below 2048, which signers should use at least (RFC 8301 section 3.2);"
        " a new key needs a new selector, or regenerate: mismatch",
    ]),
    ("ed25519", "ed25519", 256, "pkcs8", ["existing key: algorithm is ed25519, not rsa; it is kept"]),
])
def test_openssl_keys_are_adopted_untouched(made, arguments, name, algorithm, bits, form, warnings):
    content = adopted(made, arguments, name)
    result = run("dkim_keypair", arguments)
    assert not result["changed"]
    assert (result["algorithm"], result["bits"], result["format"]) == (algorithm, bits, form)
    assert result.get("warnings", []) == [f"{arguments['path']}: {text}" for text in warnings]
    assert Path(arguments["path"]).read_bytes() == content
    unseen(result, arguments["path"])


@needs("opendkim-genkey")
def test_opendkim_genkey_is_adopted_and_agrees_on_the_record(tmp_path):
    command("opendkim-genkey", "-b", "2048", "-d", "example.org", "-s", "mail", "-D", tmp_path)
    result = run("dkim_keypair", {"path": str(tmp_path / "mail.private"), "domain": "example.org", "selector": "mail"})
    assert not result["changed"]
    written = "".join((tmp_path / "mail.txt").read_text().split('"')[1::2])
    assert written.split("p=")[1] == result["public_key"]


@pytest.mark.parametrize("ending", [b"", b"\n"])
@pytest.mark.parametrize("public", [False, True])
def test_ed25519_of_rfc_8463_is_adopted(arguments, public, ending):
    """The key of RFC 8463 appendix A, as a seed alone and as rspamadm writes it, gives the record of the RFC."""
    seed = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    known = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    data = base64.b64encode(seed + (base64.b64decode(known) if public else b"")) + ending
    Path(arguments["path"]).write_bytes(data)
    os.chmod(arguments["path"], 0o600)
    result = run("dkim_keypair", {**arguments, "algorithm": "ed25519"})
    assert not result["changed"] and "warnings" not in result
    assert result["record"]["value"] == f"v=DKIM1; k=ed25519; p={known}"
    assert Path(arguments["path"]).read_bytes() == data
    assert base64.b64encode(seed).decode()[:40] not in result.text


BROKEN = [
    ("empty", b"", "holds no private key: neither PEM nor the base64 of an Ed25519 seed"),
    ("text", b"not a key\n", "holds no private key: neither PEM nor the base64 of an Ed25519 seed"),
    ("halves", base64.b64encode(bytes(64)), "holds an Ed25519 key whose public half is not of its seed"),
    ("large", b"x" * 70000, "holds no private key: it is larger than 65536 octets"),
    ("nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a damaged private key"),
    ("encrypted", None, "holds an encrypted private key; signers need it without a passphrase"),
    ("encrypted-pkcs1", None, "holds an encrypted private key; signers need it without a passphrase"),
    ("public", None, "holds a PUBLIC KEY; DKIM needs an RSA or Ed25519 private key (RFC 6376, RFC 8463)"),
    ("ec", None, "holds a EC PRIVATE KEY; DKIM needs an RSA or Ed25519 private key (RFC 6376, RFC 8463)"),
    ("pss", None, "holds an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2); DKIM's are "
     "RSASSA-PKCS1-v1_5 (RFC 6376 section 3.3.2)"),
    ("x25519", None, "holds neither an RSA nor an Ed25519 private key (RFC 6376, RFC 8463)"),
]


@pytest.mark.parametrize("regenerate", ["never", "mismatch", "always"])
@pytest.mark.parametrize(("name", "data", "text"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_file_that_is_no_key_is_an_error_and_stays(made, arguments, name, data, text, regenerate):
    if data is None:
        data = (made / name).read_bytes()
    Path(arguments["path"]).write_bytes(data)
    os.chmod(arguments["path"], 0o604)
    result = run("dkim_keypair", {**arguments, "regenerate": regenerate, "backup": True})
    assert result["failed"] and result["msg"] == f"path {arguments['path']!r} {text}"
    assert Path(arguments["path"]).read_bytes() == data
    assert stat.S_IMODE(os.stat(arguments["path"]).st_mode) == 0o604
    assert os.listdir(os.path.dirname(arguments["path"])) == [os.path.basename(arguments["path"])]
    for line in data.decode().splitlines():
        assert len(line) < 20 or line.startswith("-----") or line not in result.text


def test_a_truncated_or_altered_key_is_an_error_and_stays(made, arguments):
    good = (made / "rsa2048").read_text().splitlines()
    for lines in (good[:10], [*good[:10], good[-1]], [*good[:5], good[5][::-1], *good[6:]], good + good):
        data = "\n".join(lines) + "\n"
        Path(arguments["path"]).write_text(data)
        result = run("dkim_keypair", arguments)
        assert result["failed"] and Path(arguments["path"]).read_text() == data
        assert good[7] not in result.text


def test_a_key_below_1024_bits_is_refused_also_when_it_exists(made, arguments):
    content = adopted(made, arguments, "rsa512")
    result = run("dkim_keypair", arguments)
    assert result["msg"] == (
        f"path {arguments['path']!r}: existing key: bits 512 is below 1024: every verifier must refuse such a key (RFC 8301 section 3.2)"
    )
    assert Path(arguments["path"]).read_bytes() == content


REFUSED = [
    ({"bits": 512}, "bits 512 is below 1024: every verifier must refuse such a key (RFC 8301 section 3.2)"),
    ({"bits": 8192}, "bits 8192 is above 4096: verifiers need not read such a key (RFC 8301 section 3.2)"),
    ({"format": "seed"}, "format 'seed' is not one for rsa keys: use one of: pkcs8, pkcs1"),
    ({"format": "pkcs1", "algorithm": "ed25519"}, "format 'pkcs1' is not one for ed25519 keys: use one of: seed, pkcs8"),
    ({"selector": "-x"}, "selector '-x' has a bad label '-x': letters, digits, underscores and inner hyphens only "
     "(RFC 6376 section 3.1, RFC 8552)"),
    ({"selector": "a_b"}, "selector 'a_b' has a bad label 'a_b': letters, digits and inner hyphens only (RFC 6376 section 3.1)"),
    ({"owner": "nobody-here"}, "owner 'nobody-here' does not exist on this host"),
    ({"group": "nobody-here"}, "group 'nobody-here' does not exist on this host"),
    ({"mode": "0644"}, "mode '0644' would open a private key to everyone on this host"),
    ({"mode": 0o641}, "mode 417 would open a private key to everyone on this host"),
    ({"mode": "o+r"}, "mode 'o+r' would open a private key to everyone on this host"),
    ({"mode": "rw"}, "mode 'rw' is neither an octal number nor symbolic, such as '0600' or 'u=rw,g=r'"),
    ({"path": "key"}, "path 'key' must be an absolute path"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED, ids=[text.split()[0] + str(number) for number, (_given, text) in enumerate(REFUSED)])
def test_refusals_make_nothing(arguments, given, text):
    # In check mode an owner may come with a package that is yet to be installed.
    for check in [False] if "nobody-here" in given.values() else [True, False]:
        result = run("dkim_keypair", {**arguments, **given}, check=check)
        assert result["failed"] and result["msg"] == text
        assert os.listdir(os.path.dirname(arguments["path"])) == []


def test_a_missing_directory_is_named_and_is_no_error_in_check_mode(arguments, tmp_path):
    path = str(tmp_path / "none/key")
    assert run("dkim_keypair", {**arguments, "path": path})["msg"] == f"path {path!r} is in a directory that does not exist"
    assert run("dkim_keypair", {**arguments, "path": path, "group": "nobody-here"}, check=True)["changed"]


def test_regenerate_mismatch_replaces_and_keeps_a_backup(made, arguments):
    content = adopted(made, arguments, "rsa1024")
    os.chmod(arguments["path"], 0o640)
    wanted = {**arguments, "regenerate": "mismatch", "backup": True, "mode": "0600"}
    foreseen = run("dkim_keypair", wanted, check=True)
    assert foreseen["changed"] and foreseen["record"]["value"] is None and Path(arguments["path"]).read_bytes() == content
    result = run("dkim_keypair", wanted)
    assert result["changed"] and result["bits"] == 2048 and "warnings" not in result
    assert result["diff"][0]["before"]["bits"] == 1024 and result["diff"][0]["after"]["fingerprint"] == result["fingerprint"]
    kept = Path(result["backup_file"])
    assert kept.read_bytes() == content and stat.S_IMODE(kept.stat().st_mode) == 0o640
    unseen(result, kept)
    assert not run("dkim_keypair", wanted)["changed"]


def test_regenerate_mismatch_rewrites_the_same_key_in_another_format(made, arguments):
    adopted(made, arguments, "rsa2048")
    told = run("dkim_keypair", {**arguments, "format": "pkcs1"})
    assert not told["changed"] and told["warnings"] == [f"{arguments['path']}: existing key: format is pkcs8, not pkcs1; it is kept"]
    wanted = {**arguments, "format": "pkcs1", "regenerate": "mismatch"}
    foreseen, result = run("dkim_keypair", wanted, check=True), run("dkim_keypair", wanted)
    assert result["changed"] and result["format"] == "pkcs1" and result["record"] == told["record"] == foreseen["record"]
    assert Path(arguments["path"]).read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert not run("dkim_keypair", wanted)["changed"]


def test_regenerate_always_makes_another_key(arguments):
    wanted = {**arguments, "regenerate": "always", "bits": 1024}
    assert run("dkim_keypair", wanted)["fingerprint"] != run("dkim_keypair", wanted)["fingerprint"]


def test_a_mode_alone_is_a_change(made, arguments):
    adopted(made, arguments, "rsa2048")
    foreseen = run("dkim_keypair", {**arguments, "mode": "0640"}, check=True)
    result = run("dkim_keypair", {**arguments, "mode": "0640"})
    assert foreseen["changed"] and result["changed"]
    assert result["diff"][0]["after"]["mode"] == foreseen["diff"][0]["after"]["mode"] == "0640"
    assert stat.S_IMODE(os.stat(arguments["path"]).st_mode) == 0o640


@pytest.mark.parametrize(("before", "mode"), [(0o600, "0644"), (0o600, "o+r"), (0o644, "g+r"), (0o644, "u=rw")])
def test_a_mode_that_opens_a_key_that_is_there_is_refused(made, arguments, before, mode):
    adopted(made, arguments, "rsa2048")
    os.chmod(arguments["path"], before)
    for check in (True, False):
        result = run("dkim_keypair", {**arguments, "mode": mode}, check=check)
        assert result["failed"] and result["msg"] == f"mode {mode!r} would open a private key to everyone on this host"
    assert stat.S_IMODE(os.stat(arguments["path"]).st_mode) == before


@pytest.mark.parametrize("mode", ["0600", "0640", 0o640, "g+r", "u=rw,g=r,o=", "0400"])
def test_modes_that_signers_need(arguments, mode):
    expected = {"0600": 0o600, "0400": 0o400}.get(mode, 0o640)
    assert run("dkim_keypair", {**arguments, "mode": mode}, check=True)["changed"]
    assert run("dkim_keypair", {**arguments, "mode": mode})["changed"]
    assert stat.S_IMODE(os.stat(arguments["path"]).st_mode) == expected
    assert not run("dkim_keypair", {**arguments, "mode": mode})["changed"]


@pytest.mark.parametrize("option", ["path", "public_path"])
@pytest.mark.parametrize("make", [
    os.mkdir, os.mkfifo,
    # A node of the test's own: what goes wrong here must not go wrong with the host's /dev/null.
    pytest.param(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
                 marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a device")),
], ids=["directory", "FIFO", "device"])
def test_what_is_no_file_is_named(arguments, tmp_path, make, option):
    odd = str(tmp_path / "odd")
    make(odd)
    for more in ({}, {"state": "absent"}):
        result = run("dkim_keypair", {**arguments, option: odd, **more})
        assert result["failed"] and result["msg"] == f"{option} {os.path.realpath(odd)!r} is not a regular file"
    assert os.listdir(tmp_path) == ["odd"]


# Anything else than a public key, or than that alone, is somebody's.
FOREIGN = {
    "text": lambda made: b"precious other file\n",
    "private key": lambda made: (made / "rsa2048").read_bytes(),
    "more than the key": lambda made: b"# mine\n" + (made / "public").read_bytes(),
    "elliptic": lambda made: command("openssl", "ec", "-in", made / "ec", "-pubout").encode(),
    "damaged": lambda made: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "empty": lambda made: b"",
    "large": lambda made: b"x" * 70000,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_public_path_that_is_no_public_key_is_an_error_and_stays(made, arguments, tmp_path, name):
    public, data = tmp_path / "public", FOREIGN[name](made)
    public.write_bytes(data)
    content = adopted(made, arguments, "rsa2048")
    message = f"public_path {str(public)!r} holds something else than one RSA or Ed25519 public key in PEM form; it is left as it is"
    for more in ({}, {"regenerate": "always"}, {"state": "absent"}):
        for check in (True, False):
            result = run("dkim_keypair", {**arguments, **more, "public_path": str(public)}, check=check)
            assert result["failed"] and result["msg"] == message
    assert (public.read_bytes(), Path(arguments["path"]).read_bytes()) == (data, content)
    unseen(result, arguments["path"])


def test_another_public_key_is_replaced_with_a_diff_and_a_backup_and_removed_so(made, arguments, tmp_path):
    public, old = tmp_path / "public", (made / "public").read_bytes()
    adopted(made, arguments, "rsa2048")
    public.write_bytes(old)
    wanted = {**arguments, "public_path": str(public), "backup": True}
    foreseen = run("dkim_keypair", wanted, check=True)
    assert foreseen["changed"] and public.read_bytes() == old
    result = run("dkim_keypair", wanted)
    assert result["diff"] == foreseen["diff"]
    key, diff = result["diff"]
    assert key["before"] == key["after"]
    assert diff["before_header"] == diff["after_header"] == str(public)
    assert (diff["before"]["bits"], diff["after"]["bits"], diff["after"]["fingerprint"]) == (1024, 2048, result["fingerprint"])
    assert public.read_text() == command("openssl", "pkey", "-in", arguments["path"], "-pubout")
    assert Path(result["public_backup_file"]).read_bytes() == old and "backup_file" not in result
    assert not run("dkim_keypair", wanted)["changed"]
    gone = run("dkim_keypair", {**wanted, "state": "absent"})
    assert [entry["after"] for entry in gone["diff"]] == [{"state": "absent"}] * 2
    assert Path(gone["public_backup_file"]).exists() and Path(gone["backup_file"]).exists()
    assert not public.exists() and not os.path.exists(arguments["path"])


def test_of_a_link_the_target_is_meant(made, arguments, tmp_path):
    target = tmp_path / "target"
    os.symlink(target, arguments["path"])
    result = run("dkim_keypair", arguments)
    assert result["path"] == str(target) and target.is_file() and os.path.islink(arguments["path"])


def test_parallel_runs_make_one_whole_key(arguments):
    results = [run.finish(started) for started in [run.start("dkim_keypair", arguments) for _run in range(6)]]
    assert sorted(result["changed"] for result in results) == [False] * 5 + [True]
    assert len({result["fingerprint"] for result in results}) == 1
    command("openssl", "pkey", "-in", arguments["path"], "-check", "-noout")
    assert os.listdir(os.path.dirname(arguments["path"])) == [os.path.basename(arguments["path"])]


def test_what_a_killed_run_left_is_removed(arguments):
    path = Path(arguments["path"])
    (path.parent / f".{path.name}.new").write_text("half a key")
    assert run("dkim_keypair", arguments)["changed"]
    assert os.listdir(path.parent) == [path.name]
