# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter's verdict on a message, explained. Pure functions."""

from __future__ import annotations

import email.parser
import email.policy
from collections.abc import Mapping, Sequence
from typing import Any

from postmaster_mail.text import moment, printable, table
from postmaster_mail.trace import ACTIONS

#: What these are about, where Rspamd's description says little or its rule weighs nothing. The others speak for themselves.
_MEANINGS = {
    "ATTACHMENT_BLOCKED": "a file is attached, or in an attached archive, that runs when it is opened (mail_filter.blocked_extensions)",
    "AUTHOR_AUTHENTICATED": "SPF or DKIM vouches for the author, whom users may allow",
    "BAYES_HAM": "its words are those of what was learnt as no spam",
    "BAYES_SPAM": "its words are those of what was learnt as spam",
    "FROM_NOT_AUTHENTICATED": "neither SPF nor DKIM vouches for the domain in From, which asks for that (DMARC) or is one of ours",
    "GREYLIST": "greylisting: who was never seen before, and scores that much, has to come again",
    "HEADER_AMBIGUOUS": "the header section can be read in more than one way",
    "HOST_MAIL": "a program of this host sends as somebody whom it may not send as (mail_host_senders)",
    "HOST_MAIL_FORGED": "a program of this host writes an address of ours in From that it may not write",
    "NOT_FORWARDED": "it is spam, and a recipient's mail goes on to another server (mail_filter.forwarded_junk)",
    "RELAY_NOT_OWNED": "the host is one of mail_relays, and sends to others as somebody else than addresses of its domains",
    "REPORT_UNWANTED": "it is a report of this host about a message whose sender is not proven, or that is spam",
    "SENDER_ALLOWED": "the sender is on the list of allowed ones, and SPF or DKIM vouches for it",
    "SENDER_BLOCKED": "the sender is on the list of blocked ones",
    "SENDER_LOCKED": "the account is locked, by postmaster-mail lock or the inventory",
    "SENDER_NOT_OWNED": "the From header has an address that the user who has logged in may not send as",
    "VIRUS": "the scanner found a virus (mail_filter.antivirus)",
    "VIRUS_FAIL": "the scanner of viruses did not answer",
}
#: These decide by themselves, whatever the score.
_DECIDING = ("ATTACHMENT_BLOCKED", "FROM_NOT_AUTHENTICATED", "HEADER_AMBIGUOUS", "HOST_MAIL", "HOST_MAIL_FORGED", "NOT_FORWARDED",
             "RELAY_NOT_OWNED", "REPORT_UNWANTED", "SENDER_ALLOWED", "SENDER_BLOCKED", "SENDER_LOCKED", "SENDER_NOT_OWNED", "VIRUS",
             "VIRUS_FAIL")


def message_id(content: bytes) -> str:
    """Return the Message-ID in the header of a message, or nothing."""
    header = content.split(b"\n\n", 1)[0].split(b"\r\n\r\n", 1)[0]
    parsed = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(header[:65536] + b"\n\n")
    return " ".join(str(parsed.get("Message-ID", "")).split())


def symbols(data: Mapping[str, Any], known: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the symbols that a verdict is made of, the heaviest first: ``name``, ``score``, ``meaning`` and ``about``, what Rspamd found.

    :param data: as :func:`rspamd.event` has it
    :param known: symbol to description, as Rspamd has them
    """
    found = [
        {"name": name, "score": score, "meaning": _MEANINGS.get(name) or known.get(name, ""), "about": list(options)}
        for name, score, options in data["symbols"]
    ]
    # What weighs nothing decides nothing, but for these, and for greylisting where the message has to come again.
    deciding = {*_DECIDING, *(["GREYLIST"] if data["action"] == "soft reject" else [])}
    found += [{"name": name, "score": 0.0, "meaning": _MEANINGS[name], "about": []} for name in data["others"] if name in deciding]
    return found


def thresholds(data: Mapping[str, Any]) -> list[str]:
    """Return from which scores on something happens, in words."""
    names = (("reject", "refused"), ("junk", "junk"), ("greylist", "has to come again once"))
    limits = [f"{what} from {data[name]:g}" for name, what in names if data.get(name)]
    return [", ".join(limits)] if limits and not data.get("user") else []


def lines(data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], when: float | None) -> list[str]:
    """Return a verdict in lines.

    :param rows: as :func:`symbols` returns them
    :param when: the time of the verdict; None if it was given just now
    """
    whose = f" from <{data['sender']}>" if data.get("sender") is not None else ""
    to = f" to {', '.join(data['to'])}" if data.get("to") else ""
    of = f" at {moment(when)}" if when is not None else ", scanned just now: what depends on where it came from is not in it"
    said = f", saying “{data['reply']}”" if data["reply"] else ""
    found = [
        f"Message {data['message_id'] or 'without a Message-ID'}{whose}{to}{of}",
        f"It {ACTIONS.get(data['action'], data['action'])}{said}. Its score is {data['score']:g}"
        + "".join(f": {limit}" for limit in thresholds(data)),
    ]
    if rows:
        cells = [(f"{row['score']:+.1f}" if row["score"] else "", row["name"], f"{row['meaning']}{_about(row)}".strip()) for row in rows]
        found += ["", *table(("SCORE", "SYMBOL", "WHAT IT MEANS"), cells, right=(0,))]
    else:
        found += ["", "Nothing counted for or against it"]
    return found


def _about(row: Mapping[str, Any]) -> str:
    options = ", ".join(printable(option, 60) for option in row["about"] if option)
    return f" ({options})" if options else ""
