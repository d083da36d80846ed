"""Requests: a child gets everything it needs as plain data, and nothing else reaches its results."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.archives import UnsafeArchive
from batchexport.core.job import Job
from batchexport.dependencies.answers import OwnFiles
from batchexport.engine.requests import StageRequests
from batchexport.store.results import Results
from batchexport.store.store import Store
from batchexport.workers.protocol import StageRequest
from support import builders
from support.builders import export_result, job


@pytest.fixture
def requests(tmp_path: Path) -> StageRequests:
    root = tmp_path / "project"
    root.mkdir()
    return make_requests(root, Store.open(root / "cache"))


def make_requests(root: Path, store: Store, **more: Any) -> StageRequests:
    manifest = builders.manifest(root, **more)
    return StageRequests(
        manifest=manifest,
        store=store,
        results=Results(store),
        worker_threads=2,
        code_threads=8,
        compilers=store.layout.inductor,
    )


def request(requests: StageRequests, one: Job, stage: str = "export") -> StageRequest:
    return requests.request(one, stage, requests.store.attempt("job"), requests.export_task(one))


def test_a_request_is_plain_data(requests: StageRequests) -> None:
    made = request(requests, job(export={"inputs": {"x": {"value": 1}}, "extra_files": {"a": "b"}}))
    assert StageRequest.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_request_has_its_stage_and_folders(requests: StageRequests) -> None:
    made = request(requests, job())
    assert made.id == "bert@cpu:export"
    assert made.task["stage"] == "export"
    assert made.task["root"] == str(requests.manifest.root)
    assert Path(made.folder).is_dir()
    assert Path(made.environment["TMPDIR"]).is_dir()
    assert Path(made.log).parent.is_dir()


def test_a_task_may_be_of_another_kind_than_its_stage(requests: StageRequests) -> None:
    one = job()
    task = requests.pack_task(one, export_result(), Path("/e.pt2"), {"files": []})
    made = requests.request(one, "compile", requests.store.attempt("job"), task)
    assert (made.id, made.task["stage"]) == ("bert@cpu:compile", "pack")


def test_the_log_of_an_earlier_attempt_is_removed(requests: StageRequests) -> None:
    log = requests.log(job(), "export")
    log.parent.mkdir(parents=True)
    log.write_text("old")
    request(requests, job())
    assert not log.exists()


def test_the_environment_of_an_entry_takes_precedence(requests: StageRequests) -> None:
    made = request(requests, job(export={"env": {"OMP_NUM_THREADS": "1", "FLAG": "x"}}))
    assert made.environment["OMP_NUM_THREADS"] == "1"
    assert made.environment["FLAG"] == "x"


@pytest.mark.parametrize(
    ("name", "spawned"), [("OMP_NUM_THREADS", True), ("TORCHINDUCTOR_FREEZING", True), ("PYTHONOPTIMIZE", True),
                          ("CXX", True), ("FLAG", False), ("HF_HOME", False)],
)  # fmt: skip
def test_a_variable_that_torch_reads_at_import_needs_a_process_of_its_own(
    requests: StageRequests, name: str, spawned: bool
) -> None:
    assert request(requests, job(export={"env": {name: "1"}})).spawn is spawned


@pytest.mark.parametrize(
    ("value", "worker", "code"),
    [("3", 3, 3), ("4,2", 4, 4), (" 5 ", 5, 5), ("", 2, 8), ("auto", 2, 8), ("0", 2, 8), ("-1", 2, 8), (None, 2, 8)],
)
def test_threads_are_those_of_the_entry_or_of_the_run(
    requests: StageRequests, value: str | None, worker: int, code: int
) -> None:
    one = job(export={"env": {} if value is None else {"OMP_NUM_THREADS": value}})
    assert request(requests, one).task["worker_threads"] == worker
    assert requests.compile_task(one, export_result(), Path("/e.pt2"))["threads"] == code


def test_variables_that_a_child_is_given_are_not_observed_as_inputs(requests: StageRequests) -> None:
    given = {name for name, value in requests.server_environment().items() if os.environ.get(name) != value}
    one = job(export={"env": {"FLAG": "1"}})
    own = set(requests.export_task(one)["own_environment"])
    assert given | {"FLAG"} | request(requests, one).environment.keys() <= own


def test_the_output_folder_exists_before_any_model_lists_its_parent(requests: StageRequests) -> None:
    requests.server_environment()
    assert requests.manifest.output_dir.is_dir()


def test_a_file_in_place_of_the_output_folder_is_no_error_here(requests: StageRequests) -> None:
    requests.manifest.output_dir.touch()
    requests.server_environment()


def test_what_a_run_itself_writes_is_ignored_under_every_path(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("project")
    store = Store.open(tmp_path / "link" / "sub" / ".." / "cache")
    requests = make_requests(root, store, output_dir=tmp_path / "link" / "sub" / ".." / "dist")
    task = requests.export_task(job())
    assert {str(root / "cache/v1/objects"), str(tmp_path / "link/cache/v1/staging")} <= set(task["ignored"])
    assert not any(".." in path for path in task["ignored"])
    own = OwnFiles.of(task["output_dir"], task["cache"])
    assert {str(root / "dist"), str(tmp_path / "link/dist")} <= own.outputs
    assert not any(".." in path for path in own.outputs)


def test_data_files_are_listed_one_by_one(requests: StageRequests, tmp_path: Path) -> None:
    root = requests.manifest.root
    for name in ("a.json", "b.json", "c.txt"):
        (root / name).touch()
    (tmp_path / "far.json").touch()
    one = job(export={"data": ("*.json", "missing.bin", str(tmp_path / "f*.json"))})
    names = [str(root / "a.json"), str(root / "b.json"), str(root / "missing.bin"), str(tmp_path / "far.json")]
    assert sorted(requests.export_task(one)["data"]) == sorted(names)


def test_a_failed_stage_can_be_run_again_alone(requests: StageRequests) -> None:
    command = requests.reproduce(job("bert[layers=4, x]@cpu"), "compile")
    assert "'bert[layers=4, x]@cpu'" in command
    assert command.endswith("--stage compile --in-process")


def test_a_verify_task_names_the_files_to_compare(requests: StageRequests) -> None:
    task = requests.verify_task(
        job("m@cuda"), export_result(), exported=Path("/e"), reference=Path("/r"), compiled=Path("/c")
    )
    assert (task["exported"], task["reference"], task["compiled"]) == ("/e", "/r", "/c")
    assert task["target"] == "cuda"
    bare = requests.verify_task(job(), export_result(), exported=Path("/e"), reference=Path("/r"), compiled=None)
    assert bare["compiled"] is None


def test_a_run_writes_nothing_through_a_link_in_the_cache(requests: StageRequests, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    one = job()
    layout = requests.store.layout
    links = (
        requests.compilers / "tmp",
        requests.compilers / "cache",
        layout.logs / one.folder,
        layout.logs / "forkserver.log",
    )
    for link in links:
        link.symlink_to(outside)
    requests.server_environment()
    Path(request(requests, one).log).write_text("a log")
    assert not any(link.is_symlink() for link in links)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("member", ["../evil", "/evil"])
def test_a_model_archive_with_a_path_outside_is_refused_before_a_child_gets_it(
    requests: StageRequests, member: str
) -> None:
    with zipfile.ZipFile(requests.manifest.root / "evil.pt2", "w") as archive:
        archive.writestr(member, "x")
    with pytest.raises(UnsafeArchive):
        requests.export_task(job(export={"model": "evil.pt2"}))
