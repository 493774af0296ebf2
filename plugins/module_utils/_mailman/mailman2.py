# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mailman 2.1 through its programs list_lists and config_list (I/O).

config_list executes what it reads and ends with status 0 whatever happens, so: nothing but literals goes in, what comes
out is parsed and not executed, every word on its standard error is an error, and what was set is read again.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rules import (
    MailingList,
    changes,
    charset_of,
    coerce2,
    format_config,
    parse_config,
)

# Where distributions put Mailman 2.1's programs, besides the usual path.
DIRECTORIES = ("/usr/sbin", "/usr/lib/mailman/bin", "/var/lib/mailman/bin", "/usr/local/mailman/bin", "/usr/local/lib/mailman/bin")


class Mailman2:
    """The lists of one Mailman 2.1.

    :param list_lists: path of that program
    :param config_list: path of that program
    """

    version = 2

    def __init__(self, list_lists: str, config_list: str) -> None:
        self._list_lists, self._config_list = list_lists, config_list
        self._charsets: dict[str, str] = {}
        self._configs: dict[str, dict[str, Any]] = {}
        self._names: dict[MailingList, str] = {}

    def _run(self, *command: str) -> tuple[bytes, str]:
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C", "LANGUAGE": "C"}
            )
        except OSError as exc:
            raise MailError(f"{command[0]} cannot be run: {exc.strerror}") from exc
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        if done.returncode:
            raise MailError(f"{' '.join(command)} failed with status {done.returncode}: {said}")
        return done.stdout, said

    def lists(self) -> list[MailingList]:
        """All lists, the site's own included, in the order of their addresses."""
        out, _said = self._run(self._list_lists, "--bare")
        self._names = {}
        for name in out.decode("ascii", "backslashreplace").split():
            config = self._dump(name)
            self._names[MailingList(name.lower(), str(config.get("host_name", "")).lower())] = name
        return sorted(self._names, key=lambda entry: (entry.domain, entry.name))

    def find(self, name: str) -> MailingList | None:
        """The list with this name or address."""
        name = name.lower()
        return next((entry for entry in self._names if name in (entry.name, entry.address)), None)

    def _dump(self, name: str) -> dict[str, Any]:
        out, said = self._run(self._config_list, "-o", "-", name)
        if said:
            raise MailError(f"config_list cannot print the settings of {name}: {said}")
        self._charsets[name] = charset_of(out)
        self._configs[name] = parse_config(out)
        return self._configs[name]

    def read(self, entry: MailingList, with_bans: bool) -> dict[str, Any]:
        """All settings of a list, as they were when the lists were looked at."""
        return self._configs[self._names[entry]]

    def differences(self, current: dict[str, Any], wanted: dict[str, Any], required: list[str]) -> dict[str, tuple[Any, Any]]:
        return changes(wanted, current, coerce2, required)

    def check(self, entry: MailingList, differences: dict[str, tuple[Any, Any]]) -> None:
        """Let config_list check the changes without making them.

        :raises MailError: it complains
        """
        self._feed(entry, differences, "-c")

    def apply(self, entry: MailingList, differences: dict[str, tuple[Any, Any]], made: dict[str, tuple[Any, Any]]) -> None:
        """Make the changes, then read again and compare.

        :param made: filled with what is changed, as far as it comes
        :raises MailError: config_list complains, or keeps another value
        """
        complaint = None
        try:
            self._feed(entry, differences)
        except MailError as exc:
            complaint = exc  # about one setting, perhaps; others may have been made
        kept = self._dump(self._names[entry])
        made.update({name: (before, kept.get(name)) for name, (before, _after) in differences.items() if kept.get(name) != before})
        if complaint:
            raise complaint
        for name, (_before, after) in differences.items():
            if kept.get(name) != after:
                raise MailError(f"config_list keeps {name} of {entry.address} at {kept.get(name)!r} instead of {after!r}")

    def _feed(self, entry: MailingList, differences: dict[str, tuple[Any, Any]], *options: str) -> None:
        name = self._names[entry]
        text = format_config({key: after for key, (_before, after) in differences.items()}, self._charsets[name])
        handle, path = tempfile.mkstemp(prefix="config_list-", suffix=".py")
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
            # Debian's config_list runs as the caller; others change to Mailman's own user, who has to read this too.
            os.chmod(path, 0o644)
            _out, said = self._run(self._config_list, *options, "-i", path, name)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if said:
            raise MailError(f"config_list complains about the settings of {entry.address}: {said}")
