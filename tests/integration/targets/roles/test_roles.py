# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles by themselves, without the site's playbook, on a bare host and beside another mail server.

The tests build on each other, in the order of this file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[3]
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine, services
from testnet_lib.plan import Inventory, ipv4

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

HOST = "mail.roles.test"
INVENTORY = Inventory()
MACHINE = INVENTORY.host(HOST)
ROLES = sorted(path.parents[1].name for path in ROOT.glob("roles/*/defaults/main.yml"))
#: What it takes to get mail and to read it.
SERVER = ["certificate", "dovecot", "postfix"]

#: Says what a bare host does not have: lists of packages, and the packages of the roles.
BARE = "find /var/lib/apt/lists -name '*_Packages*'; dpkg-query -W | awk '/certbot|dovecot|mailman|smtpd|postfix|rspamd|unbound/'"
#: As a client whose name is not this machine's; a certificate that is signed by itself is good enough for it.
SEND = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], local_hostname="client.test") as client:
    client.starttls()
    client.sendmail(*sys.argv[2:], "Subject: alone\\n\\nBy roles alone.\\n")
"""


def on_host(command: str) -> str:
    return services.on(MACHINE, command, timeout=300)


def outside(*words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TESTNET / "inside", *words], input=text, capture_output=True, text=True, check=False, timeout=600)


def play(limit: str, *options: str, **variables: object) -> tuple[str, dict[str, dict[str, int]]]:
    """Play the roles of some names of the host; return what was said in one line, and the recap's counts by name."""
    inventories = ["-i", TESTNET / "inventory.yml", "-i", HERE / "inventory.yml"]
    given = ["--limit", limit, "--extra-vars", json.dumps(variables)]
    done = outside("ansible-playbook", *inventories, *given, *options, HERE / "playbook.yml")
    output = " ".join((done.stdout + done.stderr).split())
    recap = {
        name: {what: int(count) for what, count in re.findall(r"(\w+)=(\d+)", counts)}
        for name, counts in re.findall(r"(\S+\.roles\.test) +: ((?:\w+=\d+ ?)+)", output.partition("PLAY RECAP")[2])
    }
    assert done.returncode == 0 or any(counts["failed"] for counts in recap.values()), output[-6000:]
    return output, recap


def greeting() -> str:
    return on_host("exec 3<>/dev/tcp/127.0.0.1/25; head -n 1 <&3")


@pytest.fixture(scope="module", autouse=True)
def host():
    subprocess.run([TESTNET / "testnet", "destroy", HOST], check=True, capture_output=True)
    subprocess.run([TESTNET / "testnet", "boot", HOST], check=True, capture_output=True)
    yield
    subprocess.run([TESTNET / "testnet", "destroy", HOST], check=True, capture_output=True)


def test_check_mode_on_a_bare_host():
    assert on_host(BARE) == ""
    output, recap = play(f"roles_alone:!{HOST}", "--check", "--forks=4", dns_report_file="")
    assert sorted(name.partition(".")[0] for name in recap) == ROLES
    assert not [name for name, counts in recap.items() if counts["failed"]], output[-6000:]
    # dns reports what to publish to nobody here.
    assert [name for name, counts in recap.items() if not counts["changed"]] == ["dns.roles.test"], output[-6000:]
    assert on_host(BARE) == ""


OTHER_KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def update(line: str) -> None:
    tsig = INVENTORY.variables["testnet_tsig"]
    lines = f"server {ipv4(2)}\nzone roles.test\n{line}\nsend\n"
    done = outside("nsupdate", "-y", f"{tsig['algorithm']}:{tsig['name']}:{tsig['secret']}", text=lines)
    assert done.returncode == 0, done.stderr


def published(selector: str) -> str:
    return "".join(re.findall(r'"([^"]*)"', outside("dig", "+short", f"@{ipv4(2)}", f"{selector}._domainkey.roles.test", "TXT").stdout))


def test_a_selector_does_not_come_back_with_another_key(host):
    """As on a host that was built again: what it published before is still in the caches of those who verify."""
    tsig = INVENTORY.variables["testnet_tsig"]
    domains = {"roles.test": {"dkim": {"selector": "mail"}}}
    publish = {"backend": "rfc2136", "server": ipv4(2), **{f"key_{what}": tsig[what] for what in ("name", "algorithm", "secret")}}
    given = {"roles_alone": ["dkim", "dns"], "dkim_domains": domains, "dns_domains": domains, "dns_publish": publish, "dkim_group": "root"}
    update(f'update add mail._domainkey.roles.test 10 TXT "{OTHER_KEY}"')
    output, recap = play(HOST, **given)
    assert recap[HOST]["failed"] == 1
    assert (
        "The DKIM key of roles.test in /var/lib/postmaster-mail/dkim/roles.test.mail.key has the selector 'mail', and public DNS serves "
        "another key at mail._domainkey.roles.test"
    ) in output
    assert published("mail") == OTHER_KEY
    # Nothing is published before it is seen.
    assert outside("dig", "+short", f"@{ipv4(2)}", "roles.test", "MX").stdout == ""
    # The ways out: another selector, or the record is taken out of DNS.
    update("update delete mail._domainkey.roles.test TXT")
    output, recap = play(HOST, **given)
    assert recap[HOST]["failed"] == 0, output[-6000:]
    assert published("mail").startswith("v=DKIM1; k=rsa; p=")
    output, recap = play(HOST, **given)
    assert (recap[HOST]["failed"], recap[HOST]["changed"]) == (0, 0), output[-6000:]


@pytest.fixture(scope="module")
def exim(host) -> str:
    """The greeting of the mail server that a Debian has by default."""
    on_host("(apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install exim4-daemon-light) >/dev/null 2>&1")
    on_host("timeout 60 sh -c 'until ss -lntH \"sport = 25\" | grep -q 25; do sleep 0.5; done'")
    found = greeting()
    assert "Exim" in found
    return found


@pytest.mark.parametrize("role", ["opensmtpd", "postfix"])
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"aliases": {"a@roles.test": "gone@roles.test"}}, "{role}_aliases['a@roles.test'] leads to 'gone@roles.test', which is neither"),
        ({}, "{role} would not start without /etc/ssl/postmaster-mail/mail.roles.test.pem and /etc/ssl/postmaster-mail/"),
    ],
    ids=["wrong variable", "no certificate"],
)
def test_what_cannot_work_leaves_the_server_that_is_there(exim, role, variables, told):
    output, recap = play(HOST, roles_alone=[role], **{f"{role}_{name}": value for name, value in variables.items()})
    assert told.format(role=role) in output
    assert (recap[HOST]["failed"], recap[HOST]["changed"]) == (1, 0)
    assert exim.split()[:2] == greeting().split()[:2]


@pytest.fixture(scope="module")
def server(exim) -> None:
    output, recap = play(HOST, roles_alone=SERVER)
    assert recap[HOST]["failed"] == 0, output[-6000:]


def test_mail_comes_in_without_a_filter(server):
    sent = outside(sys.executable, "-c", SEND, HOST, "outside@client.test", "me@roles.test")
    assert sent.returncode == 0, sent.stderr
    on_host("timeout 30 sh -c 'until [ -n \"$(doveadm search -u me@roles.test mailbox INBOX subject alone)\" ]; do sleep 0.5; done'")


def test_nothing_changes_the_second_time(server):
    output, recap = play(HOST, roles_alone=SERVER)
    assert (recap[HOST]["failed"], recap[HOST]["changed"]) == (0, 0), output[-6000:]
    assert "disable_others" not in output and "Disable another mail server" not in output
