#!/bin/sh
# Makes the demo model from nothing: corpus, tokenizer, training, GGUF, evaluation.
# Needs python3 with torch, numpy, tokenizers, regex and matplotlib, and one large CUDA GPU.
#   ./reproduce.sh [build folder]            the real thing, about six minutes on an H200
#   SMOKE=1 ./reproduce.sh [build folder]    a minute, to see that every step runs
set -eu
cd "$(dirname "$0")"
build=${1:-build}
if [ "${SMOKE:-0}" = 1 ]; then
    data="--shards 4 --documents 8000" training="--steps 40 --batch 16 --no-compile"
else
    data="--shards 160 --documents 20000" training="--steps ${STEPS:-14000} --time-limit ${TIME_LIMIT:-1800}"
fi
python3 bpe.py --out "$build"
# shellcheck disable=SC2086  # the option strings are meant to split
python3 dataset.py --build "$build" $data
# shellcheck disable=SC2086
python3 train.py --build "$build" $training
python3 export.py --build "$build" --out "$build/layerscope-haiku-7m-f16.gguf"
python3 evaluate.py --gguf "$build/layerscope-haiku-7m-f16.gguf" --out "$build"
python3 plot_loss.py "$build/loss.csv" "$build/loss.png"
