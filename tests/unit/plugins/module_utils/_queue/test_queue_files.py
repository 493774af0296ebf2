# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.delivery import delivery
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._queue import files as queue

HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"

DELIVERY = {
    "fqdn": "mail.example.org",
    "domains": ["example.org"],
    "mailboxes": ["me@example.org", "you@example.org"],
    "aliases": {
        "team@example.org": ["me@example.org", "other@elsewhere.test"],
        "you@example.org": ["you@example.org", "other@elsewhere.test"],
    },
    "recipient_delimiter": "+",
    "system": {"root": ["me@example.org"]},
    "mail_user": "vmail",
}


def record(kind: str, content: bytes | str = b"") -> bytes:
    data = content.encode() if isinstance(content, str) else content
    size, length = b"", len(data)
    while True:
        size += bytes([(length & 0x7F) | (0x80 if length > 0x7F else 0)])
        length >>= 7
        if not length:
            return kind.encode() + size + data


def pointer(target: int) -> bytes:
    return record("p", f"{target:15d}")


def postfix_file(*envelope: bytes, content: tuple[bytes, ...] = (record("N", "Subject: x"), record("N"), record("N", "x"))) -> bytes:
    head = [record("T", "1700000000 5"), record("S", "me@example.org")]
    return b"".join([record("C", " " * 95), *head, *envelope, record("M"), *content, record("X"), record("E")])


def test_a_queue_file_is_read():
    data = postfix_file(
        record("A", "dsn_orig_rcpt=rfc822;a@x.test"), record("A", "notify_flags=4"), record("O", "a@x.test"), record("R", "b@y.test"),
        record("O", "c@x.test"), record("D", "c@x.test"), record("R", "d@x.test"),
        content=(record("N", "Subject: x"), record("N"), record("L", b"\xe4" * 2048), record("N", "end"), record("N", ".")),
    )  # fmt: skip
    found = queue.read_postfix("ABC", data)
    assert (found.id, found.sender, found.arrived) == ("ABC", "me@example.org", 1700000000)
    assert found.recipients == (
        queue.Recipient("b@y.test", "a@x.test", frozenset({"failure"})),
        queue.Recipient("d@x.test", "d@x.test"),
    )
    assert found.content == b"Subject: x\n\n" + b"\xe4" * 2048 + b"end\n.\n"


def test_nobody_else_learns_how_forwarded_mail_is_marked():
    """Before its sender is rewritten the recipient has the mark, and afterwards the original one: then no other server rewrites it."""
    before, after = "away@example.org", "x@bigmail.test.srs.invalid"
    data = postfix_file(record("O", before), record("R", "x@bigmail.test.srs.invalid"), record("O", after), record("R", "x@bigmail.test"))
    assert queue.read_postfix("ABC", data).recipients == (
        queue.Recipient("x@bigmail.test", before), queue.Recipient("x@bigmail.test", "x@bigmail.test"))  # fmt: skip


def test_what_milters_changed_is_read_as_they_left_it():
    """As cleanup(8) writes it: From is overwritten by a pointer to what follows the end marker, and that points back."""
    before = record("C", " " * 95) + record("T", "1 0") + record("S", "a@b.test") + record("R", "c@d.test") + record("M")
    replaced = pointer(0)  # has the length of any pointer
    after = record("w", "xx") + record("N", "Subject: x") + record("N") + record("N", "text") + record("X") + record("E")
    back = len(before) + len(replaced)
    end = back + len(after)
    heap = record("N", "DKIM-Signature: s") + record("N", "From: a@b.test") + pointer(back)
    found = queue.read_postfix("A", before + pointer(end) + after + heap)
    assert found.content == b"DKIM-Signature: s\nFrom: a@b.test\nSubject: x\n\ntext\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the queue file ends in the middle of a record"),
        (postfix_file(record("R", "a@b.test"))[:-1], "the queue file ends in the middle of a record"),
        (record("C", "") + pointer(0) + record("E"), "the queue file names no sender"),
        (record("p", "x"), "the queue file has a pointer that is no number"),
        (pointer(0)[:0] + record("p", f"{-5:15d}"), "the queue file has pointers that lead nowhere"),
        (record("C") + b"".join([pointer(2)]), "the queue file has pointers that lead nowhere"),
        (postfix_file(record("L", "smtp:[127.0.0.1]:10024")), "it waits for a content filter: smtp:[127.0.0.1]:10024"),
        (postfix_file(record(">", "x@y.test")), "it waits for another recipient: x@y.test"),
        (postfix_file(record("R", "a\nb@c.test")), "recipient 'a\\nb@c.test' is no address that another mail server would take"),
    ],
)
def test_a_queue_file_that_cannot_be_handed_over(data, said):
    with pytest.raises(MailError) as caught:
        queue.read_postfix("A", data)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "content",
    [b"Subject: x\n\nx\n", b"\n", b"A: b\n\n" + b"y" * 5000 + b"\n\xff.\n..\n", b"A: b\n\n" + b"z" * 2048 + b"\n"],
)
def test_what_is_written_for_postfix_is_what_is_read_again(content):
    recipients = (queue.Recipient("me@example.org", "team@example.org", frozenset({"never"})), queue.Recipient("x@y.test", "x@y.test"))
    given = queue.Message("1234abcd", "", recipients, content, 1700000000, "id", "headers")
    data = queue.write_postfix(given, "opensmtpd/1234abcd", DELIVERY)
    found = queue.read_postfix("1234abcd", data)
    assert found.attributes["handed_over_from"] == "opensmtpd/1234abcd"
    assert found.attributes.get("encoding") == ("8bit" if b"\xff" in content else None)
    assert (found.sender, found.recipients, found.content, found.arrived) == ("", recipients, content, 1700000000)
    assert (found.envelope_id, found.returns) == ("id", "headers")
    # The first record says where the text is: qmgr(8) jumps there.
    size, start, count = (int(word) for word in data[2:97].split()[:3])
    assert data[start:].startswith(b"N" if len(content.splitlines()[0]) <= 2048 else b"L")
    assert data[start + size :] == record("X") + record("E")
    assert count == 2


@pytest.mark.parametrize(
    ("sender", "original", "address", "marked"),
    [
        ("a@far.test", "away@example.org", "x@elsewhere.test", True),
        ("A@Far.test", "away@Example.ORG", "x@elsewhere.test", True),
        ("me@example.org", "away@example.org", "x@elsewhere.test", False),
        ("root@mail.example.org", "away@example.org", "x@elsewhere.test", False),
        ("", "away@example.org", "x@elsewhere.test", False),
        ("a@far.test", "x@elsewhere.test", "x@elsewhere.test", False),
        ("a@far.test", "team@example.org", "me@example.org", False),
    ],
)
def test_forwarded_mail_gets_the_mark_by_which_postfix_rewrites_its_sender(sender, original, address, marked):
    given = queue.Message("1234abcd", sender, (queue.Recipient(address, original),), b"Subject: x\n\nx\n", 1700000000)
    for srs in (True, False):
        data = queue.write_postfix(given, "opensmtpd/1234abcd", {**DELIVERY, "srs": srs})
        assert (f"{address}.srs.invalid".encode() in data) is (srs and marked)
        # Given back, it is what it was.
        back = queue.read_postfix("1234abcd", data).recipients
        assert back == given.recipients and back[0].rewrites is (srs and marked)


def test_an_address_of_ours_makes_nobody_a_user_who_has_logged_in():
    """Whose sender was to be rewritten in one queue, that is in the other one, too; and the other way round."""
    delivery = {**DELIVERY, "srs": True}
    for rewrites, action in ((True, "send"), (False, "send-own")):
        recipients = (queue.Recipient("x@elsewhere.test", "away@example.org", rewrites=rewrites),)
        given = queue.Message("1234abcd", "me@example.org", recipients, b"x\n", 1700000000)
        data = queue.write_postfix(given, "opensmtpd/1234abcd", delivery)
        assert (b"x@elsewhere.test.srs.invalid" in data) is rewrites
        files = queue.write_opensmtpd(queue.read_postfix("1234abcd", data), "00000001", delivery)
        envelope = queue.read_envelope("x", *files.values())
        assert (envelope.fields["dispatcher"], envelope.recipient.rewrites) == (action, rewrites)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("me@example.org", [("me@example.org", True)]),
        ("Me+tag@Example.org", [("Me+tag@Example.org", True)]),
        # Its alias names it as well: it was expanded before.
        ("you@example.org", [("you@example.org", True)]),
        ("team@example.org", [("me@example.org", True), ("other@elsewhere.test", False)]),
        ("gone@example.org", [("gone@example.org", True)]),
        ("a@elsewhere.test", [("a@elsewhere.test", False)]),
        ("root@mail.example.org", [("me@example.org", True)]),
        ("root+x@localhost", [("me@example.org", True)]),
        ("root", [("me@example.org", True)]),
    ],
)
def test_destinations(address, expected):
    assert queue.destinations(address, DELIVERY) == expected


def test_the_mail_of_a_host_that_is_named_like_its_domain_goes_to_the_postmaster():
    model = normalise({"fqdn": "example.org", "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": HASH}}})
    for address in ("root", "root@example.org", "mailer-daemon@example.org"):
        assert queue.destinations(address, {**delivery(model), "fqdn": "example.org"}) == [("me@example.org", True)]


def test_a_detail_begins_behind_each_delimiter():
    given = {"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": HASH}}}
    tables = {**delivery(normalise({**given, "recipient_delimiter": "-."})), "fqdn": "mail.example.org"}
    for address in ("mailer-daemon", "root-x@mail.example.org", "mailer-daemon@mail.example.org", "abuse.x-y@example.org"):
        assert queue.destinations(address, tables) == [("me@example.org", True)]
    assert queue.destinations("me-x@example.org", tables) == [("me-x@example.org", True)]


def test_a_name_of_the_host_that_nobody_has():
    with pytest.raises(MailError) as caught:
        queue.destinations("joe@mail.example.org", DELIVERY)
    assert str(caught.value) == "recipient 'joe@mail.example.org' is a name of this host that nobody has"


def test_a_loop_of_aliases_ends():
    delivery = {**DELIVERY, "aliases": {"a@example.org": ["b@example.org"], "b@example.org": ["a@example.org", "x@y.test"]}}
    assert queue.destinations("a@example.org", delivery) == [("x@y.test", False)]


def test_envelopes_of_opensmtpd():
    recipients = (
        queue.Recipient("me@example.org", "team@example.org"),
        queue.Recipient("me@example.org", "root@mail.example.org"),
        queue.Recipient("x@y.test", "x@y.test", frozenset({"failure", "delay"})),
    )
    given = queue.Message("4jXR", "root", recipients, b"x\n", 1700000000, "id", "full")
    files = queue.write_opensmtpd(given, "0a0b0c0d", DELIVERY)
    assert len(files) == 2 and all(name.startswith("0a0b0c0d") and len(name) == 16 for name in files)
    envelopes = [queue.read_envelope(name, data) for name, data in files.items()]
    assert [(one.fields["type"], one.fields["dispatcher"], one.fields.get("mda-user")) for one in envelopes] == [
        ("mda", "deliver", "vmail"),
        ("mta", "send", None),
    ]
    found = queue.read_opensmtpd("0a0b0c0d", envelopes, b"x\n")
    assert found.recipients == (recipients[0], recipients[2])
    assert (found.sender, found.arrived, found.envelope_id, found.returns) == ("root@mail.example.org", 1700000000, "id", "full")
    assert queue.write_opensmtpd(given, "0a0b0c0d", DELIVERY) == files


@pytest.mark.parametrize(
    ("sender", "action"),
    [
        ("me@example.org", "send-own"),
        ("Me@Example.ORG", "send-own"),
        ("root", "send-own"),
        ("root@mail.example.org", "send-own"),
        ("a@far.test", "send"),
        ("a@sub.example.org", "send"),
        ("", "send"),
    ],
)
def test_opensmtpd_rewrites_no_sender_of_ours(sender, action):
    recipients = (queue.Recipient("x@elsewhere.test", "away@example.org"), queue.Recipient("me@example.org", "me@example.org"))
    for srs in (True, False):
        files = queue.write_opensmtpd(queue.Message("1", sender, recipients, b"x\n", 1), "00000001", {**DELIVERY, "srs": srs})
        used = [queue.read_envelope(name, data).fields["dispatcher"] for name, data in files.items()]
        # Without SRS the configuration has no other action.
        assert used == [action if srs else "send", "deliver"]


def test_the_mail_of_lists_goes_to_mailman():
    """Also below a catch-all, where each name of its own is an alias that leads to itself."""
    names = ["news@example.org", "news-bounces@example.org"]
    delivery = {**DELIVERY, "lists": names, "aliases": {**DELIVERY["aliases"], **{name: [name] for name in names}}}
    for name in (*names, "News-bounces+me=example.com@example.org"):
        message = queue.Message("ABC", "", (queue.Recipient(name, name),), b"Subject: x\n\n", 1)
        assert queue.destinations(name, delivery) == [(name, False)]
        written = b"".join(queue.write_opensmtpd(message, "0a0b0c0d", {**delivery, "mail_user": "vmail"}).values())
        assert b"dispatcher: mailman\ntype: mta\n" in written
        written = queue.write_postfix(message, "x", {**delivery, "srs": True})
        assert name.encode() in written and b"srs.invalid" not in written


def test_a_null_sender_stays_one():
    given = queue.Message("1", "", (queue.Recipient("x@y.test", "x@y.test"),), b"x\n", 1)
    envelopes = [queue.read_envelope(name, data) for name, data in queue.write_opensmtpd(given, "00000001", DELIVERY).items()]
    assert envelopes[0].fields["sender"] == "@"
    assert queue.read_opensmtpd("1", envelopes, b"x\n").sender == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x00\x11garbage", "its envelope is encrypted, or damaged"),
        ("version: 2\n", "its envelope has version 2; only 3 is known here"),
        ("version: 3\ntype: mta\n", "its envelope lacks sender, rcpt, dest, ctime"),
        ("version: 3\ntype: new\nsender: @\nrcpt: a@b\ndest: a@b\nctime: 1\n", "its envelope lacks a type and a time that are known"),
    ],
)
def test_an_envelope_that_cannot_be_read(text, said):
    with pytest.raises(MailError) as caught:
        queue.read_envelope("1", text.encode())
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("type: bounce\n", "it is a bounce that smtpd has not written yet"),
        ("type: mda\nmda-exec: /bin/x\nmda-user: joe\n", "it is for a program of the user joe: /bin/x"),
        ("type: mda\nmda-user: vmail\n", ""),
    ],
)
def test_an_envelope_that_only_opensmtpd_can_deliver(more, said):
    text = "version: 3\nsender: @\nrcpt: a@b\ndest: a@b\nctime: 1\n" + more
    assert queue.read_envelope("1", text.encode()).kept_because == said


def test_a_name_is_the_same_each_time_and_never_none():
    assert queue.message_id("postfix/A") == queue.message_id("postfix/A") != queue.message_id("postfix/A", 1)
    assert queue.read_offline(b"-f|a@b|c@d\nSubject: x\n") == (["-f", "a@b", "c@d"], b"Subject: x\n")
