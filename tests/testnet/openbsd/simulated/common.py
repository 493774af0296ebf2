# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the simulated tools share: where the simulated system lies, how options are read, how one refuses."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(os.environ.get("SIMULATED_ROOT") or "/")  # tests give a directory of their own
HERE = pathlib.Path(__file__).resolve().parent.parent
STATE = "/var/db/simulation"  # what has no room of its own on OpenBSD
PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/usr/X11R6/bin:/usr/local/bin:/usr/local/sbin"


class Refusal(Exception):
    """What the real tool would print on stderr, and its exit code."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def at(path: str) -> pathlib.Path:
    """Return where a path of the simulated system lies."""
    return ROOT / path.lstrip("/")


def read(path: str) -> str:
    """Return a file's text; nothing if there is none."""
    try:
        return at(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def write(path: str, text: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> None:
    """Write a file through a temporary one beside it."""
    target = at(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
        os.fchown(handle.fileno(), *owner)
        os.fchmod(handle.fileno(), mode)
    temporary.rename(target)


def need_root(text: str) -> None:
    """Refuse whoever is not root."""
    if os.geteuid():
        raise Refusal(text)


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process at a time change something."""
    directory = at(STATE)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / f"{name}.lock", "w", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def release() -> str:
    """Return the release that is simulated, such as 7.9."""
    return json.loads(read(f"{STATE}/host.json") or '{"release": "7.9"}')["release"]


def getopt(argv: Sequence[str], letters: str, usage: str, code: int = 1) -> tuple[dict[str, list[str]], list[str]]:
    """Read options as getopt(3) does: no long ones, none after the first operand."""
    takes = {letter: letters[index + 1:index + 2] == ":" for index, letter in enumerate(letters) if letter != ":"}
    found: dict[str, list[str]] = {}
    words = list(argv)
    name = program()
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            if letter not in takes:
                raise Refusal(f"{name}: unknown option -- {letter}\n{usage}", code)
            value = ""
            if takes[letter]:
                if not rest and not words:
                    raise Refusal(f"{name}: option requires an argument -- {letter}\n{usage}", code)
                value, rest = (rest, "") if rest else (words.pop(0), "")
            found.setdefault(letter, []).append(value)
    return found, words


_PROGRAM = [""]


def program() -> str:
    """Return the name that the tool was called by."""
    return _PROGRAM[0]


def call(name: str, main, argv: Sequence[str]) -> int:
    """Run a simulated tool; a refusal becomes its words on stderr and its exit code."""
    _PROGRAM[0] = name
    try:
        return main(list(argv)) or 0
    except Refusal as exc:
        if str(exc):
            print(exc, file=sys.stderr)
        return exc.code
    except BrokenPipeError:
        return 141


def detach() -> None:
    """Go on in the background, as a daemon does."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)


def title(text: str) -> None:
    """Show ourselves in ps as the real one does."""
    with open("/proc/self/stat", encoding="ascii") as handle:
        fields = handle.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    words = text.encode()[:end - start - 1]
    ctypes.memmove(start, words + b"\0" * (end - start - len(words)), end - start)
