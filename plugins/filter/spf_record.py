# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: spf_record
short_description: One SPF record for the addresses of both families
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Returns the value of an SPF record (RFC 7208) that lets these addresses send, IPv4 and IPv6 in one record.
  - An existing record can be extended. None of its terms is lost.
  - Fails if a term is none, or if receivers would stop with permerror because the record needs more than ten DNS look-ups
    (RFC 7208 section 4.6.4). Each of C(include), C(a), C(mx), C(ptr), C(exists) and C(redirect) counts as one, and what the records
    behind them need counts too if O(answers) tells it.
positional: terms
options:
  _input:
    description: IPv4 and IPv6 addresses and networks, in any order. Of one inside another the wider counts.
    type: list
    elements: str
    required: true
  terms:
    description: Further mechanisms and modifiers, kept in their order.
    type: list
    elements: str
    default: []
  all:
    description:
      - How the record ends, V(-all), V(~all) or V(?all), or the empty string for no such end.
      - When left out, a new record ends in V(~all) unless it has C(redirect=), and an existing one ends as it did.
    type: str
  existing:
    description:
      - A record to extend. Addresses that it does not let pass yet come first, so that no other term decides about them. New terms come
        before its C(all).
    type: str
  domain:
    description: Where the record stands. Needed to find a record that includes itself, and to count what C(a) and C(mx) without a name
      cost.
    type: str
    default: ''
  answers:
    description:
      - What DNS says, to count look-ups behind C(include) and C(redirect=), and look-ups without an answer, of which receivers allow two.
      - Name to record type (C(TXT), C(MX), C(A), C(AAAA)) to a list of values, of MX the host alone. A name without a type has no such
        records. A name that is absent is not followed.
    type: dict
"""

EXAMPLES = r"""
- name: A record for the server's addresses
  ansible.builtin.debug:
    msg: "{{ ['2001:db8::25', '198.51.100.25'] | postmaster.mail.spf_record }}"
    # => v=spf1 ip4:198.51.100.25 ip6:2001:db8::25 ~all

- name: A newsletter service may send too, and nobody else
  ansible.builtin.debug:
    msg: "{{ ['198.51.100.25'] | postmaster.mail.spf_record(['include:_spf.example.net'], all='-all') }}"
    # => v=spf1 ip4:198.51.100.25 include:_spf.example.net -all

- name: What is published already stays
  ansible.builtin.debug:
    msg: "{{ ['198.51.100.25'] | postmaster.mail.spf_record(existing='v=spf1 mx include:_spf.example.net ?all') }}"
    # => v=spf1 ip4:198.51.100.25 mx include:_spf.example.net ?all
"""

RETURN = r"""
_value:
  description: The value of the TXT record.
  type: str
"""

from ansible_collections.postmaster.mail.plugins.module_utils._records import spf
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of


def spf_record(addresses, terms=(), all=None, existing=None, domain="", answers=None):
    """Return the value of an SPF record for ``addresses``."""
    record = spf.build(addresses, terms, all, existing, domain)
    spf.check(record, domain, answers)
    return record


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        words = dict.fromkeys(("all", "existing", "domain"), "str")
        return {"spf_record": filter_of(spf_record, "spf_record: ", addresses="list", terms="list", answers="dict", **words)}
