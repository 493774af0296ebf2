#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the services of a small host hold at idle, which has no filter (mail_filter: false). `make bench` prints it, and
tests/integration/targets/light expects no more than MAX_MEMORY.

  tests/ci/run tests/bench/light.py [--suite bookworm] [--mta opensmtpd] [--keep]
"""

from __future__ import annotations

import argparse
import sys
import time

import load
from testnet_lib import machine
from testnet_lib.plan import Inventory, ipv4

NAMES = {"trixie": "mail.light.test", "bookworm": "mail.light12.test"}
INVENTORY = load.ROOT / "tests/integration/targets/light/inventory.yml"
#: MiB of PSS of all services that the site adds to a bare host.
MAX_MEMORY = 60.0
#: Units that a bare host has as well.
BARE = ("init.scope", "systemd-", "cron.", "dbus.", "ssh.", "session-", "user@", "getty", "console-", "networking.")
#: Seconds after which a process of Postfix ends that has nothing to do (max_idle), with some to spare.
IDLE = 130


class Host(load.Host):
    """The host under test."""

    inventory = INVENTORY

    def __init__(self, suite: str, mta: str) -> None:
        self.name, self.mta = NAMES[suite], mta
        self.domain = self.name.partition(".")[2]
        self.machine = Inventory().host(self.name)
        self.address = ipv4(self.machine.number)

    def site(self, *words: str) -> str:
        """Run the site; return what it printed."""
        return self.ansible("ansible-playbook", "--limit", self.name, load.ROOT / "playbooks/site.yml", *words)

    def build(self, keep: bool = False) -> None:
        if not (keep and machine.running(self.machine)):
            load.testnet("destroy", self.name)
            load.testnet("boot", self.name)
        self.site()

    def held(self) -> dict[str, float]:
        """Return MiB of PSS by unit of the services of mail, the largest first."""
        found = {unit: mib for unit, mib in self.memory().items() if not unit.startswith(BARE)}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def at_idle(self) -> dict[str, float]:
        """Wait until what nobody needs has ended, at most for IDLE seconds; return the same then."""
        end = time.monotonic() + IDLE
        found = self.held()
        while time.monotonic() < end:
            time.sleep(10)  # processes end without telling anybody
            found = min(found, self.held(), key=lambda one: sum(one.values()))
        return found


def figures(held: dict[str, float]) -> list[str]:
    """Return the lines to print."""
    return [f"{'memory (PSS) of all services of mail at idle':<46}{sum(held.values()):>7.1f} MiB   at most {MAX_MEMORY:.0f}",
            *(f"  {unit:<44}{mib:>7.1f} MiB" for unit, mib in held.items())]  # fmt: skip


def main() -> int:
    """Build the host and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=tuple(NAMES), default="trixie")
    parser.add_argument("--mta", choices=("postfix", "opensmtpd"), default="postfix")
    parser.add_argument("--keep", action="store_true", help="use the host that is there, and leave it")
    options = parser.parse_args()
    load.testnet("up")
    host = Host(options.suite, options.mta)
    with machine.inside_network():
        host.build(options.keep)
        print(f"{host.name}, {host.mta}, mail_filter: false", *figures(host.at_idle()), sep="\n")
    if not options.keep:
        load.testnet("destroy", host.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
