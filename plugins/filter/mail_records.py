# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: mail_records
short_description: The DNS records of a mail server's domains
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Plans the MX, SPF, DKIM and DMARC records of every domain, and the SPF record of the name in the greeting, in the form
    that the option O(postmaster.mail.dns_records#module:records) takes.
options:
  _input:
    description: What P(postmaster.mail.mail_model#filter) returns, made with C(fqdn) and C(addresses).
    type: dict
    required: true
  keys:
    description:
      - Domain to DKIM key, as RV(postmaster.mail.dkim_keyring#module:keys).
      - A domain that is left out has no DKIM record in the plan.
    type: dict
    default: {}
  today:
    description:
      - The day, as V(2026-11-22). The records of keys that have not signed for more than seven days are withdrawn; without it none is.
    type: str
"""

EXAMPLES = r"""
- name: The records of the server, as lines of a zone file
  ansible.builtin.debug:
    msg: "{{ mail | postmaster.mail.mail_model | postmaster.mail.mail_records | postmaster.mail.dns_report }}"
    # => ; MX
    #    example.org. 3600 IN MX 10 mail.example.org.
    #    ; SPF: who may send
    #    example.org. 3600 IN TXT "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 ~all"
    #    ; DMARC: what to do with forgeries
    #    _dmarc.example.org. 3600 IN TXT "v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org"
    #    ; SPF: who may send
    #    mail.example.org. 3600 IN TXT "v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 -all"
  vars:
    mail:
      fqdn: mail.example.org
      addresses: [198.51.100.25, "2001:db8::25"]
      domains: {example.org: {}}
"""

RETURN = r"""
_value:
  description: Records with C(name), C(type), C(values), C(ttl) in seconds, C(state), and C(owned_prefix) where it applies.
  type: list
  elements: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

mail_records = filter_of(plan, "mail_records: ", model="dict", keys="dict", today="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"mail_records": mail_records}
