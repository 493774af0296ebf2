# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Sender Rewriting Scheme for Postfix: a socketmap_table(5) that spawn(8) starts for each client, which Postfix alone can be.

``forward SENDER`` asks for the sender that forwarded mail is to have, ``reverse RECIPIENT`` for whom such an address stands for. What
is made here is understood by others that know the same secret, and the other way round: it is the scheme of libsrs2, as PostSRSd has
it (http://www.libsrs2.org/srs/srs.pdf). Standard error is the client's, too, so nothing may be written there.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import os
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

SEPARATORS = "-+="
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648 section 6
#: How many days a bounce may take, and after how many a stamp comes again.
LIFE, PERIOD = 21, 1024
HASH_LENGTH = 8
#: That of an earlier release.
FORMER_HASH_LENGTH = 4
LONGEST_REQUEST = 10000


class Srs:
    """Rewrites addresses to a domain and back. Addresses with a hash shorter than ``shortest`` are nobody's."""

    def __init__(self, secret: bytes, domain: str, shortest: int = HASH_LENGTH, clock: Callable[[], float] = time.time) -> None:
        self._secret, self._domain, self._shortest, self._clock = secret, domain, shortest, clock

    def _hash(self, *parts: str) -> str:
        # Of octets, as libsrs2 does: letters outside of ASCII keep their case.
        digest = hmac.new(self._secret, "".join(parts).encode("latin-1", "replace").lower(), "sha1").digest()
        return base64.b64encode(digest).decode("ascii")[:HASH_LENGTH]

    def _genuine(self, given: str, *parts: str) -> bool:
        """Servers on the way may have changed the case of letters."""
        if len(given) < self._shortest:
            return False
        known = self._hash(*parts)[: len(given)]
        return hmac.compare_digest(given.lower().encode("latin-1", "replace"), known.lower().encode("ascii"))

    def _today(self) -> int:
        return int(self._clock()) // 86400 % PERIOD

    def _recent(self, stamp: str) -> bool:
        digits = [ALPHABET.find(letter) for letter in stamp.upper()]
        return len(digits) == 2 and min(digits) >= 0 and (self._today() - (digits[0] * 32 + digits[1])) % PERIOD <= LIFE

    def forward(self, address: str) -> str | None:
        """Return the sender for mail from this address that is forwarded; None if it stays."""
        local, _at, domain = address.rpartition("@")
        # One that was made here stays, on whichever way it comes by again: nobody else can make it.
        if not local or self.reverse(address) is not None:
            return None
        tag, rest = local[:4].upper(), local[4:]
        if tag == "SRS0" and rest[:1] in tuple(SEPARATORS):
            return f"SRS1={self._hash(domain, rest)}={domain}={rest}@{self._domain}"
        if tag == "SRS1" and rest[:1] in tuple(SEPARATORS):
            _hash, first, tail = [*rest[1:].split("=", 2), "", ""][:3]
            return f"SRS1={self._hash(first, tail)}={first}={tail}@{self._domain}" if first and tail[:1] in tuple(SEPARATORS) else None
        today = self._today()
        stamp = ALPHABET[today // 32] + ALPHABET[today % 32]
        return f"SRS0={self._hash(stamp, domain, local)}={stamp}={domain}={local}@{self._domain}"

    def reverse(self, address: str) -> str | None:
        """Return whom a sender that was made here stands for; None if it was not, or too long ago."""
        local, _at, domain = address.rpartition("@")
        tag, rest = local[:4].upper(), local[4:]
        if domain.lower() != self._domain.lower() or rest[:1] not in tuple(SEPARATORS):
            return None
        if tag == "SRS0":
            parts = rest[1:].split("=", 3)
            if len(parts) == 4 and all(parts) and self._genuine(parts[0], *parts[1:]) and self._recent(parts[1]):
                return f"{parts[3]}@{parts[2]}"
        elif tag == "SRS1":
            parts = rest[1:].split("=", 2)
            if len(parts) == 3 and all(parts) and parts[2][0] in SEPARATORS and self._genuine(parts[0], *parts[1:]):
                return f"SRS0{parts[2]}@{parts[1]}"
        return None

    def answer(self, request: str) -> str:
        """Return the answer to a request of socketmap_table(5)."""
        name, _space, address = request.partition(" ")
        if name not in ("forward", "reverse"):
            return f"PERM no map {name!r}"
        found = self.forward(address) if name == "forward" else self.reverse(address)
        return "NOTFOUND " if found is None else f"OK {found}"


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


def shortest(before: str, clock: Callable[[], float] = time.time) -> int:
    """Return how short a hash may be: that of an earlier release as long as addresses which it made are good.

    :param before: the table of these addresses, written on the day when they came to an end; without an entry there were none
    """
    with open(before, encoding="ascii") as table:
        entries = [line for line in table if line.strip() and not line.startswith("#")]
    return FORMER_HASH_LENGTH if entries and clock() - os.stat(before).st_mtime < (LIFE + 2) * 86400 else HASH_LENGTH


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--domain", required=True, help="the domain of rewritten senders")
    parser.add_argument("--secret", required=True, help="file with the secret")
    parser.add_argument("--before", required=True, help="table of the addresses that an earlier release may have made")
    options = parser.parse_args()
    syslog.openlog("postfix/srs", syslog.LOG_PID, syslog.LOG_MAIL)
    try:
        with open(options.secret, "rb") as secret:
            known = secret.read().strip()
        if not known:
            raise ValueError(f"{options.secret} is empty")
        srs = Srs(known, options.domain, shortest(options.before))
    except (OSError, ValueError) as exc:
        syslog.syslog(syslog.LOG_ERR, f"error: {exc}")
        sys.exit(1)
    for request in requests(sys.stdin.buffer):
        answer = srs.answer(request).encode("latin-1", "replace")
        os.write(1, b"%d:%s," % (len(answer), answer))


if __name__ == "__main__":
    main()
