# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""rcctl(8), and the part of rc.subr(8) that starts a daemon in its login class."""

from __future__ import annotations

import grp
import os
import pwd
import re
import resource
import shlex
import subprocess
import sys

from simulated.common import PATH, Refusal, at, locked, need_root, read, write

_SPECIAL = ("accounting", "check_quotas", "ipsec", "library_aslr", "multicast", "pf", "spamd_black")
_VARIABLES = ("class", "execdir", "flags", "logger", "rtable", "status", "timeout", "user")
_READ_ONLY = {"class": "login.conf(5)"}
_USAGE = """usage: rcctl get|getdef|set service | daemon [variable [arguments]]
       rcctl [-dfq] check|configtest|reload|restart|start|stop daemon ...
       rcctl disable|enable|order [daemon ...]
       rcctl ls all|failed|off|on|rogue|started|stopped"""


def parse(path: str) -> dict[str, str]:
    """Return the variables of rc.conf(8) or rc.conf.local(8)."""
    found = {}
    for line in read(path).splitlines():
        match = re.match(r"^\s*([A-Za-z0-9_]+)\s*=\s*(.*?)\s*(?:#.*)?$", line)
        if match:
            value = match[2]
            found[match[1]] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    return found


class Services:
    """What rc.conf and rc.conf.local say, taken together."""

    def __init__(self) -> None:
        self.default = parse("/etc/rc.conf")
        self.local = parse("/etc/rc.conf.local")

    @property
    def package_scripts(self) -> list[str]:
        """pkg_scripts, in order."""
        return self.local.get("pkg_scripts", "").split()

    def exists(self, name: str) -> bool:
        """Tell whether there is such a service."""
        if name in _SPECIAL:
            return True
        path = at(f"/etc/rc.d/{name}")
        return name != "rc.subr" and re.fullmatch(r"[A-Za-z_0-9-]+", name) is not None and path.is_file() and os.access(path, os.X_OK)

    def base(self, name: str) -> bool:
        """Tell whether it belongs to the base system."""
        return f"{name}_flags" in self.default

    def enabled(self, name: str) -> bool:
        """Tell whether it starts at boot."""
        if name in _SPECIAL:
            return {**self.default, **self.local}.get(name) == "YES"
        if self.base(name):
            return {**self.default, **self.local}[f"{name}_flags"] != "NO"
        return name in self.package_scripts

    def script(self, name: str) -> dict[str, str]:
        """Return the variables that a script of rc.d sets."""
        wanted = "class flags logger rtable timeout user execdir"
        code = (f"FUNCS_ONLY=1; . {at(f'/etc/rc.d/{name}')}; "
                f'for v in {wanted}; do eval "echo \\"$v=\\${{daemon_$v}}\\""; done')
        done = subprocess.run(["/bin/ksh", "-c", code], capture_output=True, text=True, check=False,
                              env={"PATH": PATH, "RC_SCRIPT": name, "SIMULATED_ROOT": os.environ.get("SIMULATED_ROOT", "")})
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def value(self, name: str, variable: str, default: bool = False) -> str:
        """Return what get or getdef shows for one variable."""
        local = {} if default else self.local
        if variable == "status":
            raise KeyError(variable)
        if name in _SPECIAL:
            return {**self.default, **local}.get(name, "NO")
        key = f"{name}_{variable}"
        if variable == "flags":
            if self.base(name):
                flags = {**self.default, **local}[key]
                if flags == "NO":
                    return "NO"
            elif (not default and not self.enabled(name)) or default:
                return "NO"
            else:
                flags = local.get(key, "")
            return flags or self.script(name).get("flags", "")
        if variable == "class":
            return daemon_class(name)
        return local.get(key) or self.script(name).get(variable, "") or {"rtable": "0", "timeout": "30", "user": "root"}.get(variable, "")


def daemon_class(name: str) -> str:
    """Return the login class that a daemon runs in: one of its own name, or daemon."""
    return name if name in classes() else "daemon"


def classes() -> dict[str, dict[str, str]]:
    """Return the capabilities of all login classes; a file in login.conf.d wins over login.conf."""
    found: dict[str, dict[str, str]] = {}
    texts = [read("/etc/login.conf")]
    directory = at("/etc/login.conf.d")
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if path.is_file() and not path.name.endswith(".db"):
            texts.append(path.read_text(encoding="utf-8"))
    for text in texts:
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            names, *capabilities = line.split(":")
            values = {}
            for capability in capabilities:
                key, _sign, value = capability.strip().partition("=")
                if key:
                    values[key] = value
            for name in names.split("|"):
                found[name.strip()] = values
    return found


def capability(name: str, key: str, seen: tuple[str, ...] = ()) -> str:
    """Return a class's capability, following tc=."""
    values = classes().get(name, {})
    if key in values:
        return values[key]
    following = values.get("tc", "")
    return capability(following, key, (*seen, name)) if following and following not in seen else ""


def _edit(changes: dict[str, str | None]) -> None:
    """Change rc.conf.local; None takes a variable out."""
    with locked("rc.conf.local"):
        lines = read("/etc/rc.conf.local").splitlines()
        for key, value in changes.items():
            lines = [line for line in lines if not re.match(rf"^\s*{re.escape(key)}\s*=", line)]
            if value is not None:
                lines.append(f"{key}={value}")
        if lines:
            write("/etc/rc.conf.local", "".join(line + "\n" for line in sorted(lines)))
        else:
            at("/etc/rc.conf.local").unlink(missing_ok=True)


def _status(services: Services, name: str, wanted: bool) -> None:
    if name in _SPECIAL:
        default = services.default.get(name, "NO") == "YES"
        _edit({name: None if wanted == default else ("YES" if wanted else "NO")})
    elif services.base(name):
        key = f"{name}_flags"
        off_by_default = services.default[key] == "NO"
        if wanted:
            local = services.local.get(key)
            kept = local if local not in (None, "NO", "") else None
            _edit({key: kept or "" if off_by_default else kept})
        else:
            _edit({key: None if off_by_default else "NO"})
    else:
        names = [other for other in services.package_scripts if other != name or wanted]
        if wanted and name not in names:
            names.append(name)
        changes: dict[str, str | None] = {"pkg_scripts": " ".join(names) or None}
        if not wanted:
            changes.update({key: None for key in services.local if re.fullmatch(rf"{re.escape(name)}_({'|'.join(_VARIABLES)})", key)})
        _edit(changes)


def _set(services: Services, name: str, variable: str, words: list[str]) -> int:
    if variable == "status":
        if words not in (["on"], ["off"]):
            raise Refusal(_USAGE)
        _status(services, name, words == ["on"])
        return 0
    if variable in _READ_ONLY:
        raise Refusal(f'rcctl: "{variable}" is a read-only variable set in {_READ_ONLY[variable]}')
    if name in _SPECIAL:
        raise Refusal(f'rcctl: "{name}" is a special variable, cannot set "{variable}"')
    if not services.enabled(name):
        raise Refusal(f'rcctl: "{name}" is not enabled')
    value = " ".join(words)
    if variable == "flags" and value == "NO":
        raise Refusal('rcctl: "flags NO" contradicts "set"')
    if variable in ("rtable", "timeout") and value and not value.isdigit():
        raise Refusal(f'rcctl: "{variable}" must be a number: {value}')
    if variable == "user" and value:
        try:
            pwd.getpwnam(value)
        except KeyError:
            raise Refusal(f'rcctl: user "{value}" does not exist') from None
    default = services.script(name).get(variable, "") or {"rtable": "0", "timeout": "30", "user": "root"}.get(variable, "")
    keep_empty = variable == "flags" and services.base(name) and services.default[f"{name}_flags"] == "NO"
    _edit({f"{name}_{variable}": (value if value != default else "") if keep_empty else (value if value and value != default else None)})
    return 0


def _get(services: Services, name: str, variable: str, default: bool = False) -> int:
    on = services.enabled(name) if not default else (
        services.default.get(name if name in _SPECIAL else f"{name}_flags", "NO") not in ("NO",))
    if variable == "status":
        pass
    elif variable:
        print(services.value(name, variable, default))
    elif name in _SPECIAL:
        print(f"{name}={services.value(name, 'flags', default)}")
    else:
        for key in _VARIABLES:
            if key != "status":
                print(f"{name}_{key}={services.value(name, key, default)}")
    return 0 if on else 1


def _names() -> list[str]:
    directory = at("/etc/rc.d")
    return sorted(path.name for path in directory.iterdir() if path.name != "rc.subr" and os.access(path, os.X_OK))


def _run(name: str, words: list[str], quiet: bool = False) -> int:
    sys.stdout.flush()
    script = at(f"/etc/rc.d/{name}")
    output = subprocess.DEVNULL if quiet else None
    # Scripts of rc.d may not rely on whoever calls: Ansible hands rcctl an empty environment.
    environment = {key: value for key, value in os.environ.items() if key == "SIMULATED_ROOT"}
    return subprocess.run([str(script), *words], check=False, stdout=output, stderr=output, env=environment).returncode


def _list(services: Services, what: str) -> int:
    names = _names()
    if what == "all":
        chosen = [*names, *_SPECIAL]
    elif what in ("on", "off"):
        chosen = [name for name in [*names, *_SPECIAL] if services.enabled(name) == (what == "on")]
    else:
        running = {name: _run(name, ["check"], quiet=True) == 0 for name in names}
        test = {"started": lambda name: running[name], "stopped": lambda name: not running[name],
                "failed": lambda name: not running[name] and services.enabled(name),
                "rogue": lambda name: running[name] and not services.enabled(name)}[what]
        chosen = [name for name in names if test(name)]
        for name in sorted(chosen):
            print(name)
        return 1 if what == "failed" and chosen else 0
    for name in sorted(chosen):
        print(name)
    return 0


def _order(services: Services, names: list[str]) -> int:
    if not names:
        if services.package_scripts:
            print(" ".join(services.package_scripts))
        return 0
    need_root("rcctl order: need root privileges")
    for name in names:
        if name not in services.package_scripts:
            raise Refusal(f"rcctl: {name} is not enabled" if services.exists(name) else f"rcctl: service {name} does not exist",
                          1 if services.exists(name) else 2)
    _edit({"pkg_scripts": " ".join([*names, *(name for name in services.package_scripts if name not in names)])})
    return 0


def rcctl(argv: list[str]) -> int:
    """Configure and control services."""
    flags = []
    while argv and argv[0].startswith("-"):
        word = argv.pop(0)
        if not re.fullmatch("-[dfq]+", word):
            raise Refusal(_USAGE)
        flags += [f"-{letter}" for letter in word[1:]]
    if not argv:
        raise Refusal(_USAGE)
    action, *words = argv
    services = Services()
    if action == "ls":
        if len(words) != 1 or words[0] not in ("all", "failed", "off", "on", "rogue", "started", "stopped"):
            raise Refusal(_USAGE)
        return _list(services, words[0])
    if action == "order":
        return _order(services, words)
    if action in ("get", "getdef"):
        if words in ([], ["all"]):
            for name in [*_names(), *_SPECIAL]:
                _get(services, name, "", action == "getdef")
            return 0
        name, *rest = words
        _exists(services, name)
        if len(rest) > 1 or (rest and rest[0] not in _VARIABLES):
            raise Refusal(_USAGE)
        return _get(services, name, rest[0] if rest else "", action == "getdef")
    if action == "set":
        if len(words) < 2 or words[1] not in _VARIABLES:
            raise Refusal(_USAGE)
        # Something that is gone can be switched off.
        if words[1:] != ["status", "off"]:
            _exists(services, words[0])
        need_root("rcctl set: need root privileges")
        return _set(services, words[0], words[1], words[2:])
    if action in ("enable", "disable"):
        if not words:
            raise Refusal(_USAGE)
        if action == "enable":
            for name in words:
                _exists(services, name)
        need_root(f"rcctl {action}: need root privileges")
        for name in words:
            _status(Services(), name, action == "enable")
        return 0
    if action not in ("check", "configtest", "reload", "restart", "start", "stop"):
        raise Refusal(_USAGE)
    if not words:
        raise Refusal(_USAGE)
    for name in words:
        _exists(services, name)
        if name in _SPECIAL:
            raise Refusal(f'rcctl: "{name}" is a special variable, no rc.d(8) script')
    code = 0
    for name in words:
        code = _run(name, [flag for flag in flags if flag != "-q"] + [action], quiet="-q" in flags) or code
    return code


def _exists(services: Services, name: str) -> None:
    if not services.exists(name):
        raise Refusal(f"rcctl: service {name} does not exist", 2)


def rc_exec(argv: list[str]) -> int:
    """For rc.subr: run a command as a user in a login class, as `su -fl -c CLASS -s /bin/sh USER -c COMMAND` does."""
    login_class, name, logger, directory, command = argv
    entry = pwd.getpwnam(name)
    current, most = capability(login_class, "openfiles-cur"), capability(login_class, "openfiles-max")
    limit = capability(login_class, "openfiles")
    current, most = current or limit, most or limit or current
    if current:
        hard = max(int(most or current), int(current))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(current), hard))
        except ValueError:  # a container that may not raise its limits: as far as they go
            allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(int(current), allowed), min(hard, allowed)))
    groups = [group.gr_gid for group in grp.getgrall() if name in group.gr_mem]
    os.setgroups([entry.pw_gid, *groups])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.chdir(directory or "/")
    os.umask(0o022)
    if logger:
        command = f"{{ {command}; }} 2>&1 | exec logger -p {shlex.quote(logger)} -t {shlex.quote(login_class)}"
    environment = {"PATH": PATH, "HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh"}
    os.execve("/bin/sh", ["/bin/sh", "-c", command], environment)
