#!/bin/bash
# A session of 32,769 tokens of a tiny random model: its map is looked at closer and closer, down to 8 x 8
# pairs (long_context.script), and what the crosshair says there is compared with the map's own cell and,
# where it is given, with another run's value.
#
#   long_context.sh BUILD_DIR offscreen|window [BACKEND] [VALUES.txt]
#
# BACKEND as of the program, auto by default. VALUES.txt: what an earlier run on another backend printed.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
mode=${2:?offscreen or window}
backend=${3:-auto}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -x "$build/tests/bin/make_model" ] || { echo "make_model is not built"; exit 77; }
"$build/tests/bin/make_model" tiny-long F32 "$work/long.gguf" >/dev/null
# A token for each byte: nothing of it merges.
prompt=$(awk 'BEGIN { while (length(s) < 32768) s = s "qxzvkj" substr("QXZVKJ", 1 + length(s) % 6, 1) length(s) % 7
  print substr(s, 1, 32768) }')
launch=() arguments=(--offscreen 1600x1000)
if [ "$mode" = window ]; then
  command -v xvfb-run >/dev/null || { echo "xvfb-run is not installed"; exit 77; }
  launch=(xvfb-run -a -s "-screen 0 1920x1200x24 -noreset") arguments=()
fi
# Where the history has room for all rows (4.4 GB), a processor's map is made of them instead.
XDG_CONFIG_HOME=$work/config "${launch[@]}" "$build/layerscope" "$work/long.gguf" --backend "$backend" \
  --history-memory 1G --context 33000 --prompt "$prompt" "${arguments[@]}" \
  --script "$root/tests/gui/long/long_context.script" --script-output "$build/screenshots/$mode" --validation | tee "$work/printed.txt"
# With room for them, the map is made of the rows that came with the tokens, some in every frame.
XDG_CONFIG_HOME=$work/config "${launch[@]}" "$build/layerscope" "$work/long.gguf" --backend cpu \
  --history-memory 2G --context 12100 --prompt "${prompt:0:12000}" "${arguments[@]}" \
  --script "$root/tests/gui/long/long_rows.script" --validation
value() { sed -n "s,^attention/$1: ,,p" "$2"; }
near() { # what, a, b, relative tolerance: "query key value" each
  awk -v what="$1" -v a="$2" -v b="$3" -v e="$4" 'BEGIN {
    n = split(a, x, " "); m = split(b, y, " "); d = x[3] - y[3]; if (d < 0) d = -d
    good = n == 3 && m == 3 && x[1] == y[1] && x[2] == y[2] && d <= e * x[3]
    printf "%s: %s and %s: %s\n", what, a, b, good ? "equal" : "NOT EQUAL"; exit !good }'
}
exact=$(value exact "$work/printed.txt")
[ -n "$exact" ]
cell=$(value cell "$work/printed.txt")
if [ -n "$cell" ]; then near "crosshair and map" "$exact" "$cell" 1e-4; fi
if [ -n "${4:-}" ]; then near "two backends" "$exact" "$(value exact "$4")" 5e-3; fi
