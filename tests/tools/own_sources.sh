#!/bin/bash
# Lists this project's own files with the given extensions, one a line, relative to the root:
#   own_sources.sh h cpp ...
# In a git checkout: what is tracked or new and not ignored. Elsewhere: what stands in the folders.
set -euo pipefail
cd "${LS_SOURCE_DIR:-$(dirname "$0")/../..}"

pattern=$(printf '|%s' "$@")
pattern="\\.(${pattern:1})$"
folders=()
for folder in engine kernels gui tests; do
  if [ -d "$folder" ]; then folders+=("$folder"); fi
done
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  git ls-files --cached --others --exclude-standard -- "${folders[@]}"
else
  find "${folders[@]}" -type f
fi | { grep -E "$pattern" || true; } | sort -u | while read -r file; do
  if [ -f "$file" ]; then echo "$file"; fi # a deleted file may still be in the index
done
