#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mailman_lists
short_description: "[INTERNAL] Create the mailing lists of Mailman 3 that an inventory declares"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - For the role P(postmaster.mail.mailman#role). It can change without notice.
  - Creates lists, adds owners, and brings the settings of these lists to those of M(postmaster.mail.mailman_harden) and what is said of
    each. What is held for spam is by a header match of each list.
  - Lists that are not declared stay as they are, and are returned. No member or owner is ever removed, and no list.
options:
  lists:
    description:
      - Address to C(owners), C(style), C(posts), C(description), C(commands) and C(archive), all of them given.
    type: dict
    required: true
  domains:
    description: The mail domains of the host. Whose address is in one of them is rewritten in From.
    type: list
    elements: str
    required: true
  unenforced:
    description: Whether one of them has a DMARC policy by which Mailman rewrites nothing.
    type: bool
    default: false
  config_file:
    description: The configuration of Mailman 3, which says where its REST API is, and the password for that.
    type: path
    default: /etc/mailman3/mailman.cfg
  patience:
    description: How many seconds Mailman has to begin to answer.
    type: int
    default: 60
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
"""

EXAMPLES = r"""
- name: Lists | Create those that are declared
  postmaster.mail.mailman_lists:
    domains: [example.org]
    lists:
      news@example.org:
        owners: [me@example.org]
        style: announce
        posts: owners
        description: News of ours
        commands: [leave]
        archive: public
"""

RETURN = r"""
lists:
  description: The declared lists with what changed, or would in check mode. A list that is to be made has no settings to compare yet.
  returned: success, and an error after a change
  type: list
  elements: dict
  contains:
    address:
      description: Address of the list.
      type: str
      sample: news@example.org
    created:
      description: Whether it was made.
      type: bool
    owners:
      description: Owners that were added.
      type: list
      elements: str
    posters:
      description: Owners who are members as well, and whose posts are not moderated since then.
      type: list
      elements: str
    holds_spam:
      description: Whether what is marked as spam waits since then.
      type: bool
    changes:
      description: Setting by setting, what it was and what it is now.
      type: dict
undeclared:
  description: Lists that are there and not declared.
  returned: success
  type: list
  elements: str
"""

import json
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import declared
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rest import Mailman3, credentials


def answering(module: AnsibleModule) -> Mailman3:
    """Mailman's REST API, once it answers; it may have been started a moment ago."""
    known = credentials(module.params["config_file"])
    module.no_log_values.add(known["password"])
    mailman = Mailman3(**known)
    end = time.monotonic() + module.params["patience"]
    while True:
        try:
            mailman.lists()
            return mailman
        except MailError as exc:
            if "does not answer" not in str(exc) or time.monotonic() > end:
                raise
        time.sleep(0.5)  # systemd says when it has started, and nobody when it listens


def of_list(module: AnsibleModule, mailman: Mailman3, address: str, done: dict[str, Any]) -> None:
    """Bring one list to what is declared.

    :param done: filled with what is changed, as far as it comes
    """
    options, apply = module.params["lists"][address], not module.check_mode
    done.update(address=address, created=False, owners=[], posters=[], holds_spam=False, changes={})
    entry = mailman.find(address)
    if entry is None:
        done["created"] = True
        if apply:
            done["created"] = False
            mailman.create(address, declared.STYLES[options["style"]])
            done["created"] = True
            entry = mailman.find(address)
        if entry is None:
            done.update(owners=list(options["owners"]), holds_spam=True)
            return
    current = mailman.read(entry, False)
    wanted = declared.settings(options, module.params["domains"], module.params["unenforced"], current)
    for owner in declared.missing(options["owners"], mailman.owners(entry)):
        if apply:
            mailman.add_owner(entry, owner)
        done["owners"].append(owner)
    for owner in options["owners"]:
        member = mailman.moderated(entry, owner)
        if member is not None:
            if apply:
                mailman.unmoderate(member)
            done["posters"].append(owner)
    if not declared.holds_spam(mailman.header_matches(entry)):
        if apply:
            mailman.add_header_match(entry, dict(declared.SPAM))
        done["holds_spam"] = True
    different = declared.differences(wanted, current)
    made: dict[str, tuple] = {} if apply else different
    try:
        if apply and different:
            mailman.apply(entry, different, made)
    finally:
        done["changes"] = {name: {"before": pair[0], "after": pair[1]} for name, pair in made.items() if pair[0] != pair[1]}


def changed(done: dict[str, Any]) -> bool:
    return bool(done["created"] or done["owners"] or done["posters"] or done["holds_spam"] or done["changes"])


def shown(done: dict[str, Any]) -> dict[str, str]:
    """One list's part of the diff."""
    after = {
        **({"list": "created"} if done["created"] else {}),
        **({"owners added": done["owners"]} if done["owners"] else {}),
        **({"posts not moderated": done["posters"]} if done["posters"] else {}),
        **({"spam": "held"} if done["holds_spam"] else {}),
        **{name: pair["after"] for name, pair in done["changes"].items()},
    }
    before = {name: pair["before"] for name, pair in done["changes"].items()}
    return {
        "before_header": done["address"],
        "after_header": done["address"],
        "before": "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(before.items())),
        "after": "".join(f"{name}: {json.dumps(value)}\n" for name, value in sorted(after.items())),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lists": {"type": "dict", "required": True},
            "domains": {"type": "list", "elements": "str", "required": True},
            "unenforced": {"type": "bool", "default": False},
            "config_file": {"type": "path", "default": "/etc/mailman3/mailman.cfg"},
            "patience": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    lists: list[dict[str, Any]] = []

    def outcome() -> dict[str, Any]:
        different = [done for done in lists if changed(done)]
        return {"changed": bool(different), "lists": lists, "diff": [shown(done) for done in different]}

    try:
        mailman = answering(module)
        undeclared = declared.missing([entry.address for entry in mailman.lists()], module.params["lists"])
        for address in module.params["lists"]:
            lists.append({})
            of_list(module, mailman, address, lists[-1])
    except MailError as exc:
        module.fail_json(msg=str(exc), **outcome())
    module.exit_json(undeclared=undeclared, **outcome())


if __name__ == "__main__":
    main()
