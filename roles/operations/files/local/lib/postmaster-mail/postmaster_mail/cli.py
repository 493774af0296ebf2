# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``postmaster-mail``: what a postmaster does each week, in the same words on every MTA and system."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from postmaster_mail import accounts, bans, controller, explain, limits, locks, queues, senders, summary, text, trace, waiting
from postmaster_mail.host import Host, Settings
from postmaster_mail.lists import Lists
from postmaster_mail.text import Failure, count, moment, printable


class Answer(NamedTuple):
    """What a command has to say: for programs (``public``, as JSON) and for people (``lines``); ``status`` is 1 where there is nothing."""

    public: Any
    lines: list[str]
    status: int = 0


def _trace(host: Host, options: argparse.Namespace) -> Answer:
    since = text.since(options.since, time.time())
    selector = trace.Selector.of(options.what)
    found = trace.messages(*trace.passages(lambda: host.lines(since), selector))
    left_out = max(len(found) - options.limit, 0) if options.limit else 0
    public, lines = trace.report(found[left_out:])
    if left_out:
        lines = [f"{count(left_out, 'earlier message is', 'earlier messages are')} not shown: --limit 0 shows all", "", *lines]
    if not found:
        lines = [f"The log has nothing about {printable(options.what, 100)} since {moment(since)}; --since looks further back"]
    return Answer({"since": since, "left_out": left_out, "messages": public}, lines, 0 if found else 1)


def _choice(options: argparse.Namespace) -> waiting.Choice:
    older = time.time() - text.since(options.older, time.time()) if options.older else 0
    ids = tuple(dict.fromkeys(one[:8] if re.fullmatch("[0-9a-f]{16}", one) else one for one in options.ids))
    return waiting.Choice(ids, options.sender, options.to, options.reason, older, options.held, options.all)


def _queue(host: Host, options: argparse.Namespace) -> Answer:
    choice, queue = _choice(options), queues.queue_of(host)
    now = time.time()
    found = choice.of(queue.messages(), now)
    public = {"messages": [message.public() for message in found], "by": options.by, "groups": waiting.grouped(found, options.by, now)}
    if options.action == "show":
        return Answer(public, waiting.overview(found, options.by, now))
    if options.action == "list":
        return Answer(public, waiting.listing(found, now))
    if choice.empty:
        raise Failure(f"queue {options.action}: of which messages? Name queue ids, or --to, --from, --reason, --older, --held or --all")
    if options.action == "release":
        found = [message for message in found if message.state == "held"]
    elif options.action in ("hold", "retry"):
        found = [message for message in found if message.state != "held"]
    if not found:
        return Answer({"action": options.action, "done": [], "failed": []}, [f"No message is there to {options.action}"], 1)
    if options.action == "delete":
        confirm([*waiting.listing(found[:10], now), *(["..."] if len(found) > 10 else [])],
                f"Delete {count(len(found), 'message')} for good, without telling anybody?", options.yes)
    ids = [message.id for message in found]
    done = getattr(queue, options.action)(ids)
    failed = [one for one in ids if one not in done]
    words = {"retry": "tried now", "hold": "on hold", "release": "released", "delete": "deleted"}[options.action]
    for one in done if options.action != "retry" else []:
        host.note(f"queue: {one} is {words}")
    lines = [f"{count(len(done), 'message is', 'messages are')} {words}"]
    if failed:
        lines.append(f"{count(len(failed), 'message')} could not be: delivered meanwhile, or being delivered: {', '.join(failed)}")
    return Answer({"action": options.action, "done": done, "failed": failed}, lines, 1 if failed else 0)


def _accounts(host: Host, options: argparse.Namespace) -> Answer:
    now = time.time()
    known = host.accounts()
    account = _account(options.account, known) if options.account else ""
    since = text.since(options.since, now)
    found = accounts.usage(trace.events(host.lines(since)), known)
    names = [account] if account else accounts.ordered(found, options.sort)
    shown = names[: options.limit or None]
    locked = _locked(host, shown)
    may, counted = host.limits(), _counted(host, shown)
    public = [accounts.public(name, known[name], host.used(name), found[name], locked[name], limits.of(may, name), counted.get(name))
              for name in shown]  # fmt: skip
    lines = [f"Since {moment(since)}:", "", *accounts.lines(public, now)]
    if len(shown) < len(names):
        lines.append(f"{count(len(names) - len(shown), 'more account is', 'more accounts are')} not shown: --limit 0 shows all")
    return Answer({"since": since, "left_out": len(names) - len(shown), "accounts": public}, lines)


def _counted(host: Host, names: Iterable[str]) -> dict[str, limits.Used]:
    """Return account to what counts for its limits; nothing where the filter does not answer."""
    try:
        counted, _events = controller.limits(host.settings.controller)
    except Failure:
        return {}
    return {name: counted.get(name, limits.Used(0, 0)) for name in names}


def _account(name: str, known: Collection[str]) -> str:
    """Return the name of an account.

    :raises Failure: there is none of that name
    """
    if name.lower() not in known:
        raise Failure(f"{printable(name, 100)} is no account of this server; an alias is none")
    return name.lower()


def _locked(host: Host, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return account to the level that it is locked at: by the ``command``, by the ``inventory``, and together (``level``)."""
    by_command, by_inventory = (locks.Locks(path).accounts() for path in (host.settings.locks, host.settings.inventory_locks))
    found = {}
    for name in names:
        command, inventory = by_command.get(name, set()), by_inventory.get(name, set())
        found[name] = {"level": locks.level(command | inventory), "command": locks.level(command), "inventory": locks.level(inventory)}
    return found


_LOCKED = {"": "is not locked", "sending": "sends nothing", "login": "does not log in", "all": "neither logs in nor sends anything"}


def _lock(host: Host, options: argparse.Namespace) -> Answer:
    account = _account(options.account, host.accounts())
    locks.Locks(host.settings.locks).add(account, options.level)
    host.note(f"lock: {account}, {options.level}")
    found = _locked(host, [account])[account]
    lines = [f"{account} {_LOCKED[found['level']]}; mail to it still arrives"]
    ended = 0
    if options.level != "sending":
        ended = host.end_sessions(account)
        lines.append(f"{count(ended, 'session')} at the mailbox {'was' if ended == 1 else 'were'} ended")
    held: list[str] = []
    if options.level != "login":
        queue = queues.queue_of(host)
        held = queue.hold([message.id for message in _sent_by(host, account, queue.messages()) if message.state != "held"])
        for one in held:
            host.note(f"queue: {one} is on hold")
        lines.append(f"{count(len(held), 'message')} that it had sent {'is' if len(held) == 1 else 'are'} on hold in the queue")
    return Answer({"account": account, "lock": found, "sessions_ended": ended, "held": held}, lines)


def _unlock(host: Host, options: argparse.Namespace) -> Answer:
    account = options.account.lower()
    files = locks.Locks(host.settings.locks)
    # Whoever is no account any more can be unlocked, too.
    if account not in files.accounts():
        account = _account(options.account, host.accounts())
    if files.of(account) & set(locks.LEVELS[options.level]):
        files.remove(account, options.level)
        host.note(f"unlock: {account}, {options.level}")
        host.settle()
    found = _locked(host, [account])[account]
    lines = [f"{account} {_LOCKED[found['level']]}"]
    if options.level != "login" and host.settings.controller:
        try:
            controller.forget_sent(host.settings.controller, account)
            lines.append("What it has sent so far counts no more for its limit")
        except Failure as exc:
            lines.append(f"What it has sent so far still counts for its limit: {exc}")
    if found["inventory"]:
        lines.append(f"The inventory locks it (mail_users, locked: {found['inventory']}): take that out, and run the playbook with "
                     "--tags accounts")  # fmt: skip
    held = [message.id for message in _sent_by(host, account, queues.queue_of(host).messages()) if message.state == "held"]
    if held:
        lines.append(f"{count(len(held), 'message')} that it had sent {'is' if len(held) == 1 else 'are'} still on hold. Look, and then "
                     f"release or delete: postmaster-mail queue list {' '.join(held[:3])}{' ...' if len(held) > 3 else ''}")  # fmt: skip
    return Answer({"account": account, "lock": found, "held": held}, lines, 1 if found["inventory"] else 0)


#: Seconds in which events are gathered for one notice: a thief is locked soon after the limit is reached.
_GATHER = 60
#: Seconds until what could not be done, or not be reported, is tried again: the filter may have been restarted just now.
_AGAIN = 15


def _enforce_limits(host: Host, options: argparse.Namespace) -> Answer:
    try:
        return _enforced_limits(host)
    except Failure:
        time.sleep(_AGAIN)
        # Else it would be seen to only when somebody sends again. The filter may write it as before.
        with contextlib.suppress(OSError):
            directory = os.stat(os.path.dirname(host.settings.limits_reached))
            with open(host.settings.limits_reached, "a", encoding="ascii"):
                os.chown(host.settings.limits_reached, directory.st_uid, directory.st_gid)
        raise


def _enforced_limits(host: Host) -> Answer:
    found: dict[str, limits.Event] = {}
    locked: list[str] = []
    with host.alone() as alone:
        end = time.monotonic() + _GATHER
        while alone:
            # Before the look: what comes after it makes the file anew.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(host.settings.limits_reached)
            for event in limits.events(controller.limits(host.settings.controller)[1]):
                # Who was taken out of the inventory meanwhile is no account any more.
                if event.text not in found and event.kind == "lock" and event.account in host.accounts():
                    _lock(host, argparse.Namespace(account=event.account, level="sending"))
                    locked.append(event.account)
                found.setdefault(event.text, event)
            if {event.account for event in found.values()} <= set(locked) or time.monotonic() > end:
                break
            time.sleep(1)
        if found:
            known = accounts.usage(trace.events(host.lines(time.time() - 86400)), {event.account for event in found.values()})
            subject, lines = limits.notice(list(found.values()), known)
            host.mail(f"{host.settings.fqdn}: {subject}", lines)
            host.note(f"limits: {subject}")
        for one in found:
            controller.forget_event(host.settings.controller, one)
    if not alone:
        return Answer({"events": [], "locked": []}, ["Another call of this command does that at this moment"])
    lines = [f"{count(len(found), 'event was', 'events were')} reported to the postmaster, {count(len(locked), 'account')} locked"]
    return Answer({"events": [event._asdict() for event in found.values()], "locked": locked}, lines)


def _sent_by(host: Host, account: str, messages: Sequence[waiting.Waiting]) -> list[waiting.Waiting]:
    """Return the messages that an account has sent, by whichever of its addresses; its Sieve script sends by the first."""
    if not messages:
        return []
    since = min(message.arrived for message in messages) - 3600
    ids = accounts.messages_of(trace.events(host.lines(since)), account)
    return [message for message in messages if message.id in ids or re.sub(r"\+[^@]*@", "@", message.sender.lower()) == account]


def _ban(host: Host, options: argparse.Namespace) -> Answer:
    found = _banned(host)
    if options.action == "list":
        if options.address:
            raise Failure("ban list takes no address; ban lift does")
        return Answer([ban.public() for ban in found], bans.lines(found))
    if not options.address:
        raise Failure("ban lift: of which address or network?")
    lifted = bans.meant(found, options.address)
    for ban in lifted:
        host.run(bans.lifting(host.settings.bans, ban.network))
        host.note(f"ban: {bans.named(ban.network)} is lifted")
    lines = [f"{bans.named(ban.network)} is let in again" + (f"; it was banned for {ban.why}" if ban.why else "") for ban in lifted]
    if not lifted:
        lines = [f"{printable(options.address, 60)} is not banned"]
    return Answer([ban.public() for ban in lifted], lines, 0 if lifted else 1)


def _senders(host: Host, options: argparse.Namespace) -> Answer:
    action = options.command
    kept = Lists(host.settings.senders, senders.HEAD)
    directory, name = os.path.split(host.settings.inventory_senders)
    given = Lists(directory, "")
    files = [file for file in senders.FILES[action] if file]
    if not options.sender:
        if options.remove:
            raise Failure(f"{action} --remove: of which sender?")
        by_command = {one for file in files for one in kept.read(file)}
        by_inventory = {one for file in files for one in given.read(name.format(file))}
        rows = [(one.removeprefix("@"), "command" if one in by_command else "", "inventory" if one in by_inventory else "")
                for one in sorted(by_command | by_inventory)]  # fmt: skip
        public = {"command": sorted(by_command), "inventory": sorted(by_inventory)}
        return Answer(public, text.table(("SENDER", "BY", ""), rows) if rows else [f"The list of senders to {action} is empty"])
    file, line = senders.entry(action, options.sender)
    shown = line.removeprefix("@")
    there, inventory = line in kept.read(file), line in given.read(name.format(file))
    (kept.remove if options.remove else kept.add)(line, [file])
    if there == options.remove:
        host.note(f"{action}: {shown}{' no more' if options.remove else ''}")
    past = {"allow": "allowed", "block": "blocked"}[action]
    lines = [f"{shown} is {past}"]
    if options.remove and inventory:
        lines = [f"{shown} is {past} by the inventory (mail_filter.{action}): take it out there, and run the playbook"]
    elif options.remove:
        lines = [f"{shown} is {past} no more" if there else f"{shown} was not {past}"]
    elif action == "allow":
        lines[0] += ", where SPF or DKIM passes for it"
        other = Lists(host.settings.senders, "").read("blocked") | given.read(name.format("blocked"))
        if line in other:
            lines.append("It is blocked as well, and that counts: postmaster-mail block --remove")
    status = 1 if options.remove and (inventory or not there) else 0
    return Answer({"sender": shown, action: inventory or not options.remove}, lines, status)


def _summary(host: Host, options: argparse.Namespace) -> Answer:
    now = time.time()
    since = text.since(options.since, now)
    known, counts = host.accounts(), summary.Counts()
    found = accounts.usage(counts.watch(trace.events(host.lines(since))), known)
    if not host.settings.controller:
        counts.without_filter(sum(one.sent for one in found.values()))
    used = host.used_by_all()
    names = accounts.ordered(found, "sent")
    levels = _locked(host, names)
    may, counted = host.limits(), _counted(host, names)
    public = [accounts.public(name, known[name], used.get(name), found[name], levels[name], limits.of(may, name), counted.get(name))
              for name in names]  # fmt: skip
    locked = {one["account"]: one["lock"]["level"] for one in public if one["lock"]["level"]}
    waiting_now = queues.queue_of(host).messages()
    banned: list[bans.Ban] = []
    with contextlib.suppress(Failure):  # where nothing bans
        banned = _banned(host)
    lines = summary.lines(counts, since, now, waiting_now, public, banned, locked, host.disks())
    if options.mail:
        host.mail(f"{host.settings.fqdn}: mail of the last day", lines)
        lines = ["The summary is sent to the postmaster"]
    return Answer({"since": since, **summary.public(counts), "queue": len(waiting_now), "locked": locked,
                   "banned": [ban.public() for ban in banned]}, lines)  # fmt: skip


def _banned(host: Host) -> list[bans.Ban]:
    """Return who is banned, and why.

    :raises Failure: what bans does not answer
    """
    found = bans.listed(host.settings.bans, host.run(bans.COMMANDS[host.settings.bans][0]))
    if found:
        bans.explained(found, trace.events(host.lines(min(ban.since or time.time() for ban in found) - 3600)))
    return found


def _why(host: Host, options: argparse.Namespace) -> Answer:
    now = time.time()
    content = _content(options.message) if options.message == "-" or os.path.isfile(options.message) else None
    wanted = trace.Selector(message_id=explain.message_id(content)) if content is not None else trace.Selector.of(options.message)
    since = text.since(options.since, now)
    logged = (event for event in trace.events(host.lines(since)) if event.kind == "filtered")
    found = [event for event in logged if event.queue == wanted.queue or event.data["message_id"] == (wanted.message_id or None)]
    known = controller.descriptions(host.settings.controller)
    verdicts = [(event.time, event.data) for event in found]
    if not verdicts and content is not None:
        verdicts = [(None, controller.scan(host.settings.controller, content))]
    public: list[dict[str, Any]] = []
    lines: list[str] = []
    for when, data in verdicts:
        rows = explain.symbols(data, known)
        public.append({**data, "time": when, "symbols": rows})
        lines += ([""] if lines else []) + explain.lines(data, rows, when)
    if not verdicts:
        of = printable(options.message, 100)
        lines = [f"The filter has seen nothing of {of} since {moment(since)}; --since looks further back"]
    return Answer({"since": since, "verdicts": public}, lines, 0 if verdicts else 1)


def _learn(host: Host, options: argparse.Namespace) -> Answer:
    done: dict[str, list[str]] = {"learnt": [], "known": [], "failed": []}
    lines = []
    for name in _files(options.files):
        try:
            done[controller.learn(host.settings.controller, options.kind, _content(name))].append(name)
        except Failure as exc:
            done["failed"].append(name)
            lines.append(f"{name}: {exc}")
    lines.append(f"{count(len(done['learnt']), 'message is', 'messages are')} learnt as {options.kind}"
                 + (f", {len(done['known'])} had been before" if done["known"] else ""))  # fmt: skip
    if done["learnt"]:
        host.note(f"learn: {count(len(done['learnt']), 'message')} as {options.kind}")
    return Answer(done, lines, 1 if done["failed"] else 0)


#: Commands that ask the filter, or are for it.
_OF_FILTER = ("enforce-limits", "allow", "block", "why", "learn")

#: Rspamd takes no larger ones, and what is larger is rarely spam.
_LARGEST = 64 << 20


def _content(name: str) -> bytes:
    """Return a message.

    :raises Failure: it cannot be read, is empty or too large
    """
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if name == "-" else open(name, "rb") as stream:
            found = stream.read(_LARGEST + 1)
    except OSError as exc:
        raise Failure(f"{printable(name, 100)} cannot be read: {exc.strerror}") from exc
    if not found.strip() or len(found) > _LARGEST:
        raise Failure(f"{printable(name, 100)} is {'empty' if not found.strip() else 'larger than ' + text.size(_LARGEST)}")
    return found


def _files(names: Sequence[str]) -> Iterator[str]:
    """Yield files, and of directories such as the folder of a Maildir those in them."""
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        folders = [name, os.path.join(name, "cur"), os.path.join(name, "new")]
        for folder in folders:
            for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
                # What begins with a dot, and Dovecot's own files, are no messages.
                path = os.path.join(folder, entry)
                if os.path.isfile(path) and not entry.startswith((".", "dovecot", "maildir")):
                    yield path


def confirm(shown: Sequence[str], question: str, yes: bool) -> None:
    """Ask whoever sits at the terminal.

    :raises Failure: the answer is not yes, or nobody sits there and ``--yes`` was not given
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody can be asked here: --yes does it without a question")
    print("\n".join(map(printable, shown)), file=sys.stderr)
    print(f"{question} [yes/no] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise Failure("nothing was done")


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="postmaster-mail", description="What a postmaster does each week. docs/operations.md shows how.")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, function: Any, words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        # Also behind the command, where somebody thinks of it last.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON, for programs")
        made.set_defaults(function=function)
        return made

    one = command("trace", _trace, "show the way of messages through this host, from the connection to the mailbox or the refusal")
    one.add_argument("what", metavar="ADDRESS|MESSAGE-ID|QUEUE-ID",
                     help="sender, recipient or account, @domain for all of one; a Message-ID; or a queue id")
    one.add_argument("--since", default="3d", metavar="WHEN",
                     help="how long ago (90m, 12h, 3d, 2w), today, yesterday, or a moment (default: %(default)s)")
    one.add_argument("--limit", type=int, default=20, metavar="NUMBER",
                     help="show so many messages, the latest; 0 for all (default: %(default)s)")

    one = command("queue", _queue, "show what waits in the queue, and have it tried, held, released or deleted")
    one.add_argument("action", nargs="?", default="show", choices=("show", "list", "retry", "hold", "release", "delete"),
                     help="show the whole (the default), list each message, try now, put on hold, release from hold, or delete for good")
    one.add_argument("ids", nargs="*", metavar="QUEUE-ID", help="these messages only")
    one.add_argument("--by", choices=tuple(waiting.GROUPS), default="destination", help="how to group (default: %(default)s)")
    one.add_argument("--to", default="", metavar="ADDRESS", help="only for this recipient, or @domain")
    one.add_argument("--from", dest="sender", default="", metavar="ADDRESS", help="only from this sender, @domain, or '<>' for bounces")
    one.add_argument("--reason", default="", metavar="TEXT", help="only what waits for a reason with this text in it")
    one.add_argument("--older", default="", metavar="AGE", help="only what has waited for longer than 90m, 12h, 3d")
    one.add_argument("--held", action="store_true", help="only what is on hold")
    one.add_argument("--all", action="store_true", help="all that waits")
    one.add_argument("--yes", action="store_true", help="delete without a question")

    one = command("accounts", _accounts, "show who sends most, who logs in, and how full mailboxes are")
    one.add_argument("account", nargs="?", default="", metavar="ADDRESS", help="this one only")
    one.add_argument("--since", default="1d", metavar="WHEN", help="count from when on, as trace has it (default: %(default)s)")
    one.add_argument("--sort", choices=accounts.SORTS, default="sent", help="what comes first (default: %(default)s)")
    one.add_argument("--limit", type=int, default=20, metavar="NUMBER", help="show so many, 0 for all (default: %(default)s)")

    levels = "sending: it sends nothing; login: nobody logs in to it; all: both (the default)"
    one = command("lock", _lock, "lock an account at once: it sends nothing, nobody logs in, or both; mail to it still arrives")
    one.add_argument("account", metavar="ADDRESS")
    one.add_argument("level", nargs="?", default="all", choices=tuple(locks.LEVELS), help=levels)

    one = command("unlock", _unlock, "unlock an account that this command has locked, and let what it may send begin anew")
    one.add_argument("account", metavar="ADDRESS")
    one.add_argument("level", nargs="?", default="all", choices=tuple(locks.LEVELS), help=levels)

    command("enforce-limits", _enforce_limits,
            "lock accounts that go on past their limits, and report to the postmaster who has reached one; the system calls it")

    one = command("ban", _ban, "show which addresses are banned since passwords were guessed there, and let them in again")
    one.add_argument("action", choices=("list", "lift"))
    one.add_argument("address", nargs="?", default="", metavar="ADDRESS|NETWORK", help="whom to let in again")

    for name, words in (("allow", "always take mail of a sender, whatever the filter finds, if SPF or DKIM passes for it"),
                        ("block", "refuse mail of a sender")):  # fmt: skip
        one = command(name, _senders, f"{words}; without one, show who is on the list")
        one.add_argument("sender", nargs="?", default="", metavar="ADDRESS|DOMAIN" + ("|NETWORK" if name == "block" else ""),
                         help="a domain is meant with all that is below it")  # fmt: skip
        one.add_argument("--remove", action="store_true", help="take it off the list")

    one = command("summary", _summary, "show what happened in a day: what needs a look, and the figures")
    one.add_argument("--since", default="1d", metavar="WHEN", help="as trace has it (default: %(default)s)")
    one.add_argument("--mail", action="store_true", help="send it to the postmaster instead")

    one = command("why", _why, "explain what the filter found of a message, symbol by symbol")
    one.add_argument("message", metavar="MESSAGE-ID|QUEUE-ID|FILE",
                     help="of the log; or a file, or - for standard input: what was found when it arrived, or a new scan")
    one.add_argument("--since", default="3d", metavar="WHEN", help="as trace has it (default: %(default)s)")

    one = command("learn", _learn, "teach the filter what is spam, and what is ham, which is no spam")
    one.add_argument("kind", choices=("spam", "ham"))
    one.add_argument("files", nargs="+", metavar="FILE", help="a message, a folder of a Maildir, or - for standard input")
    return parser


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """argparse itself takes no further names once an option has come between them."""
    parser = arguments()
    options, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(options, "ids") or any(one.startswith("-") for one in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.ids += rest
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 where nothing was found or it failed, 2 where it was not understood (by argparse)."""
    # What a terminal's character set does not have is no reason to fail.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    options = _parsed(argv)
    try:
        host = Host(Settings.read())
        if options.command in _OF_FILTER and not host.settings.controller:
            raise Failure(f"{options.command} is for the filter, which this host does not have (mail_filter: false)")
        answer = options.function(host, options)
        # What strangers wrote is in the lines: nothing of it may reach the terminal as it is. JSON escapes it.
        print(json.dumps(answer.public, indent=1) if options.json else "\n".join(map(printable, answer.lines)), flush=True)
        return int(answer.status)
    except Failure as exc:
        print(f"postmaster-mail: {exc}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever reads has seen enough; Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print("postmaster-mail: interrupted", file=sys.stderr)
    return 1
