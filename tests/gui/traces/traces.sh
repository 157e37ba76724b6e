#!/usr/bin/env bash
# Traces in the window: opened and played without a model, exported, compared, explained.
#
#   traces.sh BUILD_DIR offscreen|window
#
# Exit 77 when that mode cannot run here.
build=$(cd "$1" && pwd)
mode=$2
export LS_BUILD_DIR=$build
. "$(dirname "$0")/../../e2e/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
launch=()
arguments=(--offscreen 1600x1000)
if [ "$mode" = window ]; then
  command -v xvfb-run >/dev/null || {
    echo "xvfb-run is not installed"
    exit 77
  }
  launch=(xvfb-run -a -s "-screen 0 1920x1200x24 -noreset")
  arguments=()
fi
export XDG_CONFIG_HOME=$tmp/config MODEL=$demo TMPDIR=$tmp

window() {
  local name=$1
  shift
  "${launch[@]}" "$build/layerscope" "${arguments[@]}" "$@" --script "$here/$name.script" \
    --script-timeout 60 --script-output "$tmp/exports" --validation >"$tmp/out" 2>"$tmp/err" ||
    fail "$name.script: $(tail -5 "$tmp/err")"
  mkdir -p "$build/screenshots/$mode"
  cp "$tmp"/exports/*.png "$build/screenshots/$mode/" 2>/dev/null
}

prompt="Write a haiku about rain. Use the word seven."
# The last token is chosen and not evaluated: four of the five have a step.
record() { # NAME CAPTURE [OPTIONS…]
  local name=$1 capture=$2
  shift 2
  "$cli" generate "$demo" --prompt "$prompt" --chat --tokens 5 --quiet --backend cpu \
    --trace "$tmp/$name.safetensors" --capture "$capture" "$@" >/dev/null || fail "recording $name"
}
record full full
record summary summary
record other full --fault transpose:blk.2.attn_q.weight
head -c 4000 "$tmp/full.safetensors" >"$tmp/cut.safetensors"
echo "no trace at all" >"$tmp/notes.txt"

window replay "$tmp/full.safetensors"
window partial
window export
exported=$(ls "$tmp"/exports/layerscope-session*.safetensors | head -1)
[ -n "$exported" ] || fail "no trace was exported"
cp "$exported" "$tmp/exported.safetensors"
# The session's own numbers, and those of the reopened trace.
grep ': ' "$tmp/out" | grep -v "$tmp" | grep -v 'actions passed' >"$tmp/before"
window reopened "$tmp/exported.safetensors"
grep ': ' "$tmp/out" | grep -v "$tmp" | grep -v 'actions passed' >"$tmp/after"
[ "$(wc -l <"$tmp/before")" -ge 4 ] || fail "the script printed too little: $(cat "$tmp/before")"
diff "$tmp/before" "$tmp/after" || fail "the reopened session shows other numbers"
window compare
window mistakes
"$cli" compare "$tmp/exported.safetensors" "$tmp/full.safetensors" --quiet >"$tmp/compare" ||
  fail "the exported session differs from generate --trace: $(cat "$tmp/compare")"
grep -q "no divergence" "$tmp/compare" || fail "$(cat "$tmp/compare")"
echo "replay, export, comparison and mistakes passed ($mode)"
