# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sieve scripts are compiled when they or Dovecot changed, and only then; for a script alone no session of a user ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/dovecot"
#: Whether the packages were installed, which files changed -> whether scripts are compiled, and whether Dovecot is restarted.
CASES = {
    "nothing": (False, [], False, False),
    "installed": (True, [], True, False),
    "script": (False, ["sieve/junk.sieve"], True, False),
    "other": (False, ["dovecot.conf"], False, True),
}


def test_scripts_are_compiled_when_they_or_dovecot_changed(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/configure.yml").read_text())
    install = next(task for task in tasks if "postmaster.mail.packages" in task)
    tree = next(task for task in tasks if "postmaster.mail.config_tree" in task)
    handlers = {entry["name"]: entry for entry in yaml.safe_load((ROLE / "handlers/main.yml").read_text())}
    # The others need Dovecot itself.
    for name, command in {"Restart dovecot": "touch {{ restarted }}", "Reload dovecot": "true"}.items():
        handlers[name] = {"name": name, "ansible.builtin.command": command}
    plays = []
    for name, (installed, files, _compiled, _restarted) in CASES.items():
        (tmp_path / f"templates/{name}/dovecot/sieve").mkdir(parents=True)
        for file in files:
            (tmp_path / f"templates/{name}/dovecot/{file}").write_text("x\n")
        (tmp_path / f"{name}.d").mkdir()
        plays.append({
            "hosts": "localhost",
            "gather_facts": False,
            "handlers": list(handlers.values()),
            "vars": {"__dovecot_compile": ["touch", f"{tmp_path}/{name}.svbin"], "restarted": f"{tmp_path}/{name}.restarted",
                     "__dovecot_version": {"rc": 0}},
            "tasks": [
                {"ansible.builtin.command": "true", "changed_when": installed, "notify": install["notify"]},
                {"postmaster.mail.config_tree": {
                    "id": name, "src": f"{tmp_path}/templates/{name}", "dest": f"{tmp_path}/{name}.d", "state_dir": f"{tmp_path}/state",
                    "notify_for": tree["postmaster.mail.config_tree"]["notify_for"]}, "notify": tree["notify"]},
            ],
        })
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           tmp_path / "play.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in tmp_path.glob("*.svbin")} == {name for name, case in CASES.items() if case[2]}
    assert {path.stem for path in tmp_path.glob("*.restarted")} == {name for name, case in CASES.items() if case[3]}
