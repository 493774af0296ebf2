# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module as a host does; what it made is judged by openssl."""

from __future__ import annotations

import getpass
import grp
import os
import pathlib
import re
import subprocess

import pytest
from dkim_runner import Runner

NAMES = ["mail.example.org", "imap.example.org"]
GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture(scope="module")
def module():
    run = Runner()
    return lambda arguments, check=False: run("tls_certificate", arguments, check)


def openssl(*arguments: object, text: str | None = None) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def issue(directory: pathlib.Path, name: str, names: str = "DNS:mail.example.org,DNS:imap.example.org") -> dict[str, str]:
    """Have an authority of our own issue a pair; return the options that give it to the module."""
    if not (directory / "ca.pem").exists():
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 900, "-subj", "/CN=Ours",
                "-keyout", directory / "ca.key", "-out", directory / "ca.pem")
    (directory / "extensions").write_text(f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", directory / f"{name}.key", "-out", directory / "request")
    openssl("x509", "-req", "-in", directory / "request", "-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-days", 90,
            "-extfile", directory / "extensions", "-out", directory / f"{name}.leaf")
    (directory / f"{name}.pem").write_text((directory / f"{name}.leaf").read_text() + (directory / "ca.pem").read_text())
    return {"source_key": str(directory / f"{name}.key"), "source_chain": str(directory / f"{name}.pem")}


@pytest.fixture
def options(tmp_path):
    return {
        "key": str(tmp_path / "pair/mail.key"), "chain": str(tmp_path / "pair/mail.pem"), "names": NAMES,
        "owner": getpass.getuser(), "group": GROUP,
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def own(authority):
    return issue(authority, "own")


def pair(options) -> tuple[bytes, bytes]:
    return pathlib.Path(options["key"]).read_bytes(), pathlib.Path(options["chain"]).read_bytes()


def good(options, *trusted: object) -> None:
    """openssl takes key and chain as belonging together, and the chain as valid for every name."""
    assert openssl("pkey", "-in", options["key"], "-pubout") == openssl("x509", "-in", options["chain"], "-pubkey", "-noout")
    for name in NAMES:
        openssl("verify", "-verify_hostname", name, "-CAfile", *(trusted or [options["chain"]]), options["chain"])


def test_a_stand_in_is_made_once(module, options):
    told = module(options, check=True)
    assert (told["changed"], told["stand_in"], os.path.exists(os.path.dirname(options["key"]))) == (True, True, False)
    made = module(options)
    good(options)
    assert (made["changed"], made["stand_in"], made["names"], made["missing_names"]) == (True, True, NAMES, [])
    assert made["days_left"] > 3000
    shown = openssl("x509", "-in", options["chain"], "-noout", "-fingerprint", "-sha256").partition("=")[2].strip()
    assert made["fingerprint"] == shown.replace(":", "").lower()
    assert "(2048 bit" in openssl("pkey", "-in", options["key"], "-noout", "-text").splitlines()[0]
    before = pair(options)
    for check in (True, False):
        assert module(options, check=check)["changed"] is False
    assert pair(options) == before


def test_key_and_chain_have_their_modes(module, options):
    module(options)
    assert [oct(os.stat(options[name]).st_mode & 0o777) for name in ("key", "chain")] == ["0o600", "0o644"]
    os.chmod(options["key"], 0o644)
    assert module(options)["changed"] is True
    assert os.stat(options["key"]).st_mode & 0o777 == 0o600
    assert module({**options, "mode": "0640"})["changed"] is True
    assert os.stat(options["key"]).st_mode & 0o777 == 0o640


def test_no_key_is_ever_shown(module, options, own):
    for arguments in (options, {**options, **own}, {**options, "source_key": pathlib.Path(own["source_key"]).read_text(),
                                                    "source_chain": pathlib.Path(own["source_chain"]).read_text()}):
        for check in (True, False):
            text = module(arguments, check=check).text
            assert "PRIVATE KEY" not in text
            for secret in re.findall(r"^[A-Za-z0-9+/]{64}$", pathlib.Path(own["source_key"]).read_text(), re.MULTILINE):
                assert secret not in text


def test_a_stand_in_for_other_names_keeps_its_key(module, options):
    module(options)
    key, chain = pair(options)
    assert module({**options, "names": [*NAMES, "smtp.example.org"]})["changed"] is True
    assert pair(options)[0] == key
    assert pair(options)[1] != chain
    openssl("verify", "-verify_hostname", "smtp.example.org", "-CAfile", options["chain"], options["chain"])


def test_a_pair_of_ones_own_takes_the_place_of_the_stand_in(module, options, own, authority):
    module(options)
    told = module({**options, **own}, check=True)
    assert told["changed"] is True
    assert told["diff"]["before"] != told["diff"]["after"]
    done = module({**options, **own})
    assert (done["changed"], done["stand_in"]) == (True, False)
    good(options, authority / "ca.pem")
    assert pair(options) == tuple(pathlib.Path(own[name]).read_bytes() for name in ("source_key", "source_chain"))
    assert module({**options, **own})["changed"] is False
    # Without a source, it is never replaced...
    left = module(options)
    assert (left["changed"], left["stand_in"]) == (False, False)
    # ...unless that is asked for; its key stays.
    assert module({**options, "replace": True})["stand_in"] is True
    good(options)
    assert pair(options)[0] == pathlib.Path(own["source_key"]).read_bytes()
    assert module({**options, "replace": True})["changed"] is False


def test_a_pair_may_be_given_as_text(module, options, own):
    texts = {name: pathlib.Path(path).read_text() for name, path in own.items()}
    assert module({**options, **texts})["changed"] is True
    assert module({**options, **own})["changed"] is False


def both_in_one(own, order: str) -> str:
    key, chain = (pathlib.Path(own[name]).read_text() for name in ("source_key", "source_chain"))
    leaf, _end, rest = chain.partition("-----END CERTIFICATE-----\n")
    return {
        "key first": key + chain,
        "key last": chain + key,
        "key between": f"{leaf}-----END CERTIFICATE-----\nBag Attributes\n  friendlyName: us\n{key}{rest}",
        "old form": chain + openssl("rsa", "-in", own["source_key"], "-traditional"),
    }[order]


@pytest.mark.parametrize("way", ["path", "text"])
@pytest.mark.parametrize("order", ["key first", "key last", "key between", "old form"])
def test_key_and_certificates_in_one_file(module, options, own, authority, tmp_path, order, way):
    source = tmp_path / "both.pem"
    source.write_text(both_in_one(own, order))
    given = str(source) if way == "path" else source.read_text()
    done = module({**options, "source_key": given, "source_chain": given})
    assert done["changed"] is True
    good(options, authority / "ca.pem")
    key, chain = pair(options)
    assert b"PRIVATE" not in chain and chain == pathlib.Path(own["source_chain"]).read_bytes()
    assert b"CERTIFICATE" not in key and os.stat(options["key"]).st_mode & 0o777 == 0o600
    # Only the chain given with a key in it: nothing but certificates is taken, and the key is in no result.
    only = module({**options, **own, "source_chain": source.read_text()})
    assert only["changed"] is True or order != "old form"
    assert b"PRIVATE" not in pair(options)[1]
    for secret in re.findall(r"^[A-Za-z0-9+/]{64}$", pathlib.Path(own["source_key"]).read_text(), re.MULTILINE):
        assert secret not in done.text + only.text
    assert module({**options, **own, "source_chain": given})["changed"] is False


@pytest.mark.parametrize("lines", [1, 200])
def test_text_before_a_key_is_no_path(module, options, own, lines):
    """As openssl pkcs12 writes it; the longer one is longer than any path."""
    remark = "Bag Attributes\n" + "    friendlyName: the certificate of us\n" * lines
    texts = {name: remark + pathlib.Path(path).read_text() for name, path in own.items()}
    done = module({**options, **texts})
    assert "PRIVATE KEY" not in done.text
    assert done["changed"] is True
    assert module({**options, **own})["changed"] is False


@pytest.mark.parametrize(("change", "why"), [(lambda key: key * 3, "File name too long"), (lambda key: f"{key}\0", "it holds a NUL")])
def test_no_key_is_in_the_error_of_a_path(module, options, own, change, why):
    key = pathlib.Path(own["source_key"]).read_text()
    done = module({**options, **own, "source_key": change(key.partition("KEY-----\n")[2])})
    assert done["msg"] == f"source_key is neither PEM text nor the path of a file on the host: {why}"
    assert key.splitlines()[1] not in done.text


def test_an_owner_of_other_digits_is_no_number(module, options):
    assert module({**options, "owner": "²"})["msg"] == "owner '²' does not exist on this host"


def test_a_key_that_a_chain_has_in_it_already_is_taken_out(module, options, own):
    module({**options, **own})
    clean = pair(options)
    pathlib.Path(options["chain"]).write_bytes(clean[1] + clean[0])
    for check in (True, False):
        done = module(options, check=check)
        assert done["changed"] is True
        assert done["warnings"] == [
            f"chain '{options['chain']}' held a private key that everybody on this host could read: it is taken out of there, but have a "
            "certificate with a new key issued"
        ]
    assert pair(options) == clean
    assert module(options)["changed"] is False


def test_key_and_chain_are_two_files(module, options):
    failed = module({**options, "chain": options["key"]})
    assert failed["msg"] == f"key and chain '{options['key']}' must be two files: everybody may read the chain"


def test_a_mode_that_opens_the_key_to_everyone(module, options):
    assert module({**options, "mode": "0644"})["msg"] == "mode '0644' would open the private key to everyone on this host"
    assert module({**options, "mode": "rw"})["msg"] == "mode 'rw' must be a quoted octal mode such as '0644'"
    assert not os.path.exists(os.path.dirname(options["key"]))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: has a directory of a service's")
def test_a_link_of_a_service_gives_nothing_away(module, options, own, tmp_path):
    module(options)
    others = [tmp_path / "shadow", tmp_path / "gshadow"]
    for other in others:
        other.write_text("root:x\n")
        other.chmod(0o600)
    os.chown(os.path.dirname(options["key"]), 65534, 65534)
    # In the place of the files, and of the names that they have on the way there.
    for name, other in zip(("key", "chain"), others):
        path = pathlib.Path(options[name])
        path.unlink()
        for link in (path, path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.{os.getpid()}.new")):
            link.symlink_to(other)
    assert "failed" not in module({**options, **own, "mode": "0640"})
    assert {(other.read_text(), other.stat().st_mode & 0o777) for other in others} == {("root:x\n", 0o600)}
    assert pair(options) == tuple(pathlib.Path(own[name]).read_bytes() for name in ("source_key", "source_chain"))
    assert not any(pathlib.Path(options[name]).is_symlink() for name in ("key", "chain"))


@pytest.mark.parametrize("given", ["own.leaf", "own.pem", "wrong"])
def test_a_chain_with_a_gap_is_taken_with_a_warning(module, options, own, authority, tmp_path, given):
    leaf = (authority / "own.leaf").read_text()
    stranger = tmp_path / "stranger.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Theirs", "-keyout", "/dev/null", "-out", stranger)
    chain = leaf + stranger.read_text() if given == "wrong" else str(authority / given)
    expected = {
        "own.pem": [],
        "own.leaf": ["source_chain has no intermediate certificate: the one in it was issued by 'CN=Ours', and unless that is a root which "
                     "everybody has, other servers and mail programs do not trust it; append the certificates that came with it"],
        "wrong": ["source_chain: certificate 2 is that of 'CN=Theirs', and the one before it was issued by 'CN=Ours' "
                  "(RFC 8446 section 4.4.2)"],
    }[given]
    result = module({**options, **own, "source_chain": chain})
    assert (result["changed"], result.get("warnings", [])) == (True, expected)


def test_several_private_keys(module, options, own, broken, tmp_path):
    source = tmp_path / "keys"
    source.write_bytes(b"".join(pathlib.Path(one["source_key"]).read_bytes() for one in (own, broken["other"])))
    assert module({**options, **own, "source_key": str(source)})["msg"] == "source_key holds 2 private keys, not one"


def test_a_wildcard_covers_one_label(module, options, authority):
    wild = issue(authority, "wild", "DNS:*.example.org")
    assert module({**options, **wild})["missing_names"] == []
    failed = module({**options, **wild, "names": ["a.b.example.org"]})
    assert failed["msg"] == (
        "source_key and source_chain: the certificate does not name a.b.example.org; it names *.example.org"
    )


@pytest.fixture(scope="module")
def broken(authority, own):
    """Files that are not what they should be, by what is wrong with them."""
    other = issue(authority, "other")
    encrypted = authority / "encrypted.key"
    openssl("pkey", "-in", own["source_key"], "-aes256", "-passout", "pass:x", "-out", encrypted)
    noise = authority / "noise"
    noise.write_text("-----BEGIN NOTHING-----\n")
    return {"other": other, "encrypted": str(encrypted), "noise": str(noise), "nameless": issue(authority, "nameless", "")}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda own, bad: {"source_key": "/nowhere.key"}, "source_key is neither PEM text nor the path of a file on the host"),
        (lambda own, bad: {"source_chain": "/nowhere.pem"}, "source_chain is neither PEM text nor the path of a file on the host"),
        (lambda own, bad: {"source_key": bad["noise"]}, "source_key holds no private key in PEM"),
        (lambda own, bad: {"source_chain": bad["noise"]}, "source_chain holds no certificate in PEM"),
        (lambda own, bad: {"source_key": bad["encrypted"]},
         "source_key holds an encrypted private key; services cannot ask for its passphrase"),
        (lambda own, bad: {"source_key": bad["other"]["source_key"]},
         "source_key and source_chain: the private key is not that of the certificate"),
        (lambda own, bad: bad["nameless"],
         "source_key and source_chain: the certificate does not name mail.example.org, imap.example.org; it names nothing"),
        (lambda own, bad: {"names": ["mail.example.org", "other.example.org"]},
         "source_key and source_chain: the certificate does not name other.example.org; it names mail.example.org, imap.example.org"),
        (lambda own, bad: {"names": ["-x.example.org"]}, None),
        (lambda own, bad: {"replace": True}, "parameters are mutually exclusive: source_key|replace"),
        (lambda own, bad: {"source_chain": None}, "parameters are required together: source_key, source_chain"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else None,
)
def test_what_is_refused_and_leaves_everything_as_it_was(module, options, own, broken, change, text):
    module(options)
    before = pair(options)
    arguments = {name: value for name, value in {**options, **own, **change(own, broken)}.items() if value is not None}
    failed = module(arguments)
    assert failed["failed"] is True
    if text is None:
        assert "'-x.example.org'" in failed["msg"]
    else:
        assert failed["msg"] == text
    assert pair(options) == before


def test_a_certificate_that_has_ended_is_refused(module, options, authority, tmp_path):
    key, chain = tmp_path / "ended.key", tmp_path / "ended.pem"
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", key, "-out", tmp_path / "request")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\nnew_certs_dir={tmp_path}\ndefault_md=sha256\n"
        "policy=p\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=DNS:mail.example.org,DNS:imap.example.org\n"
    )
    (tmp_path / "index").write_text("")
    (tmp_path / "serial").write_text("01\n")
    issue(authority, "unused")  # the authority exists
    openssl("ca", "-batch", "-config", tmp_path / "ca.cnf", "-cert", authority / "ca.pem", "-keyfile", authority / "ca.key", "-notext",
            "-startdate", "20240101000000Z", "-enddate", "20240201000000Z", "-extensions", "e", "-in", tmp_path / "request", "-out", chain)
    failed = module({**options, "source_key": str(key), "source_chain": str(chain)})
    assert failed["msg"] == "source_key and source_chain: the certificate ended at 2024-02-01T00:00:00Z"
    assert not os.path.exists(options["key"])


@pytest.mark.parametrize("missing", ["key", "chain"])
def test_half_a_pair(module, options, own, missing):
    module({**options, **own})
    other = "key" if missing == "chain" else "chain"
    os.unlink(options[missing])
    kept = pathlib.Path(options[other]).read_bytes()
    done = module(options)
    if missing == "key":
        assert done["msg"] == f"chain '{options['chain']}' exists but key '{options['key']}' does not: restore the key or remove the chain"
    else:
        assert done["stand_in"] is True
        good(options)
    assert pathlib.Path(options[other]).read_bytes() == kept


def test_a_pair_in_place_that_does_not_belong_together(module, options, own, broken):
    module({**options, **own})
    pathlib.Path(options["key"]).write_bytes(pathlib.Path(broken["other"]["source_key"]).read_bytes())
    assert module(options)["msg"] == f"key '{options['key']}' is not that of chain '{options['chain']}': restore the pair or remove both"
    pathlib.Path(options["key"]).write_text("noise")
    assert module(options)["msg"] == f"key '{options['key']}' holds no private key in PEM"


RENEWAL = "# renew_before_expiry = 30 days\nversion = 4.0.0\nserver = not this one\n[renewalparams]\nauthenticator = {}\nserver = {}\n{}"


@pytest.mark.parametrize(
    ("renewal", "arguments", "expected"),
    [
        (None, {}, "none"),
        (("standalone", "https://a.test/dir", ""), {}, "in place"),
        (("nginx", "https://a.test/dir", ""), {}, "in place"),
        (("nginx", "https://a.test/dir", ""), {"authenticator": "webroot"}, "other"),
        (("webroot", "https://a.test/dir", ""), {"authenticator": "webroot"}, "in place"),
        (("dns-rfc2136", "https://a.test/dir", ""), {}, "other"),
        (("standalone", "https://a.test/dir", ""), {"authenticator": "dns-rfc2136"}, "other"),
        (("dns-rfc2136", "https://a.test/dir", ""), {"authenticator": "dns-rfc2136"}, "in place"),
        (("standalone", "https://a.test/dir", ""), {"server": "https://a.test/dir"}, "in place"),
        (("standalone", "https://a.test/dir", ""), {"server": "https://b.test/dir"}, "other"),
        (("standalone", "https://a.test/dir", "autorenew = False\n"), {}, "other"),
        (("standalone", "https://a.test/dir", "autorenew = True\n"), {}, "in place"),
        (("standalone", "https://a.test/dir", "[autorenew]\nautorenew = False\n"), {}, "in place"),
    ],
)
def test_how_a_certificate_of_certbot_stands_to_the_one_in_place(module, options, own, tmp_path, renewal, arguments, expected):
    module({**options, **own})
    live = tmp_path / "letsencrypt/live/mail.example.org"
    if renewal:
        live.mkdir(parents=True)
        (tmp_path / "letsencrypt/renewal").mkdir()
        (tmp_path / "letsencrypt/renewal/mail.example.org.conf").write_text(RENEWAL.format(*renewal))
        (live / "fullchain.pem").write_bytes(pair(options)[1])
    assert module({**options, **arguments, "lineage": str(live)})["lineage"] == expected
    if expected == "in place":
        (live / "fullchain.pem").write_text("another")
        assert module({**options, **arguments, "lineage": str(live)})["lineage"] == "waiting"


@pytest.mark.parametrize("option", ["key", "chain"])
def test_a_file_in_the_place_of_a_directory_is_an_error(module, options, own, tmp_path, option):
    (tmp_path / "file").write_text("x")
    failed = module({**options, **own, option: str(tmp_path / "file/tls")})
    assert failed["failed"] and failed["msg"] == f"{tmp_path}/file/tls: Not a directory"
