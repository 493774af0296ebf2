# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one error class of the pure rules and of the code that talks to the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Characters of a value that are shown, and of a whole rule.
LONGEST_VALUE, LONGEST_RULE = 300, 2000


def shown(value: Any, longest: int = LONGEST_VALUE) -> str:
    """Return a value for an error: as Python writes it, which escapes control characters, and never longer than a line or two."""
    if isinstance(value, str):
        value = str(value) if len(value) <= longest else value[: longest - 3] + "..."
        longest *= 2  # escapes make it longer
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= longest + 2 else text[: longest - 3] + "..."


def bounded(rule: str) -> str:
    """Return a rule without its middle where it is very long: its option is at the beginning, and what is wrong at the end."""
    half = LONGEST_RULE // 2 - 3
    return rule if len(rule) <= LONGEST_RULE else f"{rule[:half]} ... {rule[-half:]}"


class MailError(ValueError):
    """A rule is broken or a host did not answer as it must.

    The text is for a person: it names the option, the value and the rule with its source, as in
    ``selector '-x' is not a DNS label (RFC 6376 section 3.1)``. Modules turn it into ``fail_json``, filters into
    ``AnsibleFilterError``; nothing else catches it.
    """

    def __init__(self, text: str, rules: Sequence[str] = ()) -> None:
        text = text if rules else bounded(text)
        super().__init__(text)
        #: Every broken rule by itself, where there may be several.
        self.rules = tuple(rules) or (text,)
