# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Dovecot calls as sendmail, with a message that a user's Sieve script sends:
``send-for-script SUBMISSION SOCKET LDA OWNER -i -f SENDER -- RECIPIENT...``

SUBMISSION is the host and port of the MTA, SOCKET is Rspamd's, and LDA Dovecot's program that delivers; the rest is Dovecot's.

Rspamd signs mail of this host only for a From that its sender may use. So it is told whose script sends, in a header that it removes;
that the header is ours shows a token, which Rspamd gives through a socket that only the owner of all mail can open. The message goes by
SMTP, which answers with the filter's verdict. What is refused for good would be tried again for days by Dovecot, which takes any
failure of its sendmail for a temporary one: a message that was to be redirected is kept in its owner's INBOX instead. So is spam that a
script would redirect. That a script refuses a message is reported to nobody who was not proven to have sent it, nor to lists, programs and
whoever sent spam: Dovecot keeps the message then.
"""

from __future__ import annotations

import contextlib
import email.message
import email.parser
import http.client
import itertools
import json
import os
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import syslog
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

HEADER = b"X-Postmaster-Mail-Script"
#: sysexits(3).
OK, TEMPFAIL = 0, 75
TIMEOUT = 100
#: Accounts that send nothing, an account a line: of the inventory, and of the command postmaster-mail. The filter has both.
LOCKS = ("/etc/dovecot/locks/sending", "/etc/postmaster-mail/locks/sending")


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def token(path: str, owner: str) -> str:
    """Return what proves to the filter that a message is from a script of this user; empty where there is no filter.

    :raises OSError: it does not answer
    """
    if not os.path.isdir(os.path.dirname(path)):  # while it restarts, only its socket is missing
        return ""
    connection = UnixConnection(path)
    try:
        # It takes no empty question.
        connection.request("POST", "/plugins/postmaster_mail/script", b"?", {"Owner": owner})
        response = connection.getresponse()
        answer = json.loads(response.read())
        found = answer.get("token") if response.status == 200 and isinstance(answer, dict) else None
        if not isinstance(found, str) or not re.fullmatch("[0-9a-f]{32,}", found):
            raise OSError(f"Rspamd answered {response.status} {response.reason}, without a token")
        return found
    except (http.client.HTTPException, ValueError) as exc:
        raise OSError(f"Rspamd: {exc}") from exc
    finally:
        connection.close()


def locked(owner: str) -> bool:
    """Tell whether the owner of a script may send nothing.

    :raises OSError: nobody can tell
    """
    found = set()
    for path in LOCKS:
        with open(path, encoding="utf-8") as file:
            found |= {line.strip().lower() for line in file}
    return owner.lower() in found


def fields(message: BinaryIO) -> Iterator[bytes]:
    """Yield the header fields of a message, each with its line ends, and leave it at the empty line, or its end."""
    field = b""
    while True:
        start = message.tell()
        line = message.readline()
        if field and line[:1] in (b" ", b"\t") and line.strip():
            field += line
            continue
        if field:
            yield field
        field = line
        if not line.rstrip(b"\r\n"):
            message.seek(start)
            return


def named(field: bytes, name: bytes) -> bool:
    return field.partition(b":")[0].rstrip().lower() == name.lower()


def lines(message: BinaryIO, owner: str, proof: str) -> Iterator[bytes]:
    """Yield a message as SMTP carries it, with what the filter is told on top, and without what others wrote in a header of that name."""
    message.seek(0)
    told = [HEADER + b": " + f"{owner} {proof}\n".encode()] if proof else []
    kept = itertools.chain(told, (field for field in fields(message) if not named(field, HEADER)))
    for text in itertools.chain(kept, message):
        yield re.sub(rb"(?m)^\.", b"..", re.sub(rb"\r?\n|(?<!\n)\Z", b"\r\n", text))


def redirected(message: BinaryIO) -> bool:
    """Tell whether Pigeonhole redirects this message: it says so on top, before all that others wrote."""
    message.seek(0)
    return any(named(field, b"X-Sieve-Redirected-From") for field in itertools.islice(fields(message), 2))


def is_spam(message: BinaryIO) -> bool:
    """Tell whether the filter has marked a message as spam. Nobody else's such mark arrives."""
    message.seek(0)
    return any(named(field, b"X-Spam") and field.partition(b":")[2].strip().lower() == b"yes" for field in fields(message))


def refused_original(message: BinaryIO) -> email.message.Message | None:
    """Return the header section of the message that a script refuses, if this is the report of that; an empty one if it is not found."""
    message.seek(0)
    found = email.parser.BytesParser().parse(message)
    if "rejected" not in found.get("Auto-Submitted", "") or found.get_content_type() != "multipart/report":
        return None
    enclosed = (part.get_payload() for part in found.walk() if part.get_content_type() == "message/rfc822")
    return next((payload[0] for payload in enclosed if isinstance(payload, list)), email.message.Message())


def unanswerable(original: email.message.Message) -> str:
    """Return why nobody is told what became of a message (RFC 3834 section 2), or nothing."""
    def words(name: str) -> set[str]:
        return set(re.split(r"[\s,;]+", " ".join(map(str, original.get_all(name, []))).lower()))

    if not original.keys():
        return "its header section is not in the report"
    if "unproven" in words("X-Auto-Response-Suppress"):  # Rspamd's postmaster-mail-answers.lua says so
        return "its sender is not proven"
    if "yes" in words("X-Spam"):
        return "it is spam"
    if words("Precedence") & {"bulk", "junk", "list"} or any(name.lower().startswith("list-") for name, _value in original.items()):
        return "it is from a list"
    if words("Auto-Submitted") - {"", "no"}:
        return "a program has sent it"
    return ""


def send(host: str, sender: str, recipients: list[str], message: Iterator[bytes]) -> list[tuple[int, str]]:
    """Send a message, and return each refusal, as code and text.

    :raises OSError: there is no server, or it does not talk
    """
    name, _colon, port = host.rpartition(":")
    session = smtplib.SMTP(name, int(port), local_hostname="localhost", timeout=TIMEOUT)
    refused = []
    try:
        session.ehlo_or_helo_if_needed()
        steps = [lambda: session.mail(sender, ["BODY=8BITMIME"] if session.has_extn("8bitmime") else []),
                 *(lambda recipient=recipient: session.rcpt(recipient) for recipient in recipients), lambda: session.docmd("DATA")]
        for step in steps:
            code, text = step()
            if not 200 <= code <= 399:
                refused.append((code, text.decode("utf-8", "replace")))
                if code == 421 or step in (steps[0], steps[-1]) or len(refused) == len(recipients):
                    break
        else:
            with session.sock.makefile("wb", 1 << 16) as stream:
                stream.writelines(message)
                stream.write(b".\r\n")
            code, text = session.getreply()
            if code != 250:
                refused.append((code, text.decode("utf-8", "replace")))
        # What has been taken stays so, whatever is answered to a farewell.
        with contextlib.suppress(OSError, smtplib.SMTPException):
            session.quit()
    finally:
        session.close()
    return refused


def keep(lda: str, owner: str, sender: str, message: BinaryIO) -> tuple[int, str]:
    """Deliver a message without Sieve, whose script would redirect it again; return the status of what delivers, and what it says."""
    message.seek(0)
    command = [lda, "-d", owner, "-f", sender or "<>", "-m", "INBOX"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:
            shutil.copyfileobj(message, stream)
        said = process.stderr.read()
    return process.returncode, said.decode("utf-8", "replace")[-500:]


def main(arguments: list[str], source: BinaryIO) -> int:
    host, socket_path, lda, owner, _i, _f, sender, _end, *recipients = arguments
    sender = "" if sender == "<>" else sender
    syslog.openlog("send-for-script", syslog.LOG_PID, syslog.LOG_MAIL)
    what = f"message of the script of {owner} to {', '.join(recipients)}"
    with tempfile.TemporaryFile() as message:
        shutil.copyfileobj(source, message)
        original = refused_original(message)
        if original is not None and (why := unanswerable(original)):
            syslog.syslog(syslog.LOG_NOTICE, f"{what}, who refuses a message, is not sent: {why}. The message is kept")
            return TEMPFAIL  # only then Dovecot keeps it
        if redirected(message) and is_spam(message):
            status, error = keep(lda, owner, sender, message)
            outcome = "is kept in INBOX" if status == 0 else "is not even kept in INBOX"
            syslog.syslog(syslog.LOG_NOTICE, f"{what} is not sent, since it is spam, and {outcome}: {error}".rstrip(" :"))
            return OK if status == 0 else TEMPFAIL
        try:
            proof = token(socket_path, owner)
            if not proof and locked(owner):  # there is no filter, which would say so
                refused = [(550, "5.7.1 This account is locked for sending")] * len(recipients)
            else:
                refused = send(host, sender, recipients, lines(message, owner, proof))
            # Since it restarted the filter takes another token, and has refused the message as one of nobody's. None of several recipients
            # may have it, who would get it twice.
            if len(refused) >= len(recipients) and refused[-1][0] >= 500 and token(socket_path, owner) != proof:
                raise OSError("Rspamd was restarted meanwhile")
        except (OSError, smtplib.SMTPException) as exc:
            syslog.syslog(syslog.LOG_WARNING, f"{what} is deferred: {exc}")
            return TEMPFAIL
        if not refused:
            return OK
        said = "; ".join(f"{code} {text}" for code, text in refused)
        if any(code < 500 for code, _text in refused):
            syslog.syslog(syslog.LOG_WARNING, f"{what} is deferred: {said}")
            return TEMPFAIL
        if not redirected(message):
            syslog.syslog(syslog.LOG_WARNING, f"{what} is not sent: {said}")
            return OK
        status, error = keep(lda, owner, sender, message)
        outcome = "kept in INBOX" if status == 0 else "is not even kept in INBOX"
        syslog.syslog(syslog.LOG_WARNING, f"{what} is not sent, and {outcome}: {said} {error}".rstrip())
        return OK if status == 0 else TEMPFAIL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.buffer))
