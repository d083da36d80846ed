from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable

import pytest

from batchexport.core.keys import canonical
from batchexport.store.errors import DiskFull
from batchexport.store.store import Store

Key = Callable[[str], str]


def test_a_record_comes_back_as_it_was_put(store: Store, key: Key) -> None:
    data = {"b": [1, 2.5, None, True], "a": {"10": "ü", "2": "\udc80"}}
    assert store.records.put("export", key("a"), data) == data
    assert store.records.get("export", key("a")) == data
    assert store.records.get("compile", key("a")) is None
    assert store.records.get("export", key("b")) is None


def test_a_record_has_the_documented_form(store: Store, key: Key) -> None:
    store.records.put("export", key("a"), {"n": 1})
    assert json.loads(store.layout.record_path("export", key("a")).read_text()) == {
        "schema": 1,
        "kind": "export",
        "key": key("a"),
        "sha256": hashlib.sha256(canonical({"n": 1})).hexdigest(),
        "data": {"n": 1},
    }


def test_put_gives_back_what_get_will(store: Store, key: Key) -> None:
    put = store.records.put("export", key("a"), {"pair": (1, 2), "table": {10: "x", 9: "y"}})
    assert put == {"pair": [1, 2], "table": {"10": "x", "9": "y"}} == store.records.get("export", key("a"))


def test_data_that_is_not_json_is_refused_and_writes_nothing(store: Store, key: Key) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.records.put("export", key("a"), {"x": float("nan")})
    with pytest.raises(TypeError):
        store.records.put("export", key("a"), {"x": object()})
    assert list(store.records.iterate()) == []


def test_a_truncated_record_is_a_miss_at_every_length_and_set_aside(store: Store, key: Key) -> None:
    path = store.layout.record_path("export", key("a"))
    store.records.put("export", key("a"), {"n": 1})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.records.get("export", key("a")) is None
        assert not path.exists()
        assert path.with_suffix(".damaged").read_bytes() == whole[:length]


def test_flipped_bit_in_a_record_is_a_miss(store: Store, key: Key) -> None:
    path = store.layout.record_path("export", key("a"))
    store.records.put("export", key("a"), {"n": 1})
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert store.records.get("export", key("a")) is None


@pytest.mark.parametrize("text", [b"", b"\0" * 400, b"[]", b"[" * 100_000, b'"x"', b"{}", b"\xff" * 300])
def test_garbage_in_a_records_place_is_a_miss_and_heals(store: Store, key: Key, text: bytes) -> None:
    path = store.layout.record_path("export", key("a"))
    path.parent.mkdir()
    path.write_bytes(text)
    assert store.records.get("export", key("a")) is None
    assert not path.exists()
    store.records.put("export", key("a"), {"n": 1})
    assert store.records.get("export", key("a")) == {"n": 1}


def test_a_record_under_another_key_or_kind_is_a_miss(store: Store, key: Key) -> None:
    store.records.put("export", key("a"), {"n": 1})
    text = store.layout.record_path("export", key("a")).read_bytes()
    for kind, word in (("export", "b"), ("compile", "a")):
        path = store.layout.record_path(kind, key(word))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
        assert store.records.get(kind, key(word)) is None


def test_a_record_of_a_later_version_is_a_miss_and_stays(store: Store, key: Key) -> None:
    path = store.layout.record_path("export", key("a"))
    path.parent.mkdir()
    path.write_text('{"schema":2,"anything":"else"}')
    assert store.records.get("export", key("a")) is None
    assert path.exists()


def test_a_record_that_cannot_be_read_is_a_miss(store: Store, key: Key) -> None:
    store.layout.record_path("export", key("a")).mkdir(parents=True)
    assert store.records.get("export", key("a")) is None


def test_all_good_records_are_iterated(store: Store, key: Key) -> None:
    store.records.put("export", key("a"), {"n": 1})
    store.records.put("compile", key("b"), {"n": 2})
    store.records.put("compile", key("c"), {"n": 3})
    store.layout.record_path("compile", key("c")).write_bytes(b"garbage")
    (store.layout.entries / "stray").write_text("x")
    assert sorted(store.records.iterate()) == [
        ("compile", key("b"), {"n": 2}),
        ("export", key("a"), {"n": 1}),
    ]


def test_a_used_record_becomes_young(store: Store, key: Key) -> None:
    store.records.put("export", key("a"), {})
    path = store.layout.record_path("export", key("a"))
    os.utime(path, (1, 1))
    store.records.touch("export", key("a"))
    assert path.stat().st_mtime > time.time() - 60
    store.records.touch("export", key("missing"))


def test_a_removed_record_is_a_miss(store: Store, key: Key) -> None:
    store.records.put("export", key("a"), {})
    store.records.remove("export", key("a"))
    store.records.remove("export", key("a"))
    assert store.records.get("export", key("a")) is None


def test_a_full_disk_keeps_the_old_record(store: Store, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    store.records.put("export", key("a"), {"n": 1})

    def full(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        store.records.put("export", key("a"), {"n": 2})
    assert store.records.get("export", key("a")) == {"n": 1}
    assert list(store.layout.staging.iterdir()) == []
