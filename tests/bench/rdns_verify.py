#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rdns_verify over 16 addresses and 40 DNSBLs, against the time of one answer.

A server in a process of its own answers everything after the same delay, which is short, usual and long in turn. Fails if all
questions (1,456 at most) take more than twice as long as one that takes a second or longer; below, what the questions themselves
cost this machine, and the reasons that are asked after the answers, weigh more than the one answer, and are only printed.

    tests/ci/run tests/bench/rdns_verify.py
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration/targets/rdns"))
import lists

from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns
from ansible_collections.postmaster.mail.plugins.modules.rdns_verify import look

DELAYS = (0.2, 0.5, 1.0, 2.0)  # seconds
HELD_FROM = 1.0
MAX_RATIO = 2.0


def seconds(addresses: list[str], dnsbls: list[str], port: int) -> tuple[float, dict]:
    """How long it takes to ask, and the answers."""
    start = time.perf_counter()
    answers, _greetings = asyncio.run(look(rdns.plan(addresses, dnsbls=dnsbls), ["127.0.0.1"], port, 15, 40, 25))
    return time.perf_counter() - start, answers


def main() -> int:
    """Measure and print."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    broken = False
    print("rdns_verify: one question, 16 addresses at 40 lists")
    for delay in DELAYS:
        with lists.lists_of_their_own(delay=delay) as port:
            one, _answers = seconds(lists.SIXTEEN[:1], [], port)
            everything, answers = min((seconds(lists.SIXTEEN, lists.FORTY, port) for _turn in range(3)), key=lambda result: result[0])
        if lists.judged(answers) != lists.JUDGED:
            sys.exit(f"benchmark: not every answer came: {lists.judged(answers)}")
        held = delay >= HELD_FROM
        broken |= held and everything > MAX_RATIO * one
        limit = f" (at most {MAX_RATIO:.0f})" if held else ""
        ratio = f"ratio {everything / one:.2f}{limit}"
        print(f"answers after {delay:.1f} s: {one:5.2f} s {everything:5.2f} s, {len(answers)} questions, {ratio}")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
