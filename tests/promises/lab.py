# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Promises that need a little internet around the server: a strict receiver, hosts with bad names, a shell to break things.

What is promised is still proven by protocol; the shell only stops, restarts and renews.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.policy
import email.utils
import fcntl
import imaplib
import itertools
import json
import os
import pathlib
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
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dkim
import imap as mailbox
import scan

from ansible_collections.postmaster.mail.plugins.module_utils import _promises
from ansible_collections.postmaster.mail.plugins.module_utils._promise import Book, Broken, Imap, NotAsked, Server, find

book = Book()

#: What a run that changes nothing may execute on the host.
MOST_TASKS = 35

#: Seconds to wait for what must come. Nothing is measured by it: with all cores busy it takes longer, and nothing is broken.
PATIENCE = 240


@dataclasses.dataclass
class Lab(Server):
    """The server under test and what surrounds it.

    C(ssh) is the command that reaches a shell on the host; C(commands) are what the system calls restarting and the like, C(mta)
    is how its queue is seen, C(further_ports) are open beside those of mail and SSH, C(learns_again) is whether a message is learnt
    a third time, all from cells.py; C(bigmail) is a mailbox at the strict receiver; C(quota) is that of the last account, in bytes;
    C(score) the Senderscore that clients need; C(guesser) an IPv4 address to guess passwords from, C(neighbours) names of such addresses
    in one network of IPv6, and C(counts_networks) whether the limits of one client are those of such a network; C(filter) is
    C(mail_filter); C(client_key) is the file with the DKIM key of C(client.test).
    """

    ssh: list[str] = dataclasses.field(default_factory=list)
    commands: dict[str, str] = dataclasses.field(default_factory=dict)
    mta: Any = None
    further_ports: set[int] = dataclasses.field(default_factory=set)
    learns_again: bool = True
    bigmail: dict[str, str] = dataclasses.field(default_factory=dict)
    aliases: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    slow: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    host_senders: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    receiver: list[str] = dataclasses.field(default_factory=list)
    quota: int = 0
    score: int = 0
    filter: dict[str, Any] = dataclasses.field(default_factory=dict)
    client_key: str = ""
    guesser: str = ""
    neighbours: tuple[str, ...] = ()
    counts_networks: bool = False
    update: Callable[..., None] | None = None
    playbook: Callable[..., dict[str, Any]] | None = None

    def network(self) -> list[str]:
        """Return the IPv6 addresses of neighbours, for a server that can be reached from there."""
        names = self.neighbours if self.addresses.get("ipv6") else ()
        return [str(socket.getaddrinfo(name, None, socket.AF_INET6)[0][4][0]) for name in names]

    def run(self, command: str, check: bool = True, on: list[str] | None = None) -> str:
        """Run a shell command on the host as root and return its output."""
        done = subprocess.run([*(on or self.ssh), command], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise Broken(f"{command!r} on the host ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def find(self, message_id: str, *place: Any, within: float = PATIENCE, **keywords: Any) -> Any:
        """Wait until a message has arrived, as long as it takes."""
        return super().find(message_id, *place, within=within, **keywords)

    @contextlib.contextmanager
    def big(self) -> Iterator[Imap]:
        """The mailbox at the strict receiver."""
        host = self.bigmail["host"]
        session = Imap(socket.gethostbyname(host), host, self.tls(), self.timeout)
        try:
            session.login(self.bigmail["user"], self.bigmail["password"])
            yield session
        finally:
            session.logout()

    def at_bigmail(self, message_id: str, within: float = PATIENCE) -> Any:
        with self.big() as session:
            try:
                return find(session, message_id, within=within)
            except Broken:
                queue = self.run(self.mta.list, check=False)
                raise Broken(f"no message {message_id} at the strict receiver after {within:g} s; our queue:\n{queue}") from None

    def waiting(self, recipient: str) -> Any:
        """What waits in the queue for this recipient, the first of it, or None."""
        return next((item for item in self.mta.read(self.run(self.mta.list)) if item.recipient == recipient), None)

    def deliver(self, message: Any, recipient: str, sender: str | None = None, address: str | None = None) -> str:
        """Send a message from outside, as another mail server does."""
        with self.smtp(25, "starttls", address) as session:
            code, reply = session.send(sender if sender is not None else f"outside@{self.helo}", [recipient], message.as_bytes())
        return _promises.accepted(code, reply, f"a message to {recipient}")

    def files(self, user: str) -> tuple[str, str, str, str]:
        """Arguments that the functions of imap.py take."""
        return self.fqdn, user, dict(self.accounts)[user], self.ca_file or ""


def authentication(message: Any) -> dict[str, str]:
    """Return what the receiver found: method to result."""
    text = " ".join(str(value) for value in message.get_all("Authentication-Results", []) + message.get_all("Received-SPF", []))
    found = dict(re.findall(r"\b(spf|dkim|dmarc)=(\w+)", text))
    received = re.match(r"(\w+)", str(message.get("Received-SPF", "")))
    if received:
        found["spf"] = received[1].lower()
    return found


def out(lab: Lab, family: str) -> str:
    recipient = f"someone@{family}.bigmail.test"
    if not lab.addresses.get(family):
        return not_out(lab, recipient)
    user = lab.account()[0]
    message = lab.message(user, recipient)
    lab.submit(message)
    arrived = lab.at_bigmail(message["Message-ID"])
    found = authentication(arrived)
    wrong = {method: found.get(method, "nothing") for method in ("spf", "dkim", "dmarc") if found.get(method) != "pass"}
    if wrong:
        raise Broken(f"the strict receiver found {wrong}: {arrived.get_all('Authentication-Results')} {arrived.get('Received-SPF')}")
    hop = next(line for line in arrived.get_all("Received") if lab.fqdn in line and lab.bigmail["host"] in line)
    evidence = " ".join(hop.split())
    if lab.address(family) not in evidence:
        raise Broken(f"it did not come from {lab.address(family)}: {evidence}")
    return evidence


def not_out(lab: Lab, recipient: str) -> str:
    """Send to a recipient that no declared address leads to, and wait until the user is told, or the queue tells why it stays."""
    user = lab.account()[0]
    message = lab.message(user, recipient)
    lab.submit(message)
    end = time.monotonic() + PATIENCE
    with lab.imap() as box:
        while not ((found := lab.waiting(recipient)) and found.reason):
            box.select("INBOX")
            _status, uids = box.uid("search", "FROM", "mailer-daemon", "TEXT", f'"{message["Message-ID"]}"')
            if uids[0]:
                return f"{user} is told that a message to {recipient} cannot be sent"
            if time.monotonic() > end:
                raise Broken(f"a message to {recipient} is neither in the queue nor returned")
            time.sleep(0.5)  # the queue has no event to wait for
    lab.run(lab.mta.remove.format(id=found.id))
    return found.reason


@book.promise("second-run")
def second_run(lab: Lab) -> str:
    """The second run of the playbook changes nothing, and executes few tasks on the host."""
    if not lab.playbook:
        raise NotAsked("no playbook to run")
    stats = lab.playbook()
    if stats["on_host"] > MOST_TASKS:
        raise Broken(f"{stats['on_host']} tasks were executed on the host, more than {MOST_TASKS}")
    return f"{stats['ok']} tasks, {stats['on_host']} of them on the host, none changed"


@book.promise("out-ipv4")
def out_ipv4(lab: Lab) -> str:
    """What a user submits arrives over IPv4 at a strict, independent server, which finds SPF, DKIM and DMARC pass. Without an IPv4
    address that is declared nothing leaves over it."""
    return out(lab, "ipv4")


@book.promise("out-ipv6")
def out_ipv6(lab: Lab) -> str:
    """What a user submits arrives over IPv6 at a strict, independent server, which finds SPF, DKIM and DMARC pass. Without an IPv6
    address that is declared nothing leaves over it."""
    return out(lab, "ipv6")


@book.promise("out-from-the-host")
def out_from_the_host(lab: Lab) -> str:
    """What a program on the host sends with sendmail from a role address, or from one that its account is granted, is signed as well, and
    the strict receiver finds SPF, DKIM and DMARC pass."""
    role = f"postmaster@{lab.domains[0]}"
    granted = [(account, address) for account, addresses in lab.host_senders.items() for address in addresses if address[0] != "@"]
    said = []
    for account, sender in [("nobody", role), *granted]:
        message = lab.message(sender, lab.bigmail["user"])
        if refusal := from_host(lab, account, sender, message):
            raise Broken(f"{account} may not send as {sender}: {refusal}")
        found = authentication(lab.at_bigmail(message["Message-ID"]))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise Broken(f"{account} sent as {sender}, and the strict receiver found {found}")
        said.append(f"{account} as {sender}: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}")
    return "; ".join(said)


def from_host(lab: Lab, account: str, sender: str, message: Any) -> str:
    """Send a message with sendmail as an account of the host; return what sendmail says if it refuses, else nothing."""
    # With the environment of root: such an account's own shell lets nobody in.
    command = f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(sender)} {shlex.quote(message['To'])}"
    done = lab.run(f"cd / && su -m {account} -c {shlex.quote(command)} 2>&1 || echo refused with $?")
    return done.strip() if "refused with" in done else ""


def by_loopback(lab: Lab, sender: str, message: Any) -> tuple[int, str]:
    """Send a message to port 25 from the host itself, as any of its programs can; return the answer that refuses it, or 250."""
    program = (
        "import smtplib, sys\n"
        "with smtplib.SMTP('127.0.0.1', 25, 'localhost', timeout=120) as session:\n"
        "    try: session.sendmail(sys.argv[1], sys.argv[2:], sys.stdin.buffer.read()); print(250)\n"
        "    except smtplib.SMTPResponseException as exc: print(exc.smtp_code, exc.smtp_error.decode())\n"
    )
    python = lab.commands["python"]
    arguments = " ".join(map(shlex.quote, (program, sender, message["To"])))
    said = lab.run(f"printf %s {shlex.quote(message.as_string())} | {python} -c {arguments}")
    return int(said.split()[0]), said.strip()


def not_ours(lab: Lab, message: Any, what: str) -> None:
    """See that a message which claims to be from a user is not at the strict receiver, or does not pass there."""
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "HEADER", "Message-ID", f'"{message["Message-ID"]}"')
        if found[0]:
            raise Broken(f"{what} is at the strict receiver: {authentication(find(box, message['Message-ID']))}")


@book.promise("host-senders")
def host_senders(lab: Lab) -> str:
    """A program on the host sends as its own account. As a user, or as whom another account is granted, it is refused by sendmail and by
    port 25, in the envelope and in the From header, and told so."""
    recipient, user, own = lab.bigmail["user"], lab.account()[0], f"nobody@{lab.fqdn}"
    message = lab.message(own, recipient)
    if refusal := from_host(lab, "nobody", own, message):
        raise Broken(f"nobody may not send as {own}: {refusal}")
    arrived = lab.at_bigmail(message["Message-ID"])
    if returns_to(arrived) != own or authentication(arrived).get("spf") != "pass":
        raise Broken(f"it came from <{returns_to(arrived)}>: {authentication(arrived)}")
    said, forged = [], []
    # Smtpd does not tell its filter whose program it is.
    granted = [address for account, addresses in lab.host_senders.items() for address in addresses if lab.mta.knows_accounts]
    for sender in (user, user.replace("@", "+detail@"), *granted):
        message = lab.message(sender, recipient)
        refusal = from_host(lab, "nobody", sender, message)
        if not refusal:
            raise Broken(f"nobody sent as {sender} with sendmail")
        said.append(refusal)
        forged.append(message)
    for sender, header in ((user, user), ("", user), (own, user), (f"postmaster@{lab.domains[0]}", user)):
        message = lab.message(header, recipient)
        code, reply = by_loopback(lab, sender, message)
        if not 500 <= code <= 599:
            raise Broken(f"a program sent from <{sender}>, From: {header}, by port 25: {reply}")
        said.append(reply)
        forged.append(message)
    # A message that may leave, to the same receiver and after all of them: when it is there, so would they be.
    last = lab.message(own, recipient)
    from_host(lab, "nobody", own, last)
    lab.at_bigmail(last["Message-ID"])
    for message in forged:
        not_ours(lab, message, f"what claims to be from {message['From']}")
    return "; ".join(said)


@book.promise("out-signature")
def out_signature(lab: Lab) -> str:
    """The signature on what the strict receiver got verifies with dkimpy against the published record."""
    user = lab.account()[0]
    message = lab.message(user, lab.bigmail["user"])
    lab.submit(message)
    with lab.big() as session:
        find(session, message["Message-ID"], within=PATIENCE)
        _status, found = session.uid("search", "HEADER", "Message-ID", f'"{message["Message-ID"]}"')
        _status, data = session.uid("fetch", found[0].split()[-1].decode(), "(BODY.PEEK[])")
    verifier = dkim.DKIM(data[0][1], minkey=2048)
    if not verifier.verify(dnsfunc=lambda name, timeout=5: (lab.texts(name.decode().rstrip("."))[:1] or [""])[0].encode()):
        raise Broken("dkimpy does not verify the signature")
    signed = {name.decode().lower() for name in verifier.include_headers}
    if not {"from", "subject", "to", "date", "message-id"} <= signed:
        raise Broken(f"only {sorted(signed)} are signed")
    return f"d={verifier.domain.decode()} s={verifier.selector.decode()}"


def elsewhere(lab: Lab) -> Lab:
    """The strict receiver as a server that one of its users sends from."""
    return dataclasses.replace(lab, fqdn=lab.bigmail["host"], accounts=[(lab.bigmail["user"], lab.bigmail["password"])],
                               addresses={"ipv4": [socket.gethostbyname(lab.bigmail["host"])], "ipv6": []})


def inward(lab: Lab, family: str) -> str:
    user = lab.account()[0]
    message = lab.message(f"outside@{lab.helo}", user)
    lab.deliver(message, user, address=lab.address(family))
    return str(lab.find(message["Message-ID"])["Received"]).replace("\n", " ")


@book.promise("in-ipv4")
def in_ipv4(lab: Lab) -> str:
    """Mail from outside reaches the mailbox over IPv4."""
    return inward(lab, "ipv4")


@book.promise("in-ipv6")
def in_ipv6(lab: Lab) -> str:
    """Mail from outside reaches the mailbox over IPv6."""
    return inward(lab, "ipv6")


@book.promise("in-from-bigmail")
def in_from_bigmail(lab: Lab) -> str:
    """Mail that a user of the other, independent server sends reaches the inbox, and is found to be authentic."""
    user = lab.account()[0]
    message = lab.message(lab.bigmail["user"], user)
    elsewhere(lab).submit(message)
    arrived = lab.find(message["Message-ID"], within=PATIENCE)
    found = authentication(arrived)
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
        raise Broken(f"{found}: {arrived.get_all('Authentication-Results')}")
    return str(arrived["Authentication-Results"]).replace("\n", " ")


@book.promise("forged-headers")
def forged_headers(lab: Lab) -> str:
    """What anybody, a stranger, a user who has logged in or a program on the host, claims about authentication and spam in headers of our
    kind does not reach the reader, however it is written; nor does it say where a message is filed."""
    user, other = lab.account(), lab.account(1)
    claim = f"claim-{secrets.token_hex(4)}"
    names = ("X-Spam", "X-Spam-Flag", "X-Spam-Status", "x-spam-LEVEL", "X-Spam-Anything", "X-Spamd-Bar", "X-Spamd-Result", "X-Rspamd-Act")
    results = (f"{lab.fqdn}; dkim=pass header.d={claim}", f"{lab.fqdn.upper()} 1; spf=pass {claim}", f'({claim}) "{lab.fqdn}"; dmarc=pass',
               f"\r\n {lab.fqdn}; spf=pass {claim}", f"other.test; spf=pass {claim}")

    def forged(author: str, verdict: str) -> tuple[str, bytes]:
        message = lab.message(author, user[0])
        lines = [f"{name}: {verdict} {claim}" for name in (*names, *names[:2])] + [f"Authentication-Results: {value}" for value in results]
        text = "\r\n".join(lines).encode() + b"\r\n" + message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return message["Message-ID"], text

    found = {}
    stranger, text = forged(f"outside@{lab.helo}", "No,")  # another word would count against it
    with lab.smtp(25, "starttls") as session:
        found[stranger] = session.send(f"outside@{lab.helo}", [user[0]], f"X-Postmaster-Mail-Script: {claim}\r\n".encode() + text)
    for verdict in ("Yes,", "No,"):
        theirs, text = forged(other[0], verdict)
        with lab.smtp(587, "starttls") as session:
            session.login(*other)
            found[theirs] = session.send(other[0], [user[0]], text)
        own, text = forged(f"root@{lab.fqdn}", verdict)
        # As programs write it, without a recipient, which the filter holds against it already.
        plain = re.sub(r"(?m)^To: .*\n", "", text.replace(b"\r\n", b"\n").decode())
        lab.run(f"printf %s {shlex.quote(plain)} | sendmail -f {shlex.quote(f'root@{lab.fqdn}')} {shlex.quote(user[0])}")
        found[own] = (250, "")
    headers = 0
    for message_id, (code, reply) in found.items():
        _promises.accepted(code, reply, f"a message {message_id} with forged headers")
        arrived = lab.find(message_id)
        headers += len(arrived.items())
        told = [f"{name}: {value}" for name, value in arrived.items() if claim in str(value)]
        if told:
            raise Broken(f"reached the reader of {message_id}, from {arrived['From']}: {told}")
    return f"{headers} headers of {len(found)} messages in the inbox, none of the forged ones"


def with_author(message: Any, author: str, extra: bytes = b"") -> bytes:
    """Return a message with this text in From, as it is written, and with further header lines."""
    return extra + re.sub(rb"(?m)^From: .*$", b"From: " + author.encode(), message.as_bytes(), count=1)


def send_from(lab: Lab, content: bytes, sender: str, client: str, greeting: str) -> tuple[int, str]:
    """Send a message to the first account as another server, again if it is to come later; return the last answer."""
    for _attempt in (1, 2):
        with dataclasses.replace(lab, helo=greeting).smtp(source=client) as session:
            code, reply = session.send(sender, [lab.account()[0]], content)
        if not 400 <= code <= 499:
            break
        lab.run(lab.commands["greylist_later"])
    return code, reply


@book.promise("forged-from")
def forged_from(lab: Lab) -> str:
    """Mail from outside whose From is a domain of ours, or below one, or one of several addresses, and mail that fails a DMARC policy of
    quarantine or reject, does not reach the inbox: it lands in Junk, or is refused where mail_filter says so, as a policy of reject asks.
    What a mailing list passes on that is authenticated itself goes by its score, as does a domain in test, and what somebody has sealed
    whom mail_filter trusts."""
    if not lab.update:
        raise NotAsked("needs a zone that can be changed")
    refuses = lab.filter.get("dmarc", "junk") == "reject"
    user, ours = lab.account()[0], lab.account()[0].partition("@")[2]
    lab.update("shop.test", *((f"_dmarc.{name}.shop.test", "TXT", f'"v=DMARC1; p=quarantine; {tag}"')
                              for name, tag in (("testing", "t=y"), ("seldom", "pct=1"))))
    good, bad = ("198.51.100.1", "client.test"), ("198.51.100.8", "listed.client.test")
    lists = b"List-Id: A list <list.client.test>\r\nList-Post: <mailto:list@client.test>\r\n"
    outside = f"outside@{lab.helo}"
    said = []

    def expect(
        author: str, outcome: str, sender: str = outside, client: tuple[str, str] = good, extra: bytes = b"", sealed: str = ""
    ) -> None:
        message = lab.message(f"x@{client[1]}", user)
        content = with_author(message, author, extra)
        code, reply = send_from(lab, seal(lab, content, sealed) if sealed else content, sender, *client)
        what = f"From: {author}, from <{sender}> by {client[1]}, {sealed or extra.decode().strip()}"
        if outcome == "refused":
            if code not in (550, 554) or "5.7.1" not in reply:
                raise Broken(f"{what} was answered with {code} {reply}")
        else:
            _promises.accepted(code, reply, what)
            try:
                lab.find(message["Message-ID"], folder=outcome)
            except Broken as exc:
                raise Broken(f"{what}: {exc}") from None
        said.append(f"{author} {'by a list' if extra else ''}{sealed}: {outcome}")

    forged = "refused" if refuses else "Junk"
    for author in ("somebody@{ours}", "SOMEBODY@{OURS}", "x@nowhere.{ours}", "root@{fqdn}", "a+b@client.test>, <x@{ours}"):
        expect(f"<{author.format(ours=ours, OURS=ours.upper(), fqdn=lab.fqdn)}>", forged)
    expect(f"<{user}>", forged, sender=user)
    expect("<x@client.test>", forged, sender="x@ns.test", client=bad)
    expect("<x@bigmail.test>", forged)
    # Nobody asks for more than that here. Of several, Rspamd looks for no policy, or for that of the first one only.
    for author in ("<x@seldom.shop.test>", "<x@bigmail.test>, <y@bigmail.test>", "<a+b@client.test>, <x@bigmail.test>", "nobody",
                   "<x@bücher.client.test>"):
        expect(author, "Junk")
    # Another Rspamd may read these and find that they are ours.
    for author in () if refuses else (f"{user};", user.replace("@", "@ "), f"a:{user};"):
        expect(author, "Junk")
    expect("<x@testing.shop.test>", "INBOX")
    expect(f"<{user}>", "INBOX", extra=lists)
    expect("<x@bigmail.test>", "INBOX", extra=lists)
    # Of another domain than the list's, or of nobody's at all.
    expect(f"<{user}>", forged, extra=lists.replace(b"client.test", b"bigmail.test"))
    expect(f"<{user}>", forged, extra=lists.partition(b"\r\n")[0] + b"\r\n")
    expect(f"<{user}>", forged, sender="x@ns.test", client=bad, extra=lists)
    # Sealed, whom nobody else vouches for.
    trusted = "client.test" in lab.filter.get("arc_sealers", [])
    expect(f"<{user}>", "INBOX" if trusted else forged, sender="x@ns.test", client=bad, sealed="dmarc=pass")
    expect("<x@bigmail.test>", "INBOX" if trusted else forged, sender="x@ns.test", client=bad, sealed="dmarc=pass")
    expect("<x@bigmail.test>", forged, sender="x@ns.test", client=bad, sealed="dmarc=fail")
    return "; ".join(said)


@book.promise("neighbour")
def neighbour(lab: Lab) -> str:
    """A neighbour of the host, whose link-local address Rspamd takes for one of the host's own, gets no signature of ours for what programs
    of the host may write, and that does not reach the inbox."""
    author = f"postmaster@{lab.domains[0]}"
    message = lab.message(author, lab.account()[0])
    text = shlex.quote(message.as_bytes().decode())

    def judged(address: str) -> str:
        return lab.run(f"printf %s {text} | rspamc -h /var/run/rspamd/learn.sock --ip {shlex.quote(address)} --from root@{lab.fqdn} "
                       f"--rcpt {lab.account()[0]}")

    if "Symbol: DKIM_SIGNED" not in judged("127.0.0.1"):
        raise Broken(f"what root of the host sends as {author} is not signed")
    for address in ("fe80::1", "fec0::1"):
        found = judged(address)
        if "Symbol: DKIM_SIGNED" in found:
            raise Broken(f"what {address} sends as {author} is signed: {found}")
        if lab.filter.get("dmarc") != "score" and not re.search("^Action: (add header|reject)", found, re.MULTILINE):
            raise Broken(f"what {address} sends as {author} goes to the inbox: {found}")
    return f"{author} from root of the host is signed, from fe80::1 and fec0::1 is not"


def seal(lab: Lab, content: bytes, found: str) -> bytes:
    """Return a message sealed by C(client.test) (RFC 8617), which has found this."""
    with open(lab.client_key, "rb") as key:
        results = b"Authentication-Results: lists.client.test; %s header.from=x\r\n" % found.encode()
        text = results + content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        names = [b"from", b"to", b"subject", b"date", b"message-id"]
        return b"".join(dkim.arc_sign(text, b"internet", b"client.test", key.read(), b"lists.client.test", include_headers=names)) + text


@book.promise("from-read-alike")
def from_read_alike(lab: Lab) -> str:
    """A message has one From, and the filter reads the one that people see: another one, also one that is hidden by its line ends or by
    white space before its colon, is refused, from strangers and users alike; so are control characters among the headers."""
    (user, password), stranger, other = lab.account(), f"outside@{lab.helo}", lab.account(1)[0]
    said = []

    def answer(sender: str, text: bytes) -> tuple[int, str]:
        with lab.smtp(587 if sender == user else 25, "starttls") as session:
            if sender == user:
                session.login(user, password)
            return session.send(sender, [user], text)

    def crlf(message: Any) -> bytes:
        return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def alone(sender: str, message: Any, field: bytes) -> None:
        arrived = lab.find(message["Message-ID"])
        if arrived.get_all("From") != [sender]:
            raise Broken(f"with {field!r}, from {sender}, there arrived {arrived.items()}")

    more = b"From: " + other.encode()
    for sender in (stranger, user):
        for field in (more, more.lower(), b"From:\r\n " + other.encode(), b"From : " + other.encode(), b"From\t:" + other.encode(),
                      b"X-One: 1\r" + more, b"X-One: 1\r\r" + more, b"X-One: 1\r\r\n" + more, b"X-One: a\x01b"):
            message = lab.message(sender, user)
            code, reply = answer(sender, crlf(message).replace(b"\r\nTo:", b"\r\n" + field + b"\r\nTo:", 1))
            # Or the line end becomes a blank, so that there is no second field.
            if code == 250 and field.startswith(b"X-One: 1\r"):
                alone(sender, message, field)
            else:
                said.append(_promises.refused(code, reply, f"{field!r} beside the From of {sender}"))
        message = lab.message(sender, user)
        # Not the first line: one that begins with "From " there is a mailbox's, for some.
        code, reply = answer(sender, (b"X-One: 1\r\n" + crlf(message)).replace(b"\r\nFrom:", b"\r\nFrom :"))
        _promises.accepted(code, reply, f"From with white space before the colon, of {sender},")
        alone(sender, message, b"From :")
    text = (b"X-One: 1\r\n" + crlf(lab.message(other, user))).replace(b"\r\nFrom:", b"\r\nFrom :")
    _promises.refused(*answer(user, text), f"{user} writing 'From : {other}'")
    return said[0]


def alias_to(lab: Lab, *targets: str, otherwise: str = "") -> str:
    """Return the alias that leads to these and to nobody else."""
    alias = next((name for name, found in lab.aliases.items() if set(found) == set(targets)), otherwise)
    if not alias:
        raise NotAsked(f"no alias leads to {' and '.join(targets)}")
    return alias


@book.promise("dane")
def dane(lab: Lab) -> str:
    """A destination whose TLSA record does not match its certificate gets no mail, forwarded or not, until it does (RFC 7672)."""
    if not lab.update:
        raise NotAsked("needs a zone that can be changed")
    name, domain = "mx-bad.shop.test", "shop.test"
    address = socket.gethostbyname(lab.bigmail["host"])
    lab.update(domain, (name, "A", address), (domain, "MX", f"10 {name}."), (f"_25._tcp.{name}", "TLSA", "3 1 1 " + "00" * 32))
    user, target, said = lab.account()[0], f"tlsa@{domain}", ""
    for recipient in {target, alias_to(lab, target, otherwise=target)}:
        lab.submit(lab.message(user, recipient))
        end = time.monotonic() + PATIENCE
        while not ((found := lab.waiting(target)) and found.reason):
            if time.monotonic() > end:
                raise Broken(f"the message to {recipient} was not deferred")
            time.sleep(0.5)  # the queue has no event to wait for
        lab.run(lab.mta.remove.format(id=found.id))
        said = found.reason
        if not re.search(r"(?i)not trusted|Server certificate not verified|DANE", said):
            raise Broken(f"the message to {recipient} was deferred for another reason: {said}")
    return said


def connections_at_once(log: str, clients: Iterable[str], messages: set[str]) -> int:
    """How many connections from these addresses that carried one of these messages were open at the same time, by the log of a Postfix.

    One may have been opened earlier, for another message, and serve again.
    """
    current: dict[str, int] = {}  # process to its connection
    carries: dict[str, int] = {}  # queue id to the connection that it came over
    spans: dict[int, list[int]] = {}  # connection to the lines of its begin and end
    ours: set[int] = set()
    client = "|".join(map(re.escape, clients))
    for number, line in enumerate(log.splitlines()):
        if event := re.search(rf"/smtpd\[(\d+)\]: (connect|disconnect) from \S+\[(?:{client})\]", line):
            if event[2] == "connect":
                current[event[1]] = number
                spans[number] = [number, sys.maxsize]
            elif event[1] in current:
                spans[current.pop(event[1])][1] = number
        elif event := re.search(rf"/smtpd\[(\d+)\]: (\w+): client=\S+\[(?:{client})\]", line):
            if event[1] in current:
                carries[event[2]] = current[event[1]]
        elif (event := re.search(r"/cleanup\[\d+\]: (\w+): message-id=(\S+)", line)) and event[2] in messages and event[1] in carries:
            ours.add(carries[event[1]])
    return max((sum(spans[other][0] <= spans[one][0] < spans[other][1] for other in ours) for one in ours), default=0)


@contextlib.contextmanager
def unencrypted(lab: Lab) -> Iterator[None]:
    """The strict receiver without STARTTLS for this server alone, and for a while. What TLSA records are about does not get there then."""
    ours = ", ".join(f"{{{address} starttls}}" for _family, address in lab.every_address())
    setting = "smtpd_discard_ehlo_keyword_address_maps"
    # Other servers of this internet may be judged at the same time: each has its turn.
    with open(f"{os.environ['POSTMASTER_MAIL_INTERNET']}/unencrypted", "w", encoding="utf-8") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        lab.run(f"postconf -e '{setting}=cidr:{{{ours}}}' && postfix reload", on=lab.receiver)
        try:
            yield
        finally:
            lab.run(f"postconf -X {setting} && postfix reload", on=lab.receiver)


def sent_slowly(lab: Lab, slow: dict[str, Any], recipients: list[str], overtaken: bool = True) -> str:
    """Send one message to each of these recipients, which a slow provider has, and measure what arrives at the strict receiver.

    :param overtaken: whether another destination there is to get a message before the last of them
    """
    user = lab.account()[0]
    messages = [lab.message(user, recipient) for recipient in recipients]
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        for message in messages:
            _promises.accepted(*session.send(user, [message["To"]], message.as_bytes()), f"a message to {message['To']}")
    if overtaken:
        # To the same receiver, as a domain that nobody called slow.
        other = lab.message(user, lab.bigmail["user"])
        lab.submit(other)
        lab.at_bigmail(other["Message-ID"], within=PATIENCE)
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "HEADER", "Message-ID", f'"{messages[-1]["Message-ID"]}"')
        if overtaken and found[0]:
            raise Broken(f"the last of {len(messages)} messages was there before another destination's")
        arrived = [find(box, message["Message-ID"], within=PATIENCE) for message in messages]
    times = sorted(email.utils.parsedate_to_datetime(message.get_all("Received")[0].rpartition(";")[2].strip()) for message in arrived)
    took = (times[-1] - times[0]).total_seconds()
    if took < slow["delay"] * (len(messages) - 1) - 1:  # the receiver writes whole seconds
        raise Broken(f"{len(messages)} messages arrived within {took:g} s; one every {slow['delay']} s is declared")
    clients = [address for _family, address in lab.every_address()]
    most = connections_at_once(lab.run("cat /var/log/mail.log", on=lab.receiver), clients, {message["Message-ID"] for message in messages})
    if not 1 <= most <= slow["connections"]:
        raise Broken(f"up to {most} connections at once; {slow['connections']} are declared")
    return f"{len(messages)} messages in {took:g} s over {most} connection at a time{', another one before their end' if overtaken else ''}"


def slow_provider_with(lab: Lab, domains: int) -> dict[str, Any]:
    """Return the first slow provider that has so many domains."""
    for slow in lab.slow.values():
        if len(slow["domains"]) >= domains:
            return slow
    raise NotAsked(f"the inventory declares no slow destination with {domains} domain{'s' if domains > 1 else ''} here")


@book.promise("slow-destination")
def slow_destination(lab: Lab) -> str:
    """Ten messages to a slow destination, half of them by an alias, leave no faster and over no more connections than declared, and
    hold up nobody else's."""
    slow = slow_provider_with(lab, 1)
    target = f"someone@{slow['domains'][0]}"
    return sent_slowly(lab, slow, [target, alias_to(lab, target, otherwise=target)] * 5)


@book.promise("slow-provider")
def slow_provider(lab: Lab) -> str:
    """Ten messages to several domains of a slow provider, whose mail goes to different hosts, leave no faster and over no more
    connections than declared for all of them together, and hold up nobody else's; not even without TLS, where one could
    be kept open for the next message."""
    slow = slow_provider_with(lab, 2)
    encrypted = sent_slowly(lab, slow, [f"someone@{domain}" for domain in itertools.islice(itertools.cycle(slow["domains"]), 10)])
    with unencrypted(lab):
        twice = [f"someone@{domain}" for domain in slow["domains"][:2] * 2 for _ in range(2)]
        return f"{encrypted}; without TLS {sent_slowly(lab, slow, twice, overtaken=False)}"


@book.promise("tls-scan")
def tls_scan(lab: Lab) -> str:
    """testssl finds nothing of medium or higher severity about protocols, ciphers and renegotiation; in the slow tests about nothing else
    either."""
    return scan.verdict(lab, everything=bool(os.environ.get("POSTMASTER_MAIL_SLOW")))


@book.promise("local-users")
def local_users(lab: Lab) -> str:
    """What services do for the MTA they do for no other user of the host: nobody else has Rspamd read a file or sign, takes the way of
    forwarded mail past the filter, learns an address that bounces would come back by, or has mailboxes read."""
    program = shlex.quote((pathlib.Path(__file__).parent / "stranger.py").read_text(encoding="utf-8"))

    def tried(user: str, *directory: str) -> dict[str, Any]:
        return json.loads(lab.run(f"{lab.commands['python']} -c {program} {shlex.join([user, lab.account()[0], *directory])}"))

    # Whether the program sees what there is to be seen.
    mta = tried(lab.commands["mta_user"], lab.commands["filter_directory"])
    if not mta["granted"]:
        raise Broken(f"the MTA itself is granted nothing in {lab.commands['filter_directory']}: {mta}")
    other = tried("nobody")
    if other["granted"]:
        raise Broken(f"any user of the host: {other['granted']}")
    alone = ", ".join(what for what, *_rest in mta["granted"])
    return f"{len(other['reached'])} ports and sockets are open to any user and grant nothing; to the MTA alone: {alone}"


@book.promise("own-mail-only")
def own_mail_only(lab: Lab) -> str:
    """A message to one user is in no folder of another one."""
    everybody = [lab.account(), lab.account(1), *lab.accounts[2:]]
    messages = {}
    for user, _password in everybody:
        messages[user] = lab.message(f"outside@{lab.helo}", user)
        lab.deliver(messages[user], user)
    for account in everybody:
        lab.find(messages[account[0]]["Message-ID"], account)
    looked = 0
    for account in everybody:
        with lab.imap(account) as box:
            for line in box.list()[1]:
                folder = re.search(rb'\) (?:"."|NIL) (.+)$', line)[1].decode()
                if box.select(folder, readonly=True)[0] != "OK":
                    continue
                looked += 1
                for owner in messages.keys() - {account[0]}:
                    _status, found = box.uid("search", "HEADER", "Message-ID", f'"{messages[owner]["Message-ID"]}"')
                    if found[0]:
                        raise Broken(f"the message to {owner} is in {folder} of {account[0]}")
    return f"{len(everybody)} messages, {looked} folders"


@book.promise("plus-delivered")
def plus_delivered(lab: Lab) -> str:
    """Mail to user+detail lands in the user's mailbox."""
    user = lab.account()[0]
    message = lab.message(f"outside@{lab.helo}", user.replace("@", "+shop@"))
    lab.deliver(message, message["To"])
    lab.find(message["Message-ID"])
    return message["To"]


@book.promise("aliases")
def aliases(lab: Lab) -> str:
    """An alias reaches every one of its targets, and a catch-all takes the rest of its domain but no user's mail."""
    said = []
    for alias, targets in lab.aliases.items():
        if set(targets) - set(dict(lab.accounts)):
            continue  # it leads elsewhere: forwarding has promises of its own
        message = lab.message(f"outside@{lab.helo}", alias)
        lab.deliver(message, alias)
        for target in targets:
            lab.find(message["Message-ID"], (target, dict(lab.accounts)[target]))
        said.append(f"{alias} to {', '.join(targets)}")
    for domain, targets in lab.catch_all.items():
        own = [(address, address) for address, _password in lab.accounts if address.endswith(f"@{domain}")]
        for recipient, reached in [*((f"any-{secrets.token_hex(3)}@{domain}", target) for target in targets), *own]:
            message = lab.message(f"outside@{lab.helo}", recipient)
            lab.deliver(message, recipient)
            lab.find(message["Message-ID"], (reached, dict(lab.accounts)[reached]))
        said.append(f"@{domain} to {', '.join(targets)}")
    if not said:
        raise NotAsked("the inventory has no alias and no catch-all")
    return "; ".join(said)


def returns_to(message: Any) -> str:
    """The envelope sender that a message was delivered with; empty for a bounce."""
    return str(message["Return-Path"]).strip("<> ")


def report_here(lab: Lab, message_id: str) -> Any:
    """The report at the strict receiver that a message is not delivered, or None."""
    with lab.big() as session:
        session.select("INBOX")
        _status, found = session.uid("search", "FROM", "mailer-daemon")
        for uid in reversed(found[0].decode().split()[-5:]):  # a search does not look into the headers of the message in a report
            _status, data = session.uid("fetch", uid, "(BODY.PEEK[])")
            if message_id.encode() in data[0][1]:
                return email.message_from_bytes(data[0][1], policy=email.policy.default)
    return None


def report_about(lab: Lab, message_id: str, otherwise: str, within: float = PATIENCE) -> Any:
    """Wait for the report at the strict receiver that a message was not delivered, and return it."""
    end = time.monotonic() + within
    while (report := report_here(lab, message_id)) is None:
        if time.monotonic() > end:
            raise Broken(f"{otherwise}; our queue:\n{lab.run(lab.mta.list, check=False)}")
        time.sleep(0.5)  # IMAP without IDLE has no event to wait for
    return report


@book.promise("forwarding")
def forwarding(lab: Lab) -> str:
    """What an alias forwards elsewhere has a sender of ours, which SPF allows, and its signature still verifies; also where a stranger has
    written an address of ours. What stays here keeps its sender, and so does mail that is not forwarded, is from a user who has logged
    in, or is a bounce."""
    origin, foreign = elsewhere(lab), lab.bigmail["user"]
    user = lab.account()[0]
    both, away = alias_to(lab, user, foreign), alias_to(lab, foreign)
    message = lab.message(foreign, both)
    origin.submit(message)
    arrived = lab.at_bigmail(message["Message-ID"], within=PATIENCE)
    sender, found = returns_to(arrived), authentication(arrived)
    if not re.match(r"SRS0[-+=]", sender) or sender.rpartition("@")[2] not in [*lab.domains, lab.fqdn]:
        raise Broken(f"it came from <{sender}>")
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"} or arrived["From"] != message["From"]:
        raise Broken(f"it came from <{sender}>, From: {arrived['From']}: {found} {arrived.get_all('Authentication-Results')}")
    kept = returns_to(lab.find(message["Message-ID"]))
    if kept != foreign:
        raise Broken(f"{user} got it from <{kept}>")
    message = lab.message("x@ns.test", away)  # a domain without DMARC, as SPF passes for nobody that it names
    lab.deliver(message, away, sender=user)
    name, _at, domain = user.partition("@")
    forged = returns_to(lab.at_bigmail(message["Message-ID"], within=60))
    if not re.match(rf"SRS0[-+=].*={re.escape(domain)}={re.escape(name)}@", forged):
        raise Broken(f"what a stranger sent as {user} came from <{forged}>")
    for recipient in (away, foreign):
        message = lab.message(user, recipient)
        lab.submit(message)
        arrived = lab.at_bigmail(message["Message-ID"], within=PATIENCE)
        if returns_to(arrived) != user or authentication(arrived).get("spf") != "pass":
            raise Broken(f"what {user} sent to {recipient} came from <{returns_to(arrived)}>: {authentication(arrived)}")
    bounce = lab.message("mailer-daemon@ns.test", away)  # a domain without DMARC, as the bounce has no sender for SPF
    lab.deliver(bounce, away, sender="")
    if found := returns_to(lab.at_bigmail(bounce["Message-ID"], within=PATIENCE)):
        raise Broken(f"a bounce came from <{found}>")
    return f"{foreign} became {sender}, and stayed {kept} here"


def sender_of_ours(lab: Lab) -> str:
    """Let a message be forwarded, and return the sender that it arrives with."""
    foreign = lab.bigmail["user"]
    message = lab.message(foreign, alias_to(lab, foreign))
    elsewhere(lab).submit(message)
    return returns_to(lab.at_bigmail(message["Message-ID"], within=PATIENCE))


@book.promise("forwarding-bounces")
def forwarding_bounces(lab: Lab) -> str:
    """A bounce of forwarded mail finds its way to whom the mail was from, whether made here or elsewhere, and nothing but a bounce does; an
    address to come back to that is made up, or changed, is refused, also where a catch-all takes the rest."""
    origin, foreign = elsewhere(lab), lab.bigmail["user"]
    gone = alias_to(lab, "nobody@" + foreign.partition("@")[2])
    sender = sender_of_ours(lab)
    bounce = lab.message("mailer-daemon@ns.test", sender)
    lab.deliver(bounce, sender, sender="")
    lab.at_bigmail(bounce["Message-ID"], within=PATIENCE)
    message = lab.message(foreign, gone)
    origin.submit(message)
    told = report_about(lab, message["Message-ID"], f"{gone} leads to nobody, and {foreign} was not told")
    if returns_to(told):
        raise Broken(f"{foreign} was told by <{returns_to(told)}>, which is no bounce: {told['Subject']}")
    with lab.smtp() as session:
        code, reply = session.envelope(f"outside@{lab.helo}", sender)
    _promises.refused(code, reply, f"mail to {sender} that is no bounce")
    local, _at, domain = sender.partition("@")
    parts = local.split("=")
    if len(parts[1]) != lab.mta.srs_length:
        raise Broken(f"the hash in {sender} has {len(parts[1])} characters, not {lab.mta.srs_length}")
    # Another letter, and not the other case of the same one: a hash is compared without regard to case.
    hashed, stamp = (("B" if part[0] in "Aa" else "A") + part[1:] for part in parts[1:3])
    changed = "=".join([parts[0], hashed, *parts[2:]])
    older = "=".join([*parts[:2], stamp, *parts[3:]])
    other = "=".join([*parts[:-1], f"somebody-{secrets.token_hex(3)}"])
    where = (domain, *(lab.catch_all if lab.mta.srs_at_alias else ()))
    shorter = [f"{parts[0]}={'='.join([parts[1][:length], *parts[2:]])}" for length in range(1, lab.mta.srs_length)]
    for attempt in (changed, older, other, *shorter, f"SRS0=AAAA=AA=bigmail.test={foreign.partition('@')[0]}",
                    f"SRS1=AAAA=bigmail.test={local[4:]}", f"SRS0={foreign.replace('@', '=')}", "SRS0="):
        for reverse_path, back in itertools.product(("", f"outside@{lab.helo}"), where):
            with lab.smtp() as session:
                code, reply = session.envelope(reverse_path, f"{attempt}@{back}")
            if code not in (550, 553):  # that there is no such mailbox, or can be none
                raise Broken(f"<{attempt}@{back}> from <{reverse_path}> was answered with {code} {reply}")
    return f"to {sender}, and about {gone} to {foreign}; made up: {code} {reply}"


@book.promise("forwarding-lifetime")
def forwarding_lifetime(lab: Lab) -> str:
    """A bounce of forwarded mail may take three weeks: the address to come back to works for that long, and no longer."""
    sender = sender_of_ours(lab)
    local, _at, domain = sender.partition("@")
    _tag, _hash, stamp, origin, user = local.split("=", 4)
    key = lab.run(lab.commands["srs_key"]).strip()
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    today = digits.index(stamp[0]) * 32 + digits.index(stamp[1])

    def made(days: int) -> str:
        """Return the address as it would be, had it been made so many days ago."""
        day = (today - days) % 1024
        then = digits[day // 32] + digits[day % 32]
        return f"SRS0={lab.mta.srs_hash(key, then, origin, user, domain)}={then}={origin}={user}@{domain}"

    if made(0) != sender:
        raise Broken(f"the server made {sender}, and the judge {made(0)}")
    said = []
    for days, codes in ((20, [250]), (22, [550, 553])):  # and not 21, which may end between the two
        with lab.smtp() as session:
            code, reply = session.envelope("", made(days))
        if code not in codes:
            raise Broken(f"after {days} days {made(days)} was answered with {code} {reply}")
        said.append(f"after {days} days: {code} {reply}")
    return "; ".join(said)


@book.promise("sieve-redirect")
def sieve_redirect(lab: Lab) -> str:
    """What a user's script redirects elsewhere is sent by the user, which SPF allows, and its signature still verifies; a bounce stays a
    bounce."""
    user, foreign = lab.account(1)[0], lab.bigmail["user"]

    def redirected(message: Any, deliver: Callable[[], object]) -> Any:
        with mailbox.script(*lab.files(user), f'redirect "{foreign}";\r\n'):
            deliver()
            return lab.at_bigmail(message["Message-ID"], within=PATIENCE)

    message = lab.message(foreign, user)
    arrived = redirected(message, lambda: elsewhere(lab).submit(message))
    found = authentication(arrived)
    if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"} or returns_to(arrived) != user:
        raise Broken(f"it came from <{returns_to(arrived)}>: {found} {arrived.get_all('Authentication-Results')}")
    bounce = lab.message("mailer-daemon@ns.test", user)
    arrived = redirected(bounce, lambda: lab.deliver(bounce, user, sender=""))
    if returns_to(arrived):
        raise Broken(f"a bounce came from <{returns_to(arrived)}>")
    if arrived["X-Postmaster-Mail-Script"]:
        raise Broken(f"what was for the filter alone was told: {arrived['X-Postmaster-Mail-Script']}")
    return f"{foreign} became {user}: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}"


@book.promise("sieve-forgery")
def sieve_forgery(lab: Lab) -> str:
    """Nobody is made to pass for one of our users by another one's script: a message that claims to be from them is not redirected but
    kept, also as a bounce, and neither a vacation notice nor a notification is sent in their name. What they did write is redirected."""
    victim, user, foreign = lab.account()[0], lab.account(1)[0], lab.bigmail["user"]
    forged = []
    claims = {
        "a plain From": f"From: {victim}\n",
        "a display name": f'From: "The boss" <{victim}>\n',
        "capital letters and a comment": f"From: {victim.upper()} (boss)\n",
        "a group": f"From: bosses: {victim};\n",
        "two in one": f"From: stranger@client.test, {victim}\n",
        "two From": f"From: stranger@client.test\nFrom: {victim}\n",
        "a token": f"From: {victim}\nX-Postmaster-Mail-Script: {victim} {'0' * 128}\n",
        "a detail": f"From: {victim.replace('@', '+x@')}\n",
        "a comment in the domain": f"From: {victim.replace('@', '@(x)')}\n",
        "white space": f"From: {victim.replace('@', ' @ ')}\n",
        "a final dot": f"From: {victim}.\n",
        "an address for a name": f"From: {victim} <stranger@client.test>\n",
        "a subdomain": f"From: {victim.replace('@', '@x.')}\n",
    }
    with mailbox.script(*lab.files(user), f'redirect "{foreign}";\r\n'):
        for what, header in claims.items():
            for sender in ("", f"outside@{lab.helo}"):
                token = f"<{secrets.token_hex(8)}@{lab.helo}>"
                text = f"{header}To: {user}\nMessage-ID: {token}\nDate: {email.utils.formatdate()}\nSubject: forged\n\n{what}\n"
                _promises.accepted(*past_filter(lab, sender, user, text), f"a message with {what}")
                lab.find(token, (user, dict(lab.accounts)[user]))
                forged.append({"Message-ID": token, "From": what})
        genuine = lab.message(victim, user)
        lab.submit(genuine)
        found = authentication(lab.at_bigmail(genuine["Message-ID"], within=PATIENCE))
        if {found.get(method) for method in ("spf", "dkim", "dmarc")} != {"pass"}:
            raise Broken(f"what {victim} wrote was redirected, and the strict receiver found {found}")
    for message in forged:
        not_ours(lab, message, f"a redirected message with {message['From']}")
    for actions in (f'vacation :addresses ["{user}"] :from "{victim}" "I am the boss";',
                    f'vacation :addresses ["{user}"] :mime "From: {victim}\r\n\r\nI am the boss";',
                    f'notify :from "{victim}" "mailto:{foreign}";'):
        with mailbox.script(*lab.files(user), f'require ["vacation", "enotify"];\r\n{actions}\r\n'):
            message = lab.message(foreign, user)
            elsewhere(lab).submit(message)
            lab.find(message["Message-ID"], (user, dict(lab.accounts)[user]), within=PATIENCE)
    said = answered(lab, user, foreign)
    with lab.big() as box:
        box.select("INBOX")
        _status, found = box.uid("search", "BODY", '"I am the boss"')
        _status, notified = box.uid("search", "FROM", f'"{victim}"', "HEADER", "Auto-Submitted", "auto-notified")
        if found[0] or notified[0]:
            raise Broken(f"a notice of {user}'s script came in the name of {victim}")
    return f"{len(forged)} messages with {', '.join(claims)}; {said}"


def past_filter(lab: Lab, sender: str, recipient: str, text: str) -> tuple[int, str]:
    """Deliver a message as the MTA does, so that it is sure to reach the script, whatever the filter thinks of it; return the answer."""
    program = (
        "import smtplib, sys\n"
        "with smtplib.LMTP(sys.argv[1]) as session:\n"
        "    try: session.sendmail(sys.argv[2], [sys.argv[3]], sys.stdin.buffer.read()); print(250)\n"
        "    except smtplib.SMTPResponseException as exc: print(exc.smtp_code, exc.smtp_error.decode())\n"
    )
    arguments = " ".join(map(shlex.quote, (program, lab.commands["lmtp"], sender, recipient)))
    said = lab.run(f"printf %s {shlex.quote(text)} | {lab.commands['python']} -c {arguments}")
    return int(said.split()[0]), said.strip()


def answered(lab: Lab, user: str, foreign: str) -> str:
    """Let a user be on holiday, and see the notice, which passes and returns to nobody."""
    token = secrets.token_hex(8)
    with mailbox.script(*lab.files(user), f'require "vacation";\r\nvacation :handle "{token}" :addresses ["{user}"] "Away {token}";\r\n'):
        message = lab.message(foreign, user)
        elsewhere(lab).submit(message)
        end = time.monotonic() + PATIENCE
        with lab.big() as box:
            while True:
                box.select("INBOX")
                _status, uids = box.uid("search", "BODY", token)
                if uids[0]:
                    break
                if time.monotonic() > end:
                    raise Broken(f"no notice of {user}'s vacation at the strict receiver; our queue:\n{lab.run(lab.mta.list, check=False)}")
                time.sleep(0.5)  # IMAP without IDLE has no event to wait for
            _status, data = box.uid("fetch", uids[0].split()[-1].decode(), "(BODY.PEEK[])")
    notice = email.message_from_bytes(data[0][1], policy=email.policy.default)
    found = authentication(notice)
    if returns_to(notice) or user not in str(notice["From"]) or {found.get(method) for method in ("dkim", "dmarc")} != {"pass"}:
        raise Broken(f"the notice came from <{returns_to(notice)}>, From: {notice['From']}: {found}")
    return f"a notice of {user}'s vacation: {', '.join(f'{method}={result}' for method, result in sorted(found.items()))}"


@book.promise("sieve-answers")
def sieve_answers(lab: Lab) -> str:
    """What a user's script answers itself is signed, and passes at the strict receiver."""
    return answered(lab, lab.account(1)[0], lab.bigmail["user"])


@book.promise("client-names")
def client_names(lab: Lab) -> str:
    """A client without a name in reverse DNS is deferred; mail from one whose name leads to another address goes to Junk, and so does
    mail from one with a name as providers give it to every line. Where the score of a client's address counts, a bad one does the same,
    though it be called like a mail server."""
    if not lab.mta.judges_names:
        raise NotAsked("this MTA leaves names to the filter's score")
    user, nameless = lab.account()[0], "198.51.100.6"
    with socket.create_connection((lab.address("ipv4"), 25), timeout=lab.timeout, source_address=(nameless, 0)) as plain:
        said = plain.makefile("rb").readline().decode().strip()
    if not said.startswith("4"):
        raise Broken(f"{nameless} was answered with {said}")
    # The greeting has no SPF record, so that the filter finds little against the message, and the client's name alone makes it junk.
    found = []
    for client, greeting, folder in (("198.51.100.5", "ns.test", "INBOX"), ("198.51.100.7", "liar.client.test", "Junk"),
                                     ("198.51.100.9", "198-51-100-9.dyn.client.test", "Junk"),
                                     ("198.51.100.11", "mail.client.test", "Junk" if lab.score > 45 else "INBOX")):
        message = lab.message("x@ns.test", user)
        for attempt in (1, 2):
            with dataclasses.replace(lab, helo=greeting).smtp(source=client) as session:
                code, reply = session.send("", [user], message.as_bytes())
            if attempt == 1 and 400 <= code <= 499:
                lab.run(lab.commands["greylist_later"])
                continue
            _promises.accepted(code, reply, f"a message from {client}")
            break
        lab.find(message["Message-ID"], folder=folder)
        found.append(f"{client}: {folder}")
    return "; ".join([f"{nameless}: {said}", *found])


@book.promise("role-mail")
def role_mail(lab: Lab) -> str:
    """Mail to bare postmaster, and mail that the host itself sends to root, reach the postmaster."""
    user = lab.account()[0]
    message = lab.message(f"outside@{lab.helo}", "postmaster")
    lab.deliver(message, "postmaster")
    lab.find(message["Message-ID"], lab.account())
    token = secrets.token_hex(8)
    lab.run(f"printf 'Subject: from the host\\nMessage-ID: <{token}@host.test>\\n\\nx\\n' | sendmail root")
    lab.find(f"<{token}@host.test>", lab.account())
    return user


@book.promise("bad-helo")
def bad_helo(lab: Lab) -> str:
    """A client that greets with something that is no full name is refused."""
    # From its first greeting on: a second one is not taken by every server.
    with dataclasses.replace(lab, helo="localhost").smtp() as session:
        code, reply = session.envelope(f"outside@{lab.helo}", lab.account()[0])
    return _promises.refused(code, reply, "EHLO localhost")


@book.promise("smuggling")
def smuggling(lab: Lab) -> str:
    """A message with a bare-newline end of data inside stays one message, whatever the line ends around the dot (CVE-2023-51764)."""
    user = lab.account()[0]
    ends = (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n")
    # At once, and with what is smuggled in a segment of its own: the relay that is abused streams it without waiting for replies.
    for end, pause in itertools.product(ends, (0.0, 0.5)):
        inner = secrets.token_hex(8)
        message = lab.message(f"outside@{lab.helo}", user)
        head = message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        smuggled = (
            b"MAIL FROM:<postmaster@" + user.split("@")[1].encode() + b">\r\nRCPT TO:<" + user.encode() + b">\r\nDATA\r\n"
            b"From: postmaster@x.test\r\nMessage-ID: <" + inner.encode() + b"@smuggled.test>\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
        )
        with lab.smtp() as session:
            session.mail(f"outside@{lab.helo}")
            session.rcpt(user)
            session.command("DATA")
            session.raw(head + end)
            time.sleep(pause)  # no event says that a segment was read
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session.raw(smuggled)
                session.reply()
        # A later message to the same mailbox: when it is there, all that came before has been delivered.
        last = lab.message(f"outside@{lab.helo}", user)
        lab.deliver(last, user)
        lab.find(last["Message-ID"])
        with lab.imap() as box:
            box.select("INBOX")
            _status, found = box.uid("search", "HEADER", "Message-ID", inner)
            if found[0]:
                raise Broken(f"{end!r} ended a message: the smuggled one was delivered")
    return "six line ends around the dot, each in one segment and in two, and no message smuggled"


@book.promise("large-message")
def large_message(lab: Lab) -> str:
    """A message of 20 MB passes in both directions."""
    user = lab.account()[0]
    # Where the message is judged before it is answered, the answer takes a while; RFC 5321 section 4.5.3.2.6 gives it ten minutes.
    lab = dataclasses.replace(lab, timeout=180)
    line = b"x" * 76 + b"\r\n"
    message = lab.message(f"outside@{lab.helo}", user)
    content = message.as_bytes().replace(b"\n", b"\r\n") + line * (20_000_000 // len(line))
    with lab.smtp(25, "starttls") as session:
        code, reply = session.send(f"outside@{lab.helo}", [user], content)
    _promises.accepted(code, reply, "a message of 20 MB from outside")
    lab.find(message["Message-ID"], within=PATIENCE)
    message = lab.message(user, user)
    content = message.as_bytes().replace(b"\n", b"\r\n") + line * (20_000_000 // len(line))
    with lab.smtp(587, "starttls") as session:
        session.login(*lab.account())
        code, reply = session.send(user, [user], content)
    return _promises.accepted(code, reply, "a message of 20 MB by submission")


@book.promise("junk-folder")
def junk_folder(lab: Lab) -> str:
    """A spammy but acceptable message is asked to come again later; when it does, it lands in Junk, not in the inbox."""
    user = lab.account()[0]
    token = secrets.token_hex(8)
    content = (
        f'From: "Prize Service" <outside@{lab.helo}>\r\nReply-To: <x@y.example>\r\nMessage-ID: <{token}@{lab.helo}>\r\n'
        f"Subject: YOU HAVE WON A PRIZE CLAIM NOW {token.upper()}!!!\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/html; charset=us-ascii\r\n\r\n"
        f'<html><body><a href="http://198.51.100.99/{token}">http://www.paypal.com/login</a></body></html>\r\n'
    ).encode()

    def deliver() -> tuple[int, str]:
        # A sender that has not been here: greylisting remembers who has.
        with lab.smtp(25, "starttls") as session:
            return session.send(f"outside-{token}@{lab.helo}", [user], content)

    code, reply = deliver()
    if not 400 <= code <= 499:
        raise Broken(f"at the first try it was answered with {code} {reply}")
    lab.run(lab.commands["greylist_later"])
    _promises.accepted(*deliver(), "the second try")
    lab.find(f"<{token}@{lab.helo}>", folder="Junk")
    return f"{code} {reply}; {mailbox.absent(*lab.files(user), 'INBOX', token.upper())}"


def learned(lab: Lab) -> tuple[int, int]:
    """How many messages of spam and of ham the statistics backend has learnt, as the backend itself counts them."""
    spam, ham = lab.run(lab.commands["learned"]).split()
    return int(spam), int(ham)


@book.promise("junk-learning")
def junk_learning(lab: Lab) -> str:
    """Moving to Junk teaches spam, moving back teaches ham, by MOVE and by COPY; moving from Junk to Trash teaches nothing."""
    user = lab.account()[0]
    said = []

    def teaches(what: str, token: str, source: str, target: str, by: str, expected: str) -> None:
        before, known = learned(lab), lab.run(lab.commands["learned_as"])
        mailbox.move(*lab.files(user), token, source, target, by)
        # Learning is done after the IMAP command has been answered; where nothing is to happen there is nothing to wait for.
        end = time.monotonic() + (PATIENCE if expected else 3)
        while True:
            taught = dict(zip(("spam", "ham"), (now - then for now, then in zip(learned(lab), before)), strict=True))
            # What is learnt anew is taken back from the other kind, by newer versions.
            right = [kind for kind, count in taught.items() if count > 0] == ([expected] if expected else [])
            if time.monotonic() > end or (expected and right):
                break
            time.sleep(0.3)
        if not right or sum(abs(count) for count in taught.values()) > 2:
            raise Broken(f"{what} by {by} taught {taught}, not {expected or 'nothing'}")
        said.append(f"{what} by {by}: spam {taught['spam']:+d}, ham {taught['ham']:+d}")
        # Rspamd counts first, and then takes down which kind the message is: before that it would not know the next move for a correction.
        while expected and lab.run(lab.commands["learned_as"]) == known:
            if time.monotonic() > end:
                raise Broken(f"{what} by {by} was counted, and not remembered as {expected}")
            time.sleep(0.2)  # the store has no event to wait for

    def new() -> str:
        token = secrets.token_hex(8)
        text = " ".join(secrets.token_hex(4) for _ in range(60))
        mailbox.append(*lab.files(user), "INBOX", lab.message(f"x@{lab.helo}", user, text + "\n", Subject=token).as_bytes())
        return token

    for by in ("MOVE", "COPY"):
        token = new()
        teaches("to Junk", token, "INBOX", "Junk", by, "spam")
        teaches("from Junk", token, "Junk", "INBOX", by, "ham")
    if lab.learns_again:
        teaches("to Junk again", token, "INBOX", "Junk", "MOVE", "spam")
    else:
        mailbox.purge(*lab.files(user), token)
        token = new()
        teaches("another to Junk", token, "INBOX", "Junk", "MOVE", "spam")
    teaches("from Junk to Trash", token, "Junk", "Trash", "MOVE", "")
    mailbox.purge(*lab.files(user), token)
    return "; ".join(said)


@book.promise("learnt-stays")
def learnt_stays(lab: Lab) -> str:
    """A restart of the statistics backend loses nothing that was learnt."""
    before = learned(lab)
    if not any(before):
        raise Broken("nothing was learnt before the restart")
    lab.run(lab.commands["restart_store"])
    if learned(lab) != before:
        raise Broken(f"{before} messages of spam and ham before the restart, {learned(lab)} after it")
    return f"{before} messages of spam and ham before and after"


@book.promise("login-forms")
def login_forms(lab: Lab) -> str:
    """Users read their mail on 993 and, after STARTTLS, on 143, and may write their address in any case."""
    return mailbox.login_works(*lab.files(lab.account()[0]))


@book.promise("sieve-acts")
def sieve_acts(lab: Lab) -> str:
    """A script that a user uploads by ManageSieve files the next message; a broken one is refused at upload."""
    user = lab.account()[0]

    def deliver(content: bytes, recipient: str) -> None:
        with lab.smtp(25, "starttls") as session:
            _promises.accepted(*session.send(f"outside@{lab.helo}", [recipient], content), "a message")

    evidence = mailbox.sieve_script_acts(*lab.files(user), deliver)
    return f"{evidence}; {mailbox.sieve_bad_script_refused(*lab.files(user))}"


@contextlib.contextmanager
def full(lab: Lab) -> Iterator[str]:
    """The mailbox of the last account, which has a quota, over it for a while."""
    if not lab.quota:
        raise NotAsked("no account has a quota")
    user, _password = lab.accounts[-1]
    token = secrets.token_hex(8)
    with lab.imap(lab.accounts[-1]) as box:  # what an earlier, broken run may have left there
        _status, count = box.select("INBOX")
        if count != [b"0"]:
            box.store("1:*", "+FLAGS", "\\Deleted")
            box.expunge()
    # One message that is larger than the box: the last that fits may exceed the quota, so that nothing accepted is held up.
    with lab.smtp(25, "starttls") as session:
        content = mailbox.message(token, f"outside@{lab.helo}", user, size=lab.quota + 1_000_000)
        _promises.accepted(*session.send(f"outside@{lab.helo}", [user], content), "a message that fills the mailbox")
    mailbox.wait_for(*lab.files(user), "INBOX", token)
    try:
        yield user
    finally:
        mailbox.purge(*lab.files(user), token)


@book.promise("quota")
def quota(lab: Lab) -> str:
    """A user sees the quota by IMAP; a recipient over quota is refused at RCPT, by whichever name, while others get their mail, and taken
    again when there is room."""
    with full(lab) as user:
        shown = mailbox.quota_shown(*lab.files(user), lab.quota)
        domain = next((domain for domain, targets in lab.catch_all.items() if targets == [user]), "")
        if not domain:
            raise NotAsked(f"no catch-all leads to {user}")
        aliases = [name for name, found in lab.aliases.items() if list(found) == [user]]
        if not any(set("&='") <= set(name) for name in aliases):
            raise NotAsked(f"no alias with &, = and ' in its name leads to {user}")
        names = [user, user.replace("@", "+shop@"), *aliases, f"any-{secrets.token_hex(3)}@{domain}", f"any+shop@{domain}"]
        others = [lab.account()[0], *(alias for alias in lab.aliases if alias.endswith(f"@{domain}") and lab.aliases[alias] != [user])]
        with lab.smtp() as session:
            for name in names:
                evidence = _promises.refused(*session.envelope(f"outside@{lab.helo}", name), f"{name} over quota")
            for other in others:
                _promises.accepted(*session.envelope(f"outside@{lab.helo}", other), f"{other}, which is not only that mailbox,")
    with lab.smtp() as session:
        for name in names:
            _promises.accepted(*session.envelope(f"outside@{lab.helo}", name), f"{name} with room again")
    return f"{shown}; {', '.join(names)}: {evidence}; taken: {', '.join(others)}"


@book.promise("deferred-quietly")
def deferred_quietly(lab: Lab) -> str:
    """Mail to an alias with a full mailbox reaches the others, and waits for that one until there is room. Its sender is told
    nothing meanwhile, not even after a day."""
    foreign, other = lab.bigmail["user"], lab.account()[0]
    with full(lab) as user:
        message = lab.message(foreign, alias_to(lab, other, user))
        elsewhere(lab).submit(message)
        lab.find(message["Message-ID"], within=PATIENCE)
        waiting_since(lab, user, message, "and was not deferred")
        lab.run(lab.commands["a_day_later"].format(id=lab.waiting(user).id))
        lab.run(lab.mta.flush)
        # Long enough to be tried again, and for a report to get there; where nothing is to happen there is nothing to wait for.
        end = time.monotonic() + 15
        while time.monotonic() < end:
            if report := report_here(lab, message["Message-ID"]):
                raise Broken(f"{foreign} was told: {report['Subject']}")
            time.sleep(1)  # what must not come has no event
        said = waiting_since(lab, user, message, "and waits no more after a day").reason
    lab.run(lab.mta.flush)
    lab.find(message["Message-ID"], lab.accounts[-1], within=PATIENCE)
    if report := report_here(lab, message["Message-ID"]):
        raise Broken(f"{foreign} was told, though all was delivered: {report['Subject']}")
    return f"waited for {user}: {said}"


def waiting_since(lab: Lab, user: str, message: Any, otherwise: str) -> Any:
    """Wait until a message for this user is deferred, and return it."""
    end = time.monotonic() + PATIENCE
    while not ((found := lab.waiting(user)) and found.reason):
        if time.monotonic() > end:
            raise Broken(f"{message['Message-ID']} is for {user}, {otherwise}; our queue:\n{lab.run(lab.mta.list, check=False)}")
        time.sleep(0.5)  # the queue has no event to wait for
    return found


@book.promise("only-what-should-listen")
def only_what_should_listen(lab: Lab) -> str:
    """On public addresses nothing listens but SSH, SMTP, submission, IMAP and ManageSieve."""
    allowed = {22, 25, 143, 465, 587, 993, 4190} | lab.further_ports
    opened: dict[str, list[int]] = {}
    for _family, address in lab.every_address():
        opened[address] = []
        for port in range(1, 65536):
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.settimeout(2)
                if probe.connect_ex((address, port)) == 0:
                    opened[address].append(port)
    for address, ports in opened.items():
        if set(ports) != allowed:
            raise Broken(f"on {address}: open beyond what should be {sorted(set(ports) - allowed)}, closed {sorted(allowed - set(ports))}")
    listening = [line.split() for line in lab.run(lab.commands["udp"]).splitlines()]
    # The fourth column is the own address in what ss and netstat tell.
    public = [words[3] for words in listening if re.search(r"\d$", words[3]) and not re.match(r"127\.|\[?::1\]?[.:]", words[3])]
    if public:
        raise Broken(f"UDP listeners: {public}")
    return ", ".join(map(str, sorted(allowed)))


@book.promise("renewal")
def renewal(lab: Lab) -> str:
    """A renewed certificate is served at once on every port, with the same key."""

    def served() -> dict[int, tuple[str, bytes]]:
        found = {}
        for port in _promises.TLS_PORTS:
            with _promises.open_tls(lab, lab.address(), port, lab.tls()) as tls:
                der = tls.getpeercert(binary_form=True)
                found[port] = (tls.getpeercert()["serialNumber"], public_key(der))
        return found

    before = served()
    lab.run(lab.commands["renew"])
    after = served()
    for port, (serial, key) in after.items():
        if serial == before[port][0]:
            raise Broken(f"port {port} still serves the old certificate")
        if key != before[port][1]:
            raise Broken(f"port {port} serves another key than before")
    if len({serial for serial, _key in after.values()}) != 1:
        raise Broken(f"the ports serve different certificates: {after}")
    return f"serial {before[25][0]} became {after[25][0]} on {', '.join(map(str, after))}"


def public_key(der: bytes) -> bytes:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-pubkey"], input=ssl.DER_cert_to_PEM_cert(der).encode(), capture_output=True, check=True
    )
    return done.stdout


@book.promise("filter-down")
def filter_down(lab: Lab) -> str:
    """With the filter stopped mail is deferred, not waved through, and what a script is to redirect waits; with the filter back it is taken
    again."""
    user, owner = lab.account()[0], lab.account(1)[0]
    lab.run(lab.commands["stop_filter"])
    try:
        with mailbox.script(*lab.files(owner), f'redirect "{lab.bigmail["user"]}";\r\n'):
            waiting = past_filter(lab, user, owner, lab.message(user, owner).as_string())
        if not 400 <= waiting[0] <= 499:
            raise Broken(f"with the filter stopped a message for a script that redirects it was answered with {waiting[1]}")
        message = lab.message(f"outside@{lab.helo}", user)
        with lab.smtp() as session:
            code, reply = session.send(f"outside@{lab.helo}", [user], message.as_bytes())
            if not 400 <= code <= 499:
                raise Broken(f"with the filter stopped a message was answered with {code} {reply}")
    finally:
        lab.run(lab.commands["start_filter"])
    taken_again(lab, message, user)
    return f"{code} {reply}"


@book.promise("own-mail-restart")
def own_mail_restart(lab: Lab) -> str:
    """What a program on the host sends while the filter restarts is signed all the same."""
    user, recipient = f"postmaster@{lab.domains[0]}", lab.bigmail["user"]
    message = lab.message(user, recipient)
    send = f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(user)} {shlex.quote(recipient)}"
    lab.run(f"{lab.commands['stop_filter']}; {send} & {lab.commands['start_filter']}; wait $!")
    return left_signed(lab, message)


@book.promise("own-mail-waits")
def own_mail_waits(lab: Lab) -> str:
    """What a program on the host sends while the filter is away waits for it, and leaves signed."""
    user, recipient = f"postmaster@{lab.domains[0]}", lab.bigmail["user"]
    message = lab.message(user, recipient)
    lab.run(lab.commands["stop_filter"])
    try:
        lab.run(f"printf %s {shlex.quote(message.as_string())} | sendmail -f {shlex.quote(user)} {shlex.quote(recipient)}")
    finally:
        lab.run(lab.commands["start_filter"])
    return left_signed(lab, message)


def left_signed(lab: Lab, message: Any) -> str:
    """Wait until the filter is back and what waited for it has left; see that it is signed."""
    user = lab.account()[0]
    taken_again(lab, lab.message(f"outside@{lab.helo}", user), user)
    lab.run(lab.mta.flush)
    found = authentication(lab.at_bigmail(message["Message-ID"], within=PATIENCE))
    if found.get("dkim") != "pass":
        raise Broken(f"the strict receiver found {found}")
    return ", ".join(f"{method}={result}" for method, result in sorted(found.items()))


def taken_again(lab: Lab, message: Any, user: str) -> None:
    """Wait until the filter is back and the message is taken."""
    end = time.monotonic() + PATIENCE
    while True:
        # Not every MTA asks the filter before the message is there.
        with lab.smtp() as session:
            back, answer = session.send(f"outside@{lab.helo}", [user], message.as_bytes())
        if back == 250:
            break
        if time.monotonic() > end:
            raise Broken(f"with the filter back mail is still answered with {back} {answer}")
        time.sleep(0.5)  # Rspamd says nothing when it is ready
    lab.find(message["Message-ID"])


@book.promise("restart-of-everything")
def restart_of_everything(lab: Lab) -> str:
    """A message in the queue survives a restart of all services, and is delivered after it."""
    user = lab.account()[0]
    lab.run(lab.commands["stop_delivery"])
    try:
        token = secrets.token_hex(8)
        lab.run(f"printf 'Subject: queued\\nMessage-ID: <{token}@host.test>\\n\\nx\\n' | sendmail {shlex.quote(user)}")
        end = time.monotonic() + PATIENCE
        while not lab.waiting(user):
            if time.monotonic() > end:
                raise Broken("the message is not in the queue while Dovecot is stopped")
            time.sleep(0.3)
    finally:
        lab.run(lab.commands["restart_all"])
    lab.run(lab.mta.flush)
    lab.find(f"<{token}@host.test>", within=PATIENCE)
    taken_again(lab, lab.message(f"outside@{lab.helo}", user), user)
    return f"queued while Dovecot was stopped, delivered after: {lab.commands['restart_all']}"


# Dovecot's processes, and the one that starts them.
_DOVECOT = 'pkill -{signal} -x dovecot && pkill -{signal} -P "$(pgrep -o -x dovecot)"'


@book.promise("agent-killed")
def agent_killed(lab: Lab) -> str:
    """A message whose delivery agent is killed, as a system does that has no memory left, is delivered later: once, and nobody gets a
    report."""
    user, token = lab.account()[0], secrets.token_hex(8)
    lab.run(_DOVECOT.format(signal="STOP"))
    try:
        lab.run(f"printf 'Subject: killed\nMessage-ID: <{token}@host.test>\n\nx\n' | sendmail {shlex.quote(user)}")
        # It waits for Dovecot's greeting.
        lab.run(f"for try in $(seq 100); do if pkill -9 {lab.mta.agent}; then exit 0; fi; sleep 0.2; done; exit 1")
    finally:
        lab.run(_DOVECOT.format(signal="CONT"))
    end = time.monotonic() + PATIENCE
    while True:  # an MTA may wait before it starts an agent anew
        lab.run(lab.mta.flush)
        try:
            lab.find(f"<{token}@host.test>", within=5)
            break
        except Broken:
            if time.monotonic() > end:
                raise
    with lab.imap() as box:
        box.select("INBOX", readonly=True)
        _status, (numbers,) = box.search(None, "TEXT", token)
    if len(numbers.split()) != 1:
        raise Broken(f"after the agent was killed the mailbox of {user} has {len(numbers.split())} messages with {token}, not 1")
    return f"delivered to {user} once"


def guesses(lab: Lab, user: str, way: str, *sources: str) -> Iterator[threading.Thread]:
    """Give wrong passwords by submission or by IMAP, from each of these addresses one. Each is answered later than the one before, so
    they are tried at once."""

    def guess(source: str) -> None:
        address = lab.address("ipv6" if ":" in source else "ipv4")
        with contextlib.suppress(OSError, ssl.SSLError, Broken, smtplib.SMTPException, imaplib.IMAP4.error):
            if way == "submission":
                with lab.smtp(465, "wrapped", address, source) as session:
                    session.authenticate(user, secrets.token_hex(6))
            else:
                # Any octets can be in a name that is sent in this way.
                identity = f"\0{user}\0{secrets.token_hex(6)}".encode()
                Imap(address, lab.fqdn, lab.tls(), lab.timeout, source=source).authenticate("PLAIN", lambda _challenge: identity)

    for source in sources:
        thread = threading.Thread(target=guess, args=(source,))
        thread.start()
        yield thread


def reached(lab: Lab, source: str, port: int = 993) -> None:
    """Connect from an address.

    :raises OSError: refused
    """
    socket.create_connection((lab.address("ipv6" if ":" in source else "ipv4"), port), timeout=3, source_address=(source, 0)).close()


def banned(lab: Lab, source: str, why: str) -> str:
    """Wait until an address is shut out, and return how that looks."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            reached(lab, source)
        except OSError as exc:
            return f"{source}: {exc}"
        if time.monotonic() > end:
            raise Broken(f"{why}, and {source} is not banned")
        time.sleep(1)  # fail2ban reads the journal


@book.promise("ban")
def ban(lab: Lab) -> str:
    """Who guesses passwords, by submission or by IMAP, is banned from all ports, over IPv6 with the network of 64 bits that the guesses
    come from, and others are not."""
    if not lab.guesser:
        raise NotAsked("needs a second address to guess from")
    user, network, said = lab.account()[0], lab.network(), []
    # From a network, one address of it less: that has not guessed, and is shut out with the others.
    clients = [([lab.guesser] * 8, [lab.guesser])] + ([(network[1:] * 2, network)] if network else [])
    for way in ("submission", "IMAP"):
        for sources, shut_out in clients:
            guessers = list(guesses(lab, user, way, *sources))
            try:
                said += [banned(lab, source, f"eight wrong passwords by {way} from {', '.join(dict.fromkeys(sources))}")
                         for source in shut_out]
                with lab.smtp(587, "starttls") as session:
                    session.login(*lab.account())
                if network:
                    # Trusted, and in the same network.
                    with lab.smtp(587, "starttls", lab.address("ipv6")) as session:
                        session.login(*lab.account())
            finally:
                lab.run(lab.commands["unban"], check=False)
                for guesser in guessers:
                    guesser.join()
    return "; ".join(said)


@book.promise("ban-forged")
def ban_forged(lab: Lab) -> str:
    """A user name, or a recipient, that looks like an entry of the log bans at most who gave it, and never the address that it names."""
    if not lab.guesser:
        raise NotAsked("needs an address to guess from, and one to be slandered")
    victim, witness = (socket.gethostbyname(name) for name in ("listed.client.test", "home.client.test"))
    event = '{{"event":"auth_passdb_request_finished","fields":{{"remote_ip":"{}","passdb":"users-64"}}}}'
    forged = [
        f"auth(a,{victim}): x: unknown user",
        f"a,{victim},<b>): Password mismatch",
        f"auth: passwd-file(a,{victim}): unknown user",
        f"a\n{lab.fqdn} dovecot[1]: stats: {event.format(victim)}",
        f"stats: {event.format(victim)}",
        f"x'\npostmaster: authentication failed from {victim}/32 as 'y",
        f"authentication of 'x' failed from {victim}",
        f"{victim}/32 as x, postmaster: authentication failed from {victim}/32 as y@{lab.domains[0]}",
    ]
    guessers: list[threading.Thread] = []
    try:
        for name in forged:
            guessers = [thread for way in ("submission", "IMAP") for thread in guesses(lab, name, way, *[lab.guesser] * 3)]
            # Who is banned for it gets no answer before he is let in again.
            end = time.monotonic() + 10
            for thread in guessers:
                thread.join(max(0.0, end - time.monotonic()))
            lab.run(lab.commands["unban_one"].format(address=lab.guesser), check=False)
            for thread in guessers:
                thread.join()
        with lab.smtp() as session:
            for name in forged:
                session.mail(f"outside@{lab.helo}")
                quoted = name.replace('"', '\\"').partition("\n")[2] or name
                session.command(f'RCPT TO:<"{quoted}"@{lab.domains[0]}>')
                session.command("RSET")
                if session.command("NOOP")[0] == 421:
                    break
        # The log is read in order: once these are known, all of those are.
        guessers = list(guesses(lab, lab.account()[0], "IMAP", *[witness] * 8))
        said = banned(lab, witness, "eight wrong passwords")
        for port in (25, 465, 587, 993):
            reached(lab, victim, port)
    except OSError as exc:
        raise Broken(f"{victim}, which others have named, is not served: {exc}") from exc
    finally:
        for thread in guessers:
            thread.join()
        lab.run(lab.commands["unban"], check=False)
    return f"{said}; {victim}, named in {len(forged)} ways, is served"


def one_too_many(lab: Lab, sources: list[str], opened: list[socket.socket]) -> tuple[int, str]:
    """Open connections until one is refused; return how many were served, and what the last one was told."""
    address, most = lab.address("ipv6" if ":" in sources[0] else "ipv4"), 80
    for number, source in zip(range(most), itertools.cycle(sources)):
        plain = socket.create_connection((address, 25), timeout=lab.timeout, source_address=(source, 0))
        opened.append(plain)
        reply = plain.makefile("rb").readline().decode("utf-8", "replace").strip()
        if not reply.startswith("220"):
            return number, reply
    raise Broken(f"{', '.join(sources)} may have {most} connections at once")


@book.promise("client-connections")
def client_connections(lab: Lab) -> str:
    """One client cannot take all sessions of the MX: more than an office needs at once is refused for now (4xx), while others are
    served; over IPv6 that is a network of 64 bits where the MTA can count these."""
    if not lab.guesser:
        raise NotAsked("needs further addresses to connect from")
    user, said = lab.account()[0], []
    for sources in filter(None, ([lab.guesser], lab.network()[: 2 if lab.counts_networks else 1])):
        opened: list[socket.socket] = []
        try:
            served, reply = one_too_many(lab, sources, opened)
            if served < 30 or not re.match(r"4(21|50|51) ", reply):
                raise Broken(f"connection {served + 1} of {', '.join(sources)} was answered with {reply}")
            message = lab.message(f"outside@{lab.helo}", user)
            lab.deliver(message, user)
            lab.find(message["Message-ID"])
            said.append(f"{served} at once from {', '.join(sources)}, then: {reply}")
        finally:
            for plain in opened:
                plain.close()
    return "; ".join(said)


@book.promise("client-messages")
def client_messages(lab: Lab) -> str:
    """A client that begins very many messages in a minute is told to come later (4xx), while others are served."""
    if not lab.guesser:
        raise NotAsked("needs a second address to send from")
    user, most, batch, begun, refused = lab.account()[0], 6000, 40, 0, ""
    while not refused:
        if begun >= most:
            raise Broken(f"{begun} messages were begun from {lab.guesser}, and none was refused")
        # Of one session an MTA takes only so many commands that lead nowhere.
        with lab.smtp(source=lab.guesser) as session:
            for _ in range(batch):
                code, reply = session.mail("a@good.client.test")
                if code != 250:
                    refused = f"{code} {reply}"
                    break
                begun += 1
                session.command("RSET")
    if not re.match(r"4(21|50|51) ", refused):
        raise Broken(f"after {begun} messages from {lab.guesser} one was refused with {refused}")
    message = lab.message(f"outside@{lab.helo}", user)
    lab.deliver(message, user)
    lab.find(message["Message-ID"])
    return f"more than {begun} messages were begun from {lab.guesser}, then: {refused}"


@book.promise("check-mode")
def check_mode(lab: Lab) -> str:
    """Check mode on the finished server foretells no change and makes none."""
    if not lab.playbook:
        raise NotAsked("no playbook to run")
    before = lab.run(lab.commands["state"])
    stats = lab.playbook("--check")
    if lab.run(lab.commands["state"]) != before:
        raise Broken("check mode changed files or packages")
    return f"{stats['ok']} tasks, none would change"

