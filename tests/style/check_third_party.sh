#!/bin/bash
# third_party holds recipes and licences only: no foreign source is committed.
set -euo pipefail
cd "$LS_SOURCE_DIR"
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  files=$(git ls-files --cached --others --exclude-standard -- third_party)
else
  files=$(find third_party -type f)
fi
foreign=$(grep -vE '(/CMakeLists\.txt|\.cmake|\.sh|\.md|\.patch)$' <<<"$files" || true)
if [ -n "$foreign" ]; then
  echo "neither recipe nor licence:"
  echo "$foreign"
  exit 1
fi
