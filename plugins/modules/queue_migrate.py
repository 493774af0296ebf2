#!/usr/bin/python
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: queue_migrate
short_description: "[INTERNAL] Migrate the queue of one mail server to another one on the same host"
version_added: 0.1.0
author: The postmaster.mail developers (@postmaster-mail)
description:
  - With O(state=stopped), stops a mail server at a moment when it neither receives nor delivers a message.
  - With O(state=handed_over), moves what waits in its queue into the queue of the server that has taken its place. Neither package
    needs to be installed any more than the other; the files in the old queue are read as they are.
  - OpenSMTPD can be O(source) and O(target). What waits for an action that its configuration has no more, and that smtpd passes over in
    silence, then goes on by the actions that it has.
  - A message keeps its envelope, the time of its arrival, and every octet of its text. It is neither filtered nor signed again,
    and aliases that were expanded are not expanded again.
  - A message leaves the old queue only after the new server has it. If the run is killed in between, nothing is lost, and the next
    run goes on; a message that was delivered in just that moment would be delivered twice.
  - What cannot be handed over stays in the old queue, and a warning names it, the reason, and where to look. So does what an earlier run
    has put into a file of the new queue that is damaged since.
options:
  source:
    description: Whose mail it is.
    type: str
    choices: [opensmtpd, postfix]
    required: true
  target:
    description: Who takes it over; required with O(state=handed_over).
    type: str
    choices: [opensmtpd, postfix]
  state:
    description: What is to be true.
    type: str
    choices: [handed_over, stopped]
    default: handed_over
  stop:
    description: Command that stops O(source); required with O(state=stopped).
    type: list
    elements: str
  patience:
    description: How many seconds O(state=stopped) waits for a quiet moment at most.
    type: int
    default: 15
  delivery:
    description:
      - Who is who on this server, required with O(state=handed_over); C(domains), C(mailboxes), C(aliases), C(system) and, if it is not
        C(+), C(recipient_delimiter) as in the part V(values) of V(delivery) of P(postmaster.mail._service#filter), C(fqdn), the name of the
        host, for OpenSMTPD C(mail_user), the user who owns the mailboxes, C(srs), whether O(target) rewrites the sender of mail that it
        forwards, and C(routes), OpenSMTPD's actions to domains of recipients (C(to)) and senders (C(from)).
      - Mailboxes are delivered to by OpenSMTPD's action C(deliver), everything else is sent by its action C(send) or that of its route;
        with C(srs), what users have sent who had logged in by the same with C(-own) behind it.
    type: dict
  postfix_spool:
    description: Postfix's queue directory.
    type: path
    default: /var/spool/postfix
  opensmtpd_spool:
    description: OpenSMTPD's.
    type: path
    default: /var/spool/smtpd
extends_documentation_fragment:
  - postmaster.mail.attributes.changes
attributes:
  diff_mode:
    support: none
    details:
      - The result lists each message; there is no text to compare.
notes:
  - On hold in Postfix, an unwritten bounce or a program of a user in OpenSMTPD, damaged, encrypted, or waiting for a content
    filter, such mail stays. A queue of OpenSMTPD that is encrypted or compressed by C(opensmtpd_settings) cannot take anything over.
"""

EXAMPLES = r"""
- name: Queue | What waits at Postfix is OpenSMTPD's now
  postmaster.mail.queue_migrate:
    source: postfix
    target: opensmtpd
    delivery:
      fqdn: mail.example.org
      domains: [example.org]
      mailboxes: [me@example.org]
      aliases:
        sales@example.org: [me@example.org]
      system:
        root: [me@example.org]
      mail_user: vmail
"""

RETURN = r"""
carried:
  description: Messages that were handed over, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    id: {description: Its name in the old queue., type: str}
    new_id: {description: Its name in the new one. Empty in check mode and for what C(sendmail) took., type: str}
    path: {description: Its file., type: str}
    sender: {description: The envelope's sender., type: str}
    recipients: {description: Who has not got it yet., type: list, elements: str}
    reason: {description: Empty., type: str}
kept:
  description: Messages that stay in the old queue; as RV(carried), with the C(reason).
  returned: success
  type: list
  elements: dict
quiet:
  description: With O(state=stopped), whether there was a moment with no message under way.
  returned: success
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.mta import NAMES, SPOOLS
from ansible_collections.postmaster.mail.plugins.module_utils._queue import migrate as engine


def main() -> None:
    server = {"type": "str", "choices": sorted(NAMES)}
    module = AnsibleModule(
        argument_spec={
            "source": {**server, "required": True},
            "target": server,
            "state": {"type": "str", "choices": ["handed_over", "stopped"], "default": "handed_over"},
            "stop": {"type": "list", "elements": "str"},
            "patience": {"type": "int", "default": 15},
            "delivery": {"type": "dict"},
            "postfix_spool": {"type": "path", "default": SPOOLS["postfix"]},
            "opensmtpd_spool": {"type": "path", "default": SPOOLS["opensmtpd"]},
        },
        required_if=[("state", "handed_over", ("target", "delivery")), ("state", "stopped", ("stop",))],
        supports_check_mode=True,
    )
    options = module.params
    spools = {"postfix": options["postfix_spool"], "opensmtpd": options["opensmtpd_spool"]}
    source = engine.queue_of(options["source"], spools)
    result = {"carried": [], "kept": [], "quiet": True}
    try:
        if options["state"] == "stopped":
            if not module.check_mode:
                result["quiet"] = engine.stop(source, options["stop"], options["patience"])
            module.exit_json(changed=True, **result)
        if options["target"] == options["source"] == "postfix":
            raise MailError(f"target {options['target']!r} is the source: there is nobody to hand over to")
        needed = {"fqdn", "domains", "mailboxes", "aliases", "system"} | ({"mail_user"} if options["target"] == "opensmtpd" else set())
        missing = sorted(needed - set(options["delivery"]))
        if missing:
            raise MailError(f"delivery lacks {', '.join(missing)}")
        result.update(engine.migrate(source, engine.queue_of(options["target"], spools), options["delivery"], module.check_mode))
    except MailError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"the mail could not be handed over: {exc.strerror}: {exc.filename}; what is left stays where it is")
    back = "its action" if options["target"] == options["source"] else "this server"
    for one in result["kept"]:
        recipients = ", ".join(one["recipients"]) or "unknown recipients"
        module.warn(
            f"message {one['id']} from <{one['sender']}> to {recipients} stays in the queue of {options['source']}, because "
            f"{one['reason']}. Look at it with `cat -v {one['path']}`; it is delivered if {back} comes back"
        )
    module.exit_json(changed=bool(result["carried"]), **result)


if __name__ == "__main__":
    main()
