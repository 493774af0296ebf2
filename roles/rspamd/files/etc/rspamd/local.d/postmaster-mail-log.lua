-- Part of the role postmaster.mail.rspamd.
-- One line of JSON for each message that the MTA hands over: what was found, and what came of it. Rspamd's own line has the message's
-- Message-ID and addresses as they are, in which anybody can write what looks like the rest of such a line. `postmaster-mail trace` and
-- `why` read it; neither subject nor content is in it.
local rspamd_logger = require 'rspamd_logger'
local ucl = require 'ucl'

-- Rspamd cuts a line after 8 KiB, and half an object is none. So of each list there are as many entries as leave the line shorter.
local LONGEST_LINE, ENTRIES, OPTIONS = 6000, { 40, 15, 5, 0 }, 3
-- In octets, each of which may become six characters.
local LONGEST, LONGEST_OPTION = 255, 60

local function short(text, length)
  text = tostring(text or '')
  return #text <= length and text or text:sub(1, length)
end

local function first(list, most)
  local found = {}
  for number = 1, math.min(#list, most) do
    found[number] = list[number]
  end
  return found
end

-- What counted, the most important first, as {name, score, options}; of the rest, the names.
local function symbols(task)
  local counted, others = {}, {}
  for _, symbol in ipairs(task:get_symbols_all() or {}) do
    local score = tonumber(symbol.score) or 0
    if score ~= 0 then
      local options = {}
      for _, option in ipairs(symbol.options or {}) do
        if #options < OPTIONS then
          options[#options + 1] = short(option, LONGEST_OPTION)
        end
      end
      counted[#counted + 1] = { symbol.name, score, options }
    else
      others[#others + 1] = symbol.name
    end
  end
  table.sort(counted, function(one, other)
    return math.abs(one[2]) > math.abs(other[2]) or math.abs(one[2]) == math.abs(other[2]) and one[1] < other[1]
  end)
  table.sort(others)
  return counted, others
end

-- The score from which on an action is taken, 0 for never. Rspamd 3.4 knows it of all messages and not of one.
local function limit(action, found)
  return tonumber(found.thresholds and found.thresholds[action]
    or not found.thresholds and rspamd_config:get_metric_action(action)) or 0
end

rspamd_config:register_symbol({
  name = 'POSTMASTER_MAIL_LOG',
  type = 'idempotent',
  -- Also where a message was refused at once.
  flags = 'empty,explicit_disable,ignore_passthrough',
  callback = function(task)
    local queue = task:get_queue_id()
    -- What is scanned for somebody who asks is no mail.
    if not queue or queue == '' or queue == 'undef' then
      return
    end
    local found = task:get_protocol_reply({ 'metrics', 'messages' }) or {}
    local ip, sender = task:get_from_ip(), (task:get_from({ 'smtp', 'orig' }) or {})[1]
    local counted, others = symbols(task)
    local recipients = {}
    for number, address in ipairs(task:get_recipients({ 'smtp', 'orig' }) or {}) do
      recipients[number] = short(address.addr, LONGEST)
    end
    local text
    for _, most in ipairs(ENTRIES) do
      local longest = most > 0 and LONGEST or LONGEST_OPTION
      text = ucl.to_format({
        queue = short(queue, LONGEST_OPTION),
        id = short(task:get_message_id(), longest),
        ip = ip and ip:is_valid() and tostring(ip) or '',
        user = short(task:get_user(), longest),
        from = short(sender and sender.addr, longest),
        to = first(recipients, most),
        -- Not with what Rspamd makes of those that have a plus.
        recipients = #(task:get_recipients('smtp') or {}),
        action = found.action or '',
        reply = short((found.messages or {}).smtp_message, longest),
        score = math.floor((tonumber(found.score) or 0) * 100 + 0.5) / 100,
        -- From which score on it is refused, is junk, and has to come again later; 0 for never.
        reject = limit('reject', found),
        junk = limit('add header', found),
        greylist = limit('greylist', found),
        size = task:get_size(),
        symbols = first(counted, most),
        others = first(others, most),
      }, 'json-compact')
      if #text <= LONGEST_LINE then
        break
      end
    end
    -- For syslog, Rspamd makes of a "message" something to debug.
    rspamd_logger.infox(task, 'verdict %s', text)
  end,
})
