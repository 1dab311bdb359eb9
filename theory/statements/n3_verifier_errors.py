r"""N3. What smoothing does to verifier errors.

Persistent errors: the verifier accepts a set E of incorrect answers, always.  To smoothing they are
correct answers, and unlikely ones.  With exponent a = 1 - g/beta (B5) the odds of E against S
inside what is accepted are sum_E b^a / sum_S b^a, so they grow by
A(a) = E_{b_E}[b^(a-1)] / E_{b_S}[b^(a-1)], which is (s/e)^(1-a) for one answer each.
If no answer of E is likelier than any of S, A(a) >= 1: b^(a-1) is at least l on E and at most l on
S for l between (any number of answers).  d log odds/da = E_{q_E}[log b] - E_{q_S}[log b]
(derivative of a log-sum), so A grows with the strength; at a = 0 the odds are |E|/M.  The natural-
gradient flow takes every log-odds inside the accepted set to e^(-g t) of itself (C3), whereas the
plain policy gradient drives out an accepted answer rarer than a correct one (A4).

Independent errors: an incorrect answer is accepted with chance rho, a correct one rejected with
chance delta, afresh every time.  The expected smoothed reward is rho (1 - g log b) on F and
(1 - delta)(1 - g log b) on S: tempering with exponents 1 - rho g/beta and 1 - (1-delta) g/beta.
At g = 0 the log-odds of F against S move with g by (rho h_F - (1-delta) h_S)/beta, where
h = -E log b under the law of each part: errors make smoothing cost correctness iff
rho > (1 - delta) h_S/h_F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.statements._tabular import EPS, LogitBase, logit_bases
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Formula = Callable[..., Any]


@dataclass(frozen=True)
class Claim:
    """pair(ratio, a): growth of the odds of one false positive against one correct answer,
    ratio = s/e >= 1; growth(on_E, on_S): A from the two means of b^(a-1).

    decay(g, t): factor on log-odds inside the accepted set along the natural-gradient flow.
    exponent(rate, g, beta): the tempering exponent of answers accepted with that chance.
    push(rho, delta, h_F, h_S, beta): d log-odds(F : S)/dg at g = 0.
    """

    pair: Formula = lambda ratio, a: ratio ** (1 - a)
    growth: Formula = lambda on_e, on_s: on_e / on_s
    decay: Formula = lambda exp, g, t: exp(-g * t)
    exponent: Formula = lambda rate, g, beta: 1 - rate * g / beta
    push: Formula = lambda rho, delta, h_f, h_s, beta: (rho * h_f - (1 - delta) * h_s) / beta


CLAIM = Claim()


def check_symbolic(claim: Claim, budget: Budget) -> Outcome:
    """One answer each; derivatives of log-sums over two answers of each set; the flow."""
    import sympy as sp

    from diffsmooth.theory.verify import symbolic

    g, t, beta, rho, delta = sp.symbols("g t beta rho delta", positive=True)
    a = sp.Symbol("a", real=True)
    e, s = sp.symbols("e s", positive=True)
    l_e, l_s, l_e2, l_s2 = sp.symbols("l_e l_s l_e2 l_s2", real=True)  # log-probs
    one = (e**a / s**a) / (e / s)
    # Two answers each as exponentials of their log-probs.
    on_e, on_s = (sp.exp(a * l_e) + sp.exp(a * l_e2)), (sp.exp(a * l_s) + sp.exp(a * l_s2))
    slope = sp.diff(sp.log(on_e) - sp.log(on_s), a)
    tilted = (l_e * sp.exp(a * l_e) + l_e2 * sp.exp(a * l_e2)) / on_e
    tilted -= (l_s * sp.exp(a * l_s) + l_s2 * sp.exp(a * l_s2)) / on_s
    # Accepted with chance rho: E[r^ (1 - g log b)]/beta + log b, coefficient of log b.
    log_b = sp.Symbol("log_b", real=True)
    logit = sp.expand(log_b + rho * (1 - g * log_b) / beta)
    # Log-odds of F against S: log sums of exp(exponent log b + rate/beta), derivative at g = 0.
    f1, f2, s1, s2 = l_e, l_e2, l_s, l_s2

    def log_mass(rate: Any, first: Any, second: Any) -> Any:
        power = claim.exponent(rate, g, beta)
        return sp.log(sp.exp(power * first + rate / beta) + sp.exp(power * second + rate / beta))

    log_odds = log_mass(rho, f1, f2) - log_mass(1 - delta, s1, s2)
    at_zero = sp.diff(log_odds, g).subs(g, 0)
    h_f = -(f1 * sp.exp(f1) + f2 * sp.exp(f2)) / (sp.exp(f1) + sp.exp(f2))
    h_s = -(s1 * sp.exp(s1) + s2 * sp.exp(s2)) / (sp.exp(s1) + sp.exp(s2))
    x = sp.Symbol("x", real=True)  # log-odds at time 0 obey x' = -g x
    path = claim.decay(sp.exp, g, t) * x
    steps = {
        "one answer each": sp.log(claim.pair(s / e, a)) - sp.log(one),
        "d log odds/da": sp.simplify(slope - tilted),
        "exponent under independent errors": sp.diff(logit, log_b) - claim.exponent(rho, g, beta),
        "push at g = 0": sp.simplify(at_zero - claim.push(rho, delta, h_f, h_s, beta)),
        "flow": sp.simplify(sp.diff(path, t) + g * path),
        "flow at 0": sp.simplify(path.subs(t, 0) - x),
    }
    return symbolic.zero(
        steps,
        [a, g, t, beta, rho, delta, e, s, l_e, l_s, l_e2, l_s2, x, log_b],
        "odds of false positives",
    )


def check_smt(claim: Claim, budget: Budget) -> Outcome:
    """Any number of answers by lumping: multipliers at least l on E and at most l on S."""
    import z3

    from diffsmooth.theory.verify import smt

    e, s, on_e, on_s, between = z3.Reals("E S new_E new_S l")
    rho, delta, h_f, h_s, beta = z3.Reals("rho delta h_F h_S beta")
    return together(
        lambda: smt.prove(
            # new_E/E is the mean of b^(a-1) under b_E, new_S/S that under b_S.
            [e > 0, s > 0, between > 0, on_e >= between * e, on_s <= between * s, on_s > 0],
            [claim.growth(on_e / e, on_s / s) >= 1, on_e * s >= on_s * e],
            "false positives no likelier than any correct answer gain odds",
        ),
        lambda: smt.prove(
            [beta > 0, h_f > 0, h_s > 0, rho >= 0, rho <= 1, delta >= 0, delta < 1],
            (claim.push(rho, delta, h_f, h_s, beta) > 0) == (rho > (1 - delta) * h_s / h_f),
            "break-even error rate",
        ),
        lambda: smt.prove(
            [beta > 0, between >= 0, rho > 0, delta >= 0, rho < 1 - delta],
            claim.exponent(1 - delta, between, beta) <= claim.exponent(rho, between, beta),
            "independent errors are tempered less than correct answers",
        ),
    )


def check_exact(claim: Claim, budget: Budget) -> Outcome:
    """Bases b proportional to m^3 with integers m: tempering with a = j/3 is rational."""
    from diffsmooth.theory.verify import exact

    rng = Random(budget.seed)

    def odds(ms: tuple[int, ...], power: int) -> Fraction:
        return sum((Fraction(m) ** power for m in ms), Fraction(0))

    def residual(right: tuple[int, ...], false: tuple[int, ...]) -> list[Fraction]:
        out = []
        for j in (0, 1, 2, 3):
            found = (odds(false, j) / odds(right, j)) / (odds(false, 3) / odds(right, 3))
            means = [
                sum((Fraction(m) ** 3 * Fraction(m) ** (j - 3) for m in ms), Fraction(0))
                / odds(ms, 3)
                for ms in (false, right)
            ]
            out.append(found - claim.growth(*means))
            if len(right) == len(false) == 1:
                # ratio = (m/m')^3, so ratio^(1-a) = (m/m')^(3-j): compare cubes.
                ratio = Fraction(right[0], false[0]) ** 3
                power = Fraction(1) - Fraction(j, 3)
                out.append(found**3 - claim.pair(ratio, 1 - 3 * power))
        out.append(odds(false, 0) / odds(right, 0) - Fraction(len(false), len(right)))
        return out

    def monotone(right: tuple[int, ...], false: tuple[int, ...]) -> list[Fraction]:
        """Odds rise with the strength (a falls) if every false positive is rarer."""
        values = [odds(false, j) / odds(right, j) for j in (3, 2, 1, 0)]
        growth = [claim.growth(v, values[0]) - 1 for v in values]
        return [b - a for a, b in pairwise(growth)] + growth

    instances = [
        {
            "right": tuple(rng.randint(4, 9) for _ in range(m)),
            "false": tuple(rng.randint(1, 4) for _ in range(n)),
        }
        for m, n in ((1, 1), (1, 1), (2, 1), (1, 3), (4, 2), (6, 5))
    ]
    return together(
        lambda: exact.identity(residual, instances, "odds of false positives"),
        lambda: exact.inequality(monotone, instances, "odds rise with the strength", strict=False),
    )


def check_random(claim: Claim, budget: Budget) -> Outcome:
    """Library optima and flows on the accepted set; Gibbs policies under independent errors."""
    import numpy as np
    from hypothesis import strategies as st

    from diffsmooth.theory.flows import natural_gradient_flow
    from diffsmooth.theory.optima import gibbs, smoothing
    from diffsmooth.theory.policy import Policy
    from diffsmooth.theory.verify import random

    def log_mass(log_b: Any, part: Any) -> float:
        return float(np.logaddexp.reduce(log_b[part]))

    def margin(instance: tuple[LogitBase, int, float, float, float]) -> tuple[float, float]:
        base, false, a, rho, delta = instance
        logits, mask = base.logits, base.mask
        wrong = np.flatnonzero(~mask)
        # The verifier accepts S and all but the last of F, or fewer.
        accepted = mask.copy()
        accepted[wrong[: min(false, wrong.size - 1)]] = True
        errors = accepted & ~mask
        log_b = logits - np.logaddexp.reduce(logits)
        seen = Policy(log_b, accepted)
        bound = 32 * (base.spread + 4) * (logits.size + 8) * EPS
        checks = [0.0]
        if errors.any():
            smoothed = np.asarray(smoothing(seen, 1.0, 1 - a, 0.0).log_probs)
            found = log_mass(smoothed, errors) - log_mass(smoothed, mask)
            start = log_mass(log_b, errors) - log_mass(log_b, mask)
            means = [
                float(np.exp(log_mass(a * log_b, p) - log_mass(log_b, p))) for p in (errors, mask)
            ]
            checks.append(-abs(found - start - float(np.log(claim.growth(*means)))) / bound)
            i, j = int(np.flatnonzero(mask)[0]), int(np.flatnonzero(errors)[0])
            ratio = float(np.exp(log_b[i] - log_b[j]))
            pair = (smoothed[j] - smoothed[i]) - (log_b[j] - log_b[i])
            checks.append(-abs(pair - float(np.log(claim.pair(ratio, a)))) / bound)
            moved = np.asarray(natural_gradient_flow(seen, a, 0.0, 2.0).log_probs)
            kept = (log_b[j] - log_b[i]) * float(claim.decay(np.exp, a, 2.0))
            checks.append(-abs(moved[j] - moved[i] - kept) / bound)
        # Independent errors: the optimum of the expected smoothed reward.
        g = 1 - a
        rate = np.where(mask, 1 - delta, rho)
        truth = Policy(log_b, mask)
        optimum = np.asarray(gibbs(truth, rate * (1 - g * log_b), 1.0).log_probs)
        claimed = claim.exponent(rate, g, 1.0) * log_b + rate
        claimed = claimed - np.logaddexp.reduce(claimed)
        checks.append(-float(np.abs(optimum - claimed).max()) / bound)
        return least(*checks), 1.0

    return random.for_all(
        st.tuples(
            logit_bases(largest=4),
            st.integers(0, 3),
            st.floats(0.0, 1.0),
            st.floats(0.0, 0.5),
            st.floats(0.0, 0.5),
        ),
        margin,
        budget,
        "library optima and flow (in units of the error bound)",
        show=lambda t: f"{t[0]}, {t[1]} false positives, a = {t[2]:.4g}, rho = {t[3]:.4g}",
    )


def draw(axes: Axes) -> None:
    """Share of one false positive among the accepted answers against the strength."""
    import numpy as np

    strength = np.linspace(0.0, 1.0, 101)
    for rarity, colour, dash in (
        (10, "#0072B2", "-"),
        (100, "#009E73", "-."),
        (1e4, "#D55E00", "--"),
    ):
        odds = CLAIM.pair(rarity, 1 - strength) / rarity / 4
        axes.semilogy(
            strength,
            odds / (1 + odds),
            color=colour,
            ls=dash,
            label=f"{rarity:g} times rarer than each of 4 correct answers",
        )
    axes.set_xlabel(r"strength $g/\beta$")
    axes.set_ylabel("share of the false positive")
    axes.legend(fontsize="small")


STATEMENT = Statement(
    id="N3",
    title="Smoothing amplifies rare false positives, by an exact factor",
    source="new",
    reference="derived for this project; uses B5, C3, A4",
    assumptions=(
        "persistent errors: a set E of incorrect answers is always accepted; smoothing with "
        "pi_ref = b and exponent a = 1 - g/beta in [0, 1], literal or centred",
        "independent errors: acceptance with chance rho on F, rejection with chance delta on S, "
        "drawn afresh; literal form, expected reward",
    ),
    latex=(
        r"\frac{\mathrm{odds}_a(E:S)}{\mathrm{odds}_1(E:S)} ="
        r" \frac{E_{b_E}[b^{a-1}]}{E_{b_S}[b^{a-1}]} = \left(\frac{s}{e}\right)^{g/\beta}"
        r"\ \mathrm{for\ one\ answer\ each};\qquad a=0:\ \frac{|E|}{M}"
        "\n\n"
        r"\mathrm{flow}:\ \log\frac{q_e}{q_s}(t) = e^{-g t}\,\log\frac{q_e}{q_s}(0)"
        "\n\n"
        r"\mathrm{independent}:\ f\propto b_F^{1-\rho g/\beta},\quad"
        r" q\propto b_S^{1-(1-\delta)g/\beta},\quad"
        r" \frac{d\,\mathrm{logit}(1-C)}{dg}|_{g=0} = \frac{\rho h_F-(1-\delta)h_S}{\beta}"
        "\n\n"
        r"So smoothing costs true correctness under independent errors iff "
        r"$\rho > (1-\delta)\,h_S/h_F$ ($h=-E\log b$ on each part, small $g$, vanilla at $g=0$)."
    ),
    claim=CLAIM,
    methods=(
        Method(
            "symbolic", check_symbolic, note="one and two answers in each set, all probabilities"
        ),
        Method("smt", check_smt, note="any number of answers (lumped)"),
        Method(
            "exact",
            check_exact,
            note="6 rational bases, up to 6 correct and 5 accepted wrong answers",
        ),
        Method("random", check_random, note="library, 2 to 8 trajectories"),
    ),
    mutants=(
        Mutant(
            "the factor is (s/e)^a",
            replace(CLAIM, pair=lambda ratio, a: ratio**a),
            by=("symbolic", "exact", "random"),
        ),
        Mutant(
            "smoothing suppresses rare false positives",
            replace(CLAIM, growth=lambda on_e, on_s: on_s / on_e),
            by=("smt", "exact", "random"),
        ),
        Mutant(
            "independent errors count in full",
            replace(CLAIM, exponent=lambda rate, g, beta: 1 - g / beta + 0 * rate),
            by=("symbolic", "random"),
        ),
        Mutant(
            "the break-even rate forgets the surprisal of F",
            replace(
                CLAIM, push=lambda rho, delta, h_f, h_s, beta: (rho - (1 - delta) * h_s) / beta
            ),
            by=("symbolic", "smt"),
        ),
    ),
    limits=(
        "Optimal policies and the natural-gradient flow, on tables.  Whether a model finds the "
        "false positives at all is exploration, which this does not describe.  h_S and h_F are "
        "means under the laws that vanilla RL leaves on the two parts (b_S, b_F)."
    ),
    figure=draw,
)
