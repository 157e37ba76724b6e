#!/bin/bash
# The window drawn from shared memory under Vulkan's validation layer, its checks of synchronisation
# included: while generating, resizing, opening a model again, with faults in force (which takes the
# pictures through the host and back), with the other backend, without sharing, and closed in the middle
# of a run. Every message is a failure, those of tear-down included.
#
#   validation.sh BUILD_DIR
#
# Exit 77 where there is no GPU that computes and draws, or no validation layer.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
demo=("$root"/assets/demo/*.gguf)
export MODEL=${MODEL:-${demo[0]}} LS_SOURCE_DIR=$root XDG_CONFIG_HOME=$work/config
# Also between submissions, where the layer knows how.
export VK_LAYER_ENABLES=VALIDATION_CHECK_ENABLE_SYNCHRONIZATION_VALIDATION_QUEUE_SUBMIT
draw() { # name script, then options
  mkdir -p "$work/$1"
  "$build/layerscope" --offscreen 1600x1000 --validation --script-timeout 60 --script "$2" \
    --script-output "$work/$1" "${@:3}" >"$work/$1.txt" 2>&1
  echo $? >"$work/$1.code"
}
scripts=$root/tests/gui
draw shared "$scripts/attention_pictures.script"
if grep -q 'is not installed' "$work/shared.txt"; then
  echo "no validation layer here (on Debian: vulkan-validationlayers)"
  exit 77
fi
if ! grep -q '^app/path: zero-copy' "$work/shared.txt" && [ -z "${ANY_PATH:-}" ]; then
  sed -n 's,^app/path/reason: ,no zero-copy here: ,p' "$work/shared.txt"
  exit 77
fi
draw staged "$scripts/attention_pictures.script" --no-interop &
draw processor "$scripts/attention_pictures.script" --backend cpu &
for name in findings kv_and_lens reload_and_close resize_small rewind_and_force run_and_pause zoom_map; do
  draw $name "$scripts/$name.script" &
done
wait
failed=0
for code in "$work"/*.code; do
  name=$(basename "$code" .code)
  messages=$(grep -c 'Vulkan validation: ' "$work/$name.txt")
  printf '%-18s exit code %s, %s messages\n' "$name" "$(cat "$code")" "$messages"
  if [ "$(cat "$code")" != 0 ] || [ "$messages" != 0 ]; then
    tail -n 12 "$work/$name.txt" | cut -c1-1200
    failed=1
  fi
done
exit $failed
