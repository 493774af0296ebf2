# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transport of a recipient's domain by the hosts of its MX records, for Postfix: a socketmap_table(5) that spawn(8) starts for each
client, which Postfix alone can be.

``transport ADDRESS`` asks for it. Where DNS does not answer there is none, and mail takes the usual way: a look at a provider is no reason
to hold up mail. Standard error is the client's, too, so nothing may be written there.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import secrets
import socket
import struct
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

LONGEST_REQUEST = 10000
#: Seconds that a name server has, and how often it is asked.
PATIENCE, TRIES = 1.5, 2
#: Seconds for which an answer is kept, and how many.
KEPT, MOST_KEPT = 300, 10000
MX, OPT = 15, 41


class NoAnswer(Exception):
    """DNS says nothing that can be read."""


def table(path: str) -> tuple[set[str], dict[str, str]]:
    """Return the domains that nobody is asked about, and transports by the domain of MX hosts.

    :param path: lines of ``own DOMAIN`` and ``mx DOMAIN TRANSPORT``
    """
    own, transports = set(), {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["own"]:
                own.add(words[1])
            elif words[:1] == ["mx"]:
                transports[words[1]] = words[2]
    return own, transports


def nameservers(path: str = "/etc/resolv.conf") -> list[str]:
    """Return the addresses in resolv.conf(5); without one it is this host."""
    found = []
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                with contextlib.suppress(ValueError):
                    ipaddress.ip_address(words[1].partition("%")[0])
                    found.append(words[1])
    return found or ["127.0.0.1"]


def question(number: int, domain: str) -> bytes:
    """Return a question for MX records (RFC 1035 section 4.1), which an answer of 4096 octets may follow (RFC 6891).

    :raises NoAnswer: the domain is no name of DNS
    """
    labels = domain.encode("ascii", "replace").split(b".")
    if not all(0 < len(label) < 64 for label in labels) or len(domain) > 253:
        raise NoAnswer(f"{domain!r} is no name of DNS")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 1) + name + struct.pack("!2H", MX, 1) + b"\0" + struct.pack("!2HIH", OPT, 4096, 0, 0)


def name_at(message: bytes, place: int) -> tuple[str, int]:
    """Return a name in a message, in lower case, and the place behind it.

    :raises NoAnswer: it has no end
    """
    labels, behind, seen = [], 0, 0
    while True:
        length = message[place]
        if length >= 0xC0:
            behind = behind or place + 2
            place = struct.unpack_from("!H", message, place)[0] & 0x3FFF
        elif length == 0:
            return ".".join(labels).lower(), behind or place + 1
        else:
            labels.append(message[place + 1 : place + 1 + length].decode("latin-1"))
            place += length + 1
        seen += 1
        if seen > 128:
            raise NoAnswer("a name without an end")


def hosts(message: bytes, number: int) -> list[str]:
    """Return the hosts of the MX records in an answer, the most preferred first.

    :raises NoAnswer: it is none, or an error, or cut off
    """
    try:
        found, flags, questions, answers = struct.unpack_from("!4H", message)
        # NXDOMAIN is an answer: there is no such record.
        if found != number or not flags & 0x8000 or flags & 0x0200 or flags & 0x000F not in (0, 3):
            raise NoAnswer(f"flags {flags:#06x}")
        place = 12
        for _ in range(questions):
            place = name_at(message, place)[1] + 4
        records = []
        for _ in range(answers):
            place = name_at(message, place)[1]
            kind, _class, _ttl, length = struct.unpack_from("!2HIH", message, place)
            if kind == MX:
                records.append((struct.unpack_from("!H", message, place + 10)[0], name_at(message, place + 12)[0]))
            place += 10 + length
        return [host for _preference, host in sorted(records)]
    except (IndexError, struct.error) as exc:
        raise NoAnswer(f"{type(exc).__name__}: {exc}") from exc


def ask(servers: list[str], domain: str, port: int = 53) -> list[str]:
    """Return the hosts of a domain's MX records.

    :raises NoAnswer: no server answers
    """
    why: Exception = NoAnswer("no name server")
    for server in servers * TRIES:
        number = secrets.randbelow(65536)
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(PATIENCE)
                datagrams.connect((server, port))
                datagrams.send(question(number, domain))
                return hosts(datagrams.recv(4096), number)
        except (OSError, NoAnswer) as exc:
            why = exc
    raise NoAnswer(str(why))


class Transports:
    """Looks up transports, and keeps what it finds for a while."""

    def __init__(self, own: set[str], transports: dict[str, str], look: Callable[[str], list[str]],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._own, self._transports, self._look, self._clock = own, transports, look, clock
        self._kept: dict[str, tuple[float, str]] = {}

    def of_host(self, host: str) -> str:
        """Return the transport of an MX host, by its name or that of a domain above it; or nothing."""
        labels = host.split(".")
        return next((self._transports[name] for at in range(len(labels)) if (name := ".".join(labels[at:])) in self._transports), "")

    def of_domain(self, domain: str) -> str:
        """Return the transport of a domain, by the first of its MX hosts that has one; or nothing."""
        domain = domain.lower()
        if domain in self._own or "." not in domain:
            return ""
        until, found = self._kept.get(domain, (0.0, ""))
        if until > self._clock():
            return found
        try:
            found = next(filter(None, map(self.of_host, self._look(domain))), "")
        except NoAnswer as exc:
            syslog.syslog(syslog.LOG_WARNING, f"warning: MX of {domain[:253]!r}: {exc}")
            return ""
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[domain] = (self._clock() + KEPT, found)
        return found

    def answer(self, request: str) -> str:
        """Return the answer to a request of socketmap_table(5). Of such a table Postfix asks for whole addresses alone."""
        name, _space, key = request.partition(" ")
        if name != "transport":
            return f"PERM no map {name!r}"
        domain = key.rpartition("@")[2]
        found = "" if domain.startswith((".", "[")) else self.of_domain(domain)
        return f"OK {found}:" if found else "NOTFOUND "


def requests(stream: BinaryIO) -> Iterator[str]:
    """Yield requests, each a netstring, until the client goes or says something else."""
    while True:
        digits = b""
        while (letter := stream.read(1)).isdigit():
            digits += letter
        if letter != b":" or not digits or len(digits) > 5 or int(digits) > LONGEST_REQUEST:
            return
        text = stream.read(int(digits))
        if len(text) != int(digits) or stream.read(1) != b",":
            return
        yield text.decode("latin-1")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", required=True, help="file with the domains of MX hosts and their transports")
    options = parser.parse_args()
    syslog.openlog("postfix/mx-transport", syslog.LOG_PID, syslog.LOG_MAIL)
    try:
        own, transports = table(options.table)
    except (OSError, ValueError, IndexError) as exc:
        syslog.syslog(syslog.LOG_ERR, f"error: {options.table}: {exc}")
        own, transports = set(), {}
    found = Transports(own, transports, lambda domain: ask(nameservers(), domain))
    for request in requests(sys.stdin.buffer):
        answer = found.answer(request).encode("latin-1", "replace")
        os.write(1, b"%d:%s," % (len(answer), answer))


if __name__ == "__main__":
    main()
