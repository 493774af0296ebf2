# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This host: what the role has written about it, the daemons' logs, and commands."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import gzip
import json
import os
import re
import subprocess
import sys
import syslog
import time
from collections.abc import Iterator, Sequence

from postmaster_mail import accounts, limits, logs
from postmaster_mail.limits import Limit
from postmaster_mail.logs import Line
from postmaster_mail.text import Failure, printable

#: Where the role writes :class:`Settings`.
SETTINGS = "/usr/local/etc/postmaster-mail.json"

#: Seconds that a command may take. Nothing that is asked for here takes as long on a host that is well.
PATIENCE = 120

#: The programs of all systems; what the caller's environment says does not count.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between hosts.

    ``fqdn`` is the server's name, ``mta`` postfix or opensmtpd, and ``log`` the file of syslogd with the daemons' lines; empty: they are in
    the journal. ``users`` is Dovecot's passwd-file, and ``controller`` the socket of Rspamd's controller, empty on a host
    without it. ``locks`` is the directory of the
    accounts that this command locks, and ``inventory_locks`` that of those which the inventory locks. ``bans`` is what bans who guesses
    passwords, a key of :data:`bans.COMMANDS`. ``mail`` is where mailboxes lie. ``summary`` is
    whether the postmaster gets one each day, and ``log_days`` for how many days logs are kept, 0 for as long as the system does.
    ``senders`` is the directory of the senders that this command allows and blocks, and
    ``inventory_senders`` the file of each of the inventory's lists of them. ``limits`` is the file of what each account may send,
    ``relays`` that of the hosts that relay through this one, whose accounts have their names, and ``limits_reached`` is
    there where the filter has something to report of them.
    """

    fqdn: str
    mta: str
    log: str = ""
    users: str = "/etc/dovecot/users"
    controller: str = "/var/run/rspamd/learn.sock"
    locks: str = "/etc/postmaster-mail/locks"
    inventory_locks: str = "/etc/rspamd/local.d/maps.d/postmaster-mail-locks"
    bans: str = "fail2ban"
    mail: str = "/var/vmail"
    summary: bool = False
    log_days: int = 0
    senders: str = "/etc/postmaster-mail/senders"
    inventory_senders: str = "/etc/rspamd/local.d/maps.d/postmaster-mail-{}.map"
    limits: str = "/etc/rspamd/local.d/maps.d/postmaster-mail-limits.map"
    relays: str = "/etc/rspamd/local.d/maps.d/postmaster-mail-relays.map"
    limits_reached: str = "/var/run/rspamd/limits-reached"

    @classmethod
    def read(cls, path: str = SETTINGS) -> Settings:
        """Return what the role has written.

        :raises Failure: it cannot be read, or is of another release of this program
        """
        try:
            with open(path, encoding="utf-8") as stream:
                given = json.load(stream)
            return cls(**given)
        except PermissionError:
            raise Failure("postmaster-mail is for root alone") from None
        except (OSError, ValueError, TypeError) as exc:
            raise Failure(f"{path} cannot be read ({exc}): run the playbook, which writes it") from exc


class Host:
    """Reads and changes this host."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def run(self, argv: Sequence[str], stdin: str = "", accepted: Sequence[int] = (0,)) -> str:
        """Run a command and return its output. No shell is involved.

        :param accepted: its exit statuses that are no failure
        :raises Failure: it cannot be started, takes too long, or ends with another status
        """
        return self._done(argv, stdin, accepted).stdout

    def both(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a command as :meth:`run` does, and return its output and what it writes to standard error."""
        done = self._done(argv, stdin, (0,))
        return done.stdout + done.stderr

    def _done(self, argv: Sequence[str], stdin: str, accepted: Sequence[int]) -> subprocess.CompletedProcess[str]:
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=PATIENCE, env={"PATH": _PATH, "LC_ALL": "C"}
            )
        except OSError as exc:
            raise Failure(f"{argv[0]} cannot be started: {exc.strerror}") from exc
        except subprocess.TimeoutExpired:
            raise Failure(f"{argv[0]} did not end within {PATIENCE} seconds") from None
        if done.returncode not in accepted:
            said = printable(" ".join((done.stderr or done.stdout).split()), 400)
            raise Failure(f"{' '.join(argv[:3])} ended with {done.returncode}: {said}")
        return done

    def accounts(self) -> dict[str, int]:
        """Return account → its own quota in octets, 0 for none; among them the relays that are hosts, which have no mailbox.

        :raises Failure: they cannot be read
        """
        try:
            with open(self.settings.users, encoding="utf-8") as stream:
                found = accounts.users(stream.read())
            with contextlib.suppress(FileNotFoundError), open(self.settings.relays, encoding="utf-8") as stream:
                found |= dict.fromkeys(accounts.relays(stream.read()), 0)
        except OSError as exc:
            raise Failure(f"the accounts cannot be read: {exc}") from exc
        return found

    def limits(self) -> dict[str, Limit]:
        """Return account to what it may send, ``*`` being all others; nothing where nobody says.

        :raises Failure: it cannot be read
        """
        try:
            with open(self.settings.limits, encoding="utf-8") as stream:
                return limits.limits(stream.read())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as exc:
            raise Failure(f"what accounts may send cannot be read: {exc}") from exc

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether no other call of this command works under such a lock, and keep it."""
        with open(SETTINGS, "rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

    def settle(self) -> None:
        """Wait until Dovecot has read what was written just now: it looks at a passwd-file once in a second at most (db-passwd-file.c).
        Where sessions are to end, end-sessions does so itself."""
        time.sleep(1.5 - time.time() % 1)

    def end_sessions(self, account: str) -> int:
        """End the sessions of an account at the mailbox server; return how many there were.

        :raises Failure: they could not be ended
        """
        told = self.run(["doveadm", "-f", "tab", "who", "-1", account], accepted=(0, 68)).splitlines()[1:]
        # 68: there is none.
        self.run(["/etc/dovecot/bin/end-sessions", account])
        return len(told)

    def used(self, account: str) -> int | None:
        """Return how many octets a mailbox has, or None where Dovecot does not tell."""
        try:
            head, *rows = [line.split("\t") for line in self.run(["doveadm", "-f", "tab", "quota", "get", "-u", account]).splitlines()]
        except (Failure, ValueError):
            return None
        for row in rows:
            one = dict(zip(head, row))
            # In KiB.
            if one.get("Type") == "STORAGE" and one.get("Value", "").isdigit():
                return int(one["Value"]) * 1024
        return None

    def used_by_all(self) -> dict[str, int]:
        """Return account → octets of its mailbox, of all that Dovecot knows; nothing where it does not answer."""
        try:
            head, *rows = [line.split("\t") for line in self.run(["doveadm", "-f", "tab", "quota", "get", "-A"]).splitlines()]
        except (Failure, ValueError):
            return {}
        found = {}
        for one in (dict(zip(head, row)) for row in rows):
            if one.get("Type") == "STORAGE" and one.get("Value", "").isdigit():
                found[one.get("Username", "").lower()] = int(one["Value"]) * 1024
        return found

    def disks(self) -> dict[str, tuple[int, int]]:
        """Return of each file system that mail needs: a directory on it → its octets, and those that are free to others than root."""
        found, seen = {}, set()
        for path in ("/", "/var", "/var/log", "/var/spool", self.settings.mail):
            try:
                device, room = os.stat(path).st_dev, os.statvfs(path)
            except OSError:
                continue
            if device not in seen:
                seen.add(device)
                found[path] = (room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize)
        return found

    def mail(self, subject: str, lines: Sequence[str]) -> None:
        """Send a message to the postmaster.

        :raises Failure: it was not taken
        """
        sender = f"postmaster@{self.settings.fqdn}"
        head = [f"From: {sender}", f"To: {sender}", f"Subject: {printable(subject, 200)}", "MIME-Version: 1.0",
                "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", "Auto-Submitted: auto-generated",
                ""]  # fmt: skip
        self.run(["sendmail", "-i", "-f", sender, "postmaster"], stdin="".join(f"{printable(line)}\n" for line in [*head, *lines]))

    def note(self, words: str) -> None:
        """Log what was done, and by whom, where the daemons log."""
        who = os.environ.get("SUDO_USER") or os.environ.get("DOAS_USER") or "root"
        syslog.openlog("postmaster-mail", syslog.LOG_PID, syslog.LOG_MAIL)
        syslog.syslog(syslog.LOG_NOTICE, printable(f"{words} (by {printable(who, 32)})", 900))

    def lines(self, since: float) -> Iterator[Line]:
        """Yield what the daemons have logged, oldest first.

        :param since: seconds since 1970
        :raises Failure: the log cannot be read
        """
        found = self._files(since) if self.settings.log else self._journal(since)
        return (line for line in found if line.time >= since)

    def _journal(self, since: float) -> Iterator[Line]:
        command = logs.journal_command(since)
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                env={"PATH": _PATH, "LC_ALL": "C"},
            )  # fmt: skip
        except OSError as exc:
            raise Failure(f"{command[0]} cannot be started: {exc.strerror}") from exc
        with process:
            assert process.stdout is not None and process.stderr is not None
            yield from logs.of_journal(process.stdout)
            said = process.stderr.read()
        # It ends with 1 where there is no line.
        if process.returncode > 1 or said.strip():
            raise Failure(f"{command[0]} ended with {process.returncode}: {printable(' '.join(said.split()), 400)}")

    def _files(self, since: float) -> Iterator[Line]:
        """Of a file and what it was before it was rotated, ``NAME.0.gz`` being the latest."""

        def age(path: str) -> int:
            number = re.search(r"\.([0-9]+)(?:\.gz)?\Z", path)
            return int(number[1]) if number else -1

        name = self.settings.log
        rotated = [path for path in glob.glob(f"{glob.escape(name)}.*") if re.fullmatch(r"\.[0-9]+(\.gz)?", path[len(name) :])]
        for path in sorted([name, *rotated], key=age, reverse=True):
            try:
                written = os.stat(path).st_mtime
                if written < since:
                    continue
                with gzip.open(path, "rt", errors="replace") if path.endswith(".gz") else open(path, errors="replace") as stream:
                    yield from logs.of_syslog(stream, written)
            except FileNotFoundError:
                continue  # rotated just now
            except (OSError, EOFError) as exc:
                print(f"postmaster-mail: {path} cannot be read: {exc}", file=sys.stderr)
