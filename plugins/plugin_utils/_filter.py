# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a pure function becomes a filter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


def filter_of(function: Callable[..., Any], prefix: str = "") -> Callable[..., Any]:
    """Return the function with its errors as Ansible's own, their words after C(prefix).

    The arguments keep their names, since a filter's options are documented by them.
    """

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MailError as exc:
            raise AnsibleFilterError(f"{prefix}{exc}") from exc

    return called
