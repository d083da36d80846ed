"""Models in plain torch, of kinds that transformers does not have.

Invariant: nothing here imports more than torch.
"""

import torch
from torch import Tensor, nn


class LstmTagger(nn.Module):
    """A bidirectional LSTM that gives one label per token.

    Tracing walks through it token by token, so the sequence length is fixed.
    """

    def __init__(self, vocab: int = 1000, hidden: int = 64, layers: int = 1, labels: int = 9):
        super().__init__()
        self.embed = nn.Embedding(vocab, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        return self.head(states)


class GraphConv(nn.Module):
    """A two-layer graph network: each node averages itself and what its neighbours send."""

    def __init__(self, features: int = 16, hidden: int = 32, classes: int = 4):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(features, hidden), nn.Linear(hidden, hidden)])
        self.head = nn.Linear(hidden, classes)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        ones = torch.ones_like(nodes[:, :1])
        degree = ones.index_add(0, target, ones[source])
        for layer in self.layers:
            messages = layer(nodes)
            nodes = torch.relu(messages.index_add(0, target, messages[source]) / degree)
        return self.head(nodes)


class Recommender(nn.Module):
    """DLRM in small: dense features, a list of categories, and their pairwise products."""

    def __init__(self, dense: int = 13, tables: tuple[int, ...] = (100, 50, 20), width: int = 16):
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(dense, 64), nn.ReLU(), nn.Linear(64, width))
        self.tables = nn.ModuleList([nn.Embedding(size, width) for size in tables])
        pairs = (len(tables) + 1) * len(tables) // 2
        self.top = nn.Sequential(nn.Linear(width + pairs, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, dense: Tensor, categories: list[Tensor]) -> dict[str, Tensor]:
        bottom = self.bottom(dense)
        embedded = [table(ids) for table, ids in zip(self.tables, categories, strict=True)]
        vectors = torch.stack([bottom, *embedded], dim=1)
        products = vectors @ vectors.transpose(1, 2)
        rows, columns = torch.triu_indices(vectors.shape[1], vectors.shape[1], offset=1).unbind()
        features = torch.cat([bottom, products[:, rows, columns]], dim=1)
        return {"click": torch.sigmoid(self.top(features)).squeeze(1)}
