# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: resolver_plan
short_description: What a local resolver's configuration is printed from
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Checks root hints, trust anchors and forwarders, and returns them in one form.
options:
  _input:
    description:
      - A dictionary with any of C(root_hints), C(trust_anchors), C(forwarders) and C(ordinary_zones), as in the variables of the
        role P(postmaster.mail.resolver#role).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The addresses of a private root
  ansible.builtin.debug:
    msg: "{{ (given | postmaster.mail.resolver_plan).root_addresses }}"
    # => [198.51.100.2]
  vars:
    given:
      root_hints: [{name: ns.test, addresses: [198.51.100.2]}]
      trust_anchors: [". IN DS 20375 13 2 53FC9002F94B83F0194D967C7598F32F65483D581E13FDD6DEB94EC6197940DE"]
"""

RETURN = r"""
_value:
  description:
    - The lists C(root_addresses), C(trust_anchors), C(forwarders) and C(ordinary_zones).
    - The booleans C(forwarders_tls) and C(asks_localhost).
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._resolver import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

resolver_plan = filter_of(plan, given="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"resolver_plan": resolver_plan}
