"""Every reward-only rule with its marginal utility written out by hand: the tables behind E1.

Written from the definitions of the rules, not with their code: the two are compared.  Formulas run
on Fractions, floats, arrays and sympy.  C is correctness, G the group size, K the k of pass@k, and
k the number of correct answers in a group.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffsmooth.theory.rules import RewardOnly

Formula = Callable[..., Any]

#: u'(C) in closed form for finite groups, where it is a polynomial with rational coefficients.
CLOSED: dict[str, Formula] = {
    "vanilla": lambda C, G, K: 1,
    "dr-grpo": lambda C, G, K: 1 - Fraction(1, G),
    "rloo": lambda C, G, K: 1,
    "psr": lambda C, G, K: 1,
    "nsr": lambda C, G, K: 1,
    "w-reinforce": lambda C, G, K: Fraction(11, 10),
    "maxrl": lambda C, G, K: sum((1 - C) ** j for j in range(G - 1)),
    "pkpo": lambda C, G, K: K * (1 - C) ** (K - 1),
    "pkpo-none": lambda C, G, K: K * (1 - C) ** (K - 1),
    "pkpo-loo": lambda C, G, K: K * (1 - C) ** (K - 1),
}


def _deviation(k: int, G: int) -> float:
    return sqrt(k * (G - k)) / G


def _pass_at_k_weight(k: int, G: int, K: int) -> float:
    fail = comb(G - k, K) / comb(G, K)
    return 0.0 if fail in (0.0, 1.0) else k / G * sqrt(fail / (1 - fail))


#: For rules whose advantages add up to 0 in every group: (k/G) A+(k), so that
#: u'(C) = E[weight(k, G, K)] / (C (1-C)), k ~ Bin(G, C).  EPS_USED is the eps of the "-eps" rows.
EPS_USED = 0.1
WEIGHTS: dict[str, Formula] = {
    "grpo": lambda k, G, K: _deviation(k, G),
    "grpo-ddof": lambda k, G, K: _deviation(k, G) * sqrt((G - 1) / G),
    "grpo-eps": lambda k, G, K: k * (G - k) / G**2 / (_deviation(k, G) + EPS_USED),
    "f-grpo": lambda k, G, K: (1 - k / G) * _deviation(k, G),
    "f-grpo-half": lambda k, G, K: sqrt(1 - k / G) * _deviation(k, G),
    "maxrl-eps": lambda k, G, K: k * (G - k) / G**2 / (k / G + EPS_USED),
    "pass-at-k": _pass_at_k_weight,
}

#: u'(C) as the group grows.
LIMITS: dict[str, Formula] = {
    "vanilla": lambda C, K: 1 + 0 * C,
    "dr-grpo": lambda C, K: 1 + 0 * C,
    "rloo": lambda C, K: 1 + 0 * C,
    "psr": lambda C, K: 1 + 0 * C,
    "nsr": lambda C, K: 1 + 0 * C,
    "w-reinforce": lambda C, K: Fraction(11, 10) + 0 * C,
    "grpo": lambda C, K: 1 / (C * (1 - C)) ** Fraction(1, 2),
    "f-grpo": lambda C, K: ((1 - C) / C) ** Fraction(1, 2),
    "maxrl": lambda C, K: 1 / C,
    "pkpo": lambda C, K: K * (1 - C) ** (K - 1),
    "pass-at-k": lambda C, K: ((1 - C) ** K / (1 - (1 - C) ** K)) ** Fraction(1, 2) / (1 - C),
}


#: u(C) as the group grows, u(0) = 0 (log C: u(1) = 0); f holds asin, sqrt, log: math or sympy.
LIMIT_VALUES: dict[str, Formula] = {
    "vanilla": lambda C, K, f: C,
    "dr-grpo": lambda C, K, f: C,
    "rloo": lambda C, K, f: C,
    "psr": lambda C, K, f: C,
    "nsr": lambda C, K, f: C,
    "w-reinforce": lambda C, K, f: 11 * C / 10,
    "grpo": lambda C, K, f: 2 * f.asin(f.sqrt(C)),
    "f-grpo": lambda C, K, f: f.asin(f.sqrt(C)) + f.sqrt(C) * f.sqrt(1 - C),
    "maxrl": lambda C, K, f: f.log(C),
    "pkpo": lambda C, K, f: 1 - (1 - C) ** K,
    "pass-at-k": lambda C, K, f: 2 * f.asin(f.sqrt(1 - (1 - C) ** K)) / K,
}

#: Rules whose utility is C up to a factor.
FLAT = ("vanilla", "dr-grpo", "rloo", "psr", "nsr", "w-reinforce")

#: -u''/u' as the group grows.
LIMIT_CURVATURES: dict[str, Formula] = {
    **dict.fromkeys(FLAT, lambda C, K: 0 * C),
    "grpo": lambda C, K: (1 - 2 * C) / (2 * C * (1 - C)),
    "f-grpo": lambda C, K: 1 / (2 * C * (1 - C)),
    "maxrl": lambda C, K: 1 / C,
    "pkpo": lambda C, K: (K - 1) / (1 - C),
    "pass-at-k": lambda C, K: (K - 2 + K * (1 - C) ** K / (1 - (1 - C) ** K)) / (2 * (1 - C)),
}

#: u(C) for finite groups, u(0) = 0: the integrals of CLOSED.
VALUES: dict[str, Formula] = {
    "vanilla": lambda C, G, K: C,
    "dr-grpo": lambda C, G, K: C * (G - 1) / G,
    "rloo": lambda C, G, K: C,
    "psr": lambda C, G, K: C,
    "nsr": lambda C, G, K: C,
    "w-reinforce": lambda C, G, K: C * 11 / 10,
    "maxrl": lambda C, G, K: sum((1 - (1 - C) ** j) / j for j in range(1, G)),
    "pkpo": lambda C, G, K: 1 - (1 - C) ** K,
    "pkpo-none": lambda C, G, K: 1 - (1 - C) ** K,
    "pkpo-loo": lambda C, G, K: 1 - (1 - C) ** K,
}


def _maxrl_curvature(C: Any, G: int, K: int) -> Any:
    rest = [(1 - C) ** j for j in range(G - 1)]
    return sum(j * rest[j - 1] for j in range(1, G - 1)) / sum(rest)


#: -u''/u' for finite groups, where u is closed: the less u is curved, the nearer to vanilla.
CURVATURES: dict[str, Formula] = {
    **dict.fromkeys(FLAT, lambda C, G, K: 0 * C),
    "maxrl": _maxrl_curvature,
    **dict.fromkeys(("pkpo", "pkpo-none", "pkpo-loo"), lambda C, G, K: (K - 1) / (1 - C)),
}


def _over(x: float, y: float) -> float:
    return x / y if y else 0.0


def _misses(total: int, right: int, draws: int) -> float:
    """Chance that ``draws`` of ``total`` answers, ``right`` of them correct, are all wrong."""
    return comb(total - right, draws) / comb(total, draws)


def _standardised(k: int, G: int, *, eps: float = 0.0, ddof: int = 0) -> tuple[float, float]:
    s = sqrt(k * (G - k) / G / (G - ddof)) + eps
    return _over(1 - k / G, s), _over(-k / G, s)


def _pass_at_k(k: int, G: int, K: int) -> tuple[float, float]:
    fail = _misses(G, k, K)
    s = sqrt(fail * (1 - fail))
    others = _misses(G - 1, k, K - 1) if k < G else 0.0
    return _over(fail, s), _over(fail - others, s)


def _pkpo(k: int, G: int, K: int, *, loo: bool) -> tuple[float, float]:
    up, down = float(K), K * (1 - _misses(G - 1, min(k, G - 1), K - 1))
    if loo:
        up -= K * G / (G - 1) * (1 - _misses(G - 1, max(k - 1, 0), K))
        down -= K * G / (G - 1) * (1 - _misses(G - 1, min(k, G - 1), K))
    return up, down


#: (A+, A-) by definition; of a kind that the group lacks the value is ignored.
ADVANTAGES: dict[str, Formula] = {
    "vanilla": lambda k, G, K: (1, 0),
    "dr-grpo": lambda k, G, K: (1 - k / G, -k / G),
    "rloo": lambda k, G, K: (1 - (k - 1) / (G - 1), -k / (G - 1)),
    "psr": lambda k, G, K: (1, 0),
    "nsr": lambda k, G, K: (0, -1),
    "w-reinforce": lambda k, G, K: (0.1, -1),
    "maxrl": lambda k, G, K: (_over(G - k, k), -1.0 if k else 0.0),
    "maxrl-eps": lambda k, G, K: ((1 - k / G) / (k / G + EPS_USED), -k / G / (k / G + EPS_USED)),
    "pkpo": lambda k, G, K: (K * _misses(G - 1, max(k - 1, 0), K - 1), 0),
    "pkpo-none": lambda k, G, K: _pkpo(k, G, K, loo=False),
    "pkpo-loo": lambda k, G, K: _pkpo(k, G, K, loo=True),
    "grpo": lambda k, G, K: _standardised(k, G),
    "grpo-ddof": lambda k, G, K: _standardised(k, G, ddof=1),
    "grpo-eps": lambda k, G, K: _standardised(k, G, eps=EPS_USED),
    "pass-at-k": _pass_at_k,
    "f-grpo": lambda k, G, K: tuple((1 - k / G) * a for a in _standardised(k, G)),
    "f-grpo-half": lambda k, G, K: tuple(sqrt(1 - k / G) * a for a in _standardised(k, G)),
}


def rules(K: int = 2, exact: bool = False) -> dict[str, RewardOnly]:
    """The rules of the package that the tables describe.  Groups need K answers ("loo": K + 1)."""
    import sympy as sp

    from diffsmooth.theory import rules as r

    return {
        "vanilla": r.Reinforce(),
        "dr-grpo": r.DrGRPO(),
        "rloo": r.RLOO(),
        "psr": r.SignedReinforce(1, 0),
        "nsr": r.SignedReinforce(0, 1),
        "w-reinforce": r.SignedReinforce(sp.Rational(1, 10) if exact else 0.1, 1),
        "maxrl": r.MaxRL(eps=0),
        "maxrl-eps": r.MaxRL(eps=EPS_USED),
        "pkpo": r.PKPO(K),
        "pkpo-none": r.PKPO(K, "none"),
        "pkpo-loo": r.PKPO(K, "loo"),
        "grpo": r.GRPO(eps=0),
        "grpo-ddof": r.GRPO(eps=0, ddof=1),
        "grpo-eps": r.GRPO(eps=EPS_USED),
        "pass-at-k": r.PassAtK(K),
        "f-grpo": r.FGRPO(gamma=1, base=r.GRPO(eps=0)),
        "f-grpo-half": r.FGRPO(gamma=0.5, base=r.GRPO(eps=0)),
    }
