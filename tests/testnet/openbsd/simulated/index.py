# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which simulated tool is which function, and where OpenBSD has it."""

from __future__ import annotations

_WHERE: dict[str, dict[str, tuple[str, ...]]] = {
    "packages": {"/usr/sbin": ("pkg_add", "pkg_info", "pkg_delete")},
    "rc": {"/usr/sbin": ("rcctl",), "/usr/lib/simulation/bin": ("rc-exec",)},
    "users": {"/usr/sbin": ("useradd", "usermod", "userdel", "userinfo", "groupadd", "groupmod", "groupdel", "groupinfo", "user", "group",
                            "pwd_mkdb")},
    "system": {"/usr/bin": ("uname", "vmstat", "cap_mkdb", "encrypt"),
               "/sbin": ("sysctl", "ifconfig", "route", "swapctl", "init", "resolvd", "unwind"),
               "/usr/sbin": ("syspatch",), "/usr/lib/simulation/bin": ("boot", "netstart", "rc-class")},
    "tools": {"/usr/bin": ("stat", "date"), "/usr/sbin": ("syslogd", "unbound", "unbound-checkconf", "unbound-control", "unbound-anchor")},
    "acme_client": {"/usr/sbin": ("acme-client",)}, "httpd": {"/usr/sbin": ("httpd",)}, "pf": {"/sbin": ("pfctl",)},
    "cron": {"/usr/bin": ("crontab",), "/usr/sbin": ("cron",)},
    "mailwrapper": {"/usr/sbin": ("mailwrapper", "sendmail", "send-mail", "makemap"), "/usr/bin": ("mailq", "newaliases")},
}
# Those that pkg_add puts in place.
_PACKAGED: dict[str, tuple[str, ...]] = {"postfix": ("postfix-enable", "postfix-disable")}
PATHS: list[str] = [f"{directory}/{name}" for module in _WHERE.values() for directory, names in module.items() for name in names]
COMMANDS: dict[str, tuple[str, str]] = {
    name: (module, name.replace("-", "_"))
    for module, rooms in [*_WHERE.items(), *((module, {"": names}) for module, names in _PACKAGED.items())]
    for names in rooms.values() for name in names}
