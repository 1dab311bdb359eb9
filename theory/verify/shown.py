"""A verification run that shows itself: in print as a table, in a notebook as the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffsmooth.theory.verify import run as runner
from diffsmooth.theory.verify.run import Progress, Run, StatementResult


@dataclass(frozen=True)
class Report:
    """What was found of each statement; true where everything holds.

    ``run`` holds the verdicts; ``report["B7"]`` is one statement's.
    """

    run: Run

    @property
    def green(self) -> bool:
        """Does every statement hold, with every mutant refuted?"""
        return self.run.green

    def __bool__(self) -> bool:
        return self.green

    def __getitem__(self, identity: str) -> StatementResult:
        for result in self.run.statements:
            if result.id == identity:
                return result
        raise KeyError(
            f"{identity} was not checked; {', '.join(s.id for s in self.run.statements)}"
        )

    def to_json(self) -> dict[str, Any]:
        """The verdicts as plain data."""
        from diffsmooth.theory.verify import report

        return report.to_json(self.run)

    def save(self, path: str | Path) -> Path:
        """Write the report as one self-contained page; returns its path."""
        from diffsmooth.records import write_bytes
        from diffsmooth.theory.verify import report

        return write_bytes(path, report.to_html_page(self.run).encode())

    def __repr__(self) -> str:
        rows = []
        for s in self.run.statements:
            said = ", ".join(f"{m.name} {'error' if m.error else m.verdict}" for m in s.methods)
            caught = f"{sum(m.refuted for m in s.mutants)}/{len(s.mutants)} mutants refuted"
            state = "holds" if s.green else "FAILS"
            rows.append(f"{s.id} {state}: {s.statement.title} ({said}; {caught})")
        return "\n".join(rows)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style stays inside."""
        from html import escape

        from diffsmooth.theory.verify import report

        page = escape(report.to_html_page(self.run), quote=True)
        height = min(900, 420 + 60 * len(self.run.statements))
        return f'<iframe srcdoc="{page}" style="width:100%;height:{height}px;border:0"></iframe>'


def check(
    ids: Sequence[str] = (),
    *,
    deep: bool = False,
    seed: int = 0,
    jobs: int = 1,
    shrink_mutants: bool | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the statements that ``ids`` select; what the front door and the command line call.

    Raises ValueError for an unknown id, a negative seed or ``jobs < 1``, ImportError where an
    engine's package is missing.
    """
    from importlib.util import find_spec

    from diffsmooth.theory.verify.core import Budget

    if seed < 0:
        raise ValueError(f"seed is {seed}; must be at least 0")
    missing = [name for name in ("hypothesis", "flint", "z3") if find_spec(name) is None]
    if missing:
        raise ImportError(f"missing: {', '.join(missing)}; pip install 'diffsmooth[verify]'")
    budget = Budget(
        deep=deep, seed=seed, shrink_mutants=deep if shrink_mutants is None else shrink_mutants
    )
    return Report(runner.verify(ids, budget, jobs=jobs, progress=progress))
