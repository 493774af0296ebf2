#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: installed_packages
short_description: List the packages that a host has, quickly
version_added: 0.1.0
description:
  - Asks C(dpkg-query) or C(pkg_info) and gives C(ansible_facts.packages) the form that M(ansible.builtin.package_facts) gives it.
  - That one opens all of APT's lists for it and needs the host's library of Python for APT, which takes most of a second where this
    takes none.
author: The postmaster.mail developers (@postmaster-mail)
options: {}
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
seealso:
  - module: ansible.builtin.package_facts
"""

EXAMPLES = r"""
- name: What is installed
  postmaster.mail.installed_packages:

- name: The version of Postfix
  ansible.builtin.debug:
    msg: "{{ ansible_facts.packages.postfix[0].version }}"
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host's packages.
  returned: always
  type: complex
  contains:
    packages:
      description: Name to a list of dictionaries with C(name), C(version) and C(source).
      returned: always
      type: dict
      sample: {postfix: [{name: postfix, version: 3.10.4-1, source: dpkg}]}
    package_lists:
      description:
        - Whether the host has lists of the packages that can be had, where it keeps such lists (APT). An image may come without, however
          fresh their directory looks.
      returned: always
      type: bool
"""

import glob

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._packages import COMMANDS, installed


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    commands = ((source, module.get_bin_path(argv[0]), argv[1:]) for source, argv in COMMANDS.items())
    source, program, options = next((command for command in commands if command[1]), ("", None, []))
    if program is None:
        module.fail_json(msg=f"this host has none of {', '.join(argv[0] for argv in COMMANDS.values())}: its packages are not known")
    module.run_command_environ_update = {"LC_ALL": "C"}
    _status, output, _errors = module.run_command([program, *options], check_rc=True)
    facts = {"packages": installed(source, output), "package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*"))}
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
