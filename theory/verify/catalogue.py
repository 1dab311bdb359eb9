"""The catalogue: every statement in one Markdown page, without running anything.

``diffsmooth verify --list > docs/statements.md`` writes the page of the documentation; a test
compares it with the statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from diffsmooth.theory.verify.core import Statement

_SOURCES = {
    "paper": "paper",
    "new": "new here",
    "corrected": "corrected",
}

_HEAD = """# Statements

All that `diffsmooth verify` checks, by id. **paper**: a claim of arXiv 2511.19942 or of the
literature, as stated. **corrected**: false or incomplete as stated; what was wrong stands at the
end. **new here**: derived for this project. Symbolic, SMT and certified methods and polynomial
identities prove; random and adversarial ones and exact instances sample.

`diffsmooth verify ID --html page.html` shows a statement with its formula, picture, verdicts and
counterexamples, and with the domain of every verdict as the engine wrote it from what it checked.
The notes below are the authors' readings of their steps. This page is the output of
`diffsmooth verify --list`.
"""


def statements(ids: Sequence[str] = ()) -> list[Statement[Any]]:
    """The selected statements (all, if no id is given) in order of id.

    Raises ``UnknownStatementError`` for an id that does not exist.
    """
    from diffsmooth.theory.verify import run

    modules = run.discover()
    return [run.load(modules[i]) for i in run.select(list(modules), ids)]


def markdown(selected: Iterable[Statement[Any]]) -> str:
    """The page: what is stated, how each is decided, what was corrected."""
    selected = list(selected)
    lines = [_HEAD, "| id | source | statement | wrong variants refuted |", "|---|---|---|---|"]
    lines += [
        f"| {s.id} | {_SOURCES[s.source]} | {_cell(s.title)} | {len(s.mutants)} |" for s in selected
    ]
    lines += ["", "## How each is decided", "", "| id | method | note |", "|---|---|---|"]
    for s in selected:
        for i, m in enumerate(s.methods):
            deep = " (only with `--deep`)" if m.deep else ""
            lines.append(f"| {'' if i else s.id} | {m.name} | {_cell(m.note or '')}{deep} |")
    corrected = [s for s in selected if s.correction]
    if corrected:
        lines += ["", "## What was wrong, and what holds instead"]
    for s in corrected:
        lines += ["", f"**{s.id}. {s.title}.** {' '.join((s.correction or '').split())}"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
