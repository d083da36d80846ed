"""Weights are loaded as torch's own strict load does; where a line of the manifest would help, the failure names it."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from batchexport.core.errors import Kind
from batchexport.pipeline.build import build
from batchexport.pipeline.checkpoint import weight_files
from batchexport.pipeline.failure import StageFailure
from support.checkpoints import Net, Normed, Tied, net_state, prefixed, weights, write_shards
from support.exporting import job_of

pytestmark = pytest.mark.torch

ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def built(root: Path, model: str, file: str, *lines: str) -> nn.Module:
    """The model of an entry named "model" that takes its weights from a file."""
    entry = "\n".join([f'model = "support.checkpoints:{model}"', f'weights = "{file}"', *lines])
    job = job_of(root, entry)
    return build(job.export.to_json(), str(root), job.entry)


def refused(root: Path, model: str, file: str, *lines: str) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        built(root, model, file, *lines)
    failure = caught.value
    assert failure.kind is Kind.WEIGHTS
    assert "\x1b" not in failure.message + (failure.remedy or "")
    return failure


def assert_holds(model: nn.Module, state: dict[str, Any]) -> None:
    found = model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt", "bin", "safetensors"])
def test_every_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    state = net_state()
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    assert_holds(built(tmp_path, "Net", path.name), state)


def test_a_file_of_the_old_format_of_torch_is_read(tmp_path: Path) -> None:
    state = net_state()
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert_holds(built(tmp_path, "Net", "w.pt"), state)


def test_a_batch_norm_of_old_counted_no_batches(tmp_path: Path) -> None:
    state = net_state()
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Net", "w.pt"), state)


def test_a_batch_norm_of_today_without_its_count_is_refused_as_torch_refuses_it(tmp_path: Path) -> None:
    state = Net().state_dict()
    del state["bn.num_batches_tracked"]  # the version that the file names has it
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        Net().load_state_dict(torch.load(tmp_path / "w.pt", weights_only=True))
    assert refused(tmp_path, "Net", "w.pt").message == "w.pt: tensor 'bn.num_batches_tracked' is missing"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_names_of_the_old_weight_norm_are_taken(tmp_path: Path, prefix: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.utils.weight_norm(nn.Conv1d(3, 5, 3, bias=False))
    state = {f"c.{name}": value for name, value in old.state_dict().items()}
    torch.save(prefixed(prefix, state), tmp_path / "w.pt")
    line = [f'weights_prefix = "{prefix}"'] if prefix else []
    expected = Normed()
    expected.load_state_dict(state)
    assert_holds(built(tmp_path, "Normed", "w.pt", *line), dict(expected.state_dict()))
    if prefix:
        assert refused(tmp_path, "Normed", "w.pt").remedy == 'write weights_prefix = "module." in [[entry]] model'


def test_versions_of_modules_are_found_under_their_names_without_the_prefix(tmp_path: Path) -> None:
    state = nn.Sequential(Net()).state_dict()
    del state["0.bn.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pt")
    assert refused(tmp_path, "Net", "w.pt", 'weights_prefix = "0."').message.endswith(
        "'bn.num_batches_tracked' is missing"
    )


def test_names_that_are_missing_and_names_that_are_not_in_the_model_are_counted(tmp_path: Path) -> None:
    state = net_state()
    torch.save({**state, "more.weight": state["a.bias"], "epoch": 3}, tmp_path / "more.pt")
    failure = refused(tmp_path, "Net", "more.pt")
    assert failure.message == "more.pt: an int named 'epoch' is not in the model (and 1 more)"
    assert failure.remedy == "save only what this architecture has"
    del state["a.bias"]
    torch.save(state, tmp_path / "less.pt")
    failure = refused(tmp_path, "Net", "less.pt")
    assert failure.message == "less.pt: tensor 'a.bias' is missing"
    assert failure.remedy == "save the checkpoint from this architecture"


def test_a_wrong_shape_is_named_with_both_shapes(tmp_path: Path) -> None:
    torch.save({**weights(), "linear.weight": torch.ones(2, 5)}, tmp_path / "w.pt")
    message = refused(tmp_path, "Plain", "w.pt").message
    assert message == "w.pt: tensor 'linear.weight' has shape [2, 5], the model has [2, 4]"


# ── tied tensors ─────────────────────────────────────────────────────────────────────────────────


def test_one_name_of_tied_tensors_is_enough(tmp_path: Path) -> None:
    value = torch.arange(40.0).reshape(10, 4)
    for name in ("emb.weight", "head.weight"):
        save_file({name: value}, tmp_path / "w.safetensors")
        assert_holds(built(tmp_path, "Tied", "w.safetensors"), {"emb.weight": value, "head.weight": value})


def test_both_names_of_tied_tensors_hold_one_value(tmp_path: Path) -> None:
    value = torch.arange(40.0).reshape(10, 4)
    value[0, 0] = torch.nan
    save_file({"emb.weight": value, "head.weight": value.clone()}, tmp_path / "w.safetensors")
    built(tmp_path, "Tied", "w.safetensors")
    save_file({"emb.weight": value, "head.weight": value + 1}, tmp_path / "w.safetensors")
    message = refused(tmp_path, "Tied", "w.safetensors").message
    assert message == "w.safetensors: the tensors 'emb.weight' and 'head.weight' differ; in the model they are one"


def test_a_part_of_a_tensor_does_not_stand_for_the_whole(tmp_path: Path) -> None:
    torch.save({"whole": torch.ones(3, 4)}, tmp_path / "whole.pt")
    assert_holds(built(tmp_path, "Views", "whole.pt"), {"whole": torch.ones(3, 4), "first": torch.ones(4)})
    torch.save({"first": torch.ones(4)}, tmp_path / "first.pt")
    assert "'whole' is missing" in refused(tmp_path, "Views", "first.pt").message


def test_a_lazy_model_gets_its_shape_from_its_weights(tmp_path: Path) -> None:
    torch.save(weights(3.0), tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Lazy", "w.pt"), weights(3.0))


# ── dtypes ───────────────────────────────────────────────────────────────────────────────────────


def as_dtype(dtype: torch.dtype) -> dict[str, Any]:
    state = net_state()
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn])
def test_values_are_cast_if_the_entry_says_so_and_the_log_tells(
    tmp_path: Path, dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    state, name = as_dtype(dtype), str(dtype).removeprefix("torch.")
    torch.save(state, tmp_path / "w.pt")
    failure = refused(tmp_path, "Net", "w.pt")
    assert failure.message == f"w.pt: tensor 'a.weight' has dtype {name}, the model has float32 (and 7 more)"
    first, *other = (failure.remedy or "").split(", or ")
    assert first == 'write dtype = "float32" in [[entry]] model to cast the values'
    assert other == ([] if name.startswith("float8") else [f'dtype = "{name}" to cast the model'])
    expected = Net()
    expected.load_state_dict(state)
    assert_holds(built(tmp_path, "Net", "w.pt", 'dtype = "float32"'), dict(expected.state_dict()))
    assert f"cast from w.pt: a.weight ({name} to float32), " in capsys.readouterr().out


def test_values_under_names_of_old_are_not_cast_in_silence(tmp_path: Path) -> None:
    old = {"c.weight_g": torch.ones(5, 1, 1).double(), "c.weight_v": torch.ones(5, 3, 3).double()}
    torch.save(old, tmp_path / "w.pt")
    message = refused(tmp_path, "Normed", "w.pt").message
    assert message == "w.pt: tensor 'c.weight_g' has dtype float64, the model has float32 (and 1 more)"
    built(tmp_path, "Normed", "w.pt", 'dtype = "float32"')


def test_float64_weights_of_a_float64_model_pass_through_no_float32(tmp_path: Path) -> None:
    state = {
        name: value + 1e-12 if value.is_floating_point() else value for name, value in as_dtype(torch.float64).items()
    }
    torch.save(state, tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Net", "w.pt", 'dtype = "float64"'), state)


def test_a_bfloat16_checkpoint_of_a_bfloat16_model_is_taken_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(as_dtype(torch.bfloat16), tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Net", "w.pt", 'dtype = "bfloat16"'), as_dtype(torch.bfloat16))
    assert "cast from" not in capsys.readouterr().out


def test_integers_are_no_floating_point_values_whatever_the_entry_says(tmp_path: Path) -> None:
    torch.save({**weights(), "linear.bias": torch.arange(2)}, tmp_path / "w.pt")
    message = refused(tmp_path, "Plain", "w.pt", 'dtype = "float64"').message
    assert message == "w.pt: tensor 'linear.bias' has dtype int64, the model has float64"


# ── keys and prefixes ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        (None, "module."),
        (None, "_orig_mod."),
        (None, "module._orig_mod."),
        ("state_dict", "model."),
        ("model_state_dict", None),
        ("model.state_dict", None),
        ("a.b.c", "net."),
        ('say "hi"', None),
    ],
)
def test_the_remedy_is_what_to_write_and_works(tmp_path: Path, key: str | None, prefix: str | None) -> None:
    state = net_state()
    content: Any = prefixed(prefix or "", state)
    for name in reversed(key.split(".") if key else ()):
        content = {"epoch": 3, "optimizer": {"lr": 0.1, "state": {0: {"step": torch.ones(1)}}}, name: content}
    torch.save(content, tmp_path / "w.ckpt")
    failure = refused(tmp_path, "Net", "w.ckpt")
    lines = re.findall(r'weights_\w+ = "(?:[^"\\]|\\.)*"', failure.remedy or "")
    assert len(lines) == (key is not None) + (prefix is not None)
    assert (failure.remedy or "").endswith(" in [[entry]] model")
    assert_holds(built(tmp_path, "Net", "w.ckpt", *lines), state)


def test_a_message_tells_where_the_state_dict_is_and_how_its_names_begin(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": prefixed("model.", net_state())}, tmp_path / "w.ckpt")
    failure = refused(tmp_path, "Net", "w.ckpt")
    assert failure.message == 'w.ckpt: the state_dict is nested under "state_dict" and its names begin with "model."'
    assert failure.remedy == 'write weights_key = "state_dict" and weights_prefix = "model." in [[entry]] model'
    failure = refused(tmp_path, "Net", "w.ckpt", 'weights_key = "state_dict"')
    tensor = "tensor 'model.a.bias' is not in the model (and 16 more)"
    assert failure.message.endswith(f'its names begin with "model.": {tensor}')
    assert failure.remedy == 'write weights_prefix = "model." in [[entry]] model'


def test_a_plain_state_dict_is_found_without_its_key(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": net_state()}, tmp_path / "w.ckpt")
    for lines in ((), ('weights_key = "state_dict"',)):
        assert_holds(built(tmp_path, "Net", "w.ckpt", *lines), net_state())


def test_of_several_state_dicts_that_fit_all_are_named(tmp_path: Path) -> None:
    torch.save({"model": net_state(), "ema": net_state(9), "epoch": 3}, tmp_path / "w.pt")
    remedy = 'write weights_key = "model" in [[entry]] model; or write weights_key = "ema" in [[entry]] model'
    assert refused(tmp_path, "Net", "w.pt").remedy == remedy
    assert_holds(built(tmp_path, "Net", "w.pt", 'weights_key = "ema"'), net_state(9))


def test_a_prefix_is_named_although_more_is_wrong(tmp_path: Path) -> None:
    torch.save(prefixed("model.", net_state()) | {"loss.weight": torch.ones(1)}, tmp_path / "w.pt")
    assert refused(tmp_path, "Net", "w.pt").remedy == 'write weights_prefix = "model." in [[entry]] model'
    message = refused(tmp_path, "Net", "w.pt", 'weights_prefix = "model."').message
    assert message == "w.pt: tensor 'loss.weight' is not in the model"


def test_no_key_and_no_prefix_is_named_that_would_not_help(tmp_path: Path) -> None:
    other = {"encoder.x": torch.ones(1), "encoder.y": torch.ones(1)}
    for content in (other, {"state_dict": other, "epoch": 3}, {"first": net_state(), **other} | {"first": 1}):
        torch.save(content, tmp_path / "w.pt")
        assert "weights_" not in (refused(tmp_path, "Net", "w.pt").remedy or "")
    both = prefixed("first.", weights()) | prefixed("second.", weights())
    torch.save(both, tmp_path / "w.pt")
    assert "weights_" not in (refused(tmp_path, "Plain", "w.pt").remedy or "")


def test_a_key_that_is_not_there_is_told_with_what_is(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "weights": {"x": torch.ones(1)}}, tmp_path / "w.pt")
    failure = refused(tmp_path, "Net", "w.pt", 'weights_key = "state_dict"')
    assert failure.message == 'w.pt: there is no "state_dict" in it'
    assert failure.remedy == 'it holds "epoch", "weights"'
    torch.save({"epoch": 3, "net": net_state()}, tmp_path / "w.pt")
    failure = refused(tmp_path, "Net", "w.pt", 'weights_key = "state_dict"')
    assert failure.remedy == 'write weights_key = "net" in [[entry]] model'


def test_a_key_or_prefix_too_many_is_to_be_removed(tmp_path: Path) -> None:
    torch.save(net_state(), tmp_path / "w.pt")
    failure = refused(tmp_path, "Net", "w.pt", 'weights_key = "state_dict"', 'weights_prefix = "module."')
    assert failure.message == "w.pt: the state_dict is neither nested nor prefixed"
    assert failure.remedy == "remove weights_key and weights_prefix from [[entry]] model"
    failure = refused(tmp_path, "Net", "w.pt", 'weights_prefix = "module."')
    assert failure.message.endswith('no name begins with "module."')


def test_a_prefix_is_taken_off_the_names_that_have_it_but_no_two_become_one(tmp_path: Path) -> None:
    state = net_state()
    some = {name if name == "a.bias" else f"module.{name}": value for name, value in state.items()}
    torch.save(some, tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Net", "w.pt", 'weights_prefix = "module."'), state)
    torch.save({**some, "module.a.bias": some["a.bias"]}, tmp_path / "w.pt")
    message = refused(tmp_path, "Net", "w.pt", 'weights_prefix = "module."').message
    assert message == "w.pt: without \"module.\", two names are 'a.bias'"


def test_names_may_themselves_hold_dots(tmp_path: Path) -> None:
    torch.save({"model.state_dict": {"inner": net_state()}}, tmp_path / "w.pt")
    assert_holds(built(tmp_path, "Net", "w.pt", 'weights_key = "model.state_dict.inner"'), net_state())


def test_a_state_dict_is_found_however_deep_it_is_nested_and_if_the_file_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": {"b": {"c": {"d": {"e": net_state()}}}}}
    content["self"] = content
    torch.save(content, tmp_path / "w.pt")
    assert refused(tmp_path, "Net", "w.pt").remedy == 'write weights_key = "a.b.c.d.e" in [[entry]] model'
    assert_holds(built(tmp_path, "Net", "w.pt", 'weights_key = "self.a.b.c.d.e"'), net_state())


def test_a_safetensors_file_nests_nothing_and_may_have_prefixes(tmp_path: Path) -> None:
    save_file(prefixed("module.", net_state()), tmp_path / "w.safetensors")
    lines = ('weights_key = "state_dict"', 'weights_prefix = "module."')
    assert_holds(built(tmp_path, "Net", "w.safetensors", *lines), net_state())


# ── shards ───────────────────────────────────────────────────────────────────────────────────────


def halves() -> tuple[dict[str, Any], dict[str, Any]]:
    state = net_state()
    return {name: state[name] for name in list(state)[:4]}, {name: state[name] for name in list(state)[4:]}


@pytest.mark.parametrize(
    "names", [(ONE, TWO), ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")]
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_checkpoint_in_shards_is_loaded_by_its_index(tmp_path: Path, names: tuple[str, str], prefix: str) -> None:
    parts = {file: prefixed(prefix, half) for file, half in zip(names, halves(), strict=True)}
    index = write_shards(tmp_path / "w", parts)
    assert weight_files(str(index)) == [str(index), *(str(tmp_path / "w" / name) for name in names)]
    line = [f'weights_prefix = "{prefix}"'] if prefix else []
    assert_holds(built(tmp_path, "Net", f"w/{index.name}", *line), net_state())
    if prefix:
        remedy = refused(tmp_path, "Net", f"w/{index.name}").remedy
        assert remedy == 'write weights_prefix = "model." in [[entry]] model'


def test_one_shard_is_not_the_whole(tmp_path: Path) -> None:
    write_shards(tmp_path / "w", dict(zip((ONE, TWO), halves(), strict=True)))
    failure = refused(tmp_path, "Net", f"w/{ONE}")
    assert "is missing (and 3 more)" in failure.message
    assert failure.remedy == 'it is one shard of several: write "w/model.safetensors.index.json" in its place'


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "w", dict(zip((ONE, TWO), halves(), strict=True)))
    (tmp_path / "w" / TWO).unlink()
    failure = refused(tmp_path, "Net", f"w/{index.name}")
    assert failure.message == f"{index.name}: 1 of 2 shards not found beside it: {TWO}"
    assert weight_files(str(index))[1:] == [str(tmp_path / "w" / ONE), str(tmp_path / "w" / TWO)]


@pytest.mark.parametrize("shard", ["../w.safetensors", "/w.safetensors", "a/../../w.pt", "C:w.pt", "..\\w.pt", ""])
def test_a_shard_outside_the_folder_is_refused_and_not_read(tmp_path: Path, shard: str) -> None:
    save_file(net_state(), tmp_path / "w.safetensors")
    index = write_shards(tmp_path / "w", {ONE: halves()[0]}, listed={"a.weight": ONE, "b.weight": shard})
    failure = refused(tmp_path, "Net", f"w/{index.name}")
    assert f"lists the shard {shard!r}, which is no file of weights in its own folder" in failure.message
    assert weight_files(str(index)) == [str(index)]


def test_shards_and_index_are_of_one_piece(tmp_path: Path) -> None:
    first, second = halves()
    places = dict.fromkeys(first, ONE) | dict.fromkeys(second, TWO)

    def message(parts: dict[str, Any], listed: dict[str, str]) -> str:
        return refused(tmp_path, "Net", f"w/{write_shards(tmp_path / 'w', parts, listed=listed).name}").message

    index, name = "model.safetensors.index.json", next(iter(first))
    twice = {ONE: first, TWO: {**second, name: first[name]}}
    assert message(twice, places) == f"{TWO} holds {name!r}, and {index} lists it for {ONE}"
    more = {ONE: first, TWO: {**second, "more": torch.ones(1)}}
    assert message(more, places) == f"{TWO} holds 'more', and {index} does not list it"
    less = {ONE: {key: first[key] for key in list(first)[1:]}, TWO: second}
    assert message(less, places) == f"{ONE} does not hold {name!r}, which {index} lists there"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "reading w.index.json: JSONDecodeError"),
        ('{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "'a' is listed twice"),
        ("[1]", "w.index.json lists no shards"),
        ('{"weight_map": {}}', "w.index.json lists no shards"),
        ('{"weight_map": {"a": 1}}', "w.index.json lists no shards"),
        ('{"weight_map": {"a": "w.index.json"}}', "lists the shard 'w.index.json'"),
        ("[" * 100_000, "reading w.index.json: RecursionError"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "w.index.json").write_text(text)
    assert words in refused(tmp_path, "Net", "w.index.json").message
    assert weight_files(str(tmp_path / "w.index.json")) == [str(tmp_path / "w.index.json")]


# ── files that are something else ────────────────────────────────────────────────────────────────


def write_pickled(path: Path) -> None:
    torch.save(Net(), path)


def write_pickled_of_old(path: Path) -> None:
    torch.save(Net(), path, _use_new_zipfile_serialization=False)


def write_arguments(path: Path) -> None:
    torch.save({"state_dict": net_state(), "args": argparse.Namespace(lr=0.1)}, path)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Net(), protocol=2))


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_pickled, "support.checkpoints.Net"),
        (write_pickled_of_old, "support.checkpoints.Net"),
        (write_pickle, "support.checkpoints.Net"),
        (write_arguments, "argparse.Namespace"),
    ],
)
def test_a_pickled_module_is_not_run(tmp_path: Path, write: Any, name: str) -> None:
    write(tmp_path / "w.pt")
    failure = refused(tmp_path, "Net", "w.pt")
    assert failure.message == f"w.pt holds a pickled module or other code: {name}"
    assert failure.remedy == 'save its state_dict instead: torch.save(model.state_dict(), "w.pt")'


def test_a_pickle_of_a_later_protocol_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(net_state(), tmp_path / "w.pt", pickle_protocol=4)
        assert refused(tmp_path, "Net", "w.pt").remedy == "save it with torch.save's own pickle_protocol"


def test_a_scripted_module_is_no_state_dict(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(4, 2)), tmp_path / "w.pt")
        assert refused(tmp_path, "Net", "w.pt").message == "w.pt holds a scripted module"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([net_state()], "w.pt: it is a list, not a state_dict"),
        (torch.ones(1), "w.pt: it is a Tensor, not a state_dict"),
        ({0: torch.ones(1)}, "w.pt: it is no state_dict: the name 0 is an int, not text"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert refused(tmp_path, "Net", "w.pt").message == message


def test_a_key_may_lead_to_anything(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    message = refused(tmp_path, "Net", "w.pt", 'weights_key = "epoch"').message
    assert message == 'w.pt: "epoch" is an int, not a state_dict'


def test_files_with_another_beginning_than_their_suffix_says_are_told_apart(tmp_path: Path) -> None:
    save_file(net_state(), tmp_path / "w.bin")
    failure = refused(tmp_path, "Net", "w.bin")
    assert failure.message == "w.bin is a file of safetensors, not of torch.save"
    assert failure.remedy == "rename it, so that it ends in .safetensors"
    torch.save(net_state(), tmp_path / "w.safetensors")
    failure = refused(tmp_path, "Net", "w.safetensors")
    assert failure.message == "w.safetensors is a file of torch.save, not of safetensors"
    (tmp_path / "w.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert refused(tmp_path, "Net", "w.pt").remedy == "run `git lfs pull`"


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_that_is_not_whole_is_told_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pt":
        torch.save(net_state(), path)
    else:
        save_file(net_state(), path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:20], b"\x80\x02garbage", b"some words of text"):
        path.write_bytes(content)
        failure = refused(tmp_path, "Net", path.name)
        assert failure.message.startswith(f"reading {path.name}: ")
        assert "weights_only" not in failure.message
        assert failure.remedy == "is the file truncated or corrupt?"
    path.write_bytes(b"")
    assert refused(tmp_path, "Net", path.name).message == f"{path.name} is empty"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").mkdir()
    assert refused(tmp_path, "Net", "w.pt").message.endswith("w.pt is a folder")
    assert refused(tmp_path, "Net", "v.pt").message.startswith("no such file: ")


def test_a_model_that_takes_another_state_says_why_in_its_own_words(tmp_path: Path) -> None:
    state = Tied().state_dict()
    torch.save({**state, "emb.weight": 3}, tmp_path / "w.pt")
    assert "expected torch.Tensor" in refused(tmp_path, "Tied", "w.pt").message
