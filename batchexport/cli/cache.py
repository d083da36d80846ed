"""The `cache` commands; none of them creates a cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from batchexport.cli.console import echo, echo_json_or_text
from batchexport.cli.options import MANIFEST, Quantity, cache_dir, cache_root_of
from batchexport.core.errors import ExitCode
from batchexport.core.text import parse_bytes, parse_seconds


@click.group()
def cache() -> None:
    """Inspect, check and prune the cache."""


@cache.command("path")
@click.argument("manifest", type=MANIFEST, required=False)
@cache_dir
def cache_path(**given: Any) -> None:
    """Print the folder that the cache is in; MANIFEST may name one."""
    echo([str(cache_root_of(given))])


@cache.command("stats")
@click.argument("manifest", type=MANIFEST, required=False)
@cache_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cache_stats(as_json: bool, **given: Any) -> None:
    """Print how much the cache holds."""
    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.cli.render_cache import stats_lines
        from batchexport.store.store import Store

        with Store.open(root) as store:
            stats = store.stats()
        echo_json_or_text(as_json, {"cache": str(root), **asdict(stats)}, stats_lines(stats, str(root)))


@cache.command("gc", short_help="Evict least recently used entries.")
@click.argument("manifest", type=MANIFEST, required=False)
@cache_dir
@click.option(
    "--max-size", type=Quantity("size", parse_bytes, "50GiB"), metavar="SIZE", help="Evict down to this size: 50GiB."
)
@click.option(
    "--older-than",
    type=Quantity("time", parse_seconds, "30d"),
    metavar="AGE",
    help="Remove entries unused for this long: 30d, 12h.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be removed; remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cache_gc(as_json: bool, **given: Any) -> None:
    """Evict least recently used entries from the cache, and remove what killed runs left.

    Without --max-size, the limit is the size_limit under [cache] of the manifests that use this cache.
    What the outputs of an existing manifest were made from is kept, so the cache may stay above the limit.
    Safe while runs are active.
    """
    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.cli.render_cache import gc_lines
        from batchexport.store.gc import collect

        found = collect(root, max_size=given["max_size"], max_age=given["older_than"], dry_run=given["dry_run"])
        echo_json_or_text(as_json, {"cache": str(root), **found.to_json()}, gc_lines(found, str(root)))


@cache.command("check", short_help="Hash every file again.")
@click.argument("manifest", type=MANIFEST, required=False)
@cache_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def cache_check(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Parse every record of the cache and hash every file again.

    Damaged ones are set aside, so that the next run builds them again. The exit code is 4 if there were
    any, and 0 the next time.
    """
    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.cli.render_cache import check_lines
        from batchexport.store.gc import check

        found = check(root)
        echo_json_or_text(as_json, {"cache": str(root), **asdict(found)}, check_lines(found, str(root)))
        ctx.exit(int(ExitCode.STORE if found.damage else ExitCode.OK))


def _existing_cache(given: dict[str, Any], *, as_json: bool) -> Path | None:
    """Return the cache folder, or print that there is none yet and return None."""
    from batchexport.store.layout import Layout

    root = cache_root_of(given)
    if Layout(root).home.is_dir():
        return root
    echo_json_or_text(as_json, {"cache": str(root), "empty": True}, [f"cache    {root}", "nothing is cached here yet"])
    return None
