# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What config_tree does on a host, on real files: every test works in its own directory."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import engine
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

FILES = {"svc/main.conf": b"a = 1\n", "svc/conf.d/ein Wört.conf": b"b = 2\n", "svc/secret.inc": b"pw = hunter2x\n"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files away or mounts")


class Host:
    """A scratch dest and state directory, and short ways to look at them."""

    def __init__(self, folder: Path) -> None:
        self.dest = folder / "de st"
        self.state = folder / "state"
        self.dest.mkdir()

    def tree(self, files: dict[str, bytes] | None = None, **options: Any) -> engine.Tree:
        base: dict[str, Any] = {"id": "svc", "dest": str(self.dest), "state_dir": str(self.state), "diff": True}
        if "modes" not in options and options.get("secret"):
            base["modes"] = {pattern + ("*" if "." not in pattern else ""): "0600" for pattern in options["secret"]}
        return engine.Tree(files=dict(FILES if files is None else files), **{**base, **options})

    def run(self, files: dict[str, bytes] | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
        return engine.apply(self.tree(files, **options), check)

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> Path:
        target = self.dest / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(mode)
        return target

    def snapshot(self) -> dict[str, tuple]:
        """Return everything below dest: kind, mode, owner, content; for files the time of the last change as well."""
        found = {}
        for folder, names, files in os.walk(self.dest):
            for name in names + files:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                entry: tuple = (stat.filemode(info.st_mode), info.st_uid, info.st_gid)
                if stat.S_ISREG(info.st_mode):
                    entry += (info.st_mtime_ns, Path(path).read_bytes())
                elif stat.S_ISLNK(info.st_mode):
                    entry += (os.readlink(path),)
                found[os.path.relpath(path, self.dest)] = entry
        return found

    def content(self) -> dict[str, bytes]:
        return {path: entry[-1] for path, entry in self.snapshot().items() if entry[0].startswith("-")}

    def manifest(self, name: str = "svc") -> dict[str, Any]:
        return json.loads((self.state / "config_tree" / f"{name}.json").read_text())

    def leftovers(self) -> list[str]:
        found = [str(path) for path in self.dest.rglob("*") if ".postmaster-mail-" in path.name]
        folder = self.state / "config_tree"
        return found + [str(path) for path in (folder.iterdir() if folder.exists() else ()) if path.suffix != ".json"]

    def shown(self, path: str) -> str:
        return str(self.dest / path)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def sh(script: str, **more: Any) -> dict[str, Any]:
    return {"argv": ["sh", "-c", script], **more}


def asked_about_packages(monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[tuple[str, bytes]]:
    """Answer the question whether a file is its package's own; return who asks."""
    asked: list[tuple[str, bytes]] = []
    monkeypatch.setattr(engine.package_files.Packages, "unchanged", lambda _self, *given: bool(asked.append(given)) or answer)
    return asked


# ---------------------------------------------------------------------------------------------------------------------
# Doing and doing again


def test_first_run_then_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    result = host.run(secret=["svc/secret.inc"], modes={"svc/secret.inc": "0600"}, validate=[sh("true")])
    assert result["changed"] and result["validated"]
    assert result["changed_files"] == sorted(host.shown(path) for path in FILES)
    assert host.content() == FILES
    assert (host.dest / "svc/secret.inc").stat().st_mode & 0o7777 == 0o600
    assert (host.dest / "svc/main.conf").stat().st_mode & 0o7777 == 0o644
    assert (host.dest / "svc/conf.d").stat().st_mode & 0o7777 == 0o755
    assert host.leftovers() == []
    assert (host.state / "config_tree/svc.json").stat().st_mode & 0o7777 == 0o600
    assert (host.state / "config_tree").stat().st_mode & 0o7777 == 0o700
    digests = {entry["path"]: entry["digest"].split(":")[0] for entry in host.manifest()["files"].values()}
    assert digests.pop("svc/secret.inc") == "hmac-sha256"
    assert set(digests.values()) == {"sha256"}

    before = host.snapshot()
    asked = asked_about_packages(monkeypatch, False)
    monkeypatch.setattr(engine, "Stage", None)  # nothing to do: nothing may be staged
    monkeypatch.setattr(engine, "write_json", None)
    result = host.run(secret=["svc/secret.inc"], modes={"svc/secret.inc": "0600"}, validate=[sh("false")])
    assert not result["changed"]
    assert result["changed_files"] == result["removed_files"] == result["diff"] == result["warnings"] == asked == []
    assert host.snapshot() == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("shipped", [True, False])
def test_only_what_somebody_changed_is_warned_of(host: Host, monkeypatch: pytest.MonkeyPatch, shipped: bool, check: bool) -> None:
    """A package's own file is kept, so that it can come back, and is nothing to warn of."""
    original = host.write("svc/main.conf", "shipped or not\n")
    asked = asked_about_packages(monkeypatch, shipped)
    result = host.run(check=check)
    assert asked == [(str(original), b"shipped or not\n")]
    assert bool(result["warnings"]) is not shipped
    assert result["adopted_files"] == [{"path": str(original), "backup": host.shown("svc/main.conf.postmaster-orig")}]


@pytest.mark.parametrize("check", [True, False])
def test_diff(host: Host, check: bool) -> None:
    host.write("svc/main.conf", "a = 0\n")
    result = host.run(check=check, secret=["*.inc"])
    by_path = {entry["after_header"]: entry for entry in result["diff"]}
    assert by_path[host.shown("svc/main.conf")]["before"] == "a = 0\n"
    assert by_path[host.shown("svc/main.conf")]["after"] == "a = 1\n"
    assert by_path[host.shown("svc/secret.inc")]["after"] == "(secret: the new content is not shown)\n"
    assert "hunter2x" not in repr(result)


KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----\n"
#: As it is written, and as a diff shows it; "correct horse" must not be seen.
SECRET_LINES = {
    "requirepass correct horse\n": "requirepass ********\n",
    "  #masterauth correct horse\n": "  #masterauth ********\n",
    'user default on >correct horse\n': "user default ********\n",
    "smtp_password=correct horse\n": "smtp_password=********\n",
    '"rpc_secret": "correct horse",\n': '"rpc_secret": ********\n',
    'key "k" { algorithm hmac-sha256; secret "correct horse"; };\n': 'key "k" { algorithm hmac-sha256; secret ********; };\n',
    "connect = host=db user=mail password=correct horse\n": "connect = host=db user=mail password=********\n",
    "uris = ldap://admin:correct_horse@ldap.example.org/\n": "uris = ldap://admin:********@ldap.example.org/\n",
    "me@example.org:{BLF-CRYPT}$2y$05$correcthorse::::\n": "me@example.org:********::::\n",
    "me@example.org:{PLAIN}correct\n": "me@example.org:********\n",
    "pw = correct horse\n": "pw = ********\n",
    "API_TOKEN: correct horse\n": "API_TOKEN: ********\n",
    KEY.replace("MIIEvQIBADANBgkq", "correct/horse"): "-----BEGIN PRIVATE KEY-----\n********\n-----END PRIVATE KEY-----\n",
    "port 6379\nbind 127.0.0.1\n": "port 6379\nbind 127.0.0.1\n",
    "smtpd_tls_key_file = /etc/ssl/mail.key\n": "smtpd_tls_key_file = /etc/ssl/mail.key\n",
}


@pytest.mark.parametrize("how", ["adopted", "edited", "removed"])
@pytest.mark.parametrize(("text", "shown"), SECRET_LINES.items())
def test_a_diff_masks_what_a_file_of_others_may_hold(host: Host, text: str, shown: str, how: str) -> None:
    if how != "adopted":
        host.run()
    host.write("svc/main.conf", "# by hand\n" + text)
    for check in (True, False):
        result = host.run({} if how == "removed" else None, check=check)
        entry = next(entry for entry in result["diff"] if entry["before_header"] == host.shown("svc/main.conf"))
        assert entry["before"] == "# by hand\n" + shown
        assert "orse" not in repr(result) and "correct" not in repr(result)


@pytest.mark.parametrize(("mode", "folder"), [(0o640, 0o755), (0o600, 0o755), (0o644, 0o750), (0o644, 0o700)])
def test_a_diff_does_not_show_what_others_have_written_for_themselves(host: Host, mode: int, folder: int) -> None:
    host.write("svc/main.conf", "swordfish\n", mode).parent.chmod(folder)
    for check in (True, False):
        result = host.run(check=check)
        entry = next(entry for entry in result["diff"] if entry["before_header"] == host.shown("svc/main.conf"))
        assert (entry["before"], entry["after"]) == ("(secret: the present content is not shown)\n", "a = 1\n")
        assert "swordfish" not in repr(result["diff"])
    # The copy that is kept is as open as the file was; what is ours is shown.
    assert (host.dest / "svc/main.conf.postmaster-orig").stat().st_mode & 0o7777 == mode
    (host.dest / "svc").chmod(0o755)
    entry = host.run({"svc/main.conf": b"a = 3\n"}, prune=False, mode=0o600)["diff"][0]
    assert (entry["before"], entry["after"]) == ("a = 1\n", "a = 3\n")
    (host.dest / "svc").chmod(folder)
    assert "swordfish" not in repr(host.run({})["diff"])
    assert (host.dest / "svc/main.conf").read_text() == "swordfish\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_copy_of_a_file_of_others_keeps_owner_group_and_mode(host: Host) -> None:
    for name in ("main.conf", "secret.inc"):
        os.chown(host.write(f"svc/{name}", "requirepass x\n", 0o640), 65534, 12)
    host.run(secret=["*.inc"])
    for name, mode in (("main.conf", 0o640), ("secret.inc", 0o600)):
        info = (host.dest / f"svc/{name}.postmaster-orig").stat()
        assert (info.st_mode & 0o7777, info.st_uid, info.st_gid) == (mode, 65534, 12)


def test_only_what_is_masked_differs(host: Host) -> None:
    host.run({"svc/main.conf": b"password = one\n"})
    entry = host.run({"svc/main.conf": b"password = two\n"})["diff"][0]
    assert (entry["before"], entry["after"]) == ("password = ********\n", "password = ********\n(only what is masked differs)\n")


@pytest.mark.parametrize("check", [True, False])
def test_no_private_key_where_everyone_can_read_it(host: Host, check: bool) -> None:
    shown = host.shown("svc/chain.pem")
    for label in ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"):
        files = {"svc/chain.pem": b"Bag Attributes\n" + KEY.replace("PRIVATE KEY", label).encode(), "svc/main.conf": b"a = 1\n"}
        for mode in (0o644, 0o604):
            with pytest.raises(engine.MailError) as error:
                host.run(files, check=check, mode=mode)
            assert str(error.value) == (
                f"{shown} would hold a private key, and its mode {mode:04o} lets everyone read it: take the key out of it"
            )
            assert host.content() == {}
        result = host.run(files, check=check, mode=0o640)
        assert "MIIEvQIBADANBgkq" not in repr(result)
        host.run({}, check=check)


@pytest.mark.skipif(os.geteuid() != 0, reason="has a directory of a service's")
@pytest.mark.parametrize("check", [True, False])
def test_a_dest_that_a_service_can_change(host: Host, check: bool) -> None:
    """It could put a link in the place of the stage."""
    os.chown(host.dest, 65534, 65534)
    for dest in (host.dest, host.dest / "svc"):
        with pytest.raises(engine.MailError) as error:
            host.run(dest=str(dest), check=check)
        assert str(error.value) == (
            f"dest '{dest}' must be a directory that root alone can change, and nobody can change {host.dest}: name one above it"
        )
    assert list(host.dest.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="has a directory of a service's")
def test_a_directory_that_was_replaced_by_a_link_gives_nothing_away(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a directory of a service's, such as /etc/valkey, between two steps of a swap."""
    other = host.dest.parent / "other"
    other.mkdir(mode=0o700)
    service = host.dest / "valkey"
    service.mkdir()
    os.chown(service, 65534, 65534)
    mkdir = os.mkdir

    def replaced(path: Any, *arguments: Any, **named: Any) -> None:
        mkdir(path, *arguments, **named)
        if str(path) == str(service / "conf.d"):
            os.rmdir(path)
            os.symlink(other, path)

    monkeypatch.setattr(os, "mkdir", replaced)
    with pytest.raises(MailError):
        host.run({"valkey/conf.d/a.conf": b"a\n"}, owner="12345", group="12345")
    found = other.stat()
    assert (found.st_mode & 0o7777, found.st_uid, list(other.iterdir())) == (0o700, 0, [])


def test_a_secret_file_that_everyone_could_read(host: Host) -> None:
    with pytest.raises(engine.MailError) as error:
        host.run(secret=["svc/secret.inc"], modes={"svc/main.conf": "0600"})
    shown = host.shown("svc/secret.inc")
    assert str(error.value) == f"{shown} is secret, and its mode 0644 lets everyone read it: give it another one by modes"
    assert host.content() == {}


def test_a_checker_that_quotes_a_password_of_others(host: Host) -> None:
    host.write("svc/conf.d/theirs.conf", "password = hunter2x\n", 0o640)
    with pytest.raises(engine.Refusal) as error:
        host.run(stage_live=["svc"], validate=[sh("cat '{stage}/svc/conf.d/theirs.conf'; exit 1")])
    assert error.value.output == "password = ********" and "hunter2x" not in str(error.value)


def test_no_diff_unless_asked_for(host: Host) -> None:
    assert "diff" not in host.run(diff=False)


def test_check_mode_tells_the_truth_and_touches_nothing(host: Host) -> None:
    host.write("svc/main.conf", "by hand\n")
    before = host.snapshot()
    predicted = host.run(check=True, validate=[sh("test -f '{stage}/svc/secret.inc'")])
    assert host.snapshot() == before
    assert not host.state.exists()
    done = host.run(validate=[sh("test -f '{stage}/svc/secret.inc'")])
    assert predicted == done
    assert done["validated"]
    before = host.snapshot()
    predicted = host.run({"svc/main.conf": b"a = 2\n"}, check=True)
    assert host.snapshot() == before
    assert predicted == host.run({"svc/main.conf": b"a = 2\n"})
    assert not host.run({"svc/main.conf": b"a = 2\n"}, check=True)["changed"]


def test_check_mode_on_a_fresh_host(host: Host) -> None:
    options = {"owner": "nobody-of-that-name", "group": "no-group-of-that-name", "validate": [{"argv": ["no-such-checker"]}]}
    result = host.run(check=True, **options)
    assert result["changed"] and result["validated"] is False
    result = host.run(check=True, dest=str(host.dest / "not/yet"))
    assert result["changed"] and result["validated"] is False
    assert host.run(check=True, validate=[{"argv": ["no-such-checker"]}])["validated"] is False
    assert host.run(check=True, owner="nobody-of-that-name", validate=[sh("true")])["validated"] is False
    assert host.run(check=True, validate=[{**sh("false"), "needs": [str(host.dest / "made-before")]}])["validated"] is False
    assert host.run(check=True, validate=[{**sh("true"), "needs": ["/"]}])["validated"] is True
    assert host.snapshot() == {}
    with pytest.raises(MailError, match=r"^this host has no user 'nobody-of-that-name'; nothing has been changed$"):
        host.run(**options)
    with pytest.raises(MailError) as error:
        host.run(validate=[{"argv": ["no-such-checker"]}])
    assert str(error.value) == "validate: the checker 'no-such-checker' is not installed on this host; nothing has been changed"
    with pytest.raises(MailError) as error:
        host.run(validate=[{**sh("true"), "needs": ["/", "{stage}/made-before"]}])
    path = host.dest / "made-before"
    assert str(error.value) == f"validate: `sh -c true` needs {path}, not found on this host; nothing has been changed"
    assert host.snapshot() == {}
    with pytest.raises(MailError) as error:
        host.run(dest=str(host.dest / "not/yet"))
    assert str(error.value) == f"dest '{host.dest}/not/yet' cannot be made: the directory above it does not exist"
    assert host.snapshot() == {} and host.leftovers() == []


def test_dest_is_made_and_unmade(host: Host) -> None:
    dest = str(host.dest / "new")
    assert host.run(dest=dest, validate=[sh("test -f '{stage}/svc/main.conf'")])["validated"]
    assert (host.dest / "new/svc/main.conf").read_bytes() == b"a = 1\n"
    host.run({}, dest=dest)
    assert host.snapshot() == {}


def test_mode_only(host: Host) -> None:
    host.run()
    target = host.dest / "svc/main.conf"
    target.chmod(0o600)
    result = host.run()
    assert result["changed_files"] == [str(target)]
    assert result["edited_files"] == []
    assert result["diff"][0]["before"].startswith("mode: 0600\n") and result["diff"][0]["after"].startswith("mode: 0644\n")
    assert target.stat().st_mode & 0o7777 == 0o644
    assert not host.run()["changed"]


@needs_root
def test_owner_and_group(host: Host) -> None:
    options = {"owner": "12345", "group": "daemon", "modes": {"svc/secret.inc": {"owner": "root", "mode": "0640"}, "svc/conf.d": "0700"}}
    host.run(**options)
    daemon = (12345, __import__("grp").getgrnam("daemon").gr_gid)
    look = {path: (entry[0], *entry[1:3]) for path, entry in host.snapshot().items()}
    assert look["svc"] == ("drwxr-xr-x", *daemon)
    assert look["svc/conf.d"] == ("drwx------", *daemon)
    assert look["svc/main.conf"] == ("-rw-r--r--", *daemon)
    assert look["svc/secret.inc"] == ("-rw-r-----", 0, daemon[1])
    os.chown(host.dest / "svc/main.conf", 0, 0)
    (host.dest / "svc/conf.d").chmod(0o755)
    result = host.run(**options)
    assert result["changed_files"] == [host.shown("svc/conf.d"), host.shown("svc/main.conf")]
    assert {path: (entry[0], *entry[1:3]) for path, entry in host.snapshot().items()} == look
    assert not host.run(**options)["changed"]


# ---------------------------------------------------------------------------------------------------------------------
# Checkers


def test_refusal_leaves_everything(host: Host) -> None:
    host.write("svc/main.conf", "old\n")
    before = host.snapshot()
    checker = sh("echo '{stage}/svc/main.conf: bad line: pw = hunter2x'; echo more >&2; exit 3")
    for check in (True, False):
        with pytest.raises(engine.Refusal) as error:
            host.run(check=check, secret=["svc/secret.inc"], validate=[sh("true"), checker, sh("touch {dest}/never")])
        told = f"{host.dest}/svc/main.conf: bad line: ********\nmore"
        assert (error.value.rc, error.value.output) == (3, told)
        command = f"sh -c echo '{host.dest}/svc/main.conf: bad line: pw = ********'; echo more >&2; exit 3"
        assert str(error.value) == (
            f"validate: `{command.replace('********', 'hunter2x')}` refused the staged configuration (rc 3); "
            f"nothing has been changed. Its output:\n{told}"
        )
        assert host.snapshot() == before and host.leftovers() == []
    assert not (host.state / "config_tree/svc.json").exists()


def test_refusal_of_a_later_run(host: Host) -> None:
    host.run()
    manifest, before = host.manifest(), host.snapshot()
    with pytest.raises(engine.Refusal):
        host.run({"svc/main.conf": b"a = 2\n"}, validate=[sh("grep -q 'a = 1' '{stage}/svc/main.conf'")])
    assert (host.manifest(), host.snapshot(), host.leftovers()) == (manifest, before, [])


def test_a_warning_that_a_pattern_catches(host: Host) -> None:
    checker = sh("echo fine; echo 'svc: warning: unused parameter: a=1'")
    assert host.run(check=True, validate=[checker])["validated"]
    with pytest.raises(engine.Refusal) as error:
        host.run(validate=[{**checker, "fail_on": ["never", "^svc: warn"]}])
    assert "accepted the staged configuration (rc 0), but its output matches fail_on '^svc: warn'" in str(error.value)
    assert "unused parameter: a=1" in str(error.value)
    assert host.snapshot() == {} and host.leftovers() == []


def test_a_checker_that_hangs(host: Host) -> None:
    with pytest.raises(engine.Refusal, match=r"did not end within 1 seconds") as error:
        host.run(validate=[sh("echo begun; sleep 60", timeout=1)])
    assert (error.value.rc, error.value.output) == (None, "begun")
    assert host.snapshot() == {} and host.leftovers() == []


def test_a_checker_sees_environment_and_whole_tree(host: Host) -> None:
    host.run()
    host.write("svc/theirs.conf", "theirs\n")
    host.write("other/thing", "not staged\n")
    (host.dest / "svc/relative").symlink_to("theirs.conf")
    (host.dest / "svc/absolute").symlink_to(host.dest / "svc/main.conf")
    (host.dest / "svc/outside").symlink_to("../other/thing")
    os.mkfifo(host.dest / "svc/fifo")
    script = """
        set -e
        test "$LC_ALL$OWN" = "C{stage}!"; test -z "$LANG"
        cd '{stage}'
        test "$(cat svc/theirs.conf svc/relative svc/absolute svc/outside)" = "theirs
theirs
a = 2
not staged"
        test ! -e svc/fifo; test ! -e other; test ! -e svc/conf.d; test ! -e svc/secret.inc
        test "$(readlink svc/outside)" = '{dest}/other/thing'
    """
    result = host.run({"svc/main.conf": b"a = 2\n"}, stage_live=["svc"], validate=[sh(script, environment={"OWN": "{stage}!"})])
    assert result["validated"]
    assert (host.dest / "svc/main.conf").read_bytes() == b"a = 2\n"


def test_stage_live_of_everything(host: Host) -> None:
    host.write("x/y", "1\n", 0o640)
    script = "cd '{stage}'; test \"$(stat -c '%a' x/y; find . | sort | tr '\\n' ' ')\" = '640\n. ./svc ./svc/main.conf ./x ./x/y '"
    assert host.run({"svc/main.conf": b""}, stage_live=["."], validate=[sh(script)])["validated"]


def test_a_checker_sees_what_will_be_beside(host: Host) -> None:
    """A glob that catches a kept file must be found out before, not after."""
    host.write("svc/conf.d/a", "by hand\n")
    with pytest.raises(engine.Refusal, match=r"a\.postmaster-orig"):
        host.run({"svc/conf.d/a": b"ours\n"}, validate=[sh("cd '{stage}'; ls svc/conf.d; exit 1")])


# ---------------------------------------------------------------------------------------------------------------------
# Files of others


def test_adopt_and_restore(host: Host) -> None:
    original = host.write("svc/main.conf", "by hand\n", 0o604)
    os.utime(original, ns=(10**18, 10**18))
    backup = host.shown("svc/main.conf.postmaster-orig")
    result = host.run()
    assert result["adopted_files"] == [{"path": str(original), "backup": backup}]
    assert result["warnings"] == [f"{original} was there before this collection and is replaced; its content is kept in {backup}"]
    assert host.snapshot()["svc/main.conf.postmaster-orig"] == ("-rw----r--", os.geteuid(), os.getegid(), 10**18, b"by hand\n")
    assert not host.run()["changed"]

    result = host.run({})
    assert result["restored_files"] == [{"path": str(original), "backup": backup}]
    assert host.snapshot()["svc/main.conf"] == ("-rw----r--", os.geteuid(), os.getegid(), 10**18, b"by hand\n")
    assert host.content() == {"svc/main.conf": b"by hand\n"}
    assert result["removed_files"] == [host.shown(path) for path in ("svc/conf.d", "svc/conf.d/ein Wört.conf", "svc/secret.inc")]
    assert not host.run({})["changed"]


@pytest.mark.parametrize("killed", [False, True])
def test_absent(host: Host, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    """All of an id goes: what was there before comes back, what was edited is kept, what is of others stays."""
    original = host.write("svc/main.conf", "by hand\n")
    host.run(secret=["svc/secret.inc"], prune=False)
    host.run({"other.conf": b"x\n"}, id="other", dest=str(host.dest))
    host.write("svc/conf.d/ein Wört.conf", "b = 3\n")
    host.write("svc/secret.inc", "pw = hunter3x\n")
    host.write("svc/mine.conf", "mine\n")
    before = host.snapshot()
    gone = {"id": "svc", "dest": "", "files": {}, "absent": True, "state_dir": str(host.state), "diff": True}
    predicted = engine.apply(engine.Tree(**gone), True)
    assert host.snapshot() == before and predicted["ids"] == ["other"]
    if killed:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(engine.State, "delete", lambda *_arguments: (_ for _ in ()).throw(KeyboardInterrupt))
            engine.apply(engine.Tree(**gone))
        assert "svc" in host.run({"other.conf": b"x\n"}, id="other", dest=str(host.dest))["ids"]
    done = engine.apply(engine.Tree(**gone))
    assert killed or predicted == done
    assert host.content() == {
        "other.conf": b"x\n",
        "svc/main.conf": b"by hand\n",
        "svc/conf.d/ein Wört.conf.postmaster-edited": b"b = 3\n",
        "svc/secret.inc.postmaster-edited": b"pw = hunter3x\n",
        "svc/mine.conf": b"mine\n",
    }
    assert "hunter" not in repr(done)
    assert killed or done["restored_files"] == [{"path": str(original), "backup": str(original) + ".postmaster-orig"}]
    assert sorted(path.name for path in (host.state / "config_tree").iterdir()) == ["other.json"]
    again = engine.apply(engine.Tree(**gone))
    assert again["changed"] is False and again["ids"] == ["other"]


def test_a_backup_of_a_hook_does_not_run(host: Host) -> None:
    host.write("hooks/deploy", "#!/bin/sh\n", 0o755)
    host.run({"hooks/deploy": b"ours\n"}, mode=0o755)
    assert (host.dest / "hooks/deploy.postmaster-orig").stat().st_mode & 0o7777 == 0o644
    host.run({})
    assert (host.dest / "hooks/deploy").stat().st_mode & 0o7777 == 0o755


def test_adopt_where_backups_exist(host: Host) -> None:
    host.write("svc/main.conf", "by hand\n")
    host.write("svc/main.conf.postmaster-orig", "of another time\n")
    assert host.run()["adopted_files"][0]["backup"] == host.shown("svc/main.conf.postmaster-orig.1")
    assert host.content()["svc/main.conf.postmaster-orig"] == b"of another time\n"
    assert host.content()["svc/main.conf.postmaster-orig.1"] == b"by hand\n"


def test_a_secret_backup_is_private_and_comes_back_as_it_was(host: Host) -> None:
    host.write("svc/secret.inc", "old secret\n", 0o644)
    result = host.run(secret=["svc"])
    assert (host.dest / "svc/secret.inc.postmaster-orig").stat().st_mode & 0o7777 == 0o600
    assert "old secret" not in repr(result)
    host.run({})
    assert (host.dest / "svc/secret.inc").stat().st_mode & 0o7777 == 0o644


def test_found_the_same_is_not_ours_to_remove(host: Host) -> None:
    host.write("svc/main.conf", "a = 1\n")
    assert host.shown("svc/main.conf") not in host.run()["changed_files"]
    assert host.run({})["warnings"] == [
        f"{host.shown('svc/main.conf')} is no longer wanted, but was there before this collection; it is left alone"
    ]
    assert host.content() == {"svc/main.conf": b"a = 1\n"}
    host.run()
    result = host.run({"svc/main.conf": b"a = 2\n"})
    assert result["adopted_files"][0]["backup"] == host.shown("svc/main.conf.postmaster-orig")


def test_edited_since(host: Host) -> None:
    host.run()
    path, backup = host.shown("svc/main.conf"), host.shown("svc/main.conf.postmaster-edited")
    host.write("svc/main.conf", "a = 1\nedited\n")
    result = host.run()
    assert result["edited_files"] == [{"path": path, "backup": backup}]
    assert result["warnings"] == [f"{path} was changed by hand since the last run and is replaced; its content is kept in {backup}"]
    assert [(entry["before"], entry["after"]) for entry in result["diff"]] == [("a = 1\nedited\n", "a = 1\n")]
    assert host.content() == {**FILES, "svc/main.conf.postmaster-edited": b"a = 1\nedited\n"}
    assert not host.run()["changed"]

    host.write("svc/main.conf", "a = 1\nedited\n")  # the same edit again: one copy is enough
    assert host.run()["edited_files"] == [{"path": path, "backup": backup}]
    host.write("svc/main.conf", "another\n")
    assert host.run()["edited_files"] == [{"path": path, "backup": backup + ".1"}]
    assert host.content()["svc/main.conf.postmaster-edited.1"] == b"another\n"

    host.write("svc/main.conf", "a = 5\n")  # the edit that is going to be ours
    result = host.run({**FILES, "svc/main.conf": b"a = 5\n"})
    assert not result["changed"] and result["edited_files"] == []
    assert not host.run({**FILES, "svc/main.conf": b"a = 5\n"})["changed"]


def test_edited_and_no_longer_wanted(host: Host) -> None:
    host.run({"svc/main.conf": b"a\n"})
    host.write("svc/main.conf", "edited\n")
    result = host.run({})
    assert result["edited_files"] == [{"path": host.shown("svc/main.conf"), "backup": host.shown("svc/main.conf.postmaster-edited")}]
    assert host.content() == {"svc/main.conf.postmaster-edited": b"edited\n"}


def test_without_backup(host: Host) -> None:
    path = str(host.write("svc/main.conf", "by hand\n"))
    assert host.run(backup=False)["adopted_files"] == [{"path": path, "backup": None}]
    host.write("svc/main.conf", "edited\n")
    result = host.run(backup=False)
    assert result["edited_files"] == [{"path": path, "backup": None}]
    kept = "its content is not kept (backup is false)"
    assert result["warnings"] == [f"{path} was changed by hand since the last run and is replaced; {kept}"]
    assert host.content() == FILES


def test_feature_switched_off(host: Host) -> None:
    host.run()
    less = {path: content for path, content in FILES.items() if "conf.d" not in path}
    result = host.run(less, validate=[sh("test ! -e '{stage}/svc/conf.d'")], stage_live=["svc"])
    assert result["removed_files"] == [host.shown("svc/conf.d"), host.shown("svc/conf.d/ein Wört.conf")]
    assert host.content() == less
    assert not (host.dest / "svc/conf.d").exists()
    assert not host.run(less)["changed"]


def test_a_directory_with_files_of_others_stays(host: Host) -> None:
    host.run({"svc/d/x": b"x\n"})
    host.write("svc/d/theirs", "1")
    assert host.run({})["removed_files"] == [host.shown("svc/d/x")]
    assert host.content() == {"svc/d/theirs": b"1"}
    (host.dest / "svc/d/theirs").unlink()
    assert host.run({})["removed_files"] == [host.shown("svc"), host.shown("svc/d")]


def test_prune_off(host: Host) -> None:
    host.run({"svc/a": b"a\n", "svc/b": b"b\n", "svc/c": b"c\n"})
    assert host.run({"svc/a": b"a\n"}, prune=False, exclude=["svc/b"])["removed_files"] == [host.shown("svc/b")]
    assert host.run({"svc/a": b"a\n"})["removed_files"] == [host.shown("svc/c")]


def test_two_ids(host: Host) -> None:
    host.run()
    with pytest.raises(MailError) as error:
        host.run({"svc/main.conf": b"mine\n"}, id="other")
    path = host.shown("svc/main.conf")
    assert str(error.value) == f"{path} belongs to the config_tree id 'svc'; two ids may not put one file"
    host.run({"svc/theirs": b"1\n"}, id="svc-2")
    assert not host.run()["changed"]
    host.run({})
    host.run({"svc/main.conf": b"mine\n"}, id="other")
    assert host.content() == {"svc/main.conf": b"mine\n", "svc/theirs": b"1\n"}


def test_another_dest(host: Host) -> None:
    host.run(dest=str(host.dest / "one"))
    result = host.run(dest=str(host.dest / "two"))
    assert len(result["removed_files"]) == 6
    assert host.content() == {f"two/{path}": content for path, content in FILES.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Links and things that are not files


def test_a_directory_link_that_leads_out(host: Host, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (host.dest / "svc").symlink_to(tmp_path / "outside")
    with pytest.raises(MailError) as error:
        host.run()
    assert str(error.value) == f"{host.dest}/svc is a symbolic link that leads out of dest '{host.dest}', to {tmp_path}/outside"
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_directory_link_inside(host: Host) -> None:
    host.write("real/theirs", "theirs\n")
    (host.dest / "svc").symlink_to("real")
    script = "test \"$(cat '{stage}/svc/main.conf' '{stage}/svc/theirs')\" = 'a = 1\ntheirs'"
    assert host.run(stage_live=["svc"], validate=[sh(script)])["validated"]
    assert host.content() == {**{path.replace("svc", "real"): content for path, content in FILES.items()}, "real/theirs": b"theirs\n"}
    assert not host.run()["changed"]
    assert host.run({"svc/main.conf": b"a = 2\n"}, validate=[sh("grep 'a = 2' '{stage}/svc/main.conf'")])["validated"]
    with pytest.raises(MailError, match="are the same file on this host"):
        host.run({"svc/main.conf": b"1", "real/main.conf": b"2"})


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("untouched\n")
    (host.dest / "resolv.conf").symlink_to(tmp_path / "outside")
    result = host.run({"resolv.conf": b"ours\n"})
    assert result["adopted_files"] == [{"path": host.shown("resolv.conf"), "backup": host.shown("resolv.conf.postmaster-orig")}]
    assert (tmp_path / "outside").read_text() == "untouched\n"
    assert (host.dest / "resolv.conf").is_symlink() is False
    assert os.readlink(host.dest / "resolv.conf.postmaster-orig") == str(tmp_path / "outside")
    host.run({})
    assert os.readlink(host.dest / "resolv.conf") == str(tmp_path / "outside")
    assert not (host.dest / "resolv.conf.postmaster-orig").is_symlink()


def test_not_a_file(host: Host) -> None:
    (host.dest / "svc/main.conf").mkdir(parents=True)
    with pytest.raises(MailError) as error:
        host.run()
    assert str(error.value) == f"{host.dest}/svc/main.conf is a directory on this host, not a file"
    (host.dest / "svc/main.conf").rmdir()
    os.mkfifo(host.dest / "svc/main.conf")
    with pytest.raises(MailError) as error:
        host.run()
    assert str(error.value) == f"{host.dest}/svc/main.conf is a special file on this host, not a file"
    with pytest.raises(MailError) as error:
        host.run({"svc/main.conf/x": b""})
    assert str(error.value) == f"{host.dest}/svc/main.conf is not a directory, but {host.dest}/svc/main.conf/x is to be put below it"


def test_a_file_of_ours_becomes_a_directory_and_a_file_again(host: Host) -> None:
    for files in ({"a": b"1\n"}, {"a/b": b"2\n"}, {"a": b"1\n"}, {"a/b/c": b"3\n"}, {"a/b": b"2\n"}, {"a": b"1\n"}):
        before = host.snapshot()
        predicted = host.run(files, check=True, stage_live=["."], validate=[sh("true")])
        assert host.snapshot() == before
        result = host.run(files, stage_live=["."], validate=[sh(" && ".join(f"test -f '{{stage}}/{path}'" for path in files))])
        assert host.content() == files and result["warnings"] == [] and host.leftovers() == []
        assert (predicted["changed_files"], predicted["removed_files"]) == (result["changed_files"], result["removed_files"])
        assert not host.run(files)["changed"]


@pytest.mark.parametrize("others", ["a/mine", "a/b"])
def test_a_directory_of_ours_with_what_is_of_others_does_not_become_a_file(host: Host, others: str) -> None:
    host.run({"a/b": b"1\n"})
    host.write(others, "mine\n")
    before = host.snapshot()
    with pytest.raises(MailError) as error:
        host.run({"a": b"1\n"})
    assert str(error.value) == f"{host.dest}/a is a directory on this host, not a file"
    assert host.snapshot() == before and host.leftovers() == []


def test_a_file_that_was_there_before_does_not_become_a_directory(host: Host) -> None:
    host.write("a", "by hand\n")
    host.run({"a": b"1\n"})
    before = host.snapshot()
    with pytest.raises(MailError) as error:
        host.run({"a/b": b"1\n"})
    assert str(error.value) == f"{host.dest}/a is not a directory, but {host.dest}/a/b is to be put below it"
    assert host.snapshot() == before
    assert host.run({})["restored_files"] != []


def test_a_file_of_ours_that_is_not_pruned_stays(host: Host) -> None:
    host.run({"a": b"1\n", "c/d": b"1\n"})
    for files in ({"a/b": b"1\n"}, {"c": b"1\n"}):
        with pytest.raises(MailError):
            host.run(files, prune=False)
    assert host.content() == {"a": b"1\n", "c/d": b"1\n"}


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x"])
def test_paths_are_checked_on_the_host_too(host: Host, path: str) -> None:
    with pytest.raises(MailError):
        host.run({path: b""})


def test_dest_must_be_a_directory(host: Host) -> None:
    file = host.write("file", "")
    with pytest.raises(MailError) as error:
        host.run(dest=str(file))
    assert str(error.value) == f"dest '{file}' is not a directory"
    with pytest.raises(MailError) as error:
        host.run(dest="etc")
    assert str(error.value) == "dest 'etc' must be an absolute path"


# ---------------------------------------------------------------------------------------------------------------------
# Full disks, errors, kills


@pytest.fixture
def small_disk(host: Host) -> Iterator[Host]:
    """A host whose dest has room for 64 KiB."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(host.dest)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield host
    subprocess.run(["umount", str(host.dest)], check=True)


@needs_root
@pytest.mark.parametrize("validators", [[sh("true")], []], ids=["staging", "preparing"])
def test_disk_full(small_disk: Host, validators: list) -> None:
    host = small_disk
    host.write("svc/main.conf", b"x" * 20000)
    before = host.snapshot()
    with pytest.raises(MailError, match=r"No space left on device") as error:
        host.run({"svc/main.conf": b"y" * 50000, "svc/a": b"z"}, validate=validators)
    assert "nothing has been changed" in str(error.value)
    assert host.snapshot() == before and host.leftovers() == []
    host.run({"svc/main.conf": b"small\n"}, validate=validators, backup=False)
    assert host.content() == {"svc/main.conf": b"small\n"}


@needs_root
def test_a_mount_below_dest(host: Host) -> None:
    (host.dest / "svc").mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(host.dest / "svc")], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        host.write("svc/main.conf", "by hand\n")
        host.run(validate=[sh("test -e '{stage}/svc/main.conf'")])
        assert host.content() == {**FILES, "svc/main.conf.postmaster-orig": b"by hand\n"}
        host.run({})
        assert host.content() == {"svc/main.conf": b"by hand\n"}
    finally:
        subprocess.run(["umount", str(host.dest / "svc")], check=True)


def prepared(host: Host) -> dict[str, Any]:
    """Leave a host on which the next run does everything there is to do, and return the options of that run."""
    host.write("svc/back.conf", "comes back\n", 0o640)
    names = ("svc/edited", "svc/back.conf", "svc/old/deep/gone", "svc/file", "svc/folder/deep/file")
    host.run({"svc/main.conf": b"a = 1\n", "svc/mode": b"m\n", **dict.fromkeys(names, b"ours\n")})
    host.write("svc/edited", "edited by hand\n")
    host.write("svc/adopted", "by hand\n", 0o600)
    (host.dest / "svc/mode").chmod(0o600)
    return {
        "files": {
            "svc/main.conf": b"a = 2\n",
            "svc/edited": b"ours, too\n",
            "svc/adopted": b"ours, too\n",
            "svc/new/deep/file": b"new\n",
            "svc/file/deep/file": b"in a directory now\n",
            "svc/folder": b"a file now\n",
            "svc/mode": b"m\n",
        },
        "stage_live": ["svc"],
        "validate": [{"argv": ["/bin/true"]}],
    }


def strip_times(snapshot: dict[str, tuple]) -> dict[str, tuple]:
    return {path: entry[:3] + entry[4:] if entry[0].startswith("-") else entry for path, entry in snapshot.items()}


EVENTS = {"open", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.utime"}


def killed_at(count: int, action: Callable[[], object]) -> bool:
    """Run something in a child that dies, as by SIGKILL, before its count-th change to a file system; whether it died."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        left = [count]

        def watch(event: str, arguments: tuple) -> None:
            if event in EVENTS and not (event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT)):
                left[0] -= 1
                if left[0] == 0:
                    os._exit(99)

        sys.addaudithook(watch)
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 99), "the run failed instead of being killed"
    return status == 99


@pytest.fixture
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests kill processes, not machines: what fsync is for does not happen here, and hundreds of them take a minute."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.usefixtures("no_sync")
def test_killed_anywhere(tmp_path: Path) -> None:
    """However far a killed run came, each file is the old or the new one, and the next run ends where one whole run would."""
    model = Host(_made(tmp_path / "model"))
    options = prepared(model)
    old = strip_times(model.snapshot())
    whole = model.run(**options)
    new = strip_times(model.snapshot())
    assert {"svc/adopted.postmaster-orig", "svc/edited.postmaster-edited", "svc/new/deep/file"} <= set(new)
    assert "svc/old" not in new and new["svc/back.conf"][-1] == b"comes back\n"

    outcomes = set()
    for count in range(1, 1000):
        host = Host(_made(tmp_path / str(count)))
        assert prepared(host) == options
        if not killed_at(count, partial(host.run, **options)):
            break
        for path, entry in strip_times(host.snapshot()).items():
            if not path.startswith(".postmaster-mail-svc+") and entry[0].startswith("-"):
                assert entry in (old.get(path), new.get(path)), (count, path)
        pending = host.run(check=True, **options)["recovered"]
        result = host.run(**options)
        outcomes.add((pending, result["recovered"]))
        assert strip_times(host.snapshot()) == new, count
        assert host.leftovers() == [], count
        assert {path.replace(str(host.dest), ""): {**entry, "path": ""} for path, entry in _relative(host).items()} == {
            path.replace(str(model.dest), ""): {**entry, "path": ""} for path, entry in _relative(model).items()
        }
        if result["recovered"]:
            assert result["changed"], count
            assert {path.replace(str(host.dest), "") for path in result["changed_files"]} == {
                path.replace(str(model.dest), "") for path in whole["changed_files"]
            }
            assert result["edited_files"] == [], count
        again = host.run(**options)
        assert not again["changed"] and again["recovered"] is None, count
    else:
        pytest.fail("the run never came to its end")
    assert count > 100
    assert outcomes == {(None, None), ("pending", "finished")}


def _relative(host: Host) -> dict[str, Any]:
    text = json.dumps(host.manifest()["files"]).replace(str(host.dest), "DEST")
    return json.loads(text)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the number-th change to a live file fail."""
    left = [number]

    def wrap(name: str) -> None:
        real = getattr(engine.Swap, name)

        def wrapped(self: engine.Swap, step: engine.Step) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device", step.path)
            real(self, step)

        monkeypatch.setattr(engine.Swap, name, wrapped)

    wrap("_do")


@pytest.mark.usefixtures("no_sync")
def test_an_error_anywhere_in_the_swap_undoes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 100):
        host = Host(_made(tmp_path / str(number)))
        options = prepared(host)
        before, manifest = host.snapshot(), host.manifest()
        with monkeypatch.context() as patch:
            failing(patch, number)
            try:
                host.run(**options)
            except MailError as exc:
                assert str(exc).startswith("the files could not be put in place, and all are as before: No space left on device: ")
            else:
                break
        assert (host.snapshot(), host.manifest(), host.leftovers()) == (before, manifest, []), number
    assert number > 12


@pytest.mark.usefixtures("no_sync")
def test_killed_while_undoing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Host(_made(tmp_path / "model"))
    options = prepared(model)
    model.run(**options)
    new = strip_times(model.snapshot())
    outcomes = set()
    for count in range(1, 1000, 2):
        host = Host(_made(tmp_path / str(count)))
        prepared(host)

        def run(host: Host = host) -> None:
            with monkeypatch.context() as patch:
                failing(patch, 11)
                with pytest.raises(MailError):
                    host.run(**options)

        if not killed_at(count, run):
            break
        outcomes.add(host.run(**options)["recovered"])
        assert (strip_times(host.snapshot()), host.leftovers()) == (new, []), count
    assert outcomes == {None, "finished", "undone"}


def test_what_is_written_between_kill_and_next_run_is_kept(host: Host) -> None:
    host.run({"svc/a": b"1\n", "svc/b": b"1\n"})
    files = {"svc/a": b"2\n", "svc/b": b"2\n"}
    count = 1
    while host.content().get("svc/a") != b"2\n" or not (host.state / "config_tree/svc.journal").exists():
        count += 1
        host.run({"svc/a": b"1\n", "svc/b": b"1\n"})
        assert killed_at(count, partial(host.run, files))
    assert host.content()["svc/b"] == b"1\n"
    host.write("svc/b", "a repair by hand\n")
    result = host.run(files)
    assert result["recovered"] == "finished"
    (edit,) = result["edited_files"]
    assert edit["path"] == host.shown("svc/b")
    assert Path(edit["backup"]).read_bytes() == b"a repair by hand\n"
    assert (host.content()["svc/a"], host.content()["svc/b"]) == (b"2\n", b"2\n")


def test_keys_of_a_table_whose_lines_changed_or_went(host: Host) -> None:
    options = {"line_keys": {"svc/users": ":"}, "secret": ["svc/users"], "modes": {"svc/users": "0600"}}
    assert host.run({"svc/users": b"a:1\nb:2\nc:3\n", "svc/x": b""}, **options)["changed_keys"] == {}
    files = {"svc/users": b"a:1\nb:5\nd:4\n", "svc/x": b"y"}
    expected = {host.shown("svc/users"): ["b", "c"]}
    assert host.run(files, check=True, **options)["changed_keys"] == host.run(files, **options)["changed_keys"] == expected
    assert host.run(files, **options)["changed_keys"] == {}


@pytest.mark.usefixtures("no_sync")
def test_keys_are_reported_by_the_run_that_finishes_a_killed_one(tmp_path: Path) -> None:
    options: dict[str, Any] = {"line_keys": {"svc/a": ":"}}
    outcomes = set()
    for count in range(1, 1000):
        host = Host(_made(tmp_path / str(count)))
        host.run({"svc/a": b"k:1\n", "svc/b": b"1"}, **options)
        if not killed_at(count, partial(host.run, {"svc/a": b"k:2\n", "svc/b": b"2"}, **options)):
            break
        result = host.run({"svc/a": b"k:2\n", "svc/b": b"2"}, **options)
        outcomes.add(result["recovered"])
        # At the very end all is done, and only the killed run could report it.
        assert result["changed_keys"] == {host.shown("svc/a"): ["k"]} or not result["changed"], count
    assert outcomes == {None, "finished"}


def test_somebody_else_writes_during_the_run(host: Host) -> None:
    host.run()
    with pytest.raises(MailError) as error:
        host.run({"svc/main.conf": b"a = 2\n"}, validate=[sh("echo theirs > '{dest}/svc/main.conf'")])
    path = host.shown("svc/main.conf")
    assert str(error.value) == f"{path} was changed by somebody else during this run; nothing has been changed, run it again"
    assert host.content() == {**FILES, "svc/main.conf": b"theirs\n"} and host.leftovers() == []


def test_one_run_at_a_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run()
    monkeypatch.setattr(engine, "LOCK_SECONDS", 0.2)
    folder = os.open(host.state / "config_tree", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(MailError, match="another run of config_tree has held"):
            host.run()
    finally:
        os.close(folder)
    assert not host.run()["changed"]


def test_stages_of_others_are_left_alone(host: Host) -> None:
    for name in (".postmaster-mail-svc-signing+abc", ".postmaster-mail-svc+abc"):
        (host.dest / name).mkdir(mode=0o700)
    host.run(check=True)
    assert len(host.leftovers()) == 2
    host.run()
    assert host.leftovers() == [host.shown(".postmaster-mail-svc-signing+abc")]


def test_a_damaged_manifest_is_named(host: Host) -> None:
    host.run()
    path = host.state / "config_tree/svc.json"
    path.write_text("{")
    with pytest.raises(MailError, match=rf"^{path} is damaged .*; repair or delete it$"):
        host.run()


def test_an_initial_file_is_put_where_there_is_none_and_keeps_what_others_write(host):
    files, initial = {"svc/a": b"a\n", "svc/table": b""}, ["svc/table"]
    assert host.run(files, initial=initial)["changed_files"] == [host.shown("svc/a"), host.shown("svc/table")]
    host.write("svc/table", "theirs\n")
    for check in (True, False):
        again = host.run(files, check=check, initial=initial)
        assert (again["changed"], again["edited_files"], again["warnings"]) == (False, [], [])
    seen = host.dest / "seen"
    validate = [{"argv": ["cp", "{stage}/svc/table", str(seen)], "fail_on": [], "environment": {}, "needs": [], "timeout": 60}]
    assert host.run({**files, "svc/a": b"b\n"}, initial=initial, validate=validate)["changed_files"] == [host.shown("svc/a")]
    assert host.content() == {"svc/a": b"b\n", "svc/table": b"theirs\n", "seen": b"theirs\n"}
    # Ours again once it is no longer initial, and not as if it had been edited since.
    done = host.run({"svc/table": b"ours\n"})
    assert (host.content()["svc/table"], done["edited_files"], done["removed_files"]) == (b"ours\n", [], [host.shown("svc/a")])


def test_an_initial_file_still_gets_its_mode(host):
    host.write("svc/table", "theirs\n", 0o600)
    assert host.run({"svc/table": b""}, initial=["svc/*"])["changed_files"] == [host.shown("svc/table")]
    assert host.snapshot()["svc/table"][0] == "-rw-r--r--" and host.content() == {"svc/table": b"theirs\n"}
