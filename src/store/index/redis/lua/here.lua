-- The repository's state, if it belongs to this epoch.
local meta = KEYS[1]
local base = string.sub(meta, 1, -2)
local state = redis.call('HMGET', meta, 'e', 'i', 'c', 'L', 'p', 'n')
local begun = tonumber(state[1] or '0')
if begun > tonumber(EPOCH) then
  return {'moved', state[1]}
end
local incarnation = begun == tonumber(EPOCH) and state[2]
local complete = incarnation and state[3] == '1'
