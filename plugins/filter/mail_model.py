# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_model
short_description: Check the mail_* variables and fill in their defaults
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Takes the variables of a mail server, without their C(mail_) prefix, checks all of them together, and returns one
    dictionary in which every name is canonical and every default is filled in. The roles print their configuration from it.
  - All broken rules are reported in one error, each with the variable, its value and the rule.
positional: os_family
options:
  _input:
    description:
      - A dictionary of variables, such as C(fqdn), C(domains) and C(users); the README lists them.
      - What is left out takes its default, so a role that is used alone passes only what it has.
    type: dict
    required: true
  os_family:
    description:
      - C(ansible_facts.os_family) of the host. Some defaults depend on it, and what cannot be had there is an error.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: What a small server does with forgeries of its domain, as nothing was said about it
  ansible.builtin.debug:
    msg: "{{ ({'fqdn': 'mail.example.org', 'domains': {'example.org': {}}} | postmaster.mail.mail_model).domains['example.org'].dmarc }}"
    # => {policy: quarantine, subdomain_policy: null, rua: [postmaster@example.org], ruf: [], adkim: r, aspf: r}
"""

RETURN = r"""
_value:
  description:
    - The keys C(fqdn), C(addresses), C(mta), C(postmaster), C(domains), C(users), C(aliases), C(dns), C(certificates), C(filter),
      C(slow_destinations), C(refusals) and C(host_senders).
    - A user's C(quota) is in bytes, V(0) for none. C(aliases) includes the role addresses of every domain (RFC 2142).
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._model import normalise
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

mail_model = filter_of(normalise, "The inventory of this mail server does not hold together: ", given="dict", os_family="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"mail_model": mail_model}
