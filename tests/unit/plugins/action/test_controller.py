# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are called within Ansible's own process on the controller give what they give when they are sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# Nobody answers there, at once.
NOBODY = {"nameservers": ["127.0.0.1"], "nameserver_port": 1, "timeout": 2}
LOOK = {"addresses": ["198.51.100.25"], "hostname": "mail.example.org", "dnsbls": ["s3cretkey.zen.dq.spamhaus.net"], **NOBODY}
UPDATE = {"server": "127.0.0.1", "port": 1, "tsig_name": "k", "tsig_secret": "c2VjcmV0", "zone": "example.org", "name": "example.org",
          "type": "TXT", "values": ["v=spf1 -all"]}
CASES = {
    "passes": ("rdns_verify", {**LOOK, "fail_on": []}),
    "fails": ("rdns_verify", {**LOOK, "fail_on": ["ptr"]}),
    "wrong value": ("rdns_verify", {**LOOK, "addresses": ["198.51.100.256"]}),
    "secret in a value": ("dns_records", {**UPDATE, "zone": "c2VjcmV0.example"}),
    "a look": ("dns_records", {"backend": "none", "name": "example.org", "type": "A", "values": ["198.51.100.25"], "zone": "example.org",
                               "nameservers": ["127.0.0.1"], "nameserver_port": 1}),
    "records as text": ("dns_records", {"backend": "none", "records": '[{"name": "example.org", "type": "A", "values": ["198.51.100.25"]}]',
                                        "zone": "example.org", "nameservers": ["127.0.0.1"], "nameserver_port": 1}),
    "text that is none": ("dns_records", {"backend": "none", "records": "example.org", **NOBODY}),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Case to the results of the task: `here` by the controller's Python, `sent` by another name of it."""
    folder = tmp_path_factory.mktemp("controller")
    other = folder / "python"
    other.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    tasks: list[dict[str, Any]] = []
    for name, (module, options) in CASES.items():
        for way, python in (("here", "{{ ansible_playbook_python }}"), ("sent", str(other))):
            tasks.append({"name": f"{name} {way}", f"postmaster.mail.{module}": options, "register": f"{way}_{len(tasks)}",
                          "ignore_errors": True, "delegate_to": "localhost", "vars": {"ansible_python_interpreter": python}})
    values = ", ".join(task["register"] for task in tasks)
    keep = {"content": "{{ [" + values + "] | to_json }}", "dest": str(folder / "results")}
    tasks.append({"name": "Results", "ansible.builtin.copy": keep, "delegate_to": "localhost"})
    play = folder / "play.json"
    play.write_text(json.dumps([{"hosts": "far.example.org", "gather_facts": False, "tasks": tasks}]))
    # A task's title comes before its work only where none is to be left out.
    done = subprocess.run(["ansible-playbook", "-vvv", "-i", "far.example.org,", play], capture_output=True, text=True, check=False,
                          env={**os.environ, "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true"})
    assert done.returncode == 0, done.stdout + done.stderr
    # Only what is sent is executed, and that is not where the text cannot be read.
    executed = [part.partition("]")[0] for part in done.stdout.split("TASK [")[1:] if "> EXEC " in part]
    assert executed == [*(f"{name} sent" for name in CASES if name != "text that is none"), "Results"]
    found = iter(json.loads((folder / "results").read_text()))
    return {name: {"here": next(found), "sent": next(found)} for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_both_ways_give_the_same(results: dict[str, dict[str, Any]], name: str) -> None:
    here, sent = results[name]["here"], results[name]["sent"]
    for one in (here, sent):
        one.pop("exception", None)
    assert here == sent
    assert here["failed"] is (name not in ("passes", "a look", "records as text"))


def test_records_as_text_are_the_same_records(results: dict[str, dict[str, Any]]) -> None:
    assert results["records as text"]["here"]["records"] == results["a look"]["here"]["records"]
    assert results["text that is none"]["here"]["msg"].startswith("records is neither a list nor the text of one in JSON: ")


def test_secrets_are_masked(results: dict[str, dict[str, Any]]) -> None:
    text = json.dumps(results["passes"]["here"])
    assert "s3cretkey" not in text and "********.zen.dq.spamhaus.net" in text
    text = results["secret in a value"]["here"]["msg"]
    assert "c2VjcmV0" not in text and "example" in text
