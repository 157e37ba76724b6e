#!/bin/bash
# Decode on the CPU: Qwen2.5-0.5B in Q8_0 (random weights in the exact shape) on two threads, with
# attention captured and with nothing captured; median of 5 rounds each. The machine must be quiet:
# the script says how busy it is before and after, and does not judge on a busy one.
#
#   cpu_decode.sh [BUILD_DIR] [MODEL_DIR] [SHAPE] [DTYPE] [THREADS]
#
# Bound for the default case: 21.7 tokens per second, 0.7 of llama.cpp's 31 on the same machine
# (2 cores with AVX-512). Exit code 1 when it is missed on a quiet machine.
set -euo pipefail
build=${1:-build}
models=${2:-${TMPDIR:-/tmp}}
shape=${3:-qwen2.5-0.5b}
dtype=${4:-Q8_0}
threads=${5:-2}
bound=21.7
file=$models/layerscope-cpu-decode-$$.gguf
trap 'rm -f "$file"' EXIT

busy() { # processes that want to run, this one not counted
  awk '{ split($4, p, "/"); print p[1] - 1 }' /proc/loadavg
}
rate() { # capture
  local line
  line=$("$build/layerscope-cli" bench "$file" --backend cpu --threads "$threads" --json --quiet \
    --context 512 --prompt-tokens 128 --tokens 32 --depth 128 --capture "$1" --repeat 5)
  echo "$line" >&2
  sed -E 's/.*"decode":\{[^}]*"tok_s":([0-9.]+).*/\1/' <<<"$line"
}

"$build/tests/bin/make_model" "$shape" "$dtype" "$file" >/dev/null
grep -m1 'model name' /proc/cpuinfo || true
before=$(busy)
attention=$(rate attention)
nothing=$(rate off)
after=$(busy)
echo "$shape $dtype, $threads threads, depth 128: $attention tok/s with attention captured," \
  "$nothing with nothing; other processes running: $before before, $after after"
if [ "$before" -gt 0 ] || [ "$after" -gt 0 ]; then
  echo "The machine is busy: these figures say nothing."
elif [ "$shape $dtype $threads" = "qwen2.5-0.5b Q8_0 2" ]; then
  awk -v rate="$attention" -v bound="$bound" \
    'BEGIN { print (rate >= bound ? "reached: " : "missed: ") bound " tok/s"; exit rate < bound }'
fi
