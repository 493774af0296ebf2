# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated OpenBSD changes from its own smtpd to Postfix and back, with mail waiting. Both stay installed there, and one is on.

What a change must keep is told at length in test_switch.py; this is about what differs. The chapters build on each other.
"""

from __future__ import annotations

import re
import smtplib
import socket
import subprocess
import sys
import time
from pathlib import Path

import dkim
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "testnet"))

from test_switch import ANY, BIG, MAILER, OTHER, PASSWORDS, QUEUED, ROOT, message, on, receiver, tokens
from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

NAME, ME, PASSWORD = "mail.openbsd-s.test", "me@openbsd-s.test", PASSWORDS[BIG]
ADDRESS = f"198.51.100.{Inventory().host(NAME).number}" if machine.NETNS.exists() else ""
INVENTORIES = [ROOT / "tests/testnet/inventory.yml", Path(__file__).with_name("openbsd.yml")]
SERVICE = {"postfix": "postfix", "opensmtpd": "smtpd"}
#: Files that only the one has, below /etc.
OURS = {"postfix": ["postfix/tables/aliases", "mail/postfix.srs.secret", "mailer.conf.pre-postfix"],
        "opensmtpd": ["mail/smtpd/tables/aliases", "mail/smtpd.srs.conf", "login.conf.d/smtpd"]}  # fmt: skip


def on_host(command: str, check: bool = True) -> str:
    return on(ADDRESS, command, check)


def run(mta: str, *options: str) -> list[str]:
    """Run the playbook and return the tasks that changed something, or would."""
    command = [str(ROOT / "tests/testnet/inside"), "ansible-playbook", *(word for path in INVENTORIES for word in ("-i", str(path)))]
    done = subprocess.run([*command, "--limit", NAME, str(ROOT / "playbooks/site.yml"), "-e", f"mail_mta={mta}", *options],
                          capture_output=True, text=True, timeout=1500)  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return re.findall(r"TASK \[(.*?)\] \*+\n(?:(?!TASK|RUNNING).*\n)*?changed: ", done.stdout)


def submit(recipient: str) -> str:
    token, text = message(ME, recipient)
    with machine.inside_network(), smtplib.SMTP(ADDRESS, 587, "client.test", timeout=60) as smtp:
        smtp.starttls(context=ANY)
        smtp.login(ME, PASSWORD)
        smtp.sendmail(ME, [recipient], text)
    return token


def receive(recipient: str) -> str:
    """Give the server a message from elsewhere, signed, since only that survives forwarding."""
    token, text = message("outside@client.test", recipient)
    key = (STATE / "dkim/client.test.key").read_bytes()
    signature = dkim.sign(text, b"testnet", b"client.test", key, include_headers=[b"from", b"to", b"subject", b"date"])
    with machine.inside_network(), smtplib.SMTP(ADDRESS, 25, "client.test", timeout=60, source_address=("198.51.100.1", 0)) as smtp:
        smtp.sendmail("outside@client.test", [recipient], signature + text)
    return token


def queued(mta: str) -> list[str]:
    return on_host(QUEUED.format(**MAILER[mta]), check=False).split()  # find complains about what the other one does not have


def wait_for(condition, within: float = 120):
    end = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < end, on_host("tail -60 /var/log/maillog")
        time.sleep(1)  # a queue has no event to wait for
    return found


def arrived(sent: list[str], mta: str) -> bool:
    """A server that could not reach the receiver keeps away from it for a while, so it is told again each time."""
    on_host(MAILER[mta]["flush"], check=False)
    found = tokens(BIG)
    return all(found[token] for token in sent)


@pytest.fixture(scope="module")
def server():
    for word in ("destroy", "boot"):
        subprocess.run([ROOT / "tests/testnet/testnet", word, NAME], check=True, capture_output=True)
    receiver(True)
    run("opensmtpd")
    yield
    receiver(True)
    subprocess.run([ROOT / "tests/testnet/testnet", "destroy", NAME], check=True, capture_output=True)


@pytest.mark.parametrize("mta", ["postfix", "opensmtpd"])
def test_a_change_of_the_mta(server, mta):
    old = OTHER[mta]
    receiver(False)
    # The last one needs another sender, or SPF forbids it.
    sent = [submit(BIG), submit("away@openbsd-s.test"), receive("away@openbsd-s.test")]
    waiting = wait_for(lambda: len(found := queued(old)) >= 3 and found)
    # Foretold, and nothing done.
    assert any("Queue | Migrate what waits at the server before" in task for task in run(mta, "--check"))
    assert on_host(f"rcctl check {SERVICE[old]}") and queued(old) == waiting

    run(mta)
    assert queued(old) == [] and len(queued(mta)) >= 3
    assert on_host(f"rcctl check {SERVICE[mta]}")
    assert "failed" in on_host(f"rcctl check {SERVICE[old]}", check=False)
    assert on_host(f"rcctl ls on | grep -xE '{'|'.join(SERVICE.values())}'").split() == [SERVICE[mta]]
    assert on_host(f"cd /etc && ls -d {' '.join(OURS[old])} 2>/dev/null", check=False) == ""
    assert on_host(f"cd /etc && ls -d {' '.join(OURS[mta])}").split() == sorted(OURS[mta])
    # What the system calls sendmail is that of the one that is on.
    assert ("smtpctl" in on_host("cat /etc/mailer.conf")) == (mta == "opensmtpd")
    with machine.inside_network(), socket.create_connection((ADDRESS, 25), timeout=30) as plain:
        assert ("OpenSMTPD" in plain.recv(500).decode()) == (mta == "opensmtpd")
    receiver(True)
    wait_for(lambda: arrived(sent, mta))
    assert [tokens(BIG)[token] for token in sent] == [1, 1, 1]

    assert run(mta) == []
    # As at a boot: only the one that is wanted starts.
    subprocess.run([ROOT / "tests/testnet/testnet", "restart", NAME], check=True, capture_output=True)
    wait_for(lambda: "ok" in on_host(f"rcctl check {SERVICE[mta]}", check=False), 60)
    assert "failed" in on_host(f"rcctl check {SERVICE[old]}", check=False)
