"""Makes the samples in this folder with the real tools, from the golden models' own weights.

    pip install torch transformers safetensors numpy gguf
    python3 make_samples.py GOLDEN_MODELS_FOLDER        # tests/golden/models

Used: torch 2.15, transformers 5.23, NumPy 2.4, safetensors and gguf of November 2026. Nothing is random:
the weights are those of the golden files, the tokens the first six of their short prompts.
"""

import json
import os
import shutil
import sys

import numpy as np
import torch
from gguf import GGUFReader
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.model_debugging_utils import model_addition_debugger_context

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../../assets/dump"))
from layerscope_dump import dump  # noqa: E402

N_TOKENS = 6
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def to_halves(weight, heads):
    """GGUF stores Llama's Q and K for interleaved pairs; PyTorch wants halves."""
    rows = weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1)
    return rows.swapaxes(1, 2).reshape(weight.shape)


def state_of(reader, permuted, heads, kv_heads):
    state = {}
    for tensor in reader.tensors:
        parts = tensor.name.split(".")
        value = torch.from_numpy(np.array(tensor.data, dtype=np.float32))
        if parts[0] == "blk":
            if permuted and parts[2] in ("attn_q", "attn_k"):
                value = to_halves(value, heads if parts[2] == "attn_q" else kv_heads)
            state[f"model.layers.{parts[1]}.{NAMES[parts[2]]}.{parts[3]}"] = value
        elif parts[0] == "token_embd":
            state["model.embed_tokens.weight"] = value
        elif parts[0] == "output_norm":
            state["model.norm.weight"] = value
        elif parts[0] == "output":
            state["lm_head.weight"] = value
    return state


def load(folder, name, config_class, model_class):
    meta = json.load(open(os.path.join(folder, name, "meta.json")))
    h = meta["hparams"]
    heads, kv = h["attention.head_count"], h["attention.head_count_kv"]
    config = config_class(
        vocab_size=meta["vocab_size"],
        hidden_size=h["embedding_length"],
        intermediate_size=h["feed_forward_length"],
        num_hidden_layers=h["block_count"],
        num_attention_heads=heads,
        num_key_value_heads=kv,
        rms_norm_eps=h["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": h["rope.freq_base"]},
        max_position_embeddings=h["context_length"],
        tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = model_class(config).eval()
    reader = GGUFReader(os.path.join(folder, name, "model.gguf"))
    model.load_state_dict(state_of(reader, name == "llama", heads, kv), strict=True)
    ids = json.load(open(os.path.join(folder, name, "tokens-short.json")))["ids"][:N_TOKENS]
    return model, torch.tensor([ids])


def outputs(model, ids):
    """What each module puts out, by its path."""
    found, handles = {}, []
    for path, module in model.named_modules():
        if path and "rotary" not in path and not isinstance(module, torch.nn.ModuleList):
            handles.append(
                module.register_forward_hook(
                    lambda _m, _a, out, path=path: found.update(
                        {path: (out[0] if isinstance(out, tuple) else out)}
                    )
                )
            )
    with torch.no_grad():
        model(ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return {k: v.detach().clone() for k, v in found.items() if torch.is_tensor(v)}


def debug_tree(model, ids, folder, use_repr):
    shutil.rmtree(folder, ignore_errors=True)
    with model_addition_debugger_context(
        model, debug_path=folder, do_prune_layers=True, use_repr=use_repr
    ):
        model(ids, use_cache=False)
    for file in os.listdir(folder):
        pruned = ".layers.1." in file  # the tree keeps the first and the last layer
        if file.endswith("_SUMMARY.json") or (file.endswith(".safetensors") and pruned):
            os.remove(os.path.join(folder, file))


def json_lines(found, ids, path, first_n):
    with open(path, "w") as file:
        file.write(json.dumps({"input_ids": ids[0].tolist()}) + "\n")
        for name, value in found.items():
            rows = value[0] if value.dim() == 3 else value
            for token, row in enumerate(rows):
                line = {
                    "checkpoint": name,
                    "token_idx": token,
                    "dtype": "float32",
                    "shape": list(row.shape),
                    "values": [float(f"{v:.7g}") for v in row[:first_n].tolist()],
                }
                file.write(json.dumps(line) + "\n")


def main(folder):
    os.chdir(HERE)
    qwen, qwen_ids = load(folder, "qwen2", Qwen2Config, Qwen2ForCausalLM)
    llama, llama_ids = load(folder, "llama", LlamaConfig, LlamaForCausalLM)
    with dump(qwen, "hooks-qwen2.safetensors"):
        past = qwen(qwen_ids[:, :5], use_cache=True).past_key_values
        qwen(qwen_ids[:, 5:], past_key_values=past, use_cache=True)
    found = outputs(llama, llama_ids)
    layer0 = {k: v for k, v in found.items() if "layers" not in k or "layers.0." in k}
    save_file({**layer0, "input_ids": llama_ids}, "modules-llama.safetensors")
    half = {k: v.to(torch.bfloat16) for k, v in layer0.items()}
    save_file({**half, "input_ids": llama_ids}, "modules-llama-bf16.safetensors")
    arrays = {k: v.numpy() for k, v in outputs(qwen, qwen_ids).items() if "layers.0" in k}
    arrays["model.layers.0.mlp.up_proj"] = np.asfortranarray(arrays["model.layers.0.mlp.up_proj"])
    np.savez("modules-qwen2.npz", input_ids=qwen_ids.numpy(), **arrays)
    np.savez_compressed("modules-qwen2-deflated.npz", input_ids=qwen_ids.numpy(), **arrays)
    np.save("logits.npy", outputs(qwen, qwen_ids)["lm_head"].numpy()[0])
    few = {k: v for k, v in outputs(qwen, qwen_ids).items() if k.endswith(("proj", "norm", "head"))}
    json_lines({k: v for k, v in few.items() if "layers.1" not in k}, qwen_ids, "checkpoints.jsonl", 8)
    debug_tree(qwen, qwen_ids, "tree-repr-qwen2", True)
    debug_tree(llama, llama_ids, "tree-files-llama", False)


main(os.path.abspath(sys.argv[1]))
