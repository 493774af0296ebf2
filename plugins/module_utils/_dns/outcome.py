# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What came of one DNS question. A value, apart from the code that asks, so that pure rules can judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# (name in lower case without the trailing dot, record type in capitals)
Question = tuple[str, str]

# The only three that prove something about the data (RFC 2308 sections 2.1 and 2.2 for the two denials).
CONCLUSIVE = ("ok", "nxdomain", "nodata")

# The rest, the most telling first: with several name servers, the first of these that occurred is the outcome.
INCONCLUSIVE = ("servfail", "refused", "lame", "formerr", "error", "truncated", "loop", "malformed", "unreachable", "timeout")

_WORDS = {
    "nxdomain": "the name does not exist (NXDOMAIN)",
    "nodata": "the name has no such record",
    "servfail": "the name server failed (SERVFAIL)",
    "refused": "the name server refused to answer (REFUSED)",
    "lame": "the name server neither knows the zone nor looks further (lame)",
    "formerr": "the name server did not understand the question (FORMERR)",
    "error": "the name server answered with an error",
    "truncated": "the answer was truncated and could not be had over TCP",
    "loop": "the CNAME records lead in a circle or too far",
    "malformed": "the name is not one that DNS can carry",
    "unreachable": "the name server cannot be reached",
    "timeout": "no answer in time",
}

_ADVICE = {
    "servfail": "ask again; if it stays so, check that zone's name servers and its DNSSEC signatures",
    "refused": "choose name servers that answer you with the option nameservers",
    "lame": "choose a resolver with the option nameservers, or name servers that serve this zone",
    "truncated": "let TCP port 53 to the name server through",
    "loop": "correct the CNAME records on the way",
    "unreachable": "check the route to the name server and the option nameservers",
    "timeout": "ask again, raise timeout or lifetime, or choose other name servers with the option nameservers",
}


@dataclass(frozen=True)
class LookupOutcome:
    """The outcome of one question.

    :ivar name: the name asked, lower case, without the trailing dot
    :ivar rdtype: the type asked, such as ``PTR``
    :ivar status: one of :data:`CONCLUSIVE` and :data:`INCONCLUSIVE`
    :ivar values: with status ``ok`` the values of the last owner: an address in canonical form, a name in lower case
        without its trailing dot, a TXT record's strings joined, ``preference name`` for MX, else presentation format
    :ivar aliases: the CNAME targets on the way from the name asked, in order; the last one owns the values
    :ivar server: the name server whose answer this is; empty if there was none
    :ivar tcp: whether it came over TCP
    :ivar detail: what each name server did, for a person; empty for a clean answer
    """

    name: str
    rdtype: str
    status: str
    values: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    server: str = ""
    tcp: bool = False
    detail: str = ""

    @property
    def conclusive(self) -> bool:
        """Whether this proves that the records exist or do not exist."""
        return self.status in CONCLUSIVE

    @property
    def words(self) -> str:
        """The outcome in a few words, with what the name servers did."""
        if self.status == "ok":
            return ", ".join(self.values)
        words = _WORDS[self.status]
        return f"{self.rdtype} of {self.name}: {words}" + (f" [{self.detail}]" if self.detail else "")

    @property
    def advice(self) -> str:
        """What a person can do about an inconclusive outcome."""
        return _ADVICE.get(self.status, "look at that name server's answer by hand")


Answers = Mapping[Question, LookupOutcome]


def answer(answers: Answers, name: str, rdtype: str) -> LookupOutcome:
    """The outcome of a question; one that was never asked counts as not answered."""
    return answers.get((name, rdtype)) or LookupOutcome(name, rdtype, "timeout", detail="not asked")
