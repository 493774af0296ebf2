# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs modules as a managed host does, each in a process of its own that nothing of the controller was imported into.

One process imports what is slow and forks for each run. Not a test.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import subprocess
import sys
import tempfile

PACKAGE = "ansible_collections.postmaster.mail.plugins.modules"


class Result(dict):
    """What a module returned; ``text`` is all that it wrote, errors included."""

    text = ""


class Runner:
    """Starts module runs."""

    def __init__(self):
        self._server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self._server.stdin.close)

    def start(self, name, arguments, check=False):
        """Start a run and return the file that it writes to and its process."""
        with tempfile.NamedTemporaryFile(delete=False) as out:
            path = out.name
        arguments = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True}
        request = {"module": f"{PACKAGE}.{name}", "out": path, "arguments": arguments}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return path, int(self._server.stdout.readline())

    def finish(self, started):
        """Wait for a run and return its result."""
        path, pid = started
        self._server.stdin.write(json.dumps({"wait": pid}) + "\n")
        self._server.stdin.flush()
        self._server.stdout.readline()
        with open(path, encoding="utf-8") as file:
            text = file.read()
        os.unlink(path)
        result = Result(json.loads(text.splitlines()[-1]))
        result.text = text
        if "warnings" in result:
            result["warnings"] = [item if isinstance(item, str) else item["event"]["msg"] for item in result["warnings"]]
        return result

    def __call__(self, name, arguments, check=False):
        return self.finish(self.start(name, arguments, check))


def _serve():
    from ansible.module_utils import basic  # noqa: F401 - so that the forks have it
    from ansible.module_utils.testing import patch_module_args

    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            os.waitpid(request["wait"], 0)
            print("done", flush=True)
            continue
        module = importlib.import_module(request["module"])
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(request["out"], os.O_WRONLY), 1)
            os.dup2(1, 2)
            with patch_module_args(request["arguments"]):
                module.main()
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    _serve()
