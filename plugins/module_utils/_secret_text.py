# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets in text that others may read: find private keys, and mask what a diff would show. Pure functions."""

from __future__ import annotations

import re

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

MASK = "********"

#: The first line of a private key as text (RFC 7468; OpenSSH's and OpenPGP's are of the same form).
_KEY_BEGINS = re.compile(r"-{3,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{3,5}")
_KEY = re.compile(
    r"(-{3,5} ?BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?) ?-{3,5})(.*?)(-{3,5} ?END \2 ?-{3,5}|\Z)", re.DOTALL
)  # fmt: skip
_NAME = r"(?:pwd?|[\w.-]*(?:pass(?:word|wd|phrase|wort)|requirepass|masterauth|secret|credential|token|api_?key|private_?key)[\w.-]*)"
#: NAME = VALUE and NAME: VALUE anywhere in a line, quoted or not: the rest of the line may hold the value.
_ASSIGNED = re.compile(rf"(?i)(\b{_NAME}[\"']?[ \t]*(?:=>?|:)[ \t]*)(\S.*)$", re.MULTILINE)
#: NAME VALUE as a directive, also one that is commented out: Redis, BIND, Unbound, Dovecot, netrc.
_DIRECTIVE = re.compile(
    r"(?i)^([ \t]*[#;]*[ \t]*(?:requirepass|masterauth|auth[-_]?pass|password|passwd|passphrase|secret|pass|user[ \t]+\S+|key-data)[ \t]+)"
    r"([^\s=:].*)$", re.MULTILINE
)  # fmt: skip
#: BIND's statement, also within a line.
_STATEMENT = re.compile(r"(?i)(\bsecret[ \t]+)(\"[^\"\n]*\"|[^\s;]+)")
#: The password in the authority of a URL (RFC 3986 section 3.2.1).
_USERINFO = re.compile(r"(://[^\s/:@]*:)([^\s/@]+)(?=@)")
#: Passwords by the marks of crypt(3), of Dovecot's schemes, and of rspamadm pw.
_HASH = re.compile(
    r"(?:\{[A-Z0-9.-]{2,24}\})?\$[0-9a-z]{1,10}\$[./A-Za-z0-9$=,+]{8,}|\{(?:PLAIN|CLEARTEXT|CRAM-MD5|S?SHA[0-9]*)\}\S+"
)  # fmt: skip


def has_private_key(text: str | bytes) -> bool:
    """Whether there is a private key in a text."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return bool(_KEY_BEGINS.search(text))


def without_private_key(text: str, where: str) -> str:
    """Return a text that is meant for others.

    :raises MailError: it holds a private key
    """
    if has_private_key(text):
        raise MailError(f"{where} holds a private key, and what is written from it can be read by everyone: take the key out of it")
    return text


def masked(text: str) -> str:
    """Return a text with all that looks like a password, a token or a private key replaced by asterisks."""
    text = _KEY.sub(rf"\1\n{MASK}\n\4", text)
    text = _USERINFO.sub(rf"\1{MASK}", text)
    for pattern in (_ASSIGNED, _DIRECTIVE, _STATEMENT):
        text = pattern.sub(rf"\1{MASK}", text)
    return _HASH.sub(MASK, text)
