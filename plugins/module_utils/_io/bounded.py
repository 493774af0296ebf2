# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server elsewhere sends: read up to a bound in octets and in time, and shown without what a terminal would obey."""

from __future__ import annotations

import io
import socket
import time

#: A reply of SMTP or ManageSieve, all of its lines.
REPLY = 1 << 16
LINE = 8192


class TooMuch(OSError):
    """An answer has no end, or none soon enough. An OSError, which every protocol's library knows to end a session."""


class Bounded(io.RawIOBase):
    """The octets of a connection; between two calls of :meth:`begin` at most so many of them come, in at most so many seconds.

    The end of the connection is an end of file, as for any other file.
    """

    def __init__(self, connection: socket.socket, seconds: float, octets: int = REPLY) -> None:
        super().__init__()
        self._connection = connection
        self._seconds = seconds
        self._octets = octets
        self.begin()

    def begin(self) -> None:
        """Wait for another answer."""
        self._until = time.monotonic() + self._seconds
        self._left = self._octets

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        rest = self._until - time.monotonic()
        if rest <= 0:
            raise TooMuch(f"the answer has no end within {self._seconds:g} s")
        if self._left <= 0:
            raise TooMuch(f"the answer is longer than {self._octets} octets")
        before = self._connection.gettimeout()
        self._connection.settimeout(min(rest, before or rest))
        try:
            got = self._connection.recv_into(memoryview(buffer)[: self._left])
        except TimeoutError:
            raise TooMuch("the answer has no end in time" if self._left < self._octets else "no answer in time") from None
        finally:
            self._connection.settimeout(before)
        self._left -= got
        return got


class Lines:
    """The lines of a connection, bounded."""

    def __init__(self, connection: socket.socket, seconds: float, octets: int = REPLY) -> None:
        self._raw = Bounded(connection, seconds, octets)
        self._stream = io.BufferedReader(self._raw)

    def begin(self) -> None:
        """Wait for another answer."""
        self._raw.begin()

    def line(self) -> bytes:
        """Return the next line with its end; empty at the end of the connection.

        :raises TooMuch: longer than any line is
        """
        line = self._stream.readline(LINE + 1)
        if len(line) > LINE:
            raise TooMuch(f"a line is longer than {LINE} octets")
        return line


def printable(text: str, most: int = 1000) -> str:
    """Return a text on one line, with escapes in the place of control and formatting characters, and with an end."""
    if len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text)
