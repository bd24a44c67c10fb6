-- KEYS[1]: the state. ARGV[2]: its epoch. ARGV[3], ARGV[4]: the field and its value.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
return 1
