# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dns_records without an interpreter of its own on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.postmaster.mail.plugins.module_utils import _dns_ask, _dns_engine
from ansible_collections.postmaster.mail.plugins.plugin_utils._controller import ControllerAction


class ActionModule(ControllerAction):
    """Files are left to the module, which knows how to replace one; so is the word that a library is missing."""

    arguments: ClassVar = {"argument_spec": _dns_engine.argument_spec(), **_dns_engine.constraints()}

    def perform(self, options: Mapping[str, Any], check_mode: bool) -> tuple[dict[str, Any], set[str]] | None:
        if options["backend"] == "zone_file" or not _dns_ask.HAS_DNSPYTHON:
            return None
        return _dns_engine.outcome(options, check_mode), {options["tsig_secret"]} - {None}
