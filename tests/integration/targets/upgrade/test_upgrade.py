# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers, one with each MTA, go from Debian 12 to 13 by the commands of docs/upgrading-debian.md, which are taken from there.

Before, between and after, state.py looks at them as users and other servers do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine
from testnet_lib.plan import STATE, Inventory

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

HOSTS = ("mail.upgrade.test", "mail.upgrade-o.test")
# Services that failed, and what is left of Redis.
LEFT = r"""
systemctl list-units --failed --plain --no-legend 'dovecot*' 'rspamd*' 'valkey*' 'redis*' 'unbound*' \
  'fail2ban*' 'certbot*' 'postfix*' 'opensmtpd*'
ls -d /var/lib/redis /etc/redis /etc/systemd/system/redis* 2>/dev/null || true
"""
# Meanwhile it is out of reach, so that a message waits for it.
RECEIVER = "mx.bigmail.test"


def blocks() -> list[str]:
    """The commands of the document, one text for each of its blocks."""
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs/upgrading-debian.md").read_text(), re.MULTILINE | re.DOTALL)


class Upgrade:
    """Both servers, and what is done to them at the same time."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inventories = [TESTNET / "inventory.yml", HERE / "inventory.yml"]
        self.began = time.monotonic()

    def told(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def command(self, *words: str, timeout: float = 1800, **options: object) -> str:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, check=False, **options)
        called = " ".join(str(word) for word in words)[:300]
        assert done.returncode == 0, f"{called} ended with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def inside(self, *words: object) -> str:
        return self.command(TESTNET / "inside", *words)

    def testnet(self, *words: str) -> None:
        self.command(TESTNET / "testnet", *words)

    def shell(self, host: str, script: str) -> str:
        """Have a shell on the host run these lines, up to the first that fails."""
        settings = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        options = ["-i", f"{STATE}/ssh/id_ed25519", *(word for setting in settings for word in ("-o", setting))]
        address = f"198.51.100.{Inventory().host(host).number}"
        return self.command(TESTNET / "inside", "ssh", *options, f"root@{address}", "bash -e -s", input=script)

    def everywhere(self, function, hosts: tuple[str, ...] = HOSTS) -> list:
        with ThreadPoolExecutor(len(HOSTS)) as pool:
            return [future.result() for future in [pool.submit(function, host) for host in hosts]]

    def options(self) -> list[str]:
        return [str(word) for inventory in self.inventories for word in ("-i", inventory)]

    def playbook(self, name: str, limit: str = ",".join(HOSTS)) -> dict[str, int]:
        """Run one of the collection's playbooks, on both; return how many tasks changed something, per host."""
        said = self.inside("ansible-playbook", *self.options(), "--limit", limit, ROOT / f"playbooks/{name}.yml")
        lines = (line.split(":", 1) for line in said.rpartition("PLAY RECAP")[2].splitlines() if " : " in line)
        return {host.strip(): int(re.search(r"changed=(\d+)", counts)[1]) for host, counts in lines}

    def state(self, step: str) -> None:
        def one(host: str) -> str:
            return self.inside("python3", HERE / "state.py", step, self.directory / f"{host}.json", host, *self.inventories)

        for said in self.everywhere(one):
            for line in said.splitlines():
                self.told(line)

    def reboot(self, host: str) -> None:
        """Shut down in good order and boot again."""
        # The connection may end before the command has.
        self.shell(host, "systemctl --no-block poweroff")
        machine.wait_for(f"{host} to shut down", lambda: not machine.running(Inventory().host(host)), 120, 0.2)
        self.testnet("restart", host)

    def promises(self, host: str, *names: str) -> str:
        return self.inside(HERE.parents[2] / "acceptance/verify", *self.options(), host, *names)

    def arrived(self, host: str) -> str:
        return self.promises(host, "in-ipv4", "in-ipv6", "login-forms")

    def do(self, block: str) -> None:
        """Do what one block of the document says, where it says it is to be done."""
        playbooks = re.findall(r"^ansible-playbook -i inventory\.yml postmaster\.mail\.(site|verify)$", block, re.MULTILINE)
        if playbooks:
            assert len(playbooks) == len(block.splitlines()), f"not only playbooks: {block}"
            for name in playbooks:
                if name == "site":
                    self.told(f"site: changed {self.playbook(name)}")
                else:
                    self.everywhere(self.verify)
        elif block == "systemctl reboot\n":
            self.everywhere(self.reboot)
        else:
            self.everywhere(lambda host: self.shell(host, block))
        self.told(f"done: {block.splitlines()[0]}")

    def verify(self, host: str) -> None:
        """The collection's own verify, with one account."""
        domain = host.partition(".")[2]
        given = {
            "verify_accounts": {f"me@{domain}": "correct-horse"},
            "verify_ca_file": str(STATE / "acme-root.pem"),
            "verify_helo": "client.test",
            "verify_foreign": "someone@bigmail.test",
        }
        self.inside("ansible-playbook", *self.options(), "--limit", host, ROOT / "playbooks/verify.yml", "-e", json.dumps(given))


@pytest.fixture
def servers(tmp_path):
    """Both on Debian 12, bare."""
    made = Upgrade(tmp_path)
    made.testnet("destroy", *HOSTS)
    made.testnet("boot", *HOSTS)
    yield made
    made.shell(RECEIVER, "systemctl start postfix")
    if not os.environ.get("KEEP"):
        made.testnet("destroy", *HOSTS)


def test_from_debian_12_to_13(servers):
    steps = iter(blocks())

    def do(words: str) -> None:
        block = next(steps)
        assert words in block, f"the document's next step is {block!r}, not {words!r}"
        servers.do(block)

    servers.playbook("site")
    servers.told("built")
    do("full-upgrade")
    do("postmaster.mail.verify")
    servers.shell(RECEIVER, "systemctl stop postfix")
    servers.state("prepare")
    do("tar ")
    do("apt-get update")
    assert servers.playbook("site") == dict.fromkeys(HOSTS, 0), "with the new sources, before the upgrade"
    do("full-upgrade")
    for said in servers.everywhere(lambda host: servers.shell(host, "dpkg --audit; grep VERSION_ID /etc/os-release")):
        assert said == 'VERSION_ID="13"\n', said
    # The old configuration meets the new programs.
    servers.state("between")
    servers.inventories.append(HERE / "after.yml")
    # On one host, somebody does not wait for the reboot: it gets mail again at once.
    servers.playbook("site", HOSTS[0])
    servers.everywhere(servers.arrived, HOSTS[:1])
    do("systemctl reboot")
    do("postmaster.mail.site")
    assert servers.playbook("site") == dict.fromkeys(HOSTS, 0), "the second run on Debian 13"
    servers.shell(RECEIVER, "systemctl start postfix")
    servers.state("compare")
    do("purge redis-server")
    assert next(steps, None) is None
    for said in servers.everywhere(lambda host: servers.shell(host, LEFT)):
        assert said == "", said
    for said in servers.everywhere(servers.promises):
        servers.told(said.splitlines()[-1])
