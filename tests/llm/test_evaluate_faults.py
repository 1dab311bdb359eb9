"""What an evaluation must not lose, hide or mistake: samples, settings, left-out rows, prompts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffsmooth.cli import main
from diffsmooth.llm._sample_store import SampleStore
from diffsmooth.llm.compare import compare, load_run, settings_that_differ
from diffsmooth.llm.evaluate import evaluate
from diffsmooth.llm.evaluation import Evaluation
from diffsmooth.llm.samplers import Completion, Sampling, ask_hub, prompt_text
from diffsmooth.llm.small import SmallModel, build, save, tokenizer
from diffsmooth.llm.tasks.base import Problem, Verdict
from diffsmooth.llm.tasks.countdown_solver import solutions
from diffsmooth.llm.tasks.puzzle import Puzzle
from diffsmooth.llm.tasks.registry import load_task
from diffsmooth.records import read_json, read_table


class Counting:
    """Draws a letter for each sample, another one every time it is asked; counts the problems."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        found = []
        for problem in problems:
            self.asked.append(problem.id)
            text = f"{problem.id} {len(self.asked)}"
            found.append([Completion(f"{text} {i}", i, "stop") for i in range(sampling.samples)])
        return found


RIGHT = "def judge(row, text):\n    return text.endswith('1')\n"
BROKEN = "def judge(row, text):\n    return 1 / 0 if row['id'] == 'c' else text.endswith('1')\n"
NAN = "def judge(row, text):\n    return float('nan') if row['id'] == 'c' else True\n"


def own(folder: Path, judge: str) -> Evaluation:
    (folder / "own.py").write_text(judge)
    rows = "".join(json.dumps({"id": i, "prompt": i}) + "\n" for i in "abcdefg")
    (folder / "own.jsonl").write_text(rows)
    return Evaluation(
        model="m",
        task=f"{folder}/own.py:judge",
        data=f"{folder}/own.jsonl",
        shard=2,
        resamples=20,
        sampling=Sampling(samples=2),
        out=folder / "out",
    )


def texts(folder: Path) -> list[str]:
    files = sorted((folder / "samples").glob("*.parquet"))
    return [row["text"] for file in files for row in read_table(file).to_pylist()]


@pytest.mark.parametrize("broken, said", [(BROKEN, "ZeroDivisionError"), (NAN, "score nan")])
def test_a_judge_that_raises_costs_no_sample(tmp_path: Path, broken: str, said: str) -> None:
    """The mended judge gets what was drawn; no problem is drawn twice."""
    sampler = Counting()
    with pytest.raises((ValueError, RuntimeError), match=f"problem 'c': .*{said}"):
        evaluate(own(tmp_path, broken), sampler=sampler)
    drawn = len(sampler.asked)
    assert drawn >= 4, "the shard that was drawn meanwhile is kept as well"
    with pytest.raises((ValueError, RuntimeError), match="problem 'c'"):
        evaluate(own(tmp_path, broken), sampler=sampler)
    assert len(sampler.asked) == drawn, "nothing is drawn before the judge is asked again"
    folder = evaluate(own(tmp_path, RIGHT), sampler=sampler)
    assert sampler.asked == list("abcdefg")
    assert texts(folder) == [f"{p} {n} {i}" for n, p in enumerate("abcdefg", 1) for i in range(2)]
    assert not (folder / "drawn").exists()
    rows = read_table(folder / "problems.parquet").to_pylist()
    assert [row["correct"] for row in rows] == [1] * 7


def test_verdicts_of_any_task_are_checked_and_made_plain(tmp_path: Path) -> None:
    """A task made in Python: NumPy's scalars are stored, NaN names its problem."""
    config = own(tmp_path, RIGHT)

    def judged(score: Any, correct: Any) -> Any:
        task = load_task(config.task, config.data)
        task.verify_many = lambda pairs: [  # type: ignore[method-assign]
            Verdict(score, correct) for _ in pairs
        ]
        return task

    bad, good = judged(float("nan"), True), judged(np.float32(0.5), np.True_)
    sampler = Counting()
    with pytest.raises(ValueError, match="problem 'a': the judge returned the score nan"):
        evaluate(config, task=bad, problems=bad.problems(), sampler=sampler)
    folder = evaluate(config, task=good, problems=good.problems(), sampler=sampler)
    assert sampler.asked == list("abcdefg")
    rows = read_table(folder / "problems.parquet").to_pylist()
    assert [(row["score"], row["correct"]) for row in rows] == [(0.5, 2)] * 7


def test_every_judge_that_failed_leaves_its_samples(tmp_path: Path) -> None:
    """Two broken judges, each of which got further: the third draws only the rest."""
    sampler = Counting()
    for bad in "bd":
        with pytest.raises(RuntimeError, match=f"problem '{bad}'"):
            evaluate(own(tmp_path, BROKEN.replace("'c'", f"'{bad}'")), sampler=sampler)
    evaluate(own(tmp_path, RIGHT), sampler=sampler)
    assert sampler.asked == list("abcdefg")


def test_another_judge_or_form_uses_the_same_samples(tmp_path: Path) -> None:
    sampler = Counting()
    first = evaluate(own(tmp_path, RIGHT), sampler=sampler)
    other = own(tmp_path, RIGHT.replace("'1'", "'0'"))
    second = evaluate(other, sampler=sampler)
    assert first != second
    assert texts(first) == texts(second)
    assert len(sampler.asked) == 7
    evaluate(dataclasses.replace(other, again=True), sampler=sampler)
    assert len(sampler.asked) == 14, "again draws"
    evaluate(dataclasses.replace(other, sampling=Sampling(samples=2, seed=1)), sampler=sampler)
    assert len(sampler.asked) == 21, "other samples are others"


def test_bad_input_leaves_no_folder(tmp_path: Path) -> None:
    class Refusing:
        def sample(self, problems: Any, sampling: Sampling) -> Any:
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        evaluate(own(tmp_path, RIGHT), sampler=Refusing())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"top_p": 0.9},
        {"top_k": 3},
        {"max_tokens": 8},
        {"stop": ("x",)},
        {"system": "S"},
        {"seed": 1},
        {"samples": 4},
    ],
)
def test_a_comparison_names_what_was_sampled_differently(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    base = own(tmp_path, RIGHT)
    other = dataclasses.replace(base, sampling=dataclasses.replace(base.sampling, **change))
    a, b = (load_run(evaluate(c, sampler=Counting())) for c in (base, other))
    (name,) = change
    values = (getattr(base.sampling, name), getattr(other.sampling, name))
    expected = {
        k: list(v) if isinstance(v, tuple) else v
        for k, v in zip(("baseline", "new"), values, strict=True)
    }
    result = compare(a, b, resamples=20)
    assert result["settings"] == {name: expected}
    assert compare(a, a, resamples=20)["settings"] == {}


def test_judging_a_shard_leaves_the_folder_that_the_next_is_written_into(tmp_path: Path) -> None:
    """One thread judges while another writes: the folder may not vanish between mkdir and write."""
    config = own(tmp_path, RIGHT)
    task = load_task(config.task, config.data)
    store = SampleStore(tmp_path / "store", task.problems(), 2)
    sampler = Counting()
    for shard in range(2):
        store.keep(shard, sampler.sample(store.shards[shard], config.sampling))
        store.judge(shard, task)
        assert (store.folder / "drawn").is_dir()
        assert not list((store.folder / "drawn").iterdir())
    store.tidy()
    assert not (store.folder / "drawn").exists()


@pytest.mark.parametrize(
    "change, names",
    [
        ({"form": "written"}, {"form"}),
        ({"backend": "server"}, {"backend"}),
        ({"dtype": "bfloat16"}, {"dtype"}),
        ({"model": "other", "adapter": "a"}, set()),
        ({"resamples": 30, "parallel": 2, "shard": 3}, set()),
    ],
)
def test_other_settings_that_differ(
    tmp_path: Path, change: dict[str, Any], names: set[str]
) -> None:
    base = own(tmp_path, RIGHT)
    other = dataclasses.replace(base, **change)
    a, b = (load_run(evaluate(c, sampler=Counting())) for c in (base, other))
    assert set(settings_that_differ(a, b)) == names


def test_other_references_and_judges_are_named(tmp_path: Path) -> None:
    """The same ids and prompts, another column that the judge reads; another judge."""
    (tmp_path / "x").mkdir()
    a = load_run(evaluate(own(tmp_path, RIGHT), sampler=Counting()))
    other = own(tmp_path / "x", RIGHT + "\n")
    rows = Path(str(other.data)).read_text().replace('"prompt": "a"', '"prompt": "a", "key": 1')
    Path(str(other.data)).write_text(rows)
    b = load_run(evaluate(other, sampler=Counting()))
    assert set(settings_that_differ(a, b)) == {"problems", "files.judge", "task"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random small model without a chat template."""
    shape = {"hidden": 16, "layers": 1, "heads": 2, "intermediate": 32}
    return save(*build(SmallModel(**shape)), tmp_path_factory.mktemp("models") / "bare")


def words(bare: Path, out: Path) -> list[str]:
    common = "--style bare --samples 2 --max-tokens 4 --resamples 20"
    return ["evaluate", "--model", str(bare), *common.split(), "--out", str(out)]


def test_settings_that_differ_are_printed_and_written(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, more in (("a", []), ("b", ["--temperature", "0.5", "--form", "written"])):
        assert main([*words(bare, tmp_path / name), "--limit", "3", *more]) == 0
    capsys.readouterr()
    folders = [str(tmp_path / name) for name in "ab"]
    assert main(["evaluate", "--compare", *folders, "--out", str(tmp_path / "c")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["temperature", "1.0", "0.5"] in lines
    assert ["form", "'ac'", "'written'"] in lines
    (path,) = (tmp_path / "c").glob("*.json")
    assert read_json(path)["comparison"]["settings"] == {
        "form": {"baseline": "ac", "new": "written"},
        "temperature": {"baseline": 1.0, "new": 0.5},
    }


def test_an_option_given_twice_is_refused(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(bare, tmp_path), "--stop", "a", "--stop", "b"]) == 2
    assert "--stop is given twice" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_options_that_could_only_do_nothing_or_harm_are_refused(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A system message over bare prompts; an empty stop text, which would end every answer."""
    assert main([*words(bare, tmp_path), "--limit", "2", "--system", "Be brief."]) == 2
    assert "--system: bare prompts" in capsys.readouterr().err
    assert main([*words(bare, tmp_path), "--limit", "2", "--stop", ""]) == 2
    assert "stop is ('',)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="stop is 'ab'"):
        Sampling(stop="ab")  # type: ignore[arg-type]


def test_seven_numbers_are_evaluated_beside_three(bare: Path, tmp_path: Path) -> None:
    data = tmp_path / "puzzles.jsonl"
    puzzles = [([1, 2, 3, 4, 5, 6, 7], 28), ([3, 5, 7], 22)]
    data.write_text("".join(json.dumps({"nums": n, "target": t}) + "\n" for n, t in puzzles))
    assert main([*words(bare, tmp_path / "out"), "--data", str(data)]) == 0
    (table,) = (tmp_path / "out").glob("*/problems.parquet")
    seven, three = read_table(table).to_pylist()
    assert (seven["multiplicity"], seven["coverage"]) == (None, None)
    known = len(solutions(Puzzle((3, 5, 7), 22)))
    assert three["multiplicity"] == known > 0
    assert three["coverage"] == three["distinct_correct"] / known
    measures = read_json(table.parent / "summary.json")["summary"]["measures"]
    assert measures["multiplicity"]["problems"] == 1
    data.write_text(json.dumps({"nums": puzzles[0][0], "target": 28}) + "\n")
    assert main([*words(bare, tmp_path / "alone"), "--data", str(data)]) == 0
    (summary,) = (tmp_path / "alone").glob("*/summary.json")
    assert read_json(summary)["summary"]["measures"]["coverage"] is None


def test_rows_left_out_are_counted_named_and_recorded(
    bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "puzzles.jsonl"
    row = '{"nums": [1, 2], "target": 3}\n'
    data.write_text(row + "\n" + row)
    assert main([*words(bare, tmp_path / "out"), "--data", str(data)]) == 0
    out = capsys.readouterr().out
    named = f"{data}, line 3: the puzzle of {data}, line 1 again (same numbers and target)"
    assert "1 row" in out
    assert named in out
    (summary,) = (tmp_path / "out").glob("*/summary.json")
    assert read_json(summary)["summary"]["left_out"] == [named]


TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] | trim }}\n{% endfor %}assistant: "
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
DROPS = TURNS.replace(" in messages", " in messages if m['role'] != 'system'")
ALWAYS = "{{ raise_exception('never') }}"
BREAKS = "{{ messages[0]['role'] + 1 }}"


@pytest.mark.parametrize("template", [REFUSES + TURNS, DROPS])
def test_a_template_without_a_system_role_names_the_option(template: str) -> None:
    tok = tokenizer()
    tok.chat_template = template
    problem = Problem("p", "What is 1+2?", None)
    text, _ = prompt_text(tok, problem, Sampling())
    assert text == "user: What is 1+2?\nassistant: "
    with pytest.raises(ValueError, match=r"--system.*no place for a system message"):
        prompt_text(tok, problem, Sampling(system="Be brief."))
    raw = Problem("p", "1+2=", None, raw=True)
    assert prompt_text(tok, raw, Sampling(system="Be brief.")) == ("1+2=", True)


@pytest.mark.parametrize("system", [None, "S"])
@pytest.mark.parametrize("template", [ALWAYS, BREAKS])
def test_a_template_that_refuses_a_prompt_is_said(template: str, system: str | None) -> None:
    tok = tokenizer()
    tok.chat_template = template
    with pytest.raises(ValueError, match="refuses the prompt of problem 'p'"):
        prompt_text(tok, Problem("p", "q", None), Sampling(system=system))


def test_a_system_message_goes_through_where_there_is_a_role() -> None:
    tok = tokenizer()
    tok.chat_template = TURNS
    text, _ = prompt_text(tok, Problem("p", "q", None), Sampling(system=" Be\nbrief. "))
    assert text == "system: Be\nbrief.\nuser: q\nassistant: "


def test_an_unknown_model_is_asked_for_once(
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import huggingface_hub

    ask_hub(str(bare))
    asked: list[tuple[str, ...]] = []

    def download(*names: str) -> str:
        asked.append(names)
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert main([*words(Path("owner/none"), tmp_path), "--data", "none.csv"]) == 2
    assert capsys.readouterr().err == "diffsmooth evaluate: no data file none.csv\n"
    with pytest.raises(OSError, match="cache holds no model 'owner/none'"):
        ask_hub("owner/none")
    assert main([*words(Path("owner/none"), tmp_path), "--limit", "2"]) == 2
    assert asked == [("owner/none", "config.json")] * 2
    assert not list(tmp_path.iterdir())
