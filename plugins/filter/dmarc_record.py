# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dmarc_record
short_description: A DMARC record
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the value of a DMARC record (RFC 9989), C(p) right after C(v) as readers of RFC 7489 demand. What is a default is left out.
positional: rua, subdomain_policy
options:
  _input:
    description: What receivers are asked to do with mail that fails, V(none), V(quarantine) or V(reject).
    type: str
    required: true
  rua:
    description:
      - Where aggregate reports go, mail addresses or C(mailto:) and C(https:) URIs.
      - Another organisation's domain must say that it takes them (RFC 9990), in a TXT record V(v=DMARC1) at
        C(<this domain>._report._dmarc.<its domain>).
    type: list
    elements: str
    default: []
  subdomain_policy:
    description: The same for subdomains, C(sp).
    type: str
    choices: [none, quarantine, reject]
  nonexistent_policy:
    description: The same for subdomains that do not exist, C(np).
    type: str
    choices: [none, quarantine, reject]
  ruf:
    description: Where failure reports go.
    type: list
    elements: str
    default: []
  adkim:
    description: Alignment of DKIM, V(r) relaxed or V(s) strict.
    type: str
    choices: [r, s]
    default: r
  aspf:
    description: Alignment of SPF, V(r) relaxed or V(s) strict.
    type: str
    choices: [r, s]
    default: r
  failure_options:
    description: What failure reports are about, C(fo). Needs O(ruf).
    type: list
    elements: str
    choices: ['0', '1', d, s]
    default: []
  testing:
    description: Ask receivers to act one level more mildly, C(t=y).
    type: bool
    default: false
  public_suffix:
    description: C(psd), V(y) for a public suffix, V(n) for an organisational domain, V(u) for what the tree walk finds.
    type: str
    choices: ['y', n, u]
  percent:
    description: C(pct), which RFC 9989 has taken out and some receivers still read. From 0 to 100.
    type: int
"""

EXAMPLES = r"""
- name: A domain that wants reports
  ansible.builtin.debug:
    msg: "{{ 'quarantine' | postmaster.mail.dmarc_record(['postmaster@example.org']) }}"
    # => v=DMARC1; p=quarantine; rua=mailto:postmaster@example.org

- name: A domain that sends no mail
  ansible.builtin.debug:
    msg: "{{ 'reject' | postmaster.mail.dmarc_record(adkim='s', aspf='s') }}"
    # => v=DMARC1; p=reject; adkim=s; aspf=s
"""

RETURN = r"""
_value:
  description: The value of the TXT record.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import dmarc
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def dmarc_record(
    policy,
    rua=(),
    subdomain_policy=None,
    nonexistent_policy=None,
    ruf=(),
    adkim="r",
    aspf="r",
    failure_options=(),
    testing=False,
    public_suffix=None,
    percent=None,
):
    """Return the value of a DMARC record."""
    return dmarc.build(
        policy=policy,
        subdomain_policy=subdomain_policy,
        nonexistent_policy=nonexistent_policy,
        rua=rua,
        ruf=ruf,
        adkim=adkim,
        aspf=aspf,
        failure_options=failure_options,
        testing=testing,
        public_suffix=public_suffix,
        percent=percent,
    )


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        lists = dict.fromkeys(("rua", "ruf", "failure_options"), "list")
        words = dict.fromkeys(("policy", "subdomain_policy", "nonexistent_policy", "adkim", "aspf", "public_suffix"), "str")
        return {"dmarc_record": filter_of(dmarc_record, "dmarc_record: ", testing="bool", **lists, **words)}
