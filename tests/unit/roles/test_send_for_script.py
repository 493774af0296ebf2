# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that the role dovecot installs for what Sieve scripts send, called as Dovecot does, between a filter and an MTA."""

from __future__ import annotations

import http.server
import io
import json
import socketserver
import sys
import threading
from pathlib import Path

import pytest
from program import load

PROGRAM = load(Path(__file__).resolve().parents[3] / "roles/dovecot/files/send_for_script.py")
OWNER, TARGET = "you@example.org", "someone@example.com"
TOKEN = "ab" * 32
REDIRECT = b"X-Sieve: Pigeonhole Sieve 2.4\nX-Sieve-Redirected-From: you@example.org\nFrom: a@example.com\nSubject: one\n\n.hello\n"
NOTICE = b"X-Sieve: Pigeonhole Sieve 2.4\nMessage-ID: <1@example.org>\nFrom: you@example.org\nX-Sieve-Redirected-From: me\n\nAway.\n"


class Filter:
    """Answers what it was given to whoever opens its socket."""

    def __init__(self, path):
        self.path, self.status, self.answer, self.asked = path, 200, {"token": TOKEN}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append((self.path, self.headers["Owner"]))
                body = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self):
                return "socket"

            def log_message(self, *_args):
                pass

        self.server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Mta:
    """An SMTP server that takes or refuses as it was told, by command, and keeps what it took."""

    def __init__(self):
        self.answers, self.taken = {}, []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(b"220 mta\r\n")
                for line in self.rfile:
                    verb = line.split()[0].upper().decode()
                    answer = outer.answers.get(verb, b"250 ok")
                    if verb == "MAIL":
                        envelope = [line]
                    elif verb == "RCPT":
                        envelope.append(line)
                    elif verb == "DATA":
                        self.wfile.write(b"354 go on\r\n")
                        text = b"".join(iter(self.rfile.readline, b".\r\n"))
                        outer.taken.append((envelope, text))
                    self.wfile.write(answer + b"\r\n")
                    if verb == "QUIT":
                        return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Place:
    def __init__(self, directory):
        self.directory = directory
        self.filter, self.mta = Filter(directory / "socket"), Mta()
        self.lda(0)

    def lda(self, status):
        """As Dovecot's, it reads from the start where it can."""
        path = self.directory / "lda"
        path.write_text(
            f"#!{sys.executable}\nimport contextlib, os, pathlib, sys\nplace = pathlib.Path({str(self.directory)!r})\n"
            "with contextlib.suppress(OSError): os.lseek(0, 0, os.SEEK_SET)\n"
            "(place / 'arguments').write_text(' '.join(sys.argv[1:]))\n(place / 'inbox').write_bytes(sys.stdin.buffer.read())\n"
            f"with contextlib.suppress(OSError): os.lseek(0, 0, os.SEEK_SET)\nsys.exit({status})\n"
        )
        path.chmod(0o755)

    def send(self, message, sender="you@example.org", recipients=(TARGET,)):
        own = [self.mta.address, str(self.filter.path), str(self.directory / "lda")]
        return PROGRAM.main([*own, OWNER, "-i", "-f", sender, "--", *recipients], io.BytesIO(message))

    @property
    def inbox(self):
        path = self.directory / "inbox"
        return path.read_bytes() if path.exists() else None


@pytest.fixture
def place(tmp_path, monkeypatch):
    found = Place(tmp_path)
    locks = [tmp_path / name for name in ("inventory", "command")]
    for path in locks:
        path.write_text("# Accounts\nanother@example.org\n")
    monkeypatch.setattr(PROGRAM, "LOCKS", [str(path) for path in locks])
    yield found
    for server in (found.filter.server, found.mta.server):
        server.shutdown()
        server.server_close()


def test_the_filter_is_told_whose_script_sends(place):
    assert place.send(REDIRECT) == 0
    assert place.filter.asked == [("/plugins/postmaster_mail/script", OWNER)]
    envelope, text = place.mta.taken[0]
    # The case of the words differs between versions of smtplib.
    assert [line.lower() for line in envelope] == [b"mail from:<you@example.org>\r\n", b"rcpt to:<someone@example.com>\r\n"]
    header = f"X-Postmaster-Mail-Script: {OWNER} {TOKEN}\r\n".encode()
    assert text == header + REDIRECT.replace(b"\n", b"\r\n").replace(b"\r\n.hello", b"\r\n..hello")


def test_what_was_taken_is_not_sent_again_when_the_farewell_fails(place):
    place.mta.answers["QUIT"] = b"421 4.3.2 going down"
    assert place.send(REDIRECT) == 0


def test_a_bounce_stays_a_bounce(place):
    assert place.send(REDIRECT, sender="<>") == 0
    assert place.mta.taken[0][0][0].lower() == b"mail from:<>\r\n"


@pytest.mark.parametrize("name", ["X-Postmaster-Mail-Script", "x-postmaster-mail-script", "X-POSTMASTER-MAIL-SCRIPT \t"])
def test_what_somebody_else_wrote_in_that_header_is_left_out(place, name):
    forged = f"{name}: me@example.org\n {'cd' * 32}\n".encode()
    assert place.send(REDIRECT.replace(b"Subject", forged + b"Subject")) == 0
    text = place.mta.taken[0][1]
    assert b"me@example.org" not in text and b"cdcd" not in text
    assert text.lower().count(b"x-postmaster-mail-script") == 1


def test_a_message_without_an_end_of_line_and_one_without_a_body(place):
    for message in (b"X-Sieve: 1\n\nhello", b"X-Sieve: 1\n", b"X-Sieve: 1\n \n folded\n\n"):
        assert place.send(message) == 0
        complete = message if message.endswith(b"\n") else message + b"\n"
        assert place.mta.taken[-1][1].partition(b"\r\n")[2] == complete.replace(b"\n", b"\r\n")


def test_two_recipients_of_whom_one_is_refused(place):
    answers = iter([b"250 ok", b"550 5.1.1 nobody"])
    place.mta.answers = type("", (dict,), {"get": lambda self, verb, otherwise: next(answers) if verb == "RCPT" else otherwise})()
    assert place.send(NOTICE, recipients=(TARGET, "nobody@example.com")) == 0
    assert len(place.mta.taken) == 1


def test_a_body_is_not_looked_at(place):
    body = b"\nX-Postmaster-Mail-Script: me@example.org 00\n"
    assert place.send(REDIRECT + body) == 0
    assert place.mta.taken[0][1].endswith(body.replace(b"\n", b"\r\n"))


def test_without_a_filter_nothing_is_told(place):
    place.filter.path = place.directory / "nowhere/socket"
    assert place.send(REDIRECT) == 0
    assert b"X-Postmaster" not in place.mta.taken[0][1]


@pytest.mark.parametrize("name", ["inventory", "command"])
def test_without_a_filter_a_locked_account_sends_nothing(place, name):
    place.filter.path = place.directory / "nowhere/socket"
    (place.directory / name).write_text("# Accounts\nYou@example.org\n")
    assert place.send(REDIRECT) == 0
    assert (place.mta.taken, place.inbox) == ([], REDIRECT)


def test_without_a_filter_it_waits_where_nobody_can_tell_who_is_locked(place):
    place.filter.path = place.directory / "nowhere/socket"
    (place.directory / "command").unlink()
    assert place.send(REDIRECT) == 75
    assert (place.mta.taken, place.inbox) == ([], None)


def test_a_filter_that_restarts_is_waited_for(place):
    place.filter.path = place.directory / "socket.not.yet"
    assert place.send(REDIRECT) == 75
    assert not place.mta.taken


@pytest.mark.parametrize("message", [REDIRECT, NOTICE])
@pytest.mark.parametrize("after", [{"answer": {"token": "cd" * 32}}, {"status": 503}])
def test_what_a_filter_refuses_that_was_restarted_after_it_gave_a_token_waits(place, message, after):
    class Answers(dict):
        def get(self, verb, otherwise):
            if verb != "DATA":
                return otherwise
            vars(place.filter).update(after)
            return b"550 5.7.1 no"

    place.mta.answers = Answers()
    assert place.send(message) == 75
    assert place.inbox is None


@pytest.mark.parametrize("broken", [{"status": 500}, {"answer": {"token": "x y"}}, {"answer": []}])
def test_without_an_answer_of_the_filter_it_waits(place, broken):
    vars(place.filter).update(broken)
    assert place.send(REDIRECT) == 75
    assert not place.mta.taken


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_what_is_deferred_waits(place, verb):
    place.mta.answers[verb] = b"451 4.7.1 later"
    assert place.send(REDIRECT) == 75
    assert place.inbox is None


def test_without_an_mta_it_waits(place):
    place.mta.server.shutdown()
    place.mta.server.server_close()
    assert place.send(REDIRECT) == 75
    assert place.inbox is None


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA"])
def test_what_may_not_be_redirected_is_kept(place, verb):
    place.mta.answers[verb] = b"550 5.7.1 no"
    assert place.send(REDIRECT) == 0
    assert place.inbox == REDIRECT
    assert (place.directory / "arguments").read_text() == "-d you@example.org -f you@example.org -m INBOX"


def test_a_large_message_is_kept_whole(place):
    message = REDIRECT + b"x" * 70 * 1000 + b"\n"
    place.mta.answers["DATA"] = b"550 5.7.1 no"
    assert place.send(message) == 0
    assert place.inbox == message


def test_what_can_neither_be_redirected_nor_kept_waits(place):
    place.mta.answers["DATA"] = b"550 5.7.1 no"
    place.lda(75)
    assert place.send(REDIRECT) == 75


def test_a_notice_that_is_refused_is_no_mail_of_its_owner(place):
    place.mta.answers["DATA"] = b"550 5.7.1 no"
    assert place.send(NOTICE) == 0
    assert place.inbox is None


SPAM = REDIRECT.replace(b"From: a", b"X-Spam: Yes\nFrom: a")
REPORT = (
    b"X-Sieve: Pigeonhole Sieve 2.4\nFrom: <you@example.org>\nTo: <a@example.com>\nSubject: Automatically rejected mail\n"
    b"Auto-Submitted: auto-replied (rejected)\nPrecedence: bulk\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/report; report-type=disposition-notification;\n\tboundary="1/x"\n\nThis is a MIME-encapsulated message\n\n'
    b"--1/x\nContent-Type: text/plain; charset=utf-8\n\nYour message was automatically rejected:\nno\n"
    b"--1/x\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; you@example.org\n\n"
    b"--1/x\nContent-Type: message/rfc822\n\nReturn-Path: <a@example.com>\n%sFrom: a@example.com\nSubject: one\n\n\n--1/x--\n"
)


def test_spam_is_not_redirected_but_kept(place):
    assert place.send(SPAM) == 0
    assert place.mta.taken == [] and place.inbox == SPAM


@pytest.mark.parametrize("header", [b"", b"X-Auto-Response-Suppress: All\n", b"Auto-Submitted: no\n", b"Precedence: first-class\n"])
def test_who_was_proven_to_write_is_told_that_a_script_refuses_it(place, header):
    assert place.send(REPORT % header, "") == 0
    assert len(place.mta.taken) == 1


@pytest.mark.parametrize("header", [
    b"X-Auto-Response-Suppress: All, Unproven\n", b"X-Auto-Response-Suppress: OOF\nX-Auto-Response-Suppress: All,\n unproven\n",
    b"X-Spam: Yes\n", b"Precedence: BULK\n", b"List-Id: <l.example.com>\n", b"list-unsubscribe: <mailto:x@example.com>\n",
    b"Auto-Submitted: auto-generated\n", b"Auto-Submitted: auto-replied; owner-email=x\n",
])  # fmt: skip
def test_nobody_else_is_and_dovecot_keeps_what_the_script_refuses(place, header):
    assert place.send(REPORT % header, "") == 75
    assert place.mta.taken == [] and place.inbox is None


def test_a_report_without_the_message_is_not_sent(place):
    assert place.send(REPORT.replace(b"message/rfc822", b"text/plain") % b"", "") == 75


def test_a_notice_that_quotes_a_mark_is_none_of_these(place):
    assert place.send(NOTICE + b"X-Spam: Yes\nX-Auto-Response-Suppress: Unproven\n") == 0
    assert len(place.mta.taken) == 1
