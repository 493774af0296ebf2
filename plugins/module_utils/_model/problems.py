# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collects the rules that an inventory breaks, and reads values of each type."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, bounded, shown


class Problems:
    """Collects the rules that are broken, so that a user sees all of them in one run."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, text: str) -> None:
        text = bounded(text)
        if text not in self.found:
            self.found.append(text)

    def raise_broken(self) -> None:
        """Raise one error with a line for each rule, if any is broken.

        :raises MailError: its ``rules`` are the lines
        """
        if self.found:
            count = len(self.found)
            heading = "one rule is broken" if count == 1 else f"{count} rules are broken"
            raise MailError("\n- ".join([f"{heading}:", *self.found]), self.found)

    def attempt(self, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        try:
            return function(*arguments)
        except MailError as exc:
            self.add(str(exc))
            return default

    def within(self, where: str, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        """Like ``attempt``, for a function whose errors do not name the variable."""
        try:
            return function(*arguments)
        except MailError as exc:
            self.add(f"{where}: {exc}")
            return default

    def mapping(self, value: Any, where: str, keys: Sequence[str] | None = None) -> dict[str, Any]:
        """Return a dictionary with known keys; ``None`` counts as empty, so that ``example.org:`` alone is enough."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.add(f"{where} must be a dictionary, not {kind(value)}")
            return {}
        if keys is None:
            # A number is a label of DNS as well.
            known = {key: entry for key, entry in value.items() if isinstance(key, str) or (type(key) is int and 0 <= key < 2**63)}
            for key in value:
                if key not in known:
                    self.add(f"{where} has the key {shown(key)}, which is not a string")
            return known
        for key in value:
            if key not in keys:
                self.add(f"{where} has no key {shown(key)}{nearest(key, keys)}; it knows {', '.join(keys)}")
        return {key: value[key] for key in value if key in keys}

    def strings(self, value: Any, where: str) -> list[str]:
        """Return a list of strings; one string counts as a list of one."""
        if value is None:
            return []
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, Sequence) or not all(isinstance(item, str) for item in values):
            self.add(f"{where} must be a string or a list of strings, not {kind(value)}")
            return []
        return [str(item) for item in values]

    def text(self, value: Any, where: str) -> str | None:
        """Return a string; the empty one counts as none."""
        if value is not None and not isinstance(value, str):
            self.add(f"{where} must be a string, not {kind(value)}")
            return None
        return str(value) if value else None

    def choice(self, value: Any, where: str, choices: Sequence[str]) -> str:
        """Return one of the choices: the first one in place of a value that is none of them."""
        if not isinstance(value, str) or value not in choices:
            self.add(f"{where} {shown(value)} is unknown{nearest(value, choices)}; it is one of {', '.join(choices)}")
            return choices[0]
        return value

    def boolean(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            self.add(f"{where} must be true or false, not {shown(value)}")
        return bool(value)

    def number(self, value: Any, where: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.add(f"{where} {shown(value)} must be a number from {low:g} to {high:g}")
            return low
        return value

    def integer(self, value: Any, where: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.add(f"{where} {shown(value)} must be a whole number from {low} to {high}")
            return low
        return int(value)


def kind(value: Any) -> str:
    return type(value).__name__.replace("_AnsibleTagged", "").lower()


def nearest(name: Any, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1) if isinstance(name, str) and len(name) < 100 else []
    return f" (did you mean {shown(near[0])}?)" if near else ""
