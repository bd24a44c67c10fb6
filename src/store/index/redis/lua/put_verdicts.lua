-- ARGV[3]: the subject. ARGV[4]: its verdicts. ARGV[5]: after how many milliseconds they go.
redis.call('SET', base .. incarnation .. ARGV[3], ARGV[4], 'PX', ARGV[5])
return {'ok'}
