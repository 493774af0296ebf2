-- Part of the role postmaster.mail.rspamd.
-- What a backup MX of ours delivers. Of the options, `backups` are the addresses of these hosts, as a set.
local options = ...

-- The client that the newest of these hosts had a message from, as it says itself: in the field that it has put before all others. Where
-- that has no address, the message began at that host.
local function origin(task)
  for _, hop in ipairs(task:get_received_headers() or {}) do
    if not (hop.flags or {}).artificial then
      local address = hop.real_ip
      if not address or not address:is_valid() then
        return nil
      end
      if not options.backups[tostring(address)] then
        return address, hop.from_hostname
      end
    end
  end
end

-- SPF, DNSBLs and the like are about that client. Nothing else that such a host says is believed.
rspamd_config:register_symbol({
  name = 'BACKUP_MX',
  type = 'prefilter',
  -- Before settings (10), which are by address.
  priority = 30,
  score = 0.0,
  group = 'policies',
  description = 'A backup MX has taken the message from another client, which is looked at in its place',
  callback = function(task)
    local from = task:get_from_ip()
    if not from or not options.backups[tostring(from)] then
      return
    end
    local address, name = origin(task)
    if address then
      task:set_from_ip(address)
      task:set_hostname(name or '[' .. tostring(address) .. ']')
      task:set_helo(name or '[' .. tostring(address) .. ']')
      return true, 1.0, tostring(address)
    end
  end,
})

-- The backup MX has taken it already, by the same rules. To refuse it now would have that host send a report to whoever is named as its
-- sender: it goes to Junk, however much it scores.
rspamd_config:register_symbol({
  name = 'BACKUP_MX_TOOK_IT',
  type = 'postfilter',
  -- Also where something has refused it before all was looked at.
  flags = 'ignore_passthrough',
  -- After all that would refuse it.
  priority = 40,
  score = 0.0,
  group = 'policies',
  description = 'A backup MX has taken the message, and it is not refused any more',
  callback = function(task)
    if not task:has_symbol('BACKUP_MX') then
      return
    end
    local action = task:get_metric_action()
    if action == 'reject' or action == 'soft reject' or action == 'greylist' then
      task:set_pre_result('add header', 'A backup MX has taken it', 'backup', nil, 100)
      return true, 1.0, action
    end
  end,
})
