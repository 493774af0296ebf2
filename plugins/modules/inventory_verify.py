# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_verify
short_description: Tell all that is wrong with the inventory of a mail server
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Looks at every variable whose name begins with C(mail_) and at every variable of the roles that is not the role's own default,
    and reports in one error each rule that is broken, with the variable, its value and the rule.
  - The rules are the types in the roles' argument specs, and whatever makes variables contradict each other. Names that are not known,
    users and aliases in domains that are not declared, loops, passwords that are not bcrypt hashes, or an SPF record past its ten
    look-ups are among them.
  - It runs on the controller and neither reads nor changes anything on the host. M(ansible.builtin.setup) has to run first.
options:
  roles:
    description:
      - Roles of this collection, without its name, whose variables are looked at.
    type: list
    elements: str
    required: true
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
    details:
      - All of it is executed on the controller.
seealso:
  - plugin: postmaster.mail.mail_model
    plugin_type: filter
    description: Checks and completes the shared variables.
"""

EXAMPLES = r"""
- name: The inventory holds together
  postmaster.mail.inventory_verify:
    roles: [postfix, dovecot]
"""

RETURN = r"""
"""
