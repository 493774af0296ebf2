# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module itself: what it logs, what it returns of its arguments, and what a signal does to it."""

from __future__ import annotations

import json
import os
import signal
import sys
import syslog
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.postmaster.mail.plugins.module_utils._config_tree import rules
from ansible_collections.postmaster.mail.plugins.modules import config_tree

SECRET = "Tr0ub4dor-hunter2"


def arguments(folder: Path, **more: Any) -> dict[str, Any]:
    parcel = rules.pack({"svc/secret.inc": f"pw = {SECRET}\n".encode()}, diff=True)
    base = {"id": "svc", "src": "etc", "dest": str(folder / "dest"), "state_dir": str(folder / "state"), "secret": ["svc"], "mode": "0600"}
    base["_tree"] = parcel
    return {**base, **more}


def run(options: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        config_tree.main()
    return int(str(ended.value.code)), json.loads(capfd.readouterr().out)


@pytest.fixture(autouse=True)
def signals_as_before() -> Any:
    before = {number: signal.getsignal(number) for number in config_tree.SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_secret_is_logged_or_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(syslog, "syslog", lambda *words: logged.append(str(words[-1])))
    options = arguments(tmp_path)
    rc, result = run(options, capfd)
    assert rc == 0 and result["changed"]
    assert (tmp_path / "dest/svc/secret.inc").read_text() == f"pw = {SECRET}\n"
    assert len(logged) == 1 and "id=svc" in logged[0], "the log is caught here"
    for text in (*logged, json.dumps(result)):
        assert SECRET not in text and options["_tree"] not in text and options["_tree"][:20] not in text
    if "invocation" in result:  # ansible-core 2.21 leaves it out unless asked for
        assert result["invocation"]["module_args"]["_tree"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    manifest = (tmp_path / "state/config_tree/svc.json").read_text()
    assert SECRET not in manifest and rules.digest(f"pw = {SECRET}\n".encode()) not in manifest


def test_refusal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rc, result = run(arguments(tmp_path, validate=[{"argv": ["sh", "-c", "cat {stage}/svc/secret.inc; exit 4"]}]), capfd)
    assert rc == 1
    assert (result["rc"], result["output"], result["command"][:2]) == (4, "********", ["sh", "-c"])
    assert SECRET not in json.dumps(result)


def test_without_its_action_plugin(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = arguments(tmp_path)
    del options["_tree"]
    rc, result = run(options, capfd)
    assert rc == 1
    assert result["msg"] == "the rendered files did not arrive whole; this module is only ever run by its action plugin"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_error_that_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    """A lost connection in the middle of a checker: no stage, no journal and no checker stays behind."""
    (tmp_path / "dest").mkdir()
    options = arguments(tmp_path, validate=[{"argv": ["sh", "-c", f"echo $$ > {tmp_path}/checker; exec sleep 60"]}])
    output = tmp_path / "output"
    child = os.fork()
    if child == 0:
        with output.open("w") as stream:
            os.dup2(stream.fileno(), 1)
        sys.stdout = sys.__stdout__ = os.fdopen(1, "w")
        try:
            with patch_module_args(options):
                config_tree.main()
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(int(str(ended.code)))
        os._exit(9)
    deadline = time.monotonic() + 30
    while not (tmp_path / "checker").exists() or not (tmp_path / "checker").read_text():
        assert time.monotonic() < deadline, "the checker never began"
        time.sleep(0.02)
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert json.loads(output.read_text())["msg"] == f"interrupted by {number.name}; nothing has been changed"
    assert list((tmp_path / "dest").iterdir()) == []
    assert list((tmp_path / "state/config_tree").iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "checker").read_text()), 0)
