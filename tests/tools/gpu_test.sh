#!/bin/bash
# Everything that needs a GPU: the tests labelled gpu, then compute-sanitizer over the operations and
# a part of the backend. Says what is missing; nothing to test is no failure.
#
#   gpu_test.sh [BUILD_DIR]
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-build}
if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L >/dev/null 2>&1; then
  echo "No GPU here: nothing to test."
  exit 0
fi
if [ ! -x "$build/tests/bin/test_gpu_ops" ]; then
  echo "There is a GPU, but this build has no CUDA backend: put nvcc on PATH and configure again."
  exit 0
fi
"$here/run_tests.sh" "$build" -L gpu
status=$?

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -z "$sanitizer" ]; then
  echo "compute-sanitizer is not installed (it comes with the CUDA toolkit): memory checks skipped"
  exit $status
fi
export LS_SOURCE_DIR=${LS_SOURCE_DIR:-$(cd "$here/../.." && pwd)}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
check() { # tool program filter
  if "$sanitizer" --tool "$1" --error-exitcode 9 "$build/tests/bin/$2" --gtest_filter="$3" >"$log" 2>&1; then
    echo "$1 $2: clean"
  else
    echo "$1 $2: FAILED"
    tail -n 40 "$log"
    status=1
  fi
}
# cuBLAS is left out: its kernels are not ours to check. Racecheck takes minutes on whole passes.
operations='*Stage*:*HeadShapes*:*AttentionDecode*:RowOps*:RowsF16*:RowStats*:Softmax*:PairSoftmax*:LogitSummary*'
operations+=':NormRows*:Append*:Activate*:RowsInPlace*:Embedding*:Route*:*Experts*:AttentionRuled*:RuleScores*'
for tool in memcheck racecheck initcheck synccheck; do
  check "$tool" test_gpu_ops "$operations"
done
for tool in memcheck initcheck synccheck; do
  check "$tool" test_gpu_backend 'GpuTaps*/0:GpuTaps*/7:GpuDemo.Rewind*:GpuSummary*:GpuAhead.Interr*:GpuAttention*:*GpuInspect*'
  # Two bases and windows; experts; a norm of its own for Q, K, V; caps.
  check "$tool" test_gpu_architectures '*EveryTap*gemma3:*EveryTap*qwen3moe:*EveryTap*falcon_40b:*EveryTap*gemma2'
  check "$tool" test_gpu_diagnosis '*GpuFaults*/0'
done
for tool in memcheck racecheck initcheck synccheck; do
  [ ! -x "$build/tests/bin/test_gpu_draw" ] || check "$tool" test_gpu_draw '*FewTokens*/0'
done
check racecheck test_gpu_backend 'GpuAhead.ContextEnd*'
exit $status
