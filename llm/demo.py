"""The first result, from end to end: theorems, a simulated collapse, a small model, one report.

Everything on the page is read from the files that the three parts leave in ``out``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffsmooth import records
from diffsmooth.records import page

#: The theorems of the demonstration: why collapse, where to, and why the remedy is enough.
STATEMENTS = ("A2", "A3", "B7")

REPORT = "report.html"


def run_demo(out: Path, *, seeds: int = 3, jobs: int = 2) -> int:
    """Run the three parts into ``out`` and write ``out/report.html``.

    Finished runs are not run again.  Returns 0, or 1 if a theorem did not hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    green = _timed(out, "verify", lambda: _verify(out, jobs))
    _timed(out, "simulate", lambda: _simulate(out))
    _timed(out, "train", lambda: _train(out, seeds, jobs))
    path = write_report(out, seeds)
    print(f"report: {path}")
    return 0 if green else 1


def _verify(out: Path, jobs: int) -> bool:
    from diffsmooth.theory.verify import report
    from diffsmooth.theory.verify.core import Budget
    from diffsmooth.theory.verify.run import verify

    print(f"1/3 theorems {', '.join(STATEMENTS)}")
    note = out / "verify_run.json"
    key = {"statements": list(STATEMENTS), "sources": _sources_of_theory()}
    if records.done(note) and records.read_json(note) == key:
        print(f"  hold, as found before: {out / 'verify.json'}")
        return True
    with _bar() as advance:
        found = verify(STATEMENTS, Budget(shrink_mutants=True), jobs=jobs, progress=advance)
    for s in found.statements:
        caught = f"{sum(m.refuted for m in s.mutants)} of {len(s.mutants)} wrong variants refuted"
        print(f"  {s.id} {'holds' if s.green else 'FAILS'}: {s.statement.title}; {caught}")
    records.write_json(out / "verify.json", report.to_json(found))
    records.write_bytes(out / "verify.html", report.to_html_page(found).encode())
    _theorem_figure(out)
    if found.green:  # last, because its existence means that the part is done
        records.write_json(note, key)
    return found.green


def _sources_of_theory() -> str:
    """Hash of the code that a verdict depends on: if it has changed, theorems are checked again."""
    import hashlib

    from diffsmooth import theory

    folder = Path(theory.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _theorem_figure(out: Path) -> Path:
    """A3's picture as PNG, drawn by the statement itself."""
    import io

    from matplotlib.figure import Figure

    from diffsmooth.theory.statements.a3_exact_flow import STATEMENT

    canvas = Figure(figsize=(7.0, 3.8), layout="constrained")
    assert STATEMENT.figure is not None
    STATEMENT.figure(canvas.add_subplot())
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=150)
    return records.write_bytes(out / "theorem.png", buffer.getvalue())


def _simulate(out: Path) -> None:
    from diffsmooth.sim import demo

    print("2/3 simulated collapse: 64 prompts, exact policy gradient")
    demo.run_demo(out / "simulate")
    demo.figure(out / "simulate")


def _train(out: Path, seeds: int, jobs: int) -> None:
    from diffsmooth.llm import study

    print("3/3 a small language model: pre-training, then RL through TRL's GRPOTrainer")
    with _bar() as advance:
        study.run_demo_study(out / "train", seeds=range(seeds), processes=jobs, progress=advance)
    study.figure(out / "train", out / "train" / "study.png")


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    )  # fmt: skip
    with Progress(*columns) as bar:
        row = bar.add_task("starting", total=None)

        def advance(what: str, done: int, of: int) -> None:
            bar.update(row, description=what, completed=done, total=of)

        yield advance


def _timed(out: Path, name: str, part: Callable[[], Any]) -> Any:
    """Run a part and keep its wall-clock seconds, unless an earlier, longer run is on record."""
    start = time.perf_counter()
    result = part()
    path = out / "seconds.json"
    kept = records.read_json(path) if records.done(path) else {}
    kept[name] = max(round(time.perf_counter() - start, 1), kept.get(name, 0.0))
    records.write_json(path, kept)
    return result


# -- the report -------------------------------------------------------------------------------


def write_report(out: Path, seeds: int) -> Path:
    """``out/report.html`` from the parts' files.  Raises FileNotFoundError if one is missing."""
    seconds = records.read_json(out / "seconds.json")
    body = [
        page.paragraph(
            "RL on verifiable rewards raises the chance that one answer is correct and lowers the "
            "number of different correct answers. This page shows it three times, as theorems, on "
            "tables and in a small language model, each with and without differential smoothing "
            "(arXiv 2511.19942). Every number below was measured by the commands shown; a result "
            "against the method is shown like one in its favour."
        ),
        page.command("make demo        # or: diffsmooth demo --out out"),
        *_theorems(out),
        *_collapse(out),
        *_model(out, seeds),
        page.heading("Time"),
        page.table(
            ["part", "seconds on this machine"],
            [[name, f"{value:.0f}"] for name, value in seconds.items()],
        ),
    ]
    title = "Diversity collapse and differential smoothing: a first look"
    versions = records.sidecar({})["versions"]
    footer = ", ".join(f"{k} {v}" for k, v in versions.items())
    text = page.page(title, body, footer)
    return records.write_bytes(out / REPORT, text.encode())


def _theorems(out: Path) -> list[str]:
    found = json.loads((out / "verify.json").read_text(encoding="utf-8"))
    rows = [
        [
            s["id"],
            s["title"],
            ", ".join(f"{m['name']} {m['verdict']}" for m in s["methods"]),
            f"{sum(m['refuted'] for m in s['mutants'])} of {len(s['mutants'])}",
        ]
        for s in found["statements"]
    ]
    return [
        page.heading("1. What is true: theorems checked by machine"),
        page.table(["id", "statement", "methods", "wrong variants refuted"], rows),
        page.image(
            out / "theorem.png",
            "Shares of four correct trajectories along the policy-gradient flow",
            "Theorem A3: under the exact policy-gradient flow the correct part collapses to the "
            "trajectory that the base policy liked best. Domains, certificates and counterexamples "
            "are in verify.html beside this file.",
        ),
        page.command(f"diffsmooth verify {' '.join(STATEMENTS)} --html verify.html"),
    ]


def _collapse(out: Path) -> list[str]:
    from diffsmooth.sim.demo import LABELS

    table = records.read_table(out / "simulate" / "collapse.parquet").to_pylist()
    last = max(row["time"] for row in table)
    ends: dict[tuple[str, float], dict[str, float]] = {}
    for row in table:
        ends.setdefault((row["method"], row["time"]), {})[row["measure"]] = row["value"]
    shown = _shown(ends[next(iter(ends))])
    rows = [["base policy", *(f"{ends[('vanilla', 0.0)][m]:.3f}" for m in shown)]]
    rows += [
        [label, *(f"{ends[(name, last)][m]:.3f}" for m in shown)] for name, label in LABELS.items()
    ]
    side = records.read_json(out / "simulate" / "collapse.json")
    gap = side["largest_log_prob_gap_to_A3"]
    return [
        page.heading("2. What happens on tables: the exact flow"),
        page.image(
            out / "simulate" / "collapse.png",
            "Correctness, entropy of correct answers and pass@k over time for four remedies",
            "Sixty-four prompts; at test time one correct answer in four still passes, so that "
            "pass@k sees more than correctness. Vanilla lies on theorem A3's closed form (largest "
            f"gap in a log-probability at the end: {gap:.1e}). Strengths were fixed beforehand, "
            "one per remedy: an illustration; the atlas compares them at equal tuning budget.",
        ),
        page.table(["at the end", *shown], rows),
        page.command(
            "diffsmooth demo --out out      # this figure\n"
            "diffsmooth simulate bandit     # its regime, with the remedies of your choice"
        ),
    ]


def _shown(measures: dict[str, float]) -> list[str]:
    wanted = ("pass@1", "test_pass@1", "test_pass@16", "test_pass@64", "entropy", "effective")
    return [name for name in wanted if name in measures]


def _model(out: Path, seeds: int) -> list[str]:
    from diffsmooth.llm import study

    table = study.final_table(out / "train")
    names = [n for n in table[0] if n not in ("arm", "step", "seeds")]
    start = {n: _start(out, n) for n in names}
    rows = [["before RL", *(f"{start[n]:.3f}" for n in names)]]
    rows += [[str(row["arm"]), *(_interval(row[n]) for n in names)] for row in table]
    grpo = table[0]
    steps = grpo["step"]
    caption = (
        f"A transformer made here, pre-trained in this run, then {steps} RL steps through TRL's "
        f"GRPOTrainer; lines are means over {grpo['seeds']} seeds, bands reach from the lowest to "
        "the highest. Under GRPO "
        f"pass@64 goes from {start['pass@64']:.3f} to {grpo['pass@64'][0]:.3f} and the distinct "
        f"correct solutions in 64 samples from {start['distinct']:.2f} to "
        f"{grpo['distinct'][0]:.2f}, while pass@1 goes from {start['pass@1']:.3f} to "
        f"{grpo['pass@1'][0]:.3f}. "
        + " ".join(_against(grpo, row) for row in table[1:])
        + " Strings count wordings: where they rise and solutions do not, the policy pays for "
        "wordings (theorem C8)."
    )
    return [
        page.heading("3. What happens in a language model: CountDown"),
        page.image(
            out / "train" / "study.png",
            "pass@k and distinct correct answers over RL steps for GRPO and smoothing",
            caption,
        ),
        page.table(
            ["after RL: mean (lowest to highest)", *names],
            rows,
            f"{seeds} seeds an arm; the same seeds for every arm",
        ),
        page.command("diffsmooth demo --out out --seeds 3"),
    ]


def _start(out: Path, name: str) -> float:
    rows = records.read_table(out / "train" / "summary.parquet").to_pylist()
    first = [row[name] for row in rows if row["step"] == 0]
    return float(sum(first) / len(first))


def _interval(value: Sequence[float]) -> str:
    mean, low, high = value
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _against(grpo: dict[str, Any], row: dict[str, Any]) -> str:
    """One sentence: an arm against GRPO, whichever way it went."""
    parts = [f"{n} {row[n][0] - grpo[n][0]:+.3f}" for n in ("pass@1", "pass@64", "distinct")]
    return f"{row['arm']} against GRPO: {', '.join(parts)}."
