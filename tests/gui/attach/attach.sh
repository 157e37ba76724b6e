#!/usr/bin/env bash
# A window attached to a worker on loopback sees what a window with its own model sees.
#
#   attach.sh BUILD_DIR offscreen|window
#
# Exit 77 when that mode cannot run here.
build=$(cd "$1" && pwd)
mode=$2
here=$(cd "$(dirname "$0")" && pwd)
with_worker=1
. "$here/../window_lib.sh"

token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
echo "$token" >"$tmp/token"
start_worker --token-file "$tmp/token"

# The same steps, here and there.
sed 's/@WHERE@/local/' "$here/play.script" >"$tmp/local.script"
window "$tmp/local.script" "$demo"
grep ': ' "$tmp/out" | grep -v "$tmp" >"$tmp/local"
sed 's/@WHERE@/remote/' "$here/play.script" >"$tmp/remote.script"
window "$tmp/remote.script" --attach "$url" --token-file "$tmp/token"
grep ': ' "$tmp/out" | grep -v "$tmp" >"$tmp/remote"
[ "$(wc -l <"$tmp/local")" -ge 30 ] || fail "the script printed too little: $(cat "$tmp/local")"
diff "$tmp/local" "$tmp/remote" || fail "the attached window differs from the local one"

# By hand, with the token typed in; the session outlives the window.
sed "s,@URL@,$url,; s/@TOKEN@/$token/" "$here/dialog.script" >"$tmp/dialog.script"
prompt=$("$cli" tokenize "$demo" --text "<|im_start|>user
Count from one to nine.<|im_end|>
<|im_start|>assistant
" --json | grep -o '"ids":\[[^]]*\]' | tr -cd ',' | wc -c)
sed -i "s/@COUNT@/$((prompt + 1 + 2))/" "$tmp/dialog.script"
window "$tmp/dialog.script"

# A task without a script: generate over the wire, print, leave.
"${launch[@]}" "$build/layerscope" --attach "$url" --token-file "$tmp/token" --prompt "Count from one to nine." --chat \
  --exit-after 5 --offscreen 1200x800 --screenshot "$pictures/attach_task.png" >"$tmp/out" ||
  fail "--exit-after"
grep -q 'one, two, three' "$tmp/out" || fail "--exit-after: $(cat "$tmp/out")"
end_worker
echo "$(wc -l <"$tmp/local") values are the same here and there ($mode)"
