# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find out what a local user gets from the services of a mail server: python3 -c PROGRAM USER ADDRESS [DIRECTORY]

It starts as root on the host, looks for Unix sockets, and then becomes ``USER`` for good. ``ADDRESS`` is one that the server signs for.
Every TCP port of the loopback interfaces and every socket, or every socket below one directory alone, is spoken to in the protocols of
services that do what their client may not do itself. Printed is, as JSON, ``reached``, and what was granted as ``granted``, a list of
[what, where, answer].
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pwd
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterable

PLACES = ("/run", "/var/run", "/var/spool", "/var/dovecot", "/var/lib", "/var/rspamd", "/var/www", "/tmp")
#: Where any client, local or not, is greeted so.
SMTP_PORTS = (25, 587)
WAIT = 2.0


def sockets(places: Iterable[str]) -> list[str]:
    """Return the paths of all sockets below these directories, each once."""
    found = {}
    for place in places:
        for directory, _names, files in os.walk(place):
            for name in files:
                path = os.path.join(directory, name)
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    if stat.S_ISSOCK(status.st_mode):
                        found.setdefault((status.st_dev, status.st_ino), path)
    return sorted(found.values())


def become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def connect(where: str) -> socket.socket:
    """Connect to a path or to ``address port``."""
    if where.startswith("/"):
        stream = socket.socket(socket.AF_UNIX)
        target: object = where
    else:
        address, port = where.split()
        stream = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        target = (address, int(port))
    try:
        stream.settimeout(WAIT)
        stream.connect(target)
        if not where.startswith("/") and stream.getsockname() == stream.getpeername():
            raise ConnectionRefusedError("the port was free, and the connection's own end got it")
    except BaseException:
        stream.close()
        raise
    return stream


def reachable(where: str) -> bool:
    try:
        connect(where).close()
    except OSError:
        return False
    return True


def said(where: str, request: bytes, enough: bytes) -> bytes:
    """Return what a service says to a request, until it has said enough, ends, or falls silent."""
    answer = b""
    with contextlib.suppress(OSError), connect(where) as stream:
        stream.sendall(request)
        while not re.search(enough, answer) and len(answer) < 100_000:
            got = stream.recv(4096)
            if not got:
                break
            answer += got
    return answer


def http(method: str, path: str, headers: str = "", body: str = "") -> bytes:
    return f"{method} {path} HTTP/1.0\r\nHost: localhost\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def netstring(text: str) -> bytes:
    return f"{len(text)}:{text},".encode()


def questions(address: str) -> list[tuple[str, bytes, bytes]]:
    """What a service may grant: its name, how it is asked for, and what an answer has in it that grants it."""
    stranger = "x@client.test"
    letter = f"From: {address}\r\nTo: {stranger}\r\nSubject: x\r\nMessage-ID: <{stranger}>\r\n\r\nx\r\n"
    return [
        ("mail is taken", b"", rb"^220[ -]"),
        ("mail is scanned and signed", http("POST", "/checkv2", f"User: {address}\r\nFrom: {address}\r\nIp: 127.0.0.1\r\n", letter),
         rb'(?s)200 OK.*"action"'),
        ("a file is read", http("POST", "/checkv2", "File: /etc/hostname\r\n"), rb'(?s)200 OK.*"action"'),
        ("a milter is spoken to", struct.pack(">IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF), rb"^\0\0\0.O"),
        ("the controller obeys", http("GET", "/stat"), rb'(?s)200 OK.*"scanned"'),
        ("a sender is rewritten", f"get {stranger}\n".encode(), rb"SRS0="),
        ("a sender is rewritten", netstring(f"forward {stranger}"), rb"SRS0="),
        ("the store answers", b"PING\r\n", rb"^\+PONG"),
        ("the resolver is controlled", b"UBCT1 status\n", rb"(?m)^version: "),
        ("mailboxes are indexed", b"VERSION\tindexer-client\t1\t0\n", rb"^VERSION\tindexer"),
        ("mailboxes are opened by URL", b"", rb"^VERSION\timap-urlauth"),
        ("passwords are checked", b"VERSION\t1\t2\nCPID\t4711\n", rb"(?m)^MECH\t"),
    ]


def main() -> None:
    user, address, *only = sys.argv[1:]
    everywhere = sockets(only or PLACES)
    if not only:
        everywhere += [f"{loopback} {port}" for port in range(1, 65536) for loopback in ("127.0.0.1", "::1")]
    become(user)
    reached = [where for where in everywhere if reachable(where)]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        asked = [(what, where, request, grants) for where in reached for what, request, grants in questions(address)
                 if not (what == "mail is taken" and where.rpartition(" ")[2] in map(str, SMTP_PORTS))]
        answers = pool.map(lambda one: said(*one[1:]), asked)
        granted = [[what, where, answer.decode("latin-1")[:200]]
                   for (what, where, _request, grants), answer in zip(asked, answers) if re.search(grants, answer)]
    json.dump({"reached": reached, "granted": granted}, sys.stdout)


if __name__ == "__main__":
    main()
