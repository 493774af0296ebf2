# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A primary and a secondary BIND, and what it takes until both serve a record.

The primary has IPv4 only and the secondary IPv6 only: so both can have one port without a second loopback address.
"""

from __future__ import annotations

import signal
import threading

import dns.message
import dns.opcode
import dns.query
import pytest
import servers

ZONE = "example.org"
PRIMARY, SECONDARY = "127.0.0.1", "::1"


def zone(*lines):
    return servers.zone_text(ZONE, "@ IN NS ns2", f"ns2 IN AAAA {SECONDARY}", "old IN TXT a", *lines, ns6=None)


@pytest.fixture
def pair(daemons, tmp_path):
    """(primary, secondary, options); the secondary hears of changes only through :func:`notify`."""
    port = servers.free_port()
    policy = f'type primary; allow-update {{ key "{servers.KEYS[0]}"; }}; notify no;'
    first = servers.Named(tmp_path / "primary", PRIMARY, port, {ZONE: (zone(), policy)}, "recursion no;")
    daemons.append(first)
    first.start(ZONE)
    copy = f"type secondary; primaries port {port} {{ {PRIMARY}; }}; allow-notify {{ any; }};"
    second = servers.Named(tmp_path / "secondary", SECONDARY, port, {ZONE: ("", copy)})
    daemons.append(second)
    second.start(ZONE)
    resolver = {"nameservers": [PRIMARY], "nameserver_port": port, "authoritative_port": port}
    return first, second, resolver


@pytest.fixture
def to(pair):
    return {"server": PRIMARY, "port": pair[0].port, "tsig_name": servers.KEYS[0], "tsig_secret": servers.SECRET, **pair[2]}


def notify(second):
    message = dns.message.make_query(ZONE, "SOA")
    message.set_opcode(dns.opcode.NOTIFY)
    dns.query.udp(message, SECONDARY, port=second.port, timeout=5)


def entry(result, address):
    return next((item["status"], item["reason"]) for item in result["served"] if item["address"] == address)


STALE = ("stale", "new.example.org TXT: lacks 'b'")


def test_a_stale_secondary_is_waited_for(run, pair, to):
    timer = threading.Timer(1.0, notify, [pair[1]])
    timer.start()
    result = run("dns_txt_record", **to, name="new.example.org", values=["b"], wait=True, wait_timeout=20)
    timer.join()
    assert (result["changed"], result["records"][0]["served"], result["missing"]) == (True, True, [])
    assert [(item["server"], item["address"], item["family"], item["status"]) for item in result["served"]] == [
        ("ns1.example.org", "127.0.0.1", "ipv4", "ok"),
        ("ns2.example.org", "::1", "ipv6", "ok"),
    ]


def test_a_secondary_that_stays_stale(run, pair, to):
    result = run("dns_txt_record", **to, name="new.example.org", values=["b"], wait=True, wait_timeout=1)
    assert (result["failed"], result["changed"], result["records"][0]["served"]) == (True, True, False)
    assert result["msg"] == (
        "after 1 s not every authoritative server serves the records: "
        f"example.org at ns2.example.org (::1 port {pair[1].port}): new.example.org TXT: lacks 'b'"
    )
    assert (entry(result, PRIMARY), entry(result, SECONDARY)) == (("ok", ""), STALE)
    assert result["missing"] == [
        {
            "name": "new.example.org",
            "zone": ZONE,
            "type": "TXT",
            "ttl": 3600,
            "values": ["b"],
            "remove": [],
            "lines": ['new.example.org. 3600 IN TXT "b"'],
        }
    ]
    again = run("dns_txt_record", **to, name="new.example.org", values=["b"], wait=True, wait_timeout=0, on_timeout="warn")
    assert (again.get("failed"), again["changed"], again["records"][0]["served"]) == (None, False, False)
    assert again["warnings"] == [result["msg"].replace("1 s", "0 s")]


def test_the_address_of_a_name_server_that_fails_at_first(run, daemons, tmp_path):
    port = servers.free_port()
    text = servers.zone_text(ZONE, "@ IN NS ns.example.net.", "new IN TXT b", ns6=None)
    # BIND answers SERVFAIL for a zone that it could not load.
    server = servers.Named(tmp_path / "bind", PRIMARY, port, {ZONE: (text, "type primary;"), "example.net": ("", "type primary;")})
    daemons.append(server)
    server.start(ZONE)
    args = {"nameservers": [PRIMARY], "nameserver_port": port, "authoritative_port": port, "zone": ZONE, "backend": "none", "wait": True,
            "name": "new", "values": ["b"]}  # fmt: skip
    failed = run("dns_txt_record", **args, wait_timeout=0.5)
    reasons = [f"an address of name server 'ns.example.net' is not known: resolver 127.0.0.1 port {port} answers SERVFAIL for "
               f"ns.example.net {rtype}" for rtype in ("A", "AAAA")]  # fmt: skip
    assert [(entry["server"], entry["status"], entry["reason"]) for entry in failed["served"]] == [
        ("ns.example.net", "unreachable", reasons[0]),
        ("ns.example.net", "unreachable", reasons[1]),
        ("ns1.example.org", "ok", ""),
    ]
    assert failed["msg"] == "after 0 s not every authoritative server serves the records: " + "; ".join(
        f"example.org at ns.example.net: {reason}" for reason in reasons
    )
    (server.directory / "example.net.zone").write_text(servers.zone_text("example.net", "ns IN A 127.0.0.1", ns6=None))
    timer = threading.Timer(1.0, server.process.send_signal, [signal.SIGHUP])
    timer.start()
    healed = run("dns_txt_record", **args, wait_timeout=20)
    timer.join()
    assert (healed.get("failed"), healed["records"][0]["served"]) == (None, True)
    assert [(entry["address"], entry["status"]) for entry in healed["served"]] == [("127.0.0.1", "ok")] * 2


def test_removal_is_waited_for_too(run, pair, to):
    args = {**to, "module": "dns_txt_record", "name": "old.example.org", "state": "absent", "wait": True}
    result = run(**args, wait_timeout=0.5, on_timeout="warn")
    assert entry(result, SECONDARY) == ("stale", "old.example.org TXT: still has 'a'")
    notify(pair[1])
    assert run(**args, wait_timeout=20)["records"][0]["served"] is True


def test_check_mode_looks_once(run, pair, to):
    result = run("dns_txt_record", **to, check=True, name="new.example.org", values=["b"], wait=True)
    assert (result["changed"], result["records"][0]["served"]) == (True, False)
    assert entry(result, PRIMARY) == STALE


def test_a_server_that_hangs_is_unreachable(run, pair, to):
    pair[1].pause()
    try:
        result = run("dns_txt_record", **to, name="new.example.org", values=["b"], wait=True, wait_timeout=0, on_timeout="warn")
    finally:
        pair[1].go_on()
    assert entry(result, SECONDARY) == ("unreachable", f"::1 port {pair[1].port} does not answer (asked 3 times)")
    assert result["records"][0]["served"] is False


def test_only_looking(run, pair, to):
    args = {**pair[2], "backend": "none", "records": [{"name": "old.example.org", "type": "TXT", "values": ["a"]}]}
    for check in (True, False):
        result = run(**args, check=check)
        assert (result["changed"], result["missing"], result["records"][0]["served"]) == (False, [], True)
        assert result["records"][0]["before"] == result["records"][0]["after"] == ["a"]
    run("dns_txt_record", **to, name="old.example.org", values=["b"])
    args["records"].append({"name": "_dmarc.example.org", "type": "TXT", "values": ["v=DMARC1; p=none"], "state": "exact"})
    args["records"][0]["values"] = ["b"]
    result = run(**args)
    assert (result["changed"], [record["served"] for record in result["records"]]) == (False, [False, False])
    assert entry(result, SECONDARY)[0] == "stale"
    assert [line for record in result["missing"] for line in record["lines"]] == [
        'old.example.org. 3600 IN TXT "b"',
        '_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none"',
    ]


def test_only_looking_at_a_domain_that_is_not_there(run, pair):
    records = [{"name": "_dmarc.example.net", "type": "TXT", "values": ["v=DMARC1; p=none"]}]
    result = run(**pair[2], backend="none", records=records)
    assert (result["changed"], result["records"][0]["served"], result["records"][0]["zone"]) == (False, False, None)
    assert result["served"][0]["status"] == "unknown"
    assert result["missing"][0]["lines"] == ['_dmarc.example.net. 3600 IN TXT "v=DMARC1; p=none"']


def test_the_primary_is_the_one_that_the_zone_names(run, pair, to):
    args = {key: value for key, value in to.items() if key != "server"}
    assert run("dns_txt_record", **args, name="new.example.org", values=["b"])["zones"][0]["server"] == f"127.0.0.1 port {pair[0].port}"


def test_a_zone_is_found_below_an_alias_and_an_unknown_name(run, pair, to):
    run(**to, records=[{"name": "alias.example.org", "type": "CNAME", "values": ["a.example.net"]}])
    result = run(**to, records=[{"name": "alias.example.org", "type": "CNAME", "state": "absent"}], check=True)
    assert result["records"][0]["zone"] == ZONE
    looked = run(**pair[2], backend="none", records=[{"name": "x.y.z.example.org", "type": "TXT", "values": ["a"]}])
    assert looked["records"][0]["zone"] == ZONE
