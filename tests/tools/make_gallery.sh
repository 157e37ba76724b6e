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
export HEALTHY=$work/healthy.safetensors
"$build/layerscope-cli" generate "$MODEL" --prompt "Write a haiku about GPU computing. Use the word forty-six." \
  --chat --tokens 8 --quiet --trace "$HEALTHY" --capture full >/dev/null
tour() { # SIZE SCALE
  # Frames that nobody sees are not painted, and the demo's speed is not the display's.
  "$build/layerscope" --offscreen "$1" --scale "$2" --frames-per-s 1000 --script "$root/tests/gui/gallery/tour.script" \
    --script-output "$work/$1"
}
tour 1600x1000 1
cp "$work"/1600x1000/*.png "$out/"
for extra in "1024x640 1" "3840x2160 2"; do
  # shellcheck disable=SC2086
  tour $extra
  size=${extra% *}
  cp "$work/$size/overview.png" "$out/overview-$size.png"
  if [ "$size" = 1024x640 ]; then
    cp "$work/$size/tensors.png" "$out/tensors-$size.png"
  fi
done
ls -l "$out"
