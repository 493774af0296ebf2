# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Enhanced status codes (RFC 3463, and the registry of IANA) in plain words. Pure."""

from __future__ import annotations

import re

#: Subject and detail of a code to what it says of a message that was not taken.
_MEANINGS = {
    "1.1": "there is no such mailbox",
    "1.2": "there is no such domain, or no host that takes its mail",
    "1.3": "the address is malformed",
    "1.6": "the mailbox has moved, and it is not known where to",
    "1.7": "the sender's address is malformed",
    "1.8": "the sender's domain does not exist",
    "1.10": "the domain takes no mail at all (null MX)",
    "2.0": "the mailbox has a problem",
    "2.1": "the mailbox is disabled",
    "2.2": "the mailbox is full",
    "2.3": "the message is larger than the mailbox allows",
    "3.0": "the other system has a problem of its own",
    "3.1": "the system has no room for it",
    "3.2": "the system takes no mail at present",
    "3.4": "the message is too large",
    "4.1": "the other host does not answer",
    "4.2": "the connection broke off",
    "4.3": "a name server did not answer",
    "4.4": "DNS tells of no host that takes it",
    "4.5": "the other host is too busy",
    "4.6": "the mail goes in circles",
    "4.7": "it waited for too long",
    "5.1": "a command that was not expected",
    "5.2": "a command that was not understood",
    "5.3": "too many recipients at once",
    "5.4": "a parameter that was not understood",
    "6.0": "the content is refused",
    "6.6": "the content is refused",
    "7.0": "refused for reasons of security",
    "7.1": "refused by policy",
    "7.4": "it cannot be secured as it must be",
    "7.5": "the certificate or the encryption is not as it must be",
    "7.8": "the password is wrong",
    "7.20": "no DKIM signature passes",
    "7.21": "no DKIM signature passes for the author's domain",
    "7.23": "SPF fails",
    "7.24": "SPF could not be checked",
    "7.25": "the address that it comes from has no name in DNS that leads back to it",
    "7.26": "neither SPF nor DKIM passes",
    "7.27": "the sender's domain takes no mail (null MX)",
    "7.28": "more mail than is allowed",
    "7.29": "the ARC chain fails",
}

#: What our own servers, and the daemons that they ask, say: more exact than any code.
_TEXTS = (
    (r"Relay access denied|Relaying denied", "relaying is for those who have logged in, and the address is not one of ours"),
    (r"as addresses of its domains alone", "the host is one of mail_relays, and sends as somebody else than addresses of its domains"),
    (r"Invalid recipient", "there is no such mailbox or alias here, and relaying is for those who have logged in"),
    (r"Service unavailable - try again later", "the filter did not answer; the sender tries again"),
    (r"Greylisted|Try again later", "greylisted: its sender was never seen before, and tries again in some minutes"),
    (r"Gtube|Spam message rejected", "the filter takes it for spam: postmaster-mail why"),
    (r"Mail of this sender is not taken here", "the sender is blocked: postmaster-mail block, or mail_filter.block in the inventory"),
    (r"account may send to [0-9]+ recipient",
     "the account has reached its limit: postmaster-mail accounts, and mail_limits in the inventory"),
    (r"not known how much this account has sent", "the store that counts what accounts send did not answer; its sender tries again"),
    (r"account is locked", "the account is locked: postmaster-mail unlock, or mail_users.X.locked in the inventory"),
    (r"The address in From is not", "the From header has an address that this user may not send as"),
    (r"not owned by user|The sender address is not yours", "the envelope sender is not an address of the user who has logged in"),
    (r"User unknown|Recipient address rejected: undeliverable", "there is no such mailbox or alias here"),
    (r"Mailbox is full|Quota exceeded|over ?quota", "the mailbox is full"),
    (r"need fully-qualified hostname|Invalid name", "the client gives a malformed name in its greeting"),
    (r"Domain not found", "the sender's domain does not exist in DNS"),
    (r"Message size exceeds", "the message is too large"),
    (r"More than one From field|Control character in the header|Field name that is not ASCII",
     "its header section can be read in more than one way"),
    (r"No program of this host may send as", "programs of this host may not send as that address (mail_host_senders)"),
    (r"Sender address .*DMARC|dmarc", "its author's domain forbids what neither SPF nor DKIM vouches for (DMARC)"),
    (r"lmtp\S*: (?:connect: )?Connection refused", "the mailbox server does not take connections"),
    (r"Connection refused", "the other host does not take connections"),
    (r"Connection timed out|Operation timed out|Network is unreachable|No route to host", "the other host cannot be reached"),
    (r"Server certificate not (?:verified|trusted)|TLSA|certificate verification",
     "the other host's certificate is not the one that it publishes"),
    (r"TLS is required|Cannot start TLS", "the other host does not encrypt, and must"),
    (r"Too many (?:connections|messages|recipients|AUTH)|rate limit|concurrency limit", "one client does too much at once"),
)  # fmt: skip


def meaning(code: str, reply: str) -> str:
    """Return why a message was not taken, in plain words; empty if nothing is known.

    :param code: an enhanced status code such as ``5.1.1``, or empty: the first one in the reply counts then
    :param reply: what a server or daemon said
    """
    for pattern, words in _TEXTS:
        if re.search(pattern, reply, re.IGNORECASE):
            return words
    found = re.match(r"[45]\.([0-9]{1,3}\.[0-9]{1,3})\Z", code) or re.search(r"\b[45]\.([0-9]{1,3}\.[0-9]{1,3})\b", reply)
    return _MEANINGS.get(found[1], "") if found else ""
