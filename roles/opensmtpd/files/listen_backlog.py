# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let more clients connect to smtpd at once: listen-backlog PID

smtpd asks the kernel to keep five connections that it has not accepted yet (SMTPD_BACKLOG of its smtpd.h). OpenBSD makes eighty of that
(kern.sominconn), Linux does not. What is more Linux answers with SYN cookies, and forgets: the client is connected then, waits for a
greeting, and gets none. There is no option; but whoever has a socket may call listen(2) on it again, so this takes those of the process
PID and its children (pidfd_getfd(2), Linux 5.6), as systemd does after each start. A container may forbid that; then all stays as it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# No more than net.core.somaxconn counts, which is 4096 since Linux 5.4.
BACKLOG = 1024
# smtpd is in the background before its processes have read their configuration.
PATIENCE, PAUSE = 10.0, 0.05
# The same on all of Debian's architectures; glibc has a name for it since 2.36, Python has none.
PIDFD_GETFD = 438
_LIBC = ctypes.CDLL(None, use_errno=True)


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    found = [pid]
    with contextlib.suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text(encoding="ascii").split())
    return found


def borrowed(pid: int) -> Iterator[socket.socket]:
    """Return copies of the TCP sockets of a process, which its end may make fewer.

    :raises OSError: they may not be had
    """
    process = os.pidfd_open(pid)
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(entry.path)
            except OSError:
                continue  # closed since
            if not target.startswith("socket:"):
                continue
            number = _LIBC.syscall(PIDFD_GETFD, process, int(entry.name), 0)
            if number < 0:
                error = ctypes.get_errno()
                raise OSError(error, f"pidfd_getfd: {os.strerror(error)}")
            with socket.socket(fileno=number) as found:
                if found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM:
                    yield found
    finally:
        os.close(process)


def connected(found: socket.socket) -> bool:
    try:
        found.getpeername()
    except OSError:
        return False
    return True


def widened(pid: int) -> tuple[int, int]:
    """Call listen(2) again for each socket that listens; return how many these are, and how many only have an address yet.

    :raises OSError: they may not be had
    """
    done, later = set(), set()
    for process in family(pid):
        try:
            for found in borrowed(process):
                inode = os.fstat(found.fileno()).st_ino  # smtpd's processes share them
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    found.listen(BACKLOG)
                    done.add(inode)
                elif not connected(found):
                    later.add(inode)
        except (ProcessLookupError, FileNotFoundError):
            continue  # it ended
    return len(done), len(later)


def main() -> int:
    end = time.monotonic() + PATIENCE
    done, later = 0, 0
    try:
        while time.monotonic() < end:
            done, later = widened(int(sys.argv[1]))
            if done and not later:
                return 0
            time.sleep(PAUSE)
        print(f"{done} sockets of smtpd's listen, {later} do not yet: clients that connect at once may wait", file=sys.stderr)
    except OSError as exc:
        print(f"clients that connect to smtpd at once may wait for its greeting in vain: {exc}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
