"""``tree``: autoregressive tables, where answers have tokens and unequal lengths.

At every node the policy takes one of ``branching`` children or stops; at the last depth it must
stop.  Token-level remedies and the effects of length (theory.md C6) live here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np

from diffsmooth.sim.environment import Environment
from diffsmooth.sim.policies import Bool, Float, Int, log_softmax
from diffsmooth.sim.policies import Tree as TreeModel
from diffsmooth.sim.regimes.base import Regime
from diffsmooth.sim.regimes.laws import logit, surviving, two_part_law


@lru_cache(maxsize=32)
def paths(depth: int, branching: int) -> tuple[Int, Int, Bool]:
    """(nodes, tokens, mask), each (K, depth): every answer of the tree.

    Token ``branching`` is the stop.  An answer of ``depth`` children has no stop token.
    """
    prefixes = [tuple(p) for n in range(depth + 1) for p in product(range(branching), repeat=n)]
    number = {p: i for i, p in enumerate(p for p in prefixes if len(p) < depth)}
    nodes = np.zeros((len(prefixes), depth), dtype=np.int64)
    tokens = np.zeros_like(nodes)
    mask = np.zeros(nodes.shape, dtype=np.bool_)
    for row, prefix in enumerate(prefixes):
        taken = [*prefix, branching][:depth]
        for t, token in enumerate(taken):
            nodes[row, t], tokens[row, t], mask[row, t] = number[prefix[:t]], token, True
    return nodes, tokens, mask


def local_law(answers: Float, nodes: Int, tokens: Int, mask: Bool, vocabulary: int) -> Float:
    """(P, n, V) local log-probs of the autoregressive policy with the law ``answers`` (P, K).

    Every law over the answers of a tree has exactly one; a token on no path gets -inf.
    """
    prompts, size = answers.shape[0], int(nodes.max()) + 1
    mass = np.zeros((prompts, size, vocabulary))
    row, _ = np.nonzero(mask)
    for prompt in range(prompts):
        np.add.at(mass[prompt], (nodes[mask], tokens[mask]), np.exp(answers[prompt, row]))
    with np.errstate(divide="ignore"):
        return log_softmax(np.log(mass))


@dataclass(frozen=True)
class Tree(Regime):
    """A tree of given depth and branching; ``solutions`` correct answers of random lengths.

    skew
        Standard deviation of the base policy's logits at every node.
    """

    depth: int = 3
    branching: int = 3
    solutions: int = 6
    skew: float = 1.0
    correctness: float = 0.2
    prompts: int = 4
    spread: float = 0.5
    survive: float = 0.5

    name: ClassVar[str] = "tree"
    primary: ClassVar[str] = "test_pass@16"
    question: ClassVar[str] = "what do tokens and lengths change?"

    def __post_init__(self) -> None:
        for field in ("depth", "branching", "solutions"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}: must be at least 1, got {getattr(self, field)}")
        size = len(paths(self.depth, self.branching)[0])
        if self.solutions >= size:
            raise ValueError(f"solutions: must be below the {size} answers of the tree")
        logit(self.correctness)

    @classmethod
    def sweep(cls) -> Sequence[Tree]:
        grid = product(((2, 3), (3, 3), (4, 2)), (3, 8), (0.5, 1.5), (0.05, 0.2, 0.5))
        return [cls(*shape, m, skew, p) for shape, m, skew, p in grid]

    @property
    def axes(self) -> tuple[str, str]:
        return ("depth", "solutions")

    def draw(self, rng: np.random.Generator) -> Environment:
        nodes, tokens, mask = paths(self.depth, self.branching)
        size, count = len(nodes), int(nodes.max()) + 1
        logits = self.skew * rng.standard_normal((1, 1, self.prompts, count, self.branching + 1))
        raw = TreeModel(logits[0], nodes, tokens, mask)
        drawn = raw.log_probs(logits)[0, 0]
        correct = rng.random((self.prompts, size)).argsort(axis=1).argsort(axis=1) < self.solutions
        odds = logit(self.correctness) + self.spread * rng.standard_normal(self.prompts)
        law = two_part_law(drawn, correct, odds)
        local = local_law(law, nodes, tokens, mask, self.branching + 1)
        classes = np.broadcast_to(np.arange(size), correct.shape).copy()
        everyone = np.ones(self.prompts, dtype=np.bool_)
        return Environment(
            model=TreeModel(local[None], nodes, tokens, mask),
            correct=correct[None],
            test_correct=surviving(rng, correct, classes, self.survive)[None],
            verified=correct[None].astype(np.float64),
            classes=classes[None],
            lengths=mask.sum(axis=1),
            train=everyone,
            test=everyone,
        )
