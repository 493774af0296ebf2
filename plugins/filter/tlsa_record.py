# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tlsa_record
short_description: The TLSA record of a certificate
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
requirements:
  - cryptography >= 38
description:
  - Returns the data of a TLSA record (RFC 6698), by default V(3 1 1), as RFC 7672 recommends for SMTP. For a mail server it belongs at
    C(_25._tcp.<host>), in a zone that is signed.
  - V(3 1 1) is of the public key alone, so it stays valid over renewals that keep the key.
positional: usage, selector, matching
options:
  _input:
    description: A certificate in PEM form, of a chain the first one, or a public key in PEM form.
    type: str
    required: true
  usage:
    description: V(3) for the certificate itself, V(2) for an authority that is part of the chain.
    type: int
    choices: [2, 3]
    default: 3
  selector:
    description: V(1) for the public key, V(0) for the whole certificate.
    type: int
    choices: [0, 1]
    default: 1
  matching:
    description: V(1) for SHA-256, V(2) for SHA-512, V(0) for the data itself.
    type: int
    choices: [0, 1, 2]
    default: 1
"""

EXAMPLES = r"""
- name: What to publish for a certificate or, as here, for its public key
  ansible.builtin.debug:
    msg: "_25._tcp.mail.example.org. IN TLSA {{ public_key | postmaster.mail.tlsa_record }}"
    # => _25._tcp.mail.example.org. IN TLSA 3 1 1 eaaecba86bd9b6e1c6e85bd8cdf990f7f2660a7dc074bffd928455e777bd315d
  vars:
    public_key: |
      -----BEGIN PUBLIC KEY-----
      MCowBQYDK2VwAyEA1MsuOPS8zkoBwYaP8ZYwiZ4cVbQsmH66h9YFs0AzQGk=
      -----END PUBLIC KEY-----
"""

RETURN = r"""
_value:
  description: The data of the TLSA record.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import tlsa
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

tlsa_record = filter_of(tlsa.record, "tlsa_record: ", pem="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"tlsa_record": tlsa_record}
