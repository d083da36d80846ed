"""Record what model code and its libraries ask about paths, variables, distributions and the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from batchexport.dependencies import machine
from batchexport.dependencies.answers import SESSION, exists, link_text, listed_kinds, stat_answer
from batchexport.dependencies.installed import ALL_DISTRIBUTIONS
from batchexport.dependencies.observations import Observations
from batchexport.dependencies.zones import (
    Zone,
    Zones,
    asked_by_model,
    called_by_model_or_library,
    calling_zone,
    direct_caller,
    within,
)

# Libraries look there for files and programs. Paths made of them are covered by the dependency on the location.
_OF_LIBRARIES = frozenset(["HOME", "PATH"])
# Their listings and stats are not dependencies: they look through every folder of the path to find one module, which
# `paths.shadowing_paths` covers, or to find the installed distributions.
LISTERS = ("<frozen importlib", "/importlib/metadata/", "/importlib_metadata/", "/pkg_resources/")
_PSEUDO = ("/proc/", "/sys/", "/dev/")


class Asked:
    """Records questions and their answers in `seen` while `active`; implements `path_hooks.PathObserver`.

    `given` is the environment that this process was started with, `own` the variables in it that batchexport sets.
    """

    def __init__(self, seen: Observations, given: Mapping[str, str], own: frozenset[str]) -> None:
        self.active = False
        self._seen = seen
        self._given = given
        self._own = own
        self._untracked = {*SESSION, *own}

    @property
    def _zones(self) -> Zones:
        return self._seen.zones

    def _counts(self, path: str) -> bool:
        """Return True if a question about `path` counts whoever asks; the folders above the root are the location's."""
        zone = self._zones.of(path)
        if zone is Zone.SYSTEM:
            return not path.startswith(_PSEUDO)
        return zone is Zone.FIRST and not any(within(root, path) for root in (self._seen.root, self._seen.real_root))

    # ── paths ────────────────────────────────────────────────────────────────────────────────────

    def ignores(self, given: object) -> bool:
        """Return True if nothing that is asked of this path counts."""
        return self._zones.surely_installed(given)

    def on_stat(self, path: str, question: str, status: os.stat_result | None) -> None:
        """Record one question to a stat and its answer; None: there is nothing at `path`."""
        if not self.active or (path, question) in self._seen.stats or not self._counts(path):
            return
        known = self._seen.absent if status is None else self._seen.present
        if question.endswith("exists") and path in known:
            return
        if not called_by_model_or_library(self._zones) or self._seen.own.has(path):
            return
        caller = direct_caller(self._zones)
        if any(word in caller for word in LISTERS):
            return
        if question.endswith("mode") and self._zones.of(caller) is Zone.STDLIB:
            question = question.replace("mode", "kind")  # `os.path.isdir` and the like look at nothing else
        if status is None or (question.endswith("exists") and exists(path)):
            known.add(path)
        else:
            self._seen.stats.setdefault((path, question), stat_answer(question, status))

    def on_link(self, path: str) -> None:
        """Record the text of a link."""
        new = self.active and path not in self._seen.links and self._counts(path)
        if new and called_by_model_or_library(self._zones):
            self._seen.links[path] = link_text(path)

    def on_kinds(self, folder: str) -> None:
        """Record the kinds of the entries of a folder."""
        new = self.active and folder not in self._seen.kinds and self._zones.of(folder) is Zone.FIRST
        if new and called_by_model_or_library(self._zones):
            self._seen.kinds[folder] = listed_kinds(folder, self._seen.own)

    def on_access(self, path: str, mode: int, answer: bool) -> None:
        """Record the answer of `os.access`."""
        new = self.active and (path, str(mode)) not in self._seen.accesses and self._counts(path)
        if new and called_by_model_or_library(self._zones) and not self._seen.own.has(path):
            (self._seen.present if exists(path) else self._seen.absent).add(path)
            if mode != os.F_OK and exists(path):
                self._seen.accesses[path, str(mode)] = answer

    # ── environment ──────────────────────────────────────────────────────────────────────────────

    def on_variable(self, key: Any, value: Any) -> None:
        """Record the value that a variable was given; what a library has made of it since follows from that."""
        if not self.active:
            return
        name = os.fsdecode(key)
        if name in self._untracked or name in self._seen.environment:
            return
        zone = calling_zone(self._zones, skip_torch=True)
        if zone is Zone.FIRST or (zone is Zone.THIRD and name not in _OF_LIBRARIES):
            self._seen.environment[name] = self._given.get(name)

    def on_variable_set(self, key: Any) -> None:
        """Stop tracking a variable that this process sets itself."""
        if self.active:
            self._untracked.add(os.fsdecode(key))

    def on_variables(self) -> None:
        """Record the names of all variables that were given."""
        if self.active and self._seen.variables is None and called_by_model_or_library(self._zones):
            self._seen.variables = frozenset(self._given)
            self._seen.own_variables = self._own

    # ── distributions ────────────────────────────────────────────────────────────────────────────

    def on_distribution(self, name: str) -> None:
        """Record that the metadata of a distribution was asked for."""
        if not self.active:
            return
        if asked_by_model(self._zones):
            self._seen.distributions.add(name)
        if called_by_model_or_library(self._zones):
            self._seen.metadata.add(name)

    def on_all_distributions(self) -> None:
        """Record that model code asked for all distributions. Libraries that do so look for a few by their names."""
        if self.active and asked_by_model(self._zones):
            self._seen.installed.add(ALL_DISTRIBUTIONS)

    def on_entry_points(self, group: str | None) -> None:
        """Record that the entry points of a group were asked for, or of all groups."""
        if group is None:
            self.on_all_distributions()
        elif self.active and called_by_model_or_library(self._zones):
            self._seen.entry_points.add(group)

    def on_missing_module(self, name: str) -> None:
        """Record that no top-level module of this name can be imported."""
        if not self.active:
            return
        self._seen.missing_modules.add(name)
        for entry in sys.path:
            if entry not in self._seen.initial_sys_path:  # model code added it, so the coordinator doesn't know it
                self._seen.record_missing_module(name, entry)

    def on_missing_submodule(self, stem: str, folder: str) -> None:
        """Record that the package folder `folder` contains no module of this name."""
        if self.active:
            self._seen.record_missing_module(stem, folder)

    # ── processes and the network ────────────────────────────────────────────────────────────────

    def on_program(self, *args: Any) -> None:
        """Record that model code starts another program, by itself or through a library."""
        if not self.active:
            return
        if calling_zone(self._zones) is Zone.FIRST:
            self._seen.uncacheable.setdefault("model code runs another program")
        elif asked_by_model(self._zones):
            self._seen.uncacheable.setdefault("a library that model code calls runs another program")

    def on_fork(self) -> None:
        """Record that a process is forked."""
        self._seen.uncacheable.setdefault("it forks a process whose reads can't be tracked")

    def on_connection(self, sock: Any, address: Any) -> None:
        """Record that a network connection is opened; Unix sockets do not count."""
        if isinstance(address, tuple):
            self._seen.uncacheable.setdefault("the network is read")

    # ── machine ──────────────────────────────────────────────────────────────────────────────────

    def on_machine(self, question: str) -> None:
        """Record a fact about the machine that model code asked for."""
        if self.active and question not in self._seen.machine and asked_by_model(self._zones):
            self._seen.machine[question] = machine.answer(question) or ""

    def on_unrepeatable(self, reason: str) -> None:
        """Record that model code asked for what has no lasting answer."""
        if self.active and asked_by_model(self._zones):
            self._seen.uncacheable.setdefault(reason)


def initial_environment() -> dict[str, str]:
    """Return the environment that this process was started with, whatever libraries have set since (Linux, proc(5))."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [line.partition(b"=") for line in file.read().split(b"\0") if b"=" in line]
    except OSError:
        return dict(os.environ)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
