# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host of the test network with the servers and tools that the modules work with, all from Debian's packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTNET = HERE.parents[2] / "testnet"
sys.path[:0] = [str(HERE), str(TESTNET)]

from player import HOST, Player
from testnet_lib import machine


@pytest.fixture(scope="session")
def play(tmp_path_factory):
    if not machine.NETNS.exists():
        pytest.skip("the test network is not up: tests/testnet/testnet up")
    for what in ("destroy", "boot"):
        subprocess.run([str(TESTNET / "testnet"), what, HOST], check=True, capture_output=True)
    found = Player(tmp_path_factory.mktemp("examples"))
    done = found(HERE / "prepare.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    yield found
    subprocess.run([str(TESTNET / "testnet"), "destroy", HOST], check=True, capture_output=True)


