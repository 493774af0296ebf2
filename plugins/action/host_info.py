# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the module of this name; and, being the first of a play, prepare the process that all tasks are forks of."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader, test_loader

# Ansible runs each task in a fork of the process that loads this: what their templates need is imported once here, and not in each.
from ansible_collections.postmaster.mail.plugins.action import inventory_verify  # noqa: F401
from ansible_collections.postmaster.mail.plugins.filter import _model, _service  # noqa: F401

# For the same reason: Ansible's own filters and tests; and having read a playbook, that process is due for a full collection of garbage,
# which each fork would make, 60 ms of 80 that a task takes which does nothing. What is frozen no later collection looks at; and a fork
# ends before it has garbage worth looking for.
filter_loader.get("ansible.builtin.default")
test_loader.get("ansible.builtin.defined")
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 20, 20)


class ActionModule(ActionBase):
    """Adds nothing to the module."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        result.update(self._execute_module(task_vars=task_vars))
        return result
