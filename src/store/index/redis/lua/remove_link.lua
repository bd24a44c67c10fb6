-- ARGV[3]: the digest.
if redis.call('HDEL', bucket_of(ARGV[3]), ARGV[3]) == 1 then
  redis.call('HINCRBY', meta, 'n', -1)
end
return {'ok'}
