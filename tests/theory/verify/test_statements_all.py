"""Every statement: what it must bring, and that it holds.

The full default run, one test a statement.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from diffsmooth.cli.verify import red_lines
from diffsmooth.theory.verify import latex, report, run
from diffsmooth.theory.verify.core import Statement

STATEMENTS = run.discover()


@cache
def statement(identity: str) -> Statement[Any]:
    return run.load(STATEMENTS[identity])


every = pytest.mark.parametrize("identity", list(STATEMENTS))


@every
def test_brings_enough_evidence(identity: str) -> None:
    s = statement(identity)
    names = {m.name for m in s.methods}
    assert len(names) >= 3, f"only {sorted(names)}"
    assert names & {"exact", "smt", "certified"}, f"none exact, SMT or certified: {sorted(names)}"
    assert len(s.mutants) >= 2
    assert len({m.name for m in s.mutants}) == len(s.mutants)
    assert all(t.strip() for t in (s.title, s.reference, s.latex, s.limits))
    assert all(m.optional is None or m.optional.strip() for m in s.methods)
    default = {m.name for m in s.methods if not m.deep}
    assert default, "nothing runs without --deep"


@every
def test_latex_is_drawn(identity: str) -> None:
    assert "<svg" in latex.to_html(statement(identity).latex)


@every
def test_figure_is_drawn(identity: str) -> None:
    s = statement(identity)
    if s.figure is not None:
        assert "could not be drawn" not in report.figure(s)
    else:
        assert "<figure" not in report._section(run.StatementResult(s, (), ()))


@every
def test_holds_and_its_mutants_are_refuted(identity: str) -> None:
    result = run.run_statement(statement(identity))
    assert result.green, "\n".join(red_lines(result))
    for method in result.methods:
        assert method.domain
        assert all(r.decided and r.cases >= 1 for r in method.receipts)
