"""Turn what the observer recorded into dependencies, once the stage is done.

Everything recorded is compared with the present state: a file that changed meanwhile ends the stage with
`InputChanged`, and whatever can't be described as a dependency makes the stage uncacheable.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache
from typing import Any

from batchexport.core.digests import listing_digest
from batchexport.dependencies.dependency import Dependency, DependencyKind, canonical_order
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
from batchexport.dependencies.zones import Zone, third_party_roots, within
from batchexport.toolchain.distributions import Distributions

LAG_NS = 100_000_000  # the file system's clock lags a little behind
_SINCE = time.time_ns() - LAG_NS  # modules loaded before the observer don't show edits made after this


@cache
def installed() -> Distributions:
    """Return the installed distributions. The fork server reads them once for all its children."""
    return Distributions(third_party_roots())


def dependencies(seen: Observations) -> list[Dependency]:
    """Return all dependencies that were observed, in canonical order.

    Raises:
        InputChanged: if a file has changed since the stage read it.
    """
    found = [*_modules(seen), *_sources(seen), *_files(seen), *_folders(seen), *_missing_modules(seen)]
    found += [Dependency(DependencyKind.ENVIRONMENT, name, (digest,)) for name, digest in seen.environment.items()]
    return canonical_order(found)


def _modules(seen: Observations) -> list[Dependency]:
    """Return the distributions of loaded modules; record the paths that would have been imported instead of them."""
    found: list[Dependency] = []
    distributions: dict[str, Dependency] = {}
    paths = set(seen.third_party_files)
    for name, module in list(sys.modules.items()):
        path = module_path(name, module)
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
    for path in paths:
        owners = installed().of_file(path)
        if not owners and os.path.exists(path):
            seen.record_read(path)
        for owner in owners:
            if owner.name not in distributions:  # thousands of paths are torch's, whose RECORD takes long to hash
                recorded = (owner.version, owner.digest)
                distributions[owner.name] = Dependency(DependencyKind.DISTRIBUTION, owner.name, recorded)
    return [*found, *distributions.values()]


def _record_loaded(seen: Observations, path: str, *, preloaded: bool) -> None:
    """Record the file of a module that the loader hook did not load, as read now."""
    now = signature(path)
    if preloaded and now is not None and max(now[-2:]) >= _SINCE:
        seen.uncacheable.setdefault(f"{path} was edited after this process had loaded it")
    seen.read.setdefault(path, now)


def _first_party_shadows(seen: Observations, name: str, path: str) -> set[str]:
    """Return missing first-party files that, if created, would be imported instead of an installed module."""
    shadows: set[str] = set()
    for entry in map(os.path.abspath, sys.path):
        if entry == folder_of_module(path):
            break
        if seen.is_first(entry):
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
        if os.path.exists(path) and not os.path.isfile(path):
            continue  # a folder or a device
        content = digest_or_none(path)
        if content is not None and signature(path) == then:
            files[path] = content
        elif path in seen.written:
            seen.uncacheable.setdefault(f"{path} is read and then written")
        else:
            raise InputChanged(path)
    for path in seen.absent:
        if not os.path.lexists(path):
            found.append(Dependency(DependencyKind.ABSENT, path))
        elif path in seen.written and os.path.isfile(path):
            # Probed, then written by the stage: had the file existed, the stage would have read it.
            files.setdefault(path, digest_or_none(path) or "")
        elif os.path.isfile(path) and not _is_own(seen, path):
            raise InputChanged(path)
    for path, content in files.items():
        kind = DependencyKind.WEIGHTS if path in seen.weights else DependencyKind.FILE
        found.append(Dependency(kind, path, (content,)))
    return [*found, *_present(seen, {*files, *seen.sources, *seen.listed, *seen.written, *seen.absent})]


def _present(seen: Observations, known: set[str]) -> list[Dependency]:
    found: list[Dependency] = []
    for path in seen.present - known:
        if not os.path.lexists(path) and not _is_own(seen, path):
            raise InputChanged(path)
        if os.path.lexists(path) and not within(seen.root, path):
            found.append(Dependency(DependencyKind.PRESENT, path))
    return found


def _is_own(seen: Observations, path: str) -> bool:
    """Return True if this stage wrote `path` or a folder above it, or ran programs that may have."""
    return bool(seen.uncacheable) or any(within(path, made) for made in seen.written)


def _folders(seen: Observations) -> list[Dependency]:
    found: list[Dependency] = []
    filled = {os.path.dirname(path) for path in seen.written}
    for path, names in seen.listed.items():
        if path in seen.absent:
            continue
        if path not in filled and os.path.isdir(path) and listing_digest(path) != names:
            raise InputChanged(path)
        found.append(Dependency(DependencyKind.LISTING, path, (names,)))
    return found


def _missing_modules(seen: Observations) -> list[Dependency]:
    names = seen.missing_modules - sys.modules.keys()
    for name in names:
        first = [entry for entry in map(os.path.abspath, sys.path) if seen.is_first(entry)]
        _refuse_new(seen, {path for entry in first for path in import_candidates(os.path.join(entry, name))})
    return [Dependency(DependencyKind.NO_MODULE, name) for name in names]


def _refuse_new(seen: Observations, candidates: set[str]) -> None:
    """Raise InputChanged if a file that would be imported instead was created after the stage began."""
    for path in candidates - seen.written:
        if is_newer(path, seen.since):
            raise InputChanged(path)
