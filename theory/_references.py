"""The table of :mod:`diffsmooth.theory.oracle`: what every function should say, in many digits.

References are the formulas as a textbook has them, in mpmath: no trick of the float64 code is used
here.  ``DIGITS`` is enough for 1 - e^-700 to keep 60.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mpmath
import numpy as np
from mpmath import mpf

from diffsmooth.theory import (
    classes,
    critical,
    diversity,
    flows,
    gradients,
    length,
    memory,
    optima,
    passk,
    shared,
    utilities,
)
from diffsmooth.theory import policy as policies
from diffsmooth.theory._pairs import Pair, Row
from diffsmooth.theory.policy import Float, Policy
from diffsmooth.theory.rules import FGRPO, GRPO, PKPO, REWARD_ONLY, MaxRL, PassAtK

DIGITS = 700
ROWS: list[Row] = []
Ask = Callable[[np.random.Generator], Iterator[Pair]]
VALUE = "the value"
TERMS = "the largest of its terms"
INPUT = "the value, or 5 roundings of an input"

#: Public names without a row.
EXEMPT = {
    "clocks.Clock": "a function of log C and log(1-C); those of `utilities` are rows",
    "clocks.exact_unit": "a check",
    "clocks.is_exact": "a question about types",
    "clocks.log_speed": "calls the clock",
    "clocks.logs": "log and log1p of NumPy",
    "diversity.majorises": "true or false, with the rounding allowed as an argument",
    "diversity.whole": "a check",
    "gradients.check_one_clock": "a check",
    "gradients.check_strengths": "a check",
    "policy.as_policy": "a check",
    "policy.check_mass": "a check",
    "policy.floats": "a check",
    "policy.unit_interval": "a check",
    "shared.critical_strength": "products with the caller's features: as right as they cancel",
    "shared.diversity_direction": "`entropy_gradient` times the caller's features",
    "shared.smoothing_rates": "products with the caller's features: as right as they cancel",
    "utilities.Limit": "what `utilities.limit` returns",
    "utilities.Row": "what `utilities.table` returns",
    "utilities.power_basis": "exact numbers in, exact numbers out",
    "utilities.table": "`utility`, `utility_derivative`, `curvature` and `limit` side by side",
}


def row(name: str, domain: str, relative_to: str = VALUE) -> Callable[[Ask], Ask]:
    def add(ask: Ask) -> Ask:
        def exactly(rng: np.random.Generator) -> Iterator[Pair]:
            pairs = ask(rng)
            while True:
                with mpmath.workdps(DIGITS):
                    pair = next(pairs, None)
                if pair is None:
                    return
                yield pair

        ROWS.append(Row(name, domain, relative_to, exactly))
        return ask

    return add


def many(x: Any) -> list[Any]:
    return [mpf(float(v)) for v in np.ravel(np.asarray(x, dtype=np.float64))]


def flat(*arrays: Any) -> list[float]:
    return [float(v) for a in arrays for v in np.ravel(np.asarray(a))]


# --- what is drawn ---------------------------------------------------------------------------


def logits(rng: np.random.Generator, size: int) -> Float:
    """Nearly equal, ordinary, and as far apart as e^-690; some tied."""
    spread = float(rng.choice([1e-9, 1e-4, 1.0, 30.0, 690.0]))
    out = -spread * rng.random(size)
    if rng.random() < 0.3:
        out[rng.integers(size)] = out[rng.integers(size)]
    return np.asarray(out)


def law(rng: np.random.Generator, size: int | None = None) -> Float:
    return policies.log_normalise(logits(rng, size or int(rng.integers(1, 8))))


def a_policy(rng: np.random.Generator, gap: float = 600.0) -> Policy:
    size = int(rng.integers(2, 7))
    mask = rng.random(size) < 0.5
    mask[0], mask[-1] = True, False
    offset = float(rng.choice([0.0, 1.0, gap])) * rng.uniform(-1, 1)
    base = logits(rng, size)
    base = base + np.where(mask, offset, 0.0)
    base = np.maximum(base, np.max(base) - 690.0)
    return Policy.from_logits(base, rng.permuted(mask) if rng.random() < 0.5 else mask)


def chance(rng: np.random.Generator) -> float:
    """From 1e-300 to 1 - 1e-16."""
    kind = rng.integers(4)
    if kind == 0:
        return float(10 ** -rng.uniform(0, 300))
    if kind == 1:
        return float(1 - 10 ** -rng.uniform(0, 16))
    if kind == 2:
        return float(10 ** -rng.uniform(0, 17))
    return float(rng.random())


def strength(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, 10 ** rng.uniform(-9, 9), rng.random() * 2]))


# --- the same in many digits -----------------------------------------------------------------


def normalised(x: Sequence[Any]) -> list[Any]:
    total = mpmath.fsum(mpmath.exp(v) for v in x)
    return [mpmath.exp(v) / total for v in x]


def mean(p: Sequence[Any], x: Sequence[Any]) -> Any:
    return mpmath.fsum(a * b for a, b in zip(p, x, strict=True))


def entropy(p: Sequence[Any]) -> Any:
    return -mpmath.fsum(a * mpmath.log(a) for a in p if a)


class Exact:
    """A policy in many digits: the law that its log-probs are proportional to."""

    def __init__(self, policy: Policy) -> None:
        self.x = many(policy.log_probs)
        self.right = [bool(v) for v in policy.correct]
        self.pi = normalised(self.x)
        self.log_pi = [mpmath.log(p) for p in self.pi]
        self.C = mpmath.fsum(p for p, c in zip(self.pi, self.right, strict=True) if c)
        self.F = mpmath.fsum(p for p, c in zip(self.pi, self.right, strict=True) if not c)
        self.part = [self.C if c else self.F for c in self.right]
        self.q = [p / self.C if c else mpf(0) for p, c in zip(self.pi, self.right, strict=True)]
        self.f = [mpf(0) if c else p / self.F for p, c in zip(self.pi, self.right, strict=True)]
        self.w = self._centred(self.q)
        self.v = self._centred(self.f)

    def _centred(self, p: Sequence[Any]) -> list[Any]:
        """log p minus its mean, where there is mass."""
        middle = mean(p, self.log_pi)
        return [a - middle if b else mpf(0) for a, b in zip(self.log_pi, p, strict=True)]


# --- policy ----------------------------------------------------------------------------------


@row(
    "policy.logsumexp",
    "exponents to -690, up to 10^6 of them",
    "the value, or the largest exponent",
)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x = logits(rng, int(rng.integers(1, 9))) + rng.uniform(-700, 700)
        total = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in many(x)))
        yield Pair(flat(policies.logsumexp(x)), [total], [max(many(x), key=abs)], repr(x))
    yield Pair(flat(policies.logsumexp(np.full(10**6, -1.5))), [mpmath.log(10**6) - 1.5], None, "")


@row("policy.log_normalise", "exponents to -690")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x = logits(rng, int(rng.integers(2, 9)))
        right = [mpmath.log(p) for p in normalised(many(x))]
        yield Pair(flat(policies.log_normalise(x)), right, None, repr(x))


@row("policy.about_mean", "exponents to -690", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x = logits(rng, int(rng.integers(2, 9)))
        xs = many(x)
        middle = mean(normalised(xs), xs)
        scale = [max(max(xs) - v, max(xs) - middle) for v in xs]
        found = policies.about_mean(x, np.ones(x.shape, bool))
        yield Pair(flat(found), [v - middle for v in xs], scale, repr(x))


@row("policy.about_mean_and_entropy", "exponents to -690; the entropy")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x = logits(rng, int(rng.integers(2, 9)))
        found = policies.about_mean_and_entropy(x, np.ones(x.shape, bool))[1]
        yield Pair(flat(found), [entropy(normalised(many(x)))], None, repr(x))


@row("policy.log1mexp", "x from -700 to -1e-300")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    x = np.concatenate([-(10 ** rng.uniform(-300, 2.8, 60)), -rng.random(40)])
    right = [mpmath.log(-mpmath.expm1(v)) for v in many(x)]
    yield Pair(flat(policies.log1mexp(x)), right, None, "")


@row(
    "policy.Policy",
    "log-probs to -690: C, log C, log(1-C), logit C, log q, log f; from_logits, from_parts",
    "the value; logit C: or .01",
)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p = a_policy(rng)
        e = Exact(p)
        found = flat(p.C, p.log_C, p.log_1mC, p.log_q[p.correct], p.log_f[~p.correct])
        right = [e.C, mpmath.log(e.C), mpmath.log(e.F)]
        right += [mpmath.log(v) for v in e.q if v] + [mpmath.log(v) for v in e.f if v]
        yield Pair(found, right, None, repr(p.log_probs))
        again = Policy.from_parts(p.logit_C, p.log_q, p.log_f, p.correct)
        odds = mpmath.exp(mpf(float(p.logit_C)))
        laws = [mpmath.log(a or b) for a, b in zip(e.q, e.f, strict=True)]
        parts = [mpmath.log(odds / (1 + odds) if c else 1 / (1 + odds)) for c in e.right]
        right = [a + b for a, b in zip(laws, parts, strict=True)]
        yield Pair(flat(again.log_probs), right, None, f"from_parts {p.log_probs!r}")
        yield Pair(flat(p.logit_C), [mpmath.log(e.C / e.F)], [mpf("0.01")], "logit, or .01")


def divergence(p: Sequence[Any], b: Sequence[Any]) -> Any:
    return mpmath.fsum(u * mpmath.log(u / v) for u, v in zip(p, b, strict=True) if u)


def neighbours(rng: np.random.Generator) -> tuple[Policy, Policy]:
    p = a_policy(rng)
    step = float(rng.choice([1e-9, 1e-5, 0.01, 0.5, 30.0]))
    moved = np.maximum(p.log_probs + step * rng.normal(size=p.log_probs.shape), -690.0)
    return p, Policy.from_logits(moved, p.correct)


@row("policy.relative_entropy", "laws to e^-690, from 1e-9 apart")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(80):
        p, b = neighbours(rng)
        right = [divergence(Exact(p).pi, Exact(b).pi)]
        found = policies.relative_entropy(p.log_probs, b.log_probs)
        yield Pair(flat(found), right, None, f"{p.log_probs!r} {b.log_probs!r}")


@row("policy.kl", "policies to e^-690, from 1e-9 apart")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(40):
        p, b = neighbours(rng)
        yield Pair(flat(policies.kl(p, b)), [divergence(Exact(p).pi, Exact(b).pi)], None, repr(p))


def parts_of(p: Policy, b: Policy) -> tuple[list[Any], list[Any]]:
    """The three terms of the chain rule, and what their rounding is relative to.

    Where the parts' masses agree to many digits, their difference is a sum of terms of both signs:
    its size is the square of those terms.
    """
    e, o = Exact(p), Exact(b)
    binary = divergence([e.C, e.F], [o.C, o.F])
    terms = [binary, e.C * divergence(e.q, o.q), e.F * divergence(e.f, o.f)]
    moved = mpmath.fsum(u * abs(mpmath.log(u / v)) for u, v in zip(e.pi, o.pi, strict=True))
    rise = mpmath.log(e.C / o.C) * e.C if e.C < e.F else mpmath.log(e.F / o.F) * e.F
    return terms, [abs(rise) * moved / 1000, 0, 0]


@row("policy.kl_binary", "policies to e^-690, from 1e-9 apart", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p, b = neighbours(rng)
        terms, scale = parts_of(p, b)
        shown = f"{p.log_probs!r} {b.log_probs!r} {p.correct!r}"
        yield Pair(flat(policies.kl_binary(p, b)), terms[:1], scale[:1], shown)


@row("policy.kl_decomposition", "policies to e^-690, from 1e-9 apart", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p, b = neighbours(rng)
        terms, scale = parts_of(p, b)
        shown = f"{p.log_probs!r} {b.log_probs!r} {p.correct!r}"
        yield Pair(flat(*policies.kl_decomposition(p, b)), terms, scale, shown)


# --- diversity -------------------------------------------------------------------------------


def of_laws(
    function: Callable[[Float], Any], right: Callable[[list[Any]], Any], count: int = 60
) -> Ask:
    def ask(rng: np.random.Generator) -> Iterator[Pair]:
        for _ in range(count):
            x = law(rng)
            yield Pair(flat(function(x)), [right(normalised(many(x)))], None, repr(x))

    return ask


def variance(p: list[Any]) -> Any:
    return -mpmath.fsum((v - mpf(1) / len(p)) ** 2 for v in p) / len(p)


LAWS = "laws to e^-690, nearly uniform and nearly points"
row("diversity.shannon", LAWS)(of_laws(diversity.shannon, entropy))
row("diversity.simpson", LAWS)(
    of_laws(diversity.simpson, lambda p: mpmath.fsum(v * (1 - v) for v in p))
)
row("diversity.log_collision", LAWS)(
    of_laws(diversity.log_collision, lambda p: mpmath.log(mpmath.fsum(v * v for v in p)))
)
row("diversity.effective_number", LAWS)(
    of_laws(diversity.effective_number, lambda p: 1 / mpmath.fsum(v * v for v in p))
)
row("diversity.neg_variance", LAWS)(of_laws(diversity.neg_variance, variance))


@row("diversity.renyi", "laws to e^-690; orders 0 to 1e9, and 1 up to 1e-9")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(80):
        x = law(rng)
        order = float(rng.choice([0.0, rng.random(), 1 + 10 ** -rng.uniform(0, 9), 1.0, 2.0, 1e9]))
        p, a = normalised(many(x)), mpf(order)
        exact = (
            entropy(p) if order == 1 else mpmath.log(mpmath.fsum(v**a for v in p if v)) / (1 - a)
        )
        yield Pair(flat(diversity.renyi(x, order)), [exact], None, f"{x!r} {order!r}")


@row("diversity.distinct_in_k", "laws to e^-690; k to 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, k = law(rng), int(10 ** rng.uniform(0, 4))
        exact = mpmath.fsum(1 - (1 - v) ** k for v in normalised(many(x)))
        yield Pair(flat(diversity.distinct_in_k(x, k)), [exact], None, f"{x!r} {k}")


# --- classes ---------------------------------------------------------------------------------


def classed(rng: np.random.Generator) -> tuple[Float, Any, list[Any], list[Any]]:
    x = law(rng, int(rng.integers(2, 9)))
    ids = rng.integers(0, 3, size=x.size)
    p = normalised(many(x))
    masses = [mpmath.fsum(v for v, c in zip(p, ids, strict=True) if c == k) for k in range(3)]
    return x, ids, p, masses


@row("classes.class_log_masses", LAWS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, ids, _p, masses = classed(rng)
        there = [k for k in range(3) if masses[k]]
        found = classes.class_log_masses(x, ids, 3)[there]
        yield Pair(flat(found), [mpmath.log(masses[k]) for k in there], None, f"{x!r} {ids!r}")


@row("classes.equalised", LAWS + "; exponents 0 to 2")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, ids, p, masses = classed(rng)
        a = float(rng.choice([0.0, 1.0, 2 * rng.random()]))
        total = mpmath.fsum(m ** mpf(a) for m in masses if m)
        right = [
            mpmath.log(v / masses[c] * masses[c] ** mpf(a) / total)
            for v, c in zip(p, ids, strict=True)
        ]
        yield Pair(flat(classes.equalised(x, ids, a)), right, None, f"{x!r} {ids!r} {a!r}")


def share(rng: np.random.Generator) -> float:
    return float(
        rng.choice([10 ** -rng.uniform(0, 12), rng.random(), 1 - 10 ** -rng.uniform(1, 15)])
    )


def log_share(q: float, n: int) -> Any:
    """E log((1+j)/n), j ~ Bin(n-1, q)."""
    with mpmath.workdps(60):
        at, m = mpf(q), n - 1
        weight, total = (1 - at) ** m, mpf(0)
        for j in range(n):
            total += weight * mpmath.log(mpf(1 + j) / n)
            weight = weight * (m - j) / (j + 1) * at / (1 - at)
        return total


@row("classes.expected_log_share", "q from 1e-12 to 1 - 1e-15, n to 300")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(40):
        q, n = share(rng), int(10 ** rng.uniform(0, 2.5))
        yield Pair(flat(classes.expected_log_share(q, n)), [log_share(q, n)], None, f"{q!r} {n}")


@row("classes.log_share_bias", "q from 1e-12 to 1 - 1e-15, n to 300 and 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for n in [int(10 ** rng.uniform(0, 2.5)) for _ in range(40)] + [10_000]:
        q = share(rng) if n < 10_000 else 0.3
        exact = log_share(q, n) - mpmath.log(mpf(q))
        yield Pair(flat(classes.log_share_bias(q, n)), [exact], None, f"{q!r} {n}")


@row("classes.harmonic_share", "counts to n, n to 10^9")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        n = int(10 ** rng.uniform(0, 9))
        count = int(rng.choice([1, n, max(1, n - 1), int(rng.integers(1, n + 1))]))
        with mpmath.workdps(60):
            exact = mpmath.digamma(count) - mpmath.digamma(n)
        yield Pair(flat(classes.harmonic_share(count, n)), [exact], None, f"{count} {n}")


@row("classes.harmonic_share_bias", "q from 1e-12 to 1 - 1e-15, n to 3000; down to 1e-290")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        q, n = share(rng), int(10 ** rng.uniform(0, 3.5))
        r = 1 - mpf(q)
        if r**n < mpf(10) ** -290:
            continue
        power, head = mpf(1), mpf(0)
        for i in range(1, n):
            power *= r
            head += power / i
        exact = -mpmath.log(mpf(q)) - head
        yield Pair(flat(classes.harmonic_share_bias(q, n)), [exact], None, f"{q!r} {n}")


# --- critical --------------------------------------------------------------------------------


def sharpening(e: Exact) -> tuple[Any, Any]:
    k1 = mean(e.q, [q * w for q, w in zip(e.q, e.w, strict=True)])
    return k1, mean(e.q, [q * w * w for q, w in zip(e.q, e.w, strict=True)])


def sides(e: Exact, form: str) -> tuple[Any, Any]:
    """(a, the weight of K1 in the bracket) of C5."""
    push = mpmath.sqrt(e.F / e.C) if form.startswith("advantage") else e.F
    spill = mpf(0) if form.endswith("centred") else e.F * (entropy(e.q) - mpmath.log(e.C))
    return push, spill


@row("critical.sharpening_ratio", "log-probs to -690, nearly uniform q")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p = a_policy(rng)
        k1, e = sharpening(Exact(p))
        right = k1 / e if e else mpf(1)
        yield Pair(flat(critical.sharpening_ratio(p)), [right], None, repr(p.log_probs))


@row(
    "critical.critical_strength",
    "the four forms, log-probs to -690",
    "the value; for literal forms its inverse, relative to its larger term",
)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(100):
        p, form = a_policy(rng), critical.FORMS[at % 4]
        e = Exact(p)
        k1, size = sharpening(e)
        ratio = k1 / size if size else mpf(1)
        push, spill = sides(e, form)
        found = critical.critical_strength(p, form)
        shown = f"{p.log_probs!r} {p.correct!r} {form}"
        if form.endswith("centred"):
            yield Pair(flat(found), [push * ratio], None, shown)
        else:
            inverse = max(1 - spill * ratio, mpf(0)) / (push * ratio)
            ours = 1 / mpf(float(found)) if found < np.inf else mpf(0)
            yield Pair([float(ours)], [inverse], [1 / (push * ratio)], shown)


@row("critical.entropy_rate", "the four forms, log-probs to -690, strengths to 1e9", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(100):
        p, form, g = a_policy(rng), critical.FORMS[at % 4], strength(rng)
        e = Exact(p)
        k1, size = sharpening(e)
        push, spill = sides(e, form)
        up, down = e.C * g * size, e.C * (push + g * spill) * k1
        found = critical.entropy_rate(p, g, form)
        yield Pair(flat(found), [up - down], [max(up, down)], f"{p.log_probs!r} {form} {g!r}")


# --- gradients -------------------------------------------------------------------------------


@row("gradients.expected_gradient", "log-probs to -690")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p = a_policy(rng)
        e = Exact(p)
        right = [u * e.F if c else -u * e.C for u, c in zip(e.pi, e.right, strict=True)]
        yield Pair(flat(gradients.expected_gradient(p)), right, None, repr(p.log_probs))


@row("gradients.advantage_gradient", "log-probs to -690, a constant of 1e9 on top", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p = a_policy(rng)
        a = rng.normal(size=p.log_probs.size) + float(rng.choice([0.0, 1e9]))
        e, exact = Exact(p), many(a)
        middle = mean(e.pi, exact)
        right = [u * (v - middle) for u, v in zip(e.pi, exact, strict=True)]
        scale = [
            u * mean(e.pi, [abs(v - w) for w in exact]) for u, v in zip(e.pi, exact, strict=True)
        ]
        yield Pair(flat(gradients.advantage_gradient(p, a)), right, scale, repr(p.log_probs))


def smoothed(
    e: Exact, g: float, k: float, centred: bool, standardised: bool
) -> tuple[list[Any], list[Any]]:
    """The advantage minus its mean, by definition; and the sizes of what it is the sum of."""
    factor = 1 / mpmath.sqrt(e.C * e.F) if standardised else mpf(1)
    middle = mean(e.q, e.log_pi) if centred else mpf(0)
    term = [
        -mpf(g) * (x - middle) if c else mpf(k) * x for x, c in zip(e.log_pi, e.right, strict=True)
    ]
    over = mean(e.pi, term)
    reward = [factor * (e.F if c else -e.C) for c in e.right]
    out = [r + x - over for r, x in zip(reward, term, strict=True)]
    # Parts of one sign: log q or log f about their means, and the parts' entropies.
    lift = k * e.F * (entropy(e.f) - mpmath.log(e.F))
    drop = mpf(0) if centred else g * e.C * (entropy(e.q) - mpmath.log(e.C))
    scale = []
    for at, c in enumerate(e.right):
        inner = _spread(e.q if c else e.f, e.log_pi, at)
        if c:
            inside = g * (inner if centred else e.F * abs(e.log_pi[at]) + e.C * inner) + lift
        else:
            inside = k * (e.C * abs(e.log_pi[at]) + e.F * inner) + drop
        scale.append(max(abs(reward[at]), inside))
    return out, scale


def _spread(p: Sequence[Any], x: Sequence[Any], at: int) -> Any:
    top = max(v for v, u in zip(x, p, strict=True) if u)
    return max(top - x[at], mean(p, [top - v for v in x]))


def smoothing_rows(name: str, times_pi: bool) -> None:
    @row(
        f"gradients.{name}",
        "log-probs to -690, strengths 0 to 1e9, centred or not, standardised or not",
        TERMS,
    )
    def _(rng: np.random.Generator) -> Iterator[Pair]:
        function = getattr(gradients, name)
        for _ in range(80):
            p, g, k = a_policy(rng), strength(rng), strength(rng)
            how = {"centred": bool(rng.integers(2)), "standardised": bool(rng.integers(2))}
            e = Exact(p)
            right, scale = smoothed(e, g, k, **how)
            if times_pi:
                right = [a * u for a, u in zip(right, e.pi, strict=True)]
                scale = [a * u for a, u in zip(scale, e.pi, strict=True)]
            shown = f"{p.log_probs!r} {p.correct!r} {g!r} {k!r} {how}"
            yield Pair(flat(function(p, g, k, **how)), right, scale, shown)


smoothing_rows("smoothing_advantage", False)
smoothing_rows("smoothing_gradient", True)


@row("gradients.reward_parts", "C from e^-690 to 1 - e^-690, standardised or not")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(40):
        p = a_policy(rng)
        e = Exact(p)
        factor = 1 / mpmath.sqrt(e.C * e.F) if at % 2 else mpf(1)
        found = gradients.reward_parts(p.log_C, p.log_1mC, bool(at % 2), None)
        yield Pair(flat(*found), [e.F * factor, -e.C * factor], None, repr(p.log_probs))


# --- utilities -------------------------------------------------------------------------------

#: Rules whose coefficients have an exact form, at a few sizes.
RULES: dict[str, Any] = {
    "grpo": GRPO(eps=0),
    "f-grpo": FGRPO(base=GRPO(eps=0)),
    "maxrl": MaxRL(eps=0),
    "pkpo": PKPO(4),
    "pass-at-k": PassAtK(4),
    "dr-grpo": REWARD_ONLY["dr-grpo"](),
    "rloo": REWARD_ONLY["rloo"](),
}
SIZES = (5, 8, 16)
_STEPS: dict[tuple[str, int], list[Any]] = {}


def steps(name: str, size: int) -> list[Any]:
    """A+(m+1) - A-(m) in many digits, from the rule on exact numbers."""
    if (name, size) not in _STEPS:
        exact = utilities.coefficients(RULES[name], size, exact=True)
        _STEPS[name, size] = [mpf(str(value.evalf(DIGITS))) for value in exact]
    return _STEPS[name, size]


def bernstein(values: Sequence[Any], c: Any, rest: Any) -> Any:
    n = len(values) - 1
    return mpmath.fsum(
        v * mpmath.binomial(n, m) * c**m * rest ** (n - m) for m, v in enumerate(values)
    )


def named(rng: np.random.Generator) -> tuple[str, Any, int, list[Any]]:
    name, size = str(rng.choice(list(RULES))), int(rng.choice(SIZES))
    return name, RULES[name], size, steps(name, size)


@row("utilities.coefficients", "groups of 5 to 16, seven rules")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for name, rule in RULES.items():
        for size in SIZES:
            yield Pair(
                utilities.coefficients(rule, size), steps(name, size), None, f"{name} {size}"
            )


@row("utilities.bernstein", "coefficients >= 0, degrees to 10^3, C from 1e-300 to 1 - 1e-16")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(40):
        values = rng.random(int(rng.integers(1, 30)) if at else 1000)
        c = chance(rng) if at else 0.3
        exact = bernstein(many(values), mpf(c), 1 - mpf(c))
        yield Pair(flat(utilities.bernstein(list(values), c)), [exact], None, f"{values!r} {c!r}")


@row("utilities.utility_derivative", "seven rules, C from 1e-300 to 1 - 1e-16")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        name, rule, size, values = named(rng)
        c = chance(rng)
        exact = bernstein(values, mpf(c), 1 - mpf(c))
        found = utilities.utility_derivative(rule, c, size)
        yield Pair(flat(found), [exact], None, f"{name} {size} {c!r}")


@row("utilities.clock", "seven rules, log C and log(1-C) to -690")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        name, rule, size, values = named(rng)
        p = a_policy(rng)
        e = Exact(p)
        exact = bernstein(values, e.C, e.F)
        if exact < mpf(10) ** -290:
            continue
        found = np.exp(utilities.clock(rule, size).log_speed(p.log_C, p.log_1mC))
        yield Pair(flat(found), [exact], None, f"{name} {size} {p.log_probs!r}")


@row("utilities.utility", "seven rules, C from 1e-300 to 1 - 1e-16")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        name, rule, size, values = named(rng)
        c = chance(rng)
        sums = [mpmath.fsum(values[:m]) for m in range(size + 1)]
        exact = bernstein(sums, mpf(c), 1 - mpf(c)) / size
        yield Pair(flat(utilities.utility(rule, c, size)), [exact], None, f"{name} {size} {c!r}")


def bend(values: Sequence[Any], c: float) -> tuple[Any, Any]:
    """u'' and the size of what it is a difference of."""
    rises = [b - a for a, b in itertools.pairwise(values)]
    size = [abs(b) + abs(a) for a, b in itertools.pairwise(values)]
    at, rest = mpf(c), 1 - mpf(c)
    n = len(rises)
    return n * bernstein(rises, at, rest), n * bernstein(size, at, rest)


@row("utilities.utility_second_derivative", "seven rules, C from 1e-300 to 1 - 1e-16", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        name, rule, size, values = named(rng)
        c = chance(rng)
        exact, scale = bend(values, c)
        found = utilities.utility_second_derivative(rule, c, size)
        yield Pair(flat(found), [exact], [scale], f"{name} {size} {c!r}")


@row("utilities.curvature", "seven rules, C from 1e-300 to 1 - 1e-16", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        name, rule, size, values = named(rng)
        c = chance(rng)
        exact, scale = bend(values, c)
        slope = bernstein(values, mpf(c), 1 - mpf(c))
        if slope < mpf(10) ** -290:
            continue
        found = utilities.curvature(rule, c, size)
        yield Pair(flat(found), [-exact / slope], [scale / slope], f"{name} {size} {c!r}")


@row("gradients.reward_only_gradient", "seven rules, log-probs to -690")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        name, rule, size, values = named(rng)
        p = a_policy(rng)
        e = Exact(p)
        speed = bernstein(values, e.C, e.F)
        right = [speed * (u * e.F if c else -u * e.C) for u, c in zip(e.pi, e.right, strict=True)]
        found = gradients.reward_only_gradient(p, rule, size)
        if speed > mpf(10) ** -290 or not speed:
            yield Pair(flat(found), right, None, f"{name} {size} {p.log_probs!r}")


@row("gradients.grpo_clock", "groups of 5 to 16, C from 1e-300 to 1 - 1e-16")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(60):
        c, size = chance(rng), SIZES[at % 3]
        exact = bernstein(steps("grpo", size), mpf(c), 1 - mpf(c))
        yield Pair(flat(gradients.grpo_clock(c, size)), [exact], None, f"{c!r} {size}")


def limits(name: str, c: Any, k: int) -> tuple[Any, Any]:
    """(u', u) of the utility for large groups."""
    root, arc = mpmath.sqrt, mpmath.asin
    rest = 1 - c
    wins = 1 - rest**k
    return {
        "vanilla": lambda: (mpf(1), c),
        "w-reinforce": lambda: (mpf(11) / 10, 11 * c / 10),
        "grpo": lambda: (1 / root(c * rest), 2 * arc(root(c))),
        "f-grpo": lambda: (root(rest / c), arc(root(c)) + root(c * rest)),
        "maxrl": lambda: (1 / c, mpmath.log(c)),
        "pkpo": lambda: (k * rest ** (k - 1), wins),
        "pass-at-k": lambda: (rest ** (mpf(k) / 2 - 1) / root(wins), arc(root(wins)) * 2 / k),
    }[name]()


@row("utilities.limit", "u' and u of seven utilities, C from 1e-300 to 1 - 1e-16, k to 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    names = ["vanilla", "w-reinforce", "grpo", "f-grpo", "maxrl", "pkpo", "pass-at-k"]
    for at in range(210):
        name, c, k = names[at % 7], chance(rng), int(10 ** rng.uniform(0, 4))
        found = utilities.limit(name, k)
        ours = flat(found.derivative(c), found.value(c))
        yield Pair(ours, list(limits(name, mpf(c), k)), None, f"{name} {c!r} {k}")


# --- pass@k ----------------------------------------------------------------------------------


@row("passk.pass_at_k_exact", "C from 1e-300 to 1 - 1e-16, k to 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(100):
        c, k = chance(rng), int(10 ** rng.uniform(0, 4))
        yield Pair(flat(passk.pass_at_k_exact(c, k)), [1 - (1 - mpf(c)) ** k], None, f"{c!r} {k}")


def counts(rng: np.random.Generator, least: int) -> tuple[int, int, int]:
    """(n, c, k), n >= least k, k to 10^4."""
    k = int(10 ** rng.uniform(0, 4))
    n = least * k + int(rng.choice([0, 1, k, 10**5]))
    c = int(rng.choice([0, 1, n, n - 1, n - k, int(rng.integers(0, n + 1)), min(n, 20)]))
    return n, c, k


def fails(n: int, c: int, k: int) -> Any:
    with mpmath.workdps(60):
        out, rest = mpf(1), n - c
        # The smaller of the two products: C(n-c, k)/C(n, k) is symmetric in c and k.
        if c < k:
            rest, k = n - k, c
        for j in range(k):
            out = out * (rest - j) / (n - j) if rest > j else mpf(0)
        return out


@row("passk.pass_at_k", "n to 10^5, k to 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(30):
        n, c, k = counts(rng, 1)
        yield Pair(flat(passk.pass_at_k(n, c, k)), [1 - fails(n, c, k)], None, f"{n} {c} {k}")


@row("passk.pass_at_k_variance_estimate", "n to 10^5, k to 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(30):
        n, c, k = counts(rng, 2)
        exact = fails(n, c, k) ** 2 - fails(n, c, 2 * k)
        found = passk.pass_at_k_variance_estimate(n, c, k)
        yield Pair(flat(found), [exact], None, f"{n} {c} {k}")


@row("passk.pass_at_k_variance", "n to 10^4, k to 10^3 and n = 2 10^4, k = 10^4")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(20):
        k = int(10 ** rng.uniform(0, 2.5)) if at else 10_000
        n = (k + int(rng.choice([0, 1, k, 5000]))) if at else 20_000
        c = chance(rng) if at else 1e-4
        with mpmath.workdps(400):
            bad = 1 - mpf(c)
            total = mpf(0)
            first = max(1, 2 * k - n)
            weight = mpmath.binomial(k, first) * mpmath.binomial(n - k, k - first)
            weight = weight / mpmath.binomial(n, k)
            power = bad ** (2 * k - first)
            for j in range(first, k + 1):
                total += weight * power * (1 - bad**j)
                weight = weight * (k - j) ** 2 / ((j + 1) * (n - 2 * k + j + 1))
                power = power / bad
        yield Pair(flat(passk.pass_at_k_variance(n, c, k)), [total], None, f"{n} {c!r} {k}")


# --- optima ----------------------------------------------------------------------------------


@row("optima.tempered", LAWS + "; exponents -1e9 to 1e9")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, a = law(rng), exponent(rng)
        right = [mpmath.log(v) for v in powers(many(x), a)]
        yield Pair(flat(optima.tempered(x, a)), right, None, f"{x!r} {a!r}")


def exponent(rng: np.random.Generator) -> float:
    sign = float(rng.choice([-1.0, 1.0]))
    return sign * float(rng.choice([0.0, 1.0, rng.random() * 3, 10 ** rng.uniform(-9, 9)]))


def powers(x: Sequence[Any], a: float) -> list[Any]:
    """The law ∝ e^{a x}; the logs may be -1e12, which e^x of many digits still holds."""
    return normalised([mpf(a) * v for v in x])


@row("optima.entropy_for_temperature", LAWS + "; exponents -1e9 to 1e9")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, a = law(rng), exponent(rng)
        exact = entropy(powers(many(x), a))
        yield Pair(flat(optima.entropy_for_temperature(x, a)), [exact], None, f"{x!r} {a!r}")


def slope(x: Sequence[Any], a: Any) -> Any:
    q = normalised([a * v for v in x])
    middle = mean(q, x)
    return -a * mean(q, [(v - middle) ** 2 for v in x])


@row("optima.entropy_slope", LAWS + "; exponents -1e9 to 1e9")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        x, a = law(rng), exponent(rng)
        yield Pair(flat(optima.entropy_slope(x, a)), [slope(many(x), mpf(a))], None, f"{x!r} {a!r}")


@row("optima.temperature_for_entropy", "laws to e^-30, exponents .01 to 10", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(30):
        x = policies.log_normalise(-float(rng.choice([0.1, 1.0, 30.0])) * rng.random(5))
        target = float(optima.entropy_for_temperature(x, 10 ** rng.uniform(-2, 1)))
        if target < 1e-200:
            continue
        found = float(optima.temperature_for_entropy(x, target))
        with mpmath.workdps(60):
            xs, a = many(x), mpf(found)
            for _ in range(4):
                a -= (entropy(normalised([a * v for v in xs])) - mpf(target)) / slope(xs, a)
            scale = abs(mpf(target) / slope(xs, a)) / 1000
        yield Pair([found], [a], [scale], f"{x!r} {target!r}")


def optimum(e: Exact, right: Any, wrong: Any, reward: Any) -> tuple[list[Any], list[Any]]:
    """log of the law ∝ b^right e^reward on S, b^wrong on F; and where balanced, the size."""
    x = [(right * v + reward) if c else wrong * v for v, c in zip(e.log_pi, e.right, strict=True)]
    top = max(x)
    tilted = normalised([v - top for v in x])
    sums = [
        mpmath.fsum(p for p, c in zip(tilted, e.right, strict=True) if c is k)
        for k in (True, False)
    ]
    size = max(abs(v) for v in x) + abs(reward)
    logit = mpmath.log(sums[0] / sums[1]) if all(sums) else size
    balanced = abs(logit) < size / 1000
    return [mpmath.log(p) for p in tilted], [size / 1000 if balanced else mpf(0)] * len(x)


def drawn(rng: np.random.Generator) -> tuple[Policy, float, float, float]:
    """A base, beta and two strengths."""
    beta = float(rng.choice([1.0, 0.1, 10 ** rng.uniform(-3, 3)]))
    return a_policy(rng), beta, strength(rng), strength(rng)


OPTIMA = "log-probs to -690, strengths 0 to 1e9, beta 1e-3 to 1e3"


@row("optima.vanilla", OPTIMA)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(40):
        base, beta, _g, _k = drawn(rng)
        right, scale = optimum(Exact(base), mpf(1), mpf(1), 1 / mpf(beta))
        found = optima.vanilla(base, beta).log_probs
        yield Pair(flat(found), right, scale, f"{base.log_probs!r} {beta!r}")


@row("optima.gibbs", "log-probs to -690, rewards to 1e9", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(40):
        base, beta, _g, _k = drawn(rng)
        reward = rng.normal(size=base.log_probs.size) * float(rng.choice([1.0, 1e9]))
        x = [
            v + mpf(float(r)) / mpf(beta) for v, r in zip(many(base.log_probs), reward, strict=True)
        ]
        right = [mpmath.log(p) for p in normalised([v - max(x) for v in x])]
        size = max(abs(mpf(float(r)) / mpf(beta)) for r in reward) / 1000
        found = optima.gibbs(base, reward, beta).log_probs
        yield Pair(flat(found), right, [size] * len(x), f"{base.log_probs!r} {reward!r} {beta!r}")


@row("optima.entropy_bonus", OPTIMA, INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(60):
        base, beta, g, _k = drawn(rng)
        g = g if rng.random() < 0.7 else -beta * float(rng.random())
        e, b = Exact(base), mpf(beta)
        if at % 2:
            power, reward = b / (b + mpf(g)), 1 / (b + mpf(g))
        else:
            power, reward = 1 - mpf(g) / b, 1 / b
        right, scale = optimum(e, power, power, reward)
        found = optima.entropy_bonus(base, beta, g, "self" if at % 2 else "base").log_probs
        yield Pair(flat(found), right, scale, f"{base.log_probs!r} {beta!r} {g!r} {at % 2}")


@row("optima.smoothing", OPTIMA + ", literal and centred", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(60):
        base, beta, g, k = drawn(rng)
        e, b = Exact(base), mpf(beta)
        a, c = 1 - mpf(g) / b, 1 + mpf(k) / b
        found = optima.smoothing(base, beta, g, k, centred=bool(at % 2)).log_probs
        if at % 2:
            logit = mpmath.log(e.C / e.F) + 1 / b
            laws = [powers_on(e, a, True), powers_on(e, c, False)]
            share_ = 1 / (1 + mpmath.exp(-logit))
            right = [
                mpmath.log(p * (share_ if r else 1 / (1 + mpmath.exp(logit))))
                for p, r in zip([u + v for u, v in zip(*laws, strict=True)], e.right, strict=True)
            ]
            scale: list[Any] = [mpf(0)] * len(right)
        else:
            right, scale = optimum(e, a, c, 1 / b)
        yield Pair(flat(found), right, scale, f"{base.log_probs!r} {beta!r} {g!r} {k!r} {at % 2}")


def powers_on(e: Exact, a: Any, part: bool) -> list[Any]:
    """The law of one part to the power a, 0 on the other."""
    x = [a * v for v, c in zip(e.log_pi, e.right, strict=True) if c is part]
    law_ = iter(normalised([v - max(x) for v in x]))
    return [next(law_) if c is part else mpf(0) for c in e.right]


@row("optima.iterated", "log-probs to -30, strengths to 2 beta, up to 20 rounds", INPUT)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(30):
        base = Policy.from_logits(3 * rng.normal(size=5), np.arange(5) < 3)
        beta, rounds = float(rng.choice([1.0, 0.3])), int(rng.integers(1, 21))
        g, k = 2 * beta * float(rng.random()), 0.1 * beta * float(rng.random())
        x = many(base.log_probs)
        a, c = 1 - mpf(g) / mpf(beta), 1 + mpf(k) / mpf(beta)
        sizes = mpf(0)
        for _ in range(rounds):
            log_pi = [mpmath.log(p) for p in normalised(x)]
            x = [
                a * v + 1 / mpf(beta) if r else c * v
                for v, r in zip(log_pi, base.correct, strict=True)
            ]
            sizes += max(abs(v) for v in x)
        right = [mpmath.log(p) for p in normalised(x)]
        found = optima.iterated(base, beta, g, k, steps=rounds).log_probs
        scale = [sizes * mpf(c) ** rounds / 1000] * 5
        yield Pair(flat(found), right, scale, f"{base.log_probs!r} {beta!r} {g!r} {k!r} {rounds}")


# --- length ----------------------------------------------------------------------------------


@row("length.fixed_point", "lengths 1 to 10^6, three reductions, C from 1e-300")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for at in range(60):
        reduction = ("sum", "mean", "spread")[at % 3]
        lengths = np.floor(10 ** rng.uniform(0, 6, size=int(rng.integers(1, 7))))
        c = chance(rng)
        found, rate = length.fixed_point(lengths, reduction, c)  # type: ignore[arg-type]
        weights = [v ** (at % 3) for v in many(lengths)]
        with mpmath.workdps(60):
            unit, exact = min(weights), mpf(float(rate)) * min(weights)
            ratios = [w / unit for w in weights]
            for _ in range(5):
                terms = [mpmath.exp(-exact * w) for w in ratios]
                rise = mpmath.log(mpmath.fsum(terms) / mpf(c))
                exact += rise * mpmath.fsum(terms) / mean(terms, ratios)
        right = [exact / unit, *(-exact / unit * w for w in weights)]
        yield Pair(flat(rate, found), right, None, f"{lengths!r} {reduction} {c!r}")


# --- flows -----------------------------------------------------------------------------------


@row("flows.softmax_pg_step", "logits to -690, steps to 1e9", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p, eta = a_policy(rng), float(rng.choice([0.3, -2.0, 10 ** rng.uniform(-9, 9)]))
        e = Exact(p)
        moves = [mpf(eta) * u * (e.F if c else -e.C) for u, c in zip(e.pi, e.right, strict=True)]
        right = [v + m for v, m in zip(e.x, moves, strict=True)]
        scale = [max(abs(v), abs(m)) for v, m in zip(e.x, moves, strict=True)]
        found = flows.softmax_pg_step(p.log_probs, p.correct, eta)
        yield Pair(flat(found), right, scale, f"{p.log_probs!r} {eta!r}")


def orbit(e: Exact, x: Any) -> list[Any]:
    """log w where the likeliest correct logit has grown by x: A3, 1/w moved by -c on S, +d on F."""
    correct = [(u, c) for u, c in zip(e.pi, e.right, strict=True)]
    top = max(u for u, c in correct if c)
    shift = (1 - mpmath.exp(-x)) / top
    gains = [-mpmath.log(1 - shift * u) if u != top else x for u, c in correct if c]
    need, d = mpmath.fsum(gains), mpf(0)
    wrong = [u for u, c in correct if not c]
    for _ in range(400):
        short = need - mpmath.fsum(mpmath.log1p(d * u) for u in wrong)
        step = short / mpmath.fsum(u / (1 + d * u) for u in wrong)
        d += step
        if abs(step) <= mpf(10) ** -28 * d or not need:
            break
    grown = iter(gains)
    return [mpmath.log(u) + (next(grown) if c else -mpmath.log1p(d * u)) for u, c in correct]


def pace(e: Exact, x: Any, standardised: bool) -> Any:
    """dt/dx: the likeliest correct logit moves by u'(C) pi (1 - C)."""
    pi = normalised(orbit(e, x))
    wrong = mpmath.fsum(p for p, c in zip(pi, e.right, strict=True) if not c)
    best = e.pi.index(max(u for u, c in zip(e.pi, e.right, strict=True) if c))
    speed = pi[best] * wrong
    return mpmath.sqrt(wrong * (1 - wrong)) / speed if standardised else 1 / speed


@row(
    "flows.softmax_pg_flow",
    "equal answers: logit C(0) -600 to 600, t to 1e30; unequal ones; clock 1 and that of GRPO",
    INPUT,
)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    clock = utilities.limit("grpo").derivative
    for at in range(40):
        right, wrong = int(rng.integers(1, 30)), int(rng.integers(1, 30))
        mask = np.arange(right + wrong) < right
        log_q, log_f = (np.full(mask.size, -np.log(float(size))) for size in (right, wrong))
        p = Policy.from_parts(rng.uniform(-1, 1) * rng.choice([30.0, 600.0]), log_q, log_f, mask)
        e, t = Exact(p), float(10 ** rng.uniform(-3, 30))
        start, rate = mpmath.log(e.C / e.F), mpf(1) / right + mpf(1) / wrong
        found = flows.softmax_pg_flow(p, t, clock=clock if at % 2 else None)
        z = mpf(float(found.logit_C))
        for _ in range(6):
            # sinh(z/2) grows by rate t/4; e^z - e^-z + 2z by rate t.
            if at % 2:
                miss = mpmath.sinh(z / 2) - mpmath.sinh(start / 2) - rate * t / 4
                pull, at_start = mpmath.cosh(z / 2) / 2, mpmath.cosh(start / 2) / 2
            else:
                miss = 2 * (mpmath.sinh(z) - mpmath.sinh(start) + z - start) - rate * t
                pull, at_start = 2 * mpmath.cosh(z) + 2, 2 * mpmath.cosh(start) + 2
            z -= miss / pull
        scale = [abs(start) * at_start / pull / 1000 + mpf("0.001")]
        yield Pair(flat(found.logit_C), [z], scale, f"{p.logit_C!r} {right} {wrong} {t!r}")
    for at in range(6):
        p = Policy.from_logits(rng.normal(size=5) * (1 + at % 3), np.arange(5) < 3)
        t = float(10 ** rng.uniform(-1, 3))
        log_probs = flows.softmax_pg_flow(p, t, clock=clock if at % 2 else None).log_probs
        with mpmath.workdps(30):
            e = Exact(p)
            best = e.pi.index(max(u for u, c in zip(e.pi, e.right, strict=True) if c))
            now = many(log_probs)
            x = now[best] - mean([mpf(1) / 5] * 5, now) - e.x[best] + mean([mpf(1) / 5] * 5, e.x)
            pieces = mpmath.linspace(0, x, 2 + int(x))
            spent = mpmath.quad(partial(pace, e, standardised=bool(at % 2)), pieces, maxdegree=5)
            x += (mpf(t) - spent) / pace(e, x, bool(at % 2))
            exact = [mpmath.log(v) for v in normalised(orbit(e, x))]
        yield Pair(flat(log_probs), exact, None, f"{p.log_probs!r} {t!r} {at % 2}")


#: Gauss points a step of the reference solver, its digits, and the growth of its steps.
_POINTS, _SOLVED, _GROWTH = 12, 30, 1.5


def collocation() -> tuple[list[Any], Any]:
    """(nodes in (0, 1), A (s, s)) of Gauss collocation."""
    guess, _ = np.polynomial.legendre.leggauss(_POINTS)
    nodes = [
        (1 + mpmath.findroot(lambda x: mpmath.legendre(_POINTS, x), mpf(float(g)))) / 2
        for g in guess
    ]
    powers_ = mpmath.matrix(_POINTS, _POINTS)
    for k in range(_POINTS):
        for at, c in enumerate(nodes):
            powers_[at, k] = c**k
    integrals = mpmath.matrix(_POINTS, _POINTS)
    for at, c in enumerate(nodes):
        for k in range(_POINTS):
            integrals[at, k] = c ** (k + 1) / (k + 1)
    a = integrals * powers_**-1
    ends = mpmath.matrix([[mpf(1) / (k + 1) for k in range(_POINTS)]]) * powers_**-1
    rows_ = [[a[i, j] for j in range(_POINTS)] for i in range(_POINTS)]
    return nodes, np.array([*rows_, [ends[0, j] for j in range(_POINTS)]], dtype=object)


def solved(
    field: Callable[[Any, list[Any]], list[Any]], start: list[Any], t: float, first: float
) -> list[Any]:
    """y(t) of y' = field(t, y): Gauss collocation in 30 digits on steps that grow from ``first``.

    The Newton matrix is in float64: it only has to make the residual in 30 digits shrink.
    """
    nodes, table = collocation()
    a, size = table[:-1], len(start)
    y, now, h = np.array(start, dtype=object), mpf(0), mpf(first)
    while now < t:
        h = min(h, mpf(t) - now)
        tiny = mpf(10) ** -12
        columns = []
        for k in range(size):
            bump = np.array([tiny if i == k else mpf(0) for i in range(size)], dtype=object)
            up, down = field(now, list(y + bump)), field(now, list(y - bump))
            columns.append([float((u - d) / (2 * tiny)) for u, d in zip(up, down, strict=True)])
        matrix = np.eye(_POINTS * size) - float(h) * np.kron(a.astype(float), np.array(columns).T)
        inverse = np.linalg.inv(matrix)
        stages = np.array([y] * _POINTS, dtype=object)
        for _ in range(80):
            slopes = np.array(
                [field(now + h * c, list(v)) for c, v in zip(nodes, stages, strict=True)],
                dtype=object,
            )
            miss = y + h * a.dot(slopes) - stages
            largest = max(abs(v) for v in miss.ravel())
            scaled = (miss / largest if largest else miss).astype(float).ravel()
            step = (inverse @ scaled).reshape(_POINTS, size)
            stages = stages + np.array([[mpf(v) * largest for v in r] for r in step], dtype=object)
            if largest * float(np.max(np.abs(step))) < mpf(10) ** -20:
                break
        else:
            raise RuntimeError("the reference solver does not converge")
        slopes = np.array(
            [field(now + h * c, list(v)) for c, v in zip(nodes, stages, strict=True)], dtype=object
        )
        y, now, h = y + h * table[-1].dot(slopes), now + h, h * mpf(_GROWTH)
    return list(y)


#: (g_correct, g_incorrect, t, centred).
FLOWS = (
    (0.0, 0.0, 3.0, True),
    (0.7, 0.2, 4.0, False),
    (3.0, 1.0, 20.0, True),
    (1e3, 0.0, 5.0, True),
    (1e3, 10.0, 1.0, False),
    (1e9, 0.0, 1.0, True),
)


@row("flows.smoothing_flow", "three and four answers, strengths 0 to 1e9, literal and centred")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for g, k, t, centred in FLOWS:
        size = 3 if g > 10 else 4
        p = Policy.from_logits(rng.normal(size=size), np.arange(size) < 2)
        found = flows.smoothing_flow(p, t, g, k, centred=centred)

        def field(
            _t: Any, theta: list[Any], p: Policy = p, how: tuple[Any, ...] = (g, k, centred)
        ) -> list[Any]:
            e = Exact.__new__(Exact)
            e.right = [bool(c) for c in p.correct]
            e.pi = normalised(theta)
            e.log_pi = [mpmath.log(v) for v in e.pi]
            e.C = mpmath.fsum(v for v, c in zip(e.pi, e.right, strict=True) if c)
            e.F = mpmath.fsum(v for v, c in zip(e.pi, e.right, strict=True) if not c)
            middle = mpf(0)
            if how[2]:
                middle = (
                    mpmath.fsum(v * w for v, w, c in zip(e.pi, e.log_pi, e.right, strict=True) if c)
                    / e.C
                )
            a = [
                1 - mpf(how[0]) * (w - middle) if c else mpf(how[1]) * w
                for w, c in zip(e.log_pi, e.right, strict=True)
            ]
            over = mean(e.pi, a)
            return [v * (b - over) for v, b in zip(e.pi, a, strict=True)]

        with mpmath.workdps(_SOLVED):
            theta = solved(field, many(p.log_probs), t, 0.05 / max(1.0, g, k))
            right = [mpmath.log(v) for v in normalised(theta)]
        yield Pair(flat(found.log_probs), right, None, f"{p.log_probs!r} {(g, k, t, centred)}")


@row("flows.natural_gradient_flow", "strengths 0 to 1e9, literal and centred")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for g, t in ((0.0, 3.0), (0.7, 1e3), (1e3, 10.0), (1e9, 1e-9), (1e9, 1e3)):
        p = a_policy(rng, 30.0)
        e, a = Exact(p), mpmath.exp(-mpf(g) * mpf(t))
        odds = mpmath.exp(mpmath.log(e.C / e.F) + mpf(t))
        laws = [u + v for u, v in zip(powers_on(e, a, True), e.f, strict=True)]
        right = [
            mpmath.log(v * (odds if c else 1) / (1 + odds))
            for v, c in zip(laws, e.right, strict=True)
        ]
        found = flows.natural_gradient_flow(p, g, 0.0, t, centred=True)
        yield Pair(flat(found.log_probs), right, None, f"{p.log_probs!r} {g!r} {t!r}")
    for g, k, t in ((0.7, 0.0, 3.0), (0.5, 0.3, 2.0), (1e3, 0.0, 1.0), (0.0, 2.0, 1.5)):
        p = Policy.from_logits(rng.normal(size=5), np.arange(5) < 3)
        found = flows.natural_gradient_flow(p, g, k, t)
        with mpmath.workdps(_SOLVED):
            e = Exact(p)

            def speed(
                now: Any, z: list[Any], e: Exact = e, g: float = g, k: float = k
            ) -> list[Any]:
                q = powers_on(e, mpmath.exp(-mpf(g) * now), True)
                f = powers_on(e, mpmath.exp(mpf(k) * now), False)
                up = mpf(g) * (entropy(q) + mpmath.log1p(mpmath.exp(-z[0])))
                return [1 + up + mpf(k) * (entropy(f) + mpmath.log1p(mpmath.exp(z[0])))]

            z = solved(speed, [mpmath.log(e.C / e.F)], t, 0.05 / max(1.0, g, k))[0]
        yield Pair(flat(found.logit_C), [z], None, f"{p.log_probs!r} {(g, k, t)}")


# --- memory and shared parameters ------------------------------------------------------------


@row("memory.replay_gradient", "log-probs to -690, strengths to 1e9", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p, g = a_policy(rng), strength(rng)
        e = Exact(p)
        bank = p.correct & (rng.random(p.correct.shape) < 0.7)
        bank = bank if bank.any() else p.correct
        m = int(bank.sum())
        right = [g * (mpf(int(b)) / m - pi) for b, pi in zip(bank, e.pi, strict=True)]
        scale = [g * max(mpf(int(b)) / m, pi) for b, pi in zip(bank, e.pi, strict=True)]
        yield Pair(flat(memory.replay_gradient(p, bank, g)), right, scale, f"{p.log_probs!r} {g!r}")


def _rest(rng: np.random.Generator) -> tuple[float, int, int]:
    ratio = float(10 ** rng.uniform(-9, 3))
    seen, unseen = (int(10 ** rng.uniform(0, 6)) for _ in range(2))
    return ratio, seen, unseen


def _odds(ratio: float, seen: int, unseen: int) -> Any:
    r = mpf(ratio)
    return -(r + mpmath.lambertw(r * unseen / seen * mpmath.exp(-r)).real)


@row("memory.replay_log_odds", "ratios 1e-9 to 1e3, banks to 10^6")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        at = _rest(rng)
        yield Pair(flat(memory.replay_log_odds(*at)), [_odds(*at)], None, repr(at))


@row("memory.replay_limit", "ratios 1e-9 to 1e3, banks to 10^6", "the value, or log M")
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        _, seen, unseen = at = _rest(rng)
        odds = _odds(*at)
        mass = mpmath.log(seen + unseen * mpmath.exp(odds))
        scale = mpmath.log(seen + unseen)
        found = memory.replay_limit(*at)
        yield Pair(list(found), [-mass, odds - mass], [scale, scale], repr(at))


@row("shared.entropy_gradient", "log-probs to -690", TERMS)
def _(rng: np.random.Generator) -> Iterator[Pair]:
    for _ in range(60):
        p = a_policy(rng)
        e = Exact(p)
        h = entropy(e.q)
        right = [-q * w for q, w in zip(e.q, e.w, strict=True)]
        scale = [q * max(abs(mpmath.log(q)), h) if q else mpf(0) for q in e.q]
        yield Pair(flat(shared.entropy_gradient(p)), right, scale, repr(p.log_probs))
