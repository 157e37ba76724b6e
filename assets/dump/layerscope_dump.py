"""Writes what a transformers model computes as a Layerscope trace (.safetensors).

    from layerscope_dump import dump
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager")
    with dump(model, "trace.safetensors") as trace:
        model(input_ids)                       # one forward pass per call; with a cache, decode steps too
    # layerscope-cli compare trace.safetensors reference.log --model model.gguf --explain
    # layerscope-cli diagnose trace.safetensors --model model.gguf

Needs PyTorch only. Llama-like models (Llama, Qwen2, Qwen3, Mistral, Phi, Gemma): modules named
embed_tokens, layers.N.{input_layernorm, self_attn.{q,k,v,o}_proj, post_attention_layernorm,
mlp.{gate,up,down}_proj}, norm, lm_head. What a model does not have is not in the trace. Attention weights
need attn_implementation="eager"; other implementations never form them. Batch size 1.
"""

import contextlib
import json
import os
import struct
import sys

import torch

FORMAT = 1

# Module below a layer → (tap of its input, tap of its output); None: not a tap.
LAYER_TAPS = {
    "input_layernorm": (None, "attn_norm"),
    "self_attn.q_proj": (None, "q"),
    "self_attn.k_proj": (None, "k"),
    "self_attn.v_proj": (None, "v"),
    "self_attn.q_norm": (None, "q"),  # replaces the projection: q and k are taken after QK-norm
    "self_attn.k_norm": (None, "k"),
    "self_attn.o_proj": ("attn_context", "attn_out"),
    "post_attention_layernorm": ("resid_mid", "ffn_norm"),
    "mlp.gate_proj": (None, "ffn_gate"),
    "mlp.up_proj": (None, "ffn_up"),
    "mlp.down_proj": ("ffn_act", "ffn_out"),
    "": (None, "resid_out"),
}
# Gemma 2 and 3 normalise what a block gives; the norm before the feed-forward has another name.
SANDWICH_TAPS = {
    "post_attention_layernorm": (None, None),
    "pre_feedforward_layernorm": ("resid_mid", "ffn_norm"),
}


class Trace:
    """Tensors of the passes so far, in memory until `save`."""

    def __init__(self, model):
        self.model = model
        self.config = model.config
        self.ids = []
        self.passes = []
        self.tensors = {}  # name → CPU float32 tensor

    def begin_pass(self, ids):
        ids = ids.reshape(-1).tolist()
        self.passes.append({"first_position": len(self.ids), "n_tokens": len(ids)})
        self.ids += ids

    def put(self, tap, layer, value):
        if not torch.is_tensor(value) or not self.passes:
            return
        place = f"p{len(self.passes) - 1}." + (f"l{layer}." if layer is not None else "") + tap
        self.tensors[place] = value.detach()[0].to("cpu", torch.float32).contiguous()

    def metadata(self):
        c = self.config
        heads = c.num_attention_heads
        model = {
            "name": getattr(c, "_name_or_path", ""),
            "architecture": c.model_type,
            "n_layers": c.num_hidden_layers,
            "n_heads": heads,
            "n_kv_heads": getattr(c, "num_key_value_heads", None) or heads,
            "head_dim": getattr(c, "head_dim", None) or c.hidden_size // heads,
            "hidden": c.hidden_size,
            "ffn": c.intermediate_size,
        }
        dtype = next(self.model.parameters()).dtype
        roundoff = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}.get(dtype, 2.0**-22)
        return {
            "format": FORMAT,
            "model": model,
            "ids": self.ids,
            "n_prompt": self.passes[0]["n_tokens"] if self.passes else 0,
            "passes": self.passes,
            "capture": "full",
            "path": {"backend": "transformers"},
            "unit_roundoff": roundoff,
            "faults": [],
        }

    def save(self, path):
        """Writes to a temporary name and renames, so that no partial file is left."""
        header = {"__metadata__": {"layerscope.trace": json.dumps(self.metadata())}}
        offset = 0
        for name, value in self.tensors.items():
            size = value.numel() * 4
            header[name] = {
                "dtype": "F32",
                "shape": list(value.shape),
                "data_offsets": [offset, offset + size],
            }
            offset += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        temporary = f"{path}.part-{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for value in self.tensors.values():
                file.write(value.numpy().astype("<f4").tobytes())
        os.replace(temporary, path)


def _first(value):
    return value[0] if isinstance(value, (tuple, list)) else value


def _hook(trace, layer, tap_in, tap_out):
    def hook(_module, args, kwargs, out):
        if tap_in:
            trace.put(tap_in, layer, args[0] if args else next(iter(kwargs.values()), None))
        if tap_out:
            trace.put(tap_out, layer, _first(out))

    return hook


def _attention_hook(trace, layer):
    def hook(_module, _args, _kwargs, out):
        if isinstance(out, (tuple, list)) and len(out) > 1:
            trace.put("attn_weights", layer, out[1])

    return hook


@contextlib.contextmanager
def _rotation(trace, decoder):
    """Takes Q and K after RoPE from the function that all layers call in turn."""
    module = sys.modules[type(decoder).__module__]
    original = getattr(module, "apply_rotary_pos_emb", None)
    if original is None:
        yield
        return
    calls = [0]

    def rotated(*args, **kwargs):
        q, k = original(*args, **kwargs)
        layer = calls[0] % len(decoder.layers)
        calls[0] += 1
        trace.put("q_rope", layer, q.transpose(1, 2))  # [1, heads, tokens, dim] → tokens first
        trace.put("k_rope", layer, k.transpose(1, 2))
        return q, k

    module.apply_rotary_pos_emb = rotated
    try:
        yield
    finally:
        module.apply_rotary_pos_emb = original


@contextlib.contextmanager
def dump(model, path):
    """Records every forward pass of `model` inside the block; the file is written at its end."""
    trace = Trace(model)
    decoder = model.model
    handles = []

    def begin(_module, args, kwargs):
        trace.begin_pass(kwargs["input_ids"] if "input_ids" in kwargs else args[0])

    handles.append(model.register_forward_pre_hook(begin, with_kwargs=True))
    whole = [
        (decoder.embed_tokens, None, "embedding"),
        (decoder.norm, None, "final_norm"),
        (model.lm_head, None, "logits"),
    ]
    for module, tap_in, tap_out in whole:
        handles.append(
            module.register_forward_hook(_hook(trace, None, tap_in, tap_out), with_kwargs=True)
        )
    for number, layer in enumerate(decoder.layers):
        taps = dict(LAYER_TAPS)
        if hasattr(layer, "pre_feedforward_layernorm"):
            taps.update(SANDWICH_TAPS)
        for name, module in layer.named_modules():
            if name in taps:
                hook = _hook(trace, number, *taps[name])
                handles.append(module.register_forward_hook(hook, with_kwargs=True))
        handles.append(
            layer.self_attn.register_forward_hook(
                _attention_hook(trace, number), with_kwargs=True
            )
        )
    try:
        with _rotation(trace, decoder), torch.no_grad():
            yield trace
    finally:
        for handle in handles:
            handle.remove()
    trace.save(path)
