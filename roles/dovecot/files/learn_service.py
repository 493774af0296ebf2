# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that teaches Rspamd what users move into Junk and out of it:
``learn-service SPOOL RSPAMD [--listen SOCKET] [--idle SECONDS]``

Dovecot's Sieve hands it each message through a socket, in the protocol of Dovecot's service ``script``, while a mail client waits for the
end of its move. Rspamd may need longer for some thousands of them than clients wait, so a message is only put into the directory SPOOL
before the answer, and learnt from there, in the order of the moves. While Rspamd, whose controller listens on the socket RSPAMD, is away
or has no store, messages wait for it, for a day.

The socket is systemd's, or the one that is named. With ``--idle`` the service ends once there has been nothing to do for that long.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import http.client
import io
import itertools
import os
import socket
import socketserver
import sys
import syslog
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

#: What can be learnt, as the Sieve scripts name it.
KINDS = ("spam", "ham")
#: What is kept of a message: the words are in front.
LONGEST = 1 << 20
#: How long a message may wait, in seconds, and the longest pause between two attempts.
LIFETIME, PAUSE = 86400, 60
#: What is put down at most: a part of the file system has to stay free for mail.
FREE = 0.05
#: Rspamd's answers to what has been learnt, to what teaches it nothing new, and to what it has learnt before.
DONE = (200, 204, 208)
#: So often is no answer taken for Rspamd's own fault, and not for that of a message.
FAILURES = 3
TIMEOUT = 30
#: How long Rspamd waits for its store is a second; after that it takes a message for learnt.
STORE_TIMEOUT = 0.9


class Gone(Exception):
    """A client that has hung up without a word: it comes again."""


def log(text: str) -> None:
    syslog.syslog(syslog.LOG_WARNING, text)


class UnixConnection(http.client.HTTPConnection):
    """HTTP through a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def lesson(stream: io.BufferedReader) -> tuple[str, bool]:
    """Read the head of a request of Pigeonhole's ``execute :pipe``, which ends with an empty line; return what is to be learnt, and
    whether an answer is expected.

    :raises Gone: there is none
    :raises ValueError: this is not the protocol of a script, or it names nothing that can be learnt
    """
    lines = list(itertools.takewhile(bool, (stream.readline(8192).rstrip(b"\n") for _ in range(64))))
    if not lines and not stream.peek(1):
        raise Gone
    if not lines or not lines[0].startswith(b"VERSION\tscript\t"):
        raise ValueError(f"a client begins with {lines[:1]!r}, which is not the protocol of a script")
    # The environment, whether there is to be an answer, and the arguments.
    rest = list(itertools.dropwhile(lambda line: line.startswith(b"env_"), lines[1:]))
    kind = rest[1].decode("ascii", "replace") if len(rest) == 2 else ""
    if kind not in KINDS or rest[0] not in (b"-", b"noreply"):
        raise ValueError(f"a client asks for {rest!r}, which cannot be learnt")
    return kind, rest[0] == b"-"


class Spool:
    """A directory of messages, whose names say in which order they came, and what they are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.counter = itertools.count()
        os.makedirs(path, 0o700, exist_ok=True)
        for name in os.listdir(path):
            if name.endswith(".part"):  # of a service that was killed
                os.unlink(self.file(name))

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def names(self) -> list[str]:
        """Return the messages that wait, the earliest first."""
        return sorted(name for name in os.listdir(self.path) if name.endswith(KINDS))

    def put(self, kind: str, message: BinaryIO) -> None:
        """Keep the beginning of a message, and read all of it: whoever writes it takes less for an error.

        :raises OSError: there is no room
        """
        space = os.statvfs(self.path)
        if space.f_bavail < FREE * space.f_blocks:
            raise OSError(f"{self.path} is on a file system of which less than {FREE:.0%} is free")
        name = f"{time.time_ns():020d}-{next(self.counter):06d}.{kind}"
        part = self.file(f"{name}.part")
        left = LONGEST
        try:
            with open(part, "wb") as stream:
                while chunk := message.read(1 << 16):
                    stream.write(chunk[:left])
                    left -= min(left, len(chunk))
            os.rename(part, self.file(name))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.file(name))


def learn(rspamd: str, path: str, kind: str) -> tuple[int, str]:
    """Have a message learnt; return the status of HTTP and what is said.

    :raises OSError, http.client.HTTPException: there is no answer
    """
    connection = UnixConnection(rspamd)
    try:
        with open(path, "rb") as message:
            connection.request("POST", f"/learn{kind}", message, {"Content-Type": "message/rfc822",
                                                                  "Content-Length": str(os.fstat(message.fileno()).st_size)})
            response = connection.getresponse()
            return response.status, response.read(1000).decode("utf-8", "replace")
    finally:
        connection.close()


def sure(lesson_given: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Have a message learnt, again if Rspamd may have waited for its store in vain, which it does not tell: what it has learnt it knows."""
    for _attempt in range(5):
        begun = time.monotonic()
        status, said = lesson_given()
        if status != 200 or time.monotonic() - begun < STORE_TIMEOUT:
            break
    return status, said


class Teacher(threading.Thread):
    """Has the messages of a spool learnt, one after the other."""

    def __init__(self, spool: Spool, rspamd: str) -> None:
        super().__init__(daemon=True)
        self.spool, self.rspamd = spool, rspamd
        self.more = threading.Event()
        self.busy = True
        self.unanswered: collections.Counter[str] = collections.Counter()

    def round(self) -> str:
        """Try what waits, until Rspamd is away; return why something still does, or nothing. A later message is not learnt before it, since
        the two may be one that went to Junk and back."""
        why = ""
        for name in self.spool.names():
            kind = name.rpartition(".")[2]
            try:
                status, said = sure(functools.partial(learn, self.rspamd, self.spool.file(name), kind))
            except FileNotFoundError as exc:
                if exc.filename:  # the message, and not the socket
                    continue
                status, said = 0, str(exc)
            except (OSError, http.client.HTTPException) as exc:
                status, said = 0, f"{type(exc).__name__}: {exc}"
            if status in DONE:
                self.spool.remove(name)
                continue
            why = f"learning {kind} failed: {f'HTTP {status} ' if status else ''}{said}".rstrip()
            if time.time_ns() > int(name.partition("-")[0]) + LIFETIME * 10**9:
                log(f"{why}: a message of yesterday is not learnt any more")
                self.spool.remove(name)
            self.unanswered[name] += not status
            if not status and self.unanswered[name] <= FAILURES:
                break
        return why

    def run(self) -> None:
        pause, said = 1.0, ""
        while True:
            self.busy = True
            self.more.clear()
            try:
                why = self.round()
            except Exception as exc:  # it goes on, whatever the file system does
                why = f"the spool cannot be read: {type(exc).__name__}: {exc}"
            if not why:
                pause, said = 1.0, ""
                self.unanswered.clear()
                self.busy = False
                self.more.wait()
                continue
            if why != said:
                log(f"{why}; it is tried again")
            said = why
            time.sleep(pause)
            pause = min(PAUSE, pause * 2)


class Handler(socketserver.StreamRequestHandler):
    """One message of one client."""

    timeout = TIMEOUT

    def handle(self) -> None:
        try:
            kind, answered = lesson(self.rfile)
            try:
                self.server.spool.put(kind, self.rfile)
            except OSError as exc:
                log(f"a message is not learnt as {kind}: {exc}")
            self.server.teacher.more.set()
            if answered:  # also of what could not be kept: nobody who moves mail can do anything about that
                self.wfile.write(b"+\n")
        except Gone:
            pass
        except (OSError, ValueError) as exc:
            log(f"{type(exc).__name__}: {exc}")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Takes messages, until it has been idle for some time."""

    # Dovecot waits no longer than five milliseconds for a place.
    request_queue_size = 4096

    def __init__(self, options: argparse.Namespace, inherited: int | None) -> None:
        super().__init__(options.listen, Handler, bind_and_activate=False)
        if inherited is None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(options.listen)
            self.server_bind()
            self.server_activate()
        else:
            self.socket.close()
            self.socket = socket.socket(fileno=inherited)
        self.idle, self.last = options.idle, time.monotonic()
        self.spool = Spool(options.spool)
        self.teacher = Teacher(self.spool, options.rspamd)
        self.teacher.start()

    def process_request(self, request: socket.socket, client_address: str) -> None:
        self.last = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        # Beside this thread and the teacher there is one for each message that is being taken.
        if self.teacher.busy or self.teacher.more.is_set() or threading.active_count() > 2:
            self.last = time.monotonic()
        elif self.idle and time.monotonic() - self.last > self.idle:
            raise SystemExit


def passed() -> Iterator[int]:
    """Yield the socket of sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        yield 3


def main() -> int:
    parser = argparse.ArgumentParser(description="Teach Rspamd what users move into Junk and out of it.")
    parser.add_argument("spool", help="directory of messages that are to be learnt")
    parser.add_argument("rspamd", help="socket of Rspamd's controller")
    parser.add_argument("--listen", default="", help="socket to listen on, where systemd passes none")
    parser.add_argument("--idle", type=float, default=0, help="seconds without work after which it ends; 0 for never")
    options = parser.parse_args()
    inherited = next(passed(), None)
    if inherited is None and not options.listen:
        parser.error("neither systemd nor --listen names a socket")
    os.umask(0o077)
    # Who moves mail is not to wait for the thread that has it learnt.
    sys.setswitchinterval(0.001)
    syslog.openlog("learn-service", syslog.LOG_PID, syslog.LOG_MAIL)
    with Server(options, inherited) as server:  # its end waits for what is being taken
        server.serve_forever(min(5, options.idle or 5))
    return 0


if __name__ == "__main__":
    sys.exit(main())
