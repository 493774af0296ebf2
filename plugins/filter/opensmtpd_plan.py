# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: opensmtpd_plan
short_description: What OpenSMTPD's configuration is printed from
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Writes the tables of addresses, passwords and senders in the form of C(table(5\)), checks the patterns of names and the slow
    destinations, and returns all in the form in which the role P(postmaster.mail.opensmtpd#role) prints it.
options:
  _input:
    description:
      - A dictionary with C(model), as P(postmaster.mail.mail_model#filter) returns it, C(delivery), as
        P(postmaster.mail.mail_delivery#filter) does, C(owner), the system user that delivers, C(own_addresses), those that the
        host itself has, C(usual_addresses), C(ipv4) and C(ipv6) that the system sends from, C(binds_ipv6), whether this smtpd can read an
        IPv6 address as a source, and C(rdns), C(fcrdns), C(dynamic), C(static_names), C(dynamic_names), C(srs_key) and
        C(warn_intervals), as in the variables of the role.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Where does the mail of the user go?
  ansible.builtin.debug:
    msg: >-
      {{ ({'model': model, 'delivery': model | postmaster.mail.mail_delivery, 'owner': 'vmail', 'rdns': 'junk', 'fcrdns': 'off',
           'dynamic': 'off'} | postmaster.mail.opensmtpd_plan).files.aliases | regex_search('^me@.*', multiline=true) }}
    # => me@example.org vmail
  vars:
    model: "{{ {'fqdn': 'mail.example.org', 'domains': {'example.org': {}}, 'users': mail_users} | postmaster.mail.mail_model }}"
    mail_users: {me@example.org: {password_hash: "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy"}}
"""

RETURN = r"""
_value:
  description:
    - C(files) maps the names of tables to their texts; the one of C(credentials) holds password hashes.
    - C(own), the senders of this server's domains, C(trusted), C(static), C(dynamic) and C(sources) are lists of quoted strings of
      C(smtpd.conf(5\)).
    - C(checks) is a list of dictionaries with C(name), C(match) and C(decision) of a filter at connect.
    - C(limits) is a list of what follows C(mta limit), C(warnings) of the times that follow C(bounce warn-interval).
    - C(client_limits) is a list of options of the filter.
    - C(srs_days) is how long a bounce of forwarded mail may take.
  type: dict
"""

from ansible_collections.postmaster.mail.plugins.module_utils._opensmtpd import plan
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of

opensmtpd_plan = filter_of(plan, given="dict")


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"opensmtpd_plan": opensmtpd_plan}
