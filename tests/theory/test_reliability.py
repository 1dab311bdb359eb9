"""The oracle: every public function of theory against many digits, and the page that says so."""

from __future__ import annotations

from pathlib import Path

import mpmath
import numpy as np
import pytest

from diffsmooth.theory import oracle
from diffsmooth.theory._references import EXEMPT

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(oracle.rows()))
def test_every_function_is_right_to_twelve_digits(name: str) -> None:
    """Other draws than the page's."""
    result = oracle.measure(name, seed=1)
    assert result.numbers >= 20
    assert result.worst <= oracle.BOUND, result.shown


def test_every_public_name_has_a_row_or_a_reason() -> None:
    names = set(oracle.public())
    assert len(names) > 60
    assert names == set(oracle.rows()) | set(EXEMPT)
    assert not set(oracle.rows()) & set(EXEMPT)


def test_the_page_is_up_to_date() -> None:
    """All but the measured figures, whose last digit may differ between machines."""
    told = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            told[name.strip("`")] = cells
    rows = oracle.rows()
    assert set(told) == set(rows) | set(EXEMPT)
    for name, cells in told.items():
        if name in EXEMPT:
            assert cells == [EXEMPT[name]]
            continue
        assert cells[:2] == [rows[name].domain, rows[name].relative_to]
        assert float(cells[3]) <= oracle.BOUND


def test_the_oracle_sees_what_is_wrong() -> None:
    one = mpmath.mpf(1)

    def worst(found: float, right: mpmath.mpf, scale: float = 0.0) -> float:
        return max(oracle.Pair([found], [right], [scale], "").errors())

    assert worst(1.0 + 1e-11, one) == pytest.approx(1e-11, rel=1e-4)
    assert worst(1e-11, 0 * one, 1.0) == pytest.approx(1e-11)
    assert worst(1e-11, 0 * one) == np.inf
    for bad in (np.nan, np.inf):
        assert worst(bad, one) == np.inf
    assert worst(np.inf, mpmath.inf) == worst(0.0, 0 * one) == 0.0
