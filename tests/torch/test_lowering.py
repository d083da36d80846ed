"""Operators that are kept stay whole under every IR, and those that are decomposed are gone, or the export fails."""

from __future__ import annotations

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported

pytestmark = pytest.mark.torch

OPERATORS = 'model = "support.lowered:Operators"\ninputs = { x = { shape = [3, 4] } }\n'
TWICE = 'model = "support.lowered:Twice"\ninputs = { x = { shape = [3, 4] } }\n'
IRS = ("training", "inference", "core-aten")


def operators(exported: Exported) -> set[str]:
    """The operators in the delivered archive, sub-graphs included."""
    modules = [one for one in exported.program().graph_module.modules() if isinstance(one, torch.fx.GraphModule)]
    return {str(node.target) for module in modules for node in module.graph.nodes if node.op == "call_function"}


def refusal(exported: Export, entry: str) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        exported(entry)
    assert caught.value.kind is Kind.LOWER
    return caught.value


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("name", ["aten.silu", "aten.linear.default"])
def test_a_kept_operator_stays_whole_under_every_ir(exported: Export, ir: str, name: str) -> None:
    made = exported(f'{OPERATORS}export = {{ ir = "{ir}", keep = ["{name}"] }}')
    assert name.removesuffix(".default") + ".default" in operators(made)
    assert made.output["warnings"] == []
    made.verify()


def test_without_keep_core_aten_has_neither(exported: Export) -> None:
    assert not operators(exported(f'{OPERATORS}export.ir = "core-aten"')) & {"aten.silu.default", "aten.linear.default"}


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("rule", ["true", '"support.lowered:silu"'])
def test_a_decomposed_operator_is_gone_under_every_ir(exported: Export, ir: str, rule: str) -> None:
    made = exported(f'{OPERATORS}export = {{ ir = "{ir}", decompose = {{ "aten.silu" = {rule} }} }}')
    found = operators(made)
    assert "aten.silu.default" not in found
    assert ("aten.sigmoid.default" in found) is (rule == "true")
    assert ("aten.tanh.default" in found) is (rule != "true")
    assert ("aten.linear.default" in found) is (ir != "core-aten"), "what is not chosen is as the IR has it"
    made.verify()


def test_a_rule_under_training_ir_makes_the_program_functional_and_the_report_says_so(exported: Export) -> None:
    made = exported(f'{OPERATORS}export.decompose = {{ "aten.silu" = true }}')
    assert not operators(made) & {"aten.add_.Tensor", "aten.dropout.default"}
    [line] = made.output["warnings"]
    assert line.startswith('ir = "training" with decompose: torch makes the whole program functional')


def test_core_operators_have_a_rule_of_torch_too(exported: Export) -> None:
    made = exported(f'{OPERATORS}export = {{ ir = "core-aten", decompose = {{ "aten.gelu" = true }} }}')
    assert "aten.gelu.default" not in operators(made)
    assert "aten.erf.default" in operators(made)
    made.verify()


def test_a_custom_operator_is_kept_or_decomposed_by_a_rule_of_the_user(exported: Export) -> None:
    kept = exported(f'{TWICE}export = {{ ir = "core-aten", keep = ["lowered.twice"] }}')
    assert "lowered.twice.default" in operators(kept)
    taken = exported(
        f'{TWICE}export = {{ ir = "inference", decompose = {{ "lowered.twice" = "support.lowered:sums" }} }}'
    )
    assert operators(taken) == {"aten.add.Tensor"}
    taken.verify()


def test_operators_that_are_not_in_the_program_are_told(exported: Export) -> None:
    entry = f'{OPERATORS}export = {{ ir = "inference", keep = ["aten.relu"], decompose = {{ "aten.elu" = true }} }}'
    made = exported(entry)
    assert made.output["warnings"] == [
        "keep: aten.relu is not in the program",
        "decompose: aten.elu is not in the program",
    ]


def test_an_operator_is_kept_and_decomposed_where_the_model_calls_its_changing_form(exported: Export) -> None:
    entry = 'model = "support.lowered:InPlace"\ninputs = { x = { shape = [3] } }\n'
    kept = exported(f'{entry}export = {{ ir = "core-aten", keep = ["aten.silu"] }}')
    assert "aten.silu.default" in operators(kept)
    taken = exported(f'{entry}export = {{ ir = "inference", decompose = {{ "aten.silu" = true }} }}')
    assert "aten.silu.default" not in operators(taken)
    assert kept.output["warnings"] == taken.output["warnings"] == []


@pytest.mark.parametrize(
    ("name", "told", "remedy"),
    [
        ("aten.dropout", "torch takes aten.dropout.default apart whenever it lowers", 'write ir = "training"'),
        ("aten.add_", "aten.add_.Tensor changes its input", "write 'aten.add' to keep that"),
    ],
)
def test_an_operator_that_cannot_be_kept_fails_and_says_why(
    exported: Export, name: str, told: str, remedy: str
) -> None:
    failure = refusal(exported, f'{OPERATORS}export = {{ ir = "inference", keep = ["{name}"] }}')
    assert told in failure.message
    assert remedy in (failure.remedy or "")
    assert exported(f'{OPERATORS}export.keep = ["{name}"]').output["warnings"] == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            '"aten.silu" = "support.lowered:raises"',
            "in the rule support.lowered:raises for aten.silu: ValueError: no rule",
        ),
        ('"aten.silu" = "support.lowered:declines"', "aten.silu.default is still in the program: the rule support."),
        ('"aten.silu" = "support.lowered:NUMBER"', "the rule for 'aten.silu', is an int"),
        ('"aten.dropout" = "support.lowered:drops"', "torch has taken aten.dropout.default apart before the rule"),
        ('"aten.add_" = true', "aten.add_.Tensor changes its input"),
        ('"aten.convolution" = true', "torch has no decomposition for 'aten.convolution'"),
        ('"aten.siluu" = true', "there is no operator 'aten.siluu'"),
        ('"nowhere.op" = true', "there are no operators of the namespace 'nowhere'"),
    ],
)
def test_a_rule_that_has_no_effect_fails_the_export(exported: Export, rule: str, told: str) -> None:
    assert told in refusal(exported, f'{OPERATORS}export = {{ ir = "inference", decompose = {{ {rule} }} }}').message


def test_a_custom_operator_without_a_rule_is_refused_and_a_misspelt_one_too(exported: Export) -> None:
    failure = refusal(exported, f'{TWICE}export.decompose = {{ "lowered.twice" = true }}')
    assert failure.message == "torch has no decomposition for 'lowered.twice'"
    assert '"lowered.twice" = "module:function"' in (failure.remedy or "")
    assert refusal(exported, f'{TWICE}export.keep = ["lowered.twise"]').remedy == "did you mean 'lowered.twice'?"


def test_a_rule_that_computes_something_else_fails_verification(exported: Export) -> None:
    made = exported(
        f'{OPERATORS}export = {{ ir = "inference", decompose = {{ "aten.silu" = "support.lowered:wrong" }} }}'
    )
    with pytest.raises(StageFailure, match="differs from eager") as caught:
        made.verify()
    assert caught.value.kind is Kind.VERIFY


def test_a_rule_that_cannot_be_imported_is_an_import_failure(exported: Export) -> None:
    with pytest.raises(StageFailure, match="no attribute 'nowhere'") as caught:
        exported(f'{OPERATORS}export.decompose = {{ "aten.silu" = "support.lowered:nowhere" }}')
    assert caught.value.kind is Kind.IMPORT


@pytest.mark.parametrize("asked", [True, False])
def test_torch_is_told_whether_to_decompose_triton_operators(
    exported: Export, asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    own = torch.export.ExportedProgram.run_decompositions

    def spy(self: object, table: object, decompose_custom_triton_ops: bool = False) -> object:
        told.append(decompose_custom_triton_ops)
        return own(self, table, decompose_custom_triton_ops)

    monkeypatch.setattr(torch.export.ExportedProgram, "run_decompositions", spy)
    exported(f'{OPERATORS}export = {{ ir = "core-aten", decompose_triton = {str(asked).lower()} }}').verify()
    assert told == [asked]
