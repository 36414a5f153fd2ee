-- wrk: deliveries from a pool of request bodies, each sent with ids of its own.
--
--   wrk -t 1 -s bench/requests.lua URL -- POOL TOKEN START [vary] [gzip]
--
-- POOL holds bodies, each after a line of its length in decimal and headers of its own, if it has any, with a tab before
-- each (bench/wrk.py writes it). SERIAL in a body is
-- replaced with a number of the same width that no other request has, from START up; a packed body has none and is sent
-- as it is. One thread only: another one would send the same numbers.
-- "vary" gives each request a traceparent and a signature of its own. The last line printed is JSON.

local SERIAL = "00000000-"

-- The body as the pieces between the serial numbers: table.concat with the number as separator makes a request.
local function pieces(body)
  local found, from = {}, 1
  while true do
    local start, stop = body:find(SERIAL, from, true)
    found[#found + 1] = body:sub(from, start and start - 1)
    if not start then
      return found
    end
    from = stop + 1
  end
end

function init(arguments)
  local options = {}
  for index = 4, #arguments do
    options[arguments[index]] = true
  end
  vary = options.vary
  local head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " .. arguments[2]
    .. "\r\nContent-Type: application/json\r\n" .. (options.gzip and "Content-Encoding: gzip\r\n" or "")
  pool = {}
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local line = file:read("*l")
    if not line then
      break
    end
    local length, headers = line:match("^(%d+)(.*)$")
    local body = file:read(tonumber(length))
    local rest = "Content-Length: " .. length .. headers:gsub("\t", "\r\n") .. "\r\n\r\n"
    pool[#pool + 1] = vary and { head = head, pieces = pieces(rest .. body) } or { pieces = pieces(head .. rest .. body) }
  end
  file:close()
  serial = tonumber(arguments[3])
end

function request()
  serial = serial + 1
  local entry = pool[serial % #pool + 1]
  local text = table.concat(entry.pieces, string.format("%08x-", serial))
  if vary then
    local low = serial * 2654435761 % 4294967296
    return string.format(
      "%straceparent: 00-%08x%024x-%016x-01\r\nx-hub-signature-256: sha256=%08x%08x%048x\r\n%s",
      entry.head, low, serial, low, low, serial, low, text
    )
  end
  return text
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_ms":%.3f,"p99_ms":%.3f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000
  ))
end
