# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail lock and unlock: files, sessions and what waits in the queue."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from operations import Host, lines
from postmaster_mail import cli, controller, locks, queues, waiting
from postmaster_mail.text import Failure

FORGOTTEN = "What it has sent so far counts no more for its limit"
PASSWD = "me@example.org:{BLF-CRYPT}x::::::\nyou@example.org:{BLF-CRYPT}x::::::\n"


class Queue(queues.Queue):
    """What waits is given; what is asked for is done."""

    def __init__(self, *messages: waiting.Waiting) -> None:
        self.found = list(messages)
        self.asked: list[str] = []

    def messages(self):
        return self.found

    def hold(self, ids):
        self.asked += ids
        return list(ids)


def message(number: str, sender: str, state: str = "waiting") -> waiting.Waiting:
    return waiting.Waiting(number, sender, (("a@example.com", ""),), 1795984000, 1, state)


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "users").write_text(PASSWD)
    (tmp_path / "inventory").mkdir()
    found = Host(log=lines("postfix-3.10.log"))
    given = {"users": str(tmp_path / "users"), "locks": str(tmp_path / "locks"), "inventory_locks": str(tmp_path / "inventory")}
    found.settings = found.settings.__class__(**{**found.settings.__dict__, **given})
    found.answers = {
        "doveadm -f tab who": "username\tproto\tpids\tips\nme@example.org\timap\t(1)\t(192.0.2.1)\n",
        "/etc/dovecot/bin/end-sessions": "",
    }
    found.queue = Queue()
    monkeypatch.setattr(queues, "queue_of", lambda _host: found.queue)
    found.forgotten = []
    monkeypatch.setattr(controller, "forget_sent", lambda _path, account: found.forgotten.append(account))
    return found


def run(host, *arguments):
    options = cli._parsed(arguments)
    return options.function(host, options)


def test_a_lock_ends_sessions_and_holds_what_waits(host, tmp_path):
    host.queue = Queue(message("4jczzzzzzzz1", "ME+list@example.org"), message("4jczzzzzzzz2", "you@example.org"),
                       message("4jczzzzzzzz3", "me@example.org", "held"))  # fmt: skip
    answer = run(host, "lock", "Me@Example.org")
    assert answer.lines == [
        "me@example.org neither logs in nor sends anything; mail to it still arrives",
        "1 session at the mailbox was ended",
        "1 message that it had sent is on hold in the queue",
    ]
    assert host.queue.asked == ["4jczzzzzzzz1"]
    assert ["/etc/dovecot/bin/end-sessions", "me@example.org"] in [argv for argv, _stdin in host.ran]
    assert host.notes == ["lock: me@example.org, all", "queue: 4jczzzzzzzz1 is on hold"]
    for name in ("login", "sending"):
        path = tmp_path / "locks" / name
        assert path.read_text().splitlines()[1:] == ["me@example.org"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_what_was_sent_by_another_of_its_addresses_is_known_from_the_log(host):
    sent = next(line.text.split(":")[0] for line in host.log if "sasl_username=me@example.org" in line.text)
    host.queue = Queue(message(sent, "sales@example.org"), message("4jczzzzzzzz2", "sales@example.org"))
    assert run(host, "lock", "me@example.org", "sending").public["held"] == [sent]


def test_smtpd_names_the_user_of_a_session(host):
    host.log = lines("opensmtpd-7.6.log")
    with open(host.settings.users, "a") as users:
        users.write("me@lab-a.test:x::::::\n")
    queued = sorted({cli.accounts.messages_of(cli.trace.events(host.log), "me@lab-a.test").pop()})
    host.queue = Queue(message(queued[0], "sales@lab-a.test"), message("00112233", "sales@lab-a.test"))
    assert run(host, "lock", "me@lab-a.test").public["held"] == queued


@pytest.mark.parametrize(
    ("level", "sessions", "said"),
    [
        ("sending", False, "me@example.org sends nothing; mail to it still arrives"),
        ("login", True, "me@example.org does not log in; mail to it still arrives"),
    ],
)
def test_each_level_does_its_own(host, level, sessions, said):
    host.queue = Queue(message("4jczzzzzzzz1", "me@example.org"))
    assert run(host, "lock", "me@example.org", level).lines[0] == said
    assert bool(host.ran) == sessions
    assert bool(host.queue.asked) != sessions


def test_levels_add_up_and_are_taken_off_one_by_one(host):
    assert run(host, "lock", "me@example.org", "sending").public["lock"]["level"] == "sending"
    assert run(host, "lock", "me@example.org", "login").public["lock"]["level"] == "all"
    assert run(host, "unlock", "me@example.org", "login").public["lock"]["level"] == "sending"
    answer = run(host, "unlock", "me@example.org")
    assert (answer.lines, answer.status) == (["me@example.org is not locked", FORGOTTEN], 0)
    assert host.notes[-2:] == ["unlock: me@example.org, login", "unlock: me@example.org, all"]
    run(host, "unlock", "me@example.org")
    assert len(host.notes) == 4


def test_what_was_sent_counts_no_more_for_who_may_send_again(host, monkeypatch):
    run(host, "unlock", "you@example.org", "login")
    assert host.forgotten == []
    run(host, "unlock", "You@example.org")
    run(host, "unlock", "me@example.org", "sending")
    assert host.forgotten == ["you@example.org", "me@example.org"]

    def away(_path, _account):
        raise Failure("Rspamd does not answer")

    monkeypatch.setattr(controller, "forget_sent", away)
    locks.Locks(host.settings.locks).add("me@example.org", "sending")
    assert run(host, "unlock", "me@example.org").lines == [
        "me@example.org is not locked", "What it has sent so far still counts for its limit: Rspamd does not answer",
    ]  # fmt: skip


def test_the_stricter_of_inventory_and_command_holds(host, tmp_path):
    (tmp_path / "inventory/login").write_text("# Ansible managed\nme@example.org\n")
    run(host, "lock", "me@example.org", "sending")
    assert run(host, "lock", "you@example.org", "sending").public["lock"] == {"level": "sending", "command": "sending", "inventory": ""}
    answer = run(host, "unlock", "me@example.org")
    assert answer.public["lock"] == {"level": "login", "command": "", "inventory": "login"}
    assert answer.status == 1
    assert answer.lines[2] == ("The inventory locks it (mail_users, locked: login): take that out, and run the playbook with "
                               "--tags accounts")  # fmt: skip


def test_what_is_on_hold_is_not_sent_by_unlocking(host):
    host.queue = Queue(message("4jczzzzzzzz1", "me@example.org", "held"))
    run(host, "lock", "me@example.org")
    assert run(host, "unlock", "me@example.org").lines == [
        "me@example.org is not locked",
        FORGOTTEN,
        "1 message that it had sent is still on hold. Look, and then release or delete: postmaster-mail queue list 4jczzzzzzzz1",
    ]


def test_who_is_no_account_is_not_locked_but_may_be_unlocked(host, tmp_path):
    with pytest.raises(Failure, match=r"gone@example\.org is no account of this server; an alias is none"):
        run(host, "lock", "gone@example.org")
    with pytest.raises(Failure, match=r"gone@example\.org is no account"):
        run(host, "unlock", "gone@example.org")
    locks.Locks(host.settings.locks).add("gone@example.org", "all")
    assert run(host, "unlock", "gone@example.org").lines == ["gone@example.org is not locked", FORGOTTEN]


def test_dovecot_sees_each_change_by_its_time(tmp_path):
    found, path = locks.Locks(str(tmp_path)), tmp_path / "login"
    times = []
    for name in ("a@example.org", "b@example.org", "c@example.org"):
        found.add(name, "login")
        times.append(int(path.stat().st_mtime))
        found.remove(name, "login")
        times.append(int(path.stat().st_mtime))
    assert times == sorted(set(times))
    before = path.stat()
    found.remove("nobody@example.org", "all")
    assert path.stat().st_mtime == before.st_mtime


def test_two_at_once_lose_nothing(tmp_path):
    threads = [threading.Thread(target=locks.Locks(str(tmp_path)).add, args=(f"u{number}@example.org", "all")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(locks.Locks(str(tmp_path)).accounts()) == 20
    assert sorted(os.listdir(tmp_path)) == ["login", "sending"]


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / "login").mkdir()
    with pytest.raises(Failure, match=r"login cannot be read: .*Is a directory"):
        locks.Locks(str(tmp_path)).of("me@example.org")
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=r"locks cannot be written: .*Not a directory"):
        locks.Locks(str(tmp_path / "file" / "locks")).add("me@example.org", "all")
