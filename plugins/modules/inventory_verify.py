# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_verify
short_description: "[INTERNAL] Report all that is wrong with the inventory of a mail server"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
requirements:
  - cryptography >= 38 on the controller, for records of DKIM keys
description:
  - Looks at every variable whose name begins with C(mail_) and at every variable of the roles that is not the role's own default,
    and reports in one error each rule that is broken, with the variable, its value and the rule.
  - The rules are the types in the roles' argument specs, and whatever makes variables contradict each other. Names that are not known,
    users and aliases in domains that are not declared, loops, passwords whose hashes nothing verifies, or an SPF record past its ten
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
"""

EXAMPLES = r"""
- name: Inventory | Check the variables of two roles
  postmaster.mail.inventory_verify:
    roles: [postfix, dovecot]
  register: checked

- name: Inventory | Show who receives the mail of role addresses
  ansible.builtin.debug:
    msg: "{{ checked.models.shared.postmaster }}"
"""

RETURN = r"""
models:
  description:
    - What the variables mean, checked and completed. C(shared) is made of those whose name begins with C(mail_); under the name of a
      role is what that role reads, the same unless variables of the role say something else.
    - Each has C(fqdn), C(addresses), C(mta), C(postmaster), C(dns), C(certificates), C(filter), C(slow_destinations), C(refusals),
      C(queue), C(outbound) and C(mailboxes);
      C(catch_all), whether a domain has one; C(forwards), whether mail goes on to other servers; C(authenticates), whether a
      smarthost asks for a password; C(falls_back), whether a route has several smarthosts; and C(text), all of the model with its
      domains, users, aliases and routes as JSON, for the filter P(postmaster.mail._service#filter).
    - It holds password hashes and keys, so the result of the task is never shown.
  returned: success
  type: dict
"""
