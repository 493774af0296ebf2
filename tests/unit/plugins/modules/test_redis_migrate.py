# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module against stand-ins of both stores and of systemctl; tests/integration/targets/upgrade has the real ones."""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from dkim_runner import Runner

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._host import redis

HERE = pathlib.Path(__file__).parent
WORDS = ["one", "two", "three", "forgotten expires"]


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    """A directory that the stand-ins know, and a runner that finds them first."""
    lab = tmp_path_factory.mktemp("store")
    programs = tmp_path_factory.mktemp("bin")
    for name in ("systemctl", "new-server"):
        (programs / name).symlink_to(HERE / "fake_store.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORE_LAB", str(lab))
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        yield lab, Runner()


class Host:
    """A host whose old store runs and has words; the new one is installed and was never configured."""

    def __init__(self, lab: pathlib.Path, runner: Runner) -> None:
        self.lab, self.runner = lab, runner
        self.kept = lab / "old/rspamd"
        self.kept.mkdir(parents=True)
        (lab / "new").mkdir()
        (self.kept / "rspamd.aof.1.base.rdb").write_text("".join(f"{line}\n" for line in ["12", *WORDS]))
        (self.kept / "rspamd.aof.manifest").write_text("file rspamd.aof.1.base.rdb seq 1 type b\n")
        self.options = {
            "name": "rspamd",
            "source": {"service": "old@rspamd", "socket": str(lab / "old.sock"), "directory": str(lab / "old")},
            "target": {"server": "new-server", "owner": getpass.getuser(), "directory": str(lab / "new"), "config": str(lab / "new.conf")},
            "users": ["filter"],
        }
        self.systemctl("start", "old@rspamd")
        self.systemctl("start", "filter")

    def systemctl(self, *words: str) -> None:
        subprocess.run(["systemctl", *words], check=True, timeout=20)

    def carry(self, check: bool = False, **options):
        return self.runner("redis_migrate", {**self.options, **options}, check)

    def running(self) -> set[str]:
        return {path.stem for path in self.lab.glob("*.pid")}

    def carried(self) -> list[str]:
        """The words that the new server would find, in plain commands."""
        files = self.lab / "new/rspamd"
        base = (files / "rspamd.aof.manifest").read_text().split()[1]
        assert base.endswith(".base.aof")
        return (files / base).read_text().splitlines()


@pytest.fixture
def host(laboratory):
    lab, runner = laboratory
    for path in lab.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = Host(lab, runner)
    yield found
    found.systemctl("stop", "old@rspamd")


def test_check_do_and_over_once_the_new_store_is_configured(host):
    told = host.carry(check=True)
    assert (told["changed"], told["keys"], told["kept"]) == (True, None, str(host.kept))
    assert told["diff"] == {"before": f"{host.kept}\n", "after": f"{host.lab}/new/rspamd\n"}
    assert host.running() == {"old@rspamd", "filter"}
    assert not (host.lab / "new/rspamd").exists()

    done = host.carry()
    assert (done["changed"], done["keys"], done["others"]) == (True, 4, [])
    assert host.carried() == WORDS
    assert (host.kept / "rspamd.aof.2.base.aof").read_text().splitlines() == WORDS
    assert host.running() == set()  # so that nothing is learnt where nobody will look
    assert [path.name for path in (host.lab / "new").iterdir()] == ["rspamd"]

    (host.lab / "new.conf").touch()
    calls = (host.lab / "calls").read_text()
    for check in (True, False):
        again = host.carry(check=check)
        assert (again["changed"], again["keys"], again["kept"]) == (False, None, str(host.kept))
    later = (host.lab / "calls").read_text().removeprefix(calls).splitlines()
    assert later == ["list-units --all --no-legend --plain old@*.service"] * 2


def test_whoever_writes_is_stopped_before_the_data_are_written_out(host):
    host.carry()
    calls = [line for line in (host.lab / "calls").read_text().splitlines() if line.startswith("st")]
    assert calls[2:] == ["stop filter", "start old@rspamd", "stop old@rspamd"]


def test_a_store_that_does_not_run_is_started_for_it(host):
    host.systemctl("stop", "old@rspamd")
    assert host.carry()["keys"] == 4
    assert host.carried() == WORDS


def test_what_was_interrupted_is_begun_anew_with_what_was_learnt_since(host):
    host.carry()
    # The host was rebooted before the new configuration came, and the filter went on learning.
    base = host.kept / "rspamd.aof.2.base.aof"
    base.write_text(base.read_text() + "later\n")
    host.systemctl("start", "old@rspamd")
    host.systemctl("start", "filter")
    (host.lab / "new/.rspamd.carried").mkdir()
    assert host.carry()["keys"] == 5
    assert host.carried() == [*WORDS, "later"]


@pytest.mark.parametrize("trouble", ["refuse-rewrite", "lose"])
def test_after_an_error_everything_runs_as_before(host, trouble):
    (host.lab / trouble).touch()
    failed = host.carry()
    assert failed["failed"] is True
    said = {
        "refuse-rewrite": f"old@rspamd could not write its data to {host.kept}: see its log; is the disk full?",
        "lose": f"new-server finds 2 lasting keys in the copy of {host.kept}, which has 3",
    }[trouble]
    assert failed["msg"] == f"{said}. {host.kept} is as it was, and old@rspamd, filter run as before"
    assert host.running() == {"old@rspamd", "filter"}
    assert list((host.lab / "new").iterdir()) == []
    (host.lab / trouble).unlink()
    assert host.carry()["keys"] == 4


root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: has directories of a service's")


@root
@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO"])
def test_what_the_old_store_does_not_own_is_not_copied(host, kind):
    """Its account puts a link into its own directory: the new one would get to read what only root may."""
    secret = host.lab / "shadow"
    secret.write_text("root:secret\n")
    for path in (host.lab / "old", host.kept):
        os.chown(path, 65534, 65534)
    path = host.kept / "rspamd.aof.9.incr.aof"
    {"link": lambda: path.symlink_to(secret), "hard link": lambda: os.link(secret, path), "FIFO": lambda: os.mkfifo(path)}[kind]()
    failed = host.carry()
    said = {
        "link": f"{path} cannot be copied: Too many levels of symbolic links",
        "hard link": f"'{path}' is one of several names of a file, in a directory that nobody can change ({host.lab}/old): it could be a "
                     "file of somebody else's",
        "FIFO": f"{path} is no regular file",
    }[kind]
    assert failed["msg"].startswith(said), failed["msg"]
    assert host.running() == {"old@rspamd", "filter"} and list((host.lab / "new").iterdir()) == []


@root
@pytest.mark.parametrize("name", [".rspamd.carried", "rspamd"])
def test_where_a_link_of_the_new_store_leads_nothing_changes(host, name):
    other = host.lab / "etc"
    other.mkdir(mode=0o700)
    (other / "rspamd").mkdir()
    os.chown(host.lab / "new", 65534, 65534)
    (host.lab / "new" / name).symlink_to(other)
    done = host.carry()
    assert done.get("keys") == 4 or done["failed"]
    assert [path.name for path in other.iterdir()] == ["rspamd"] and list((other / "rspamd").iterdir()) == []
    assert (other.stat().st_uid, other.stat().st_mode & 0o777) == (0, 0o700)


@root
@pytest.mark.parametrize("moment", ["stage", "copy"])
def test_a_link_that_comes_while_it_is_copied(tmp_path, monkeypatch, moment):
    """The account of the new store puts it into its own directory."""
    kept, new, other = tmp_path / "old/rspamd", tmp_path / "new", tmp_path / "etc"
    for folder in (kept, new, other):
        folder.mkdir(parents=True)
    (kept / "rspamd.aof.1.base.aof").write_text("x\n")
    (kept / "rspamd.aof.manifest").write_text("file rspamd.aof.1.base.aof seq 1 type b\n")
    os.chown(new, 65534, 65534)
    plan = redis.RedisMigration("rspamd", redis.Source("old", "", str(tmp_path / "old")), redis.Target("new", "nobody", str(new), ""))
    if moment == "stage":
        monkeypatch.setattr(redis.shutil, "rmtree", lambda *_more, **_named: plan.stage.symlink_to(other))
    else:
        mkdir = redis.safe.mkdir

        def swapped(path, *more):
            mkdir(path, *more)
            if path.endswith("/rspamd"):
                plan.stage.rename(new / "away")
                plan.stage.symlink_to(other)
                (other / "rspamd").mkdir()

        monkeypatch.setattr(redis.safe, "mkdir", swapped)
    with pytest.raises((MailError, OSError)):
        redis.copy(plan, 65534, 65534)
    assert [str(path.relative_to(other)) for path in other.rglob("*")] == ["rspamd"] * (moment == "copy")
    assert all(path.stat().st_uid == 0 for path in (other, *other.rglob("*")))


def test_a_new_server_that_cannot_start_is_an_error_with_its_words(host):
    failed = host.carry(target={**host.options["target"], "server": "false"})
    assert failed["msg"].startswith(f"false cannot read what old@rspamd has written to {host.kept}: ")
    assert host.running() == {"old@rspamd", "filter"}


def test_an_owner_who_does_not_exist(host):
    failed = host.carry(target={**host.options["target"], "owner": "nobody-of-this-name"})
    assert failed["msg"] == "owner 'nobody-of-this-name' is no user of this host: install new-server first"
    assert host.running() == {"old@rspamd", "filter"}


def test_nothing_to_carry(host):
    host.systemctl("stop", "old@rspamd")
    shutil.rmtree(host.kept)
    done = host.carry()
    assert (done["changed"], done["kept"], done["diff"]) == (False, "", {"before": "", "after": ""})


def test_other_instances_are_told(host):
    (host.lab / "units").write_text("old@rspamd.service loaded active running x\nold@shop.service loaded inactive dead y\n")
    assert host.carry(check=True)["others"] == ["old@shop.service"]


def test_a_signal_is_an_error_like_others(host):
    host.systemctl("stop", "old@rspamd")
    silent = {**host.options["source"], "socket": str(host.lab / "none")}
    started = host.runner.start("redis_migrate", {**host.options, "source": silent})
    end = time.monotonic() + 20
    while "old@rspamd" not in host.running():
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.3)
    with contextlib.suppress(ProcessLookupError):
        os.kill(started[1], signal.SIGTERM)
    failed = host.runner.finish(started)
    assert failed["msg"].startswith("interrupted by SIGTERM. ")
    assert "filter" in host.running()
    assert not (host.lab / "new/rspamd").exists()
