-- Copyright (c) 2026 The postmaster.mail developers
-- GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- Checks a password against the passwd-file, in a worker of Dovecot's authentication. Its own driver for such files would do that in the
-- one process that all wait for, and tell the cache the bcrypt hash, which takes as long to compare the next time; so the cache keeps a
-- quick hash, in memory, of a password that was right.

local USERS = "/etc/dovecot/users"

-- Return the hash of a user, with its scheme before it, or nil.
local function hash_of(user)
  local start = user .. ":"
  for line in assert(io.lines(USERS)) do
    if line:sub(1, #start) == start then
      return line:match("^[^:]*:([^:]+)")
    end
  end
end

-- Dovecot 2.4 asks what the cache knows a password by; 2.3 takes the user's name by itself.
function auth_passdb_get_cache_key()
  return "%{user}"
end

function auth_password_verify(request, password)
  local hash = hash_of(request.user)
  if not hash then
    return dovecot.auth.PASSDB_RESULT_USER_UNKNOWN, "no such user"
  end
  if request:password_verify(hash, password) == 1 then
    return dovecot.auth.PASSDB_RESULT_OK, {}
  end
  return dovecot.auth.PASSDB_RESULT_PASSWORD_MISMATCH, "wrong password"
end
