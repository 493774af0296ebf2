# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's own modules take a simulated host, booted bare, for OpenBSD."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

TESTNET = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")
HOST = "mail.openbsd-bare.test"


@pytest.fixture(scope="module", autouse=True)
def _host() -> Iterator[None]:
    for words in (["destroy", HOST], ["boot", HOST]):
        subprocess.run([TESTNET / "testnet", *words], check=True, capture_output=True, timeout=600)
    yield
    subprocess.run([TESTNET / "testnet", "destroy", HOST], check=True, capture_output=True, timeout=60)


def ansible(module: str, arguments: dict | str) -> dict | str:
    """Return what a module says; of raw, its words."""
    words = arguments if isinstance(arguments, str) else json.dumps(arguments)
    done = subprocess.run([TESTNET / "inside", "ansible", "-i", TESTNET / "inventory.yml", HOST, "-m", module, "-a", words],
                          capture_output=True, text=True, check=False, timeout=300,
                          env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0"})
    if module == "raw":
        return done.stdout
    return json.loads(done.stdout[done.stdout.index("{", done.stdout.index("=>")):])


# Who logs in is not root, and neither the interpreter nor how to become root is said.
INVENTORY = f"""---
mail_servers:
  hosts:
    {HOST}: {{ansible_host: 198.51.100.52, ansible_user: me, ansible_ssh_common_args: -o ServerAliveInterval=5}}
"""
FOLLOWING = """---
- hosts: mail_servers
  become: true
  become_user: root
  become_method: community.general.doas
  tasks:
    - ansible.builtin.assert:
        that:
          - ansible_python_interpreter == '/usr/local/bin/python3'
          - ansible_facts.distribution == 'OpenBSD'
          - ansible_facts.user_id == 'root'
"""


def test_a_bare_host_is_bootstrapped_through_doas(tmp_path: pathlib.Path) -> None:
    assert "rc=1" in ansible("raw", "test -x /usr/local/bin/python3 || test -x /usr/bin/python3")
    made = ansible("raw", "set -e; useradd -m -G wheel me; install -d -m 700 -o me -g me /home/me/.ssh; "
                   "install -m 600 -o me -g me /root/.ssh/authorized_keys /home/me/.ssh/authorized_keys; "
                   "echo 'permit nopass me as root' > /etc/doas.conf; doas -C /etc/doas.conf; mv /etc/installurl /etc/installurl.away")
    assert "rc=0" in made
    (tmp_path / "inventory.yml").write_text(INVENTORY, encoding="utf-8")
    (tmp_path / "following.yml").write_text(FOLLOWING, encoding="utf-8")

    def bootstrap() -> tuple[dict[str, int], str]:
        done = subprocess.run([TESTNET / "inside", "ansible-playbook", "-i", tmp_path / "inventory.yml",
                               TESTNET.parents[1] / "playbooks/bootstrap.yml", tmp_path / "following.yml"],
                              capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"})
        recaps = re.findall(r"(\w+)=(\d+)", done.stdout.rpartition("PLAY RECAP")[2])
        return {name: int(count) for name, count in recaps}, done.stdout + done.stderr

    # Why it failed is said.
    counts, said = bootstrap()
    assert counts["failed"] == 1 and "/etc/installurl names no mirror" in said, said
    assert "rc=0" in ansible("raw", "mv /etc/installurl.away /etc/installurl")
    for changed in (1, 0):
        counts, said = bootstrap()
        assert (counts["changed"], counts["failed"], counts["unreachable"]) == (changed, 0, 0), said
        assert "ansible_python_interpreter: /usr/local/bin/python3" in said
        assert "All assertions passed" in said


def test_ansible_takes_it_for_openbsd() -> None:
    assert "rc=0" in ansible("raw", "test -x /usr/local/bin/python3 || pkg_add -I -x python%3")
    facts = ansible("ansible.builtin.setup", {"gather_subset": ["all"]})["ansible_facts"]
    expected = {"system": "OpenBSD", "os_family": "OpenBSD", "distribution": "OpenBSD", "distribution_version": "7.9",
                "pkg_mgr": "openbsd_pkg", "service_mgr": "bsdinit", "architecture": "amd64"}
    assert {name: facts[f"ansible_{name}"] for name in expected} == expected
    assert facts["ansible_default_ipv4"]["address"] == "198.51.100.52"
    assert facts["ansible_default_ipv6"]["address"] == "2001:db8:100::52"
    assert "simulated" in facts["ansible_kernel_version"]
    # Packages, by the module: installed, installed already, ambiguous.
    package = "ansible.builtin.package"
    assert [ansible(package, {"name": ["redis"]})["changed"] for _ in range(2)] == [True, False]
    assert "Ambiguous" in json.dumps(ansible(package, {"name": "rspamd"}))
    # Services: started and enabled once; smtpd cannot be reloaded.
    service = "ansible.builtin.service"
    assert [ansible(service, {"name": "redis", "state": "started", "enabled": True})["changed"] for _ in range(2)] == [True, False]
    assert "reload is not supported" in ansible(service, {"name": "smtpd", "state": "reloaded"})["msg"]
    user = {"name": "vmail", "uid": 2000, "home": "/var/vmail", "create_home": False, "shell": "/sbin/nologin"}
    assert [ansible("ansible.builtin.user", user)["changed"] for _ in range(2)] == [True, False]
    job = {"name": "x", "minute": "~", "job": "-n true"}
    assert [ansible("ansible.builtin.cron", job)["changed"] for _ in range(2)] == [True, False]


def test_a_start_that_fails_does_not_say_why() -> None:
    done = ansible("raw", "echo nonsense > /etc/httpd.conf; rcctl -f start httpd; echo status $?; rm /etc/httpd.conf")
    assert "httpd(failed)" in done and "status 1" in done
    assert "syntax error" not in done


def test_resolvd_puts_what_the_network_announces_above_whatever_else() -> None:
    lines = "printf 'nameserver 127.0.0.1\\n' > /etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf"
    announced = """'{"release": "7.9", "router": {"nameservers": ["2001:db8:100::2"]}}'"""
    wait = "i=0; until grep -q resolvd: /etc/resolv.conf || [ $i = 50 ]; do i=$((i + 1)); sleep 0.1; done"
    done = ansible("raw", f"set -e; cp /etc/resolv.conf /root/resolv.conf; cp /var/db/simulation/host.json /root; "
                   f"echo {announced} > /var/db/simulation/host.json; rcctl restart resolvd; {wait}; {lines}; sleep 1; {wait}; "
                   "cat /etc/resolv.conf; rcctl stop resolvd; echo ---; cat /etc/resolv.conf; "
                   "mv /root/host.json /var/db/simulation/host.json; mv /root/resolv.conf /etc/resolv.conf; rcctl start resolvd")
    learnt = "nameserver 2001:db8:100::2 # resolvd: vio0"
    before, after = done.replace("\r", "").split("---")
    assert learnt in before and before.index(learnt) < before.index("nameserver 127.0.0.1")
    assert learnt in after


RESOLVER = """---
- hosts: mail.openbsd-bare.test
  roles: [postmaster.mail.resolver]
"""


def test_the_resolver_does_not_take_the_place_of_unwind(tmp_path: pathlib.Path) -> None:
    (tmp_path / "resolver.yml").write_text(RESOLVER, encoding="utf-8")
    assert "rc=0" in ansible("raw", "rcctl enable unwind && rcctl start unwind")
    try:
        done = subprocess.run([TESTNET / "inside", "ansible-playbook", "-i", TESTNET / "inventory.yml", tmp_path / "resolver.yml"],
                              capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"})
    finally:
        ansible("raw", "rcctl stop unwind; rcctl disable unwind")
    assert done.returncode != 0
    output = " ".join(done.stdout.split())
    assert "has port 53 of 127.0.0.1, where the role resolver is to listen" in output
    assert "rcctl disable unwind" in output
    assert "rc=0" in ansible("raw", "grep -q 'Simulated: what a fresh installation' /var/unbound/etc/unbound.conf")
