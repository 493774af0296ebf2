# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postmaster-mail trace, of the logs of real hosts, and of lines that somebody has made up to be mistaken."""

from __future__ import annotations

import json

import pytest
from operations import LOGS, Host, clock, lines
from postmaster_mail import cli, dovecot, logs, opensmtpd, own, postfix, rspamd, trace
from postmaster_mail.text import Failure

_clock = clock()


def traced(log, what):
    """Return the lines of a trace without dates, and what JSON has."""
    found = lines(log) if isinstance(log, str) else log
    public, said = trace.report(trace.messages(*trace.passages(lambda: found, trace.Selector.of(what))))
    return [line.replace("2026-11-29 ", "") for line in said], public


def test_postfix_an_alias_with_a_mailbox_and_an_address_elsewhere():
    said, public = traced("postfix-3.10.log", "both@example.org")
    message_id = "<af4df2d7c1974d04884b4c514858de7e@bigmail.test>"
    assert said == [
        f"Message {message_id} from <someone@bigmail.test>: delivered to me@example.org; sent to someone@bigmail.test",
        "  20:28:28  connect  4jczHw1MTZzGN0R  from mx.bigmail.test [198.51.100.10], at smtp, TLSv1.3",
        f"  20:28:28  accept   4jczHw1MTZzGN0R  from <someone@bigmail.test> to 2 recipients, 1.6 KiB, Message-ID {message_id}",
        "  20:28:28  deliver                   me@example.org: stored in the folder INBOX",
        "  20:28:28  connect  4jczHw1bmZzGN2b  from localhost [127.0.0.1], at forward, not encrypted",
        "  20:28:28  accept   4jczHw1bmZzGN2b  from <SRS0=WcJXbEpA=JS=bigmail.test=someone@mail.example.org> to 1 recipient, 2.1 KiB, "
        f"Message-ID {message_id}",
        "  20:28:28  forward  4jczHw1MTZzGN0R  someone@bigmail.test (as both@example.org): goes on as 4jczHw1bmZzGN2b",
        "  20:28:28  send     4jczHw1bmZzGN2b  someone@bigmail.test by mx.bigmail.test[198.51.100.10]:25: "
        "\u201c250 2.0.0 Ok: queued as 413B61B8365\u201d",
    ]
    assert public[0]["recipients"] == {"me@example.org": "delivered", "someone@bigmail.test": "sent"}
    hop = public[0]["hops"][0]
    assert 1795984108 < hop.pop("time") == hop.pop("last_time") < 1795984109
    assert hop == {"queue_id": "4jczHw1MTZzGN0R", "step": "connect", "text": "from mx.bigmail.test [198.51.100.10], at smtp, TLSv1.3",
                   "reason": "", "times": 1}  # fmt: skip


@pytest.mark.parametrize("what", ["4jczNs2ScRzGMvV", "4jczNt3CZ0zGMyw", "someone@ipv4.bigmail.test"])
def test_postfix_a_bounce_and_what_it_is_about_are_found_by_either(what):
    said, public = traced("postfix-3.10.log", what)
    assert [line[12:] for line in (*said[1:2], *said[4:])] == [
        "connect  4jczNs2ScRzGMvV  from client.test [2001:db8:100::1], logged in as me@example.org, at submission, TLSv1.3",
        "connect  4jczNt3CZ0zGMyw  written by this host itself",
        "accept   4jczNt3CZ0zGMyw  from <> to 1 recipient, 3.2 KiB, Message-ID <4jczNt3CZ0zGMyw@mail.example.org>",
        "notice   4jczNs2ScRzGMvV  the sender is told that it cannot be delivered, by 4jczNt3CZ0zGMyw",
        "deliver                   me@example.org: stored in the folder INBOX",
    ]
    assert said[3].endswith("  -- DNS tells of no host that takes it")
    assert public[0]["recipients"]["someone@ipv4.bigmail.test"] == "bounced"


def test_postfix_what_was_asked_to_come_again_and_came():
    said, _public = traced("postfix-3.10.log", "4jczJg1XFXzGMx2")
    assert said[0] == "Message <8797a05f5884834b@client.test> from <outside-8797a05f5884834b@client.test>: delivered to me@example.org"
    assert [line.split()[1:3] for line in said[1:]] == [
        ["connect", "4jczJg10kTzGMx2"], ["refuse", "4jczJg10kTzGMx2"], ["connect", "4jczJg1XFXzGMx2"], ["accept", "4jczJg1XFXzGMx2"],
        ["deliver", "me@example.org:"]]  # fmt: skip
    assert said[2].endswith("  -- greylisted: its sender was never seen before, and tries again in some minutes")
    assert said[-1].endswith("me@example.org: stored in the folder Junk")


@pytest.mark.parametrize(
    ("what", "last"),
    [
        ("nobody-0237791b@example.org", "  20:26:19  refuse                    <nobody-0237791b@example.org>: \u201c550 5.1.1 "
         "<nobody-0237791b@example.org>: Recipient address rejected: User unknown in virtual mailbox table\u201d  -- there is no such "
         "mailbox or alias here"),
        ("4jczFR5tS1zGN0h", "  20:26:19  refuse   4jczFR5tS1zGN0h  <me@example.org>: \u201c5.7.1 Gtube pattern\u201d  -- the filter takes "
         "it for spam: postmaster-mail why"),
        ("tlsa@shop.test", "  20:26:58  defer    4jczGB2zQLzGN9Y  tlsa@shop.test (as wrong@example.org) by "
         "mx-bad.shop.test[198.51.100.10]:25: \u201cServer certificate not verified\u201d  -- the other host's certificate is not the one "
         "that it publishes"),
        ("4jczJp0TBbzGMwT", "  20:29:30  deliver                   small@example.org: stored in the folder INBOX"),
        ("4jczJD18d7zGN1h", "  20:28:44  deliver                   me@example.org: stored in the folder INBOX"),
        ("4jczLL6hXWzGMyw", "  20:30:52  deliver                   me@example.org: stored in the folder INBOX"),
        ("4jczG30GlRzGN6d", "  20:26:51  send     4jczG30GlRzGN6d  someone@bigmail.test by mx.bigmail.test[198.51.100.10]:25: "
         "\u201c250 2.0.0 Ok: queued as 2A0871B836C\u201d"),
    ],
)  # fmt: skip
def test_postfix_the_last_hop_says_where_it_is_and_why(what, last):
    assert traced("postfix-3.10.log", what)[0][-1] == last


def test_postfix_what_waits_is_one_hop_however_often_it_is_tried():
    said, public = traced("postfix-3.10.log", "4jczJp0TBbzGMwT")
    defer = next(line for line in said if "  defer  " in line)
    assert "(2 times, last " in defer and defer.endswith("  -- the mailbox is full")
    hop = next(hop for hop in public[0]["hops"] if hop["step"] == "defer")
    assert hop["times"] == 2 and hop["last_time"] > hop["time"]


def test_postfix_what_a_program_of_the_host_sends():
    said, _public = traced("postfix-3.10.log", "4jczG30GlRzGN6d")
    assert said[1] == "  20:26:51  connect  4jczG30GlRzGN6d  from a program of this host, run by the account 65534"
    assert traced("postfix-3.10.log", "4jczLL6hXWzGMyw")[0][1].endswith("from a program of this host, run by root")


def test_a_script_that_redirects_keeps_nothing():
    said, public = traced("postfix-3.10.log", "<420383a968e44d1f9aabe800049791d7@bigmail.test>")
    assert said[0] == (
        "Message <420383a968e44d1f9aabe800049791d7@bigmail.test> from <someone@bigmail.test>: handled by the Sieve script of "
        "you@example.org; sent to someone@bigmail.test")
    assert said[5] == "  20:28:32  script                    you@example.org's Sieve script redirects it to someone@bigmail.test"
    assert public[0]["recipients"]["you@example.org"] == "scripted"


def test_opensmtpd_an_alias_with_a_full_mailbox():
    said, public = traced("opensmtpd-7.6.log", "office@small.lab-a.test")
    message_id = "<466d03afd5c3498698a98d88d4706027@bigmail.test>"
    assert said == [
        f"Message {message_id} from <someone@bigmail.test>: delivered to me@lab-a.test, small@lab-a.test",
        "  21:25:46  connect  5990e8ac         from mx.bigmail.test [2001:db8:100::10], TLSv1.3",
        f"  21:25:47  accept   5990e8ac         from <someone@bigmail.test> to 1 recipient, 2.0 KiB, Message-ID {message_id}",
        "  21:25:47  filter   5990e8ac         passes, score -1 of 15: DMARC_POLICY_ALLOW -0.5, R_DKIM_ALLOW -0.2, R_SPF_ALLOW -0.2, "
        "MIME_GOOD -0.1",
        "  21:25:48  deliver                   me@lab-a.test: stored in the folder INBOX",
        "  21:25:48  defer    5990e8ac         small@lab-a.test (as office@small.lab-a.test): \u201cError (temporary failure: \"mail.lmtp: "
        "LMTP server error: 452 4.2.2 <small@lab-a.test> Mailbox is full\")\u201d (2 times, last 21:25:55)  -- the mailbox is full",
        "  21:26:13  deliver                   small@lab-a.test: stored in the folder INBOX",
    ]
    assert public[0]["recipients"] == {"me@lab-a.test": "delivered", "small@lab-a.test": "delivered"}


def test_opensmtpd_what_was_held_and_released_and_by_whom():
    said, _public = traced("opensmtpd-7.6.log", "55f9040a2471062d")
    assert [line.split()[1] for line in said[1:]] == ["connect", "accept", "filter", "defer", "hold", "release", "deliver"]
    assert said[1].endswith("from a program of this host")
    assert said[5] == "  21:26:34  hold     55f9040a         put on hold until it is released, by root"


def test_opensmtpd_the_filter_alone_knows_what_was_asked_to_come_again():
    said, public = traced("opensmtpd-7.6.log", "<6131667424c1d43e@client.test>")
    assert said[1:3] == [
        "  21:25:18  connect  c7cd5ab0         from [198.51.100.1]",
        "  21:25:18  filter   c7cd5ab0         is refused for now \u201cTry again later\u201d, score 11.9 of 15: SUBJ_ALL_CAPS +3.0, "
        "HFILTER_URL_ONLY +2.2, MISSING_TO +2.0, PHISHING +2.0  -- greylisted: its sender was never seen before, and tries again in some "
        "minutes",
    ]
    assert said[-1].endswith("me@lab-a.test: stored in the folder Junk")
    assert public[0]["recipients"] == {"me@lab-a.test": "delivered"}


def test_opensmtpd_a_refused_sender():
    said, public = traced("opensmtpd-7.6.log", "you@lab-a.test")
    assert said[:3] == [
        "Not accepted from <you@lab-a.test>",
        "  21:07:47  connect                   from client.test [198.51.100.1], logged in as me@lab-a.test, TLSv1.3",
        "  21:07:48  refuse                    <you@lab-a.test>: \u201c553 5.7.1 The sender address is not yours\u201d  -- the envelope "
        "sender is not an address of the user who has logged in",
    ]
    assert public[0]["sender"] == "you@lab-a.test"


def test_what_the_log_has_nothing_about():
    host = Host(log=lines("postfix-3.10.log"))
    options = cli._parsed(["trace", "nobody@else.where", "--since", "2026-11-29"])
    answer = cli._trace(host, options)
    assert answer.lines == ["The log has nothing about nobody@else.where since 2026-11-29 00:00:00; --since looks further back"]
    assert (answer.status, answer.public["messages"]) == (1, [])


def test_the_latest_messages_are_shown():
    host = Host(log=lines("postfix-3.10.log"))
    every = cli._trace(host, cli._parsed(["trace", "@example.org", "--since", "2026-11-29", "--limit", "0"]))
    few = cli._trace(host, cli._parsed(["trace", "@example.org", "--since", "2026-11-29", "--limit", "2"]))
    assert few.public["messages"] == every.public["messages"][-2:]
    left_out = len(every.public["messages"]) - 2
    assert few.public["left_out"] == left_out > 5
    assert few.lines[:2] == [f"{left_out} earlier messages are not shown: --limit 0 shows all", ""]
    late = cli._trace(host, cli._parsed(["trace", "@example.org", "--since", "2026-11-29 20:32:00"]))
    assert [message["sender"] for message in late.public["messages"]] == ["me@example.org"]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("me@Example.org", {"address": "me@example.org", "message_id": "<me@Example.org>"}),
        ("<a.b@c>", {"message_id": "<a.b@c>"}),
        ("4jczNs2ScRzGMvV", {"queue": "4jczNs2ScRzGMvV"}),
        ("5990e8ac85c460ec", {"queue": "5990e8ac"}),
        ("A0B1C2D3E4", {"queue": "A0B1C2D3E4"}),
        ("@example.org", {"address": "@example.org", "message_id": "<@example.org>"}),
    ],
)
def test_what_is_asked_for(what, expected):
    assert trace.Selector.of(what) == trace.Selector(**expected)


@pytest.mark.parametrize("what", ["", "me", "root", "warning", "a b@c.test", "<a@b> <c@d>", "../../etc", "$(reboot)"])
def test_anything_else_is_refused(what):
    with pytest.raises(Failure) as error:
        trace.Selector.of(what)
    assert str(error.value) == (
        f"{what!r} is neither an address (me@example.org, or @example.org for all of a domain), nor a Message-ID, nor a queue id")


@pytest.mark.parametrize(
    ("asked", "seen", "same"),
    [
        ("me@example.org", "ME+lists@Example.org", True),
        ("me+lists@example.org", "me@example.org", False),
        ("me@example.org", "you@example.org", False),
        ("@example.org", "x@example.org", True),
        ("@example.org", "x@sub.example.org", False),
        ("me@example.org", "", False),
    ],
)
def test_addresses_are_compared_without_case_and_detail(asked, seen, same):
    assert trace.Selector.of(asked).is_address(seen) is same


# ---------------------------------------------------------------------------------------------------------------------
# Lines as somebody makes them who wants to be mistaken. A client chooses addresses, greeting, Message-ID and user name; another server
# its replies.


def line(program, text, pid="7"):
    return logs.Line(1000.0, program, pid, text)


def test_a_recipient_that_looks_like_the_rest_of_a_refusal():
    evil = 'a>: x; from=<b@b> to=<c@c> proto=SMTP helo=<d>'
    found = postfix.event(line("postfix/smtpd", f'NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 5.1.1 <{evil}@example.org>: Recipient '
                               f'address rejected: User unknown; from=<> to=<"{evil}"@example.org> proto=ESMTP helo=<x>'))
    assert (found.data["sender"], found.data["recipient"]) == ("", f'"{evil}"@example.org')


def test_a_greeting_that_looks_like_the_rest_of_a_refusal():
    greeting = "d>: y; from=<victim@example.org> to=<boss@example.org> proto=SMTP helo=<e"
    found = postfix.event(line("postfix/smtpd", "NOQUEUE: reject: RCPT from x[192.0.2.1]: 450 4.1.8 <s@x.test>: Sender address rejected: "
                               f"Domain not found; from=<s@x.test> to=<r@example.org> proto=ESMTP helo=<{greeting}>"))
    assert (found.data["sender"], found.data["recipient"]) == ("s@x.test", "r@example.org")
    found = postfix.event(line("postfix/smtpd", f"NOQUEUE: reject: RCPT from x[192.0.2.1]: 504 5.5.2 <{greeting}>: Helo command rejected: "
                               f"need fully-qualified hostname; from=<s@x.test> to=<r@example.org> proto=ESMTP helo=<{greeting}>"))
    assert (found.data["sender"], found.data["recipient"]) == ("s@x.test", "r@example.org")


def test_an_address_and_a_reply_that_look_like_a_delivery():
    evil = '"x>, relay=mx.test[192.0.2.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 fine"@a.test'
    reply = "host a said: 550 no; to=<y@b>, relay=none, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 fine (in reply to DATA)"
    found = postfix.event(line("postfix/smtp", f"4jczNs2ScRzGMvV: to=<{evil}>, relay=mx.a.test[192.0.2.1]:25, delay=0.3, delays=0/0/0/0.3, "
                               f"dsn=5.1.1, status=bounced ({reply})"))
    assert (found.data["recipient"], found.data["status"], found.data["reply"]) == (evil, "bounced", reply)


def test_a_reply_that_names_a_queue_id_of_ours_leads_nowhere():
    text = "4jczNs2ScRzGMvV: to=<a@b.test>, relay=mx.b.test[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent ({})"
    for reply in ("250 2.0.0 Ok: queued as 4jczHw1MTZzGN0R", "forwarded as 4jczHw1MTZzGN0R", "250 2.0.0 <a@b.test> SESSION Saved"):
        data = postfix.event(line("postfix/smtp", text.format(reply))).data
        assert (data["next"], data["lmtp"]) == ("", "")


@pytest.mark.parametrize(
    ("message_id", "text", "expected"),
    [
        ("<a@b>: stored mail into mailbox 'INBOX'", "fileinto action: stored mail into mailbox 'Junk'", ("stored", "Junk")),
        ("<a@b>: forwarded to <c@d>", "stored mail into mailbox 'INBOX'", ("stored", "INBOX")),
        ("x: discard action: marked message to be discarded", "redirect action: forwarded to <c@d.test>", ("forwarded", "c@d.test")),
    ],
)
def test_a_message_id_that_looks_like_what_dovecot_did(message_id, text, expected):
    found = dovecot.event(line("dovecot", f"lmtp(me@example.org)<1><S>: sieve: msgid={message_id}: {text}"))
    assert (found.data["action"], found.data["target"]) == expected


@pytest.mark.parametrize("user", ["me@example.org)<1><S>: sieve: msgid=<a@b>: stored mail into mailbox 'INBOX'", "a b", ""])
def test_a_user_name_that_looks_like_a_delivery_is_none(user):
    assert dovecot.event(line("dovecot", f"auth({user},192.0.2.1,sasl:plain): users-64: unknown user")) is None
    assert dovecot.event(line("dovecot", f"imap-login: Login aborted: user=<{user}>, method=PLAIN, rip=192.0.2.1")) is None


def test_a_message_id_that_looks_like_a_verdict():
    verdict = {"queue": "4jczNs2ScRzGMvV", "id": "a@b", "ip": "192.0.2.1", "user": "", "from": "x@y", "to": ["me@example.org"],
               "recipients": 1, "action": "reject", "reply": "no", "score": 20.5, "reject": 15, "size": 1,
               "symbols": [["X", 20.5, ["y"]]], "others": {}}  # fmt: skip
    text = "<0a1b2c>; lua; postmaster-mail-log.lua:91: verdict " + json.dumps(verdict)
    found = rspamd.event(line("rspamd", text))
    assert (found.queue, found.data["action"], found.data["symbols"], found.data["others"]) == (
        "4jczNs2ScRzGMvV", "reject", [("X", 20.5, ["y"])], [])
    assert found.data["message_id"] == "<a@b>"
    # Debian 12 says in front of it which process it was.
    assert rspamd.event(line("rspamd", "(rspamd_proxy) " + text)) == found
    for forged in (f"<0a1b2c>; proxy; rspamd_task_write_log: id: <{text}>, qid: <x>", text[1:], text + "x", text.replace('"a@b"', "1"),
                   text.replace("{", "[")):  # fmt: skip
        assert rspamd.event(line("rspamd", forged)) is None


@pytest.mark.parametrize(
    "evil", ['x" result="250 2.0.0 Ok', "x> SIZE=1\" result=\"250 Ok", "x>\\\" result=\\\"250"],
)  # fmt: skip
def test_a_command_that_looks_like_its_answer(evil):
    text = f'd4593f9b426a153a smtp failed-command command="RCPT TO:<{evil}>" result="550 Invalid recipient"'
    found = opensmtpd.event(line("smtpd", text))
    assert found.data["reply"] == "550 Invalid recipient"


def test_a_user_name_that_looks_like_a_log_in():
    found = opensmtpd.event(line("smtpd", "d4593f9b426a153a smtp authentication user=me@x result=ok result=permfail"))
    assert (found.kind, found.data["user"]) == ("login-failed", "me@x result=ok")


def test_a_stranger_writes_what_this_program_would():
    assert own.event(line("postmaster-mail", "queue: 55f9040a is on hold (by root)")).data == {"state": "held", "by": "root"}
    for text in ("queue: 55f9040a is gone (by root)", "queue: ../x is on hold (by root)", "x queue: 55f9040a is on hold (by root)"):
        assert own.event(line("postmaster-mail", text)) is None


def test_nothing_that_a_terminal_obeys_reaches_it(capsys, monkeypatch):
    evil = [line("postfix/smtpd", "connect from x[192.0.2.1]"),
            line("postfix/smtpd", "NOQUEUE: reject: RCPT from x[192.0.2.1]: 550 5.1.1 <\x1b]0;x\x07@example.org>: no; "
                                  "from=<a\x1b[2J@b.test> to=<me@example.org> proto=ESMTP helo=<\x1b[31m>")]  # fmt: skip
    host = Host(log=evil)
    monkeypatch.setattr(cli, "Host", lambda _settings: host)
    monkeypatch.setattr(cli.Settings, "read", lambda: None)
    for arguments in (["trace", "me@example.org", "--since", "1970-01-01"], ["--json", "trace", "me@example.org", "--since", "1970-01-01"]):
        assert cli.main(arguments) == 0
        said = capsys.readouterr().out
        assert "me@example.org" in said
        assert not [letter for letter in said if ord(letter) < 32 and letter != "\n"]


@pytest.mark.parametrize("name", [path.name for path in LOGS.glob("*.log")])
def test_every_line_of_a_log_is_read_or_passed_over(name):
    """Cut anywhere, a line is still no reason to fail."""
    for one in lines(name):
        for end in range(0, len(one.text), 7):
            list(trace.events([one._replace(text=one.text[:end]), one._replace(text=one.text[end:])]))


def test_openbsd_whose_lines_have_no_year():
    said, public = traced("openbsd.log", "outside@client.test")
    message_id = "<352e4a3380d14ee5a211007017f57dd9@client.test>"
    assert said == [
        f"Message {message_id} from <outside@client.test>: delivered to me@openbsd.test",
        "  22:31:15  connect  eb32fdf3         from client.test [198.51.100.1], TLSv1.3",
        f"  22:31:16  accept   eb32fdf3         from <outside@client.test> to 1 recipient, 1017 B, Message-ID {message_id}",
        "  22:31:16  filter   eb32fdf3         passes, score -0.7 of 15: DMARC_POLICY_ALLOW -0.5, R_SPF_ALLOW -0.2, MIME_GOOD -0.1, "
        "ONCE_RECEIVED +0.1",
        "  22:31:16  deliver                   me@openbsd.test: stored in the folder INBOX",
    ]
    assert public[0]["hops"][-1]["time"] == 1795991476.0
