# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rspamd_plan
short_description: What Rspamd's configuration is printed from
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Checks thresholds, DNSBLs, modules and DKIM signing, and returns them in the form in which the role
    P(postmaster.mail.rspamd#role) prints them.
options:
  _input:
    description:
      - A dictionary with C(filter), as P(postmaster.mail.mail_model#filter) returns it, and any of C(dnsbls), C(disabled_modules) and
        C(signing), as in the variables of the role, and C(domains), those of the mail and the server's name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Which domains are signed
  ansible.builtin.debug:
    msg: "{{ ({'filter': ({} | postmaster.mail.mail_model).filter, 'signing': signing} | postmaster.mail.rspamd_plan).signing }}"
    # => [{domain: example.org, selectors: [{selector: s20261122, path: /var/lib/postmaster-mail/dkim/example.org.s20261122.key}]}]
  vars:
    signing:
      example.org: {selector: s20261122, path: /var/lib/postmaster-mail/dkim/example.org.s20261122.key}
"""

RETURN = r"""
_value:
  description:
    - C(reject), C(junk) and C(greylist) are thresholds, the last one C(null) for none; C(trusted) is a list of networks; C(rbl) is
      whether DNSBLs are asked.
    - C(dnsbls) is a list of dictionaries with C(name), C(zone), C(symbol) and C(score).
    - C(signing) is a list of dictionaries with C(domain) and C(selectors), and each of these has C(selector) and C(path).
    - C(dmarc) and C(arc_sealers) are those of C(filter); C(domains) is a list of those that nobody else may write in From.
    - C(module_files) maps paths to the text that switches a module off, or on.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._rspamd import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

rspamd_plan = filter_of(plan, given="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"rspamd_plan": rspamd_plan}
