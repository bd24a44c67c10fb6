-- ARGV[2], ...: what follows the base in the names of subjects and tags. Answers with those of this incarnation.
local rows = {}
for at = 2, #ARGV do
  if string.sub(ARGV[at], 1, 8) == incarnation then
    local kind, key = string.sub(ARGV[at], 9, 9), base .. ARGV[at]
    rows[#rows + 1] = ARGV[at]
    rows[#rows + 1] = redis.call(kind == 's' and 'GET' or 'HGETALL', key)
  end
end
return {'ok', rows}
