# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the resolver of this host for the root's name servers, and want an answer that it has validated (AD, RFC 4035 section 3.2.3)."""

from __future__ import annotations

import socket
import struct
import sys
import time

QUERY = struct.pack(">6H", 4711, 0x0120, 1, 0, 0, 0) + b"\0" + struct.pack(">2H", 2, 1)
ATTEMPTS = 6


def ask(server: tuple[str, int]) -> str:
    """Return what was wrong with the answer; nothing if it was validated."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.sendto(QUERY, server)
            flags, _questions, answers = struct.unpack(">3H", client.recv(4096)[2:8])
    except OSError as exc:
        return str(exc)
    if flags & 0x002F == 0x0020 and answers:
        return ""
    return f"response code {flags & 15}, {answers} answers, {'' if flags & 32 else 'not '}validated"


def main(server: tuple[str, int] = ("127.0.0.1", 53), pause: float = 1) -> str | None:
    """Return what sys.exit takes: nothing once there was a validated answer, or the complaint."""
    complaint = "no answer"
    for _attempt in range(ATTEMPTS):
        complaint = ask(server)
        if not complaint:
            return None
        time.sleep(pause)
    return (f"The local resolver did not give a validated answer for the root's name servers: {complaint}. Behind a firewall that "
            "keeps DNS in, set resolver_forwarders. /etc/resolv.conf is as it was.")


if __name__ == "__main__":
    sys.exit(main())
