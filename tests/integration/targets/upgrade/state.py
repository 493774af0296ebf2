#!/usr/bin/env python3
# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must survive an upgrade: put it on a server, note it, and see afterwards that all of it is there.

Run in the test network, with the inventories of the server; FILE is where it is noted:

  state.py prepare|between|compare FILE HOST INVENTORY...
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import secrets
import shlex
import sys
import time

sys.dont_write_bytecode = True
ACCEPTANCE = pathlib.Path(__file__).resolve().parents[3] / "acceptance"
sys.path.insert(0, str(ACCEPTANCE))

import imap as mailbox

loader = importlib.machinery.SourceFileLoader("verify", str(ACCEPTANCE / "verify"))
verify = importlib.util.module_from_spec(importlib.util.spec_from_loader("verify", loader))
loader.exec_module(verify)

# All that the filter has learnt, as one digest: each word's hash, whose fields are in no fixed order.
LEARNT = """
local all = {}
for _, key in ipairs(redis.call('keys', 'RS*')) do
  local kind, text = redis.call('type', key).ok, ''
  if kind == 'hash' then
    local fields, pairs = redis.call('hgetall', key), {}
    for i = 1, #fields, 2 do pairs[#pairs + 1] = fields[i] .. '=' .. fields[i + 1] end
    table.sort(pairs)
    text = table.concat(pairs, ' ')
  elseif kind == 'set' then
    local members = redis.call('smembers', key)
    table.sort(members)
    text = table.concat(members, ' ')
  else
    text = redis.call('get', key)
  end
  all[#all + 1] = key .. ' ' .. kind .. ' ' .. text
end
table.sort(all)
return {#all, redis.sha1hex(table.concat(all, '\\n'))}
"""
FOLDERS = ("INBOX", "Archive", "Junk", "Sent", "Trash", "Drafts")
SPAM, HAM = 3, 2
SCRIPT = 'require ["fileinto"];\r\nif header :contains "Subject" "to the archive" {\r\n  fileinto "Archive";\r\n}\r\n'


def learnt(lab) -> list:
    """Counts of spam and ham, number of words, and a digest of all of it."""
    ask = lab.commands["learned"].partition(" eval ")[0]
    words, digest = lab.run(f"{ask} eval {shlex.quote(LEARNT)} 0").split()
    return [*verify.testnet_promises.learned(lab), int(words), digest]


def mailboxes(lab) -> dict[str, list]:
    """What a mail client sees, per user and folder: UIDVALIDITY, subscription, and UID, flags, date and digest of each message."""
    seen = {}
    for user, password in lab.accounts:
        with lab.imap((user, password)) as session:
            subscribed = " ".join(str(line) for line in mailbox.ok(session.lsub(), "LSUB"))
            for folder in FOLDERS:
                validity = mailbox.ok(session.status(folder, "(UIDVALIDITY)"), f"STATUS {folder}")[0].decode()
                mailbox.ok(session.select(folder, readonly=True), f"SELECT {folder}")
                found = []
                _status, data = session.uid("fetch", "1:*", "(FLAGS INTERNALDATE BODY.PEEK[])")
                for part in data:
                    if isinstance(part, tuple):
                        head = part[0].decode()
                        flags = sorted(set(re.search(r"FLAGS \((.*?)\)", head)[1].split()) - {"\\Recent"})
                        found.append([re.search(r"UID (\d+)", head)[1], flags, re.search(r'INTERNALDATE "(.*?)"', head)[1],
                                      hashlib.sha256(part[1]).hexdigest()])  # fmt: skip
                seen[f"{user} {folder}"] = [validity, folder in subscribed, found]
    return seen


def sieve(lab) -> list[str]:
    with mailbox.ManageSieve(lab.fqdn, lab.ca_file) as session:
        session.login(*lab.account())
        return [*session.command("LISTSCRIPTS"), *session.command('GETSCRIPT "holiday"')]


def certificates(lab) -> dict[str, str]:
    """Digest of the certificate that each port shows."""
    with lab.imap() as session:
        found = {"993": session.sock.getpeercert(True)}
    for port, tls in ((25, "starttls"), (465, "wrapped"), (587, "starttls")):
        with lab.smtp(port, tls) as session:
            found[str(port)] = session._smtp.sock.getpeercert(True)
    return {port: hashlib.sha256(data).hexdigest() for port, data in found.items()}


def records(lab) -> dict[str, list[str]]:
    """What the zone says of the domain's DKIM key, SPF and DMARC; the selector is what the host signs with."""
    domain = lab.domains[0]
    selectors = json.loads(lab.run("cat /etc/postmaster-mail/signing.json"))[domain]
    names = [f"{item['selector'] if isinstance(item, dict) else item}._domainkey.{domain}" for item in selectors]
    return {name: sorted(lab.texts(name)) for name in [*names, domain, f"_dmarc.{domain}"]}


def facts(lab) -> dict:
    """All that is compared."""
    return {"mailboxes": mailboxes(lab), "sieve": sieve(lab), "certificates": certificates(lab), "records": records(lab),
            "learnt": learnt(lab)}  # fmt: skip


def until(what: str, test, within: float = 60):
    end = time.monotonic() + within
    while True:
        found = test()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen within {within:g} s"
        time.sleep(0.5)


def prepare(lab) -> dict:
    """Mail, flags, training, a script, and a message that waits for the strict receiver, which is to be off meanwhile."""
    user, other = lab.account()[0], lab.account(1)[0]
    # Mail that arrived, and mail with flags and dates of its own.
    for recipient in (user, other, lab.accounts[-1][0]):
        message = lab.message(f"outside@{lab.helo}", recipient)
        lab.deliver(message, recipient)
        lab.find(message["Message-ID"], (recipient, dict(lab.accounts)[recipient]))
    with lab.imap() as session:
        for folder, flags, day in (("Archive", r"(\Seen \Answered)", 1), ("INBOX", r"(\Flagged $Label1)", 2), ("Sent", r"(\Seen)", 3),
                                   ("Drafts", r"(\Draft)", 4)):  # fmt: skip
            content = lab.message(user, other).as_bytes()
            mailbox.ok(session.append(folder, flags, f'"0{day}-Feb-2024 03:04:05 +0100"', content), f"APPEND to {folder}")
    # Training: each kind with a count of its own.
    before = verify.testnet_promises.learned(lab)
    tokens = [secrets.token_hex(8) for _ in range(SPAM + HAM)]
    for token in tokens:
        text = " ".join(secrets.token_hex(4) for _ in range(60)) + "\n"
        mailbox.append(*lab.files(user), "INBOX", lab.message(f"x@{lab.helo}", user, text, Subject=token).as_bytes())
        mailbox.move(*lab.files(user), token, "INBOX", "Junk")
    until("learning spam", lambda: verify.testnet_promises.learned(lab)[0] - before[0] == SPAM + HAM)
    for token in tokens[:HAM]:
        mailbox.move(*lab.files(user), token, "Junk", "INBOX")
    until("learning ham", lambda: verify.testnet_promises.learned(lab)[1] - before[1] == HAM)
    with mailbox.ManageSieve(lab.fqdn, lab.ca_file) as session:
        session.login(*lab.account())
        session.put("holiday", SCRIPT)
    message = lab.message(user, lab.bigmail["user"])
    lab.submit(message)
    until("deferral", lambda: (found := lab.waiting(lab.bigmail["user"])) and found.reason)
    return {**facts(lab), "waiting": message["Message-ID"]}


def between(lab, noted: dict) -> dict:
    """While the old configuration meets the new programs: nothing is refused for good, and what is taken is not lost."""
    user = lab.account()[0]
    from_outside = lab.message(f"outside@{lab.helo}", user)
    try:
        with lab.smtp(25) as session:
            code, reply = session.send(f"outside@{lab.helo}", [user], from_outside.as_bytes())
    except (OSError, verify.runner.CheckFailed) as exc:
        code, reply = 421, f"{type(exc).__name__}: {exc}"
    assert code == 250 or 400 <= code < 500, f"refused for good: {code} {reply}"
    from_here = lab.message(f"root@{lab.fqdn}", user)
    status = lab.run(f"printf %s {shlex.quote(from_here.as_string())} | sendmail {shlex.quote(user)} && echo taken || echo refused")
    print(f"{lab.fqdn} between: from outside {code} {reply}; from the host {status.strip()}")
    noted["between"] = {"outside": from_outside["Message-ID"] if code == 250 else "",
                        "here": from_here["Message-ID"] if status.strip().endswith("taken") else ""}  # fmt: skip
    return noted


def flushed(lab, message_id: str, within: float = 120):
    """The message at the strict receiver. One flush need not be enough: smtpd lets a host alone for a while after errors, and tries again
    much later than anybody waits here."""
    end = time.monotonic() + within
    while True:
        lab.run(lab.mta.flush, check=False)
        try:
            return lab.at_bigmail(message_id, within=5)
        except verify.runner.CheckFailed:
            if time.monotonic() > end:
                raise


def compare(lab, noted: dict) -> dict:
    """Everything is as it was, and what waited arrives."""
    found = facts(lab)
    for box in found["mailboxes"]:
        # What arrived meanwhile is looked for below.
        known = {entry[0] for entry in noted["mailboxes"][box][2]}
        found["mailboxes"][box][2] = [entry for entry in found["mailboxes"][box][2] if entry[0] in known]
    for name, value in found.items():
        if name == "learnt":
            # The digest is of the words themselves; what else the filter remembers may have expired.
            assert value == noted[name], f"learnt: {noted[name]} before, {value} after"
        else:
            for key, now in value.items() if isinstance(value, dict) else [(name, value)]:
                before = noted[name][key] if isinstance(value, dict) else noted[name]
                assert now == before, f"{name} of {key}: {before} before, {now} after"
    arrived = verify.testnet_promises.authentication(flushed(lab, noted["waiting"]))
    assert {arrived.get(method) for method in ("spf", "dkim", "dmarc")} == {"pass"}, f"the message that waited: {arrived}"
    for where, message_id in noted.get("between", {}).items():
        if message_id:
            lab.find(message_id, within=120)
            print(f"{lab.fqdn}: what was taken from {where} meanwhile has arrived")
    # The user's script acts, compiled by the new version.
    message = lab.message(f"outside@{lab.helo}", lab.account()[0], Subject=f"to the archive {secrets.token_hex(4)}")
    lab.deliver(message, lab.account()[0])
    lab.find(message["Message-ID"], folder="Archive")
    return noted


def main() -> None:
    step, file, host, *inventories = sys.argv[1:]
    path = pathlib.Path(file)
    lab = verify.server(verify.variables(inventories, host), inventories)
    noted = prepare(lab) if step == "prepare" else {"between": between, "compare": compare}[step](lab, json.loads(path.read_text()))
    path.write_text(json.dumps(noted, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
