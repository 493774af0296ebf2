# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: signing_keys
short_description: The DKIM keys that may sign
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - A key begins to sign once every authoritative server of its domain serves its record; one that signs already goes on. Until a
    new key may sign, the old one does.
options:
  _input:
    description: Domain to DKIM key, as RV(postmaster.mail.dkim_keyring#module:keys).
    type: dict
    required: true
  seen:
    description: The records as RV(postmaster.mail.dns_records#module:records).
    type: list
    elements: dict
    required: true
  today:
    description: The day, as V(2026-11-22), from which on a key signs that begins to.
    type: str
"""

EXAMPLES = r"""
- name: Which domains sign
  ansible.builtin.debug:
    msg: "{{ keyring['keys'] | postmaster.mail.signing_keys(published.records) }}"
    # => example.org: {selector: s20261122, path: /var/lib/postmaster-mail/dkim/example.org.s20261122.key}
  vars:
    # As postmaster.mail.dkim_keyring and postmaster.mail.dns_records return them.
    keyring:
      keys:
        example.org:
          selector: s20261122
          path: /var/lib/postmaster-mail/dkim/example.org.s20261122.key
          name: s20261122._domainkey.example.org
        example.net:
          selector: s20261122
          path: /var/lib/postmaster-mail/dkim/example.net.s20261122.key
          name: s20261122._domainkey.example.net
    published:
      records:
        - {name: s20261122._domainkey.example.org, type: TXT, served: true}
        - {name: s20261122._domainkey.example.net, type: TXT, served: false}
"""

RETURN = r"""
_value:
  description:
    - Domain to C(selector) and C(path) of its key, and C(since), the day on which it began to sign, where it is known.
    - A domain that may not sign yet is not in it.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import signing
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

signing_keys = filter_of(signing, keys="dict", seen="list[dict]", today="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"signing_keys": signing_keys}
