#!/usr/bin/env bash
# generate --trace, compare and diagnose TRACE: exit codes, JSON fields, errors in one sentence.
. "$(dirname "$0")/lib.sh"
golden=$models
qwen2="$golden/qwen2"
trace() {  # FILE, then options
  local file=$1
  shift
  expect_exit 0 "$cli" generate "$qwen2/model.gguf" --prompt-file "$qwen2/prompt-short.txt" \
    --trace "$file" --backend cpu --quiet "$@"
}

trace "$tmp/good.safetensors" --tokens 0
expect_exit 0 "$cli" compare "$tmp/good.safetensors" "$qwen2/eval-callback.log" --backend cpu
grep -q '^no divergence: 54 tensors agree within float32 rounding' "$tmp/out" || fail "no verdict"
grep -q 'an earlier step of q' "$tmp/out" || fail "unmatched tensors are not listed"
expect_exit 0 "$cli" compare "$tmp/good.safetensors" "$qwen2/logits-short.f32" --backend cpu
expect_exit 0 "$cli" diagnose "$tmp/good.safetensors" --model "$qwen2/model.gguf" --backend cpu

trace "$tmp/bad.safetensors" --tokens 3 --fault transpose:blk.0.attn_q.weight
expect_exit 5 "$cli" compare "$tmp/bad.safetensors" "$qwen2/eval-callback.log" --json --quiet \
  --model "$qwen2/model.gguf" --explain --html "$tmp/report.html" --backend cpu
for field in first_divergence taps unmatched explanations blocks verdict; do
  grep -q "\"$field\":" "$tmp/out" || fail "compare --json lacks $field"
done
grep -q '"first_divergence":{"tap":"q","layer":0,' "$tmp/out" || fail "first divergence"
grep -q '"explanations":\[{"fault":"transpose","arg":"blk.0.attn_q.weight","agreement":1.0}' "$tmp/out" ||
  fail "explanation: $(grep -o '"explanations".*' "$tmp/out" | head -c 300)"
grep -q '<svg' "$tmp/report.html" || fail "no map in the page"
trace "$tmp/healthy.safetensors" --tokens 3
# The tokens after the prompt differ: the fault chose others.
expect_exit 5 "$cli" compare "$tmp/bad.safetensors" "$tmp/healthy.safetensors" --backend cpu
grep -q 'the token ids differ at position 11' "$tmp/out" || fail "tokens first"
expect_exit 5 "$cli" compare "$tmp/bad.safetensors" "$tmp/good.safetensors" --model "$qwen2/model.gguf" \
  --bisect --backend cpu
grep -q 'bisection: layer 0 is the last wrong one' "$tmp/out" || fail "bisection"
expect_exit 5 "$cli" diagnose "$tmp/bad.safetensors" --model "$qwen2/model.gguf" --json --quiet --backend cpu
grep -q '"cause":"transposed-weight"' "$tmp/out" || fail "diagnose TRACE does not name the bug"

# Wrong use and wrong files: one sentence each, and nothing left behind.
expect_exit 2 "$cli" diagnose "$tmp/bad.safetensors"
expect_exit 2 "$cli" compare "$tmp/bad.safetensors" "$tmp/good.safetensors" --explain
expect_exit 3 "$cli" compare "$tmp/bad.safetensors" "$golden/llama/eval-callback.log"
grep -q 'different models' "$tmp/err" || fail "other model"
head -c 100000 "$tmp/good.safetensors" >"$tmp/cut.safetensors"
expect_exit 3 "$cli" compare "$tmp/cut.safetensors" "$tmp/good.safetensors"
grep -q 'cut short' "$tmp/err" || fail "cut short"
expect_exit 3 "$cli" diagnose "$source_dir/tests/engine/compare/samples/modules-llama.safetensors" --model "$qwen2/model.gguf"
expect_exit 3 "$cli" generate "$qwen2/model.gguf" --prompt x --trace "$tmp/none/x.safetensors"
ls "$tmp" | grep -q 'part' && fail "a partial file is left"
echo ok
