# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real name servers on loopback addresses and high ports, each in a directory of its own and stopped at the end."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5MDE="
OTHER_SECRET = "YW5vdGhlci1zZWNyZXQtb2YtdGhlLXRlc3RzLTAxMjM="
KEYS = ("mail-update", "no-rights")


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that is free for both UDP and TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind((address, 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind((address, port))
            except OSError:
                continue
            return port


class Daemon:
    """A name server process; ``start`` returns once it answers for ``zone``."""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        self.directory = directory
        self.address = address
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self, zone: str) -> None:
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            query = dns.message.make_query(zone, "SOA")
            try:
                reply = dns.query.tcp(query, self.address, port=self.port, timeout=1)
            except (OSError, dns.exception.DNSException):
                time.sleep(0.05)
                continue
            if reply.rcode() == dns.rcode.NOERROR and reply.flags & dns.flags.AA:
                return
            time.sleep(0.05)
        self.stop()
        raise AssertionError(f"{self.argv()[0]} does not answer for {zone}:\n{self.log()}")

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def pause(self) -> None:
        """Answer nothing until :meth:`go_on`, as a host that hangs."""
        self.process.send_signal(19)

    def go_on(self) -> None:
        self.process.send_signal(18)


def zone_text(zone: str, *lines: str, ns6: str | None = "::1") -> str:
    """Return a small zone with one name server, ns1, at the loopback addresses."""
    head = [
        "$TTL 3600",
        "@ IN SOA ns1 hostmaster 1 7200 3600 1209600 300",
        "  IN NS ns1",
        "ns1 IN A 127.0.0.1",
        *([f"ns1 IN AAAA {ns6}"] if ns6 else []),
    ]
    return "\n".join([f"$ORIGIN {zone}.", *head, *lines]) + "\n"


class Named(Daemon):
    """BIND. Zones are dictionaries of name to (text, further lines of its configuration)."""

    def __init__(
        self, directory: Path, address: str, port: int, zones: dict[str, tuple[str, str]], options: str = "", ipv6: str = "none"
    ) -> None:
        super().__init__(directory, address, port)
        ipv4, ipv6 = ("none", address) if ":" in address else (address, ipv6)
        keys = "".join(f'key "{key}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n' for key in KEYS)
        blocks = []
        for zone, (text, lines) in zones.items():
            if text:
                (directory / f"{zone}.zone").write_text(text)
            blocks.append(f'zone "{zone}" {{ file "{zone}.zone"; {lines} }};\n')
        (directory / "named.conf").write_text(
            f"""{keys}
controls {{ }};
logging {{ category default {{ default_stderr; }}; }};
options {{
    directory "{directory}";
    pid-file "{directory}/named.pid";
    session-keyfile "{directory}/session.key";
    lock-file none;
    listen-on port {port} {{ {ipv4}; }};
    listen-on-v6 port {port} {{ {ipv6}; }};
    dnssec-validation no;
    empty-zones-enable no;
    notify-delay 0;
    {options}
}};
{"".join(blocks)}"""
        )

    def argv(self) -> list[str]:
        return ["/usr/sbin/named", "-g", "-n", "1", "-c", str(self.directory / "named.conf")]


class Knot(Daemon):
    """Knot DNS; every zone may be updated with the first key."""

    def __init__(self, directory: Path, address: str, port: int, zones: dict[str, str]) -> None:
        super().__init__(directory, address, port)
        keys = "".join(f"  - id: {key}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n" for key in KEYS)
        for zone, text in zones.items():
            (directory / f"{zone}.zone").write_text(text)
        (directory / "knot.conf").write_text(
            f"""server:
    rundir: {directory}
    listen: {address}@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {directory}
key:
{keys}acl:
  - id: update
    key: {KEYS[0]}
    action: update
template:
  - id: default
    storage: {directory}
    file: "%s.zone"
    acl: update
zone:
"""
            + "".join(f"  - domain: {zone}\n" for zone in zones)
        )

    def argv(self) -> list[str]:
        return ["/usr/sbin/knotd", "-c", str(self.directory / "knot.conf")]


class Nsd(Daemon):
    """NSD, which has no dynamic updates: it serves zone files, and reads them again on SIGHUP."""

    def __init__(self, directory: Path, address: str, port: int, zones: dict[str, str]) -> None:
        super().__init__(directory, address, port)
        for zone, text in zones.items():
            (directory / f"{zone}.zone").write_text(text)
        (directory / "nsd.conf").write_text(
            f"""server:
    ip-address: {address}@{port}
    ip-address: ::1@{port}
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zone.list"
    zonefiles-check: yes
    server-count: 1
remote-control:
    control-enable: no
"""
            + "".join(f'zone:\n    name: {zone}\n    zonefile: "{zone}.zone"\n' for zone in zones)
        )

    def argv(self) -> list[str]:
        return ["/usr/sbin/nsd", "-d", "-c", str(self.directory / "nsd.conf")]
