-- ARGV[3]: the subject. ARGV[4]: the digest. ARGV[5]: its row; empty to remove it.
local key = base .. incarnation .. ARGV[3]
local generation = next_generation()
local value = redis.call('GET', key) or NEW
local rows = without(string.sub(value, 8), ARGV[4])
redis.call('SET', key, string.sub(value, 1, 1) .. generation .. rows .. ARGV[5])
return {'ok'}
