# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict of testssl (https://testssl.sh) on every port with TLS."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import pathlib
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator

from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import CheckFailed
from ansible_collections.postmaster.mail.plugins.module_utils._checks.session import Server

#: What testssl looks at: protocols, categories of ciphers and renegotiation; and in the slow tests key exchange, the server's choice, its
#: certificate and known vulnerabilities as well. The one takes some 8 s of processor time for each port, the other some 35 s.
QUICK = ["--protocols", "--standard", "--renegotiation"]
EVERYTHING = ["--protocols", "--standard", "--pfs", "--server-preference", "--server-defaults", "--vulnerable"]

#: One port for each configuration that a server has: other servers, users of the MTA, users of Dovecot.
QUICK_PORTS = [25, 465, 993]

#: What it speaks STARTTLS of. Debian 12's does not know ManageSieve's.
STARTTLS = {25: "smtp", 587: "smtp", 143: "imap"}

SEVERE = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")

#: Findings that are no fault of the server's, and why.
EXPLAINED = {
    "cert_validityPeriod": "the authority of the test network gives certificates for five years",
    "cert_revocation": "it names no place that tells of revocations",
}


@contextlib.contextmanager
def begun(server: Server, port: int) -> Iterator[int]:
    """Yield a port of the loopback interface on which TLS begins at once, for one where it begins with STARTTLS."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, CheckFailed), checks.before_tls(server, server.address(), port) as far:
                near = self.request

                def pass_on(source: socket.socket, target: socket.socket) -> None:
                    with contextlib.suppress(OSError):
                        while data := source.recv(16384):
                            target.sendall(data)
                    with contextlib.suppress(OSError):
                        target.shutdown(socket.SHUT_WR)

                back = threading.Thread(target=pass_on, args=(far, near))
                back.start()
                pass_on(near, far)
                back.join()

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Listener(("127.0.0.1", 0), Relay) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
        try:
            yield listener.server_address[1]
        finally:
            listener.shutdown()


def findings(server: Server, port: int, groups: list[str]) -> list[dict[str, str]]:
    """Return what testssl finds at a port, each with ``id``, ``severity`` and ``finding``."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="verify-"))
        address, target = server.address(), port
        options = ["--starttls", STARTTLS[port]] if port in STARTTLS else []
        if checks.TLS_PORTS[port] and not options:
            address, target = "127.0.0.1", stack.enter_context(begun(server, port))
        report = pathlib.Path(directory) / "report.json"
        command = ["testssl", "--quiet", "--warnings", "batch", "--color", "0", "--nodns", "none", "--ip", address]
        command += ["--jsonfile", str(report)]
        command += [*(["--add-ca", server.ca_file] if server.ca_file else []), *groups, *options, f"{server.fqdn}:{target}"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
        if not report.exists():
            raise CheckFailed(f"testssl on port {port} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return json.loads(report.read_text(encoding="utf-8"))


def severe(found: list[dict[str, str]]) -> list[str]:
    return [f"{one['id']} ({one['severity']}): {one['finding']}" for one in found
            if one["severity"] in SEVERE and one["id"] not in EXPLAINED]


def verdict(server: Server, everything: bool) -> str:
    """Return what was found as evidence.

    :raises CheckFailed: something severe, or nothing at all, which is no verdict
    """
    groups, ports = (EVERYTHING, list(checks.TLS_PORTS)) if everything else (QUICK, QUICK_PORTS)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        reports = dict(zip(ports, pool.map(lambda port: findings(server, port, groups), ports)))
    if wrong := {port: severe(found) for port, found in reports.items() if severe(found)}:
        raise CheckFailed(f"testssl: {wrong}")
    for port, found in reports.items():
        if not {"TLS1_2", "cipherlist_aNULL", "secure_renego"} <= {one["id"] for one in found if one["severity"] in ("OK", "INFO")}:
            raise CheckFailed(f"testssl said too little about port {port}: {found}")
    return ", ".join(f"port {port}: {len(found)} findings, none of them severe" for port, found in reports.items())
