# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hashes of passwords: those made here, bcrypt, and those of a server that is taken over.

Who verifies them differs. Dovecot, which Postfix asks as well, has schemes of its own, which it names in braces before the hash; OpenSMTPD
has ``crypt(3)`` alone, and that knows bcrypt alone on OpenBSD.
"""

from __future__ import annotations

import base64
import binascii
import re

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: What tools print before a hash of crypt(3): doveadm pw, htpasswd.
_PRINTED = re.compile(
    r"\A(?:\{CRYPT\}(?=\$)|\{BLF-CRYPT\}(?=\$2)|\{SHA256-CRYPT\}(?=\$5)|\{SHA512-CRYPT\}(?=\$6)|[^:\s{}$]{1,255}:(?=\$))",
    re.IGNORECASE | re.ASCII,
)
_SCHEME = re.compile(r"\A\{([A-Za-z0-9.-]{1,20})\}(.*)\Z", re.DOTALL)

#: Who checks a password has work with it: at most that many rounds of a scheme that counts them, and KiB of memory.
MOST_ROUNDS, MOST_KIB = 1_000_000, 131072

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}", re.ASCII)
#: Those of crypt(5) on Linux, by Dovecot's names for them: SHA-crypt with its rounds, and yescrypt with up to 128 MiB.
_CRYPT = {
    "SHA256-CRYPT": re.compile(r"\$5\$(?:rounds=(?P<rounds>[0-9]{4,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43}", re.ASCII),
    "SHA512-CRYPT": re.compile(r"\$6\$(?:rounds=(?P<rounds>[0-9]{4,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{86}", re.ASCII),
    "CRYPT": re.compile(r"\$y\$j(?:75|85|[7-9A-C]T)\$[./A-Za-z0-9]{1,86}\$[./A-Za-z0-9]{43}", re.ASCII),
}
#: Those that Dovecot alone knows; octets of a digest, which a salt follows.
_SALTED = {"SSHA256": 32, "SSHA512": 64}
_ARGON2 = r"\$argon2{}\$v=19\$m=(?P<kib>[0-9]{{1,9}}),t=[1-9],p=[1-8]\$[A-Za-z0-9+/]{{11,86}}\$[A-Za-z0-9+/]{{22,86}}"
_DOVECOT = {
    "ARGON2I": re.compile(_ARGON2.format("i"), re.ASCII),
    "ARGON2ID": re.compile(_ARGON2.format("id"), re.ASCII),
    "PBKDF2": re.compile(r"\$1\$[./A-Za-z0-9]{1,64}\$(?P<rounds>[0-9]{1,9})\$[0-9a-f]{40}", re.ASCII),
}
#: Schemes of Dovecot's that are too weak, or not for log-ins with a password.
_REFUSED = (
    "PLAIN", "CLEAR", "CLEARTEXT", "MD5", "SMD5", "MD5-CRYPT", "SHA", "SSHA", "SHA1", "SHA256", "SHA512", "DES-CRYPT", "LDAP-MD5",
    "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "ARGON2",
)  # fmt: skip
_MAKE = "python3 -c 'import bcrypt,getpass; print(bcrypt.hashpw(getpass.getpass().encode(), bcrypt.gensalt(10)).decode())'"


def password_hash(value: object, option: str, os_family: str = "") -> str:
    """Return a hash as ``crypt(3)`` reads it, or with Dovecot's scheme in braces before it where only Dovecot can.

    bcrypt gets the ``$2b$`` form, which every MTA, Dovecot and system here accepts; ``$2y$`` and ``$2a$`` name the same function in today's
    libraries. What ``doveadm pw`` prints before it, and the user's name that ``htpasswd`` prints, do not count, nor does white space at
    the end, such as a block of YAML or a vault leaves there. The value is never in the error.

    :param os_family: the host's, as in Ansible's facts
    :raises MailError: not a hash, or one that nothing on the host verifies
    """
    text = _PRINTED.sub("", value).rstrip(" \t\r\n") if isinstance(value, str) else ""
    if _BCRYPT.fullmatch(text):
        return "$2b$" + text[4:]
    for pattern in _CRYPT.values():
        match = pattern.fullmatch(text)
        if match and os_family == "OpenBSD":
            rule = "is of a kind that crypt(3) of OpenBSD does not know: there it must be bcrypt"
            raise MailError(f"{option} {rule}. Make one with: {_MAKE}")
        if match:
            _bounded(match, option)
            return text
    scheme, hashed = _split(text)
    if scheme in _SALTED and _digest(hashed, _SALTED[scheme]):
        return f"{{{scheme}}}{hashed}"
    match = _DOVECOT[scheme].fullmatch(hashed) if scheme in _DOVECOT else None
    if match:
        _bounded(match, option)
        return f"{{{scheme}}}{hashed}"
    raise MailError(
        f"{option} is not a bcrypt hash ($2b$, two digits of cost, 53 characters), nor one of crypt(5) ($5$, $6$, $y$), nor a "
        f"{', '.join(f'{{{name}}}' for name in (*_SALTED, *_DOVECOT))} of Dovecot{f', but a {{{scheme}}}' if _known(scheme) else ''}. "
        f"Make one with: {_MAKE}"
    )


def scheme_of(hashed: str) -> str:
    """Return Dovecot's name for the scheme of what :func:`password_hash` returns."""
    if hashed.startswith("{"):
        return _split(hashed)[0]
    return next((name for name, pattern in _CRYPT.items() if pattern.fullmatch(hashed)), "BLF-CRYPT")


def with_scheme(hashed: str) -> str:
    """Return what :func:`password_hash` returns as Dovecot reads it."""
    return hashed if hashed.startswith("{") else f"{{{scheme_of(hashed)}}}{hashed}"


def _split(text: str) -> tuple[str, str]:
    match = _SCHEME.match(text)
    return (match[1].upper(), match[2]) if match else ("", text)


def _known(scheme: str) -> bool:
    """Whether the braces name a scheme, and so may be shown."""
    return scheme in _REFUSED


def _digest(text: str, octets: int) -> bool:
    try:
        return octets + 4 <= len(base64.b64decode(text, validate=True)) <= octets + 64
    except (binascii.Error, ValueError):
        return False


def _bounded(match: re.Match[str], option: str) -> None:
    """:raises MailError: a single log-in would take too much time or memory"""
    found = match.groupdict()
    rounds, kib = int(found.get("rounds") or 0), int(found.get("kib") or 0)
    if rounds > MOST_ROUNDS:
        raise MailError(f"{option} has {rounds} rounds, and at most {MOST_ROUNDS} are taken: each log-in takes as long")
    if kib > MOST_KIB:
        raise MailError(f"{option} needs {kib} KiB, and at most {MOST_KIB} are taken: each log-in needs as much")
