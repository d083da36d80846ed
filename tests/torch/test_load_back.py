"""What torch changes when it loads an archive is no difference: every IR of common layers is delivered."""

from __future__ import annotations

import pytest

from support.exporting import Export

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("strict", ["false", "true"])
@pytest.mark.parametrize("ir", ["training", "inference", "core-aten"])
@pytest.mark.parametrize("model", ["Normalized", "Pooled", "Split", "Constant", "Larger"])
def test_every_ir_is_delivered(exported: Export, model: str, ir: str, strict: str) -> None:
    made = exported(f"""
        model = "support.layers:{model}"
        inputs = {{ x = {{ shape = ["n", 4] }} }}
        dims = {{ n = {{ min = 2, max = 8, example = 4 }} }}
        export = {{ ir = "{ir}", strict = {strict} }}
        """)
    made.verify()


def test_a_range_that_capture_left_behind_is_no_difference(exported: Export) -> None:
    made = exported("""
        model = "support.layers:EvenColumns"
        inputs = { x = { shape = ["n", "m", 4] }, factor = 2 }
        dims = { n = { min = 1, max = 6, example = 6 }, m = { min = 3, max = 6, example = 5 } }
        export = { ir = "inference", prefer_deferred_runtime_asserts = true }
        """)
    made.verify()


def test_a_size_that_torch_has_fixed_is_no_difference(exported: Export) -> None:
    made = exported("""
        model = "support.layers:BranchesOnTheBatch"
        inputs = { x = { shape = ["n", "m"] } }
        dims = { m = { min = 2, max = 4, example = 3 } }
        """)
    made.verify()
    assert len(made.output["warnings"]) == 1


def test_deferred_assertions_are_delivered(exported: Export) -> None:
    made = exported("""
        model = "support.layers:Deferred"
        inputs.x = { shape = ["n", 4] }
        inputs.y = { shape = ["4*n"] }
        dims = { n = { min = 2, max = 8, example = 4 } }
        export = { prefer_deferred_runtime_asserts = true }
        """)
    made.verify()


def test_an_asserted_product_of_two_dims_is_delivered(exported: Export) -> None:
    made = exported("""
        model = "support.layers:Deferred"
        inputs.x = { shape = ["rows", "columns"] }
        inputs.y = { shape = ["size"] }
        dims.rows = { min = 2, max = 8, example = 4 }
        dims.columns = { min = 2, max = 8, example = 3 }
        dims.size = { min = 4, max = 64, example = 12 }
        export = { prefer_deferred_runtime_asserts = true }
        verify = { samples = "example" }
        """)
    made.verify()
