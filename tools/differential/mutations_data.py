"""Edits of data and weights: bytes count, and stats only where they tell of other bytes."""

from __future__ import annotations

import os
from random import Random

from differential.kinds import Change, for_all, kind, some_file
from differential.package import M, P
from differential.verdicts import ALLOWED, ARCHIVE, EXPORT, FOLDED, INPUTS, NOTHING, PROGRAM, WEIGHTS
from differential.weights import changed, checkpoint, flipped, tensors
from differential.world import Link, World

SCALE = P + "data/scale.json"


def _scale(world: World) -> bool:
    """Another number in the data file of `reader`, of the same length; False where nobody reads it."""
    if not world.jobs_of("reader") or P + "data/override/scale.json" in world.state.files:
        return False
    world.state.files[SCALE] = f'{{"scale": {world.number()}}}'.encode()
    return True


@kind("data file")
def data_file(world: World, rng: Random) -> Change | None:
    return Change(expected=for_all(world.jobs_of("reader"), PROGRAM), note=SCALE) if _scale(world) else None


@kind("touch without change")
def touch(world: World, rng: Random) -> Change:
    path, users = some_file(world, rng)
    when = rng.choice([None, (10**9, 10**9), (4 * 10**9, 4 * 10**9)])
    return Change(expected=for_all(users, NOTHING), note=path, after=lambda: os.utime(world.base / path, when))


@kind("all files touched", alone=True)
def touch_all(world: World, rng: Random) -> Change:
    def touch() -> None:
        for path in world.state.files:
            os.utime(world.base / path, follow_symlinks=False)

    return Change(expected={}, note="as after a checkout", after=touch)


@kind("permissions")
def permissions(world: World, rng: Random) -> Change:
    path, users = some_file(world, rng)
    mode = rng.choice([0o600, 0o644, 0o755])
    return Change(expected=for_all(users, NOTHING), note=path, after=lambda: (world.base / path).chmod(mode))


@kind("extra file of the archive")
def extra_file(world: World, rng: Random) -> Change:
    world.state.files[P + "data/card.json"] = world.number().encode()
    return Change(expected=for_all(world.jobs_of("tied"), ARCHIVE), note="data/card.json")


@kind("file with the inputs")
def input_file(world: World, rng: Random) -> Change | None:
    world.state.files[P + "data/inputs.safetensors"] = tensors({"x": (3, 4)}, world.fresh())
    jobs = world.jobs_of("fed")
    return Change(expected=for_all(jobs, INPUTS), note="data/inputs.safetensors") if jobs else None


@kind("function that makes the inputs")
def input_factory(world: World, rng: Random) -> Change | None:
    world.source(M + "given.py").values["VALUE"] = world.number()
    expected = for_all(world.jobs_of("made"), INPUTS) | for_all(world.jobs_of("fed"), EXPORT)
    return Change(expected=expected, note="models/given.py") if expected else None


@kind("older mtime, same size, other bytes")
def older(world: World, rng: Random) -> Change | None:
    if not _scale(world):
        return None
    path = world.base / SCALE
    old = path.stat().st_mtime_ns - rng.choice([10**9, 10**13])
    return Change(
        expected=for_all(world.jobs_of("reader"), PROGRAM), note=SCALE, after=lambda: os.utime(path, ns=(old, old))
    )


@kind("same mtime, same size, other bytes")
def same_stat(world: World, rng: Random) -> Change | None:
    if not _scale(world):
        return None
    path = world.base / SCALE
    before = path.stat()
    times = (before.st_atime_ns, before.st_mtime_ns)
    return Change(
        expected=for_all(world.jobs_of("reader"), PROGRAM), note=SCALE, after=lambda: os.utime(path, ns=times)
    )


@kind("replaced by a copy")
def copied(world: World, rng: Random) -> Change:
    path, users = some_file(world, rng)

    def replace() -> None:
        twin = (world.base / path).with_suffix(".twin")
        twin.write_bytes((world.base / path).read_bytes())
        twin.replace(world.base / path)

    return Change(expected=for_all(users, NOTHING), note=path, after=replace)


def _toggled(world: World, path: str, content: bytes) -> str | None:
    """Puts a file there, or takes it away; what it leads to where it takes it away."""
    if world.state.files.pop(path, None) is None:
        world.state.files[path] = content
        return None
    return f"without {path}"


@kind("file whose absence was tested")
def absent(world: World, rng: Random) -> Change | None:
    path = P + "data/override/scale.json"
    leads_to = _toggled(world, path, f'{{"scale": {world.number()}}}'.encode())
    return _for_reader(world, path, leads_to)


@kind("file whose presence was tested")
def present(world: World, rng: Random) -> Change | None:
    path = P + "data/flags/on"
    there = _toggled(world, path, b"") is None
    return _for_reader(world, path, f"{there}")


@kind("folder gains or loses a data file")
def gained(world: World, rng: Random) -> Change | None:
    path = P + f"data/parts/{rng.choice(['two', 'three'])}.txt"
    leads_to = _toggled(world, path, world.number().encode())
    return _for_reader(world, path, leads_to)


def _for_reader(world: World, path: str, leads_to: str | None) -> Change | None:
    jobs = world.jobs_of("reader")
    return Change(expected=for_all(jobs, PROGRAM), note=path, leads_to=leads_to) if jobs else None


@kind("folder gains or loses another file")
def gained_other(world: World, rng: Random) -> Change | None:
    jobs = world.jobs_of("reader")
    path = P + "data/parts/notes.md"
    _toggled(world, path, b"words")
    return Change(expected=for_all(jobs, ALLOWED), note=path) if jobs else None


@kind("link to another file")
def relinked(world: World, rng: Random) -> Change | None:
    jobs = world.jobs_of("reader")
    target = f"target-{world.fresh()}"
    world.state.files[P + f"data/{target}"] = world.number().encode()
    world.state.files[P + "data/link"] = Link(target)
    return Change(expected=for_all(jobs, PROGRAM), note=target) if jobs else None


@kind("declared data: a pattern names one more")
def declared(world: World, rng: Random) -> Change | None:
    path = P + f"declared/{world.fresh()}.txt"
    world.state.files[path] = b""
    jobs = world.jobs_of("outside")
    return Change(expected=for_all(jobs, EXPORT), note=path) if jobs else None


@kind("declared data: other content")
def declared_content(world: World, rng: Random) -> Change | None:
    path = P + "declared/one.txt"
    world.state.files[path] = world.number().encode()
    jobs = world.jobs_of("outside")
    return Change(expected=for_all(jobs, EXPORT), note=path) if jobs else None


# ── weights ──────────────────────────────────────────────────────────────────────────────────


def _some_weights(world: World, rng: Random) -> tuple[str, str, list[str]] | None:
    """A checkpoint: its file, the file's path in the world, and the jobs that load it."""
    if "ckpt" not in world.state.entries:
        return None
    table = world.state.entries["ckpt"]
    file = rng.choice(sorted(set(table["checkpoints"].values())))
    jobs = [
        job for job in world.jobs_of("ckpt")
        if table["checkpoints"][job.partition("[")[2].partition("]")[0]] == file
    ]  # fmt: skip
    return file, P + file, jobs


@kind("one bit of one weight")
def one_bit(world: World, rng: Random) -> Change | None:
    found = _some_weights(world, rng)
    if found is None:
        return None
    file, path, jobs = found
    world.state.files[path] = flipped(world.content(path), rng)
    return Change(expected=for_all(jobs, WEIGHTS), note=file)


@kind("a small bias")
def small_bias(world: World, rng: Random) -> Change | None:
    found = _some_weights(world, rng)
    if found is None:
        return None
    file, path, jobs = found
    name = rng.choice(["small.bias", "scale", "mean"])
    world.state.files[path] = changed(world.content(path), name, rng)
    return Change(expected=for_all(jobs, WEIGHTS), note=f"{file}: {name}")


@kind("a checkpoint trained on")
def retrained(world: World, rng: Random) -> Change | None:
    found = _some_weights(world, rng)
    if found is None:
        return None
    file, path, jobs = found
    world.state.files[path] = checkpoint(1000 + world.fresh())
    return Change(expected=for_all(jobs, WEIGHTS), note=file)


@kind("a new checkpoint")
def new_checkpoint(world: World, rng: Random) -> Change | None:
    """One more in the manifest, and the last one that came this way goes."""
    if "ckpt" not in world.state.entries:
        return None
    table = world.state.entries["ckpt"]["checkpoints"]
    for name in set(table) - {"base", "tuned"}:
        del world.state.files[P + table.pop(name)]
    name = f"run{world.fresh()}"
    table[name] = f"weights/{name}.safetensors"
    world.state.files[P + table[name]] = checkpoint(1000 + world.fresh())
    return Change(expected={f"ckpt[{name}]@cpu": WEIGHTS}, note=name)


@kind("tied or untied weights")
def tied(world: World, rng: Random) -> Change | None:
    source = world.source(M + "tied.py")
    ways = ["weight", "nn.Parameter(weight.detach().clone())"]
    source.values["TIED"] = ways[1 - ways.index(source.values["TIED"])]
    jobs = world.jobs_of("tied")
    return Change(expected=for_all(jobs, PROGRAM), note=source.values["TIED"], leads_to=source.values["TIED"])


@kind("non-persistent buffer")
def buffer(world: World, rng: Random) -> Change | None:
    world.source(M + "tied.py").values["SPREAD"] = world.number()
    return Change(expected=for_all(world.jobs_of("tied"), FOLDED), note="spread")


@kind("lifted constant")
def lifted(world: World, rng: Random) -> Change | None:
    world.source(M + "tied.py").values["LIFTED"] = world.number()
    return Change(expected=for_all(world.jobs_of("tied"), PROGRAM), note="a tensor made in forward")
