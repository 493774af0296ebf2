# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup MX takes mail while the server is away, refuses what the server would refuse, and delivers each message once when it is back.

The server is a program of this test at one of the controller's addresses, so that exactly what arrives is known. The tests build on each
other, in the order of this file. Environment: BACKUP_MTA=opensmtpd for the other MTA.
"""

from __future__ import annotations

import collections
import contextlib
import email.message
import email.utils
import os
import re
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT, TESTNET = HERE.parents[3], HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine, services
from testnet_lib.plan import Inventory, ipv4

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

MTA = os.environ.get("BACKUP_MTA", "postfix")
NAME = {"postfix": "mx.backup.test", "opensmtpd": "mx.backup-o.test"}[MTA]
DOMAIN = NAME.partition(".")[2]
HOST = Inventory().host(NAME)
#: The server: good.client.test, whose name leads there and back.
SERVER, SERVER_ADDRESS = "good.client.test", "198.51.100.5"
SENDER, SENDER_ADDRESS = "someone@client.test", "198.51.100.4"
RECIPIENTS = [f"me@{DOMAIN}", f"me+detail@{DOMAIN}", f"team@{DOMAIN}", f"away@{DOMAIN}", f"postmaster@{DOMAIN}", f"anybody@catch.{DOMAIN}"]
FLUSH = {"postfix": "postqueue -f", "opensmtpd": "smtpctl schedule all"}[MTA]
QUEUE = {"postfix": "postqueue -j | wc -l", "opensmtpd": "smtpctl show queue | wc -l"}[MTA]


def on_host(command: str) -> str:
    return services.on(HOST, command, timeout=300)


def site(role: str = "backup") -> int:
    """Run the site for the host as a backup MX, or as the server; return the number of changes."""
    inventories = [word for path in (TESTNET / "inventory.yml", HERE / "inventory.yml", HERE / f"{role}.yml") for word in ("-i", path)]
    words = [*inventories, "--limit", NAME, ROOT / "playbooks/site.yml"]
    done = subprocess.run([TESTNET / "inside", "ansible-playbook", *words], capture_output=True, text=True, check=False, timeout=1800,
                          env={**os.environ, "BACKUP_DOMAIN": DOMAIN})
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return int(re.search(r"changed=(\d+)", done.stdout.partition("PLAY RECAP")[2])[1])


class Session(socketserver.StreamRequestHandler):
    """What a server says that takes all mail, but for those recipients that it was told to refuse."""

    def handle(self):
        self.say("220 good.client.test ESMTP")
        recipients = []
        for line in iter(self.rfile.readline, b""):
            verb, words = line[:4].upper(), line.decode("ascii", "replace")
            if verb == b"EHLO":
                self.say("250 good.client.test")
            elif verb == b"RCPT":
                address = re.search("<(.*)>", words)[1]
                if address in self.server.refused:
                    self.say("550 5.1.1 gone")
                    continue
                recipients.append(address)
                self.say("250 2.1.5 ok")
            elif verb == b"DATA":
                self.say("354 go on")
                text = b"".join(iter(self.rfile.readline, b".\r\n")).decode("utf-8", "replace")
                with self.server.lock:
                    self.server.taken += [(re.search("(?im)^subject: (.*?)\r?$", text)[1], address) for address in recipients]
                recipients = []
                self.say("250 2.0.0 taken")
            else:
                self.say("221 bye" if verb == b"QUIT" else "250 ok")
                if verb == b"QUIT":
                    return

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())


class Server(socketserver.ThreadingTCPServer):
    """It is away only once all connections to it have ended: an MTA keeps one for a while, for its next message."""

    allow_reuse_address = True


@contextlib.contextmanager
def server(refused=()):
    """Run the server; yield the subject and recipient of all that it takes."""
    with machine.inside_network():
        found = Server((SERVER_ADDRESS, 25), Session)
    found.taken, found.refused, found.lock = [], set(refused), threading.Lock()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield found.taken
    finally:
        found.shutdown()
        found.server_close()


def connect(name: str = "home.client.test", address: str = SENDER_ADDRESS) -> smtplib.SMTP:
    with machine.inside_network():
        return smtplib.SMTP(ipv4(HOST.number), 25, local_hostname=name, timeout=120, source_address=(address, 0))


def send(client: smtplib.SMTP, subject: str, recipient: str, sender: str = SENDER, received: str = "") -> None:
    message = email.message.EmailMessage()
    if received:
        message["Received"] = received
    message["From"], message["To"], message["Subject"], message["Date"] = sender, recipient, subject, email.utils.formatdate()
    message["Message-ID"] = email.utils.make_msgid(domain="client.test")
    message.set_content("While the server is away.")
    client.send_message(message, sender, recipient)


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(1)


@pytest.fixture(scope="module", autouse=True)
def host():
    if not os.environ.get("KEEP"):
        subprocess.run([TESTNET / "testnet", "destroy", NAME], check=True, capture_output=True)
    subprocess.run([TESTNET / "testnet", "boot", NAME], check=True, capture_output=True)
    site()
    yield
    if not os.environ.get("KEEP"):
        subprocess.run([TESTNET / "testnet", "destroy", NAME], check=True, capture_output=True)


def test_the_second_run_changes_nothing():
    assert site() == 0


def test_it_is_in_the_records_of_its_domains():
    for domain in (DOMAIN, f"catch.{DOMAIN}"):
        found = subprocess.run([TESTNET / "inside", "dig", "+short", domain, "MX"], capture_output=True, text=True).stdout.splitlines()
        assert sorted(found) == [f"10 {SERVER}.", f"20 {NAME}."]


@pytest.fixture(scope="module")
def sent():
    """Fifty messages, sent while nobody answers at the server's address; unknown recipients are refused all along."""
    found = []
    for number in range(50):
        with connect() as client:
            recipient = RECIPIENTS[number % len(RECIPIENTS)]
            send(client, f"backup{number}", recipient)
            found.append((f"backup{number}", recipient))
            if number % 10 == 0:
                with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                    send(client, "nobody", f"nobody{number}@{DOMAIN}")
                assert refused.value.recipients[f"nobody{number}@{DOMAIN}"][0] == 550
    return found


def test_it_is_no_open_relay(sent):
    with connect() as client, pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        send(client, "relay", "someone@bigmail.test")
    assert refused.value.recipients["someone@bigmail.test"][0] >= 500


def test_each_message_arrives_once_when_the_server_is_back(sent):
    with server() as taken:
        on_host(FLUSH)
        wait(lambda: len(taken) >= len(sent), 300)
        time.sleep(5)  # for what would come twice
    assert collections.Counter(taken) == collections.Counter(sent)


def test_what_the_server_refuses_is_not_returned_to_whoever_seems_to_have_sent_it():
    """The sender may be forged."""
    if MTA == "opensmtpd":
        pytest.skip("smtpd has no word for it")
    with server(refused=[f"me@{DOMAIN}"]) as taken:
        with connect() as client:
            send(client, "refused", f"me@{DOMAIN}")
        # In the queue stands what its other address said, if that was tried afterwards.
        wait(lambda: "said: 550 5.1.1 gone" in on_host("journalctl -o cat -u 'postfix*'"))
    with server() as taken:
        on_host(FLUSH)
        wait(lambda: taken)
    assert taken == [("refused", f"me@{DOMAIN}")]


@pytest.fixture(scope="module")
def as_server(host):
    """From here on the host is the server, and the controller's address that of its backup MX."""
    site("server")
    assert site("server") == 0


def delivered(subject: str) -> tuple[str, str]:
    """Return the folder that a message has arrived in, and what SPF said."""
    def fetched(what):
        return on_host(f"doveadm -f pager fetch -u me@{DOMAIN} {what} mailbox '*' subject {subject}")

    wait(lambda: fetched("mailbox"))
    (folder,) = re.findall(r"(?m)^mailbox: (.*)$", fetched("mailbox"))
    # Of what is refused at once, nothing is looked up.
    spf = re.findall(r"\bspf=(\w+)", fetched("hdr.authentication-results"))
    return folder, spf[0] if spf else ""


def relayed(client: str, name: str = "listed.client.test") -> str:
    """What a backup MX writes into a message that it has from a client."""
    return f"from {name} ({name} [{client}]) by {SERVER} (Postfix) with ESMTP id 4Tx0Yz for <me@{DOMAIN}>; {email.utils.formatdate()}"


def test_the_client_of_the_backup_mx_is_looked_at(as_server):
    # What fails DMARC would be refused, had it not been taken already.
    for subject, client, found in (("good", SENDER_ADDRESS, ("INBOX", "pass")), ("forged", "198.51.100.8", ("Junk", "fail"))):
        with connect(SERVER, SERVER_ADDRESS) as session:
            send(session, subject, f"me@{DOMAIN}", received=relayed(client))
        assert delivered(subject) == found


def test_nobody_else_says_who_the_client_was(as_server):
    with connect() as session:
        send(session, "stranger", f"me@{DOMAIN}", received=relayed("198.51.100.8"))
    assert delivered("stranger") == ("INBOX", "pass")


def test_what_the_filter_refuses_goes_to_junk_if_the_backup_mx_has_taken_it(as_server):
    with connect() as session, pytest.raises(smtplib.SMTPDataError):
        send(session, "blocked", f"me@{DOMAIN}", "foe@client.test")
    with connect(SERVER, SERVER_ADDRESS) as session:
        send(session, "junk", f"me@{DOMAIN}", "foe@client.test", relayed(SENDER_ADDRESS, "home.client.test"))
    assert delivered("junk")[0] == "Junk"


def test_the_server_is_no_relay_for_it(as_server):
    with connect(SERVER, SERVER_ADDRESS) as session, pytest.raises(smtplib.SMTPRecipientsRefused):
        send(session, "relay", "someone@bigmail.test", received=relayed(SENDER_ADDRESS))
