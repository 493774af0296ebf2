# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""user(8): useradd, usermod, userdel, userinfo, groupadd, groupmod, groupdel, groupinfo over OpenBSD's master.passwd.

Debian's passwd, shadow and group, which its libraries read, are derived from it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys

from simulated.common import Refusal, at, getopt, locked, need_root, program, read, write

_LOW, _HIGH = 1000, 60000
_LOGIN = re.compile(r"^[A-Za-z0-9._][A-Za-z0-9._-]{0,30}\$?$")
_BCRYPT = re.compile(r"^\$2[ab]\$\d\d\$[./A-Za-z0-9]{53}$")
_NO_PASSWORD = "*************"
_LOCK = "*"


@dataclasses.dataclass
class User:
    """A line of master.passwd(5)."""

    name: str
    password: str
    uid: int
    gid: int
    login_class: str
    change: int
    expire: int
    gecos: str
    home: str
    shell: str

    def line(self) -> str:
        """Return the line."""
        return ":".join(str(value) for value in dataclasses.astuple(self))


@dataclasses.dataclass
class Group:
    """A line of group(5)."""

    name: str
    gid: int
    members: list[str]

    def line(self) -> str:
        """Return the line."""
        return f"{self.name}:*:{self.gid}:{','.join(self.members)}"


def load_users() -> list[User]:
    """Return the users, in the file's order."""
    found = []
    for line in read("/etc/master.passwd").splitlines():
        name, password, uid, gid, login_class, change, expire, gecos, home, shell = line.split(":")
        found.append(User(name, password, int(uid), int(gid), login_class, int(change or 0), int(expire or 0), gecos, home, shell))
    return found


def load_groups() -> list[Group]:
    """Return the groups, in the file's order."""
    found = []
    for line in read("/etc/group").splitlines():
        name, _password, gid, members = line.split(":")
        found.append(Group(name, int(gid), [member for member in members.split(",") if member]))
    return found


def save_users(entries: list[User]) -> None:
    """Write master.passwd, and from it what pwd_mkdb and Debian's libraries need."""
    write("/etc/master.passwd", "".join(entry.line() + "\n" for entry in entries), 0o600)
    plain = (f"{e.name}:x:{e.uid}:{e.gid}:{e.gecos}:{e.home}:{e.shell}\n" for e in entries)
    write("/etc/passwd", "".join(plain))
    # A hash that crypt(3) of OpenBSD refuses must not open a door here either.
    shadow = (f"{e.name}:{e.password if _BCRYPT.match(e.password) else '*'}:20000:0:99999:7:::\n" for e in entries)
    write("/etc/shadow", "".join(shadow), 0o600)


def save_groups(entries: list[Group]) -> None:
    """Write group(5)."""
    write("/etc/group", "".join(entry.line() + "\n" for entry in entries))


def system_user(name: str, number: int, gecos: str, home: str, login_class: str) -> None:
    """Make the user and the group of a package, as @newuser and @newgroup do; one that is there already must be the same."""
    system_group(name, number)
    wanted = User(name, _NO_PASSWORD, number, number, login_class, 0, 0, gecos, home, "/sbin/nologin")
    with locked("users"):
        entries = load_users()
        found = next((entry for entry in entries if entry.name == name), None)
        if found is None:
            save_users([*entries, wanted])
        elif dataclasses.replace(found, password=_NO_PASSWORD, change=0, expire=0) != wanted:
            raise Refusal(f"user {name} does not match")


def system_group(name: str, number: int) -> None:
    """Make a package's group, as @newgroup does."""
    with locked("users"):
        groups = load_groups()
        found = next((group for group in groups if group.name == name), None)
        if found is None:
            save_groups([*groups, Group(name, number, [])])
        elif found.gid != number:
            raise Refusal(f"group {name} does not match")


def _fail(text: str) -> Refusal:
    return Refusal(f"{program()}: {text}")


def _find(entries: list, name: str, kind: str):
    for entry in entries:
        if entry.name == name:
            return entry
    raise _fail(f"No such {kind} `{name}'" if kind == "user" else f"no such group: `{name}'")


def _group_number(text: str, groups: list[Group]) -> int:
    for group in groups:
        if group.name == text:
            return group.gid
    if text.isdigit():
        # A number is taken only if a group has it.
        for group in groups:
            if group.gid == int(text):
                return group.gid
    raise _fail(f"group {text} not found")


def _password(text: str) -> str:
    if text in ("", "*", _NO_PASSWORD) or _BCRYPT.match(text):
        return text
    print(f"{program()}: Password `{text}' is invalid: setting it to `{_NO_PASSWORD}'", file=sys.stderr)
    return _NO_PASSWORD


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise _fail(f"{what} must be a number: `{text}'" if what != "uid" else "When using [-u uid], the uid must be numeric")
    return int(text)


def _login_class(name: str) -> str:
    known = re.findall(r"^([A-Za-z0-9_-]+)[:|]", read("/etc/login.conf"), re.MULTILINE)
    if name and name not in known and not at(f"/etc/login.conf.d/{name}").exists():
        raise _fail(f"No such login class: {name}")
    return name


def _secondary(names: list[str], groups: list[Group]) -> list[str]:
    wanted = [name for text in names for name in text.split(",") if name]
    for name in wanted:
        if name not in {group.name for group in groups}:
            raise _fail(f"group {name} not found" if not name.isdigit() else f"no group with gid {name}")
    if len(wanted) > 16:
        raise _fail(f"Too many secondary groups (max 16): {len(wanted)}")
    return wanted


_USERADD = """usage: useradd -D [-b base-directory] [-e expiry-time] [-f inactive-time]
               [-g gid | name | =uid] [-k skel-directory] [-L login-class]
               [-r low..high] [-s shell]
       useradd [-mov] [-b base-directory] [-c comment] [-d home-directory]
               [-e expiry-time] [-f inactive-time]
               [-G secondary-group[,group,...]] [-g gid | name | =uid]
               [-k skel-directory] [-L login-class] [-p password] [-r low..high]
               [-s shell] [-u uid] user"""


def useradd(argv: list[str]) -> int:
    """Add a user."""
    options, names = getopt(argv, "DG:L:b:c:d:e:f:g:k:mop:r:s:u:v", _USERADD)
    last = {letter: values[-1] for letter, values in options.items()}
    if "D" in options:
        print("group\t\t=uid\nbase_dir\t/home\nskel_dir\t/etc/skel\nshell\t\t/bin/ksh\nclass\t\t\ninactive\t0\nexpire\t\tNull (unset)")
        print(f"range\t\t{_LOW}..{_HIGH}")
        return 0
    if len(names) != 1:
        raise Refusal(_USERADD)
    need_root(f"{program()}: Program must be setuid root")
    name = names[0]
    if not _LOGIN.match(name):
        raise _fail(f"`{name}' is not a valid login name")
    low, high = _LOW, _HIGH
    if "r" in last:
        match = re.fullmatch(r"(\d+)\.\.(\d+)", last["r"])
        if not match or int(match[1]) > int(match[2]):
            raise _fail(f"Bad range `{last['r']}'")
        low, high = int(match[1]), int(match[2])
    with locked("users"):
        entries, groups = load_users(), load_groups()
        if name in {entry.name for entry in entries}:
            raise _fail(f"already a `{name}' user")
        taken = {entry.uid for entry in entries}
        if "u" in last:
            uid = _number(last["u"], "uid")
            if uid in taken and "o" not in options:
                raise _fail(f"uid {uid} is already in use")
        else:
            uid = next((number for number in range(low, high + 1) if number not in taken
                        and number not in {group.gid for group in groups}), -1)
            if uid < 0:
                raise _fail(f"can't get next uid in range {low}..{high}")
        wanted = last.get("g", "=uid")
        new_group = None
        if wanted == "=uid":
            if name in {group.name for group in groups}:
                raise _fail(f"group `{name}' already exists") if "g" in last else _fail(f"already a `{name}' group")
            if uid in {group.gid for group in groups}:
                raise _fail(f"gid {uid} is already in use")
            new_group = Group(name, uid, [])
            gid = uid
        else:
            gid = _group_number(wanted, groups)
        secondary = _secondary(options.get("G", []), groups)
        login_class = _login_class(last.get("L", ""))
        home = last.get("d") or f"{last.get('b', '/home')}/{name}"
        if "m" in options and os.path.lexists(at(home)):
            raise _fail(f"home directory `{home}' already exists")
        entry = User(name, _password(last.get("p", _NO_PASSWORD)), uid, gid, login_class, _number(last.get("f", "0"), "inactive-time"),
                     _number(last.get("e", "0"), "expiry-time"), last.get("c", ""), home, last.get("s", "/bin/ksh"))
        for group in groups:
            if group.name in secondary and name not in group.members:
                group.members.append(name)
        if "m" in options:
            _make_home(home, last.get("k", "/etc/skel"), uid, gid)
        elif not at(home).exists():
            print(f"{program()}: Warning: home directory `{home}' doesn't exist, and -m was not specified", file=sys.stderr)
        save_groups([*groups, new_group] if new_group else groups)
        save_users([*entries, entry])
    return 0


def _make_home(home: str, skeleton: str, uid: int, gid: int) -> None:
    target = at(home)
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True)
    target.mkdir(mode=0o755)
    os.chown(target, uid, gid)
    source = at(skeleton)
    for entry in sorted(source.iterdir()) if source.is_dir() else []:
        if entry.is_file():
            shutil.copy(entry, target / entry.name)
            os.chown(target / entry.name, uid, gid)


_USERMOD = """usage: usermod [-moUvZ] [-c comment] [-d home-directory] [-e expiry-time]
               [-f inactive-time] [-G secondary-group[,group,...]]
               [-g gid | name | =uid] [-L login-class] [-l new-login]
               [-p password] [-S secondary-group[,group,...]]
               [-s shell] [-u uid] user"""


def usermod(argv: list[str]) -> int:
    """Change a user."""
    options, names = getopt(argv, "G:L:S:UZc:d:e:f:g:l:mop:s:u:v", _USERMOD)
    last = {letter: values[-1] for letter, values in options.items()}
    if len(names) != 1 or not set(options) - {"v"}:
        raise Refusal(_USERMOD)
    if "U" in options and "Z" in options:
        raise _fail("options 'U' and 'Z' are mutually exclusive")
    if "m" in options and "d" not in options:
        raise _fail("option 'm' useless without 'd' or 'l' -- ignored") if "l" not in options else _fail("nothing to move")
    need_root(f"{program()}: Program must be setuid root")
    with locked("users"):
        entries, groups = load_users(), load_groups()
        entry = _find(entries, names[0], "user")
        old = entry.name
        if "l" in last and last["l"] != old:
            if not _LOGIN.match(last["l"]):
                raise _fail(f"`{last['l']}' is not a valid login name")
            if last["l"] in {other.name for other in entries}:
                raise _fail(f"already a `{last['l']}' user")
            entry.name = last["l"]
            for group in groups:
                group.members = [entry.name if member == old else member for member in group.members]
        if "u" in last:
            uid = _number(last["u"], "uid")
            if "o" not in options and any(other.uid == uid for other in entries if other is not entry):
                raise _fail(f"uid {uid} is already in use")
            entry.uid = uid
        if "g" in last:
            entry.gid = entry.uid if last["g"] == "=uid" else _group_number(last["g"], groups)
        if "L" in last:
            entry.login_class = _login_class(last["L"])
        if "p" in last:
            entry.password = _password(last["p"])
        if "Z" in options:
            if entry.password.startswith(_LOCK) or entry.shell.endswith("-"):
                print(f"{program()}: user '{entry.name}' is already locked", file=sys.stderr)
            else:
                entry.password, entry.shell = _LOCK + entry.password, entry.shell + "-"
        if "U" in options:
            if not entry.password.startswith(_LOCK) or entry.password in ("*", _NO_PASSWORD):
                raise _fail(f"user '{entry.name}' is not locked")
            entry.password, entry.shell = entry.password[1:], entry.shell.removesuffix("-")
        if "m" in options and last["d"] != entry.home and at(entry.home).is_dir():
            if at(last["d"]).exists():
                raise _fail(f"can't move `{entry.home}' to `{last['d']}'")
            at(entry.home).rename(at(last["d"]))
        for letter, field in (("c", "gecos"), ("d", "home"), ("s", "shell")):
            if letter in last:
                setattr(entry, field, last[letter])
        for letter, field, what in (("e", "expire", "expiry-time"), ("f", "change", "inactive-time")):
            if letter in last:
                setattr(entry, field, _number(last[letter] or "0", what))
        if "S" in options:
            wanted = _secondary(options["S"], groups)
            for group in groups:
                group.members = [member for member in group.members if member != entry.name]
        else:
            wanted = []
        wanted += _secondary(options.get("G", []), groups)
        for group in groups:
            if group.name in wanted and entry.name not in group.members:
                group.members.append(entry.name)
        save_groups(groups)
        save_users(entries)
    return 0


_USERDEL = "usage: userdel -D [-p preserve-value]\n       userdel [-rv] [-p preserve-value] user"


def userdel(argv: list[str]) -> int:
    """Remove a user."""
    options, names = getopt(argv, "Dp:rv", _USERDEL)
    if len(names) != 1:
        raise Refusal(_USERDEL)
    need_root(f"{program()}: Program must be setuid root")
    with locked("users"):
        entries, groups = load_users(), load_groups()
        entry = _find(entries, names[0], "user")
        if "r" in options and at(entry.home).is_dir():
            shutil.rmtree(at(entry.home))
        for group in groups:
            group.members = [member for member in group.members if member != entry.name]
        # The group of the same name goes with its user, unless others are in it.
        groups = [group for group in groups if not (group.name == entry.name and group.gid == entry.gid and not group.members)]
        save_groups(groups)
        save_users([other for other in entries if other is not entry])
    return 0


def userinfo(argv: list[str]) -> int:
    """Show a user."""
    usage = "usage: userinfo [-e] user"
    options, names = getopt(argv, "e", usage)
    if len(names) != 1:
        raise Refusal(usage)
    entries = [entry for entry in load_users() if names[0] in (entry.name, str(entry.uid))]
    if "e" in options:
        return 0 if entries else 1
    if not entries:
        raise _fail(f"can't find user `{names[0]}'")
    entry = entries[0]
    groups = [group.name for group in load_groups() if group.gid == entry.gid or entry.name in group.members]
    for key, value in (("login", entry.name), ("passwd", "*"), ("uid", entry.uid), ("groups", " ".join(groups)),
                       ("change", "NEVER"), ("class", entry.login_class), ("gecos", entry.gecos), ("dir", entry.home),
                       ("shell", entry.shell), ("expire", "NEVER")):
        print(f"{key}\t{value}")
    return 0


def groupadd(argv: list[str]) -> int:
    """Add a group."""
    usage = "usage: groupadd [-ov] [-g gid] group"
    options, names = getopt(argv, "g:ov", usage)
    if len(names) != 1:
        raise Refusal(usage)
    need_root(f"{program()}: Program must be setuid root")
    with locked("users"):
        groups = load_groups()
        if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,30}", names[0]):
            raise _fail(f"invalid group name `{names[0]}'")
        if names[0] in {group.name for group in groups}:
            raise _fail(f"group `{names[0]}' already exists")
        taken = {group.gid for group in groups}
        gid = _number(options["g"][-1], "gid") if "g" in options else next(n for n in range(_LOW, _HIGH + 1) if n not in taken)
        if gid in taken and "o" not in options:
            raise _fail(f"gid {gid} is already in use")
        save_groups([*groups, Group(names[0], gid, [])])
    return 0


def groupmod(argv: list[str]) -> int:
    """Change a group."""
    usage = "usage: groupmod [-ov] [-g gid] [-n newname] group"
    options, names = getopt(argv, "g:n:ov", usage)
    if len(names) != 1 or not {"g", "n"} & set(options):
        raise Refusal(usage)
    need_root(f"{program()}: Program must be setuid root")
    with locked("users"):
        groups = load_groups()
        group = _find(groups, names[0], "group")
        if "n" in options:
            if options["n"][-1] in {other.name for other in groups}:
                raise _fail(f"group `{options['n'][-1]}' already exists")
            group.name = options["n"][-1]
        if "g" in options:
            gid = _number(options["g"][-1], "gid")
            if "o" not in options and gid in {other.gid for other in groups if other is not group}:
                raise _fail(f"gid {gid} is already in use")
            group.gid = gid
        save_groups(groups)
    return 0


def groupdel(argv: list[str]) -> int:
    """Remove a group."""
    usage = "usage: groupdel [-v] group"
    _options, names = getopt(argv, "v", usage)
    if len(names) != 1:
        raise Refusal(usage)
    need_root(f"{program()}: Program must be setuid root")
    with locked("users"):
        groups = load_groups()
        group = _find(groups, names[0], "group")
        save_groups([other for other in groups if other is not group])
    return 0


def groupinfo(argv: list[str]) -> int:
    """Show a group."""
    usage = "usage: groupinfo [-ev] group"
    options, names = getopt(argv, "ev", usage)
    if len(names) != 1:
        raise Refusal(usage)
    found = [group for group in load_groups() if names[0] in (group.name, str(group.gid))]
    if "e" in options:
        return 0 if found else 1
    if not found:
        raise _fail(f"can't find group `{names[0]}'")
    print(f"name\t{found[0].name}\npasswd\t*\ngid\t{found[0].gid}\nmembers\t{' '.join(found[0].members)}")
    return 0


def user(argv: list[str]) -> int:
    """Dispatch: user add, user mod, ..."""
    return _dispatch("user", argv, {"add": useradd, "mod": usermod, "del": userdel, "info": userinfo})


def group(argv: list[str]) -> int:
    """Dispatch: group add, group mod, ..."""
    return _dispatch("group", argv, {"add": groupadd, "mod": groupmod, "del": groupdel, "info": groupinfo})


def _dispatch(name: str, argv: list[str], verbs: dict) -> int:
    if not argv or argv[0] not in verbs:
        raise Refusal("\n".join(f"usage: {name} {verb} ..." for verb in verbs))
    return verbs[argv[0]](argv[1:])


def pwd_mkdb(argv: list[str]) -> int:
    """Derive everything from master.passwd once more, after someone edited it."""
    _options, names = getopt(argv, "cd:psu:", "usage: pwd_mkdb [-c] [-p | -s] [-d directory] [-u username] file")
    if names not in (["/etc/master.passwd"], ["master.passwd"]):
        raise Refusal("usage: pwd_mkdb [-c] [-p | -s] [-d directory] [-u username] file")
    need_root("pwd_mkdb: need root privileges")
    save_users(load_users())
    return 0
