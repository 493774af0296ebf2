# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes, namespaces, mounts and systemd-nspawn. Everything here can be found again, and ended, without a pid file."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

from testnet_lib.plan import BRIDGE, CLIENTS, GATEWAY6, HOSTS, NAMESPACE, PROXY_PORT, PROXY_PORT_OUTSIDE, RUN, SPOOL, Host, ipv4, ipv6

NETNS = pathlib.Path("/run/netns") / NAMESPACE
GROUP = RUN.name  # our control group, one child per machine
_LIBC = ctypes.CDLL(None, use_errno=True)
# How many inotify instances root may have on this machine: every booted one takes some twenty, and the kernel's usual 128 are soon gone.
_WATCHERS = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
_WATCHERS_BEFORE = RUN / "max_user_instances"


def run(*argv: str | pathlib.Path, check: bool = True, text: str | None = None, inside: bool = False,
        group: str | None = None, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, in the namespace if ``inside``, for ``timeout`` seconds at most; a failure ends the program with its words."""
    words = _wrap(argv, inside, group)
    source = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout,
                          env=_environment(LC_ALL="C.UTF-8"), **source)
    if check and done.returncode:
        raise SystemExit(f"testnet: {' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done


def _environment(**further: str) -> dict[str, str]:
    """Return ours, but that Python compiles nothing into the checkout, nor a tree's packages to the place that tests/ci/run names."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPYCACHEPREFIX"}
    return {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **further}


def _wrap(argv: Sequence[str | pathlib.Path], inside: bool, group: str | None) -> list[str]:
    words = [str(word) for word in argv]
    if inside:
        words = ["nsenter", f"--net={NETNS}", *words]
    if group:
        # The shell enters the control groups first, so that no moment exists in which a child is outside of them.
        paths = [str(path / "cgroup.procs") for path in (*control_groups(group), *memory_groups(group))]
        script = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
        words = ["sh", "-c", script, "sh", *paths, "--", *words]
    return words


@contextlib.contextmanager
def lock(name: str, shared: bool = False, directory: pathlib.Path = RUN) -> Iterator[None]:
    """Hold a lock that dies with this process."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(directory / f"{name}.lock", "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def wait_for(what: str, test, timeout: float = 300, pause: float = 0.05):
    """Return the first true result of ``test``; asked again until the time is up.

    That is much longer than it ever takes by itself: nothing is measured by it, and all cores may be busy.
    """
    end = time.monotonic() + timeout
    while True:
        found = test()
        if found:
            return found
        if time.monotonic() > end:
            raise SystemExit(f"testnet: waited {timeout:.0f} s in vain for {what}")
        time.sleep(pause)


# Processes

def processes(marker: str, program: str | None = None) -> list[int]:
    """Return the processes that have ``marker`` in one of their arguments and run ``program``."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(marker in word for word in words[1:]) and (program is None or os.path.basename(words[0]) == program):
                found.append(int(entry.name))
    return found


def background(argv: Sequence[str | pathlib.Path], log: pathlib.Path, group: str | None = None,
               inside: bool = False) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its shell."""
    words = _wrap(argv, inside, group)
    with open(log, "ab") as output:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
                                env=_environment(SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))


def end(pids: Sequence[int], patience: float = 5) -> None:
    """End processes: ask, wait, then insist."""
    left = list(pids)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + patience
        while left and time.monotonic() < until:
            left = [pid for pid in left if _alive(pid)]
            time.sleep(0.02)


def _alive(pid: int) -> bool:
    return _stat(pid)[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """Return state, parent and so on of a process; X if there is none."""
    try:
        return (pathlib.Path("/proc") / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ["X", "0"]


# Control groups: one per machine, so that its processes are found and ended together.

def _hierarchies() -> list[pathlib.Path]:
    """Return the mount points of the unified hierarchy and of systemd's own, where there are such."""
    return [point for point, kind, options in _mounted_hierarchies() if kind == "cgroup2" or "name=systemd" in options]


def _mounted_hierarchies() -> Iterator[tuple[pathlib.Path, str, list[str]]]:
    """Yield mount point, type and options of each hierarchy."""
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _device, point, kind, options = line.split()[:4]
        if kind in ("cgroup", "cgroup2") and point.startswith("/sys/fs/cgroup"):
            yield pathlib.Path(point), kind, options.split(",")


def control_groups(name: str) -> list[pathlib.Path]:
    """Return (and make) the control groups of a machine."""
    found = []
    for top in _hierarchies():
        path = top / GROUP / name
        path.mkdir(parents=True, exist_ok=True)
        found.append(path)
    return found


def _memory_hierarchy() -> pathlib.Path | None:
    """Return where version 1's hierarchy for memory is mounted, on a machine that still has it; the unified one limits nothing then."""
    return next((point for point, kind, options in _mounted_hierarchies() if kind == "cgroup" and "memory" in options), None)


def memory_groups(name: str) -> list[pathlib.Path]:
    """Return the control groups of a machine in that hierarchy. They are below that of the process that made them, whatever limits it."""
    top = _memory_hierarchy()
    return sorted(top.glob(f"**/{GROUP}/{name}")) if top else []


def _limit_memory(host: Host) -> None:
    """Make the control group with the machine's memory, for it to start in."""
    top = _memory_hierarchy()
    if host.memory and top:
        own = pathlib.Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
        below = next(line.split(":", 2)[2] for line in own if "memory" in line.split(":")[1].split(","))
        path = top / below.lstrip("/") / GROUP / host.name
        path.mkdir(parents=True, exist_ok=True)
        (path / "memory.limit_in_bytes").write_text(str(host.memory << 20), encoding="ascii")


def _show_memory(host: Host) -> None:
    """Let a machine that runs see its limit where a container looks, in its own control group.

    In the unified hierarchy the machine's own group is the one that nspawn has made for it, and so that one is limited: of what is around
    it nothing can be seen from inside.
    """
    if not host.memory or host.guest:
        return
    if _memory_hierarchy():
        leader = next(pid for pid in members(host.name) if _status(pid, "NSpid")[-1:] == ["1"])
        script = "mountpoint -q memory || { mkdir -p memory && mount -t cgroup -o ro,memory memory memory; }"
        run("nsenter", f"--target={leader}", "--mount", "--cgroup", "sh", "-ec", f"cd /sys/fs/cgroup; {script}")
        return
    group = _hierarchies()[0] / GROUP / host.name
    try:
        for path in (group.parent.parent, group.parent, group):
            (path / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        (group / "payload/memory.max").write_text(str(host.memory << 20), encoding="ascii")
    except OSError as exc:
        raise SystemExit(f"testnet: the memory of {host.name} cannot be limited on this machine: {exc}") from exc


def _status(pid: int, name: str) -> list[str]:
    """Return the words of a line of /proc/PID/status."""
    with contextlib.suppress(OSError):
        lines = (pathlib.Path("/proc") / str(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.split()[1:] for line in lines if line.startswith(f"{name}:")), [])
    return []


def _members(path: pathlib.Path) -> list[int]:
    pids: list[int] = []
    # Groups go while they are being listed: os.walk passes over them, rglob of Python before 3.13 does not.
    for directory, _below, _files in os.walk(path):
        listing = pathlib.Path(directory) / "cgroup.procs"
        with contextlib.suppress(OSError):
            pids += [int(line) for line in listing.read_text(encoding="ascii").split() if line != "0"]
    return pids


def group_names() -> list[str]:
    """Return the machines that have control groups."""
    return sorted({path.name for top in _hierarchies() for path in (top / GROUP).glob("*") if path.is_dir()})


def members(name: str) -> list[int]:
    """Return all processes of a machine, its nspawn included."""
    return [pid for top in _hierarchies() for pid in _members(top / GROUP / name)]


def stop(name: str) -> None:
    """End all processes of a machine at once, as a power cut would."""
    def killed() -> bool:
        pids = set(members(name))
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    for top in _hierarchies():
        with contextlib.suppress(OSError):
            (top / GROUP / name / "cgroup.kill").write_text("1", encoding="ascii")
    wait_for(f"the end of {name}'s processes", killed, 120, 0.02)
    for top in _hierarchies():
        path = top / GROUP / name
        if path.is_dir():
            for directory in sorted((entry for entry in path.rglob("*") if entry.is_dir()), reverse=True):
                with contextlib.suppress(FileNotFoundError):
                    directory.rmdir()
            wait_for(f"control group of {name}", lambda p=path: _rmdir(p), 60, 0.02)
    for path in memory_groups(name):
        wait_for(f"memory's control group of {name}", lambda p=path: _rmdir(p), 60, 0.02)
        _rmdir(path.parent)


def _rmdir(path: pathlib.Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


# Network

@contextlib.contextmanager
def inside_network(namespace: pathlib.Path = NETNS) -> Iterator[None]:
    """Sockets opened in this block belong to the test network, or to another namespace."""
    with open("/proc/thread-self/ns/net", "rb") as outside, open(namespace, "rb") as inner:
        if _LIBC.setns(inner.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            yield
        finally:
            _LIBC.setns(outside.fileno(), 0x40000000)


def network() -> None:
    """Make the namespace, its bridge and the controller's addresses, and the way to packages."""
    with lock("network"):
        if not NETNS.exists():
            run("ip", "netns", "add", NAMESPACE)
        if run("ip", "link", "show", BRIDGE, check=False, inside=True).returncode:
            # Forwarding is on only so that a packet for the outer world is refused at once instead of lost.
            run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.default.accept_dad=0",
                "net.ipv6.conf.default.accept_ra=0", "net.ipv4.icmp_ratelimit=0", inside=True)
            steps = ["link set lo up", f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0", f"link set {BRIDGE} up"]
            for number in CLIENTS:
                steps += [f"address add {ipv4(number)}/24 dev {BRIDGE}", f"address add {ipv6(number)}/64 dev {BRIDGE} nodad"]
            steps += [f"address add {GATEWAY6}/64 dev {BRIDGE} nodad"]
            steps += ["route add unreachable default", "-6 route add unreachable default"]
            # All but the first are for those who ask for them by name.
            steps += [f"address change {ipv6(number)}/64 dev {BRIDGE} nodad preferred_lft 0" for number in CLIENTS if number != 1]
            for step in steps:
                run("ip", *step.split(), inside=True)
        resolv = "".join(f"nameserver {address}\n" for address in (ipv4(2), ipv6(2))) + "options timeout:3 attempts:5\n"
        (RUN / "resolv.conf").write_text(resolv, encoding="ascii")
        if int(_WATCHERS.read_text(encoding="ascii")) < 1024:
            _WATCHERS_BEFORE.write_text(_WATCHERS.read_text(encoding="ascii"), encoding="ascii")
            _WATCHERS.write_text("1024", encoding="ascii")
        _proxy()


def _proxy() -> None:
    """Packages come through a caching proxy outside and two relays over a socket; there is no other way out."""
    configuration = RUN / "squid.conf"
    link = RUN / "proxy.sock"
    SPOOL.mkdir(parents=True, exist_ok=True)
    shutil.chown(SPOOL, "proxy", "proxy")
    if not processes(str(configuration), "squid"):
        configuration.write_text(
            f"""http_port 127.0.0.1:{PROXY_PORT_OUTSIDE}
acl local src 127.0.0.1
acl mirrors dstdomain .debian.org
http_access allow local mirrors
http_access deny all
cache_dir ufs {SPOOL} 6000 16 64
cache_mem 64 MB
maximum_object_size 300 MB
# A package never changes under its name; an index named by its digest neither.
refresh_pattern \\.deb$ 129600 100% 129600 override-expire
refresh_pattern by-hash/ 129600 100% 129600 override-expire
refresh_pattern . 0 20% 60
visible_hostname packages.test
pid_filename none
access_log none
cache_log {RUN}/squid.log
cache_store_log none
pinger_enable off
netdb_filename none
shutdown_lifetime 1 second
cache_effective_user proxy
coredump_dir {SPOOL}
""", encoding="ascii")
        log = RUN / "squid.log"
        log.touch()
        shutil.chown(log, "proxy", "proxy")
        if not (SPOOL / "00").is_dir():
            run("squid", "-N", "-z", "-f", configuration)
        background(["squid", "-N", "-f", configuration], RUN / "squid.out")
    if not relay_outside():
        link.unlink(missing_ok=True)
        background(["socat", f"UNIX-LISTEN:{link},fork,mode=600", f"TCP:127.0.0.1:{PROXY_PORT_OUTSIDE}"], RUN / "socat.out")
    if not processes(f"UNIX-CONNECT:{link}", "socat"):
        listen = f"TCP-LISTEN:{PROXY_PORT},bind={ipv4(1)},fork,reuseaddr"
        background(["socat", listen, f"UNIX-CONNECT:{link}"], RUN / "socat.out", inside=True)
    wait_for(f"the package proxy (see {RUN}/squid.log)", _proxy_answers, 180)


def relay_outside() -> list[int]:
    """Return the relay that lives outside of the test network's namespaces."""
    return processes(f"UNIX-LISTEN:{RUN}/proxy.sock", "socat")


def _proxy_answers() -> bool:
    with contextlib.suppress(OSError):
        with inside_network():
            connection = socket.create_connection((ipv4(1), PROXY_PORT), 2)
        with connection:
            connection.sendall(b"GET http://nowhere.invalid/ HTTP/1.0\r\n\r\n")
            return connection.recv(12).startswith(b"HTTP/1.")
    return False


def banner(address: str, port: int, expected: bytes, namespace: pathlib.Path = NETNS, patience: float = 3) -> bool:
    """Tell whether a server inside greets with the expected words, within some seconds."""
    with contextlib.suppress(OSError):
        with inside_network(namespace):
            connection = socket.create_connection((address, port), 1)
        with connection:
            connection.settimeout(patience)
            return connection.recv(64).startswith(expected)
    return False


# Machines

def mounted(path: pathlib.Path) -> bool:
    """Tell whether something is mounted at this path."""
    return any(line.split()[1] == str(path) for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines())


def running(host: Host) -> bool:
    """Tell whether the machine's nspawn or QEMU is there."""
    return bool(processes(str(host.disk), "qemu-system-x86_64") if host.guest else processes(str(host.root), "systemd-nspawn"))


def booted(host: Host) -> bool:
    """Tell whether there is something that the machine has written, whether or not it runs."""
    return host.disk.exists() if host.guest else mounted(host.root)


def remove_tree(path: pathlib.Path) -> None:
    """Remove a directory and all that is mounted below it; what is mounted is let go, never emptied."""
    path = path.resolve()  # as /proc/mounts names it
    def points() -> list[str]:
        lines = pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        return [point for point in (line.split()[1] for line in lines) if pathlib.Path(point).is_relative_to(path)]

    for point in reversed(points()):
        wait_for(f"{point} to be free", lambda p=point: run("umount", p, check=False).returncode == 0, 60, 0.1)
    if points():
        raise SystemExit(f"testnet: {points()[0]} is still mounted; nothing below {path} was removed")
    if path.exists():
        shutil.rmtree(path)


def mount(host: Host, lower: Sequence[pathlib.Path]) -> None:
    """Lay a fresh, empty layer over the base trees. Nothing is synced to disk: these machines are made to be lost."""
    for name in ("upper", "work", "root"):
        (host.directory / name).mkdir(parents=True)
    layers = ":".join(str(path) for path in lower)
    options = f"lowerdir={layers},upperdir={host.directory}/upper,workdir={host.directory}/work"
    if run("mount", "-t", "overlay", "overlay", "-o", options + ",volatile", host.root, check=False).returncode:
        run("mount", "-t", "overlay", "overlay", "-o", options, host.root)


def start(host: Host) -> None:
    """Boot the machine whose tree is mounted."""
    argv = ["systemd-nspawn", "--quiet", "-D", host.root, "--boot", "--register=no", "--keep-unit", f"--network-bridge={BRIDGE}",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe",
            # Where no nspawn forbids it, root may have the sockets of its host's processes (roles/opensmtpd/files/listen_backlog.py).
            "--system-call-filter=pidfd_getfd", "-M", host.name]
    if host.cores:
        argv.append("--cpu-affinity=" + ",".join(map(str, sorted(os.sched_getaffinity(0))[:host.cores])))
    _limit_memory(host)
    child = background(argv, host.directory / "console.log", group=host.name, inside=True)
    wait_for(f"{host.name} to start", lambda: members(host.name) or child.poll() is not None, 120)


def wait_ready(host: Host) -> None:
    """Wait until the machine greets over SSH on both families."""
    for address in (ipv4(host.number), ipv6(host.number)):
        def ready(address: str = address) -> bool:
            if not members(host.name):
                raise SystemExit(f"testnet: {host.name} has stopped; its console said:\n" + console(host))
            # In software, a server may take its time to greet; to ask it again meanwhile would only keep it busy.
            return banner(address, 22, b"SSH-2.0-", patience=60 if host.guest else 3)
        wait_for(f"SSH on {host.name} ({address})", ready, 1800 if host.guest else 600)
    _show_memory(host)


def console(host: Host) -> str:
    """Return the end of what the machine has printed."""
    with contextlib.suppress(OSError):
        return (host.directory / "console.log").read_text(encoding="utf-8", errors="replace")[-3000:]
    return ""


def destroy(name: str) -> None:
    """Remove a machine and all that it has written, whatever state it is in."""
    directory = HOSTS / name
    stop(name)
    end(processes(str(directory / "root"), "systemd-nspawn"))
    remove_tree(directory)


def close_connections(host: Host) -> None:
    """Cut the controller's connections to a machine, so that no multiplexed SSH session leads to a dead one."""
    for address in (ipv4(host.number), ipv6(host.number)):
        run("ss", "-K", "dst", address, check=False, inside=True)


def remove_network() -> None:
    """End all that lives in the namespace, then the proxy, then the namespace."""
    if NETNS.exists():
        family = set()
        pid = os.getpid()
        while pid > 1:
            family.add(pid)
            pid = int(_stat(pid)[1])
        inner = [int(pid) for pid in run("ip", "netns", "pids", NAMESPACE, check=False).stdout.split()]
        end([pid for pid in inner if pid not in family])
    end(processes(str(RUN / "proxy.sock"), "socat"))
    end(processes(str(RUN / "squid.conf"), "squid"))
    if NETNS.exists():
        run("ip", "netns", "del", NAMESPACE)
    for top in _hierarchies():
        _rmdir(top / GROUP)
    if _WATCHERS_BEFORE.exists():
        _WATCHERS.write_text(_WATCHERS_BEFORE.read_text(encoding="ascii"), encoding="ascii")
        _WATCHERS_BEFORE.unlink()
