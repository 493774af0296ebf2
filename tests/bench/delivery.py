# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Send many messages to one mailbox from outside, and wait until all of them are in it.

Runs in the test network. Every message comes over a connection of its own, as mail from many senders does. Prints JSON:
the seconds until the last one was accepted, the seconds until the last one was in the mailbox, and what was refused.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import email.utils
import imaplib
import json
import random
import smtplib
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

LETTER = "the harbour was quiet when we came back and the letters lay where you had left them under the green lamp"


def message(number: int, size: int, sender: str, recipient: str) -> EmailMessage:
    """An ordinary letter; no two are the same."""
    dice = random.Random(number)
    text, written = [], 0
    while written < size:
        line = " ".join(dice.sample(LETTER.split(), 12))
        text.append(line)
        written += len(line) + 2
    mail = EmailMessage()
    mail["From"] = f"A Correspondent <{sender}>"
    mail["To"] = recipient
    mail["Subject"] = f"Letter {number}"
    mail["Date"] = email.utils.formatdate()
    mail["Message-ID"] = email.utils.make_msgid(domain=sender.partition("@")[2])
    mail.set_content("\n".join(text) + "\n")
    return mail


def send(options: argparse.Namespace, number: int) -> str:
    """Send one message; return '' or the words of the refusal."""
    mail = message(number, options.size, options.sender, options.recipient)
    try:
        with smtplib.SMTP(options.host, 25, local_hostname=options.helo, timeout=120, source_address=(options.source, 0)) as smtp:
            smtp.send_message(mail, options.sender, [options.recipient])
    except (smtplib.SMTPException, OSError) as exc:
        return str(exc)
    return ""


@contextlib.contextmanager
def mailbox(options: argparse.Namespace) -> Iterator[imaplib.IMAP4]:
    """The recipient's mailbox."""
    imap = imaplib.IMAP4_SSL(options.host, 993, ssl_context=ssl.create_default_context(cafile=options.ca), timeout=60)
    imap.login(options.recipient, options.password)
    try:
        yield imap
    finally:
        imap.logout()


def held(imap: imaplib.IMAP4) -> int:
    """How many messages the inbox and Junk hold."""
    total = 0
    for folder in ("INBOX", "Junk"):
        kind, data = imap.status(folder, "(MESSAGES)")
        if kind == "OK":
            total += int(data[0].split()[-1].rstrip(b")"))
    return total


def main() -> int:
    """Send, wait, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("host", "source", "helo", "sender", "recipient", "ca"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--patience", type=int, default=300, help="seconds to wait for the last message")
    options = parser.parse_args()
    options.password = sys.stdin.readline().rstrip("\n")  # not among the arguments, where everybody could read it
    with mailbox(options) as imap:
        before = held(imap)
    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=options.connections) as pool:
        refusals = [words for words in pool.map(lambda number: send(options, number), range(options.messages)) if words]
    accepted = time.monotonic() - begin
    expected = options.messages - len(refusals)
    with mailbox(options) as imap:
        while held(imap) - before < expected:
            if time.monotonic() - begin > options.patience:
                sys.exit(f"{expected} messages were accepted and {held(imap) - before} are in the mailbox after {options.patience} s")
            imap.noop()
            time.sleep(0.1)  # asking costs the server too
    delivered = time.monotonic() - begin
    print(json.dumps({"messages": expected, "accepted_seconds": accepted, "delivered_seconds": delivered,
                      "refused": collections.Counter(refusals).most_common(3)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
