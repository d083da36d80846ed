"""Read the settings of a whole run: output folder, cache folder and pools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchexport.core.job import Pools
from batchexport.manifest import readers
from batchexport.manifest.locations import KeyPath as Place
from batchexport.manifest.readers import INVALID, Report

DEFAULT_OUTPUT = "dist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of [output], [cache] and [pools], with paths as written."""

    output_dir: str = DEFAULT_OUTPUT
    cache_dir: str | None = None
    size_limit: int | None = None
    pools: Pools


def devices(value: Any, path: Place, say: Report) -> Any:
    """Read the numbers of GPUs, each once."""
    read = readers.list_of(readers.integer(0, 4095), "GPU numbers")(value, path, say)
    if read is not INVALID and len(set(read)) < len(read):
        say(path, "a GPU is listed twice", "list each one once")
        return INVALID
    return read


_OUTPUT = {"dir": readers.file_path}
_CACHE = {"dir": readers.file_path, "size_limit": readers.size}
_CPU = {"workers": readers.auto_or(readers.integer(1, 4096)), "memory": readers.auto_or(readers.size)}
_CUDA = {"devices": readers.auto_or(devices)}
_POOLS = {"cpu": readers.table(_CPU), "cuda": readers.table(_CUDA)}
TABLES: Mapping[str, Mapping[str, readers.Reader]] = {"output": _OUTPUT, "cache": _CACHE, "pools": _POOLS}


def read_settings(tables: Mapping[str, Any], say: Report) -> Settings:
    """Read the settings; wrong values are reported and left at their defaults."""
    output = readers.read_table(tables.get("output", {}), ("output",), say, _OUTPUT)
    cache = readers.read_table(tables.get("cache", {}), ("cache",), say, _CACHE)
    pools = readers.read_table(tables.get("pools", {}), ("pools",), say, _POOLS)
    cpu, cuda = pools.get("cpu", {}), pools.get("cuda", {})
    return Settings(
        output_dir=output.get("dir", DEFAULT_OUTPUT),
        cache_dir=cache.get("dir"),
        size_limit=cache.get("size_limit"),
        pools=Pools(cpu_workers=cpu.get("workers"), cpu_memory=cpu.get("memory"), cuda_devices=cuda.get("devices")),
    )
