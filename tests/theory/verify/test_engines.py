"""Each engine proves what is true, refutes what is false, and says "undecided" when it is."""

from __future__ import annotations

import doctest
import importlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import z3
from hypothesis import strategies as st

from diffsmooth.theory.verify import (
    adversarial,
    certified,
    exact,
    random,
    run,
    slopes,
    smt,
    symbolic,
)
from diffsmooth.theory.verify.core import Budget, Method, Outcome, largest, least
from diffsmooth.theory.verify.domains import Instances

ENGINES = ("symbolic", "exact", "smt", "certified", "random", "adversarial")
PARTS = ("domains", "polynomial", "slopes")
x, y = sp.symbols("x y", positive=True)


@pytest.mark.parametrize("name", ENGINES + PARTS)
def test_worked_example_of_the_docstring(name: str) -> None:
    module = importlib.import_module(f"diffsmooth.theory.verify.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


class TestSymbolic:
    @pytest.mark.parametrize(
        "expr",
        [
            sp.log(x * y) - sp.log(x) - sp.log(y),
            sp.exp(x + y) - sp.exp(x) * sp.exp(y),
            1 / (1 + sp.exp(-x)) - sp.exp(x) / (1 + sp.exp(x)),
            sp.Eq((x - y) ** 2, x**2 - 2 * x * y + y**2, evaluate=False),
            sp.Matrix([x - x, sp.sin(x) ** 2 + sp.cos(x) ** 2 - 1]),
        ],
        ids=str,
    )
    def test_identities_are_proved(self, expr: object) -> None:
        assert symbolic.zero(expr, [x, y], "identity").verdict == "proved"

    def test_refutation_names_the_point(self) -> None:
        outcome = symbolic.zero({"step 2": x - y}, [x, y], "x = y")
        assert outcome.verdict == "refuted"
        assert outcome.counterexample is not None
        assert outcome.counterexample.startswith("at x = 1/2, y = 2 step 2 is")

    def test_a_point_outside_the_domain_refutes_nothing(self) -> None:
        never = symbolic.zero(x - y, [x, y], "x = y", where=lambda p: p[x] == p[y])
        assert never.verdict == "undecided"

    def test_integer_symbols_get_integers(self) -> None:
        n = sp.Symbol("n", integer=True, positive=True)
        assert symbolic.zero(sp.cos(2 * sp.pi * n) - 1, [n], "period").verdict == "proved"
        wrong = symbolic.zero(sp.cos(sp.pi * n) - 1, [n], "half a period")
        assert wrong.verdict == "refuted"

    def test_floats_are_refused(self) -> None:
        with pytest.raises(TypeError, match="Float"):
            symbolic.zero(0.1 * x - x / 3, [x], "rounded")

    def test_nothing_proves_nothing(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            symbolic.zero([], [x], "nothing")


class TestExact:
    def test_smallest_counterexample_is_reported(self) -> None:
        instances = [{"x": Fraction(n, 7)} for n in (1000, 14, 3000)]
        outcome = exact.inequality(lambda x: 1 - x, instances, "x < 1")
        assert outcome.counterexample == "at x = 2 the value is -1"

    def test_strictness(self) -> None:
        zero = [{"x": Fraction(0)}]
        assert exact.inequality(lambda x: x, zero, "x").verdict == "refuted"
        assert exact.inequality(lambda x: x, zero, "x", strict=False).verdict == "holds"

    def test_instances_hold_and_grids_prove(self) -> None:
        def f(x: Fraction, y: Fraction) -> Fraction:
            return (x - y) * (x + y) - x * x + y * y

        assert exact.identity(f, [{"x": 1, "y": 2}], "squares").verdict == "holds"
        assert exact.polynomial_identity(f, ["x", "y"], "squares").verdict == "proved"

    def test_a_polynomial_with_many_roots_is_refuted_off_them(self) -> None:
        outcome = exact.polynomial_identity(
            lambda x: (x - 2) * (x - 3) * (x - 4) * (x - 5), ["x"], "0 at 2, 3, 4, 5"
        )
        assert outcome.verdict == "refuted"
        assert outcome.counterexample is not None

    def test_floats_are_refused(self) -> None:
        with pytest.raises(TypeError, match="only int and Fraction"):
            exact.identity(lambda x: x - 0.5, [{"x": Fraction(1, 2)}], "rounded")

    def test_no_instance_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no instance"):
            exact.identity(lambda x: x, [], "nothing")


class TestSmt:
    def test_all_goals_must_follow(self) -> None:
        (a, b), mass = smt.lumps("a", "b")
        outcome = smt.prove(mass, [a < 1, a > b], "two goals")
        assert outcome.verdict == "refuted"
        assert "goal 2 of 2" in outcome.detail
        assert outcome.counterexample is not None
        assert "a = " in outcome.counterexample

    def test_empty_lumps_are_allowed_where_said(self) -> None:
        (_, rest), mass = smt.lumps("a", "rest", may_be_empty=("rest",))
        assert smt.prove(mass, rest > 0, "rest > 0").verdict == "refuted"
        (_, rest), mass = smt.lumps("a", "rest")
        assert smt.prove(mass, rest > 0, "rest > 0").verdict == "proved"

    def test_contradictory_assumptions_prove_nothing(self) -> None:
        a = z3.Real("a")
        with pytest.raises(ValueError, match="contradict"):
            smt.prove([a > 1, a < 0], a == 7, "vacuous")

    def test_unknown_is_undecided(self) -> None:
        a, b = z3.Reals("a b")
        hard = smt.prove([a > 0], a**b > 0, "a real exponent is beyond polynomial arithmetic")
        assert hard.verdict == "undecided"

    def test_irrational_models_are_readable(self) -> None:
        a = z3.Real("a")
        outcome = smt.prove([a > 0], a * a != 2, "no square root")
        assert outcome.verdict == "refuted"
        assert "1.414" in str(outcome.counterexample)


class TestCertified:
    def test_hoeffding_lemma_with_two_variables(self) -> None:
        # log(1 - p + p e^s) <= p s + s^2/8, away from the equality s = 0.
        p, s = sp.symbols("p s")
        claim = p * s + s**2 / 8 - sp.log(1 - p + p * sp.exp(s))
        f = certified.lambdify(claim, [p, s])
        box = {"p": ("1/100", "99/100"), "s": ("1/2", 4)}
        assert certified.positive(f, box, "Hoeffding", slopes=True).verdict == "proved"
        f = certified.lambdify(claim - s**2 / 100, [p, s])
        assert certified.positive(f, box, "too sharp", slopes=True).verdict == "refuted"

    @pytest.mark.parametrize("slopes", [True, False])
    def test_refutation_is_a_rational_point(self, slopes: bool) -> None:
        f = certified.lambdify((x - sp.Rational(1, 3)) ** 2 - sp.Rational(1, 10**6), [x])
        outcome = certified.positive(f, {"x": (0, 1)}, "a dip", slopes=slopes)
        assert outcome.verdict == "refuted"
        point = Fraction(str(outcome.counterexample).split("x = ")[1].split(" ")[0])
        assert (point - Fraction(1, 3)) ** 2 <= Fraction(1, 10**6)

    def test_equality_is_undecided_when_strict(self) -> None:
        f = certified.lambdify((x - sp.Rational(1, 3)) ** 2, [x])
        strict = certified.positive(f, {"x": (0, 1)}, "touches 0", slopes=True, max_boxes=500)
        assert strict.verdict == "undecided"
        weak = certified.positive(f, {"x": (0, 1)}, "touches 0", slopes=True, strict=False)
        assert weak.verdict == "proved"

    def test_monotone_boundary_minimum_of_zero(self) -> None:
        f = certified.lambdify(x * sp.exp(x), [x])
        weak = certified.positive(f, {"x": (0, 1)}, "x e^x >= 0", slopes=True, strict=False)
        assert weak.verdict == "proved"
        strict = certified.positive(f, {"x": (0, 1)}, "x e^x > 0", slopes=True)
        assert strict.verdict == "refuted"
        assert "x = 0" in str(strict.counterexample)

    def test_a_pole_inside_the_box_is_never_proved(self) -> None:
        f = certified.lambdify(1 / (x - sp.Rational(1, 3)) ** 2, [x])
        assert certified.positive(f, {"x": (0, 1)}, "pole", max_boxes=500).verdict == "undecided"

    def test_rationals_are_exact(self) -> None:
        f = certified.lambdify(sp.Rational(1, 10) + 0 * x, [x])
        assert f(0).overlaps(f(0) * 1)
        tenth = f(0) * 10 - 1
        assert tenth.contains(0)
        assert float(tenth.rad()) < 1e-14

    def test_floats_are_refused_everywhere(self) -> None:
        with pytest.raises(TypeError, match="Float"):
            certified.lambdify(0.1 * x, [x])
        with pytest.raises(TypeError, match="float"):
            certified.positive(lambda a: a, {"x": (0.1, 1)}, "rounded box")

    def test_unknown_functions_and_symbols_are_refused(self) -> None:
        with pytest.raises(TypeError, match="cannot print"):
            certified.lambdify(sp.gamma(x), [x])
        with pytest.raises(ValueError, match="not arguments"):
            certified.lambdify(x * y, [x])

    @pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 5])
    def test_power_encloses(self, n: int) -> None:
        from flint import arb

        ball = arb(2).union(arb(3))
        for value in (2, Fraction(5, 2), 3):
            point = Fraction(value) ** n
            assert slopes.power(ball, n).overlaps(arb(point.numerator) / point.denominator)

    def test_even_power_of_a_ball_around_zero_is_not_negative(self) -> None:
        from flint import arb

        assert slopes.power(arb(0, 1), 2) >= 0


class TestRandom:
    def test_shrinks_to_the_minimal_instance(self) -> None:
        outcome = random.for_all(
            st.lists(st.integers(0, 100)), lambda v: 10.0 - sum(v), Budget(), "sum <= 10"
        )
        assert outcome.verdict == "refuted"
        assert str(outcome.counterexample).startswith("(11): margin -1")

    def test_without_shrinking_it_still_refutes(self) -> None:
        outcome = random.for_all(
            st.integers(0, 10**6), lambda n: float(5 - n), Budget(shrink=False), "n <= 5"
        )
        assert outcome.verdict == "refuted"

    def test_error_bound_is_the_only_tolerance(self) -> None:
        def check(error: float) -> str:
            return random.for_all(
                st.just(1.0), lambda v: (-1e-9, error), Budget(), "rounding"
            ).verdict

        assert check(1e-9) == "holds"
        assert check(0.9e-9) == "refuted"

    @pytest.mark.parametrize("bad", [float("nan"), (float("nan"), 1.0), (0.0, float("nan"))])
    def test_nan_never_holds(self, bad: object) -> None:
        outcome = random.for_all(st.integers(), lambda _: bad, Budget(), "nan")  # type: ignore[arg-type, return-value]
        assert outcome.verdict == "refuted"

    def test_same_seed_same_instances_other_seed_others(self) -> None:
        def seen(seed: int) -> list[float]:
            out: list[float] = []

            def margin(v: float) -> float:
                out.append(v)
                return 1.0

            random.for_all(st.floats(0, 1), margin, Budget(seed=seed), "seen")
            return out

        assert seen(3) == seen(3)
        assert seen(3) != seen(4)

    def test_instances_do_not_depend_on_the_modules_loaded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def seen() -> list[float]:
            out: list[float] = []

            def margin(v: float) -> float:
                out.append(v)
                return 1.0

            random.for_all(st.floats(0, 1e9), margin, Budget(), "seen", examples=400)
            return out

        before = seen()
        (tmp_path / "full_of_constants.py").write_text(f"x = {[k + 0.125 for k in range(500)]}")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.import_module("full_of_constants")
        assert seen() == before

    def test_an_error_in_the_margin_is_not_swallowed(self) -> None:
        def broken(_: int) -> float:
            raise ZeroDivisionError("by design")

        with pytest.raises(ZeroDivisionError):
            random.for_all(st.integers(), broken, Budget(), "broken")

    def test_no_instance_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no instance"):
            random.for_all(st.integers().filter(lambda _: False), lambda _: 1.0, Budget(), "none")


class TestAdversarial:
    def test_finds_a_narrow_dip_that_samples_miss(self) -> None:
        def margin(v: np.ndarray) -> float:
            return float(np.sum((v - 0.7331) ** 2) - 1e-6)

        outcome = adversarial.minimise(
            margin, lambda rng: rng.normal(size=3), Budget(), "a dip", tolerance=0.0
        )
        assert outcome.verdict == "refuted"

    def test_counterexample_has_few_decimals(self) -> None:
        outcome = adversarial.minimise(
            lambda v: float(v[0] ** 2 - 2),
            lambda rng: rng.normal(size=1),
            Budget(),
            "v^2 >= 2",
            0.0,
        )
        assert str(outcome.counterexample).startswith("x = [")
        assert outcome.residual in (-1.0, -2.0)

    def test_outside_the_domain_is_infinite(self) -> None:
        outcome = adversarial.minimise(
            lambda v: float("inf") if v[0] < 0 else float(v[0]),
            lambda rng: rng.uniform(0, 1, size=1),
            Budget(),
            "v >= 0",
            tolerance=0.0,
        )
        assert outcome.verdict == "holds"
        with pytest.raises(ValueError, match="domain"):
            adversarial.minimise(
                lambda v: float("inf"), lambda rng: rng.normal(size=1), Budget(), "nowhere", 0.0
            )

    def test_nan_is_an_error(self) -> None:
        with pytest.raises(ArithmeticError, match="nan"):
            adversarial.minimise(
                lambda v: float("nan"), lambda rng: rng.normal(size=1), Budget(), "nan", 0.0
            )

    def test_repeatable(self) -> None:
        def once() -> float | None:
            return adversarial.minimise(
                lambda v: float(v @ v), lambda rng: rng.normal(size=4), Budget(), "square", 0.0
            ).residual

        assert once() == once()


NAN = float("nan")


def _smt_nan() -> Outcome:
    a = z3.Real("a")
    return smt.prove([a > 0], a > NAN, "nan")


def _adversarial_nan(v: np.ndarray) -> float:
    # A violation that Python's min would have dropped: min(1.0, nan) is 1.0.
    return least(1.0, NAN if v[0] > -50 else 1.0)


#: A claim that computes nan, as each engine meets it.
NOT_COMPUTED = {
    "symbolic": lambda: symbolic.zero({"nan": sp.nan * x}, [x], "nan"),
    "exact": lambda: exact.identity(lambda x: [0, NAN], [{"x": Fraction(1)}], "nan"),
    "smt": _smt_nan,
    "certified": lambda: certified.positive(
        lambda a: (a - 1).log() - (a - 1).log() + 1, {"a": (0, "1/2")}, "nan", max_boxes=50
    ),
    "random": lambda: random.for_all(
        st.integers(0, 9), lambda n: least(1.0, NAN if n else 1.0), Budget(), "nan"
    ),
    "adversarial": lambda: adversarial.minimise(
        _adversarial_nan, lambda rng: rng.normal(size=1), Budget(), "nan", 0.0
    ),
}


class TestNan:
    @pytest.mark.parametrize("name", ENGINES)
    def test_is_never_green(self, name: str) -> None:
        method = Method(name, lambda claim, budget: NOT_COMPUTED[name]())  # type: ignore[arg-type]
        result = run.run_method(method, None, Budget())
        assert not result.green
        if result.verdict == "refuted":
            assert "nan" in str(result.counterexample)

    @pytest.mark.parametrize("verdict", ["proved", "holds"])
    def test_no_residual_of_a_green_verdict(self, verdict: str) -> None:
        def issue(said: str) -> Outcome:
            return exact._ENGINE.issue(
                said,  # type: ignore[arg-type]
                "a sum",
                decided=["a sum"],
                domain=Instances.of([1]),
                cases=1,
                residual=NAN,
            )

        with pytest.raises(ArithmeticError, match="residual nan: a sum"):
            issue(verdict)
        assert issue("refuted").verdict == "refuted"

    def test_extremes_keep_it(self) -> None:
        for values in ((0.0, NAN), (NAN, 0.0), (0.0, np.array([1.0, NAN])), (NAN, np.inf)):
            assert np.isnan(largest(*values))
            assert np.isnan(least(*values))
        assert largest(1, np.array([[2.0, 3.0]]), -np.inf) == 3.0
        assert least(1, np.array([[2.0, 3.0]]), np.inf) == 1.0
        with pytest.raises(ValueError, match="zero-size"):
            largest(np.array([]))
