-- Part of the role postmaster.mail.rspamd.
-- Who did not write is not answered. An envelope sender is proven by SPF, or by a signature of its domain (RFC 7208, RFC 6376). A message
-- whose sender is not proven says so in a header that Pigeonhole's vacation, Dovecot's send-for-script and what is below read; it asks
-- programs of other servers for silence as well. Whoever writes it has less sent to himself. Of the options, `here` are the domains whose
-- mail is taken here, as a set.
local options, senders = ...

local HEADER, UNPROVEN = 'X-Auto-Response-Suppress', 'Unproven'

rspamd_config:register_symbol({
  name = 'SENDER_NOT_PROVEN',
  -- After all symbols are known, and whatever has been decided.
  type = 'postfilter',
  flags = 'ignore_passthrough',
  priority = 1,
  score = 0.0,
  group = 'policies',
  description = 'Neither SPF nor DKIM passes for the domain of the envelope sender, who gets no automatic answer',
  callback = function(task)
    local sender = (task:get_from({ 'smtp', 'orig' }) or {})[1]
    local domain = senders.canonical(sender and sender.domain)
    if domain == '' or senders.of_this_host(task) or (task:get_user() or '') ~= '' then
      return
    end
    for _, other in ipairs(senders.authenticated(task)) do
      if senders.aligned(domain, other) then
        return
      end
    end
    task:set_milter_reply({ add_headers = { [HEADER] = 'All, ' .. UNPROVEN } })
    return true, 1.0, domain
  end,
})

-- The header section of the message that a report is about, as both MTAs enclose it behind what machines read, in lower case and unfolded.
local function reported(text)
  text = text:gsub('\r\n', '\n')
  local _, status = text:find('\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]:%s*message/delivery%-status')
  local rest = status and text:sub(status + 1):gsub('\n[ \t]+', ' ') or ''
  for _, kind in ipairs({ 'message/rfc822', 'text/rfc822%-headers' }) do
    local _, stop = rest:lower():find('\ncontent%-type:%s*' .. kind .. '[^\n]*\n')
    local _, start = rest:find('\n\n', stop and stop - 1 or #rest + 1, true)
    if stop and start then
      return '\n' .. (rest:sub(start + 1):match('^(.-)\n\n') or rest:sub(start + 1)):lower() .. '\n'
    end
  end
  return ''
end

-- Why a report is sent to nobody, or nothing.
local function unwanted(text)
  local headers = reported(text)
  for value in headers:gmatch('\n' .. HEADER:lower():gsub('%p', '%%%0') .. '%s*:([^\n]*)') do
    if value:find(UNPROVEN:lower(), 1, true) then
      return 'the sender is not proven'
    end
  end
  return headers:find('\nx%-spam%s*:%s*yes%s*\n') and 'spam' or nil
end

-- Whether a report is for somebody of this server alone, such as a user whose script redirects what others have sent. To an address of ours
-- with the sender's within it comes back what was forwarded.
local function of_users(task)
  local recipients = task:get_recipients({ 'smtp', 'orig' }) or {}
  for _, recipient in ipairs(recipients) do
    local address = (recipient.addr or ''):lower()
    if address:find('^srs[01][-+=]') or not options.here[address:match('@([^@]*)$') or ''] then
      return false
    end
  end
  return #recipients > 0
end

rspamd_config:register_symbol({
  name = 'REPORT_UNWANTED',
  type = 'prefilter',
  priority = 22,
  score = 0.0,
  group = 'policies',
  description = 'A report of this host about a message whose sender is not proven, or that is spam',
  callback = function(task)
    local sender, author = (task:get_from('smtp') or {})[1], (task:get_from('mime') or {})[1]
    if not senders.of_this_host(task) or (task:get_user() or '') ~= '' or (sender and (sender.addr or '') ~= '') then
      return
    end
    if not author or (author.addr or ''):lower() ~= 'mailer-daemon@' .. options.fqdn then
      return
    end
    local why = not of_users(task) and unwanted(tostring(task:get_content() or ''))
    if why then
      task:set_pre_result('discard', 'Nobody is told: ' .. why)
      return true, 1.0, why
    end
  end,
})

return { unwanted = unwanted }
