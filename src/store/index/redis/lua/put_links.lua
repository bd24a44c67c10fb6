-- ARGV[3], ARGV[5], ...: digests. ARGV[4], ARGV[6], ...: their rows.
local count = tonumber(state[6] or '0')

-- In an order that loses nothing where it may end: the copies are there before the table names them.
local function split_next()
  local old, new = bucket_key(split), bucket_key(2 ^ level + split)
  redis.call('DEL', new)
  local rows, moved = redis.call('HGETALL', old), {}
  for at = 1, #rows, 2 do
    if spread(rows[at]) % 2 ^ (level + 1) ~= split then
      redis.call('HSET', new, rows[at], rows[at + 1])
      moved[#moved + 1] = rows[at]
    end
  end
  split = split + 1
  if split == 2 ^ level then
    level, split = level + 1, 0
  end
  redis.call('HSET', meta, 'L', level, 'p', split)
  for _, digest in ipairs(moved) do
    redis.call('HDEL', old, digest)
  end
end

for at = 3, #ARGV, 2 do
  count = count + redis.call('HSET', bucket_of(ARGV[at]), ARGV[at], ARGV[at + 1])
  if count > 96 * (2 ^ level + split) then
    split_next()
  end
end
redis.call('HSET', meta, 'n', count)
return {'ok'}
