#!/bin/bash
# Makes the README's pictures: one tour through the window at three sizes, rendered offscreen.
#
#   make_gallery.sh BUILD_DIR [OUT_DIR]        (default: assets/gallery)
#
# 1600×1000 is kept whole. Of 1024×640 the overview and the tensors are kept, of 3840×2160 (at twice
# the scale) the overview, to show that nothing is cut off.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
out=${2:-$root/assets/gallery}
demo=("$root"/assets/demo/*.gguf)
export MODEL=${demo[0]} LS_SOURCE_DIR=$root
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
tour() { # SIZE SCALE
  "$build/layerscope" --offscreen "$1" --scale "$2" --script "$root/tests/gui/gallery/tour.script" \
    --script-output "$work/$1"
}
tour 1600x1000 1
cp "$work"/1600x1000/*.png "$out/"
for extra in "1024x640 1" "3840x2160 2"; do
  # shellcheck disable=SC2086
  tour $extra
  size=${extra% *}
  for scene in overview tensors; do
    if [ "$size/$scene" != 3840x2160/tensors ]; then
      cp "$work/$size/$scene.png" "$out/$scene-$size.png"
    fi
  done
done
ls -l "$out"
