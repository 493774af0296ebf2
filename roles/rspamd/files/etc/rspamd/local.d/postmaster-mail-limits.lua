-- Part of the role postmaster.mail.rspamd.
-- To how many recipients an account may send within an hour and a day, whichever port, address or MTA it comes by. Counted is, by the store
-- that outlives restarts, what nothing else refuses. Past a limit a message has to come again; past a second one the account is locked, by
-- the command postmaster-mail, which also reports it to the postmaster. Of programs, scripts and bounces of this host, which nobody has
-- logged in for, nothing is counted, nor of what goes to the postmaster of this server alone.
-- Of the options, `store` is the socket of that store, `limits_reached` a file that is made where something is to be reported, and `here`
-- are the domains whose mail is taken here, as a set.
local options = ...
local hash = require 'rspamd_cryptobox_hash'
local lua_redis = require 'lua_redis'
local rspamd_logger = require 'rspamd_logger'
local util = require 'rspamd_util'
local DIRECTORY = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/'

local PREFIX = 'postmaster-mail/limits/'
local NOT_KNOWN = 'It is not known how much this account has sent - try again later'
local WINDOWS = { hour = 'an hour', day = '24 hours' }

local limits = rspamd_config:add_map({
  url = DIRECTORY .. 'maps.d/postmaster-mail-limits.map',
  type = 'map',
  description = 'Account to recipients within an hour, within a day, and asked for before it is locked, 0 for no limit; * is all others',
})

local store = lua_redis.parse_redis_server('postmaster_mail', { servers = options.store, timeout = 10.0 }, true)
local script = assert(io.open(DIRECTORY .. 'postmaster-mail-limits-store.lua', 'r')):read('*a')

-- Have the store do something. Its answer goes to `answered`, nil where there is none.
local function ask(task, answered, ...)
  local function callback(err, data)
    if err or type(data) ~= 'table' then
      rspamd_logger.errx(task, 'the store of limits does not answer: %s', err or data)
      data = nil
    end
    answered(data)
  end
  -- Not by its hash: a store that was restarted does not know that.
  if not lua_redis.redis_make_request(task, store, PREFIX, true, callback, 'EVAL', { script, '1', PREFIX, ... }) then
    callback('it cannot be asked')
  end
end

-- Messages of which it is not known whether they were counted, since the answer has not arrived: they are refused, so they must not count.
-- The store learns so with the next message, or else within a second of its return.
local unanswered, number, ticking = {}, 0, false
local MOST_UNANSWERED = 1000

local function tokens()
  local found = {}
  for token in pairs(unanswered) do
    found[#found + 1] = token
  end
  return found
end

local function forget(found)
  for _, token in ipairs(found) do
    number = number - (unanswered[token] and 1 or 0)
    unanswered[token] = nil
  end
end

local function void(task, token)
  if number < MOST_UNANSWERED then
    unanswered[token], number = true, number + 1
  end
  if ticking then
    return
  end
  ticking = true
  rspamd_config:add_periodic(task:get_ev_base(), 1.0, function(config, ev_base)
    ticking = number > 0
    if ticking then
      local found = tokens()
      lua_redis.redis_make_request_taskless(ev_base, config, store, PREFIX, true, function(err)
        forget(err and {} or found)
      end, 'EVAL', { script, '1', PREFIX, 'void', unpack(found) })
    end
    return ticking
  end)
end

local function limits_of(account)
  local text = tostring(limits:get_key(account) or limits:get_key('*') or '')
  return text:match('^%s*(%d+) (%d+) (%d+)%s*$')
end

-- A message, also where it comes again.
local function identity(task, recipients)
  local state = hash.create()
  local id = task:get_message_id()
  state:update(id and id ~= 'undef' and id or task:get_digest())
  for _, recipient in ipairs(recipients) do
    state:update('\n' .. (recipient.addr or ''))
  end
  return state:hex():sub(1, 32)
end

local function to_the_postmaster(recipients)
  for _, recipient in ipairs(recipients) do
    local name, domain = (recipient.addr or ''):lower():match('^([^@]*)@?(.*)$')
    if name ~= 'postmaster' or not (domain == '' or domain == options.fqdn or options.here[domain]) then
      return false
    end
  end
  return true
end

local function plural(number)
  return number == 1 and '1 recipient' or number .. ' recipients'
end

-- Why a message is refused, and whether it may come again.
local function refusal(past, limit, more, again)
  local may = string.format('this account may send to %s within %s', plural(limit), WINDOWS[past])
  if again == 0 then
    return string.format('This message has %s, and %s', plural(more), may), false
  end
  return string.format('T%s - try again after %s UTC', may:sub(2), os.date('!%Y-%m-%d %H:%M', again * 60)), true
end

local function raise_flag(task)
  local file, why = io.open(options.limits_reached, 'w')
  if not file then
    rspamd_logger.errx(task, 'it cannot be reported who has reached a limit: %s', why)
    return
  end
  file:close()
end

rspamd_config:register_symbol({
  name = 'SENDER_LIMIT',
  type = 'postfilter',
  -- After all others, of which the lowest comes first: what is refused for something else does not count.
  priority = 30,
  flags = 'empty',
  score = 0.0,
  group = 'policies',
  description = 'The user who has logged in sends to more recipients than mail_limits allows',
  callback = function(task)
    local account, action = (task:get_user() or ''):lower(), task:get_metric_action()
    local recipients = task:get_recipients({ 'smtp', 'orig' }) or {}
    -- Where one of them has a plus, Rspamd has all of them twice: as they were, and without what is behind it.
    local more = #(task:get_recipients('smtp') or {})
    if account == '' or more == 0 or action == 'reject' or action == 'soft reject' or to_the_postmaster(recipients) then
      return
    end
    local hour, day, lock = limits_of(account)
    if not hour then
      rspamd_logger.errx(task, 'the limits of %s are not known', account)
      task:set_pre_result('soft reject', NOT_KNOWN)
      return
    end
    local token, before = util.random_hex(32), tokens()
    ask(task, function(found)
      if not found then
        task:set_pre_result('soft reject', NOT_KNOWN)
        void(task, token)
        return
      end
      forget(before)
      local past, this_hour, this_day, again, events = found[1], tonumber(found[2]), tonumber(found[3]), tonumber(found[4]), tonumber(found[5])
      if events > 0 then
        raise_flag(task)
      end
      if past ~= 'none' then
        local why, temporary = refusal(past, tonumber(past == 'day' and day or hour), more, again)
        task:set_pre_result(temporary and 'soft reject' or 'reject', why)
        task:insert_result('SENDER_LIMIT', 1.0, account, string.format('%d in an hour', this_hour), string.format('%d in a day', this_day))
      end
    end, 'count', account, tostring(math.floor(os.time() / 60)), tostring(more), hour, day, lock, identity(task, recipients),
      token, unpack(before))
  end,
})

-- What the command postmaster-mail asks for, through the socket of those who may teach.
local function handler(command, argument)
  return {
    enable = true,
    need_task = true,
    handler = function(task, connection)
      local given = math.floor(os.time() / 60)
      if argument then
        given = task:get_request_header(argument)
      end
      if not given then
        connection:send_error(400, 'no ' .. argument)
        return
      end
      ask(task, function(found)
        if found then
          connection:send_ucl({ success = true, counted = found[1], events = found[2] })
        else
          connection:send_error(503, 'the store of limits does not answer')
        end
      end, command, tostring(given))
    end,
  }
end

local webui = rspamd_plugins['postmaster_mail'].webui
webui['limits'] = handler('show')
webui['limits_reset'] = handler('reset', 'Account')
webui['limits_done'] = handler('done', 'Event')

return { refusal = refusal }
