#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: "[INTERNAL] Install packages that a host lacks"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Compares O(name) with the packages in C(ansible_facts.postmaster_mail), as M(postmaster.mail.host_info) returns them, and asks nothing
    of a host that has them all.
  - No daemon of a package is started before it is configured, nothing that is only recommended is installed, and files that were changed
    by hand stay.
options:
  name:
    description:
      - Packages, as the package manager is asked for them, also with what picks one of several on OpenBSD (C(rspamd--), C(redis%bsd),
        C(postfix--%stable)), or with a version or a pattern of one on Debian (C(opensmtpd=7.4.*)).
    type: list
    elements: str
    required: true
  state:
    description:
      - V(present) installs them.
      - V(downloaded) fetches what V(present) would install, and V(listed) the lists of what can be installed, where the system can do
        either by itself (APT); neither is reported as a change. Check mode downloads no packages.
      - Check mode fetches lists with V(listed), since without them nothing can be foreseen. On a host that has none V(present) reports
        a change, and does not say which.
    type: str
    choices: [present, downloaded, listed]
    default: present
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the controller.
    support: full
    details:
      - The comparison is made on the controller; what is missing is installed by M(ansible.builtin.apt) or
        M(community.general.openbsd_pkg).
  diff_mode:
    support: partial
    details:
      - As far as the module that installs them supports it.
seealso:
  - module: ansible.builtin.package
  - module: postmaster.mail.host_info
"""

EXAMPLES = r"""
- name: Packages | Install Rspamd and its store
  postmaster.mail.packages:
    name: [rspamd, valkey-server]
"""

RETURN = r"""
missing:
  description: Those of O(name) that the host lacks, or lacked before.
  returned: success
  type: list
  elements: str
  sample: [valkey-server]
"""
