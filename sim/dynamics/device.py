"""Exact steps in torch: the same numbers on a GPU, by a flag."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from diffsmooth.sim.dynamics.compiled import linear
from diffsmooth.sim.policies import Float
from diffsmooth.theory.rules import Rule

if TYPE_CHECKING:
    import torch


def exact_steps_on(
    device: str,
    logits: Float,
    verified: Float,
    rules: Sequence[Rule],
    *,
    rates: Sequence[float] | Float,
    count: int,
    group_size: int | None,
) -> Float:
    """``count`` exact steps on a torch device in float64: logits (L, N, K) -> (L, N, K).

    verified (N, K) or (1, K).  Raises ValueError on a device that torch does not find or logits
    that are not finite, NoClosedFormError as ``compiled.linear``.
    """
    import torch

    if not np.isfinite(logits).all():
        raise ValueError("logits: must be finite (no padding here)")
    where = _device(device)
    reward = torch.as_tensor(np.asarray(verified, dtype=np.float64), device=where)
    out = np.empty_like(logits)
    for copy, (rule, rate) in enumerate(zip(rules, rates, strict=True)):
        form = linear(rule, group_size)
        theta = torch.as_tensor(logits[copy], device=where).clone()
        coefficients = [float(c) for c in form.coefficients]
        # As sim.dynamics.expected.kept_share: a sum of terms of one sign.
        shares = [m / (m + 1) for m in range(form.group_size or 0)]
        for _ in range(count):
            log_probs = torch.log_softmax(theta, dim=-1)
            pi = torch.exp(log_probs)
            mass = pi * reward
            success = torch.clamp(mass.sum(-1, keepdim=True), max=1.0)
            rest = torch.clamp((pi * (1.0 - reward)).sum(-1, keepdim=True), max=1.0)
            right = form.right * log_probs
            if form.centred:
                centre = (mass * log_probs).sum(-1, keepdim=True) / success
                right = form.right * (log_probs - centre)
                if form.group_size:
                    right = right * _bernstein(shares, success, rest)
            push = _bernstein(coefficients, success, rest)
            advantage = reward * (push + right) + (1.0 - reward) * form.wrong * log_probs
            theta += float(rate) * pi * (advantage - (pi * advantage).sum(-1, keepdim=True))
        out[copy] = theta.cpu().numpy()
    return out


def _device(name: str) -> torch.device:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: torch knows no {name!r}; use cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: torch finds no GPU here; use --device cpu")
    return device


def _bernstein(coefficients: Sequence[float], x: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """theory.utilities.bernstein for tensors, where the polynomial has some degree."""
    import torch

    rows = [torch.full_like(x, c) for c in coefficients]
    while len(rows) > 1:
        rows = [rest * a + x * b for a, b in pairwise(rows)]
    return rows[0]
