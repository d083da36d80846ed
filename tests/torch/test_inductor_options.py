"""The names of Inductor's options, as read from its source, against those that torch takes."""

from __future__ import annotations

import pytest
from torch._inductor import config

from batchexport.pipeline.compile import inductor_options
from batchexport.toolchain import probe
from batchexport.toolchain.inductor import option_names

pytestmark = pytest.mark.torch


def test_the_names_in_the_source_are_those_that_torch_takes() -> None:
    names = option_names(tuple(probe.import_path()))
    assert names is not None
    # An import under TYPE_CHECKING, which torch takes for an option, as its value is a boolean.
    assert names == vars(config)["_config"].keys() - {"TYPE_CHECKING"}


def test_what_batchexport_sets_are_options_too() -> None:
    names = option_names(tuple(probe.import_path()))
    assert names is not None
    for target in ("cpu", "cpu-avx2", "cpu-avx512"):
        spec = {"target": target, "format": "package", "weights": "external", "options": {}}
        assert inductor_options(spec, threads=1).keys() <= names
