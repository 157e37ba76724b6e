#!/usr/bin/env python3
"""Writes small tokenizers in the form of each family, and what the `tokenizers` library makes of texts.

    pip install tokenizers==0.23.3 && python3 make_tokenizers.py

Each FAMILY.json is a tokenizer.json: the family's own normalizer, pre-tokenizer, post-processor and
decoder (as published with its models), and a vocabulary trained here on the few sentences below.
expected.json: per family and text the ids, with the post-processor's tokens.
"""
import json
import random
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

GPT2_LIKE = pre_tokenizers.ByteLevel(add_prefix_space=False)
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(expression):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


BYTE_LEVEL = {
    "gpt2": GPT2_LIKE,
    "qwen2": split(QWEN2),
    "llama3": split(LLAMA3),
    "tekken": split(TEKKEN),
    "gpt4o": split(GPT4O),
    "falcon": pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), GPT2_LIKE,
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]),
    "starcoder": pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), GPT2_LIKE]),
    "gptneox": GPT2_LIKE,
    "command-r": pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), GPT2_LIKE]),
    "stablelm2": split(QWEN2),
}
NORMALISED = ("qwen2", "gptneox", "command-r")
CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's 1999, isn't it? They'll say we've won.",
    "def main(argc: int) -> None:\n    for i in range(argc):\n        print(i * 100)\n",
    "Der Größe nach ändert sich das Maß der Übung; naïve façade, cœur, el niño.",
    "Привет, мир! Как дела? Быстрая лиса. 你好世界。これはテストです。안녕하세요 세계",
    "שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก",
    "😀👍🏽👩‍👩‍👧‍👦 and 🇩🇪 flags; e = mc²; x₁ ≤ y; 12345 67 8",
] * 3
TEXTS = [
    "", " ", "  ", "\n", "\n\n \t\n", "Hello, world!", " leading", "trailing ", "a  b   c    d",
    "it's IT'S they'LL I'd we'Re", "1 12 123 1234 12345 ٣٤٥ ²³½ Ⅻ", "x=1;y=2\r\n\r\nif(x){y++;}\t\t//end",
    "camelCaseWord SNAKE_CASE HTTPServer iPhone", "Größe ÄÖÜ naïve façade", "Привет, мир! Как дела?",
    "你好世界。これはテストです。안녕하세요", "שלום עולם مرحبا", "नमस्ते दुनिया สวัสดี",
    "😀👍🏽👩‍👩‍👧‍👦🇩🇪", "\u0000\u0001\u001f\u007f\u0085\u00a0\u2003\u3000\ufeff\u200b", "a\u2028b\u2029c\u180ed",
    "<|im_start|>user\nhi<|im_end|>\n<s>x</s>", "<|assistant|> \n hi<|end|> \n\n there", "...!!!???---===",
    "▁already ▁marked", "http://example.com/a?b=c&d=%20#e", "$100.50 (−5 °C) €20 `code` ~tilde^",
]


def random_texts():
    rng = random.Random(20260504)
    pools = [(0x20, 0x7e), (0xa0, 0x24f), (0x370, 0x52f), (0x590, 0x6ff), (0x900, 0x97f),
             (0x3040, 0x30ff), (0x4e00, 0x4fff), (0xac00, 0xacff), (0x1f300, 0x1f64f), (1, 0x1f)]
    marks = [(0x41, 0x7a), (0xc0, 0x24f), (0x300, 0x345), (0x1100, 0x11c2), (0x900, 0x94d),
             (0x9be, 0x9d7), (0x1e00, 0x1fff), (0x323, 0x331), (0xac00, 0xd7a3), (0x2f800, 0x2fa1d)]
    for i in range(60):
        pools = pools if i < 20 else marks
        yield "".join(chr(rng.randint(*rng.choice(pools))) for _ in range(rng.randint(1, 40)))


def specials():
    return [AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True),
            AddedToken("<|assistant|>", special=True, rstrip=True),
            AddedToken("<|end|>", special=True, rstrip=True)]


def byte_level(name, pre):
    tokenizer = Tokenizer(models.BPE(ignore_merges=name in ("llama3", "tekken")))
    tokenizer.pre_tokenizer = pre
    if name in NORMALISED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens(specials())
    if name == "llama3":
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing("<|im_start|> $A", special_tokens=[
                ("<|im_start|>", tokenizer.token_to_id("<|im_start|>"))])])
    return tokenizer


def spm_like(name):
    words = [w for line in CORPUS for w in line.replace(" ", " ▁").split(" ")]
    trained = Tokenizer(models.BPE())
    trained.train_from_iterator(words, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    learned = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    merged = [a + b for a, b in learned["merges"]]
    pieces += merged + [p for p in learned["vocab"] if p not in set(merged) and p != "<unk>"]
    vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    # As converters from SentencePiece list them: every pair of pieces that makes a piece, in order.
    merges = [(p[:i], p[i:]) for p in merged for i in range(1, len(p))
              if p[:i] in vocab and p[i:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    if name == "llama2":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace])
    elif name == "gemma":
        tokenizer.normalizer = replace
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"] + specials())
    tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def main():
    made = {name: byte_level(name, pre) for name, pre in BYTE_LEVEL.items()}
    made.update({name: spm_like(name) for name in ("llama2", "gemma", "mistral")})
    texts = TEXTS + list(random_texts())
    expected = {"texts": texts, "ids": {},
                "composed": [unicodedata.is_normalized("NFC", text) for text in texts]}
    for name, tokenizer in made.items():
        with open(name + ".json", "w", encoding="utf-8") as file:
            json.dump(json.loads(tokenizer.to_str()), file, ensure_ascii=False, separators=(",", ":"))
            file.write("\n")
        expected["ids"][name] = [tokenizer.encode(text).ids for text in texts]
    with open("expected.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, separators=(",", ":"))
        file.write("\n")


main()
