# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a mail server offers for TLS 1.2, after NCSC's IT Security Guidelines for Transport Layer Security (2025), as Internet.nl tests."""

from __future__ import annotations

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError

#: "Sufficient" in these guidelines; TLS 1.2 has none that are "good". All have forward secrecy and authenticated encryption.
_AEAD = "ECDHE+AESGCM:ECDHE+CHACHA20"

#: "To be phased out". They come last (the guidelines' order) and are for servers that would otherwise send in the clear (RFC 7435).
_CBC = "ECDHE+AES256+SHA384:ECDHE+AES128+SHA256"

_CIPHERS = {"users": _AEAD, "servers": f"{_AEAD}:{_CBC}"}


def ciphers(clients: str) -> str:
    """Return the cipher list, as OpenSSL and LibreSSL read it, for ports whose clients are ``users`` or other mail ``servers``.

    :raises MailError: other clients
    """
    if clients not in _CIPHERS:
        raise MailError(f"clients {clients!r} are unknown; they are one of {', '.join(_CIPHERS)}")
    return _CIPHERS[clients]
