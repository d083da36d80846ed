"""A manifest becomes jobs: defaults, matrix, checkpoints and targets, each with a name that stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchexport.core import keys
from batchexport.core.errors import ManifestError
from batchexport.core.job import CompileSpec, ExportSpec, Job, Pools, VerifySpec
from batchexport.manifest import document, resolve
from batchexport.manifest.names import folders

DESIGN_EXAMPLE = """\
schema = 1

[output]
dir = "dist"                          # relative paths are relative to the manifest

[cache]
dir = "../cache"                      # precedence: --cache-dir, BATCHEXPORT_CACHE_DIR, this, ./cache
size_limit = "50GiB"

[pools.cpu]
workers = "auto"                      # usable cores (cgroup-aware), bounded by memory
memory = "auto"
[pools.cuda]
devices = "auto"                      # one exclusive compile worker per visible GPU

[defaults]                            # merged under every entry, table by table
targets = ["cpu"]
timeout = "30min"                     # per stage

[[entry]]
name = "bert-base"
model = "models.text:bert"            # "module:attribute", a callable or nn.Module class
args = []
kwargs = { layers = 12 }
weights = "weights/bert.safetensors"  # optional: .safetensors, .pt/.pth (weights_only), loaded strictly
seed = 0
method = "forward"
dtype = "float32"
tags = ["text", "nightly"]
targets = ["cpu", "cuda"]
env = { OMP_NUM_THREADS = "1" }
data = ["tokenizer/*.json"]           # further files that count as inputs

[entry.inputs]                        # by parameter name of the method; nested lists and tables allowed
input_ids = { shape = ["batch", "seq"], dtype = "int64", range = [0, 30522] }
attention_mask = { shape = ["batch", "seq"], dtype = "int64", value = 1 }
token_type_ids = "none"               # scalars, strings, booleans, "none" are passed as they are

[entry.dims]                          # the shape-spec: every name used in a shape
batch = { min = 1, max = 64, example = 2 }
seq = { min = 8, max = 512, multiple_of = 8 }
# a name not listed here, or "auto", is Dim.AUTO; a number is static; "2*seq + 1" is a derived dim

[entry.export]                        # the capture, see section 6
strict = false
ir = "training"                       # "training" | "inference" | "core-aten"
preserve_module_call_signature = ["encoder"]
decompositions = ["aten.silu"]
extra_files = { "card.json" = "cards/bert.json" }

[entry.compile]
format = "package"                    # "package" (.pt2) | "so" | "none"
options = { "max_autotune" = false }  # Inductor options
weights = "external"                  # "external" | "embedded"

[entry.verify]
rtol = 1e-4
atol = 1e-5
samples = "corners"                   # every dynamic dim at min, example and max
negative = true                       # and one call outside the ranges, which must be refused

[entry.matrix]                        # cartesian product over dotted paths
"kwargs.layers" = [4, 12]
dtype = ["float32", "bfloat16"]

[entry.checkpoints]                   # one architecture, many weights: compiled once
base = "weights/base.safetensors"
finetuned = "weights/ft.safetensors"
"""

BERT_INPUTS = {
    "input_ids": {"tensor": {"shape": ["batch", "seq"], "dtype": "int64", "range": [0, 30522], "value": None}},
    "attention_mask": {"tensor": {"shape": ["batch", "seq"], "dtype": "int64", "range": None, "value": 1}},
    "token_type_ids": {"value": None},
}


def resolved(text: str) -> tuple[Job, ...]:
    return resolve.resolve(document.parse("schema = 1\n" + text, "m.toml")).jobs


def entry(text: str = "", name: str = "a", model: str = "m:f") -> str:
    return f'[[entry]]\nname = "{name}"\nmodel = "{model}"\n{text}\n'


def only(text: str) -> Job:
    (job,) = resolved(entry(text))
    return job


def inputs_of(text: str) -> Any:
    return only(text).export.inputs


def names_of(text: str) -> list[str]:
    return [job.name for job in resolved(text)]


def refusal(text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        resolved(text)
    return str(caught.value)


def test_the_example_of_the_design_resolves_but_for_weights_beside_checkpoints() -> None:
    with pytest.raises(ManifestError) as caught:
        resolve.resolve(document.parse(DESIGN_EXAMPLE, "m.toml"))
    assert str(caught.value) == (
        'm.toml:66: entry "bert-base", checkpoints: an entry has either weights or checkpoints; '
        "make weights one of the checkpoints"
    )


def test_every_key_of_the_designs_example_arrives() -> None:
    text = DESIGN_EXAMPLE.partition("[entry.matrix]")[0]
    result = resolve.resolve(document.parse(text, Path("/zoo/m.toml")))
    assert result.output_dir == Path("/zoo/dist")
    assert result.cache_dir == Path("/zoo/../cache")
    assert result.size_limit == 50 * 2**30
    assert result.pools == Pools(cpu_workers=None, cpu_memory=None, cuda_devices=None)
    assert [job.name for job in result.jobs] == ["bert-base@cpu", "bert-base@cuda"]
    assert result.jobs[0] == Job(
        name="bert-base@cpu",
        entry="bert-base",
        target="cpu",
        folder="bert-base@cpu",
        tags=("text", "nightly"),
        timeout=1800.0,
        export=ExportSpec(
            model="models.text:bert",
            args=(),
            kwargs={"layers": 12},
            weights="weights/bert.safetensors",
            seed=0,
            method="forward",
            dtype="float32",
            inputs=BERT_INPUTS,
            dims={
                "batch": {"min": 1, "max": 64, "example": 2, "multiple_of": 1, "auto": False},
                "seq": {"min": 8, "max": 512, "example": 16, "multiple_of": 8, "auto": False},
            },
            env={"OMP_NUM_THREADS": "1"},
            data=("tokenizer/*.json",),
            strict=False,
            ir="training",
            preserve_module_call_signature=("encoder",),
            decompose={"aten.silu": True},
            extra_files={"card.json": "cards/bert.json"},
        ),
        compile=CompileSpec(target="cpu", format="package", options={"max_autotune": False}, weights="external"),
        verify=VerifySpec(rtol=1e-4, atol=1e-5, samples="corners", negative=True),
    )


def test_arguments_can_say_none_and_imports_are_modules() -> None:
    text = """
        schema = 1
        [[entry]]
        name = "a"
        model = "m:A"
        args = [1, { none = true }]
        kwargs = { bias = { none = true }, sizes = [{ none = true }], none = true, text = "none" }
        imports = ["lib.ops"]
        """
    spec = resolve.resolve(document.parse(text, "m.toml")).jobs[0].export
    assert spec.args == (1, None)
    assert spec.kwargs == {"bias": None, "sizes": [None], "none": True, "text": "none"}
    assert spec.imports == ("lib.ops",)


def test_the_designs_example_has_sixteen_jobs_in_the_order_written() -> None:
    text = DESIGN_EXAMPLE.replace('weights = "weights/bert.safetensors"', "")
    result = resolve.resolve(document.parse(text, "m.toml"))
    assert [job.name for job in result.jobs] == [
        f"bert-base[layers={layers},{dtype},{checkpoint}]@{target}"
        for layers in (4, 12)
        for dtype in ("float32", "bfloat16")
        for checkpoint in ("base", "finetuned")
        for target in ("cpu", "cuda")
    ]
    assert [job.folder for job in result.jobs] == [job.name for job in result.jobs]
    last = result.jobs[-1].export
    assert (last.kwargs, last.dtype, last.weights) == ({"layers": 12}, "bfloat16", "weights/ft.safetensors")


def test_a_name_and_a_model_are_enough() -> None:
    job = only("")
    assert job == Job(
        name="a@cpu",
        entry="a",
        target="cpu",
        folder="a@cpu",
        timeout=1800.0,
        export=ExportSpec(model="m:f"),
        compile=CompileSpec(target="cpu"),
        verify=VerifySpec(),
    )


def test_defaults_are_merged_table_by_table_under_every_entry() -> None:
    first, second = resolved(
        '[defaults]\ntags = ["all"]\nkwargs = { layers = 2, heads = 4 }\nenv = { A = "1" }\n'
        '[defaults.inputs]\nx = { shape = ["batch", 3], dtype = "int64" }\n'
        '[defaults.compile]\noptions = { a = 1 }\nweights = "embedded"\n'
        + entry('kwargs = { layers = 8 }\ntags = ["one"]\ninputs.x = { value = 1 }\ncompile.options.b = 2')
        + entry('inputs = "m:g"', name="b")
    )
    assert first.export.kwargs == {"layers": 8, "heads": 4}
    assert first.tags == ("one",)
    assert first.export.env == {"A": "1"}
    assert first.export.inputs == {
        "x": {"tensor": {"shape": ["batch", 3], "dtype": "int64", "range": None, "value": 1}}
    }
    assert first.compile.options == {"a": 1, "b": 2}
    assert first.compile.weights == "embedded"
    assert second.export.kwargs == {"layers": 2, "heads": 4}
    assert second.tags == ("all",)
    assert second.export.inputs == "m:g"
    assert second.compile.options == {"a": 1}


def test_a_default_dim_is_for_those_who_use_it() -> None:
    first, second = resolved(
        "[defaults.dims]\nbatch = { max = 8 }\nseq = 16\n"
        + entry('inputs.x = { shape = ["batch"] }')
        + entry('inputs.x = { shape = ["seq"] }', name="b")
    )
    assert list(first.export.dims) == ["batch"]
    assert second.export.dims == {}


def test_matrix_expands_in_the_order_written() -> None:
    text = '[entry.matrix]\ndtype = ["float32", "float64"]\n"kwargs.n" = [2, 1]\nseed = [7, 8]'
    assert names_of(entry(text)) == [
        f"a[{dtype},n={n},seed={seed}]@cpu" for dtype in ("float32", "float64") for n in (2, 1) for seed in (7, 8)
    ]


def test_matrix_values_land_where_their_path_leads() -> None:
    text = (
        'kwargs = { n = 0, keep = true }\ninputs.x = { shape = ["batch"] }\ndims.batch = { max = 8 }\n'
        '[entry.matrix]\n"kwargs.deep.m" = [5]\n"dims.batch.max" = [4]\n"export.strict" = [true]\n'
        "kwargs.n = [9]\n"
    )
    job = only(text)
    assert job.name == "a[m=5,max=4,strict=true,n=9]@cpu"
    assert job.export.kwargs == {"n": 9, "keep": True, "deep": {"m": 5}}
    assert job.export.dims["batch"]["max"] == 4
    assert job.export.strict is True


def test_matrix_paths_that_end_alike_are_told_in_full() -> None:
    text = '[entry.matrix]\n"kwargs.dtype" = ["a"]\ndtype = ["float32"]'
    assert names_of(entry(text)) == ["a[kwargs.dtype=a,dtype=float32]@cpu"]


@pytest.mark.parametrize(
    ("axis", "ids"),
    [
        ('"inputs.x" = [{ shape = [1] }, { shape = [2] }]', ["inputs.x=0", "inputs.x=1"]),
        ('targets = [["cpu"]]', ["targets=0"]),
        ('"kwargs.rate" = [0.5, 1e-3]', ["rate=0.5", "rate=0.001"]),
        ('"kwargs.on" = [true, false]', ["on=true", "on=false"]),
        ('"kwargs.note" = ["x", "a,b"]', ["kwargs.note=0", "kwargs.note=1"]),
        ('"kwargs.note" = ["x", ""]', ["kwargs.note=0", "kwargs.note=1"]),
        ('weights = ["w/a.pt", "w/b.pt"]', ["w/a.pt", "w/b.pt"]),
    ],
)
def test_a_value_without_a_short_text_goes_by_its_number(axis: str, ids: list[str]) -> None:
    assert names_of(entry(f"[entry.matrix]\n{axis}")) == [f"a[{one}]@cpu" for one in ids]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".safetensors.index.json"])
def test_weights_are_files_of_known_suffixes(suffix: str) -> None:
    assert only(f'weights = "w/model{suffix}"').export.weights == f"w/model{suffix}"


@pytest.mark.parametrize("key", ["state_dict", "model.state_dict", "model state", "net-1.0", "a[0]", "größe"])
def test_a_key_of_weights_is_any_dotted_path(key: str) -> None:
    export = only(f'weights = "a.pt"\nweights_key = "{key}"').export
    assert (export.weights_key, export.to_json()["weights_key"]) == (key, key)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "ema_", "net-"])
def test_a_prefix_of_weights_ends_where_a_name_may_begin(prefix: str) -> None:
    export = only(f'weights = "a.pt"\nweights_prefix = "{prefix}"').export
    assert (export.weights_prefix, export.to_json()["weights_prefix"]) == (prefix, prefix)


@pytest.mark.parametrize("stage", ["export", "compile", "verify"])
def test_a_stage_may_be_expected_to_fail_which_no_key_depends_on(stage: str) -> None:
    plain, expecting = only(""), only(f'expect = "fail:{stage}"')
    assert (plain.expected_failure, expecting.expected_failure) == (None, stage)
    assert plain == replace(expecting, expected_failure=None)


def test_checkpoints_share_key_and_prefix_which_may_vary_and_be_defaults() -> None:
    axes = "[entry.matrix]\nweights_prefix = ['module.', 'ema.']"
    text = f'weights_key = "net"\n{axes}\n[entry.checkpoints]\na = "a.pt"\nb = "b.ckpt"'
    found = [(job.export.weights, job.export.weights_prefix, job.export.weights_key) for job in resolved(entry(text))]
    files = ("a.pt", "b.ckpt")
    assert found == [(file, prefix, "net") for prefix in ("module.", "ema.") for file in files]
    (job,) = resolved('[defaults]\nweights_key = "state_dict"\n' + entry(""))
    assert (job.export.weights, job.export.weights_key) == (None, "state_dict")


def test_checkpoints_share_all_but_their_weights() -> None:
    text = 'targets = ["cpu", "cuda-sm90"]\n[entry.checkpoints]\nft = "w/ft.pt"\nbase = "/abs/base.pt"'
    ft, _, base, _ = resolved(entry(text))
    assert [job.name for job in resolved(entry(text))] == [
        "a[ft]@cpu",
        "a[ft]@cuda-sm90",
        "a[base]@cpu",
        "a[base]@cuda-sm90",
    ]
    assert (ft.export.weights, base.export.weights) == ("w/ft.pt", "/abs/base.pt")
    assert ft.export.to_json() | {"weights": None} == base.export.to_json() | {"weights": None}


@pytest.mark.parametrize(
    "model", ["models.text:Bert.small", "timm:resnet18.a1_in1k", "transformers:xlm-roberta", "old/a.pt2"]
)
def test_models_come_from_modules_registries_and_archives(model: str) -> None:
    assert resolved(entry(model=model))[0].export.model == model


@pytest.mark.parametrize("source", ["models.text:inputs", "inputs/bert.safetensors"])
def test_inputs_from_elsewhere_have_their_own_sizes_and_no_dims(source: str) -> None:
    given, _ = resolved(
        "[defaults.dims]\nbatch = { max = 8 }\n"
        + entry(f'inputs = "{source}"')
        + entry('inputs = { x = { shape = ["batch"] } }', name="b")
    )
    assert given.export.inputs == source
    assert given.export.dims == {}


def test_inputs_nest_in_lists_and_tables() -> None:
    text = (
        'inputs = { past = [[{ shape = ["b"] }], { k = { shape = [] }, on = true }], scale = 0.5, '
        'mode = "mean", n = 3, nothing = "none", empty = [] }'
    )
    tensor = {"dtype": "float32", "range": None, "value": None}
    assert only(text).export.inputs == {
        "past": {
            "list": [
                {"list": [{"tensor": {"shape": ["b"], **tensor}}]},
                {"table": {"k": {"tensor": {"shape": [], **tensor}}, "on": {"value": True}}},
            ]
        },
        "scale": {"value": 0.5},
        "mode": {"value": "mean"},
        "n": {"value": 3},
        "nothing": {"value": None},
        "empty": {"list": []},
    }


def test_none_is_only_a_word_in_the_arguments_of_a_model() -> None:
    assert only('kwargs = { reduction = "none" }').export.kwargs == {"reduction": "none"}


def test_tensors_have_the_dtype_of_their_entry_unless_they_say_otherwise() -> None:
    inputs: Any = only(
        'dtype = "bfloat16"\ninputs.x = { shape = [2] }\ninputs.y = { shape = [2], dtype = "float64" }'
    ).export.inputs
    assert inputs["x"]["tensor"]["dtype"] == "bfloat16"
    assert inputs["y"]["tensor"]["dtype"] == "float64"


def test_sizes_are_canonical_text_and_static_dims_become_numbers() -> None:
    text = (
        'inputs.x = { shape = ["2 * (seq + 1)", "heads*4", "seq", "3*4", 7] }\ndims = { heads = 2, seq = { max = 9 } }'
    )
    export = only(text).export
    assert export.inputs["x"]["tensor"]["shape"] == ["2*seq+2", 8, "seq", 12, 7]  # type: ignore[index]
    assert list(export.dims) == ["seq"]


def test_a_dim_with_one_allowed_size_is_static() -> None:
    export = only('inputs.x = { shape = ["batch"] }\ndims.batch = { min = 4, max = 4 }').export
    assert export.inputs["x"]["tensor"]["shape"] == [4]  # type: ignore[index]
    assert export.dims == {}


def test_unlisted_and_auto_dims_are_auto_with_examples_of_their_own() -> None:
    text = 'inputs.x = { shape = ["a", "b", "c", "d"] }\ndims = { b = "auto", c = { max = 8 }, d = { min = 4 } }'
    dims = only(text).export.dims
    assert {name: dim["auto"] for name, dim in dims.items()} == {"a": True, "b": True, "c": False, "d": False}
    assert {name: dim["example"] for name, dim in dims.items()} == {"a": 3, "b": 5, "c": 2, "d": 4}


def test_a_dim_may_be_a_size_of_another_dim() -> None:
    text = 'inputs.x = { shape = ["e", "d - 1"] }\ndims = { b = { max = 8 }, d = "2*b", e = "d + 1" }'
    export = only(text).export
    assert export.derived == {"d": "2*b", "e": "2*b+1"}
    assert export.dims == {"b": {"min": 1, "max": 8, "example": 2, "multiple_of": 1, "auto": False}}
    assert export.inputs["x"]["tensor"]["shape"] == ["e", "d-1"]  # type: ignore[index]


def test_inputs_from_a_factory_or_a_file_have_dims_by_path() -> None:
    shapes = 'x = ["b", 3]\n"tree[\'a\']" = ["2*b"]\nstate.h = ["d", "c"]\nn = "n"'
    dims = 'b = { max = 8, example = 4 }\nd = "b + c - c + 1"\nc = 5\nn = "auto"\n'
    for source in ("m:inputs", "in.pt"):
        export = only(f'inputs = "{source}"\n[entry.shapes]\n{shapes}\n[entry.dims]\n{dims}').export
        assert export.shapes == {"x": ["b", 3], "tree.a": ["2*b"], "state.h": ["d", "c"], "n": "n"}
        assert list(export.dims) == ["b", "n"]
        assert (export.fixed, export.derived, export.measured) == ({"c": 5}, {"d": "b+1"}, ("n",))


def test_shapes_may_stand_in_the_defaults_and_in_a_matrix() -> None:
    text = entry('inputs = "m:inputs"\nmatrix = { "shapes.x" = [["b", 3], ["b", 4]], "dims.b" = [2, 3] }')
    jobs = resolved(f"[defaults.shapes]\ny = [1]\n{text}")
    assert [(job.export.shapes, job.export.fixed) for job in jobs] == [
        ({"y": [1], "x": ["b", size]}, {"b": b}) for size in (3, 4) for b in (2, 3)
    ]


def test_an_auto_dim_may_have_bounds_and_an_example() -> None:
    text = """
        inputs.x = { shape = ["a", "b", "c", "d", "e"] }
        dims.a = { auto = true, min = 2, max = 512, example = 16 }
        dims.b = { auto = true }
        dims.c = { auto = false, max = 8 }
        dims.d = { auto = true, max = 8 }
        dims.e = { auto = true, min = 4, max = 4 }
        """
    export = only(text).export
    bounds = {name: (dim["min"], dim["max"], dim["example"], dim["auto"]) for name, dim in export.dims.items()}
    assert bounds == {"a": (2, 512, 16, True), "b": (1, None, 3, True), "c": (1, 8, 2, False), "d": (1, 8, 4, True)}
    assert export.inputs["x"]["tensor"]["shape"][4] == 4  # type: ignore[index]


def test_additional_inputs_have_the_order_of_the_inputs() -> None:
    table = '{ b = { shape = [5] }, a = { y = 2, x = { shape = ["n"] } } }'
    export = only(
        'inputs = { a = { x = { shape = ["n"] }, y = 1 }, b = { shape = [3] } }\n'
        f"additional_inputs = [ {table} ]\ndims.n = {{ max = 8 }}"
    ).export
    one: Any = export.additional_inputs[0]
    assert list(one) == ["a", "b"]
    assert list(one["a"]["table"]) == ["x", "y"]
    assert one["b"]["tensor"]["shape"] == [5]


def test_a_dim_may_be_used_by_additional_inputs_alone() -> None:
    text = 'inputs = [ { shape = [3] } ]\nadditional_inputs = [ [ { shape = ["n"] } ] ]\ndims.n = 5'
    one: Any = only(text).export.additional_inputs[0]
    assert one[0]["tensor"]["shape"] == [5]


def test_a_size_of_a_fixed_dim_is_a_number() -> None:
    export = only('inputs.x = { shape = ["d", "d + 1"] }\ndims = { b = 3, d = "2*b" }').export
    assert (export.dims, export.derived) == ({}, {})
    assert export.inputs["x"]["tensor"]["shape"] == [6, 7]  # type: ignore[index]


def test_a_dim_may_be_a_size_of_one_without_a_range() -> None:
    export = only('inputs.x = { shape = ["b", "d"] }\ndims.d = "3*b - 4"').export
    assert export.derived == {"d": "3*b-4"}
    assert export.dims["b"]["auto"]


def test_the_example_of_a_dim_leaves_one_that_is_derived_from_it_dynamic() -> None:
    export = only('inputs.x = { shape = ["d"] }\ndims = { b = { min = 5, max = 64 }, d = "2*b - 9" }').export
    assert export.dims["b"]["example"] == 6


def test_a_derived_dim_of_the_defaults_need_not_be_used_by_every_entry() -> None:
    one, other = 'inputs.x = { shape = ["b"] }', 'inputs.x = { shape = ["d"] }'
    before = '[defaults.dims]\nd = "2*b"\nb = { max = 8 }\n'
    jobs = resolved(f"{before}{entry(one)}{entry(other, name='other')}")
    assert tuple(job.export.derived for job in jobs) == ({}, {"d": "2*b"})


def test_an_example_leaves_every_derived_size_dynamic() -> None:
    text = 'inputs.x = { shape = ["n - 3", "2*m - 9"] }\ndims.m = { min = 5, max = 64, multiple_of = 2 }'
    dims = only(text).export.dims
    assert dims["n"]["example"] == 5
    assert dims["m"]["example"] == 6


def test_tolerances_are_left_to_the_program_unless_given() -> None:
    assert only('dtype = "bfloat16"').verify == VerifySpec(rtol=None, atol=None)
    assert only('verify = { rtol = 0, samples = "example" }').verify == VerifySpec(rtol=0.0, samples="example")


def test_a_bare_so_has_its_weights_inside() -> None:
    assert only('compile.format = "so"').compile.weights == "embedded"


def test_numbers_for_floating_tensors_are_floats_so_that_equal_specs_have_equal_keys() -> None:
    one = only("inputs.x = { shape = [2], range = [0, 1] }").export.to_json()
    other = only("inputs.x = { shape = [2], range = [0.0, 1.0] }").export.to_json()
    assert keys.canonical(one) == keys.canonical(other)


def test_paths_are_told_in_one_form() -> None:
    export = only('weights = "./w//a.pt"\ndata = ["../d/", "x/*.json"]').export
    assert export.weights == "w/a.pt"
    assert export.data == ("../d", "x/*.json")


def test_a_matrix_beyond_measure_is_refused_at_once() -> None:
    long = entry(f'[entry.matrix]\n"kwargs.n" = {list(range(50_000))}')
    assert "50000 variants are more than 10000" in refusal(long)
    wide = "\n".join(f'"kwargs.n{index}" = [1, 2]' for index in range(200))
    assert "so many variants are more than 10000" in refusal(entry(f"[entry.matrix]\n{wide}"))


def test_specs_have_a_json_form_with_every_field() -> None:
    text = DESIGN_EXAMPLE.partition("[entry.matrix]")[0]
    job = resolve.resolve(document.parse(text, "m.toml")).jobs[0]
    for spec in (job.export, job.compile, job.verify):
        form = spec.to_json()
        assert set(form) == set(type(spec).__slots__)
        assert json.loads(keys.canonical(form)) == form


def test_order_of_keys_does_not_change_a_spec() -> None:
    one = only("kwargs = { a = 1, b = 2 }\nseed = 3").export.to_json()
    other = only("seed = 3\nkwargs = { b = 2, a = 1 }").export.to_json()
    assert keys.canonical(one) == keys.canonical(other)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("bert-base[layers=4,float32]@cpu", "bert-base[layers=4,float32]@cpu"),
        ("a b/c:ü@cpu", "a_b_c__@cpu"),
        (".hidden@cpu", "_.hidden@cpu"),
        ("con.x@cpu", "_con.x@cpu"),
        ("-x@cpu", "_-x@cpu"),
        ("..", "_.._"),
        ("nul", "_nul"),
    ],
)
def test_a_folder_is_the_name_made_safe(name: str, folder: str) -> None:
    assert folders([name]) == [folder]


def test_folders_differ_even_when_case_is_ignored_and_in_any_order() -> None:
    names = ["Bert@cpu", "bert@cpu", "a b@cpu", "a_b@cpu", "c@cpu"]
    result = dict(zip(names, folders(names), strict=True))
    assert result["c@cpu"] == "c@cpu"
    assert result["a b@cpu"].startswith("a_b@cpu-")
    assert len({folder.lower() for folder in result.values()}) == len(names)
    backwards = dict(zip(reversed(names), folders(list(reversed(names))), strict=True))
    assert backwards == result


def test_a_hash_that_is_itself_a_name_gives_way() -> None:
    clashing = folders(["A@cpu", "a@cpu"])
    result = folders(["A@cpu", "a@cpu", clashing[0]])
    assert len({folder.lower() for folder in result}) == 3


def test_long_names_are_cut_and_told_apart() -> None:
    names = ["x" * 300 + "1@cpu", "x" * 300 + "2@cpu"]
    result = folders(names)
    assert [len(folder) for folder in result] == [200, 200]
    assert result[0] != result[1]


def test_a_mistake_in_the_defaults_is_told_once_however_many_entries_inherit_it() -> None:
    text = "[defaults]\nseed = -1\n" + "".join(entry(name=f"e{index}") for index in range(50))
    assert refusal(text) == "m.toml:3: defaults.seed: -1 is too small; write 0 or more"


def test_a_mistake_of_an_entry_is_told_once_however_many_variants_it_has() -> None:
    text = entry('seed = -1\nmatrix."kwargs.n" = [1, 2, 3, 4]')
    assert refusal(text) == 'm.toml:5: entry "a", seed: -1 is too small; write 0 or more'


def test_mistakes_come_in_the_order_of_the_lines() -> None:
    text = "[cache]\ndir = 1\n" + entry("zeal = 1\nargs = 1\n[entry.export]\nir = 1") + "[output]\ndir = 2\n"
    lines = [int(line.split(":")[1]) for line in refusal(text).splitlines()]
    assert lines == sorted(lines)
    assert len(lines) == 5


@pytest.mark.parametrize("value", ["true", "1.0", '"1"', "[1]", "{ a = 1 }", "2024-01-01"])
@pytest.mark.parametrize("key", ["seed", "dims.n.min", "dims.n.max", "dims.n.example", "dims.n.multiple_of"])
def test_a_whole_number_is_nothing_else(key: str, value: str) -> None:
    text = entry(f'inputs.x = {{ shape = ["n"] }}\n{key} = {value}')
    assert f'entry "a", {key}: expected a whole number, found ' in refusal(text)


@pytest.mark.parametrize("value", ["true", "1.0", "[1]", "{ a = 1 }", "2024-01-01", "-1", '"-1"'])
def test_a_size_in_a_shape_is_a_whole_number_or_text(value: str) -> None:
    assert 'entry "a", inputs.x.shape[1]: ' in refusal(entry(f"inputs.x = {{ shape = [3, {value}] }}"))


def test_thousands_of_mistakes_are_all_told() -> None:
    text = "".join(entry(f"wieghts{index % 7} = 1", name=f"e{index}") for index in range(2000))
    assert len(refusal(text).splitlines()) == 2000


def test_thousands_of_entries_become_jobs_with_unique_names_and_folders() -> None:
    text = "".join(
        entry('inputs.x = { shape = ["b", 3] }\ndims.b = { max = 8 }', name=f"e{index}") for index in range(2000)
    )
    result = resolved(text)
    assert len({job.name for job in result}) == len({job.folder for job in result}) == 2000


TENSOR = {"tensor": {"shape": ["b", 3], "dtype": "float32", "range": None, "value": None}}


def test_a_list_of_inputs_keeps_its_order() -> None:
    assert inputs_of('inputs = [ { shape = ["b", 3] }, true, "none" ]') == [TENSOR, {"value": True}, {"value": None}]
    assert inputs_of("inputs = []") == []


def test_the_forms_of_inputs_nest_in_one_another() -> None:
    found = inputs_of("""
[entry.inputs]
pair = { tuple = [ { shape = ["b", 3] }, { tuple = [] } ] }
state = { type = "m.n:State", fields = { h = { shape = ["b", 3] }, more = [ { tuple = [ { shape = ["b", 3] } ] } ] } }
""")
    assert found["pair"] == {"tuple": [TENSOR, {"tuple": []}]}
    fields = {"h": TENSOR, "more": {"list": [{"tuple": [TENSOR]}]}}
    assert found["state"] == {"object": {"type": "m.n:State", "fields": fields}}


def test_a_number_is_a_dim_unless_its_dim_is_fixed() -> None:
    text = 'inputs = { n = { dim = "n" }, x = { shape = ["n", "2*n"] } }\n'
    job = only(text + "dims = { n = { min = 2, max = 9 } }")
    assert job.export.inputs["n"] == {"dim": ["n"]}  # type: ignore[call-overload]
    assert job.export.dims["n"]["max"] == 9
    job = only(text + "dims = { n = 5 }")
    assert job.export.inputs["n"] == {"dim": [5]}  # type: ignore[call-overload]
    assert job.export.dims == {}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{ dim = 3 }", {"table": {"dim": {"value": 3}}}),
        ('{ dim = "n", other = 1 }', {"table": {"dim": {"value": "n"}, "other": {"value": 1}}}),
        ('{ type = "gelu" }', {"table": {"type": {"value": "gelu"}}}),
        ("{ fields = { a = 1 } }", {"table": {"fields": {"table": {"a": {"value": 1}}}}}),
        ("{ tuple = 1, list = 2 }", {"table": {"tuple": {"value": 1}, "list": {"value": 2}}}),
    ],
)
def test_a_table_with_a_word_of_the_forms_is_still_a_table(written: str, read: dict[str, Any]) -> None:
    assert inputs_of(f"inputs = {{ config = {written} }}") == {"config": read}


def test_a_list_of_inputs_may_vary_in_a_matrix_as_a_whole() -> None:
    text = "matrix = { inputs = [ [ 1 ], [ 1, 2 ] ] }"
    assert [len(job.export.inputs) for job in resolved(entry(text))] == [1, 2]
    assert "a path leads through tables only" in refusal(entry('inputs = [ 1 ]\nmatrix = { "inputs.x" = [ 1, 2 ] }'))


def test_a_list_of_inputs_replaces_the_table_of_the_defaults() -> None:
    [job] = resolved("[defaults.inputs]\nx = 1\n" + entry("inputs = [ 2 ]"))
    assert job.export.inputs == [{"value": 2}]


def test_the_form_of_inputs_is_part_of_the_key() -> None:
    forms = ["inputs = [ [ 1 ] ]", "inputs = { a = [ 1 ] }", "inputs = { a = { tuple = [ 1 ] } }", "inputs = [ 1 ]"]
    assert len({keys.canonical(only(form).export.to_json()) for form in forms}) == len(forms)
