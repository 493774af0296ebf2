# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write down how long each task of a play took, skipped ones too, one line of JSON each, into the file named by TASK_TIMES_FILE."""

from __future__ import annotations

import json
import os
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: notification
short_description: Lists all tasks with the time from their start to that of the next
description: What Ansible does between two tasks counts for the first of them.
"""


class CallbackModule(CallbackBase):
    """Counts what a run spends, on the controller and on the host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_times"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._task = "start, and reading of the inventory"
        self._begun = time.monotonic()
        self._changed = False

    def _next(self, name):
        now = time.monotonic()
        with open(os.environ["TASK_TIMES_FILE"], "a", encoding="utf-8") as handle:
            handle.write(json.dumps({"task": self._task, "seconds": now - self._begun, "changed": self._changed}) + "\n")
        self._task, self._begun, self._changed = name, now, False

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._next(task.get_name())

    def v2_playbook_on_handler_task_start(self, task):
        self._next(task.get_name())

    def v2_runner_on_ok(self, result):
        self._changed = self._changed or bool(result.result.get("changed"))

    def v2_playbook_on_stats(self, stats):
        self._next("")
