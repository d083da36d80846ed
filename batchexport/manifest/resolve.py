"""Resolve a manifest into jobs, all or none, and report all mistakes together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.errors import ManifestError, Problem
from batchexport.core.job import CompileSpec, ExportSpec, Job, Manifest
from batchexport.core.text import describe, did_you_mean, listing, quoted
from batchexport.manifest import names, readers
from batchexport.manifest.diagnostics import EntryDiagnostics
from batchexport.manifest.document import SCHEMA, Diagnostics, Document, paused_collector
from batchexport.manifest.document import load as load_document
from batchexport.manifest.entry import KEYS, Reading, read_entry
from batchexport.manifest.inductor_options import KnownOptions, check_options
from batchexport.manifest.lowering import KnownOperators, check_operators
from batchexport.manifest.matrix import Axis, Variant, read_matrix, variants
from batchexport.manifest.methods import check_method
from batchexport.manifest.settings import read_settings
from batchexport.manifest.transformer_types import KnownTypes, check_type

_TOP = ("schema", "output", "cache", "pools", "defaults", "entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the installed libraries have, read only where a manifest speaks of it; None where that is unknown."""

    options: KnownOptions = lambda: None
    operators: KnownOperators = lambda: None
    types: KnownTypes = lambda: None


_NOTHING = Known()


def load(path: Path | str, known: Known = _NOTHING) -> Manifest:
    """Read and resolve a manifest.

    Options of Inductor, operators, and types of transformers models and their heads that are not known are mistakes.

    Raises:
        ManifestError: with every mistake of the manifest.
    """
    return resolve(load_document(path), known)


def resolve(document: Document, known: Known = _NOTHING) -> Manifest:
    """Resolve a document: settings, defaults, then matrix, checkpoints and targets of each entry.

    Raises:
        ManifestError: with every mistake of the manifest.
    """
    try:
        with paused_collector():
            return _resolve(document, known)
    except RecursionError:
        problem = Problem(place=document.name, message="tables or lists are nested too deeply")
        raise ManifestError((problem,)) from None


def _resolve(document: Document, known: Known) -> Manifest:
    mistakes = Diagnostics(document)
    path = Path(document.name)
    root = path.absolute().parent
    entries, defaults = _read_top(document.tables, mistakes)
    settings = read_settings(document.tables, mistakes.error_at)
    drafts: list[_Draft] = []
    for index, raw in enumerate(entries):
        if readers.is_table(raw, ("entry", index), mistakes.error_at):
            drafts += _drafts(EntryDiagnostics(mistakes, index, raw, defaults), raw, defaults, known, root)
    _check_names(entries, drafts, mistakes)
    if not mistakes:
        _check_default_dims(defaults, drafts, mistakes)
    if mistakes:
        raise mistakes.error()
    folders = names.folders([draft.name for draft in drafts])
    return Manifest(
        path=path,
        root=root,
        output_dir=root / settings.output_dir,
        cache_dir=None if settings.cache_dir is None else root / settings.cache_dir,
        size_limit=settings.size_limit,
        pools=settings.pools,
        jobs=tuple(draft.job(folder) for draft, folder in zip(drafts, folders, strict=True)),
    )


def _read_top(tables: Mapping[str, Any], mistakes: Diagnostics) -> tuple[list[Any], Mapping[str, Any]]:
    """Return the entries and the defaults, and report mistakes at the top level."""
    say = mistakes.error_at
    for key in tables:
        if key not in _TOP:
            hint = did_you_mean(key, _TOP)
            if hint is None and key in KEYS:
                hint = "write it under [[entry]], or under [defaults] for all entries"
            say((key,), "unknown key", hint or f"known here: {listing(_TOP)}", key=True)
    schema = tables.get("schema")
    if "schema" not in tables:
        say(("schema",), "missing", f"begin the manifest with schema = {SCHEMA}")
    elif type(schema) is not int:
        say(
            ("schema",),
            f"expected a whole number, found {describe(schema)}",
            f"write schema = {SCHEMA}",
        )
    defaults = tables.get("defaults", {})
    if type(defaults) is not dict:
        hint = "write [defaults], with single brackets" if type(defaults) is list else None
        say(("defaults",), f"expected a table, found {describe(defaults)}", hint)
        defaults = {}
    if "name" in defaults:
        say(("defaults", "name"), "every entry has a name of its own", "leave it out", key=True)
        defaults = {key: value for key, value in defaults.items() if key != "name"}
    entries = tables.get("entry", [])
    if type(entries) is not list:
        hint = "write [[entry]], with double brackets" if type(entries) is dict else "write entries as [[entry]]"
        say(("entry",), f"expected a list of tables, found {describe(entries)}", hint)
        return [], defaults
    if not entries and not any(did_you_mean(key, ("entry",)) for key in tables if key not in _TOP):
        say((), "there is no entry, so there is nothing to do", "add an [[entry]] with a name and a model")
    return entries, defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A job without its folder name, which depends on the names of all jobs."""

    name: str
    index: int
    entry: str
    target: str
    export: ExportSpec
    reading: Reading

    def job(self, folder: str) -> Job:
        reading = self.reading
        return Job(
            name=self.name,
            entry=self.entry,
            target=self.target,
            folder=folder,
            tags=reading.tags,
            timeout=reading.timeout,
            expected_failure=reading.expected_failure,
            export=self.export,
            compile=CompileSpec(target=self.target, **reading.compile),
            verify=reading.verify,
        )


def _drafts(
    diagnostics: EntryDiagnostics,
    raw: Mapping[str, Any],
    defaults: Mapping[str, Any],
    known: Known,
    root: Path,
) -> list[_Draft]:
    """Return the jobs of one entry; they are invalid if a mistake was reported."""
    if "name" in raw:
        names.plain(raw["name"], ("name",), diagnostics.say)
    elif not any(did_you_mean(key, ("name",)) for key in raw.keys() - KEYS):
        diagnostics.say(("name",), "missing", 'write name = "…", unique in this manifest')
    table = with_defaults(defaults, raw)
    axes: list[Axis] | None = []
    if "matrix" in table:
        axes = read_matrix(table["matrix"], KEYS, diagnostics.say)
    own_dims = raw.get("dims")
    own_dims = own_dims if type(own_dims) is dict else {}
    drafts: list[_Draft] = []
    points = variants(table, axes, diagnostics.say) if axes else iter((Variant(table=table, ids=(), picks=()),))
    for variant in points:
        diagnostics.picks = variant.picks
        before = len(diagnostics)
        own = own_dims | {
            keys[1]: None for axis, _ in variant.picks if len(keys := axis.keys) > 1 and keys[0] == "dims"
        }
        reading = read_entry(variant.table, own, diagnostics.say)
        check_options(reading.compile, targets=reading.targets, known=known.options, say=diagnostics.say)
        check_type(reading.export, known.types, diagnostics.say)
        check_operators(reading.operators, known=known.operators, say=diagnostics.say)
        check_method(reading.export, root, diagnostics.say)
        if len(diagnostics) == before and type(raw.get("name")) is str:
            drafts += _expand(raw["name"], diagnostics, variant, reading)
    return drafts


def _expand(entry: str, diagnostics: EntryDiagnostics, variant: Variant, reading: Reading) -> Iterator[_Draft]:
    index = diagnostics.index
    for checkpoint, weights in reading.weights:
        export = reading.export_spec(weights)
        ids = variant.ids if checkpoint is None else (*variant.ids, checkpoint)
        for target in reading.targets:
            yield _Draft(
                name=names.job(entry, ids, target),
                index=index,
                entry=entry,
                target=target,
                export=export,
                reading=reading,
            )


def with_defaults(defaults: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return `table` merged over `defaults`: tables in both are merged in turn, otherwise `table` wins."""
    merged = {**defaults, **table}
    for key in defaults.keys() & table.keys():
        if type(defaults[key]) is dict and type(table[key]) is dict:
            merged[key] = with_defaults(defaults[key], table[key])
    return merged


def _check_names(entries: list[Any], drafts: list[_Draft], mistakes: Diagnostics) -> None:
    first: dict[str, int] = {}
    for index, raw in enumerate(entries):
        name = raw.get("name") if type(raw) is dict else None
        if type(name) is str and name and first.setdefault(name, index) != index:
            line = mistakes.line(("entry", first[name], "name"))
            mistakes.error_at(("entry", index, "name"), f"the entry on line {line} has this name too", "rename one")
    jobs: dict[str, int] = {}
    for draft in drafts:
        if draft.name in jobs and first.get(draft.entry) == draft.index:
            same = jobs[draft.name] == draft.index
            hint = "let its values differ in more than their type" if same else "rename the entry"
            mistakes.error_at(("entry", draft.index), f"a second job would be named {quoted(draft.name)}", hint)
        jobs.setdefault(draft.name, draft.index)


def _check_default_dims(defaults: Mapping[str, Any], drafts: list[_Draft], mistakes: Diagnostics) -> None:
    """Report a default dim that no entry uses; a single entry may leave it unused."""
    dims = defaults.get("dims")
    if not dims or type(dims) is not dict:
        return
    used: set[str] = set().union(*(draft.reading.used_dims for draft in drafts))
    for name in dims:
        if name not in used:
            hint = did_you_mean(name, used - dims.keys()) or "remove it"
            mistakes.error_at(("defaults", "dims", name), "unused dim: no entry uses it", hint, key=True)
