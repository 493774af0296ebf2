# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS lists to ask: one that behaves, and forty of them with sixteen addresses, for the tests and the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.postmaster.mail.plugins.module_utils._rdns import dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns

V4, V6 = "198.51.100.25", "2001:db8:100::25"


def a_list(zone, *codes, addresses=(V4, V6), text="on the list", tests=("127.0.0.2",)):
    """A list that behaves, with both addresses on it if there are codes."""
    records = {dnsbl.test_names(zone, version)[0]: {"A": list(tests)} for version in (4, 6)}
    for address in addresses if codes else ():
        records[dnsbl.query_name(address, zone)] = {"A": list(codes), "TXT": [f'"{text}" " now"']}
    return records


SIXTEEN = [f"198.51.100.{n}" for n in range(1, 9)] + [f"2001:db8:100::{n:x}" for n in range(1, 9)]
FORTY = [f"list{n}.test" for n in range(40)]
# Every second list has all of the addresses on it.
LISTS = {}
for number, zone in enumerate(FORTY):
    LISTS.update(a_list(zone, *["127.0.0.2"] * (number % 2), addresses=SIXTEEN))
PTRS, TESTS, PAIRS = 16, 40 * 4, 16 * 40


@contextmanager
def lists_of_their_own(**options):
    """A server with all of these in a process of its own, so that it and the resolver do not wait for each other; its port."""
    program = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        program.stdin.write(json.dumps({"records": LISTS, "fast": True, **options}) + "\n")
        program.stdin.flush()
        yield int(program.stdout.readline())
    finally:
        program.stdin.close()
        program.wait(10)


def judged(answers):
    checks = rdns.judge(rdns.plan(SIXTEEN, dnsbls=FORTY), answers, {})
    return rdns.summary(entry for entry in checks if entry["check"].startswith("dnsbl"))


JUDGED = {"pass": 40 + PAIRS // 2, "warn": 0, "fail": PAIRS // 2, "unknown": 0}
