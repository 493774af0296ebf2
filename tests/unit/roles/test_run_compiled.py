# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A program that another process compiles runs as it would by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/host/files/run_compiled.py"


def run(path, *arguments):
    return subprocess.run([sys.executable, PROGRAM, path, *arguments], capture_output=True, text=True, timeout=60, input="said\n")


def test_it_has_its_name_its_arguments_and_its_input(tmp_path):
    (tmp_path / "program").write_text("#!/bin/false\nfrom __future__ import annotations\nimport dataclasses, sys\n@dataclasses.dataclass\n"
                                      "class A:\n    b: int = 1\nif __name__ == '__main__':\n"
                                      "    print(__file__, sys.argv, A(), input())\n    sys.exit(3)\n")
    done = run(tmp_path / "program", "--x", "y")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == f"{tmp_path}/program ['{tmp_path}/program', '--x', 'y'] A(b=1) said\n"


@pytest.mark.parametrize(("text", "said"), [("x = (", "SyntaxError"), (None, "No such file")])
def test_what_cannot_be_compiled_is_reported_and_not_run(tmp_path, text, said):
    if text is not None:
        (tmp_path / "program").write_text(text)
    done = run(tmp_path / "program")
    assert done.returncode == 1 and said in done.stderr


@pytest.mark.parametrize("program", ["opensmtpd/files/filter_postmaster.py", "protection/files/login_guard.py"])
def test_our_programs_run_so(program):
    assert "usage" in run(PROGRAM.parents[2] / program, "--help").stdout
