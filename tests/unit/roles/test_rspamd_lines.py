# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role rspamd writes anew in a message with long lines, by Lua alone; Python's own decoders read it."""

from __future__ import annotations

import email.policy
import quopri
import re
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d/postmaster-mail-lines.lua"
CALL = """
package.preload['rspamd_regexp'] = function() return { create = function() end } end
package.preload['rspamd_util'] = function() return {} end
rspamd_config = { register_symbol = function() end }
local lines = assert(loadfile(arg[1]))({ domains = {} }, {})
io.write(lines[arg[2]](io.read('*a'), arg[3]) or 'nothing')
"""


def lua(function: str, given: bytes, *arguments: str) -> bytes:
    script = f"arg = {{ [1] = [[{PROGRAM}]], [2] = '{function}', [3] = {arguments[0] if arguments else 'nil'} }}\n{CALL}"
    return subprocess.run(["lua5.1", "-e", script], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "text",
    ["", "short", "caf\u00e9 " * 300, "=" * 500, "x" * 75 + "=" + "y" * 75, "x" * 74 + "\u20ac" * 9, ".\n..\nFrom me\n >From\n",
     "ends \nin\t\nspace ", "a\n\n\nb", "\x00\x01\x7f" * 40, "x" * 76, "x" * 77],
)
def test_quoted_printable_is_read_as_it_was(text, newline):
    given = text.replace("\n", newline).encode()
    found = lua("quoted_printable", given, repr(newline))
    lines = found.split(newline.encode())
    assert max(map(len, lines)) <= 76
    assert quopri.decodestring(found) == given
    assert not any(re.match(rb"\.|From ", line) or line.endswith((b" ", b"\t")) for line in lines if not text.startswith("x" * 76))


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_field_is_folded_where_it_has_white_space(end):
    people = ", ".join(f'"Number {number}" <n{number}@example.org>' for number in range(80))
    found = lua("folded", f"To: {people}{end}".encode()).decode()
    assert max(map(len, found.split("\n"))) <= 78
    assert found.replace("\n", "") == f"To: {people}"
    message = email.message_from_string(f"{found}\n\nx\n", policy=email.policy.default)
    assert len(message["To"].addresses) == 80


def test_a_word_that_is_too_long_cannot_be_folded():
    assert lua("folded", b"References: " + b"x" * 1000) == b"nothing"
    assert lua("folded", b"X-A: " + b"x" * 900) == b"X-A: " + b"x" * 900
