-- ARGV[2]: the incarnation that the caller saw.
if incarnation ~= ARGV[2] then
  return {'ok', 0}
end
redis.call('HSET', meta, 'c', '1')
return {'ok', 1}
