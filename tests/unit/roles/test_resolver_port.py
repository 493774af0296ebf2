# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The look at port 53 that the role resolver takes before it installs anything, in a network of the test's own."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/resolver/files/checks/port.py"
HINT = "fstat | grep ':53$'"
HOLD = """
import socket, subprocess, sys
held = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1]:
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((sys.argv[1], 53))
sys.exit(subprocess.call([sys.executable, *sys.argv[2:]]))
"""


def look(held, before=""):
    command = shlex.join([sys.executable, "-c", HOLD, held, str(PROGRAM), HINT])
    # With processes of its own: the test hosts' Unbound is not this one's.
    apart = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    script = f"ip link set lo up; {before}\n{command}"
    return subprocess.run([*apart, "sh", "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("held", ["", "127.0.0.53"])
def test_systemd_resolved_is_no_rival(held):
    assert look(held).returncode == 0


@pytest.mark.parametrize(("held", "told"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1")])
def test_a_name_server_in_the_way_is_told(held, told):
    done = look(held)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Another name server of this host has port 53 of {told}, where the role resolver is to listen. ")
    assert f"See which by: {HINT}. Then stop" in done.stderr
    assert done.stderr.rstrip().endswith("leave the role out: --skip-tags resolver.")


def test_unbound_is_not_in_its_own_way(tmp_path):
    program = tmp_path / "unbound"
    shutil.copy(shutil.which("sleep"), program)
    assert look("127.0.0.1", f"{program} 60 >/dev/null 2>&1 &").returncode == 0
