"""A block adds a piece to a draft and returns the value that comes out; blocks are registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.draft import Draft, Value

Make = Callable[[Draft, Value], Value | None]
ALL = ("rows", "tokens", "wave", "image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A name, the kinds of values it takes, and what makes it; that returns None where it does not fit.

    `refusable` are the stages at which the product does right to refuse a model with it.
    """

    name: str
    kinds: tuple[str, ...]
    make: Make
    refusable: tuple[str, ...] = ()


BLOCKS: dict[str, Block] = {}
PECULIARITIES: dict[str, Block] = {}


def block(name: str, *kinds: str) -> Callable[[Make], Make]:
    """Register a building block."""

    def register(make: Make) -> Make:
        assert name not in BLOCKS
        BLOCKS[name] = Block(name=name, kinds=kinds or ALL, make=make)
        return make

    return register


def peculiarity(name: str, *kinds: str, refusable: tuple[str, ...] = ()) -> Callable[[Make], Make]:
    """Register something that few models have and that exports go wrong at."""

    def register(make: Make) -> Make:
        assert name not in PECULIARITIES
        PECULIARITIES[name] = Block(name=name, kinds=kinds or ALL, make=make, refusable=refusable)
        return make

    return register
