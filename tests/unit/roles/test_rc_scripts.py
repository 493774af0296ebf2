# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenBSD's services of ours are found by rc.subr(8) also after their options have changed: by the program, with any options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[3] / "roles").glob("*/templates/etc/rc.d/*"))


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_a_service_is_known_by_its_program_alone(script):
    """Else a restart with new options would not stop what runs with the old ones, and what it starts would find the port taken."""
    [pexp] = re.findall(r'^pexp="(.*)"$', script.read_text(encoding="utf-8"), re.MULTILINE)
    assert pexp.endswith("${daemon}.*")
