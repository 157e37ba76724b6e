#!/usr/bin/env bash
# The HTTP worker: health, streams, validation, cancelling, leaving, limits, tokens, callback, end.
. "$(dirname "$0")/serve_lib.sh"

# A prompt after which the demo model goes on and on.
long='"prompt":"zzz","max_tokens":2048,"temperature":0'

start_worker --queue 4 --context 8192

# health
ask "$url/health" >"$tmp/health"
for field in '"status":"healthy"' '"model":"' '"backend":"cpu"' '"vram_bytes":[1-9]' '"resident":true' '"uptime_s":[0-9]'; do
  grep -qE "$field" "$tmp/health" || fail "health lacks $field: $(cat "$tmp/health")"
done

# a haiku: streamed, in order, ended; the correlation id comes back
execute '{"job_id":"haiku","prompt":"Write a haiku about GPU computing. Use the word seven.","chat":true,"max_tokens":60,"capture":"summary"}' \
  -D "$tmp/head" -H 'X-Correlation-ID: my-id.7' >"$tmp/stream"
"$peer" check-stream <"$tmp/stream" || fail "the haiku's stream"
head -1 "$tmp/stream" | grep -qx 'event: started' || fail "started does not come first"
grep -q '^data: {"job_id":"haiku","model":".*","started_at":"20' "$tmp/stream" || fail "started's data"
grep -q '^data: {"tokens_out":[1-9][0-9]*,"decode_time_ms":.*,"stop_reason":"eos"}' "$tmp/stream" || fail "end's data"
grep -q '^data: {"tokens_per_sec":.*"vram_bytes":' "$tmp/stream" || fail "metrics' data"
grep -qi '^X-Correlation-ID: my-id.7' "$tmp/head" || fail "the correlation id"
grep -qi '^Content-Type: text/event-stream' "$tmp/head" || fail "the content type"
text=$(sed -n 's/^data: {"t":"\(.*\)","i":.*/\1/p' "$tmp/stream" | tr -d '\n')
[ "$text" = "$("$cli" generate "$demo" --chat --prompt "Write a haiku about GPU computing. Use the word seven." \
  --tokens 60 --quiet | sed ':a;N;$!ba;s/\n/\\n/g')" ] || fail "not the text of generate: $text"
ask -D - -o /dev/null "$url/health" | grep -qiE '^X-Correlation-ID: [0-9a-f]{32}' || fail "no correlation id is made"

# stop strings; findings of an injected fault are told elsewhere (a worker injects none)
execute '{"job_id":"stop","prompt":"Count from one to nine.","chat":true,"stop":["five"]}' >"$tmp/stream"
grep -q '"stop_reason":"stop"' "$tmp/stream" || fail "stop strings"
grep -q five "$tmp/stream" && fail "the stop string was sent"

# refused: malformed, every field out of range at once, too long, too large
execute '{"job_id":' | grep -q '"field":"body","constraint":"json"' || fail "malformed JSON"
[ "$(status_of "$url/execute" -d '{"job_id":')" = 400 ] || fail "malformed JSON is not 400"
execute '{"job_id":"","prompt":"","max_tokens":0,"temperature":2.1,"seed":-1,"top_p":1.5,"top_k":-1,"min_p":-0.1,"repetition_penalty":3,"stop":["","x",3],"capture":"all"}' >"$tmp/errors"
for field in job_id prompt max_tokens temperature seed top_p top_k min_p repetition_penalty 'stop\[0\]' 'stop\[2\]' capture; do
  grep -q "\"field\":\"$field\",\"constraint\":\"[^\"]*\",\"message\":\"[^\"]*\",\"value\":" "$tmp/errors" ||
    fail "no error for $field: $(cat "$tmp/errors")"
done
execute '{"job_id":"x","prompt":"x","stop":["1","2","3","4","5"],"max_tokens":2049}' >"$tmp/errors"
grep -q '"field":"stop"' "$tmp/errors" && grep -q '"field":"max_tokens"' "$tmp/errors" || fail "five stops"
printf '{"job_id":"long","prompt":"%s"}' "$(head -c 40960 /dev/zero | tr '\0' a)" >"$tmp/body"
ask "$url/execute" --data-binary "@$tmp/body" >"$tmp/errors"
grep -q '"field":"prompt","constraint":"1..32768 characters"' "$tmp/errors" || fail "a 40 KB prompt"
[ "$(wc -c <"$tmp/errors")" -lt 1000 ] || fail "the error repeats the whole prompt"
head -c 1100000 /dev/zero | tr '\0' ' ' >"$tmp/body"
[ "$(status_of "$url/execute" --data-binary "@$tmp/body")" = 413 ] || fail "a body beyond 1 MiB"
[ "$(status_of "$url/execute" -F a=b)" = 415 ] || fail "multipart"
[ "$(status_of "$url/nothing")" = 404 ] || fail "another path"
[ "$(status_of "$url/health" -H 'Host: evil.example')" = 403 ] || fail "a rebound host name"
[ "$(status_of "$url/health" -H 'Origin: http://evil.example')" = 403 ] || fail "a foreign page"
[ "$(status_of "$url/session")" = 426 ] || fail "attaching without the protocol"
# evaluated only when its turn comes: a prompt that fits the limits but not the context
printf '{"job_id":"deep","prompt":"%s"}' "$(for _ in $(seq 10000); do printf 'q7 '; done)" >"$tmp/body"
ask "$url/execute" --data-binary "@$tmp/body" >"$tmp/stream"
grep -q '"code":"INVALID_REQUEST"' "$tmp/stream" || fail "a prompt beyond the context: $(head -c 300 "$tmp/stream")"

# cancel in the middle
execute '{"job_id":"c1",'"$long"'}' >"$tmp/cancelled" &
waiting=$!
for _ in $(seq 100); do grep -q 'event: token' "$tmp/cancelled" && break; sleep 0.02; done
[ "$(status_of "$url/execute" -d '{"job_id":"c1","prompt":"x"}')" = 400 ] || fail "the same job_id twice"
ask "$url/cancel" -d '{"job_id":"c1"}' | grep -q '"status":"cancelling"' || fail "cancel"
wait "$waiting"
"$peer" check-stream <"$tmp/cancelled" || fail "the cancelled stream"
grep -q '"code":"CANCELLED"' "$tmp/cancelled" || fail "no CANCELLED: $(tail -3 "$tmp/cancelled")"
[ "$(status_of "$url/cancel" -d '{"job_id":"c1"}')" = 404 ] || fail "cancelling an ended job"
[ "$(status_of "$url/cancel" -d '{}')" = 400 ] || fail "cancelling nothing"

# the client leaves: its job is cancelled
before=$(metric streams_cut_total)
execute '{"job_id":"gone",'"$long"'}' -m 0.4 >/dev/null
until_metric jobs_running 0
until_metric streams_cut_total $((before + 1))

# 100 at once: the queue is bounded, every answer is a whole stream or 503 with Retry-After
for i in $(seq 100); do
  execute '{"job_id":"p'"$i"'","prompt":"Once","max_tokens":40}' -D "$tmp/head.$i" >"$tmp/p.$i" &
done
wait $(jobs -p | grep -vx "$worker")
streams=0 refused=0
for i in $(seq 100); do
  case $(head -1 "$tmp/head.$i") in
  *" 200 "*) streams=$((streams + 1)); "$peer" check-stream <"$tmp/p.$i" || fail "stream $i of 100" ;;
  *" 503 "*) refused=$((refused + 1)); grep -qi '^Retry-After: [1-9]' "$tmp/head.$i" || fail "503 without Retry-After" ;;
  *) fail "request $i of 100: $(head -1 "$tmp/head.$i")" ;;
  esac
done
[ "$streams" -ge 5 ] && [ $((streams + refused)) -eq 100 ] || fail "$streams streams, $refused refused"

# a slow client does not hold up the others
execute '{"job_id":"slow","prompt":"Once","chat":true,"max_tokens":60}' --limit-rate 1000 >"$tmp/slow" &
slow=$!
for i in 1 2 3; do
  timeout 20 curl -s -N "$url/execute" -d '{"job_id":"quick'$i'","prompt":"Once","max_tokens":5}' >"$tmp/stream"
  "$peer" check-stream <"$tmp/stream" || fail "a quick job beside a slow client"
done
wait "$slow"
"$peer" check-stream <"$tmp/slow" || fail "the slow client's stream"

# a client that never finishes its request holds nothing up
exec 3<>"/dev/tcp/127.0.0.1/${url##*:}"
printf 'POST /execute HTTP/1.1\r\nContent-Length: 500\r\n\r\n{' >&3
[ "$(status_of "$url/health")" = 200 ] || fail "health beside an unfinished request"
exec 3>&-

# metrics
ask "$url/metrics" >"$tmp/metrics"
grep -q '^# TYPE layerscope_jobs_total counter' "$tmp/metrics" || fail "metrics' types"
grep -qE '^layerscope_jobs_total\{outcome="end"\} [1-9]' "$tmp/metrics" || fail "metrics' jobs"
grep -qvE '^(# (HELP|TYPE) layerscope_[a-z_]+ .*|layerscope_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+)$' "$tmp/metrics" &&
  fail "metrics' format: $(grep -vE '^(#|layerscope_)' "$tmp/metrics")"

# SIGTERM: the running job ends with its terminal event, the waiting one too
execute '{"job_id":"last",'"$long"'}' >"$tmp/last" &
for _ in $(seq 100); do grep -q 'event: token' "$tmp/last" && break; sleep 0.02; done
execute '{"job_id":"behind","prompt":"Once"}' >"$tmp/behind" &
until_metric jobs_waiting 1
kill -TERM "$worker"
sleep 0.2
kill -TERM "$worker" 2>/dev/null # the second one cancels at once
end_worker
wait $(jobs -p) 2>/dev/null
"$peer" check-stream <"$tmp/last" || fail "the stream that SIGTERM ended"
grep -qE '"code":"CANCELLED"|"stop_reason"' "$tmp/last" || fail "no end: $(tail -3 "$tmp/last")"
"$peer" check-stream <"$tmp/behind" || fail "the stream that waited"
grep -q '"code":"CANCELLED","message":"the worker is shutting down' "$tmp/behind" || fail "the waiting job: $(cat "$tmp/behind")"
grep -qE 'zzz|Once|GPU computing' "$tmp/worker.log" && fail "the log holds model text"
grep -q "job 'haiku'" "$tmp/worker.log" || fail "the log does not tell of jobs"

# time limits, the bearer token, the callback that fails twice
head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$tmp/token"
token=$(cat "$tmp/token")
"$peer" callback "$tmp/port" 2 503 "$tmp/callbacks" &
pids="$pids $!"
for _ in $(seq 100); do [ -s "$tmp/port" ] && break; sleep 0.05; done
start_worker --token-file "$tmp/token" --job-timeout 0.1 --worker-id w7 \
  --callback-url "http://127.0.0.1:$(cat "$tmp/port")/ready"
[ "$(status_of "$url/health")" = 401 ] || fail "no token"
[ "$(status_of "$url/health" -H "Authorization: Bearer ${token}x")" = 401 ] || fail "a wrong token"
[ "$(status_of "$url/health" -H "Authorization: Bearer $token")" = 200 ] || fail "the right token"
for _ in $(seq 30); do status_of "$url/health" -H 'Authorization: Bearer wrong'; done >"$tmp/codes"
grep -q 429 "$tmp/codes" || fail "guessing tokens is not slowed down"
sleep 1.2
execute '{"job_id":"t",'"$long"'}' -H "Authorization: Bearer $token" >"$tmp/stream"
grep -q '"code":"TIMEOUT"' "$tmp/stream" || fail "no TIMEOUT: $(tail -3 "$tmp/stream")"
for _ in $(seq 100); do [ "$(wc -l <"$tmp/callbacks")" -ge 3 ] && break; sleep 0.1; done
sleep 1
[ "$(wc -l <"$tmp/callbacks")" -eq 3 ] || fail "the callback was sent $(wc -l <"$tmp/callbacks") times"
grep -q '^{"worker_id":"w7","endpoint":"http://127.0.0.1:[0-9]*","model":".*","vram_bytes":[1-9]' "$tmp/callbacks" || fail "the callback's body"
end_worker

# a callback that is refused is given up
: >"$tmp/callbacks"
rm "$tmp/port"
"$peer" callback "$tmp/port" 9 404 "$tmp/callbacks" &
pids="$pids $!"
for _ in $(seq 100); do [ -s "$tmp/port" ] && break; sleep 0.05; done
mkdir "$tmp/traces"
start_worker --callback-url "http://127.0.0.1:$(cat "$tmp/port")/ready" --trace-dir "$tmp/traces"
for _ in $(seq 100); do grep -q 'given up after 1 attempt' "$tmp/worker.log" && break; sleep 0.1; done
[ "$(wc -l <"$tmp/callbacks")" -eq 1 ] || fail "a refused callback was repeated"

# a job is saved as a trace that compares and diagnoses
execute '{"job_id":"kept","prompt":"frogs","max_tokens":3,"capture":"full","save_trace":true}' >"$tmp/stream"
kept=$(grep -o 'trace-[0-9-]*\.safetensors' "$tmp/stream") || fail "no trace: $(tail -3 "$tmp/stream")"
"$cli" compare "$tmp/traces/$kept" "$tmp/traces/$kept" >"$tmp/out" || fail "the trace differs from itself: $(cat "$tmp/out")"
"$cli" diagnose "$tmp/traces/$kept" --model "$demo" >"$tmp/out" || fail "the trace is not healthy: $(cat "$tmp/out")"

# wrong usage
expect_error 2 "--token-file" "$cli" serve "$demo" --host 0.0.0.0
expect_error 2 "cannot listen" "$cli" serve "$demo" --port "${url##*:}"
expect_error 2 "--callback-url" "$cli" serve "$demo" --callback-url ftp://x
echo short >"$tmp/short"
expect_error 3 "16 to 512" "$cli" serve "$demo" --port 0 --token-file "$tmp/short"
expect_error 3 "/nowhere.gguf" "$cli" serve /nowhere.gguf --port 0
end_worker
echo "$streams streams and $refused refusals of 100 parallel requests; the worker behaves as the interface says"
