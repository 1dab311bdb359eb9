"""A table that shows itself: an Arrow table with rows, a filter, and a look of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: Rows shown before the rest is counted.
SHOWN = 60


class Table:
    """Rows and columns, backed by Arrow (``.arrow``; ``.to_pandas()`` where pandas is there).

    ``table["column"]`` is a NumPy array, ``len(table)`` the number of rows, iteration gives a
    mapping a row.  ``columns`` names what is shown, in order, when not all is.
    """

    def __init__(self, arrow: pa.Table, columns: Sequence[str] | None = None) -> None:
        self.arrow = arrow
        self.columns = tuple(arrow.column_names if columns is None else columns)
        missing = [name for name in self.columns if name not in arrow.column_names]
        if missing:
            raise ValueError(f"columns: no {missing[0]!r}; there are {arrow.column_names}")

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> Table:
        """A table of rows.  Raises ValueError if there is none."""
        import pyarrow as pa

        if not rows:
            raise ValueError("rows: at least one is needed")
        return cls(pa.Table.from_pylist([dict(row) for row in rows]), columns)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.arrow.to_pylist())

    def __getitem__(self, column: str) -> np.ndarray[Any, Any]:
        """One column as an array.  Raises KeyError that names those there are."""
        if column not in self.arrow.column_names:
            raise KeyError(f"no column {column!r}; there are {', '.join(self.arrow.column_names)}")
        values: np.ndarray[Any, Any] = self.arrow[column].to_numpy(zero_copy_only=False)
        return values

    def where(self, **equal: Any) -> Table:
        """The rows whose columns have these values.  Raises KeyError for an unknown column."""
        import numpy as np
        import pyarrow as pa

        keep = np.ones(len(self), dtype=bool)
        for name, value in equal.items():
            keep &= self[name] == value
        return Table(self.arrow.filter(pa.array(keep)), self.columns)

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame.  Raises ImportError where pandas is not installed."""
        return self.arrow.to_pandas()

    def _cells(self) -> tuple[list[dict[str, str]], str]:
        rows = self.arrow.select(list(self.columns)).slice(0, SHOWN).to_pylist()
        shown = [{k: _text(v) for k, v in row.items()} for row in rows]
        rest = len(self) - len(rows)
        return shown, f"... and {rest} more rows" if rest else ""

    def __repr__(self) -> str:
        shown, rest = self._cells()
        width = {c: max(len(c), *(len(row[c]) for row in shown), 0) for c in self.columns}
        lines = ["  ".join(c.ljust(width[c]) for c in self.columns)]
        lines += ["  ".join(row[c].ljust(width[c]) for c in self.columns) for row in shown]
        return "\n".join(line.rstrip() for line in [*lines, *([rest] if rest else [])])

    def _repr_html_(self) -> str:
        shown, rest = self._cells()
        head = "".join(f"<th>{escape(c)}</th>" for c in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(row[c])}</td>" for c in self.columns) + "</tr>"
            for row in shown
        )
        more = f"<p>{escape(rest)}</p>" if rest else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return "" if value is None else str(value)
