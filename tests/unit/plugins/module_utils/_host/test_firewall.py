# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ufw, firewalld and nftables say of the ports that they let in: answers of those of Debian 13."""

from __future__ import annotations

import json

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._host import firewall

UFW = """Status: active

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW       Anywhere                  
25,465/tcp                 ALLOW       198.51.100.0/24           
143                        DENY        Anywhere                  
80/tcp on host0            ALLOW       Anywhere                  
585:590/tcp                ALLOW       Anywhere                  
4190/udp                   ALLOW       Anywhere                  
993/tcp                    LIMIT       Anywhere                  
110/tcp                    ALLOW       10.0.0.0/8                
110/tcp                    ALLOW       Anywhere                   # old clients
Postfix                    ALLOW       Anywhere                  
198.51.100.25 995/tcp      ALLOW       Anywhere                  
Anywhere                   DENY        203.0.113.4               
22/tcp (v6)                ALLOW       Anywhere (v6)             
143 (v6)                   DENY        Anywhere (v6)             
80/tcp (v6) on host0       ALLOW       Anywhere (v6)             

2525/tcp                   ALLOW OUT   Anywhere                  
"""  # noqa: W291  it is printed like that


@pytest.mark.parametrize(("status", "active"), [(UFW, True), ("Status: inactive\n", False), ("", False), ("x Status: active\n", False)])
def test_whether_ufw_filters(status, active):
    assert firewall.ufw_active(status) is active


@pytest.mark.parametrize(("port", "plan"), [
    (22, "open"), (80, "open"), (587, "open"), (585, "open"), (590, "open"), (110, "open"),
    (25, "by hand"), (465, "by hand"), (143, "by hand"), (993, "by hand"),
    (4190, "missing"), (2525, "missing"), (584, "missing"), (591, "missing"), (995, "missing"), (2, "missing"), (5, "missing"),
])
def test_ports_in_ufw(port, plan):
    note = f"by hand: ufw has a rule for {port}, which does not let everybody in"
    assert firewall.ufw_plan(UFW, [port]) == ([port] if plan == "missing" else [], [note] if plan == "by hand" else [])


def test_ports_in_firewalld():
    listed = "22/tcp 80/tcp 585-590/tcp 143/udp 1000-2000/udp\n"
    assert firewall.firewalld_plan(listed, [22, 25, 80, 143, 585, 587, 591, 1500]) == ([25, 143, 591, 1500], [])
    assert firewall.firewalld_plan("\n", [25]) == ([25], [])


def chain(name="input", table="filter", hook="input", policy="accept"):
    return {"chain": {"family": "inet", "table": table, "name": name, "handle": 1, "type": "filter", "hook": hook, "prio": 0,
                      "policy": policy}}


def rule(*expressions, name="input", table="filter", family="inet"):
    return {"rule": {"family": family, "table": table, "chain": name, "handle": 4, "expr": list(expressions)}}


def ruleset(*entries):
    return json.dumps({"nftables": [{"metainfo": {"version": "1.1.3", "json_schema_version": 1}}, *entries]})


PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 25}}
REJECT = {"reject": {"type": "icmp", "expr": "port-unreachable"}}
DATA = {"set": [[22, {"accept": None}], [25, {"drop": None}]]}
VMAP = {"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": DATA}}


@pytest.mark.parametrize("entries", [
    [], [chain()], [chain(), rule(PORT, {"accept": None})], [chain(), rule({"counter": {"packets": 1, "bytes": 2}})],
    # What is sent, and what is passed on.
    [chain("output", hook="output", policy="drop"), rule({"drop": None}, name="output")],
    [chain("forward", hook="forward", policy="drop")],
    # A chain without a hook that none leads to.
    [chain(), {"chain": {"family": "inet", "table": "filter", "name": "old", "handle": 2}}, rule({"drop": None}, name="old")],
    # fail2ban's.
    [chain("f2b-chain", "f2b-table"), rule(PORT, REJECT, name="f2b-chain", table="f2b-table")],
    # Of the same name in another family.
    [chain(), rule({"drop": None}, family="ip")],
])
def test_rulesets_that_let_in_what_comes(entries):
    assert firewall.nftables_filters_input(ruleset(*entries)) is False


@pytest.mark.parametrize("entries", [
    [chain(policy="drop")], [chain(), rule({"drop": None})], [chain(), rule(PORT, REJECT)], [chain(), rule(VMAP)],
    [chain(), rule({"vmap": {"key": "x", "data": "@services"}})], [chain(), rule({"jump": {"target": "mail"}})],
    [chain(), rule(PORT, {"goto": {"target": "mail"}})], [rule(PORT, REJECT), chain()],
    [chain("f2b-chain", "f2b-table"), chain("in"), rule({"drop": None}, name="in")],
])
def test_rulesets_that_may_keep_it_out(entries):
    assert firewall.nftables_filters_input(ruleset(*entries)) is True


@pytest.mark.parametrize("text", ["", "table inet filter {\n", "[]"])
def test_what_is_no_ruleset(text):
    with pytest.raises((ValueError, TypeError)):
        firewall.nftables_filters_input(text)
