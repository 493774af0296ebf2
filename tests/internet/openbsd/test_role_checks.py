# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles ask OpenBSD's tools before they change anything, asked of the stand-ins. No host is booted."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
import yaml

HERE = pathlib.Path(__file__).resolve().parent
VARIABLES = HERE.parents[2] / "roles/protection/vars/main.yml"
PFCTL = f"""#!{sys.executable} -B
import sys
sys.path.insert(0, {str(HERE)!r})
from standins import common, pf
common.need_root = pf.need_root = lambda *_words: None
sys.exit(common.call("pfctl", pf.pfctl, sys.argv[1:]))
"""
GOOD = "pass in proto tcp to any port 25\n"


@pytest.fixture
def ask(tmp_path: pathlib.Path):
    """Ask pf, of a user's rules and of our anchor as it is staged and as it is live -> exit code, words."""
    check = yaml.safe_load(VARIABLES.read_text(encoding="utf-8"))["__protection_pf_check"]
    check = check.replace("/etc/pf.conf", f"{tmp_path}/pf.conf").replace("{stage}", f"{tmp_path}/stage")
    assert f"{tmp_path}/pf.conf" in check and f"{tmp_path}/stage/pf.mail.conf" in check
    (tmp_path / "stage").mkdir()
    (tmp_path / "pfctl").write_text(PFCTL, encoding="utf-8")
    (tmp_path / "pfctl").chmod(0o755)

    def run(rules: str, staged: str) -> tuple[int, str]:
        (tmp_path / "pf.conf").write_text(rules, encoding="utf-8")
        (tmp_path / "stage/pf.mail.conf").write_text(staged, encoding="utf-8")
        done = subprocess.run(["sh", "-c", check], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)
        assert (tmp_path / "pf.conf").read_text(encoding="utf-8") == rules
        return done.returncode, done.stdout + done.stderr

    return run


def test_pf_reads_the_anchor_that_is_staged(ask) -> None:
    block = '# BEGIN postmaster.mail\nanchor "mail"\nload anchor "mail" from "/nowhere/pf.mail.conf"\n# END postmaster.mail\n'
    for rules in ("", "pass\n", "pass\n" + block, block + "pass\n"):
        assert ask(rules, GOOD) == (0, ""), rules
        code, words = ask(rules, "pass in from 999.1.1.1/33\n")
        assert code == 1 and "/stage/pf.mail.conf:1: could not parse host specification: 999.1.1.1/33" in words, rules


def test_pf_reads_the_rules_of_the_user_to_their_end(ask) -> None:
    # Without an end, the last line must not run into ours.
    assert ask("pass in proto tcp to port 22", GOOD) == (0, "")
    code, words = ask("pass\npass nonsense", GOOD)
    assert code == 1 and "stdin:2: syntax error" in words
