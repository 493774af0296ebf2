-- Part of the role postmaster.mail.rspamd.
-- While no resolver answers, Rspamd counts names that it could not look up as names that do not exist, and together they make junk of mail.
-- They say nothing then. The MTA tells it of no name for the same reason, so it asks for that once more: RDNS_DNSFAIL. Since that alone may
-- be the zone of a careless provider, the sender's domain must be without an answer, too.
local SYMBOLS = {
  'RDNS_NONE',
  'HFILTER_HOSTNAME_UNKNOWN',
  'HFILTER_HELO_IP_A',
  'HFILTER_HELO_NORES_A_OR_MX',
  'HFILTER_HELO_NORESOLVE_MX',
  'HFILTER_FROMHOST_NORES_A_OR_MX',
  'HFILTER_FROMHOST_NORESOLVE_MX',
  'HFILTER_MID_NORES_A_OR_MX',
  'HFILTER_MID_NORESOLVE_MX',
}

local SENDER = { 'DMARC_DNSFAIL', 'R_SPF_DNSFAIL', 'R_DKIM_TEMPFAIL' }

local function any(task, symbols)
  for _, symbol in ipairs(symbols) do
    if task:has_symbol(symbol) then
      return true
    end
  end
  return false
end

rspamd_config:register_symbol({
  name = 'NAMES_NOT_LOOKED_UP',
  type = 'postfilter',
  score = 0.0,
  group = 'hfilter',
  description = 'No resolver answers, so the names of the client and of the sender do not count',
  callback = function(task)
    if not (task:has_symbol('RDNS_DNSFAIL') and any(task, SENDER)) then
      return
    end
    for _, symbol in ipairs(SYMBOLS) do
      if task:has_symbol(symbol) then
        task:adjust_result(symbol, 0.0)
        task:insert_result('NAMES_NOT_LOOKED_UP', 1.0, symbol)
      end
    end
  end,
})
