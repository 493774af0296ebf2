# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry what one instance of Redis or Valkey keeps over to another, also of another name and version. This is I/O.

Their binary snapshots are not for each other: Redis 8 writes version 12, Valkey 8 reads up to version 11. What both read is the
append-only file as plain commands, so the source writes that first.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files as safe

# Minutes are for a store of gigabytes on a slow disk; ours takes a second.
PATIENCE = 300.0
# What is asked is answered in some kilobytes.
ANSWER = 1 << 20


@dataclass
class Source:
    """The instance that has the data: its unit, the socket that it listens at, and the directory that it keeps them in."""

    service: str
    socket: str
    directory: str


@dataclass
class Target:
    """The instance that is to have them: its program, the system user that it runs as, its directory, and its configuration file."""

    server: str
    owner: str
    directory: str
    config: str


@dataclass
class RedisMigration:
    """What is carried, ``name`` being both ``appenddirname`` and the start of ``appendfilename``; ``users`` are the units that write."""

    name: str
    source: Source
    target: Target
    users: list[str] = field(default_factory=list)

    @property
    def kept(self) -> pathlib.Path:
        return pathlib.Path(self.source.directory, self.name)

    @property
    def stage(self) -> pathlib.Path:
        return pathlib.Path(self.target.directory, f".{self.name}.carried")


class Client:
    """Asks a server through its socket, by the protocol that Redis and Valkey share (RESP 2)."""

    def __init__(self, path: str, timeout: float = 60) -> None:
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(timeout)
        self.connection.connect(path)
        self.stream = self.connection.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stream.close()
        self.connection.close()

    def ask(self, *words: str) -> str:
        """Return the answer to one command, a single value.

        :raises MailError: the server's error, with the command
        """
        parts = [word.encode() for word in words]
        self.connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        line = self.stream.readline(ANSWER).rstrip(b"\r\n").decode("utf-8", "replace")
        if line[:1] == "$":
            size = int(line[1:]) if line[1:].lstrip("-").isdecimal() else ANSWER + 1
            if size > ANSWER:
                raise MailError(f"{' '.join(words)} was answered with {line[:40]!r}, more than {ANSWER} octets")
            return "" if size < 0 else self.stream.read(size + 2)[:-2].decode("utf-8", "replace")
        if line[:1] in ("+", ":"):
            return line[1:]
        raise MailError(f"{' '.join(words)} was answered with {line[1:] or 'nothing'}")


def numbers(text: str) -> dict[str, str]:
    """Read what INFO says, name to value."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _colon, value in pairs}


def lasting(keyspace: str) -> tuple[int, int]:
    """Return, from INFO keyspace, how many keys there are, and how many of them never expire.

    The second figure is the same whenever one counts; the first falls by itself.
    """
    keys = forever = 0
    for name, value in numbers(keyspace).items():
        if name.startswith("db"):
            found = dict(part.split("=", 1) for part in value.split(",") if "=" in part)
            keys += int(found["keys"])
            forever += int(found["keys"]) - int(found.get("expires", 0))
    return keys, forever


def base_files(manifest: str) -> list[str]:
    """Return the base files that a manifest of append-only files names (``file NAME seq NUMBER type b``)."""
    found = []
    for line in manifest.splitlines():
        words = line.split()
        pairs = dict(zip(words[0::2], words[1::2]))
        if pairs.get("type") == "b":
            found.append(pairs.get("file", ""))
    return found


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        raise MailError(f"systemctl {' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def active(service: str) -> bool:
    return subprocess.run(["systemctl", "--quiet", "is-active", service], check=False).returncode == 0


def wait_for(what: str, test: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return the first true result of a test; these servers have no event to wait for."""
    end = time.monotonic() + patience
    while True:
        found = test()
        if found:
            return found
        if time.monotonic() > end:
            raise MailError(f"waited {patience:g} s in vain for {what}")
        time.sleep(0.1)


def answers(path: str) -> bool:
    """Whether a server at this socket has read all its data."""
    try:
        with Client(path) as client:
            return client.ask("PING") == "PONG"
    except MailError as exc:
        if "LOADING" in str(exc):
            return False
        raise
    except OSError:
        return False


def needed(plan: RedisMigration) -> bool:
    """Whether there is something to carry, and the target has not been put to work: it has no configuration before that."""
    return (plan.kept / f"{plan.name}.aof.manifest").is_file() and not os.path.exists(plan.target.config)


def write_plain(plan: RedisMigration) -> tuple[int, int]:
    """Have the source write all it has as plain commands; return its keys, as ``lasting`` does."""
    wait_for(f"{plan.source.service} to answer at {plan.source.socket}", lambda: answers(plan.source.socket))
    with Client(plan.source.socket) as client:
        def idle() -> bool:
            state = numbers(client.ask("INFO", "persistence"))
            return {state[name] for name in ("aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress")} == {"0"}

        wait_for(f"{plan.source.service} to end what it is writing", idle)
        client.ask("CONFIG", "SET", "aof-use-rdb-preamble", "no")
        client.ask("BGREWRITEAOF")
        wait_for(f"{plan.source.service} to write its data", idle)
        state = numbers(client.ask("INFO", "persistence"))
        if state["aof_last_bgrewrite_status"] != "ok":
            raise MailError(f"{plan.source.service} could not write its data to {plan.kept}: see its log; is the disk full?")
        return lasting(client.ask("INFO", "keyspace"))


def copy(plan: RedisMigration, uid: int, gid: int) -> pathlib.Path:
    """Copy the source's files into the stage, on disk before anything relies on them.

    Both directories belong to the accounts of the two servers: what is no regular file there, or has a second name, is not copied.
    """
    if plan.stage.is_symlink():
        safe.unlink(str(plan.stage))
    shutil.rmtree(plan.stage, ignore_errors=True)
    copied = plan.stage / plan.name
    for folder in (plan.stage, copied):
        safe.mkdir(str(folder), os.geteuid(), os.getegid())
    for name in sorted(os.listdir(plan.kept)):
        with safe.place(str(plan.kept / name), follow=False) as found:
            try:
                handle = found.open()
            except OSError as exc:
                raise MailError(f"{found.path} cannot be copied: {exc.strerror}") from exc
        with os.fdopen(handle, "rb") as source, safe.place(str(copied / name), follow=False) as found:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                raise MailError(f"{plan.kept / name} is no regular file")
            target = found.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            with os.fdopen(target, "wb") as stream:
                shutil.copyfileobj(source, stream)
                stream.flush()
                safe.change(target, uid, gid, stat.S_IMODE(info.st_mode) & 0o660)
                os.fsync(target)
    manifest = safe.read(str(copied / f"{plan.name}.aof.manifest"), follow=False) or b""
    base = base_files(manifest.decode("utf-8", "replace"))
    if not base or not all(name.endswith(".base.aof") for name in base):
        raise MailError(f"{plan.kept} has no data as plain commands: its manifest names {', '.join(base) or 'no base file'}")
    for folder in (copied, plan.stage):
        safe.sync(str(folder))
        safe.give(str(folder), uid, gid, 0o750)
    return copied


@contextlib.contextmanager
def trial(plan: RedisMigration, uid: int, gid: int) -> Iterator[Client]:
    """The target's server on the copy, apart from every configuration; ended with all that it has read on disk."""
    path = str(plan.stage / "trial.sock")
    argv = [plan.target.server, "--port", "0", "--unixsocket", path, "--dir", str(plan.stage), "--save", "", "--appendonly", "yes",
            "--appenddirname", plan.name, "--appendfilename", f"{plan.name}.aof", "--daemonize", "no", "--logfile", ""]  # fmt: skip
    options: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
    # Not in a directory of the target's, who could put a link in its place.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=plan.stage, **options)
        try:
            def ready() -> bool:
                if child.poll() is not None:
                    log.seek(0)
                    said = " ".join(log.read()[-2000:].split())
                    raise MailError(f"{plan.target.server} cannot read what {plan.source.service} has written to {plan.kept}: {said}")
                return answers(path)

            wait_for(f"{plan.target.server} to read {plan.kept}", ready)
            with Client(path) as client:
                yield client
        finally:
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def carry(plan: RedisMigration) -> int:
    """Carry everything over and return the number of keys. The target's service must not run; the source and its users are stopped.

    After an error everything runs again as it did before. After a kill a second call does all of it once more.
    """
    entry = pwd.getpwnam(plan.target.owner)
    running = [service for service in (plan.source.service, *plan.users) if active(service)]
    try:
        # What writes there is stopped first: nothing may be learnt by the source once it has been copied.
        for service in plan.users:
            systemctl("stop", service)
        systemctl("start", plan.source.service)
        keys, forever = write_plain(plan)
        systemctl("stop", plan.source.service)
        copied = copy(plan, entry.pw_uid, entry.pw_gid)
        with trial(plan, entry.pw_uid, entry.pw_gid) as client:
            _found, kept = lasting(client.ask("INFO", "keyspace"))
        if kept != forever:
            raise MailError(f"{plan.target.server} finds {kept} lasting keys in the copy of {plan.kept}, which has {forever}")
        final = pathlib.Path(plan.target.directory, plan.name)
        # Left by a call that was killed, or by a server that nobody has configured.
        if os.path.lexists(final):
            shutil.rmtree(final)
        safe.rename(str(copied), str(final))
        safe.sync(str(final.parent))
    except (MailError, OSError):
        for service in running:
            with contextlib.suppress(MailError):
                systemctl("start", service)
        raise
    finally:
        shutil.rmtree(plan.stage, ignore_errors=True)
    return keys


def others(service: str) -> list[str]:
    """Return the other instances of the same template that are there, as of ``redis-server@.service``."""
    template = service.partition("@")[0]
    listed = systemctl("list-units", "--all", "--no-legend", "--plain", f"{template}@*.service").split("\n")
    names = (line.split()[0] for line in listed if line.strip())
    return sorted(name for name in names if name not in (service, f"{service}.service"))
