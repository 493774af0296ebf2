# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judge asks a host what its system needs to be asked, and says which system that is."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils import _promise

TESTS = Path(__file__).resolve().parents[1]
INVENTORY = str(TESTS / "internet/inventory.yml")


@pytest.fixture(scope="module")
def judge():
    loader = importlib.machinery.SourceFileLoader("judge", str(TESTS / "promises/judge"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("judge", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(("suite", "guest", "runs", "simulated"), [
    ("trixie", "", "trixie", False), ("bookworm", "", "bookworm", False), ("openbsd", "", "openbsd", True),
    ("trixie", "openbsd", "openbsd", False), ("trixie", "debian", "trixie", False)])
def test_a_guest_is_what_it_is_and_not_its_suite(judge, suite, guest, runs, simulated):
    assert (judge.cells.system(suite, guest), judge.cells.simulated(suite)) == (runs, simulated)


@pytest.mark.parametrize(("host", "mta", "runs", "simulated", "ports"), [
    ("mail.vm-openbsd.test", "opensmtpd", "openbsd", False, {80}), ("mail.openbsd.test", "opensmtpd", "openbsd", True, {80}),
    ("mail.vm-debian.test", "postfix", "trixie", False, set())])
def test_a_host_of_the_inventory_is_judged_as_its_system(judge, monkeypatch, tmp_path, host, mta, runs, simulated, ports):
    given = judge.variables([INVENTORY], host)
    told = judge.report(given, [_promise.Outcome("smtp", "answers", "kept", "220", 0.5)])
    assert {name: told[name] for name in ("host", "mta", "system", "simulated")} == {
        "host": host, "mta": mta, "system": runs, "simulated": simulated}
    assert told["promises"] == [{"name": "smtp", "text": "answers", "status": "kept", "evidence": "220", "seconds": 0.5}]
    # What is asked of it follows: no name and no file of this machine is needed for that.
    monkeypatch.setenv("POSTMASTER_MAIL_INTERNET", "/nonexistent")
    monkeypatch.setattr(judge.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(judge.socket, "gethostbyname", lambda name: "192.0.2.1")
    monkeypatch.setattr(judge.pathlib.Path, "read_text", lambda path: "")
    judged = judge.server({**given, "mail_domains": {"example.org": {}}, "lab_passwords": {}}, [INVENTORY])
    assert judged.commands == judge.cells.commands(mta, runs)
    assert (judged.further_ports, judged.mta) == (ports, judge.cells.MTAS[mta])


@pytest.mark.parametrize(("answers", "health", "status", "asked"), [
    (["kept"], [], "kept", 1),
    (["broken"], [0], "broken", 1),  # the network is well: the host broke it
    (["broken", "kept"], [3], "kept", 2),  # a service was restarted: once more
    (["broken", "broken"], [3, 0], "broken", 2),
    (["broken", "broken"], [3, 3], "unknown", 2),
    (["broken"], [1], "unknown", 1),  # it does not answer even after a restart
])
def test_a_sick_test_network_breaks_no_promise(judge, capsys, answers, health, status, asked):
    book, asks = _promise.Book(), iter(answers)
    states = iter(health)
    times = []

    def check(server):
        """Something."""
        times.append(server)
        if next(asks) == "broken":
            raise _promise.Broken("451 Service unavailable")
        return "250"

    book.promise("out")(check)
    outcome = judge.checked(book, "out", None, {}, lambda since: (next(states), "test network: mx.bigmail.test does not answer"))
    assert (outcome.status, len(times), list(states)) == (status, asked, [])
    assert ("mx.bigmail.test" in outcome.evidence) == (status == "unknown")
    assert ("mx.bigmail.test" in capsys.readouterr().out) == any(health)
    _promise.page("The promises", [outcome])


def test_what_the_test_network_says(judge, monkeypatch):
    said = "test network: ns.test answers\ntest network: mx.bigmail.test does not answer: timed out; its services are restarted\n"
    monkeypatch.setattr(judge.subprocess, "run", lambda words, **_: judge.subprocess.CompletedProcess(words, 3, said, ""))
    assert judge.network_health(1.5) == (3, "test network: mx.bigmail.test does not answer: timed out; its services are restarted")
