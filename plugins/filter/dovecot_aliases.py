# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dovecot_aliases
short_description: The aliases that Dovecot knows quotas of
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Writes the aliases of exactly one mailbox, with that mailbox's name and quota, as a userdb passwd-file of Dovecot.
  - The MTA asks for quotas before it resolves aliases. With this file, mail to an alias of a full mailbox is refused at RCPT.
  - The line of an alias is that of C(=) and its name, with a backslash before an apostrophe, as Dovecot's C(%{user}) has it.
  - A catch-all is the line of C(@domain), to be looked up by the domain alone. In its domain, every mailbox and alias has a line.
  - The result has no passwords and must never be used as a passdb.
options:
  _input:
    description: What P(postmaster.mail.mail_model#filter) returns; with C(fqdn), the names of the host are known, too.
    type: dict
    required: true
  syntax:
    description: The syntax that P(postmaster.mail.dovecot_syntax#filter) returns.
    type: str
    choices: ['2.3', '2.4']
    required: true
"""

EXAMPLES = r"""
- name: Role addresses lead to the first user, with the limit of the user's mailbox
  ansible.builtin.debug:
    msg: "{{ ({'domains': {'example.org': {}}, 'users': mail_users} | postmaster.mail.mail_model
             | postmaster.mail.dovecot_aliases('2.4')).splitlines() | select('match', '=abuse') }}"
    # => ["=abuse:::::::userdb_user=me@example.org userdb_quota_storage_size=2147483648B",
    #     "=abuse@example.org:::::::userdb_user=me@example.org userdb_quota_storage_size=2147483648B",
    #     "=abuse@localhost:::::::userdb_user=me@example.org userdb_quota_storage_size=2147483648B"]
  vars:
    mail_users:
      me@example.org: {password_hash: "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy", quota: 2G}
"""

RETURN = r"""
_value:
  description: The text of the file, one line for each alias, sorted.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._delivery import delivery, recipients
from ansible_collections.postmaster.mail.plugins.module_utils._dovecot import alias_file
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def dovecot_aliases(model, syntax):
    """Return the userdb of the aliases in this C(model)."""
    return alias_file(model["users"], recipients(delivery(model), model["fqdn"]), syntax)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"dovecot_aliases": filter_of(dovecot_aliases, model="dict", syntax="str")}
