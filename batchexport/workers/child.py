"""Run one stage and exit: in a process forked with torch imported, or spawned where forking is not safe."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from batchexport.workers import native_opens, process
from batchexport.workers.protocol import StageRequest

PIPELINE = "batchexport.pipeline.stages"


def load_pipeline(tools: Mapping[str, str] | None = None) -> list[str]:
    """Import the pipeline, and torch with it, once for this process and all that it forks.

    With the `tools` of a compile this process gets ready for children that compile, too. Returns what `stages.warm`
    does. Raises whatever an import raises.
    """
    # Imports leave hardly any garbage, and each collection would walk all their objects, later ones too unless frozen.
    gc.disable()
    try:
        first_party: list[str] = importlib.import_module(PIPELINE).warm(tools)
    finally:
        gc.enable()
    gc.freeze()
    return first_party


def run_stage(request: StageRequest, *, preloaded: bool = False) -> None:
    """Run the stage that `request` describes; does not return. `preloaded`: forked from a server that has torch."""
    code = 1
    try:
        process.limit_memory(request.memory_limit)
        process.apply_environment(request.environment, request.task["root"])
        if preloaded and (PIPELINE not in sys.modules or "torch" not in sys.modules):
            raise RuntimeError("the fork server forked a child without having imported torch")
        task = {**request.task, "preloaded": preloaded}
        importlib.import_module(PIPELINE).run(task, request.folder)
        code = 0
    except BaseException:  # noqa: BLE001 - the log takes every error, and the child ends
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Skip exit handlers and threads that the stage left behind: there is nothing in them worth waiting for.
        os._exit(code)


def main() -> None:
    """Run the request in the file named by the first argument, for the fork server whose pid is the second.

    Used where the server can't fork safely.
    """
    request = StageRequest.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    process.die_with_parent(int(sys.argv[2]))
    process.redirect_output(request.log)
    native_opens.take_out(os.environ)
    load_pipeline()
    run_stage(request)


if __name__ == "__main__":
    main()
