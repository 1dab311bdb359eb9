"""SMT engine: z3 finds the negation of a claim unsatisfiable over the reals.

Fit for polynomial claims in at most five real variables: lump the trajectories that play the
same part into one mass (``lumps``), and a claim about any number of trajectories becomes such.

Example::

    >>> (x, y), mass = lumps("x", "y")
    >>> prove(mass, x * y <= x, "a product of masses").verdict
    'proved'
    >>> prove(mass, x * y >= x, "the wrong way round").verdict
    'refuted'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from diffsmooth.theory.verify.domains import Reals
from diffsmooth.theory.verify.receipts import Engine, Outcome

_ENGINE = Engine("smt")


def lumps(
    *names: str, total: Any = 1, may_be_empty: Sequence[str] = ()
) -> tuple[tuple[Any, ...], list[Any]]:
    """Real masses with a given sum: one for each part the trajectories play.

    Returns the z3 reals and the assumptions: each mass > 0, or >= 0 for the names in
    ``may_be_empty`` (the lump "all the others" may hold none), and their sum is ``total``
    (``None``: no condition on the sum).
    """
    import z3

    unknown = set(may_be_empty) - set(names)
    if unknown:
        raise ValueError(f"smt.lumps: may_be_empty names {sorted(unknown)}, not among {names}")
    masses = tuple(z3.Real(name) for name in names)
    assumptions = [
        m >= 0 if n in may_be_empty else m > 0 for n, m in zip(names, masses, strict=True)
    ]
    if total is not None:
        assumptions.append(z3.Sum(*masses) == total)
    return masses, assumptions


def prove(assumptions: Iterable[Any], goal: Any, detail: str, timeout_ms: int = 20_000) -> Outcome:
    """Say "proved" iff ``assumptions`` and ``not goal`` are together unsatisfiable.

    ``goal`` is one z3 Boolean or several (all must follow).  ``unknown`` is "undecided".

    Raises ``ValueError`` if the assumptions contradict each other (everything would follow), and
    ``TypeError`` for a goal that is no z3 formula, such as the True of a Python comparison.
    Give constants as ints or ``z3.Q(1, 3)``: z3 reads a Python float by its decimal digits.
    """
    import z3

    given = list(assumptions)
    goals = list(goal) if isinstance(goal, list | tuple) else [goal]
    if not goals:
        raise ValueError("smt.prove: no goal; nothing would be proved")
    for k, target in enumerate(goals, start=1):
        if not z3.is_bool(target):
            raise TypeError(
                f"smt.prove: {detail}: goal {k} is {target!r}, not a z3 formula: what Python"
                " compares was not decided by z3"
            )
    domain = Reals(_variables([*given, *goals]), tuple(_text(c) for c in given))
    solver = _solver(given, timeout_ms)
    if solver.check() == z3.unsat:
        raise ValueError(f"smt.prove: {detail}: the assumptions contradict each other")
    consistent = solver.check() == z3.sat
    for k, target in enumerate(goals, start=1):
        which = "" if len(goals) == 1 else f" (goal {k} of {len(goals)})"
        solver = _solver([*given, z3.Not(target)], timeout_ms)
        answer = solver.check()
        if answer == z3.unknown:
            return _ENGINE.issue(
                "undecided",
                f"{detail}{which}: z3 says {solver.reason_unknown()}",
                decided=[_text(target)],
                domain=domain,
                cases=1,
            )
        if answer == z3.sat:
            return _ENGINE.issue(
                "refuted",
                f"{detail}{which}: the negation is satisfiable",
                decided=[_text(target)],
                domain=domain,
                cases=1,
                counterexample=_show_model(solver.model()),
            )
    decided = [_text(target) for target in goals]
    if not consistent:
        # unsat without a model of the assumptions might be vacuous.
        return _ENGINE.issue(
            "undecided",
            f"{detail}: z3 found no model of the assumptions themselves",
            decided=decided,
            domain=domain,
            cases=len(goals),
        )
    return _ENGINE.issue(
        "proved",
        f"{detail}: the negation is unsatisfiable ({len(goals)} goal(s))",
        decided=decided,
        domain=domain,
        cases=len(goals),
    )


def _text(formula: Any) -> str:
    """A z3 formula (or a Python Boolean that a claim came to) on one line."""
    return " ".join(str(formula).split())


def _variables(formulas: Sequence[Any]) -> tuple[str, ...]:
    """Names of the free constants of z3 formulas."""
    import z3

    found: set[str] = set()
    seen: set[int] = set()
    stack = [f for f in formulas if z3.is_expr(f)]
    while stack:
        node = stack.pop()
        if node.get_id() in seen:
            continue
        seen.add(node.get_id())
        if z3.is_const(node) and node.decl().kind() == z3.Z3_OP_UNINTERPRETED:
            found.add(str(node))
        stack += node.children()
    return tuple(sorted(found))


def _solver(constraints: Sequence[Any], timeout_ms: int) -> Any:
    import z3

    solver = z3.Solver()
    solver.set("timeout", timeout_ms)
    solver.set("random_seed", 0)
    solver.add(*constraints)
    return solver


def _show_model(model: Any) -> str:
    import z3

    def value(v: Any) -> str:
        return f"{v.as_decimal(8)} (algebraic)" if z3.is_algebraic_value(v) else str(v)

    # Auxiliary functions such as division by zero (/0) are z3's own, not the claim's.
    constants = [d for d in model.decls() if d.arity() == 0]
    return ", ".join(
        f"{d.name()} = {value(model[d])}" for d in sorted(constants, key=lambda d: d.name())
    )
