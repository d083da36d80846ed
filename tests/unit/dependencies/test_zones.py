"""Zones: each path has exactly one, that of the innermost folder that contains it."""

from __future__ import annotations

import json
import os
import sysconfig
from pathlib import Path

import pytest

import batchexport
from batchexport.dependencies.zones import Zone, Zones, third_party_roots, within

ROOT = "/home/me/project"
PATHS = sysconfig.get_paths()
OWN = str(Path(batchexport.__file__).parent)


@pytest.fixture
def zones() -> Zones:
    return Zones(ROOT, ("/home/me/cache/v1", f"{ROOT}/dist"))


@pytest.mark.parametrize(
    ("path", "zone"),
    [
        (f"{ROOT}/models.py", Zone.FIRST),
        ("/home/me/neighbour.py", Zone.FIRST),
        ("/data/vocab.json", Zone.FIRST),
        ("/usr/share/dict/words", Zone.FIRST),
        ("/usr/local/bin/tool", Zone.FIRST),
        ("/run/media/me/disk/models.py", Zone.FIRST),
        ("/dev/shm/models.py", Zone.FIRST),
        ("/home/me/cache/v1/staging/x/tmp/file", Zone.IGNORED),
        ("/home/me/cache/v1", Zone.IGNORED),
        ("/home/me/cache/README.md", Zone.FIRST),
        (f"{ROOT}/dist/m@cpu/exported.pt2", Zone.IGNORED),
        (f"{ROOT}/distant.py", Zone.FIRST),
        (f"{ROOT}/__pycache__/models.cpython-311.pyc", Zone.IGNORED),
        ("/proc/cpuinfo", Zone.SYSTEM),
        ("/sys/fs/cgroup/cpu.max", Zone.SYSTEM),
        ("/dev/null", Zone.SYSTEM),
        ("/etc/hosts", Zone.SYSTEM),
        ("/usr/lib/x86_64-linux-gnu/libm.so.6", Zone.SYSTEM),
        ("/usr/share/zoneinfo/UTC", Zone.SYSTEM),
        (json.__file__, Zone.STDLIB),
        (os.__file__, Zone.STDLIB),
        ("<frozen importlib._bootstrap>", Zone.STDLIB),
        (pytest.__file__, Zone.THIRD),
        (f"{PATHS['purelib']}/unknown.py", Zone.THIRD),
        (f"{PATHS['purelib']}/__pycache__/six.cpython-311.pyc", Zone.THIRD),
        (f"{OWN}/pipeline/observe.py", Zone.OWN),
        ("<string>", Zone.IGNORED),
        ("<eval_with_key>.0", Zone.IGNORED),
        ("relative.py", Zone.IGNORED),
        ("", Zone.IGNORED),
    ],
)
def test_a_path_has_its_zone(zones: Zones, path: str, zone: Zone) -> None:
    assert zones.of(path) is zone
    assert zones.of(path) is zone, "also when it is known"


@pytest.mark.parametrize("root", ["/dev/shm/p", "/usr/lib/models", "/etc/models", f"{PATHS['purelib']}/package/models"])
def test_models_are_first_party_in_any_folder(root: str) -> None:
    assert Zones(root, ()).of(f"{root}/models.py") is Zone.FIRST


@pytest.mark.parametrize("ours", [ROOT, "/home/me", "/home", "/"])
def test_models_are_first_party_even_where_outputs_or_the_cache_are_put_around_them(ours: str) -> None:
    assert Zones(ROOT, (ours,)).of(f"{ROOT}/models.py") is Zone.FIRST


def test_a_distribution_installed_inside_of_a_project_is_third_party() -> None:
    inside = PATHS["purelib"]
    zones = Zones(os.path.dirname(os.path.dirname(inside)), ())
    assert zones.of(f"{inside}/six.py") is Zone.THIRD


def test_what_is_surely_installed_is_neither_first_party_nor_the_systems(zones: Zones) -> None:
    libraries = [PATHS["purelib"], PATHS["stdlib"]]
    for path in (f"{folder}/torch/nn/__init__.py" for folder in libraries):
        assert zones.surely_installed(path)
        assert zones.surely_installed(Path(path))
        assert zones.of(path) in (Zone.THIRD, Zone.STDLIB)
        assert not zones.surely_installed(f"{path}/../../x.py")
    assert not zones.surely_installed(f"{PATHS['stdlib']}-mine/x.py")
    for other in (f"{ROOT}/models.py", "/etc/passwd", "models.py", b"/x", 3, None):
        assert not zones.surely_installed(other)


@pytest.mark.parametrize("library", ["purelib", "stdlib"])
def test_nothing_is_surely_installed_around_models(library: str) -> None:
    zones = Zones(f"{PATHS[library]}/mine", ())
    assert not zones.surely_installed(f"{PATHS[library]}/mine/models.py")


def test_a_distribution_is_third_party_by_its_real_path_too() -> None:
    roots = third_party_roots()
    assert {PATHS["purelib"], os.path.realpath(PATHS["purelib"])} <= set(roots)
    assert all(os.path.isabs(root) for root in roots)


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/ab", "/a", False),
        ("/a/b", "/a/", True),
        ("/a", "/a/b", False),
        ("/a", "/", True),
    ],
)
def test_a_path_lies_within_a_folder_by_whole_names(path: str, root: str, expected: bool) -> None:
    assert within(path, root) is expected
