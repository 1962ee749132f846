/**
 * The sequencer as scripts of Redis or Valkey, which run one at a time.
 *
 * The state is one hash, so that it is lost as a whole: `epoch`, `run` (the
 * identifier of the server's process), `lease`, `head`, `open`, `members`, and
 * for each member `a:ID`, the number that it has acknowledged, and `p:ID`, the
 * number of its polls. The messages are a list of tags in JSON.
 *
 * The server has no monotonic clock, so it measures no leases. The process that
 * invalidates does: a member whose polls do not grow for 9/8 of a lease has
 * none. The state expires if there are no polls. That may happen early, since
 * the next state begins with an epoch that is not open.
 */

/** Common to both scripts: begins a new state after a loss. */
const begin = `
local state, log, channel = KEYS[1], KEYS[2], KEYS[3]
local fresh, lease, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local function restart()
  redis.call('DEL', state, log)
  redis.call('HSET', state, 'epoch', fresh, 'run', run, 'lease', lease, 'head', 0, 'members', 0)
end
if redis.call('HGET', state, 'run') ~= run then restart() end
if tonumber(redis.call('HGET', state, 'lease')) ~= lease then
  return redis.error_reply('the members of this bus have another lease: use the same')
end
local function keep()
  redis.call('PEXPIRE', state, 8 * lease)
  redis.call('PEXPIRE', log, 8 * lease)
end
`;

/**
 * Answers a poll: epoch, head, 1 for a reset, and the messages. Arguments:
 * member, epoch and applied of the poll, and the most members.
 */
export const pollScript = `${begin}
local member, applied = ARGV[4], tonumber(ARGV[6])
local isNew = redis.call('HEXISTS', state, 'a:' .. member) == 0
if isNew and tonumber(redis.call('HGET', state, 'members')) >= tonumber(ARGV[7]) then restart() end
if isNew then
  redis.call('HSET', state, 'a:' .. member, 0)
  redis.call('HINCRBY', state, 'members', 1)
end
redis.call('HINCRBY', state, 'p:' .. member, 1)
keep()
local epoch, head, length = redis.call('HGET', state, 'epoch'), tonumber(redis.call('HGET', state, 'head')), redis.call('LLEN', log)
if ARGV[5] ~= epoch or applied > head or applied < head - length then return {epoch, head, 1} end
if applied > tonumber(redis.call('HGET', state, 'a:' .. member)) then
  redis.call('HSET', state, 'a:' .. member, applied)
  redis.call('PUBLISH', channel, 'acknowledged')
end
if applied == head then return {epoch, head, 0} end
return {epoch, head, 0, unpack(redis.call('LRANGE', log, applied - head, -1))}
`;

/** Orders a message and returns the epoch and its number. Argument: its tags. */
export const invalidateScript = `${begin}
local head = redis.call('HINCRBY', state, 'head', 1)
redis.call('RPUSH', log, ARGV[4])
redis.call('LTRIM', log, -window, -1)
keep()
redis.call('PUBLISH', channel, 'ordered')
return {redis.call('HGET', state, 'epoch'), head}
`;

/**
 * Returns the epoch, 1 if it is open, and for each member that has not
 * acknowledged a message its identifier and the number of its polls. Arguments:
 * the number of the message, the epoch to open or an empty text, and members to
 * forget, each with the number of its polls.
 */
export const statusScript = `
local state = KEYS[1]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local epoch = redis.call('HGET', state, 'epoch')
if not epoch or redis.call('HGET', state, 'run') ~= run then return {'', 0} end
if ARGV[2] == epoch then redis.call('HSET', state, 'open', 1) end
for i = 3, #ARGV, 2 do
  if redis.call('HGET', state, 'p:' .. ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', state, 'a:' .. ARGV[i], 'p:' .. ARGV[i])
    redis.call('HINCRBY', state, 'members', -1)
  end
end
local answer = {epoch, redis.call('HEXISTS', state, 'open')}
local fields = redis.call('HGETALL', state)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'a:' and tonumber(fields[i + 1]) < tonumber(ARGV[1]) then
    local member = string.sub(fields[i], 3)
    answer[#answer + 1] = member
    answer[#answer + 1] = redis.call('HGET', state, 'p:' .. member)
  end
end
return answer
`;
