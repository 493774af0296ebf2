# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server that signs with dkimproxy and a key of 1024 bits by openssl is taken over, and its key rotated.

by_hand.sh makes it; dkimproxy itself is a stand-in that signs with dkimproxy's own library, since Debian has dkimproxy no more.
The strict receiver judges every message. The tests build on each other, in the order of this file.
"""

from __future__ import annotations

import email
import imaplib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
INTERNET = HERE.parent / "internet"
sys.path.insert(0, str(INTERNET))

from little import machine
from little.plan import STATE, Inventory

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the little internet is not up: tests/internet/internet up")

HOST, DOMAIN = "mail.dkimproxy.test", "dkimproxy.test"
INVENTORY = Inventory()
ADDRESS = f"198.51.100.{INVENTORY.host(HOST).number}"
BIGMAIL = INVENTORY.variables["internet_bigmail"]
TSIG = INVENTORY.variables["internet_tsig"]
SSH = [
    "ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ControlPath=none",
    "-i", str(STATE / "ssh/id_ed25519"), f"root@{ADDRESS}",
]  # fmt: skip


def inside(*words: str, text: str | None = None, timeout: float = 120) -> str:
    done = subprocess.run([str(INTERNET / "inside"), *words], input=text, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def on_host(command: str, text: str | None = None, timeout: float = 120) -> str:
    return inside(*SSH, command, text=text, timeout=timeout)


def site(*options: str, **variables: object) -> str:
    """Run the playbook; return what it said, warnings included, in one line."""
    words = [
        "ansible-playbook", "-i", str(INTERNET / "inventory.yml"), "-i", str(HERE / "inventory.yml"), "--limit", HOST,
        str(HERE.parent.parent / "playbooks/site.yml"), *options, "-e", json.dumps(variables),
    ]  # fmt: skip
    done = subprocess.run([str(INTERNET / "inside"), *words], capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return " ".join((done.stdout + done.stderr).split())


def record(selector: str) -> list[str]:
    found = inside("dig", "+short", f"@198.51.100.{INVENTORY.host('ns.test').number}", f"{selector}._domainkey.{DOMAIN}", "TXT")
    return found.splitlines()


def judged(within: float = 120) -> tuple[str, str, str]:
    """Send a message from the host to the strict receiver; return the signature's domain and selector, and what the receiver found."""
    token = uuid.uuid4().hex
    message = f"From: me@{DOMAIN}\nTo: {BIGMAIL['user']}\nSubject: {token}\nMessage-ID: <{token}@{DOMAIN}>\n\nHello.\n"
    on_host(f"sendmail -f me@{DOMAIN} {BIGMAIL['user']}", text=message)
    end = time.monotonic() + within
    with machine.inside_network():
        session = imaplib.IMAP4(f"198.51.100.{INVENTORY.host(BIGMAIL['host']).number}", timeout=30)
    session.login(BIGMAIL["user"], BIGMAIL["password"])
    while time.monotonic() < end:
        session.select("INBOX", readonly=True)
        _status, found = session.search(None, "HEADER", "Subject", token)
        if found[0]:
            break
        time.sleep(0.3)  # IMAP without IDLE has no event to wait for
    assert found[0], "the message has not arrived: " + on_host("postqueue -p; journalctl -n 30 -u 'postfix*'")
    arrived = email.message_from_bytes(session.fetch(found[0].split()[-1].decode(), "(BODY.PEEK[])")[1][0][1])
    session.logout()
    tags = dict(part.strip().split("=", 1) for part in re.sub(r"\s+", " ", arrived["DKIM-Signature"] or "d=; s=").rstrip("; ").split(";"))
    results = " ".join(" ".join(arrived.get_all("Authentication-Results", [])).split())
    verdict = re.search(r"\bdkim=(\w+)", results)
    return tags["d"], tags["s"], verdict[1] if verdict else results


@pytest.fixture(scope="module", autouse=True)
def server():
    internet = str(INTERNET / "internet")
    subprocess.run([internet, "destroy", HOST], check=True)
    subprocess.run([internet, "up", HOST], check=True)
    files = subprocess.run(["tar", "-C", str(HERE), "-c", "by_hand.sh", "-C", "files", "."], capture_output=True, check=True).stdout
    subprocess.run([str(INTERNET / "inside"), *SSH, "mkdir /root/hand && tar -C /root/hand -x --no-same-owner"], input=files, check=True)
    on_host("cd /root/hand && bash by_hand.sh", timeout=900)
    public = "".join(line for line in on_host("cat /etc/dkimproxy/private/public.key").splitlines() if "-" not in line)
    lines = [
        f"server 198.51.100.{INVENTORY.host('ns.test').number}", f"zone {DOMAIN}",
        f'update add pubkey._domainkey.{DOMAIN} 10 TXT "k=rsa; t=s; p={public}"',  # by hand, without a version
        f'update add {DOMAIN} 10 TXT "v=spf1 ip4:{ADDRESS} ip6:2001:db8:100::{INVENTORY.host(HOST).number} -all"',
        f"update add {DOMAIN} 10 MX 10 {HOST}.", "send", "",
    ]  # fmt: skip
    inside("nsupdate", "-y", f"{TSIG['algorithm']}:{TSIG['name']}:{TSIG['secret']}", text="\n".join(lines))
    yield
    if not os.environ.get("KEEP"):
        subprocess.run([internet, "destroy", HOST], check=True)


WRITTEN: dict[str, list[str]] = {}


def test_before_dkimproxy_signs():
    WRITTEN["pubkey"] = record("pubkey")
    assert len(WRITTEN["pubkey"]) == 1
    assert judged() == (DOMAIN, "pubkey", "pass")


def test_on_the_day_the_same_key_signs_and_the_dns_is_as_it_was():
    said = site()
    assert "the key /etc/dkimproxy/private/private.key is adopted" in said
    assert "1024" in said
    assert judged() == (DOMAIN, "pubkey", "pass")
    assert record("pubkey") == WRITTEN["pubkey"]
    copied = "openssl pkey -pubout -in /var/lib/rspamd/dkim/dkimproxy.test.pubkey.key"
    assert on_host(copied) == on_host("openssl pkey -pubout -in /etc/dkimproxy/private/private.key")


def test_dkimproxy_rests():
    assert on_host("systemctl is-active dkimproxy; systemctl is-enabled dkimproxy; true").split() == ["inactive", "disabled"]


def test_the_next_run_changes_nothing():
    assert re.search(r"changed=0 ", said := site()), said[-3000:]


ROTATED = {DOMAIN: {"dkim": {"selector": "next"}}}


def test_a_new_key_does_not_sign_before_its_record_is_seen_and_the_old_one_goes_on(tmp_path):
    said = site("--tags", "dkim,dns,signing", mail_domains=ROTATED, mail_dns={"backend": "report"}, dns_report_file=str(tmp_path / "zone"))
    assert re.search(rf"next\._domainkey\.{DOMAIN}\. \d+ IN TXT", (tmp_path / "zone").read_text()), said[-2000:]
    assert record("next") == []
    assert judged() == (DOMAIN, "pubkey", "pass")


def test_it_signs_once_it_is_published_and_the_old_record_stays():
    site("--tags", "dkim,dns,signing", mail_domains=ROTATED)
    assert len(record("next")) == 1
    assert record("pubkey") == WRITTEN["pubkey"]
    assert judged() == (DOMAIN, "next", "pass")
    assert re.search(r"changed=0 ", said := site("--tags", "dkim,dns,signing", mail_domains=ROTATED)), said[-3000:]


def test_a_week_later_the_old_record_is_withdrawn():
    signing = "/etc/postmaster-mail/signing.json"
    [key] = json.loads(on_host(f"cat {signing}"))[DOMAIN]
    assert key["selector"] == "next"
    # As if it had begun earlier; what is looked at is this file.
    for day, kept in (("7 days ago", WRITTEN["pubkey"]), ("8 days ago", [])):
        on_host(f"sed -Ei 's/[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}/'$(date -u -d '{day}' +%F)/ {signing}")
        site("--tags", "dkim,dns,signing", mail_domains=ROTATED)
        assert record("pubkey") == kept
    assert judged() == (DOMAIN, "next", "pass")
    assert re.search(r"changed=0 ", said := site("--tags", "dkim,dns,signing", mail_domains=ROTATED)), said[-3000:]
