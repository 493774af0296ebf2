# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``port.py HINT``: whether another name server has port 53 of the loopback addresses, which would keep Unbound from starting.

systemd-resolved is none: it listens on other addresses. Where Unbound itself runs, the port is its own. HINT is how to find out which.
"""

from __future__ import annotations

import errno
import shutil
import socket
import subprocess
import sys

LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def taken() -> str:
    """Return the first loopback address on which another name server listens, or nothing."""
    if shutil.which("pgrep") and subprocess.call(["pgrep", "-x", "unbound"], stdout=subprocess.DEVNULL) == 0:
        return ""
    for family, address in LOOPBACK:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as server:
                server.bind((address, 53))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                return address
    return ""


if __name__ == "__main__":
    if address := taken():
        sys.exit(f"Another name server of this host has port 53 of {address}, where the role resolver is to listen. Nothing has been "
                 f"installed. See which by: {sys.argv[1]}. "
                 "Then stop and disable it, or have it leave the loopback addresses; or, if it validates (DNSSEC) and DNSBLs "
                 "answer it, leave the role out: --skip-tags resolver.")
