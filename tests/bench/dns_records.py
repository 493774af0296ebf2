#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""1,000 TXT records in 200 zones: one task of dns_records against one task of community.general.nsupdate for each record.

Both are whole runs of ansible-playbook against the same BIND on this machine. Ours publishes and then asks every
authoritative server; the other only publishes. It is measured on 50 records and scaled: the time of the 50 beyond that of a
playbook with none, times 20. Each time is the better one of two. Fails if ours is not at least 50 times faster, or not linear
from 100 to 1,000.

    tests/ci/run tests/bench/dns_records.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/targets/dns"))
import servers

CACHE = Path(os.environ.get("POSTMASTER_MAIL_CACHE", "/var/cache/postmaster-mail"))
VENV = CACHE / "venv-bench"
COUNTS = (100, 250, 500, 1000)
PER_ZONE, SAMPLE = 5, 50
MIN_RATIO = 50.0
# Ten times the records may take ten times as long, and a little more for the noise of a shared machine.
MAX_GROWTH = 13.0


def ansible_playbook() -> str:
    """Return an ansible-playbook whose installation has community.general, from an environment of its own."""
    program = VENV / "bin" / "ansible-playbook"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([VENV / "bin/pip", "-qq", "--disable-pip-version-check", "install", "ansible", "dnspython>=2.3"], check=True)
    return str(program)


def zone(number: int) -> str:
    return f"zone{number:03}.example"


def record(number: int, value: str) -> dict[str, object]:
    where = zone(number // PER_ZONE)
    return {"name": f"r{number}.{where}", "zone": where, "type": "TXT", "values": [f"{value} {number}"]}


def play(scratch: Path, name: str, tasks: list[dict[str, object]]) -> float:
    """Run a playbook of these tasks on this machine; return its seconds."""
    path = scratch / f"{name}.json"
    variables = {"ansible_connection": "local", "ansible_python_interpreter": str(VENV / "bin/python")}
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]))
    start = time.perf_counter()
    done = subprocess.run([ansible_playbook(), "-i", "localhost,", str(path)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"benchmark: {name}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return seconds


def ours(port: int, count: int, value: str, expect: str) -> list[dict[str, object]]:
    options = {
        "server": "127.0.0.1",
        "port": port,
        "tsig_name": servers.KEYS[0],
        "tsig_secret": servers.SECRET,
        "nameservers": ["127.0.0.1"],
        "nameserver_port": port,
        "authoritative_port": port,
        "wait": True,
        "records": [record(number, value) for number in range(count)],
    }
    check = f"result is {expect} and result.records | length == {count} and result.records | rejectattr('served') | length == 0"
    return [
        {"name": "Records", "postmaster.mail.dns_records": options, "register": "result"},
        {"name": "Served", "ansible.builtin.assert": {"that": check, "quiet": True}},
    ]


def theirs(port: int, count: int, value: str) -> list[dict[str, object]]:
    tasks = []
    for number in range(count):
        item = record(number, value)
        options = {
            "server": "127.0.0.1",
            "port": port,
            "key_name": servers.KEYS[0],
            "key_secret": servers.SECRET,
            "key_algorithm": "hmac-sha256",
            "zone": item["zone"],
            "record": str(item["name"]) + ".",
            "type": "TXT",
            "value": [f'"{item["values"][0]}"'],
        }
        tasks.append({"name": f"Record {number}", "community.general.nsupdate": options})
    return tasks


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    ansible_playbook()
    with tempfile.TemporaryDirectory(prefix="dns-bench.") as scratch:
        return measure(Path(scratch))


def measure(scratch: Path) -> int:
    port = servers.free_port()
    policy = f'type primary; allow-update {{ key "{servers.KEYS[0]}"; }}; notify no;'
    zones = {zone(number): (servers.zone_text(zone(number)), policy) for number in range(max(COUNTS) // PER_ZONE)}
    server = servers.Named(scratch / "bind", "127.0.0.1", port, zones, "recursion no;", ipv6="::1")
    server.start(zone(0))
    try:
        empty = min(play(scratch, "nothing", [{"name": "Nothing", "ansible.builtin.meta": "noop"}]) for _ in range(3))
        print(f"a playbook that does nothing:                 {empty:8.2f} s")
        taken = {}
        for count in COUNTS:
            # The values differ from all before, so that each record is written.
            taken[count] = min(play(scratch, f"ours-{count}", ours(port, count, f"{turn} of {count}", "changed")) for turn in range(2))
            print(f"dns_records, {count:5} records, published, served: {taken[count]:8.2f} s")
        again = play(scratch, "again", ours(port, COUNTS[-1], f"1 of {COUNTS[-1]}", "not changed"))
        print(f"dns_records, {COUNTS[-1]:5} records, second run:       {again:8.2f} s")
        sample = min(play(scratch, "theirs", theirs(port, SAMPLE, f"theirs {turn}")) for turn in range(2))
    finally:
        server.stop()
    scaled = empty + (sample - empty) / SAMPLE * COUNTS[-1]
    print(f"community.general.nsupdate, {SAMPLE} records:        {sample:8.2f} s")
    print(f"the same for {COUNTS[-1]} records (scaled):             {scaled:8.2f} s")
    ratio = scaled / taken[COUNTS[-1]]
    growth = (taken[COUNTS[-1]] - empty) / (taken[COUNTS[0]] - empty)
    print(f"ratio: {ratio:.0f} (at least {MIN_RATIO:.0f})")
    print(f"time of {COUNTS[-1]} over time of {COUNTS[0]} records: {growth:.1f} (at most {MAX_GROWTH:.0f})")
    return 0 if ratio >= MIN_RATIO and growth <= MAX_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
