# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every package that a role asks for on OpenBSD is one package, and only one, in each release. No host is booted."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from simulated import packages, releases

ROLES = pathlib.Path(__file__).resolve().parents[3] / "roles"
NUMBERS = ["7.8", "7.9", "8.0"]
# A role may ask for something else where the MTA is another one.
MTAS = ["opensmtpd", "postfix"]


def sources() -> dict[str, dict]:
    """Return each role's variables on OpenBSD, as it loads them, where they say what to install."""
    found = {}
    for path in sorted(ROLES.glob("*/vars/OpenBSD.yml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        if any(re.search("_packages$", name) for name in values):
            found[path.parents[1].name] = values
    return found


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list]]:
    """Template them with Ansible -> by release, by role's variable: what is asked for, with any MTA."""
    top = tmp_path_factory.mktemp("packages")
    names = [name for values in sources().values() for name in values if name.endswith("_packages")]
    tasks = [{
        "ansible.builtin.copy": {"dest": f"{top}/{number}-{mta}", "mode": "0600",
                                 "content": "{{ dict(names | zip(query('ansible.builtin.vars', *names))) | to_json }}"},
        "vars": {"names": names, "mail_mta": mta, "ansible_facts": {
            "os_family": "OpenBSD", "distribution": "OpenBSD", "distribution_version": number,
            "distribution_major_version": number.partition(".")[0], "packages": {}}},
    } for number in NUMBERS for mta in MTAS]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks, "vars_files": [
        str(path) for role in sources() for path in (ROLES / role / "defaults/main.yml", ROLES / role / "vars/main.yml",
                                                     ROLES / role / "vars/OpenBSD.yml") if path.exists()]}
    (top / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           top / "play.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, dict[str, list]] = {number: {} for number in NUMBERS}
    for number in NUMBERS:
        for mta in MTAS:
            for name, value in json.loads((top / f"{number}-{mta}").read_text(encoding="utf-8")).items():
                found[number].setdefault(name, []).append(value)
    return found


def flat(value: object) -> set[str]:
    """Return the names in lists and in what is by method."""
    if isinstance(value, str):
        return {value} if value else set()
    return {name for entry in (value.values() if isinstance(value, dict) else value) for name in flat(entry)}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("role", sorted(sources()))
def test_each_package_is_one_of_the_release(asked: dict, role: str, number: str) -> None:
    available = releases.packages(number)
    specs = set().union(*(flat(value) for name, value in asked[number].items() if name.startswith(f"__{role}_")))
    complaints = []
    for spec in sorted(specs):
        try:
            packages.resolve(spec, available)
        except packages.Refusal as exc:
            complaints.append(str(exc))
    assert complaints == []


def test_what_is_asked_for_was_found(asked: dict) -> None:
    for number in NUMBERS:
        specs = set().union(*(flat(value) for value in asked[number].values()))
        assert {"rspamd--", "dovecot", "dovecot-pigeonhole", "py3-cryptography", "redis%bsd" if number == "8.0" else "redis"} <= specs
