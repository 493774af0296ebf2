# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user may write in From, by Lua alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d/postmaster-mail-senders.lua"
SENDERS = {
    "@example.net": "me@example.org",
    "fixed+tag@example.org": "me@example.org",
    "me@example.org": "me@example.org",
    "out@example.net": "-",
    "sales@example.org": "them@example.org me@example.org",
    "you@example.org": "you@example.org",
}
CALL = """
package.preload['rspamd_util'] = function() return {{}} end
rspamd_paths = {{ LOCAL_CONFDIR = '' }}
local map = {{ {map} }}
rspamd_config = {{ add_map = function() return {{ get_key = function(_, key) return map[key] end }} end }}
local senders = assert(loadfile([[{program}]]))({{ users = false, domains = {{}}, delimiter = '{delimiter}' }})
io.write(tostring(senders.owns([[{user}]], [[{address}]])))
"""


@pytest.mark.parametrize(
    ("user", "address", "owned"),
    [
        ("me@example.org", "me@example.org", True),
        ("Me@example.org", "ME@Example.org", True),
        ("me@example.org", "me+shop@example.org", True),
        ("me@example.org", "sales@example.org", True),
        ("me@example.org", "sales+a+b@example.org", True),
        ("me@example.org", "fixed+tag@example.org", True),
        ("me@example.org", "fixed@example.org", False),
        ("me@example.org", "you@example.org", False),
        ("me@example.org", "you+me@example.org", False),
        ("me@example.org", "me@example.org.", False),
        ("me@example.org", "", False),
        ("me@example.org", "@example.org", False),
        ("e@example.org", "me@example.org", False),
        ("me@example.org", "any@example.net", True),
        ("me@example.org", "any+x@Example.NET", True),
        ("me@example.org", "a.b@example.net", True),
        ("me@example.org", "out@example.net", False),
        ("me@example.org", "out+x@example.net", False),
        ("me@example.org", '"out"@example.net', False),
        ("me@example.org", "o ut@example.net", False),
        ("me@example.org", "out@x@example.net", False),
        ("me@example.org", "o\u017fs@example.net", False),
        ("you@example.org", "any@example.net", False),
        ("me@example.org", "any@x.example.net", False),
        ("-", "out@example.net", True),  # no account has this name
    ],
)
def test_the_most_exact_name_says_who_may_send_as_an_address(user, address, owned):
    assert owns(user, address) == owned


@pytest.mark.parametrize(
    ("delimiter", "address", "owned"),
    [
        ("-", "me-x@example.org", True), ("-", "me-x+y@example.org", True), ("-", "me+x@example.org", False),
        ("+-", "me-x+y@example.org", True), ("+-", "me+x-y@example.org", True), ("+-", "me_x@example.org", False),
        (".", "me.x@example.org", True), (".", "mexx@example.org", False), ("_-.+", "me_@example.org", True),
        ("-", "-me@example.org", False), ("-", "me@example.org", True), ("-", "me@x-y.example.org", False),
    ],
)  # fmt: skip
def test_each_delimiter_begins_a_detail(delimiter, address, owned):
    assert owns("me@example.org", address, delimiter) == owned


def owns(user, address, delimiter="+"):
    entries = ", ".join(f"['{name}'] = '{logins}'" for name, logins in SENDERS.items())
    script = CALL.format(map=entries, program=PROGRAM, user=user, address=address, delimiter=delimiter)
    return subprocess.run(["lua5.1", "-e", script], capture_output=True, check=True, text=True).stdout == "true"
