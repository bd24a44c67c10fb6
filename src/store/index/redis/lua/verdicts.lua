-- ARGV[2]: the subject.
return {'ok', redis.call('GET', base .. incarnation .. ARGV[2])}
