# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail why and learn, with a controller that answers as Rspamd does."""

from __future__ import annotations

import argparse
import http.server
import io
import json
import socketserver
import threading

import pytest
from operations import Host, clock, lines
from postmaster_mail import cli, controller, explain
from postmaster_mail.text import Failure

NOW = 1795991000
MESSAGE = b"From: a@example.com\r\nMessage-ID:\r\n <6131667424c1d43e@client.test>\r\nSubject: x\r\n\r\nBuy.\r\n"
#: GET /symbols of Rspamd 3.12, cut.
SYMBOLS = [
    {"group": "hfilter", "rules": [{"symbol": "HFILTER_URL_ONLY", "weight": 2.2, "description": "URL only in body", "frequency": 0}]},
    {"group": "subject", "rules": [{"symbol": "SUBJ_ALL_CAPS", "weight": 3.0, "description": "Subject contains mostly capital letters"}]},
    {"group": "header", "rules": [{"symbol": "MISSING_TO", "weight": 2.0, "description": "To header is missing"}, {"symbol": "PHISHING"}]},
]
#: POST /checkv2, cut.
FOUND = {
    "action": "add header", "score": 7.25, "required_score": 15.0, "message-id": "new@example.com", "is_skipped": False,
    "thresholds": {"reject": 15.0, "add header": 6.0, "greylist": 4.0},
    "symbols": {
        "ARC_NA": {"name": "ARC_NA", "score": 0.0, "description": "ARC signature absent"},
        "BAYES_SPAM": {"name": "BAYES_SPAM", "score": 5.1, "options": ["99.98%"]},
        "MISSING_TO": {"name": "MISSING_TO", "score": 2.0},
    },
}  # fmt: skip


_clock = clock(now=NOW)


@pytest.fixture
def rspamd(tmp_path):
    """A controller at a socket; ``answers`` is path to status and answer, ``asked`` what it was given."""
    learnt = (200, {"success": True})
    answers = {"/symbols": (200, SYMBOLS), "/checkv2": (200, FOUND), "/learnspam": learnt, "/learnham": learnt}
    found = argparse.Namespace(path=str(tmp_path / "learn.sock"), asked=[], answers=answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.asked.append((self.path, body))
            status, answer = found.answers[self.path]
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer

        def address_string(self):
            return "socket"

        def log_message(self, *_args):
            pass

    server = socketserver.ThreadingUnixStreamServer(found.path, Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    host = Host("opensmtpd", lines("opensmtpd-7.6.log"))
    host.settings = host.settings.__class__(**{**host.settings.__dict__, "controller": found.path})
    found.host = host
    yield found
    server.shutdown()
    server.server_close()


def why(rspamd, *arguments):
    return cli._why(rspamd.host, cli._parsed(["why", *arguments]))


@pytest.mark.parametrize("what", ["c7cd5ab0", "file"])
def test_a_verdict_of_the_log_symbol_by_symbol(rspamd, tmp_path, what):
    if what == "file":
        what = str(tmp_path / "message")
        (tmp_path / "message").write_bytes(MESSAGE)
    answer = why(rspamd, what)
    assert answer.lines[:8] == [
        "Message <6131667424c1d43e@client.test> from <outside-6131667424c1d43e@client.test> to me@lab-a.test at 2026-11-29 21:25:18",
        "It is refused for now, saying \u201cTry again later\u201d. Its score is 11.9: refused from 15",
        "",
        "SCORE  SYMBOL              WHAT IT MEANS",
        " +3.0  SUBJ_ALL_CAPS       Subject contains mostly capital letters (50)",
        " +2.2  HFILTER_URL_ONLY    URL only in body (1)",
        " +2.0  MISSING_TO          To header is missing",
        " +2.0  PHISHING            (paypal.com->198.51.100.99)",
    ]
    # It weighs nothing, and stops the message.
    assert answer.public["verdicts"][0]["symbols"][-1]["name"] == "GREYLIST"
    assert "       GREYLIST            greylisting: who was never seen before, and scores that much, has to come again" in answer.lines
    assert ("/checkv2", MESSAGE) not in rspamd.asked


def test_by_message_id_all_verdicts_on_it(rspamd):
    answer = why(rspamd, "<6131667424c1d43e@client.test>")
    assert [verdict["action"] for verdict in answer.public["verdicts"]] == ["soft reject", "add header"]
    assert "It is marked as junk. Its score is 11.9: refused from 15" in answer.lines


def test_a_file_that_never_came_by_is_scanned(rspamd, tmp_path, monkeypatch):
    new = MESSAGE.replace(b"6131667424c1d43e@client.test", b"new@example.com")
    (tmp_path / "message").write_bytes(new)
    answer = why(rspamd, str(tmp_path / "message"))
    assert rspamd.asked[-1] == ("/checkv2", new)
    assert answer.lines == [
        "Message <new@example.com>, scanned just now: what depends on where it came from is not in it",
        "It is marked as junk. Its score is 7.25: refused from 15, junk from 6, has to come again once from 4",
        "",
        "SCORE  SYMBOL      WHAT IT MEANS",
        " +5.1  BAYES_SPAM  its words are those of what was learnt as spam (99.98%)",
        " +2.0  MISSING_TO  To header is missing",
    ]
    monkeypatch.setattr(cli.sys, "stdin", argparse.Namespace(buffer=io.BytesIO(b"Subject: no id\n\nx\n")))
    assert why(rspamd, "-").lines[0] == "Message <new@example.com>, scanned just now: what depends on where it came from is not in it"


def test_what_the_filter_has_not_seen(rspamd):
    answer = why(rspamd, "<nothing@example.com>")
    assert answer.lines == ["The filter has seen nothing of <nothing@example.com> since 2026-11-26 22:23:20; --since looks further back"]
    assert answer.status == 1


def test_hostile_headers_are_no_reason_to_fail():
    assert explain.message_id(b"Message-ID: =?utf-8?q?=00?= <a@b>\x1b\n\nx") == "=?utf-8?q?=00?= <a@b>\x1b"
    assert explain.message_id(b"Message-ID" * 100000) == ""
    assert explain.message_id(b"\xff\xfe\x00") == ""


def test_a_filter_that_does_not_answer_is_named(rspamd):
    rspamd.answers["/symbols"] = (403, b"Unauthorized")
    with pytest.raises(Failure, match="Rspamd answers 403 when it is asked for its symbols: Unauthorized"):
        why(rspamd, "c7cd5ab0")
    with pytest.raises(Failure, match=r"Rspamd does not answer at /nonexistent/socket: \[Errno 2\] No such file or directory"):
        controller.descriptions("/nonexistent/socket")


def learn(rspamd, *arguments):
    return cli._learn(rspamd.host, cli._parsed(["learn", *arguments]))


def test_a_maildir_is_learnt(rspamd, tmp_path):
    for name in ("cur/1:2,S", "new/2", "tmp/3", "dovecot.index.log", "maildirfolder", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(MESSAGE + name.encode())
    answer = learn(rspamd, "spam", str(tmp_path))
    assert answer.lines == ["2 messages are learnt as spam"]
    assert sorted(rspamd.asked) == [("/learnspam", MESSAGE + b"cur/1:2,S"), ("/learnspam", MESSAGE + b"new/2")]
    assert rspamd.host.notes == ["learn: 2 messages as spam"]


def test_what_is_known_or_cannot_be_learnt(rspamd, tmp_path):
    (tmp_path / "a").write_bytes(MESSAGE)
    rspamd.answers["/learnham"] = (208, {"error": "<x> has been already learned as ham, ignore it"})
    assert learn(rspamd, "ham", str(tmp_path / "a")).lines == ["0 messages are learnt as ham, 1 had been before"]
    rspamd.answers["/learnham"] = (500, {"error": "too few\x1b[31m tokens"})
    answer = learn(rspamd, "ham", str(tmp_path / "a"), str(tmp_path / "b"))
    assert answer.lines == [
        f"{tmp_path}/a: Rspamd answers 500: too few?[31m tokens",
        f"{tmp_path}/b: {tmp_path}/b cannot be read: No such file or directory",
        "0 messages are learnt as ham",
    ]
    assert answer.status == 1
    assert rspamd.host.notes == []
    (tmp_path / "empty").write_bytes(b"\n")
    assert learn(rspamd, "ham", str(tmp_path / "empty")).lines[0].endswith("empty is empty")
