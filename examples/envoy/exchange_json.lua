-- The exchange's JSON, on both sides of Envoy's gRPC-JSON transcoder.
--
-- A request comes by here first: the liquidator is named by the header of the edge, the request_id
-- by the caller's key, and numbers become the decimal strings of the API, digit by digit.
-- An answer comes by here last: it becomes {"success": true, "timestamp": ..., "data": ...} or
-- {"success": false, "code": ..., "message": ...} with the HTTP status of the code's row.
-- docs/how-to/envoy.md says what a caller sees of it.

-- Rows of the exchange's table (docs/reference/errors.md), for what never reaches the sidecar or comes back
-- from it without a code.
local function row(code, http_status, message)
  return { code = code, http_status = http_status, message = message }
end

local FAULT = row(-1000, 500, "An unknown error occurred while processing the request.")
local NO_IDENTITY = row(-1002, 401, "API key or secret is invalid, it may be because key have "
  .. "insufficient permission or the key is expired/revoked.")
local TOO_MANY = row(-1003, 429, "Rate limit exceed.")
local UNKNOWN_FIELD = row(-1004, 400, "An unknown parameter was sent.")
local WRONG_FORMAT = row(-1005, 400, "Some parameters are in wrong format for api.")
local NOT_REACHED = row(-1011, 400, "Can not place/cancel orders, it may be because internal "
  .. "network error. Please try again in a few seconds.")

-- What an HTTP status stands for when the sidecar gave no code; any other below 500 is
-- WRONG_FORMAT, any other above is FAULT.
local BY_HTTP_STATUS = {
  [401] = NO_IDENTITY, [403] = NO_IDENTITY, [429] = TOO_MANY,
  [499] = NOT_REACHED, [502] = NOT_REACHED, [503] = NOT_REACHED, [504] = NOT_REACHED,
}

local DETAILS = "grpc-status-details-bin"

local function set(...)
  local members = {}
  for _, name in ipairs({ ... }) do
    members[name] = true
  end
  return members
end

-- The endpoints and their query parameters. If something is posted, it is the terms of a claim.
local PARAMETERS = {
  ["/v1/error_codes"] = set(),
  ["/v1/rules"] = set(),
  ["/v1/liquidation"] = set("request_id", "lease_ttl"),
  ["/v1/liquidation:check"] = set("explain"),
}

-- The transcoder drops fields that it does not know; these are known, by the object they stand in.
-- liquidator_id is not among them: who claims is for the edge to say.
local FIELDS = {
  terms = set("liquidation_id", "ratio_qty_request", "extra_liquidation_ratio", "symbols",
    "limit_price"),
  symbols = set("symbol", "ratio_qty_request"),
}
local DECIMALS = set("ratio_qty_request", "extra_liquidation_ratio")
local WORDS = set("true", "false", "null")

-- Reading JSON -------------------------------------------------------------------------------------

local function quoted(text)
  local escaped = text:gsub('[%c"\\]', function(char)
    return ("\\u%04x"):format(char:byte())
  end)
  return '"' .. escaped .. '"'
end

-- Where the token at `at` ends; nil if none that JSON knows begins there.
local function token_end(text, at)
  if text:find('^"', at) then
    repeat
      at = text:find('["\\]', at + 1)
      if not at then
        return nil
      end
      local escape = text:sub(at, at) == "\\"
      at = escape and at + 1 or at
    until not escape
    return at
  end
  local word = text:match("^%a+", at)
  if word then
    return WORDS[word] and at + #word - 1
  end
  return select(2, text:find("^-?%d[%w.+-]*", at)) or select(2, text:find("^[%[%]{}:,]", at))
end

-- The terms in `text` with decimals as strings and with `liquidator_id`, or nil and a row. What is
-- no JSON, but made of its tokens, is left for the transcoder to refuse.
local function terms_of(text, liquidator_id)
  local parts, scopes, key = {}, {}, nil
  local at = text:find("%S") or 1
  if text:sub(at, at) ~= "{" then
    return nil, WRONG_FORMAT
  end
  while at <= #text do
    local stop = token_end(text, at)
    if not stop then
      return nil, WRONG_FORMAT
    end
    local token, scope = text:sub(at, stop), scopes[#scopes]
    local after = text:find("%S", stop + 1) or #text + 1
    if token == "{" or token == "[" then
      scopes[#scopes + 1] = scope == nil and "terms" or scope == "terms" and key or scope
    elseif token == "}" or token == "]" then
      scopes[#scopes] = nil
      if #scopes == 0 then
        local comma = parts[#parts] == "{" and "" or ","
        parts[#parts + 1] = comma .. '"liquidator_id":' .. quoted(liquidator_id)
      end
    elseif token:find('^"') and text:sub(after, after) == ":" then
      key = token:sub(2, -2)
      if scope ~= "limit_price" and not (FIELDS[scope] or {})[key] then
        return nil, UNKNOWN_FIELD
      end
    elseif token:find("^[-%d]") and (scope == "limit_price" or DECIMALS[key]) then
      token = '"' .. token .. '"'
    end
    parts[#parts + 1] = token
    at = after
  end
  return table.concat(parts, " ") -- or "1 2" would become 12
end

-- Reading the status of a refusal ------------------------------------------------------------------

local SIXTETS = {}
for index = 1, 64 do
  local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  SIXTETS[letters:sub(index, index)] = index - 1
end

local function base64_decoded(text)
  local bytes, pending, weight = {}, 0, 1
  for letter in text:gmatch("[%w+/]") do
    pending, weight = pending * 64 + SIXTETS[letter], weight * 64
    if weight >= 256 then
      weight = weight / 256
      bytes[#bytes + 1] = string.char(math.floor(pending / weight))
      pending = pending % weight
    end
  end
  return table.concat(bytes)
end

local function varint(bytes, at)
  local value, weight = 0, 1
  repeat
    local byte = bytes:byte(at)
    value, weight, at = value + byte % 128 * weight, weight * 128, at + 1
  until byte < 128
  return value, at
end

-- The fields of a protobuf message: number and value. Its varints and its length-delimited fields
-- are all that google.rpc.Status and the details read here are made of.
local function fields(bytes)
  local at = 1
  return function()
    if at > #bytes then
      return nil
    end
    local tag, value
    tag, at = varint(bytes, at)
    value, at = varint(bytes, at)
    if tag % 8 == 2 then
      value, at = bytes:sub(at, at + value - 1), at + value
    end
    return math.floor(tag / 8), value
  end
end

local function by_number(bytes)
  local found = {}
  for number, value in fields(bytes) do
    found[number] = value
  end
  return found
end

-- The code, HTTP status, words and seconds to wait of a status with the service's details.
local function refusal_of(status)
  local refusal = { message = by_number(status)[2] }
  for number, value in fields(status) do
    local packed = number == 3 and by_number(value) or {}
    if packed[1] == "type.googleapis.com/google.rpc.ErrorInfo" then
      for inner, entry in fields(packed[2]) do
        local pair = inner == 3 and by_number(entry) or {}
        if pair[1] == "code" or pair[1] == "http_status" then
          refusal[pair[1]] = tonumber(pair[2])
        end
      end
    elseif packed[1] == "type.googleapis.com/google.rpc.RetryInfo" then
      local delay = by_number(by_number(packed[2])[1] or "")
      refusal.retry_after = (delay[1] or 0) + (delay[2] and 1 or 0)
    end
  end
  return refusal
end

-- The two sides ------------------------------------------------------------------------------------

local function payload(refusal)
  local form = '{"success": false, "code": %d, "message": %s}'
  return form:format(refusal.code, quoted(refusal.message))
end

local function refuse(handle, refusal)
  local status = tostring(refusal.http_status)
  handle:respond({ [":status"] = status, ["content-type"] = "application/json" }, payload(refusal))
end

local function text_of(body)
  return body:length() > 0 and body:getBytes(0, body:length()) or ""
end

-- The row of a refusal: the sidecar's, or the one that fits an HTTP status without a code.
local function row_of(headers, trailers)
  local details = trailers and trailers:get(DETAILS) or headers:get(DETAILS)
  local refusal = details and refusal_of(base64_decoded(details))
  if refusal and refusal.code then
    return refusal
  end
  local http_status = tonumber(headers:get(":status"))
  local fitting = BY_HTTP_STATUS[http_status] or (http_status < 500 and WRONG_FORMAT or FAULT)
  return row(fitting.code, http_status, fitting.message)
end

-- The query as it was, with a request_id if it has none; nil if it holds what is not known.
local function query_of(headers, query, known)
  local given = {}
  for name in query:gmatch("([^&=]+)[^&]*") do
    given[name] = true
    if not known[name] then
      return nil
    end
  end
  if given.request_id or not known.request_id then
    return query
  end
  -- Envoy gives every request an x-request-id that came without one.
  local key = headers:get("idempotency-key") or headers:get("x-request-id")
  local escaped = key:gsub("[^%w]", function(char)
    return ("%%%02X"):format(char:byte())
  end)
  return query .. (query == "" and "" or "&") .. "request_id=" .. escaped
end

-- Makes a request in the exchange's form one of the API, or refuses it.
local function take(handle, path, query)
  query = query_of(handle:headers(), query, PARAMETERS[path])
  if not query then
    return refuse(handle, UNKNOWN_FIELD)
  end
  if handle:headers():get(":method") ~= "POST" then
    return
  end
  local liquidator_id = handle:headers():get("x-liquidator-id")
  if not liquidator_id then
    return refuse(handle, NO_IDENTITY)
  end
  handle:headers():replace(":path", path .. "?" .. query)
  local body = handle:body(true)
  local terms, wrong = terms_of(text_of(body), liquidator_id)
  if not terms then
    return refuse(handle, wrong)
  end
  handle:headers():replace("content-length", tostring(body:setBytes(terms)))
end

function envoy_on_request(handle)
  local path, query = handle:headers():get(":path"):match("^([^?]*)%??(.*)$")
  if PARAMETERS[path] then
    -- Envoy lets a request pass on which a script fails; nothing may pass unread.
    local done, problem = pcall(take, handle, path, query)
    if not done then
      handle:logErr(problem)
      refuse(handle, FAULT)
    end
  end
end

function envoy_on_response(handle)
  if (handle:headers():get("content-type") or ""):find("^application/grpc") then
    return
  end
  local body = handle:body(true)
  local text = text_of(body)
  local headers, trailers = handle:headers(), handle:trailers()
  if text:find('^{"success"') then
    return -- refused on the way in
  end
  if headers:get(":status") == "200" then
    text = ('{"success": true, "timestamp": %s, "data": %s}'):format(handle:timestamp(), text)
  else
    local refusal = row_of(headers, trailers)
    text = payload(refusal)
    headers:replace(":status", tostring(refusal.http_status))
    if refusal.retry_after then
      headers:replace("retry-after", tostring(refusal.retry_after))
    end
  end
  headers:replace("content-type", "application/json")
  headers:replace("content-length", tostring(body:setBytes(text)))
  for _, name in ipairs({ "grpc-status", "grpc-message", "grpc-accept-encoding", DETAILS }) do
    headers:remove(name)
    if trailers then
      trailers:remove(name)
    end
  end
end
