-- Part of the role postmaster.mail.rspamd.
-- A header section that readers understand differently is refused, whoever sends it: what a filter judges and signs must be what
-- people see. White space before a colon, which some readers take for the end of a name, is taken out by the MTA before.

-- Why a header section is refused, or nothing. `raw` is its text, `from` how many From fields Rspamd found in it.
local function refusal(raw, from)
  if from > 1 then
    return 'More than one From field (RFC 5322 section 3.6)'
  end
  -- A CR without LF ends a line for some, Rspamd among them; two of them end the header section.
  if raw:gsub('\r\n', '\n'):find('[%z\1-\8\11-\31\127]') then
    return 'Control character in the header section (RFC 5322 section 2.2)'
  end
  for line in raw:gmatch('[^\n]+') do
    local name = line:match('^([^%s:][^:]*):')
    if name and name:find('[\128-\255]') then
      return 'Field name that is not ASCII (RFC 5322 section 2.2)'
    end
  end
end

rspamd_config:register_symbol({
  name = 'HEADER_AMBIGUOUS',
  type = 'prefilter',
  -- Before whatever looks at From.
  priority = 25,
  score = 0.0,
  group = 'policies',
  description = 'The header section can be read in more than one way',
  callback = function(task)
    local why = refusal(tostring(task:get_raw_headers() or ''), #(task:get_header_full('From') or {}))
    if why then
      task:set_pre_result('reject', why)
      return true, 1.0, why
    end
  end,
})
