-- Part of the role postmaster.mail.rspamd.
-- What is for an address whose mail goes on to another server. Spam is not sent there, which would make this server one that sends spam: it
-- is refused, or stays here. All else is sealed for that server (RFC 8617), where that is asked for.
-- Of the options, `keep` is whether spam stays here, `seal` whether mail is sealed, and `here` are the domains whose mail is taken here, as a set.
local options, senders = ...

local leading_out = rspamd_config:add_map({
  url = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-leading-out.map',
  type = 'map',
  description = 'Address or @domain to where its mail goes: elsewhere, both (elsewhere and here), or here',
})

-- Where the mail of an address goes. What was forwarded comes back to an address with the sender's within it.
local function way(address)
  address = address:lower()
  local plain = senders.without_detail(address)
  local domain = plain:match('@([^@]*)$') or ''
  if address:match('^srs[01][-+=]') and options.here[domain] then
    return 'elsewhere'
  end
  for _, key in ipairs({ address, plain, '@' .. domain }) do
    local found = leading_out:get_key(key)
    if found then
      return tostring(found)
    end
  end
  return 'here'
end

-- The first recipient whose mail goes on, or nil, and whether all of these have a mailbox here as well.
local function forwarded(task)
  local first, all_here = nil, true
  for _, recipient in ipairs(task:get_recipients({ 'smtp', 'orig' }) or {}) do
    local where = way(recipient.addr or '')
    if where ~= 'here' then
      first = first or recipient.addr:lower()
      all_here = all_here and where == 'both'
    end
  end
  return first, all_here
end

local function of_strangers(task)
  return not senders.of_this_host(task) and (task:get_user() or '') == ''
end

rspamd_config:register_symbol({
  name = 'NOT_FORWARDED',
  type = 'postfilter',
  -- Also where something has asked for Junk; after all that does, and before what a backup MX has taken is taken (40).
  flags = 'ignore_passthrough',
  priority = 20,
  score = 0.0,
  group = 'policies',
  description = 'Spam for an address whose mail goes on to another server',
  callback = function(task)
    local action = task:get_metric_action()
    if (action ~= 'add header' and action ~= 'rewrite subject') or not of_strangers(task) then
      return
    end
    local recipient, all_here = forwarded(task)
    if not recipient then
      return
    end
    if options.keep or task:has_symbol('BACKUP_MX') then
      -- Postfix reads it where it would send the message on, and takes it out of no other copy.
      task:set_milter_reply({ add_headers = { ['X-Rspamd-Kept'] = all_here and 'here' or 'postmaster' } })
      return true, 1.0, recipient, 'kept'
    end
    local text = '5.7.1 This is taken for spam, which is not forwarded, and mail for a recipient is'
    task:set_pre_result('reject', text, 'forward', nil, 50)
    -- Rspamd loses that text where another module has asked for an action before.
    task:append_message(text, 'smtp_message')
    return true, 1.0, recipient, 'refused'
  end,
})

local keys = ((rspamd_config:get_all_opt('dkim_signing') or {}).domain) or {}

-- What the module arc signs with: the key of the domain that forwards, if it signs already, and nothing for other mail.
rspamd_plugins['postmaster_mail'].seal = function(task)
  local recipient = of_strangers(task) and forwarded(task)
  local domain = recipient and recipient:match('@([^@]*)$')
  local key = domain and (((keys[domain] or {}).selectors) or {})[1]
  return key and { domain = domain, selector = key.selector, key = key.path } or nil
end

-- Whether a chain of seals verifies is no opinion about a message: anybody can seal.
if options.seal then
  for _, symbol in ipairs({ 'ARC_ALLOW', 'ARC_REJECT', 'ARC_INVALID', 'ARC_DNSFAIL', 'ARC_NA' }) do
    rspamd_config:set_metric_symbol({ name = symbol, score = 0.0, group = 'policies', priority = 3 })
  end
end
