"""Draws loss.csv as a small picture.

python3 plot_loss.py build/loss.csv build/loss.png
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the backend is chosen


def main(source, target):
    with open(source) as file:
        rows = list(csv.DictReader(file))
    millions = [int(r["tokens"]) / 1e6 for r in rows]
    checked = [
        (t, float(r["validation_loss"])) for t, r in zip(millions, rows) if r["validation_loss"]
    ]
    figure, axes = plt.subplots(figsize=(6, 3), dpi=100)
    axes.plot(millions, [float(r["train_loss"]) for r in rows], linewidth=1, label="training")
    if checked:
        axes.plot(*zip(*checked), "o", markersize=3, label="validation")
    axes.set(xlabel="million tokens", ylabel="loss (nats per learned token)", yscale="log")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:3])
