#!/bin/bash
# What the window costs the generation: the same session at one frame a second, at 60 and at 144, with
# zero-copy and staged; and what was copied to the host to be drawn. Without a GPU it says so and succeeds.
#
#   drawing.sh BUILD_DIR [DEPTH] [TOKENS] MODEL.gguf…
set -euo pipefail
build=${1:?BUILD_DIR}
depth=${2:-4096}
tokens=${3:-1024}
shift $(($# < 3 ? $# : 3))
if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "No GPU here: what drawing costs is not measured."
  exit 0
fi
cli=$build/layerscope-cli
[ -x "$cli" ] || cli=
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader
printf '| %-24s | %-8s | %9s | %9s | %8s | %9s | %12s |\n' model path "frames/s" drawn "tok/s" slower \
  "bytes/token"
for model in "$@"; do
  # As many times the same words as make about DEPTH tokens.
  words=" one two three four"
  text=$words$words$words$words
  per=16
  if [ -n "$cli" ]; then
    ids=$("$cli" tokenize "$model" --text "$text" --json | sed 's/.*"ids":\[\([^]]*\)\].*/\1/')
    per=$(tr ',' '\n' <<<"$ids" | wc -l)
  fi
  prompt=$(for _ in $(seq 1 $((depth / per))); do printf '%s' "$text"; done)
  base=
  for way in "zero-copy 1" "zero-copy 60" "zero-copy 144" "staged 60"; do
    read -r path rate <<<"$way"
    flag=()
    [ "$path" = staged ] && flag=(--no-interop)
    out=$("$build/layerscope" "$model" --backend cuda --context $((depth + tokens + 700)) \
      --offscreen 1920x1080 --prompt "$prompt" --exit-after "$tokens" --frames-per-s "$rate" \
      "${flag[@]}" --screenshot "$work/last.png")
    speed=$(sed -n 's/^output .* \([0-9.]*\) tok.s$/\1/p' <<<"$out")
    frames=$(sed -n 's/^frames .* \([0-9.]*\) a second.*/\1/p' <<<"$out")
    bytes=$(sed -n 's/^frames .* \([0-9]*\) bytes a token.*/\1/p' <<<"$out")
    shown=$(sed -n 's/^drawing  \([a-z-]*\).*/\1/p' <<<"$out")
    base=${base:-$speed}
    printf '| %-24s | %-8s | %9s | %9s | %8s | %7s %% | %12s |\n' "$(basename "$model" .gguf)" "$shown" \
      "$rate" "$frames" "$speed" \
      "$(awk -v a="$base" -v b="$speed" 'BEGIN { printf "%.1f", 100 * (a - b) / a }')" "$bytes"
  done
done
