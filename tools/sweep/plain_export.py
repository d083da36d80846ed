"""Build tiny models of transformers and export them with plain torch, each in a process of its own."""

from __future__ import annotations

import inspect
import io
import logging
import multiprocessing
import multiprocessing.connection
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from batchexport.core.job import ExportSpec
from sweep.tiny_configs import shrunk

_PATIENCE = 60.0  # seconds for one type
_MOST = 30_000_000  # parameters of a tiny model


def prepare() -> None:
    """Import what most types need, so that the processes that are forked from this one need not."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    for name in ("AutoBackbone", "BertModel", "LlamaModel", "CLIPModel", "T5Model", "WhisperModel", "LlavaModel"):
        getattr(transformers, name)
    # One thread, so the processes that are forked later find all of torch's machinery warm, and no lock held.
    kwargs = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    plain_export_of("bert", kwargs)


def in_processes(work: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[Any, Any]]:
    """Yield each item with what `work` returns for it, or the text of what went wrong, as they are ready."""
    context = multiprocessing.get_context("fork")
    pending, running = list(items), {}
    while pending or running:
        while pending and len(running) < workers:
            item = pending.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_send, args=(work, item, sender))
            process.start()
            sender.close()
            running[receiver] = (item, process, time.monotonic())
        ready = multiprocessing.connection.wait(list(running), timeout=1.0)
        late = [one for one, (_, _, start) in running.items() if time.monotonic() - start > _PATIENCE]
        for receiver in {*ready, *late}:
            item, process, _ = running.pop(receiver)
            try:
                result = receiver.recv() if receiver in ready else f"not done in {_PATIENCE:.0f} s"
            except EOFError:
                result = "the process died"
            process.kill()
            process.join()
            yield item, result


def _send(work: Callable[[Any], Any], item: Any, sender: Any) -> None:
    sys.stdout = io.StringIO()  # what a model or the pipeline prints
    try:
        result = work(item)
    except BaseException as error:  # noqa: BLE001 - whatever a model raises is a result
        lines = str(error).strip().splitlines() or [""]
        result = f"{type(error).__name__}: {' '.join(lines[:3])[:300]}"
    sender.send(result)


def tiny_arguments(name: str, build: bool = True) -> dict[str, Any]:
    """Return the arguments of a tiny model of a type, after building it. Raises whatever building it raises."""
    from transformers import AutoConfig, AutoModel, PreTrainedConfig

    default = AutoConfig.for_model(name)

    def fields(path: str) -> Callable[[str], Any] | None:
        config: Any = default
        for part in path.split(".") if path else ():
            config = getattr(config, part, None)
        if not isinstance(config, PreTrainedConfig):
            return None
        parameters = set(inspect.signature(type(config).__init__).parameters)
        return (parameters | set(getattr(type(config), "__dataclass_fields__", ()))).__contains__

    kwargs = shrunk(default.to_dict(), fields)
    if not build:
        return kwargs
    model = AutoModel.from_config(AutoConfig.for_model(name, **kwargs))
    size = sum(one.numel() for one in model.parameters())
    if size > _MOST:
        raise ValueError(f"{size / 1e6:.0f} million parameters")
    return kwargs


def plain_export_of(name: str, kwargs: Mapping[str, Any]) -> None:
    """Export a type with the inputs that batchexport derives, every size of theirs left to torch.

    Raises whatever torch raises, in saving too, and AssertionError where the program does not give what the model does.
    """
    import torch

    from batchexport.pipeline.build import build
    from batchexport.pipeline.inputs import Examples
    from batchexport.pipeline.signature_inputs import derived

    spec = ExportSpec(model=f"transformers:{name}", kwargs=kwargs).to_json()
    model = build(spec, ".")
    found = derived(model, spec, ".").spec
    values = {name: dim["example"] for name, dim in found["dims"].items()}
    args, by_name = Examples.of(model, found, ".").call(values)
    auto, fixed = torch.export.Dim.AUTO, torch.export.Dim.STATIC
    shapes = {
        name: {at: auto if isinstance(size, str) else fixed for at, size in enumerate(node["tensor"]["shape"])}
        for name, node in found["inputs"].items()
    }
    program = torch.export.export(model, args, by_name, dynamic_shapes=shapes, strict=False)
    torch.export.save(program, io.BytesIO())
    with torch.no_grad():
        got, want = program.module()(*args, **by_name), model(*args, **by_name)
    for one, other in zip(torch.utils._pytree.tree_leaves(got), torch.utils._pytree.tree_leaves(want), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, equal_nan=True)
