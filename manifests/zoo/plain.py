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


class UNet(nn.Module):
    """A U-Net of two levels: what goes down comes up again, beside what was there."""

    def __init__(self, width: int = 8, classes: int = 2) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._block(1, width), self._block(width, 2 * width)])
        self.bottom = self._block(2 * width, 4 * width)
        self.grow = nn.ModuleList(
            [nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2), nn.ConvTranspose2d(2 * width, width, 2, stride=2)]
        )
        self.up = nn.ModuleList([self._block(4 * width, 2 * width), self._block(2 * width, width)])
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _block(channels: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        seen = []
        for block in self.down:
            image = block(image)
            seen.append(image)
            image = nn.functional.max_pool2d(image, 2)
        image = self.bottom(image)
        for grow, block, before in zip(self.grow, self.up, reversed(seen), strict=True):
            image = block(torch.cat([before, grow(image)], dim=1))
        return self.head(image)


class MlpMixer(nn.Module):
    """MLP-Mixer: one perceptron over patches, one over channels, in turn."""

    def __init__(self, image: int = 32, patch: int = 8, width: int = 64, layers: int = 2, classes: int = 10) -> None:
        super().__init__()
        patches = (image // patch) ** 2
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * layers)])
        self.tokens = nn.ModuleList([self._perceptron(patches) for _ in range(layers)])
        self.channels = nn.ModuleList([self._perceptron(width) for _ in range(layers)])
        self.head = nn.Linear(width, classes)

    @staticmethod
    def _perceptron(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, image: Tensor) -> Tensor:
        states = self.embed(image).flatten(2).transpose(1, 2)
        for at, (tokens, channels) in enumerate(zip(self.tokens, self.channels, strict=True)):
            mixed = tokens(self.norms[2 * at](states).transpose(1, 2)).transpose(1, 2)
            states = states + mixed
            states = states + channels(self.norms[2 * at + 1](states))
        return self.head(states.mean(dim=1))


class TemporalConvolution(nn.Module):
    """A stack of causal convolutions, each twice as wide as the last: no output sees the future."""

    def __init__(self, channels: int = 4, width: int = 16, layers: int = 3) -> None:
        super().__init__()
        sizes = [channels, *[width] * layers]
        self.layers = nn.ModuleList(
            [nn.Conv1d(before, width, 3, dilation=2**at) for at, before in enumerate(sizes[:-1])]
        )
        self.head = nn.Conv1d(width, channels, 1)

    def forward(self, series: Tensor) -> Tensor:
        for at, layer in enumerate(self.layers):
            series = torch.relu(layer(nn.functional.pad(series, (2 * 2**at, 0))))
        return self.head(series)
