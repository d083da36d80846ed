"""The shape-spec of an entry is the shape-spec of the exported program, for every form that it has."""

from __future__ import annotations

from textwrap import dedent

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported
from support.pasting import pasted

pytestmark = pytest.mark.torch

AFFINE = 'model = ":Affine"\ninputs = { x = { shape = ["batch", 4] } }\n'


def ranges(exported: Exported) -> list[tuple[str, str]]:
    """Lower and upper bounds of the program's symbols."""
    constraints = exported.program().range_constraints.values()
    return sorted((str(span.lower), str(span.upper)) for span in constraints)


def sizes(exported: Exported) -> list[list[str]]:
    """The shapes of the user inputs, symbols as text."""
    program = exported.program()
    names = program.graph_signature.user_inputs
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [[str(size) for size in placeholders[name].meta["val"].shape] for name in names]


def accepts(exported: Exported, **inputs: torch.Tensor) -> bool:
    """Whether the program, loaded by plain torch, takes these inputs."""
    try:
        exported.program().module()(**inputs)
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True


def test_a_dim_is_dynamic_in_its_range_and_only_there(exported: Export) -> None:
    made = exported(AFFINE + "dims = { batch = { min = 3, max = 6, example = 4 } }")
    assert ranges(made) == [("3", "6")]
    # torch takes a lower bound of 2 for none at all, so the least one that counts is 3.
    assert [accepts(made, x=torch.ones(size, 4)) for size in (2, 3, 5, 6, 7)] == [False, True, True, True, False]
    assert made.points() == [{"batch": 4}, {"batch": 3}, {"batch": 6}]
    evidence = made.verify()
    assert [sample["max_abs_diff"] for sample in evidence["samples"]] == [0.0, 0.0, 0.0]
    assert evidence["refused"]["point"] == {"batch": 7}


def test_a_dim_without_an_end_takes_any_size(exported: Export) -> None:
    made = exported(AFFINE + "dims = { batch = { min = 1, example = 3 } }")
    assert accepts(made, x=torch.ones(1, 4))
    assert accepts(made, x=torch.ones(100_000, 4))
    assert made.verify()["refused"] is None


@pytest.mark.parametrize("dims", ["", 'dims = { batch = "auto" }'])
def test_a_dim_that_is_not_described_is_automatic(exported: Export, dims: str) -> None:
    made = exported(AFFINE + dims)
    [[batch, width]] = sizes(made)
    assert (batch.isdigit(), width) == (False, "4")
    assert accepts(made, x=torch.ones(50, 4))


def test_a_dim_that_is_one_number_is_static(exported: Export) -> None:
    made = exported(AFFINE + "dims = { batch = 5 }")
    assert sizes(made) == [["5", "4"]]
    assert ranges(made) == []
    assert not accepts(made, x=torch.ones(4, 4))


def test_a_name_in_several_shapes_is_one_size(exported: Export) -> None:
    made = exported("""
        model = ":Attention"
        inputs.ids = { shape = ["batch", "seq"], dtype = "int64", range = [0, 9] }
        inputs.mask = { shape = ["batch", "seq"], dtype = "int64", value = 1 }
        dims.batch = { min = 1, max = 4 }
        dims.seq = { min = 2, max = 32, example = 8 }
        """)
    assert sizes(made)[0] == sizes(made)[1]
    assert ranges(made) == [("1", "4"), ("2", "32")]
    one = torch.ones(2, 8, dtype=torch.int64)
    assert accepts(made, ids=one, mask=one)
    assert not accepts(made, ids=one, mask=torch.ones(2, 9, dtype=torch.int64))
    made.verify()
    # Every end of every dim, and the corners of all of them.
    points = [(point["batch"], point["seq"]) for point in made.points()]
    assert {(1, 2), (4, 32)} < set(points)
    assert len(points) == len(set(points)) == 7


def test_a_dim_may_be_a_multiple(exported: Export) -> None:
    made = exported("""
        model = ":Halves"
        inputs.x = { shape = ["seq"] }
        dims.seq = { min = 16, max = 64, multiple_of = 8 }
        """)
    assert [accepts(made, x=torch.ones(size)) for size in (16, 24, 64, 20, 72)] == [True, True, True, False, False]
    assert [point["seq"] for point in made.points()] == [16, 64]
    assert made.verify()["refused"]["point"] == {"seq": 72}


def test_a_size_may_be_derived_from_a_dim(exported: Export) -> None:
    made = exported("""
        model = ":Derived"
        inputs.short = { shape = ["seq"] }
        inputs.long = { shape = ["2*seq + 1"] }
        dims.seq = { min = 2, max = 16 }
        """)
    assert accepts(made, short=torch.ones(5), long=torch.ones(11))
    assert not accepts(made, short=torch.ones(5), long=torch.ones(12))
    assert [list(case["inputs"]["long"].shape) for case in made.reference()["calls"]] == [[5], [33]]
    made.verify()


def test_a_derived_dim_may_have_a_name(exported: Export) -> None:
    made = exported("""
        model = ":Derived"
        inputs.short = { shape = ["seq"] }
        inputs.long = { shape = ["padded"] }
        dims.seq = { min = 2, max = 16 }
        dims.double = "2*seq"
        dims.padded = "double + 1"
        """)
    assert [accepts(made, short=torch.ones(5), long=torch.ones(size)) for size in (10, 11, 12)] == [False, True, False]
    assert made.points() == [{"seq": 2}, {"seq": 16}]
    assert [list(case["inputs"]["long"].shape) for case in made.reference()["calls"]] == [[5], [33]]
    assert made.verify()["refused"]["point"] == {"seq": 17}


def test_a_derived_dim_may_stand_alone(exported: Export) -> None:
    made = exported(AFFINE.replace("batch", "twice") + 'dims = { pairs = { min = 2, max = 4 }, twice = "2*pairs" }')
    assert [accepts(made, x=torch.ones(size, 4)) for size in (3, 4, 6, 8, 10)] == [False, True, True, True, False]
    made.verify()


def test_a_size_may_be_derived_from_a_multiple(exported: Export) -> None:
    made = exported("""
        model = ":Derived"
        inputs.short = { shape = ["seq"] }
        inputs.long = { shape = ["seq + 8"] }
        dims.seq = { min = 8, max = 32, multiple_of = 4 }
        """)
    assert accepts(made, short=torch.ones(12), long=torch.ones(20))
    assert not accepts(made, short=torch.ones(12), long=torch.ones(24))
    made.verify()


def test_a_multiple_stays_dynamic_without_an_example_being_given(exported: Export) -> None:
    made = exported("""
        model = ":Attribute"
        inputs.x = { shape = ["seq"] }
        dims.seq = { min = 8, max = 512, multiple_of = 8 }
        """)
    assert [accepts(made, x=torch.ones(size)) for size in (8, 16, 504, 512, 520)] == [True] * 4 + [False]
    assert [point["seq"] for point in made.points()] == [16, 8, 512]
    made.verify()


def test_dims_reach_into_nested_inputs(exported: Export) -> None:
    made = exported("""
        model = ":Nested"
        inputs.pair = [{ shape = ["batch", 3] }, { shape = [3] }]
        inputs.table.inner.scale = { shape = ["batch", 1] }
        inputs.table.list = [[{ shape = ["other"], dtype = "int64" }]]
        dims.batch = { min = 1, max = 8 }
        dims.other = { min = 2, max = 5 }
        """)
    batch, other = sizes(made)[0][0], sizes(made)[3][0]
    assert sizes(made) == [[batch, "3"], ["3"], [batch, "1"], [other]]
    assert len(made.verify()["samples"]) == len(made.points())
    outputs = made.program().module()(
        pair=[torch.ones(7, 3), torch.ones(3)],
        table={"inner": {"scale": torch.ones(7, 1)}, "list": [[torch.ones(5, dtype=torch.int64)]]},
    )
    assert torch.equal(outputs["sum"], torch.full((7, 3), 2.0))


def test_samples_may_be_the_example_alone(exported: Export) -> None:
    made = exported(
        AFFINE + 'dims = { batch = { min = 2, max = 6 } }\nverify = { samples = "example", negative = false }'
    )
    assert made.points() == [{"batch": 2}]
    assert made.verify()["refused"] is None


def test_a_specialized_dim_is_told_with_what_to_write(exported: Export) -> None:
    entry = """
        model = ":Halves"
        inputs.x = { shape = ["seq"] }
        dims.seq = { min = 8, max = 64, example = 16 }
        verify.samples = "example"
        """
    with pytest.raises(StageFailure) as failure:
        exported(entry)
    assert failure.value.kind is Kind.SHAPES
    assert "seq" in failure.value.message
    assert failure.value.remedy == "write `seq = { min = 16, max = 64, multiple_of = 8 }` in [entry.dims]"
    exported(pasted(dedent(entry), failure.value.remedy)).verify()
