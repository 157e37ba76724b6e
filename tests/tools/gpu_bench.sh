#!/bin/bash
# The GPU's table of BENCHMARKS.md: random models in exact shapes (make_model), decode and prefill with
# attention captured and with nothing captured, one line of JSON each, then the table. Without a GPU it
# says so and succeeds.
#
#   gpu_bench.sh [BUILD_DIR] [MODEL_DIR] [SHAPE:DTYPE…]
set -euo pipefail
build=${1:-build}
models=${2:-/dev/shm}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- qwen2.5-0.5b:F16 qwen2.5-0.5b:Q8_0 qwen2.5-0.5b:Q4_K_M llama-3.2-1b:F16 llama-3.2-1b:Q4_K_M \
  llama-3-8b:F16 llama-3-8b:Q8_0 llama-3-8b:Q4_K_M
if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "No GPU here: its benchmarks are left out."
  exit 0
fi
cli=$build/layerscope-cli
make_model=$build/tests/bin/make_model
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm --format=csv,noheader
git rev-parse --short HEAD 2>/dev/null || true
number() { # JSON key
  sed -E "s/.*\"$2\":\{[^}]*\"tok_s\":([0-9]+)(\.[0-9]*)?.*/\1/" <<<"$1"
}
printf '| %-18s | %-6s | %9s | %9s | %7s | %9s | %9s | %9s | %9s |\n' model file "128 att" "128 off" cost \
  "4096 att" "4096 off" "512 att" "512 off"
for entry in "$@"; do
  shape=${entry%%:*}
  dtype=${entry##*:}
  file=$models/layerscope-bench-$$.gguf
  trap 'rm -f "$file"' EXIT
  "$make_model" "$shape" "$dtype" "$file" >/dev/null
  run() { # capture depth repeat
    "$cli" bench "$file" --backend cuda --json --quiet --context 4800 --prompt-tokens 512 --tokens 64 \
      --capture "$1" --depth "$2" --repeat "$3"
  }
  near_off=$(run off 128 5)
  near=$(run attention 128 5)
  far_off=$(run off 4096 3)
  far=$(run attention 4096 3)
  a=$(number "$near" decode)
  b=$(number "$near_off" decode)
  printf '| %-18s | %-6s | %9s | %9s | %5s ‰ | %9s | %9s | %9s | %9s |\n' "$shape" "$dtype" "$a" "$b" \
    $(((b - a) * 1000 / b)) "$(number "$far" decode)" "$(number "$far_off" decode)" \
    "$(number "$near" prefill)" "$(number "$near_off" prefill)"
  rm -f "$file"
done
