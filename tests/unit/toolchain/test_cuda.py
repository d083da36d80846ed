"""Devices: read from what the driver says, chosen by manifest and environment, told apart by kind, part of keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchexport.engine.gpus import slots
from batchexport.store.store import Store
from batchexport.toolchain.cuda import Device, Devices, chosen, nvidia_smi, parse
from support.builders import export_result, job, lookup

ANSWER = """\
0, GPU-aaaa, NVIDIA H100 80GB HBM3, 9.0, 81559, 81000, 580.65.06
1, GPU-bbbb, NVIDIA H100 80GB HBM3, 9.0, 81559, 70000, 580.65.06
2, GPU-cccc, Tesla T4, 7.5, 15360, 15000, 580.65.06
"""


def found(text: str = ANSWER, **more: object) -> Devices:
    return chosen(**{"listed": None, "environment": {}, "port": lambda: parse(text), **more})  # type: ignore[arg-type]


def test_a_device_is_read_from_a_line_of_nvidia_smi() -> None:
    assert parse(ANSWER)[0] == Device(
        index=0,
        uuid="GPU-aaaa",
        name="NVIDIA H100 80GB HBM3",
        sm="90",
        memory=81559 << 20,
        free=81000 << 20,
        driver="580.65.06",
    )


@pytest.mark.parametrize(
    "text",
    ["", "No devices were found\n", "Unable to determine the device handle for GPU0: GPU is lost\n",
     "0, GPU-aaaa, NVIDIA H100, [N/A], [GPU requires reset], [Unknown Error], 580\n", "\x00,,,\n"],
)  # fmt: skip
def test_what_is_no_working_device_is_none(text: str) -> None:
    assert parse(text) == ()


def test_without_nvidia_smi_there_is_no_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi() == ()


def test_what_nvidia_smi_says_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{ANSWER}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [device.index for device in nvidia_smi()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("target", "kind"),
    [("cuda", "NVIDIA H100 80GB HBM3 sm90"), ("cuda-sm90", "NVIDIA H100 80GB HBM3 sm90"),
     ("cuda-sm75", "Tesla T4 sm75"), ("cuda-sm80", None), ("cpu", None)],
)  # fmt: skip
def test_a_target_is_for_a_kind(target: str, kind: str | None) -> None:
    assert found().kind(target) == kind


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"text": ""}, "no CUDA device"),
        ({"listed": ()}, "[pools.cuda]"),
        ({"listed": (7,)}, "[pools.cuda]"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": ""}}, "CUDA_VISIBLE_DEVICES"),
        ({"torch": "2.13.0+cpu"}, "torch is built for the CPU only"),
    ],
    ids=str,
)
def test_why_there_is_no_device_is_told(more: dict[str, object], why: str) -> None:
    none = found(**more)  # type: ignore[arg-type]
    assert slots(none) == {}
    assert why in str(none.why_not("cuda"))
    assert none.why_not("cpu") is None


def test_a_device_of_another_capability_is_told_by_what_is_here() -> None:
    assert "only NVIDIA H100 80GB HBM3 sm90, Tesla T4 sm75" in str(found().why_not("cuda-sm80"))


@pytest.mark.parametrize(
    ("more", "uuids"),
    [
        ({}, ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"]),
        ({"listed": (2, 0)}, ["GPU-aaaa", "GPU-cccc"]),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "1, GPU-cc"}}, ["GPU-bbbb", "GPU-cccc"]),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "1,2"}, "listed": (2,)}, ["GPU-cccc"]),
    ],
    ids=str,
)
def test_the_devices_are_those_that_manifest_and_environment_leave(more: dict[str, object], uuids: list[str]) -> None:
    assert list(slots(found(**more))) == uuids


def test_a_device_that_is_gone_has_no_room() -> None:
    now = {"text": ANSWER}
    some = found(port=lambda: parse(now["text"]))
    assert some.room() == {"GPU-aaaa": 81000 << 20, "GPU-bbbb": 70000 << 20, "GPU-cccc": 15000 << 20}
    now["text"] = ANSWER.partition("\n")[2]
    assert "GPU-aaaa" not in some.room()


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def keys(tmp_path: Path, some: Devices, target: str) -> tuple[str, str]:
    with Store.open(tmp_path / "cache") as store:
        one = lookup(store, tmp_path, devices=some)
        asked = job(f"bert@{target}")
        export = export_result()
        return one.code_key(asked, export), one.verify_key(asked, export, None)


@pytest.mark.parametrize(
    "other",
    [{"name": "NVIDIA H200"}, {"sm": "100"}, {"driver": "590.1"}],
    ids=str,
)
def test_code_for_a_device_is_for_its_name_capability_and_driver(tmp_path: Path, other: dict[str, str]) -> None:
    some = found()
    moved = replace(some, usable=tuple(replace(device, **other) for device in some.usable))
    assert set(keys(tmp_path, some, "cuda")).isdisjoint(keys(tmp_path, moved, "cuda"))
    assert keys(tmp_path, some, "cpu") == keys(tmp_path, moved, "cpu") == keys(tmp_path, Devices(), "cpu")


def test_code_for_a_device_is_for_its_cuda(tmp_path: Path) -> None:
    one, other = found(runtime="12.8"), found(runtime="13.0")
    assert set(keys(tmp_path, one, "cuda")).isdisjoint(keys(tmp_path, other, "cuda"))


def test_equal_devices_share_their_code(tmp_path: Path) -> None:
    one, other = found(listed=(0,)), found(listed=(1,))
    assert keys(tmp_path, one, "cuda") == keys(tmp_path, other, "cuda")
