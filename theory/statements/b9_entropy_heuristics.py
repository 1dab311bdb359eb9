"""B9: when an entropy bonus helps correctness, when a penalty does, and what both cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements import _logs
from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b9_figure import draw
from diffsmooth.theory.statements._moments import Law
from diffsmooth.theory.statements._steps import identities, rational_identities, together
from diffsmooth.theory.verify.core import Budget, Method, Mutant, Outcome, Statement, least

Number = Any

#: High solution multiplicity: many unlikely correct trajectories, one incorrect; and the reverse.
MANY = ((Fraction(1, 5),) + (Fraction(1, 40),) * 8, (Fraction(3, 5),))
FEW = ((Fraction(2, 5),), (Fraction(3, 10),) + (Fraction(3, 80),) * 8)


@dataclass(frozen=True)
class Heuristics:
    """The formulas of B9, with h_X = -E_{b_X}[log b] and y = 1/beta.

    ``slope``: d logit C/dg at g = 0 in the self-entropy form; ``base_slope``: in base-surprisal
    form.  ``uniform(log M, log N, logit p, y)``: > 0 iff a bonus helps, b_S and b_F uniform.
    ``uniform_change(h_S - h_F, beta, g)``: logit C(g) - logit C(0) there, for every g > -beta.
    ``matched(C, KL(q_a||b_S), KL(f_a||b_F))``: kl(C_0||p) - kl(C||p), where C_0 is the vanilla
    policy's correctness at the same KL from b; ``matched_curvature(C, V_S, V_F)``: twice its
    leading coefficient in (1 - a)^2.
    """

    slope: Callable[[Number, Number, Number], Number] = lambda h_s, h_f, y: (h_s - h_f) * y - y * y
    base_slope: Callable[[Number, Number, Number], Number] = lambda h_s, h_f, y: (h_s - h_f) * y
    uniform: Callable[[Number, Number, Number, Number], Number] = lambda log_m, log_n, logit_p, y: (
        log_m - log_n - logit_p - y
    )
    uniform_change: Callable[[Number, Number, Number], Number] = lambda h, beta, g: (
        g * (beta * h - 1) / (beta * (beta + g))
    )
    matched: Callable[[Number, Number, Number], Number] = lambda c, kl_s, kl_f: (
        c * kl_s + (1 - c) * kl_f
    )
    matched_curvature: Callable[[Number, Number, Number], Number] = lambda c, v_s, v_f: (
        c * v_s + (1 - c) * v_f
    )


def _symbolic(claim: Heuristics, budget: Budget) -> Outcome:
    """Any number of trajectories: the sums over S and F enter through moments of log b."""
    import sympy as sp

    beta = sp.Symbol("beta", positive=True)
    g, u = sp.symbols("g u", real=True)
    h_s, h_f, v_s, v_f = sp.symbols("h_S h_F V_S V_F", real=True)
    log_m, log_n, log_p, log_1p = sp.symbols("l_M l_N l_p l_1p", real=True)
    c, x, z, kl_s, kl_f = sp.symbols("C x z K_S K_F", positive=True)
    a = beta / (beta + g)
    # log S_X(a) = log S_X(1) - h_X (a - 1) + V_X (a - 1)^2/2 + ...: the cumulants of log b.
    series = log_p - log_1p - (h_s - h_f) * (a - 1) + (v_s - v_f) * (a - 1) ** 2 / 2
    self_form = series + 1 / (beta + g)
    base_form = series.subs(g, g * beta / (beta - g)) + 1 / beta  # same a, 1 - g/beta
    uniform = log_m + a * (log_p - log_m) - log_n - a * (log_1p - log_n) + 1 / (beta + g)
    gap_h = (log_m - log_p) - (log_n - log_1p)
    b_s, b_f = Law("b_S", [x]), Law("b_F", [z])
    # KL(q_a||b_S) = int_a^1 (1 - t) Var_t dt (B6), to leading order with t = 1 - u.
    cost = sp.integrate(u * claim.matched_curvature(c, v_s, v_f), u)
    weight = sp.Symbol("b", positive=True)
    return identities(
        {
            "slope, self-entropy form": sp.diff(self_form, g).subs(g, 0)
            - claim.slope(h_s, h_f, 1 / beta),
            "slope, base-surprisal form": sp.diff(base_form, g).subs(g, 0)
            - claim.base_slope(h_s, h_f, 1 / beta),
            "d S_X(a)/da at 1, term by term": sp.diff(weight**g, g).subs(g, 1)
            - weight * sp.log(weight),
            "slope in moments": claim.slope(-b_s.mean(x), -b_f.mean(z), 1 / beta)
            - (-(b_s.mean(x) - b_f.mean(z)) / beta - 1 / beta**2),
            "uniform parts, every g": uniform
            - uniform.subs(g, 0)
            - claim.uniform_change(gap_h, beta, g),
            "uniform parts, threshold": claim.uniform(log_m, log_n, log_p - log_1p, 1 / beta)
            - (gap_h - 1 / beta),
            "matched KL": (sp.Symbol("kl_C") + c * kl_s + (1 - c) * kl_f)
            - sp.Symbol("kl_C")
            - claim.matched(c, kl_s, kl_f),
            "matched KL, leading order": cost - (c * v_s + (1 - c) * v_f) * u**2 / 2,
        },
        "entropy heuristics",
    )


def _smt(claim: Heuristics, budget: Budget) -> Outcome:
    """The signs: z3 over the reals, any number of trajectories (they enter through h, K)."""
    import z3

    from diffsmooth.theory.verify import smt

    h_s, h_f, y, beta, g = z3.Reals("h_S h_F y beta g")
    c, kl_s, kl_f = z3.Reals("C K_S K_F")
    log_m, log_n, log_p, log_1p = z3.Reals("l_M l_N l_p l_1p")
    gap = (log_m - log_p) - (log_n - log_1p)
    helps = claim.uniform(log_m, log_n, log_p - log_1p, y) > 0
    return together(
        partial(
            smt.prove,
            [y > 0],
            (claim.slope(h_s, h_f, y) > 0) == (h_s - h_f > y),
            "a small bonus raises C iff h_S - h_F > 1/beta",
        ),
        partial(
            smt.prove,
            [y > 0],
            (claim.slope(h_s, h_f, y) < 0) == (h_s - h_f < y),
            "a small penalty raises C iff h_S - h_F < 1/beta",
        ),
        partial(
            smt.prove,
            [beta > 0, g > 0, y * beta == 1],
            (claim.uniform_change(gap, beta, g) > 0) == helps,
            "uniform parts: a bonus of any size raises C iff M/N > exp(1/beta) p/(1-p)",
        ),
        partial(
            smt.prove,
            [c > 0, c < 1, kl_s >= 0, kl_f >= 0],
            [
                claim.matched(c, kl_s, kl_f) >= 0,
                (claim.matched(c, kl_s, kl_f) == 0) == z3.And(kl_s == 0, kl_f == 0),
            ],
            "at matched KL vanilla RL has the larger C, strictly unless q = b_S and f = b_F",
        ),
    )


def _instances(budget: Budget) -> Iterator[dict[str, Any]]:
    for base in tab.rational_bases(60 if budget.deep else 15, budget.seed):
        for j in range(1, 2 * base.d):
            for e in (Fraction(9, 8), Fraction(5)):
                yield {"base": base, "j": j, "exp(1/(beta+g))": e}


def _exact(claim: Heuristics, budget: Budget) -> Outcome:
    """Finite bonuses and penalties, exponent a = j/d = beta/(beta+g), on rational laws."""

    def residuals(**instance: Any) -> dict[str, Fraction]:
        base, j, e = instance["base"], instance["j"], instance["exp(1/(beta+g))"]
        a = Fraction(j, base.d)
        y = _logs.log(e)  # 1/(beta + g), so that 1/beta = y/a
        odds = e * sum(Fraction(m) ** j for m in base.correct)
        c = odds / (odds + sum(Fraction(m) ** j for m in base.incorrect))
        q, f, p = base.q(j), base.f(j), base.p
        law = base.join(c, q, f)
        kl_s = _logs.divergence(q, base.q(base.d))
        kl_f = _logs.divergence(f, base.f(base.d))
        spent = _logs.divergence(law, base.law()) - _logs.binary_divergence(c, p)
        result = {"matched KL": (spent - claim.matched(c, kl_s, kl_f)).size()}
        change = _logs.logit(c) - (_logs.logit(p) + y / a)
        uniform = len(set(base.correct)) == len(set(base.incorrect)) == 1
        # Sign of C(g) - C(0) on uniform parts: that of the threshold for a < 1, opposite for a > 1.
        margin = claim.uniform(
            _logs.log(len(base.correct)), _logs.log(len(base.incorrect)), _logs.logit(p), y / a
        )
        expected = margin.sign() * (1 if a < 1 else -1 if a > 1 else 0)
        result["uniform parts, sign of C(g) - C(0)"] = Fraction(
            change.sign() - expected if uniform else 0
        )
        return result

    def flat() -> Iterator[dict[str, Any]]:
        for m, n, k in ((1, 4, 1), (6, 1, 1), (3, 3, 2), (1, 8, 3), (9, 2, 1)):
            for j in (1, 3):
                for e in (Fraction(9, 8), Fraction(2), Fraction(5)):
                    base = tab.RationalBase((k,) * m, (1,) * n, 2)
                    yield {"base": base, "j": j, "exp(1/(beta+g))": e}

    return rational_identities(
        residuals, [*_instances(budget), *flat()], "finite bonuses and penalties"
    )


def _certified(claim: Heuristics, budget: Budget) -> Outcome:
    """One instance of each sign, on a box of beta and g; and what it costs at matched KL."""
    from diffsmooth.theory.verify import certified

    def rise(part: tuple[tuple[Fraction, ...], ...], sign: int) -> Callable[[Any, Any], Any]:
        b_s, b_f = (arb.balls(x) for x in part)

        def slope(beta: Any, g: Any) -> Any:
            a = beta / (beta + g)
            q, f = arb.tempered(b_s, a), arb.tempered(b_f, a)
            h_s = -arb.add([x * b.log() for x, b in zip(q, b_s, strict=True)])
            h_f = -arb.add([x * b.log() for x, b in zip(f, b_f, strict=True)])
            # At g = 0 this is claim.slope; at g > 0 the same with the moments of q_a, f_a.
            y = 1 / (beta + g)
            return sign * (claim.slope(a * h_s, a * h_f, y))

        return slope

    def dearer() -> Outcome:
        """MANY with beta = 1: the bonus raises C; vanilla RL at no more KL has a larger C still."""
        b_s, b_f = (arb.balls(x) for x in MANY)
        a, y = arb.ball("2/3"), arb.ball("2/3")  # beta = 1, g = 1/2
        c0 = arb.sigmoid((arb.add(b_s) / arb.add(b_f)).log() + 1)
        c = arb.sigmoid(arb.log_mass(b_s, a) - arb.log_mass(b_f, a) + y)
        kl_s = arb.divergence(arb.tempered(b_s, a), arb.conditional(b_s))
        kl_f = arb.divergence(arb.tempered(b_f, a), arb.conditional(b_f))
        p = arb.add(b_s)
        kl = arb.binary_divergence(c, p) + claim.matched(c, kl_s, kl_f)
        rival = c + arb.ball("1/1000")
        cheaper = arb.binary_divergence(rival, p)
        text = (
            f"b with many correct trajectories, beta = 1: C = {c0.str(5)} without and"
            f" {c.str(5)} with the bonus g = 1/2, KL {kl.str(5)}; vanilla RL reaches C ="
            f" {rival.str(5)} at KL {cheaper.str(5)}"
        )
        return certified.separated({"rise of C": c - c0, "KL saved": kl - cheaper}, text)

    box = {"beta": ("9/10", "11/10"), "g": (0, "1/2")}
    return together(
        partial(
            certified.positive,
            rise(MANY, 1),
            box,
            "9 correct, 1 incorrect trajectory, p = .4, beta in [.9, 1.1]: C rises in g in [0, .5]",
        ),
        partial(
            certified.positive,
            rise(FEW, -1),
            {"beta": ("9/10", "11/10"), "g": ("-1/2", "1/2")},
            "1 correct, 9 incorrect trajectories: C falls in g in [-.5, .5], a penalty raises it",
        ),
        dearer,
    )


def _random(claim: Heuristics, budget: Budget) -> Outcome:
    """The library's entropy-regularised optimum: its slope at g = 0, and C at matched KL."""
    from hypothesis import strategies as st

    from diffsmooth.theory.optima import EntropyForm, entropy_bonus
    from diffsmooth.theory.policy import kl, kl_binary, kl_decomposition
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, float, float]) -> tuple[float, float]:
        base, beta, ratio = instance
        b, split, spread = base.policy(), len(base.correct), base.spread
        log_b = base.logits - tab.log_sum(base.logits)
        s, f = log_b[:split], log_b[split:]
        h_s = -float(np.exp(tab.tempered(s, 1.0)) @ s)
        h_f = -float(np.exp(tab.tempered(f, 1.0)) @ f)
        y = 1 / beta
        # |logit C''| <= (V_S - V_F) a'^2 + |h_S - h_F| a'' + 2/beta^3, with |log b| <= spread.
        curvature = (spread**2 / 4 + 2 * spread) * y**2 + 2 * y**3
        step = 1e-5 * beta
        error = tab.rounding(len(log_b), 2 * spread + y)
        slack = []
        forms: tuple[tuple[EntropyForm, Any], ...] = (
            ("self", claim.slope),
            ("base", claim.base_slope),
        )
        for form, slope in forms:
            up, down = (float(entropy_bonus(b, beta, g, form=form).logit_C) for g in (step, 0.0))
            # 2x: curvature is bounded on [0, step], where 1/(beta + g) <= 1/beta.
            bound = curvature * step + 2 * error / step
            slack.append(bound - abs((up - down) / step - slope(h_s, h_f, y)))
        g = ratio * beta
        policy = entropy_bonus(b, beta, g)
        c = float(np.exp(policy.log_C))
        _, kl_s, kl_f = kl_decomposition(policy, b)
        whole, part = float(kl(policy, b)), float(kl_binary(policy, b))
        a = beta / (beta + g)
        own_s = tab.relative(tab.tempered(s, a), tab.tempered(s, 1.0))
        own_f = tab.relative(tab.tempered(f, a), tab.tempered(f, 1.0))
        wide = tab.rounding(len(log_b), 2 * max(a, 1.0) * spread + 2 * y / (1 + ratio))
        slack.append(wide - abs(whole - part - claim.matched(c, own_s, own_f)))
        slack.append(wide - abs(whole - part - float(kl_s) - float(kl_f)))
        return least(*slack), 0.0

    strategy = st.tuples(tab.logit_bases(), tab.decimals(1 / 8, 8), tab.decimals(-0.75, 8))
    return random.for_all(strategy, margin, budget, "the library's optimum has these slopes and KL")


def _adversarial(claim: Heuristics, budget: Budget) -> Outcome:
    """Search for a bonus or penalty with a larger C than vanilla RL at the same KL."""
    from diffsmooth.theory.verify import adversarial

    def margin(x: tab.Array) -> float:
        if np.max(np.abs(x)) > 15:
            return np.inf
        log_b = x[:6] - tab.log_sum(x[:6])
        s, f = log_b[:3], log_b[3:]
        a, y = float(np.exp(x[6] / 8)), float(np.exp(x[7] / 8))
        logit = tab.log_sum(a * s) - tab.log_sum(a * f) + y
        logit_p = tab.log_sum(s) - tab.log_sum(f)
        spent = tab.relative(
            np.concatenate(
                [
                    tab.log_sigmoid(logit) + tab.tempered(s, a),
                    tab.log_sigmoid(-logit) + tab.tempered(f, a),
                ]
            ),
            log_b,
        )
        kl_s = tab.relative(tab.tempered(s, a), tab.tempered(s, 1.0))
        kl_f = tab.relative(tab.tempered(f, a), tab.tempered(f, 1.0))
        c = float(np.exp(tab.log_sigmoid(logit)))
        binary = tab.binary(logit, logit_p)
        # C_0 >= C iff kl(C_0||p) = KL(pi||b) >= kl(C||p) (where C >= p); and the claim's own gap.
        gap = spent - binary
        return least(gap, -abs(gap - claim.matched(c, kl_s, kl_f)))

    return adversarial.minimise(
        margin,
        lambda rng: rng.normal(size=8),
        budget,
        "no bonus or penalty beats vanilla RL at the same KL",
        tab.rounding(6, 220.0),
        evaluations=300,
    )


STATEMENT = Statement(
    id="B9",
    title="When entropy heuristics help correctness, and what they cost",
    source="corrected",
    reference="paper (solution multiplicity), made exact; theory.md B9",
    assumptions=(
        "entropy-regularised optimum of B4, beta > 0, beta + g > 0; g > 0 bonus, g < 0 penalty",
        "h_S = -E[log b] under b_S, h_F = -E[log b] under b_F, log b being of the whole policy b",
    ),
    latex=(
        r"$\left.\frac{d}{dg}\,\mathrm{logit}\,C\right|_{g=0}"
        r"=\frac{h_S-h_F}{\beta}-\frac{1}{\beta^2}$: a small bonus raises $C$ iff"
        r" $h_S-h_F>1/\beta$, a small penalty iff $h_S-h_F<1/\beta$." + "\n\n"
        r"$b_S$ uniform on $M$, $b_F$ on $N$ trajectories: a bonus of any size raises $C$ iff"
        r" $\frac{M}{N}>e^{1/\beta}\frac{p}{1-p}$:"
        r" $\mathrm{logit}\,C(g)-\mathrm{logit}\,C(0)=\frac{g[\beta(h_S-h_F)-1]}{\beta(\beta+g)}$."
        "\n\n"
        r"At matched KL to $b$ neither raises $C$: with $C_0$ the vanilla correctness at the"
        r" same KL, $\mathrm{kl}(C_0\|p)-\mathrm{kl}(C\|p)=C\,\mathrm{KL}(q_a\|b_S)"
        r"+(1-C)\,\mathrm{KL}(f_a\|b_F)\geq 0$, of order $(1-a)^2$."
    ),
    claim=Heuristics(),
    methods=(
        Method("symbolic", _symbolic, note="any number of trajectories, all b > 0"),
        Method("smt", _smt, note="any number of trajectories (through h_S, h_F and divergences)"),
        Method("exact", _exact, note="rational laws, finite g: a = j/d in (0, 2)"),
        Method("certified", _certified, note="one base policy of each sign, a box of (beta, g)"),
        Method("random", _random, note="the library: 2-12 trajectories, beta in [1/8, 8]"),
        Method("adversarial", _adversarial, note="3 + 3 trajectories, bonus and penalty"),
    ),
    mutants=(
        Mutant(
            "the two sets exchanged: few solutions favour the bonus",
            Heuristics(slope=lambda h_s, h_f, y: (h_f - h_s) * y - y * y),
            ("symbolic", "smt", "certified", "random"),
        ),
        Mutant(
            "the reward's own share 1/beta^2 dropped",
            Heuristics(slope=lambda h_s, h_f, y: (h_s - h_f) * y),
            ("symbolic", "smt", "random"),
        ),
        Mutant(
            "the threshold M/N > p/(1-p), without exp(1/beta)",
            Heuristics(uniform=lambda log_m, log_n, logit_p, y: log_m - log_n - logit_p),
            ("symbolic", "smt", "exact"),
        ),
        Mutant(
            "at matched KL the bonus gains",
            Heuristics(matched=lambda c, kl_s, kl_f: -c * kl_s + (1 - c) * kl_f),
            ("symbolic", "smt", "exact", "random", "adversarial"),
        ),
    ),
    limits=(
        "A statement about optima: the heuristics' effect on sampled training is another matter."
        " At matched KL: where the KL spent is at least log 1/p, C_0 stands for 1."
        " For parts that are not uniform the condition is about small g; for uniform parts it"
        " holds for every g. At equality h_S - h_F = 1/beta nothing happens to first order. In"
        " base-surprisal form, where beta is held as the weight of the KL, the threshold is"
        " h_S > h_F instead: the two conventions disagree about which heuristic helps."
    ),
    correction=(
        '"A penalty raises it otherwise" fails at equality. And the gain is bought: at matched KL'
        " no bonus and no penalty raises C, because the vanilla optimum is the largest C within a"
        " KL budget. What the heuristics change at fixed beta is how much KL is spent."
    ),
    figure=draw,
)
