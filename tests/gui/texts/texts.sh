#!/usr/bin/env bash
# No text is cut off, none stands on another: every panel and state, from 1024×640 to 3840×2160, at
# scales from 1 to 2.5. And a label that is too long is found, so that the test can fail.
#
#   texts.sh BUILD_DIR [SIZE SCALE]...      (default: all of them)
#
# LS_TEXTS_PICTURES=1 keeps all pictures, in BUILD_DIR/screenshots/texts-SIZE-SCALE.
build=$(cd "$1" && pwd)
shift
export LS_BUILD_DIR=$build
. "$(dirname "$0")/../../e2e/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
[ $# -gt 0 ] || set -- 1024x640 1 1600x1000 1 1600x1000 1.25 1600x1000 1.5 1920x1200 1.5 \
  3840x2160 1 3840x2160 2 3840x2160 2.5

export MODEL=$demo TMPDIR=$tmp STATES=$tmp/states UNKNOWN=$tmp/unknown.gguf
mkdir -p "$STATES"
head -c 3000 "$demo" >"$STATES/broken.gguf"
sed 's/olmo2/olmo9/g' "$root/tests/golden/tiny/olmo2/model.gguf" >"$UNKNOWN"
record() { # NAME CAPTURE [OPTIONS…]
  local name=$1 capture=$2
  shift 2
  "$cli" generate "$demo" --prompt "Write a haiku about rain. Use the word seven." --chat --tokens 5 \
    --quiet --backend cpu --trace "$STATES/$name.safetensors" --capture "$capture" "$@" >/dev/null ||
    fail "recording $name"
}
record full full
record summary summary
record other full --fault transpose:blk.2.attn_q.weight

# A window far too small for its labels is found: the test can fail.
printf 'open "${MODEL}"\nwait loaded\nwait idle\nassert-texts-fit\n' >"$tmp/small.script"
expect_exit 1 "$build/tests/bin/layerscope_texts" --offscreen 420x300 --scale 3 --backend cpu \
  --script "$tmp/small.script"
grep -q 'is cut off\|wider than it\|top of each other' "$tmp/err" ||
  fail "a window that is too small: $(cat "$tmp/err")"

runs=0
while [ $# -gt 0 ]; do
  "$build/tests/bin/layerscope_texts" --offscreen "$1" --scale "$2" --frames-per-s 1000 --backend cpu \
    --script "$here/every_panel.script" --script-output "$build/screenshots/texts-$1-$2" \
    >"$tmp/out" 2>"$tmp/err" || fail "$1 at scale $2: $(cat "$tmp/err" "$tmp/out")"
  cat "$tmp/out"
  runs=$((runs + 1))
  shift 2
done
echo "every text fits in $runs sizes and scales"
