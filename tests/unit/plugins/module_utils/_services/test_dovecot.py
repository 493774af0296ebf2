# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import unicodedata

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dovecot

HASH = "$2b$12$abcdefghijklmnopqrstuuKGSgBh2gqoYkFOoQvXtGQ0VHqzEGHWy"


@pytest.mark.parametrize(
    ("version", "expected", "answer"),
    [
        ("2.4.1-4 (7d8c0e5759)\n", "", "2.4"),  # Debian 13
        ("2.3.19.1 (9b53102964)", "2.4", "2.3"),  # Debian 12: what is installed wins over what was expected
        ("2.3.21.1 (d492236fa0)", "", "2.3"),  # OpenBSD 7.9
        ("2.5.0", "", "2.4"),
        ("2.10.0", "", "2.4"),
        ("", "2.4", "2.4"),
        ("\n", "2.3", "2.3"),
    ],
)
def test_syntax(version: str, expected: str, answer: str) -> None:
    assert dovecot.syntax(version, expected) == answer


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("2.2.36", "Dovecot 2.2.36 is installed, but configuration is written here for 2.3 and 2.4 only"),
        ("3.0.0", "Dovecot 3.0.0 is installed, but configuration is written here for 2.3 and 2.4 only"),
        ("", "the installed Dovecot's version '' cannot be read: it must start like 2.4.1"),
        ("doveconf: Fatal", "the installed Dovecot's version 'doveconf: Fatal' cannot be read: it must start like 2.4.1"),
    ],
)
def test_syntax_refuses(version: str, text: str) -> None:
    with pytest.raises(MailError) as caught:
        dovecot.syntax(version)
    assert str(caught.value) == text


def test_passwd_file_is_sorted_and_complete() -> None:
    users = {
        "me@example.org": {"password_hash": HASH, "quota": 0, "senders": []},
        "a.b-c_d@example.org": {"password_hash": HASH, "quota": 1048576, "senders": []},
    }
    assert dovecot.passwd_file(users, "2.4") == (
        f"a.b-c_d@example.org:{{BLF-CRYPT}}{HASH}::::::userdb_quota_storage_size=1048576B\n"
        f"me@example.org:{{BLF-CRYPT}}{HASH}::::::\n"
    )
    assert dovecot.passwd_file(users, "2.3").splitlines()[0].endswith("::::::userdb_quota_rule=*:bytes=1048576")
    assert dovecot.passwd_file({}, "2.4") == ""


@pytest.mark.parametrize("local", ["o'brien", "a/b", "a%d", "~me", "a=b", "me+tag"])
def test_passwd_file_refuses_what_is_no_directory(local: str) -> None:
    with pytest.raises(MailError) as caught:
        dovecot.passwd_file({f"{local}@example.org": {"password_hash": HASH, "quota": 0}}, "2.4")
    address = f"{local}@example.org"
    assert str(caught.value) == (
        f"mail_users {address!r} cannot have a mailbox: a login is also a directory, and has only letters, digits, "
        "'-', '_' and inner '.' before the @. Give the mailbox another name and make this address an alias of it"
    )
    assert HASH not in str(caught.value)


def test_passwd_file_refuses_an_unknown_syntax() -> None:
    with pytest.raises(MailError, match=r"^Dovecot syntax '2\.2' is unknown; it is one of 2\.3, 2\.4$"):
        dovecot.passwd_file({}, "2.2")


def test_alias_file_follows_aliases_of_one_mailbox() -> None:
    users = {
        "me@example.org": {"password_hash": HASH, "quota": 0},
        "small@example.org": {"password_hash": HASH, "quota": 5},
    }
    aliases = {
        "postmaster@example.org": ["me@example.org"],
        "info@example.org": ["sales@example.org"],
        "sales@example.org": ["small@example.org"],
        "all@example.org": ["me@example.org", "small@example.org"],
        "away@example.org": ["someone@example.net"],
        "small@example.org": ["small@example.org", "someone@example.net"],
        "loop@example.org": ["pool@example.org"],
        "pool@example.org": ["loop@example.org"],
        "nowhere@example.org": [],
    }
    assert dovecot.alias_file(users, aliases, "2.4") == (
        "=info@example.org:::::::userdb_user=small@example.org userdb_quota_storage_size=5B\n"
        "=postmaster@example.org:::::::userdb_user=me@example.org\n"
        "=sales@example.org:::::::userdb_user=small@example.org userdb_quota_storage_size=5B\n"
    )
    assert HASH not in dovecot.alias_file(users, aliases, "2.4")


def test_alias_file_gives_a_catch_all_what_nobody_else_has() -> None:
    users = {
        "me@example.org": {"password_hash": HASH, "quota": 0},
        "small@example.org": {"password_hash": HASH, "quota": 5},
    }
    aliases = {
        "@example.net": ["small@example.org"],
        "@example.org": ["sales@example.net"],
        "@example.com": ["me@example.org", "small@example.org"],
        "all@example.net": ["me@example.org", "small@example.org"],
        "away@example.net": ["someone@elsewhere.test"],
        "sales@example.net": ["small+sales@example.org"],
        "info@example.info": ["stranger@example.net"],
        "me@example.org": ["me@example.org"],
        "small@example.org": ["small@example.org"],
        "all@example.com": ["me@example.org", "small@example.org"],
        "loop@example.info": ["loop+x@example.info"],
    }
    small = "userdb_user=small@example.org userdb_quota_storage_size=5B"
    assert dovecot.alias_file(users, aliases, "2.4") == (
        f"@example.net:::::::{small}\n"
        f"@example.org:::::::{small}\n"
        "=all@example.net:::::::\n"
        "=away@example.net:::::::\n"
        f"=info@example.info:::::::{small}\n"
        "=me@example.org:::::::userdb_user=me@example.org\n"
        f"=sales@example.net:::::::{small}\n"
        f"=small@example.org:::::::{small}\n"
    )


def test_alias_file_of_a_whole_model() -> None:
    given = {
        "fqdn": "mail.example.org",
        "domains": {"example.org": {}, "example.net": {"catch_all": "small@example.org"}},
        "users": {
            "small@example.org": {"password_hash": HASH, "quota": 5},
            "me@example.net": {"password_hash": HASH},
        },
    }
    made = dovecot.tables({"model": normalise(given), "syntax": "2.3"})
    assert list(made) == ["dovecot/locks/login", "dovecot/locks/sending", "dovecot/users", "dovecot/aliases"]
    assert made["dovecot/users"] == dovecot.passwd_file(normalise(given)["users"], "2.3")
    found = dict(line.split(":::::::") for line in made["dovecot/aliases"].splitlines())
    assert found["@example.net"] == found["=postmaster@example.org"] == "userdb_user=small@example.org userdb_quota_rule=*:bytes=5"
    assert found["=postmaster"] == found["=root@mail.example.org"] == found["=root@localhost"] == found["@example.net"]
    assert found["=me@example.net"] == "userdb_user=me@example.net"
    assert "=small@example.org" not in found
    with pytest.raises(MailError, match=r"Dovecot syntax '2[.]2' is unknown"):
        dovecot.tables({"model": normalise(given), "syntax": "2.2"})


def test_alias_file_has_names_as_dovecot_looks_them_up() -> None:
    """Seen with Dovecot 2.3.19 and 2.4.1: an apostrophe in a variable gets a backslash, and a line with # is a comment."""
    aliases = {name: ["me@example.org"] for name in ("#1@example.org", "o'neil@example.org", "r&d@example.org", "%u@example.org")}
    found = dovecot.alias_file({"me@example.org": {"password_hash": HASH}}, aliases, "2.4")
    assert [line.split(":::::::")[0] for line in found.splitlines()] == [
        "=#1@example.org", "=%u@example.org", "=o\\'neil@example.org", "=r&d@example.org",
    ]


@pytest.mark.parametrize(
    ("headers", "test"),
    [
        ({}, "false"),
        ({"X-Spam": "Yes*"}, 'header :matches "X-Spam" "Yes*"'),
        ({"X-Spam": "Yes", "X-A": 'a "b" \\'}, 'anyof (header :matches "X-A" "a \\"b\\" \\\\", header :matches "X-Spam" "Yes")'),
    ],
)
def test_header_test(headers: dict[str, str], test: str) -> None:
    assert dovecot.header_test(headers) == test


@pytest.mark.parametrize("name", ["X Spam", "", "X-Spam:", "X-Späm"])
def test_header_test_refuses(name: str) -> None:
    with pytest.raises(MailError) as caught:
        dovecot.header_test({name: "Yes"})
    assert str(caught.value) == f"header {name!r} is not a header name (RFC 5322 section 2.2)"


def test_folders_for_deleted_mail_and_junk_are_known_by_what_clients_call_them():
    text = dovecot.unwanted_folders()
    names = re.findall(r'"((?:[^"\\\\]|\\\\.)*)"', text)
    assert text == "[" + ", ".join(f'"{name}"' for name in names) + "]"
    assert {"Trash", "Corbeille", "Papierkorb", "Éléments supprimés", "Deleted Items", "Deleted Messages", "Gelöschte Elemente", "Papelera",
            "Cestino", "Junk", "Junk E-mail", "Spam", "Courrier indésirable"} <= set(names)
    assert len(names) == len({name.lower() for name in names}), "one is there twice"
    assert all(name == unicodedata.normalize("NFC", name) for name in names), "Dovecot's names are in NFC"
    assert not {name for name in names if {"*", "?", ".", "/"} & set(name)}


def test_users_who_allow_or_block_nobody_have_no_rule():
    model = normalise({"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": HASH}}})
    assert dovecot.sender_rules({"model": model}) == []


def test_senders_that_users_allow_or_block_are_tests_of_sieve():
    users = {
        "me@example.org": {"password_hash": HASH, "allow": ["pal*?@example.com", "shop.example"], "block": ["foe@example.com"]},
        "you@example.org": {"password_hash": HASH, "block": ["a.example", "b.example"]},
        "them@example.org": {"password_hash": HASH},
    }
    model = normalise({"fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": users})
    mine, yours = dovecot.sender_rules({"model": model})
    assert mine == {
        "user": '"me@example.org"',
        "allowed_addresses": r'''anyof (address :is "from" ["pal*?@example.com"], address :matches "from" ["pal\\*\\?+*@example.com"])''',
        "allowed_domains": 'anyof (address :domain :is "from" ["shop.example"], address :domain :matches "from" ["*.shop.example"])',
        "blocked_addresses": 'anyof (address :is "from" ["foe@example.com"], address :matches "from" ["foe+*@example.com"], '
                             'envelope :is "from" ["foe@example.com"], envelope :matches "from" ["foe+*@example.com"])',
        "blocked_domains": "false",
    }
    assert yours["allowed_addresses"] == yours["allowed_domains"] == yours["blocked_addresses"] == "false"
    assert 'address :domain :matches "from" ["*.a.example", "*.b.example"], envelope :domain :is' in yours["blocked_domains"]
