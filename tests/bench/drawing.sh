#!/bin/bash
# What the window costs the generation: the same session at one frame a second, at 60 and at 144, with
# zero-copy and staged; what a frame takes on the GPU, and what was copied to the host to be drawn.
# Without a GPU it says so and succeeds.
#
#   drawing.sh BUILD_DIR [DEPTH] [TOKENS] MODEL.gguf…
#
# LS_BENCH_SIZE is the window (1920x1080), LS_BENCH_WAYS what is compared ("zero-copy 1" comes first),
# LS_BENCH_SECONDS how long each side generates at least (2). Generation starts after about DEPTH
# tokens, as far as the model's context allows, goes on past the end of a text and is repeated from
# the prompt on until that time is filled; all sides make the same tokens.
set -euo pipefail
build=${1:?BUILD_DIR}
all_depth=${2:-4096}
all_tokens=${3:-1024}
shift $(($# < 3 ? $# : 3))
size=${LS_BENCH_SIZE:-1920x1080}
seconds=${LS_BENCH_SECONDS:-2}
IFS=, read -ra ways <<<"${LS_BENCH_WAYS:-zero-copy 1,zero-copy 60,zero-copy 144,staged 60}"
if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "No GPU here: what drawing costs is not measured."
  exit 0
fi
cli=$build/layerscope-cli
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$(nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader), window $size"
format='| %-22s | %6s | %-9s | %8s | %7s | %8s | %8s | %23s | %11s |\n'
# shellcheck disable=SC2059
printf "$format" model after path "frames/s" drawn "tok/s" slower "GPU ms: maps + interface" bytes/token
for model in "$@"; do
  words=" one two three four"
  text=$words$words$words$words
  per=60  # tokens of it where there is no layerscope-cli: those of make_model
  most=$((all_depth + all_tokens))
  if [ -x "$cli" ]; then
    ids=$("$cli" tokenize "$model" --text "$text" --json | sed 's/.*"ids":\[\([^]]*\)\].*/\1/')
    per=$(tr ',' '\n' <<<"$ids" | wc -l)
    most=$("$cli" inspect "$model" | sed -n 's/.*, context \([0-9]*\)$/\1/p' | head -n 1)
  fi
  depth=$all_depth
  tokens=$all_tokens
  if [ "$most" -lt $((depth + tokens)) ]; then  # a short context: a quarter of it, then all the rest
    depth=$((most / 4))
    tokens=$((most - depth - per))
  fi
  prompt=$(for _ in $(seq 1 $(((depth + per - 1) / per))); do printf '%s' "$text"; done)
  base=
  rounds=1
  for way in "${ways[@]}"; do
    read -r path rate <<<"$way"
    flag=()
    [ "$path" = staged ] && flag=(--no-interop)
    run() {
      "$build/layerscope" "$model" --backend cuda --context $((depth + tokens + 2 * per)) \
        --offscreen "$size" --prompt "$prompt" --exit-after "$tokens" --rounds "$1" \
        --frames-per-s "$rate" "${flag[@]}" --screenshot "$work/last.png"
    }
    value() { sed -n "s/^$1 .*/&/p" <<<"$out" | sed -n "s/.*$2.*/\1/p"; }
    if [ -z "$base" ]; then  # the speed says how many rounds fill the time
      out=$(run 2)
      speed=$(value output ', \([0-9.]*\) tok.s')
      rounds=$(awk -v s="$seconds" -v v="$speed" -v n="$tokens" \
        'BEGIN { r = s * v / n; r = r == int(r) ? r : int(r) + 1; print r < 2 ? 2 : r }')
    fi
    out=$(run "$rounds")
    speed=$(value output ', \([0-9.]*\) tok.s')
    base=${base:-$speed}
    # shellcheck disable=SC2059
    printf "$format" "$(basename "$model" .gguf)" "$depth" "$(value drawing 'drawing  *\([a-z-]*\) ')" \
      "$rate" "$(value frames ', \([0-9.]*\) a second')" "$speed" \
      "$(awk -v a="$base" -v b="$speed" 'BEGIN { printf "%.1f %%", 100 * (a - b) / a }')" \
      "$(value 'a frame' 'heatmaps \([0-9.]*\)\/[0-9.]* ms') + $(value 'a frame' 'interface \([0-9.]*\)\/[0-9.]* ms')" \
      "$(value frames ' \([0-9]*\) bytes a token')"
  done
done
