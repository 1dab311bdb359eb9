"""A table that shows itself."""

from __future__ import annotations

import pytest

from diffsmooth.records import Table


def rows(n: int) -> list[dict[str, object]]:
    return [{"name": f"<{i}>", "value": i / 3, "won": i % 2 == 0} for i in range(n)]


def test_columns_rows_and_filters() -> None:
    table = Table.of(rows(4))
    assert len(table) == 4
    assert table["value"].tolist() == [0, 1 / 3, 2 / 3, 1]
    assert [row["name"] for row in table.where(won=True)] == ["<0>", "<2>"]
    assert table.to_pandas().shape == (4, 3)
    with pytest.raises(KeyError, match="no column 'values'; there are name, value, won"):
        table["values"]
    with pytest.raises(ValueError, match="no 'lost'"):
        Table(table.arrow, ["lost"])
    with pytest.raises(ValueError, match="at least one"):
        Table.of([])


def test_it_escapes_and_counts_what_it_does_not_show() -> None:
    table = Table(Table.of(rows(70)).arrow, ["name", "won"])
    assert "... and 10 more rows" in repr(table)
    html = table._repr_html_()
    assert "&lt;0&gt;" in html
    assert "<0>" not in html
    assert "value" not in html.split("</thead>")[0]
