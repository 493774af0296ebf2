# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/acceptance/verify asks a host what its system needs to be asked, and says which system that is."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._checks import report, runner

TESTS = Path(__file__).resolve().parents[2]
INVENTORY = str(TESTS / "testnet/inventory.yml")


@pytest.fixture(scope="module")
def verify():
    loader = importlib.machinery.SourceFileLoader("verify", str(TESTS / "acceptance/verify"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("verify", loader))
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(("suite", "guest", "runs", "simulated"), [
    ("trixie", "", "trixie", False), ("bookworm", "", "bookworm", False), ("openbsd", "", "openbsd", True),
    ("trixie", "openbsd", "openbsd", False), ("trixie", "debian", "trixie", False)])
def test_a_guest_is_what_it_is_and_not_its_suite(verify, suite, guest, runs, simulated):
    assert (verify.cells.system(suite, guest), verify.cells.simulated(suite)) == (runs, simulated)


@pytest.mark.parametrize(("host", "mta", "runs", "simulated", "ports"), [
    ("mail.vm-openbsd.test", "opensmtpd", "openbsd", False, {80}), ("mail.openbsd.test", "opensmtpd", "openbsd", True, {80}),
    ("mail.vm-debian.test", "postfix", "trixie", False, set())])
def test_a_host_of_the_inventory_is_checked_as_its_system(verify, monkeypatch, tmp_path, host, mta, runs, simulated, ports):
    given = verify.variables([INVENTORY], host)
    told = verify.report(given, [runner.CheckResult("smtp", "answers", "pass", "220", 0.5)])
    assert {name: told[name] for name in ("host", "mta", "system", "simulated")} == {
        "host": host, "mta": mta, "system": runs, "simulated": simulated}
    assert told["checks"] == [{"check": "smtp", "description": "answers", "status": "pass", "evidence": "220", "seconds": 0.5}]
    # What is asked of it follows: no name and no file of this machine is needed for that.
    monkeypatch.setenv("POSTMASTER_MAIL_TESTNET", "/nonexistent")
    monkeypatch.setattr(verify.tempfile, "mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr(verify.socket, "gethostbyname", lambda name: "192.0.2.1")
    monkeypatch.setattr(verify.pathlib.Path, "read_text", lambda path: "")
    server = verify.server({**given, "mail_domains": {"example.org": {}}, "testnet_passwords": {}}, [INVENTORY])
    assert server.commands == verify.cells.commands(mta, runs)
    assert (server.further_ports, server.mta) == (ports, verify.cells.MTAS[mta])


@pytest.mark.parametrize(("answers", "health", "status", "asked"), [
    (["pass"], [], "pass", 1),
    (["fail"], [0], "fail", 1),  # the network is well: the host failed
    (["fail", "pass"], [3], "pass", 2),  # a service was restarted: once more
    (["fail", "fail"], [3, 0], "fail", 2),
    (["fail", "fail"], [3, 3], "unknown", 2),
    (["fail"], [1], "unknown", 1),  # it does not answer even after a restart
])
def test_a_sick_test_network_fails_no_check(verify, capsys, answers, health, status, asked):
    registry, asks = runner.CheckRegistry(), iter(answers)
    states = iter(health)
    times = []

    def check(server):
        """Something."""
        times.append(server)
        if next(asks) == "fail":
            raise runner.CheckFailed("451 Service unavailable")
        return "250"

    registry.check("out")(check)
    result = verify.checked(registry, "out", None, {}, lambda since: (next(states), "test network: mx.bigmail.test does not answer"), {})
    assert (result.status, len(times), list(states)) == (status, asked, [])
    assert ("mx.bigmail.test" in result.evidence) == (status == "unknown")
    assert ("mx.bigmail.test" in capsys.readouterr().out) == any(health)
    report.page("The promises", [result])


def test_a_promise_of_the_filter_is_not_tried_on_a_host_without_one(verify):
    registry = runner.CheckRegistry()

    def check(server):
        """Something."""
        raise runner.CheckFailed("tried")

    registry.check("gtube")(check)
    skipped = verify.cells.without_filter("opensmtpd")
    result = verify.checked(registry, "gtube", None, {}, lambda since: (0, ""), skipped)
    assert (result.status, result.description) == ("skipped", "Something.")
    assert result.evidence == "mail_filter: false: nothing looks for spam, viruses or programs in mail"
    names = {check.name for registry in (verify.checks.registry, verify.testnet_promises.registry) for check in registry.checks}
    assert skipped.keys() <= names


def test_what_the_test_network_says(verify, monkeypatch):
    said = "test network: ns.test answers\ntest network: mx.bigmail.test does not answer: timed out; its services are restarted\n"
    monkeypatch.setattr(verify.subprocess, "run", lambda words, **_: verify.subprocess.CompletedProcess(words, 3, said, ""))
    assert verify.network_health(1.5) == (3, "test network: mx.bigmail.test does not answer: timed out; its services are restarted")
