# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mta_sts_record
short_description: An MTA-STS policy and the record that announces it
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the text of the policy file and the value of the TXT record (RFC 8461). The C(id) in the record is made of the policy, so it
    changes when, and only when, the policy does.
  - The policy belongs at C(https://mta-sts.<domain>/.well-known/mta-sts.txt), the record at C(_mta-sts.<domain>).
positional: mode, max_age
options:
  _input:
    description: The MX hosts, or patterns such as V(*.example.net), where the star stands for one label.
    type: list
    elements: str
    required: true
  mode:
    description: What senders do with a host that fails. V(none) with no hosts takes a policy back.
    type: str
    choices: [enforce, testing, none]
    default: testing
  max_age:
    description: Seconds that senders remember the policy, to 31557600.
    type: int
    default: 604800
"""

EXAMPLES = r"""
- name: What to publish
  ansible.builtin.debug:
    msg: "{{ (['mail.example.org'] | postmaster.mail.mta_sts_record('enforce')).record }}"
    # => v=STSv1; id=4ce772199f4b9237f56e5c5112d9cc3d;
"""

RETURN = r"""
_value:
  description: The policy and its record.
  type: dict
  contains:
    policy:
      description: Text of the policy file, its lines ended by CRLF.
      type: str
    record:
      description: The value of the TXT record.
      type: str
      sample: v=STSv1; id=4ce772199f4b9237f56e5c5112d9cc3d;
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import mta_sts
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def mta_sts_record(mx, mode="testing", max_age=604800):
    """Return an MTA-STS policy for the hosts ``mx`` and its record."""
    policy = mta_sts.policy(mx, mode, max_age)
    return {"policy": policy, "record": mta_sts.record(policy)}


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"mta_sts_record": filter_of(mta_sts_record, "mta_sts_record: ", mx="list", mode="str")}
