# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module against a DNS server that misbehaves on purpose."""

from __future__ import annotations

import ipaddress

import pytest
from server import Server

QUALIFIED = "must be fully qualified, with at least two labels (RFC 5321 section 2.3.5)"
V4, V6 = "198.51.100.25", "2001:db8:100::25"
REV4 = ipaddress.ip_address(V4).reverse_pointer
REV6 = ipaddress.ip_address(V6).reverse_pointer

GOOD = {
    REV4: {"PTR": ["mail.example.test."]},
    REV6: {"PTR": ["mail.example.test."]},
    "mail.example.test": {"A": [V4], "AAAA": [V6]},
    "example.test": {"MX": ["10 mail.example.test."]},
}


def test_a_server_whose_names_agree_passes_all_checks(verify):
    with Server(GOOD) as server:
        result = verify(addresses=[V4, V6], hostname="Mail.Example.test.", domains=["example.test"], nameservers=["127.0.0.1"],
                        nameserver_port=server.port, fail_on=["fail", "warn", "unknown"])  # fmt: skip
    assert "failed" not in result, result
    assert result["changed"] is False
    assert result["summary"] == {"pass": 16, "warn": 0, "fail": 0, "unknown": 0}
    assert [entry["check"] for entry in result["checks"]] == [
        *["public", "ptr", "alias", "forward", "hostname", "generic", "mx"] * 2, "helo", "families",
    ]  # fmt: skip
    assert all(entry["advice"] == "" for entry in result["checks"])


def test_a_failing_task_tells_every_failing_check_in_one_line_with_advice(verify):
    records = {**GOOD, REV6: {"PTR": ["other.example.test."]}, "other.example.test": {"AAAA": ["2001:db8:100::7"]}}
    with Server(records) as server:
        result = verify(addresses=[V4, V6], hostname="mail.example.test", nameservers=["127.0.0.1"], nameserver_port=server.port,
                        fail_on=["fail"])  # fmt: skip
    assert result["failed"] is True
    assert result["msg"] == (
        "2 of 14 checks failed:\n"
        f"forward {V6}: fail: expected AAAA {V6}; found other.example.test has AAAA 2001:db8:100::7. "
        f"To do: publish other.example.test. AAAA {V6}, or correct the PTR record.\n"
        f"hostname {V6}: fail: expected mail.example.test; found other.example.test. "
        f"To do: have the provider of {V6} set its reverse name to mail.example.test ({REV6}. PTR mail.example.test.), "
        "or announce the name that the PTR record gives."
    )
    assert result["summary"]["fail"] == 2


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        ("nxdomain", "fail", "does not exist (NXDOMAIN)"),
        ("empty", "fail", "has no such record"),
        ("servfail", "unknown", "failed (SERVFAIL)"),
        ("refused", "unknown", "refused to answer (REFUSED)"),
        ("notauth", "unknown", "answered with an error [127.0.0.1: NOTAUTH]"),
        ("timeout", "unknown", "no answer in time [127.0.0.1: silent for 1"),
        ("lame", "unknown", "neither knows the zone nor looks further (lame)"),
        ("referral", "unknown", "a referral instead of an answer"),
        ("truncated", "pass", "mail.example.test"),
        ("truncated_no_tcp", "unknown", "could not be had over TCP [127.0.0.1: truncated over UDP; TCP: the connection ended early]"),
        ("truncated_garbage", "unknown", "TCP: an answer that is not ours"),
        ("wrong_id", "unknown", "answers with a wrong id or question were ignored"),
        ("wrong_question", "unknown", "answers with a wrong id or question were ignored"),
        ("garbage", "unknown", "answers with a wrong id or question were ignored"),
        ("forged_first", "pass", "mail.example.test"),
    ],
)
@pytest.mark.parametrize("address", [V4, V6])
def test_each_way_a_name_server_can_fail(verify, found, address, behaviour, status, words):
    reverse = ipaddress.ip_address(address).reverse_pointer
    with Server(GOOD, {reverse: behaviour}) as server:
        result = verify(addresses=[address], nameservers=["127.0.0.1"], nameserver_port=server.port)
    ptr = found(result, "ptr")
    assert ptr["status"] == status
    assert words in ptr["found"]
    assert (ptr["advice"] == "") == (status == "pass")
    assert found(result, "forward")["status"] == status


def test_a_name_server_that_is_not_there(verify, found):
    with Server(GOOD) as server:
        port = server.port
    result = verify(addresses=[V4], nameservers=["127.0.0.1"], nameserver_port=port)
    assert found(result, "ptr")["status"] == "unknown"
    assert "the name server cannot be reached [127.0.0.1: Connection refused]" in found(result, "ptr")["found"]


def test_one_good_name_server_among_bad_ones_is_enough(verify, found):
    with Server(GOOD) as good, Server(GOOD, {".": "servfail", ".test": "refused", ".arpa": "servfail"}, address="127.0.0.2"):
        # Both on one port is what the option means: 127.0.0.2 serves nothing there, 127.0.0.1 does.
        result = verify(addresses=[V4], nameservers=["127.0.0.2", "127.0.0.1"], nameserver_port=good.port)
    assert found(result, "ptr")["status"] == "pass"
    assert found(result, "forward")["status"] == "pass"


def test_a_server_without_edns_is_asked_again_without_it(verify, found):
    with Server(GOOD, edns=False) as server:
        result = verify(addresses=[V4], nameservers=["127.0.0.1"], nameserver_port=server.port)
    assert found(result, "ptr")["status"] == "pass"


@pytest.mark.parametrize("recursive", [True, False])
def test_a_classless_delegation_is_followed_and_is_no_alias(verify, found, recursive):
    classless = f"25.0/25.{REV4.partition('.')[2]}"
    records = {**GOOD, REV4: {"CNAME": [f"{classless}."]}, classless: {"PTR": ["mail.example.test."]}}
    with Server(records, recursive=recursive) as server:
        result = verify(addresses=[V4], hostname="mail.example.test", nameservers=["127.0.0.1"], nameserver_port=server.port)
    assert {name: found(result, name)["status"] for name in ("ptr", "alias", "forward", "hostname")} == dict.fromkeys(
        ("ptr", "alias", "forward", "hostname"), "pass"
    )


def test_a_circle_of_aliases_ends(verify, found):
    records = {REV4: {"CNAME": ["a.test."]}, "a.test": {"CNAME": ["b.test."]}, "b.test": {"CNAME": [f"{REV4}."]}}
    with Server(records, recursive=False) as server:
        result = verify(addresses=[V4], nameservers=["127.0.0.1"], nameserver_port=server.port)
    assert found(result, "ptr")["status"] == "unknown"
    assert "circle" in found(result, "ptr")["found"]


def test_a_name_in_the_ptr_record_that_is_an_alias_fails(verify, found):
    records = {**GOOD, REV4: {"PTR": ["www.example.test."]}, "www.example.test": {"CNAME": ["mail.example.test."]}}
    with Server(records) as server:
        result = verify(addresses=[V4], nameservers=["127.0.0.1"], nameserver_port=server.port)
    alias = found(result, "alias")
    assert (alias["status"], alias["found"]) == ("fail", "www.example.test is a CNAME for mail.example.test")
    assert found(result, "forward")["status"] == "pass"


def test_over_ipv6_as_well(verify, found):
    try:
        server = Server(GOOD, address="::1")
        with server:
            result = verify(addresses=[V4, V6], nameservers=["::1"], nameserver_port=server.port)
    except (AssertionError, OSError):
        pytest.skip("no IPv6 loopback here")
    assert result["summary"]["unknown"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"addresses": []}, "addresses must not be empty: there is nothing to look at"),
        ({"addresses": ["mail.example.org"]}, "addresses 'mail.example.org' is not an IPv4 or IPv6 address"),
        ({"addresses": [V4], "nameservers": ["ns.example.org"]}, "nameservers 'ns.example.org' is not an IPv4 or IPv6 address"),
        ({"addresses": [V4], "nameserver_port": 70000}, "nameserver_port 70000 is not a port number from 1 to 65535"),
        ({"addresses": [V4], "timeout": 0}, "timeout 0.0 must be more than 0 seconds"),
        ({"addresses": [V4], "lifetime": -1}, "lifetime -1.0 must be more than 0 seconds"),
        ({"addresses": [V4], "hostname": "localhost"}, f"hostname 'localhost' {QUALIFIED}"),
        ({"addresses": [V4], "dnsbls": ["zen"]}, f"dnsbls 'zen' {QUALIFIED}"),
    ],
)
def test_bad_options(verify, options, message):
    result = verify(**{"nameservers": ["127.0.0.1"], **options})
    assert result["failed"] is True
    assert result["msg"] == message


def test_without_dnspython_the_module_says_what_it_needs(verify):
    result = verify(addresses=[V4], without=["dns"])
    assert result["failed"] is True
    assert result["msg"].startswith("Failed to import the required Python library (dnspython >= 2.3)")
