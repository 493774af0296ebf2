-- Part of the role postmaster.mail.rspamd.
-- Mail of this host itself has no user who has logged in: what Sieve scripts redirect and answer, and what programs send. It is signed
-- only for a From that whoever sends it may use. A message that claims to be from a domain of ours, though its sender may not use that
-- address, and that carries no valid signature of that domain, is refused: SPF alone would let it pass DMARC elsewhere.
-- Of the options, `fqdn` is the server's own name, whose addresses are those of its accounts, and `hosted` the domains of its users, as a
-- set; `locks` knows whose scripts may send nothing.
local options, senders, locks = ...
local owns, without_detail, of_this_host = senders.owns, senders.without_detail, senders.of_this_host
local hash = require 'rspamd_cryptobox_hash'
local mime = require 'lua_mime'
local util = require 'rspamd_util'

local FQDN, HOSTED = options.fqdn, options.hosted
-- Dovecot's program that sends for scripts says in it whose script it is.
local SCRIPT = 'X-Postmaster-Mail-Script'
-- Known to all workers, since it is made before there are any, and to nobody else.
local secret = util.random_hex(64)

local granted = rspamd_config:add_map({
  url = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-host-senders.map',
  type = 'map',
  description = 'Address or @domain to the accounts of this host whose programs may send as it; * is all of them, - none',
})

local signed = ((rspamd_config:get_all_opt('dkim_signing') or {}).domain) or {}

local function domain_of(address)
  return ((address:match('@([^@]*)$') or ''):gsub('%.$', ''))
end

-- Whether a domain is one of a set, or below one of them: receivers take the one for the other (RFC 7489 section 3.1).
local function within(domain, set)
  while domain ~= '' do
    if set[domain] then
      return true
    end
    domain = domain:match('^[^.]*%.(.*)$') or ''
  end
  return false
end

-- Whether a domain is one that this host signs for. What is not signed by anybody can only be left as it is.
local function ours(domain)
  return within(domain, signed) and (domain ~= FQDN or HOSTED[domain])
end

local function token(owner)
  return hash.create_keyed(secret, owner:lower()):hex()
end

-- Dovecot asks for it through the socket that is for the owner of all mail.
rspamd_plugins['postmaster_mail'] = {
  webui = {
    ['script'] = {
      enable = false,
      need_task = true,
      handler = function(task, connection)
        local owner = task:get_request_header('Owner')
        if not owner then
          connection:send_error(400, 'whose script is it?')
          return
        end
        connection:send_ucl({ token = token(tostring(owner)) })
      end,
    },
  },
}

-- The user whose script sent a message, or nil.
local function script_owner(task)
  local headers = task:get_header_full(SCRIPT)
  if not headers or #headers ~= 1 then
    return nil
  end
  local owner, proof = headers[1].value:match('^%s*(%S+)%s+(%x+)%s*$')
  if owner and proof == token(owner) then
    return owner:lower()
  end
  return nil
end

-- The addresses in From, in lower case, and whether they are all that a reader may see there.
local function authors(task)
  local found, texts = {}, {}
  local head = '\n' .. tostring(task:get_raw_headers() or ''):gsub('\r\n', '\n'):gsub('\n[ \t]+', ' ')
  for name, text in head:gmatch('\n([^\n:]*):([^\n]*)') do
    if name:lower():match('^from%s*$') then
      table.insert(texts, text)
    end
  end
  for _, sender in ipairs(task:get_from('mime') or {}) do
    if (sender.addr or ''):match('^[^@%s()]+@[%w.-]+$') then
      table.insert(found, sender.addr:lower())
    end
  end
  -- Neither in what is quoted nor in comments: as many as were understood.
  local _, ats = (texts[1] or ''):gsub('\\.', ''):gsub('"[^"]*"', ''):gsub('%b()', ''):gsub('@', '')
  if #texts == 1 and #found > 0 and #found == ats then
    return found, true
  end
  for _, text in ipairs(texts) do
    for domain in text:lower():gsub('%b()', ''):gsub('%s', ''):gmatch('@([%w.-]+)') do
      table.insert(found, '@' .. domain)
    end
  end
  return found, false
end

-- The accounts whose programs may send as an address, as a set.
local function accounts(address)
  local plain = without_detail(address)
  local names = {}
  for _, key in ipairs({ address, plain, '@' .. domain_of(plain) }) do
    local found = granted:get_key(key)
    if found then
      for name in tostring(found):gmatch('%S+') do
        names[name] = name ~= '-' or nil
      end
      return names
    end
  end
  if domain_of(plain) == FQDN then
    -- An account may have what begins a detail in its name.
    names[address:match('^(.*)@')], names[plain:match('^(.*)@')] = true, true
  end
  return names
end

-- Whether a program that may use this envelope sender may write an address in From. Of the host itself everybody may speak, as cron
-- does, which sends every account's mail from root.
local function may_write(sender, address)
  local writers = accounts(address)
  if writers['*'] or (domain_of(address) == FQDN and next(writers)) then
    return true
  end
  for name in pairs(accounts(sender)) do
    if writers[name] then
      return true
    end
  end
  return false
end

local function every(list, test)
  for _, item in ipairs(list) do
    if not test(item) then
      return false
    end
  end
  return true
end

-- Addresses in From that a signature has to vouch for, from the prefilter to the postfilter.
local PENDING = 'postmaster_mail_claims'
local REFUSED = 'The address in From is not of who sends this: '

rspamd_config:register_symbol({
  name = 'HOST_MAIL',
  type = 'prefilter',
  priority = 20,
  score = 0.0,
  group = 'policies',
  description = 'Mail of this host, without a user who has logged in',
  callback = function(task)
    local user = task:get_user()
    local owner = script_owner(task)
    if task:get_header(SCRIPT) then
      mime.modify_headers(task, { remove = { [SCRIPT] = 0 } })
    end
    if user and user ~= '' then
      return
    end
    if not of_this_host(task) then
      -- Rspamd would sign for a neighbour whom it takes for local.
      task:disable_symbol('DKIM_SIGNED')
      return
    end
    if owner and locks.refused(task, owner, 'sending') then
      return true, 1.0, owner
    end
    local sender = (((task:get_from('smtp') or {})[1] or {}).addr or ''):lower()
    local from, whole = authors(task)
    local function allowed(author)
      if owner then
        return owns(owner, author)
      end
      return may_write(sender, author)
    end
    if not owner and (HOSTED[domain_of(sender)] or domain_of(sender) == FQDN) and not next(accounts(sender)) then
      task:set_pre_result('reject', 'No program of this host may send as ' .. sender)
      return true, 1.0, sender
    end
    if whole and every(from, allowed) then
      return
    end
    task:disable_symbol('DKIM_SIGNED')
    -- A mailing list, say, passes on what members of ours wrote.
    if not owner and sender ~= '' and not HOSTED[domain_of(sender)] and domain_of(sender) ~= FQDN then
      return
    end
    local claims = {}
    for _, author in ipairs(from) do
      if ours(domain_of(author)) and not (whole and allowed(author)) then
        table.insert(claims, author)
      end
    end
    if #claims > 0 and not whole then
      -- Which of several a signature is about, readers see differently.
      task:set_pre_result('reject', REFUSED .. claims[1])
      return true, 1.0, claims[1]
    elseif #claims > 0 then
      task:get_mempool():set_variable(PENDING, table.concat(claims, ' '))
    end
  end,
})

rspamd_config:register_symbol({
  name = 'HOST_MAIL_FORGED',
  type = 'postfilter',
  score = 0.0,
  group = 'policies',
  description = 'Mail of this host claims to be from a domain of ours, and neither may its sender say so nor does a signature',
  callback = function(task)
    local claims = task:get_mempool():get_variable(PENDING)
    if not claims then
      return
    end
    local valid = {}
    for _, symbol in ipairs(task:get_symbol('DKIM_TRACE') or {}) do
      for _, option in ipairs(symbol.options or {}) do
        local domain = option:match('^(.*):%+$')
        if domain then
          valid[domain:lower()] = true
        end
      end
    end
    for claim in claims:gmatch('%S+') do
      if not within(domain_of(claim), valid) then
        task:set_pre_result('reject', REFUSED .. claim)
        return true, 1.0, claim
      end
    end
  end,
})
