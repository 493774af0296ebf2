# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each MTA is on each system, as one table that all roles and modules read; docs/architecture.md says how to add one."""

from __future__ import annotations

from typing import Any

#: The same on every system. ``filter`` is the protocol by which it hands messages to Rspamd, ``spool`` the directory of its queue.
_EVERYWHERE: dict[str, dict[str, Any]] = {
    "postfix": {"filter": "milter", "spool": "/var/spool/postfix"},
    "opensmtpd": {"filter": "http", "spool": "/var/spool/smtpd"},
}

#: OS family → ``usual``, the MTA of a host whose inventory names none; ``servers``, those that there are roles for; and ``foreign``,
#: others that may have port 25, package → service.
#:
#: Of a server: ``package``, its name as an installed one, empty where it is part of the system; ``packages``, what the package manager
#: is asked for; ``service``; ``account``, whose group has the same name, as its package makes it (``id`` only where the package refuses
#: another); ``helpers``, services of packages that only this MTA uses; ``files``, what its role puts on a host beside the files of
#: config_tree; ``signer``, what signs its mail on a host without the filter, empty where there is nothing: ``package``, ``packages``,
#: ``group``, which its package makes and which reads the keys, ``service``, empty where the MTA starts it, and ``file``, one that is there
#: where the role `signer` has configured it, and not somebody else; ``disable``, the command that gives sendmail(8) back to the system, and
#: the file whose existence says that it is needed.
_SYSTEMS: dict[str, dict[str, Any]] = {
    "Debian": {
        "usual": "postfix",
        "servers": {
            "postfix": {
                "package": "postfix",
                "packages": ["postfix"],
                "service": "postfix",
                "account": {"name": "postfix", "home": "/var/spool/postfix"},
                "helpers": ["postsrsd"],
                "files": ["/etc/postfix.srs.secret"],
                "signer": {
                    "package": "opendkim",
                    "packages": ["opendkim"],
                    "group": "opendkim",
                    "service": "opendkim",
                    "file": "/etc/systemd/system/opendkim.service.d/postmaster-mail.conf",
                },
                "disable": {},
            },
            "opensmtpd": {
                "package": "opensmtpd",
                "packages": ["opensmtpd"],
                "service": "opensmtpd",
                "account": {"name": "opensmtpd", "home": "/var/lib/opensmtpd/empty"},
                "helpers": [],
                "files": ["/etc/smtpd.srs.conf", "/usr/libexec/opensmtpd/table-smarthosts"],
                "signer": {
                    "package": "opensmtpd-filter-dkimsign",
                    "packages": ["opensmtpd-filter-dkimsign"],
                    "group": "_dkimsign",
                    "service": "",
                    "file": "/etc/smtpd.signing.conf",
                },
                "disable": {},
            },
        },
        # The first is Debian's own default.
        "foreign": {"exim4-daemon-light": "exim4", "exim4-daemon-heavy": "exim4", "sendmail-bin": "sendmail"},
    },
    "OpenBSD": {
        "usual": "opensmtpd",
        "servers": {
            "postfix": {
                "package": "postfix",
                # No flavour is needed: all of them can ask Dovecot for authentication, and that called sasl2 only adds Cyrus'.
                "packages": ["postfix--%stable"],
                "service": "postfix",
                "account": {"name": "_postfix", "id": 507, "home": "/var/empty", "comment": "Postfix Daemon", "login_class": "daemon"},
                "helpers": [],
                "files": ["/etc/mail/postfix.srs.secret"],
                "signer": {},
                "disable": {"argv": ["/usr/local/sbin/postfix-disable"], "removes": "/etc/mailer.conf.pre-postfix"},
            },
            "opensmtpd": {
                "package": "",
                "packages": [],
                "service": "smtpd",
                "account": {"name": "_smtpd", "home": "/var/empty"},
                "helpers": [],
                "files": ["/etc/mail/smtpd.srs.conf", "/etc/login.conf.d/smtpd", "/usr/local/libexec/smtpd/table-smarthosts"],
                "signer": {
                    "package": "opensmtpd-filter-dkimsign",
                    "packages": ["opensmtpd-filter-dkimsign"],
                    "group": "_dkimsign",
                    "service": "",
                    "file": "/etc/mail/smtpd.signing.conf",
                },
                "disable": {},
            },
        },
        "foreign": {},
    },
}

#: The names of the MTAs, as ``mail_mta`` has them.
NAMES = tuple(_EVERYWHERE)

#: The directory of each MTA's queue.
SPOOLS = {name: str(facts["spool"]) for name, facts in _EVERYWHERE.items()}

#: What the roles of all MTAs on all systems put on a host beside their configuration, and what tells that one of theirs signs.
FILES = sorted({
    path for system in _SYSTEMS.values() for server in system["servers"].values()
    for path in (*server["files"], *([server["signer"]["file"]] if server["signer"] else []))
})  # fmt: skip


def usual(os_family: str) -> str:
    """Return the MTA that a host of this family gets where the inventory names none."""
    return str(_system(os_family)["usual"])


def facts(os_family: str) -> dict[str, Any]:
    """Return the table's part for an OS family: ``usual``, ``servers`` (name → facts) and ``foreign``, as described above."""
    system = _system(os_family)
    return {**system, "servers": {name: {**_EVERYWHERE[name], **server} for name, server in system["servers"].items()}}


def _system(os_family: str) -> dict[str, Any]:
    """What is not known is as on Debian; the roles refuse a family that they have no values for."""
    return _SYSTEMS.get(os_family, _SYSTEMS["Debian"])
