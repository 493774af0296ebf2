# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test network is what it claims to be, seen by protocol. It must be up: tests/testnet/check, or testnet up first."""

from __future__ import annotations

import collections
import contextlib
import email
import email.policy
import imaplib
import ipaddress
import os
import pathlib
import signal
import smtplib
import socket
import socketserver
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dkim
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.resolver
import dns.tsigkeyring
import dns.update
import pytest
from testnet_lib import machine, services, zones
from testnet_lib.plan import CLIENTS, HERE, STATE, Inventory, ipv4, ipv6

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

INVENTORY = Inventory()
HOST = INVENTORY.host("mail.check.test")
NS = ipv4(2)
BIGMAIL = (ipv4(10), ipv6(10))
MAILBOX = INVENTORY.variables["testnet_bigmail"]
Address = Callable[[int], str]
BOTH = pytest.mark.parametrize("address_of", [ipv4, ipv6], ids=["IPv4", "IPv6"])


@pytest.fixture(autouse=True)
def _inside() -> Iterator[None]:
    """Every socket of a test belongs to the test network; the tests of other directories are left outside."""
    with machine.inside_network():
        yield


@pytest.fixture
def host() -> Iterator[None]:
    """A bare host under test, for this test alone."""
    run_testnet("destroy", HOST.name)
    run_testnet("boot", HOST.name)
    yield
    run_testnet("destroy", HOST.name)


def run_testnet(*words: str, name: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"TESTNET_NAME": name} if name else {})}
    return subprocess.run([str(HERE / "testnet"), *words], check=True, capture_output=True, text=True, env=environment)


def resolve(name: str, kind: str) -> list[str]:
    """Return the answer's records as text; empty if there are none."""
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.lifetime = [NS], 60
    try:
        return sorted(record.to_text().rstrip(".") for record in resolver.resolve(name, kind))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []


def reverse(address: str) -> list[str]:
    return resolve(ipaddress.ip_address(address).reverse_pointer, "PTR")


# Names

@pytest.mark.parametrize("name", INVENTORY.hosts)
def test_names_of_hosts_agree_both_ways(name: str) -> None:
    number = INVENTORY.host(name).number
    assert resolve(name, "A") == [ipv4(number)]
    assert resolve(name, "AAAA") == [ipv6(number)]
    assert reverse(ipv4(number)) == reverse(ipv6(number)) == [name]


@BOTH
@pytest.mark.parametrize("number", CLIENTS)
def test_names_of_clients_are_as_good_as_they_claim(number: int, address_of: Address) -> None:
    address = address_of(number)
    forward = [value for name in reverse(address) for value in resolve(name, "A" if address_of is ipv4 else "AAAA")]
    assert forward == {6: [], 7: [address_of(5)], 14: []}.get(number, [address])


def test_no_zone_of_users_holds_anything_of_mail(host: None) -> None:
    for kind in ("MX", "TXT"):
        assert resolve(HOST.zone, kind) == []
    assert resolve(f"_dmarc.{HOST.zone}", "TXT") == []


@pytest.mark.parametrize("question", [("mail.example.org", "A"), ("mx.bigmail.test", "AAAA"), ("_25._tcp.mx.bigmail.test", "TLSA"),
                                      (zones.reversed_in("127.0.0.2", "dnsbl.test"), "TXT"), (f"2.{zones.REVERSE4}", "PTR"),
                                      (ipaddress.ip_address(ipv6(2)).reverse_pointer, "PTR"), ("nowhere.example.net", "A")])
def test_answers_validate_from_the_private_root(question: tuple[str, str]) -> None:
    argv = ["delv", "-a", str(STATE / "root.delv"), "+root=.", f"@{NS}", *question]
    assert "fully validated" in machine.run(*argv, inside=True).stdout


def test_unbound_validates_with_the_exported_anchor_and_hints() -> None:
    for question in (("mail.example.org", "A"), ("-x", ipv4(25)), ("-x", ipv6(25))):
        answer = services.on(INVENTORY.host("mx.bigmail.test"), "dig", "@127.0.0.1", "+adflag", *question)
        assert " ad;" in answer and "status: NOERROR" in answer


# Updates

def change(zone: str, key: dict[str, str] | None, name: str, text: str) -> str:
    update = dns.update.UpdateMessage(zone)
    if key:
        update.use_tsig(dns.tsigkeyring.from_text({key["name"]: (key["algorithm"], key["secret"])}))
    update.replace(name, 5, "TXT", f'"{text}"')
    return dns.rcode.to_text(dns.query.tcp(update, NS, timeout=60).rcode())


USERS, REVERSE = INVENTORY.variables["testnet_tsig"], INVENTORY.variables["testnet_tsig_reverse"]


@pytest.mark.parametrize(("zone", "key", "answer"), [
    ("check.test", USERS, "NOERROR"), ("example.net", USERS, "NOERROR"),
    ("check.test", None, "REFUSED"), ("check.test", REVERSE, "REFUSED"),
    ("bigmail.test", USERS, "REFUSED"), (zones.REVERSE4, REVERSE, "NOERROR"), (zones.REVERSE6, REVERSE, "NOERROR"),
    (zones.REVERSE6, USERS, "REFUSED"), ("check.test", {**USERS, "secret": REVERSE["secret"]}, "NOTAUTH")])
def test_an_update_needs_the_key_of_its_zone(zone: str, key: dict[str, str] | None, answer: str) -> None:
    value = str(uuid.uuid4())
    if answer == "NOTAUTH":
        with pytest.raises(dns.tsig.PeerBadSignature):
            change(zone, key, "testnet-check", value)
    else:
        assert change(zone, key, "testnet-check", value) == answer
    assert (f'"{value}"' in resolve(f"testnet-check.{zone}", "TXT")) == (answer == "NOERROR")
    if answer == "NOERROR":
        test_answers_validate_from_the_private_root((f"testnet-check.{zone}", "TXT"))


def test_a_fresh_host_finds_its_zone_fresh(host: None) -> None:
    assert change("check.test", USERS, "leftover", "of the last run") == "NOERROR"
    run_testnet("destroy", HOST.name)
    run_testnet("boot", HOST.name)
    assert resolve("leftover.check.test", "TXT") == []
    assert resolve(HOST.name, "A") == [ipv4(HOST.number)]


# DNSBLs

@pytest.mark.parametrize(("address", "listed"), [
    ("127.0.0.2", True), ("127.0.0.1", False), ("::ffff:7f00:2", True), ("::ffff:7f00:1", False),
    (ipv4(8), True), (ipv6(8), True), (ipv4(5), False), (ipv6(5), False)])
def test_dnsbl_lists_what_it_should(address: str, listed: bool) -> None:
    name = zones.reversed_in(address, "dnsbl.test")
    assert resolve(name, "A") == (["127.0.0.2"] if listed else [])
    assert bool(resolve(name, "TXT")) == listed


def test_dnsbl_of_names() -> None:
    assert [resolve(f"{name}.dbl.test", "A") for name in ("test", "invalid")] == [["127.0.0.2"], []]


def test_one_client_has_a_score() -> None:
    assert [resolve(zones.reversed_in(ipv4(number), "score.senderscore.com"), "A") for number in (11, 5)] == [["127.0.4.45"], []]


def test_broken_dnsbl_answers_everything_with_an_error() -> None:
    for address in ("127.0.0.1", "127.0.0.2", "2001:db8::1"):
        assert resolve(zones.reversed_in(address, "broken-dnsbl.test"), "A") == ["127.255.255.254"]


# ACME

def test_acme_server_shows_its_directory_and_its_root() -> None:
    acme = INVENTORY.host("acme.test")
    assert "newOrder" in services.fetch("acme.test", acme, 14000, "/dir")
    assert services.fetch("acme.test", acme, 15000, "/roots/0") == (STATE / "acme-root.pem").read_text(encoding="ascii")
    text = machine.run("openssl", "x509", "-in", STATE / "acme-root.pem", "-noout", "-subject").stdout
    assert "Pebble Root CA" in text


# The strict receiver

def message(sender: str, subject: str) -> bytes:
    return (f"From: {sender}\r\nTo: {MAILBOX['user']}\r\nSubject: {subject}\r\nDate: {email.utils.formatdate()}\r\n"
            f"Message-ID: <{uuid.uuid4()}@check.test>\r\n\r\nHello.\r\n").encode()


def send(address_of: Address, number: int, helo: str, envelope: str, content: bytes, recipient: str = MAILBOX["user"]) -> str:
    """Return the receiver's first refusal, or its acceptance."""
    server = smtplib.SMTP(address_of(10), 25, local_hostname=helo, timeout=120, source_address=(address_of(number), 0))
    with server:
        try:
            server.sendmail(envelope, [recipient], content)
        except smtplib.SMTPRecipientsRefused as exc:
            code, text = next(iter(exc.recipients.values()))
            return f"{code} {text.decode()}"
        except smtplib.SMTPResponseException as exc:
            return f"{exc.smtp_code} {exc.smtp_error.decode()}"
    return "accepted"


@contextlib.contextmanager
def mailbox() -> Iterator[imaplib.IMAP4]:
    box = imaplib.IMAP4(BIGMAIL[0], 143, timeout=120)
    with box:
        box.login(MAILBOX["user"], MAILBOX["password"])
        box.select("INBOX")
        yield box


def arrived(subject: str) -> email.message.EmailMessage:
    """Return the message with this subject, and delete it."""
    with mailbox() as box:
        def look() -> bytes:
            box.noop()
            return box.search(None, "SUBJECT", f'"{subject}"')[1][0]
        number = machine.wait_for(f"the message {subject}", look, 240, 0.1).split()[0].decode()
        content = box.fetch(number, "(BODY.PEEK[])")[1][0][1]
        box.store(number, "+FLAGS", r"\Deleted")
        box.expunge()
    return email.message_from_bytes(content, policy=email.policy.default)


def judged(found: email.message.EmailMessage) -> str:
    return "\n".join(found.get_all("Authentication-Results"))


@BOTH
def test_receiver_accepts_who_is_right_in_everything(address_of: Address) -> None:
    subject = str(uuid.uuid4())
    content = message("someone@client.test", subject)
    signature = dkim.sign(content, b"testnet", b"client.test", (STATE / "dkim/client.test.key").read_bytes(),
                          include_headers=[b"from", b"to", b"subject", b"date", b"message-id"])
    assert send(address_of, 1, "client.test", "someone@client.test", signature + content) == "accepted"
    verdict = judged(arrived(subject))
    for part in ("spf=pass", "dkim=pass", "dmarc=pass"):
        assert part in verdict


@BOTH
@pytest.mark.parametrize(("number", "helo", "envelope", "author", "refusal"), [
    (6, "client.test", "a@client.test", "a@client.test", "550 5.7.25 Client host rejected: cannot find your "),
    (7, "client.test", "a@client.test", "a@client.test", "550 5.7.25 Client host rejected: cannot find your "),
    (1, "nowhere.client.test", "a@client.test", "a@client.test", "550 5.7.1 <nowhere.client.test>: Helo command rejected: Host not found"),
    (8, "listed.client.test", "a@client.test", "a@client.test", "550 5.7.23 "),
    (4, "home.client.test", "a@home.client.test", "a@bigmail.test", "550 5.7.1 rejected by DMARC policy for bigmail.test"),
    (1, "client.test", "a@nowhere.client.test", "a@client.test", "550 5.1.8 <a@nowhere.client.test>: Sender address rejected"),
])
def test_receiver_refuses(address_of: Address, number: int, helo: str, envelope: str, author: str, refusal: str) -> None:
    assert send(address_of, number, helo, envelope, message(author, "refuse me")).startswith(refusal)


def test_receiver_refuses_a_signature_that_does_not_fit_when_nothing_else_speaks_for_it() -> None:
    content = message("a@client.test", "refuse me")
    signature = dkim.sign(content, b"testnet", b"client.test", (STATE / "dkim/client.test.key").read_bytes())
    content = signature + content.replace(b"Hello", b"Hullo")
    assert send(ipv4, 8, "listed.client.test", "", content).startswith("550 5.7.1 rejected by DMARC policy for client.test")


@pytest.mark.parametrize(("recipient", "refusal"), [("nobody@bigmail.test", "550 5.1.1 "), ("someone@example.org", "554 5.7.1 ")])
def test_receiver_is_no_relay_and_knows_its_users(recipient: str, refusal: str) -> None:
    assert send(ipv4, 1, "client.test", "a@client.test", message("a@client.test", "refuse me"), recipient).startswith(refusal)


@BOTH
def test_receiver_shows_the_certificate_that_its_tlsa_record_pins(address_of: Address) -> None:
    record = resolve("_25._tcp.mx.bigmail.test", "TLSA")[0]
    argv = ["openssl", "s_client", "-connect", f"{address_of(10)}:25" if address_of is ipv4 else f"[{address_of(10)}]:25",
            "-starttls", "smtp", "-dane_tlsa_domain", "mx.bigmail.test", "-dane_tlsa_rrdata", record]
    assert "Verification: OK" in machine.run(*argv, inside=True, text="QUIT\r\n").stdout


class _Sink(socketserver.StreamRequestHandler):
    """Just enough SMTP to take one message."""

    def handle(self) -> None:
        self.wfile.write(b"220 client.test ESMTP\r\n")
        while True:
            verb = self.rfile.readline().strip().upper()
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))
                self.server.received.append((self.client_address[0], b"".join(lines)))
            if not verb or verb == b"QUIT":
                break
            self.wfile.write(b"250 client.test\r\n")


@BOTH
def test_receiver_sends_signed_mail(address_of: Address) -> None:
    family = socket.AF_INET if address_of is ipv4 else socket.AF_INET6
    values = {"address_family": family, "allow_reuse_address": True, "received": []}
    server_class = type("Server", (socketserver.ThreadingTCPServer,), values)
    with server_class((address_of(1), 25), _Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with smtplib.SMTP(BIGMAIL[0], 587, local_hostname="client.test", timeout=120) as submission:
            submission.login(MAILBOX["user"], MAILBOX["password"])
            submission.sendmail(MAILBOX["user"], ["sink@client.test"], message(MAILBOX["user"], "outgoing"))
        source, content = machine.wait_for("the message to come out", lambda: server.received and server.received[0], 240)
        server.shutdown()
    assert source == address_of(10)
    assert dkim.verify(content, dnsfunc=lambda name, timeout=5: resolve(name.decode(), "TXT")[0].replace('" "', "").strip('"').encode())


# Machines

def test_a_bare_host_has_ssh_and_packages_and_nothing_of_mail(host: None) -> None:
    def on(*words: str) -> str:
        return services.on(HOST, *words)

    assert on("python3", "--version").startswith("Python 3.")
    assert on("hostname").strip() == f"cloud-{HOST.number}"
    assert {line.split()[3].rpartition(":")[2] for line in on("ss", "-Htln").splitlines()} == {"22"}
    packages = on("dpkg-query", "-W", "-f", "'${Package}\\n'").split()
    assert "openssh-server" in packages
    assert not {"postfix", "exim4-base", "dovecot-core", "rspamd", "bind9", "unbound"} & set(packages)
    assert on("getent", "ahostsv4", "mx.bigmail.test").startswith(ipv4(10))
    assert on("getent", "ahostsv6", "mx.bigmail.test").startswith(ipv6(10))
    on("apt-get", "-q", "update")
    assert "Candidate: 3." in on("apt-cache", "policy", "postfix")
    # No way out but for packages: refused at once, not lost.
    assert "Unreachable" in on("ping", "-c1", "-W5", "192.0.2.1", "||", "true")
    assert "unreachable" in on("ping", "-c1", "-W5", "2001:db8:200::1", "||", "true")


def test_a_restart_keeps_what_was_written(host: None) -> None:
    services.on(HOST, "sh", "-c", "'echo kept > /root/kept'")
    run_testnet("restart", HOST.name)
    assert services.on(HOST, "cat", "/root/kept") == "kept\n"


# Services that fail. They belong to a second network: nobody else's mail passes through it.

def _others(name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Return the namespace and the state directory of another network."""
    return machine.NETNS.with_name(name), STATE.with_name(f"testnet-{name}")


def _on_others(name: str, number: int, command: str) -> str:
    namespace, state = _others(name)
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ControlPath=none")
    words = ("ssh", "-i", state / "ssh/id_ed25519", *(f"-o{option}" for option in options), f"root@{ipv4(number)}", command)
    return machine.run("nsenter", f"--net={namespace}", *words).stdout


def _many_at_once(name: str, messages: int, connections: int) -> collections.Counter[str]:
    """Send signed messages to the strict receiver, and count what it answers."""
    namespace, state = _others(name)
    key = (state / "dkim/client.test.key").read_bytes()
    texts = [message("someone@client.test", f"burst {number}") for number in range(messages)]
    headers = [b"from", b"to", b"subject", b"date", b"message-id"]
    signed = [dkim.sign(text, b"testnet", b"client.test", key, include_headers=headers) + text for text in texts]
    with machine.inside_network(namespace), ThreadPoolExecutor(connections) as pool:
        return collections.Counter(pool.map(lambda text: send(ipv4, 1, "client.test", "someone@client.test", text), signed))


def _health(name: str, *since: str) -> tuple[int, str]:
    environment = {**os.environ, "TESTNET_NAME": name}
    done = subprocess.run([str(HERE / "testnet"), "health", *since], capture_output=True, text=True, env=environment)
    return done.returncode, done.stdout


def sick_services(name: str) -> None:
    """The services of a network that is up stand many messages at once; one that does not answer is named, and restarted."""
    # A resolver that was asked while the name server still signed its zones has to ask again.
    machine.wait_for("the receiver to know its client", lambda: _many_at_once(name, 1, 1) == {"accepted": 1}, 120, 1)
    assert _many_at_once(name, 200, 40) == {"accepted": 200}
    found = machine.wait_for("the messages", lambda: (n := int(_on_others(
        name, 10, "cat /var/vmail/someone@bigmail.test/new/* | grep -c 'mx.bigmail.test; dkim=pass' || true"))) == 201 and n, 240, 1)
    assert found == 201
    began = str(time.monotonic())
    assert _health(name, began) == (
        0, "".join(f"test network: {host} answers\n" for host in ("ns.test", "acme.test", "mx.bigmail.test", "smarthost.test")))
    # One that ends starts again by itself.
    _on_others(name, 10, "systemctl kill --signal=KILL opendmarc && until systemctl is-active -q opendmarc; do sleep 0.1; done")
    status, said = _health(name, began)
    assert status == 3
    assert "test network: mx.bigmail.test answers; meanwhile opendmarc had ended or was restarted" in said.splitlines()
    # What answers everything with an error is no fault of who sends.
    _on_others(name, 10, "systemctl stop dkim-verify")
    assert list(_many_at_once(name, 1, 1)) == ["451 4.7.1 Service unavailable - try again later"]
    status, said = _health(name)
    assert status == 3 and "test network: mx.bigmail.test does not answer: SMTPSenderRefused: (451, " in said
    assert "test network: mx.bigmail.test answers again" in said.splitlines()
    assert _many_at_once(name, 1, 1) == {"accepted": 1}


def test_down_removes_everything_even_after_violence() -> None:
    name = "pm-check"

    def traces() -> list[str]:
        lines = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        mounts = [line for line in lines if f"-{name}/" in line or f"/{name} " in line]
        return mounts + [str(pid) for pid in machine.processes(name)] + [str(path) for path in machine.NETNS.parent.glob(name)]

    try:
        run_testnet("up", HOST.name, name=name)
        assert traces()
        sick_services(name)  # here, where such a network is up already
        for pid in machine.processes(f"hosts-{name}", "systemd-nspawn")[:2] + machine.processes(f"testnet-{name}", "socat")[:1]:
            os.kill(pid, signal.SIGKILL)
        argv = [sys.executable, str(HERE / "testnet"), "boot", "mail.lab-a.test"]
        killed = subprocess.Popen(argv, env={**os.environ, "TESTNET_NAME": name})
        time.sleep(0.7)  # in the middle of it, wherever that is
        killed.kill()
        killed.wait()
    finally:
        run_testnet("down", name=name)
    assert traces() == []
    run_testnet("down", name=name)
