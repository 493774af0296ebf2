# Copyright (c) 2026 The postmaster.mail developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What accounts may send, as the store counts it: its script, by Lua alone, with the few commands of a store that it calls."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[3] / "roles/rspamd/files/etc/rspamd/local.d"
ME, YOU = "me@example.org", "you@example.org"
#: Some minute.
NOW = 29_900_000
HOUR, DAY = 60, 1440

#: A store, and for each line of standard input a call of the script; what it returns, one line each. A list is in brackets. Two nil in a
#: row are no answer of a script's.
STORE = r"""
local data = {}
local wrote
local function at(name, make)
  data[name] = data[name] or (make and {} or nil)
  return data[name] or {}
end
local commands = {
  HGETALL = function(name)
    local found = {}
    for field, value in pairs(at(name)) do found[#found + 1] = field; found[#found + 1] = value end
    return found
  end,
  HGET = function(name, field) return at(name)[field] or false end,
  HDEL = function(name, ...) for _, field in ipairs({...}) do at(name)[field] = nil end return 0 end,
  HSET = function(name, field, value) at(name, true)[field] = tostring(value) return 1 end,
  HSETNX = function(name, field, value)
    if at(name)[field] then return 0 end
    at(name, true)[field] = tostring(value)
    return 1
  end,
  HINCRBY = function(name, field, more)
    field = tostring(field)
    at(name, true)[field] = tostring(tonumber(at(name)[field] or 0) + more)
    return tonumber(at(name)[field])
  end,
  SADD = function(name, member) at(name, true)[member] = true return 1 end,
  SREM = function(name, member) at(name)[member] = nil return 1 end,
  SMEMBERS = function(name)
    local found = {}
    for member in pairs(at(name)) do found[#found + 1] = member end
    table.sort(found)
    return found
  end,
  RPUSH = function(name, value) table.insert(at(name, true), value) return #at(name) end,
  LTRIM = function(name, first) while #at(name) > -first do table.remove(at(name), 1) end return 'OK' end,
  LLEN = function(name) return #at(name) end,
  LRANGE = function(name) return { unpack(at(name)) } end,
  LREM = function(name, _, value)
    for number = #at(name), 1, -1 do if at(name)[number] == value then table.remove(at(name), number) end end
    return 1
  end,
  GET = function(name) return data[name] and data[name][1] or false end,
  SET = function(name, value) data[name] = { value } return 'OK' end,
  DEL = function(...) for _, name in ipairs({...}) do data[name] = nil end return 1 end,
}
local reads = { GET = true, HGETALL = true, HGET = true, SMEMBERS = true, LLEN = true, LRANGE = true }
local frees = { HDEL = true, DEL = true, SREM = true, LREM = true, LTRIM = true }
redis = { call = function(name, ...)
  -- A store that is full refuses what needs memory, as long as a script has written nothing.
  assert(reads[name] or frees[name] or wrote, 'OOM command not allowed: ' .. name)
  wrote = wrote or not reads[name]
  return assert(commands[name], name)(...)
end }
local function text(value)
  if type(value) ~= 'table' then return tostring(value) end
  local parts = {}
  for number, part in ipairs(value) do parts[number] = text(part) end
  return '[' .. table.concat(parts, ',') .. ']'
end
KEYS = { 'prefix/' }
for line in io.lines() do
  wrote, ARGV = false, {}
  for word in line:gmatch('[^\t]+') do ARGV[#ARGV + 1] = word end
  print(text(assert(loadfile(arg_path))()))
end
local keys = {}
for name, value in pairs(data) do if next(value) ~= nil and not name:find('/token:') then keys[#keys + 1] = name end end
table.sort(keys)
print(table.concat(keys, ' '))
"""


class Store:
    """Calls of the script, one after the other."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def count(self, now=NOW, more=1, hour=0, day=10, lock=30, message="", account=ME, token="") -> Store:
        return self.call("count", account, now, more, hour, day, lock, message or f"m{len(self.calls)}", token or f"t{len(self.calls)}")

    def call(self, *words) -> Store:
        self.calls.append("\t".join(map(str, words)))
        return self

    def answers(self) -> list[str]:
        program = f"arg_path = [[{PLACE}/postmaster-mail-limits-store.lua]]\n{STORE}"
        done = subprocess.run(["lua5.1", "-e", program], input="\n".join(self.calls), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def taken(self) -> list[bool]:
        return [answer.startswith("[none,") for answer in self.answers()[:-1]]


def test_the_exact_number_is_taken_and_no_message_in_part():
    store = Store()
    for more in (4, 5, 2, 1, 1):
        store.count(more=more)
    assert store.taken() == [True, True, False, True, False]
    assert store.answers()[:3] == [f"[none,4,4,{NOW},0]", f"[none,9,9,{NOW},0]", f"[day,9,9,{NOW + DAY + 1},1]"]


def test_a_day_is_any_24_hours():
    store = Store()
    # Ten of two minutes; as long as the minute may be less than a day ago none of it is free.
    store.count(NOW, 6).count(NOW + 30, 4)
    store.count(NOW + DAY).count(NOW + DAY + 1, 7).count(NOW + DAY + 1, 6).count(NOW + DAY + 30, 1)
    assert store.taken() == [True, True, False, False, True, False]
    # Of seven, six are free a day after the first minute, and the rest after the second.
    assert store.answers()[2] == f"[day,0,10,{NOW + DAY + 1},1]"
    assert store.answers()[3] == f"[day,0,4,{NOW + 30 + DAY + 1},1]"


def test_an_hour_has_a_limit_of_its_own():
    store = Store()
    store.count(NOW, 3, hour=3).count(NOW + 1, 1, hour=3).count(NOW + HOUR, 1, hour=3).count(NOW + HOUR + 1, 3, hour=3)
    assert store.taken() == [True, False, False, True]
    assert store.answers()[1] == f"[hour,3,3,{NOW + HOUR + 1},1]"


def test_of_two_limits_the_later_moment_counts():
    store = Store()
    store.count(NOW, 4, hour=5, day=5).count(NOW, 2, hour=5, day=5).count(NOW, 6, hour=5, day=9).count(NOW, 6, hour=9, day=5)
    assert store.answers()[1:4] == [f"[day,4,4,{NOW + DAY + 1},1]", "[hour,4,4,0,1]", "[day,4,4,0,1]"]


def test_what_could_never_be_sent_is_no_event_and_not_counted():
    assert Store().count(more=11).count(more=10).answers()[:-1] == ["[day,0,0,0,0]", f"[none,10,10,{NOW},0]"]


def test_without_a_limit_all_is_taken_and_counted():
    store = Store().count(more=5000, day=0, lock=0).count(more=5000, day=0, lock=0).call("show", NOW)
    assert store.answers()[1:3] == [f"[none,10000,10000,{NOW},0]", "[[me@example.org,10000,10000],[]]"]


def test_a_clock_that_goes_back_frees_nothing():
    assert Store().count(NOW, 10).count(NOW - 300).count(NOW + DAY).taken() == [True, False, False]


def test_other_accounts_are_untouched():
    assert Store().count(more=10).count().count(more=10, account=YOU).taken() == [True, False, True]


def test_the_postmaster_learns_once_a_day():
    store = Store().count(NOW, 10)
    for minute in (0, 1, DAY):
        store.count(NOW + minute)
    store.call("show", NOW + DAY)
    store.count(NOW + DAY + 1, 10).count(NOW + DAY + 1).call("show", NOW + DAY + 1)
    answers = store.answers()
    one = f"limit {ME} {NOW * 60} day 10 10"
    assert answers[4] == f"[[{ME},0,10],[{one}]]"
    assert answers[7] == f"[[{ME},10,10],[{one},limit {ME} {(NOW + DAY + 1) * 60} day 10 10]]"


def test_who_goes_on_is_locked_and_a_message_that_comes_again_counts_once():
    store = Store().count(more=10)
    for _again in range(50):
        store.count(more=5, message="retried")
    for number in range(3):
        store.count(more=5, message=f"other{number}")
    answers = store.call("show", NOW).answers()
    # 10 are sent, and 5 and three times 5 are asked for: another one is too many, and none of these again.
    assert [answer.split(",")[-1] for answer in answers[51:54]] == ["1]", "1]", "1]"]
    assert "lock" not in answers[-2]
    assert "lock" not in store.count(more=5, message="other2").call("show", NOW).answers()[-2]
    store.count(more=1, message="last").count(more=1, message="after it").call("show", NOW)
    assert f"lock {ME} {NOW * 60} day 31 30" in store.answers()[-2]
    assert store.answers()[-2].count("lock") == 1


def test_one_message_to_far_too_many_locks_nobody_but_several_do():
    store = Store().count(more=1000).count(more=1000).count(more=1000).call("show", NOW)
    assert store.answers()[-2] == f"[[{ME},0,0],[]]"
    assert "lock" in store.count(more=1000).call("show", NOW).answers()[-2]


def test_without_a_lock_nothing_is_kept_of_what_is_refused():
    store = Store().count(more=10, lock=0).count(lock=0).count(lock=0).call("show", NOW)
    assert "lock " not in store.answers()[-2]
    assert "refused" not in store.answers()[-1]


def test_who_is_released_begins_anew():
    store = Store().count(more=10)
    for _more in range(30):
        store.count()
    store.count(account=YOU, more=10).count(account=YOU)
    store.call("reset", ME).call("show", NOW).count(more=10)
    answers = store.answers()
    assert answers[34] == f"[[{YOU},10,10],[limit {YOU} {NOW * 60} day 10 10]]"
    assert answers[35].startswith("[none,10,10,")


def test_what_was_counted_without_an_answer_does_not_count():
    store = Store().count(more=6, token="a").count(more=2, token="b").count(NOW + 1, 2, token="c")
    store.call("void", "c", "a").count(NOW + 1, 8).count()
    assert store.taken() == [True, True, True, False, True, False]
    store = Store().count(token="a").call("void", "a").call("void", "a").call("show", NOW)
    assert store.answers()[3:] == ["[[],[]]", ""]


def test_the_next_message_tells_of_those_without_an_answer():
    store = Store().count(more=10, token="a").call("count", ME, NOW, 10, 0, 10, 30, "m", "b", "a", "x").call("show", NOW)
    assert store.answers()[1:3] == [f"[none,10,10,{NOW},0]", f"[[{ME},10,10],[]]"]


def test_a_message_that_was_given_up_does_not_count_later():
    store = Store().call("void", "a").count(token="a").call("show", NOW)
    assert store.answers()[-2:] == ["[[],[]]", ""]


def test_an_event_that_was_reported_is_forgotten():
    event = f"limit {ME} {NOW * 60} day 10 10"
    store = Store().count(more=10).count().call("done", event).call("show", NOW).count()
    assert store.answers()[3:5] == [f"[[{ME},10,10],[]]", f"[day,10,10,{NOW + DAY + 1},0]"]


def test_of_who_sends_no_more_nothing_is_left():
    store = Store().count(more=10).count().call("done", f"limit {ME} {NOW * 60} day 10 10").call("show", NOW + DAY + 1)
    assert store.answers()[-2:] == ["[[],[]]", ""]


CALL = """
package.preload['rspamd_cryptobox_hash'] = function() return {} end
package.preload['lua_redis'] = function() return { parse_redis_server = function() return {} end } end
package.preload['rspamd_util'] = function() return {} end
package.preload['rspamd_logger'] = function() return {} end
rspamd_paths = { LOCAL_CONFDIR = confdir }
rspamd_plugins = { postmaster_mail = { webui = {} } }
rspamd_config = { register_symbol = function() end, add_map = function() end }
local limits = assert(loadfile(confdir .. '/local.d/postmaster-mail-limits.lua'))({ here = {} })
print(limits.refusal(unpack(given)))
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (f"'day', 300, 1, {NOW}", "This account may send to 300 recipients within 24 hours - try again after 2026-11-06 21:20 UTC\ttrue"),
        (f"'hour', 1, 1, {NOW}", "This account may send to 1 recipient within an hour - try again after 2026-11-06 21:20 UTC\ttrue"),
        ("'day', 300, 301, 0", "This message has 301 recipients, and this account may send to 300 recipients within 24 hours\tfalse"),
    ],
)
def test_the_sender_learns_when_to_try_again(given, said):
    done = subprocess.run(["lua5.1", "-e", f"confdir, given = [[{PLACE.parent}]], {{ {given} }}\n{CALL}"], capture_output=True, text=True)
    assert (done.stdout.rstrip("\n"), done.stderr) == (said, "")
