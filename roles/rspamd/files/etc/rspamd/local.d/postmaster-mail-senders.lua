-- Part of the role postmaster.mail.rspamd.
-- Whose mail a message is, what its From may be, and which domains it is authenticated for. Of the options, `users` is whether there are
-- users who log in, `delimiter` has the characters that begin a detail, and `domains` are those of ours, as a set.
local options = ...
local rspamd_util = require 'rspamd_util'

-- Whether a message is of this host itself. For is_local() so are link-local and site-local addresses (RFC 4291 section 2.4, RFC 3879),
-- whatever local_addrs says, and every neighbour has one.
local function of_this_host(task)
  local address = task:get_from_ip()
  return address and address:is_valid() and address:is_local() and not tostring(address):lower():find('^fe[89a-f]') or false
end

-- Who has logged in may write only addresses of their own in From. The MTA says the same of the envelope (RFC 6409 section 6.1).
local owners = rspamd_config:add_map({
  url = rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-senders.map',
  type = 'map',
  description = 'Address, or @domain for those of a domain that are not named, to the logins that may send as it; - is none',
})

-- As most do: somebody's address without the detail that its owner put behind a plus.
local function bare(address)
  return (address:gsub('%+[^@]*@', '@'))
end

local DETAIL = '^([^@]-)[' .. options.delimiter:gsub('%p', '%%%0') .. '][^@]*(@[^@]*)$'

-- As the MTA does: an address of ours without its detail, unless nothing is before that.
local function without_detail(address)
  local name, domain = address:match(DETAIL)
  return name and name ~= '' and name .. domain or address
end

-- Whether a user may send as an address: the most exact name that somebody has counts.
local function owns(user, address)
  user, address = user:lower(), address:lower()
  local names = { address, without_detail(address) }
  -- An address of somebody's that is only written in another way is not one that nobody has.
  if address:find("^[%w!#$%%&'*+/=?^_`{|}~.-]+@[%w.-]+$") then
    table.insert(names, address:match('@.*$'))
  end
  for _, name in ipairs(names) do
    local found = owners:get_key(name)
    if found then
      for login in tostring(found):gmatch('%S+') do
        if login == user then
          return true
        end
      end
      return false
    end
  end
  return false
end

if options.users then
  rspamd_config:register_symbol({
    name = 'SENDER_NOT_OWNED',
    type = 'prefilter',
    -- Before Rspamd's own EMAIL_PLUS_ALIASES (11), which takes the detail off the first address and forgets the others.
    priority = 20,
    score = 0.0,
    group = 'policies',
    description = 'The From header has an address that the authenticated user may not send as',
    callback = function(task)
      local user = task:get_user()
      if not user or user == '' then
        return
      end
      local from = task:get_from('mime')
      if not from or #from == 0 then
        task:set_pre_result('reject', 'The From header has no address')
        return true
      end
      for _, sender in ipairs(from) do
        if not owns(user, sender.addr or '') then
          task:set_pre_result('reject', 'The address in From is not yours')
          return true, 1.0, sender.addr
        end
      end
    end,
  })
end

-- The domain of ours that a name is, or lies below; the longest.
local function ours(name)
  while name do
    if options.domains[name] then
      return name
    end
    name = name:match('%.(.+)$')
  end
end

local function canonical(domain)
  return ((domain or ''):lower():gsub('%.$', ''))
end

local function at_or_below(domain, top)
  return domain == top or domain:sub(-#top - 1) == '.' .. top
end

-- RFC 9989 section 3.2.10: relaxed alignment. Of our domains it is known where they end, so that no neighbour below the same public suffix
-- can pass for one of them; of others the list of public suffixes tells it, as far as it goes.
local function aligned(one, other)
  local own, theirs = ours(one), ours(other)
  if own or theirs then
    one, other = own, theirs
  end
  return one and other and (at_or_below(one, other) or at_or_below(other, one)
    or not own and rspamd_util.get_tld(one) == rspamd_util.get_tld(other))
end

-- The domains that SPF and DKIM pass for: that of the envelope sender, or of the greeting where it is empty, and those
-- whose signatures verify.
local function authenticated(task)
  local found = {}
  if task:has_symbol('R_SPF_ALLOW') then
    local sender = (task:get_from({ 'smtp', 'orig' }) or {})[1]
    local domain = canonical(sender and sender.domain)
    found[#found + 1] = domain ~= '' and domain or canonical(task:get_helo())
  end
  for _, result in ipairs(((task:get_symbol('DKIM_TRACE') or {})[1] or {}).options or {}) do
    local domain = result:match('^(.+):%+$')
    if domain then
      found[#found + 1] = canonical(domain)
    end
  end
  return found
end

-- Whether SPF or DKIM passes for the domains of all who are in From; no is said of what has several fields of that name.
local function vouched(task)
  local authors = task:get_from({ 'mime', 'orig' }) or {}
  if #authors == 0 or #(task:get_header_full('From') or {}) ~= 1 then
    return false
  end
  local domains = authenticated(task)
  for _, author in ipairs(authors) do
    local own, passes = canonical(author.domain), false
    for _, domain in ipairs(domains) do
      -- Not what is below it, where that is somebody else's, as below a public suffix.
      passes = passes or at_or_below(own, domain) or rspamd_util.get_tld(own) == rspamd_util.get_tld(domain)
    end
    if not passes then
      return false
    end
  end
  return true
end

return {
  owns = owns, bare = bare, without_detail = without_detail, of_this_host = of_this_host, ours = ours, canonical = canonical, aligned = aligned,
  at_or_below = at_or_below, authenticated = authenticated, vouched = vouched,
}
