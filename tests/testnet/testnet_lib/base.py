# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base trees: a minimal Debian per suite, and over Debian 13 a layer of services and one with a kernel. Made once, kept."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
from collections.abc import Iterator

from testnet_lib import machine, openbsd
from testnet_lib.machine import lock, run
from testnet_lib.plan import BASES, PROXY_PORT_OUTSIDE

_VERSION = 2  # raise it when the functions below change what they make
# What a cloud provider's minimal image has: systemd, SSH, Python, and nothing of mail.
_BARE = ("systemd-sysv", "dbus", "python3", "python3-apt", "openssh-server", "iproute2", "ifupdown", "ca-certificates")
_SERVICES = ("bind9", "bind9-dnsutils", "bind9-utils", "dbconfig-no-thanks", "dovecot-imapd", "dovecot-lmtpd", "go-msgauth", "opendkim",
             "opendkim-tools", "opendmarc", "pebble", "postfix", "postfix-pcre", "postfix-policyd-spf-python", "swaks", "unbound")
# Over the tree of one suite: what the infrastructure runs, and what a virtual machine needs besides.
_LAYERS = {"services": _SERVICES, "kernel": ("linux-image-cloud-amd64",)}
_LAYERS_SUITE = "trixie"
# Work that a machine does by itself in its first minutes would hold dpkg's lock or add noise to figures.
_QUIET = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
          "man-db.timer", "systemd-networkd-wait-online.service")
# Services that no machine wants unless it says so.
_IDLE = ("named", "dovecot", "opendkim", "opendmarc", "pebble", "postfix", "postfix-resolvconf.path", "unbound", "unbound-resolvconf")
_PROXY = f'Acquire::http::Proxy "http://127.0.0.1:{PROXY_PORT_OUTSIDE}";'


def _stamp(name: str) -> str:
    """Return a digest of the recipe: another recipe makes another tree."""
    recipe = [_stamp(_LAYERS_SUITE), _VERSION, _LAYERS[name], _IDLE] if name in _LAYERS else [_VERSION, _BARE, _QUIET, name]
    if name == "openbsd":
        recipe = [_stamp(openbsd.SUITE), openbsd.recipe()]
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:10]


def layers(name: str) -> list[pathlib.Path]:
    """Return the trees that a machine of this kind lies on, uppermost first; build what is missing."""
    path = BASES / f"{name}-{_stamp(name)}"
    suite = openbsd.SUITE if name == "openbsd" else _LAYERS_SUITE if name in _LAYERS else None
    below = layers(suite) if suite else []
    if not path.is_dir():
        with lock(name, directory=BASES):
            if not path.is_dir():
                clear(name, old=True)
                unfinished = BASES / f".{path.name}"
                BASES.mkdir(parents=True, exist_ok=True)
                (_build_openbsd if name == "openbsd" else _build_layer if below else _build_bare)(name, unfinished, below)
                unfinished.rename(path)
    return [path, *below]


def clear(name: str, old: bool = False) -> None:
    """Remove what a killed build has left, and with ``old`` the trees of earlier recipes that no machine lies on."""
    machine.stop(f"base-{name}")
    for path in sorted(BASES.glob(f".{name}-*"), reverse=True):  # the mount before the layer that it shows
        machine.remove_tree(path)
    layers_in_use = pathlib.Path("/proc/mounts").read_text(encoding="utf-8")
    for path in BASES.glob(f"{name}-*") if old else ():
        if f"{path}:" not in layers_in_use and f"{path}," not in layers_in_use:
            machine.remove_tree(path)


def clear_unfinished() -> None:
    """Remove what killed builds have left."""
    for name in {path.name[1:].partition("-")[0] for path in BASES.glob(".*-*")}:
        with lock(name, directory=BASES):  # whoever builds it just now holds this lock
            clear(name)


def _build_bare(suite: str, tree: pathlib.Path, _below: list[pathlib.Path]) -> None:
    print(f"testnet: building the base tree {suite}", flush=True)
    # What it mounts, it mounts in a namespace of its own: a killed build leaves no mount behind.
    run("unshare", "--mount", "--propagation=private", "mmdebstrap", "--mode=root", "--variant=important", f"--include={','.join(_BARE)}",
        f"--aptopt={_PROXY}", suite, tree, group=f"base-{suite}")
    machine.stop(f"base-{suite}")
    (tree / "etc/apt/apt.conf.d/99mmdebstrap").unlink()
    # As in Debian's container images: descriptions in other words cost every apt-get a second, and nobody reads them.
    (tree / "etc/apt/apt.conf.d/no-languages").write_text('Acquire::Languages "none";\n', encoding="ascii")
    (tree / "etc/machine-id").write_text("", encoding="ascii")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (tree / "etc/default/locale").write_text("LANG=C.UTF-8\n", encoding="ascii")
    for unit in _QUIET:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)


@contextlib.contextmanager
def _overlay(upper: pathlib.Path, scratch: pathlib.Path, below: list[pathlib.Path], group: str) -> Iterator[pathlib.Path]:
    """Mount a layer over others, for the time of writing into it."""
    root = scratch / "root"
    for path in (upper, scratch / "work", root):
        path.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={':'.join(map(str, below))},upperdir={upper},workdir={scratch}/work", root)
    try:
        yield root
    finally:
        machine.stop(group)
        run("umount", root)


def _build_openbsd(name: str, tree: pathlib.Path, below: list[pathlib.Path]) -> None:
    print("testnet: building the layer of the simulated OpenBSD", flush=True)
    scratch = tree.with_name(tree.name + "-mount")
    openbsd.build(tree, scratch, below, _overlay, f"base-{name}")
    machine.remove_tree(scratch)


def _build_layer(name: str, tree: pathlib.Path, below: list[pathlib.Path]) -> None:
    print(f"testnet: building the layer {name}", flush=True)
    scratch = tree.with_name(tree.name + "-mount")
    with _overlay(tree, scratch, below, f"base-{name}") as root:
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
        option = root / "etc/apt/apt.conf.d/99build"
        option.write_text(_PROXY + "\n", encoding="ascii")
        # In a process namespace of its own: whatever a maintainer script starts ends with it.
        script = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" env DEBIAN_FRONTEND=noninteractive "$@"'
        chroot = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, root)
        for words in (("update",), ("-y", "--no-install-recommends", "install", *_LAYERS[name]), ("clean",)):
            run(*chroot, "apt-get", "-q", *words, group=f"base-{name}")
        for unit in _IDLE:
            run("systemctl", f"--root={root}", "disable", unit, check=False)
        for path in (policy, option, *(root / "var/lib/apt/lists").glob("*_*")):
            path.unlink()
    machine.remove_tree(scratch)
