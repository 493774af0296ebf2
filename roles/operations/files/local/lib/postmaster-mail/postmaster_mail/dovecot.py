# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Dovecot 2.3 and 2.4 log of deliveries and log-ins, and the program that sends for Sieve scripts. Pure functions."""

from __future__ import annotations

import re

from postmaster_mail.events import ADDRESS, Event
from postmaster_mail.logs import Line

#: ``lmtp(user)<pid><session>: ``; the user is an account of ours, or what somebody gave as one.
_PROCESS = re.compile(r"(?P<service>lmtp|lda)\((?P<user>[^()\s]+)\)<[0-9]+><(?P<session>[^<>\s]*)>: (?P<text>.*)")
#: What became of a message. The Message-ID before it is the sender's to choose, so the last of these counts.
_ACTION = re.compile(
    r"(?:Error: |Warning: )?(?:sieve: )?msgid=(?P<message_id>.*): "
    rf"(?:(?:stored mail into mailbox|saved mail to) '?(?P<stored>[^']*)'?|forwarded to <(?P<forwarded>{ADDRESS})>"
    rf"|sent vacation response to <(?P<vacation>{ADDRESS})>|sent mail notification to <(?P<notified>{ADDRESS})>"
    r"|(?P<discarded>[Mm]arked message to be discarded.*|discarded.*)"
    r"|(?P<failed>failed to (?:store into mailbox|redirect message to|save mail to|send|forward).*|save failed to .*|rejected message.*))",
    re.DOTALL,
)  # fmt: skip
#: 2.3 says ``Login:``.
_LOGIN = re.compile(
    r"(?P<service>imap|pop3|managesieve|submission)-login: (?:Login|Logged in): user=<(?P<user>[^<>\s]+)>, method=\S+, "
    r"rip=(?P<address>[0-9a-f.:]+),.*"
)
#: What our own programs say, send-for-script and learn.
_SCRIPT = re.compile(
    r"message of the script of (?P<user>\S+) to (?P<to>\S+) is (?P<what>not sent, and kept in INBOX|not sent|deferred): (?P<reason>.*)"
)
_LEARN = re.compile(r"learning (?P<what>spam|ham) for (?P<user>\S*) failed: (?P<reason>.*)")

_ACTIONS = ("stored", "forwarded", "vacation", "notified", "discarded", "failed")


def event(line: Line) -> Event | None:
    """Return what a line reports, or None."""
    if line.program == "send-for-script":
        found = _SCRIPT.fullmatch(line.text)
        return Event(line.time, "script", "", "", found.groupdict()) if found else None
    if line.program == "dovecot-learn":
        found = _LEARN.fullmatch(line.text)
        data = {"user": found["user"], "to": "", "what": f"learning {found['what']} failed", "reason": found["reason"]} if found else {}
        return Event(line.time, "script", "", "", data) if found else None
    if found := _LOGIN.fullmatch(line.text):
        data = {"user": found["user"], "address": found["address"], "service": found["service"]}
        return Event(line.time, "mailbox-login", "", "", data)
    process = _PROCESS.fullmatch(line.text)
    if process and (found := _ACTION.fullmatch(process["text"])):
        action = next(name for name in _ACTIONS if found[name] is not None)
        # 2.4 names the action as well.
        message_id = re.sub(r": [a-z]+ action\Z", "", found["message_id"])
        data = {"user": process["user"], "message_id": message_id, "action": action, "target": found[action]}
        return Event(line.time, "mailbox", process["session"], "", data)
    return None
