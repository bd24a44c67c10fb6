-- ARGV[1]: when the caller gives up, in microseconds of this server's clock.
local time = redis.call('TIME')
if time[1] * 1000000 + time[2] > tonumber(ARGV[1]) then
  return {'late'}
end
