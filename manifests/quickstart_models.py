"""The models of quickstart.toml: small enough to read at a glance and to compile in seconds.

Invariant: nothing here imports more than torch, and every forward takes and returns tensors
or plain containers of tensors.
"""

from typing import Any

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two dense layers."""

    def __init__(self, features: int = 16, hidden: int = 32, classes: int = 4) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.head = nn.Linear(hidden, classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(features)))


class Cnn(nn.Module):
    """Two convolutions and an average over the image, so that any image size will do."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        pixels = torch.relu(self.norm(self.stem(images)))
        pixels = torch.relu(self.body(pixels))
        return self.head(pixels.mean(dim=(2, 3)))


class Encoder(nn.Module):
    """A transformer encoder over padded tokens; gives one vector per text."""

    def __init__(self, vocab: int = 100, width: int = 32, layers: int = 1) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        states = self.layers(self.embed(tokens), src_key_padding_mask=~mask)
        kept = mask.unsqueeze(2).to(states.dtype)
        return (states * kept).sum(dim=1) / kept.sum(dim=1)


class Lstm(nn.Module):
    """A language model: scores for the token that comes next."""

    def __init__(self, vocab: int = 100, hidden: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, hidden)
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, vocab)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        return self.head(states)


class Fusion(nn.Module):
    """Joins a profile with two histories; takes a nested sample and returns a dict."""

    def __init__(self, profile: int = 8, event: int = 4, width: int = 16) -> None:
        super().__init__()
        self.profile = nn.Linear(profile, width)
        self.event = nn.Linear(event, width)
        self.score = nn.Linear(width, 1)

    def forward(self, sample: dict[str, Any]) -> dict[str, Tensor]:
        recent, older = sample["history"]
        events = torch.cat([recent, older], dim=1)
        embedding = torch.tanh(self.profile(sample["profile"]) + self.event(events).mean(dim=1))
        return {"embedding": embedding, "score": self.score(embedding).squeeze(1)}
