#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: See in one look what a host has, as far as mail is concerned
version_added: 0.1.0
description:
  - Returns the packages, the accounts and the services of a host, so that the roles of this collection need not look again for what is
    there already. On an unchanged host that spares most of their tasks.
  - C(ansible_facts.packages) and C(ansible_facts.getent_passwd) have the form that M(ansible.builtin.package_facts) and
    M(ansible.builtin.getent) give them. The former opens all of APT's lists for it, which takes most of a second, and needs the host's
    library of Python for APT.
author: The postmaster.mail developers (@postmaster-mail)
options: {}
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
seealso:
  - module: ansible.builtin.getent
  - module: ansible.builtin.package_facts
  - module: ansible.builtin.service_facts
"""

EXAMPLES = r"""
- name: What is there
  postmaster.mail.host_facts:

- name: The version of Postfix
  ansible.builtin.debug:
    msg: "{{ ansible_facts.packages.postfix[0].version }}"

- name: Postfix runs now and after a restart
  ansible.builtin.service:
    name: postfix
    state: started
    enabled: true
  when: "'postfix' not in ansible_facts.lasting_services"
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host.
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
    getent_passwd:
      description: Name of each account to its other fields in passwd(5), which are strings.
      returned: always
      type: dict
      sample: {vmail: [x, "5000", "5000", Mailboxes, /var/vmail, /usr/sbin/nologin]}
    lasting_services:
      description:
        - Names of the services that run and are started at the next boot too, as M(ansible.builtin.service) takes them. Timers have
          their suffix.
        - Empty where systemd does not run; OpenBSD's rcctl would look for each daemon in turn, which takes longer than it spares.
      returned: always
      type: list
      elements: str
      sample: [certbot.timer, dovecot, postfix]
    mail_orphaned:
      description:
        - Whether mail waits in OpenSMTPD's queue for an action that C(smtpd.conf) does not have, as M(postmaster.mail.mail_handover) mends
          it. Files that C(smtpd.conf) includes are not looked at.
      returned: always
      type: bool
"""

import glob
import os
import pwd

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._handover import OpenSmtpd
from ansible_collections.postmaster.mail.plugins.module_utils._host_facts import COMMANDS, UNITS, installed, lasting


def packages(module: AnsibleModule) -> dict[str, list[dict[str, str]]]:
    """Return what the first package manager says that this host has."""
    commands = ((source, module.get_bin_path(argv[0]), argv[1:]) for source, argv in COMMANDS.items())
    source, program, options = next((command for command in commands if command[1]), ("", None, []))
    if program is None:
        module.fail_json(msg=f"this host has none of {', '.join(argv[0] for argv in COMMANDS.values())}: its packages are not known")
    _status, output, _errors = module.run_command([program, *options], check_rc=True)
    return installed(source, output)


def services(module: AnsibleModule) -> list[str]:
    """Return the services that run and are enabled. Of what systemctl does not tell, none is assumed: the roles then look themselves."""
    # As sd_booted(3).
    if not os.path.isdir("/run/systemd/system"):
        return []
    status, output, _errors = module.run_command(UNITS)
    return [] if status else lasting(output)


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.run_command_environ_update = {"LC_ALL": "C"}
    facts = {
        "packages": packages(module),
        "package_lists": bool(glob.glob("/var/lib/apt/lists/*_Packages*")),
        "getent_passwd": {entry.pw_name: [str(field) for field in entry[1:]] for entry in pwd.getpwall()},
        "lasting_services": services(module),
        "mail_orphaned": bool(OpenSmtpd("/var/spool/smtpd").orphans()),
    }
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
