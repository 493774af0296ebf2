# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a postmaster's command is given. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the role writes for the command: ``log_days`` and ``summary``.

    :param given: these, as in the role's variables, and ``os_family``, as in Ansible's facts
    :raises MailError: a system on which something else keeps the log
    """
    days = given["log_days"]
    if days and given.get("os_family") == "OpenBSD":
        raise MailError(f"operations_log_days {days} cannot be had on OpenBSD, where /etc/newsyslog.conf says for how many days "
                        "/var/log/maillog is kept (newsyslog.conf(5))")
    return {"log_days": days, "summary": given["summary"]}
