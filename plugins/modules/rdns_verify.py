#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rdns_verify
short_description: Verify that the names and addresses of a mail server agree
version_added: 0.1.0
author:
  - The postmaster.mail developers (@postmaster-mail)
description:
  - Looks from outside at what other mail servers see of a mail server, whichever software it runs, and changes nothing.
  - For each address it looks at the PTR record and whether its name leads back to the address, whether that is the name that
    the server announces, whether the MX records of the mail domains lead to the address, and whether the name looks like one
    that a provider gives to home connections.
  - If asked, it reads the greeting on port 25 and asks DNS lists whether they list the addresses.
  - All questions are under way at once, so a look takes about as long as the two slowest answers that depend on each other,
    and DNS lists about as long as the slowest of them.
  - Asking itself takes its time, too. 16 addresses at 40 lists are up to 1,456 questions, which cost less than half a second of one
    processor, and lists that are slow are asked for their reasons a quarter of a second after the rest. So, on a host that is not
    busy with other work, such a look takes no more than twice the slowest answer where that takes a second or longer; where all
    answer sooner, it takes about a second.
  - An answer that proves nothing (a failure, a refusal, silence) makes a check V(unknown), never V(pass) or V(fail).
  - It runs on the host that executes the task. To see what the world sees, run it outside of the mail server, which is mostly
    the controller, with C(delegate_to=localhost).
extends_documentation_fragment:
  - postmaster.mail.attributes.looks
requirements:
  - dnspython >= 2.3 on the host that executes the module
options:
  addresses:
    description:
      - The public IPv4 and IPv6 addresses from which the server sends mail.
      - Addresses that cannot be public, such as private and loopback ones, fail the check V(public), and DNS lists are not asked
        about them. The documentation ranges count as public.
    type: list
    elements: str
    required: true
  hostname:
    description:
      - The name that the server announces in HELO, as in C(myhostname) of Postfix.
      - Without it, the checks V(hostname) and V(helo) are left out, and the greeting is compared with the PTR record.
    type: str
  domains:
    description:
      - Mail domains, an MX record of which has to lead to each of the addresses.
    type: list
    elements: str
    default: []
  check_banner:
    description:
      - Whether to connect to port 25 of each address and compare the name in the greeting and in the answer to EHLO.
      - No mail is sent. Many networks let no connections out to port 25; that makes these checks V(unknown).
    type: bool
    default: false
  smtp_port:
    description:
      - The port to read the greeting from; other than 25 only where a test server or a redirection needs it.
    type: int
    default: 25
  dnsbls:
    description:
      - Zones of the DNS lists to ask about the addresses, such as V(zen.spamhaus.org). By default none is asked.
      - Most lists demand that you ask through a resolver of your own, and limit what may be asked without a contract. They say so
        with codes such as V(127.255.255.254), which this module never takes for a listing.
      - An access key in the name of a zone, as in C(KEY.zen.dq.spamhaus.net), is masked in the results and in errors.
        Set C(no_log=true) on the task to keep it out of the executing host's log as well.
    type: list
    elements: str
    default: []
  nameservers:
    description:
      - Addresses of the name servers to ask, usually a recursive resolver.
      - By default those of the executing host.
    type: list
    elements: str
  nameserver_port:
    description:
      - Port of the name servers.
    type: int
    default: 53
  timeout:
    description:
      - Seconds that one question may take, repetitions and other name servers included; also for a connection to the SMTP port.
    type: float
    default: 5.0
  lifetime:
    description:
      - Seconds that everything may take. What is still open then is V(unknown).
    type: float
    default: 20.0
  fail_on:
    description:
      - What makes the task fail. With an empty list it only reports.
      - V(fail), V(warn) and V(unknown) stand for any check with that status.
      - The name of a check, such as V(ptr), demands that this check passes wherever it is made; V(warn) and V(unknown) fail the task too.
      - The checks are described under RV(checks).
    type: list
    elements: str
    choices: [fail, warn, unknown, public, ptr, alias, forward, hostname, helo, generic, families, mx, banner, ehlo, dnsbl_zone, dnsbl]
    default: [fail]
  tolerate_ipv6:
    description:
      - Whether IPv6 addresses whose reverse name does not verify are no failure of the task as long as those of IPv4 do, for a server
        that then sends by IPv4 alone. RV(unready) has them.
    type: bool
    default: false
seealso:
  - name: RFC 1912, section 2.1
    description: PTR and address records have to match.
    link: https://www.rfc-editor.org/rfc/rfc1912#section-2.1
  - name: RFC 5782
    description: DNS lists, their names, answers and test entries.
    link: https://www.rfc-editor.org/rfc/rfc5782
"""

EXAMPLES = r"""
- name: The names and addresses of the mail server agree
  postmaster.mail.rdns_verify:
    addresses:
      - 198.51.100.25
      - 2001:db8:100::25
    hostname: mail.example.org
    domains:
      - example.org
  delegate_to: localhost

- name: What the server itself announces agrees too
  postmaster.mail.rdns_verify:
    addresses: [198.51.100.25]
    hostname: mail.example.org
    check_banner: true
  delegate_to: localhost

- name: Look at DNS lists through the resolver of the mail server, and only report
  postmaster.mail.rdns_verify:
    addresses: [198.51.100.25]
    dnsbls:
      - zen.spamhaus.org
      - bl.spamcop.net
    nameservers: [127.0.0.1]
    fail_on: []
  register: reputation

- name: Tell what is listed, and where to ask for removal
  ansible.builtin.debug:
    msg: "{{ item.subject }}: {{ item.reason }} {{ item.delisting }}"
  loop: "{{ reputation.checks | selectattr('check', 'eq', 'dnsbl') | selectattr('status', 'eq', 'fail') }}"
  loop_control:
    label: "{{ item.subject }}"

- name: Stop only if the reverse name is missing, wrong, or cannot be told
  postmaster.mail.rdns_verify:
    addresses: [198.51.100.25]
    fail_on: [ptr, forward]
  delegate_to: localhost
"""

RETURN = r"""
checks:
  description: What was looked at and what came of it, also when the task fails.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description:
        - Name of the check.
        - V(public), the address is one that the internet can reach.
        - V(ptr), the address has exactly one PTR record; several are V(warn).
        - V(alias), the name in the PTR record is no CNAME. CNAME records on the way to the PTR record (RFC 2317) are right.
        - V(forward), the name in the PTR record resolves back to the address.
        - V(hostname), the name in the PTR record is O(hostname).
        - V(helo), O(hostname) resolves to the addresses; V(warn) if some are missing.
        - V(generic), the name does not look like a dynamic or generic one; V(warn) if it does.
        - V(families), IPv4 and IPv6 have the same name, and the name has no further addresses; V(warn) if not.
        - V(mx), an MX host of the domain has the address; V(warn) if only the domain's own address does so.
        - V(banner), the greeting on port 25 names O(hostname), or the name in the PTR record.
        - V(ehlo), so does the answer to EHLO.
        - V(dnsbl_zone), the test entries of a DNS list behave; V(warn) for a list that is known to be closed.
        - V(dnsbl), the address is not listed; V(warn) where a list names whole networks for their neighbours' sake.
      type: str
      sample: forward
    subject:
      description: What the check is about; check and subject together name one entry.
      type: str
      sample: 198.51.100.25
    address:
      description: The address that the check is about; empty if it is about a name, a list or all addresses.
      type: str
      sample: 198.51.100.25
    domain:
      description: The mail domain.
      returned: with the check V(mx)
      type: str
      sample: example.org
    zone:
      description: The DNS list.
      returned: with the checks V(dnsbl_zone) and V(dnsbl)
      type: str
      sample: zen.spamhaus.org
    status:
      description: The result, V(pass), V(warn), V(fail) or V(unknown).
      type: str
      sample: fail
    expected:
      description: What should have been found, in words.
      type: str
      sample: A 198.51.100.25
    found:
      description: What was found, in words; with V(unknown) the reason.
      type: str
      sample: mail.example.org has A 198.51.100.7
    values:
      description: What was found, as values. Names, addresses, MX values or the codes of a DNS list.
      type: list
      elements: str
      sample: [mail.example.org]
    advice:
      description: What to do about it; empty if the check passes.
      type: str
      sample: publish mail.example.org. A 198.51.100.25, or correct the PTR record
    reason:
      description: What the list says about the address, its TXT record.
      returned: with the checks V(dnsbl_zone) and V(dnsbl)
      type: str
      sample: https://www.spamhaus.org/query/ip/198.51.100.25
    delisting:
      description: The page to ask for removal, if it is known.
      returned: with the checks V(dnsbl_zone) and V(dnsbl)
      type: str
      sample: https://check.spamhaus.org/listed/?searchterm=198.51.100.25
unready:
  description: The IPv6 addresses whose reverse name does not verify, where those of IPv4 do.
  returned: always
  type: list
  elements: str
  sample: ["2001:db8:100::25"]
summary:
  description: How many checks have each status.
  returned: always
  type: dict
  contains:
    pass:
      description: How many passed.
      type: int
      sample: 9
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
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.postmaster.mail.plugins.module_utils._dns.client import DNSPYTHON_TRACEBACK, HAS_DNSPYTHON
from ansible_collections.postmaster.mail.plugins.module_utils._dns.lookups import Lookups
from ansible_collections.postmaster.mail.plugins.module_utils._dns.outcome import LookupOutcome, Question
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import dnsbl
from ansible_collections.postmaster.mail.plugins.module_utils._rdns import rules as rdns
from ansible_collections.postmaster.mail.plugins.module_utils._rdns.greet import greet

# A list that answers within so many seconds, once all of them are asked, is asked for its reason only about what it lists. A
# slower one is asked meanwhile, so that it costs the time of one answer and not of two. Lists limit what one resolver may ask,
# and a resolver what may be open at once (1000 questions in BIND): so not everything is asked for its reason from the start.
PATIENCE = 0.25


async def look(
    plan: rdns.LookupPlan, nameservers: list[str] | None, port: int, timeout: float, lifetime: float, smtp_port: int
) -> tuple[dict[Question, LookupOutcome], dict[str, rdns.Greeting]]:
    """Ask everything at once; a question that follows from an answer is asked the moment that the answer is there."""
    lookups = Lookups(nameservers, port, timeout, lifetime)
    answers: dict[Question, LookupOutcome] = {}

    async def ask(questions: list[Question]) -> None:
        await asyncio.gather(*(ask_on(question) for question in questions))

    async def ask_on(question: Question) -> None:
        outcome = await lookups.ask(*question)
        if question not in answers:
            answers[question] = outcome
            further = rdns.follow_ups(plan, outcome)
            if further:
                await ask(further)

    async def listen() -> dict[str, rdns.Greeting]:
        wanted = plan.addresses if plan.check_banner else ()
        return dict(zip(wanted, await asyncio.gather(*(greet(address, smtp_port, timeout, lifetime) for address in wanted))))

    try:
        first = rdns.first_questions(plan)
        asking = asyncio.gather(ask(first), listen())
        while lookups.sent < len(first) and not asking.done():
            await asyncio.sleep(0.02)
        await asyncio.wait([asking], timeout=PATIENCE)
        await ask(rdns.open_reasons(plan, answers))
        _done, greetings = await asking
    finally:
        lookups.close()
    return answers, greetings


ARGUMENT_SPEC = {
    "addresses": {"type": "list", "elements": "str", "required": True},
    "hostname": {"type": "str"},
    "domains": {"type": "list", "elements": "str", "default": []},
    "check_banner": {"type": "bool", "default": False},
    "smtp_port": {"type": "int", "default": 25},
    "dnsbls": {"type": "list", "elements": "str", "default": []},
    "nameservers": {"type": "list", "elements": "str"},
    "nameserver_port": {"type": "int", "default": 53},
    "timeout": {"type": "float", "default": 5.0},
    "lifetime": {"type": "float", "default": 20.0},
    "fail_on": {"type": "list", "elements": "str", "default": ["fail"], "choices": list(rdns.FAIL_ON)},
    "tolerate_ipv6": {"type": "bool", "default": False},
}


def secrets(options: Mapping[str, Any]) -> set[str]:
    """The access keys in the names of DNS lists."""
    return {label for value in options["dnsbls"] for label in dnsbl.secret_labels(value)}


def verify(options: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the options of the module say and return its result; ``failed`` in it says so."""
    try:
        plan = rdns.plan(options["addresses"], options["hostname"], options["domains"], options["check_banner"], options["dnsbls"])
        answers, greetings = asyncio.run(
            look(plan, options["nameservers"], options["nameserver_port"], options["timeout"], options["lifetime"], options["smtp_port"])
        )
    except MailError as exc:
        return {"changed": False, "failed": True, "msg": str(exc), "checks": [], "unready": [], "summary": rdns.summary([])}
    checks = rdns.judge(plan, answers, greetings)
    unready = rdns.unready(checks)
    tolerated = unready if options["tolerate_ipv6"] else []
    failing = rdns.failing([entry for entry in checks if entry["address"] not in tolerated], options["fail_on"])
    result = {"changed": False, "checks": checks, "unready": unready, "summary": rdns.summary(checks)}
    if failing:
        result.update(failed=True, msg=f"{len(failing)} of {len(checks)} checks failed:\n{rdns.report(failing)}")
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if not HAS_DNSPYTHON:
        module.fail_json(msg=missing_required_lib("dnspython >= 2.3"), exception=DNSPYTHON_TRACEBACK)
    module.no_log_values.update(secrets(module.params))
    result = verify(module.params)
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
