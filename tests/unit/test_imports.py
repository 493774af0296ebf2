# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the plugins import: nothing that a host may lack without a guard, and nothing undocumented.

The counterpart of ansible-test's import check, without the environments that it downloads.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections.postmaster.mail"
# Import name -> how a plugin's documentation names the library.
LIBRARIES = {"bcrypt": "bcrypt", "cryptography": "cryptography", "dkim": "dkimpy", "dns": "dnspython", "spf": "pyspf"}
# ansible-core brings these, on the controller; on a managed host there is nothing but the standard library.
OF_THE_CONTROLLER = {"ansible", "jinja2", "packaging", "yaml"}


def files(*kinds):
    return sorted(path for kind in kinds for path in (ROOT / "plugins" / kind).rglob("*.py") if path.name != "__init__.py")


def module_name(path):
    return ".".join([PACKAGE, *path.relative_to(ROOT).with_suffix("").parts])


def imports(path):
    """The full names that a file imports, those in functions and in guards included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(module_name(path).split(".")[: -node.level] + ([node.module] if node.module else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def foreign(path, seen=None):
    """Top-level names of the third-party libraries that a file uses, through the collection's own files too."""
    seen = set() if seen is None else seen
    seen.add(path)
    found = set()
    for name in imports(path):
        top = name.split(".")[0]
        if top == "ansible_collections":
            below = name.split(".")[3:]
            for stop in (len(below), len(below) - 1):
                target = ROOT.joinpath(*below[:stop]).with_suffix(".py")
                if target.is_file() and target not in seen:
                    found |= foreign(target, seen)
        elif top not in sys.stdlib_module_names and top not in OF_THE_CONTROLLER:
            found.add(top)
    return found


def documentation(path, name="DOCUMENTATION"):
    """The DOCUMENTATION of a plugin, or one text of a documentation fragment."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    return {}


def requirements(path):
    """What a plugin's documentation names as needed, its fragments included."""
    if path.parent.name == "action":  # the module that stands for it carries the documentation
        path = ROOT / "plugins/modules" / path.name
    text = documentation(path)
    found = list(text.get("requirements", []))
    for fragment in text.get("extends_documentation_fragment", []):
        _namespace, _name, file, *part = fragment.split(".")
        text = documentation(ROOT / f"plugins/doc_fragments/{file}.py", *[name.upper() for name in part])
        found += text.get("requirements", [])
    return " ".join(found)


@pytest.mark.parametrize("path", files("modules", "action", "filter", "lookup"), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_library_is_a_documented_requirement(path):
    required = requirements(path)
    unknown = foreign(path) - set(LIBRARIES)
    assert unknown == set(), "a library new to the collection: name it in LIBRARIES and in the README"
    assert [LIBRARIES[name] for name in sorted(foreign(path)) if LIBRARIES[name] not in required] == []


IMPORT_ALONE = """
import importlib, importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {libraries!r} or (name.startswith("ansible.") and not name.startswith({allowed!r})):
            raise ImportError("not on this host: " + name)

sys.meta_path.insert(0, Refuse())
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as exc:
        failed.append(name + ": " + repr(exc))
sys.exit("\\n".join(failed) or 0)
"""


@pytest.mark.parametrize(("kinds", "allowed"), [
    pytest.param(("module_utils", "modules"), ("ansible.module_utils", "ansible._vendor", "ansible.release"), id="managed host"),
    pytest.param(("plugin_utils", "action", "filter", "lookup"), ("ansible.",), id="controller"),
])
def test_everything_imports_where_no_library_is_installed(kinds, allowed):
    """A guarded import lets a module say which library it lacks; an unguarded one is a traceback."""
    names = [module_name(path) for path in files(*kinds)]
    # The ones of the controller may come with Ansible's: `ansible` alone is let through by its own dependencies.
    libraries = set(LIBRARIES) | ({"yaml", "jinja2"} if "modules" in kinds else set())
    program = IMPORT_ALONE.format(libraries=libraries, allowed=allowed)
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


UTILITIES = ROOT / "plugins/module_utils"
#: Packages of pure functions, and the pure files of the others.
PURE = ("_errors", "_names", "_constants", "_secret_text", "_records", "_model", "_services", "_dns.outcome", "_dns.plan", "_dns.rdata",
        "_dns.rrset", "_dns.wire", "_dns.zone_file", "_rdns.dnsbl", "_rdns.rules", "_config_tree.rules", "_mailman.rules",
        "_host.firewall", "_host.info", "_host.system")
#: What reads or writes, or waits.
IO = {"asyncio", "fcntl", "glob", "http", "imaplib", "os", "pathlib", "shutil", "select", "smtplib", "socket", "ssl", "subprocess",
      "tempfile", "threading", "time"}


def utilities():
    """Each utility's name below module_utils to the names that it imports: utilities in the same form, and modules of the library."""
    graph = {}
    for path in UTILITIES.rglob("*.py"):
        if path.name == "__init__.py":
            continue
        graph[".".join(path.relative_to(UTILITIES).with_suffix("").parts)] = names = set()
        for name in imports(path):
            below = name.split("module_utils.")[1].split(".") if name.startswith(f"{PACKAGE}.plugins.module_utils.") else None
            if below is None:
                names.add(name.split(".")[0])
            else:
                stop = next(stop for stop in range(len(below), 0, -1) if UTILITIES.joinpath(*below[:stop]).with_suffix(".py").is_file())
                names.add(".".join(below[:stop]))
    return graph


def test_what_is_pure_imports_nothing_that_reads_or_writes():
    graph = utilities()
    pure = {name for name in graph if name.startswith(tuple(f"{entry}." for entry in PURE)) or name in PURE}
    assert len(pure) > 40
    assert {name: found for name in pure if (found := graph[name] & (IO | (set(graph) - pure)))} == {}


def test_arrows_between_packages_run_one_way_over_seven_floors_at_most():
    graph = utilities()
    packages = {}
    for name, names in graph.items():
        above = name.split(".")[0]
        packages.setdefault(above, set()).update(entry.split(".")[0] for entry in names if entry in graph and entry.split(".")[0] != above)

    def floors(of, name, below=()):
        assert name not in below, " -> ".join([*below, name])
        return 1 + max((floors(of, entry, (*below, name)) for entry in of[name] if entry in of), default=0)

    assert max(floors(packages, name) for name in packages) <= 7
    assert max(floors(graph, name) for name in graph) <= 7
    assert packages["_model"] <= {"_constants", "_dns", "_errors", "_names", "_records", "_secret_text"}
