-- Part of the role postmaster.mail.rspamd.
-- A line has no more than 998 octets (RFC 5322 section 2.1.1). Postfix breaks longer ones when it sends them, after they were signed, and
-- other servers break or refuse them. So what our users and this host send in our name is written anew before it is signed: a body in
-- quoted-printable or base64 (RFC 2045 section 6), which leaves its content as it is, and a header field folded. What others have signed
-- within it cannot be changed, and is refused.
-- Of the options, `domains` are all domains of ours, as a set.
local options, senders = ...
local rspamd_regexp = require 'rspamd_regexp'
local rspamd_util = require 'rspamd_util'

local MOST, USUAL = 998, 76
local ENCODING = 'Content-Transfer-Encoding'
local REFUSED = 'Line of more than 998 octets (RFC 5322 section 2.1.1) in '
-- It begins with a line feed, so that a message of 50 MB is read once and not once for each octet.
local long_line = rspamd_regexp.create(string.format('/\\n[^\\r\\n]{%d}/', MOST + 1))

local function has_long_line(text)
  return long_line:match('\n' .. text)
end

-- Whether a message is signed here, or will be once the key is published.
local function signed_here(task)
  local user = task:get_user()
  if user and user ~= '' then
    return true
  end
  local author = (task:get_from('mime') or {})[1]
  return senders.of_this_host(task) and author and options.domains[(author.domain or ''):lower()]
end

-- Text of any charset; what ends a line there ends one here.
local function quoted_printable(text, newline)
  local function code(char)
    return string.format('=%02X', char:byte())
  end
  local lines = {}
  for line in (text .. '\n'):gmatch('(.-)\r?\n') do
    -- Servers on the way may change a dot or "From " where a line begins, and white space where it ends.
    local rest = line:gsub('[^\t\32-\60\62-\126]', code):gsub('[ \t]$', code):gsub('^%.', '=2E'):gsub('^From ', '=46rom ')
    while #rest > USUAL do
      local cut = USUAL - 1
      local begun = rest:sub(cut - 1, cut):find('=', 1, true)
      if begun then
        cut = cut - 3 + begun
      end
      local piece = rest:sub(1, cut)
      table.insert(lines, piece .. '=')
      rest = rest:sub(cut + 1)
    end
    table.insert(lines, rest)
  end
  return table.concat(lines, newline)
end

local function base64(data, newline)
  return (tostring(rspamd_util.encode_base64(data)):gsub(string.rep('.', USUAL), '%0' .. newline):gsub('\r?\n$', ''))
end

-- A body in another encoding, and that one's name; nothing where it cannot be read.
local function encoded(part, raw, newline)
  local before, kind = part:get_cte(), part:get_type()
  local text, ending = raw:match('^(.-)(\r?\n?)$')
  if before == 'base64' then
    return base64(part:get_content(), newline) .. ending, 'base64'
  elseif before == 'quoted-printable' then
    return quoted_printable(tostring(part:get_content()), newline), 'quoted-printable'
  elseif before ~= '7bit' and before ~= '8bit' then
    return nil
  elseif kind == nil or kind == 'text' then
    return quoted_printable(text, newline) .. ending, 'quoted-printable'
  end
  return base64((raw:gsub('\r?\n', '\r\n')), newline) .. ending, 'base64'
end

-- The fields of a header section, each with the lines that it is folded into.
local function fields_of(section)
  local fields = {}
  for line in (section:gsub('\r\n', '\n') .. '\n'):gmatch('([^\n]+)\n') do
    if line:find('^[ \t]') and #fields > 0 then
      fields[#fields] = fields[#fields] .. '\n' .. line
    else
      table.insert(fields, line)
    end
  end
  return fields
end

local function name_of(field)
  return (field:match('^([^%s:]*)') or ''):lower()
end

-- A field that is folded wherever it has white space; nothing where that is not enough.
local function folded(field)
  local lines = {}
  for word in field:gsub('\n', ''):gmatch('[ \t]*[^ \t]+') do
    local last = lines[#lines]
    -- Not right behind the name.
    if last and (not last:find('[^ \t][ \t]') and #lines == 1 or #last + #word <= USUAL) then
      lines[#lines] = last .. word
    else
      table.insert(lines, word)
    end
  end
  for _, line in ipairs(lines) do
    if #line > MOST then
      return nil
    end
  end
  return table.concat(lines, '\n')
end

local function within_signed(part)
  while part do
    local kind, subtype = part:get_type()
    if kind == 'multipart' and (subtype == 'signed' or subtype == 'encrypted') then
      return true
    end
    part = part:get_parent()
  end
  return false
end

-- The header section of a message written anew, and as sets of names what is changed in it; or why it cannot be.
local function new_header(section, encoding, eight_bit)
  local fields, changed, present = fields_of(section), {}, {}
  for number, field in ipairs(fields) do
    local name = name_of(field)
    present[name] = true
    if has_long_line(field) then
      fields[number] = folded(field)
      if not fields[number] then
        return nil, 'the header field ' .. name
      end
      changed[name] = true
    end
  end
  if encoding then
    local kept = {}
    for _, field in ipairs(fields) do
      if name_of(field) ~= ENCODING:lower() then
        table.insert(kept, field)
      end
    end
    table.insert(kept, ENCODING .. ': ' .. encoding)
    changed[ENCODING:lower()] = true
    if not present['mime-version'] then
      table.insert(kept, 'MIME-Version: 1.0')
      changed['mime-version'] = true
    end
    if eight_bit and not present['content-type'] then
      table.insert(kept, 'Content-Type: text/plain; charset=' .. eight_bit)
      changed['content-type'] = true
    end
    fields = kept
  end
  return fields, changed
end

-- Returns why a message cannot be written anew, or nothing.
local function rewrite(task)
  local text = tostring(task:get_content())
  local newline = text:find('\r\n', 1, true) and '\r\n' or '\n'
  local section_end, body_start = text:find('\r?\n\r?\n')
  local section = section_end and text:sub(1, section_end - 1) or text
  local pieces, at, encoding, eight_bit = {}, (body_start or #text) + 1, nil, nil
  for _, part in ipairs(task:get_parts() or {}) do
    local raw = tostring(part:get_raw_content() or '')
    if not part:is_multipart() and not part:is_message() and has_long_line(raw) then
      if within_signed(part) then
        return 'what somebody has signed or encrypted'
      end
      local body, name = encoded(part, raw, newline)
      local from, to = text:find(raw, at, true)
      if not body or not from then
        return 'a part of it'
      end
      if from == (body_start or 0) + 1 then
        encoding = name
        eight_bit = raw:find('[\128-\255]') and (rspamd_util.is_valid_utf8(raw) and 'utf-8' or 'unknown-8bit')
      else
        local before = text:sub(at, from - 1)
        local header = tostring(part:get_raw_headers() or ''):gsub('[\r\n]+$', '')
        local gap = before:match('[\r\n]*$')
        local start = #before - #gap - #header
        if before:sub(start + 1, start + #header) ~= header then
          return 'a part of it'
        end
        local fields = {}
        for _, field in ipairs(fields_of(header)) do
          if name_of(field) ~= ENCODING:lower() then
            table.insert(fields, (field:gsub('\n', newline)))
          end
        end
        table.insert(fields, ENCODING .. ': ' .. name)
        table.insert(pieces, before:sub(1, start) .. (header == '' and newline or '') .. table.concat(fields, newline) .. newline .. newline)
      end
      table.insert(pieces, body)
      at = to + 1
    end
  end
  table.insert(pieces, text:sub(at))
  local fields, changed = new_header(section, encoding, eight_bit)
  if not fields then
    return changed
  end
  local body = table.concat(pieces)
  if has_long_line(body) then
    return 'a part of it'
  end
  local head = table.concat(fields, '\n'):gsub('\n', newline)
  task:set_message(head .. newline .. newline .. body)
  local reply = { add_headers = {}, remove_headers = {} }
  for _, field in ipairs(fields) do
    local name, value = field:match('^([^%s:]+)[ \t]*:[ \t]*(.*)$')
    if name and changed[name:lower()] then
      reply.remove_headers[name] = 0
      reply.add_headers[name] = reply.add_headers[name] or {}
      table.insert(reply.add_headers[name], { value = value, order = -1 })
    end
  end
  if next(changed) then
    task:set_milter_reply(reply)
  end
end

rspamd_config:register_symbol({
  name = 'LONG_LINES',
  type = 'prefilter',
  -- Behind HEADER_AMBIGUOUS, and before all that reads the message.
  priority = 24,
  score = 0.0,
  group = 'policies',
  description = 'Lines of more than 998 octets, which were written anew',
  callback = function(task)
    local content = task:get_content()
    if not content or not signed_here(task) or not long_line:match(content) then
      return
    end
    local why = rewrite(task)
    if why then
      task:set_pre_result('reject', REFUSED .. why)
      return true, 1.0, why
    end
    return true, 1.0
  end,
})

return { quoted_printable = quoted_printable, folded = folded }
