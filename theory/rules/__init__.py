"""The smoothing rule and its rivals, written once: from a group of answers to advantages.

Light on purpose (NumPy and array-api-compat): it is loaded inside training workers.

    >>> import numpy as np
    >>> from diffsmooth.theory.rules import GroupBatch, rule
    >>> batch = GroupBatch(
    ...     reward=np.array([1.0, 1.0, 0.0, 0.0]),
    ...     correct=np.array([True, True, False, False]),
    ...     group=np.array([7, 7, 7, 7]),
    ...     logps=np.array([-1.0, -3.0, -2.0, -2.0]),
    ... )
    >>> rule("grpo", eps=0)(batch)
    array([ 1.,  1., -1., -1.])
    >>> rule("centred", g_correct=0.1, base=rule("grpo", eps=0))(batch)
    array([ 0.9,  1.1, -1. , -1. ])
"""

from diffsmooth.theory.rules.base import RewardOnly, Rule
from diffsmooth.theory.rules.baselines import (
    FGRPO,
    GRPO,
    PKPO,
    RLOO,
    DrGRPO,
    Focal,
    MaxRL,
    PassAtK,
    Reinforce,
    SignedReinforce,
)
from diffsmooth.theory.rules.batch import GroupBatch, Groups
from diffsmooth.theory.rules.likelihood import (
    MARA,
    UCPO,
    EntropyBonus,
    KLLoss,
    KLReward,
    Unlikeliness,
)
from diffsmooth.theory.rules.presets import LIKELIHOOD, NAMES, PRESETS, REWARD_ONLY, rule
from diffsmooth.theory.rules.relative import Relative
from diffsmooth.theory.rules.smoothing import Smoothed, SmoothingTerm, add_term
from diffsmooth.theory.rules.tokens import (
    CLIP_HIGHER,
    UNCLIPPED,
    ClipBounds,
    clip_cov_drop,
    forking_tokens,
    kl_cov_select,
    simko_parts,
    simko_weights,
    token_covariance,
)

__all__ = [
    "CLIP_HIGHER",
    "FGRPO",
    "GRPO",
    "LIKELIHOOD",
    "MARA",
    "NAMES",
    "PKPO",
    "PRESETS",
    "REWARD_ONLY",
    "RLOO",
    "UCPO",
    "UNCLIPPED",
    "ClipBounds",
    "DrGRPO",
    "EntropyBonus",
    "Focal",
    "GroupBatch",
    "Groups",
    "KLLoss",
    "KLReward",
    "MaxRL",
    "PassAtK",
    "Reinforce",
    "Relative",
    "RewardOnly",
    "Rule",
    "SignedReinforce",
    "Smoothed",
    "SmoothingTerm",
    "Unlikeliness",
    "add_term",
    "clip_cov_drop",
    "forking_tokens",
    "kl_cov_select",
    "rule",
    "simko_parts",
    "simko_weights",
    "token_covariance",
]
