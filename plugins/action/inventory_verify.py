# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that is wrong with an inventory, found on the controller and told at once."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.postmaster.mail.plugins.module_utils import _inventory, _model
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"


class ActionModule(ActionBase):
    """Never reaches the host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        _checked, options = self.validate_argument_spec({"roles": {"type": "list", "elements": "str", "required": True}})
        self._variables = dict(task_vars or {})
        # What is broken already may break what is made of it; that is no news then.
        self._consequences: list[Exception] = []
        errors: dict[str, None] = dict.fromkeys(self._shared())
        for role in options["roles"]:
            errors.update(dict.fromkeys(self._role(role)))
        if not errors and self._consequences:
            raise self._consequences[0]
        count = len(errors)
        result.update(changed=False, failed=count > 0)
        if count:
            result["msg"] = (
                f"The inventory of {self._variables.get('inventory_hostname')} does not hold together, and nothing has been changed. "
                f"{'One rule is' if count == 1 else f'{count} rules are'} broken:\n- " + "\n- ".join(errors)
            )
        return result

    def _shared(self) -> Iterator[str]:
        """What is wrong with the variables that all roles share."""
        facts = self._variables.get("ansible_facts", {})
        given: dict[str, Any] = {
            "fqdn": self._variables.get("inventory_hostname"),
            "users": {},
            # The addresses that a host has by itself may be private ones, which nobody outside reaches.
            "addresses": [facts[key]["address"] for key in ("default_ipv4", "default_ipv6") if facts.get(key, {}).get("address")],
        }
        for name in sorted(name for name in self._variables if name.startswith("mail_")):
            try:
                given[name.removeprefix("mail_")] = self._templar.template(self._variables[name])
            except AnsibleError as exc:
                yield _unknown(name, exc)
        yield from self._broken(lambda: _model.normalise(given, facts.get("os_family", "")))

    def _role(self, role: str) -> Iterator[str]:
        """What is wrong with the variables of one role that are not its own defaults, by themselves and together."""
        defaults = self._load(role, "defaults/main.yml")
        specs = self._load(role, "meta/argument_specs.yml").get("argument_specs", {})
        if not specs:
            raise AnsibleError(f"roles {role!r} is not a role of this collection with an argument spec")
        options = {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}
        # Of the defaults many are made of the shared variables, which are judged above.
        own = [name for name in options if name in self._variables and not (name in defaults and self._variables[name] == defaults[name])]
        given = {}
        for name in own:
            try:
                given[name] = self._templar.template(self._variables[name])
            except AnsibleError as exc:
                yield _unknown(name, exc)
        yield from _inventory.type_errors({name: option for name, option in options.items() if name in given or name not in own}, given)
        if not own:
            return
        internal = self._load(role, "vars/main.yml")
        templar = self._templar.copy_with_new_env(available_variables={**defaults, **self._variables, **internal})
        for name in (f"__{role}_model", f"__{role}_plan"):
            if name in internal:
                yield from self._broken(lambda name=name: templar.template(internal[name]))

    def _broken(self, function: Callable[[], Any]) -> list[str]:
        """Return the rules that a function finds broken."""
        try:
            function()
        except Exception as exc:
            cause: BaseException | None = exc
            while cause is not None and not isinstance(cause, MailError):
                cause = cause.__cause__ or cause.__context__
            if cause is not None:
                return list(cause.rules)
            self._consequences.append(exc)
        return []

    def _load(self, role: str, path: str) -> dict[str, Any]:
        file = ROLES / role / path
        return (self._loader.load_from_file(str(file), trusted_as_template=True) if file.is_file() else None) or {}


def _unknown(name: str, exc: AnsibleError) -> str:
    return f"{name} cannot be evaluated: {getattr(exc, 'message', None) or exc}"
