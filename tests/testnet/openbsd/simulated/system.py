# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The base system, as far as Ansible and a mail server ask it: uname, sysctl, ifconfig, route, init and its helpers."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from simulated import rc
from simulated.common import PATH, STATE, Refusal, at, detach, getopt, need_root, program, read, release, title, write

KERNEL = "GENERIC.MP#0-simulated"


def uname(argv: list[str]) -> int:
    """Print what the kernel calls itself."""
    options, names = getopt(argv, "amnprsv", "usage: uname [-amnprsv]")
    if names:
        raise Refusal("usage: uname [-amnprsv]")
    values = {"s": "OpenBSD", "n": os.uname().nodename, "r": release(), "v": KERNEL, "m": "amd64"}
    if "a" in options:
        print(" ".join(values.values()))
        return 0
    if not options:
        options = {"s": [""]}
    order = {**values, "p": "amd64"}
    print(" ".join(value for letter, value in order.items() if letter in options))
    return 0


# sysctl(8)

_WRITABLE: dict[str, str] = {
    "kern.maxfiles": "7030", "kern.maxproc": "1310", "kern.somaxconn": "128", "kern.bufcachepercent": "20", "kern.seminfo.semmns": "60",
    "net.inet.ip.forwarding": "0", "net.inet6.ip6.forwarding": "0", "net.inet.tcp.keepidle": "14400", "kern.nosuidcoredump": "1",
    "ddb.panic": "1", "machdep.allowaperture": "0", "net.inet.ip.portfirst": "1024", "hw.smt": "0", "vm.swapencrypt.enable": "1"}


def _sysctl_values() -> dict[str, str]:
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_linux("/proc/meminfo"), re.MULTILINE))
    boot = int(next((line.split()[1] for line in read_linux("/proc/stat").splitlines() if line.startswith("btime")), "0"))
    count = os.cpu_count() or 1
    fixed = {
        "kern.ostype": "OpenBSD", "kern.osrelease": release(), "kern.osrevision": "202605",
        "kern.version": f"OpenBSD {release()} (GENERIC.MP) #0: simulated on Linux for tests",
        "kern.hostname": os.uname().nodename, "kern.boottime": time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(boot)),
        "kern.securelevel": "1", "kern.osversion": KERNEL, "kern.nfiles": "120",
        "hw.machine": "amd64", "hw.model": "Simulated CPU", "hw.ncpu": str(count), "hw.ncpufound": str(count), "hw.ncpuonline": str(count),
        "hw.byteorder": "1234", "hw.pagesize": "4096", "hw.disknames": "sd0:0000000000000000", "hw.diskcount": "1",
        "hw.vendor": "Test network",
        "hw.product": "OpenBSD (simulated)", "hw.physmem": str(int(memory.get("MemTotal", "1048576")) * 1024),
        "hw.usermem": str(int(memory.get("MemTotal", "1048576")) * 1024), "net.inet.tcp.always_keepalive": "0"}
    changed = json.loads(read("/var/run/simulation-sysctl.json") or "{}")
    return {**fixed, **_WRITABLE, **changed, "boot": str(boot)}


def read_linux(path: str) -> str:
    """Return a file of the system underneath."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except OSError:
        return ""


def sysctl(argv: list[str]) -> int:
    """Print and set kernel values; those of OpenBSD's names that matter to a mail server."""
    # -e, -w, -p of other systems do not exist.
    options, names = getopt(argv, "aAn q".replace(" ", "") + "f:", "usage: sysctl [-Aanq] [name[=value] ...]\n       sysctl [-nq] -f file")
    values = _sysctl_values()
    boot = values.pop("boot")
    for path in options.get("f", []):
        names += [line.split("#")[0].replace(" ", "").strip() for line in read(path).splitlines() if line.split("#")[0].strip()]
    if not names:
        names = sorted({name.partition(".")[0] for name in values})
    code = 0
    for name in names:
        name, equals, new = name.partition("=")
        if equals:
            if name not in values:
                print(f"sysctl: {'third' if name.count('.') > 1 else 'second'} level name {name} is invalid", file=sys.stderr)
                code = 1
                continue
            if name not in _WRITABLE and name != "kern.hostname":
                print(f"sysctl: {name}: Operation not permitted", file=sys.stderr)
                code = 1
                continue
            if os.geteuid():
                print(f"sysctl: {name}: Operation not permitted", file=sys.stderr)
                code = 1
                continue
            changed = json.loads(read("/var/run/simulation-sysctl.json") or "{}")
            changed[name] = new
            write("/var/run/simulation-sysctl.json", json.dumps(changed))
            if "q" not in options:
                print(f"{name}: {values[name]} -> {new}" if "n" not in options else new)
            values[name] = new
            continue
        chosen = {key: value for key, value in values.items() if key == name or key.startswith(name + ".")}
        if not chosen:
            level = "top" if "." not in name else "second"
            print(f"sysctl: {level} level name {name.split('.')[-1]} in {name} is invalid", file=sys.stderr)
            code = 1
        for key, value in chosen.items():
            if "n" in options:
                print(boot if key == "kern.boottime" else value)
            else:
                print(f"{key}={value}")
    return code


# ifconfig(8), route(8), netstart(8): Debian's ip(8) is behind them.

_IP = "/usr/lib/simulation/lib/ip"
INTERFACE = "vio0"
_FLAGS = {"UP": (0x1, "UP"), "BROADCAST": (0x2, "BROADCAST"), "LOOPBACK": (0x8, "LOOPBACK"), "LOWER_UP": (0x40, "RUNNING"),
          "NOARP": (0x80, "NOARP"), "PROMISC": (0x100, "PROMISC"), "MULTICAST": (0x8000, "MULTICAST")}


def _ip(*words: str) -> list[dict]:
    done = subprocess.run([_IP, "-json", *words], capture_output=True, text=True, check=False)
    return json.loads(done.stdout or "[]")


def describe(links: list[dict], default: str, families: tuple[str, ...] = ("inet", "inet6")) -> str:
    """Return interfaces, as `ip -json address` tells them, as ifconfig(8) of OpenBSD shows them."""
    lines = []
    for link in links:
        number, words = 0, []
        for flag, (bit, word) in _FLAGS.items():
            if flag in link["flags"]:
                number |= bit
                words.append(word)
        lines.append(f"{link['ifname']}: flags={number:x}<{','.join(words)}> mtu {link['mtu']}")
        if link["link_type"] == "ether":
            lines.append(f"\tlladdr {link['address']}")
        lines.append(f"\tindex {link['ifindex']} priority 0 llprio 3")
        groups = ["lo"] if link["link_type"] == "loopback" else []
        groups += ["egress"] if link["ifname"] == default else []
        if groups:
            lines.append(f"\tgroups: {' '.join(groups)}")
        if link["link_type"] == "ether":
            lines += ["\tmedia: Ethernet autoselect", "\tstatus: active"]
        for address in link["addr_info"]:
            if address["family"] not in families:
                continue
            if address["family"] == "inet":
                network = ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}").network
                mask = f"0x{int(network.netmask):08x}"
                line = f"\tinet {address['local']} netmask {mask}"
                if "BROADCAST" in link["flags"]:
                    line += f" broadcast {network.broadcast_address}"
            else:
                scoped = f"%{link['ifname']}" if address["scope"] == "link" else ""
                line = f"\tinet6 {address['local']}{scoped} prefixlen {address['prefixlen']}"
                if scoped:
                    line += f" scopeid {link['ifindex']:#x}"
            lines.append(line)
    return "".join(line + "\n" for line in lines)


def _default_interface() -> str:
    routes = _ip("-4", "route", "show", "default") or _ip("-6", "route", "show", "default")
    return routes[0]["dev"] if routes else ""


def ifconfig(argv: list[str]) -> int:
    """Show interfaces; to change one is netstart's business here."""
    usage = "usage: ifconfig [-AaC] [interface] [address_family] [address [dest_address]] [parameters]"
    options, words = getopt(argv, "aACM", usage)
    links = _ip("address", "show")
    if words and words[0] not in ("inet", "inet6"):
        wanted = words.pop(0)
        default = _default_interface()
        links = [link for link in links if wanted == link["ifname"] or (wanted == "egress" and link["ifname"] == default)
                 or (wanted == "lo" and link["link_type"] == "loopback")]
        if not links:
            raise Refusal(f"{wanted}: no such interface")
    elif "C" in options:
        print("bridge carp enc gif gre lo pflog pppoe trunk tun veb vether vlan wg")
        return 0
    families = tuple(word for word in words if word in ("inet", "inet6")) or ("inet", "inet6")
    rest = [word for word in words if word not in ("inet", "inet6")]
    if rest:
        raise Refusal(f"ifconfig: {rest[0]}: not simulated: write /etc/hostname.{INTERFACE} and restart the host")
    print(describe(links, _default_interface(), families), end="")
    return 0


def route(argv: list[str]) -> int:
    """Show the way to a destination; Ansible asks `route -n get default`."""
    usage = "usage: route [-dnqtv] [-T rtable] command [[modifier ...] arguments]"
    _options, words = getopt(argv, "dnqtvT:", usage)
    if not words or words[0] not in ("get", "show"):
        raise Refusal(usage if not words or words[0] not in ("add", "change", "delete", "flush", "monitor", "nameserver", "exec")
                      else f"route: {words[0]}: not simulated")
    family = "-6" if "-inet6" in words else "-4"
    names = [word for word in words[1:] if not word.startswith("-")]
    if words[0] == "show":
        for entry in _ip(family, "route", "show"):
            print(f"{entry['dst']:18} {entry.get('gateway', 'link'):18} UGS {entry['dev']}")
        return 0
    if not names:
        raise Refusal(usage)
    if names[0] == "default":
        routes = _ip(family, "route", "show", "default")
    else:
        routes = _ip(family, "route", "get", names[0])
    if not routes:
        raise Refusal("get: not in table" if names[0] == "default" else f"route: {names[0]}: bad value")
    found = routes[0]
    source = found.get("prefsrc")
    if not source:
        wanted = "inet6" if family == "-6" else "inet"
        addresses = _ip("address", "show", "dev", found["dev"])[0]["addr_info"]
        # Where the gateway is link-local, so is what the kernel names as the address of the interface.
        scope = "link" if found.get("gateway", "").startswith("fe80:") else "global"
        source = next((entry["local"] for entry in addresses if entry["family"] == wanted and entry["scope"] == scope), "")
        source += f"%{found['dev']}" if source and scope == "link" else ""
    lines = [f"   route to: {names[0]}", f"destination: {names[0]}", f"       mask: {names[0]}"]
    if found.get("gateway"):
        lines.append(f"    gateway: {found['gateway']}")
    lines += [f"  interface: {found['dev']}", f" if address: {source}", "   priority: 8 (static)", "      flags: <UP,GATEWAY,DONE,STATIC>",
              "     use       mtu    expire", "       0         0         0 "]
    print("\n".join(lines))
    return 0


def netstart(_argv: list[str]) -> int:
    """Configure the network from /etc/myname, /etc/hostname.vio0 and /etc/mygate."""
    def link(*words: str) -> None:
        subprocess.run([_IP, *words], check=False)

    link("link", "set", "lo", "down")
    link("link", "set", "lo", "name", "lo0")
    link("link", "set", "lo0", "up")
    if any(entry["ifname"] == "host0" for entry in _ip("link", "show")):
        link("link", "set", "host0", "down")
        link("link", "set", "host0", "name", INTERFACE)
    for key in ("all/accept_ra", "default/accept_ra", f"{INTERFACE}/accept_ra", f"{INTERFACE}/accept_dad"):
        try:
            with open(f"/proc/sys/net/ipv6/conf/{key}", "w", encoding="ascii") as handle:
                handle.write("0")
        except OSError:
            pass
    link("link", "set", INTERFACE, "up")
    router = json.loads(read(f"{STATE}/host.json") or "{}").get("router", {})
    for line in read(f"/etc/hostname.{INTERFACE}").splitlines():
        words = line.split("#")[0].split()
        if len(words) >= 3 and words[0] in ("inet", "inet6"):
            alias = words[1] == "alias"
            address, mask = words[2:4] if alias else words[1:3]
            if words[0] == "inet":
                mask = str(ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen)
            link("address", "add", f"{address}/{mask}", "dev", INTERFACE)
        elif words == ["inet6", "autoconf"] and router:
            # As if a router had announced its prefix, itself and a name server (RFC 4862, RFC 8106).
            link("address", "add", f"{router['address']}/64", "dev", INTERFACE)
            link("-6", "route", "replace", "default", "via", router["gateway"], "dev", INTERFACE)
        elif words not in ([], ["up"], ["inet", "autoconf"], ["inet6", "autoconf"]):
            print(f"netstart: {line!r} in hostname.{INTERFACE} is not simulated", file=sys.stderr)
    for gateway in read("/etc/mygate").split():
        link("-6" if ":" in gateway else "-4", "route", "replace", "default", "via", gateway)
    name = read("/etc/myname").split("#")[0].strip()
    if name:
        subprocess.run(["/bin/hostname", name], check=False)
    return 0


# resolvd(8), unwind(8)

_LEARNT = "# resolvd: "


def resolvd(_argv: list[str]) -> int:
    """Keep the name servers that the network announces above whatever else is in /etc/resolv.conf, whoever wrote that."""
    need_root("resolvd: need root privileges")
    servers = json.loads(read(f"{STATE}/host.json") or "{}").get("router", {}).get("nameservers", [])
    detach()
    title("/sbin/resolvd")
    seen = None
    while True:
        try:
            found = os.stat(at("/etc/resolv.conf"))
            now = found.st_ino, found.st_mtime_ns
        except FileNotFoundError:
            now = None
        if now != seen:
            rest = [line for line in read("/etc/resolv.conf").splitlines() if _LEARNT not in line]
            lines = [*(f"nameserver {server} {_LEARNT}{INTERFACE}" for server in servers), *rest]
            text = "".join(line + "\n" for line in lines)
            if text != read("/etc/resolv.conf"):
                write("/etc/resolv.conf", text)
            found = os.stat(at("/etc/resolv.conf"))
            now = found.st_ino, found.st_mtime_ns
        seen = now
        time.sleep(0.2)


def unwind(_argv: list[str]) -> int:
    """Have port 53 of 127.0.0.1, and answer nobody."""
    need_root("unwind: need root privileges")
    held = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
    for one in held:
        one.bind(("127.0.0.1", 53))
    detach()
    title("/sbin/unwind")
    signal.pause()
    return 0


# init(8): our own first process, so that nothing of another system's service manager is there.

def init(_argv: list[str]) -> int:
    """Run /etc/rc, then be the parent of orphans."""
    os.environ.clear()
    os.environ["PATH"] = PATH
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGRTMIN + 4, lambda *_: os._exit(0))  # what systemd-nspawn sends for a poweroff
    subprocess.Popen(["/usr/lib/simulation/bin/boot"], start_new_session=True)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


def boot(_argv: list[str]) -> int:
    """Do what rc(8) does: the network, the base daemons that are on, then pkg_scripts in their order."""
    for path, mode in (("/run/sshd", 0o755), ("/run/lock", 0o1777)):
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
    netstart([])
    if at("/etc/sysctl.conf").exists():
        subprocess.run(["/sbin/sysctl", "-q", "-f", "/etc/sysctl.conf"], check=False)
    for directory in ("/tmp", "/var/tmp"):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, 0o1777)
    services = rc.Services()
    # As rc(8) does: the log first, sshd early.
    base = ["resolvd", "syslogd", "unwind", "unbound", "sshd", "smtpd", "httpd", "cron"]
    others = [name for name in rc._names() if services.base(name) and name not in base]
    for name in [*base, *others, *services.package_scripts]:
        if services.exists(name) and services.enabled(name):
            subprocess.run([f"/etc/rc.d/{name}", "start"], check=False, env={})
    local = at("/etc/rc.local")
    if local.exists():
        subprocess.run(["/bin/ksh", str(local)], check=False)
    return 0


# Small ones

def vmstat(_argv: list[str]) -> int:
    """Print one line of memory figures."""
    memory = dict(re.findall(r"^(\w+):\s+(\d+) kB", read_linux("/proc/meminfo"), re.MULTILINE))
    free = memory.get("MemFree", "0")
    used = str(int(memory.get("MemTotal", "0")) - int(free))
    print(" procs    memory       page                    disk traps          cpu\n"
          " r   s   avm     fre  flt  re  pi  po  fr  sr sd0  int   sys   cs us sy id")
    print(f" 1  60 {used:>5} {free:>7}   51   0   0   0   0   0   1    4   116   89  1  1 98")
    return 0


def swapctl(_argv: list[str]) -> int:
    """Print swap figures: none is configured."""
    print("total: 0 1K-blocks allocated, 0 used, 0 available")
    return 0


def cap_mkdb(argv: list[str]) -> int:
    """Make FILE.db of a capability file; here only a mark that it was made."""
    usage = "usage: cap_mkdb [-iv] [-f outfile] file ..."
    options, names = getopt(argv, "f:iv", usage)
    if not names:
        raise Refusal(usage)
    for name in names:
        if not at(name).is_file():
            raise Refusal(f"cap_mkdb: {name}: No such file or directory")
    write(f"{options.get('f', names)[-1]}.db", "simulated\n")
    return 0


def syspatch(argv: list[str]) -> int:
    """Say that there is nothing to patch."""
    usage = "usage: syspatch [-c | -l | -R | -r]"
    options, names = getopt(argv, "clRr", usage)
    if names or len(options) > 1:
        raise Refusal(usage)
    if os.geteuid():
        raise Refusal("syspatch: need root privileges")
    return 0 if options else 2


def encrypt(argv: list[str]) -> int:
    """Print bcrypt hashes of the words on stdin or of the operand."""
    usage = "usage: encrypt [-b rounds] [-c class] [-p | string]"
    options, names = getopt(argv, "b:c:p", usage)
    rounds = options.get("b", ["10"])[-1]
    rounds = "10" if rounds == "a" else rounds
    if not rounds.isdigit() or len(names) > 1 or ("p" in options and names):
        raise Refusal(usage)
    words = names or [line.rstrip("\n") for line in sys.stdin]
    for word in words:
        print(_bcrypt(word, int(rounds)))
    return 0


def _bcrypt(word: str, rounds: int) -> str:
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import crypt
    salt = crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=2 ** rounds)
    return crypt.crypt(word, salt.replace("$2y$", "$2b$", 1))


def rc_class(argv: list[str]) -> int:
    """For rc.subr: the login class of a daemon."""
    print(rc.daemon_class(argv[0]))
    return 0


def not_simulated(_argv: list[str]) -> int:
    """Refuse: the command exists on OpenBSD and is not simulated."""
    raise Refusal(f"{program()}: not simulated", 127)
