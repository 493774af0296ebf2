# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What five hundred users with three devices each may expect of a server with 2 GB and two processors: nobody is refused, nobody waits for
others, and all of it fits into the memory, of which the host has no more. tests/bench/load.py has the clients.

What takes how long is not expected here, but where somebody would wait for others: a machine with all cores busy is slow, and not broken.

Environment: LOAD_SUITE=bookworm for Debian 12; LOAD_MTA=opensmtpd; KEEP=1 to build the host only if it is not there, and to leave it.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench"))

import load
from testnet_lib import machine

#: What was measured, printed at the end whether or not all is well.
FIGURES: list[tuple[str, str]] = []

pytestmark = pytest.mark.skipif(not machine.NETNS.exists(), reason="the test network is not up: tests/testnet/testnet up")


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Iterator[load.Host]:
    found = load.Host(os.environ.get("LOAD_SUITE", "trixie"), os.environ.get("LOAD_MTA", "postfix"))
    keep = bool(os.environ.get("KEEP"))
    load.more_files()
    with machine.inside_network():
        found.build(keep)
        yield found
    words = "".join(f"  {what:<44}{figure}\n" for what, figure in FIGURES)
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write(f"\n{found.name}, {found.mta}\n{words}")
    if not keep:
        load.testnet("destroy", found.name)


def complaints(host: load.Host, since: float) -> str:
    """Return what the host's log says of limits that were reached."""
    words = "_limit|limit exceeded|too many|out of memory|connections are being dropped|inotify|malformed|panic|fatal"
    pipe = f"grep -iE '{words}' | sort | uniq -c | sort -rn | head"
    return host.run(f"journalctl --no-pager -o cat --since=@{int(since)} | {pipe}", check=False)


def note(what: str, figure: str) -> None:
    FIGURES.append((what, figure))


def test_the_sizes_are_those_of_its_memory_and_processors(host):
    facts = host.facts()
    assert (facts["memory"], facts["cores"]) == (host.machine.memory, host.machine.cores) == (2048, 2)
    assert host.run("doveconf -h service/imap/process_limit").strip() == str(host.sizes["dovecot_imap_processes"])


@pytest.mark.parametrize(("count", "port", "own"), [(60, 25, False), (30, 587, True), (30, 587, True)])
def test_many_sessions_at_once_are_all_answered(host, count, port, own):
    began = time.time()
    answers, seconds = load.sessions_at_once(host, port, count, host.users[0] if own else "")
    note(f"{count} sessions at once on {port}", f"{dict(answers)}, the slowest after {seconds:.1f} s")
    assert dict(answers) == {"250": count}, complaints(host, began)


def test_everybody_is_let_in_after_a_restart_when_no_password_is_remembered(host):
    # Two processors check some thirty passwords a second, and fewer where others need them, too: who comes then waits.
    # After a minute in the queue Dovecot gives a temporary answer (AUTH_WORKER_ABORT_SECS), and clients come again.
    host.run("systemctl restart dovecot")
    first = asyncio.run(load.logins(host, 40, host.users))
    again = [user for user, entry in zip(host.users, first) if str(entry).startswith("a NO [UNAVAILABLE] ")]
    second = asyncio.run(load.logins(host, 10, again))
    note("40 log-ins a second after a restart, of 500", load.slowest(first))
    note("  those who had to come again", load.slowest(second) if again else "none")
    assert sum(isinstance(entry, float) for entry in (*first, *second)) == len(host.users), (load.slowest(first), load.slowest(second))


def test_1500_imap_sessions_wait_for_new_mail_within_the_memory(host):
    began = time.time()
    before = host.memory()["dovecot.service"]

    async def check() -> None:
        async with load.waiting_sessions(host, 40) as (sessions, wrong):
            note("IMAP sessions that wait for new mail", f"{len(sessions)} after {time.time() - began:.0f} s, {len(wrong)} failed")
            note("  log-in", load.slowest([session.seconds for session in sessions]))
            assert (len(sessions), wrong) == (load.USERS * load.DEVICES, []), complaints(host, began)
            await asyncio.sleep(3 * host.sizes["dovecot_hibernate_seconds"])
            memory = host.memory()
            each = (memory["dovecot.service"] - before) / len(sessions)
            note("  memory of Dovecot", f"{memory['dovecot.service']:.0f} MiB, {before:.0f} before: {each:.2f} MiB for each")
            note("  memory of all processes", f"{sum(memory.values()):.0f} MiB, with the kernel's {host.whole_memory()[0]:.0f} MiB")
            # New mail is seen at once, by all devices of a user. Who polls sees it within half a minute.
            user = host.users[7]
            devices = [session for session in sessions if session.user == user]
            arrivals = [asyncio.ensure_future(session.line("* ", " EXISTS")) for session in devices]
            taken, _delivered, failed = await asyncio.to_thread(load.burst, host, user, 1, 1)
            assert failed == []
            delivered = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*arrivals), load.PATIENCE)
            assert len(devices) == load.DEVICES and time.monotonic() - delivered < 10, f"taken after {taken} s"
            note("  new mail seen by all devices of a user", f"{time.monotonic() - delivered:.1f} s after it was delivered")
            # A reload, as when users become more, disconnects nobody.
            host.run("doveadm reload")
            await asyncio.sleep(2)
            answers = await asyncio.gather(*(session.stop_waiting() for session in sessions[:200]), return_exceptions=True)
            assert [answer for answer in answers if not str(answer).startswith("i OK")] == [], complaints(host, began)

    asyncio.run(check())
    assert complaints(host, began) == ""


def test_nobody_waits_for_those_who_guess_passwords(host):
    users = host.users[:200]
    asyncio.run(load.logins(host, 40, users))
    before = asyncio.run(load.logins(host, 40, users))
    with load.guessers(host) as counts:
        during = asyncio.run(load.logins(host, 40, users))
    note("40 log-ins a second, of 200", load.slowest(before))
    note("  while 20 clients guess passwords", load.slowest(during))
    note("  guesses", str(dict(counts)))
    assert [entry for entry in (*before, *during) if not isinstance(entry, float)] == []
    assert counts["refused"] and not counts["let in"], counts
    # One bcrypt of cost 10 takes a twentieth of a second; behind all guessers each would wait for twenty of them.
    assert statistics.median(during) < max(0.5, 3 * statistics.median(before)), (load.slowest(before), load.slowest(during))


@pytest.mark.parametrize(("name", "count", "recipients"), [("all", 1, 200), ("team", 200, 3)])
def test_a_burst_to_a_list_is_delivered_without_a_second_try(host, name, count, recipients):
    began = time.time()
    taken, delivered, wrong = load.burst(host, f"{name}@{host.domain}", count)
    note(f"{count} messages to {recipients} users", f"taken after {taken:.1f} s, delivered after {delivered:.1f} s")
    assert wrong == [] and host.queue() == 0, complaints(host, began)
    # What is tried again waits for five minutes.
    assert delivered - taken < 240, complaints(host, began)
    log = host.run(f"journalctl --no-pager -o cat --since=@{int(began)} | grep -cE 'status=deferred|result=\"?TempFail'", check=False)
    assert int(log) == 0, complaints(host, began)


def test_nothing_was_killed_for_want_of_memory(host):
    taken, killed = host.whole_memory()
    note("memory at the end, with the kernel's", f"{taken:.0f} MiB, {killed} processes killed for want of it")
    assert killed == 0
