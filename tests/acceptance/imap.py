# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the promises about mailboxes do by IMAP and ManageSieve, as a user's program does it.

Plain functions: each takes a host name that its certificate must carry, an address, a password and the file of the CA to
trust; each raises AssertionError with what was expected and what was seen, or returns a short text of evidence.
Functions that only help (finding, moving, appending a message) are at the top.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import re
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from email.message import EmailMessage

# The folders that the server makes for every user.
FOLDERS = ("Archive", "Drafts", "Junk", "Sent", "Trash")
TIMEOUT = 120


def tls_context(ca: str) -> ssl.SSLContext:
    """A context that verifies the chain against this CA only, and the host name."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextlib.contextmanager
def session(host: str, user: str, password: str, ca: str, starttls: bool = False) -> Iterator[imaplib.IMAP4]:
    """A logged-in IMAP session: port 993, or 143 with STARTTLS."""
    if starttls:
        imap: imaplib.IMAP4 = imaplib.IMAP4(host, 143, timeout=TIMEOUT)
        imap.starttls(tls_context(ca))
    else:
        imap = imaplib.IMAP4_SSL(host, 993, ssl_context=tls_context(ca), timeout=TIMEOUT)
    try:
        imap.login(user, password)
        yield imap
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            imap.logout()


def ok(answer: tuple[str, list], what: str) -> list:
    """The data of an IMAP answer that must be OK."""
    assert answer[0] == "OK", f"{what}: {answer[0]} {answer[1]!r}"
    return answer[1]


def search(imap: imaplib.IMAP4, folder: str, token: str) -> list[str]:
    """The UIDs of the messages in a folder whose Subject has this token."""
    ok(imap.select(f'"{folder}"'), f"SELECT {folder}")
    found = ok(imap.uid("SEARCH", "SUBJECT", f'"{token}"'), f"SEARCH in {folder}")
    return found[0].decode().split() if found and found[0] else []


def wait_for(host: str, user: str, password: str, ca: str, folder: str, token: str, timeout: float = 240) -> bytes:
    """Wait until exactly one message whose Subject has the token is in the folder; return it whole."""
    end = time.monotonic() + timeout
    with session(host, user, password, ca) as imap:
        while True:
            uids = search(imap, folder, token)
            if uids:
                break
            if time.monotonic() > end:
                where = [name for name in ["INBOX", *FOLDERS] if name != folder and search(imap, name, token)]
                raise AssertionError(f"no message {token} in {folder} of {user} after {timeout:g} s; found in: {where or 'no folder'}")
            imap.noop()
            time.sleep(0.3)
        assert len(uids) == 1, f"{len(uids)} messages {token} in {folder} of {user}, expected one"
        data = ok(imap.uid("FETCH", uids[0], "(BODY.PEEK[])"), "FETCH")
        return data[0][1]


def absent(host: str, user: str, password: str, ca: str, folder: str, token: str) -> str:
    """No message with the token is in this folder now."""
    with session(host, user, password, ca) as imap:
        uids = search(imap, folder, token)
    assert not uids, f"{len(uids)} message(s) {token} in {folder} of {user}, expected none"
    return f"{folder} of {user} has no {token}"


def message(token: str, sender: str, recipient: str, headers: dict[str, str] | None = None, size: int = 0) -> bytes:
    """A small message with the token in its Subject, padded to about ``size`` bytes, CRLF line ends."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = recipient
    mail["Subject"] = f"test {token}"
    mail["Message-ID"] = f"<{token}.{uuid.uuid4().hex}@{sender.split('@')[1]}>"
    mail["Date"] = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    for name, value in (headers or {}).items():
        mail[name] = value
    text = f"This is the test message {token}.\n"
    mail.set_content(text + ("0123456789" * 7 + "\n") * (size // 71))
    return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def append(host: str, user: str, password: str, ca: str, folder: str, data: bytes) -> str:
    """Put a message into a folder by APPEND; return the server's answer, which is ``OK …`` or ``NO …``."""
    with session(host, user, password, ca) as imap:
        status, text = imap.append(f'"{folder}"', "", imaplib.Time2Internaldate(time.time()), data)
    return f"{status} {text[0].decode(errors='replace') if text and text[0] else ''}"


def move(host: str, user: str, password: str, ca: str, token: str, source: str, target: str, by: str = "MOVE") -> str:
    """Move the messages with this token by MOVE, or by COPY, STORE and EXPUNGE as older clients do."""
    with session(host, user, password, ca) as imap:
        uids = search(imap, source, token)
        assert uids, f"no message {token} in {source} of {user}"
        numbers = ",".join(uids)
        if by == "MOVE":
            capabilities = ok(imap.capability(), "CAPABILITY")[0].decode().split()
            assert "MOVE" in capabilities, f"MOVE (RFC 6851) is not offered: {capabilities}"
            ok(imap.uid("MOVE", numbers, f'"{target}"'), f"MOVE to {target}")
        else:
            ok(imap.uid("COPY", numbers, f'"{target}"'), f"COPY to {target}")
            ok(imap.uid("STORE", numbers, "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
            ok(imap.uid("EXPUNGE", numbers), "EXPUNGE")
        assert not search(imap, source, token), f"{token} is still in {source} after the {by}"
        assert search(imap, target, token), f"{token} is not in {target} after the {by}"
    return f"{token} went from {source} to {target} by {by}"


def purge(host: str, user: str, password: str, ca: str, token: str) -> str:
    """Delete the messages with this token from every folder, as a test does with its own."""
    count = 0
    with session(host, user, password, ca) as imap:
        for folder in ["INBOX", *FOLDERS]:
            uids = search(imap, folder, token)
            if uids:
                ok(imap.uid("STORE", ",".join(uids), "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
                ok(imap.expunge(), "EXPUNGE")
                count += len(uids)
    return f"{count} message(s) deleted"


# --- IMAP -------------------------------------------------------------------------------------------------------------


def login_works(host: str, user: str, password: str, ca: str) -> str:
    """Login with the full address in any case, on 993 and on 143 after STARTTLS, certificate verified."""
    seen = []
    for name in (user, user.upper()):
        for starttls in (False, True):
            with session(host, name, password, ca, starttls) as imap:
                ok(imap.select("INBOX"), "SELECT INBOX")
                seen.append(f"{143 if starttls else 993} {imap.sock.version()}")  # type: ignore[attr-defined]
    return f"{user} logged in: {', '.join(seen[:2])}"


def quota_shown(host: str, user: str, password: str, ca: str, expected: int) -> str:
    """IMAP QUOTA (RFC 9208) shows the limit of this user in bytes; 0 means none."""
    with session(host, user, password, ca) as imap:
        _status, data = imap.getquotaroot("INBOX")
    text = b" ".join(item for group in data for item in group if item).decode()
    match = re.search(r"STORAGE (\d+) (\d+)", text)
    limit = int(match[2]) * 1024 if match else 0
    assert limit == expected // 1024 * 1024, f"the quota shown is {limit} bytes, expected {expected}: {text}"
    return text


# --- ManageSieve (RFC 5804) -------------------------------------------------------------------------------------------


class ManageSieve:
    """As much of a ManageSieve client as the promises need."""

    def __init__(self, host: str, ca: str | None, port: int = 4190) -> None:
        """Connect, and go on to TLS when a CA is given."""
        self.sock: socket.socket = socket.create_connection((host, port), timeout=TIMEOUT)
        self.file = self.sock.makefile("rb")
        self.capabilities = self.answer("greeting")
        if ca:
            self.command("STARTTLS")
            self.sock = tls_context(ca).wrap_socket(self.sock, server_hostname=host)
            self.file = self.sock.makefile("rb")
            self.capabilities = self.answer("greeting after STARTTLS")

    def __enter__(self) -> ManageSieve:
        return self

    def __exit__(self, *_exc: object) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(b"LOGOUT\r\n")
        self.file.close()
        self.sock.close()

    def answer(self, what: str) -> list[str]:
        """The lines up to the final OK; AssertionError with the server's words on NO and BYE."""
        lines: list[str] = []
        while True:
            line = self.file.readline().decode()
            assert line, f"ManageSieve closed the connection at {what}"
            literal = re.search(r"\{(\d+)\}\r\n$", line)
            if literal:
                line = line[: literal.start()] + self.file.read(int(literal[1])).decode() + self.file.readline().decode()
            line = line.rstrip("\r\n")
            if line.startswith("OK"):
                return lines
            assert not line.startswith(("NO", "BYE")), f"ManageSieve {what}: {line}"
            lines.append(line)

    def command(self, text: str, what: str = "") -> list[str]:
        """Send one command; return what precedes its OK."""
        self.sock.sendall(text.encode() + b"\r\n")
        return self.answer(what or text)

    def login(self, user: str, password: str) -> None:
        """SASL PLAIN."""
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.command(f'AUTHENTICATE "PLAIN" "{token}"', "AUTHENTICATE")

    def put(self, name: str, script: str) -> None:
        """Upload a script and make it the active one."""
        self.command(f'PUTSCRIPT "{name}" {{{len(script.encode())}+}}\r\n{script}', "PUTSCRIPT")
        self.command(f'SETACTIVE "{name}"')

    def remove(self, name: str) -> None:
        """Deactivate and delete a script."""
        self.command('SETACTIVE ""')
        self.command(f'DELETESCRIPT "{name}"')


@contextlib.contextmanager
def script(host: str, user: str, password: str, ca: str, text: str) -> Iterator[None]:
    """Make a script the active one for a while."""
    with ManageSieve(host, ca) as sieve:
        sieve.login(user, password)
        active = next((line.split('"')[1] for line in sieve.command("LISTSCRIPTS") if line.endswith("ACTIVE")), "")
        sieve.put("postmaster-mail-test", text)
        try:
            yield
        finally:
            sieve.remove("postmaster-mail-test")
            if active:
                sieve.command(f'SETACTIVE "{active}"')


def sieve_script_acts(host: str, user: str, password: str, ca: str, deliver: Callable[[bytes, str], object]) -> str:
    """A script uploaded by ManageSieve files the next message; ``deliver(message, recipient)`` sends it."""
    token = f"sieve-{uuid.uuid4().hex[:12]}"
    text = f'require ["fileinto"];\r\nif header :contains "Subject" "{token}" {{\r\n  fileinto "Archive";\r\n}}\r\n'
    with script(host, user, password, ca, text):
        deliver(message(token, "someone@client.test", user), user)
        wait_for(host, user, password, ca, "Archive", token)
        absent(host, user, password, ca, "INBOX", token)
    purge(host, user, password, ca, token)
    return f"the uploaded script filed {token} into Archive"


def sieve_bad_script_refused(host: str, user: str, password: str, ca: str) -> str:
    """A script with an error is refused at upload; so is one that would run a program."""
    answers = []
    for script in ('fileinto "Archive";\r\n', 'require ["vnd.dovecot.pipe"];\r\npipe "learn" ["spam"];\r\n'):
        with ManageSieve(host, ca) as sieve:
            sieve.login(user, password)
            try:
                sieve.command(f"CHECKSCRIPT {{{len(script)}+}}\r\n{script}", "CHECKSCRIPT")
            except AssertionError as exc:
                answers.append(str(exc).splitlines()[0])
            else:
                raise AssertionError(f"the server accepted this script: {script!r}")
    return "; ".join(answers)
