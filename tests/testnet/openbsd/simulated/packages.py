# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pkg_add(1), pkg_info(1), pkg_delete(1): they put in place what the store of the simulation holds."""

from __future__ import annotations

import fnmatch
import grp
import importlib
import json
import os
import pwd
import re
import shutil
import sys

from simulated import users
from simulated.common import HERE, Refusal, at, getopt, locked, need_root, program, read, release, write
from simulated.releases import CONTENT, Content, Package, packages, quirks

DATABASE = "/var/db/pkg"
STORE = HERE / "store"
_SPEC = re.compile(r"^(?P<stem>[^%]+?)(?:-(?P<version>[0-9][^-%]*)(?:-(?P<flavours>[a-z][^%]*))?"
                   r"|--(?P<flavour>[a-z][^%]*)?)?(?:%(?P<branch>.+))?$")


def matching(spec: str, available: list[Package]) -> list[Package]:
    """Return the packages that a specification of pkg_add(1) means: stem, stem--flavour, stem-version, each with %branch."""
    match = _SPEC.match(spec)
    if not match:
        return []
    found = [package for package in available if package.stem == match["stem"]]
    if match["version"]:
        found = [package for package in found if package.version == match["version"] and package.flavour == (match["flavours"] or "")]
    elif "--" in spec:
        found = [package for package in found if package.flavour == (match["flavour"] or "")]
    if match["branch"]:
        found = [package for package in found if package.branch == match["branch"]]
    return found


def resolve(spec: str, available: list[Package]) -> Package:
    """Return the one package that is meant, or refuse as pkg_add -I does."""
    found = matching(spec, available)
    if not found:
        raise Refusal(f"Can't find {spec}")
    if len(found) > 1:
        # pkg_add -I goes on with the other names and ends well: who calls it has to read stderr.
        raise Refusal(f"Ambiguous: {spec} could be {' '.join(sorted(package.name for package in found))}", 0)
    return found[0]


def installed() -> list[Package]:
    """Return what is installed."""
    known = {(package.name, package.pkgpath): package for package in packages(release())}
    found = []
    for entry in sorted(at(DATABASE).glob("*/+SIMULATION")) if at(DATABASE).is_dir() else []:
        data = json.loads(entry.read_text(encoding="utf-8"))
        found.append(known[(data["name"], data["pkgpath"])])
    return found


def pkg_add(argv: list[str]) -> int:
    """Install packages, and what they depend on."""
    usage = ("Usage: pkg_add [-acdfIimnqrsUuVvxz] [-A arch] [-B pkg-destdir] [-D name[=value]]\n"
             "[-L localbase] [-l file] [-P type] [-Q quick-destdir] pkg-name ...")
    options, names = getopt(argv, "acdfIimnqrsUuVvxzA:B:D:hL:l:P:Q:", usage)
    if "h" in options:
        print(usage)
        return 0
    for path in options.get("l", []):
        names += read(path).split()
    if not names and "u" not in options:
        raise Refusal(usage)
    dry = "n" in options
    if not dry:
        need_root(f"{program()} must be run as root")
    if not read("/etc/installurl").strip():
        raise Refusal(f"/etc/installurl is empty or missing: no mirror to ask\nCan't find {' '.join(names)}")
    print(f"{quirks(release())} signed on 2026-11-01T12:00:00Z")
    if "u" in options:
        for name in names:
            if not matching(name, installed()):
                print(f"Problem finding {name}", file=sys.stderr)
        return 0
    code = 0
    with locked("packages"):
        for spec in names:
            try:
                # Whatever is installed already satisfies a specification, if it alone does.
                if len(matching(spec, installed())) == 1 and len(matching(spec, packages(release()))) <= 1:
                    continue
                _install(resolve(spec, packages(release())), dry, [])
            except Refusal as exc:
                print(exc, file=sys.stderr)
                code = max(code, exc.code)
    return code


def _install(package: Package, dry: bool, parents: list[str]) -> None:
    if any(package == other for other in installed()):
        return
    rivals = [other for other in installed() if other.stem == package.stem and (not package.branched or package.stem != "python")]
    if rivals and parents:
        return  # another flavour serves as a dependency as well
    if rivals:
        raise Refusal(f"Can't install {package.name} because of conflicts ({rivals[0].name})")
    for spec in package.depends:
        _install(resolve(spec, packages(release())), dry, [*parents, package.name])
    if not dry:
        content = CONTENT.get(package.content, Content())
        placed = _place(package, content)
        lines = [f"@name {package.name}", f"@comment pkgpath={package.pkgpath} simulated", *placed]
        write(f"{DATABASE}/{package.name}/+CONTENTS", "\n".join(lines) + "\n")
        write(f"{DATABASE}/{package.name}/+DESC", package.comment + "\n")
        write(f"{DATABASE}/{package.name}/+SIMULATION",
              json.dumps({"name": package.name, "pkgpath": package.pkgpath, "manual": not parents, "placed": placed}))
    print(":".join([*parents[-1:], package.name]) + ": ok")
    content = CONTENT.get(package.content, Content())
    if content.rcscripts and not dry:
        print("The following new rcscripts were installed: " + " ".join(f"/etc/rc.d/{name}" for name in content.rcscripts))
        print("See rcctl(8) for details.")


def _place(package: Package, content: Content) -> list[str]:
    """Put a package's content in place and return the paths of it that pkg_delete is to remove."""
    placed: list[str] = []
    for user in content.users:
        users.system_user(user.name, user.number, user.gecos, user.home, user.login_class)
    for name, number in content.groups:
        users.system_group(name, number)
    for path, owner, group, mode in content.directories:
        directory = at(path)
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, *_numbers(owner, group))
        directory.chmod(mode)
    for deb in content.debs:
        top = STORE / deb
        for source in sorted(top.rglob("*")):
            name = str(source.relative_to(top))
            if source.is_dir() and not source.is_symlink():
                continue
            if source.is_symlink() and not source.exists():
                # One program under several names, kept in another package.
                other = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(source)))
                found = list(STORE.glob(f"*/{other}"))
                if not found:
                    continue
                source = found[0]
            placed += _place_file(source, name, content)
    for path, target in content.extra_links.items():
        placed += _link(path, target)
    for name in content.files:
        placed += _copy(HERE / "files" / name, "/" + name)
    for name in content.rcscripts:
        target = f"/etc/rc.d/{name}"
        write(target, (HERE / "rc.d" / name).read_text(encoding="utf-8"), 0o555)
        placed.append(target)
    if content.login_class:
        path = f"/etc/login.conf.d/{package.stem}"
        if not at(path).exists():
            write(path, content.login_class)
            placed.append(path)
    if content.interpreter:
        minor = ".".join(package.version.split(".")[:2])
        target = at(f"/usr/local/bin/python{minor}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(HERE / "python3", target)
        at(f"/usr/local/lib/python{minor}/site-packages").mkdir(parents=True, exist_ok=True)
        placed += [f"/usr/local/bin/python{minor}", *_link("/usr/local/bin/python3", f"python{minor}")]
    for pattern in content.python:
        placed += _link_python(pattern)
    for path, group in content.setgid.items():
        if at(path).exists():  # tests have no real programs
            os.chown(at(path), *_numbers("root", group))
            at(path).chmod(0o2755)
    if content.script:
        placed += _script(content).installed()
    return placed


def _script(content: Content):
    return importlib.import_module(f"simulated.{content.script}")


def _place_file(source, name: str, content: Content) -> list[str]:
    for prefix, other in content.copies.items():
        if name == prefix or (prefix.endswith("/") and name.startswith(prefix)):
            target = "/" + other + name[len(prefix):]
            if target.startswith("/etc/"):
                _copy(source, target.replace("/etc/", "/usr/local/share/examples/", 1))
            return _copy(source, target)
    placed = []
    put = _link if content.linked else _own
    for prefix, other in content.links.items():
        if name == prefix or (prefix.endswith("/") and name.startswith(prefix)):
            placed += put("/" + other + name[len(prefix):], str(source))
    # Where the program was compiled to look, besides.
    if name.startswith(("usr/lib/", "usr/share/rspamd/", "usr/share/dovecot/")) and not name.startswith(content.unseen):
        placed += put("/" + name, str(source))
    return placed


def _link(path: str, target: str) -> list[str]:
    link = at(path)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        return []
    link.symlink_to(target)
    return [path]


def _own(path: str, source: str) -> list[str]:
    target = at(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return [path]


def _copy(source, path: str) -> list[str]:
    """Copy a configuration file, unless there is one already: pkg_add never overwrites what a person may have changed."""
    target = at(path)
    if target.exists():
        return []
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return [path]


def _link_python(pattern: str) -> list[str]:
    """Let the Python that Ansible finds see a module, for every Python 3 that is installed."""
    placed = []
    store = HERE / "python-packages"
    for directory in sorted(at("/usr/local/lib").glob("python3.*/site-packages")):
        for name in fnmatch.filter(sorted(os.listdir(store)), pattern):
            placed += _link("/" + str((directory / name).relative_to(at("/"))), str(store / name))
    return placed


def _numbers(owner: str, group: str) -> tuple[int, int]:
    try:
        return pwd.getpwnam(owner).pw_uid, (0 if group == "wheel" else grp.getgrnam(group).gr_gid)
    except KeyError:
        number = next((user.number for content in CONTENT.values() for user in content.users if user.name in (owner, group)), 0)
        number = next((number for content in CONTENT.values() for name, number in content.groups if name == group), number)
        return (0 if owner == "root" else number), (0 if group == "wheel" else number)


def pkg_info(argv: list[str]) -> int:
    """Show packages."""
    usage = ("Usage: pkg_info [-AaCcdfIiKLMmPpqRSstUVvxz] [-E filename] [-e pkg-name] [-l str]\n"
             "[-Q query] [pkg-name ...]")
    options, names = getopt(argv, "AaCcdD:E:e:fhIiKLl:MmPpQ:qRr:SstUVvxz", usage)
    if "h" in options:
        print(usage)
        return 0
    here = installed()
    if "Q" in options:
        for query in options["Q"]:
            for package in sorted(packages(release()), key=lambda package: package.name):
                if query in package.name:
                    print(package.name + (" (installed)" if package in here else ""))
        return 0
    if "e" in options:
        missing = False
        for spec in options["e"]:
            found = matching(spec.removeprefix("inst:"), here)
            missing = missing or not found
            if "q" not in options:
                for package in found:
                    print(f"inst:{package.name}")
        return 1 if missing else 0
    code = 0
    chosen = here
    if "m" in options or "z" in options:
        chosen = [package for package in here if _entry(package)["manual"]]
    if names:
        chosen = []
        for spec in names:
            found = matching(spec.removeprefix("inst:"), here if spec.startswith("inst:") else here or packages(release()))
            if not found:
                print(f"Can't find {spec}", file=sys.stderr)
                code = 1
            chosen += found
    if "L" in options:
        for package in chosen:
            for path in _entry(package)["placed"]:
                print(path)
        return code
    width = max((len(package.name) for package in chosen), default=0)
    for package in chosen:
        if "z" in options:
            print(f"{package.stem}--{package.flavour}" + (f"%{package.branch}" if package.branched else ""))
        elif "q" in options:
            print(package.name)
        else:
            print(f"{package.name:{width}} {package.comment}")
    return code


def _entry(package: Package) -> dict:
    return json.loads(read(f"{DATABASE}/{package.name}/+SIMULATION"))


def pkg_delete(argv: list[str]) -> int:
    """Remove packages; users, groups and what was written since stay."""
    usage = "Usage: pkg_delete [-aciImnqsVvXx] [-B pkg-destdir] [-D name[=value]] pkg-name ..."
    options, names = getopt(argv, "aciImnqsVvXxhB:D:", usage)
    if "h" in options:
        print(usage)
        return 0
    if not names and "a" not in options:
        raise Refusal(usage)
    dry = "n" in options
    if not dry:
        need_root(f"{program()} must be run as root")
    with locked("packages"):
        if "a" in options:
            names += [package.name for package in installed() if not _entry(package)["manual"] and not _needed_by(package)]
        for spec in names:
            found = matching(spec, installed())
            if not found:
                raise Refusal(f"Problem finding {spec}")
            if len(found) > 1:
                raise Refusal(f"Ambiguous: {spec} could be {' '.join(package.name for package in found)}")
            needed = _needed_by(found[0])
            if needed:
                raise Refusal(f"can't delete {found[0].name} without deleting {' '.join(needed)}")
            if not dry:
                _remove(found[0])
            print(f"{found[0].name}: ok")
    return 0


def _needed_by(package: Package) -> list[str]:
    return [other.name for other in installed() if any(package in matching(spec, [package]) for spec in other.depends)]


def _remove(package: Package) -> None:
    content = CONTENT.get(package.content, Content())
    if content.script:
        _script(content).removed()
    for path in reversed(_entry(package)["placed"]):
        target = at(path)
        if path.startswith("/etc/") and not path.startswith("/etc/rc.d/"):
            example = at(path.replace("/etc/", "/usr/local/share/examples/", 1))
            shipped = HERE / "files" / path.lstrip("/")
            original = example if example.exists() else shipped
            if not original.exists() or not target.exists() or original.read_bytes() != target.read_bytes():
                continue
        if target.is_symlink() or target.exists():
            target.unlink()
            directory = target.parent
            while directory != at("/") and directory.name not in ("bin", "sbin", "lib", "etc", "share") and not any(directory.iterdir()):
                directory.rmdir()
                directory = directory.parent
    shutil.rmtree(at(f"{DATABASE}/{package.name}"))
