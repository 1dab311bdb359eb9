"""What is measured of a policy: correctness, pass@k, diversity, distance from the base, losses.

All are exact, computed from the law over answers and averaged over prompts: from (L, S, P, K) to
(L, S).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffsmooth.sim.dynamics.models import Float
from diffsmooth.sim.environment import Environment

#: k of pass@k; 1..256 by doubling.
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
#: A correct answer drawn less than once in a million is lost for good.
LOST_BELOW = 1e-6

Measure = Callable[[Environment, Float], Float]


def pass_at_k(success: Float, k: int) -> Float:
    """1 - (1 - C)^k, elementwise; keeps its digits where C is small."""
    with np.errstate(divide="ignore"):  # C = 1 gives log 0 = -inf, and pass@k = 1
        return np.asarray(-np.expm1(k * np.log1p(-np.minimum(success, 1.0))))


def success(environment: Environment, log_probs: Float, *, test: bool = False) -> Float:
    """(L, S, prompts) chance of a correct answer on the train or on the test prompts."""
    prompts = environment.test if test else environment.train
    right = environment.test_correct if test else environment.correct
    return np.asarray((np.exp(log_probs) * right)[:, :, prompts].sum(-1))


def class_masses(environment: Environment, log_probs: Float) -> Float:
    """(L, S, P, classes) probability of each class of correct answers; 0 where there is none."""
    mass = np.exp(log_probs) * environment.correct
    identity = np.arange(environment.classes.shape[-1])
    if np.array_equal(environment.classes, np.broadcast_to(identity, environment.classes.shape)):
        return np.asarray(mass)
    one_hot = (environment.classes[..., None] == np.arange(environment.classes.max() + 1)) * 1.0
    return np.asarray((mass[..., None, :] @ one_hot)[..., 0, :])


def correct_law(environment: Environment, log_probs: Float, *, classes: bool = False) -> Float:
    """(L, S, P, ...) log q: the law of correct answers (or of their classes), -inf outside."""
    if classes:
        with np.errstate(divide="ignore"):
            joint = np.log(class_masses(environment, log_probs))
    else:
        joint = np.where(environment.correct, log_probs, -np.inf)
    top = joint.max(-1, keepdims=True)
    return np.asarray(joint - top - np.log(np.exp(joint - top).sum(-1, keepdims=True)))


def measure(environment: Environment, log_probs: Float) -> dict[str, Float]:
    """Every measure by name, each (L, S).

    pass@k and test_pass@k for k in KS; entropy (nats, of q over answers) and class_entropy;
    effective (effective number of classes); distinct@16 (expected number of classes seen among 16
    draws); kl (nats, to the base); mode_share; lost (share of correct answers below 1e-6).
    """
    from diffsmooth.theory import diversity

    e = environment
    train = np.flatnonzero(e.train)
    out: dict[str, Float] = {}
    for prefix, test in (("", False), ("test_", True)):
        chance = success(e, log_probs, test=test)
        for k in KS:
            out[f"{prefix}pass@{k}"] = pass_at_k(chance, k).mean(-1)
    log_q = correct_law(e, log_probs)[:, :, train]
    log_classes = correct_law(e, log_probs, classes=True)[:, :, train]
    mass = class_masses(e, log_probs)[:, :, train]
    out["entropy"] = diversity.shannon(log_q).mean(-1)
    out["class_entropy"] = diversity.shannon(log_classes).mean(-1)
    out["effective"] = diversity.effective_number(log_classes).mean(-1)
    out["mode_share"] = np.exp(log_classes.max(-1)).mean(-1)
    out["distinct@16"] = pass_at_k(mass, 16).sum(-1).mean(-1)
    out["kl"] = divergence(log_probs, e.base)[:, :, train].mean(-1)
    held = (log_probs > np.log(LOST_BELOW)) & e.correct
    counts = e.correct[:, train].sum(-1)
    out["lost"] = (1.0 - held[:, :, train].sum(-1) / counts).mean(-1)
    return out


def divergence(log_probs: Float, base: Float) -> Float:
    """KL(pi || b) in nats over the last axis; padding (-inf in both) counts nothing."""
    probability = np.exp(log_probs)
    valid = np.isfinite(base)
    ratio = np.where(valid, log_probs, 0.0) - np.where(valid, base, 0.0)
    return np.asarray((probability * np.where(probability > 0, ratio, 0.0)).sum(-1))


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
