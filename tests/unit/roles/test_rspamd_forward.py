# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of spam for addresses that lead out, and what is sealed, by Lua alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d"
CALL = """
package.preload['rspamd_util'] = function() return {} end
rspamd_paths, rspamd_plugins, symbols = { LOCAL_CONFDIR = '' }, { postmaster_mail = {} }, {}
local map = {
  ['out@example.org'] = 'elsewhere', ['both@example.org'] = 'both', ['@example.net'] = 'elsewhere', ['me@example.net'] = 'here',
}
rspamd_config = {
  add_map = function() return { get_key = function(_, key) return map[key] end } end,
  register_symbol = function(_, symbol) symbols[symbol.name] = symbol end,
  get_all_opt = function() return { domain = { ['example.org'] = { selectors = { { selector = 's', path = '/k' } } } } } end,
  set_metric_symbol = function() end,
}
local ours = { ['example.org'] = true }
local options = { users = false, domains = ours, here = ours, delimiter = '+', keep = keep, seal = true }
local senders = assert(loadfile(place .. '/postmaster-mail-senders.lua'))(options)
assert(loadfile(place .. '/postmaster-mail-forward.lua'))(options, senders)
local task = { get_user = function() return user end }
function task:get_from_ip() return { is_valid = function() return true end, is_local = function() return is_local end } end
function task:get_recipients()
  local found = {}
  for _, address in ipairs(recipients) do found[#found + 1] = { addr = address } end
  return found
end
function task:has_symbol() return backup end
function task:get_metric_action() return action or 'add header' end
function task:set_milter_reply(reply) said = 'kept ' .. reply.add_headers['X-Rspamd-Kept'] end
function task:set_pre_result(what) said = what end
function task:append_message() end
symbols.NOT_FORWARDED.callback(task)
local key = rspamd_plugins.postmaster_mail.seal(task)
print(said or '-', key and key.domain .. ' ' .. key.selector .. ' ' .. key.key or '-')
"""


def found(given: str) -> list[str]:
    done = subprocess.run(["lua5.1", "-e", f"place = [[{PLACE}]]\n{given}\n{CALL}"], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n").split("\t")


@pytest.mark.parametrize(("given", "becomes"), [
    ("recipients = { 'out@example.org' }", "reject"),
    ("recipients = { 'me@example.org', 'OUT+x@Example.org' }", "reject"),
    ("recipients = { 'any@example.net' }", "reject"),
    ("recipients = { 'both@example.org' }", "reject"),
    ("recipients = { 'SRS0=aaaa=bb=example.com=x@example.org' }", "reject"),
    ("recipients = { 'SRS0=aaaa=bb=example.com=x@example.com' }", "-"),
    ("recipients = { 'me@example.org' }", "-"),
    ("recipients = { 'me+x@example.net' }", "-"),
    ("recipients = {}", "-"),
    ("recipients, action = { 'out@example.org' }, 'no action'", "-"),
    ("recipients, action = { 'out@example.org' }, 'soft reject'", "-"),
    ("recipients, action = { 'out@example.org' }, 'rewrite subject'", "reject"),
    ("recipients, user = { 'out@example.org' }, 'me@example.org'", "-"),
    ("recipients, is_local = { 'out@example.org' }, true", "-"),
    ("recipients, keep = { 'out@example.org' }, true", "kept postmaster"),
    ("recipients, keep = { 'both@example.org', 'me@example.org' }, true", "kept here"),
    ("recipients, keep = { 'both@example.org', 'out@example.org' }, true", "kept postmaster"),
    ("recipients, backup = { 'both@example.org' }, true", "kept here"),
])  # fmt: skip
def test_spam_is_not_forwarded(given, becomes):
    assert found(given)[0] == becomes


@pytest.mark.parametrize(("given", "key"), [
    ("recipients = { 'me@example.org', 'out@example.org' }", "example.org s /k"),
    ("recipients = { 'any@example.net' }", "-"),  # whose key does not sign yet
    ("recipients = { 'me@example.org' }", "-"),
    ("recipients, user = { 'out@example.org' }, 'me@example.org'", "-"),
    ("recipients, is_local = { 'out@example.org' }, true", "-"),
])  # fmt: skip
def test_what_is_forwarded_is_sealed_by_the_domain_that_forwards(given, key):
    assert found(given)[1] == key
