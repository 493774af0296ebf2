# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever smtpd says in whatever order, with files that fail and threads that are missing: each request of the filter's protocol is
answered once, and what is accepted is the message that was sent."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import tempfile
import threading
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from program import load

FILTER = load(Path(__file__).resolve().parents[3] / "roles/opensmtpd/files/filter_postmaster.py")
ERRORS = (OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "Input/output error"), MemoryError())
DEFERRED = b"reject|" + FILTER.DEFERRED.encode()
KEYS = ("7641df9771b4ed00", "1ef1c203cc576e5d", "00000000cc576e5d")
# What Rspamd may say, as it was asked: whole messages with headers of ours, refusals, and answers that are none.
VERDICTS = (
    {"action": "no action"},
    {"action": "add header", "milter": {"add_headers": {"X-One": "1", "X-Two": ["2\n\t3", {"value": "4", "order": 1}]}}},
    {"action": "reject"},
    {"action": "soft reject", "messages": {"smtp_message": "4.7.1 later|\r\n."}},
    {"action": "no action", "dkim-signature": "v=1;\r\n\tb=abc"},
    {"action": "no action", "milter": {"add_headers": "no dictionary"}},
    {"action": None},
    FILTER.Deferred("Rspamd is away"),
    OSError(errno.ECONNRESET, "reset"),
)
#: Headers that only a filter writes: whole names, and how others begin.
OURS = (b"authentication-results", b"x-spam", b"x-postmaster-mail-script")
OURS_BEGIN = (b"x-spam-", b"x-spamd-", b"x-rspam-", b"x-rspamd-")
ADDED = {1: [b"X-Spam: Yes", b"X-One: 1", b"X-Two: 2", b"\t3", b"X-Two: 4"], 4: [b"DKIM-Signature: v=1;", b"\tb=abc"]}


class Disk:
    """Where messages are stored. It fails at the calls that are in the plan, and works again at the next one."""

    def __init__(self, plan):
        self.plan, self.calls = plan, 0

    def call(self):
        self.calls += 1
        error = self.plan.get(self.calls)
        if error is not None:
            raise ERRORS[error]

    def file(self, *_arguments, **_more):
        disk = self

        class File(tempfile.SpooledTemporaryFile):
            def write(self, text):
                try:
                    disk.call()
                except OSError:
                    super().write(text[:3])  # a part of it fits
                    raise
                return super().write(text)

            def seek(self, *arguments):
                disk.call()
                return super().seek(*arguments)

            def __iter__(self):
                for line in super().__iter__():
                    disk.call()
                    yield line

        disk.call()
        return File(max_size=64)


class Pool:
    """Threads that run when the plan has them run, one at a time: so each order of events is one that can be repeated."""

    def __init__(self):
        self.waiting, self.full = [], False

    def submit(self, function):
        self.waiting.append(function)
        if self.full:
            raise RuntimeError("can't start new thread")

    def run(self, number):
        if self.waiting:
            self.waiting.pop(number % len(self.waiting))()


class Stopped(Exception):
    """The filter has ended itself."""


LINE = st.one_of(
    st.sampled_from([
        b"", b"From: a@client.test", b"Subject: one", b"\tmore", b"X: |a|b", b"..", b"text", b"\xff\xfe|", b"To: x" * 30,
        b"X-Spam: Yes", b"X-Spam : no", b"Authentication-Results: us", b"X-Postmaster-Mail-Script: proof", b"X-Postmaster-Mail-Script",
        b"X-Spamd-Bar: /", b"X-Rspamd-Queue-Id: 1",
    ]),
    st.binary(max_size=40).map(lambda text: text.translate(None, b"\0\n")),
)
KEY = st.integers(0, len(KEYS) - 1)
MESSAGE = (KEY, st.lists(LINE, max_size=12), st.sampled_from([0, 1, 4, *range(len(VERDICTS))]))
GOOD = st.one_of(
    st.tuples(st.just("connect"), KEY),
    st.tuples(st.just("message"), *MESSAGE),
    st.tuples(st.just("whole"), *MESSAGE),
    st.tuples(st.just("run"), st.integers(0, 5)),
    st.tuples(st.just("commit"), KEY),
    st.tuples(st.just("mail-from"), KEY, LINE),
    st.tuples(st.just("rcpt-to"), KEY, LINE),
)
ODD = st.one_of(
    st.tuples(st.just("begin"), KEY),
    st.tuples(st.just("lines"), KEY, st.lists(LINE, max_size=3)),
    st.tuples(st.just("reset"), KEY),
    st.tuples(st.just("disconnect"), KEY),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("report"), KEY, st.sampled_from(FILTER.REPORTS), st.lists(LINE, max_size=5)),
    st.tuples(st.just("garbage"), LINE),
)
# What is odd is rare, or nothing would be accepted.
STEP = st.integers(0, 11).flatmap(lambda number: ODD if number == 0 else GOOD)


class Smtpd:
    """The other side: it knows what it has sent, and which answers it may get."""

    def __init__(self):
        self.out, self.pool, self.tokens = io.BytesIO(), Pool(), 0
        options = FILTER.arguments().parse_args(["--rspamd=fake", "--quota=fake", "--timeout=1", "--patience=0"])
        self.filter = FILTER.Filter(options, self.out)
        for pool in (self.filter.scans, self.filter.questions):
            pool.shutdown()
        self.filter.scans = self.filter.questions = self.pool
        self.filter.judged = self.judged
        self.filter.stop = self.stop
        self.read = 0
        # Requests without an answer: (session, token) to their kind; and what was sent of each message that waits for its end.
        self.open: dict[tuple[bytes, bytes], str] = {}
        self.sent: dict[int, list[bytes]] = {}
        self.back: dict[tuple[bytes, bytes], list[bytes]] = {}

    @staticmethod
    def stop():
        raise Stopped

    def judged(self, message):
        number = int(message.id.partition("-")[2] or 0) if message.id.startswith("m-") else 0
        found = VERDICTS[number]
        if isinstance(found, Exception):
            raise found
        return found

    def write(self, line):
        self.filter.line(line)

    def report(self, key, event, *values):
        text = [b"report", b"0.7", b"1576146008.006099", b"smtp-in", event.encode(), KEYS[key].encode(), *values]
        self.write(b"|".join(text))

    def ask(self, key, phase, value):
        self.tokens += 1
        token = b"%016x" % self.tokens
        if phase != "data-line" or value == b".":
            self.open[KEYS[key].encode(), token] = phase
        self.write(b"|".join([b"filter", b"0.7", b"1576146008.006099", b"smtp-in", phase.encode(), KEYS[key].encode(), token, value]))
        return KEYS[key].encode(), token

    def lines(self):
        text = self.out.getvalue()[self.read:]
        assert text.endswith(b"\n") or not text
        self.read += len(text)
        return text.split(b"\n")[:-1]

    def answers(self):
        """Take what the filter has said since; return the answers to requests that are no lines of a message."""
        found = {}
        for line in self.lines():
            kind, session, token, rest = line.split(b"|", 3)
            request = (session, token)
            phase = self.open.get(request)
            assert phase is not None, f"{line!r} answers no request"
            if kind == b"filter-dataline":
                assert phase == "data-line", line
                if rest == b".":
                    del self.open[request]
                    self.back.setdefault(request, []).append(b".")
                else:
                    self.back.setdefault(request, []).append(rest)
            else:
                assert kind == b"filter-result" and phase != "data-line", line
                assert rest in (b"proceed", b"junk") or rest.startswith((b"reject|4", b"reject|5")), line
                found[request] = rest
                del self.open[request]
        return found


def expected(lines, verdict):
    """Return what is stored of a message that was accepted: our headers, and it, with white space before colons gone.

    Headers that only a filter writes are gone too, but for the one that smtpd itself puts before its ``Received``.
    """
    found, heading = list(ADDED.get(verdict, [])), True
    dropping = False
    for number, line in enumerate(lines):
        line = line.rstrip(b"\r") if heading else line
        heading = heading and line != b""
        if heading and line[:1] not in (b" ", b"\t"):
            name, colon, value = line.partition(b":")
            line = name.rstrip(b" \t") + colon + value if colon else line
            name = name.rstrip().lower()
            dropping = (name in OURS or name.startswith(OURS_BEGIN)) and (number, line) != (0, b"X-Spam: Yes")
        if not (heading and dropping):
            found.append(line)
    return found


def stuffed(line):
    return b"." + line if line[:1] == b"." else line


@seed(20261129)
@settings(max_examples=1000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(STEP, min_size=3, max_size=30),
    st.dictionaries(st.integers(1, 60), st.integers(0, len(ERRORS) - 1), max_size=3),
)
def test_every_request_is_answered_once_and_what_is_accepted_is_whole(steps, plan):
    with faked(Disk(plan)):
        check(steps, Smtpd())


@contextlib.contextmanager
def faked(disk):
    """Let messages be stored on this disk, Dovecot have room for all, and nobody read the log."""
    store, quota = FILTER.tempfile, FILTER.ask_quota
    FILTER.tempfile, FILTER.ask_quota = argparse.Namespace(SpooledTemporaryFile=disk.file), lambda *_arguments: "proceed"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        FILTER.tempfile, FILTER.ask_quota = store, quota


def check(steps, smtpd):
    """Take these steps, as far as smtpd could; return how many messages were accepted."""
    accepted = 0
    waiting = {}  # session to the end of its message, which the filter judges
    for step in [*(("connect", key) for key in range(len(KEYS))), *steps]:
        kind, *values = step
        key = values[0] if values and kind not in ("run", "full", "garbage") else None
        # smtpd says nothing for a session that waits for an answer, but that its client is gone.
        busy = key is not None and any(session == KEYS[key].encode() for session, _token in smtpd.open)
        if busy and kind != "disconnect":
            continue
        if kind == "connect":
            smtpd.report(key, "link-connect", b"client.test", b"pass", b"198.51.100.9:33174", b"198.51.100.25:25")
            smtpd.sent.pop(key, None)
        elif kind == "begin":
            begin(smtpd, key, 0)
        elif kind == "message":
            lines, verdict = values[1:]
            begin(smtpd, key, verdict)
            send(smtpd, key, lines)
            waiting[key] = (smtpd.ask(key, "data-line", b"."), verdict)
        elif kind == "whole":
            lines, verdict = values[1:]
            begin(smtpd, key, verdict)
            send(smtpd, key, lines)
            end = (smtpd.ask(key, "data-line", b"."), verdict)
            smtpd.pool.run(-1)
            smtpd.answers()
            request = smtpd.ask(key, "commit", b"")
            waiting.pop(key, None)
            accepted += judge(smtpd, key, smtpd.answers().pop(request), end)
        elif kind == "lines":
            send(smtpd, key, values[1])
        elif kind == "run":
            smtpd.pool.run(values[0])
        elif kind == "full":
            smtpd.pool.full = values[0]
        elif kind == "commit":
            request = smtpd.ask(key, "commit", b"")
            answer = smtpd.answers().pop(request)
            accepted += judge(smtpd, key, answer, waiting.pop(key, None))
        elif kind in ("mail-from", "rcpt-to"):
            smtpd.ask(key, kind, values[1])
        elif kind == "reset":
            smtpd.report(key, "tx-reset", b"m-0")
            smtpd.sent.pop(key, None)
            waiting.pop(key, None)
        elif kind == "disconnect":
            smtpd.report(key, "link-disconnect")
            smtpd.sent.pop(key, None)
            waiting.pop(key, None)
        elif kind == "report":
            smtpd.report(key, values[1], *values[2])
            if values[1] in ("tx-begin", "tx-reset", "link-connect", "link-disconnect"):
                smtpd.sent.pop(key, None)
                waiting.pop(key, None)
        elif kind == "garbage":
            smtpd.write(values[0])
        smtpd.answers()
    smtpd.pool.full = False
    while smtpd.pool.waiting:
        smtpd.pool.run(0)
        smtpd.answers()
    assert not smtpd.open, "a request has no answer"
    assert all(lines.count(b".") == 1 and lines[-1] == b"." for lines in smtpd.back.values())
    for key, end in list(waiting.items()):
        request = smtpd.ask(key, "commit", b"")
        accepted += judge(smtpd, key, smtpd.answers().pop(request), end)
    return accepted


def begin(smtpd, key, verdict):
    number = b"m-%d" % verdict
    smtpd.report(key, "tx-begin", number)
    smtpd.report(key, "tx-mail", number, b"ok", b"a@client.test")
    smtpd.report(key, "tx-rcpt", number, b"ok", b"me@example.org")
    smtpd.sent[key] = []


def send(smtpd, key, lines):
    for line in lines:
        smtpd.ask(key, "data-line", stuffed(line))
    smtpd.sent.setdefault(key, []).extend(lines)


def judge(smtpd, key, answer, end):
    """Check an answer to commit; return whether the message was accepted."""
    if answer != b"proceed":
        assert answer.startswith((b"reject|4", b"reject|5"))
        return 0
    assert end, "accepted without a message"
    request, verdict = end
    assert verdict in (0, 1, 4), "accepted without a verdict"
    back = [line[1:] if line[:1] == b"." else line for line in smtpd.back[request][:-1]]
    assert back == expected(smtpd.sent.pop(key), verdict)
    return 1


def test_messages_are_accepted_where_nothing_fails():
    """What the property says of accepted messages is said of some."""
    message = [b"From : a@client.test", b"", b".dot", b"text"]
    steps = [("message", 0, message, number) for number in (0, 1, 4, 2, 7)]
    steps = [part for step in steps for part in (step, ("run", 0), ("commit", 0))]
    with faked(Disk({})):
        assert check(steps, Smtpd()) == 3


def test_threads_of_many_sessions_answer_each_its_own():
    out, options = io.BytesIO(), FILTER.arguments().parse_args(["--rspamd=fake", "--timeout=1", "--patience=0"])
    found = FILTER.Filter(options, out)
    begun = threading.Barrier(8)

    def judged(_message):
        begun.wait(10)
        return {"action": "no action"}

    found.judged = judged
    for number in range(8):
        session = f"{number:016x}"
        text = [f"link-connect|{session}|client.test|pass|198.51.100.9:33174|198.51.100.25:25", f"tx-begin|{session}|1",
                f"tx-mail|{session}|1|ok|a@client.test", f"tx-rcpt|{session}|1|ok|me@example.org"]
        for line in text:
            found.line(f"report|0.7|1.0|smtp-in|{line}".encode())
        for line in ("", *[f"{session} {index}" for index in range(1200)], "."):
            found.line(f"filter|0.7|1.0|smtp-in|data-line|{session}|{number:016x}|{line}".encode())
    found.scans.shutdown()
    back = {}
    for line in out.getvalue().decode().splitlines():
        kind, session, token, rest = line.split("|")
        assert (kind, session) == ("filter-dataline", token)
        back.setdefault(session, []).append(rest)
    assert back == {f"{number:016x}": ["", *[f"{number:016x} {index}" for index in range(1200)], "."] for number in range(8)}
