"""How right the numbers of ``theory`` are: every public function against many digits.

``ROWS`` is the table: a function, where it was asked, and pairs of what it says and what mpmath
says of the very floats that were passed.  :func:`measure` gives the worst error of one row; the
tests run the rows in pieces, and ``python -m diffsmooth.theory.oracle`` prints the table that
``docs/reliability.md`` shows.  A row for a new function is a generator in
``theory/_references.py``; a test refuses a public function that has neither a row nor a reason.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffsmooth.theory._pairs import Pair, Row

__all__ = ["BOUND", "Measured", "Pair", "Row", "markdown", "measure", "public", "rows"]

#: The bound on every error below.
BOUND = 1e-12


@dataclass(frozen=True)
class Measured:
    """The worst error of a row, at which input, over how many numbers."""

    worst: float
    shown: str
    numbers: int


def rows() -> dict[str, Row]:
    """The table, by name."""
    from diffsmooth.theory._references import ROWS

    return {row.name: row for row in ROWS}


def measure(name: str, seed: int = 0) -> Measured:
    """The worst error of one row.  Raises KeyError on a name without a row."""
    row = rows()[name]
    worst, shown, numbers = 0.0, "", 0
    for pair in row.ask(np.random.default_rng(seed)):
        for error in pair.errors():
            numbers += 1
            if not error <= worst:
                worst, shown = error, pair.shown
    return Measured(worst, shown, numbers)


def public() -> list[str]:
    """Every public function and class of ``theory``'s modules, as module.name."""
    names = []
    folder = Path(__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith("_") or path.stem == Path(__file__).stem:
            continue
        module = importlib.import_module(f"diffsmooth.theory.{path.stem}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and not name.startswith("_") and (inspect.isfunction(value) or _is_class(value)):
                names.append(f"{path.stem}.{name}")
    return sorted(names)


def _is_class(value: Any) -> bool:
    return inspect.isclass(value)


def markdown() -> str:
    """The page ``docs/reliability.md``, measured now."""
    from diffsmooth.theory._references import EXEMPT

    lines = [
        "# How right the numbers are",
        "",
        "Written by `python -m diffsmooth.theory.oracle > docs/reliability.md`; tests measure the",
        f"rows again and refuse an error above {BOUND:g}. Right means: what mpmath says, with 60",
        "digits or as many as the formula needs, of the very floats that were passed; a law is the",
        "one that its floats are proportional to. Where the error is relative to more than the",
        "value, the value can pass through 0 while its terms do not, or it moves by more than the",
        "bound when an input moves by one rounding. Values below 1e-300 are not compared.",
        "",
        "| function | asked at | relative to | numbers | worst error |",
        "|---|---|---|---|---|",
    ]
    for name, row in sorted(rows().items()):
        result = measure(name)
        lines.append(
            f"| `{name}` | {row.domain} | {row.relative_to} | {result.numbers} | "
            f"{result.worst:.0e} |"
        )
    lines += ["", "## Without a row", "", "| name | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in sorted(EXEMPT.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
