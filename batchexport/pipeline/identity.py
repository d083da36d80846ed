"""Digest an exported program (without weights and source positions) and its state (names, layout, contents)."""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from joblib import Parallel, delayed
from torch.export import ExportedProgram
from torch.export.graph_signature import CustomObjArgument, InputKind, InputSpec
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from batchexport.core.keys import digest
from batchexport.pipeline.failure import Kind, failing_as

PROGRAM_VERSION = 1
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function, which is another one in each process
_SYMBOL = re.compile(r"\b[su]\d+\b")
_ASSERT = torch.ops.aten._assert_scalar.default


def program_digest(program: ExportedProgram) -> str:
    """Return the digest of the canonical graph with its signature, range constraints, guards, hints and tree specs.

    File names, line numbers, stack traces, node names and values of weights do not count; sub-graphs of
    higher-order ops do.
    """
    return _digest("program", program, str)


def concrete_program_digest(program: ExportedProgram) -> str:
    """Return the digest of the program with the sizes of its example inputs instead of symbols.

    It is what a program and its loaded archive have in common. When torch loads an archive, it simplifies symbolic
    sizes (`Min(32, 32*s0)` comes back as `32`, `Eq(s0, 3)` as `True`), adds the outputs of operators that nobody uses,
    renames the symbols in texts of assertions, puts what a size is asserted to equal in its place, and forgets that
    constants are persistent and the ranges of symbols that nothing has.
    """
    return _digest("skeleton", program, _hint)


def _digest(tag: str, program: ExportedProgram, text: Callable[[Any], str]) -> str:
    signature = program.graph_signature
    spans = program.range_constraints.items()
    if text is _hint:
        used = _symbols(program) - _asserted_equal(program)
        spans = {symbol: span for symbol, span in spans if symbol in used}.items()
    return digest(
        tag,
        PROGRAM_VERSION,
        [_graph(name, module, text) for name, module in _graph_modules(program.graph_module)],
        [
            [str(spec.kind), _argument(spec.arg), spec.target, _is_persistent(spec, text)]
            for spec in signature.input_specs
        ],
        [[str(spec.kind), type(spec.arg).__name__, spec.target] for spec in signature.output_specs],
        sorted([str(symbol), str(span.lower), str(span.upper)] for symbol, span in spans),
        [] if text is _hint else _hints(program),  # concrete sizes are hints
        [str(spec) for spec in (program.call_spec.in_spec, program.call_spec.out_spec)],
        [
            [entry.fqn, str(entry.signature and (entry.signature.in_spec, entry.signature.out_spec))]
            for entry in program.module_call_graph
        ],
    )


def _is_persistent(spec: InputSpec, text: Callable[[Any], str]) -> bool | None:
    return None if text is _hint and spec.kind is not InputKind.BUFFER else spec.persistent


def _hint(size: Any) -> str:
    node = getattr(size, "node", None)
    return str(size) if node is None else str(node.hint)


def _symbols(program: ExportedProgram) -> set[Any]:
    """Return the symbols in the sizes and values of the program."""
    found: set[Any] = set()
    for node in graph_nodes(program):
        for leaf in pytree.tree_leaves(node.meta.get("val")):
            strides = leaf.stride() if _is_strided(leaf) else ()
            for size in (leaf, *getattr(leaf, "shape", ()), *strides):
                if hasattr(size, "node"):
                    found |= getattr(size.node.expr, "free_symbols", set())
    return found


def _asserted_equal(program: ExportedProgram) -> set[Any]:
    """Return the symbols that an assertion at run time holds equal to another size."""
    sides: list[Any] = [
        side.meta.get("val")
        for node in graph_nodes(program)
        if node.target is operator.eq and any(user.target is _ASSERT for user in node.users)
        for side in node.args
        if isinstance(side, Node)
    ]
    found = [size.node.expr for size in sides if hasattr(size, "node")]
    return {expression for expression in found if expression.is_Symbol}


def _is_strided(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided


def _graph_modules(root: GraphModule) -> Iterator[tuple[str, GraphModule]]:
    for name, module in root.named_modules():
        if isinstance(module, GraphModule):
            yield name, module


def graph_nodes(program: ExportedProgram) -> Iterator[Node]:
    """Yield the nodes of a program, those of sub-graphs included."""
    for _, module in _graph_modules(program.graph_module):
        yield from module.graph.nodes


def _graph(name: str, module: GraphModule, text: Callable[[Any], str]) -> list[Any]:
    concrete = text is _hint
    counted = [node for node in module.graph.nodes if not (concrete and _is_unused_output(node))]
    order = {node: index for index, node in enumerate(counted)}

    def form(value: Any) -> Any:
        if isinstance(value, Node):
            return ["node", order[value]]
        if isinstance(value, list | tuple):  # the tuple of torch.cond's operands comes back from an archive as a list
            return ["list", *(form(item) for item in value)]
        if isinstance(value, dict):
            return {str(key): form(item) for key, item in value.items()}
        if isinstance(value, slice):
            return ["slice", form(value.start), form(value.stop), form(value.step)]
        if concrete and isinstance(value, str):
            return _SYMBOL.sub("?", value)
        return [type(value).__name__, _ADDRESS.sub("", str(value))]

    nodes = [
        [
            node.op,
            _target(node),
            form(node.args),
            form(node.kwargs),
            [] if node.op == "output" else [_leaf(leaf, text) for leaf in pytree.tree_leaves(node.meta.get("val"))],
        ]
        for node in counted
    ]
    return [name, nodes]


def _is_unused_output(node: Node) -> bool:
    return node.op == "call_function" and node.target is operator.getitem and not node.users


def _target(node: Node) -> str:
    if node.op in ("placeholder", "output"):
        return ""
    if isinstance(node.target, str):
        return node.target
    return _ADDRESS.sub("", f"{getattr(node.target, '__module__', '')}:{node.target}")


def _leaf(leaf: Any, text: Callable[[Any], str]) -> Any:
    if isinstance(leaf, torch.Tensor):
        strides = [text(stride) for stride in leaf.stride()] if _is_strided(leaf) else str(leaf.layout)
        return [str(leaf.dtype), [text(size) for size in leaf.shape], strides, str(leaf.device), leaf.requires_grad]
    if isinstance(leaf, CustomObjArgument):  # the stand-in for its methods does not come back from an archive
        return ["object", leaf.class_fqn]
    plain = {"SymInt": "int", "SymFloat": "float", "SymBool": "bool"}
    kind = plain.get(type(leaf).__name__, type(leaf).__name__)
    # What a comparison of sizes gives follows from its arguments, and torch may know it only of a loaded program.
    return [kind] if text is _hint and kind == "bool" else [kind, text(leaf)]


def _argument(argument: Any) -> list[str]:
    value = getattr(argument, "value", None)
    return [type(argument).__name__, str(value)]


def _hints(program: ExportedProgram) -> list[Any]:
    """Return the example values of the symbols, which Inductor uses for its choices."""
    hints: dict[str, str] = {}
    for placeholder in program.graph_module.graph.nodes:
        if placeholder.op != "placeholder":
            continue
        for leaf in pytree.tree_leaves(placeholder.meta.get("val")):
            if isinstance(leaf, torch.Tensor):
                # A size that torch has fixed still is a symbol here, and a number once it was loaded.
                symbolic = [size for size in leaf.shape if hasattr(size, "node") and not size.node.expr.is_number]
                hints |= {str(size): _hint(size) for size in symbolic}
    return sorted(hints.items())


def state_ids(program: ExportedProgram) -> list[list[Any]]:
    """Return `[name, kind, dtype, shape, strides, tie group, content digest]` of every parameter, buffer and constant.

    Tensors of one tie group share their storage. An object of C++ is a constant, too, with its class as dtype.
    """
    tensors: list[tuple[str, str, torch.Tensor]] = []
    parameters = set(program.graph_signature.parameters)
    for name, tensor in program.state_dict.items():
        tensors.append((name, "parameter" if name in parameters else "buffer", tensor))
    for name, value in program.constants.items():
        if isinstance(value, torch.Tensor):
            tensors.append((name, "constant", value))
    groups: dict[int, int] = {}
    for _, _, tensor in tensors:
        groups.setdefault(storage_of(tensor), len(groups))
    digests = content_digests(tensor for _, _, tensor in tensors)
    ids = [
        [
            name,
            kind,
            str(tensor.dtype),
            list(tensor.shape),
            list(tensor.stride()),
            groups[storage_of(tensor)],
            content,
        ]
        for (name, kind, tensor), content in zip(tensors, digests, strict=True)
    ]
    ids += [
        [name, "constant", value._type().qualified_name(), [], [], name, hashlib.sha256(_pickle(value)).hexdigest()]
        for name, value in program.constants.items()
        if isinstance(value, torch.ScriptObject)
    ]
    return sorted(ids, key=lambda row: row[0])


def _pickle(value: torch.ScriptObject) -> bytes:
    with failing_as(Kind.SAVE, f"pickling an object of the class {value._type().qualified_name()}"):
        return torch._C._pickle_save(value)  # as torch.export.save does


def storage_of(tensor: torch.Tensor) -> int:
    """Return what identifies the storage that tied tensors share; empty tensors share none."""
    return tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor)


def content_digests(tensors: Iterable[torch.Tensor]) -> list[str]:
    """Return the `content_digest` of each tensor, computed in parallel threads: hashlib releases the GIL."""
    found: list[str] = Parallel(n_jobs=2, prefer="threads")(delayed(content_digest)(tensor) for tensor in tensors)
    return found


def content_digest(tensor: torch.Tensor) -> str:
    """Return the SHA-256 of a tensor's elements in row-major order."""
    plain = tensor.detach().cpu().contiguous()
    if not plain.numel():
        return hashlib.sha256(b"").hexdigest()
    return hashlib.sha256(plain.view(-1).view(torch.uint8).numpy().data).hexdigest()
