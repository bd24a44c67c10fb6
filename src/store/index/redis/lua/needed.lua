if not incarnation then
  return {'unknown'}
end
