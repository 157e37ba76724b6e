#!/bin/bash
# check_tidy.sh on a small tree: files of one folder are read together, and still a path that only the
# analyser sees, a fault in a file that cannot stand beside its neighbours and one in a header are found.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v clang-tidy >/dev/null || { echo "clang-tidy is not installed"; exit 77; }
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/engine/a" "$tree/build"
cp "$here/../../.clang-tidy" "$tree/"

fail() { echo "$1"; exit 1; }
check() { # the exit status of check_tidy.sh, its output in $tree/out
  {
    echo "["
    separator=
    for file in "$tree"/engine/a/*.cpp; do
      printf '%s{\n  "directory": "%s",\n  "command": "c++ -std=c++20 -I%s -o x.o -c %s",\n  "file": "%s"\n}' \
        "$separator" "$tree/build" "$tree" "$file" "$file"
      separator=$',\n'
    done
    echo "]"
  } >"$tree/build/compile_commands.json"
  LS_SOURCE_DIR=$tree LS_BUILD_DIR=$tree/build "$here/check_tidy.sh" >"$tree/out" 2>&1
}

cat >"$tree/engine/a/one.cpp" <<'CPP'
namespace { int twice(int x) { return 2 * x; } }
int one(int x) { return twice(x); }
CPP
cat >"$tree/engine/a/two.cpp" <<'CPP'
int two(int x) { return x + 2; }
CPP
check || { cat "$tree/out"; fail "a clean tree was refused"; }
grep -q '^2 files in 1 units$' "$tree/out" || fail "the folder was not read as one unit"

# Needs the path x > 3 → pointer is null.
cat >"$tree/engine/a/three.cpp" <<'CPP'
int three(int x) {
  int value = x;
  int *pointer = &value;
  if (x > 3) pointer = nullptr;
  return *pointer;
}
CPP
! check || fail "a null pointer was not found"
grep -q 'three.cpp.*clang-analyzer-core.NullDereference' "$tree/out" || fail "not by the analyser"
rm "$tree/engine/a/three.cpp"

# The same name as in one.cpp, and a moved-from value.
cat >"$tree/engine/a/four.cpp" <<'CPP'
#include <string>
#include <utility>
namespace { int twice(int x) { return x + x; } }
std::string sink(std::string text);
int four(std::string text) {
  sink(std::move(text));
  return twice(static_cast<int>(text.size()));
}
CPP
! check || fail "a moved-from value was not found"
grep -q '^read apart: ' "$tree/out" || { cat "$tree/out"; fail "two files of one name stood in one unit"; }
grep -q 'four.cpp.*bugprone-use-after-move' "$tree/out" || fail "not in four.cpp"
rm "$tree/engine/a/four.cpp"

cat >"$tree/engine/a/five.h" <<'CPP'
inline int first_of(int x) {
  int *pointer = &x;
  if (x > 3) pointer = nullptr;
  return *pointer;
}
CPP
printf '#include "engine/a/five.h"\nint five(int x) { return first_of(x); }\n' >"$tree/engine/a/five.cpp"
! check || fail "a fault in a header was not found"
grep -q 'five.h.*error' "$tree/out" || fail "not in five.h"
