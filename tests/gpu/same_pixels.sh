#!/bin/bash
# The attention panel drawn from shared memory and through host memory: the same pictures, byte for byte.
#
#   same_pixels.sh BUILD_DIR
#
# Exit 77 where there is no GPU that computes and draws.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
demo=("$root"/assets/demo/*.gguf)
export MODEL=${MODEL:-${demo[0]}} XDG_CONFIG_HOME=$work/config
draw() { # folder [flag]
  mkdir -p "$work/$1"
  "$build/layerscope" --offscreen 1600x1000 --script "$root/tests/gui/attention_pictures.script" \
    --script-output "$work/$1" "${@:2}" | tee "$work/$1.txt" || exit 1
}
draw shared
if ! grep -q '^app/path: zero-copy' "$work/shared.txt"; then
  sed -n 's,^app/path/reason: ,no zero-copy here: ,p' "$work/shared.txt"
  exit 77
fi
grep -qx 'app/pictures/bytes_to_host: 0' "$work/shared.txt" || exit 1
draw staged --no-interop
grep -q '^app/path: staging' "$work/staged.txt" || exit 1
equal=0
for picture in "$work"/shared/*.png; do
  if cmp "$picture" "$work/staged/$(basename "$picture")"; then equal=$((equal + 1)); fi
done
echo "$equal of 4 pictures, the same bytes both ways"
[ "$equal" -eq 4 ]
