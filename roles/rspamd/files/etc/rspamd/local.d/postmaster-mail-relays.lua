-- Part of the role postmaster.mail.rspamd.
-- Hosts that send through this server without a log-in, known by the address that they connect from and by nothing else (mail_relays). What
-- one sends as its domains, in envelope and From, is mail of an account with the relay's name: signed, limited, and locked as a user's. An
-- old mail server has bounces to send, so the null sender is taken with such a From. All else is any stranger's mail, and stays here. Of the
-- options, `here` are the domains whose mail is taken here, as a set.
local options, senders = ...

local relays = rspamd_config:add_map({
  url = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-relays.map',
  type = 'radix',
  description = 'Network to the relay that its hosts are',
})

-- Whether a relay may have written all that is in From, which has to be there once.
local function writes(task, relay)
  local authors = task:get_from({ 'mime', 'orig' }) or {}
  if #authors == 0 or #(task:get_header_full('From') or {}) ~= 1 then
    return false
  end
  for _, author in ipairs(authors) do
    if not senders.owns(relay, author.addr or '') then
      return false
    end
  end
  return true
end

local id = rspamd_config:register_symbol({
  name = 'RELAY',
  type = 'prefilter',
  -- Before BACKUP_MX (30) puts another client in the place of the one that has connected, and before all that asks who sends.
  priority = 31,
  score = 0.0,
  group = 'policies',
  description = 'A host of mail_relays sends it as addresses of its domains',
  callback = function(task)
    local address = task:get_from_ip()
    local relay = (task:get_user() or '') == '' and address and address:is_valid() and relays:get_key(address)
    if not relay then
      return
    end
    relay = tostring(relay)
    local sender = ((task:get_from({ 'smtp', 'orig' }) or {})[1] or {}).addr or ''
    if (sender == '' or senders.owns(relay, sender)) and writes(task, relay) then
      task:set_user(relay)
      return true, 1.0, relay
    end
    for _, recipient in ipairs(task:get_recipients({ 'smtp', 'orig' }) or {}) do
      local domain = senders.canonical((recipient.addr or ''):match('@([^@]*)$'))
      if domain ~= '' and not options.here[domain] then
        task:set_pre_result('reject', 'This host may send to other servers as addresses of its domains alone, also in From (mail_relays)')
        task:insert_result('RELAY_NOT_OWNED', 1.0, relay, recipient.addr)
        return
      end
    end
  end,
})

rspamd_config:register_symbol({
  name = 'RELAY_NOT_OWNED',
  type = 'virtual',
  parent = id,
  score = 0.0,
  group = 'policies',
  description = 'A host of mail_relays sends to others what has another sender or another From than addresses of its domains',
})
