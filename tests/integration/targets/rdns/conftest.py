# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

MODULE = Path(__file__).parents[4] / "plugins" / "modules" / "rdns_verify.py"


@pytest.fixture
def verify():
    """Run the module as Ansible does, in a process of its own; returns its JSON result.

    ``where``: a command to run it under; ``without``: libraries that shall be missing.
    """

    def run(where=(), without=(), **options):
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"timeout": 1, "lifetime": 8, "fail_on": [], **options}})
        # ansible-core 2.19 and later name the profile of the arguments' serialisation.
        code = (
            "import runpy, sys\n"
            f"sys.modules.update(dict.fromkeys({tuple(without)!r}))\n"
            "import ansible.module_utils.basic as basic\n"
            f"basic._ANSIBLE_ARGS = {arguments.encode()!r}\n"
            "basic._ANSIBLE_PROFILE = 'legacy'\n"
            f"runpy.run_path({str(MODULE)!r}, run_name='__main__')\n"
        )
        done = subprocess.run([*where, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.strip(), done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def found():
    """The one check of that name (and subject) in a result."""

    def find(result, check, subject=None):
        entries = [entry for entry in result["checks"] if entry["check"] == check and subject in (None, entry["subject"])]
        assert len(entries) == 1, entries
        return entries[0]

    return find
