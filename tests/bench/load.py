#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ordinary morning of five hundred users with three devices each: many clients at once. `make bench` prints what they wait for, and
tests/integration/targets/load expects something of it.

Builds a host of the test network with 2 GB and two processors, whatever the machine has (tests/testnet/inventory.yml). All clients are
asyncio or threads of this process, so they share its processors.

  tests/ci/run tests/bench/load.py [--suite bookworm] [--mta opensmtpd]
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import email.utils
import json
import os
import resource
import secrets
import smtplib
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/testnet"))

import yaml
from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory, ipv4

from ansible_collections.postmaster.mail.plugins.module_utils._services import sizing

NAMES = {"trixie": "mail.load.test", "bookworm": "mail.load12.test"}
INVENTORY = ROOT / "tests/integration/targets/load/inventory.yml"
USERS, DEVICES = 500, 3
PASSWORD = "correct-horse"
#: The controller's addresses: the first is everybody's, the others guess passwords.
CLIENT, GUESSERS = ipv4(1), [ipv4(number) for number in (4, 5, 7, 8)]
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
#: What a control group says of its memory, in version 1 and in the unified hierarchy: what is taken, what of it is files that can be read
#: again, and how many processes were killed for want of it.
GROUP = "cd /sys/fs/cgroup; test ! -d memory || cd memory; cat memory.{usage_in_bytes,current,stat,oom_control,events} 2>/dev/null; true"
#: Seconds to wait for what must come.
PATIENCE = 600
ANY = ssl.create_default_context()
ANY.check_hostname = False
ANY.verify_mode = ssl.CERT_NONE


# --- The host ---


class Host:
    """The host under test, built when it is not there."""

    inventory = INVENTORY

    def __init__(self, suite: str, mta: str) -> None:
        self.name, self.mta = NAMES[suite], mta
        self.domain = self.name.partition(".")[2]
        self.machine = Inventory().host(self.name)
        self.address = ipv4(self.machine.number)
        self.users = [f"u{number}@{self.domain}" for number in range(USERS)]
        self.sizes = sizing.sizes(self.machine.memory, self.machine.cores, USERS, {})

    def run(self, command: str, check: bool = True) -> str:
        """Run a shell command as root; return what it printed."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes", "ConnectTimeout=60")
        words = ["ssh", "-i", f"{STATE}/ssh/id_ed25519", *(f"-o{option}" for option in options), f"root@{self.address}", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, errors="replace")
        if check and done.returncode:
            raise SystemExit(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ansible(self, program: str, *words: str | Path) -> str:
        """Run a program of Ansible with this host's inventory; return what it printed."""
        inventories = ("-i", ROOT / "tests/testnet/inventory.yml", "-i", self.inventory)
        done = subprocess.run([ROOT / "tests/testnet/inside", program, *inventories, "-e", f"mail_mta={self.mta}", *words],
                              capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-6000:] + done.stderr[-2000:])
        return done.stdout

    def facts(self) -> dict[str, Any]:
        """Return what the collection finds out about the host."""
        found = self.ansible("ansible", self.name, "-m", "postmaster.mail.host_info")
        return yaml.safe_load(found.partition("=>")[2])["ansible_facts"]["postmaster_mail"]

    def build(self, keep: bool = False) -> None:
        """Build a fresh host, or keep the one that is there."""
        if not (keep and machine.running(self.machine) and self.run(f"test -e /root/load-{self.mta}; echo $?").strip() == "0"):
            testnet("destroy", self.name)
            testnet("boot", self.name)
            self.ansible("ansible-playbook", "--limit", self.name, ROOT / "playbooks/site.yml")
            self.run(f"touch /root/load-{self.mta}")
        raise_inotify(self.sizes["inotify_instances"])

    def memory(self) -> dict[str, float]:
        """Return MiB of PSS by unit."""
        text = (ROOT / "tests/bench/memory.py").read_text(encoding="utf-8")
        return {unit: kib / 1024 for unit, kib in json.loads(self.run(f"python3 -c '{text}'")).items()}

    def whole_memory(self) -> tuple[float, int]:
        """Return the MiB that the host takes, the kernel's for it included and files apart, and how many processes were killed for want."""
        lines = [line.split() for line in self.run(f"bash -c '{GROUP}'").splitlines()]
        taken = next(int(line[0]) for line in lines if len(line) == 1)
        named = {line[0]: int(line[1]) for line in lines if len(line) == 2}
        files = sum(named.get(f"total_{name}", named[name]) for name in ("active_file", "inactive_file"))
        return (taken - files) / 2**20, named["oom_kill"]

    def queue(self) -> int:
        """Return how many messages, or recipients, wait in the queue."""
        return int(self.run({"postfix": "postqueue -j | wc -l", "opensmtpd": "smtpctl show queue | wc -l"}[self.mta]))


def raise_inotify(instances: int) -> None:
    """Allow what the role has asked for: a container cannot change its machine's kernel."""
    if int(INOTIFY.read_text(encoding="ascii")) < instances:
        INOTIFY.write_text(str(instances), encoding="ascii")


def testnet(*words: str) -> None:
    done = subprocess.run([ROOT / "tests/testnet/testnet", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


# --- SMTP ---


def sessions_at_once(host: Host, port: int, count: int, user: str = "") -> tuple[collections.Counter[str], float]:
    """Open so many sessions, ask for a recipient in each, and close them when all are answered.

    :returns: the answers, and the seconds of the slowest
    """
    everyone = threading.Barrier(count)

    def ask(number: int) -> tuple[str, float]:
        began = time.monotonic()
        try:
            with smtplib.SMTP(host.address, port, "client.test", PATIENCE, (CLIENT, 0)) as session:
                session.starttls(context=ANY)
                session.ehlo()
                if user:
                    session.login(user, PASSWORD)
                session.mail(user or "outside@client.test")
                code, words = session.rcpt(host.users[number])
                seconds = time.monotonic() - began
                everyone.wait(PATIENCE)
                return "250" if code == 250 else f"{code} {words.decode()}", seconds
        except (OSError, smtplib.SMTPException, threading.BrokenBarrierError) as exc:
            everyone.abort()
            return f"{type(exc).__name__}: {exc}", time.monotonic() - began

    with ThreadPoolExecutor(count) as pool:
        found = list(pool.map(ask, range(count)))
    return collections.Counter(answer for answer, _seconds in found), max(seconds for _answer, seconds in found)


def burst(host: Host, recipient: str, count: int, connections: int = 20) -> tuple[float, float, list[str]]:
    """Submit so many messages to a list, and wait until none of them is in the queue.

    :returns: the seconds until all were taken, the seconds until all were delivered, and what went wrong
    """
    left = iter(range(count))
    lock = threading.Lock()
    wrong: list[str] = []
    began = time.monotonic()

    def send(number: int) -> None:
        user = host.users[number]
        try:
            with smtplib.SMTP(host.address, 587, "client.test", PATIENCE) as session:
                session.starttls(context=ANY)
                session.login(user, PASSWORD)
                while True:
                    with lock:
                        message = next(left, None)
                    if message is None:
                        return
                    token = secrets.token_hex(8)
                    text = (f"From: {user}\r\nTo: {recipient}\r\nSubject: burst {message}\r\nDate: {email.utils.formatdate()}\r\n"
                            f"Message-ID: <{token}@{host.domain}>\r\n\r\nThe harbour was quiet when we came back.\r\n")
                    session.sendmail(user, [recipient], text)
        except (OSError, smtplib.SMTPException) as exc:
            wrong.append(f"{type(exc).__name__}: {exc}")

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(send, range(connections)))
    taken = time.monotonic() - began
    while host.queue() and time.monotonic() - began < PATIENCE:
        time.sleep(0.2)  # a queue has no event to wait for
    return taken, time.monotonic() - began, wrong


# --- IMAP ---


@dataclasses.dataclass
class Session:
    """An IMAP session: of whom, how long its log-in took, and what there is to read and write."""

    user: str
    seconds: float
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def command(self, tag: str, words: str, until: str = "") -> str:
        """Send a command; return the line that answers it."""
        self.writer.write(f"{tag} {words}\r\n".encode())
        return await self.line(until or f"{tag} ")

    async def line(self, start: str, end: str = "") -> str:
        """Wait for a line that begins and ends like this.

        :raises OSError: the session was closed
        """
        while line := await self.reader.readline():
            if line.decode(errors="replace").startswith(start) and line.decode(errors="replace").strip().endswith(end):
                return line.decode(errors="replace").strip()
        raise OSError("closed by the server")

    async def wait_for_mail(self) -> None:
        await self.command("s", "SELECT INBOX")
        await self.command("i", "IDLE", "+")

    async def stop_waiting(self) -> str:
        """Return the line that ends IDLE (RFC 2177)."""
        self.writer.write(b"DONE\r\n")
        return await self.line("i ")

    def close(self) -> None:
        self.writer.close()


async def log_in(host: Host, user: str, password: str = PASSWORD, source: str = CLIENT) -> Session:
    """Log in over TLS.

    :raises PermissionError: refused
    :raises OSError: closed, or not connected
    """
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(host.address, 993, ssl=ANY, local_addr=(source, 0))
    session = Session(user, 0, reader, writer)
    try:
        await session.line("* ")
        answer = await session.command("a", f"LOGIN {user} {password}")
    except BaseException:
        session.close()
        raise
    if not answer.startswith("a OK"):
        session.close()
        raise PermissionError(answer)
    session.seconds = time.monotonic() - began
    return session


async def at_rate(rate: float, tasks: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Begin so many tasks a second, and return what came of each, exceptions too."""
    began, running = time.monotonic(), []
    for number, task in enumerate(tasks):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        running.append(asyncio.ensure_future(task()))
    return await asyncio.gather(*running, return_exceptions=True)


@contextlib.asynccontextmanager
async def waiting_sessions(host: Host, rate: float) -> AsyncIterator[tuple[list[Session], list[BaseException]]]:
    """All devices of all users, logged in at this rate, waiting for new mail; and what went wrong."""

    async def device(user: str) -> Session:
        session = await log_in(host, user)
        await session.wait_for_mail()
        return session

    found = await at_rate(rate, [lambda user=user: device(user) for _ in range(DEVICES) for user in host.users])
    sessions = [entry for entry in found if isinstance(entry, Session)]
    try:
        yield sessions, [entry for entry in found if isinstance(entry, BaseException)]
    finally:
        for session in sessions:
            session.close()


@contextlib.contextmanager
def guessers(host: Host, connections: int = 5) -> Iterator[collections.Counter[str]]:
    """Guess passwords from several addresses, over so many connections of each, until the block ends."""
    counts: collections.Counter[str] = collections.Counter()
    end = threading.Event()

    async def guess(source: str, number: int) -> None:
        while not end.is_set():
            try:
                (await log_in(host, host.users[number], secrets.token_hex(6), source)).close()
                counts["let in"] += 1
            except PermissionError:
                counts["refused"] += 1
            except OSError:
                counts["not connected"] += 1
                await asyncio.sleep(0.2)

    async def everyone() -> None:
        await asyncio.gather(*(guess(source, number) for source in GUESSERS for number in range(connections)))

    thread = threading.Thread(target=lambda: asyncio.run(everyone()))
    thread.start()
    try:
        yield counts
    finally:
        end.set()
        thread.join()


async def logins(host: Host, rate: float, users: list[str]) -> list[float | BaseException]:
    """Log in and out, at this rate; return the seconds of each, or why it failed."""

    async def once(user: str) -> float:
        session = await log_in(host, user)
        session.close()
        return session.seconds

    return await at_rate(rate, [lambda user=user: once(user) for user in users])


def slowest(found: list[float | BaseException]) -> str:
    """Return how long log-ins took, for people."""
    seconds = sorted(entry for entry in found if isinstance(entry, float))
    wrong = collections.Counter(repr(entry)[:80] for entry in found if not isinstance(entry, float))
    if not seconds:
        return f"none of {len(found)}: {dict(wrong)}"
    words = f"median {statistics.median(seconds):.2f} s, of 99 in 100 at most {seconds[len(seconds) * 99 // 100]:.2f} s"
    return words + (f"; {sum(wrong.values())} failed: {dict(wrong.most_common(2))}" if wrong else "")


# --- What is measured ---


def more_files() -> None:
    """Let this process have a file for each client."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))


async def measure_imap(host: Host, say: Callable[[str, str], None]) -> None:
    """1,500 sessions that wait for new mail."""
    before = sum(host.memory().values())
    began = time.monotonic()
    async with waiting_sessions(host, 40) as (sessions, wrong):
        seconds = time.monotonic() - began
        say("IMAP sessions that wait for new mail", f"{len(sessions)} after {seconds:.0f} s, {len(wrong)} failed {wrong[:2]}")
        say("  log-in", slowest([session.seconds for session in sessions]))
        await asyncio.sleep(3 * host.sizes["dovecot_hibernate_seconds"])
        after = sum(host.memory().values())
        say("  memory of the host", f"{after:.0f} MiB, {before:.0f} before: {(after - before) / max(1, len(sessions)):.2f} MiB for each")
        say("  with the kernel's", f"{host.whole_memory()[0]:.0f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=list(NAMES), default="trixie")
    parser.add_argument("--mta", choices=["postfix", "opensmtpd"], default="postfix")
    parser.add_argument("--keep", action="store_true", help="use the host that is there")
    options = parser.parse_args()
    host = Host(options.suite, options.mta)

    def say(what: str, found: str) -> None:
        print(f"{what:<44}{found}", flush=True)

    more_files()
    testnet("up")
    with machine.inside_network():
        host.build(options.keep)
        print(f"{host.name}, {options.mta}, {host.machine.memory} MiB; {os.cpu_count()} processors for all clients and the host")
        for count, port, user in ((60, 25, ""), (30, 587, host.users[0])):
            answers, seconds = sessions_at_once(host, port, count, user)
            say(f"{count} sessions at once on {port}", f"{dict(answers)}, the slowest after {seconds:.1f} s")
        asyncio.run(measure_imap(host, say))
        say("40 log-ins a second, of 400", slowest(asyncio.run(logins(host, 40, host.users[:400]))))
        with guessers(host) as counts:
            say("  while 20 clients guess passwords", slowest(asyncio.run(logins(host, 40, host.users[:400]))))
            say("  guesses", str(dict(counts)))
        for recipient, count in ((f"all@{host.domain}", 1), (f"team@{host.domain}", 200)):
            taken, delivered, wrong = burst(host, recipient, count)
            say(f"{count} messages to {recipient}", f"taken after {taken:.1f} s, delivered after {delivered:.1f} s, {len(wrong)} failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
