-- ARGV[2]: the number of a bucket. ARGV[3]: the incarnation whose buckets are walked; empty at the first.
if ARGV[3] ~= '' and ARGV[3] ~= incarnation then
  return {'unknown'}
end
return {'ok', incarnation, 2 ^ level + split, redis.call('HGETALL', bucket_key(ARGV[2]))}
