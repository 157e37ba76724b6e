#!/usr/bin/env python3
"""Tiny random models of many architectures and what transformers computes for them.

For each case: a transformers model with random weights (seeded, rounded to float16 so that the file
holds them exactly) is evaluated in float32 with eager attention, then written as GGUF with the
tensor names and layouts that converters use. Beside model.gguf stand reference.json (ids, shapes,
greedy continuation) and reference.f32 (logits of every prompt token, hidden states, attentions,
router logits where there are experts; float32, little-endian, in the order reference.json lists).

    pip install torch transformers gguf
    python3 generate.py [CASE...]
"""

import json
import math
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
SEED = 46
VOCAB = 264
HIDDEN, LAYERS, HEADS, KV, FFN, CONTEXT = 32, 3, 4, 2, 48, 128
PROMPT_SHORT = [72, 101, 108, 108, 111]
PROMPT = [(7 * i * i + 31 * i + 72) % 256 for i in range(24)]
GREEDY = 12


def rope(base, **kwargs):
    return {"rope_type": "default", "rope_theta": base, **kwargs}


BASE = dict(vocab_size=VOCAB, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            num_key_value_heads=KV, intermediate_size=FFN, max_position_embeddings=CONTEXT,
            bos_token_id=257, eos_token_id=258, pad_token_id=None, attention_dropout=0.0)


def permute(w, heads):
    """Rows of Q or K from half-split to adjacent pairs, as converters do for Llama."""
    shape = w.shape
    return w.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


class Writer:
    def __init__(self, path, arch, model):
        self.w = gguf.GGUFWriter(str(path), arch)
        self.arch = arch
        self.state = {k: v.detach().float().numpy() for k, v in model.state_dict().items()}
        self.used = set()
        self.names = set()

    def key(self, name, value):
        name = f"{self.arch}.{name}"
        if isinstance(value, bool):
            self.w.add_bool(name, value)
        elif isinstance(value, int):
            self.w.add_uint32(name, value)
        elif isinstance(value, float):
            self.w.add_float32(name, value)
        elif isinstance(value, str):
            self.w.add_string(name, value)
        else:
            self.w.add_array(name, value)

    def take(self, name):
        self.used.add(name)
        return self.state[name]

    def has(self, name):
        return name in self.state

    def put(self, name, array):
        array = np.ascontiguousarray(array)
        self.names.add(name)
        self.w.add_tensor(name, array.astype(np.float16 if array.ndim >= 2 and "norm" not in name
                                             and "gate_inp" not in name else np.float32))

    def copy(self, to, source, f=lambda x: x):
        self.put(to + ".weight", f(self.take(source + ".weight")))
        if self.has(source + ".bias"):
            self.put(to + ".bias", f(self.take(source + ".bias")))

    def finish(self, ignore=()):
        left = [n for n in self.state if n not in self.used and not any(i in n for i in ignore)]
        assert not left, left
        tokens = [bytes_to_token(i) for i in range(256)] + ["ab", "<s>", "</s>"]
        tokens += [f"[PAD{i}]" for i in range(len(tokens), VOCAB)]
        self.w.add_string("tokenizer.ggml.model", "gpt2")
        self.w.add_string("tokenizer.ggml.pre", "gpt-2")
        self.w.add_array("tokenizer.ggml.tokens", tokens)
        self.w.add_array("tokenizer.ggml.token_type", [1] * 257 + [3, 3] + [5] * (VOCAB - 259))
        self.w.add_array("tokenizer.ggml.merges", ["a b"])
        self.w.add_uint32("tokenizer.ggml.bos_token_id", 257)
        self.w.add_uint32("tokenizer.ggml.eos_token_id", 258)
        self.w.add_bool("tokenizer.ggml.add_bos_token", False)
        self.w.write_header_to_file()
        self.w.write_kv_data_to_file()
        self.w.write_tensors_to_file()
        self.w.close()


def bytes_to_token(b):
    """Printable stand-ins of bytes, as byte-level BPE vocabularies write them."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    if b in keep:
        return chr(b)
    return chr(256 + [x for x in range(256) if x not in keep].index(b))


def common(w, c, rms=True):
    w.w.add_string("general.name", "tiny-" + w.arch)
    w.key("context_length", CONTEXT)
    w.key("embedding_length", c.hidden_size)
    w.key("block_count", c.num_hidden_layers)
    ffn = getattr(c, "intermediate_size", None) or getattr(c, "ffn_hidden_size", None) or 4 * HIDDEN
    w.key("feed_forward_length", int(ffn))
    w.key("attention.head_count", c.num_attention_heads)
    one_kv = getattr(c, "multi_query", False) and not c.new_decoder_architecture
    w.key("attention.head_count_kv", 1 if one_kv else int(getattr(c, "num_key_value_heads", None)
                                         or getattr(c, "num_kv_heads", None)
                                         or c.num_attention_heads))
    eps = next(getattr(c, n) for n in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon",
                                       "layer_norm_epsilon") if hasattr(c, n))
    w.key("attention.layer_norm_rms_epsilon" if rms else "attention.layer_norm_epsilon", float(eps))
    head = getattr(c, "head_dim", None)
    if head and head * c.num_attention_heads != c.hidden_size:
        w.key("attention.key_length", head)
        w.key("attention.value_length", head)
    parameters = getattr(c, "rope_parameters", None) or {}
    if "full_attention" in parameters:
        parameters = parameters["full_attention"]
    w.key("rope.freq_base", float(parameters.get("rope_theta", 10000.0)))
    return parameters


NAMES = {  # GGUF role: candidates in transformers
    "attn_norm": ["input_layernorm", "ln_1"],
    "ffn_norm": ["pre_feedforward_layernorm", "post_attention_layernorm", "ln_2"],
    "attn_q": ["self_attn.q_proj"], "attn_k": ["self_attn.k_proj"], "attn_v": ["self_attn.v_proj"],
    "attn_output": ["self_attn.o_proj", "self_attn.dense"],
    "attn_q_norm": ["self_attn.q_norm", "self_attn.q_layernorm"],
    "attn_k_norm": ["self_attn.k_norm", "self_attn.k_layernorm"],
    "ffn_gate": ["mlp.gate_proj"], "ffn_up": ["mlp.up_proj", "mlp.fc1", "mlp.c_fc", "mlp.gate_up_proj"],
    "ffn_down": ["mlp.down_proj", "mlp.fc2", "mlp.c_proj"],
}


def llama_like(w, c, plus_one=False, permuted=False, post_norms=False, skip=()):
    """Everything whose layers have separate projections named as Llama's."""
    one = (lambda x: x + 1.0) if plus_one else (lambda x: x)
    w.copy("token_embd", "model.embed_tokens")
    last = "model.norm" if w.has("model.norm.weight") else "model.final_layernorm"
    w.copy("output_norm", last, one if plus_one else (lambda x: x))
    if w.has("lm_head.weight"):
        if not c.tie_word_embeddings:
            w.copy("output", "lm_head")
        else:
            w.take("lm_head.weight")
    for i in range(c.num_hidden_layers):
        p, b = f"model.layers.{i}.", f"blk.{i}."
        roles = dict(NAMES)
        if post_norms:
            roles["post_attention_norm"] = ["post_attention_layernorm"]
            roles["post_ffw_norm"] = ["post_feedforward_layernorm"]
            roles["ffn_norm"] = ["pre_feedforward_layernorm"]
        for role, candidates in roles.items():
            if role in skip:
                continue
            source = next((p + n for n in candidates if w.has(p + n + ".weight")), None)
            if source is None:
                continue
            f = one if role.endswith("norm") else (lambda x: x)
            if permuted and role in ("attn_q", "attn_k"):
                heads = c.num_attention_heads if role == "attn_q" else c.num_key_value_heads
                f = lambda x, h=heads: permute(x, h)
            w.copy(b + role, source, f)


def scaling(w, parameters):
    kind = parameters.get("rope_type", "default")
    if kind in ("linear", "yarn"):
        w.key("rope.scaling.type", kind)
        w.key("rope.scaling.factor", float(parameters["factor"]))
    if kind == "yarn":
        w.key("rope.scaling.original_context_length", int(parameters["original_max_position_embeddings"]))


def llama3_divisors(head_dim, p):
    """Llama 3.1's divisors as converters store them: by wavelength against the original context."""
    out = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * p["rope_theta"] ** (i / head_dim)
        original = p["original_max_position_embeddings"]
        if wavelength < original / p["high_freq_factor"]:
            out.append(1.0)
        elif wavelength > original / p["low_freq_factor"]:
            out.append(p["factor"])
        else:
            smooth = (original / wavelength - p["low_freq_factor"]) / (
                p["high_freq_factor"] - p["low_freq_factor"])
            out.append(1 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_llama(w, c, m):
    p = common(w, c)
    w.key("rope.dimension_count", c.hidden_size // c.num_attention_heads)
    scaling(w, p)
    if p.get("rope_type") == "llama3":
        w.put("rope_freqs.weight", llama3_divisors(c.hidden_size // c.num_attention_heads, p))
    if getattr(c, "sliding_window", None):
        w.key("attention.sliding_window", c.sliding_window)
    llama_like(w, c, permuted=True)
    w.finish(["inv_freq"])


def write_qwen3moe(w, c, m):
    common(w, c)
    w.key("expert_count", c.num_experts)
    w.key("expert_used_count", c.num_experts_per_tok)
    w.key("expert_feed_forward_length", c.moe_intermediate_size)
    llama_like(w, c)
    for i in range(c.num_hidden_layers):
        p, b = f"model.layers.{i}.mlp.", f"blk.{i}."
        w.copy(b + "ffn_gate_inp", p + "gate")
        gate_up = w.take(p + "experts.gate_up_proj")  # [experts, 2 · ffn, hidden]
        half = gate_up.shape[1] // 2
        w.put(b + "ffn_gate_exps.weight", gate_up[:, :half])
        w.put(b + "ffn_up_exps.weight", gate_up[:, half:])
        w.put(b + "ffn_down_exps.weight", w.take(p + "experts.down_proj"))
    w.finish(["inv_freq"])


def write_gemma(w, c, m):
    common(w, c)
    llama_like(w, c, plus_one=True)
    w.finish(["inv_freq"])


def write_gemma3(w, c, m):
    p = common(w, c)
    w.key("attention.sliding_window", c.sliding_window)
    scaling(w, p)
    llama_like(w, c, plus_one=True, post_norms=True)
    w.finish(["inv_freq", "embed_scale"])


def write_plain(w, c, m):
    p = common(w, c)
    scaling(w, p)
    llama_like(w, c)
    w.finish(["inv_freq"])


def write_olmo2(w, c, m):
    common(w, c)
    llama_like(w, c, post_norms=True, skip=("ffn_norm",))
    w.finish(["inv_freq"])


def write_phi2(w, c, m):
    common(w, c, rms=False)
    w.key("rope.dimension_count",
          int(c.rope_parameters["partial_rotary_factor"] * c.hidden_size // c.num_attention_heads))
    llama_like(w, c)
    w.finish(["inv_freq"])


def write_phi3(w, c, m):
    p = common(w, c)
    w.key("rope.dimension_count", c.hidden_size // c.num_attention_heads)
    if p.get("rope_type") == "longrope":
        w.key("rope.scaling.type", "longrope")
        original = c.original_max_position_embeddings
        w.key("rope.scaling.original_context_length", original)
        factor = c.max_position_embeddings / original
        w.key("rope.scaling.attn_factor", math.sqrt(1 + math.log(factor) / math.log(original)))
        w.put("rope_factors_long.weight", np.array(p["long_factor"], dtype=np.float32))
        w.put("rope_factors_short.weight", np.array(p["short_factor"], dtype=np.float32))
    if getattr(c, "sliding_window", None):
        w.key("attention.sliding_window", c.sliding_window)
    llama_like(w, c)
    for i in range(c.num_hidden_layers):
        w.copy(f"blk.{i}.attn_qkv", f"model.layers.{i}.self_attn.qkv_proj")
    w.finish(["inv_freq"])


def write_gptneox(w, c, m):
    common(w, c, rms=False)
    head = c.hidden_size // c.num_attention_heads
    w.key("rope.dimension_count", int(head * c.rope_parameters["partial_rotary_factor"]))
    w.key("use_parallel_residual", bool(c.use_parallel_residual))
    w.copy("token_embd", "gpt_neox.embed_in")
    w.copy("output_norm", "gpt_neox.final_layer_norm")
    w.copy("output", "embed_out" if w.has("embed_out.weight") else "lm_head")

    def split(x):  # [heads, 3, head_dim, …] to Q, K, V one after the other
        return x.reshape(c.num_attention_heads, 3, head, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)

    for i in range(c.num_hidden_layers):
        p, b = f"gpt_neox.layers.{i}.", f"blk.{i}."
        w.copy(b + "attn_norm", p + "input_layernorm")
        w.copy(b + "ffn_norm", p + "post_attention_layernorm")
        w.copy(b + "attn_qkv", p + "attention.query_key_value", split)
        w.copy(b + "attn_output", p + "attention.dense")
        w.copy(b + "ffn_up", p + "mlp.dense_h_to_4h")
        w.copy(b + "ffn_down", p + "mlp.dense_4h_to_h")
    w.finish(["inv_freq", "attention.bias", "masked_bias"])


def write_layer_norm(w, c, m):
    common(w, c, rms=False)
    head = c.hidden_size // c.num_attention_heads
    partial = (getattr(c, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0)
    w.key("rope.dimension_count", int(head * partial))
    if getattr(c, "sliding_window", None):
        w.key("attention.sliding_window", c.sliding_window)
    if getattr(c, "logit_scale", None):
        w.key("logit_scale", float(c.logit_scale))
    llama_like(w, c)
    for i in range(c.num_hidden_layers):  # StableLM 2 12B: a norm module per head
        for role, source, heads in (("q", "q_layernorm", c.num_attention_heads),
                                    ("k", "k_layernorm", c.num_key_value_heads)):
            name = f"model.layers.{i}.self_attn.{source}.norms."
            if w.has(name + "0.weight"):
                w.put(f"blk.{i}.attn_{role}_norm.weight",
                      np.stack([w.take(f"{name}{h}.weight") for h in range(heads)]))
    w.finish(["inv_freq"])


def write_falcon(w, c, m):
    common(w, c, rms=False)
    heads, head = c.num_attention_heads, c.hidden_size // c.num_attention_heads
    kv = c.num_kv_heads if c.new_decoder_architecture else 1
    w.copy("token_embd", "transformer.word_embeddings")
    w.copy("output_norm", "transformer.ln_f")
    w.take("lm_head.weight")  # tied

    def split(x):  # groups of (queries, key, value) to all Q, all K, all V
        g = x.reshape(kv, heads // kv + 2, head, x.shape[-1])
        parts = [g[:, :-2], g[:, -2:-1], g[:, -1:]]
        return np.concatenate([p.reshape(-1, x.shape[-1]) for p in parts])

    for i in range(c.num_hidden_layers):
        p, b = f"transformer.h.{i}.", f"blk.{i}."
        if w.has(p + "ln_attn.weight"):
            w.copy(b + "attn_norm", p + "ln_mlp")
            w.copy(b + "attn_norm_2", p + "ln_attn")
        else:
            w.copy(b + "attn_norm", p + "input_layernorm")
        w.copy(b + "attn_qkv", p + "self_attention.query_key_value", split)
        w.copy(b + "attn_output", p + "self_attention.dense")
        w.copy(b + "ffn_up", p + "mlp.dense_h_to_4h")
        w.copy(b + "ffn_down", p + "mlp.dense_4h_to_h")
    w.finish(["inv_freq"])


T = transformers
NEOX = {k: v for k, v in BASE.items() if k != "num_key_value_heads"}
LONG = rope(10000.0, original_max_position_embeddings=16)
CASES = {
    # name: (GGUF architecture, configuration, writer)
    "llama-linear-bias": ("llama", lambda: T.LlamaConfig(
        **BASE, tie_word_embeddings=False, attention_bias=True, mlp_bias=True, rms_norm_eps=1e-2,
        rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0}), write_llama),
    "llama-yarn": ("llama", lambda: T.LlamaConfig(
        **BASE, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                         "original_max_position_embeddings": 32}), write_llama),
    "llama3-scaling": ("llama", lambda: T.LlamaConfig(
        **BASE, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "llama3", "factor": 8.0, "rope_theta": 500.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64}), write_llama),
    "mistral-window": ("llama", lambda: T.MistralConfig(
        **BASE, sliding_window=7, rope_parameters=rope(10000.0), tie_word_embeddings=False), write_llama),
    "qwen3moe": ("qwen3moe", lambda: T.Qwen3MoeConfig(
        **{**BASE, "num_hidden_layers": 2}, head_dim=16, num_experts=6, num_experts_per_tok=3,
        moe_intermediate_size=16, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[],
        rope_parameters=rope(1e6), tie_word_embeddings=False), write_qwen3moe),
    "gemma": ("gemma", lambda: T.GemmaConfig(
        **{**BASE, "num_key_value_heads": 1}, head_dim=16, rms_norm_eps=1e-2,
        hidden_activation="gelu_pytorch_tanh",
        rope_parameters=rope(10000.0)), write_gemma),
    "gemma3": ("gemma3", lambda: T.Gemma3TextConfig(
        **{**BASE, "num_hidden_layers": 7}, head_dim=16, rms_norm_eps=1e-2, sliding_window=6,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                         "sliding_attention": rope(10000.0)}), write_gemma3),
    "phi2": ("phi2", lambda: T.PhiConfig(
        **{**BASE, "num_key_value_heads": HEADS}, rope_parameters=rope(10000.0, partial_rotary_factor=0.5),
        hidden_act="gelu_new", tie_word_embeddings=False), write_phi2),
    "phi3-longrope": ("phi3", lambda: T.Phi3Config(
        **BASE, original_max_position_embeddings=16, sliding_window=20, tie_word_embeddings=False,
        rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0,
                         "original_max_position_embeddings": 16,
                         "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.0, 2.0, 4.5, 7.0]}),
        write_phi3),
    "gptneox-parallel": ("gptneox", lambda: T.GPTNeoXConfig(
        **NEOX, use_parallel_residual=True, hidden_act="gelu", tie_word_embeddings=False,
        rope_parameters=rope(10000.0, partial_rotary_factor=0.5)), write_gptneox),
    "gptneox-serial": ("gptneox", lambda: T.GPTNeoXConfig(
        **{**NEOX, "num_hidden_layers": 2}, use_parallel_residual=False, hidden_act="gelu",
        tie_word_embeddings=False, rope_parameters=rope(10000.0, partial_rotary_factor=0.5)),
        write_gptneox),
    "olmo2": ("olmo2", lambda: T.Olmo2Config(
        **BASE, rms_norm_eps=1e-3, rope_parameters=rope(5e5), tie_word_embeddings=False), write_olmo2),
    "starcoder2": ("starcoder2", lambda: T.Starcoder2Config(
        **BASE, sliding_window=9, use_bias=True, rope_parameters=rope(1e5),
        hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True), write_layer_norm),
    "stablelm": ("stablelm", lambda: T.StableLmConfig(
        **BASE, use_qkv_bias=True, rope_parameters=rope(10000.0, partial_rotary_factor=0.5),
        tie_word_embeddings=False), write_layer_norm),
    "stablelm-12b": ("stablelm", lambda: T.StableLmConfig(
        **{**BASE, "num_hidden_layers": 2}, qk_layernorm=True, use_parallel_residual=True,
        rope_parameters=rope(10000.0, partial_rotary_factor=0.5), tie_word_embeddings=False),
        write_layer_norm),
    "falcon-7b": ("falcon", lambda: T.FalconConfig(
        **{k: v for k, v in NEOX.items() if k not in ("intermediate_size", "pad_token_id")},
        multi_query=True, parallel_attn=True, new_decoder_architecture=False, alibi=False, bias=False,
        rope_parameters=rope(10000.0)), write_falcon),
    "falcon-40b": ("falcon", lambda: T.FalconConfig(
        **{k: v for k, v in {**NEOX, "num_hidden_layers": 2}.items()
           if k not in ("intermediate_size", "pad_token_id")}, num_kv_heads=2,
        new_decoder_architecture=True, alibi=False, bias=False, rope_parameters=rope(10000.0)),
        write_falcon),
    "command-r": ("command-r", lambda: T.CohereConfig(
        **BASE, logit_scale=0.25, rope_parameters=rope(10000.0)), write_layer_norm),
    "command-r-plus": ("command-r", lambda: T.CohereConfig(
        **{**BASE, "num_hidden_layers": 2}, logit_scale=0.5, use_qk_norm=True,
        rope_parameters=rope(10000.0)), write_layer_norm),
    "smollm3": ("smollm3", lambda: T.SmolLM3Config(
        **{**BASE, "num_hidden_layers": 5}, rope_parameters=rope(5e4), no_rope_layer_interval=4),
        write_llama),
}


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2 and "norm" not in name:
                fan_in = p.shape[-1]
                p.copy_(torch.randn(p.shape, generator=g) * (1.0 if "embed" in name or "wte" in name
                                                             else 1.6 / math.sqrt(fan_in)))
            elif name.endswith("bias"):
                p.copy_(torch.randn(p.shape, generator=g) * 0.3)
            else:  # norms; Gemma's are offsets from one
                around = 0.0 if "Gemma" in type(model).__name__ else 1.0
                p.copy_(around + 0.3 * torch.randn(p.shape, generator=g))
            p.copy_(p.half().float())


def main():
    wanted = sys.argv[1:] or list(CASES)
    for name in wanted:
        arch, config, write = CASES[name]
        c = config()
        c._attn_implementation = "eager"
        model = T.AutoModelForCausalLM.from_config(c, attn_implementation="eager").float().eval()
        randomise(model, SEED)
        out = HERE / name
        out.mkdir(exist_ok=True)
        write(Writer(out / "model.gguf", arch, model), c, model)
        arrays, blocks = [], []

        def add(label, tensor):
            arrays.append(np.ascontiguousarray(tensor.detach().float().numpy(), dtype="<f4"))
            blocks.append({"name": label, "shape": list(tensor.shape)})

        with torch.no_grad():
            r = model(torch.tensor([PROMPT]), output_hidden_states=True, output_attentions=True,
                      use_cache=False)
            add("logits", r.logits[0, -2:])
            add("logits_short", model(torch.tensor([PROMPT_SHORT]), use_cache=False).logits[0, -1:])
            for i, h in enumerate(r.hidden_states):
                add(f"hidden.{i}", h[0])
            for i, a in enumerate(r.attentions):
                add(f"attention.{i}", a[0])
            ids, gaps = list(PROMPT), []
            for _ in range(GREEDY):  # without a cache: every token is evaluated anew
                logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
                top = torch.topk(logits, 2)
                gaps.append(float(top.values[0] - top.values[1]))
                ids.append(int(top.indices[0]))
        (out / "reference.f32").write_bytes(b"".join(a.tobytes() for a in arrays))
        (out / "reference.json").write_text(json.dumps({
            "architecture": arch, "transformers": T.__version__, "torch": torch.__version__.split("+")[0],
            "seed": SEED, "prompt": PROMPT, "prompt_short": PROMPT_SHORT, "greedy": ids[len(PROMPT):],
            "smallest_gap": min(gaps), "blocks": blocks}) + "\n")
        size = sum(f.stat().st_size for f in out.iterdir())
        print(f"{name:20} {size / 1024:7.1f} KB  smallest gap {min(gaps):.4f}  "
              f"logit std {float(r.logits.std()):.2f}")


if __name__ == "__main__":
    main()
