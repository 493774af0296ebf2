# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter of OpenSMTPD, see smtpd-filters(7): Rspamd judges every message, Dovecot is asked for quotas, SIZE is respected, who has
logged in sends from own addresses, no client takes all sessions for itself, and only our own users are warned that mail waits.
What they, and programs of this host, send gets the fields that it lacks.

While Rspamd is away, or answers with anything but a verdict, mail is deferred. So is a message that was not stored and given back
whole, and one of a session of which a report could not be understood. Log-ins are reported to the guard that counts wrong passwords.
Clients with a bad Senderscore, or without a name, are junk or refused, where that is asked for; an error of a service says nothing about
a client.
The protocol is spoken on standard input and output; what is written to standard error, smtpd logs.
"""

from __future__ import annotations

import argparse
import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import hmac
import io
import ipaddress
import json
import os
import re
import secrets
import socket
import sys
import tempfile
import threading
import time

DEFERRED = "451 4.7.1 Service unavailable - try again later"
FULL = "452 4.3.1 Insufficient system storage"
TOO_BIG = "552 5.3.4 Message size exceeds fixed limit"
NOT_OWNED = "553 5.7.1 The sender address is not yours"
LOCKED = "550 5.7.1 This account is locked for sending; its postmaster knows why"
LOCKED_OUT = "535 5.7.8 This account is locked; its postmaster knows why"
NOT_CURRENT = "421 4.7.0 The password was changed: log in again"
NOT_A_BOUNCE = "550 5.1.1 Only bounces are taken for this address, and they have the sender <>"
CLOSED = "550 5.7.1 Only {} may write to this address, logged in to this server"
NOT_RELAYED = "550 5.7.1 This host may send to other servers as addresses of its domains alone (mail_relays)"
NOT_WARNED = "550 5.7.1 Whoever is not of this server is not warned that mail waits"
NOT_PROVEN = "550 5.7.1 Nobody outside is told what became of mail that may not be his"
GUESSING = "454 4.7.0 Too many wrong passwords - try again later"
GUESSED = "451 4.7.1 Too many addresses of forwarded mail were wrong - try again later"
JUNK = b"X-Spam: Yes"
#: An address as everybody writes it (RFC 5322 section 3.4.1).
PLAIN = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[a-z0-9.-]+")
#: How smtpd's own report begins that a message waits (bounce_next of its bounce.c).
WARNING = b"subject: delivery status notification: delayed"
#: Headers that say what we found, or that readers take for ours: nobody else's arrive, of whomever the message is, judged or not. Nor does
#: what Dovecot's send-for-script tells Rspamd, which removes it, unless it is not asked.
OURS = re.compile(rb"authentication-results|x-spam|x-r?spamd?-.*|x-postmaster-mail-script")
#: An address that forwarded mail comes back to. smtpd's hash in it has no more than four characters, so guesses are counted.
RETURN = re.compile(r"SRS[01][-+=]", re.IGNORECASE)
REPORTS = ("link-connect", "link-greeting", "link-identify", "link-auth", "link-disconnect",
           "tx-reset", "tx-begin", "tx-mail", "tx-rcpt", "protocol-client")
REQUESTS = ("connect", "auth", "mail-from", "rcpt-to", "data-line", "commit")
# One IPv6 address comes with the 64 bits below its network.
PREFIXES = {4: 32, 6: 64}
#: What a client is told that does one thing too often. With 421 its session ends (RFC 5321 section 3.8).
TOO_OFTEN = {
    "connections": "disconnect|421 4.7.0 Too many connections from {}",
    "connection-rate": "disconnect|421 4.7.0 Too many connections in a minute from {}",
    "wrong-password-rate": "reject|535 5.7.8 Authentication credentials invalid",
    "message-rate": "reject|450 4.7.1 Too many messages in a minute from {}",
    "recipient-rate": "reject|450 4.7.1 Too many recipients in a minute from {}",
}
# RFC 7372 section 3.3. Temporary: names may be mended.
NAMELESS = "450 4.7.25 Reverse DNS validation failed"
#: What may become of a client for its name: it is refused, or its mail is junk, or Rspamd alone counts it.
DECISIONS = {"disconnect": "disconnect|" + NAMELESS, "junk": "junk", "score": "proceed"}
# HOST_NOT_FOUND and NO_DATA of netdb.h; what is none of these may be another answer the next time.
NO_NAME = (1, 4)
NO_ADDRESS = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
PER_MINUTE = {"mail-from": "message-rate", "rcpt-to": "recipient-rate"}
# smtpd writes the end of a message when it closes its file, and does not look whether that succeeded (smtp_message_end): a short message
# for which there is no room would be accepted, and be empty. So much must be free when one is committed, for all that are at this moment.
ROOM = 1 << 20
# So much of a message is given back at once; answers to others go between.
BLOCK = 1 << 15
# Not at connect: a name that does not count as dynamic ends that phase for all later filters.
SCORED = ("helo", "ehlo")
# The newest protocol that is known; a later one is read as this, and a report in another form is an error.
NEWEST = (0, 7)


def log(text: str) -> None:
    """Log one line: what a client or Rspamd said does not begin another one. Work goes on where nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text), file=sys.stderr, flush=True)


@dataclasses.dataclass
class Outcome:
    """What smtpd is to do with one message: it is deferred until all of it has been judged and given back."""

    answer: str = "reject|" + DEFERRED


@dataclasses.dataclass
class Session:
    """What is known of a client, and of the message that it is sending."""

    # Why what is known may be wrong. Nothing of such a session is accepted.
    doubt: str = ""
    own: bool = False
    address: str = ""
    network: str = ""
    # The relay whose host it is, by its address; none of it has to log in for its domains.
    relay: str = ""
    port: str = ""
    name: str = ""
    # Whether smtpd found a name that leads back. It says no as well where no resolver answers.
    confirmed: bool = True
    local: str = ""
    helo: str = ""
    user: str = ""
    # The name and the hash of the password that it logs in with, as far as they are known, and whether a password so known was wrong.
    credentials: tuple = ("", "")
    wrong: bool = False
    # When the user has logged in, in seconds since 1970.
    since: float = 0
    size: int = 0
    id: str = ""
    sender: str = ""
    recipients: list = dataclasses.field(default_factory=list)
    content: tempfile.SpooledTemporaryFile | None = None
    # How many octets were written to it, whether its headers have not ended yet, and why it is not whole.
    length: int = 0
    heading: bool = True
    failure: str = ""
    # The fields that it has, in lower case.
    fields: set = dataclasses.field(default_factory=set)
    # Whether smtpd took the sender, which may be empty.
    started: bool = False
    outcome: Outcome = dataclasses.field(default_factory=Outcome)

    def complete(self, address: str) -> str:
        """Return an address with a domain, as smtpd understands it: Rspamd takes a bare postmaster for a damaged message."""
        return address if "@" in address or not address else f"{address}@{self.local}"

    def reset(self) -> None:
        """Forget the message, not the client."""
        self.id = self.sender = ""
        self.recipients = []
        self.started = False
        self.drop()

    def drop(self) -> None:
        """Forget the text of the message, and what was found of it."""
        content, self.content = self.content, None
        self.length, self.heading, self.failure, self.outcome = 0, True, "", Outcome()
        self.fields = set()
        if content:
            discard(content)

    def take(self, line: bytes) -> None:
        """Keep a line of the message, with its end. After an error no other is kept: the message is not whole."""
        if self.failure or self.doubt:
            return
        try:
            if self.content is None:
                self.drop()
                self.content = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115  closed by drop() or scan()
            if self.heading:
                line = header_line(line[:-1]) + b"\n"
                if line == b"\n":
                    self.end_header()
                else:
                    self.fields.add(line.partition(b":")[0].lower())
            self.write(line)
        except Exception as exc:
            self.failure = f"it cannot be stored: {type(exc).__name__}: {exc}"

    def write(self, line: bytes) -> None:
        self.content.write(line)
        self.length += len(line)

    def replace(self, text: bytes) -> None:
        """Put another text in the place of the message's."""
        content = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115  closed by scan()
        content.write(text)
        before, self.content, self.length = self.content, content, len(text)
        discard(before)

    def end_header(self) -> None:
        """Add what a message of ours lacks (RFC 6409 sections 8.2 and 8.3): a scanner has no clock, and many servers refuse mail without.

        smtpd does so itself on port 587 alone, and after the message is signed.
        """
        self.heading = False
        if not (self.own or self.user or self.relay or ipaddress.ip_address(self.address).is_loopback):
            return
        import email.utils  # as http.client, below

        lacking = {
            b"date": f"Date: {email.utils.formatdate(localtime=True)}",
            b"message-id": f"Message-ID: <{secrets.token_hex(16)}@{self.local}>",
            b"from": f"From: <{self.sender}>" if self.sender else "",
        }
        for name, field in lacking.items():
            if name not in self.fields and field:
                self.write(field.encode("utf-8", "surrogateescape") + b"\n")

    def stranger(self) -> bool:
        """Whether its client is neither a user who has logged in nor a program of this host."""
        return not (self.own or self.user or ipaddress.ip_address(self.address.partition("%")[0]).is_loopback)

    def warns(self) -> bool:
        """Whether this is smtpd's own report that a message waits. It would be made for everybody, of every mailbox that is full."""
        if not self.own or self.sender or not self.content:
            return False
        self.content.seek(0)
        for line in self.content:
            if line == b"\n" or line[: len(WARNING)].lower() == WARNING:
                return line != b"\n"
        return False

    def detach(self) -> Session:
        """Return the message by itself, with what is known of its client. What happens to the session does not concern it any more.

        :raises Deferred: it is not whole, or not known to be
        """
        why = self.doubt or self.failure
        if not why and not (self.started and self.recipients):
            why = "smtpd reported no sender or no recipient"
        if not why and self.content is None:
            why = "it is empty"
        if why:
            raise Deferred(why)
        if self.heading:
            try:
                self.end_header()
            except OSError as exc:
                raise Deferred(f"it cannot be stored: {exc}") from exc
        message = dataclasses.replace(self, recipients=list(self.recipients))
        self.content = None
        return message


class Deferred(Exception):
    """No verdict; the text says why, for the log."""


# --- What a message is made of ---


def discard(content: tempfile.SpooledTemporaryFile) -> None:
    """Close a file that nobody needs any more, also where what was written last cannot be stored."""
    with contextlib.suppress(OSError, ValueError):
        content.close()


def header_line(line: bytes) -> bytes:
    """Return a line of the header section as all read it.

    White space before the colon (RFC 5322 section 4.5) is part of the name for some, who then do not see the field. A CR that is left at
    its end makes the end of the section of an empty line, for some.
    """
    line = line.rstrip(b"\r")
    name, colon, value = line.partition(b":")
    return name.rstrip(b" \t") + colon + value if colon and line[:1] not in (b" ", b"\t") else line


def whole(message: Session):
    """Yield the lines of a message, with their ends: those of its headers one by one, all others by blocks.

    :raises Deferred: less or more was read than was written
    """
    message.content.seek(0)
    length, heading = 0, True
    while block := message.content.readline() if heading else message.content.read(BLOCK):
        length += len(block)
        heading = heading and block != b"\n"
        # A block ends with a line.
        if not heading and block[-1:] != b"\n":
            rest = message.content.readline()
            length += len(rest)
            block += rest
        yield block
    if length != message.length:
        raise Deferred(f"of {message.length} octets {length} were read")


# --- Who does too much ---


def parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address as smtpd writes it: a local one of IPv6 with its zone.

    :raises ValueError: none
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return what one client has: an IPv4 address, or a network of IPv6."""
    return str(ipaddress.ip_network((address, PREFIXES[address.version]), strict=False))


class Limits:
    """Counts what each client does, at once and in this minute."""

    def __init__(self, most: dict[str, int], trusted: list[str]) -> None:
        """Take what a client may do, by the names of :data:`TOO_OFTEN`, and networks that may do everything. 0 is no limit."""
        self.most = most
        self.trusted = [ipaddress.ip_network(text) for text in trusted]
        self.open: collections.Counter[str] = collections.Counter()
        self.done: collections.Counter[tuple[str, ...]] = collections.Counter()
        self.minute = -1

    def client(self, address: str) -> str:
        """Return the network that an address is counted with; none for one that is not counted."""
        try:
            found = parsed(address)
        except ValueError:
            return ""
        if any(found in trusted for trusted in self.trusted):
            return ""
        return network(found)

    def connect(self, client: str) -> None:
        if client:
            self.open[client] += 1

    def disconnect(self, client: str) -> None:
        self.open[client] -= 1
        if self.open[client] < 1:
            del self.open[client]

    def count(self, kind: str, client: str, what: tuple = (), more: int = 1) -> int:
        """Return how many of a kind a client has done in this minute, with so many more."""
        minute = int(time.monotonic() // 60)
        if minute != self.minute:
            self.minute = minute
            self.done.clear()
        key = (kind, client, *what)
        self.done[key] += more
        return self.done[key]

    def answer(self, kind: str, client: str) -> str:
        """Return what to do with one more of a kind: ``proceed``, or a refusal for now."""
        if not client or not self.most.get(kind):
            return "proceed"
        found = self.open[client] if kind == "connections" else self.count(kind, client)
        if found <= self.most[kind]:
            return "proceed"
        log(f"{kind} limit exceeded: {found} from {client}")
        return TOO_OFTEN[kind].format(client.removesuffix("/32"))

    def verified(self, client: str, credentials: tuple) -> bool:
        """Tell whether a password is verified, which was wrong before. That takes time, which others wait for."""
        most = self.most.get("wrong-password-rate")
        return not client or not most or self.count("wrong-password-rate", client, credentials, 0) < most


# --- What Rspamd says ---


def reply(code: str, text: object) -> str:
    """Return a refusal for smtpd, in one line of ASCII."""
    words = re.sub(r"[^ -~]+", " ", str(text or "")).strip()[:400]
    if re.match(r"[45]\d\d ", words):
        return words
    enhanced = "" if re.match(r"[45]\.\d+\.\d+ ", words) else f"{code[0]}.7.1 "
    return f"{code} {enhanced}{words}".rstrip()


def verdict(result: dict) -> str:
    """Return what smtpd is to do with a message: ``proceed``, or ``reject|`` with a reply.

    :raises Deferred: Rspamd says something else
    """
    said = (result.get("messages") or {}).get("smtp_message")
    action = result["action"]
    if action in ("reject", "discard"):  # smtpd drops a report of its own that is refused
        return "reject|" + reply("550", said or "Spam message rejected")
    if action == "soft reject":
        return "reject|" + reply("451", said or "Try again later")
    if action in ("no action", "greylist", "add header", "rewrite subject"):
        return "proceed"
    raise Deferred(f"Rspamd's action is {action!r}")


def added(result: dict) -> list[tuple[str, str]]:
    """Return the headers that go on top, as (name, value)."""
    headers: list[tuple[str, str]] = []
    if result["action"] in ("add header", "rewrite subject"):
        headers.append(("X-Spam", "Yes"))
    for name, value in ((result.get("milter") or {}).get("add_headers") or {}).items():
        for one in value if isinstance(value, list) else [value]:
            headers.append((name, str(one["value"] if isinstance(one, dict) else one)))
    signatures = result.get("dkim-signature") or []
    for value in [signatures] if isinstance(signatures, str) else signatures:
        headers.append(("DKIM-Signature", value))
    return headers


def removed(result: dict) -> dict[bytes, int]:
    """Return the headers that are taken out, in lower case, and which of that name; 0 for all. Those like :data:`OURS` always are."""
    found = {}
    for name, which in ((result.get("milter") or {}).get("remove_headers") or {}).items():
        found[name.strip().lower().encode()] = max(0, int(which))
    return found


def printable(line: str) -> bytes:
    """Return one line: what Rspamd quotes of a message may have line breaks in it, which begin other headers or end the protocol's line."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]+", " ", line).encode("utf-8", "replace")


def rewritten(content, result: dict):
    """Yield a message as it is to be delivered, in blocks of whole lines.

    The first lines are smtpd's own: ``X-Spam`` where its filters called the client junk, and ``Received``.

    :param content: its lines, as :func:`whole` yields them
    """
    for name, value in added(result):
        lines = re.split(r"\r?\n", value.rstrip("\r\n"))
        yield printable(f"{name}: {lines[0].strip()}") + b"\n"
        for line in lines[1:]:
            yield printable(line if line[:1] in (" ", "\t") else "\t" + line) + b"\n"
    unwanted, seen = removed(result), {}
    heading, dropping = True, False
    for number, line in enumerate(content):
        heading = heading and line != b"\n"
        if heading:
            if line[:1] in (b" ", b"\t"):
                if dropping:
                    continue
            else:
                name = line.partition(b":")[0].rstrip().lower()
                seen[name] = seen.get(name, 0) + 1
                dropping = OURS.fullmatch(name) is not None or (name in unwanted and unwanted[name] in (0, seen[name]))
                dropping = dropping and not (number == 0 and line == JUNK + b"\n")
                if dropping:
                    continue
                if name == b"subject" and result["action"] == "rewrite subject" and result.get("subject"):
                    yield printable(f"Subject: {result['subject']}") + b"\n"
                    dropping = True
                    continue
        yield line


# --- Talking to others ---


def http_connection(where: str, timeout: float):
    """Return a connection, not made yet, to the path of a Unix socket or to ``host:port``."""
    import http.client  # here, since a host without Rspamd has little memory

    if not where.startswith("/"):
        host, _colon, port = where.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=timeout)
    connection = http.client.HTTPConnection("localhost", timeout=timeout)

    def connect() -> None:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(where)

    connection.connect = connect
    return connection


def ask_rspamd(where: str, session: Session, timeout: float) -> dict:
    """Return the verdict on a message, which Rspamd may write anew.

    :param where: the path of Rspamd's socket, or host:port
    :raises Deferred: there is none
    """
    # It may have been read before, for a filter that was not there.
    session.content.seek(0, io.SEEK_END)
    size = session.content.tell()
    session.content.seek(0)
    # That smtpd called the client junk is no opinion of the sender's about its mail, which Rspamd would count.
    junk = session.content.readline() == JUNK + b"\n"
    if junk:
        size -= len(JUNK) + 1
    else:
        session.content.seek(0)
    headers = [("Ip", session.address), ("Helo", session.helo), ("Hostname", session.name), ("MTA-Name", session.local),
               ("Queue-Id", session.id), ("From", session.sender), ("User", session.user), ("Flags", "body_block")]
    headers = [(name, value) for name, value in headers if value] + [("Rcpt", recipient) for recipient in session.recipients]
    connection = http_connection(where, timeout)
    from http.client import HTTPException  # as there

    try:
        connection.putrequest("POST", "/checkv2", skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        connection.send(session.content)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Deferred(f"Rspamd answered {response.status} {response.reason}")
        # Behind the verdict is the message, where Rspamd has changed it.
        offset = int(response.getheader("Message-Offset") or len(body))
        result = json.loads(body[:offset])
        if not isinstance(result, dict) or not isinstance(result.get("action"), str):
            raise Deferred("Rspamd gave no verdict")
        # Of a message that it could not read it has no opinion. Of one that it need not read, such as GTUBE, it has.
        if result.get("is_skipped") and result["action"] == "no action":
            raise Deferred("Rspamd has not judged it")
        if text := body[offset:]:
            session.replace((JUNK + b"\n" if junk else b"") + text + (b"" if text.endswith(b"\n") else b"\n"))
        return result
    except (OSError, HTTPException, ValueError) as exc:
        raise Deferred(f"Rspamd: {exc}") from exc
    finally:
        connection.close()


def ask_quota(path: str, session: Session, recipient: str, timeout: float = 5) -> str:
    """Return what to do with a recipient. When nobody answers it is taken: delivery asks again, and waits."""
    question = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "protocol_name": "ESMTP", "sender": session.sender,
                "recipient": recipient, "size": str(session.size)}
    text = "".join(f"{name}={value}\n" for name, value in question.items()) + "\n"
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(timeout)
            stream.connect(path)
            stream.sendall(text.encode("utf-8", "surrogateescape"))
            answer = b""
            while b"\n\n" not in answer:
                got = stream.recv(4096)
                if not got:
                    break
                answer += got
    except OSError:
        return "proceed"
    found = re.match(r"action=([45]\d\d .*)", answer.decode("utf-8", "replace"))
    return "reject|" + reply(found[1][:3], found[1]) if found else "proceed"


def without_detail(address: str, delimiter: str) -> str:
    """Return an address without what follows the character that begins a detail of it (RFC 5233)."""
    local, at, domain = address.rpartition("@")
    return (local.partition(delimiter)[0] or local) + at + domain


def owned(path: str, user: str, sender: str, delimiter: str = "+") -> bool:
    """Tell whether a user may send from an address, by the table of owners: that of the address, of the one without its detail, or of its
    domain, whichever comes first."""
    if ":" in sender:  # smtpd takes what is before it for a route, and drops that
        return False
    sender = sender.lower()
    names = [sender, without_detail(sender, delimiter)]
    # An address of somebody's that is only written in another way is not one that nobody has.
    if PLAIN.fullmatch(sender):
        names.append(sender[sender.index("@") :])
    found = {}
    with open(path, encoding="utf-8") as table:
        for line in table:
            name, _space, logins = line.strip().partition(" ")
            if name in names:
                found[name] = logins.split(", ")
    return user.lower() in next((found[name] for name in names if name in found), [])


def of_recipient(path: str, recipient: str, delimiter: str = "+") -> str | None:
    """Return what a table says of an address that is written to, or of the one without its detail; None where that is nothing.

    smtpd takes what is before a colon for a route, and drops that.

    :raises OSError: the table cannot be read
    """
    address = recipient.lower()
    address = address.partition(":")[2] if address[:1] == "@" else address
    names = (address, without_detail(address, delimiter))
    with open(path, encoding="utf-8") as table:
        for line in table:
            name, _space, text = line.strip().partition(" ")
            if name in names:
                return text
    return None


def relay_of(path: str, address: str) -> str:
    """Return the relay that an address is one of, by a table of networks, or nothing.

    :raises OSError: the table cannot be read
    :raises ValueError: what it has, or the address, is none
    """
    found = parsed(address)
    with open(path, encoding="utf-8") as table:
        return next((name for text, _space, name in (line.strip().partition(" ") for line in table)
                     if found in ipaddress.ip_network(text)), "")


def locked(directories: list[str], user: str, *kinds: str) -> bool:
    """Tell whether an account is locked, by directories that have a file for each kind, ``login`` and ``sending``, with an account a line.

    They are read at each message, so that a lock holds at once; where one is not there, nobody is in it.

    :raises OSError: one cannot be read
    """
    for path in (os.path.join(directory, kind) for directory in directories for kind in kinds):
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as table:
            if user.lower() in (line.strip() for line in table):
                return True
    return False


def free(path: str) -> int:
    """Return how many octets a service may still write to the file system of this path."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def listed(path: str, domain: str) -> bool:
    """Tell whether a domain is in a table, one a line."""
    with open(path, encoding="utf-8") as table:
        return domain.lower() in (line.strip() for line in table)


class Credentials:
    """When each user's password was changed, by the table that smtpd reads them from.

    smtpd reads it anew a moment after it was written; until then it takes the old password. So who has logged in less than a few seconds
    after a change has to do it again.
    """

    MOMENT = 10

    def __init__(self, path: str) -> None:
        """:raises OSError: the table cannot be read"""
        self.path = path
        self.written = 0.0
        self.lines: dict[str, str] = {}
        self.changes: dict[str, float] = {}
        self.read()

    def read(self) -> None:
        """Read the table, if it was written since."""
        # When it was put in its place; its text was written before that.
        written = os.stat(self.path).st_ctime
        if written == self.written:
            return
        with open(self.path, encoding="utf-8") as table:
            lines = {login: line for line in table for login in [line.partition(" ")[0]]}
        self.changes.update({login: written for login, line in self.lines.items() if lines.get(login) != line})
        self.written, self.lines = written, lines

    def current(self, user: str, since: float) -> bool:
        """Tell whether a user's password is still the one by which a session began at this time.

        :raises OSError: the table cannot be read
        """
        self.read()
        change = self.changes.get(user.lower())
        return change is None or since > change + self.MOMENT


class Passwords:
    """The wrong passwords of the last minute. smtpd checks one password after another, and whatever else is looked up has to wait for it.

    Where somebody is guessing, only so many a second are checked of networks from which nobody has logged in.
    """

    MINUTE, MANY, PAUSE, KNOWN = 60, 60, 1, 10_000

    def __init__(self, clock=time.monotonic) -> None:
        self.clock = clock
        self.wrong: collections.deque = collections.deque(maxlen=self.MANY)
        # Networks with a right password, the last first to stay.
        self.right: dict[str, None] = {}
        self.next = 0.0

    def add(self, network: str, right: bool) -> None:
        if not right:
            self.wrong.append(self.clock())
            return
        self.right.pop(network, None)
        self.right[network] = None
        if len(self.right) > self.KNOWN:
            del self.right[next(iter(self.right))]

    def wait(self, network: str) -> bool:
        """Tell whether a network has to wait before one more of its passwords is checked."""
        now = self.clock()
        if not network or network in self.right or len(self.wrong) < self.MANY or self.wrong[0] < now - self.MINUTE:
            return False
        if now < self.next:
            return True
        self.next = now + self.PAUSE
        return False


class Guesses:
    """The wrong addresses of forwarded mail that bounces came to, of the last hour: how many of one network, and of all.

    A right one takes years then, and leads to one address. A bounce that has to wait comes again.
    """

    HOUR, OF_ONE, OF_ALL = 3600, 100, 500

    def __init__(self, clock=time.monotonic) -> None:
        self.clock = clock
        self.wrong: collections.deque = collections.deque(maxlen=self.OF_ALL)

    @staticmethod
    def network(address: str) -> str:
        try:
            return network(parsed(address))
        except ValueError:
            return address

    def add(self, address: str) -> None:
        self.wrong.append((self.clock(), self.network(address)))

    def too_many(self, address: str) -> bool:
        since = self.clock() - self.HOUR
        recent = [network for moment, network in self.wrong if moment > since]
        return len(recent) >= self.OF_ALL or recent.count(self.network(address)) >= self.OF_ONE


def login_credentials(argument: bytes, key: bytes) -> tuple[str, str]:
    """Return the name that a client logs in with, and a keyed hash of its password, each empty where it is not in its AUTH command.

    The hash is short: it tells one password from the next, and says nothing of what it is.

    :param argument: the mechanism and, by many clients, an initial response (RFC 4954 section 4)
    """
    mechanism, _space, initial = argument.partition(b" ")
    try:
        octets = base64.b64decode(initial, validate=True)
    except ValueError:
        return "", ""
    if mechanism.upper() == b"LOGIN":
        return octets.decode("utf-8", "replace"), ""
    _identity, name, password = octets.split(b"\0", 2) if octets.count(b"\0") > 1 else (b"", b"", b"")  # RFC 4616 section 2
    if mechanism.upper() != b"PLAIN" or not name:
        return "", ""
    return name.decode("utf-8", "replace"), hmac.new(key, name.lower() + b"\0" + password, "sha256").hexdigest()[:3]


class LoginGuard:
    """Where log-ins are reported: a socket of datagrams, which is not there where nobody counts them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def report(self, address: str, name: str, password: str, success: bool) -> None:
        report = {"remote": address, "login": name[:320], "pwhash": password or None, "success": success,
                  "fail_type": "" if success else "credentials"}
        try:
            self.socket.sendto(json.dumps(report).encode(), self.path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            log(f"a log-in from {address} is not reported: {exc}")


def senderscore(answer: str) -> int | None:
    """Return the score in an answer of score.senderscore.com, or None: 127.255.255.255 is its word for "not registered"."""
    found = re.fullmatch(r"127\.0\.4\.(\d{1,3})", answer)
    return int(found[1]) if found and int(found[1]) <= 100 else None


def ask_senderscore(address: str) -> int | None:
    """Return the score of an IPv4 address, or None where there is none."""
    try:
        return senderscore(socket.gethostbyname(".".join(reversed(address.split("."))) + ".score.senderscore.com"))
    except OSError:
        return None


def name_lacks(address: str) -> str:
    """Return what the name of an address lacks: ``rdns``, it has none; ``fcrdns``, it does not lead back; or nothing, also where DNS does
    not answer, which smtpd takes for a name that does not exist."""
    try:
        name = socket.gethostbyaddr(address)[0]
    except socket.herror as exc:
        return "rdns" if exc.errno in NO_NAME else ""
    except OSError:
        return ""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, None)}
    except socket.gaierror as exc:
        return "fcrdns" if exc.errno in NO_ADDRESS else ""
    except (OSError, UnicodeError):
        return "fcrdns"
    return "" if address in found else "fcrdns"


# --- Talking to smtpd ---


def protocol(version: bytes) -> tuple[int, int]:
    """Return the version of smtpd's protocol; where it is no number, the newest."""
    found = re.fullmatch(rb"([0-9]{1,4})\.([0-9]{1,4})", version)
    return (int(found[1]), int(found[2])) if found else NEWEST


def last(values: list[str], number: int) -> str:
    """Return the last of several values, of this number, with the separators that are in it.

    :raises ValueError: there are fewer
    """
    if len(values) <= number:
        raise ValueError(f"{len(values)} values, not {number + 1}")
    return "|".join(values[number:])


class Filter:
    """The state of all sessions. Requests that must wait for others do so in threads, as the protocol demands."""

    def __init__(self, options: argparse.Namespace, out=None) -> None:
        self.options = options
        self.out = out or sys.stdout.buffer
        self.sessions: dict[str, Session] = {}
        self.lock = threading.Lock()
        # Protocol 0.4 has the token before the session in answers.
        self.swapped = False
        self.guesses = Guesses()
        self.login_guard = LoginGuard(options.login_guard) if options.login_guard else None
        self.key = secrets.token_bytes(32)
        # Answers wait for no more than one block of a message.
        self.answers, self.waiting = threading.Condition(), 0
        self.blocks = threading.Lock()
        # Recipients do not wait for messages that are judged.
        self.scans = concurrent.futures.ThreadPoolExecutor(max_workers=options.scans)
        self.questions = concurrent.futures.ThreadPoolExecutor(max_workers=options.questions)
        self.passwords = Passwords()
        self.credentials = Credentials(options.credentials) if options.credentials else None
        self.limits = Limits({kind: getattr(options, kind.replace("-", "_")) for kind in TOO_OFTEN}, options.trusted)

    def say(self, *lines: bytes) -> None:
        """Write lines; before those of messages that are given back, of which there may be many."""
        with self.answers:
            self.waiting += 1
        self.write(b"\n".join(lines) + b"\n")
        with self.answers:
            self.waiting -= 1
            self.answers.notify_all()

    def write(self, text: bytes) -> None:
        with self.lock:
            try:
                self.out.write(text)
                self.out.flush()
            except Exception as exc:
                # Half a line may be written, and all that follows would be part of it. smtpd ends when a filter does.
                log(f"smtpd cannot be answered: {type(exc).__name__}: {exc}")
                self.stop()

    def stop(self) -> None:
        os._exit(1)

    def prefix(self, kind: str, key: str, token: str) -> bytes:
        """Return how an answer begins: ``filter-result`` to a request, or ``filter-dataline``, a line of a message."""
        pair = (token, key) if self.swapped else (key, token)
        return "|".join([kind, *pair, ""]).encode("utf-8", "surrogateescape")

    def result(self, key: str, token: str, what: str) -> None:
        self.say(self.prefix("filter-result", key, token) + what.encode("utf-8", "replace"))

    def later(self, pool: concurrent.futures.Executor, function, *arguments, instead) -> None:
        """Call a function in a thread, or if no thread can be had, another one here; never both: smtpd ends at a second answer."""
        turn = threading.Lock()

        def run() -> None:
            if turn.acquire(blocking=False):
                try:
                    function(*arguments)
                except Exception as exc:
                    log(f"{type(exc).__name__}: {exc}")

        try:
            pool.submit(run)
        except Exception as exc:
            if turn.acquire(blocking=False):
                log(f"no thread is left: {type(exc).__name__}: {exc}")
                instead()

    def judged(self, session: Session) -> dict:
        """Return the verdict. This host's own mail has no queue to go back to: it waits for a filter that restarts, and then passes."""
        end = time.monotonic() + (self.options.patience if session.own else 0)
        while True:
            try:
                return ask_rspamd(self.options.rspamd, session, self.options.timeout)
            except Deferred as exc:
                if not session.own:
                    raise
                if time.monotonic() > end:
                    log(f"message {session.id} of this host is not judged: {exc}")
                    return {"action": "no action"}
            time.sleep(0.5)

    def scan(self, message: Session, prefix: bytes) -> None:
        """Let the message be judged, and give it back to smtpd."""
        answer = "reject|" + DEFERRED
        try:
            # What was not written before is written now; Rspamd is not asked about a part of the message.
            message.content.seek(0, io.SEEK_END)
            if message.content.tell() != message.length:
                raise Deferred(f"of {message.length} octets {message.content.tell()} are stored")
            if self.options.domains and message.warns() and not any(self.ours(recipient) for recipient in message.recipients):
                answer = "reject|" + NOT_WARNED
                return
            if self.options.unproven and message.own and not message.sender and not any(self.ours(one) for one in message.recipients):
                answer = "reject|" + NOT_PROVEN
                return
            result = self.judged(message) if self.options.rspamd else {"action": "no action"}
            if self.options.unproven and message.stranger():
                # Pigeonhole's vacation reads it, and Dovecot's send-for-script.
                result = {**result, "milter": {"add_headers": {"X-Auto-Response-Suppress": "All, Unproven"}}}
            said = verdict(result)
            # What is refused is not delivered: its lines need not be given back.
            if said == "proceed":
                self.give_back(rewritten(whole(message), result), prefix)
            answer = said
        except Exception as exc:
            reason = str(exc) if isinstance(exc, Deferred) else f"{type(exc).__name__}: {exc}"
            log(f"message {message.id} is deferred: {reason}")
        finally:
            message.outcome.answer = answer
            self.say(prefix + b".")
            discard(message.content)

    def give_back(self, blocks, prefix: bytes) -> None:
        """Give a message back to smtpd, from blocks of whole lines."""
        text = b""
        for block in blocks:
            text += block
            if len(text) >= BLOCK:
                self.give_block(text, prefix)
                text = b""
        if text:
            self.give_block(text, prefix)

    def give_block(self, text: bytes, prefix: bytes) -> None:
        # A line that begins with a dot gets another one (RFC 5321 section 4.5.2), and each gets the prefix.
        lines = (b"\n" + text[:-1]).replace(b"\n.", b"\n..").replace(b"\n", b"\n" + prefix)[1:] + b"\n"
        with self.blocks:
            with self.answers:
                self.answers.wait_for(lambda: not self.waiting)
            self.write(lines)

    def quota(self, key: str, session: Session, token: str, recipient: str) -> None:
        answer = "proceed"
        try:
            answer = ask_quota(self.options.quota, session, session.complete(recipient))
        finally:
            self.result(key, token, answer)

    def returning(self, session: Session, recipient: str) -> str:
        """Return a refusal for a recipient that forwarded mail comes back to, if this is no bounce or its client guesses, or nothing."""
        if not self.options.srs or not RETURN.match(recipient):
            return ""
        try:
            if not self.ours(session.complete(recipient)):
                return ""
        except (OSError, ValueError) as exc:
            log(f"a recipient is deferred: {exc}")
            return "reject|" + DEFERRED
        if session.sender:
            return "reject|" + NOT_A_BOUNCE
        return "reject|" + GUESSED if self.guesses.too_many(session.address) else ""

    def closed(self, session: Session, recipient: str) -> str:
        """Return a refusal for a recipient that this client may not write to, or nothing. Programs of this host are not asked."""
        if not self.options.closed or (not session.user and ipaddress.ip_address(session.address.partition("%")[0]).is_loopback):
            return ""
        try:
            found = of_recipient(self.options.closed, session.complete(recipient), self.options.delimiter)
        except (OSError, ValueError) as exc:
            log(f"a recipient is deferred: {exc}")
            return "reject|" + DEFERRED
        logins = (found or "").split(", ")
        if found is None or session.user.lower() in logins or (session.user and logins == ["*"]):
            return ""
        return "reject|" + CLOSED.format("users" if logins == ["*"] else "its members")

    def relayed(self, session: Session, recipient: str) -> str:
        """Return why smtpd will not relay to a recipient, where its client may for other senders, or nothing."""
        try:
            if (not session.relay or not session.sender or self.ours(session.complete(recipient))
                    or owned(self.options.owners, session.relay, session.sender, self.options.delimiter)):
                return ""
        except (OSError, ValueError) as exc:
            log(f"a recipient is deferred: {exc}")
            return "reject|" + DEFERRED
        return "reject|" + NOT_RELAYED

    def no_mail(self, session: Session, recipient: str) -> str:
        """Return the refusal of a recipient that takes no mail, or nothing."""
        try:
            table, delimiter = self.options.no_mail, self.options.delimiter
            text = of_recipient(table, session.complete(recipient), delimiter) if table else None
        except (OSError, ValueError) as exc:
            log(f"a recipient is deferred: {exc}")
            return "reject|" + DEFERRED
        return f"reject|{text}" if text else ""

    def ours(self, address: str) -> bool:
        """Whether an address is in a domain of this server.

        :raises OSError: the table of these cannot be read
        """
        return self.options.domains != "" and listed(self.options.domains, address.rpartition("@")[2])

    def sender(self, session: Session, address: str) -> str:
        """Return what to do with a sender. smtpd's own ``senders`` refuses the null sender, which read receipts have (RFC 8098)."""
        if self.options.max_size and session.size > self.options.max_size:
            return "reject|" + TOO_BIG
        try:
            if self.credentials and session.user and not self.credentials.current(session.user, session.since):
                return "disconnect|" + NOT_CURRENT
            if session.user and locked(self.options.locks, session.user, "login", "sending"):
                return "reject|" + LOCKED
            table, complete, delimiter = self.options.owners, session.complete(address), self.options.delimiter
            if table and session.user and address and not owned(table, session.user, complete, delimiter):
                return "reject|" + NOT_OWNED
        except (OSError, ValueError) as exc:
            log(f"a message of {session.user!r} is deferred: {exc}")
            return "reject|" + DEFERRED
        return "proceed"

    def name(self, key: str, session: Session, token: str) -> None:
        answer = "proceed"
        try:
            lacking = name_lacks(session.address)
            answer = DECISIONS[getattr(self.options, lacking)] if lacking else "proceed"
        finally:
            self.result(key, token, answer)

    def score(self, key: str, session: Session, token: str) -> None:
        answer = "proceed"
        try:
            score = ask_senderscore(session.address)
            if score is not None and score < self.options.senderscore:
                log(f"{session.address} has a Senderscore of {score}")
                answer = "junk"
        finally:
            self.result(key, token, answer)

    def report(self, version: tuple[int, int], event: str, key: str, values: list[str]) -> None:
        """Take a report. The last value may have the separator in it.

        :raises ValueError: it has another form
        """
        if event == "link-connect":
            self.forget(key)
            session = self.sessions[key] = Session(doubt="its connection was not understood")
            name, confirmed, source = values[:3]
            target = last(values, 3)
            session.own = source.startswith("unix:") or source == "local"
            session.address = "127.0.0.1" if session.own else source.rpartition(":")[0].strip("[]")
            ipaddress.ip_address(session.address)
            session.network = "" if session.own else self.limits.client(session.address)
            self.limits.connect(session.network)
            session.port = target.rpartition(":")[2]
            if self.options.relays and session.port == "25" and not session.own:
                session.relay = relay_of(self.options.relays, session.address)
            session.name = name if confirmed == "pass" else ""
            session.confirmed = confirmed != "fail"
            session.doubt = ""
            return
        if event == "link-disconnect":
            self.forget(key)
            return
        session = self.session(key)
        if event == "link-greeting":
            session.local = last(values, 0)
        elif event == "link-identify":
            session.helo = last(values, 1)
        elif event == "link-auth":
            # Protocol 0.7 has the result first.
            result, user = (values[0], last(values, 1)) if version >= (0, 7) else (values[-1], last(values[:-1], 0))
            if result in ("pass", "fail"):
                self.passwords.add(session.network, result == "pass")
            if result == "pass":
                session.user, session.since = user, time.time()
            elif result == "fail":
                log(f"authentication failed from {session.address} as {user[:100]!r}")
            elif result != "error":
                raise ValueError(f"{result!r} is not the result of an authentication")
            if result != "error":
                self.logged_in(session, user, result == "pass")
        elif event == "tx-reset":
            session.reset()
        elif event == "tx-begin":
            session.reset()
            session.id = last(values, 0)
        elif event in ("tx-mail", "tx-rcpt"):
            # Protocol 0.6 has the result before the address.
            result, address = (values[1], last(values, 2)) if version >= (0, 6) else (values[-1], last(values[:-1], 1))
            if result not in ("ok", "permfail", "tempfail"):
                raise ValueError(f"{result!r} is not the result of a command")
            if result == "ok" and values[0] != session.id:
                raise ValueError(f"transaction {values[0]!r} has not begun")
            if result == "ok" and event == "tx-mail":
                session.sender, session.started = session.complete(address), True
            elif result == "ok":
                session.recipients.append(session.complete(address))
            elif result == "permfail" and event == "tx-rcpt" and not session.sender and RETURN.match(address):
                self.guesses.add(session.address)
        elif event == "protocol-client":
            command = "|".join(values)
            if command[:10].upper() == "MAIL FROM:":
                size = re.search(r"(?i) SIZE=([0-9]{1,18})(?: |\Z)", command)
                session.size = int(size[1]) if size else 0

    def logged_in(self, session: Session, user: str, success: bool) -> None:
        """Have a log-in counted, with what is known of its password."""
        password = session.credentials[1]
        if not success and password:
            session.wrong = True
            self.limits.count("wrong-password-rate", session.network, session.credentials)
        if self.login_guard:
            self.login_guard.report(session.address, user, password, success)

    def login(self, session: Session, argument: bytes) -> str:
        """Return what to do with an AUTH command.

        smtpd shows no password of AUTH LOGIN. A client whose password was wrong by another mechanism goes on to that one with the same:
        that is wrong without a look, so that nobody can try another one unseen.
        """
        session.credentials = login_credentials(argument, self.key)
        # Whose name is not known before, by AUTH LOGIN, sends nothing.
        if session.credentials[0] and locked(self.options.locks, session.credentials[0], "login"):
            return "reject|" + LOCKED_OUT
        if (session.wrong and not session.credentials[1]) or not self.limits.verified(session.network, session.credentials):
            return TOO_OFTEN["wrong-password-rate"]
        return "proceed"

    def session(self, key: str) -> Session:
        """Return a session; nothing is accepted from one that was not seen to connect."""
        return self.sessions.setdefault(key, Session(doubt="smtpd did not report its connection"))

    def forget(self, key: str) -> None:
        session = self.sessions.pop(key, None)
        if session:
            self.limits.disconnect(session.network)
            session.reset()

    def request(self, phase: str, key: str, token: str, values: list[bytes]) -> None:
        """Answer a request, except for a line of a message; the answer is the last that is done.

        :raises Deferred: it is not answered
        """
        session = self.session(key)
        if phase == "data-line":
            line = b"|".join(values)
            if line == b".":
                self.judge(session, self.prefix("filter-dataline", key, token))
            else:
                session.take((line[1:] if line[:1] == b"." else line) + b"\n")
        elif phase == "connect":
            answer = self.limits.answer("connections", session.network)
            if answer == "proceed":
                answer = self.limits.answer("connection-rate", session.network)
            decided = answer != "proceed" or session.confirmed or not session.network or session.port != "25" or session.relay
            if decided or (self.options.rdns, self.options.fcrdns) == ("score", "score"):
                self.result(key, token, answer)
            else:
                self.later(self.questions, self.name, key, session, token, instead=lambda: self.result(key, token, "proceed"))
        elif phase == "auth":
            answer = "reject|" + GUESSING if self.passwords.wait(session.network) else self.login(session, b"|".join(values))
            self.result(key, token, answer)
        elif phase in PER_MINUTE and (answer := self.limits.answer(PER_MINUTE[phase], session.network)) != "proceed":
            self.result(key, token, answer)
        elif phase == "mail-from":
            if session.doubt:
                raise Deferred(session.doubt)
            self.result(key, token, self.sender(session, b"|".join(values).decode("utf-8", "surrogateescape")))
        elif phase == "rcpt-to":
            recipient = b"|".join(values).decode("utf-8", "surrogateescape")
            refusal = self.no_mail(session, recipient) or self.returning(session, recipient) or self.closed(session, recipient)
            refusal = refusal or self.relayed(session, recipient)
            if refusal or not self.options.quota:
                self.result(key, token, refusal or "proceed")
            else:
                self.later(self.questions, self.quota, key, session, token, recipient, instead=lambda: self.result(key, token, "proceed"))
        # Scores are known of IPv4 addresses, and nobody asks for those of trusted ones.
        elif (phase in SCORED and session.port == "25" and session.network.endswith("/32") and not session.helo
              and not session.relay):  # fmt: skip
            self.later(self.questions, self.score, key, session, token, instead=lambda: self.result(key, token, "proceed"))
        elif phase == "commit":
            answer, session.outcome = session.outcome.answer, Outcome()
            if session.doubt:
                raise Deferred(session.doubt)
            if answer == "proceed" and self.options.spool and free(self.options.spool) < ROOM:
                answer = "reject|" + FULL
            self.result(key, token, answer)
        else:
            self.result(key, token, "proceed")

    def judge(self, session: Session, prefix: bytes) -> None:
        """Have a message judged that has ended, or give nothing of it back where it is not whole: its commit defers it."""
        number = session.id
        try:
            message = session.detach()
        except Deferred as exc:
            log(f"message {number} is deferred: {exc}")
            session.drop()
            self.say(prefix + b".")
            return

        def instead() -> None:
            discard(message.content)
            self.say(prefix + b".")

        self.later(self.scans, self.scan, message, prefix, instead=instead)

    def line(self, line: bytes) -> None:
        """Take one line of smtpd's: ``report|version|time|smtp-in|event|session|…`` or ``filter|…|session|token|…``.

        A request gets one answer, also when it is not understood; what is not accepted for certain is deferred.
        """
        # Most of what comes is lines of messages, and whoever waits for an answer waits for all that come before.
        head = line.split(b"|", 7)
        if len(head) == 8 and head[4] == b"data-line" and head[0] == b"filter" and head[7] != b".":
            session = self.sessions.get(head[5].decode("utf-8", "surrogateescape"))
            if session:
                session.take((head[7][1:] if head[7][:1] == b"." else head[7]) + b"\n")
                return
        atoms = line.split(b"|")
        needed = {b"report": 6, b"filter": 7}.get(atoms[0])
        if needed is None or len(atoms) < needed:
            # It may have been about any of them.
            log(f"not understood: {line[:200]!r}")
            for session in self.sessions.values():
                session.doubt = "a line of smtpd was not understood"
            return
        version = protocol(atoms[1])
        self.swapped = version < (0, 5)
        event, key = (atom.decode("utf-8", "surrogateescape") for atom in atoms[4:6])
        try:
            if atoms[0] == b"report":
                self.report(version, event, key, [atom.decode("utf-8", "surrogateescape") for atom in atoms[6:]])
                return
            self.request(event, key, atoms[6].decode("utf-8", "surrogateescape"), atoms[7:])
        except Exception as exc:
            # A password is not logged.
            log(f"{type(exc).__name__}: {exc} in {(b'|'.join(atoms[:7]) if event == 'auth' else line)[:200]!r}")
            self.session(key).doubt = f"{type(exc).__name__}: {exc}"
            if atoms[0] == b"filter":
                self.unanswered(event, key, atoms[6].decode("utf-8", "surrogateescape"), atoms[7:])

    def unanswered(self, phase: str, key: str, token: str, values: list[bytes]) -> None:
        """Answer a request that was not understood: an error of ours says nothing about a client, but nothing of it is accepted."""
        if phase != "data-line":
            self.result(key, token, "proceed" if phase in SCORED else "reject|" + DEFERRED)
        elif values == [b"."]:
            self.say(self.prefix("filter-dataline", key, token) + b".")

    def run(self, source) -> None:
        for line in source:
            if line.startswith(b"config|protocol|") and protocol(line[:-1].rpartition(b"|")[2]) > NEWEST:
                log(f"{line[:200]!r} is newer than what is known; it is read as {NEWEST[0]}.{NEWEST[1]}")
            if line == b"config|ready\n":
                break
        requests = (*REQUESTS, *SCORED) if self.options.senderscore else REQUESTS
        register = [f"register|report|smtp-in|{name}" for name in REPORTS] + [f"register|filter|smtp-in|{name}" for name in requests]
        self.say(*[line.encode() for line in register], b"register|ready")
        for line in source:
            if line[-1:] == b"\n":
                self.line(line[:-1])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A filter of OpenSMTPD.")
    parser.add_argument("--rspamd", default="", help="where Rspamd speaks HTTP, a socket or host:port; empty: no message is judged")
    parser.add_argument("--timeout", type=float, default=90, help="seconds that a verdict may take")
    parser.add_argument("--scans", type=int, default=64, help="how many messages are judged at once")
    parser.add_argument("--questions", type=int, default=64, help="how many recipients and clients others are asked about at once")
    parser.add_argument("--patience", type=float, default=30, help="seconds that this host's own mail waits for a verdict")
    parser.add_argument("--owners", default="", help="file with the users who may send from each address; empty: any")
    parser.add_argument("--locks", action="append", default=[], help="a directory of locked accounts; may be repeated")
    parser.add_argument("--credentials", default="", help="file with the hashes of the users' passwords; empty: a session outlives its own")
    parser.add_argument("--quota", default="", help="socket of the policy service that knows quotas")
    parser.add_argument("--login-guard", default="", help="socket of the guard that counts wrong passwords; empty: nobody does")
    parser.add_argument("--domains", default="", help="file with the domains of this server, one a line; empty: there are none")
    parser.add_argument("--closed", default="", help="file with the aliases that strangers may not write to, and who may; empty: none")
    parser.add_argument("--relays", default="", help="file with the networks of hosts that send for domains of ours, and their relays; "
                                                     "empty: none")  # fmt: skip
    parser.add_argument("--delimiter", default="+", help="the character that begins a detail of an address")
    parser.add_argument("--no-mail", default="", help="file with the addresses that take no mail, and the answer of each; empty: none")
    parser.add_argument("--unproven", action="store_true", help="nobody asks whether a stranger is who he says: none is answered")
    parser.add_argument("--srs", action="store_true", help="forwarded mail has senders of ours, that bounces come back to")
    parser.add_argument("--senderscore", type=int, default=0, help="the Senderscore that a client needs; 0 asks for none")
    for name, what in {"rdns": "without a name in reverse DNS", "fcrdns": "whose name does not lead back to their address"}.items():
        parser.add_argument(f"--{name}", choices=DECISIONS, default="score", help=f"what becomes of clients {what}")
    parser.add_argument("--max-size", type=int, default=0, help="the largest message, in octets")
    parser.add_argument("--spool", default="", help="smtpd's queue, which must have room for a message; empty: it is not looked at")
    parser.add_argument("--temporary", default="", help="directory of messages that wait for a verdict; empty: the system's")
    parser.add_argument("--trusted", action="append", default=[], help="a network without limits; may be repeated")
    for kind in TOO_OFTEN:
        unit = "at once" if kind == "connections" else "in a minute"
        parser.add_argument(f"--{kind}", type=int, default=0, help=f"how many from one client {unit}; 0 for any")
    parser.add_argument("--check", action="store_true", help="say nothing and end: this program can run here")
    return parser


def main() -> int:
    options = arguments().parse_args()
    # Where a SpooledTemporaryFile goes once it is large: /tmp may be small, or memory.
    tempfile.tempdir = options.temporary or None
    if not options.check:
        Filter(options).run(sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
