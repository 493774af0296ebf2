# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the daemons report of mail, in one vocabulary for all of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One thing that happened.

    ``kind`` is one of these, with what it has in ``data``:

    - of a connection, ``session``: ``connected`` (``name``, ``address``, ``service``), ``encrypted`` (``protocol``), ``login`` (``user``),
      ``login-failed`` (``user``), ``lost`` (``after``: the command), ``disconnected``
    - of a connection and, if it has one, a message: ``refused`` (``command``, ``reply``, ``sender``, ``recipient``, ``name``, ``address``,
      ``user``)
    - of a message, ``queue``: ``accepted`` (``name``, ``address``, ``user``, ``uid`` of a program of this host), ``identified``
      (``message_id``), ``queued`` (``sender``, ``size``, ``recipients``: their number), ``envelope`` (``sender``, ``recipient``),
      ``filtered`` (see :mod:`rspamd`), ``attempt`` (``host``, ``reply``), ``delivery`` (``recipient``, ``original``, ``relay``, ``code``,
      ``status``: sent, deferred, bounced or expired, ``reply``, ``next``: the message that it goes on as here, ``lmtp``: Dovecot's
      session, ``delay`` in seconds), ``notice`` (``about``: non-delivery, delay or delivery, ``next``), ``state`` (``state``: expired,
      held, released, requeued, cancelled, removed)
    - of a client, ``guesses`` (``network``, ``count`` and ``names`` of wrong passwords)
    - of a mailbox, ``session`` of LMTP: ``mailbox`` (``user``, ``message_id``, ``action``, ``target``), ``script`` (``user``, ``text``)

    Addresses and texts are as the daemons write them: whatever a stranger said is in them.
    """

    time: float
    kind: str
    session: str
    queue: str
    data: dict[str, Any]


#: An address in a log, between angle brackets, with what is special in it quoted (RFC 5321 section 4.1.2): so it ends where it seems to.
ADDRESS = r'(?:"(?:[^"\\]|\\.)*"|[^"<>])*'


def unquoted(address: str) -> str:
    """Return an address without the quotation of its local part."""
    local, at, domain = address.rpartition("@")
    if local[:1] == '"' == local[-1:] and len(local) > 1:
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return local + at + domain
