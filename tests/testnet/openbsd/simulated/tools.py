# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""stat(1) and date(1) as BSD has them, and wrappers around Debian's daemons that have other defaults."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat as modes
import subprocess
import sys
import time

from simulated.common import Refusal, at, getopt, program, read, write

_LIB = "/usr/lib/simulation/lib"


def _names(path: str, follow: bool) -> tuple[os.stat_result, str]:
    found = os.stat(path) if follow else os.lstat(path)
    return found, (os.readlink(path) if modes.S_ISLNK(found.st_mode) else "")


def _datum(letters: str, path: str, found: os.stat_result, target: str, timefmt: str) -> str:
    match = re.fullmatch(r"([#+ 0-]*)(\d*)(?:\.(\d+))?([DOUXFS]?)([HML]?)([dilpugsamcrzbkfvNTYZ])", letters)
    if not match:
        raise Refusal(f"stat: bad format: %{letters}")
    form, part, letter = match[4], match[5], match[6]
    name = {"N": path, "Y": target, "T": _kind(found, form)}.get(letter)
    if name is not None:
        return name
    if letter in "amcb":
        moment = {"a": found.st_atime, "m": found.st_mtime, "c": found.st_ctime, "b": found.st_ctime}[letter]
        return time.strftime(timefmt or "%b %e %H:%M:%S %Y", time.localtime(moment)) if form == "S" else str(int(moment))
    if letter == "u" and form == "S":
        try:
            return pwd.getpwuid(found.st_uid).pw_name
        except KeyError:
            return str(found.st_uid)
    if letter == "g" and form == "S":
        try:
            return grp.getgrgid(found.st_gid).gr_name
        except KeyError:
            return str(found.st_gid)
    if letter == "p":
        if form == "S":
            return modes.filemode(found.st_mode) + " "
        value = {"": found.st_mode, "H": found.st_mode >> 12, "M": (found.st_mode >> 9) & 7, "L": found.st_mode & 0o777}[part]
        return {"D": "{:d}", "X": "{:x}", "U": "{:d}"}.get(form, "{:o}").format(value)
    number = {"d": found.st_dev, "i": found.st_ino, "l": found.st_nlink, "u": found.st_uid, "g": found.st_gid, "s": found.st_size,
              "z": found.st_size, "r": found.st_rdev, "k": found.st_blksize, "f": 0, "v": 0}.get(letter, found.st_size)
    return {"O": "{:o}", "X": "{:x}"}.get(form, "{:d}").format(number)


def _kind(found: os.stat_result, form: str) -> str:
    kinds = ((modes.S_ISDIR, "/", "Directory"), (modes.S_ISLNK, "@", "Symbolic Link"), (modes.S_ISSOCK, "=", "Socket"),
             (modes.S_ISFIFO, "|", "Fifo File"))
    for test, short, long in kinds:
        if test(found.st_mode):
            return long if form != "S" and form == "H" else short
    return "*" if found.st_mode & 0o111 else ""


_FIXED = {"%%": "%", "%n": "\n", "%t": "\t"}


def stat(argv: list[str]) -> int:
    """Show what stat(2) says; -c and long options of GNU's are unknown."""
    usage = "usage: stat [-FLnq] [-f format | -l | -r | -s | -x] [-t timefmt] [file ...]"
    options, names = getopt(argv, "f:FLlnqrst:x", usage)
    form = options.get("f", ["%d %i %Sp %l %Su %Sg %r %z \"%Sa\" \"%Sm\" \"%Sc\" %k %b %N"])[-1]
    if {"r", "s", "x"} & set(options):
        raise Refusal(f"stat: -{min({'r', 's', 'x'} & set(options))}: not simulated; use -f")
    if "l" in options:
        form = "%Sp %l %Su %Sg %z %Sm %N"
    code = 0
    for path in names:
        try:
            found, target = _names(path, "L" in options)
        except OSError as exc:
            if "q" not in options:
                print(f"stat: {path}: {exc.strerror}", file=sys.stderr)
            code = 1
            continue
        timefmt = options.get("t", [""])[-1]
        parts = re.split(r"(%%|%n|%t|%[#+ 0-]*\d*(?:\.\d+)?[DOUXFS]?[HML]?[a-zA-Z])", form)
        text = "".join(_FIXED.get(part) or (_datum(part[1:], path, found, target, timefmt) if part.startswith("%") else part)
                       for part in parts)
        print(text, end="" if "n" in options else "\n")
    return code


def date(argv: list[str]) -> int:
    """Print a moment; -d and -I of GNU's are unknown."""
    usage = "usage: date [-aju] [-f pformat] [-r seconds] [-z output_zone] [+format] [[[[[[cc]yy]mm]dd]HH]MM[.SS]]"
    options, words = getopt(argv, "ajuf:r:z:", usage)
    if "u" in options or "z" in options:
        os.environ["TZ"] = options.get("z", ["UTC"])[-1] if "u" not in options else "UTC"
        time.tzset()
    moment = time.time()
    form = "%a %b %e %H:%M:%S %Z %Y"
    if "r" in options:
        if not re.fullmatch(r"-?\d+", options["r"][-1]):
            raise Refusal(f"date: invalid seconds: {options['r'][-1]}")
        moment = float(options["r"][-1])
    given = [word for word in words if not word.startswith("+")]
    formats = [word[1:] for word in words if word.startswith("+")]
    if len(given) > 1 or len(formats) > 1:
        raise Refusal(usage)
    if given:
        try:
            if "f" in options:
                moment = time.mktime(time.strptime(given[0], options["f"][-1]))
            else:
                digits, _dot, seconds = given[0].partition(".")
                now = time.localtime()
                whole = time.strftime("%Y%m%d%H%M", now)
                if not digits.isdigit() or len(digits) % 2 or len(digits) > 12:
                    raise ValueError
                century = whole[:2] if len(digits) == 10 else ""
                digits = whole[:12 - len(digits) - len(century)] + century + digits if len(digits) != 12 else digits
                moment = time.mktime(time.strptime(digits + (seconds or "00"), "%Y%m%d%H%M%S"))
        except ValueError:
            raise Refusal(f"date: illegal time format\n{usage}") from None
        if "j" not in options:
            raise Refusal("date: settimeofday: Operation not permitted")
    print(time.strftime(formats[0] if formats else form, time.localtime(moment)))
    return 0


def syslogd(_argv: list[str]) -> int:
    """Write logs as /etc/syslog.conf says."""
    write("/run/simulation-rsyslog.conf", 'module(load="imuxsock")\n$FileCreateMode 0640\n$WorkDirectory /run\n'
          'include(file="/etc/syslog.conf")\n')
    os.execv(f"{_LIB}/rsyslogd", [f"{_LIB}/rsyslogd", "-f", "/run/simulation-rsyslog.conf", "-i", "/run/syslog.pid"])


# OpenBSD's unbound has other defaults compiled in: they are set before the configuration is read.
_CHROOT = "/var/unbound"
_UNBOUND = f'server:\n\tusername: "_unbound"\n\tchroot: "{_CHROOT}"\n\tdirectory: "{_CHROOT}/etc"\n\tpidfile: ""\n\tuse-syslog: yes\n'
# What unbound-anchor has compiled in: of the test network's root, as that is the one that its servers are signed from.
_ROOT_ANCHOR = "/var/db/simulation/root.ds"


def unbound(argv: list[str]) -> int:
    """Run unbound, unbound-checkconf, unbound-control or unbound-anchor with OpenBSD's defaults."""
    name = program()
    words = list(argv)
    path = "/var/unbound/etc/unbound.conf"
    if name == "unbound-anchor":
        options, operands = getopt(argv, "a:c:C:Df:Fhlr:Rs:u:vx:n:b:P:", "Usage:\tunbound-anchor [opts]")
        target = options.get("a", [f"{_CHROOT}/db/root.key"])[-1]
        if operands or read(target).strip():
            return 0
        anchor = read(_ROOT_ANCHOR)
        if not anchor or not at(target).parent.is_dir():
            print(f"{target}: No such file or directory", file=sys.stderr)
            return 1
        write(target, anchor)
        return 1  # "updated", as the real one ends
    if name == "unbound-checkconf":
        operands = [word for word in words if not word.startswith("-")]
        path = operands[0] if operands and not words[0].startswith("-o") else path
        if not at(path).exists():
            raise Refusal(f"[1] unbound-checkconf[1:0] fatal error: could not open {path}: No such file or directory")
        for anchor in re.findall(r'^\s*auto-trust-anchor-file:\s*"?([^"\n]+)"?', read(path), re.MULTILINE):
            # Inside of the chroot, and not empty.
            inside = anchor if anchor.startswith(f"{_CHROOT}/") else f"{_CHROOT}/{anchor.lstrip('/')}"
            if not read(inside).strip():
                words = f'auto-trust-anchor-file: "{inside}" does not exist in chrootdir {_CHROOT}'
                raise Refusal(f"[1] unbound-checkconf[1:0] fatal error: {words}")
        merged = _merged(path, f"{_CHROOT}/etc/.simulation-check-{os.getpid()}.conf")
        argv = [f"{_LIB}/{name}", *[word for word in words if word != path], merged]
        check = subprocess.run(argv, capture_output=True, text=True, check=False)
        os.unlink(merged)
        print(check.stdout.replace(merged, path), end="")
        print(check.stderr, end="", file=sys.stderr)
        return check.returncode
    if "-c" in words:
        index = words.index("-c") + 1
        path = words[index] if index < len(words) else path
        del words[index - 1:index + 1]
    if not os.path.exists(path):
        raise Refusal(f"[1] {name}[1:0] error: Could not open {path}: No such file or directory")
    merged = _merged(path, f"{_CHROOT}/.simulation-{name}.conf")
    os.execv(f"{_LIB}/{name}", [f"/usr/sbin/{name}", "-c", merged, *words])


def _merged(path: str, target: str) -> str:
    write(target, f'{_UNBOUND}include: "{path}"\n')
    return target


for _name in ("unbound_checkconf", "unbound_control", "unbound_anchor"):
    globals()[_name] = unbound
