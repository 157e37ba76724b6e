#!/usr/bin/env bash
# "Copy as command" of every panel: each line runs without a window, exits with 0, and computes what
# the panel showed.
#
#   commands.sh BUILD_DIR offscreen|window
#
# Exit 77 when that mode cannot run here.
build=$(cd "$1" && pwd)
mode=$2
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../window_lib.sh"
window "$here/commands.script" --backend cpu
grep -o 'layerscope-cli .*' "$tmp/out" >"$tmp/commands"
[ "$(wc -l <"$tmp/commands")" -eq 8 ] || fail "not eight commands: $(cat "$tmp/out")"
export PATH=$build:$PATH
cd "$tmp" || exit 1
number=0
while read -r line; do
  number=$((number + 1))
  bash -c "$line" >"$tmp/output-$number" 2>"$tmp/error" </dev/null ||
    fail "exit $? from: $line ($(head -c 300 "$tmp/error"))"
  [ -s "$tmp/output-$number" ] || fail "nothing was printed by: $line"
done <"$tmp/commands"
for trace in attention norms kv; do
  [ -s "$trace.safetensors" ] || fail "$trace.safetensors was not written"
done
text=$(sed -n 's/^[^[]*"text":"\([^"]*\)".*/\1/p' "$tmp/output-3" | head -3 | tr -d '\n')
grep -qF -- "$text" "$tmp/output-2" || fail "--json says '$text', the text is $(cat "$tmp/output-2")"
echo "$number commands ran ($mode)"
