# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of an operating system are loaded for all roles at once, and those of a release win over those of its family."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
WITH_VALUES = sorted(path.parents[1].name for path in ROLES.glob("*/vars/Debian.yml"))


def play(directory, tasks, **facts):
    """Run tasks on this machine, with these facts; return what they print."""
    source = directory / "play.json"
    source.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": {"ansible_facts": facts}, **tasks}]))
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           source], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_release_may_say_as_little_as_it_likes_in_every_role(tmp_path):
    """Each role with a file of two lines for a release that it does not have."""
    asserted = []
    for role in WITH_VALUES:
        shutil.copytree(ROLES / role / "vars", tmp_path / "roles" / role / "vars")
        first, *others = yaml.safe_load((ROLES / role / "vars/Debian.yml").read_text())
        (tmp_path / f"roles/{role}/vars/Debian_77.yml").write_text(f"---\n{first}: of the release {role}\n")
        asserted.append(f"{first} == 'of the release {role}'")
        asserted += [f"query('ansible.builtin.varnames', '^{name}$') | length == 1" for name in others]
    shutil.copytree(ROLES / "host", tmp_path / "roles/host")
    tasks = [{"ansible.builtin.import_role": {"name": "host", "tasks_from": "os_values"}}, {"ansible.builtin.assert": {"that": asserted}}]
    play(tmp_path, {"tasks": tasks}, os_family="Debian", distribution="Debian", distribution_major_version="77")


def test_nothing_is_loaded_where_a_release_has_no_values_or_is_not_known(tmp_path):
    shutil.copytree(ROLES / "host", tmp_path / "roles/host")
    (tmp_path / "roles/one/vars").mkdir(parents=True)
    (tmp_path / "roles/one/vars/OpenBSD.yml").write_text("__one_name: family\n")
    (tmp_path / "roles/one/vars/OpenBSD_7.yml").write_text("__one_name: release\n")
    tasks = [{"ansible.builtin.import_role": {"name": "host", "tasks_from": "os_values"}},
             {"ansible.builtin.assert": {"that": ["__one_name == 'family'"]}}]
    play(tmp_path, {"tasks": tasks}, os_family="OpenBSD", distribution="OpenBSD")


def test_only_the_role_host_loads_values():
    texts = {path: path.read_text() for path in ROLES.glob("*/tasks/*.yml")}
    assert [str(path.relative_to(ROLES)) for path, text in texts.items() if "include_vars" in text] == ["host/tasks/os_values.yml"]
    assert yaml.safe_load(texts[ROLES / "host/tasks/main.yml"])[1]["ansible.builtin.import_tasks"] == "os_values.yml"


def test_a_role_that_reads_the_host_depends_on_the_role_that_looks():
    readers = {path.relative_to(ROLES).parts[0] for path in ROLES.rglob("*.yml") for text in [path.read_text()]
               if "ansible_facts.postmaster_mail" in text or "__host_mta" in text or "postmaster.mail.packages:" in text}
    depending = {path.parents[1].name for path in ROLES.glob("*/meta/main.yml")
                 if {"role": "postmaster.mail.host"} in (yaml.safe_load(path.read_text())["dependencies"] or [])}
    assert (readers | set(WITH_VALUES)) - {"host"} == depending
