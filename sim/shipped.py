"""The map as it was run for this version, shipped with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from diffsmooth.records import Table, read_table

#: Columns shown; ``Table.arrow`` holds all.
COLUMNS = (
    "cell",
    "link",
    "match",
    "rank",
    "remedy",
    "strength",
    "rate",
    "difference",
    "low",
    "high",
    "q",
    "reached",
)


def atlas() -> Table:
    """A row for every cell, match and remedy; see docs/atlas.md for what was run.

    Raises FileNotFoundError where the package was built without it.
    """
    resource = files("diffsmooth.sim") / "data" / "atlas.parquet"
    with as_file(resource) as path:
        if not path.is_file():
            raise FileNotFoundError("the package has no map; make one: diffsmooth atlas")
        found = read_table(path)
    names = ["remedy" if name == "remedy" else name for name in found.column_names]
    return Table(found.rename_columns(names), COLUMNS)
