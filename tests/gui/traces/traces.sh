#!/usr/bin/env bash
# Traces in the window: opened and played without a model, exported, compared, explained.
#
#   traces.sh BUILD_DIR offscreen|window
#
# Exit 77 when that mode cannot run here.
build=$(cd "$1" && pwd)
mode=$2
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../window_lib.sh"
export TMPDIR=$tmp

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

window "$here/replay.script" "$tmp/full.safetensors"
window "$here/partial.script"
window "$here/export.script"
exported=$(ls "$tmp"/exports/layerscope-session*.safetensors | head -1)
[ -n "$exported" ] || fail "no trace was exported"
cp "$exported" "$tmp/exported.safetensors"
# The session's own numbers, and those of the reopened trace.
grep ': ' "$tmp/out" | grep -v "$tmp" | grep -v 'actions passed' >"$tmp/before"
window "$here/reopened.script" "$tmp/exported.safetensors"
grep ': ' "$tmp/out" | grep -v "$tmp" | grep -v 'actions passed' >"$tmp/after"
[ "$(wc -l <"$tmp/before")" -ge 4 ] || fail "the script printed too little: $(cat "$tmp/before")"
diff "$tmp/before" "$tmp/after" || fail "the reopened session shows other numbers"
window "$here/compare.script"
window "$here/mistakes.script"
"$cli" compare "$tmp/exported.safetensors" "$tmp/full.safetensors" --quiet >"$tmp/compare" ||
  fail "the exported session differs from generate --trace: $(cat "$tmp/compare")"
grep -q "no divergence" "$tmp/compare" || fail "$(cat "$tmp/compare")"
# Without a script: a recording is played from its prompt on, so many steps, and says what it holds.
"${launch[@]}" "$build/layerscope" "$tmp/full.safetensors" --exit-after 2 --offscreen 1200x800 \
  --screenshot "$pictures/trace_task.png" >"$tmp/task" 2>"$tmp/err" ||
  fail "--exit-after of a recording: $(cat "$tmp/err")"
grep -q '^output   2 tokens' "$tmp/task" || fail "--exit-after of a recording: $(cat "$tmp/task")"
expect_exit 2 "$build/layerscope" "$tmp/full.safetensors" --exit-after 2 --prompt x
grep -q 'is a recording' "$tmp/err" || fail "a recording with a prompt: $(cat "$tmp/err")"
echo "replay, export, comparison and mistakes passed ($mode)"
