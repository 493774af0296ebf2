# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_mta
short_description: The MTA of a host
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns what C(mail_mta) says, or where it says nothing, what is usual on the system, OpenSMTPD on OpenBSD and Postfix elsewhere.
positional: os_family
options:
  _input:
    description: C(mail_mta), or nothing.
    type: str
    required: true
  os_family:
    description: C(ansible_facts.os_family).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Which MTA the host gets if the inventory does not say
  ansible.builtin.debug:
    msg: "{{ mail_mta | default('') | postmaster.mail.mail_mta('OpenBSD') }}"
    # => opensmtpd
"""

RETURN = r"""
_value:
  description: V(postfix) or V(opensmtpd).
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._system import usual_mta
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def mail_mta(given, os_family):
    """Return C(given), or the usual MTA of the system."""
    return given or usual_mta(os_family)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"mail_mta": filter_of(mail_mta, "mail_mta: ", given="str", os_family="str")}
