-- One event of a shared circuit breaker, decided on Redis's clock: the table of breaker_machine.py, change both together.
--
-- KEYS[1]  the breaker's hash
-- ARGV     1 event ("sync" only reads)   2 generation of the call   3 error text
--          4 failure threshold   5 open time   6 probe lease   7 channel for pushes   8 name
--          what the caller believes:  9 version   10 "1" if it moved on by itself since that version
--          11 status  12 generation  13 failure count  14 forced  15 opened, time ago  16 probe due, time ahead
--          17 trips  18 last error
--          counted since its last call:  19 successes  20 failures  21 rejected
-- Times are whole microseconds; an empty string means never. Returns {admitted, moved, status before, view as JSON}.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HMGET', KEYS[1], 'version', 'status', 'generation', 'failure_count', 'forced', 'opened_at',
  'probe_at', 'trips', 'last_error', 'successes', 'failures', 'rejected', 'wait')

local version = tonumber(held[1]) or 0
local status = held[2] or 'closed'
local generation = tonumber(held[3]) or 0
local failure_count = tonumber(held[4]) or 0
local forced = held[5] == '1'
local opened_at = tonumber(held[6] or '')
local probe_at = tonumber(held[7] or '')
local trips = tonumber(held[8]) or 0
local last_error = held[9] or ''
local wait = tonumber(held[13] or '')
local counts = {}
for i = 1, 3 do counts[i] = (tonumber(held[9 + i]) or 0) + tonumber(ARGV[18 + i]) end

local event, call, failure = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local threshold, open_time, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local known, differs = tonumber(ARGV[9]), ARGV[10] == '1'

-- Versions are times, and above all seen ones: order survives a flush, and a clock set back.
local next_version = math.max(now, version + 1, known + 1)
local changed, admitted = false, false

local function text(number)
  return number and string.format('%.0f', number) or ''
end

-- Flushed, restored from an older file, or out of reach for a while: the first to come back brings what it knows.
if version < known or (version == known and differs) then
  status, generation, failure_count, forced = ARGV[11], tonumber(ARGV[12]), tonumber(ARGV[13]), ARGV[14] == '1'
  local ago, ahead = tonumber(ARGV[15]), tonumber(ARGV[16])
  opened_at = ago and now - ago
  probe_at, wait = ahead and now + ahead, ahead
  trips, last_error = tonumber(ARGV[17]), ARGV[18]
  changed = true
end

-- A clock set back would prolong the wait: it is never longer than it was when it began.
if probe_at and wait and probe_at > now + wait then
  probe_at, changed = now + wait, true
end

local before, before_forced = status, forced

local function close()
  status, generation, failure_count, forced, opened_at, probe_at, wait =
    'closed', next_version, 0, false, nil, nil, nil
  changed = true
end

local function open(open_for)
  status, generation, opened_at, wait = 'open', next_version, now, open_for
  probe_at = wait and now + wait
  changed = true
end

local rules = {}

function rules.sync() end

function rules.admit()
  if status == 'closed' then
    admitted = true
  elseif probe_at and now >= probe_at then
    status, generation, probe_at, wait = 'half-open', next_version, now + lease, lease
    admitted, changed = true, true
  end
end

function rules.succeed()
  if call ~= generation then return end
  if status == 'half-open' then
    close()
  elseif failure_count > 0 then
    failure_count, changed = 0, true
  end
end

function rules.fail()
  if call ~= generation or forced then return end
  failure_count, last_error, changed = failure_count + 1, failure, true
  if status ~= 'closed' then
    open(open_time)
  elseif failure_count >= threshold then
    trips = trips + 1
    open(open_time)
  end
end

function rules.cancel()
  if call == generation and status == 'half-open' then
    probe_at, changed = math.min(probe_at, now), true
  end
end

function rules.force_open()
  open(nil)
  forced = true
end

function rules.force_closed()
  close()
  forced = true
end

function rules.reset()
  close()
  last_error = ''
end

rules[event]()

if changed then version = next_version end
if changed or ARGV[19] ~= '0' or ARGV[20] ~= '0' or ARGV[21] ~= '0' then
  redis.call('HSET', KEYS[1], 'version', text(version), 'status', status, 'generation', text(generation),
    'failure_count', text(failure_count), 'forced', forced and '1' or '0', 'opened_at', text(opened_at),
    'probe_at', text(probe_at), 'trips', text(trips), 'last_error', last_error, 'successes', text(counts[1]),
    'failures', text(counts[2]), 'rejected', text(counts[3]), 'wait', text(wait))
end

-- Strings only: cjson would round a version to 14 digits.
local view = cjson.encode({
  ARGV[8], text(version), status, text(generation), text(failure_count), forced and '1' or '0',
  text(opened_at and now - opened_at), text(probe_at and probe_at - now), text(trips), last_error,
  text(counts[1]), text(counts[2]), text(counts[3]),
})
if changed then redis.call('PUBLISH', ARGV[7], view) end
local moved = before ~= status or before_forced ~= forced
return {admitted and 1 or 0, moved and 1 or 0, before, view}
