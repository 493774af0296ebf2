# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that lets more clients connect to smtpd at once, let loose on a process of the test's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import load

PROGRAM = Path(__file__).resolve().parents[3] / "roles/opensmtpd/files/listen_backlog.py"
# As smtpd: a child has the sockets, both families, and listens late; another socket is connected, and one is no TCP at all.
SERVER = """
import os, socket, sys
sockets = [socket.socket(family) for family in (socket.AF_INET, socket.AF_INET6)]
for entry, address in zip(sockets, ("127.0.0.1", "::1")):
    entry.bind((address, 0))
other = socket.socketpair()
sys.stdout.write(" ".join(str(entry.getsockname()[1]) for entry in sockets) + "\\n")
sys.stdout.flush()
if not os.fork():
    for entry in sockets:
        sys.stdin.buffer.raw.read(1)
        entry.listen(5)
    client = socket.create_connection(sockets[0].getsockname())
    print("listens", flush=True)
    sys.stdin.buffer.raw.read()
else:
    os.wait()
"""


@pytest.fixture
def server() -> Iterator[subprocess.Popen]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.stdin.close()


@pytest.fixture
def program():
    return load(PROGRAM)


def backlogs(ports: list[str]) -> dict[str, str]:
    """Return how many connections may wait at each port, by ss(8)."""
    lines = [line.split() for line in subprocess.run(["ss", "-Hltn"], check=True, capture_output=True, text=True).stdout.splitlines()]
    return {port: line[2] for line in lines for port in [line[3].rpartition(":")[2]] if port in ports}


def test_sockets_that_listen_late_get_a_longer_queue(server, program, monkeypatch):
    ports = server.stdout.readline().split()
    assert program.widened(server.pid) == (0, 2)
    monkeypatch.setattr(program, "PAUSE", 0.01)
    monkeypatch.setattr(sys, "argv", ["listen-backlog", str(server.pid)])
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(program.main()))
    thread.start()
    for _port in ports:
        server.stdin.write("x")
        server.stdin.flush()
    assert server.stdout.readline() == "listens\n"
    thread.join()
    assert (status, backlogs(ports)) == ([0], dict.fromkeys(ports, str(program.BACKLOG)))


def test_whoever_never_listens_is_reported(server, program, monkeypatch, capsys):
    server.stdout.readline()
    monkeypatch.setattr(program, "PATIENCE", 0.1)
    monkeypatch.setattr(sys, "argv", ["listen-backlog", str(server.pid)])
    assert program.main() == 1
    assert capsys.readouterr().err == "0 sockets of smtpd's listen, 2 do not yet: clients that connect at once may wait\n"


def test_a_container_that_forbids_it_is_reported(server, program, monkeypatch, capsys):
    server.stdout.readline()
    # As a seccomp filter of systemd-nspawn answers.
    monkeypatch.setattr(program, "PIDFD_GETFD", -1)
    monkeypatch.setattr(sys, "argv", ["listen-backlog", str(server.pid)])
    assert program.main() == 1
    found = capsys.readouterr().err
    assert found.startswith("clients that connect to smtpd at once may wait for its greeting in vain: [Errno ") and "pidfd_getfd" in found
