# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's own modules take a simulated host, booted bare, for OpenBSD."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

INTERNET = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(INTERNET))

from little import machine

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the little internet is not up: tests/internet/internet up")
HOST = "mail.openbsd-bare.test"


@pytest.fixture(scope="module", autouse=True)
def _host() -> Iterator[None]:
    for words in (["destroy", HOST], ["boot", HOST]):
        subprocess.run([INTERNET / "internet", *words], check=True, capture_output=True, timeout=600)
    yield
    subprocess.run([INTERNET / "internet", "destroy", HOST], check=True, capture_output=True, timeout=60)


def ansible(module: str, arguments: dict | str) -> dict | str:
    """Return what a module says; of raw, its words."""
    words = arguments if isinstance(arguments, str) else json.dumps(arguments)
    done = subprocess.run([INTERNET / "inside", "ansible", "-i", INTERNET / "inventory.yml", HOST, "-m", module, "-a", words],
                          capture_output=True, text=True, check=False, timeout=300,
                          env={**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0"})
    if module == "raw":
        return done.stdout
    return json.loads(done.stdout[done.stdout.index("{", done.stdout.index("=>")):])


def test_ansible_takes_it_for_openbsd() -> None:
    assert "rc=1" in ansible("raw", "test -x /usr/local/bin/python3 || test -x /usr/bin/python3")
    assert "python-3.13.13: ok" in ansible("raw", "pkg_add -I -x python%3")
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
