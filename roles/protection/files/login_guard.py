# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts wrong passwords and reports who guesses, for fail2ban, which reads its log, to nftables or to pf.

Counted are different pairs of a name and a password that fail from one address, or one network of IPv6. A telephone that tries an old
password for ever is one pair, and a password that was right once is none; who guesses gives many names, or many passwords. Each account
that logs in from an address allows for one more pair there: an office makes more mistakes than a household.

Dovecot reports every log-in as to a policy server (auth_policy_server_url), with a keyed hash of the password; OpenSMTPD's filter does by
datagrams. Both are asked for what nobody else has: the one for a secret, the other for being in the group of the socket.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import grp
import hmac
import ipaddress
import json
import os
import pwd
import re
import socket
import socketserver
import subprocess
import sys
import syslog
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

DAY = 86400
#: Seconds after a report in which a network is refused here as well: what bans it takes a moment, and guesses come in parallel.
MEANWHILE = 3
#: Seconds that the two reports of one wrong password may be apart.
APART = 30
#: Networks, accounts of one network, names that wait for a reason, and passwords that are remembered; the oldest are forgotten first.
NETWORKS, ACCOUNTS, NAMES, PASSWORDS = 10_000, 500, 1_000, 20_000
#: Of a password that is not reported (OpenSMTPD hides that of AUTH LOGIN), so many tries for one name count as one.
TRIES = 5
#: What is read of a request, and of a name in it; how many connections are served.
LONGEST, LONGEST_NAME, CONNECTIONS = 8192, 320, 200
#: One IPv6 address comes with the 64 bits below its network.
PREFIXES = {4: 32, 6: 64}
#: An answer of a policy server (doc.dovecot.org, authentication policy): whether the password is verified at all.
ALLOWED, REFUSED = {"status": 0, "msg": ""}, {"status": -1, "msg": "Too many wrong passwords"}


class Recent(collections.OrderedDict):
    """What was seen lately, each with the time of its last sight: the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float], seconds: float, most: int) -> None:
        """Keep entries so many seconds, and so many of them."""
        super().__init__()
        self.clock, self.seconds, self.most = clock, seconds, most

    def see(self, key: Any, value: Any = None) -> None:
        self[key] = (self.clock(), value)
        self.move_to_end(key)
        while len(self) > self.most:
            self.popitem(last=False)

    def current(self) -> Recent:
        """Forget what is too old, and return what is left."""
        while self and next(iter(self.values()))[0] <= self.clock() - self.seconds:
            self.popitem(last=False)
        return self


class Network:
    """What was seen of one address, or one network of IPv6: wrong pairs, and accounts that have logged in."""

    def __init__(self, clock: Callable[[], float], window: float, most: int) -> None:
        self.pairs = Recent(clock, window, most + ACCOUNTS)
        self.tries = Recent(clock, window, most + ACCOUNTS)
        self.accounts = Recent(clock, DAY, ACCOUNTS)


class Guesses:
    """The wrong passwords of all networks."""

    def __init__(self, most: int, window: float, rate: int, trusted: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Take how many different pairs within how many seconds are guesses, how often in a minute one of them is verified, and networks
        that are not counted."""
        self.most, self.window, self.rate, self.clock = most, window, rate, clock
        self.trusted = [ipaddress.ip_network(text) for text in trusted]
        self.networks = Recent(clock, DAY, NETWORKS)
        self.right = Recent(clock, 30 * DAY, PASSWORDS)
        self.reported = Recent(clock, MEANWHILE, NETWORKS)
        # By address and name: passwords that failed for a reason not told yet, and how many reasons were told of unknown passwords.
        self.unexplained = Recent(clock, APART, NAMES)
        self.explained = Recent(clock, APART, NAMES)
        self.minute, self.wrong = -1, collections.Counter()

    def network(self, address: str) -> str:
        """Return the network that an address is counted with; none for one that is not counted."""
        try:
            # A neighbour on the link is not counted: its address says nothing outside of that.
            found = ipaddress.ip_address(address)
            found = getattr(found, "ipv4_mapped", None) or found
            if "%" in address or any(found in trusted for trusted in self.trusted):
                return ""
            return str(ipaddress.ip_network((found, PREFIXES[found.version]), strict=False))
        except ValueError:
            return ""

    def seen(self, network: str) -> Network:
        entry = self.networks.current().get(network)
        found = entry[1] if entry else Network(self.clock, self.window, self.most)
        self.networks.see(network, found)
        return found

    def tried(self) -> collections.Counter:
        """Return how often each pair was wrong in this minute, by network, name and password."""
        minute = int(self.clock() // 60)
        if minute != self.minute:
            self.minute = minute
            self.wrong.clear()
        return self.wrong

    def allows(self, address: str, name: str, password: str) -> bool:
        """Tell whether a password is verified at all. That costs time, which others wait for."""
        network = self.network(address)
        if not network:
            return True
        return network not in self.reported.current() and self.tried()[network, name.lower(), password] < self.rate

    def succeed(self, address: str, name: str, password: str | None) -> None:
        name = name.lower()
        if password:
            self.right.current().see((name, password))
        network = self.network(address)
        if network and name:
            client = self.seen(network)
            client.accounts.see(name)
            client.pairs.pop((name, password), None)

    def fail(self, address: str, name: str, password: str | None) -> str:
        """Count a wrong password; return what is to be reported, if its network guesses.

        :param password: a hash of it, or None where nobody knows
        """
        name, network = name.lower(), self.network(address)
        if not network or not name:
            return ""
        self.tried()[network, name, password] += 1
        if (name, password) in self.right.current():
            return ""
        client = self.seen(network)
        if password is None:
            tries = [moment for moment in client.tries.current().get(name, (0, []))[1] if moment > self.clock() - self.window]
            client.tries.see(name, [*tries, self.clock()][-TRIES * (self.most + ACCOUNTS):])
            password = f"tries {len(tries) // TRIES}"
        client.pairs.current().see((name, password))
        if len(client.pairs) < self.most + len(client.accounts.current()):
            return ""
        names = ", ".join(sorted({repr(name[:100]) for name, _password in client.pairs})[:10])
        said = f"guesses from {network}: {len(client.pairs)} wrong passwords within {int(self.window)} s for {names}"
        client.pairs.clear()
        client.tries.clear()
        self.reported.see(network)
        return said

    def report(self, given: dict[str, Any]) -> str:
        """Take a policy report of Dovecot's, or one of our filter; return what is to be logged, if anything.

        Dovecot 2.3 does not say why a log-in failed, and an error of its own is nobody's guess: its events do (:meth:`event`).
        """
        address, name, password = (given.get(key) for key in ("remote", "login", "pwhash"))
        if not isinstance(address, str) or not isinstance(name, str) or not isinstance(password, (str, type(None))):
            raise ValueError("an address, a name or a hash is no text")
        name = name[:LONGEST_NAME]
        if given.get("success") is True:
            self.succeed(address, name, password)
            return ""
        if given.get("policy_reject"):
            return ""
        if "fail_type" in given:
            return self.fail(address, name, password) if given["fail_type"] in ("credentials", "account") else ""
        key = (address, name.lower())
        reasons = self.explained.current().get(key, (0, 0))[1]
        if reasons:
            self.explained.see(key, reasons - 1)
            return self.fail(address, name, password)
        self.unexplained.see(key, [*self.unexplained.current().get(key, (0, []))[1], password][-100:])
        return ""

    def event(self, given: dict[str, Any]) -> str:
        """Take an event of Dovecot 2.3: somebody gave a name that nobody has, or a password that is not the name's.

        It needs no secret: alone it counts nobody.
        """
        fields = given.get("fields")
        if not isinstance(fields, dict) or not isinstance(fields.get("remote_ip"), str):
            raise ValueError("an event without an address")
        # A name is reported as it was given, and is another one here where Dovecot has translated it.
        names = {name[:LONGEST_NAME].lower() for name in (fields.get("user"), fields.get("original_user")) if isinstance(name, str)}
        for key in ((fields["remote_ip"], name) for name in names):
            first, *others = self.unexplained.current().get(key, (0, []))[1] or [None]
            if first is not None:
                self.unexplained.see(key, others)
                return self.fail(*key, first)
        for key in ((fields["remote_ip"], name) for name in names):
            self.explained.see(key, min(100, 1 + self.explained.current().get(key, (0, 0))[1]))
        return ""


# --- Talking to others ---


class Guard:
    """What all connections share."""

    def __init__(self, guesses: Guesses, secret: str, log: Callable[[str], None], ban: Callable[[str], None]) -> None:
        self.guesses, self.secret, self.log, self.ban = guesses, secret, log, ban
        self.lock = threading.Lock()
        self.free = threading.BoundedSemaphore(CONNECTIONS)

    def say(self, said: str) -> None:
        if said:
            self.log(said)
            self.ban(said.split(": ")[0].rpartition(" ")[2])

    def answer(self, target: str, secret: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the answer to a request.

        :param target: its path and query
        """
        known = hmac.compare_digest(secret.encode(), self.secret.encode())
        if not known and target != "/event":
            return 403, {}
        given = json.loads(body)
        if not isinstance(given, dict):
            raise ValueError("no object")
        with self.lock:
            if target == "/event":
                self.say(self.guesses.event(given))
            elif target == "/?command=allow":
                asked = (str(given.get("remote")), str(given.get("login"))[:LONGEST_NAME], str(given.get("pwhash")))
                return 200, ALLOWED if self.guesses.allows(*asked) else REFUSED
            elif target == "/?command=report":
                self.say(self.guesses.report(given))
            else:
                return 404, {}
        return 200, ALLOWED

    def datagram(self, octets: bytes) -> None:
        """Take a report of our filter."""
        given = json.loads(octets)
        if not isinstance(given, dict):
            raise ValueError("no object")
        with self.lock:
            self.say(self.guesses.report(given))


class Handler(socketserver.StreamRequestHandler):
    """One connection, with requests of HTTP/1.1 (RFC 9112) one after the other, as Dovecot makes them."""

    timeout = 5

    def handle(self) -> None:
        guard: Guard = self.server.guard
        if not guard.free.acquire(blocking=False):
            return
        try:
            while self.request_served(guard):
                # Who has shown the secret may stay, longer than Dovecot keeps an idle connection.
                self.connection.settimeout(60)
        except (OSError, ValueError) as exc:
            if not isinstance(exc, OSError):
                self.reply(400, {})
                guard.log(f"a request is not understood: {exc}")
        finally:
            guard.free.release()

    def request_served(self, guard: Guard) -> bool:
        """Answer one request; tell whether another one may follow.

        :raises ValueError: it is none
        """
        lines = list(self.head())
        if not lines:
            return False
        request = re.fullmatch(r"POST (\S+) HTTP/1\.[01]", lines[0])
        fields = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines[1:])}
        length = fields.get("content-length", "")
        if not request or not re.fullmatch("[0-9]{1,6}", length) or int(length) > LONGEST:
            raise ValueError("no POST of a known length")
        status, answer = guard.answer(request[1], fields.get("authorization", ""), self.rfile.read(int(length)))
        self.reply(status, answer)
        return status == 200 and request[1] != "/event"

    def head(self) -> Iterator[str]:
        left = LONGEST
        while left > 0:
            line = self.rfile.readline(left)
            left -= len(line)
            if line in (b"\r\n", b"\n", b""):
                return
            yield line.decode("latin-1").rstrip("\r\n")
        raise ValueError("its head is too long")

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        reason = "OK" if status == 200 else "Refused"
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with contextlib.suppress(OSError):
            self.wfile.write(head.encode() + body)


class Server(socketserver.ThreadingTCPServer):
    """Listens where only programs of this host can connect."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


def receive(source: socket.socket, guard: Guard) -> None:
    """Take reports of our filter, for ever."""
    while True:
        octets = source.recv(LONGEST)
        try:
            guard.datagram(octets)
        except ValueError as exc:
            guard.log(f"a report is not understood: {exc}")


def reports_socket(path: str, group: str) -> socket.socket:
    """Return a socket that members of a group can write to."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    source = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    before = os.umask(0o117)
    try:
        source.bind(path)
    finally:
        os.umask(before)
    os.chown(path, -1, grp.getgrnam(group).gr_gid)
    return source


def ban_with_pf(reader: Iterable[str], table: str) -> None:
    """Put networks into a table of pf, and end what they have open. Runs as root; what it is told is a network or nothing."""
    anchor, _colon, name = table.partition(":")
    for line in reader:
        network = str(ipaddress.ip_network(line.strip()))
        for command in (["-q", "-a", anchor, "-t", name, "-T", "add", network], ["-q", "-k", network]):
            subprocess.run(["/sbin/pfctl", *command], check=False, stdin=subprocess.DEVNULL)


def ban_with_nft(table: str, network: str, seconds: int) -> None:
    """Put a network into a set of nftables, which takes it out again, with the rights that this process has."""
    found = ipaddress.ip_network(network)
    element = f"{{ {found} timeout {seconds}s }}"
    command = ["/usr/sbin/nft", "add", "element", "inet", table, f"banned{found.version}", element]
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL)


def drop_privileges(user: str) -> None:
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def one_line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def read_secret(source: str) -> str:
    """Return the secret in Dovecot's configuration: the value of the header that it sends.

    :raises SystemExit: there is none
    """
    with open(0 if source == "-" else source, encoding="utf-8") as file:
        found = re.search(r"(?m)^auth_policy_server_api_header = Authorization: *(\S+)$", file.read())
    if not found:
        raise SystemExit(f"no secret in {source}")
    return found[1]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Counts wrong passwords and reports who guesses.")
    parser.add_argument("--secret", required=True, help="Dovecot's configuration with the secret that it shows; - for standard input")
    parser.add_argument("--port", type=int, required=True, help="port of the loopback address that Dovecot reports to")
    parser.add_argument("--socket", default="", help="socket that OpenSMTPD's filter reports to; empty for none")
    parser.add_argument("--group", default="", help="the group that may write to it")
    parser.add_argument("--most", type=int, required=True, help="different wrong passwords of one network that are guesses")
    parser.add_argument("--window", type=int, required=True, help="the seconds within which they are")
    parser.add_argument("--rate", type=int, required=True, help="how often in a minute one wrong password of one account is verified")
    parser.add_argument("--trusted", action="append", default=[], help="a network that is not counted; may be repeated")
    parser.add_argument("--pf", default="", help="anchor:table of pf that takes who guesses; empty: it is logged only")
    parser.add_argument("--nft", default="", help="table of nftables whose sets banned4 and banned6 take who guesses; empty: none")
    parser.add_argument("--ban-seconds", type=int, default=3600, help="how long they keep a network")
    parser.add_argument("--user", default="", help="account to run as, all but what talks to pf; empty: as it was started")
    parser.add_argument("--syslog", action="store_true", help="log to syslog, facility mail, and not to standard error")
    parser.add_argument("--check", action="store_true", help="say nothing and end: this program can run here")
    return parser


def main() -> int:
    options = arguments().parse_args()
    guesses = Guesses(options.most, options.window, options.rate, options.trusted)
    if options.check:
        return 0
    secret = read_secret(options.secret)
    source = reports_socket(options.socket, options.group) if options.socket else None
    server = Server(("127.0.0.1", options.port), Handler)
    write_end = -1
    if options.pf:
        read_end, write_end = os.pipe()
        if os.fork():
            # The parent stays root, and ends when the child does.
            os.close(write_end)
            server.socket.close()
            with open(read_end, encoding="ascii") as reader:
                ban_with_pf(reader, options.pf)
            return 1
        os.close(read_end)
    if options.user:
        drop_privileges(options.user)
    if options.syslog:
        syslog.openlog("postmaster-mail-login-guard", syslog.LOG_PID, syslog.LOG_MAIL)

    def log(text: str) -> None:
        with contextlib.suppress(OSError):
            if options.syslog:
                syslog.syslog(syslog.LOG_INFO, one_line(text))
            else:
                print(one_line(text), file=sys.stderr, flush=True)

    def ban(network: str) -> None:
        if options.pf:
            os.write(write_end, f"{network}\n".encode())
        if options.nft:
            ban_with_nft(options.nft, network, options.ban_seconds)

    server.guard = guard = Guard(guesses, secret, log, ban)
    if source:
        threading.Thread(target=receive, args=(source, guard), daemon=True).start()
    server.serve_forever()
    return 1


if __name__ == "__main__":
    sys.exit(main())
