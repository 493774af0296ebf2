# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that is wrong with an inventory, found on the controller and told at once."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.postmaster.mail.plugins.module_utils import _inventory, _model, _sinks, _system
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"

#: The default of a role's variable that stands for a shared one.
_SHARED = re.compile(r"\{\{ (mail_\w+) \| default\([^()]*\) \}\}\Z")


class _Role(NamedTuple):
    """A role's variables."""

    name: str
    options: dict[str, Any]
    defaults: dict[str, Any]
    #: The names of those that are set, and not by its defaults.
    own: list[str]


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
        self._warnings: list[str] = []
        roles = [self._read(name) for name in options["roles"]]
        errors: dict[str, None] = dict.fromkeys(self._shared(roles))
        for role in roles:
            errors.update(dict.fromkeys(self._role(role)))
        if not errors and self._consequences:
            raise self._consequences[0]
        count = len(errors)
        result.update(changed=False, failed=count > 0)
        for warning in self._warnings:
            self._display.warning(warning)
        if count:
            result["msg"] = (
                f"The inventory of {self._variables.get('inventory_hostname')} does not hold together, and nothing has been changed. "
                f"{'One rule is' if count == 1 else f'{count} rules are'} broken:\n- " + "\n- ".join(errors)
            )
        return result

    def _read(self, name: str) -> _Role:
        specs = self._load(name, "meta/argument_specs.yml").get("argument_specs", {})
        if not specs:
            raise AnsibleError(f"roles {name!r} is not a role of this collection with an argument spec")
        options = {option: rules for entry in specs.values() for option, rules in entry.get("options", {}).items()}
        defaults = self._load(name, "defaults/main.yml")
        values = self._variables
        own = [option for option in options if option in values and not (option in defaults and values[option] == defaults[option])]
        return _Role(name, options, defaults, own)

    def _shared(self, roles: Sequence[_Role]) -> Iterator[str]:
        """What is wrong with the variables that all roles share."""
        facts = self._variables.get("ansible_facts", {})
        host = _system.host_addresses(facts)
        # What a role takes from there also when nothing is said. The addresses that a host has by itself may be private ones, which
        # nobody outside reaches.
        usual: dict[str, Any] = {
            "fqdn": self._variables.get("inventory_hostname"),
            "users": {},
            "addresses": [address for address in host.values() if address],
        }
        taken = {option.partition("_")[2] for role in roles for option in role.options if option not in role.own}
        if not any(role.name in ("identity", "dns") for role in roles):
            taken.discard("addresses")
        given = {name: value for name, value in usual.items() if name in taken}
        link_local = facts.get("default_ipv6", {}).get("address", "")
        if "addresses" in given and "mail_addresses" not in self._variables and link_local and not host["ipv6"]:
            self._warnings.append(
                f"{self._variables.get('inventory_hostname')} has no global IPv6 address: its default route goes out from {link_local}. "
                "Mail is sent over IPv4 alone; give the host an address, or set mail_addresses"
            )
        # With a key of its own for the challenge, the role knows better than the shared variables what is possible.
        elsewhere = {"mail_certificates"} if any("certificate_dns" in role.own for role in roles) else set()
        for name in sorted(name for name in self._variables if name.startswith("mail_") and name not in elsewhere):
            try:
                given[name.removeprefix("mail_")] = self._templar.template(self._variables[name])
            except AnsibleError as exc:
                yield _unknown(name, exc)
        yield from self._broken(lambda: _model.normalise(given, facts.get("os_family", "")))

    def _role(self, role: _Role) -> Iterator[str]:
        """What is wrong with the variables of one role that are not its own defaults, by themselves and together."""
        # Of the defaults many are made of the shared variables, which are judged above.
        given = {}
        for name in role.own:
            try:
                given[name] = self._templar.template(self._variables[name])
            except AnsibleError as exc:
                yield _unknown(name, exc)
        judged = {name: option for name, option in role.options.items() if name in given or name not in role.own}
        wrong = _inventory.type_errors(judged, given)
        yield from wrong
        yield from _sinks.variable_errors(judged, given, {line.split(" ", 1)[0] for line in wrong})
        if not role.own:
            return
        internal = self._load(role.name, "vars/main.yml")
        templar = self._templar.copy_with_new_env(available_variables={**role.defaults, **self._variables, **internal})
        # What it is given instead of the shared ones is what the user wrote.
        instead = {match[1]: name for name in role.own if (match := _SHARED.match(str(role.defaults.get(name))))}
        for name in (f"__{role.name}_model", f"__{role.name}_plan"):
            if name in internal:
                for rule in self._broken(lambda name=name: templar.template(internal[name])):
                    yield _inventory.renamed(rule, instead)

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
