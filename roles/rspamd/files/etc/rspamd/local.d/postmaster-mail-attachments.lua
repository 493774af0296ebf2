-- Part of the role postmaster.mail.rspamd.
-- Files that run as soon as somebody opens them are refused, whoever sends them, also in an archive. Of the options, `blocked` is the set of
-- their extensions. What is in an encrypted archive has its names in the open; an archive in an archive is not opened.
local options = ...

-- What a system would take for the extension of a file: blanks and dots at the end do not count, nor do marks that turn text around.
local function extension(name)
  name = tostring(name or ''):gsub('\226\128[\142\143\170-\174]', ''):gsub('\226\129[\166-\169]', ''):gsub('[%z%s.]+$', '')
  return (name:lower():match('%.([^./\\]+)$') or '')
end

local function names(part)
  local kind, _, attributes = part:get_type_full()
  local found = {}
  -- The name of a message is its subject, which may end with that of a domain.
  if kind ~= 'message' then
    -- Some readers take the one, some the other.
    table.insert(found, part:get_filename())
    table.insert(found, attributes and attributes.name)
  end
  if part:is_archive() then
    for _, name in ipairs(part:get_archive():get_files() or {}) do
      found[#found + 1] = name
    end
  end
  return found
end

rspamd_config:register_symbol({
  name = 'ATTACHMENT_BLOCKED',
  type = 'prefilter',
  priority = 15,
  score = 0.0,
  group = 'policies',
  description = 'A file is attached, or in an attached archive, that runs when it is opened',
  callback = function(task)
    for _, part in ipairs(task:get_parts() or {}) do
      local why
      for _, name in ipairs(names(part)) do
        local found = extension(name)
        why = why or options.blocked[found] and found
      end
      -- A program of Windows under whatever name.
      if not why and options.blocked.exe and part:get_detected_ext() == 'exe' then
        why = 'exe'
      end
      if why then
        task:set_pre_result('reject', '5.7.1 Files of the type .' .. why:gsub('[^%w_-]', '?') .. ' are not taken here')
        return true, 1.0, why
      end
    end
  end,
})
