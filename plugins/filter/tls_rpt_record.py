# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: tls_rpt_record
short_description: A TLS-RPT record
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the value of the TXT record that asks for reports about TLS failures (RFC 8460). It belongs at C(_smtp._tls.<domain>).
options:
  _input:
    description: Where reports go, mail addresses or C(mailto:) and C(https:) URIs.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: What to publish
  ansible.builtin.debug:
    msg: "{{ ['tls-reports@example.org'] | postmaster.mail.tls_rpt_record }}"
    # => v=TLSRPTv1; rua=mailto:tls-reports@example.org
"""

RETURN = r"""
_value:
  description: The value of the TXT record.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import tls_rpt
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

tls_rpt_record = filter_of(tls_rpt.build, "tls_rpt_record: ", rua="list")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"tls_rpt_record": tls_rpt_record}
