# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: missing_packages
short_description: Which packages a host does not have
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Takes the packages as a package manager is asked for them and returns those that M(ansible.builtin.package_facts) has not found.
  - So a run that finds everything installed need not ask the package manager at all.
positional: installed
options:
  _input:
    description: Packages, also as OpenBSD's C(pkg_add) is asked for one of several (C(rspamd--), C(redis%bsd)).
    type: list
    elements: str
    required: true
  installed:
    description: C(ansible_facts.packages).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Packages | What the package manager is to be asked for
  ansible.builtin.debug:
    msg: "{{ ['rspamd--', 'redis%bsd'] | postmaster.mail.missing_packages(packages) }}"
    # => [redis%bsd]
  vars:
    packages: {rspamd: [{name: rspamd, version: 3.13.2, source: pkg_info}]}  # as in ansible_facts.packages
"""

RETURN = r"""
_value:
  description: Those of the packages that are not installed, as they were given.
  type: list
  elements: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils import _system
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

missing_packages = filter_of(_system.missing_packages, "missing_packages: ", wanted="list", installed="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"missing_packages": missing_packages}
