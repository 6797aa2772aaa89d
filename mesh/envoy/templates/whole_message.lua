-- Lets an RPC of the platform through whose body is one whole message: a byte, its length in four, and as much. The
-- buffer in front has waited for all of it.
function envoy_on_request(handle)
  if string.sub(handle:headers():get(":path"), 1, 10) ~= "/deskmesh." then
    return
  end
  local body = handle:body()
  local size = body and body:length() or 0
  if size >= 5 then
    local a, b, c, d = string.byte(body:getBytes(1, 4), 1, 4)
    if ((a * 256 + b) * 256 + c) * 256 + d == size - 5 then
      return
    end
  end
  handle:respond({[":status"] = "400"}, "")
end
