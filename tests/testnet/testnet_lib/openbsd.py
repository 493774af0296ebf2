# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated OpenBSD: a layer over Debian 12 with the real daemons in a store, and the simulated tools of openbsd/ in OpenBSD's paths."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

from testnet_lib.machine import run
from testnet_lib.plan import GATEWAY6, HERE, PROXY_PORT_OUTSIDE, STATE, Host, ipv4, ipv6

SUITE = "bookworm"
ROOM = HERE / "openbsd"
TOP = "usr/lib/simulation"
RELEASES = ("7.8", "7.9", "8.0")
# Real programs behind the simulated tools: kept in a store until pkg_add puts them in place.
_STORED = ("dovecot-core", "dovecot-imapd", "dovecot-lmtpd", "dovecot-pop3d", "dovecot-managesieved", "dovecot-sieve", "rspamd",
           "redis-server", "redis-tools", "opensmtpd-filter-rspamd", "opensmtpd-filter-senderscore", "opensmtpd-filter-dkimsign", "curl",
           "postfix", "libmail-dkim-perl")
# Of OpenBSD's base system, or behind a simulated tool.
_BASE = ("mksh", "opendoas", "rsyslog", "unbound", "python3-acme", "python3-dnspython")
_BUILD = ("bison", "gcc", "libc6-dev", "libevent-dev", "libssl-dev", "make", "patchelf", "zlib1g-dev")
# OpenBSD 7.8's smtpd has the grammar of the portable 7.6. Of Debian 12's own two, one cannot speak TLS and neither has it.
_SMTPD_SUITE, _SMTPD_VERSION = "trixie", "7.6."
_SMTPD_OPTIONS = ("--prefix=/usr", "--sysconfdir=/etc/mail", "--localstatedir=/var", "--libexecdir=/usr/local/libexec",
                  "--with-user-smtpd=_smtpd", "--with-user-queue=_smtpq", "--with-group-queue=_smtpq", "--with-path-empty=/var/empty",
                  "--with-path-socket=/var/run", "--with-path-mbox=/var/mail", "--with-path-CAfile=/etc/ssl/cert.pem", "--without-auth-pam",
                  "CFLAGS=-O1 -w")
# OpenBSD's kernel makes eighty of five connections that wait to be accepted (kern.sominconn), Linux does not.
_SMTPD_EDIT = r"s/^\(#define SMTPD_BACKLOG\).*/\1 80/"
# Debian's own, out of everybody's sight; simulated tools that need one call it there.
_HIDDEN = ("apt", "apt-cache", "apt-cdrom", "apt-config", "apt-get", "apt-key", "apt-mark", "bash", "busctl", "chage", "chfn", "chpasswd",
           "dpkg", "dpkg-deb", "dpkg-divert", "dpkg-maintscript-helper", "dpkg-query", "dpkg-realpath", "dpkg-split", "dpkg-statoverride",
           "dpkg-trigger", "getty", "gpasswd", "hostnamectl", "ip", "journalctl", "localectl", "loginctl", "networkctl", "py3clean",
           "py3compile", "py3versions", "python3", "rbash", "resolvectl", "sg", "ss", "systemctl", "systemd-run", "timedatectl", "uname",
           "add-shell", "addgroup", "adduser", "chgpasswd", "cppw", "cpgr", "delgroup", "deluser", "groupmems", "grpck", "grpconv",
           "grpunconv", "ifdown", "ifquery", "ifup", "init", "invoke-rc.d", "ldconfig.real", "newusers", "pwck", "pwconv", "pwunconv",
           "remove-shell", "rsyslogd", "runlevel", "stat", "date", "cron", "crontab", "service", "sysctl", "telinit", "update-passwd",
           "update-rc.d", "useradd", "userdel", "usermod", "groupadd", "groupdel", "groupmod", "vmstat", "vipw", "vigr")
_GONE = ("etc/apt", "etc/os-release", "etc/debian_version", "etc/systemd", "etc/network", "etc/init.d", "etc/default", "etc/logrotate.d",
         "etc/cron.d", "etc/cron.daily", "etc/adduser.conf", "etc/deluser.conf", "etc/login.defs", "etc/gshadow", "etc/gshadow-",
         "etc/shadow-", "etc/passwd-", "etc/group-", "etc/subuid", "etc/subgid", "etc/skel/.bashrc", "etc/rsyslog.conf", "etc/rsyslog.d",
         "etc/unbound", "etc/ssl/certs", "etc/sysctl.conf", "etc/sysctl.d", "etc/dpkg", "usr/lib/systemd/systemd", "etc/motd",
         "etc/rc0.d", "etc/rc1.d", "etc/rc2.d", "etc/rc3.d", "etc/rc4.d", "etc/rc5.d", "etc/rc6.d", "etc/rcS.d", "etc/bash.bashrc",
         "etc/crontab", "etc/cron.hourly", "etc/cron.weekly", "etc/cron.monthly", "etc/cron.yearly", "etc/profile.d", "etc/issue",
         "etc/issue.net", "usr/bin/python3", "usr/lib/python3.11/sitecustomize.py", "root/.bashrc", "etc/init", "etc/update-motd.d",
         "etc/redis", "etc/rspamd", "etc/apache2", "etc/apparmor.d", "etc/binfmt.d", "etc/dbus-1", "etc/dhcp", "etc/e2scrub.conf",
         "etc/hostname", "etc/insserv.conf.d", "etc/iproute2", "etc/kernel", "etc/lighttpd", "etc/logcheck", "etc/logrotate.conf",
         "etc/mke2fs.conf", "etc/modprobe.d", "etc/modules", "etc/modules-load.d", "etc/nanorc", "etc/nftables.conf", "etc/opt",
         "etc/resolvconf", "etc/runit", "etc/sv", "etc/tmpfiles.d", "etc/ucf.conf", "etc/udev", "etc/ufw", "etc/vim", "etc/xdg",
         "etc/dovecot", "usr/lib/sysusers.d")

# In which OpenBSD's example configuration differs from Debian's.
_DOVECOT_DEFAULTS = (
    ("conf.d/auth-system.conf.ext", "  driver = pam\n", "  driver = bsdauth\n"),
    ("conf.d/10-mail.conf", "\nmail_privileged_group = mail\n", "\n#mail_privileged_group =\n"),
    ("conf.d/10-mail.conf", "#mmap_disable = no", "mmap_disable = yes"),
    ("conf.d/10-mail.conf", "#mbox_write_locks = fcntl dotlock", "mbox_write_locks = fcntl"),
    ("conf.d/10-ssl.conf", "</etc/dovecot/private/dovecot.pem", "</etc/ssl/dovecotcert.pem"),
    ("conf.d/10-ssl.conf", "</etc/dovecot/private/dovecot.key", "</etc/ssl/private/dovecot.pem"),
    ("conf.d/10-ssl.conf", "\nssl_client_ca_dir = /etc/ssl/certs\n", "\n#ssl_client_ca_dir =\n"))


def recipe() -> list:
    """Return what the layer is made from; what is copied when a host is dressed is no part of it."""
    return [_STORED, _BASE, _BUILD, _SMTPD_SUITE, _SMTPD_VERSION, _SMTPD_OPTIONS, _SMTPD_EDIT, _HIDDEN, _GONE, _DOVECOT_DEFAULTS,
            (ROOM / "users.c").read_text(encoding="utf-8")]


def build(tree: pathlib.Path, scratch: pathlib.Path, below: list[pathlib.Path], mounted, group: str) -> None:
    """Make the layer. In a second, lost one the packages are fetched and smtpd is built."""
    work = scratch / "build"
    with mounted(work / "upper", work, below, group) as workshop:
        _fetch_and_build(workshop, group)
        with mounted(tree, scratch, below, group) as root:
            _assemble(root, workshop, group)


def _chroot(root: pathlib.Path, group: str, *words: str, directory: str = "/") -> str:
    script = ('mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; cd "$1"; shift; '
              'exec chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive '
              'sh -c \'cd "$0" && exec "$@"\' "$@"')
    # In a process namespace of its own: whatever a maintainer script starts ends with it.
    chroot = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, root)
    return run(*chroot, "/", directory, *words, group=group).stdout


def _fetch_and_build(root: pathlib.Path, group: str) -> None:
    apt = root / "etc/apt"
    (apt / "apt.conf.d/99build").write_text(f'Acquire::http::Proxy "http://127.0.0.1:{PROXY_PORT_OUTSIDE}";\n', encoding="ascii")
    source = next(line.split()[1] for line in (apt / "sources.list").read_text(encoding="utf-8").splitlines() if line.startswith("deb "))
    (apt / "sources.list.d/smtpd.list").write_text(f"deb-src {source} {_SMTPD_SUITE} main\n", encoding="ascii")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    _chroot(root, group, "apt-get", "-q", "update")
    for directory in ("packages/partial", "source"):
        (root / "root" / directory).mkdir(parents=True)
    install = ("apt-get", "-q", "-y", "--no-install-recommends", "install")
    _chroot(root, group, *install, "-o", "Dir::Cache::archives=/root/packages", "--download-only", *_STORED, *_BASE)
    _chroot(root, group, *install, *_BUILD)
    _build_smtpd(root, group)
    shutil.copy(ROOM / "users.c", root / "root/users.c")
    _chroot(root, group, "gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", "/root/users.so", "/root/users.c", "-ldl")


def _build_smtpd(root: pathlib.Path, group: str) -> None:
    """Build Debian's source of OpenSMTPD, without Debian's patches, with OpenBSD's paths and users."""
    versions = [line.split("|")[1].strip() for line in _chroot(root, group, "apt-cache", "madison", "opensmtpd").splitlines()
                if "Sources" in line]
    version = next(version for version in versions if version.startswith(_SMTPD_VERSION))
    uris = _chroot(root, group, "apt-get", "-qq", "source", "--print-uris", "--tar-only", f"opensmtpd={version}")
    uri, name, _size, digest = next(line.split() for line in uris.splitlines() if ".orig.tar." in line and ".asc" not in line)
    _chroot(root, group, "/usr/lib/apt/apt-helper", "download-file", uri.strip("'"), f"/root/{name}", digest)
    _chroot(root, group, "tar", "-xf", f"/root/{name}", "-C", "/root/source", "--strip-components=1")
    _chroot(root, group, "sed", "-i", _SMTPD_EDIT, "/root/source/usr.sbin/smtpd/smtpd.h")
    _chroot(root, group, "./configure", "--quiet", *_SMTPD_OPTIONS, directory="/root/source")
    libexec = "pkglibexecdir=/usr/local/libexec/smtpd"
    _chroot(root, group, "make", "--silent", f"-j{os.cpu_count()}", libexec, directory="/root/source")
    _chroot(root, group, "make", "--silent", "install", libexec, "DESTDIR=/root/smtpd", directory="/root/source")


def _assemble(root: pathlib.Path, workshop: pathlib.Path, group: str) -> None:
    top = root / TOP
    store = top / "store"
    store.mkdir(parents=True)
    for path in sorted((workshop / "root/packages").glob("*.deb")):
        name = path.name.partition("_")[0]
        target = root
        if name in _STORED:
            target = store / name
            target.mkdir()
        archive = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE)
        # Through tar, so that a directory that is a link below stays one.
        subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", target], stdin=archive.stdout, check=True)
        if archive.wait():
            raise SystemExit(f"testnet: cannot unpack {path.name}")
    _relocate_dovecot(root, workshop, group)
    _smtpd(root, workshop)
    # Debian's Python serves the simulated tools, its further modules whoever pkg_adds them.
    shutil.move(root / "usr/bin/python3.11", top / "python3")
    shutil.move(root / "usr/lib/python3/dist-packages", top / "python-packages")
    (root / "usr/lib/python3/dist-packages").mkdir()
    (top / "lib").mkdir()
    for name in _HIDDEN:
        for directory in ("usr/bin", "usr/sbin"):
            path = root / directory / name
            if path.is_symlink():
                path.unlink()
            elif path.exists():
                path.rename(top / "lib" / name)
    for name in ("unbound", "unbound-checkconf", "unbound-control"):
        (root / "usr/sbin" / name).rename(top / "lib" / name)
    bundle = (root / "etc/ssl/certs/ca-certificates.crt").read_bytes()
    for name in _GONE:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for pattern in ("usr/bin/systemd-*", "usr/bin/apt-*", "usr/bin/dpkg-*", "var/lib/apt/lists/*_*", "var/log/*.log"):
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (root / "etc/ssl/cert.pem").write_bytes(bundle)
    (root / "etc/ssl/certs").mkdir()
    (root / "etc/ssl/certs/ca-certificates.crt").symlink_to("../cert.pem")
    (root / "usr/bin/ksh").symlink_to("mksh")
    run("ldconfig", "-r", root)


def _relocate_dovecot(root: pathlib.Path, workshop: pathlib.Path, group: str) -> None:
    """Let Dovecot have OpenBSD's base directory, which happens to be as long as Debian's, and OpenBSD's users."""
    store = root / TOP / "store"
    programs = []
    for path in store.glob("dovecot-*/usr/**/*"):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if not data.startswith(b"\x7fELF"):
            continue
        # Of the same length by chance and by choice: a program's strings cannot grow.
        new = data.replace(b"/run/dovecot", b"/var/dovecot").replace(b"/usr/bin/doveconf", b"/usr/lib/doveconf")
        if new != data:
            path.write_bytes(new)
        if b"/ld-linux-" in data[:4096]:
            programs.append(path)
    for name, old, new in _DOVECOT_DEFAULTS:
        path = store / "dovecot-core/usr/share/dovecot" / name
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise SystemExit(f"testnet: Dovecot's {name} has no longer {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")
    library = root / TOP / "users.so"
    shutil.copy(workshop / "root/users.so", library)
    where = workshop / "root/programs"
    where.mkdir()
    for number, path in enumerate(programs):
        shutil.copy2(path, where / str(number))
    _chroot(workshop, group, "patchelf", "--add-needed", f"/{TOP}/users.so", *(f"/root/programs/{n}" for n in range(len(programs))))
    for number, path in enumerate(programs):
        shutil.copy2(where / str(number), path)


def _smtpd(root: pathlib.Path, workshop: pathlib.Path) -> None:
    made = workshop / "root/smtpd"
    for name in ("smtpd", "smtpctl"):
        shutil.copy2(made / "usr/sbin" / name, root / "usr/sbin" / name)
    control = root / "usr/sbin/smtpctl"
    os.chown(control, 0, 103)
    control.chmod(0o2555)
    for path in (made / "usr/local/libexec/smtpd").iterdir():
        if not path.name.startswith("mail."):
            continue
        shutil.copy2(path, root / "usr/libexec" / path.name)
        link = root / "usr/local/libexec/smtpd" / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/usr/libexec/{path.name}")


# Dressing

def dress(host: Host) -> None:
    """Write into a fresh tree what a fresh installation of OpenBSD has, and the simulated tools."""
    root = host.root
    top = root / TOP
    for name in ("simulated", "rc.d", "files"):
        shutil.copytree(ROOM / name, top / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOM / "run", top / "run")
    shutil.copytree(ROOM / "etc", root / "etc", dirs_exist_ok=True)
    shutil.copytree(ROOM / "var", root / "var", dirs_exist_ok=True)
    shutil.copy(ROOM / "sitecustomize.py", root / "usr/lib/python3.11/sitecustomize.py")
    sys.path.insert(0, str(ROOM))
    from simulated import index
    for path in index.PATHS:
        link = root / path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"/{TOP}/run")
    for source in sorted((ROOM / "bin").iterdir()):  # what GNU's tools understand and OpenBSD's do not
        target = root / "usr/bin" / source.name
        (top / "lib").mkdir(exist_ok=True)
        target.rename(top / "lib" / source.name)
        shutil.copy2(source, target)
    (root / "etc/rc.d").mkdir(exist_ok=True)
    for name in ("rc.subr", "cron", "httpd", "resolvd", "smtpd", "sshd", "syslogd", "unbound", "unwind"):
        shutil.copy2(ROOM / "rc.d" / name, root / "etc/rc.d" / name)
        (root / "etc/rc.d" / name).chmod(0o444 if name == "rc.subr" else 0o555)
    _directories(root)
    release = host.values.get("testnet_release", "7.9")
    if str(release) not in RELEASES:
        raise SystemExit(f"testnet: {host.name}: testnet_release {release!r} is not one of {', '.join(RELEASES)}")
    slaac = bool(host.values.get("testnet_slaac"))
    router = {"address": ipv6(host.number), "gateway": GATEWAY6, "nameservers": [ipv6(2)]} if slaac else {}
    _write(root / "var/db/simulation/host.json", json.dumps({"release": str(release), "router": router}))
    anchor = STATE / "root.ds"
    _write(root / "var/db/simulation/root.ds", anchor.read_text(encoding="ascii") if anchor.exists() else "")
    _write(root / "etc/motd", f"OpenBSD {release} (simulated): a test host made of Debian and simulated tools.\n")
    name = f"cloud-{host.number}.{host.zone}"  # what the installer was told is not the mail name
    _write(root / "etc/myname", f"{name}\n")
    _write(root / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{ipv4(host.number)} {name} cloud-{host.number}\n")
    inet6 = "autoconf" if slaac else f"{ipv6(host.number)} 64"
    _write(root / "etc/hostname.vio0", f"inet {ipv4(host.number)} 255.255.255.0\ninet6 {inet6}\n", 0o640)
    _write(root / "etc/mygate", f"{ipv4(1)}\n" + ("" if slaac else f"{ipv6(1)}\n"))
    _write(root / "etc/resolv.conf", f"nameserver {ipv4(2)}\nnameserver {ipv6(2)}\nlookup file bind\n")
    _write(root / "root/.ssh/authorized_keys", (STATE / "ssh/id_ed25519.pub").read_text(encoding="ascii"), 0o600)
    (root / "root/.ssh").chmod(0o700)
    for suffix, mode in (("", 0o600), (".pub", 0o644)):
        _write(root / f"etc/ssh/ssh_host_ed25519_key{suffix}", (STATE / f"ssh/host_ed25519{suffix}").read_text(encoding="ascii"), mode)
    inside = ("chroot", root, "env", "-i")
    run(*inside, "/usr/sbin/pwd_mkdb", "/etc/master.passwd")
    if not host.values.get("testnet_bare"):
        run(*inside, "/usr/sbin/pkg_add", "-I", "python%3")


def _directories(root: pathlib.Path) -> None:
    for path, owner, group, mode in (
            ("etc/acme", 0, 0, 0o700), ("etc/ssl/private", 0, 0, 0o700), ("etc/mail", 0, 0, 0o755), ("etc/login.conf.d", 0, 0, 0o755),
            ("var/empty", 0, 0, 0o755), ("var/www", 0, 1, 0o755), ("var/www/acme", 0, 1, 0o755), ("var/www/logs", 0, 1, 0o755),
            ("var/www/htdocs", 0, 1, 0o755), ("var/www/run", 0, 1, 0o755), ("var/cron/tabs", 0, 66, 0o1730), ("var/unbound", 0, 0, 0o755),
            ("var/unbound/etc", 0, 0, 0o755), ("var/unbound/db", 53, 53, 0o755), ("var/mail", 0, 0, 0o755), ("var/log", 0, 0, 0o755),
            ("usr/local/bin", 0, 0, 0o755), ("usr/local/sbin", 0, 0, 0o755), ("usr/local/lib", 0, 0, 0o755), ("home", 0, 0, 0o755)):
        directory = root / path
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, owner, group)
        directory.chmod(mode)
    bundle = root / "etc/ssl/cert.pem"
    os.chown(bundle, 0, 7)
    bundle.chmod(0o444)
    for path, mode in (("etc/master.passwd", 0o600), ("etc/doas.conf", 0o600), ("etc/pf.conf", 0o600)):
        if (root / path).exists():
            (root / path).chmod(mode)
    for path in (root / "var/log").iterdir():
        if not stat.S_ISREG(path.lstat().st_mode) and path.name in ("journal", "apt"):
            shutil.rmtree(path)
    for name in ("messages", "maillog", "authlog", "daemon", "cron", "secure"):
        _write(root / "var/log" / name, "", 0o640)


def _write(path: pathlib.Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as handle:
        handle.write(text)
        os.fchmod(handle.fileno(), mode)
