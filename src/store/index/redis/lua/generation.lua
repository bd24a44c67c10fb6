-- ARGV[3]: the subject. It begins to exist, so that a generation does not come back when the subject is lost.
local key = base .. incarnation .. ARGV[3]
local value = redis.call('GET', key)
if not value then
  value = '\0' .. next_generation()
  redis.call('SET', key, value)
end
return {'ok', incarnation, string.sub(value, 2, 7)}
