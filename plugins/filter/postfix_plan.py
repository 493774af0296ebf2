# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: postfix_plan
short_description: What Postfix's tables are printed from
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Says which mail is forwarded elsewhere and therefore gets a rewritten sender (SRS), and marks the targets of such aliases, in
    the form in which the role P(postmaster.mail.postfix#role) prints it.
options:
  _input:
    description:
      - A dictionary with C(model), as P(postmaster.mail.mail_model#filter) returns it, C(delivery), as
        P(postmaster.mail.mail_delivery#filter) does, and C(srs) and C(srs_key), as in the variables of the role.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Where does the mail of an alias go on this host?
  ansible.builtin.debug:
    msg: >-
      {{ ({'model': model, 'delivery': model | postmaster.mail.mail_delivery, 'srs': true}
          | postmaster.mail.postfix_plan).aliases['away@example.org'] | first }}
    # => someone@example.net.srs.invalid
  vars:
    model: >-
      {{ {'fqdn': 'mail.example.org', 'domains': {'example.org': {}}, 'users': mail_users, 'aliases': mail_aliases}
         | postmaster.mail.mail_model }}
    mail_aliases: {away@example.org: someone@example.net}
    mail_users: {me@example.org: {password_hash: "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy"}}
"""

RETURN = r"""
_value:
  description:
    - C(aliases) and C(system) are dictionaries of lists of addresses; the domain of a target that is elsewhere has a suffix.
    - C(login_senders) are the lines that say which account of the host may send as whom, C(pattern) and C(senders).
    - C(client_limits) is a dictionary of parameters.
    - C(srs) is none where nothing is forwarded or senders are to stay as they are. Else it is a dictionary with C(domain), the
      domain of rewritten senders, C(excluded), the domains whose senders stay, C(pattern), a regular expression of POSIX for
      rewritten senders, C(suffix) and C(suffix_pattern), a regular expression for a recipient with the suffix.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._postfix import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

postfix_plan = filter_of(plan, given="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"postfix_plan": postfix_plan}
