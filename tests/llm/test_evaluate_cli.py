"""``diffsmooth evaluate`` from the words of a command line to the files, with a model made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from diffsmooth.cli import main
from diffsmooth.llm.samplers import check_model
from diffsmooth.llm.small import SmallModel, build, save
from diffsmooth.records import read_json, read_table


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random small models."""
    folder = tmp_path_factory.mktemp("models")
    shape = {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32}
    first, second = (
        save(*build(SmallModel(seed=seed, **shape)), folder / str(seed)) for seed in (0, 1)
    )
    return first, second


def test_evaluate_twice_and_compare(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = []
    for model in models:
        words = f"evaluate --model {model} --style bare --limit 5 --samples 6 --max-tokens 8"
        assert main([*words.split(), "--resamples", "50", "--out", str(tmp_path)]) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith("results in ")
        folders.append(last.removeprefix("results in "))
    assert folders[0] != folders[1]
    for folder in folders:
        (shard,) = Path(folder, "samples").glob("*.parquet")
        assert read_table(shard).num_rows == 30
    assert main(["evaluate", "--compare", *folders, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "distinct_correct " in out
    assert "\u2026" not in out, "no name is cut"
    # The folder above serves where it holds one evaluation.
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "it").symlink_to(folders[0])
    words = ["evaluate", "--compare", str(tmp_path / "one"), folders[1], "--out", str(tmp_path)]
    assert main(words) == 0
    assert capsys.readouterr().out == out
    (tmp_path / "one" / "other").symlink_to(folders[1])
    assert main(words) == 2
    assert "holds several evaluations, name one: it, other" in capsys.readouterr().err
    assert "pass@6" in out
    path = Path(out.splitlines()[-1].removeprefix("results in "))
    comparison = read_json(path)["comparison"]
    assert comparison["problems"] == 5
    assert comparison["baseline"]["model"] == str(models[0])


def test_own_task_from_the_command_line(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "judge.py").write_text("def digit(row, text):\n    return text[:1] in row['ok']\n")
    (tmp_path / "data.jsonl").write_text('{"prompt": "1+1=", "ok": "0123456789"}\n' * 1)
    words = ["--task", f"{tmp_path}/judge.py:digit", "--data", f"{tmp_path}/data.jsonl"]
    words += ["--model", str(models[0]), "--samples", "40", "--max-tokens", "2"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "out")]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("results in "))
    (row,) = read_table(folder / "problems.parquet").to_pylist()
    samples = read_table(folder / "samples" / "00000.parquet").to_pylist()
    assert row["correct"] == sum(s["text"][:1].isdigit() or s["text"] == "" for s in samples)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--task", "poetry", "--model", "m"], "allowed: countdown"),
        (["--limit", "2"], "model is missing"),
        (["--samples", "0", "--model", "m"], "samples is 0"),
        (["--model", "/nonexist"], "'/nonexist': no such folder, and not a hub name"),
        (["--model", "runs/none/final"], "no such folder, and not a hub name"),
        (["--model", "m", "--adapter", "../none"], "adapter is '../none': no such folder"),
        (["--model", __file__], "a file; give the folder"),
        (["--compare", "nowhere", "elsewhere"], "no finished evaluation"),
        (["--task", "file", "--model", "m"], "data is missing"),
        (["--task", "file", "--data", "none.jsonl", "--model", "m"], "no data file"),
        (["--speling", "1"], "--speling"),
        (
            ["--backend", "server", "--url", "ftp://x", "--model", "m", "--limit", "2"],
            "url is 'ftp://x'",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_two(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["evaluate", *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing is left beside the results"


def test_the_folder_of_a_run_is_told_from_its_model(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    words = ["evaluate", "--out", str(tmp_path / "out"), "--model", str(tmp_path / "run")]
    assert main(words) == 2
    assert capsys.readouterr().err.strip().endswith("this folder holds no config.json")
    (tmp_path / "run" / "final").symlink_to(models[0])
    assert main(words) == 2
    assert f"did you mean {tmp_path / 'run' / 'final'}?" in capsys.readouterr().err


def test_a_name_that_neither_is_a_folder_nor_reaches_a_hub(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(config: object) -> None:
        raise OSError("no such repository\nor no network")

    monkeypatch.setattr("diffsmooth.llm.evaluate.make_sampler", unreachable)
    words = ["evaluate", "--model", "owner/none", "--limit", "2", "--out", str(tmp_path)]
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error == (
        "diffsmooth evaluate: no folder 'owner/none' here, and as a hub name: "
        "no such repository or no network"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen2.5-Math-7B", "a/b_c.d-e", "_a/b", "x" * 96])
def test_hub_names_pass(name: str) -> None:
    check_model(name)


@pytest.mark.parametrize("name", ["a/b/c", "/a", "a/", "-a", "a-", "a b", "a\n", "é/b", "x" * 97])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a hub name"):
        check_model(name)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, diffsmooth.cli.evaluate; "
        "heavy = {'torch', 'numpy', 'scipy', 'pyarrow', 'transformers', 'sympy', 'datasets'}; "
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (child.returncode, child.stderr) == (0, "")
