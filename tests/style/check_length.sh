#!/bin/bash
# No source file over 600 lines; those over 400 are named, for a second look.
set -euo pipefail
cd "$LS_SOURCE_DIR"
status=0
while read -r file; do
  lines=$(wc -l <"$file")
  if [ "$lines" -gt 600 ]; then
    echo "$file has $lines lines: split it (600 at most)"
    status=1
  elif [ "$lines" -gt 400 ]; then
    echo "note: $file has $lines lines"
  fi
done < <(tests/tools/own_sources.sh h cpp cu cuh)
exit $status
