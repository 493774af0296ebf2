# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_addresses
short_description: The addresses that a host sends from
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Takes the facts of a host and returns the address of each family that it sends from by default.
  - A link-local address, as OpenBSD's facts have where the gateway is link-local, gives way to a global one of the same host.
options:
  _input:
    description: C(ansible_facts).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Addresses | Show what the host sends from
  ansible.builtin.debug:
    msg: "{{ facts | postmaster.mail.host_addresses }}"
    # => {ipv4: 198.51.100.25, ipv6: "2001:db8:100::25"}
  vars:
    facts:  # as in ansible_facts
      default_ipv4: {address: 198.51.100.25}
      default_ipv6: {address: "fe80::1%vio0", interface: vio0}
      all_ipv6_addresses: ["fe80::1%vio0", "2001:db8:100::25"]
"""

RETURN = r"""
_value:
  description: C(ipv4) and C(ipv6), each empty where the host has none.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils import _system
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

host_addresses = filter_of(_system.host_addresses, "host_addresses: ", facts="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"host_addresses": host_addresses}
