"""Results: what a record says, remembered so that a no-op run opens none, and forgotten with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from batchexport.store.results import Results
from batchexport.store.store import Store
from support.builders import key

KEY = key("export")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def publish(store: Store, data: bytes = b"data", **facts: Any) -> Results:
    path = store.attempt("job") / "artifact"
    path.write_bytes(data)
    results = Results(store)
    results.publish("export", KEY, files={"exported": path}, facts=facts, more={"state": [1, 2]})
    return results


def test_what_was_published_is_there(store: Store) -> None:
    found = publish(store, program="p").get("export", KEY)
    assert found is not None
    assert (found.key, dict(found.facts), list(found.files)) == (KEY, {"program": "p"}, ["exported"])
    assert Results(store).get("export", KEY) == found


def test_what_only_the_record_holds_is_no_fact(store: Store) -> None:
    record = publish(store).record("export", KEY)
    assert record is not None
    assert record.data["state"] == [1, 2]


def test_there_is_nothing_under_another_key_or_of_another_kind(store: Store) -> None:
    results = publish(store)
    assert results.get("export", key("other")) is None
    assert results.get("compile", KEY) is None


def test_a_known_result_opens_no_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)
    monkeypatch.setattr(Store, "lookup", lambda *_: pytest.fail("a record was opened"))
    results = Results(store)
    results.prefetch("export", [KEY, key("unknown")])
    assert results.get("export", KEY) is not None


def test_without_the_index_the_record_tells(store: Store) -> None:
    then = publish(store, program="p").get("export", KEY)
    store.close()
    shutil.rmtree(store.layout.index)
    store = Store.open(store.layout.root)
    results = Results(store)
    results.prefetch("export", [KEY])
    assert results.get("export", KEY) == then
    assert store.index.get("result-export", KEY) is not None, "and is remembered again"


@pytest.mark.parametrize("row", [[], {}, {"files": {}}, {"files": [], "facts": {}}, "text", {"files": {}, "facts": 1}])
def test_a_row_of_another_form_is_no_result(store: Store, row: Any) -> None:
    store.index.put("result-export", KEY, row)
    results = Results(store)
    results.prefetch("export", [KEY])
    assert results.get("export", KEY) is None


def test_a_result_whose_record_is_gone_is_forgotten(store: Store) -> None:
    results = publish(store)
    store.records.remove("export", KEY)
    assert results.record("export", KEY) is None
    assert results.get("export", KEY) is None
    assert Results(store).get("export", KEY) is None


def test_a_result_whose_files_are_gone_is_forgotten(store: Store) -> None:
    results = publish(store)
    for blob in list(store.blobs):
        store.blobs.remove(blob.digest)
    assert results.record("export", KEY) is None
    assert Results(store).get("export", KEY) is None


def test_a_newer_result_under_the_same_key_takes_the_place_of_the_older(store: Store) -> None:
    old = publish(store, b"old").get("export", KEY)
    new = publish(store, b"new").get("export", KEY)
    assert old is not None and new is not None
    assert old.files != new.files
    assert Results(store).get("export", KEY) == new


def test_what_another_process_publishes_is_found_by_asking_again(store: Store) -> None:
    ours = Results(store)
    assert ours.get("export", KEY) is None
    publish(store)
    assert ours.get("export", KEY) is not None
