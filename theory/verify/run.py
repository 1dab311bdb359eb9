"""The runner: discovers the statements, runs methods and mutants, and judges them.

A statement is green iff every method that ran says "proved" or "holds" (an "undecided" is
forgiven only to a method that declares itself optional, with a reason), at least one method says
so, and every mutant is refuted by every method named for it.

A verdict counts only with the receipts of the method's own engine, issued while the method ran,
all of them: see :func:`run_method`.

Adding a statement is adding one file to ``theory/statements`` that exports ``STATEMENT``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, Verdict
from diffsmooth.theory.verify.domains import written
from diffsmooth.theory.verify.receipts import GREEN, PROVING, Receipt, session, weakest

STATEMENTS = "diffsmooth.theory.statements"

#: Rough relative cost, to start the long tasks first.
_COST = {"certified": 6, "smt": 5, "symbolic": 4, "adversarial": 4, "random": 3, "exact": 2}


class UnsoundVerdictError(RuntimeError):
    """A method returned a verdict that its engine did not give in this run."""


class UnknownStatementError(ValueError):
    """No statement has this id."""


@dataclass(frozen=True)
class MethodResult:
    """What one method said of the claim; ``error`` is the last line of a traceback.

    The verdict and its domain are those of the receipts; nothing else can set them.
    """

    name: str
    receipts: tuple[Receipt, ...]
    seconds: float
    detail: str
    residual: float | None = None
    counterexample: str | None = None
    note: str | None = None
    optional: str | None = None
    error: str | None = None

    @property
    def verdict(self) -> Verdict:
        return "undecided" if self.error is not None else weakest(self.receipts)

    @property
    def domain(self) -> str:
        """Where the verdict holds, or where it failed, as the engine wrote it: each domain once."""
        verdict = self.verdict
        return written(r.domain for r in self.receipts if verdict in GREEN or r.verdict == verdict)

    @property
    def green(self) -> bool:
        if self.error is not None:
            return False
        return self.verdict in GREEN or (self.verdict == "undecided" and self.optional is not None)


@dataclass(frozen=True)
class MutantResult:
    """Whether the named methods refuted a wrong claim."""

    name: str
    refuted: bool
    by: str
    seconds: float
    detail: str
    counterexample: str | None = None

    @property
    def green(self) -> bool:
        return self.refuted


@dataclass(frozen=True)
class StatementResult:
    """All that was found of one statement; ``skipped`` counts parts left to ``--deep``."""

    statement: Statement[Any]
    methods: tuple[MethodResult, ...]
    mutants: tuple[MutantResult, ...]
    skipped: int = 0

    @property
    def id(self) -> str:
        return self.statement.id

    @property
    def seconds(self) -> float:
        """Processor time of all parts, s."""
        return sum(m.seconds for m in self.methods) + sum(m.seconds for m in self.mutants)

    @property
    def green(self) -> bool:
        return (
            all(m.green for m in self.methods)
            and any(m.verdict in ("proved", "holds") and m.green for m in self.methods)
            and all(m.green for m in self.mutants)
        )


@dataclass(frozen=True)
class Run:
    """A whole run: wall-clock ``seconds``, the budget, and the statements in order of id."""

    seconds: float
    budget: Budget
    statements: tuple[StatementResult, ...]

    @property
    def green(self) -> bool:
        return bool(self.statements) and all(s.green for s in self.statements)


@dataclass(frozen=True)
class Task:
    """One method on the claim, or one mutant; small enough to travel to a worker."""

    module: str
    id: str
    kind: Literal["method", "mutant"]
    index: int


Progress = Callable[[str, int, int], None]
"""Called with (statement id, tasks done, tasks in all) after every task."""


def discover(package: str = STATEMENTS) -> dict[str, str]:
    """Map each statement's id to its module, in natural order (A2 before A10).

    ``template`` and modules that begin with an underscore are not statements.  Raises
    ``ValueError`` for a module without ``STATEMENT`` or for an id used twice.
    """
    path = importlib.import_module(package).__path__
    found: dict[str, str] = {}
    for info in pkgutil.iter_modules(path):
        if info.name == "template" or info.name.startswith("_"):
            continue
        module = f"{package}.{info.name}"
        identity = load(module).id
        if identity in found:
            raise ValueError(f"statement id {identity} is used by {found[identity]} and {module}")
        found[identity] = module
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def load(module: str) -> Statement[Any]:
    """``STATEMENT`` of a module, or of a user's file (a path); ``ValueError`` if it has none."""
    if module.endswith(".py"):
        from diffsmooth.records import own

        statement = own.load(f"{module}:STATEMENT", "statement")
    else:
        statement = getattr(importlib.import_module(module), "STATEMENT", None)
    if not isinstance(statement, Statement):
        raise ValueError(f"{module} does not export STATEMENT, an instance of core.Statement")
    return statement


def natural(identity: str) -> tuple[str, int, str]:
    """Sort key: letter, number, the rest ("B7.ii" -> ("B", 7, ".ii"))."""
    match = re.match(r"([A-Za-z]*)(\d*)(.*)", identity, re.DOTALL)
    assert match is not None
    letters, digits, rest = match.groups()
    return letters, int(digits) if digits else -1, rest


def select(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The ids meant by ``wanted``: an id, the id of a family (B7 also means B7.ii) or a letter.

    Nothing wanted means all.  Raises ``UnknownStatementError`` that names the nearest id.
    """
    if not wanted:
        return list(known)
    chosen: set[str] = set()
    for word in wanted:
        hits = [i for i in known if i.upper() == word.upper() and natural(i)[2]]
        hits = hits or [i for i in known if _means(word.upper(), i.upper())]
        if not hits:
            near = get_close_matches(word.upper(), known, n=3, cutoff=0.0)
            raise UnknownStatementError(
                f"no statement {word!r}; nearest: {', '.join(near)} (of {len(known)})"
            )
        chosen.update(hits)
    return [i for i in known if i in chosen]


def _means(word: str, identity: str) -> bool:
    """B means every B; B7 means B7 and B7.ii but not B70; B7.II means itself."""
    letter, number, _ = natural(word)
    if word == letter:
        return natural(identity)[0] == letter
    return identity.startswith(word) and natural(identity)[:2] == (letter, number)


def run_method(method: Method[Any], claim: Any, budget: Budget) -> MethodResult:
    """Run one method; an exception inside it becomes a red result that carries its last line.

    So does an outcome that the method's engine did not give: one that is no ``Outcome``, holds a
    receipt of another run or none of its own engine, or is green and leaves out a receipt issued
    while the method ran (a refutation that was not passed on).  A proof may borrow a step from
    another engine that proves; a sampling method holds receipts of its own engine only.
    """
    start = time.perf_counter()
    try:
        with session() as issued:
            outcome = _vouched(method, method.check(claim, budget), issued)
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        return MethodResult(
            name=method.name,
            receipts=(),
            seconds=time.perf_counter() - start,
            detail=f"raised {line} ({where})",
            note=method.note,
            optional=method.optional,
            error=line,
        )
    return MethodResult(
        name=method.name,
        receipts=outcome.receipts,
        seconds=time.perf_counter() - start,
        detail=outcome.detail,
        residual=outcome.residual,
        counterexample=outcome.counterexample,
        note=method.note,
        optional=method.optional,
    )


def _vouched(method: Method[Any], outcome: Any, issued: Sequence[Receipt]) -> Outcome:
    """The outcome, if it is the engine's; raises ``UnsoundVerdictError`` otherwise."""
    if type(outcome) is not Outcome:
        raise UnsoundVerdictError(f"the check returned {outcome!r}, not an engine's Outcome")
    if not outcome.receipts:
        raise UnsoundVerdictError("the outcome has no receipt: no engine was called")
    known = {id(r) for r in issued}
    for receipt in outcome.receipts:
        if id(receipt) not in known:
            raise UnsoundVerdictError(
                f"the receipt {receipt.detail!r} was not issued while this method ran"
            )
        if receipt.engine != method.name and not {receipt.engine, method.name} <= PROVING:
            raise UnsoundVerdictError(
                f"the engine {receipt.engine!r} decided {receipt.detail!r} in a method that is"
                f" called {method.name!r}"
            )
    if all(r.engine != method.name for r in outcome.receipts):
        raise UnsoundVerdictError(f"the method is called {method.name!r}, but no step is its own")
    held = {id(r) for r in outcome.receipts}
    dropped = [r for r in issued if id(r) not in held]
    if outcome.verdict in GREEN and dropped:
        raise UnsoundVerdictError(
            f"{len(dropped)} receipt(s) were left out, the first says {dropped[0].verdict}:"
            f" {dropped[0].detail}"
        )
    return outcome


def run_mutant(statement: Statement[Any], mutant: Mutant[Any], budget: Budget) -> MutantResult:
    """Give a wrong claim to the methods named for it; every one of them must refute it."""
    results = [run_method(m, mutant.claim, budget) for m in _judges(statement, mutant, budget)]
    missed = [r for r in results if r.verdict != "refuted"]
    witness = next((r.counterexample for r in results if r.counterexample), None)
    return MutantResult(
        name=mutant.name,
        refuted=bool(results) and not missed,
        by=", ".join(r.name for r in results),
        seconds=sum(r.seconds for r in results),
        detail="; ".join(
            r.detail if r.verdict == "refuted" else f"{r.name} says {r.verdict}: {r.detail}"
            for r in (missed or results)
        ),
        counterexample=witness,
    )


def _runs(method: Method[Any], budget: Budget) -> bool:
    return budget.deep or not method.deep


def _judges(statement: Statement[Any], mutant: Mutant[Any], budget: Budget) -> list[Method[Any]]:
    by = (mutant.by,) if isinstance(mutant.by, str) else mutant.by
    return [m for m in statement.methods if m.name in by and _runs(m, budget)]


def tasks_of(statement: Statement[Any], module: str, budget: Budget) -> Iterator[Task]:
    """The parts of a statement that run within the budget (deep methods only under deep)."""
    for i, method in enumerate(statement.methods):
        if _runs(method, budget):
            yield Task(module, statement.id, "method", i)
    for i, mutant in enumerate(statement.mutants):
        if _judges(statement, mutant, budget):
            yield Task(module, statement.id, "mutant", i)


def execute(
    task: Task, budget: Budget, statement: Statement[Any] | None = None
) -> MethodResult | MutantResult:
    """Run one task, importing its statement if it is not given (as in a worker)."""
    statement = statement if statement is not None else load(task.module)
    if task.kind == "method":
        return run_method(statement.methods[task.index], statement.claim, budget)
    return run_mutant(statement, statement.mutants[task.index], _mutant_budget(budget))


def _mutant_budget(budget: Budget) -> Budget:
    return replace(budget, shrink=budget.shrink and budget.shrink_mutants)


def run_statement(statement: Statement[Any], budget: Budget | None = None) -> StatementResult:
    """Run a statement's methods and mutants one after the other in this process."""
    budget = budget if budget is not None else Budget()
    tasks = list(tasks_of(statement, "", budget))
    return _assemble(statement, {t: execute(t, budget, statement) for t in tasks})


def verify(
    ids: Sequence[str] = (),
    budget: Budget | None = None,
    *,
    jobs: int = 2,
    package: str = STATEMENTS,
    progress: Progress | None = None,
) -> Run:
    """Run the statements of ``package`` that ``ids`` select (all, if empty) in ``jobs`` processes.

    An id may be the path of a user's own file (``my.py``), which exports ``STATEMENT``.
    Results do not depend on ``jobs``.  Raises ``UnknownStatementError`` for an id that does not
    exist and ``ValueError`` for ``jobs < 1`` or a faulty statement file.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}; must be at least 1")
    start = time.perf_counter()
    budget = budget if budget is not None else Budget()
    files = {load(word).id: word for word in ids if word.endswith(".py")}
    named = [word for word in ids if not word.endswith(".py")]
    modules = {**(discover(package) if named or not files else {}), **files}
    known = [i for i in modules if i not in files]
    chosen = {i: load(modules[i]) for i in [*files, *(select(known, named) if known else ())]}
    tasks = sorted(
        (t for i, s in chosen.items() for t in tasks_of(s, modules[i], budget)),
        key=lambda t: -_cost(chosen[t.id], t),
    )
    results: dict[Task, MethodResult | MutantResult] = {}
    for task, result in _results(tasks, budget, min(jobs, len(tasks))):
        results[task] = result
        if progress is not None:
            progress(task.id, len(results), len(tasks))
    statements = tuple(
        _assemble(s, {t: r for t, r in results.items() if t.id == i}) for i, s in chosen.items()
    )
    return Run(time.perf_counter() - start, budget, statements)


def _cost(statement: Statement[Any], task: Task) -> float:
    if task.kind == "method":
        return _COST[statement.methods[task.index].name]
    by = statement.mutants[task.index].by
    return sum(_COST[name] for name in ((by,) if isinstance(by, str) else by)) / 2


def _results(
    tasks: Sequence[Task], budget: Budget, jobs: int
) -> Iterator[tuple[Task, MethodResult | MutantResult]]:
    if jobs <= 1:
        for task in tasks:
            yield task, execute(task, budget)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    # spawn, not fork: z3, flint and BLAS hold threads and state that do not survive a fork.
    with _one_thread_each(), ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(execute, task, budget): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers share the cores: a BLAS pool in each of them only gets in the way."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _assemble(
    statement: Statement[Any], results: dict[Task, MethodResult | MutantResult]
) -> StatementResult:
    parts = [results[t] for t in sorted(results, key=lambda t: t.index)]
    total = len(statement.methods) + len(statement.mutants)
    return StatementResult(
        statement,
        tuple(p for p in parts if isinstance(p, MethodResult)),
        tuple(p for p in parts if isinstance(p, MutantResult)),
        skipped=total - len(parts),
    )
