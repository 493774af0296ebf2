# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What smtpd is told of smarthosts, in both of its protocols."""

from __future__ import annotations

import importlib.util
import socket
import struct
import threading
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/opensmtpd/files/table_smarthosts.py"
spec = importlib.util.spec_from_file_location("table_smarthosts", PROGRAM)
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

ONE, OTHER = "smtp+tls://isp@smtp.isp.example:587", "smtps://relay.example:465"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def smarthosts(answers, patience=5.0):
    clock, asked = Clock(), []

    def ask(url, authority):
        asked.append((url, authority))
        answer = answers[url]
        if isinstance(answer, threading.Event):
            answer.wait(20)
            return ""
        return answer

    return table.Smarthosts([(ONE, ""), (OTHER, "/etc/ca.pem")], ask, clock, patience), clock, asked


def test_the_first_that_takes_mail_is_named_and_an_answer_counts_for_a_while():
    answers = {ONE: "", OTHER: ""}
    hosts, clock, asked = smarthosts(answers)
    assert hosts.first() == ONE
    answers[ONE] = "ConnectionRefusedError"
    assert hosts.first() == ONE and len([url for url, _ca in asked if url == ONE]) == 1
    clock.now += table.ALIVE + 1
    assert hosts.first() == OTHER and (OTHER, "/etc/ca.pem") in asked
    answers[ONE] = ""
    clock.now += table.DEAD - 1
    assert hosts.first() == OTHER
    clock.now += 2
    assert hosts.first() == ONE


def test_one_that_says_nothing_is_passed_over():
    silent = threading.Event()
    hosts, _clock, _asked = smarthosts({ONE: silent, OTHER: ""}, patience=0.2)
    assert hosts.first() == OTHER
    silent.set()


def test_where_none_takes_mail_the_first_is_named():
    hosts, _clock, _asked = smarthosts({ONE: "x", OTHER: "y"})
    assert hosts.first() == ONE


def test_a_file_of_smarthosts(tmp_path):
    path = tmp_path / "isp-spare"
    path.write_text(f"# Ansible managed\n{ONE}\n{OTHER} /etc/smtpd/routes/spare.pem\n")
    assert table.read(str(path)) == [(ONE, ""), (OTHER, "/etc/smtpd/routes/spare.pem")]


@pytest.fixture
def smtpd():
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    thread = threading.Thread(target=table.serve, args=(lambda: ONE, theirs.fileno()), daemon=True)
    thread.start()
    yield ours
    ours.close()
    thread.join(10)
    assert not thread.is_alive()
    theirs.close()


def test_lines(smtpd):
    lines = smtpd.makefile("r")
    smtpd.sendall(b"config|smtpd-version|7.6.0\nconfig|protocol|0.1\nconfig|tablename|hosts\nconfig|ready\n")
    assert [lines.readline(), lines.readline()] == ["register|relayhost\n", "register|ready\n"]
    for operation, answer in (("fetch|relayhost|0badcafe", f"fetch-result|0badcafe|found|{ONE}\n"),
                              ("update|0badcaff", "update-result|0badcaff|ok\n"),
                              ("lookup|relayhost|0badcaff|x.example", "lookup-result|0badcaff|not-found\n"),
                              ("check|relayhost|0badcaff|x.example", "check-result|0badcaff|not-found\n")):
        smtpd.sendall(f"table|0.1|1713795097.394049|hosts|{operation}\n".encode())
        assert lines.readline() == answer


def test_imsg(smtpd):
    def message(kind, data=b"", parts=1):
        whole = struct.pack("=IHHII", kind, 16 + len(data), 0, 0, 1) + data
        for start in range(0, len(whole), max(1, len(whole) // parts)):
            smtpd.sendall(whole[start : start + max(1, len(whole) // parts)])
        head = struct.unpack("=IHHII", smtpd.recv(16, socket.MSG_WAITALL))
        assert head[0] == 0
        return smtpd.recv(head[1] - 16, socket.MSG_WAITALL) if head[1] > 16 else b""

    assert message(2, struct.pack("=I", 2) + b"hosts".ljust(2048, b"\0"), parts=7) == b""
    assert message(7, struct.pack("=iQ", 0x200, 0)) == struct.pack("=i", 1) + ONE.encode() + b"\0"
    assert message(4) == struct.pack("=i", 1)
    assert message(6, struct.pack("=iQ", 0x200, 0) + b"x.example\0") == struct.pack("=i", 0)


@pytest.mark.parametrize("url", ["smtp://a.example:25", "smtps://a.example", "lmtp://a.example:24"])
def test_what_is_no_smarthost_takes_no_mail(url):
    assert table.takes_mail(url, "").endswith("is not the URL of a smarthost")


def test_one_that_does_not_answer_takes_no_mail():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert table.takes_mail(f"smtp+tls://localhost:{port}", "").startswith("ConnectionRefusedError: ")
