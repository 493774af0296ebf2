# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dovecot_users
short_description: The passwd-file of Dovecot
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Writes the users of P(postmaster.mail.mail_model#filter) as a passwd-file of Dovecot, with their passwords and quotas.
  - The result holds password hashes. Write it to a file that only Dovecot's authentication can read.
options:
  _input:
    description: The C(users) that P(postmaster.mail.mail_model#filter) returns.
    type: dict
    required: true
  syntax:
    description: The syntax that P(postmaster.mail.dovecot_syntax#filter) returns.
    type: str
    choices: ['2.3', '2.4']
    required: true
"""

EXAMPLES = r"""
- name: One user with a quota
  ansible.builtin.debug:
    msg: "{{ ({'domains': {'example.org': {}}, 'users': mail_users} | postmaster.mail.mail_model).users
      | postmaster.mail.dovecot_users('2.4') }}"
    # => me@example.org:{BLF-CRYPT}$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy::::::userdb_quota_storage_size=2147483648B
  vars:
    mail_users:
      me@example.org: {password_hash: "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy", quota: 2G}
"""

RETURN = r"""
_value:
  description: The text of the file, one line for each user, sorted.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._dovecot import passwd_file
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def dovecot_users(users, syntax):
    """Return the passwd-file of these C(users)."""
    return passwd_file(users, syntax)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"dovecot_users": filter_of(dovecot_users, users="dict", syntax="str")}
