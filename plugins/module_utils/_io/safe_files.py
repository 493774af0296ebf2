# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files in directories that others can write to, handled by root: opened from the root on, one name after the other.

A service account that owns a directory can put a symbolic link in the place of what is in it, at any moment. So a link is followed only
where nobody else could have placed it, and what has been opened is given away by its descriptor, never by its path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

_SEARCH = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_LINKS = 40  # as the kernel does


def _user(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def ours(info: os.stat_result) -> bool:
    """Whether a directory can be changed by root, or by whoever runs this, alone.

    In one with the sticky bit others can make names, but not replace those of root.
    """
    if info.st_uid not in (0, os.geteuid()):
        return False
    loose = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid not in (0, os.getegid()))
    return not loose or bool(info.st_mode & stat.S_ISVTX)


class Place:
    """A name in a directory that is open: ``folder`` is its descriptor, ``path`` the whole, links resolved.

    ``foreign`` is the first directory on the way that others can change, or empty; ``steps`` are all directories on the way.
    """

    def __init__(self, folder: int, name: str, path: str, foreign: str, foreign_user: str) -> None:
        self.folder = folder
        self.name = name
        self.path = path
        self.foreign = foreign
        self.foreign_user = foreign_user

    def look(self) -> os.stat_result | None:
        """Return what is there, without following a link; None where there is nothing."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """Return a descriptor; a link is an error, and so is a second name of another's file where others can make names."""
        handle = os.open(self.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=self.folder)
        info = os.fstat(handle)
        if self.foreign and stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
            os.close(handle)
            raise MailError(
                f"{self.path!r} is one of several names of a file, in a directory that {self.foreign_user} can change ({self.foreign}): it "
                "could be a file of somebody else's"
            )
        return handle

    def unlink(self) -> None:
        """Remove what is there, if something is; what a link points to stays."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.folder)

    def beside(self, name: str) -> Place:
        """Return another name in the same directory; the descriptor is shared."""
        return Place(self.folder, name, os.path.join(os.path.dirname(self.path), name), self.foreign, self.foreign_user)

    def sync(self) -> None:
        """Make the names in the directory durable."""
        handle = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.folder)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def place(path: str, follow: bool = True) -> Iterator[Place]:
    """Open the directory of a path, and yield the name in it.

    :param follow: whether a link in the place of the last name is followed, where nobody else could have placed it
    :raises MailError: a link that somebody else than root, or whoever runs this, may have placed
    :raises OSError: a directory on the way does not exist
    """
    if not os.path.isabs(path):
        raise MailError(f"path {path!r} must be absolute")
    names = [name for name in path.split("/") if name not in ("", ".")]
    here, links, foreign, foreign_user = "/", 0, "", ""
    folder = os.open("/", _SEARCH)
    try:
        while True:
            info = os.fstat(folder)
            if not ours(info):
                foreign = foreign or here
                foreign_user = foreign_user or (_user(info.st_uid) if info.st_uid not in (0, os.geteuid()) else "others")
            if not names:
                names = ["."]
            name = names.pop(0)
            last = not names
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                if not last:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.join(here, name)) from None
                status = None
            if status is not None and stat.S_ISLNK(status.st_mode) and (follow or not last):
                # In a directory with the sticky bit anybody makes links.
                if foreign or (info.st_mode & stat.S_ISVTX and status.st_uid not in (0, os.geteuid())):
                    raise MailError(
                        f"{path!r}: {os.path.join(here, name)!r} is a symbolic link in a directory that {foreign_user or 'others'} can "
                        "change; it is not followed"
                    )
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(name, dir_fd=folder)
                names = [part for part in target.split("/") if part not in ("", ".")] + names
                if target.startswith("/"):
                    os.close(folder)
                    here, folder = "/", os.open("/", _SEARCH)
                continue
            if last and name != "..":
                yield Place(folder, name, os.path.normpath(os.path.join(here, name)), foreign, foreign_user)
                return
            deeper = os.open(name, _SEARCH, dir_fd=folder)
            os.close(folder)
            here, folder = os.path.normpath(os.path.join(here, name)), deeper
    finally:
        os.close(folder)


def resolved(path: str) -> str:
    """Return a path with its links resolved, as far as its directories exist.

    :raises MailError: a link that somebody else may have placed
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), place(path) as entry:
        return entry.path
    head, tail = os.path.split(os.path.normpath(path))
    return os.path.join(resolved(head), tail) if tail else path


def read(path: str, limit: int = -1, follow: bool = True) -> bytes | None:
    """Return what a regular file holds, at most ``limit`` octets; None if there is no such file.

    :raises MailError: no regular file, or a link that is not followed
    """
    try:
        with place(path, follow) as entry:
            handle = entry.open()
    except FileNotFoundError:
        return None
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.EMLINK):
            raise MailError(f"{path!r} is a symbolic link; it is not followed") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise MailError(f"{path!r} is not a regular file")
        with os.fdopen(handle, "rb", closefd=False) as stream:
            return stream.read(limit)
    finally:
        os.close(handle)


def write(path: str, data: bytes, prepare: Callable[[int], object] | None = None, mode: int = 0o600) -> None:
    """Give a file its whole content at once, through a new file beside it; a link in its place is replaced, never followed.

    :param prepare: gives the open file its owner and mode, before it has its name
    """
    with place(path, follow=False) as entry:
        temporary = entry.beside(f".{entry.name}.{os.getpid()}.new")
        temporary.unlink()
        handle = temporary.open(os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                if prepare:
                    prepare(handle)
                os.fsync(handle)
            os.rename(temporary.name, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)
        except BaseException:
            temporary.unlink()
            raise
        entry.sync()


def unlink(path: str) -> None:
    """Remove a file or a link.

    :raises OSError: there is none
    """
    with place(path, follow=False) as entry:
        os.unlink(entry.name, dir_fd=entry.folder)


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    with place(path, follow=False) as entry:
        os.rmdir(entry.name, dir_fd=entry.folder)


def mkdir(path: str, uid: int, gid: int, mode: int = 0o700) -> None:
    """Make a directory that is closed until it belongs to whom it should.

    :raises FileExistsError: something is there
    """
    with place(path, follow=False) as entry:
        os.mkdir(entry.name, 0o700, dir_fd=entry.folder)
    give(path, uid, gid, mode)


def give(path: str, uid: int, gid: int, mode: int | None = None) -> None:
    """Give what is there its owner, group and mode; a link is an error."""
    with place(path, follow=False) as entry:
        handle = entry.open()
    try:
        change(handle, uid, gid, mode)
    finally:
        os.close(handle)


def rename(source: str, target: str) -> None:
    """Move what is there, whatever else has been put in the place of the directories meanwhile."""
    with place(source, follow=False) as left, place(target, follow=False) as right:
        os.rename(left.name, right.name, src_dir_fd=left.folder, dst_dir_fd=right.folder)


def sync(path: str) -> None:
    """Make the names in a directory durable."""
    with place(os.path.join(path, "."), follow=False) as entry:
        entry.sync()


def change(handle: int, uid: int | None, gid: int | None, mode: int | None, check: bool = False) -> bool:
    """Give what is open its owner, group and mode, None for as it is; return whether that changes (or would change) anything."""
    info = os.fstat(handle)
    uid, gid = info.st_uid if uid is None else uid, info.st_gid if gid is None else gid
    changed = False
    if (uid, gid) != (info.st_uid, info.st_gid):
        changed = True
        if not check:
            os.fchown(handle, uid, gid)
    # chown(2) takes away set-id bits, so the mode comes after it.
    if mode is not None and mode != stat.S_IMODE(os.fstat(handle).st_mode):
        changed = True
        if not check:
            os.fchmod(handle, mode)
    return changed
