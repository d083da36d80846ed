"""Deliver the models of a manifest, follow the run, and call the result: python deliver.py manifest.toml."""

import sys
from pathlib import Path

import torch

import batchexport
from batchexport.core.events import Event, JobFinished, Note, StageStarted


def follow(event: Event) -> None:
    """Print what happens during a run."""
    match event:
        case StageStarted(job=job, stage=stage, reason=reason):
            print(f"{job}: {stage} ({reason})")
        case JobFinished(report=report, done=done, total=total):
            print(f"{report.name}: {'ok' if report.ok else report.error} [{done}/{total}]")
        case Note(text=text):
            print(text)


def main(manifest: Path) -> int:
    """Show the plan, run it, and call the package of the job mlp@cpu."""
    for job in batchexport.plan(manifest).jobs:
        to_run = [name for name, stage in job.stages.items() if stage.action != "cached"]
        print(f"{job.name}: {', '.join(to_run) or 'nothing'} to run")

    report = batchexport.run(manifest, listener=follow)
    if report.failed:
        return int(report.exit_code)

    mlp = batchexport.load(manifest.parent / "dist" / "mlp@cpu")
    x, mask = torch.randn(5, 16), torch.ones(5, 4)
    by_position, by_name = mlp(x, mask), mlp(mask=mask, x=x)
    print(f"by position and by name: {torch.equal(by_position, by_name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
