-- ARGV[2]: the incarnation to begin with, if there is none of this epoch.
if not incarnation then
  redis.call('DEL', meta)
  incarnation = ARGV[2]
  redis.call('HSET', meta, 'e', EPOCH, 'i', incarnation)
  state = {EPOCH, incarnation, false, false, false, false}
end
