# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a Python program that another process compiles: run-compiled PROGRAM [ARGUMENT...]

What the compiler takes, two or three MiB, would stay with a program that runs for ever. For hosts with little memory.
"""

from __future__ import annotations

import marshal
import os
import sys


def compiled(path):
    """Return the code of a program.

    :raises EOFError: it cannot be read, or not compiled; the other process says why
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            with open(path, "rb") as file, open(write_end, "wb") as target:
                marshal.dump(compile(file.read(), path, "exec"), target)
        except Exception as exc:
            print(f"{path}: {type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as source:
        code = marshal.load(source)
    os.waitpid(child, 0)
    return code


if __name__ == "__main__":
    del sys.argv[0]
    __file__ = sys.argv[0]
    exec(compiled(__file__), globals())
