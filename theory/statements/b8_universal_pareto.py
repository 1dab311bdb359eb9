"""B8: in (correctness, entropy, KL) nothing beats smoothing the correct trajectories only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from random import Random
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _b8_simpson, _logs
from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b8_gap import Measure, bracket
from diffsmooth.theory.statements._b8_map import draw, measured
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

Number = Any

#: Base laws of the certified gaps: (weights, exponent).
GAPS = (
    ((Fraction(1, 2), Fraction(1, 4), Fraction(3, 20), Fraction(1, 10)), Fraction(1, 2)),
    ((Fraction(3, 5), Fraction(3, 10), Fraction(1, 20), Fraction(1, 20)), Fraction(1, 2)),
    ((Fraction(3, 5), Fraction(3, 10), Fraction(1, 20), Fraction(1, 20)), Fraction(1, 5)),
)


@dataclass(frozen=True)
class Pareto:
    """The formulas of B8 for a policy (C, q, f) and an exponent a > 0.

    ``excess(a, KL(q||q_a), H(q) - H(q_a))`` is KL(q||b_S) - KL(q_a||b_S);
    ``whole(C, excess, KL(f||b_F))`` is what the policy pays above (C, q_a, b_F).
    ``tempering_is_optimal``: whether q_a is also the cheapest law for other measures.
    ``lowest(log modes)``: infimum of H(q_a) over all a; "modes" counts the likeliest correct
    trajectories.  ``simpson(log q, q, mu)``: log b + const at Simpson's cheapest law q.
    """

    excess: Callable[[Number, Number, Number], Number] = lambda a, kl, dh: kl / a + (1 / a - 1) * dh
    whole: Callable[[Number, Number, Number], Number] = lambda c, excess, kl_f: (
        c * excess + (1 - c) * kl_f
    )
    tempering_is_optimal: bool = False
    lowest: Callable[[Number], Number] = lambda log_modes: log_modes
    simpson: Callable[[Number, Number, Number], Number] = lambda log_q, q, mu: log_q + 2 * mu * q


def _symbolic(claim: Pareto, budget: Budget) -> Outcome:
    """Any number of trajectories: u = log q, v = log b_S, w = log f, z = log b_F as moments."""
    import sympy as sp

    a, c = sp.symbols("a C", positive=True)
    u, v, w, z, zeta = sp.symbols("u v w z zeta", real=True)
    log_c, log_1c, log_p, log_1p = sp.symbols("l_C l_1C l_p l_1p", real=True)
    q, tempered, f = Law("q", [u, v]), Law("q_a", [v]), Law("f", [w, z])
    log_qa = a * v - zeta
    kl_q, kl_a = q.mean(u - v), tempered.mean(log_qa - v)
    rise = -q.mean(u) + tempered.mean(log_qa)  # H(q) - H(q_a)
    excess = kl_q - kl_a
    policy = c * q.mean(log_c + u - log_p - v) + (1 - c) * f.mean(log_1c + w - log_1p - z)
    smoothed = c * (log_c - log_p + kl_a) + (1 - c) * (log_1c - log_1p)
    return together(
        lambda: identities(
            {
                "KL(q||b_S) - KL(q_a||b_S)": excess - claim.excess(a, q.mean(u - log_qa), rise),
                "the whole policy": policy - smoothed - claim.whole(c, excess, f.mean(w - z)),
            },
            "the identity of B8",
        ),
        lambda: _b8_simpson.symbolic(claim.simpson),
    )


def _smt(claim: Pareto, budget: Budget) -> Outcome:
    """Signs: H(q) >= H(q_a) with a <= 1, H(q) = H(q_a) with a > 1, and when there is equality."""
    import z3

    from diffsmooth.theory.verify import smt

    a, kl, rise, c, kl_f = z3.Reals("a K(q||q_a) dH C K_F")
    cost = claim.whole(c, claim.excess(a, kl, rise), kl_f)
    given = [a > 0, kl >= 0, kl_f >= 0, c > 0, c < 1]
    return together(
        partial(
            smt.prove,
            [*given, a <= 1, rise >= 0],
            cost >= 0,
            "no policy at least as diverse as q_a, 0 < a <= 1, costs less",
        ),
        partial(
            smt.prove,
            [*given, rise == 0],
            [cost >= 0, (cost == 0) == z3.And(kl == 0, kl_f == 0)],
            "at the same entropy, a > 1 included: equality iff q = q_a and f = b_F",
        ),
        lambda: _b8_simpson.smt(claim.simpson),
    )


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    rng = Random(budget.seed)
    for base in tab.rational_bases(100 if budget.deep else 30, budget.seed):
        for j in range(1, 2 * base.d):
            q = _logs.normalised([rng.randint(1, 9) for _ in base.correct])
            f = _logs.normalised([rng.randint(1, 9) for _ in base.incorrect])
            yield {"base": base, "a = j/d, j": j, "C": Fraction(rng.randint(1, 9), 10)} | {
                "q": q,
                "f": f,
            }


def _exact(claim: Pareto, budget: Budget) -> Outcome:
    """Arbitrary rational policies against the smoothed ones; logarithms are formal."""

    def residuals(**instance: Any) -> dict[str, Fraction]:
        base, j, c = instance["base"], instance["a = j/d, j"], instance["C"]
        q, f, a = instance["q"], instance["f"], Fraction(j, base.d)
        tempered = base.q(j)
        rise = _logs.entropy(q) - _logs.entropy(tempered)
        excess = claim.excess(a, _logs.divergence(q, tempered), rise)
        spent = _logs.divergence(base.join(c, q, f), base.law())
        least = _logs.divergence(base.join(c, tempered, base.f(base.d)), base.law())
        wasted = _logs.divergence(f, base.f(base.d))
        worse = spent - least
        # For a <= 1 a policy at least as diverse must not be cheaper.
        violated = a <= 1 and rise.sign() >= 0 and worse.sign() < 0
        modes = claim.lowest(_logs.log(base.correct.count(max(base.correct))))
        uniform = len(set(base.correct)) == 1
        above = (_logs.entropy(tempered) - modes).sign() == int(not uniform)
        # The limit: at a = 60 what is not a mode has at most 5 (6/7)^120 of the mass.
        weights = 60 * base.d * np.log(np.array(base.correct, dtype=np.float64))
        far = tab.shannon(tab.tempered(weights, 1.0)) - float(modes)
        return {
            "KL above the smoothed policy": (worse - claim.whole(c, excess, wasted)).size(),
            "no policy as diverse is cheaper": Fraction(violated),
            "tempering reaches every entropy down to log modes, no lower": Fraction(
                not (above and far < 0.01)
            ),
        }

    return rational_identities(residuals, _instances(budget), "arbitrary policies")


def _certified(claim: Pareto, budget: Budget) -> Outcome:
    """The exact gap of tempering for other measures: feasible law above, Lagrangian below."""
    from diffsmooth.theory.verify import certified

    lines: list[str] = []
    margins: dict[str, Any] = {}
    for base, a in GAPS:
        for measure in (Measure(2), Measure(8)):
            low, high, spent = bracket(base, a, measure)
            law = ", ".join(f"{float(x):g}" for x in base)
            lines.append(
                f"{measure.name}, b_S = ({law}), a = {float(a):g}:"
                f" {float(low):.3e} of {float(spent):.4f} nats"
            )
            # Optimal would mean that no KL is wasted.
            margins[f"KL {'not ' if claim.tempering_is_optimal else ''}wasted, {lines[-1]}"] = (
                -low if claim.tempering_is_optimal else low
            )
            margins[f"1e-8 less the width of the bracket, {lines[-1]}"] = arb.ball(
                "1/100000000"
            ) - (high - low)
    return certified.separated(margins, "what tempering wastes").told(
        f"the KL that tempering wastes, enclosed to 1e-8: {'; '.join(lines)}"
    )


def _random(claim: Pareto, budget: Budget) -> Outcome:
    """The library: for any policy, the smoothed policy of the same C and H(q) costs no more."""
    from hypothesis import strategies as st

    from diffsmooth.theory import optima
    from diffsmooth.theory.diversity import shannon
    from diffsmooth.theory.policy import Policy, kl
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, list[float], float, bool]) -> tuple[float, float]:
        base, noise, share, diverse = instance
        b, split, size = base.policy(), len(base.correct), len(base.logits)
        s, f = tab.tempered(base.logits[:split], 1.0), tab.tempered(base.logits[split:], 1.0)
        # Flatten the noise until H(q) >= H(b_S) (a <= 1), or else until a tempering reaches it.
        modes = float(np.log(np.sum(s == s.max())))
        floor = tab.shannon(s) if diverse else least(modes + 0.1, tab.shannon(s))
        own, scale = np.array(noise[:size]), 1.0
        while tab.shannon(tab.tempered(own[:split], scale)) < floor:
            scale = scale / 2 if scale > 1e-3 else 0.0
        q, other = tab.tempered(own[:split], scale), tab.tempered(own[split:], 1.0)
        policy = Policy.from_parts(
            share, _padded(q, base, True), _padded(other, base, False), base.mask
        )
        a = float(optima.temperature_for_entropy(b.log_q, tab.shannon(q)))
        reached = float(optima.entropy_for_temperature(b.log_q, a))
        smoothed = Policy.from_parts(share, optima.tempered(b.log_q, a), b.log_f, base.mask)
        if a <= 1:  # smoothing with g_p = (1 - a) beta >= 0; a > 1 is no smoothing
            smoothed = optima.smoothing(b, 2.0, 2 * (1 - a), centred=True, logit_C=share)
        rise = tab.shannon(q) - float(shannon(smoothed.log_q))
        rounding = tab.rounding(size, (1 + a) * base.spread + 7 + abs(share))
        # The root is exact to 1e-15 + 4 eps a, and |dH/da| <= a spread^2/4 (B6, Popoviciu); near
        # a = 0 H is flat, log M - H <= a^2 spread^2/8.
        root = (1e-15 + 4 * tab.EPS * a) * a * base.spread**2 / 4
        if not (_refused(b.log_q, np.log(split) + 0.1) and _refused(b.log_q, modes - 0.1)):
            return -1.0, 0.0
        slack = [rounding + root - abs(rise), rounding + root - abs(reached - tab.shannon(q))]
        if a > 1e-3:
            excess = claim.excess(a, tab.relative(q, tab.tempered(s, a)), rise)
            paid = float(kl(policy, b)) - float(kl(smoothed, b))
            c = float(np.exp(tab.log_sigmoid(share)))
            error = rounding * (1 + 1 / a) + (1 / a + 1) * root
            gap = paid - claim.whole(c, excess, tab.relative(other, f))
            slack += [error - abs(gap), paid + error]
        return least(*slack), 0.0

    strategy = st.tuples(
        tab.logit_bases(),
        st.lists(tab.decimals(-3, 3), min_size=12, max_size=12),
        tab.decimals(-6, 6),
        st.booleans(),
    )
    agreement = together(
        lambda: random.for_all(strategy, margin, budget, "the library's smoothed policy"),
        lambda: _b8_simpson.random(claim.simpson, budget),
    )
    if agreement.verdict != "holds":
        return agreement
    return agreement.told(f"{agreement.detail}; {measured(budget)}")


def _refused(log_law: tab.Array, entropy: float) -> bool:
    """Does the library refuse an entropy that no tempering has?"""
    from diffsmooth.theory.optima import temperature_for_entropy

    try:
        temperature_for_entropy(log_law, entropy)
    except ValueError:
        return True
    return False


def _padded(log_law: tab.Array, base: tab.LogitBase, correct: bool) -> tab.Array:
    """A conditional log-law on all trajectories, -inf outside its part."""
    full = np.full(len(base.logits), -np.inf)
    full[base.mask if correct else ~base.mask] = log_law
    return full


def _adversarial(claim: Pareto, budget: Budget) -> Outcome:
    """Search among laws and bases for one cheaper than the tempering of its entropy."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 8:
            return np.inf
        s, a = tab.tempered(x[:4], 1.0), float(np.exp(-(x[8] ** 2)))
        q, q_a = tab.tempered(x[4:8], 1.0), tab.tempered(x[:4], a)
        rise = tab.shannon(q) - tab.shannon(q_a)
        if rise < 0 or a < 0.02:
            return np.inf
        paid = tab.relative(q, s) - tab.relative(q_a, s)
        return least(paid, -abs(paid - claim.excess(a, tab.relative(q, q_a), rise)))

    return adversarial.minimise(
        margin,
        lambda rng: np.concatenate([rng.normal(size=4), 0.1 * rng.normal(size=4), [0.5]]),
        budget,
        "no law as diverse is cheaper than the tempering",
        tab.rounding(4, 20.0) * 100,
        evaluations=400,
    )


STATEMENT = Statement(
    id="B8",
    title="Universal Pareto optimality of smoothing the correct trajectories only",
    source="corrected",
    reference="theory.md B8 (new)",
    assumptions=(
        "any policy pi = (C, q, f), 0 < C < 1; b > 0; reverse KL from b",
        "H(q) above log m, m the number of likeliest correct trajectories, so that a tempering"
        " q_a of b_S has that entropy (a <= 1 iff H(q) >= H(b_S))",
    ),
    latex=(
        r"For every policy $\pi=(C,q,f)$ and every $a>0$, with $\Delta=H(q)-H(q_a)$:" + "\n\n"
        r"$\mathrm{KL}(\pi\|b)-\mathrm{KL}((C,q_a,b_F)\|b)="
        r"C\left[\frac{1}{a}\mathrm{KL}(q\|q_a)+\left(\frac{1}{a}-1\right)\Delta\right]"
        r"+(1-C)\,\mathrm{KL}(f\|b_F)$" + "\n\n"
        r"Take $H(q_a)=H(q)$: the right-hand side is $\geq 0$, and $0$ iff $q=q_a$, $f=b_F$. With"
        r" $a\leq 1$ no policy with $H(q)\geq H(q_a)$ is cheaper. For other measures $f=b_F$"
        r" remains optimal, but the cheapest $q$ solves $\log q-\mu\varphi'(q)=\log b+$ const"
        r" (Simpson: $\log q+2\mu q$), which is no tempering once $q$ takes three values."
    ),
    claim=Pareto(),
    methods=(
        Method(
            "symbolic",
            _symbolic,
            note="any number of trajectories, any policy, a > 0; Simpson's optimum likewise",
        ),
        Method("smt", _smt, note="any number of trajectories (through divergences and entropies)"),
        Method(
            "exact", _exact, note="arbitrary rational policies, 1-5 trajectories a part, a = j/d"
        ),
        Method(
            "certified",
            _certified,
            note="other measures: three laws, primal and dual bounds in balls",
        ),
        Method(
            "random",
            _random,
            note="the library: 2-12 trajectories, any policy; Simpson's optimum, 2-8 trajectories",
        ),
        Method(
            "adversarial", _adversarial, note="4 correct trajectories, any base, law and exponent"
        ),
    ),
    mutants=(
        Mutant(
            "the divergence is not divided by a",
            Pareto(excess=lambda a, kl, dh: kl + (1 / a - 1) * dh),
            ("symbolic", "exact", "random", "adversarial"),
        ),
        Mutant(
            "the entropy term with the wrong sign",
            Pareto(excess=lambda a, kl, dh: kl / a - (1 / a - 1) * dh),
            ("symbolic", "smt", "exact", "adversarial"),
        ),
        Mutant(
            "changing the incorrect part saves",
            Pareto(whole=lambda c, excess, kl_f: c * excess - (1 - c) * kl_f),
            ("symbolic", "smt", "exact", "random"),
        ),
        Mutant(
            "tempering is optimal for Simpson too",
            Pareto(tempering_is_optimal=True),
            "certified",
        ),
        Mutant(
            "tempering reaches every entropy down to 0",
            Pareto(lowest=lambda log_modes: 0 * log_modes),
            "exact",
        ),
        Mutant(
            "Simpson's cheapest law solves log q + mu q = log b + const",
            Pareto(simpson=lambda log_q, q, mu: log_q + mu * q),
            ("symbolic", "random"),
        ),
    ),
    limits=(
        "Optimality in C, H(q) and reverse KL from b, at the level of policies; whether training"
        " finds the optimum is the matter of C1-C5. a = 0 (H(q) = log M) has only the uniform law."
    ),
    correction=(
        "The part H(q) < H(b_S) needs H(q) > log m: below the entropy of the uniform law on the"
        " modes no tempering exists (b_S uniform: none at all), and there b_S itself is more"
        " diverse and costs nothing."
    ),
    figure=draw,
)
