#!/bin/bash
# Attention, norms and logits drawn from shared memory and through host memory: the same pictures, byte for
# byte.
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
scripts=(attention_pictures stats_pictures)
draw() { # folder [flag]
  for script in "${scripts[@]}"; do
    mkdir -p "$work/$1/$script"
    "$build/layerscope" --offscreen 1600x1000 --script "$root/tests/gui/$script.script" \
      --script-output "$work/$1/$script" "${@:2}" >"$work/$1/$script.txt" || { cat "$work/$1/$script.txt"; exit 1; }
    cat "$work/$1/$script.txt"
  done
}
draw shared
if ! grep -q '^app/path: zero-copy' "$work"/shared/*.txt; then
  sed -n 's,^app/path/reason: ,no zero-copy here: ,p' "$work"/shared/*.txt
  exit 77
fi
for script in "${scripts[@]}"; do
  grep -qx 'app/pictures/bytes_to_host: 0' "$work/shared/$script.txt" || exit 1
done
# Glyphs are packed in the order in which they are first seen, which follows the timing of the figures
# in the status bar; at another place in the atlas a glyph's edge may round differently. So the staged
# pictures are drawn up to three times: each has to be the shared one's bytes once.
pictures=("$work"/shared/*/layerscope-*.png)
equal=()
for try in 1 2 3; do
  draw "staged$try" --no-interop
  for script in "${scripts[@]}"; do
    grep -q '^app/path: staging' "$work/staged$try/$script.txt" || exit 1
  done
  for picture in "${pictures[@]}"; do
    name=${picture#"$work/shared/"}
    if cmp "$picture" "$work/staged$try/$name" && [[ " ${equal[*]-} " != *" $name "* ]]; then
      equal+=("$name")
    fi
  done
  [ ${#equal[@]} -lt ${#pictures[@]} ] || break
done
echo "${#equal[@]} of ${#pictures[@]} pictures, the same bytes both ways"
[ ${#pictures[@]} -ge 6 ] && [ ${#equal[@]} -eq ${#pictures[@]} ]
