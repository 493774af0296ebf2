# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let the Python that pkg_add has put in place, and no other, believe that it runs on OpenBSD. Simulated."""

import os
import sys


def _simulate() -> None:
    import json

    with open("/var/db/simulation/host.json", encoding="utf-8") as handle:
        release = json.load(handle)["release"]
    real = os.uname

    def uname():
        return os.uname_result(("OpenBSD", real().nodename, release, "GENERIC.MP#0-simulated", "amd64"))

    os.uname = uname
    if "posix" in sys.modules:
        sys.modules["posix"].uname = uname
    sys.platform = "openbsd7"
    name = os.path.basename(os.path.realpath(sys.executable))
    sys.path[:] = [path for path in sys.path if "dist-packages" not in path] + [f"/usr/local/lib/{name}/site-packages"]


if sys.executable.startswith("/usr/local/bin/"):
    _simulate()
