#!/usr/bin/env python3
"""Writes blocks.bin: blocks of every quantised type and their values by the `gguf` package.

    pip install gguf==0.19.0 numpy==2.4.6 && python3 make_blocks.py

Per type: uint32 type number, uint32 blocks, the blocks, their values as float32 (little-endian).
Blocks: random bytes; random codes with scales of usual size; all bits 0; all bits 1 but finite
scales; the largest and the smallest scales, negative ones, NaN and infinity. Values are compared bit
by bit (a NaN with any NaN).
"""
import warnings

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

SEED = 20260501
# Where the binary16 fields of a block stand.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [],
}
SCALES = [0.0, 6e-8, 6.1e-5, 0.013, -0.75, 1.0, 65504.0, -65504.0, float("inf"), float("nan")]


def blocks_of(kind, rng):
    size = GGML_QUANT_SIZES[kind][1]
    rows = [rng.integers(0, 256, size, dtype=np.uint8) for _ in range(3)]
    for scale in SCALES:
        row = rng.integers(0, 256, size, dtype=np.uint8)
        for i, at in enumerate(HALVES[kind]):
            row[at:at + 2] = np.frombuffer(np.float16(scale if i == 0 else 0.5).tobytes(), np.uint8)
        if kind == T.MXFP4:
            row[0] = [0, 1, 2, 100, 127, 128, 200, 253, 254, 255][SCALES.index(scale)]
        rows.append(row)
    for fill in (0, 255):
        row = np.full(size, fill, np.uint8)
        for at in HALVES[kind]:
            row[at:at + 2] = np.frombuffer(np.float16(0.25).tobytes(), np.uint8)
        if kind == T.MXFP4:
            row[0] = 126
        rows.append(row)
    return np.stack(rows)


def main():
    warnings.simplefilter("ignore")  # NaN and overflow are wanted here
    rng = np.random.default_rng(SEED)
    with open("blocks.bin", "wb") as out:
        for kind in HALVES:
            blocks = blocks_of(kind, rng)
            values = dequantize(blocks, kind).astype("<f4")
            out.write(np.array([kind.value, len(blocks)], "<u4").tobytes())
            out.write(blocks.tobytes())
            out.write(values.tobytes())


main()
