# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where no unit of systemd does it at each start, Sieve scripts are compiled when they or Dovecot changed, and only then."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

ROLE = Path(__file__).resolve().parents[3] / "roles/dovecot"
#: Whether the packages were installed, which files changed -> whether scripts are compiled.
CASES = {
    "nothing": (False, [], False),
    "installed": (True, [], True),
    "script": (False, ["/etc/dovecot/sieve/junk.sieve"], True),
    "other": (False, ["/etc/dovecot/dovecot.conf"], False),
}


def test_scripts_are_compiled_when_they_or_dovecot_changed(tmp_path: Path) -> None:
    tasks = {task.get("register"): task for task in yaml.safe_load((ROLE / "tasks/main.yml").read_text())}
    handlers = [entry for entry in yaml.safe_load((ROLE / "handlers/main.yml").read_text()) if entry["name"] == "Compile Sieve scripts"]
    plays = [{
        "hosts": "localhost",
        "gather_facts": False,
        "handlers": handlers,
        "vars": {
            "__dovecot_compile": [["touch", f"{tmp_path}/{name}.svbin"]],
            "__dovecot_tree": {"changed_files": files, "removed_files": []},
        },
        "tasks": [
            {"ansible.builtin.command": "true", "changed_when": installed, "register": "__dovecot_install",
             "notify": tasks["__dovecot_install"].get("notify", [])},
            {"ansible.builtin.command": "true", "changed_when": bool(files), "notify": tasks["__dovecot_tree"]["notify"][0]},
        ],
    } for name, (installed, files, _compiled) in CASES.items()]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           tmp_path / "play.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in tmp_path.glob("*.svbin")} == {name for name, (_installed, _files, compiled) in CASES.items() if compiled}
