-- Part of the role postmaster.mail.rspamd.
-- Senders that are always, or never, taken. Who is allowed has to prove it: a list that believes From would be a way in for whoever writes
-- that. Mail of our users and of this host is not asked. Of the options, `lists` is the directory of the command postmaster-mail, whose lists
-- hold beside the inventory's, from the next message on.
local options, senders = ...
local ip = require 'rspamd_ip'
local rspamd_logger = require 'rspamd_logger'
local util = require 'rspamd_util'
local MAPS = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-'

local function list(name, type, description)
  return rspamd_config:add_map({ url = MAPS .. name .. '.map', type = type, description = description })
end

local allowed = list('allowed', 'set', 'Addresses, and @domain for it and what is below it, that are never junk if authenticated')
local blocked = list('blocked', 'set', 'Addresses, and @domain for it and what is below it, that are refused')
local blocked_networks = list('blocked-networks', 'radix', 'Networks that are refused')

-- A list of the command's, as a set; it is read again when the file has another time or size.
local function by_command(name)
  local path = options.lists .. '/' .. name
  local time, size, entries
  return function()
    local _, found = util.stat(path)
    if not found then
      time, size, entries = nil, nil, {}
    elseif found.mtime ~= time or found.size ~= size then
      local file, why = io.open(path, 'r')
      if not file then
        rspamd_logger.errx(rspamd_config, 'a list of senders cannot be read: %s', why)
        return entries or {}
      end
      time, size, entries = found.mtime, found.size, {}
      for line in file:lines() do
        if line ~= '' and line:sub(1, 1) ~= '#' then
          entries[line] = true
        end
      end
      file:close()
    end
    return entries
  end
end

local allowed_by_command, blocked_by_command = by_command('allowed'), by_command('blocked')
local networks_by_command = by_command('blocked-networks')

-- The network of the command's list that an address is in, or nil.
local function network_of(address)
  for network in pairs(networks_by_command()) do
    local text, bits = network:match('^([%x:.]+)/(%d+)$')
    local first = text and ip.from_string(text)
    if first and first:is_valid() and first:get_version() == address:get_version()
      and tostring(first) == tostring(address:apply_mask(tonumber(bits))) then
      return network
    end
  end
end

-- The entry of a list that an address is meant by, or nil.
local function listed(set, commanded, address)
  address = address:lower()
  local entries = commanded()
  local function has(key)
    return entries[key] or set:get_key(key)
  end
  for _, key in ipairs({ address, senders.bare(address) }) do
    if has(key) then
      return key
    end
  end
  local domain = address:match('@([^@]*)$')
  while domain and domain ~= '' do
    if has('@' .. domain) then
      return '@' .. domain
    end
    domain = domain:match('^[^.]*%.(.*)$')
  end
end

local function of_strangers(task)
  return not senders.of_this_host(task) and (task:get_user() or '') == ''
end

rspamd_config:register_symbol({
  name = 'SENDER_BLOCKED',
  type = 'prefilter',
  priority = 16,
  score = 0.0,
  group = 'policies',
  description = 'The sender is in mail_filter.block, or on the list of postmaster-mail block',
  callback = function(task)
    if not of_strangers(task) then
      return
    end
    local address = task:get_from_ip()
    local found = address and address:is_valid() and (network_of(address) or blocked_networks:get_key(address) and tostring(address))
    for _, kind in ipairs({ 'smtp', 'mime' }) do
      for _, sender in ipairs(task:get_from({ kind, 'orig' }) or {}) do
        found = found or listed(blocked, blocked_by_command, sender.addr or '')
      end
    end
    if found then
      task:set_pre_result('reject', '5.7.1 Mail of this sender is not taken here')
      return true, 1.0, found
    end
  end,
})

rspamd_config:register_symbol({
  name = 'SENDER_ALLOWED',
  -- After all symbols are known, and before greylisting (5) draws its conclusion from the score: the lowest comes first.
  type = 'postfilter',
  priority = 2,
  score = 0.0,
  group = 'policies',
  description = 'The sender is in mail_filter.allow or on the list of postmaster-mail allow, and SPF or DKIM passes for the domain in From',
  callback = function(task)
    local authors = task:get_from({ 'mime', 'orig' }) or {}
    if task:has_pre_result() or not of_strangers(task) or #(task:get_header_full('From') or {}) ~= 1 then
      return
    end
    local found
    -- Of several, all.
    for _, author in ipairs(authors) do
      found = listed(allowed, allowed_by_command, author.addr or '')
      if not found then
        return
      end
    end
    if found and senders.vouched(task) then
      task:set_pre_result('no action', 'allowed', 'lists', nil, 10)
      return true, 1.0, found
    end
    return found ~= nil, 0.0, found, 'not authenticated'
  end,
})
