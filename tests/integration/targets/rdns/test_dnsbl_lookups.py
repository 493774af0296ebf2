# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS lists against a real DNS server: what is asked, what an answer means, and how long it all takes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from lists import FORTY, JUDGED, PAIRS, PTRS, SIXTEEN, TESTS, V4, V6, a_list, judged, lists_of_their_own
from server import Server

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns
from ansible_collections.postmaster.mail.plugins.modules import rdns_verify
from ansible_collections.postmaster.mail.plugins.modules.rdns_verify import look


def test_listed_and_clean_in_both_families(verify, found):
    records = {**a_list("bad.test", "127.0.0.2", text="sent spam, see https://bad.test/?q"), **a_list("good.test")}
    with Server(records) as server:
        result = verify(addresses=[V4, V6], dnsbls=["Bad.test", "good.test."], nameservers=["127.0.0.1"], nameserver_port=server.port)
        asked = sorted(server.log)
    for address in (V4, V6):
        entry = found(result, "dnsbl", f"{address} at bad.test")
        assert entry["status"] == "fail"
        assert entry["found"] == "listed: 127.0.0.2: sent spam, see https://bad.test/?q now"
        assert entry["values"] == ["127.0.0.2"]
        assert entry["reason"] == "sent spam, see https://bad.test/?q now"
        assert entry["zone"] == "bad.test"
        assert found(result, "dnsbl", f"{address} at good.test")["status"] == "pass"
    assert [found(result, "dnsbl_zone", zone)["status"] for zone in ("bad.test", "good.test")] == ["pass", "pass"]
    assert len(asked) == len(set(asked)), "nothing is asked twice"


@pytest.mark.parametrize(
    ("records", "behaviour", "words"),
    [
        (a_list("bl.test", "127.255.255.254"), {}, "127.255.255.254: it refuses questions through a public or nameless resolver"),
        (a_list("bl.test", "203.0.113.7"), {}, "no code of a list: the zone is parked"),
        (a_list("bl.test", tests=["127.255.255.255"]), {}, "it refuses this resolver"),
        ({}, {}, "its test entry 127.0.0.2 is not listed"),
        (a_list("bl.test", "127.0.0.2"), {"25.100.51.198.bl.test": "timeout"}, "no answer in time"),
        (a_list("bl.test", "127.0.0.2"), {"25.100.51.198.bl.test": "servfail"}, "SERVFAIL"),
        (a_list("bl.test", "127.0.0.2"), {"25.100.51.198.bl.test": "refused"}, "REFUSED"),
        (a_list("bl.test", "127.0.0.2"), {"25.100.51.198.bl.test": "lame"}, "lame"),
        (a_list("bl.test", "127.0.0.2"), {"25.100.51.198.bl.test": "truncated_no_tcp"}, "truncated"),
        (a_list("bl.test", "127.0.0.2"), {".bl.test": "timeout"}, "no answer in time"),
        (a_list("bl.test", "127.0.0.2"), {"2.0.0.127.bl.test": "servfail"}, "its test entries cannot be asked"),
        ({**a_list("bl.test", "127.0.0.2"), "1.0.0.127.bl.test": {"A": ["127.0.0.2"]}}, {}, "it answers for every address"),
    ],
)
def test_what_is_neither_listed_nor_clean(verify, found, records, behaviour, words):
    with Server(records, behaviour) as server:
        result = verify(addresses=[V4], dnsbls=["bl.test"], nameservers=["127.0.0.1"], nameserver_port=server.port)
    entry = found(result, "dnsbl")
    assert entry["status"] == "unknown"
    assert words in entry["found"]
    assert entry["advice"]


def test_closed_lists_and_lists_of_domains_are_not_asked(verify, found):
    with Server({}) as server:
        zones = ["dnsbl.sorbs.net", "dbl.spamhaus.org"]
        result = verify(addresses=[V4], dnsbls=zones, nameservers=["127.0.0.1"], nameserver_port=server.port)
        assert [name for name, _kind, _tcp in server.log] == ["25.100.51.198.in-addr.arpa"]
    assert found(result, "dnsbl_zone", "dnsbl.sorbs.net")["status"] == "warn"
    assert found(result, "dnsbl", f"{V4} at dnsbl.sorbs.net")["status"] == "unknown"


def test_lists_are_not_asked_about_private_addresses(verify, found):
    with Server(a_list("bl.test")) as server:
        result = verify(addresses=["10.0.0.25"], dnsbls=["bl.test"], nameservers=["127.0.0.1"], nameserver_port=server.port)
        assert [name for name, _kind, _tcp in server.log] == ["25.0.0.10.in-addr.arpa"]
    assert found(result, "dnsbl")["found"] == "not asked: 10.0.0.25 is not public"
    assert found(result, "public")["status"] == "fail"


@pytest.mark.parametrize("key", ["0123456789abcdef", "0123456789ABCDef"])
def test_an_access_key_is_not_shown(verify, found, key):
    zone = f"{key}.zen.dq.spamhaus.net"
    with Server(a_list(zone, "127.0.0.2")) as server:
        result = verify(addresses=[V4], dnsbls=[zone], nameservers=["127.0.0.1"], nameserver_port=server.port, fail_on=["fail"])
    assert result["failed"] is True
    assert key.lower() not in json.dumps(result).lower()
    assert result["invocation"]["module_args"]["dnsbls"] == ["********.zen.dq.spamhaus.net"]
    assert found(result, "dnsbl")["status"] == "fail"


@pytest.mark.parametrize("key", ["0123456789_ABCDEF", "01234\\ABCDEF", "01234'ABC\tDEF", "01234é"])
def test_an_access_key_that_is_no_label_is_not_shown(verify, key):
    result = verify(addresses=[V4], dnsbls=[f"{key}.zen.dq.spamhaus.net"], nameservers=["127.0.0.1"])
    assert result["failed"] is True
    assert result["msg"].startswith("dnsbls '********.zen.dq.spamhaus.net'") or result["msg"].startswith('dnsbls "********.zen.')
    assert "01234" not in json.dumps(result)


def test_no_question_to_a_list_waits_for_the_answer_to_another():
    """The server answers nothing before it has them all: those after the test entries and those for the reasons included."""
    with lists_of_their_own(hold=PTRS + TESTS + 2 * PAIRS) as port:
        answers, _greetings = asyncio.run(look(rdns.plan(SIXTEEN, dnsbls=FORTY), ["127.0.0.1"], port, 30, 30, 25))
    assert len(answers) == PTRS + TESTS + 2 * PAIRS
    assert judged(answers) == JUDGED


def test_lists_that_answer_soon_are_asked_for_the_reasons_of_what_they_list_only(monkeypatch):
    monkeypatch.setattr(rdns_verify, "PATIENCE", 60)
    with lists_of_their_own() as port:
        answers, _greetings = asyncio.run(look(rdns.plan(SIXTEEN, dnsbls=FORTY), ["127.0.0.1"], port, 30, 30, 25))
    assert len(answers) == PTRS + TESTS + PAIRS + PAIRS // 2
    assert judged(answers) == JUDGED


def test_that_it_takes_long_to_ask_makes_no_list_a_slow_one(monkeypatch):
    monkeypatch.setattr(dns_client, "_PACE", 0.003)  # 16 + 160 + 640 questions take longer than a list may
    monkeypatch.setattr(rdns_verify, "PATIENCE", 1)
    with lists_of_their_own() as port:
        answers, _greetings = asyncio.run(look(rdns.plan(SIXTEEN, dnsbls=FORTY), ["127.0.0.1"], port, 30, 30, 25))
    assert len(answers) == PTRS + TESTS + PAIRS + PAIRS // 2


def test_a_name_that_the_ptr_record_gives_is_the_only_thing_that_waits_for_an_answer():
    """Not even that, where it is the name that the server is said to announce."""
    names = {"25.100.51.198.in-addr.arpa": {"PTR": ["mail.example.test."]}, "mail.example.test": {"A": [V4]}, "example.test": {}}
    plan = rdns.plan([V4], "mail.example.test", ["example.test"], False, ["bl.test"])
    questions = rdns.first_questions(plan) + rdns.open_reasons(plan, {})
    with Server({**names, **a_list("bl.test", "127.0.0.2", addresses=[V4])}, hold=len(questions)) as server:
        answers, _greetings = asyncio.run(look(plan, ["127.0.0.1"], server.port, 30, 30, 25))
    assert sorted(server.log) == sorted({(*question, False) for question in [*questions, ("example.test", "A"), ("example.test", "AAAA")]})
    assert answers["25.100.51.198.bl.test", "TXT"].values == ("on the list now",)


def test_a_list_that_never_answers_delays_the_others_no_longer_than_its_timeout(verify):
    zones = [f"list{n}.test" for n in range(10)]
    records = {}
    for zone in zones:
        records.update(a_list(zone))
    with Server(records, {".list3.test": "timeout"}) as server:
        started = time.monotonic()
        result = verify(addresses=[V4, V6], dnsbls=zones, nameservers=["127.0.0.1"], nameserver_port=server.port, timeout=10, lifetime=60)
        taken = time.monotonic() - started
    assert taken < 20, "one timeout, not two"
    lists = [entry for entry in result["checks"] if entry["check"].startswith("dnsbl")]
    assert {entry["zone"] for entry in lists if entry["status"] == "unknown"} == {"list3.test"}
    assert {entry["status"] for entry in lists if entry["zone"] != "list3.test"} == {"pass"}


def test_the_lifetime_ends_everything(verify, found):
    with Server({}, {".": "timeout", ".arpa": "timeout", ".test": "timeout"}) as server:
        started = time.monotonic()
        result = verify(addresses=[V4], domains=["example.test"], nameservers=["127.0.0.1"], nameserver_port=server.port,
                        timeout=60, lifetime=1)  # fmt: skip
        taken = time.monotonic() - started
    assert taken < 20, "far from the timeout of one question"
    assert "then the lifetime of 1 s was used up" in found(result, "ptr")["found"]
    assert found(result, "mx")["status"] == "unknown"
