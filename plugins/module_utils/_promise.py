# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promises: short named facts about a mail server, each proven from outside by protocol. The runner, and the tools they share."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import email.message
import email.policy
import email.utils
import html
import imaplib
import io
import os
import smtplib
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _safe_files
from ansible_collections.postmaster.mail.plugins.module_utils._bounded import REPLY, Bounded, printable

#: What IMAP answers to one command, a message of ours included.
IMAP_ANSWER = 1 << 26
#: The generic test for unsolicited bulk email: every filter gives it the highest score.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


class Broken(AssertionError):
    """The server does not do what was promised; the text says what it did instead."""


class NotAsked(Exception):
    """The promise cannot be put to the test here; the text says why. Neither kept nor broken."""


@dataclasses.dataclass
class Outcome:
    """What came of one promise: C(status) is C(kept), C(broken), C(not asked), C(cannot), or C(unknown) where the
    tests' own network failed; C(seconds) is wall time."""

    name: str
    text: str
    status: str
    evidence: str
    seconds: float


@dataclasses.dataclass
class Server:
    """The server that is judged, and what is needed to judge it.

    C(addresses) are by family, C(ipv4) and C(ipv6). C(accounts) are pairs of address and password; promises that need
    more of them than there are stay unasked. C(senders) are the further addresses of an account, C(catch_all) is a domain
    to the accounts that take all of its mail. C(ca_file) is a PEM file of the authority to trust beside, or instead of
    (empty), the system's. C(helo) is the name to greet with; without one it is the address. C(foreign) is an address
    elsewhere, to which nothing may be relayed.
    """

    fqdn: str
    addresses: dict[str, list[str]]
    domains: list[str]
    accounts: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    senders: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    catch_all: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ca_file: str | None = None
    nameservers: list[str] = dataclasses.field(default_factory=list)
    helo: str = ""
    foreign: str = "relay-test@iana.org"
    #: Seconds for a connection and for each silence; an answer that goes on has three times as many.
    timeout: float = 20.0

    def __post_init__(self) -> None:
        name = socket.getfqdn()
        if not self.helo and "." in name and not name.startswith("localhost"):
            self.helo = name

    def account(self, index: int = 0) -> tuple[str, str]:
        """Return (address, password) of an account to test with."""
        if index >= len(self.accounts):
            raise NotAsked(f"needs {index + 1} account{'s' if index else ''} with a password to test with")
        return self.accounts[index]

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
        raise NotAsked(f"the server has no {family} address")

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
        """Open an SMTP session and greet. C(tls) is empty, C(starttls) or C(wrapped); both check the certificate."""
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
        self, sender: str, recipient: str, text: str = "A message of the promises.\n", **headers: str
    ) -> email.message.EmailMessage:
        """Return a message that can be found again by its Message-ID."""
        message = email.message.EmailMessage()
        message["From"] = headers.pop("From", sender)
        message["To"] = recipient
        message["Subject"] = headers.pop("Subject", f"promise {uuid.uuid4().hex[:12]}")
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
        """Send a message as a user of the server does; return the reply, or raise L(Broken) with the refusal."""
        user, password = account or self.account()
        with self.smtp(587, "starttls", address) as session:
            session.login(user, password)
            code, reply = session.send(sender or user, [message["To"]], message.as_bytes())
        if code != 250:
            raise Broken(f"submission by {user} was refused: {code} {reply}")
        return f"{code} {reply}"

    def find(
        self, message_id: str, account: tuple[str, str] | None = None, folder: str = "INBOX", within: float = 30.0, **place: Any
    ) -> email.message.EmailMessage:
        """Wait until a message has arrived in a folder and return it, read over IMAP."""
        with self.imap(account, **place) as session:
            return find(session, message_id, folder, within)


def find(session: imaplib.IMAP4, message_id: str, folder: str = "INBOX", within: float = 30.0) -> email.message.EmailMessage:
    """Wait until a message has arrived and return it.

    :raises Broken: it has not, after C(within) seconds
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
            raise Broken(f"no message {message_id} in {folder} after {within:g} s")
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


def _words(reply: bytes) -> str:
    return reply.decode("utf-8", "replace").replace("\n", " ")


class Smtp:
    """A bare SMTP session: replies are given back, not judged."""

    def __init__(self, server: Server, address: str, port: int, tls: str, source: str | None = None) -> None:
        self.server = server
        bind = (source, 0) if source else None
        context = server.tls()
        self._smtp = _SmtpAt(server.fqdn, address, port, context if tls == "wrapped" else None, server.timeout, bind)
        # A client without a name greets with its address (RFC 5321 section 4.1.3).
        own = self._smtp.sock.getsockname()[0]
        self.helo = server.helo or (f"[IPv6:{own}]" if ":" in own else f"[{own}]")
        self.banner = self._smtp.banner
        self.features = self.ehlo()
        if tls == "starttls":
            code, reply = self.command("STARTTLS")
            if code != 220:
                raise Broken(f"port {port} of {address} refused STARTTLS: {code} {reply}")
            self._smtp.wrap(context)
            self.features = self.ehlo()

    def ehlo(self) -> dict[str, str]:
        self._smtp.ehlo(self.helo)
        return dict(self._smtp.esmtp_features)

    def command(self, line: str) -> tuple[int, str]:
        code, reply = self._smtp.docmd(line)
        return code, _words(reply)

    def login(self, user: str, password: str) -> None:
        """Authenticate with PLAIN; where that has been done too often in this minute (450 of Postfix), in the next one.

        :raises Broken: refused
        """
        end = time.monotonic() + 65
        code, reply = self.authenticate(user, password)
        while code == 450 and time.monotonic() < end:
            time.sleep(10)  # not less: each refusal is an error of the session, and too many of them end it
            code, reply = self.authenticate(user, password)
        if code != 235:
            raise Broken(f"authentication of {user} was refused: {code} {reply}")

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


class _SmtpAt(smtplib.SMTP):
    """smtplib to an address and a port, with the certificate checked for a name."""

    def __init__(self, name: str, address: str, port: int, context: ssl.SSLContext | None, timeout: float, bind: Any) -> None:
        self._name = name
        self._wrapped = context
        super().__init__(local_hostname="localhost", timeout=timeout, source_address=bind)
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


@dataclasses.dataclass
class Promise:
    name: str
    text: str
    check: Callable[..., str]


class Book:
    """A list of promises, in the order in which they are run."""

    def __init__(self) -> None:
        self.promises: list[Promise] = []

    def promise(self, name: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
        """Register a function: it takes the server, returns its evidence, raises L(Broken) or L(NotAsked). Its docstring is the promise."""

        def register(function: Callable[..., str]) -> Callable[..., str]:
            if any(promise.name == name for promise in self.promises):
                raise ValueError(f"promise {name!r} is made twice")
            self.promises.append(Promise(name, " ".join((function.__doc__ or "").split()), function))
            return function

        return register

    def run(
        self,
        server: Any,
        only: Iterable[str] = (),
        told: Callable[[Outcome], None] | None = None,
        cannot: Mapping[str, str] | None = None,
        by_chance: Container[str] = (),
    ) -> list[Outcome]:
        """Put each promise to the test; an exception of any kind is a broken promise, and the rest goes on.

        C(cannot) is the name of a promise that this server cannot keep to the reason. It is tried all the same, and being kept
        after all counts as broken: then the list is wrong. But not one of C(by_chance), which a slow machine may seem to keep.
        """
        outcomes = []
        wanted = set(only)
        for promise in self.promises:
            if wanted and promise.name not in wanted:
                continue
            start = time.monotonic()
            try:
                status, evidence = "kept", promise.check(server)
            except NotAsked as exc:
                status, evidence = "not asked", str(exc)
            except Exception as exc:
                status, evidence = "broken", str(exc) if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {exc}"
            if cannot and promise.name in cannot:
                if status == "broken" or (status == "kept" and promise.name in by_chance):
                    status, evidence = "cannot", f"{cannot[promise.name]} Tried: {evidence}"
                elif status == "kept":
                    status, evidence = "broken", f"listed as impossible, but kept: {evidence}"
            evidence = printable(_without_passwords(str(evidence), getattr(server, "accounts", ())))
            outcome = Outcome(promise.name, promise.text, status, evidence, time.monotonic() - start)
            outcomes.append(outcome)
            if told:
                told(outcome)
        return outcomes


def _without_passwords(text: str, accounts: Iterable[tuple[str, str]]) -> str:
    """Return what a server said without the passwords that it was told, which some repeat."""
    for user, password in accounts:
        if password:
            encoded = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            for secret in (encoded, base64.b64encode(password.encode()).decode(), password):
                text = text.replace(secret, "********")
    return text


def summary(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many promises are kept, broken and not asked; and how many cannot be kept, where there are such."""
    counts = {"kept": 0, "broken": 0, "not asked": 0}
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return counts


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid #d8dee4 }}
.kept {{ color: #116329 }} .broken {{ color: #a40e26; font-weight: 600 }} .not, .cannot, .unknown {{ color: #57606a }}
td:nth-child(3) {{ color: #57606a; font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere }}
td:last-child {{ white-space: nowrap }}
</style></head><body><h1>{title}</h1><p>{counts}. {when}</p>
<table><tr><th>Promise</th><th></th><th>Evidence</th><th>Time</th></tr>
{rows}
</table></body></html>
"""


def page(title: str, outcomes: list[Outcome]) -> str:
    """Return the outcomes as one HTML page that needs nothing else."""
    order = {"broken": 0, "unknown": 1, "cannot": 1, "kept": 2, "not asked": 3}
    rows = "\n".join(
        f"<tr><td>{html.escape(outcome.text)}</td><td class={outcome.status.split()[0]}>{outcome.status}</td>"
        f"<td>{html.escape(outcome.evidence)}</td><td>{outcome.seconds:.1f} s</td></tr>"
        for outcome in sorted(outcomes, key=lambda outcome: order[outcome.status])
    )
    counts = ", ".join(f"{count} {status}" for status, count in summary(outcomes).items())
    return _PAGE.format(title=html.escape(title), counts=counts, rows=rows, when=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def write_page(path: str, text: str) -> None:
    """Write a report for whoever runs this alone, at once; a link in its place is replaced, never followed.

    :raises MailError: a directory on the way is a link that somebody else may have placed
    """
    _safe_files.write(os.path.abspath(path), text.encode("utf-8"))
