#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the test network's own services by their protocols. No other module is needed: each of their hosts runs this file as a watchdog.

  testnet-watch SERVICE     ask for ever, and restart the service's units once it has not answered three times in succession
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import imaplib
import smtplib
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable

#: What the service consists of, in the order in which it starts.
UNITS = {
    "ns": ["named"],
    "acme": ["pebble-testnet"],
    "bigmail": ["unbound", "dkim-verify", "opendkim", "opendmarc", "dovecot", "postfix"],
    "smarthost": ["dovecot", "postfix"],
}
#: Seconds that an answer may take: machines with all cores busy are slow, and not broken.
PATIENCE = 60
MAILBOX = "watch@bigmail.test"
_PAUSE = 20
_TIMES = 3


class Silent(Exception):
    """The service does not answer as it should; the text says what it did instead."""


def ns(address: str) -> None:
    """The name server answers for the root, with a signature, over UDP and TCP."""
    for option in ("+notcp", "+tcp"):
        words = ["dig", f"@{address}", option, "+dnssec", "+noall", "+answer", f"+time={PATIENCE // 3}", "+tries=3", ".", "SOA"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if "RRSIG" not in done.stdout:
            raise Silent(f"{' '.join(words[:3])} . SOA: no signed answer: {done.stdout.strip()}{done.stderr.strip()}")


def acme(address: str) -> None:
    """The ACME server shows its directory."""
    connection = http.client.HTTPSConnection(address, 14000, timeout=PATIENCE, context=ssl._create_unverified_context())
    with contextlib.closing(connection):
        connection.request("GET", "/dir")
        status = connection.getresponse().status
    if status != 200:
        raise Silent(f"GET /dir on port 14000: {status}")


def bigmail(address: str, password: str, source: str, name: str, sign: Callable[[bytes], bytes] = lambda text: text) -> None:
    """The strict receiver takes a message over port 25, from an address that is in order under this name, and has it read over IMAP."""
    token = uuid.uuid4().hex
    sender = f"watch@{name.partition('.')[2]}"
    text = (f"From: {sender}\r\nTo: {MAILBOX}\r\nSubject: {token}\r\nDate: {email.utils.formatdate()}\r\n"
            f"Message-ID: <{token}@{name}>\r\n\r\nA question.\r\n").encode()
    with smtplib.SMTP(address, 25, name, timeout=PATIENCE, source_address=(source, 0)) as smtp:
        smtp.sendmail(sender, [MAILBOX], sign(text))
    end = time.monotonic() + PATIENCE
    with imaplib.IMAP4(address, 143, timeout=PATIENCE) as imap:
        imap.login(MAILBOX, password)
        imap.select()
        while not (found := imap.search(None, "SUBJECT", token)[1][0]):
            if time.monotonic() > end:
                raise Silent("a message that was accepted on port 25 is not in its mailbox")
            time.sleep(0.2)  # IMAP without IDLE has no event to wait for
            imap.noop()
        imap.store(found.split()[0].decode(), "+FLAGS", r"\Deleted")
        imap.expunge()


def smarthost(address: str, password: str) -> None:
    """The smarthost lets its customer log in."""
    with smtplib.SMTP(address, 587, "localhost", timeout=PATIENCE) as smtp:
        smtp.starttls(context=ssl._create_unverified_context())
        smtp.login("customer", password)


def answers(question: Callable[[], None]) -> str:
    """Return why a service does not answer; empty if it does."""
    try:
        question()
    except (Silent, OSError, smtplib.SMTPException, imaplib.IMAP4.error, http.client.HTTPException) as exc:
        return f"{type(exc).__name__}: {exc}".removeprefix("Silent: ")
    return ""


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)


def watch(service: str, question: Callable[[], None]) -> None:
    """Ask, and restart; what has not answered yet, what somebody has stopped on purpose, and what just starts by itself is left alone."""
    failures, answered = 0, False
    while True:
        time.sleep(_PAUSE)
        reason = answers(question)
        answered = answered or not reason
        states = _systemctl("is-active", *UNITS[service]).stdout.split()
        failures = failures + 1 if reason and answered and set(states) == {"active"} else 0
        if reason:
            print(f"{service} does not answer ({failures}. time, units {' '.join(states)}): {reason}", flush=True)
        if failures == _TIMES:
            print(f"{service}: restarting {' '.join(UNITS[service])}", flush=True)
            _systemctl("restart", *UNITS[service])
            failures = 0


def main() -> None:
    """As on the host of a service: PASSWORD and ADDRESS are its own."""
    service, address, password = sys.argv[1:4]
    watch(service, {
        "ns": lambda: ns(address),
        "acme": lambda: acme(address),
        "bigmail": lambda: bigmail(address, password, address, "mx.bigmail.test"),
        "smarthost": lambda: smarthost(address, password),
    }[service])  # fmt: skip


if __name__ == "__main__":
    main()
