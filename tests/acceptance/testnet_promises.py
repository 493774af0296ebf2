# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promises that need a test network around the server: a strict receiver, hosts with bad names, a shell to break things.

What is promised is still proven by protocol; the shell only stops, restarts and renews.
"""

from __future__ import annotations

import base64
import calendar
import collections
import concurrent.futures
import contextlib
import dataclasses
import email.policy
import email.utils
import fcntl
import imaplib
import io
import ipaddress
import itertools
import json
import os
import pathlib
import poplib
import re
import secrets
import shlex
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dkim
import imap as mailbox
import scan

from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks
from ansible_collections.postmaster.mail.plugins.module_utils._checks.imap import Imap, find
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed, CheckRegistry, CheckSkipped
from ansible_collections.postmaster.mail.plugins.module_utils._checks.session import Server

registry = CheckRegistry()

#: What a run that changes nothing may execute on the host.
MOST_TASKS = 35

#: Seconds that mail clients wait for the answer to a command.
AT_ONCE = 60

#: Folders of mail clients for deleted mail and junk, as IMAP writes them (RFC 3501 section 5.1.3): with é, below INBOX, with one below it.
UNWANTED = ("Corbeille", "&AMk-l&AOk-ments supprim&AOk-s", "INBOX.Papierkorb", "Deleted Items.2026", "Junk E-mail", "Trash")

#: Seconds to wait for what must come. Nothing is measured by it: with all cores busy it takes longer, and nothing is broken.
PATIENCE = 240
#: Where the host notes since when mailboxes are full.
FULL = "/var/lib/dovecot/full"


@dataclasses.dataclass
class Lab(Server):
    """The server under test and what surrounds it.

    ``ssh`` is the command that reaches a shell on the host; ``commands`` are what the system calls restarting and the like, ``mta``
    is how its queue is seen, ``further_ports`` are open beside those of mail and SSH, ``learns_again`` is whether a message is learnt
    a third time, all from cells.py; ``bigmail`` is a mailbox at the strict receiver; ``locked`` are accounts with passwords that the
    inventory locks, ``limited`` are those that may send less than others, with passwords and limits, and ``quota`` is that of the last
    account, in bytes;
    ``score`` the Senderscore that clients need; ``names`` what becomes of them for their names, by the roles' variables (C(rdns),
    C(fcrdns), C(dynamic)); ``guesser`` an IPv4 address to guess passwords from, ``neighbours`` names of such addresses
    in one network of IPv6, and ``counts_networks`` whether the limits of one client are those of such a network; ``filter`` is
    ``mail_filter``; ``closed`` are the aliases that strangers may not write to, and who may, which are not among C(aliases);
    ``unsent`` are those that nobody may send from, ``twins`` are domains that are another one; ``no_mail`` are addresses that refuse
    mail, with the text, or discard it (empty), and ``silent`` users who only send, with passwords; ``delimiters`` are the characters each
    of which begins a detail; ``lists`` are whom users allow and
    block; ``mailboxes`` is ``mail_mailboxes``, ``users`` are ``mail_users``, ``routes`` ``mail_routes`` and ``relays`` ``mail_relays``;
    ``smarthost`` is a customer of the smarthost; ``client_key`` is the file with the DKIM key of ``client.test``.
    """

    ssh: list[str] = dataclasses.field(default_factory=list)
    commands: dict[str, str] = dataclasses.field(default_factory=dict)
    mta: Any = None
    further_ports: set[int] = dataclasses.field(default_factory=set)
    learns_again: bool = True
    bigmail: dict[str, str] = dataclasses.field(default_factory=dict)
    aliases: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    closed: dict[str, str] = dataclasses.field(default_factory=dict)
    unsent: list[str] = dataclasses.field(default_factory=list)
    twins: dict[str, str] = dataclasses.field(default_factory=dict)
    no_mail: dict[str, str] = dataclasses.field(default_factory=dict)
    delimiters: str = "+"
    silent: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    mailboxes: dict[str, Any] = dataclasses.field(default_factory=dict)
    lists: dict[str, tuple[list[str], list[str]]] = dataclasses.field(default_factory=dict)
    slow: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    tls_exceptions: dict[str, str] = dataclasses.field(default_factory=dict)
    routes: dict[str, Any] = dataclasses.field(default_factory=dict)
    relays: dict[str, Any] = dataclasses.field(default_factory=dict)
    smarthost: dict[str, str] = dataclasses.field(default_factory=dict)
    host_senders: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    receiver: list[str] = dataclasses.field(default_factory=list)
    locked: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    limited: list[tuple[str, str, dict[str, int]]] = dataclasses.field(default_factory=list)
    quota: int = 0
    score: int = 0
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    filter: dict[str, Any] = dataclasses.field(default_factory=dict)
    filtered: bool = True
    client_key: str = ""
    guesser: str = ""
    neighbours: tuple[str, ...] = ()
    counts_networks: bool = False
    users: dict[str, Any] = dataclasses.field(default_factory=dict)
    update: Callable[..., None] | None = None
    playbook: Callable[..., dict[str, Any]] | None = None

    def network(self) -> list[str]:
        """Return the IPv6 addresses of neighbours, for a server that can be reached from there."""
        names = self.neighbours if self.addresses.get("ipv6") else ()
        return [str(socket.getaddrinfo(name, None, socket.AF_INET6)[0][4][0]) for name in names]

    def run(self, command: str, check: bool = True, on: list[str] | None = None) -> str:
        """Run a shell command on the host as root and return its output."""
        done = subprocess.run([*(on or self.ssh), command], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise CheckFailed(f"{command!r} on the host ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def find(self, message_id: str, *place: Any, within: float = PATIENCE, **keywords: Any) -> Any:
        """Wait until a message has arrived, as long as it takes."""
        return super().find(message_id, *place, within=within, **keywords)

    @contextlib.contextmanager
    def big(self) -> Iterator[Imap]:
        """The mailbox at the strict receiver."""
        host = self.bigmail["host"]
        session = Imap(socket.gethostbyname(host), host, self.tls(), self.timeout)
        try:
            session.login(self.bigmail["user"], self.bigmail["password"])
            yield session
        finally:
            session.logout()

    def at_bigmail(self, message_id: str, within: float = PATIENCE) -> Any:
        with self.big() as session:
            try:
                return find(session, message_id, within=within)
            except CheckFailed:
                queue = self.run(self.mta.list, check=False)
                raise CheckFailed(f"no message {message_id} at the strict receiver after {within:g} s; our queue:\n{queue}") from None

    def waiting(self, recipient: str) -> Any:
        """What waits in the queue for this recipient, the first of it, or None."""
        return next(iter(self.all_waiting(recipient)), None)

    def all_waiting(self, recipient: str) -> list[Any]:
        """What waits in the queue for this recipient."""
        return [item for item in self.mta.read(self.run(self.mta.list)) if item.recipient == recipient]

    def deliver(self, message: Any, recipient: str, sender: str | None = None, address: str | None = None) -> str:
        """Send a message from outside, as another mail server does."""
        with self.smtp(25, "starttls", address) as session:
            code, reply = session.send(sender if sender is not None else f"outside@{self.helo}", [recipient], message.as_bytes())
        return checks.accepted(code, reply, f"a message to {recipient}")

    def files(self, user: str) -> tuple[str, str, str, str]:
        """Arguments that the functions of imap.py take."""
        return self.fqdn, user, dict(self.accounts)[user], self.ca_file or ""


def authentication(message: Any) -> dict[str, str]:
    """Return what the receiver found: method to result."""
    text = " ".join(str(value) for value in message.get_all("Authentication-Results", []) + message.get_all("Received-SPF", []))
    found = dict(re.findall(r"\b(spf|dkim|dmarc)=(\w+)", text))
    received = re.match(r"(\w+)", str(message.get("Received-SPF", "")))
    if received:
        found["spf"] = received[1].lower()
    return found


def out(lab: Lab, family: str) -> str:
    recipient = f"someone@{family}.bigmail.test"
    if not lab.addresses.get(family):
        return not_out(lab, recipient)
    user = lab.account()[0]
    message = lab.message(user, recipient)
    lab.submit(message)
    arrived = lab.at_bigmail(message["Message-ID"])
    found = authentication(arrived)
    wrong = {method: found.get(method, "nothing") for method in ("spf", "dkim", "dmarc") if found.get(method) != "pass"}
    if wrong:
        raise CheckFailed(f"the strict receiver found {wrong}: {arrived.get_all('Authentication-Results')} {arrived.get('Received-SPF')}")
    hop = next(line for line in arrived.get_all("Received") if lab.fqdn in line and lab.bigmail["host"] in line)
    evidence = " ".join(hop.split())
    if lab.address(family) not in evidence:
        raise CheckFailed(f"it did not come from {lab.address(family)}: {evidence}")
    return evidence


def not_out(lab: Lab, recipient: str) -> str:
    """Send to a recipient that no declared address leads to, and wait until the user is told, or the queue tells why it stays."""
    user = lab.account()[0]
    message = lab.message(user, recipient)
    lab.submit(message)
    end = time.monotonic() + PATIENCE
    with lab.imap() as box:
        while not ((found := lab.waiting(recipient)) and found.reason):
            box.select("INBOX")
            _status, uids = box.uid("search", "FROM", "mailer-daemon", "TEXT", f'"{message["Message-ID"]}"')
            if uids[0]:
                return f"{user} is told that a message to {recipient} cannot be sent"
            if time.monotonic() > end:
                raise CheckFailed(f"a message to {recipient} is neither in the queue nor returned")
            time.sleep(0.5)  # the queue has no event to wait for
    lab.run(lab.mta.remove.format(id=found.id))
    return found.reason


@registry.check("second-run")
def second_run(lab: Lab) -> str:
    """The second run of the playbook changes nothing, and executes few tasks on the host."""
    if not lab.playbook:
        raise CheckSkipped("no playbook to run")
    stats = lab.playbook()
    if stats["on_host"] > MOST_TASKS:
        raise CheckFailed(f"{stats['on_host']} tasks were executed on the host, more than {MOST_TASKS}")
    return f"{stats['ok']} tasks, {stats['on_host']} of them on the host, none changed"


@registry.check("out-ipv4")
def out_ipv4(lab: Lab) -> str:
    """What a user submits arrives over IPv4 at a strict, independent server, which finds SPF, DKIM and DMARC pass. Without an IPv4
    address that is declared nothing leaves over it."""
    return out(lab, "ipv4")


@registry.check("out-ipv6")
def out_ipv6(lab: Lab) -> str:
    """What a user submits arrives over IPv6 at a strict, independent server, which finds SPF, DKIM and DMARC pass. Without an IPv6
    address that is declared nothing leaves over it."""
    return out(lab, "ipv6")


@registry.check("out-from-the-host")
def out_from_the_host(lab: Lab) -> str:
    """What a program on the host sends with sendmail from a role address, or from one that its account is granted, is signed as well, and
    the strict receiver finds SPF, DKIM and DMARC pass."""
    role = f"postmaster@{lab.domains[0]}"
    # One of another domain has nothing to pass with.
    granted = [(account, address) for account, addresses in lab.host_senders.items() for address in addresses
               if address[0] != "@" and address.partition("@")[2] in lab.domains]
    said = []
    for account, sender in [("nobody", role), *granted]:
        message = lab.message(sender, lab.bigmail["user"])
        if refusal := from_host(lab, account, sender, message):
            raise CheckFailed(f"{account} may not send as {sender}: {refusal}")
        found = authentication(lab.at_bigmail(message["Message-ID"]))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise CheckFailed(f"{account} sent as {sender}, and the strict receiver found {found}")
        said.append(f"{account} as {sender}: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}")
    return "; ".join(said)


def from_host(lab: Lab, account: str, sender: str, message: Any) -> str:
    """Send a message with sendmail as an account of the host; return what sendmail says if it refuses, else nothing."""
    # With the environment of root: such an account's own shell lets nobody in.
    command = f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(sender)} {shlex.quote(message['To'])}"
    done = lab.run(f"cd / && su -m {account} -c {shlex.quote(command)} 2>&1 || echo refused with $?")
    return done.strip() if "refused with" in done else ""


def by_loopback(lab: Lab, sender: str, message: Any) -> tuple[int, str]:
    """Send a message to port 25 from the host itself, as any of its programs can; return the answer that refuses it, or 250."""
    program = (
        "import smtplib, sys\n"
        "with smtplib.SMTP('127.0.0.1', 25, 'localhost', timeout=120) as session:\n"
        "    try: session.sendmail(sys.argv[1], sys.argv[2:], sys.stdin.buffer.read()); print(250)\n"
        "    except smtplib.SMTPResponseException as exc: print(exc.smtp_code, exc.smtp_error.decode())\n"
        "    except smtplib.SMTPRecipientsRefused as exc: print(exc.recipients[sys.argv[2]][0], exc.recipients[sys.argv[2]][1].decode())\n"
    )
    python = lab.commands["python"]
    arguments = " ".join(map(shlex.quote, (program, sender, message["To"])))
    said = lab.run(f"printf %s {shlex.quote(message.as_string())} | {python} -c {arguments}")
    return int(said.split()[0]), said.strip()


def not_ours(lab: Lab, message: Any, what: str) -> None:
    """See that a message which claims to be from a user is not at the strict receiver, or does not pass there."""
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "HEADER", "Message-ID", f'"{message["Message-ID"]}"')
        if found[0]:
            raise CheckFailed(f"{what} is at the strict receiver: {authentication(find(box, message['Message-ID']))}")


@registry.check("host-senders")
def host_senders(lab: Lab) -> str:
    """A program on the host sends as its own account. As a user, or as whom another account is granted, it is refused by sendmail and by
    port 25, in the envelope and in the From header, and told so."""
    recipient, user, own = lab.bigmail["user"], lab.account()[0], f"nobody@{lab.fqdn}"
    message = lab.message(own, recipient)
    if refusal := from_host(lab, "nobody", own, message):
        raise CheckFailed(f"nobody may not send as {own}: {refusal}")
    arrived = lab.at_bigmail(message["Message-ID"])
    if returns_to(arrived) != own or authentication(arrived).get("spf") != "pass":
        raise CheckFailed(f"it came from <{returns_to(arrived)}>: {authentication(arrived)}")
    said, forged = [], []
    # Smtpd does not tell its filter whose program it is.
    granted = [address for account, addresses in lab.host_senders.items() for address in addresses if lab.mta.knows_accounts]
    for sender in (user, lab.detailed(user), *granted):
        message = lab.message(sender, recipient)
        refusal = from_host(lab, "nobody", sender, message)
        if not refusal:
            raise CheckFailed(f"nobody sent as {sender} with sendmail")
        said.append(refusal)
        forged.append(message)
    for sender, header in ((user, user), ("", user), (own, user), (f"postmaster@{lab.domains[0]}", user)):
        message = lab.message(header, recipient)
        code, reply = by_loopback(lab, sender, message)
        if not 500 <= code <= 599:
            raise CheckFailed(f"a program sent from <{sender}>, From: {header}, by port 25: {reply}")
        said.append(reply)
        forged.append(message)
    # A message that may leave, to the same receiver and after all of them: when it is there, so would they be.
    last = lab.message(own, recipient)
    from_host(lab, "nobody", own, last)
    lab.at_bigmail(last["Message-ID"])
    for message in forged:
        not_ours(lab, message, f"what claims to be from {message['From']}")
    return "; ".join(said)


@registry.check("out-signature")
def out_signature(lab: Lab) -> str:
    """The signature on what the strict receiver got verifies with dkimpy against the published record."""
    user = lab.account()[0]
    message = lab.message(user, lab.bigmail["user"])
    lab.submit(message)
    verifier = verified(lab, as_received(lab, message["Message-ID"]))
    return f"d={verifier.domain.decode()} s={verifier.selector.decode()}"


def as_received(lab: Lab, value: str, header: str = "Message-ID") -> bytes:
    """Wait for a message at the strict receiver, by the value of one of its headers, and return its octets."""
    end = time.monotonic() + PATIENCE
    with lab.big() as box:
        while True:
            box.select("INBOX")
            _status, found = box.uid("search", "HEADER", header, f'"{value}"')
            if found[0]:
                return box.uid("fetch", found[0].split()[-1].decode(), "(BODY.PEEK[])")[1][0][1]
            if time.monotonic() > end:
                queue = lab.run(lab.mta.list, check=False)
                raise CheckFailed(f"no message with {header} {value} at the strict receiver; our queue:\n{queue}")
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for


def verified(lab: Lab, octets: bytes) -> dkim.DKIM:
    """Return dkimpy's verifier of a message whose signature verifies, and signs what it should."""
    verifier = dkim.DKIM(octets, minkey=2048)
    if not verifier.verify(dnsfunc=lambda name, timeout=5: (lab.texts(name.decode().rstrip("."))[:1] or [""])[0].encode()):
        raise CheckFailed("dkimpy does not verify the signature")
    signed = {name.decode().lower() for name in verifier.include_headers}
    if not {"from", "subject", "to", "date", "message-id"} <= signed:
        raise CheckFailed(f"only {sorted(signed)} are signed")
    return verifier


@registry.check("missing-fields")
def missing_fields(lab: Lab) -> str:
    """What a user or a program of the host sends without Date, Message-ID or From gets them, under our signature, and the domain of the
    Message-ID has an address. To what comes from outside nothing is added."""
    user, recipient, said = lab.account()[0], lab.bigmail["user"], []

    def plain(token: str, target: str) -> bytes:
        return f"To: <{target}>\r\nSubject: {token}\r\n\r\nThe toner is low.\r\n".encode()

    def complete(token: str, sender: str) -> None:
        octets = as_received(lab, token, "Subject")
        verified(lab, octets)
        message = email.message_from_bytes(octets, policy=email.policy.default)
        domain = str(message["Message-ID"]).strip().strip("<>").rpartition("@")[2]
        if sender not in str(message["From"]) or abs(message["Date"].datetime.timestamp() - time.time()) > 3600:
            raise CheckFailed(f"From: {message['From']}, Date: {message['Date']}")
        try:
            socket.getaddrinfo(domain, None)
        except OSError as exc:
            raise CheckFailed(f"Message-ID: {message['Message-ID']}: {exc}") from exc
        said.append(str(message["Message-ID"]))

    for port, tls in ((587, "starttls"), (465, "wrapped")):
        token = secrets.token_hex(8)
        with lab.smtp(port, tls) as session:
            session.login(*lab.account())
            checks.accepted(*session.send(user, [recipient], plain(token, recipient)), f"a message without Date by port {port}")
        complete(token, user)
    token, role = secrets.token_hex(8), f"postmaster@{lab.domains[0]}"
    text = plain(token, recipient).decode().replace("\r\n", "\n")
    lab.run(f"printf %s {shlex.quote(text)} | sendmail -f {shlex.quote(role)} {shlex.quote(recipient)}")
    complete(token, role)
    token = secrets.token_hex(8)
    foreign = f"outside@{lab.helo}"
    code, reply = send_from(lab, f"From: {foreign}\r\n".encode() + plain(token, user), foreign, "198.51.100.1", lab.helo)
    checks.accepted(code, reply, "a message from outside without Date")
    arrived = in_any_folder(lab, token)
    added = [name for name in ("Date", "Message-ID") if arrived[name]]
    if added:
        raise CheckFailed(f"a message from outside has got {', '.join(f'{name}: {arrived[name]}' for name in added)}")
    return ", ".join(said)


def in_any_folder(lab: Lab, subject: str) -> Any:
    """Wait for a message with this subject in the inbox or Junk of the first account, and return it."""
    end = time.monotonic() + PATIENCE
    with lab.imap() as box:
        while time.monotonic() < end:
            for folder in ("INBOX", "Junk"):
                if box.select(folder, readonly=True)[0] == "OK" and (found := box.uid("search", "HEADER", "Subject", f'"{subject}"')[1][0]):
                    data = box.uid("fetch", found.split()[-1].decode(), "(BODY.PEEK[])")[1][0][1]
                    return email.message_from_bytes(data, policy=email.policy.default)
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for
    raise CheckFailed(f"no message with the subject {subject} has arrived")


@registry.check("envelope-without-brackets")
def envelope_without_brackets(lab: Lab) -> str:
    """A scanner that writes addresses of the envelope without their brackets can send what it scans, once it has logged in."""
    user, other = lab.account()[0], lab.account(1)
    message = lab.message(user, other[0])
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        for command in (f"MAIL FROM: {user}", f"RCPT TO: {other[0]}"):
            checks.accepted(*session.command(command), command)
        code, reply = session.command("DATA")
        if code != 354:
            raise CheckFailed(f"DATA was answered with {code} {reply}")
        session.raw(message.as_bytes().replace(b"\n", b"\r\n") + b".\r\n")
        checks.accepted(*session.reply(), "a message")
    lab.find(message["Message-ID"], other)
    return f"MAIL FROM: {user}"


@registry.check("long-lines")
def long_lines(lab: Lab) -> str:
    """Lines of more than 998 octets arrive at the strict receiver under a valid signature, and with the content that they had; where
    somebody has signed them they are refused, and the reason given."""
    user, recipient, said = lab.account()[0], lab.bigmail["user"], []
    page = "<p>" + "caf\u00e9 = 3 \u20ac. " * 400 + "</p>\n.\nFrom here \n" + "x" * 3000 + "\n"
    scan_of = secrets.token_bytes(45_000)
    attached = base64.b64encode(scan_of).decode()
    boundary = secrets.token_hex(8)
    parts = (f'--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{{page}}'
             f'--{boundary}\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{attached}\r\n--{boundary}--\r\n')
    everybody = ", ".join(f"Number {number} <n{number}@{lab.domains[0]}>" for number in range(60))
    bodies = {
        "alone": "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{page}",
        "plain": "\r\n{page}",
        "attached": f'Cc: {everybody}\r\nContent-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n{parts}',
        "signed": f'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="{boundary}"\r\n\r\n{parts}',
    }
    for what, body in bodies.items():
        message_id = f"<{secrets.token_hex(8)}@{lab.domains[0]}>"
        head = (f"From: {user}\r\nTo: {recipient}\r\nSubject: {what}\r\nDate: {email.utils.formatdate()}\r\nMessage-ID: {message_id}\r\n"
                + ("" if what == "plain" else "MIME-Version: 1.0\r\n"))
        text = head + body.replace("{page}", page.replace("\n", "\r\n"))
        with lab.smtp(587, "starttls") as session:
            session.login(*lab.account())
            code, reply = session.send(user, [recipient], text.encode())
        if what == "signed":
            if "998" not in checks.refused(code, reply, "a long line in what somebody has signed"):
                raise CheckFailed(f"a long line in what somebody has signed is refused with {code} {reply}")
            continue
        checks.accepted(code, reply, f"a message with long lines ({what})")
        octets = as_received(lab, message_id)
        verified(lab, octets)
        longest = max(map(len, octets.split(b"\r\n")))
        message = email.message_from_bytes(octets, policy=email.policy.default)
        found = {part.get_content_type(): part for part in message.walk()}
        shown = next(found[kind] for kind in ("text/html", "text/plain") if kind in found).get_payload(decode=True)
        # What ends the last line of a part belongs to the boundary behind it (RFC 2046 section 5.1.1).
        whole = page.removesuffix("\n" if what == "attached" else "").encode()
        if longest > 998 or shown.replace(b"\r\n", b"\n") != whole:
            raise CheckFailed(f"{what}: the longest line has {longest} octets; {shown[:60]!r}... {shown[-60:]!r}")
        if what == "attached":
            content, copies = found["application/pdf"].get_content(), " ".join(str(message["Cc"]).split())
            if content != scan_of or copies != everybody:
                raise CheckFailed(f"an attachment of one line came as {len(content)} octets; Cc: {copies}")
        said.append(f"{what}: {longest}")
    return ", ".join(said) + f"; signed: {code} {reply}"


def elsewhere(lab: Lab) -> Lab:
    """The strict receiver as a server that one of its users sends from."""
    return dataclasses.replace(lab, fqdn=lab.bigmail["host"], accounts=[(lab.bigmail["user"], lab.bigmail["password"])],
                               addresses={"ipv4": [socket.gethostbyname(lab.bigmail["host"])], "ipv6": []})


def inward(lab: Lab, family: str) -> str:
    user = lab.account()[0]
    message = lab.message(f"outside@{lab.helo}", user)
    lab.deliver(message, user, address=lab.address(family))
    return str(lab.find(message["Message-ID"])["Received"]).replace("\n", " ")


@registry.check("in-ipv4")
def in_ipv4(lab: Lab) -> str:
    """Mail from outside reaches the mailbox over IPv4."""
    return inward(lab, "ipv4")


@registry.check("in-ipv6")
def in_ipv6(lab: Lab) -> str:
    """Mail from outside reaches the mailbox over IPv6."""
    return inward(lab, "ipv6")


@registry.check("in-from-bigmail")
def in_from_bigmail(lab: Lab) -> str:
    """Mail that a user of the other, independent server sends reaches the inbox, and is found to be authentic."""
    user = lab.account()[0]
    message = lab.message(lab.bigmail["user"], user)
    elsewhere(lab).submit(message)
    arrived = lab.find(message["Message-ID"], within=PATIENCE)
    found = authentication(arrived)
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
        raise CheckFailed(f"{found}: {arrived.get_all('Authentication-Results')}")
    return str(arrived["Authentication-Results"]).replace("\n", " ")


@registry.check("forged-headers")
def forged_headers(lab: Lab) -> str:
    """What anybody, a stranger, a user who has logged in or a program on the host, claims about authentication and spam in headers of our
    kind does not reach the reader, however it is written; nor does it say where a message is filed."""
    user, other = lab.account(), lab.account(1)
    claim = f"claim-{secrets.token_hex(4)}"
    names = ("X-Spam", "X-Spam-Flag", "X-Spam-Status", "x-spam-LEVEL", "X-Spam-Anything", "X-Spamd-Bar", "X-Spamd-Result", "X-Rspamd-Act")
    results = (f"{lab.fqdn}; dkim=pass header.d={claim}", f"{lab.fqdn.upper()} 1; spf=pass {claim}", f'({claim}) "{lab.fqdn}"; dmarc=pass',
               f"\r\n {lab.fqdn}; spf=pass {claim}", f"other.test; spf=pass {claim}")

    def forged(author: str, verdict: str) -> tuple[str, bytes]:
        message = lab.message(author, user[0])
        lines = [f"{name}: {verdict} {claim}" for name in (*names, *names[:2])] + [f"Authentication-Results: {value}" for value in results]
        text = "\r\n".join(lines).encode() + b"\r\n" + message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return message["Message-ID"], text

    found = {}
    stranger, text = forged(f"outside@{lab.helo}", "No,")  # another word would count against it
    with lab.smtp(25, "starttls") as session:
        found[stranger] = session.send(f"outside@{lab.helo}", [user[0]], f"X-Postmaster-Mail-Script: {claim}\r\n".encode() + text)
    for verdict in ("Yes,", "No,"):
        theirs, text = forged(other[0], verdict)
        with lab.smtp(587, "starttls") as session:
            session.login(*other)
            found[theirs] = session.send(other[0], [user[0]], text)
        own, text = forged(f"root@{lab.fqdn}", verdict)
        # As programs write it, without a recipient, which the filter holds against it already.
        plain = re.sub(r"(?m)^To: .*\n", "", text.replace(b"\r\n", b"\n").decode())
        lab.run(f"printf %s {shlex.quote(plain)} | sendmail -f {shlex.quote(f'root@{lab.fqdn}')} {shlex.quote(user[0])}")
        found[own] = (250, "")
    headers = 0
    for message_id, (code, reply) in found.items():
        checks.accepted(code, reply, f"a message {message_id} with forged headers")
        arrived = lab.find(message_id)
        headers += len(arrived.items())
        told = [f"{name}: {value}" for name, value in arrived.items() if claim in str(value)]
        if told:
            raise CheckFailed(f"reached the reader of {message_id}, from {arrived['From']}: {told}")
    return f"{headers} headers of {len(found)} messages in the inbox, none of the forged ones"


def with_author(message: Any, author: str, extra: bytes = b"") -> bytes:
    """Return a message with this text in From, as it is written, and with further header lines."""
    return extra + re.sub(rb"(?m)^From: .*$", b"From: " + author.encode(), message.as_bytes(), count=1)


def send_from(lab: Lab, content: bytes, sender: str, client: str, greeting: str, *recipients: str) -> tuple[int, str]:
    """Send a message, to the first account if nobody is named, as another server, again if it is to come later; return the last answer."""
    for _attempt in (1, 2):
        with dataclasses.replace(lab, helo=greeting).smtp(source=client) as session:
            code, reply = session.send(sender, recipients or [lab.account()[0]], content)
        if not 400 <= code <= 499:
            break
        lab.run(lab.commands["greylist_later"])
    return code, reply


@registry.check("forged-from")
def forged_from(lab: Lab) -> str:
    """Mail from outside whose From is a domain of ours, or below one, or one of several addresses, and mail that fails a DMARC policy of
    quarantine or reject, does not reach the inbox: it lands in Junk, or is refused where mail_filter says so, as a policy of reject asks.
    What a mailing list passes on that is authenticated itself goes by its score, as does a domain in test, and what somebody has sealed
    whom mail_filter trusts."""
    if not lab.update:
        raise CheckSkipped("needs a zone that can be changed")
    refuses = lab.filter.get("dmarc", "junk") == "reject"
    user, ours = lab.account()[0], lab.account()[0].partition("@")[2]
    lab.update("shop.test", *((f"_dmarc.{name}.shop.test", "TXT", f'"v=DMARC1; p=quarantine; {tag}"')
                              for name, tag in (("testing", "t=y"), ("seldom", "pct=1"))))
    good, bad = ("198.51.100.1", "client.test"), ("198.51.100.8", "listed.client.test")
    lists = b"List-Id: A list <list.client.test>\r\nList-Post: <mailto:list@client.test>\r\n"
    outside = f"outside@{lab.helo}"
    said = []

    def expect(
        author: str, outcome: str, sender: str = outside, client: tuple[str, str] = good, extra: bytes = b"", sealed: str = ""
    ) -> None:
        message = lab.message(f"x@{client[1]}", user)
        content = with_author(message, author, extra)
        code, reply = send_from(lab, seal(lab, content, sealed) if sealed else content, sender, *client)
        what = f"From: {author}, from <{sender}> by {client[1]}, {sealed or extra.decode().strip()}"
        if outcome == "refused":
            if code not in (550, 554) or "5.7.1" not in reply:
                raise CheckFailed(f"{what} was answered with {code} {reply}")
        else:
            checks.accepted(code, reply, what)
            try:
                lab.find(message["Message-ID"], folder=outcome)
            except CheckFailed as exc:
                raise CheckFailed(f"{what}: {exc}") from None
        said.append(f"{author} {'by a list' if extra else ''}{sealed}: {outcome}")

    forged = "refused" if refuses else "Junk"
    for author in ("somebody@{ours}", "SOMEBODY@{OURS}", "x@nowhere.{ours}", "root@{fqdn}", "a+b@client.test>, <x@{ours}"):
        expect(f"<{author.format(ours=ours, OURS=ours.upper(), fqdn=lab.fqdn)}>", forged)
    expect(f"<{user}>", forged, sender=user)
    expect("<x@client.test>", forged, sender="x@ns.test", client=bad)
    expect("<x@bigmail.test>", forged)
    # Nobody asks for more than that here. Of several, Rspamd looks for no policy, or for that of the first one only.
    for author in ("<x@seldom.shop.test>", "<x@bigmail.test>, <y@bigmail.test>", "<a+b@client.test>, <x@bigmail.test>", "nobody",
                   "<x@bücher.client.test>"):
        expect(author, "Junk")
    # Another Rspamd may read these and find that they are ours.
    for author in () if refuses else (f"{user};", user.replace("@", "@ "), f"a:{user};"):
        expect(author, "Junk")
    expect("<x@testing.shop.test>", "INBOX")
    expect(f"<{user}>", "INBOX", extra=lists)
    expect("<x@bigmail.test>", "INBOX", extra=lists)
    # Of another domain than the list's, or of nobody's at all.
    expect(f"<{user}>", forged, extra=lists.replace(b"client.test", b"bigmail.test"))
    expect(f"<{user}>", forged, extra=lists.partition(b"\r\n")[0] + b"\r\n")
    expect(f"<{user}>", forged, sender="x@ns.test", client=bad, extra=lists)
    # Sealed, whom nobody else vouches for.
    trusted = "client.test" in lab.filter.get("arc_sealers", [])
    expect(f"<{user}>", "INBOX" if trusted else forged, sender="x@ns.test", client=bad, sealed="dmarc=pass")
    expect("<x@bigmail.test>", "INBOX" if trusted else forged, sender="x@ns.test", client=bad, sealed="dmarc=pass")
    expect("<x@bigmail.test>", forged, sender="x@ns.test", client=bad, sealed="dmarc=fail")
    return "; ".join(said)


@registry.check("neighbour")
def neighbour(lab: Lab) -> str:
    """A neighbour of the host, whose link-local address Rspamd takes for one of the host's own, gets no signature of ours for what programs
    of the host may write, and that does not reach the inbox."""
    author = f"postmaster@{lab.domains[0]}"
    message = lab.message(author, lab.account()[0])
    text = shlex.quote(message.as_bytes().decode())

    def scanned(address: str) -> str:
        return lab.run(f"printf %s {text} | rspamc -h /var/run/rspamd/learn.sock --ip {shlex.quote(address)} --from root@{lab.fqdn} "
                       f"--rcpt {lab.account()[0]}")

    if "Symbol: DKIM_SIGNED" not in scanned("127.0.0.1"):
        raise CheckFailed(f"what root of the host sends as {author} is not signed")
    for address in ("fe80::1", "fec0::1"):
        found = scanned(address)
        if "Symbol: DKIM_SIGNED" in found:
            raise CheckFailed(f"what {address} sends as {author} is signed: {found}")
        if lab.filter.get("dmarc") != "score" and not re.search("^Action: (add header|reject)", found, re.MULTILINE):
            raise CheckFailed(f"what {address} sends as {author} goes to the inbox: {found}")
    return f"{author} from root of the host is signed, from fe80::1 and fec0::1 is not"


def seal(lab: Lab, content: bytes, found: str) -> bytes:
    """Return a message sealed by ``client.test`` (RFC 8617), which has found this."""
    with open(lab.client_key, "rb") as key:
        results = b"Authentication-Results: lists.client.test; %s header.from=x\r\n" % found.encode()
        text = results + content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        names = [b"from", b"to", b"subject", b"date", b"message-id"]
        return b"".join(dkim.arc_sign(text, b"testnet", b"client.test", key.read(), b"lists.client.test", include_headers=names)) + text


@registry.check("from-read-alike")
def from_read_alike(lab: Lab) -> str:
    """A message has one From, and the filter reads the one that people see: another one, also one that is hidden by its line ends or by
    white space before its colon, is refused, from strangers and users alike; so are control characters among the headers."""
    (user, password), stranger, other = lab.account(), f"outside@{lab.helo}", lab.account(1)[0]
    said = []

    def answer(sender: str, text: bytes) -> tuple[int, str]:
        with lab.smtp(587 if sender == user else 25, "starttls") as session:
            if sender == user:
                session.login(user, password)
            return session.send(sender, [user], text)

    def crlf(message: Any) -> bytes:
        return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def alone(sender: str, message: Any, field: bytes) -> None:
        arrived = lab.find(message["Message-ID"])
        if arrived.get_all("From") != [sender]:
            raise CheckFailed(f"with {field!r}, from {sender}, there arrived {arrived.items()}")

    more = b"From: " + other.encode()
    for sender in (stranger, user):
        for field in (more, more.lower(), b"From:\r\n " + other.encode(), b"From : " + other.encode(), b"From\t:" + other.encode(),
                      b"X-One: 1\r" + more, b"X-One: 1\r\r" + more, b"X-One: 1\r\r\n" + more, b"X-One: a\x01b"):
            message = lab.message(sender, user)
            code, reply = answer(sender, crlf(message).replace(b"\r\nTo:", b"\r\n" + field + b"\r\nTo:", 1))
            # Or the line end becomes a blank, so that there is no second field.
            if code == 250 and field.startswith(b"X-One: 1\r"):
                alone(sender, message, field)
            else:
                said.append(checks.refused(code, reply, f"{field!r} beside the From of {sender}"))
        message = lab.message(sender, user)
        # Not the first line: one that begins with "From " there is a mailbox's, for some.
        code, reply = answer(sender, (b"X-One: 1\r\n" + crlf(message)).replace(b"\r\nFrom:", b"\r\nFrom :"))
        checks.accepted(code, reply, f"From with white space before the colon, of {sender},")
        alone(sender, message, b"From :")
    text = (b"X-One: 1\r\n" + crlf(lab.message(other, user))).replace(b"\r\nFrom:", b"\r\nFrom :")
    checks.refused(*answer(user, text), f"{user} writing 'From : {other}'")
    return said[0]


def junk_of(lab: Lab, author: str, *recipients: str) -> tuple[str, bytes]:
    """Return the Message-ID and the text of a message that the filter takes for junk, whoever sends it."""
    mark = secrets.token_hex(8)
    subject = f"YOU HAVE WON A PRIZE CLAIM NOW {mark.upper()}!!!"
    message = lab.message(author, ", ".join(recipients), Subject=subject, Reply_To="x@y.example")
    # Greylisting remembers a text as well.
    link = f'<a href="http://198.51.100.99/{mark}">http://www.paypal.com/login</a>'
    message.set_content(f"<html><body>{mark} {link}</body></html>", subtype="html")
    return message["Message-ID"], message.as_bytes()


@registry.check("sender-lists")
def sender_lists(lab: Lab) -> str:
    """Who is allowed is delivered to the inbox at once, whatever the filter thinks of the message, but only if SPF or DKIM passes; who is
    blocked is refused, in the envelope and in From, and so is what is below a domain that is blocked."""
    if not {"friend@client.test"} <= set(lab.filter.get("allow", [])) or not {"foe@client.test", "foes.test"} <= set(lab.filter["block"]):
        raise CheckSkipped("the inventory allows and blocks nobody")
    # With a detail that greylisting has not seen.
    user, friend = lab.account()[0], f"friend+{secrets.token_hex(4)}@client.test"
    foe, outside = "foe@client.test", f"outside@{lab.helo}"
    good, bad = ("198.51.100.1", "client.test"), ("198.51.100.8", "listed.client.test")

    token, content = junk_of(lab, friend, user)
    with lab.smtp(source=good[0]) as session:
        checks.accepted(*session.send(friend, [user], content), f"a message of {friend}, who is allowed,")
    lab.find(token)
    said = ""
    # The second has no DMARC policy that would keep it out of the inbox.
    for author, sender, client in ((friend, "x@ns.test", bad), ("forged@ns.test", outside, good)):
        token, content = junk_of(lab, author, user)
        code, reply = send_from(lab, content, sender, *client)
        if code == 250:
            lab.find(token, folder="Junk")
        elif code < 500:
            raise CheckFailed(f"a forged message of {author} was answered with {code} {reply}")
        said += f"forged {author}: {code} {reply}; "
    for author, sender in ((foe, foe), (foe, outside), (outside, foe), ("x@sub.foes.test", outside), (foe.replace("@", "+a@"), outside)):
        code, reply = send_from(lab, lab.message(author, user).as_bytes(), sender, *good)
        if code not in (550, 554) or "5.7.1" not in reply:
            raise CheckFailed(f"a message from <{sender}>, From: {author}, was answered with {code} {reply}")
        said += f"{author}: {code} {reply}; "
    return said


@registry.check("users-sender-lists")
def users_sender_lists(lab: Lab) -> str:
    """Whom a user allows is never junk to that user, if SPF or DKIM passes, and whom a user blocks always is; others get the same message
    as the filter sees it."""
    (user, _), other = lab.accounts[0], lab.accounts[1]
    allow, block = lab.lists.get(user, ([], []))
    if not {"pal@client.test", "pals.test"} <= set(allow) or not {"pest@client.test", "foe@pals.test", "pests.test"} <= set(block):
        raise CheckSkipped("the inventory has no user who allows and blocks these senders")
    good, bad = ("198.51.100.1", "client.test"), ("198.51.100.8", "listed.client.test")
    pal = f"pal+{secrets.token_hex(4)}@client.test"
    token, content = junk_of(lab, pal, user, other[0])
    checks.accepted(*send_from(lab, content, pal, *good, user, other[0]), f"a message of {pal}")
    lab.find(token)
    lab.find(token, other, folder="Junk")
    # Whoever writes the header of the filter's into a message proves nothing by it.
    token, content = junk_of(lab, pal, user)
    code, reply = send_from(lab, b"X-Rspamd-Author: client.test\r\n" + content, "x@ns.test", *bad)
    if code == 250:
        lab.find(token, folder="Junk")
    elif code < 500:
        raise CheckFailed(f"a forged message of {pal} was answered with {code} {reply}")
    # In From, with a detail, below a domain, in an allowed domain, and in the envelope.
    for author, sender in (("pest@client.test", ""), ("Pest+a@client.test", ""), ("x@sub.pests.test", ""), ("foe@pals.test", ""),
                           (f"outside@{lab.helo}", "pest+b@client.test")):  # fmt: skip
        message = lab.message(author, f"{user}, {other[0]}")
        answer = send_from(lab, message.as_bytes(), sender or f"outside@{lab.helo}", *good, user, other[0])
        checks.accepted(*answer, f"a message of {author}")
        lab.find(message["Message-ID"], folder="Junk")
        if author.endswith(lab.helo):  # others have a policy, or are in a domain that does not exist
            lab.find(message["Message-ID"], other)
    return f"{pal}: inbox of {user}, Junk of {other[0]}; forged: {code} {reply}"


@registry.check("sender-lists-by-command")
def sender_lists_by_command(lab: Lab) -> str:
    """What was taken for junk, or refused, by mistake arrives when it is sent again, once the command postmaster-mail allows its sender;
    whom the command blocks is refused from the next message on, by address, by domain and by network, until it is let in again."""
    user, said = lab.account()[0], []
    friend, good = f"{secrets.token_hex(4)}@client.test", ("198.51.100.1", "client.test")

    def answer(content: bytes, author: str = friend) -> tuple[int, str]:
        return send_from(lab, content, author, *good)

    token, content = junk_of(lab, friend, user)
    before = answer(content)
    if before[0] == 250:
        lab.find(token, folder="Junk")
    elif "Too many" in before[1]:
        raise CheckFailed(f"junk was answered with {before}")
    for command, plain in (("allow", friend), ("block", friend), ("block", "client.test"), ("block", "198.51.100.0/29")):
        lab.run(f"postmaster-mail {command} {plain}")
        try:
            token, content = junk_of(lab, friend, user)
            code, reply = answer(content if command == "allow" else lab.message(friend, user).as_bytes())
            if command == "allow":
                checks.accepted(code, reply, f"a message of {friend}, who is allowed by command,")
                lab.find(token)
            elif code not in (550, 554) or "5.7.1" not in reply:
                raise CheckFailed(f"{plain} is blocked by command, and its mail was answered with {code} {reply}")
            said.append(f"{command} {plain}: {code} {reply}")
        finally:
            lab.run(f"postmaster-mail {command} --remove {plain}")
    message = lab.message(friend, user)
    code, reply = answer(message.as_bytes())
    if code // 100 == 5:
        raise CheckFailed(f"{friend} is blocked no more, and its mail was answered with {code} {reply}")
    return f"at first {before[0]} {before[1]}; {'; '.join(said)}; then {code}"


def alias_to(lab: Lab, *targets: str, otherwise: str = "") -> str:
    """Return the alias that leads to these and to nobody else."""
    alias = next((name for name, found in lab.aliases.items() if set(found) == set(targets)), otherwise)
    if not alias:
        raise CheckSkipped(f"no alias leads to {' and '.join(targets)}")
    return alias


@registry.check("dane")
def dane(lab: Lab) -> str:
    """A destination whose TLSA record does not match its certificate gets no mail, forwarded or not, until it does (RFC 7672)."""
    if not lab.update:
        raise CheckSkipped("needs a zone that can be changed")
    name, domain = "mx-bad.shop.test", "shop.test"
    address = socket.gethostbyname(lab.bigmail["host"])
    lab.update(domain, (name, "A", address), (domain, "MX", f"10 {name}."), (f"_25._tcp.{name}", "TLSA", "3 1 1 " + "00" * 32))
    user, target, said = lab.account()[0], f"tlsa@{domain}", ""
    for recipient in {target, alias_to(lab, target, otherwise=target)}:
        lab.submit(lab.message(user, recipient))
        end = time.monotonic() + PATIENCE
        while not ((found := lab.waiting(target)) and found.reason):
            if time.monotonic() > end:
                raise CheckFailed(f"the message to {recipient} was not deferred")
            time.sleep(0.5)  # the queue has no event to wait for
        lab.run(lab.mta.remove.format(id=found.id))
        said = found.reason
        if not re.search(r"(?i)not trusted|Server certificate not verified|DANE", said):
            raise CheckFailed(f"the message to {recipient} was deferred for another reason: {said}")
    return said


def connections_at_once(log: str, clients: Iterable[str], messages: set[str]) -> int:
    """How many connections from these addresses that carried one of these messages were open at the same time, by the log of a Postfix.

    One may have been opened earlier, for another message, and serve again.
    """
    current: dict[str, int] = {}  # process to its connection
    carries: dict[str, int] = {}  # queue id to the connection that it came over
    spans: dict[int, list[int]] = {}  # connection to the lines of its begin and end
    ours: set[int] = set()
    client = "|".join(map(re.escape, clients))
    for number, line in enumerate(log.splitlines()):
        if event := re.search(rf"/smtpd\[(\d+)\]: (connect|disconnect) from \S+\[(?:{client})\]", line):
            if event[2] == "connect":
                current[event[1]] = number
                spans[number] = [number, sys.maxsize]
            elif event[1] in current:
                spans[current.pop(event[1])][1] = number
        elif event := re.search(rf"/smtpd\[(\d+)\]: (\w+): client=\S+\[(?:{client})\]", line):
            if event[1] in current:
                carries[event[2]] = current[event[1]]
        elif (event := re.search(r"/cleanup\[\d+\]: (\w+): message-id=(\S+)", line)) and event[2] in messages and event[1] in carries:
            ours.add(carries[event[1]])
    return max((sum(spans[other][0] <= spans[one][0] < spans[other][1] for other in ours) for one in ours), default=0)


@contextlib.contextmanager
def unencrypted(lab: Lab) -> Iterator[None]:
    """The strict receiver without STARTTLS for this server alone, and for a while. What TLSA records are about does not get there then."""
    ours = ", ".join(f"{{{address} starttls}}" for _family, address in lab.every_address())
    setting = "smtpd_discard_ehlo_keyword_address_maps"
    # Other servers of this network may be checked at the same time: each has its turn.
    with open(f"{os.environ['POSTMASTER_MAIL_TESTNET']}/unencrypted", "w", encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        lab.run(f"postconf -e '{setting}=cidr:{{{ours}}}' && postfix reload", on=lab.receiver)
        try:
            yield
        finally:
            lab.run(f"postconf -X {setting} && postfix reload", on=lab.receiver)


def sent_slowly(lab: Lab, slow: dict[str, Any], recipients: list[str], overtaken: bool = True) -> str:
    """Send one message to each of these recipients, which a slow provider has, and measure what arrives at the strict receiver.

    :param overtaken: whether another destination there is to get a message before the last of them
    """
    user = lab.account()[0]
    messages = [lab.message(user, recipient) for recipient in recipients]
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        for message in messages:
            checks.accepted(*session.send(user, [message["To"]], message.as_bytes()), f"a message to {message['To']}")
    if overtaken:
        # To the same receiver, as a domain that nobody called slow.
        other = lab.message(user, lab.bigmail["user"])
        lab.submit(other)
        lab.at_bigmail(other["Message-ID"], within=PATIENCE)
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "HEADER", "Message-ID", f'"{messages[-1]["Message-ID"]}"')
        if overtaken and found[0]:
            raise CheckFailed(f"the last of {len(messages)} messages was there before another destination's")
        arrived = [find(box, message["Message-ID"], within=PATIENCE) for message in messages]
    times = sorted(email.utils.parsedate_to_datetime(message.get_all("Received")[0].rpartition(";")[2].strip()) for message in arrived)
    took = (times[-1] - times[0]).total_seconds()
    if took < slow["delay"] * (len(messages) - 1) - 1:  # the receiver writes whole seconds
        raise CheckFailed(f"{len(messages)} messages arrived within {took:g} s; one every {slow['delay']} s is declared")
    clients = [address for _family, address in lab.every_address()]
    most = connections_at_once(lab.run("cat /var/log/mail.log", on=lab.receiver), clients, {message["Message-ID"] for message in messages})
    if not 1 <= most <= slow["connections"]:
        raise CheckFailed(f"up to {most} connections at once; {slow['connections']} are declared")
    return f"{len(messages)} messages in {took:g} s over {most} connection at a time{', another one before their end' if overtaken else ''}"


def slow_provider_with(lab: Lab, domains: int) -> dict[str, Any]:
    """Return the first slow provider that has so many domains."""
    for slow in lab.slow.values():
        if len(slow["domains"]) >= domains:
            return slow
    raise CheckSkipped(f"the inventory declares no slow destination with {domains} domain{'s' if domains > 1 else ''} here")


@registry.check("slow-destination")
def slow_destination(lab: Lab) -> str:
    """Ten messages to a slow destination, half of them by an alias, leave no faster and over no more connections than declared, and
    hold up nobody else's."""
    slow = slow_provider_with(lab, 1)
    target = f"someone@{slow['domains'][0]}"
    return sent_slowly(lab, slow, [target, alias_to(lab, target, otherwise=target)] * 5)


@registry.check("slow-provider")
def slow_provider(lab: Lab) -> str:
    """Ten messages to several domains of a slow provider, whose mail goes to different hosts, leave no faster and over no more
    connections than declared for all of them together, and hold up nobody else's; not even without TLS, where one could
    be kept open for the next message."""
    slow = slow_provider_with(lab, 2)
    encrypted = sent_slowly(lab, slow, [f"someone@{domain}" for domain in itertools.islice(itertools.cycle(slow["domains"]), 10)])
    with unencrypted(lab):
        twice = [f"someone@{domain}" for domain in slow["domains"][:2] * 2 for _ in range(2)]
        return f"{encrypted}; without TLS {sent_slowly(lab, slow, twice, overtaken=False)}"


@registry.check("slow-by-mx")
def slow_by_mx(lab: Lab) -> str:
    """Messages to a domain of somebody whose mail a slow provider receives leave as slowly as those to the provider's own."""
    slow = next((found for found in lab.slow.values() if found.get("mx")), None)
    if not slow or not lab.update:
        raise CheckSkipped("the inventory declares no slow destination by its MX, or no zone can be changed")
    domain = received_by(lab, "mx." + slow["mx"][0])
    return sent_slowly(lab, slow, [f"someone@{domain}"] * 5, overtaken=False)


def routed(lab: Lab, *hosts: str) -> str:
    """Return a recipient at the strict receiver to whom mail takes these smarthosts, by their names in DNS."""
    named = lab.routes.get("hosts", {})
    for domain, way in lab.routes.get("to", {}).items():
        if tuple(named[name]["host"] for name in ([way] if isinstance(way, str) else way)) == hosts:
            return f"someone@{domain}"
    raise CheckSkipped(f"the inventory declares no route to {', '.join(hosts)}")


def hop(lab: Lab, message: Any) -> str:
    """Return the line that the smarthost has written into a message, or nothing."""
    lines = [" ".join(line.split()) for line in message.get_all("Received")]
    return next((line for line in lines if f" by {lab.smarthost['host']} " in line), "")


def through_the_smarthost(lab: Lab, recipient: str) -> str:
    """Send a message, and see that it took the smarthost; return how, as that wrote it down."""
    message = lab.message(lab.account()[0], recipient)
    lab.submit(message)
    arrived = lab.at_bigmail(message["Message-ID"])
    line = hop(lab, arrived)
    if f"from {lab.fqdn} " not in line:
        raise CheckFailed(f"a message to {recipient} did not take the smarthost: {arrived.get_all('Received')}")
    if "(using TLSv1." not in line or f"(Authenticated sender: {lab.smarthost['user']})" not in line:
        raise CheckFailed(f"a message to {recipient} came to the smarthost without TLS or a log-in: {line}")
    found = authentication(arrived)
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
        raise CheckFailed(f"a message to {recipient} was found {found} behind the smarthost")
    return line


@registry.check("route")
def route(lab: Lab) -> str:
    """Mail for a domain with a route leaves through the smarthost, logged in and over TLS with STARTTLS or at once, and is signed and
    allowed by SPF there, while other mail leaves as ever and local mail stays."""
    recipient = routed(lab, lab.smarthost["host"])
    said = [through_the_smarthost(lab, recipient)]
    at_once = next((domain for domain, way in lab.routes["to"].items()
                    if isinstance(way, str) and way != "direct" and lab.routes["hosts"][way].get("port") == 465), None)
    if at_once:
        said.append(through_the_smarthost(lab, f"someone@{at_once}"))
    user = lab.account()[0]
    message = lab.message(user, lab.bigmail["user"])
    lab.submit(message)
    if line := hop(lab, lab.at_bigmail(message["Message-ID"])):
        raise CheckFailed(f"mail without a route took the smarthost: {line}")
    message = lab.message(user, user)
    lab.submit(message)
    if line := hop(lab, lab.find(message["Message-ID"])):
        raise CheckFailed(f"local mail took the smarthost: {line}")
    return "; ".join(said)


def relay_of(lab: Lab) -> tuple[str, dict[str, str]]:
    """Return a domain that a host of this network relays as, and its addresses by family."""
    for relay in lab.relays.values():
        hosts = {"ipv6" if ":" in host else "ipv4": host for host in relay.get("hosts", ())}
        if hosts:
            return relay["domains"][0], hosts
    raise CheckSkipped("the inventory declares no host that relays")


@registry.check("relay-signs")
def relay_signs(lab: Lab) -> str:
    """What a host that is declared sends by port 25, without a log-in, as the domain that it is declared for arrives at the strict
    receiver, signed by that domain and with Date and Message-ID, though its address has no name and is on a DNSBL; so does a bounce of its.
    Who logs in sends as any address of the domains that he is declared for."""
    domain, hosts = relay_of(lab)
    recipient, said = lab.bigmail["user"], []
    ways = [(family, tls, sender) for family, tls, sender in
            (("ipv4", "", f"Scanner@{domain.upper()}"), ("ipv6", "starttls", f"scanner@{domain}"), ("ipv4", "starttls", ""))
            if family in hosts and lab.addresses.get(family)]  # fmt: skip
    logins = [(relay["login"], name) for relay in lab.relays.values() if relay.get("login") in dict(lab.accounts)
              for name in relay["domains"]]  # fmt: skip
    for family, tls, sender in [*ways, *(("", login, f"shop@{name}") for login, name in logins)]:
        token, author = secrets.token_hex(8), sender or f"mailer-daemon@{domain}"
        content = f"From: {author}\r\nTo: <{recipient}>\r\nSubject: {token}\r\n\r\nThe toner is low.\r\n".encode()
        with (lab.smtp(25, tls, lab.address(family), hosts[family]) if family else lab.smtp(587, "starttls")) as session:
            if not family:
                session.login(tls, dict(lab.accounts)[tls])
            checks.accepted(*session.send(sender, [recipient], content), f"a message from <{sender}>")
        octets = as_received(lab, token, "Subject")
        signer = verified(lab, octets).domain.decode()
        if signer != author.partition("@")[2].lower():
            raise CheckFailed(f"a message from {author} is signed by {signer}")
        found = authentication(email.message_from_bytes(octets, policy=email.policy.default))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise CheckFailed(f"the strict receiver found {found} of a message from <{sender}>, From: {author}")
        said.append(f"<{sender}> d={signer}")
    return ", ".join(said)


@registry.check("relay-closed")
def relay_closed(lab: Lab) -> str:
    """A host that relays does so with its own domain in envelope and From alone: every way of writing a foreign recipient is refused with
    other senders, however these look like its own, and told why; what it writes to users here is taken. From elsewhere nobody relays with
    its senders, whatever he greets with or claims."""
    domain, hosts = relay_of(lab)
    (family, here), user, count = next(iter(hosts.items())), lab.account()[0], 0
    others = [name for name in lab.domains if name != domain and lab.twins.get(name) != domain]
    looks = [lab.foreign, f"outside@{lab.helo}", *([user] if user.partition("@")[2] != domain else []), *(f"x@{name}" for name in others),
             f"x%{domain}@{lab.helo}", f"{domain}!x@{lab.helo}", f'"x@{domain}"@{lab.helo}', f"@{domain}:x@{lab.helo}", f"x@{lab.fqdn}",
             f'"x y"@{domain}', f"x@{lab.helo}@{domain}", f"x@sub.{domain}", f"x@{domain}.{lab.helo}"]  # fmt: skip

    def attempts(source: str | None, pairs: Iterable[tuple[str, str]], greeting: str = "") -> str:
        nonlocal count
        said, waiting = "", list(pairs)
        while waiting:
            with lab.smtp(25, "", lab.address(family), source) as session:
                if greeting:
                    session.command(f"EHLO {greeting}")
                for sender, recipient in waiting[:4]:  # a careful server hangs up after some errors
                    code, said = session.envelope(sender, recipient)
                    if code < 400:
                        raise CheckFailed(f"from {source or 'elsewhere'} <{sender}> to <{recipient}> was answered with {code} {said}")
                    count += 1
                waiting = waiting[4:]
        return said

    every = checks.foreign_recipients(lab)
    attempts(here, ((sender, recipient) for sender in (f"outside@{lab.helo}", lab.foreign) for recipient in every))
    attempts(here, ((sender, lab.foreign) for sender in looks))
    # A route within an address of ours is none, whoever asks.
    attempts(here, ((f"scanner@{domain}", recipient) for recipient in every
                    if recipient.endswith((f"@{lab.domains[0]}", f"@{lab.fqdn}")) and not recipient.startswith("@")))  # fmt: skip
    said = attempts(here, [(f"outside@{lab.helo}", lab.foreign)])
    if "mail_relays" not in said:
        raise CheckFailed(f"a foreign sender was refused without the reason: {said}")
    kind = socket.AF_INET6 if family == "ipv6" else socket.AF_INET
    stranger = str(socket.getaddrinfo("good.client.test", None, kind)[0][4][0])
    for greeting in ("", "relay.client.test", f"[{here}]"):
        attempts(stranger, ((sender, lab.foreign) for sender in (f"scanner@{domain}", f"me@{domain.upper()}")), greeting)
    # Also to domains that are only sent for.
    attempts(stranger, ((f"outside@{lab.helo}", f"postmaster@{name}") for name in lab.elsewhere))
    with lab.smtp(25, "", lab.address(family), stranger) as session:
        code, _reply = session.command(f"XCLIENT ADDR={here}")
        checks.refused(*session.envelope(f"scanner@{domain}", lab.foreign), f"behind XCLIENT, answered with {code},")
    for sender, authors in ((f"scanner@{domain}", [f"x@{lab.helo}"]), (f"scanner@{domain}", [f"x@{others[0]}"]), ("", [f"x@{lab.helo}"]),
                            (f"scanner@{domain}", [f"x@{domain}, x@{lab.helo}"]), (f"scanner@{domain}", [f"x@{domain}", f"x@{lab.helo}"]),
                            (f"scanner@{domain}", [f"x@sub.{domain}"]), ("", [f"x@{domain}.{lab.helo}"])):  # fmt: skip
        content = "".join(f"From: {author}\r\n" for author in authors) + f"To: {lab.foreign}\r\nSubject: x\r\n\r\nx\r\n"
        received = f"Received: from x ([{here}]) by {lab.fqdn} with ESMTP; Thu, 26 Nov 2026 12:00:00 +0000\r\n"
        with lab.smtp(25, "", lab.address(family), here) as session:
            said = checks.refused(*session.send(sender, [lab.foreign], (received + content).encode()), f"<{sender}>, From: {authors}")
        count += 1
    with lab.smtp(25, "", lab.address(family), here) as session:
        checks.accepted(*session.envelope(f"outside@{lab.helo}", user), "a message of a stranger's by the relay to a user")
    return f"{count} attempts refused, the last with {said}"


def deferred(lab: Lab, recipient: str) -> Any:
    """Return what waits for a recipient once the queue says why."""
    end = time.monotonic() + PATIENCE
    while not ((found := lab.waiting(recipient)) and found.reason):
        if time.monotonic() > end:
            raise CheckFailed(f"the message to {recipient} was not deferred")
        time.sleep(0.5)  # the queue has no event to wait for
    return found


@registry.check("route-certificate")
def route_certificate(lab: Lab) -> str:
    """A smarthost whose certificate has another name gets neither mail nor password; and when another one is named for the route, by
    one variable and with the tag routes, what waits leaves through that at once."""
    if not lab.playbook:
        raise CheckSkipped("no playbook to run")
    recipient = routed(lab, f"wrong.{lab.smarthost['host']}")
    # Other hosts of the test network log in there, too.
    ours = "|".join(re.escape(f"[{address}]") for addresses in lab.addresses.values() for address in addresses)
    log = f"grep -cE 'client=.*({ours}), .*sasl_username={lab.smarthost['user']}' /var/log/mail.log || true"
    smarthost = [*lab.receiver[:-1], "root@" + socket.gethostbyname(lab.smarthost["host"])]
    before = lab.run(log, on=smarthost)
    message = lab.message(lab.account()[0], recipient)
    lab.submit(message)
    reason = deferred(lab, recipient).reason
    # smtpd has one word for all that ends a connection.
    if not re.search(r"(?i)certificate not verified|Network error on destination", reason):
        raise CheckFailed(f"the message was deferred for another reason: {reason}")
    if lab.run(log, on=smarthost) != before:
        raise CheckFailed("the server has logged in at the smarthost")
    domain = recipient.partition("@")[2]
    began = time.monotonic()
    try:
        to = {**lab.routes["to"], domain: lab.routes["to"][routed(lab, lab.smarthost["host"]).partition("@")[2]]}
        lab.playbook("--tags", "routes", "-e", json.dumps({"mail_routes": {**lab.routes, "to": to}}), changes=True)
        took = time.monotonic() - began
        if not hop(lab, lab.at_bigmail(message["Message-ID"], within=30)):
            raise CheckFailed("what waited did not take the other smarthost")
    finally:
        lab.playbook("--tags", "routes", changes=True)
    return f"{reason}; then re-routed in {took:.0f} s"


@registry.check("route-fallback")
def route_fallback(lab: Lab) -> str:
    """Where the first smarthost of a route is dead and the certificate of the second has another name, mail leaves through the third at
    once."""
    host = lab.smarthost["host"]
    recipient = routed(lab, f"dead.{host}", f"wrong.{host}", host)
    began = time.monotonic()
    line = through_the_smarthost(lab, recipient)
    took = time.monotonic() - began
    if took > 30:
        raise CheckFailed(f"it took {took:.0f} s: {line}")
    return f"{line}, after {took:.0f} s"


@registry.check("route-secret")
def route_secret(lab: Lab) -> str:
    """The password for the smarthost is in no log of the host, no arguments of a process, no file that others than root and the MTA can
    read, and in nothing that a run shows, also when it changes."""
    if not lab.playbook:
        raise CheckSkipped("no playbook to run")
    through_the_smarthost(lab, routed(lab, lab.smarthost["host"]))
    plain = lab.smarthost["password"]
    secrets_of = [plain, *(base64.b64encode(text.encode()).decode().rstrip("=")
                           for text in (plain, f"\0{lab.smarthost['user']}\0{plain}"))]
    patterns = " ".join(f"-e {shlex.quote(text)}" for text in secrets_of)
    found = lab.run(
        f"grep -rlF {patterns} /var/log 2>/dev/null; journalctl -q --no-pager 2>/dev/null | grep -F {patterns} | head -3;"
        f" find /etc /usr/local /var/lib /var/spool /run /tmp -xdev -type f -perm -o+r -exec grep -lF {patterns} {{}} + 2>/dev/null;"
        f" for line in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $line 2>/dev/null | grep -F {patterns} | grep -v -e grep -e 'sh -c'; done;"
        " true"
    )
    if found.strip():
        raise CheckFailed(f"the password is in {found.strip()}")
    other = f"{plain}-renewed"
    hosts = {name: {**host, **({"password": other} if host.get("password") else {})} for name, host in lab.routes["hosts"].items()}
    ran = lab.playbook("--tags", "routes", "--check", "--diff", "-vvv", "-e", json.dumps({"mail_routes": {**lab.routes, "hosts": hosts}}),
                       changes=True)
    if not ran.get("changed"):
        raise CheckFailed("a run with another password would change nothing")
    # What is on its command line is what this check wrote there.
    if shown := [line for line in ran["output"].splitlines() if plain in line]:
        raise CheckFailed(f"a run shows the password: {shown[0][:300]}")
    return f"{ran['changed']} would change, and the password is not shown"


@registry.check("ipv6-unready")
def ipv6_unready(lab: Lab) -> str:
    """While the reverse name of the IPv6 address leads nowhere, a run does not fail, says so, and mail leaves by IPv4 alone; once it is
    mended, and after another run, by both."""
    if not lab.playbook or not lab.update or not (lab.addresses.get("ipv4") and lab.addresses.get("ipv6")):
        raise CheckSkipped("needs both families, a playbook to run, and a zone that can be changed")
    reverse = ipaddress.ip_address(lab.address("ipv6")).reverse_pointer
    zone = reverse[32:]  # that of a network of 64 bits
    recipient = "someone@ipv6.bigmail.test"
    lab.update(zone, (reverse, "PTR", "unready.client.test."))
    try:
        ran = lab.playbook("--tags", "identity,routes", changes=True)
        if "Mail leaves by IPv4 alone" not in ran["output"]:
            raise CheckFailed("the run does not say that mail leaves by IPv4 alone")
        by_both = lab.message(lab.account()[0], lab.bigmail["user"])
        lab.submit(by_both)
        arrived = next(line for line in lab.at_bigmail(by_both["Message-ID"]).get_all("Received") if lab.fqdn in line)
        if lab.address("ipv4") not in arrived:
            raise CheckFailed(f"mail did not leave by IPv4: {arrived}")
        said = not_out(lab, recipient)
    finally:
        lab.update(zone, (reverse, "PTR", f"{lab.fqdn}."))
        lab.playbook("--tags", "identity,routes", changes=True)
    out(lab, "ipv6")
    return said


def received_by(lab: Lab, host: str, *records: tuple[str, str, str]) -> str:
    """Return a domain whose mail the strict receiver takes under this name, which has further records in that zone."""
    domain, receiver = "hosted.shop.test", lab.bigmail["host"]
    addresses = [("A" if family == socket.AF_INET else "AAAA", found[0])
                 for family, _type, _proto, _name, found in socket.getaddrinfo(receiver, 25, type=socket.SOCK_STREAM)]
    lab.update("shop.test", *((host, kind, address) for kind, address in addresses), (domain, "MX", f"10 {host}."), *records)
    return domain


@registry.check("tls-exceptions")
def tls_exceptions(lab: Lab) -> str:
    """A partner whose TLSA record does not match its certificate gets its mail all the same where mail_outbound excuses its domain."""
    host = "mx-broken.shop.test"
    if not lab.update:
        raise CheckSkipped("needs a zone that can be changed")
    domain = received_by(lab, host, (f"_25._tcp.{host}", "TLSA", "3 1 1 " + "00" * 32))
    if lab.tls_exceptions.get(domain) != "opportunistic":
        raise CheckSkipped(f"the inventory excuses no {domain}")
    message = lab.message(lab.account()[0], f"someone@{domain}")
    lab.submit(message)
    hop = next(line for line in lab.at_bigmail(message["Message-ID"]).get_all("Received") if lab.fqdn in line)
    if "ESMTPS" not in hop:
        raise CheckFailed(f"it went without TLS: {hop}")
    return " ".join(hop.split())


@registry.check("tls-scan")
def tls_scan(lab: Lab) -> str:
    """testssl finds nothing of medium or higher severity about protocols, ciphers and renegotiation; in the slow tests about nothing else
    either."""
    return scan.verdict(lab, everything=bool(os.environ.get("POSTMASTER_MAIL_SLOW")))


@registry.check("local-users")
def local_users(lab: Lab) -> str:
    """What services do for the MTA they do for no other user of the host: nobody else has Rspamd read a file or sign, takes the way of
    forwarded mail past the filter, learns an address that bounces would come back by, or has mailboxes read."""
    program = shlex.quote((pathlib.Path(__file__).parent / "stranger.py").read_text(encoding="utf-8"))

    def tried(user: str, *directory: str) -> dict[str, Any]:
        return json.loads(lab.run(f"{lab.commands['python']} -c {program} {shlex.join([user, lab.account()[0], *directory])}"))

    # Whether the program sees what there is to be seen.
    asked = lab.commands["filter_directory"]
    mta = tried(lab.commands["mta_user"], asked) if asked else {"granted": []}
    if asked and not mta["granted"]:
        raise CheckFailed(f"the MTA itself is granted nothing in {lab.commands['filter_directory']}: {mta}")
    other = tried("nobody")
    if other["granted"]:
        raise CheckFailed(f"any user of the host: {other['granted']}")
    alone = ", ".join(what for what, *_rest in mta["granted"])
    return f"{len(other['reached'])} ports and sockets are open to any user and grant nothing; to the MTA alone: {alone}"


@registry.check("own-mail-only")
def own_mail_only(lab: Lab) -> str:
    """A message to one user is in no folder of another one."""
    everybody = [lab.account(), lab.account(1), *lab.accounts[2:]]
    messages = {}
    for user, _password in everybody:
        messages[user] = lab.message(f"outside@{lab.helo}", user)
        lab.deliver(messages[user], user)
    for account in everybody:
        lab.find(messages[account[0]]["Message-ID"], account)
    looked = 0
    for account in everybody:
        with lab.imap(account) as box:
            for line in box.list()[1]:
                folder = re.search(rb'\) (?:"."|NIL) (.+)$', line)[1].decode()
                if box.select(folder, readonly=True)[0] != "OK":
                    continue
                looked += 1
                for owner in messages.keys() - {account[0]}:
                    _status, found = box.uid("search", "HEADER", "Message-ID", f'"{messages[owner]["Message-ID"]}"')
                    if found[0]:
                        raise CheckFailed(f"the message to {owner} is in {folder} of {account[0]}")
    return f"{len(everybody)} messages, {looked} folders"


@registry.check("plus-delivered")
def plus_delivered(lab: Lab) -> str:
    """Mail to a user with a detail, behind each character that begins one, lands in the user's mailbox, where Sieve knows the detail; and
    the user sends from there, in the envelope and in From. Behind another character it is part of a name, and that is refused."""
    user = lab.account()[0]
    for delimiter in lab.delimiters:
        token = f"d{secrets.token_hex(4)}"
        address = user.replace("@", f"{delimiter}{token}@")
        rule = f'if envelope :detail "to" "{token}" {{ fileinto "Archive"; }}'
        script = f'require ["envelope", "subaddress", "fileinto"];\r\n{rule}\r\n'
        with mailbox.script(*lab.files(user), script):
            message = lab.message(f"outside@{lab.helo}", address)
            lab.deliver(message, address)
            lab.find(message["Message-ID"], folder="Archive")
        message = lab.message(user, user, From=address)
        lab.submit(message, sender=address)
        lab.find(message["Message-ID"])
    other = next(character for character in "+-_." if character not in lab.delimiters)
    unknown = user.replace("@", f"{other}x@")
    with lab.smtp() as session:
        checks.refused(*session.envelope(f"outside@{lab.helo}", unknown), f"mail to {unknown}")
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        reply = checks.refused(*session.envelope(unknown, user), f"{user} sending as {unknown}")
    return f"{message['From']}; {unknown}: {reply}"


@registry.check("aliases")
def aliases(lab: Lab) -> str:
    """An alias reaches every one of its targets, and a catch-all takes the rest of its domain but no user's mail."""
    said = []
    for alias, targets in lab.aliases.items():
        if set(targets) - set(dict(lab.accounts)):
            continue  # it leads elsewhere: forwarding has promises of its own
        message = lab.message(f"outside@{lab.helo}", alias)
        lab.deliver(message, alias)
        for target in targets:
            lab.find(message["Message-ID"], (target, dict(lab.accounts)[target]))
        said.append(f"{alias} to {', '.join(targets)}")
    for domain, targets in lab.catch_all.items():
        own = [(address, address) for address, _password in lab.accounts if address.endswith(f"@{domain}")]
        for recipient, reached in [*((f"any-{secrets.token_hex(3)}@{domain}", target) for target in targets), *own]:
            message = lab.message(f"outside@{lab.helo}", recipient)
            lab.deliver(message, recipient)
            lab.find(message["Message-ID"], (reached, dict(lab.accounts)[reached]))
        said.append(f"@{domain} to {', '.join(targets)}")
    if not said:
        raise CheckSkipped("the inventory has no alias and no catch-all")
    return "; ".join(said)


@registry.check("sender-ownership")
def sender_ownership(lab: Lab) -> str:
    """Who receives the mail of an address, by an alias of an alias, as the postmaster or by a catch-all, may send from it, with a detail
    as well, and no other user; nobody from an alias of which that is said; who is granted a domain, from all of it. In the envelope and in
    From."""
    me, you = lab.account(), lab.account(1)
    board = next((name for name, who in lab.closed.items() if who == "members"), "")
    whole = next((sender for sender in lab.senders.get(you[0], []) if sender.startswith("@")), "")
    if not board or not whole or not lab.unsent:
        raise CheckSkipped("the inventory has no alias of an alias, no alias that nobody sends from, or nobody with a whole domain")
    office = next(name for name in lab.aliases if name.endswith(whole))
    some = f"any-{secrets.token_hex(4)}"
    mine = [board, lab.detailed(board), f"postmaster@{lab.domains[0]}", f"abuse@{whole[1:]}", office]
    yours = [office, f"{some}{whole}", lab.detailed(f"{some}{whole}"), f"noc{whole}"]
    yours += [f"{some}@{domain}" for domain, targets in lab.catch_all.items() if targets == [you[0]]]
    own = {me: mine, you: yours}
    foreign = {
        me: [f"{some}{whole}", *lab.unsent, *set(yours[4:])],
        you: [board, lab.detailed(board), f"postmaster@{lab.domains[0]}", *lab.unsent, f'"noc"@{lab.domains[0]}'],
    }
    # A catch-all is not for the names that somebody else has.
    foreign[you] += [f"noc@{domain}" for domain, targets in lab.catch_all.items() if targets == [you[0]]]
    for account, addresses in own.items():
        with lab.smtp(587, "starttls") as session:
            session.login(*account)
            for address in addresses:
                message = lab.message(account[0], account[0], From=address)
                checks.accepted(*session.envelope(address, account[0]), f"{account[0]} sending as {address}")
                code, reply = session.send(account[0], [account[0]], message.as_bytes())
                checks.accepted(code, reply, f"{account[0]} sending with From: {address}")
    for account, addresses in foreign.items():
        for address in addresses:
            evidence = refused_sender(lab, account, address)
    said = "; ".join(f"{account[0]} as {', '.join(addresses)}" for account, addresses in own.items())
    return f"{said}; {evidence}"


def refused_sender(lab: Lab, account: tuple[str, str], address: str) -> str:
    """Return how an account is refused that sends as an address, in the envelope and in the message."""
    user = account[0]
    with lab.smtp(587, "starttls") as session:
        session.login(*account)
        checks.refused(*session.envelope(address, user), f"{user} sending as {address}")
    message = lab.message(user, user, From=address)
    with lab.smtp(587, "starttls") as session:
        session.login(*account)
        return checks.refused(*session.send(user, [user], message.as_bytes()), f"{user} sending with From: {address}")


@registry.check("alias-domain")
def alias_domain(lab: Lab) -> str:
    """Each name of a domain is the same name of the domain that it is: mail to users, details and aliases arrives, an alias that is closed
    is closed, and unknown names are refused at RCPT. Its users send from it as from their own, nobody else does, and the strict receiver
    finds SPF, DKIM and DMARC pass."""
    twin, domain = next(iter(lab.twins.items()), ("", ""))
    if not twin:
        raise CheckSkipped("the inventory has no domain that is another one")
    me, you = lab.account(), lab.account(1)

    def there(address: str) -> str:
        return address.replace(f"@{domain}", f"@{twin}")

    team = alias_to(lab, me[0], you[0])
    for recipient, accounts in ((there(me[0]), [me]), (there(lab.detailed(me[0])), [me]), (there(team), [me, you])):
        message = lab.message(f"outside@{lab.helo}", recipient)
        lab.deliver(message, recipient)
        for account in accounts:
            lab.find(message["Message-ID"], account)
    unknown = f"nobody-{secrets.token_hex(4)}@{twin}"
    for recipient in (unknown, *(there(name) for name in lab.closed)):
        with lab.smtp() as session:
            checks.accepted(*session.mail(f"outside@{lab.helo}"), "MAIL FROM")
            evidence = checks.refused(*session.rcpt(recipient), f"mail of a stranger to {recipient}")
    own = (there(me[0]), there(lab.detailed(me[0])), there(lab.senders[me[0]][0]))
    # A client may have another address in the envelope.
    for sender, envelope in ((own[0], own[0]), *((sender, me[0]) for sender in own)):
        message = lab.message(sender, lab.bigmail["user"])
        lab.submit(message, sender=envelope)
        found = authentication(lab.at_bigmail(message["Message-ID"]))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise CheckFailed(f"{me[0]} sent as {sender}, and the strict receiver found {found}")
    for sender in (there(me[0]), there(lab.senders[me[0]][0]), unknown):
        refused_sender(lab, you, sender)
    return f"{twin} is {domain}: {there(me[0])}, {there(team)}; {evidence}"


@registry.check("no-mail")
def no_mail(lab: Lab) -> str:
    """An address that refuses mail does so at RCPT with its text, while others get the message, and mail for one that discards it is taken
    and nobody gets it, below a catch-all as well, with a detail, in a domain that is another one, and for what this host sends; who only
    sends does send."""
    if not all((lab.no_mail, lab.silent, lab.twins)):
        raise CheckSkipped("the inventory has no address that takes no mail, or nobody who only sends")
    user, (robot, password) = lab.account()[0], lab.silent[0]
    again = {name.replace(f"@{domain}", f"@{twin}"): text for twin, domain in lab.twins.items() for name, text in lab.no_mail.items()}
    silent = {name: text for address, text in {**lab.no_mail, **again}.items() for name in (address, lab.detailed(address))}
    silent = {**silent, **{name.upper(): text for name, text in lab.no_mail.items()}}
    said, discarded = [], []
    for address, text in silent.items():
        message = lab.message(f"outside@{lab.helo}", address)
        with lab.smtp() as session:
            checks.accepted(*session.mail(f"outside@{lab.helo}"), "MAIL FROM")
            code, reply = session.rcpt(address)
            if text and (code, text in reply) != (550, True):
                raise CheckFailed(f"{address} answers {code} {reply}")
            checks.accepted(*session.rcpt(user), f"{user} beside {address}")
            if not text:
                checks.accepted(code, reply, address)
        if text:
            said.append(f"{address}: {code} {reply}")
        else:
            lab.deliver(message, address)
            discarded.append(message)
    refusing = next(name for name, text in lab.no_mail.items() if text)
    code, reply = by_loopback(lab, f"root@{lab.fqdn}", lab.message(f"root@{lab.fqdn}", refusing))
    if lab.no_mail[refusing] not in checks.refused(code, reply, f"what this host sends to {refusing}"):
        raise CheckFailed(f"this host is told {reply}")
    code, reply = written_by(lab, lab.account(), refusing)
    if lab.no_mail[refusing] not in checks.refused(code, reply, f"what a user sends to {refusing}"):
        raise CheckFailed(f"a user is told {reply}")
    # By sendmail as well, which may take it first.
    for address, text in lab.no_mail.items():
        message = lab.message(f"nobody@{lab.fqdn}", address)
        if from_host(lab, "nobody", message["From"], message) and not text:
            raise CheckFailed(f"sendmail refuses mail for {address}")
        discarded.append(message)
    message = lab.message(robot, lab.bigmail["user"])
    lab.submit(message, account=(robot, password))
    lab.at_bigmail(message["Message-ID"])
    # Nothing is left over, and nobody has it: not he who gets the rest of the domain either. What comes last is there first.
    caught = next((f"any-{secrets.token_hex(3)}@{domain}", target[0]) for domain, target in lab.catch_all.items()
                  if target[0] in dict(lab.accounts) and any(name.endswith(f"@{domain}") for name in lab.no_mail))
    last = lab.message(f"outside@{lab.helo}", caught[0])
    lab.deliver(last, caught[0])
    lab.find(last["Message-ID"], (caught[1], dict(lab.accounts)[caught[1]]))
    for address, text in silent.items():
        if not text and lab.waiting(address.lower()):
            raise CheckFailed(f"mail for {address} is in the queue: {lab.waiting(address.lower())}")
    for account in (*lab.accounts, lab.silent[0]):
        with lab.imap(account) as box:
            for folder in ("INBOX", "Junk"):
                box.select(folder, readonly=True)
                for message in discarded:
                    if box.uid("search", "HEADER", "Message-ID", f'"{message["Message-ID"]}"')[1][0]:
                        raise CheckFailed(f"{account[0]} has the message to {message['To']}, which takes no mail")
    return f"{'; '.join(said)}; {len(discarded)} messages reach nobody; {robot} has sent"


@registry.check("closed-aliases")
def closed_aliases(lab: Lab) -> str:
    """A stranger who writes to an alias of users or of its members is refused at RCPT, whatever his envelope says and however the alias is
    written, while others get the message; who has logged in, or is a member, is not."""
    if sorted(lab.closed.values()) != ["members", "users"]:
        raise CheckSkipped("the inventory has no alias that is closed to strangers")
    found = {who: name for name, who in lab.closed.items()}
    (member, password), other = lab.accounts[0], lab.accounts[1]
    said = []
    for alias in lab.closed:
        local, _at, domain = alias.partition("@")
        forms = (alias, alias.upper(), lab.detailed(alias), f'"{local}"@{domain}', f"@client.test:{alias}")
        for sender, recipient in ((f"outside@{lab.helo}", alias), *((member, form) for form in forms)):
            with lab.smtp() as session:
                checks.accepted(*session.mail(sender), f"MAIL FROM:<{sender}>")
                code, reply = session.rcpt(recipient)
                if code < 500:
                    raise CheckFailed(f"a stranger who is <{sender}> may write to {recipient}: {code} {reply}")
                checks.accepted(*session.rcpt(member), f"{member} beside {recipient}")
        checks.accepted(*written_by(lab, (member, password), alias), f"a message of {member}, a member, to {alias}")
        said.append(f"{alias}: {code} {reply}")
    checks.accepted(*written_by(lab, other, found["users"]), f"a message of {other[0]} to {found['users']}")
    reply = checks.refused(*written_by(lab, other, found["members"]), f"a message of {other[0]}, who is no member, to {found['members']}")
    # Programs of the host are no strangers.
    message = lab.message(f"root@{lab.fqdn}", found["members"])
    checks.accepted(*by_loopback(lab, message["From"], message), f"a message of a program of the host to {found['members']}")
    lab.find(message["Message-ID"], (member, password))
    return "; ".join([*said, reply])


def written_by(lab: Lab, account: tuple[str, str], recipient: str) -> tuple[int, str]:
    """Return what is said to a recipient of a user who has logged in."""
    with lab.smtp(465, "wrapped") as session:
        session.login(*account)
        return session.envelope(account[0], recipient)


def returns_to(message: Any) -> str:
    """The envelope sender that a message was delivered with; empty for a bounce."""
    return str(message["Return-Path"]).strip("<> ")


def report_here(lab: Lab, message_id: str) -> Any:
    """The report at the strict receiver that a message is not delivered, or None."""
    with lab.big() as session:
        session.select("INBOX")
        _status, found = session.uid("search", "FROM", "mailer-daemon")
        for uid in reversed(found[0].decode().split()[-5:]):  # a search does not look into the headers of the message in a report
            _status, data = session.uid("fetch", uid, "(BODY.PEEK[])")
            if message_id.encode() in data[0][1]:
                return email.message_from_bytes(data[0][1], policy=email.policy.default)
    return None


def report_about(lab: Lab, message_id: str, otherwise: str, within: float = PATIENCE) -> Any:
    """Wait for the report at the strict receiver that a message was not delivered, and return it."""
    end = time.monotonic() + within
    while (report := report_here(lab, message_id)) is None:
        if time.monotonic() > end:
            raise CheckFailed(f"{otherwise}; our queue:\n{lab.run(lab.mta.list, check=False)}")
        time.sleep(0.5)  # IMAP without IDLE has no event to wait for
    return report


@registry.check("forwarding")
def forwarding(lab: Lab) -> str:
    """What an alias forwards elsewhere has a sender of ours, which SPF allows, and its signature still verifies; also where a stranger has
    written an address of ours. What stays here keeps its sender, and so does mail that is not forwarded, is from a user who has logged
    in, or is a bounce."""
    origin, foreign = elsewhere(lab), lab.bigmail["user"]
    user = lab.account()[0]
    both, away = alias_to(lab, user, foreign), alias_to(lab, foreign)
    message = lab.message(foreign, both)
    origin.submit(message)
    arrived = lab.at_bigmail(message["Message-ID"], within=PATIENCE)
    sender, found = returns_to(arrived), authentication(arrived)
    if not re.match(r"SRS0[-+=]", sender) or sender.rpartition("@")[2] not in [*lab.domains, lab.fqdn]:
        raise CheckFailed(f"it came from <{sender}>")
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"} or arrived["From"] != message["From"]:
        raise CheckFailed(f"it came from <{sender}>, From: {arrived['From']}: {found} {arrived.get_all('Authentication-Results')}")
    kept = returns_to(lab.find(message["Message-ID"]))
    if kept != foreign:
        raise CheckFailed(f"{user} got it from <{kept}>")
    message = lab.message("x@ns.test", away)  # a domain without DMARC, as SPF passes for nobody that it names
    lab.deliver(message, away, sender=user)
    name, _at, domain = user.partition("@")
    forged = returns_to(lab.at_bigmail(message["Message-ID"], within=60))
    if not re.match(rf"SRS0[-+=].*={re.escape(domain)}={re.escape(name)}@", forged):
        raise CheckFailed(f"what a stranger sent as {user} came from <{forged}>")
    for recipient in (away, foreign):
        message = lab.message(user, recipient)
        lab.submit(message)
        arrived = lab.at_bigmail(message["Message-ID"], within=PATIENCE)
        if returns_to(arrived) != user or authentication(arrived).get("spf") != "pass":
            raise CheckFailed(f"what {user} sent to {recipient} came from <{returns_to(arrived)}>: {authentication(arrived)}")
    bounce = lab.message("mailer-daemon@ns.test", away)  # a domain without DMARC, as the bounce has no sender for SPF
    lab.deliver(bounce, away, sender="")
    if found := returns_to(lab.at_bigmail(bounce["Message-ID"], within=PATIENCE)):
        raise CheckFailed(f"a bounce came from <{found}>")
    return f"{foreign} became {sender}, and stayed {kept} here"


def sender_of_ours(lab: Lab) -> str:
    """Let a message be forwarded, and return the sender that it arrives with."""
    foreign = lab.bigmail["user"]
    message = lab.message(foreign, alias_to(lab, foreign))
    elsewhere(lab).submit(message)
    return returns_to(lab.at_bigmail(message["Message-ID"], within=PATIENCE))


@registry.check("forwarding-bounces")
def forwarding_bounces(lab: Lab) -> str:
    """A bounce of forwarded mail finds its way to whom the mail was from, whether made here or elsewhere, and nothing but a bounce does; an
    address to come back to that is made up, or changed, is refused, also where a catch-all takes the rest."""
    origin, foreign = elsewhere(lab), lab.bigmail["user"]
    gone = alias_to(lab, "nobody@" + foreign.partition("@")[2])
    sender = sender_of_ours(lab)
    bounce = lab.message("mailer-daemon@ns.test", sender)
    lab.deliver(bounce, sender, sender="")
    lab.at_bigmail(bounce["Message-ID"], within=PATIENCE)
    message = lab.message(foreign, gone)
    origin.submit(message)
    told = report_about(lab, message["Message-ID"], f"{gone} leads to nobody, and {foreign} was not told")
    if returns_to(told):
        raise CheckFailed(f"{foreign} was told by <{returns_to(told)}>, which is no bounce: {told['Subject']}")
    with lab.smtp() as session:
        code, reply = session.envelope(f"outside@{lab.helo}", sender)
    checks.refused(code, reply, f"mail to {sender} that is no bounce")
    local, _at, domain = sender.partition("@")
    parts = local.split("=")
    if len(parts[1]) != lab.mta.srs_length:
        raise CheckFailed(f"the hash in {sender} has {len(parts[1])} characters, not {lab.mta.srs_length}")
    # Another letter, and not the other case of the same one: a hash is compared without regard to case.
    hashed, stamp = (("B" if part[0] in "Aa" else "A") + part[1:] for part in parts[1:3])
    changed = "=".join([parts[0], hashed, *parts[2:]])
    older = "=".join([*parts[:2], stamp, *parts[3:]])
    other = "=".join([*parts[:-1], f"somebody-{secrets.token_hex(3)}"])
    where = (domain, *(lab.catch_all if lab.mta.srs_at_alias else ()))
    shorter = [f"{parts[0]}={'='.join([parts[1][:length], *parts[2:]])}" for length in range(1, lab.mta.srs_length)]
    for attempt in (changed, older, other, *shorter, f"SRS0=AAAA=AA=bigmail.test={foreign.partition('@')[0]}",
                    f"SRS1=AAAA=bigmail.test={local[4:]}", f"SRS0={foreign.replace('@', '=')}", "SRS0="):
        for reverse_path, back in itertools.product(("", f"outside@{lab.helo}"), where):
            with lab.smtp() as session:
                code, reply = session.envelope(reverse_path, f"{attempt}@{back}")
            if code not in (550, 553):  # that there is no such mailbox, or can be none
                raise CheckFailed(f"<{attempt}@{back}> from <{reverse_path}> was answered with {code} {reply}")
    return f"to {sender}, and about {gone} to {foreign}; made up: {code} {reply}"


@registry.check("forwarding-lifetime")
def forwarding_lifetime(lab: Lab) -> str:
    """A bounce of forwarded mail may take three weeks: the address to come back to works for that long, and no longer."""
    sender = sender_of_ours(lab)
    local, _at, domain = sender.partition("@")
    _tag, _hash, stamp, origin, user = local.split("=", 4)
    key = lab.run(lab.commands["srs_key"]).strip()
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    today = digits.index(stamp[0]) * 32 + digits.index(stamp[1])

    def made(days: int) -> str:
        """Return the address as it would be, had it been made so many days ago."""
        day = (today - days) % 1024
        then = digits[day // 32] + digits[day % 32]
        return f"SRS0={lab.mta.srs_hash(key, then, origin, user, domain)}={then}={origin}={user}@{domain}"

    if made(0) != sender:
        raise CheckFailed(f"the server made {sender}, and this check {made(0)}")
    said = []
    for days, codes in ((20, [250]), (22, [550, 553])):  # and not 21, which may end between the two
        with lab.smtp() as session:
            code, reply = session.envelope("", made(days))
        if code not in codes:
            raise CheckFailed(f"after {days} days {made(days)} was answered with {code} {reply}")
        said.append(f"after {days} days: {code} {reply}")
    return "; ".join(said)


@registry.check("sieve-redirect")
def sieve_redirect(lab: Lab) -> str:
    """What a user's script redirects elsewhere is sent by the user, which SPF allows, and its signature still verifies; a bounce stays a
    bounce."""
    user, foreign = lab.account(1)[0], lab.bigmail["user"]

    def redirected(message: Any, deliver: Callable[[], object]) -> Any:
        with mailbox.script(*lab.files(user), f'redirect "{foreign}";\r\n'):
            deliver()
            return lab.at_bigmail(message["Message-ID"], within=PATIENCE)

    message = lab.message(foreign, user)
    arrived = redirected(message, lambda: elsewhere(lab).submit(message))
    found = authentication(arrived)
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"} or returns_to(arrived) != user:
        raise CheckFailed(f"it came from <{returns_to(arrived)}>: {found} {arrived.get_all('Authentication-Results')}")
    bounce = lab.message("mailer-daemon@ns.test", user)
    arrived = redirected(bounce, lambda: lab.deliver(bounce, user, sender=""))
    if returns_to(arrived):
        raise CheckFailed(f"a bounce came from <{returns_to(arrived)}>")
    if arrived["X-Postmaster-Mail-Script"]:
        raise CheckFailed(f"what was for the filter alone was told: {arrived['X-Postmaster-Mail-Script']}")
    return f"{foreign} became {user}: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}"


@registry.check("sieve-forgery")
def sieve_forgery(lab: Lab) -> str:
    """Nobody is made to pass for one of our users by another one's script: a message that claims to be from them is not redirected but
    kept, also as a bounce, and neither a vacation notice nor a notification is sent in their name. What they did write is redirected."""
    victim, user, foreign = lab.account()[0], lab.account(1)[0], lab.bigmail["user"]
    forged = []
    claims = {
        "a plain From": f"From: {victim}\n",
        "a display name": f'From: "The boss" <{victim}>\n',
        "capital letters and a comment": f"From: {victim.upper()} (boss)\n",
        "a group": f"From: bosses: {victim};\n",
        "two in one": f"From: stranger@client.test, {victim}\n",
        "two From": f"From: stranger@client.test\nFrom: {victim}\n",
        "a token": f"From: {victim}\nX-Postmaster-Mail-Script: {victim} {'0' * 128}\n",
        "a detail": f"From: {lab.detailed(victim)}\n",
        "a comment in the domain": f"From: {victim.replace('@', '@(x)')}\n",
        "white space": f"From: {victim.replace('@', ' @ ')}\n",
        "a final dot": f"From: {victim}.\n",
        "an address for a name": f"From: {victim} <stranger@client.test>\n",
        "a subdomain": f"From: {victim.replace('@', '@x.')}\n",
    }
    with mailbox.script(*lab.files(user), f'redirect "{foreign}";\r\n'):
        for what, header in claims.items():
            for sender in ("", f"outside@{lab.helo}"):
                token = f"<{secrets.token_hex(8)}@{lab.helo}>"
                text = f"{header}To: {user}\nMessage-ID: {token}\nDate: {email.utils.formatdate()}\nSubject: forged\n\n{what}\n"
                checks.accepted(*past_filter(lab, sender, user, text), f"a message with {what}")
                lab.find(token, (user, dict(lab.accounts)[user]))
                forged.append({"Message-ID": token, "From": what})
        genuine = lab.message(victim, user)
        lab.submit(genuine)
        found = authentication(lab.at_bigmail(genuine["Message-ID"], within=PATIENCE))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise CheckFailed(f"what {victim} wrote was redirected, and the strict receiver found {found}")
    for message in forged:
        not_ours(lab, message, f"a redirected message with {message['From']}")
    for actions in (f'vacation :addresses ["{user}"] :from "{victim}" "I am the boss";',
                    f'vacation :addresses ["{user}"] :mime "From: {victim}\r\n\r\nI am the boss";',
                    f'notify :from "{victim}" "mailto:{foreign}";'):
        with mailbox.script(*lab.files(user), f'require ["vacation", "enotify"];\r\n{actions}\r\n'):
            message = lab.message(foreign, user)
            elsewhere(lab).submit(message)
            lab.find(message["Message-ID"], (user, dict(lab.accounts)[user]), within=PATIENCE)
    said = answered(lab, user, foreign)
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "BODY", '"I am the boss"')
        _status, notified = box.uid("search", "FROM", f'"{victim}"', "HEADER", "Auto-Submitted", "auto-notified")
        if found[0] or notified[0]:
            raise CheckFailed(f"a notice of {user}'s script came in the name of {victim}")
    return f"{len(forged)} messages with {', '.join(claims)}; {said}"


def past_filter(lab: Lab, sender: str, recipient: str, text: str) -> tuple[int, str]:
    """Deliver a message as the MTA does, so that it is sure to reach the script, whatever the filter thinks of it; return the answer."""
    program = (
        "import smtplib, sys\n"
        "with smtplib.LMTP(sys.argv[1]) as session:\n"
        "    try: session.sendmail(sys.argv[2], [sys.argv[3]], sys.stdin.buffer.read()); print(250)\n"
        "    except smtplib.SMTPResponseException as exc: print(exc.smtp_code, exc.smtp_error.decode())\n"
    )
    arguments = " ".join(map(shlex.quote, (program, lab.commands["lmtp"], sender, recipient)))
    said = lab.run(f"printf %s {shlex.quote(text)} | {lab.commands['python']} -c {arguments}")
    return int(said.split()[0]), said.strip()


def answered(lab: Lab, user: str, foreign: str) -> str:
    """Let a user be on holiday, and see the notice, which passes and returns to nobody."""
    token = secrets.token_hex(8)
    with mailbox.script(*lab.files(user), f'require "vacation";\r\nvacation :handle "{token}" :addresses ["{user}"] "Away {token}";\r\n'):
        message = lab.message(foreign, user)
        elsewhere(lab).submit(message)
        end = time.monotonic() + PATIENCE
        with lab.big() as box:
            while True:
                box.select("INBOX")
                _status, uids = box.uid("search", "BODY", token)
                if uids[0]:
                    break
                if time.monotonic() > end:
                    queue = lab.run(lab.mta.list, check=False)
                    raise CheckFailed(f"no notice of {user}'s vacation at the strict receiver; our queue:\n{queue}")
                time.sleep(0.5)  # IMAP without IDLE has no event to wait for
            _status, data = box.uid("fetch", uids[0].split()[-1].decode(), "(BODY.PEEK[])")
    notice = email.message_from_bytes(data[0][1], policy=email.policy.default)
    found = authentication(notice)
    if returns_to(notice) or user not in str(notice["From"]) or {found.get(method) for method in ("dkim", "dmarc")} != {"pass"}:
        raise CheckFailed(f"the notice came from <{returns_to(notice)}>, From: {notice['From']}: {found}")
    return f"a notice of {user}'s vacation: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}"


@registry.check("sieve-answers")
def sieve_answers(lab: Lab) -> str:
    """What a user's script answers itself is signed, and passes at the strict receiver."""
    return answered(lab, lab.account(1)[0], lab.bigmail["user"])


def at_bigmail_of(lab: Lab, *texts: str, user: str = "") -> list[Any]:
    """Return the messages at the strict receiver that have one of these texts in them, also in a report's message, in INBOX of a user."""
    host = lab.bigmail["host"]
    session = Imap(socket.gethostbyname(host), host, lab.tls(), lab.timeout)
    try:
        session.login(user or lab.bigmail["user"], lab.bigmail["password"])
        session.select("INBOX")
        _status, found = session.uid("search", "SINCE", time.strftime("%d-%b-%Y", time.gmtime(time.time() - 86400)))
        uids = found[0].decode().split()[-60:]
        octets = [session.uid("fetch", uid, "(BODY.PEEK[])")[1][0][1] for uid in uids]
    finally:
        session.logout()
    found = [whole for whole in octets if any(text.encode() in whole for text in texts)]
    return [email.message_from_bytes(whole, policy=email.policy.default) for whole in found]


def nothing_came(lab: Lab, *texts: str, what: str, user: str = "", within: float = 15) -> None:
    """Fail if a message with one of these texts comes to the strict receiver within this time: what must not come has no event."""
    end = time.monotonic() + within
    while True:
        if found := at_bigmail_of(lab, *texts, user=user):
            raise CheckFailed(f"{what} came to {user or lab.bigmail['user']}, from <{returns_to(found[0])}>: {found[0].items()}")
        if time.monotonic() > end:
            return
        time.sleep(1)


@registry.check("junk-not-forwarded")
def junk_not_forwarded(lab: Lab) -> str:
    """What the filter takes for spam does not go on to another server: by an alias it is refused, or stays here in Junk, as mail_filter
    says, and by a user's script it stays in the mailbox. The receiver would take this server for one that sends spam."""
    foreign, user = lab.bigmail["user"], lab.account()[0]
    keeps, said, sent = lab.filter.get("forwarded_junk") == "keep", [], []
    for alias in (alias_to(lab, foreign), alias_to(lab, user, foreign)):
        token = secrets.token_hex(8)
        sent.append(token)
        code, reply = send_from(lab, spammy(lab, token), f"outside-{token}@{lab.helo}", "198.51.100.1", lab.helo, alias)
        if keeps:
            checks.accepted(code, reply, f"spam for {alias}")
            lab.find(f"<{token}@{lab.helo}>", folder="Junk")
        elif code not in (550, 554) or "not forwarded" not in reply:
            raise CheckFailed(f"spam for {alias} was answered with {code} {reply}")
        said.append(f"{alias}: {code} {reply}")
    token = secrets.token_hex(8)
    sent.append(token)
    allowed = lab.lists.get(user, ([], []))[0]
    pal = next((f"{sender.partition('@')[0]}+{token}@client.test" for sender in allowed if "@client.test" in sender), "")
    with mailbox.script(*lab.files(user), f'redirect "{foreign}";\r\n'):
        checks.accepted(*send_from(lab, spammy(lab, token), f"outside-{token}@{lab.helo}", "198.51.100.1", lab.helo), "spam for a user")
        lab.find(f"<{token}@{lab.helo}>", folder="Junk")
        if pal:
            message_id, content = junk_of(lab, pal, user)
            sent.append(message_id)
            checks.accepted(*send_from(lab, content, pal, "198.51.100.1", "client.test"), f"a message of {pal}, whom {user} allows,")
            lab.find(message_id)
            said.append("what a user allows is not redirected")
    message = lab.message(foreign, alias_to(lab, foreign))
    elsewhere(lab).submit(message)
    lab.at_bigmail(message["Message-ID"])
    nothing_came(lab, *sent, what="spam", within=5)
    return "; ".join(said)


@registry.check("arc-seal")
def arc_seal(lab: Lab) -> str:
    """What an alias forwards is sealed by the domain of that alias, and dkimpy verifies the chain as the receiver got it; what users send
    and get is not sealed."""
    if not lab.filter.get("arc_seal"):
        raise CheckSkipped("the inventory does not ask for seals")
    foreign, user = lab.bigmail["user"], lab.account()[0]
    alias, origin = alias_to(lab, foreign), elsewhere(lab)
    message = lab.message(foreign, alias)
    origin.submit(message)
    octets = as_received(lab, message["Message-ID"])

    def answer(name: bytes, timeout: int = 5) -> bytes:
        return (lab.texts(name.decode().rstrip("."))[:1] or [""])[0].encode()

    result, chain, reason = dkim.ARC(octets, minkey=1024).verify(dnsfunc=answer)
    domains = {step["as-domain"].decode() for step in chain}
    if result != b"pass" or domains != {alias.rpartition("@")[2]}:
        raise CheckFailed(f"dkimpy says {result!r} ({reason}) of what was forwarded, sealed by {domains or 'nobody'}")
    own, kept = lab.message(user, foreign), lab.message(foreign, user)
    lab.submit(own)
    origin.submit(kept)
    for what, found in (("sent", lab.at_bigmail(own["Message-ID"])), ("got", lab.find(kept["Message-ID"]))):
        if found["ARC-Seal"]:
            raise CheckFailed(f"what {user} {what} is sealed: {found['ARC-Seal']}")
    return f"{alias}: {result.decode()}, sealed by {', '.join(domains)}"


#: A host whose mail is taken whatever it scores (mail_filter.trusted), so that what it forges reaches scripts and aliases.
FORGER = "198.51.100.4"


def forged(lab: Lab, recipient: str, sender: str, **headers: str) -> tuple[int, str, str]:
    """Send a message of an envelope sender that nobody proves, which is delivered all the same; return the answer and its Message-ID."""
    if lab.filtered and FORGER not in lab.filter.get("trusted", []):
        raise CheckSkipped("the inventory trusts no host to forge mail from")
    message = lab.message(f"outside@{lab.helo}", recipient, **headers)
    with dataclasses.replace(lab, helo="home.client.test").smtp(source=FORGER) as session:
        code, reply = session.send(sender, [recipient], message.as_bytes())
    return code, reply, message["Message-ID"]


@registry.check("vacation")
def vacation(lab: Lab) -> str:
    """A vacation notice goes to whoever was proven to have written, once, and to nobody else: no sender that SPF and DKIM do not vouch for,
    no null sender, list, bulk or automatic mail. A script's refusal is reported to proven senders alone; otherwise the message is kept."""
    (user, password), foreign, token = lab.account(1), lab.bigmail["user"], secrets.token_hex(8)
    away, refused = f"Away {token}", f"Refused {token}"
    origin = elsewhere(lab)

    def proven(**headers: str) -> str:
        """Have the strict receiver's user write to the one who is away, and return the Message-ID."""
        message = lab.message(foreign, user, **headers)
        origin.submit(message)
        return str(message["Message-ID"])

    with mailbox.script(*lab.files(user), f'require "vacation";\r\nvacation :handle "{token}" :addresses ["{user}"] "{away}";\r\n'):
        for sender in (foreign, ""):
            code, reply, message_id = forged(lab, user, sender)
            checks.accepted(code, reply, f"a forged message from <{sender}>")
            lab.find(message_id, (user, password))
        for headers in ({"List_Id": "<list.bigmail.test>"}, {"Precedence": "bulk"}, {"Auto_Submitted": "auto-generated"}):
            lab.find(proven(**headers), (user, password))
        answered = proven()
        about(lab, away, answered, f"of {user}'s vacation")
        lab.find(proven(), (user, password))
    with mailbox.script(*lab.files(user), f'require "reject";\r\nreject "{refused}";\r\n'):
        code, reply, message_id = forged(lab, user, foreign)
        checks.accepted(code, reply, "a forged message")
        lab.find(message_id, (user, password))
        rejected = proven()
        about(lab, refused, rejected, f"that a script of {user} refuses the message")
    # An answer to any of the others would have come before these two, or does within seconds.
    end = time.monotonic() + 15
    while time.monotonic() < end:
        for text, message_id_of in ((away, answered), (refused, rejected)):
            if len(found := about(lab, text, message_id_of, "")) != 1:
                raise CheckFailed(f"{foreign} was told {len(found)} times: {text}")
        time.sleep(1)  # what must not come has no event
    return f"{foreign} is told once that {user} is away; refused and unproven, {message_id} is in INBOX"


def about(lab: Lab, text: str, message_id: str, what: str) -> list[Any]:
    """Wait for answers with a text in them at the strict receiver, all of which are to be about this message; return them."""
    end = time.monotonic() + PATIENCE
    while not (found := at_bigmail_of(lab, text)):
        if time.monotonic() > end:
            raise CheckFailed(f"{lab.bigmail['user']} was not told {what}; our queue:\n{lab.run(lab.mta.list, check=False)}")
        time.sleep(0.5)  # IMAP without IDLE has no event to wait for
    for answer in found:
        if message_id not in answer.as_string():
            raise CheckFailed(f"{lab.bigmail['user']} was told {what}, and not about {message_id}: {answer.items()}")
    return found


@registry.check("no-backscatter")
def no_backscatter(lab: Lab) -> str:
    """Whose address somebody else writes into an envelope gets nothing of this server: about unknown users, refused files, too large
    mail, an alias whose target does not exist or has a full mailbox, a vacation or a refusal by script."""
    victim, domain, mark = "second@bigmail.test", lab.domains[0], secrets.token_hex(8)
    user, password = lab.account(1)
    said = []
    with lab.smtp() as session:
        code, reply = session.envelope(victim, f"nobody-{mark}@{domain}")
    said.append(checks.refused(code, reply, "an unknown user"))
    if lab.filtered:
        blocked = lab.message(f"outside@{lab.helo}", user, Subject=mark)
        blocked.add_attachment(b"MZ" + bytes(64), maintype="application", subtype="octet-stream", filename="run.exe")
        with lab.smtp() as session:
            code, reply = session.send(victim, [user], blocked.as_bytes())
        said.append(checks.refused(code, reply, "a file that runs"))
    with lab.smtp() as session:
        said.append(checks.refused(*session.mail(victim, f"SIZE={10**9}"), "a message that is too large"))
    message_id = mark
    if lab.filtered:
        gone = alias_to(lab, "nobody@" + lab.bigmail["user"].partition("@")[2])
        code, reply, message_id = forged(lab, gone, victim, Subject=mark)
        checks.accepted(code, reply, f"a message to {gone}")
    with full(lab) as stuffed:
        alias = alias_to(lab, lab.account()[0], stuffed)
        code, reply, waits = forged(lab, alias, victim, Subject=mark)
        checks.accepted(code, reply, f"a message to {alias}")
        lab.find(waits)
        for found in waiting_since(lab, stuffed, 1, "and was not deferred"):
            lab.run(lab.commands["a_day_later"].format(id=found.id))
        lab.run(lab.mta.flush)
    lab.run(lab.mta.flush)
    lab.find(waits, lab.accounts[-1])
    for text in (f'require "vacation";\r\nvacation :handle "{mark}" :addresses ["{user}"] "Away {mark}";\r\n',
                 f'require "reject";\r\nreject "Refused {mark}";\r\n'):
        with mailbox.script(*lab.files(user), text):
            code, reply, kept = forged(lab, user, victim, Subject=mark)
            checks.accepted(code, reply, "a message to a user with a script")
            lab.find(kept, (user, password))
    end = time.monotonic() + PATIENCE
    addresses = (victim, f"nobody@{victim.partition('@')[2]}")
    while waiting := [item for item in lab.mta.read(lab.run(lab.mta.list)) if item.recipient in addresses]:
        if time.monotonic() > end:
            raise CheckFailed(f"{waiting[0].recipient} waits in the queue: {waiting[0].reason}")
        time.sleep(0.5)  # the queue has no event to wait for
    nothing_came(lab, mark, message_id.strip("<>"), waits.strip("<>"), what="a report of this server", user=victim)
    return "; ".join(said)


@registry.check("bounce-signed")
def bounce_signed(lab: Lab) -> str:
    """A report that mail could not be delivered is signed by the domain in its From, or what that lies below: a user's own verifies with
    dkimpy, and one about forwarded mail passes at the strict receiver."""
    user, foreign = lab.account()[0], lab.bigmail["user"]
    nobody = "nobody@" + foreign.partition("@")[2]
    message = lab.message(user, nobody)
    lab.submit(message)
    warnings_here(lab, message["Message-ID"], PATIENCE)
    with lab.imap() as box:
        box.select("INBOX")
        _status, uids = box.uid("search", "FROM", "mailer-daemon", "TEXT", f'"{message["Message-ID"]}"')
        octets = box.uid("fetch", uids[0].split()[-1].decode(), "(BODY.PEEK[])")[1][0][1]
    signer = verified(lab, octets).domain.decode()
    author = email.utils.parseaddr(str(email.message_from_bytes(octets, policy=email.policy.default)["From"]))[1]
    if not f".{author.rpartition('@')[2].lower()}".endswith(f".{signer}"):
        raise CheckFailed(f"a report of {author} is signed by {signer}")
    if not lab.filtered:  # nothing is forwarded
        return f"{author}, signed by {signer}"
    message = lab.message(foreign, alias_to(lab, nobody))
    elsewhere(lab).submit(message)
    report = report_about(lab, message["Message-ID"], f"{foreign} was not told that mail could not be forwarded")
    found = authentication(report)
    # Of a name below "test" the receiver looks for no policy of the domain that it lies below.
    if found.get("dkim") != "pass" or found.get("dmarc") not in ("pass", "none"):
        raise CheckFailed(f"the strict receiver finds {found} of a report: {report.get_all('Authentication-Results')}")
    return f"{author}, signed by {signer}; elsewhere {found}"


@registry.check("client-names")
def client_names(lab: Lab) -> str:
    """A client is not refused, and its mail not junk, for its name alone, be that missing, leading to another address, one as providers
    give it to every line, or no full one in its greeting: the filter counts it. Where variables ask for more, or for the score of a
    client's address, they get it."""
    # The greeting has no SPF record, so that the filter finds little against the message beside the client's name.
    good, found = "198.51.100.5", []
    clients = [(good, "ns.test", "score"), (good, "localhost", "score"), ("198.51.100.6", "ns.test", lab.names["rdns"]),
               ("198.51.100.7", "liar.client.test", lab.names["fcrdns"]),
               ("198.51.100.9", "198-51-100-9.dyn.client.test", lab.names["dynamic"]),
               ("198.51.100.11", "mail.client.test", "junk" if lab.score > 45 else "score")]
    for client, greeting, decision in clients:
        if decision == "disconnect":
            with socket.create_connection((lab.address("ipv4"), 25), timeout=lab.timeout, source_address=(client, 0)) as plain:
                said = plain.makefile("rb").readline().decode().strip()
            if not said.startswith("4"):
                raise CheckFailed(f"{client} was answered with {said}")
            found.append(f"{client}: {said}")
            continue
        message = lab.message("x@ns.test", lab.account()[0])
        code, reply = send_from(lab, message.as_bytes(), "", client, greeting)
        checks.accepted(code, reply, f"a message from {client} with EHLO {greeting}")
        folder = "Junk" if decision == "junk" else "INBOX"
        arrived = lab.find(message["Message-ID"], folder=folder)
        found.append(f"{client}, EHLO {greeting}: {folder}, {arrived['X-Spam-Status']}")
    counts = [float(count[1]) if (count := re.search(r"score=(-?[0-9.]+)", text)) else None for text in found]
    if lab.filtered and (None in counts[:2] or counts[1] <= counts[0] or (lab.names["rdns"] == "score" and counts[2] <= counts[0])):
        raise CheckFailed(f"a name that is missing counts nothing: {found}")
    return "; ".join(found)


@registry.check("resolver-silent")
def resolver_silent(lab: Lab) -> str:
    """While no resolver answers, mail is delivered to the inbox or asked to come again, and not called junk for a name that nobody could
    look up."""
    message = lab.message(f"outside@{lab.helo}", lab.account()[0])
    lab.run(lab.commands["stop_resolver"])
    try:
        with lab.smtp(source="198.51.100.5") as session:
            code, reply = session.send(f"outside@{lab.helo}", [lab.account()[0]], message.as_bytes())
    finally:
        lab.run(lab.commands["start_resolver"])
    if 400 <= code <= 499:
        return f"{code} {reply}"
    checks.accepted(code, reply, "a message while no resolver answers")
    lab.find(message["Message-ID"])
    return "INBOX"


@registry.check("role-mail")
def role_mail(lab: Lab) -> str:
    """Mail to bare postmaster, and mail that the host itself sends to root, reach the postmaster."""
    user = lab.account()[0]
    message = lab.message(f"outside@{lab.helo}", "postmaster")
    lab.deliver(message, "postmaster")
    lab.find(message["Message-ID"], lab.account())
    token = secrets.token_hex(8)
    lab.run(f"printf 'Subject: from the host\\nMessage-ID: <{token}@host.test>\\n\\nx\\n' | sendmail root")
    lab.find(f"<{token}@host.test>", lab.account())
    return user


@registry.check("smuggling")
def smuggling(lab: Lab) -> str:
    """A message with a bare-newline end of data inside stays one message, whatever the line ends around the dot (CVE-2023-51764)."""
    user = lab.account()[0]
    ends = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n")
    # At once, and with what is smuggled in a segment of its own: the relay that is abused streams it without waiting for replies.
    for end, pause in itertools.product(ends, (0.0, 0.5)):
        inner = secrets.token_hex(8)
        message = lab.message(f"outside@{lab.helo}", user)
        head = message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        smuggled = (
            b"MAIL FROM:<postmaster@" + user.split("@")[1].encode() + b">\r\nRCPT TO:<" + user.encode() + b">\r\nDATA\r\n"
            b"From: postmaster@x.test\r\nMessage-ID: <" + inner.encode() + b"@smuggled.test>\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
        )
        with lab.smtp() as session:
            session.mail(f"outside@{lab.helo}")
            session.rcpt(user)
            session.command("DATA")
            session.raw(head + end)
            time.sleep(pause)  # no event says that a segment was read
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session.raw(smuggled)
                session.reply()
        # A later message to the same mailbox: when it is there, all that came before has been delivered.
        last = lab.message(f"outside@{lab.helo}", user)
        lab.deliver(last, user)
        lab.find(last["Message-ID"])
        with lab.imap() as box:
            box.select("INBOX")
            _status, found = box.uid("search", "HEADER", "Message-ID", inner)
            if found[0]:
                raise CheckFailed(f"{end!r} ended a message: the smuggled one was delivered")
    return "six line ends around the dot, each in one segment and in two, and no message smuggled"


@registry.check("large-message")
def large_message(lab: Lab) -> str:
    """A message of 20 MB passes in both directions."""
    user = lab.account()[0]
    # Where the message is judged before it is answered, the answer takes a while; RFC 5321 section 4.5.3.2.6 gives it ten minutes.
    lab = dataclasses.replace(lab, timeout=180)
    line = b"x" * 76 + b"\r\n"
    message = lab.message(f"outside@{lab.helo}", user)
    content = message.as_bytes().replace(b"\n", b"\r\n") + line * (20_000_000 // len(line))
    with lab.smtp(25, "starttls") as session:
        code, reply = session.send(f"outside@{lab.helo}", [user], content)
    checks.accepted(code, reply, "a message of 20 MB from outside")
    lab.find(message["Message-ID"], within=PATIENCE)
    message = lab.message(user, user)
    content = message.as_bytes().replace(b"\n", b"\r\n") + line * (20_000_000 // len(line))
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        code, reply = session.send(user, [user], content)
    return checks.accepted(code, reply, "a message of 20 MB by submission")


def spammy(lab: Lab, token: str) -> bytes:
    """Return a message that is spammy, and acceptable."""
    return (
        f'From: "Prize Service" <outside@{lab.helo}>\r\nReply-To: <x@y.example>\r\nMessage-ID: <{token}@{lab.helo}>\r\n'
        f"Subject: YOU HAVE WON A PRIZE CLAIM NOW {token.upper()}!!!\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/html; charset=us-ascii\r\n\r\n"
        f'<html><body><a href="http://198.51.100.99/{token}">http://www.paypal.com/login</a></body></html>\r\n'
    ).encode()


@registry.check("junk-folder")
def junk_folder(lab: Lab) -> str:
    """A spammy but acceptable message is asked to come again later; when it does, it lands in Junk, not in the inbox."""
    user = lab.account()[0]
    token = secrets.token_hex(8)
    content = spammy(lab, token)

    def deliver() -> tuple[int, str]:
        # A sender that has not been here: greylisting remembers who has.
        with lab.smtp(25, "starttls") as session:
            return session.send(f"outside-{token}@{lab.helo}", [user], content)

    code, reply = deliver()
    if not 400 <= code <= 499:
        raise CheckFailed(f"at the first try it was answered with {code} {reply}")
    lab.run(lab.commands["greylist_later"])
    checks.accepted(*deliver(), "the second try")
    lab.find(f"<{token}@{lab.helo}>", folder="Junk")
    return f"{code} {reply}; {mailbox.absent(*lab.files(user), 'INBOX', token.upper())}"


@registry.check("store-cannot-write")
def store_cannot_write(lab: Lab) -> str:
    """While the stores of the filter cannot write, mail is taken and judged in both directions, also what would be asked to come again,
    and users move it to Junk."""
    user, token = lab.account()[0], secrets.token_hex(8)
    said = []
    stores = (lab.commands["store"], lab.commands["store_passing"])
    kept = {ask: {name: lab.run(f"{ask} config get {name}").split()[-1] for name in ("maxmemory", "maxmemory-policy")} for ask in stores}
    try:
        for ask in stores:
            lab.run(f"{ask} config set maxmemory-policy noeviction && {ask} config set maxmemory 1")
            refusal = lab.run(f"{ask} set postmaster-mail-test 1 2>&1", check=False)
            if "OOM" not in refusal:
                raise CheckFailed(f"a store that has no memory left answers {refusal}")
        message, own = lab.message(f"outside@{lab.helo}", user, Subject=token), lab.message(user, user)
        said += [lab.deliver(message, user), lab.submit(own)]
        for sent in (message, own):
            lab.find(sent["Message-ID"])
        code, reply = send_from(lab, spammy(lab, token), f"outside-{token}@{lab.helo}", "", lab.helo, user)
        said.append(checks.accepted(code, reply, "a spammy message that comes again"))
        lab.find(f"<{token}@{lab.helo}>", folder="Junk")
        mailbox.move(*lab.files(user), token, "INBOX", "Junk")
    finally:
        for ask, values in kept.items():
            lab.run(" && ".join(f"{ask} config set {name} {value}" for name, value in values.items()))
    mailbox.purge(*lab.files(user), token)
    return "; ".join(said)


@registry.check("large-archives")
def large_archives(lab: Lab) -> str:
    """While several large archives come in at once and are scanned, other mail is taken, and does not wait until they are. The archive with
    a program in it is refused, the others arrive."""
    user, outside, tag = lab.account()[0], f"outside@{lab.helo}", secrets.token_hex(8)
    # As large as one message may be (50 MiB), encoded.
    size, count = (36_000_000, 5) if os.environ.get("POSTMASTER_MAIL_SLOW") else (7_000_000, 3)
    slow = dataclasses.replace(lab, timeout=600)

    def large(last: str) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for number in range(size // 4000):
                archive.writestr(f"{number // 100}/{number}.txt", os.urandom(3900))
            archive.writestr(last, "the last of them")
        return base64.encodebytes(stream.getvalue()).replace(b"\n", b"\r\n")

    contents = {"read me.txt": large("read me.txt"), "invoice.exe": large("invoice.exe")}

    def send(number: int) -> tuple[int, str]:
        head = lab.message(outside, user, Subject=tag)
        del head["Message-ID"], head["Content-Type"], head["Content-Transfer-Encoding"]
        lines = [*(f"{name}: {value}" for name, value in head.items()), f"Message-ID: <{tag}-{number}@{lab.helo}>",
                 "Content-Type: application/zip; name=all.zip", "Content-Transfer-Encoding: base64", "", ""]
        content = "\r\n".join(lines).encode() + contents["read me.txt" if number else "invoice.exe"]
        with slow.smtp(25) as session:
            return session.send(outside, [user], content)

    took = []
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        sent = [pool.submit(send, number) for number in range(count)]
        while not all(one.done() for one in sent):
            message, began = lab.message(outside, user, Subject=tag), time.monotonic()
            lab.deliver(message, user)
            took.append(time.monotonic() - began)
    answers = [one.result() for one in sent]
    if len(took) < count or max(took) > AT_ONCE:
        raise CheckFailed(f"beside {count} large archives {len(took)} other messages were taken, the slowest in {max(took):.1f} s")
    checks.refused(*answers[0], "a large archive with a program in it")
    for number, answer in enumerate(answers[1:], 1):
        checks.accepted(*answer, "a large archive")
        lab.find(f"<{tag}-{number}@{lab.helo}>")
    mailbox.purge(*lab.files(user), tag)
    return f"{count} of {len(contents['read me.txt']) / 1e6:.0f} MB, and {len(took)} others, the slowest in {max(took):.1f} s"


@registry.check("blocked-attachments")
def blocked_attachments(lab: Lab) -> str:
    """A program that is attached is refused, from strangers and users alike, also in an archive, under whatever of its names or none; other
    files arrive."""
    (user, password), stranger = lab.account(), f"outside@{lab.helo}"

    def archive(name: str) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as found:
            found.writestr("read me.txt", "one")
            found.writestr(name, "two")
        return stream.getvalue()

    def attached(content: bytes, name: str, sender: str, in_type: str = "") -> Any:
        message = lab.message(sender, user)
        message.add_attachment(content, "application", "octet-stream", filename=name)
        if in_type:
            next(iter(message.iter_attachments())).set_param("name", in_type)
        return message

    def answer(sender: str, message: Any) -> tuple[int, str]:
        with lab.smtp(587 if sender == user else 25, "starttls") as session:
            if sender == user:
                session.login(user, password)
            return session.send(sender, [user], message.as_bytes())

    said = ""
    program = b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0\x4c\x01" + bytes(200)
    for sender in (stranger, user):
        for content, name, in_type in ((b"x", "invoice.exe", ""), (b"x", "Invoice.PDF.Scr", ""), (b"x", "a.js .", ""),
                                       (b"x", "a.txt", "a.vbs"), (archive("invoice.lnk"), "invoice.zip", ""),
                                       (archive("a/b/c.JS"), "x.dat", ""),
                                       (program, "invoice.pdf", "")):
            code, reply = answer(sender, attached(content, name, sender, in_type))
            if code not in (550, 554) or "5.7.1" not in reply:
                raise CheckFailed(f"{name} {in_type} from {sender} was answered with {code} {reply}")
            said = reply
        message = attached(archive("notes.txt"), "notes.zip", sender)
        checks.accepted(*answer(sender, message), f"notes.zip from {sender}")
        lab.find(message["Message-ID"])
    return said


@registry.check("viruses")
def viruses(lab: Lab) -> str:
    """A message with a virus is refused, also in an archive and from a user of this server, and other messages are not; while the scanner
    is away, mail is deferred."""
    if not lab.filter.get("antivirus"):
        raise CheckSkipped("the inventory asks for no scanner of viruses")
    user, other = lab.account()[0], lab.account(1)[0]
    # In two parts, so that nobody takes this file for one.
    virus = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("letter.txt", virus)

    def answer(sender: str, content: bytes, name: str) -> tuple[int, str, str]:
        message = lab.message(sender, other)
        message.add_attachment(content, "application", "octet-stream", filename=name)
        with lab.smtp(587 if sender == user else 25, "starttls") as session:
            if sender == user:
                session.login(*lab.account())
            return *session.send(sender, [other], message.as_bytes()), message["Message-ID"]

    outside, said = f"outside@{lab.helo}", []
    for sender, content, name in itertools.product((outside, user), (virus, archive.getvalue()), ("letter.bin",)):
        code, reply, _token = answer(sender, content, name)
        if code not in (550, 554) or "virus" not in reply:
            raise CheckFailed(f"a virus of {sender} was answered with {code} {reply}")
        said.append(f"{sender}: {code} {reply}")
    code, reply, token = answer(outside, virus[:-1], "letter.bin")
    checks.accepted(code, reply, "a message without a virus")
    lab.find(token, lab.account(1))
    lab.run(lab.commands["stop_scanner"])
    try:
        code, reply, _token = answer(outside, secrets.token_bytes(60), "letter.bin")
        if not 400 <= code <= 499:
            raise CheckFailed(f"without the scanner a message was answered with {code} {reply}")
    finally:
        lab.run(lab.commands["start_scanner"])
    return "; ".join([*said, f"without the scanner: {code} {reply}"])


def learned(lab: Lab) -> tuple[int, int]:
    """How many messages of spam and of ham the statistics backend has learnt, as the backend itself counts them."""
    spam, ham = lab.run(lab.commands["learned"]).split()
    return int(spam), int(ham)


@registry.check("junk-learning")
def junk_learning(lab: Lab) -> str:
    """Moving to Junk teaches spam, moving back teaches ham, by MOVE and by COPY; moving from Junk to Trash, or to what mail clients call
    their own folders for deleted mail and junk, teaches nothing."""
    user = lab.account()[0]
    said = []

    def teaches(what: str, token: str, source: str, target: str, by: str, expected: str) -> None:
        before, known = learned(lab), lab.run(lab.commands["learned_as"])
        mailbox.move(*lab.files(user), token, source, target, by)
        # Learning is done after the IMAP command has been answered; where nothing is to happen there is nothing to wait for.
        end = time.monotonic() + (PATIENCE if expected else 3)
        while True:
            taught = dict(zip(("spam", "ham"), (now - then for now, then in zip(learned(lab), before)), strict=True))
            # What is learnt anew is taken back from the other kind, by newer versions.
            right = [kind for kind, count in taught.items() if count > 0] == ([expected] if expected else [])
            if time.monotonic() > end or (expected and right):
                break
            time.sleep(0.3)
        if not right or sum(abs(count) for count in taught.values()) > 2:
            raise CheckFailed(f"{what} by {by} taught {taught}, not {expected or 'nothing'}")
        said.append(f"{what} by {by}: spam {taught['spam']:+d}, ham {taught['ham']:+d}")
        # Rspamd counts first, and then takes down which kind the message is: before that it would not know the next move for a correction.
        while expected and lab.run(lab.commands["learned_as"]) == known:
            if time.monotonic() > end:
                raise CheckFailed(f"{what} by {by} was counted, and not remembered as {expected}")
            time.sleep(0.2)  # the store has no event to wait for

    def new() -> str:
        token = secrets.token_hex(8)
        text = " ".join(secrets.token_hex(4) for _ in range(60))
        mailbox.append(*lab.files(user), "INBOX", lab.message(f"x@{lab.helo}", user, text + "\n", Subject=token).as_bytes())
        return token

    for by in ("MOVE", "COPY"):
        token = new()
        teaches("to Junk", token, "INBOX", "Junk", by, "spam")
        teaches("from Junk", token, "Junk", "INBOX", by, "ham")
    if lab.learns_again:
        teaches("to Junk again", token, "INBOX", "Junk", "MOVE", "spam")
    else:
        mailbox.purge(*lab.files(user), token)
        token = new()
        teaches("another to Junk", token, "INBOX", "Junk", "MOVE", "spam")
    # What separates a folder from those below it.
    unwanted = [folder.replace(".", "/" if lab.mailboxes.get("shared") else ".") for folder in UNWANTED]
    with lab.imap() as box:
        for folder in unwanted:
            box.create(f'"{folder}"')
    # It comes back as the spam that is known.
    for folder in unwanted[:-1]:
        mailbox.move(*lab.files(user), token, "Junk", folder)
        mailbox.move(*lab.files(user), token, folder, "Junk")
    teaches(f"from Junk to {', '.join(unwanted)}", token, "Junk", unwanted[-1], "MOVE", "")
    with lab.imap() as box:
        for folder in unwanted[:-1]:
            box.delete(f'"{folder}"')
    mailbox.purge(*lab.files(user), token)
    return "; ".join(said)


@registry.check("junk-moved-at-once")
def junk_moved_at_once(lab: Lab) -> str:
    """A user who moves very many messages to Junk at once waits for the move alone, also while the filter hangs, and all are learnt."""
    user, token, count = lab.account()[0], secrets.token_hex(8), 2000 if os.environ.get("POSTMASTER_MAIL_SLOW") else 100
    with mailbox.session(*lab.files(user)) as box:
        for _ in range(count):
            text = " ".join(secrets.token_hex(4) for _ in range(60))
            message = lab.message(f"x@{lab.helo}", user, text + "\n", Subject=token)
            box.append("INBOX", "", None, message.as_bytes())
    before = learned(lab)[0]
    lab.run("pkill -STOP -x rspamd")
    try:
        begun = time.monotonic()
        mailbox.move(*lab.files(user), token, "INBOX", "Junk")
        took = time.monotonic() - begun
    finally:
        lab.run("pkill -CONT -x rspamd")
    if took > AT_ONCE:
        raise CheckFailed(f"{count} messages were moved to Junk in {took:.0f} s")
    end = time.monotonic() + PATIENCE
    while (taught := learned(lab)[0] - before) < count:
        if time.monotonic() > end:
            raise CheckFailed(f"of {count} messages that were moved to Junk {taught} were learnt as spam")
        time.sleep(0.5)  # the store has no event to wait for
    mailbox.purge(*lab.files(user), token)
    return f"{count} messages moved in {took:.1f} s, and learnt"


@registry.check("junk-expires")
def junk_expires(lab: Lab) -> str:
    """What lies in Junk, and where it is asked for in Trash, is deleted when its days are over, and not before; INBOX keeps everything."""
    if not lab.commands["days_later"]:
        raise CheckSkipped("no program of this system can be shown another clock")
    user, token = lab.account()[0], secrets.token_hex(8)
    days = {"Junk": lab.mailboxes.get("junk_days", 60), "Trash": lab.mailboxes.get("trash_days", 0), "INBOX": 0}
    content = lab.message(f"outside@{lab.helo}", user, Subject=token).as_string()
    for folder in days:
        # By IMAP, what comes into Junk would be learnt.
        lab.run(f"printf %s {shlex.quote(content)} | doveadm save -u {user} -m {folder}")

    def kept(later: int) -> list[str]:
        """Return the folders that have the message after a session of IMAP so many days later."""
        lab.run(lab.commands["days_later"].format(days=later, user=user))
        with mailbox.session(*lab.files(user)) as box:
            return [folder for folder in days
                    if box.select(folder, readonly=True)[0] == "OK" and box.search(None, "SUBJECT", token)[1] != [b""]]

    moments = sorted({days["Junk"] - 1, days["Junk"] + 1, days["Junk"] + days["Trash"] + 400} - {-1})
    try:
        for moment in moments:
            wanted = [folder for folder, limit in days.items() if not limit or moment < limit]
            end = time.monotonic() + PATIENCE
            # A session does not look for what is old while another one does, such as ours that has just ended.
            while set(found := kept(moment)) > set(wanted) and time.monotonic() < end:
                time.sleep(1)
            if found != wanted:
                raise CheckFailed(f"after {moment} days the message is in {', '.join(found) or 'no folder'}, where {days} are the limits")
    finally:
        for folder in days:
            lab.run(f"doveadm expunge -u {user} mailbox {folder} subject {token}")
    return f"looked at after {', '.join(map(str, moments))} days: {days}"


@registry.check("learns-by-itself")
def learns_by_itself(lab: Lab) -> str:
    """Good mail from an authenticated domain is learnt as ham without anybody's help, as long as there is not too much ham already."""
    user = lab.account()[0]
    while (counts := learned(lab))[1] > counts[0]:
        text = " ".join(secrets.token_hex(4) for _ in range(60))
        message = lab.message(f"x@{lab.helo}", user, text + "\n")
        mailbox.append(*lab.files(user), "Junk", message.as_bytes())
        end = time.monotonic() + PATIENCE
        while learned(lab)[0] == counts[0]:
            if time.monotonic() > end:
                raise CheckFailed("a message that was put into Junk is not learnt as spam")
            time.sleep(0.3)  # the store has no event to wait for
    text = " ".join(secrets.token_hex(4) for _ in range(60))
    message = lab.message(lab.bigmail["user"], user, text + "\n")
    elsewhere(lab).submit(message)
    lab.find(message["Message-ID"])
    end = time.monotonic() + PATIENCE
    while learned(lab)[1] == counts[1]:
        if time.monotonic() > end:
            raise CheckFailed(f"a message of {message['From']} was not learnt as ham, beside {counts[0]} of spam and {counts[1]} of ham")
        time.sleep(0.3)  # the store has no event to wait for
    return f"ham {counts[1]:+d}, then {learned(lab)[1]:+d}, beside {counts[0]} of spam"


@registry.check("learnt-stays")
def learnt_stays(lab: Lab) -> str:
    """A restart of the statistics backend loses nothing that was learnt."""
    before = learned(lab)
    if not any(before):
        raise CheckFailed("nothing was learnt before the restart")
    lab.run(lab.commands["restart_store"])
    if learned(lab) != before:
        raise CheckFailed(f"{before} messages of spam and ham before the restart, {learned(lab)} after it")
    return f"{before} messages of spam and ham before and after"


@registry.check("pop3")
def pop3(lab: Lab) -> str:
    """A user fetches mail by POP3 on 995 and deletes it, with the same certificate and password as by IMAP; on 110 nobody answers, and a
    wrong password is one by IMAP, too."""
    if not lab.mailboxes.get("pop3"):
        raise CheckSkipped("the inventory asks for no POP3")
    user, password = lab.account()
    message = lab.message(f"outside@{lab.helo}", user)
    lab.deliver(message, user)
    lab.find(message["Message-ID"])
    for _family, address in lab.every_address():
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as plain:
            plain.settimeout(5)
            if plain.connect_ex((address, 110)) == 0:
                raise CheckFailed(f"port 110 of {address} is open")

    def opened() -> poplib.POP3_SSL:
        return poplib.POP3_SSL(lab.fqdn, 995, context=lab.tls(), timeout=lab.timeout)

    session = opened()
    session.user(user)
    try:
        session.pass_("wrong " + secrets.token_hex(4))
    except poplib.error_proto as exc:
        refusal = str(exc)
    else:
        raise CheckFailed("a wrong password is taken")
    finally:
        session.close()
    session = opened()
    session.user(user.upper())
    session.pass_(password)
    count = session.stat()[0]
    numbers = [number for number in range(1, count + 1)
               if message["Message-ID"].encode() in b"\n".join(session.top(number, 0)[1])]
    if len(numbers) != 1:
        raise CheckFailed(f"of {count} messages {len(numbers)} are {message['Message-ID']}")
    session.dele(numbers[0])
    session.quit()
    with lab.imap() as box:
        box.select("INBOX")
        if box.search(None, "HEADER", "Message-ID", f'"{message["Message-ID"]}"')[1] != [b""]:
            raise CheckFailed("a message that was deleted by POP3 is still in INBOX")
    return f"one of {count} fetched and deleted; a wrong password: {refusal}"


def waits(box: imaplib.IMAP4) -> None:
    """Let a session wait for new mail (RFC 2177)."""
    box.select("INBOX")
    box.send(b"idle IDLE\r\n")
    while line := box.readline():
        if line.startswith(b"+"):
            return
    raise CheckFailed("IDLE is not answered")


def is_open(box: imaplib.IMAP4) -> bool:
    """Tell whether a session that waits is still open."""
    try:
        box.send(b"DONE\r\n")
        while line := box.readline():
            if line.startswith(b"idle OK"):
                return True
    except (OSError, imaplib.IMAP4.error):
        pass
    return False


@registry.check("password-changed")
def password_changed(lab: Lab) -> str:
    """When a user's password is changed, all of that user's sessions end, of IMAP while they wait for new mail, and of submission at the
    next message; the old password is refused and the new one taken. Sessions of others, and of port 25, go on."""
    if not lab.playbook:
        raise CheckSkipped("no playbook to run")
    (user, old), (other, new) = lab.account(), lab.account(1)
    changed = {**lab.users, user: {**lab.users[user], "password_hash": lab.users[other]["password_hash"]}}
    tags = ("--tags", "dovecot,postfix,opensmtpd")
    with contextlib.ExitStack() as sessions:
        boxes = {account[0]: sessions.enter_context(lab.imap(account)) for account in ((user, old), (other, new))}
        submissions = {account: sessions.enter_context(lab.smtp(587, "starttls")) for account in (user, other)}
        stranger = sessions.enter_context(lab.smtp())
        for account, password in ((user, old), (other, new)):
            waits(boxes[account])
            submissions[account].login(account, password)
            checks.accepted(*submissions[account].envelope(account, other), f"a message of {account}")
        try:
            lab.playbook(*tags, "-e", json.dumps({"mail_users": changed}), changes=True)
            if is_open(boxes[user]):
                raise CheckFailed(f"an IMAP session of {user} by the old password is still open")
            code, reply = submissions[user].mail(user)
            if code == 250:
                code, reply = submissions[user].rcpt(other)
            if code != 421:
                raise CheckFailed(f"a message in a session by the old password of {user} was answered with {code} {reply}")
            if not is_open(boxes[other]):
                raise CheckFailed(f"an IMAP session of {other} was ended")
            checks.accepted(*submissions[other].envelope(other, other), f"a message in a session of {other}")
            checks.accepted(*stranger.envelope(f"outside@{lab.helo}", other), "a message of another server")
            with lab.smtp(587, "starttls") as session:
                refused, _reply = session.authenticate(user, old)
                if refused != 535:
                    raise CheckFailed(f"the old password of {user} was answered with {refused} by submission")
            with contextlib.suppress(imaplib.IMAP4.error), lab.imap((user, old)):
                raise CheckFailed(f"the old password of {user} was taken by IMAP")
            with lab.imap((user, new)), lab.smtp(587, "starttls") as session:
                session.login(user, new)
        finally:
            lab.playbook(*tags, changes=True)
            sends_again(lab, user, old)
    return f"{code} {reply}"


def sends_again(lab: Lab, user: str, password: str) -> None:
    """Log in until messages are taken: a server may ask for that once more in the seconds after a change."""
    end = time.monotonic() + PATIENCE
    while True:
        with lab.smtp(587, "starttls") as session:
            session.login(user, password)
            code, reply = session.mail(user)
        if code == 250:
            return
        if code != 421 or time.monotonic() > end:
            raise CheckFailed(f"a message of {user} was answered with {code} {reply}")
        time.sleep(1)


@registry.check("login-forms")
def login_forms(lab: Lab) -> str:
    """Users read their mail on 993 and, after STARTTLS, on 143, and may write their address in any case."""
    return mailbox.login_works(*lab.files(lab.account()[0]))


@registry.check("shared-mailboxes")
def shared_mailboxes(lab: Lab) -> str:
    """A user lets another one read a folder, who finds it below shared/, and can neither write to it nor read the owner's other folders; a
    third one sees nothing of it, and neither does the second one after it is taken back. Who has read what is each reader's own."""
    if not lab.mailboxes.get("shared"):
        raise CheckSkipped("the inventory has no shared mailboxes")
    owner, reader, third = lab.accounts[:3]
    folder = f"shares-{secrets.token_hex(4)}"
    theirs = f"shared/{owner[0]}/{folder}"

    def expect(answer: tuple[str, Any], wanted: str, what: str) -> Any:
        if answer[0] != wanted:
            raise CheckFailed(f"{what} was answered with {answer}")
        return answer[1]

    def sees(account: tuple[str, str]) -> bool:
        with lab.imap(account) as box:
            listed = folder.encode() in b"".join(line or b"" for line in box.list('""', '"shared/*"')[1])
            selected = box.select(f'"{theirs}"', readonly=True)[0] == "OK"
        if listed != selected:
            raise CheckFailed(f"{account[0]} {'sees' if listed else 'does not see'} {theirs}, and can{'' if selected else 'not'} open it")
        return selected

    message = lab.message(f"outside@{lab.helo}", owner[0]).as_bytes()
    with lab.imap(owner) as box:
        if b"ACL" not in (capabilities := box.capability()[1][0].split()):
            raise CheckFailed(f"ACL is not among {capabilities}")
        expect(box.create(folder), "OK", "CREATE")
        try:
            expect(box.append(folder, "", None, message), "OK", "APPEND")
            if sees(reader) or sees(third):
                raise CheckFailed(f"{folder} is shared before its owner says so")
            expect(box.setacl(folder, f'"{reader[0]}"', "lrs"), "OK", "SETACL")
            if not sees(reader) or sees(third):
                raise CheckFailed(f"{folder} is shared with {reader[0]}, but it is not so that he alone sees it")
            with lab.imap(reader) as other:
                expect(other.select(f'"{theirs}"'), "OK", "SELECT")
                if message.splitlines()[0] not in expect(other.fetch("1", "(BODY[])"), "OK", "FETCH")[0][1]:
                    raise CheckFailed("another message is in the shared folder")
                refusal = expect(other.append(f'"{theirs}"', "", None, message), "NO", "APPEND of a reader")
                expect(other.setacl(f'"{theirs}"', f'"{third[0]}"', "lrs"), "NO", "SETACL of a reader")
                for name in ("/INBOX", ""):
                    expect(other.select(f'"shared/{owner[0]}{name}"'), "NO", "SELECT of the owner's INBOX")
            expect(box.select(folder), "OK", "SELECT")
            if expect(box.search(None, "UNSEEN"), "OK", "SEARCH") != [b"1"]:
                raise CheckFailed("what a reader has read is read for the owner")
            expect(box.close(), "OK", "CLOSE")
            expect(box.deleteacl(folder, f'"{reader[0]}"'), "OK", "DELETEACL")
            if sees(reader):
                raise CheckFailed(f"{folder} is still shared after its owner took that back")
        finally:
            box.delete(folder)
    return f"{theirs}: {refusal}"


@registry.check("full-text-search")
def full_text_search(lab: Lab) -> str:
    """Words of a message are in the index as soon as it has arrived, and a search finds the message by them, also within an attached text,
    in capital letters and by the beginning of a word; a message that is deleted is not found any more."""
    if not lab.mailboxes.get("full_text_search"):
        raise CheckSkipped("the inventory asks for no index")
    user, word = lab.account()[0], "".join(secrets.choice("abcdefghijklmnop") for _ in range(14))
    message = lab.message(f"outside@{lab.helo}", user, f"The {word} is here.\n")
    attached = word[::-1]
    message.add_attachment(f"And so is {attached}.\n", filename="words.txt")
    lab.deliver(message, user)
    lab.find(message["Message-ID"])
    end = time.monotonic() + PATIENCE
    # The index is asked alone: IMAP would read all messages where there is none.
    while not re.search(r"\d", found := lab.run(f"doveadm fts lookup -u {user} mailbox INBOX body {word} 2>&1", check=False)):
        if time.monotonic() > end:
            raise CheckFailed(f"{word} is not in the index: {found}")
        time.sleep(0.5)  # there is no event to wait for
    with lab.imap() as box:
        box.select("INBOX")
        for text in (word, word.upper(), word[:9], attached):
            numbers = box.search(None, "BODY", text)[1][0].split()
            if len(numbers) != 1:
                raise CheckFailed(f"a search for {text} finds {len(numbers)} messages")
        box.store(numbers[0].decode(), "+FLAGS", "\\Deleted")
        box.expunge()
        if box.search(None, "BODY", word)[1] != [b""]:
            raise CheckFailed("a search finds a message that was deleted")
    return found.strip()


@registry.check("sieve-acts")
def sieve_acts(lab: Lab) -> str:
    """A script that a user uploads by ManageSieve files the next message; a broken one is refused at upload."""
    user = lab.account()[0]

    def deliver(content: bytes, recipient: str) -> None:
        with lab.smtp(25, "starttls") as session:
            checks.accepted(*session.send(f"outside@{lab.helo}", [recipient], content), "a message")

    evidence = mailbox.sieve_script_acts(*lab.files(user), deliver)
    return f"{evidence}; {mailbox.sieve_bad_script_refused(*lab.files(user))}"


@contextlib.contextmanager
def full(lab: Lab) -> Iterator[str]:
    """The mailbox of the last account, which has a quota, over it for a while."""
    if not lab.quota:
        raise CheckSkipped("no account has a quota")
    user, _password = lab.accounts[-1]
    token = secrets.token_hex(8)
    with lab.imap(lab.accounts[-1]) as box:  # what an earlier, broken run may have left there
        _status, count = box.select("INBOX")
        if count != [b"0"]:
            box.store("1:*", "+FLAGS", "\\Deleted")
            box.expunge()
    forgotten(lab, user)
    # One message that is larger than the box: the last that fits may exceed the quota, so that nothing accepted is held up.
    with lab.smtp(25, "starttls") as session:
        content = mailbox.message(token, f"outside@{lab.helo}", user, size=lab.quota + 1_000_000)
        checks.accepted(*session.send(f"outside@{lab.helo}", [user], content), "a message that fills the mailbox")
    mailbox.wait_for(*lab.files(user), "INBOX", token)
    try:
        yield user
    finally:
        mailbox.purge(*lab.files(user), token)


@registry.check("quota")
def quota(lab: Lab) -> str:
    """A user sees the quota by IMAP; a recipient over quota is refused at RCPT, by whichever name, while others get their mail, and taken
    again when there is room."""
    with full(lab) as user:
        if days := lab.mailboxes.get("full_days"):
            full_since(lab, user, days)
        shown = mailbox.quota_shown(*lab.files(user), lab.quota)
        domain = next((domain for domain, targets in lab.catch_all.items() if targets == [user]), "")
        if not domain:
            raise CheckSkipped(f"no catch-all leads to {user}")
        aliases = [name for name, found in lab.aliases.items() if list(found) == [user]]
        if not any(set("&='") <= set(name) for name in aliases):
            raise CheckSkipped(f"no alias with &, = and ' in its name leads to {user}")
        names = [user, lab.detailed(user), *aliases, f"any-{secrets.token_hex(3)}@{domain}", lab.detailed(f"any@{domain}")]
        others = [lab.account()[0], *(alias for alias in lab.aliases if alias.endswith(f"@{domain}") and lab.aliases[alias] != [user])]
        with lab.smtp() as session:
            for name in names:
                evidence = checks.refused(*session.envelope(f"outside@{lab.helo}", name), f"{name} over quota")
            for other in others:
                checks.accepted(*session.envelope(f"outside@{lab.helo}", other), f"{other}, which is not only that mailbox,")
    with lab.smtp() as session:
        for name in names:
            checks.accepted(*session.envelope(f"outside@{lab.helo}", name), f"{name} with room again")
    return f"{shown}; {', '.join(names)}: {evidence}; taken: {', '.join(others)}"


def forgotten(lab: Lab, user: str) -> None:
    """Wait until the host knows nothing of when a mailbox was full; that takes a moment, and Dovecot looks once a second at most."""
    if lab.mailboxes.get("full_days"):
        lab.run(f"for i in $(seq 100); do [ -e {FULL}/{user} ] || {{ sleep 1; exit 0; }}; sleep 0.1; done; echo it is noted still; exit 1")


def full_since(lab: Lab, user: str, days: float) -> None:
    """Have the mailbox that is full be so for days: the host's note of the first question becomes older, and is acted on at the next."""
    note = f"{FULL}/{user}"
    noted = "for i in $(seq 100); do [ -{test} " + note + " ] && exit; sleep 0.1; done; echo not noted; exit 1"
    recipient_answered(lab, user)
    lab.run(noted.format(test="e"))
    since = time.strftime("%Y%m%d%H%M.%S", time.gmtime(time.time() - days * 86400))
    lab.run(f"[ -s {note} ] || TZ=UTC0 touch -t {since} {note}")
    recipient_answered(lab, user)
    if days >= lab.mailboxes["full_days"]:
        lab.run(noted.format(test="s"))
        end = time.monotonic() + PATIENCE
        while recipient_answered(lab, user)[0] == 452 and time.monotonic() < end:  # Dovecot looks at the note once a second
            time.sleep(0.2)


def recipient_answered(lab: Lab, recipient: str) -> tuple[int, str]:
    """Return how a recipient is answered."""
    with lab.smtp() as session:
        return session.envelope(f"outside@{lab.helo}", recipient)


@registry.check("full-for-days")
def full_for_days(lab: Lab) -> str:
    """Where variables say so, mail to a full mailbox is deferred at RCPT for days, by whichever name, and then refused. With room again
    nothing is kept of it."""
    days = lab.mailboxes.get("full_days")
    if not days:
        raise CheckSkipped("mail to a full mailbox is refused at once")
    said = []
    with full(lab) as user:
        names = [user, lab.detailed(user), *(name for name, found in lab.aliases.items() if list(found) == [user])]
        for age, expected in ((0, 452), (days - 0.1, 452), (days, 552)):
            if age:  # who asks first is answered before anything is noted
                full_since(lab, user, age)
            for name in names:
                code, reply = recipient_answered(lab, name)
                if code != expected or f"{expected // 100}.2.2" not in reply:
                    raise CheckFailed(f"{name}, full for {age:g} days of {days}, was answered with {code} {reply}")
            said.append(f"{age:g} days: {code} {reply}")
    forgotten(lab, user)
    checks.accepted(*recipient_answered(lab, user), f"{user} with room again")
    return "; ".join(said)


@registry.check("quota-warning")
def quota_warning(lab: Lab) -> str:
    """A user is warned by a message when four fifths of the quota are taken, and again when nearly all of it is."""
    if not lab.quota:
        raise CheckSkipped("no account has a quota")
    user, _password = account = lab.accounts[-1]
    with lab.imap(account) as box:  # what an earlier, broken run may have left there
        _status, count = box.select("INBOX")
        if count != [b"0"]:
            box.store("1:*", "+FLAGS", "\\Deleted")
            box.expunge()
    token, said = secrets.token_hex(8), []
    try:
        for part, percent in ((0.85, 80), (0.12, 95)):
            with lab.smtp(25, "starttls") as session:
                content = mailbox.message(token, f"outside@{lab.helo}", user, size=int(lab.quota * part))
                checks.accepted(*session.send(f"outside@{lab.helo}", [user], content), "a message")
            subject = f"Your mailbox is {percent} % full"
            warning = email.message_from_bytes(mailbox.wait_for(*lab.files(user), "INBOX", subject), policy=email.policy.default)
            if warning["To"] != user or warning["Auto-Submitted"] != "auto-generated":
                raise CheckFailed(f"the warning is no message of this server to {user}: {warning.items()}")
            said.append(subject)
    finally:
        for text in (token, "Your mailbox is"):
            mailbox.purge(*lab.files(user), text)
    return "; ".join(said)


@registry.check("deferred-quietly")
def deferred_quietly(lab: Lab) -> str:
    """Mail to an alias with a full mailbox reaches the others, and waits for that one until there is room. A stranger who sent it is told
    nothing meanwhile, not even after a day; a user of this server is warned, once."""
    foreign, other = lab.bigmail["user"], lab.account()[0]
    with full(lab) as user:
        alias = alias_to(lab, other, user)
        message, own = lab.message(foreign, alias), lab.message(other, alias)
        for origin, sent in ((elsewhere(lab), message), (lab, own)):
            origin.submit(sent)
            lab.find(sent["Message-ID"], within=PATIENCE)
        for found in waiting_since(lab, user, 2, "and was not deferred"):
            lab.run(lab.commands["a_day_later"].format(id=found.id))
        lab.run(lab.mta.flush)
        warnings_here(lab, own["Message-ID"], PATIENCE)
        lab.run(lab.mta.flush)
        # Long enough to be tried again, and for a report to get there; where nothing is to happen there is nothing to wait for.
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if report := report_here(lab, message["Message-ID"]):
                raise CheckFailed(f"{foreign} was told: {report['Subject']}")
            time.sleep(1)  # what must not come has no event
        said = waiting_since(lab, user, 2, "and waits no more after a day")[0].reason
        warnings = warnings_here(lab, own["Message-ID"])
        if len(warnings) != 1:
            raise CheckFailed(f"{other} was warned {len(warnings)} times: {warnings}")
    lab.run(lab.mta.flush)
    for sent in (message, own):
        lab.find(sent["Message-ID"], lab.accounts[-1], within=PATIENCE)
    if report := report_here(lab, message["Message-ID"]):
        raise CheckFailed(f"{foreign} was told, though all was delivered: {report['Subject']}")
    return f"waited for {user}: {said}; {other} was told: {warnings[0]}"


def waiting_since(lab: Lab, user: str, messages: int, otherwise: str) -> list[Any]:
    """Wait until so many messages for this user are deferred, and return them."""
    end = time.monotonic() + PATIENCE
    while len(found := [item for item in lab.all_waiting(user) if item.reason]) < messages:
        if time.monotonic() > end:
            raise CheckFailed(f"{messages} messages are for {user}, {otherwise}; our queue:\n{lab.run(lab.mta.list, check=False)}")
        time.sleep(0.5)  # the queue has no event to wait for
    return found


def warnings_here(lab: Lab, message_id: str, within: float = 0) -> list[str]:
    """Return the subjects of the reports about a message that the first account has, if need be after a while."""
    end = time.monotonic() + within
    with lab.imap() as box:
        while True:
            box.select("INBOX")
            _status, uids = box.uid("search", "FROM", "mailer-daemon", "TEXT", f'"{message_id}"')
            found = uids[0].decode().split()
            if found or time.monotonic() > end:
                break
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for
        if within and not found:
            raise CheckFailed(f"{lab.account()[0]} was not warned; our queue:\n{lab.run(lab.mta.list, check=False)}")
        data = [box.uid("fetch", uid, "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1][0][1] for uid in found]
    return [" ".join(text.decode().partition(":")[2].split()) for text in data]


@registry.check("only-what-should-listen")
def only_what_should_listen(lab: Lab) -> str:
    """On public addresses nothing listens but SSH, SMTP, submission, IMAP, POP3 where it is asked for, and ManageSieve."""
    allowed = {22, 25, 143, 465, 587, 993, 4190} | lab.further_ports | ({995} if lab.mailboxes.get("pop3") else set())
    opened: dict[str, list[int]] = {}
    for _family, address in lab.every_address():
        opened[address] = []
        for port in range(1, 65536):
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.settimeout(2)
                if probe.connect_ex((address, port)) == 0:
                    opened[address].append(port)
    for address, ports in opened.items():
        if set(ports) != allowed:
            further, closed = sorted(set(ports) - allowed), sorted(allowed - set(ports))
            raise CheckFailed(f"on {address}: open beyond what should be {further}, closed {closed}")
    listening = [line.split() for line in lab.run(lab.commands["udp"]).splitlines()]
    # The fourth column is the own address in what ss and netstat tell.
    public = [words[3] for words in listening if re.search(r"\d$", words[3]) and not re.match(r"127\.|\[?::1\]?[.:]", words[3])]
    if public:
        raise CheckFailed(f"UDP listeners: {public}")
    return ", ".join(map(str, sorted(allowed)))


@registry.check("renewal")
def renewal(lab: Lab) -> str:
    """A renewed certificate is served at once on every port, with the same key."""

    def served() -> dict[int, tuple[str, bytes]]:
        found = {}
        for port in checks.TLS_PORTS:
            with checks.open_tls(lab, lab.address(), port, lab.tls()) as tls:
                der = tls.getpeercert(binary_form=True)
                found[port] = (tls.getpeercert()["serialNumber"], public_key(der))
        return found

    before = served()
    lab.run(lab.commands["renew"])
    after = served()
    for port, (serial, key) in after.items():
        if serial == before[port][0]:
            raise CheckFailed(f"port {port} still serves the old certificate")
        if key != before[port][1]:
            raise CheckFailed(f"port {port} serves another key than before")
    if len({serial for serial, _key in after.values()}) != 1:
        raise CheckFailed(f"the ports serve different certificates: {after}")
    return f"serial {before[25][0]} became {after[25][0]} on {', '.join(map(str, after))}"


def public_key(der: bytes) -> bytes:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=ssl.DER_cert_to_PEM_cert(der).encode(), capture_output=True, check=True
    )
    return done.stdout


@registry.check("filter-down")
def filter_down(lab: Lab) -> str:
    """With the filter stopped mail is deferred, not waved through, and what a script is to redirect waits; with the filter back it is taken
    again."""
    user, owner = lab.account()[0], lab.account(1)[0]
    lab.run(lab.commands["stop_filter"])
    try:
        with mailbox.script(*lab.files(owner), f'redirect "{lab.bigmail["user"]}";\r\n'):
            waiting = past_filter(lab, user, owner, lab.message(user, owner).as_string())
        if not 400 <= waiting[0] <= 499:
            raise CheckFailed(f"with the filter stopped a message for a script that redirects it was answered with {waiting[1]}")
        message = lab.message(f"outside@{lab.helo}", user)
        with lab.smtp() as session:
            code, reply = session.send(f"outside@{lab.helo}", [user], message.as_bytes())
            if not 400 <= code <= 499:
                raise CheckFailed(f"with the filter stopped a message was answered with {code} {reply}")
    finally:
        lab.run(lab.commands["start_filter"])
    taken_again(lab, message, user)
    return f"{code} {reply}"


@registry.check("filter-hangs")
def filter_hangs(lab: Lab) -> str:
    """While the filter hangs, no message is taken without its verdict. OpenSMTPD, which asks it for nothing else, goes on to answer for
    recipients."""
    user, outside = lab.account()[0], f"outside@{lab.helo}"
    message = lab.message(outside, user)

    def send() -> tuple[int, str]:
        with dataclasses.replace(lab, timeout=PATIENCE).smtp() as session:
            return session.send(outside, [user], message.as_bytes())

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lab.run(lab.commands["signal_filter"].format(signal="STOP"))
        try:
            sent = pool.submit(send)
            if lab.mta.answers_alone:
                for _attempt in range(3):
                    with lab.smtp() as session:
                        checks.accepted(*session.envelope(outside, user), "a recipient while the filter hangs")
            with contextlib.suppress(concurrent.futures.TimeoutError):
                code, reply = sent.result(timeout=5)
                if not 400 <= code <= 499:
                    raise CheckFailed(f"while the filter hangs a message was answered with {code} {reply}")
        finally:
            lab.run(lab.commands["signal_filter"].format(signal="CONT"))
        code, reply = sent.result()
    if code == 250:
        if "Authentication-Results" not in lab.find(message["Message-ID"]):
            raise CheckFailed(f"a message that was sent while the filter hung was taken ({reply}) and never judged")
    elif not 400 <= code <= 499:
        raise CheckFailed(f"a message that was sent while the filter hung was answered with {code} {reply}")
    return f"{code} {reply}"


@registry.check("own-mail-restart")
def own_mail_restart(lab: Lab) -> str:
    """What a program on the host sends while the filter restarts is signed all the same."""
    user, recipient = f"postmaster@{lab.domains[0]}", lab.bigmail["user"]
    message = lab.message(user, recipient)
    send = f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(user)} {shlex.quote(recipient)}"
    lab.run(f"{lab.commands['stop_filter']}; {send} & {lab.commands['start_filter']}; wait $!")
    return left_signed(lab, message)


@registry.check("own-mail-waits")
def own_mail_waits(lab: Lab) -> str:
    """What a program on the host sends while the filter is away waits for it, and leaves signed."""
    user, recipient = f"postmaster@{lab.domains[0]}", lab.bigmail["user"]
    message = lab.message(user, recipient)
    lab.run(lab.commands["stop_filter"])
    try:
        lab.run(f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(user)} {shlex.quote(recipient)}")
    finally:
        lab.run(lab.commands["start_filter"])
    return left_signed(lab, message)


def left_signed(lab: Lab, message: Any) -> str:
    """Wait until the filter is back and what waited for it has left; see that it is signed."""
    user = lab.account()[0]
    taken_again(lab, lab.message(f"outside@{lab.helo}", user), user)
    lab.run(lab.mta.flush)
    found = authentication(lab.at_bigmail(message["Message-ID"], within=PATIENCE))
    if found.get("dkim") != "pass":
        raise CheckFailed(f"the strict receiver found {found}")
    return ", ".join(f"{method}={result}" for method, result in sorted(found.items()))


def taken_again(lab: Lab, message: Any, user: str) -> None:
    """Wait until the filter is back and the message is taken."""
    end = time.monotonic() + PATIENCE
    while True:
        # Not every MTA asks the filter before the message is there.
        with lab.smtp() as session:
            back, answer = session.send(f"outside@{lab.helo}", [user], message.as_bytes())
        if back == 250:
            break
        if time.monotonic() > end:
            raise CheckFailed(f"with the filter back mail is still answered with {back} {answer}")
        time.sleep(0.5)  # Rspamd says nothing when it is ready
    lab.find(message["Message-ID"])


@registry.check("restart-of-everything")
def restart_of_everything(lab: Lab) -> str:
    """A message in the queue survives a restart of all services, and is delivered after it; one that is on hold stays in the queue until it
    is released. So is one from outside, which is taken while nobody can be asked for quotas."""
    user, outside = lab.account()[0], lab.message(f"outside@{lab.helo}", lab.account()[0])
    lab.run(lab.commands["stop_delivery"])
    sent = {}
    try:
        for what in ("held", "queued"):
            token = secrets.token_hex(8)
            sent[what] = f"<{token}@host.test>"
            lab.run(f"printf 'Subject: {what}\\nMessage-ID: <{token}@host.test>\\n\\nx\\n' | sendmail {shlex.quote(user)}")
            end = time.monotonic() + PATIENCE
            while not any(one["state"] == "waiting" and one["recipients"][0]["reason"] for one in waits_for(lab, user)):
                if time.monotonic() > end:
                    raise CheckFailed(f"the message is not in the queue while Dovecot is stopped: {waits_for(lab, user)}")
                time.sleep(0.3)
            if what == "held":
                lab.run(f"postmaster-mail queue hold --to {shlex.quote(user)}")
        lab.deliver(outside, user)
    finally:
        lab.run(lab.commands["restart_all"])
    lab.run(lab.mta.flush)
    lab.find(sent["queued"], within=PATIENCE)
    lab.find(outside["Message-ID"], within=PATIENCE)
    states = [one["state"] for one in waits_for(lab, user)]
    if states != ["held"]:
        raise CheckFailed(f"of one message on hold and one that is delivered, {states} are in the queue")
    lab.run(f"postmaster-mail queue release --to {shlex.quote(user)}")
    lab.find(sent["held"], within=PATIENCE)
    taken_again(lab, lab.message(f"outside@{lab.helo}", user), user)
    return f"queued while Dovecot was stopped, delivered after: {lab.commands['restart_all']}"


def waits_for(lab: Lab, recipient: str) -> list[dict[str, Any]]:
    """Return the messages that postmaster-mail lists for a recipient, who is asked about from this host."""
    return json.loads(lab.run(f"postmaster-mail --json queue list --to {shlex.quote(recipient)}"))["messages"]


@registry.check("trace")
def trace(lab: Lab) -> str:
    """The command postmaster-mail tells what became of a message, hop by hop, and why one was refused; what another program of the host
    claims to have happened counts for nothing."""
    user, outside = lab.account()[0], f"outside@{lab.helo}"
    message = lab.message(outside, user)
    lab.deliver(message, user)
    lab.find(message["Message-ID"])
    unknown, forged = (f"{secrets.token_hex(8)}@{lab.domains[0]}" for _number in range(2))
    with lab.smtp(25) as session:
        session.command(f"MAIL FROM:<{outside}>")
        refusal = session.command(f"RCPT TO:<{unknown}>")
    if lab.commands["log_as"]:
        text = f"NOQUEUE: reject: RCPT from a[192.0.2.1]: 550 5.1.1 <{forged}>: no; from=<a@b.test> to=<{forged}> proto=SMTP helo=<a>"
        lab.run(f"cd / && su -m nobody -c {shlex.quote(lab.commands['log_as'].format(name='postfix/smtpd', text=shlex.quote(text)))}")
    found = traced(lab, message["Message-ID"], "deliver")
    steps = ["connect", "accept", *(["filter"] if lab.filtered else []), "deliver"]
    if [hop["step"] for hop in found["hops"]] != steps or found["recipients"] != {user: "delivered"}:
        raise CheckFailed(f"of a message that was delivered the trace is {found}")
    if lab.helo not in found["hops"][0]["text"] or "INBOX" not in found["hops"][-1]["text"]:
        raise CheckFailed(f"the trace tells neither whence it came nor where it is: {found['hops']}")
    refused = traced(lab, unknown, "refuse")["hops"][-1]
    if str(refusal[0]) not in refused["text"] or not refused["reason"]:
        raise CheckFailed(f"a recipient was refused with {refusal}, and the trace is {refused}")
    said = lab.run(f"postmaster-mail trace {forged} 2>&1", check=False)
    if "has nothing about" not in said:
        raise CheckFailed(f"what a program of nobody's logged is believed: {said}")
    return "; ".join(hop["text"] for hop in [*found["hops"], refused])


@registry.check("why")
def why(lab: Lab) -> str:
    """The command postmaster-mail explains what the filter found of a message that it refused, teaches it what is spam, and tells who has
    sent and logged in."""
    (user, _password), outside = lab.account(), f"outside@{lab.helo}"
    message = lab.message(outside, user)
    message.add_attachment(b"x", "application", "octet-stream", filename="invoice.exe")
    with lab.smtp(25, "starttls") as session:
        refusal = session.send(outside, [user], message.as_bytes())
    end = time.monotonic() + PATIENCE
    while not (found := json.loads(lab.run(f"postmaster-mail --json why {shlex.quote(message['Message-ID'])}", check=False) or "{}")).get(
        "verdicts"
    ):
        if time.monotonic() > end:
            raise CheckFailed(f"nothing explains why a message was refused with {refusal}")
        time.sleep(0.3)  # the journal has no event to wait for
    verdict = found["verdicts"][0]
    symbol = next((one for one in verdict["symbols"] if one["name"] == "ATTACHMENT_BLOCKED"), None)
    if verdict["action"] != "reject" or not symbol or verdict["reply"].removeprefix("5.7.1 ") not in refusal[1]:
        raise CheckFailed(f"refused with {refusal}, and explained as {verdict}")
    before = learned(lab)
    spam = f"Subject: {secrets.token_hex(8)}\n\n" + " ".join(secrets.token_hex(4) for _number in range(50))
    said = lab.run(f"printf %s {shlex.quote(spam)} | postmaster-mail learn spam -")
    end = time.monotonic() + PATIENCE
    while learned(lab)[0] != before[0] + 1:
        if time.monotonic() > end:
            raise CheckFailed(f"{said.strip()}, and {before} and {learned(lab)} messages were learnt before and after")
        time.sleep(0.3)
    lab.submit(lab.message(user, user))
    with lab.imap() as box:
        box.select("INBOX")
    end = time.monotonic() + PATIENCE
    while True:
        account = json.loads(lab.run(f"postmaster-mail --json accounts {shlex.quote(user)}"))["accounts"][0]
        if account["sent"] and (account["last_login"] or {}).get("service") == "imap":
            break
        if time.monotonic() > end:
            raise CheckFailed(f"{user} has sent a message and logged in, and of the account is known: {account}")
        time.sleep(0.3)
    return f"{symbol['name']}: {symbol['meaning']}; {said.strip()}; {user} has sent {account['sent']}"


@registry.check("lock")
def lock(lab: Lab) -> str:
    """The command postmaster-mail locks an account within seconds: what it had sent and waits is on hold, an open session at the mailbox
    ends, one at submission sends nothing any more, nobody logs in, its Sieve script sends nothing, and mail to it still arrives. Once it
    is unlocked all is as before."""
    user, password = lab.account()
    waits = stuck(lab, user)
    said = []
    with contextlib.ExitStack() as stack:
        submission = stack.enter_context(lab.smtp(587, "starttls"))
        submission.login(user, password)
        box = Imap(lab.address("ipv4"), lab.fqdn, lab.tls(), lab.timeout)
        box.login(user, password)
        box.select("INBOX")
        scripted(lab, user, f'redirect "{lab.bigmail["user"]}";\r\n')
        stack.callback(lambda: scripted(lab, user, ""))
        stack.callback(lambda: lab.run(f"postmaster-mail unlock {shlex.quote(user)}", check=False))
        begun = time.monotonic()
        done = json.loads(lab.run(f"postmaster-mail --json lock {shlex.quote(user)}"))
        if not done["held"] or not done["sessions_ended"]:
            raise CheckFailed(f"a message waits, a session is open, and the lock says {done}")
        session_over(box)
        said += [locked_out(lab, user, password, "")]
        code, reply = submission.send(user, [user], lab.message(user, user).as_bytes())
        if not 500 <= code <= 599 or "locked" not in reply:
            raise CheckFailed(f"a session that was open sends for a locked account: {code} {reply}")
        took = time.monotonic() - begun
        if took > AT_ONCE:
            raise CheckFailed(f"the lock took {took:.0f} s to hold")
        if {one["state"] for one in waits_for(lab, waits["To"])} != {"held"}:
            raise CheckFailed(f"what a locked account had sent is not on hold: {waits_for(lab, waits['To'])}")
        arrives = lab.message(lab.bigmail["user"], user)
        elsewhere(lab).submit(arrives)
        # What the script could not send on is kept.
        traced(lab, arrives["Message-ID"], "script")
        lab.run(f"postmaster-mail unlock {shlex.quote(user)}")
        lab.find(arrives["Message-ID"])
    sent = lab.message(user, user)
    lab.submit(sent)
    lab.find(sent["Message-ID"])
    lab.run(f"postmaster-mail queue delete --yes --to {shlex.quote(waits['To'])}")
    return f"after {took:.1f} s {reply}; {'; '.join(said)}"


def stuck(lab: Lab, user: str) -> Any:
    """Send a message that waits in the queue, since nobody has the address of its domain's host; return it."""
    if not lab.update:
        raise CheckSkipped("needs a zone to change")
    lab.update("shop.test", ("away.shop.test", "A", "198.51.100.250"))
    message = lab.message(user, f"{secrets.token_hex(4)}@away.shop.test")
    lab.submit(message)
    end = time.monotonic() + PATIENCE
    while not any(one["state"] == "waiting" and one["recipients"][0]["reason"] for one in waits_for(lab, message["To"])):
        if time.monotonic() > end:
            raise CheckFailed(f"a message to nobody's address is not deferred: {waits_for(lab, message['To'])}")
        time.sleep(0.3)  # the queue has no event to wait for
    return message


def scripted(lab: Lab, user: str, text: str) -> None:
    """Make a Sieve script the active one, or remove it (empty), in a session that ends."""
    host, _user, password, authority = lab.files(user)
    with mailbox.ManageSieve(host, authority) as sieve:
        sieve.login(user, password)
        if text:
            sieve.put("postmaster-mail-lock", text)
        else:
            sieve.remove("postmaster-mail-lock")


def session_over(box: Imap) -> None:
    """See that the server ends a session.

    :raises CheckFailed: it does not
    """
    try:
        box.noop()
        box.noop()
    except (OSError, imaplib.IMAP4.error):
        return
    raise CheckFailed("a session of a locked account goes on")


def locked_out(lab: Lab, user: str, password: str, by: str) -> str:
    """See that a locked account neither logs in nor sends; return how that looks."""
    try:
        Imap(lab.address("ipv4"), lab.fqdn, lab.tls(), lab.timeout).login(user, password)
    except (imaplib.IMAP4.error, CheckFailed) as exc:
        said = str(exc)
    else:
        raise CheckFailed(f"{user} is locked {by}and has logged in to the mailbox")
    with lab.smtp(587, "starttls") as session:
        try:
            session.login(user, password)
        except (CheckFailed, smtplib.SMTPException) as exc:
            return f"{said}; {exc}"
    raise CheckFailed(f"{user} is locked {by}and has logged in to send")


@registry.check("user-left")
def user_left(lab: Lab) -> str:
    """A user who has left, and whom the inventory locks, neither logs in nor sends, and whoever has the address now gets the mail to it."""
    if not lab.locked:
        raise CheckSkipped("the inventory locks nobody")
    said = []
    for account, secret in lab.locked:
        said.append(locked_out(lab, account, secret, "by the inventory "))
        message = lab.message(f"outside@{lab.helo}", account)
        lab.deliver(message, account)
        for heir in lab.aliases.get(account, []):
            if heir != account:
                lab.find(message["Message-ID"], next(one for one in lab.accounts if one[0] == heir))
        # A copy stays in the mailbox, which nobody opens.
        traced(lab, message["Message-ID"], "deliver")
        if account not in lab.run(f"postmaster-mail trace {shlex.quote(message['Message-ID'])}"):
            raise CheckFailed(f"no copy of a message to {account} is in the mailbox")
    return "; ".join(said)


NEVER = "the limit was never reached"
#: Further addresses of the controller, beside the usual one.
THIEVES = ("good.client.test", "listed.client.test", "198-51-100-9.dyn.client.test")


class Flood:
    """A flood of mail from one account, by several sessions at once: what was taken, and what was refused for the limit."""

    def __init__(self, lab: Lab, account: tuple[str, str], pause_at: int) -> None:
        """Have all wait once so many recipients were taken, until :attr:`go` is set."""
        self.lab, (self.user, self.password), self.pause_at = lab, account, pause_at
        self.token = secrets.token_hex(8)
        self.lock = threading.Lock()
        self.taken: list[tuple[str, int]] = []
        self.refused: list[tuple[int, str]] = []
        self.others: list[str] = []
        self.go, self.paused = threading.Event(), threading.Event()

    def recipients(self) -> int:
        return sum(count for _message, count in self.taken)

    def session(self, port: int, source: str) -> None:
        """Send until a message to one recipient is refused for the limit."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                with self.lab.smtp(port, {587: "starttls", 465: "wrapped"}[port], self.lab.address("ipv4"), source) as session:
                    session.login(self.user, self.password)
                    while time.monotonic() < end:
                        if self.recipients() >= self.pause_at:
                            self.paused.set()
                            self.go.wait(PATIENCE)
                        for count in (1, 2):
                            if self.one(session, count) and count == 1:
                                return
            except (OSError, smtplib.SMTPException, CheckFailed) as exc:
                with self.lock:
                    self.others.append(str(exc))
        with self.lock:
            self.others.append(NEVER)

    def one(self, session: Any, count: int) -> bool:
        """Send a message to so many recipients; tell whether it is refused for the limit."""
        message = self.lab.message(self.user, self.lab.bigmail["user"], Subject=f"flood {self.token}")
        code, reply = session.send(self.user, [self.lab.bigmail["user"], "second+flood@bigmail.test"][:count], message.as_bytes())
        with self.lock:
            if code == 250:
                self.taken.append((message["Message-ID"], count))
            elif "account may send to" in reply:
                self.refused.append((count, f"{code} {reply}"))
                return True
            else:
                self.others.append(f"{code} {reply}")
                if not 400 <= code <= 499:
                    raise CheckFailed(f"{code} {reply}")
        return False

    def arrived(self) -> int:
        """Wait until all that was taken has arrived at the strict receiver; return how many messages there are."""
        end = time.monotonic() + PATIENCE
        while True:
            with self.lab.big() as box:
                box.select("INBOX")
                found = len(box.uid("search", "SUBJECT", self.token)[1][0].split())
            if found >= len(self.taken):
                return found
            if time.monotonic() > end:
                raise CheckFailed(f"{len(self.taken)} messages were taken, and {found} have arrived")
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for


def limit_of(lab: Lab, user: str) -> dict[str, Any]:
    """Return what the command postmaster-mail knows of an account."""
    return json.loads(lab.run(f"postmaster-mail --json accounts {shlex.quote(user)}"))["accounts"][0]


def notices(lab: Lab, user: str, words: str, remove: bool = False) -> int:
    """Return how many messages about an account with these words are in the postmaster's mailbox."""
    with lab.imap() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "FROM", f'"postmaster@{lab.fqdn}"', "BODY", f'"{words}"')
        # The index of full-text search on Debian 12 finds no words with a hyphen in a body, such as those of some addresses.
        texts = {number: box.uid("fetch", number.decode(), "(BODY.PEEK[TEXT])")[1][0][1] for number in found[0].split()}
        numbers = [number for number, text in texts.items() if user.encode() in text]
        if remove and numbers:
            box.uid("store", b",".join(numbers).decode(), "+FLAGS", "(\\Deleted)")
            box.expunge()
        return len(numbers)


@registry.check("sending-limit")
def sending_limit(lab: Lab) -> str:
    """Whoever floods others with mail from a stolen account, from three addresses over both ports of submission, reaches exactly as many
    recipients as it may, also while the store restarts; then it is refused for now, with the moment from which on it is taken, also after a
    restart of store and filter. Others send as before, the postmaster can be asked and gets one notice, and who goes on is locked for
    sending until the account is unlocked, and then begins anew."""
    if not lab.limited:
        raise CheckSkipped("the inventory has no account with a limit of its own")
    user, password, limit = lab.limited[0]
    lab = dataclasses.replace(lab, timeout=PATIENCE)
    unlock = f"postmaster-mail unlock {shlex.quote(user)}"
    lab.run(unlock)
    notices(lab, user, "What more it sends", remove=True)
    flood = Flood(lab, (user, password), limit["day"] // 3)
    try:
        return flooded(lab, flood, limit)
    finally:
        flood.go.set()
        lab.run(unlock, check=False)


def flooded(lab: Lab, flood: Flood, limit: dict[str, int]) -> str:
    """The checks of the promise ``sending-limit``, for an account that begins anew."""
    user, began = flood.user, time.time()
    places = [(port, socket.gethostbyname(name)) for name in THIEVES for port in (587, 465)]

    def from_everywhere(while_sending: Callable[[], None]) -> None:
        with concurrent.futures.ThreadPoolExecutor(len(places)) as threads:
            sessions = [threads.submit(flood.session, *place) for place in places]
            while_sending()
            concurrent.futures.wait(sessions)

    def restart_store() -> None:
        flood.paused.wait(PATIENCE)
        restart = subprocess.Popen([*lab.ssh, lab.commands["restart_store"]], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        flood.go.set()
        if restart.wait(PATIENCE):
            raise CheckFailed("the store could not be restarted")

    from_everywhere(restart_store)
    # Whose answer got lost with the store is refused, and counts no more a second later.
    time.sleep(2)
    from_everywhere(lambda: None)
    if flood.recipients() != limit["day"] or not flood.refused:
        raise CheckFailed(f"of {limit['day']} recipients {flood.recipients()} were reached; {flood.refused[-1:]}, {flood.others}")
    reply = flood.refused[-1][1]
    moment = re.match(rf"451 .*may send to {limit['day']} recipients within 24 hours - try again after ([0-9-]+ [0-9:]+) UTC", reply)
    later = calendar.timegm(time.strptime(moment[1], "%Y-%m-%d %H:%M")) - began if moment else 0
    if not 86400 - 60 <= later <= 86400 + 600:
        raise CheckFailed(f"past the limit a message is refused with {reply}")
    lab.run(f"{lab.commands['stop_filter']} && {lab.commands['restart_store']} && {lab.commands['start_filter']}")
    # While the filter starts, all is refused for now, STARTTLS included.
    from_everywhere(lambda: None)
    if flood.recipients() != limit["day"] or flood.others[-1:] == [NEVER]:
        raise CheckFailed(f"after a restart of store and filter {flood.recipients()} were reached; {flood.others[-1:]}")
    asked = sum(count for count, _reply in flood.refused)
    with lab.smtp(587, "starttls") as session:
        session.login(user, flood.password)
        to_postmaster = lab.message(user, f"postmaster@{lab.domains[0]}")
        checks.accepted(*session.send(user, [to_postmaster["To"]], to_postmaster.as_bytes()), "a message to the postmaster")
        other = lab.message(lab.account()[0], lab.account()[0])
        lab.submit(other)
        lab.find(other["Message-ID"])
        lab.find(to_postmaster["Message-ID"])
        seen = limit_of(lab, user)
        if seen["counted"]["day"] != limit["day"] or seen["limit"]["day"] != limit["day"]:
            raise CheckFailed(f"{limit['day']} were sent, and postmaster-mail accounts has {seen}")
    said = locked_by_limit(flood, asked, limit)
    begun, end = time.monotonic(), time.monotonic() + PATIENCE
    while limit_of(lab, user)["lock"]["command"] != "sending" or not notices(lab, user, "What more it sends"):
        if time.monotonic() > end:
            raise CheckFailed(f"after {said} the lock is {limit_of(lab, user)['lock']}, and the postmaster has no notice")
        time.sleep(1)  # neither the command nor IMAP without IDLE has an event to wait for
    if notices(lab, user, "What more it sends") != 1 or notices(lab, user, "is locked for sending until") != 1:
        raise CheckFailed("the postmaster has more than one notice, or none of the lock")
    arrived = flood.arrived()
    if arrived != len(flood.taken):
        raise CheckFailed(f"{len(flood.taken)} messages were taken, and {arrived} have arrived")
    lab.run(f"postmaster-mail unlock {shlex.quote(user)}")
    with lab.smtp(465, "wrapped") as session:
        session.login(user, flood.password)
        message = lab.message(user, user)
        checks.accepted(*session.send(user, [user], message.as_bytes()), "a message of an account that was unlocked")
        many = [f"{number}@bigmail.test" for number in range(limit["day"] + 1)]
        code, refusal = session.send(user, many, lab.message(user, many[0]).as_bytes())
        if not 500 <= code <= 599 or f"{len(many)} recipients" not in refusal:
            raise CheckFailed(f"a message to more recipients than a day has was answered with {code} {refusal}")
    if limit_of(lab, user)["counted"]["day"] != 1:
        raise CheckFailed(f"of an account that begins anew one message counts as {limit_of(lab, user)}")
    notices(lab, user, "What more it sends", remove=True)
    took = time.monotonic() - begun
    return f"{flood.recipients()} recipients of {len(flood.taken)} messages; {reply}; {said}; the notice came {took:.0f} s later"


def locked_by_limit(flood: Flood, asked: int, limit: dict[str, int]) -> str:
    """Go on with messages to one recipient until the account is locked, which it is when it has asked for more than it may; return what is
    said then."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        # A session of each: who is refused too often in one is disconnected.
        with flood.lab.smtp(465, "wrapped") as session:
            session.login(flood.user, flood.password)
            message = flood.lab.message(flood.user, flood.lab.bigmail["user"])
            code, reply = session.send(flood.user, [message["To"]], message.as_bytes())
        if 500 <= code <= 599 and "locked" in reply:
            if asked + limit["day"] <= limit["lock"]:
                raise CheckFailed(f"an account is locked that has asked for {asked + limit['day']} of {limit['lock']}")
            return f"{code} {reply}"
        if code == 250:
            raise CheckFailed("a message past the limit was taken")
        asked += "account may send to" in reply
        if asked + limit["day"] > limit["lock"]:
            time.sleep(0.5)
    raise CheckFailed(f"an account is not locked that has asked for {asked + limit['day']} of {limit['lock']}")


@registry.check("disk-full")
def disk_full(lab: Lab) -> str:
    """While the file system of a mailbox is full, mail to it waits and is not bounced, the command postmaster-mail shows why, and once
    there is room again, what it is told to retry arrives."""
    user, secret = lab.account(1)
    mailbox_of = f"/var/vmail/{user.partition('@')[2]}/{user.partition('@')[0]}/Maildir"
    owner = "$(id -u vmail)"
    # A small one of its own, over the mailbox as it is.
    lab.run(f"if command -v mount_mfs >/dev/null; then mount_mfs -s 4m swap {mailbox_of}; "
            f"else mount -t tmpfs -o size=2m tmpfs {mailbox_of}; fi && chown {owner}:{owner} {mailbox_of} && chmod 700 {mailbox_of}")
    try:
        lab.run(f"head -c 8000000 /dev/zero > {mailbox_of}/fill", check=False)
        message = lab.message(f"outside@{lab.helo}", user)
        lab.deliver(message, user)
        end = time.monotonic() + PATIENCE
        while not (found := [one for one in waits_for(lab, user) if one["recipients"][0]["reason"]]):
            if time.monotonic() > end:
                raise CheckFailed(f"a message to a full disk is not deferred: {waits_for(lab, user)}")
            time.sleep(0.3)  # the queue has no event to wait for
        lab.run(f"rm {mailbox_of}/fill")
        lab.run(f"postmaster-mail queue retry --to {shlex.quote(user)}")
        lab.find(message["Message-ID"], (user, secret))
    finally:
        lab.run(f"doveadm kick {shlex.quote(user)}; umount {mailbox_of} || umount -l {mailbox_of}", check=False)
    return f"{user}: {found[0]['recipients'][0]['reason']}; then it arrived"


@registry.check("summary")
def summary(lab: Lab) -> str:
    """The command postmaster-mail sends the postmaster a summary of the day, in which what was sent and who is locked is found."""
    user = lab.account()[0]
    message = lab.message(user, user)
    lab.submit(message)
    lab.find(message["Message-ID"])
    end = time.monotonic() + PATIENCE
    while not (found := json.loads(lab.run("postmaster-mail --json summary --since 1h")))["sent"]:
        if time.monotonic() > end:
            raise CheckFailed(f"{user} has sent a message, and the summary knows of {found}")
        time.sleep(0.3)  # the journal has no event to wait for
    if set(found["locked"]) != {account for account, _password in lab.locked}:
        raise CheckFailed(f"{lab.locked} are locked, and the summary knows of {found['locked']}")
    lab.run("postmaster-mail summary --mail")
    # Dovecot does not find the whole of it, "mail.lab-a.test: mail of the last day".
    title = "mail of the last day"
    with lab.imap() as box:
        while True:
            box.select("INBOX")
            _status, uids = box.uid("search", "SUBJECT", f'"{title}"', "BODY", '"sent by users"')
            if uids[0]:
                break
            if time.monotonic() > end:
                raise CheckFailed(f"the postmaster, {user}, has no message with the subject {title!r}")
            time.sleep(0.5)  # IMAP without IDLE has no event to wait for
        _status, data = box.uid("fetch", uids[0].split()[-1].decode(), "(BODY.PEEK[TEXT])")
        box.uid("store", uids[0].replace(b" ", b",").decode(), "+FLAGS", "(\\Deleted)")
        box.expunge()
    return " ".join(data[0][1].decode().split())[:300]


def traced(lab: Lab, what: str, last: str) -> dict[str, Any]:
    """Return the only message of a trace, once it has its last hop: logs are written a moment later."""
    end = time.monotonic() + PATIENCE
    while True:
        said = lab.run(f"postmaster-mail --json trace {shlex.quote(what)}", check=False)
        found = json.loads(said or "{}").get("messages", [])
        if len(found) == 1 and found[0]["hops"][-1]["step"] == last:
            return found[0]
        if time.monotonic() > end:
            raise CheckFailed(f"the trace of {what} has no {last}: {said}")
        time.sleep(0.3)


# Dovecot's processes, and the one that starts them.
_DOVECOT = 'pkill -{signal} -x dovecot && pkill -{signal} -P "$(pgrep -o -x dovecot)"'


@registry.check("agent-killed")
def agent_killed(lab: Lab) -> str:
    """A message whose delivery agent is killed, as a system does that has no memory left, is delivered later: once, and nobody gets a
    report."""
    user, token = lab.account()[0], secrets.token_hex(8)
    agent = lab.mta.agent.format(mta_user=lab.commands["mta_user"])
    lab.run(_DOVECOT.format(signal="STOP"))
    try:
        lab.run(f"printf 'Subject: killed\nMessage-ID: <{token}@host.test>\n\nx\n' | sendmail {shlex.quote(user)}")
        # It waits for Dovecot's greeting.
        lab.run(f"for try in $(seq 100); do if pkill -9 {agent}; then exit 0; fi; sleep 0.2; done; exit 1")
    finally:
        lab.run(_DOVECOT.format(signal="CONT"))
    end = time.monotonic() + PATIENCE
    while True:  # an MTA may wait before it starts an agent anew
        lab.run(lab.mta.flush)
        try:
            lab.find(f"<{token}@host.test>", within=5)
            break
        except CheckFailed:
            if time.monotonic() > end:
                raise
    with lab.imap() as box:
        box.select("INBOX", readonly=True)
        _status, (numbers,) = box.search(None, "TEXT", token)
    if len(numbers.split()) != 1:
        raise CheckFailed(f"after the agent was killed the mailbox of {user} has {len(numbers.split())} messages with {token}, not 1")
    return f"delivered to {user} once"


def guesses(lab: Lab, user: str, way: str, *sources: str, password: str = "") -> Iterator[threading.Thread]:
    """Give wrong passwords by submission or by IMAP, from each of these addresses one; the same, or each another one. Each is answered
    after seconds, so they are tried at once."""

    def guess(source: str) -> None:
        address, wrong = lab.address("ipv6" if ":" in source else "ipv4"), password or secrets.token_hex(6)
        with contextlib.suppress(OSError, ssl.SSLError, CheckFailed, smtplib.SMTPException, imaplib.IMAP4.error):
            if way == "submission":
                with lab.smtp(465, "wrapped", address, source) as session:
                    session.authenticate(user, wrong)
            else:
                # Any octets can be in a name that is sent in this way.
                identity = f"\0{user}\0{wrong}".encode()
                Imap(address, lab.fqdn, lab.tls(), lab.timeout, source=source).authenticate("PLAIN", lambda _challenge: identity)

    for source in sources:
        thread = threading.Thread(target=guess, args=(source,))
        thread.start()
        yield thread


def reached(lab: Lab, source: str, port: int = 993, timeout: float = 3) -> None:
    """Connect from an address.

    :raises OSError: refused
    """
    socket.create_connection((lab.address("ipv6" if ":" in source else "ipv4"), port), timeout=timeout, source_address=(source, 0)).close()


def shut_out(lab: Lab, source: str) -> str:
    """Return how it looks that an address is banned; empty where it is not."""
    try:
        reached(lab, source)
    except OSError as exc:
        return f"{source}: {exc}"
    # A simulated pf only knows whom it would keep out.
    known = lab.commands.get("banned", "")
    return lab.run(known.format(address=source) + " && echo " + source + " is banned", check=False).strip() if known else ""


def banned(lab: Lab, source: str, why: str) -> str:
    """Wait until an address is shut out, and return how that looks."""
    end = time.monotonic() + PATIENCE
    while not (found := shut_out(lab, source)):
        if time.monotonic() > end:
            raise CheckFailed(f"{why}, and {source} is not banned")
        time.sleep(1)  # fail2ban reads the journal
    return found


def listed(lab: Lab, source: str) -> str:
    """See that postmaster-mail lists a ban that keeps an address out, and return why that is, in its words."""
    found = json.loads(lab.run("postmaster-mail --json ban list"))
    ban = next((one for one in found if ipaddress.ip_address(source) in ipaddress.ip_network(one["network"])), None)
    if not ban or "wrong passwords" not in ban["why"]:
        raise CheckFailed(f"{source} is banned, and postmaster-mail ban list knows {found}")
    return f"{ban['network']}: {ban['why']}"


def let_in(lab: Lab, source: str) -> None:
    """Wait until an address is not shut out any more."""
    end = time.monotonic() + PATIENCE
    while found := shut_out(lab, source):
        if time.monotonic() > end:
            raise CheckFailed(f"the ban was lifted, and {found}")
        time.sleep(0.3)  # the firewall has no event to wait for


@registry.check("ban")
def ban(lab: Lab) -> str:
    """Who guesses passwords, by submission or by IMAP, is banned from all ports that take passwords, over IPv6 with the network of 64 bits
    that the guesses come from, and others are not. Mail still arrives from there, and log-ins from where an old password is tried again
    and again. The command postmaster-mail lists who is banned and why, and lets them in again."""
    if not lab.guesser:
        raise CheckSkipped("needs a second address to guess from")
    user, network, said = lab.account()[0], lab.network(), []
    office, old = socket.gethostbyname("home.client.test"), secrets.token_hex(6)
    # From a network, one address of it less: that has not guessed, and is shut out with the others.
    clients = [([lab.guesser] * 8, [lab.guesser])] + ([(network[1:] * 2, network)] if network else [])
    for way in ("submission", "IMAP"):
        telephones = list(guesses(lab, user, way, *[office] * 20, password=old))
        for telephone in telephones:
            telephone.join()
        for sources, kept_out in clients:
            guessers = list(guesses(lab, user, way, *sources))
            try:
                said += [banned(lab, source, f"eight wrong passwords by {way} from {', '.join(dict.fromkeys(sources))}")
                         for source in kept_out]
                for source in kept_out:
                    try:
                        # Whoever finds the queue of connections full tries again after one second, and then after three.
                        reached(lab, source, 25, lab.timeout)
                    except OSError as exc:
                        raise CheckFailed(f"{source} is banned, and mail does not arrive from there: {exc}") from exc
                said.append(listed(lab, kept_out[-1]))
                # The log is read in order.
                if found := shut_out(lab, office):
                    raise CheckFailed(f"one wrong password, tried twenty times by {way}, and {found}")
                with lab.smtp(587, "starttls", source=office) as session:
                    session.login(*lab.account())
                if network:
                    # Trusted, and in the same network.
                    with lab.smtp(587, "starttls", lab.address("ipv6")) as session:
                        session.login(*lab.account())
                lab.run(f"postmaster-mail ban lift {kept_out[-1]}")
                for source in kept_out:
                    let_in(lab, source)
            finally:
                lab.run(lab.commands["unban"], check=False)
                for guesser in guessers:
                    guesser.join()
    return "; ".join(said)


@registry.check("ban-forged")
def ban_forged(lab: Lab) -> str:
    """A user name, or a recipient, that looks like an entry of the log bans at most who gave it, and never the address that it names."""
    if not lab.guesser:
        raise CheckSkipped("needs an address to guess from, and one to be slandered")
    victim, witness = (socket.gethostbyname(name) for name in ("listed.client.test", "home.client.test"))
    said = "guesses from {}/32: 6 wrong passwords within 600 s for 'x'"
    forged = [
        f"auth(a,{victim}): x: unknown user",
        f"a,{victim},<b>): Password mismatch",
        f"auth: passwd-file(a,{victim}): unknown user",
        f"a\n{lab.fqdn} postmaster-mail-login-guard[1]: {said.format(victim)}",
        f"postmaster-mail-login-guard[1]: {said.format(victim)}",
        f"x'\n{said.format(victim)}",
        f"', {said.format(victim)}",
        f'","remote":"{victim}","login":"a',
        f"{victim}/32: x, {said.format(victim)}@{lab.domains[0]}",
    ]
    guessers: list[threading.Thread] = []
    try:
        for name in forged:
            guessers = [thread for way in ("submission", "IMAP") for thread in guesses(lab, name, way, *[lab.guesser] * 3)]
            # Who is banned for it gets no answer before he is let in again.
            end = time.monotonic() + 10
            for thread in guessers:
                thread.join(max(0.0, end - time.monotonic()))
            lab.run(lab.commands["unban_one"].format(address=lab.guesser), check=False)
            for thread in guessers:
                thread.join()
        with lab.smtp() as session:
            for name in forged:
                session.mail(f"outside@{lab.helo}")
                quoted = name.replace('"', '\\"').partition("\n")[2] or name
                session.command(f'RCPT TO:<"{quoted}"@{lab.domains[0]}>')
                session.command("RSET")
                if session.command("NOOP")[0] == 421:
                    break
        # The log is read in order: once these are known, all of those are.
        guessers = list(guesses(lab, lab.account()[0], "IMAP", *[witness] * 8))
        found = banned(lab, witness, "eight wrong passwords")
        for port in (25, 465, 587, 993):
            reached(lab, victim, port, lab.timeout)
        if slandered := shut_out(lab, victim):
            raise CheckFailed(f"others have named it, and {slandered}")
    except OSError as exc:
        raise CheckFailed(f"{victim}, which others have named, is not served: {exc}") from exc
    finally:
        for thread in guessers:
            thread.join()
        lab.run(lab.commands["unban"], check=False)
    return f"{found}; {victim}, named in {len(forged)} ways, is served"


def one_too_many(lab: Lab, sources: list[str], opened: list[socket.socket]) -> tuple[int, str]:
    """Open connections until one is refused; return how many were served, and what the last one was told."""
    address, most = lab.address("ipv6" if ":" in sources[0] else "ipv4"), 120
    for number, source in zip(range(most), itertools.cycle(sources)):
        plain = socket.create_connection((address, 25), timeout=lab.timeout, source_address=(source, 0))
        opened.append(plain)
        reply = plain.makefile("rb").readline().decode("utf-8", "replace").strip()
        if not reply.startswith("220"):
            return number, reply
    raise CheckFailed(f"{', '.join(sources)} may have {most} connections at once")


def asked(lab: Lab, sessions: contextlib.ExitStack, port: int, account: tuple[str, str] | None) -> str:
    """Ask for a recipient, as a user or as another server; return the answer, and leave the session open."""
    try:
        session = sessions.enter_context(lab.smtp(port, "starttls"))
        if account:
            session.login(*account)
        code, reply = session.mail(account[0] if account else f"outside@{lab.helo}")
        if code == 250:
            code, reply = session.rcpt(lab.account()[0])
        return f"{code} {reply}" if code != 250 else "250"
    except (OSError, smtplib.SMTPException, CheckFailed) as exc:
        return str(exc)


@registry.check("many-sessions")
def many_sessions(lab: Lab) -> str:
    """Sixty sessions at once on port 25, and then thirty of users, are answered 250 for a recipient while all of them stay open."""
    said = []
    lab = dataclasses.replace(lab, timeout=PATIENCE)
    with contextlib.ExitStack() as sessions, concurrent.futures.ThreadPoolExecutor(60) as threads:
        for count, port, account in ((60, 25, None), (30, 587, lab.account())):
            begin = time.monotonic()
            answers = collections.Counter(threads.map(asked, *map(itertools.repeat, (lab, sessions, port, account), [count] * 4)))
            said.append(f"{count} on {port} in {time.monotonic() - begin:.1f} s")
            if set(answers) != {"250"}:
                raise CheckFailed(f"of {count} sessions at once on {port}: {dict(answers)}")
    return ", ".join(said)


@registry.check("client-connections")
def client_connections(lab: Lab) -> str:
    """One client cannot take all sessions of the MX: more than an office needs at once is refused for now (4xx), while others are
    served; over IPv6 that is a network of 64 bits where the MTA can count these."""
    if not lab.guesser:
        raise CheckSkipped("needs further addresses to connect from")
    user, said = lab.account()[0], []
    for sources in filter(None, ([lab.guesser], lab.network()[: 2 if lab.counts_networks else 1])):
        opened: list[socket.socket] = []
        try:
            served, reply = one_too_many(lab, sources, opened)
            if served < 30 or not re.match(r"4(21|50|51) ", reply):
                raise CheckFailed(f"connection {served + 1} of {', '.join(sources)} was answered with {reply}")
            message = lab.message(f"outside@{lab.helo}", user)
            lab.deliver(message, user)
            lab.find(message["Message-ID"])
            said.append(f"{served} at once from {', '.join(sources)}, then: {reply}")
        finally:
            for plain in opened:
                plain.close()
    return "; ".join(said)


@registry.check("client-messages")
def client_messages(lab: Lab) -> str:
    """A client that begins very many messages in a minute is told to come later (4xx), while others are served."""
    if not lab.guesser:
        raise CheckSkipped("needs a second address to send from")
    user, most, batch, begun, refused = lab.account()[0], 6000, 40, 0, ""
    while not refused:
        if begun >= most:
            raise CheckFailed(f"{begun} messages were begun from {lab.guesser}, and none was refused")
        # Of one session an MTA takes only so many commands that lead nowhere.
        with lab.smtp(source=lab.guesser) as session:
            for _ in range(batch):
                code, reply = session.mail("a@good.client.test")
                if code != 250:
                    refused = f"{code} {reply}"
                    break
                begun += 1
                session.command("RSET")
    if not re.match(r"4(21|50|51) ", refused):
        raise CheckFailed(f"after {begun} messages from {lab.guesser} one was refused with {refused}")
    message = lab.message(f"outside@{lab.helo}", user)
    lab.deliver(message, user)
    lab.find(message["Message-ID"])
    return f"more than {begun} messages were begun from {lab.guesser}, then: {refused}"


@registry.check("check-mode")
def check_mode(lab: Lab) -> str:
    """Check mode on the finished server foretells no change and makes none."""
    if not lab.playbook:
        raise CheckSkipped("no playbook to run")
    before = lab.run(lab.commands["state"])
    stats = lab.playbook("--check")
    if lab.run(lab.commands["state"]) != before:
        raise CheckFailed("check mode changed files or packages")
    return f"{stats['ok']} tasks, none would change"

