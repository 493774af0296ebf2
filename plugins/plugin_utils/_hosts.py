# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the other hosts of the inventory say of the domains that one host serves: read from the inventory, no host need be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.utils.vars import load_extra_vars

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: The groups whose hosts take mail for their domains.
SERVERS, RELAYS = GROUPS = ("mail_servers", "mail_relays")

#: Variables, without their prefix, of which records of several hosts are made.
READ = ("addresses", "routes", "dns", "mx_preference")


def peers(variables: Mapping[str, Any], domains: Any, fqdn: Any, loader: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the other hosts that take mail, as :func:`_model.normalise` reads them, and what of them cannot be evaluated.

    A host's domains are evaluated only if one of them is also here, and not where they are the same words. So the work grows with the
    number of hosts, and with that of the domains that they share.

    :param variables: those of this host's task, unevaluated, ``groups`` and ``hostvars`` among them
    :param domains: its ``mail_domains``, evaluated
    :param fqdn: its name
    """
    names, hosts = variables.get("groups") or {}, variables.get("hostvars")
    if not isinstance(domains, Mapping) or hosts is None:
        return [], []
    others = dict.fromkeys(name for group in GROUPS for name in names.get(group, ()))
    others.pop(variables.get("inventory_hostname"), None)
    if "mail_domains" in load_extra_vars(loader):
        # On the command line it is for the hosts of this run; what others have is hidden by it. Nothing of theirs is taken out unasked.
        played = variables.get("ansible_play_hosts_all") or ()
        others = {name: None for name in others if name in played}
    here = {_canonical(name) for name in domains} | {_canonical(fqdn)}
    plain = bool(others) and variables.get("mail_domains") == domains
    found, broken = [], []
    for name in others:
        peer = _Peer(name, hosts)
        if peer.written.get("mail_domains"):
            read = peer.read(domains, here, variables.get("mail_domains") if plain else None)
            found.append({**read, "backup": is_backup(variables, name)})
            broken += peer.broken
    return found, broken


def is_backup(variables: Mapping[str, Any], name: Any) -> bool:
    """Whether a host only takes mail for others while they are away: one of ``mail_relays`` that is none of ``mail_servers``."""
    groups = variables.get("groups") or {}
    return name in groups.get(RELAYS, ()) and name not in groups.get(SERVERS, ())


class _Peer:
    """One of the other hosts."""

    def __init__(self, name: str, hosts: Any) -> None:
        self.name = name
        self.broken: list[str] = []
        self._hosts = hosts
        self._values: Any = None
        #: Its variables as they are written.
        self.written: Mapping[str, Any] = hosts.raw_get(name)

    def read(self, domains: Mapping[str, Any], here: set[str], plain: Any) -> dict[str, Any]:
        """Return what is known of it.

        :param domains: those of this host
        :param here: its domains and its name
        :param plain: its domains as they are written, if there is nothing to evaluate in them: the same words then say the same of any host
        """
        found: dict[str, Any] = {"name": self.name, "fqdn": self._value("mail_fqdn") or self.name}
        written = self.written["mail_domains"]
        if plain is not None and written == plain:
            found["domains"] = domains
        else:
            # The names of a dictionary are what they are.
            shares = not isinstance(written, Mapping) or any(_canonical(name) in here for name in written)
            theirs = self._value("mail_domains") if shares else {}
            if isinstance(theirs, Mapping):
                theirs = {name: value for name, value in theirs.items() if _canonical(name) in here}
            found["domains"] = theirs
        if found["domains"]:
            found.update({name: value for name in READ if (value := self._value(f"mail_{name}")) is not None})
        return found

    def _value(self, name: str) -> Any:
        if self.written.get(name) is None:
            return None
        try:
            if self._values is None:
                self._values = self._hosts[self.name]
            return _whole(self._values[name])
        except AnsibleError as exc:
            self.broken.append(f"{name} of host {self.name} cannot be evaluated, and has to be known also in runs that do not reach it: "
                               f"{getattr(exc, 'message', None) or exc}")
            return None


def _whole(value: Any) -> Any:
    """Return a value of which nothing is evaluated later."""
    if isinstance(value, Mapping):
        return {name: _whole(entry) for name, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_whole(entry) for entry in value]
    return value


def _canonical(name: Any) -> str:
    """Return a name as the model has it; what is none is broken there."""
    try:
        return _names.domain_name(name)
    except MailError:
        return ""
