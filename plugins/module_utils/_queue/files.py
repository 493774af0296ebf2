# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What waits in a mail queue: the queue files of Postfix and of OpenSMTPD, read and written.

A message keeps what its sender and recipients were promised: envelope, time of arrival, and every octet of its content. So it
needs no second look by a filter, no second signature and no second expansion of aliases.

The formats: Postfix's ``src/global/rec_type.h``, ``record.c`` and ``cleanup_envelope.c``, unchanged in kind since 2.4;
OpenSMTPD's ``envelope.c``, version 3, since 6.4.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.postmaster.mail.plugins.module_utils import _names
from ansible_collections.postmaster.mail.plugins.module_utils._constants import SRS_SUFFIX
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: In a queue file of Postfix that we wrote: which message of the other queue it was.
ORIGIN = "handed_over_from"
#: RFC 3461's wishes, and their bits in the two formats.
NOTIFY = {"never": (1, 8), "success": (2, 1), "failure": (4, 2), "delay": (8, 4)}
RETURN = {"full": (1, "FULL"), "headers": (2, "HDRS")}


@dataclass(frozen=True)
class Recipient:
    """Where a copy goes, and which address it was sent to; ``notify`` has the keys of ``NOTIFY``.

    ``rewrites`` is whether its queue has the sender rewritten where this copy is forwarded, also one of ours. It does so unless a user has
    logged in to send it, which nothing else in the queue tells.
    """

    address: str
    original: str
    notify: frozenset[str] = frozenset()
    rewrites: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Message:
    """What is left to do for a message: ``id`` is its name in its queue, ``arrived`` is in seconds since 1970.

    The lines of ``content`` end in a newline, without a carriage return.
    """

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    content: bytes
    arrived: int
    envelope_id: str = ""
    returns: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def _address(value: str, what: str) -> str:
    """Return an address that both formats can hold."""
    local, _at, domain = value.rpartition("@")
    if any(ord(char) < 32 or ord(char) == 127 for char in value) or len(local) > 255 or len(domain) > 255:
        raise MailError(f"{what} {value!r} is no address that another mail server would take")
    return value


# ---------------------------------------------------------------------------------------------------------------------
# Where mail goes here


def destinations(address: str, delivery: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return where mail for an address goes on this server, each with whether that is a mailbox here.

    :param address: as another mail server has left it: it may be expanded already, so a mailbox is always itself
    :param delivery: ``fqdn``, and ``domains``, ``mailboxes``, ``aliases``, ``recipient_delimiter`` and ``system`` as in
        :func:`_model.delivery.delivery`, and ``lists`` where there are any
    :raises MailError: a name of this host that nobody has
    """
    found: dict[tuple[str, bool], None] = {}
    seen: set[str] = set()
    mailboxes = {name.lower() for name in delivery["mailboxes"]}
    lists = set(delivery.get("lists", ()))
    aliases = {name.lower(): targets for name, targets in delivery["aliases"].items()}

    def follow(one: str) -> None:
        local, _at, domain = one.lower().rpartition("@")
        local = local or domain
        bare = _names.without_detail(f"{local}@", delivery.get("recipient_delimiter", "+"))[:-1]
        if one.lower() in seen:
            return
        seen.add(one.lower())
        if "@" in one and domain in delivery["domains"]:
            names = [f"{local}@{domain}", f"{bare}@{domain}"]
            if lists.intersection(names):
                found[(one, False)] = None
                return
            targets = next((aliases[name] for name in (*names, f"@{domain}") if name in aliases), None)
            if not targets or mailboxes.intersection(names):
                found[(one, True)] = None
                return
        elif "@" not in one or domain in (delivery["fqdn"].lower(), "localhost"):
            targets = delivery["system"].get(local) or delivery["system"].get(bare)
            if not targets:
                raise MailError(f"recipient {one!r} is a name of this host that nobody has")
        else:
            found[(one, False)] = None
            return
        for target in targets:
            follow(target)

    follow(address)
    return list(found)


def addressed(message: Message, delivery: Mapping[str, Any]) -> list[tuple[Recipient, bool]]:
    """Return the recipients of a message on this server, each address once, and whether each is a mailbox here."""
    found: dict[str, tuple[Recipient, bool]] = {}
    for recipient in message.recipients:
        for address, here in destinations(recipient.address, delivery):
            found.setdefault(address, (replace(recipient, address=address), here))
    return list(found.values())


# ---------------------------------------------------------------------------------------------------------------------
# Postfix

_LINE_LIMIT = 2048
_SIZE_RECORD = 97  # type, length, and six numbers of 15 digits


def _record(data: bytes, offset: int) -> tuple[bytes, bytes, int]:
    """Return type and content of a record and where the next one begins."""
    kind, length, shift, place = data[offset : offset + 1], 0, 0, offset + 1
    while True:
        if place >= len(data) or shift > 28:
            raise MailError("the queue file ends in the middle of a record")
        length |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
        if data[place - 1] < 0x80:
            break
    if place + length > len(data):
        raise MailError("the queue file ends in the middle of a record")
    return kind, data[place : place + length], place + length


def postfix_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the records of a queue file in the order that the edits of its milters gave them, up to the end marker.

    :raises MailError: the file is not whole
    """
    offset, jumps = 0, 0
    while True:
        kind, content, offset = _record(data, offset)
        if kind == b"p":
            try:
                target = int(content)
            except ValueError:
                raise MailError("the queue file has a pointer that is no number") from None
            jumps += 1
            if target < 0 or jumps > 100000:
                raise MailError("the queue file has pointers that lead nowhere")
            offset = target or offset
            continue
        yield kind, content
        if kind == b"E":
            return


def read_postfix(name: str, data: bytes) -> Message:
    """Return what a queue file has still to be done for.

    :raises MailError: it is not whole, or waits for something that only Postfix knows
    """
    sender: str | None = None
    arrived = 0
    recipients: list[Recipient] = []
    attributes: dict[str, str] = {}
    content: list[bytes] = []
    original, notify, inside = "", 0, False
    for kind, raw in postfix_records(data):
        if kind == b"M":
            inside = True
        elif kind == b"X":
            inside = False
        elif inside:
            if kind in (b"N", b"L"):
                content.append(raw + (b"\n" if kind == b"N" else b""))
            continue
        value = raw.decode("utf-8", "surrogateescape")
        if kind == b"T" and not arrived:
            arrived = int(value.split()[0])
        elif kind == b"S" and sender is None:
            sender = value
        elif kind == b"O":
            original = value
        elif kind == b"A":
            key, _sign, text = value.partition("=")
            if key == "notify_flags":
                notify = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
            elif key != "dsn_orig_rcpt":
                attributes[key] = text
        elif kind in (b"L", b">"):
            raise MailError(f"it waits for {'a content filter' if kind == b'L' else 'another recipient'}: {value}")
        elif kind in (b"R", b"D", b"/"):
            if kind == b"R":
                wishes = frozenset(wish for wish, (bit, _other) in NOTIFY.items() if notify & bit)
                # Where the mark of forwarded mail is on the recipient, its sender is not rewritten yet, and whom it was for tells that it
                # has to be. Where it is on the original one, the sender is what it is to be, and nothing must hint at another.
                address = _address(value.removesuffix(f".{SRS_SUFFIX}"), "recipient")
                whom = address if not original or original.endswith(f".{SRS_SUFFIX}") else _address(original, "recipient")
                recipients.append(Recipient(address, whom, wishes, rewrites=address != value))
            original, notify = "", 0
    if sender is None:
        raise MailError("the queue file names no sender")
    returns = next((wish for wish, (bit, _other) in RETURN.items() if attributes.get("ret_flags") == str(bit)), "")
    if content and not content[-1].endswith(b"\n"):
        content.append(b"\n")
    envelope_id = attributes.get("envelope_id", "")
    return Message(name, _address(sender, "sender"), tuple(recipients), b"".join(content), arrived, envelope_id, returns, attributes)


def origin_in(data: bytes) -> str | None:
    """Return which message of the other queue a queue file of ours was, though its records cannot be read to their end."""
    with contextlib.suppress(MailError):
        for kind, raw in postfix_records(data):
            key, _sign, text = raw.decode("utf-8", "surrogateescape").partition("=")
            if kind == b"A" and key == ORIGIN:
                return text
            if kind == b"M":
                break
    return None


def _written(kind: bytes, content: bytes) -> bytes:
    length, size = len(content), bytearray()
    while True:
        size.append((length & 0x7F) | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return kind + bytes(size) + content


def _ours(address: str, delivery: Mapping[str, Any]) -> bool:
    """Whether the domain of an address is one of this server, or empty as in the null sender."""
    return address.rpartition("@")[2].lower() in {*delivery["domains"], delivery["fqdn"].lower(), ""}


def _forwarded(sender: str, recipient: Recipient, delivery: Mapping[str, Any]) -> bool:
    """Whether mail to an address of ours, which no user of ours has sent, goes on to one elsewhere."""
    foreign = bool(sender) and (recipient.rewrites or not _ours(sender, delivery))
    return foreign and [_ours(address, delivery) for address in (recipient.original, recipient.address)] == [True, False]


def write_postfix(message: Message, origin: str, delivery: Mapping[str, Any]) -> bytes:
    """Return a queue file of Postfix, as cleanup(8) writes it without milters.

    :param origin: what ``handed_over_from`` says in it
    :param delivery: as in :func:`destinations`, with ``srs``: whether the sender of forwarded mail is to be rewritten
    :raises MailError: a recipient that is nobody's
    """

    def text(kind: bytes, value: str) -> bytes:
        return _written(kind, value.encode("utf-8", "surrogateescape"))

    head = [
        text(b"T", f"{message.arrived} 0"),
        text(b"A", f"create_time={message.arrived}"),
        text(b"A", "rewrite_context=local"),
        text(b"A", f"{ORIGIN}={origin}"),
    ]
    if any(octet > 127 for octet in message.content):
        head.append(text(b"A", "encoding=8bit"))
    if message.envelope_id:
        head.append(text(b"A", f"envelope_id={message.envelope_id}"))
    if message.returns:
        head.append(text(b"A", f"ret_flags={RETURN[message.returns][0]}"))
    head.append(text(b"S", message.sender))
    recipients = addressed(message, delivery)
    for recipient, _here in recipients:
        flags = sum(NOTIFY[wish][0] for wish in recipient.notify)
        if flags:
            head.append(text(b"A", f"notify_flags={flags}"))
        # smtpd rewrites a sender as it sends; Postfix on a way that only marked recipients go.
        mark = f".{SRS_SUFFIX}" if delivery.get("srs") and _forwarded(message.sender, recipient, delivery) else ""
        head += [text(b"O", recipient.original), text(b"R", recipient.address + mark)]
    head.append(_written(b"M", b""))
    lines = message.content.split(b"\n")
    body = []
    for line in lines[:-1] if lines[-1] == b"" else lines:
        while len(line) > _LINE_LIMIT:
            body.append(_written(b"L", line[:_LINE_LIMIT]))
            line = line[_LINE_LIMIT:]
        body.append(_written(b"N", line))
    start, size = _SIZE_RECORD + sum(map(len, head)), sum(map(len, body))
    numbers = " ".join(f"{number:15d}" for number in (size, start, len(recipients), 0, size, 0))
    return b"".join([_written(b"C", numbers.encode()), *head, *body, _written(b"X", b""), _written(b"E", b"")])


# ---------------------------------------------------------------------------------------------------------------------
# OpenSMTPD


@dataclass(frozen=True)
class Envelope:
    """One copy of a message in OpenSMTPD's queue: its file's name, and the fields in it."""

    id: str
    fields: Mapping[str, str]

    @property
    def kept_because(self) -> str:
        """Why another mail server cannot deliver it, or nothing."""
        kind = self.fields["type"]
        if kind == "bounce":
            return "it is a bounce that smtpd has not written yet"
        if self.fields.get("mda-exec"):
            return f"it is for a program of the user {self.fields.get('mda-user', '')}: {self.fields['mda-exec']}"
        return ""

    @property
    def recipient(self) -> Recipient:
        bits = int(self.fields.get("dsn-notify", "0"))
        wishes = frozenset(wish for wish, (_other, bit) in NOTIFY.items() if bits & bit)
        rewrites = not self.fields.get("dispatcher", "").endswith("-own")
        return Recipient(_address(self.fields["dest"], "recipient"), _address(self.fields["rcpt"], "recipient"), wishes, rewrites)

    @property
    def sender(self) -> str:
        found = self.fields["sender"]
        return "" if found == "@" else _address(found, "sender")


def read_envelope(name: str, data: bytes) -> Envelope:
    """Return what an envelope file says.

    :raises MailError: it is encrypted, of another version, or not whole
    """
    fields: dict[str, str] = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        key, sign, value = line.partition(":")
        if not sign or not re.fullmatch(r"[a-z-]+", key):
            raise MailError("its envelope is encrypted, or damaged")
        fields[key] = value.strip()
    if fields.get("version") != "3":
        raise MailError(f"its envelope has version {fields.get('version', '(none)')}; only 3 is known here")
    missing = [key for key in ("type", "sender", "rcpt", "dest", "ctime") if key not in fields]
    if missing or fields["type"] not in ("mda", "mta", "bounce") or not re.fullmatch("[0-9]{1,19}", fields["ctime"]):
        raise MailError(f"its envelope lacks {', '.join(missing) or 'a type and a time that are known'}")
    return Envelope(name, fields)


def read_opensmtpd(name: str, envelopes: Sequence[Envelope], content: bytes) -> Message:
    """Return the message that these envelopes are for."""
    first = envelopes[0]
    returns = next((wish for wish, (_bit, word) in RETURN.items() if first.fields.get("dsn-ret") == word), "")
    arrived = min(int(envelope.fields["ctime"]) for envelope in envelopes)
    recipients = tuple(dict.fromkeys(envelope.recipient for envelope in envelopes))
    return Message(name, first.sender, recipients, content, arrived, first.fields.get("dsn-envid", ""), returns)


def message_id(origin: str, attempt: int = 0) -> str:
    """Return the name that a message from elsewhere gets in OpenSMTPD's queue: the same each time that it is asked for."""
    number = int(hashlib.sha256(f"{origin}+{attempt}".encode()).hexdigest()[:8], 16)
    return f"{number or 1:08x}"


def write_opensmtpd(message: Message, msgid: str, delivery: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the envelope files of a message in OpenSMTPD's queue, by name.

    :param delivery: as in :func:`destinations`, with ``mail_user``, who delivers to mailboxes, ``srs``: whether the action ``send``
        rewrites the sender of forwarded mail, and ``send-own`` does not; and ``routes``, actions by the domain of recipient or sender, as
        :func:`_opensmtpd.routes` returns them
    :raises MailError: a recipient that is nobody's
    """
    sender = message.sender if "@" in message.sender else f"{message.sender}@{delivery['fqdn']}" if message.sender else "@"
    own = bool(delivery.get("srs") and message.sender) and _ours(sender, delivery)
    files: dict[str, bytes] = {}
    for recipient, here in addressed(message, delivery):
        original = recipient.original if "@" in recipient.original else f"{recipient.original}@{delivery['fqdn']}"
        lines = {
            "version": "3",
            "dispatcher": "deliver" if here else _action(sender, recipient.address, delivery, own and not recipient.rewrites),
            "type": "mda" if here else "mta",
            "smtpname": delivery["fqdn"],
            "helo": "localhost",
            "hostname": delivery["fqdn"],
            "sockaddr": "local",
            "sender": sender,
            "rcpt": original,
            "dest": recipient.address,
            "ctime": str(message.arrived),
            "last-try": "0",
            "last-bounce": "0",
            "ttl": "0",
            "retry": "0",
            "dsn-notify": str(sum(NOTIFY[wish][1] for wish in recipient.notify)),
        }
        if message.returns:
            lines["dsn-ret"] = RETURN[message.returns][1]
        if message.envelope_id and len(message.envelope_id) <= 100:
            lines["dsn-envid"] = message.envelope_id
        if here:
            lines["mda-user"] = delivery["mail_user"]
        name = msgid + message_id(f"{message.id} {recipient.address}")
        if name in files:
            raise MailError(f"two of its recipients would have one number: {recipient.address}")
        files[name] = "".join(f"{key}: {value}\n" for key, value in lines.items()).encode("utf-8", "surrogateescape")
    return files


def _action(sender: str, recipient: str, delivery: Mapping[str, Any], own: bool) -> str:
    """Return the action of smtpd.conf by which mail leaves, as its rules choose it; ``own`` is one that keeps the sender."""
    end = "-own" if own else ""
    routes = delivery.get("routes") or {}
    if _names.without_detail(recipient.lower(), delivery.get("recipient_delimiter", "+")) in delivery.get("lists", ()):
        return "mailman"
    for key, address in (("to", recipient), ("from", sender)):
        for action, domains in routes.get(key, {}).items():
            if address.rpartition("@")[2].lower() in domains:
                return f"{action}{end}"
    return f"send{end}"


def read_offline(data: bytes) -> tuple[list[str], bytes]:
    """Return the arguments and the input of a ``sendmail`` that found OpenSMTPD stopped."""
    head, _end, content = data.partition(b"\n")
    return head.decode("utf-8", "surrogateescape").split("|"), content
