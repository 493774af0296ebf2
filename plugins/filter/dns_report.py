# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dns_report
short_description: DNS records as zone-file lines for people
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Writes records out as lines that can be put into a zone file or, one by one, into a registrar's form.
options:
  _input:
    description: What P(postmaster.mail.mail_records#filter) returns.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Print the records
  ansible.builtin.debug:
    msg: "{{ [{'name': 'example.org', 'type': 'MX', 'values': ['10 mail.example.org.'], 'ttl': 3600}]
      | postmaster.mail.dns_report }}"
    # => ; MX
    #    example.org. 3600 IN MX 10 mail.example.org.
"""

RETURN = r"""
_value:
  description: Text with a comment and a line for each record; TXT values are quoted and split at 255 octets.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import report
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

dns_report = filter_of(report, records="list[dict]")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"dns_report": dns_report}
