"""Results are whole or absent, keyed by what was asked, and equal runs give equal bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.records import (
    canonical,
    config_hash,
    done,
    read_json,
    read_table,
    sidecar,
    write_bytes,
    write_json,
    write_table,
)


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True)
class Config:
    steps: int = 3
    inner: Inner = Inner()
    path: Path | None = None


def test_the_hash_depends_on_values_only() -> None:
    assert config_hash(Config()) == config_hash(Config(steps=3, inner=Inner(0.5, ("a", "b"))))
    others = [
        Config(steps=4), Config(inner=Inner(0.25)), Config(inner=Inner(names=("b", "a"))),
        Config(path=Path("x")),
    ]  # fmt: skip
    assert len({config_hash(c) for c in (*others, Config())}) == 5


def test_types_are_part_of_the_key() -> None:
    @dataclass(frozen=True)
    class Other:
        rate: float = 0.5
        names: tuple[str, ...] = ("a", "b")

    assert config_hash(Inner()) != config_hash(Other())


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.booleans()))
def test_the_order_of_a_mapping_plays_no_part(mapping: dict[str, object]) -> None:
    backwards = dict(reversed(mapping.items()))
    assert config_hash(mapping) == config_hash(backwards)


@pytest.mark.parametrize("value", [{1: 2}, {1, 2}, object(), lambda: None])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="configuration"):
        canonical(value)


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        config_hash(Inner(rate=float("nan")))


def test_the_hash_is_the_same_in_another_process() -> None:
    code = "from diffsmooth.records import config_hash; print(config_hash({'a': [1, 2.5, None]}))"
    for seed in ("0", "1"):
        out = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert out.stdout.strip() == config_hash({"a": [1, 2.5, None]})


def test_tables_come_back_and_equal_tables_give_equal_bytes(tmp_path: Path) -> None:
    table = pa.table({"step": [1, 2], "value": [0.1, 0.2], "rule": ["grpo", "eq6"]})
    one, two = write_table(tmp_path / "a" / "one.parquet", table), tmp_path / "two.parquet"
    write_table(two, table)
    assert read_table(one).equals(table)
    assert one.read_bytes() == two.read_bytes()
    assert done(one)
    assert not done(tmp_path / "three.parquet")


def test_json_comes_back_and_refuses_nan(tmp_path: Path) -> None:
    value = {"b": 1, "a": [1.5, "é"]}
    assert read_json(write_json(tmp_path / "x.json", value)) == value
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "y.json", {"a": float("nan")})
    assert not (tmp_path / "y.json").exists()


def test_a_sidecar_repeats(tmp_path: Path) -> None:
    one, two = sidecar(Config(), 7, note="x"), sidecar(replace(Config()), 7, note="x")
    assert one == two
    assert one["hash"] == config_hash(Config())
    assert one["seed"] == 7
    assert one["versions"]["numpy"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_bytes(tmp_path / "x", b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_killed_writer_never_leaves_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    code = textwrap.dedent(f"""
        from diffsmooth.records import write_bytes
        n = 0
        while True:
            n += 1
            write_bytes({str(path)!r}, bytes([n % 256]) * 200_000)
            if n == 3: print("ready", flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    data = path.read_bytes()
    assert len(data) == 200_000
    assert len(set(data)) == 1
