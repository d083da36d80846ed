"""Render what a cache holds, what gc removed and what a check found, as lines of text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchexport.core.text import clean, counted, format_bytes

if TYPE_CHECKING:
    from batchexport.store.fsck import CheckReport
    from batchexport.store.gc import Collected
    from batchexport.store.store import StoreStats


def stats_lines(stats: StoreStats, root: str) -> list[str]:
    """Return how much the cache in the folder `root` holds."""
    kinds = ", ".join(f"{count} {clean(kind)}" for kind, count in sorted(stats.by_kind.items()))
    beside = ", ".join(f"{name} {format_bytes(count)}" for name, count in stats.more.items() if count)
    return [
        f"cache    {clean(root)}",
        f"records  {stats.records}" + (f" ({kinds})" if kinds else ""),
        f"files    {stats.blobs}, {format_bytes(stats.bytes)}",
        *([f"beside   {beside}"] if beside else []),
    ]


def gc_lines(found: Collected, root: str) -> list[str]:
    """Return what a gc of the cache in the folder `root` removed, or would remove."""
    would = "would be " if found.dry_run else ""
    limit = "no limit is set" if found.max_size is None else f"the limit is {format_bytes(found.max_size)}"
    removed = "nothing"
    if found.removed:
        kinds = ", ".join(f"{count} {clean(kind)}" for kind, count in found.removed.items())
        freed = format_bytes(found.before - found.after)
        removed = f"{would}{counted(sum(found.removed.values()), 'record')} ({kinds}), {freed}"
    needed = f"{format_bytes(found.needed_bytes)} needed by the outputs of {counted(len(found.manifests), 'manifest')}"
    return [
        f"cache    {clean(root)}",
        f"size     {format_bytes(found.before)} in records and files; {limit}",
        f"removed  {removed}",
        *(f"swept    {would}{one.count} {one.what}, {format_bytes(one.bytes)}" for one in found.swept),
        f"left     {would}{format_bytes(found.after)}; {needed}",
        *(f"note     {note}" for note in found.notes),
    ]


def check_lines(found: CheckReport, root: str) -> list[str]:
    """Return what a check of the cache in the folder `root` found."""
    looked = f"{counted(found.records, 'record')}, {counted(found.files, 'file')} of {format_bytes(found.bytes)}"
    lines = [f"cache    {clean(root)}", f"checked  {looked}"]
    for one in found.damage:
        jobs = f"; of {', '.join(one.jobs[:3])}{' and more' if len(one.jobs) > 3 else ''}" if one.jobs else ""
        lines.append(f"damaged  {clean(one.what)}: {clean(one.why)}{clean(jobs)}")
    lines += [f"note     {note}" for note in found.notes]
    if not found.damage:
        return [*lines, "no damage found"]
    return [*lines, f"{len(found.damage)} damaged and set aside; the next run builds again what it needs"]
