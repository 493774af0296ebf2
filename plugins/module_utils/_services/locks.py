# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts that are locked: two files of one form for all services, the inventory's and those of ``postmaster-mail lock`` alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: File to the levels of ``mail_users.X.locked`` that it is of: who does not log in, and whose account sends nothing.
FILES = {"login": ("login", "all"), "sending": ("sending", "all")}

#: What the files of the command hold before it has locked anybody.
NOBODY = "# Accounts that postmaster-mail lock has locked, one a line; postmaster-mail unlock takes them out.\n"


def files(users: Mapping[str, Mapping[str, Any]], managed: str = "") -> dict[str, str]:
    """Return the files of the inventory, by name: an account a line.

    :param users: as the model has them
    :param managed: what the first line says
    """
    head = f"# {managed or 'Ansible managed'}\n"
    return {name: head + "".join(f"{user}\n" for user in locked(users, name)) for name in FILES}


def locked(users: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """Return the accounts that are in one of the files.

    :param name: of the file, ``login`` or ``sending``
    """
    return [user for user, options in sorted(users.items()) if options.get("locked") in FILES[name]]
