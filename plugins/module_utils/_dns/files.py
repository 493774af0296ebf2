# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Zone files on disk: read, checked by a zone checker, and replaced as a whole. This is I/O."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._dns import zone_file
from ansible_collections.postmaster.mail.plugins.module_utils._dns.rrset import Change
from ansible_collections.postmaster.mail.plugins.module_utils._dns.zone_file import ZoneFile
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._names import owner_name

# Checkers in the order of choice, and what makes each print the zone as its server reads it (kzonecheck does from Knot 3.4 on).
# named-checkzone would look up hosts outside of the zone unless told not to.
_CHECKERS = (
    (["named-checkzone", "-i", "local", "-q", "{zone}", "{file}"], ["-D", "-s", "full", "-o", "-"]),
    (["nsd-checkzone", "{zone}", "{file}"], ["-p"]),
    (["kzonecheck", "-o", "{zone}", "{file}"], ["-p"]),
)


@dataclass
class Loaded:
    """A zone file as it was read."""

    path: str
    octets: bytes
    file: ZoneFile


class ZoneFiles:
    """The zone files that ``zone_file`` and ``zone_files`` name. ``module`` is the AnsibleModule, for its file functions."""

    def __init__(self, module: Any, params: Mapping[str, Any], check_mode: bool) -> None:
        self.module = module
        self.params = params
        self.check_mode = check_mode
        self.named = {owner_name(zone, "zone_files"): str(path) for zone, path in params["zone_files"].items()}
        self._checker: tuple[list[str], list[str]] | None = None

    def path(self, zone: str) -> str:
        """Return the path of a zone's file, symbolic links followed: the file is replaced, not the link.

        :raises MailError: no option names it
        """
        path = self.named.get(zone)
        if path is None and self.params["zone_file"] is not None:
            path = self.params["zone_file"].replace("{zone}", zone)
        if path is None:
            raise MailError(f"zone {zone!r}: set zone_file or zone_files, so that it is known which file has the zone")
        if not os.path.isabs(path):
            raise MailError(f"zone {zone!r}: zone file {path!r} must be an absolute path")
        return os.path.realpath(path)

    def load(self, zone: str) -> Loaded:
        """Read and parse a zone's file and those that it includes.

        :raises MailError: it is not there, or cannot be edited
        """
        path = self.path(zone)
        octets = _read(path, zone)
        if os.path.exists(path + ".jnl") and not os.path.exists(path + ".signed"):
            raise MailError(
                f"zone {zone!r}: {path}.jnl is the journal of a zone that BIND itself writes to this file: publish by backend=rfc2136, "
                "or make the zone static"
            )
        try:
            text = octets.decode("latin-1")
            file = zone_file.parse(text, zone, self._included(text, path))
        except MailError as exc:
            raise MailError(f"zone {zone!r}: {path}: {exc}") from exc
        return Loaded(path, octets, file)

    def _included(self, text: str, path: str) -> dict[str, str]:
        texts: dict[str, str] = {}
        left = zone_file.includes(text)
        while left:
            name = left.pop()
            if name in texts:
                continue
            # Servers read a relative one from their own working directory, which most often is that of the zone files.
            with contextlib.suppress(OSError), open(os.path.join(os.path.dirname(path), name), "rb") as stream:
                texts[name] = stream.read().decode("latin-1")
                left += zone_file.includes(texts[name])
        return texts

    def checker(self) -> tuple[list[str], list[str]]:
        """Return the command that checks a zone file, and the options that make it print the zone; none if it cannot.

        :raises MailError: there is none
        """
        if self._checker is None:
            if self.params["check_command"]:
                self._checker = list(self.params["check_command"]), []
            else:
                for argv, printing in _CHECKERS:
                    path = self.module.get_bin_path(argv[0], opt_dirs=["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/local/bin"])
                    if path:
                        self._checker = [path, *argv[1:]], printing
                        break
                else:
                    names = ", ".join(argv[0] for argv, _printing in _CHECKERS)
                    raise MailError(f"no zone checker is installed ({names}): install one, or set check_command")
        return self._checker

    def _check(self, zone: str, loaded: Loaded, staged: str, changes: Sequence[Change]) -> None:
        """Let the checker accept the new file, and confirm that it reads there what was meant, and everything else as before."""
        directory = os.path.dirname(loaded.path)
        argv, printing = self.checker()
        self._run(argv, zone, staged, directory, f"the new zone file {loaded.path} is refused by")
        if not printing:
            return
        command = [argv[0], *printing, *argv[1:]]
        printed, before = (self._printed(command, zone, path, directory) for path in (staged, loaded.path))
        if printed is None:
            return
        try:
            zone_file.confirm(zone, printed, before, changes, os.path.basename(argv[0]))
        except MailError as exc:
            raise MailError(f"zone {zone!r}: {loaded.path}: {exc}; nothing was written") from exc

    def _printed(self, command: Sequence[str], zone: str, path: str, directory: str) -> str | None:
        code, octets, _err = self._call(command, zone, path, directory, encoding=None)
        return octets.decode("latin-1") if code == 0 else None

    def replace(self, zone: str, loaded: Loaded, text: str, changes: Sequence[Change]) -> str | None:
        """Check the new text, put it in place of the old one at once, and tell the server, if ``reload_command`` is set.

        Owner and mode stay. Return the backup's path.

        :raises MailError: the checker refuses it, the file changed since it was read, or the server was not told; the file is as it
            was then, so that the next run does it all again
        """
        directory = os.path.dirname(loaded.path)
        # A checker follows relative $INCLUDE lines from the file's own directory.
        stage = directory if loaded.file.included or not self.check_mode else self.module.tmpdir
        with _staged(loaded.path, text.encode("latin-1"), stage) as staged:
            self._check(zone, loaded, staged, changes)
            if self.check_mode:
                return None
            if _read(loaded.path, zone) != loaded.octets:
                raise MailError(f"zone {zone!r}: {loaded.path} was changed by somebody else in between; nothing was written; run again")
            backup = self.module.backup_local(loaded.path) if self.params["backup"] else None
            self.module.atomic_move(staged, loaded.path)
        if self.params["reload_command"]:
            try:
                what = f"the new zone file {loaded.path} is not loaded by"
                self._run(self.params["reload_command"], zone, loaded.path, directory, what)
            except MailError as exc:
                raise MailError(f"{exc}; {self._take_back(zone, loaded, text, backup)}") from exc
        return backup

    def _take_back(self, zone: str, loaded: Loaded, text: str, backup: str | None) -> str:
        if _read(loaded.path, zone) != text.encode("latin-1"):
            return "it was changed by somebody else in between and stays; load it by hand"
        with _staged(loaded.path, loaded.octets, os.path.dirname(loaded.path)) as staged:
            self.module.atomic_move(staged, loaded.path)
        if backup:
            os.unlink(backup)
        return "the former one is back in its place; run again"

    def _run(self, command: Sequence[str], zone: str, path: str, directory: str, what: str) -> None:
        code, out, err = self._call(command, zone, path, directory)
        if code != 0:
            words = " ".join((out + err).split())
            name = os.path.basename(command[0])
            raise MailError(f"zone {zone!r}: {what} {name} (status {code})" + (f": {words}" if words else ""))

    def _call(self, command: Sequence[str], zone: str, path: str, directory: str, **options: Any) -> tuple[int, Any, Any]:
        argv = [word.replace("{zone}", zone).replace("{file}", path) for word in command]
        environment = {"LC_ALL": "C", "LANG": "C"}
        try:
            return self.module.run_command(argv, cwd=directory, environ_update=environment, handle_exceptions=False, **options)
        except OSError as exc:
            raise MailError(f"zone {zone!r}: {argv[0]}: {exc.strerror}") from exc


@contextlib.contextmanager
def _staged(path: str, octets: bytes, directory: str) -> Iterator[str]:
    """A file with these octets that may be moved to ``path``, and is gone otherwise."""
    handle, staged = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=directory)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(octets)
            stream.flush()
            os.fsync(stream.fileno())
        yield staged
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(staged)


def _read(path: str, zone: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as exc:
        raise MailError(f"zone {zone!r}: zone file {path}: {exc.strerror}") from exc
