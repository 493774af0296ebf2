# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write down which tasks a play executed on its hosts, one line of JSON each, into the file named by HOST_TASKS_FILE."""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: host_tasks
type: notification
short_description: Lists the tasks that ran on a host
description: A turn of a loop counts as one task. What the controller does by itself, or by delegation, does not count.
"""

# Actions that never reach the host.
OF_THE_CONTROLLER = {
    "add_host", "assert", "debug", "fail", "group_by", "import_playbook", "import_role", "import_tasks", "include_role",
    "include_tasks", "include_vars", "meta", "pause", "postmaster.mail.inventory_verify", "set_fact", "set_stats", "validate_argument_spec",
}


class CallbackModule(CallbackBase):
    """Counts what costs a round trip."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "host_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._begun = {}

    def v2_runner_on_start(self, host, task):
        self._begun[host.name] = time.monotonic()

    def _write(self, result):
        task = result.task
        if task.action.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.") in OF_THE_CONTROLLER:
            return
        # It asks the host only for what is missing there.
        if task.action == "postmaster.mail.packages" and not result.result.get("missing"):
            return
        if (task.delegate_to or result.host.name) in ("localhost", "127.0.0.1"):
            return
        with open(os.environ["HOST_TASKS_FILE"], "a", encoding="utf-8") as handle:
            now = time.monotonic()
            line = {"host": result.host.name, "task": task.get_name(), "action": task.action, "changed": bool(result.result.get("changed")),
                    "seconds": now - self._begun.get(result.host.name, now)}
            self._begun[result.host.name] = now
            handle.write(json.dumps(line) + "\n")

    def v2_runner_on_ok(self, result):
        # The sum of a loop comes after its turns, which are counted.
        if not result.task.loop:
            self._write(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.v2_runner_on_ok(result)

    v2_runner_item_on_ok = v2_runner_item_on_failed = _write
