#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: firewall_ports
short_description: "[INTERNAL] Open TCP ports in the firewall that is at work"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Opens TCP ports to everybody in ufw or firewalld, whichever is active, now and after a restart. A rule that somebody made for a port
    stays, and is reported in RV(notes) where it does not let everybody in.
  - Another ruleset of nftables is left alone, and reported in RV(notes) if it may keep out what comes in. The table of fail2ban, which
    keeps out only whom it bans, does not count.
  - Where no firewall is at work, nothing is done. No port is ever closed.
options:
  ports:
    description: Numbers of TCP ports.
    type: list
    elements: int
    required: true
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
"""

EXAMPLES = r"""
- name: Firewall | Open the ports of mail
  postmaster.mail.firewall_ports:
    ports: [25, 465, 587, 993]
"""

RETURN = r"""
firewall:
  description: The firewall that is at work, V(ufw), V(firewalld), V(nftables) or V(none).
  type: str
  returned: success
  sample: ufw
opened:
  description: The ports that were opened, or in check mode would be.
  type: list
  elements: int
  returned: success
  sample: [993]
notes:
  description: What a person should read of it, one line each, what was opened as well as what has to be opened by hand.
  type: list
  elements: str
  returned: success
  sample: [opened 993 in ufw]
"""

import functools
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._host import firewall
from ansible_collections.postmaster.mail.plugins.module_utils._host.commands import printed


class Found(NamedTuple):
    """The firewall that is at work, what to do there, and the commands that open a list of ports."""

    name: str
    plan: firewall.Plan
    commands: list[list[str]]


def find(module: AnsibleModule, ports: list[int]) -> Found:
    """Look which firewall is at work, and what it lets in."""
    name = ""
    try:
        name = firewall.at_work(functools.partial(printed, module))
    except (ValueError, KeyError, TypeError) as exc:
        module.fail_json(msg=f"nft -j list ruleset printed what cannot be read: {type(exc).__name__}: {exc}")
    if name == "ufw":
        plan = firewall.ufw_plan(printed(module, "ufw", "status") or "", ports)
        return Found(name, plan, [["ufw", "allow", f"{port}/tcp"] for port in plan.ports])
    if name == "firewalld":
        plan = firewall.firewalld_plan(printed(module, "firewall-cmd", "--list-ports") or "", ports)
        added = [f"--add-port={port}/tcp" for port in plan.ports]
        return Found(name, plan, [["firewall-cmd", "--permanent", *added], ["firewall-cmd", *added]] if added else [])
    return Found(name, firewall.Plan([], [firewall.NFTABLES_NOTE] if name == "nftables" else []), [])


def main() -> None:
    module = AnsibleModule(argument_spec={"ports": {"type": "list", "elements": "int", "required": True}}, supports_check_mode=True)
    ports = module.params["ports"]
    for port in ports:
        if not 0 < port < 65536:
            module.fail_json(msg=f"ports {port} is not the number of a port: 1 to 65535")
    found = find(module, ports)
    if not module.check_mode:
        for argv in found.commands:
            module.run_command([module.get_bin_path(argv[0], required=True), *argv[1:]], environ_update={"LC_ALL": "C"}, check_rc=True)
    opened = found.plan.ports
    verb = "would open" if module.check_mode else "opened"
    module.exit_json(
        changed=bool(opened), firewall=found.name, opened=opened,
        notes=[f"{verb} {port} in {found.name}" for port in opened] + found.plan.notes,
        diff={"before": "", "after": "".join(f"{port}/tcp\n" for port in opened)},
    )


if __name__ == "__main__":
    main()
