"""What it costs to observe a model's dependencies: each export of the zoo with and without, in turn.

    python tools/benchmarks/observation.py                     every job of manifests/zoo.toml, three pairs each
    python tools/benchmarks/observation.py --only vit@cpu      some of them
    python tools/benchmarks/observation.py --manifest FILE     those of another manifest

The product runs once and what it asks its fork server for is kept. Two servers then fork a child for each of these
requests in turn: one as the product does, the other without the preloaded library and with an observer that does
nothing. Of each job the fastest of its runs counts, with and without, as everything that disturbs only adds; the
seconds are the stage's own. CPU seconds, of the whole child, are told beside them: big models write gigabytes, and
waiting for the disk says nothing. The target is (sum with) <= 1.03 x (sum without). Exit status: 0 met, 1 missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TARGET = 1.03
_ZOO = Path(__file__).parents[2] / "manifests" / "zoo.toml"

# Run the product's command line and write down the environment of its fork server and each request to it.
_RECORDED = """
import json, sys
from batchexport.cli.main import main
from batchexport.workers import forkserver

record = sys.argv[1]

class Recorded(forkserver.ForkServer):
    def start(self, request):
        with open(record, "a") as file:
            file.write(json.dumps({"environment": self._environment, "request": request.to_json()}) + "\\n")
        super().start(request)

forkserver.ForkServer = Recorded
sys.argv[1:2] = []
main()
"""


class _Unobserved:
    """An observer that sees nothing."""

    def __init__(self, **given: object) -> None:
        self.uncacheable: list[str] = []

    def install(self) -> None:
        """Do nothing."""

    def declare(self, path: str, *, weights: bool = False) -> None:
        """Do nothing."""

    def dependencies(self) -> list[Any]:
        """Return an empty list."""
        return []


def serve(*, observed: bool) -> None:
    """Fork a child for each request on standard input; print its seconds by the clock and of CPU."""
    from batchexport.pipeline import stages
    from batchexport.workers import child, native_opens, process

    native_opens.take_out(os.environ)
    child.load_pipeline()
    if not observed:
        stages.Observer = _Unobserved  # type: ignore[assignment, misc]
    for line in sys.stdin:
        given = json.loads(line)
        request, folder = given["request"], given["folder"]
        pid = os.fork()
        if not pid:
            process.redirect_output(os.path.join(folder, "log"))
            process.apply_environment(request["environment"], request["task"]["root"])
            stages.run({**request["task"], "preloaded": True}, folder)
            os._exit(0)
        usage = os.wait4(pid, 0)[2]
        result = json.loads(Path(folder, stages.RESULT).read_text(encoding="utf-8"))
        if not result["ok"]:
            raise RuntimeError(result)
        print(json.dumps([result["seconds"], usage.ru_utime + usage.ru_stime]), flush=True)


def requests(manifest: Path, only: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Export the jobs of a manifest with a new cache; return what the fork server was asked for."""
    record = folder / "requests"
    words = ["run", str(manifest), "--stage", "export", "-j", "1", "--cache-dir", str(folder / "cache")]
    words += [word for pattern in only for word in ("--only", pattern)]
    subprocess.run([sys.executable, "-c", _RECORDED, str(record), *words], check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def server(environment: Mapping[str, str], *, observed: bool) -> subprocess.Popen[str]:
    """Start a process that serves."""
    from batchexport.workers import native_opens

    return subprocess.Popen(
        [sys.executable, "-P", __file__, "--serve", "observed" if observed else "unobserved"],
        env=native_opens.preloaded(environment) if observed else dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def seconds(process: subprocess.Popen[str], request: Mapping[str, Any], folder: Path) -> list[float]:
    """Run one request in a new folder; return the seconds by the clock and of CPU."""
    assert process.stdin is not None and process.stdout is not None
    folder.mkdir()
    process.stdin.write(json.dumps({"request": request, "folder": str(folder)}) + "\n")
    process.stdin.flush()
    took: list[float] = json.loads(process.stdout.readline())
    shutil.rmtree(folder)
    return took


def row(name: str, observed: Sequence[float], unobserved: Sequence[float]) -> str:
    """Return one line of the table."""
    texts = [f"{one:>7.2f} {other:>7.2f} {one / other:>6.3f}" for one, other in zip(observed, unobserved, strict=True)]
    return f"{name:<32} {'   '.join(texts)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, default=_ZOO, help="default: manifests/zoo.toml")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="jobs, as of `batchexport run`")
    parser.add_argument("--pairs", type=int, default=3, help="how often each is measured (default 3)")
    parser.add_argument("--serve", choices=["observed", "unobserved"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(observed=given.serve == "observed")
        return 0
    with tempfile.TemporaryDirectory(prefix="benchmark_observation-") as name:
        folder = Path(name)
        project = folder / "project"
        shutil.copytree(given.manifest.parent, project)
        asked = requests(project / given.manifest.name, given.only, folder)
        with_, without = (server(asked[0]["environment"], observed=observed) for observed in (True, False))
        sums = [[0.0, 0.0], [0.0, 0.0]]
        print(f"{'':<32} {'seconds':^22}   {'CPU seconds':^22}")
        print(f"{'job':<32} {'with':>7} {'without':>7} {'ratio':>6}   {'with':>7} {'without':>7} {'ratio':>6}")
        for one in asked:
            pairs = [
                [seconds(process, one["request"], folder / "child") for process in (with_, without)]
                for _ in range(given.pairs)
            ]
            fastest = [[min(times) for times in zip(*runs, strict=True)] for runs in zip(*pairs, strict=True)]
            sums = [
                [total + took for total, took in zip(*both, strict=True)] for both in zip(sums, fastest, strict=True)
            ]
            print(row(one["request"]["id"], *fastest), flush=True)
        for process in (with_, without):
            process.communicate()
    print(row("sum", *sums), "  ", f"{TARGET} {'met' if sums[0][0] <= TARGET * sums[1][0] else 'MISSED'}")
    return 0 if sums[0][0] <= TARGET * sums[1][0] else 1


if __name__ == "__main__":
    sys.exit(main())
