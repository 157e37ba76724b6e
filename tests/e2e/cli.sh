#!/usr/bin/env bash
# The commands' contract: JSON, exit codes, one-sentence errors, no partial files.
. "$(dirname "$0")/lib.sh"

# tokenize / detokenize
expect_exit 0 "$cli" tokenize "$demo" --text "Hello, world!" --json
grep -qE '^\{"ids":\[[0-9,]+\],"pieces":\["Hello"?.*\],"offsets":\[0,.*\]\}$' "$tmp/out" || fail "tokenize --json: $(cat "$tmp/out")"
ids=$(sed 's/.*"ids":\[\([^]]*\)\].*/\1/' "$tmp/out")
expect_exit 0 "$cli" detokenize "$demo" --ids "$ids"
[ "$(cat "$tmp/out")" = "Hello, world!" ] || fail "detokenize: $(cat "$tmp/out")"
printf 'a\n' >"$tmp/text"
expect_exit 0 "$cli" tokenize "$demo" --file "$tmp/text" --json
grep -qF '\n' "$tmp/out" || fail "the file's trailing newline is missing"
expect_exit 0 "$cli" tokenize "$demo" --text "<|im_end|>" --json
[ "$(grep -o '"ids":\[[0-9]*\]' "$tmp/out" | wc -l)" -eq 1 ] || fail "a special token is one id"
expect_exit 0 "$cli" tokenize "$demo" --text "<|im_end|>" --no-special --json
grep -q '"ids":\[[0-9]*,' "$tmp/out" || fail "--no-special makes it plain text"

# generate: JSON events in order, logits file, only the prompt with --tokens 0
expect_exit 0 "$cli" generate "$demo" --prompt "Count from one to five." --chat --tokens 5 --json
head -1 "$tmp/out" | grep -q '^{"type":"start","model":.*"backend":"cpu","prompt_ids":\[' || fail "start event"
[ "$(grep -c '^{"type":"token","i":' "$tmp/out")" -eq 5 ] || fail "five token events"
tail -1 "$tmp/out" | grep -q '^{"type":"end","tokens_out":5,"stop_reason":"max_tokens","load_s":' || fail "end event: $(tail -1 "$tmp/out")"
for field in id text logit logprob rank entropy top; do
  grep '"type":"token"' "$tmp/out" | grep -q "\"$field\":" || fail "token events lack $field"
done
expect_exit 0 "$cli" generate "$models/qwen2/model.gguf" --prompt-file "$models/qwen2/prompt-short.txt" \
  --tokens 0 --save-logits "$tmp/logits" --context 256
[ "$(stat -c %s "$tmp/logits")" -eq "$(stat -c %s "$models/qwen2/logits-short.f32")" ] || fail "size of the logits file"
[ -z "$(ls "$tmp" | grep part)" ] || fail "a partial file is left"
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Count from one to nine." --tokens 60 --stop five --quiet
grep -q five "$tmp/out" && fail "the stop string was printed"
grep -q four "$tmp/out" || fail "text before the stop string is missing: $(cat "$tmp/out")"
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Write a haiku about snow. Use the word seven." \
  --tokens 60 --temperature 1 --seed 3 --quiet
cp "$tmp/out" "$tmp/first"
expect_exit 0 "$cli" generate "$demo" --chat --prompt "Write a haiku about snow. Use the word seven." \
  --tokens 60 --temperature 1 --seed 3 --quiet
cmp -s "$tmp/out" "$tmp/first" || fail "the same seed gave different text"

# inspect, devices, bench
expect_exit 0 "$cli" inspect "$demo"
grep -q 'qwen2.block_count' "$tmp/out" || fail "inspect lists metadata"
expect_exit 0 "$cli" inspect "$demo" --tensors
grep -q 'blk.0.attn_q.bias' "$tmp/out" || fail "inspect --tensors lists tensors"
expect_exit 0 "$cli" inspect "$demo" --tensor output_norm.weight --json
grep -q '"stats":{"min":' "$tmp/out" || fail "inspect --tensor"
expect_exit 0 "$cli" inspect "$models/../tiny/gemma3/model.gguf"
grep -q 'QK-norm, norms after the blocks, window of 6 in 6 of 7 layers' "$tmp/out" || fail "inspect says what the decoder is made of"

# an unknown architecture: the inspector opens the file and says what is missing; running it is refused
sed 's/olmo2/olmo9/g' "$models/../tiny/olmo2/model.gguf" >"$tmp/unknown.gguf"
expect_exit 0 "$cli" inspect "$tmp/unknown.gguf"
grep -q "cannot be run: .*architecture 'olmo9' cannot be run yet (supported: llama, qwen2" "$tmp/out" || fail "inspect names the architecture: $(head -4 "$tmp/out")"
grep -q "missing: a description of 'olmo9'" "$tmp/out" || fail "inspect says what is missing"
grep -q "its layers hold: attn_k.weight, attn_k_norm.weight, .*post_attention_norm.weight" "$tmp/out" || fail "inspect lists the roles"
grep -q "olmo9.block_count" "$tmp/out" || fail "inspect lists the metadata of an unknown architecture"
expect_exit 0 "$cli" inspect "$tmp/unknown.gguf" --tensors
grep -q "blk.2.post_ffw_norm.weight" "$tmp/out" || fail "inspect lists the tensors of an unknown architecture"
expect_error 3 "olmo9" "$cli" generate "$tmp/unknown.gguf" --prompt x
expect_exit 0 "$cli" devices
grep -q '^cpu *usable' "$tmp/out" || fail "devices lists the CPU"
expect_exit 0 "$cli" bench "$models/qwen2/model.gguf" --prompt-tokens 8 --tokens 4 --repeat 1 --json
grep -q '"decode":{"depth":0,"tokens":4,"tok_s":' "$tmp/out" || fail "bench --json: $(cat "$tmp/out")"

# wrong usage: 2
expect_error 2 "subcommand" "$cli"
expect_error 2 "nothing" "$cli" nothing
expect_error 2 "MODEL" "$cli" generate
expect_error 2 "--prompt" "$cli" generate "$demo"
expect_error 2 "top-p" "$cli" generate "$demo" --prompt x --top-p 2
expect_error 2 "--layers" "$cli" generate "$demo" --prompt x --layers 3-1
expect_error 2 "--tokens" "$cli" generate "$demo" --prompt x --tokens -1
expect_error 2 "log level" "$cli" inspect "$demo" --log-level loud

# invalid input: 3
expect_error 3 "/nowhere.gguf" "$cli" inspect /nowhere.gguf
: >"$tmp/empty.gguf"
expect_error 3 "empty" "$cli" inspect "$tmp/empty.gguf"
expect_error 3 "$tmp" "$cli" generate "$tmp" --prompt x
head -c 100000 "$demo" >"$tmp/short.gguf"
expect_error 3 "short.gguf" "$cli" generate "$tmp/short.gguf" --prompt x
head -c 4096 /dev/urandom >"$tmp/noise.gguf"
expect_error 3 "noise.gguf" "$cli" inspect "$tmp/noise.gguf"
mkdir "$tmp/folder"
expect_error 3 "without a config.json" "$cli" generate "$tmp/folder" --prompt x
echo '{"model_type": "qwen2"}' >"$tmp/folder/config.json"
expect_error 3 "no safetensors file" "$cli" generate "$tmp/folder" --prompt x
echo '{"weight_map": {"w": "one.safetensors"}}' >"$tmp/folder/model.safetensors.index.json"
expect_error 3 "one.safetensors' is missing" "$cli" inspect "$tmp/folder/config.json"
echo '{"model_type": ' >"$tmp/folder/config.json"
expect_error 3 "not a JSON object" "$cli" inspect "$tmp/folder"
expect_error 3 "config.json" "$cli" tokenize "$tmp/folder" --text x
expect_error 3 "empty" "$cli" generate "$demo" --prompt ""
expect_error 3 "context" "$cli" generate "$demo" --prompt "one two three four five six" --context 4
expect_error 3 "no tensor" "$cli" inspect "$demo" --tensor nothing
expect_error 3 "outside" "$cli" detokenize "$demo" --ids 999999
expect_error 3 "cannot write" "$cli" generate "$demo" --prompt x --tokens 0 --save-logits /nowhere/logits
expect_error 3 "chat template" "$cli" generate "$models/llama/model.gguf" --prompt x --chat

# device: 4
expect_error 4 "CUDA" "$cli" generate "$demo" --prompt x --backend cuda
echo "all commands behave as the interface says"
