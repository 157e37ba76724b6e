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
# Glyphs are packed in the order in which they are first seen, which follows the timing of the figures
# in the status bar; at another place in the atlas a glyph's edge may round differently. So the staged
# pictures are drawn up to three times: each has to be the shared one's bytes once.
equal=()
for try in 1 2 3; do
  draw "staged$try" --no-interop
  grep -q '^app/path: staging' "$work/staged$try.txt" || exit 1
  for picture in "$work"/shared/*.png; do
    name=$(basename "$picture")
    if cmp "$picture" "$work/staged$try/$name" && [[ " ${equal[*]-} " != *" $name "* ]]; then
      equal+=("$name")
    fi
  done
  [ ${#equal[@]} -lt 4 ] || break
done
echo "${#equal[@]} of 4 pictures, the same bytes both ways"
[ ${#equal[@]} -eq 4 ]
