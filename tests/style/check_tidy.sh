#!/bin/bash
# clang-tidy over our own .cpp files outside tests, all cores; needs the compile commands of a
# configured and built tree (generated shader headers) in $LS_BUILD_DIR.
#   check_tidy.sh [file...]     default: every file of engine, kernels and gui that is compiled
set -euo pipefail
cd "$LS_SOURCE_DIR"
if ! command -v clang-tidy >/dev/null; then
  echo "clang-tidy is not installed"
  exit 77
fi
if [ $# -eq 0 ]; then
  mapfile -t compiled < <(
    sed -n 's|^ *"file": "\(.*\)",\{0,1\}$|\1|p' "$LS_BUILD_DIR/compile_commands.json" |
      sed -n "s|^$PWD/||p" | grep -E '^(engine|kernels|gui)/.*\.cpp$' | sort -u
  )
  set -- "${compiled[@]}"
fi
if [ $# -eq 0 ]; then
  echo "no compiled source file yet"
  exit 77
fi
echo "$# files"
# One process per file; its output is kept whole. Compile options that only GCC knows are not errors.
tidy_one() {
  local output
  if ! output=$(clang-tidy --quiet -p "$LS_BUILD_DIR" --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null); then
    printf '%s: clang-tidy failed\n%s\n' "$1" "$output"
    return 1
  fi
}
export -f tidy_one
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'tidy_one "$0"' || exit 1
