# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: _service
short_description: "[INTERNAL] Return what a service is given"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
requirements:
  - cryptography >= 38, for records of DKIM keys
description:
  - For the roles of this collection. It can change without notice.
positional: service, part
options:
  _input:
    description:
      - What it is made of, by name. C(model) is the C(text) of one of the C(models) that M(postmaster.mail.inventory_verify) returns.
    type: dict
    required: true
  service:
    description: The service, such as V(postfix).
    type: str
    required: true
  part:
    description:
      - What of it. V(values) are those that its configuration is printed from, V(tables) are texts of files by their paths.
    type: str
    default: values
"""

EXAMPLES = r"""
- name: Show the ciphers of ports for users
  ansible.builtin.debug:
    msg: "{{ {'clients': 'users'} | postmaster.mail._service('tls', 'ciphers') }}"
"""

RETURN = r"""
_value:
  description: What the service is given.
  type: raw
"""

import json

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError, shown
from ansible_collections.postmaster.mail.plugins.module_utils._host import system
from ansible_collections.postmaster.mail.plugins.module_utils._model import delivery, mta
from ansible_collections.postmaster.mail.plugins.module_utils._services import (
    dns,
    dovecot,
    mailman,
    opensmtpd,
    operations,
    postfix,
    protection,
    rspamd,
    signer,
    sizing,
    tls,
    unbound,
)  # fmt: skip
from ansible_collections.postmaster.mail.plugins.plugin_utils._filter import filter_of
from ansible_collections.postmaster.mail.plugins.plugin_utils._model import unpacked


def _records(given):
    return dns.records(given["model"], given["keys"], given["today"])


# Service and part -> function of one dictionary.
PARTS = {
    ("delivery", "values"): lambda given: delivery.delivery(given["model"]),
    ("dkim", "domains"): lambda given: {name: options["dkim"] for name, options in given["model"]["domains"].items()},
    # Records are handed on as the text that dns_records takes, like the model: there may be thousands.
    ("dns", "new_keys"): lambda given: json.dumps(dns.of_new_keys(_records(given), given["keys"])),
    ("dns", "records"): lambda given: json.dumps(_records(given)),
    ("dns", "report"): lambda given: dns.report(_records(given)),
    ("dns", "reused"): lambda given: dns.reused(given["keys"], given["missing"]),
    ("dns", "signing"): lambda given: dns.signing(given["keys"], given["seen"], given["today"]),
    ("dns", "unserved"): lambda given: dns.unserved(given["seen"], lambda: _records(given)),
    ("dns", "web"): lambda given: json.dumps(dns.web_records(given["model"])),
    ("dovecot", "header_test"): lambda given: dovecot.header_test(given["headers"]),
    ("dovecot", "sender_rules"): dovecot.sender_rules,
    ("dovecot", "syntax"): lambda given: dovecot.syntax(given["version"], given["expected"]),
    ("dovecot", "tables"): dovecot.tables,
    ("dovecot", "unwanted_folders"): lambda _given: dovecot.unwanted_folders(),
    ("host", "addresses"): lambda given: system.host_addresses(given["facts"]),
    ("host", "mtas"): lambda given: mta.facts(given["os_family"]),
    ("mailman", "values"): mailman.values,
    ("opensmtpd", "tables"): opensmtpd.tables,
    ("opensmtpd", "values"): opensmtpd.values,
    ("operations", "values"): operations.values,
    ("postfix", "tables"): postfix.tables,
    ("postfix", "values"): postfix.values,
    ("protection", "values"): protection.values,
    ("resolver", "values"): unbound.values,
    ("rspamd", "host_signer"): lambda given: rspamd.host_signer(given["fqdn"], given["keys"]),
    ("rspamd", "signing"): lambda given: rspamd.signing(given["signing"], "rspamd_signing"),
    ("rspamd", "tables"): rspamd.tables,
    ("rspamd", "values"): rspamd.values,
    ("signer", "keys"): signer.keys,
    ("signer", "tables"): signer.tables,
    ("sizing", "values"): sizing.values,
    ("tls", "ciphers"): lambda given: tls.ciphers(given["clients"]),
}


def _service(given, service, part="values"):
    """Return the ``part`` of what a ``service`` is given, made of the values ``given``."""
    function = PARTS.get((service, part))
    if function is None:
        raise MailError(f"service {shown(service)} has no part {shown(part)}")
    if "model" in given:
        given = {**given, "model": unpacked(given["model"])}
    return function(given)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self):
        return {"_service": filter_of(_service, given="dict", service="str", part="str")}
