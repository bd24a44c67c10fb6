-- ARGV[3]: the tag. ARGV[4]: the version's number. ARGV[5]: its row.
redis.call('HSET', base .. incarnation .. ARGV[3], ARGV[4], ARGV[5])
return {'ok'}
