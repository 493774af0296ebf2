# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts that are locked: two files with an account a line, ``login`` and ``sending``, which the daemons read at each log-in and message.

There is a pair of the inventory's and one of this command's; who is in one of them is locked.
"""

from __future__ import annotations

from postmaster_mail.lists import Lists

#: Level to the files that an account of it is in.
LEVELS = {"sending": ("sending",), "login": ("login",), "all": ("login", "sending")}


def level(files: set[str]) -> str:
    """Return the level of an account that is in these files; empty for none."""
    return next((name for name, needed in LEVELS.items() if set(needed) == files), "")


class Locks:
    """Those of one directory."""

    def __init__(self, directory: str) -> None:
        self._lists = Lists(directory, "Accounts that postmaster-mail lock has locked, one a line; postmaster-mail unlock takes them out.")

    def of(self, account: str) -> set[str]:
        """Return the files that an account is in.

        :raises Failure: they cannot be read
        """
        return {name for name in LEVELS["all"] if account in self._lists.read(name)}

    def accounts(self) -> dict[str, set[str]]:
        """Return account to the files that it is in.

        :raises Failure: they cannot be read
        """
        found: dict[str, set[str]] = {}
        for name in LEVELS["all"]:
            for account in self._lists.read(name):
                found.setdefault(account, set()).add(name)
        return found

    def add(self, account: str, wanted: str) -> None:
        """Lock an account at a level, beside what it is locked at already.

        :raises Failure: the files cannot be written
        """
        self._lists.add(account, LEVELS[wanted])

    def remove(self, account: str, wanted: str) -> None:
        """Unlock an account at a level.

        :raises Failure: the files cannot be written
        """
        self._lists.remove(account, LEVELS[wanted])
