# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/ci/test reports what its own run leaves behind, and nothing that others start on the machine meanwhile; each slow job has a row."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces and mounts")
#: A server that ends by itself, should the test not end it.
SERVER = "exec setsid timeout 60 socat UNIX-LISTEN:$SCRATCH/{name}.sock,fork - >/dev/null 2>&1 </dev/null"


def left_behind(tmp_path: Path, meanwhile: str) -> str:
    """Return what a run that does this is said to have left behind; ``$network`` is its test network."""
    script = f"""
        source {ROOT}/tests/ci/test
        git() {{ true; }}  # other tests use the checkout meanwhile
        trap 'kill $(cat $SCRATCH/*.pid 2>/dev/null) 2>/dev/null; umount $SCRATCH/cache/hosts-$network/host 2>/dev/null
              ip netns del $network 2>/dev/null; ip netns del other-$network 2>/dev/null' EXIT
        before=$(traces) ends_within=0
        {meanwhile}
        left_behind
    """
    network = f"unit-{os.getpid()}"
    environment = {**os.environ, "POSTMASTER_MAIL_CACHE": str(tmp_path / "cache"), "SCRATCH": str(tmp_path), "TESTNET_NAME": network,
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


def run_slow(tmp_path: Path, jobs: str, **environment: str) -> tuple[int, list[str]]:
    """Run the part ``slow`` with jobs that note when they begin and end; return the exit status and the rows without their seconds."""
    script = f"""
        source {ROOT}/tests/ci/test
        tests/ci/setup() {{ true; }}
        good() {{ echo "begin $1" >> $SCRATCH/notes; sleep 0.2; echo "end $1 $POSTMASTER_MAIL_SLOW" >> $SCRATCH/notes; }}
        bad() {{ good "$1"; return 1; }}
        export -f good bad
        testnet=true rows=$SCRATCH/rows failures=$SCRATCH/failures
        {jobs}
        slow
    """
    environment = {**os.environ, "SCRATCH": str(tmp_path), **environment}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    return done.returncode, [row.rpartition("\t")[0] for row in (tmp_path / "rows").read_text().splitlines()]


def test_each_slow_job_is_a_row_also_after_one_has_failed(tmp_path):
    found = run_slow(tmp_path, r"jobs_of() { printf '%s\n' 'bad 1' 'good 2'; }", POSTMASTER_MAIL_OPENBSD="/srv")
    assert found == (1, ["test network\tok", "bad 1\tFAILED", "good 2\tok"])
    assert (tmp_path / "notes").read_text().splitlines() == ["begin 1", "end 1 1", "begin 2", "end 2 1"]


def test_why_a_job_failed_is_kept_for_the_end(tmp_path):
    run_slow(tmp_path, r"""
        checks() { printf '%s\n' 'pass         relay' 'mail.example.org: 1 passed, 1 failed' 'fail: spf: no record'; return 1; }
        silent() { seq 9; return 1; }
        export -f checks silent
        jobs_of() { printf '%s\n' 'checks 1' 'silent 2' 'good 3'; }""", POSTMASTER_MAIL_OPENBSD="/srv")
    assert (tmp_path / "failures").read_text().splitlines() == [
        "checks 1: FAILED", "  fail: spf: no record", "silent 2: FAILED", "  7", "  8", "  9"]


def test_what_cannot_be_run_here_is_a_row_and_no_failure(tmp_path):
    assert run_slow(tmp_path, "jobs_of() { echo good 1; }", POSTMASTER_MAIL_OPENBSD="") == (
        0, ["scenario openbsd-vm\tnot here", "test network\tok", "good 1\tok"])


def test_every_slow_target_and_scenario_is_a_job(tmp_path):
    script = f"source {ROOT}/tests/ci/test; jobs_of slow; echo; printf '%s\\n' ${{slow_targets[@]}} ${{slow_scenarios[@]}}"
    environment = {**os.environ, "POSTMASTER_MAIL_OPENBSD": "/srv"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environment)
    jobs, names = (part.splitlines() for part in done.stdout.split("\n\n"))
    assert {"load postfix", "load opensmtpd", "backup postfix", "backup opensmtpd", "zone_files 5000", "examples 4000"} < set(jobs)
    assert [name for name in names if not any(name in job.split() for job in jobs)] == []
    directories = [entry.name for kind in ("tests/integration/targets", "molecule") for entry in (ROOT / kind).iterdir()]
    assert set(names) <= set(directories)
