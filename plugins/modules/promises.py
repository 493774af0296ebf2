# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: promises
short_description: Prove from outside what a mail server promises
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Puts a list of promises to a live mail server, each proven by protocol from where the module runs, usually the controller.
    It speaks SMTP, IMAP, ManageSieve and DNS like any stranger, and looks at no file of the server.
  - Some promises need an account to test with; without one they are not asked. The messages that they send stay in its inbox.
  - It may run against any server, also against one that this collection did not build.
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
requirements:
  - dnspython >= 2.3
  - pyspf, for the promise C(spf)
  - dkimpy, for the promise C(signature)
options:
  fqdn:
    description: The name of the server.
    type: str
    required: true
  addresses:
    description: Its public addresses, IPv4 and IPv6.
    type: list
    elements: str
    required: true
  domains:
    description: The domains that it takes mail for.
    type: list
    elements: str
    required: true
  accounts:
    description:
      - Accounts to test with, address to password. Some promises need two.
    type: dict
    default: {}
  senders:
    description: Address of an account to the further addresses that it may send as.
    type: dict
    default: {}
  catch_all:
    description: Those of O(domains) that take mail for every address, so that no recipient in them is unknown.
    type: list
    elements: str
    default: []
  ca_file:
    description: A PEM file of the authority to trust instead of the system's, for a private one.
    type: path
  nameservers:
    description: Resolvers to ask; by default the system's.
    type: list
    elements: str
    default: []
  helo:
    description: The name to greet with; by default that of this host, or its address where it has no full name.
    type: str
  foreign:
    description:
      - An address elsewhere, in a domain that exists and takes mail. It is named as sender and as a recipient that must be refused;
        no message is sent to it.
    type: str
    default: relay-test@iana.org
  only:
    description: Names of the promises to put to the test; by default all.
    type: list
    elements: str
    default: []
  report:
    description:
      - Where to write the report, an HTML page for the user alone who runs this, beside the returned values.
      - A link in that place is replaced and not followed.
    type: path
"""

EXAMPLES = r"""
- name: What does the server promise?
  postmaster.mail.promises:
    fqdn: mail.example.org
    addresses: [198.51.100.25, "2001:db8:100::25"]
    domains: [example.org]
  delegate_to: localhost
  register: promises

- name: It keeps what it promises
  ansible.builtin.assert:
    that: promises.summary.broken == 0
"""

RETURN = r"""
promises:
  description: What came of each promise.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Short name.
      type: str
    text:
      description: The promise in words.
      type: str
    status:
      description: V(kept), V(broken) or V(not asked).
      type: str
    evidence:
      description: What the server said or did, or why the promise could not be put to the test.
      type: str
    seconds:
      description: How long it took.
      type: float
summary:
  description: How many are C(kept), C(broken) and C(not_asked).
  type: dict
  returned: success
"""

import dataclasses
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import dns.resolver  # noqa: F401  the promises import it where they use it

    DNSPYTHON_ERROR = None
except ImportError:
    DNSPYTHON_ERROR = traceback.format_exc()

from ansible_collections.postmaster.mail.plugins.module_utils import _names, _promise, _promises
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


def main():
    module = AnsibleModule(
        argument_spec={
            "fqdn": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "domains": {"type": "list", "elements": "str", "required": True},
            "accounts": {"type": "dict", "default": {}, "no_log": True},
            "senders": {"type": "dict", "default": {}},
            "catch_all": {"type": "list", "elements": "str", "default": []},
            "ca_file": {"type": "path"},
            "nameservers": {"type": "list", "elements": "str", "default": []},
            "helo": {"type": "str"},
            "foreign": {"type": "str", "default": "relay-test@iana.org"},
            "only": {"type": "list", "elements": "str", "default": []},
            "report": {"type": "path"},
        },
        supports_check_mode=True,
    )
    if DNSPYTHON_ERROR:
        module.fail_json(msg=missing_required_lib("dnspython"), exception=DNSPYTHON_ERROR)
    params = module.params
    known = [promise.name for promise in _promises.book.promises]
    unknown = sorted(set(params["only"]) - set(known))
    if unknown:
        module.fail_json(msg=f"only {unknown[0]!r} is not a promise; they are {', '.join(known)}")
    try:
        addresses = {"ipv4": [], "ipv6": []}
        for text in params["addresses"]:
            address = _names.ip_address(text, "addresses")
            addresses[f"ipv{address.version}"].append(str(address))
        server = _promise.Server(
            fqdn=_names.domain_name(params["fqdn"], "fqdn"),
            addresses=addresses,
            domains=[_names.domain_name(domain, "domains") for domain in params["domains"]],
            accounts=list(params["accounts"].items()),
            senders=params["senders"],
            catch_all={_names.domain_name(domain, "catch_all"): [] for domain in params["catch_all"]},
            ca_file=params["ca_file"],
            nameservers=params["nameservers"],
            helo=params["helo"] or "",
            foreign=_names.address(params["foreign"], "foreign"),
        )
    except MailError as exc:
        module.fail_json(msg=str(exc))
    outcomes = _promises.book.run(server, params["only"])
    if params["report"]:
        try:
            _promise.write_page(params["report"], _promise.page(f"The promises of {server.fqdn}", outcomes))
        except (MailError, OSError) as exc:
            module.fail_json(msg=f"report {params['report']!r} cannot be written: {getattr(exc, 'strerror', None) or exc}")
    counts = {status.replace(" ", "_"): count for status, count in _promise.summary(outcomes).items()}
    module.exit_json(changed=False, promises=[dataclasses.asdict(outcome) for outcome in outcomes], summary=counts)


if __name__ == "__main__":
    main()
