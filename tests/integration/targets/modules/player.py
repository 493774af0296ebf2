# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays examples and playbooks on the host of these tests. Not a test."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
TESTNET = HERE.parents[2] / "testnet"
sys.path.insert(0, str(TESTNET))

from testnet_lib.plan import STATE, Inventory

HOST = "mail.example.org"
# Everything that is not as it stands there: the test network's name server knows another key by another name.
TSIG = Inventory().variables["testnet_tsig"]
VARIABLES = {
    "vault_tsig_secret": TSIG["secret"],
    "key": {"record": {"name": "s20261122._domainkey.example.org", "value": "v=DKIM1; k=rsa; p=" + "A" * 400}},
    "rspamd_greylisting": False,
    "rspamd_trusted": ["198.51.100.0/24"],
}
LOCAL = {"ansible_connection": "local", "ansible_host": "localhost", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
HOSTS = {
    "all": {
        "hosts": {
            "localhost": LOCAL,
            # The primary server with the zone file is another than the one that takes updates.
            "ns1.example.org": {"ansible_host": "198.51.100.25"},
        }
    }
}


def examples(module):
    """The examples in a module's documentation."""
    text = importlib.import_module(f"ansible_collections.postmaster.mail.plugins.modules.{module}").EXAMPLES
    return yaml.safe_load(text.replace("tsig_name: mail-update", f"tsig_name: {TSIG['name']}"))


class Player:
    """Plays playbooks on the host, with files in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "hosts.yml").write_text(yaml.safe_dump(HOSTS))

    def __call__(self, playbook, *arguments):
        command = [str(TESTNET / "inside"), "ansible-playbook", "--limit", HOST, str(playbook), *arguments]
        for inventory in (TESTNET / "inventory.yml", self.directory / "hosts.yml"):
            command += ["-i", str(inventory)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)

    def examples(self, *modules, roles=()):
        """Play the examples of these modules; return what ansible-playbook said, and how many tasks changed something."""
        path = self.directory / "play.yml"
        play = {"hosts": HOST, "gather_facts": True, "vars": VARIABLES, "roles": list(roles)}
        play["tasks"] = [task for module in modules for task in examples(module)]
        path.write_text(yaml.safe_dump([play], sort_keys=False))
        done = self(path)
        changed = re.search(rf"^{re.escape(HOST)} .*changed=(\d+) .*failed=0 ", done.stdout, flags=re.MULTILINE)
        return done, int(changed[1]) if changed else None

    def role(self, name, task, files):
        """A role with this task, its templates, and the handler that it notifies."""
        role = self.directory / "roles" / name
        for path, text in files.items():
            (role / "templates" / path).parent.mkdir(parents=True, exist_ok=True)
            (role / "templates" / path).write_text(text)
        handlers = [{"name": task.get("notify", "none"), "ansible.builtin.service": {"name": name, "state": "restarted"}}]
        for part, content in (("tasks", [task]), ("handlers", handlers)):
            (role / part).mkdir(parents=True)
            (role / part / "main.yml").write_text(yaml.safe_dump(content, sort_keys=False))

    def run(self, command):
        """What a command of the shell prints there."""
        settings = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        options = ["-i", f"{STATE}/ssh/id_ed25519", *(word for setting in settings for word in ("-o", setting))]
        argv = [str(TESTNET / "inside"), "ssh", *options, "root@198.51.100.25", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
