# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What package managers and systemd say of a host, in the form of facts."""

from __future__ import annotations

from collections.abc import Iterator

#: Commands that list what is installed, by the name of what understands their output; the first that a host has is asked.
COMMANDS = {
    "dpkg": ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\\n"],
    "pkg_info": ["pkg_info", "-a"],
}

#: The command that tells of every unit whether it runs, and whether it is started at boot. All unit files would take longer to list.
UNITS = ["systemctl", "show", "*.service", "*.timer", "--state=active", "--property=Id,ActiveState,UnitFileState", "--no-pager"]


def installed(source: str, text: str) -> dict[str, list[dict[str, str]]]:
    """Return name → versions of what is installed, each a dictionary with C(name), C(version) and C(source).

    :param source: one of C(COMMANDS)
    :param text: what its command printed
    """
    found: dict[str, list[dict[str, str]]] = {}
    for name, version in {"dpkg": _dpkg, "pkg_info": _pkg_info}[source](text):
        found.setdefault(name, []).append({"name": name, "version": version, "source": source})
    return found


def _dpkg(text: str) -> Iterator[tuple[str, str]]:
    """A package that was removed is still listed while its configuration is there."""
    for line in text.splitlines():
        status, name, version = line.split(" ", 2)
        if status == "installed":
            yield name, version


def _pkg_info(text: str) -> Iterator[tuple[str, str]]:
    """M(ansible.builtin.package_facts) splits at the last hyphen too, and takes a flavour for the version."""
    for line in text.splitlines():
        if line.strip():
            name, _hyphen, version = line.split(maxsplit=1)[0].rpartition("-")
            yield (name, version) if name else (version, "")


def lasting(text: str) -> list[str]:
    """Return the names of the units that run and are enabled, sorted, services without their suffix.

    What is enabled until the next boot only is not.

    :param text: what C(UNITS) printed, a paragraph for each unit
    """
    units = [dict(line.split("=", 1) for line in unit.splitlines()) for unit in text.split("\n\n")]
    return sorted(
        unit["Id"].removesuffix(".service")
        for unit in units
        if (unit.get("ActiveState"), unit.get("UnitFileState")) == ("active", "enabled")
    )
