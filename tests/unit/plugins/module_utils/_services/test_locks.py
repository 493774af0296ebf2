# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.postmaster.mail.plugins.module_utils._model.model import normalise
from ansible_collections.postmaster.mail.plugins.module_utils._services import dovecot, locks, opensmtpd, rspamd

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles"))

from operations import LIBRARY
from postmaster_mail import locks as command

HASH = "$2b$05$zzbso5B/upWl8nrjoq61VOxr8fpZErf3K3utPcxx6i2KhgwtquYWi"
LEVELS = {"a": False, "b": "sending", "c": "login", "d": "all", "e": True, "f": ""}
MODEL = normalise({
    "fqdn": "mail.example.org",
    "domains": {"example.org": {}},
    "users": {f"{name}@example.org": {"password_hash": HASH, "locked": level} for name, level in LEVELS.items()},
})


def test_who_is_locked_at_which_level_is_in_which_file():
    assert locks.files(MODEL["users"], "Ours") == {
        "login": "# Ours\nc@example.org\nd@example.org\ne@example.org\n",
        "sending": "# Ours\nb@example.org\nd@example.org\ne@example.org\n",
    }
    assert locks.files({}) == {"login": "# Ansible managed\n", "sending": "# Ansible managed\n"}


def test_all_services_are_given_the_same_files():
    files = locks.files(MODEL["users"])
    made = dovecot.tables({"model": MODEL, "syntax": "2.4", "locks": "/etc/postmaster-mail/locks"})
    assert made["dovecot/locks/login"] == files["login"]
    # The password stays as it is: a wrong one is still wrong.
    assert made["dovecot/users"].count(HASH) == 6
    assert {path: made[path] for path in made if path.startswith("postmaster-mail/")} == {
        f"postmaster-mail/locks/{name}": locks.NOBODY for name in files
    }
    for made, place in (
        (rspamd.tables({"model": MODEL}), "rspamd/local.d/maps.d/postmaster-mail-locks"),
        (opensmtpd.tables({"model": MODEL, "owner": "vmail"}), "smtpd/locks"),
    ):
        assert {name: made[f"{place}/{name}"] for name in files} == files


def test_the_command_reads_and_writes_what_the_roles_do(tmp_path):
    assert LIBRARY.is_dir()
    for name, text in locks.files(MODEL["users"]).items():
        (tmp_path / name).write_text(text)
    found = command.Locks(str(tmp_path))
    assert [command.level(found.of(f"{name}@example.org")) for name in LEVELS] == ["", "sending", "login", "all", "all", ""]
    found.remove("d@example.org", "all")
    for name in "bce":
        found.remove(f"{name}@example.org", "all")
    assert {(tmp_path / name).read_text() for name in locks.FILES} == {locks.NOBODY}
