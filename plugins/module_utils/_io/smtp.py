# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SMTP as a client: sessions by smtplib, and what they share with the look at a greeting (I/O).

A session is smtplib's, which knows TLS, continuation lines and the end of DATA, with its answers bounded and its certificate checked for
a name. Greetings (``_rdns.greet``) are not: many hosts are greeted at once, in the event loop in which DNS questions are under way, and
what does not speak SMTP is reported rather than an exception. Both name themselves by :func:`literal` and have bounds from here.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import smtplib
import ssl
from collections.abc import Iterable

from ansible_collections.postmaster.mail.plugins.module_utils._io.bounded import REPLY, Bounded

#: Of a greeting. RFC 5321 section 4.5.3.1.5 allows 512 octets for a reply line; more than this many lines is no greeting.
GREETING_LINE, GREETING_LINES = 4096, 100


class NotSmtp(Exception):
    """The other side does not speak SMTP; the text says what it sends instead."""


def literal(address: str) -> str:
    """Return the one truthful name of a client without its own, its address (RFC 5321 sections 4.1.3 and 4.1.4)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def reply_line(raw: bytes) -> tuple[int, str, bool]:
    """Return code and text of one line of a reply, and whether it is the last one (RFC 5321 section 4.2.1).

    :raises NotSmtp: it is none
    """
    line = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    if not re.fullmatch("[0-9]{3}", line[:3]) or line[3:4] not in ("", " ", "-"):
        raise NotSmtp(f"not an SMTP reply: {line[:80]!r}")
    return int(line[:3]), line[4:].strip(), line[3:4] != "-"


def _words(reply: bytes) -> str:
    return reply.decode("utf-8", "replace").replace("\n", " ")


class Session:
    """A bare SMTP session: replies are returned as (code, text on one line), whatever they are.

    :param name: what a certificate has to be for
    :param address: IPv4 or IPv6 address
    :param wrapped: whether TLS begins with the connection (RFC 8314)
    :param context: checks certificates
    :param helo: the name to greet with; without one it is the address
    :param timeout: seconds for the connection and for each silence; a reply that goes on has three times as many
    :param source: the address to connect from
    :ivar banner: code and text of the greeting
    :ivar features: the extensions of the last answer to EHLO, lower case, with their parameters
    :raises OSError: no connection, no answer in time, or one without end
    """

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        wrapped: bool,
        context: ssl.SSLContext,
        helo: str = "",
        timeout: float = 20.0,
        source: str | None = None,
    ) -> None:
        self._context = context
        self._smtp = _BoundedSmtp(name, address, port, context if wrapped else None, timeout, (source, 0) if source else None)
        self.helo = helo or literal(self._smtp.sock.getsockname()[0])
        self.banner = self._smtp.banner
        self.features = self.ehlo()

    def starttls(self) -> tuple[int, str]:
        """Change to TLS and greet anew, unless the server refuses; return its reply."""
        code, reply = self.command("STARTTLS")
        if code == 220:
            self._smtp.wrap(self._context)
            self.features = self.ehlo()
        return code, reply

    def ehlo(self) -> dict[str, str]:
        self._smtp.ehlo(self.helo)
        return dict(self._smtp.esmtp_features)

    def command(self, line: str) -> tuple[int, str]:
        code, reply = self._smtp.docmd(line)
        return code, _words(reply)

    def authenticate(self, user: str, password: str) -> tuple[int, str]:
        return self.command("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode())

    def mail(self, sender: str, parameters: str = "") -> tuple[int, str]:
        return self.command(f"MAIL FROM:<{sender}>{' ' + parameters if parameters else ''}")

    def rcpt(self, recipient: str) -> tuple[int, str]:
        return self.command(f"RCPT TO:<{recipient}>")

    def envelope(self, sender: str, recipient: str) -> tuple[int, str]:
        """Ask whether a recipient is taken, and begin anew."""
        code, reply = self.mail(sender)
        if code == 250:
            code, reply = self.rcpt(recipient)
        self.command("RSET")
        return code, reply

    def send(self, sender: str, recipients: Iterable[str], content: bytes) -> tuple[int, str]:
        """Send one message; return the first refusal, or the reply to its end."""
        code, reply = self.mail(sender)
        for recipient in recipients:
            if code != 250:
                return code, reply
            code, reply = self.rcpt(recipient)
        if code != 250:
            return code, reply
        try:
            code, answer = self._smtp.data(content)
        except smtplib.SMTPDataError as exc:
            code, answer = exc.smtp_code, exc.smtp_error
        return code, _words(answer)

    def raw(self, content: bytes) -> None:
        """Write octets as they are."""
        self._smtp.sock.sendall(content)

    def reply(self) -> tuple[int, str]:
        code, reply = self._smtp.getreply()
        return code, _words(reply)

    def close(self) -> None:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            self._smtp.docmd("QUIT")
        self._smtp.close()


class _BoundedSmtp(smtplib.SMTP):
    """smtplib to an address and a port, with the certificate checked for a name."""

    def __init__(
        self, name: str, address: str, port: int, context: ssl.SSLContext | None, timeout: float, source: tuple[str, int] | None
    ) -> None:
        self._name = name
        self._wrapped = context
        super().__init__(local_hostname="localhost", timeout=timeout, source_address=source)
        code, reply = self.connect(address, port)
        self.banner = (code, reply.decode("utf-8", "replace"))

    def _get_socket(self, host, port, timeout):
        plain = super()._get_socket(host, port, timeout)
        return self._wrapped.wrap_socket(plain, server_hostname=self._name) if self._wrapped else plain

    def getreply(self):
        if self.file is None:
            self._octets = Bounded(self.sock, 3 * self.timeout, REPLY)
            self.file = io.BufferedReader(self._octets)
        self._octets.begin()
        return super().getreply()

    def wrap(self, context: ssl.SSLContext) -> None:
        self.sock = context.wrap_socket(self.sock, server_hostname=self._name)
        self.file = None
        self.ehlo_resp = self.helo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False
