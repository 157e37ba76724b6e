"""The demo model in PyTorch: the qwen2 decoder, with q, k, v biases and tied embeddings.

Parameters are float32 and named as in GGUF. Shapes: B batch, T positions, H hidden, D head_dim.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass(frozen=True)
class Config:
    hidden: int = 256
    n_layers: int = 8
    n_heads: int = 8
    n_kv_heads: int = 4
    head_dim: int = 32
    ffn: int = 704
    n_rows: int = 4224  # embedding rows; more than there are tokens
    context: int = 512
    rope_theta: float = 10000.0
    rms_eps: float = 1e-6


def rope_tables(config, n_positions, device):
    """cos, sin [T, D/2]: angle = position * theta^(-2i/D)."""
    exponent = torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim
    angle = torch.outer(
        torch.arange(n_positions, dtype=torch.float64), config.rope_theta**-exponent
    )
    return angle.cos().float().to(device), angle.sin().float().to(device)


def apply_rope(x, cos, sin):
    """x [B, heads, T, D]; element i turns with element i + D/2 (half-split order)."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class RmsNorm(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(config.hidden)), config.rms_eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        q_size, kv_size = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.attn_norm = RmsNorm(config)
        self.attn_q = nn.Linear(config.hidden, q_size)
        self.attn_k = nn.Linear(config.hidden, kv_size)
        self.attn_v = nn.Linear(config.hidden, kv_size)
        self.attn_output = nn.Linear(q_size, config.hidden, bias=False)
        self.ffn_norm = RmsNorm(config)
        self.ffn_gate = nn.Linear(config.hidden, config.ffn, bias=False)
        self.ffn_up = nn.Linear(config.hidden, config.ffn, bias=False)
        self.ffn_down = nn.Linear(config.ffn, config.hidden, bias=False)

    def forward(self, x, cos, sin, maps=None):
        """x [B, T, H]; attention probabilities [B, heads, T, T] go to the list `maps`, if given."""
        c = self.config
        n = self.attn_norm(x)
        batch, length, _ = n.shape

        def heads(y, count):
            return y.view(batch, length, count, c.head_dim).transpose(1, 2)

        q = apply_rope(heads(self.attn_q(n), c.n_heads), cos, sin)
        k = apply_rope(heads(self.attn_k(n), c.n_kv_heads), cos, sin)
        v = heads(self.attn_v(n), c.n_kv_heads)
        k, v = (t.repeat_interleave(c.n_heads // c.n_kv_heads, dim=1) for t in (k, v))
        if maps is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(-1, -2) / c.head_dim**0.5
            hide = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
            maps.append(scores.masked_fill(hide, float("-inf")).softmax(-1))
            y = maps[-1] @ v
        x = x + self.attn_output(y.transpose(1, 2).reshape(batch, length, -1))
        n = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(n)) * self.ffn_up(n))


class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token_embd = nn.Embedding(config.n_rows, config.hidden)
        self.blk = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.output_norm = RmsNorm(config)
        cos, sin = rope_tables(config, config.context, "cpu")
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def initialise(self, generator):
        """Normal weights; q, k, v biases start large enough to be seen in the finished model."""
        for name, p in self.named_parameters():
            if name.endswith(".bias"):
                std = 0.2
            elif "norm" in name:
                continue
            elif "attn_output" in name or "ffn_down" in name:
                std = 0.03 / (2 * self.config.n_layers) ** 0.5
            else:
                std = 0.03
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=generator) * std)

    def forward(self, ids, maps=None):
        """ids [B, T] -> hidden state after the last norm [B, T, H]."""
        x = self.token_embd(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for block in self.blk:
            x = block(x, cos, sin, maps)
        return self.output_norm(x)

    def logits(self, ids, maps=None):
        """[B, T, n_rows], padding rows included."""
        return self.forward(ids, maps) @ self.token_embd.weight.T
