# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dns_records without an interpreter of its own on the controller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import engine as dns_engine
from ansible_collections.postmaster.mail.plugins.plugin_utils._controller import ControllerAction


class ActionModule(ControllerAction):
    """Files are left to the module, which knows how to replace one; so is the word that a library is missing."""

    arguments: ClassVar = {"argument_spec": dns_engine.argument_spec(), **dns_engine.constraints()}

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        records = self._task.args.get("records")
        if isinstance(records, str):
            try:
                self._task.args["records"] = json.loads(records)
            except ValueError as exc:
                raise AnsibleActionFail(f"records is neither a list nor the text of one in JSON: {exc}") from exc
        return super().run(tmp, task_vars)

    def perform(self, options: Mapping[str, Any], check_mode: bool) -> tuple[dict[str, Any], set[str]] | None:
        if options["backend"] == "zone_file" or not dns_client.HAS_DNSPYTHON:
            return None
        return dns_engine.outcome(options, check_mode), {options["tsig_secret"]} - {None}
