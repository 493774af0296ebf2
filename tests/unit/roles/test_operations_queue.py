# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queue, as postmaster-mail lists and changes it: with what the MTAs print, and simulated commands."""

from __future__ import annotations

import argparse
import json
import re
import time

import pytest
from operations import LOGS, Host
from postmaster_mail import cli, opensmtpd, postfix, queues, text, waiting

NOW = 1795984076
#: postqueue -j of Postfix 3.10 (3.7 has no forced_expire).
POSTQUEUE = (LOGS / "postqueue.json").read_text(encoding="utf-8")
#: smtpctl show queue of OpenSMTPD 7.6.
SMTPCTL = (LOGS / "smtpctl-queue.txt").read_text(encoding="utf-8")


def test_what_postqueue_prints():
    found = postfix.waiting(POSTQUEUE)
    assert [(one.id, one.sender, one.state, one.size) for one in found] == [
        ("4jczGB2zQLzGN9Y", "me@example.org", "waiting", 1500),
        ("4jczJp0TBbzGMwT", "", "waiting", 900),
        ("4jczKc6GrqzGMvV", "ME@example.org", "held", 2048),
        ("C0FFEE12345", "x|1|2@example.net", "active", 100),
    ]
    assert found[0].recipients == (("tlsa@shop.test", "Server certificate not verified"),)
    assert postfix.waiting("") == []


def test_what_smtpctl_prints_message_by_message():
    found = opensmtpd.waiting(SMTPCTL, {"1b2c3d4e": 1234})
    assert [(one.id, one.sender, one.state, one.size, one.arrived) for one in found] == [
        ("1b2c3d4e", "me@example.org", "active", 1234, NOW - 7200),
        ("aabbccdd", "you@example.org", "waiting", 0, NOW - 60),
        ("00112233", "", "held", 0, NOW - 90),
    ]
    assert found[0].recipients == (("tlsa@shop.test", "TLS handshake|failed"), ("a|1|2|3|4|pending|5|x@shop.test", ""))
    assert found[1].recipients == (("you@example.org", "550 5.1.1 No such user"),)


def test_another_line_is_no_queue():
    with pytest.raises(ValueError, match="unknown line of smtpctl: 'smtpctl: need root privileges'"):
        opensmtpd.waiting("smtpctl: need root privileges\n", {})


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ({}, "GB Jp Kc C0"),
        ({"ids": ("C0FFEE12345",)}, "C0"),
        ({"sender": "me@example.org"}, "GB Kc"),
        ({"sender": "@EXAMPLE.org"}, "GB Kc"),
        ({"sender": "<>"}, "Jp"),
        ({"recipient": "A@one.test"}, "Kc C0"),
        ({"recipient": "@one.test"}, "Kc C0"),
        ({"recipient": "one.test"}, ""),
        ({"reason": "mailbox is FULL"}, "Jp"),
        ({"reason": "not the one that it publishes"}, "GB"),  # in plain words
        ({"older": 3600}, "GB Jp"),
        ({"held": True}, "Kc"),
        ({"held": True, "sender": "@example.net"}, ""),
        ({"everything": True}, "GB Jp Kc C0"),
    ],
)
def test_messages_are_chosen_by_all_that_is_named(choice, chosen):
    found = waiting.Choice(**choice).of(postfix.waiting(POSTQUEUE), NOW)
    assert " ".join(re.sub("^4jcz", "", one.id)[:2] for one in found) == chosen


def test_nothing_named_is_empty():
    assert waiting.Choice().empty
    assert not waiting.Choice(everything=True).empty


def test_reasons_of_many_hosts_are_one():
    said = "host mx{0}.example.net[192.0.2.{0}] said: 421 Too busy for <user{0}@example.net> today (in reply to MAIL FROM command)"
    assert {waiting.plain(said.format(number)) for number in (1, 2)} == {"Too busy for today (in reply to MAIL FROM command)"}
    assert waiting.plain("") == "not tried yet"


def test_the_whole_queue_in_a_few_lines():
    assert waiting.overview(postfix.waiting(POSTQUEUE), "destination", NOW) == [
        "4 messages, 4.4 KiB, the oldest 1 d old, 1 on hold",
        "",
        "DESTINATION  MESSAGES  HELD     SIZE  OLDEST  MOST WAIT BECAUSE",
        "one.test            2     1  2.1 KiB   5 min  on hold",
        "example.org         1          900 B     1 d  the mailbox is full",
        "shop.test           1        1.5 KiB     2 h  the other host's certificate is not the one that it publishes",
        "two.test            1     1  2.0 KiB   5 min  on hold",
    ]
    names = {by: [group["name"] for group in waiting.grouped(postfix.waiting(POSTQUEUE), by, NOW)] for by in waiting.GROUPS}
    assert names["age"] == ["up to 1 hour", "up to 4 hours", "up to 2 days"]
    assert names["sender"] == ["me@example.org", "<>", "x|1|2@example.net"]
    assert names["reason"] == [
        "not tried yet", "on hold", "the mailbox is full", "the other host's certificate is not the one that it publishes"]  # fmt: skip
    assert waiting.overview([], "age", NOW) == ["Nothing waits"]


def test_each_message_with_its_reasons():
    assert waiting.listing(postfix.waiting(POSTQUEUE)[:1], NOW)[1:] == [
        "    to tlsa@shop.test: the other host's certificate is not the one that it publishes (Server certificate not verified)"]
    many = waiting.Waiting("C0FFEE12345", "", tuple((f"{number}@one.test", "") for number in range(9)), NOW, 0, "waiting")
    assert waiting.listing([many], NOW)[1:] == ["    to 0@one.test, 1@one.test, 2@one.test, 3@one.test, 4@one.test and 4 more"]


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(cli, "time", argparse.Namespace(time=lambda: NOW))


def run(host, *arguments):
    """Return what a command answers."""
    options = cli._parsed(["queue", *arguments])
    return cli._queue(host, options)


class Postfix:
    """postqueue and postsuper, as a host with the queue above has them."""

    def __init__(self):
        self.host = Host("postfix")
        self.host.answers = {"postqueue -j": POSTQUEUE, "postqueue -i": self.retry, "postsuper": self.change}
        self.gone = {"C0FFEE12345"}

    def retry(self, argv, _stdin):
        return ("", f"postqueue: fatal: {argv[2]}: no such queue file", 69) if argv[2] in self.gone else ("", "", 0)

    def change(self, argv, stdin):
        what = {"-h": "placed on hold", "-H": "released from hold", "-d": "removed"}[argv[1]]
        done = [one for one in stdin.split() if one not in self.gone]
        return "", "".join(f"postsuper: {one}: {what}\n" for one in done) + f"postsuper: Changed: {len(done)} messages\n", 0


def test_postfix_holds_releases_retries_and_deletes():
    simulated = Postfix()
    answer = run(simulated.host, "hold", "--all")
    assert answer.public == {"action": "hold", "done": ["4jczGB2zQLzGN9Y", "4jczJp0TBbzGMwT"], "failed": ["C0FFEE12345"]}
    assert answer.lines == [
        "2 messages are on hold", "1 message could not be: delivered meanwhile, or being delivered: C0FFEE12345"]
    assert answer.status == 1
    assert simulated.host.ran[-1] == (["postsuper", "-h", "-"], "4jczGB2zQLzGN9Y\n4jczJp0TBbzGMwT\nC0FFEE12345\n")
    assert simulated.host.notes == ["queue: 4jczGB2zQLzGN9Y is on hold", "queue: 4jczJp0TBbzGMwT is on hold"]
    assert run(simulated.host, "release", "--all").public["done"] == ["4jczKc6GrqzGMvV"]
    assert [argv for argv, _stdin in simulated.host.ran[-2:]] == [["postsuper", "-H", "-"], ["postqueue", "-i", "4jczKc6GrqzGMvV"]]
    assert run(simulated.host, "retry", "--older", "1h").lines == ["2 messages are tried now"]
    answer = run(simulated.host, "delete", "--yes", "4jczGB2zQLzGN9Y")
    assert (answer.lines, answer.status) == (["1 message is deleted"], 0)


def test_nothing_is_changed_where_no_message_is_named():
    simulated = Postfix()
    for action in ("retry", "hold", "release", "delete"):
        with pytest.raises(text.Failure) as error:
            run(simulated.host, action, "--yes")
        assert str(error.value) == (
            f"queue {action}: of which messages? Name queue ids, or --to, --from, --reason, --older, --held or --all")
    assert run(simulated.host, "delete", "--yes", "--to", "nobody@one.test").lines == ["No message is there to delete"]
    assert {argv[0] for argv, _stdin in simulated.host.ran} == {"postqueue"}


@pytest.mark.parametrize(("answer", "deleted"), [("yes\n", True), (" YES \n", True), ("y\n", False), ("\n", False), ("", False)])
def test_what_is_deleted_is_shown_and_asked_about(monkeypatch, capsys, answer, deleted):
    simulated = Postfix()
    terminal = argparse.Namespace(isatty=lambda: True, readline=lambda: answer)
    monkeypatch.setattr(cli.sys, "stdin", terminal)
    if deleted:
        assert run(simulated.host, "delete", "--from", "<>").public["done"] == ["4jczJp0TBbzGMwT"]
    else:
        with pytest.raises(text.Failure, match="nothing was done"):
            run(simulated.host, "delete", "--from", "<>")
        assert simulated.host.notes == []
    shown = capsys.readouterr().err
    assert "small@example.org: the mailbox is full" in shown
    assert shown.endswith("Delete 1 message for good, without telling anybody? [yes/no] ")


def test_nobody_is_asked_where_nobody_sits():
    simulated = Postfix()
    with pytest.raises(text.Failure, match="nobody can be asked here: --yes does it without a question"):
        run(simulated.host, "delete", "--all")


ENVELOPE = """\
version: 3
dispatcher: send
type: mta
smtpname: mail.example.org
helo: client.test
hostname: client.test
sockaddr: 198.51.100.1
sender: me@example.org
rcpt: tlsa@shop.test
dest: tlsa@shop.test
ctime: 1795976876
last-try: 1795984000
last-bounce: 0
ttl: 432000
retry: 3
errorline: TLS handshake failed
dsn-notify: 0
esc-class: 4
"""


class Smtpd:
    """smtpctl over a spool: what it is told to forget, it forgets, and it discovers what lies in its queue."""

    def __init__(self, spool):
        self.spool = spool
        self.host = Host("opensmtpd")
        self.host.answers = {"smtpctl show queue": self.show, "smtpctl": self.change}
        self.known, self.active = {}, set()
        self.queue = queues.OpenSmtpdQueue(self.host)
        self.queue.spool = spool
        self.add("1b2c3d4e")

    def add(self, number):
        folder = self.spool / "queue" / number[:2] / number
        folder.mkdir(parents=True)
        (folder / f"{number}5f607182").write_text(ENVELOPE)
        (folder / "message").write_bytes(b"x" * 1234)
        self.known[number] = ""

    def show(self, _argv, _stdin):
        lines = []
        for number, flags in self.known.items():
            doing = "inflight" if number in self.active else "pending"
            lines.append(f"{number}5f607182|inet4|mta|{flags}|me@example.org|tlsa@shop.test|tlsa@shop.test|1795976876|1796408876|0|0|{doing}|9|"
                         "TLS handshake failed\n")
        return "".join(lines), "", 0

    def change(self, argv, _stdin):
        command, number = " ".join(argv[1:-1]), argv[-1]
        done = number in self.known
        if command == "discover":
            assert list((self.spool / "queue" / number[:2] / number).glob("*5f607182"))
            self.known[number] = ""
            done = True
        elif done and command == "remove":
            del self.known[number]
        elif done:
            self.known[number] = "suspend" if command == "pause envelope" else ""
        return f"{int(done)} envelope changed\n", "", 0 if done else 1


@pytest.fixture
def smtpd(tmp_path, monkeypatch):
    (tmp_path / "queue").mkdir()
    made = Smtpd(tmp_path)
    monkeypatch.setattr(queues, "queue_of", lambda _host: made.queue)
    return made


def test_while_many_are_put_on_hold_nothing_leaves(smtpd, monkeypatch):
    monkeypatch.setattr(queues, "_MANY", 0)
    smtpd.host.answers = {"smtpctl pause mta": "", "smtpctl resume mta": "", **smtpd.host.answers}
    assert run(smtpd.host, "hold", "--all").public["done"] == ["1b2c3d4e"]
    asked = [" ".join(argv) for argv, _stdin in smtpd.host.ran if argv[:3] != ["smtpctl", "show", "queue"]]
    assert (asked[0], asked[-1]) == ("smtpctl pause mta", "smtpctl resume mta")
    # Also where something goes wrong.
    monkeypatch.setattr(smtpd.queue, "_held_back", lambda _ids: [][0])
    with pytest.raises(IndexError):
        smtpd.queue.hold(["1b2c3d4e"])
    assert smtpd.host.ran[-1][0] == ["smtpctl", "resume", "mta"]


def test_what_opensmtpd_holds_is_moved_out_of_its_queue_and_back(smtpd):
    answer = run(smtpd.host, "hold", "1b2c3d4e5f607182")
    assert (answer.public["done"], answer.status) == (["1b2c3d4e"], 0)
    assert smtpd.known == {}  # so a restart does not let it go
    assert not (smtpd.spool / "queue/1b/1b2c3d4e").exists()
    assert (smtpd.spool / "held").stat().st_mode & 0o777 == 0o700
    listed = run(smtpd.host, "list")
    assert listed.lines[0].startswith("1b2c3d4e  ") and ", 1.2 KiB, held, from <me@example.org>" in listed.lines[0]
    assert listed.public["messages"][0]["recipients"] == [{"address": "tlsa@shop.test", "reason": "TLS handshake failed"}]
    assert run(smtpd.host, "hold", "--all").status == 1
    answer = run(smtpd.host, "release", "--held")
    assert (answer.public["done"], answer.status) == (["1b2c3d4e"], 0)
    assert smtpd.known == {"1b2c3d4e": ""}
    # It would have expired, and been returned without a try.
    envelope = (smtpd.spool / "queue/1b/1b2c3d4e/1b2c3d4e5f607182").read_text()
    began = int(re.search("(?m)^ctime: ([0-9]+)$", envelope)[1])
    assert abs(began - time.time()) < 60
    assert re.sub("(?m)^ctime: .*$", "ctime: 1795976876", envelope) == ENVELOPE


def test_opensmtpd_keeps_what_it_is_delivering(smtpd):
    smtpd.add("aabbccdd")
    smtpd.active.add("aabbccdd")
    answer = run(smtpd.host, "hold", "--all")
    assert answer.public == {"action": "hold", "done": ["1b2c3d4e"], "failed": ["aabbccdd"]}
    assert smtpd.known == {"aabbccdd": ""}


def test_opensmtpd_tries_and_deletes_also_what_is_held(smtpd):
    smtpd.add("aabbccdd")
    assert run(smtpd.host, "retry", "--all").lines == ["2 messages are tried now"]
    run(smtpd.host, "hold", "aabbccdd")
    assert run(smtpd.host, "delete", "--all", "--yes").public["done"] == ["1b2c3d4e", "aabbccdd"]
    assert run(smtpd.host, "show").lines == ["Nothing waits"]
    assert list((smtpd.spool / "held").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"version: 2\nsender: a@b\n", ENVELOPE.replace("dest", "x").encode(), b"\x80\x01encrypted"])
def test_an_envelope_that_cannot_be_read_is_an_error(data):
    with pytest.raises(ValueError, match="encrypted, damaged or of another version"):
        opensmtpd.envelope(data)


def test_an_mta_that_does_not_answer_is_named():
    host = Host("postfix")
    host.answers = {"postqueue": lambda _argv, _stdin: ("", "postqueue: fatal: Queue report unavailable - mail system is down", 69)}
    with pytest.raises(text.Failure, match="postqueue ended with 69: postqueue: fatal: Queue report unavailable"):
        run(host)
    host.answers = {"postqueue": "nonsense\n"}
    with pytest.raises(text.Failure, match="postqueue -j prints what is not understood"):
        run(host)


def test_json_is_for_programs():
    assert json.loads(json.dumps(run(Postfix().host, "--by", "reason").public))["groups"][0]["messages"] == 1
