"""Traces: an export stands while every dependency of one of its traces does, and else the reason is told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.digests import bytes_digest
from batchexport.dependencies.checker import DependencyChecker
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.dependencies.traces import KEPT, TraceHit, TraceMiss, Traces
from batchexport.store.store import Store
from support import builders
from support.builders import key

ASK = key("ask")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def traces(store: Store, root: Path) -> Traces:
    """The traces as a new command finds them."""
    return Traces(store, builders.surroundings(store, root))


def depend(root: Path, **files: str) -> list[Dependency]:
    """Write files and depend on them."""
    for name, text in files.items():
        (root / name).write_text(text)
    return [Dependency(DependencyKind.FILE, name, (bytes_digest(text.encode()),)) for name, text in files.items()]


def standing(found: TraceHit | TraceMiss) -> str:
    assert isinstance(found, TraceHit), found
    return found.export_key


def reason(found: TraceHit | TraceMiss) -> str:
    assert isinstance(found, TraceMiss), found
    return found.reason


def test_what_was_never_built_does_not_stand(store: Store, root: Path) -> None:
    found = traces(store, root).find(ASK)
    assert found == TraceMiss(reason="never built", known=False)


def test_an_export_stands_while_its_dependencies_do(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1", b="2"), key("export"))
    assert standing(traces(store, root).find(ASK)) == key("export")


def test_an_export_without_any_dependency_stands(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, [], key("export"))
    assert standing(traces(store, root).find(ASK)) == key("export")


def test_a_trace_is_only_good_for_its_own_ask(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1"), key("export"))
    assert reason(traces(store, root).find(key("another ask"))) == "never built"


def test_the_reason_names_the_file_that_changed_and_counts_the_rest(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1", b="2", c="3"), key("export"))
    (root / "b").write_text("other")
    assert reason(traces(store, root).find(ASK)) == "data: b changed; 2 other inputs same"


def test_many_changes_are_told_in_short(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1", b="2", c="3", d="4", e="5"), key("export"))
    shutil.rmtree(root)
    assert reason(traces(store, root).find(ASK)) == "data: a is gone, data: b is gone, data: c is gone and 2 more"


def test_the_reason_is_that_of_the_newest_trace(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, old="1"), key("one"))
    traces(store, root).add(ASK, depend(root, new="1"), key("two"))
    shutil.rmtree(root)
    assert reason(traces(store, root).find(ASK)) == "data: new is gone"


def test_going_back_to_what_was_before_finds_what_was_built_before(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1"), key("one"))
    traces(store, root).add(ASK, depend(root, a="2"), key("two"))
    assert standing(traces(store, root).find(ASK)) == key("two")
    depend(root, a="1")
    assert standing(traces(store, root).find(ASK)) == key("one")


def test_the_same_dependencies_again_replace_their_trace(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    traces(store, root).add(ASK, dependencies, key("one"))
    traces(store, root).add(ASK, dependencies, key("two"))
    assert standing(traces(store, root).find(ASK)) == key("two")
    assert len(store.index.get("trace", ASK)) == 1  # type: ignore[arg-type]


def test_the_eight_newest_are_kept(store: Store, root: Path) -> None:
    assert KEPT == 8
    for number in range(KEPT + 1):
        traces(store, root).add(ASK, depend(root, a=str(number)), key(str(number)))
    for number in range(1, KEPT + 1):
        depend(root, a=str(number))
        assert standing(traces(store, root).find(ASK)) == key(str(number))
    depend(root, a="0")
    assert reason(traces(store, root).find(ASK)) == "data: a changed"


def test_a_set_that_many_jobs_share_is_looked_at_once(store: Store, root: Path) -> None:
    asks = [key(str(number)) for number in range(50)]
    dependencies = depend(root, a="1", b="2")
    first = traces(store, root)
    for ask in asks:
        first.add(ask, dependencies, key("export"))

    class Counting(DependencyChecker):
        looks = 0

        def change_reasons(self, dependencies: Any) -> list[str]:
            Counting.looks += 1
            return super().change_reasons(dependencies)

    counting = Counting(root=str(root), path=[], index=_Forgetful())
    found = Traces(store, counting)
    found.prefetch(asks)
    assert {standing(found.find(ask)) for ask in asks} == {key("export")}
    assert Counting.looks == 1


class _Forgetful:
    def get(self, *key: Any) -> None:
        return None

    def put(self, *row: Any) -> None:
        pass


def test_reading_ahead_changes_no_answer(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1"), key("export"))
    ahead = traces(store, root)
    ahead.prefetch([ASK, key("unknown")])
    assert standing(ahead.find(ASK)) == key("export")
    assert reason(ahead.find(key("unknown"))) == "never built"


def test_what_another_process_built_meanwhile_is_found_after_a_refresh(store: Store, root: Path) -> None:
    ours, theirs = traces(store, root), traces(store, root)
    ours.prefetch([ASK])
    assert reason(ours.find(ASK)) == "never built"
    theirs.add(ASK, depend(root, a="1"), key("export"))
    ours.refresh(ASK)
    assert standing(ours.find(ASK)) == key("export")


def test_a_trace_whose_set_is_gone_does_not_stand(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, depend(root, a="1"), key("export"))
    [[set_key, _]] = store.index.get("trace", ASK)  # type: ignore[misc]
    store.index.delete("set", set_key)
    assert "lost" in reason(traces(store, root).find(ASK))


def publish(store: Store, word: str, *, dependencies: list[Dependency], **data: Any) -> None:
    rows = [dependency.to_row() for dependency in dependencies]
    store.publish("export", key(word), files={}, data={**data, "dependencies": rows})


def lose_the_index(store: Store) -> Store:
    store.close()
    shutil.rmtree(store.layout.index, ignore_errors=True)
    return Store.open(store.layout.root)


def test_lost_traces_are_made_anew_from_the_records(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    traces(store, root)
    publish(store, "export", ask=ASK, dependencies=dependencies)
    publish(store, "of another ask", ask=key("other"), dependencies=dependencies)
    store = lose_the_index(store)
    assert standing(traces(store, root).find(ASK)) == key("export")
    assert standing(traces(store, root).find(key("other"))) == key("of another ask")


def test_an_uncacheable_export_leaves_a_record_and_never_a_trace(store: Store, root: Path) -> None:
    publish(store, "export", dependencies=depend(root, a="1"))
    assert reason(traces(lose_the_index(store), root).find(ASK)) == "never built"


def test_dropped_traces_stand_no_more_and_do_not_come_back_with_the_index(store: Store, root: Path) -> None:
    first = traces(store, root)
    for ask in (ASK, key("other")):
        first.add(ask, [], key("export"))
    publish(store, "export", ask=ASK, dependencies=[])
    store.publish("distrust", ASK, files={}, data={})
    first.drop(ASK)
    assert reason(first.find(ASK)) == "never built"
    assert reason(traces(store, root).find(ASK)) == "never built"
    assert standing(traces(store, root).find(key("other"))) == key("export")
    assert reason(traces(lose_the_index(store), root).find(ASK)) == "never built"


def test_a_damaged_record_is_passed_over(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    publish(store, "export", ask=ASK, dependencies=dependencies)
    publish(store, "whole", ask=key("other"), dependencies=dependencies)
    path = store.layout.record_path("export", key("export"))
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    store = lose_the_index(store)
    assert reason(traces(store, root).find(ASK)) == "never built"
    assert standing(traces(store, root).find(key("other"))) == key("whole")


def test_the_records_are_read_only_after_a_loss(store: Store, root: Path) -> None:
    traces(store, root)
    publish(store, "export", ask=ASK, dependencies=[])
    assert reason(traces(store, root).find(ASK)) == "never built", "who publishes adds the trace"


def test_without_an_index_the_records_still_decide(tmp_path: Path, root: Path) -> None:
    store = Store.open(tmp_path / "cache")
    publish(store, "export", ask=ASK, dependencies=depend(root, a="1"))
    store.close()
    shutil.rmtree(store.layout.index, ignore_errors=True)
    store.layout.index.mkdir()
    (store.layout.index / "cache.db").mkdir()  # what SQLite can't open
    store = Store.open(tmp_path / "cache")
    found = traces(store, root)
    found.prefetch([ASK])
    assert standing(found.find(ASK)) == key("export")


def weigh(root: Path, content: str) -> list[Dependency]:
    """A dependency on one source file and on weights of this content."""
    (root / "w").write_text(content)
    return [*depend(root, a="1"), Dependency(DependencyKind.WEIGHTS, "w", (bytes_digest(content.encode()),))]


def but_for_weights(found: TraceHit | TraceMiss) -> str | None:
    assert isinstance(found, TraceMiss)
    return found.weights_only_base


def test_an_export_whose_weights_alone_are_new_can_be_told(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, weigh(root, "1"), key("one"))
    (root / "w").write_text("2")
    found = traces(store, root).find(ASK)
    assert reason(found) == "weights: w changed; 1 other inputs same"
    assert but_for_weights(found) == key("one")


def test_an_export_that_stands_or_has_other_changes_is_no_such_export(store: Store, root: Path) -> None:
    traces(store, root).add(ASK, weigh(root, "1"), key("one"))
    assert standing(traces(store, root).find(ASK)) == key("one")
    (root / "w").write_text("2")
    (root / "a").write_text("2")
    assert but_for_weights(traces(store, root).find(ASK)) is None
