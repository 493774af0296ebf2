# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom Rspamd takes a message to be from that a backup MX delivers, by Lua alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d/postmaster-mail-backup.lua"
CALL = """
local symbols = {}
local function ip(text)
  return setmetatable({ is_valid = function() return text ~= 'bad' end }, { __tostring = function() return text end })
end
rspamd_config = { register_symbol = function(_, symbol) symbols[symbol.name] = symbol end }
assert(loadfile(arg_path))({ backups = { ['192.0.2.1'] = true, ['2001:db8::1'] = true } })
local task, from = {}, ip(arg_from)
function task:get_from_ip() return from end
function task:set_from_ip(address) from = address end
function task:set_hostname() end
function task:set_helo(name) helo = name end
function task:get_received_headers()
  local found = {}
  for _, hop in ipairs(arg_hops) do
    found[#found + 1] = { real_ip = hop[1] and ip(hop[1]), from_hostname = hop[2], flags = { artificial = hop[3] } }
  end
  return found
end
local found = symbols.BACKUP_MX.callback(task)
function task:has_symbol() return found end
function task:get_metric_action() return 'reject' end
function task:set_pre_result(action) result = action end
symbols.BACKUP_MX_TOOK_IT.callback(task)
print(tostring(from), helo or '-', result or 'reject')
"""


def origin(sender: str, *hops: str) -> list[str]:
    program = f"arg_path, arg_from, arg_hops = [[{PROGRAM}]], '{sender}', {{ {', '.join(hops)} }}\n{CALL}"
    return subprocess.run(["lua5.1", "-e", program], capture_output=True, text=True, check=True).stdout.split()


SESSION, STRANGER, FORGED = "{ '192.0.2.1', 'mx', true }", "{ '198.51.100.7', 'a.test', false }", "{ '203.0.113.9', 'good.test', false }"


@pytest.mark.parametrize("sender", ["192.0.2.1", "2001:db8::1"])
def test_the_client_is_whom_the_backup_mx_had_it_from(sender):
    assert origin(sender, SESSION, STRANGER, FORGED) == ["198.51.100.7", "a.test", "add", "header"]


def test_what_went_over_two_of_them_is_of_whoever_gave_it_to_the_first():
    assert origin("192.0.2.1", SESSION, "{ '2001:db8::1', 'mx3', false }", STRANGER)[0] == "198.51.100.7"


def test_nobody_else_names_a_client_in_his_place():
    assert origin("203.0.113.5", "{ '203.0.113.5', 'x', true }", STRANGER) == ["203.0.113.5", "-", "reject"]


@pytest.mark.parametrize("hops", [(), ("{ nil, nil, false }", FORGED), ("{ 'bad', nil, false }", FORGED)])
def test_what_begins_at_the_backup_mx_is_its_own(hops):
    """A report, or the mail of a user who has logged in there: what such a message says of earlier hosts, anybody can have written."""
    assert origin("192.0.2.1", SESSION, *hops) == ["192.0.2.1", "-", "reject"]
