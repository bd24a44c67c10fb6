-- ARGV[2], ...: what follows the base in names of keys. Removes those that nobody can reach any more. The state of an
-- older epoch goes first, so that nobody who still believes in that epoch takes what is gone for absent.
if begun > 0 and not incarnation then
  redis.call('DEL', meta)
end
local removed = 0
for at = 2, #ARGV do
  if string.sub(ARGV[at], 1, 8) ~= incarnation then
    removed = removed + redis.call('UNLINK', base .. ARGV[at])
  end
end
return {'ok', removed}
