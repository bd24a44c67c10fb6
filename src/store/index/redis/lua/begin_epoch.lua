-- KEYS[1]: the state. ARGV: the epoch that the caller saw (empty for none), the next one, the servers, the schema.
local state = redis.call('HMGET', KEYS[1], 'epoch', 'schema')
if (state[1] or '') ~= ARGV[1] or (state[2] or ARGV[4]) ~= ARGV[4] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'schema', ARGV[4], 'epoch', ARGV[2], 'servers', ARGV[3], 'complete', '0')
return 1
