"""Types and heads of transformers: what the installed version has not is refused before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from batchexport.core.errors import ManifestError
from batchexport.core.job import ExportSpec
from batchexport.manifest import document, resolve
from batchexport.manifest.transformer_types import Types


@dataclass(frozen=True)
class Installed:
    types: frozenset[str] = frozenset({"bert", "gpt2", "gpt_neo", "vit", "voice"})
    heads: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: {
            "": frozenset({"bert", "gpt2", "gpt_neo", "vit"}),
            "CausalLM": frozenset({"bert", "gpt2"}),
            "SequenceClassification": frozenset({"bert", "gpt2"}),
            "ImageClassification": frozenset({"vit"}),
            "SpeechSeq2Seq": frozenset({"voice"}),
        }
    )


def read(entry: str, known: Types | None) -> ExportSpec:
    text = f'schema = 1\n[[entry]]\nname = "a"\n{entry}\n'
    [job] = resolve.resolve(document.parse(text, "m.toml"), resolve.Known(types=lambda: known)).jobs
    return job.export


def mistakes(entry: str, known: Types | None = Installed()) -> list[str]:
    try:
        read(entry, known)
    except ManifestError as error:
        return [str(problem).partition('entry "a", ')[2] for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("entry", "mistake"),
    [
        ('model = "transformers:brt"', 'model: transformers has no type "brt"; did you mean "bert"?'),
        ('model = "transformers:qqq"', 'model: transformers has no type "qqq"'),
        (
            'model = "transformers:bert"\nhead = "SequenceClasification"',
            'head: transformers has no head "SequenceClasification"; did you mean "SequenceClassification"?',
        ),
        (
            'model = "transformers:bert"\nhead = "ImageClassification"',
            'head: "bert" has no head "ImageClassification"; did you mean "SequenceClassification"?',
        ),
        (
            'model = "transformers:gpt2"\nhead = "SpeechSeq2Seq"',
            'head: "gpt2" has no head "SpeechSeq2Seq"; write head = "CausalLM", or one of SequenceClassification',
        ),
        ('model = "transformers:voice"', 'model: "voice" has no model without a head; write head = "SpeechSeq2Seq"'),
        ('model = "transformers:gpt_neo"\nhead = "CausalLM"', 'head: "gpt_neo" has no head "CausalLM"'),
    ],
)
def test_an_unknown_type_or_head_is_refused_with_the_near_one(entry: str, mistake: str) -> None:
    assert mistakes(entry) == [mistake]


def test_known_types_and_heads_are_taken() -> None:
    assert read('model = "transformers:bert"\nhead = "CausalLM"', Installed()).head == "CausalLM"
    assert read('model = "transformers:gpt_neo"', Installed()).head is None


def test_what_imported_modules_may_register_is_left_to_the_child() -> None:
    assert mistakes('model = "transformers:mine"\nimports = ["mylib.models"]') == []


def test_nothing_is_refused_where_the_types_cannot_be_told() -> None:
    assert mistakes('model = "transformers:brt"\nhead = "Nothing"', known=None) == []


def test_the_types_are_read_only_for_models_of_transformers() -> None:
    def never() -> None:
        raise AssertionError("the types of transformers were read")

    text = 'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n'
    resolve.resolve(document.parse(text, "m.toml"), resolve.Known(types=never))


BERT = 'model = "transformers:bert"\n'


def test_dims_of_inputs_that_are_left_out_are_kept_for_the_pipeline() -> None:
    spec = read(f"{BERT}dims = {{ batch = {{ max = 8 }}, seq = 16 }}", None)
    assert (spec.inputs, sorted(spec.dims)) == ({}, ["batch", "seq"])
    assert (spec.dims["batch"]["max"], spec.dims["batch"]["auto"]) == (8, False)
    assert (spec.dims["seq"]["min"], spec.dims["seq"]["max"]) == (16, 16)


def test_a_dim_that_is_auto_or_not_listed_is_left_to_the_pipeline() -> None:
    assert read(f'{BERT}dims = {{ seq = "auto" }}', None).dims == {}
