# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: reverse_name
short_description: The name of an address's PTR record
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the name whose PTR record names this address, under in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5).
options:
  _input:
    description: An IPv4 or IPv6 address. An IPv4 address in IPv6 form, as V(::ffff:198.51.100.25), is taken as IPv4.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Both families
  ansible.builtin.debug:
    msg: "{{ ['198.51.100.25', '2001:db8::25'] | map('postmaster.mail.reverse_name') }}"
    # => - 25.100.51.198.in-addr.arpa
    #    - 5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa
"""

RETURN = r"""
_value:
  description: The name, without a trailing dot.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def reverse_name(address):
    """Return the name of the PTR record of C(address)."""
    return _names.reverse_name(address)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"reverse_name": filter_of(reverse_name, "reverse_name: ", address="str")}
