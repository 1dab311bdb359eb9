"""Gradients of the three models against autograd; answers of a tree against its paths."""

from __future__ import annotations

import numpy as np
import pytest

from diffsmooth.sim.policies import Shared, Tabular, Tree, log_softmax, token_gradient
from diffsmooth.sim.regimes.tree import local_law, paths


def models():
    rng = np.random.default_rng(0)
    base = log_softmax(rng.standard_normal((2, 3, 5)))
    padded = base.copy()
    padded[..., -1] = -np.inf
    nodes, tokens, mask = paths(2, 2)
    return {
        "tabular": Tabular(base),
        "padded": Tabular(log_softmax(padded)),
        "shared": Shared(base, rng.integers(0, 4, (2, 3, 5)), 4),
        "tree": Tree(log_softmax(rng.standard_normal((2, 3, 3, 3))), nodes, tokens, mask),
    }


@pytest.mark.parametrize("name", models())
def test_gradient_against_autograd(name):
    import torch

    model = models()[name]
    rng = np.random.default_rng(1)
    parameters = model.start(2)
    parameters = parameters + 0.3 * rng.standard_normal(parameters.shape)
    local = model.local(parameters)
    log_probs = model.answers(local)
    weights = np.where(np.isfinite(log_probs), rng.standard_normal(log_probs.shape), 0.0)
    got = model.gradient(np.exp(local), model.table(weights))

    x = torch.tensor(parameters, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    copies, seeds, prompts, size = log_probs.shape
    for c, s, p, k in np.ndindex(copies, seeds, prompts, size):
        if np.isfinite(log_probs[c, s, p, k]):
            total = total + weights[c, s, p, k] * _log_prob(model, x, (c, s, p), k)
    total.backward()
    np.testing.assert_allclose(got, x.grad.numpy(), atol=1e-12)


def _log_prob(model, x, where, k):
    import torch

    c, s, p = where
    if isinstance(model, Shared):
        logits = torch.tensor(model.base[s, p]) + x[c, s, model.feature[s, p]]
        return torch.log_softmax(logits, -1)[k]
    if isinstance(model, Tabular):
        return torch.log_softmax(x[c, s, p], -1)[k]
    rows = torch.log_softmax(x[c, s, p], -1)
    steps = zip(model.nodes[k], model.tokens[k], model.mask[k], strict=True)
    return sum(rows[n, t] for n, t, there in steps if there)


def test_a_tree_s_answers_are_a_law():
    model = models()["tree"]
    log_probs = model.log_probs(model.start(1))
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1.0)
    assert len(paths(3, 3)[0]) == 1 + 3 + 9 + 27


def test_every_law_over_answers_is_autoregressive():
    nodes, tokens, mask = paths(3, 2)
    law = log_softmax(np.random.default_rng(2).standard_normal((4, len(nodes))))
    local = local_law(law, nodes, tokens, mask, 3)
    model = Tree(local[None], nodes, tokens, mask)
    np.testing.assert_allclose(model.log_probs(model.start(1))[0, 0], law, atol=1e-12)


def test_the_layout_of_a_law_changes_no_gradient():
    """Laws of shared features with more than 8 answers are not C-contiguous (strategies/18 on)."""
    law = np.full((2, 3, 1, 4), 0.25)
    node, where, weight = np.array([0, 4]), np.array([1, 18]), np.array([1.0, -2.0])
    expected = token_gradient(law.copy(), node, where, weight)
    got = token_gradient(np.asfortranarray(law), node, where, weight)
    np.testing.assert_array_equal(got, expected)
