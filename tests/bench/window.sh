#!/bin/bash
# How smoothly the window runs: frame-time percentiles of scripted sessions, offscreen, and what an
# idle window costs.
#
#   window.sh BUILD_DIR [MODEL.gguf] [WxH] [BYTES] [STEPS]
#
# First a session on MODEL (default: the demo); then long_session.sh with BYTES of prompt (default
# 8,000) and STEPS tokens (default 100) on a tiny random model; then the Tensors tab on a head of 152k ×
# 4,096 (0.7 GB in Q4_K; LS_BENCH_TYPE=F16: 2.5 GB; LS_BENCH_DIR says where it is written); at the end
# idle windows, with a model and with a recording open (they need xvfb-run).
# Times are of whole frames; "this thread alone" is processor time, which other programs do not change;
# "input answered" is from the moment of an event, which knows nothing of the frames, to the end of the
# frame that shows it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
demo=("$root"/assets/demo/*.gguf)
export MODEL=${2:-${demo[0]}}
size=${3:-1600x1000}

echo "$(basename "$MODEL"), $size, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$build/layerscope" --offscreen "$size" --script "$root/tests/bench/window.script" \
  --script-output "$work"

if [ -x "$build/tests/bin/make_model" ]; then
  "$build/tests/bin/make_model" tiny F32 "$work/tiny.gguf" >/dev/null
  bash "$root/tests/bench/long_session.sh" "$build" "$work/tiny.gguf" "$size" "${4:-8000}" "${5:-100}"
  wide=$(mktemp -p "${LS_BENCH_DIR:-$work}" --suffix .gguf)
  trap 'rm -rf "$work" "$wide"' EXIT
  "$build/tests/bin/make_model" wide-head "${LS_BENCH_TYPE:-Q4_K}" "$wide"
  MODEL=$wide "$build/layerscope" --context 256 --offscreen "$size" \
    --script "$root/tests/bench/large_tensor.script" --script-output "$work"
fi

command -v xvfb-run >/dev/null || exit 0
# An attended window that nothing happens to: processor time over 10 s, some seconds after its start.
export XDG_CONFIG_HOME=$work
idle() { # NAME SECONDS_BEFORE ARGUMENTS…
  # shellcheck disable=SC2016
  xvfb-run -a -s "-screen 0 1920x1200x24" bash -c '
    program=$0 name=$1 before=$2
    shift 2
    "$program" "$@" & pid=$!
    ticks() { awk "{print \$14+\$15}" "/proc/$pid/stat"; }
    sleep "$before"; a=$(ticks); sleep 10; b=$(ticks)
    kill "$pid"; wait "$pid" 2>/dev/null
    awk -v t=$((b - a)) -v hz="$(getconf CLK_TCK)" -v name="$name" \
      "BEGIN { printf \"idle window, %s: %.2f %% of a core\n\", name, 100 * t / hz / 10 }"' \
    "$build/layerscope" "$@"
}
idle "model open" 3 "$MODEL"
if [ -x "$build/layerscope-cli" ]; then
  "$build/layerscope-cli" generate "$MODEL" --prompt "A long walk home." --tokens 200 --quiet \
    --capture attention --trace "$work/recording.safetensors" >/dev/null
  idle "recording open" 8 "$work/recording.safetensors"
fi
