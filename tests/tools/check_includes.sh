#!/bin/bash
# Checks the include direction of a source tree against tests/style/include_rules.txt:
#   check_includes.sh [ROOT [RULES]]
# Prints one line per violation; exit 1 if there is any.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=${1:-$here/../..}
rules=${2:-$here/../style/include_rules.txt}

cd "$root"
files=$(LS_SOURCE_DIR=$PWD "$here/own_sources.sh" h cpp cu cuh | grep -v '^tests/' || true)
if [ -z "$files" ]; then
  echo "check_includes: no source file under $PWD"
  exit 1
fi

# shellcheck disable=SC2086 # our own file names hold no blanks
awk '
  function violation(text) { print FILENAME ":" FNR ": " text; bad++ }
  function starts(s, prefix) { return substr(s, 1, length(prefix)) == prefix }
  # Path p is folder (or header) f, or below it; f may end in * (any rest).
  function within(p, f) {
    if (f ~ /\*$/) return starts(p, substr(f, 1, length(f) - 1))
    return p == f || starts(p, f "/")
  }
  function any(p, list,    parts, n, i) {
    n = split(list, parts, " ")
    for (i = 1; i <= n; i++) if (within(p, parts[i])) return 1
    return 0
  }
  # 1: allowed as part of a folder, 2: only as a single header, 0: not allowed.
  function permission(p, list,    parts, n, i, found) {
    n = split(list, parts, " ")
    found = 0
    for (i = 1; i <= n; i++) {
      if (parts[i] ~ /\.h$/) { if (p == parts[i]) found = 2 }
      else if (within(p, parts[i])) return 1
    }
    return found
  }
  # The longest folder of the rules that holds path p.
  function folder_of(p,    f, best) {
    best = ""
    for (f in allowed) if (within(p, f) && length(f) > length(best)) best = f
    return best
  }
  function visit(f, path,    parts, n, i) {
    if (mark[f] == 2) return
    path = path " > " f
    if (mark[f] == 1) { print "folders include each other:" substr(path, 3); bad++; return }
    mark[f] = 1
    n = split(edges[f], parts, " ")
    for (i = 1; i <= n; i++) visit(parts[i], path)
    mark[f] = 2
  }

  FNR == 1 { file_number++ }
  file_number == 1 {
    if ($0 ~ /^[ \t]*(#|$)/) next
    colon = index($0, ":")
    left = substr($0, 1, colon - 1); right = substr($0, colon + 1)
    gsub(/[ \t!]/, "", left)
    if ($0 ~ /^!/) external[left] = right
    else { allowed[left] = right; order[++n_folders] = left }
    next
  }
  FNR == 1 {
    own = folder_of(FILENAME)
    if (own == "") violation("this folder has no line in " ARGV[1])
  }
  /^[ \t]*#[ \t]*include[ \t]*["<]/ {
    header = $0
    sub(/^[ \t]*#[ \t]*include[ \t]*["<]/, "", header)
    sub(/[">].*$/, "", header)
    if (header ~ /(^|\/)\.\.?\//) {
      violation("\"" header "\": write includes from the repository root")
    } else if (header ~ /^(engine|kernels|gui|shaders|tests)\//) {
      target = folder_of(header)
      if (target == own && own != "") next
      if (header ~ /^tests\//) violation("source must not include tests: " header)
      else if (own != "" && !permission(header, allowed[own])) violation(own " may not include " header)
      else if (own != "" && target != "" && permission(header, allowed[own]) == 1 && !((own, target) in seen)) {
        seen[own, target] = 1
        edges[own] = edges[own] " " target
      }
    } else {
      folder = FILENAME
      sub(/[^\/]*$/, "", folder)
      if ($0 ~ /"/ && (folder header) in exists)
        violation("\"" header "\": write \"" folder header "\"")
      best = ""
      for (e in external) if (within(header, e) && length(e) > length(best)) best = e
      if (best != "" && !any(FILENAME, external[best]))
        violation("<" header "> may appear only in" external[best])
    }
  }
  BEGIN { for (i = 2; i < ARGC; i++) exists[ARGV[i]] }
  END {
    for (i = 1; i <= n_folders; i++) visit(order[i], "")
    if (bad) print bad " violation(s) of the include direction"
    exit bad != 0
  }' "$rules" $files
