#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much longer an unchanged run takes with 500 domains and 5,000 users than with two and ten. `make bench` calls it.

Builds one host of the test network anew, with the small inventory and then with the large one, and prints the seconds of each task for
both; and how long it takes to change one of 5,000 users with --tags accounts. The host is left to whoever takes the network down.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
TESTNET, INSIDE = str(TESTS / "testnet/testnet"), str(TESTS / "testnet/inside")
SITE = str(TESTS.parent / "playbooks/site.yml")
#: "correct-horse"; the same for all, since nobody logs in.
HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"
MAX_RATIO = 1.5
SIZES = {"small": (2, 10), "large": (500, 5000)}  # domains, users


def inventory(host: str, domains: int, users: int) -> dict[str, Any]:
    """Return an inventory of one host: an alias for each fifth user, and one domain that the test network has a zone for."""
    own = host.partition(".")[2]
    names = [own, *(f"d{number}.example.net" for number in range(1, domains))]
    mailboxes = [f"user{number}@{names[number % domains]}" for number in range(users)]
    variables = {
        "mail_domains": {name: {} for name in names},
        "mail_users": {address: {"password_hash": HASH, "quota": "1G"} for address in mailboxes},
        "mail_aliases": {f"alias-of-{address}": [address] for address in mailboxes[::5]},
    }
    return {"bench": {"hosts": {host: None}, "vars": variables}}


def play(host: str, path: pathlib.Path, times: pathlib.Path, *more: str) -> tuple[float, float, list[dict[str, Any]]]:
    """Run the site; return the seconds that passed, those of the controller's processors, and the tasks."""
    times.unlink(missing_ok=True)
    environment = {**os.environ, "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"), "ANSIBLE_CALLBACKS_ENABLED": "task_times",
                   "TASK_TIMES_FILE": str(times)}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [INSIDE, "ansible-playbook", "-i", TESTS / "testnet/inventory.yml", "-i", path, "--limit", f"{host},localhost", SITE, *more],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"inventory_size: exit {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-4000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, [json.loads(line) for line in times.read_text(encoding="utf-8").splitlines()]


def measure(host: str, label: str, path: pathlib.Path, times: pathlib.Path, turns: int) -> tuple[float, dict[str, float]]:
    """Build the host, run again and again, and return the median of seconds and the tasks of the run that took it."""
    seconds, _cpu, _tasks = play(host, path, times)
    print(f"{label}: first run {seconds:.1f} s", flush=True)
    found = []
    for turn in range(turns + 1):
        seconds, cpu, tasks = play(host, path, times)
        changed = [task["task"] for task in tasks if task["changed"]]
        if turn and changed:
            sys.exit(f"inventory_size: an unchanged run changed something: {changed}")
        if turn:  # the second run may have keys to sign with that the first could not have yet
            found.append((seconds, cpu, tasks))
    median = statistics.median_low(row[0] for row in found)
    seconds, cpu, tasks = next(row for row in found if row[0] == median)
    print(f"{label}: unchanged run {seconds:.1f} s, of which {cpu:.1f} s of the controller's processors; {len(tasks)} tasks", flush=True)
    sums: dict[str, float] = {}
    for task in tasks:
        sums[task["task"]] = sums.get(task["task"], 0) + task["seconds"]
    return seconds, sums


def one_user(host: str, size: tuple[int, int], path: pathlib.Path, times: pathlib.Path) -> None:
    """Change one user of many, lock another, and print how long the site takes with the tag that is for that."""
    found = inventory(host, *size)
    users = found["bench"]["vars"]["mail_users"]
    first, second, *_rest = users
    users[first]["quota"], users[second]["locked"] = "2G", "all"
    path.write_text(json.dumps(found), encoding="utf-8")
    seconds, cpu, tasks = play(host, path, times, "--tags", "accounts")
    restarted = [task["task"] for task in tasks if task["changed"] and "restart" in task["task"].lower()]
    if restarted:
        sys.exit(f"inventory_size: another user restarts services: {restarted}")
    print(f"{size[0]} domains, {size[1]} users: another user with --tags accounts {seconds:.1f} s, of which {cpu:.1f} s of the "
          f"controller's processors; {len(tasks)} tasks", flush=True)  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="mail.bench.test")
    parser.add_argument("--turns", type=int, default=3, help="unchanged runs to take the median of")
    parser.add_argument("--keep", action="store_true", help="go on with a host that is there")
    options = parser.parse_args()
    subprocess.run([TESTNET, "up"], check=True, stdout=subprocess.DEVNULL)
    if not options.keep:
        subprocess.run([TESTNET, "destroy", options.host], check=True)
    subprocess.run([TESTNET, "boot", options.host], check=True)
    seconds, tasks = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for label, size in SIZES.items():
            path = pathlib.Path(scratch, f"{label}.json")
            path.write_text(json.dumps(inventory(options.host, *size)), encoding="utf-8")
            name = f"{size[0]} domains, {size[1]} users"
            seconds[label], tasks[label] = measure(options.host, name, path, pathlib.Path(scratch, "times"), options.turns)
        one_user(options.host, SIZES["large"], path, pathlib.Path(scratch, "times"))
    ratio = seconds["large"] / seconds["small"]
    print(f"ratio {ratio:.2f}, aim: at most {MAX_RATIO}; seconds by task, for both:")
    for task, large in sorted(tasks["large"].items(), key=lambda item: -item[1]):
        small = tasks["small"].get(task, 0)
        if large > 0.25:
            print(f"  {small:6.2f} {large:6.2f}  {task}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
