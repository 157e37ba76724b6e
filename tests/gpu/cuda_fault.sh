#!/bin/bash
# A kernel that fails while the window draws from shared memory: one sentence, no crash, no hang, and
# the tear-down afterwards is clean under the validation layer (where it is installed).
#
#   cuda_fault.sh BUILD_DIR
#
# Exit 77 where there is no GPU that computes and draws.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
demo=("$root"/assets/demo/*.gguf)
export MODEL=${MODEL:-${demo[0]}} XDG_CONFIG_HOME=$work/config
timeout -k 5 100 env LS_BREAK_WHEN="$work/now.png" LD_PRELOAD="$build/tests/bin/break_cuda.so" \
  "$build/layerscope" --offscreen 1200x800 --validation --script "$root/tests/gpu/cuda_fault.script" \
  --script-output "$work" >"$work/log" 2>&1
code=$?
if ! grep -q '^app/path: zero-copy' "$work/log"; then
  sed -n 's,^app/path/reason: ,no zero-copy here: ,p' "$work/log"
  tail -n 5 "$work/log"
  exit 77
fi
cat "$work/log"
if [ $code -ne 0 ] || grep -q 'Vulkan validation: ' "$work/log"; then
  echo "exit code $code"
  exit 1
fi
grep -q '^break_cuda: cudaErrorIllegalAddress' "$work/log" || { echo "nothing was broken"; exit 1; }
echo "a failed kernel: told, and the window went on"
