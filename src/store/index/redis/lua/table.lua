-- Links lie in buckets that are split one after the other (linear hashing): 2^level + split of them.
local level, split = tonumber(state[4] or '0'), tonumber(state[5] or '0')

local function spread(digest)
  return (struct.unpack('>I4', string.sub(digest, -4)))
end

local function bucket_key(number)
  return base .. incarnation .. 'l' .. string.format('%d', number)
end

local function bucket_of(digest)
  local number = spread(digest) % 2 ^ level
  if number < split then
    number = spread(digest) % 2 ^ (level + 1)
  end
  return bucket_key(number)
end
