# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mail_verify
short_description: Check a mail server from outside
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - Runs a list of checks against a live mail server, each proven by protocol from where the module runs, usually the controller.
    It speaks SMTP, IMAP, ManageSieve and DNS like any stranger, and looks at no file of the server.
  - Some checks need an account to test with; without one they are skipped. The messages that they send stay in its inbox.
  - It may run against any server, also against one that this collection did not build.
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
requirements:
  - dnspython >= 2.3
  - pyspf, for the check C(spf)
  - dkimpy, for the check C(signature)
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
  elsewhere:
    description:
      - Domains that the server sends for, and whose mail others take (C(mx) of C(mail_domains) is V(false)).
    type: list
    elements: str
    default: []
  parked:
    description: Domains and names of hosts that neither send nor take mail, and say so in DNS.
    type: list
    elements: str
    default: []
  accounts:
    description:
      - Accounts to test with, address to password. Some checks need two.
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
  recipient_delimiter:
    description: The characters each of which begins a detail of an address (RFC 5233); the first is tried.
    type: str
    default: "+"
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
    description: Names of the checks to run; by default all.
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
- name: Check the server from outside
  postmaster.mail.mail_verify:
    fqdn: mail.example.org
    addresses: [198.51.100.25, "2001:db8:100::25"]
    domains: [example.org]
  delegate_to: localhost
  register: verified

- name: Fail if a check failed
  ansible.builtin.assert:
    that: verified.summary.fail == 0
"""

RETURN = r"""
checks:
  description: The result of each check.
  type: list
  elements: dict
  returned: success
  contains:
    check:
      description: Name of the check.
      type: str
      sample: no-open-relay
    description:
      description: What the check proves, in words.
      type: str
      sample: Mail from the null sender, as bounces are, is accepted for those who exist.
    status:
      description:
        - The result, with the words of M(postmaster.mail.rdns_verify). V(pass), V(fail), or V(skipped) if the check cannot be run with
          these options or on this controller.
        - V(warn), V(unknown) and V(unsupported) are not used by the checks that this module has.
      type: str
      sample: pass
    evidence:
      description: What the server answered or did; with V(skipped) the reason.
      type: str
      sample: 250 2.1.5 Ok
    seconds:
      description: How long it took.
      type: float
      sample: 0.2
summary:
  description: How many checks have each status.
  type: dict
  returned: success
  contains:
    pass:
      description: How many passed.
      type: int
      sample: 21
    warn:
      description: How many warn.
      type: int
      sample: 0
    fail:
      description: How many failed.
      type: int
      sample: 1
    unknown:
      description: How many could not be told.
      type: int
      sample: 0
    skipped:
      description: How many were skipped.
      type: int
      sample: 3
    unsupported:
      description: How many the server is known not to pass.
      type: int
      sample: 0
"""

import dataclasses
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import dns.resolver  # noqa: F401  the checks import it where they use it

    DNSPYTHON_ERROR = None
except ImportError:
    DNSPYTHON_ERROR = traceback.format_exc()

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks, report, session
from ansible_collections.postmaster.mail.plugins.module_utils._checks.runner import summary
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError


def main():
    module = AnsibleModule(
        argument_spec={
            "fqdn": {"type": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "domains": {"type": "list", "elements": "str", "required": True},
            "elsewhere": {"type": "list", "elements": "str", "default": []},
            "parked": {"type": "list", "elements": "str", "default": []},
            "accounts": {"type": "dict", "default": {}, "no_log": True},
            "senders": {"type": "dict", "default": {}},
            "catch_all": {"type": "list", "elements": "str", "default": []},
            "recipient_delimiter": {"type": "str", "default": "+"},
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
    known = [check.name for check in checks.registry.checks]
    unknown = sorted(set(params["only"]) - set(known))
    if unknown:
        module.fail_json(msg=f"only {unknown[0]!r} is not a check; they are {', '.join(known)}")
    try:
        addresses = {"ipv4": [], "ipv6": []}
        for text in params["addresses"]:
            address = _names.ip_address(text, "addresses")
            addresses[f"ipv{address.version}"].append(str(address))
        server = session.Server(
            fqdn=_names.domain_name(params["fqdn"], "fqdn"),
            addresses=addresses,
            domains=[_names.domain_name(domain, "domains") for domain in params["domains"]],
            elsewhere=[_names.domain_name(domain, "elsewhere") for domain in params["elsewhere"]],
            parked=[_names.domain_name(domain, "parked") for domain in params["parked"]],
            accounts=list(params["accounts"].items()),
            senders=params["senders"],
            catch_all={_names.domain_name(domain, "catch_all"): [] for domain in params["catch_all"]},
            ca_file=params["ca_file"],
            nameservers=params["nameservers"],
            helo=params["helo"] or "",
            foreign=_names.address(params["foreign"], "foreign"),
            delimiter=params["recipient_delimiter"][:1] or "+",
        )
    except MailError as exc:
        module.fail_json(msg=str(exc))
    results = checks.registry.run(server, params["only"])
    if params["report"]:
        try:
            report.write_page(params["report"], report.page(f"The checks of {server.fqdn}", results))
        except (MailError, OSError) as exc:
            module.fail_json(msg=f"report {params['report']!r} cannot be written: {getattr(exc, 'strerror', None) or exc}")
    module.exit_json(changed=False, checks=[dataclasses.asdict(result) for result in results], summary=summary(results))


if __name__ == "__main__":
    main()
