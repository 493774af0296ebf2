-- Part of the role postmaster.mail.rspamd.
-- Mailing lists of this host. Of the options, `mailing_lists` are the envelope senders that Mailman sends them from, and `commands` the
-- addresses at which it answers whoever a message claims to be from, both as sets.
local options, senders = ...
local of_this_host, without_detail, canonical = senders.of_this_host, senders.without_detail, senders.canonical

local keys = (rspamd_config:get_all_opt('dkim_signing') or {}).domain or {}

local function envelope_sender(task)
  return (((task:get_from('smtp') or {})[1] or {}).addr or ''):lower()
end

-- What a member of another domain wrote leaves with that domain in From, unless its DMARC policy forbids that. The list's domain signs it
-- all the same; what has the list in From is signed as any mail of this host.
rspamd_config:register_symbol({
  name = 'LIST_SIGNED',
  type = 'normal',
  flags = 'ignore_passthrough',
  score = 0.0,
  group = 'policies',
  description = 'A mailing list of this host sends it, and the domain of the list signs it',
  callback = function(task)
    local sender = envelope_sender(task)
    local domain = canonical(sender:match('@(.*)$'))
    local author = canonical(((task:get_from('mime') or {})[1] or {}).domain)
    if not of_this_host(task) or (task:get_user() or '') ~= '' or not options.mailing_lists[without_detail(sender)] or author == domain
    then
      return
    end
    local done = {}
    for _, key in ipairs((keys[domain] or {}).selectors or {}) do
      if rspamd_plugins.dkim.sign(task, { domain = domain, selector = key.selector, key = key.path, rawkey = nil }) then
        table.insert(done, domain .. ':s=' .. key.selector)
      end
    end
    if #done > 0 then
      return true, 1.0, done
    end
  end,
})
rspamd_config:register_dependency('LIST_SIGNED', 'DKIM_CHECK')

-- Who has logged in writes as himself, and of others SPF or DKIM has to say that they wrote it: else whoever is in From would be answered.
rspamd_config:register_symbol({
  name = 'LIST_COMMAND_FORGED',
  type = 'postfilter',
  score = 0.0,
  group = 'policies',
  description = 'It is for an address that answers, and neither SPF nor DKIM passes for the domain in From',
  callback = function(task)
    if of_this_host(task) or (task:get_user() or '') ~= '' then
      return
    end
    for _, recipient in ipairs(task:get_recipients('smtp') or {}) do
      local address = without_detail((recipient.addr or ''):lower())
      if options.commands[address] and not senders.vouched(task) then
        task:set_pre_result('reject', 'Neither SPF nor DKIM passes for From, and whoever is in it would be answered: ' .. address)
        return true, 1.0, address
      end
    end
  end,
})
