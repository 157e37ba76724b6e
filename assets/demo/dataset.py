"""Tokenises the corpus into training rows, one shard per process.

A row holds ROW ids (the context and one more) and begins with a fresh document; documents end with
<|endoftext|> and the last one is cut. Bit 15 of an id marks a token that is read but not learned.
Shards depend only on their number.

    python3 dataset.py --build build --shards 64 --documents 40000
"""

import argparse
import multiprocessing
import os
import pathlib

import numpy as np

import bpe
from make_corpus import shard_documents

ROW = 513
NOT_LEARNED = 0x8000
ENCODER = None


def start_worker(merges_path):
    global ENCODER  # one encoder per worker process, made once
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    ENCODER = bpe.build_encoder(bpe.load_merges(merges_path))


def encode_parts(documents):
    """[[(text or ids, learn)]] -> one uint16 array per document, <|endoftext|> appended."""
    texts = [text for parts in documents for text, _ in parts if isinstance(text, str)]
    encoded = iter(ENCODER.encode_batch_fast(texts, add_special_tokens=False))
    for parts in documents:
        ids = []
        for text, learn in parts:
            piece = next(encoded).ids if isinstance(text, str) else text
            ids.extend(piece if learn else [i | NOT_LEARNED for i in piece])
        yield ids + [bpe.END_OF_TEXT]


def make_shard(job):
    shard, n_documents = job
    rows, row = [], []
    documents = list(shard_documents(shard, n_documents, bpe.N_REGULAR))
    for start in range(0, len(documents), 2000):
        for ids in encode_parts(documents[start : start + 2000]):
            row.extend(ids)
            if len(row) >= ROW:
                rows.append(row[:ROW])
                row = []
    return np.array(rows, dtype=np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--documents", type=int, default=40000, help="per shard")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    args = parser.parse_args()
    build = pathlib.Path(args.build)
    with multiprocessing.Pool(args.processes, start_worker, (build / "merges.json",)) as pool:
        shards = pool.map(
            make_shard, [(i, args.documents) for i in range(args.shards)], chunksize=1
        )
    rows = np.concatenate(shards)
    np.save(build / "rows.npy", rows)
    learned = float((rows & NOT_LEARNED == 0).mean())
    print(
        f"{args.shards * args.documents} documents, {len(rows)} rows, "
        f"{rows.size / 1e6:.1f} M tokens, {learned:.1%} learned"
    )


if __name__ == "__main__":
    main()
