#!/bin/bash
# clang-format 14 over every own source file; says how to repair.
set -euo pipefail
cd "$LS_SOURCE_DIR"
if ! command -v clang-format >/dev/null; then
  echo "clang-format is not installed"
  exit 77
fi
# Other major versions lay out the same source differently.
if ! clang-format --version | grep -q 'version 14\.'; then
  echo "the project formats with clang-format 14, here is: $(clang-format --version)"
  exit 77
fi
if ! output=$(tests/tools/own_sources.sh h cpp cu cuh | xargs -r clang-format --dry-run --Werror 2>&1); then
  echo "not formatted (run: make format):"
  sed -n 's/^\([^:]*:[0-9]*\):[0-9]*: error:.*/  \1/p' <<<"$output" | sort -u | head -n 50
  exit 1
fi
