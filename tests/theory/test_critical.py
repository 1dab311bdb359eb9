"""Critical strengths (C5) against autograd and against the flows they are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from diffsmooth.theory.critical import (
    FORMS,
    Form,
    critical_strength,
    entropy_rate,
    sharpening_ratio,
)
from diffsmooth.theory.diversity import shannon
from diffsmooth.theory.flows import smoothing_flow
from diffsmooth.theory.policy import Policy
from tests.strategies import policies

EPS = float(np.finfo(np.float64).eps)
forms = st.sampled_from(FORMS)
strengths = st.floats(0.0, 3.0)
#: Policies whose probabilities all matter in float64.
mild = policies(2, 7, least_log=-12.0)


def entropy_slope(policy: Policy, g: float, form: Form) -> tuple[float, float]:
    """(dH(q)/dt, scale of its terms) by autograd of two surrogates: an independent transcription.

    The flow is the gradient of E[stop(A) log pi]; H(q) is differentiated along it.
    """
    theta = torch.tensor(policy.log_probs, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(np.array(policy.correct))
    log_pi = torch.log_softmax(theta, 0)
    pi = log_pi.exp()
    share = pi[mask].sum()
    reward = mask.double()
    if form.startswith("advantage"):
        reward = (reward - share) / torch.sqrt(share * (1 - share))
    smooth = -log_pi
    if form.endswith("centred"):
        smooth = smooth - (pi[mask] * smooth[mask]).sum() / share
    advantage = (reward + g * mask.double() * smooth).detach()
    surrogate = (pi.detach() * advantage * log_pi).sum()
    (speed,) = torch.autograd.grad(surrogate, theta, retain_graph=True)
    q = pi[mask] / share
    entropy = -(q * torch.log(q)).sum()
    (slope,) = torch.autograd.grad(entropy, theta)
    terms = speed * slope
    size = float(advantage.abs().max()) * float((pi.detach() * slope.abs()).sum())
    return float(terms.sum()), size


@given(mild, strengths, forms)
def test_rate_is_the_derivative_along_the_flow(policy: Policy, g: float, form: Form) -> None:
    found = float(entropy_rate(policy, g, form))
    expected, size = entropy_slope(policy, g, form)
    # log-probs up to 12, standardised rewards: relative errors of some dozen eps in each term.
    slack = 200 * policy.log_probs.size * EPS * (size + 1)
    assert found == pytest.approx(expected, rel=0, abs=slack)


@given(mild, forms, st.floats(0.05, 0.95))
def test_the_threshold_is_where_the_rate_changes_sign(
    policy: Policy, form: Form, share: float
) -> None:
    assume(float(sharpening_ratio(policy)) < 1e6)
    critical = float(critical_strength(policy, form))
    spread = np.ptp(policy.log_q[policy.correct])
    assume(spread > 1e-3)
    if np.isinf(critical):
        # No strength works, and a larger one makes it worse.
        assert not form.endswith("centred")
        rates = [float(entropy_rate(policy, g, form)) for g in (0.0, 1.0, 10.0)]
        assert rates[0] < 0
        assert rates[2] <= rates[1] + 1e-12
        assert rates[1] <= rates[0] + 1e-12
        return
    assert critical > 0
    assert float(entropy_rate(policy, critical * share, form)) < 0
    assert float(entropy_rate(policy, critical * (2 - share), form)) > 0


@pytest.mark.parametrize("form", FORMS)
def test_entropy_moves_as_the_threshold_says(form: Form) -> None:
    """The flow itself, a short way: H(q) falls just below g* and rises just above."""
    policy = Policy.from_logits([0.4, 0.0, -0.5, 0.3, 0.1], np.arange(5) < 3)
    critical = float(critical_strength(policy, form))
    options: dict[str, Any] = {
        "centred": form.endswith("centred"),
        "standardised": form.startswith("advantage"),
    }
    before = float(shannon(policy.log_q))

    def change(g: float, t: float) -> float:
        return float(shannon(smoothing_flow(policy, t, g, **options).log_q)) - before

    below, above = 0.9 * critical, 1.1 * critical
    assert change(below, 1e-3) < 0 < change(above, 1e-3)
    # Richardson: what is left of the difference quotient is of order t^2.
    quotient = 2 * change(below, 5e-4) / 5e-4 - change(below, 1e-3) / 1e-3
    assert quotient == pytest.approx(float(entropy_rate(policy, below, form)), rel=2e-3)


def test_where_no_literal_strength_works() -> None:
    """Low C and a nearly uniform q: the uncentred term's push on C outweighs equalisation."""
    probs = np.array([0.003, 0.002, 0.495, 0.5])
    policy = Policy.from_probs(probs, np.array([True, True, False, False]))
    assert critical_strength(policy, "literal") == np.inf
    assert critical_strength(policy, "advantage") == np.inf
    assert np.isfinite(critical_strength(policy, "centred"))
    before = float(shannon(policy.log_q))
    ends = [float(shannon(smoothing_flow(policy, 1.0, g).log_q)) for g in (0.0, 1.0, 5.0)]
    assert before > ends[0] > ends[1] > ends[2]


def test_uniform_and_nearly_uniform_laws_have_the_limit() -> None:
    mask = np.array([True, True, False])
    uniform = Policy.from_probs([0.25, 0.25, 0.5], mask)
    assert critical_strength(uniform) == 0.5
    assert entropy_rate(uniform, 1.0) == 0.0
    for step in (1e-3, 1e-6, 1e-9):
        policy = Policy.from_logits([step, 0.0, np.log(2.0)], mask)
        # K1/E = 1 + O(step); w itself is rounded by eps.
        assert float(sharpening_ratio(policy)) == pytest.approx(1.0, abs=2 * step + 8 * EPS / step)


@given(policies())
def test_extreme_policies_have_a_finite_centred_threshold(policy: Policy) -> None:
    found = float(critical_strength(policy))
    assert found > 0
    assert np.isfinite(found) or float(sharpening_ratio(policy)) == np.inf


@given(policies(batch=4, least_log=-30.0), forms)
def test_a_batch_is_its_rows(policy: Policy, form: Form) -> None:
    whole = critical_strength(policy, form), entropy_rate(policy, 0.3, form)
    for row in range(4):
        alone = Policy(policy.log_probs[row], policy.correct[row])
        assert critical_strength(alone, form) == whole[0][row]
        assert entropy_rate(alone, 0.3, form) == whole[1][row]


GOOD = Policy.from_probs([0.5, 0.5], [True, False])
BAD: list[tuple[str, Callable[[], object]]] = [
    ("form", lambda: critical_strength(GOOD, "Centred")),  # type: ignore[arg-type]
    ("form", lambda: entropy_rate(GOOD, 1.0, "eq6")),  # type: ignore[arg-type]
    ("g_correct", lambda: entropy_rate(GOOD, -1.0)),
    ("g_correct", lambda: entropy_rate(GOOD, np.nan)),
]


@pytest.mark.parametrize(("name", "call"), BAD)
def test_errors_name_their_argument(name: str, call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()
