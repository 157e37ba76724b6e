#!/bin/bash
# How smoothly the window runs: frame-time percentiles of a scripted session, offscreen, and what an
# idle window costs.
#
#   window.sh BUILD_DIR [MODEL.gguf] [WxH]
#
# Without MODEL the demo model; `make_model qwen2.5-0.5b q8_0 FILE` writes one with a 151,936-row
# head. The idle part needs xvfb-run and is left out without it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
demo=("$root"/assets/demo/*.gguf)
export MODEL=${2:-${demo[0]}}
size=${3:-1600x1000}

echo "$(basename "$MODEL"), $size, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2-), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
"$build/layerscope" --offscreen "$size" --script "$root/tests/bench/window.script"

if command -v xvfb-run >/dev/null; then
  # An attended window that nothing happens to: processor time between second 3 and second 13.
  export XDG_CONFIG_HOME
  XDG_CONFIG_HOME=$(mktemp -d)
  trap 'rm -rf "$XDG_CONFIG_HOME"' EXIT
  # shellcheck disable=SC2016
  xvfb-run -a -s "-screen 0 1920x1200x24" bash -c '
    "$0/layerscope" "$MODEL" & pid=$!
    ticks() { awk "{print \$14+\$15}" "/proc/$pid/stat"; }
    sleep 3; a=$(ticks); sleep 10; b=$(ticks)
    kill "$pid"; wait "$pid" 2>/dev/null
    awk -v t=$((b - a)) -v hz="$(getconf CLK_TCK)" \
      "BEGIN { printf \"idle window: %.2f %% of a core\n\", 100 * t / hz / 10 }"' "$build"
fi
