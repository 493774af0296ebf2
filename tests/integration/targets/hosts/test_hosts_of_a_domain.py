# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two servers of one domain in a real name server: whatever one of them publishes, the other leaves as it is.

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
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine
from testnet_lib.plan import Inventory, ipv4, ipv6

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")

INVENTORY = Inventory()
ZONE, ONE, TWO = "several.test", "mx1.several.test", "mx2.several.test"
NUMBERS = [INVENTORY.host(name).number for name in (ONE, TWO)]
SPF = " ".join(["v=spf1", *(f"ip4:{ipv4(number)}" for number in NUMBERS), *(f"ip6:{ipv6(number)}" for number in NUMBERS), "~all"])
BOTH = [f"10 {ONE}.", f"20 {TWO}."]


def outside(*words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TESTNET / "inside", *words], input=text, capture_output=True, text=True, check=False, timeout=600)


def play(*options: str, **variables: object) -> tuple[str, dict[str, int]]:
    """Publish the records; return what was said in one line, and how much each host has changed."""
    group = HERE / "inventory.yml"
    words = ["ansible-playbook", "-i", TESTNET / "inventory.yml", "-i", group, *options, HERE / "playbook.yml"]
    # As in the inventory: on the command line it would hide what other hosts have.
    more = {"several": {"vars": variables}}
    done = outside(*words[:-1], "-i", "/dev/stdin", words[-1], text=json.dumps(more)) if variables else outside(*words)
    output = " ".join((done.stdout + done.stderr).split())
    counts = re.findall(r"(\S+\.several\.test) +: ok=\d+ +changed=(\d+) ", (done.stdout + done.stderr).partition("PLAY RECAP")[2])
    assert counts, output[-3000:]
    assert (done.returncode == 0) == ("failed=1" not in output), output[-3000:]
    return output, {name: int(count) for name, count in counts}


def update(*lines: str) -> None:
    tsig = INVENTORY.variables["testnet_tsig"]
    text = "\n".join([f"server {ipv4(2)}", f"zone {ZONE}", *lines, "send", ""])
    done = outside("nsupdate", "-y", f"{tsig['algorithm']}:{tsig['name']}:{tsig['secret']}", text=text)
    assert done.returncode == 0, done.stderr


def served(kind: str, name: str = ZONE) -> list[str]:
    return sorted(outside("dig", "+short", f"@{ipv4(2)}", name, kind).stdout.splitlines())


@pytest.fixture(autouse=True, scope="module")
def empty():
    texts = (ZONE, ONE, TWO, *(f"{label}.{ZONE}" for label in ("_dmarc", "s1._domainkey", "s2._domainkey")))
    names = [f"{ZONE} MX", *(f"{name} TXT" for name in texts)]
    update(*(f"update delete {name}" for name in names))
    yield
    update(*(f"update delete {name}" for name in names))


def test_a_run_of_one_publishes_what_both_need():
    _output, changed = play("--limit", TWO)
    assert changed[TWO] == 1
    assert served("MX") == BOTH
    assert served("TXT") == [f'"{SPF}"']


def test_the_other_adds_what_is_its_own_and_nothing_else():
    before = served("SOA")
    output, changed = play("--limit", ONE, "--diff")
    assert changed[ONE] == 1 and served("SOA") != before
    written = re.findall(r" \+(\S+?)\. \d+ IN ", output)
    assert sorted(written) == [ONE, f"s1._domainkey.{ZONE}"]
    assert [len(served("TXT", f"{selector}._domainkey.{ZONE}")) for selector in ("s1", "s2")] == [1, 1]
    assert (served("MX"), served("TXT")) == (BOTH, [f'"{SPF}"'])


@pytest.mark.parametrize("options", [["--limit", ONE], ["--limit", TWO], [], ["--check"]], ids=" ".join)
def test_an_unchanged_run_changes_nothing_in_any_order(options):
    before = served("SOA")
    output, changed = play(*options)
    assert set(changed.values()) == {0}, output[-3000:]
    assert served("SOA") == before


def test_both_at_once_change_the_records_once(monkeypatch):
    """Each could find that somebody else was faster, if not always: so it is looked at how they are started, too."""
    update(f"update delete {ZONE} MX", f"update delete {ZONE} TXT")
    monkeypatch.setenv("ANSIBLE_DEBUG", "1")
    output, changed = play("--forks=2")
    assert sorted(changed.values()) == [0, 1], output[-3000:]
    assert "Publish the records of all domains, throttle: 1" in output
    assert (served("MX"), served("TXT")) == (BOTH, [f'"{SPF}"'])


def test_an_mx_of_others_is_declared_or_named():
    update(f"update add {ZONE} 3600 MX 30 mx.isp.example.")
    for options in (["--check"], []):
        output, _changed = play(*options)
        assert f"{ZONE}: the MX records have '30 mx.isp.example.', which the inventory does not declare." in output, output[-3000:]
    assert served("MX") == [*BOTH, "30 mx.isp.example."]
    _output, changed = play(mail_domains={ZONE: {"mx": {"mx.isp.example": 30}}})
    assert set(changed.values()) == {0}
    _output, changed = play(mail_domains={ZONE: {"mx": {"mx.isp.example": False}}})
    assert sorted(changed.values()) == [0, 1]
    assert served("MX") == BOTH


def test_a_host_that_serves_the_domain_no_more_is_taken_out_by_the_other():
    """What SPF lets it send was declared by nobody else, so that is asked for."""
    inventory = {"several": {"hosts": {TWO: {"mail_domains": {"other.test": {}}}}}}
    words = ["ansible-playbook", "-i", TESTNET / "inventory.yml", "-i", HERE / "inventory.yml", "-i", "/dev/stdin", "--limit", ONE,
             HERE / "playbook.yml"]
    done = outside(*words, text=json.dumps(inventory))
    assert done.returncode != 0 and f"lets others send, by 'ip4:{ipv4(NUMBERS[1])}'" in " ".join(done.stdout.split()), done.stdout[-3000:]
    drop = [f"ip4:{ipv4(NUMBERS[1])}", f"ip6:{ipv6(NUMBERS[1])}"]
    inventory["several"]["hosts"][ONE] = {"mail_domains": {ZONE: {"spf": {"drop": drop}}}}
    done = outside(*words, text=json.dumps(inventory))
    assert done.returncode == 0, done.stdout[-3000:]
    assert served("MX") == [f"10 {ONE}."]
