# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ssl

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._checks import checks
from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._services import tls


def offered(clients):
    """The ciphers of TLS 1.2 as OpenSSL understands the list, with no default of its own to exclude any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(tls.ciphers(clients) + ":@SECLEVEL=0")
    return [cipher for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]


@pytest.mark.parametrize("clients", ["users", "servers"])
def test_all_are_authenticated_have_forward_secrecy_and_are_sufficient(clients):
    assert {cipher["kea"] for cipher in offered(clients)} == {"kx-ecdhe"}
    assert {cipher["auth"] for cipher in offered(clients)} == {"auth-rsa", "auth-ecdsa"}
    assert [cipher["name"] for cipher in offered(clients) if checks.insufficient(cipher["name"])] == []


def test_users_get_authenticated_encryption_and_other_servers_something_else_last():
    assert all(cipher["aead"] for cipher in offered("users"))
    strong = len(offered("users"))
    assert offered("servers")[:strong] == offered("users")
    assert {cipher["name"] for cipher in offered("servers")[strong:]} == {
        "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256",
    }


def test_there_are_no_other_clients():
    with pytest.raises(MailError) as told:
        tls.ciphers("everybody")
    assert str(told.value) == "clients 'everybody' are unknown; they are one of users, servers"


@pytest.mark.parametrize("cipher, wrong", [
    ("ADH-AES256-GCM-SHA384", True),
    ("AECDH-AES256-SHA", True),
    ("ECDHE-RSA-NULL-SHA", True),
    ("NULL-SHA256", True),
    ("AES256-GCM-SHA384", True),
    ("ECDHE-RSA-AES256-SHA", True),
    ("ECDHE-ECDSA-AES128-CCM8", True),
    ("DHE-RSA-DES-CBC3-SHA", True),
    ("ECDHE-ECDSA-AES128-CCM", False),
    ("ECDHE-RSA-CHACHA20-POLY1305", False),
    ("ECDHE-RSA-AES128-SHA256", False),
    ("DHE-RSA-AES256-GCM-SHA384", False),
])
def test_what_is_insufficient(cipher, wrong):
    assert checks.insufficient(cipher) is wrong
