# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What OpenBSD's installer asks for: its response file (autoinstall(8)) and what pxeboot(8) is told. No side effects."""

from __future__ import annotations

import pathlib
import re

from testnet_lib.plan import Host, ipv4, ipv6

#: The console of a virtual machine, and its speed; the boot loader, the installer and the installed system talk there.
CONSOLE, SPEED = "com0", 115200
INTERFACE = "vio0"
#: Where the release lies on the server that answers the installer.
PATH = "pub/OpenBSD"
#: What a server for mail has no use for.
UNWANTED = ("-game*", "-x*", "-comp*")


def release(name: str) -> str:
    """Return the release that a directory or URL is called after: its last part.

    :raises SystemExit: it is not called like a release
    """
    last = name.rstrip("/").rpartition("/")[2]
    if not re.fullmatch(r"[0-9]+\.[0-9]", last):
        raise SystemExit(
            f"testnet: POSTMASTER_MAIL_OPENBSD is {name!r}: it must end in the number of the release, such as /srv/OpenBSD/7.9, and hold "
            "amd64/ and packages/amd64/ as a mirror does"
        )
    return last


def boot_conf() -> str:
    """Return etc/boot.conf as pxeboot(8) fetches it: the serial line as the console, then the installer's kernel."""
    return f"stty {CONSOLE} {SPEED}\nset tty {CONSOLE}\nboot tftp:/bsd.rd\n"


def response(host: Host, number: str, key: str, nameserver: str, verified: bool) -> str:
    """Return install.conf: question or a distinct part of it, and answer.

    :param number: the release, as ``7.9``
    :param key: the public key that may log in as root
    :param verified: whether sets without a signature are refused
    """
    server = ipv4(1)
    answers = {
        "System hostname": f"cloud-{host.number}",  # a provider's image does not know the mail name
        "Network interface to configure": INTERFACE,
        f"IPv4 address for {INTERFACE}": ipv4(host.number),
        f"Netmask for {INTERFACE}": "255.255.255.0",
        f"IPv6 address for {INTERFACE}": ipv6(host.number),
        f"IPv6 prefix length for {INTERFACE}": "64",
        "Default IPv4 route": server,
        "IPv6 default router": ipv6(1),
        "DNS domain name": "provider.example",
        "DNS nameservers": nameserver,
        "Password for root account": "*************",  # none
        "Public ssh key for root account": key.strip(),
        "Start sshd(8) by default": "yes",
        "Do you expect to run the X Window System": "no",
        f"Change the default console to {CONSOLE}": "yes",
        f"Which speed should {CONSOLE} use": str(SPEED),
        "Setup a user": "no",
        "Allow root ssh login": "prohibit-password",
        "What timezone are you in": "UTC",
        "Which disk is the root disk": "sd0",
        "Encrypt the root disk": "no",
        "Use (W)hole disk": "whole",
        "URL to autopartitioning template for disklabel": f"http://{server}/disklabel",
        "Location of sets": "http",
        "HTTP proxy URL": "none",
        "HTTP Server": server,
        "Server directory": f"{PATH}/{number}/amd64",
        "Use http instead": "yes",
        "Set name(s)": " ".join((*UNWANTED, "done")),
        "Continue without verification": "no" if verified else "yes",
    }
    return "".join(f"{question} = {answer}\n" for question, answer in answers.items())


def disklabel() -> str:
    """Return the layout of the disk (disklabel(8), AUTOMATIC DISK ALLOCATION): packages and mail need most of the room."""
    return "/ 1G\nswap 512M\n/usr 3G-4G\n/usr/local 2G-*\n/var 2G-*\n/tmp 1G\n"


def index(directory: dict[str, int]) -> str:
    """Return index.txt, by which the installer learns which sets there are: a listing as ls(1) makes it, name to size."""
    return "".join(f"-rw-r--r--  1 1001  0  {size:10} Jan  1 00:00:00 2026 {name}\n" for name, size in sorted(directory.items()))


def boot_files(top: pathlib.Path) -> dict[str, pathlib.Path]:
    """Return what is served over TFTP, name to file below a release's directory: autoinstall(8) wants this very name."""
    return {"auto_install": top / "amd64/pxeboot", "bsd.rd": top / "amd64/bsd.rd"}
