-- Part of the role postmaster.mail.rspamd.
-- Greylisting defers what it has not seen, and takes down what it defers. Where the store cannot write, it would defer the same message at
-- every attempt, until its sender gives up: such mail passes.
local lua_redis = require 'lua_redis'
local rspamd_logger = require 'rspamd_logger'

local store
rspamd_config:add_post_init(function()
  store = lua_redis.parse_redis_server('greylist')
end)

rspamd_config:register_symbol({
  name = 'GREYLIST_STORE',
  -- After all symbols are known, and before greylisting (5) defers.
  type = 'postfilter',
  priority = 4,
  score = 0.0,
  group = 'policies',
  description = 'Greylisting cannot write down what it would defer, and lets it pass',
  callback = function(task)
    -- It has found no record of this message, whose score is one to defer. Most mail has no such score.
    local found, action = task:get_mempool(), task:get_metric_action()
    if not store or not found:get_variable('grey_greylisted') or action == 'no action' or action == 'reject' or task:has_pre_result() then
      return
    end
    local function written(err)
      if err then
        rspamd_logger.errx(task, 'greylisting cannot write, and lets this message pass: %s', err)
        task:insert_result('GREYLIST_STORE', 1.0)
        found:set_variable('grey_whitelisted', 'store')
      end
    end
    if not lua_redis.redis_make_request(task, store, nil, true, written, 'SETEX', { 'postmaster-mail-writes', '60', '1' }) then
      written('no connection')
    end
  end,
})
