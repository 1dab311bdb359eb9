"""Do the statements notice an error in the library?  Seeded errors in ``theory/``, one at a time.

    python benchmarks/mutation_theory.py --out mutation.csv --max-mutants 200 --seed 0

Each mutant is one small edit of the syntax tree of a target file (``+`` for ``-``, ``*`` for ``/``,
a dropped minus sign, log, exp or square root, a comparison turned round, a constant off by one).
It is *killed* when a statement turns red under the default budget.  Validation (``raise``,
``assert``, an ``if`` that only raises), annotations, defaults, subscripts, tolerances and messages
are not mutated: the statements speak about the mathematics.

The working tree is only read: it is copied once, and the mutated source exists in memory only,
in a forked process a mutant.  A first run records which functions each task executes (a task is one
method of a statement, or one wrong claim that its methods must refute), so that a mutant is judged
by those tasks alone, the fastest first, and a function that none executes is *uncovered*.  That
leaves nothing out: a task that never enters the function cannot tell it from another.  Every task
is recorded in a process of its own, forked after the statement's import: no cache is warm that
could hide a call, and what the import itself executes counts for all tasks of the statement.

Finished mutants are kept in the CSV: the same command continues an interrupted run, and with
``--again`` it judges anew those that no statement had noticed.  The recorded tasks are kept beside
it until a file that the statement loads changes.

Writes the CSV (one row a mutant) and beside it a JSON summary with the score and the survivors.
Survivors that ``mutation_equivalent.csv`` names, with the reason why they change no result, are not
counted as errors; the score with them is given too.
Exit code 0 when the score reaches ``--goal``, 1 otherwise, 2 on bad input.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatch
from multiprocessing import connection
from pathlib import Path
from typing import Any

TARGETS = (
    "rules/*.py", "optima.py", "flows.py", "_orbit.py", "critical.py", "gradients.py",
    "utilities.py", "policy.py", "diversity.py", "passk.py", "length.py", "classes.py",
)  # fmt: skip
_DROPPED = {"log", "exp", "log1p", "expm1", "sqrt", "square"}
_SWAPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip
_QUIET_KEYWORDS = ("axis", "dtype", "tol", "keepdims", "method", "max", "steps", "stacklevel")


@dataclass(frozen=True)
class Mutant:
    """One edit: ``site`` counts the places of ``file`` in the order of the syntax tree."""

    file: str
    site: int
    line: int
    function: str
    first_line: int
    operator: str
    before: str
    after: str


@dataclass(frozen=True)
class Row:
    """What became of a mutant: killed, survived, timeout or uncovered."""

    key: str
    file: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    outcome: str
    by: str
    detail: str
    seconds: float


@dataclass(frozen=True)
class Config:
    """Measure which seeded errors in the theory the statements notice."""

    out: Path = Path("mutation.csv")
    """CSV of all mutants; the summary goes beside it as .json. An existing file is continued."""

    max_mutants: int = 0
    """Draw this many at random (0: all)."""

    seed: int = 0
    """Seed of the draw."""

    jobs: int = 2
    """Mutants judged at the same time."""

    timeout: float = 180.0
    """Seconds a mutant may take."""

    goal: float = 0.9
    """Share of killed mutants for exit code 0."""

    targets: tuple[str, ...] = TARGETS
    """Files to mutate, as patterns below theory/."""

    judges: tuple[str, ...] = ("*",)
    """Statement files that may judge, as patterns (``a*``); fewer can only lower the score."""

    again: bool = False
    """Judge anew the mutants of the CSV that were not killed."""

    equivalent: Path = Path(__file__).resolve().parent / "mutation_equivalent.csv"
    """Mutants known to change no result, each with the reason; they count as no error."""

    root: Path = Path(__file__).resolve().parent.parent
    """The project, which holds diffsmooth/ and theory/."""


class Edit(ast.NodeTransformer):
    """Counts the places that can be mutated; changes the one numbered ``target``."""

    def __init__(self, target: int | None = None) -> None:
        self.target = target
        self.sites: list[tuple[int, str, int, str, str, str]] = []
        self._function = ("<module>", 0)

    def _site(self, operator: str, node: Any, replacement: ast.AST) -> Any:
        after = ast.unparse(ast.fix_missing_locations(replacement))
        name, first = self._function
        number = len(self.sites)
        self.sites.append((node.lineno, name, first, operator, ast.unparse(node), after))
        return replacement if number == self.target else None

    # -- what is left alone -------------------------------------------------------------------

    def visit_Module(self, node: ast.Module) -> ast.Module:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                self.visit(child)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                self.visit(child)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        outer = self._function
        # co_firstlineno of a decorated function is the line of its first decorator.
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        if outer[1] == 0:  # an inner function runs only when the outer one does
            self._function = (node.name, first)
        node.body = [self.visit(child) for child in node.body]
        self._function = outer
        return node

    def visit_If(self, node: ast.If) -> ast.If:
        if all(isinstance(child, ast.Raise) for child in node.body):
            node.orelse = [self.visit(child) for child in node.orelse]
            return node
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        node.value = self.visit(node.value)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.keyword:
        if not any(quiet in (node.arg or "") for quiet in _QUIET_KEYWORDS):
            node.value = self.visit(node.value)
        return node

    def _keep(self, node: Any) -> Any:
        return node

    visit_Raise = visit_Assert = visit_JoinedStr = visit_Import = visit_ImportFrom = _keep

    # -- what is changed ----------------------------------------------------------------------

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        swapped = _ARITHMETIC.get(type(node.op))
        texts = (ast.JoinedStr, ast.List, ast.Tuple)
        operands = (node.left, node.right)
        is_text = any(
            isinstance(o, texts) or (isinstance(o, ast.Constant) and isinstance(o.value, str))
            for o in operands
        )
        if is_text:
            return node
        new = None
        if swapped is not None:
            other = ast.copy_location(ast.BinOp(node.left, swapped(), node.right), node)
            new = self._site("arithmetic", node, other)
        self.generic_visit(node)
        return new if new is not None else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        swapped = _ARITHMETIC.get(type(node.op))
        new = None
        if swapped is not None:
            other = ast.copy_location(ast.AugAssign(node.target, swapped(), node.value), node)
            new = self._site("arithmetic", node, other)
        node.value = self.visit(node.value)
        return new if new is not None else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        new = None
        if isinstance(node.op, ast.USub):
            new = self._site("dropped minus", node, node.operand)
        self.generic_visit(node)
        return new if new is not None else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        new = None
        if name in _DROPPED and len(node.args) == 1 and not node.keywords:
            new = self._site("dropped function", node, node.args[0])
        node.args = [self.visit(a) for a in node.args]
        node.keywords = [self.visit(k) for k in node.keywords]
        if isinstance(function, ast.Attribute):
            function.value = self.visit(function.value)
        return new if new is not None else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        new = None
        swapped = _SWAPPED.get(type(node.ops[0]))
        if swapped is not None and len(node.ops) == 1:
            other = ast.copy_location(ast.Compare(node.left, [swapped()], node.comparators), node)
            new = self._site("comparison", node, other)
        self.generic_visit(node)
        return new if new is not None else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            return node
        if node.value != node.value or abs(node.value) == float("inf"):
            return node
        other = ast.copy_location(ast.Constant(node.value + 1), node)
        return self._site("constant", node, other) or node


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of its syntax tree."""
    edit = Edit()
    edit.visit(ast.parse(source))
    return [Mutant(file, number, *site) for number, site in enumerate(edit.sites)]


def mutate(source: str, site: int) -> str:
    """The source with its mutant number ``site``; ``IndexError`` if there is none."""
    edit = Edit(target=site)
    tree = edit.visit(ast.parse(source))
    if not 0 <= site < len(edit.sites):
        raise IndexError(f"site {site} of {len(edit.sites)}")
    return ast.unparse(ast.fix_missing_locations(tree))


def key_of(mutant: Mutant, source: str) -> str:
    """Names a mutant of this very source, so that an edited file is measured anew."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:10]
    return f"{mutant.file}@{digest}#{mutant.site}"


# -- running --------------------------------------------------------------------------------------


class _Replace(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a source that exists in memory only."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        self.module, self.path, self.source = module, path, source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.module:
            return None
        package = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=self, submodule_search_locations=package
        )

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def _enter(copy: Path) -> None:
    """Make ``import diffsmooth`` find the copy, whatever was imported before."""
    for name in [m for m in sys.modules if m.split(".")[0] == "diffsmooth"]:
        del sys.modules[name]
    sys.path.insert(0, str(copy))
    importlib.invalidate_caches()
    found = importlib.import_module("diffsmooth.theory").__file__
    if found is None or copy.resolve() not in Path(found).resolve().parents:
        raise RuntimeError(f"diffsmooth.theory came from {found}, not from the copy")


def _baseline(copy: Path, module: str, timeout: float) -> dict[str, Any]:
    """Run one statement unharmed, task by task: which are green, how long, what they execute."""

    def load() -> None:
        _enter(copy)
        importlib.import_module(module)

    _, called, modules = _record(copy, load)
    from diffsmooth.theory.verify import run
    from diffsmooth.theory.verify.core import Budget

    statement = run.load(module)
    asked = list(run.tasks_of(statement, "", Budget(shrink=False)))
    calls = [Call((t.kind, t.index), _baseline_task, (copy, statement, t), timeout) for t in asked]
    tasks = []
    for (kind, index), state, value, _ in forked(calls, 1):
        task: dict[str, Any] = {"seconds": 0.0, "called": [], "modules": []}
        task = value if state == "ok" else task | {"red": f"{state}: {_last(value)}"}
        modules |= set(task.pop("modules"))
        task["called"] = sorted(called | {tuple(c) for c in task["called"]})
        tasks.append({"kind": kind, "index": index, **task})
    return {"id": statement.id, "module": module, "tasks": tasks, "files": sorted(modules)}


def _baseline_task(copy: Path, statement: Any, task: Any) -> dict[str, Any]:
    from diffsmooth.theory.verify import run
    from diffsmooth.theory.verify.core import Budget

    start = time.perf_counter()
    result, called, modules = _record(
        copy, lambda: run.execute(task, Budget(shrink=False), statement)
    )
    return {
        "seconds": round(time.perf_counter() - start, 4),
        "called": sorted(called),
        "modules": sorted(modules),
        "red": None if result.green else f"{result.name}: {result.detail}",
    }


def _record(copy: Path, function: Callable[[], Any]) -> tuple[Any, set[tuple[str, int]], set[str]]:
    """The function's result, the functions of theory/ it entered, the files of theory/ loaded."""
    theory = str((copy / "diffsmooth" / "theory").resolve()) + os.sep
    codes: dict[int, Any] = {}  # by identity: the hash of a code object is slow

    def note(frame: Any, event: str, _: Any) -> None:
        codes[id(frame.f_code)] = frame.f_code

    sys.settrace(note)
    try:
        result = function()
    finally:
        sys.settrace(None)
    called = {
        (c.co_filename.removeprefix(theory), c.co_firstlineno)
        for c in codes.values()
        if c.co_filename.startswith(theory)
    }
    files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
    return result, called, {f.removeprefix(theory) for f in files if f.startswith(theory)}


def _judge(
    copy: Path, replaced: tuple[str, str, str], asked: list[tuple[str, Any, int]]
) -> dict[str, str] | None:
    """The first red one of the tasks (module, kind, index) under a mutated module, or ``None``."""
    module, path, source = replaced
    sys.meta_path.insert(0, _Replace(module, Path(path), source))
    statement = None
    try:
        _enter(copy)
        from diffsmooth.theory.verify import run
        from diffsmooth.theory.verify.core import Budget

        for name, kind, index in asked:
            statement = None
            statement = run.load(name)
            task = run.Task(name, statement.id, kind, index)
            result = run.execute(task, Budget(shrink=False), statement)
            if not result.green:
                return {"by": f"{statement.id} {kind} {result.name}", "detail": result.detail}
    except Exception as error:
        # The package or a statement no longer imports: verify stops, which nobody overlooks.
        line = traceback.format_exception_only(error)[-1].strip()
        return {"by": "runner" if statement else "import", "detail": line}
    return None


def _last(value: Any) -> str:
    return str(value).strip().splitlines()[-1]


@dataclass(frozen=True)
class Call:
    """A function to run in a process of its own; ``key`` says whose answer it is."""

    key: Any
    function: Callable[..., Any]
    args: tuple[Any, ...]
    timeout: float


def forked(calls: Iterable[Call], jobs: int) -> Iterator[tuple[Any, str, Any, float]]:
    """Run calls in forked processes, ``jobs`` at a time.

    Yields (key, "ok" or "error" or "timeout", value or traceback, seconds) as they finish.
    Forked, because the libraries are warm here and importing them costs seconds; from one thread,
    because a fork beside running threads may inherit their locks.
    """
    context: Any = multiprocessing.get_context("fork")
    waiting = iter(calls)
    running: dict[Any, tuple[Call, Any, float]] = {}
    while True:
        while len(running) < jobs and (call := next(waiting, None)) is not None:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_send, args=(sender, call.function, call.args))
            process.start()
            sender.close()
            running[receiver] = (call, process, time.perf_counter())
        if not running:
            return
        ready = connection.wait(list(running), timeout=0.5)
        for receiver, (call, process, start) in list(running.items()):
            seconds = time.perf_counter() - start
            if receiver in ready:
                try:
                    kind, value = receiver.recv()
                except EOFError:
                    kind, value = "error", "the process died"
            elif seconds > call.timeout:
                kind, value = "timeout", None
                process.kill()
            else:
                continue
            process.join()
            receiver.close()
            del running[receiver]
            yield call.key, kind, value, seconds


def _send(sender: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer = ("ok", function(*args))
    except BaseException:
        answer = ("error", traceback.format_exc())
    sender.send(answer)
    sender.close()
    os._exit(0)  # no exit handlers of libraries that the parent still uses


def _warm() -> None:
    """Import what the statements need once, before the forks; nothing of diffsmooth."""
    for name in ("numpy", "scipy.optimize", "scipy.special", "scipy.integrate", "sympy", "z3",
                 "flint", "hypothesis.strategies"):  # fmt: skip
        importlib.import_module(name)


def _copy(root: Path, to: Path) -> Path:
    """The package as installed: diffsmooth/ with theory/ inside, nothing else."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "diffsmooth", to / "diffsmooth", ignore=ignore)
    shutil.copytree(root / "theory", to / "diffsmooth" / "theory", ignore=ignore)
    return to


def _baselines(config: Config, copy: Path) -> list[dict[str, Any]]:
    """Baseline of every statement, kept beside the CSV until a file that it loads changes."""
    theory = copy / "diffsmooth" / "theory"
    digests = {
        str(path.relative_to(theory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(theory.rglob("*.py"))
    }
    cache = config.out.with_suffix(".baseline.json")
    kept = {s["module"]: s for s in json.loads(cache.read_text())} if cache.is_file() else {}
    modules = [
        f"diffsmooth.theory.statements.{p.stem}"
        for p in sorted((theory / "statements").glob("*.py"))
        if p.stem != "template"
        and not p.stem.startswith("_")
        and any(fnmatch(p.stem, pattern) for pattern in config.judges)
    ]
    fresh = [m for m in modules if m in kept and _unchanged(kept[m]["files"], digests)]
    found = {m: kept[m] for m in fresh}
    limit = config.timeout
    calls = [Call(m, _baseline, (copy, m, limit), 40 * limit) for m in modules if m not in fresh]
    for module, kind, value, _ in forked(calls, config.jobs):
        if kind != "ok":
            print(f"left out, it does not run: {module}: {kind}: {_last(value)}")
            continue
        value["files"] = {f: digests[f] for f in value["files"]}
        found[module] = value
        cache.write_text(json.dumps(list((kept | found).values())))
    for statement in found.values():
        for task in statement["tasks"]:
            if task["red"]:
                print(f"left out, red without any error: {statement['id']} {task['red']}")
    return list(found.values())


def _unchanged(files: dict[str, str], digests: dict[str, str]) -> bool:
    return all(digests.get(name) == digest for name, digest in files.items())


def run(config: Config) -> int:
    """Measure; returns the exit code."""
    if config.jobs < 1 or config.max_mutants < 0 or not config.out.absolute().parent.is_dir():
        print("jobs must be >= 1, max-mutants >= 0 and the folder of out must exist",
              file=sys.stderr)  # fmt: skip
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        copy = _copy(config.root, Path(folder).resolve())
        theory = copy / "diffsmooth" / "theory"
        files = sorted({p for pattern in config.targets for p in theory.glob(pattern)})
        if not files:
            print(f"no file of theory/ matches {config.targets}", file=sys.stderr)
            return 2
        sources = {str(p.relative_to(theory)): p.read_text(encoding="utf-8") for p in files}
        mutants = [m for f, s in sources.items() for m in mutants_of(f, s)]
        in_all = len(mutants)
        if config.max_mutants and config.max_mutants < in_all:
            picked = random.Random(config.seed).sample(range(in_all), config.max_mutants)
            mutants = [mutants[i] for i in sorted(picked)]
        _warm()
        statements = _baselines(config, copy)
        keys = {key_of(m, sources[m.file]): m for m in mutants}
        rows = {r.key: r for r in _read(config.out) if r.key in keys}
        if config.again:
            rows = {k: r for k, r in rows.items() if r.outcome == "killed"}
        todo = [(k, m) for k, m in keys.items() if k not in rows]
        print(f"{len(keys)} of {in_all} mutants, {len(rows)} known, {len(statements)} statements")

        for done, row in enumerate(_judged(todo, sources, copy, statements, config), 1):
            rows[row.key] = row
            _append(config.out, row)
            print(f"{done}/{len(todo)} {row.outcome:9} {row.file}:{row.line} {row.by}", flush=True)
    return _summarise(config, in_all, [rows[k] for k in keys])


def _judged(
    todo: Sequence[tuple[str, Mutant]],
    sources: dict[str, str],
    copy: Path,
    statements: Sequence[dict[str, Any]],
    config: Config,
) -> Iterator[Row]:
    """Judge each mutant by the tasks that execute its function, the fastest first."""
    calls = []
    for key, mutant in todo:
        where = [mutant.file, mutant.first_line]
        judges = sorted(
            (t["seconds"], s["id"], s["module"], t["kind"], t["index"])
            for s in statements
            for t in s["tasks"]
            if not t["red"] and any(list(c) == where for c in t["called"])
        )
        if not judges:
            yield _row(key, mutant, "uncovered")
            continue
        stem = mutant.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        path = str(copy / "diffsmooth" / "theory" / mutant.file)
        edited = mutate(sources[mutant.file], mutant.site)
        replaced = (f"diffsmooth.theory.{stem}", path, edited)
        arguments = (copy, replaced, [j[2:] for j in judges])
        asked = " ".join(dict.fromkeys(j[1] for j in judges))
        calls.append(Call((key, mutant, asked), _judge, arguments, config.timeout))
    for (key, mutant, asked), kind, value, seconds in forked(calls, config.jobs):
        if kind == "ok" and value is None:
            yield _row(key, mutant, "survived", asked, seconds=seconds)
        elif kind == "ok":
            yield _row(key, mutant, "killed", value["by"], detail=value["detail"], seconds=seconds)
        elif kind == "timeout":
            yield _row(key, mutant, "timeout", asked, seconds=seconds)
        else:
            yield _row(key, mutant, "killed", "process", detail=_last(value), seconds=seconds)


def _row(
    key: str, mutant: Mutant, outcome: str, by: str = "", *, detail: str = "", seconds: float = 0.0
) -> Row:
    return Row(
        key, mutant.file, mutant.line, mutant.function, mutant.operator, mutant.before,
        mutant.after, outcome, by, detail[:300], round(seconds, 2),
    )  # fmt: skip


def _read(path: Path) -> Iterator[Row]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                values: dict[str, Any] = dict(line)
                values |= {"line": int(line["line"]), "seconds": float(line["seconds"])}
                yield Row(**values)


def _append(path: Path, row: Row) -> None:
    fresh = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        if fresh:
            writer.writeheader()
        writer.writerow(asdict(row))


def _summarise(config: Config, in_all: int, rows: Sequence[Row]) -> int:
    counts = {o: sum(r.outcome == o for r in rows) for o in
              ("killed", "survived", "uncovered", "timeout")}  # fmt: skip
    files = sorted({r.file for r in rows})
    score = counts["killed"] / len(rows) if rows else 0.0
    reasons = _equivalents(config.equivalent)
    harmless = [r for r in rows if r.outcome in ("survived", "timeout") and _identity(r) in reasons]
    errors = len(rows) - len(harmless)
    of_errors = counts["killed"] / errors if errors else 0.0
    summary = {
        "mutants": len(rows),
        "mutants_in_all": in_all,
        "seed": config.seed,
        **counts,
        "equivalent": len(harmless),
        "score": round(score, 4),
        "score_without_equivalent": round(of_errors, 4),
        "by_file": {
            f: {
                "mutants": sum(r.file == f for r in rows),
                "killed": sum(r.file == f and r.outcome == "killed" for r in rows),
                "equivalent": sum(r.file == f for r in harmless),
            }
            for f in files
        },
        "not_killed": [
            asdict(r) | {"equivalent": reasons.get(_identity(r)) if r in harmless else None}
            for r in rows
            if r.outcome != "killed"
        ],
    }
    config.out.with_suffix(".json").write_text(json.dumps(summary, indent=1, ensure_ascii=False))
    print(
        f"score {score:.1%} of {len(rows)}, {of_errors:.1%} of the {errors} that are not known "
        f"to be equivalent: {counts}; {config.out.with_suffix('.json')}"
    )
    return 0 if rows and of_errors >= config.goal else 1


def _identity(row: Row) -> tuple[str, str, str, str]:
    """Names a mutant by its text, wherever in the file it moves."""
    return row.file, row.function, row.before, row.after


def _equivalents(path: Path) -> dict[tuple[str, str, str, str], str]:
    """Reasons by identity; a mutant that a statement kills is an error whatever the list says."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {(r["file"], r["function"], r["before"], r["after"]): r["reason"] for r in lines}


if __name__ == "__main__":
    import tyro

    sys.exit(run(tyro.cli(Config, description=__doc__)))
