# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Postfix's package has of its own on OpenBSD: postfix-enable and postfix-disable, and what it does when it is added or removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from simulated.common import at, read, write
from simulated.users import load_users

_CONF = "/etc/mailer.conf"
_OURS, _BEFORE = f"{_CONF}.postfix", f"{_CONF}.pre-postfix"
_SENDMAIL = "/usr/local/sbin/sendmail"
_SPOOL, _DATA = "/var/spool/postfix", "/var/postfix"


def postfix_enable(_argv: list[str]) -> int:
    """Let sendmail and the like be Postfix's. It ends well in either case."""
    if not at(_OURS).is_file():
        print(f"can't find {_OURS}, postfix not enabled")
        return 0
    if at(_CONF).is_file():
        at(_CONF).rename(at(_BEFORE))
        print(f"old {_CONF} saved as {_BEFORE}")
    at(_OURS).rename(at(_CONF))
    print(f"postfix {_CONF} enabled\n\nNOTE: do not forget to add smtpd_flags=NO to\n      /etc/rc.conf.local to disable smtpd.")
    return 0


def postfix_disable(_argv: list[str]) -> int:
    """Let them be what they were."""
    if not at(_BEFORE).is_file():
        print(f"can't find {_BEFORE}, postfix not disabled")
        return 1
    if not at(_CONF).is_file():
        print(f"can't find {_CONF}, postfix not disabled")
        return 0
    at(_CONF).rename(at(_OURS))
    at(_BEFORE).rename(at(_CONF))
    print(f"postfix {os.path.basename(_CONF)} disabled, old {os.path.basename(_CONF)} enabled")
    return 0


def installed() -> list[str]:
    """Make what the package's script makes, and return what goes with the package."""
    if _SENDMAIL not in read(_CONF):
        write(_OURS, "".join(f"{name}\t{_SENDMAIL}\n" for name in ("sendmail", "send-mail", "mailq", "newaliases")))
    for path in (_SPOOL, f"{_SPOOL}/etc", f"{_SPOOL}/dev"):
        at(path).mkdir(parents=True, exist_ok=True)
        at(path).chmod(0o755)
    for name in ("hosts", "localtime", "resolv.conf", "services"):
        if at(f"/etc/{name}").is_file():
            shutil.copyfile(at(f"/etc/{name}"), at(f"{_SPOOL}/etc/{name}"))
    if not at(_DATA).exists():
        number = next(user.uid for user in load_users() if user.name == "_postfix")
        at(_DATA).mkdir()
        os.chown(at(_DATA), number, 0)
        at(_DATA).chmod(0o700)
    _postfix("check")
    return []


def removed() -> None:
    """Stop it, and take it out of mailer.conf. The queue and the configuration stay."""
    _postfix("stop")
    if at(_BEFORE).is_file():
        postfix_disable([])
    at(_OURS).unlink(missing_ok=True)


def _postfix(word: str) -> None:
    program = at("/usr/local/sbin/postfix")
    if program.exists():
        sys.stdout.flush()
        subprocess.run([str(program), word], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
