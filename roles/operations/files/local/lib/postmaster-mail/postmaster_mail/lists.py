# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files with an entry a line, which this program writes and daemons read: each change is there at once, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator

from postmaster_mail.text import Failure


def entries(text: str) -> set[str]:
    """Return the entries of a file; a line that begins with ``#`` is none."""
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


class Lists:
    """The files of one directory. One that is not there has no entry."""

    def __init__(self, directory: str, head: str) -> None:
        """Take the directory, and what the first line of each file says."""
        self._directory = directory
        self._head = f"# {head}\n"

    def read(self, name: str) -> set[str]:
        """Return the entries of a file.

        :raises Failure: it cannot be read
        """
        try:
            with open(self._path(name), encoding="utf-8") as stream:
                return entries(stream.read())
        except FileNotFoundError:
            return set()
        except (OSError, ValueError) as exc:
            raise Failure(f"{self._path(name)} cannot be read: {exc}") from exc

    def add(self, entry: str, names: Iterable[str]) -> None:
        """Add an entry to files.

        :raises Failure: they cannot be written
        """
        with self._changing():
            for name in names:
                self._write(name, self.read(name) | {entry})

    def remove(self, entry: str, names: Iterable[str]) -> None:
        """Remove an entry from files.

        :raises Failure: they cannot be written
        """
        with self._changing():
            for name in names:
                self._write(name, self.read(name) - {entry})

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time."""
        try:
            os.makedirs(self._directory, mode=0o755, exist_ok=True)
            lock = os.open(self._directory, os.O_RDONLY)
        except OSError as exc:
            raise Failure(f"{self._directory} cannot be written: {exc}") from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, name: str, found: set[str]) -> None:
        """Replace a file, for everybody to read: the daemons run as several accounts."""
        path, temporary = self._path(name), self._path(f".{name}.new")
        if os.path.exists(path) and self.read(name) == found:
            return
        try:
            before = os.stat(path).st_mtime if os.path.exists(path) else 0
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), 0o644)
                stream.write(self._head + "".join(f"{entry}\n" for entry in sorted(found)))
                stream.flush()
                os.fsync(stream.fileno())
            # Daemons read a file again that has another size, or another time in whole seconds.
            moment = max(time.time(), int(before) + 1)
            os.utime(temporary, (moment, moment))
            os.replace(temporary, path)
        except OSError as exc:
            raise Failure(f"{path} cannot be written: {exc}") from exc
