"""Read sizes from a configuration of transformers, those nested in it included."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_IMAGE = 224  # where a configuration has no size of images, as many models take any
_VISION = ("vision_config", "vision_encoder_config", "backbone_config", "image_encoder_config", "vit_config")
_TOKENS = ("_token_id", "_token_index", "_token_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFacts:
    """What a configuration says of inputs; `positions` is the example length of a sequence."""

    config: Any
    positions: int

    def nested(self) -> Iterator[Any]:
        """Yield the configuration and all within it, depth first."""
        pending = [self.config]
        while pending:
            one = pending.pop(0)
            yield one
            pending += [part for part in vars(one).values() if hasattr(part, "to_dict") and hasattr(part, "model_type")]

    def number(self, *names: str, default: int | None = None, first: Sequence[str] = ()) -> int:
        """Return the first whole number of these names; in the nested configurations `first` before all others."""
        preferred = [value_in(self.config, name) for name in first if value_in(self.config, name) is not None]
        for one in (*preferred, *self.nested()):
            for name in names:
                value = value_in(one, name)
                if type(value) is int and value > 0:
                    return value
        return default if default is not None else 1

    def has(self, *names: str) -> bool:
        """Return whether the configuration, or one within it, has one of these names with a value."""
        return any(value_in(one, name) is not None for one in self.nested() for name in names)

    def image(self) -> tuple[int, int, int]:
        """Return the channels, height and width of the images that the model takes."""
        channels = self.number(
            "num_channels", "in_channels", "in_chans", "num_image_channels", default=3, first=_VISION
        )
        preferred = [value_in(self.config, name) for name in _VISION if value_in(self.config, name) is not None]
        for one in (*preferred, *self.nested()):
            for name in ("image_size", "img_size", "input_size"):
                size = value_in(one, name)
                if type(size) is int:
                    return channels, size, size
                if isinstance(size, list | tuple) and len(size) == 2:
                    return channels, int(size[0]), int(size[1])
                if isinstance(size, Mapping) and {"height", "width"} <= size.keys():
                    return channels, int(size["height"]), int(size["width"])
        return channels, _IMAGE, _IMAGE

    def vocabulary(self) -> int:
        """Return the size of the smallest vocabulary."""
        sizes = [value_in(one, "vocab_size") for one in self.nested()]
        return min((size for size in sizes if type(size) is int and size > 1), default=2)

    def tokens(self) -> tuple[int, int]:
        """Return a range of tokens without those that have a meaning of their own: padding, the place of an image."""
        special: set[int] = set()
        for one in self.nested():
            for name, value in vars(one).items():
                if name.endswith(_TOKENS):
                    special |= {item for item in (value if isinstance(value, list) else [value]) if type(item) is int}
        return widest_gap(self.vocabulary(), special)


def value_in(config: Any, name: str) -> Any:
    """Return an attribute of a configuration; None where it has none, or one for each layer, which raises."""
    try:
        return getattr(config, name, None)
    except Exception:
        return None


def widest_gap(size: int, taken: set[int]) -> tuple[int, int]:
    """Return the ends of the longest run of numbers below `size` that holds none in `taken`; all if there is none."""
    edges = [-1, *sorted(one for one in taken if 0 <= one < size), size]
    low, high = max(((low + 1, high) for low, high in itertools.pairwise(edges)), key=lambda gap: gap[1] - gap[0])
    return (low, high) if low < high else (0, size)
