# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rdns_verify without an interpreter of its own on the controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import HAS_DNSPYTHON
from ansible_collections.postmaster.mail.plugins.modules.rdns_verify import ARGUMENT_SPEC, secrets, verify
from ansible_collections.postmaster.mail.plugins.plugin_utils._controller import ControllerAction


class ActionModule(ControllerAction):
    """The word that a library is missing is left to the module."""

    arguments: ClassVar = {"argument_spec": ARGUMENT_SPEC}

    def perform(self, options: Mapping[str, Any], check_mode: bool) -> tuple[dict[str, Any], set[str]] | None:
        return (verify(options), secrets(options)) if HAS_DNSPYTHON else None
