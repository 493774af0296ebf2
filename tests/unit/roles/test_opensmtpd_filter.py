# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter that the role opensmtpd installs, spoken to as smtpd does: through pipes, in the protocol of smtpd-filters(7)."""

from __future__ import annotations

import base64
import email.utils
import http.server
import io
import json
import os
import re
import resource
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import types
from pathlib import Path

import pytest
from program import load

PROGRAM = Path(__file__).resolve().parents[3] / "roles/opensmtpd/files/filter_postmaster.py"
SESSION, TOKEN = "7641df9771b4ed00", "1ef1c203cc576e5d"
COMPLETE = ["Date: Sun, 29 Nov 2026 12:00:00 +0000", "Message-ID: <1@client.test>"]
MESSAGE = ["Received: from client.test", "\tby mail.example.org", "From: a@client.test", "Subject: one", *COMPLETE, "", "hello", "..dots"]


FILTER = load(PROGRAM)


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Rspamd:
    """Answers every message with what it was given, and keeps what it was asked: at a Unix socket, or else at a port."""

    def __init__(self, path=""):
        self.status, self.verdict, self.asked = 200, {"action": "no action"}, []
        self.text = b""  # of the message, written anew
        self.waits = lambda: None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                outer.asked.append((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
                outer.waits()
                body = json.dumps(outer.verdict).encode()
                self.send_response(outer.status)
                if outer.text:
                    self.send_header("Message-Offset", str(len(body)))
                    body += outer.text
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args):
                pass

        self.server = UnixServer(path, Handler) if path else http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = path or f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


class Smtpd:
    """As much of smtpd as the filter sees."""

    def __init__(self, *options, version="0.7"):
        self.version = version
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        # Whoever waits for an answer that does not come reads the end of the stream then.
        self.end_of_patience = threading.Timer(60, self.process.kill)
        self.end_of_patience.daemon = True
        self.end_of_patience.start()
        self.write("config|smtpd-version|7.6.0", f"config|protocol|{version}", "config|ready")
        self.registered = []
        while (line := self.read()) != "register|ready":
            self.registered.append(line)

    def write(self, *lines):
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def read(self):
        return self.process.stdout.readline().decode().rstrip("\n")

    def report(self, event, *values):
        self.write("|".join(["report", self.version, "1576146008.006099", "smtp-in", event, SESSION, *values]))

    def ask(self, phase, *values):
        self.write("|".join(["filter", self.version, "1576146008.006099", "smtp-in", phase, SESSION, TOKEN, *values]))

    def result(self, phase, *values):
        self.ask(phase, *values)
        kind, session, token, what = self.read().split("|", 3)
        assert (kind, session, token) == ("filter-result", SESSION, TOKEN)
        return what

    def connect(self, source="198.51.100.9:33174", confirmed="pass", name="client.test"):
        self.report("link-connect", name, confirmed, source, "198.51.100.25:25")
        self.report("link-greeting", "mail.example.org")
        self.report("link-identify", "EHLO", "client.test")

    def message(self, lines=MESSAGE, recipients=("me@example.org",), sender="a@client.test"):
        """Send a message; return the lines that come back and the answer to it."""
        self.report("tx-begin", "6ba76466")
        self.report("tx-mail", "6ba76466", "ok", sender)
        for recipient in recipients:
            self.report("tx-rcpt", "6ba76466", "ok", recipient)
        self.report("tx-rcpt", "6ba76466", "permfail", "nobody@example.org")
        for line in [*lines, "."]:
            self.ask("data-line", line)
        prefix, back = f"filter-dataline|{SESSION}|{TOKEN}|", []
        while True:
            line = self.read()
            assert line.startswith(prefix)
            if line == prefix + ".":
                return back, self.result("commit", "")
            back.append(line[len(prefix):])

    def end(self):
        self.process.stdin.close()
        errors = self.process.stderr.read().decode()
        assert self.process.wait(10) == 0
        self.process.stdout.close()
        self.process.stderr.close()
        return errors


@pytest.fixture(params=["socket", "port"])
def rspamd(request, tmp_path):
    found = Rspamd(str(tmp_path / "proxy.sock") if request.param == "socket" else "")
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def start():
    started = []

    def make(*options, **more):
        started.append(Smtpd(*options, **more))
        return started[-1]

    yield make
    for smtpd in started:
        smtpd.end_of_patience.cancel()
        smtpd.process.kill()
        smtpd.process.wait()
        for stream in (smtpd.process.stdin, smtpd.process.stdout, smtpd.process.stderr):
            stream.close()


def test_a_message_passes_as_it_is_and_rspamd_is_told_where_it_comes_from(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    assert smtpd.message(recipients=["me@example.org", "postmaster"]) == (MESSAGE, "proceed")
    path, headers, body = rspamd.asked[0]
    assert path == "/checkv2"
    assert body.decode().splitlines() == [*MESSAGE[:-1], ".dots"]  # as the sender wrote it, without the dot of SMTP
    told = ("Ip", "Helo", "Hostname", "MTA-Name", "From", "Queue-Id", "User")
    assert {name: headers[name] for name in told} == {
        "Ip": "198.51.100.9", "Helo": "client.test", "Hostname": "client.test", "MTA-Name": "mail.example.org",
        "From": "a@client.test", "Queue-Id": "6ba76466", "User": None,
    }
    # Only those that smtpd took; and a bare name has the server's, as smtpd understands it.
    assert headers.get_all("Rcpt") == ["me@example.org", "postmaster@mail.example.org"]


@pytest.mark.parametrize(
    "version, values",
    [("0.6", ["odd|name@example.org", "pass"]), ("0.7", ["pass", "odd|name@example.org"])],
)
def test_the_authenticated_user_is_told_in_both_protocols(start, rspamd, version, values):
    smtpd = start("--rspamd", rspamd.address, version=version)
    smtpd.connect("[2001:db8::9]:33174", "fail")
    smtpd.report("link-auth", *values)
    smtpd.message()
    headers = rspamd.asked[0][1]
    assert (headers["User"], headers["Ip"], headers["Hostname"]) == ("odd|name@example.org", "2001:db8::9", None)


@pytest.mark.parametrize("version, values", [("0.6", ["me@example.org", "fail"]), ("0.7", ["fail", "me@example.org"])])
def test_a_failed_login_is_logged_with_its_address(start, rspamd, version, values):
    smtpd = start("--rspamd", rspamd.address, version=version)
    smtpd.connect()
    smtpd.report("link-auth", *values)
    smtpd.message()
    assert "User" not in rspamd.asked[0][1]
    assert smtpd.end() == "authentication failed from 198.51.100.9 as 'me@example.org'\n"


@pytest.mark.parametrize(
    ("source", "user", "logged"),
    [
        ("[2001:db8::9]:33174", "me", "from 2001:db8::9 as 'me'"),
        ("198.51.100.9:33174", "a\rpostmaster: authentication failed from 198.51.100.7/32 as 'x",
         "from 198.51.100.9 as \"a\\rpostmaster: authentication failed from 198.51.100.7/32 as 'x\""),
        ("198.51.100.9:33174", "x" * 200, f"from 198.51.100.9 as '{'x' * 100}'"),
    ],
)
def test_what_a_user_is_called_is_behind_the_address_and_in_one_line(start, source, user, logged):
    smtpd = start()
    smtpd.connect(source)
    smtpd.report("link-auth", "fail", user)
    assert smtpd.end() == f"authentication failed {logged}\n"


def test_whatever_is_logged_is_one_line(capfd):
    FILTER.log("one\r\npostmaster: authentication failed\x85from\u2028198.51.100.7/32 as 'x'")
    assert capfd.readouterr().err == "one postmaster: authentication failed from 198.51.100.7/32 as 'x'\n"


# --- Log-ins ---


def plain(name, password):
    return "PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode()


@pytest.fixture
def login_reports(tmp_path):
    """Return the path of a guard's socket, and a function that returns what has been reported to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as guard:
        guard.bind(str(tmp_path / "reports.sock"))
        guard.settimeout(10)
        yield str(tmp_path / "reports.sock"), lambda: json.loads(guard.recv(8192))


@pytest.mark.parametrize(
    ("command", "user", "known"),
    [(plain("me@example.org", "x"), "me@example.org", True), ("LOGIN bWVAZXhhbXBsZS5vcmc=", "me@example.org", False),
     ("LOGIN", "me@example.org", False), ("PLAIN", "me@example.org", False), ("PLAIN !", "me@example.org", False),
     ("PLAIN bWU=", "me", False), (plain("A B", "x"), "a\\\\040b", True)],  # smtpd writes names in its own way
)
def test_log_ins_are_reported_with_a_hash_of_the_password_where_it_is_seen(start, login_reports, command, user, known):
    path, reported = login_reports
    smtpd = start("--login-guard", path)
    smtpd.connect("[2001:db8::9]:33174")
    assert smtpd.result("auth", command) == "proceed"
    smtpd.report("link-auth", "fail", user)
    report = reported()
    assert (report.pop("pwhash") is not None) == known
    assert report == {"remote": "2001:db8::9", "login": user, "success": False, "fail_type": "credentials"}
    assert smtpd.result("auth", command) == "proceed"
    smtpd.report("link-auth", "pass", user)
    report = reported()
    assert (report["success"], report["fail_type"], report["pwhash"] is not None) == (True, "", known)
    assert smtpd.end().splitlines() == [f"authentication failed from 2001:db8::9 as {user!r}"]


def test_the_same_password_has_the_same_hash_in_one_process_and_another_one_hardly(start, login_reports):
    path, reported = login_reports
    smtpd = start("--login-guard", path)
    found = []
    for name, password in [("me", "x"), ("ME", "x"), *(("me", f"x{number}") for number in range(20))]:
        smtpd.connect()
        smtpd.ask("auth", plain(name, password))
        smtpd.read()
        smtpd.report("link-auth", "fail", name)
        found.append(reported()["pwhash"])
    assert found[0] == found[1]
    assert len(set(found)) > 15
    other = start("--login-guard", path)
    others = []
    for number in range(20):
        other.connect()
        other.ask("auth", plain("me", f"x{number}"))
        other.read()
        other.report("link-auth", "fail", "me")
        others.append(reported()["pwhash"])
    assert others != found[2:]


def test_where_nobody_counts_log_ins_nothing_is_said_of_it(start, tmp_path):
    smtpd = start("--login-guard", str(tmp_path / "reports.sock"))
    smtpd.connect()
    smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.end() == ""


def test_a_guard_that_does_not_read_holds_nobody_up(start, login_reports):
    path, _reported = login_reports
    smtpd = start("--login-guard", path)
    smtpd.connect()
    for _try in range(700):
        smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.result("mail-from", "a@client.test") == "proceed"
    assert "a log-in from 198.51.100.9 is not reported: " in smtpd.end()


def test_who_goes_on_to_a_mechanism_that_shows_no_password_is_refused_unseen(start):
    """After a wrong one by PLAIN, Python's smtplib and others try LOGIN with the same; a guesser would try another one."""
    smtpd = start()
    smtpd.connect()
    assert smtpd.result("auth", plain("me", "x")) == "proceed"
    smtpd.report("link-auth", "fail", "me")
    refused = "reject|535 5.7.8 Authentication credentials invalid"
    for command in ("LOGIN", "LOGIN bWU=", "PLAIN", "login", "PLAIN !"):
        assert smtpd.result("auth", command) == refused
    assert smtpd.result("auth", plain("me", "y")) == "proceed"
    # Another session has nothing to do with it.
    smtpd.connect()
    assert smtpd.result("auth", "LOGIN") == "proceed"


def test_one_wrong_password_is_verified_so_often_in_a_minute(monkeypatch):
    out, clock = io.BytesIO(), [119.0]
    monkeypatch.setattr(FILTER.time, "monotonic", lambda: clock[0])
    found = FILTER.Filter(FILTER.arguments().parse_args(["--wrong-password-rate", "2", "--trusted", "198.51.100.8"]), out)

    def attempt(address, command, user, result="fail"):
        """Log in from an address, and return whether that was verified."""
        out.seek(0)
        out.truncate()
        found.line(f"report|0.7|1.0|smtp-in|link-connect|1|client.test|pass|{address}:33174|198.51.100.25:587".encode())
        found.line(f"filter|0.7|1.0|smtp-in|auth|1|{TOKEN}|{command}".encode())
        verified = out.getvalue().decode().endswith("|proceed\n")
        if verified:
            found.line(f"report|0.7|1.0|smtp-in|link-auth|1|{result}|{user}".encode())
        return verified

    assert [attempt("198.51.100.9", plain("me", "x"), "me") for _try in range(4)] == [True, True, False, False]
    # Another password, another name, another client, no password that is known, one who is trusted.
    assert attempt("198.51.100.9", plain("me", "y"), "me")
    assert attempt("198.51.100.9", plain("you", "x"), "you")
    assert attempt("198.51.100.10", plain("me", "x"), "me")
    assert all(attempt("198.51.100.9", "LOGIN", "me") for _try in range(9))
    assert all(attempt("198.51.100.8", plain("me", "x"), "me") for _try in range(9))
    # What is right is verified however often.
    assert all(attempt("198.51.100.9", plain("me", "z"), "me", "pass") for _try in range(9))
    clock[0] = 120.0
    assert attempt("198.51.100.9", plain("me", "x"), "me")


def test_a_password_is_not_logged_whatever_goes_wrong(monkeypatch, capfd):
    out = io.BytesIO()
    found = FILTER.Filter(FILTER.arguments().parse_args([]), out)
    monkeypatch.setattr(found, "login", lambda _session, _argument: 1 / 0)
    found.line(b"report|0.7|1.0|smtp-in|link-connect|1|client.test|pass|198.51.100.9:33174|198.51.100.25:587")
    found.line(f"filter|0.7|1.0|smtp-in|auth|1|{TOKEN}|{plain('me', 'x')}".encode())
    assert out.getvalue().decode() == f"filter-result|1|{TOKEN}|reject|451 4.7.1 Service unavailable - try again later\n"
    assert capfd.readouterr().err == (
        f"ZeroDivisionError: division by zero in b'filter|0.7|1.0|smtp-in|auth|1|{TOKEN}'\n")


# --- What one client may do ---


class Clients:
    """Several clients at once."""

    def __init__(self, smtpd):
        self.smtpd, self.sessions = smtpd, 0

    def connect(self, address):
        """Open a session from an address; return its name, and what smtpd is told."""
        self.sessions += 1
        session = f"{self.sessions:016x}"
        source = f"[{address}]:33174" if ":" in address else f"{address}:33174"
        self.smtpd.write(f"report|0.7|1576146008.006099|smtp-in|link-connect|{session}|client.test|pass|{source}|198.51.100.25:25")
        return session, self.ask(session, "connect", "client.test", source)

    def ask(self, session, phase, *values):
        self.smtpd.write("|".join(["filter|0.7|1576146008.006099|smtp-in", phase, session, TOKEN, *values]))
        prefix = f"filter-result|{session}|{TOKEN}|"
        line = self.smtpd.read()
        assert line.startswith(prefix)
        return line[len(prefix):]

    def disconnect(self, session):
        self.smtpd.write(f"report|0.7|1576146008.006099|smtp-in|link-disconnect|{session}")


@pytest.mark.parametrize(
    ("addresses", "other", "told"),
    [
        (["198.51.100.9"] * 3, "198.51.100.10", "198.51.100.9"),
        (["2001:db8::9", "2001:db8::1:0:0:9", "2001:db8:0:0:ffff::"], "2001:db8:0:1::9", "2001:db8::/64"),
    ],
)
def test_one_client_does_not_take_all_sessions(start, addresses, other, told):
    clients = Clients(start("--connections", "2"))
    first, answer = clients.connect(addresses[0])
    assert answer == "proceed"
    assert clients.connect(addresses[1])[1] == "proceed"
    refused, answer = clients.connect(addresses[2])
    assert answer == f"disconnect|421 4.7.0 Too many connections from {told}"
    assert clients.connect(other)[1] == "proceed"
    clients.disconnect(refused)
    clients.disconnect(first)
    assert clients.connect(addresses[2])[1] == "proceed"


@pytest.mark.parametrize("address", ["198.51.100.9", "2001:db8::9"])
def test_a_trusted_network_has_no_limits(start, address):
    clients = Clients(start("--connections", "1", "--message-rate", "1", "--trusted", "198.51.100.8/31", "--trusted", "2001:db8::/32"))
    for _ in range(3):
        session, answer = clients.connect(address)
        assert answer == "proceed"
        assert clients.ask(session, "mail-from", "a@client.test") == "proceed"


@pytest.mark.parametrize(
    ("option", "phase", "value", "told"),
    [
        ("--connection-rate", "connect", "client.test", "disconnect|421 4.7.0 Too many connections in a minute from 198.51.100.9"),
        ("--message-rate", "mail-from", "a@client.test", "reject|450 4.7.1 Too many messages in a minute from 198.51.100.9"),
        ("--recipient-rate", "rcpt-to", "a@example.org", "reject|450 4.7.1 Too many recipients in a minute from 198.51.100.9"),
    ],
)
def test_what_a_client_does_in_a_minute_is_counted_over_its_sessions_until_the_next_minute(monkeypatch, capfd, option, phase, value, told):
    out, clock = io.BytesIO(), [119.0]
    monkeypatch.setattr(FILTER.time, "monotonic", lambda: clock[0])
    found = FILTER.Filter(FILTER.arguments().parse_args([option, "2"]), out)

    def answers():
        out.seek(0)
        out.truncate()
        for session, address in [("1", "198.51.100.9"), ("2", "198.51.100.9"), ("3", "198.51.100.9"), ("4", "198.51.100.8")]:
            found.line(f"report|0.7|1.0|smtp-in|link-connect|{session}|client.test|pass|{address}:33174|198.51.100.25:25".encode())
            found.line(f"filter|0.7|1.0|smtp-in|{phase}|{session}|{TOKEN}|{value}".encode())
        return [line.partition(TOKEN + "|")[2] for line in out.getvalue().decode().splitlines()]

    assert answers() == ["proceed", "proceed", told, "proceed"]
    clock[0] = 120.0
    assert answers() == ["proceed", "proceed", told, "proceed"]
    name = option[2:]
    assert capfd.readouterr().err == f"{name} limit exceeded: 3 from 198.51.100.9/32\n" * 2


@pytest.mark.parametrize(
    "verdict, answer",
    [
        ({"action": "reject"}, "reject|550 5.7.1 Spam message rejected"),
        ({"action": "reject", "messages": {"smtp_message": "That is not yours"}}, "reject|550 5.7.1 That is not yours"),
        ({"action": "discard", "messages": {"smtp_message": "Nobody is told"}}, "reject|550 5.7.1 Nobody is told"),
        ({"action": "reject", "is_skipped": True, "messages": {"smtp_message": "554 5.7.1 Gtube"}}, "reject|554 5.7.1 Gtube"),
        ({"action": "reject", "messages": {"smtp_message": "5.7.26 unsigned\r\n250 ok"}}, "reject|550 5.7.26 unsigned 250 ok"),
        ({"action": "soft reject", "messages": {"smtp_message": "Try again later"}}, "reject|451 4.7.1 Try again later"),
    ],
)
def test_what_rspamd_refuses_is_refused_and_not_given_back(start, rspamd, verdict, answer):
    rspamd.verdict = verdict
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    assert smtpd.message() == ([], answer)


@pytest.mark.parametrize(
    "status, verdict, why",
    [
        (500, {"action": "no action"}, "Rspamd answered 500 Internal Server Error"),
        (200, {"error": "cannot load"}, "Rspamd gave no verdict"),
        (200, ["no action"], "Rspamd gave no verdict"),
        (200, {"action": "no action", "is_skipped": True}, "Rspamd has not judged it"),
    ],
)
def test_no_verdict_defers(start, rspamd, status, verdict, why):
    rspamd.status, rspamd.verdict = status, verdict
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    assert smtpd.message() == ([], "reject|451 4.7.1 Service unavailable - try again later")
    assert smtpd.end() == f"message 6ba76466 is deferred: {why}\n"


@pytest.mark.parametrize("kind", ["socket", "port"])
def test_with_rspamd_away_mail_is_deferred_but_that_of_this_host_waits_and_passes(start, kind, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = str(tmp_path / "proxy.sock") if kind == "socket" else f"127.0.0.1:{unused.getsockname()[1]}"
        smtpd = start("--rspamd", address, "--patience", "1")
        smtpd.connect()
        assert smtpd.message() == ([], "reject|451 4.7.1 Service unavailable - try again later")
        smtpd.report("link-disconnect")
        smtpd.connect("unix:/var/run/smtpd.sock")
        assert smtpd.message() == (MESSAGE, "proceed")


@pytest.mark.parametrize("junk", [b"", b"X-Spam: Yes\n"])
def test_a_message_is_whole_also_for_an_rspamd_that_comes_back(rspamd, junk):
    message = b"Subject: one\n\nhello\n"
    with tempfile.SpooledTemporaryFile() as content, socket.socket() as unused:
        content.write(junk + message)
        unused.bind(("127.0.0.1", 0))
        session = FILTER.Session(content=content)
        with pytest.raises(FILTER.Deferred, match="refused"):
            FILTER.ask_rspamd(f"127.0.0.1:{unused.getsockname()[1]}", session, 5)
        assert FILTER.ask_rspamd(rspamd.address, session, 5) == rspamd.verdict
    assert [body for _path, _headers, body in rspamd.asked] == [message]


def test_headers_of_rspamd_go_on_top_and_signatures_above_all_that_they_sign(start, rspamd):
    rspamd.verdict = {
        "action": "add header",
        "milter": {
            "add_headers": {"X-Spamd-Bar": "++", "Authentication-Results": [{"value": "mail.example.org;\n\tdkim=pass", "order": 1}]}
        },
        "dkim-signature": ["v=1; d=example.org;\r\n\tb=abc", "v=1; a=ed25519-sha256"],
    }
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    lines, answer = smtpd.message()
    assert answer == "proceed"
    assert lines == [
        "X-Spam: Yes",
        "X-Spamd-Bar: ++",
        "Authentication-Results: mail.example.org;",
        "\tdkim=pass",
        "DKIM-Signature: v=1; d=example.org;",
        "\tb=abc",
        "DKIM-Signature: v=1; a=ed25519-sha256",
        *MESSAGE,
    ]


def test_forged_headers_are_taken_out_however_they_are_written(start, rspamd):
    rspamd.verdict = {"action": "no action", "milter": {"remove_headers": {"Authentication-Results": 0, "X-Other": 2}}}
    forged = ["authentication-RESULTS: mail.example.org;", "\tdkim=pass", " spf=pass", "X-SPAM : no"]
    others = ["X-Other: 1", "X-Other: 2", "X-Other: 3"]
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    body = ["", "Authentication-Results: in the text", "X-Spam: in the text"]
    lines, _answer = smtpd.message([*MESSAGE[:2], *forged, *others, "Subject: x", *body])
    assert lines == [*MESSAGE[:2], "X-Other: 1", "X-Other: 3", "Subject: x", *body]


@pytest.mark.parametrize("judged", [True, False])
def test_what_only_we_say_arrives_from_nobody_else_judged_or_not(start, rspamd, judged):
    """A user's and a program's claims as well as a stranger's: what Rspamd answers does not matter."""
    forged = [
        "X-Spam: Yes", "x-spam : No", "X-Spam\t: No", "X-Spam-Flag: YES", "X-SPAM-STATUS: No", "\tscore=-99", "X-Spam-Anything: x",
        "X-Postmaster-Mail-Script: a@example.org 00", "X-Spamd-Result: x", "X-Spamd-Bar: /", "X-Rspamd-Action: x", "X-Rspam-User: x",
        "Authentication-Results: mail.example.org; dkim=pass",
        "authentication-results :", " (a) \"MAIL.example.org\" 1; spf=pass", "Authentication-Results: other.test; spf=pass",
    ]
    others = ["X-Spammer: x", "X-Authentication-Results: x", "ARC-Authentication-Results: i=1; x", "Authentication-Results-Info: x"]
    smtpd = start(*(["--rspamd", rspamd.address] if judged else []))
    smtpd.connect()
    lines, _answer = smtpd.message([*MESSAGE[:2], *forged, *others, *forged, "", *forged])
    assert lines == [*MESSAGE[:2], *others, "", *forged]


def returning(smtpd, sender, recipient, taken):
    """Name a recipient to a session; return what the filter says, or what smtpd says after it."""
    smtpd.report("tx-begin", "6ba76466")
    smtpd.report("tx-mail", "6ba76466", "ok", sender)
    said = smtpd.result("rcpt-to", recipient)
    smtpd.report("tx-rcpt", "6ba76466", "ok" if taken and said == "proceed" else "permfail", recipient)
    smtpd.report("tx-reset", "6ba76466")
    return said


@pytest.mark.parametrize(
    ("sender", "recipient", "refused"),
    [
        ("", "SRS0=AbCd=JS=far.test=bob@example.org", False),
        ("a@client.test", "SRS0=AbCd=JS=far.test=bob@example.org", True),
        ("a@client.test", "srs1=abcd=first.test==x=y=z@Example.ORG", True),
        ("a@client.test", "SRS0+AbCd=JS=far.test=bob@example.org", True),
        ("mailer-daemon@client.test", "SRS0-x@example.org", True),
        # That of another server.
        ("a@client.test", "SRS0=AbCd=JS=far.test=bob@elsewhere.test", False),
        ("a@client.test", "srs0user@example.org", False),
        ("a@client.test", "me@example.org", False),
    ],
)
def test_only_bounces_go_back_to_whom_forwarded_mail_was_from(start, tmp_path, sender, recipient, refused):
    (tmp_path / "domains").write_text("example.net\nexample.org\n")
    smtpd = start("--srs", "--domains", str(tmp_path / "domains"))
    smtpd.connect()
    expected = "reject|550 5.1.1 Only bounces are taken for this address, and they have the sender <>" if refused else "proceed"
    assert returning(smtpd, sender, recipient, True) == expected


def test_whoever_guesses_addresses_of_forwarded_mail_has_to_wait(start, tmp_path):
    (tmp_path / "domains").write_text("example.org\n")
    smtpd = start("--srs", "--domains", str(tmp_path / "domains"))
    smtpd.connect()
    genuine, guess = "SRS0=AbCd=JS=far.test=bob@example.org", "SRS0=%04d=JS=far.test=bob@example.org"
    assert [returning(smtpd, "", guess % number, False) for number in range(FILTER.Guesses.OF_ONE)] == ["proceed"] * FILTER.Guesses.OF_ONE
    assert returning(smtpd, "", guess % 9999, False) == "reject|451 4.7.1 Too many addresses of forwarded mail were wrong - try again later"
    assert returning(smtpd, "", "me@example.org", True) == "proceed"
    smtpd.connect("198.51.100.10:25")
    assert returning(smtpd, "", genuine, True) == "proceed"


def test_guesses_are_those_of_a_network_and_of_an_hour():
    now = [0.0]
    guesses = FILTER.Guesses(lambda: now[0])
    for number in range(guesses.OF_ONE):
        guesses.add(f"2001:db8:1:2::{number:x}")
    assert guesses.too_many("2001:db8:1:2:ffff::1") and not guesses.too_many("2001:db8:1:3::1") and not guesses.too_many("198.51.100.9")
    for number in range(guesses.OF_ALL):
        guesses.add(f"198.51.{number // 200}.{number % 200}")
    assert guesses.too_many("203.0.113.7")
    now[0] += guesses.HOUR
    assert not guesses.too_many("203.0.113.7") and not guesses.too_many("2001:db8:1:2::1")
    assert [guesses.network(address) for address in ("local", "fe80::1%em0", "::ffff:198.51.100.9")] == [
        "local", "fe80::/64", "198.51.100.9/32"]


def test_without_the_table_of_domains_an_address_of_forwarded_mail_waits(start, tmp_path):
    smtpd = start("--srs", "--domains", str(tmp_path / "absent"))
    smtpd.connect()
    assert returning(smtpd, "", "SRS0=AbCd=JS=far.test=bob@example.org", True) == "reject|451 4.7.1 Service unavailable - try again later"
    assert returning(smtpd, "a@client.test", "me@example.org", True) == "proceed"


@pytest.mark.parametrize(
    ("source", "user", "added"),
    [("local", "", True), ("127.0.0.1:33174", "", True), ("198.51.100.9:33174", "me@example.org", True), ("198.51.100.9:33174", "", False)],
)
@pytest.mark.parametrize("body", [["", "x", "Date: in the body"], []])
def test_mail_of_ours_gets_the_fields_that_it_lacks_before_it_is_judged(start, rspamd, source, user, added, body):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect(source)
    if user:
        smtpd.report("link-auth", "pass", user)
    lines, answer = smtpd.message(["Subject: toner", *body])
    assert answer == "proceed"
    assert rspamd.asked[0][2].decode().splitlines() == lines
    head = lines[1 : lines.index("") if "" in lines else None]
    assert [line.partition(":")[0] for line in head] == (["Date", "Message-ID", "From"] if added else [])
    if added:
        assert re.fullmatch(r"Message-ID: <[0-9a-f]{32}@mail\.example\.org>", head[1])
        assert head[2] == "From: <a@client.test>"
        assert abs(email.utils.parsedate_to_datetime(head[0].partition(":")[2]).timestamp() - time.time()) < 60


def test_fields_that_are_there_stay_and_nobody_is_made_the_author_of_a_bounce(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect("local")
    lines = ["DATE : today", "message-id: <x@y>", "", "x"]
    assert smtpd.message(lines, sender="") == (["DATE: today", *lines[1:]], "proceed")


def test_what_rspamd_writes_anew_is_what_is_delivered(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect("local")
    rspamd.verdict = {"action": "no action", "milter": {"remove_headers": {"Content-Transfer-Encoding": 0},
                                                        "add_headers": {"Content-Transfer-Encoding": {"value": "base64", "order": -1}}}}
    rspamd.text = b"Date: today\nMessage-ID: <x@y>\nFrom: a@b\nContent-Transfer-Encoding: base64\n\neA==\n.\n"
    lines, answer = smtpd.message(["Date: today", "Message-ID: <x@y>", "From: a@b", "", "x" * 2000])
    # As a milter does it, smtpd's own field is new.
    found = ["Content-Transfer-Encoding: base64", "Date: today", "Message-ID: <x@y>", "From: a@b", "", "eA==", ".."]
    assert (lines, answer) == (found, "proceed")
    assert rspamd.asked[0][1]["Flags"] == "body_block"


def errors(kind, number):
    def fail(*_arguments):
        raise kind(number, "as a resolver says")

    return fail


@pytest.mark.parametrize(
    ("by_address", "by_name", "lacks"),
    [
        (lambda _address: ("client.test", [], []), lambda *_name: [(2, 1, 6, "", ("198.51.100.9", 0))], ""),
        (lambda _address: ("liar.test", [], []), lambda *_name: [(2, 1, 6, "", ("198.51.100.7", 0))], "fcrdns"),
        (errors(socket.herror, 1), None, "rdns"),
        (errors(socket.herror, 4), None, "rdns"),
        (lambda _address: ("liar.test", [], []), errors(socket.gaierror, socket.EAI_NONAME), "fcrdns"),
        (lambda _address: ("." + "x" * 70, [], []), lambda name, _port: name.encode("idna"), "fcrdns"),
        # No resolver answers: TRY_AGAIN, NO_RECOVERY, EAI_AGAIN.
        (errors(socket.herror, 2), None, ""),
        (errors(socket.herror, 3), None, ""),
        (errors(OSError, 5), None, ""),
        (lambda _address: ("client.test", [], []), errors(socket.gaierror, socket.EAI_AGAIN), ""),
    ],
)
def test_what_a_name_lacks_and_that_a_silent_resolver_says_nothing(monkeypatch, by_address, by_name, lacks):
    monkeypatch.setattr(FILTER.socket, "gethostbyaddr", by_address)
    monkeypatch.setattr(FILTER.socket, "getaddrinfo", by_name)
    assert FILTER.name_lacks("198.51.100.9") == lacks


@pytest.mark.parametrize(
    ("confirmed", "lacks", "answer"),
    [("fail", "rdns", "disconnect|450 4.7.25 Reverse DNS validation failed"), ("fail", "fcrdns", "junk"), ("fail", "", "proceed"),
     ("error", "rdns", "proceed"), ("pass", "rdns", "proceed")],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_becomes_of_a_client_for_its_name(monkeypatch, confirmed, lacks, answer, strict):
    monkeypatch.setattr(FILTER, "name_lacks", lambda _address: lacks)
    out = io.BytesIO()
    options = ["--rdns", "disconnect", "--fcrdns", "junk"] if strict else []
    found = FILTER.Filter(FILTER.arguments().parse_args(options), out)
    found.line(f"report|0.7|1|smtp-in|link-connect|{SESSION}|x|{confirmed}|198.51.100.9:33174|198.51.100.25:25".encode())
    found.line(f"filter|0.7|1|smtp-in|connect|{SESSION}|{TOKEN}|x|198.51.100.9:33174".encode())
    found.questions.shutdown()
    assert out.getvalue().decode() == f"filter-result|{SESSION}|{TOKEN}|{answer if strict else 'proceed'}\n"


@pytest.mark.parametrize(("source", "port"), [("192.0.2.7:33174", "25"), ("198.51.100.9:33174", "587"), ("local", "25")])
def test_trusted_clients_and_users_may_have_no_name(start, source, port):
    smtpd = start("--rdns", "disconnect", "--trusted", "192.0.2.0/24")
    smtpd.report("link-connect", "<unknown>", "fail", source, f"198.51.100.25:{port}")
    assert smtpd.result("connect", "<unknown>", source) == "proceed"


def notice(kind):
    """A report as smtpd writes it to its own socket (bounce.c)."""
    return ["Received: from localhost (mail.example.org [local])", "\tby mail.example.org (OpenSMTPD) with ESMTP id 6ba76466;",
            f"Subject: Delivery status notification: {kind}", "From: Mailer Daemon <MAILER-DAEMON@mail.example.org>", *COMPLETE, "",
            "    Hi!"]


@pytest.mark.parametrize(
    ("kind", "source", "sender", "recipient", "refused"),
    [
        ("delayed", "local", "", "bob@client.test", True),
        ("delayed", "local", "", "me@Example.org", False),
        # Who is not told that mail waits is told what became of it.
        ("failed", "local", "", "bob@client.test", False),
        # Others may write what they like.
        ("delayed", "local", "root@mail.example.org", "bob@client.test", False),
        ("delayed", "198.51.100.9:33174", "", "bob@client.test", False),
    ],
)
def test_strangers_are_not_warned_that_mail_waits(start, rspamd, tmp_path, kind, source, sender, recipient, refused):
    (tmp_path / "domains").write_text("example.org\nmail.example.org\nlocalhost\n")
    smtpd = start("--rspamd", rspamd.address, "--domains", str(tmp_path / "domains"))
    smtpd.connect(source)
    lines, answer = smtpd.message(notice(kind), [recipient], sender)
    if refused:
        assert (lines, answer) == ([], "reject|550 5.7.1 Whoever is not of this server is not warned that mail waits")
        assert rspamd.asked == []
    else:
        assert (lines, answer) == (notice(kind), "proceed")


def test_a_text_that_speaks_of_a_warning_is_none(start, rspamd, tmp_path):
    (tmp_path / "domains").write_text("example.org\n")
    smtpd = start("--rspamd", rspamd.address, "--domains", str(tmp_path / "domains"))
    smtpd.connect("local")
    lines = ["From: a@example.org", *COMPLETE, "", "Subject: Delivery status notification: delayed"]
    assert smtpd.message(lines, ["bob@client.test"], "") == (lines, "proceed")


def test_without_the_table_of_domains_a_warning_waits(start, rspamd, tmp_path):
    smtpd = start("--rspamd", rspamd.address, "--domains", str(tmp_path / "absent"))
    smtpd.connect("local")
    assert smtpd.message(notice("delayed"), ["bob@client.test"], "") == ([], "reject|451 4.7.1 Service unavailable - try again later")


def test_what_smtpd_calls_junk_stays_junk(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    lines, _answer = smtpd.message(["X-Spam: Yes", *MESSAGE])
    assert lines == ["X-Spam: Yes", *MESSAGE]
    assert rspamd.asked[0][2].startswith(b"Received:")


def test_a_subject_is_rewritten_once_and_whole(start, rspamd):
    rspamd.verdict = {"action": "rewrite subject", "subject": "*** SPAM *** one"}
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    lines, _answer = smtpd.message(["subject: one", " more", "To: x@example.org", "", "Subject: text"])
    assert lines == ["X-Spam: Yes", "Subject: *** SPAM *** one", "To: x@example.org", "", "Subject: text"]


@pytest.mark.parametrize(
    "command, answer",
    [
        ("MAIL FROM:<a@client.test> SIZE=1000", "proceed"),
        ("mail from:<a@client.test> BODY=8BITMIME size=1001", "reject|552 5.3.4 Message size exceeds fixed limit"),
        ("MAIL FROM:<a@client.test>", "proceed"),
    ],
)
def test_a_message_that_announces_too_much_is_refused_before_it_is_sent(start, command, answer):
    smtpd = start("--max-size", "1000")
    smtpd.connect()
    smtpd.report("protocol-client", command)
    assert smtpd.result("mail-from", "a@client.test") == answer


def test_who_guesses_passwords_keeps_no_others_waiting():
    now = [1000.0]
    passwords = FILTER.Passwords(lambda: now[0])
    passwords.add("198.51.100.7/32", right=True)
    for number in range(60):
        assert not passwords.wait(f"192.0.2.{number}/32")
        passwords.add(f"192.0.2.{number}/32", right=False)
        now[0] += 0.1
    # One a second of those that nobody knows, and everybody else.
    assert [passwords.wait("192.0.2.99/32") for _ in range(3)] == [False, True, True]
    assert not passwords.wait("198.51.100.7/32") and not passwords.wait("")
    now[0] += 1
    assert [passwords.wait("192.0.2.98/32") for _ in range(2)] == [False, True]
    now[0] += 60
    assert [passwords.wait("192.0.2.98/32") for _ in range(2)] == [False, False]


def test_of_very_many_networks_the_last_are_known():
    passwords = FILTER.Passwords(lambda: 0.0)
    for number in range(passwords.KNOWN + 5):
        passwords.add(str(number), right=True)
    assert len(passwords.right) == passwords.KNOWN and "5" in passwords.right and "4" not in passwords.right


def test_a_guesser_is_told_to_come_later(start):
    smtpd = start()
    smtpd.connect()
    for _ in range(60):
        assert smtpd.result("auth", "PLAIN AGEAYg==") == "proceed"
        smtpd.report("link-auth", "fail", "me@example.org")
    assert [smtpd.result("auth", "PLAIN AGEAYg==") for _ in range(2)] == ["proceed", f"reject|{FILTER.GUESSING}"]
    smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.result("auth", "PLAIN AGEAYg==") == "proceed"


def replaced(table, text):
    """Write a table as config_tree does."""
    new = table.with_suffix(".new")
    new.write_text(text)
    new.rename(table)


@pytest.mark.parametrize(("text", "answer"), [
    ("me@example.org $2b$1\nyou@example.org $2b$2\n", "proceed"),
    ("me@example.org $2b$1\nnew@example.org $2b$2\n", "proceed"),
    ("me@example.org $2b$3\nyou@example.org $2b$2\n", "disconnect|421 4.7.0 The password was changed: log in again"),
    ("you@example.org $2b$2\n", "disconnect|421 4.7.0 The password was changed: log in again"),
])
def test_a_session_ends_with_its_password(start, tmp_path, text, answer):
    table = tmp_path / "credentials"
    replaced(table, "me@example.org $2b$1\nyou@example.org $2b$2\n")
    smtpd = start("--credentials", str(table))
    smtpd.connect()
    smtpd.report("link-auth", "pass", "Me@example.org")
    assert smtpd.result("mail-from", "me@example.org") == "proceed"
    replaced(table, text)
    assert smtpd.result("mail-from", "me@example.org") == answer


def test_a_log_in_counts_once_smtpd_has_read_the_new_password(tmp_path):
    table = tmp_path / "credentials"
    replaced(table, "me@example.org $2b$1\n")
    credentials = FILTER.Credentials(str(table))
    replaced(table, "me@example.org $2b$3\n")
    change = table.stat().st_ctime
    found = {seconds: credentials.current("me@example.org", change + seconds) for seconds in (-1, 0, 9, 11, 4000)}
    assert found == {-1: False, 0: False, 9: False, 11: True, 4000: True}
    assert credentials.current("you@example.org", change)


def test_without_the_table_a_message_is_deferred(start, tmp_path):
    table = tmp_path / "credentials"
    replaced(table, "me@example.org $2b$1\n")
    smtpd = start("--credentials", str(table))
    smtpd.connect()
    smtpd.report("link-auth", "pass", "me@example.org")
    table.unlink()
    assert smtpd.result("mail-from", "me@example.org") == f"reject|{FILTER.DEFERRED}"
    assert "a message of 'me@example.org' is deferred" in smtpd.end()


@pytest.mark.parametrize(
    ("user", "sender", "taken"),
    [
        ("me@example.org", "me@example.org", True),
        ("Me@example.org", "ME@Example.org", True),
        ("me@example.org", "me+shop@example.org", True),
        ("me@example.org", "sales@example.org", True),
        ("me@example.org", "fixed+tag@example.org", True),
        ("me@example.org", "postmaster", True),  # the server's own name completes it
        ("me@example.org", "", True),  # RFC 8098 section 3
        ("me@example.org", "fixed@example.org", False),
        ("me@example.org", "fixed+other@example.org", False),
        ("me@example.org", "you@example.org", False),
        ("me@example.org", "you+me@example.org", False),
        ("me@example.org", "me@example.org:you@example.org", False),
        ("me@example.org", "@example.org:you@example.org", False),
        ("me@example.org", "me+:you@example.org", False),
        ("me@example.org", ":me@example.org", False),
        ("me@example.org", "example.org", False),
        ("me@example.org", "@example.org", False),
        ("me@example.org", "me@example.org.", False),
        ("me@example.org", "me@example.org,", False),
        ("me@example.org", " ", False),
        ("me@example.org", "any@example.net", True),
        ("me@example.org", "any+x@Example.NET", True),
        ("me@example.org", "out@example.net", False),
        ("me@example.org", "out+x@example.net", False),
        ("me@example.org", '"out"@example.net', False),
        ("me@example.org", "o\u017fs@example.net", False),
        ("you@example.org", "any@example.net", False),
        ("me@example.org", "any@x.example.net", False),
        ("me", "me@example.org", False),
        ("nobody@example.org", "me@example.org", False),
        ("nobody@example.org", "you@example.org, me@example.org", False),
        ("you@example.org", "you@example.org", True),
        ("you@example.org", "me@example.org", False),
        ("", "anybody@client.test", True),  # of port 25, where nobody logs in
    ],
)
def test_who_has_logged_in_sends_from_own_addresses_or_the_null_sender(start, tmp_path, user, sender, taken):
    senders = tmp_path / "senders"
    senders.write_text(
        "@example.net me@example.org\nfixed+tag@example.org me@example.org\nme@example.org me@example.org\n"
        "out@example.net -\npostmaster@mail.example.org me@example.org\n"
        "sales@example.org them@example.org, me@example.org\nyou@example.org you@example.org\n"
    )
    smtpd = start("--owners", str(senders))
    smtpd.connect()
    if user:
        smtpd.report("link-auth", "pass", user)
    assert smtpd.result("mail-from", sender) == ("proceed" if taken else "reject|553 5.7.1 The sender address is not yours")


@pytest.mark.parametrize(
    ("sender", "taken"), [("me-x@example.org", True), ("me-x+y@example.org", True), ("me+x@example.org", False), ("-me@example.org", False)]
)
def test_a_detail_begins_behind_the_delimiter(start, tmp_path, sender, taken):
    (tmp_path / "senders").write_text("me@example.org me@example.org\n")
    (tmp_path / "no_mail").write_text("me@example.org 550 5.2.1 No\n")
    smtpd = start("--owners", str(tmp_path / "senders"), "--no-mail", str(tmp_path / "no_mail"), "--delimiter", "-")
    smtpd.connect()
    smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.result("mail-from", sender) == ("proceed" if taken else "reject|553 5.7.1 The sender address is not yours")
    assert smtpd.result("rcpt-to", sender) == ("reject|550 5.2.1 No" if taken else "proceed")


CLOSED = "reject|550 5.7.1 Only {} may write to this address, logged in to this server"


@pytest.mark.parametrize("recipient", ["{}@example.org", "{}+x@example.org", "{}+a+b@Example.ORG", "@a.test,@b.test:{}@example.org"])
@pytest.mark.parametrize(
    "user, source, everybodys, members",
    [
        ("", "198.51.100.9:33174", False, False),
        ("", "[2001:db8::9]:33174", False, False),
        ("", "[fe80::1%3]:33174", False, False),
        ("you@example.org", "198.51.100.9:33174", True, False),
        ("you@example.org", "127.0.0.1:33174", True, False),
        ("Me@example.org", "198.51.100.9:33174", True, True),
        # Programs of the host.
        ("", "127.0.0.1:33174", True, True),
        ("", "[::1]:33174", True, True),
        ("", "unix:/var/run/smtpd.sock", True, True),
    ],
)  # fmt: skip
def test_strangers_do_not_write_to_closed_aliases(start, tmp_path, user, source, everybodys, members, recipient):
    closed = tmp_path / "closed"
    closed.write_text("all@example.org *\nboard@example.org me@example.org, them@example.org\n")
    smtpd = start("--closed", str(closed))
    smtpd.connect(source)
    if user:
        smtpd.report("link-auth", "pass", user)
    assert smtpd.result("rcpt-to", recipient.format("all")) == ("proceed" if everybodys else CLOSED.format("users"))
    assert smtpd.result("rcpt-to", recipient.format("Board")) == ("proceed" if members else CLOSED.format("its members"))
    assert smtpd.result("rcpt-to", recipient.format("other")) == "proceed"


RELAYS = "192.0.2.7/32 scanner\n2001:db8:5::/64 scanner\n"


@pytest.fixture
def relaying(start, tmp_path):
    """The filter of a server that hosts relay through."""
    for name, text in {"relays": RELAYS, "owners": "@shop.example scanner\n", "domains": "shop.example\nexample.org\n"}.items():
        (tmp_path / name).write_text(text)
    tables = [option for name in ("relays", "owners", "domains") for option in (f"--{name}", str(tmp_path / name))]
    return start(*tables, "--rdns", "disconnect", "--senderscore", "50")


def sent(smtpd, sender, recipient):
    assert smtpd.result("mail-from", sender) == "proceed"
    smtpd.report("tx-begin", "ab12")
    smtpd.report("tx-mail", "ab12", "ok", sender)
    return smtpd.result("rcpt-to", recipient)


NOT_RELAYED = "reject|550 5.7.1 This host may send to other servers as addresses of its domains alone (mail_relays)"


@pytest.mark.parametrize("source", ["192.0.2.7:33174", "[2001:db8:5::9]:33174"])
@pytest.mark.parametrize(
    ("sender", "answer"),
    [("x@shop.example", "proceed"), ("X@Shop.Example", "proceed"), ("", "proceed"), ("x@example.org", NOT_RELAYED),
     ("x@sub.shop.example", NOT_RELAYED), ("x@away.example", NOT_RELAYED)],
)  # fmt: skip
def test_a_relay_is_told_why_it_may_not_send_to_others(relaying, source, sender, answer):
    relaying.connect(source)
    assert relaying.result("connect", "") == "proceed"
    assert relaying.result("ehlo", "scanner") == "proceed"
    assert sent(relaying, sender, "you@away.example") == answer
    assert relaying.result("rcpt-to", "me@Example.org") == "proceed"
    # Smtpd refuses these itself.
    relaying.connect("192.0.2.8:33174")
    assert sent(relaying, sender, "you@away.example") == "proceed"


def test_mail_of_a_relay_gets_the_fields_that_it_lacks(relaying):
    for source, added in (("192.0.2.7:33174", ["Date", "Message-ID"]), ("192.0.2.8:33174", [])):
        relaying.connect(source)
        lines, _answer = relaying.message(["From: x@shop.example", "", "x"], sender="x@shop.example")
        assert [line.partition(":")[0] for line in lines[:-2]] == ["From", *added]


def test_nothing_of_a_client_is_taken_where_it_is_not_known_who_relays(start, tmp_path):
    smtpd = start("--relays", str(tmp_path / "relays"))
    smtpd.connect("192.0.2.7:33174")
    assert smtpd.result("mail-from", "x@shop.example") == "reject|451 4.7.1 Service unavailable - try again later"


@pytest.mark.parametrize("source", ["198.51.100.9:33174", "127.0.0.1:33174", "unix:/var/run/smtpd.sock"])
@pytest.mark.parametrize("recipient", ["{}@example.org", "{}+x@example.org", "@a.test,@b.test:{}@Example.org"])
def test_an_address_that_takes_no_mail_says_why(start, tmp_path, source, recipient):
    (tmp_path / "no_mail").write_text("robot@example.org 550 5.2.1 No human | reads this, ever\n")
    smtpd = start("--no-mail", str(tmp_path / "no_mail"))
    smtpd.connect(source)
    assert smtpd.result("rcpt-to", recipient.format("Robot")) == "reject|550 5.2.1 No human | reads this, ever"
    assert smtpd.result("rcpt-to", recipient.format("other")) == "proceed"
    smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.result("rcpt-to", recipient.format("robot")) == "reject|550 5.2.1 No human | reads this, ever"
    (tmp_path / "no_mail").unlink()
    assert smtpd.result("rcpt-to", recipient.format("other")) == "reject|451 4.7.1 Service unavailable - try again later"


def test_no_stranger_writes_anywhere_without_the_table_of_closed_aliases(start, tmp_path):
    smtpd = start("--closed", str(tmp_path / "closed"))
    smtpd.connect()
    assert smtpd.result("rcpt-to", "me@example.org") == "reject|451 4.7.1 Service unavailable - try again later"


def test_what_a_user_may_send_from_is_read_anew_and_nothing_without_it(start, tmp_path):
    senders = tmp_path / "senders"
    smtpd = start("--owners", str(senders))
    smtpd.connect()
    smtpd.report("link-auth", "pass", "me@example.org")
    assert smtpd.result("mail-from", "me@example.org") == "reject|451 4.7.1 Service unavailable - try again later"
    senders.write_text("me@example.org me@example.org\n")
    assert smtpd.result("mail-from", "me@example.org") == "proceed"
    smtpd.report("link-auth", "fail", "you@example.org")
    assert smtpd.result("mail-from", "you@example.org") == "reject|553 5.7.1 The sender address is not yours"


LOCKED = "reject|550 5.7.1 This account is locked for sending; its postmaster knows why"


def test_who_is_locked_sends_nothing_from_the_next_message_on(start, tmp_path):
    inventory, command = tmp_path / "inventory", tmp_path / "command"
    inventory.mkdir()
    smtpd = start("--locks", str(inventory), "--locks", str(command))
    smtpd.connect()
    smtpd.report("link-auth", "pass", "Me@example.org")
    assert smtpd.result("mail-from", "me@example.org") == "proceed"
    for directory, name in ((inventory, "sending"), (inventory, "login"), (command, "sending"), (command, "login")):
        directory.mkdir(exist_ok=True)
        (directory / name).write_text("# who\nsome@example.org\nme@example.org\n")
        assert smtpd.result("mail-from", "me@example.org") == LOCKED
        assert smtpd.result("mail-from", "") == LOCKED
        (directory / name).write_text("# who\nme@example.org.test\n")
        assert smtpd.result("mail-from", "me@example.org") == "proceed"
    # Nobody knows who is in it.
    (command / "login").unlink()
    (command / "login").mkdir()
    assert smtpd.result("mail-from", "me@example.org") == "reject|451 4.7.1 Service unavailable - try again later"
    # Strangers are in no list.
    smtpd.report("link-auth", "pass", "")
    assert smtpd.result("mail-from", "me@example.org") == "proceed"


def test_who_is_locked_does_not_log_in_where_the_name_is_known(start, tmp_path):
    smtpd = start("--locks", str(tmp_path))
    smtpd.connect()
    command = f"PLAIN {base64.b64encode(b'|me@example.org|secret'.replace(b'|', bytes(1))).decode()}"
    (tmp_path / "sending").write_text("me@example.org\n")
    assert smtpd.result("auth", command) == "proceed"
    (tmp_path / "login").write_text("me@example.org\n")
    assert smtpd.result("auth", command) == "reject|535 5.7.8 This account is locked; its postmaster knows why"
    assert smtpd.result("auth", "LOGIN") == "proceed"


@pytest.mark.parametrize(
    "action, answer",
    [
        ("DUNNO", "proceed"),
        ("552 5.2.2 Mailbox is full", "reject|552 5.2.2 Mailbox is full"),
        ("451 4.3.0 later", "reject|451 4.3.0 later"),
        (None, "proceed"),
    ],
)
def test_quotas_are_asked_for_at_rcpt(start, tmp_path, action, answer):
    asked = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            question = dict(line.decode().rstrip("\n").split("=", 1) for line in iter(self.rfile.readline, b"\n"))
            asked.append(question)
            if action:
                self.wfile.write(f"action={action}\n\n".encode())

    path = str(tmp_path / "quota")
    with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        smtpd = start("--quota", path)
        smtpd.connect()
        smtpd.report("protocol-client", "MAIL FROM:<a@client.test> SIZE=77")
        smtpd.report("tx-begin", "6ba76466")
        smtpd.report("tx-mail", "6ba76466", "ok", "a@client.test")
        assert smtpd.result("rcpt-to", "me@example.org") == answer
        server.shutdown()
    assert asked == [
        {"request": "smtpd_access_policy", "protocol_state": "RCPT", "protocol_name": "ESMTP", "sender": "a@client.test",
         "recipient": "me@example.org", "size": "77"}
    ]


def test_recipients_are_answered_while_all_scans_hang(start, tmp_path):
    """Rspamd takes connections and says nothing."""
    class Quota(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"action=552 5.2.2 Mailbox is full\n\n")

    with socket.socket(socket.AF_UNIX) as hanging, socketserver.ThreadingUnixStreamServer(str(tmp_path / "quota"), Quota) as server:
        hanging.bind(str(tmp_path / "rspamd"))
        hanging.listen(10)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        smtpd = start("--rspamd", str(tmp_path / "rspamd"), "--quota", str(tmp_path / "quota"), "--scans", "2", "--questions", "1",
                      "--timeout", "3600")
        for number in range(5):
            session = f"{number:016x}"
            text = [f"link-connect|{session}|client.test|pass|198.51.100.9:33174|198.51.100.25:25", f"tx-begin|{session}|1",
                    f"tx-mail|{session}|1|ok|a@client.test", f"tx-rcpt|{session}|1|ok|me@example.org"]
            smtpd.write(*(f"report|0.7|1.0|smtp-in|{line}" for line in text))
            smtpd.write(*(f"filter|0.7|1.0|smtp-in|data-line|{session}|{TOKEN}|{line}" for line in (*MESSAGE, ".")))
        smtpd.connect()
        assert smtpd.result("mail-from", "a@client.test") == "proceed"
        for _recipient in range(3):
            assert smtpd.result("rcpt-to", "me@example.org") == "reject|552 5.2.2 Mailbox is full"
        server.shutdown()


class SlowPipe(io.BytesIO):
    """smtpd, which is slow to take what is given back; how much that is, at each line of which."""

    def write(self, text):
        if text.startswith(b"filter-dataline"):
            threading.Event().wait(0.02)
        return super().write(text)


def test_an_answer_waits_for_no_more_than_a_block_of_each_message():
    out = SlowPipe()
    found = FILTER.Filter(FILTER.arguments().parse_args([]), out)
    line = b"x" * 70
    for number in range(8):
        session = f"{number:016x}".encode()
        text = [b"link-connect|%s|client.test|pass|198.51.100.9:33174|198.51.100.25:25", b"tx-begin|%s|1",
                b"tx-mail|%s|1|ok|a@client.test", b"tx-rcpt|%s|1|ok|me@example.org"]
        for report in text:
            found.line(b"report|0.7|1.0|smtp-in|" + report % session)
        for part in (b"", *[line] * 9000, b"."):
            found.line(b"filter|0.7|1.0|smtp-in|data-line|%s|token|%s" % (session, part))
    waited = []
    while found.scans._work_queue.qsize() or not waited or out.getvalue().count(b"|token|.\n") < 8:
        before = out.getvalue().count(b"\n")
        found.line(b"filter|0.7|1.0|smtp-in|rcpt-to|%s|token|me@example.org" % session)
        waited.append(out.getvalue().count(b"\n") - before)
    found.scans.shutdown()
    # A block has less than 500 lines of them; one may be under way, and another one begun.
    assert len(waited) > 20
    assert max(waited) < 1000


def test_lines_that_begin_with_a_dot_come_back_as_they_were(start):
    lines = ["Subject: x", "", "..", "...", ".. ", "x", "", *(["..a"] * 3000), "|", "a|.|b", "..|"]
    smtpd = start()
    smtpd.connect()
    assert smtpd.message(lines) == (lines, "proceed")


def test_without_an_answer_about_quotas_mail_is_taken(start, tmp_path):
    smtpd = start("--quota", str(tmp_path / "nobody"))
    smtpd.connect()
    assert smtpd.result("rcpt-to", "me@example.org") == "proceed"


def test_a_line_that_is_no_protocol_does_not_end_the_filter(start):
    smtpd = start()
    smtpd.write("report|0.7|garbage", "", "filter")
    smtpd.connect()
    assert smtpd.result("mail-from", "a@client.test") == "proceed"


def test_two_messages_of_one_session_do_not_mix(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    rspamd.verdict = {"action": "reject"}
    assert smtpd.message()[1] == "reject|550 5.7.1 Spam message rejected"
    smtpd.report("tx-reset", "6ba76466")
    rspamd.verdict = {"action": "no action"}
    assert smtpd.message() == (MESSAGE, "proceed")
    assert rspamd.asked[0][2] == rspamd.asked[1][2]
    assert rspamd.asked[1][1].get_all("Rcpt") == ["me@example.org"]


@pytest.mark.parametrize(
    "answer, score",
    [("127.0.4.0", 0), ("127.0.4.99", 99), ("127.0.4.100", 100), ("127.0.4.101", None), ("127.255.255.255", None), ("198.51.100.1", None)],
)
def test_an_error_of_senderscore_is_not_a_bad_score(answer, score):
    assert FILTER.senderscore(answer) == score


def greeted(monkeypatch, answer, source="198.51.100.9:33174", target="198.51.100.25:25", options=()):
    """Let a client greet, with a resolver that gives this answer; return what smtpd is told, and what the resolver was asked."""
    asked, out = [], io.BytesIO()

    def resolve(name):
        asked.append(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(FILTER.socket, "gethostbyname", resolve)
    found = FILTER.Filter(FILTER.arguments().parse_args(["--senderscore", "50", *options]), out)
    found.line(f"report|0.7|1576146008.006099|smtp-in|link-connect|{SESSION}|client.test|pass|{source}|{target}".encode())
    found.line(f"filter|0.7|1576146008.006099|smtp-in|ehlo|{SESSION}|{TOKEN}|client.test".encode())
    found.questions.shutdown()
    prefix = f"filter-result|{SESSION}|{TOKEN}|"
    said = out.getvalue().decode()
    assert said.startswith(prefix) and said.count("\n") == 1
    return said[len(prefix):-1], asked


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("127.0.4.10", "junk"),
        ("127.0.4.49", "junk"),
        ("127.0.4.50", "proceed"),
        ("127.0.4.99", "proceed"),
        ("127.255.255.255", "proceed"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "proceed"),
        (TimeoutError("timed out"), "proceed"),
        (UnicodeError("label too long"), "proceed"),
    ],
)
def test_only_a_bad_score_makes_a_client_junk(monkeypatch, capfd, answer, told):
    assert greeted(monkeypatch, answer) == (told, ["9.100.51.198.score.senderscore.com"])
    assert ("has a Senderscore of" in capfd.readouterr().err) == (told == "junk")


def test_a_trusted_client_is_not_asked_about(monkeypatch):
    assert greeted(monkeypatch, "127.0.4.10", options=["--trusted", "198.51.100.0/24"]) == ("proceed", [])


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("[2001:db8::9]:33174", "[2001:db8::25]:25"),  # there is no score of IPv6
        ("198.51.100.9:33174", "198.51.100.25:587"),  # users at home
        ("198.51.100.9:33174", "198.51.100.25:465"),
        ("unix:/var/run/smtpd.sock", "unix:/var/run/smtpd.sock"),
    ],
)
def test_only_clients_of_the_mx_over_ipv4_are_asked_about(monkeypatch, source, target):
    assert greeted(monkeypatch, "127.0.4.0", source, target) == ("proceed", [])


def test_senderscore_is_asked_only_where_it_is_wanted(start):
    asked = {"register|filter|smtp-in|helo", "register|filter|smtp-in|ehlo"}
    assert asked <= set(start("--senderscore", "50").registered)
    assert not asked & set(start().registered)


class Faulty(tempfile.SpooledTemporaryFile):
    """A file on a disk that is full for a moment."""

    def __init__(self, *arguments, call, error, **more):
        super().__init__(*arguments, **more)
        self.fault, self.error = call, error

    def fail(self, call):
        name, _space, after = self.fault.partition(" ")
        if name == call:
            self.fault = f"{call} {int(after) - 1}"
            if int(after) == 0:
                raise self.error

    def write(self, *arguments):
        self.fail("write")
        return super().write(*arguments)

    def seek(self, *arguments):
        self.fail("seek")
        return super().seek(*arguments)

    def readline(self, *arguments):
        self.fail("read")
        return super().readline(*arguments)

    def read(self, *arguments):
        self.fail("read")
        return super().read(*arguments)


def judged(monkeypatch, lines, file=None, pool=None, reports=None, **options):
    """Send one message to a filter; return the lines that it gives back, its answer, and what else it says."""
    if file:
        monkeypatch.setattr(FILTER.tempfile, "SpooledTemporaryFile", file)
    out = io.BytesIO()
    given = FILTER.arguments().parse_args(["--timeout", "1", "--patience", "0"])
    vars(given).update(options)
    found = FILTER.Filter(given, out)
    if pool:
        found.scans.shutdown()
        found.scans = pool
    report = f"report|0.7|1576146008.006099|smtp-in|{{}}|{SESSION}|{{}}".format
    request = f"filter|0.7|1576146008.006099|smtp-in|{{}}|{SESSION}|{TOKEN}|{{}}".format
    reports = reports or [("link-connect", "client.test|pass|198.51.100.9:33174|198.51.100.25:25"), ("tx-begin", "1"),
                          ("tx-mail", "1|ok|a@client.test"), ("tx-rcpt", "1|ok|me@example.org")]
    for event, values in reports:
        found.line(report(event, values).encode())
    for line in [*lines, "."]:
        found.line(request("data-line", line).encode())
    found.scans.shutdown()
    found.line(request("commit", "").encode())
    said = out.getvalue().decode().splitlines()
    data, result = f"filter-dataline|{SESSION}|{TOKEN}|", f"filter-result|{SESSION}|{TOKEN}|"
    assert said[-1].startswith(result) and said[-2] == f"{data}." and said.count(f"{data}.") == 1
    assert all(line.startswith(data) for line in said[:-1])
    return [line[len(data):] for line in said[:-2]], said[-1][len(result):]


DEFERRED = "reject|451 4.7.1 Service unavailable - try again later"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
@pytest.mark.parametrize("call", ["write 0", "write 3", "write 199", "seek 0", "seek 1", "read 0", "read 3", "read 5"])
def test_a_message_that_is_not_stored_and_read_whole_is_deferred(monkeypatch, capfd, call, error):
    lines = [*MESSAGE, *(f"line {number} of two hundred" for number in range(193))]

    def faulty(*arguments, **more):
        return Faulty(*arguments, call=call, error=error, **more)

    assert judged(monkeypatch, lines, faulty)[1] == DEFERRED
    assert capfd.readouterr().err.startswith("message 1 is deferred: ")


def test_a_message_that_is_shorter_than_it_was_is_deferred(monkeypatch, capfd):
    class Shorter(tempfile.SpooledTemporaryFile):
        def read(self, *arguments):
            return super().read(*arguments)[:-6]

    assert judged(monkeypatch, MESSAGE, Shorter)[1] == DEFERRED
    assert capfd.readouterr().err == "message 1 is deferred: of 160 octets 154 were read\n"


def test_a_disk_that_is_full_defers_and_the_next_message_is_whole(start):
    smtpd = start()
    # What a file may hold at most; each line is longer than what Python keeps for a later write.
    resource.prlimit(smtpd.process.pid, resource.RLIMIT_FSIZE, (1 << 21, 1 << 21))
    smtpd.connect()
    assert smtpd.message([*MESSAGE, *["x" * 20000] * 200]) == ([], DEFERRED)
    assert smtpd.message() == (MESSAGE, "proceed")
    assert "message 6ba76466 is deferred: it cannot be stored: OSError: [Errno 27] File too large" in smtpd.end()


@pytest.mark.parametrize(("octets", "answer"), [
    (FILTER.ROOM, "proceed"), (FILTER.ROOM - 1, "reject|452 4.3.1 Insufficient system storage"), (PermissionError(), DEFERRED)])
def test_no_message_is_taken_for_which_the_queue_may_have_no_room(monkeypatch, octets, answer):
    def statvfs(path):
        if isinstance(octets, OSError):
            raise octets
        return types.SimpleNamespace(f_bavail=octets, f_frsize=1)

    monkeypatch.setattr(FILTER.os, "statvfs", statvfs)
    assert judged(monkeypatch, MESSAGE, spool="/var/spool/smtpd")[1] == answer
    assert judged(monkeypatch, MESSAGE)[1] == "proceed"


class Exhausted:
    """A pool that has no thread, but may run later what it has refused."""

    def __init__(self, late):
        self.late, self.kept = late, []

    def submit(self, function):
        self.kept.append(function)
        raise RuntimeError("can't start new thread")

    def shutdown(self):
        for function in self.kept if self.late else ():
            function()


@pytest.mark.parametrize("late", [False, True])
def test_without_a_thread_a_message_is_deferred_and_answered_once(monkeypatch, capfd, late):
    assert judged(monkeypatch, MESSAGE, pool=Exhausted(late)) == ([], DEFERRED)
    assert capfd.readouterr().err == "no thread is left: RuntimeError: can't start new thread\n"


CONNECT = ("link-connect", "client.test|pass|198.51.100.9:33174|198.51.100.25:25")
BEGIN, MAIL, RCPT = ("tx-begin", "1"), ("tx-mail", "1|ok|a@client.test"), ("tx-rcpt", "1|ok|me@example.org")


@pytest.mark.parametrize(
    "reports",
    [
        [BEGIN, MAIL, RCPT],
        [("link-connect", "client.test|pass"), BEGIN, MAIL, RCPT],
        [("link-connect", "client.test|pass|nowhere|198.51.100.25:25"), BEGIN, MAIL, RCPT],
        [CONNECT, ("link-identify", "EHLO"), BEGIN, MAIL, RCPT],
        [CONNECT, ("link-auth", "me@example.org|pass"), BEGIN, MAIL, RCPT],
        [CONNECT, ("link-auth", "pass"), BEGIN, MAIL, RCPT],
        [CONNECT, MAIL, RCPT],
        [CONNECT, BEGIN, RCPT],
        [CONNECT, BEGIN, ("tx-mail", "1|ok"), RCPT],
        [CONNECT, BEGIN, ("tx-mail", "1|a@client.test|ok"), RCPT],
        [CONNECT, BEGIN, ("tx-mail", "2|ok|a@client.test"), RCPT],
        [CONNECT, BEGIN, ("tx-mail", "1|permfail|a@client.test"), RCPT],
        [CONNECT, BEGIN, MAIL],
        [CONNECT, BEGIN, MAIL, ("tx-rcpt", "1|tempfail|me@example.org")],
        [CONNECT, BEGIN, MAIL, ("tx-rcpt", "1"), RCPT],
        [CONNECT, BEGIN, MAIL, ("tx-rcpt", "1|you@example.org|ok"), RCPT],
        [CONNECT, BEGIN, MAIL, RCPT, ("tx-reset", "1")],
        [CONNECT, BEGIN, MAIL, RCPT, ("link-disconnect", "")],
    ],
)
def test_a_message_whose_sender_recipients_or_client_are_not_known_is_deferred(monkeypatch, reports):
    assert judged(monkeypatch, MESSAGE, reports=reports) == ([], DEFERRED)


def test_a_null_sender_is_known(monkeypatch):
    assert judged(monkeypatch, MESSAGE, reports=[CONNECT, BEGIN, ("tx-mail", "1|ok|"), RCPT]) == (MESSAGE, "proceed")


def test_a_line_that_may_be_about_any_session_defers_all_that_are_open(start):
    smtpd = start()
    smtpd.connect()
    smtpd.write("report|0.7|1576146008.006099|smtp-in|tx-mail")
    assert smtpd.message() == ([], DEFERRED)
    smtpd.report("link-disconnect")
    smtpd.connect()
    assert smtpd.message() == (MESSAGE, "proceed")


@pytest.mark.parametrize(
    "version, result_first",
    [("0.4", False), ("0.5", False), ("0.6", True), ("0.7", True), ("0.8", True), ("0.10", True), ("1.0", True), ("next", True)],
)
def test_reports_of_each_version_of_the_protocol(start, rspamd, version, result_first):
    smtpd = start("--rspamd", rspamd.address, version=version)
    smtpd.connect()
    smtpd.report("link-auth", *(("pass", "a|b") if version not in ("0.4", "0.5", "0.6") else ("a|b", "pass")))
    smtpd.report("tx-begin", "1")
    for event, address in (("tx-mail", "x|y@client.test"), ("tx-rcpt", "p|q@example.org")):
        smtpd.report(event, "1", *(("ok", address) if result_first else (address, "ok")))
    for line in [*MESSAGE, "."]:
        smtpd.ask("data-line", line)
    order = (TOKEN, SESSION) if version == "0.4" else (SESSION, TOKEN)
    prefix = "|".join(["filter-dataline", *order, ""])
    assert [smtpd.read() for _line in [*MESSAGE, "."]] == [prefix + line for line in [*MESSAGE, "."]]
    smtpd.ask("commit", "")
    assert smtpd.read() == "|".join(["filter-result", *order, "proceed"])
    headers = rspamd.asked[0][1]
    assert (headers["User"], headers["From"], headers["Rcpt"]) == ("a|b", "x|y@client.test", "p|q@example.org")
    assert ("is newer than what is known" in smtpd.end()) == (version in ("0.8", "0.10", "1.0"))


def test_a_session_that_ends_while_its_message_is_judged_does_not_disturb_the_next(start, rspamd):
    asked, goes_on = threading.Event(), threading.Event()
    rspamd.waits = lambda: (asked.set(), goes_on.wait(10))
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    smtpd.report("tx-begin", "1")
    smtpd.report("tx-mail", "1", "ok", "a@client.test")
    smtpd.report("tx-rcpt", "1", "ok", "me@example.org")
    for line in [*MESSAGE, "."]:
        smtpd.ask("data-line", line)
    assert asked.wait(10)
    smtpd.report("tx-reset", "1")
    smtpd.report("link-disconnect")
    assert smtpd.result("mail-from", "a@client.test") == DEFERRED  # what comes after has been read, too
    goes_on.set()
    prefix = f"filter-dataline|{SESSION}|{TOKEN}|"
    assert [smtpd.read() for _line in [*MESSAGE, "."]] == [prefix + line for line in [*MESSAGE, "."]]
    assert smtpd.result("commit", "") == DEFERRED  # smtpd has forgotten that message; nothing else is taken for it
    assert "Traceback" not in smtpd.end()


def test_a_filter_that_cannot_answer_ends(start):
    smtpd = start()
    smtpd.connect()
    smtpd.process.stdout.close()
    smtpd.ask("mail-from", "a@client.test")
    assert smtpd.process.wait(10) == 1
    assert smtpd.process.stderr.read() == b"smtpd cannot be answered: BrokenPipeError: [Errno 32] Broken pipe\n"


def test_a_filter_whose_log_nobody_reads_goes_on(start):
    smtpd = start()
    smtpd.connect()
    smtpd.process.stderr.close()
    smtpd.write("no protocol")
    smtpd.report("link-disconnect")
    smtpd.connect()
    assert smtpd.message() == (MESSAGE, "proceed")


@pytest.mark.parametrize("version", ["0.5", "0.7"])
def test_a_result_without_a_known_word_is_no_login(start, version):
    smtpd = start(version=version)
    smtpd.connect()
    smtpd.report("link-auth", "perhaps", "me@example.org", "perhaps")
    assert smtpd.result("mail-from", "a@client.test") == DEFERRED


def test_what_rspamd_quotes_stays_in_its_line(start, rspamd):
    rspamd.verdict = {
        "action": "rewrite subject", "subject": f"one\nfilter-result|{SESSION}|{TOKEN}|proceed\r\nFrom: b@client.test",
        "milter": {"add_headers": {"X-Spamd-Bar": "+\0+\rFrom: b@client.test"}},
    }
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    lines, answer = smtpd.message()
    assert answer == "proceed"
    assert lines == [
        "X-Spam: Yes", "X-Spamd-Bar: + + From: b@client.test", *MESSAGE[:3],
        f"Subject: one filter-result|{SESSION}|{TOKEN}|proceed From: b@client.test", *MESSAGE[4:],
    ]


def test_white_space_before_a_colon_hides_no_header(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    lines, answer = smtpd.message([*MESSAGE[:2], "From \t: a@client.test", "\tb : c", "Subject : one", "", "To : text"])
    assert (lines, answer) == ([*MESSAGE[:2], "From: a@client.test", "\tb : c", "Subject: one", "", "To : text"], "proceed")
    assert rspamd.asked[0][2].decode().splitlines() == lines


def test_an_empty_line_is_one_for_all_who_read_it(start, rspamd):
    smtpd = start("--rspamd", rspamd.address)
    smtpd.connect()
    assert smtpd.message([*MESSAGE[:4], "X-One: 1\r\r", "\r", "To : text\r"]) == ([*MESSAGE[:4], "X-One: 1", "", "To : text\r"], "proceed")
    assert rspamd.asked[0][2].endswith(b"X-One: 1\n\nTo : text\r\n")


def test_rspamd_is_not_asked_about_a_part_of_a_message(monkeypatch, rspamd, capfd):
    class Truncated(tempfile.SpooledTemporaryFile):
        def seek(self, offset, whence=0):
            if whence == io.SEEK_END:
                self.truncate(10)
            return super().seek(offset, whence)

    assert judged(monkeypatch, MESSAGE, Truncated, rspamd=rspamd.address) == ([], DEFERRED)
    assert rspamd.asked == []
    assert capfd.readouterr().err == "message 1 is deferred: of 160 octets 10 are stored\n"


def test_an_error_at_the_end_of_a_message_is_an_answer_too(monkeypatch):
    def detach(_session):
        raise MemoryError

    monkeypatch.setattr(FILTER.Session, "detach", detach)
    assert judged(monkeypatch, MESSAGE) == ([], DEFERRED)


@pytest.mark.parametrize("given", [True, False])
def test_a_large_message_waits_where_there_is_room(monkeypatch, tmp_path, given):
    """The system's own directory may be small, or memory."""
    system, room = tmp_path / "tmp", tmp_path / "room"
    system.mkdir()
    room.mkdir()
    monkeypatch.setenv("TMPDIR", str(system))
    monkeypatch.setattr(FILTER.tempfile, "tempdir", None)
    monkeypatch.setattr(sys, "argv", ["filter-postmaster", *(["--temporary", str(room)] if given else [])])
    where = []

    def run(_self, _stream):
        session = FILTER.Session()
        for _line in range(3):
            session.take(b"x" * 1_000_000)
        where.append(os.readlink(f"/proc/self/fd/{session.content.fileno()}"))
        session.drop()

    monkeypatch.setattr(FILTER.Filter, "run", run)
    assert FILTER.main() == 0
    assert [path.startswith(f"{room if given else system}/") for path in where] == [True]


MARK = "X-Auto-Response-Suppress: All, Unproven"


@pytest.mark.parametrize(("source", "user", "marked"), [
    ("198.51.100.9:33174", "", True),
    ("[2001:db8::9]:33174", "", True),
    ("198.51.100.9:33174", "me@example.org", False),
    ("127.0.0.1:33174", "", False),
    ("unix:/var/run/smtpd.sock", "", False),
])  # fmt: skip
def test_without_rspamd_a_stranger_is_marked_as_unproven(start, source, user, marked):
    smtpd = start("--unproven")
    smtpd.connect(source)
    if user:
        smtpd.report("link-auth", "pass", user)
    lines, answer = smtpd.message()
    assert answer == "proceed"
    assert (lines[0] == MARK) is marked and MARK not in lines[1:]


@pytest.mark.parametrize(("options", "recipient", "sender", "answer"), [
    (["--unproven"], "victim@example.net", "", "reject|" + FILTER.NOT_PROVEN),
    (["--unproven"], "me@example.org", "", "proceed"),
    (["--unproven"], "victim@example.net", "root@example.org", "proceed"),
    ([], "victim@example.net", "", "proceed"),
])  # fmt: skip
def test_without_rspamd_a_report_goes_to_our_own_users_alone(start, tmp_path, options, recipient, sender, answer):
    (tmp_path / "domains").write_text("example.org\n")
    smtpd = start(*options, "--domains", str(tmp_path / "domains"))
    smtpd.connect("unix:/var/run/smtpd.sock")
    _lines, said = smtpd.message(recipients=[recipient], sender=sender)
    assert said == answer
