# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first smarthost of a route that takes mail, for OpenSMTPD: a table(5) that smtpd starts and asks each time that it sends a message.

A file of smtpd's own is read in turn and not in order, and mail for a smarthost that does not answer waits for 400 seconds. So the
smarthosts are asked here, as far as the certificate, and an answer counts for a while. Where none of them takes mail the first one is
named, and smtpd does with the message as always.

smtpd speaks lines since 7.6 (smtpd-tables(7)), and before that imsg; both over the socket that is standard input. It waits for each answer
and ends if the program does.
"""

from __future__ import annotations

import contextlib
import os
import re
import smtplib
import ssl
import struct
import sys
import syslog
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

#: Seconds that a smarthost has for all of it, and for which an answer of one that takes mail, or does not, counts.
PATIENCE, ALIVE, DEAD = 4.0, 10, 30
#: The name of the service that is asked for, and its number in imsg.
SERVICE = "relayhost"

_URL = re.compile(r"(smtps|smtp\+tls)://(?:[^@/]*@)?([A-Za-z0-9.-]+):([0-9]{1,5})\Z")


def takes_mail(url: str, authority: str) -> str:
    """Return why a smarthost takes no mail over TLS with a certificate for its name; empty if it does.

    :param authority: a file with certificates, or empty for the system's
    """
    match = _URL.match(url)
    if not match:
        return f"{url!r} is not the URL of a smarthost"
    scheme, host, port = match.groups()
    context = ssl.create_default_context(cafile=authority or None)
    session: smtplib.SMTP | None = None
    try:
        if scheme == "smtps":
            session = smtplib.SMTP_SSL(host, int(port), timeout=PATIENCE, context=context)
        else:
            session = smtplib.SMTP(host, int(port), timeout=PATIENCE)
            session.starttls(context=context)
        code, words = session.ehlo()
        return "" if code == 250 else f"EHLO was answered with {code} {words!r}"
    except (OSError, smtplib.SMTPException, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        if session is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session.quit()


class Smarthosts:
    """The smarthosts of one route, in order."""

    def __init__(self, urls: list[tuple[str, str]], ask: Callable[[str, str], str] = takes_mail,
                 clock: Callable[[], float] = time.monotonic, patience: float = PATIENCE) -> None:
        self._urls, self._ask, self._clock, self._patience = urls, ask, clock, patience
        self._threads = ThreadPoolExecutor(max_workers=2 * len(urls))
        self._known: dict[str, tuple[float, str]] = {}
        self._asked: dict[str, Future[str]] = {}
        self._named = ""
        self._lock = threading.RLock()  # an answer may be there at once

    def first(self) -> str:
        """Return the URL of the first one that takes mail."""
        # All at once, so that several dead ones cost no more time than one.
        end = time.monotonic() + self._patience
        for url, authority in self._urls:
            self._begin(url, authority)
        found = next((url for url, _authority in self._urls if not self._why(url, end)), self._urls[0][0])
        if found != self._named:
            whys = "; ".join(f"{url}: {why}" for url, (_until, why) in self._known.items() if why)
            syslog.syslog(syslog.LOG_INFO, f"info: mail leaves through {found}{f', since {whys}' if whys else ''}")
            self._named = found
        return found

    def _begin(self, url: str, authority: str) -> None:
        with self._lock:
            until, _why = self._known.get(url, (0.0, ""))
            if until <= self._clock() and url not in self._asked:
                self._asked[url] = self._threads.submit(self._ask, url, authority)
                self._asked[url].add_done_callback(lambda done: self._answered(url, done))

    def _answered(self, url: str, done: Future[str]) -> None:
        why = done.result() if not done.exception() else f"{done.exception()}"
        with self._lock:
            self._known[url] = (self._clock() + (DEAD if why else ALIVE), why)
            self._asked.pop(url, None)

    def _why(self, url: str, end: float) -> str:
        """Return why a smarthost takes no mail, as far as it is known by then."""
        with self._lock:
            asked = self._asked.get(url)
        if asked is not None:
            with contextlib.suppress(Exception):
                return asked.result(max(0.0, end - time.monotonic()))
            return f"no answer within {self._patience:g} s"
        return self._known.get(url, (0.0, ""))[1]


def read(path: str) -> list[tuple[str, str]]:
    """Return the smarthosts of a file, each line a URL and perhaps the file of its authority."""
    with open(path, encoding="ascii") as lines:
        words = [line.split() for line in lines if line.strip() and line[0] != "#"]
    return [(line[0], line[1] if len(line) > 1 else "") for line in words]


def lines_answered(first: Callable[[], str], lines: Iterator[str]) -> Iterator[str]:
    """Yield what is answered to the lines of smtpd-tables(7)."""
    for line in lines:
        if line == "config|ready":
            yield f"register|{SERVICE}\nregister|ready\n"
        if not line.startswith("table|"):
            continue
        # table, version, time, name, operation, and service and id or id alone.
        operation, *rest = line.split("|")[4:]
        number = rest[0] if operation == "update" else rest[1]
        if operation == "update":
            yield f"update-result|{number}|ok\n"
        elif operation == "fetch":
            yield f"fetch-result|{number}|found|{first()}\n"
        else:
            yield f"{operation}-result|{number}|not-found\n"


#: imsg.h and smtpd-api.h: type, length with this head, flags, peer, process; and the types.
_HEAD = struct.Struct("=IHHII")
_OK, _OPEN, _CLOSE, _UPDATE, _CHECK, _LOOKUP, _FETCH = 0, 2, 3, 4, 5, 6, 7


def imsg_answered(first: Callable[[], str], kind: int) -> bytes | None:
    """Return the answer to a message of imsg; nothing to one that ends the conversation."""
    data = {_OPEN: b"", _UPDATE: struct.pack("=i", 1), _CHECK: struct.pack("=i", 0), _LOOKUP: struct.pack("=i", 0)}.get(kind)
    if kind == _FETCH:
        data = struct.pack("=i", 1) + first().encode("ascii") + b"\0"
    return None if data is None else _HEAD.pack(_OK, _HEAD.size + len(data), 0, 0, os.getpid()) + data


def serve(first: Callable[[], str], handle: int = 0) -> None:
    """Answer smtpd until it goes."""
    with open(handle, "rb", buffering=0, closefd=False) as stream:
        begin = b""
        while len(begin) < 1:
            begin = stream.read(1)
            if not begin:
                return
        if begin == b"c":
            def lines() -> Iterator[str]:
                with open(handle, "rb", closefd=False) as buffered:
                    head = begin
                    for line in buffered:
                        yield (head + line).decode("ascii", "replace").rstrip("\n")
                        head = b""

            for answer in lines_answered(first, lines()):
                os.write(handle, answer.encode("ascii"))
            return
        pending = begin
        while True:
            while len(pending) >= _HEAD.size and len(pending) >= (size := _HEAD.unpack_from(pending)[1]):
                answer = imsg_answered(first, _HEAD.unpack_from(pending)[0])
                pending = pending[max(size, _HEAD.size):]
                if answer is None:
                    return
                os.write(handle, answer)
            more = stream.read(65536)
            if not more:
                return
            pending += more


def main() -> None:
    syslog.openlog("table-smarthosts", syslog.LOG_PID, syslog.LOG_MAIL)
    hosts = Smarthosts(read(sys.argv[1]))
    serve(hosts.first)
    # A thread that waits for a dead one is not waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
