# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: reused_selectors
short_description: The DKIM keys whose selectors are those of other keys
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - A selector must not come back with another key. Verifiers that have the old record in their cache would fail every signature of the new
    key (RFC 6376 section 3.1).
  - A key that signs already is not looked at.
options:
  _input:
    description: Domain to DKIM key, as RV(postmaster.mail.dkim_keyring#module:keys).
    type: dict
    required: true
  missing:
    description: What RV(postmaster.mail.dns_records#module:missing) says of the keys' records.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Records | Show where public DNS serves another key at the selector of a new one
  ansible.builtin.debug:
    msg: "{{ keyring['keys'] | postmaster.mail.reused_selectors(look.missing) }}"
    # => []
  vars:
    # As postmaster.mail.dkim_keyring and postmaster.mail.dns_records (with backend: none) return them.
    keyring:
      keys:
        example.org:
          selector: mail
          path: /var/lib/postmaster-mail/dkim/example.org.mail.key
          name: mail._domainkey.example.org
          value: v=DKIM1; k=ed25519; p=YKFjoZxg8QPEaTWTFJC1Rd6kCWUCRLkyTh+MT7bL0JI=
          in_use: false
    look:
      missing: []
"""

RETURN = r"""
_value:
  description: A sentence for each such key, with the ways out.
  type: list
  elements: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import reused
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

reused_selectors = filter_of(reused, keys="dict", missing="list[dict]")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"reused_selectors": reused_selectors}
