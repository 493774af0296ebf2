#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mailman_harden
short_description: Make Mailman send no backscatter
version_added: 0.1.0
author:
  - The postmaster.mail developers (@postmaster-mail)
description:
  - Mailman answers whoever a message claims to be from. Spammers forge that, so strangers get the answers, complain, and the host
    ends up on DNS lists. This module turns off what Mailman sends to people who never wrote to it.
  - Settings of all lists, or of some, are brought to a profile. Mailman 3 is changed through its REST API, Mailman 2.1 through
    C(list_lists) and C(config_list); which one is there is found out.
  - A list's command addresses, such as LIST-join and LIST-request, are answered by Mailman 3 whatever its settings say, and by
    Mailman 2.1 unless there are no such addresses. So the module removes them from Mailman 2.1's virtual file, and returns
    tables by which Postfix or OpenSMTPD refuse them before Mailman sees them.
  - A list made later is covered by running the module again.
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
options:
  lists:
    description:
      - Lists to change, by address; in Mailman 3 also by list id, in Mailman 2.1 also by name. By default all lists.
    type: list
    elements: str
  profile:
    description:
      - V(quiet) sends no answers. Posts by nonmembers are held without a word to them, and dropped after 30 days; subscriptions are
        confirmed, then moderated; commands by mail are dropped; members whose mail bounces are not warned; DMARC policies of
        authors' domains are respected by rewriting From; goodbye messages and a mail to the owners for each held post are off.
      - V(closed) does that too, discards posts by nonmembers instead of holding them, and bans everybody from subscribing by
        the pattern C(^.*$). A ban alone does not keep Mailman from answering at LIST-join and LIST-request.
      - V(none) changes only what O(settings) names.
      - The settings are listed in the notes.
    type: str
    choices: [quiet, closed, none]
    default: quiet
  settings:
    description:
      - Single settings, which override those of the profile; C(null) leaves one of the profile's alone.
      - Names and values are those of the Mailman at hand. For the numbered choices of Mailman 2.1, the words of
        Mailman 3 can be used, such as V(discard) for C(generic_nonmember_action).
      - C(moderator_password) of Mailman 3 is refused, as it can be neither compared nor shown.
      - C(ban_list) adds to the bans of a list and to those of the profile, with both releases; bans that are there stay.
        An entry that Mailman 3 holds for banned already, by a pattern of the list or by a ban of the whole site, counts as there,
        because Mailman takes no second ban for it.
    type: dict
    default: {}
  url:
    description:
      - Where Mailman 3's REST API is, as in V(http://localhost:8001/3.1). By default it is read from O(config_file).
      - User name and password are not part of it, but options of their own.
    type: str
  user:
    description:
      - User name for the REST API. By default it is read from O(config_file).
    type: str
  password:
    description:
      - Password for the REST API. By default it is read from O(config_file).
    type: str
  config_file:
    description:
      - The configuration of Mailman 3, for what O(url), O(user) and O(password) leave out.
    type: path
    default: /etc/mailman3/mailman.cfg
  virtual_file:
    description:
      - Mailman 2.1's virtual file for Postfix, from which command addresses are removed, such as
        V(/var/lib/mailman/data/virtual-mailman). It is backed up before, and C(postmap) is run after.
      - Only an address that leads to the command of the same name goes; one that is a list's own, or that was led elsewhere, stays.
      - Mailman 2.1 writes its addresses again when it makes a list or C(genaliases) is run; run the module after that.
    type: path
  remove_addresses:
    description:
      - Which of a list's addresses to remove from O(virtual_file) and to refuse by RV(refusals).
      - Without V(confirm), confirmations by mail reach Mailman. With the profiles other than V(none) it drops them unanswered,
        so confirming works on the web only; then V(confirm) can be refused as well.
      - RFC 2142 section 6 asks for LIST-request to exist. LIST-owner remains, through which a person can be reached.
    type: list
    elements: str
    choices: [admin, bounces, confirm, join, leave, owner, request, subscribe, unsubscribe]
    default: [join, leave, request, subscribe, unsubscribe]
  keep_addresses:
    description:
      - What stays of O(remove_addresses), as kinds such as V(request), or as whole addresses such as
        V(news-request@lists.example.org).
      - The address of a list whose own name ends like a command, such as a list named C(feature-request), always stays.
    type: list
    elements: str
    default: []
  refusal_text:
    description:
      - What those who write to a refused address are told, in the table for Postfix. OpenSMTPD has its own words.
    type: str
    default: Commands by mail are not taken here; use the web interface
  version:
    description:
      - The Mailman to change. V(auto) takes Mailman 3 if O(url) is given or O(config_file) exists, and Mailman 2.1 if its
        C(config_list) is found; with both on one host it has to be given.
    type: str
    choices: [auto, '2', '3']
    default: auto
notes:
  - "The profile V(quiet) in Mailman 3 - C(admin_immed_notify=false), C(autorespond_owner=none), C(autorespond_postings=none),
    C(autorespond_requests=respond_and_discard), C(autoresponse_grace_period=365d), C(bounce_you_are_disabled_warnings=0),
    C(default_nonmember_action=hold), C(dmarc_mitigate_action=munge_from), C(max_days_to_hold=30), C(respond_to_post_requests=false),
    C(send_goodbye_message=false), C(subscription_policy=confirm_then_moderate), C(unsubscription_policy=confirm)."
  - "The profile V(quiet) in Mailman 2.1 - C(admin_immed_notify=0), C(autorespond_admin=0), C(autorespond_postings=0),
    C(autorespond_requests=1), C(autoresponse_graceperiod=365), C(bounce_you_are_disabled_warnings=0), C(dmarc_moderation_action=1),
    C(forward_auto_discards=0), C(generic_nonmember_action=1), C(max_days_to_hold=30), C(member_moderation_action=0),
    C(respond_to_post_requests=0), C(send_goodbye_msg=0), C(subscribe_policy=3), C(unsubscribe_policy=0)."
  - "The profile V(closed) differs by C(default_nonmember_action=discard) or C(generic_nonmember_action=3), and C(ban_list=['^.*$'])."
  - With C(autorespond_requests) one answer per sender and year goes out to mail for LIST-request in Mailman 3, and to any command
    in Mailman 2.1. Only the refusal of these addresses by the mail server stops the last answer.
"""

EXAMPLES = r"""
- name: No list answers strangers
  postmaster.mail.mailman_harden:
  register: mailman

- name: Our Postfix refuses the commands before Mailman sees them; postmaster.mail.opensmtpd does the same
  ansible.builtin.include_role:
    name: postmaster.mail.postfix
    tasks_from: refusals
  vars:
    mail_refusals: "{{ mailman.refusals }}"

- name: Another Postfix refuses them
  ansible.builtin.copy:
    # smtpd_recipient_restrictions = ..., check_recipient_access regexp:/etc/postfix/mailman_commands
    dest: /etc/postfix/mailman_commands
    content: "{{ mailman.refusals.postfix }}"
    owner: root
    group: root
    mode: "0644"

- name: Another OpenSMTPD refuses them
  ansible.builtin.copy:
    # table mailman_commands file:/etc/mail/mailman_commands
    # match from any for rcpt-to regex <mailman_commands> reject
    dest: /etc/mail/mailman_commands
    content: "{{ mailman.refusals.opensmtpd }}"
    owner: root
    group: "0"
    mode: "0644"

- name: Two lists for announcements are closed; their owners want to know of each held post
  postmaster.mail.mailman_harden:
    lists:
      - news@lists.example.org
      - alerts@lists.example.org
    profile: closed
    settings:
      admin_immed_notify: true
      max_days_to_hold: 7

- name: Mailman 2.1 has no command addresses any more, apart from one
  postmaster.mail.mailman_harden:
    version: '2'
    virtual_file: /var/lib/mailman/data/virtual-mailman
    remove_addresses: [join, leave, request, subscribe, unsubscribe, confirm]
    keep_addresses: [news-request@lists.example.org]
"""

RETURN = r"""
version:
  description: The Mailman found, V(2) or V(3).
  returned: success
  type: int
  sample: 3
lists:
  description: The lists looked at, and what changed. After an error, those that were changed before it, and what of them was.
  returned: success, and an error after a change
  type: list
  elements: dict
  contains:
    address:
      description: Address of the list.
      type: str
      sample: news@lists.example.org
    changes:
      description: Setting by setting, what it was and what it is now (or would be, in check mode).
      type: dict
      sample:
        respond_to_post_requests:
          before: true
          after: false
refusals:
  description:
    - The command addresses of the lists looked at, for the mail server to refuse.
    - The roles P(postmaster.mail.postfix#role) and P(postmaster.mail.opensmtpd#role) take it as C(mail_refusals).
  returned: success
  type: dict
  contains:
    addresses:
      description: The addresses one by one.
      type: list
      elements: str
      sample: [news-join@lists.example.org]
    postfix:
      description: A table of the type regexp for C(check_recipient_access), which also covers extensions as in LIST-join+text.
      type: str
      sample: "/^news-(join|leave)(\\+[^@]*)?@lists\\.example\\.org$/ 550 5.7.1 Commands by mail are not taken here\n"
    opensmtpd:
      description: A table for C(match from any for rcpt-to regex). It is never empty, because smtpd takes no empty one.
      type: str
      sample: "^news-(join|leave)(\\+[^@]*)?@lists\\.example\\.org$\n"
removed_addresses:
  description: The addresses removed from O(virtual_file), or that would be in check mode.
  returned: success
  type: list
  elements: str
  sample: [news-join@lists.example.org]
backup_file:
  description: The copy of O(virtual_file) as it was before.
  returned: when addresses were removed from it
  type: str
  sample: /var/lib/mailman/data/virtual-mailman.4711.2026-11-22@08:00:00~
"""

import json
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._mailman import rules as mailman_rules
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.mailman2 import DIRECTORIES, Mailman2
from ansible_collections.postmaster.mail.plugins.module_utils._mailman.rest import Mailman3, credentials

# What postmap compiles a table into, by type.
COMPILED = (".db", ".cdb", ".lmdb")


def connect(module: AnsibleModule) -> Mailman2 | Mailman3:
    """The Mailman of this host."""
    options = module.params
    programs = [module.get_bin_path(name, opt_dirs=list(DIRECTORIES)) for name in ("list_lists", "config_list")]
    has2 = all(programs)
    has3 = bool(options["url"]) or os.path.exists(options["config_file"])
    version = options["version"]
    if version == "auto":
        if has2 and has3:
            raise MailError("version must be given: both Mailman 2.1 and Mailman 3 are here")
        if not has2 and not has3:
            raise MailError(f"no Mailman found: neither config_list, nor {options['config_file']}, and url is not given")
        version = "2" if has2 else "3"
    if version == "2":
        if not has2:
            raise MailError("no Mailman 2.1 found: list_lists and config_list are in none of the usual directories")
        return Mailman2(*programs)
    if options["virtual_file"]:
        raise MailError("virtual_file is for Mailman 2.1; Mailman 3 writes its tables itself: refuse the addresses by refusals instead")
    given = {name: options[name] for name in ("url", "user", "password") if options[name] is not None}
    known = {} if len(given) == 3 else credentials(options["config_file"])
    if known:
        module.no_log_values.add(known["password"])
    return Mailman3(**{**known, **given})


def without_commands(
    module: AnsibleModule, lists: list[mailman_rules.MailingList], every: list[mailman_rules.MailingList], wanted: mailman_rules.Commands
) -> dict:
    """Take the command addresses out of the virtual file; returns what changed and its diff."""
    path = module.params["virtual_file"]
    if not path:
        return {"changed": False, "removed_addresses": []}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            before = file.read()
    except OSError as exc:
        raise MailError(f"virtual_file {path}: {exc.strerror}") from exc
    after, gone = mailman_rules.virtual_without(before, [entry.name for entry in lists], [entry.name for entry in every], wanted)
    # A run that was ended between the two steps has left a compiled table that is older than its source.
    stale = any(os.path.exists(path + ending) and os.path.getmtime(path + ending) < os.path.getmtime(path) for ending in COMPILED)
    sides = {side: text.encode("utf-8", "backslashreplace").decode("utf-8") for side, text in (("before", before), ("after", after))}
    result = {"changed": bool(gone) or stale, "removed_addresses": gone, "diff": {"before_header": path, "after_header": path, **sides}}
    if module.check_mode or not result["changed"]:
        return result
    postmap = module.get_bin_path("postmap", required=True, opt_dirs=["/usr/sbin", "/usr/local/sbin"])
    if gone:
        result["backup_file"] = module.backup_local(path)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".virtual-")
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(after)
        module.atomic_move(temporary, path)
    status, _out, said = module.run_command([postmap, path], environ_update={"LC_ALL": "C"})
    if status:
        module.fail_json(msg=f"postmap {path} failed with status {status}: {said.strip()}; the next run tries again", **result)
    return result


def shown(name: str, values: dict) -> dict:
    """One list's part of the diff."""
    sides = (("before", 0), ("after", 1))
    return {
        **{f"{side}_header": name for side, _index in sides},
        **{side: "".join(f"{key}: {json.dumps(pair[index])}\n" for key, pair in sorted(values.items())) for side, index in sides},
    }


def told(plan: dict[mailman_rules.MailingList, dict[str, tuple]]) -> list[dict]:
    """The lists and their changes, as the module returns them."""
    return [
        {"address": entry.address, "changes": {name: {"before": pair[0], "after": pair[1]} for name, pair in changes.items()}}
        for entry, changes in plan.items()
    ]


def harden(module: AnsibleModule) -> dict:
    """Plan for all lists, then apply; nothing is changed before everything is known to be sound."""
    options = module.params
    wanted_commands = mailman_rules.commands(options["remove_addresses"], options["keep_addresses"])
    mailman = connect(module)
    settings = mailman_rules.profile(options["profile"], mailman.version, options["settings"])
    every = mailman.lists()
    lists = every if options["lists"] is None else [mailman.find(name) for name in options["lists"]]
    if None in lists:
        missing = options["lists"][lists.index(None)]
        raise MailError(f"lists {missing!r} is not here; there are: {', '.join(entry.address for entry in every) or 'none'}")
    lists = list(dict.fromkeys(lists))
    plan = {}
    for entry in lists:
        current = mailman.read(entry, mailman_rules.BANS in settings)
        plan[entry] = mailman.differences(current, settings, list(options["settings"]))
    refusals = mailman_rules.refused(lists, every, wanted_commands)
    result = {
        "version": mailman.version,
        "lists": told(plan),
        "refusals": {
            "addresses": mailman_rules.refused_addresses(refusals),
            "postfix": mailman_rules.postfix_table(refusals, options["refusal_text"]),
            "opensmtpd": mailman_rules.opensmtpd_table(refusals),
        },
    }
    changed = {entry: changes for entry, changes in plan.items() if changes}
    for entry, changes in changed.items():
        mailman.check(entry, changes)
    virtual = without_commands(module, lists, every, wanted_commands)

    def outcome(changed: dict[mailman_rules.MailingList, dict[str, tuple]]) -> dict:
        diff = [shown(entry.address, changes) for entry, changes in changed.items()]
        if virtual["removed_addresses"]:
            diff.append(virtual["diff"])
        kept = {key: virtual[key] for key in ("removed_addresses", "backup_file") if key in virtual}
        return {**kept, "changed": bool(changed) or virtual["changed"], "diff": diff}

    made: dict[mailman_rules.MailingList, dict[str, tuple]] = {}
    try:
        for entry, changes in ({} if module.check_mode else changed).items():
            mailman.apply(entry, changes, made.setdefault(entry, {}))
    except MailError as exc:
        so_far = {
            entry: different
            for entry, changes in made.items()
            if (different := {name: pair for name, pair in changes.items() if pair[0] != pair[1]})
        }
        module.fail_json(msg=str(exc), version=mailman.version, lists=told(so_far), **outcome(so_far))
    return {**result, **outcome(changed)}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lists": {"type": "list", "elements": "str"},
            "profile": {"type": "str", "choices": list(mailman_rules.PROFILES), "default": "quiet"},
            "settings": {"type": "dict", "default": {}},
            "url": {"type": "str"},
            "user": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "config_file": {"type": "path", "default": "/etc/mailman3/mailman.cfg"},
            "virtual_file": {"type": "path"},
            "remove_addresses": {
                "type": "list", "elements": "str", "default": list(mailman_rules.COMMANDS), "choices": list(mailman_rules.SUFFIXES),
            },
            "keep_addresses": {"type": "list", "elements": "str", "default": []},
            "refusal_text": {"type": "str", "default": mailman_rules.REFUSAL},
            "version": {"type": "str", "choices": ["auto", "2", "3"], "default": "auto"},
        },
        supports_check_mode=True,
    )  # fmt: skip
    try:
        result = harden(module)
    except MailError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
