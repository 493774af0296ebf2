# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All rules that an inventory breaks, in one error; and the models that roles read."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._host import system
from ansible_collections.postmaster.mail.plugins.module_utils._model import hosts, light, mta, routes, sinks, types
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import with_addresses
from ansible_collections.postmaster.mail.plugins.plugin_utils import _hosts
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model, packed, unpacked

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"

#: Roles for which it counts what the other hosts of the inventory are.
_AMONG_OTHERS = ("dns", "rspamd", *mta.NAMES)

#: The default of a role's variable that stands for a shared one.
_SHARED = re.compile(r"\{\{ (mail_\w+) \| default\([^()]*\) \}\}\Z")


class _Role(NamedTuple):
    """A role's variables."""

    name: str
    options: dict[str, Any]
    defaults: dict[str, Any]
    #: Its ``vars/main.yml``.
    internal: dict[str, Any]
    #: The names of those that are set, and not by its defaults.
    own: list[str]

    @property
    def inputs(self) -> dict[str, str]:
        """Which of its variables stands for which of ``mail_*``, without the prefix, in its model."""
        return self.internal.get(f"__{self.name}_inputs", {})


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
        #: The other hosts of the inventory, where records are made that are theirs as well.
        self._peers: list[dict[str, Any]] = []
        #: What the shared variables say, and what is made of that and of a role's own: by role, and ``shared``.
        self._given: dict[str, Any] = {}
        self._models: dict[str, dict[str, Any]] = {}
        self._substituted: dict[str, dict[str, Any]] = {}
        roles = [self._read(name) for name in options["roles"]]
        errors: dict[str, None] = dict.fromkeys(self._shared(roles))
        mtas = [role.name for role in roles if role.name in mta.NAMES]
        #: The MTA that the host is to have: of a role that is used alone, that one.
        self._mta = mtas[0] if len(mtas) == 1 else self._models["shared"]["mta"] if "shared" in self._models else ""
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
        else:
            result.update(models=self._models, _ansible_no_log=True)
        return result

    def _read(self, name: str) -> _Role:
        specs = self._load(name, "meta/argument_specs.yml").get("argument_specs", {})
        if not specs:
            raise AnsibleError(f"roles {name!r} is not a role of this collection with an argument spec")
        options = {option: rules for entry in specs.values() for option, rules in entry.get("options", {}).items()}
        defaults = self._load(name, "defaults/main.yml")
        values = self._variables
        own = [option for option in options if option in values and not (option in defaults and values[option] == defaults[option])]
        return _Role(name, options, defaults, self._load(name, "vars/main.yml"), own)

    def _shared(self, roles: Sequence[_Role]) -> Iterator[str]:
        """What is wrong with the variables that all roles share."""
        facts = self._variables.get("ansible_facts", {})
        host = system.host_addresses(facts)
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
        self._given, self._os_family = given, facts.get("os_family", "")
        self._backup = _hosts.is_backup(self._variables, self._variables.get("inventory_hostname"))
        if any(role.name in _AMONG_OTHERS for role in roles):
            self._peers, broken = _hosts.peers(self._variables, given.get("domains"), given.get("fqdn"), self._loader)
            yield from broken
        yield from self._broken(lambda: self._models.update(shared=packed(self._checked(given))))
        declared = "mail_addresses" in self._variables or any("dns_addresses" in role.own for role in roles)
        if self._peers and "shared" in self._models and not declared:
            names = hosts.sharing(unpacked(self._models["shared"]["text"]))
            if names:
                yield (f"mail_addresses is needed, since {', '.join(names)} {'has' if len(names) == 1 else 'have'} domains of this host "
                       "as well: the SPF record has the addresses of all hosts, also in a run that does not reach this one")

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
        wrong = types.type_errors(judged, given)
        yield from wrong
        yield from sinks.variable_errors(judged, given, {line.split(" ", 1)[0] for line in wrong})
        if not role.own and "shared" not in self._models:
            return
        templar = self._templar.copy_with_new_env(available_variables={
            **role.defaults, **self._variables, **role.internal, "__mail_models": self._models,
        })  # fmt: skip
        # What it is given instead of the shared ones is what the user wrote.
        instead = {match[1]: name for name in role.own if (match := _SHARED.match(str(role.defaults.get(name))))}
        if role.inputs:
            for rule in self._broken(lambda: self._models.update({role.name: self._model(role, templar)})):
                yield types.renamed(rule, instead)
        if role.name == self._mta and role.name in self._models:
            model = unpacked(self._models[role.name]["text"])
            for refusals in (routes.refusals, light.refusals):
                for rule in refusals(model, role.name, self._os_family):
                    yield types.renamed(rule, instead)
        if not self._models.get(role.name, {}).get("filter", {}).get("enabled", True):
            yield from light.unused(role.name, role.own)
        if not role.own:
            return
        for name in role.internal.get(f"__{role.name}_checked", ()):
            for rule in self._broken(lambda name=name: templar.template(role.internal[name])):
                yield types.renamed(rule, instead)

    def _model(self, role: _Role, templar: Any) -> dict[str, Any]:
        """Return the model of a role: the shared one, unless its own variables or its defaults say something else.

        :raises MailError: a rule that its own variables break
        """
        inputs, values = role.inputs, {**role.defaults, **self._variables}
        if any(variable in role.own for variable in inputs.values()):
            given = {name: templar.template(values[variable]) for name, variable in inputs.items()}
            for name in role.internal.get(f"__{role.name}_inputs_optional", ()):
                if not given[name]:
                    del given[name]
            if role.name not in _AMONG_OTHERS:
                return packed(checked_model(given, self._os_family))
            # What others are compared by, and is no input of the role.
            base = {name: self._given[name] for name in ("fqdn", "addresses", "domains", *_hosts.READ) if name in self._given}
            return packed(self._checked({**base, **given} if self._peers else given))
        # Where the inventory says nothing, a role may take something else for it than the others.
        unset = [name for name in inputs if f"mail_{name}" not in self._variables]
        defaults = {name: templar.template(values[inputs[name]]) for name in unset}
        other = {name: value for name, value in defaults.items() if (value or None) != (self._given.get(name) or None)}
        if not other:
            return self._models["shared"]
        key = repr(sorted(other.items()))
        if key not in self._substituted:
            if set(other) == {"addresses"}:  # an MTA takes its own only where they are declared
                model = with_addresses(unpacked(self._models["shared"]["text"]), other["addresses"])
            else:
                model = self._checked({**self._given, **other})
            self._substituted[key] = packed(model)
        return self._substituted[key]

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a model of this host among the others.

        :raises MailError: with one line for every rule that is broken
        """
        return checked_model(given, self._os_family, self._peers, self._backup)

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
        # Nobody changes it here, so it need not be copied: that is what "unsafe" is about.
        return (self._loader.load_from_file(str(file), unsafe=True, trusted_as_template=True) if file.is_file() else None) or {}


def _unknown(name: str, exc: AnsibleError) -> str:
    return f"{name} cannot be evaluated: {getattr(exc, 'message', None) or exc}"
