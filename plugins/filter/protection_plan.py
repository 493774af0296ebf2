# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: protection_plan
short_description: Who is never banned, as fail2ban, nftables and pf read it
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Checks addresses and networks that are never banned, and returns them in one form.
options:
  _input:
    description:
      - A dictionary with C(trusted), as in the variables of the role P(postmaster.mail.protection#role).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Who is never banned, over IPv4
  ansible.builtin.debug:
    msg: "{{ ({'trusted': ['127.0.0.0/8', '127.0.0.1', '2001:DB8::1']} | postmaster.mail.protection_plan).ipv4 }}"
    # => ['127.0.0.0/8']
"""

RETURN = r"""
_value:
  description:
    - The lists C(trusted), C(ipv4), C(ipv6) and C(uncounted), of strings.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._protection import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

protection_plan = filter_of(plan, given="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"protection_plan": protection_plan}
