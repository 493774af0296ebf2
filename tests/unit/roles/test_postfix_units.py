# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of an earlier release of Debian that run Postfix, and a simulated systemctl: which of them are stopped."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/postfix/files/stop-units-of-earlier-release.sh"
SYSTEMCTL = """#!/bin/sh
case $1 in
  show) cat {top}/conflicts ;;
  --quiet) grep -qx "$3" {top}/active ;;
  *) echo "$*" >>{top}/calls; [ ! -e {top}/broken ] ;;
esac
"""
UNIT = "postfix@-.service"


@pytest.mark.parametrize(("conflicts", "active", "calls"), [
    (f"shutdown.target {UNIT}", UNIT, [f"stop {UNIT} postfix"]),
    (f"shutdown.target {UNIT}", "postfix.service", []),
    # Of this release: the unit that runs is no former one.
    ("shutdown.target", UNIT, []),
    (f"x{UNIT}", UNIT, []),
])
def test_what_is_stopped(tmp_path, conflicts, active, calls):
    for name, text in (("conflicts", conflicts), ("active", active), ("calls", "")):
        (tmp_path / name).write_text(text + "\n" if text else "")
    (tmp_path / "systemctl").write_text(SYSTEMCTL.replace("{top}", str(tmp_path)))
    (tmp_path / "systemctl").chmod(0o755)

    def run():
        return subprocess.run(["sh", PROGRAM, "postfix", UNIT], capture_output=True, text=True, check=False,
                              env={"PATH": f"{tmp_path}:/usr/bin:/bin"})

    done = run()
    assert (done.returncode, done.stdout) == (0, "stopped\n" if calls else "")
    assert (tmp_path / "calls").read_text().splitlines() == calls
    (tmp_path / "broken").write_text("")
    assert run().returncode == (1 if calls else 0)
