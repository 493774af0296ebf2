# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base trees: a minimal Debian per suite, and one layer of services over Debian 13. Made once, kept as directories."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import shutil

from little.machine import lock, run
from little.plan import BASES, PROXY_PORT_OUTSIDE

_VERSION = 1  # raise it when the functions below change what they make
# What a cloud provider's minimal image has: systemd, SSH, Python, and nothing of mail.
_BARE = ("systemd-sysv", "dbus", "python3", "python3-apt", "openssh-server", "iproute2", "ifupdown", "ca-certificates")
_SERVICES = ("bind9", "bind9-dnsutils", "bind9-utils", "dbconfig-no-thanks", "dovecot-imapd", "dovecot-lmtpd", "opendkim", "opendkim-tools",
             "opendmarc", "pebble", "postfix", "postfix-pcre", "postfix-policyd-spf-python", "swaks", "unbound")
_SERVICES_SUITE = "trixie"
# Work that a machine does by itself in its first minutes would hold dpkg's lock or add noise to figures.
_QUIET = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
          "man-db.timer", "systemd-networkd-wait-online.service")
# Services that no machine wants unless it says so.
_IDLE = ("named", "dovecot", "opendkim", "opendmarc", "pebble", "postfix", "postfix-resolvconf.path", "unbound", "unbound-resolvconf")
_PROXY = f'Acquire::http::Proxy "http://127.0.0.1:{PROXY_PORT_OUTSIDE}";'


def _stamp(name: str) -> str:
    """Return a digest of the recipe: another recipe makes another tree."""
    recipe = [_VERSION, _BARE, _QUIET, name] if name != "services" else [_stamp(_SERVICES_SUITE), _VERSION, _SERVICES, _IDLE]
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:10]


def layers(name: str) -> list[pathlib.Path]:
    """Return the trees that a machine of this kind lies on, uppermost first; build what is missing."""
    path = BASES / f"{name}-{_stamp(name)}"
    below = layers(_SERVICES_SUITE) if name == "services" else []
    if not path.is_dir():
        with lock(f"base-{name}"):
            if not path.is_dir():
                _clear(name)
                unfinished = BASES / f".{path.name}"
                BASES.mkdir(parents=True, exist_ok=True)
                (_build_services if below else _build_bare)(name, unfinished, below)
                unfinished.rename(path)
    return [path, *below]


def _clear(name: str) -> None:
    """Remove trees of earlier recipes, and what a killed build has left."""
    in_use = pathlib.Path("/proc/mounts").read_text(encoding="utf-8")
    for path in BASES.glob(f".{name}-*"):
        for line in in_use.splitlines():
            if str(path) in line.split()[1]:
                run("umount", line.split()[1])
        shutil.rmtree(path)
    for path in BASES.glob(f"{name}-*"):
        if f"{path}:" not in in_use and f"{path}," not in in_use:
            shutil.rmtree(path)


def _build_bare(suite: str, tree: pathlib.Path, _below: list[pathlib.Path]) -> None:
    print(f"internet: building the base tree {suite}", flush=True)
    run("mmdebstrap", "--mode=root", "--variant=important", f"--include={','.join(_BARE)}", f"--aptopt={_PROXY}", suite, tree)
    (tree / "etc/apt/apt.conf.d/99mmdebstrap").unlink()
    (tree / "etc/machine-id").write_text("", encoding="ascii")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (tree / "etc/default/locale").write_text("LANG=C.UTF-8\n", encoding="ascii")
    for unit in _QUIET:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (tree / "etc/resolv.conf").unlink(missing_ok=True)


def _build_services(name: str, tree: pathlib.Path, below: list[pathlib.Path]) -> None:
    print("internet: building the layer of services", flush=True)
    scratch = tree.with_name(tree.name + "-mount")
    for path in (tree, scratch / "work", scratch / "root"):
        path.mkdir(parents=True)
    root = scratch / "root"
    options = f"lowerdir={':'.join(map(str, below))},upperdir={tree},workdir={scratch}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, root)
    try:
        policy = root / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
        option = root / "etc/apt/apt.conf.d/99build"
        option.write_text(_PROXY + "\n", encoding="ascii")
        # In a process namespace of its own: whatever a maintainer script starts ends with it.
        script = 'mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; exec chroot "$0" env DEBIAN_FRONTEND=noninteractive "$@"'
        chroot = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, root)
        run(*chroot, "apt-get", "-q", "update")
        run(*chroot, "apt-get", "-q", "-y", "--no-install-recommends", "install", *_SERVICES)
        run(*chroot, "apt-get", "clean")
        for unit in _IDLE:
            run("systemctl", f"--root={root}", "disable", unit, check=False)
        for path in (policy, option, *(root / "var/lib/apt/lists").glob("*_*")):
            path.unlink()
    finally:
        run("umount", root)
    with contextlib.suppress(OSError):
        shutil.rmtree(scratch)
