# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that the role dovecot installs for learning, between Dovecot's Sieve and a controller of Rspamd that does as it is told."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from program import load

SOURCE = Path(__file__).resolve().parents[3] / "roles/dovecot/files/learn_service.py"
PROGRAM = load(SOURCE)
MESSAGE = b"From: a@example.com\r\nSubject: one\r\n\r\nwords\r\n"


class Controller:
    """Takes lessons at a socket, and answers with the status that it was told for a message with these octets."""

    def __init__(self, path):
        self.lessons, self.statuses, self.open = [], {}, threading.Event()
        self.open.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.open.wait(120)
                known = 208 if (self.path, body) in outer.lessons else 200
                status = next((status for text, status in outer.statuses.items() if text in body), known)
                if status == 200:
                    outer.lessons.append((self.path, body))
                self.send_response(status)
                self.end_headers()

            def address_string(self):
                return "socket"

            def log_message(self, *_args):
                pass

        self.server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def until(condition, what, within=60.0):
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def ask(path, kind="spam", message=MESSAGE, head=None):
    """Do as Pigeonhole does for `execute :pipe`, and return the answer."""
    head = head or b"VERSION\tscript\t4\t0\nenv_USER=me@example.org\nenv_HOME=/x\n-\n" + kind.encode() + b"\n\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(head + message)
        client.shutdown(socket.SHUT_WR)
        return client.recv(100)


def listens(path):
    """Tell whether anybody listens on a socket, which is there a moment before that; in the table of the kernel, since to connect would
    be a request."""
    entries = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(entry[-1] == str(path) and int(entry[3], 16) & 0x10000 for entry in entries[1:])  # __SO_ACCEPTCON


class Service:
    """The program as a process."""

    def __init__(self, directory, *options, inherited=None):
        self.directory, self.socket, self.spool = directory, directory / "learn", directory / "spool"
        self.log = directory / "log"
        # It logs by syslog; here to where a test can read it.
        program = "import sys, syslog; sys.argv[0] = 'x'; syslog.syslog = lambda _level, text: print(text, file=sys.stderr, flush=True)\n"
        program += f"exec(compile(open({str(SOURCE)!r}).read(), 'learn', 'exec'))"
        where = [] if inherited is not None else ["--listen", str(self.socket)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-c", program, str(self.spool), str(directory / "rspamd"), *where, *options],
                                            stderr=log)
        until(lambda: listens(self.socket), "no socket")

    def waiting(self):
        return sorted(path.name for path in self.spool.iterdir()) if self.spool.is_dir() else []

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def controller(tmp_path):
    found = Controller(tmp_path / "rspamd")
    yield found
    found.open.set()
    found.close()


@pytest.fixture
def service(tmp_path):
    started = []

    def start(*options):
        started.append(Service(tmp_path, *options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def test_what_is_moved_is_answered_at_once_and_learnt_in_that_order_when_rspamd_answers(controller, service):
    running = service()
    controller.open.clear()
    texts = [b"%03d\r\n" % number for number in range(40)]
    for number, text in enumerate(texts):
        assert ask(running.socket, ("spam", "ham")[number % 2], text) == b"+\n"
    assert controller.lessons == []
    controller.open.set()
    until(lambda: len(set(controller.lessons)) == 40, "not all were learnt")
    # A first one that was given up may come twice.
    assert list(dict.fromkeys(controller.lessons)) == [(f"/learn{('spam', 'ham')[number % 2]}", text) for number, text in enumerate(texts)]
    until(lambda: running.waiting() == [], "something is left")


def test_what_waits_survives_the_service_and_an_unfinished_message_does_not(controller, service, tmp_path):
    controller.open.clear()
    running = service()
    ask(running.socket)
    running.end(signal.SIGKILL)
    kept = running.waiting()
    assert len(kept) == 1 and kept[0].endswith(".spam")
    (running.spool / "00000000000000000001-000000.ham.part").write_bytes(b"half")
    running.socket.unlink()
    service()
    controller.open.set()
    until(lambda: controller.lessons == [("/learnspam", MESSAGE)], "it was not learnt")
    until(lambda: running.waiting() == [], "something is left")


def test_while_there_is_no_rspamd_messages_wait(service, tmp_path):
    running = service()
    assert ask(running.socket) == b"+\n"
    until(lambda: b"it is tried again" in running.log.read_bytes(), "nothing was logged")
    assert len(running.waiting()) == 1
    late = Controller(tmp_path / "rspamd")
    until(lambda: late.lessons == [("/learnspam", MESSAGE)], "it was not learnt")
    late.close()


def test_a_message_that_cannot_be_learnt_holds_up_no_other_and_is_given_up_after_a_day(controller, service):
    running = service()
    controller.statuses = {b"poison": 500, b"known": 208, b"sure": 204}
    running.spool.joinpath("00000000000000000002-000000.ham").write_bytes(b"poison of yesterday")
    for text in (b"poison", b"known", b"sure", b"good"):
        ask(running.socket, message=text)
    until(lambda: [body for _path, body in controller.lessons] == [b"good"], "the good one was not learnt")
    until(lambda: len(running.waiting()) == 1, f"waiting: {running.waiting()}")
    assert b"learning ham failed: HTTP 500: a message of yesterday is not learnt any more" in running.log.read_bytes()


def test_of_a_large_message_the_beginning_is_learnt(controller, service):
    running = service()
    assert ask(running.socket, message=b"x" * (PROGRAM.LONGEST + 300000)) == b"+\n"
    until(lambda: len(controller.lessons) == 1, "it was not learnt")
    assert controller.lessons[0][1] == b"x" * PROGRAM.LONGEST


@pytest.mark.parametrize(("head", "said"), [
    (b"GET / HTTP/1.0\r\n\r\n", "which is not the protocol of a script"),
    (b"VERSION\tscript\t4\t0\n-\nshutdown\n\n", "which cannot be learnt"),
    (b"VERSION\tscript\t4\t0\n-\n../../x\n\n", "which cannot be learnt"),
    (b"VERSION\tscript\t4\t0\n-\nspam\nham\n\n", "which cannot be learnt"),
    (b"VERSION\tscript\t4\t0\n-\n\n", "which cannot be learnt"),
    (b"\n", "which is not the protocol of a script"),
])
def test_what_is_no_lesson_is_logged_and_leaves_nothing(controller, service, head, said):
    running = service()
    assert ask(running.socket, head=head) == b""
    until(lambda: said.encode() in running.log.read_bytes(), "nothing was logged")
    assert running.waiting() == [] and running.process.poll() is None
    assert ask(running.socket) == b"+\n"
    until(lambda: len(controller.lessons) == 1, "it was not learnt")


def test_who_wants_no_answer_gets_none(controller, service):
    running = service()
    assert ask(running.socket, head=b"VERSION\tscript\t4\t0\nnoreply\nham\n\n") == b""
    until(lambda: controller.lessons == [("/learnham", MESSAGE)], "it was not learnt")


def test_where_there_is_no_room_the_move_goes_on(monkeypatch, tmp_path):
    logged = []
    monkeypatch.setattr(PROGRAM, "log", logged.append)
    monkeypatch.setattr(PROGRAM, "FREE", 1.0)
    (tmp_path / "rspamd").mkdir()
    options = PROGRAM.argparse.Namespace(listen=str(tmp_path / "learn"), idle=0, spool=str(tmp_path / "spool"), rspamd="/nowhere")
    with PROGRAM.Server(options, None) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        assert ask(tmp_path / "learn") == b"+\n"
        server.shutdown()
    assert os.listdir(tmp_path / "spool") == []
    assert logged == [f"a message is not learnt as spam: {tmp_path}/spool is on a file system of which less than 100% is free"]


def test_it_ends_when_there_is_nothing_to_do_but_not_before(controller, tmp_path, monkeypatch):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "learn"))
    listener.listen()
    controller.open.clear()
    # As systemd passes a socket, to a process that knows its own number.
    program = ("import os, sys\nos.dup2(int(sys.argv[1]), 3)\nos.set_inheritable(3, True)\n"
               "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\nos.execv(sys.executable, [sys.executable, *sys.argv[2:]])")
    process = subprocess.Popen([sys.executable, "-c", program, str(listener.fileno()), str(SOURCE), "--idle", "0.1",
                                str(tmp_path / "spool"), str(tmp_path / "rspamd")], pass_fds=[listener.fileno()])
    assert ask(tmp_path / "learn") == b"+\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    controller.open.set()
    assert process.wait(20) == 0
    assert controller.lessons == [("/learnspam", MESSAGE)]
    listener.close()


def test_without_a_socket_it_says_so(tmp_path):
    done = subprocess.run([sys.executable, SOURCE, tmp_path / "spool", "/nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "neither systemd nor --listen names a socket" in done.stderr


def test_a_client_that_hangs_up_without_a_word_is_none(controller, service):
    running = service()
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(running.socket))
    assert ask(running.socket) == b"+\n"
    until(lambda: len(controller.lessons) == 1, "it was not learnt")
    assert running.log.read_bytes() == b""


@pytest.mark.parametrize(("answers", "asked"), [
    ([(200, 0)], 1), ([(200, 2), (208, 0)], 2), ([(200, 2), (200, 0)], 2), ([(204, 2)], 1), ([(500, 2)], 1), ([(200, 2)] * 9, 5),
])
def test_who_may_have_waited_for_the_store_in_vain_is_asked_again(monkeypatch, answers, asked):
    now, left = [0.0], list(answers)
    monkeypatch.setattr(PROGRAM.time, "monotonic", lambda: now[0])

    def lesson():
        status, took = left.pop(0)
        now[0] += took
        return status, "said"

    assert PROGRAM.sure(lesson) == (answers[asked - 1][0], "said")
    assert len(answers) - len(left) == asked


def test_a_message_that_breaks_rspamd_holds_up_the_others_for_a_while_only(monkeypatch, tmp_path):
    monkeypatch.setattr(PROGRAM, "log", lambda _text: None)
    spool = PROGRAM.Spool(str(tmp_path / "spool"))
    for number, kind in enumerate(("spam", "ham", "spam")):
        (tmp_path / "spool" / f"{time.time_ns():020d}-{number:06d}.{kind}").write_bytes(b"breaks" if number == 0 else b"good")
    asked = []

    def learn(_path, file, kind):
        text = Path(file).read_bytes()
        asked.append((kind, text))
        if text == b"breaks":
            raise ConnectionResetError("it is gone")
        return 200, ""

    monkeypatch.setattr(PROGRAM, "learn", learn)
    teacher = PROGRAM.Teacher(spool, "/nowhere")
    for _ in range(PROGRAM.FAILURES):
        assert teacher.round() == "learning spam failed: ConnectionResetError: it is gone"
    assert asked == [("spam", b"breaks")] * PROGRAM.FAILURES
    teacher.round()
    assert asked[PROGRAM.FAILURES + 1:] == [("ham", b"good"), ("spam", b"good")]
    assert len(spool.names()) == 1
