# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that changes from Postfix to OpenSMTPD and back, with mail under way, and once with a run that is killed.

Each direction is a chapter: mail is made to wait, mail keeps coming in from outside, the variable is changed and the playbook
run. Then every message must be where it belongs, once. The chapters build on each other, in the order of this file.
"""

from __future__ import annotations

import collections
import contextlib
import email
import email.utils
import imaplib
import json
import os
import re
import secrets
import shlex
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import dkim
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
sys.path.insert(0, str(HERE.parents[2] / "testnet"))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

NAME, OUTSIDE, BIGMAIL = "mail.switch.test", "198.51.100.1", "198.51.100.10"
ADDRESS = f"198.51.100.{Inventory().host(NAME).number}" if machine.NETNS.exists() else ""
ME, YOU, STRANGER = "me@switch.test", "you@switch.test", "outside@client.test"
BIG, SECOND = "someone@bigmail.test", "second@bigmail.test"
AWAY = "away@switch.test"  # leads to BIG
PASSWORDS = {ME: "correct-horse", YOU: "battery-staple", BIG: "correct-horse", SECOND: "correct-horse"}
#: What is in no line of a template: eight bits, dots, and lines as long as RFC 5322 allows.
ODD = b"caf\xc3\xa9 \xe4\xf6\xfc\r\n.\tdot\r\n..\r\n" + b"x" * 990 + b"\r\n\r\nlast line"
OTHER = {"postfix": "opensmtpd", "opensmtpd": "postfix"}
MAILER = {
    "postfix": {"list": "postqueue -j", "flush": "postqueue -f", "spool": "/var/spool/postfix",
                "waiting": "-perm -100"},
    "opensmtpd": {"list": "smtpctl show queue", "flush": "smtpctl schedule all", "spool": "/var/spool/smtpd",
                  "waiting": "-name message"},
}  # fmt: skip
QUEUES = ("incoming", "active", "deferred", "maildrop", "queue", "offline")
QUEUED = f"find {' '.join('{spool}/' + queue for queue in QUEUES)} -type f {{waiting}} 2>/dev/null"
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


# --- The hosts ---


def ssh(address: str, command: str) -> list[str]:
    settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    options = ["-i", f"{STATE}/ssh/id_ed25519", *(word for setting in settings for word in ("-o", setting))]
    return [str(ROOT / "tests/testnet/inside"), "ssh", *options, f"root@{address}", command]


def on(address: str, command: str, check: bool = True, data: bytes | None = None) -> str:
    done = subprocess.run(ssh(address, command), capture_output=True, timeout=180, input=data or b"")
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
    return done.stdout.decode(errors="replace")


def on_host(command: str, check: bool = True, data: bytes | None = None) -> str:
    return on(ADDRESS, command, check, data)


def receiver(running: bool) -> None:
    """Let the strict receiver take mail, or let what is for it wait."""
    on(BIGMAIL, "systemctl {} postfix".format("start" if running else "stop"))


class Run:
    """One run of the site playbook: its output, its exit status, and the tasks that changed something."""

    def __init__(self, mta: str, *options: str) -> None:
        inventories = ["-i", str(ROOT / "tests/testnet/inventory.yml"), "-i", str(HERE / "inventory.yml")]
        done = subprocess.run(
            [str(ROOT / "tests/testnet/inside"), "ansible-playbook", *inventories, "--limit", NAME, str(ROOT / "playbooks/site.yml"),
             "-e", f"mail_mta={mta}", *options],
            capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        self.status, self.output = done.returncode, done.stdout + done.stderr
        self.changed = re.findall(r"TASK \[(.*?)\] \*+\n(?:(?!TASK|RUNNING).*\n)*?changed: ", done.stdout)
        self.words = " ".join(self.output.split())

    def ok(self) -> Run:
        assert self.status == 0, self.output[-6000:]
        return self


# --- Mail ---


def message(sender: str, recipient: str, body: bytes = b"x", note: str = "") -> tuple[str, bytes]:
    """Return a Message-ID and a message."""
    token = secrets.token_hex(8)
    head = f"From: {sender}\r\nTo: {recipient}\r\nDate: {email.utils.formatdate()}\r\nSubject: {note}\r\nMessage-ID: <{token}@switch>\r\n"
    mime = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    return token, (head + mime + "\r\n").encode() + body + b"\r\n"


def submit(recipients: list[str], body: bytes = b"x") -> str:
    """Send a message as a user does."""
    token, text = message(ME, recipients[0], body)
    with machine.inside_network(), smtplib.SMTP(ADDRESS, 587, "client.test", timeout=60) as smtp:
        smtp.starttls(context=ANY)
        smtp.login(ME, PASSWORDS[ME])
        smtp.sendmail(ME, recipients, text, ["BODY=8BITMIME"] if smtp.has_extn("8bitmime") else [])
    return token


def local(sender: str, recipients: list[str], header: str) -> str:
    """Send a message from the host itself."""
    token, text = message(header, recipients[0])
    words = " ".join(map(shlex.quote, recipients))
    on_host(f"sendmail -i -f {shlex.quote(sender or '<>')} {words}", data=text.replace(b"\r\n", b"\n"))
    return token


HAND_IN = f"""import smtplib, sys
smtplib.SMTP("{ADDRESS}", 25, "mx.bigmail.test", timeout=60).sendmail("{SECOND}", ["{AWAY}"], sys.stdin.buffer.read())"""


def forward() -> str:
    """Give the server a message that it forwards, from the host of its sender; signed, as only a signature survives that."""
    token, text = message(STRANGER, AWAY)
    key = (STATE / "dkim/client.test.key").read_bytes()
    signature = dkim.sign(text, b"testnet", b"client.test", key, include_headers=[b"from", b"to", b"subject", b"date"])
    on(BIGMAIL, f"python3 -c {shlex.quote(HAND_IN)}", data=signature + text)
    return token


class Stream(threading.Thread):
    """Somebody out there who goes on sending to the host, and tries again after each temporary failure, as mail servers do."""

    sender = STRANGER
    #: Seconds between two attempts, and between two messages.
    pause = (0.2, 0.4)

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.sent: list[str] = []
        #: Messages that were cut off after their end: nobody knows whether they were taken, so they may come twice.
        self.unsure: set[str] = set()
        self.refused: list[str] = []
        #: When the server took one: the longest pause is how long it took none.
        self.answered: list[float] = []
        self.ending = threading.Event()

    def attempt(self, token: str, text: bytes) -> bool:
        ended = False
        try:
            with socket.create_connection((ADDRESS, 25), timeout=30, source_address=(OUTSIDE, 0)) as plain:
                stream = plain.makefile("rb")

                def reply() -> int:
                    line = stream.readline()
                    while line[3:4] == b"-":
                        line = stream.readline()
                    if not line:
                        raise ConnectionError("the connection ended")
                    return int(line[:3])

                wanted = 220
                envelope = (f"MAIL FROM:<{STRANGER}>".encode(), f"RCPT TO:<{YOU}>".encode())
                for command in (b"EHLO client.test", *envelope, b"DATA"):
                    code = reply()
                    if code != wanted:
                        raise ConnectionError(f"{code} before {command!r}")
                    plain.sendall(command + b"\r\n")
                    wanted = 354 if command == b"DATA" else 250
                if reply() != 354:
                    raise ConnectionError("no DATA")
                ended = True
                plain.sendall(text + b".\r\n")
                code = reply()
                ended = False
                if code != 250:
                    raise ConnectionError(f"{code} after the message")
                self.answered.append(time.monotonic())
                with contextlib.suppress(OSError):
                    plain.sendall(b"QUIT\r\n")
                return True
        except (OSError, ValueError) as exc:
            if ended:
                self.unsure.add(token)
            self.refused.append(str(exc))
            return False

    def run(self) -> None:
        while not self.ending.is_set():
            token, text = message(self.sender, YOU, note="stream")
            while not self.attempt(token, text):
                if len(self.refused) > 3000:
                    return
                time.sleep(self.pause[0])  # how a sender waits
            self.sent.append(token)
            self.ending.wait(self.pause[1])

    def stop(self) -> None:
        self.ending.set()
        self.join(120)

    @property
    def gap(self) -> float:
        return max(after - before for before, after in zip(self.answered, self.answered[1:]))


class Submissions(Stream):
    """A user who does the same."""

    sender = ME
    pause = (2.1, 2.1)  # Postfix lets an address log in 30 times a minute

    def attempt(self, token: str, text: bytes) -> bool:
        try:
            with smtplib.SMTP(ADDRESS, 587, "client.test", timeout=30) as smtp:
                smtp.starttls(context=ANY)
                smtp.login(ME, PASSWORDS[ME])
                smtp.mail(ME)
                code, said = smtp.rcpt(YOU)
                if code == 250:
                    self.unsure.add(token)
                    code, said = smtp.data(text)
                    self.unsure.discard(token)
                if code == 250:
                    self.answered.append(time.monotonic())
                    return True
                self.refused.append(f"{code} {said.decode()}")
        except smtplib.SMTPResponseException as exc:
            self.refused.append(f"{exc.smtp_code} {exc.smtp_error!r}")
        except (OSError, ValueError) as exc:
            self.refused.append(str(exc))
        return False


@contextlib.contextmanager
def mailbox(user: str):
    with machine.inside_network():
        if user.endswith("@switch.test"):
            session = imaplib.IMAP4_SSL(ADDRESS, 993, ssl_context=ANY, timeout=60)
        else:
            session = imaplib.IMAP4(BIGMAIL, 143, timeout=60)
            session.starttls(ANY)
    try:
        session.login(user, PASSWORDS[user])
        yield session
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            session.logout()


def tokens(user: str) -> collections.Counter:
    """Return how often each message is in a mailbox, whatever the folder."""
    found: collections.Counter = collections.Counter()
    with mailbox(user) as session:
        for folder in ("INBOX", "Junk"):
            if session.select(folder, readonly=True)[0] != "OK":
                continue
            if int(session.untagged_responses["EXISTS"][0]):
                _status, data = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
                found.update(re.findall(r"<([0-9a-f]{16})@switch>", " ".join(part[1].decode() for part in data if isinstance(part, tuple))))
    return found


def fetch(user: str, token: str) -> bytes:
    with mailbox(user) as session:
        for folder in ("INBOX", "Junk"):
            if session.select(folder, readonly=True)[0] == "OK":
                _status, found = session.search(None, "HEADER", "Message-ID", f"{token}@switch")
                if found[0]:
                    return session.fetch(found[0].split()[0].decode(), "(BODY.PEEK[])")[1][0][1]
    raise AssertionError(f"{token} is not there")


def arrived(user: str, wanted: list[str], mta: str, within: float = 240) -> dict[str, int]:
    """Wait until all of these messages are in a mailbox; return how often each of them is."""
    end = time.monotonic() + within
    while True:
        found = tokens(user)
        missing = [token for token in wanted if not found[token]]
        if not missing:
            break
        assert time.monotonic() < end, f"{len(missing)} of {len(wanted)} have not arrived at {user}: {missing[:5]}\n" + on_host(
            MAILER[mta]["list"] + "; journalctl -u postfix -u opensmtpd -n 60 --no-pager", check=False
        )
        on_host(MAILER[mta]["flush"], check=False)
        time.sleep(2)  # a queue has no event to wait for
    time.sleep(3)  # for what may come twice
    found = tokens(user)
    return {token: found[token] for token in wanted}


def queued(mta: str) -> list[str]:
    return on_host(QUEUED.format(**MAILER[mta]), check=False).split()  # find complains about what the other one does not have


# --- The chapters ---


def keys() -> tuple[str, str]:
    """What signs: the keys on the host, and what is published."""
    published = on_host("cd /var/lib/postmaster-mail/dkim; ls *.key; sha256sum *")
    selectors = re.findall(r"^switch\.test\.(.*)\.key$", published, re.MULTILINE)
    assert len(selectors) == 1
    with machine.inside_network():
        record = subprocess.run(
            ["dig", "+short", "@198.51.100.2", f"{selectors[0]}._domainkey.switch.test", "TXT"], capture_output=True, text=True, timeout=20
        ).stdout
    assert "DKIM1" in record
    return published, record


def files_of(mta: str) -> list[str]:
    return list(json.loads(on_host(f"cat /var/lib/postmaster-mail/config_tree/{mta}.json"))["files"])


class Chapter:
    """One change of the MTA: what was there before, what was sent, and the run."""

    def __init__(self, mta: str, tmp: Path) -> None:
        self.mta, self.old = mta, OTHER[mta]
        self.inventory = tmp / f"{mta}.yml"
        self.inventory.write_text(f"scenario: {{vars: {{mail_mta: {mta}}}}}\n")
        self.keys = keys()
        self.files = files_of(self.old)
        receiver(False)
        # Delivered to one recipient, waiting for two; a bounce; a stranger's, for mailboxes that cannot be reached.
        self.plain = submit([BIG])
        self.odd = submit([BIG, SECOND, YOU], ODD)
        self.bounce = local("", [BIG], f"mailer-daemon@{NAME}")
        arrived(YOU, [self.odd], self.old)
        on_host("systemctl stop dovecot")
        self.stranger = local(STRANGER, [YOU, "team@switch.test", "root"], STRANGER)
        self.wait_queued(4)
        on_host("systemctl start dovecot")
        self.rewritten, self.forwarded, self.own = self.forward()
        self.held = ""
        if self.old == "postfix":
            self.held = submit_on_hold()
        # Somebody has edited one of our files, and written one of their own.
        self.edited = "/etc/postfix/master.cf" if self.old == "postfix" else "/etc/smtpd/tables/domains"
        on_host(f"echo '# by hand' >>{self.edited}; echo mine >$(dirname {self.edited})/mine")
        self.streams = [Stream(), Submissions()]
        with machine.inside_network():
            for stream in self.streams:
                stream.start()
        self.run = Run(mta)
        time.sleep(2)  # they go on after the change, too
        for stream in self.streams:
            stream.stop()

    def forward(self) -> tuple[str, str, str]:
        """Let forwarded mail wait: some whose sender is rewritten already, a stranger's and a user's that are not.

        smtpd rewrites a sender as it sends. Postfix does it before, and not while the secret is away.
        """
        rewritten = ""
        if self.old == "postfix":
            rewritten = forward()
            self.wait_queued(5)
            sender = on_host("postqueue -j | grep -o 'SRS0=[^\"]*'", check=False)
            assert sender.strip().endswith(f"={SECOND.partition('@')[0]}@{NAME}"), on_host("postqueue -p")
            on_host("mv /etc/postfix.srs.secret /etc/postfix.srs.away; postfix reload")
        before = len(queued(self.old))
        forwarded, own = forward(), submit([AWAY])
        self.wait_queued(before + 2)
        if self.old == "postfix":
            on_host("until [ $(postqueue -j | grep -c '[.]srs[.]invalid.*451 ') = 1 ]; do sleep 0.3; done; "
                    "mv /etc/postfix.srs.away /etc/postfix.srs.secret")
        return rewritten, forwarded, own

    def wait_queued(self, count: int) -> None:
        end = time.monotonic() + 60
        while len(found := queued(self.old)) < count:
            assert time.monotonic() < end, found
            time.sleep(0.5)  # a queue has no event to wait for


def submit_on_hold() -> str:
    before = set(queued("postfix"))
    token = local(YOU, [BIG], YOU)
    end = time.monotonic() + 30
    while not (new := {Path(path).name for path in set(queued("postfix")) - before}):
        assert time.monotonic() < end
        time.sleep(0.3)
    on_host(f"postsuper -h {new.pop()}")
    return token


def run_testnet(command: str) -> None:
    subprocess.run([str(ROOT / "tests/testnet/testnet"), command, NAME], check=True, capture_output=True)


@pytest.fixture(scope="module")
def server():
    """With KEEP in the environment a host that is up is used as it is, and stays."""
    keep = bool(os.environ.get("KEEP"))
    if not keep:
        run_testnet("destroy")
    run_testnet("boot")
    receiver(True)
    Run("postfix").ok()
    yield
    receiver(True)
    if not keep:
        run_testnet("destroy")


@pytest.fixture(scope="module", params=["opensmtpd", "postfix"])
def chapter(request, server, tmp_path_factory):
    chapter = Chapter(request.param, tmp_path_factory.mktemp("switch"))
    yield chapter
    receiver(True)


def test_the_run_succeeds(chapter):
    chapter.run.ok()
    for stream in chapter.streams:
        refused = collections.Counter(stream.refused).most_common(5)
        print(f"{chapter.old} to {chapter.mta}: nothing of {stream.sender} was taken for {stream.gap:.1f} s; {refused}")


def test_what_waited_waits_at_the_new_server(chapter):
    assert queued(chapter.old) == []
    assert len(queued(chapter.mta)) >= 3


def test_what_was_on_hold_stays_and_is_told(chapter):
    if chapter.held:
        told = "stays in the queue of postfix, because it was put on hold. Look at it with `cat -v /var/spool/postfix/hold/"
        assert told in chapter.run.words
        assert len(on_host("ls /var/spool/postfix/hold").split()) == 1
    else:
        # Postfix is back, and so is what it kept.
        on_host("postsuper -H ALL")


def test_what_waited_arrives_once_and_as_it_was(chapter):
    receiver(True)
    assert arrived(BIG, [chapter.plain, chapter.odd, chapter.bounce], chapter.mta) == dict.fromkeys(
        [chapter.plain, chapter.odd, chapter.bounce], 1
    )
    assert arrived(SECOND, [chapter.odd], chapter.mta) == {chapter.odd: 1}
    # root's mail and the team's are the first user's: one copy, where both were expanded before.
    assert arrived(ME, [chapter.stranger], chapter.mta)[chapter.stranger] in (1, 2)
    assert arrived(YOU, [chapter.odd, chapter.stranger], chapter.mta)[chapter.odd] == 1
    assert fetch(BIG, chapter.odd).partition(b"\r\n\r\n")[2] == ODD + b"\r\n"


def test_what_was_signed_is_signed_once_and_verifies(chapter):
    selector = re.findall(r"^switch\.test\.(.*)\.key$", chapter.keys[0], re.MULTILINE)[0]
    for token in (chapter.plain, chapter.odd):
        arrived_message = email.message_from_bytes(fetch(BIG, token))
        signatures = arrived_message.get_all("DKIM-Signature")
        assert len(signatures) == 1, signatures
        assert re.search(rf"\bs={selector};", signatures[0])
        results = " ".join(arrived_message.get_all("Authentication-Results"))
        assert "dkim=pass" in results and "dmarc=pass" in results, results
        # The way that it took before is still told, and the new server has not filtered or stamped it again.
        assert sum(f"by {NAME} " in " ".join(line.split()) for line in arrived_message.get_all("Received")) == 1
    stranger = email.message_from_bytes(fetch(YOU, chapter.stranger))
    assert stranger["DKIM-Signature"] is None


def test_a_bounce_has_no_sender_still(chapter):
    assert email.message_from_bytes(fetch(BIG, chapter.bounce))["Return-Path"] == "<>"


def bounce_to(sender: str) -> tuple[str, int]:
    """Return to a sender what could not be delivered, as its receiver would, and return the message's token and the answer."""
    token, text = message("mailer-daemon@ns.test", sender)  # a domain without DMARC, as a bounce has no sender for SPF
    with machine.inside_network(), smtplib.SMTP(ADDRESS, 25, "client.test", timeout=60, source_address=(OUTSIDE, 0)) as smtp:
        smtp.ehlo_or_helo_if_needed()
        smtp.mail("")
        code = smtp.rcpt(sender)[0]
        return token, code if code != 250 else smtp.data(text)[0]


def test_what_was_forwarded_has_a_sender_that_spf_allows(chapter):
    wanted = [token for token in (chapter.rewritten, chapter.forwarded, chapter.own) if token]
    assert arrived(BIG, wanted, chapter.mta) == dict.fromkeys(wanted, 1)
    came = {token: email.message_from_bytes(fetch(BIG, token)) for token in wanted}
    for token in wanted:
        results = " ".join(came[token].get_all("Authentication-Results"))
        assert all(f"{method}=pass" in results for method in ("spf", "dkim", "dmarc")), results
    assert came[chapter.own]["Return-Path"] == f"<{ME}>"
    # The new server's own, so a bounce to it finds back to whom the mail was from.
    sender = came[chapter.forwarded]["Return-Path"].strip("<>")
    assert re.fullmatch(r"SRS0=[^=]+=[^=]+=bigmail\.test=second@(mail\.)?switch\.test", sender)
    token, code = bounce_to(sender)
    assert code == 250
    assert arrived(SECOND, [token], chapter.mta) == {token: 1}
    # The server's before: refused, and not lost.
    if chapter.rewritten:
        sender = came[chapter.rewritten]["Return-Path"].strip("<>")
        assert re.fullmatch(r"SRS0=[^=]+=[^=]+=bigmail\.test=second@mail\.switch\.test", sender)
        assert bounce_to(sender)[1] in (550, 553)


def test_nothing_that_came_in_meanwhile_is_lost(chapter):
    for stream, least in zip(chapter.streams, (10, 2)):
        found = arrived(YOU, stream.sent, chapter.mta)
        assert len(found) > least
        assert {token for token, count in found.items() if count != 1} <= stream.unsure


def test_whoever_is_refused_meanwhile_is_to_try_again(chapter):
    refused = [said for stream in chapter.streams for said in stream.refused]
    assert refused and not [said for said in refused if said.startswith("5")]


def test_the_old_server_is_off_and_its_configuration_gone(chapter):
    enabled = on_host(f"systemctl is-enabled {chapter.old} 2>/dev/null", check=False).strip()
    assert enabled in ("", "disabled", "not-found", "masked")
    assert on_host(f"systemctl is-active {chapter.old}", check=False).strip() == "inactive"
    originals = {"/etc/postfix/main.cf", "/etc/postfix/master.cf", "/etc/smtpd.conf"}
    left = on_host(f"ls -d {' '.join(chapter.files)} 2>/dev/null", check=False).split()
    assert set(left) <= originals
    for path in left:  # what the package had put there
        assert "Ansible managed" not in on_host(f"head -3 {path}")
    secret = {"opensmtpd": "/etc/smtpd.srs.conf", "postfix": "/etc/postfix.srs.secret"}[chapter.mta]
    assert on_host("ls /etc/smtpd.srs.conf /etc/postfix.srs.secret 2>/dev/null", check=False) == f"{secret}\n"
    assert on_host(f"cat {chapter.edited}.postmaster-edited").endswith("# by hand\n")
    assert on_host(f"cat $(dirname {chapter.edited})/mine") == "mine\n"


def test_the_new_server_answers_on_all_ports(chapter):
    with machine.inside_network():
        for port in (25, 465, 587):
            with socket.create_connection((ADDRESS, port), timeout=30) as plain:
                stream = ANY.wrap_socket(plain) if port == 465 else plain
                banner = stream.recv(500).decode()
                assert banner.startswith(f"220 {NAME} ESMTP"), banner
                assert ("OpenSMTPD" in banner) == (chapter.mta == "opensmtpd"), banner


def test_keys_and_records_are_the_same(chapter):
    assert keys() == chapter.keys


def test_the_next_run_changes_nothing(chapter):
    again = Run(chapter.mta).ok()
    assert again.changed == []


def test_all_promises_hold(chapter):
    done = subprocess.run(
        [str(ROOT / "tests/testnet/inside"), str(ROOT / "tests/acceptance/verify"), "-i", str(ROOT / "tests/testnet/inventory.yml"),
         "-i", str(HERE / "inventory.yml"), "-i", str(chapter.inventory), NAME],
        capture_output=True, text=True, timeout=2400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"\b0 failed\b", done.stdout)


# --- A run that is killed while it hands over ---

COUNT = 60
#: The pattern must not match this shell itself. It goes on until the run is over, when its standard input ends.
KILL = """
until read -r -t 0.02; [ $? -le 128 ]; do
  migration=$(pgrep -f '[A]nsiballZ_queue_migrate') || continue
  [ $({list} | wc -l) -lt {enough} ] || ! kill -9 $migration || exec echo killed
done
"""


@pytest.mark.parametrize("mta", ["opensmtpd", "postfix"])
def test_a_killed_migration_goes_on_and_loses_nothing(server, mta):
    old = OTHER[mta]
    receiver(False)
    submitted = []
    with machine.inside_network(), smtplib.SMTP(ADDRESS, 587, "client.test", timeout=60) as smtp:
        smtp.starttls(context=ANY)
        smtp.login(ME, PASSWORDS[ME])
        for _ in range(COUNT):
            token, text = message(ME, BIG)
            smtp.sendmail(ME, [BIG], text)
            submitted.append(token)
    command = KILL.format(list=QUEUED.format(**MAILER[mta]), enough=COUNT // 4)
    killer = subprocess.Popen(ssh(ADDRESS, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed = Run(mta, "-e", "ansible_pipelining=false")  # so that the module has a name among the processes
    assert killer.communicate(timeout=90)[0].strip() == "killed"
    assert killed.status != 0
    left, taken = queued(old), queued(mta)
    assert 0 < len(left) < COUNT
    assert len(left) + len(taken) >= COUNT
    again = Run(mta).ok()
    assert again.changed
    assert queued(old) == []
    receiver(True)
    assert arrived(BIG, submitted, mta) == dict.fromkeys(submitted, 1)
    assert Run(mta).ok().changed == []


# --- Runs that end in the middle ---


def test_packages_that_cannot_be_fetched_leave_the_old_server_at_work(server):
    on_host("apt-get clean; echo 'Acquire::http::Proxy \"http://127.0.0.1:9\";' >/etc/apt/apt.conf.d/99away")
    failed = Run("opensmtpd")
    assert failed.status != 0 and "127.0.0.1:9" in failed.words
    token = submit([YOU])
    assert arrived(YOU, [token], "postfix") == {token: 1}
    on_host("rm /etc/apt/apt.conf.d/99away")
    Run("opensmtpd").ok()


def test_a_killed_change_of_opensmtpd_goes_on(server):
    """Without SRS its configuration has one action less, which mail waits for."""
    receiver(False)
    token = submit([BIG])
    assert on_host("grep -rh ^dispatcher /var/spool/smtpd/queue") == "dispatcher: send-own\n"
    without = ("-e", '{"opensmtpd_srs": false}')
    killer = subprocess.Popen(ssh(ADDRESS, KILL.format(list="true", enough=0)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed = Run("opensmtpd", "-e", "ansible_pipelining=false", *without)
    assert killer.communicate(timeout=90)[0].strip() == "killed"
    assert killed.status != 0
    assert on_host("grep -rh ^dispatcher /var/spool/smtpd/queue") == "dispatcher: send-own\n"
    assert "Queue | Migrate what waits for an action of another configuration" in " ".join(Run("opensmtpd", *without).ok().changed)
    receiver(True)
    assert arrived(BIG, [token], "opensmtpd") == {token: 1}
    assert Run("opensmtpd", *without).ok().changed == []
