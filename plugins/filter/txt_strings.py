# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: txt_strings
short_description: The strings of a TXT value
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Splits a value into strings of at most 255 octets, as a TXT record carries it (RFC 1035 section 3.3).
  - Readers join the strings with nothing between.
options:
  _input:
    description: The whole value, ASCII.
    type: str
    required: true
  quoted:
    description: Return one text for a zone file instead, each string in quotes and escaped.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: A line for a zone file
  ansible.builtin.debug:
    msg: "s1._domainkey.example.org. IN TXT {{ value | postmaster.mail.txt_strings(quoted=true) }}"
    # => s1._domainkey.example.org. IN TXT "v=DKIM1; k=rsa; p="
  vars:
    value: v=DKIM1; k=rsa; p=
"""

RETURN = r"""
_value:
  description: A list of strings, or one text if O(quoted=true).
  type: raw
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import txt
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def txt_strings(value, quoted=False):
    """Return the strings of a TXT value, or their text in a zone file."""
    return txt.presentation(value) if quoted else txt.strings(value)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"txt_strings": filter_of(txt_strings, "txt_strings: ", value="str", quoted="bool")}
