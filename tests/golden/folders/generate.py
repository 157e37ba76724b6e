#!/usr/bin/env python3
"""Hugging Face model folders of every architecture and what transformers computes from them.

Each case is one small JSON file: config.json as transformers writes it (and as its versions before 5
did), names, types and shapes of the tensors that `save_pretrained` writes, and logits. The weights
themselves are not kept: they follow from the tensor's name (`weights` below; the tests make the same
ones), so that a folder is rebuilt without a table of ours standing between it and transformers.

    pip install torch transformers
    python3 generate.py [CASE...]
"""

import json
import pathlib
import sys
import tempfile
import zlib

import numpy as np
import torch
import transformers as T
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tiny"))
import generate as tiny  # noqa: E402

B = tiny.BASE
SMALL = {**B, "num_hidden_layers": 2}
rope = tiny.rope
FACTORS = {"short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 4.5, 7.0]}
MORE = {
    "llama": lambda: T.LlamaConfig(**SMALL, rope_parameters=rope(5e5), tie_word_embeddings=False),
    "llama-dynamic": lambda: T.LlamaConfig(
        **{**SMALL, "max_position_embeddings": 16}, tie_word_embeddings=False,
        rope_parameters=rope(1e4, rope_type="dynamic", factor=2.0)),
    "llama-yarn-attention": lambda: T.LlamaConfig(
        **SMALL, tie_word_embeddings=True,
        rope_parameters=rope(1e4, rope_type="yarn", factor=4.0, attention_factor=0.8, beta_fast=16.0,
                             beta_slow=2.0, original_max_position_embeddings=32)),
    "llama-yarn-mscale": lambda: T.LlamaConfig(
        **SMALL, tie_word_embeddings=True,
        rope_parameters=rope(1e4, rope_type="yarn", factor=4.0, mscale=0.7, mscale_all_dim=1.3,
                             original_max_position_embeddings=32)),
    "llama-longrope": lambda: T.LlamaConfig(
        **SMALL, tie_word_embeddings=True,
        rope_parameters=rope(1e4, rope_type="longrope", factor=8.0, attention_factor=1.3,
                             original_max_position_embeddings=16, **FACTORS)),
    "mixtral": lambda: T.MixtralConfig(
        **SMALL, num_local_experts=4, num_experts_per_tok=2, rope_parameters=rope(1e6),
        sliding_window=None, tie_word_embeddings=False),
    "qwen2": lambda: T.Qwen2Config(**SMALL, rope_parameters=rope(1e6), tie_word_embeddings=True),
    "qwen3": lambda: T.Qwen3Config(**SMALL, head_dim=16, rope_parameters=rope(1e6),
                                   tie_word_embeddings=False),
    "gemma2": lambda: T.Gemma2Config(
        **SMALL, head_dim=16, query_pre_attn_scalar=12, sliding_window=6, attn_logit_softcapping=5.0,
        final_logit_softcapping=6.0, rope_parameters=rope(1e4)),
    "gpt2": lambda: T.GPT2Config(vocab_size=tiny.VOCAB, n_positions=128, n_embd=32, n_layer=2, n_head=4,
                                 bos_token_id=257, eos_token_id=258),
    "phi3": lambda: T.Phi3Config(**SMALL, rope_parameters=rope(1e4), tie_word_embeddings=False),
    "phi3-partial-longrope": lambda: T.Phi3Config(
        **SMALL, original_max_position_embeddings=16, tie_word_embeddings=False,
        rope_parameters=rope(1e4, rope_type="longrope", partial_rotary_factor=0.5,
                             original_max_position_embeddings=16,
                             **{k: v[:2] for k, v in FACTORS.items()})),
}
CASES = {**{name: case[1] for name, case in tiny.CASES.items()}, **MORE}


def mix(x):
    """SplitMix64 of an array of uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def weights(name, shape):
    """u in [-1, 1) in steps of 1/128 from (CRC-32 of the name, index): 1 + u/8 for norm weights,
    u/4 for biases and matrices, u for embeddings. float16 holds all of them."""
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        index = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = mix(np.uint64(zlib.crc32(name.encode()) << 16) + index) >> np.uint64(56)
    u = bits.astype(np.float32) / 128 - 1
    if "norm" in name or ".ln_" in name or name.startswith("ln_"):
        u = u / 8 + (1 if name.endswith("weight") else 0)
    elif not any(e in name for e in ("embed", "wte", "wpe")):
        u = u / 4
    return torch.from_numpy(u.reshape(shape))


def older(config):
    """The same configuration as versions before 5 wrote it."""
    c = dict(config)
    c["torch_dtype"] = c.pop("dtype", "float32")
    if "num_local_experts" in c and c["model_type"] == "qwen3_moe":
        c["num_experts"] = c.pop("num_local_experts")
    p = c.pop("rope_parameters", None)
    if p is None:
        return c
    if "full_attention" in p:
        c["rope_local_base_freq"] = p["sliding_attention"]["rope_theta"]
        c.pop("layer_types", None)
        c["sliding_window_pattern"] = c.pop("_sliding_window_pattern", 6)
        p = p["full_attention"]
    p = dict(p)
    neox = c["model_type"] == "gpt_neox"
    c["rotary_emb_base" if neox else "rope_theta"] = p.pop("rope_theta")
    if "partial_rotary_factor" in p:
        c["rotary_pct" if neox else "partial_rotary_factor"] = p.pop("partial_rotary_factor")
    if p["rope_type"] != "default":
        if "original_max_position_embeddings" in c:
            p.pop("original_max_position_embeddings", None)
        c["rope_scaling"] = {"type": p.pop("rope_type"), **p}
    return c


def main():
    for number, name in enumerate(CASES):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        config = CASES[name]()
        with tempfile.TemporaryDirectory() as folder:
            T.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
            path = pathlib.Path(folder) / "model.safetensors"
            half = number % 3 != 0
            tensors = {k: weights(k, v.shape).to(torch.float16 if half else torch.float32)
                       for k, v in load_file(path).items()}
            save_file(tensors, path, metadata={"format": "pt"})
            model = T.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation="eager").eval()
            written = json.loads((pathlib.Path(folder) / "config.json").read_text())
        with torch.no_grad():
            run = lambda ids: model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            logits, short = run(tiny.PROMPT), run(tiny.PROMPT_SHORT)
        rounded = lambda t: [float(f"{float(v):.7g}") for v in t]
        (HERE / f"{name}.json").write_text(json.dumps({
            "transformers": T.__version__, "torch": torch.__version__.split("+")[0],
            "config": written, "older_config": older(written),
            "dtype": "F16" if half else "F32",
            "tensors": {k: list(v.shape) for k, v in tensors.items()},
            "prompt": tiny.PROMPT, "prompt_short": tiny.PROMPT_SHORT,
            "logits": rounded(logits), "logits_short": rounded(short)}) + "\n")
        print(f"{name:24} {len(tensors):4} tensors, logits from {float(logits.min()):.2f} to "
              f"{float(logits.max()):.2f}")


if __name__ == "__main__":
    main()
