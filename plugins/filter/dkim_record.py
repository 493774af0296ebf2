# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dkim_record
short_description: The DKIM key record of a public key
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
requirements:
  - cryptography >= 38
description:
  - Returns the value of the TXT record that publishes a DKIM key (RFC 6376 section 3.6.1, RFC 8463).
  - M(postmaster.mail.dkim_keypair) and M(postmaster.mail.dkim_keyring) return the same for the keys that they keep.
positional: algorithm
options:
  _input:
    description:
      - The public key in base64. Of RSA its SubjectPublicKeyInfo, which is a PEM file without the first and last line; of Ed25519 its 32
        octets.
      - The empty string revokes the key.
    type: str
    required: true
  algorithm:
    description: Algorithm of the key.
    type: str
    choices: [rsa, ed25519]
    default: rsa
  flags:
    description: Flags in C(t=). V(y) says that the domain tests DKIM, V(s) that C(i=) must be of exactly this domain.
    type: list
    elements: str
    choices: ['y', s]
    default: []
  notes:
    description: Text for C(n=), meant for administrators. Encoded as the RFC demands.
    type: str
"""

EXAMPLES = r"""
- name: The record of a key
  ansible.builtin.debug:
    msg: "{{ '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=' | postmaster.mail.dkim_record('ed25519') }}"
    # => v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=

- name: A key is revoked
  ansible.builtin.debug:
    msg: "{{ '' | postmaster.mail.dkim_record }}"
    # => v=DKIM1; k=rsa; p=
"""

RETURN = r"""
_value:
  description: The value of the TXT record.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import dkim
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

dkim_record = filter_of(dkim.record, "dkim_record: ", public_key="str", algorithm="str", flags="list", notes="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"dkim_record": dkim_record}
