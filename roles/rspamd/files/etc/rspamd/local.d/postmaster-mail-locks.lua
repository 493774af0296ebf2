-- Part of the role postmaster.mail.rspamd.
-- Who is locked sends nothing: by the inventory (mail_users.X.locked), and by the command postmaster-mail. The files are read at each message
-- of a user's, so that a lock holds at once, also in a session that is open already. Of the options, `locks` is the command's directory, and
-- `users` whether there are users who log in.
local options = ...
local rspamd_logger = require 'rspamd_logger'

local PLACES = { rspamd_paths['LOCAL_CONFDIR'] .. '/local.d/maps.d/postmaster-mail-locks/', options.locks .. '/' }
-- Of errno(3): there is no such file, so nobody is in it.
local ENOENT = 2

-- Whether a file has an account in it, and what is wrong with the file.
local function listed(path, user)
  local file, why, code = io.open(path, 'r')
  if not file then
    return false, code ~= ENOENT and why or nil
  end
  local found = false
  for line in file:lines() do
    found = found or line == user
  end
  file:close()
  return found
end

-- Refuse a message of an account that is locked in one of these ways; tell whether it was refused. Where nobody knows, it has to come again.
local function refused(task, user, ...)
  for _, place in ipairs(PLACES) do
    for _, kind in ipairs({ ... }) do
      local found, why = listed(place .. kind, user:lower())
      if why then
        rspamd_logger.errx(task, 'a list of locked accounts cannot be read: %s', why)
        task:set_pre_result('soft reject', '4.7.1 It is not known whether this account is locked')
        return true
      elseif found then
        task:set_pre_result('reject', '5.7.1 This account is locked for sending; its postmaster knows why')
        return true
      end
    end
  end
  return false
end

if options.users then
  rspamd_config:register_symbol({
    name = 'SENDER_LOCKED',
    type = 'prefilter',
    -- Before all that looks at the message.
    priority = 21,
    score = 0.0,
    group = 'policies',
    description = 'The user who has logged in is locked',
    callback = function(task)
      local user = task:get_user() or ''
      if user ~= '' and refused(task, user, 'sending', 'login') then
        return true, 1.0, user
      end
    end,
  })
end

return { refused = refused }
