-- Part of the role postmaster.mail.rspamd.
-- Tells Dovecot, which knows whom each user allows, that the author of a message is who From says. Nobody else's such header arrives.
local senders = ...

rspamd_config:register_symbol({
  name = 'AUTHOR_AUTHENTICATED',
  -- After all symbols are known.
  type = 'postfilter',
  priority = 1,
  score = 0.0,
  group = 'policies',
  description = 'SPF or DKIM passes for the one author in From',
  callback = function(task)
    local authors = task:get_from({ 'mime', 'orig' }) or {}
    if senders.of_this_host(task) or (task:get_user() or '') ~= '' or not senders.vouched(task) then
      return
    end
    -- Rspamd lists an address with a detail twice, once without it.
    for _, author in ipairs(authors) do
      if senders.bare(author.addr or ''):lower() ~= senders.bare(authors[1].addr or ''):lower() then
        return
      end
    end
    task:set_milter_reply({ add_headers = { ['X-Rspamd-Author'] = senders.canonical(authors[1].domain) } })
    return true, 0.0, senders.canonical(authors[1].domain)
  end,
})
