"""Models of transformers that a user only names: their inputs, caches and heads follow from the library itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from batchexport.core.dims import Dim
from batchexport.core.errors import Kind
from batchexport.core.job import ExportSpec
from batchexport.pipeline.build import build
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.library_models import told_of
from batchexport.pipeline.transformer_export import export_transformer
from support.exporting import Export

pytestmark = pytest.mark.torch

TEXT = "hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 32, vocab_size = 99"
NUMBERS = re.compile(r"(\w+) = (\d+)")
IMAGE = "hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 32, image_size = 32"
T5 = "d_model = 32, d_kv = 16, d_ff = 32, num_layers = 1, num_heads = 2, vocab_size = 99"
WHISPER = """d_model = 32, encoder_layers = 1, decoder_layers = 1, encoder_attention_heads = 2,
    decoder_attention_heads = 2, encoder_ffn_dim = 32, decoder_ffn_dim = 32, vocab_size = 99, max_source_positions = 16,
    pad_token_id = 0, bos_token_id = 1, eos_token_id = 2, decoder_start_token_id = 1"""
FAMILIES = {
    "bert": (TEXT, ["input_ids", "attention_mask"]),
    "t5": (T5, ["input_ids", "attention_mask", "decoder_input_ids"]),
    "vit": (f"{IMAGE}, patch_size = 16", ["pixel_values"]),
    "whisper": (WHISPER, ["input_features", "decoder_input_ids"]),
}


def entry(name: str, kwargs: str, more: str = "") -> str:
    return f'model = "transformers:{name}"\nkwargs = {{ {" ".join(kwargs.split())} }}\n{more}'


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_each_family_is_delivered_by_its_name(exported: Export, family: str) -> None:
    kwargs, names = FAMILIES[family]
    made = exported(entry(family, kwargs))
    assert made.output["call"]["kwargs"] == names
    assert [line.partition(" = ")[0] for line in made.output["call"]["inputs"]] == names
    assert any(symbolic(value) for value in inputs_of(made.program()))
    assert made.verify()["samples"]


def inputs_of(program: Any) -> list[Any]:
    return [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and "val" in node.meta]


def symbolic(value: Any) -> bool:
    return any(not isinstance(size, int) for size in getattr(value, "shape", ()))


def test_bounds_of_batch_and_seq_hold_for_inputs_that_are_left_out(exported: Export) -> None:
    made = exported(entry("bert", TEXT, "[dims]\nbatch = { max = 4 }\nseq = 16".replace("[dims]", "[entry.dims]")))
    assert {tuple(point.items()) for point in made.points()} == {(("batch", size),) for size in (1, 2, 4)}
    assert made.reference()["calls"][0]["inputs"]["input_ids"].shape == (2, 16)


def test_a_dim_that_the_inputs_do_not_have_is_told_in_the_log(
    exported: Export, capfd: pytest.CaptureFixture[str]
) -> None:
    exported(entry("vit", f"{IMAGE}, patch_size = 16", "[entry.dims]\nseq = 16"))
    assert "the dim seq of the manifest is not in the inputs, pixel_values" in capfd.readouterr().out


def test_a_type_with_several_models_of_one_head_has_the_first(exported: Export) -> None:
    exported(entry("deit", f"{IMAGE}, patch_size = 16", 'head = "ImageClassification"')).verify()


def test_caches_are_off_and_the_report_says_so(exported: Export) -> None:
    kwargs = f"{TEXT}, num_key_value_heads = 1, head_dim = 16"
    made = exported(entry("mistral", kwargs))
    assert [one for one in made.output["warnings"] if "`kwargs.use_cache = true`" in one]
    assert told_of({"model": "transformers:mistral", "kwargs": {"use_cache": False}}) == []
    with pytest.raises(StageFailure, match="DynamicCache") as caught:
        exported(entry("mistral", f"use_cache = true, {kwargs}"))
    assert "`kwargs.use_cache = false`" in (caught.value.remedy or "")


def test_a_head_gives_its_outputs(exported: Export) -> None:
    made = exported(entry("bert", f"{TEXT}, num_labels = 3", 'head = "SequenceClassification"'))
    assert [name for call in made.reference()["calls"] for name in call["names"]][:1] == ["['logits']"]


SPEC = ExportSpec(model="transformers:bert", kwargs={key: int(value) for key, value in NUMBERS.findall(TEXT)}).to_json()


def test_a_dim_that_torch_cannot_vary_is_held_and_told() -> None:
    def export(spec: Mapping[str, Any]) -> dict[str, Any]:
        if "seq" in spec["dims"]:
            raise StageFailure(Kind.EXPORT, "no seq")
        return {"shape": spec["inputs"]["input_ids"]["tensor"]["shape"], "warnings": [], "call": {}}

    output = export_transformer(build(SPEC, "."), SPEC, ".", export, no_attempt)
    assert output["shape"] == ["batch", 8]
    assert [one for one in output["warnings"] if "the artifacts hold for seq = 8 only" in one and "no seq" in one]


def test_a_dim_that_the_manifest_bounds_is_not_held() -> None:
    dims = {name: Dim(name=name, max=16, example=4).to_json() for name in ("batch", "seq")}
    tried: list[Mapping[str, Any]] = []

    def export(spec: Mapping[str, Any]) -> dict[str, Any]:
        tried.append(spec)
        raise StageFailure(Kind.SHAPES, "no", "write `seq = 4`")

    with pytest.raises(StageFailure) as caught:
        export_transformer(build(SPEC, "."), {**SPEC, "dims": dims}, ".", export, no_attempt)
    assert ([one["dims"] for one in tried], caught.value.remedy) == ([dims], "write `seq = 4`")


@pytest.mark.parametrize(
    ("helps", "line"),
    [
        ("eager", '`kwargs.attn_implementation = "eager"`'),
        ("unmasked", '`inputs = { input_ids = { shape = ["batch", "seq"], dtype = "int64", range = [1, 99] } }`'),
        ("strict", "`export.strict = true`"),
        ("nothing", '`expect = "fail:export"`'),
    ],
)
def test_a_refusal_tells_a_line_that_was_tried(helps: str, line: str) -> None:
    model = build(SPEC, ".")

    def export(spec: Mapping[str, Any]) -> dict[str, Any]:
        raise StageFailure(Kind.EXPORT, "torch can't")

    def attempt(spec: Mapping[str, Any]) -> None:
        attention = getattr(model.config, "_attn_implementation", "")
        met = {"eager": attention == "eager", "unmasked": len(spec["inputs"]) == 1, "strict": spec["strict"]}
        if not met.get(helps):
            raise StageFailure(Kind.EXPORT, "nor so")

    with pytest.raises(StageFailure) as caught:
        export_transformer(model, SPEC, ".", export, attempt)
    assert f"write {line} in the entry" in (caught.value.remedy or "")
    assert getattr(model.config, "_attn_implementation", "") == "sdpa"


def no_attempt(_spec: Mapping[str, Any]) -> None:
    raise StageFailure(Kind.EXPORT, "not tried")


def test_inputs_that_cannot_be_derived_are_asked_for_by_name(exported: Export) -> None:
    kwargs = "hidden_size = 32, num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 32"
    with pytest.raises(StageFailure, match="no inputs are given") as caught:
        exported(entry("layoutlmv3", f"{kwargs}, visual_embed = true, input_size = 224, patch_size = 100"))
    assert caught.value.kind is Kind.INPUTS
    assert "`inputs.input_ids = { shape = " in (caught.value.remedy or "")
