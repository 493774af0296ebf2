# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release of OpenBSD for those who install it and its packages: over HTTP, from a directory or from a mirror.

What a mirror has is fetched once and kept. `python3 media.py NAMESPACE ADDRESS PORT SOURCE CACHE` serves it to a namespace
until it is ended; the mirror is asked from where the process itself is.
"""

from __future__ import annotations

import http.server
import os
import pathlib
import shutil
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from testnet_lib import autoinstall, machine


class Release:
    """The files of one release."""

    def __init__(self, source: str, cache: pathlib.Path) -> None:
        """:param source: the directory or the URL of a release, such as .../7.9"""
        self.source = source.rstrip("/")
        self.number = autoinstall.release(source)
        self.remote = "://" in source
        self.top = cache / self.number if self.remote else pathlib.Path(self.source)
        self._lock = threading.Lock()

    def check(self) -> None:
        """Leave with a plain message unless there is what an installation begins with."""
        short = self.number.replace(".", "")
        sets = () if self.remote else ("amd64/bsd", f"amd64/base{short}.tgz", f"amd64/man{short}.tgz")
        for name in ("amd64/pxeboot", "amd64/bsd.rd", *sets):
            if self.find(name) is None:
                raise SystemExit(f"testnet: POSTMASTER_MAIL_OPENBSD is {self.source!r}, and there is no {name}")

    def find(self, name: str) -> pathlib.Path | None:
        """Return a file of the release, fetched if need be; None if there is none."""
        path = self.top / name
        if not path.resolve().is_relative_to(self.top.resolve()):
            return None
        if path.is_file():
            return path
        return self._fetch(name, path) if self.remote and not name.endswith("/") else None

    def _fetch(self, name: str, path: pathlib.Path) -> pathlib.Path | None:
        with self._lock:
            if path.is_file():
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                with urllib.request.urlopen(f"{self.source}/{name}", timeout=60) as answer, open(unfinished, "wb") as output:
                    shutil.copyfileobj(answer, output)
                    if output.tell() != int(answer.headers.get("Content-Length") or output.tell()):
                        raise OSError(f"{self.source}/{name} was cut off")
                unfinished.rename(path)
            except urllib.error.HTTPError as exc:
                if exc.code in (403, 404):
                    return None
                raise
            finally:
                unfinished.unlink(missing_ok=True)
            return path

    def index(self) -> str:
        """Return index.txt of the sets where the release has none."""
        return autoinstall.index({path.name: path.stat().st_size for path in (self.top / "amd64").iterdir() if path.is_file()})


def serve(listening: socket.socket, release: Release, texts: dict[str, str]) -> http.server.ThreadingHTTPServer:
    """Answer for a release, in threads of their own, until ``shutdown`` is called.

    :param texts: further files, path to content
    :returns: the server; its ``asked`` lists the paths that were asked for, with the status
    """
    prefix = f"/{autoinstall.PATH}/{release.number}/"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self._wanted()
            body: bytes | pathlib.Path | None = texts[path].encode() if path in texts else None
            try:
                if body is None and path.startswith(prefix):
                    body = release.find(path[len(prefix):])
                    if body is None and path == f"{prefix}amd64/index.txt" and not release.remote:
                        body = release.index().encode()
            except OSError as exc:
                self._answer(502, f"{exc}\n".encode())
                return
            self._answer(404 if body is None else 200, b"" if body is None else body)

        do_HEAD = do_GET

        def _wanted(self) -> str:
            return urllib.parse.unquote(self.path.partition("?")[0])

        def _answer(self, status: int, body: bytes | pathlib.Path) -> None:
            server.asked.append((self._wanted(), status))
            self.send_response(status)
            self.send_header("Content-Length", str(body.stat().st_size if isinstance(body, pathlib.Path) else len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if isinstance(body, pathlib.Path):
                with open(body, "rb") as source:
                    shutil.copyfileobj(source, self.wfile)
            else:
                self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def __init__(self) -> None:
            self.asked: list[tuple[str, int]] = []
            super().__init__(listening.getsockname()[:2], Handler, bind_and_activate=False)
            self.socket.close()
            self.socket = listening

    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def listen(namespace: pathlib.Path, address: str, port: int) -> socket.socket:
    """Return a listening socket in a network namespace."""
    with machine.inside_network(namespace):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
    listening.listen(16)
    return listening


def main() -> None:
    """Serve until ended."""
    namespace, address, port, source, cache = sys.argv[1:]
    serve(listen(pathlib.Path(namespace), address, int(port)), Release(source, pathlib.Path(cache)), {})
    threading.Event().wait()


if __name__ == "__main__":
    main()
