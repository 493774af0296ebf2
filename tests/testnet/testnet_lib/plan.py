# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What there is to build: paths, addresses, and the hosts of the inventory. No side effects."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import zlib
from typing import Any

import yaml

HERE = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("POSTMASTER_MAIL_CACHE") or "/var/cache/postmaster-mail")
# A second test network beside the first has another name; the two share their base trees and nothing else.
NAMESPACE = os.environ.get("TESTNET_NAME") or "pm-net"
_SUFFIX = "" if NAMESPACE == "pm-net" else f"-{NAMESPACE}"
STATE = CACHE / f"testnet{_SUFFIX}"
HOSTS = CACHE / f"hosts{_SUFFIX}"
SPOOL = CACHE / f"proxy{_SUFFIX}"  # packages seen
BASES = CACHE / "base"
RUN = pathlib.Path(f"/run/postmaster-mail-testnet{_SUFFIX}")

BRIDGE = "pm-br0"
PREFIX4 = "198.51.100."
PREFIX6 = "2001:db8:100::"
#: The controller's end of the bridge, as a router names itself to hosts that configure themselves (RFC 4861 section 6.2.3).
GATEWAY6 = "fe80::1"
PROXY_PORT = 13128  # on the gateway, inside
PROXY_PORT_OUTSIDE = PROXY_PORT + (zlib.crc32(_SUFFIX.encode()) % 1000)  # on loopback

# Addresses on the controller's end of the bridge, so that a test can bind the one whose reputation it wants:
# number -> (reverse name or None, forward names that lead here).
CLIENTS: dict[int, tuple[str | None, list[str]]] = {
    1: ("client.test", ["client.test"]),
    4: ("home.client.test", ["home.client.test"]),
    5: ("good.client.test", ["good.client.test"]),
    6: (None, ["nameless.client.test"]),
    7: ("liar.client.test", []),  # liar.client.test leads to .5
    8: ("listed.client.test", ["listed.client.test"]),  # listed in dnsbl.test
    9: ("198-51-100-9.dyn.client.test", ["198-51-100-9.dyn.client.test"]),  # as providers name the lines of their customers
    11: ("mail.client.test", ["mail.client.test"]),  # with a bad score in score.senderscore.com
    14: (None, ["relay.client.test"]),  # a host that relays through the servers under test; listed in dnsbl.test
}


def ipv4(number: int) -> str:
    """Return the IPv4 address with this number."""
    return f"{PREFIX4}{number}"


def ipv6(number: int) -> str:
    """Return the IPv6 address with this number, its digits taken as they are written."""
    return f"{PREFIX6}{number}"


@dataclasses.dataclass(frozen=True)
class Host:
    """One machine of the inventory."""

    name: str
    number: int
    suite: str
    service: str | None  # None: a bare host under test
    guest: str | None = None  # what runs in a virtual machine (see vm.py); None: a machine of systemd-nspawn
    values: dict[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)  # its variables

    @property
    def zone(self) -> str:
        """The zone that holds its name: without the first label."""
        return self.name.partition(".")[2]

    @property
    def memory(self) -> int:
        """MiB that it may use; 0: all."""
        return int(self.values.get("testnet_memory", 0))

    @property
    def cores(self) -> int:
        """Processors that it may use; 0: all."""
        return int(self.values.get("testnet_cores", 0))

    @property
    def base(self) -> str:
        """The name of the base tree that it is made from."""
        return "services" if self.service else "kernel" if self.guest else self.suite

    @property
    def directory(self) -> pathlib.Path:
        """What the machine has written, and the mount point of its tree."""
        return HOSTS / self.name

    @property
    def root(self) -> pathlib.Path:
        """Its root file system, as seen from the controller."""
        return self.directory / "root"

    @property
    def disk(self) -> pathlib.Path:
        """What a virtual machine has written, over the image that it started from."""
        return self.directory / "disk.qcow2"


class Inventory:
    """The parts of inventory.yml that machines and zones are made from."""

    def __init__(self, path: pathlib.Path = HERE / "inventory.yml") -> None:
        self.variables: dict[str, Any] = {}
        self.hosts: dict[str, Host] = {}
        self._group(yaml.safe_load(path.read_text(encoding="utf-8"))["all"], {})
        numbers = [host.number for host in self.hosts.values()] + list(CLIENTS)
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise SystemExit(f"{path.name}: testnet_number {twice[0]} is used twice")

    def _group(self, group: dict[str, Any], inherited: dict[str, Any]) -> None:
        values = {**inherited, **(group.get("vars") or {})}
        self.variables = self.variables or values
        for name, own in (group.get("hosts") or {}).items():
            mine = {**values, **(own or {})}
            self.hosts[name] = Host(name, int(mine["testnet_number"]), mine["testnet_suite"], mine.get("testnet_service"),
                                    mine.get("testnet_guest"), mine)
        for child in (group.get("children") or {}).values():
            self._group(child or {}, values)

    def host(self, name: str) -> Host:
        """Return the host with this name, or leave with a plain message."""
        if name not in self.hosts:
            raise SystemExit(f"testnet: no host {name!r} in inventory.yml; it has {', '.join(self.hosts)}")
        return self.hosts[name]

    @property
    def services(self) -> list[Host]:
        """The hosts that everybody else needs."""
        return [host for host in self.hosts.values() if host.service]

    @property
    def user_zones(self) -> list[str]:
        """Zones that hold what the collection under test publishes."""
        own = [host.zone for host in self.hosts.values() if not host.service]
        return list(dict.fromkeys(own + list(self.variables["testnet_user_zones"])))
