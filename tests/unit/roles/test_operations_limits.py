# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail and accounts that reach their limits: who is locked, what the postmaster is sent, and what is shown."""

from __future__ import annotations

import contextlib
import os
import time

import pytest
from operations import Host, lines
from postmaster_mail import accounts, cli, controller, limits, queues, summary
from postmaster_mail.text import Failure

ME, YOU = "me@example.org", "you@example.org"
NOW = 1795991000
REACHED, LOCKED = f"limit {ME} 1795990980 day 300 300", f"lock {ME} 1795990980 day 901 900"


class Filter:
    """What the filter has to report: as many events as were seen of it, one more with each look."""

    def __init__(self, *events: str) -> None:
        self.coming = list(events)
        self.events: list[str] = []
        self.used: dict[str, limits.Used] = {}
        self.looks = 0

    def limits(self, _path):
        self.looks += 1
        if self.coming:
            self.events.append(self.coming.pop(0))
        return self.used, list(self.events)

    def forget_event(self, _path, event):
        self.events.remove(event)


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    (tmp_path / "users").write_text(f"{ME}:x::::::\n{YOU}:x::::::\n")
    found = Host(log=lines("postfix-3.10.log"))
    given = {name: str(tmp_path / name) for name in ("users", "locks", "inventory_locks", "limits", "limits_reached")}
    found.settings = found.settings.__class__(**{**found.settings.__dict__, **given})
    found.alone = lambda: contextlib.nullcontext(True)
    found.answers = {"sendmail": ""}
    found.filter = Filter()
    found.clock = 0.0
    monkeypatch.setattr(controller, "limits", lambda path: found.filter.limits(path))
    monkeypatch.setattr(controller, "forget_event", lambda path, event: found.filter.forget_event(path, event))

    class Queue(queues.Queue):
        def messages(self):
            return []

        def hold(self, ids):
            return list(ids)

    monkeypatch.setattr(queues, "queue_of", lambda _host: Queue())

    def later(seconds):
        found.clock += seconds

    monkeypatch.setattr(cli, "time", type("Clock", (), {"time": lambda: NOW, "monotonic": lambda: found.clock, "sleep": later}))
    yield found
    monkeypatch.undo()
    time.tzset()


def enforce(host, *events):
    host.filter.coming += events
    open(host.settings.limits_reached, "w").close()
    answer = cli._enforce_limits(host, cli._parsed(["enforce-limits"]))
    assert not os.path.exists(host.settings.limits_reached)
    return answer


def sent(host):
    return [stdin for argv, stdin in host.ran if argv[0] == "sendmail"]


def test_the_postmaster_gets_one_notice_of_both(host, tmp_path):
    answer = enforce(host, REACHED, LOCKED)
    assert answer.public["locked"] == [ME]
    assert (tmp_path / "locks/sending").read_text().splitlines()[1:] == [ME]
    assert not (tmp_path / "locks/login").exists()
    (message,) = sent(host)
    assert f"Subject: mail.example.org: {ME} is locked for sending\n" in message
    assert f"2026-11-29 22:23:00: {ME} has sent to 300 recipients within 24 hours, of 300 that it may." in message
    assert "has asked for 901 recipients within 24 hours, more than 900, and is locked for sending until you unlock it" in message
    assert f"\n    postmaster-mail unlock {ME}\n" in message
    # Once it is locked nobody waits for more.
    assert host.clock < 3
    assert host.filter.events == []
    assert host.notes == [f"lock: {ME}, sending", f"limits: {ME} is locked for sending"]


def test_who_only_reaches_the_limit_is_not_locked(host, tmp_path):
    enforce(host, REACHED)
    (message,) = sent(host)
    assert f"Subject: mail.example.org: {ME} has reached its sending limit\n" in message
    assert "\nSince yesterday it has logged in from 198.51.100.1, 2001:db8:100::1\n" in message
    assert host.clock > cli._GATHER
    assert not (tmp_path / "locks").exists()


def test_several_accounts_are_one_notice(host):
    enforce(host, REACHED, f"limit {YOU} 1795990980 hour 1 1")
    (message,) = sent(host)
    assert "Subject: mail.example.org: 2 accounts have reached their sending limits\n" in message
    assert f"{YOU} has sent to 1 recipient within an hour, of 1 that it may." in message
    assert "    postmaster-mail lock ADDRESS\n" in message


def test_without_an_event_nothing_is_sent(host):
    assert enforce(host).lines == ["0 events were reported to the postmaster, 0 accounts locked"]
    assert (sent(host), host.notes, host.filter.looks, host.clock) == ([], [], 1, 0)


def test_who_is_no_account_any_more_is_not_locked(host, tmp_path):
    enforce(host, f"lock gone@example.org {NOW} day 901 900")
    assert not (tmp_path / "locks").exists()
    assert len(sent(host)) == 1


def test_what_could_not_be_sent_is_reported_the_next_time(host):
    host.answers = {"sendmail": lambda _argv, _stdin: ("", "no room", 75)}
    with pytest.raises(Failure, match="no room"):
        enforce(host, REACHED)
    assert host.filter.events == [REACHED]
    # Nobody need send for that: what waits for the file sees it again, and not at once.
    assert os.path.exists(host.settings.limits_reached)
    assert host.clock > cli._GATHER + 10
    host.answers, host.ran = {"sendmail": ""}, []
    enforce(host)
    assert len(sent(host)) == 1


def test_two_at_once_are_one(host):
    host.alone = lambda: contextlib.nullcontext(False)
    answer = cli._enforce_limits(host, cli._parsed(["enforce-limits"]))
    assert (answer.lines, host.filter.looks) == (["Another call of this command does that at this moment"], 0)


@pytest.mark.parametrize(
    "text", ["", "limit", f"limit {ME} x day 1 1", f"other {ME} 1 day 1 1", f"{REACHED} more", f"limit {ME} 1 week 1 1"]
)
def test_what_is_no_event(text):
    assert limits.events([text]) == []


def test_the_map_of_the_filter():
    known = limits.limits(f"# Ansible managed\n* 0 300 900\n{ME} 20 100 0\nnonsense\nx 1 2\n")
    assert known == {"*": limits.Limit(0, 300, 900), ME: limits.Limit(20, 100, 0)}
    assert (limits.of(known, ME), limits.of(known, YOU), limits.of({}, YOU)) == (known[ME], known["*"], None)


@pytest.mark.parametrize(
    ("limit", "used", "said"),
    [
        ((0, 300, 900), (2, 12), "12 of 300"),
        ((20, 300, 900), (2, 12), "2 of 20 in 1 h, 12 of 300"),
        ((0, 0, 0), (2, 12), "12, no limit"),
        ((20, 0, 0), (2, 12), "2 of 20 in 1 h, 12, no limit"),
        (None, (2, 12), "?"),
        ((0, 300, 900), None, "?"),
    ],
)
def test_what_is_shown_of_a_limit(limit, used, said):
    assert limits.shown(limits.Limit(*limit) if limit else None, limits.Used(*used) if used else None) == said


def test_accounts_show_what_counts(host, tmp_path):
    (tmp_path / "limits").write_text(f"* 0 300 900\n{YOU} 0 20 60\n")
    host.filter.used = {YOU: limits.Used(3, 20)}
    host.answers = {"doveadm": ""}
    answer = cli._accounts(host, cli._parsed(["accounts", "--sort", "name"]))
    assert "LIMIT" in answer.lines[2]
    assert ["0 of 300" in answer.lines[3], "20 of 20" in answer.lines[4]] == [True, True]
    you = answer.public["accounts"][1]
    assert (you["limit"], you["counted"]) == ({"hour": 0, "day": 20, "lock": 60}, {"hour": 3, "day": 20})
    said = "\n".join(summary.lines(summary.Counts(), 0, NOW, [], answer.public["accounts"], [], {}, {}))
    assert f"- {YOU} has reached its sending limit: 20 recipients within a day" in said
    assert f"{ME} has reached" not in said


def test_accounts_are_shown_while_the_filter_does_not_answer(host, monkeypatch):
    def away(_path):
        raise Failure("it does not answer")

    monkeypatch.setattr(controller, "limits", away)
    host.answers = {"doveadm": ""}
    answer = cli._accounts(host, cli._parsed(["accounts", ME]))
    assert (answer.public["accounts"][0]["limit"], answer.public["accounts"][0]["counted"]) == (None, None)
    assert answer.lines[3].split()[3] == "?"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"counted": [ME, "2", "12", YOU, "1", "1"], "events": [REACHED]}, ({ME: (2, 12), YOU: (1, 1)}, [REACHED])),
        ({"counted": [ME, 2, 12], "events": {}}, ({ME: (2, 12)}, [])),
        ({"counted": {}, "events": {}}, ({}, [])),
    ],
)
def test_what_the_filter_answers(monkeypatch, answer, found):
    asked = []
    monkeypatch.setattr(controller, "_ask", lambda *given: asked.append(given) or (200, answer))
    assert controller.limits("/socket") == found
    controller.forget_sent("/socket", ME)
    controller.forget_event("/socket", REACHED)
    assert [given[2:] for given in asked] == [
        ("/plugins/postmaster_mail/limits", b"?", None),
        ("/plugins/postmaster_mail/limits_reset", b"?", {"Account": ME}),
        ("/plugins/postmaster_mail/limits_done", b"?", {"Event": REACHED}),
    ]


@pytest.mark.parametrize("answer", [(503, {"error": "the store of limits does not answer"}), (200, [])])
def test_a_filter_that_does_not_answer_is_named(monkeypatch, answer):
    monkeypatch.setattr(controller, "_ask", lambda *_given: answer)
    with pytest.raises(Failure, match=f"Rspamd answers {answer[0]} when it is asked about limits"):
        controller.limits("/socket")


def test_usage_is_of_accounts_alone():
    assert accounts.public(ME, 0, None, accounts.Usage(), {})["counted"] is None
