"""Users' data files: read rightly, or refused with file, line and what stands there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.llm.tasks._rows import SUFFIXES, not_finite, read_rows, read_text
from diffsmooth.llm.tasks.countdown_data import load_puzzles, local_puzzles
from diffsmooth.llm.tasks.puzzle import Puzzle
from diffsmooth.llm.tasks.registry import load_task

ROWS = [{"nums": [1, 2], "target": 3}, {"nums": [4, 5], "target": 20}]
PUZZLES = [Puzzle((1, 2), 3), Puzzle((4, 5), 20)]


def written(path: Path, rows: list[Any], encoding: str = "utf-8", end: str = "\n") -> Path:
    """``rows`` in the file's format."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    if suffix == ".csv":
        stream = io.StringIO()
        table = csv.writer(stream, lineterminator=end)
        table.writerow(rows[0])
        table.writerows(
            [v if isinstance(v, str) else json.dumps(v) for v in row.values()] for row in rows
        )
        text = stream.getvalue()
    elif suffix == ".json":
        text = json.dumps(rows, indent=1, ensure_ascii=False).replace("\n", end)
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + end for row in rows)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("suffix", [*SUFFIXES, *map(str.upper, SUFFIXES), ".JsonL"])
def test_every_suffix_in_every_case(tmp_path: Path, suffix: str) -> None:
    assert load_puzzles(written(tmp_path / f"a{suffix}", ROWS)) == PUZZLES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_encodings_and_line_ends(tmp_path: Path, suffix: str, encoding: str, end: str) -> None:
    rows = [{"problem": "Größe × 2 \u2028 ?", "answer": "é\U0001f600"}] * 2
    path = written(tmp_path / f"a{suffix}", rows, encoding, end)
    assert [row.columns for row in read_rows(path)] == rows


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_of_both_orders_needs_its_mark(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.jsonl"
    text = json.dumps(ROWS[0])
    path.write_bytes(("\ufeff" + text).encode(f"utf-16-{order}"))
    assert load_puzzles(path) == PUZZLES[:1]
    path.write_bytes(text.encode(f"utf-16-{order}"))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: a NUL .*byte-order mark"):
        load_puzzles(path)


def test_places_count_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"a": 1}\n \t\n\n{"a": 2}')
    assert [row.place for row in read_rows(path)] == [f"{path}, line 2", f"{path}, line 5"]
    path = tmp_path / "a.json"
    path.write_text('\n[\n{"a":\n 1}, {"a": 2},\n\n{"a": 3}]\n')
    lines = [row.place.removeprefix(f"{path}, ") for row in read_rows(path)]
    assert lines == ["line 3, row 1", "line 4, row 2", "line 6, row 3"]
    path = tmp_path / "a.csv"
    path.write_text('\na,b\n"x\ny",1\n\nz,\n')
    rows = read_rows(path)
    assert [row.place for row in rows] == [f"{path}, line 3", f"{path}, line 6"]
    assert [row.columns for row in rows] == [{"a": "x\ny", "b": "1"}, {"a": "z", "b": None}]


GOOD = '{"nums": [1, 2], "target": 3}\n'


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("a.jsonl", GOOD + "\nnull\n", r"line 3: the row is null"),
        ("a.jsonl", GOOD + "[1, 2]\n", r"line 2: the row is \[1, 2\]"),
        ("a.jsonl", GOOD + "3\n", r"line 2: the row is 3"),
        ("a.jsonl", GOOD + '"x"\n', r'line 2: the row is "x"'),
        ("a.jsonl", GOOD + GOOD[:-2] + "\n" + GOOD, r"line 2: broken JSON"),
        ("a.jsonl", GOOD + GOOD[:-1] + GOOD, r"line 2: broken JSON.*follows"),
        ("a.jsonl", GOOD + "{'nums': [1]}\n", r"line 2: broken JSON"),
        ("a.jsonl", GOOD + "," + GOOD, r"line 2: broken JSON"),
        ("a.jsonl", json.dumps(ROWS), r"line 1: the row is a list of objects.*\.json"),
        ("a.jsonl", GOOD + '{"a": 1, "a": 2}', r"line 2: the object names 'a' twice"),
        ("a.jsonl", GOOD + '{"a": "\\ud800"}', r"line 2: half of a surrogate pair"),
        ("a.jsonl", GOOD + "[" * 100_000, r"line 2: .*(nested|broken)"),
        ("a.jsonl", GOOD + '{"nums": [1], "target": 1' + "0" * 5000 + "}", r"line 2: "),
        ("a.jsonl", GOOD + '{"nums": [1, NaN], "target": 3}', r"line 2: column 'nums' holds NaN"),
        ("a.jsonl", GOOD + '{"nums": [1], "target": Infinity}', r"line 2: column 'target' holds I"),
        ("a.jsonl", GOOD + '{"nums": [1], "target": 1e999}', r"line 2: column 'target' holds I"),
        ("a.jsonl", GOOD + '{"nums": null, "target": 1}', r"line 2: column 'nums' holds null"),
        ("a.jsonl", GOOD + '{"nums": [1, null], "target": 1}', r"line 2: column 'nums' holds null"),
        ("a.jsonl", GOOD + '{"nums": [1], "target": true}', r"line 2: column 'target' holds true"),
        ("a.jsonl", GOOD + '{"nums": [1], "target": "3"}', r"line 2: column 'target' holds \"3\""),
        ("a.jsonl", GOOD + '{"nums": {"a": 1}, "target": 3}', r"line 2: column 'nums' holds {"),
        ("a.jsonl", GOOD + '{"nums": []}', r"line 2: .*no column 'target'"),
        ("a.jsonl", GOOD + '{"nums": [], "target": 1}', r"line 2: nums is empty"),
        ("a.jsonl", "\n \n", r"a\.jsonl has no rows"),
        ("a.json", "[" + GOOD + ",\nnull]", r"line 3, row 2: the row is null"),
        ("a.json", "[" + GOOD + GOOD + "]", r"line 2: broken JSON: ',' or '\]' expected"),
        ("a.json", "[" + GOOD, r"line 2: broken JSON: ',' or '\]' expected, not the end"),
        ("a.json", "[" + GOOD + ",\n{]", r"line 3: broken JSON"),
        ("a.json", "[" + GOOD + "] x", r"line 2: broken JSON: 'x' follows"),
        ("a.json", GOOD + GOOD, r"line 1: the file holds no list of rows.*\.jsonl"),
        ("a.json", "\n\nnull", r"line 3: the file holds no list of rows"),
        ("a.json", "", r"line 1: the file holds no list of rows but begins with nothing"),
        ("a.csv", "nums,target\n[1, 2],3\n", r"line 2: 3 cells, but the header names 2"),
        ("a.csv", 'nums,target\n"[1, 2]"\n', r"line 2: 1 cells"),
        ("a.csv", 'nums,target\n"1 and 2",3\n', r"line 2: column 'nums' holds \"1 and 2\""),
        ("a.csv", 'nums,target\n"[1, 2]",\n', r"line 2: column 'target' holds null"),
        ("a.csv", 'nums,target\n"[1, NaN]",3\n', r"line 2: column 'nums' holds NaN"),
        ("a.csv", 'nums,target\n"[1, 2]",3\n"[1', r"line 3: broken CSV"),
        ("a.csv", "nums,nums\n", r"line 1: the header names 'nums' twice"),
        ("a.csv", GOOD + GOOD, r"line \d: "),
        ("a.parquet", GOOD, r"no Parquet file"),
        ("a.txt", GOOD, r"suffix '\.txt'; allowed: \.jsonl, \.json, \.csv, \.parquet"),
        ("a.jsonl.gz", GOOD, r"suffix '\.gz'; allowed"),
        ("a", GOOD, r"suffix ''; allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_with_its_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said) as error:
        load_puzzles(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 400


def test_other_bytes_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD.encode() + '{"problem": "Größe"}\n'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"line 2: byte 0xf6 is no UTF-8.*save the file as UTF-8"):
        read_text(path)


@pytest.mark.parametrize(
    "name", ["none.jsonl", "none.csv", "UPPER.JSONL", "data/none", "owner/name", "none"]
)
@pytest.mark.parametrize("task", ["countdown", "file", "math-train"])
def test_a_path_is_never_asked_of_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, task: str
) -> None:
    import datasets

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked a hub"))
    with pytest.raises(FileNotFoundError, match=f"no data file {name}"):
        load_task(task, name)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ValueError, match="a folder"):
        load_task(task, "folder.jsonl")


def test_a_repeated_puzzle_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*ROWS, {"nums": [2, 1], "target": 3}])
    puzzles, repeats = local_puzzles(path)
    assert puzzles == PUZZLES
    (repeat,) = repeats
    assert str(repeat).startswith(f"{path}, line 3: the puzzle of {path}, line 1 again")
    assert load_task("countdown", path).left_out == (repeat,)  # type: ignore[attr-defined]


OWN = "def judge(row, text):\n    return True\n"


def own(folder: Path, *rows: dict[str, Any]) -> Any:
    (folder / "own.py").write_text(OWN)
    return load_task(f"{folder}/own.py:judge", written(folder / "own.jsonl", list(rows)))


def test_a_missing_id_is_the_rows_number(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "id": i} for i in (None, "a", 7, None, 8.0)]
    task = own(tmp_path, *rows, {"prompt": "p"})
    assert [p.id for p in task.problems()] == ["0", "a", "7", "3", "8", "5"]


@pytest.mark.parametrize(
    "row, said",
    [
        ({"id": True}, "'id' is true"),
        ({"id": 1.5}, "'id' is 1.5"),
        ({"id": ["a"]}, "'id' is"),
        ({"id": {}}, "'id' is {}"),
        ({"id": " "}, "'id' is empty"),
        ({"id": "0"}, "and .*line 1 have the same 'id' twice: '0'"),
        ({"multiplicity": True}, "'multiplicity' is true"),
        ({"multiplicity": -1}, "'multiplicity' is -1"),
        ({"multiplicity": 2.5}, "'multiplicity' is 2.5"),
        ({"multiplicity": "3"}, "'multiplicity' is \"3\""),
        ({"multiplicity": 1 << 63}, "'multiplicity' is 9223"),
        ({"multiplicity": [3]}, "'multiplicity' is"),
        ({"weight": float("nan")}, "'weight' is NaN"),
        ({"more": {"a": [1, float("inf")]}}, "'more' is"),
        ({"prompt": None}, "no text column 'prompt': 'prompt' is null"),
        ({"prompt": 3}, "no text column 'prompt': 'prompt' is 3"),
    ],
)
def test_columns_of_an_own_task_are_checked_when_read(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"own\.jsonl, line 2:? .*{said}"):
        own(tmp_path, {"prompt": "p"}, {"prompt": "q", **row})


def test_multiplicities(tmp_path: Path) -> None:
    counts = [3, None, 0, 4.0]
    task = own(tmp_path, *({"prompt": "p", "multiplicity": n} for n in counts), {"prompt": "q"})
    assert [task.multiplicity(p) for p in task.problems()] == [3, None, 0, 4, None]
    (tmp_path / "own.csv").write_text("prompt,id,multiplicity\np,07,3\nq,,\n")
    task = load_task(f"{tmp_path}/own.py:judge", tmp_path / "own.csv")
    assert [(p.id, task.multiplicity(p)) for p in task.problems()] == [("07", 3), ("1", None)]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells}), min_size=1, max_size=5))
def test_any_text_survives_every_format(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name in ("a.jsonl", "a.json", "a.parquet"):
        read = read_rows(written(folder / name, rows))
        assert [row.columns for row in read] == rows, name


@given(st.binary(max_size=60), st.sampled_from(SUFFIXES))
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    """Any bytes: rows, or a ValueError that begins with the file."""
    path = tmp_path_factory.mktemp("rows") / f"a{suffix}"
    path.write_bytes(data)
    said = []
    try:
        said += [row.place for row in read_rows(path)]
    except ValueError as error:
        said.append(str(error))
    assert all(text.startswith(str(path)) for text in said)


def test_finite() -> None:
    assert not not_finite({"a": [1, 2.5, "NaN", None, {"b": True}]})
    assert not_finite({"a": [1, {"b": float("-inf")}]})
