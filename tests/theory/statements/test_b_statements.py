"""B1-B10: methods, text and picture (that each is green: tests/theory/verify)."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from diffsmooth.theory.verify import latex
from diffsmooth.theory.verify.core import Statement

MODULES = {
    "B1": "b1_gibbs",
    "B2": "b2_chain_rule",
    "B3": "b3_vanilla_optimum",
    "B4": "b4_entropy_bonus",
    "B5": "b5_smoothing_optimum",
    "B6": "b6_tempering",
    "B7": "b7_correct_only_dominates",
    "B8": "b8_universal_pareto",
    "B9": "b9_entropy_heuristics",
    "B10": "b10_correctness_ceiling",
}


def statement(identity: str) -> Statement[Any]:
    module = importlib.import_module(f"diffsmooth.theory.statements.{MODULES[identity]}")
    found = module.STATEMENT
    assert isinstance(found, Statement)
    return found


@pytest.mark.parametrize("identity", MODULES)
def test_three_independent_methods_one_of_them_decides_without_rounding(identity: str) -> None:
    names = {m.name for m in statement(identity).methods}
    assert len(names) >= 3
    assert names & {"exact", "smt", "certified"}
    assert "random" in names  # the library computes what was proved


@pytest.mark.parametrize("identity", MODULES)
def test_the_formulas_can_be_set(identity: str) -> None:
    assert "<svg" in latex.to_html(statement(identity).latex)


@pytest.mark.parametrize("identity", ["B6", "B7", "B8", "B9", "B10"])
def test_the_picture_has_labelled_axes_and_lines_that_differ_without_colour(identity: str) -> None:
    import matplotlib.figure

    ax = matplotlib.figure.Figure().add_subplot()
    draw = statement(identity).figure
    assert draw is not None
    draw(ax)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    labelled = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    looks = {(line.get_linestyle(), line.get_marker()) for line in labelled}
    assert len(labelled) >= 3
    assert len(looks) == len(labelled)  # legible without colour
