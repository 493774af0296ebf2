# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a module that mostly runs on the controller is spared an archive, an interpreter and its imports there."""

from __future__ import annotations

import abc
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase


class ControllerAction(ActionBase):
    """Call what the module would do within Ansible's own process, if the task runs there by the same Python; else send the module.

    Nobody can tell the difference but by the time it takes, so whatever only a module can do (another user or environment, in the
    background) is left to the module.
    """

    TRANSFERS_FILES = False
    _supports_async = True
    #: What AnsibleModule is given: ``argument_spec`` and the rules between options.
    arguments: ClassVar[dict[str, Any]] = {}

    @abc.abstractmethod
    def perform(self, options: Mapping[str, Any], check_mode: bool) -> tuple[dict[str, Any], set[str]] | None:
        """Do it; return the result and what must not be shown of it, or None if only the module can."""

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        done = None
        if self._is_here(task_vars or {}):
            _checked, options = self.validate_argument_spec(**self.arguments)
            done = self.perform(options, bool(self._task.check_mode))
        if done is None:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
        else:
            result.update(_masked(*done))
        return result

    def _is_here(self, task_vars: Mapping[str, Any]) -> bool:
        task, connection = self._task, self._connection
        if connection.transport != "local" or connection.become or task.async_val or any(task.environment or ()):
            return False
        wanted = task_vars.get("ansible_delegated_vars", {}).get(task.delegate_to, task_vars).get("ansible_python_interpreter")
        return self._templar.template(wanted) == sys.executable


def _masked(result: dict[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Return a result as AnsibleModule shows it, walked through only if a secret is in it: it may have thousands of records."""
    text = json.dumps(result, default=str)
    return remove_values(result, secrets) if any(json.dumps(secret)[1:-1] in text for secret in secrets) else result
