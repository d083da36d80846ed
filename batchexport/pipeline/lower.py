"""Lower an exported program to the IR of a spec, and check that it keeps and decomposes what the spec says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch._ops import OpOverload
from torch.export import ExportedProgram

from batchexport.pipeline.failure import Kind, StageFailure, classified
from batchexport.pipeline.identity import graph_nodes
from batchexport.pipeline.operators import Rule, chosen_rules, default_table, overloads

_NOT_TRAINING = (
    'ir = "training" with decompose: torch makes the whole program functional to apply a rule, as inference IR is; '
    'write ir = "inference" in [entry.export] to say so'
)
_CHANGES = "{} changes its input, and a lowered program has the operator that returns a new tensor instead"


def lower(program: ExportedProgram, spec: Mapping[str, Any]) -> tuple[ExportedProgram, list[str]]:
    """Return the program in the IR of the spec, and lines for the report. Raises StageFailure of kind lower."""
    stays = spec["ir"] == "training" and not spec["decompose"]
    if stays and not spec["keep"]:
        return program, []
    kept = {name: overloads(name) for name in spec["keep"]}
    rules = chosen_rules(spec) if spec["decompose"] else {}  # torch takes a twentieth of a second to list its own
    lowered = program if stays else _decomposed(program, spec, kept, rules)
    before, after = _operators(program), _operators(lowered)
    warnings = [_NOT_TRAINING] if spec["ir"] == "training" and not stays else []
    for name, operators in kept.items():
        _check_kept(name, operators, before, after, spec["ir"])
        if not before.union(after).intersection(operators):
            warnings.append(f"keep: {name} is not in the program")
    for name in spec["decompose"]:
        operators = overloads(name)
        was_called = any(rules[one].was_called for one in operators if one in rules)
        _check_decomposed(name, operators, before, after, rules)
        if not was_called and not before.intersection(operators):
            warnings.append(f"decompose: {name} is not in the program")
    return lowered, warnings


def _decomposed(
    program: ExportedProgram,
    spec: Mapping[str, Any],
    kept: Mapping[str, Sequence[OpOverload]],
    rules: Mapping[OpOverload, Rule],
) -> ExportedProgram:
    table = default_table() if spec["ir"] == "core-aten" else {}
    for operator in (one for operators in kept.values() for one in operators):
        table.pop(operator, None)
    table.update(rules)
    try:
        lowered: ExportedProgram = program.run_decompositions(
            table, decompose_custom_triton_ops=spec["decompose_triton"]
        )
    except StageFailure:
        raise
    except Exception as error:
        doing = f"lowering to {spec['ir']} IR"
        if (failed := next((rule for rule in rules.values() if rule.has_failed), None)) is not None:
            doing += f", in {failed} for {failed.operator}"
        raise classified(error, Kind.LOWER, doing) from error
    return lowered


def _operators(program: ExportedProgram) -> set[Any]:
    """Return the operators that a program calls, without those whose results nobody uses."""
    nodes = [node for node in graph_nodes(program) if node.op == "call_function"]
    return {node.target for node in nodes if node.users or node.is_impure()}


def _check_kept(name: str, operators: Sequence[OpOverload], before: set[Any], after: set[Any], ir: str) -> None:
    """Raise StageFailure of kind lower for an operator that should be kept and is lost."""
    lost = next((one for one in operators if one in before and one not in after), None)
    if lost is None:
        return
    remedy = 'take it out of keep, or write ir = "training", without decompose'
    if lost._schema.is_mutable:
        remedy = f"write {_functional(lost)!r} to keep that, or {remedy}"
        raise StageFailure(Kind.LOWER, f"keep: {_CHANGES.format(lost)}", remedy)
    message = f"keep: torch takes {lost} apart whenever it lowers a program, here to {ir} IR"
    raise StageFailure(Kind.LOWER, message, remedy)


def _functional(operator: OpOverload) -> str:
    """Return what torch puts in place of an operator that changes its input: `aten.add` for `aten.add_`."""
    return operator._schema.name.replace("::", ".").removesuffix("_")


def _check_decomposed(
    name: str, operators: Sequence[OpOverload], before: set[Any], after: set[Any], rules: Mapping[OpOverload, Rule]
) -> None:
    """Raise StageFailure of kind lower for an operator that is still there, or whose rule torch has not used."""
    left = next((one for one in operators if one in after), None)
    if left is not None:
        rule = rules.get(left)
        why = f"{rule} has not replaced it" if rule else "torch has no decomposition for this overload"
        raise StageFailure(
            Kind.LOWER,
            f"decompose: {left} is still in the program: {why}",
            f'write a rule as a function of your own: decompose = {{ "{left}" = "module:function" }}',
        )
    for one in operators:
        rule = rules.get(one)
        if one not in before or rule is None or rule.was_called:
            continue
        if one._schema.is_mutable:
            raise StageFailure(
                Kind.LOWER, f"decompose: {_CHANGES.format(one)}", f"write {_functional(one)!r} to decompose that"
            )
        if not rule.is_torchs:
            raise StageFailure(
                Kind.LOWER,
                f"decompose: torch has taken {one} apart before {rule} could",
                "torch calls no rule for this operator: leave it out, or change the model",
            )
