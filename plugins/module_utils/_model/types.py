# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the variables of roles by their argument specs, one line for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.postmaster.mail.plugins.module_utils._errors import shown

_LONGEST = 60  # characters of a value that are shown


def type_errors(options: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> list[str]:
    """Return one line for every variable that its option does not allow, with the variable, its value and the rule.

    :param options: the options of an entry point, by name, as in ``meta/argument_specs.yml``
    :param given: values by variable; one that has no option is not looked at
    """
    found = [f"{name} is required: {_sentence(option)}" for name, option in options.items() if option.get("required") and name not in given]
    for name in options:
        if name not in given:
            continue
        try:
            messages = ArgumentSpecValidator({name: dict(options[name])}).validate({name: given[name]}).error_messages
        except (ArithmeticError, ValueError):  # .inf and .nan where a whole number belongs
            messages = ["not a number"]
        # What is wrong below a variable, only the validator can tell.
        inside = [message for message in messages if "found in" in message]
        if inside:
            found += [f"{name} {message}" for message in inside]
        elif messages or _misread(options[name], given[name]):
            found.append(f"{name} must be {_rule(options[name])}, not {_shown(given[name], bool(options[name].get('no_log')))}")
    return found


def renamed(rule: str, names: Mapping[str, str]) -> str:
    """Return a broken rule with other names for some of the variables in it."""
    return re.sub(r"(?a)\bmail_\w+", lambda match: names.get(match[0], match[0]), rule)


def _misread(option: Mapping[str, Any], value: Any) -> bool:
    """Whether a list or dictionary stands where the validator would take it for a text, its Python form."""
    texts = [value] if option.get("type", "str") in ("str", "path") else []
    if option.get("elements") in ("str", "path") and isinstance(value, Sequence) and not isinstance(value, str):
        texts = list(value)
    return any(isinstance(text, (Mapping, list, tuple)) for text in texts)


def _sentence(option: Mapping[str, Any]) -> str:
    text = option.get("description", "")
    return text if isinstance(text, str) else text[0]


def _rule(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    if option.get("elements"):
        kind += f" of {option['elements']}"
    choices = option.get("choices")
    return f"one of {', '.join(map(str, choices))} ({kind})" if choices else f"of type {kind}"


def _shown(value: Any, secret: bool) -> str:
    """Containers are named by their kind alone: what is in them may be secret."""
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return "a list of " + ", ".join(sorted({_shown(item, True) for item in value})) if value else "an empty list"
    if secret:
        return {str: "a string", bool: "a boolean"}.get(type(value), "a string" if isinstance(value, str) else "a number")
    return shown(value, _LONGEST)
