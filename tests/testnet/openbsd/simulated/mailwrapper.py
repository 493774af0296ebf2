# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""mailwrapper(8): sendmail, mailq and the like are whatever mailer.conf(5) says. It becomes the program, with all that was given."""

from __future__ import annotations

import os

from simulated.common import Refusal, at, program, read

CONFIGURATION = "/etc/mailer.conf"
# sysexits(3)
_CONFIG, _UNAVAILABLE = 78, 69


def mapped(name: str) -> list[str]:
    """Return the words that stand for a name: the program, and arguments that come before those of the caller."""
    if not at(CONFIGURATION).exists():
        raise Refusal(f"{name}: cannot open {CONFIGURATION}: No such file or directory", _CONFIG)
    for number, line in enumerate(read(CONFIGURATION).splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) == 1:
            raise Refusal(f"{name}: cannot parse {CONFIGURATION} at line {number}", _CONFIG)
        if words and words[0] == name:
            return words[1:]
    raise Refusal(f"{name}: no mapping in {CONFIGURATION}", _CONFIG)


def _call(argv: list[str]) -> int:
    target, *first = mapped(program())
    try:
        os.execv(target, [program(), *first, *argv])
    except OSError as exc:
        raise Refusal(f"{program()}: cannot execute {target}: {exc.strerror}", _UNAVAILABLE) from None


mailwrapper = sendmail = send_mail = makemap = mailq = newaliases = _call
