"""Odd input to ``simulate`` and ``atlas`` is refused in one line, or means what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diffsmooth.cli import main
from diffsmooth.sim import report
from diffsmooth.sim.cells import Cell, run_cell
from diffsmooth.sim.paths import Laboratory
from diffsmooth.sim.regimes import REGIMES, SURVIVE, Training, regime
from diffsmooth.sim.regimes.base import LINKS
from diffsmooth.sim.remedies import REMEDIES, named
from diffsmooth.sim.remedies.base import LEARNING_RATE

TINY = Training(steps=2, checkpoints=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("simulate bandit --seeds 4 --remedies", "at least one name"),
        ("simulate bandit --remedies grop", "did you mean 'grpo'"),
        ("simulate bandit --seeds 3", "at least 4"),
        ("simulate bandit:survive=0", "must lie in (0, 1]"),
        ("simulate bandit:survive=much", "is not parameter=number"),
        ("simulate bandit:promts=3", "did you mean 'prompts'"),
        ("simulate maze:survive=0.5", "has no survive"),
        ("simulate bandit/999", "bandit/0 to bandit/71"),
        ("atlas --remedies", "at least one name"),
        ("atlas --regimes", "at least one"),
        ("atlas --regimes bandito", "did you mean 'bandit'"),
        ("atlas --every 0", "at least 1"),
        ("atlas --cells 3", "at least 14"),
        ("atlas --jobs 0", "at least 1"),
        ("atlas --quick --cells 20", "one of them at most"),
        ("atlas --full --every 3", "one of them at most"),
        ("atlas --quick --seeds 16", "--seeds"),
    ],
)
def test_odd_words_are_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_remedy_named_twice_runs_once():
    assert named(("grpo", "centred", "grpo")) == ("grpo", "centred")
    with pytest.raises(ValueError, match="each once"):
        Cell("bandit", ("grpo", "grpo"), 4)
    cells = report.atlas_cells(("maze", "maze"), ("grpo", "grpo"), 4)
    assert len({c.regime for c in cells}) == len(cells) == report.EACH


@pytest.mark.parametrize("name", ["pass-at-k", "pkpo"])
@pytest.mark.parametrize("k", [2.7, 1.5, 0, -2, float("nan"), float("inf")])
def test_the_number_of_draws_is_a_whole_number(name, k):
    laboratory = Laboratory(regime("bandit"), range(2), training=TINY)
    with pytest.raises(ValueError, match="k"):
        laboratory.run(name, (k,))


def test_a_whole_number_of_draws_may_be_a_float():
    laboratory = Laboratory(regime("bandit"), range(2), training=TINY)
    one, other = (laboratory.run("pass-at-k", (k,)).measures["entropy"] for k in (2, 2.0))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["pass-at-k", "pkpo"])
def test_the_smallest_group_is_that_of_the_strengths_asked_for(name):
    small = dataclasses.replace(TINY, group_size=4)
    laboratory = Laboratory(regime("bandit"), range(2), training=small)
    assert laboratory.run(name, (2, 3)).strengths == (2, 3)
    for asked in ((8,), (2, 8), None):
        with pytest.raises(ValueError, match=r"at least \d+ at k=8"):
            laboratory.run(name, asked)


@pytest.mark.parametrize("name", REMEDIES)
def test_strengths_and_rates_are_finite_and_rates_positive(name):
    laboratory = Laboratory(regime("bandit"), range(2), training=TINY)
    for strength in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="finite"):
            laboratory.run(name, (strength,))
    usual = REMEDIES[name].strengths[0]
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate"):
            laboratory.tune(name, ((usual, rate),))
    with pytest.raises(ValueError, match="at least one"):
        laboratory.tune(name, ())
    if REMEDIES[name].parameter == LEARNING_RATE:
        with pytest.raises(ValueError, match="rate"):
            laboratory.run(name, (0.0,))


@pytest.mark.parametrize("name", REGIMES)
def test_each_regime_says_what_its_test_is(name):
    place = regime(name)
    assert place.link in LINKS
    environment = place.environment(range(3))
    held_out = not np.any(environment.train & environment.test)
    assert (place.link == "held-out prompts") == held_out
    if place.survive is None:
        return
    for chance in SURVIVE:
        made = regime(f"{name}:survive={chance:g}")
        assert made.survive == chance
        assert made.link == ("control" if chance == 1 else "voided solutions")
        drawn = made.environment(range(8))
        lost = drawn.correct & ~drawn.test_correct
        assert lost.any() == (chance < 1)
        assert not np.any(drawn.test_correct & ~drawn.correct)


def test_a_twin_is_run_at_its_own_trials(monkeypatch):
    """psr is vanilla; where its grid is another, its numbers and its key are its own."""
    cell = Cell("maze/0", ("grpo", "psr"), 4)
    before = cell.key()
    changed = dataclasses.replace(REMEDIES["vanilla"], strengths=(0.5, 1.0))
    monkeypatch.setitem(REMEDIES, "vanilla", changed)
    assert cell.key() != before
    runs = run_cell(cell)["runs"].to_pydict()
    rates = {s for s, h in zip(runs["strength"], runs["remedy"], strict=True) if h == "psr"}
    assert rates == set(REMEDIES["psr"].strengths)


def test_four_seeds_compare_without_an_interval(tmp_path, capsys):
    words = f"simulate maze/0 --seeds 4 --remedies grpo maxrl --out {tmp_path}"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert "no intervals: they need 3" in said
    assert "test: same problems" in said
