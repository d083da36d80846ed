"""Traces: an export is reused while all dependencies of one of its traces are unchanged, else the reason is given."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.digests import bytes_digest
from batchexport.dependencies.checker import DependencyChecker
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.dependencies.traces import KEPT, TraceHit, TraceMiss, Traces
from batchexport.store.gc import collect
from batchexport.store.store import Store
from support import builders
from support.builders import key

REQUEST = key("request")


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
    return Traces(store, builders.checker(store, root))


def depend(root: Path, **files: str) -> list[Dependency]:
    """Write files and depend on them."""
    for name, text in files.items():
        (root / name).write_text(text)
    return [Dependency(DependencyKind.FILE, name, (bytes_digest(text.encode()),)) for name, text in files.items()]


def hit(found: TraceHit | TraceMiss) -> str:
    assert isinstance(found, TraceHit), found
    return found.export_key


def reason(found: TraceHit | TraceMiss) -> str:
    assert isinstance(found, TraceMiss), found
    return found.reason


def test_a_request_that_was_never_built_is_a_miss(store: Store, root: Path) -> None:
    found = traces(store, root).find(REQUEST)
    assert found == TraceMiss(reason="never built", known=False)


def test_an_export_is_a_hit_while_its_dependencies_are_unchanged(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1", b="2"), key("export"))
    assert hit(traces(store, root).find(REQUEST)) == key("export")


def test_an_export_without_dependencies_is_a_hit(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, [], key("export"))
    assert hit(traces(store, root).find(REQUEST)) == key("export")


def test_a_trace_is_only_found_under_its_own_request_key(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1"), key("export"))
    assert reason(traces(store, root).find(key("another request"))) == "never built"


def test_the_reason_names_the_file_that_changed_and_counts_the_rest(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1", b="2", c="3"), key("export"))
    (root / "b").write_text("other")
    assert reason(traces(store, root).find(REQUEST)) == "data: b changed; 2 other inputs same"


def test_only_the_first_of_many_changes_are_named(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1", b="2", c="3", d="4", e="5"), key("export"))
    shutil.rmtree(root)
    assert reason(traces(store, root).find(REQUEST)) == "data: a is gone, data: b is gone, data: c is gone and 2 more"


def test_the_reason_is_that_of_the_newest_trace(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, old="1"), key("one"))
    traces(store, root).add(REQUEST, depend(root, new="1"), key("two"))
    shutil.rmtree(root)
    assert reason(traces(store, root).find(REQUEST)) == "data: new is gone"


def test_reverted_files_find_the_export_built_from_them(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1"), key("one"))
    traces(store, root).add(REQUEST, depend(root, a="2"), key("two"))
    assert hit(traces(store, root).find(REQUEST)) == key("two")
    depend(root, a="1")
    assert hit(traces(store, root).find(REQUEST)) == key("one")


def test_the_same_dependencies_again_replace_their_trace(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    traces(store, root).add(REQUEST, dependencies, key("one"))
    traces(store, root).add(REQUEST, dependencies, key("two"))
    assert hit(traces(store, root).find(REQUEST)) == key("two")
    assert len(store.index.get("trace", REQUEST)) == 1  # type: ignore[arg-type]


def test_every_state_of_a_job_is_a_hit_again_however_many_were_built(store: Store, root: Path) -> None:
    """As a user does who visits twenty branches in turn, and then again."""
    for number in range(20):
        traces(store, root).add(REQUEST, depend(root, a=str(number)), key(str(number)))
    for number in [*range(20), *range(20)]:
        depend(root, a=str(number))
        found = traces(store, root)
        found.prefetch([REQUEST])
        assert hit(found.find(REQUEST)) == key(str(number))


def test_the_last_used_trace_is_tried_first_and_others_keep_their_order(store: Store, root: Path) -> None:
    for number in range(4):
        traces(store, root).add(REQUEST, depend(root, a=str(number)), key(str(number)))
    depend(root, a="1")
    found = traces(store, root)
    assert hit(found.find(REQUEST)) == hit(found.find(REQUEST)) == key("1")
    assert [export for _, export in store.index.get("trace", REQUEST) or ()] == [key(word) for word in "1320"]


def test_a_hit_on_the_first_trace_writes_nothing(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        traces(store, root).add(REQUEST, depend(root, a=str(number)), key(str(number)))
    found = traces(store, root)
    monkeypatch.setattr(type(store.index), "update", None)
    assert hit(found.find(REQUEST)) == key("1")


def test_a_trace_that_another_process_added_stays_when_an_older_one_moves_to_the_front(
    store: Store, root: Path
) -> None:
    for word in ("one", "two"):
        traces(store, root).add(REQUEST, depend(root, a=word), key(word))
    depend(root, a="one")
    ours = traces(store, root)
    ours.prefetch([REQUEST])
    traces(store, root).add(REQUEST, depend(root, a="three"), key("three"))
    depend(root, a="one")
    assert hit(ours.find(REQUEST)) == key("one")
    assert [export for _, export in store.index.get("trace", REQUEST) or ()] == [
        key(word) for word in ("one", "three", "two")
    ]


def test_traces_that_were_dropped_meanwhile_do_not_come_back_when_one_moves_to_the_front(
    store: Store, root: Path
) -> None:
    for word in ("one", "two"):
        traces(store, root).add(REQUEST, depend(root, a=word), key(word))
    depend(root, a="one")
    ours = traces(store, root)
    ours.prefetch([REQUEST])
    traces(store, root).drop(REQUEST)
    assert hit(ours.find(REQUEST)) == key("one")
    assert store.index.get("trace", REQUEST) is None


def test_the_traces_of_one_request_are_bounded(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT >= 256
    monkeypatch.setattr("batchexport.dependencies.traces.KEPT", 12)
    for number in range(13):
        traces(store, root).add(REQUEST, depend(root, a=str(number)), key(str(number)))
    for number in range(1, 13):
        depend(root, a=str(number))
        assert hit(traces(store, root).find(REQUEST)) == key(str(number))
    depend(root, a="0")
    assert reason(traces(store, root).find(REQUEST)) == "data: a changed"


def test_gc_drops_the_traces_and_sets_of_the_exports_that_it_evicts(store: Store, root: Path) -> None:
    traces(store, root)
    for number in range(20):
        dependencies = depend(root, a=str(number))
        publish(store, str(number), ask=REQUEST, dependencies=dependencies)
        traces(store, root).add(REQUEST, dependencies, key(str(number)))
    old = time.time() - 5 * 86400
    for number in range(10):
        os.utime(store.layout.record_path("export", key(str(number))), (old, old))
    store.close()
    assert collect(store.layout.root, max_size=None, max_age=86400.0, dry_run=False).removed == {"export": 10}
    left = store.index.get("trace", REQUEST)
    assert left is not None
    assert [export for _, export in left] == [key(str(number)) for number in reversed(range(10, 20))]
    assert set(store.index.keys("set")) == {set_key for set_key, _ in left}
    for number in range(20):
        depend(root, a=str(number))
        found = traces(store, root).find(REQUEST)
        assert isinstance(found, TraceHit) == (number >= 10)


def test_a_set_that_many_jobs_share_is_checked_once(store: Store, root: Path) -> None:
    requests = [key(str(number)) for number in range(50)]
    dependencies = depend(root, a="1", b="2")
    first = traces(store, root)
    for request in requests:
        first.add(request, dependencies, key("export"))

    class Counting(DependencyChecker):
        checks = 0

        def change_reasons(self, dependencies: Any) -> list[str]:
            Counting.checks += 1
            return super().change_reasons(dependencies)

    counting = Counting(root=str(root), path=[], index=_NoIndex())
    found = Traces(store, counting)
    found.prefetch(requests)
    assert {hit(found.find(request)) for request in requests} == {key("export")}
    assert Counting.checks == 1


class _NoIndex:
    def get(self, *key: Any) -> None:
        return None

    def put(self, *row: Any) -> None:
        pass


def test_a_prefetch_changes_no_answer(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1"), key("export"))
    prefetched = traces(store, root)
    prefetched.prefetch([REQUEST, key("unknown")])
    assert hit(prefetched.find(REQUEST)) == key("export")
    assert reason(prefetched.find(key("unknown"))) == "never built"


def test_what_another_process_built_meanwhile_is_found_after_a_refresh(store: Store, root: Path) -> None:
    ours, theirs = traces(store, root), traces(store, root)
    ours.prefetch([REQUEST])
    assert reason(ours.find(REQUEST)) == "never built"
    theirs.add(REQUEST, depend(root, a="1"), key("export"))
    ours.refresh(REQUEST)
    assert hit(ours.find(REQUEST)) == key("export")


def test_a_trace_whose_set_is_gone_is_a_miss(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend(root, a="1"), key("export"))
    [[set_key, _]] = store.index.get("trace", REQUEST)  # type: ignore[misc]
    store.index.delete("set", set_key)
    assert "lost" in reason(traces(store, root).find(REQUEST))


def publish(store: Store, word: str, *, dependencies: list[Dependency], **data: Any) -> None:
    rows = [dependency.to_row() for dependency in dependencies]
    store.publish("export", key(word), files={}, data={**data, "dependencies": rows})


def lose_the_index(store: Store) -> Store:
    store.close()
    shutil.rmtree(store.layout.index, ignore_errors=True)
    return Store.open(store.layout.root)


def test_lost_traces_are_rebuilt_from_the_records(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    traces(store, root)
    publish(store, "export", ask=REQUEST, dependencies=dependencies)
    publish(store, "of another request", ask=key("other"), dependencies=dependencies)
    store = lose_the_index(store)
    assert hit(traces(store, root).find(REQUEST)) == key("export")
    assert hit(traces(store, root).find(key("other"))) == key("of another request")


def test_an_uncacheable_export_leaves_a_record_and_never_a_trace(store: Store, root: Path) -> None:
    publish(store, "export", dependencies=depend(root, a="1"))
    assert reason(traces(lose_the_index(store), root).find(REQUEST)) == "never built"


def test_dropped_traces_do_not_come_back_when_the_index_is_rebuilt(store: Store, root: Path) -> None:
    first = traces(store, root)
    for request in (REQUEST, key("other")):
        first.add(request, [], key("export"))
    publish(store, "export", ask=REQUEST, dependencies=[])
    store.publish("distrust", REQUEST, files={}, data={})
    first.drop(REQUEST)
    assert reason(first.find(REQUEST)) == "never built"
    assert reason(traces(store, root).find(REQUEST)) == "never built"
    assert hit(traces(store, root).find(key("other"))) == key("export")
    assert reason(traces(lose_the_index(store), root).find(REQUEST)) == "never built"


def test_a_damaged_record_is_skipped(store: Store, root: Path) -> None:
    dependencies = depend(root, a="1")
    publish(store, "export", ask=REQUEST, dependencies=dependencies)
    publish(store, "whole", ask=key("other"), dependencies=dependencies)
    path = store.layout.record_path("export", key("export"))
    path.write_bytes(path.read_bytes().replace(b'"a"', b'"b"'))
    store = lose_the_index(store)
    assert reason(traces(store, root).find(REQUEST)) == "never built"
    assert hit(traces(store, root).find(key("other"))) == key("whole")


def test_the_records_are_read_only_after_the_index_was_lost(store: Store, root: Path) -> None:
    traces(store, root)
    publish(store, "export", ask=REQUEST, dependencies=[])
    assert reason(traces(store, root).find(REQUEST)) == "never built", "the publisher adds the trace"


def test_without_an_index_the_records_still_decide(tmp_path: Path, root: Path) -> None:
    store = Store.open(tmp_path / "cache")
    publish(store, "export", ask=REQUEST, dependencies=depend(root, a="1"))
    store.close()
    shutil.rmtree(store.layout.index, ignore_errors=True)
    store.layout.index.mkdir()
    (store.layout.index / "cache.db").mkdir()  # what SQLite can't open
    store = Store.open(tmp_path / "cache")
    found = traces(store, root)
    found.prefetch([REQUEST])
    assert hit(found.find(REQUEST)) == key("export")


def depend_on_weights(root: Path, content: str) -> list[Dependency]:
    """Write weights of this content; depend on them and on a source file."""
    (root / "w").write_text(content)
    return [*depend(root, a="1"), Dependency(DependencyKind.WEIGHTS, "w", (bytes_digest(content.encode()),))]


def weights_only_base(found: TraceHit | TraceMiss) -> str | None:
    assert isinstance(found, TraceMiss)
    return found.weights_only_base


def test_an_export_whose_weights_alone_changed_is_the_base(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend_on_weights(root, "1"), key("one"))
    (root / "w").write_text("2")
    found = traces(store, root).find(REQUEST)
    assert reason(found) == "weights: w changed; 1 other inputs same"
    assert weights_only_base(found) == key("one")


def test_an_unchanged_export_or_one_with_other_changes_is_no_base(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend_on_weights(root, "1"), key("one"))
    assert hit(traces(store, root).find(REQUEST)) == key("one")
    (root / "w").write_text("2")
    (root / "a").write_text("2")
    assert weights_only_base(traces(store, root).find(REQUEST)) is None


def test_an_export_far_back_whose_weights_alone_changed_is_the_base(store: Store, root: Path) -> None:
    traces(store, root).add(REQUEST, depend_on_weights(root, "1"), key("base"))
    for number in range(2, 22):
        traces(store, root).add(REQUEST, depend(root, a=str(number)), key(str(number)))
    (root / "w").write_text("2")
    depend(root, a="1")
    found = traces(store, root)
    found.prefetch([REQUEST])
    assert weights_only_base(found.find(REQUEST)) == key("base")


def test_of_rebuilt_traces_the_last_used_is_tried_first(store: Store, root: Path) -> None:
    traces(store, root)
    for days, word in enumerate(("one", "three", "two")):
        publish(store, word, ask=REQUEST, dependencies=depend(root, a=word))
        used = time.time() - 86400 * (3 - days)
        os.utime(store.layout.record_path("export", key(word)), (used, used))
    store = lose_the_index(store)
    traces(store, root)
    left = store.index.get("trace", REQUEST) or ()
    assert [export for _, export in left] == [key(word) for word in ("two", "three", "one")]
