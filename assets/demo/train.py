"""Trains the demo model on one GPU in minutes: AdamW, cosine schedule, bfloat16 on float32 weights.

The schedule follows the step number; should the time limit come first, it anneals by the clock
instead and says so, so that the run always ends with a small learning rate.

    python3 train.py --build build --steps 14000
"""

import argparse
import csv
import math
import pathlib
import time

import numpy as np
import torch
import torch.nn.functional as F

from dataset import NOT_LEARNED
from model import Config, Model

SEED = 46
N_VALIDATION = 256  # rows at the front, never trained on
COLUMNS = ("step", "tokens", "train_loss", "validation_loss", "seconds", "learning_rate")


def learning_rate(progress, step, peak, warmup=200):
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return peak * min(1.0, (step + 1) / warmup) * (0.01 + 0.99 * cosine)


def parameter_groups(model):
    """Weight decay on matrices only; the embedding is left out, as are norms and biases."""
    named = list(model.named_parameters())
    decay = [p for n, p in named if p.ndim == 2 and "token_embd" not in n]
    keep = [p for n, p in named if p.ndim < 2 or "token_embd" in n]
    return [{"params": decay, "weight_decay": 0.1}, {"params": keep, "weight_decay": 0.0}]


def row_order(n_rows, batch, steps, generator):
    """Row numbers for every step: epochs of shuffled rows, one after another."""
    need, parts = batch * steps, []
    while sum(map(len, parts)) < need:
        parts.append(torch.randperm(n_rows, generator=generator))
    return torch.cat(parts)[:need].view(steps, batch)


def batch_loss(model, batch, device):
    """Mean loss per learned token; batch [B, ROW] holds ids with the NOT_LEARNED bit."""
    ids = (batch & (NOT_LEARNED - 1)).long()
    targets = torch.where(batch >= NOT_LEARNED, -100, ids)[:, 1:]
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = F.linear(model(ids[:, :-1]), model.token_embd.weight)
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100)


@torch.no_grad()
def validation_loss(loss_of, rows):
    return torch.stack([loss_of(part) for part in rows.split(64)]).mean().item()


class Progress:
    """The loss curve: means over `every` steps, a validation loss at every twentieth of them."""

    def __init__(self, args, validate):
        self.args, self.validate = args, validate
        self.every, self.recent, self.rows = max(1, args.steps // 240), [], []
        self.started = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.started

    def add(self, step, loss, rate):
        self.recent.append(loss.detach())
        if step % self.every:
            return
        mean, self.recent = torch.stack(self.recent).mean().item(), []
        checked = f"{self.validate():.4f}" if step % (self.every * 20) == 0 else ""
        tokens = step * self.args.batch * Config.context
        took = f"{self.seconds():.1f}"
        self.rows.append((step, tokens, f"{mean:.4f}", checked, took, f"{rate:.2e}"))
        if checked:
            print(f"step {step} loss {mean:.4f} validation {checked} {took} s", flush=True)

    def write(self, path):
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(self.rows)


def train(model, rows, args, generator):
    """Runs all steps and returns the loss curve."""
    held_back, rows = rows[:N_VALIDATION], rows[N_VALIDATION:]
    order = row_order(len(rows), args.batch, args.steps, generator).to(args.device)
    epochs = args.steps * args.batch / len(rows)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {epochs:.2f} epochs")

    def loss_of(batch):
        return batch_loss(model, batch, args.device)

    step_loss = loss_of if args.no_compile else torch.compile(loss_of)
    fused = args.device == "cuda"
    optimizer = torch.optim.AdamW(
        parameter_groups(model), lr=args.peak, betas=(0.9, 0.95), eps=1e-8, fused=fused
    )
    step_loss(rows[: args.batch]).backward()  # compiles outside the clock
    optimizer.zero_grad(set_to_none=True)
    curve, by_clock = Progress(args, lambda: validation_loss(loss_of, held_back)), False
    for step in range(args.steps):
        done, clock = step / args.steps, curve.seconds() / args.time_limit
        by_clock |= clock > done and step > 1000
        if max(done, clock) >= 1.0:
            break
        rate = learning_rate(max(done, clock), step, args.peak)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = step_loss(rows[order[step]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        curve.add(step + 1, loss, rate)
    how = ", annealed by the clock" if by_clock else ""
    print(f"{step + 1} steps, {curve.seconds():.0f} s{how}")
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--steps", type=int, default=14000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--peak", type=float, default=2e-3)
    parser.add_argument("--time-limit", type=float, default=600, help="seconds of training")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    build = pathlib.Path(args.build)
    torch.backends.cuda.matmul.allow_tf32 = True
    generator = torch.Generator().manual_seed(SEED)
    model = Model(Config())
    model.initialise(generator)
    model.to(args.device)
    rows = torch.from_numpy(np.load(build / "rows.npy").astype(np.int32)).to(args.device)
    curve = train(model, rows, args, generator)
    curve.write(build / "loss.csv")
    torch.save({n: p.detach().cpu() for n, p in model.named_parameters()}, build / "model.pt")


if __name__ == "__main__":
    main()
