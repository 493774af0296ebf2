# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The script that checks passwords in Dovecot's workers, with a Dovecot of the test's that compares instead of hashing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "roles/dovecot/files/etc/dovecot/passwords.lua"
DOVECOT = """
dovecot = {auth = {PASSDB_RESULT_OK = "ok", PASSDB_RESULT_USER_UNKNOWN = "unknown", PASSDB_RESULT_PASSWORD_MISMATCH = "mismatch"}}
local request = {user = arg[2], password_verify = function(self, hash, password)
  if hash == "{BLF-CRYPT}broken" then return -1 end
  return hash == "{BLF-CRYPT}$2b$10$" .. password and 1 or 0
end}
dofile(arg[1])
print(auth_password_verify(request, arg[3]))
"""
USERS = """\
you@example.org:{BLF-CRYPT}$2b$10$second::::::
me@example.org:{BLF-CRYPT}$2b$10$first::::::userdb_quota_rule=*:storage=1M
odd@example.org:{BLF-CRYPT}broken::::::
locked@example.org:::::::
"""


@pytest.mark.parametrize(("user", "password", "result"), [
    ("me@example.org", "first", "ok"),
    ("you@example.org", "second", "ok"),
    ("me@example.org", "second", "mismatch"),
    ("me@example.org", "", "mismatch"),
    ("odd@example.org", "broken", "mismatch"),
    ("locked@example.org", "", "unknown"),
    ("me@example.or", "first", "unknown"),
    ("m.@example.org", "first", "unknown"),
    ("", "first", "unknown"),
])
def test_a_password_is_right_for_its_user_alone(tmp_path, user, password, result):
    users = tmp_path / "users"
    users.write_text(USERS)
    script = tmp_path / "passwords.lua"
    text = SCRIPT.read_text()
    assert text.count('"/etc/dovecot/users"') == 1
    script.write_text(text.replace('"/etc/dovecot/users"', f'"{users}"'))
    (tmp_path / "dovecot.lua").write_text(DOVECOT)
    done = subprocess.run(["lua5.1", tmp_path / "dovecot.lua", script, user, password], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr, done.stdout.split()[0]) == (0, "", result)


def test_a_table_that_cannot_be_read_is_an_error_and_no_unknown_user(tmp_path):
    script = tmp_path / "passwords.lua"
    script.write_text(SCRIPT.read_text().replace("/etc/dovecot/users", f"{tmp_path}/none"))
    (tmp_path / "dovecot.lua").write_text(DOVECOT)
    done = subprocess.run(["lua5.1", tmp_path / "dovecot.lua", script, "me@example.org", "x"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "No such file" in done.stderr
