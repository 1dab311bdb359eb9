"""Statements and calls that try to get a verdict they have not earned; each must be refused.

Refused means: an exception, or a verdict that is not green.  What is true passes beside it.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sympy as sp
import z3
from flint import arb
from hypothesis import strategies as st

from diffsmooth.theory.statements import _b7, b7_correct_only_dominates, n3_verifier_errors
from diffsmooth.theory.verify import adversarial, certified, core, exact, random, run, smt, symbolic
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, together
from diffsmooth.theory.verify.domains import Instances, Symbols
from diffsmooth.theory.verify.receipts import Engine, Receipt

SOURCES = Path(__file__).parents[3] / "theory"
x = sp.Symbol("x", positive=True)


def proved() -> Outcome:
    return symbolic.zero((x + 1) ** 2 - x**2 - 2 * x - 1, [x], "a square")


def refuted() -> Outcome:
    return symbolic.zero(x - 1, [x], "x = 1")


def sampled() -> Outcome:
    return exact.identity(lambda n: n - n, [{"n": 1}], "n = n")


def statement(check: Callable[[bool, Budget], Any], name: Any = "symbolic") -> Statement[bool]:
    return Statement(
        id="X1",
        title="Every policy improves under every rule",
        source="new",
        reference="none",
        assumptions=(),
        latex="1<0",
        claim=True,
        methods=(Method(name, check),),
        mutants=(Mutant("no", False, name), Mutant("not", False, name)),
        limits="",
    )


def judged(check: Callable[[], Any], name: Any = "symbolic") -> run.StatementResult:
    """A statement whose method says this of the claim, and honestly refutes its mutants."""
    return run.run_statement(statement(lambda claim, _: check() if claim else refuted(), name))


class Duck(SimpleNamespace):
    """Looks like an outcome."""


class Heir(Outcome):
    """An outcome that answers for itself."""

    verdict = "proved"  # type: ignore[assignment]
    receipts = ()


def duck() -> Any:
    return Duck(verdict="proved", detail="", receipts=(), residual=0.0, counterexample=None)


BEFORE = proved()


#: What a check may return in place of an engine's verdict of this run.
UNEARNED: dict[str, Callable[[], Any]] = {
    "a bare verdict": lambda: Outcome("proved", ""),  # type: ignore[call-arg]
    "a bare verdict by keyword": lambda: Outcome(verdict="holds", detail=""),  # type: ignore[call-arg]
    "an unknown verdict": lambda: Outcome("certain", ""),  # type: ignore[call-arg]
    "a negative residual": lambda: Outcome("holds", "", residual=-5.0),  # type: ignore[call-arg]
    "an infinite residual": lambda: Outcome("holds", "", residual=math.inf),  # type: ignore[call-arg]
    "a verdict replaced": lambda: dataclasses.replace(sampled(), verdict="proved"),  # type: ignore[type-var]
    "a verdict set": lambda: setattr(sampled(), "verdict", "proved"),
    "a receipt set": lambda: setattr(sampled().receipts[0], "verdict", "proved"),
    "a receipt made": lambda: Receipt("symbolic", "proved", ""),
    "an empty outcome": lambda: object.__new__(Outcome),
    "a look-alike": duck,
    "an heir": lambda: object.__new__(Heir),
    "a proof beside an heir": lambda: together(proved, lambda: object.__new__(Heir)),
    "a word": lambda: "proved",
    "True": lambda: True,
    "nothing": lambda: None,
    "an outcome from before the run": lambda: BEFORE,
    "an outcome copied by way of bytes": lambda: pickle.loads(pickle.dumps(proved())),
    "a deep copy": lambda: copy.deepcopy(proved()),
    "a refutation left out": lambda: (refuted(), proved())[1],
    "an undecided step left out": lambda: (
        symbolic.zero(sp.Symbol("f") - x, [x], "a free symbol that has no value"),
        proved(),
    )[1],
    "another engine's verdict": lambda: exact.polynomial_identity(lambda n: n - n, ["n"], "n = n"),
    "a sample beside a proof": lambda: together(
        proved, lambda: random.for_all(st.integers(), lambda n: 1.0, Budget(), "1 > 0")
    ),
    "steps of which one is no outcome": lambda: together(proved, duck),
    "no step": together,
}


class TestVerdicts:
    """T6 a and f: a verdict is made by an engine, in this run, or it is none."""

    @pytest.mark.parametrize("name", UNEARNED)
    def test_a_statement_that_has_not_earned_its_verdict_is_red(self, name: str) -> None:
        result = judged(UNEARNED[name])
        assert not result.green
        assert result.methods[0].verdict not in ("proved", "holds")

    def test_one_that_has_is_green(self) -> None:
        result = judged(proved)
        assert result.green
        assert result.methods[0].domain == "all x > 0"
        assert "(x + 1)**2 - 1 = 0" in result.methods[0].receipts[0].decided[0]

    def test_the_statement_of_the_report_is_red(self) -> None:
        def check(claim: bool, _: Budget) -> Outcome:
            return Outcome("proved" if claim else "refuted", "")  # type: ignore[call-arg]

        result = run.run_statement(statement(check))
        assert not result.green
        assert not any(m.refuted for m in result.mutants)
        assert "a verdict cannot be set" in result.methods[0].detail

    def test_a_refutation_must_be_earned_too(self) -> None:
        def check(claim: bool, _: Budget) -> Any:
            return proved() if claim else Outcome("refuted", "")  # type: ignore[call-arg]

        assert not run.run_statement(statement(check)).green

    @pytest.mark.parametrize("name", ["smt", "exact", "random", "adversarial", "certified"])
    def test_a_method_bears_the_name_of_its_engine(self, name: str) -> None:
        assert not judged(proved, name).green

    def test_a_proof_may_borrow_a_step_from_another_proving_engine(self) -> None:
        a = z3.Real("a")
        both = judged(lambda: together(proved, lambda: smt.prove([a > 1], a > 0, "a > 0")))
        assert both.green
        assert both.methods[0].domain == "all x > 0; all real a with a > 1"

    @pytest.mark.parametrize("name", ["symbolic", "random", "anything"])
    def test_only_an_engine_issues_receipts(self, name: Any) -> None:
        with pytest.raises(TypeError, match="not the engine"):
            Engine(name)

    @pytest.mark.parametrize(
        "change, error",
        [
            ({"verdict": "certain"}, ValueError),
            ({"verdict": "PROVED"}, ValueError),
            ({"residual": -5.0}, ArithmeticError),
            ({"residual": math.inf}, ArithmeticError),
            ({"residual": math.nan}, ArithmeticError),
            ({"cases": 0}, ValueError),
            ({"decided": ()}, ValueError),
            ({"domain": "anything at all"}, TypeError),
        ],
    )
    def test_nor_any_receipt(self, change: dict[str, Any], error: type[Exception]) -> None:
        right: dict[str, Any] = {
            "verdict": "proved",
            "detail": "",
            "decided": ("x = x",),
            "domain": Symbols.of([x]),
            "cases": 1,
            "residual": 0.0,
        }
        assert symbolic._ENGINE.issue(**right).verdict == "proved"
        with pytest.raises(error):
            symbolic._ENGINE.issue(**(right | change))

    @pytest.mark.parametrize("engine", [random._ENGINE, adversarial._ENGINE])
    def test_an_engine_that_samples_cannot_say_proved(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="only samples"):
            engine.issue("proved", "", decided=["1"], domain=Instances.of([1]), cases=1)

    def test_the_verdict_of_steps_is_the_weakest_whatever_they_are_called(self) -> None:
        undecided = symbolic.zero(sp.Symbol("f") - x, [x], "f = x")
        assert undecided.verdict == "undecided"
        whole = together(proved, lambda: undecided)
        assert whole.told("all of it, for every policy").verdict == "undecided"
        assert whole.told("all of it").detail == undecided.detail
        assert together(sampled, refuted).told("fine").counterexample == refuted().counterexample

    def test_receipts_travel(self) -> None:
        sent = pickle.loads(pickle.dumps(together(proved, sampled)))
        assert [r.domain for r in sent.receipts] == [proved().receipts[0].domain,
                                                     sampled().receipts[0].domain]  # fmt: skip
        assert sent.verdict == "holds"


INFINITE = [math.inf, -math.inf, -1.0, np.float64(np.inf), -1e-300, 1e300, 1e9]


class TestBounds:
    """T6 b and g: bounds are finite, and something must have been compared."""

    @pytest.mark.parametrize("bound", INFINITE)
    def test_an_error_bound_is_finite_and_not_negative(self, bound: float) -> None:
        with pytest.raises(ValueError, match="error bound"):
            random.for_all(st.integers(0, 1000), lambda n: (-1.0 - n, bound), Budget(), "-1-n >= 0")

    @pytest.mark.parametrize("bound", [*INFINITE, math.nan])
    def test_a_tolerance_is_finite_and_not_negative(self, bound: float) -> None:
        with pytest.raises(ValueError, match="tolerance"):
            adversarial.minimise(
                lambda v: -float(v @ v) - 1, lambda r: r.normal(size=2), Budget(), "no", bound
            )

    def test_a_bound_that_becomes_infinite_on_the_way_is_noticed(self) -> None:
        with pytest.raises(ValueError, match="error bound is"):
            random.for_all(st.floats(1, 400), lambda v: (-1.0, v * 1e306), Budget(), "overflow")

    def test_margins_of_plus_infinity_are_no_comparison(self) -> None:
        with pytest.raises(ValueError, match="nothing was compared"):
            random.for_all(st.integers(), lambda n: math.inf, Budget(), "nothing")
        with pytest.raises(ValueError, match="nothing was compared"):
            random.for_all(st.integers(), lambda n: (math.inf, 1.0), Budget(), "nothing")
        with pytest.raises(ValueError, match="no point was inside"):
            adversarial.minimise(
                lambda v: math.inf, lambda r: r.normal(size=2), Budget(), "nothing", 0.0
            )

    def test_what_was_compared_is_counted(self) -> None:
        outcome = random.for_all(
            st.integers(0, 99), lambda n: 1.0 if n < 10 else math.inf, Budget(), "some"
        )
        (receipt,) = outcome.receipts
        assert isinstance(receipt.domain, Instances)
        assert receipt.cases == receipt.domain.count
        assert receipt.cases + receipt.domain.skipped >= 50
        assert 0 < receipt.cases < 50
        assert "in 0..9" in str(receipt.domain)
        assert f"{receipt.domain.skipped} skipped" in str(receipt.domain)
        assert f"{receipt.domain.skipped} more with nothing to compare" in outcome.detail

    @pytest.mark.parametrize("value", [False, True, np.bool_(False), np.True_])
    def test_a_truth_value_is_no_margin(self, value: Any) -> None:
        """False would be a margin of 0, which holds."""
        with pytest.raises(TypeError, match="must be a number"):
            random.for_all(st.integers(), lambda n: value, Budget(), "n < 5")
        with pytest.raises(TypeError, match="must be a number"):
            random.for_all(st.integers(), lambda n: (value, 1.0), Budget(), "n < 5")
        with pytest.raises(TypeError, match="must be a number"):
            adversarial.minimise(
                lambda v: value, lambda rng: rng.normal(size=1), Budget(), "v < 5", 0.0
            )
        with pytest.raises(TypeError, match="only int and Fraction"):
            exact.inequality(lambda n: value, [{"n": 1}], "n < 5", strict=False)

    def test_minus_infinity_is_a_violation(self) -> None:
        assert random.for_all(
            st.integers(), lambda n: -math.inf, Budget(), "no").verdict == "refuted"  # fmt: skip

    def test_points_outside_the_domain_are_not_counted(self) -> None:
        outcome = adversarial.minimise(
            lambda v: float("inf") if v[0] < 0 else float(v[0]) + 1,
            lambda rng: rng.uniform(0, 1, size=1),
            Budget(),
            "v >= 0",
            tolerance=0.5,
        )
        (receipt,) = outcome.receipts
        assert receipt.cases == receipt.domain.points  # type: ignore[attr-defined]
        assert receipt.domain.outside > 0  # type: ignore[attr-defined]
        assert outcome.residual is not None
        assert outcome.residual >= 1.5

    def test_the_error_bound_granted_is_told(self) -> None:
        outcome = random.for_all(st.integers(), lambda n: (0.0, 1e6), Budget(), "coarse")
        assert "error bounds up to 1e+06" in outcome.detail

    @pytest.mark.parametrize("hits, says", [(500, "holds"), (560, "refuted"), (0, "refuted")])
    def test_a_frequency_lies_in_its_range_with_its_interval(self, hits: int, says: str) -> None:
        assert random.frequency(hits, 1000, 0.4, 0.6, "a coin").verdict == says

    @pytest.mark.parametrize("low, high", [(-math.inf, math.inf), (0.6, 0.4), (math.nan, 1.0)])
    def test_a_frequency_has_a_range(self, low: float, high: float) -> None:
        with pytest.raises(ValueError, match="frequency"):
            random.frequency(5, 10, low, high, "anything")
        with pytest.raises(ValueError, match="0 trials"):
            random.frequency(0, 0, 0.0, 1.0, "nothing")


class TestComparisons:
    """What Python compares is not decided by an engine."""

    @pytest.mark.parametrize("goal", [True, False, None, 1, 1.0])
    def test_a_goal_is_a_formula(self, goal: Any) -> None:
        a = z3.Real("a")
        with pytest.raises(TypeError, match="not a z3 formula"):
            smt.prove([a > 0], goal, "a Python comparison")
        with pytest.raises(TypeError, match="goal 2"):
            smt.prove([a > 0], [a > -1, goal], "a Python comparison")

    @pytest.mark.parametrize(
        "expr", [True, False, "x - x", "", {"step": x == sp.Symbol("x")}, [x - x, True]]
    )
    def test_an_expression_is_one(self, expr: Any) -> None:
        with pytest.raises(TypeError, match="not an expression"):
            symbolic.zero(expr, [x], "a Python comparison")

    @pytest.mark.parametrize("expr", [sp.nan, sp.zoo, sp.oo, -sp.oo, x * sp.nan, sp.zoo - sp.zoo])
    def test_what_is_no_number_is_not_zero(self, expr: Any) -> None:
        assert symbolic.zero(expr, [x], "infinite").verdict in ("refuted", "undecided")

    def test_a_symbol_of_unknown_sign_is_tried_below_zero(self) -> None:
        a = sp.Symbol("a", real=True)
        wrong = symbolic.zero(sp.sqrt(a**2) - a, [a], "|a| = a")
        assert wrong.verdict == "refuted"
        assert "a = -" in str(wrong.counterexample)
        assert symbolic.zero(sp.sqrt(x**2) - x, [x], "|x| = x > 0").verdict == "proved"


def unless_refused(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """0 where an operation is refused: for an indeterminate, that is."""

    def guarded(x: Any) -> Any:
        try:
            return f(x)
        except TypeError:
            return 0 * x

    return guarded


def product_of(*roots: int) -> Callable[[Any], Any]:
    return lambda x: math.prod(x - r for r in roots)


#: Functions that vanish where one looks and are no polynomials, or not the one declared.
NOT_POLYNOMIALS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: max(x - 50, Fraction(0)),
    "max, the other way round": lambda x: max(0, x - 50),
    "min": lambda x: min(x, 0) + min(-x, 0) * 0,
    "sorted": lambda x: sorted([x, 10**6])[1] - 10**6,
    "int of abs": lambda x: Fraction(int(abs(x)) // 100),
    "abs": lambda x: abs(x) - x,
    "floor": lambda x: math.floor(x / 1000),
    "//": lambda x: x // 1000,
    "%": lambda x: x % 1,
    "round": lambda x: round(x / 1000),
    "a branch on the size": lambda x: 0 if x < 50 else 1,
    "a branch on equality": lambda x: 1 if x == 77 else 0,
    "a branch on being 0": lambda x: 0 if x else 1,
    "a set": lambda x: Fraction(len({x, 77}) - 2),
    "a float": lambda x: 0.0 * x,
    "a float of it": lambda x: Fraction(float(x)) - x,
    "a square root": lambda x: x ** Fraction(1, 2) - x ** Fraction(1, 2),
    "an exponential": lambda x: 2**x - 2**x,
    "a comparison returned": lambda x: x == 1 * x,
    "a branch on the kind of number": lambda x: 1 if isinstance(x, Fraction) else 0 * x,
    "a maximum that hides the refusal": unless_refused(lambda x: max(x - 50, Fraction(0))),
    "a far step that hides the refusal": unless_refused(lambda x: Fraction(int(x > 20_000))),
    "NumPy's maximum": lambda x: np.maximum(x - 50, 0),
    "sympy's maximum": lambda x: sp.Max(x - 50, 0),
    "a floor of sympy": lambda x: sp.floor(x / 1000),
    "numerator": lambda x: x.numerator * 0,
    "nothing": lambda x: [],
    "degree 6": product_of(1, 2, 3, 4, 5, 6),
    "degree 9, with the roots of the old grid and its spot checks": product_of(*range(-3, 6)),
    "degree 50": product_of(*range(1, 51)),
    "a sum that leaves x": lambda x: (x + 1) ** 3 - x**3 - 3 * x * x - 3 * x - 1 + x / 10**9,
}


class TestPolynomials:
    """T6 c: polynomials are elements of a ring; the degree is computed."""

    @pytest.mark.parametrize("name", NOT_POLYNOMIALS)
    def test_is_not_proved_to_be_zero(self, name: str) -> None:
        try:
            outcome = exact.polynomial_identity(NOT_POLYNOMIALS[name], ["x"], name)
        except (TypeError, ValueError, AttributeError):
            return
        assert outcome.verdict == "refuted"
        assert "the value is" in str(outcome.counterexample)

    def test_degrees_cannot_be_declared(self) -> None:
        for declared in ({"x": 1}, {"x": 6}, "x"):
            with pytest.raises(TypeError, match="degrees are computed"):
                exact.polynomial_identity(lambda x: x - x, declared, "")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at least one"):
            exact.polynomial_identity(lambda: Fraction(0), [], "")

    def test_an_identity_is_proved_with_its_degree(self) -> None:
        outcome = exact.polynomial_identity(
            lambda a, b: [(a + b) ** 3 - a**3 - b**3 - 3 * a * b * (a + b), Fraction(0)],
            ["a", "b"],
            "a cube",
        )
        assert outcome.verdict == "proved"
        assert str(outcome.receipts[0].domain) == (
            "all a, b (polynomials of degree at most 3 in a, 3 in b)"
        )

    def test_a_quotient_tells_where_it_holds(self) -> None:
        outcome = exact.polynomial_identity(
            lambda a: (1 - a**3) / (1 - a) - 1 - a - a * a, ["a"], "a geometric sum"
        )
        assert outcome.verdict == "proved"
        assert "a - 1 not 0" in str(outcome.receipts[0].domain)

    def test_division_by_the_polynomial_zero_is_an_error(self) -> None:
        with pytest.raises(ZeroDivisionError):
            exact.polynomial_identity(lambda x: x / (x - x), ["x"], "")


def quarter(v: Any) -> Any:
    """-1/100 at 1/4."""
    return (v - arb(1) / 4) ** 2 - arb(1) / 100


class TestCertified:
    """T6 d: gradients come from the function, and the function must enclose its values."""

    def test_no_gradient_is_taken(self) -> None:
        for wrong in (lambda v: [arb(1)], lambda v: [arb(0)], lambda v: [2 * (v - arb(1) / 4)]):
            with pytest.raises(TypeError):
                certified.positive(quarter, {"x": (0, 1)}, "no", wrong)  # type: ignore[misc]

    @pytest.mark.parametrize("slopes", [True, False])
    def test_what_is_false_is_refuted(self, slopes: bool) -> None:
        outcome = certified.positive(quarter, {"x": (0, 1)}, "(x-1/4)^2 > 1/100", slopes=slopes)
        assert outcome.verdict == "refuted"

    def test_slopes_enclose_the_derivatives(self) -> None:
        from diffsmooth.theory.verify.slopes import gradient

        a, b = sp.symbols("a b")
        functions = [
            a * b - a / b + 3 / a,
            sp.exp(a * b) - sp.log(a + b) + sp.sqrt(a),
            sp.sin(a) * sp.cos(b) + sp.tanh(a - b) + sp.sinh(a) / sp.cosh(b),
            a**5 - b**-3 + a ** sp.Rational(1, 3),
            sp.Integer(7),
        ]
        for expr in functions:
            f = certified.lambdify(expr, [a, b])
            point = {a: sp.Rational(3, 4), b: sp.Rational(5, 3)}
            at = [arb(3) / 4, arb(5) / 3]
            found = gradient(f, at)
            wide = gradient(f, [v.union(v + arb(1) / 10) for v in at])
            for symbol, slope, box in zip((a, b), found, wide, strict=True):
                true = float(expr.diff(symbol).subs(point))
                assert abs(float(slope.mid()) - true) < 1e-12 * (1 + abs(true))
                assert float(slope.rad()) < 1e-12 * (1 + abs(true))
                assert box.contains(slope)

    @pytest.mark.parametrize(
        "f",
        [
            lambda v: arb(1) if v > arb(1) / 2 else v,
            lambda v: arb(float(v)),
            lambda v: v.upper(),
            lambda v: v.union(arb(0)),
            lambda v: v.gamma(),
        ],
    )
    def test_an_unknown_derivative_is_no_derivative(self, f: Any) -> None:
        from diffsmooth.theory.verify.slopes import gradient

        with pytest.raises(TypeError, match="no derivative"):
            gradient(f, [arb(0).union(arb(1))])

    @pytest.mark.parametrize(
        "f",
        [
            lambda v: quarter(arb(v.mid())),
            lambda v: quarter(arb(float(v.mid()))),
            lambda v: quarter(v.upper()),
            lambda v: quarter(v.lower()),
        ],
        ids=["middle", "float", "upper", "lower"],
    )
    def test_a_function_that_encloses_nothing_is_found_out(self, f: Any) -> None:
        with pytest.raises(ArithmeticError, match="encloses nothing"):
            certified.positive(f, {"x": (0, 1)}, "(x-1/4)^2 > 1/100")

    @pytest.mark.parametrize("value", [1, 1.0, True, math.inf, Fraction(1), "1"])
    def test_a_number_is_no_ball(self, value: Any) -> None:
        with pytest.raises(TypeError, match="no ball"):
            certified.positive(lambda v: value, {"x": (0, 1)}, "one")
        with pytest.raises(TypeError, match="no ball"):
            certified.separated({"one": value}, "one")

    @pytest.mark.parametrize("value", [arb("inf"), arb("nan"), arb(1, "inf")])
    def test_an_infinite_ball_is_not_positive(self, value: Any) -> None:
        outcome = certified.positive(lambda v: value, {"x": (0, 1)}, "inf > 0", max_boxes=20)
        assert outcome.verdict == "undecided"
        assert certified.separated({"inf": value}, "inf > 0").verdict == "undecided"

    def test_balls_are_separated_or_not(self) -> None:
        one, wide = arb(1), arb(0, 1)
        assert certified.separated({"a": one, "b": one}, "both").verdict == "proved"
        assert certified.separated({"a": one, "b": wide}, "one open").verdict == "undecided"
        no = certified.separated({"a": wide, "b": -one}, "one below")
        assert no.verdict == "refuted"
        assert "b is -1" in str(no.counterexample)
        assert certified.separated({"a": arb(0)}, "zero").verdict == "refuted"
        with pytest.raises(ValueError, match="no margin"):
            certified.separated({}, "nothing")

    @pytest.mark.parametrize("premise", [arb(0), -arb(1), arb(0, 1), arb("inf")])
    def test_a_premise_that_is_not_certain_decides_nothing(self, premise: Any) -> None:
        given = {"p": premise}
        for margin in (arb(1), -arb(1)):
            assert certified.separated({"a": margin}, "a", given=given).verdict == "undecided"
        sure = certified.separated({"a": arb(1)}, "a", given={"p": arb(2)})
        assert sure.verdict == "proved"
        assert "with p > 0" in str(sure.receipts[0].domain)


class TestDomains:
    """T6 e: nobody words a domain."""

    def test_a_method_takes_no_text(self) -> None:
        with pytest.raises(TypeError):
            Method("symbolic", "anything at all", proved)  # type: ignore[arg-type, misc]
        with pytest.raises(TypeError, match="not a function"):
            Method("symbolic", "anything at all")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            Method("symbolic", proved, domain="anything at all")  # type: ignore[arg-type, call-arg]
        with pytest.raises(ValueError, match="no engine"):
            Method("oracle", proved)  # type: ignore[arg-type]

    def test_a_note_is_shown_as_a_note(self) -> None:
        base = statement(lambda claim, _: proved() if claim else refuted())
        noted = dataclasses.replace(
            base, methods=[dataclasses.replace(base.methods[0], note="anything at all")]
        )
        from diffsmooth.theory.verify import report

        result = run.run_statement(noted)
        assert result.methods[0].domain == "all x > 0"
        assert report.detail_of(result.methods[0]).endswith("note: anything at all")
        page = report.to_html_page(run.Run(1.0, Budget(), (result,)))
        assert "Author's note: anything at all" in page
        with pytest.raises(ValueError, match="note is empty"):
            dataclasses.replace(noted.methods[0], note=" ")

    def test_each_engine_writes_the_domain_of_what_it_checked(self) -> None:
        n, t = sp.Symbol("n", integer=True, positive=True), sp.Symbol("t", real=True)
        psi = sp.Function("psi")(t)
        a, b = z3.Reals("a b")
        outcomes = {
            "all n integer > 0; t real; any smooth psi": symbolic.zero(
                {"s": (psi + n) ** 2 - psi**2 - 2 * n * psi - n**2}, [n, t], "s"
            ),
            "all x > 0": symbolic.zero({"s": sp.exp(2 * x) - sp.exp(x) ** 2}, [x], "s"),
            "all real a, b with a > 0, b > a": smt.prove([a > 0, b > a], b > 0, "b"),
            "u in [1/10, 2], v = 3": certified.positive(
                lambda u, v: u + v, {"u": ("1/10", 2), "v": (3, 3)}, "sum"
            ),
            "2 instances: n in 1..4; w: 2..3 entries in [1/2, 2]": exact.identity(
                lambda n, w: n - n,
                [{"n": 1, "w": (Fraction(1, 2), 1)}, {"n": 4, "w": (1, 1, 2)}],
                "n",
            ),
        }
        for text, outcome in outcomes.items():
            assert outcome.verdict in ("proved", "holds")
            assert str(outcome.receipts[0].domain) == text

    def test_the_domain_of_a_sample_is_what_was_drawn(self) -> None:
        drawn: list[tuple[int, float]] = []

        def margin(pair: tuple[int, float]) -> float:
            drawn.append(pair)
            return 1.0

        outcome = random.for_all(
            st.tuples(st.integers(3, 7), st.sampled_from([0.25, 0.5, 8.0])), margin, Budget(), "t"
        )
        (receipt,) = outcome.receipts
        assert receipt.cases == len(drawn)
        assert {n for n, _ in drawn} == {3, 4, 5, 6, 7}
        assert str(receipt.domain) == (
            f"{len(drawn)} instances: part 1 in 3..7; part 2 in [0.25, 8]"
        )

    @pytest.mark.parametrize(
        "assumed, text",
        [
            ({}, "complex"),
            ({"real": True}, "real"),
            ({"real": True, "nonzero": True}, "nonzero real"),
            ({"zero": True}, "= 0"),
            ({"positive": True}, "> 0"),
            ({"nonnegative": True, "real": True}, ">= 0"),
            ({"integer": True, "even": True}, "even integer"),
            ({"prime": True}, "prime"),
            ({"integer": True, "positive": True}, "integer > 0"),
            ({"positive": False}, "not positive"),
        ],
    )
    def test_every_assumption_of_a_symbol_is_told(self, assumed: Any, text: str) -> None:
        s = sp.Symbol("s", **assumed)
        assert Symbols.of([s]).symbols == (("s", text),)

    def test_the_receipts_are_on_the_page(self) -> None:
        from diffsmooth.theory.verify import report

        result = judged(lambda: together(proved, lambda: symbolic.zero(x - x, [x], "none")))
        page = report.to_html_page(run.Run(1.0, Budget(), (result,)))
        assert "<summary>2 steps: all x &gt; 0</summary>" in page
        assert "(x + 1)**2 - 1 = 0; all x &gt; 0 (1 compared)" in page


def step(t: Any) -> Any:
    """1 for t < 0 and 0 for t > 0, though ``force`` takes it for 0 everywhere."""
    return (sp.log(t**2) - 2 * sp.log(t)) * sp.I / (2 * sp.pi)


def outcome_of(statement_: Statement[Any], name: str, claim: Any) -> run.MethodResult:
    method = next(m for m in statement_.methods if m.name == name)
    return run.run_method(method, claim, Budget())


#: Functions of sympy that take ``force`` as an argument by position, and at which.
FORCE_AT: dict[str | None, int] = {
    "expand_log": 3, "expand_power_base": 3, "logcombine": 2, "powdenest": 2, "powsimp": 4,
}  # fmt: skip


class TestConditions:
    """Sign conditions are assumptions of symbols; no switch drops them."""

    def test_a_price_too_high_on_the_whole_domain_is_refuted(self) -> None:
        claim = b7_correct_only_dominates.STATEMENT.claim
        half, near = sp.Rational(1, 2), sp.Rational(1, 1000)
        for wrong in (
            lambda kl, c, k: kl + c * k + c * step(c - 1),
            lambda kl, c, k: kl + c * k + c,
            lambda kl, c, k: kl + c * k + c * step(-c),
            lambda kl, c, k: kl + c * k + c * step(c - half),
        ):
            outcome = _b7.prove(dataclasses.replace(claim, price=wrong))
            assert outcome.verdict == "refuted"
            assert "price rises in C" in outcome.detail

        def wrong_near_zero(kl: Any, c: Any, k: Any) -> Any:
            return kl + c * k + sp.sqrt((c - near) ** 2) - c + near

        assert _b7.prove(dataclasses.replace(claim, price=wrong_near_zero)).verdict == "undecided"

        def the_same(kl: Any, c: Any, k: Any) -> Any:
            return kl + c * k - c * (1 - step(c - 1))

        assert _b7.prove(dataclasses.replace(claim, price=the_same)).verdict == "proved"

    def test_a_ratio_wrong_by_a_factor_e_is_refuted(self) -> None:
        statement_ = n3_verifier_errors.STATEMENT
        for wrong in (
            lambda r, a: r ** (1 - a) * sp.exp(step(a - 1)),
            lambda r, a: r ** (1 - a) * sp.exp(step(a)),
            lambda r, a: r ** (1 - a) * sp.exp(step(-1 - a**2)),
            lambda r, a: r ** (1 - a) * sp.sqrt((a - 5) ** 2) / (a - 5),
            lambda r, a: r ** (1 - a) * sp.sqrt((r - 1000) ** 2) / (1000 - r),
        ):
            said = outcome_of(
                statement_, "symbolic", dataclasses.replace(statement_.claim, pair=wrong)
            )
            assert said.verdict in ("refuted", "undecided")
            assert said.error is None

    def test_no_source_drops_a_condition(self) -> None:
        found = []
        for path in sorted(SOURCES.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    found += [
                        f"{path.name}:{node.lineno} {k.arg}"
                        for k in node.keywords
                        if k.arg in ("force", "inverse")
                        and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                    ]
                if isinstance(node, ast.Constant) and node.value == "force":
                    found.append(f"{path.name}:{node.lineno} a key 'force'")
                if isinstance(node, ast.Call):
                    called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
                    if len(node.args) >= FORCE_AT.get(called, 99):
                        found.append(f"{path.name}:{node.lineno} {called} by position")
                names = (
                    getattr(node, "attr", None) or getattr(node, "id", None),
                    *(a.name for a in getattr(node, "names", ()) if isinstance(a, ast.alias)),
                )
                found += [f"{path.name}:{node.lineno} {n}" for n in names
                          if n in ("posify", "nsimplify", "PurePoly")]  # fmt: skip
        assert found == []

    def test_no_statement_reaches_for_what_only_engines_may_do(self) -> None:
        found = []
        for path in sorted((SOURCES / "statements").glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and str(node.module).endswith("receipts"):
                    found.append(f"{path.name}:{node.lineno} imports receipts")
                if isinstance(node, ast.Attribute) and node.attr in (
                    "_ENGINE", "issue", "__new__", "__setattr__", "_receipt", "_outcome",
                ):  # fmt: skip
                    found.append(f"{path.name}:{node.lineno} {node.attr}")
        assert found == []


def test_core_offers_what_statements_need() -> None:
    assert {"Method", "Outcome", "together", "Budget"} <= set(core.__all__)
