"""BERT encoder with pooler (Devlin et al., 2018): token ids in, one vector a sentence out.

Every token counts (no padding mask) and all belong to the first segment, as in a benchmark with
sentences of one length.
"""

import torch
from torch import nn

VOCABULARY = 30522
POSITIONS = 512
SEGMENTS = 2
NORM_EPS = 1e-12


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, NORM_EPS)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_norm = nn.LayerNorm(width, NORM_EPS)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) -> (n, heads, tokens, width / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended = nn.functional.scaled_dot_product_attention(
            self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        )
        x = self.attention_norm(x + self.output(attended.transpose(1, 2).flatten(2)))
        return self.mlp_norm(x + self.mlp(x))


class Bert(nn.Module):
    def __init__(self, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(POSITIONS, width)
        self.segments = nn.Embedding(SEGMENTS, width)
        self.norm = nn.LayerNorm(width, NORM_EPS)
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.pooler = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        places = self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        x = self.layers(self.norm(self.tokens(tokens) + places))
        return torch.tanh(self.pooler(x[:, 0]))


def bert() -> nn.Module:
    return Bert(layers=12, width=768, heads=12)


def bert_tiny() -> nn.Module:
    return Bert(layers=2, width=128, heads=2)
