# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one error class of the pure rules and of the code that talks to the world."""

from __future__ import annotations

from collections.abc import Sequence


class MailError(ValueError):
    """A rule is broken or a host did not answer as it must.

    The text is for a person: it names the option, the value and the rule with its source, as in
    ``selector '-x' is not a DNS label (RFC 6376 section 3.1)``. Modules turn it into C(fail_json), filters into
    C(AnsibleFilterError); nothing else catches it.
    """

    def __init__(self, text: str, rules: Sequence[str] = ()) -> None:
        super().__init__(text)
        #: Every broken rule by itself, where there may be several.
        self.rules = tuple(rules) or (text,)
