# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server that is checked, and the SMTP sessions with it."""

from __future__ import annotations

import contextlib
import dataclasses
import email.message
import email.utils
import imaplib
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._checks.imap import Imap, find
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed, CheckSkipped
from ansible_collections.postmaster.mail.plugins.module_utils._io import smtp

#: The generic test for unsolicited bulk email: every filter gives it the highest score.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@dataclasses.dataclass
class Server:
    """The server that is checked, and what is needed to check it.

    ``addresses`` are by family, ``ipv4`` and ``ipv6``. ``elsewhere`` are domains that it sends for,
    and whose mail others take, and ``parked`` those that neither send nor take mail.
    ``accounts`` are pairs of address and password; checks that need
    more of them than there are get skipped. ``senders`` are the further addresses of an account, ``catch_all`` is a domain
    to the accounts that take all of its mail. ``ca_file`` is a PEM file of the authority to trust beside, or instead of
    (empty), the system's. ``helo`` is the name to greet with; without one it is the address. ``foreign`` is an address
    elsewhere, to which nothing may be relayed. ``delimiter`` is what begins a detail of an address.
    """

    fqdn: str
    addresses: dict[str, list[str]]
    domains: list[str]
    elsewhere: list[str] = dataclasses.field(default_factory=list)
    parked: list[str] = dataclasses.field(default_factory=list)
    accounts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    senders: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    catch_all: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ca_file: str | None = None
    nameservers: list[str] = dataclasses.field(default_factory=list)
    helo: str = ""
    foreign: str = "relay-test@iana.org"
    delimiter: str = "+"
    #: Seconds for a connection and for each silence; an answer that goes on has three times as many.
    timeout: float = 20.0

    def __post_init__(self) -> None:
        name = socket.getfqdn()
        if not self.helo and "." in name and not name.startswith("localhost"):
            self.helo = name

    def account(self, index: int = 0) -> tuple[str, str]:
        """Return (address, password) of an account to test with."""
        if index >= len(self.accounts):
            raise CheckSkipped(f"needs {index + 1} account{'s' if index else ''} with a password to test with")
        return self.accounts[index]

    def detailed(self, address: str, detail: str = "shop") -> str:
        """Return an address with a detail (RFC 5233)."""
        local, _at, domain = address.rpartition("@")
        return f"{local}{self.delimiter}{detail}@{domain}"

    def every_address(self) -> Iterator[tuple[str, str]]:
        """Yield (family, address) for all addresses."""
        for family, addresses in self.addresses.items():
            for address in addresses:
                yield family, address

    def address(self, family: str | None = None) -> str:
        """Return one address of the server, of a family where it matters."""
        for found, address in self.every_address():
            if family in (None, found):
                return address
        raise CheckSkipped(f"the server has no {family} address")

    def tls(self) -> ssl.SSLContext:
        """Return a context that checks chain and name."""
        return ssl.create_default_context(cafile=self.ca_file)

    def resolver(self) -> Any:
        """Return a resolver of dnspython."""
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=not self.nameservers)
        if self.nameservers:
            resolver.nameservers = list(self.nameservers)
        resolver.lifetime = self.timeout
        return resolver

    def texts(self, name: str) -> list[str]:
        """Return the TXT values at a name, joined; an empty list where there are none."""
        import dns.resolver

        try:
            answer = self.resolver().resolve(name, "TXT", search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]

    @contextlib.contextmanager
    def smtp(self, port: int = 25, tls: str = "", address: str | None = None, source: str | None = None) -> Iterator[Smtp]:
        """Open an SMTP session and greet. ``tls`` is empty, ``starttls`` or ``wrapped``; both check the certificate."""
        session = Smtp(self, address or self.address(), port, tls, source)
        try:
            yield session
        finally:
            session.close()

    @contextlib.contextmanager
    def imap(self, account: tuple[str, str] | None = None, host: str | None = None, address: str | None = None) -> Iterator[imaplib.IMAP4]:
        """Open an IMAP session over TLS on port 993, logged in."""
        user, password = account or self.account()
        session = Imap(address or self.address(), host or self.fqdn, self.tls(), self.timeout)
        try:
            session.login(user, password)
            yield session
        finally:
            with contextlib.suppress(OSError, imaplib.IMAP4.error):
                session.logout()

    def message(
        self, sender: str, recipient: str, text: str = "A message of the checks.\n", **headers: str
    ) -> email.message.EmailMessage:
        """Return a message that can be found again by its Message-ID."""
        message = email.message.EmailMessage()
        message["From"] = headers.pop("From", sender)
        message["To"] = recipient
        message["Subject"] = headers.pop("Subject", f"check {uuid.uuid4().hex[:12]}")
        message["Date"] = email.utils.formatdate(localtime=False)
        message["Message-ID"] = f"<{uuid.uuid4().hex}@{sender.rpartition('@')[2] or self.fqdn}>"
        for name, value in headers.items():
            message[name.replace("_", "-")] = value
        message.set_content(text)
        return message

    def submit(
        self,
        message: email.message.EmailMessage,
        account: tuple[str, str] | None = None,
        sender: str | None = None,
        address: str | None = None,
    ) -> str:
        """Send a message as a user of the server does; return the reply, or raise ``CheckFailed`` with the refusal."""
        user, password = account or self.account()
        with self.smtp(587, "starttls", address) as session:
            session.login(user, password)
            code, reply = session.send(sender or user, [message["To"]], message.as_bytes())
        if code != 250:
            raise CheckFailed(f"submission by {user} was refused: {code} {reply}")
        return f"{code} {reply}"

    def find(
        self, message_id: str, account: tuple[str, str] | None = None, folder: str = "INBOX", within: float = 30.0, **place: Any
    ) -> email.message.EmailMessage:
        """Wait until a message has arrived in a folder and return it, read over IMAP."""
        with self.imap(account, **place) as session:
            return find(session, message_id, folder, within)


class Smtp(smtp.Session):
    """A session with the server that is checked.

    :param tls: empty, ``starttls`` or ``wrapped``
    :raises CheckFailed: STARTTLS is refused
    """

    def __init__(self, server: Server, address: str, port: int, tls: str, source: str | None = None) -> None:
        super().__init__(server.fqdn, address, port, tls == "wrapped", server.tls(), server.helo, server.timeout, source)
        if tls == "starttls":
            code, reply = self.starttls()
            if code != 220:
                raise CheckFailed(f"port {port} of {address} refused STARTTLS: {code} {reply}")

    def login(self, user: str, password: str) -> None:
        """Authenticate with PLAIN; where that has been done too often in this minute (450 of Postfix), in the next one.

        :raises CheckFailed: refused
        """
        end = time.monotonic() + 65
        code, reply = self.authenticate(user, password)
        while code == 450 and time.monotonic() < end:
            time.sleep(10)  # not less: each refusal is an error of the session, and too many of them end it
            code, reply = self.authenticate(user, password)
        if code != 235:
            raise CheckFailed(f"authentication of {user} was refused: {code} {reply}")
