# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: _model
short_description: "[INTERNAL] Check and complete variables of a mail server"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
requirements:
  - cryptography >= 38, for records of DKIM keys
description:
  - For the roles of this collection, which hand on what M(postmaster.mail.inventory_verify) returns. This is for a few variables by
    themselves. It can change without notice.
positional: os_family
options:
  _input:
    description: Variables without their C(mail_) prefix.
    type: dict
    required: true
  os_family:
    description: The host's, as in C(ansible_facts). Some defaults depend on it, and not everything can be had everywhere.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Show addresses in canonical form
  ansible.builtin.debug:
    msg: "{{ ({'addresses': ['2001:DB8:0::25']} | postmaster.mail._model).addresses.ipv6 }}"
"""

RETURN = r"""
_value:
  description: As each of the C(models) of M(postmaster.mail.inventory_verify).
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import checked_model, packed


def _model(given, os_family=""):
    """Return the model of the variables ``given``, as tasks hand it on."""
    return packed(checked_model(given, os_family))


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"_model": filter_of(_model, "The inventory of this mail server does not hold together: ", given="dict", os_family="str")}
