# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration of OpenDKIM, which signed mail before: which key signs for which domain. See opendkim.conf(5). Pure functions."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Callable

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim

#: What a data set that is no file and no list is: a database, a directory service, a program.
_TYPE = re.compile(r"^([a-z]+):(.*)\Z", re.DOTALL)


def options(text: str) -> dict[str, str]:
    """Return the settings by their names in lower case; the last of a name counts."""
    values = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split(None, 1)
        if len(words) == 2:
            values[words[0].lower()] = words[1].strip()
    return values


def _data_set(value: str, what: str, read: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the entries of a data set, which is a file of keys and values, or a list of values.

    :raises MailError: it is in a database or the like
    """
    match = _TYPE.match(value)
    kind, rest = (match[1], match[2]) if match else ("", value)
    if kind in ("file", "refile") or (not kind and value.startswith("/")):
        words = (line.partition("#")[0].split(None, 1) for line in read(rest).splitlines())
        return [(entry[0], entry[1].strip() if len(entry) == 2 else "") for entry in words if entry]
    if kind in ("", "csl"):
        return [(item.partition("=")[0].strip(), item.partition("=")[2].strip()) for item in rest.split(",") if item.strip()]
    raise MailError(f"{what} is of the type {kind!r}, which is not read here")


def _signs_all_of(pattern: str, domain: str) -> bool:
    """Tell whether an entry of a SigningTable is for every sender of a domain."""
    local, at, host = pattern.lower().rpartition("@")
    return (not at or local == "*") and fnmatch.fnmatchcase(domain, host)


def signers(text: str, conf: str, domains: Iterable[str], read: Callable[[str], str]) -> dict[str, dkim.Signer]:
    """Return which key signs for which of these domains, in canonical form. The first key of a domain counts.

    :param text: the configuration
    :param conf: its name, for errors
    :param read: path of a table to its text, empty where there is no such file
    :raises MailError: a selector that is none, or a table that is not a file
    """
    settings = options(text)
    signers_of: dict[str, dkim.Signer] = {}

    def add(domain: str, selector: str, path: str) -> None:
        if path.startswith("/"):
            signers_of.setdefault(domain, dkim.Signer(_names.selector(selector, f"{conf}: selector"), path))

    if "signingtable" in settings and "keytable" in settings:
        keys = dict(reversed(_data_set(settings["keytable"], f"{conf}: KeyTable", read)))
        table = _data_set(settings["signingtable"], f"{conf}: SigningTable", read)
        for domain in domains:
            for pattern, names in table:
                parts = keys.get(names.partition(",")[0].strip(), "").split(":", 2)
                # Under another domain's name the signature is another domain's; % is that of the sender.
                if _signs_all_of(pattern, domain) and len(parts) == 3 and parts[0].strip().lower() in ("%", domain):
                    add(domain, parts[1].strip(), parts[2].strip())
    elif {"domain", "selector", "keyfile"} <= set(settings):
        patterns = [name.lower() for name, _value in _data_set(settings["domain"], f"{conf}: Domain", read)]
        for domain in domains:
            if any(fnmatch.fnmatchcase(domain, pattern) for pattern in patterns):
                add(domain, settings["selector"], settings["keyfile"])
    return signers_of
