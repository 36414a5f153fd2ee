-- wrk: deliveries from a file of request bodies, one a line, each sent with ids of its own.
--
--   wrk -s bench/requests.lua URL -- BODIES TOKEN
--
-- SERIAL in a body is replaced with a number of the same width that no other request has.

local SERIAL = "00000000%-"

local threads = 0

function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end

function init(arguments)
  bodies = {}
  for line in io.lines(arguments[1]) do
    bodies[#bodies + 1] = line
  end
  wrk.method = "POST"
  wrk.headers["Authorization"] = "Bearer " .. arguments[2]
  wrk.headers["Content-Type"] = "application/json"
  serial = id * 0x10000000
end

function request()
  serial = serial + 1
  local body = bodies[serial % #bodies + 1]:gsub(SERIAL, string.format("%08x-", serial))
  return wrk.format(nil, nil, nil, body)
end
