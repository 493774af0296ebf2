# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the commands of a host print, which it may not have. This is I/O."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def printed(module: AnsibleModule, *argv: str) -> str | None:
    """Return what a command prints; None if it is not installed, or fails."""
    program = module.get_bin_path(argv[0])
    if not program:
        return None
    status, text, _errors = module.run_command([program, *argv[1:]], environ_update={"LC_ALL": "C"})
    return text if status == 0 else None
