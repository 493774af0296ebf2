# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dovecot_syntax
short_description: Which configuration syntax an installed Dovecot reads
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Dovecot 2.4 and 2.3 cannot read each other's configuration. This filter tells from the installed version which one to write.
options:
  _input:
    description: What C(dovecot --version) prints; empty when it is not installed.
    type: str
    required: true
  expected:
    description: The answer when nothing is installed yet, as in check mode on a fresh host.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: The syntax of Debian 13
  ansible.builtin.debug:
    msg: "{{ '2.4.1-4 (7d8c0e5759)' | postmaster.mail.dovecot_syntax }}"
    # => 2.4
"""

RETURN = r"""
_value:
  description: Either V(2.3) or V(2.4).
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._dovecot import syntax
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

dovecot_syntax = filter_of(syntax, version="str", expected="str")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"dovecot_syntax": dovecot_syntax}
