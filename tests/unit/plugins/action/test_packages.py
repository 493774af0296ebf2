# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What packages asks of a host, by modules in the place of the package managers' that write down what they were given."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

FAKE = """#!/usr/bin/python
import json
# WANT_JSON
import sys
options = json.load(open(sys.argv[1]))
with open({log!r}, "a") as stream:
    print(json.dumps({{"module": {name!r}, **options}}), file=stream)
answer = {answer!r}
if options.get("_ansible_check_mode") and {name!r} == "apt" and "name" in options:
    answer = {check!r}
print(json.dumps(answer))
"""
FACTS = {"packages": {"rspamd": "3.12", "opensmtpd": "6.8.0p2-4"}, "package_lists": True}
INSTALL = {"cache_valid_time": 86400, "dpkg_options": "force-confdef,force-confold", "install_recommends": False, "policy_rc_d": 101,
           "state": "present"}


@pytest.fixture
def run(tmp_path):
    """Run the task with these options; return its result and what reached the host."""

    def run(name, *, facts=FACTS, manager="apt", check=(), defaults=None, answer=None, missing_in_check=None, **options):
        library, log = tmp_path / "library", tmp_path / "log"
        library.mkdir(exist_ok=True)
        log.write_text("")
        for module in ("apt", "openbsd_pkg", "command"):
            (library / f"{module}.py").write_text(FAKE.format(log=str(log), name=module, answer=answer or {"changed": True},
                                                              check=missing_in_check or {"changed": True}))
        task = {"postmaster.mail.packages": {"name": name, **options}, "register": "result", "ignore_errors": True}
        play = {"hosts": "localhost", "gather_facts": False, "module_defaults": defaults or {},
                "vars": {"ansible_facts": {"pkg_mgr": manager, **({"postmaster_mail": facts} if facts is not None else {})}},
                "tasks": [task, {"ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": str(tmp_path / "result")},
                                 "check_mode": False}]}
        (tmp_path / "play.json").write_text(json.dumps([play]))
        done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", *check, tmp_path / "play.json",
                               "-e", f"ansible_python_interpreter={sys.executable}"], capture_output=True, text=True, check=False,
                              env={**os.environ, "ANSIBLE_LIBRARY": str(library)})
        assert done.returncode == 0, done.stdout + done.stderr
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        shown = [{key: value for key, value in call.items() if not key.startswith("_") or key == "_ansible_check_mode"} for call in calls]
        return json.loads((tmp_path / "result").read_text()), shown

    return run


def test_a_host_that_has_all_is_asked_nothing(run):
    result, calls = run(["rspamd"])
    assert (result["changed"], result["missing"], calls) == (False, [], [])


def test_what_is_missing_is_installed_without_starting_anything(run):
    result, calls = run(["rspamd", "valkey-server"])
    assert (result["changed"], result["missing"]) == (True, ["valkey-server"])
    assert calls == [{"module": "apt", "name": ["valkey-server"], **INSTALL, "_ansible_check_mode": False}]


def test_another_version_is_installed_where_one_is_asked_for(run):
    _result, calls = run(["opensmtpd=7.4.*"])
    assert [call["name"] for call in calls] == [["opensmtpd=7.4.*"]]


def test_without_facts_the_package_manager_is_asked_for_all(run):
    result, calls = run(["rspamd"], facts=None)
    assert result["missing"] == ["rspamd"]
    assert [call["name"] for call in calls] == [["rspamd"]]


def test_the_defaults_of_the_play_count_where_ours_say_nothing(run):
    _result, calls = run(["postfix"], defaults={"ansible.legacy.apt": {"lock_timeout": 7, "install_recommends": True}})
    assert [(call["lock_timeout"], call["install_recommends"]) for call in calls] == [(7, False)]


def test_openbsd_gets_names_as_they_are_and_nothing_of_apt(run):
    result, calls = run(["postfix--%stable", "rspamd--"], manager="openbsd_pkg")
    assert result["changed"] is True
    assert calls == [{"module": "openbsd_pkg", "name": ["postfix--%stable"], "state": "present", "_ansible_check_mode": False}]
    for state in ("downloaded", "listed"):
        result, calls = run(["postfix--%stable"], manager="openbsd_pkg", state=state)
        assert (result["changed"], calls) == (False, [])


def test_check_mode_reports_a_change_on_a_host_without_lists(run):
    error = {"failed": True, "msg": "No package matching 'valkey-server' is available"}
    result, calls = run(["valkey-server"], check=["--check"], missing_in_check=error)
    assert (result["changed"], result["failed"]) == (True, False)
    assert [call["_ansible_check_mode"] for call in calls] == [True]


def test_another_error_stays_one_in_check_mode_and_any_in_a_true_run(run):
    result, _calls = run(["valkey-server"], check=["--check"], missing_in_check={"failed": True, "msg": "the lock is taken"})
    assert result["failed"] is True
    result, _calls = run(["nothing"], answer={"failed": True, "msg": "No package matching 'nothing' is available"})
    assert result["failed"] is True


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["run", "check"])
@pytest.mark.parametrize(("lists", "age"), [(True, 86400), (False, 0)])
def test_lists_are_fetched_also_in_check_mode_and_are_no_change(run, check, lists, age):
    result, calls = run(["valkey-server"], check=check, facts={**FACTS, "package_lists": lists}, state="listed")
    assert result["changed"] is False
    assert calls == [{"module": "apt", "update_cache": True, "cache_valid_time": age, "_ansible_check_mode": False}]
    assert run(["rspamd"], check=check, state="listed")[1] == []


def test_packages_are_downloaded_and_not_installed(run):
    result, calls = run(["postfix"], state="downloaded")
    assert result["changed"] is False
    assert [call["module"] for call in calls] == ["apt", "command"]
    assert "name" not in calls[0]
    assert calls[1]["argv"][-4:] == ["--download-only", "--no-install-recommends", "install", "postfix"]
    assert run(["postfix"], state="downloaded", check=["--check"])[1] == []
    result, calls = run(["postfix"], state="downloaded", answer={"failed": True, "msg": "no network"})
    assert (result["failed"], result["msg"], len(calls)) == (True, "no network", 1)


def test_a_removed_package_is_missing_whatever_a_fact_cache_says(tmp_path):
    """A role used alone, on a host that an earlier run has cached facts of: this run's facts count."""
    (tmp_path / "cache").mkdir()
    cached = {"pkg_mgr": "apt", "os_family": "Debian", "postmaster_mail": {"packages": {"no-such-package": "1"}, "package_lists": True}}
    (tmp_path / "cache/localhost").write_text(json.dumps(cached))
    role = tmp_path / "roles/alone"
    for part, content in (("meta", {"dependencies": ["postmaster.mail.host"]}),
                          ("tasks", [{"postmaster.mail.packages": {"name": ["no-such-package"]}, "register": "result"},
                                     {"ansible.builtin.assert": {"that": "result.missing == ['no-such-package'] and result is changed"}}])):
        (role / part).mkdir(parents=True)
        (role / part / "main.yml").write_text(json.dumps(content))
    (tmp_path / "library").mkdir()
    (tmp_path / "library/apt.py").write_text(FAKE.format(log=str(tmp_path / "log"), name="apt", answer={"changed": True},
                                                         check={"changed": True}))
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": ["alone"]}]))
    env = {**os.environ, "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(tmp_path / "cache"),
           "ANSIBLE_LIBRARY": str(tmp_path / "library")}
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}",
                           tmp_path / "play.json"], cwd=tmp_path, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
