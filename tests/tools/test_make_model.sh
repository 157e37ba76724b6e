#!/bin/bash
# Every type of a tiny random model loads, tokenises and generates on the CPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for type in F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 \
  Q4_K_M; do
  "$LS_BUILD_DIR/tests/bin/make_model" tiny-256 "$type" "$folder/tiny.gguf"
  "$LS_BUILD_DIR/layerscope-cli" generate "$folder/tiny.gguf" --backend cpu --prompt "the rain" \
    --tokens 8 --temperature 0 --quiet --json >"$folder/out"
  grep -q '"tokens_out":8' "$folder/out" || grep -q '"stop_reason":"eos"' "$folder/out"
done
