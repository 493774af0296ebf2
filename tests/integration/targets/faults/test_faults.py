# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults while mail flows: whatever is killed, stopped, frozen or full, each message that was accepted is found once and whole, none is
bounced, and none is refused for good.

Four clients send all the time: from outside to a user and to an alias that leads to the strict receiver, from one user to another, and
from a user to the strict receiver. For each fault
mail must flow, then the fault is injected and lifted, and mail must flow again; then every message is looked for. The file systems of
mail, queue and temporary files are small and their own, so that filling them fills nothing else.

Environment: FAULTS_SUITE=bookworm for Debian 12; KEEP=1 to build the host only if it is not there, and to leave it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import email
import email.policy
import email.utils
import hashlib
import imaplib
import os
import random
import re
import smtplib
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "testnet"))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory, ipv4

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

ROOT = Path(__file__).resolve().parents[4]
SUITE = os.environ.get("FAULTS_SUITE", "trixie")
NAME = {"trixie": "mail.faults.test", "bookworm": "mail.faults12.test"}[SUITE]
HOST = Inventory().host(NAME)
BIGMAIL = Inventory().host("mx.bigmail.test")
DOMAIN = NAME.partition(".")[2]
ME, YOU, AWAY, ELSEWHERE, STRANGER = f"me@{DOMAIN}", f"you@{DOMAIN}", f"away@{DOMAIN}", "someone@bigmail.test", "outside@client.test"
PASSWORDS = {ME: "correct-horse", YOU: "battery-staple", ELSEWHERE: "correct-horse"}
SPOOL = {"postfix": "/var/spool/postfix", "opensmtpd": "/var/spool/smtpd"}
STORE = {"trixie": "valkey-server", "bookworm": "redis-server"}[SUITE]
QUEUE = {"postfix": "postqueue -j", "opensmtpd": "smtpctl show queue"}
FLUSH = {"postfix": "postqueue -f", "opensmtpd": "smtpctl schedule all"}
#: Seconds for which a fault lasts, and between two messages of a client; how large every so-manieth message is, which is more than
#: anybody keeps in memory, and how large the small file systems are.
LASTS, PAUSE, LARGE, LARGE_EACH, SMALL_DISK = 6, 0.15, 1_600_000, 12, "160m"
#: Seconds to wait for what must come. Nothing is measured by it: a machine with all cores busy takes longer, and is not broken.
PATIENCE = 300
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


# --- The faults ---


@dataclasses.dataclass(frozen=True)
class Fault:
    """``inject`` and ``lift`` are shell commands on the host; ``kills`` is whether processes are killed that may be delivering: a message
    that had just been handed over, but was not yet marked as such, is then delivered twice (RFC 1047). ``says`` is what ``inject`` prints
    when it has found what it was to break."""

    name: str
    inject: str
    lift: str = "true"
    kills: bool = False
    says: str = ""


def _again_and_again(command: str, pause: float = 0.2) -> str:
    return f"end=$(($(date +%s) + {LASTS})); while [ $(date +%s) -lt $end ]; do {command}; sleep {pause}; done; true"


def _killed(*names: str, full: bool = False, pause: float = 0.2) -> Fault:
    """Processes of these names, or command lines, are killed whenever there are any; helpers that live for a moment need a short pause."""
    # In brackets the first letter is no part of the words that look for it.
    kill = "; ".join(f"pkill -e -9 -f '[{name[0]}]{name[1:]}'" if full else f"pkill -e -9 -x '{name}'" for name in names)
    return Fault(f"{', '.join(names)} killed", _again_and_again(kill, pause), kills=True, says="killed")


def _stopped(unit: str) -> Fault:
    return Fault(f"{unit} stopped", f"systemctl stop {unit}; sleep {LASTS}", f"systemctl start {unit}")


def _frozen(*names: str) -> Fault:
    words = " ".join(f"'{name}'" for name in names)
    signals = "for name in {}; do pkill -e -{} -x $name; done; true"
    inject = f"{signals.format(words, 'STOP')}; sleep {LASTS}"
    return Fault(f"{', '.join(names)} frozen", inject, signals.format(words, "CONT"), says="killed")


def _full(what: str, path: str, leave: int = 0, moments: bool = False) -> Fault:
    """All but so many KiB of what is free is taken, again and again, as a log that grows would. With a little left a file can be begun; for
    moments only, its middle cannot be written, and its end can."""
    fill = (f"free=$(($(df --output=avail -k {path} | tail -n 1) - {leave}))"
            f"; [ $free -le 0 ] || head -c ${{free}}K /dev/zero >> {path}/fill")
    name = f"{what} full" + (f" but for {leave} KiB" if leave else "") + (" for moments" if moments else "")
    inject = _again_and_again(f"{fill}; sleep 0.05; : > {path}/fill", 0.05) if moments else _again_and_again(fill)
    return Fault(name, inject, f"rm -f {path}/fill")


_MTA = {
    "postfix": [
        *map(_killed, ("master", "qmgr", "smtpd", "cleanup", "smtp", "lmtp", "trivial-rewrite", "tlsmgr", "anvil")),
        _killed("/etc/postfix/srs", full=True),
        _frozen("master", "qmgr", "smtpd", "cleanup"),
    ],
    "opensmtpd": [
        *(_killed(f"smtpd: {name}", full=True) for name in ("queue", "scheduler", "dispatcher", "lookup", "control", "crypto")),
        _killed("mail.lmtp", pause=0.01),
        _killed("filter-postmast"),
        _frozen("smtpd"),
        _frozen("filter-postmast"),
    ],
}


def faults(mta: str) -> list[Fault]:
    """Return what is done to a host with this MTA, the power cut apart."""
    return [
        *_MTA[mta],
        _killed("dovecot"), _killed("lmtp"), _killed("quota-status"), _killed("auth"),
        _killed("rspamd"), _killed(STORE), _killed("unbound"),
        _stopped("rspamd"), _stopped(f"{STORE}@rspamd"), _stopped("unbound"), _stopped("dovecot"),
        _frozen("dovecot", "lmtp", "auth"), _frozen("rspamd"), _frozen(STORE),
        _full("mail store", "/var/vmail"), _full("queue", SPOOL[mta]), _full("temporary files", "/tmp"),
        _full("temporary files", "/tmp", LARGE * 4 // 5 // 1024), _full("temporary files", "/tmp", moments=True),
        _full("mail store", "/var/vmail", moments=True), _full("queue", SPOOL[mta], moments=True),
        Fault("everything restarted", f"systemctl restart unbound {STORE}@rspamd rspamd dovecot {mta}", kills=True),
        Fault("power cut", "", kills=True),
    ]  # fmt: skip


CASES = [(mta, fault) for mta in ("postfix", "opensmtpd") for fault in faults(mta)]


# --- The host ---


def on_host(command: str, check: bool = True) -> str:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes", "ConnectTimeout=60")
    words = ["ssh", "-i", f"{STATE}/ssh/id_ed25519", *(f"-o{option}" for option in options), f"root@{ipv4(HOST.number)}", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, errors="replace")
    assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_testnet(*words: str) -> None:
    done = subprocess.run([ROOT / "tests/testnet/testnet", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def small_disks(mta: str) -> None:
    """Give mail and queue file systems of their own. They are mounted where the host's root is made, so that a power cut leaves them."""
    machine.stop(NAME)
    for path in ("/var/vmail", SPOOL[mta]):
        directory = HOST.root / path.lstrip("/")
        owner = directory.stat()
        options = f"size={SMALL_DISK},mode={owner.st_mode & 0o7777:o},uid={owner.st_uid},gid={owner.st_gid}"
        with tempfile.TemporaryDirectory() as kept:
            subprocess.run(["cp", "-a", f"{directory}/.", kept], check=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
            for entry in Path(kept).iterdir():
                subprocess.run(["cp", "-a", entry, directory], check=True)
    run_testnet("restart", NAME)


def ready(mta: str) -> None:
    """Wait until every service runs, as after a start."""
    units = ["unbound", f"{STORE}@rspamd", "rspamd", "dovecot", mta]
    # The temporary files' file system is new at each start.
    on_host(f"mount -o remount,size={SMALL_DISK} /tmp && systemctl reset-failed && systemctl start {' '.join(units)}")


@dataclasses.dataclass
class Server:
    """The host under test: its MTA, and what was returned to the sender outside."""

    mta: str
    returned: list[str]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A fresh host with this MTA."""
    mta, keep = request.param, os.environ.get("KEEP")
    with machine.inside_network(), _Returned() as returned:
        if not (keep and machine.running(HOST) and on_host(f"test -e /root/faults-{mta}; echo $?").strip() == "0"):
            run_testnet("destroy", NAME)
            run_testnet("boot", NAME)
            inventories = ("-i", ROOT / "tests/testnet/inventory.yml", "-i", Path(__file__).with_name("inventory.yml"))
            play = [ROOT / "tests/testnet/inside", "ansible-playbook", *inventories, "--limit", NAME, ROOT / "playbooks/site.yml"]
            done = subprocess.run([*play, "-e", f"mail_mta={mta}"], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
            small_disks(mta)
            on_host(f"touch /root/faults-{mta}")
        ready(mta)
        yield Server(mta, returned.messages)
    # Printed whether or not all is well.
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write(table(mta))
    if not keep:
        run_testnet("destroy", NAME)


class _Returned(socketserver.ThreadingTCPServer):
    """Takes what is returned to the sender outside, of which there must be nothing."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.messages: list[str] = []
        super().__init__((ipv4(1), 25), _Conversation)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    """Just enough SMTP to take messages."""

    def handle(self) -> None:
        self.wfile.write(b"220 client.test ESMTP\r\n")
        while (line := self.rfile.readline()) and not line.upper().startswith(b"QUIT"):
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                self.server.messages.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode(errors="replace"))
            self.wfile.write(b"250 client.test\r\n")


# --- Mail ---


def body(token: str, large: bool) -> str:
    """Return the text of a message, which nobody needs to keep: the token makes it."""
    dice = random.Random(token)
    lines = [f"{dice.getrandbits(240):060x}" for _ in range(LARGE // 62 if large else 20)]
    return "\r\n".join([*lines, f"The end of {token}."]) + "\r\n"


def digest(text: str) -> str:
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


class Client:
    """Sends a message each PAUSE. A connection serves until something fails, for so many log-ins a minute are none too many; from outside
    it serves for ten messages."""

    def __init__(self, name: str, sender: str, recipient: str, port: int) -> None:
        self.sender, self.recipient, self.port = sender, recipient, port
        self.prefix = f"{os.urandom(4).hex()}-{name}"
        self.sent: dict[str, str] = {}  # token to what became of it
        self.digests: dict[str, str] = {}
        self.refusals: list[str] = []
        self.session: smtplib.SMTP | None = None
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def accepted(self) -> list[str]:
        return [token for token, answer in self.sent.items() if answer == "accepted"]

    def run(self) -> None:
        key = (STATE / "dkim/client.test.key").read_bytes()
        number = 0
        while not self.end.wait(PAUSE):
            number += 1
            token = f"{self.prefix}-{number}"
            text = body(token, number % LARGE_EACH == 0)
            self.digests[token] = digest(text)
            head = (f"From: {self.sender}\r\nTo: {self.recipient}\r\nSubject: {token}\r\nDate: {email.utils.formatdate()}\r\n"
                    f"Message-ID: <{token}@faults>\r\n\r\n")
            content = (head + text).encode()
            if self.port == 25:
                headers = [b"from", b"to", b"subject", b"date"]
                content = dkim.sign(content, b"testnet", b"client.test", key, include_headers=headers) + content
            self.sent[token] = self.send(content)
            if number % 10 == 0 and self.port == 25:
                self.hang_up()
        self.hang_up()

    def hang_up(self) -> None:
        if self.session:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self.session.quit()
            self.session.close()
            self.session = None

    def connect(self) -> smtplib.SMTP:
        source = (ipv4(1 if self.port == 25 else 5), 0)
        session = smtplib.SMTP(ipv4(HOST.number), self.port, "client.test", timeout=PATIENCE, source_address=source)
        session.starttls(context=ANY)
        session.ehlo()
        if self.port == 587:
            session.login(self.sender, PASSWORDS[self.sender])
        return session

    def send(self, content: bytes) -> str:
        """Return what the server made of a message: accepted, deferred, refused, or nobody knows, when it hung up instead of an answer."""
        answer = "deferred"
        try:
            self.session = self.session or self.connect()
            for code, words in self._dialogue(content):
                answer = "unanswered" if code == 0 else "accepted" if code == 250 else "deferred"
                if code >= 500:
                    self.refusals.append(f"{code} {words.decode(errors='replace')}")
                    answer = "refused"
                if code and code != 250:
                    break
        except smtplib.SMTPAuthenticationError:
            self.hang_up()  # nothing was said about a message
            self.end.wait(10)  # so many a minute are taken, and those that are refused count
        except (OSError, smtplib.SMTPException):
            if self.session:
                self.session.close()
            self.session = None
        else:
            if answer != "accepted":
                self.hang_up()
            return answer
        return "unanswered" if answer == "unanswered" else "deferred"

    def _dialogue(self, content: bytes) -> Iterator[tuple[int, bytes]]:
        yield self.session.mail(self.sender)
        yield self.session.rcpt(self.recipient)
        code, words = self.session.docmd("DATA")
        if code != 354:
            yield code, words
            return
        yield 0, b""  # from here on it may have been accepted, whatever comes
        self.session.send(smtplib._quote_periods(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) + b".\r\n")
        yield self.session.getreply()


def read(address: str, user: str, found: dict[str, list[str]], bounced: list[str]) -> None:
    """Take what a mailbox holds out of it: per token the digests of the messages found, and what looks like a bounce."""
    with imaplib.IMAP4_SSL(address, 993, ssl_context=ANY, timeout=PATIENCE) as imap:
        imap.login(user, PASSWORDS[user])
        for folder in ("INBOX", "Junk"):
            if imap.select(folder)[0] != "OK":
                continue
            uids = imap.uid("SEARCH", "ALL")[1][0].decode().split()
            for uid in uids:
                content = imap.uid("FETCH", uid, "(BODY.PEEK[])")[1][0][1]
                message = email.message_from_bytes(content, policy=email.policy.default)
                if message.get_content_type() == "multipart/report":
                    bounced.append(content.decode(errors="replace"))
                else:
                    found[str(message["Subject"])].append(digest(content.decode(errors="replace").partition("\r\n\r\n")[2]))
                imap.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)")
            if uids:
                imap.expunge()


# --- The tests ---

TABLE: dict[str, list[list[str]]] = collections.defaultdict(list)
COLUMNS = ("fault", "accepted", "deferred", "unanswered", "refused", "lost", "damaged", "twice", "bounced", "seconds")


def table(mta: str) -> str:
    rows = [list(COLUMNS), *TABLE[mta]]
    total = ["all", *(str(sum(int(row[column]) for row in TABLE[mta])) for column in range(1, len(COLUMNS)))]
    lines = [f"{row[0]:42}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in [*rows, total]]
    return "\n".join([f"\nFaults of {mta} on {SUITE}:", *lines, ""])


def wait_for(what: str, condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            state = on_host("systemctl --failed --no-legend; journalctl -n 40 -o cat", check=False)
            pytest.fail(f"waited {PATIENCE} s in vain for {what}\n{state}")
        time.sleep(0.2)  # neither a client nor a queue has an event to wait for


def flows(clients: list[Client], what: str) -> None:
    """Wait until each client has had three more messages accepted."""
    counts = {client: len(client.accepted) for client in clients}
    wait_for(f"mail to flow {what}", lambda: all(len(client.accepted) >= count + 3 for client, count in counts.items()))


def settle(mta: str, accepted: set[str], found: dict[str, list[str]], bounced: list[str]) -> str:
    """Wait until all that was accepted is found and the queue is empty; return what is left in it once it is too late."""
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            for address, user in ((ipv4(HOST.number), ME), (ipv4(HOST.number), YOU), (ipv4(BIGMAIL.number), ELSEWHERE)):
                read(address, user, found, bounced)
        queue = on_host(QUEUE[mta], check=False).strip()
        if (accepted <= found.keys() and not queue) or time.monotonic() > end:
            return queue
        on_host(FLUSH[mta], check=False)
        time.sleep(1)  # a queue has no event to wait for


def lines_about(tokens: list[str], since: float) -> str:
    """Return what the host's log says of these messages, and what looks like the reason."""
    log = on_host(f"journalctl --no-pager -o short-precise --since=@{int(since)}", check=False).splitlines()
    wanted = set(tokens)
    for token in tokens:
        wanted.update(found[1] for line in log if f"<{token}@faults>" in line and (found := re.search(r"\]: (\w{8,}):", line)))
    lines = (line for line in log if any(word in line for word in wanted)
                     or re.search(r"(?i)permfail|bounced|fatal|panic|traceback|no space", line))
    # The same words once: a full disk says them for every file.
    return "\n".join({re.sub(r"^.*?\]: ", "", line): line for line in lines}.values())[-8000:]


@pytest.mark.parametrize(("server", "fault"), CASES, indirect=["server"], ids=[f"{mta}: {fault.name}" for mta, fault in CASES])
def test_nothing_is_lost(server: Server, fault: Fault) -> None:
    mta, began = server.mta, time.time()
    found: dict[str, list[str]] = collections.defaultdict(list)
    bounced: list[str] = []
    with machine.inside_network():
        server.returned.clear()
        clients = [Client("in", STRANGER, ME, 25), Client("forwarded", STRANGER, AWAY, 25), Client("local", ME, YOU, 587),
                   Client("out", YOU, ELSEWHERE, 587)]
        try:
            flows(clients, "before the fault")
            said = ""
            if fault.name == "power cut":
                run_testnet("restart", NAME)
            else:
                said = on_host(fault.inject)
                assert fault.says in said, f"{fault.name}: there was nothing of that name; {said}"
            on_host(fault.lift)
            ready(mta)
            flows(clients, "after the fault")
        finally:
            for client in clients:
                client.end.set()
            for client in clients:
                client.thread.join(PATIENCE)
        sent = {token: answer for client in clients for token, answer in client.sent.items()}
        digests = {token: value for client in clients for token, value in client.digests.items()}
        refusals = [words for client in clients for words in client.refusals]
        accepted = {token for token, answer in sent.items() if answer == "accepted"}
        queue = settle(mta, accepted, found, bounced)
        bounced += server.returned
        lost = sorted(accepted - found.keys())
        damaged = sorted(token for token, values in found.items() if token in digests and set(values) != {digests[token]})
        # What has lost its head, and the name with it. Reports to the postmaster have one.
        nameless = len(found.get("None", []))
        twice = sorted(token for token, values in found.items() if token in digests and len(values) > 1)
        counts = collections.Counter(sent.values())
        TABLE[mta].append([fault.name, *(str(number) for number in (
            len(accepted), counts["deferred"], counts["unanswered"], counts["refused"], len(lost), len(damaged), len(twice), len(bounced),
            round(time.time() - began)))])
        wrong = {"lost": lost, "damaged": damaged, "without a head": nameless, "refused": refusals, "bounced": bounced, "queue": queue,
                 # What was under way in each process that was killed; where all are at once, one message of each client.
                 "delivered more than once": twice if len(twice) > (max(4, said.count("killed")) if fault.kills else 0) else []}
        # Not the values themselves: pytest would print all of them once more.
        failed = bool(any(wrong.values()))
        assert not failed, (
            f"{fault.name}: {dict(zip(COLUMNS, TABLE[mta][-1]))}\n"
            + "\n".join(f"{kind}: {str(what)[:3000]}" for kind, what in wrong.items() if what)
            + f"\nlog of the host:\n{lines_about([*lost, *damaged, *twice], began)}")
