#!/usr/bin/env bash
# Random clients for a while: serve_soak.sh [SECONDS [CLIENTS [SEED]]] (default 10, 8, 1). Every stream
# must be whole, no job may be stuck, memory and open files must not grow.
. "$(dirname "$0")/serve_lib.sh"
seconds=${1:-10} clients=${2:-8} seed=${3:-1}
echo "soak: $seconds s, $clients clients, seed $seed"
start_worker --queue 4 --rate 0
"$peer" soak "$url" 3 "$clients" 99 >/dev/null || fail "the first seconds" # caches and pools fill
until_metric jobs_running 0
memory=$(metric resident_memory_bytes) files=$(metric open_files)
"$peer" soak "$url" "$seconds" "$clients" "$seed" || fail "a stream was wrong"
until_metric jobs_running 0
until_metric jobs_waiting 0
until_metric connections 1 # that of /metrics itself
after=$(metric resident_memory_bytes)
echo "memory $memory -> $after bytes, open files $files -> $(metric open_files)"
[ "$(metric open_files)" -le $((files + 2)) ] || fail "open files grew"
# A sanitizer keeps what was freed in quarantine (256 MiB).
slack=$((64 << 20))
if nm "$cli" 2>/dev/null | grep -q __asan_init; then slack=$((600 << 20)); fi
[ "$after" -le $((memory + slack)) ] || fail "memory grew by $(((after - memory) >> 20)) MiB"
ask "$url/metrics" | grep '^layerscope_jobs_total'
end_worker
