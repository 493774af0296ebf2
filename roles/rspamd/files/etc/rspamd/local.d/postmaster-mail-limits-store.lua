-- Part of the role postmaster.mail.rspamd.
-- What the store does for postmaster-mail-limits.lua, in one step each, so that messages that come at once are counted one after the other.
-- A day is any 24 hours and an hour any 60 minutes, by minutes: of each account `sent` has minute to recipients. What counts for a day is
-- thrown away with the first message after it. No key expires: of those that do, the store throws some away when it is full.
local COMMAND, PREFIX = ARGV[1], KEYS[1]
local HOUR, DAY = 60, 1440
local ACCOUNTS, EVENTS = PREFIX .. 'accounts', PREFIX .. 'events'
-- Nobody may be there who reads them.
local MOST_EVENTS = 1000
-- How long it is known which messages were counted, in seconds.
local KNOWN = 3600

local function key(kind, account)
  return PREFIX .. kind .. ':' .. account
end

-- The fields of a hash whose values begin with a minute, or are recipients of the minute that they are called by, in time's order; those
-- before a day are removed. That is the first write of the script, also where there is nothing to remove: what comes after a write is done
-- by a store that is full, too, and a script whose first write needs memory is not (Redis 6.2 to 8, Valkey).
local function current(name, now, read)
  local found, old = {}, { '' }
  local fields = redis.call('HGETALL', name)
  for number = 1, #fields, 2 do
    local minute, recipients = read(fields[number], fields[number + 1])
    if minute < now - DAY then
      old[#old + 1] = fields[number]
    else
      found[#found + 1] = { minute, recipients }
    end
  end
  for _, field in ipairs(old) do
    redis.call('HDEL', name, field)
  end
  table.sort(found, function(one, other)
    return one[1] < other[1]
  end)
  return found
end

local function sent(account, now)
  return current(key('sent', account), now, function(minute, recipients)
    return tonumber(minute), tonumber(recipients)
  end)
end

local function refused(account, now)
  return current(key('refused', account), now, function(_, value)
    local minute, recipients = value:match('^(%d+) (%d+)$')
    return tonumber(minute), tonumber(recipients)
  end)
end

local function sum(found, since)
  local total = 0
  for _, entry in ipairs(found) do
    total = total + (entry[1] >= since and entry[2] or 0)
  end
  return total
end

-- The first minute in which so many more are within a limit; none where they never are.
local function again(found, now, span, limit, more)
  if more > limit then
    return 0
  end
  local left = sum(found, now - span) + more - limit
  for _, entry in ipairs(found) do
    if entry[1] >= now - span and left > 0 then
      left = left - entry[2]
      if left <= 0 then
        return entry[1] + span + 1
      end
    end
  end
  return now
end

-- Something that the postmaster is to learn of, once in a day for each account.
local function report(kind, account, now, ...)
  local name = key('reported', account)
  local last = tonumber(redis.call('HGET', name, kind) or 0)
  if last < now - DAY then
    redis.call('HSET', name, kind, now)
    redis.call('RPUSH', EVENTS, table.concat({ kind, account, now * 60, ... }, ' '))
    redis.call('LTRIM', EVENTS, -MOST_EVENTS, -1)
  end
end

-- Have messages not count whose answer has not arrived, as when the store is restarted between the two: they were refused.
local function void(tokens)
  for _, token in ipairs(tokens) do
    local name = key('token', token)
    local minute, recipients, account = (redis.call('GET', name) or ''):match('^(%d+) (%d+) (%S+)$')
    redis.call('DEL', name)
    if account and redis.call('HINCRBY', key('sent', account), minute, -recipients) <= 0 then
      redis.call('HDEL', key('sent', account), minute)
    end
    redis.call('SET', name, 'void', 'EX', KNOWN)
  end
  return {}
end

-- Count a message, unless it would be too much. Returns what limit it is past (none, hour, day), recipients of the hour and of the day, the
-- minute from which on it is taken (0 for never), and how many events wait. `token` is the only one of its kind, and `message` the same for
-- a message that comes again.
local function count(account, now, more, hour, day, lock, message, token)
  local found = sent(account, now)
  local this_hour, this_day = sum(found, now - HOUR), sum(found, now - DAY)
  local past, when = 'none', now
  if hour > 0 and this_hour + more > hour then
    past, when = 'hour', again(found, now, HOUR, hour, more)
  end
  if day > 0 and this_day + more > day then
    local minute = again(found, now, DAY, day, more)
    if past == 'none' or minute == 0 or (when > 0 and minute > when) then
      past, when = 'day', minute
    end
  end
  if past == 'none' then
    this_hour, this_day = this_hour + more, this_day + more
    -- Nobody may have waited for the answer, and have said so before.
    if not redis.call('GET', key('token', token)) then
      redis.call('HINCRBY', key('sent', account), now, more)
      redis.call('SADD', ACCOUNTS, account)
      redis.call('SET', key('token', token), table.concat({ now, more, account }, ' '), 'EX', KNOWN)
    end
    return { past, this_hour, this_day, when, redis.call('LLEN', EVENTS) }
  end
  redis.call('SADD', ACCOUNTS, account)
  -- What could never be sent is a mistake, which is reported to whoever made it.
  if when > 0 then
    report('limit', account, now, past, past == 'day' and this_day or this_hour, past == 'day' and day or hour)
  end
  if lock > 0 then
    -- A program that tries one message again and again has asked for it once, and who has too many in one of them, for a day's.
    local asked = this_day + sum(refused(account, now), now - DAY)
    if asked <= lock and redis.call('HSETNX', key('refused', account), message, now .. ' ' .. math.min(more, day)) == 1 then
      asked = asked + math.min(more, day)
    end
    if asked > lock then
      report('lock', account, now, 'day', asked, lock)
    end
  end
  return { past, this_hour, this_day, when, redis.call('LLEN', EVENTS) }
end

-- What is counted: account, and recipients of the hour and of the day, for each that has some; and the events that wait.
local function show(now)
  local counted = {}
  for _, account in ipairs(redis.call('SMEMBERS', ACCOUNTS)) do
    local found = sent(account, now)
    if #found == 0 and #refused(account, now) == 0 then
      redis.call('DEL', key('reported', account))
      redis.call('SREM', ACCOUNTS, account)
    else
      for _, value in ipairs({ account, sum(found, now - HOUR), sum(found, now - DAY) }) do
        counted[#counted + 1] = value
      end
    end
  end
  return { counted, redis.call('LRANGE', EVENTS, 0, -1) }
end

-- Forget what an account has sent, and what was to be reported of it.
local function reset(account)
  redis.call('DEL', key('sent', account), key('refused', account), key('reported', account))
  redis.call('SREM', ACCOUNTS, account)
  for _, event in ipairs(redis.call('LRANGE', EVENTS, 0, -1)) do
    if event:match('^%S+ (%S+)') == account then
      redis.call('LREM', EVENTS, 0, event)
    end
  end
  return {}
end

-- Forget an event that was reported.
local function done(event)
  redis.call('LREM', EVENTS, 1, event)
  return {}
end

if COMMAND == 'count' then
  void({ unpack(ARGV, 10) })
  return count(ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8],
    ARGV[9])
end
return ({ show = function() return show(tonumber(ARGV[2])) end,
          void = function() return void({ unpack(ARGV, 2) }) end,
          reset = function() return reset(ARGV[2]) end,
          done = function() return done(ARGV[2]) end })[COMMAND]()
