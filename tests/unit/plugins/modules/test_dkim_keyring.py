# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dkim_keyring: which key each domain gets, and that nothing happens to any when one is broken."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import dkim
import pytest
from dkim_runner import Runner

from ansible_collections.postmaster.mail.plugins.modules import dkim_keyring

run = Runner()


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    """The octets of a private key of openssl's making."""
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], capture_output=True, check=True)
    return path.read_bytes()


@pytest.fixture
def arguments(tmp_path):
    return {
        "directory": str(tmp_path / "dkim"), "default_selector": "s20261122", "group": "daemon",
        "domains": {"example.org": {}, "Example.NET.": {"selector": "Mail", "bits": 1024}},
        "adopt": [str(tmp_path / "old/{domain}/{selector}.private"), str(tmp_path / "older/{domain}.{selector}")],
    }


def put(path, data, age=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def listing(directory):
    return sorted(entry.name for entry in Path(directory).iterdir())


def selector_of(path, beginning="s20261122"):
    """The selector that a new key is to have, by openssl's word on the key."""
    spki = openssl("pkey", "-in", str(path), "-pubout", "-outform", "DER")
    return f"{beginning}-{hashlib.sha256(spki).hexdigest()[:8]}"


def test_check_make_check_again(arguments, tmp_path):
    foreseen = run("dkim_keyring", arguments, check=True)
    assert foreseen["changed"] and listing(tmp_path) == []
    assert {name: foreseen["keys"]["example.org"][name] for name in ("value", "selector", "selectors", "path", "name")} == {
        "value": None, "selector": None, "selectors": [], "path": None, "name": None,
    }
    first = run("dkim_keyring", arguments)
    assert first["changed"] and "warnings" not in first
    selector = selector_of(first["keys"]["example.org"]["path"])
    assert listing(arguments["directory"]) == ["example.net.mail.key", f"example.org.{selector}.key"]
    for name in listing(arguments["directory"]):
        found = (Path(arguments["directory"]) / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 0, 1)
    found = os.stat(arguments["directory"])
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o750, 0, 1)
    keys = first["keys"]
    assert sorted(keys) == ["example.net", "example.org"]
    expected = {
        "selector": selector, "selectors": [selector], "origin": "created", "adopted_from": None,
        "name": f"{selector}._domainkey.example.org", "bits": 2048, "algorithm": "rsa",
    }
    assert {name: keys["example.org"][name] for name in expected} == expected
    assert keys["example.net"]["bits"] == 1024 and keys["example.net"]["path"] == arguments["directory"] + "/example.net.mail.key"
    for result in (run("dkim_keyring", arguments, check=True), run("dkim_keyring", arguments)):
        assert not result["changed"] and result["diff"] == {"before": {}, "after": {}}
        assert result["keys"] == {domain: {**found, "origin": "existing"} for domain, found in keys.items()}


def test_the_selector_of_a_key_outlives_the_date_and_the_domain_its_key(arguments):
    made = run("dkim_keyring", arguments)["keys"]["example.org"]
    before, selector = made["value"], made["selector"]
    assert selector == selector_of(made["path"])
    after = run("dkim_keyring", {**arguments, "default_selector": "s20270101", "domains": {"example.org": None, "example.com": {}}})
    assert after["keys"]["example.org"]["selector"] == selector and after["keys"]["example.org"]["value"] == before
    new = after["keys"]["example.com"]["selector"]
    assert new == selector_of(after["keys"]["example.com"]["path"], "s20270101")
    assert listing(arguments["directory"]) == [f"example.com.{new}.key", "example.net.mail.key", f"example.org.{selector}.key"]


def test_no_two_keys_have_one_selector(arguments, tmp_path):
    """Two hosts of a domain, or one that is built twice on a day: what one publishes stays true while the other publishes."""
    names = {}
    for number in range(4):
        given = {**arguments, "directory": str(tmp_path / f"host{number}"), "domains": {"example.org": {"bits": 1024}}}
        key = run("dkim_keyring", given)["keys"]["example.org"]
        names[key["name"]] = key["value"]
    assert len(names) == len(set(names.values())) == 4


def test_the_selector_of_an_ed25519_key(arguments):
    key = run("dkim_keyring", {**arguments, "domains": {"example.org": {"algorithm": "ed25519"}}})["keys"]["example.org"]
    assert key["selector"] == f"s20261122-{key['fingerprint'][:8]}"


def test_a_key_with_the_selector_of_a_day_keeps_it(arguments, key):
    put(Path(arguments["directory"]) / "example.org.s20261122.key", key)
    found = run("dkim_keyring", {**arguments, "domains": {"example.org": {}}})
    assert found["keys"]["example.org"]["selector"] == "s20261122" and found["keys"]["example.org"]["origin"] == "existing"


def test_a_selector_that_signs_does_not_come_back_with_another_key(arguments, tmp_path):
    table = tmp_path / "signing.json"
    table.write_text('{"example.net": [{"selector": "mail", "path": "/x"}], "example.org": [{"selector": "s20261122", "path": "/x"}]}')
    given = {**arguments, "signing": str(table)}
    for check in (True, False):
        failed = run("dkim_keyring", given, check=check)
        assert failed["msg"] == (
            f"domain 'example.net': mail is signed with selector 'mail', as {table} says, but its key "
            f"'{arguments['directory']}/example.net.mail.key' is gone, and a selector must not come back with another key (RFC 6376 "
            "section 3.1): restore the key, or name a selector that the domain has never had"
        )
    assert not os.path.exists(arguments["directory"])
    # One that nobody named is no obstacle: the new key gets another.
    keys = run("dkim_keyring", {**given, "domains": {"example.org": {}, "example.net": {"selector": "next"}}})["keys"]
    assert {domain: found["in_use"] for domain, found in keys.items()} == {"example.org": False, "example.net": False}
    assert keys["example.org"]["selector"] == selector_of(keys["example.org"]["path"])


SELECTORS = [
    # files with their ages in seconds, selector asked for, selector and all selectors found
    pytest.param({"a": 50, "b": 10, "c": 90}, None, "b", ["b", "a", "c"], id="the newest counts"),
    pytest.param({"s20250101": 5, "s20260101": 5}, None, "s20260101", ["s20260101", "s20250101"], id="of equal age the greatest"),
    pytest.param({"a": 50, "b": 10}, "a", "a", ["a"], id="one that is asked for"),
    pytest.param({"a": 50}, "x.y", "x.y", ["x.y"], id="one with a dot that is new"),
    pytest.param({"co": 50, "uk.a": 10}, None, "co", ["co"], id="a file of another domain that begins alike"),
    pytest.param({"-a": 50, "b c": 10}, None, None, None, id="names that are no selectors"),
    pytest.param({"default_1807": 50}, None, "default_1807", ["default_1807"], id="one with an underscore that exists"),
    pytest.param({"a": 5, "_K": 50}, "_k", "_k", ["_k"], id="one with an underscore that is asked for, in another case"),
]


@pytest.mark.parametrize(("files", "asked", "selector", "selectors"), SELECTORS)
def test_which_of_several_keys_counts(arguments, key, files, asked, selector, selectors):
    for name, age in files.items():
        put(Path(arguments["directory"]) / f"example.org.{name}.key", key, age)
    found = run("dkim_keyring", {**arguments, "domains": {"example.org": {"selector": asked}}})["keys"]["example.org"]
    if selector is None:
        selector = selector_of(found["path"])
        selectors = [selector]
    assert (found["selector"], found["selectors"]) == (selector, selectors)


def test_a_key_of_an_earlier_set_up_is_copied_and_said(arguments, key, tmp_path):
    old = tmp_path / "old/example.org/2019.private"
    put(old, key, 100)
    ancient = tmp_path / "older/example.org.ancient"
    put(ancient, key, 900)
    os.chmod(old, 0o600)
    arguments["domains"] = {"example.org": {}}
    foreseen = run("dkim_keyring", arguments, check=True)["keys"]["example.org"]
    result = run("dkim_keyring", arguments)
    found = result["keys"]["example.org"]
    assert result["changed"] and foreseen == found
    assert (found["origin"], found["selector"], found["adopted_from"]) == ("adopted", "2019", str(old))
    assert result["warnings"] == [
        f"example.org: the key {old} is adopted as {found['path']}; the original was left alone",
        f"example.org: the key {ancient} is not used: {old} is used",
    ]
    copy = Path(found["path"])
    assert copy.read_bytes() == old.read_bytes() == key
    assert copy.stat().st_mtime_ns == old.stat().st_mtime_ns
    assert stat.S_IMODE(old.stat().st_mode) == 0o600 and stat.S_IMODE(copy.stat().st_mode) == 0o640
    for line in key.decode().splitlines()[14:-1]:
        assert line not in result.text
    again = run("dkim_keyring", arguments)
    assert not again["changed"] and "warnings" not in again and again["keys"]["example.org"]["origin"] == "existing"


def test_an_asked_for_selector_is_adopted_only_if_it_is_that_one(arguments, key, tmp_path):
    put(tmp_path / "old/example.org/a.private", key)
    put(tmp_path / "old/example.net/a.private", key)
    arguments["domains"] = {"example.org": {"selector": "b"}, "example.net": {"selector": "a"}}
    keys = run("dkim_keyring", arguments)["keys"]
    assert {domain: found["origin"] for domain, found in keys.items()} == {"example.org": "created", "example.net": "adopted"}


def published_and_kept(keys, domain):
    return keys[domain]["selector"], keys[domain]["origin"], keys[domain]["name"]


def test_a_key_whose_selector_has_an_underscore_signs_on(arguments, key, tmp_path):
    put(tmp_path / "old/example.org/default_1807.private", key)
    put(tmp_path / "old/Example.NET/Modoboa_Key.private", key)
    arguments["domains"] = {"example.org": {}, "example.net": {"selector": "modoboa_key"}}
    first = run("dkim_keyring", arguments)
    assert published_and_kept(first["keys"], "example.org") == ("default_1807", "adopted", "default_1807._domainkey.example.org")
    assert published_and_kept(first["keys"], "example.net") == ("modoboa_key", "adopted", "modoboa_key._domainkey.example.net")
    assert listing(arguments["directory"]) == ["example.net.modoboa_key.key", "example.org.default_1807.key"]
    again = run("dkim_keyring", arguments)
    assert not again["changed"] and "warnings" not in again
    # The next selector: the old key is among the others, so that it goes on signing until the new one is published.
    rotated = run("dkim_keyring", {**arguments, "domains": {"example.org": {"selector": "next"}}})
    assert [other["selector"] for other in rotated["keys"]["example.org"]["others"]] == ["default_1807"] and "warnings" not in rotated


@pytest.mark.parametrize("check", [True, False])
def test_the_selector_of_a_new_key_has_no_underscore(arguments, tmp_path, check):
    result = run("dkim_keyring", {**arguments, "domains": {"example.org": {"selector": "s_2026b"}}}, check=check)
    assert result["msg"] == (
        "domain 'example.org': there is no key with this selector yet, and the new selector 's_2026b' has a bad label 's_2026b': "
        "letters, digits and inner hyphens only (RFC 6376 section 3.1)"
    )
    assert listing(tmp_path) == []


def test_one_key_of_all_domains_is_adopted_by_each(arguments, key, tmp_path):
    """As Mail-in-a-Box has it, and OpenDKIM with KeyFile and Selector: the path says neither domain nor selector."""
    shared = tmp_path / "user-data/mail.private"
    put(shared, key)
    panel = tmp_path / "panel/Example.COM.pem"
    put(panel, key)
    arguments["domains"] = {"example.org": {}, "example.net": {}, "example.com": {"selector": "dkim.main"}, "new.example": {}}
    arguments["adopt"] = [
        {"path": str(shared), "selector": "Mail", "domains": ["Example.org", "example.net"]},
        {"path": str(tmp_path / "panel/{domain}.pem"), "selector": "dkim.main"},
    ]
    result = run("dkim_keyring", arguments)
    adopted = {domain: (found["selector"], found["adopted_from"]) for domain, found in result["keys"].items() if found["adopted_from"]}
    assert adopted == {
        "example.com": ("dkim.main", str(panel)),
        "example.net": ("mail", str(shared)),
        "example.org": ("mail", str(shared)),
    }
    assert len(result["warnings"]) == 3
    shared.unlink()
    panel.unlink()
    again = run("dkim_keyring", arguments)
    assert not again["changed"] and "warnings" not in again
    assert published_and_kept(again["keys"], "example.com") == ("dkim.main", "existing", "dkim.main._domainkey.example.com")


def test_a_selector_of_several_labels_must_be_named(arguments, key, tmp_path):
    """Or the next run would not find the copy by its name, and make another key once the original is gone."""
    put(tmp_path / "mail.private", key)
    arguments.update(domains={"example.org": {}}, adopt=[{"path": str(tmp_path / "mail.private"), "selector": "dkim.main"}])
    assert run("dkim_keyring", arguments)["msg"] == (
        f"domain 'example.org': the key {tmp_path}/mail.private has the selector 'dkim.main' of several labels: name it in dkim.selector, "
        "or a later run could not tell its copy from the key of another domain"
    )


PASSED_OVER = [
    # what stands in the old directories, and the reason of the one file that is named
    ({"old/example.org/-a.private": None}, {}, "selector '-a' has a bad label '-a': letters, digits, underscores and inner hyphens only "
     "(RFC 6376 section 3.1, RFC 8552)"),
    ({"old/example.org/a b.private": None}, {}, "selector 'a b' has a bad label 'a b': letters, digits, underscores and inner hyphens only "
     "(RFC 6376 section 3.1, RFC 8552)"),
    ({"older/example.org.x.y": None}, {},
     "its selector 'x.y' has several labels, or it is the key of another domain: name the selector in dkim.selector"),
    ({"old/example.org/a.private": None}, {"selector": "b"}, "the selector that is asked for is 'b'"),
    ({"old/example.org/a.private": "/nowhere/key"}, {}, "it is a link to a file that does not exist"),
    ({"dkim/example.org.a b.key": None}, {}, "selector 'a b' has a bad label 'a b': letters, digits, underscores and inner hyphens only "
     "(RFC 6376 section 3.1, RFC 8552)"),
]


@pytest.mark.parametrize(("files", "settings", "reason"), PASSED_OVER, ids=[next(iter(files)) for files, _settings, _reason in PASSED_OVER])
def test_what_looks_like_a_key_and_is_not_used_is_named(arguments, key, tmp_path, files, settings, reason):
    for name, target in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if target:
            (tmp_path / name).symlink_to(target)
        else:
            put(tmp_path / name, key)
    arguments["domains"] = {"example.org": settings}
    expected = [f"example.org: the key {tmp_path / next(iter(files))} is not used: {reason}"]
    assert run("dkim_keyring", arguments, check=True)["warnings"] == expected
    result = run("dkim_keyring", arguments)
    assert result["keys"]["example.org"]["origin"] == "created" and result["warnings"] == expected
    # Once: the domain has its key now, and what lay there before is history.
    assert "warnings" not in run("dkim_keyring", arguments)


def test_the_key_of_another_domain_is_not_called_unused(arguments, key, tmp_path):
    put(tmp_path / "older/example.org.au.mail", key)
    arguments["domains"] = {"example.org": {}, "example.org.au": {}}
    result = run("dkim_keyring", arguments)
    assert {domain: found["adopted_from"] for domain, found in result["keys"].items()} == {
        "example.org": None, "example.org.au": str(tmp_path / "older/example.org.au.mail"),
    }
    assert len(result["warnings"]) == 1 and "is adopted" in result["warnings"][0]


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=True).stdout


BROKEN = {
    "damaged": (lambda _key: b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a damaged private key"),
    "encrypted": (
        lambda key: openssl("pkey", "-aes128", "-passout", "pass:x", data=key),
        "holds an encrypted private key; signers need it without a passphrase",
    ),
    "foreign": (
        lambda _key: openssl("genpkey", "-algorithm", "x25519"),
        "holds neither an RSA nor an Ed25519 private key (RFC 6376, RFC 8463)",
    ),
    "pss": (
        lambda _key: openssl("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"),
        "holds an RSA-PSS key, which is for no other signatures than RSASSA-PSS (RFC 4055 section 1.2); DKIM's are RSASSA-PKCS1-v1_5 "
        "(RFC 6376 section 3.3.2)",
    ),
    "exponent": (
        lambda _key: openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_pubexp:4294967297"),
        "holds an RSA key with a public exponent of 33 bits; many verifiers read at most 31, and 65537 is usual (RFC 8017 section 3.1)",
    ),
    "dsa": (
        lambda _key: openssl("genpkey", "-paramfile", "/dev/stdin", data=openssl(
            "genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024")),
        "holds neither an RSA nor an Ed25519 private key (RFC 6376, RFC 8463)",
    ),
    "ec": (
        lambda _key: openssl("ecparam", "-name", "prime256v1", "-genkey"),
        "holds 2 PEM blocks (EC PARAMETERS, EC PRIVATE KEY); a key file for DKIM holds one private key",
    ),
    "certificate": (
        lambda key: key + openssl("req", "-x509", "-key", "/dev/stdin", "-subj", "/CN=x", data=key),
        "holds 2 PEM blocks (PRIVATE KEY, CERTIFICATE); a key file for DKIM holds one private key",
    ),
    "public": (
        lambda key: openssl("pkey", "-pubout", data=key),
        "holds a PUBLIC KEY; DKIM needs an RSA or Ed25519 private key (RFC 6376, RFC 8463)",
    ),
}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("place", ["dkim/example.org.s1.key", "old/example.org/s1.private"])
@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_file_and_nothing_is_written(arguments, key, tmp_path, kind, place, check):
    make, words = BROKEN[kind]
    put(tmp_path / place, make(key))
    before = sorted(tmp_path.rglob("*"))
    result = run("dkim_keyring", arguments, check=check)
    assert result["failed"]
    assert result["msg"] == f"domain 'example.org': path '{tmp_path / place}' {words}"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disabled_domain_gets_no_key(arguments):
    result = run("dkim_keyring", {**arguments, "domains": {"example.org": {"enabled": False}}})
    assert result["keys"] == {} and listing(arguments["directory"]) == []


def test_another_length_than_asked_for_is_kept_with_a_warning(arguments, key):
    path = Path(arguments["directory"]) / "example.org.s1.key"
    put(path, key)
    result = run("dkim_keyring", {**arguments, "domains": {"example.org": {"bits": 4096}}})
    assert result["warnings"] == [f"example.org: {path}: existing key: bits 2048, not 4096; it is kept"]
    assert path.read_bytes() == key


@pytest.mark.parametrize("there", [False, True])
def test_a_mode_that_opens_keys_to_everyone_is_refused(arguments, key, there):
    path = Path(arguments["directory"]) / "example.org.s1.key"
    if there:
        put(path, key)
        os.chmod(path, 0o600)
    for check in (True, False):
        result = run("dkim_keyring", {**arguments, "mode": "0644"}, check=check)
        assert result["msg"] == "mode '0644' would open a private key to everyone on this host"
    assert listing(arguments["directory"]) == ["example.org.s1.key"] if there else not path.parent.exists()
    assert not there or stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_group_that_comes_later_is_no_error_in_check_mode(arguments):
    arguments["group"] = "not-here-yet"
    assert run("dkim_keyring", arguments, check=True)["changed"]
    assert run("dkim_keyring", arguments)["msg"] == "group 'not-here-yet' does not exist on this host"


SERVICE = 65534  # nobody's: a service account that owns a directory


@pytest.fixture
def service(tmp_path):
    """A directory of a service's, as /var/lib/rspamd is, with keys of an earlier release below it."""
    home = tmp_path / "rspamd"
    home.mkdir()
    os.chown(home, SERVICE, SERVICE)
    return home


root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: has directories of a service's")


@root
@pytest.mark.parametrize("there", [False, True])
def test_keys_below_the_directory_of_a_service_are_refused(arguments, service, there):
    arguments["directory"] = str(service / "dkim")
    if there:
        (service / "dkim").mkdir()
    before = sorted(service.rglob("*"))
    for check in (True, False):
        failed = run("dkim_keyring", arguments, check=check)
        assert failed["msg"] == (
            f"directory '{service}/dkim' is below '{service}', which nobody can change: whoever that is could put another directory in its "
            "place; keys belong below directories of root alone"
        )
    assert sorted(service.rglob("*")) == before


@root
def test_a_link_of_a_service_gives_nothing_away(arguments, service, tmp_path):
    """What was shown: the directory that the link leads to got the group and the mode of keys."""
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (service / "dkim").symlink_to(other)
    failed = run("dkim_keyring", {**arguments, "directory": str(service / "dkim")})
    assert failed["msg"] == (
        f"directory '{service}/dkim': '{service}/dkim' is a symbolic link in a directory that nobody can change; it is not followed"
    )
    found = other.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid, listing(other)) == (0o700, os.getegid(), [])


@root
def test_all_keys_of_an_earlier_release_are_copied(arguments, service, key, tmp_path):
    former = service / "dkim"
    second = subprocess.run(["openssl", "genrsa", "1024"], capture_output=True, check=True).stdout
    put(former / "example.org.s20261001.key", key, 100)
    put(former / "example.org.old.key", second, 900)
    put(former / "example.com.gone.key", second, 900)
    table = tmp_path / "signing.json"
    table.write_text('{"example.org": [{"selector": "old", "path": "/x", "since": "2026-11-01"}]}')
    given = {**arguments, "former": [str(former)], "signing": str(table), "domains": {"example.org": {}}}
    foreseen = run("dkim_keyring", given, check=True)
    done = run("dkim_keyring", given)
    found = done["keys"]["example.org"]
    assert foreseen["keys"]["example.org"] == found
    directory = arguments["directory"]
    assert (found["selector"], found["origin"], found["path"]) == ("s20261001", "adopted", f"{directory}/example.org.s20261001.key")
    # The one that signs until the other is published goes on.
    [old] = found["others"]
    assert (old["selector"], old["path"], old["in_use"], old["since"]) == ("old", f"{directory}/example.org.old.key", True, "2026-11-01")
    assert {name: (Path(directory) / name).read_bytes() for name in listing(directory)} == {
        "example.org.old.key": second, "example.org.s20261001.key": key,
    }
    for name in listing(directory):
        info = (Path(directory) / name).stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, 0, 1)
    again = run("dkim_keyring", given)
    assert not again["changed"] and again["keys"]["example.org"]["selector"] == "s20261001"
    # One that is in the inventory again finds its key, and what is gone from there makes no difference any more.
    assert run("dkim_keyring", {**given, "domains": {"example.com": {}}})["keys"]["example.com"]["selector"] == "gone"
    shutil.rmtree(former)
    assert not run("dkim_keyring", given)["changed"]


@root
@pytest.mark.parametrize("kind", ["link", "hard link", "link to the directory"])
@pytest.mark.parametrize("option", ["former", "adopt"])
def test_a_key_of_somebody_else_is_not_taken_by_a_link(arguments, service, key, tmp_path, kind, option):
    """A service account puts another key of this host's in the place of its own: it would get to read it."""
    secret = tmp_path / "private/tls.key"
    put(secret, key)
    former = service / "dkim"
    if kind == "link to the directory":
        put(tmp_path / "private/example.org.s1.key", key)
        former.symlink_to(tmp_path / "private")
    else:
        former.mkdir()
        os.chown(former, SERVICE, SERVICE)
        (former / "example.org.s1.key").symlink_to(secret) if kind == "link" else os.link(secret, former / "example.org.s1.key")
    value = str(former) if option == "former" else str(former / "{domain}.{selector}.key")
    for check in (True, False):
        failed = run("dkim_keyring", {**arguments, "domains": {"example.org": {}}, option: [value]}, check=check)
        assert failed["failed"] and failed["msg"].startswith(f"domain 'example.org': path '{former}/example.org.s1.key'"), failed["msg"]
    assert not os.path.exists(arguments["directory"]) or listing(arguments["directory"]) == []


@root
def test_a_link_of_root_to_an_earlier_key_is_followed(arguments, key, tmp_path):
    put(tmp_path / "private/tls.key", key)
    (tmp_path / "old/example.org").mkdir(parents=True)
    (tmp_path / "old/example.org/s1.private").symlink_to("../../private/tls.key")
    found = run("dkim_keyring", {**arguments, "domains": {"example.org": {}}})["keys"]["example.org"]
    assert (found["selector"], found["origin"]) == ("s1", "adopted")


def test_a_selector_that_would_be_too_long(arguments):
    failed = run("dkim_keyring", {**arguments, "default_selector": "s" * 60})
    assert failed["failed"] and "'" + "s" * 60 + "-00000000'" in failed["msg"]
    assert not os.path.exists(arguments["directory"])


REFUSED = [
    ({"domains": {"example.org": {}, "EXAMPLE.org": {}}}, "domains: example.org is listed twice, the second time as 'EXAMPLE.org'"),
    ({"domains": {"example.org": {"size": 1}}}, "domains: example.org: unknown 'size'; known are enabled, selector, algorithm, bits"),
    ({"domains": {"example.org": 3}}, "domains: example.org: 3 must be a dictionary"),
    ({"domains": {"example.org": {"bits": "many"}}}, "domains: example.org: bits 'many' must be a number"),
    ({"domains": {"example.org": {"bits": 512}}},
     "domains: example.org: bits 512 is below 1024: every verifier must refuse such a key (RFC 8301 section 3.2)"),
    ({"domains": {"example.org": {"enabled": "maybe"}}}, "domains: example.org: enabled 'maybe' must be true or false"),
    ({"default_selector": "a_b"},
     "default_selector 'a_b' has a bad label 'a_b': letters, digits and inner hyphens only (RFC 6376 section 3.1)"),
    ({"file_pattern": "x/{domain}.{selector}"}, "file_pattern 'x/{domain}.{selector}' must be a file name: no slash and no leading dot"),
    ({"file_pattern": "{domain}.key"}, "file_pattern '{domain}.key' must hold {domain} and {selector}"),
    ({"file_pattern": "{domain}{selector}{x}"}, "file_pattern '{domain}{selector}{x}' has '{x}'; known are {domain} and {selector}"),
    ({"adopt": ["keys/{domain}/{selector}"]}, "adopt 'keys/{domain}/{selector}' must be an absolute path"),
    ({"adopt": ["/k/{domain}"]},
     "adopt '/k/{domain}' does not say the selector: write {selector} where it stands, or {path: /k/{domain}, selector: NAME}"),
    ({"adopt": ["/k/{selector}"]}, "adopt '/k/{selector}' does not say whose key it is: write {domain} where it stands, or for one key of "
     "all domains {path: /k/{selector}, selector: NAME}"),
    ({"adopt": [{"path": "/k/{user}", "selector": "s"}]}, "adopt '/k/{user}' has '{user}'; known are {domain} and {selector}"),
    ({"adopt": [{"path": "/k", "selector": "-s"}]}, "adopt '/k': selector '-s' has a bad label '-s': letters, digits, underscores and "
     "inner hyphens only (RFC 6376 section 3.1, RFC 8552)"),
    ({"adopt": [{"path": "/k", "selector": "s", "domain": "example.org"}]},
     "adopt '/k': unknown 'domain'; known are path, selector, domains"),
    ({"adopt": [{"path": "/k", "selector": "s", "domains": "example.org"}]}, "adopt '/k': domains 'example.org' must be a list"),
    ({"adopt": [{"selector": "s"}]}, "adopt {'selector': 's'} must be a path, or a dictionary with path and selector"),
    ({"directory": "dkim"}, "directory 'dkim' must be an absolute path"),
    ({"directory": "/nowhere/dkim"}, "directory '/nowhere/dkim' is in a directory that does not exist"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED, ids=[text[:40] for _given, text in REFUSED])
def test_refusals(arguments, given, text, tmp_path):
    result = run("dkim_keyring", {**arguments, **given})
    assert result["failed"] and result["msg"] == text
    assert listing(tmp_path) == []


def test_parallel_runs_agree(arguments):
    arguments["domains"] = {f"d{number}.example": {"bits": 1024} for number in range(4)}
    results = [run.finish(started) for started in [run.start("dkim_keyring", arguments) for _run in range(4)]]
    assert [result.get("msg") for result in results] == [None] * 4
    assert len({str(sorted((domain, found["value"]) for domain, found in result["keys"].items())) for result in results}) == 1
    assert sum(found["origin"] == "created" for result in results for found in result["keys"].values()) == 4
    keys = results[0]["keys"]
    assert listing(arguments["directory"]) == [f"d{number}.example.{keys[f'd{number}.example']['selector']}.key" for number in range(4)]


def test_a_directory_that_a_parallel_run_makes_meanwhile_is_taken(tmp_path, monkeypatch):
    """Between any two looks at it: the other run is done as soon as something asks whether the path exists."""
    path = tmp_path / "dkim"
    lexists = os.path.lexists

    def other_run(asked):
        if asked == str(path):
            path.mkdir(exist_ok=True)
        return lexists(asked)

    monkeypatch.setattr(os.path, "lexists", other_run)
    module = SimpleNamespace(params={"directory_mode": "0750"}, check_mode=False)
    assert dkim_keyring._directory(module, SimpleNamespace(correct=lambda *_arguments, **_options: False), str(path)) is False


def test_it_says_which_keys_sign_already(arguments, tmp_path):
    made = run("dkim_keyring", arguments)["keys"]["example.org"]
    assert made["in_use"] is False
    table = tmp_path / "signing.json"
    table.write_text(
        json.dumps({"example.org": [{"selector": made["selector"], "path": "/x"}], "example.net": [{"selector": "old", "path": "/y"}]})
    )
    keys = run("dkim_keyring", {**arguments, "signing": str(table)})["keys"]
    assert {domain: found["in_use"] for domain, found in keys.items()} == {"example.org": True, "example.net": False}


def test_a_broken_table_of_signers_is_an_error(arguments, tmp_path):
    table = tmp_path / "signing.json"
    table.write_text("[]")
    failed = run("dkim_keyring", {**arguments, "signing": str(table)})
    assert failed["msg"] == f"signing {str(table)!r} is not a JSON file of domain to a list of dictionaries with selector"


def test_the_key_of_dkimproxy_is_taken_over_with_its_selector(arguments, tmp_path):
    """An RSA key of 1024 bits, as openssl makes it by the guides, wherever the configuration says that it is."""
    made = tmp_path / "private/mail.key"
    made.parent.mkdir()
    subprocess.run(["openssl", "genrsa", "-out", str(made), "1024"], capture_output=True, check=True)
    conf = tmp_path / "dkimproxy_out.conf"
    conf.write_text(f"domain example.org,example.net\nsignature dkim(c=relaxed)\nkeyfile {made}\nselector pubkey\n")
    given = {**arguments, "dkimproxy": [str(tmp_path / "nothing.conf"), str(conf)]}
    found = run("dkim_keyring", given)
    assert {domain: (key["selector"], key["origin"]) for domain, key in found["keys"].items()} == {
        "example.net": ("mail", "created"),  # another selector is asked for: a key of its own
        "example.org": ("pubkey", "adopted"),
    }
    copy = Path(arguments["directory"]) / "example.org.pubkey.key"
    assert copy.read_bytes() == made.read_bytes() and found["keys"]["example.org"]["adopted_from"] == str(made)
    assert any("1024" in text and "example.org" in text for text in found["warnings"])
    again = run("dkim_keyring", given)
    assert not again["changed"] and again["keys"]["example.org"]["selector"] == "pubkey"
    assert any("1024" in text for text in again["warnings"])
    # The next selector: the old key is told of, with what it publishes.
    table = tmp_path / "signing.json"
    table.write_text('{"example.org": [{"selector": "pubkey", "path": "/x", "since": "2026-11-01"}]}')
    rotated = run("dkim_keyring", {**given, "signing": str(table), "domains": {"example.org": {"selector": "next"}}})["keys"]["example.org"]
    assert (rotated["selector"], rotated["origin"], rotated["in_use"], rotated["since"]) == ("next", "created", False, None)
    [old] = rotated["others"]
    assert (old["selector"], old["path"], old["in_use"], old["since"]) == ("pubkey", str(copy), True, "2026-11-01")
    assert (old["name"], old["value"]) == ("pubkey._domainkey.example.org", found["keys"]["example.org"]["value"])


@pytest.mark.parametrize(
    ("option", "text", "error"),
    [
        ("etc/x.conf", None, "dkimproxy 'etc/x.conf' must be an absolute path"),
        ("{tmp}/x.conf", "domain example.org\nselector s\n", "{tmp}/x.conf: the signature for example.org has no keyfile"),
    ],
)
def test_a_configuration_of_dkimproxy_that_makes_no_sense_changes_nothing(arguments, tmp_path, option, text, error):
    path = option.format(tmp=tmp_path)
    if text:
        Path(path).write_text(text)
    failed = run("dkim_keyring", {**arguments, "dkimproxy": [path]})
    assert failed["msg"] == error.format(tmp=tmp_path) and not os.path.exists(arguments["directory"])


def test_an_ed25519_key_in_pem_is_adopted_in_the_form_that_every_rspamd_signs_with(arguments, tmp_path):
    """With the PEM, Rspamd before 3.13.2 sends mail unsigned without a word."""
    source = tmp_path / "old/example.org/ed.private"
    source.parent.mkdir(parents=True)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(source)], check=True)
    pem = source.read_bytes()
    public = subprocess.run(["openssl", "pkey", "-in", str(source), "-pubout", "-outform", "DER"], capture_output=True, check=True).stdout
    arguments["domains"] = {"example.org": {}}
    foreseen = run("dkim_keyring", arguments, check=True)["keys"]["example.org"]
    done = run("dkim_keyring", arguments)
    told = done["keys"]["example.org"]
    assert (told["selector"], told["format"], told["origin"]) == ("ed", "seed", "adopted") == tuple(
        foreseen[name] for name in ("selector", "format", "origin"))
    written = Path(told["path"])
    assert len(base64.b64decode(written.read_bytes().strip(), validate=True)) == 32 and source.read_bytes() == pem
    assert f"p={base64.b64encode(public[-32:]).decode()}" in told["value"]
    assert not run("dkim_keyring", arguments)["changed"]
    # One that is in place already stays as it is, and is named.
    written.write_bytes(pem)
    kept = run("dkim_keyring", arguments)
    assert written.read_bytes() == pem and not kept["changed"]
    assert any("Rspamd before 3.13.2 signs nothing" in words and str(written) in words for words in kept["warnings"])


def test_a_selector_with_an_underscore_is_verified(arguments, key, tmp_path):
    """What dkimpy signs with the copy, it verifies with the record: name and value are what a verifier asks for."""
    put(tmp_path / "old/example.org/default_1807.private", key)
    found = run("dkim_keyring", {**arguments, "domains": {"example.org": {}}})["keys"]["example.org"]
    message = b"From: me@example.org\r\nSubject: x\r\n\r\nx\r\n"
    header = dkim.sign(message, found["selector"].encode(), b"example.org", Path(found["path"]).read_bytes())
    asked = []

    def answer(name, timeout=5):
        asked.append(name.decode().rstrip("."))
        return found["value"].encode()

    assert dkim.verify(header + message, dnsfunc=answer) and asked == [found["name"]]


def test_the_key_of_opendkim_is_taken_over_with_its_selector(arguments, key, tmp_path):
    """One key of all domains, whose name says nothing; what it signs with counts more than a newer file."""
    shared = tmp_path / "user-data/mail.private"
    put(shared, key, 500)
    put(tmp_path / "old/example.org/newer.private", key)
    conf = tmp_path / "opendkim.conf"
    conf.write_text(f"KeyTable {tmp_path}/KeyTable\nSigningTable refile:{tmp_path}/SigningTable\n")
    (tmp_path / "KeyTable").write_text("".join(f"{domain} {domain}:default_1807:{shared}\n" for domain in ("example.org", "example.net")))
    (tmp_path / "SigningTable").write_text("*@example.org example.org\n*@example.net example.net\n")
    given = {**arguments, "domains": {"example.org": {}, "example.net": {}, "example.com": {}}, "opendkim": ["/nowhere.conf", str(conf)]}
    result = run("dkim_keyring", given)
    assert {domain: found["adopted_from"] for domain, found in result["keys"].items()} == {
        "example.com": None, "example.net": str(shared), "example.org": str(shared),
    }
    assert result["keys"]["example.org"]["selector"] == "default_1807"
    assert f"example.org: the key {tmp_path}/old/example.org/newer.private is not used: {shared} is used" in result["warnings"]
    assert not run("dkim_keyring", given)["changed"]


def test_tables_of_opendkim_that_are_no_files_are_named_if_a_key_is_made(arguments, key, tmp_path):
    conf = tmp_path / "opendkim.conf"
    conf.write_text("KeyTable dsn:mysql://x@y/z\nSigningTable dsn:mysql://x@y/z\n")
    put(tmp_path / "old/example.org/a.private", key)
    given = {**arguments, "domains": {"example.org": {}, "example.net": {}}, "opendkim": [str(conf)]}
    words = (
        f"example.net: {conf}: KeyTable is of the type 'dsn', which is not read here: if there are keys of these domains, name them in "
        "dkim_adopt"
    )
    assert words in run("dkim_keyring", given)["warnings"]
    assert "warnings" not in run("dkim_keyring", given)
    assert run("dkim_keyring", {**given, "opendkim": ["x.conf"]})["msg"] == "opendkim 'x.conf' must be an absolute path"
