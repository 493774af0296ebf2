# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_ciphers
short_description: TLS 1.2 ciphers of a mail server's ports
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the ciphers that a server is to offer for TLS 1.2, the preferred ones first, as OpenSSL and LibreSSL read a list. Those of
    TLS 1.3 are all strong, and not in such lists.
  - None of them is anonymous, and all have forward secrecy by ECDHE, so that no parameters for DHE are needed.
options:
  _input:
    description:
      - V(users) for ports where users log in. Their clients encrypt or do not connect, so only authenticated encryption (AEAD) is offered.
      - V(servers) for port 25, where a server that has none of the ciphers would send in the clear. It may use CBC with SHA-2 as well,
        which NCSC's guidelines for TLS, and with them the mail test of Internet.nl, want to be phased out but do not call insufficient.
    type: str
    choices: [users, servers]
    required: true
"""

EXAMPLES = r"""
- name: What port 25 may offer
  ansible.builtin.debug:
    msg: "{{ 'servers' | postmaster.mail.tls_ciphers }}"
    # => ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES256+SHA384:ECDHE+AES128+SHA256
"""

RETURN = r"""
_value:
  description: The cipher list.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._tls import ciphers
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"tls_ciphers": filter_of(ciphers, "tls_ciphers: ", clients="str")}
