# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the packages that a role needs with those of the host, and have the package manager install the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.postmaster.mail.plugins.module_utils._host.system import missing_packages

ARGUMENT_SPEC = {
    "name": {"type": "list", "elements": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "downloaded", "listed"], "default": "present"},
}

#: How old APT's lists may be, in seconds: older ones name versions that mirrors do not have any more.
LISTS_AGE = 86400
DOWNLOAD = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", "--download-only", "--no-install-recommends", "install"]


class ActionModule(ActionBase):
    """Asks nothing of a host that lacks nothing."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _checked, options = self.validate_argument_spec(ARGUMENT_SPEC)
        self._variables = dict(task_vars or {})
        facts = self._variables.get("ansible_facts", {})
        known = facts.get("postmaster_mail", {})
        missing = missing_packages(options["name"], known.get("packages", {}))
        result.update(changed=False, missing=missing)
        if missing and facts.get("pkg_mgr") == "apt":
            # An image without lists looks fresh to APT when their directory is.
            lists_age = LISTS_AGE if known.get("package_lists") else 0
            result.update(self._apt(missing, options["state"], lists_age))
        elif missing and options["state"] == "present":
            # pkg_add(1) has neither lists nor a way to download only.
            result.update(self._package(name=missing, state="present"))
        return result

    def _apt(self, missing: list[str], state: str, lists_age: int) -> dict[str, Any]:
        if state == "present":
            result = self._package(
                name=missing, state="present", cache_valid_time=LISTS_AGE, install_recommends=False, policy_rc_d=101,
                dpkg_options="force-confdef,force-confold",
            )  # fmt: skip
            # Without lists nothing can be foreseen but that something is missing.
            if self._task.check_mode and result.get("failed") and "No package matching" in str(result.get("msg", "")):
                result.update(failed=False, changed=True)
            return result
        if state == "downloaded" and self._task.check_mode:
            return {}
        check_mode, self._task.check_mode = self._task.check_mode, False
        try:
            result = self._package(update_cache=True, cache_valid_time=lists_age)
            if state == "downloaded" and not result.get("failed"):
                result = self._execute_module("ansible.legacy.command", {"argv": [*DOWNLOAD, *missing]}, task_vars=self._variables)
        finally:
            self._task.check_mode = check_mode
        return {**result, "changed": False}

    def _package(self, **arguments: Any) -> dict[str, Any]:
        """Do what the action ``package`` does with these arguments, the play's ``module_defaults`` of the package manager included."""
        task = self._task.copy()
        task.args = arguments
        action = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.package", task=task, connection=self._connection, play_context=self._play_context, loader=self._loader,
            templar=self._templar, shared_loader_obj=self._shared_loader_obj,
        )  # fmt: skip
        return action.run(task_vars=self._variables)
