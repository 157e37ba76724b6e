#!/bin/bash
# How smoothly the window runs: frame-time percentiles of a scripted session, offscreen, and what an
# idle window costs.
#
#   window.sh BUILD_DIR [MODEL.gguf] [WxH] [TOKENS]
#
# Without MODEL the demo model; `make_model qwen2.5-0.5b Q8_0 FILE` writes one with a 151,936-row
# head. The second part is a session of TOKENS (default 8,000) bytes of prompt on a tiny random model;
# on a GPU machine give it the whole 32,000. The idle part needs xvfb-run and is left out without it.
# Times are of whole frames; "this thread alone" is processor time, which other programs do not change.
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

tokens=${4:-8000}
if [ -x "$build/tests/bin/make_model" ]; then
  "$build/tests/bin/make_model" tiny F32 "$work/tiny.gguf" >/dev/null
  prompt=$(awk -v n="$tokens" 'BEGIN { while (length(s) < n) s = s " ab the q in mn"; print substr(s, 1, n) }')
  echo "a long session, $tokens bytes of prompt"
  measured=()
  [ ! -x /usr/bin/time ] || measured=(/usr/bin/time -f "memory at most %M kB")
  "${measured[@]}" "$build/layerscope" "$work/tiny.gguf" \
    --context $((tokens + 1000)) --prompt "$prompt" --offscreen "$size" \
    --script "$root/tests/bench/long_session.script" --script-output "$work"
fi

if command -v xvfb-run >/dev/null; then
  # An attended window that nothing happens to: processor time between second 3 and second 13.
  export XDG_CONFIG_HOME
  XDG_CONFIG_HOME=$work
  # shellcheck disable=SC2016
  xvfb-run -a -s "-screen 0 1920x1200x24" bash -c '
    "$0/layerscope" "$MODEL" & pid=$!
    ticks() { awk "{print \$14+\$15}" "/proc/$pid/stat"; }
    sleep 3; a=$(ticks); sleep 10; b=$(ticks)
    kill "$pid"; wait "$pid" 2>/dev/null
    awk -v t=$((b - a)) -v hz="$(getconf CLK_TCK)" \
      "BEGIN { printf \"idle window: %.2f %% of a core\n\", 100 * t / hz / 10 }"' "$build"
fi
