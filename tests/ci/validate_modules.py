# Copyright: (c) 2026, The postmaster.mail developers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test's validate-modules over every module and action-backed module, run directly.

`ansible-test sanity` would download an environment of its own from the network first; its checker is in the ansible-core
that is installed already. Run in the collection's directory, itself under ansible_collections/postmaster/mail.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ansible_test
import yaml

VALIDATOR = Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules/validate.py"

# What the validator would have otherwise, with the reason.
ACCEPTED = {
    # The action plugin renders the tree and hands it over in this one argument; users do not write it.
    ("plugins/modules/config_tree.py", "undocumented-parameter", "_tree"),
}


def accepted(path: str, error: dict[str, str]) -> bool:
    """Whether a complaint is one of those that are known and meant."""
    return any((path, error["code"]) == (known, code) and f"'{word}'" in error["msg"] for known, code, word in ACCEPTED)


def main() -> int:
    version = yaml.safe_load(Path("galaxy.yml").read_text())["version"]
    modules = sorted(str(path) for path in Path("plugins/modules").glob("[a-z]*.py"))
    if not modules:
        return 0
    command = [sys.executable, str(VALIDATOR), "--format", "json", "--arg-spec", "--collection", "ansible_collections/postmaster/mail",
               "--collection-version", version, *modules]
    # The validator names what it checks by its path from the root of the collections.
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    if done.returncode not in (0, 3):
        sys.exit(done.stdout + done.stderr)
    complaints = [f"{path}:{error.get('line', 0)}: {error['code']}: {error['msg']}"
                  for path, report in json.loads(done.stdout).items() for error in report["errors"] if not accepted(path, error)]
    print("\n".join([*complaints, f"validate-modules: {len(modules)} modules, {len(complaints)} complaints"]))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
