# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose mail Rspamd takes a message to be that a host of mail_relays sends, by Lua alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d/postmaster-mail-relays.lua"
CALL = """
local callback
rspamd_paths = { LOCAL_CONFDIR = '' }
local function ip(text)
  return setmetatable({ is_valid = function() return true end }, { __tostring = function() return text end })
end
rspamd_config = {
  register_symbol = function(_, symbol) callback = symbol.callback or callback end,
  add_map = function() return { get_key = function(_, key) return tostring(key) == '192.0.2.7' and 'scanner' or false end } end,
}
local senders = {
  owns = function(account, address) return account == 'scanner' and address:lower():find('@shop[.]example$') ~= nil end,
  canonical = function(domain) return ((domain or ''):lower():gsub('%.$', '')) end,
}
assert(loadfile(arg_path))({ here = { ['shop.example'] = true, ['other.example'] = true } }, senders)
local task, user, result = {}, arg_user, '-'
local function addresses(list)
  local found = {}
  for number, address in ipairs(list) do found[number] = { addr = address } end
  return found
end
function task:get_user() return user end
function task:set_user(name) user = name end
function task:get_from_ip() return ip(arg_ip) end
function task:get_from(kind) return addresses(kind[1] == 'smtp' and { arg_sender } or arg_from) end
function task:get_header_full() local found = {} for number = 1, arg_fields do found[number] = {} end return found end
function task:get_recipients() return addresses(arg_to) end
function task:insert_result(name) result = result .. ' ' .. name end
function task:set_pre_result(action) result = action end
callback(task)
io.write(tostring(user or '-'), ' ', result)
"""
OWN, LOOKS, HERE, AWAY = "'x@shop.example'", "'x@shop.example.net'", "'me@other.example'", "'you@away.example'"


def judged(sender: str, authors: str, to: str, address: str = "192.0.2.7", fields: int = 1, user: str = "nil") -> str:
    given = f"{sender}, {{ {authors} }}, {{ {to} }}, '{address}', {fields}, {user}"
    program = f"arg_path, arg_sender, arg_from, arg_to, arg_ip, arg_fields, arg_user = [[{PROGRAM}]], {given}\n{CALL}"
    return subprocess.run(["lua5.1", "-e", program], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("sender", "authors"), [(OWN, OWN), (OWN.upper(), OWN), ("''", OWN), ("nil", OWN), (OWN, f"{OWN}, {OWN}")])
@pytest.mark.parametrize("to", [HERE, AWAY, f"{HERE}, {AWAY}"])
def test_what_it_sends_as_its_domain_is_of_its_account(sender, authors, to):
    assert judged(sender, authors, to) == "scanner -"


@pytest.mark.parametrize(
    ("sender", "authors", "fields"),
    [(OWN, AWAY, 1), (OWN, f"{OWN}, {AWAY}", 1), (OWN, LOOKS, 1), (OWN, "", 1), (OWN, OWN, 2), (OWN, OWN, 0), (AWAY, OWN, 1),
     (LOOKS, OWN, 1), ("''", AWAY, 1), ("''", "", 0), (HERE, HERE, 1), (AWAY, AWAY, 1)],
)  # fmt: skip
def test_all_else_is_a_strangers_and_stays_here(sender, authors, fields):
    assert judged(sender, authors, f"{HERE}, 'postmaster'", fields=fields) == "- -"
    assert judged(sender, authors, f"{HERE}, {AWAY}", fields=fields) == "- reject RELAY_NOT_OWNED"


def test_nobody_else_is_a_relay():
    assert judged(OWN, OWN, AWAY, address="192.0.2.8") == "- -"
    assert judged(OWN, OWN, AWAY, user="'me@shop.example'") == "me@shop.example -"
