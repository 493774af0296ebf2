# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print, as JSON, the memory of every systemd unit of the machine that this runs on, in KiB of PSS.

A page shared by several processes counts for each of them by its share, so that the sum over the units is what they hold.
"""

from __future__ import annotations

import collections
import json
import pathlib
import re

held: collections.Counter[str] = collections.Counter()
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        groups = (process / "cgroup").read_text()
        rollup = (process / "smaps_rollup").read_text()
    except OSError:  # it has ended, or is a kernel thread
        continue
    # system.slice/system-postfix.slice/postfix@-.service: the innermost unit
    units = re.findall(r"([^/\n]+\.(?:service|scope))", groups)
    pss = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    if units and pss:
        held[units[-1]] += int(pss.group(1))
print(json.dumps(held))
