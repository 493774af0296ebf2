# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/test reports what its own run leaves behind, and nothing that others start on the machine meanwhile."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces and mounts")
#: A server that ends by itself, should the test not end it.
SERVER = "exec setsid timeout 60 socat UNIX-LISTEN:$SCRATCH/{name}.sock,fork - >/dev/null 2>&1 </dev/null"


def left_behind(tmp_path: Path, meanwhile: str) -> str:
    """Return what a run that does this is said to have left behind; C($network) is its test network."""
    script = f"""
        source {ROOT}/tests/test
        trap 'kill $(cat $SCRATCH/*.pid 2>/dev/null) 2>/dev/null; umount $SCRATCH/cache/hosts-$network/host 2>/dev/null
              ip netns del $network 2>/dev/null; ip netns del other-$network 2>/dev/null' EXIT
        before=$(traces) ends_within=0
        {meanwhile}
        left_behind
    """
    network = f"unit-{os.getpid()}"
    environment = {**os.environ, "POSTMASTER_MAIL_CACHE": str(tmp_path / "cache"), "SCRATCH": str(tmp_path), "INTERNET_NAME": network,
                   "network": network}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == (1 if done.stderr else 0), done.stderr
    return done.stderr.replace(network, "NETWORK").replace(str(tmp_path), "SCRATCH")


def server(name: str, environment: str) -> str:
    start = SERVER.format(name=name).replace("exec setsid", f"exec setsid env {environment}")
    return f"(({start}) & echo $! > $SCRATCH/{name}.pid); until [ -S $SCRATCH/{name}.sock ]; do sleep 0.05; done"


def test_what_others_start_meanwhile_is_not_ours(tmp_path):
    assert left_behind(tmp_path, f"ip netns add other-$network; {server('theirs', '-u POSTMASTER_MAIL_RUN')}") == ""


@pytest.mark.parametrize(("leave", "said"), [
    (server("ours", "LC_ALL=C"), "socat UNIX-LISTEN:SCRATCH/ours.sock"),
    ("ip netns add $network", "\nNETWORK\n"),
    ("host=$SCRATCH/cache/hosts-$network/host; mkdir -p $host; mount -t tmpfs tmpfs $host", "SCRATCH/cache/hosts-NETWORK/host"),
])
def test_what_a_run_leaves_is_reported(tmp_path, leave, said):
    assert said in left_behind(tmp_path, leave)


def test_what_ends_by_itself_is_waited_for(tmp_path):
    assert left_behind(tmp_path, "ends_within=60; (setsid sleep 2 &) </dev/null >/dev/null 2>&1; ip netns add $network; "
                                 "(sleep 2; ip netns del $network) &") == ""
