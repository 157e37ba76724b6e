"""Writes the trained weights and the tokenizer as GGUF: matrices F16, norms and biases F32.

python3 export.py --build build --out layerscope-haiku-7m-f16.gguf
"""

import argparse
import pathlib

import numpy as np

import bpe
import gguf_file as gguf
from model import Config

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
NORMAL, CONTROL, UNUSED = 1, 3, 5


def metadata(config, merges):
    tokens = bpe.all_tokens(merges)
    types = [NORMAL] * bpe.N_REGULAR + [CONTROL] * len(bpe.SPECIALS)
    types += [UNUSED] * (config.n_rows - len(types))
    text, number, real = gguf.STRING, gguf.U32, gguf.F32
    return [
        ("general.architecture", text, "qwen2"),
        ("general.type", text, "model"),
        ("general.name", text, "Layerscope Haiku 7M"),
        (
            "general.description",
            text,
            "Tiny demo model of Layerscope, trained from scratch on generated text.",
        ),
        ("general.author", text, "The Layerscope authors"),
        ("general.size_label", text, "7M"),
        ("general.license", text, "mit"),
        ("general.languages", (gguf.ARRAY, text), ["en"]),
        ("general.file_type", number, 1),
        ("general.quantization_version", number, 2),
        ("general.alignment", number, gguf.ALIGNMENT),
        ("qwen2.context_length", number, config.context),
        ("qwen2.embedding_length", number, config.hidden),
        ("qwen2.block_count", number, config.n_layers),
        ("qwen2.feed_forward_length", number, config.ffn),
        ("qwen2.attention.head_count", number, config.n_heads),
        ("qwen2.attention.head_count_kv", number, config.n_kv_heads),
        ("qwen2.attention.layer_norm_rms_epsilon", real, config.rms_eps),
        ("qwen2.rope.freq_base", real, config.rope_theta),
        ("qwen2.rope.dimension_count", number, config.head_dim),
        ("tokenizer.ggml.model", text, "gpt2"),
        ("tokenizer.ggml.pre", text, "qwen2"),
        ("tokenizer.ggml.tokens", (gguf.ARRAY, text), tokens),
        ("tokenizer.ggml.token_type", (gguf.ARRAY, gguf.I32), types),
        ("tokenizer.ggml.merges", (gguf.ARRAY, text), [f"{a} {b}" for a, b in merges]),
        ("tokenizer.ggml.bos_token_id", number, bpe.END_OF_TEXT),
        ("tokenizer.ggml.eos_token_id", number, bpe.IM_END),
        ("tokenizer.ggml.padding_token_id", number, bpe.END_OF_TEXT),
        ("tokenizer.ggml.add_bos_token", gguf.BOOL, False),
        ("tokenizer.chat_template", text, CHAT_TEMPLATE),
    ]


def tensor_array(parameter):
    array = parameter.float().numpy()
    return array.astype(np.float16) if array.ndim == 2 else array.astype(np.float32)


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--out", default="build/layerscope-haiku-7m-f16.gguf")
    args = parser.parse_args()
    build = pathlib.Path(args.build)
    weights = torch.load(build / "model.pt")
    tensors = {}
    for name, parameter in weights.items():
        tensors[name] = tensor_array(parameter)
        assert np.isfinite(tensors[name]).all(), name
    assert tensors["token_embd.weight"].shape[0] == bpe.N_ROWS
    gguf.write(args.out, metadata(Config(), bpe.load_merges(build / "merges.json")), tensors)
    print(f"{args.out}: {pathlib.Path(args.out).stat().st_size} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
