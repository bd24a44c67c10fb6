-- ARGV[2]: the subject.
return {'ok', complete and 1 or 0, redis.call('GET', base .. incarnation .. ARGV[2])}
