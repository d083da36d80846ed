"""A trial draws models, has the product build them, looks at all that came out, and fills a tally."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz import archives
from fuzz.model import Model, generate
from fuzz.product import Product
from fuzz.project import Project
from fuzz.tally import Tally
from fuzz.verdict import Seen, violations

FIXED = "torch has fixed the dim"  # the job's warning that its artifacts hold for one size only


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to do: with this seed, every so many-th model compiled, in this folder."""

    seed: int
    compile_every: int
    slots: int
    base: Path
    say: Callable[[str], None]

    def run(self, count: int, only: Sequence[int]) -> Tally:
        """Judge `count` models that run in eager mode, or those of these numbers."""
        project = Project(base=self.base)
        product = Product(project=project, slots=self.slots)
        tally = Tally(seed=self.seed, folder=str(project.folder))
        models = self._drawn(product, count, only, tally)
        project.write(models)
        self._told(f"{len(models)} models")
        exported = product.run("exported", "--stage", "export")
        self._told("run --stage export")
        run = product.run("run")
        self._told("run")
        verified = product.verify()
        self._told("verify")
        looks = self._looks(product, models, run["jobs"])
        self._told("looked at artifacts")
        other = self._other_bytes(product, models, run, tally)
        self._told("exported without eager calls")
        for model in models:
            name = model.job
            looked = looks.get(name, {})
            seen = Seen(
                exported=exported["jobs"][name],
                run=run["jobs"][name],
                verified=verified["jobs"][name],
                refusable=model.refusable,
                found=looked.get("found", {}),
                plain=looked.get("steps"),
                failed=looked.get("failed"),
                bytes_differ=other.get(name),
            )
            tally.add(model, run["jobs"][name], seen.plain, violations(seen))
        return tally

    def _told(self, what: str) -> None:
        self.say(f"[{time.strftime('%H:%M:%S')}] {what}")

    def _drawn(self, product: Product, count: int, only: Sequence[int], tally: Tally) -> list[Model]:
        found: list[Model] = []
        number = 0
        while len(found) < count:
            numbers = list(only) if only else list(range(number, number + count - len(found)))
            number += len(numbers)
            models = [generate(self.seed, one, compiled=self._is_compiled(one)) for one in numbers]
            for model in models:
                product.project.add(model)
            tasks = [{"id": model.job, "what": "probe", "card": model.card} for model in models]
            results = product.bare("probe", tasks)
            for model in models:
                result = results[model.job]
                error = result.get("error") or result.get("failed")
                if error:
                    tally.verdicts["invalid"] += 1
                    self.say(f"invalid: {model.number} {error} {model.features}")
                else:
                    found.append(model)
            if only:
                break
        return found

    def _is_compiled(self, number: int) -> bool:
        return bool(self.compile_every) and number % self.compile_every == 0

    def _looks(self, product: Product, models: Sequence[Model], jobs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        tasks = []
        for model in models:
            job = jobs[model.job]
            if not job["ok"]:
                wanted = (job["error"] or {}).get("stage") != "export" and model.entry["compile"]["format"] != "none"
                tasks.append({"id": model.job, "what": "plain", "card": model.card, "compiled": wanted})
                continue
            folder = product.project.delivered(model)
            record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
            files = [str(folder / name) for name in record["outputs"].values()]
            imports = record["imports"]
            fixed = any(FIXED in warning for warning in job["warnings"])
            what = {"what": "artifacts", "imports": imports, "files": files, "fixed": fixed}
            tasks.append({"id": model.job, "card": model.card, **what})
        return product.bare("looks", tasks)

    def _other_bytes(
        self, product: Product, models: Sequence[Model], run: Mapping[str, Any], tally: Tally
    ) -> dict[str, str]:
        """How archives without eager calls differ; where they do, also from those of an ordinary repetition."""
        good = [model for model in models if run["jobs"][model.job]["ok"]]
        product.unreferenced([model.job for model in good], run["toolchain"])
        found: dict[str, str] = {}
        for model in good:
            found |= {model.job: said} if (said := _compared(product.project, model, "plain")) else {}
        odd = [model for model in good if model.job in found]
        if odd:
            product.run("again", *(f"--only={model.job}" for model in odd), manifest="again", cache="again-cache")
        for model in odd:
            again = _compared(product.project, model, "again")
            tally.notes["archives that differ each time, in addresses alone"] += again == "addresses"
            if found[model.job] == again == "addresses":
                del found[model.job]
            else:
                found[model.job] += f" (repeated in the ordinary way: {again or 'the same bytes'})"
        return found


def _compared(project: Project, model: Model, dist: str) -> str | None:
    one, other = (project.delivered(model, name) / "exported.pt2" for name in ("dist", dist))
    return archives.compare(one, other) if other.exists() else "not delivered"
