# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that signs with dkimproxy and a key of 1024 bits by openssl is taken over, and its key rotated.

debian/by_hand.sh makes the one, with Postfix, and openbsd/by_hand.sh the other, with OpenBSD's smtpd. dkimproxy itself is simulated by a
program that signs with dkimproxy's own library, since Debian has dkimproxy no more. The strict receiver verifies every message. The tests
build on each other, in the order of this file, for each of the hosts.
"""

from __future__ import annotations

import dataclasses
import datetime
import email
import imaplib
import json
import os
import re
import string
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory, ipv4, ipv6

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

INVENTORY = Inventory()
BIGMAIL = INVENTORY.variables["testnet_bigmail"]
TSIG = INVENTORY.variables["testnet_tsig"]
NS = ipv4(INVENTORY.host("ns.test").number)
PROXY = TESTNET / "openbsd/files/usr/local/bin/dkimproxy.out"


def inside(*words: str, text: str | None = None, timeout: float = 120) -> str:
    done = subprocess.run([str(TESTNET / "inside"), *words], input=text, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclasses.dataclass(frozen=True)
class Host:
    """A server made by hand, as data: what differs between the two."""

    name: str
    system: str  # the directory with by_hand.sh
    shell: str
    selector: str
    key: str
    public_key: str
    keyring: str
    rest: tuple[str, str]  # what asks for dkimproxy's services, and what it answers when all of them rest
    log: str  # what tells why a message has not arrived
    ip: str  # Linux's ip(8)
    waits: str  # succeeds once a message that dkimproxy has signed waits for a receiver that cannot be reached
    restart: str  # lets go of connections
    flush: str  # tries again at once, where the new server would not

    @property
    def domain(self) -> str:
        return self.name.partition(".")[2]

    @property
    def address(self) -> str:
        return ipv4(INVENTORY.host(self.name).number)

    @property
    def rotated(self) -> dict:
        """The inventory's mail_domains, with another selector."""
        return {self.domain: {"dkim": {"selector": "next"}}}

    def ssh(self, command: str) -> list[str]:
        settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ControlPath=none")
        options = [word for setting in settings for word in ("-o", setting)]
        return ["ssh", "-q", *options, "-i", str(STATE / "ssh/id_ed25519"), f"root@{self.address}", command]

    def run(self, command: str, text: str | None = None, timeout: float = 120) -> str:
        return inside(*self.ssh(command), text=text, timeout=timeout)

    def site(self, *options: str, **variables: object) -> str:
        """Run the playbook; return what it said, warnings included, in one line."""
        words = [
            "ansible-playbook", "-i", str(TESTNET / "inventory.yml"), "-i", str(HERE / "inventory.yml"), "--limit", self.name,
            str(HERE.parents[3] / "playbooks/site.yml"), *options, "-e", json.dumps(variables),
        ]  # fmt: skip
        done = subprocess.run([str(TESTNET / "inside"), *words], capture_output=True, text=True, check=False, timeout=1500)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return " ".join((done.stdout + done.stderr).split())

    def record(self, selector: str) -> list[str]:
        return inside("dig", "+short", f"@{NS}", f"{selector}._domainkey.{self.domain}", "TXT").splitlines()

    def send(self) -> str:
        """Send a message from the host to the strict receiver; return its subject."""
        token = uuid.uuid4().hex
        head = f"From: me@{self.domain}\nTo: {BIGMAIL['user']}\nSubject: {token}\nMessage-ID: <{token}@{self.domain}>\n"
        self.run(f"sendmail -f me@{self.domain} {BIGMAIL['user']}", text=head + "\nHello.\n.A dot.\n")
        return token

    def reach(self, verb: str) -> None:
        """Delete the strict receiver's addresses from what cannot be reached, or add them."""
        number = INVENTORY.host(BIGMAIL["host"]).number
        self.run(" && ".join(f"{self.ip} route {verb} unreachable {address}" for address in (ipv4(number), ipv6(number))))

    def received(self, token: str | None = None, within: float = 120) -> tuple[str, str, str]:
        """Return the domain and the selector of a message's signature, and what the strict receiver found."""
        token = token or self.send()
        end = time.monotonic() + within
        with machine.inside_network():
            session = imaplib.IMAP4(ipv4(INVENTORY.host(BIGMAIL["host"]).number), timeout=30)
        session.login(BIGMAIL["user"], BIGMAIL["password"])
        while time.monotonic() < end:
            session.select("INBOX", readonly=True)
            _status, found = session.search(None, "HEADER", "Subject", token)
            if found[0]:
                break
            time.sleep(0.3)  # IMAP without IDLE has no event to wait for
        assert found[0], "the message has not arrived: " + self.run(self.log)
        arrived = email.message_from_bytes(session.fetch(found[0].split()[-1].decode(), "(BODY.PEEK[])")[1][0][1])
        session.logout()
        signature = re.sub(r"\s+", " ", arrived["DKIM-Signature"] or "d=; s=")
        tags = dict(part.strip().split("=", 1) for part in signature.rstrip("; ").split(";"))
        results = " ".join(" ".join(arrived.get_all("Authentication-Results", [])).split())
        verdict = re.search(r"\bdkim=(\w+)", results)
        return tags["d"], tags["s"], verdict[1] if verdict else results


HOSTS = [
    Host(
        name="mail.dkimproxy.test", system="debian", shell="bash", selector="pubkey", key="/etc/dkimproxy/private/private.key",
        public_key="/etc/dkimproxy/private/public.key", keyring="/var/lib/postmaster-mail/dkim",
        rest=("systemctl is-active dkimproxy; systemctl is-enabled dkimproxy; true", "inactive disabled"),
        log="postqueue -p; journalctl -n 30 -u 'postfix*'", ip="ip",
        waits="postqueue -p | grep -q 'No route to host'", restart="systemctl restart postfix", flush="postqueue -f",
    ),
    Host(
        name="mail.openbsd-d.test", system="openbsd", shell="ksh", selector="obsd", key="/etc/ssl/dkim/private/private.key",
        public_key="/etc/ssl/dkim/public.key", keyring="/var/lib/postmaster-mail/dkim",
        rest=("for s in out in; do rcctl check dkimproxy_$s; done; rcctl ls on | grep dkimproxy; true",
              "dkimproxy_out(failed) dkimproxy_in(failed)"),
        log="smtpctl show queue; tail -30 /var/log/maillog", ip="/usr/lib/simulation/lib/ip",
        waits="smtpctl show queue | grep -q 'Network error'", restart="rcctl restart smtpd", flush="true",
    ),
]  # fmt: skip


@pytest.fixture(scope="module", params=HOSTS, ids=[host.system for host in HOSTS])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    made: Host = request.param
    testnet = str(TESTNET / "testnet")
    subprocess.run([testnet, "destroy", made.name], check=True)
    subprocess.run([testnet, "up", made.name], check=True)
    conf = tmp_path_factory.mktemp(made.system) / "dkimproxy_out.conf"
    template = string.Template((HERE / conf.name).read_text(encoding="utf-8"))
    conf.write_text(template.substitute(domain=made.domain, keyfile=made.key, selector=made.selector), encoding="utf-8")
    sources = [word for path in (HERE / made.system / "by_hand.sh", PROXY, conf) for word in ("-C", path.parent, path.name)]
    files = subprocess.run(["tar", "-c", "--owner=0", "--group=0", *sources], capture_output=True, check=True).stdout
    subprocess.run([str(TESTNET / "inside"), *made.ssh("mkdir /root/hand && cd /root/hand && tar -xf -")], input=files, check=True)
    made.run(f"cd /root/hand && {made.shell} by_hand.sh", timeout=900)
    public = "".join(line for line in made.run(f"cat {made.public_key}").splitlines() if "-" not in line)
    lines = [
        f"server {NS}", f"zone {made.domain}",
        f'update add {made.selector}._domainkey.{made.domain} 10 TXT "k=rsa; t=s; p={public}"',  # by hand, without a version
        f'update add {made.domain} 10 TXT "v=spf1 ip4:{made.address} ip6:{ipv6(INVENTORY.host(made.name).number)} -all"',
        f"update add {made.domain} 10 MX 10 {made.name}.", "send", "",
    ]  # fmt: skip
    inside("nsupdate", "-y", f"{TSIG['algorithm']}:{TSIG['name']}:{TSIG['secret']}", text="\n".join(lines))
    yield made
    if not os.environ.get("KEEP"):
        subprocess.run([testnet, "destroy", made.name], check=True)


@pytest.fixture(scope="module")
def written(host: Host) -> list[str]:
    """The record as it was written by hand."""
    found = host.record(host.selector)
    assert len(found) == 1
    return found


@pytest.fixture(scope="module")
def waiting(host: Host) -> str:
    """The subject of a message that dkimproxy has signed and that has not left yet."""
    host.run(host.restart)
    host.reach("add")
    token = host.send()
    end = time.monotonic() + 60
    while (said := host.run(f"{{ {host.waits}; }} && echo yes || {{ {host.log}; }}")).strip() != "yes":
        assert time.monotonic() < end, said
        time.sleep(1)  # a queue has no event to wait for
    host.reach("del")  # it is not tried again for minutes
    return token


def test_before_dkimproxy_signs(host: Host, written: list[str]):
    assert host.received() == (host.domain, host.selector, "pass")


def test_on_the_day_the_same_key_signs_and_the_dns_is_as_it_was(host: Host, written: list[str], waiting: str):
    said = host.site()
    assert f"the key {host.key} is adopted" in said
    assert "1024" in said
    assert host.received() == (host.domain, host.selector, "pass")
    assert host.record(host.selector) == written
    copied = f"openssl pkey -pubout -in {host.keyring}/{host.domain}.{host.selector}.key"
    assert host.run(copied) == host.run(f"openssl pkey -pubout -in {host.key}")


def test_what_waited_on_the_day_is_delivered_as_dkimproxy_has_signed_it(host: Host, waiting: str):
    host.run(host.flush)
    assert host.received(waiting) == (host.domain, host.selector, "pass")


def test_dkimproxy_rests(host: Host):
    question, answer = host.rest
    assert host.run(question).split() == answer.split()


def test_the_next_run_changes_nothing(host: Host):
    assert re.search(r"changed=0 ", said := host.site()), said[-3000:]


def test_a_new_key_does_not_sign_before_its_record_is_seen_and_the_old_one_goes_on(host: Host, tmp_path: Path):
    report = {"mail_dns": {"backend": "report"}, "dns_report_file": str(tmp_path / "zone")}
    said = host.site("--tags", "dkim,dns,signing", mail_domains=host.rotated, **report)
    assert re.search(rf"next\._domainkey\.{host.domain}\. \d+ IN TXT", (tmp_path / "zone").read_text()), said[-2000:]
    assert host.record("next") == []
    assert host.received() == (host.domain, host.selector, "pass")


def test_it_signs_once_it_is_published_and_the_old_record_stays(host: Host, written: list[str]):
    host.site("--tags", "dkim,dns,signing", mail_domains=host.rotated)
    assert len(host.record("next")) == 1
    assert host.record(host.selector) == written
    assert host.received() == (host.domain, "next", "pass")
    assert re.search(r"changed=0 ", said := host.site("--tags", "dkim,dns,signing", mail_domains=host.rotated)), said[-3000:]


def test_a_week_later_the_old_record_is_withdrawn(host: Host, written: list[str]):
    signing = "/etc/postmaster-mail/signing.json"
    [key] = json.loads(host.run(f"cat {signing}"))[host.domain]
    assert key["selector"] == "next"
    today = datetime.datetime.now(datetime.timezone.utc).date()
    # As if it had begun earlier; what is looked at is this file.
    for days, kept in ((7, written), (8, [])):
        day = today - datetime.timedelta(days=days)
        host.run(f"sed -E -i 's/[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/{day}/' {signing}")
        host.site("--tags", "dkim,dns,signing", mail_domains=host.rotated)
        assert host.record(host.selector) == kept
    assert host.received() == (host.domain, "next", "pass")
    assert re.search(r"changed=0 ", said := host.site("--tags", "dkim,dns,signing", mail_domains=host.rotated)), said[-3000:]
