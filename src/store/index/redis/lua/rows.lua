-- A subject is one string: 1 if it is known, six bytes of generation, its rows. A row is its length (one byte, or 255
-- and four) and its bytes, which begin with the digest.
local NEW = '\0\0\0\0\0\0\0'

local function next_generation()
  return struct.pack('>I6', redis.call('HINCRBY', meta, 'g', 1))
end

local function without(rows, digest)
  if not string.find(rows, digest, 1, true) then
    return rows
  end
  local at = 1
  while at <= #rows do
    local length, body = string.byte(rows, at), at + 1
    if length == 255 then
      length, body = struct.unpack('>I4', rows, body)
    end
    if string.sub(rows, body, body + #digest - 1) == digest then
      return string.sub(rows, 1, at - 1) .. string.sub(rows, body + length)
    end
    at = body + length
  end
  return rows
end
