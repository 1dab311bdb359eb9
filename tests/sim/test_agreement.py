"""What a share of agreement is worth: kappa, base rate, intervals over cells."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth.sim.agreement import _QUESTIONS, _share, kappa
from diffsmooth.sim.findings import QUESTIONS


def answers(counts, per_cell=1):
    """Rows of both, said only, found only, neither; ``per_cell`` equal answers a cell."""
    rows = []
    for count, (said, found) in zip(
        counts, ((True, True), (True, False), (False, True), (False, False)), strict=True
    ):
        for _ in range(count):
            cell = str(len(rows) // per_cell)
            rows += [{"cell": cell, "said": said, "found": found}] * per_cell
    return rows


def test_kappa_is_cohen_s():
    # 35 of 50 agree; by chance .5 * .6 + .5 * .4 = .5 would.
    assert kappa(np.array([20, 5, 10, 15])) == pytest.approx(0.4)
    assert kappa(np.array([3, 0, 0, 4])) == 1.0
    assert kappa(np.array([0, 5, 5, 0])) == pytest.approx(-1.0)


def test_a_theory_that_says_one_thing_has_no_skill():
    """The old C5: 139 of 150 agree, and always saying "falls" does as well."""
    share = _share(answers([0, 0, 11, 139]))
    assert share["share"] == share["commonest"] == pytest.approx(139 / 150)
    assert share["kappa"] == share["kappa_low"] == share["kappa_high"] == 0.0


def test_kappa_is_undefined_where_there_is_nothing_to_tell_apart():
    share = _share(answers([0, 0, 0, 7]))
    assert (share["share"], share["commonest"]) == (1.0, 1.0)
    assert np.isnan([share["kappa"], share["kappa_low"], share["kappa_high"]]).all()


def test_repeating_a_cell_s_answer_buys_no_precision():
    """Five equal answers a cell are one: the interval must be about as wide as with one."""
    one, five = _share(answers([12, 3, 6, 9])), _share(answers([12, 3, 6, 9], per_cell=5))
    assert (five["asked"], five["cells"]) == (150, 30)
    assert five["kappa"] == pytest.approx(one["kappa"])
    assert five["kappa_high"] - five["kappa_low"] == pytest.approx(
        one["kappa_high"] - one["kappa_low"], rel=1e-9
    )
    assert five["high"] - five["low"] > 0.25
    assert five["low"] < five["share"] < five["high"]


def test_every_question_is_put_in_words():
    assert list(QUESTIONS) == list(_QUESTIONS)
