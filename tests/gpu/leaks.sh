#!/bin/bash
# A model opened, drawn and left again, twenty times in one window: open files, threads, memory of the
# process and of the GPU stay what they were after the third time.
#
#   leaks.sh BUILD_DIR
#
# Exit 77 where there is no GPU that computes and draws.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
demo=("$root"/assets/demo/*.gguf)
export MODEL=${MODEL:-${demo[0]}} XDG_CONFIG_HOME=$work/config
once() {
  cat <<'SCRIPT'
open "${MODEL}"
wait loaded
wait idle
type prompt "Once upon a time"
click prompt/raw
click prompt/apply
wait idle
key F10
key F10
wait steps 2
wait idle
resize 1000x700
wait frames 2
resize 1200x800
wait frames 2
SCRIPT
}
{
  echo "timeout 60"
  for round in $(seq 1 23); do
    once
    if [ "$round" = 1 ]; then echo "print app/path"; fi
    if [ "$round" = 3 ] || [ "$round" = 23 ]; then
      echo "screenshot after$round.png"
      echo "wait frames 120"
    fi
  done
} >"$work/script"
"$build/layerscope" --offscreen 1200x800 --script "$work/script" --script-output "$work" >"$work/log" 2>&1 &
program=$!
sample() { # after round
  for _ in $(seq 1 600); do
    [ -s "$work/after$1.png" ] && break
    kill -0 $program 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.1
  done
  sleep 0.5
  files=$(ls "/proc/$program/fd" | wc -l)
  threads=$(ls "/proc/$program/task" | wc -l)
  memory=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$program/status")
  gpu=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
    awk -F', ' -v pid=$program '$1 == pid { print $2 }')
  all=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1)
  echo "after $1: $files files, $threads threads, $memory MiB, GPU ${gpu:-?} MiB of ${all:-?} in use"
}
sample 3
first_files=$files first_threads=$threads first_memory=$memory first_gpu=${gpu:-$all}
sample 23
wait $program || { cat "$work/log"; exit 1; }
if ! grep -q '^app/path: zero-copy' "$work/log" && [ -z "${ANY_PATH:-}" ]; then
  echo "no zero-copy here: $(grep '^app/path' "$work/log")"
  exit 77
fi
# What allocators keep is allowed for in memory, nothing in files and threads. Other programs on the
# GPU count where the driver does not tell them apart.
if [ "$files" -gt "$first_files" ] || [ "$threads" -gt "$first_threads" ] ||
  [ "$memory" -gt $((first_memory + 64)) ] || [ "${gpu:-${all:-0}}" -gt $((${first_gpu:-0} + 2)) ]; then
  echo "something is left behind"
  exit 1
fi
echo "nothing is left behind after 20 times"
