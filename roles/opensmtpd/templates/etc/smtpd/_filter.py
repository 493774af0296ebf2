# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter of OpenSMTPD, see smtpd-filters(7): Rspamd judges every message, Dovecot is asked for quotas, SIZE is respected, and who has
logged in sends from own addresses.

While Rspamd is away, or answers with anything but a verdict, mail is deferred. A failed login is logged with its address.
Clients with a bad Senderscore are junk, where that is asked for; an error of the service says nothing about a client.
The protocol is spoken on standard input and output; what is written to standard error, smtpd logs.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import http.client
import io
import json
import re
import socket
import sys
import tempfile
import threading
import time

DEFERRED = "451 4.7.1 Service unavailable - try again later"
TOO_BIG = "552 5.3.4 Message size exceeds fixed limit"
NOT_OWNED = "553 5.7.1 The sender address is not yours"
JUNK = b"X-Spam: Yes"
REPORTS = ("link-connect", "link-greeting", "link-identify", "link-auth", "link-disconnect",
           "tx-reset", "tx-begin", "tx-mail", "tx-rcpt", "protocol-client")
REQUESTS = ("mail-from", "rcpt-to", "data-line", "commit")
# Not at connect: a name that does not count as dynamic ends that phase for all later filters.
SCORED = ("helo", "ehlo")


@dataclasses.dataclass
class Session:
    """What is known of a client, and of the message that it is sending."""

    own: bool = False
    address: str = ""
    port: str = ""
    name: str = ""
    local: str = ""
    helo: str = ""
    user: str = ""
    size: int = 0
    id: str = ""
    sender: str = ""
    recipients: list = dataclasses.field(default_factory=list)
    content: tempfile.SpooledTemporaryFile | None = None
    answer: str = "proceed"

    def complete(self, address: str) -> str:
        """Return an address with a domain, as smtpd understands it: Rspamd takes a bare postmaster for a damaged message."""
        return address if "@" in address or not address else f"{address}@{self.local}"

    def reset(self) -> None:
        """Forget the message, not the client."""
        self.id = self.sender = ""
        self.recipients = []
        self.answer = "proceed"
        if self.content:
            self.content.close()
            self.content = None


class Deferred(Exception):
    """No verdict; the text says why, for the log."""


# --- What Rspamd says ---


def reply(code: str, text: object) -> str:
    """Return a refusal for smtpd, in one line of ASCII."""
    words = re.sub(r"[^ -~]+", " ", str(text or "")).strip()[:400]
    if re.match(r"[45]\d\d ", words):
        return words
    enhanced = "" if re.match(r"[45]\.\d+\.\d+ ", words) else f"{code[0]}.7.1 "
    return f"{code} {enhanced}{words}".rstrip()


def verdict(result: dict) -> str:
    """Return what smtpd is to do with a message: C(proceed), or C(reject|) with a reply."""
    said = (result.get("messages") or {}).get("smtp_message")
    action = result["action"]
    if action == "reject":
        return "reject|" + reply("550", said or "Spam message rejected")
    if action == "soft reject":
        return "reject|" + reply("451", said or "Try again later")
    return "proceed"


def added(result: dict) -> list[tuple[str, str]]:
    """Return the headers that go on top, as (name, value)."""
    headers: list[tuple[str, str]] = []
    if result["action"] in ("add header", "rewrite subject"):
        headers.append(("X-Spam", "Yes"))
    for name, value in ((result.get("milter") or {}).get("add_headers") or {}).items():
        for one in value if isinstance(value, list) else [value]:
            headers.append((name, str(one["value"] if isinstance(one, dict) else one)))
    signatures = result.get("dkim-signature") or []
    for value in [signatures] if isinstance(signatures, str) else signatures:
        headers.append(("DKIM-Signature", value))
    return headers


def removed(result: dict) -> dict[bytes, int]:
    """Return the headers that are taken out, in lower case, and which of that name; 0 for all. X-Spam is nobody's but ours."""
    found = {b"x-spam": 0}
    for name, which in ((result.get("milter") or {}).get("remove_headers") or {}).items():
        found[name.lower().encode()] = max(0, int(which))
    return found


def rewritten(content, result: dict):
    """Yield the lines of a message, without their ends, as it is to be delivered.

    The first lines are smtpd's own: C(X-Spam) where its filters called the client junk, and C(Received).
    """
    for name, value in added(result):
        lines = re.split(r"\r?\n", value.rstrip("\r\n"))
        yield f"{name}: {lines[0].strip()}".encode("utf-8", "replace")
        for line in lines[1:]:
            yield (line if line[:1] in " \t" else "\t" + line).encode("utf-8", "replace")
    unwanted, seen = removed(result), {}
    heading, dropping = True, False
    for number, line in enumerate(content):
        line = line[:-1]
        if heading and not line:
            heading = False
        if heading:
            if line[:1] in (b" ", b"\t"):
                if dropping:
                    continue
            else:
                name = line.partition(b":")[0].rstrip().lower()
                seen[name] = seen.get(name, 0) + 1
                dropping = name in unwanted and unwanted[name] in (0, seen[name]) and not (number == 0 and line == JUNK)
                if dropping:
                    continue
                if name == b"subject" and result["action"] == "rewrite subject" and result.get("subject"):
                    yield b"Subject: " + str(result["subject"]).encode("utf-8", "replace")
                    dropping = True
                    continue
        yield line


# --- Talking to others ---


def ask_rspamd(url: str, session: Session, timeout: float) -> dict:
    """Return the verdict on a message.

    :raises Deferred: there is none
    """
    host, _colon, port = url.rpartition(":")
    # It may have been read before, for a filter that was not there.
    session.content.seek(0, io.SEEK_END)
    size = session.content.tell()
    session.content.seek(0)
    # That smtpd called the client junk is no opinion of the sender's about its mail, which Rspamd would count.
    if session.content.readline() == JUNK + b"\n":
        size -= len(JUNK) + 1
    else:
        session.content.seek(0)
    headers = [("Ip", session.address), ("Helo", session.helo), ("Hostname", session.name), ("MTA-Name", session.local),
               ("Queue-Id", session.id), ("From", session.sender), ("User", session.user)]
    headers = [(name, value) for name, value in headers if value] + [("Rcpt", recipient) for recipient in session.recipients]
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.putrequest("POST", "/checkv2", skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        connection.send(session.content)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise Deferred(f"Rspamd answered {response.status} {response.reason}")
        result = json.loads(body)
        if not isinstance(result, dict) or not isinstance(result.get("action"), str):
            raise Deferred("Rspamd gave no verdict")
        return result
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raise Deferred(f"Rspamd: {exc}") from exc
    finally:
        connection.close()


def ask_quota(path: str, session: Session, recipient: str, timeout: float = 5) -> str:
    """Return what to do with a recipient. When nobody answers it is taken: delivery asks again, and waits."""
    question = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "protocol_name": "ESMTP", "sender": session.sender,
                "recipient": recipient, "size": str(session.size)}
    text = "".join(f"{name}={value}\n" for name, value in question.items()) + "\n"
    try:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(timeout)
            stream.connect(path)
            stream.sendall(text.encode("utf-8", "surrogateescape"))
            answer = b""
            while b"\n\n" not in answer:
                got = stream.recv(4096)
                if not got:
                    break
                answer += got
    except OSError:
        return "proceed"
    found = re.match(r"action=([45]\d\d .*)", answer.decode("utf-8", "replace"))
    return "reject|" + reply(found[1][:3], found[1]) if found else "proceed"


def owned(path: str, user: str, sender: str) -> bool:
    """Tell whether a user may send from an address, with whatever follows a plus sign in it, by the table of logins."""
    if ":" in sender:  # smtpd takes what is before it for a route, and drops that
        return False
    sender = sender.lower()
    with open(path, encoding="utf-8") as table:
        for line in table:
            login, _space, addresses = line.strip().partition(" ")
            if login == user.lower():
                return not {sender, re.sub(r"\+[^@]*", "", sender)}.isdisjoint(addresses.split(", "))
    return False


def senderscore(answer: str) -> int | None:
    """Return the score in an answer of score.senderscore.com, or None: 127.255.255.255 is its word for "not registered"."""
    found = re.fullmatch(r"127\.0\.4\.(\d{1,3})", answer)
    return int(found[1]) if found and int(found[1]) <= 100 else None


def ask_senderscore(address: str) -> int | None:
    """Return the score of an IPv4 address, or None where there is none."""
    try:
        return senderscore(socket.gethostbyname(".".join(reversed(address.split("."))) + ".score.senderscore.com"))
    except OSError:
        return None


# --- Talking to smtpd ---


class Filter:
    """The state of all sessions. Requests that must wait for others do so in threads, as the protocol demands."""

    def __init__(self, options: argparse.Namespace, out=None) -> None:
        self.options = options
        self.out = out or sys.stdout.buffer
        self.sessions: dict[str, Session] = {}
        self.lock = threading.Lock()
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=64)

    def say(self, *lines: bytes) -> None:
        with self.lock:
            self.out.write(b"\n".join(lines) + b"\n")
            self.out.flush()

    def result(self, session: str, token: str, what: str) -> None:
        self.say(f"filter-result|{session}|{token}|{what}".encode("utf-8", "replace"))

    def later(self, function, *arguments) -> None:
        def run() -> None:
            try:
                function(*arguments)
            except Exception as exc:  # smtpd ends when a filter does
                print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)

        self.pool.submit(run)

    def judged(self, session: Session) -> dict:
        """Return the verdict. This host's own mail has no queue to go back to: it waits for a filter that restarts, and then passes."""
        end = time.monotonic() + (self.options.patience if session.own else 0)
        while True:
            try:
                return ask_rspamd(self.options.rspamd, session, self.options.timeout)
            except Deferred as exc:
                if not session.own:
                    raise
                if time.monotonic() > end:
                    print(f"message {session.id} of this host is not judged: {exc}", file=sys.stderr, flush=True)
                    return {"action": "no action"}
            time.sleep(0.5)

    def scan(self, key: str, session: Session, token: str) -> None:
        """Let the message be judged, and give it back to smtpd."""
        result: dict = {"action": "no action"}
        try:
            if self.options.rspamd:
                result = self.judged(session)
            session.answer = verdict(result)
        except Exception as exc:
            print(f"message {session.id} is deferred: {exc}", file=sys.stderr, flush=True)
            session.answer = "reject|" + DEFERRED
        prefix = f"filter-dataline|{key}|{token}|".encode()
        chunk: list[bytes] = []
        try:
            session.content.seek(0)
            # What is refused is not delivered: its lines need not be given back.
            for line in rewritten(session.content, result) if session.answer == "proceed" else ():
                chunk.append(prefix + (b"." + line if line[:1] == b"." else line))
                if len(chunk) == 500:
                    self.say(*chunk)
                    chunk = []
        except Exception as exc:
            print(f"message {session.id} is deferred: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
            session.answer = "reject|" + DEFERRED
        self.say(*chunk, prefix + b".")

    def quota(self, key: str, session: Session, token: str, recipient: str) -> None:
        answer = "proceed"
        try:
            answer = ask_quota(self.options.quota, session, session.complete(recipient))
        finally:
            self.result(key, token, answer)

    def sender(self, session: Session, address: str) -> str:
        """Return what to do with a sender. smtpd's own C(senders) refuses the null sender, which read receipts have (RFC 8098)."""
        if self.options.max_size and session.size > self.options.max_size:
            return "reject|" + TOO_BIG
        try:
            if self.options.logins and session.user and address and not owned(self.options.logins, session.user, session.complete(address)):
                return "reject|" + NOT_OWNED
        except (OSError, ValueError) as exc:
            print(f"a message of {session.user!r} is deferred: {exc}", file=sys.stderr, flush=True)
            return "reject|" + DEFERRED
        return "proceed"

    def score(self, key: str, session: Session, token: str) -> None:
        answer = "proceed"
        try:
            score = ask_senderscore(session.address)
            if score is not None and score < self.options.senderscore:
                print(f"{session.address} has a Senderscore of {score}", file=sys.stderr, flush=True)
                answer = "junk"
        finally:
            self.result(key, token, answer)

    def report(self, version: str, event: str, key: str, values: list[str]) -> None:
        session = self.sessions.setdefault(key, Session())
        if event == "link-connect":
            name, confirmed, source, target = values[:4]
            session.own = source.startswith("unix:") or source == "local"
            session.address = "127.0.0.1" if session.own else source.rpartition(":")[0].strip("[]")
            session.port = target.rpartition(":")[2]
            session.name = name if confirmed == "pass" else ""
        elif event == "link-greeting":
            session.local = values[0]
        elif event == "link-identify":
            session.helo = values[1]
        elif event == "link-auth":
            # Protocol 0.7 has the result first; a name may have the separator in it.
            result, user = (values[0], "|".join(values[1:])) if version >= "0.7" else (values[-1], "|".join(values[:-1]))
            if result == "pass":
                session.user = user
            elif result == "fail":
                print(f"authentication of {user!r} failed from {session.address}", file=sys.stderr, flush=True)
        elif event == "link-disconnect":
            self.sessions.pop(key, None)
        elif event == "tx-reset":
            session.reset()
        elif event == "tx-begin":
            session.reset()
            session.id = values[0]
        elif event == "tx-mail" and values[1] == "ok":
            session.sender = session.complete("|".join(values[2:]))
        elif event == "tx-rcpt" and values[1] == "ok":
            session.recipients.append(session.complete("|".join(values[2:])))
        elif event == "protocol-client":
            command = "|".join(values)
            if command[:10].upper() == "MAIL FROM:":
                size = re.search(r"(?i) SIZE=(\d{1,18})(?: |\Z)", command)
                session.size = int(size[1]) if size else 0

    def request(self, phase: str, key: str, token: str, values: list[bytes]) -> None:
        session = self.sessions.setdefault(key, Session())
        if phase == "data-line":
            line = b"|".join(values)
            if session.content is None:
                session.content = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115  closed by reset()
            if line == b".":
                self.later(self.scan, key, session, token)
            else:
                session.content.write((line[1:] if line[:1] == b"." else line) + b"\n")
        elif phase == "mail-from":
            self.result(key, token, self.sender(session, b"|".join(values).decode("utf-8", "surrogateescape")))
        elif phase == "rcpt-to" and self.options.quota:
            self.later(self.quota, key, session, token, b"|".join(values).decode("utf-8", "surrogateescape"))
        elif phase in SCORED and session.port == "25" and not session.helo and re.fullmatch(r"[0-9.]+", session.address):
            self.later(self.score, key, session, token)
        elif phase == "commit":
            self.result(key, token, session.answer)
        else:
            self.result(key, token, "proceed")

    def line(self, line: bytes) -> None:
        """Take one line of smtpd's: C(report|version|time|smtp-in|event|session|…) or C(filter|…|session|token|…)."""
        atoms = line.split(b"|")
        version, event, key = atoms[1].decode(), atoms[4].decode(), atoms[5].decode()
        if atoms[0] == b"report":
            self.report(version, event, key, [atom.decode("utf-8", "surrogateescape") for atom in atoms[6:]])
        elif atoms[0] == b"filter":
            self.request(event, key, atoms[6].decode(), atoms[7:])

    def run(self, source) -> None:
        for line in source:
            if line == b"config|ready\n":
                break
        requests = (*REQUESTS, *SCORED) if self.options.senderscore else REQUESTS
        register = [f"register|report|smtp-in|{name}" for name in REPORTS] + [f"register|filter|smtp-in|{name}" for name in requests]
        self.say(*[line.encode() for line in register], b"register|ready")
        for line in source:
            try:
                self.line(line[:-1])
            except Exception as exc:
                print(f"{type(exc).__name__}: {exc} in {line[:200]!r}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="A filter of OpenSMTPD.")
    parser.add_argument("--rspamd", default="", help="host:port of Rspamd's HTTP interface; empty: no message is judged")
    parser.add_argument("--timeout", type=float, default=90, help="seconds that a verdict may take")
    parser.add_argument("--patience", type=float, default=30, help="seconds that this host's own mail waits for a verdict")
    parser.add_argument("--logins", default="", help="file with the addresses that each user may send from; empty: any")
    parser.add_argument("--quota", default="", help="socket of the policy service that knows quotas")
    parser.add_argument("--senderscore", type=int, default=0, help="the Senderscore that a client needs; 0 asks for none")
    parser.add_argument("--max-size", type=int, default=0, help="the largest message, in octets")
    parser.add_argument("--check", action="store_true", help="say nothing and end: this program can run here")
    options = parser.parse_args()
    if not options.check:
        Filter(options).run(sys.stdin.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
