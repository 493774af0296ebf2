# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual machines: QEMU on the bridge, each on a layer of its own over an image that is made once and kept.

Two guests, one machinery: an image is made, booted once in a network of its own, where SSH to it is forwarded, prepared over
that, and shut down. Hosts are then switched on over it, on the bridge like all others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

from testnet_lib import autoinstall, base, machine, media, services
from testnet_lib.machine import lock, run, wait_for
from testnet_lib.plan import BASES, BRIDGE, CACHE, NAMESPACE, RUN, STATE, Host, Inventory, ipv4, ipv6

_VERSION = 1  # raise it when the functions below change what they make
_GROUP = "base-vm"  # control group of what makes images; base.clear_unfinished knows it
_SSH_PORT = 2222  # on the loopback of the namespace that an image is made in
_MEDIA_PORT = 13129  # on the gateway, where a guest's packages come from
_MEMORY = "2048"
# Nested hypervisors refuse to set the register that the feature brings. In software, wide registers cost more than they save, and
# processors that wait for each other's locks cost more than one alone.
_CPU = {"kvm": "max,-arch-capabilities", "tcg": "Nehalem"}


@dataclasses.dataclass(frozen=True)
class Guest:
    """What differs between systems."""

    recipe: Callable[[Host], list[str]]  # what, if it changes, makes another image
    make: Callable[[Inventory, Host, pathlib.Path], None]  # writes disk.img, and what is booted, into a directory
    boot: Callable[[pathlib.Path], list[str]]  # words for QEMU
    prepare: Callable[[], str]  # commands for the first boot, the last of which switches off


# --- How ---

@functools.cache
def acceleration() -> str:
    """Return kvm where it works, else tcg: software. TESTNET_ACCELERATION=tcg takes software anyway."""
    for program in ("qemu-system-x86_64", "qemu-img", "mke2fs"):
        if shutil.which(program) is None:
            raise SystemExit(f"testnet: {program} is not installed: tests/ci/setup machines installs it")
    wanted = os.environ.get("TESTNET_ACCELERATION") or "any"
    if wanted not in ("any", "kvm", "tcg"):
        raise SystemExit(f"testnet: TESTNET_ACCELERATION is {wanted!r}: it can be kvm or tcg")
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    if wanted != "tcg" and os.access("/dev/kvm", os.R_OK | os.W_OK) and {"vmx", "svm"} & set(flags):
        # A device that is there need not work: without the processor's own help it has been seen to stumble over instructions, and with a
        # machine that stands still QEMU says at once what else is wrong.
        words = ["-accel", "kvm", "-cpu", _CPU["kvm"], "-machine", "q35", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio"]
        if run("timeout", "20", "qemu-system-x86_64", *words, check=False, text="quit\n").returncode == 0:
            return "kvm"
    if wanted == "kvm":
        raise SystemExit("testnet: TESTNET_ACCELERATION is kvm, which does not work here")
    return "tcg"


def _qemu(host: Host, boot: list[str], disk: pathlib.Path, network: str, console: pathlib.Path) -> list[str | pathlib.Path]:
    kind = acceleration()
    processors = min(2, os.cpu_count() or 1) if kind == "kvm" else 1
    form = "qcow2" if disk.suffix == ".qcow2" else "raw"
    return [
        "qemu-system-x86_64", "-name", host.name, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
        "-accel", kind, "-cpu", _CPU[kind], "-smp", str(processors), "-m", _MEMORY,
        "-drive", f"file={disk},if=virtio,format={form},cache=unsafe,discard=unmap", "-device", "virtio-rng-pci",
        "-netdev", network, "-device", f"virtio-net-pci,netdev=net0,mac={_mac(host)}", "-serial", f"file:{console}", *boot,
    ]


def _mac(host: Host) -> str:
    return f"52:54:00:00:00:{host.number:02x}"


# --- Hosts ---

def lay(inventory: Inventory, host: Host) -> None:
    """Lay a fresh, empty layer over the guest's image, which is made if there is none yet."""
    below = image(inventory, host)
    host.directory.mkdir(parents=True, exist_ok=True)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below / "disk.img", "-F", "raw", host.disk)
    (host.directory / "image").symlink_to(below)


def start(host: Host) -> None:
    """Switch a machine on, at the bridge."""
    guest = _guest(host)
    if host.guest == "openbsd":
        _serve_packages()
    script = RUN / "tap-up"
    script.write_text(f'#!/bin/sh\nexec ip link set "$1" up master {BRIDGE}\n', encoding="ascii")
    script.chmod(0o755)
    # QEMU makes the device, which ends with it.
    network = f"tap,id=net0,ifname=vm-{host.number},script={script},downscript=no"
    words = _qemu(host, guest.boot((host.directory / "image").resolve()), host.disk, network, host.directory / "console.log")
    child = machine.background(words, host.directory / "qemu.log", group=host.name, inside=True)
    wait_for(f"{host.name} to start", lambda: machine.members(host.name) or child.poll() is not None, 120)
    if child.poll() is not None:
        raise SystemExit(f"testnet: {host.name} did not start: {_tail(host.directory / 'qemu.log')}")


def _guest(host: Host) -> Guest:
    if host.guest not in GUESTS:
        raise SystemExit(f"inventory.yml: testnet_guest of {host.name} is {host.guest!r}: there are {', '.join(sorted(GUESTS))}")
    return GUESTS[host.guest]


# --- Images ---

def images() -> list[pathlib.Path]:
    """Return the images of this test network's hosts."""
    return sorted(BASES.glob(f"vm-{NAMESPACE}-*"))


def image(inventory: Inventory, host: Host) -> pathlib.Path:
    """Return the directory with the image that a host starts from; make it if there is none."""
    guest = _guest(host)
    keys = [(STATE / "ssh" / name).read_text(encoding="ascii") for name in ("id_ed25519.pub", "host_ed25519.pub")]
    stamp = hashlib.sha256(repr([_VERSION, host, keys, guest.prepare(), *guest.recipe(host)]).encode()).hexdigest()[:10]
    name = f"vm-{NAMESPACE}-{host.name}"
    path = BASES / f"{name}-{stamp}"
    if not path.is_dir():
        with lock("vm", directory=BASES):
            if not path.is_dir():
                base.clear("vm")
                for old in BASES.glob(f"{name}-*"):
                    machine.remove_tree(old)
                print(f"testnet: making the image of {host.name} ({host.guest}, {acceleration()})", flush=True)
                unfinished = BASES / f".{path.name}"
                unfinished.mkdir(parents=True)
                guest.make(inventory, host, unfinished)
                _first_boot(host, guest, unfinished)
                unfinished.rename(path)
    return path


def _apart(host: Host, extra: str = "") -> str:
    """Return a network of QEMU's own that looks like ours: same addresses, and no way out but to what listens on loopback."""
    return (
        f"user,id=net0,net={ipv4(0)}/24,host={ipv4(1)},dns={ipv4(2)},dhcpstart={ipv4(host.number)},"
        f"ipv6-prefix={ipv6(0)},ipv6-host={ipv6(1)},hostfwd=tcp:127.0.0.1:{_SSH_PORT}-{ipv4(host.number)}:22{extra}"
    )


@contextlib.contextmanager
def _alone(words: list[str | pathlib.Path], directory: pathlib.Path) -> Iterator[tuple[subprocess.Popen[bytes], pathlib.Path]]:
    """Run QEMU in a network namespace that has nothing but a loopback; give the process and the namespace."""
    log = directory / "qemu.log"
    script = ("unshare", "--net", "sh", "-ec", 'ip link set lo up; : > "$0"; exec "$@"', directory / "up")
    child = machine.background([*script, *words], log, group=_GROUP)
    try:
        wait_for("the namespace of the image", lambda: (directory / "up").exists() or child.poll() is not None, 120)
        if child.poll() is not None:
            raise SystemExit(f"testnet: QEMU: {log.read_text(encoding='utf-8', errors='replace')}")
        yield child, pathlib.Path(f"/proc/{child.pid}/ns/net")
    finally:
        machine.stop(_GROUP)
        child.wait()
        (directory / "up").unlink(missing_ok=True)


def _over(child: subprocess.Popen[bytes], directory: pathlib.Path) -> bool:
    """Tell whether a machine is off; one that stands still for good is an error."""
    log = (directory / "qemu.log").read_text(encoding="utf-8", errors="replace")
    if "internal error" in log:
        raise SystemExit(f"testnet: QEMU has stopped: {log[:1000]}")
    return child.poll() is not None


def _end(child: subprocess.Popen[bytes], console: pathlib.Path, what: str, seconds: float) -> None:
    """Wait until a machine has switched itself off."""
    try:
        wait_for(what, lambda: _over(child, console.parent), seconds, 0.2)
    except SystemExit as exc:
        raise SystemExit(f"{exc}; its console said:\n{_tail(console)}") from None


def _tail(console: pathlib.Path) -> str:
    with contextlib.suppress(OSError):
        return console.read_text(encoding="utf-8", errors="replace").replace("\r", "")[-3000:]
    return ""


def _first_boot(host: Host, guest: Guest, directory: pathlib.Path) -> None:
    """Boot an image once, prepare it over the forwarded SSH, and switch it off."""
    console = directory / "first-boot.log"
    words = _qemu(host, guest.boot(directory), directory / "disk.img", _apart(host, ",restrict=on"), console)
    with _alone(words, directory) as (child, namespace):
        try:
            wait_for(f"SSH on the image of {host.name}",
                     lambda: _over(child, directory) or machine.banner("127.0.0.1", _SSH_PORT, b"SSH-2.0-", namespace, 60), 1800, 0.2)
        except SystemExit as exc:
            raise SystemExit(f"{exc}; its console said:\n{_tail(console)}") from None
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ControlPath=none", "BatchMode=yes")
        run("nsenter", f"--net={namespace}", "ssh", "-p", str(_SSH_PORT), "-i", STATE / "ssh/id_ed25519",
            *(f"-o{option}" for option in options), "root@127.0.0.1", guest.prepare())
        _end(child, console, f"the image of {host.name} to switch off", 600)


# --- Debian: a tree of ours with a kernel, laid out on a disk ---

def _debian_recipe(host: Host) -> list[str]:
    return [base.layers(host.base)[0].name]


def _make_debian(inventory: Inventory, host: Host, directory: pathlib.Path) -> None:
    disk = directory / "disk.img"
    machine.mount(host, base.layers(host.base))
    try:
        services.dress(inventory, host)
        (host.root / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n", encoding="ascii")
        for name in ("vmlinuz", "initrd.img"):
            shutil.copyfile(host.root / os.readlink(host.root / name), directory / name)
        run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", host.root, disk, "10G")
    finally:
        machine.remove_tree(host.directory)


def _boot_debian(directory: pathlib.Path) -> list[str]:
    append = "root=/dev/vda rw net.ifnames=0 console=ttyS0"
    return ["-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd.img"), "-append", append]


def _prepare_debian() -> str:
    return "(sleep 1; systemctl poweroff --force) > /dev/null 2>&1 < /dev/null &"


# --- OpenBSD: installed by its own installer, without anybody at the keyboard ---

def _release() -> media.Release:
    source = os.environ.get("POSTMASTER_MAIL_OPENBSD")
    if not source:
        raise SystemExit(
            "testnet: POSTMASTER_MAIL_OPENBSD is not set: name a release of OpenBSD/amd64, as a directory (/srv/OpenBSD/7.9, with amd64/ "
            "and packages/amd64/ as on a mirror) or as the URL of one on a mirror"
        )
    return media.Release(source, CACHE / "openbsd")


def _openbsd_recipe(host: Host) -> list[str]:
    release = _release()
    return [release.source, autoinstall.response(host, release.number, "", ipv4(2), release.remote), autoinstall.disklabel()]


def _make_openbsd(_inventory: Inventory, host: Host, directory: pathlib.Path) -> None:
    release = _release()
    release.check()
    install(host, directory, release)


def install(host: Host, directory: pathlib.Path, release: media.Release, size: str = "20G", seconds: float = 7200,
            finished: str = "CONGRATULATIONS!") -> list[tuple[str, int]]:
    """Have OpenBSD's installer write a disk, started over the network, as autoinstall(8) describes it.

    :returns: what it asked for over HTTP, with the answer's status
    """
    console = directory / "install.log"
    top = directory / "tftp"
    (top / "etc").mkdir(parents=True)
    for name, source in autoinstall.boot_files(release.top).items():
        shutil.copyfile(source, top / name)
    (top / "etc/boot.conf").write_text(autoinstall.boot_conf(), encoding="ascii")
    with open(directory / "disk.img", "wb") as disk:
        disk.truncate(int(size[:-1]) << 30)
    key = (STATE / "ssh/id_ed25519.pub").read_text(encoding="ascii")
    answers = autoinstall.response(host, release.number, key, ipv4(2), release.remote)
    texts = {"/install.conf": answers, "/disklabel": autoinstall.disklabel()}
    # QEMU answers DHCP and TFTP itself, as next-server and with this file name; its gateway leads to the loopback, and there are we.
    network = _apart(host, f",tftp={top},bootfile=auto_install")
    words = _qemu(host, ["-boot", "n", "-no-reboot"], directory / "disk.img", network, console)
    with _alone(words, directory) as (child, namespace):
        server = media.serve(media.listen(namespace, "127.0.0.1", 80), release, texts)
        try:
            _end(child, console, f"the installation of {host.name}", seconds)
        finally:
            server.shutdown()
            server.server_close()
    if finished not in console.read_text(encoding="utf-8", errors="replace"):
        raise SystemExit(f"testnet: {host.name} was not installed; its console said:\n{_tail(console)}")
    shutil.rmtree(top)
    return server.asked


def _boot_openbsd(_directory: pathlib.Path) -> list[str]:
    return ["-boot", "c"]


def _prepare_openbsd() -> str:
    # Linking libraries anew at each boot takes minutes under software emulation, and is of no use to a test.
    return (f"echo library_aslr=NO >> /etc/rc.conf.local && echo http://{ipv4(1)}:{_MEDIA_PORT}/{autoinstall.PATH} > /etc/installurl"
            " && (sleep 1; halt -p) > /dev/null 2>&1 < /dev/null &")


def _serve_packages() -> None:
    """Serve the release to the hosts on the bridge: pkg_add(1) has no other way to packages."""
    release = _release()
    with lock("media"):
        if not set(_package_servers()) & set(machine.processes(release.source)):
            end_packages()
            words = [sys.executable, media.__file__, machine.NETNS, ipv4(1), str(_MEDIA_PORT), release.source, CACHE / "openbsd"]
            machine.background(words, RUN / "media.out")
        wait_for(f"the server of packages (see {RUN}/media.out)", lambda: _connects(ipv4(1), _MEDIA_PORT), 120)


def _package_servers() -> list[int]:
    return sorted(set(machine.processes(str(machine.NETNS))) & set(machine.processes(str(media.__file__))))


def end_packages() -> None:
    """End the server of packages."""
    machine.end(_package_servers())


def _connects(address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        with machine.inside_network():
            connection = socket.create_connection((address, port), 2)
        connection.close()
        return True
    return False


GUESTS = {
    "debian": Guest(_debian_recipe, _make_debian, _boot_debian, _prepare_debian),
    "openbsd": Guest(_openbsd_recipe, _make_openbsd, _boot_openbsd, _prepare_openbsd),
}
