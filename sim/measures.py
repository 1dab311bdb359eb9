"""What is measured of a policy: correctness, pass@k, diversity, distance from the base, losses.

All are exact, computed from the law over answers and averaged over prompts: from (L, S, P, K) to
(L, S).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Float

#: k of pass@k; 1..256 by doubling.
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: A correct answer drawn less than once in a million is lost for good.
LOST_BELOW = 1e-6

Measure = Callable[[Environment, Float], Float]


def pass_at_k(success: Float, k: int) -> Float:
    """1 - (1 - C)^k, elementwise; keeps its digits where C is small."""
    with np.errstate(divide="ignore"):  # C = 1 gives log 0 = -inf, and pass@k = 1
        return np.asarray(-np.expm1(k * np.log1p(-np.minimum(success, 1.0))))


def success(environment: Environment, probabilities: Float, *, test: bool = False) -> Float:
    """(L, S, prompts) chance of a correct answer on the train or on the test prompts."""
    prompts = environment.test if test else environment.train
    right = environment.test_correct if test else environment.correct
    if not prompts.all():
        probabilities, right = probabilities[:, :, prompts], right[:, prompts]
    return np.asarray(np.einsum("lspk,spk->lsp", probabilities, right * 1.0))


def correct_law(environment: Environment, log_probs: Float) -> Float:
    """(L, S, P, K) log q: the law of correct answers, -inf outside."""
    return _normalised(np.where(environment.correct, log_probs, -np.inf))


def _normalised(joint: Float) -> Float:
    shifted = joint - joint.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return np.asarray(shifted)


def measure(environment: Environment, log_probs: Float) -> dict[str, Float]:
    """Every measure by name, each (L, S).

    pass@k and test_pass@k for k in KS; entropy (nats, of q over answers) and class_entropy;
    effective (effective number of classes); distinct@16 (expected number of classes seen among 16
    draws); kl (nats, to the base); mode_share; lost (share of correct answers below 1e-6).
    """
    from diffsmooth.theory import diversity
    from diffsmooth.theory.policy import relative_entropy

    e, probabilities = environment, np.exp(log_probs)
    out: dict[str, Float] = {}
    for prefix, test in (("", False), ("test_", True)):
        chance = success(e, probabilities, test=test)
        for k in KS:
            out[f"{prefix}pass@{k}"] = pass_at_k(chance, k).mean(-1)
    right = e.solutions
    log_right = np.where(right.there, right.of(log_probs), -np.inf)
    log_q = _normalised(log_right)
    entropy = diversity.shannon(log_q).mean(-1)
    if right.single:
        log_classes, class_entropy = log_q, entropy
    else:
        with np.errstate(divide="ignore"):
            log_classes = _normalised(np.log(right.by_class(np.exp(log_q))))
        class_entropy = diversity.shannon(log_classes).mean(-1)
    mass = right.by_class(np.exp(log_right))
    counts = right.there.sum(-1)
    out["entropy"], out["class_entropy"] = entropy, class_entropy
    out["effective"] = diversity.effective_number(log_classes).mean(-1)
    out["mode_share"] = np.exp(log_classes.max(-1)).mean(-1)
    out["distinct@16"] = pass_at_k(mass, 16).sum(-1).mean(-1)
    kl = relative_entropy(log_probs, e.base)  # padding is -inf in both and counts nothing
    out["kl"] = (kl if e.train.all() else kl[:, :, e.train]).mean(-1)
    out["lost"] = (1.0 - (log_right > np.log(LOST_BELOW)).sum(-1) / counts).mean(-1)
    return out


def collapse_time(steps: Float, entropy: Float, share: float = 0.5) -> Float:
    """First step, interpolated, at which the entropy is below ``share`` of its start; inf if never.

    steps (T,), entropy (T, ...) along the path.
    """
    below = entropy < share * entropy[0]
    first = below.argmax(0)
    hit = below.any(0)
    index = np.maximum(first, 1)
    high = np.take_along_axis(entropy, (index - 1)[None], 0)[0]
    low = np.take_along_axis(entropy, index[None], 0)[0]
    gap = np.where(high > low, high - low, 1.0)
    part = np.clip((high - share * entropy[0]) / gap, 0.0, 1.0)
    time = steps[index - 1] + part * (steps[index] - steps[index - 1])
    return np.asarray(np.where(hit, time, np.inf))
