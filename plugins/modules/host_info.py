#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: "[INTERNAL] Read the packages, accounts, services, firewall and size of a host"
version_added: 0.1.0
requirements:
  - cryptography >= 38 on the controller, as it loads what M(postmaster.mail.inventory_verify) needs
description:
  - Returns in one call what the roles of this collection need to know of a host, so that an unchanged host is asked for it once and not
    by each of them.
  - It is their internal role C(postmaster.mail.host) that calls it, once per play and host.
author: The postmaster.mail developers (@postmaster-mail)
options:
  gather_subset:
    description:
      - Subsets of the facts of M(ansible.builtin.setup) that are returned as well, so that a play can do without that; without any, none.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
seealso:
  - module: ansible.builtin.package_facts
  - module: ansible.builtin.service_facts
"""

EXAMPLES = r"""
- name: Host | Read packages, accounts and services
  postmaster.mail.host_info:
    gather_subset: [distribution]

- name: Postfix | Print the version
  ansible.builtin.debug:
    msg: "{{ ansible_facts.postmaster_mail.packages.postfix }}"

- name: Service | Enable and start Postfix
  ansible.builtin.service:
    name: postfix
    state: started
    enabled: true
  when: "'postfix' not in ansible_facts.postmaster_mail.enabled_services"
"""

RETURN = r"""
ansible_facts:
  description: Facts of the host, and those of M(ansible.builtin.setup) that O(gather_subset) asks for.
  returned: always
  type: complex
  contains:
    postmaster_mail:
      description: All facts of this module.
      returned: always
      type: complex
      contains:
        packages:
          description:
            - Name of each installed package to its version. On OpenBSD a package with a flavour has the name of the one without.
          returned: always
          type: dict
          sample: {postfix: 3.10.4-1}
        package_lists:
          description:
            - Whether the host has lists of the packages that can be installed, where it keeps such lists (APT). An image may come without,
              however fresh their directory looks.
          returned: always
          type: bool
        accounts:
          description: Name of each account to its user number.
          returned: always
          type: dict
          sample: {vmail: 5000}
        groups:
          description: Name of each group to its number.
          returned: always
          type: dict
          sample: {vmail: 5000}
        enabled_services:
          description:
            - Names of the services that are enabled and active, as M(ansible.builtin.service) takes them. Timers have their suffix.
            - Empty where systemd does not run; OpenBSD's rcctl would look for each daemon in turn, which takes longer than it saves.
          returned: always
          type: list
          elements: str
          sample: [certbot.timer, dovecot, postfix]
        firewall:
          description:
            - The firewall that is at work, V(ufw), V(firewalld), V(nftables), which is any other ruleset that may keep out what comes in,
              or V(none); V(unknown) where what nft prints cannot be read.
          returned: always
          type: str
          sample: none
        memory:
          description: Memory that the host may use, in MiB; in a container its own limit, where that is the lower one.
          returned: always
          type: int
          sample: 1968
        cores:
          description: Number of processors that the host may use at once, in a container as its own limit rounds up.
          returned: always
          type: int
          sample: 2
        hosts:
          description: Lines of C(/etc/hosts).
          returned: always
          type: list
          elements: str
          sample: [127.0.0.1 localhost]
        mta_files:
          description:
            - Path of each file that exists, of those that the MTAs' roles put on a host beside their configuration, and that tell what
              signs without a filter, to its C(owner), C(group) and C(mode), an octal number, and to its C(sha256) if everybody may read
              it; an owner without a name is a number.
          returned: always
          type: dict
          sample: {/etc/postfix.srs.secret: {owner: root, group: _srs, mode: "0640"}}
        opensmtpd_queue:
          description: Whether mail waits in OpenSMTPD's queue.
          returned: always
          type: bool
"""

import contextlib
import functools
import glob
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._host import firewall, info
from ansible_collections.postmaster.mail.plugins.module_utils._host.commands import printed
from ansible_collections.postmaster.mail.plugins.module_utils._model.mta import FILES, SPOOLS

#: How long each of the slower facts may take, as for ansible.builtin.setup.
SETUP_SECONDS = 10
#: Inside a container it is the container's own control group; that of a whole machine has no limits, and so no such files (cgroups(7)).
CGROUP = "/sys/fs/cgroup"


def packages(module: AnsibleModule) -> dict[str, str]:
    """Return the installed packages, from the first package manager that this host has."""
    commands = ((source, module.get_bin_path(argv[0]), argv[1:]) for source, argv in info.COMMANDS.items())
    source, program, options = next((command for command in commands if command[1]), ("", None, []))
    if program is None:
        module.fail_json(msg=f"this host has none of {', '.join(argv[0] for argv in info.COMMANDS.values())}: its packages are not known")
    _status, output, _errors = module.run_command([program, *options], check_rc=True)
    return info.packages(source, output)


def services(module: AnsibleModule) -> list[str]:
    """Return the services that are enabled and active; none where systemctl does not report, so that the roles ask for each."""
    # As sd_booted(3).
    if not os.path.isdir("/run/systemd/system"):
        return []
    status, output, _errors = module.run_command(info.UNITS)
    return [] if status else info.enabled_services(output)


def at_work(module: AnsibleModule) -> str:
    """Return the firewall that is at work. Whoever opens ports there reports what cannot be read."""
    try:
        return firewall.at_work(functools.partial(printed, module))
    except (ValueError, KeyError, TypeError):
        return "unknown"


def setup(module: AnsibleModule, subsets: list[str]) -> dict[str, Any]:
    """Return what ansible.builtin.setup would, of these subsets and no others."""
    if not subsets:
        return {}
    # They take longer to import than all that is looked at here.
    from ansible.module_utils.facts import ansible_collector, default_collectors
    from ansible.module_utils.facts.collector import CollectorNotFoundError, CycleFoundInFactDeps, UnresolvedFactDep
    from ansible.module_utils.facts.namespace import PrefixFactNamespace

    try:
        collector = ansible_collector.get_ansible_collector(
            all_collector_classes=default_collectors.collectors,
            namespace=PrefixFactNamespace(namespace_name="ansible", prefix="ansible_"),
            gather_subset=["!all", "!min", *subsets],
            gather_timeout=SETUP_SECONDS,
        )
    except (TypeError, CollectorNotFoundError, CycleFoundInFactDeps, UnresolvedFactDep) as exc:
        module.fail_json(msg=f"gather_subset: {exc}")
    return collector.collect(module=module)


def memory(top: str = CGROUP) -> int:
    """Return the memory that this host may use, in MiB."""
    limits = (first_line(f"{top}/{name}") for name in ("memory.max", "memory/memory.limit_in_bytes"))
    return info.memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), limits)


def cores(top: str = CGROUP) -> int:
    """Return how many processors this host may use at once."""
    # Linux alone has sets of processors.
    online = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    version_1 = " ".join(first_line(f"{top}/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return info.cores(online, [first_line(f"{top}/cpu.max"), version_1])


def first_line(path: str) -> str:
    """Return the first line of a small file of the system; empty where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return ""


def hosts() -> list[str]:
    """Return the lines of /etc/hosts; none where it cannot be read, so that the role writes it."""
    try:
        with open("/etc/hosts", encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()
    except OSError:
        return []


def access(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return path → ``owner``, ``group`` and ``mode`` of those that are files, and ``sha256`` of those that everybody may read."""
    files = {}
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                owner, group = str(status.st_uid), str(status.st_gid)
                with contextlib.suppress(KeyError):
                    owner = pwd.getpwuid(status.st_uid).pw_name
                with contextlib.suppress(KeyError):
                    group = grp.getgrgid(status.st_gid).gr_name
                files[path] = {"owner": owner, "group": group, "mode": f"{stat.S_IMODE(status.st_mode):04o}"}
                # Of a secret not even a digest leaves the host.
                if status.st_mode & stat.S_IROTH:
                    with open(path, "rb") as stream:
                        files[path]["sha256"] = hashlib.sha256(stream.read()).hexdigest()
    return files


def main() -> None:
    module = AnsibleModule(
        argument_spec={"gather_subset": {"type": "list", "elements": "str", "default": []}}, supports_check_mode=True
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    facts = {
        "packages": packages(module),
        "package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
        "accounts": {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()},
        "groups": {entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
        "enabled_services": services(module),
        "firewall": at_work(module),
        "memory": memory(),
        "cores": cores(),
        "hosts": hosts(),
        "mta_files": access(FILES),
        # An envelope has the queue's longest name, sixteen hexadecimal digits.
        "opensmtpd_queue": any(glob.iglob(f"{SPOOLS['opensmtpd']}/queue/??/????????/????????????????")),
    }
    module.exit_json(changed=False, ansible_facts={**setup(module, module.params["gather_subset"]), "postmaster_mail": facts})


if __name__ == "__main__":
    main()
