# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_delivery
short_description: The tables of addresses that a mail server needs
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Says for every address where its mail goes, and who may send as it, from what P(postmaster.mail.mail_model#filter) returns.
options:
  _input:
    description: What P(postmaster.mail.mail_model#filter) returns.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who may send as whom
  ansible.builtin.debug:
    msg: "{{ ({'domains': mail_domains, 'users': mail_users} | postmaster.mail.mail_model | postmaster.mail.mail_delivery).senders }}"
    # => abuse@example.org: [me@example.org]
    #    hostmaster@example.org: [me@example.org]
    #    me@example.org: [me@example.org]
    #    noc@example.org: [me@example.org]
    #    postmaster@example.org: [me@example.org]
    #    security@example.org: [me@example.org]
    #    webmaster@example.org: [me@example.org]
  vars:
    mail_domains: {example.org: {}}
    mail_users: {me@example.org: {password_hash: "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy"}}
"""

RETURN = r"""
_value:
  description:
    - C(domains) and C(mailboxes) are lists; C(aliases), C(senders), C(logins) and C(system) are dictionaries of lists of addresses.
    - C(host_senders) says which accounts of this host may send as an address or C(@domain); C(*) stands for all of them.
    - A catch-all has the key C(@domain) in C(aliases).
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._delivery import delivery
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

mail_delivery = filter_of(delivery, model="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"mail_delivery": mail_delivery}
