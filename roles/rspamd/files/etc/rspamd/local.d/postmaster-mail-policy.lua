-- Part of the role postmaster.mail.rspamd.
-- Whether the domain in From is authenticated. Rspamd finds out what SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617) and DMARC
-- (RFC 9989) say; here it is decided what becomes of a message that nothing passes for. Mail of our users and of this host is not
-- asked, and the settings of trusted networks take the actions away.
-- Of the options, `reject` is whether what fails a policy of rejection, or claims to be from a domain of ours, is refused and not put into
-- Junk; `domains` are ours, and `sealers` those whose ARC seals are trusted, both as sets.
local options, senders = ...
local of_this_host, ours, canonical = senders.of_this_host, senders.ours, senders.canonical
local aligned, authenticated = senders.aligned, senders.authenticated

local LEVELS = { none = 0, quarantine = 1, reject = 2 }

local function one_header(task, name)
  local found = task:get_header_full(name)
  return found and #found == 1 and found[1].decoded or nil
end

-- A mailing list is one that takes posts (RFC 2369 section 3.4), at the domain of its own name (RFC 2919), and proves to be of that domain.
-- So whoever claims to be a list answers with a domain of its own.
local function list(task, domains)
  local name = canonical((one_header(task, 'List-Id') or ''):match('<([^<>%s]+)>%s*$'))
  local post = canonical((one_header(task, 'List-Post') or ''):match('<[mM][aA][iI][lL][tT][oO]:[^<>%s@]+@([^<>%s?]+)[^<>%s]*>'))
  if name == '' or post == '' then
    return nil
  end
  for _, domain in ipairs(domains) do
    if aligned(domain, name) and aligned(domain, post) then
      return name
    end
  end
end

-- Whoever verifies it may take another one of several (RFC 6376 section 3.2 allows one).
local function one_domain(signature)
  local _, count = (';' .. (signature.header or '')):gsub(';%s*[dD]%s*=', '')
  return count == 1
end

-- A chain that verifies, whose last seal and signature are of somebody we trust, and whose earliest such seal (those before it may have
-- been made up by strangers) does not say that DMARC failed there.
local function sealed(task)
  if not next(options.sealers) or not task:has_symbol('ARC_ALLOW') then
    return nil
  end
  local seals, signatures = task:cache_get('arc-seals') or {}, task:cache_get('arc-sigs') or {}
  local first
  for number = #seals, 1, -1 do
    local seal, signature = seals[number], signatures[number] or {}
    local sealer = canonical(seal.d)
    if not options.sealers[sealer] or canonical(signature.d) ~= sealer or not one_domain(seal) or not one_domain(signature) then
      break
    end
    first = number
  end
  if not first then
    return nil
  end
  local results = {}
  for _, header in ipairs(task:get_header_full('ARC-Authentication-Results') or {}) do
    local text = header.decoded:lower()
    if tonumber(text:match('^%s*i%s*=%s*(%d+)')) == first then
      results[#results + 1] = text:match('[;%s]dmarc%s*=%s*(%a+)') or 'none'
    end
  end
  if #results == 1 and results[1] ~= 'fail' and results[1] ~= 'reject' and results[1] ~= 'quarantine' then
    return canonical(seals[first].d)
  end
end

-- What a domain asks for, by the policy that Rspamd has found (it knows p and sp) and the record that it is in. A domain in test asks for
-- one level less (RFC 9989 section 4.7: t=y), which was pct=0 before; any other pct is history, and Rspamd throws dice for it.
local function asked(policy, record)
  local tags = {}
  for tag, value in record:gmatch('(%w+)%s*=%s*([^;%s]+)') do
    tags[tag:lower()] = value:lower()
  end
  local test = tags.t == 'y' or tags.pct == '0'
  return math.max(0, LEVELS[policy] - (test and 1 or 0))
end

-- Whether a chain of seals verifies is no opinion about a message: anybody can seal.
if next(options.sealers) then
  for _, symbol in ipairs({ 'ARC_ALLOW', 'ARC_REJECT', 'ARC_INVALID', 'ARC_DNSFAIL', 'ARC_NA' }) do
    rspamd_config:set_metric_symbol({ name = symbol, score = 0.0, group = 'policies', priority = 3 })
  end
end

rspamd_config:register_symbol({
  name = 'FROM_NOT_AUTHENTICATED',
  -- After all symbols are known. It sets the least that is to happen: what scores worse is treated worse.
  type = 'postfilter',
  priority = 1,
  score = 0.0,
  group = 'policies',
  description = 'From fails a DMARC policy, has a domain of ours that neither SPF nor DKIM passes for, or cannot be looked at by DMARC',
  callback = function(task)
    if of_this_host(task) or (task:get_user() or '') ~= '' then
      return
    end
    local domains = authenticated(task)

    local function enforce(level, why)
      local exempt = list(task, domains)
      exempt = exempt and 'the list ' .. exempt or sealed(task)
      if exempt or level == 0 then
        task:insert_result('FROM_NOT_AUTHENTICATED', 0.0, why, exempt and 'passed on by ' .. exempt or 'in test')
        return
      end
      local action = level == 2 and options.reject and 'reject' or 'add header'
      task:insert_result('FROM_NOT_AUTHENTICATED', 1.0, why, action)
      local text = 'From is not authenticated: ' .. why:gsub('[^%g ]', '?')
      task:set_pre_result(action, text, 'policy', nil, nil, 'least')
      -- Rspamd loses that text where another module asks for the action before it is answered.
      if action == 'reject' then
        task:append_message(text, 'smtp_message')
      end
    end

    -- As it was written: a detail behind a plus would have been taken off, with all further addresses.
    local authors = task:get_from({ 'mime', 'orig' }) or {}
    local complete = #authors > 0 and #(task:get_header_full('From') or {}) == 1
    local passed = true
    for _, author in ipairs(authors) do
      local domain = canonical(author.domain)
      -- A parent of it that is not ours may sign as well, where the published policy allows that.
      local passes = #authors == 1 and task:has_symbol('DMARC_POLICY_ALLOW')
      for _, other in ipairs(domains) do
        passes = passes or aligned(domain, other)
      end
      if not passes and ours(domain) then
        return enforce(2, domain .. ' is a domain of this server, and neither SPF nor DKIM passes for it')
      end
      -- Readers are told of "a@ example.org", "a@example.org;" (a group) or a domain in the letters of people that it is ours, and SPF and
      -- DMARC ask for a name that nobody has.
      complete = complete and domain:find('^[%w_.-]+$') ~= nil and not (author.user or ''):find('@')
      passed = passed and passes
    end
    if not complete then
      return enforce(1, 'From has no plain address with a domain, or there are several of it')
    end
    if #authors > 1 then
      -- DMARC is about one, and Rspamd does not ask for any then.
      if not passed then
        enforce(1, 'From has several addresses, and neither SPF nor DKIM passes for all of them')
      end
      return
    end

    local address = task:get_from_ip()
    if not passed and address and address:is_local() then
      return enforce(1, 'a neighbour sends it, whom Rspamd asks neither SPF nor DMARC about, and DKIM does not pass for it')
    end

    -- Where dice have sent it to a milder symbol, the second option still is the policy.
    for _, symbol in ipairs({ 'DMARC_POLICY_REJECT', 'DMARC_POLICY_QUARANTINE', 'DMARC_POLICY_SOFTFAIL' }) do
      local options_of = ((task:get_symbol(symbol) or {})[1] or {}).options or {}
      local domain, policy = (options_of[1] or ''):match('^(%S+) : '), options_of[2]
      if domain and (LEVELS[policy] or 0) > 0 then
        task:get_resolver():resolve_txt({
          task = task,
          name = '_dmarc.' .. domain,
          forced = true,
          callback = function(_, _, records, err)
            local level = LEVELS[policy]
            for _, text in ipairs(not err and records or {}) do
              if text:match('^%s*v%s*=%s*DMARC1%s*;') then
                level = asked(policy, text)
              end
            end
            enforce(level, string.format('%s has the DMARC policy %s, and neither SPF nor DKIM passes for it', domain, policy))
          end,
        })
        return
      end
    end
  end,
})
