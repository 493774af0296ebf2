# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: sieve_header_test
short_description: A Sieve test for headers
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Writes a test in Sieve that is true when a message has one of the given headers with its value.
options:
  _input:
    description:
      - A dictionary of header names and values. V(*) and V(?) in a value stand for any characters; case does not matter.
      - Without any header the test is C(false).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What the filter marked as spam
  ansible.builtin.debug:
    msg: "if {{ {'X-Spam': 'Yes*'} | postmaster.mail.sieve_header_test }} { fileinto \"Junk\"; }"
    # => if header :matches "X-Spam" "Yes*" { fileinto "Junk"; }
"""

RETURN = r"""
_value:
  description: The test, as in C(header :matches "X-Spam" "Yes*").
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._dovecot import header_test
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

sieve_header_test = filter_of(header_test, headers="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"sieve_header_test": sieve_header_test}
