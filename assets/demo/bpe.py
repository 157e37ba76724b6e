"""Byte-level BPE: trains the demo model's merges and builds its encoder.

The trainer is our own, so that the merges depend on the corpus alone: pairs are taken by count,
ties by the smaller pair of strings. Encoding uses the `tokenizers` package, which also serves as
the independent oracle for the C++ tokenizer.

    python3 bpe.py --out build
"""

import argparse
import collections
import json
import pathlib

import regex

from make_corpus import tokenizer_texts

PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
N_REGULAR = 4096  # 256 bytes + 3840 merges
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_OF_TEXT, IM_START, IM_END = range(N_REGULAR, N_REGULAR + 3)
N_TOKENS = N_REGULAR + len(SPECIALS)
N_ROWS = 4224  # the next multiple of 128 that leaves at least 60 rows unused
CORPUS_DOCUMENTS = 60000


def byte_characters():
    """byte -> printable character, GPT-2's table; its order is the order of the first 256 ids."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(printable))
    return table


def base_tokens():
    return sorted(byte_characters().values())


def count_words(texts):
    """Pre-tokenised pieces as byte characters, with their counts. Special tokens split the text."""
    table, split = byte_characters(), regex.compile("|".join(regex.escape(s) for s in SPECIALS))
    pattern, counts = regex.compile(PRE_TOKENIZER), collections.Counter()
    for text in texts:
        for chunk in split.split(text):
            counts.update(pattern.findall(chunk))
    return {"".join(table[b] for b in piece.encode()): n for piece, n in counts.items()}


def train_merges(counts, n_merges):
    """The n_merges most frequent pairs, in order, as (left, right) strings."""
    words = [list(w) for w in counts]
    weights = list(counts.values())
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weights[i]
            where[pair].add(i)
    merges = []
    while len(merges) < n_merges:
        best = max(pairs.values(), default=0)
        if best < 2:
            raise SystemExit(f"only {len(merges)} merges: the corpus has too few words")
        left, right = min(p for p, n in pairs.items() if n == best)
        merges.append((left, right))
        for i in where.pop((left, right)):
            word, weight = words[i], weights[i]
            for pair in zip(word, word[1:]):
                pairs[pair] -= weight
            merged, k = [], 0
            while k < len(word):
                if k + 1 < len(word) and word[k] == left and word[k + 1] == right:
                    merged.append(left + right)
                    k += 2
                else:
                    merged.append(word[k])
                    k += 1
            words[i] = merged
            for pair in zip(merged, merged[1:]):
                pairs[pair] += weight
                where[pair].add(i)
        del pairs[(left, right)]
        if len(merges) % 256 == 0:
            pairs = +pairs  # drops pairs that no longer occur
    return merges


def all_tokens(merges):
    """Token text by id for all embedding rows, padding included."""
    tokens = base_tokens() + [a + b for a, b in merges] + SPECIALS
    return tokens + [f"[PAD{i}]" for i in range(len(tokens), N_ROWS)]


def build_encoder(merges):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    vocab = {t: i for i, t in enumerate(base_tokens() + [a + b for a, b in merges])}
    assert len(vocab) == N_REGULAR, "two merges gave one token"
    encoder = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m) for m in merges]))
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    encoder.decoder = decoders.ByteLevel()
    encoder.add_special_tokens([AddedToken(s, normalized=False, special=True) for s in SPECIALS])
    assert [encoder.token_to_id(s) for s in SPECIALS] == [END_OF_TEXT, IM_START, IM_END]
    return encoder


def load_merges(path):
    return [tuple(m) for m in json.loads(pathlib.Path(path).read_text())]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="build")
    args = parser.parse_args()
    counts = count_words(tokenizer_texts(CORPUS_DOCUMENTS))
    merges = train_merges(counts, N_REGULAR - 256)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "merges.json").write_text(json.dumps(merges, ensure_ascii=False))
    encoder = build_encoder(merges)
    print(f"{len(counts)} distinct pieces, {len(merges)} merges, last {merges[-3:]}")
    print(encoder.encode("Write a haiku about GPU computing. Use the word forty-six.").tokens)


if __name__ == "__main__":
    main()
