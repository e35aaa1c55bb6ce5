-- One event of a shared circuit breaker, decided on Redis's clock: the table of breaker_machine.py, change both together.
--
-- KEYS[1]  the breaker's state, a text of lines (see `held` below)
-- ARGV     1 event ("sync" only reads)   2 generation of the call   3 error text   4 failure threshold
--          what the caller believes:  5 version   6 "1" if it moved on by itself since that version   7 then its state, as lines, else empty
--          8 empty, or the conditions of breaker_window.py: slot's length, least calls, rate of failures and of slow calls (in millionths),
--            other calls that succeeded since it was last told
--          counted since its last call:  9 successes  10 failures  11 rejected
--          12 open time, probe lease, longest open time   13 jitter drawn, 0 to 1   14 channel for pushes, and name, as lines
-- Times are whole microseconds; an empty line means never. Returns {admitted, moved, status before, view}; the view is lines too, the error last,
-- for it alone may hold line breaks. Of one failure more, and nothing else, {version, failures in a row, successes, failures, rejected, trips and failed probes as lines}. Nothing when
-- less is known here than the caller knows: it has to ask again, with its state.
--
-- Every failure waits for this script, so it makes few calls and few tables.

local held = redis.pcall('GET', KEYS[1])
if type(held) == 'table' then held = nil end -- no text at all
local event, call = ARGV[1], tonumber(ARGV[2])
local known, differs = tonumber(ARGV[5]), ARGV[6] == '1'

-- What an outage mostly consists of, one failure more of several: it is no news to others, the caller need not be told what it knows, and only what is
-- needed is read.
if event == 'fail' and held and ARGV[6] == '0' and ARGV[8] == '' then
  local version, generation, failure_count, tripped, successes, failures, rejected, window =
    string.match(held, '^(%d+)\nclosed\n(%d+)\n(%d+)\n0\n\n\n\n(%d+\n%d+)\n(%d+)\n(%d+)\n(%d+)([^\n]*)\n')
  if version and tonumber(generation) == call and failure_count ~= '0' and failure_count + 1 < tonumber(ARGV[4]) and tonumber(version) >= known then
    version, failure_count, successes, failures, rejected =
      version + 1, failure_count + 1, successes + ARGV[9], failures + ARGV[10], rejected + ARGV[11]
    redis.call('SET', KEYS[1], string.format('%d\nclosed\n%s\n%d\n0\n\n\n\n%s\n%d\n%d\n%d%s\n', version, generation, failure_count, tripped,
      successes, failures, rejected, window) .. ARGV[3])
    return {version, failure_count, successes, failures, rejected, tripped}
  end
end

local version, status, generation, failure_count, forced, opened_at, probe_at, wait, trips, reopened
local successes, failures, rejected, window, last_error
if held then
  version, status, generation, failure_count, forced, opened_at, probe_at, wait, trips, reopened,
    successes, failures, rejected, window, last_error = string.match(held, '^(%d+)\n([%a-]+)\n(%d+)\n(%d+)\n([01])\n(%d*)\n(%d*)\n(%d*)\n' ..
      '(%d+)\n(%d+)\n(%d+)\n(%d+)\n(%d+)([^\n]*)\n(.*)$')
end
if version then
  version, generation, failure_count, forced = tonumber(version), tonumber(generation), tonumber(failure_count), forced == '1'
  if status == 'closed' then
    opened_at, probe_at, wait = nil, nil, nil
  else
    opened_at, probe_at, wait = tonumber(opened_at), tonumber(probe_at), tonumber(wait)
  end
else
  -- Never used, flushed, or overwritten by somebody with what is no state: then it is written anew, for it would stay unreadable for ever.
  version, status, generation, failure_count, forced, trips, reopened = 0, 'closed', 0, 0, false, 0, 0
  successes, failures, rejected, window, last_error = 0, 0, 0, '', ''
end

local base, lease, longest = string.match(ARGV[12], '^(%d+),(%d+),(%d+)$')
base, longest = tonumber(base), tonumber(longest)
local channel, name = string.match(ARGV[14], '^([^\n]*)\n(.*)$')
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- Versions are times, and above all seen ones: order survives a flush, and a clock set back.
local next_version = math.max(now, version + 1, known + 1)
-- `changed` is kept, `news` is also pushed.
local changed, news, admitted = false, false, false

-- Flushed, restored from an older file, or out of reach for a while: the first to come back brings what it knows.
if version < known or (version == known and differs) then
  if ARGV[7] == '' then return {} end
  local ago, ahead
  window = ''
  status, generation, failure_count, forced, ago, ahead, trips, reopened, last_error =
    string.match(ARGV[7], '^([%a-]+)\n(%d+)\n(%d+)\n([01])\n(%-?%d*)\n(%-?%d*)\n(%d+)\n(%d+)\n(.*)$')
  generation, failure_count, forced = tonumber(generation), tonumber(failure_count), forced == '1'
  trips, reopened, ago, ahead = tonumber(trips), tonumber(reopened), tonumber(ago), tonumber(ahead)
  -- No time lies before Redis's clock began: one that was started without the time of day tells the epoch. For a probe that is due already
  -- nothing is waited any more.
  opened_at = ago and math.max(now - ago, 0)
  probe_at, wait = ahead and math.max(now + ahead, 0), ahead and math.max(ahead, 0)
  changed, news = true, true
end

-- A clock set back would prolong the wait: it is never longer than it was when it began.
if probe_at and wait and probe_at > now + wait then
  probe_at, changed, news = now + wait, true, true
end
-- And nothing has opened in the future.
if opened_at and opened_at > now then opened_at = now end

local before, before_forced = status, forced

local function close()
  status, generation, failure_count, forced, opened_at, probe_at, wait, reopened =
    'closed', next_version, 0, false, nil, nil, nil, 0
  window = ''
  changed, news = true, true
end

local function open(open_for)
  status, generation, opened_at, wait = 'open', next_version, now, open_for
  probe_at = wait and now + wait
  window = ''
  changed, news = true, true
end

-- The full time, or growing with each failed probe up to the longest, and then a tenth longer at most, by chance.
local function open_time()
  if longest <= base then return base end
  return math.floor(math.min(base * 2 ^ math.min(reopened, 32), longest) * (1 + tonumber(ARGV[13]) / 10))
end

-- Adds a call, and those that succeeded meanwhile, to the window's slot of now; whether a rate is reached. The window is kept as `;slot,calls,failures,slow`
-- for each slot, at the end of the last count's line.
local function count(calls, failed, slow)
  if ARGV[8] == '' then return false end
  local length, least, failure_rate, slow_rate, succeeded = string.match(ARGV[8], '^(%d+),(%d+),(%d+),(%d+),(%d+)$')
  local slot, rows = math.floor(now / tonumber(length)), {}
  calls = calls + tonumber(succeeded)
  if calls == 0 then return false end -- a tally of nothing
  local all_calls, all_failed, all_slow = calls, failed, slow
  for at, c, f, s in string.gmatch(window, ';(%d+),(%d+),(%d+),(%d+)') do
    at, c, f, s = tonumber(at), tonumber(c), tonumber(f), tonumber(s)
    -- One of the future is of a clock set back since, or of slots of another length: it would never get too old.
    if at > slot - 10 and at <= slot then
      all_calls, all_failed, all_slow = all_calls + c, all_failed + f, all_slow + s
      if at == slot then
        calls, failed, slow = calls + c, failed + f, slow + s
      else
        rows[#rows + 1] = string.format(';%d,%d,%d,%d', at, c, f, s)
      end
    end
  end
  rows[#rows + 1] = string.format(';%d,%d,%d,%d', slot, calls, failed, slow)
  window, changed = table.concat(rows), true
  if all_calls < tonumber(least) then return false end
  failure_rate, slow_rate = tonumber(failure_rate), tonumber(slow_rate)
  return (failure_rate > 0 and all_failed * 1000000 >= failure_rate * all_calls) or (slow_rate > 0 and all_slow * 1000000 >= slow_rate * all_calls)
end

if event == 'fail' then
  if call == generation and not forced then
    news = news or failure_count == 0
    failure_count, last_error, changed = failure_count + 1, ARGV[3], true
    if status ~= 'closed' then
      reopened = reopened + 1
      open(open_time())
    elseif count(1, 1, 0) or failure_count >= tonumber(ARGV[4]) then
      trips, reopened = trips + 1, 0
      open(open_time())
    end
  end
elseif event == 'slow' then
  if call == generation then
    if status == 'half-open' then
      close()
    else
      if failure_count > 0 then failure_count, changed, news = 0, true, true end
      if status == 'closed' and not forced and count(1, 0, 1) then
        trips, reopened, last_error = trips + 1, 0, ARGV[3]
        open(open_time())
      end
    end
  end
elseif event == 'tally' then
  if call == generation and status == 'closed' then count(0, 0, 0) end
elseif event == 'succeed' then
  if call == generation then
    if status == 'half-open' then
      close()
    elseif failure_count > 0 then
      failure_count, changed, news = 0, true, true
    end
  end
elseif event == 'admit' then
  if status == 'closed' then
    admitted = true
  elseif probe_at and now >= probe_at then
    wait = tonumber(lease)
    status, generation, probe_at = 'half-open', next_version, now + wait
    admitted, changed, news = true, true, true
  end
elseif event == 'cancel' then
  if call == generation and status == 'half-open' then
    probe_at, changed, news = math.min(probe_at, now), true, true
  end
elseif event == 'force_open' then
  open(nil)
  forced = true
elseif event == 'force_closed' then
  close()
  forced = true
elseif event == 'reset' then
  close()
  last_error = ''
end

if changed then version = next_version end
local has_counts = ARGV[9] ~= '0' or ARGV[10] ~= '0' or ARGV[11] ~= '0'
if has_counts then
  successes, failures, rejected = successes + ARGV[9], failures + ARGV[10], rejected + ARGV[11]
end

local opened, probed, opened_ago, probe_in, waiting = '', '', '', '', ''
if opened_at then opened, opened_ago = string.format('%d', opened_at), string.format('%d', now - opened_at) end
if probe_at then probed, probe_in = string.format('%d', probe_at), string.format('%d', probe_at - now) end
if wait then waiting = string.format('%d', wait) end

local flag = forced and '1' or '0'
if changed or has_counts then
  redis.call('SET', KEYS[1], string.format('%d\n%s\n%d\n%d\n%s\n%s\n%s\n%s\n%d\n%d\n%d\n%d\n%d%s\n', version, status, generation, failure_count,
    flag, opened, probed, waiting, trips, reopened, successes, failures, rejected, window) .. last_error)
end
local view = name .. string.format('\n%d\n%s\n%d\n%d\n%s\n%s\n%s\n%d\n%d\n%d\n%d\n%d\n', version, status, generation, failure_count,
  flag, opened_ago, probe_in, trips, reopened, successes, failures, rejected) .. last_error
if news then redis.call('PUBLISH', channel, view) end
return {admitted and 1 or 0, (before ~= status or before_forced ~= forced) and 1 or 0, before, view}
