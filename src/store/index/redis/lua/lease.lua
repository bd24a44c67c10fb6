-- KEYS[1]: the lease. ARGV[2]: who asks. ARGV[3]: for how many milliseconds.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
