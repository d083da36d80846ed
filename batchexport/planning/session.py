"""Wire together the objects that a command needs for a manifest, its store and this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from batchexport.core.job import Job, Manifest
from batchexport.core.options import RunOptions
from batchexport.dependencies.checker import CheckedFiles, DependencyChecker
from batchexport.dependencies.traces import Traces
from batchexport.manifest import resolve
from batchexport.manifest.selection import select
from batchexport.planning.estimates import Timings
from batchexport.planning.history import History
from batchexport.planning.lookup import CacheLookup
from batchexport.planning.outcomes import LastOutcomes
from batchexport.store.outputs import Delivery
from batchexport.store.results import Results
from batchexport.store.store import Store
from batchexport.toolchain import probe
from batchexport.toolchain.cuda import Devices, chosen
from batchexport.toolchain.inductor import option_names
from batchexport.toolchain.operators import operator_names
from batchexport.toolchain.transformers import transformer_types


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The objects that a command works with. The index rows of the selected jobs are already read.

    `nothing_selected` tells the user why there are no jobs, where --failed selects none.
    """

    manifest: Manifest
    jobs: tuple[Job, ...]
    store: Store
    toolchain: probe.Toolchain
    lookup: CacheLookup
    traces: Traces
    results: Results
    delivery: Delivery
    timings: Timings
    history: History
    outcomes: LastOutcomes
    devices: Devices
    nothing_selected: str | None = None


def cache_folder(options: RunOptions, manifest: Manifest) -> Path:
    """Return the cache folder: --cache-dir, else BATCHEXPORT_CACHE_DIR, else the manifest's, else ./cache."""
    return options.explicit_cache_dir or manifest.cache_dir or Path("cache")


@contextmanager
def open_session(options: RunOptions, checked: CheckedFiles | None = None) -> Iterator[Session]:
    """Open a session for the selected jobs of a manifest; `checked` are files that this command has hashed already.

    Raises:
        ManifestError: if the manifest has mistakes.
        UsageError: if the selection names a job that does not exist.
        StoreError: if the cache folder can't be used.
    """
    path = tuple(probe.import_path())
    known = resolve.Known(
        options=lambda: option_names(path),
        operators=lambda: operator_names(path),
        types=lambda: transformer_types(path),
    )
    manifest = resolve.load(options.manifest, known)
    if options.output_dir is not None:
        manifest = replace(manifest, output_dir=options.output_dir.absolute())
    jobs = select(manifest.jobs, expression=options.expression, tags=options.tags, only=options.only)
    with Store.open(cache_folder(options, manifest)) as store:
        outcomes, nothing_selected = LastOutcomes(store.index, options.manifest), None
        if options.failed:
            jobs, nothing_selected = outcomes.select_failed(jobs)
        toolchain = probe.toolchain()
        checker = DependencyChecker(
            root=str(manifest.root),
            path=probe.import_path(),
            index=store.index,
            checked=checked,
            output_dir=str(manifest.output_dir),
            cache=str(store.layout.root),
        )
        traces = Traces(store, checker)
        results = Results(store)
        history = History(store.index)
        devices = _devices(manifest, jobs, toolchain)
        lookup = CacheLookup(
            root=manifest.root,
            toolchain=toolchain,
            traces=traces,
            results=results,
            history=history,
            force=options.force,
            devices=devices,
        )
        delivery = Delivery(store, manifest.output_dir, manifest.path)
        timings = Timings(store.index)
        lookup.prefetch(jobs)
        delivery.prefetch(job.folder for job in jobs)
        yield Session(
            manifest=manifest,
            jobs=tuple(jobs),
            store=store,
            toolchain=toolchain,
            lookup=lookup,
            traces=traces,
            results=results,
            delivery=delivery,
            timings=timings,
            history=history,
            outcomes=outcomes,
            devices=devices,
            nothing_selected=nothing_selected,
        )


def _devices(manifest: Manifest, jobs: Sequence[Job], toolchain: probe.Toolchain) -> Devices:
    """Return the GPUs to use. Querying the driver takes longer than a no-op run, so only GPU jobs cause it."""
    if not any(job.target.startswith("cuda") for job in jobs):
        return Devices()
    return chosen(listed=manifest.pools.cuda_devices, torch=toolchain.capture["torch"], runtime=probe.cuda_runtime())
