# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a pure function becomes a filter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown


def filter_of(function: Callable[..., Any], prefix: str = "", **types: str) -> Callable[..., Any]:
    """Return the function with its errors as Ansible's own, their words after ``prefix``.

    The arguments keep their names, since a filter's options are documented by them. ``types`` are those documented: ``str``,
    ``bool``, ``dict``, ``list``, ``list[dict]``; nothing else checks what a template gives. None is for arguments of that default.
    Numbers are left to the function, which says their range as well.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        try:
            for name, value in given.arguments.items():
                if name in types and not (value is None and signature.parameters[name].default is None):
                    given.arguments[name] = _typed(name, value, types[name])
            return function(*given.args, **given.kwargs)
        except MailError as exc:
            raise AnsibleFilterError(f"{prefix}{exc}") from exc
        except KeyError as exc:  # a model that another filter should have made, and has not
            raise AnsibleFilterError(f"{prefix}{next(iter(given.arguments))} lacks the key {exc}") from exc
        except (TypeError, AttributeError, IndexError, ValueError, ArithmeticError, RecursionError) as exc:
            raise AnsibleFilterError(f"{prefix}{next(iter(given.arguments))} is not of the form that is documented: {exc}") from exc

    called.types = types  # type: ignore[attr-defined]
    return called


def _typed(name: str, value: Any, kind: str) -> Any:
    """Return the value, or a list or boolean made of it.

    :raises MailError: it is of another type; lists and dictionaries, which may hold passwords, are not in the text
    """
    if kind == "bool":
        try:
            return boolean(value)
        except TypeError:
            raise MailError(f"{name} {shown(value)} must be true or false") from None
    if kind == "str":
        if not isinstance(value, str):
            raise MailError(f"{name} {shown(value)} must be a string, not {type(value).__name__}")
    elif kind == "dict":
        if not isinstance(value, Mapping):
            raise MailError(f"{name} must be a dictionary, not {type(value).__name__}")
    elif isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise MailError(f"{name} must be a list, not {type(value).__name__}")
    elif kind == "list[dict]":
        value = list(value)
        for entry in value:
            if not isinstance(entry, Mapping):
                raise MailError(f"{name} must be a list of dictionaries, and one of them is {type(entry).__name__}")
    return value
