# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of a host from the output of its package manager and of systemd, and from the limits of its control group. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: Commands that list what is installed, by the name of what understands their output; the first that a host has is asked.
COMMANDS = {
    "dpkg": ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n"],
    "pkg_info": ["pkg_info", "-a"],
}

#: The command that reports of every unit whether it is active, and whether it is enabled. All unit files would take longer to list.
UNITS = ["systemctl", "show", "*.service", "*.timer", "--state=active", "--property=Id,ActiveState,UnitFileState", "--no-pager"]

#: packages-specs(7): a name, a version, which begins with the first digit after a hyphen, and flavours.
_PACKAGE_NAME = re.compile(r"(?P<stem>.+?)-(?P<version>[0-9][^-]*)(?:-.*)?")


def packages(source: str, text: str) -> dict[str, str]:
    """Return name → version of what is installed; one of the versions where there are several, as of a library for two architectures.

    :param source: one of ``COMMANDS``
    :param text: the output of its command
    """
    return dict({"dpkg": _dpkg, "pkg_info": _pkg_info}[source](text))


def _dpkg(text: str) -> Iterator[tuple[str, str]]:
    """A package that was removed is still listed while its configuration exists."""
    for line in text.splitlines():
        status, name, version = line.split(" ", 2)
        if status == "installed":
            yield name, version


def _pkg_info(text: str) -> Iterator[tuple[str, str]]:
    """The package of a flavour, such as ``postfix-3.11.1-sasl2``, has the name of the one without."""
    for line in text.splitlines():
        if line.strip():
            full = line.split(maxsplit=1)[0]
            match = _PACKAGE_NAME.fullmatch(full)
            yield (match["stem"], match["version"]) if match else (full, "")


def enabled_services(text: str) -> list[str]:
    """Return the names of the units that are enabled and active, sorted, services without their suffix.

    What is enabled until the next boot only is not enabled.

    :param text: the output of ``UNITS``, a paragraph for each unit
    """
    units = [dict(line.split("=", 1) for line in unit.splitlines()) for unit in text.split("\n\n")]
    return sorted(
        unit["Id"].removesuffix(".service")
        for unit in units
        if (unit.get("ActiveState"), unit.get("UnitFileState")) == ("active", "enabled")
    )


def memory(physical: int, limits: Iterable[str]) -> int:
    """Return the memory that a host may use, in MiB.

    :param physical: bytes
    :param limits: ``memory.max`` or ``memory.limit_in_bytes`` of a control group (cgroups(7)), bytes; another word, such as ``max``, is
        no limit
    """
    return min([physical, *(int(limit) for limit in limits if limit.isdecimal())]) // 2**20


def cores(online: int, quotas: Iterable[str]) -> int:
    """Return how many processors a host may use at once, part of one counted as one.

    :param online: processors that the system lends
    :param quotas: ``cpu.max`` of a control group, or the two numbers that stand for it in version 1: quota and period in microseconds;
        a quota that is no number above zero, such as ``max`` or ``-1``, is none
    """
    pairs = (quota.split() for quota in quotas)
    shares = (-(-int(pair[0]) // int(pair[1])) for pair in pairs if len(pair) == 2 and all(part.isdecimal() and int(part) for part in pair))
    return min([online, *shares])
