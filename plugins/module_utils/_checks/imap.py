# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IMAP clients with bounded answers, over TLS to an address and without TLS."""

from __future__ import annotations

import email.message
import email.policy
import imaplib
import io
import socket
import ssl
import time

from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed
from ansible_collections.postmaster.mail.plugins.module_utils._io.bounded import Bounded

#: What IMAP answers to one command, a message of ours included.
IMAP_ANSWER = 1 << 26


def find(session: imaplib.IMAP4, message_id: str, folder: str = "INBOX", within: float = 30.0) -> email.message.EmailMessage:
    """Wait until a message has arrived and return it.

    :raises CheckFailed: it has not, after ``within`` seconds
    """
    end = time.monotonic() + within
    while True:
        status, _data = session.select(f'"{folder}"')
        if status == "OK":
            _status, found = session.uid("search", "HEADER", "Message-ID", f'"{message_id}"')
            if found and found[0]:
                _status, data = session.uid("fetch", found[0].split()[-1].decode(), "(BODY.PEEK[])")
                return email.message_from_bytes(data[0][1], policy=email.policy.default)
        if time.monotonic() > end:
            raise CheckFailed(f"no message {message_id} in {folder} after {within:g} s")
        session.noop()
        time.sleep(0.3)  # IMAP without IDLE has no event to wait for


class _BoundedImap(imaplib.IMAP4):
    """IMAP whose answers are bounded."""

    def open(self, host="", port=imaplib.IMAP4_PORT, timeout=None):  # type: ignore[override]
        super().open(host, port, timeout)
        self._octets = Bounded(self.sock, 3 * (timeout or 20.0), IMAP_ANSWER)
        self._stream = io.BufferedReader(self._octets)

    def read(self, size):
        if size > IMAP_ANSWER:
            raise self.abort(f"an answer of {size} octets is too long")
        return self._stream.read(size)

    def readline(self):
        line = self._stream.readline(imaplib._MAXLINE + 1)
        if len(line) > imaplib._MAXLINE:
            raise self.abort(f"a line of more than {imaplib._MAXLINE} octets")
        return line

    def send(self, data):
        self._octets.begin()
        super().send(data)


class PlainImap(_BoundedImap):
    """IMAP without TLS."""


class Imap(_BoundedImap, imaplib.IMAP4_SSL):
    """IMAP over TLS to an address, with the certificate checked for a name."""

    def __init__(
        self, address: str, name: str, context: ssl.SSLContext, timeout: float, port: int = 993, source: str | None = None
    ) -> None:
        self._name = name
        self._tls = context
        self._source = (source, 0) if source else None
        super().__init__(address, port, ssl_context=context, timeout=timeout)

    def _create_socket(self, timeout):  # type: ignore[override]
        plain = socket.create_connection((self.host, self.port), timeout, self._source)
        return self._tls.wrap_socket(plain, server_hostname=self._name)
