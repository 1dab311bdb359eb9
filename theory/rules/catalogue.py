"""Every rule in one Markdown page: what it computes, what it reads, what it was compared with.

``python -m diffsmooth.theory.rules.catalogue > docs/rules.md`` writes the page of the
documentation; a test compares the two.  Formulas, sources and parameters are the code's own; what a
rule was compared with, and what differed, stands here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from diffsmooth.theory.rules import tokens
from diffsmooth.theory.rules.base import Rule
from diffsmooth.theory.rules.batch import GroupBatch
from diffsmooth.theory.rules.presets import NAMES, rule
from diffsmooth.theory.rules.smoothing import Smoothed

_HEAD = """# Rules

Every rule by its name: `rule(name, **strengths)` of `diffsmooth.theory.rules`,
`rule: {name: ...}` in a configuration, `--remedies` of the simulator (which has the rules of the
last table too). This page is the output of `python -m diffsmooth.theory.rules.catalogue`.

r reward, c = 1 on correct answers, w = 1 on incorrect ones, m and s the mean and deviation of the
rewards of a group of G answers, l the log-prob of an answer, x the smoothed quantity, A the
advantage of the base.

- **level**: `sequence`, an answer's advantage depends on that answer alone; `group`, on the other
  answers to its prompt too; `token`, one number a token.
- **base**: rules with a base take any other rule there, by name or as an object, and pass on to it
  the parameters that are not their own: `rule("f-grpo", base="dr-grpo")`, `rule("eq6", ddof=1)`,
  `rule("two-part", base="f-grpo", gamma=0.5)`.
- **ddof**: GRPO divides by the population deviation here (`ddof=0`, the paper's public code), by
  the sample deviation in TRL, verl and most code bases (`ddof=1`, a factor sqrt((G-1)/G)). Every
  rule over GRPO takes it.
"""

_KL = """
## KL, three times

| where | name | what it does |
|---|---|---|
| in the loss | `kl`; `beta` of the trainer | GRPO's k3 = e^d - d - 1, d = log(pi_ref/pi), \
undivided: a token gets beta (pi_ref/pi - 1) beside its advantage. Linear in beta. On-policy its \
gradient is that of -beta KL(pi_ref, pi), although its value estimates KL(pi, pi_ref) \
(statement N5). |
| in the reward | `kl-reward` | r - beta log(pi/pi_ref) before the base sees it. Over GRPO the \
deviation divides the KL too: in groups of one kind it *is* the reward, and its strength plays no \
part. Over a base that does not divide (`base="dr-grpo"`) it is linear in beta. |
| with an anchor | `mara` | the reward form with the anchor's bonus of the same beta, over \
Dr. GRPO. |

In the trainer the plain way to KL in the loss is `optimisation.beta`: TRL computes it afresh at
every update, while the rule `kl` is an advantage, from the policy that sampled, weighed and clipped
with the ratio later on. `kl`, `kl-reward` and `mara` need the reference's log-probs, which TRL
computes with `beta` > 0 only; its own KL then comes on top (1e-12 is enough to have them). From
log-probs of whole answers (B,) `kl` takes an answer for one token.
"""

_INSIDE = """
## Inside the loss

These select or reweigh tokens; the advantage comes from any rule above. Trainer: `clip_cov`,
`kl_cov`, `simko` beside the rule, and TRL's `epsilon_high`.

"""

_PAPER = "paper, Eq. 6; its public code"
_SAME = "none"
_PRESET = "none beyond rounding"


@dataclass(frozen=True)
class Compared:
    """What a rule was compared with, and the difference found."""

    code: str
    difference: str = _SAME


_COMPARED: dict[str, Compared] = {
    "vanilla": Compared("the formula"),
    "grpo": Compared("TRL, verl", "they divide by the sample deviation: `ddof=1` (eps 1e-4, 1e-6)"),
    "dr-grpo": Compared("the paper's formula; TRL's `scale_rewards=False`"),
    "rloo": Compared("the authors' formula; TRL"),
    "psr": Compared("the paper's formula; the code was not read"),
    "nsr": Compared("the paper's formula; the code was not read"),
    "w-reinforce": Compared("the paper's formula; the code was not read"),
    "pass-at-k": Compared("the paper's analytical form; the code was not read"),
    "pkpo": Compared(
        "the paper's listing; the code was not read", "scaled by k: unbiased for pass@k"
    ),
    "maxrl": Compared("the paper's formula; the code was not read"),
    "f-grpo": Compared(
        "the authors' formula",
        "over GRPO, DAPO and CISPO: one advantage, three losses (the engine's); any base here",
    ),
    "entropy-bonus": Compared(
        "the formula", "sequence form; the token form is TRL's `entropy_coef`"
    ),
    "entropy-penalty": Compared("the formula", "sequence form; the entropy bonus with g < 0"),
    "kl": Compared(
        "the paper's Eq. 4; TRL's and verl's `low_var_kl`",
        "verl clips k3 to [-10, 10]; here an overflow of pi_ref/pi is an error",
    ),
    "kl-reward": Compared("the paper's Eq. 2; verl's `kl_in_reward`", "a whole answer at once"),
    "unlikeliness": Compared(
        "the authors' trainer, `_compute_advantages`, with its `advantage_threshold`",
        "`ddof=1` there; ties take their mean rank here, an arbitrary order there",
    ),
    "ucpo": Compared("the paper's formula; the code was not read"),
    "relative": Compared("ours", "-"),
    "mara": Compared(
        "the paper's algorithm",
        "the KL is part of the rule; the threshold of a high reward is correctness",
    ),
    "eq6": Compared(_PAPER, _PRESET),
    "token": Compared("the public code of 2025-08", _PRESET),
    "spread": Compared("the public code of 2025-10", _PRESET),
    "reward": Compared("the public code of 2025-11", _PRESET),
    "mean": Compared("the public code of 2026", _PRESET),
    "centred": Compared("ours", "-"),
    "quotient": Compared("ours", "-"),
    "two-part": Compared("ours", "-"),
}


@dataclass(frozen=True)
class _Inside:
    formula: str
    reads: str
    parameters: str
    source: str
    compared: Compared


def _plain(value: Any) -> str:
    if isinstance(value, Rule):
        return type(value).__name__
    return str(value)


def _defaults(function: Callable[..., Any]) -> str:
    given = inspect.signature(function).parameters.values()
    return ", ".join(f"{p.name} = {_plain(p.default)}" for p in given if p.default is not p.empty)


_COV = "PRIME-RL/Entropy-Mechanism-of-RL, "
_TOKENS: dict[str, _Inside] = {
    "clip-higher": _Inside(
        "ratio clipped to [1 - low, 1 + high]",
        "rewards, log-probs",
        f"low = {tokens.CLIP_HIGHER.low}, high = {tokens.CLIP_HIGHER.high}",
        "2503.14476, Sec. 3.1",
        Compared("TRL, verl"),
    ),
    "clip-cov": _Inside(
        "drop the gradient of max(1, int(fraction n)) random ones of the n tokens with "
        "low < (A - mean A)(l - mean l) < high",
        "rewards, log-probs",
        _defaults(tokens.clip_cov_drop),
        "2505.22617, Eq. 10",
        Compared(
            _COV + "`compute_policy_loss_clip_cov`",
            "chosen once a generation, from the policy that sampled; there at every update from "
            "the present one, and never among tokens that are clipped already",
        ),
    ),
    "kl-cov": _Inside(
        "beta abs(log pi - log pi_old) in the loss of the max(1, int(fraction n)) tokens of "
        "largest (A - mean A)(l - mean l)",
        "rewards, log-probs",
        _defaults(tokens.kl_cov_select) + ", beta = 1",
        "2505.22617, Eq. 10",
        Compared(
            _COV + "`compute_policy_loss_kl_cov`",
            "chosen once a generation; there at every update. No clipping beside it there and in "
            "the simulator; the trainer leaves clipping to `epsilon`. `estimator: k3` is TRL's "
            "e^x - x - 1, a hundred times weaker at a log-ratio of .01",
        ),
    ),
    "simko": _Inside(
        "at tokens whose entropy lies strictly above the .8 quantile of their response: correct, "
        "1 - alpha on the token taken and alpha/top on each of the top; incorrect, a top-1 token "
        "counts 1.1 times",
        "rewards, laws of the tokens",
        _defaults(tokens.simko_parts) + ", quantile = 0.8",
        "2510.14807",
        Compared(
            "CLR-Lab/SimKO, `compute_policy_loss_simko`",
            "incorrect by the verdict, there by a negative advantage. Simulator: what is spread is "
            "not weighed by the ratio; where an answer is one token, the quantile is the batch's",
        ),
    ),
}


def page() -> str:
    """The page of the documentation."""
    head = ["| name | formula | level | reads | strengths and options | source | compared with |"
            " difference found |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    rows = [_row(name, rule(name)) for name in NAMES]
    inside = [
        _line(f"`{name}`", t.formula, "token", t.reads, t.parameters, t.source, t.compared)
        for name, t in _TOKENS.items()
    ]
    return "\n".join([_HEAD, *head, *rows]) + "\n" + _KL + _INSIDE + "\n".join([*head, *inside, ""])


def _row(name: str, made: Rule) -> str:
    read = [("log-probs", made.needs_logps), ("reference", made.needs_reference),
            ("classes", made.needs_classes)]  # fmt: skip
    reads = ", ".join(["rewards", *(what for what, needed in read if needed)])
    return _line(
        f"`{name}`", made.formula, level(made), reads, _parameters(made), made.citation,
        _COMPARED[name],
    )  # fmt: skip


def _line(*cells: Any) -> str:
    *first, compared = cells
    return "| " + " | ".join(str(c) for c in (*first, compared.code, compared.difference)) + " |"


def level(made: Rule) -> str:
    """token, group (another answer moves an answer's advantage) or sequence."""
    if made.token_level:
        return "token"
    size = 16
    correct = np.arange(size) % 2 == 0
    batch = GroupBatch(
        reward=correct.astype(np.float64), correct=correct, group=np.zeros(size, np.int64),
        logps=-1.0 - np.arange(size) / 8, lengths=np.full(size, 2), classes=np.arange(size) % 4,
        ref_logps=-2.0 + np.arange(size) / 16,
    )  # fmt: skip
    other = replace(batch, reward=np.where(np.arange(size) < size - 2, batch.reward, 0.0),
                    correct=correct & (np.arange(size) < size - 2))  # fmt: skip
    return "sequence" if made(batch)[0] == made(other)[0] else "group"


def _parameters(made: Rule) -> str:
    out = []
    for f in fields(made):
        value = getattr(made, f.name)
        if f.name == "term" and isinstance(made, Smoothed):
            out += [f"{t.name} = {_plain(getattr(value, t.name))}" for t in fields(value)]
        else:
            out.append(f"{f.name} = {_plain(value)}")
    return ", ".join(out) or "-"


if __name__ == "__main__":
    print(page(), end="")
