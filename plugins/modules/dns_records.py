#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dns_records
short_description: Keep DNS records of a whole plan, in one call
version_added: 0.1.0
description:
  - Keeps records of the types A, AAAA, MX, TXT, CNAME, SRV, TLSA, CAA and PTR in one or many zones by dynamic update
    or in zone files, and can wait until every authoritative server serves them.
  - Or only looks at what the authoritative servers serve (O(backend=none)).
options:
  type:
    description: Type of the record that O(name) names.
    type: str
    choices: [A, AAAA, MX, TXT, CNAME, SRV, TLSA, CAA, PTR]
  records:
    description:
      - The records. What an item leaves out is taken from the option of the same name.
      - Several items may speak of one name and type, as one for SPF and one for a verification text; they must not contradict
        each other.
      - The text of such a list in JSON is taken as well. Of a list from a template Ansible makes each item ready by itself, which takes
        its time with thousands of them.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      type:
        description: Type of the record.
        type: str
        choices: [A, AAAA, MX, TXT, CNAME, SRV, TLSA, CAA, PTR]
        required: true
      zone:
        description: See O(zone).
        type: str
      values:
        description: See O(values). An empty list is one of its own.
        type: list
        elements: str
      ttl:
        description: See O(ttl).
        type: int
      state:
        description: See O(state).
        type: str
        choices: [present, exact, absent]
      owned_prefix:
        description: See O(owned_prefix).
        type: str
      may_drop:
        description:
          - Terms of an SPF record that is replaced by this one, such as C(include:spf.example.net), by which others may send and which need
            not stand in it. Where a list is given, also an empty one, any other such term is an error, before anything is changed.
          - Of MX records the hosts that are in them, are in O(records[].values) no more, and may go, such as V(mx.example.net).
          - Left out, the module warns of such terms, and takes such hosts out.
        type: list
        elements: str
notes:
  - Updates go out as one message for each zone, which holds the old records as prerequisites (RFC 2136 section 2.4). A change
    made by somebody else in between is an error and is not overwritten. After the server has accepted an update, the
    records are read again.
  - In check mode a message with the prerequisites alone is sent. It has nothing to update and changes nothing. A wrong key, and a
    server that takes no updates from here or with this key, shows there already. A rule about the names or types that may be
    updated, such as C(update-policy) of BIND or C(update-owner) of Knot, refuses only the run itself.
  - In zone files only the lines concerned are touched, so that comments and order stay, and the serial is raised. The result
    is checked by the zone checker before it replaces the old file; C(named-checkzone), C(nsd-checkzone) and, from Knot DNS 3.4 on,
    C(kzonecheck) also print what they read, and it must be what was meant. A file that cannot be edited safely is refused, for
    example if the record may come out of a C($GENERATE) line or stands in an included file.
  - Where a name is an alias (CNAME), what stands behind it counts. The same content there is served and nothing is done; anything else
    is an error of that record alone, which names the ways out, and everything else is published.
  - Faults in the batch are found before anything is written. These are names outside of their zone, a second SPF, DMARC,
    DKIM, MTA-STS or TLS-RPT value at one name, a CNAME beside other data, values that do not fit into a record or message,
    and TTLs out of range.
seealso:
  - module: postmaster.mail.dns_txt_record
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
  - postmaster.mail.dns
author:
  - The postmaster.mail developers (@postmaster-mail)
"""

EXAMPLES = r"""
- name: The records of a mail domain, served by every name server before the play goes on
  postmaster.mail.dns_records:
    server: ns1.example.org
    tsig_name: mail-update
    tsig_secret: "{{ vault_tsig_secret }}"
    wait: true
    records:
      - {name: example.org, zone: example.org, type: MX, values: ["10 mail.example.org"], state: exact}
      - {name: mail.example.org, type: A, values: [198.51.100.25], state: exact}
      - {name: mail.example.org, type: AAAA, values: ["2001:db8:100::25"], state: exact}
      - {name: example.org, type: TXT, values: ["v=spf1 mx -all"], owned_prefix: v=spf1}
      - {name: _dmarc.example.org, type: TXT, values: ["v=DMARC1; p=quarantine"], owned_prefix: v=DMARC1}

- name: A single record
  postmaster.mail.dns_records:
    server: ns1.example.org
    tsig_name: mail-update
    tsig_secret: "{{ vault_tsig_secret }}"
    zone: example.org
    name: _submissions._tcp
    type: SRV
    values: ["0 1 465 mail.example.org"]

- name: The same in the zone file on the primary server, which is told to load it
  postmaster.mail.dns_records:
    backend: zone_file
    zone_file: /etc/bind/db.{zone}
    reload_command: [rndc, reload, "{zone}"]
    zone: example.org
    records:
      - {name: "@", type: TXT, values: ["v=spf1 mx -all"], owned_prefix: v=spf1}
      - {name: _dmarc, type: TXT, values: ["v=DMARC1; p=quarantine"], owned_prefix: v=DMARC1}
  delegate_to: ns1.example.org

- name: What is still to be entered at the registrar
  postmaster.mail.dns_records:
    backend: none
    records:
      - {name: example.org, type: MX, values: ["10 mail.example.org"]}
  register: dns_look

- name: Show it as lines of a zone file
  ansible.builtin.debug:
    msg: "{{ dns_look.missing | map(attribute='lines') | flatten }}"
"""

RETURN = r"""
records:
  description: One entry for each name and type, in the order of the task.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in full, without its final dot.
      type: str
      sample: s1._domainkey.example.org
    zone:
      description: Zone that the name is in; none if it was not found, with O(backend=none).
      type: str
      sample: example.org
    type:
      description: Record type.
      type: str
      sample: TXT
    before:
      description: All values of that type at that name before, sorted.
      type: list
      elements: str
      sample: []
    after:
      description: All values afterwards, sorted.
      type: list
      elements: str
      sample: ["v=DKIM1; k=rsa; p=MIIB"]
    ttl_before:
      description: TTL before; none if there was no record.
      type: int
    ttl_after:
      description: TTL afterwards; none if there is no record.
      type: int
      sample: 3600
    changed:
      description: Whether values or TTL changed.
      type: bool
      sample: true
    action:
      description: What was done. V(ttl) is a change of the TTL alone.
      type: str
      choices: [none, create, replace, delete, ttl]
      sample: create
    served:
      description:
        - Whether every authoritative server of the zone that can be asked serves what is wanted, and at least one was asked.
        - None if that was not looked at, which is with O(wait=false), except for O(backend=none).
      type: bool
      sample: true
missing:
  description: What is wanted and not served by every authoritative server, to be entered by hand.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name in full.
      type: str
    zone:
      description: Zone.
      type: str
    type:
      description: Record type.
      type: str
    ttl:
      description: TTL.
      type: int
    values:
      description: Values that are lacking.
      type: list
      elements: str
    remove:
      description: Values that must go.
      type: list
      elements: str
    lines:
      description: The lacking values as lines of a zone file.
      type: list
      elements: str
zones:
  description: One entry for each zone.
  returned: success
  type: list
  elements: dict
  contains:
    zone:
      description: Name of the zone.
      type: str
      sample: example.org
    changed:
      description: Whether anything in it changed.
      type: bool
    server:
      description: Primary server that was updated.
      returned: with O(backend=rfc2136)
      type: str
      sample: 198.51.100.2
    messages:
      description: Number of UPDATE messages; each is atomic. More than one only if 64 KiB do not suffice.
      returned: with O(backend=rfc2136)
      type: int
      sample: 1
    file:
      description: Zone file that was edited, symbolic links followed.
      returned: with O(backend=zone_file)
      type: str
      sample: /etc/bind/db.example.org
    backup:
      description: Where the old zone file is kept, if O(backup=true) and it changed.
      returned: with O(backend=zone_file)
      type: str
served:
  description: One entry for each address of each authoritative server of each zone, with O(wait=true) or O(backend=none).
  returned: success
  type: list
  elements: dict
  contains:
    zone:
      description: Name of the zone.
      type: str
    server:
      description: Name of the server.
      type: str
      sample: ns1.example.org
    address:
      description: Its address.
      type: str
      sample: 2001:db8::53
    family:
      description: V(ipv4) or V(ipv6).
      type: str
      sample: ipv6
    status:
      description:
        - V(ok) - it serves everything that is wanted of this zone.
        - V(stale) - it serves something else.
        - V(unreachable) - it does not answer, or not for this zone, or its address cannot be looked up.
        - V(unknown) - this host cannot ask it, for example because it has no IPv6.
      type: str
      choices: [ok, stale, unreachable, unknown]
    reason:
      description: What is wrong; empty for V(ok).
      type: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.postmaster.mail.plugins.module_utils._dns import client as dns_client
from ansible_collections.postmaster.mail.plugins.module_utils._dns import engine as dns_engine


def main() -> None:
    module = AnsibleModule(
        argument_spec=dns_engine.argument_spec(txt_only=False), supports_check_mode=True, **dns_engine.constraints(txt_only=False)
    )
    if not dns_client.HAS_DNSPYTHON and dns_engine.needs_dnspython(module.params):
        module.fail_json(msg=missing_required_lib("dnspython"), exception=dns_client.DNSPYTHON_TRACEBACK)
    result = dns_engine.outcome(module.params, module.check_mode, module)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
