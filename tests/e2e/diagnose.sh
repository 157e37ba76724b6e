#!/usr/bin/env bash
# diagnose: every fault is named with exit 5, a healthy run gives exit 0, bad fault names exit 2.
. "$(dirname "$0")/lib.sh"

# named MODEL FAULT CAUSE: exit 5, not healthy, and the first finding is an error of that cause.
named() {
  expect_exit 5 "$cli" diagnose "$1" --prompt "Count from one to nine." --tokens 5 --fault "$2" --json --quiet
  grep -q '^{"healthy":false,"findings":\[{"check":"[a-z-]*","severity":"error","cause":"'"$3"'",' "$tmp/out" ||
    fail "$2 is not named $3: $(head -c 400 "$tmp/out")"
  for field in layer head position tensor value threshold message evidence advice; do
    grep -q "\"$field\":" "$tmp/out" || fail "findings lack $field"
  done
  grep -q '"checks_run":[1-9]' "$tmp/out" || fail "checks_run"
}

cat >"$tmp/list" <<'LIST'
transpose:blk.3.attn_q.weight transposed-weight
drop-bias bias-dropped
rope:off rope-off
rope:twice rope-twice
rope:pairing rope-pairing
rope:base rope-base
kv:stuck kv-cursor-stuck
kv:stale kv-stale
kv:zero kv-zero
kv:off-by-one kv-off-by-one
scale:none attention-scale
scale:double attention-scale
softmax:unnormalised softmax-unnormalised
mask:off mask-missing
gqa:modulo gqa-modulo
gqa:first gqa-first
score-f16 score-float16
dtype:f16-as-f32 dtype-misread
embedding:zero embedding-zero
embedding:shift embedding-wrong-row
norm:corrupt-output norm-weights-corrupt
norm:eps norm-epsilon
residual:skip residual-skipped
head:unwritten-rows head-rows-unwritten
head:padded padding-scanned
head:untied wrong-head
sampling:top-p-before-softmax top-p-before-softmax
sampling:no-temperature temperature-ignored
nan:3 non-finite
channel:3,17 channel-wrong
ablate:head head-zero
ablate:layer output-zero
ablate:ffn output-zero
LIST
while read -r fault cause; do
  named "$demo" "$fault" "$cause"
done <"$tmp/list"
named "$models/llama/model.gguf" bos:missing bos-missing
named "$models/llama/model.gguf" bos:double bos-doubled

# Every fault that --help lists is in the list above, or this model cannot have it and says so.
"$cli" diagnose --help | sed -n '/^Faults:/,$p' | sed -n 's/^  \([a-z][^ ]*\).*/\1/p' >"$tmp/faults"
[ "$(wc -l <"$tmp/faults")" -gt 30 ] || fail "--help lists no faults"
while read -r usage; do
  name=$(sed 's/\[.*//; s/[:,][A-Z].*//' <<<"$usage")
  grep -qE "^$name[ ,:]" "$tmp/list" || expect_exit 2 "$cli" diagnose "$demo" --fault "$name" --quiet
done <"$tmp/faults"

# --every: also while generating, and a healthy run stays healthy
expect_exit 0 "$cli" diagnose "$demo" --prompt "Count from one to nine." --tokens 6 --every 2 --json
grep -q '^{"healthy":true,"findings":\[\]' "$tmp/out" || fail "--every: $(cat "$tmp/out")"

# healthy
for model in "$demo" "$models"/*/model.gguf; do
  expect_exit 0 "$cli" diagnose "$model" --prompt "Count from one to nine." --json
  grep -q '^{"healthy":true,"findings":\[\],"checks_run":[1-9][0-9]*}$' "$tmp/out" || fail "$model: $(cat "$tmp/out")"
done
expect_exit 0 "$cli" diagnose "$demo"
grep -q 'healthy' "$tmp/out" || fail "text of a healthy run"

# text: most severe first, the place, what to do
expect_exit 5 "$cli" diagnose "$demo" --fault nan:2 --fault rope:off,5 --quiet
head -1 "$tmp/out" | grep -q '^error: non-finite (layer 2' || fail "text: $(head -1 "$tmp/out")"
grep -q 'what to do: ' "$tmp/out" || fail "no advice"

# the report: one file, nothing loaded from elsewhere, pictures inside, text escaped
expect_exit 5 "$cli" diagnose "$demo" --prompt "<b>&" --fault rope:off --html "$tmp/report.html"
grep -q '<svg ' "$tmp/report.html" || fail "no picture in the report"
grep -q '&lt;b&gt;&amp;' "$tmp/report.html" || fail "the prompt is not escaped"
grep -qE '(src|href)=|<script|@import|url\(' "$tmp/report.html" && fail "the report loads something"
[ -z "$(ls "$tmp" | grep part)" ] || fail "a partial file is left"
expect_error 3 "cannot write" "$cli" diagnose "$demo" --html /nowhere/report.html

# bad faults: 2, with what would be right
expect_error 2 "there is no fault 'rope:sideways'" "$cli" diagnose "$demo" --fault rope:sideways
grep -qF 'rope:off[,LAYER[,HEAD]]' "$tmp/err" || fail "known faults are not listed"
expect_error 2 "nan:LAYER" "$cli" diagnose "$demo" --fault nan
expect_error 2 "expected 0 to 7" "$cli" diagnose "$demo" --fault nan:8
expect_error 2 "expected 0 to 7" "$cli" diagnose "$demo" --fault rope:off,-1
expect_error 2 "expected 0 to 7" "$cli" diagnose "$demo" --fault rope:off,1x
expect_error 2 "no tensor" "$cli" diagnose "$demo" --fault transpose:nothing
expect_error 2 "one dimension" "$cli" diagnose "$demo" --fault transpose:output_norm.weight
expect_error 2 "no norm of Q and K" "$cli" diagnose "$demo" --fault qk-norm:off
expect_error 2 "adds no BOS" "$cli" diagnose "$demo" --fault bos:missing
expect_error 2 "no padding" "$cli" diagnose "$models/llama/model.gguf" --fault head:padded
expect_error 2 "no matrix of type BF16" "$cli" diagnose "$demo" --fault dtype:bf16-as-f16
expect_error 2 "there is no fault" "$cli" generate "$demo" --prompt x --fault nothing

# generate: faults change the text, findings arrive as events, the debug log has its sections
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Count from one to nine." --tokens 8 --json
cp "$tmp/out" "$tmp/healthy"
grep -q '"type":"finding"' "$tmp/out" && fail "a finding in a healthy run"
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Count from one to nine." --tokens 8 --json --fault softmax:unnormalised
grep -q '^{"type":"finding","check":"row-sum","severity":"error","cause":"softmax-unnormalised"' "$tmp/out" || fail "no finding event"
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Count from one to nine." --tokens 4 --log-format text \
  --log-passes 2 --log-layers 3 --log-positions 2 --quiet
[ "$(grep -c '^=== pass ' "$tmp/err")" -eq 2 ] || fail "the log is not limited to two passes"
grep -q '^--- layer 3 ---' "$tmp/err" || fail "layer 3 is not in the log"
grep -q '^--- layer 2 ---' "$tmp/err" && fail "layer 2 is in the log"
for section in embedding q q_rope k_rope v attn_scores attn_weights resid_out final_norm logits sampling; do
  grep -qE "^$section +" "$tmp/err" || fail "the log lacks $section"
done
grep -qE '^attn_weights .* sum 1\.0000' "$tmp/err" || fail "the log lacks row sums"
echo "every fault is named, healthy runs are silent"
