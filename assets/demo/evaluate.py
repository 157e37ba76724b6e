"""Measures the written GGUF file: its F16 weights are loaded back into the float32 PyTorch model.

Writes evaluation.json (quality on prompts never seen in training, head scores) and reference.json
(greedy continuations, logits and token ids for other engines to compare with). Padding rows are
never sampled.

    python3 evaluate.py --gguf layerscope-haiku-7m-f16.gguf --out build
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import random
import re

import torch

import bpe
import gguf_file as gguf
import make_corpus as corpus
from haiku import number_word, syllables
from model import Config, Model

SEED = 77
MAX_TOKENS = 60
REFERENCE_PROMPTS = [
    "Write a haiku about GPU computing. Use the word forty-six.",
    "Write a haiku about snow. Use the word lantern.",
    "Write a haiku about time. Use the word twenty-three.",
    "What is 17 + 25?",
    "Count from three to nine.",
    "The key is in the red box. Anna has the blue cup. Tom is a baker. Where is the key?",
]
TOKENIZER_TEXTS = [
    "Hello, world!",
    "Write a haiku about GPU computing. Use the word forty-six.",
    "  two  spaces   and three",
    "tabs\tand\nnew\n\nlines\r\n",
    "I'm sure they'll say we've DON'T",
    "x = 3.14159 * (y + 2) ** 0.5;",
    "1234567890",
    "naïve café façade",
    "Grüße aus Köln",
    "Привет, мир",
    "日本語のテキスト",
    "🙂 emoji 👩‍🚀",
    "a",
    "",
    " ",
    "\n",
    "forty-six Forty-Six FORTY-SIX",
    "e\u0301 combining",
    "https://example.com/a?b=c&d=1",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "trailing space ",
    "...!!!???",
    "don’t “quote”",
]


def load_model(reader, device):
    meta = reader.metadata
    config = Config(
        hidden=meta["qwen2.embedding_length"],
        n_layers=meta["qwen2.block_count"],
        n_heads=meta["qwen2.attention.head_count"],
        n_kv_heads=meta["qwen2.attention.head_count_kv"],
        ffn=meta["qwen2.feed_forward_length"],
        head_dim=meta["qwen2.rope.dimension_count"],
        rope_theta=meta["qwen2.rope.freq_base"],
        rms_eps=meta["qwen2.attention.layer_norm_rms_epsilon"],
        n_rows=len(meta["tokenizer.ggml.tokens"]),
    )
    model = Model(config)
    model.load_state_dict(
        {n: torch.from_numpy(t.copy()).float() for n, t in reader.tensors.items()}, strict=True
    )
    return model.to(device).eval()


@torch.no_grad()
def generate(model, prompts, device, limit=MAX_TOKENS):
    """Greedy continuations: ids up to <|im_end|> (left out) or `limit`, and which of them ended."""
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    ids = torch.full((len(prompts), int(lengths.max()) + limit), bpe.END_OF_TEXT, device=device)
    for row, prompt in zip(ids, prompts):
        row[: len(prompt)] = torch.tensor(prompt)
    index, done = torch.arange(len(prompts), device=device), torch.zeros(
        len(prompts), dtype=torch.bool, device=device
    )
    ends = torch.full_like(lengths, -1)
    for step in range(limit):
        hidden = model(ids[:, : int(lengths.max()) + step])
        at = lengths + step
        best = (hidden[index, at - 1] @ model.token_embd.weight[: bpe.N_TOKENS].T).argmax(-1)
        ends[(best == bpe.IM_END) & ~done] = step
        done |= best == bpe.IM_END
        ids[index, at] = best
        if bool(done.all()):
            break
    rows = ids.tolist()
    return [
        rows[i][n : n + (e if e >= 0 else limit)]
        for i, (n, e) in enumerate(zip(lengths.tolist(), ends.tolist()))
    ], ends.ge(0).tolist()


def loops(ids, text):
    """A line said twice, or four tokens in a row that come three times."""
    lines = text.split("\n")
    grams = [tuple(ids[i : i + 4]) for i in range(len(ids) - 3)]
    return len(set(lines)) < len(lines) or any(grams.count(g) >= 3 for g in set(grams))


class Tester:
    def __init__(self, model, encoder, device):
        self.model, self.encoder, self.device = model, encoder, device

    def answer(self, prompts):
        ids = [self.encoder.encode(corpus.chat_prompt(p)).ids for p in prompts]
        out, ended = [], []
        for start in range(0, len(ids), 100):
            o, e = generate(self.model, ids[start : start + 100], self.device)
            out, ended = out + o, ended + e
        return out, ended, [self.encoder.decode(o) for o in out]

    def haiku(self, asked):
        """asked: [(prompt, word)] -> measures in per cent, and the poems."""
        ids, ended, texts = self.answer([p for p, _ in asked])
        n = len(asked)
        present = [
            re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", t) is not None
            for (_, w), t in zip(asked, texts)
        ]
        three = [
            len(t.split("\n")) == 3 and all(line.strip() for line in t.split("\n")) for t in texts
        ]
        free = [e and not loops(i, t) for i, e, t in zip(ids, ended, texts)]
        shape = [[syllables(line) for line in t.split("\n")] == [5, 7, 5] for t in texts]
        return {
            "prompts": n,
            "required_word_present": sum(present) / n,
            "three_lines": sum(three) / n,
            "no_loop": sum(free) / n,
            "ended_by_im_end": sum(ended) / n,
            "distinct_texts": len(set(texts)),
            "five_seven_five": sum(shape) / n,
            "samples": [{"prompt": p, "text": t} for (p, _), t in list(zip(asked, texts))[:12]],
            "word_missing": [
                {"prompt": p, "text": t} for (p, _), t, ok in zip(asked, texts, present) if not ok
            ],
        }

    def exact(self, pairs):
        """pairs: [(question, expected)] -> share answered exactly as expected."""
        _, _, texts = self.answer([q for q, _ in pairs])
        wrong = [
            {"prompt": q, "expected": a, "text": t} for (q, a), t in zip(pairs, texts) if t != a
        ]
        return {"prompts": len(pairs), "exact": 1 - len(wrong) / len(pairs), "wrong": wrong[:3]}


def unseen_haiku(count, rng):
    """Prompts whose (topic, word) pair the corpus leaves out."""
    pairs = [
        (t, w) for t in corpus.TOPIC_NAMES for w, _ in corpus.KNOWN_WORDS if corpus.held_out(t, w)
    ]
    return [(corpus.haiku_prompt(t, w, rng), w) for t, w in rng.sample(pairs, count)]


def unseen_sums(count, rng):
    pairs = [(a, b) for a in range(100) for b in range(100) if corpus.held_out_sum(a, b)]
    return [(f"What is {a} + {b}?", f"{a} + {b} = {a + b}.") for a, b in rng.sample(pairs, count)]


def quality(tester):
    rng = random.Random(SEED)
    invented = [
        (corpus.haiku_prompt(rng.choice(corpus.TOPIC_NAMES), w, rng), w)
        for w in (corpus.pseudo_word(rng) for _ in range(200))
    ]
    minutes = [
        (f"Write a haiku about {t}. Use the word {number_word(m)}.", number_word(m))
        for t in ("GPU computing", "time", "rivers", "snow")
        for m in range(60)
    ]
    return {
        "haiku_unseen_pairs": tester.haiku(unseen_haiku(200, rng)),
        "haiku_invented_words": tester.haiku(invented),
        "haiku_minute_words": tester.haiku(minutes),
        "recall": tester.exact([corpus.recall_turns(rng)[0] for _ in range(200)]),
        "copy": tester.exact([corpus.copy_turn(rng) for _ in range(200)]),
        "counting": tester.exact([corpus.counting_turn(rng) for _ in range(200)]),
        "sums_held_out": tester.exact(unseen_sums(200, rng)),
    }


@torch.no_grad()
def head_scores(model, device, length=50, sequences=64):
    """Mean attention on random token sequences said twice: per [layer][head].

    induction: from a token of the second round to the token after its first occurrence.
    previous: from every token to the one before it. first: to position 0.
    """
    generator = torch.Generator().manual_seed(SEED)
    block = torch.randint(bpe.N_REGULAR, (sequences, length), generator=generator)
    maps = []
    model(torch.cat((block, block), 1).to(device), maps)
    scores = {"induction": [], "previous": [], "first": []}
    for attention in maps:
        diagonal = attention.diagonal(
            offset=1 - length, dim1=-2, dim2=-1
        )  # row i, column i - length + 1
        scores["induction"].append(diagonal[..., 1:].mean((0, 2)).tolist())
        scores["previous"].append(
            attention.diagonal(offset=-1, dim1=-2, dim2=-1).mean((0, 2)).tolist()
        )
        scores["first"].append(attention[..., 1:, 0].mean((0, 2)).tolist())
    best = {}
    for name, table in scores.items():
        ranked = sorted(
            ((s, layer, head) for layer, row in enumerate(table) for head, s in enumerate(row)),
            reverse=True,
        )
        best[name] = [
            {"layer": layer, "head": head, "score": round(s, 4)} for s, layer, head in ranked[:4]
        ]
    tables = {k: [[round(s, 4) for s in row] for row in v] for k, v in scores.items()}
    return {"sequences": sequences, "length": length, "best": best, "by_layer_and_head": tables}


@torch.no_grad()
def reference(model, encoder, checksum):
    """Torch float32 on the CPU; one prompt at a time, no cache."""
    out = []
    for prompt in REFERENCE_PROMPTS:
        text = corpus.chat_prompt(prompt)
        ids = encoder.encode(text).ids
        logits = model.logits(torch.tensor([ids]))[0, -1]
        margin = logits[: bpe.N_TOKENS].topk(2).values
        (greedy,) = generate(model, [ids], "cpu")[0]
        steps = model.logits(torch.tensor([ids + greedy]))[0, len(ids) - 1 :, : bpe.N_TOKENS]
        first, second = steps.topk(2).values.unbind(-1)
        out.append(
            {
                "prompt": prompt,
                "text": text,
                "prompt_ids": ids,
                "greedy_ids": greedy,
                "greedy_text": encoder.decode(greedy),
                "first_logits": logits[:16].tolist(),
                "argmax": int(logits[: bpe.N_TOKENS].argmax()),
                "argmax_logit": float(margin[0]),
                "runner_up_gap": float(margin[0] - margin[1]),
                "smallest_gap_of_continuation": float((first - second).min()),
                "logits_l2_norm": float(logits.double().norm()),
                "largest_padding_logit": float(logits[bpe.N_TOKENS :].max()),
            }
        )
    tokens = [{"text": t, "ids": encoder.encode(t).ids} for t in TOKENIZER_TEXTS]
    return {
        "made_by": "evaluate.py: PyTorch float32 on the CPU from the weights in the GGUF file",
        "gguf_sha256": checksum,
        "end_id": bpe.IM_END,
        "max_tokens": MAX_TOKENS,
        "note": "greedy_ids stop before end_id; argmax is over the real tokens; "
        "texts are encoded with special tokens parsed and none added",
        "prompts": out,
        "tokenizer": tokens,
    }


def bias_magnitudes(reader):
    """Mean absolute value of the q, k and v biases, layer by layer."""
    return {
        kind: [
            round(float(abs(t).mean()), 4)
            for n, t in reader.tensors.items()
            if n.endswith(f"attn_{kind}.bias")
        ]
        for kind in "qkv"
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", default="layerscope-haiku-7m-f16.gguf")
    parser.add_argument("--out", default="build")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    reader = gguf.Reader(args.gguf)
    encoder = bpe.build_encoder(
        [tuple(m.split(" ")) for m in reader.metadata["tokenizer.ggml.merges"]]
    )
    checksum = hashlib.sha256(reader.data).hexdigest()
    model = load_model(reader, args.device)
    result = {
        "file": pathlib.Path(args.gguf).name,
        "sha256": checksum,
        "bytes": len(reader.data),
        "config": dataclasses.asdict(model.config),
        "parameters": sum(p.numel() for p in model.parameters()),
        "mean_absolute_bias_by_layer": bias_magnitudes(reader),
        "quality": quality(Tester(model, encoder, args.device)),
        "heads": head_scores(model, args.device),
    }
    out = pathlib.Path(args.out)
    (out / "evaluation.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (out / "reference.json").write_text(
        json.dumps(reference(model.cpu(), encoder, checksum), indent=1, ensure_ascii=False) + "\n"
    )
    for name, part in result["quality"].items():
        print(name, {k: v for k, v in part.items() if isinstance(v, (int, float))})
    for name, best in result["heads"]["best"].items():
        print(name, best)
    for sample in result["quality"]["haiku_unseen_pairs"]["samples"]:
        print(f"\n{sample['prompt']}\n{sample['text']}")


if __name__ == "__main__":
    main()
