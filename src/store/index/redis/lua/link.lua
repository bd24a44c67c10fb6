-- ARGV[2]: the digest.
return {'ok', complete and 1 or 0, redis.call('HGET', bucket_of(ARGV[2]), ARGV[2])}
