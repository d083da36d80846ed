"""A verdict says what one edit asks of each stage of one job, before anybody has looked at what was done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

STAGES = ("export", "compile", "verify")


class Need(Enum):
    """What an edit asks of a stage."""

    NEVER = "never"  # work would be needless
    MAY = "may"  # work is neither asked for nor a mistake
    PACK = "pack"  # new weights around old code: cheap, and no compile
    MUST = "must"  # without work, the result would be that of another tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The needs of the three stages."""

    export: Need = Need.NEVER
    compile: Need = Need.NEVER
    verify: Need = Need.NEVER

    def stage(self, name: str) -> Need:
        """The need of the stage of that name."""
        need: Need = getattr(self, name)
        return need

    def returned(self) -> Verdict:
        """The verdict where the edit led back to a state of the job that was built before: the older trace stands."""
        return replace(self.revisited(), export=Need.MAY if self.export is Need.MAY else Need.NEVER)

    def revisited(self) -> Verdict:
        """The verdict where later stages may find what they need among older results."""
        return Verdict(
            export=self.export,
            compile=self.compile if self.compile is Need.NEVER else Need.MAY,
            verify=self.verify if self.verify is Need.NEVER else Need.MAY,
        )

    def forgotten(self) -> Verdict:
        """The verdict where an older result may or may not be kept still."""
        return replace(self.revisited(), export=self.export if self.export is Need.NEVER else Need.MAY)


NOTHING = Verdict()
EXPORT = Verdict(export=Need.MUST)  # the model is built and captured again, and is the same
WEIGHTS = Verdict(export=Need.MUST, compile=Need.PACK, verify=Need.MUST)
PROGRAM = Verdict(export=Need.MUST, compile=Need.MUST, verify=Need.MUST)
FOLDED = Verdict(export=Need.MUST, compile=Need.MAY, verify=Need.MUST)  # a value that code may rely on
INPUTS = Verdict(export=Need.MUST, verify=Need.MUST)  # other example inputs of the same program
ARCHIVE = Verdict(export=Need.MUST, verify=Need.MAY)  # what is in the archive beside the program
CODE = Verdict(compile=Need.MUST, verify=Need.MAY)
TOLERANCE = Verdict(verify=Need.MUST)
ALLOWED = Verdict(export=Need.MAY)
ANYTHING = Verdict(export=Need.MAY, compile=Need.MAY, verify=Need.MAY)
