# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in the test network: BIND, Postfix, and lists of both kinds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTNET = Path(__file__).parents[3] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib import machine

INSIDE = [str(TESTNET / "inside")]

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")


def test_the_strict_receiver_is_in_order(verify):
    result = verify(INSIDE, addresses=["198.51.100.10", "2001:db8:100::10"], hostname="mx.bigmail.test", domains=["bigmail.test"],
                    check_banner=True, dnsbls=["dnsbl.test"], fail_on=["fail", "warn", "unknown"])  # fmt: skip
    assert "failed" not in result, result["msg"]
    assert result["summary"] == {"pass": 23, "warn": 0, "fail": 0, "unknown": 0}


def test_a_listed_address(verify, found):
    result = verify(INSIDE, addresses=["198.51.100.8", "2001:db8:100::8"], dnsbls=["dnsbl.test"])
    for address in ("198.51.100.8", "2001:db8:100::8"):
        entry = found(result, "dnsbl", f"{address} at dnsbl.test")
        assert (entry["status"], entry["values"]) == ("fail", ["127.0.0.2"])
        assert entry["reason"] == f"{address} is listed, see https://dnsbl.test/why"


def test_a_list_that_refuses_to_answer(verify, found):
    result = verify(INSIDE, addresses=["198.51.100.8", "2001:db8:100::8"], dnsbls=["broken-dnsbl.test"])
    assert {entry["status"] for entry in result["checks"] if entry["check"].startswith("dnsbl")} == {"unknown"}
    assert "public or nameless resolver" in found(result, "dnsbl", "198.51.100.8 at broken-dnsbl.test")["found"]


def test_an_address_whose_name_lies_and_one_without_a_name(verify, found):
    result = verify(INSIDE, addresses=["198.51.100.7", "198.51.100.6"], fail_on=["fail"])
    assert result["failed"] is True
    assert found(result, "forward", "198.51.100.7")["found"] == "liar.client.test has A 198.51.100.5"
    assert found(result, "ptr", "198.51.100.6")["status"] == "fail"
