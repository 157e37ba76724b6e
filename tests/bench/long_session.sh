#!/bin/bash
# How smoothly the window runs in a session of many tokens, offscreen: frame times, answers to input,
# and what memory it takes.
#
#   long_session.sh BUILD_DIR MODEL.gguf [WxH] [BYTES] [STEPS]
#
# BYTES of prompt (default 42,300: about 31,000 tokens of make_model's vocabularies), then STEPS tokens
# (default 1,000). LS_BENCH_OPTIONS is given to the program ("--history-memory 256M").
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
model=${2:?MODEL.gguf}
bytes=${4:-42300}
steps=${5:-1000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prompt=$(awk -v n="$bytes" 'BEGIN { while (length(s) < n) s = s " ab the q in mn"; print substr(s, 1, n) }')
echo "a long session: $(basename "$model"), $bytes bytes of prompt, $steps tokens generated"
sed "s/@STEPS@/$((steps + 1))/" "$root/tests/bench/long_session.script" >"$work/long_session.script"
measured=()
[ ! -x /usr/bin/time ] || measured=(/usr/bin/time -f "memory at most %M kB")
# shellcheck disable=SC2086
"${measured[@]}" "$build/layerscope" "$model" --context $((bytes * 3 / 4 + steps + 300)) \
  --prompt "$prompt" --offscreen "${3:-1600x1000}" ${LS_BENCH_OPTIONS:-} \
  --script "$work/long_session.script" --script-output "$work" --script-timeout 600
