#!/bin/bash
# clang-tidy over our own .cpp files outside tests, all cores; needs the compile commands of a
# configured and built tree (generated shader headers) in $LS_BUILD_DIR.
#   check_tidy.sh [file...]     default: every file of engine, kernels and gui that is compiled
#
# Files of one folder that are compiled alike are read as one translation unit: nearly all the time of a
# single file goes into the headers that its neighbours include too. The static analyser leaves included
# files alone, except those of a file whose name begins with UnifiedSource (clang,
# AnalysisManager::isInCodeFile). Files that cannot stand in one unit with their neighbours (the same name
# in both) make a further unit, and the output says so.
set -euo pipefail
cd "$LS_SOURCE_DIR"
if ! command -v clang-tidy >/dev/null; then
  echo "clang-tidy is not installed"
  exit 77
fi
commands=$LS_BUILD_DIR/compile_commands.json
if [ $# -eq 0 ]; then
  mapfile -t compiled < <(
    sed -n 's|^ *"file": "\(.*\)",\{0,1\}$|\1|p' "$commands" | sed -n "s|^$PWD/||p" |
      grep -E '^(engine|kernels|gui)/.*\.cpp$' | sort -u
  )
  set -- "${compiled[@]}"
fi
if [ $# -eq 0 ]; then
  echo "no compiled source file yet"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One line per unit: its own .cpp and then its files. Highway's files include themselves and stand alone,
# as does every file whose command has no sibling.
{
  printf '%s\n' "$@"
  echo
  cat "$commands"
} | awk -v work="$work" -v root="$PWD" '
  !listed { if ($0 == "") listed = 1; else wanted[root "/" $0] = 1; next }
  /^ *"directory": / { directory = $0 }
  /^ *"command": / { command = $0 }
  /^ *"file": / {
    file = $0
    sub(/^ *"file": "/, "", file); sub(/",?$/, "", file)
    if (!(file in wanted)) next
    delete wanted[file]
    folder = file; sub(/\/[^\/]*$/, "", folder)
    at = index(command, " -o ")
    flags = substr(command, 1, at - 1)
    alone = 0
    while ((getline line < file) > 0) if (line ~ /HWY_TARGET_INCLUDE/) { alone = 1; break }
    close(file)
    key = folder SUBSEP flags (alone ? SUBSEP file : "")
    if (!(key in unit)) {
      unit[key] = sprintf("%s/UnifiedSource%d.cpp", work, ++units)
      order[units] = key; head[key] = directory "\n" flags
    }
    count[key]++
    files[key] = files[key] " " file
    printf "#include \"%s\"  // NOLINT(bugprone-suspicious-include): one unit per folder\n", file > unit[key]
  }
  END {
    json = work "/compile_commands.json"
    printf "[" > json
    for (i = 1; i <= units; i++) {
      key = order[i]
      separator = i > 1 ? ",\n" : "\n"
      printf "%s{\n%s -c %s\",\n  \"file\": \"%s\"\n}", separator, head[key], unit[key], unit[key] > json
      print count[key], unit[key] files[key]
    }
    print "\n]" > json
  }' | sort -rn | cut -d' ' -f2- >"$work/units"
echo "$# files in $(wc -l <"$work/units") units"

# Compile options that only GCC knows are not errors. A function's paths are followed over 75,000 states, the
# analyser's own figure for its shallow mode: with 225,000, its default, some functions take nine tenths of
# the time (gui/view: 124 s instead of 28).
tidy() { # DATABASE FILE [argument...]
  local database=$1 file=$2
  shift 2
  clang-tidy --quiet -p "$database" --config-file="$LS_SOURCE_DIR/.clang-tidy" \
    --extra-arg=-Wno-unknown-warning-option --extra-arg=-Xclang --extra-arg=-analyzer-config \
    --extra-arg=-Xclang --extra-arg=max-nodes=75000 "$@" "$file" 2>/dev/null
}
# Sources of a unit that do not compile beside the others; one cheap check, since it wants one.
misfits() { # UNIT
  tidy "$work" "$1" --checks='-*,misc-static-assert' --extra-arg=-ferror-limit=0 |
    sed -n 's|^\([^ :]*\.cpp\):[0-9]*:[0-9]*: error: .*\[clang-diagnostic-error.*|\1|p' | sort -u
}
# The output of one unit is kept whole.
report() { # NAME FILE
  local output
  output=$(tidy "$work" "$2") && return 0
  printf '%s: clang-tidy failed\n%s\n' "$1" "$output"
  return 1
}
# Sources that do not fit are taken out, until those that stay compile together; they make the next unit.
tidy_unit() { # UNIT SOURCE...
  local unit=$1 status=0
  local -a apart clashing
  shift
  cp "$unit" "$unit.all"
  while [ $# -gt 0 ]; do
    apart=()
    while [ $(($# - ${#apart[@]})) -gt 1 ] && mapfile -t clashing < <(misfits "$unit"); do
      # Where none fits, the first one stays.
      [ ${#clashing[@]} -lt $(($# - ${#apart[@]})) ] || clashing=("${clashing[@]:1}")
      [ ${#clashing[@]} -gt 0 ] || break
      apart+=("${clashing[@]}")
      grep -vF "${clashing[@]/#/-e}" "$unit" >"$unit.rest"
      mv "$unit.rest" "$unit"
    done
    report "${1%/*}" "$unit" || status=1
    set -- "${apart[@]}"
    [ $# -eq 0 ] || printf 'read apart: %s\n' "$@"
    [ $# -eq 0 ] || grep -F "${@/#/-e}" "$unit.all" >"$unit"
  done
  return $status
}
export -f tidy misfits report tidy_unit
export work
xargs -P "$(nproc)" -I '{}' bash -c 'tidy_unit {}' <"$work/units" || exit 1
