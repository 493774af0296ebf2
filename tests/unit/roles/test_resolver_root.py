# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role resolver asks the new resolver before the host is to use it: against servers that answer in one way each."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest
from program import load

PROGRAM = load(Path(__file__).resolve().parents[3] / "roles/resolver/files/checks/root.py")
#: QR, RD and RA; the last with AD, and with SERVFAIL.
ANSWERED, VALIDATED, FAILED = 0x8180, 0x81A0, 0x8182


@pytest.fixture
def server():
    """Start a name server that answers with these flags and number of records, one answer a question; return where it listens."""
    sockets = []

    def start(*answers):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        sockets.append(listener)

        def serve():
            for flags, records in answers:
                query, client = listener.recvfrom(512)
                assert query[12:] == b"\0\0\2\0\1", "NS of the root"
                listener.sendto(query[:2] + struct.pack(">HHHHH", flags, 1, records, 0, 0) + query[12:], client)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()

    yield start
    for one in sockets:
        one.close()


def test_a_validated_answer_is_enough(server):
    assert PROGRAM.main(server((VALIDATED, 13)), 0) is None


def test_it_may_need_some_time(server):
    assert PROGRAM.main(server((FAILED, 0), (ANSWERED, 13), (VALIDATED, 13)), 0) is None


@pytest.mark.parametrize(("flags", "records", "words"), [
    (ANSWERED, 13, "response code 0, 13 answers, not validated"),
    (VALIDATED, 0, "response code 0, 0 answers, validated"),
    (VALIDATED | 3, 1, "response code 3, 1 answers, validated"),
    (FAILED, 0, "response code 2, 0 answers, not validated"),
])
def test_anything_else_is_a_complaint(server, flags, records, words):
    assert PROGRAM.main(server(*[(flags, records)] * PROGRAM.ATTEMPTS), 0) == (
        f"The local resolver did not give a validated answer for the root's name servers: {words}. Behind a firewall that keeps DNS in, "
        "set resolver_forwarders. /etc/resolv.conf is as it was.")


def test_nobody_answers():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        where = closed.getsockname()
    assert "Connection refused" in PROGRAM.ask(where) or "timed out" in PROGRAM.ask(where)
