-- ARGV[2]: the tag.
if not complete then
  return {'unknown'}
end
return {'ok', redis.call('HGETALL', base .. incarnation .. ARGV[2])}
