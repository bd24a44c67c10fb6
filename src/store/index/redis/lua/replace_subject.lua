-- ARGV[2], ARGV[4]: the incarnation and generation that the caller saw. ARGV[3]: the subject. ARGV[5]: its rows.
if incarnation ~= ARGV[2] then
  return {'ok', 0}
end
local key = base .. incarnation .. ARGV[3]
local value = redis.call('GET', key)
if not value or string.sub(value, 2, 7) ~= ARGV[4] then
  return {'ok', 0}
end
redis.call('SET', key, '\1' .. next_generation() .. ARGV[5])
return {'ok', 1}
