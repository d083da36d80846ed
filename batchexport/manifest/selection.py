"""Select jobs by expression, tag and name, in the order of the manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from batchexport.core.errors import NothingSelected, UsageError
from batchexport.core.text import did_you_mean, nearest, quoted

Matcher = Callable[[str], bool]

_TOKEN = re.compile(r"""\s*(?:([()])|"([^"]*)"|'([^']*)'|([^\s()"']+))""")
_SHOWN = 5


class Selectable(Protocol):
    """The parts of a job that a selection uses."""

    @property
    def name(self) -> str: ...

    @property
    def tags(self) -> Sequence[str]: ...


Job = TypeVar("Job", bound=Selectable)


def select(
    jobs: Iterable[Job], *, expression: str | None = None, tags: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[Job, ...]:
    """Return the jobs that meet every condition given: the expression, any of the tags, being named in `only`.

    Raises:
        UsageError: if the expression does not parse, a name in `only` is no job, or no job is left.
    """
    everything = tuple(jobs)
    _refuse_unknown(only, [job.name for job in everything])
    matches = compile_expression(expression or "")
    chosen = tuple(
        job
        for job in everything
        if (not only or job.name in only) and (not tags or not set(tags).isdisjoint(job.tags)) and matches(job.name)
    )
    if not chosen:
        raise NothingSelected(_nothing_left(everything, expression, tags, only))
    return chosen


def compile_expression(expression: str) -> Matcher:
    """Compile an expression of `-k` into a test on job names: words, `not`, `and`, `or`, parentheses.

    A word matches names that contain it, ignoring case. A word with spaces or parentheses, or one
    that is itself `and`, `or` or `not`, must be quoted. A blank expression matches everything.

    Raises:
        UsageError: with the position, if the expression does not parse.
    """
    if not expression.strip():
        return lambda _: True
    try:
        return _Parser(expression).parse()
    except RecursionError:
        raise UsageError("-k: the expression is nested too deeply") from None


class _Parser:
    """A recursive-descent parser: or, and, not, then a word or a group."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = list(self._split())
        self._next = 0

    def parse(self) -> Matcher:
        matcher = self._either()
        if self._next < len(self._tokens):
            raise self._expected('"and" or "or"')
        return matcher

    def _split(self) -> Iterable[tuple[str, bool, int]]:
        """Yield (text, whether it is quoted, column) of each token."""
        text = self._expression.rstrip()
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
                raise self._error("this quote is never closed", column)
            group = match.lastindex or 0
            yield match[group], group in (2, 3), match.start(group) + (group not in (2, 3))
            at = match.end()

    def _either(self) -> Matcher:
        operands = [self._both()]
        while self._accept("or"):
            operands.append(self._both())
        return operands[0] if len(operands) == 1 else lambda name: any(matches(name) for matches in operands)

    def _both(self) -> Matcher:
        operands = [self._negated()]
        while self._accept("and"):
            operands.append(self._negated())
        return operands[0] if len(operands) == 1 else lambda name: all(matches(name) for matches in operands)

    def _negated(self) -> Matcher:
        if self._accept("not"):
            matches = self._negated()
            return lambda name: not matches(name)
        if self._accept("("):
            group = self._either()
            if not self._accept(")"):
                raise self._expected('")"')
            return group
        return self._word()

    def _word(self) -> Matcher:
        if self._next < len(self._tokens):
            text, quoted, _ = self._tokens[self._next]
            if quoted or text not in ("and", "or", "not", "(", ")"):
                self._next += 1
                part = text.lower()
                return lambda name: part in name.lower()
        raise self._expected('a part of a name, "not" or "("')

    def _accept(self, text: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next][:2] == (text, False):
            self._next += 1
            return True
        return False

    def _expected(self, what: str) -> UsageError:
        if self._next < len(self._tokens):
            text, _, column = self._tokens[self._next]
            return self._error(f'expected {what}, not "{text}"', column)
        return self._error(f"expected {what} at the end", len(self._expression.rstrip()) + 1)

    def _error(self, message: str, column: int) -> UsageError:
        return UsageError(f"-k: {message} (column {column} of: {self._expression})")


def _refuse_unknown(only: Sequence[str], names: Sequence[str]) -> None:
    known = set(names)
    unknown = [name for name in only if name not in known]
    if not unknown:
        return
    lines = []
    for name in unknown:
        longer = [one for one in names if name.lower() in one.lower()]
        hint = (
            f"did you mean {quoted(longer[0], 200)}?"
            if longer
            else did_you_mean(name, names) or _near_stem(name, names)
        )
        lines.append(f"no job is named {quoted(name, 200)}; {hint or f'the jobs are {_some(names)}'}")
    raise NothingSelected("\n".join(lines))


def _near_stem(name: str, names: Sequence[str]) -> str | None:
    """Return `did you mean "x"?` for the job whose name up to its ids and target is nearest to that of `name`."""
    stems = {re.split(r"[\[@]", one)[0]: one for one in reversed(names)}
    near = nearest(re.split(r"[\[@]", name)[0], stems)
    return None if near is None else f"did you mean {quoted(stems[near], 200)}?"


def _nothing_left(jobs: Sequence[Selectable], expression: str | None, tags: Sequence[str], only: Sequence[str]) -> str:
    if not jobs:
        return "the manifest has no jobs"
    asked = [f"-k {expression!r}"] if expression and expression.strip() else []
    asked += [f"--tag {tag}" for tag in tags]
    asked += [f"--only {name}" for name in only]
    message = f"no job matches {' '.join(asked)}; the jobs are {_some([job.name for job in jobs])}"
    known = sorted({tag for job in jobs for tag in job.tags})
    if tags and not set(tags) & set(known):
        message += f"; the tags are {_some(known)}" if known else "; no job has a tag"
    return message


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
