"""The runner: one file is one statement; nothing red is ever shown green."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from diffsmooth.cli.verify import Verify, red_lines
from diffsmooth.cli.verify import run as cli
from diffsmooth.theory.statements import template
from diffsmooth.theory.verify import adversarial, exact, random, report, run, smt
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, Verdict
from diffsmooth.theory.verify.domains import Instances

TEMPLATE = Path(template.__file__)


ENGINES = {m.__name__.rpartition(".")[2]: m._ENGINE for m in (adversarial, exact, random, smt)}


def say(verdict: Verdict, name: str = "exact", text: str = "said so") -> Outcome:
    """An engine's verdict of one instance, whatever it is."""
    return ENGINES[name].issue(
        verdict, text, decided=["x = x"], domain=Instances.of([{"x": 1}]), cases=1
    )


def statement(
    *verdicts: Verdict, name: str = "exact", mutant: Verdict = "refuted", **changes: object
) -> Statement[str]:
    """A statement whose methods say ``verdicts`` of the claim and ``mutant`` of the mutants."""

    def method(verdict: Verdict) -> Method[str]:
        def check(claim: str, budget: Budget) -> Outcome:
            return say(verdict if claim == "true" else mutant, name)

        return Method(name, check)  # type: ignore[arg-type]

    made = Statement(
        id="T1",
        title="made up",
        source="new",
        reference="tests",
        assumptions=(),
        latex="x = x",
        claim="true",
        methods=[method(v) for v in verdicts],
        mutants=[Mutant(m, m, by=name) for m in ("wrong", "worse")],  # type: ignore[arg-type]
        limits="none",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def raising(claim: str, budget: Budget) -> Outcome:
    raise ZeroDivisionError("by design")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Make an importable package of statement files out of the template, with edits."""
    made: list[str] = []

    def make(**files: tuple[str, str] | None) -> str:
        name = f"statements_{tmp_path.name}_{len(made)}".replace("-", "_")
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        source = TEMPLATE.read_text(encoding="utf-8")
        for stem, edit in files.items():
            text = source if edit is None else source.replace(*edit)
            assert edit is None or text != source
            (folder / f"{stem}.py").write_text(text, encoding="utf-8")
        made.append(name)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for module in [m for m in sys.modules if m.split(".")[0] in made]:
        del sys.modules[module]


class TestVerdicts:
    def test_proved_and_holds_are_green(self) -> None:
        assert run.run_statement(statement("proved", "holds")).green

    @pytest.mark.parametrize("bad", ["refuted", "undecided"])
    def test_one_bad_verdict_is_red(self, bad: Verdict) -> None:
        result = run.run_statement(statement("proved", bad))
        assert not result.green
        assert red_lines(result) == [f"T1 exact [1 instance: x = 1]: {bad}: said so"]

    def test_undecided_is_forgiven_only_to_an_optional_method(self) -> None:
        base = statement("proved", "undecided")
        optional = replace(base.methods[1], optional="z3 gives up at six variables")
        assert run.run_statement(replace(base, methods=[base.methods[0], optional])).green
        result = run.run_statement(replace(base, methods=[optional]))
        assert not result.green  # nobody vouches for it
        assert red_lines(result) == ["T1: every method is undecided"]

    def test_an_optional_method_that_refutes_or_raises_is_red(self) -> None:
        base = statement("proved", "refuted")
        optional = replace(base.methods[1], optional="may give up")
        assert not run.run_statement(replace(base, methods=[base.methods[0], optional])).green
        broken = replace(optional, check=raising)
        assert not run.run_statement(replace(base, methods=[base.methods[0], broken])).green

    @pytest.mark.parametrize("passed", ["proved", "holds", "undecided"])
    def test_a_mutant_that_is_not_refuted_is_red(self, passed: Verdict) -> None:
        result = run.run_statement(statement("proved", mutant=passed))
        assert not result.green
        assert [m.refuted for m in result.mutants] == [False, False]
        assert "not refuted" in red_lines(result)[0]

    def test_every_named_method_must_refute_the_mutant(self) -> None:
        base = statement("proved")

        def blind(claim: str, budget: Budget) -> Outcome:
            return say("holds", "random", "sees nothing")

        methods = [base.methods[0], Method("random", blind)]
        mutants = [Mutant("wrong", "wrong", by=("exact", "random")), base.mutants[1]]
        result = run.run_statement(replace(base, methods=methods, mutants=mutants))
        assert [m.refuted for m in result.mutants] == [False, True]
        assert "random says holds" in result.mutants[0].detail

    def test_a_mutant_on_which_the_method_raises_is_not_refuted(self) -> None:
        def check(claim: str, budget: Budget) -> Outcome:
            return say("proved") if claim == "true" else raising(claim, budget)

        base = statement("proved", methods=[Method("exact", check)])
        assert not run.run_statement(base).green

    def test_an_exception_is_red_and_shows_its_last_line(self) -> None:
        base = statement("proved")
        broken = Method("exact", raising)
        result = run.run_statement(replace(base, methods=[*base.methods, broken]))
        assert not result.green
        assert "ZeroDivisionError: by design (test_run.py:" in result.methods[1].detail

    @pytest.mark.parametrize("name", ["random", "adversarial"])
    def test_proved_from_a_sampling_method_is_red(self, name: str) -> None:
        result = run.run_statement(statement("proved", name=name))
        assert not result.green
        assert f"{name} only samples" in str(result.methods[0].error)

    def test_deep_methods_and_their_mutants_wait_for_deep(self) -> None:
        base = statement("proved")
        deep = Method("smt", lambda claim, budget: say(
            "proved" if claim == "true" else "refuted", "smt"), deep=True)  # fmt: skip
        mutants = [*base.mutants, Mutant("deep only", "wrong", by="smt")]
        both = replace(base, methods=[*base.methods, deep], mutants=mutants)
        shallow = run.run_statement(both)
        assert (len(shallow.methods), len(shallow.mutants), shallow.skipped) == (1, 2, 2)
        full = run.run_statement(both, Budget(deep=True))
        assert (len(full.methods), len(full.mutants), full.skipped) == (2, 3, 0)


class TestDiscovery:
    def test_adding_a_statement_is_adding_one_file(self, package: Callable[..., str]) -> None:
        one = package(t0=None)
        assert list(run.discover(one)) == ["T0"]
        two = package(t0=None, b=('id="T0"', 'id="T10"'), a=('id="T0"', 'id="T9"'))
        assert list(run.discover(two)) == ["T0", "T9", "T10"]

    def test_the_template_and_private_modules_are_not_statements(
        self, package: Callable[..., str]
    ) -> None:
        assert run.discover(package(template=None, _shared=None)) == {}
        assert "T0" not in run.discover()

    def test_duplicate_ids_raise(self, package: Callable[..., str]) -> None:
        with pytest.raises(ValueError, match="T0 is used by"):
            run.discover(package(a=None, b=None))

    def test_a_module_without_statement_raises(self, package: Callable[..., str]) -> None:
        with pytest.raises(ValueError, match="does not export STATEMENT"):
            run.discover(package(a=("STATEMENT = ", "OTHER = ")))

    @pytest.mark.parametrize(
        "wanted, chosen",
        [
            ([], ["A1", "B1", "B7.i", "B7.ii", "B10"]),
            (["a1"], ["A1"]),
            (["B7"], ["B7.i", "B7.ii"]),
            (["b7.i"], ["B7.i"]),
            (["B"], ["B1", "B7.i", "B7.ii", "B10"]),
            (["B10", "A"], ["A1", "B10"]),
        ],
    )
    def test_selection(self, wanted: list[str], chosen: list[str]) -> None:
        assert run.select(["A1", "B1", "B7.i", "B7.ii", "B10"], wanted) == chosen

    @pytest.mark.parametrize("word", ["Z9", "B77", "", "b7.iiii", "1"])
    def test_unknown_ids_name_the_nearest(self, word: str) -> None:
        with pytest.raises(run.UnknownStatementError, match="nearest: "):
            run.select(["A1", "B7.i"], [word])


class TestRun:
    def test_the_template_is_green_in_one_process_and_in_two(
        self, package: Callable[..., str]
    ) -> None:
        name = package(t0=None)
        seen: list[tuple[str, int, int]] = []
        alone = run.verify(jobs=1, package=name, progress=lambda *a: seen.append(a))
        pooled = run.verify(jobs=2, package=name)
        assert alone.green
        assert pooled.green
        assert seen[-1] == ("T0", 7, 7)

        def verdicts(r: run.Run) -> list[tuple[object, ...]]:
            return [(m.name, m.verdict, m.detail, m.residual) for m in r.statements[0].methods]

        assert verdicts(alone) == verdicts(pooled)

    def test_a_wrong_statement_is_refuted_with_a_minimal_counterexample(
        self, package: Callable[..., str]
    ) -> None:
        # By hand: <= where the truth is >=.
        name = package(
            t0=("gap: Callable[[Sequence[Any]], Any] = _gap", "gap: Any = lambda q: -_gap(q)")
        )
        result = run.verify(jobs=1, package=name)
        assert not result.green
        said = {m.name: m for m in result.statements[0].methods}
        assert {m.verdict for m in said.values()} == {"refuted"}
        assert said["exact"].counterexample == "at q = (1/3, 2/3) the value is -2/81"
        smallest = str(said["random"].counterexample)
        assert smallest.count(",") <= 3  # two trajectories and two numbers about them
        assert any(
            "counterexample: at q = (1/3, 2/3)" in x for x in red_lines(result.statements[0])
        )

    def test_an_unsound_verdict_is_red_from_a_worker_too(self, package: Callable[..., str]) -> None:
        edit = ("return random.for_all(", 'return Outcome("proved", "!") or random.for_all(')
        result = run.verify(jobs=2, package=package(t0=edit))
        assert not result.green
        (forged,) = [m for m in result.statements[0].methods if m.name == "random"]
        assert forged.verdict == "undecided"
        assert "a verdict cannot be set" in str(forged.error)

    def test_bad_jobs(self) -> None:
        with pytest.raises(ValueError, match="jobs is 0"):
            run.verify(jobs=0)


class TestCommand:
    @pytest.fixture(autouse=True)
    def _own_package(self, package: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
        name = package(t0=None, t1=('id="T0"', 'id="T1"'))
        discover, verify = run.discover, run.verify
        monkeypatch.setattr(run, "discover", lambda package=name: discover(package))
        monkeypatch.setattr(run, "verify", lambda *a, **k: verify(*a, **k, package=name))

    def test_green_writes_both_files(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data_file, page = tmp_path / "v.json", tmp_path / "v.html"
        assert cli(Verify(ids=("T0",), jobs=1, json=data_file, html=page)) == 0
        last = capsys.readouterr().out.strip().splitlines()[-1]
        assert last.startswith("1 of 1 hold")
        assert str(data_file) in last
        assert str(page) in last
        data = json.loads(data_file.read_text(encoding="utf-8"))
        assert [s["id"] for s in data["statements"]] == ["T0"]
        assert "<!doctype html>" in page.read_text(encoding="utf-8")

    @pytest.mark.parametrize(
        "config, line",
        [
            (Verify(ids=("T7",)), "no statement 'T7'; nearest: T1, T0"),
            (Verify(jobs=0), "--jobs is 0"),
            (Verify(seed=-1), "--seed is -1"),
            (Verify(json=Path("/no/such/folder/x.json")), "there is no folder"),
            (Verify(html=Path("/")), "is a folder"),
        ],
    )
    def test_bad_input_is_one_line_and_two(
        self, config: Verify, line: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli(config) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1
        assert line in captured.err

    def test_a_missing_engine_is_said_before_anything_runs(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("diffsmooth.cli.verify.find_spec", lambda name: None)
        assert cli(Verify()) == 2
        assert "pip install 'diffsmooth[verify]'" in capsys.readouterr().err

    def test_red_is_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        red = run.Run(1.0, Budget(), (run.run_statement(statement("proved", "undecided")),))
        monkeypatch.setattr(run, "verify", lambda *a, **k: red)
        assert cli(Verify(jobs=1)) == 1
        assert "undecided: said so" in capsys.readouterr().out


def test_json_has_the_promised_shape() -> None:
    result = run.run_statement(template.STATEMENT)
    data = report.to_json(run.Run(1.5, Budget(), (result,)))
    assert set(data) == {"seconds", "statements"}
    (s,) = data["statements"]
    assert set(s) == {"id", "title", "source", "methods", "mutants"}
    assert all(set(m) == {"name", "verdict", "domain", "seconds", "detail"} for m in s["methods"])
    assert all(set(m) == {"name", "refuted", "by"} for m in s["mutants"])
    assert json.loads(json.dumps(data, allow_nan=False)) == data
