"""Turn what the observer recorded into dependencies, once the stage is done.

Everything recorded is compared with the present state: a file that changed meanwhile ends the stage with
`InputChanged`, and whatever can't be described as a dependency makes the stage uncacheable.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from batchexport.dependencies import collect_answers
from batchexport.dependencies.answers import NO, current_stat, exists, listed_kinds, listing, read_error
from batchexport.dependencies.dependency import Dependency, DependencyKind, canonical_order
from batchexport.dependencies.installed import NO_DISTRIBUTION, PYTHON, installed, installed_digest
from batchexport.dependencies.observations import InputChanged, Observations
from batchexport.dependencies.paths import (
    digest_or_none,
    folder_of_module,
    import_candidates,
    is_newer,
    missing_paths,
    module_path,
    shadowing_paths,
    signature,
)
from batchexport.dependencies.preloaded import PRELOADED
from batchexport.dependencies.zones import Zone

LAG_NS = 100_000_000  # the file system's clock lags a little behind
_SINCE = time.time_ns() - LAG_NS  # modules loaded before the observer don't show edits made after this


def dependencies(seen: Observations) -> list[Dependency]:
    """Return all dependencies that were observed, in canonical order.

    Raises:
        InputChanged: if a file has changed since the stage read it.
    """
    found = [*_modules(seen), *_sources(seen), *_files(seen), *_folders(seen), *_missing_modules(seen)]
    return canonical_order([*found, *collect_answers.answers(seen, found, installed().version)])


def _modules(seen: Observations) -> list[Dependency]:
    """Return the distributions of loaded modules; record the paths that would have been imported instead of them."""
    found: list[Dependency] = []
    paths = set(seen.third_party_files)
    distributions = set(seen.distributions)
    for name, module in list(sys.modules.items()):
        known = PRELOADED.get(name, module)
        if known is not None and known.owners and seen.zones.surely_installed(known.path):
            distributions.update(known.owners)
            continue
        path = module_path(name, module) if known is None else known.path
        if path is None:
            found += _namespace(seen, name, module)
            continue
        zone = seen.zones.of(path)
        if zone is Zone.FIRST:
            candidates = shadowing_paths(name, path)
            seen.absent |= missing_paths(candidates)
            _refuse_new(seen, candidates)
            if path not in seen.sources:
                _record_loaded(seen, path, preloaded=name in seen.preloaded_modules)
        elif zone is Zone.THIRD:
            paths.add(path)
        if zone in (Zone.THIRD, Zone.STDLIB) and "." not in name and name not in seen.preloaded_modules:
            seen.absent |= _first_party_shadows(seen, name, path)
    return [*found, *_distributions(seen, distributions, paths), *_imported(seen)]


def _distributions(seen: Observations, names: Iterable[str], paths: Iterable[str]) -> Iterator[Dependency]:
    """Yield the distributions of these names and those that own these files; record files that are in none."""
    owned = {one.name: one for one in map(installed().get, names) if one is not None}
    for path in paths:
        owners = installed().of_file(path)
        if not owners and os.path.exists(path):
            seen.record_read(path)
        owned.update((owner.name, owner) for owner in owners)
    for name, found in owned.items():
        yield Dependency(DependencyKind.DISTRIBUTION, name, (found.version, installed_digest(found.record)))


def _imported(seen: Observations) -> Iterator[Dependency]:
    """Yield the installed modules that this stage imported, by distribution; all stages share the fork server's."""
    names: dict[str, list[str]] = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name in seen.preloaded_modules or (path := module_path(name, module)) is None:
            continue
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        zone = seen.zones.of(path)
        if zone is Zone.STDLIB and origin not in ("frozen", "built-in"):
            names.setdefault(PYTHON, []).append(name)
        elif zone is Zone.THIRD:
            owners = installed().of_file(path)
            names.setdefault(owners[0].name if owners else NO_DISTRIBUTION, []).append(name)
    for owned_by, modules in names.items():
        yield Dependency(DependencyKind.MODULES, owned_by, (" ".join(sorted(modules)),))


def _record_loaded(seen: Observations, path: str, *, preloaded: bool) -> None:
    """Record the file of a module that the loader hook did not load, as read now."""
    now = signature(path)
    if preloaded and now is not None and max(now[-2:]) >= _SINCE:
        seen.uncacheable.setdefault(f"{path} was edited after this process had loaded it")
    seen.read.setdefault(path, now)


def _first_party_shadows(seen: Observations, name: str, path: str) -> set[str]:
    """Return missing files that, if created, would be imported instead of an installed module.

    They are those in folders that model code added to the import path; `_imported` covers the others.
    """
    shadows: set[str] = set()
    for entry in map(os.path.abspath, sys.path):
        if entry == folder_of_module(path):
            break
        if entry not in seen.initial_sys_path and seen.is_first(entry):
            base = os.path.join(entry, name)
            shadows |= {base + ".py", os.path.join(base, "__init__.py")}
    return missing_paths(shadows)


def _namespace(seen: Observations, name: str, module: Any) -> list[Dependency]:
    """Return a dependency on a first-party namespace package, which any module of its name would replace."""
    paths = getattr(module, "__dict__", {}).get("__path__", ())
    portions = [os.path.abspath(portion) for portion in paths]
    first = [portion for portion in portions if seen.is_first(portion)]
    for base in first:
        seen.absent |= missing_paths(import_candidates(base))
    alone = "." not in name and all(os.path.dirname(portion) == seen.root for portion in portions)
    return [Dependency(DependencyKind.NAMESPACE, name)] if first and alone else []


def _sources(seen: Observations) -> list[Dependency]:
    found: list[Dependency] = []
    for path, (source, tree) in seen.sources.items():
        if digest_or_none(path) != source:
            raise InputChanged(path)
        found.append(Dependency(DependencyKind.SOURCE, path, (source, tree)))
    return found


def _files(seen: Observations) -> list[Dependency]:
    """Return the files that were read, the paths that did not exist, and those that were only probed."""
    found: list[Dependency] = []
    files: dict[str, str] = {}
    for path, then in seen.read.items():
        if then is None:
            seen.absent.add(path)
            continue
        if exists(path) and not os.path.isfile(path):
            if os.path.isdir(path):
                seen.stats.setdefault((path, "kind"), current_stat("kind", path))
            continue
        content = digest_or_none(path)
        if content is not None and signature(path) == then:
            files[path] = content
        elif content is None and signature(path) == then and (error := read_error(path)) is not None:
            found.append(Dependency(DependencyKind.UNREADABLE, path, (error,)))
        elif path in seen.written:
            seen.uncacheable.setdefault(f"{path} is read and then written")
        else:
            raise InputChanged(path)
    found += _absent(seen, files)
    for path, content in files.items():
        kind = DependencyKind.WEIGHTS if path in seen.weights else DependencyKind.FILE
        found.append(Dependency(kind, path, (content,)))
    asked = {path for path, _ in seen.stats}
    return [*found, *_present(seen, {*files, *seen.sources, *seen.listed, *seen.written, *seen.absent, *asked})]


def _absent(seen: Observations, files: dict[str, str]) -> Iterator[Dependency]:
    """Yield the paths that did not exist; add to `files` those that the stage wrote after it had looked for them."""
    for path in seen.absent:
        if not os.path.lexists(path):
            yield Dependency(DependencyKind.ABSENT, path)
        elif not exists(path):  # a link to nothing
            yield Dependency(DependencyKind.STAT, path, ("exists", NO))
        elif path in seen.written and os.path.isfile(path):
            # Probed, then written by the stage: had the file existed, the stage would have read it.
            files.setdefault(path, digest_or_none(path) or "")
        elif os.path.isfile(path) and not seen.is_own(path):
            raise InputChanged(path)


def _present(seen: Observations, known: set[str]) -> list[Dependency]:
    found: list[Dependency] = []
    for path in seen.present - known:
        if not exists(path) and not seen.is_own(path):
            raise InputChanged(path)
        if exists(path):
            found.append(Dependency(DependencyKind.PRESENT, path))
    return found


def _folders(seen: Observations) -> list[Dependency]:
    found: list[Dependency] = []
    for path, names in seen.listed.items():
        if path in seen.absent or (path in seen.written and not os.path.isdir(path)):
            continue
        if path not in seen.filled and os.path.isdir(path) and listing(path, seen.own) != names:
            raise InputChanged(path)
        found.append(Dependency(DependencyKind.LISTING, path, (names,)))
    for path, kinds in seen.kinds.items():
        if path in seen.written and not os.path.isdir(path):
            continue
        if path not in seen.filled and listed_kinds(path, seen.own) != kinds:
            raise InputChanged(path)
        found.append(Dependency(DependencyKind.KINDS, path, (kinds,)))
    return found


def _missing_modules(seen: Observations) -> list[Dependency]:
    names = seen.missing_modules - sys.modules.keys()
    for entry in filter(seen.is_first, map(os.path.abspath, sys.path)):
        for name in names & _stems(entry):
            _refuse_new(seen, import_candidates(os.path.join(entry, name)))
    return [Dependency(DependencyKind.NO_MODULE, name) for name in names]


def _stems(folder: str) -> set[str]:
    """Return the names of the entries of a folder up to the first dot; none where it can't be listed."""
    try:
        return {name.partition(".")[0] for name in os.listdir(folder)}
    except OSError:
        return set()


def _refuse_new(seen: Observations, candidates: set[str]) -> None:
    """Raise InputChanged if a file that would be imported instead was created after the stage began."""
    for path in candidates - seen.written:
        if is_newer(path, seen.since):
            raise InputChanged(path)
