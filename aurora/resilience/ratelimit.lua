-- Exact sliding window over several categories of one identity: every one admits the hit, or none records it.
--
-- KEYS[i]              list: the time of each admitted hit that may still be in the window, oldest first
-- ARGV[1]              cost: how many entries the hit takes in each list, at most the smallest quota
-- ARGV[2i], ARGV[2i+1] quota and window of KEYS[i]
-- returns              wait (0 = admitted), then for each key: remaining, time until its oldest entry leaves (0 = none)
--
-- All times are microseconds of this server's clock. A list packs 64-bit integers, 10 bytes an entry; a sorted set
-- needs ten times that. Most of the cost of a decision is commands and texts turned into numbers: there are few here.

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])

-- How many entries at the head have left the window, the first of them known to be one. The stride doubles, then
-- halves: one expired entry costs one look, six thousand cost twenty-six.
local function count_expired(key, length, horizon)
  local expired, live = 1, 2
  while live <= length and call('LINDEX', key, live - 1) - horizon <= 0 do
    expired, live = live, live * 2
  end
  live = math.min(live, length + 1)
  while live - expired > 1 do
    local middle = math.floor((expired + live) / 2)
    if call('LINDEX', key, middle - 1) - horizon <= 0 then
      expired = middle
    else
      live = middle
    end
  end
  return expired
end

local stamp = time[1] .. string.sub('000000' .. time[2], -6)

-- The list's length with the hit in it. Pushing first saves asking for the length; a refused hit is taken out again.
local function push(key)
  local length
  for _ = 1, cost do
    length = call('RPUSH', key, stamp)
  end
  return length
end

local reply, to_expire = {0}, {}
for i, key in ipairs(KEYS) do
  local window = ARGV[2 * i + 1] + 0
  local length, reset = push(key) - cost, 0
  if length > 0 then
    reset = call('LINDEX', key, '0') + window - now
    if reset <= 0 then
      local expired = count_expired(key, length, now - window)
      call('LTRIM', key, expired, -1)
      length = length - expired
      reset = length > 0 and call('LINDEX', key, '0') + window - now or 0
      to_expire[i] = true
    elseif reset > 2 * window then
      -- The clock was set back, or a replica with a slower one took over. Without this the client would stay locked
      -- out for as long as the difference.
      call('DEL', key)
      length, reset = push(key) - cost, 0
    end
  end
  if length == 0 then
    to_expire[i] = true
  end
  local excess = length + cost - ARGV[2 * i]
  if excess > 0 then
    reply[1] = math.max(reply[1], call('LINDEX', key, excess - 1) + window - now)
  end
  reply[2 * i], reply[2 * i + 1] = math.max(cost - excess, 0), reset
end

if reply[1] > 0 then
  for _, key in ipairs(KEYS) do
    call('LTRIM', key, 0, -cost - 1)
  end
  return reply
end

for i, key in ipairs(KEYS) do
  if to_expire[i] then
    -- Until the next trimming every hit comes within a window of now and must be kept for one more; a second on top,
    -- for expiry is counted in milliseconds and must not come early.
    call('PEXPIRE', key, math.ceil(ARGV[2 * i + 1] / 500) + 1000)
  end
  reply[2 * i] = reply[2 * i] - cost
  if reply[2 * i + 1] == 0 then
    reply[2 * i + 1] = ARGV[2 * i + 1] + 0
  end
end
return reply
