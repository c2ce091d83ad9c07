-- Sends one body for ever, or the same with a number in it that is never sent twice; says at the end, in one line of
-- JSON, what came of it.
local file = assert(io.open(os.getenv("BENCH_BODY"), "rb"))
wrk.method = os.getenv("BENCH_METHOD")
wrk.body = file:read("*a")
file:close()
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer " .. os.getenv("BENCH_KEY")

if wrk.method == "GET" then
  wrk.body = nil
elseif os.getenv("BENCH_SAME") == "" then
  -- Each run has its own beginning, so that no answer of a run before is found again.
  math.randomseed(os.time())
  local head, tail = wrk.body:match("^(.-What does)(.*)$")
  local run, number = string.format(" %08x", math.random(0, 0x7fffffff)), 0
  -- As long as what gives way.
  tail = tail:sub(1, -21) .. tail:sub(-4)
  function request()
    number = number + 1
    return wrk.format(nil, nil, nil, head .. run .. string.format("%08d", number) .. tail)
  end
end

-- At random, so that the connections don't march in step.
local pause = tonumber(os.getenv("BENCH_PAUSE_MS") or "0")
if pause > 0 then
  function delay()
    return math.random(0, 2 * pause)
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
