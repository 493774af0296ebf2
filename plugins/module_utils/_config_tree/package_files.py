# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a configuration file is as its package brought it, or somebody has changed it.

Asked is what the packaging itself knows: dpkg's checksums of conffiles, ucf's of the files that it manages, dpkg's log for files
that a maintainer script makes, and the examples that a package copies. What none of them knows counts as changed.
"""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence

DPKG_LOGS = "var/log/dpkg.log*"
UCF_HASHES = "var/lib/ucf/hashfile"
#: Templates that maintainer scripts copy, and directories of examples of which OpenBSD's packages and base system copy some.
TEMPLATES = ("usr/share/postfix/{name}.dist",)
EXAMPLES = ("usr/local/share/examples", "etc/examples")
#: A directory of more packages than this, such as /etc, is none's own.
OWNERS_MOST = 4

_EVENT = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (install|upgrade|configure|status installed) ([^\s:]+)(?::\S+)? ")


def conffiles(text: str) -> dict[str, str]:
    """Return path to MD5 of the conffiles of a dpkg-query with the format ``${Conffiles}\\n``; what is being unpacked has none."""
    fields = (line.split() for line in text.splitlines())
    return {words[0]: words[1] for words in fields if len(words) in (2, 3) and re.fullmatch(r"[0-9a-f]{32}", words[1])}


def ucf_hashes(text: str) -> dict[str, str]:
    """Return path to MD5 of the files that ucf manages, as it last installed them."""
    fields = (line.split(None, 1) for line in text.splitlines())
    return {words[1].strip(): words[0] for words in fields if len(words) == 2 and re.fullmatch(r"[0-9a-f]{32}", words[0])}


def installations(lines: Sequence[str], packages: Sequence[str]) -> list[tuple[float, float]]:
    """Return when maintainer scripts of these packages ran: from the beginning to the end, in seconds since the epoch.

    The log has local time to the second, so an end is the last moment of its second.
    """
    found, begun = [], {}
    for line in lines:
        match = _EVENT.match(line)
        if not match or match[3] not in packages:
            continue
        moment = time.mktime(time.strptime(match[1], "%Y-%m-%d %H:%M:%S"))
        if match[2] != "status installed":
            begun.setdefault(match[3], moment)
        elif match[3] in begun:
            found.append((begun.pop(match[3]), moment + 1))
    return found


class Packages:
    """What the packaging of this host knows. Everything is looked up when it is first needed, and once."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._md5: dict[str, str] | None = None
        self._log: list[str] | None = None

    def unchanged(self, path: str, content: bytes) -> bool:
        """Tell whether a file is just as its package brought it."""
        if self._checksums().get(path) == hashlib.md5(content, usedforsecurity=False).hexdigest():
            return True
        return any(text == content for text in self._examples(path)) or self._made_by_a_script(path)

    def _checksums(self) -> dict[str, str]:
        if self._md5 is None:
            self._md5 = {**conffiles(self._dpkg_query("-W", "-f", "${Conffiles}\n")), **ucf_hashes(self._text(UCF_HASHES))}
        return self._md5

    def _examples(self, path: str) -> Iterator[bytes]:
        name = os.path.basename(path)
        for template in TEMPLATES:
            yield from self._octets(os.path.join(self._root, template.format(name=name)))
        for directory in EXAMPLES:
            for folder, _folders, names in os.walk(os.path.join(self._root, directory)):
                if name in names:
                    yield from self._octets(os.path.join(folder, name))

    @staticmethod
    def _octets(path: str) -> Iterator[bytes]:
        with contextlib.suppress(OSError), open(path, "rb") as file:
            yield file.read()

    def _made_by_a_script(self, path: str) -> bool:
        """Tell whether nobody but the maintainer scripts of its directory's packages has touched a file, to the second."""
        try:
            info = os.lstat(os.path.join(self._root, path.lstrip("/")))
        except OSError:
            return False
        words = [line.partition(": ")[0] for line in self._dpkg_query("-S", os.path.dirname(path)).splitlines() if ": " in line]
        owners = [owner.strip().partition(":")[0] for line in words for owner in line.split(",")]
        if not 0 < len(owners) <= OWNERS_MOST:
            return False
        # The time of the last change of the inode cannot be set by hand.
        return any(begin <= info.st_ctime < end for begin, end in installations(self._lines(), owners))

    def _lines(self) -> list[str]:
        if self._log is None:
            self._log = []
            paths = glob.glob(os.path.join(glob.escape(self._root), DPKG_LOGS))
            # dpkg.log is the newest, then dpkg.log.1, dpkg.log.2.gz
            for path in sorted(paths, key=lambda path: int((re.findall(r"\.(\d+)", path) or ["0"])[-1]), reverse=True):
                with contextlib.suppress(OSError, EOFError), (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
                    self._log += file.read().decode("utf-8", "replace").splitlines()
        return self._log

    def _text(self, path: str) -> str:
        return b"".join(self._octets(os.path.join(self._root, path))).decode("utf-8", "replace")

    def _dpkg_query(self, *arguments: str) -> str:
        try:
            result = subprocess.run(
                ["dpkg-query", "--root", self._root, *arguments], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True,
                errors="replace", check=False,
            )  # fmt: skip
        except OSError:
            return ""
        return result.stdout
