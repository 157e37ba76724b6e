# Shared by the scripts that need a worker: starting and ending it, asking it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
peer="$build_dir/tests/bin/http_peer"
for needed in curl "$peer"; do
  command -v "$needed" >/dev/null || {
    echo "$needed is not there"
    exit 77
  }
done
pids=""
trap 'for p in $pids; do kill -9 "$p" 2>/dev/null; done; rm -rf "$tmp"' EXIT

# start_worker OPTIONS...: a worker on a free port; sets $worker (process) and $url.
start_worker() {
  rm -f "$tmp/worker.log" # the address of the worker before must not be taken for that of this one
  "$cli" serve "$demo" --port 0 --log-level info "$@" 2>"$tmp/worker.log" &
  worker=$!
  pids="$pids $worker"
  url=""
  for _ in $(seq 300); do
    url=$(sed -n 's/^listening on //p' "$tmp/worker.log" 2>/dev/null)
    [ -n "$url" ] && return
    kill -0 "$worker" 2>/dev/null || break
    sleep 0.1
  done
  fail "the worker did not start: $(cat "$tmp/worker.log")"
}

# end_worker: SIGTERM, and the exit code 0 within 20 s.
end_worker() {
  kill -TERM "$worker" 2>/dev/null
  for _ in $(seq 200); do
    kill -0 "$worker" 2>/dev/null || break
    sleep 0.1
  done
  kill -0 "$worker" 2>/dev/null && fail "the worker did not end"
  wait "$worker"
  local code=$?
  [ "$code" -eq 0 ] || fail "the worker ended with exit $code: $(tail -5 "$tmp/worker.log")"
}

ask() { curl -s -N -m 60 "$@"; }
# execute JSON [CURL OPTIONS]: the answer of POST /execute.
execute() {
  local body=$1
  shift
  ask "$url/execute" -H 'Content-Type: application/json' -d "$body" "$@"
}
status_of() { ask -o /dev/null -w '%{http_code}' "$@"; }
# metric NAME: its value now.
metric() { ask "$url/metrics" | sed -n "s/^layerscope_$1 //p"; }
# until_metric NAME VALUE
until_metric() {
  for _ in $(seq 150); do
    [ "$(metric "$1")" = "$2" ] && return
    sleep 0.1
  done
  fail "$1 is $(metric "$1"), not $2"
}
