# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""httpd(8): the part of httpd.conf(5) that a mail server needs, served for real from its chroot; the rest is refused by line."""

from __future__ import annotations

import dataclasses
import fnmatch
import http.server
import posixpath
import re
import signal
import socket
import socketserver
import ssl
import sys
import threading
import urllib.parse

from simulated.common import Refusal, at, detach, getopt, need_root, title
from simulated.lexer import Parser, load

_USAGE = "usage: httpd [-dnv] [-D macro=value] [-f file]"


@dataclasses.dataclass
class Location:
    """A `location` block, or a server's own settings."""

    pattern: str = "*"
    root: str = ""
    strip: int = 0
    block: tuple[int, str] | None = None
    index: str = "index.html"
    listing: bool = False


@dataclasses.dataclass
class Server:
    """A `server` block."""

    name: str
    line: int
    own: Location = dataclasses.field(default_factory=Location)
    listen: list[tuple[str, int, bool]] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    locations: list[Location] = dataclasses.field(default_factory=list)
    certificate: str = "/etc/ssl/server.crt"
    key: str = "/etc/ssl/private/server.key"


class Grammar(Parser):
    """The grammar; a statement ends with its line."""

    SIGNS = "{}"

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self.servers: list[Server] = []
        self.chroot = "/var/www"

    def parse(self) -> None:
        """Read the file."""
        self.newlines()
        while self.token.kind != "end":
            if self.word("server"):
                self.server()
            elif self.word("chroot"):
                self.chroot = self.string()
            elif self.word("logdir"):
                self.string()
            elif self.word("prefork"):
                self.number(1, 32)
            elif self.word("default"):
                self.need("type")
                self.string()
            elif self.word("include"):
                inner = Grammar(load(self.token.text), self.string())
                inner.parse()
                self.servers += inner.servers
            elif self.word("types"):
                self.types()
            else:
                raise self.error()
            self.end_of_line()
        seen: set[tuple[str, str, int]] = set()
        for server in self.servers:
            if not server.listen:
                raise Refusal(f'{self.token.path}:{server.line}: server "{server.name}": no listen statement')
            for address, port, _tls in server.listen:
                # `*` is both families: whatever else listens on the port under this name is a second definition.
                for other in ("0.0.0.0", "::") if address == "*" else (address,):
                    if (server.name, other, port) in seen:
                        raise Refusal(f'{self.token.path}:{server.line}: server "{server.name}" defined twice')
                    seen.add((server.name, other, port))

    def types(self) -> None:
        self.newlines()
        self.need_sign("{")
        self.newlines()
        while not self.sign("}"):
            while self.token.kind in ("word", "string"):
                self.advance()
            self.end_of_line()

    def body(self, statement) -> None:
        """Read `{ ... }`: one statement in a line."""
        self.newlines()
        self.need_sign("{")
        self.newlines()
        while not self.sign("}"):
            statement()
            if not (self.token.kind == "sign" and self.token.text == "}"):
                self.end_of_line()

    def server(self) -> None:
        server = Server(self.string(), self.token.line)
        self.body(lambda: self.server_statement(server))
        self.servers.append(server)

    def server_statement(self, server: Server) -> None:
        if self.word("listen"):
            self.need("on")
            address = self.string()
            tls = self.word("tls")
            self.need("port")
            text = self.string()
            try:
                port = int(text) if text.isdigit() else socket.getservbyname(text)
            except OSError:
                raise self.error(f"unknown port {text}") from None
            if address not in ("*", "egress", "0.0.0.0", "::") and not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+|[a-z]+[0-9]+", address):
                raise self.error("invalid listen ip: " + address)
            server.listen.append((address, port, tls))
        elif self.word("alias"):
            server.names.append(self.string())
        elif self.word("tls"):
            self.tls(server)
        elif self.word("location"):
            if self.word("match"):
                raise self.error("location match: not simulated")
            if self.word("not"):
                self.need("found")
            location = Location(self.string(), index="")
            self.body(lambda: self.common(location))
            server.locations.append(location)
        elif self.word("hsts"):
            while self.token.kind == "word":
                self.need("max-age", "subdomains", "preload") == "max-age" and self.number()
        else:
            self.common(server.own)

    def tls(self, server: Server) -> None:
        def one() -> None:
            what = self.need("certificate", "key", "ciphers", "dhe", "ecdhe", "protocols", "ocsp", "client", "ticket")
            if what in ("ticket", "client"):
                raise self.error(f"tls {what}: not simulated")
            value = self.string()
            if what == "certificate":
                server.certificate = value
            elif what == "key":
                server.key = value
        if self.token.kind == "sign":
            self.body(one)
        else:
            one()

    def common(self, location: Location) -> None:
        if self.word("root"):
            location.root = self.string()
            if self.word("strip"):
                raise self.error()
        elif self.word("request"):
            self.need("strip")
            location.strip = self.number()
        elif self.word("block"):
            code, target = 0, ""
            if self.word("return"):
                code = self.number(100, 999)
                if self.token.kind in ("word", "string"):
                    target = self.string()
            elif self.word("drop"):
                code = 0
            location.block = (code or 403, target)
        elif self.word("pass"):
            location.block = None
        elif self.word("directory"):
            def one() -> None:
                if self.word("no"):
                    self.need("index", "auto") == "auto" and self.need("index")
                elif self.word("auto"):
                    self.need("index")
                    location.listing = True
                else:
                    self.need("index")
                    location.index = self.string()
            if self.token.kind == "sign":
                self.body(one)
            else:
                one()
        elif self.word("no"):
            self.need("log", "banner")
        elif self.word("log"):
            if self.word("style"):
                self.need("common", "combined", "connection", "forwarded")
            elif self.word("access", "error"):
                self.string()
            else:
                self.need("syslog")
        elif self.word("connection"):
            def limit() -> None:
                self.need("max", "request", "timeout")
                self.word("requests", "request", "body", "timeout")
                self.number()
            if self.token.kind == "sign":
                self.body(limit)
            else:
                limit()
        elif self.token.text in ("fastcgi", "authenticate", "gzip-static", "banner"):
            raise self.error(f"{self.token.text}: not simulated")
        else:
            raise self.error()


def parse(text: str, path: str) -> Grammar:
    """Return what a file says, or refuse with its line."""
    grammar = Grammar(text, path)
    grammar.parse()
    return grammar


def choose(servers: list[Server], port: int, host: str) -> Server | None:
    """Return the server that answers to a name on a port: the first of it that fits, else the first."""
    there = [server for server in servers if any(number == port for _address, number, _tls in server.listen)]
    host = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    for server in there:
        if any(fnmatch.fnmatchcase(host, name) for name in (server.name, *server.names)):
            return server
    return there[0] if there else None


def answer(server: Server, path: str, host: str, query: str = "") -> tuple[int, str, str]:
    """Return what becomes of a request: status, where to (of a redirection), file below the chroot. First matching location wins."""
    clean = posixpath.normpath("/" + urllib.parse.unquote(path).lstrip("/")) + ("/" if path.endswith("/") and path != "/" else "")
    location = next((entry for entry in server.locations if fnmatch.fnmatchcase(clean, entry.pattern)), server.own)
    block = location.block or (server.own.block if location is server.own else None)
    if block:
        values = {"HTTP_HOST": host, "REQUEST_URI": path + (f"?{query}" if query else ""), "DOCUMENT_URI": clean, "QUERY_STRING": query,
                  "SERVER_NAME": server.name, "REQUEST_SCHEME": "http"}
        return block[0], re.sub(r"\$([A-Z_]+)", lambda match: values.get(match[1], ""), block[1]), ""
    parts = clean.split("/")
    stripped = "/" + "/".join(parts[1 + (location.strip or server.own.strip):])
    return 200, "", posixpath.join(location.root or server.own.root or "/htdocs", stripped.lstrip("/"))


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "OpenBSD httpd", "(simulated)"
    protocol_version = "HTTP/1.0"
    grammar: Grammar

    def do_GET(self) -> None:
        path, _mark, query = self.path.partition("?")
        host = self.headers.get("Host", "")
        server = choose(self.grammar.servers, self.server.server_address[1], host)
        code, target, file = answer(server, path, host, query)
        body = b""
        if not target and code == 200:
            found = at(self.grammar.chroot + file)
            if found.is_dir():
                found = found / (server.own.index or "index.html")
            try:
                body = found.read_bytes()
            except OSError as exc:
                code = 403 if isinstance(exc, PermissionError) else 404
        self.send_response(code)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Type", "application/octet-stream" if code == 200 else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_words: object) -> None:
        pass


class _Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple, family: int, context: ssl.SSLContext | None) -> None:
        self.address_family = family
        self.context = context
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "httpd", self.server_address[1]

    def get_request(self):
        connection, peer = super().get_request()
        connection.settimeout(30)
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, peer

    def handle_error(self, *_words: object) -> None:
        pass


def _context(server: Server) -> ssl.SSLContext | None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(at(server.certificate), at(server.key))
        return context
    except (OSError, ssl.SSLError):
        # Only a warning: such a server is left out until the certificate is there.
        print(f"server_tls_load_keypair: failed to load public/private keys for server {server.name}", file=sys.stderr)
        return None


def _bind(grammar: Grammar) -> list[_Listener]:
    listeners, seen = [], set()
    for server in grammar.servers:
        context = _context(server) if any(tls for _address, _port, tls in server.listen) else None
        for address, port, tls in server.listen:
            if tls and not context:
                continue
            for name in ("0.0.0.0", "::") if address in ("*", "egress") else (address,):
                if (name, port) in seen:
                    continue
                seen.add((name, port))
                listeners.append(_Listener((name, port), socket.AF_INET6 if ":" in name else socket.AF_INET, context if tls else None))
    handler = type("Handler", (_Handler,), {"grammar": grammar})
    for listener in listeners:
        listener.RequestHandlerClass = handler
    return listeners


def _serve(listeners: list[_Listener]) -> None:
    for listener in listeners:
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()


def httpd(argv: list[str]) -> int:
    """Serve what httpd.conf says; HUP reads it again."""
    options, names = getopt(argv, "dD:nf:v", _USAGE)
    if names:
        raise Refusal(_USAGE)
    path = options.get("f", ["/etc/httpd.conf"])[-1]
    # The real one reads its file twice, both times by name.
    parse(load(path), path)
    grammar = parse(load(path), path)
    if not grammar.servers:
        raise Refusal("no actions, nothing to do")
    if "n" in options:
        for server in grammar.servers:
            if any(tls for _address, _port, tls in server.listen):
                _context(server)
        print("configuration OK", file=sys.stderr)
        return 0
    need_root("httpd: need root privileges")
    try:
        listeners = _bind(grammar)
    except OSError as exc:
        raise Refusal(f"httpd: cannot listen: {exc.strerror}") from None
    if "d" not in options:
        detach()
    title("httpd: parent")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGINT})
    _serve(listeners)
    while signal.sigwait({signal.SIGHUP, signal.SIGTERM, signal.SIGINT}) == signal.SIGHUP:
        try:
            new = parse(load(path), path)
        except Refusal:
            continue  # the old one stays
        for listener in listeners:
            listener.shutdown()
            listener.server_close()
        listeners = _bind(new)
        _serve(listeners)
    return 0
