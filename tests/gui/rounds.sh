#!/bin/bash
# --rounds repeats a generation from the prompt on, past the end of a text, and counts all of it; a
# frame's costs are printed. Both ways of drawing end in the same report.
set -euo pipefail
layerscope=$1/layerscope
model=$(echo assets/demo/*.gguf)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAILED: $1"
  exit 1
}
for way in tiles raster; do
  "$layerscope" "$model" --backend cpu --offscreen 640x400 --prompt "the quiet river" --exit-after 40 \
    --rounds 3 --draw-with "$way" --screenshot "$work/last.png" >"$work/out" 2>"$work/err" || {
    grep -q 'cannot draw the interface' "$work/err" && exit 77
    fail "$way: $(tail -n 3 "$work/err")"
  }
  grep -q '^output   120 tokens (.*) in 3 rounds, [0-9.]* tok/s$' "$work/out" ||
    fail "$way: $(grep '^output' "$work/out")"
  grep -q '^a frame  p50/p95: [0-9.]*/[0-9.]* ms of the window' "$work/out" ||
    fail "$way: $(grep '^a frame' "$work/out")"
done
echo "both ways: 120 tokens in 3 rounds"
