# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hashes of passwords: which are taken, and by whom they are read. All are of ``battery-staple``."""

from __future__ import annotations

import pytest

from ansible_collections.postmaster.mail.plugins.module_utils._errors import MailError
from ansible_collections.postmaster.mail.plugins.module_utils._model import model as mail_model
from ansible_collections.postmaster.mail.plugins.module_utils._model.passwords import password_hash, with_scheme
from ansible_collections.postmaster.mail.plugins.module_utils._services import dovecot, opensmtpd

SHA256 = "$5$BUV301LW3QGrb7Gd$f9xqlQIR8KpPCWSfRK/WcRluZG53POfismWhQ.OPGE8"
SHA512 = "$6$rounds=20000$BUV301LW3QGrb7Gd$PJikI9orS/LrwbyxAN57Bh5aAqOKXPDXVh292JlVUcTkhWTRG88YRq4hZUTBmyUhHcn11Xi//nkUtredOb8R2/"
YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$REQcNQxQ5LDvMRfmUq7.lI.RBTi3ZYtZAD4DkFEwpdD"
SALTED_256 = "{SSHA256}g96Ax+h+Ogk0BrdTYctj3NrUCvpdjmiID/85xdux7idwXD6p"
SALTED_512 = "{SSHA512}NPqT8DoNpY1BIEHpx8YurdFJqJ8UlkM8MRCN8h6EfqKjzoZMq6KtFlcfc1WRhk5Ar7wIVPJKvNZaAvQXxaciC0Z68Fg="
ARGON2I = "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$wGZ0RzJdBmJNG+VGtDApiQ$So+CmIBE8ad9gZnPzguwBPtyqxyG5i3cGCD+OSUDIUk"
ARGON2ID = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$MmZFan8zWpldJszU54qikg$cHUWFkU79q9LYmvPXGw5Q5vXRk9KcAZdYTx2oVe+Sf4"
PBKDF2 = "{PBKDF2}$1$V72Ea./aVg/kuCr2$5000$19c95ed578c083491dfb204472d3d94ee02f5a86"
BCRYPT = "$2b$05$xkQoDVPq6tcpa6wvylKkgecprnAYY5yJrp9cTaxq6lR0Up6DonStC"
OF_CRYPT = {"SHA256-CRYPT": SHA256, "SHA512-CRYPT": SHA512, "CRYPT": YESCRYPT}
OF_DOVECOT = (SALTED_256, SALTED_512, ARGON2I, ARGON2ID, PBKDF2)


@pytest.mark.parametrize(("scheme", "text"), OF_CRYPT.items())
def test_a_hash_of_crypt_is_taken_as_every_tool_writes_it(scheme, text):
    for given in (text, f"{{{scheme}}}{text}", f"{{CRYPT}}{text}", f"me:{text}", f"{text}\n"):
        assert password_hash(given, "hash", "Debian") == text
    assert with_scheme(text) == f"{{{scheme}}}{text}"


@pytest.mark.parametrize("text", OF_CRYPT.values())
def test_openbsd_knows_bcrypt_alone(text):
    with pytest.raises(MailError, match=r"^hash is of a kind that crypt\(3\) of OpenBSD does not know: there it must be bcrypt") as error:
        password_hash(text, "hash", "OpenBSD")
    assert text not in str(error.value)
    assert password_hash(BCRYPT, "hash", "OpenBSD") == BCRYPT


@pytest.mark.parametrize("text", OF_DOVECOT)
def test_what_dovecot_makes_keeps_its_scheme_on_every_system(text):
    scheme, _brace, hashed = text.partition("}")
    for system in ("Debian", "OpenBSD"):
        assert password_hash(text, "hash", system) == with_scheme(text) == text
        assert password_hash(f"{scheme.lower()}}}{hashed} ", "hash", system) == text


@pytest.mark.parametrize("text", [
    "{PLAIN}battery-staple", "{SHA512}" + "A" * 86 + "==", "{SSHA}EqUsOL6DwJ5Dhsp1S6yLPbgI9sbCTA==",
    "{MD5-CRYPT}$1$salt$qJH7.N4xYta3aEG/dfqo/0", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", SHA512[:-1], SHA512 + ":x", f"{SHA512}\n:x",
    SHA512.replace("rounds=20000", "rounds=x"), YESCRYPT[:-1], YESCRYPT.replace("j9T", "jFT"),
    "{SSHA512}" + "A" * 84, SALTED_512[:-1], SALTED_512.replace("}", "}!"), "{SSHA512.HEX}" + "0" * 136,
    ARGON2ID.replace("t=3", "t=0"), ARGON2ID.replace("{ARGON2ID}", "{ARGON2I}"), ARGON2ID.replace("v=19", "v=16"), PBKDF2[:-1],
    PBKDF2.replace("{PBKDF2}", "{SSHA512}"), "{}", "{SSHA512}", 5, ["x"], {"a": 1}, True,
])  # fmt: skip
def test_others_are_refused_and_not_shown(text):
    with pytest.raises(MailError, match=r"^hash is not a bcrypt hash .*, nor one of crypt\(5\) ") as error:
        password_hash(text, "hash", "Debian")
    assert str(text).partition("}")[2][:20] not in str(error.value) or not str(text).partition("}")[2]


def test_a_weak_scheme_is_named():
    with pytest.raises(MailError, match=r", but a \{SSHA\}\. Make one"):
        password_hash("{SSHA}EqUsOL6DwJ5Dhsp1S6yLPbgI9sbCTA==", "hash")


@pytest.mark.parametrize(("text", "rule"), [
    (SHA512.replace("20000", "1000001"), "1000001 rounds, and at most 1000000 are taken"),
    (PBKDF2.replace("$5000$", "$99999999$"), "99999999 rounds, and at most 1000000 are taken"),
    (ARGON2ID.replace("65536", "4194304"), "4194304 KiB, and at most 131072 are taken"),
])  # fmt: skip
def test_one_log_in_does_not_stop_the_others(text, rule):
    with pytest.raises(MailError, match=f"^hash (has|needs) {rule}"):
        password_hash(text, "hash")


def model_of(text):
    return mail_model.normalise({
        "fqdn": "mail.example.org", "domains": {"example.org": {}}, "users": {"me@example.org": {"password_hash": text}},
    })  # fmt: skip


@pytest.mark.parametrize("text", [*OF_CRYPT.values(), *OF_DOVECOT, BCRYPT])
def test_dovecot_is_given_the_scheme(text):
    line = dovecot.passwd_file(model_of(text)["users"], "2.4")
    assert line == f"me@example.org:{with_scheme(text)}::::::\n"
    assert line.split(":")[1].startswith("{")


def test_opensmtpd_refuses_what_crypt_does_not_know():
    given = {"owner": "vmail"}
    assert opensmtpd.tables({**given, "model": model_of(YESCRYPT)})["smtpd/tables/credentials"] == f"me@example.org {YESCRYPT}\n"
    with pytest.raises(MailError) as error:
        opensmtpd.tables({**given, "model": model_of(ARGON2ID)})
    assert "mail_users['me@example.org'].password_hash is a {ARGON2ID}, which only Dovecot can verify" in str(error.value)
    assert "have mail_mta be postfix" in str(error.value) and "MmZFan" not in str(error.value)
