# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put a tree of configuration files in place on this host: plan, stage, validate, swap, and recover a killed swap.

The order of a run, and what a kill at each point leaves for the next run:

1. plan: look at the live files, decide on a list of steps (nothing written);
2. stage: a 0700 directory ``.postmaster-mail-ID+RANDOM`` in ``dest`` holds the staged tree, then the new files, and
   links to the files that are going to be replaced (killed: the next run deletes the directory);
3. journal: the steps and the manifest to be are written to ``STATE/config_tree/ID.journal``. From here on the swap is
   decided (killed: the next run finishes it, or undoes it if it cannot be finished);
4. swap: one rename per file; an error undoes the steps in reverse (killed while undoing: the next run goes on undoing);
5. manifest written, journal deleted, stage deleted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import json
import os
import pwd
import re
import secrets as random_secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible_collections.postmaster.mail.plugins.module_utils import _secret_text
from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import package_files, rules
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._io import safe_files

LOCK_SECONDS = 300.0
OUTPUT_LIMIT = 20000
NEW_SUFFIX = ".new"
SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Refusal(MailError):
    """A checker did not accept the staged tree. Nothing live has been touched."""

    def __init__(self, message: str, command: list[str], rc: int | None, output: str) -> None:
        super().__init__(message)
        self.command = command
        self.rc = rc
        self.output = output


@dataclass
class Tree:
    """What is wanted: the module's options and the rendered files (path relative to ``dest`` → content)."""

    id: str
    dest: str
    files: dict[str, bytes]
    mode: int = 0o644
    owner: str | None = None
    group: str | None = None
    modes: Mapping[str, Any] = field(default_factory=dict)
    secret: Sequence[str] = ()
    exclude: Sequence[str] = ()
    initial: Sequence[str] = ()
    line_keys: Mapping[str, str] = field(default_factory=dict)
    stage_live: Sequence[str] = ()
    validate: Sequence[Mapping[str, Any]] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)  # name that a checker has → text
    prune: bool = True
    backup: bool = True
    state_dir: str = "/var/lib/postmaster-mail"
    diff: bool = False
    absent: bool = False


class Live(NamedTuple):
    """One path as it is: ``kind`` is absent, file, link, directory or special."""

    kind: str
    content: bytes = b""  # of a file; of a link: where it points
    mode: int = 0
    uid: int = -1
    gid: int = -1
    mtime: int = 0  # ns


@dataclass
class Step:
    """One step of a swap: put, remove, mkdir, rmdir or attributes."""

    op: str
    path: str
    mode: int = 0
    uid: int = -1
    gid: int = -1
    before: tuple[int, int, int] | None = None  # attributes: mode, uid, gid as they were
    number: int = -1  # put, remove: the name of the new and the old file in the stage
    had: bool = False  # put: there was something before
    content: bytes = b""
    link: bool = False
    mtime: int | None = None
    seen: Live | None = None  # put, remove: what the plan is based on
    digest: str | None = None  # put, remove: of what was there when the swap began

    def record(self) -> dict[str, Any]:
        """Return what the journal must know."""
        names = ("op", "path", "mode", "uid", "gid", "before", "number", "had", "digest")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Step:
        """Return the step that :meth:`record` wrote down."""
        step = cls(**record)
        step.before = tuple(step.before) if step.before else None  # type: ignore[assignment]
        return step


@dataclass
class TreePlan:
    """Steps to take, the manifest afterwards, and what to tell."""

    root: str  # dest without symbolic links
    steps: list[Step] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    staged: dict[str, Step] = field(default_factory=dict)  # path below root → file as it will be
    links: dict[str, str] = field(default_factory=dict)  # symbolic links among its directories, path below root → path below root
    unstaged: list[str] = field(default_factory=list)  # paths below root that will be gone
    unknown: list[str] = field(default_factory=list)  # users and groups that do not exist (yet)
    secrets: list[bytes] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed_keys: dict[str, list[str]] = field(default_factory=dict)  # file with a table -> keys
    adopted: list[dict[str, Any]] = field(default_factory=list)
    edited: list[dict[str, Any]] = field(default_factory=list)
    restored: list[dict[str, Any]] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------------------------------
# Small file operations


def look(path: str) -> Live:
    """Return what is at a path, without following a symbolic link there."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Live("absent")
    attributes = (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns)
    if stat.S_ISLNK(info.st_mode):
        return Live("link", os.fsencode(os.readlink(path)), *attributes)
    if stat.S_ISDIR(info.st_mode):
        return Live("directory", b"", *attributes)
    if not stat.S_ISREG(info.st_mode):
        return Live("special", b"", *attributes)
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        return Live("file", stream.read(), *attributes)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable, as far as its file system can."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_new(path: str, content: bytes, mode: int, uid: int, gid: int, durable: bool = True) -> None:
    """Create a file that does not exist yet, with owner and mode set while only its owner can open it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        give(handle, path, mode, uid, gid)
        if durable:
            os.fsync(handle)


def give(target: int | str, path: str, mode: int, uid: int, gid: int) -> None:
    """Set owner, group and mode of an open file or of a path."""
    info = os.fstat(target) if isinstance(target, int) else os.lstat(target)
    if (uid, gid) != (info.st_uid, info.st_gid):
        try:
            os.chown(target, uid, gid)
        except PermissionError as exc:
            raise MailError(f"cannot give {path} to user {uid} and group {gid}: not permitted to this user") from exc
    os.chmod(target, mode)


def give_directory(path: str, mode: int, uid: int, gid: int) -> None:
    """Set owner, group and mode of a live directory; a link that whoever owns the one above has put in its place is an error."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give(handle, path, mode, uid, gid)
    finally:
        os.close(handle)


def copy_exact(source: str, target: str) -> None:
    """Copy a file or a symbolic link with its mode, owner and times."""
    live = look(source)
    if live.kind == "link":
        os.symlink(live.content, os.fsencode(target))
        with contextlib.suppress(OSError):
            os.chown(target, live.uid, live.gid, follow_symlinks=False)
        return
    write_new(target, live.content, live.mode, live.uid, live.gid)
    os.utime(target, ns=(live.mtime, live.mtime))


def keep(source: str, target: str) -> None:
    """Give a file a second name in the stage, so that the very same file can come back."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        copy_exact(source, target)


def place(source: str, target: str) -> None:
    """Move a file from the stage to its place in one step, also where the place is another file system."""
    try:
        os.rename(source, target)
    except OSError as exc:
        if exc.errno != errno.EXDEV:
            raise
        # A mount below dest: copy beside the target, under a dot-name, and rename there.
        folder, name = os.path.split(target)
        beside = os.path.join(folder, f"{rules.STAGE_PREFIX}{name}+{random_secrets.token_hex(4)}")
        try:
            copy_exact(source, beside)
            os.rename(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        os.unlink(source)


def write_json(path: str, value: Any) -> None:
    """Replace a JSON file, readable by its owner only, durably and in one step."""
    temporary = path + NEW_SUFFIX  # one name is enough: the caller holds the lock
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(handle)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def read_json(path: str) -> Any:
    """Return a JSON file's value, or ``None`` if there is no such file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as exc:
        raise MailError(f"{path} is damaged ({exc}); repair or delete it") from exc


def remove_tree(path: str) -> None:
    """Delete a stage, whatever modes were copied into it."""
    for folder, names, _files in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)


def inside(path: str, root: str) -> bool:
    """Whether a path without symbolic links is below a directory or the directory itself."""
    return path == root or path.startswith(root.rstrip("/") + "/")


# ---------------------------------------------------------------------------------------------------------------------
# The state directory: manifest, journal, lock


class State:
    """What is remembered of an id on this host."""

    def __init__(self, state_dir: str, name: str) -> None:
        self.top = state_dir
        self.folder = os.path.join(state_dir, "config_tree")
        self.name = name
        self.manifest_path = os.path.join(self.folder, f"{name}.json")
        self.journal_path = os.path.join(self.folder, f"{name}.journal")

    @contextlib.contextmanager
    def lock(self, check: bool) -> Iterator[None]:
        """Hold the state directory for this run; all ids share it, so that no two can claim a path at once."""
        if not check:
            with contextlib.suppress(FileExistsError):
                os.makedirs(self.top, 0o755)
                os.chmod(self.top, 0o755)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
        try:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # check mode before the first run: nobody to wait for
            yield
            return
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise MailError(
                            f"another run of config_tree has held {self.folder} for {LOCK_SECONDS:.0f} seconds; try again when it has ended"
                        ) from None
                    time.sleep(0.1)
            yield
        finally:
            os.close(handle)

    def manifest(self) -> dict[str, Any]:
        """Return what this id has put on the host."""
        found = read_json(self.manifest_path)
        if found is None:
            return {"version": 1, "id": self.name, "dest": None, "salt": random_secrets.token_hex(16), "files": {}, "directories": {}}
        if not isinstance(found, dict) or found.get("version") != 1:
            raise MailError(f"{self.manifest_path} was written by another version of this collection; it has no 'version' 1")
        return found

    def ids(self) -> list[str]:
        """Return every id that has put something on the host."""
        try:
            names = [os.path.splitext(name) for name in os.listdir(self.folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted({name for name, suffix in names if suffix in (".json", ".journal")})

    def claims(self) -> dict[str, str]:
        """Return the paths that other ids have put on the host, each with its id."""
        found: dict[str, str] = {}
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return found
        for name in names:
            other, suffix = os.path.splitext(name)
            if other == self.name or name.startswith("."):
                continue
            if suffix == ".json":
                manifest = read_json(os.path.join(self.folder, name))
            elif suffix == ".journal":
                manifest = (read_json(os.path.join(self.folder, name)) or {}).get("manifest")
            else:
                continue
            found.update(dict.fromkeys((manifest or {}).get("files", {}), other))
        return found

    def delete(self, path: str) -> None:
        """Delete the manifest or the journal, durably."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_directory(self.folder)


# ---------------------------------------------------------------------------------------------------------------------
# Plan


class _Planner:
    def __init__(self, tree: Tree, state: State, check: bool) -> None:
        self.tree = tree
        self.check = check
        self.old = state.manifest()
        if tree.absent:
            tree.dest = self.old["dest"] or "/"
        self.claims = state.claims()
        self.packages = package_files.Packages()
        self.plan = TreePlan(self._root())
        self.backups: list[Step] = []
        self.removes: list[Step] = []
        self.mkdirs: dict[str, Step] = {}
        self.puts: list[Step] = []
        self.attributes: list[Step] = []
        self.rmdirs: list[Step] = []
        self.files: dict[str, Any] = {}
        self.directories: dict[str, Any] = {}
        self.wanted: dict[str, str] = {}  # place on the host → path relative to dest
        self.emptied: dict[str, str] = {}  # directory of ours where a file is wanted → the file as it is shown

    def _root(self) -> str:
        dest = self.tree.dest
        if not os.path.isabs(dest):
            raise MailError(f"dest {dest!r} must be an absolute path")
        try:
            root = safe_files.resolved(dest)
        except MailError as exc:
            raise MailError(f"dest {exc}") from None
        if os.path.lexists(root) and not os.path.isdir(root):
            raise MailError(f"dest {dest!r} is not a directory")
        # The stage is made there, and whoever can change the directory could put another one in its place.
        with contextlib.suppress(FileNotFoundError), safe_files.place(os.path.join(root, "x") if os.path.isdir(root) else root) as found:
            if found.foreign:
                raise MailError(
                    f"dest {dest!r} must be a directory that root alone can change, and {found.foreign_user} can change {found.foreign}: "
                    "name one above it"
                )
        if not self.check and not os.path.isdir(os.path.dirname(root)):
            raise MailError(f"dest {dest!r} cannot be made: the directory above it does not exist")
        return root

    def make(self) -> TreePlan:
        plan = self.plan
        for path in sorted(self.tree.files):
            place_ = self._place(path)
            if place_ in self.wanted:
                raise MailError(f"{self._shown(path)} and {self._shown(self.wanted[place_])} are the same file on this host")
            if place_ in self.claims:
                raise MailError(f"{self._shown(path)} belongs to the config_tree id {self.claims[place_]!r}; two ids may not put one file")
            self.wanted[place_] = path
        for place_, path in self.wanted.items():
            self._want(place_, path)
        for place_, entry in sorted(self.old["files"].items()):
            if place_ not in self.wanted:
                self._unwant(place_, entry)
        self._directories()
        early = [step for step in self.rmdirs if any(inside(step.path, here) for here in self.emptied)]
        for here, shown in self.emptied.items():
            if here not in {step.path for step in early}:
                raise MailError(f"{shown} is a directory on this host, not a file")
        late = [step for step in self.rmdirs if step not in early]
        plan.steps = [*self.backups, *self.removes, *early, *self.mkdirs.values(), *self.puts, *self.attributes, *late]
        for step in self.backups:
            if inside(step.path, plan.root):
                plan.staged[os.path.relpath(step.path, plan.root)] = step
        plan.unstaged = [os.path.relpath(step.path, plan.root) for step in (*self.removes, *self.rmdirs) if inside(step.path, plan.root)]
        plan.manifest = {**self.old, "dest": plan.root, "files": self.files, "directories": self.directories}
        plan.changed.sort()
        plan.removed.sort()
        return plan

    def _shown(self, path: str) -> str:
        return os.path.join(self.tree.dest, path)

    def _ids(self, wanted: rules.Attributes) -> tuple[int, int]:
        """Return uid and gid; -1 and a note in the plan for names that this host does not have."""

        def number(name: str | None, own: int, find: Any, kind: str) -> int:
            if name is None:
                return own
            try:
                return find(name)
            except KeyError:
                if name.isdigit():
                    return int(name)
            self.plan.unknown.append(f"{kind} {name!r}")
            return -1

        return (
            number(wanted.owner, os.geteuid(), lambda name: pwd.getpwnam(name).pw_uid, "user"),
            number(wanted.group, os.getegid(), lambda name: grp.getgrnam(name).gr_gid, "group"),
        )

    def _attributes(self, path: str, directory: bool = False) -> tuple[int, int, int]:
        default = rules.Attributes(self.tree.mode, self.tree.owner, self.tree.group)
        wanted = rules.attributes(path, default, self.tree.modes, directory)
        return (wanted.mode, *self._ids(wanted))

    def _place(self, path: str) -> str:
        """Return where a path is on this host, its directories' links resolved; note the directories to make."""
        here = self.plan.root
        if not os.path.isdir(here):
            self._make_directory(here, ".")
        for folder in rules.parents(path):
            here = os.path.join(here, os.path.basename(folder))
            live = look(here) if here not in self.mkdirs else Live("absent")
            if live.kind == "link":
                there = os.path.realpath(here)
                if not inside(there, self.plan.root):
                    raise MailError(f"{self._shown(folder)} is a symbolic link that leads out of dest {self.tree.dest!r}, to {there}")
                self.plan.links[os.path.relpath(here, self.plan.root)] = os.path.relpath(there, self.plan.root)
                here, live = there, look(there)
            if live.kind == "absent" or (live.kind == "file" and self._goes(here)):
                self._make_directory(here, folder)
            elif live.kind != "directory":
                raise MailError(f"{self._shown(folder)} is not a directory, but {self._shown(path)} is to be put below it")
        return os.path.join(here, os.path.basename(path))

    def _goes(self, place_: str) -> bool:
        """Whether a file is ours, and removed by this run with nothing in its place."""
        entry = self.old["files"].get(place_)
        if entry is None or entry.get("found") or entry["original"] or entry["path"] in self.tree.files:
            return False
        return self.tree.prune or rules.matches(entry["path"], self.tree.exclude)

    def _make_directory(self, here: str, folder: str) -> None:
        if here not in self.mkdirs:
            self.mkdirs[here] = Step("mkdir", here, *self._attributes(folder, directory=True))
            self.directories[here] = {"path": folder}

    def _is_ours(self, live: Live, entry: Mapping[str, Any]) -> bool:
        salt = self.old["salt"] if entry["digest"].startswith("hmac-") else None
        return live.kind == "file" and rules.digest(live.content, salt) == entry["digest"]

    def _names(self, mode: int, uid: int, gid: int, wanted: rules.Attributes | None = None) -> tuple[str, str, str]:
        user, group = str(uid), str(gid)
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name if uid >= 0 else str(wanted and wanted.owner)
        with contextlib.suppress(KeyError):
            group = grp.getgrgid(gid).gr_name if gid >= 0 else str(wanted and wanted.group)
        return f"{mode:04o}", user, group

    def _backup(self, place_: str, live: Live, suffix: str, secret: bool) -> str | None:
        """Plan a copy beside the file, under the first name that is free or already holds just this."""
        if not self.tree.backup:
            return None
        planned = {step.path for step in self.backups}
        name, count = place_ + suffix, 0
        while (there := look(name)).kind != "absent" or name in planned:
            if (there.kind, there.content) == (live.kind, live.content):
                return name
            count += 1
            name = f"{place_}{suffix}.{count}"
        # A copy in a directory of hooks must not be run beside its replacement.
        mode = live.mode & (0o600 if secret else 0o666)
        self.backups.append(
            Step("put", name, mode, live.uid, live.gid, content=live.content, link=live.kind == "link", mtime=live.mtime, seen=there)
        )
        return name

    def _closed(self, place_: str, live: Live, entry: Mapping[str, Any] | None) -> bool:
        """Whether somebody else wrote a file that not everybody may read, by its mode or by that of a directory between it and ``dest``.

        It may hold a secret that no list names.
        """
        if live.kind != "file" or (entry is not None and not entry.get("found") and self._is_ours(live, entry)):
            return False
        folder, closed = os.path.dirname(place_), not live.mode & 0o004
        while not closed and inside(folder, self.plan.root):
            closed = not look(folder).mode & 0o001
            folder = os.path.dirname(folder)
        return closed

    def _want(self, place_: str, path: str) -> None:
        tree, plan, shown = self.tree, self.plan, self._shown(path)
        content = tree.files[path]
        mode, uid, gid = self._attributes(path)
        entry = self.old["files"].get(place_)
        secret = rules.matches(path, tree.secret)
        hidden = secret or bool(entry and entry["secret"])
        seen = live = look(place_)
        if live.kind == "directory" and place_ in self.old["directories"]:
            self.emptied[place_] = shown
            live = Live("absent")  # it will be, if nothing of others is in it
        if live.kind in ("directory", "special"):
            raise MailError(f"{shown} is a {'directory' if live.kind == 'directory' else 'special file'} on this host, not a file")
        if live.kind == "file" and rules.matches(path, tree.initial):
            content = live.content
        if mode & 0o004 and secret:
            raise MailError(f"{shown} is secret, and its mode {mode:04o} lets everyone read it: give it another one by modes")
        if mode & 0o004 and _secret_text.has_private_key(content):
            raise MailError(f"{shown} would hold a private key, and its mode {mode:04o} lets everyone read it: take the key out of it")
        if secret:
            plan.secrets.append(content)
        if hidden and live.kind == "file":
            plan.secrets.append(live.content)

        record = {
            "path": path,
            "digest": rules.digest(content, self.old["salt"] if secret else None),
            "secret": secret,
            "original": entry["original"] if entry else None,
            "found": live.kind != "absent" if entry is None else bool(entry.get("found")),
        }
        self.files[place_] = record
        put = Step("put", place_, mode, uid, gid, had=live.kind != "absent", content=content, seen=seen)
        plan.staged[os.path.relpath(place_, plan.root)] = put
        same = live.kind == "file" and live.content == content
        alike = (live.mode, live.uid, live.gid) == (mode, uid, gid)
        if same and alike:
            return

        if not same and live.kind != "absent":
            if entry is None or entry.get("found"):
                backup = self._backup(place_, live, rules.ORIGINAL_SUFFIX, secret)
                if backup:
                    record["original"] = {"backup": backup, "mode": live.mode}
                plan.adopted.append({"path": shown, "backup": backup})
                # A package's own file is kept for the day on which ours is no longer wanted, and is nothing that anybody wrote.
                if live.kind != "file" or not self.packages.unchanged(place_, live.content):
                    plan.warnings.append(f"{shown} was there before this collection and is replaced; {_kept(backup)}")
            elif not self._is_ours(live, entry):
                backup = self._backup(place_, live, rules.EDITED_SUFFIX, hidden)
                plan.edited.append({"path": shown, "backup": backup})
                plan.warnings.append(f"{shown} was changed by hand since the last run and is replaced; {_kept(backup)}")
        if not same:
            record["found"] = False
        self.puts.append(put)
        plan.changed.append(shown)
        if path in tree.line_keys and live.kind == "file":
            plan.changed_keys[shown] = rules.changed_keys(live.content, content, tree.line_keys[path])
        if tree.diff:
            before = None if live.kind == "absent" else b"symbolic link to " + live.content + b"\n" if live.kind == "link" else live.content
            if not same:
                plan.diff.append(rules.content_diff(shown, before, content, hidden, self._closed(place_, live, entry)))
            if live.kind == "file" and not alike:
                wanted = rules.attributes(path, rules.Attributes(tree.mode, tree.owner, tree.group), tree.modes)
                plan.diff.append(
                    rules.attribute_diff(shown, self._names(live.mode, live.uid, live.gid), self._names(mode, uid, gid, wanted))
                )

    def _unwant(self, place_: str, entry: Mapping[str, Any]) -> None:
        tree, plan, path = self.tree, self.plan, entry["path"]
        shown = self._shown(path) if inside(place_, plan.root) else place_
        if not tree.prune and not rules.matches(path, tree.exclude):
            self.files[place_] = dict(entry)
            return
        folder = os.path.dirname(place_)
        live = look(place_)
        if live.kind == "absent":
            return
        if live.kind in ("directory", "special") or os.path.realpath(folder) != folder:
            plan.warnings.append(f"{shown} is no longer wanted, but is not what was put there; it is left alone")
            return
        if entry.get("found"):
            plan.warnings.append(f"{shown} is no longer wanted, but was there before this collection; it is left alone")
            return
        hidden = bool(entry["secret"])
        if hidden and live.kind == "file":
            plan.secrets.append(live.content)
        if not self._is_ours(live, entry):
            backup = self._backup(place_, live, rules.EDITED_SUFFIX, hidden)
            plan.edited.append({"path": shown, "backup": backup})
            plan.warnings.append(f"{shown} was changed by hand since the last run and is removed; {_kept(backup)}")
        relative = os.path.relpath(place_, plan.root) if inside(place_, plan.root) else None
        original = entry["original"] or {}
        first = look(original["backup"]) if original else Live("absent")
        if first.kind in ("file", "link"):
            put = Step("put", place_, original["mode"], first.uid, first.gid, had=True, seen=live)
            put.content, put.link, put.mtime = first.content, first.kind == "link", first.mtime
            self.puts.append(put)
            self.removes.append(Step("remove", original["backup"], seen=first))
            plan.restored.append({"path": shown, "backup": original["backup"]})
            plan.changed.append(shown)
            if relative:
                plan.staged[relative] = put
            after = first.content if first.kind == "file" else b"symbolic link to " + first.content + b"\n"
        else:
            self.removes.append(Step("remove", place_, seen=live))
            plan.removed.append(shown)
            after = None
        if tree.diff:
            hidden = hidden or self._closed(place_, first, None)
            plan.diff.append(rules.content_diff(shown, live.content, after, hidden, self._closed(place_, live, entry)))

    def _directories(self) -> None:
        """Keep the directories that we made as they should be, and remove those that nothing needs."""
        gone = {step.path for step in self.removes}
        coming = {step.path for step in [*self.backups, *self.puts]}
        for here, entry in sorted(self.old["directories"].items(), key=lambda item: -len(item[0])):
            live = look(here)
            if live.kind != "directory" or here in self.directories:
                continue
            if any(place_.startswith(here + "/") for place_ in self.wanted):
                self.directories[here] = dict(entry)
                mode, uid, gid = self._attributes(entry["path"], directory=True)
                if (mode, uid, gid) != (live.mode, live.uid, live.gid):
                    shown = self._shown(entry["path"])
                    self.attributes.append(Step("attributes", here, mode, uid, gid, before=(live.mode, live.uid, live.gid)))
                    self.plan.changed.append(shown)
                    if self.tree.diff:
                        self.plan.diff.append(
                            rules.attribute_diff(shown, self._names(live.mode, live.uid, live.gid), self._names(mode, uid, gid))
                        )
                continue
            names = {os.path.join(here, name) for name in os.listdir(here) if not name.startswith(rules.STAGE_PREFIX)}
            if names - gone or any(os.path.dirname(path) == here for path in coming):
                self.directories[here] = dict(entry)  # somebody else's files are in it
                continue
            self.rmdirs.append(Step("rmdir", here, live.mode, live.uid, live.gid))
            self.plan.removed.append(self._shown(entry["path"]) if inside(here, self.plan.root) else here)
            gone.add(here)


def _kept(backup: str | None) -> str:
    return f"its content is kept in {backup}" if backup else "its content is not kept (backup is false)"


# ---------------------------------------------------------------------------------------------------------------------
# Stage and validate


class Stage:
    """The directory beside the live files in which everything is prepared."""

    def __init__(self, plan: TreePlan, name: str) -> None:
        root = plan.root
        here = os.path.isdir(root) and not any((step.op, step.path) == ("rmdir", root) for step in plan.steps)
        parent = root if here else os.path.dirname(root)
        self.root = root
        self.work = tempfile.mkdtemp(prefix=_stage_prefix(name), dir=parent)
        self.tree = os.path.join(self.work, "tree")
        os.mkdir(self.tree, 0o700)

    def build(self, plan: TreePlan, stage_live: Sequence[str]) -> None:
        """Lay out the tree as it will be."""
        lived = [rules.relative_path(path.rstrip("/") or path, "stage_live", whole=True) for path in stage_live]
        links = dict(plan.links)
        lived = [self._resolved(path, links) for path in lived]
        for path in lived:
            self._copy_live(path, lived)
        for path, there in links.items():
            if not os.path.lexists(os.path.join(self.tree, path)):
                self._folders(path, {})
                os.symlink(os.path.join(self.tree, there), os.path.join(self.tree, path))
        made = {step.path: step for step in plan.steps if step.op in ("mkdir", "attributes")}
        for path in plan.unstaged:
            target = os.path.join(self.tree, path)
            with contextlib.suppress(FileNotFoundError):
                if os.path.isdir(target) and not os.path.islink(target):
                    os.rmdir(target)
                else:
                    os.unlink(target)
        for path, step in plan.staged.items():
            self._folders(path, made)
            target = os.path.join(self.tree, path)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            if step.link:
                os.symlink(self._link(step.path, os.fsdecode(step.content), lived), target)
            else:
                write_new(target, step.content, step.mode, step.uid, step.gid, durable=False)

    def _resolved(self, path: str, links: dict[str, str]) -> str:
        """Return a path below root with the symbolic links in it resolved, as far as they stay below root; note them."""
        here = self.root
        for part in path.split("/"):
            here = os.path.normpath(os.path.join(here, part))
            if os.path.islink(here):
                there = os.path.realpath(here)
                if not inside(there, self.root):
                    break
                links[os.path.relpath(here, self.root)] = os.path.relpath(there, self.root)
                here = there
        return os.path.relpath(here, self.root)

    def _folders(self, path: str, made: Mapping[str, Step]) -> None:
        for folder in rules.parents(path):
            target = os.path.join(self.tree, folder)
            if os.path.isdir(target):
                if not inside(os.path.realpath(target), os.path.realpath(self.tree)):
                    raise MailError(f"{os.path.join(self.root, folder)} cannot be staged: it is a symbolic link that leads out of dest")
                continue
            live = os.path.join(self.root, folder)
            os.mkdir(target, 0o700)
            if live in made:
                give(target, live, made[live].mode, made[live].uid, made[live].gid)
            else:
                info = os.stat(live)
                give(target, live, stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)

    def _copy_live(self, path: str, lived: Sequence[str]) -> None:
        self._folders(path, {})
        start = os.path.normpath(os.path.join(self.root, path))
        pending = [start]
        while pending:
            source = pending.pop()
            relative = os.path.relpath(source, self.root)
            target = os.path.normpath(os.path.join(self.tree, relative))
            live = look(source)
            if live.kind == "directory":
                if not os.path.isdir(target):
                    os.mkdir(target, 0o700)
                pending += [os.path.join(source, name) for name in sorted(os.listdir(source)) if not name.startswith(rules.STAGE_PREFIX)]
                give(target, source, live.mode | 0o700, live.uid, live.gid)
            elif os.path.lexists(target):
                continue
            elif live.kind == "link":
                os.symlink(self._link(source, os.fsdecode(live.content), lived), target)
            elif live.kind == "file":
                write_new(target, live.content, live.mode, live.uid, live.gid, durable=False)
                os.utime(target, ns=(live.mtime, live.mtime))

    def _link(self, source: str, points: str, lived: Sequence[str]) -> str:
        """Return where a staged link must point: into the stage for what is staged, else to the live file."""
        there = os.path.normpath(os.path.join(os.path.dirname(source), points))
        for path in lived:
            if inside(there, os.path.normpath(os.path.join(self.root, path))):
                return os.path.join(self.tree, os.path.relpath(there, self.root))
        return there

    def remove(self) -> None:
        """Delete the directory."""
        remove_tree(self.work)


def _stage_prefix(name: str) -> str:
    return f"{rules.STAGE_PREFIX}{name}+"


def remove_leftovers(state: State, roots: Iterable[str]) -> None:
    """Delete the stages and half-written state of killed runs of this id. The caller holds the lock."""
    for path in (state.manifest_path, state.journal_path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + NEW_SUFFIX)
    for parent in {folder for root in roots for folder in (root, os.path.dirname(root))}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            for entry in os.listdir(parent):
                path = os.path.join(parent, entry)
                if entry.startswith(_stage_prefix(state.name)):
                    info = os.lstat(path)
                    if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid():
                        remove_tree(path)


def validate(tree: Tree, stage: str, secrets: Sequence[bytes], check: bool) -> bool:
    """Run the checkers on the staged tree; whether all of them ran and accepted it.

    :raises Refusal: one did not accept it
    :raises MailError: one, or what it needs, is not there, outside check mode
    """
    folders = os.environ.get("PATH", "").split(os.pathsep)
    search = os.pathsep.join([*(path for path in folders if path), *(path for path in SYSTEM_PATH if path not in folders)])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_") and name not in ("LANG", "LANGUAGE")}
    hidden = rules.secrets_in(secrets)

    def filled(text: Any) -> str:
        return str(text).replace("{stage}", stage).replace("{dest}", tree.dest)

    for number, checker in enumerate(tree.validate):
        script = checker.get("script") or ""
        command = [filled(word).replace("{script}", script).replace(stage, tree.dest) for word in checker["argv"]]
        # Beside the staged tree, so that no checker takes it for a part of that.
        path = os.path.join(os.path.dirname(stage), f"checker-{number}")
        argv = [filled(word).replace("{script}", path) for word in checker["argv"]]
        own = {name: filled(value) for name, value in (checker.get("environment") or {}).items()}
        program = shutil.which(argv[0], path=own.get("PATH", search))
        if program is None:
            if check:
                return False
            raise MailError(f"validate: the checker {argv[0]!r} is not installed on this host; nothing has been changed")
        absent = [path for path in map(filled, checker.get("needs") or ()) if not os.path.exists(path)]
        if absent and check:
            return False
        if absent:
            told = " and ".join(absent).replace(stage, tree.dest)
            raise MailError(f"validate: `{' '.join(command)}` needs {told}, not found on this host; nothing has been changed")
        if script:
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(tree.scripts[script])
        seconds = checker.get("timeout") or 60
        rc, output = _run([program, *argv[1:]], {**environment, "PATH": search, "LC_ALL": "C", **own}, stage, seconds)
        told = _secret_text.masked(rules.mask(output, hidden)).replace(stage, tree.dest).replace(path, script).strip()
        if len(told) > OUTPUT_LIMIT:
            told = told[: OUTPUT_LIMIT // 2] + "\n[…]\n" + told[-OUTPUT_LIMIT // 2 :]
        if rc is None:
            reason = f"did not end within {seconds} seconds"
        elif rc != 0:
            reason = f"refused the staged configuration (rc {rc})"
        else:
            pattern = next((one for one in checker.get("fail_on") or () if re.search(one, output, re.MULTILINE)), None)
            if pattern is None:
                continue
            reason = f"accepted the staged configuration (rc 0), but its output matches fail_on {pattern!r}"
        message = f"validate: `{' '.join(command)}` {reason}; nothing has been changed. Its output:\n{told or '(none)'}"
        raise Refusal(message, command, rc, told)
    return bool(tree.validate)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _run(argv: list[str], environment: Mapping[str, str], folder: str, seconds: float) -> tuple[int | None, str]:
    """Run one command and return its exit status (``None``: it had to be stopped) and its output."""
    process = None
    rc: int | None = None
    output = b""
    # A signal between the start and the note of it would leave the command running: signals wait for that moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        process = subprocess.Popen(
            argv,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        output, _none = process.communicate(timeout=seconds)
        rc = process.returncode
    except subprocess.TimeoutExpired:
        _kill(process)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a daemon in a session of its own may hold the pipe
            output, _none = process.communicate(timeout=5)
    except BaseException:
        if process is not None:
            _kill(process)
            process.wait()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return rc, output.decode("utf-8", "replace")


# ---------------------------------------------------------------------------------------------------------------------
# Swap, undo, recover


class Swap:
    """The steps of one swap, with the directory that holds the new and the old files."""

    def __init__(self, work: str, steps: Sequence[Step], salt: str) -> None:
        self.work = work
        self.steps = steps
        self.salt = salt

    def _new(self, step: Step) -> str:
        return os.path.join(self.work, "new", str(step.number))

    def _old(self, step: Step) -> str:
        return os.path.join(self.work, "old", str(step.number))

    def _digest(self, live: Live) -> str:
        return rules.digest(live.kind.encode() + b":" + live.content, self.salt)

    def prepare(self) -> None:
        """Write the new files and link the old ones, durably, on the file system of ``dest``."""
        for name in ("new", "old"):
            os.mkdir(os.path.join(self.work, name), 0o700)
        for number, step in enumerate(self.steps):
            if step.op not in ("put", "remove"):
                continue
            step.number = number
            if step.op == "put":
                if step.link:
                    os.symlink(step.content, os.fsencode(self._new(step)))
                else:
                    write_new(self._new(step), step.content, step.mode, step.uid, step.gid)
                    if step.mtime is not None:
                        os.utime(self._new(step), ns=(step.mtime, step.mtime))
            live = look(step.path)
            if step.seen is not None and (live.kind, live.content) != (step.seen.kind, step.seen.content):
                raise MailError(f"{step.path} was changed by somebody else during this run; nothing has been changed, run it again")
            step.digest = self._digest(live)
            if step.op == "remove" or step.had:
                keep(step.path, self._old(step))
        for name in ("new", "old", "."):
            sync_directory(os.path.join(self.work, name))

    def run(self) -> None:
        """Take every step that has not been taken yet."""
        for step in self.steps:
            self._do(step)
        self._sync()

    def _do(self, step: Step) -> None:
        if step.op == "put":
            if os.path.lexists(self._new(step)):
                place(self._new(step), step.path)
        elif step.op == "remove":
            # Where a run that was killed goes on, a directory may already have come in its place, or a file in that of its directory.
            if look(step.path).kind != "directory":
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(step.path)
        elif step.op == "mkdir":
            with contextlib.suppress(FileExistsError):
                os.mkdir(step.path, 0o700)
            give_directory(step.path, step.mode, step.uid, step.gid)
        elif step.op == "rmdir":
            _rmdir(step.path)
        else:
            give_directory(step.path, step.mode, step.uid, step.gid)

    def undo(self) -> None:
        """Take back every step that has been taken, the last one first.

        :raises MailError: some could not be taken back
        """
        failed = []
        for step in reversed(self.steps):
            try:
                self._undo(step)
            except OSError as exc:
                failed.append(f"{step.path}: {exc.strerror}")
        self._sync()
        if failed:
            raise MailError("; ".join(failed))

    def _undo(self, step: Step) -> None:
        if step.op in ("put", "remove"):
            old, new = self._old(step), self._new(step)
            if os.path.lexists(old):
                place(old, step.path)
            elif step.op == "put" and not step.had and (not os.path.lexists(new) or look(new)[:2] == look(step.path)[:2]):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(step.path)
        elif step.op == "mkdir":
            _rmdir(step.path)
        elif step.op == "rmdir":
            with contextlib.suppress(FileExistsError):
                os.mkdir(step.path, 0o700)
                give_directory(step.path, step.mode, step.uid, step.gid)
        elif step.before is not None:
            give_directory(step.path, *step.before)

    def save_edits(self) -> list[dict[str, Any]]:
        """Before a killed swap goes on: keep what somebody wrote into files that it has not replaced yet."""
        saved = []
        for step in self.steps:
            if step.op not in ("put", "remove"):
                continue
            waiting = step.op == "remove" or os.path.lexists(self._new(step))
            live = look(step.path)
            # Not compared with the old file in the stage: that is the same file, and shows what was written into it.
            if waiting and live.kind in ("file", "link") and self._digest(live) not in (step.digest, self._digest(look(self._new(step)))):
                backup = f"{step.path}{rules.EDITED_SUFFIX}.{random_secrets.token_hex(4)}"
                copy_exact(step.path, backup)
                saved.append({"path": step.path, "backup": backup})
        return saved

    def _sync(self) -> None:
        for folder in sorted({os.path.dirname(step.path) for step in self.steps}):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                sync_directory(folder)


def _rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as exc:
        if exc.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise


def swap(plan: TreePlan, state: State, work: str) -> None:
    """Put the planned files in place, or leave everything as it was.

    :raises MailError: it did not work, and has been undone
    """
    journey = Swap(work, plan.steps, plan.manifest["salt"])
    journey.prepare()
    journal = {
        "version": 1,
        "phase": "swap",
        "work": work,
        "steps": [step.record() for step in plan.steps],
        "manifest": plan.manifest,
        "changed_files": plan.changed,
        "removed_files": plan.removed,
        "changed_keys": plan.changed_keys,
    }
    try:
        write_json(state.journal_path, journal)
        journey.run()
        write_json(state.manifest_path, plan.manifest)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            write_json(state.journal_path, {**journal, "phase": "undo"})
        try:
            journey.undo()
        except MailError as failure:
            raise StuckSwapError(
                f"the files could not be put in place ({exc}), and not all could be put back ({failure}); the next run goes on with it"
            ) from exc
        state.delete(state.journal_path)
        if isinstance(exc, OSError):
            raise MailError(f"the files could not be put in place, and all are as before: {_reason(exc)}") from exc
        raise
    state.delete(state.journal_path)


class StuckSwapError(MailError):
    """Neither done nor undone: journal and stage must stay for the next run."""


def recover(state: State) -> dict[str, Any] | None:
    """Finish the swap that a killed run left behind, or undo it; ``None`` if there is none."""
    journal = read_json(state.journal_path)
    if journal is None:
        return None
    journey = Swap(journal["work"], [Step.from_record(record) for record in journal["steps"]], journal["manifest"]["salt"])
    outcome = {"how": "undone", "changed": [], "removed": [], "edited": [], "keys": {}}
    if journal["phase"] == "swap":
        outcome["edited"] = journey.save_edits()
        try:
            journey.run()
            write_json(state.manifest_path, journal["manifest"])
            outcome.update(how="finished", changed=journal["changed_files"], removed=journal["removed_files"])
            outcome["keys"] = journal.get("changed_keys", {})  # an earlier release wrote none
        except OSError:
            with contextlib.suppress(OSError):
                write_json(state.journal_path, {**journal, "phase": "undo"})
    if outcome["how"] == "undone":
        try:
            journey.undo()
        except MailError as exc:
            raise StuckSwapError(f"a killed run of id {state.name!r} could be neither finished nor undone: {exc}") from exc
    if os.path.isdir(journal["work"]):
        remove_tree(journal["work"])
    state.delete(state.journal_path)
    return outcome


# ---------------------------------------------------------------------------------------------------------------------
# All of it


def _reason(exc: OSError) -> str:
    names = " -> ".join(str(name) for name in (exc.filename, exc.filename2) if name)
    return f"{exc.strerror or exc}" + (f": {names}" if names else "")


def apply(tree: Tree, check: bool = False) -> dict[str, Any]:
    """Put the tree in place, or only tell what that would do.

    :returns: the module's result, with ``warnings`` beside it
    :raises Refusal: a checker refused; nothing has been changed
    :raises MailError: something else is wrong; unless the message says otherwise, nothing has been changed
    """
    rules.tree_id(tree.id)
    rules.check_modes(tree.modes)
    rules.check_line_keys(tree.line_keys)
    rules.check_validators(tree.validate)
    for path in tree.files:
        if rules.relative_path(path, "path") != path:
            raise MailError(f"path {path!r} is not in its plain spelling")
    state = State(tree.state_dir, tree.id)
    old_umask = os.umask(0o077)
    try:
        with state.lock(check):
            return _apply(tree, state, check)
    except OSError as exc:
        raise MailError(f"{_reason(exc)}; nothing has been changed") from exc
    finally:
        os.umask(old_umask)


def _apply(tree: Tree, state: State, check: bool) -> dict[str, Any]:
    warnings: list[str] = []
    recovered = None
    killed = f"an earlier run of id {tree.id!r} was killed while it put files in place"
    if check:
        if os.path.exists(state.journal_path):
            recovered = {"how": "pending", "changed": [], "removed": [], "edited": [], "keys": {}}
            warnings.append(f"{killed}; a run would first finish or undo that")
    else:
        recovered = recover(state)
        if recovered:
            warnings.append(f"{killed}; that has been {recovered['how']} first")
    planner = _Planner(tree, state, check)
    if not check:
        remove_leftovers(state, [planner.plan.root, planner.old["dest"] or planner.plan.root])
    plan = planner.make()
    if plan.unknown and not check:
        raise MailError(f"this host has no {plan.unknown[0]}; nothing has been changed")

    validated = False
    if plan.steps:
        validated = _stage_and_swap(tree, plan, state, check, warnings)
    elif not check and plan.manifest != planner.old:
        write_json(state.manifest_path, plan.manifest)
    if tree.absent and not check:
        state.delete(state.manifest_path)

    result: dict[str, Any] = {
        "changed": bool(plan.steps) or recovered is not None,
        "changed_files": sorted({*plan.changed, *(recovered["changed"] if recovered else ())}),
        "removed_files": sorted({*plan.removed, *(recovered["removed"] if recovered else ())}),
        "changed_keys": {**(recovered["keys"] if recovered else {}), **plan.changed_keys},
        "adopted_files": plan.adopted,
        "edited_files": [*(recovered["edited"] if recovered else ()), *plan.edited],
        "restored_files": plan.restored,
        "ids": sorted({*state.ids(), tree.id} - ({tree.id} if tree.absent else set())),
        "validated": validated,
        "recovered": recovered["how"] if recovered else None,
        "warnings": [*warnings, *plan.warnings],
    }
    if tree.diff:
        result["diff"] = plan.diff
    return result


def _stage_and_swap(tree: Tree, plan: TreePlan, state: State, check: bool, warnings: list[str]) -> bool:
    """Return whether checkers accepted the whole."""
    if check and (not tree.validate or plan.unknown or not os.path.isdir(os.path.dirname(plan.root))):
        return False
    try:
        stage = Stage(plan, tree.id)
    except OSError as exc:
        if check:
            warnings.append(f"nothing could be staged in check mode, so nothing has been validated: {_reason(exc)}")
            return False
        raise
    finished = False
    try:
        validated = False
        if tree.validate:
            try:
                stage.build(plan, tree.stage_live)
            except OSError as exc:
                raise MailError(f"the files could not be staged, and nothing has been changed: {_reason(exc)}") from exc
            validated = validate(tree, stage.tree, plan.secrets, check)
        if not check:
            try:
                swap(plan, state, stage.work)
            except StuckSwapError:
                finished = True  # the journal refers to the stage
                raise
        return validated
    finally:
        if not finished:
            stage.remove()
