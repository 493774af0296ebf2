# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that opens ports where a firewall is at work, with simulated ufw, firewall-cmd and nft that remember what they are told."""

from __future__ import annotations

import pytest
from dkim_runner import Runner

#: Each writes down how it is called with more than a question. Without its file in the directory it is not at work.
TOOLS = {
    "ufw": """[ "$1" = status ] || { echo "ufw $*" >>{top}/calls; echo "${2%/tcp}" >>{top}/ufw; exit; }
if [ -e {top}/ufw ]; then
  printf 'Status: active\\n\\n'
  while read -r port from; do printf '%-26s ALLOW       %s\\n' "$port/tcp" "${from:-Anywhere}"; done <{top}/ufw
else echo 'Status: inactive'; fi
""",
    "firewall-cmd": """case $1 in
  --state) [ -e {top}/firewalld ] ;;
  --list-ports) cat {top}/firewalld ;;
  *) echo "firewall-cmd $*" >>{top}/calls; [ -e {top}/broken ] && { echo 'ERROR: broken' >&2; exit 13; }
     for word; do case $word in --add-port=*) echo "${word#--add-port=}" >>{top}/firewalld ;; esac; done ;;
esac
""",
    "nft": """[ -e {top}/nft ] || { echo 'Error: Could not process rule: Operation not supported' >&2; exit 1; }
[ "$*" = '-j list ruleset' ] && cat {top}/nft
""",
}
DROP = ('{"nftables": [{"chain": {"family": "inet", "table": "filter", "name": "in", "type": "filter", "hook": "input", '
        '"prio": 0, "policy": "drop"}}]}')


UNREADABLE = "nft -j list ruleset printed what cannot be read"


@pytest.fixture
def host(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in TOOLS.items():
        (programs / name).write_text("#!/bin/sh\n" + text.replace("{top}", str(tmp_path)))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def run(host):
    """Run the module; return its result and the commands that changed something."""
    runner = Runner()

    def start(*ports, check=False):
        (host / "calls").write_text("")
        result = runner("firewall_ports", {"ports": list(ports)}, check)
        return result, (host / "calls").read_text().splitlines()

    return start


def shown(result):
    return {name: result[name] for name in ("changed", "firewall", "opened", "notes")}


def test_without_a_firewall_nothing_is_done(host, run):
    for file, text in ((None, ""), ("nft", '{"nftables": [{"metainfo": {}}]}')):
        if file:
            (host / file).write_text(text)
        result, calls = run(25, 993)
        assert (shown(result), calls) == ({"changed": False, "firewall": "none", "opened": [], "notes": []}, [])


def test_ports_are_opened_in_ufw_once(host, run):
    (host / "ufw").write_text("22\n465 198.51.100.0/24\n")
    note = "by hand: ufw has a rule for 465, which does not let everybody in"
    ahead, calls = run(25, 465, 993, check=True)
    assert shown(ahead) == {"changed": True, "firewall": "ufw", "opened": [25, 993],
                            "notes": ["would open 25 in ufw", "would open 993 in ufw", note]}
    assert calls == []
    done, calls = run(25, 465, 993)
    assert shown(done) == {"changed": True, "firewall": "ufw", "opened": [25, 993],
                           "notes": ["opened 25 in ufw", "opened 993 in ufw", note]}
    assert calls == ["ufw allow 25/tcp", "ufw allow 993/tcp"]
    assert done["diff"] == {"before": "", "after": "25/tcp\n993/tcp\n"}
    for check in (True, False):
        again, calls = run(25, 465, 993, check=check)
        assert (shown(again), calls) == ({"changed": False, "firewall": "ufw", "opened": [], "notes": [note]}, [])


def test_ports_are_opened_in_firewalld_now_and_after_a_restart(host, run):
    (host / "firewalld").write_text("22/tcp\n500-600/tcp\n")
    (host / "nft").write_text(DROP)
    ahead, calls = run(25, 587, 993, check=True)
    assert (ahead["changed"], ahead["opened"], calls) == (True, [25, 993], [])
    done, calls = run(25, 587, 993)
    assert shown(done) == {"changed": True, "firewall": "firewalld", "opened": [25, 993],
                           "notes": ["opened 25 in firewalld", "opened 993 in firewalld"]}
    assert calls == ["firewall-cmd --permanent --add-port=25/tcp --add-port=993/tcp", "firewall-cmd --add-port=25/tcp --add-port=993/tcp"]
    again, calls = run(25, 587, 993)
    assert (shown(again), calls) == ({"changed": False, "firewall": "firewalld", "opened": [], "notes": []}, [])


def test_another_ruleset_is_reported(host, run):
    (host / "nft").write_text(DROP)
    result, calls = run(25)
    assert (shown(result), calls) == ({
        "changed": False, "firewall": "nftables", "opened": [],
        "notes": ["by hand: a ruleset of nftables looks at what comes in: see that it lets the ports below pass"]}, [])


def test_a_failure_is_one(host, run):
    (host / "firewalld").write_text("\n")
    (host / "broken").write_text("")
    result, _calls = run(25)
    assert result["failed"] is True and "ERROR: broken" in result["msg"]


@pytest.mark.parametrize(("ports", "ruleset", "message"), [
    ([25, 0], "", "ports 0 is not the number of a port: 1 to 65535"),
    ([65536], "", "ports 65536 is not the number of a port: 1 to 65535"),
    ([25], "table inet filter", f"{UNREADABLE}: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ([25], '{"x": 1}', f"{UNREADABLE}: KeyError: 'nftables'"),
])
def test_what_is_refused(host, run, ports, ruleset, message):
    if ruleset:
        (host / "nft").write_text(ruleset)
    result, calls = run(*ports)
    assert (result["failed"], result["msg"], calls) == (True, message, [])
