"""The certificate of B7 (iii): no literal policy dominates one entropy policy, in Arb balls.

All literal policies are (a', x, y') with a' = 1 - g_p/beta <= 1, x = g_n/beta >= 0 and
y' = 1/beta > 0: an unbounded set.  It is reduced to a compact box in three steps, each checked.

1. Diversity.  On two correct trajectories q_a' depends on |a'| alone up to a relabelling, and laws
   on two points are totally ordered by majorisation; so a strictly Schur-concave D has
   D(q_a') >= D(q_a) iff |a'| <= a.
2. Correctness.  logit C' = log S_S(a') - log S_F(1+x) + y' falls in a' and rises in x and y'
   (proved for any size by the symbolic method), so it exceeds its value at (a, 0, 0).
3. Cost.  KL' >= kl(C'||p) + C' KL(q_a'||b_S), on the compact box C' in [C_inf, 1], |a'| <= a.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

from diffsmooth.theory.statements import _balls as arb
from diffsmooth.theory.statements._b7 import Counterexample, Dominance
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.verify import certified
from diffsmooth.theory.verify.core import Outcome

#: (ii) fails here, yet a literal policy dominates: correct .45, .45, incorrect .09, .01, a = 0.
HARMLESS = Counterexample(
    correct=(Fraction(9, 20), Fraction(9, 20)),
    incorrect=(Fraction(9, 100), Fraction(1, 100)),
    a=Fraction(0),
    y=Fraction(1, 2),
)
#: Incorrect laws on which the coupled rule is dearer / cheaper than the entropy bonus (a = 1/2).
DEARER = (Fraction(1, 4),) + (Fraction(1, 20),) * 15
CHEAPER = (Fraction(45, 100), Fraction(45, 100), Fraction(1, 10))


def certify(claim: Dominance) -> Outcome:
    """The counterexample, its neighbourhood, the harmless case and both signs of (iv)."""
    example = claim.counterexample
    return together(
        partial(_entropy_policy, claim, example),
        partial(_order, example),
        partial(_floor, claim, example),
        partial(_cost, claim, example),
        partial(_verdict, claim, example, False),
        partial(_verdict, claim, HARMLESS, True),
        partial(_verdict, claim, at_base_correctness(), False),
        partial(_neighbourhood, claim),
        partial(_strictly_better, claim),
        partial(_coupled_signs, claim),
    )


def at_base_correctness() -> Counterexample:
    """theory.md's second case: b_F uniform and the entropy policy has C = p = 1/2 (to 3 digits)."""
    return Counterexample(incorrect=(Fraction(1, 10),) * 5, y=Fraction(463, 1000))


def entropy_policy(example: Counterexample) -> tuple[Any, Any, Any, Any]:
    """(C, KL, log S_S(a), log S_F(a)) of the entropy policy, as balls."""
    b_s, b_f = arb.balls(example.correct), arb.balls(example.incorrect)
    a, y = arb.ball(example.a), arb.ball(example.y)
    ss, sf = arb.log_mass(b_s, a), arb.log_mass(b_f, a)
    c = arb.sigmoid(ss - sf + y)
    law = [c * q for q in arb.tempered(b_s, a)] + [(1 - c) * f for f in arb.tempered(b_f, a)]
    return c, arb.divergence(law, b_s + b_f), ss, sf


def infimum(claim: Dominance, example: Counterexample) -> tuple[Any, Any]:
    """(C, KL) approached, never attained, by the literal policies that are as diverse."""
    b_s, b_f = arb.balls(example.correct), arb.balls(example.incorrect)
    a, one = arb.ball(example.a), arb.ball(1)
    c = arb.sigmoid(claim.floor(arb.log_mass(b_s, a), arb.log_mass(b_f, one)))
    return c, claim.price(
        arb.binary_divergence(c, arb.add(b_s)),
        c,
        arb.divergence(arb.tempered(b_s, a), arb.conditional(b_s)),
    )


def _show(example: Counterexample) -> str:
    def law(part: tuple[Fraction, ...]) -> str:
        return "(" + ", ".join(f"{float(x):g}" for x in part) + ")"

    return (
        f"b = {law(example.correct)} on S, {law(example.incorrect)} on F,"
        f" a = {float(example.a):g}, 1/beta = {float(example.y):g}"
    )


def _entropy_policy(claim: Dominance, example: Counterexample) -> Outcome:
    c, kl, _, _ = entropy_policy(example)
    high_c, high_kl = arb.ball(example.entropy_correctness), arb.ball(example.entropy_kl)
    return certified.separated(
        {"bound - C": high_c - c, "bound - KL": high_kl - kl},
        f"the entropy policy has C < {float(example.entropy_correctness):g} and"
        f" KL < {float(example.entropy_kl):g} (C = {c.str(8)}, KL = {kl.str(8)})",
    )


def _order(example: Counterexample) -> Outcome:
    """Step 1: the larger mass of q_a' is sigmoid(|a'| L), increasing in |a'|, L = log b_1/b_2."""
    import sympy as sp

    from diffsmooth.theory.statements._steps import identities

    if len(example.correct) != 2 or not example.correct[0] > example.correct[1]:
        raise ValueError("the reduction needs two correct trajectories, the likelier one first")
    a, h, x, y = sp.symbols("a L x y", positive=True)
    larger = x**a / (x**a + y**a)
    swapped = larger.subs(a, -a)
    sigma = 1 / (1 + sp.exp(-a * h))
    return identities(
        {
            "q_(-a) is q_a relabelled": sp.simplify(swapped - (1 - larger)),
            "the larger mass rises in |a'|": sp.diff(sigma, a)
            - h * sp.exp(-a * h) / (1 + sp.exp(-a * h)) ** 2,
        },
        "step 1, diversity",
    )


def _floor(claim: Dominance, example: Counterexample) -> Outcome:
    c, _ = infimum(claim, example)
    bound = arb.ball(example.literal_correctness)
    return certified.separated(
        {"infimum of C - bound": c - bound},
        f"step 2, every literal policy as diverse has C > {float(example.literal_correctness):g}"
        f" (the infimum is {c.str(8)})",
    )


def _cost(claim: Dominance, example: Counterexample) -> Outcome:
    """Step 3: branch and bound over (C', a') in [literal_correctness, 1] x [-a, a]."""
    b_s = arb.balls(example.correct)
    p = arb.add(b_s)
    base, bound = arb.conditional(b_s), arb.ball(example.literal_kl)

    def excess(c: Any, a: Any) -> Any:
        kl_c = (
            arb.x_log_x(c)
            + arb.x_log_x((1 - c).nonnegative_part())
            - c * p.log()
            - (1 - c) * (1 - p).log()
        )
        # log q_a is a log b - log S(a): written so, the ball does not grow with C'.
        log_odds = (base[0] / base[1]).log()
        q = arb.sigmoid(a * log_odds)
        kl_s = q * (q / base[0]).log() + (1 - q) * ((1 - q) / base[1]).log()
        return claim.price(kl_c, c, kl_s) - bound

    return certified.positive(
        excess,
        {"C'": (example.literal_correctness, 1), "a'": (-example.a, example.a)},
        f"step 3, KL > {float(example.literal_kl):g} for every such policy",
    )


def _verdict(claim: Dominance, example: Counterexample, dominated: bool) -> Outcome:
    """The claim's own answer, against what the certificate says."""
    _, kl, _, sf_a = entropy_policy(example)
    _, price = infimum(claim, example)
    b_f = arb.balls(example.incorrect)
    reach = claim.reach(sf_a, arb.log_mass(b_f, arb.ball(1)))
    y = arb.ball(example.y)
    says = claim.dominated(y, reach, kl, price)
    return certified.separated(
        {"1 if the claim says so, else -1": arb.ball(1 if says == dominated else -1)},
        f"at {_show(example)} a literal policy dominates: {dominated} (KL of the entropy policy"
        f" {kl.str(6)}, infimum over the literal policies {price.str(6)})",
        given={
            "reach - 1/beta": reach - y,
            "KL saved" if dominated else "KL lost": kl - price if dominated else price - kl,
        },
    )


def _neighbourhood(claim: Dominance) -> Outcome:
    """The failure is no accident: a whole box of bases, exponents and 1/beta around it fails."""
    half = arb.ball("1/2")
    quarter = [half / 2, half / 2]

    def shortfall(s: Any, a: Any, y: Any) -> Any:
        b_s = [s, half - s]
        ss, sf = arb.log_mass(b_s, a), arb.log_mass(quarter, a)
        c, c_inf = arb.sigmoid(ss - sf + y), arb.sigmoid(claim.floor(ss, half.log()))
        kl_s = arb.divergence(arb.tempered(b_s, a), arb.conditional(b_s))
        price = claim.price(arb.binary_divergence(c_inf, half), c_inf, kl_s)
        return price - (arb.binary_divergence(c, half) + c * kl_s)

    return certified.positive(
        shortfall,
        {"b_1": ("59/200", "61/200"), "a": ("9/20", "11/20"), "1/beta": ("1/25", "3/50")},
        "nor anywhere for b = (b_1, 1/2 - b_1 | 1/4, 1/4), b_1 in [.295, .305], a in [.45, .55],"
        " 1/beta in [.04, .06]",
    )


def _strictly_better(claim: Dominance) -> Outcome:
    """The saving buys more of both: b_F not uniform, a centred policy with larger C and H(q)."""
    b_s, b_f = arb.balls(["3/10", "1/5"]), arb.balls(["2/5", "1/10"])
    a, flatter, y = arb.ball("1/2"), arb.ball("9/20"), arb.ball(1)
    c = arb.sigmoid(arb.log_mass(b_s, a) - arb.log_mass(b_f, a) + y)
    more = c + arb.ball("1/200")
    p, own = arb.add(b_s), arb.conditional(b_s)
    kl_f = arb.divergence(arb.tempered(b_f, a), arb.conditional(b_f))
    q, rival = arb.tempered(b_s, a), arb.tempered(b_s, flatter)
    kl = arb.binary_divergence(c, p) + c * arb.divergence(q, own) + claim.saving(c, kl_f)
    other = claim.price(arb.binary_divergence(more, p), more, arb.divergence(rival, own))
    rise = arb.entropy(rival) - arb.entropy(q)
    return certified.separated(
        {"KL saved": kl - other, "rise of H(q)": rise},
        "(i) on b = (.3, .2 | .4, .1), a = .5, 1/beta = 1 a centred policy has C larger by .005,"
        f" H(q) larger and KL smaller ({other.str(6)} against {kl.str(6)})",
    )


def _coupled_signs(claim: Dominance) -> Outcome:
    """(iv) at the same (C, q) the coupled rule can cost more or less than the entropy bonus."""
    values = []
    for law in (DEARER, CHEAPER):
        base = arb.balls(law)
        flat = arb.divergence(arb.tempered(base, arb.ball("1/2")), base)
        sharp = arb.divergence(arb.tempered(base, arb.ball("3/2")), base)
        values.append(claim.coupled_extra(arb.ball("1/2"), sharp, flat))
    dearer, cheaper = values
    return certified.separated(
        {"extra cost on the first": dearer, "saving on the second": -cheaper},
        "(iv) coupled smoothing costs more than the bonus on b_F = (.25, 15 x .05) and less on"
        " (.45, .45, .1), at C = a = 1/2",
    )
