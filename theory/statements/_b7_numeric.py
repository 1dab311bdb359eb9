"""B7 in floating point: the library against the formulas, and searches for a violation."""

from __future__ import annotations

from functools import partial

import numpy as np

from diffsmooth.theory.statements import _tabular as tab
from diffsmooth.theory.statements._b7 import Dominance
from diffsmooth.theory.statements._b7_map import measured
from diffsmooth.theory.statements._steps import together
from diffsmooth.theory.verify.core import Budget, Outcome, largest, least


def compare(claim: Dominance, budget: Budget) -> Outcome:
    """The library's optima, policies and divergences against the formulas."""
    from hypothesis import strategies as st

    from diffsmooth.theory import optima
    from diffsmooth.theory.policy import kl
    from diffsmooth.theory.verify import random

    def margin(instance: tuple[tab.LogitBase, float, float]) -> tuple[float, float]:
        base, a, y = instance
        b, beta, split = base.policy(), 1 / y, len(base.correct)
        log_b = base.logits - tab.log_sum(base.logits)
        s, f = log_b[:split], log_b[split:]
        ss, sf, sf_1 = tab.log_sum(a * s), tab.log_sum(a * f), tab.log_sum(f)
        log_q, log_f = tab.tempered(s, a), tab.tempered(f, a)
        kl_f = tab.relative(log_f, tab.tempered(f, 1.0))
        kl_s = tab.relative(log_q, tab.tempered(s, 1.0))
        logit = ss - sf + y
        c = float(np.exp(tab.log_sigmoid(logit)))
        entropy = optima.entropy_bonus(b, beta, (1 - a) * beta, form="base")
        smoothed = optima.smoothing(b, beta, (1 - a) * beta, 0.0, centred=True, logit_C=logit)
        pairs = [
            (entropy.logit_C, logit),
            (entropy.log_q[:split], log_q),
            (entropy.log_f[split:], log_f),
            (smoothed.logit_C, logit),
            (smoothed.log_q[:split], log_q),
            (smoothed.log_f[split:], tab.tempered(f, 1.0)),
            (kl(entropy, b) - kl(smoothed, b), claim.saving(c, kl_f)),
            (
                kl(b, entropy) - kl(b, smoothed),
                claim.forward_saving(
                    float(np.exp(tab.log_sum(s))), tab.relative(tab.tempered(f, 1.0), log_f)
                ),
            ),
            (kl(smoothed, b), claim.price(tab.binary(logit, tab.log_sum(s) - sf_1), c, kl_s)),
        ]
        needed = y - claim.reach(sf, sf_1)
        if needed > 1e-3:
            literal = optima.smoothing(b, 1 / needed, (1 - a) / needed, 0.0)
            pairs += [(literal.logit_C, logit), (literal.log_q[:split], log_q)]
        needed = y - claim.coupled_reach(sf, tab.log_sum((2 - a) * f))
        if needed > 1e-3:
            coupled = optima.smoothing(b, 1 / needed, (1 - a) / needed, (1 - a) / needed)
            sharp = tab.relative(tab.tempered(f, 2 - a), tab.tempered(f, 1.0))
            pairs += [
                (coupled.logit_C, logit),
                (kl(coupled, b) - kl(entropy, b), claim.coupled_extra(c, sharp, kl_f)),
            ]
        error = largest(*(np.abs(np.asarray(x) - np.asarray(z)) for x, z in pairs))
        # (1 - a)/needed times needed differs from 1 - a by two roundings of a number <= 1.
        return -error, tab.rounding(len(log_b), 2 * base.spread + y)

    strategy = st.tuples(tab.logit_bases(), tab.decimals(0, 1), tab.decimals(1 / 16, 16))
    agreement = random.for_all(
        strategy, margin, budget, "the library's optima and KL agree with the formulas"
    )
    if agreement.verdict != "holds":
        return agreement
    return agreement.told(f"{agreement.detail}; {measured(budget)}")


def attack(claim: Dominance, budget: Budget) -> Outcome:
    """Two searches: literal policies against the certificate, bases against the criterion."""
    from diffsmooth.theory.verify import adversarial

    example = claim.counterexample
    b_s, b_f = (np.log([float(x) for x in part]) for part in (example.correct, example.incorrect))

    def literal(x: tab.Array) -> float:
        """x = (a', log g_n/beta, log 1/beta) of a literal policy that is diverse enough."""
        tempering, sharpening, y = float(x[0]), float(np.exp(x[1])), float(np.exp(x[2]))
        if not abs(tempering) <= float(example.a) or max(abs(x[1]), abs(x[2])) > 40:
            return np.inf
        logit = tab.log_sum(tempering * b_s) - tab.log_sum((1 + sharpening) * b_f) + y
        c = float(np.exp(tab.log_sigmoid(logit)))
        kl = claim.price(
            tab.binary(logit, tab.log_sum(b_s) - tab.log_sum(b_f)),
            c,
            tab.relative(tab.tempered(b_s, tempering), tab.tempered(b_s, 1.0)),
        ) + (1 - c) * tab.relative(tab.tempered(b_f, 1 + sharpening), tab.tempered(b_f, 1.0))
        return least(c - float(example.literal_correctness), kl - float(example.literal_kl))

    def criterion(x: tab.Array) -> float:
        """Where the claim says "dominated", the literal policy it points to must dominate."""
        a, y = float(np.exp(tab.log_sigmoid(x[4]))), float(np.exp(x[5]))
        if np.max(np.abs(x)) > 20:
            return np.inf
        log_b = x[:4] - tab.log_sum(x[:4])
        s, f = log_b[:2], log_b[2:]
        ss, sf, sf_1 = tab.log_sum(a * s), tab.log_sum(a * f), tab.log_sum(f)
        logit_p, kl_s = tab.log_sum(s) - sf_1, tab.relative(tab.tempered(s, a), s - tab.log_sum(s))

        def kl_at(logit: float) -> float:
            c = float(np.exp(tab.log_sigmoid(logit)))
            return float(claim.price(tab.binary(logit, logit_p), c, kl_s))

        logit = ss - sf + y
        kl_f = tab.relative(tab.tempered(f, a), f - sf_1)
        kl = kl_at(logit) + float(np.exp(tab.log_sigmoid(-logit))) * kl_f
        reach, floor = claim.reach(sf, sf_1), claim.floor(ss, sf_1)
        if np.isnan(kl + reach + floor):
            return np.nan  # nan compares as "not dominated" below, which would hide it
        if not claim.dominated(y, reach, kl, kl_at(floor)):
            return np.inf
        return float(kl - kl_at(max(logit, floor)))

    return together(
        partial(
            adversarial.minimise,
            literal,
            lambda rng: np.array([rng.uniform(-0.5, 0.5), rng.normal(), rng.normal()]),
            budget,
            f"every literal policy as diverse as the example's entropy policy has"
            f" C > {float(example.literal_correctness):g}, KL > {float(example.literal_kl):g}",
            0.0,
            show=lambda x: (
                f"1 - g_p/beta = {x[0]:.4g}, g_n/beta = {np.exp(x[1]):.4g},"
                f" 1/beta = {np.exp(x[2]):.4g}"
            ),
        ),
        partial(
            adversarial.minimise,
            criterion,
            lambda rng: np.append(rng.normal(size=4), [rng.normal(), rng.normal()]),
            budget,
            "where the criterion says so, a literal policy dominates",
            tab.rounding(4, 60.0),
            evaluations=300,
            show=lambda x: (
                f"logits of b {x[:2]} on S, {x[2:4]} on F, a = sigmoid({x[4]:.4g}),"
                f" 1/beta = exp({x[5]:.4g})"
            ),
        ),
    )
